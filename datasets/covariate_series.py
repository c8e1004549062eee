"""One covariate as it was sampled, and its value in any bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuromodels.datasets.errors import InputError

GAP_INTERVALS = 10  # usual intervals between samples; across a longer gap nothing is known
PIECE = 2**18  # bins that are worked on at once
SAME = 1e-3  # an interval longer than a bin by less than this share is that of the bins
ROUNDING = 1e-6  # of a bin; a sample this close to an edge lies on it


@dataclass(frozen=True, eq=False)
class Series:
    """One covariate as it was sampled, on the clock of the session.

    Attributes
    ----------
    name : str
    times : (sample,) float64, s, strictly ascending
    values : (sample,) float64
        NaN where nothing was measured.
    units : str
    where : str
        File and variable, for messages.
    """

    name: str
    times: np.ndarray
    values: np.ndarray
    units: str = "arbitrary"
    where: str = "covariates"

    def __post_init__(self):
        times, values = np.asarray(self.times), np.asarray(self.values)
        if times.ndim != 1 or values.shape != times.shape:
            one = times.ndim == values.ndim == 1
            given = (values.size, times.size) if one else (values.shape, times.shape)
            raise self._error(
                f"has {given[0]} values for {given[1]} times",
                "Give one value for each time: {name: (times, values)}.",
            )
        for what, array in (("times", times), ("values", values)):
            if array.dtype.kind not in "iufb":
                raise self._error(f"holds {what} of type {array.dtype}", "Give numbers.")
        if not times.size:
            raise self._error("holds no samples", "Leave it out.")
        times = times.astype(np.float64, copy=False)
        values = values.astype(np.float64, copy=False)
        bad = np.flatnonzero(~np.isfinite(times))
        if bad.size:
            raise self._error(
                f"time {bad[0]} is NaN or infinite ({bad.size} such times; counted from 0)",
                "Give the time of every sample, s, or leave the sample out.",
            )
        back = np.flatnonzero(np.diff(times) <= 0)
        if back.size:
            i = int(back[0]) + 1
            raise self._error(
                f"times do not ascend at sample {i} ({times[i - 1]:.9g} s, then {times[i]:.9g} s; "
                f"{back.size} such places)",
                "Sort the samples by time and leave out duplicates.",
            )
        if np.isinf(values).any():
            raise self._error(
                f"sample {np.flatnonzero(np.isinf(values))[0]} is infinite",
                "Replace it by NaN where nothing was measured.",
            )
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", values)

    @property
    def interval(self) -> float:
        """Usual interval between samples, s (0 for a single one)."""
        return float(np.median(np.diff(self.times))) if self.times.size > 1 else 0.0

    def binned(self, starts, width: float, longest_gap: float | None = None) -> np.ndarray:
        """Mean of the samples in each bin; between samples, the straight line between them.

        Parameters
        ----------
        starts : array of any shape, s
            Start of each bin, on the clock of the samples.
        width : float, s
            Of a bin.
        longest_gap : float, s, optional
            A bin between two samples that are further apart is NaN (default: ten times the usual
            interval between samples, see `interval`).

        Returns
        -------
        float32, shape of `starts`
            Where bins are as wide as the sampling or wider, the mean of the samples in each; where
            they are narrower, or hold none, the line between the neighbours at the bin's centre.
            Before the first and after the last sample their value holds for one usual interval;
            further out, and in longer gaps, it is NaN.
        """
        starts = np.asarray(starts, dtype=np.float64)
        known = ~np.isnan(self.values)
        times, values = self.times[known], self.values[known]
        filled = np.full(starts.shape, np.nan, dtype=np.float32)
        if not times.size:
            return filled
        gap = GAP_INTERVALS * self.interval if longest_gap is None else longest_gap
        fewest = 1 if width >= self.interval * (1 - SAME) else 2  # samples that a mean is taken of
        middle = values.mean()  # sums of what is left of it lose no digits
        sums = np.concatenate([[0.0], np.cumsum(values - middle)])
        flat, result = starts.ravel(), filled.ravel()
        for first in range(0, flat.size, PIECE):
            part = flat[first : first + PIECE]
            edge = part - ROUNDING * width
            start, stop = np.searchsorted(times, edge), np.searchsorted(times, edge + width)
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = middle + (sums[stop] - sums[start]) / (stop - start)
            centre = part + width / 2
            after = np.searchsorted(times, centre)
            before = np.maximum(after - 1, 0)
            after = np.minimum(after, times.size - 1)
            outside = np.maximum(times[0] - centre, centre - times[-1])
            close = (times[after] - times[before] <= gap) & (outside <= self.interval)
            line = np.where(close, np.interp(centre, times, values), np.nan)
            averaged = (stop - start >= fewest) | ((stop > start) & np.isnan(line))
            result[first : first + PIECE] = np.where(averaged, mean, line)
        return result.reshape(starts.shape)

    def _error(self, what: str, remedy: str) -> InputError:
        return InputError(what, where=f"{self.where}: {self.name}", remedy=remedy)
