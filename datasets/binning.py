"""From spike times and frame onsets to bins, without losing a spike."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from neuromodels.datasets.errors import InputError


def exact_bin_width(bin_width, where: str = "bin_width") -> Fraction:
    """Turn a bin width in seconds into the exact fraction that was meant: 0.01 is 1/100 s.

    Parameters
    ----------
    bin_width : float, int, str or Fraction
        Width in seconds. `1 / 600` and `"1/600"` both give exactly 1/600 s.

    Raises
    ------
    InputError
        If it is not a positive finite number.
    """
    remedy = "Give the bin width in seconds, for example 0.010 or Fraction(1, 600)."
    if isinstance(bin_width, bool) or not isinstance(bin_width, (numbers.Real, str)):
        raise InputError(f"is {bin_width!r}, which is no number", where=where, remedy=remedy)
    if isinstance(bin_width, (Fraction, str)):
        try:
            exact = Fraction(bin_width)
        except (ValueError, ZeroDivisionError):
            raise InputError(f"is {bin_width!r}", where=where, remedy=remedy) from None
    else:
        try:
            value = float(bin_width)
        except OverflowError:  # a whole number of more digits than a float holds
            value = np.inf
        if not np.isfinite(value):
            raise InputError(f"is {bin_width!r}"[:80], where=where, remedy=remedy)
        exact = Fraction(value).limit_denominator(1_000_000)
        if value > 0 and abs(float(exact) - value) > 1e-9 * value:
            exact = Fraction(value).limit_denominator(10**12)
    if exact <= 0:
        raise InputError(f"is {bin_width!r}, which is not positive", where=where, remedy=remedy)
    return exact


def bin_edges(start: float, bin_width: Fraction, n_bins: int) -> np.ndarray:
    """Edges of `n_bins` bins in seconds, shape (n_bins + 1,), each rounded only once.

    The offsets are quotients of integers, so edges of wide bins are bit for bit among the edges
    of the narrow bins that they are made of.
    """
    index = np.arange(n_bins + 1, dtype=np.int64)
    return start + (index * bin_width.numerator) / bin_width.denominator


def bin_spike_times(
    spike_times: Sequence[np.ndarray], start: float, bin_width, n_bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count spikes per bin and neuron; every spike is in one bin or told to be outside.

    Parameters
    ----------
    spike_times : sequence of arrays
        One array of times in seconds per neuron, in any order.
    start : float
        Start of the first bin, s.
    bin_width : Fraction or float
        Width of a bin, s.
    n_bins : int
        Number of bins.

    Returns
    -------
    counts : (bin, neuron) unsigned integers
        A spike on an edge belongs to the bin that starts there. The smallest type that holds
        the largest count.
    outside : (neuron,) int64
        Spikes before the first or after the last bin: `counts.sum(0) + outside` is the number
        of spikes given.

    Raises
    ------
    InputError
        If a spike time is NaN or infinite.
    """
    edges = bin_edges(start, exact_bin_width(bin_width), n_bins)
    counts = np.zeros((n_bins, len(spike_times)), dtype=np.int64)
    outside = np.zeros(len(spike_times), dtype=np.int64)
    for neuron, times in enumerate(spike_times):
        times = np.asarray(times, dtype=np.float64).ravel()
        if not np.isfinite(times).all():
            raise InputError(
                f"holds {np.count_nonzero(~np.isfinite(times))} times that are NaN or infinite",
                where=f"spike_times of neuron {neuron}",
                remedy="Remove them, or mend the spike sorter's export.",
            )
        index = np.searchsorted(edges, times, side="right") - 1
        inside = (index >= 0) & (index < n_bins)
        counts[:, neuron] = np.bincount(index[inside], minlength=n_bins)
        outside[neuron] = times.size - np.count_nonzero(inside)
    return smallest_unsigned(counts), outside


def frames_on_screen(
    frame_times: np.ndarray,
    time: np.ndarray,
    bin_width,
    *,
    last_frame: float | None = None,
    hold: float = np.inf,
) -> np.ndarray:
    """Index of the frame that is on screen at the centre of every bin, −1 for none.

    Parameters
    ----------
    frame_times : (frame,)
        Onset of every frame, s, ascending. A frame stays until the next one.
    time : (bin,)
        Start of every bin, s.
    bin_width : Fraction or float
        Width of a bin, s.
    last_frame : float, optional
        How long the last frame stays, s (default: the median interval between onsets).
    hold : float
        Longest time that any frame stays, s; after that nothing is on screen. Use it where
        the stimulus pauses.

    Returns
    -------
    (bin,) int32
    """
    frame_times = np.asarray(frame_times, dtype=np.float64)
    if frame_times.size == 0:
        return np.full(len(time), -1, dtype=np.int32)
    if last_frame is None:
        last_frame = float(np.median(np.diff(frame_times))) if frame_times.size > 1 else np.inf
    width = float(exact_bin_width(bin_width))
    # A centre that falls on an onset shows the new frame, whatever the rounding of either.
    tolerance = 1e-6 * width
    centre = np.asarray(time, dtype=np.float64) + width / 2
    index = np.searchsorted(frame_times, centre + tolerance, side="right") - 1
    shown_for = centre - frame_times[np.maximum(index, 0)]
    longest = np.where(index == frame_times.size - 1, min(last_frame, hold), hold)
    return np.where((index >= 0) & (shown_for + tolerance < longest), index, -1).astype(np.int32)


def group_bins(values: np.ndarray, n_groups: int, per_group: int, axis: int, how: str):
    """Join bins: "sum" (counts), "mean" (rates, traces) or "mean of known" (covariates).

    The first `n_groups * per_group` bins along `axis` are used. Integers are summed as int32,
    floating point in its own type. A group that misses a bin (NaN) is NaN; with "mean of known",
    one that misses all.
    """
    values = np.moveaxis(values, axis, 0)[: n_groups * per_group]
    grouped = values.reshape(n_groups, per_group, *values.shape[1:])
    if how == "sum":
        integer = np.issubdtype(values.dtype, np.integer)
        # Adding slices is several times faster than a reduction over a short axis.
        joined = grouped[:, 0].astype(np.int32 if integer else values.dtype)
        for i in range(1, per_group):
            joined += grouped[:, i]
    elif how == "mean of known" and values.dtype.kind == "f":
        known = ~np.isnan(grouped)
        with np.errstate(invalid="ignore"):
            joined = np.where(known, grouped, 0).sum(axis=1) / known.sum(axis=1, dtype=values.dtype)
    else:
        joined = grouped.mean(axis=1)
    return np.moveaxis(joined, 0, axis)


def smallest_unsigned(counts: np.ndarray) -> np.ndarray:
    """Counts in the smallest unsigned type that holds them (255 and 65535 stay free as fill)."""
    largest = int(counts.max()) if counts.size else 0
    for dtype in (np.uint8, np.uint16, np.uint32):
        if largest < np.iinfo(dtype).max:
            return counts.astype(dtype)
    return counts.astype(np.uint64)


def bin_intervals(
    spike_times: Sequence[np.ndarray], intervals: Sequence[tuple[float, float]], bin_width
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Count spikes in several stretches of time, each of which becomes a block.

    Parameters
    ----------
    spike_times : sequence of arrays
        One array of times in seconds per neuron.
    intervals : sequence of (start, stop)
        Stretches in seconds, ascending and without overlap. Bins begin at each start; an
        incomplete last bin is left out.
    bin_width : Fraction or float
        Width of a bin, s.

    Returns
    -------
    counts : (bin, neuron)
    time : (bin,) start of each bin, s
    block : (bin,) int32, number of the interval
    outside : (neuron,) spikes in none of the bins
    """
    width = exact_bin_width(bin_width)
    counts, times, blocks = [], [], []
    for number, (start, stop) in enumerate(intervals):
        n_bins = whole_bins(stop - start, width)
        part, _ = bin_spike_times(spike_times, start, width, n_bins)
        counts.append(part.astype(np.int64))
        times.append(bin_edges(start, width, n_bins)[:-1])
        blocks.append(np.full(n_bins, number, dtype=np.int32))
    joined = np.concatenate(counts) if counts else np.zeros((0, len(spike_times)), dtype=np.int64)
    given = np.array([np.size(times_of) for times_of in spike_times], dtype=np.int64)
    return (
        smallest_unsigned(joined),
        np.concatenate(times) if times else np.zeros(0),
        np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int32),
        given - joined.sum(axis=0),
    )


def whole_bins(duration: float, bin_width) -> int:
    """Number of whole bins in a duration in seconds (a millionth of a bin short still counts)."""
    return max(0, int(np.floor(duration / float(exact_bin_width(bin_width)) + 1e-6)))
