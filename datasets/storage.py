"""Labelled trees in HDF5: written whole or not at all, read when needed, checked on request.

The files are netCDF4-compatible: every axis carries a dimension scale with labels and units,
so h5py, xarray, netCDF-C and MATLAB show what is what. Used for recordings and for results.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import h5netcdf
import h5py
import numpy as np
import xarray as xr

from neuromodels.datasets.attributes import decode_attribute, encode_attribute
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.seal import check_seal, seal
from neuromodels.datasets.steady_file import SteadyFile
from neuromodels.datasets.stored_values import (
    CHECKSUM,
    SMALL_BYTES,
    chunk_shape,
    new_digest,
    row_slices,
    stored_slabs,
    stored_type,
    value_bytes,
)

SCHEMA_VERSION = 1


def write_tree(tree: xr.DataTree, path: str | Path, overwrite: bool = False) -> Path:
    """Write a labelled tree to one HDF5 file; the file appears whole or not at all.

    The data go to a temporary name in the same folder, are synced to disk, and the file is
    then renamed. Variables are streamed, so that trees larger than memory can be written.
    Each variable carries a sha256 of its type, shape and bytes, see `verify`; all other bytes of
    the file are sealed by one sha256 behind the HDF5, see `check_seal`.

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

    def write(temporary: Path) -> None:
        _write_file(tree, temporary, path)
        seal(temporary)

    return write_whole(path, write, overwrite)


def write_whole(path: str | Path, write: Callable[[Path], None], overwrite: bool = False) -> Path:
    """Let `write` make a file under a temporary name, sync it, and rename it to `path`.

    Whatever interrupts it, an earlier file stays as it was and no temporary file remains.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is false, or if it cannot be written.
    """
    path = Path(path)
    check_output(path, overwrite)
    temporary = temporary_name(path)
    try:
        write(temporary)
        _sync(temporary)
        check_output(path, overwrite)
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return path


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other program uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def check_output(path: str | Path, overwrite: bool = False) -> None:
    """Refuse, before any long work, an output that exists or whose folder cannot take it.

    Raises
    ------
    InputError
    """
    path = Path(path)
    if path.is_dir():
        raise InputError("is a folder", where=str(path), remedy="Give the name of a file.")
    _check_place(path, overwrite)


def check_folder(path: str | Path, marker: str, overwrite: bool = False) -> None:
    """As `check_output` for an output that is a folder; only one that holds `marker` is replaced.

    Raises
    ------
    InputError
    """
    path = Path(path)
    if path.exists() and not (path / marker).is_file():
        raise InputError(
            f"exists already, and is no folder with a {marker}",
            where=str(path),
            remedy="Choose another name.",
        )
    _check_place(path, overwrite)


def _check_place(path: Path, overwrite: bool) -> None:
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

    All that is not values of variables is checked against its sha256, before HDF5 sees it; the
    values are checked by `tree.encoding["checked_variables"]`, which `validate` calls.
    `tree.close()` closes the file; it also closes when the tree is no longer used. An open binary
    file object is read like a path, unchecked.

    Raises
    ------
    InputError
        If the file is missing, truncated, damaged, not HDF5, not ours, or of a newer version.
    """
    streamed = hasattr(path, "read")
    if not streamed:
        path = Path(path)
        check_seal(path)
    with h5py.File(path, "r") if streamed else open_hdf5(path) as file:
        version = decode_attribute(file.attrs.get("schema_version"))
        _check_plain(file, str(path))
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
    if not streamed:
        tree.encoding["checked_variables"] = partial(checked_variables, path)
    return tree


def _check_plain(file: h5py.File, where: str) -> None:
    """Refuse links and groups that hold each other: we write none, and walks would never end."""
    seen, waiting = set(), [file["/"]]
    while waiting:
        group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            raise InputError(
                "is damaged: a group is in it twice",
                where=f"{where}: {group.name}",
                remedy="Copy or download it again.",
            )
        seen.add(address)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InputError(
                    "is a link, which neuromodels never writes",
                    where=f"{where}: {group.name.rstrip('/')}/{name}",
                    remedy="Copy or download the file again.",
                )
            if group.get(name, getclass=True) is h5py.Group:
                waiting.append(group[name])


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
    for name, intact in checked_variables(path):
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


def checked_variables(path: str | Path) -> Iterator[tuple[str, bool]]:
    """Every variable that carries a checksum, and whether its bytes still agree with it.

    Raises
    ------
    InputError
        If what is not values of variables is damaged.
    """
    check_seal(path)
    with open_hdf5(path) as file:
        for name, dataset in _datasets(file):
            stored = dataset.attrs.get(CHECKSUM)
            if stored is None:
                continue
            digest = new_digest(dataset.dtype, dataset.shape)
            try:
                for slab in _slabs_on_disk(dataset):
                    digest.update(value_bytes(slab))
                yield name, digest.hexdigest() == decode_attribute(stored)
            except (OSError, UnicodeDecodeError):
                yield name, False


def _write_file(tree: xr.DataTree, temporary: Path, path: Path) -> None:
    with closing(SteadyFile(temporary)) as disk:
        with h5netcdf.File(disk, "w") as file:
            for node in tree.subtree:
                group = file if node.path == "/" else file.create_group(node.path)
                attrs = dict(node.attrs)
                if node.path == "/":
                    attrs.setdefault("schema_version", SCHEMA_VERSION)
                _write_node(group, node, attrs, disk.check, f"{path}: {node.path}")
        disk.check()


def _write_node(group, node: xr.DataTree, attrs: dict, check: Callable, where: str) -> None:
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
        _write_variable(group, str(name), variable, beside, check, f"{where.rstrip('/')}/{name}")
    if extra:
        attrs["coordinates"] = " ".join(extra)
    _write_attrs(group, attrs, where)


def _write_variable(group, name: str, variable, beside: list, check: Callable, where: str) -> None:
    dtype, attrs, fill = stored_type(variable, where)
    shape = variable.shape
    text = dtype.kind == "O"
    n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    layout = {}
    if shape and n_bytes > SMALL_BYTES:
        layout = {"chunks": chunk_shape(shape, dtype.itemsize), "shuffle": not text}
        layout |= {"compression": "gzip", "compression_opts": 4}
    target = group.create_variable(name, variable.dims, dtype, fillvalue=fill, **layout)
    digest = new_digest(dtype, shape)
    chunk = layout["chunks"][0] if layout else 1
    for rows, values in stored_slabs(variable, dtype, fill, chunk, where):
        digest.update(value_bytes(values))
        if values.size:
            target[rows] = values
        check()
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


def _slabs_on_disk(dataset: h5py.Dataset) -> Iterator[np.ndarray]:
    text = h5py.check_string_dtype(dataset.dtype) is not None
    source = dataset.asstr() if text else dataset
    chunk = dataset.chunks[0] if dataset.chunks else 1
    for rows in row_slices(dataset.shape, dataset.dtype.itemsize, chunk):
        yield np.asarray(source[rows])


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


def sync_folder(folder: Path) -> None:
    """See that a renamed file is on disk under its new name."""
    if os.name == "nt":  # Windows has no handle on a folder to sync
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(path: Path, error: OSError) -> InputError:
    """The error for a file or folder that the system did not let us write."""
    if isinstance(error, PermissionError) and path.exists():
        remedy = "Close it if another program has it open, or choose another name."
    else:
        remedy = "Check the free space and the permissions of the folder."
    return InputError(
        f"could not be written ({_first_line(error)})", where=str(path), remedy=remedy
    )


def _first_line(error: OSError) -> str:
    return (error.strerror or str(error)).splitlines()[0]
