"""Running, pupil and other behaviour of an NWB file as covariates of its recording."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from neuromodels.datasets.covariate_labels import covariate_names, covariate_units
from neuromodels.datasets.covariate_series import Series
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.nwb_data import Reading, series_times
from neuromodels.datasets.links import check_declared

#: Modules whose series are taken by themselves hold one of these in their names.
BEHAVIOUR = ("behavior", "behaviour", "eye", "pupil", "running", "locomotion", "treadmill", "wheel")
MOST_COLUMNS = 3  # of a series: x, y, z
MOST_FOUND = 20  # columns that are taken by themselves: more are coordinates of a pose
MOST_SAMPLES, MOST_STREAMED = 2 * 10**7, 10**6  # of a series that is taken by itself
AXES = "xyz"


@dataclass(frozen=True, eq=False)
class _Column:
    """One covariate in a series of the file: all of it, or one of its columns."""

    name: str
    place: str
    series: object
    column: int | None
    #: Whether it is taken unless the user says otherwise.
    offered: bool


def read_behaviour(
    nwb, wanted: list[str] | None, reading: Reading
) -> tuple[list[Series], list[str]]:
    """Behaviour on the clock of the session, and notes on what was taken and what was not.

    Parameters
    ----------
    wanted : list of str, optional
        Names of series, or their paths in the file (default: those of modules that are called
        behavior, eye_tracking, running, ...).

    Raises
    ------
    InputError
        If the file lacks what is named, or it cannot be used. What is not named and cannot be used
        is left out, and a note says why.
    """
    if wanted is not None and not wanted:
        return [], []
    found = _find(nwb)
    if wanted is None:
        series, notes = _offered(found, reading)
    else:
        series, notes = [_read(item, reading) for item in _named(found, wanted, reading)], []
    return series, [*([_said(series)] if series else []), *notes]


def _said(series: list[Series]) -> str:
    listed = ", ".join(f"{item.name} ({item.units})" for item in series)
    return f"covariates: {listed}; covariates= chooses others, or 'none'"


def _find(nwb) -> list[_Column]:
    """Every series that could be a covariate, under a short name that no other one has."""
    from pynwb.behavior import SpatialSeries

    columns = []
    for path, item, offered in _series(nwb):
        shape = tuple(getattr(item.data, "shape", None) or ())
        if len(shape) not in (1, 2) or np.dtype(item.data.dtype).kind not in "biuf":
            continue
        width = shape[1] if len(shape) == 2 else 1
        if shape[0] < 2 or not 1 <= width <= MOST_COLUMNS:
            continue
        if len(shape) == 1:
            columns.append((path, "", item, None, offered))
            continue
        for i in range(width):
            axis = AXES[i] if isinstance(item, SpatialSeries) else str(i)
            columns.append((path, f"_{axis}" if width > 1 else "", item, i, offered))
    names = _short([(path, end) for path, end, *_ in columns])
    return [
        _Column(name, "/".join(path), item, column, offered)
        for name, (path, _, item, column, offered) in zip(names, columns, strict=True)
    ]


def _series(nwb) -> Iterator[tuple[tuple[str, ...], object, bool]]:
    """(path, series, offered) of behaviour in processing modules and in the acquisition."""
    places = [(("acquisition",), nwb.acquisition or {}, False)]
    for name, module in (nwb.processing or {}).items():
        offered = any(word in name.lower() for word in BEHAVIOUR)
        places.append((("processing", name), module.data_interfaces, offered))
    for path, members, offered in places:
        for name, item in members.items():
            if _is_series(item):
                yield (*path, name), item, offered
            for inner, series in _inside(item).items():
                if _is_series(series):
                    yield (*path, name, inner), series, offered


def _is_series(item) -> bool:
    from pynwb import TimeSeries
    from pynwb.image import ImageSeries
    from pynwb.misc import (
        AbstractFeatureSeries,
        AnnotationSeries,
        DecompositionSeries,
        IntervalSeries,
    )
    from pynwb.ophys import RoiResponseSeries

    others = (ImageSeries, AbstractFeatureSeries, AnnotationSeries, IntervalSeries)
    others = (*others, DecompositionSeries, RoiResponseSeries)
    return isinstance(item, TimeSeries) and not isinstance(item, others) and item.data is not None


def _inside(item) -> dict:
    """Series of BehavioralTimeSeries, PupilTracking, EyeTracking, Position, ..."""
    for name in ("time_series", "spatial_series"):
        members = getattr(item, name, None)
        if hasattr(members, "items"):
            return dict(members)
    return {}


def _short(places: list[tuple[tuple[str, ...], str]]) -> list[str]:
    """The last part of each path, with as many parts before it as it takes to be unique."""
    names = [""] * len(places)
    waiting, parts = list(range(len(places))), 1
    while waiting:
        tried = {}
        for i in waiting:
            path, end = places[i]
            name = re.sub(r"[^\w.-]+", "_", "_".join(path[-parts:])) + end
            tried.setdefault(name, []).append(i)
        longest = parts >= max(len(places[i][0]) for i in waiting)
        waiting = []
        for name, same in tried.items():
            if len(same) == 1 and name not in names:
                names[same[0]] = name
            elif longest:  # names that differ only in what is no letter
                for number, i in enumerate(same, start=1):
                    names[i] = f"{name}_{number}"
            else:
                waiting += same
        parts += 1
    return names


def _named(found: list[_Column], wanted: list[str], reading: Reading) -> list[_Column]:
    chosen = []
    for name in wanted:
        same = [item for item in found if item.name == name] or [
            item for item in found if item.place == name.strip("/") or name in item.place.split("/")
        ]
        if not same:
            listed = ", ".join(item.name for item in found[:20]) or "none is there"
            raise InputError(
                f"there is no series {name!r} of behaviour",
                where=f"{reading.name}: covariates",
                remedy=f"Choose from: {listed}; or give a file: covariates='running.csv'.",
            )
        chosen += [item for item in same if item not in chosen]
    return chosen


def _offered(found: list[_Column], reading: Reading) -> tuple[list[Series], list[str]]:
    """What is taken by itself, and notes on what is not."""
    offered = [item for item in found if item.offered]
    others = [item.name for item in found if not item.offered]
    notes = []
    if others:
        more = ", ..." if len(others) > 6 else ""
        notes.append(f"other series (covariates=): {', '.join(others[:6])}{more}")
    if len(offered) > MOST_FOUND:
        notes.append(
            f"{len(offered)} columns of behaviour, too many to be taken by themselves: choose with "
            f"covariates=: {', '.join(item.name for item in offered[:6])}, ..."
        )
        return [], notes
    most = MOST_STREAMED if reading.source.is_stream else MOST_SAMPLES
    series = []
    for item in offered:
        n = item.series.data.shape[0]
        if n > most:
            notes.append(f"{item.name} is left out: {n:,} samples; covariates= takes it")
            continue
        try:
            read = _read(item, reading)
        except InputError as error:
            notes.append(f"{item.name} is left out: {error.what}")
            continue
        if np.isnan(read.values).all():
            notes.append(f"{item.name} is left out: all of its values are NaN")
        else:
            series.append(read)
    return series, notes


def _read(item: _Column, reading: Reading) -> Series:
    series, where = item.series, f"{reading.name}: /{item.place}"
    check_declared(series.data, where)
    data = series.data[:] if item.column is None else series.data[:, item.column]
    values = np.asarray(data, dtype=np.float64)
    scale = 1.0 if series.conversion is None else float(series.conversion)
    values = values * scale + float(getattr(series, "offset", None) or 0.0)
    times = series_times(series, values.size, where)
    unit = str(series.unit or "")
    unit = "arbitrary" if unit.lower() in ("", "n.a.", "n/a", "unknown", "a.u.") else unit
    return Series(item.name, times, values, unit, where)


def session_covariates(shown) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """Covariates of a recording that is written: {name: (values, times in s, units)}.

    Parameters
    ----------
    shown : list
        Roles on the clock of the session, as `nwb_writing` lays them out.
    """
    parts: dict[str, list] = {}
    units: dict[str, str] = {}
    for item in shown:
        names = covariate_names(item.node)
        if not names:
            continue
        variable = item.node["covariates"].transpose(..., "time", "covariate")
        values = np.asarray(variable.values)
        values = np.broadcast_to(values, (len(item.response), *values.shape[-2:]))
        for i, (name, unit) in enumerate(zip(names, covariate_units(item.node), strict=True)):
            units.setdefault(name, unit)
            for trial, a, b, _ in item.runs:
                part = (values[trial, a:b, i], item.bin_starts(trial)[a:b])
                parts.setdefault(name, []).append(part)
    return {
        name: (*(np.concatenate(part) for part in zip(*of_name, strict=True)), units[name])
        for name, of_name in parts.items()
    }
