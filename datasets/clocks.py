"""Two clocks that saw the same pulses: the offset and the drift between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuromodels.datasets.errors import InputError

LARGEST_DRIFT = 1e-3  # quartz clocks differ by less than 100 ppm
PROBE = 24  # pulses that are compared with every place in the other train
PROBES = 5  # places in the first train that are tried
FEWEST = 3  # matched pulses that a line is trusted to
FEW = 12  # that are needed where most pulses have no partner
OUTLIER = 6.0  # robust standard deviations
MATCHING = 0.5  # share of the pulses in the time that both saw; fewer match by chance
AMBIGUOUS = 0.9  # share of matches at which a second alignment is as good


@dataclass(frozen=True, eq=False)
class ClockMap:
    """How to turn times of clock a into those of clock b: ``b = offset + (1 + drift) * a``.

    Attributes
    ----------
    offset : float, s
    drift : float
        1e-4 is 100 ppm: clock b runs faster by 0.1 ms per second.
    matched_a, matched_b : (pulse,) int64
        Pulses that belong together.
    unmatched_a, unmatched_b : (pulse,) int64
        Pulses that the other clock missed.
    n_outliers : int
        Matched pulses that the line was not fitted to.
    residual_rms, residual_max : float, s
        Of the matched pulses.
    """

    offset: float
    drift: float
    matched_a: np.ndarray
    matched_b: np.ndarray
    unmatched_a: np.ndarray
    unmatched_b: np.ndarray
    n_outliers: int
    residual_rms: float
    residual_max: float

    def words(self) -> str:
        """The numbers as one sentence."""
        said = (
            f"{self.matched_a.size:,} pulses matched: offset {self.offset:.6g} s, drift "
            f"{self.drift * 1e6:.4g} ppm, residuals {self.residual_rms * 1e3:.3g} ms rms and "
            f"{self.residual_max * 1e3:.3g} ms at most"
        )
        missed = [
            f"{pulses.size:,} pulses of clock {name} have no partner"
            for name, pulses in (("a", self.unmatched_a), ("b", self.unmatched_b))
            if pulses.size
        ]
        return "; ".join([said, *missed])


def to_clock(times, clock: ClockMap) -> np.ndarray:
    """Times of clock a on clock b, s."""
    return clock.offset + (1 + clock.drift) * np.asarray(times, dtype=np.float64)


def align_clocks(times_a, times_b, where: str = "pulses") -> ClockMap:
    """Find offset and drift between two clocks from pulses that both recorded.

    Parameters
    ----------
    times_a, times_b : (pulse,), s, ascending
        The same pulses on either clock. Pulses may be missing on both sides, in the middle as well
        as at the ends, if the intervals between pulses are irregular enough to tell which is which;
        perfectly regular pulses need equal numbers.
    where : str
        For messages.

    Returns
    -------
    ClockMap

    Raises
    ------
    InputError
        If the pulses do not match, or match equally well in several ways.

    Notes
    -----
    Runs of pulses of a are laid at every pulse of b, allowing for missing ones. The best places
    are followed outwards, with the line refitted as it grows; the one that matches most pulses is
    kept, and a line is fitted by least squares without outliers (residuals beyond six robust
    standard deviations).
    """
    a, b = _checked(times_a, f"{where}: clock a"), _checked(times_b, f"{where}: clock b")
    steps = np.concatenate([np.diff(a), np.diff(b)])
    tolerance = 0.2 * float(np.quantile(steps, 0.05))
    fits = []
    for place, offset in _candidates(a, b, tolerance):
        pairs = _followed(a, b, place, offset, tolerance)
        if pairs[0].size < (FEWEST if 2 * pairs[0].size >= min(a.size, b.size) else FEW):
            continue
        slope, _, _, rms = _line(a, b, *pairs)
        if abs(slope - 1) <= LARGEST_DRIFT:
            fits.append((pairs[0].size, -rms, pairs))
    fits.sort(key=lambda fit: fit[:2], reverse=True)
    if not fits or fits[0][0] < MATCHING * _seen_by_both(a, b, *fits[0][2]):
        raise InputError(
            f"the {a.size:,} pulses of one clock do not match the {b.size:,} of the other",
            where=where,
            remedy="Check that both hold the same pulses, in seconds, and that the clocks differ "
            f"by less than {LARGEST_DRIFT * 1e6:.0f} ppm.",
        )
    best = fits[0][2]
    other = next((fit for fit in fits[1:] if _elsewhere(fit[2], best)), None)
    if other is not None and other[0] >= AMBIGUOUS * fits[0][0]:
        # Residuals tell irregular pulses apart; of regular ones, equal numbers do.
        clearly = -fits[0][1] < 0.5 * -other[1] and fits[0][0] >= other[0]
        if not clearly:
            if a.size != b.size:
                raise InputError(
                    f"{a.size:,} and {b.size:,} pulses match in several ways ({fits[0][0]:,} and "
                    f"{other[0]:,} pairs): they are too regular to tell which are missing",
                    where=where,
                    remedy="Give the pulses that both clocks saw, or a train with irregular "
                    "intervals.",
                )
            best = (np.arange(a.size), np.arange(b.size))
    return _clock_map(a, b, *best)


def _checked(times, where: str) -> np.ndarray:
    try:
        times = np.asarray(times, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise InputError("are no numbers", where=where, remedy="Give seconds.") from None
    bad = np.flatnonzero(~np.isfinite(times))
    back = np.flatnonzero(np.diff(times) <= 0)
    if bad.size or back.size:
        i = int(bad[0]) if bad.size else int(back[0]) + 1
        what = "is NaN or infinite" if bad.size else "does not come after the one before"
        raise InputError(f"pulse {i} {what}", where=where, remedy="Give ascending times, s.")
    if times.size < FEWEST:
        raise InputError(
            f"has {times.size} pulses",
            where=where,
            remedy=f"Offset and drift need {FEWEST} pulses at least, far apart.",
        )
    return times


def _candidates(a: np.ndarray, b: np.ndarray, tolerance: float) -> list[tuple[int, float]]:
    """Runs of pulses (first pulse of a) and the offsets at which they fit b best."""
    found = []
    size = min(PROBE, a.size)
    places = np.unique(np.linspace(0, a.size - size, PROBES).astype(int))
    for place in places.tolist():
        run = a[place : place + size]
        scores = []
        # The pulse that is laid on b may be missing there: several are tried.
        for anchor in range(min(4, size)):
            shifted = run - run[anchor]
            for first in range(0, b.size, 4096):
                away = _distance(b[first : first + 4096, None] + shifted, b)
                # A pulse that has a partner counts more the closer it is.
                score = np.maximum(0, 1 - away / tolerance).sum(1)
                top = np.argsort(score)[-4:]
                scores += [(float(score[i]), float(b[first + i] - run[anchor])) for i in top]
        scores.sort(reverse=True)
        kept: list[float] = []
        for score, offset in scores:
            if len(kept) < 4 and all(abs(offset - known) > tolerance for known in kept):
                kept.append(offset)
                found.append((score, place, offset))
    if a.size == b.size:
        found.append((np.inf, 0, float(b[0] - a[0])))
    found.sort(reverse=True)
    return [(place, offset) for _, place, offset in found[:16]]


def _distance(times: np.ndarray, train: np.ndarray) -> np.ndarray:
    after = np.clip(np.searchsorted(train, times), 1, train.size - 1)
    return np.minimum(np.abs(times - train[after - 1]), np.abs(train[after] - times))


def _followed(a, b, place: int, offset: float, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs from the run at `place`, followed outwards as the line gets surer."""
    low, high = place, min(place + PROBE, a.size)
    slope, shift = 1.0, offset
    while True:
        i, j = _pairs(shift + slope * a[low:high], b, tolerance)
        if i.size >= FEWEST:
            new_slope, new_shift, _, _ = _line(a[low:high], b, i, j)
            # A short run says little of the drift.
            if abs(new_slope - 1) <= LARGEST_DRIFT:
                slope, shift = new_slope, new_shift
            else:
                shift = float(np.median(b[j] - slope * a[low:high][i]))
        if low == 0 and high == a.size:
            return _pairs(shift + slope * a, b, tolerance)
        grow = max(1, (high - low) // 2)
        low, high = max(0, low - grow), min(a.size, high + grow)


def _pairs(moved: np.ndarray, b: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Pulses that are each other's nearest, within the tolerance."""
    after = np.clip(np.searchsorted(b, moved), 1, b.size - 1)
    nearest = np.where(moved - b[after - 1] < b[after] - moved, after - 1, after)
    away = np.abs(b[nearest] - moved)
    order = np.lexsort((away, nearest))
    first = np.ones(order.size, dtype=bool)
    first[1:] = nearest[order][1:] != nearest[order][:-1]
    kept = np.sort(order[first & (away[order] <= tolerance)])
    return kept, nearest[kept]


def _line(a, b, i, j) -> tuple[float, float, np.ndarray, float]:
    """Slope and offset by least squares without outliers, which pairs were used, and rms."""
    x, y = a[i], b[j]
    used = np.ones(x.size, dtype=bool)
    slope, offset = 1.0, 0.0
    for _ in range(8):
        middle, height = x[used].mean(), y[used].mean()
        spread = ((x[used] - middle) ** 2).sum()
        slope = float(((x[used] - middle) * (y[used] - height)).sum() / spread)
        offset = float(height - slope * middle)
        off = np.abs(y - offset - slope * x)
        limit = OUTLIER * 1.4826 * float(np.median(off)) + 1e-9
        now = off <= limit
        if now.sum() < max(FEWEST, x.size // 2) or np.array_equal(now, used):
            break
        used = now
    rms = float(np.sqrt(np.mean(off[used] ** 2)))
    return slope, offset, used, rms


def _seen_by_both(a, b, i, j) -> int:
    """Pulses of the clock that has fewer of them in the time that both recorded."""
    slope, offset, _, _ = _line(a, b, i, j)
    moved = offset + slope * a
    first, last = max(moved[0], b[0]), min(moved[-1], b[-1])
    inside = [np.count_nonzero((t >= first) & (t <= last)) for t in (moved, b)]
    return int(min(inside))


def _elsewhere(pairs, best) -> bool:
    """Whether two alignments pair the same pulses differently."""
    both, one, two = np.intersect1d(pairs[0], best[0], return_indices=True)
    return not both.size or np.mean(pairs[1][one] != best[1][two]) > 0.5


def _clock_map(a, b, i, j) -> ClockMap:
    slope, offset, used, _ = _line(a, b, i, j)
    off = b[j] - offset - slope * a[i]
    return ClockMap(
        offset=offset,
        drift=slope - 1,
        matched_a=i,
        matched_b=j,
        unmatched_a=np.setdiff1d(np.arange(a.size), i),
        unmatched_b=np.setdiff1d(np.arange(b.size), j),
        n_outliers=int(np.count_nonzero(~used)),
        residual_rms=float(np.sqrt(np.mean(off**2))),
        residual_max=float(np.abs(off).max()),
    )
