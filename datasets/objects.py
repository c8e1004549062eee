"""Spikes that are in memory already: pynapple, neo, SpikeInterface, dicts and lists of arrays.

What an object is, is read from the module of its type, so that none of these packages is imported
unless the caller did it.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.responses import Units

# Names that axes and labels of a recording have already.
TAKEN = ("neuron", "time", "frame", "trial", "block", "y", "x", "channel", "covariate", "id")
SPIKES = (
    "Give a pynapple TsGroup, a list of neo SpikeTrains, a SpikeInterface sorting, a dict "
    "{id: times}, or a list with one array of spike times (s) per neuron."
)
# What neo users call a unit, in the order in which it is looked for.
NEO_IDS = ("unit_id", "id", "cluster_id")


def units_of(spikes, where: str = "spikes") -> Units:
    """Sorted units of whatever holds spike times, in seconds and in order.

    Parameters
    ----------
    spikes : object
        pynapple ``TsGroup`` or ``Ts``; neo ``SpikeTrain``, a list of them or a ``Segment``;
        a SpikeInterface sorting of one segment; ``{id: times}``; a list with one array of times
        per neuron, or one array for one neuron.
    where : str
        How messages begin.

    Returns
    -------
    Units
        Ids are those of the object ("0", "1", ... for plain lists); metadata are its columns,
        annotations or properties; `observed` is its time support, where it has one.

    Raises
    ------
    InputError
        If the object is none of these, or a time is NaN, infinite or no number.
    """
    if isinstance(spikes, Units):
        return spikes
    package = _package(spikes)
    if package == "pynapple":
        found = _pynapple(spikes, where)
    elif package == "neo" or _is_list_of(spikes, "neo"):
        found = _neo(spikes, where)
    elif hasattr(spikes, "get_unit_spike_train"):
        found = _sorting(spikes, where)
    elif isinstance(spikes, Mapping):
        found = list(spikes), list(spikes.values()), {}, None
    else:
        found = _plain(spikes, where)
    ids, trains, metadata, observed = found
    ids = [str(unit) for unit in ids]
    if not ids:
        raise InputError("holds no neuron", where=where, remedy=SPIKES)
    _unique(ids, where)
    times, notes = [], []
    unsorted, negative = [], []
    for unit, train in zip(ids, trains, strict=True):
        seconds = spike_seconds(train, f"{where}: unit {unit}")
        if (np.diff(seconds) < 0).any():
            unsorted.append(unit)
            seconds = np.sort(seconds)
        if seconds.size and seconds[0] < 0:
            negative.append(f"{unit} ({np.count_nonzero(seconds < 0)}, first {seconds[0]:.4g} s)")
        times.append(seconds)
    if unsorted:
        notes.append(f"spike times were not in order and are sorted: {some(unsorted)}")
    if negative:
        notes.append(f"negative spike times: {some(negative)}; check that they are no padding")
    return Units(ids, times, metadata, observed, notes, where)


def is_positional(spikes) -> bool:
    """Whether its neurons have no names, only places: a list of arrays, or one array."""
    if isinstance(spikes, np.ndarray):
        return True
    return isinstance(spikes, (list, tuple)) and not _is_list_of(spikes, "neo")


def trial_units(spike_times, where: str) -> tuple[list[str] | None, list[list[np.ndarray]]]:
    """Names of the neurons, or None, and their spike times (s) in every trial."""
    names, trains = None, []
    for i, trial in enumerate(spike_times):
        place = f"{where}[{i}]"
        units = units_of(trial, place)
        own = None if is_positional(trial) else units.ids
        names = own if i == 0 else names
        if own is not None and own != names and sorted(own) == sorted(names or []):
            units = [units.spike_times[own.index(name)] for name in names]
        elif own != names or (trains and len(units.ids) != len(trains[0])):
            raise InputError(
                f"holds {len(units.ids)} neurons other than those of the first trial",
                where=place,
                remedy="Give every trial the same neurons; an empty array for one that was silent.",
            )
        else:
            units = units.spike_times
        trains.append(units)
    return names, trains


def spike_seconds(times, where: str) -> np.ndarray:
    """Times of one neuron as (spike,) float64, checked to be finite numbers.

    Raises
    ------
    InputError
        If they are something else.
    """
    values = _as_array(times, where)
    if values.dtype.kind not in "iuf" and values.size:
        raise InputError(
            f"holds {values.dtype} values, not numbers",
            where=where,
            remedy="Give spike times as numbers, s.",
        )
    if values.ndim == 2 and 1 in values.shape:
        values = values.ravel()
    if values.ndim != 1:
        raise InputError(
            f"has shape {values.shape}",
            where=where,
            remedy="Give one list of spike times per neuron, s.",
        )
    values = values.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InputError(
            f"holds {bad.size} times that are NaN or infinite, the first is number {bad[0]}",
            where=where,
            remedy="Remove them, or mend the spike sorter's export.",
        )
    return values


def tidy_metadata(columns: Mapping[str, np.ndarray], n_units: int) -> dict[str, np.ndarray]:
    """Columns that label units: numbers as they are, the rest as text, under names of their own."""
    tidy = {}
    for name, column in columns.items():
        values = np.asarray(column)
        if values.shape != (n_units,):
            continue
        if values.dtype == bool:
            values = values.astype(np.uint8)
        elif values.dtype.kind not in "iuf":
            values = np.array([str(value) for value in values.tolist()], dtype=str)
        name = str(name).replace("/", "_")
        tidy[f"unit_{name}" if name in TAKEN else name] = values
    return tidy


def some(names: list[str]) -> str:
    """The first of many names, for messages."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _package(thing) -> str:
    # A subclass from the caller's own module still is what it inherits from.
    known = ("pynapple", "neo")
    tops = [kind.__module__.partition(".")[0] for kind in type(thing).__mro__]
    return next((top for top in tops if top in known), tops[0])


def _is_list_of(things, package: str) -> bool:
    if not isinstance(things, (list, tuple)) or not things:
        return False
    return all(_package(thing) == package for thing in things)


def _pynapple(spikes, where: str):
    if hasattr(spikes, "to_tsd") and hasattr(spikes, "keys"):
        ids = list(spikes.keys())
        trains = [spikes[unit] for unit in ids]
        table = getattr(spikes, "metadata", None)
        columns = {} if table is None else {name: table[name] for name in table.columns}
        columns.pop("rate", None)  # of its time support; ours come from the recording
        metadata = tidy_metadata(columns, len(ids))
    elif type(spikes).__name__ == "Ts":
        ids, trains, metadata = ["0"], [spikes], {}
    else:
        raise _unknown(spikes, where)
    support = getattr(spikes, "time_support", None)
    observed = None
    if support is not None and len(support):
        observed = [np.asarray(support.values, dtype=np.float64)] * len(ids)
        # Without one of their own, objects are given the span of their spikes: that says nothing.
        if _is_span(observed[0], [train.times() for train in trains]):
            observed = None
    return ids, trains, metadata, observed


def _is_span(support: np.ndarray, trains) -> bool:
    times = [train for train in trains if len(train)]
    if len(support) != 1 or not times:
        return False
    first, last = min(t[0] for t in times), max(t[-1] for t in times)
    return support[0, 0] == first and support[0, 1] == last


def _neo(spikes, where: str):
    if hasattr(spikes, "spiketrains"):
        trains = list(spikes.spiketrains)
    elif hasattr(spikes, "segments"):
        if len(spikes.segments) != 1:
            raise InputError(
                f"is a neo Block of {len(spikes.segments)} segments",
                where=where,
                remedy="Give one segment at a time, or its spiketrains.",
            )
        trains = list(spikes.segments[0].spiketrains)
    else:
        several = isinstance(spikes, (list, tuple)) or type(spikes).__name__ == "SpikeTrainList"
        trains = list(spikes) if several else [spikes]
    for train in trains:
        if not hasattr(train, "t_start") or not hasattr(train, "t_stop"):
            raise _unknown(train, where)
    # Times of neo are absolute: t_start says since when there was a recording, it shifts nothing.
    observed = [
        np.array([[float(_in_seconds(t.t_start)), float(_in_seconds(t.t_stop))]]) for t in trains
    ]
    notes = [getattr(train, "annotations", {}) or {} for train in trains]
    shared = set.intersection(*(set(note) for note in notes)) if notes else set()
    columns = {
        name: np.array([note[name] for note in notes])
        for name in sorted(shared)
        if all(np.ndim(note[name]) == 0 for note in notes)
    }
    ids = _neo_ids(trains, columns)
    columns = {name: values for name, values in columns.items() if name not in NEO_IDS}
    return ids, trains, tidy_metadata(columns, len(ids)), observed or None


def _neo_ids(trains, columns: Mapping) -> list:
    choices = [columns[name].tolist() for name in NEO_IDS if name in columns]
    choices.append([train.name for train in trains])
    for ids in choices:
        if all(unit not in (None, "") for unit in ids) and len(set(ids)) == len(ids):
            return ids
    return list(range(len(trains)))


def _sorting(sorting, where: str):
    """Anything with the methods of a SpikeInterface sorting."""
    ids = list(sorting.get_unit_ids() if hasattr(sorting, "get_unit_ids") else sorting.unit_ids)
    n_segments = sorting.get_num_segments() if hasattr(sorting, "get_num_segments") else 1
    if n_segments != 1:
        raise InputError(
            f"is a sorting of {n_segments} segments, each with a clock of its own",
            where=where,
            remedy="Give one segment: spikeinterface.select_segment_sorting(sorting, [0]).",
        )
    trains = []
    for unit in ids:
        try:
            trains.append(sorting.get_unit_spike_train(unit_id=unit, return_times=True))
        except TypeError:  # older sortings hand out samples only
            samples = np.asarray(sorting.get_unit_spike_train(unit_id=unit))
            trains.append(samples / float(sorting.get_sampling_frequency()))
    columns = {}
    if hasattr(sorting, "get_property_keys"):
        columns = {name: sorting.get_property(name) for name in sorting.get_property_keys()}
    return ids, trains, tidy_metadata(columns, len(ids)), None


def _plain(spikes, where: str):
    if isinstance(spikes, np.ndarray) and spikes.dtype != object and spikes.ndim:
        trains = [spikes] if spikes.ndim == 1 else list(spikes)
    elif isinstance(spikes, (list, tuple)) or _is_object_array(spikes):
        trains = list(spikes)
    else:
        raise _unknown(spikes, where)
    for i, train in enumerate(trains):
        if isinstance(train, (str, bytes, numbers.Number)):
            raise InputError(
                f"entry {i} is {str(train)[:40]}, not a list of spike times",
                where=where,
                remedy="Give one array of spike times per neuron: [times] for a single neuron.",
            )
    return list(range(len(trains))), trains, {}, None


def _is_object_array(spikes) -> bool:
    return isinstance(spikes, np.ndarray) and spikes.ndim == 1


def _in_seconds(quantity) -> np.ndarray:
    """Numbers without their unit (neo, quantities), or the times of a pynapple object."""
    if hasattr(quantity, "rescale"):
        return np.asarray(quantity.rescale("s").magnitude)
    return np.asarray(quantity.times() if _package(quantity) == "pynapple" else quantity)


def _as_array(times, where: str) -> np.ndarray:
    try:
        return _in_seconds(times)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"cannot be read as numbers ({error})",
            where=where,
            remedy="Give one list of spike times per neuron, s.",
        ) from None


def _unique(ids: list[str], where: str) -> None:
    if len(set(ids)) < len(ids):
        twice = sorted({unit for unit in ids if ids.count(unit) > 1})
        raise InputError(
            f"ids {some(twice)} occur more than once",
            where=where,
            remedy="Give every unit an id of its own.",
        )


def _unknown(thing, where: str) -> InputError:
    kind = f"{type(thing).__module__}.{type(thing).__qualname__}".removeprefix("builtins.")
    return InputError(f"is {kind}, which holds no spike trains", where=where, remedy=SPIKES)
