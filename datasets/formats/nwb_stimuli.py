"""Stimuli of an NWB file: series in /stimulus/presentation as movies that are read when needed."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import lazy_variable
from neuromodels.datasets.presentations import Movie

DIMS = {3: ("frame", "y", "x"), 4: ("frame", "channel", "y", "x")}


def choose_series(nwb, wanted: str | Sequence[str] | None, path: str) -> tuple[list, list[str]]:
    """The series that were shown, and notes on those that are not used.

    Raises
    ------
    InputError
        If there is none, or not the one that the user names, or only ones that are not frames.
    """
    from pynwb import TimeSeries
    from pynwb.image import ImageSeries

    where = f"{path}: /stimulus/presentation"
    shown = {name: item for name, item in (nwb.stimulus or {}).items()}
    series = {name: item for name, item in shown.items() if isinstance(item, TimeSeries)}
    if wanted is not None:
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        for name in names:
            if name not in series:
                raise InputError(
                    f"there is no series {name!r}",
                    where=where,
                    remedy=f"Choose stimulus= from: {', '.join(series) or 'none is there'}.",
                )
        chosen = [series[name] for name in dict.fromkeys(names)]
        for item in chosen:
            _check_kind(item, path)
        return chosen, []
    if not series:
        elsewhere = [*(nwb.stimulus_template or {}), *(nwb.acquisition or {})]
        seen = f" (elsewhere: {', '.join(elsewhere[:5])})" if elsewhere else ""
        raise InputError(
            f"the file has no stimulus that was presented{seen}",
            where=where,
            remedy="Add the frames as an ImageSeries with nwbfile.add_stimulus, or bring the "
            "arrays yourself with neuromodels.recording_from_arrays.",
        )
    usable = {name: item for name, item in series.items() if not _problem(item)}
    images = {name: item for name, item in usable.items() if isinstance(item, ImageSeries)}
    chosen = images or usable
    if not chosen:
        _check_kind(next(iter(series.values())), path)
    unused = [name for name in shown if name not in chosen]
    notes = []
    if unused:
        notes.append(
            f"/stimulus/presentation: {', '.join(chosen)} read, {', '.join(unused)} not (choose "
            "with stimulus=)"
        )
    return list(chosen.values()), notes


def read_movie(series, path: str, axes: str) -> Movie:
    """One series as frames, which stay on disk, and their onsets.

    Parameters
    ----------
    series : pynwb.TimeSeries
        Data (frame,), (frame, y), (frame, x, y) or (frame, x, y, channel), the last two in the
        order of the NWB schema; `axes="yx"` reads (frame, y, x[, channel]).

    Raises
    ------
    InputError
        If data and timestamps disagree, or timestamps do not ascend.
    """
    where = f"{path}: {_place(series)}"
    data = series.data
    n_frames = int(data.shape[0])
    onsets = _onsets(series, n_frames, where)
    steps = np.diff(onsets)
    if steps.size:
        usual = np.median(steps)
        period = float(steps[np.abs(steps - usual) <= usual / 2].mean())
    elif series.rate:
        period = 1 / float(series.rate)
    else:
        raise InputError(
            "has a single frame and no rate, so nothing says how long it was shown",
            where=where,
            remedy="Store the movie frame by frame, with a timestamp each.",
        )
    source = _FramesInFile(data, series, axes)
    units = str(series.unit or "") or "arbitrary"
    variable = lazy_variable(DIMS[len(source.shape)], source, {"units": units})
    attrs = {
        "description": str(series.description or ""),
        "nwb_series": f"{type(series).__name__} {_place(series)}",
        "pixel_order_in_file": axes,
    }
    for name in ("distance", "orientation", "comments"):
        value = getattr(series, name, None)
        if value is not None and value != "no comments":
            attrs[name] = float(value) if name == "distance" else str(value)
    view = getattr(series, "field_of_view", None)
    if view is not None:
        attrs["field_of_view_m"] = np.asarray(view[:], dtype=np.float64)
    return Movie(series.name, variable, onsets, period, where, attrs)


def _onsets(series, n_frames: int, where: str) -> np.ndarray:
    if series.timestamps is None:
        if series.rate is None or not np.isfinite(series.rate) or series.rate <= 0:
            raise InputError(
                f"has neither timestamps nor a positive rate (rate is {series.rate})",
                where=where,
                remedy="Store the onset of every frame as timestamps, s, or a rate in Hz.",
            )
        return float(series.starting_time or 0.0) + np.arange(n_frames) / float(series.rate)
    onsets = np.asarray(series.timestamps[:], dtype=np.float64)
    if onsets.size != n_frames:
        raise InputError(
            f"has {n_frames:,} frames but its timestamps hold {onsets.size:,}",
            where=where,
            remedy="Export the stimulus again with one timestamp per frame, or give frames and "
            "frame_times to neuromodels.recording_from_arrays.",
        )
    bad = np.flatnonzero(~np.isfinite(onsets))
    if bad.size:
        raise InputError(
            f"timestamp {bad[0]} is NaN or infinite ({bad.size} such timestamps)",
            where=f"{where}/timestamps",
            remedy="Give the onset of every frame, s.",
        )
    back = np.flatnonzero(np.diff(onsets) <= 0)
    if back.size:
        i = int(back[0])
        raise InputError(
            f"do not ascend at frame {i + 1} ({onsets[i]:.6g} s, then {onsets[i + 1]:.6g} s; "
            f"{back.size} such places)",
            where=f"{where}/timestamps",
            remedy="Sort the frames by time and leave out duplicates.",
        )
    return onsets


class _FramesInFile:
    """Frames of a series as (frame, [channel,] y, x), as uint8 or float32, read by slices.

    The file is opened for each reading, so that no recording keeps a file locked.
    """

    def __init__(self, data, series, axes: str):
        on_disk = isinstance(data, h5py.Dataset)
        self._place = (data.file.filename, data.name) if on_disk else None
        self._data = None if on_disk else np.asarray(data)
        self._frame_shape = tuple(data.shape[1:])
        self._stored = np.dtype(data.dtype)
        self._transposed = axes == "xy"
        self._scale = float(series.conversion if series.conversion is not None else 1.0)
        self._shift = float(getattr(series, "offset", None) or 0.0)
        n, *rest = data.shape
        if len(rest) < 2:
            # A full-field stimulus has one pixel, a list of values per frame is a bar movie.
            self.shape = (n, *(rest or [1]), 1)
        else:
            y, x = rest[1::-1] if self._transposed else rest[:2]
            self.shape = (n, *rest[2:], y, x)
        plain = data.dtype in (np.dtype(np.uint8), np.dtype(bool))
        unscaled = self._scale == 1.0 and self._shift == 0.0
        self.dtype = np.dtype(np.uint8 if plain and unscaled else np.float32)

    def __getitem__(self, key) -> np.ndarray:
        frames, *rest = key if isinstance(key, tuple) else (key,)
        if self._place is None:
            values = self._read(self._data, frames)
        else:
            filename, name = self._place
            try:
                with h5py.File(filename, "r") as file:
                    values = self._read(file[name], frames)
            except (OSError, KeyError) as error:
                raise InputError(
                    "frames cannot be read any more",
                    where=f"{filename}: {name.removesuffix('/data')}",
                    remedy="The file was moved, changed or damaged: open the recording again.",
                ) from error
        values = self._oriented(values)
        if self._scale != 1.0 or self._shift != 0.0:
            values = values * self._scale + self._shift
        values = values.astype(self.dtype, copy=False)
        if isinstance(frames, (int, np.integer)):
            return values[(0, *rest)]
        return values[(slice(None), *rest)]

    def _read(self, data, frames) -> np.ndarray:
        if isinstance(frames, (int, np.integer)):
            return np.asarray(data[int(frames) : int(frames) + 1])
        if isinstance(frames, slice):
            frames = range(*frames.indices(self.shape[0]))
            if frames.step == 1:
                return np.asarray(data[frames.start : max(frames.start, frames.stop)])
        # HDF5 reads slices far faster than lists of frames.
        index = np.asarray(frames, dtype=np.int64)
        values = np.empty((index.size, *self._frame_shape), dtype=self._stored)
        cuts = np.flatnonzero(np.diff(index) != 1) + 1
        for a, b in zip([0, *cuts], [*cuts, index.size], strict=True):
            if b > a:
                values[a:b] = data[int(index[a]) : int(index[a]) + b - a]
        return values

    def _oriented(self, values: np.ndarray) -> np.ndarray:
        if values.ndim < 3:
            return values.reshape(values.shape[0], *self.shape[1:])
        if self._transposed:
            values = values.swapaxes(1, 2)
        return np.moveaxis(values, 3, 1) if values.ndim == 4 else values


def _problem(series) -> tuple[str, str] | None:
    """Why a series cannot be read as frames, and what to do; None if it can."""
    from pynwb.image import ImageMaskSeries, IndexSeries
    from pynwb.misc import AbstractFeatureSeries, IntervalSeries

    arrays = "give frames and frame_times to neuromodels.recording_from_arrays"
    if isinstance(series, (IndexSeries, AbstractFeatureSeries, IntervalSeries, ImageMaskSeries)):
        return (
            f"is of type {type(series).__name__}, which holds no frames",
            f"Store the frames that were shown as an ImageSeries, or {arrays}.",
        )
    external = getattr(series, "external_file", None)
    if external is not None and len(external):
        names = ", ".join(str(name) for name in list(external[:])[:3])
        return (
            f"keeps its frames in another file ({names})",
            f"Store them in the NWB file (format 'raw'), or {arrays}.",
        )
    data = series.data
    if data is None or not hasattr(data, "shape") or 0 in data.shape or len(data.shape) == 0:
        return "has no frames", f"Store the frames that were shown, or {arrays}."
    if len(data.shape) > 4 or np.dtype(data.dtype).kind not in "biuf":
        return (
            f"has shape {tuple(data.shape)} of {data.dtype}, which are no frames",
            f"Store numbers as (frame, x, y) or (frame, x, y, rgb), or {arrays}.",
        )
    return None


def _check_kind(series, path: str) -> None:
    problem = _problem(series)
    if problem:
        raise InputError(problem[0], where=f"{path}: {_place(series)}", remedy=problem[1])


def _place(series) -> str:
    return f"/stimulus/presentation/{series.name}"
