"""The stimulus beside the spikes: frames from one file, their times from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.movie_files import is_movie_path, open_movie
from neuromodels.datasets.presentations import Movie
from neuromodels.datasets.sessions import Trials
from neuromodels.datasets.showings import TIMING, Timing, shown_movie
from neuromodels.datasets.time_files import found_path, read_table
from neuromodels.datasets.timing import START

if TYPE_CHECKING:
    import pandas as pd

BESIDE_OPTIONS = (
    *("frame_times", "frame_rate", "start", "triggers", "frames_per_trigger"),
    *("schedule", "trials"),
)


@dataclass(frozen=True, eq=False)
class Beside:
    """A stimulus with the times at which it was shown.

    Attributes
    ----------
    movies : list of Movie
        Frames stay on disk.
    trials : Trials or None
        One row per presentation; None where nothing says what a trial is.
    notes : list of str
        What a reader should know: irregular frames, a start that was assumed, ...
    """

    movies: list[Movie]
    trials: Trials | None = None
    notes: list[str] = field(default_factory=list)


def is_movie(stimulus, folder: Path | None = None) -> bool:
    """Whether `stimulus=` gives frames (or where they lie), and not a name in the recording.

    True for arrays, xarray objects, generators, paths that exist, and lists or dicts of these.
    """
    if stimulus is None or isinstance(stimulus, (bool, int, float, bytes)):
        return False
    if isinstance(stimulus, Path):
        return True
    if isinstance(stimulus, str):
        return bool(stimulus) and is_movie_path(found_path(stimulus, folder))
    if isinstance(stimulus, Mapping):
        described = "generator" in stimulus
        return described or (bool(stimulus) and all(is_movie(m, folder) for m in stimulus.values()))
    if isinstance(stimulus, (list, tuple)):
        return bool(stimulus) and all(is_movie(m, folder) for m in stimulus)
    return hasattr(stimulus, "shape") and hasattr(stimulus, "dtype")


def movies_beside(
    stimulus,
    *,
    where: str,
    folder: Path | None = None,
    frame_times=None,
    frame_rate=None,
    start=None,
    triggers=None,
    frames_per_trigger=None,
    schedule=None,
    trials=None,
    span: tuple[float, float] | None = None,
) -> Beside:
    """Frames and their times, brought together for a recording that holds spikes alone.

    Parameters
    ----------
    stimulus : what `open_movie` takes, a list or a {name: movie} dict of these, or None
        None with a schedule, which names the files itself.
    where : str
        The recording, for messages.
    folder : Path, optional
        The recording's folder: relative paths are looked for there, too.
    frame_times : times, optional
        Onset of every frame, s. As many times as the movie's frames, or a multiple (shown again).
    frame_rate : float, optional
        Frames per second. Alone it needs `start`.
    start : time or times, optional
        When the movie began, s, once for every showing (default 0, which is noted).
    triggers : times, optional
        Pulses that the display sent, s.
    frames_per_trigger : 1, n or "start", optional
        A pulse with every frame (default), with every n-th, or one when the movie begins. Several
        "start" pulses show the movie as often.
    schedule : path or DataFrame, optional
        ``stimuli.csv``, see `schedule.read_schedule`; with it, `frame_times` and `triggers` are
        those of all its presentations.
    trials : path, DataFrame or (trial, 2) array, optional
        Start and stop of trials, s, see `trials_beside`.
    span : (start, stop), optional
        Of the recording, s: a presentation outside of it is an error.

    With several movies, each time argument is a dict (or list) with one entry for each movie;
    numbers hold for all.

    Raises
    ------
    InputError
        If something is missing, or frames and times do not belong together.
    """
    timing = Timing(frame_times, frame_rate, start, triggers, frames_per_trigger)
    if schedule is not None:
        from neuromodels.datasets.schedule import scheduled

        beside = scheduled(schedule, timing, where=where, folder=folder, stimulus=stimulus)
    elif stimulus is None:
        raise InputError(
            "no frames of a stimulus were given",
            where=f"{where}: stimulus",
            remedy="Give stimulus= (a movie file, an image folder, an array or a generator) or "
            f"schedule= (stimuli.csv). {TIMING}",
        )
    else:
        beside = _named_movies(stimulus, timing, where, folder)
    given = trials_beside(trials, where, folder) if trials is not None else beside.trials
    notes = list(beside.notes)
    if span is not None:
        notes += _check_span(beside.movies, given, span)
    return Beside(beside.movies, given, notes)


def trials_beside(trials, where: str, folder: Path | None = None) -> Trials:
    """A table of trials that the user gives.

    Parameters
    ----------
    trials : path of a csv file, DataFrame, or (trial, 2) array
        Columns start_time and stop_time (or start and stop), s; others serve conditions such as
        ``test="kind == 'repeat'"``.
    where : str
        The recording, for messages.

    Raises
    ------
    InputError
        If there are no start and stop, or they are no numbers.
    """
    import pandas as pd

    name, where = "trials", f"{where}: trials"
    if isinstance(trials, (str, Path)):
        path = Path(found_path(trials, folder))
        if path.suffix.lower() == ".npy" or ":/" in str(path):
            raise InputError(
                f"is {path.name}",
                where=where,
                remedy="Give a csv with start_time and stop_time, or the array itself.",
            )
        name, where = path.name, f"{where}: {path}"
        heading, rows = read_table(path, where)
        frame = pd.DataFrame(rows, columns=heading)
        frame = frame.apply(_numbers_where_possible)
    elif isinstance(trials, pd.DataFrame):
        frame = trials.reset_index(drop=True)
    else:
        frame = pd.DataFrame(_pairs(trials, where), columns=["start_time", "stop_time"])
    if not len(frame):
        raise InputError("has no rows", where=where, remedy="Give one row per trial.")
    frame = frame.rename(columns={"start": "start_time", "stop": "stop_time"})
    for column in ("start_time", "stop_time"):
        if list(frame.columns).count(column) != 1:
            raise InputError(
                f"has {'no' if column not in frame else 'more than one'} column {column}",
                where=where,
                remedy=f"Columns are {', '.join(map(str, frame.columns)) or 'none'}; give "
                "start_time and stop_time in seconds.",
            )
        if frame[column].dtype.kind not in "iuf":
            raise InputError(
                f"column {column} holds something other than numbers",
                where=where,
                remedy="Give times in seconds, with a decimal point.",
            )
    return Trials(name, frame, where, named=True)


def per_movie(given, names: Sequence[str], where: str) -> list:
    """A time argument for each of several movies: from a dict, a list, or one number for all."""
    if isinstance(given, Mapping):
        unknown = [str(name) for name in given if name not in names]
        if unknown:
            raise InputError(
                f"names {', '.join(unknown[:3])}, which is no movie",
                where=where,
                remedy=f"Movies: {', '.join(names)}.",
            )
        return [given.get(name) for name in names]
    if given is None or len(names) == 1 or isinstance(given, (int, float)) or given == START:
        return [given] * len(names)
    if isinstance(given, (list, tuple)) and len(given) == len(names):
        return list(given)
    raise InputError(
        f"is given once for {len(names)} movies",
        where=where,
        remedy="Give a dict {movie: times}, or a schedule (stimuli.csv with stimulus and start).",
    )


def movie_name(given, default: str) -> str:
    """What a movie is called: its file or dataset without the ending."""
    if not isinstance(given, (str, Path)):
        name = getattr(given, "name", None)
        return (isinstance(name, str) and name.strip("/").split("/")[-1]) or default
    text = str(given).rstrip("/\\")
    last = text.rsplit("/", 1)[-1] if ":/" in text else Path(text).stem
    return last.replace("/", "_") or default


def presented(showings: Sequence[tuple[str, np.ndarray]], where: str) -> Trials | None:
    """One trial for each showing; None if every movie was shown once.

    Raises
    ------
    InputError
        If two showings overlap.
    """
    import pandas as pd

    rows = [
        (float(start), float(stop), name, repeat)
        for name, times in showings
        for repeat, (start, stop) in enumerate(times, start=1)
    ]
    rows.sort()
    for before, after in zip(rows[:-1], rows[1:], strict=True):
        if after[0] < before[1] - 1e-3:
            raise InputError(
                f"{after[2]} begins at {after[0]:.6g} s, while {before[2]} runs until "
                f"{before[1]:.6g} s",
                where=where,
                remedy="Check the times and the frame rate: one movie is shown at a time.",
            )
    if all(len(times) == 1 for _, times in showings):
        return None
    frame = pd.DataFrame(rows, columns=["start_time", "stop_time", "stimulus", "repeat"])
    # A showing lasts until the next one at most: rounding must not make trials overlap.
    after = frame["start_time"].to_numpy()[1:]
    frame.loc[: len(frame) - 2, "stop_time"] = np.minimum(frame["stop_time"].to_numpy()[:-1], after)
    return Trials("showings", frame, f"{where}: showings", named=True)


def _named_movies(stimulus, timing: Timing, where: str, folder: Path | None) -> Beside:
    if isinstance(stimulus, Mapping) and "generator" not in stimulus:
        movies = {str(name).replace("/", "_"): given for name, given in stimulus.items()}
    elif isinstance(stimulus, (list, tuple)) and any(
        isinstance(given, (str, Path, Mapping)) for given in stimulus
    ):
        movies = {}
        for i, given in enumerate(stimulus, start=1):
            name = movie_name(given, f"stimulus_{i}")
            movies[f"{name}_{i}" if name in movies else name] = given
    else:
        movies = {movie_name(stimulus, "stimulus"): stimulus}
    names = list(movies)
    several = f"{where}: " if len(names) > 1 else where
    values = {
        option: per_movie(getattr(timing, option), names, f"{where}: {option}")
        for option in Timing.__dataclass_fields__
    }
    found, showings, notes = [], [], []
    for i, (name, given) in enumerate(movies.items()):
        if isinstance(given, (str, Path)):
            given = found_path(given, folder)
        frames = open_movie(given, f"{where}: stimulus")
        own = Timing(**{option: value[i] for option, value in values.items()})
        movie, times, said = shown_movie(name, frames, own, several.rstrip(": "), folder)
        found.append(movie)
        showings.append((name, times))
        notes += said
    return Beside(found, presented(showings, f"{where}: stimulus"), notes)


def _check_span(movies: Sequence[Movie], trials: Trials | None, span) -> list[str]:
    """Notes on movies that are still shown when the recording ends; an error if they start then."""
    first, last = (float(value) for value in span)
    outside = [m for m in movies if m.onsets[0] > last or m.ends[-1] < first]
    if len(outside) == len(movies):
        return []  # two clocks, or samples for seconds: whoever counts the spikes says which
    for movie in outside:
        raise InputError(
            f"is shown from {movie.onsets[0]:.6g} to {movie.ends[-1]:.6g} s, the recording "
            f"runs from {first:.6g} to {last:.6g} s",
            where=movie.where,
            remedy="Bring both to one clock, in seconds.",
        )
    notes = [
        f"{movie.name} runs until {movie.ends[-1]:.6g} s, the recording until {last:.6g} s: what "
        "is missing counts as silence"
        for movie in movies
        if movie.ends[-1] > last + 1
    ]
    if trials is None:
        return notes
    starts = trials.frame["start_time"].to_numpy(dtype=np.float64)
    late = np.flatnonzero(starts > last)
    if late.size:
        row = int(late[0])
        numbers = trials.frame.attrs.get("row_numbers", range(len(starts)))
        raise InputError(
            f"row {numbers[row]} starts at {starts[row]:.6g} s, "
            f"the recording ends at {last:.6g} s ({late.size} such rows)",
            where=trials.where,
            remedy="Check the clock of the table: seconds from the start of the recording.",
        )
    return notes


def _pairs(trials, where: str) -> np.ndarray:
    try:
        pairs = np.asarray(trials, dtype=np.float64)
    except (TypeError, ValueError):
        pairs = np.zeros(0)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise InputError(
            f"is {type(trials).__name__} of shape {pairs.shape}",
            where=where,
            remedy="Give a csv file or table with start_time and stop_time, or an array of "
            "(start, stop) rows in seconds.",
        )
    return pairs


def _numbers_where_possible(column: pd.Series) -> pd.Series:
    import pandas as pd

    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column
