"""[spikes] or [traces], [stimulus] and [trials] of a mapping: responses and frames on one clock."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.mapped_arrays import as_names, as_vector, as_vectors
from neuromodels.datasets.formats.mapped_axes import MappedFrames, named_array
from neuromodels.datasets.formats.mapped_roles import STIMULUS_KEYS, read_metadata, read_neurons
from neuromodels.datasets.formats.mapped_schema import (
    ARRAY_KEYS,
    Place,
    check_keys,
    checked_choice,
    checked_number,
    checked_text,
)
from neuromodels.datasets.lazy_movies import movie_variable
from neuromodels.datasets.responses import Traces, Units
from neuromodels.datasets.sessions import Session, Trials

TIMES_KEYS = ("file", "variable", "units", "sampling_rate")
TIME_UNITS = ("s", "ms", "samples")
SPIKE_KEYS = (*TIMES_KEYS, "clusters")
SHOWN_KEYS = ("frame_times", "triggers", "frames_per_trigger", "frame_rate", "start")
MOVIE_KEYS = (*ARRAY_KEYS, *(key for key in STIMULUS_KEYS if key != "samples_per_frame"))
MOVIE_KEYS = (*MOVIE_KEYS, *(key for key in SHOWN_KEYS if key not in MOVIE_KEYS))


def read_session(
    mapping: Mapping, place: Place, source: str, attrs: Mapping, identity: str
) -> Session:
    """Spikes, movie and trials that a mapping names, on one clock in seconds.

    Raises
    ------
    InputError
        If something is missing, unsorted or no number; the message names the table.
    """
    from neuromodels.datasets.beside import movies_beside

    responses = _units(mapping, place) if "spikes" in mapping else _traces(mapping, place)
    table, where = mapping.get("stimulus"), f"{place.said}: [stimulus]"
    if table is None:
        raise InputError(
            "is missing",
            where=where,
            remedy="With [spikes], name the frames (variable, axes) and when they were shown "
            "(frame_times, triggers, or frame_rate and start).",
        )
    check_keys(table, MOVIE_KEYS, where)
    array = named_array(
        table,
        place,
        where,
        required=("time",),
        optional=("y", "x", "channel"),
        more_keys=MOVIE_KEYS,
    )
    reader = MappedFrames(array, [(None, 0, array.sizes["time"])], 1)
    name = checked_text(table.get("name", "stimulus"), f"{where}: name")
    about = {k: table[k] for k in ("description", "generator", "seed", "background") if k in table}
    movie = movie_variable(reader, {"units": str(table.get("units", "arbitrary"))})
    shown = {key: table[key] for key in SHOWN_KEYS if key in table}
    for key in ("frame_times", "triggers"):
        if key in shown:
            shown[key] = _times(shown[key], place, f"{where} {key}")
    if isinstance(shown.get("start"), (Mapping, str)):
        shown["start"] = _times(shown["start"], place, f"{where} start")
    beside = movies_beside(
        {name: movie},
        where=where,
        span=responses.span(),
        **{k: {name: v} for k, v in shown.items()},
    )
    for item in beside.movies:
        item.attrs.update(about)
    trials = _trials(mapping["trials"], place) if "trials" in mapping else beside.trials
    return Session(
        source,
        responses,
        beside.movies,
        trials,
        attrs=dict(attrs),
        notes=list(beside.notes),
        identity=identity,
    )


def _units(mapping: Mapping, place: Place) -> Units:
    table, where = mapping["spikes"], f"{place.said}: [spikes]"
    check_keys(table, SPIKE_KEYS, where)
    found = place.find(table, where)
    said = f"{where}: {table.get('variable', 'spike times')}"
    names = read_neurons(mapping, place)
    if "clusters" in table:
        times = as_vector(found, said)
        other = {"variable": table["clusters"], **{k: table[k] for k in ("file",) if k in table}}
        if isinstance(table["clusters"], Mapping):
            other = table["clusters"]
            check_keys(other, ("file", "variable"), f"{where} clusters")
        owner = as_vector(place.find(other, f"{where} clusters"), f"{where} clusters")
        if owner.size != times.size:
            raise InputError(
                f"has {owner.size} ids for {times.size} spikes",
                where=f"{where} clusters",
                remedy="Give the cluster of every spike, in the same order.",
            )
        ids = np.unique(owner)
        vectors, labels = [times[owner == i] for i in ids], [f"{i:g}" for i in ids]
    else:
        vectors = as_vectors(found, said)
        labels = [str(i) for i in range(len(vectors))]
    if not vectors:
        raise InputError("holds no neurons", where=said, remedy="Export the sorted spikes.")
    if names is not None and len(names) != len(vectors):
        raise InputError(
            f"has {len(names)} names for {len(vectors)} neurons",
            where=f"{place.said}: neurons",
            remedy="Give one name per neuron, in the order of the spike times.",
        )
    spikes = [
        _ascending(_seconds(times, table, where), f"{said}, neuron {i}")
        for i, times in enumerate(vectors)
    ]
    metadata = _by_neuron(mapping, place)
    return Units(names or labels, spikes, metadata=metadata, where=said)


def _traces(mapping: Mapping, place: Place) -> Traces:
    table, where = mapping["traces"], f"{place.said}: [traces]"
    own = ("kind", "units", "times", "sampling_rate", "start")
    array = named_array(
        table, place, where, required=("time",), optional=("neuron",), more_keys=own
    )
    n_samples, n_cells = array.sizes["time"], array.sizes.get("neuron", 1)
    if "times" in table:
        times = _times(table["times"], place, f"{where} times")
    elif "sampling_rate" in table:
        rate = checked_number(table["sampling_rate"], f"{where}: sampling_rate")
        start = table.get("start", 0.0)
        if isinstance(start, bool) or not isinstance(start, (int, float)):
            raise InputError(f"is {start!r}"[:80], where=f"{where}: start", remedy="Give s.")
        times = float(start) + np.arange(n_samples) / rate
    else:
        raise InputError(
            "nothing says when the samples were taken",
            where=where,
            remedy='Name their times: times = { variable = "t", units = "s" }, or sampling_rate '
            "(Hz) and start (s).",
        )
    bad = np.flatnonzero(~(np.diff(times) > 0) | ~np.isfinite(np.diff(times)))
    if times.size != n_samples or n_samples < 2 or bad.size:
        what = (
            f"do not ascend at sample {bad[0] + 1}"
            if bad.size
            else f"has {times.size} times for {n_samples} samples"
        )
        raise InputError(
            what, where=f"{where} times", remedy="Give one time per sample, ascending."
        )
    names = read_neurons(mapping, place) or [str(i) for i in range(n_cells)]
    if len(names) != n_cells:
        raise InputError(
            f"has {len(names)} names for {n_cells} neurons",
            where=f"{place.said}: neurons",
            remedy="Give one name per neuron, in the order of the traces.",
        )
    return Traces(
        names,
        array.read(("time", "neuron")),
        times,
        kind=checked_choice(table.get("kind", "trace"), ("trace", "rate"), f"{where}: kind"),
        units=table.get("units"),
        metadata=_by_neuron(mapping, place),
        where=where,
    )


def _by_neuron(mapping: Mapping, place: Place) -> dict:
    return {
        name: values
        for name, (dims, values, _) in read_metadata(mapping, place).items()
        if dims == ("neuron",)
    }


def _times(given, place: Place, where: str) -> np.ndarray:
    """Times in seconds that a table (or the bare name of a variable) gives."""
    table = {"variable": given} if isinstance(given, str) else given
    check_keys(table, TIMES_KEYS, where)
    return _seconds(as_vector(place.find(table, where), where), table, where)


def _seconds(values: np.ndarray, table: Mapping, where: str) -> np.ndarray:
    units = checked_choice(table.get("units", "s"), TIME_UNITS, f"{where}: units")
    if units != "samples":
        return values / 1000.0 if units == "ms" else values
    if "sampling_rate" not in table:
        raise InputError(
            "is missing",
            where=f"{where}: sampling_rate",
            remedy="Times in samples need it: sampling_rate = 30000 (Hz).",
        )
    return values / checked_number(table["sampling_rate"], f"{where}: sampling_rate")


def _ascending(times: np.ndarray, where: str) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(times))
    if bad.size:
        raise InputError(
            f"spike {bad[0]} is at {times[bad[0]]} ({bad.size} such spikes)",
            where=where,
            remedy="Remove them, or sort the spikes again.",
        )
    back = np.flatnonzero(np.diff(times) < 0)
    if back.size:
        i = int(back[0]) + 1
        padded = times[i] == 0 and not times[i:].any()
        raise InputError(
            f"spike {i} at {times[i]:.6g} s comes after {times[i - 1]:.6g} s",
            where=where,
            remedy="The rest is zeros: pad rows with NaN, or use a cell array."
            if padded
            else "Sort the spike times of every neuron.",
        )
    return times


def _trials(table, place: Place) -> Trials:
    import pandas as pd

    from neuromodels.datasets.beside import trials_beside

    where = f"{place.said}: [trials]"
    check_keys(table, ("start", "stop", "columns"), where)
    columns = {}
    for key in ("start", "stop"):
        if key not in table:
            raise InputError(
                "is missing",
                where=f"{where} {key}",
                remedy=f'Name it: {key} = {{ variable = "trial_{key}", units = "s" }}.',
            )
        columns[f"{key}_time"] = _times(table[key], place, f"{where} {key}")
    more = table.get("columns", {})
    if not isinstance(more, Mapping):
        check_keys(more, ("NAME",), f"{where} columns")
    for name, given in more.items():
        place_said = f"{where} columns.{name}"
        given = {"variable": given} if isinstance(given, str) else given
        check_keys(given, ("file", "variable"), place_said)
        found = place.find(given, place_said)
        text = isinstance(found.values, list) or found.values.dtype.kind in "US"
        columns[name] = as_names(found, place_said) if text else as_vector(found, place_said)
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            f"has columns of different lengths: {lengths}",
            where=where,
            remedy="Every column needs one entry per trial.",
        )
    return trials_beside(pd.DataFrame(columns), place.said)
