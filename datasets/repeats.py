"""Which part of a recording is the repeated test: found from the frames themselves, by one rule.

Trials, or stretches of the movie, that show identical frames are repeats. Everything here works on
*frame numbers*: equal ones stand for identical frames (`number_frames`).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recurrence import Stretch, recurring_clips, shows_part_of

MIN_DISTINCT_FRAMES = 10  # a flash, a blank or a flicker between few frames is no test movie
NEARLY = 0.02  # share of a clip's different frames that may deviate in a nearly identical trial
MAX_SHIFT = 3  # frames by which a trial may be out of step after frames were dropped

Words = Callable[[int], str]  # says a number of frames in seconds


@dataclass(frozen=True)
class Clip:
    """One piece of movie and the trials that show it, in their order in time."""

    trials: tuple[int, ...]
    reference: int  # the trial that says which frames the clip has; others may end earlier


@dataclass(frozen=True)
class Choice:
    """What is the test, and why. Every trial is in a clip, in `train` or in `left_out`."""

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
            bad = np.flatnonzero(~np.isfinite(slab.reshape(len(slab), -1)).all(axis=1))
            if bad.size:
                raise InputError(
                    f"frame {len(numbers) + bad[0]} holds NaN or infinity (frames are counted "
                    "from 0)",
                    where=where,
                    remedy="Replace it by what was on screen, for example grey, and export again.",
                )
        for frame in slab:
            digest = hashlib.blake2b(frame.tobytes(), digest_size=16).digest()
            numbers.append(known.setdefault(digest, len(known)))
    return np.asarray(numbers, dtype=np.int64)


def on_equal_steps(numbers: np.ndarray, onsets: np.ndarray, step: float) -> np.ndarray:
    """Frame numbers on screen at equal steps (s) from the first onset.

    A frame that came late or was dropped so stands where it was seen, and trials can be compared
    frame by frame. Onsets ascend; a frame stays until the next one.
    """
    # Interval by interval: an error in `step` must not add up over a long trial.
    place = np.concatenate([[0], np.cumsum(np.rint(np.diff(onsets) / step))]).astype(np.int64)
    if np.array_equal(place, np.arange(place.size)):
        return numbers
    return numbers[np.searchsorted(place, np.arange(place[-1] + 1), side="right") - 1]


def repeats_in_trials(
    shown: Sequence[np.ndarray], min_frames: int, where: str, words: Words = "{} frames".format
) -> Choice | None:
    """Choose the test among trials: those whose frames are identical are repeats.

    Blank or constant trials and those with fewer than `MIN_DISTINCT_FRAMES` different frames never
    count. A trial that ends earlier counts with what it shows. A trial that deviates from the
    repeats in a frame or two stays among them and is reported; one that is out of step with them
    after a dropped frame, or shows only a part of the clip, is left out of train and test, and is
    reported.

    Parameters
    ----------
    shown : sequence of (frame,) int arrays
        Frame numbers of each trial at equal steps from its onset.
    min_frames : int
        A training trial that shows this many frames of the test in sequence is left out.
    where : str
        File and variable, for the error message.
    words : callable
        Says a number of frames in seconds.

    Returns
    -------
    Choice, or None if no two trials are repeats.

    Raises
    ------
    InputError
        If it is not clear which of several repeated clips is the test.
    """
    rich = [i for i, trial in enumerate(shown) if np.unique(trial).size >= MIN_DISTINCT_FRAMES]
    groups, left_out, notes = _group(shown, rich, by_rule=True)
    clips = [clip for clip in groups if len(clip.trials) > 1]
    notes += plain_repeats(shown)
    if not clips:
        return None
    repeated = {i for clip in clips for i in clip.trials}
    single = set(range(len(shown))) - repeated - set(left_out)
    lengths = [len(shown[clip.reference]) for clip in clips]
    tested, kept = _tested(clips, lengths, bool(single), where, words)
    notes += _kept_notes(kept, [len(shown[clip.reference]) for clip in kept], words)
    train = [*single, *(i for clip in kept for i in clip.trials)]
    train, leaking, said = _without_leaks(shown, train, tested, min_frames)
    return Choice(
        clips=tuple(tested),
        train=tuple(train),
        left_out=tuple(sorted([*left_out, *leaking])),
        reason=_reason(tested, [len(shown[clip.reference]) for clip in tested], words),
        notes=tuple(notes + said),
    )


def plain_repeats(shown: Sequence[np.ndarray]) -> list[str]:
    """A note if trials are identical but show too few different frames to be a test."""
    few = Counter(t.tobytes() for t in shown if np.unique(t).size < MIN_DISTINCT_FRAMES)
    count = sum(n for n in few.values() if n > 1)
    if not count:
        return []
    return [
        f"{count} trials are identical to others but show fewer than {MIN_DISTINCT_FRAMES} "
        "different frames, too few for a test found by itself (test= can choose them)"
    ]


def chosen_repeats(
    shown: Sequence[np.ndarray], chosen: Sequence[int], min_frames: int, said: str
) -> Choice:
    """Take the trials that the user chose as the test; those with identical frames form a clip.

    Parameters
    ----------
    shown : sequence of (frame,) int arrays
        Frame numbers of every trial at equal steps from its onset.
    chosen : sequence of int
        Which trials are the test.
    min_frames : int
        A training trial that shows this many frames of the test in sequence is left out.
    said : str
        What the user said, for the reason.
    """
    clips, _, notes = _group(shown, list(chosen), by_rule=False)
    train = [i for i in range(len(shown)) if i not in set(chosen)]
    train, leaking, leaks = _without_leaks(shown, train, clips, min_frames)
    reason = f"{said} ({len(chosen)} trial{'s' if len(chosen) != 1 else ''}"
    if len(clips) > 1:
        reason += f", {len(clips)} different clips"
    return Choice(tuple(clips), tuple(train), tuple(leaking), reason + ")", tuple(notes + leaks))


def repeats_in_movie(
    numbers: np.ndarray,
    breaks: Sequence[int],
    min_frames: int,
    where: str,
    words: Words = "{} frames".format,
) -> tuple[list[Stretch], Choice] | None:
    """Choose the test in a movie without trials: clips of at least `min_frames` that recur.

    See `recurring_clips` for the method and for what it cannot find.

    Parameters
    ----------
    numbers : (frame,) int
        Frame numbers in order.
    breaks : sequence of int
        Frames before which time jumps.
    min_frames : int
        Shortest clip, frames.

    Returns
    -------
    stretches : list of (start, stop)
        The movie cut into showings and what lies between them, in order.
    choice : Choice
        Its trials are indices of `stretches`. (None for both if nothing recurs.)

    Raises
    ------
    InputError
        If it is not clear which of several repeated clips is the test.
    """
    min_frames = max(int(min_frames), MIN_DISTINCT_FRAMES)
    found = recurring_clips(numbers, breaks, min_frames, MIN_DISTINCT_FRAMES, NEARLY)
    if not found:
        return None
    between = _between(
        [showing for showings in found for showing in showings], breaks, len(numbers)
    )
    stretches = sorted([*between, *(showing for showings in found for showing in showings)])
    place = {stretch: i for i, stretch in enumerate(stretches)}
    shown = [numbers[start:stop] for start, stop in stretches]
    clips = [
        Clip(tuple(sorted(place[showing] for showing in showings)), place[showings[0]])
        for showings in found
    ]
    lengths = [len(shown[clip.reference]) for clip in clips]
    something_else = sum(stop - start for start, stop in between) >= min_frames
    tested, kept = _tested(clips, lengths, something_else, where, words)
    notes = _kept_notes(kept, [len(shown[clip.reference]) for clip in kept], words)
    for clip in tested:
        for i in clip.trials:
            notes += _deviation_note([i], shown[i], shown[clip.reference], "stretch")
    tested_trials = {i for clip in tested for i in clip.trials}
    train = [i for i in range(len(stretches)) if i not in tested_trials]
    train, leaking, said = _without_leaks(shown, train, tested, min_frames, "stretch")
    reason = _reason(tested, [len(shown[clip.reference]) for clip in tested], words)
    choice = Choice(tuple(tested), tuple(train), tuple(leaking), reason, notes=tuple(notes + said))
    return stretches, choice


def _group(
    shown: Sequence[np.ndarray], members: Sequence[int], *, by_rule: bool
) -> tuple[list[Clip], list[int], list[str]]:
    """Trials with identical frames together, nearly identical ones with them.

    By rule, a trial out of step or a part of a clip is left out; if the user chose the trials, it
    is a clip of its own.
    """
    exact: dict[bytes, list[int]] = defaultdict(list)
    for i in members:
        exact[np.ascontiguousarray(shown[i], dtype=np.int64).tobytes()].append(i)
    # The most frequent sequence first, so that the rare variant is compared with the common one.
    families = sorted(exact.values(), key=lambda f: (-len(f), -len(shown[f[0]]), f[0]))
    groups: list[list[int]] = []
    references: list[int] = []
    sharing: dict[int, set[int]] = defaultdict(set)
    left_out: list[int] = []
    notes: list[str] = []
    for family in families:
        trial = shown[family[0]]
        home, relation = _relation(trial, len(family), groups, references, sharing, shown)
        if relation in ("same", "nearly"):
            if relation == "same" and len(trial) > len(shown[references[home]]):
                references[home] = family[0]
            notes += _deviation_note(family, trial, shown[references[home]])
            groups[home].extend(family)
        elif relation == "apart" or not by_rule:
            for number in np.unique(trial).tolist():
                sharing[number].add(len(groups))
            groups.append(list(family))
            references.append(family[0])
        else:
            left_out += family
            how = "out of step with" if relation == "out of step" else "only in part equal to"
            notes.append(f"{_trials(family)}: {how} the repeats, left out (test= can choose them)")
    clips = [
        Clip(tuple(sorted(group)), reference)
        for group, reference in zip(groups, references, strict=True)
    ]
    clips.sort(key=lambda clip: clip.trials[0])
    return clips, left_out, notes


def _relation(trial, size, groups, references, sharing, shown) -> tuple[int, str]:
    """The group a trial belongs to and how: same, nearly, part, out of step; or apart."""
    numbers = np.unique(trial).tolist()
    # A group that shares at least half of the frames shares one of the rarest half and one more.
    rarest = sorted(numbers, key=lambda n: len(sharing.get(n, ())))[: len(numbers) // 2 + 1]
    candidates = set().union(*(sharing.get(number, ()) for number in rarest))
    votes = Counter(
        {home: sum(home in sharing.get(number, ()) for number in numbers) for home in candidates}
    )
    for home, shared in votes.most_common(20):
        if 2 * shared < len(numbers):
            break
        reference = shown[references[home]]
        tolerance = max(1, int(NEARLY * np.unique(reference).size))
        short, long = sorted((len(trial), len(reference)))
        deviating = _deviating(trial, reference)
        if deviating == 0:
            return home, "same" if 2 * short >= long else "part"
        if size > 1 and 4 * size > len(groups[home]):
            continue  # as well attested as the other one: a clip in its own right
        if deviating <= tolerance and 2 * short >= long:
            return home, "nearly"
        if _out_of_step(trial, reference, tolerance):
            return home, "out of step"
    return -1, "apart"


def _deviating(trial: np.ndarray, reference: np.ndarray) -> int:
    n = min(len(trial), len(reference))
    return int(np.count_nonzero(trial[:n] != reference[:n]))


def _out_of_step(trial: np.ndarray, reference: np.ndarray, tolerance: int) -> bool:
    n = min(len(trial), len(reference))
    first = int(np.argmax(trial[:n] != reference[:n]))
    for shift in range(1, MAX_SHIFT + 1):
        for early, late in ((trial, reference), (reference, trial)):
            rest = min(len(early) - first - shift, len(late) - first)
            if rest >= MIN_DISTINCT_FRAMES and tolerance >= np.count_nonzero(
                early[first + shift :][:rest] != late[first:][:rest]
            ):
                return True
    return False


def _tested(
    clips: list[Clip], lengths: list[int], something_else: bool, where: str, words: Words
) -> tuple[list[Clip], list[Clip]]:
    """The clips that are the test, and those that were merely shown more than once."""
    counts = [len(clip.trials) for clip in clips]
    most = max(counts)
    tested = [clip for clip, count in zip(clips, counts, strict=True) if 2 * count >= most]
    kept = [clip for clip, count in zip(clips, counts, strict=True) if 4 * count <= most]
    order = sorted(range(len(clips)), key=lambda i: -counts[i])
    listed = ", ".join(f"{words(lengths[i])} x {counts[i]}" for i in order[:6])
    listed += ", ..." if len(clips) > 6 else ""
    if len(tested) + len(kept) < len(clips):
        why = f"{len(clips)} clips are repeated, unequally often ({listed})"
    elif len(clips) > 1 and not kept and not something_else:
        why = f"every frame is repeated ({listed}), and nothing says what to fit on"
    else:
        return tested, kept
    raise InputError(
        f"it is not clear which part is the repeated test: {why}",
        where=where,
        remedy="Say it: test=\"kind == 'repeat'\" over the columns of the trials table, or "
        "test=[(start, stop), ...] in seconds.",
    )


def _without_leaks(
    shown: Sequence[np.ndarray],
    train: Iterable[int],
    clips: Sequence[Clip],
    min_frames: int,
    noun: str = "trial",
) -> tuple[list[int], list[int], list[str]]:
    """Training trials without those that show parts of the test; they would flatter every fit."""
    min_frames = max(min_frames, MIN_DISTINCT_FRAMES)
    tests = [shown[clip.reference] for clip in clips]
    clean, leaking = [], []
    for i in sorted(train):
        leaks = any(shows_part_of(shown[i], t, min_frames, MIN_DISTINCT_FRAMES) for t in tests)
        (leaking if leaks else clean).append(i)
    if not leaking:
        return clean, leaking, []
    note = f"{_trials(leaking, noun)}: parts of the test movie, left out of the training data"
    return clean, leaking, [note]


def _between(showings: list[Stretch], breaks: Sequence[int], n_frames: int) -> list[Stretch]:
    """What lies between the showings, cut where time jumps."""
    taken = np.zeros(n_frames + 1, dtype=bool)
    for start, stop in showings:
        taken[start:stop] = True
    cuts = sorted({0, n_frames, *(int(b) for b in breaks), *(e for s in showings for e in s)})
    return [(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True) if not taken[a]]


def _deviation_note(
    trials: Sequence[int], trial: np.ndarray, reference: np.ndarray, noun: str = "trial"
) -> list[str]:
    deviating = _deviating(trial, reference)
    if not deviating:
        return []
    return [
        f"{_trials(trials, noun)}: {deviating} of {len(trial)} frames deviate from the other "
        "repeats; kept among them"
    ]


def _kept_notes(clips: Sequence[Clip], lengths: Sequence[int], words: Words) -> list[str]:
    return [
        f"{words(length)} of movie are shown {len(clip.trials)} times, far less often than the "
        "test: they stay in the training data"
        for clip, length in zip(clips, lengths, strict=True)
    ]


def _reason(clips: Sequence[Clip], lengths: Sequence[int], words: Words) -> str:
    counts = sorted(len(clip.trials) for clip in clips)
    if len(clips) == 1:
        return f"{counts[0]} trials with identical frames ({words(lengths[0])})"
    times = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]}-{counts[-1]}"
    total = words(sum(lengths))
    return f"{len(clips)} clips ({total} in all), each in {times} trials with identical frames"


def _trials(trials: Sequence[int], noun: str = "trial") -> str:
    plural = f"{noun}{'es' if noun.endswith('ch') else 's'}"
    listed = ", ".join(str(i) for i in sorted(trials)[:8])
    more = f", ... ({len(trials)} in all)" if len(trials) > 8 else ""
    return f"{plural if len(trials) > 1 else noun} {listed}{more} (counted from 0)"
