"""Agreement of halves of the trials: reliability, the ceiling that it implies, and drift.

A ceiling of r is the square root of a reliability; the two are never interchangeable.
"""

from typing import NamedTuple

import numpy as np

from neuromodels.analysis.ceilings import correlation, repeats, root
from neuromodels.analysis.sums import divide

HALVES = ("interleaved", "first_second")
_WORKING_SET = 2**23  # elements of the means of several splits held at a time


class SplitHalf(NamedTuple):
    """Agreement of two halves of the trials.

    r is the correlation of the halves' means, reliability its Spearman-Brown extension to all
    trials of both halves, and cc_max the ceiling of r, √reliability.
    """

    r: np.ndarray
    reliability: np.ndarray
    cc_max: np.ndarray


class Stationarity(NamedTuple):
    """Whether first and second half of the trials agree less than interleaved halves do.

    difference is the interleaved minus the first/second ceiling of r, error its standard deviation
    if the order of the trials did not matter.
    """

    non_stationary: np.ndarray
    difference: np.ndarray
    error: np.ndarray
    interleaved: SplitHalf
    first_second: SplitHalf


def cc_max_halves(responses, *, n_splits: int = 30, seed: int = 0) -> np.ndarray:
    """Ceiling of r from random halves of the trials, the older way.

    Parameters
    ----------
    responses : array (trial, time, neuron)
    n_splits : int
        Random splits; the correlation of the halves is averaged over them.
    seed : int

    Returns
    -------
    np.ndarray
        (neuron,); NaN where the halves do not correlate positively.

    Notes
    -----
    CC_max = √(2 / (1 + 1/CC_half)). It holds for 2⌊N/2⌋ trials, so that for an odd N it is lower
    than the ceiling of the mean over all N. Prefer `ceilings.cc_max`.

    References
    ----------
    Hsu, Borst & Theunissen (2004), Network 15:91.
    """
    responses = repeats(responses)
    n = len(responses)
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(n) for _ in range(n_splits)])
    first = _membership(orders[:, : n // 2], n)
    second = _membership(orders[:, n // 2 : 2 * (n // 2)], n)
    r = _correlation_of_means(responses, first, second)
    defined = np.isfinite(r)
    half = divide(np.where(defined, r, 0.0).sum(axis=0), defined.sum(axis=0))
    return root(_spearman_brown(half))


def split_half(responses, halves: str = "interleaved") -> SplitHalf:
    """Reliability of the mean response from two halves of the trials, and the ceiling it implies.

    Parameters
    ----------
    responses : array (trial, time, neuron)
        At least two trials, in the order in which they were recorded.
    halves : {"interleaved", "first_second"}
        Every other trial, or the earlier against the later ones. The second falls below the first
        where the recording drifts.

    Returns
    -------
    SplitHalf
        r of the halves, reliability 2r/(1+r) (Spearman-Brown) and cc_max = √reliability. With an
        odd number of trials the last (interleaved) or middle one (first_second) is left out.

    Raises
    ------
    ValueError
        With fewer than two trials or an unknown kind of halves.

    References
    ----------
    Spearman (1910), Br. J. Psychol. 3:271; Brown (1910), Br. J. Psychol. 3:296.
    """
    if halves not in HALVES:
        raise ValueError(f"halves: {halves!r}, expected one of {', '.join(HALVES)}")
    responses = repeats(responses)
    first, second = _halves(np.arange(len(responses))[None], halves)
    return _as_split_half(_correlation_of_means(responses, first, second)[0])


def reliability(responses, halves: str = "interleaved") -> np.ndarray:
    """Share of the variance of the mean response that would repeat: Spearman-Brown of two halves.

    See `split_half`. This is a squared correlation; the ceiling of r is its square root.
    """
    return split_half(responses, halves).reliability


def stationarity(responses, *, n_orders: int = 200, seed: int = 0) -> Stationarity:
    """Whether the response to the same stimulus changed from the first to the last trials.

    Parameters
    ----------
    responses : array (trial, time, neuron)
        At least four trials in the order of recording.
    n_orders : int
        Random orders of the trials that tell how far the two ceilings differ by chance.
    seed : int

    Returns
    -------
    Stationarity
        `non_stationary` (neuron,) where the interleaved and the first/second ceiling differ by
        more than they do in 19 of 20 random orders of the trials.

    Notes
    -----
    A permutation test of size 5 %: exact whenever the order of the trials does not matter, also
    where the difference is far from normal (few trials, low rates).
    """
    responses = repeats(responses, at_least=4)
    n = len(responses)
    rng = np.random.default_rng(seed)
    orders = np.stack([np.arange(n)] + [rng.permutation(n) for _ in range(n_orders)])
    ceilings = {}
    for halves in HALVES:
        first, second = _halves(orders, halves)
        ceilings[halves] = _as_split_half(_correlation_of_means(responses, first, second))
    difference = ceilings["interleaved"].cc_max - ceilings["first_second"].cc_max
    shuffled = difference[1:]
    defined = np.isfinite(shuffled)
    error = np.sqrt(
        divide((np.where(defined, shuffled, 0.0) ** 2).sum(axis=0), defined.sum(axis=0))
    )
    with np.errstate(invalid="ignore"):
        as_large = (np.abs(shuffled) >= np.abs(difference[0])).sum(axis=0)
    flag = np.isfinite(difference[0]) & (1 + as_large <= 0.05 * (1 + defined.sum(axis=0)))
    return Stationarity(
        flag, difference[0], error, *(SplitHalf(*(v[0] for v in ceilings[h])) for h in HALVES)
    )


def _spearman_brown(r) -> np.ndarray:
    return divide(2 * r, 1 + r)


def _as_split_half(r) -> SplitHalf:
    reliable = _spearman_brown(r)
    return SplitHalf(r, reliable, root(reliable))


def _membership(chosen: np.ndarray, n_trials: int) -> np.ndarray:
    """Chosen trials (split, k) as ones in (split, trial)."""
    ones = np.zeros((len(chosen), n_trials))
    np.put_along_axis(ones, chosen, 1.0, axis=1)
    return ones


def _halves(orders: np.ndarray, halves: str) -> tuple[np.ndarray, np.ndarray]:
    """Membership (split, trial) of both halves for each order of the trials."""
    n = orders.shape[1]
    k = n // 2
    if halves == "interleaved":
        first, second = orders[:, 0 : 2 * k : 2], orders[:, 1 : 2 * k : 2]
    else:
        first, second = orders[:, :k], orders[:, n - k :]
    return _membership(first, n), _membership(second, n)


def _correlation_of_means(responses, first, second) -> np.ndarray:
    """Correlation over time of the mean of some trials with that of others, (split, neuron)."""
    n_trials, n_time, n_neurons = responses.shape
    present = np.isfinite(responses)
    complete = bool(present.all())
    centre = divide(np.where(present, responses, 0.0).sum((0, 1)), present.sum((0, 1)))
    values = np.where(present, responses - centre, 0.0)
    r = np.empty((len(first), n_neurons))
    step = max(1, _WORKING_SET // (n_time * n_neurons))  # splits at a time
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        means, use = [], True
        for chosen in (first[part], second[part]):
            total = np.tensordot(chosen, values, axes=(1, 0))
            if complete:
                n = chosen.sum(axis=1)[:, None, None]
            else:
                n = np.tensordot(chosen, present.astype(float), axes=(1, 0))
            means.append(divide(total, n))
            use = use & (n > 0.5)
        for i, (a, b) in enumerate(zip(*means, strict=True)):
            both = np.broadcast_to(use[i], a.shape)
            r[start + i] = correlation(a[None], b[None], both[None])
    return r
