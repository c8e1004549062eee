"""The frames of a stimulus from what a lab has: npy, HDF5, images, video, arrays or a seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import h5py
import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.lazy_movies import (
    ArrayFrames,
    MovieReader,
    movie_dtype,
    movie_shape,
    movie_variable,
    oriented,
)

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".mat", ".nwb")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
STACK_SUFFIXES = (".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
RECIPE_SUFFIXES = (".toml", ".json")
MOVIE_SUFFIXES = (".npy", *HDF5_SUFFIXES, *STACK_SUFFIXES, *VIDEO_SUFFIXES, *RECIPE_SUFFIXES)
ACCEPTED = (
    "a .npy, HDF5 (file.h5:/dataset), video (mp4, avi, ...) or .tif file, a folder of images, an "
    "array, or a generator ({'generator': 'white-noise', 'seed': 0, 'shape': [y, x], "
    "'n_frames': n})"
)
MOST_COMPRESSED = 1100  # deflate reaches 1030 : 1; a file that claims more does not hold it


def open_movie(given, where: str = "stimulus", *, colour: bool = False) -> xr.Variable:
    """The frames of a stimulus, read only when they are asked for.

    Parameters
    ----------
    given : path, array, xarray object, generator or description of one
        - ``movie.npy``; ``movie.h5:/path/to/dataset``, or an HDF5 file with a single movie in it
        - a folder of images (png, jpg, tif; in the order of their numbers) or a .tif stack
        - a video (mp4, avi, ...; needs the extra ``neuromodels[video]``)
        - an array (frame,), (frame, y), (frame, y, x) or (frame, channel, y, x), or an object with
          `shape` and `dtype` that gives frames by slices or when called with (start, stop)
        - a seeded generator: a dict, or a .toml or .json file, see `generated.generated_movie`
    where : str
        How messages begin; a file's name is added.
    colour : bool
        Read a video in colour. By default its luma is read: grey, as on most displays.

    Returns
    -------
    xarray.Variable (frame, [channel,] y, x), uint8 or float32
        With `units` and what is known of its `source`; a video's `frame_rate`, Hz.

    Raises
    ------
    InputError
        If it is no movie, is damaged, or claims to be larger than its file.
    """
    if isinstance(given, (str, Path)):
        return _movie_of_path(str(given), where, colour)
    if isinstance(given, Mapping):
        from neuromodels.datasets.generated import generated_movie

        return generated_movie(given, where)
    if isinstance(given, (xr.DataArray, xr.Variable)):
        return _labelled(given, where)
    if isinstance(given, (list, tuple)):
        given = _stacked(given, where)
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        if hasattr(given, "__getitem__"):
            return movie_variable(ArrayFrames(given, where), {})
        if callable(given):
            return movie_variable(ArrayFrames(_Called(given), where), {})
    raise InputError(
        f"is {type(given).__name__}, which gives no frames",
        where=where,
        remedy=f"Give {ACCEPTED}. A generator object needs `shape` (frame, y, x), `dtype`, and "
        "frames by slices or when called with (start, stop).",
    )


def split_hdf5_path(given: str) -> tuple[str, str | None]:
    """``file.h5:/dataset`` as file and dataset; None for a path without a dataset."""
    path, colon, inside = given.rpartition(":/")
    if colon and path and Path(path).is_file():
        return path, "/" + inside.lstrip("/")
    return given, None


def is_movie_path(given: str | Path) -> bool:
    """Whether a path leads to something that may hold frames; nothing is read."""
    try:
        path = Path(split_hdf5_path(str(given))[0])
        if path.is_dir():
            return any(item.suffix.lower() in IMAGE_SUFFIXES for item in path.iterdir())
        return path.is_file()
    except (OSError, ValueError):
        return False


def hdf5_dataset(path: str, name: str, where: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of a dataset of numbers that lies in this file and not elsewhere.

    Raises
    ------
    InputError
        If it is missing, a link to another file, or claims more than the file can hold.
    """
    with open_hdf5(path, where) as file:
        data = _inside(file, name, where)
        claimed, size = int(data.size) * data.dtype.itemsize, Path(path).stat().st_size
        if claimed > MOST_COMPRESSED * size + 2**20:
            raise InputError(
                f"claims shape {data.shape} ({claimed:,} bytes), the file has {size:,} bytes",
                where=where,
                remedy="The file is damaged or was never filled: export it again.",
            )
        return tuple(data.shape), data.dtype


def read_hdf5(path: str, name: str, where: str, start: int = 0, stop: int | None = None):
    """Rows of a dataset; the file is opened for each reading and closed again."""
    with open_hdf5(path, where) as file:
        return np.asarray(_inside(file, name, where)[start:stop])


@contextmanager
def open_hdf5(path: str, where: str) -> Iterator[h5py.File]:
    """An HDF5 file, open for reading; what h5py raises for damaged ones becomes an InputError."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        said = (str(error).splitlines() or ["no reason given"])[0][:200]
        raise InputError(
            f"cannot be read as HDF5 ({said})",
            where=where,
            remedy="Close the program that writes it; if it is damaged, copy or export it again.",
        ) from error


def _movie_of_path(given: str, where: str, colour: bool) -> xr.Variable:
    name, dataset = split_hdf5_path(given)
    path = Path(name)
    where = f"{where}: {given}" if where else given
    try:
        folder, there = path.is_dir(), path.exists()
    except (OSError, ValueError):
        folder, there = False, False
    if not there:
        raise InputError("there is no such file", where=where, remedy="Check the path.")
    if folder:
        from neuromodels.datasets.image_files import image_folder

        return image_folder(path, where)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        said = error.strerror or str(error)
        raise InputError(
            f"cannot be read ({said})", where=where, remedy="Check its permissions."
        ) from error
    suffix = path.suffix.lower()
    about = {"source": path.name}
    if head.startswith(b"\x93NUMPY"):
        return movie_variable(_NpyFrames(path, where), about)
    if dataset is not None or h5py.is_hdf5(path):
        reader = _Hdf5Frames(str(path), dataset, where)
        return movie_variable(reader, {**about, "units": reader.units, "dataset": reader.name})
    if suffix in RECIPE_SUFFIXES:
        from neuromodels.datasets.generated import generated_movie, read_recipe

        return generated_movie(read_recipe(path, where), where)
    if suffix in STACK_SUFFIXES:
        from neuromodels.datasets.image_files import image_stack

        return image_stack(path, where)
    if suffix in VIDEO_SUFFIXES:
        from neuromodels.datasets.video_files import video

        return video(path, where, colour)
    if head.startswith(b"MATLAB 5.0"):
        raise InputError("is a MATLAB file", where=where, remedy=MATLAB)
    what = "is empty" if not head else "is of a kind that holds no movie that can be read"
    if suffix in (".npy", *HDF5_SUFFIXES) and head:
        what = f"does not begin as a {suffix} file does: it is damaged, or something else"
    raise InputError(what, where=where, remedy=f"Give {ACCEPTED}.")


#: MATLAB's axes run the other way round in HDF5, and only a mapping says which is which.
MATLAB = (
    "Say with a mapping which variable is the movie, and its axes: open the file with "
    "mapping= (--mapping), see docs/recordings.md; or save the movie as .npy (frame, y, x)."
)


class _NpyFrames(MovieReader):
    def __init__(self, path: Path, where: str):
        self._path, self._where = path, where
        self._stored, dtype, fortran, self._offset = _npy_header(path, where)
        self.shape, self._last = movie_shape(self._stored, where)
        self.dtype = movie_dtype(dtype, where)
        self._type, self._order = dtype, "F" if fortran else "C"

    def read(self, start: int, stop: int) -> np.ndarray:
        try:
            data = np.memmap(
                self._path, self._type, "r", self._offset, self._stored, order=self._order
            )
        except (OSError, ValueError) as error:
            raise InputError(
                "frames cannot be read any more",
                where=self._where,
                remedy="The file was moved or changed: open it again.",
            ) from error
        return oriented(np.array(data[start:stop]), self.shape, self._last)


class _Hdf5Frames(MovieReader):
    def __init__(self, path: str, name: str | None, where: str):
        self._path = path
        if name is None:
            name = _only_movie(path, where)
            where = f"{where}:{name}"
        self.name, self._where = name, where
        stored, dtype = hdf5_dataset(path, name, where)
        self.shape, self._last = movie_shape(stored, where)
        self.dtype = movie_dtype(dtype, where)
        with open_hdf5(path, where) as file:
            if "MATLAB_class" in file[name].attrs:
                raise InputError("is in a MATLAB file", where=where, remedy=MATLAB)
            units = file[name].attrs.get("units", "")
        units = units.decode("utf-8", "replace") if isinstance(units, bytes) else units
        self.units = units if isinstance(units, str) and units else "arbitrary"

    def read(self, start: int, stop: int) -> np.ndarray:
        values = read_hdf5(self._path, self.name, self._where, start, stop)
        return oriented(values, self.shape, self._last)


class _Called:
    """A callable with `shape` and `dtype`, as something that can be sliced."""

    def __init__(self, function):
        self._function, self.shape, self.dtype = function, function.shape, function.dtype

    def __getitem__(self, frames: slice):
        return self._function(frames.start, frames.stop)


class _FromVariable(MovieReader):
    """An xarray variable, which may itself be lazy, as numbers of the type of a movie."""

    def __init__(self, variable: xr.Variable, where: str):
        self._variable = variable
        self.shape, self.dtype = variable.shape, movie_dtype(variable.dtype, where)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._variable[start:stop].values


def _npy_header(path: Path, where: str) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read = np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except (ValueError, OSError, EOFError, TypeError, SyntaxError, TokenError) as error:
        raise InputError(
            "has a damaged header", where=where, remedy="Copy or save it again."
        ) from error
    movie_dtype(dtype, where)
    claimed = dtype.itemsize
    for n in shape:
        claimed *= int(n)
    if claimed > size - offset or min(shape, default=0) < 0:
        raise InputError(
            f"claims shape {shape} of {dtype} ({claimed:,} bytes), the file holds "
            f"{size - offset:,} bytes of data",
            where=where,
            remedy="The file is cut off or damaged: copy or save it again.",
        )
    return shape, dtype, fortran, offset


def _inside(file: h5py.File, name: str, where: str) -> h5py.Dataset:
    remedy = "Name a dataset of numbers in this file: file.h5:/path/to/dataset."
    place = file
    for part in [p for p in name.split("/") if p]:
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        if link is None:
            members = ", ".join(list(place)[:8]) if isinstance(place, h5py.Group) else ""
            raise InputError(
                f"there is no {name} in it",
                where=where,
                remedy=f"There are: {members}." if members else remedy,
            )
        if not isinstance(link, h5py.HardLink):
            raise InputError(
                f"{part} is a link to elsewhere, which is not followed",
                where=where,
                remedy="Name the file and the dataset that hold the data themselves.",
            )
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        raise InputError(f"{name} is a group", where=where, remedy=remedy)
    if place.shape is None:
        raise InputError(f"{name} is empty", where=where, remedy=remedy)
    if place.external or place.is_virtual:
        raise InputError(
            f"{name} keeps its data in another file, which is not followed",
            where=where,
            remedy="Copy the data into one file (h5repack does), or name the other file.",
        )
    return place


def _only_movie(path: str, where: str) -> str:
    found: list[str] = []

    def visit(name, item):
        shape = item.shape if isinstance(item, h5py.Dataset) and item.shape else ()
        if len(shape) in (3, 4) and 0 not in shape and item.dtype.kind in "biuf":
            found.append(f"/{name}")

    with open_hdf5(path, where) as file:
        file.visititems(visit)
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"holds {len(found)} datasets that may be the movie ({', '.join(found[:6])})",
            where=where,
            remedy=f"Name the one that was shown: {Path(path).name}:{found[0]}.",
        )
    raise InputError(
        "holds no dataset (frame, y, x)",
        where=where,
        remedy=f"Name the frames: {Path(path).name}:/path/to/dataset.",
    )


def _labelled(given: xr.DataArray | xr.Variable, where: str) -> xr.Variable:
    variable = given.variable if isinstance(given, xr.DataArray) else given
    if "frame" not in variable.dims and "time" in variable.dims:
        variable = xr.Variable(
            ["frame" if d == "time" else d for d in variable.dims], variable._data, variable.attrs
        )
    names = [n for n in ("frame", "channel", "y", "x") if n in variable.dims]
    units = str(variable.attrs.get("units") or "arbitrary")
    if set(names) == set(variable.dims) and {"frame", "y", "x"} <= set(names):
        reader = _FromVariable(variable.transpose(*names), where)
        if 0 in reader.shape:
            movie_shape(reader.shape, where)  # says that it is empty
        return movie_variable(reader, {"units": units})
    if set(variable.dims) & {"frame", "channel", "y", "x"} and variable.dims[0] != "frame":
        raise InputError(
            f"has axes {variable.dims}",
            where=where,
            remedy="Name them frame, [channel,] y and x.",
        )
    return movie_variable(ArrayFrames(_Sliced(variable), where), {"units": units})


class _Sliced:
    def __init__(self, variable: xr.Variable):
        self._variable, self.shape, self.dtype = variable, variable.shape, variable.dtype

    def __getitem__(self, frames: slice):
        return self._variable[frames].values


def _stacked(given, where: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except (ValueError, TypeError):
        raise InputError(
            "is a list of frames of different sizes",
            where=where,
            remedy="Give frames of one size.",
        ) from None


def natural_order(name: str) -> list:
    """Key that sorts frame2 before frame10."""
    parts = re.split(r"(\d+)", name.lower())
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts]
