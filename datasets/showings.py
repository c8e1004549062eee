"""One movie with the onset of each frame, from whatever says when it was shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.lazy_movies import show_in_sequence
from neuromodels.datasets.presentations import Movie
from neuromodels.datasets.time_files import read_times
from neuromodels.datasets.timing import (
    START,
    check_units,
    frame_onsets,
    frame_period,
    regularity,
    split_showings,
)

TIMING = (
    "Say when frames were on screen: frame_times= (onset of each, s), triggers= (with "
    "frames_per_trigger=1, n or 'start'), or frame_rate= (Hz, with start= in s)."
)


@dataclass(frozen=True, eq=False)
class Timing:
    """What was said about when the frames of one movie were shown."""

    frame_times: object = None
    frame_rate: object = None
    start: object = None
    triggers: object = None
    frames_per_trigger: object = None


def shown_movie(
    name: str, frames: xr.Variable, timing: Timing, where: str, folder: Path | None = None
) -> tuple[Movie, np.ndarray, list[str]]:
    """One movie with the onset of each frame, for as many showings as the times say.

    Returns
    -------
    movie : Movie
    showings : (showing, 2), start and stop of each, s
    notes : list of str
    """
    n_frames = frames.shape[0]
    rate = checked_rate(timing.frame_rate, f"{where}: frame_rate")
    place = f"{where}: {name}"
    for what, given in (("frame times", timing.frame_times), ("triggers", timing.triggers)):
        if given is not None:
            n_times = read_times(given, f"{where}: {what.replace(' ', '_')}", folder).size
            per = timing.frames_per_trigger if what == "triggers" else 1
            per = int(per) if str(per).isdecimal() else 1
            _check_first_axis(frames.shape, n_times * per, what, place)
    if timing.frame_times is not None:
        if timing.triggers is not None:
            raise InputError(
                "both frame_times and triggers are given",
                where=place,
                remedy="Give one of them.",
            )
        onsets, notes = _from_frame_times(timing, n_frames, rate, where, folder)
    elif timing.triggers is not None:
        onsets, notes = _from_triggers(timing, n_frames, rate, where, folder)
    elif rate is not None:
        onsets, notes = _from_rate(timing.start, n_frames, rate, where, folder)
    else:
        file_rate = frames.attrs.get("frame_rate")
        hint = f" The video says {file_rate:.6g} frames/s." if file_rate else ""
        raise InputError(
            "nothing says when its frames were on screen", where=place, remedy=TIMING + hint
        )
    n_showings = onsets.size // n_frames
    if rate is None:
        period = frame_period(onsets.reshape(n_showings, n_frames), place)
    else:
        period = _agreeing_period(onsets, n_showings, rate, notes, name)
    for i in range(n_showings):
        own = regularity(onsets[i * n_frames : (i + 1) * n_frames])
        if own is not None and own.irregular:
            again = f", showing {i + 1} of {n_showings}" if n_showings > 1 else ""
            notes.append(f"{name}{again}: {own.words()}")
    shown = show_in_sequence([frames], [0] * n_showings)
    starts = onsets[::n_frames]
    stops = onsets[n_frames - 1 :: n_frames] + period
    movie = Movie(name, shown, onsets, period, place, dict(frames.attrs))
    return movie, np.stack([starts, stops], axis=1), notes


def checked_rate(rate, where: str) -> float | None:
    """A frame rate in Hz, or None.

    Raises
    ------
    InputError
        If it is not a positive number, or looks like an interval.
    """
    if rate is None:
        return None
    try:
        value = float(rate)
    except (TypeError, ValueError):
        value = np.nan
    if isinstance(rate, bool) or not np.isfinite(value) or not 0 < value <= 1e5:
        raise InputError(f"is {rate!r}"[:80], where=where, remedy="Give frames per second, Hz.")
    return value


def _check_first_axis(shape: tuple[int, ...], n_times: int, what: str, place: str) -> None:
    """Time must be the first axis: it shows where another one is as long as the times are many."""
    if n_times == shape[0] or n_times not in shape[1:]:
        return
    axis = shape.index(n_times, 1)
    raise InputError(
        f"has {shape[0]:,} frames, but its axis {axis} is {n_times:,} long, as there are {what}",
        where=place,
        remedy="Put time first: (frame, y, x), e.g. numpy.moveaxis(movie, -1, 0).",
    )


def _from_frame_times(timing: Timing, n_frames: int, rate, where: str, folder):
    place = place_of(where, "frame_times", timing.frame_times)
    onsets = read_times(timing.frame_times, f"{where}: frame_times", folder)
    if n_frames > 1:
        check_units(onsets, rate, place)
    n_showings, rest = divmod(onsets.size, n_frames)
    if rest:
        hint = "Give the onset of every frame, s."
        if onsets.size == n_frames + 1:
            hint += " If the last time is the end of the movie, leave it out."
        elif onsets.size * 2 > n_frames:
            frame_onsets(onsets, n_frames, 1, where=place)  # names the first suspicious gap
        raise InputError(
            f"holds {onsets.size:,} times for a movie of {n_frames:,} frames",
            where=place,
            remedy=hint,
        )
    return onsets, _said_showings(n_showings, onsets.size, "frame times", n_frames)


def _from_triggers(timing: Timing, n_frames: int, rate, where: str, folder):
    place = place_of(where, "triggers", timing.triggers)
    triggers = read_times(timing.triggers, f"{where}: triggers", folder)
    per = _frames_per_trigger(timing.frames_per_trigger, triggers, n_frames, rate, where)
    if per == START:
        return frame_onsets(triggers, n_frames, per, rate, where=place)
    if n_frames > 1:
        check_units(triggers, rate, place, frames_between=per)
    onsets, notes = [], []
    pieces = split_showings(triggers, n_frames, per, where=place)
    for piece in pieces:
        own, said = frame_onsets(piece, n_frames, per, rate, where=place)
        onsets.append(own)
        notes += [note for note in said if note not in notes]
    notes += _said_showings(len(pieces), triggers.size, "triggers", n_frames)
    return np.concatenate(onsets), notes


def _from_rate(start, n_frames: int, rate: float, where: str, folder):
    notes = []
    if start is None:
        start = 0.0
        notes.append("no start of the movie was given: it is taken to begin at 0 s (start=)")
    starts = read_times(start, f"{where}: start", folder)
    place = place_of(where, "start", start)
    return frame_onsets(starts, n_frames, START, rate, where=place)[0], notes


def _frames_per_trigger(given, triggers, n_frames: int, rate, where: str):
    if given is None:
        lasts = n_frames / rate if rate else np.inf
        apart = np.diff(triggers).min(initial=np.inf)
        starts = triggers.size == 1 or (rate and apart > 0.9 * lasts)
        return START if starts and n_frames > 1 else 1
    if isinstance(given, str) and given.strip().lower() == START:
        return START
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = np.nan
    if isinstance(given, bool) or not value >= 1 or value != np.floor(value):
        raise InputError(
            f"is {given!r}"[:80],
            where=f"{where}: frames_per_trigger",
            remedy="Give 1 (a trigger with every frame), n (with every n-th) or 'start'.",
        )
    return int(value)


def _agreeing_period(onsets, n_showings: int, rate: float, notes: list[str], name: str) -> float:
    steps = np.diff(onsets.reshape(n_showings, -1), axis=1)
    if not steps.size:
        return 1 / rate
    usual = float(np.median(steps))
    if abs(usual * rate - 1) <= 0.02:
        return frame_period(onsets.reshape(n_showings, -1), name)
    notes.append(
        f"{name}: frames come every {usual * 1e3:.5g} ms ({1 / usual:.4g} per second), "
        f"frame_rate says {rate:.6g}: the times are used"
    )
    return frame_period(onsets.reshape(n_showings, -1), name)


def _said_showings(n_showings: int, n_times: int, what: str, n_frames: int) -> list[str]:
    if n_showings == 1:
        return []
    return [
        f"{n_times:,} {what} for a movie of {n_frames:,} frames: it was shown {n_showings} times"
    ]


def place_of(where: str, option: str, given) -> str:
    """How messages about a time argument begin: with its file, if it is one."""
    file = f": {given}" if isinstance(given, (str, Path)) else ""
    return f"{where}: {option}{file}"
