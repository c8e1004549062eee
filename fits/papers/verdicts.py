"""Whether a claim held: rules that are fixed before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

HELD, NOT_HELD, UNDECIDED = "held", "did not hold", "not decidable"
#: Single runs that differ by less than the spread between seeds decide nothing.
SEED_SPREAD = 0.08


@dataclass(frozen=True)
class Claim:
    """What was claimed, what was measured, and the verdict.

    Attributes
    ----------
    text : str
        The claim.
    verdict : {"held", "did not hold", "not decidable"}
        By a rule of this module.
    measured, expected, tolerance : str
        The values with units, and how far apart they may lie.
    seeds : int
        Fewest runs behind any of the measured values.
    source : str
        Who claims it: "paper", or "reference" for values measured before with another program.
    """

    text: str
    verdict: str
    measured: str
    expected: str
    tolerance: str
    seeds: int
    source: str = "paper"


def near(
    text: str,
    values: Sequence[float],
    reference: float,
    tolerance: float,
    *,
    source: str = "reference",
) -> Claim:
    """Judge whether the mean over seeds is a given value, within a share of it.

    Parameters
    ----------
    text : str
        The claim.
    values : sequence of float
        One per seed.
    reference : float
        What it should be.
    tolerance : float
        Largest relative deviation of the mean.
    source : str
        See `Claim`.

    Returns
    -------
    Claim
    """
    values = _known(values)
    said = (f"{reference:.4g}", f"{_percent(tolerance)} of it", len(values), source)
    if not len(values):
        return Claim(text, UNDECIDED, "not run", *said)
    off = values.mean() / reference - 1
    verdict = HELD if abs(off) <= tolerance else NOT_HELD
    return Claim(text, verdict, f"{values.mean():.4g} ({off:+.1%})", *said)


def all_near(
    text: str,
    groups: Mapping[str, tuple[Sequence[float], float, float]],
    *,
    source: str = "reference",
) -> Claim:
    """Judge whether several means are given values, each within a share of it.

    Parameters
    ----------
    text : str
        The claim.
    groups : mapping of str to (values, reference, tolerance)
        By name: values per seed, what their mean should be, largest relative deviation.
    source : str
        See `Claim`.

    Returns
    -------
    Claim
        Measured are those that are too far off, or else the one that uses most of its tolerance.
    """
    known = {name: (_known(v), ref, width) for name, (v, ref, width) in groups.items()}
    rule = " or ".join(sorted({_percent(width) for _, _, width in known.values()}, key=len))
    seeds = min((len(values) for values, _, _ in known.values()), default=0)
    said = (f"{len(known)} values", f"{rule} of each", seeds, source)
    if not seeds:
        return Claim(text, UNDECIDED, "not run", *said)
    off = {name: values.mean() / ref - 1 for name, (values, ref, _) in known.items()}
    used = {name: abs(off[name]) / width for name, (_, _, width) in known.items()}
    far = [name for name in known if used[name] > 1]
    if far:
        measured = "off are " + ", ".join(f"{name} ({off[name]:+.1%})" for name in far)
        return Claim(text, NOT_HELD, measured, *said)
    worst = max(used, key=lambda name: used[name])
    return Claim(text, HELD, f"at most {off[worst]:+.1%} ({worst})", *said)


def curve_near(
    text: str,
    curves: Sequence[Sequence[float]],
    reference: Sequence[float],
    tolerance: Sequence[float],
    times_s: Sequence[float],
) -> Claim:
    """Judge whether the mean curve over seeds follows a reference at every time.

    Parameters
    ----------
    text : str
        The claim.
    curves : sequence of sequence of float
        (seed, time).
    reference, tolerance, times_s : sequence of float
        (time,): value, largest relative deviation, and when, s.

    Returns
    -------
    Claim
        Measured is the deviation that uses most of its tolerance.
    """
    tolerance = np.asarray(tolerance, float)
    widths = sorted(set(tolerance.tolist()))
    said = " or ".join(map(_percent, widths)) + " at each time"
    expected = f"{len(reference)} values from {times_s[0]:g} to {times_s[-1]:g} s"
    rows = [np.asarray(c, float) for c in curves]
    if not rows or not all(np.isfinite(row).all() for row in rows):
        return Claim(text, UNDECIDED, "not run to the end", expected, said, len(rows), "reference")
    off = np.mean(rows, axis=0) / np.asarray(reference, float) - 1
    worst = int(np.argmax(np.abs(off) / tolerance))
    verdict = HELD if (np.abs(off) <= tolerance).all() else NOT_HELD
    measured = f"at most {off[worst]:+.1%} (at {times_s[worst]:g} s)"
    return Claim(text, verdict, measured, expected, said, len(rows), "reference")


def ordered(text: str, groups: Mapping[str, Sequence[float]], *, source: str = "paper") -> Claim:
    """Judge whether groups of runs come in the order in which they are given, lowest first.

    A step of the order holds if every run of the lower group lies below every run of the next;
    single runs also have to differ by more than the spread between seeds (8 %). It did not hold if
    the means are the other way round by the same rule; everything between is not decidable.

    Parameters
    ----------
    text : str
        The claim.
    groups : mapping of str to sequence of float
        Values per seed, by name, in the claimed order.
    source : str
        See `Claim`.

    Returns
    -------
    Claim
    """
    known = {name: _known(values) for name, values in groups.items()}
    measured = " < ".join(
        f"{name} {values.mean():.4g}" if len(values) else f"{name} not run"
        for name, values in known.items()
    )
    rule = f"all seeds apart; single ones by {SEED_SPREAD:.0%}"
    seeds = min(len(values) for values in known.values())
    steps = [_below(a, b) for a, b in zip(known.values(), list(known.values())[1:], strict=False)]
    if NOT_HELD in steps:
        verdict, measured = NOT_HELD, measured.replace(" < ", ", ")
    elif UNDECIDED in steps:
        verdict, measured = UNDECIDED, measured.replace(" < ", ", ")
    else:
        verdict = HELD
    return Claim(text, verdict, measured, " < ".join(known), rule, seeds, source)


def inside(
    text: str, values: Sequence[float], low: float, high: float, unit: str, *, source: str = "paper"
) -> Claim:
    """Judge whether the mean over seeds lies in a range.

    Parameters
    ----------
    text : str
        The claim.
    values : sequence of float
        One per seed.
    low, high : float
        The range; infinite where it is open.
    unit : str
        Of all three.
    source : str
        See `Claim`.

    Returns
    -------
    Claim
    """
    values = _known(values)
    if np.isinf(high):
        expected = f"at least {low:g}"
    elif np.isinf(low):
        expected = f"at most {high:g}"
    else:
        expected = f"{low:g} to {high:g}"
    expected = f"{expected} {unit}".rstrip()
    if not len(values):
        return Claim(text, UNDECIDED, "not run", expected, "mean of seeds", 0, source)
    verdict = HELD if low <= values.mean() <= high else NOT_HELD
    measured = f"{values.mean():.3g} {unit}".rstrip()
    return Claim(text, verdict, measured, expected, "mean of seeds", len(values), source)


def counted(
    text: str, successes: int, runs: int, share: float, *, expected: str, source: str = "paper"
) -> Claim:
    """Judge whether enough runs succeeded.

    Parameters
    ----------
    text : str
        The claim.
    successes, runs : int
        How many did, of how many.
    share : float
        Smallest share of them for the claim to hold.
    expected : str
        What is claimed, in words.
    source : str
        See `Claim`.

    Returns
    -------
    Claim
    """
    rule = "every run" if share >= 1 else f"at least {share:.0%} of the runs"
    if not runs:
        return Claim(text, UNDECIDED, "not run", expected, rule, 0, source)
    verdict = HELD if successes >= share * runs - 1e-9 else NOT_HELD
    return Claim(text, verdict, f"{successes} of {runs}", expected, rule, runs, source)


def rarer(
    text: str, few: tuple[int, int], many: tuple[int, int], *, names: tuple[str, str]
) -> Claim:
    """Judge whether something is rarer in one set of runs than in another.

    Held: the share is lower, and Fisher's exact test, one-sided, gives p < 0.05. Did not hold: the
    other way round by the same test. Everything between is not decidable.

    Parameters
    ----------
    text : str
        The claim.
    few, many : tuple of int
        (how often, of how many runs) where it should be rarer, and where not.
    names : tuple of str
        Of the two sets.

    Returns
    -------
    Claim
    """
    from scipy.stats import fisher_exact

    measured = ", ".join(f"{n}: {k[0]} of {k[1]}" for n, k in zip(names, (few, many), strict=True))
    rule, expected = "Fisher's exact test, p < 0.05", f"{names[0]} below {names[1]}"
    seeds = min(few[1], many[1])
    if not seeds:
        return Claim(text, UNDECIDED, measured, expected, rule, seeds)
    table = [[few[0], few[1] - few[0]], [many[0], many[1] - many[0]]]
    p_less, p_greater = (fisher_exact(table, side).pvalue for side in ("less", "greater"))
    verdict = HELD if p_less < 0.05 else NOT_HELD if p_greater < 0.05 else UNDECIDED
    return Claim(text, verdict, f"{measured} (p = {p_less:.2g})", expected, rule, seeds)


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _known(values: Sequence[float]) -> np.ndarray:
    values = np.atleast_1d(np.asarray(values, float))
    return values[np.isfinite(values)]


def _below(low: np.ndarray, high: np.ndarray) -> str:
    """Whether all of `low` lies below all of `high`, above it, or neither."""
    if not len(low) or not len(high):
        return UNDECIDED
    single = min(len(low), len(high)) == 1
    margin = 1 + SEED_SPREAD if single else 1.0
    if low.max() * margin < high.min():
        return HELD
    return NOT_HELD if low.min() > high.max() * margin else UNDECIDED
