"""What a movie looks like in numbers: values, contrast, correlations, and when frames came."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neuromodels.datasets.blocks import block_runs
from neuromodels.datasets.frames import SLAB_BYTES
from neuromodels.datasets.overlap import fingerprint
from neuromodels.datasets.validation import LATE

_RUNS, _RUN_SECONDS, _SIDE = 12, 4.0, 64  # stretches that are looked at; pixels per side
_CLIPPED = 0.02  # share of values at a limit, of a movie with many levels, that is told


@dataclass(frozen=True, eq=False)
class StimulusStatistics:
    """Values and correlations of a movie, from up to 12 stretches of 4 s spread over it.

    Attributes
    ----------
    n_frames, n_looked_at : int
    distinct : int
        Different frames among those looked at.
    units : str
    mean, sd, low, high : float
        Of all pixels; `low` and `high` are the smallest and largest values.
    contrast : float
        sd / mean over pixels and time; NaN if values may be negative.
    levels : int
        Different values; 0 stands for more than 256.
    at_low, at_high : float
        Share of the values at `low` and `high`.
    correlation_time : float
        Lag at which the autocorrelation of a pixel has fallen to one half, s; NaN if unknown.
    correlation_space : float
        The same along the longer axis of a frame, pixels.
    """

    n_frames: int
    n_looked_at: int
    distinct: int
    units: str
    mean: float
    sd: float
    low: float
    high: float
    contrast: float
    levels: int
    at_low: float
    at_high: float
    correlation_time: float
    correlation_space: float

    @property
    def is_clipped(self) -> bool:
        """Whether a movie of many levels is often at its limits."""
        return not 0 < self.levels <= 8 and max(self.at_low, self.at_high) > _CLIPPED


@dataclass(frozen=True, eq=False)
class FrameTiming:
    """When frames came.

    Attributes
    ----------
    rate : float
        1 / median interval, Hz.
    jitter : float
        Standard deviation of the intervals that are not late or early, s.
    n_intervals, n_irregular : int
        Intervals within blocks, and those off by more than half a frame.
    worst, worst_at : float
        The interval that is furthest off, s, and when it began, s.
    interval : (interval,)
        All intervals within blocks, s.
    at : (interval,)
        When they began, s.
    """

    rate: float
    jitter: float
    n_intervals: int
    n_irregular: int
    worst: float
    worst_at: float
    interval: np.ndarray
    at: np.ndarray


def stimulus_statistics(role: xr.Dataset) -> StimulusStatistics | str:
    """Values and correlations of a movie, or why there are none; large movies are sampled.

    Parameters
    ----------
    role : xarray.Dataset
        With `stimulus`; `frame_time` gives the time scale.
    """
    if "stimulus" not in role.variables or not role["stimulus"].size:
        return "the stimulus is not in the recording"
    movie = role["stimulus"].variable
    n = movie.shape[0]
    period = _period(role)
    frame_bytes = movie.dtype.itemsize * int(np.prod(movie.shape[1:], dtype=np.int64))
    length = round(_RUN_SECONDS / period) if math.isfinite(period) else 100
    length = max(2, min(length, 400, SLAB_BYTES // (2 * max(1, frame_bytes))))
    starts = np.unique(np.linspace(0, max(0, n - length), min(_RUNS, -(-n // length))).astype(int))
    prints, runs = set(), []
    for start in starts.tolist():
        frames = np.asarray(movie[start : start + length].values)
        prints.update(fingerprint(frame) for frame in np.ascontiguousarray(frames))
        if frames.ndim == 4:
            frames = frames.mean(axis=1) if frames.shape[1] > 1 else frames[:, 0]
        down, across = (-(-size // _SIDE) for size in frames.shape[1:])
        # A window in the middle keeps neighbours; strides would lose their correlation.
        top, left = ((size - min(size, _SIDE)) // 2 for size in frames.shape[1:])
        centre = frames[:, top : top + _SIDE, left : left + _SIDE]
        runs.append((frames[:, ::down, ::across], centre.astype(np.float64)))
    values = np.concatenate([run.ravel() for run, _ in runs])
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not values.size:
        return "the stimulus holds no finite value"
    found = np.unique(values)
    low, high = float(found[0]), float(found[-1])
    mean, sd = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    middle = np.mean([np.nanmean(run, axis=0) for _, run in runs], axis=0)
    centred = [np.nan_to_num(run - middle) for _, run in runs]
    along = 2 if centred[0].shape[2] >= centred[0].shape[1] else 1
    return StimulusStatistics(
        n_frames=n,
        n_looked_at=sum(len(run) for run, _ in runs),
        distinct=len(prints),
        units=str(role["stimulus"].attrs.get("units", "")),
        mean=mean,
        sd=sd,
        low=low,
        high=high,
        contrast=sd / mean if low >= 0 and mean > 0 else math.nan,
        levels=found.size if found.size <= 256 else 0,
        at_low=float((values == low).mean()),
        at_high=float((values == high).mean()),
        correlation_time=_half_width(centred, 0) * period,
        correlation_space=_half_width(centred, along),
    )


def frame_timing(role: xr.Dataset) -> FrameTiming | str:
    """Frame rate and irregular intervals within blocks, or why they are not known."""
    if "frame_time" not in role.variables or role["frame_time"].size < 3:
        return "the times of frames are not in the recording"
    onsets = np.asarray(role["frame_time"].values, np.float64)
    steps = np.diff(onsets)
    if not (np.isfinite(onsets).all() and (steps > 0).all()):
        return "the times of frames do not ascend"
    time, labels = role["time"].values, role["block"].values
    at = np.clip(np.searchsorted(time, onsets, side="right") - 1, 0, max(0, time.size - 1))
    number = np.zeros(time.size, int)
    for i, (_, start, stop) in enumerate(block_runs(labels)):
        number[start:stop] = i
    inside = np.diff(number[at]) == 0
    interval, begin = steps[inside], onsets[:-1][inside]
    if interval.size < 2:
        return "fewer than two intervals within blocks"
    period = float(np.median(interval))
    off = np.abs(interval - period)
    irregular = off > LATE * period
    worst = int(np.argmax(off))
    return FrameTiming(
        rate=1 / period,
        jitter=float(interval[~irregular].std()),
        n_intervals=interval.size,
        n_irregular=int(irregular.sum()),
        worst=float(interval[worst]),
        worst_at=float(begin[worst]),
        interval=interval,
        at=begin,
    )


def _period(role: xr.Dataset) -> float:
    if "frame_time" not in role.variables or role["frame_time"].size < 2:
        return math.nan
    return float(np.median(np.diff(role["frame_time"].values)))


def _half_width(runs: list[np.ndarray], axis: int) -> float:
    """Lag along an axis where the autocorrelation falls to one half, between samples."""
    n = runs[0].shape[axis]
    power, before = sum(float((run**2).mean()) for run in runs), 1.0
    if n < 2 or power == 0:
        return math.nan
    for lag in range(1, n):
        value = 0.0
        for run in runs:
            if run.shape[axis] > lag:
                part = np.moveaxis(run, axis, 0)
                value += float((part[lag:] * part[:-lag]).mean())
        value /= power
        if value <= 0.5:
            return lag - 1 + (before - 0.5) / max(before - value, 1e-12)
        before = value
    return math.nan
