"""Spikes fall into the bins of the frames that caused them, whatever display and clocks did."""

import numpy as np
import pytest

from neuromodels.datasets.beside import movies_beside
from neuromodels.datasets.clocks import align_clocks, to_clock
from neuromodels.datasets.responses import Units
from neuromodels.datasets.sessions import Session, assemble

RATE = 20.0  # a display that is slower than the bins
DELAY = 0.030  # from the onset of a bright frame to its spike, s


@pytest.fixture(scope="module")
def frames():
    """80 s of noise whose first pixel is known to drive the cell."""
    return np.random.default_rng(0).integers(0, 2, (1600, 4, 5), dtype=np.uint8)


def onsets_of(n, *, dropped=(), jitter=0.0, start=3.0):
    steps = np.ones(n - 1)
    steps[list(dropped)] += 1
    exact = start + np.concatenate([[0], np.cumsum(steps)]) / RATE
    return exact + np.random.default_rng(1).normal(0, jitter, n)


def recover(frames, spikes, **timing):
    """Share of bins in which the spike belongs to a bright frame, and the recording."""
    beside = movies_beside(frames, where="cell", **timing)
    session = Session("cell", Units(["0"], [spikes]), beside.movies, beside.trials)
    role = assemble(session).train
    counts = role["response"].values[:, 0]
    shown = role["frame_of_bin"].values
    bright = frames[np.maximum(shown, 0), 0, 0] == 1
    return counts[bright & (shown >= 0)].sum() / counts.sum(), role


def test_a_frame_fills_all_bins_until_the_next_one_comes(frames):
    onsets = onsets_of(len(frames), dropped=[100, 101, 700])
    right, role = recover(frames, onsets[frames[:, 0, 0] == 1] + DELAY, triggers=onsets)
    assert right == 1
    n_bins = np.bincount(role["frame_of_bin"].values, minlength=len(frames))
    expected = np.full(len(frames), 50)  # of 1 ms, at 20 frames per second
    expected[[100, 101, 700]] = 100
    np.testing.assert_array_equal(n_bins, expected)


def test_jitter_and_drops_are_followed_by_triggers_and_not_by_a_rate(frames):
    dropped = range(50, 1550, 100)
    onsets = onsets_of(len(frames), dropped=dropped, jitter=2e-3)
    spikes = onsets[frames[:, 0, 0] == 1] + DELAY
    right, _ = recover(frames, spikes, triggers=onsets)
    assert right == 1
    # A rate knows nothing of 15 dropped frames: from the first on, it is as good as chance.
    wrong, _ = recover(frames, spikes, frame_rate=RATE, start=3.0)
    assert wrong < 0.7


def test_a_drop_between_triggers_costs_three_frames_at_most(frames):
    """Half of a drop, 25 ms, is the largest error: a spike 12 ms after its frame feels 13-25 ms."""
    dropped = range(5, 1600, 100)
    onsets = onsets_of(len(frames), dropped=dropped)
    spikes = onsets[frames[:, 0, 0] == 1] + 0.012
    right, _ = recover(frames, spikes, triggers=onsets[::10], frames_per_trigger=10)
    assert 1 - 3 * len(dropped) / len(spikes) <= right < 1


def test_drift_between_spikes_and_stimulus_is_taken_out(frames):
    """100 ppm are 0.7 s after two hours: fourteen frames of 50 ms."""
    onsets = onsets_of(len(frames), start=7000.0)  # on the clock of the display
    rng = np.random.default_rng(2)
    pulses = np.cumsum(1 + rng.random(4800))
    on_amplifier = -7.5 + (1 + 1e-4) * pulses + rng.normal(0, 1e-4, pulses.size)
    spikes = -7.5 + (1 + 1e-4) * (onsets[frames[:, 0, 0] == 1] + DELAY)
    clock = align_clocks(np.delete(pulses, [10, 500]), np.delete(on_amplifier, [40, 41, 2000]))
    right, _ = recover(frames, spikes, frame_times=to_clock(onsets, clock))
    assert right == 1
    # The offset alone is not enough.
    wrong, _ = recover(frames, spikes, frame_times=onsets - 7.5)
    assert wrong < 0.65
