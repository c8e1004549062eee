"""Tables of an NWB file: sorted units, and intervals of time such as trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.links import check_declared
from neuromodels.datasets.objects import TAKEN, some
from neuromodels.datasets.responses import Units
from neuromodels.datasets.sessions import Trials

if TYPE_CHECKING:
    import pandas as pd

# Columns of the units table that are no plain description of a unit.
NOT_METADATA = ("spike_times", "obs_intervals", "electrodes", "waveforms")


def read_units(nwb, path: str) -> Units:
    """Spike times, identifiers and what is known about every unit.

    Raises
    ------
    InputError
        If there are no units or no spike times, or times are NaN or infinite.
    """
    units = nwb.units
    where = f"{path}: /units"
    remedy = (
        "Export the sorted units with their spike times, s (nwbfile.add_unit); or open the "
        "sorter's own folder with the stimulus beside it, or bring the arrays yourself with "
        "neuromodels.recording_from_arrays."
    )
    if units is None:
        lacks = [] if nwb.stimulus else ["no stimulus (/stimulus/presentation)"]
        also = "".join(f", and {what}" for what in lacks)
        raise InputError(
            f"the file has no units table, no traces of cells in /processing{also}",
            where=where,
            remedy=remedy,
        )
    if len(units) == 0:
        raise InputError("the units table is empty", where=where, remedy=remedy)
    if "spike_times" not in units.colnames:
        listed = ", ".join(units.colnames)
        raise InputError(
            f"the units table has no spike_times (it has: {listed})", where=where, remedy=remedy
        )
    ids = [str(unit) for unit in units.id[:]]
    if len(set(ids)) < len(ids):
        twice = sorted({unit for unit in ids if ids.count(unit) > 1})
        raise InputError(
            f"ids {', '.join(twice[:5])} occur more than once",
            where=f"{where}/id",
            remedy="Give every unit an id of its own.",
        )
    spike_times, notes = [], []
    unsorted, negative = [], []
    for unit, times in zip(ids, _ragged(units, "spike_times", where), strict=True):
        times = _seconds(times, unit, where)
        bad = np.flatnonzero(~np.isfinite(times))
        if bad.size:
            raise InputError(
                f"unit {unit} has {bad.size} spike times that are NaN or infinite, the first is "
                f"number {bad[0]}",
                where=f"{where}/spike_times",
                remedy="Remove them, or mend the spike sorter's export.",
            )
        if (np.diff(times) < 0).any():
            unsorted.append(unit)
            times = np.sort(times)
        if times.size and times[0] < 0:
            negative.append(f"{unit} ({np.count_nonzero(times < 0)}, first {times[0]:.4g} s)")
        spike_times.append(times)
    if unsorted:
        notes.append(f"/units/spike_times were not in order and are sorted: {some(unsorted)}")
    if negative:
        notes.append(
            f"/units/spike_times before the session's start (negative): {some(negative)}; check "
            "that they are no padding"
        )
    observed = None
    if "obs_intervals" in units.colnames:
        intervals = _ragged(units, "obs_intervals", where)
        observed = [np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in intervals]
        if not any(len(part) for part in observed):
            observed = None
    return Units(ids, spike_times, _metadata(units), observed, notes, f"{where}/spike_times")


def has_spikes(nwb) -> bool:
    """Whether the units table lists spike times of at least one unit."""
    units = nwb.units
    return units is not None and len(units) > 0 and "spike_times" in units.colnames


def interval_table(nwb, wanted: str | None, path: str) -> tuple[Trials | None, list[str]]:
    """The table of trials, or none, and notes.

    By default /intervals/trials, else /intervals/epochs.

    Raises
    ------
    InputError
        If the table that the user names is not there, or has no start and stop times.
    """
    tables = dict(nwb.intervals or {})
    for name in ("trials", "epochs", "invalid_times"):
        table = getattr(nwb, name, None)
        if table is not None:
            tables.setdefault(name, table)
    if wanted == "none":
        return None, []
    if wanted is not None and wanted not in tables:
        raise InputError(
            f"there is no /intervals/{wanted}",
            where=f"{path}: table",
            remedy=f"Choose one of: {', '.join([*sorted(tables), 'none'])}.",
        )
    found = (name for name in ("trials", "epochs") if name in tables and len(tables[name]))
    name = wanted or next(found, None)
    if name is not None:
        where = f"{path}: /intervals/{name}"
        named = wanted is not None or name == "trials"
        return Trials(name, table_columns(tables[name], where), where, named), []
    others = sorted(name for name in tables if name not in ("trials", "epochs", "invalid_times"))
    if others:
        return None, [f"no trials table, but {', '.join(others)}: choose one with table="]
    return None, []


def table_columns(table, where: str) -> pd.DataFrame:
    """The columns of a table that hold one value per row; lists become one text.

    Raises
    ------
    InputError
        If there is no start_time or stop_time.
    """
    import pandas as pd

    columns = {}
    for name in table.colnames:
        column = table[name]
        if _is_reference(column) or name == "timeseries":
            continue
        if _is_ragged(column):
            values = _joined_text(_ragged(table, name, where))
        else:
            values = _plain(column, f"{where}/{name}")
        if values is not None and values.ndim == 1:
            columns[name] = values
    missing = [name for name in ("start_time", "stop_time") if name not in columns]
    if missing:
        raise InputError(
            f"has no column {missing[0]}", where=where, remedy="Choose another with table=."
        )
    return pd.DataFrame(columns)


def _seconds(times, unit: str, where: str) -> np.ndarray:
    try:
        return np.asarray(times, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise InputError(
            f"the spike times of unit {unit} are no numbers",
            where=f"{where}/spike_times",
            remedy="Give spike times in seconds.",
        ) from None


def _ragged(table, name: str, where: str) -> list[np.ndarray]:
    """Rows of a column whose entries are lists (a VectorData with its VectorIndex)."""
    column = table[name]
    check_declared(column.data, f"{where}/{name}")
    if not _is_ragged(column):
        return list(np.asarray(column.data[:]))
    if _is_ragged(column.target):
        return [np.asarray(column[i]) for i in range(len(table))]
    check_declared(column.target.data, f"{where}/{name}")
    values = np.asarray(column.target.data[:])
    # Files store these as small unsigned integers, whose differences would wrap round.
    stops = np.asarray(column.data[:]).astype(np.int64)
    starts = np.concatenate([[0], stops[:-1]])
    if len(stops) != len(table) or (stops < starts).any() or (stops[-1:] > len(values)).any():
        raise InputError(
            f"its index does not fit its {len(values)} values and {len(table)} rows",
            where=f"{where}/{name}",
            remedy="The table is damaged: export the file again.",
        )
    return [values[a:b] for a, b in zip(starts, stops, strict=True)]


def _is_ragged(column) -> bool:
    from hdmf.common import VectorIndex

    return isinstance(column, VectorIndex)


def _is_reference(column) -> bool:
    from hdmf.common import DynamicTableRegion

    return isinstance(column, DynamicTableRegion) or (
        _is_ragged(column) and _is_reference(column.target)
    )


def _metadata(units) -> dict[str, np.ndarray]:
    found = {}
    for name in units.colnames:
        column = units[name]
        if name.startswith(NOT_METADATA) or _is_ragged(column) or _is_reference(column):
            continue
        values = _plain(column, f"/units/{name}")
        if values is None or len(values) != len(units):
            continue
        name = name.replace("/", "_")
        found[f"unit_{name}" if name in TAKEN else name] = values
    return found


def _plain(column, where: str) -> np.ndarray | None:
    """Numbers as they are, everything else as text; objects by their name.

    None for columns of more than one value per row (mean waveforms), which are not read.
    """
    if len(getattr(column.data, "shape", None) or (0,)) != 1:
        return None
    check_declared(column.data, where)
    values = np.asarray(column.data[:])
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind in "iuf":
        return values
    if values.ndim != 1 or values.dtype.kind not in "SUO":
        return None
    return np.array([_text(value) for value in values.tolist()], dtype=str)


def _text(value) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(getattr(value, "name", value))


def _joined_text(rows: list[np.ndarray]) -> np.ndarray:
    """Lists such as tags as one text each: "repeat, movie 3"."""
    return np.array(
        [", ".join(_text(v) for v in np.ravel(row).tolist()) for row in rows], dtype=str
    )
