"""Stimuli of an NWB file: series in /stimulus/presentation as movies that are read when needed."""

from __future__ import annotations

import h5py
import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.nwb_data import FramesInFile, Reading, series_times
from neuromodels.datasets.formats.nwb_external import external_frames
from neuromodels.datasets.frames import lazy_variable
from neuromodels.datasets.presentations import Movie

PASS_FRAMES = (
    'pass the frames and their times: stimulus="movie.npy" with frame_times="frames.npy" (or '
    "triggers=, or frame_rate= and start=)"
)
DIMS = {3: ("frame", "y", "x"), 4: ("frame", "channel", "y", "x")}


def read_frames(series, reading: Reading) -> xr.Variable:
    """The frames of a series (frame, [channel,] y, x), which stay where they are.

    Parameters
    ----------
    series : pynwb.TimeSeries
        Data (frame,), (frame, y), (frame, x, y) or (frame, x, y, channel), the last two in the
        order of the NWB schema; ``axes="yx"`` reads (frame, y, x[, channel]). Or an ImageSeries
        whose frames are in other files.
    """
    where = f"{reading.name}: {place_of(series)}"
    if has_external(series):
        return external_frames(series, reading, where)
    frames = FramesInFile(
        reading.stored(series.data, where),
        reading.axes,
        float(series.conversion if series.conversion is not None else 1.0),
        float(getattr(series, "offset", None) or 0.0),
    )
    units = str(series.unit or "") or "arbitrary"
    return lazy_variable(DIMS[len(frames.shape)], frames, {"units": units})


def read_movie(series, reading: Reading) -> Movie:
    """One series as frames, see `read_frames`, and their onsets.

    Raises
    ------
    InputError
        If data and timestamps disagree, or timestamps do not ascend.
    """
    where = f"{reading.name}: {place_of(series)}"
    variable = read_frames(series, reading)
    onsets = series_onsets(series, variable.shape[0], where)
    period = usual_period(onsets, series.rate, where)
    attrs = about_series(series, reading)
    return Movie(
        series.name, variable, onsets, period, where, attrs, streamed=reading.source.is_stream
    )


def about_series(series, reading: Reading) -> dict:
    """What a series says of itself."""
    attrs = {
        "description": str(series.description or ""),
        "nwb_series": f"{type(series).__name__} {place_of(series)}",
    }
    if not has_external(series):
        attrs["pixel_order_in_file"] = reading.axes
    for name in ("distance", "orientation", "comments"):
        value = getattr(series, name, None)
        if value is not None and value != "no comments":
            attrs[name] = float(value) if name == "distance" else str(value)
    view = getattr(series, "field_of_view", None)
    if view is not None:
        attrs["field_of_view_m"] = np.asarray(view[:], dtype=np.float64)
    return attrs


def usual_period(onsets: np.ndarray, rate, where: str) -> float:
    """Usual interval between frames, s.

    Raises
    ------
    InputError
        If there is a single frame and no rate.
    """
    steps = np.diff(onsets)
    if steps.size:
        usual = np.median(steps)
        near = steps[np.abs(steps - usual) <= usual / 2]
        return float(near.mean() if near.size else usual)
    if rate:
        return 1 / float(rate)
    raise InputError(
        "has a single frame and no rate, so nothing says how long it was shown",
        where=where,
        remedy="Store the movie frame by frame, with a timestamp each.",
    )


def series_onsets(series, n_frames: int, where: str) -> np.ndarray:
    """Onset of every entry of a series, s: finite and ascending.

    Raises
    ------
    InputError
    """
    onsets = series_times(series, n_frames, where).ravel()
    if series.timestamps is None:
        if not np.isfinite(onsets).all() or (np.diff(onsets) <= 0).any():
            raise InputError(
                f"starts at {series.starting_time} s with {series.rate} frames/s, which gives "
                "frames no times that ascend",
                where=where,
                remedy="Store the onset of every frame as timestamps, s, or a rate in Hz.",
            )
        return onsets
    if onsets.size != n_frames:
        raise InputError(
            f"has {n_frames:,} frames but its timestamps hold {onsets.size:,}",
            where=where,
            remedy=f"Export the stimulus again with one timestamp per frame, or {PASS_FRAMES}.",
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


def frame_problem(series) -> tuple[str, str] | None:
    """Why a series cannot be read as frames, and what to do; None if it can."""
    from pynwb.image import ImageMaskSeries
    from pynwb.misc import AbstractFeatureSeries, IntervalSeries

    arrays = f"or {PASS_FRAMES}"
    if isinstance(series, (AbstractFeatureSeries, IntervalSeries, ImageMaskSeries)):
        return (
            f"is of type {type(series).__name__}, which holds no frames",
            f"Store the frames that were shown as an ImageSeries, {arrays}.",
        )
    if has_external(series):
        return None
    data = series.data
    if data is None or not getattr(data, "shape", None) or 0 in data.shape:
        return "has no frames", f"Store the frames that were shown, {arrays}."
    if len(data.shape) > 4 or np.dtype(data.dtype).kind not in "biuf":
        return (
            f"has shape {tuple(data.shape)} of {data.dtype}, which are no frames",
            f"Store numbers as (frame, x, y) or (frame, x, y, rgb), {arrays}.",
        )
    return None


def has_external(series) -> bool:
    """Whether an ImageSeries keeps its frames in other files."""
    external = getattr(series, "external_file", None)
    return external is not None and len(external) > 0


def place_of(series) -> str:
    """Where a series is in the file."""
    if isinstance(series.data, h5py.Dataset):
        return series.data.name.removesuffix("/data")
    return f"/stimulus/presentation/{series.name}"
