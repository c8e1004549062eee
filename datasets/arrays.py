"""Recordings from arrays: the way in for Python users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import xarray as xr

from neuromodels.datasets.binning import (
    bin_edges,
    bin_intervals,
    bin_spike_times,
    exact_bin_width,
    frames_on_screen,
    whole_bins,
)
from neuromodels.datasets.building import (
    build_recording,
    build_role,
    concatenate_roles,
    stack_trials,
)
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import KINDS, Recording


def recording_from_arrays(
    stimulus,
    counts=None,
    *,
    bin_width=None,
    spike_times=None,
    frame_rate: float | None = None,
    frame_times=None,
    blocks=None,
    heldout_stimulus=None,
    heldout_counts=None,
    heldout_spike_times=None,
    heldout_frame_times=None,
    heldout_blocks=None,
    test_stimulus=None,
    test_counts=None,
    test_spike_times=None,
    test_frame_times=None,
    repeats_stimulus=None,
    repeats_counts=None,
    neurons: Sequence[str] | None = None,
    kind: str = "count",
    response_units: str | None = None,
    stimulus_name: str = "stimulus",
    stimulus_units: str = "arbitrary",
    background: float = 0.0,
    pixel_units: str = "pixel",
    attrs: Mapping | None = None,
) -> Recording:
    """Make a recording from a movie and the spikes that it evoked.

    Parameters
    ----------
    stimulus : (frame,), (frame, y), (frame, y, x) or (frame, channel, y, x)
        Unrepeated movie for training: full field, bars, grey, or with channels.
    counts : (bin, neuron), optional
        Spike counts (or rates, or traces, see `kind`). Give these or `spike_times`.
    bin_width : float or Fraction, s
        Width of the bins. With `spike_times` the default is 1 ms.
    spike_times : list of arrays, s, optional
        One per neuron, on the clock of `frame_times`.
    frame_rate : float, Hz, optional
        Frames per second, the first at time 0. Without it and without `frame_times`, there
        must be one frame per bin.
    frame_times : (frame,), s, optional
        Onset of every frame; for displays that drop or delay frames.
    blocks : optional
        Where time jumps. With `counts`: (bin,) integer labels. With `spike_times`: a list of
        (start, stop) in seconds.
    heldout_stimulus, heldout_counts, heldout_spike_times, heldout_frame_times, heldout_blocks
        Unrepeated data that no fit may see. Left out: fits hold out part of the training data.
    test_stimulus, test_counts, test_spike_times, test_frame_times
        A repeated movie. Counts are (trial, bin, neuron), or a list of (bin, neuron) whose
        lengths may differ. Spike times are a list over trials of lists over neurons, on the
        clock of `test_frame_times` (with `frame_rate`: from the start of the trial). Several
        movies: a list of movies and a list of their counts (or spike times).
    repeats_stimulus, repeats_counts
        More repeats, for couplings; the stimulus may be unknown (None).
    neurons : list of str, optional
        Unique identifiers (default "0", "1", ...).
    kind : {"count", "rate", "trace"}
        What the response is: it selects losses and metrics.
    response_units, stimulus_units, pixel_units : str
        Units of the response, of the frames' values, and of the pixel positions.
    background : float
        What the screen shows in bins without a frame.
    attrs : dict, optional
        Species, area, licence, source, ...

    Returns
    -------
    Recording
        `validate()` reports what is questionable in it.

    Raises
    ------
    InputError
        If shapes disagree; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> movie = rng.integers(0, 2, (1000, 8, 8))
    >>> spikes = rng.poisson(0.1, (1000, 3))
    >>> recording_from_arrays(movie, spikes, bin_width=0.010)
    arrays   3 neurons   10 ms bins   8 (y) x 8 (x) px at 100 Hz
      train   10 s                   1 block
    """
    if kind not in KINDS:
        raise _bad("kind", f"is {kind!r}", f"Use one of: {', '.join(KINDS)}.")
    if bin_width is None:
        if counts is not None or spike_times is None:
            raise _bad("bin_width", "is missing", "Say how wide the bins are, s: bin_width=0.010.")
        bin_width = Fraction(1, 1000)
    width = exact_bin_width(bin_width, "recording_from_arrays: bin_width")
    common = {
        "bin_width": width,
        "frame_rate": frame_rate,
        "kind": kind,
        "stimulus_units": stimulus_units,
        "response_units": response_units,
        "pixel_units": pixel_units,
    }
    roles = {
        "train": _unrepeated("", stimulus, counts, spike_times, frame_times, blocks, common),
    }
    if any(item is not None for item in (heldout_stimulus, heldout_counts, heldout_spike_times)):
        roles["heldout"] = _unrepeated(
            "heldout_",
            heldout_stimulus,
            heldout_counts,
            heldout_spike_times,
            heldout_frame_times,
            heldout_blocks,
            common,
        )
    if any(item is not None for item in (test_stimulus, test_counts, test_spike_times)):
        roles["test"] = _repeated(
            "test_", test_stimulus, test_counts, test_spike_times, test_frame_times, common
        )
    if repeats_counts is not None:
        roles["repeats"] = _repeated(
            "repeats_", repeats_stimulus, repeats_counts, None, None, common
        )
    elif repeats_stimulus is not None:
        raise _bad("repeats_counts", "is missing", "Give it along with repeats_stimulus.")
    return build_recording(
        {stimulus_name: roles},
        neurons=neurons,
        attrs=attrs,
        stimulus_attrs={stimulus_name: {"background": background}},
    )


def _unrepeated(prefix, stimulus, counts, spike_times, frame_times, blocks, common) -> xr.Dataset:
    if stimulus is None:
        raise _bad(f"{prefix}stimulus", "is missing", "Give the movie along with the responses.")
    if (counts is None) == (spike_times is None):
        both = "are both missing" if counts is None else "are both given"
        raise _bad(f"{prefix}counts, {prefix}spike_times", both, "Give exactly one of them.")
    common = dict(common)
    width, rate = common["bin_width"], common.pop("frame_rate")
    onsets = _onsets(prefix, stimulus, rate, frame_times)
    attrs = {}
    if counts is not None:
        counts = np.asarray(counts)
        if counts.ndim != 2:
            raise _bad(f"{prefix}counts", f"has shape {counts.shape}", "It must be (bin, neuron).")
        time = bin_edges(0.0, width, len(counts))[:-1]
        block = None if blocks is None else np.asarray(blocks)
        if block is not None and block.shape != (len(counts),):
            raise _bad(
                f"{prefix}blocks",
                f"has shape {block.shape} for {len(counts)} bins",
                "Give one integer label per bin.",
            )
        if onsets is None and len(stimulus) != len(counts):
            raise _bad(
                f"{prefix}stimulus",
                f"has {len(stimulus)} frames but {prefix}counts has {len(counts)} bins",
                "Give frame_rate= (Hz) or frame_times= (s), or one frame per bin.",
            )
        if onsets is not None:
            _same_length(prefix, onsets, len(counts), width)
    else:
        if onsets is None:
            raise _bad(
                "frame_rate", "is missing", "With spike times give frame_rate= or frame_times=."
            )
        if isinstance(spike_times, np.ndarray) and spike_times.dtype != object:
            spike_times = np.atleast_2d(spike_times)
        end = onsets[-1] + _last_frame(onsets)
        intervals = [(float(onsets[0]), float(end))] if blocks is None else blocks
        counts, time, block, outside = bin_intervals(spike_times, intervals, width)
        attrs["spikes_outside"] = outside
    shown = np.arange(len(time)) if onsets is None else frames_on_screen(onsets, time, width)
    return build_role(
        stimulus,
        counts,
        time=time,
        block=block,
        frame_of_bin=shown,
        frame_time=time if onsets is None else onsets,
        attrs=attrs,
        where=f"recording_from_arrays: {prefix}stimulus",
        **common,
    )


def _repeated(prefix, stimulus, counts, spike_times, frame_times, common) -> xr.Dataset:
    if isinstance(stimulus, (list, tuple)):
        for name, given in (("counts", counts), ("spike_times", spike_times)):
            if given is not None and len(given) != len(stimulus):
                raise _bad(
                    f"{prefix}{name}",
                    f"has {len(given)} entries for {len(stimulus)} movies",
                    "A list of movies needs a list of responses, one entry per movie.",
                )
        movies = []
        for i, movie in enumerate(stimulus):
            onsets = None if frame_times is None else frame_times[i]
            count = None if counts is None else counts[i]
            spikes = None if spike_times is None else spike_times[i]
            movies.append(_repeated(prefix, movie, count, spikes, onsets, common))
        return concatenate_roles(movies, f"recording_from_arrays: {prefix}stimulus")
    if (counts is None) == (spike_times is None):
        both = "are both missing" if counts is None else "are both given"
        raise _bad(f"{prefix}counts, {prefix}spike_times", both, "Give exactly one of them.")
    common = dict(common)
    width, rate = common["bin_width"], common.pop("frame_rate")
    where = f"recording_from_arrays: {prefix}counts"
    if stimulus is None:
        if prefix == "test_":
            raise _bad("test_stimulus", "is missing", "Give the movie along with the responses.")
        return build_role(None, counts, where=where, **common)
    onsets = _onsets(prefix, stimulus, rate, frame_times)
    attrs = {}
    start = 0.0 if onsets is None else float(onsets[0])
    if spike_times is not None:
        if onsets is None:
            raise _bad(
                "frame_rate", "is missing", "With spike times give frame_rate= or frame_times=."
            )
        n_bins = whole_bins(onsets[-1] + _last_frame(onsets) - start, width)
        binned = [bin_spike_times(trial, start, width, n_bins) for trial in spike_times]
        n_neurons = len(spike_times[0]) if len(spike_times) else 0
        counts = np.zeros((len(binned), n_bins, n_neurons), dtype=np.int64)
        for i, (trial, _) in enumerate(binned):
            counts[i] = trial
        attrs["spikes_outside"] = np.sum([lost for _, lost in binned], axis=0)
    counts = stack_trials(counts, where)
    n_bins = counts.shape[1]
    if onsets is None and len(stimulus) != n_bins:
        raise _bad(
            f"{prefix}stimulus",
            f"has {len(stimulus)} frames but {prefix}counts has {n_bins} bins",
            "Give frame_rate= (Hz) or frame_times= (s), or one frame per bin.",
        )
    if onsets is not None and spike_times is None:
        _same_length(prefix, onsets, n_bins, width)
    time = bin_edges(start, width, n_bins)[:-1]
    shown = np.arange(n_bins) if onsets is None else frames_on_screen(onsets, time, width)
    return build_role(
        stimulus,
        counts,
        time=time,
        frame_of_bin=shown,
        frame_time=time if onsets is None else onsets,
        attrs=attrs,
        where=where,
        **common,
    )


def _onsets(prefix: str, stimulus, rate: float | None, frame_times) -> np.ndarray | None:
    n_frames = len(stimulus)
    if frame_times is not None:
        onsets = np.asarray(frame_times, dtype=np.float64)
        if onsets.shape != (n_frames,):
            raise _bad(
                f"{prefix}frame_times",
                f"has {onsets.size} times for {n_frames} frames",
                "Give the onset of every frame, s.",
            )
        return onsets
    if rate is None:
        return None
    if not rate > 0:
        raise _bad("frame_rate", f"is {rate!r}", "Give frames per second.")
    period = 1 / exact_bin_width(rate, "recording_from_arrays: frame_rate")
    return bin_edges(0.0, period, n_frames)[:-1]


def _last_frame(onsets: np.ndarray) -> float:
    return float(np.median(np.diff(onsets))) if onsets.size > 1 else 0.0


def _same_length(prefix: str, onsets: np.ndarray, n_bins: int, width: Fraction) -> None:
    period = _last_frame(onsets)
    movie = float(onsets[-1] + period)
    response = n_bins * float(width)
    if abs(movie - response) > period + float(width):
        raise _bad(
            f"{prefix}stimulus",
            f"lasts {movie:.6g} s ({onsets.size} frames) but {prefix}counts {response:.6g} s "
            f"({n_bins} bins of {float(width):.6g} s)",
            "Check frame_rate, frame_times and bin_width; cut the longer one.",
        )


def _bad(argument: str, what: str, remedy: str) -> InputError:
    return InputError(what, where=f"recording_from_arrays: {argument}", remedy=remedy)
