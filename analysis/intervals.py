"""Confidence intervals over blocks of time, given only where their coverage was shown.

A score on held-out data varies because another stretch of time would have held other stimuli and
other spikes. The interval is a jack-knife-t: leave out one short block at a time, take the
pseudo-values, and use Student's t. Neighbouring blocks are not independent (slow gain, slow
contrast, drift), so the error is widened by the dependence measured within longer stretches, and
the degrees of freedom shrink with it. Refusing an interval whenever much dependence is *measured*
would be worse: those shown would be the ones where it was under-estimated by chance.

In simulation with 120 or 180 s of held-out data (5 blocks, 6 cells of 2 to 50 Hz, autocorrelated
rates, slow shared gain, drift), intervals called 95 % cover the truth in 94-99 % of runs for bits
per spike and deviance explained, and in 91-98 % for variance explained of traces. If the contrast
of the stimulus wanders over 3 s as well, they cover 92-97 %. See docs/metrics.md.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from neuromodels.analysis.metrics import METRICS, Metric
from neuromodels.analysis.sums import Sums, checked, divide

BLOCK_SECONDS = 6.0  # what counts as one block when asking whether a test is long enough
MIN_BLOCKS = 20
COVERED = ("bits_per_spike", "deviance_explained", "variance_explained")  # coverage simulated
_PIECE_SECONDS = 3.0  # left out one at a time
_STRETCH_SECONDS = 36.0  # dependence between pieces is measured within these


class Interval(NamedTuple):
    """Lower and upper limit, and why there is none ("" where there is one)."""

    low: np.ndarray
    high: np.ndarray
    reason: np.ndarray


class Jackknife(NamedTuple):
    """Bias-corrected estimate over blocks, its standard error and degrees of freedom."""

    estimate: np.ndarray
    standard_error: np.ndarray
    degrees_of_freedom: np.ndarray


def interval_or_reason(
    metric: str,
    prediction,
    responses,
    *,
    bin_width: float,
    blocks=None,
    null_rate=None,
    other=None,
    reduction: str = "none",
    level: float = 0.95,
) -> Interval:
    """Confidence interval of a score or of a difference of two models, or why there is none.

    Parameters
    ----------
    metric : str
        Name in `METRICS`.
    prediction, responses : array
        As for the score itself.
    bin_width : float
        Seconds per bin.
    blocks : array (time,), optional
        Label per bin, changing wherever time jumps.
    null_rate : array (neuron,), optional
        Training mean counts per bin, for the Poisson scores.
    other : array, optional
        Prediction of a second model with the same inputs: the interval is for the paired difference
        of the scores, prediction minus other, on the bins that both predict.
    reduction : {"none", "mean", "ratio"}
    level : float

    Returns
    -------
    Interval
        `low`, `high` and `reason`, each of the shape of the score: (neuron,) or a single value.

    Raises
    ------
    ValueError
        For an unknown metric or arrays that do not fit one another.
    """
    score = _metric(metric)
    if not 0 < level < 1:
        raise ValueError(f"level: {level}, expected between 0 and 1")
    prediction, other = _on_common_bins(prediction, other)
    prediction, responses, *_ = checked(prediction, responses, blocks)
    blocks = np.zeros(responses.shape[1], int) if blocks is None else np.asarray(blocks)
    # lead-ins and other bins without data must not count as time
    scored = _has_data(prediction) & _has_data(responses)
    if not scored.any():
        shape = responses.shape[2:] if reduction == "none" else ()
        return _no_interval(np.full(shape, _length_problem(0)))
    blocks, responses = blocks[scored], responses[:, scored]
    pieces = sub_blocks(blocks, bin_width, _PIECE_SECONDS)
    first = score.sums(prediction[..., scored, :], responses, pieces, null_rate)
    point = score.evaluate(first.total(), reduction)
    second = None
    if other is not None:
        second = score.sums(other[..., scored, :], responses, pieces, null_rate)
        point = point - score.evaluate(second.total(), reduction)

    n_blocks = np.full(point.shape, _count_blocks(blocks, bin_width))
    if reduction == "none":
        share = (first.arrays["n"] > 0).mean(axis=0)
        n_blocks = np.floor(n_blocks * share).astype(int)
    if metric not in COVERED:
        return _no_interval(
            np.full(point.shape, f"no interval for {metric} has shown its coverage")
        )
    too_short = np.array([_length_problem(int(n)) for n in n_blocks.flat]).reshape(point.shape)
    if np.all(too_short != ""):
        return _no_interval(too_short)

    result = jackknife_over_blocks(
        score, first, second, reduction=reduction, stretches=_stretch_of(pieces, blocks, bin_width)
    )
    half = stdtrit(result.degrees_of_freedom, 0.5 + level / 2) * result.standard_error
    finite = np.isfinite(point) & np.isfinite(half)
    reason = np.where(finite, "", "the score is not finite")
    reason = np.where(finite & (half == 0), "the score does not vary over blocks", reason)
    reason = np.where(too_short != "", too_short, reason)
    low, high = (np.where(reason == "", result.estimate + side * half, np.nan) for side in (-1, 1))
    return Interval(low, high, reason)


def jackknife_over_blocks(
    metric: Metric,
    sums: Sums,
    other: Sums | None = None,
    *,
    reduction: str = "none",
    stretches=None,
) -> Jackknife:
    """Score (or difference of two) with its standard error from leaving out blocks.

    Parameters
    ----------
    metric : Metric
    sums, other : Sums
        Sums per block of one model, and of a second model on the same bins.
    reduction : {"none", "mean", "ratio"}
    stretches : array (block,), optional
        The longer stretch of time that each block lies in. Correlation between neighbours within a
        stretch widens the standard error; without it blocks count as independent.

    Returns
    -------
    Jackknife

    Notes
    -----
    Pseudo-values p_b = B θ - (B-1) θ_{-b}; SE² = Var(p)/B · D with design effect
    D = 1 + (m-1) ρ, m the mean number of blocks per stretch and ρ ≥ 0 the mean correlation of p at
    lags 1 and 2 within stretches plus half its standard error 1/√B; degrees of freedom B/D - 1.

    References
    ----------
    Tukey (1958), Ann. Math. Stat. 29:614 (jack-knife-t). Kish (1965), Survey Sampling (design
    effect of clusters).
    """
    n = len(sums.blocks)
    if n < 2:
        raise ValueError(f"sums: {n} block; a jack-knife over blocks needs at least 2")
    without = 1.0 - np.eye(n)
    whole = metric.evaluate(sums.total(), reduction)
    left = metric.evaluate(sums.weighted(without), reduction)
    if other is not None:
        if not np.array_equal(other.blocks, sums.blocks):
            raise ValueError("other: its blocks are not those of sums; a difference is paired")
        whole = whole - metric.evaluate(other.total(), reduction)
        left = left - metric.evaluate(other.weighted(without), reduction)
    used = np.ones((n, *whole.shape), bool)
    if reduction == "none":
        used = sums.arrays["n"] > 0  # a cell's own blocks only
    n = np.maximum(used.sum(axis=0), 1)
    with np.errstate(invalid="ignore"):
        pseudo = n * whole - (n - 1) * left
        estimate = np.where(used, pseudo, 0.0).sum(axis=0) / n
        deviation = np.where(used, pseudo - estimate, 0.0)
        variance = divide((deviation**2).sum(axis=0), n - 1)
        effect = _design_effect(deviation, stretches)
        error = np.sqrt(variance / n * effect)
        return Jackknife(estimate, error, np.maximum(n / effect - 1, 2.0))


def score_by_block(
    metric: str, prediction, responses, blocks, *, null_rate=None, reduction: str = "none"
) -> tuple[np.ndarray, np.ndarray]:
    """Score of every block by itself: the spread to show when there is no interval.

    Returns
    -------
    labels, scores
        (block,) and (block, neuron), or (block,) with a reduction.
    """
    score = _metric(metric)
    sums = score.sums(prediction, responses, blocks, null_rate)
    return sums.blocks, score.evaluate(sums.arrays, reduction)


def sub_blocks(blocks, bin_width: float, block_seconds: float = BLOCK_SECONDS) -> np.ndarray:
    """Cut a recording's blocks into parts of about equal length, none across a jump in time.

    Parameters
    ----------
    blocks : array (time,)
        Label per bin; a new one wherever time jumps.
    bin_width : float
        Seconds per bin.
    block_seconds : float
        Length aimed at. A block is cut into the whole number of parts that comes nearest; blocks
        shorter than half of it are put together with the next ones.

    Returns
    -------
    np.ndarray
        (time,) labels 0, 1, 2, …

    Raises
    ------
    ValueError
        If a length is not positive.
    """
    blocks = np.asarray(blocks)
    for name, value in (("bin_width", bin_width), ("block_seconds", block_seconds)):
        if not value > 0:
            raise ValueError(f"{name}: {value}, expected seconds > 0")
    target = block_seconds / bin_width
    starts = np.flatnonzero(np.r_[True, blocks[1:] != blocks[:-1]]) if blocks.size else []
    edges: list[int] = []
    open_since = None  # start of short blocks that wait for company
    for start, stop in zip(starts, [*starts[1:], len(blocks)], strict=True):
        if stop - start < target / 2:
            open_since = start if open_since is None else open_since
            if stop - open_since >= target:
                edges.append(open_since)
                open_since = None
            continue
        if open_since is not None:
            edges.append(open_since)
            open_since = None
        n_parts = max(1, round((stop - start) / target))
        edges.extend(start + (stop - start) * part // n_parts for part in range(n_parts))
    if open_since is not None:
        edges.append(open_since)
    return np.searchsorted(edges, np.arange(len(blocks)), side="right") - 1


def _metric(name: str) -> Metric:
    if name not in METRICS:
        raise ValueError(f"metric: {name!r}, expected one of {', '.join(METRICS)}")
    return METRICS[name]


def _on_common_bins(prediction, other):
    """Both predictions with NaN wherever one of them has none."""
    prediction = np.asarray(prediction, float)
    if other is None:
        return prediction, None
    other = np.asarray(other, float)
    if other.shape != prediction.shape:
        raise ValueError(f"other: has shape {other.shape}, prediction {prediction.shape}")
    missing = np.isnan(prediction) | np.isnan(other)
    return np.where(missing, np.nan, prediction), np.where(missing, np.nan, other)


def _has_data(values: np.ndarray) -> np.ndarray:
    """Bins (time,) where some neuron, in some trial, has a value."""
    return np.isfinite(values).any(axis=(0, 2) if values.ndim == 3 else 1)


def _count_blocks(blocks: np.ndarray, bin_width: float) -> int:
    """How many blocks of BLOCK_SECONDS there are, at most what their whole duration holds."""
    n_labels = len(np.unique(sub_blocks(blocks, bin_width)))
    return min(n_labels, round(len(blocks) * bin_width / BLOCK_SECONDS))


def _length_problem(n_blocks: int) -> str:
    needed = f"{MIN_BLOCKS} blocks of {BLOCK_SECONDS:g} s"
    reason = f"test too short for an interval ({n_blocks} of {needed})"
    return "" if n_blocks >= MIN_BLOCKS else reason


def _no_interval(reason: np.ndarray) -> Interval:
    return Interval(np.full(reason.shape, np.nan), np.full(reason.shape, np.nan), reason)


def _stretch_of(pieces: np.ndarray, blocks: np.ndarray, bin_width: float) -> np.ndarray:
    stretches = sub_blocks(blocks, bin_width, _STRETCH_SECONDS)
    return stretches[np.unique(pieces, return_index=True)[1]]


def _design_effect(deviation: np.ndarray, stretches) -> np.ndarray:
    """By how much dependence within stretches inflates the variance of the mean, at least 1."""
    if stretches is None:
        return np.ones(deviation.shape[1:])
    stretches = np.asarray(stretches)
    variance = (deviation**2).mean(axis=0)
    correlations = []
    for lag in (1, 2):
        together = stretches[lag:] == stretches[:-lag]
        if together.any():
            product = (deviation[lag:] * deviation[:-lag])[together].mean(axis=0)
            correlations.append(product / np.where(variance > 0, variance, 1.0))
    if not correlations:
        return np.ones(deviation.shape[1:])
    per_stretch = len(stretches) / len(np.unique(stretches))
    correlation = np.mean(correlations, axis=0)
    # cells share what makes blocks alike: one whose own estimate is low takes the mean of all
    shared = np.nanmean(correlation) if np.isfinite(correlation).any() else 0.0
    # raised by half its error: dependence that is missed costs more than dependence overstated
    correlation = np.clip(np.fmax(correlation, shared) + 0.5 / np.sqrt(len(stretches)), 0.0, 1.0)
    return 1 + (per_stretch - 1) * correlation
