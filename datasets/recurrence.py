"""Stretches of a movie that are shown again, found by exact comparison of frame numbers.

Frame numbers: equal ones stand for identical frames (`repeats.number_frames`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Stretch = tuple[int, int]  # first frame, frame after the last


def recurring_clips(
    numbers: np.ndarray,
    breaks: Sequence[int],
    min_frames: int,
    min_distinct: int,
    nearly: float,
) -> list[list[Stretch]]:
    """Clips that a movie shows more than once, each as the list of its showings.

    Windows of `min_frames` frames are compared exactly (ranks by prefix doubling, O(n log² n));
    the window that occurs most often is extended to both sides for as long as at least half of
    its occurrences agree; then the next one among the remaining frames.

    Parameters
    ----------
    numbers : (frame,) int
    breaks : sequence of int
        Frames before which time jumps; no showing runs across.
    min_frames : int
        Shortest clip. Clips with a shorter period (gratings, flicker) are not found.
    min_distinct : int
        Windows with fewer different frames do not count.
    nearly : float
        A showing may differ from the others in this share of the clip's different frames (at
        least in one frame) before it is cut at the first difference.

    Returns
    -------
    list of lists of (start, stop)
        The first showing of each list is the longest that shows what most of them show. Where
        showings follow each other without a pause, a clip begins where repeating begins.
    """
    edges = sorted({0, len(numbers), *(int(b) for b in breaks)})
    n_windows = len(numbers) - min_frames + 1
    if n_windows < 2:
        return []
    ranks = window_ranks(numbers, min_frames)
    usable = distinct_per_window(numbers, min_frames) >= min_distinct
    for edge in edges[1:-1]:
        usable[max(0, edge - min_frames + 1) : edge] = False
    free = np.ones(len(numbers), dtype=bool)
    clips = []
    while True:
        usable &= _all_free(free, min_frames)
        places = _most_frequent(ranks, usable, min_frames)
        if len(places) < 2:
            return clips
        showings = _extend(numbers, free, edges, places, min_frames, nearly)
        if not showings:
            # The window recurs sooner than the shortest clip would: it can never become one.
            usable[ranks == ranks[places[0]]] = False
            continue
        for start, stop in showings:
            free[start:stop] = False
        clips.append(showings)


def shows_part_of(
    stretch: np.ndarray, clip: np.ndarray, min_frames: int, min_distinct: int
) -> bool:
    """Whether a stretch shows at least `min_frames` frames of a clip in sequence.

    Both are (frame,) frame numbers. Runs with fewer than `min_distinct` different frames (grey
    between trials) do not count.
    """
    if len(stretch) < min_frames or len(clip) < min_frames:
        return False
    if np.count_nonzero(np.isin(stretch, clip)) < min_frames:
        return False
    ranks = window_ranks(np.concatenate([stretch, clip]), min_frames)
    rich = distinct_per_window(stretch, min_frames) >= min_distinct
    return bool(np.isin(ranks[: len(rich)][rich], ranks[len(stretch) :]).any())


def window_ranks(numbers: np.ndarray, length: int) -> np.ndarray:
    """Ranks of all windows of `length` frames: equal ranks if and only if equal windows."""
    ranks = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    size = 1
    while size < length:
        step = min(size, length - size)
        pairs = ranks[:-step] * (int(ranks.max()) + 1) + ranks[step:]
        ranks = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
        size += step
    return ranks


def distinct_per_window(numbers: np.ndarray, length: int) -> np.ndarray:
    """Number of different frames in each window of `length` frames."""
    n = len(numbers)
    order = np.argsort(numbers, kind="stable")
    previous = np.full(n, -1, dtype=np.int64)
    same = numbers[order[1:]] == numbers[order[:-1]]
    previous[order[1:][same]] = order[:-1][same]
    # Frame j is the first of its kind in the windows that begin after the previous such frame.
    first = np.maximum(previous + 1, np.arange(n) - length + 1)
    change = np.bincount(np.maximum(first, 0), minlength=n + 1)
    change[1:] -= 1
    return np.cumsum(change)[: n - length + 1]


def _all_free(free: np.ndarray, length: int) -> np.ndarray:
    total = np.concatenate([[0], np.cumsum(free)])
    return total[length:] - total[:-length] == length


def _most_frequent(ranks: np.ndarray, usable: np.ndarray, length: int) -> np.ndarray:
    """Places of the window with most occurrences that do not overlap; the earliest of equals."""
    index = np.flatnonzero(usable)
    if index.size < 2:
        return index[:0]
    order = index[np.argsort(ranks[index], kind="stable")]
    same = ranks[order[1:]] == ranks[order[:-1]]
    apart = np.concatenate([[True], ~same | (np.diff(order) >= length)])
    group = np.concatenate([[0], np.cumsum(~same)])
    counts = np.bincount(group, weights=apart).astype(np.int64)
    first = order[np.concatenate([[True], ~same])]
    best = np.lexsort((first, -counts))[0]
    return order[(group == best) & apart] if counts[best] > 1 else index[:0]


def _extend(numbers, free, edges, places, min_frames, nearly) -> list[Stretch]:
    """Grow a window around its occurrences into the clip that they show."""
    edges = np.asarray(edges)
    apart = int(np.diff(places).min())
    after = np.searchsorted(edges, places, side="right")
    # To the left all occurrences must agree: a showing that begins late has no beginning.
    room = min(apart - min_frames, int((places - edges[after - 1]).min()))
    back = 0
    while back < room:
        there = places - back - 1
        if not free[there].all() or np.unique(numbers[there]).size > 1:
            break
        back += 1
    starts, stops = places - back, edges[after]
    # To the right a minority may stop (the end of the recording) or differ (a dropped frame).
    clip = _common_sequence(numbers, free, starts, stops, min(apart, int((stops - starts).max())))
    if len(clip) < min_frames:
        return []
    tolerance = max(1, int(nearly * np.unique(clip).size))
    exact, nearly_exact = [], []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        stop = min(stop, start + len(clip))
        differ = np.flatnonzero(~free[start:stop] | (numbers[start:stop] != clip[: stop - start]))
        if 0 < differ.size <= tolerance and differ[-1] + 1 < stop - start:
            nearly_exact.append((start, stop))
        else:
            exact.append((start, start + int(differ[0]) if differ.size else stop))
    exact.sort(key=lambda showing: showing[0] - showing[1])
    return exact + nearly_exact if exact else []


def _common_sequence(numbers, free, starts, stops, room: int) -> np.ndarray:
    """What at least half of the showings (and at least two) have in common from their start."""
    needed = max(2, (len(starts) + 1) // 2)
    parts = []
    for offset in range(0, room, 256):
        at = starts[:, None] + np.arange(offset, min(offset + 256, room))
        inside = at < stops[:, None]
        at = np.minimum(at, len(numbers) - 1)
        common, votes = _modes(np.where(inside & free[at], numbers[at], -1))
        agree = votes >= needed
        n = agree.size if agree.all() else int(np.argmin(agree))
        parts.append(common[:n])
        if n < agree.size:
            break
    return np.concatenate(parts) if parts else numbers[:0]


def _modes(shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Most frequent non-negative entry per column, and how often it stands there."""
    best = np.full(shown.shape[1], -1, dtype=np.int64)
    votes = np.zeros(shown.shape[1], dtype=np.int64)
    run = np.zeros(shown.shape[1], dtype=np.int64)
    before = np.full(shown.shape[1], -1, dtype=np.int64)
    for row in np.sort(shown, axis=0):
        run = np.where(row == before, run + 1, 1)
        better = (run > votes) & (row >= 0)
        votes = np.where(better, run, votes)
        best = np.where(better, row, best)
        before = row
    return best, votes
