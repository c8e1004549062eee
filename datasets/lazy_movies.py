"""Movies that are read piece by piece from where they lie, and several of them in a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import lazy_variable

DIMS = {3: ("frame", "y", "x"), 4: ("frame", "channel", "y", "x")}
MOST_CHANNELS = 4  # an axis that is longer is no axis of colours


def movie_variable(reader: MovieReader, attrs: dict) -> xr.Variable:
    """A movie (frame, [channel,] y, x) with units, read when it is asked for."""
    return lazy_variable(DIMS[len(reader.shape)], reader, {"units": "arbitrary", **attrs})


def show_in_sequence(movies: Sequence[xr.Variable], order: Sequence[int]) -> xr.Variable:
    """Several movies one after another, each as often as it was shown; nothing is read.

    Parameters
    ----------
    movies : sequence of Variables (frame, [channel,] y, x), of one frame size
    order : sequence of int
        Which movie each presentation shows.
    """
    if len(order) == 1:
        return movies[order[0]]
    reader = _InSequence(movies, order)
    return lazy_variable(movies[0].dims, reader, dict(movies[order[0]].attrs))


class MovieReader:
    """Frames that are read in runs: `read(start, stop)` returns (frame, [channel,] y, x).

    Subclasses set `shape` and `dtype` (uint8 or float32). They keep no file open, so no recording
    keeps a file locked, and worker processes can have them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        raise NotImplementedError

    def __getitem__(self, key) -> np.ndarray:
        frames, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(frames, (int, np.integer)):
            frames = int(frames) % self.shape[0]
            return self._checked(frames, frames + 1)[(0, *rest)]
        if isinstance(frames, slice):
            frames = range(*frames.indices(self.shape[0]))
            if frames.step == 1 and len(frames):
                return self._checked(frames.start, frames.stop)[(slice(None), *rest)]
        index = np.asarray(frames, dtype=np.int64)
        cuts = np.flatnonzero(np.diff(index) != 1) + 1
        edges = [0, *cuts.tolist(), index.size]
        if len(edges) == 2 and index.size:
            values = self._checked(int(index[0]), int(index[-1]) + 1)
        else:
            values = np.empty((index.size, *self.shape[1:]), dtype=self.dtype)
            for a, b in zip(edges[:-1], edges[1:], strict=True):
                if b > a:
                    values[a:b] = self._checked(int(index[a]), int(index[a]) + b - a)
        return values[(slice(None), *rest)]

    def _checked(self, start: int, stop: int) -> np.ndarray:
        values = np.asarray(self.read(start, stop))
        expected = (stop - start, *self.shape[1:])
        if values.shape != expected:
            raise InputError(
                f"gave frames {start} to {stop - 1} with shape {values.shape}, expected {expected}",
                where=type(self).__name__.strip("_"),
                remedy="The movie was changed after it was opened: open it again.",
            )
        return values.astype(self.dtype, copy=False)


class ArrayFrames(MovieReader):
    """An array in memory or anything with `shape`, `dtype` and slices (zarr, dask, ...)."""

    def __init__(self, array, where: str):
        self._array = array
        self.shape, self._last = movie_shape(tuple(array.shape), where)
        self.dtype = movie_dtype(array.dtype, where)

    def read(self, start: int, stop: int) -> np.ndarray:
        return oriented(np.asarray(self._array[start:stop]), self.shape, self._last)


class _InSequence(MovieReader):
    def __init__(self, movies: Sequence[xr.Variable], order: Sequence[int]):
        self._movies, self._order = list(movies), list(order)
        lengths = [movies[i].shape[0] for i in order]
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self.shape = (int(self._starts[-1]), *movies[0].shape[1:])
        self.dtype = np.result_type(*(movies[i].dtype for i in set(order)))

    def read(self, start: int, stop: int) -> np.ndarray:
        values = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        position = start
        while position < stop:
            begin, end = int(self._starts[first]), min(stop, int(self._starts[first + 1]))
            part = self._movies[self._order[first]][position - begin : end - begin]
            values[position - start : end - start] = part.values
            position, first = end, first + 1
        return values


def movie_shape(shape: tuple[int, ...], where: str) -> tuple[tuple[int, ...], bool]:
    """Shape as (frame, [channel,] y, x), and whether the file has the colours last.

    One value per frame is a full field, a list per frame a movie of bars. Of four axes the second
    is taken for the colours if it is 4 long at most, else the last.

    Raises
    ------
    InputError
        If no order of the axes makes it a movie.
    """
    if 0 in shape or not 1 <= len(shape) <= 4:
        raise InputError(
            f"has shape {shape}, which is no movie",
            where=where,
            remedy="Give frames as (frame, y, x) or (frame, channel, y, x).",
        )
    if len(shape) < 4:
        return (*shape, *(1,) * (3 - len(shape))), False
    if shape[1] <= MOST_CHANNELS:
        return shape, False
    if shape[3] <= MOST_CHANNELS:
        return (shape[0], shape[3], shape[1], shape[2]), True
    raise InputError(
        f"has shape {shape}, and no axis of at most {MOST_CHANNELS} colours",
        where=where,
        remedy="Give frames as (frame, y, x) or (frame, channel, y, x).",
    )


def movie_dtype(dtype, where: str) -> np.dtype:
    """uint8 for grey levels of one byte, float32 for all other real numbers.

    Raises
    ------
    InputError
        If the values are no real numbers; Python objects are never unpickled.
    """
    dtype = np.dtype(dtype)
    if dtype.hasobject:
        raise InputError(
            "holds Python objects, which could run code when they are read",
            where=where,
            remedy="Save frames as numbers of one size: np.save(path, np.stack(frames)).",
        )
    if dtype.kind not in "biuf":
        raise InputError(
            f"holds {dtype}, which are no grey levels",
            where=where,
            remedy="Save frames as real numbers.",
        )
    return np.dtype(np.uint8 if dtype in (np.uint8, np.bool_) else np.float32)


def oriented(values: np.ndarray, shape: tuple[int, ...], channels_last: bool) -> np.ndarray:
    """Frames of a file as (frame, [channel,] y, x)."""
    if channels_last:
        return np.moveaxis(values, 3, 1)
    return values.reshape(values.shape[0], *shape[1:])
