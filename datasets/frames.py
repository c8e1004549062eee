"""Movies that may be larger than memory: read when asked for, kept when small.

One number bounds what large recordings take: `memory_bound`, 4 GB unless the environment variable
NEUROMODELS_MEMORY_GB says otherwise. A quarter is for movies that are kept, the rest for the fit.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterator

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from neuromodels.datasets.errors import InputError

MEMORY_VARIABLE = "NEUROMODELS_MEMORY_GB"
MEMORY_GB = 4.0  # unless the variable says otherwise
KEEP_BELOW_BYTES = 2**30  # movies up to this, all together, are read once and shared
SLAB_BYTES = 2**25  # streaming reads about this much at a time
NEAR_FRAMES = 8  # frames closer than this are read in one piece


def memory_bound() -> int:
    """Bytes that movies, regressors and activations of a network may take together.

    Raises
    ------
    InputError
        If NEUROMODELS_MEMORY_GB is no positive number.
    """
    said = os.environ.get(MEMORY_VARIABLE, "").strip()
    if not said:
        return int(MEMORY_GB * 2**30)
    try:
        gigabytes = float(said)
    except ValueError:
        gigabytes = math.nan
    if not 0 < gigabytes < math.inf:
        raise InputError(
            f"is {said!r}",
            where=f"environment: {MEMORY_VARIABLE}",
            remedy=f"Give a positive number of GB, or unset it for {MEMORY_GB:g}.",
        )
    return int(gigabytes * 2**30)


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
    """Read a movie in pieces of about `slab_bytes`, in order; frames are the first axis.

    Pieces are shorter where the memory bound is small.
    """
    slab_bytes = min(slab_bytes, max(1, memory_bound() // 16))
    n_frames = variable.shape[0]
    frame_bytes = variable.dtype.itemsize * int(np.prod(variable.shape[1:], dtype=np.int64))
    step = max(1, slab_bytes // max(1, frame_bytes))
    for first in range(0, n_frames, step):
        yield np.asarray(variable[first : first + step].values)


def read_frames(frames, index: np.ndarray) -> np.ndarray:
    """Frames in the order of `index`, without reading many that are not in it.

    Parameters
    ----------
    frames : Frames or array
        (frame, channel, y, x).
    index : (n,) int
        Not empty; frames may repeat and come in any order.

    Returns
    -------
    numpy.ndarray
        (n, channel, y, x), the caller's own.
    """
    first, last = int(index.min()), int(index.max())
    if isinstance(frames, np.ndarray) or frames.kept or last - first < 2 * len(index) + NEAR_FRAMES:
        return frames[first : last + 1][index - first]
    wanted, where = np.unique(index, return_inverse=True)
    edges = np.flatnonzero(np.diff(wanted) > NEAR_FRAMES) + 1
    parts = [frames[part[0] : part[-1] + 1][part - part[0]] for part in np.split(wanted, edges)]
    found = np.concatenate(parts)
    return found if np.array_equal(index, wanted) else found[where]


class Frames:
    """The frames of one role as `(frame, channel, y, x)`, whatever the file leaves out.

    Indexing with a slice returns an array. Small movies are read once at the first use and then
    shared by all blocks, as long as all that are kept stay below `KEEP_BELOW_BYTES` and a quarter
    of the memory bound; others are read piece by piece.
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

    @property
    def kept(self) -> bool:
        """Whether the movie is in memory, now that it is used."""
        if self._kept is None and self.nbytes <= _room_to_keep():
            kept = np.asarray(self._variable.values).reshape(self.shape)
            kept.flags.writeable = False
            self._kept = kept
            _keeping.add(self)
        return self._kept is not None

    def __getitem__(self, frames: slice) -> np.ndarray:
        if self.kept:
            return self._kept[frames]
        part = np.asarray(self._variable[frames].values)
        return part.reshape(part.shape[0], *self.shape[1:])


_keeping: weakref.WeakSet[Frames] = weakref.WeakSet()


def _room_to_keep() -> int:
    most = min(KEEP_BELOW_BYTES, memory_bound() // 4)
    return most - sum(frames.nbytes for frames in list(_keeping))


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
