"""Which part of a movie is the repeated test: found from the frames themselves, by one rule.

Stretches that show identical frames are repeats. Everything here works on *frame numbers*: equal
numbers stand for identical frames (`number_frames`), negative ones are never equal to anything.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from neuromodels.datasets.errors import InputError

MIN_DISTINCT_FRAMES = 10  # a flash, a blank or a flicker between few frames is no test movie
NEARLY = 0.02  # share of a clip's distinct frames that may differ in a nearly identical trial
MAX_SHIFT = 3  # frames by which a trial may lag behind after frames were dropped


@dataclass(frozen=True)
class Clip:
    """One piece of movie and the trials that show it, in their order in time."""

    trials: tuple[int, ...]
    reference: int  # the longest of the trials; a shorter one was cut off at its end


@dataclass(frozen=True)
class Choice:
    """What is the test and why.

    `clips` are the test; `train` and `left_out` are trials. Each trial is in one of them.
    """

    clips: tuple[Clip, ...]
    train: tuple[int, ...]
    left_out: tuple[int, ...]
    reason: str
    notes: tuple[str, ...] = ()


def number_frames(slabs: Iterable[np.ndarray], where: str) -> np.ndarray:
    """Give identical frames the same number, in the order of first appearance.

    Parameters
    ----------
    slabs : iterable of (frame, ...) arrays
        The movie in pieces, so that it may be larger than memory.
    where : str
        File and variable, for the error message.

    Returns
    -------
    (frame,) int64

    Raises
    ------
    InputError
        If a frame holds NaN or infinity.
    """
    known: dict[bytes, int] = {}
    numbers: list[int] = []
    for slab in slabs:
        slab = np.ascontiguousarray(slab)
        if np.issubdtype(slab.dtype, np.floating):
            pixels = slab.reshape(len(slab), -1)
            bad = np.flatnonzero(~np.isfinite(pixels).all(axis=1))
            if bad.size:
                raise InputError(
                    f"frame {len(numbers) + bad[0]} holds NaN or infinity "
                    f"({bad.size} such frames from there on)",
                    where=where,
                    remedy="Replace them by what was on screen (for example grey) and export again.",
                )
        for frame in slab:
            digest = hashlib.blake2b(frame.tobytes(), digest_size=16).digest()
            numbers.append(known.setdefault(digest, len(known)))
    return np.asarray(numbers, dtype=np.int64)


def repeats_in_trials(
    shown: Sequence[np.ndarray], where: str, seconds: Callable[[int], str] = "{} frames".format
) -> Choice | None:
    """Choose the test among trials: those whose frames are identical are repeats.

    Blank or constant trials and those with fewer than `MIN_DISTINCT_FRAMES` different frames never
    count. A trial that is cut off at its end counts with what it shows. A trial that differs from
    the repeats in a frame or two stays among them and is reported; one that lags behind them after
    a dropped frame, or shows less than half of the clip, is in neither part, and is reported.

    Parameters
    ----------
    shown : sequence of (frame,) int arrays
        Frame numbers of each trial at equal steps from its onset.
    where : str
        File and variable, for the error message.
    seconds : callable
        Turns a number of frames into words, for the reason.

    Returns
    -------
    Choice, or None if no two trials are repeats.

    Raises
    ------
    InputError
        If it is not clear which of several repeated clips is the test.
    """
    rich = [i for i, trial in enumerate(shown) if _distinct(trial) >= MIN_DISTINCT_FRAMES]
    groups, left_out, notes = _group(shown, rich, lenient=True)
    clips = [clip for clip in groups if len(clip.trials) > 1]
    plain = _plain_repeats(shown, set(rich))
    if plain:
        notes.append(
            f"{plain} trials are identical to others but show fewer than {MIN_DISTINCT_FRAMES} "
            "different frames: they are no test (say so with test= if they are)"
        )
    if not clips:
        return None
    single = [i for i in range(len(shown)) if not any(i in clip.trials for clip in clips)]
    single = [i for i in single if i not in left_out]
    lengths = [len(shown[clip.reference]) for clip in clips]
    tested, kept = _tested(clips, lengths, not single, where, seconds)
    for clip in kept:
        notes.append(
            f"{seconds(len(shown[clip.reference]))} of movie are shown {len(clip.trials)} times, "
            "far less often than the test: they stay in the training data"
        )
    train = sorted([*single, *(i for clip in kept for i in clip.trials)])
    reason = _describe(tested, [len(shown[clip.reference]) for clip in tested], seconds)
    return Choice(tuple(tested), tuple(train), tuple(sorted(left_out)), reason, tuple(notes))


def chosen_repeats(shown: Sequence[np.ndarray], chosen: Sequence[int], said: str) -> Choice:
    """Take the trials that the user chose as the test; trials with identical frames form a clip.

    Parameters
    ----------
    shown : sequence of (frame,) int arrays
        Frame numbers of every trial at equal steps from its onset.
    chosen : sequence of int
        Which trials are the test.
    said : str
        What the user said, for the reason.
    """
    groups, left_out, notes = _group(shown, list(chosen), lenient=False)
    tested = [i for clip in groups for i in clip.trials]
    if left_out:
        notes.append(f"chosen trials {_listed(left_out)} could not be used as repeats")
    train = tuple(i for i in range(len(shown)) if i not in set(tested) | set(left_out))
    counts = [len(clip.trials) for clip in groups]
    reason = f"{said}: {len(tested)} trials"
    if len(groups) > 1:
        reason += f", {len(groups)} different clips x {_span(counts)}"
    return Choice(tuple(groups), train, tuple(left_out), reason, tuple(notes))


def on_equal_steps(numbers: np.ndarray, onsets: np.ndarray, step: float) -> np.ndarray:
    """Frame numbers on screen at equal steps of `step` s from the first onset, so that a frame
    that came late or was dropped stands where it was seen. Onsets ascend; a frame stays until
    the next one."""
    place = np.rint((onsets - onsets[0]) / step).astype(np.int64)
    if np.array_equal(place, np.arange(place.size)):
        return numbers
    steps = np.arange(place[-1] + 1)
    return numbers[np.searchsorted(place, steps, side="right") - 1]


def _distinct(trial: np.ndarray) -> int:
    return np.unique(trial[trial >= 0]).size


def _group(
    shown: Sequence[np.ndarray], members: Sequence[int], *, lenient: bool
) -> tuple[list[Clip], list[int], list[str]]:
    """Trials with identical frames together, nearly identical ones with them.

    `lenient` is the search without a user's word: a lagging trial or a fragment is left out
    there, and is a clip of its own where the user chose it.
    """
    exact: dict[bytes, list[int]] = defaultdict(list)
    for i in members:
        exact[np.ascontiguousarray(shown[i], dtype=np.int64).tobytes()].append(i)
    # The most frequent sequence first: the rare variant is compared with the common one.
    families = sorted(exact.values(), key=lambda f: (-len(f), -len(shown[f[0]]), f[0]))
    groups: list[list[int]] = []
    sharing: dict[int, set[int]] = defaultdict(set)
    left_out: list[int] = []
    notes: list[str] = []
    for family in families:
        trial = shown[family[0]]
        home, relation = _relative(trial, len(family), groups, sharing, shown)
        if relation == "apart" or (relation in ("lags", "fragment") and not lenient):
            for number in np.unique(trial).tolist():
                sharing[number].add(len(groups))
            groups.append(list(family))
            continue
        if relation in ("lags", "fragment"):
            left_out.extend(family)
            how = (
                "lag behind the repeats after dropped frames"
                if relation == "lags"
                else "show less than half of the repeated clip"
            )
            notes.append(
                f"{_trials(family)} {how}: left out of train and test (test= can choose them)"
            )
            continue
        differ = int(_mismatch(trial, shown[groups[home][0]]).sum())
        if differ:
            notes.append(
                f"{_trials(family)} differ from the other repeats in {differ} of "
                f"{len(trial)} frames: kept among them"
            )
        groups[home].extend(family)
    clips = []
    for group in groups:
        trials = tuple(sorted(group))
        clips.append(Clip(trials, max(trials, key=lambda i: (len(shown[i]), group[0] == i))))
    clips.sort(key=lambda clip: clip.trials[0])
    return clips, sorted(left_out), notes


def _relative(trial, size, groups, sharing, shown) -> tuple[int, str]:
    """The group that a trial belongs to, and how: same, nearly, lags, fragment, or apart."""
    votes: Counter[int] = Counter()
    numbers = np.unique(trial[trial >= 0]).tolist()
    for number in numbers:
        votes.update(sharing.get(number, ()))
    for home, shared in votes.most_common(20):
        if 2 * shared < len(numbers):
            break
        reference = shown[groups[home][0]]
        tolerance = max(1, int(NEARLY * _distinct(reference)))
        differ = int(_mismatch(trial, reference).sum())
        short, long = sorted((len(trial), len(reference)))
        if differ == 0:
            return home, "same" if 2 * short >= long else "fragment"
        if 4 * size > len(groups[home]) and size > 1:
            continue  # as well attested as the other: a clip in its own right
        if differ <= tolerance and 2 * short >= long:
            return home, "nearly"
        if _lags(trial, reference, tolerance):
            return home, "lags"
    return -1, "apart"


def _mismatch(trial: np.ndarray, reference: np.ndarray) -> np.ndarray:
    n = min(len(trial), len(reference))
    return trial[:n] != reference[:n]


def _lags(trial: np.ndarray, reference: np.ndarray, tolerance: int) -> bool:
    first = int(np.argmax(_mismatch(trial, reference)))
    for shift in range(1, MAX_SHIFT + 1):
        for late, early in ((trial, reference), (reference, trial)):
            rest_late, rest_early = late[first + shift :], early[first:]
            n = min(len(rest_late), len(rest_early))
            enough = n >= MIN_DISTINCT_FRAMES
            if enough and int((rest_late[:n] != rest_early[:n]).sum()) <= tolerance:
                return True
    return False


def _plain_repeats(shown: Sequence[np.ndarray], rich: set[int]) -> int:
    plain = Counter(trial.tobytes() for i, trial in enumerate(shown) if i not in rich)
    return sum(count for count in plain.values() if count > 1)


def _tested(
    clips: list[Clip],
    lengths: list[int],
    nothing_else: bool,
    where: str,
    seconds: Callable[[int], str],
) -> tuple[list[Clip], list[Clip]]:
    """The clips that are the test, and those that were merely shown more than once."""
    counts = [len(clip.trials) for clip in clips]
    most = max(counts)
    tested = [clip for clip, count in zip(clips, counts, strict=True) if 2 * count >= most]
    kept = [clip for clip, count in zip(clips, counts, strict=True) if 4 * count <= most]
    listed = ", ".join(
        f"{seconds(length)} x {count}"
        for length, count in sorted(zip(lengths, counts, strict=True), key=lambda x: -x[1])[:6]
    ) + (", ..." if len(clips) > 6 else "")
    if len(tested) + len(kept) < len(clips):
        why = f"{len(clips)} clips are repeated, unequally often ({listed})"
    elif nothing_else and not kept and len(clips) > 1:
        why = f"all frames are repeated ({listed}), so nothing says what to fit on"
    else:
        return tested, kept
    raise InputError(
        f"it is not clear which part is the repeated test: {why}",
        where=where,
        remedy="Say which trials are the test, for example test=\"kind == 'repeat'\" over the columns "
        "of the trials table, or test=[(start, stop), ...] in seconds.",
    )


def _describe(clips: list[Clip], lengths: list[int], seconds: Callable[[int], str]) -> str:
    counts = [len(clip.trials) for clip in clips]
    if len(clips) == 1:
        return f"{counts[0]} trials with identical frames ({seconds(lengths[0])} each)"
    total = seconds(sum(lengths))
    return (
        f"{len(clips)} clips ({total} in all), each in {_span(counts)} trials with identical frames"
    )


def _span(counts: Sequence[int]) -> str:
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"


def _listed(trials: Sequence[int]) -> str:
    said = ", ".join(str(i) for i in sorted(trials)[:8])
    return said + (f", ... ({len(trials)} in all)" if len(trials) > 8 else "")


def _trials(trials: Sequence[int]) -> str:
    return f"trial{'s' if len(trials) > 1 else ''} {_listed(trials)} (counted from 0)"
