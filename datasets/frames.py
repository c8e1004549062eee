"""Movies that may be larger than memory: read when asked for, kept when small."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

KEEP_BELOW_BYTES = 2**30  # a movie smaller than this is read once and shared
SLAB_BYTES = 2**25  # streaming reads about this much at a time


def lazy_variable(dims: tuple[str, ...], source, attrs: dict | None = None) -> xr.Variable:
    """Label an array on disk (h5py, zarr, ...) without reading it.

    Parameters
    ----------
    dims : tuple of str
        One name per axis of `source`.
    source : array-like
        Anything with `shape`, `dtype` and `__getitem__` for slices, for example an open
        `h5py.Dataset`. It must stay open as long as the variable is used.
    attrs : dict, optional
        Attributes of the variable, units among them.
    """
    data = indexing.LazilyIndexedArray(_OnDisk(source))
    return xr.Variable(dims, data, attrs)


def frame_slabs(variable: xr.Variable, slab_bytes: int = SLAB_BYTES) -> Iterator[np.ndarray]:
    """Read a movie in pieces of about `slab_bytes`, in order; frames are the first axis."""
    n_frames = variable.shape[0]
    frame_bytes = variable.dtype.itemsize * int(np.prod(variable.shape[1:], dtype=np.int64))
    step = max(1, slab_bytes // max(1, frame_bytes))
    for first in range(0, n_frames, step):
        yield np.asarray(variable[first : first + step].values)


class Frames:
    """The frames of one role as `(frame, channel, y, x)`, whatever the file leaves out.

    Indexing with a slice returns an array. A movie below `KEEP_BELOW_BYTES` is read once at
    the first use and then shared by all blocks; a larger one is read piece by piece.
    """

    def __init__(self, variable: xr.Variable):
        self._variable = variable
        self._kept: np.ndarray | None = None
        shape = variable.shape
        self.shape = shape if len(shape) == 4 else (shape[0], 1, *shape[1:])
        self.dtype = variable.dtype

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: slice) -> np.ndarray:
        if self._kept is None and self.nbytes <= KEEP_BELOW_BYTES:
            kept = np.asarray(self._variable.values).reshape(self.shape)
            kept.flags.writeable = False
            self._kept = kept
        if self._kept is not None:
            return self._kept[frames]
        part = np.asarray(self._variable[frames].values)
        return part.reshape(part.shape[0], *self.shape[1:])


class _OnDisk(BackendArray):
    def __init__(self, source):
        self.source = source
        self.shape = tuple(source.shape)
        self.dtype = np.dtype(source.dtype)

    def __getitem__(self, key):
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read
        )

    def _read(self, key):
        return np.asarray(self.source[key])
