"""When the frames of an array were shown, and whether they last as long as the responses."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from neuromodels.datasets.binning import bin_edges, exact_bin_width
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.labelled import labelled_movie


def timed_movie(prefix: str, stimulus, frame_times, common: dict):
    """Frames, their onsets (s) or None, and what else `build_role` needs to know."""
    movie = labelled_movie(stimulus, f"recording_from_arrays: {prefix}stimulus")
    common = dict(common)
    rate = common.pop("frame_rate")
    common["stimulus_units"] = common["stimulus_units"] or movie.units or "arbitrary"
    common["pixel_units"] = common["pixel_units"] or movie.pixel_units or "pixel"
    if frame_times is None and rate is None:
        frame_times = movie.onsets
    onsets = (
        None if movie.frames is None else _frame_onsets(prefix, movie.frames, rate, frame_times)
    )
    return movie.frames, onsets, common | {"y": movie.y, "x": movie.x}


def _frame_onsets(prefix: str, stimulus, rate: float | None, frame_times) -> np.ndarray | None:
    n_frames = len(stimulus)
    if frame_times is not None:
        onsets = np.asarray(frame_times, dtype=np.float64)
        if onsets.shape != (n_frames,):
            raise refused(
                f"{prefix}frame_times",
                f"has {onsets.size} times for {n_frames} frames",
                "Give the onset of every frame, s.",
            )
        return onsets
    if rate is None:
        return None
    if not rate > 0:
        raise refused("frame_rate", f"is {rate!r}", "Give frames per second.")
    period = 1 / exact_bin_width(rate, "recording_from_arrays: frame_rate")
    return bin_edges(0.0, period, n_frames)[:-1]


def last_frame(onsets: np.ndarray) -> float:
    """How long the last frame stays, s: the usual interval between onsets."""
    return float(np.median(np.diff(onsets))) if onsets.size > 1 else 0.0


def check_lengths(prefix: str, onsets: np.ndarray, n_bins: int, width: Fraction, time) -> None:
    """Whether movie and counts last equally long; bins that have times only need to overlap."""
    if time is not None:
        if n_bins and (time[-1] < onsets[0] or time[0] > onsets[-1]):
            raise refused(
                f"{prefix}counts",
                f"lie between {time[0]:.6g} and {time[-1]:.6g} s, the movie between "
                f"{onsets[0]:.6g} and {onsets[-1]:.6g} s",
                "Bring both to one clock, in seconds.",
            )
        return
    period = last_frame(onsets)
    movie = float(onsets[-1] + period)
    response = n_bins * float(width)
    if abs(movie - response) > period + float(width):
        raise refused(
            f"{prefix}stimulus",
            f"lasts {movie:.6g} s ({onsets.size} frames) but {prefix}counts {response:.6g} s "
            f"({n_bins} bins of {float(width):.6g} s)",
            "Check frame_rate, frame_times and bin_width; cut the longer one.",
        )


def refused(argument: str, what: str, remedy: str) -> InputError:
    """The error for an argument of `recording_from_arrays`."""
    return InputError(what, where=f"recording_from_arrays: {argument}", remedy=remedy)
