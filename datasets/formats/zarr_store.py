"""Zarr folders: a recording as chunks in files, which object stores serve piece by piece (extra).

Layout of zarr format 3 with names of dimensions, so that `xarray.open_datatree(..., engine="zarr")`
opens it too. Every array carries a sha256 of its values, the root one of all metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from neuromodels.datasets.attributes import decode_attribute
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.labelled_hdf5 import recording_of
from neuromodels.datasets.frames import lazy_variable
from neuromodels.datasets.image_recording import SCHEMA as IMAGES
from neuromodels.datasets.image_recording import ImageRecording
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.sources import Source
from neuromodels.datasets.storage import (
    SCHEMA_VERSION,
    check_folder,
    sync_folder,
    temporary_name,
    unwritable,
)
from neuromodels.datasets.stored_values import (
    CHECKSUM,
    SMALL_BYTES,
    Filled,
    chunk_shape,
    json_attribute,
    new_digest,
    row_slices,
    stored_slabs,
    stored_type,
    value_bytes,
)

TITLE = "a zarr folder of neuromodels"
OPTIONS = ()
METADATA = "zarr.json"
METADATA_CHECKSUM = "metadata_sha256"
ORDER = "order_of_groups"  # a folder keeps none
INSTALL = "Install it: pip install 'neuromodels[zarr]'."
# Metadata of a node are short; a longer file is no metadata of ours.
LONGEST_METADATA = 2**26


def recognizes(source: Source) -> bool:
    """Whether it is a zarr folder (or address) that neuromodels wrote."""
    if source.is_folder:
        try:
            head = (source.path / METADATA).read_bytes()[:LONGEST_METADATA]
            about = json.loads(head)
        except (OSError, ValueError):
            return False
        attrs = about.get("attributes") if isinstance(about, dict) else None
        return isinstance(attrs, dict) and "neuromodels_schema" in attrs
    return source.is_stream and source.name.rstrip("/").endswith(".zarr")


def read(source: Source, *, bin_width=None, stimulus=None, test=None) -> Recording | ImageRecording:
    """Open a recording that `write` wrote; movies and responses are read when used.

    Raises
    ------
    InputError
        If zarr is not installed, or the folder is damaged or holds something else.
    """
    tree = read_zarr(source.path or source.name)
    if tree.attrs.get("neuromodels_schema") == IMAGES and bin_width is test is stimulus is None:
        return ImageRecording(tree, source.name)
    return recording_of(tree, source.name, bin_width=bin_width, stimulus=stimulus, test=test)


def write(recording, path: str | Path, overwrite: bool = False) -> Path:
    """Write a recording at its stored bins to a zarr folder; movies are streamed.

    Raises
    ------
    InputError
        If zarr is not installed, the folder exists and `overwrite` is false, or it cannot be
        written.
    """
    return write_zarr(recording.tree, path, overwrite=overwrite)


def write_zarr(tree: xr.DataTree, path: str | Path, overwrite: bool = False) -> Path:
    """Write a labelled tree to a zarr folder; the folder appears whole or not at all.

    Parameters
    ----------
    tree : xarray.DataTree
        As for `write_tree`.

    Raises
    ------
    InputError
    """
    _import_zarr(str(path))
    path = Path(path)
    check_folder(path, METADATA, overwrite)
    temporary = temporary_name(path)
    try:
        _write_folder(tree, temporary, str(path))
        for folder, _, names in os.walk(temporary):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    os.fsync(file.fileno())
        check_folder(path, METADATA, overwrite)
        _swap(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(path.parent)
    return path


def read_zarr(path: str | Path) -> xr.DataTree:
    """Open a zarr folder or address that `write_zarr` wrote; values are read when they are used.

    Raises
    ------
    InputError
        If zarr is not installed, or the folder is missing, damaged or of a newer version.
    """
    zarr = _import_zarr(str(path))
    try:
        root = zarr.open_group(_store(path), mode="r", zarr_format=3)
        groups = {"/": root} | {
            f"/{name}": item for name, item in root.members(max_depth=None) if _is_group(item)
        }
        attrs = dict(root.attrs)
        stated, order = attrs.pop(METADATA_CHECKSUM, None), attrs.pop(ORDER, [])
        version = int(attrs.get("schema_version", 0))
        if version > SCHEMA_VERSION:
            raise InputError(
                f"has schema_version {version}, this installation reads up to {SCHEMA_VERSION}",
                where=str(path),
                remedy="Update: pip install --upgrade neuromodels.",
            )
        if stated != _metadata_digest(root):
            raise _damaged(str(path))
        nodes = {name: _read_group(groups[name]) for name in order}
        tree = xr.DataTree.from_dict(nodes)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(str(path), str(error)) from error
    tree.encoding["checked_variables"] = partial(checked_variables, path)
    return tree


def checked_variables(path: str | Path) -> Iterator[tuple[str, bool]]:
    """Every array with a checksum, and whether its values still agree with it."""
    zarr = _import_zarr(str(path))
    try:
        root = zarr.open_group(_store(path), mode="r", zarr_format=3)
        intact = root.attrs.get(METADATA_CHECKSUM) == _metadata_digest(root)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _damaged(str(path), str(error)) from error
    if not intact:
        raise _damaged(str(path))
    for name, item in root.members(max_depth=None):
        if _is_group(item):
            continue
        text = item.dtype.kind in "OTU"
        stored = np.dtype(object) if text else item.dtype
        digest = new_digest(stored, item.shape)
        try:
            for rows in row_slices(item.shape, stored.itemsize, _first(item.chunks)):
                values = np.asarray(item[rows])
                digest.update(value_bytes(values.astype(stored, copy=False)))
            yield f"/{name}", digest.hexdigest() == item.attrs.get(CHECKSUM)
        except (OSError, ValueError, RuntimeError, TypeError, KeyError):
            yield f"/{name}", False


def _write_folder(tree: xr.DataTree, temporary: Path, where: str) -> None:
    import zarr

    root = zarr.create_group(str(temporary), zarr_format=3)
    for node in tree.subtree:
        group = root if node.path == "/" else root.require_group(node.path.strip("/"))
        own = node.to_dataset(inherit=False)
        for name, variable in own.variables.items():
            here = f"{where}: {node.path.rstrip('/')}/{name}"
            _write_array(group, str(name), variable, name in own.coords, here)
        attrs = {
            key: json_attribute(value, f"{where}: {node.path}") for key, value in own.attrs.items()
        }
        extra = [str(name) for name in own.coords if name not in own.dims]
        if extra:
            attrs["coordinates"] = " ".join(extra)
        if node.path == "/":
            attrs.setdefault("schema_version", SCHEMA_VERSION)
            attrs[ORDER] = [item.path for item in tree.subtree]
        group.attrs.update(attrs)
    root.attrs[METADATA_CHECKSUM] = _metadata_digest(root)


def _write_array(group, name: str, variable: xr.Variable, is_coord: bool, where: str) -> None:
    stored, _, fill = stored_type(variable, where)
    if variable.dtype.kind == "b":
        stored = np.dtype(bool)  # zarr knows it, HDF5 does not
    text = stored.kind == "O"
    shape = variable.shape
    small = int(np.prod(shape, dtype=np.int64)) * stored.itemsize <= SMALL_BYTES
    chunks = tuple(max(1, n) for n in shape) if small else chunk_shape(shape, stored.itemsize)
    target = group.create_array(
        name,
        shape=shape,
        dtype=str if text else stored,
        chunks=chunks or "auto",
        fill_value=None if fill is None else fill.item(),
        dimension_names=[str(dim) for dim in variable.dims],
    )
    digest = new_digest(stored, shape)
    for rows, values in stored_slabs(variable, stored, fill, _first(chunks), where):
        digest.update(value_bytes(values))
        if values.size:
            target[rows] = values
    attrs = {key: json_attribute(value, where) for key, value in variable.attrs.items()}
    if fill is not None:
        attrs |= {"_FillValue": fill.item(), "decoded_dtype": variable.dtype.str}
    if is_coord:
        attrs["is_coordinate"] = True
    attrs[CHECKSUM] = digest.hexdigest()
    target.attrs.update(attrs)


def _read_group(group) -> xr.Dataset:
    variables, coords = {}, {}
    for name, array in group.arrays():
        attrs = dict(array.attrs)
        attrs.pop(CHECKSUM, None)
        is_coord = attrs.pop("is_coordinate", False)
        fill, decoded = attrs.pop("_FillValue", None), attrs.pop("decoded_dtype", None)
        attrs = {key: decode_attribute(value) for key, value in attrs.items()}
        dims = tuple(array.metadata.dimension_names or ())
        if array.dtype.kind in "OTU":
            variable = xr.Variable(dims, np.asarray(array[...]).astype(object).astype(str), attrs)
        elif fill is not None:
            lazy = Filled(array, fill, np.dtype(decoded))
            variable = lazy_variable(dims, lazy, attrs)
            variable.encoding = {"dtype": array.dtype, "_FillValue": array.dtype.type(fill)}
        else:
            variable = lazy_variable(dims, array, attrs)
        (coords if is_coord else variables)[name] = variable
    attrs = dict(group.attrs)
    for name in ("coordinates", METADATA_CHECKSUM, ORDER):
        attrs.pop(name, None)
    attrs = {key: decode_attribute(value) for key, value in attrs.items()}
    return xr.Dataset(variables, coords, attrs)


def _metadata_digest(root) -> str:
    """sha256 over shapes, types, names, chunks and attributes of all groups and arrays."""
    about = {}
    for name, item in [("", root), *root.members(max_depth=None)]:
        said = item.metadata.to_dict()
        said["attributes"] = {
            key: value
            for key, value in dict(item.attrs).items()
            if name or key != METADATA_CHECKSUM
        }
        said.pop("consolidated_metadata", None)
        about[name] = said
    text = json.dumps(about, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _swap(temporary: Path, path: Path) -> None:
    """Put the new folder where the old one is; two renames, since folders do not replace."""
    if not path.exists():
        os.rename(temporary, path)
        return
    aside = temporary_name(path)
    os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except BaseException:
        os.rename(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _store(path: str | Path):
    if isinstance(path, Path):
        return str(path)
    from zarr.storage import FsspecStore

    return FsspecStore.from_url(path, read_only=True)


def _import_zarr(where: str):
    try:
        import zarr
    except ImportError:
        raise InputError(
            "needs zarr, which is not installed", where=where, remedy=INSTALL
        ) from None
    return zarr


def _is_group(item) -> bool:
    return not hasattr(item, "shape")


def _first(chunks) -> int:
    return chunks[0] if chunks else 1


def _damaged(path: str, said: str = "") -> InputError:
    reason = f" ({(said.strip().splitlines() or [''])[0][:200]})" if said else ""
    return InputError(
        f"is damaged or no recording of neuromodels{reason}",
        where=path,
        remedy="Copy or download the folder again, or make it anew.",
    )
