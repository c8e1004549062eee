"""Arrays by their names out of .mat (v5 and v7.3), HDF5, .npz and .npy files; nothing is executed.

Names are paths: ``"stimulus"``, ``"data.spikes"`` (field of a MATLAB struct; of a struct array: one
value per element), ``"group/dataset"`` (HDF5). MATLAB axes come in the order that MATLAB shows.
"""

from __future__ import annotations

import difflib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.mapped_hdf5 import StoredArray, dense, read_hdf5, walk_hdf5
from neuromodels.datasets.formats.mapped_mat5 import check_mat5
from neuromodels.datasets.sources import HDF5

MATLAB5 = b"MATLAB 5.0 MAT-file"
MATLAB73 = b"MATLAB 7.3 MAT-file"
NUMPY = b"\x93NUMPY"
ZIP = b"PK\x03\x04"
#: zlib cannot make more of a byte than this.
LARGEST_RATIO = 1100
LISTED = 20
# What MATLAB stores that holds code, or has no published layout.
REFUSED = {
    "function": "a function handle: it is code, and nothing that is read is executed",
    "function_handle": "a function handle: it is code, and nothing that is read is executed",
    "object": "a MATLAB object: its class is needed to read it",
    "opaque": "a MATLAB object (table, string, datetime, ...): its layout is not published",
}


@dataclass(frozen=True)
class Listed:
    """One variable of a file, for messages."""

    name: str
    shape: tuple[int, ...]
    kind: str

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape)) or "one value"
        return f"{self.name} ({size}, {self.kind})"


@dataclass(frozen=True, eq=False)
class Found:
    """A variable: an array, or a list of arrays (cell array, field of a struct array).

    Attributes
    ----------
    values : array, array on disk, or list of (n,) arrays
    reversed_axes : bool
        Axes are stored in the opposite order of the one that the user sees (MATLAB v7.3).
    pads_axes : bool
        Trailing axes of length one may be missing, as MATLAB drops them.
    """

    values: object
    reversed_axes: bool = False
    pads_axes: bool = False


def file_kind(path: Path) -> str:
    """ "mat5", "mat73", "hdf5", "npz" or "npy", from the content; "" for anything else."""
    with path.open("rb") as file:
        head = file.read(128)
    for start, kind in ((MATLAB5, "mat5"), (MATLAB73, "mat73"), (NUMPY, "npy"), (ZIP, "npz")):
        if head.startswith(start):
            return kind
    if head.startswith(HDF5) or h5py.is_hdf5(path):
        return "mat73" if _has_matlab_class(path) else "hdf5"
    return ""


def find_variable(path: Path, variable: str | None, where: str) -> Found:
    """The variable of a file; large ones in HDF5 and .npy stay on disk.

    Raises
    ------
    InputError
        If it is not there (the message lists what is), is no plain numbers, or is damaged.
    """
    kind = file_kind(path)
    if not kind:
        raise InputError(
            f"{path.name} is no .mat, HDF5, .npz or .npy file",
            where=where,
            remedy="Save the variable in one of these formats.",
        )
    if kind == "npy":
        return Found(_plain(_load_npy(path, where), where))
    if not variable:
        raise InputError("names no variable", where=where, remedy=_holds(path))
    if kind == "npz":
        return Found(_plain(_load_npz(path, variable, where), where))
    if kind == "mat5":
        return Found(_load_mat5(path, variable, where), pads_axes=True)
    matlab = kind == "mat73"
    with _guarded(path, where):
        values = read_hdf5(path, variable, where, matlab=matlab)
    if values is None:
        raise missing_variable(path, variable, where)
    if not isinstance(values, list):
        values = _plain(values, where)
    reverse = matlab and isinstance(values, StoredArray)
    return Found(values, reversed_axes=reverse, pads_axes=matlab)


def list_variables(path: Path) -> list[Listed]:
    """What a file holds; structs are listed with their fields where that is cheap."""
    kind = file_kind(path)
    if kind == "mat5":
        from scipy.io import whosmat

        return [Listed(*item) for item in whosmat(str(path))]
    if kind in ("mat73", "hdf5"):
        return [Listed(*item) for item in walk_hdf5(path, matlab=kind == "mat73")]
    if kind == "npz":
        with zipfile.ZipFile(path) as archive:
            return [_listed_member(archive, info) for info in archive.infolist()]
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    return [Listed(path.name, values.shape, str(values.dtype))]


def missing_variable(path: Path, variable: str, where: str) -> InputError:
    """The error for a name that the file does not have."""
    try:
        names = [item.name for item in list_variables(path)]
    except Exception:
        names = []
    near = difflib.get_close_matches(variable, names, 1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return InputError(
        f"{path.name} has no variable {variable!r}", where=where, remedy=hint + _holds(path)
    )


def as_vectors(found: Found, where: str) -> list[np.ndarray]:
    """One vector per neuron: of a cell array, or of the rows of a (neuron, spike) matrix.

    Rows of a matrix are padded with NaN at their ends, as MATLAB users do.
    """
    if isinstance(found.values, list):
        return [_vector(item, f"{where}[{i}]") for i, item in enumerate(found.values)]
    values = np.asarray(found.values[()])
    if found.reversed_axes:
        values = values.T
    if values.ndim == 2 and min(values.shape) > 1:
        rows = values.astype(np.float64)
        return [row[~np.isnan(row)] for row in rows]
    return [_vector(values, where)]


def as_vector(found: Found, where: str) -> np.ndarray:
    """A list of numbers, (n,) float64, whatever its orientation; also ``trials(i).start``."""
    if isinstance(found.values, list):
        cells = [np.asarray(item) for item in found.values]
        if cells and all(cell.size == 1 and cell.dtype.kind in "iufb" for cell in cells):
            return np.array([float(cell.item()) for cell in cells])
        raise InputError(
            f"is a cell array of {len(found.values)}", where=where, remedy="Name plain numbers."
        )
    return _vector(np.asarray(found.values[()]), where)


def as_names(found: Found, where: str) -> list[str]:
    """Names: of a cell array of char arrays, or of numbers."""
    if isinstance(found.values, list):
        return [_name(item) for item in found.values]
    values = np.asarray(found.values[()])
    if found.reversed_axes:
        values = values.T
    if values.dtype.kind in "US":
        return [str(item).strip() for item in values.reshape(-1)]
    return [_name(item) for item in _vector(values, where)]


def _name(item) -> str:
    if isinstance(item, str):
        return item
    values = np.asarray(item)
    if values.dtype.kind in "US":
        return "".join(str(part) for part in values.reshape(-1)).strip()
    return f"{float(values.reshape(-1)[0]):g}" if values.size == 1 else str(values)


def _vector(values, where: str) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise InputError(
            f"is {values.dtype.name}, not numbers", where=where, remedy="Name a numeric variable."
        )
    if values.size and values.size != max(values.shape, default=1):
        raise InputError(
            f"has shape {values.shape}", where=where, remedy="It must be a list of numbers."
        )
    return values.reshape(-1).astype(np.float64)


def _load_mat5(path: Path, variable: str, where: str):
    from scipy.io import whosmat

    with _guarded(path, where):
        listed = {name: (shape, kind) for name, shape, kind in whosmat(str(path))}
    top, *fields = variable.split(".")
    if top not in listed:
        raise missing_variable(path, variable, where)
    shape, kind = listed[top]
    if kind in REFUSED:
        raise _refused(REFUSED[kind], where)
    declared = int(np.prod(shape, dtype=object))
    if kind not in ("cell", "struct", "sparse") and declared > LARGEST_RATIO * path.stat().st_size:
        raise InputError(
            f"declares {declared} values in a file of {path.stat().st_size} bytes",
            where=where,
            remedy="The file is damaged: save it again.",
        )
    with _guarded(path, where):
        from scipy.io import loadmat

        check_mat5(path, top)
        value = loadmat(str(path), variable_names=[top], struct_as_record=True)[top]
    place = top
    for field in fields:
        value = _field(value, field, place, where)
        place = f"{place}.{field}"
    return _settle(value, where)


def _field(value, field: str, place: str, where: str):
    names = getattr(getattr(value, "dtype", None), "names", None)
    if not names or not hasattr(value, "shape"):
        raise InputError(
            f"{place} is no struct", where=where, remedy="Leave out what follows the dot."
        )
    if field not in names:
        near = difflib.get_close_matches(field, names, 1)
        raise InputError(
            f"{place} has no field {field!r}",
            where=where,
            remedy=(f"Did you mean {near[0]!r}? " if near else "") + f"Fields: {', '.join(names)}.",
        )
    chosen = value[field]
    return chosen.reshape(-1)[0] if chosen.size == 1 else chosen.reshape(-1)


def _settle(value, where: str, depth: int = 0):
    """Plain numbers, text, or a list of them; objects and code are refused."""
    from scipy import sparse
    from scipy.io.matlab import MatlabFunction, MatlabObject, MatlabOpaque

    if isinstance(value, MatlabFunction):
        raise _refused(REFUSED["function"], where)
    if isinstance(value, (MatlabObject, MatlabOpaque)):
        raise _refused(REFUSED["object"], where)
    if sparse.issparse(value):
        return dense(value, where)
    value = np.asarray(value)
    if value.dtype.names:
        raise InputError(
            "is a struct",
            where=where,
            remedy=f"Name a field with a dot: {', '.join(value.dtype.names)}.",
        )
    if value.dtype == object:
        if depth:
            raise InputError("is a cell array of cell arrays", where=where, remedy="Flatten it.")
        return [
            _settle(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value.reshape(-1))
        ]
    return value if value.dtype.kind in "US" else _plain(value, where)


def _load_npy(path: Path, where: str):
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise _not_numpy(error, path.name, where) from error


def _load_npz(path: Path, variable: str, where: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if variable not in names:
                raise missing_variable(path, variable, where)
            info = names[variable]
            listed = _listed_member(archive, info)
            declared = int(np.prod(listed.shape, dtype=object)) * np.dtype(listed.kind).itemsize
            if declared > info.file_size or info.file_size > LARGEST_RATIO * (
                info.compress_size + 1
            ):
                raise ValueError(f"{listed} is larger than what is stored")
            with archive.open(info) as member:
                return np.lib.format.read_array(member, allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # zipfile and zlib have errors of their own
        raise _not_numpy(error, f"{variable} in {path.name}", where) from error


def _listed_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Listed:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(member)
    return Listed(info.filename.removesuffix(".npy"), shape, str(dtype))


def _not_numpy(error: BaseException, name: str, where: str) -> InputError:
    if any(word in str(error) for word in ("pickle", "Object arrays", "Python objects")):
        return InputError(
            f"{name} holds Python objects (pickled), and nothing that is read is executed",
            where=where,
            remedy="Save plain numbers: np.save(path, array) of a numeric array.",
        )
    return InputError(
        f"{name} is damaged ({str(error)[:120]})", where=where, remedy="Save it again."
    )


def _plain(values, where: str):
    kind = values.dtype.kind
    if kind not in "biuf":
        what = {"c": "complex", "O": "objects", "V": "records"}.get(kind, values.dtype.name)
        raise InputError(f"is {what}, not numbers", where=where, remedy="Name a numeric variable.")
    return values


def _refused(what: str, where: str) -> InputError:
    return InputError(
        f"is {what}",
        where=where,
        remedy="Save plain numbers or cell arrays: a struct by struct(object), a table by "
        "table2array, a string by char.",
    )


def _holds(path: Path) -> str:
    try:
        listed = list_variables(path)
    except Exception:  # the message is about something else
        return "The file cannot be listed: it may be damaged."
    more = f", and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return f"{path.name} holds {', '.join(map(str, listed[:LISTED])) or 'nothing'}{more}."


def _has_matlab_class(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            names = [
                name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)
            ]
            return any("MATLAB_class" in file[name].attrs for name in names)
    except (OSError, KeyError, RuntimeError, ValueError):
        return False


class _guarded:
    """Whatever scipy and h5py raise for a damaged file becomes an `InputError`."""

    def __init__(self, path: Path, where: str):
        self.path, self.where = path, where

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None or isinstance(error, InputError) or not isinstance(error, Exception):
            return False
        said = (str(error).strip().splitlines() or [""])[0][:160]
        raise InputError(
            f"{self.path.name} cannot be read ({kind.__name__}: {said})",
            where=self.where,
            remedy="The file is damaged, or not what it claims to be: save or copy it again.",
        ) from error
