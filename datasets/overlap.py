"""Whether one movie contains a stretch of another: a score on it would be a score on training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

SAME_STRETCH = 1.0  # s; identical pictures this long in train and test are an overlap
FEW_PICTURES = 8  # fewer distinct pictures than this prove nothing


@dataclass(frozen=True, eq=False)
class Shown:
    """Hashes of the pictures in the order shown, each change once, and pictures per second."""

    pictures: np.ndarray
    per_second: float


@dataclass(frozen=True)
class Overlap:
    """How many pictures of the one are in the other, and from which picture there."""

    covered: int
    of: int
    first: int


def shown_pictures(prints: np.ndarray, frame_of_bin: np.ndarray, bin_width: float) -> Shown:
    """The pictures on screen, in order, from the hash of every frame and the frame of every bin."""
    shown = frame_of_bin[(frame_of_bin >= 0) & (frame_of_bin < prints.size)]
    if shown.size == 0:
        return Shown(prints[:0], 0.0)
    sequence = prints[shown]
    sequence = sequence[np.concatenate([[True], sequence[1:] != sequence[:-1]])]
    return Shown(sequence, sequence.size / (shown.size * bin_width))


def find_overlap(movie: Shown, other: Shown) -> Overlap | None:
    """Stretches of `movie`, about a second long or longer, that `other` shows as well.

    Blank, constant or alternating stretches are alike everywhere and never count.
    """
    shown, train = movie.pictures, other.pictures
    length = min(max(FEW_PICTURES, round(SAME_STRETCH * movie.per_second)), shown.size)
    if length < FEW_PICTURES // 2 or train.size < length:
        return None
    ours, theirs = _window_hashes(shown, length), _window_hashes(train, length)
    same = np.flatnonzero(np.isin(ours, theirs))
    same = [t for t in same if _is_telling(shown[t : t + length])]
    if not same:
        return None
    covered = np.zeros(shown.size, dtype=bool)
    for t in same:
        covered[t : t + length] = True
    first = int(np.flatnonzero(theirs == ours[same[0]])[0])
    return Overlap(int(covered.sum()), shown.size, first)


def fingerprint(frame: np.ndarray) -> int:
    """Hash of one frame, 64 bits."""
    return int.from_bytes(hashlib.blake2b(frame.tobytes(), digest_size=8).digest(), "little")


def _window_hashes(prints: np.ndarray, length: int) -> np.ndarray:
    """Rolling polynomial hash (mod 2^64) of every stretch of `length` pictures."""
    base = 0x9E3779B97F4A7C15
    power = np.full(prints.size + 1, base, dtype=np.uint64)
    power[0] = 1
    power = np.cumprod(power, dtype=np.uint64)
    inverse = np.full(prints.size + 1, pow(base, -1, 2**64), dtype=np.uint64)
    inverse[0] = 1
    inverse = np.cumprod(inverse, dtype=np.uint64)
    total = np.concatenate([[np.uint64(0)], np.cumsum(prints * power[:-1], dtype=np.uint64)])
    return (total[length:] - total[:-length]) * inverse[: prints.size - length + 1]


def _is_telling(stretch: np.ndarray) -> bool:
    # Two pictures can only take turns: full-field flicker of black and white is alike everywhere.
    distinct = np.unique(stretch).size
    return distinct >= min(FEW_PICTURES, stretch.size) or (distinct > 2 and stretch.size >= 20)
