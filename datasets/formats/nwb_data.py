"""Arrays of an NWB file that stay readable after pynwb has closed it: frames, mostly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import h5py
import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.links import check_declared
from neuromodels.datasets.sources import Source

NO_LIMIT = slice(None)


@dataclass(frozen=True, eq=False)
class Reading:
    """How this file is read.

    Attributes
    ----------
    source : Source
    axes : {"xy", "yx"}
        Order of pixels in the file.
    allow_external : bool
        Whether frames may lie outside of the file's folder.
    """

    source: Source
    axes: str = "xy"
    allow_external: bool = False

    @property
    def name(self) -> str:
        return self.source.name

    @cached_property
    def stream(self) -> h5py.File | None:
        """What is streamed stays open; files are opened whenever something is read from them."""
        return self.source.hdf5() if self.source.is_stream else None

    def stored(self, data, where: str) -> StoredArray:
        """A dataset, or an array that pynwb has made of it."""
        check_declared(data, where)
        return StoredArray(data, self.stream)


class StoredArray:
    """A dataset, read by slices of its first axis.

    The file is opened for each reading, so that no recording keeps a file locked; a stream stays
    open.
    """

    def __init__(self, data, stream: h5py.File | None = None):
        on_disk = isinstance(data, h5py.Dataset)
        self._place = (data.file.filename, data.name) if on_disk else None
        self._stream = stream
        self._data = None if on_disk else np.asarray(data)
        self.shape = tuple(data.shape)
        self.dtype = np.dtype(data.dtype)

    def __getitem__(self, key) -> np.ndarray:
        if self._place is None:
            return self._data[key]
        filename, name = self._place
        try:
            if self._stream is not None:
                return np.asarray(self._stream[name][key])
            with h5py.File(filename, "r") as file:
                return np.asarray(file[name][key])
        except (OSError, KeyError, RuntimeError) as error:
            streamed = self._stream is not None
            raise InputError(
                "frames cannot be read any more",
                where=f"{filename}: {name.removesuffix('/data')}",
                remedy="The connection was lost, or the file changed: open the recording again."
                if streamed
                else "The file was moved, changed or damaged: open the recording again.",
            ) from error

    def runs(self, index: np.ndarray) -> np.ndarray:
        """Entries at an index; HDF5 reads slices far faster than lists."""
        index = np.asarray(index, dtype=np.int64)
        values = np.empty((index.size, *self.shape[1:]), dtype=self.dtype)
        cuts = np.flatnonzero(np.diff(index) != 1) + 1
        for a, b in zip([0, *cuts], [*cuts, index.size], strict=True):
            if b > a:
                values[a:b] = self[int(index[a]) : int(index[a]) + b - a]
        return values


class FramesInFile:
    """Frames of a series as (frame, [channel,] y, x), as uint8 or float32, read by slices."""

    def __init__(self, data: StoredArray, axes: str, scale: float = 1.0, shift: float = 0.0):
        self._data = data
        self._transposed = axes == "xy"
        self._scale, self._shift = scale, shift
        n, *rest = data.shape
        if len(rest) < 2:
            # A full-field stimulus has one pixel, a list of values per frame is a bar movie.
            self.shape = (n, *(rest or [1]), 1)
        else:
            y, x = rest[1::-1] if self._transposed else rest[:2]
            self.shape = (n, *rest[2:], y, x)
        plain = data.dtype in (np.dtype(np.uint8), np.dtype(bool))
        self.dtype = np.dtype(np.uint8 if plain and self._unscaled else np.float32)

    @property
    def _unscaled(self) -> bool:
        return self._scale == 1.0 and self._shift == 0.0

    def __getitem__(self, key) -> np.ndarray:
        frames, *rest = key if isinstance(key, tuple) else (key,)
        values = self._oriented(self._read(frames))
        if not self._unscaled:
            values = values * self._scale + self._shift
        values = values.astype(self.dtype, copy=False)
        return values[(0 if isinstance(frames, (int, np.integer)) else NO_LIMIT, *rest)]

    def _read(self, frames) -> np.ndarray:
        if isinstance(frames, (int, np.integer)):
            return self._data[int(frames) : int(frames) + 1]
        if isinstance(frames, slice):
            frames = range(*frames.indices(self.shape[0]))
            if frames.step == 1:
                return self._data[frames.start : max(frames.start, frames.stop)]
        return self._data.runs(frames)

    def _oriented(self, values: np.ndarray) -> np.ndarray:
        if values.ndim < 3:
            return values.reshape(values.shape[0], *self.shape[1:])
        if self._transposed:
            values = values.swapaxes(1, 2)
        return np.moveaxis(values, 3, 1) if values.ndim == 4 else values


class ImagesInFile:
    """The pictures of an Images container after one another, in the file's order of pixels.

    Has the shape and type of one array (image, ...), so that `FramesInFile` can orient it.
    """

    def __init__(self, images: list[StoredArray], where: str):
        shapes = {image.shape for image in images}
        if len(shapes) != 1 or len(images[0].shape) not in (2, 3):
            raise InputError(
                f"holds images of shapes {sorted(shapes)[:5]}",
                where=where,
                remedy="All images must be (x, y) or (x, y, rgb), and of one size: resize them to "
                "what was on screen, and export again.",
            )
        self._images = images
        self.shape = (len(images), *images[0].shape)
        self.dtype = np.result_type(*{image.dtype for image in images})

    def __getitem__(self, key) -> np.ndarray:
        return self.runs(np.arange(self.shape[0])[key])

    def runs(self, index: np.ndarray) -> np.ndarray:
        """Images at an index."""
        values = np.empty((len(index), *self.shape[1:]), dtype=self.dtype)
        for i, image in enumerate(index):
            values[i] = self._images[int(image)][NO_LIMIT]
        return values


def series_times(series, n_entries: int, where: str) -> np.ndarray:
    """When each entry of a series was, s, as the file says it: timestamps, or start and rate.

    Raises
    ------
    InputError
        If the file says neither.
    """
    if series.timestamps is not None:
        check_declared(series.timestamps, f"{where}/timestamps")
        return np.asarray(series.timestamps[:], dtype=np.float64)
    if series.rate is None or not np.isfinite(series.rate) or series.rate <= 0:
        raise InputError(
            f"has neither timestamps nor a positive rate (rate is {series.rate})",
            where=where,
            remedy="Store the time of every frame or sample, s, or a rate in Hz.",
        )
    return float(series.starting_time or 0.0) + np.arange(n_entries) / float(series.rate)
