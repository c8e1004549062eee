"""How labelled arrays are held by files: types, pieces, and the checksum of their bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import h5py
import numpy as np
import xarray as xr

from neuromodels.datasets.attributes import ARRAY, JSON, encode_attribute
from neuromodels.datasets.errors import InputError

CHECKSUM = "sha256"
CHUNK_BYTES = 2**18
SLAB_BYTES = 2**25
SMALL_BYTES = 2**12  # smaller variables are stored in one piece, uncompressed


def stored_type(variable: xr.Variable, where: str) -> tuple[np.dtype, dict, object]:
    """Type on disk, attributes that say how to decode it, and the fill value (or None).

    Raises
    ------
    InputError
        If the type has no place in a labelled file.
    """
    dtype, encoding = variable.dtype, variable.encoding
    wanted = encoding.get("dtype")
    if dtype.kind == "f" and wanted is not None and encoding.get("_FillValue") is not None:
        wanted = np.dtype(wanted)
        if wanted.kind in "iu":
            return wanted, {}, wanted.type(encoding["_FillValue"])
    if dtype.kind == "b":
        return np.dtype(np.int8), {"dtype": "bool"}, None  # as xarray stores booleans
    if dtype.kind in "UTO":
        return h5py.string_dtype(), {}, None
    if dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize in (4, 8)):
        return dtype.newbyteorder("<"), {}, None
    raise InputError(
        f"has type {dtype}, which is not stored",
        where=where,
        remedy="Convert it to integers, float32 or float64, booleans, or text.",
    )


def stored_values(values: np.ndarray, dtype: np.dtype, fill, where: str) -> np.ndarray:
    """Values as they are on disk: text as objects, NaN as the fill value of integers.

    Raises
    ------
    InputError
        If that would change a value.
    """
    if dtype.kind == "O":
        if values.dtype.kind == "O" and not all(isinstance(item, str) for item in values.flat):
            raise InputError(
                "holds objects that are no text", where=where, remedy="Convert them to text."
            )
        return values.astype(object)
    if fill is None:
        return values.astype(dtype, copy=False)
    missing = np.isnan(values)
    stored = np.where(missing, 0, values).astype(dtype)
    if not np.array_equal(stored[~missing], values[~missing]) or (stored[~missing] == fill).any():
        raise InputError(
            f"holds values that {dtype} with fill value {fill} cannot store",
            where=where,
            remedy="Drop the variable's `encoding` to store it as floating point.",
        )
    stored[missing] = fill
    return stored


def stored_slabs(variable: xr.Variable, dtype: np.dtype, fill, chunk: int, where: str) -> Iterator:
    """Pieces of a variable as they are on disk, as (rows, values); it is never held whole."""
    for rows in row_slices(variable.shape, dtype.itemsize, chunk):
        values = np.asarray((variable[rows] if variable.shape else variable).values)
        stored = np.ascontiguousarray(stored_values(values, dtype, fill, where))
        yield rows, stored.reshape(values.shape)


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks of about `CHUNK_BYTES` that hold whole rows where they fit."""
    chunks, room = [], max(1, CHUNK_BYTES // itemsize)
    for size in reversed(shape):
        chunks.append(max(1, min(size, room)))
        room = max(1, room // chunks[-1])
    return tuple(reversed(chunks))


def row_slices(shape: tuple[int, ...], itemsize: int, chunk: int) -> Iterator:
    """Slices of the first axis of about `SLAB_BYTES`, in whole chunks; `()` for a scalar."""
    if not shape:
        yield ()
        return
    row = max(1, itemsize * int(np.prod(shape[1:], dtype=np.int64)))
    step = max(1, SLAB_BYTES // row // chunk) * chunk
    for first in range(0, max(shape[0], 1), step):
        yield slice(first, min(first + step, shape[0]))


def new_digest(dtype: np.dtype, shape: tuple[int, ...]):
    """A sha256 that has seen type and shape; values follow as `value_bytes`, in order."""
    name = "text" if dtype.kind == "O" else dtype.str
    return hashlib.sha256(f"{name}{tuple(int(n) for n in shape)}".encode())


def value_bytes(values: np.ndarray) -> bytes:
    """What a checksum sees of stored values."""
    if values.dtype.kind == "O":
        return b"".join(item.encode() + b"\0" for item in values.ravel())
    return np.ascontiguousarray(values).tobytes()


def json_attribute(value, where: str):
    """An attribute as JSON holds it (text or number); `decode_attribute` gives it back.

    Raises
    ------
    InputError
        If it has no JSON form.
    """
    try:
        encoded = encode_attribute(value)
    except TypeError as error:
        raise InputError(
            f"holds an attribute that cannot be stored ({error})",
            where=where,
            remedy="Use text, numbers, booleans, None, or lists and dicts of these.",
        ) from error
    if isinstance(encoded, np.ndarray):  # JSON lists would lose the type
        stored = {"dtype": encoded.dtype.str, "shape": encoded.shape, "values": encoded.tolist()}
        return ARRAY + json.dumps(stored)
    if isinstance(encoded, float) and not np.isfinite(encoded):
        return JSON + json.dumps(encoded)
    return encoded


class Filled:
    """Integers on disk whose fill value is read as NaN."""

    def __init__(self, array, fill: int, dtype: np.dtype):
        self._array, self._fill = array, fill
        self.shape, self.dtype = array.shape, dtype

    def __getitem__(self, key) -> np.ndarray:
        stored = np.asarray(self._array[key])
        return np.where(stored == self._fill, np.nan, stored).astype(self.dtype)
