"""Times of frames, triggers or trials from an array or a file, checked before they are used."""

from __future__ import annotations

import csv
from pathlib import Path
from tokenize import TokenError

import h5py
import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.movie_files import hdf5_dataset, read_hdf5, split_hdf5_path

READABLE = "an array, or a .npy, .csv or .txt file, or file.h5:/dataset"
MOST_TIMES = 10**8  # 12 days of triggers at 100 Hz; more is another kind of data


def read_times(given, where: str, folder: Path | None = None) -> np.ndarray:
    """Times in seconds, one after another.

    Parameters
    ----------
    given : number, array, or path
        ``times.npy``, ``times.csv`` or ``.txt`` (one column of numbers, a heading is allowed), or
        ``file.h5:/dataset``.
    where : str
        Argument and file, for messages.
    folder : Path, optional
        Where relative paths are looked for if they are not found from here.

    Returns
    -------
    (time,) float64, s, finite, strictly ascending

    Raises
    ------
    InputError
        If they are no numbers, NaN, unsorted or doubled; with the first index.
    """
    values, where = _values(given, where, folder)
    try:
        values = np.asarray(values)
    except (ValueError, TypeError):
        values = np.asarray(None)
    if values.dtype.kind not in "iuf":
        raise InputError(
            f"holds {values.dtype if values.dtype != object else 'objects'}, not times",
            where=where,
            remedy=f"Give times in seconds: {READABLE}.",
        )
    if values.ndim > 1 and max(values.shape, default=0) != values.size:
        raise InputError(
            f"has shape {values.shape}, not one time after another",
            where=where,
            remedy="Give one column of times, in seconds.",
        )
    times = values.astype(np.float64).ravel()
    if not times.size:
        raise InputError("holds no times", where=where, remedy="Give times in seconds.")
    bad = np.flatnonzero(~np.isfinite(times))
    if bad.size:
        raise InputError(
            f"time {bad[0]} is NaN or infinite ({bad.size} such times; counted from 0)",
            where=where,
            remedy="Give the time of every one, in seconds; leave out those that are unknown.",
        )
    back = np.flatnonzero(np.diff(times) <= 0)
    if back.size:
        i = int(back[0]) + 1
        what = "is the same as" if times[i] == times[i - 1] else "comes before"
        raise InputError(
            f"time {i} ({times[i]:.9g} s) {what} time {i - 1} ({times[i - 1]:.9g} s); "
            f"{back.size} such places (counted from 0)",
            where=where,
            remedy="Give ascending times without duplicates. If the recording was restarted, "
            "bring its parts to one clock first.",
        )
    return times


def found_path(given, folder: Path | None) -> str:
    """A path as it is, or from `folder` if it exists only there."""
    text = str(given)
    if folder is not None and not Path(text).is_absolute():
        there = str(Path(folder) / text)
        if not _exists(text) and _exists(there):
            return there
    return text


def read_table(path: Path, where: str) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of a csv file with commas, semicolons or tabs, as text.

    Raises
    ------
    InputError
        If it is no text, is empty, or a row is longer than the heading.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(
            "is no UTF-8 text", where=where, remedy="Save the table as csv, UTF-8."
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", where=where, remedy="Check the path."
        ) from error
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise InputError(f"is no table ({error})", where=where, remedy="Save it as csv.") from None
    if not rows:
        raise InputError("is empty", where=where, remedy="Write a heading and a row for each.")
    heading = [cell.strip() for cell in rows[0]]
    body = [[cell.strip() for cell in row] for row in rows[1:]]
    for number, row in enumerate(body, start=2):
        if len(row) > len(heading) and any(row[len(heading) :]):
            raise InputError(
                f"row {number} has {len(row)} cells, the heading {len(heading)}",
                where=where,
                remedy="Write decimal points, not decimal commas, and quote text with commas.",
            )
        row[:] = [*row, *[""] * len(heading)][: len(heading)]
    return heading, body


def _values(given, where: str, folder: Path | None):
    if given is None or isinstance(given, (bool, dict)):
        raise InputError(
            f"is {given!r}"[:80], where=where, remedy=f"Give times in seconds: {READABLE}."
        )
    if not isinstance(given, (str, Path)):
        return getattr(given, "values", given), where
    number = _number(str(given))
    if number is not None:  # "2.5", from a command line
        return number, where
    given = found_path(given, folder)
    name, dataset = split_hdf5_path(given)
    path, where = Path(name), f"{where}: {given}"
    try:
        size = path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        size = None
    if size is None:
        raise InputError("there is no such file", where=where, remedy="Check the path.")
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(b"\x93NUMPY"):
        return _npy(path, where), where
    if dataset is not None or h5py.is_hdf5(path):
        if dataset is None:
            raise InputError(
                "is an HDF5 file", where=where, remedy=f"Name the times: {path.name}:/dataset."
            )
        shape, _ = hdf5_dataset(str(path), dataset, where)
        _check_number(int(np.prod(shape, dtype=np.float64)), where)
        return (read_hdf5(str(path), dataset, where) if shape else np.zeros((0,))), where
    if size > 32 * MOST_TIMES:
        _check_number(size // 32, where)
    return _column(path, where), where


def _npy(path: Path, where: str) -> np.ndarray:
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, TypeError, SyntaxError, TokenError) as error:
        objects = "allow_pickle" in str(error) or "object" in str(error)
        raise InputError(
            "holds Python objects, which could run code when they are read"
            if objects
            else "is damaged or cut off",
            where=where,
            remedy="Save the times as numbers: np.save(path, np.asarray(times, dtype=float)).",
        ) from error
    _check_number(data.size, where)
    return np.array(data)


def _column(path: Path, where: str) -> np.ndarray:
    heading, rows = read_table(path, where)
    if len(heading) != 1:
        raise InputError(
            f"has {len(heading)} columns ({', '.join(heading[:5])})",
            where=where,
            remedy="Give a file with one column, the times in seconds.",
        )
    first = 2
    if _number(heading[0]) is not None:
        rows, first = [heading, *rows], 1
    times = np.empty(len(rows))
    for i, (cell,) in enumerate(rows):
        value = _number(cell)
        if value is None:
            raise InputError(
                f"row {i + first} is {cell[:40]!r}, which is no number",
                where=where,
                remedy="Give one time in seconds in each row, with a decimal point.",
            )
        times[i] = value
    return times


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _check_number(count: int, where: str) -> None:
    if count > MOST_TIMES:
        raise InputError(
            f"holds {count:,} values, too many for times",
            where=where,
            remedy="Give the times of the frames or triggers, not the analogue trace.",
        )


def _exists(given: str) -> bool:
    try:
        return Path(split_hdf5_path(given)[0]).exists()
    except (OSError, ValueError):
        return False
