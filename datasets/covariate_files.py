"""Covariates as people keep them: csv and npz files, tables, pairs of times and values."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import xarray as xr

from neuromodels.datasets.covariate_labels import check_names
from neuromodels.datasets.covariate_series import Series
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.labelled import SECONDS
from neuromodels.datasets.time_files import found_path

if TYPE_CHECKING:
    import pandas as pd

# What a column of times is called; the first of these that there is.
TIME = ("time", "Time", "time_s", "timestamps", "timestamp", "times", "t")
TABLES = (".csv", ".txt", ".tsv")
SUFFIXES = (*TABLES, ".npz")
ZIP = b"PK\x03\x04"
WITH_UNIT = re.compile(r"^(?P<name>.*\S)\s*[(\[](?P<unit>[^()\[\]]+)[)\]]$")
READABLE = (
    "Give {name: (times, values)} with times in seconds, a DataFrame, or a csv or npz file with a "
    "column `time` (s) and one column per covariate."
)


def is_covariate_file(given, folder: Path | None = None) -> bool:
    """Whether a text is the name of a file of covariates, and not of covariates."""
    if not isinstance(given, (str, Path)):
        return False
    return Path(given).suffix.lower() in SUFFIXES or Path(found_path(given, folder)).is_file()


def read_series(given, where: str, folder: Path | None = None, units=None) -> list[Series]:
    """Covariates as they were sampled, checked.

    Parameters
    ----------
    given : dict, DataFrame or path
        As `attach_covariates` takes them.
    where : str
        Argument, for messages.
    folder : Path, optional
        Where relative paths are looked for if they are not found from here.
    units : str or dict, optional
        Of all covariates, or of each by name.

    Raises
    ------
    InputError
        If there is no time, or something that is no number; the message names file and column.
    """
    if isinstance(given, (str, Path)):
        where, columns = _file(found_path(given, folder))
        series = _columns(columns, where)
    elif hasattr(given, "columns") and hasattr(given, "iloc"):
        series = _columns({str(name): given[name].to_numpy() for name in given.columns}, where)
    elif isinstance(given, Mapping):
        series = [_entry(str(name), entry, where) for name, entry in given.items()]
    else:
        raise InputError(f"is a {type(given).__name__}", where=where, remedy=READABLE)
    if not series:
        raise InputError("holds no covariate", where=where, remedy=READABLE)
    names = [item.name for item in series]
    check_names(names, where)
    stated = units_by_name(units, names, where)
    return [Series(s.name, s.times, s.values, stated.get(s.name, s.units), s.where) for s in series]


def units_by_name(units, names: list[str], where: str) -> dict[str, str]:
    """Units that the user states: one for all, or by name.

    Raises
    ------
    InputError
        If there is no covariate of that name.
    """
    if units is None:
        return {}
    if isinstance(units, str):
        return dict.fromkeys(names, units)
    if not isinstance(units, Mapping) or not set(units) <= set(names):
        said = f"are {units!r}"[:80]
        listed = ", ".join(names)
        raise InputError(
            said,
            where=f"{where}: units",
            remedy=f"Give one text for all, or {{name: unit}}. Covariates: {listed}.",
        )
    return {name: str(unit) for name, unit in units.items()}


def _entry(name: str, entry, where: str) -> Series:
    units = "arbitrary"
    if isinstance(entry, xr.DataArray):
        if entry.ndim != 1 or entry.dims[0] not in entry.coords:
            raise InputError(
                f"has dimensions {entry.dims} without times",
                where=f"{where}: {name}",
                remedy="Give a DataArray (time,) with the coordinate time, s.",
            )
        axis = entry[entry.dims[0]]
        times, values = _in_seconds(axis.values, axis.attrs.get("units")), entry.values
        units = str(entry.attrs.get("units") or units)
    elif hasattr(entry, "t") and hasattr(entry, "values"):  # pynapple
        times, values = entry.t, entry.values
    elif isinstance(entry, (tuple, list)) and len(entry) == 2:
        try:
            times, values = (np.asarray(part) for part in entry)
        except ValueError:  # ragged lists
            times = values = np.asarray(None)
    else:
        raise InputError(f"is a {type(entry).__name__}", where=f"{where}: {name}", remedy=READABLE)
    return Series(name, times, values, units, where)


def _columns(columns: Mapping[str, np.ndarray], where: str) -> list[Series]:
    """Series from the columns of a table, one of which is the time."""
    labels = {label: _name_and_unit(label) for label in columns}
    called = {name: label for label, (name, _) in labels.items()}
    time = next((called[name] for name in TIME if name in called), None)
    if time is None:
        listed = ", ".join(list(columns)[:8])
        what = f"has no column `time` (columns: {listed})"
        raise InputError(what, where=where, remedy=READABLE)
    onsets = _in_seconds(np.asarray(columns[time]), labels[time][1])
    return [
        Series(name, onsets, np.asarray(columns[label]), unit or "arbitrary", where)
        for label, (name, unit) in labels.items()
        if label != time
    ]


def _name_and_unit(label: str) -> tuple[str, str | None]:
    """ "running (cm/s)" as name and unit."""
    found = WITH_UNIT.match(label.strip())
    return (found["name"], found["unit"].strip()) if found else (label.strip(), None)


def _in_seconds(times, unit: str | None) -> np.ndarray:
    times = np.asarray(times)
    scale = SECONDS.get(str(unit or "s").strip(), 1.0)
    return times if scale == 1.0 else times * scale


def _file(path: str) -> tuple[str, Mapping[str, np.ndarray]]:
    where = f"covariates: {path}"
    try:
        with open(path, "rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputError(
            "there is no such file" if isinstance(error, FileNotFoundError) else "cannot be read",
            where=where,
            remedy="Check the path.",
        ) from error
    if head == ZIP:
        return where, _npz(path, where)
    table = _table(path, where)
    return where, {str(name): _numbers(table[name], where) for name in table.columns}


def _npz(path: str, where: str) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, KeyError, BadZipFile) as error:
        objects = "allow_pickle" in str(error)
        raise InputError(
            "holds Python objects, which could run code when they are read"
            if objects
            else "is damaged, or no npz file",
            where=where,
            remedy="Save numbers: np.savez(path, time=..., running=...).",
        ) from error


def _table(path: str, where: str) -> pd.DataFrame:
    import pandas as pd

    try:
        with open(path, encoding="utf-8-sig") as file:
            heading = file.readline()
        how = {
            "sep": max(",;\t", key=heading.count),
            "encoding": "utf-8-sig",
            "skipinitialspace": True,
        }
        labels = pd.read_csv(path, header=None, nrows=1, dtype=str, **how).iloc[0].dropna()
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Otherwise pandas takes what the heading does not name for an index, from the left.
            table = pd.read_csv(path, index_col=False, **how)
    except pd.errors.ParserWarning:
        raise InputError(
            "has rows with more cells than its heading",
            where=where,
            remedy="Name every column; write decimal points, not decimal commas.",
        ) from None
    except (UnicodeDecodeError, ValueError, OSError) as error:  # pandas' errors are ValueErrors
        said = (str(error).strip().splitlines() or [""])[0][:120]
        raise InputError(f"is no table ({said})", where=where, remedy=READABLE) from error
    # pandas would rename the second one.
    if labels.duplicated().any():
        raise InputError(
            f"has two columns {labels[labels.duplicated()].iloc[0]!r}",
            where=where,
            remedy="Give every column a name of its own.",
        )
    return table


def _numbers(column: pd.Series, where: str) -> np.ndarray:
    """A column as numbers; an empty cell is NaN."""
    if column.dtype.kind in "iufb":
        return column.to_numpy()
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce")
    wrong = np.flatnonzero(values.isna().to_numpy() & ~column.isna().to_numpy())
    if wrong.size:
        cell = str(column.iloc[int(wrong[0])])[:40]
        raise InputError(
            f"row {int(wrong[0]) + 2} is {cell!r}, which is no number ({wrong.size} such rows)",
            where=f"{where}: {column.name}",
            remedy="Give numbers with a decimal point; leave a cell empty where nothing was "
            "measured.",
        )
    return values.to_numpy()
