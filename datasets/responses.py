"""What neurons did on the clock of a session: sorted spikes, or traces; both can be binned."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from neuromodels.datasets.binning import bin_edges, bin_spike_times, exact_bin_width
from neuromodels.datasets.errors import InputError


@dataclass(frozen=True, eq=False)
class Units:
    """Sorted units.

    Attributes
    ----------
    ids : list of str, unique
    spike_times : list of (spike,) float64 arrays, s, ascending, finite
    metadata : {name: (unit,) array}
        What is known about the units: quality, depth, ...
    observed : list of (interval, 2) arrays, s, or None
        When each unit was recorded.
    where : str
        File and variable of the spike times, for messages.
    """

    ids: list[str]
    spike_times: list[np.ndarray]
    metadata: dict[str, np.ndarray] = field(default_factory=dict)
    observed: list[np.ndarray] | None = None
    notes: list[str] = field(default_factory=list)
    where: str = "spike_times"

    kind = "count"
    units = None

    def binned(self, start: float, width: Fraction, n_bins: int) -> np.ndarray:
        """Counts (bin, unit) of `n_bins` bins from `start`, s."""
        # Only the spikes nearby: with many trials, looking at all of them would take minutes.
        margin = float(width)
        stop = start + n_bins * float(width) + margin
        near = [
            times[np.searchsorted(times, start - margin) : np.searchsorted(times, stop)]
            for times in self.spike_times
        ]
        return bin_spike_times(near, start, width, n_bins)[0]

    def span(self) -> tuple[float, float]:
        """First and last spike, s.

        Raises
        ------
        InputError
            If there is no spike at all.
        """
        if not any(times.size for times in self.spike_times):
            raise InputError(
                f"holds no spikes ({len(self.ids)} units, all silent)",
                where=self.where,
                remedy="Export the sorted spike times, s.",
            )
        spiking = [times for times in self.spike_times if times.size]
        return min(float(t[0]) for t in spiking), max(float(t[-1]) for t in spiking)

    def any_in(self, start: float, stop: float) -> bool:
        """Whether a spike falls into a stretch of time, s."""
        return any(np.searchsorted(t, start) < np.searchsorted(t, stop) for t in self.spike_times)


@dataclass(frozen=True, eq=False)
class Traces:
    """Fluorescence, ΔF/F, deconvolved events or rates: one value per sample and cell.

    Attributes
    ----------
    ids : list of str, unique
    values : (sample, cell) float array
    times : (sample,) float64, s, ascending
    kind : {"trace", "rate"}
    units : str
    """

    ids: list[str]
    values: np.ndarray
    times: np.ndarray
    kind: str = "trace"
    units: str | None = None
    metadata: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    where: str = "traces"

    observed = None

    @property
    def sample_interval(self) -> Fraction:
        """Median interval between samples as an exact fraction, s."""
        return exact_bin_width(round(float(np.median(np.diff(self.times))), 9))

    def binned(self, start: float, width: Fraction, n_bins: int) -> np.ndarray:
        """Mean of the samples in each bin, (bin, cell); the nearest sample where there is none.

        NaN where the nearest sample is farther away than one interval or bin.
        """
        edges = bin_edges(start, width, n_bins)
        index = np.searchsorted(self.times, edges)
        first, stop = index[:-1], index[1:]
        count = stop - first
        values = np.asarray(self.values, dtype=np.float64)
        total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (total[stop] - total[first]) / count[:, None]
        # A cumulative sum carries one NaN to all that follow.
        if np.isnan(values).any():
            for i in np.flatnonzero((count > 0) & np.isnan(mean).any(axis=1)):
                mean[i] = values[first[i] : stop[i]].mean(axis=0)
        empty = np.flatnonzero(count == 0)
        if empty.size:
            centre = (edges[:-1] + edges[1:])[empty] / 2
            after = np.clip(np.searchsorted(self.times, centre), 1, self.times.size - 1)
            nearer = centre - self.times[after - 1] < self.times[after] - centre
            nearest = after - nearer
            reach = max(float(width), float(self.sample_interval))
            close = np.abs(self.times[nearest] - centre) <= reach
            mean[empty] = np.where(close[:, None], values[nearest], np.nan)
        return mean.astype(np.float32)

    def span(self) -> tuple[float, float]:
        """First and last sample, s."""
        return float(self.times[0]), float(self.times[-1])

    def any_in(self, start: float, stop: float) -> bool:
        """Whether a sample falls into a stretch of time, s."""
        return bool(np.searchsorted(self.times, start) < np.searchsorted(self.times, stop))
