"""`stimuli.csv`: which movie file was shown when, and which presentations are repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import xarray as xr

from neuromodels.datasets.beside import Beside, movie_name
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.lazy_movies import show_in_sequence
from neuromodels.datasets.movie_files import open_movie, split_hdf5_path
from neuromodels.datasets.presentations import Movie
from neuromodels.datasets.schedule_timing import presentation_onsets
from neuromodels.datasets.sessions import Trials
from neuromodels.datasets.showings import Timing
from neuromodels.datasets.time_files import found_path, read_table

COLUMNS = ("stimulus", "start", "repeat", "name", "frame_rate")
NEEDED = ("stimulus", "start")
EXAMPLE = "\n    ".join(
    ["", "stimulus,start,repeat", "noise.npy,0.5,", "clip.npy,600.5,1", "clip.npy,630.5,2"]
)


@dataclass(frozen=True)
class Row:
    """One presentation. `number` is its line in the table; the heading is line 1."""

    number: int
    stimulus: str
    start: float
    repeat: int | None
    name: str
    frame_rate: float | None


def read_schedule(schedule, where: str, folder: Path | None = None) -> tuple[list[Row], str]:
    """Presentations in the order of time.

    Parameters
    ----------
    schedule : path or DataFrame
        Columns:

        - ``stimulus``: the movie, a path from the table's folder (what `open_movie` takes)
        - ``start``: s
        - ``repeat``, optional: a whole number for showings of a repeated test; blank for a movie
          that is shown once
        - ``name``, optional: the stimulus that this presentation belongs to
        - ``frame_rate``, optional: Hz
    where : str
        The recording, for messages.

    Returns
    -------
    rows : list of Row
    where : str, with the table's name

    Raises
    ------
    InputError
        If a column is missing or unknown, or a cell is no number; with the row.
    """
    if isinstance(schedule, (str, Path)):
        path = Path(found_path(schedule, folder))
        where = f"{where}: {path}"
        if not _is_file(path):
            raise _wrong("there is no such file", where, "Check the path.")
        heading, cells = read_table(path, where)
    elif hasattr(schedule, "columns") and hasattr(schedule, "itertuples"):
        where = f"{where}: schedule"
        heading = [str(column) for column in schedule.columns]
        # A column of whole numbers with blanks is one of decimals in pandas.
        cells = [
            ["" if value is None or value != value else str(value) for value in row]
            for row in schedule.itertuples(index=False)
        ]
    else:
        raise _wrong(
            f"is {type(schedule).__name__}", f"{where}: schedule", "Give a csv file or a DataFrame."
        )
    names = [column.strip().lower() for column in heading]
    for needed in NEEDED:
        if needed not in names:
            raise _wrong(
                f"has no column {needed!r} (columns: {', '.join(heading)})",
                where,
                f"Write it like{EXAMPLE}",
            )
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise _wrong(f"has two columns {twice[0]!r}", where, "Give each column once.")
    if not cells:
        raise _wrong("has no rows", where, "Give one row for each presentation.")
    columns = {name: [row[i] for row in cells] for i, name in enumerate(names)}
    blank = [""] * len(cells)
    rows = [
        _row(number, values, where)
        for number, values in enumerate(
            zip(*(columns.get(name, blank) for name in COLUMNS), strict=True), start=2
        )
    ]
    return sorted(rows, key=lambda row: (row.start, row.number)), where


def scheduled(schedule, timing: Timing, *, where: str, folder=None, stimulus=None) -> Beside:
    """Movies and trials of a schedule.

    Presentations of one `name`, or without names all those of one frame size and rate, are one
    movie; its frames are indexed in the files and not copied. Each presentation is a trial, and
    those with a number in `repeat` are the test.

    Parameters
    ----------
    schedule : path or DataFrame, see `read_schedule`
    timing : Timing
        `frame_rate` holds where the table has none; `triggers` or `frame_times` of the whole
        session, in the order of the presentations, tell the onsets of all frames.
    stimulus : {name: movie}, optional
        Movies that the table calls by name, instead of files.

    Raises
    ------
    InputError
        If a file is missing, presentations overlap, or triggers do not fit; with the row.
    """
    rows, where = read_schedule(schedule, where, folder)
    if timing.start is not None:
        raise _wrong("start is given with a schedule", where, "Leave it out: the table has it.")
    base = None
    if isinstance(schedule, (str, Path)):
        base = Path(found_path(schedule, folder)).parent
    else:
        base = folder
    movies = _opened(rows, base, stimulus, where)
    onsets, periods, notes = presentation_onsets(rows, movies, timing, where, folder)
    _check_order(rows, onsets, periods, where)
    default = Path(str(schedule)).stem if isinstance(schedule, (str, Path)) else "stimuli"
    found = []
    for name, members in _groups(rows, movies, periods, default, where).items():
        files = list(dict.fromkeys(rows[i].stimulus for i in members))
        variables = [movies[file] for file in files]
        order = [files.index(rows[i].stimulus) for i in members]
        times = np.concatenate([onsets[i] for i in members])
        period = float(np.median([periods[i] for i in members]))
        attrs = {**variables[0].attrs, "source": ", ".join(files[:20])}
        shown = show_in_sequence(variables, order)
        found.append(Movie(name, shown, times, period, f"{where}: {name}", attrs))
    return Beside(found, _trials(rows, onsets, periods, schedule, where), notes)


def _row(number: int, values, where: str) -> Row:
    stimulus, start, repeat, name, rate = values
    place = f"row {number} (the heading is row 1)"
    if not stimulus:
        raise _wrong(f"{place} names no stimulus", where, "Give the movie that was shown.")
    seconds = _number(start)
    if seconds is None:
        raise _wrong(
            f"{place}: start is {start[:40]!r}, which is no number",
            where,
            "Give the start of each presentation in seconds, with a decimal point.",
        )
    again = _number(repeat) if repeat else None
    if repeat and (again is None or again != np.floor(again)):
        raise _wrong(
            f"{place}: repeat is {repeat[:40]!r}",
            where,
            "Number the showings of a repeated movie 1, 2, ...; leave it blank for others.",
        )
    frame_rate = _number(rate) if rate else None
    if rate and (frame_rate is None or frame_rate <= 0):
        raise _wrong(f"{place}: frame_rate is {rate[:40]!r}", where, "Give frames per second.")
    again = None if again is None else int(again)
    return Row(number, stimulus, seconds, again, name.replace("/", "_"), frame_rate)


def _opened(rows: Sequence[Row], base: Path | None, stimulus, where: str) -> dict[str, xr.Variable]:
    """Each movie once, by what the table calls it."""
    given = stimulus if isinstance(stimulus, dict) and "generator" not in stimulus else None
    if stimulus is not None and given is None:
        raise _wrong(
            "stimulus and schedule are both given",
            where,
            "The schedule names the files; or give stimulus={name: movie} for its names.",
        )
    movies: dict[str, xr.Variable] = {}
    for row in rows:
        if row.stimulus in movies:
            continue
        if given is not None and row.stimulus in given:
            movies[row.stimulus] = open_movie(given[row.stimulus], where)
            continue
        path = _inside(row, base, where)
        try:
            movies[row.stimulus] = open_movie(path, "")
        except InputError as error:
            what = f"row {row.number}: {row.stimulus}: {error.what}"
            raise _wrong(what, where, error.remedy) from error
    return movies


def _inside(row: Row, base: Path | None, where: str) -> str:
    """The path of a movie, which may not leave the folder of the table."""
    name, place = row.stimulus, f"row {row.number}: stimulus is {row.stimulus[:80]!r}"
    remedy = "Give paths from the folder of the table, and put the movies into it."
    if base is None:
        raise _wrong(
            f"{place}, and a table in memory has no folder",
            where,
            "Give stimulus={name: movie}, or the table as a csv file next to the movies.",
        )
    outside = ".." in PurePosixPath(name).parts or ".." in PureWindowsPath(name).parts
    if outside or PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute():
        raise _wrong(f"{place}, which leaves the folder of the table", where, remedy)
    text = str(base / name)
    try:
        file = Path(split_hdf5_path(text)[0])
        real, root = file.resolve(), base.resolve()
        there = file.exists()
    except (OSError, ValueError, RuntimeError):
        raise _wrong(f"{place}, which is no path", where, remedy) from None
    if not real.is_relative_to(root):
        raise _wrong(f"{place}, a link that leaves the folder of the table", where, remedy)
    if not there:
        raise _wrong(f"{place}, and there is no such file in {base}", where, remedy)
    return text


def _check_order(rows, onsets, periods, where: str) -> None:
    for i in range(1, len(rows)):
        end = float(onsets[i - 1][-1] + periods[i - 1])
        start = float(onsets[i][0])
        if start < end - max(0.5 * periods[i - 1], 1e-3):
            raise _wrong(
                f"row {rows[i].number} ({rows[i].stimulus}) starts at {start:.6g} s, before row "
                f"{rows[i - 1].number} ({rows[i - 1].stimulus}) ends at {end:.6g} s",
                where,
                "Check start and frame rate: one movie is shown at a time.",
            )


def _groups(rows, movies, periods, default: str, where: str) -> dict[str, list[int]]:
    """Presentations of each stimulus."""
    alike: dict[tuple, list[int]] = {}
    for i, (row, period) in enumerate(zip(rows, periods, strict=True)):
        movie = movies[row.stimulus]
        kind = (movie.shape[1:], movie.dtype, movie.attrs.get("units"), f"{1 / period:.2g}")
        if row.name:
            known = next((k for k in alike if k[0] == row.name), None)
            if known is not None and known[1][:2] != kind[:2]:
                first = rows[alike[known][0]]
                raise _wrong(
                    f"row {row.number} and row {first.number} are both named {row.name}, and their "
                    f"frames have shape {kind[0]} ({kind[1]}) and {known[1][0]} ({known[1][1]})",
                    where,
                    "Give movies of different frames different names.",
                )
            alike.setdefault(known or (row.name, kind), []).append(i)
        else:
            alike.setdefault(("", kind), []).append(i)
    unnamed = sum(not name for name, _ in alike)
    groups: dict[str, list[int]] = {}
    for (name, _), members in alike.items():
        label = name or default
        if not name and unnamed > 1:
            label = movie_name(rows[members[0]].stimulus, default)
        while label in groups:
            label += "_"
        groups[label] = members
    return groups


def _trials(rows, onsets, periods, schedule, where: str) -> Trials:
    import pandas as pd

    starts = np.array([own[0] for own in onsets])
    stops = np.array([own[-1] + period for own, period in zip(onsets, periods, strict=True)])
    # The next presentation ends one: rounding must not make trials overlap.
    stops[:-1] = np.minimum(stops[:-1], starts[1:])
    frame = pd.DataFrame(
        {
            "start_time": starts,
            "stop_time": stops,
            "stimulus": [row.stimulus for row in rows],
            "repeat": [-1 if row.repeat is None else row.repeat for row in rows],
            "name": [row.name for row in rows],
        }
    )
    frame.attrs["row_numbers"] = [row.number for row in rows]
    test = np.array([row.repeat is not None for row in rows])
    name = Path(str(schedule)).name if isinstance(schedule, (str, Path)) else "schedule"
    return Trials(name, frame, where, named=True, test=test if test.any() else None)


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _wrong(what: str, where: str, remedy: str) -> InputError:
    return InputError(what, where=where, remedy=remedy)
