"""Labelled trees in HDF5: written whole or not at all, read when needed, checked on request.

The files are netCDF4-compatible: every axis carries a dimension scale with labels and units,
so h5py, xarray, netCDF-C and MATLAB show what is what. Used for recordings and for results.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import h5netcdf
import h5py
import numpy as np
import xarray as xr

from neuromodels.datasets.attributes import decode_attribute, encode_attribute
from neuromodels.datasets.errors import InputError

SCHEMA_VERSION = 1
CHECKSUM = "sha256"
CHUNK_BYTES = 2**18
SLAB_BYTES = 2**25
SMALL_BYTES = 2**12  # smaller variables are stored in one piece, uncompressed


def write_tree(tree: xr.DataTree, path: str | Path, overwrite: bool = False) -> Path:
    """Write a labelled tree to one HDF5 file; the file appears whole or not at all.

    The data go to a temporary name in the same folder, are synced to disk, and the file is
    then renamed. Variables are streamed, so that trees larger than memory can be written.
    Each variable carries a sha256 of its type, shape and bytes, see `verify`.

    Parameters
    ----------
    tree : xarray.DataTree
        Variables of integers, floats (32 or 64 bit), booleans or text. Every dimension must
        have a coordinate. Floats whose `encoding` names an integer `dtype` and a `_FillValue`
        are stored as such integers (NaN becomes the fill value). Attributes may be anything
        that JSON can hold, or numpy arrays.
    path : str or Path
    overwrite : bool
        Replace a file that exists.

    Returns
    -------
    Path
        Where the file is.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is false, if it cannot be written, or if the tree
        holds something that a labelled file cannot.
    """
    path = Path(path)
    check_output(path, overwrite)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        _write_file(tree, temporary, path)
        _sync(temporary)
        check_output(path, overwrite)
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return path


def check_output(path: str | Path, overwrite: bool = False) -> None:
    """Refuse, before any long work, an output that exists or whose folder cannot take it.

    Raises
    ------
    InputError
    """
    path = Path(path)
    if path.is_dir():
        raise InputError("is a folder", where=str(path), remedy="Give the name of a file.")
    if path.exists() and not overwrite:
        raise InputError(
            "exists already",
            where=str(path),
            remedy="Choose another name, or pass overwrite (--overwrite).",
        )
    if not path.parent.is_dir():
        raise InputError(
            f"cannot be written: there is no folder {path.parent}",
            where=str(path),
            remedy="Make the folder first.",
        )
    if not os.access(path.parent, os.W_OK):
        raise InputError(
            f"cannot be written: no permission in {path.parent.resolve()}",
            where=str(path),
            remedy="Choose a folder in which you may write.",
        )


def read_tree(path) -> xr.DataTree:
    """Open a file that `write_tree` wrote; variables are read when they are used.

    `tree.close()` closes the file; it also closes when the tree is no longer used. An open binary
    file object is read like a path.

    Raises
    ------
    InputError
        If the file is missing, truncated, not HDF5, not ours, or of a newer version.
    """
    streamed = hasattr(path, "read")
    path = path if streamed else Path(path)
    with h5py.File(path, "r") if streamed else open_hdf5(path) as file:
        version = decode_attribute(file.attrs.get("schema_version"))
    if version is None:
        raise InputError(
            "has no schema_version: it was not written by neuromodels",
            where=str(path),
            remedy="Open it with open_recording, which also reads other formats.",
        )
    if int(version) > SCHEMA_VERSION:
        raise InputError(
            f"has schema_version {int(version)}, this installation reads up to {SCHEMA_VERSION}",
            where=str(path),
            remedy="Update: pip install --upgrade neuromodels.",
        )
    opened = xr.open_datatree(
        path, engine="h5netcdf", decode_times=False, decode_timedelta=False, cache=False
    )
    tree = xr.DataTree.from_dict(
        {node.path: _decoded(node.to_dataset(inherit=False)) for node in opened.subtree},
    )
    tree.set_close(opened.close)
    return tree


def open_hdf5(path: str | Path) -> h5py.File:
    """Open any HDF5 file for reading, or say in one message why that is impossible.

    Raises
    ------
    InputError
        If the file is missing, not HDF5, truncated, or may not be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("does not exist", where=str(path), remedy="Check the path.")
    if path.is_dir():
        raise InputError("is a folder", where=str(path), remedy="Give the file in it.")
    if not os.access(path, os.R_OK):
        raise InputError("may not be read", where=str(path), remedy="Check its permissions.")
    if not h5py.is_hdf5(path):
        raise InputError(
            "is no HDF5 file (or its beginning is damaged)",
            where=str(path),
            remedy="Give an HDF5 or NWB file; if it was one, copy or download it again.",
        )
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(
            f"cannot be opened, it is truncated or damaged ({_first_line(error)})",
            where=str(path),
            remedy="Copy or download it again.",
        ) from error


def verify(path: str | Path) -> int:
    """Read every variable and compare it with its stored checksum.

    Returns
    -------
    int
        Number of variables checked.

    Raises
    ------
    InputError
        Names the first variable whose bytes are not those that were written.
    """
    checked = 0
    with open_hdf5(path) as file:
        for name, dataset in _datasets(file):
            stored = dataset.attrs.get(CHECKSUM)
            if stored is None:
                continue
            digest = _new_digest(dataset.dtype, dataset.shape)
            try:
                for slab in _stored_slabs(dataset):
                    digest.update(_bytes(slab))
                intact = digest.hexdigest() == decode_attribute(stored)
            except OSError:
                intact = False
            if not intact:
                raise InputError(
                    "is damaged: it differs from its checksum",
                    where=f"{path}: {name}",
                    remedy="Copy or download the file again, or make it anew.",
                )
            checked += 1
        if not checked:
            raise InputError(
                "holds no checksums: it was not written by neuromodels",
                where=str(path),
                remedy="Nothing can be verified.",
            )
    return checked


def _write_file(tree: xr.DataTree, temporary: Path, path: Path) -> None:
    with h5netcdf.File(temporary, "w") as file:
        for node in tree.subtree:
            group = file if node.path == "/" else file.create_group(node.path)
            attrs = dict(node.attrs)
            if node.path == "/":
                attrs.setdefault("schema_version", SCHEMA_VERSION)
            _write_node(group, node, attrs, f"{path}: {node.path}")


def _write_node(group, node: xr.DataTree, attrs: dict, where: str) -> None:
    own = node.to_dataset(inherit=False)
    known = node.to_dataset(inherit=True)
    sizes = {
        dim: size
        for variable in own.variables.values()
        for dim, size in zip(variable.dims, variable.shape, strict=True)
    }
    for dim in sizes:
        if dim not in known.coords:
            raise InputError(
                f"dimension {dim!r} has no coordinate",
                where=where,
                remedy="Label every axis: dataset.assign_coords(...).",
            )
    # A child repeats the labels that it inherits: plain HDF5 knows no inheritance.
    variables = {dim: known.variables[dim] for dim in sizes}
    variables |= {name: own.variables[name] for name in own.variables if name not in variables}
    group.dimensions = sizes
    extra = [str(name) for name in own.coords if name not in sizes]
    for name in extra:
        if " " in name:
            raise InputError(
                f"coordinate {name!r} has a space in its name",
                where=where,
                remedy="Use an underscore: netCDF lists coordinates separated by spaces.",
            )
    for name, variable in variables.items():
        beside = (
            []
            if name in own.coords or name in sizes
            else [coord for coord in extra if set(own.variables[coord].dims) <= set(variable.dims)]
        )
        _write_variable(group, str(name), variable, beside, f"{where.rstrip('/')}/{name}")
    if extra:
        attrs["coordinates"] = " ".join(extra)
    _write_attrs(group, attrs, where)


def _write_variable(group, name: str, variable: xr.Variable, beside: list, where: str) -> None:
    dtype, attrs, fill = _stored_type(variable, where)
    shape = variable.shape
    text = dtype.kind == "O"
    n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    layout = {}
    if shape and n_bytes > SMALL_BYTES:
        layout = {"chunks": _chunks(shape, dtype.itemsize), "shuffle": not text}
        layout |= {"compression": "gzip", "compression_opts": 4}
    target = group.create_variable(name, variable.dims, dtype, fillvalue=fill, **layout)
    digest = _new_digest(dtype, shape)
    chunk = layout["chunks"][0] if layout else 1
    for rows in _row_slices(shape, dtype.itemsize, chunk):
        values = np.asarray((variable[rows] if shape else variable).values)
        values = np.ascontiguousarray(_stored_values(values, dtype, fill, where)).reshape(
            values.shape
        )
        digest.update(_bytes(values))
        if values.size:
            target[rows] = values
    attrs |= {key: value for key, value in variable.attrs.items() if key != CHECKSUM}
    attrs[CHECKSUM] = digest.hexdigest()
    if beside:
        attrs["coordinates"] = " ".join(beside)
    _write_attrs(target, attrs, where)


def _write_attrs(target, attrs: dict, where: str) -> None:
    for key, value in attrs.items():
        try:
            target.attrs[key] = encode_attribute(value)
        except TypeError as error:
            raise InputError(
                f"attribute {key!r} cannot be stored ({error})",
                where=where,
                remedy="Use text, numbers, booleans, None, or lists and dicts of these.",
            ) from error


def _stored_type(variable: xr.Variable, where: str) -> tuple[np.dtype, dict, object]:
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


def _stored_values(values: np.ndarray, dtype: np.dtype, fill, where: str) -> np.ndarray:
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


def _chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    chunks, room = [], max(1, CHUNK_BYTES // itemsize)
    for size in reversed(shape):
        chunks.append(max(1, min(size, room)))
        room = max(1, room // chunks[-1])
    return tuple(reversed(chunks))


def _row_slices(shape: tuple[int, ...], itemsize: int, chunk: int) -> Iterator:
    if not shape:
        yield ()
        return
    row = max(1, itemsize * int(np.prod(shape[1:], dtype=np.int64)))
    step = max(1, SLAB_BYTES // row // chunk) * chunk
    for first in range(0, max(shape[0], 1), step):
        yield slice(first, min(first + step, shape[0]))


def _stored_slabs(dataset: h5py.Dataset) -> Iterator[np.ndarray]:
    text = h5py.check_string_dtype(dataset.dtype) is not None
    source = dataset.asstr() if text else dataset
    chunk = dataset.chunks[0] if dataset.chunks else 1
    for rows in _row_slices(dataset.shape, dataset.dtype.itemsize, chunk):
        yield np.asarray(source[rows])


def _new_digest(dtype: np.dtype, shape: tuple[int, ...]):
    name = "text" if dtype.kind == "O" else dtype.str
    return hashlib.sha256(f"{name}{tuple(int(n) for n in shape)}".encode())


def _bytes(values: np.ndarray) -> bytes:
    if values.dtype.kind == "O":
        return b"".join(item.encode() + b"\0" for item in values.ravel())
    return np.ascontiguousarray(values).tobytes()


def _decoded(dataset: xr.Dataset) -> xr.Dataset:
    changed = {}
    for name, variable in dataset.variables.items():
        attrs = {k: decode_attribute(v) for k, v in variable.attrs.items() if k != CHECKSUM}
        if variable.dtype.kind in "OT":
            values = np.asarray(variable.values).astype(str)
            changed[name] = (variable.dims, values, attrs)
        else:
            variable.attrs = attrs
    attrs = {key: decode_attribute(value) for key, value in dataset.attrs.items()}
    attrs.pop("coordinates", None)
    coords = {name: value for name, value in changed.items() if name in dataset.coords}
    others = {name: value for name, value in changed.items() if name not in coords}
    decoded = dataset.assign_coords(coords).assign(others)
    decoded.attrs = attrs
    return decoded


def _datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    found = []
    file.visititems(
        lambda name, item: (
            found.append((f"/{name}", item)) if isinstance(item, h5py.Dataset) else None
        )
    )
    return found


def _sync(path: Path) -> None:
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle on a folder to sync
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> InputError:
    if isinstance(error, PermissionError) and path.exists():
        remedy = "Close it if another program has it open, or choose another name."
    else:
        remedy = "Check the free space and the permissions of the folder."
    return InputError(
        f"could not be written ({_first_line(error)})", where=str(path), remedy=remedy
    )


def _first_line(error: OSError) -> str:
    return (error.strerror or str(error)).splitlines()[0]
