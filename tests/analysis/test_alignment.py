"""The clock test finds shifts that were put in, and raises no alarm where there are none.

LN neurons of known latency look at a movie; the shift moves what the recording says was shown.
"""

import numpy as np
import pytest

from neuromodels.analysis.alignment import alignment_test
from neuromodels.analysis.inspection import inspect_recording
from neuromodels.analysis.stimulus_features import frame_features
from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.datasets.building import build_recording, build_role
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import SLAB_BYTES, lazy_variable
from neuromodels.datasets.sample import sample_recording

WIDTH, PEAK = 0.01, 0.06  # s; the filters rise from about 40 ms


def movie_of(kind, n, rng):
    """`n` bins of a movie whose frames last 20 ms."""
    half = n // 2 + 1
    if kind == "flicker":
        shown = rng.normal(0, 1, (half, 1, 1))
    elif kind == "checkerboard":
        shown = rng.integers(0, 2, (half, 6, 6)).astype("u1")
    else:  # a bar that wanders: correlated in space and time, like the bundled movie
        place = np.cumsum(rng.normal(0, 0.8, half))
        shown = np.abs((np.arange(24) - place[:, None] + 12) % 24 - 12) < 2
        shown = shown.astype("u1")[:, :, None]
    return np.repeat(shown, 2, axis=0)[:n]


def respond(movie, rng, peak=PEAK, n_neurons=3, gain=0.8, rate=0.08):
    """Counts (bin, neuron) of LN neurons; the last column of weights has both signs."""
    lag = np.arange(40) * WIDTH
    x = movie.reshape(len(movie), -1).astype(float)
    x = (x - x.mean()) / x.std()
    counts = []
    for i in range(n_neurons):
        at = peak + rng.normal(0, 0.005)
        kernel = np.exp(-(((lag - at) / 0.014) ** 2) / 2)
        kernel -= 0.5 * np.exp(-(((lag - at - 0.05) / 0.025) ** 2) / 2)
        centre = rng.uniform(0.3, 0.7) * x.shape[1]
        space = np.exp(-(((np.arange(x.shape[1]) - centre) / 2) ** 2) / 2)
        drive = np.convolve(x @ space, kernel)[: len(x)] * (-1) ** i
        counts.append(rng.poisson(np.minimum(3, rate * np.exp(gain * drive / drive.std() - 0.3))))
    return np.stack(counts, axis=1)


def recording_with(late, kind="flicker", seed=0, seconds=120, **options):
    """A recording whose frame times are `late` seconds too late."""
    rng = np.random.default_rng(seed)
    n, move = round(seconds / WIDTH), round(late / WIDTH)
    pad = abs(move) + 50
    movie = movie_of(kind, n + 2 * pad, rng)
    counts = respond(movie, rng, **options)
    return recording_from_arrays(
        movie[pad - move : pad - move + n], counts[pad : pad + n], bin_width=WIDTH
    )


@pytest.mark.parametrize("late", [0.05, 0.1, 0.8, 3.0])
@pytest.mark.parametrize(("kind", "seed"), [("flicker", 0), ("flicker", 1), ("bars", 2)])
def test_a_late_stimulus_is_found_by_the_right_amount(late, kind, seed):
    found = alignment_test(recording_with(late, kind, seed))
    assert found.verdict == "late"
    assert found.warns
    # The size is known to how usual the cells are: 60 ms here, 70 ms assumed.
    assert found.late == pytest.approx(late, abs=0.025)
    assert found.late_low <= late <= found.late_high
    assert f"start {found.late:.2f} s late" in found.message
    assert np.nanmedian(found.latency) == pytest.approx(PEAK - late, abs=0.015)


@pytest.mark.parametrize("early", [0.1, 0.8, 3.0])
@pytest.mark.parametrize(("kind", "seed"), [("flicker", 0), ("flicker", 1), ("flicker", 2)])
def test_an_early_stimulus_is_found_where_the_latency_becomes_implausible(early, kind, seed):
    found = alignment_test(recording_with(-early, kind, seed))
    assert found.verdict == "early"
    assert found.late == pytest.approx(-early, abs=0.025)
    assert found.late_low <= -early <= found.late_high
    assert "Add" in found.message and "to the frame times" in found.message


@pytest.mark.parametrize("shift", [-0.05, 0.05])
@pytest.mark.parametrize(("kind", "seed"), [("flicker", 4), ("checkerboard", 5)])
def test_fifty_ms_to_either_side_are_found_if_the_latency_is_known(shift, kind, seed):
    found = alignment_test(recording_with(shift, kind, seed), latency=(0.045, 0.08))
    assert found.verdict == ("late" if shift > 0 else "early")
    assert found.late == pytest.approx(shift, abs=0.025)
    # Without that knowledge a latency of 110 ms is a latency like any other.
    if shift < 0:
        assert alignment_test(recording_with(shift, kind, seed)).verdict == "aligned"


@pytest.mark.parametrize(
    ("kind", "seed", "peak"),
    [
        *[("flicker", *item) for item in ((10, 0.04), (11, 0.06), (12, 0.09), (13, 0.12))],
        *[("bars", *item) for item in ((14, 0.04), (15, 0.08))],
        ("checkerboard", 16, 0.06),
    ],
)
def test_no_alarm_without_a_shift(kind, seed, peak):
    found = alignment_test(recording_with(0, kind, seed, peak=peak))
    assert found.verdict == "aligned"
    assert (found.late, found.late_low, found.late_high) == (0, 0, 0)
    assert np.nanmedian(found.latency) == pytest.approx(peak, abs=0.015)
    assert abs(found.second_half) < 0.02


@pytest.mark.parametrize("late", [0.0, 0.8])
def test_the_bundled_recording_with_its_stimulus_moved(late):
    """Blocks are rolled, so that a fortieth of the data at most is nonsense."""
    train = sample_recording().at(WIDTH).role("train")
    part = train.isel(time=slice(0, 28_800))  # eight blocks
    shown = part["frame_of_bin"].values.reshape(8, 3600)
    shown = np.roll(shown, round(late / WIDTH), axis=1).ravel()
    role = build_role(
        train["stimulus"].values[: shown.max() + 1],
        part["response"].values,
        bin_width=WIDTH,
        time=part["time"].values,
        block=part["block"].values,
        frame_of_bin=shown,
    )
    found = alignment_test(build_recording({"bars": {"train": role}}))
    if late == 0:
        assert found.verdict == "aligned"
        assert found.follows.all()
    else:
        assert found.verdict == ("late" if late > 0 else "early")
        assert found.late == pytest.approx(late, abs=0.08)  # these cells peak at 130 ms


@pytest.mark.parametrize("seed", range(3))
def test_neurons_that_do_not_follow_the_stimulus_give_no_verdict(seed):
    found = alignment_test(recording_with(0, ("flicker", "bars", "flicker")[seed], seed, gain=1e-9))
    assert found.verdict == "unknown"
    assert "no neuron clearly follows" in found.message


@pytest.mark.parametrize("seed", [5, 9, 12])  # of 20, those in which something is seen
def test_hardly_enough_spikes_raise_no_alarm(seed):
    found = alignment_test(recording_with(0, "checkerboard", seed, seconds=60, gain=0.4, rate=0.03))
    assert found.verdict in ("unknown", "aligned")


@pytest.mark.parametrize(("drift", "seed"), [(0.1, 0), (-0.1, 1), (0.02, 2), (0.0, 3)])
def test_a_clock_that_drifts_is_told_by_comparing_the_halves(drift, seed):
    rng = np.random.default_rng(seed)
    movie = movie_of("flicker", 24_000, rng)
    counts = respond(movie, rng)
    moved = np.arange(24_000) - np.linspace(0, drift / WIDTH, 24_000)
    movie = movie[np.clip(np.round(moved), 0, 23_999).astype(int)]
    found = alignment_test(recording_from_arrays(movie, counts, bin_width=WIDTH))
    assert (found.verdict == "drifts") == (abs(drift) == 0.1)
    # The frame times get later: responses seem to come earlier, by half of the drift.
    assert found.second_half == pytest.approx(-drift / 2, abs=0.015)


def test_a_test_on_another_clock_than_the_training_movie_is_told():
    rng = np.random.default_rng(0)
    whole = movie_of("flicker", 20_000, rng)
    counts = respond(whole, rng)
    seen = whole[18_000:]
    trials = np.stack([respond(whole, np.random.default_rng(0))[18_000:] for _ in range(1)])
    for move, verdict in ((0, "aligned"), (5, "drifts")):
        recording = recording_from_arrays(
            whole[:16_000],
            counts[:16_000],
            bin_width=WIDTH,
            test_stimulus=seen[: 2000 - move],
            test_counts=trials[:, move:],
        )
        found = alignment_test(recording)
        assert found.test_shift == pytest.approx(-move * WIDTH, abs=0.01)
        assert found.verdict == verdict


def test_a_movie_that_repeats_itself_is_called_ambiguous():
    rng = np.random.default_rng(0)
    movie = np.tile(movie_of("flicker", 600, rng)[:600], (30, 1, 1))  # every 6 s
    found = alignment_test(recording_from_arrays(movie, respond(movie, rng), bin_width=WIDTH))
    assert found.verdict == "ambiguous"
    assert "repeats itself" in found.message


def test_what_makes_the_test_impossible_is_said():
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.1, (6000, 2))
    grey = recording_from_arrays(np.ones((6000, 3, 3)), counts, bin_width=WIDTH)
    assert "does not change" in alignment_test(grey).message
    movie = rng.normal(size=(6000, 3, 3))
    silent = recording_from_arrays(movie, counts * 0, bin_width=WIDTH)
    assert "100 spikes" in alignment_test(silent).message
    short = recording_from_arrays(movie[:300], counts[:300], bin_width=WIDTH)
    assert "less than 5 s" in alignment_test(short).message
    wide = recording_from_arrays(movie, counts, bin_width=0.5)
    assert "too wide" in alignment_test(wide).message
    with pytest.raises(InputError, match="latency"):
        alignment_test(grey, latency=(0.2, 0.1))


def test_inspect_puts_the_warning_first_and_leaves_out_recordings_with_errors():
    recording = recording_with(0.8)
    text = inspect_recording(recording).text()
    assert text.split("\n")[1].startswith("warning: your stimulus seems to start 0.8")
    assert "alignment" not in inspect_recording(recording, alignment=False).text()
    broken = np.array(recording.train["stimulus"].values)
    broken[5] = np.nan
    counts = recording.train["response"].values
    found = inspect_recording(recording_from_arrays(broken, counts, bin_width=WIDTH))
    assert found.stimuli[0].alignment.message == "not tested: the recording has errors"


def test_a_large_movie_is_read_in_slabs_and_pooled():
    class OnDisk:
        shape, dtype, largest = (3000, 300, 400), np.dtype("u1"), 0

        def __getitem__(self, key):
            n = len(range(*key[0].indices(self.shape[0])))
            self.largest = max(self.largest, n * 120_000)
            return np.random.default_rng(n).integers(0, 255, (n, 300, 400), dtype="u1")

    disk = OnDisk()
    features = frame_features(lazy_variable(("frame", "y", "x"), disk), np.arange(100, 700))
    assert features.shape == (600, features.shape[1])
    assert features.shape[1] <= 153
    assert 0 < disk.largest <= SLAB_BYTES


def test_many_pixels_and_little_data_do_not_predict_by_chance():
    rng = np.random.default_rng(0)
    movie, counts = rng.integers(0, 2, (6000, 30, 30)), rng.poisson(0.2, (6000, 3))
    found = alignment_test(recording_from_arrays(movie, counts, bin_width=WIDTH))
    assert found.verdict == "unknown"
