"""What a fit is asked to predict (a recording, a labelled movie, bare frames), as blocks."""

from __future__ import annotations

import numpy as np
import xarray as xr

from neuromodels.datasets.binning import bin_edges, exact_bin_width, frames_on_screen, whole_bins
from neuromodels.datasets.blocks import Block
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import Frames, frame_slabs
from neuromodels.datasets.labelled import labelled_movie, stated_background
from neuromodels.datasets.recording import Recording
from neuromodels.encoding.base import Input
from neuromodels.fits.covariates import at_the_mean

#: Label of the one block that a movie alone makes.
MOVIE = -1
NUMBERS = "Give numbers of shape (time, y, x) or (time, channel, y, x)."


def blocks_to_predict(
    stimulus: Recording | xr.DataArray | np.ndarray, known: Input
) -> dict[str, list[Block]]:
    """Blocks of every role that has a stimulus, or the one block of a movie.

    Parameters
    ----------
    stimulus : Recording, DataArray or array
        A movie with onsets of its frames (`frame_time`, s, as the generators of `stimuli` make
        it) is cut into the model's bins from the first onset on: a bin shows the frame that is
        on screen at its centre. Without onsets, a frame is a bin.
    known : Input
        Of the model.

    Returns
    -------
    dict of str to list of Block
        By ``STIMULUS/ROLE``, or ``movie/all``, whose time begins at the first onset, s.

    Raises
    ------
    InputError
        If there is no stimulus, or it is no movie of finite numbers with ascending times.
    """
    if isinstance(stimulus, Recording):
        return _of_recording(stimulus, known.bin_width)
    if isinstance(stimulus, xr.DataArray) and _has_onsets(stimulus):
        block = _timed(stimulus, known)
    else:
        block = _a_frame_per_bin(np.asarray(stimulus), known)
    return {"movie/all": [at_the_mean(block, known.covariates)]}


def check_pixels(stimulus, parameters: xr.Dataset) -> None:
    """Refuse a movie whose pixels have another size than those that the model knows.

    Parameters
    ----------
    stimulus : DataArray or anything else
        Checked if it says where its pixels are, `y` and `x` with units.
    parameters : xarray.Dataset
        Of the fit; its `y` and `x` have those of the recording.

    Raises
    ------
    InputError
    """
    if not isinstance(stimulus, xr.DataArray):
        return
    for axis in ("y", "x"):
        ours, theirs = _spacing(parameters, axis), _spacing(stimulus, axis)
        if None in (ours, theirs) or ours[1] != theirs[1]:
            continue
        if abs(ours[0] - theirs[0]) > 0.01 * ours[0]:
            raise InputError(
                f"has pixels of {theirs[0]:g} {theirs[1]}, the model was fitted to pixels of "
                f"{ours[0]:g} {ours[1]}",
                where=f"stimulus: {axis}",
                remedy="Make the movie with that pixel_size, or give its bare frames: "
                "movie.values.",
            )


def _of_recording(recording: Recording, bin_width: float) -> dict[str, list[Block]]:
    view = recording.at(bin_width)
    found = {}
    for name in view.stimuli:
        for role in view.roles(name):
            blocks = [b for b in view.blocks(role, name) if b.frames is not None]
            if blocks:
                found[f"{name}/{role}"] = blocks
    if not found:
        raise InputError(
            "holds no stimulus.",
            where=recording.source,
            remedy="Add the frames that were shown.",
        )
    return found


def _has_onsets(stimulus: xr.DataArray) -> bool:
    # A bare `time` may be the number of the frame; with units it is a time.
    return "frame_time" in stimulus.coords or (
        "time" in stimulus.coords and bool(stimulus["time"].attrs.get("units"))
    )


def _timed(stimulus: xr.DataArray, known: Input) -> Block:
    movie = labelled_movie(stimulus, "stimulus")
    onsets = movie.onsets
    if onsets is None or not onsets.size:
        raise InputError("has no frames with onsets", where="stimulus", remedy="Give frame_time.")
    back = np.flatnonzero(np.diff(onsets) <= 0)
    if back.size:
        raise InputError(
            f"does not ascend at frame {back[0] + 1}",
            where="stimulus: frame_time",
            remedy="Give the onset of every frame, s, in order.",
        )
    if isinstance(movie.frames, xr.Variable):
        frames, slabs = Frames(movie.frames), frame_slabs(movie.frames)
    else:
        frames = _in_channels(movie.frames)
        slabs = [frames]
    _check_finite(frames.dtype, slabs)
    width = exact_bin_width(known.bin_width)
    # A frame alone stays for a bin, as in a movie of bins.
    last = float(np.median(np.diff(onsets))) if onsets.size > 1 else float(width)
    n_bins = whole_bins(onsets[-1] + last - onsets[0], width)
    time = bin_edges(float(onsets[0]), width, n_bins)[:-1]
    said = stated_background(stimulus, "stimulus: background")
    return Block(
        label=MOVIE,
        time=time,
        response=np.zeros((n_bins, len(known.neurons)), dtype=np.int32),
        frame_of_bin=frames_on_screen(onsets, time, width, last_frame=last),
        frames=frames,
        background=0.0 if said is None else said,
    )


def _a_frame_per_bin(movie: np.ndarray, known: Input) -> Block:
    movie = _in_channels(movie)
    _check_finite(movie.dtype, [movie])
    return Block(
        label=MOVIE,
        time=np.arange(len(movie)) * known.bin_width,
        response=np.zeros((len(movie), len(known.neurons)), dtype=np.int32),
        frame_of_bin=np.arange(len(movie)),
        frames=movie,
    )


def _in_channels(movie: np.ndarray) -> np.ndarray:
    """Numbers (frame, channel, y, x)."""
    if movie.dtype == bool:
        movie = movie.astype(np.uint8)
    if movie.ndim == 3:
        movie = movie[:, None]
    if movie.ndim != 4 or not np.issubdtype(movie.dtype, np.number):
        raise InputError(
            f"has shape {movie.shape} and type {movie.dtype}.", where="stimulus", remedy=NUMBERS
        )
    return movie


def _check_finite(dtype: np.dtype, slabs) -> None:
    if dtype.kind == "f" and not all(np.isfinite(slab).all() for slab in slabs):
        raise InputError(
            "holds values that are not finite.", where="stimulus", remedy="Mend these frames."
        )


def _spacing(labels: xr.DataArray | xr.Dataset, axis: str) -> tuple[float, str] | None:
    """Distance of neighbouring pixels along an axis, and its units; None if they do not say."""
    if axis not in labels.coords or labels[axis].size < 2 or labels[axis].dtype.kind not in "iuf":
        return None
    units = str(labels[axis].attrs.get("units", ""))
    # "pixel" and "1" only count.
    if units in ("", "1", "pixel"):
        return None
    return float(np.median(np.abs(np.diff(labels[axis].values.astype(float))))), units
