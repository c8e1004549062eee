"""Make a recording of pictures from spikes and the times at which pictures were shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from neuromodels.datasets.binning import exact_bin_width
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.image_arrays import (
    edges_of_bins,
    image_recording_from_arrays,
    of_length,
)
from neuromodels.datasets.image_recording import DEFAULT_STIMULUS, ImageRecording
from neuromodels.datasets.responses import Traces, Units

UNEVEN = 0.05  # presentations that differ by more of their duration are reported
MAX_BINS = 100_000


def image_recording_from_presentations(
    images,
    stimulus_ids,
    onsets,
    offsets,
    units: Units | Traces,
    *,
    source: str,
    attrs: Mapping | None = None,
    time_bins=None,
    identity: str | None = None,
    notes: Sequence[str] = (),
    image_ids: Sequence[str] | None = None,
    stimulus_name: str = DEFAULT_STIMULUS,
    presentation_metadata: Mapping[str, object] | None = None,
) -> ImageRecording:
    """Count the spikes of every neuron at every presentation of a picture.

    Parameters
    ----------
    images : (stimulus, y, x) or (stimulus, channel, y, x), or {id: picture}, or None
    stimulus_ids : (presentation,) int or str
        Integers count the images from 0; -1 is a blank.
    onsets, offsets : (presentation,), s
        When each picture appeared and disappeared.
    units : Units or Traces
        Traces are averaged instead of counted.
    source : str
        Path or address; messages begin with it.
    time_bins : float, or (time_bin + 1,) edges, or (time_bin, 2) array, s, optional
        Count in bins from the onset; a single number is their width, from the onset to the median
        offset. Default: one count per presentation.
    notes : list of str
        What the reader has to say.

    Returns
    -------
    ImageRecording
        Counts (presentation, neuron[, time_bin]); NaN where a unit was not observed.

    Raises
    ------
    InputError
        If lengths disagree, or a time is missing or out of order.
    """
    starts, stops = (
        of_length(given, len(stimulus_ids), f"{source}: {name}", "presentation").astype(float)
        for given, name in ((onsets, "onsets"), (offsets, "offsets"))
    )
    bad = ~(np.isfinite(starts) & np.isfinite(stops) & (stops > starts))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"presentation {first} lasts from {starts[first]:g} to {stops[first]:g} s "
            f"({bad.sum()} such)",
            where=f"{source}: offsets",
            remedy="Every presentation must end after it begins, and times be finite.",
        )
    if not starts.size:
        raise InputError(
            "there are none", where=f"{source}: presentations", remedy="Check the table."
        )
    said = [*(attrs or {}).get("notes", ()), *notes, *units.notes]
    durations = stops - starts
    typical = float(np.median(durations))
    if time_bins is None:
        windows = np.stack([starts, stops], axis=1)[:, None]
        uneven = np.abs(durations - typical) > UNEVEN * typical
        if uneven.any():
            said.append(
                f"{uneven.sum()} of {starts.size} presentations last {durations.min():.3g} to "
                f"{durations.max():.3g} s, the others {typical:.3g} s: their counts differ for that"
            )
    else:
        edges = _bins_of(time_bins, typical, source)
        windows = starts[:, None, None] + edges
    values = _windowed(units, windows)
    first, last = units.span()
    outside = (windows[:, 0, 0] > last) | (windows[:, -1, 1] < first)
    if outside.all():
        raise InputError(
            f"no response falls into a presentation: responses lie between {first:.6g} and "
            f"{last:.6g} s, presentations between {starts.min():.6g} and {stops.max():.6g} s",
            where=f"{units.where} and presentations",
            remedy="Bring both to one clock, in seconds from the session's start.",
        )
    kind = units.kind
    default = "spikes per presentation" if time_bins is None else "spikes per bin"
    metadata = dict(units.metadata)
    return image_recording_from_arrays(
        values[..., 0] if time_bins is None else values,
        images=images,
        stimulus_id=stimulus_ids,
        neurons=units.ids,
        time_bins=None if time_bins is None else edges,
        region=metadata.pop("region", None),
        animal=metadata.pop("animal", None),
        kind=kind,
        units=default if kind == "count" else units.units,
        stimulus_name=stimulus_name,
        image_ids=image_ids,
        presentation_metadata={"onset": starts, "offset": stops, **(presentation_metadata or {})},
        unit_metadata=metadata,
        attrs={**(attrs or {}), "notes": said},
        identity=identity,
        source=source,
    )


def _windowed(units: Units | Traces, windows: np.ndarray) -> np.ndarray:
    """Counts, or means of samples, in windows (presentation, bin, 2) as (…, neuron, bin)."""
    edges = windows.reshape(-1, 2)
    if isinstance(units, Traces):
        first, stop = np.searchsorted(units.times, edges.T, side="left")
        out = np.full((len(edges), len(units.ids)), np.nan)
        for i, (a, b) in enumerate(zip(first, stop, strict=True)):
            if b > a:
                out[i] = np.asarray(units.values[a:b], dtype=float).mean(axis=0)
    else:
        out = np.empty((len(edges), len(units.ids)))
        for i, times in enumerate(units.spike_times):
            out[:, i] = np.searchsorted(times, edges[:, 1]) - np.searchsorted(times, edges[:, 0])
        for i, seen in enumerate(units.observed or ()):
            seen = np.asarray(seen, dtype=float).reshape(-1, 2)
            if seen.size:
                inside = (edges[:, :1] >= seen[:, 0]) & (edges[:, 1:] <= seen[:, 1])
                out[~inside.any(axis=1), i] = np.nan
    n_presentations, n_bins = windows.shape[:2]
    return out.reshape(n_presentations, n_bins, -1).transpose(0, 2, 1)


def _bins_of(time_bins, duration: float, source: str) -> np.ndarray:
    """Bins (time_bin, 2) from the onset, s."""
    if np.ndim(time_bins) == 0:
        width = exact_bin_width(time_bins, f"{source}: time_bins")
        n = int(Fraction(round(duration, 6)) / width + Fraction(1, 1000))
        if not 1 <= n <= MAX_BINS:
            raise InputError(
                f"{n} bins of {float(width):g} s fit into presentations of {duration:g} s",
                where=f"{source}: time_bins",
                remedy="Give the width of a bin in seconds, or the edges of all.",
            )
        time_bins = [float(i * width) for i in range(n + 1)]
    return np.stack(edges_of_bins(time_bins, None, source), axis=1)
