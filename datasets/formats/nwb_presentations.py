"""Presentations in an NWB file: which frame of a template, or which image, was shown when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h5py
import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.nwb_data import FramesInFile, ImagesInFile, Reading
from neuromodels.datasets.formats.nwb_stimuli import (
    DIMS,
    about_series,
    frame_problem,
    place_of,
    read_frames,
    series_onsets,
    usual_period,
)
from neuromodels.datasets.formats.nwb_tables import table_columns
from neuromodels.datasets.frames import frame_slabs, lazy_variable
from neuromodels.datasets.links import check_declared
from neuromodels.datasets.presentations import LONGEST_HOLD, Movie
from neuromodels.datasets.repeats import number_frames
from neuromodels.datasets.sessions import Trials

if TYPE_CHECKING:
    import pandas as pd

PRESENTATIONS = "_presentations"
FRAME_COLUMNS = ("frame", "movie_frame_index", "frame_index", "image_index")
# What may follow the name of a stimulus in the name of its template.
ENDINGS = ("_presentations", "_template", "_image_stack", "_templates", "_stimulus", "_images")
BLANK = -1
LONG = 0.1  # s; frames that stay longer, in no order, are images
SHORT_RUN = 3  # frames


@dataclass(frozen=True, eq=False)
class Presentations:
    """Frames of one template in the order in which they were shown.

    Attributes
    ----------
    name : str
        Of the stimulus.
    where : str
        File and table or series, for messages.
    index : (presentation,) int64, which frame or image; -1 is a blank
    onsets, offsets : (presentation,) float64, s
    template : pynwb ImageSeries or Images, or None
        The frames; None if the file lacks them.
    table : str
        The table or series that says so.
    columns : {name: (presentation,) array}
        Whatever else it says.
    """

    name: str
    where: str
    index: np.ndarray
    onsets: np.ndarray
    offsets: np.ndarray
    template: object | None
    table: str
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def are_images(self) -> bool:
        """Whether images were shown for long, one by one, and not a movie."""
        if self.index.size < 2 or np.median(np.diff(self.onsets)) < LONG:
            return False
        edges = np.diff(_run_edges(self))
        return hasattr(self.template, "images") or float(np.median(edges)) < SHORT_RUN


def find_presentations(nwb, reading: Reading) -> list[Presentations]:
    """All that index frames: `*_presentations` tables, and IndexSeries that were presented.

    Raises
    ------
    InputError
        If a table or a series contradicts itself.
    """
    from pynwb.image import IndexSeries

    found = [
        _of_series(item, reading)
        for item in (nwb.stimulus or {}).values()
        if isinstance(item, IndexSeries)
    ]
    for name, table in (nwb.intervals or {}).items():
        if name.endswith(PRESENTATIONS) and any(c in table.colnames for c in FRAME_COLUMNS):
            known = {item.name for item in found}
            found += [p for p in _of_table(name, table, nwb, reading) if p.name not in known]
    return found


def presented_movie(
    shown: Presentations, reading: Reading, template: xr.Variable | None = None
) -> tuple[Movie, pd.DataFrame | None, list[str]]:
    """A movie whose frames are those of the template, by index: nothing is copied.

    Parameters
    ----------
    shown : Presentations
    template : xarray.Variable, optional
        The template's frames, where the file lacks them.

    Returns
    -------
    movie : Movie
    runs : DataFrame or None
        A row for each run in which the index does not restart; None if these are no runs.
    notes : list of str
    """
    import pandas as pd

    given = template is not None
    frames = template if given else template_frames(shown.template, reading, shown.where)
    _check_index(shown, frames.shape[0])
    there = shown.index >= 0
    notes = []
    if not there.all():
        notes.append(f"{shown.name}: {np.count_nonzero(~there)} blanks are left out")
    index, onsets = shown.index[there], shown.onsets[there]
    if not index.size:
        raise InputError(
            "shows blanks only", where=shown.where, remedy="Choose another with stimulus=."
        )
    period = usual_period(onsets, 1 / max(float((shown.offsets - shown.onsets)[0]), 1e-9), "")
    if reading.source.is_stream and not given:
        numbers = index  # the template is not read: equal numbers are equal frames
    else:
        numbers = number_frames(frame_slabs(frames), shown.where)[index]
    attrs = {"presented_by": shown.where.rpartition(": ")[2]}
    if shown.template is not None and hasattr(shown.template, "data"):
        attrs |= about_series(shown.template, reading)
    movie = Movie(
        shown.name,
        frames.isel({frames.dims[0]: index}),
        onsets,
        period,
        shown.where,
        attrs,
        numbers=numbers,
    )
    edges = _run_edges(shown)
    if np.median(np.diff(edges)) < SHORT_RUN:
        return movie, None, notes
    following = np.append(shown.onsets[1:], np.inf)
    last = edges[1:] - 1
    runs = {
        "start_time": shown.onsets[edges[:-1]],
        "stop_time": np.minimum(shown.offsets, following)[last],
        "stimulus_name": np.full(last.size, shown.name),
        "repeat": np.arange(last.size),
    }
    for name, values in shown.columns.items():
        runs.setdefault(name, values[edges[:-1]])
    return movie, pd.DataFrame(runs), notes


def joined_runs(tables: Sequence[pd.DataFrame], path: str) -> Trials | None:
    """The runs of all movies as one table of trials."""
    import pandas as pd

    if not tables:
        return None
    frame = pd.concat(tables, ignore_index=True).sort_values("start_time", ignore_index=True)
    return Trials("presentations", frame, f"{path}: presentations", named=False)


def beside_runs(own: Trials | None, runs: Trials) -> Trials:
    """The runs, and those trials of the file's own table that lie outside of them.

    The latter belong to movies that no table presents.
    """
    import pandas as pd

    if own is None or own.name != "trials":
        return runs
    starts, stops = (runs.frame[name].to_numpy() for name in ("start_time", "stop_time"))
    begin, end = (own.frame[name].to_numpy(np.float64) for name in ("start_time", "stop_time"))
    # Runs follow one another, so the first that ends later is the only one that can overlap first.
    following = np.append(starts, np.inf)[np.searchsorted(stops, begin + 1e-6, side="right")]
    outside = following >= end - 1e-6
    if not outside.any():
        return runs
    frame = pd.concat([own.frame[outside], runs.frame], ignore_index=True)
    for name in frame:
        if frame[name].dtype == object or frame[name].dtype.kind not in "iufb":
            frame[name] = frame[name].fillna("").astype(str)
    frame = frame.sort_values("start_time", ignore_index=True)
    return Trials("trials and presentations", frame, own.where, named=False)


def template_frames(template, reading: Reading, where: str) -> xr.Variable:
    """Frames or images of a template, read when needed.

    Raises
    ------
    InputError
        If there are none, or they differ in size.
    """
    if hasattr(template, "images"):
        images = _ordered(template, where)
        stored = [reading.stored(image.data, where) for image in images]
        frames = FramesInFile(ImagesInFile(stored, f"{where} ({template.name})"), reading.axes)
        return lazy_variable(DIMS[len(frames.shape)], frames, {"units": "pixel value"})
    problem = frame_problem(template)
    if problem:
        place = f"{reading.name}: {place_of(template)}"
        raise InputError(problem[0], where=place, remedy=problem[1])
    return read_frames(template, reading)


def image_names(template) -> list[str] | None:
    """Names of the images of an Images container, in its order."""
    if not hasattr(template, "images"):
        return None
    return [str(image.name) for image in _ordered(template, template.name)]


def _ordered(template, where: str) -> list:
    order = template.order_of_images
    if order is not None:
        return list(order.data[:])
    if len(template.images) == 1:
        return list(template.images.values())
    raise InputError(
        f"indexes {template.name}, whose images have no order (order_of_images)",
        where=where,
        remedy="Write the images again with order_of_images=ImageReferences(...).",
    )


def _of_series(series, reading: Reading) -> Presentations:
    where = f"{reading.name}: /stimulus/presentation/{series.name}"
    data = series.data
    if data is None or getattr(data, "shape", (1,)) in ((), (0,)):
        raise InputError("shows nothing", where=where, remedy="Export the file again.")
    check_declared(data, where)
    if isinstance(data, h5py.Dataset) and data.dtype.kind not in "iuf":
        index = np.zeros(0)
    else:
        index = np.asarray(data[:])
    index = _whole(index, where)
    onsets = series_onsets(series, index.size, where)
    period = usual_period(onsets, series.rate, where)
    offsets = np.minimum(np.append(onsets[1:], np.inf), onsets + LONGEST_HOLD * period)
    offsets[-1] = onsets[-1] + period
    template = series.indexed_timeseries
    if template is None:
        template = series.indexed_images
    return Presentations(series.name, where, index, onsets, offsets, template, series.name)


def _of_table(name: str, table, nwb, reading: Reading) -> list[Presentations]:
    import pandas as pd

    where = f"{reading.name}: /intervals/{name}"
    frame = table_columns(table, where)
    column = next(c for c in FRAME_COLUMNS if c in frame)
    frame[column] = pd.to_numeric(frame[column], errors="coerce")
    frame = frame[np.isfinite(frame[column].to_numpy(dtype=np.float64))]
    base = name.removesuffix(PRESENTATIONS)
    names = frame["stimulus_name"].astype(str) if "stimulus_name" in frame else None
    several = names is not None and names.nunique() > 1
    groups = frame.groupby(names, sort=False) if several else [(None, frame)]
    found = []
    for given, rows in groups:
        if not len(rows):
            continue
        rows = rows.sort_values("start_time", kind="stable")
        said = given if given is not None else (names.iloc[0] if names is not None else base)
        times = rows[["start_time", "stop_time"]].to_numpy(dtype=np.float64)
        _check_times(times, where)
        skipped = ("start_time", "stop_time", "stimulus_name", column)
        columns = {c: rows[c].to_numpy() for c in rows if c not in skipped}
        template = _template(nwb, (said, base) if not several else (said,))
        index = _whole(rows[column].to_numpy(), where)
        label = str(given) if several else base
        found.append(Presentations(label, where, index, *times.T, template, name, columns))
    return found


def _whole(values: np.ndarray, where: str) -> np.ndarray:
    values = np.asarray(values)
    numbers = values.dtype.kind in "iuf" and values.ndim == 1 and values.size
    if not numbers or not (np.abs(values.astype(np.float64)) < 2**53).all():
        raise InputError(
            "which frames were shown is not said in numbers",
            where=where,
            remedy="Store the number of the frame (from 0) for every presentation.",
        )
    if (values % 1 != 0).any() or (values < BLANK).any():
        i = int(np.flatnonzero((values % 1 != 0) | (values < BLANK))[0])
        raise InputError(
            f"presentation {i} shows frame {values[i]}",
            where=where,
            remedy="Frames count from 0; -1 is a blank.",
        )
    return values.astype(np.int64)


def _check_times(times: np.ndarray, where: str) -> None:
    finite = np.isfinite(times).all(axis=1)
    bad = np.flatnonzero(~finite | (times[:, 1] < times[:, 0]))
    if not bad.size:
        bad = np.flatnonzero(np.diff(times[:, 0]) <= 0) + 1
    if bad.size:
        start, stop = times[bad[0]]
        raise InputError(
            f"presentation {bad[0]} (in the order of time) runs from {start:g} to {stop:g} s, or "
            f"begins with another ({bad.size} such)",
            where=where,
            remedy="Every presentation needs a start of its own and a later stop, s.",
        )


def _check_index(shown: Presentations, n_frames: int) -> None:
    beyond = np.flatnonzero(shown.index >= n_frames)
    if beyond.size:
        raise InputError(
            f"presentation {beyond[0]} shows frame {shown.index[beyond[0]]}, but the template has "
            f"{n_frames} (counted from 0; {beyond.size} such)",
            where=shown.where,
            remedy="The template is not the one that was shown: give the right one.",
        )


def _run_edges(shown: Presentations) -> np.ndarray:
    """First presentation of each run, and the end: a run ends where the index restarts."""
    steps = np.diff(shown.onsets)
    usual = np.median(steps) if steps.size else 0.0
    new = (np.diff(shown.index) < 0) | (steps > LONGEST_HOLD * usual)
    block = shown.columns.get("stimulus_block")
    if block is not None:
        new |= block[1:] != block[:-1]
    return np.concatenate([[0], np.flatnonzero(new) + 1, [shown.index.size]])


def _template(nwb, names: Sequence[str]):
    wanted = {_bare(name) for name in names}
    for name, template in (nwb.stimulus_template or {}).items():
        if _bare(name) in wanted:
            return template
    return None


def _bare(name: str) -> str:
    name = str(name).lower().replace(" ", "_").replace("-", "_")
    ending = next((e for e in ENDINGS if name.endswith(e) and len(name) > len(e)), None)
    return name if ending is None else _bare(name.removesuffix(ending))
