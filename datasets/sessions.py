"""What any reader finds in a session, and how it becomes a recording.

Readers of sessions (NWB, sorted spikes with frame times, ...) fill a `Session`: responses on the
session's clock, movies with the onset of every frame, and a table of trials. `assemble` cuts it
into roles by one rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from neuromodels.datasets.binning import exact_bin_width
from neuromodels.datasets.building import build_recording
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.presentations import (
    Declared,
    Movie,
    check_trials,
    frames_of_intervals,
    make_roles,
)
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.responses import Traces, Units
from neuromodels.datasets.tables import rows_where

if TYPE_CHECKING:
    import pandas as pd

FINEST_BIN = Fraction(1, 1000)  # s
FEWEST_INSIDE = 0.005  # of all spikes; with fewer during the stimulus, their unit is wrong
NO_TEST = "none"


@dataclass(frozen=True, eq=False)
class Trials:
    """A table of stretches of time, with columns that conditions can choose by.

    Attributes
    ----------
    name : str
        What messages call it: "trials", "stimuli.csv".
    frame : DataFrame with start_time and stop_time, s
    where : str
        File and table, for messages.
    named : bool
        The user named it, or a table of that kind is always meant: then it must fit the movie.
    test : (row,) bool, optional
        Rows that the table itself declares as repeats.
    """

    name: str
    frame: pd.DataFrame
    where: str
    named: bool = True
    test: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Session:
    """What a reader found.

    Attributes
    ----------
    source : str
        Path or address; messages begin with it.
    responses : Units or Traces
    movies : list of Movie
    trials : Trials, optional
    attrs : dict
        Species, area, format, ...
    notes : list of str
    identity : str
        sha256 of what was read.
    """

    source: str
    responses: Units | Traces
    movies: list[Movie]
    trials: Trials | None = None
    attrs: dict = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    identity: str | None = None


def finest_width(wanted: Fraction | None, given, responses: Units | Traces, where: str) -> Fraction:
    """Bins that responses are stored in, s.

    As given; else 1 ms, or the widest whole part of the bins wanted that is not wider. Traces are
    stored at their sampling interval, or in the bins wanted where these are wider.
    """
    if given is not None:
        return exact_bin_width(given, f"{where}: finest_bin_width")
    if isinstance(responses, Traces):
        interval = responses.sample_interval
        if wanted is None:
            return interval
        return wanted / max(1, round(wanted / interval))
    if wanted is None:
        return FINEST_BIN
    parts = -(-wanted // FINEST_BIN)  # rounded up: no finest bin is wider than 1 ms
    return wanted / parts


def assemble(
    session: Session, *, test=None, bin_width=None, finest_bin_width=None, all_movies: bool = True
) -> Recording:
    """Bin the responses of a session, and cut it into training data and the repeated test.

    Parameters
    ----------
    session : Session
    test : str or list of (start, stop), optional
        Which part is the repeated test: a condition over the columns of the trials, such as
        ``kind == 'repeat'``; or stretches in seconds, one per repeat; or "none". By default
        repeats are found from the frames.
    bin_width : float or Fraction, s, optional
        Bins of the view that is returned (default: the finest bins).
    finest_bin_width : float or Fraction, s, optional
        Bins that are stored, see `finest_width`.
    all_movies : bool
        Whether the movies are all that the session has; if not, trials need not fit them.

    Raises
    ------
    InputError
        If movies, responses and trials do not belong together.
    """
    source, responses, movies = session.source, session.responses, session.movies
    wanted = None if bin_width is None else exact_bin_width(bin_width, f"{source}: bin_width")
    width = finest_width(wanted, finest_bin_width, responses, source)
    notes = [*session.notes, *responses.notes]
    _check_overlap(movies, responses)
    if isinstance(responses, Units) and all_movies:
        _check_share(movies, responses)

    table, said = _usable(session.trials)
    notes += said
    declared = _declared(test, table, source)
    intervals = None if table is None else _intervals(table.frame)
    if table is not None and table.named and all_movies and not _any_frames(movies, intervals):
        raise InputError(
            f"none of its {len(intervals)} rows has a frame of {movies[0].name} "
            f"({intervals[0, 0]:g} to {intervals[:, 1].max():g} s, the movie "
            f"{movies[0].onsets[0]:g} to {movies[0].ends[-1]:g} s)",
            where=table.where,
            remedy="Check both clocks, or choose another table with table= "
            "(table='none' reads the movie without one).",
        )
    if table is not None and not table.named and len(intervals) == 1:
        intervals = None  # one epoch around everything says nothing about trials

    roles, about = {}, {}
    for movie in movies:
        rows, said_test = intervals, declared
        if intervals is not None and not _any_frames([movie], intervals):
            notes.append(f"{_place(table)} says nothing about {movie.name}")
            rows = None
            if declared is not None and declared.rows is not None:
                said_test = Declared(NO_TEST, intervals=np.zeros((0, 2)))
        parts, reason, said = make_roles(
            movie,
            responses,
            width,
            trials=rows,
            test=said_test,
            table=table.name if table is not None else "trials",
        )
        roles[movie.name] = parts
        about[movie.name] = {**movie.attrs, "roles_found": reason}
        notes += said
    roles = {movie: parts for movie, parts in roles.items() if parts}
    if not roles:
        raise InputError(
            "no stretch of the stimulus is as long as a bin",
            where=movies[0].where,
            remedy="Check its timestamps, and the trials table.",
        )
    if not any("train" in parts for parts in roles.values()):
        notes.append(
            "nothing is left to train on, because all that was shown is repeated: check frame rate "
            "and triggers, or choose the test with test="
        )
    if declared is not None and declared.said != NO_TEST and not _any_test(roles):
        raise InputError(
            f"{declared.said}: no frame was on screen then",
            where=f"{source}: test",
            remedy="Choose trials in which the stimulus was shown.",
        )
    if isinstance(responses, Units):
        _count_outside(roles, responses.spike_times)
        notes += _observed(responses, roles)
    recording = build_recording(
        roles,
        neurons=responses.ids,
        attrs={**session.attrs, "notes": notes},
        stimulus_attrs=about,
        unit_metadata=responses.metadata,
        identity=session.identity,
        source=source,
    )
    return recording if wanted is None else recording.at(wanted)


def _intervals(frame: pd.DataFrame) -> np.ndarray:
    return frame[["start_time", "stop_time"]].to_numpy(dtype=np.float64)


def _usable(trials: Trials | None) -> tuple[Trials | None, list[str]]:
    """The table in the order of time; without it, and a note, where its rows make no trials."""
    if trials is None:
        return None, []
    try:
        order = check_trials(_intervals(trials.frame), trials.where)
    except InputError:
        if trials.named:
            raise
        return None, [f"{_place(trials)} is not used: its rows overlap or have no end"]
    frame = trials.frame.iloc[order].reset_index(drop=True)
    test = None if trials.test is None else np.asarray(trials.test)[order]
    return Trials(trials.name, frame, trials.where, trials.named, test), []


def _place(trials: Trials) -> str:
    return trials.where.rpartition(": ")[2]


def _check_overlap(movies: Sequence[Movie], responses: Units | Traces) -> None:
    first, last = responses.span()
    for movie in movies:
        start, stop = float(movie.onsets[0]), float(movie.ends[-1])
        if not responses.any_in(start, stop):
            samples = last - first > 1000 * (stop - start)
            what = "spike" if responses.kind == "count" else "sample"
            raise InputError(
                f"no {what} falls into the stimulus: {what}s lie between {first:.6g} and "
                f"{last:.6g} s, the stimulus between {start:.6g} and {stop:.6g} s",
                where=f"{responses.where} and {movie.where.split(': ')[-1]}",
                remedy="Spike times look like samples: divide them by the sampling rate."
                if samples
                else "Bring both to one clock, in seconds from the session's start.",
            )


def _check_share(movies: Sequence[Movie], units: Units) -> None:
    """Refuse spikes of which hardly any fall into the stimulus: milliseconds, or samples."""
    start = min(float(movie.onsets[0]) for movie in movies)
    stop = max(float(movie.ends[-1]) for movie in movies)
    total = sum(times.size for times in units.spike_times)
    inside = sum(np.count_nonzero((t >= start) & (t < stop)) for t in units.spike_times)
    if inside >= FEWEST_INSIDE * total:
        return
    last = units.span()[1]
    what = "milliseconds: divide them by 1000" if last < 5000 * stop else "samples"
    raise InputError(
        f"only {inside} of {total} spikes fall between the first and last frame ({start:.6g} to "
        f"{stop:.6g} s); the last spike is at {last:.6g}",
        where=units.where,
        remedy=f"They must be seconds on the clock of the frames. These look like {what} (in a "
        'mapping: units = "ms" or "samples").',
    )


def _any_frames(movies: Sequence[Movie], trials: np.ndarray) -> bool:
    return any(stop > start for m in movies for start, stop in frames_of_intervals(m, trials))


def _any_test(roles) -> bool:
    return any("test" in parts for parts in roles.values())


def _declared(test, table: Trials | None, source: str) -> Declared | None:
    """What the user says of the test: a condition over the table, stretches of time, or none."""
    where = f"{source}: test"
    if test is None:
        if table is None or table.test is None or not table.test.any():
            return None
        return Declared(f"the repeats of {table.name}", rows=table.test)
    if isinstance(test, str):
        if test.strip().lower() == NO_TEST:
            return Declared(NO_TEST, intervals=np.zeros((0, 2)))
        if table is None:
            raise InputError(
                f"{test!r} needs a table of trials, and the file has none that fits",
                where=where,
                remedy="Give the repeats as test=[(start, stop), ...] in seconds, or name a table "
                "with table=.",
            )
        rows = rows_where(table.frame, test, where)
        if not rows.any():
            raise InputError(
                f"no row of {table.name} fulfils {test!r}",
                where=where,
                remedy=f"Values: {_values(table.frame)}.",
            )
        return Declared(f"{table.name} with {test}", rows=rows)
    try:
        intervals = np.asarray(test, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        intervals = np.full((1, 2), np.nan)
    if not (np.isfinite(intervals).all() and (intervals[:, 1] > intervals[:, 0]).all()):
        raise InputError(
            f"is {str(test)[:80]}",
            where=where,
            remedy="Give a condition like \"kind == 'repeat'\", or [(start, stop), ...] in seconds "
            "with one pair per repeat, or 'none'.",
        )
    intervals = intervals[np.argsort(intervals[:, 0])]
    if (intervals[1:, 0] < intervals[:-1, 1]).any():
        raise InputError("its stretches overlap", where=where, remedy="Give each repeat once.")
    return Declared(f"{len(intervals)} stretches of time given", intervals=intervals)


def _values(frame: pd.DataFrame) -> str:
    said = []
    for column in frame.columns:
        if column not in ("start_time", "stop_time"):
            values = [str(v) for v in frame[column].unique()[:4]]
            more = ", ..." if frame[column].nunique() > 4 else ""
            said.append(f"{column}: {', '.join(values)}{more}")
    return "; ".join(said[:6]) or "only start_time and stop_time"


def _count_outside(roles, spike_times: Sequence[np.ndarray]) -> None:
    """Say on the first role how many spikes are in no bin of any role."""
    nodes = [node for parts in roles.values() for node in parts.values()]
    given = np.array([times.size for times in spike_times], dtype=np.int64)
    for node in nodes:
        response = node["response"]
        dims = [dim for dim in response.dims if dim != "neuron"]
        given -= response.sum(dims, dtype=np.float64).values.round().astype(np.int64)
    nodes[0].attrs["spikes_outside"] = np.maximum(given, 0)


def _observed(units: Units, roles) -> list[str]:
    """Notes on units whose observed intervals leave out a part of the session that is used."""
    if units.observed is None:
        return []
    used = [node for parts in roles.values() for node in parts.values() if "trial" not in node.dims]
    if not used:
        return []
    time = np.concatenate([node["time"].values for node in used])
    partly = []
    for unit, intervals in zip(units.ids, units.observed, strict=True):
        inside = np.zeros(time.size, dtype=bool)
        for start, stop in intervals:
            inside |= (time >= start) & (time < stop)
        if inside.mean() < 0.99:
            partly.append(f"{unit} ({inside.mean():.0%})")
    if not partly:
        return []
    more = f" and {len(partly) - 5} more" if len(partly) > 5 else ""
    return [
        f"observed intervals: {', '.join(partly[:5])}{more} observed for only that part of the "
        "training data; the rest counts as silence"
    ]
