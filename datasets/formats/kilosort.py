"""Kilosort and Phy folders: curated clusters, in seconds, with the stimulus beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuromodels.datasets.beside import BESIDE_OPTIONS
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.kilosort_arrays import (
    CLUSTERS,
    TEMPLATES,
    TIMES,
    spike_clusters,
    spike_samples,
)
from neuromodels.datasets.formats.kilosort_tables import (
    ClusterTables,
    choose_clusters,
    plural,
    read_tables,
    stated_rate,
)
from neuromodels.datasets.objects import some
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.responses import Units
from neuromodels.datasets.sources import Source
from neuromodels.datasets.spikes import record_units

TITLE = "a Kilosort/Phy folder"
OPTIONS = (
    *BESIDE_OPTIONS,
    *("sampling_rate", "labels", "labels_from", "start_times", "finest_bin_width"),
)
MOST_CLUSTERS = 20_000  # no probe sees more; bins x clusters must stay within memory


def recognizes(source: Source) -> bool:
    """Whether it is a folder with spike times and clusters, or the params.py of one."""
    folder = _folder(source)
    if folder is None:
        return False
    return (folder / TIMES).is_file() and any((folder / n).is_file() for n in (CLUSTERS, TEMPLATES))


def read(
    source: Source,
    *,
    bin_width=None,
    stimulus=None,
    test=None,
    sampling_rate: float | None = None,
    labels: str | Sequence[str] = ("good",),
    labels_from: str | None = None,
    start_times=None,
    finest_bin_width=None,
    **beside,
) -> Recording:
    """Open a Kilosort/Phy folder as a recording: the clusters that a person called good.

    Parameters
    ----------
    source : Source
        The folder, or the params.py in it.
    bin_width : float or Fraction, s, optional
        Bins of the view that is returned (default: the finest bins).
    stimulus : array, path, generator, or a list or dict of these
        What was shown; `**beside` says when (frame_times, frame_rate and start, triggers and
        frames_per_trigger, schedule, trials). Names of files are looked for in the folder too.
    test : str or list of (start, stop), optional
        Which part is the repeated test; by default it is found from the frames.
    sampling_rate : float, Hz, optional
        Samples per second (default: sample_rate in params.py). A calibrated rate within 0.1 % of
        it takes its place.
    labels : str or list of str
        Which clusters: "good" (default), "mua", "noise", "unsorted", several of them
        ("good,mua"), or "all".
    labels_from : str, optional
        Column of a cluster_*.tsv that holds the labels (default: "group", which people set in
        Phy). "KSLabel" is what Kilosort thinks.
    start_times : float, list of (first sample, time), {first sample: time} or str, optional
        For recordings that were joined before sorting: from which sample each begins, and when
        that was on the clock of the stimulus, s. One number: when sample 0 was.
    finest_bin_width : float or Fraction, s, optional
        Bins that spikes are counted in (default: 1 ms).

    Raises
    ------
    InputError
        If files contradict each other, nothing was curated, or the stimulus does not fit.
    """
    folder = _folder(source)
    rate, notes = stated_rate(folder, sampling_rate)
    units, said = read_units(
        folder, rate, labels=labels, labels_from=labels_from, start_times=start_times
    )
    units.notes[:0] = [*notes, *said]
    return record_units(
        units,
        stimulus,
        source=source.name,
        folder=folder,
        attrs={"format": "Kilosort/Phy", "sampling_rate": rate},
        identity=_identity(folder),
        test=test,
        bin_width=bin_width,
        finest_bin_width=finest_bin_width,
        **beside,
    )


def read_units(
    folder: Path,
    rate: float,
    *,
    labels: str | Sequence[str] = ("good",),
    labels_from: str | None = None,
    start_times=None,
) -> tuple[Units, list[str]]:
    """Clusters as Phy shows them, chosen by their labels, with spike times in seconds.

    Returns
    -------
    units : Units
        Ids are those of Phy, ascending; metadata are the columns of the cluster tables.
    notes : list of str
        Where ids and labels come from, how many of each label there are, what was left out.
    """
    samples = spike_samples(folder)
    clusters, notes = spike_clusters(folder, len(samples))
    ids, counts = np.unique(clusters, return_counts=True)
    if not ids.size:
        raise InputError(
            "holds no spikes", where=f"{folder / TIMES}", remedy="Sort the recording again."
        )
    if ids[0] < 0:
        raise InputError(
            f"holds the negative cluster {ids[0]}",
            where=f"{folder / CLUSTERS}",
            remedy="Save the clusters again in Phy.",
        )
    if ids.size > MOST_CLUSTERS:
        raise InputError(
            f"holds {ids.size} different clusters for {clusters.size} spikes",
            where=f"{folder / CLUSTERS}",
            remedy="The file is damaged, or is no list of clusters: save it again in Phy.",
        )
    tables = read_tables(folder)
    chosen, said = choose_clusters(folder, tables, ids, labels, labels_from)
    notes += said
    segments = _segments(start_times, folder)
    trains, said = _trains(samples, clusters, chosen, rate, segments)
    notes += said
    there = [i for i, times in enumerate(trains) if times.size]
    if len(there) < len(chosen):
        empty = [str(chosen[i]) for i in range(len(chosen)) if not trains[i].size]
        notes.append(f"units without a spike left out: {some(empty)}")
    chosen = chosen[there]
    trains = [trains[i] for i in there]
    units = Units(
        [str(unit) for unit in chosen],
        trains,
        _metadata(tables, chosen, counts[np.searchsorted(ids, chosen)]),
        _observed(segments, rate, len(chosen)),
        where=f"{folder / TIMES}",
    )
    return units, notes


def _folder(source: Source) -> Path | None:
    if source.path is None:
        return None
    if source.is_folder:
        return source.path
    return source.path.parent if source.path.name == "params.py" else None


def _segments(start_times, folder: Path) -> list[tuple[int, float]]:
    """(first sample, time of it) of each recording that was joined, ascending; none: from 0."""
    where = f"{folder}: start_times"
    remedy = "Give [(first sample, time on the stimulus clock in s), ...], for example "
    remedy += "[(0, 0.0), (18000000, 912.4)]; or one number, the time of sample 0."
    if start_times is None:
        return []
    if isinstance(start_times, dict):
        start_times = list(start_times.items())
    if isinstance(start_times, str):  # from a command line: "0:0.0,18000000:912.4" or "12.5"
        pairs = [part.split(":") for part in start_times.split(",")]
        start_times = pairs[0][0] if len(pairs[0]) == 1 else pairs
    try:
        pairs = np.asarray(start_times, dtype=np.float64)
    except (TypeError, ValueError):
        pairs = np.zeros(0)
    if pairs.ndim == 0:
        pairs = np.array([[0.0, float(pairs)]])
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise InputError(f"is {str(start_times)[:80]}", where=where, remedy=remedy)
    if not np.isfinite(pairs).all():
        raise InputError("holds NaN or infinite values", where=where, remedy=remedy)
    first = pairs[:, 0]
    if (first != np.floor(first)).any() or (first < 0).any():
        raise InputError(
            f"first samples {first.tolist()} are no counts of samples", where=where, remedy=remedy
        )
    if (np.diff(first) <= 0).any():
        raise InputError(
            f"first samples {first.astype(int).tolist()} do not ascend",
            where=where,
            remedy="List the recordings in the order in which they were joined.",
        )
    return [(int(sample), float(time)) for sample, time in pairs]


def _trains(samples, clusters, chosen, rate: float, segments) -> tuple[list[np.ndarray], list[str]]:
    """Spike times of the chosen clusters, s, ascending; and what was not used."""
    notes = []
    used = np.isin(clusters, chosen)
    samples, clusters = samples[used], clusters[used]
    negative = samples < 0
    if negative.any():
        lost = plural(np.count_nonzero(negative), "spike")
        notes.append(
            f"{TIMES}: {lost} before the recording's start (first {samples.min()} samples) left out"
        )
        samples, clusters = samples[~negative], clusters[~negative]
    if (np.diff(samples) < 0).any():
        notes.append(f"{TIMES} is not in order: spikes are sorted")
    if segments:
        seconds, said = _shifted(samples, rate, segments)
        notes += said
        known = np.isfinite(seconds)
        seconds, clusters = seconds[known], clusters[known]
    else:
        seconds = samples / rate
    order = np.argsort(clusters, kind="stable")
    first = np.searchsorted(clusters, chosen, side="left", sorter=order)
    stop = np.searchsorted(clusters, chosen, side="right", sorter=order)
    parts = zip(first, stop, strict=True)
    return [np.sort(seconds[order[a:b]]) for a, b in parts], notes


def _shifted(samples, rate: float, segments) -> tuple[np.ndarray, list[str]]:
    """Seconds on the clock of the stimulus; NaN before the first recording."""
    first = np.array([sample for sample, _ in segments], dtype=np.int64)
    times = np.array([time for _, time in segments])
    lengths = np.diff(first) / rate
    # Recordings may have been joined in any order; two of them never share a moment.
    last = max(int(samples.max(initial=0)) + 1 - int(first[-1]), 0) / rate
    ends = times + np.append(lengths, last)
    order = np.argsort(times, kind="stable")
    for a, b in zip(order[:-1], order[1:], strict=True):
        over = ends[a] - times[b]
        if over > 1e-3 * (ends[a] - times[a]) + 1e-3:  # clocks drift
            raise InputError(
                f"the recording from sample {first[a]} lasts until {ends[a]:.6g} s, but the one "
                f"from sample {first[b]} begins at {times[b]:.6g} s",
                where="start_times",
                remedy="Check first samples and times: each pair is (first sample of a recording, "
                "its time on the stimulus clock in s).",
            )
    index = np.searchsorted(first, samples, side="right") - 1
    seconds = np.where(index < 0, np.nan, times[index] + (samples - first[index]) / rate)
    before = np.count_nonzero(index < 0)
    said = "; ".join(f"sample {sample} at {time:.6g} s" for sample, time in segments[:4])
    more = f"; and {len(segments) - 4} more" if len(segments) > 4 else ""
    notes = [f"start_times: {said}{more}"] if len(segments) > 1 else []
    if before:
        notes.append(f"{plural(before, 'spike')} before sample {first[0]} (start_times) left out")
    return seconds, notes


def _observed(segments, rate: float, n_units: int) -> list[np.ndarray] | None:
    """When the joined recordings ran: between them silence means nothing."""
    if len(segments) < 2:
        return None
    first = np.array([sample for sample, _ in segments])
    times = np.array([time for _, time in segments])
    stops = times + np.append(np.diff(first) / rate, np.inf)
    # The last one ends where the next on the clock begins, if it was not the last there.
    later = times[times > times[-1]]
    stops[-1] = later.min() if later.size else np.inf
    intervals = np.column_stack([times, stops])
    return [intervals[np.argsort(times)]] * n_units


def _metadata(tables: ClusterTables, chosen: np.ndarray, n_spikes: np.ndarray) -> dict:
    columns = {"n_spikes": n_spikes}
    columns |= tables.columns_of(chosen)
    columns["n_spikes"] = n_spikes  # counted, not copied from a table that may be older
    return columns


def _identity(folder: Path) -> str:
    """sha256 over the files that were read, in the order of their names."""
    digest = hashlib.sha256()
    names = {TIMES, CLUSTERS if (folder / CLUSTERS).is_file() else TEMPLATES, "params.py"}
    names |= {path.name for path in folder.glob("cluster*.tsv")} | {"cluster_groups.csv"}
    for name in sorted(names):
        path = folder / name
        if path.is_file():
            with path.open("rb") as file:
                digest.update(
                    f"{name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
                )
    return digest.hexdigest()
