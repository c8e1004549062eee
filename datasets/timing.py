"""When frames were on screen: from triggers, with what is wrong with these said in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.role_data import LONGEST_HOLD

START = "start"
MISSING = 1.5  # usual intervals; a longer gap may hide a trigger or a dropped frame
SPURIOUS = 0.5  # usual intervals; a shorter one may be a double trigger
PAUSE = 3.0  # usual intervals; a longer gap may separate two showings


@dataclass(frozen=True)
class Regularity:
    """How regular the frames of a movie were.

    Attributes
    ----------
    period : float, usual interval between frames, s
    n_intervals : int
    jitter : float, standard deviation of the intervals that are no drop, s
    worst : float, largest deviation of an interval from the usual one, s
    worst_frame : int, frame that this interval follows
    n_dropped : int, frames that must have been shown longer than once
    n_late : int, intervals that are more than a tenth off
    n_short : int, intervals below half of the usual one
    n_pauses : int, gaps of more than ten intervals, which count as none of the above
    """

    period: float
    n_intervals: int
    jitter: float
    worst: float
    worst_frame: int
    n_dropped: int
    n_late: int
    n_short: int
    n_pauses: int = 0

    @property
    def irregular(self) -> bool:
        """Whether a reader should know: a drop, a double, or one interval in 100 that is off."""
        return bool(self.n_dropped or self.n_short or self.n_late > self.n_intervals / 100)

    def words(self) -> str:
        """The numbers as one sentence."""
        said = [
            f"usual interval {self.period * 1e3:.5g} ms ({1 / self.period:.5g} per second), "
            f"jitter {self.jitter * 1e3:.3g} ms (sd)",
            f"{self.n_late:,} of {self.n_intervals:,} more than 10% off",
        ]
        if self.n_dropped:
            said.append(f"{self.n_dropped:,} refreshes missed (frames stayed on)")
        if self.n_short:
            said.append(f"{self.n_short:,} shorter than half (double triggers?)")
        if self.n_pauses:
            said.append(f"{self.n_pauses:,} pauses beside")
        said.append(f"largest deviation {self.worst * 1e3:.4g} ms after frame {self.worst_frame}")
        return "frame intervals are irregular: " + ", ".join(said)


def frame_onsets(
    triggers, n_frames: int, frames_per_trigger=1, frame_rate=None, where: str = "triggers"
) -> tuple[np.ndarray, list[str]]:
    """When each frame of a movie appeared, from the pulses of the display.

    Parameters
    ----------
    triggers : (trigger,), s, ascending
    n_frames : int
        Frames of the movie.
    frames_per_trigger : 1, n or "start"
        A pulse with every frame; with frames 0, n, 2n, ... (those between are interpolated, which
        is exact where the display is regular); or a pulse when the movie starts, as many as it was
        shown, at `frame_rate`.
    frame_rate : float, optional
        Frames per second. Needed with "start" and with a single pulse.
    where : str
        File and variable, for messages.

    Returns
    -------
    onsets : (frame,) float64, s
        With k "start" pulses, those of k showings after one another.
    notes : list of str

    Raises
    ------
    InputError
        If the number of pulses does not fit; the first suspicious gap or double is named.
    """
    triggers = _checked(triggers, where)
    if frames_per_trigger == START:
        return _from_starts(triggers, n_frames, frame_rate, where), []
    per = int(frames_per_trigger)
    expected = -(-n_frames // per)
    if triggers.size != expected:
        raise _wrong_count(triggers, n_frames, per, expected, where)
    if per == 1:
        return triggers, _suspicions(triggers)
    if triggers.size > 1:
        step = float(np.median(np.diff(triggers)))
    elif frame_rate:
        step = per / float(frame_rate)
    else:
        raise InputError(
            "a single trigger does not say how fast the frames follow",
            where=where,
            remedy="Give frame_rate= (Hz), too.",
        )
    lasts = np.append(np.diff(triggers), step)
    # Over a pause frames are not stretched: they follow at the usual pace, then it pauses.
    pauses = np.flatnonzero(lasts > MISSING * step)
    lasts[pauses] = step
    group, within = np.divmod(np.arange(n_frames), per)
    onsets = triggers[group] + within / per * lasts[group]
    notes = _suspicions(triggers)
    if pauses.size and not notes:
        i = int(pauses[0])
        notes.append(
            f"trigger {i} at {triggers[i]:.6g} s is followed by a gap of "
            f"{(triggers[i + 1] - triggers[i]) / step:.1f} intervals ({pauses.size} such gaps): "
            "its frames are taken to follow at the usual pace"
        )
    return onsets, notes


def split_showings(
    triggers, n_frames: int, frames_per_trigger: int = 1, where: str = "triggers"
) -> list[np.ndarray]:
    """Triggers of each showing of a movie, if there are a multiple of what one showing has.

    Raises
    ------
    InputError
        If there is a pause inside of a showing, or a showing has too few or too many triggers.
    """
    triggers = _checked(triggers, where)
    expected = -(-n_frames // int(frames_per_trigger))
    n_showings, rest = divmod(triggers.size, expected)
    if n_showings <= 1 and triggers.size < 1.5 * expected:
        return [triggers]
    steps = np.diff(triggers)
    pauses = np.flatnonzero(steps > PAUSE * np.median(steps)) + 1 if steps.size else steps
    edges = np.arange(1, max(n_showings, 1)) * expected
    if not rest and (np.isin(pauses, edges).all() or np.isin(edges, pauses).all()):
        return np.split(triggers, edges)
    cuts = [0, *pauses.tolist(), triggers.size]
    sizes = np.diff(cuts)
    odd = np.flatnonzero(sizes != expected)
    usual = np.count_nonzero(sizes == expected)
    if usual and odd.size:
        i = int(odd[0])
        piece = triggers[cuts[i] : cuts[i + 1]]
        suspect = _first_suspect(piece, too_many=piece.size > expected, first=cuts[i])
        raise InputError(
            f"showing {i + 1} (triggers {cuts[i]} to {cuts[i + 1] - 1}, from {piece[0]:.6g} s) has "
            f"{piece.size:,} triggers, expected {expected:,}{suspect}",
            where=where,
            remedy="Mend the triggers of this showing, or leave it out.",
        )
    if not rest:
        return np.split(triggers, edges)
    raise _wrong_count(triggers, n_frames, int(frames_per_trigger), expected, where)


def find_dropped_frames(onsets) -> tuple[np.ndarray, np.ndarray]:
    """Frames that stayed on screen for more than one usual interval.

    Parameters
    ----------
    onsets : (frame,), s, ascending

    Returns
    -------
    frame : (drop,) int64
        Index of the frame that stayed.
    missed : (drop,) int64
        Refreshes that were missed after it: 1 for a gap of two intervals.
    """
    steps = np.diff(np.asarray(onsets, dtype=np.float64))
    if not steps.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    ratio = steps / np.median(steps)
    frame = np.flatnonzero(ratio > MISSING)
    return frame, np.rint(ratio[frame]).astype(np.int64) - 1


def regularity(onsets) -> Regularity | None:
    """Jitter, dropped frames and the worst interval of a movie; None for fewer than 3 frames.

    A gap of more than ten intervals is a pause, no drop.
    """
    steps = np.diff(np.asarray(onsets, dtype=np.float64))
    if steps.size < 2:
        return None
    usual = float(np.median(steps))
    pause = steps > LONGEST_HOLD * usual
    off = np.where(pause, 0.0, np.abs(steps - usual))
    stayed, missed = find_dropped_frames(onsets)
    near = steps[(off <= usual / 2) & ~pause]
    return Regularity(
        period=usual,
        n_intervals=int(steps.size),
        jitter=float(near.std()),
        worst=float(off.max()),
        worst_frame=int(off.argmax()),
        n_dropped=int(missed[~pause[stayed]].sum()),
        n_late=int(np.count_nonzero(off > 0.1 * usual)),
        n_short=int(np.count_nonzero(steps < SPURIOUS * usual)),
        n_pauses=int(np.count_nonzero(pause)),
    )


def frame_period(onsets: np.ndarray, where: str) -> float:
    """Usual interval between frames, s: the mean of those near the median.

    Parameters
    ----------
    onsets : (frame,) or (showing, frame), s
    """
    steps = np.diff(np.atleast_2d(onsets), axis=1).ravel()
    if not steps.size:
        raise InputError(
            "has a single frame, so nothing says how long it was shown",
            where=where,
            remedy="Give frame_rate= (Hz): the frame is shown for 1 / frame_rate.",
        )
    usual = np.median(steps)
    return float(steps[np.abs(steps - usual) <= usual / 2].mean())


def check_units(times, frame_rate, where: str, frames_between: int = 1) -> None:
    """Refuse times of frames that are in milliseconds or samples instead of seconds.

    Intervals of more than a second are accepted if `frame_rate` says the same.

    Raises
    ------
    InputError
        With the number that shows it, and what to divide by.
    """
    steps = np.diff(np.asarray(times, dtype=np.float64))
    if not steps.size:
        return
    usual = float(np.median(steps)) / frames_between
    if frame_rate and 0.5 < usual * frame_rate < 2:
        return
    remedy, looks = None, ""
    whole = bool((np.asarray(times) == np.rint(times)).all())
    if usual > 1 and whole and (usual > 50 or frame_rate):
        looks = "look like samples"
        remedy = "Divide them by the sampling rate of the recording."
        if frame_rate:
            remedy = f"Divide them by the sampling rate (about {usual * frame_rate:,.0f} Hz)."
    if usual > 1 and remedy is None and 2 <= usual <= 500:
        looks, remedy = "look like milliseconds", "Divide them by 1000."
    if usual > 500 and remedy is None:
        looks = "look like samples or microseconds"
        remedy = "Divide them by the sampling rate (or by 1e6)."
    if usual < 1e-5:
        looks, remedy = "are no seconds", "Check their unit: give seconds."
    if remedy:
        raise InputError(
            f"the usual interval between frames is {usual:.4g} s: the times {looks}",
            where=where,
            remedy=f"{remedy} If they are right, give frame_rate={1 / usual:.4g}, too.",
        )


def _checked(triggers, where: str) -> np.ndarray:
    triggers = np.asarray(triggers, dtype=np.float64).ravel()
    bad = np.flatnonzero(~np.isfinite(triggers))
    back = np.flatnonzero(np.diff(triggers) <= 0)
    if not triggers.size:
        raise InputError("there is none", where=where, remedy="Give times in seconds.")
    if bad.size:
        raise InputError(
            f"trigger {bad[0]} is NaN or infinite",
            where=where,
            remedy="Give times in seconds, and leave out those that are unknown.",
        )
    if back.size:
        i = int(back[0])
        raise InputError(
            f"trigger {i + 1} ({triggers[i + 1]:.9g} s) does not come after trigger {i} "
            f"({triggers[i]:.9g} s); {back.size} such places",
            where=where,
            remedy="Sort them, and leave out duplicates.",
        )
    return triggers


def _from_starts(starts: np.ndarray, n_frames: int, frame_rate, where: str) -> np.ndarray:
    if not frame_rate:
        raise InputError(
            "they mark the start of a movie, and nothing says how fast its frames follow",
            where=where,
            remedy="Give frame_rate= (Hz).",
        )
    lasts = n_frames / float(frame_rate)
    close = np.flatnonzero(np.diff(starts) < lasts - 0.5 / float(frame_rate))
    if close.size:
        i = int(close[0])
        raise InputError(
            f"start {i + 1} at {starts[i + 1]:.6g} s comes {starts[i + 1] - starts[i]:.4g} s after "
            f"start {i}, before the movie ends ({n_frames:,} frames at {float(frame_rate):.6g} Hz "
            f"last {lasts:.4g} s); {close.size} such places",
            where=where,
            remedy="Check frame_rate; if there is a trigger with every frame or every n-th, give "
            "frames_per_trigger=1 or n.",
        )
    own = np.arange(n_frames) / float(frame_rate)
    return (starts[:, None] + own).ravel()


def _wrong_count(triggers, n_frames: int, per: int, expected: int, where: str) -> InputError:
    count = triggers.size
    too_many = count > expected
    suspect = _first_suspect(triggers, too_many=too_many)
    every = "" if per == 1 else f", one with every {per} frames"
    fits = _fitting(n_frames, count)
    remedy = "Mend the triggers, or give the onset of every frame with frame_times=."
    if not suspect:
        suspect = "; the intervals between them are regular"
        remedy = (
            "The recording may have begun later or ended earlier than the movie, or a pulse "
            "before or after it was recorded, too: give those of its frames."
        )
    if count == 1:
        suspect = ""
    if fits and abs(fits - per) > 0:
        remedy += f" If a trigger comes with every {fits} frames, give frames_per_trigger={fits}."
    if count < 0.1 * expected:
        remedy += (
            " If triggers mark the start of the movie, give frames_per_trigger='start' and "
            "frame_rate=."
        )
    return InputError(
        f"there are {count:,} triggers for {n_frames:,} frames (expected {expected:,}{every})"
        f"{suspect}",
        where=where,
        remedy=remedy,
    )


def _first_suspect(triggers: np.ndarray, *, too_many: bool, first: int = 0) -> str:
    """What is odd about the triggers, in words that continue a sentence."""
    steps = np.diff(triggers)
    if steps.size < 2:
        return ""
    ratio = steps / np.median(steps)
    gaps, doubles = np.flatnonzero(ratio > MISSING), np.flatnonzero(ratio < SPURIOUS)
    if too_many and not doubles.size or not too_many and not gaps.size:
        return ""
    if too_many:
        i = int(doubles[0])
        return (
            f": trigger {first + i + 1} at {triggers[i + 1]:.6g} s comes only {ratio[i]:.2g} "
            f"intervals after the one before: it may be spurious ({doubles.size} such)"
        )
    i = int(gaps[0])
    n = round(ratio[i]) - 1
    missing = "one trigger" if n == 1 else f"{n} triggers"
    return (
        f": trigger {first + i} at {triggers[i]:.6g} s is followed by a gap of {ratio[i]:.1f} "
        f"intervals: {missing} may be missing ({gaps.size} such gap{'s' * (gaps.size > 1)})"
    )


def _suspicions(triggers: np.ndarray) -> list[str]:
    """A note where the count is right but a missing trigger may hide behind a spurious one."""
    missing = _first_suspect(triggers, too_many=False)
    spurious = _first_suspect(triggers, too_many=True)
    if not (missing and spurious):
        return []
    return [
        f"the number of triggers is right, but{missing.removeprefix(':')};{spurious[1:]}: frames "
        "between the two may be off by one"
    ]


def _fitting(n_frames: int, count: int) -> int | None:
    """Frames per trigger that would explain the count, if there is such a number."""
    near = round(n_frames / count)
    return next(
        (n for n in (near, near + 1, near - 1) if n > 1 and -(-n_frames // n) == count), None
    )
