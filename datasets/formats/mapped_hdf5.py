"""Variables of MATLAB v7.3 and other HDF5 files: references resolved, links kept inside."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np

from neuromodels.datasets.errors import InputError, RecordingError

INTERNAL = ("#refs#", "#subsystem#")  # where MATLAB keeps what its variables refer to
MOST_LISTED = 200
NUMBERS = ("double", "single", "logical", "char", "cell", "struct")
# zlib makes at most this many bytes of one; sparse storage beyond it is a damaged shape.
LARGEST_RATIO = 1100


class StoredArray:
    """A dataset that is read by slices; its file is open only while it is read."""

    def __init__(self, path: Path, dataset: h5py.Dataset):
        self._path, self._name = str(path), dataset.name
        self.shape, self.dtype = tuple(dataset.shape), dataset.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key) -> np.ndarray:
        try:
            with h5py.File(self._path, "r") as file:
                return np.asarray(file[self._name][key])
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            said = (str(error).strip().splitlines() or [""])[0][:120]
            raise RecordingError(
                f"cannot be read ({said})",
                where=f"{self._path}: {self._name}",
                remedy="The file is damaged, or was changed or moved since it was opened.",
            ) from error


def read_hdf5(path: Path, variable: str, where: str, *, matlab: bool):
    """A `StoredArray`, an array, or a list of arrays; None if there is no such variable.

    Stored arrays of MATLAB are in the order of HDF5, opposite to what MATLAB shows; arrays and the
    members of lists are as MATLAB shows them.

    Raises
    ------
    InputError
        If it leads out of the file, or holds code or objects.
    """
    with h5py.File(path, "r") as file:
        item = file
        parts = [part for part in re.split(r"[./]" if matlab else "/", variable) if part]
        for i, part in enumerate(parts):
            if not isinstance(item, h5py.Group) or part not in item:
                return None
            check_link(item, part, where)
            item = item[part]
            if matlab and i < len(parts) - 1:
                _refuse_class(item, where)
        value = _matlab_value(file, item, where) if matlab else _plain_value(item, where)
        if isinstance(value, h5py.Dataset):
            check_stored(value, where)
            return StoredArray(path, value)
        return value


def _plain_value(item, where: str):
    if isinstance(item, h5py.Group):
        members = sorted(item, key=natural_order)
        for name in members:
            check_link(item, name, where)
        if members and all(isinstance(item[name], h5py.Dataset) for name in members):
            return [_loaded(item[name], f"{where}/{name}") for name in members]
        raise InputError(
            f"is a group with {', '.join(members[:8]) or 'nothing'}",
            where=where,
            remedy="Name a dataset in it, with slashes.",
        )
    return item


def check_link(group: h5py.Group, name: str, where: str) -> None:
    """Refuse a link to another file.

    Raises
    ------
    InputError
    """
    if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
        raise InputError(
            f"{name} is a link to another file",
            where=where,
            remedy="Copy the data into this file (h5copy), or name the other file.",
        )


def class_of(group: h5py.Group, name: str) -> type | None:
    """Group, Dataset or ExternalLink (which is not followed); None if there is no such member."""
    if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
        return h5py.ExternalLink
    return group.get(name, getclass=True)


def check_stored(dataset: h5py.Dataset, where: str) -> None:
    """Refuse a dataset that is not in its file, or declares more than the file can hold.

    Raises
    ------
    InputError
    """
    if dataset.is_virtual or dataset.external:
        raise InputError(
            "is stored in other files",
            where=where,
            remedy="Copy the data into this file: h5repack, or save it again.",
        )
    if dataset.shape is None:
        raise InputError("is empty", where=where, remedy="Name a variable that holds numbers.")
    declared = dataset.size * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    ratio = LARGEST_RATIO if dataset.chunks is not None else 1
    if declared > ratio * stored:
        raise InputError(
            f"declares shape {dataset.shape} but stores {stored} bytes",
            where=where,
            remedy="The file is damaged or incomplete: save it again.",
        )


def walk_hdf5(path: Path, *, matlab: bool) -> list[tuple[str, tuple[int, ...], str]]:
    """Name, shape and kind of every variable, as the user sees them."""
    found: list = []
    with h5py.File(path, "r") as file:
        _walk(file, "", matlab, found, 0)
    return found


def dense(matrix, where: str) -> np.ndarray:
    """A sparse matrix in full, unless that would fill the memory."""
    size = matrix.shape[0] * matrix.shape[1]
    if size > 2**30:
        raise InputError(
            f"is sparse and would have {size} values in full",
            where=where,
            remedy="Give spike times instead ([spikes]).",
        )
    matrix = matrix.tocsc()
    try:
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise InputError(
            f"is sparse, and damaged ({error})", where=where, remedy="Save it again."
        ) from None
    return matrix.toarray()


def natural_order(name: str) -> tuple:
    """Key that sorts cell2 before cell10."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)
    )


def _walk(group, prefix: str, matlab: bool, found: list, depth: int) -> None:
    for name in group:
        if len(found) >= MOST_LISTED:
            return
        if name in INTERNAL or isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            continue
        item = group.get(name)
        place = f"{prefix}{name}"
        if isinstance(item, h5py.Group):
            if "MATLAB_sparse" in item.attrs:
                found.append((place, (int(item.attrs["MATLAB_sparse"]),), "sparse"))
            elif depth < 6:
                _walk(item, f"{place}{'.' if matlab else '/'}", matlab, found, depth + 1)
        elif isinstance(item, h5py.Dataset):
            shape = item.shape or ()
            kind = _class(item) if matlab else ""
            found.append((place, shape[::-1] if matlab else shape, kind or str(item.dtype)))


def _class(item) -> str:
    name = item.attrs.get("MATLAB_class", b"")
    return name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)


def _refuse_class(item, where: str) -> None:
    name = _class(item)
    plain = not name or name in NUMBERS or re.fullmatch(r"u?int(8|16|32|64)", name)
    if plain and "MATLAB_object_decode" not in item.attrs:
        return
    what = (
        "a function handle: it is code, and nothing that is read is executed"
        if name == "function_handle"
        else f"a MATLAB object ({name}): its class is needed to read it"
    )
    raise InputError(
        f"is {what}",
        where=where,
        remedy="Save plain numbers or cell arrays: a struct by struct(object), a table by "
        "table2array, a string by char.",
    )


def _matlab_value(file: h5py.File, item, where: str):
    _refuse_class(item, where)
    if isinstance(item, h5py.Group):
        if "MATLAB_sparse" in item.attrs:
            return _sparse(item, where)
        fields = ", ".join(list(item)[:12]) or "nothing"
        raise InputError("is a struct", where=where, remedy=f"Name a field with a dot: {fields}.")
    if "MATLAB_empty" in item.attrs and item.attrs["MATLAB_empty"]:
        return [] if _class(item) == "cell" else np.zeros(0)
    if h5py.check_ref_dtype(item.dtype) is h5py.Reference:
        check_stored(item, where)
        # Order of MATLAB, column after column, is that of HDF5 read row by row.
        references = np.asarray(item[()]).reshape(-1)
        return [_member(file, ref, f"{where}[{i}]") for i, ref in enumerate(references)]
    return _text(item) if _class(item) == "char" else item


def _member(file: h5py.File, reference, where: str):
    if not reference:
        return np.zeros(0)
    item = file[reference]
    _refuse_class(item, where)
    if isinstance(item, h5py.Group) or h5py.check_ref_dtype(item.dtype) is not None:
        raise InputError(
            "is a cell or struct within a cell array", where=where, remedy="Flatten it."
        )
    if "MATLAB_empty" in item.attrs and item.attrs["MATLAB_empty"]:
        return np.zeros(0)
    if _class(item) == "char":
        return _text(item)
    return _loaded(item, where).T


def _loaded(item: h5py.Dataset, where: str) -> np.ndarray:
    check_stored(item, where)
    return np.asarray(item[()])


def _text(item: h5py.Dataset) -> np.ndarray:
    codes = np.atleast_2d(np.asarray(item[()])).T
    return np.array(["".join(chr(int(code)) for code in row) for row in codes])


def _sparse(group: h5py.Group, where: str) -> np.ndarray:
    from scipy.sparse import csc_matrix

    columns = np.asarray(group["jc"][()])
    shape = (int(group.attrs["MATLAB_sparse"]), columns.size - 1)
    if "data" not in group:
        return np.zeros(shape) if shape[0] * shape[1] < 2**30 else dense(csc_matrix(shape), where)
    matrix = csc_matrix((group["data"][()], group["ir"][()], columns), shape=shape)
    return dense(matrix, where)
