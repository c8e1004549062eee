"""When the frames of each presentation of a schedule were on screen."""

from __future__ import annotations

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.showings import TIMING, Timing, checked_rate, place_of
from neuromodels.datasets.time_files import read_times
from neuromodels.datasets.timing import (
    START,
    check_units,
    frame_onsets,
    frame_period,
    regularity,
)


def presentation_onsets(rows, movies, timing: Timing, where: str, folder):
    """Onsets of the frames and the usual interval of each presentation, and notes."""
    rate = checked_rate(timing.frame_rate, f"{where}: frame_rate")
    lengths = [movies[row.stimulus].shape[0] for row in rows]
    rates = [row.frame_rate or rate for row in rows]
    recording = where.split(": ")[0]
    if timing.frame_times is not None and timing.triggers is not None:
        raise _wrong("both frame_times and triggers are given", where, "Give one of them.")
    if timing.frame_times is not None:
        place = place_of(recording, "frame_times", timing.frame_times)
        times = read_times(timing.frame_times, f"{recording}: frame_times", folder)
        check_units(times, rates[0], place)
        if times.size != sum(lengths):
            raise _wrong(
                f"holds {times.size:,} times, the {len(rows)} presentations have "
                f"{sum(lengths):,} frames",
                place,
                "Give the onset of every frame of every presentation, in the order of time.",
            )
        pieces = np.split(times, np.cumsum(lengths)[:-1])
        return _measured(rows, pieces, rates, where)
    if timing.triggers is None:
        missing = [row.number for row, r in zip(rows, rates, strict=True) if r is None]
        if missing:
            raise _wrong(
                f"row {missing[0]} has no frame rate, and nothing else says when its frames were "
                f"on screen ({len(missing)} such rows)",
                where,
                f"Add a column frame_rate. {TIMING}",
            )
        onsets = [
            row.start + np.arange(n) / r for row, n, r in zip(rows, lengths, rates, strict=True)
        ]
        return onsets, [1 / r for r in rates], []
    triggers = read_times(timing.triggers, f"{recording}: triggers", folder)
    place = place_of(recording, "triggers", timing.triggers)
    per = 1 if timing.frames_per_trigger is None else timing.frames_per_trigger
    if per == START or (timing.frames_per_trigger is None and triggers.size == len(rows)):
        return _from_start_triggers(rows, triggers, lengths, rates, place)
    return _from_frame_triggers(rows, triggers, lengths, rates, per, place, where)


def _from_start_triggers(rows, triggers, lengths, rates, place: str):
    """One trigger for each presentation: it corrects the start that the table says."""
    if triggers.size != len(rows):
        raise _wrong(
            f"there are {triggers.size:,} triggers for {len(rows)} presentations",
            place,
            "Give one trigger at the start of each row, or leave triggers out: starts of the "
            "table hold then.",
        )
    onsets = []
    for row, trigger, n, rate in zip(rows, triggers, lengths, rates, strict=True):
        if rate is None:
            raise _wrong(f"row {row.number} has no frame rate", place, "Give frame_rate= (Hz).")
        onsets.append(trigger + np.arange(n) / rate)
    return onsets, [1 / rate for rate in rates], _starts_moved(rows, triggers)


def _from_frame_triggers(rows, triggers, lengths, rates, per, place: str, where: str):
    """Triggers between the start of a presentation and that of the next one are its own."""
    starts = np.array([row.start for row in rows])
    usual = float(np.median(np.diff(triggers))) if triggers.size > 1 else 0.0
    first = np.searchsorted(triggers, starts - max(usual, 1e-3) / 2)
    stops = np.append(first[1:], triggers.size)
    pieces, notes = [], []
    if first[0]:
        notes.append(f"{first[0]:,} triggers before the first presentation are not used")
    for row, a, b, n, rate in zip(rows, first, stops, lengths, rates, strict=True):
        own = triggers[a:b]
        if not own.size:
            raise _wrong(
                f"no trigger follows row {row.number} ({row.stimulus}, {row.start:.6g} s)",
                place,
                "Check that start and triggers are in seconds on one clock.",
            )
        onsets, said = frame_onsets(
            own, n, per, rate, where=f"{place}, row {row.number} ({row.stimulus})"
        )
        pieces.append(onsets)
        notes += said
    moved = _starts_moved(rows, np.array([piece[0] for piece in pieces]))
    onsets, periods, said = _measured(rows, pieces, rates, where)
    return onsets, periods, [*notes, *moved, *said]


def _measured(rows, pieces, rates, where: str):
    """Usual intervals and what is irregular, of onsets that were measured."""
    periods, notes = [], []
    for row, own, rate in zip(rows, pieces, rates, strict=True):
        if own.size == 1 and rate:
            periods.append(1 / rate)
            continue
        periods.append(frame_period(own, f"{where}: row {row.number}"))
        found = regularity(own)
        if found is not None and found.irregular:
            notes.append(f"row {row.number} ({row.stimulus}): {found.words()}")
        if rate and abs(periods[-1] * rate - 1) > 0.02:
            notes.append(
                f"row {row.number} ({row.stimulus}): frames come {1 / periods[-1]:.5g} times per "
                f"second, frame_rate says {rate:.5g}: the times are used"
            )
    if len(notes) > 6:
        notes = [*notes[:5], f"{len(notes) - 5} more presentations have irregular frames"]
    return pieces, periods, notes


def _starts_moved(rows, onsets: np.ndarray) -> list[str]:
    off = np.abs(onsets - np.array([row.start for row in rows]))
    if off.max() <= 1e-3:
        return []
    row = rows[int(off.argmax())]
    return [
        f"triggers move the starts of the schedule by {off.max() * 1e3:.4g} ms at most (row "
        f"{row.number})"
    ]


def _wrong(what: str, where: str, remedy: str) -> InputError:
    return InputError(what, where=where, remedy=remedy)
