"""How well any model could do: signal power, ceilings, references and signs of drift.

Functions of responses (trial, time, neuron) with NaN where a trial is missing; results are
(neuron,) float64, NaN where undefined. Ceilings from signal power come first: oracles err, in
opposite directions. A ceiling on r (`cc_max`) is the square root of a reliability; the two are
never interchangeable.
"""

from typing import NamedTuple

import numpy as np

from neuromodels.analysis.metrics import REDUCTIONS, bits_per_spike
from neuromodels.analysis.sums import (
    as_trials,
    divide,
    moment_sums,
    pair_covariances,
    signal_power_of,
)

HALVES = ("interleaved", "first_second")
_WORKING_SET = 2**23


class Estimate(NamedTuple):
    """A value per neuron and its standard error."""

    value: np.ndarray
    standard_error: np.ndarray


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


def signal_power(responses) -> Estimate:
    """Variance over time of the stimulus-driven response, free of noise, with its error.

    Parameters
    ----------
    responses : array (trial, time, neuron)
        At least two trials; NaN where missing.

    Returns
    -------
    Estimate
        The value may be ≤ 0: then no signal was measured. The standard error is by jack-knife
        over trials, NaN with fewer than three.

    Raises
    ------
    ValueError
        With fewer than two trials or a wrong shape.

    Notes
    -----
    SP = [Var(Σ_n y_n) - Σ_n Var(y_n)] / (N(N-1)), which is the mean covariance over pairs of
    trials; with missing responses, of each pair on its common bins. E[SP] = Var λ.

    References
    ----------
    Sahani & Linden (2003), NIPS 15.
    """
    arrays = moment_sums(None, responses, min_trials=2).total()
    rows, counts = pair_covariances(arrays)
    all_rows, all_counts = rows.sum(axis=-1, keepdims=True), counts.sum(axis=-1, keepdims=True)
    # a pair stands in the rows of both its trials, so leaving one out removes it twice
    left = divide(all_rows - 2 * rows, all_counts - 2 * counts)
    used = (counts > 0) & np.isfinite(left)
    n = used.sum(axis=-1)
    mean = divide(np.where(used, left, 0.0).sum(axis=-1), n)
    spread = np.where(used, (left - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    error = np.where(n >= 3, np.sqrt(divide((n - 1) * spread, n)), np.nan)
    return Estimate(signal_power_of(arrays), error)


def gate(responses, threshold: float = 2.0) -> np.ndarray:
    """Which neurons have a signal that stands out of its own error: SP / SE(SP) > threshold.

    Returns
    -------
    np.ndarray
        (neuron,) bool; False where signal power or error is undefined. Count the cells that fail
        and say so; do not drop them silently.
    """
    value, error = signal_power(responses)
    with np.errstate(invalid="ignore"):
        return value > threshold * error


def cc_max(responses) -> np.ndarray:
    """Highest correlation with the mean over these trials that any model can reach.

    Parameters
    ----------
    responses : array (trial, time, neuron)
        At least two trials.

    Returns
    -------
    np.ndarray
        (neuron,); NaN where the signal power is ≤ 0. Noise can carry it above 1.

    Notes
    -----
    CC_max = √(SP / Var ȳ). It holds for these trials and this stimulus.

    References
    ----------
    Schoppe et al. (2016), Front. Comput. Neurosci. 10:10.
    """
    arrays = moment_sums(None, responses, min_trials=2).total()
    variance = divide(arrays["uu"] - divide(arrays["u"] ** 2, arrays["n"]), arrays["n"] - 1)
    return _root(divide(signal_power_of(arrays), variance))


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
    than the ceiling of the mean over all N. Prefer `cc_max`.

    References
    ----------
    Hsu, Borst & Theunissen (2004), Network 15:91.
    """
    responses = _repeats(responses)
    n = len(responses)
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(n) for _ in range(n_splits)])
    first = _membership(orders[:, : n // 2], n)
    second = _membership(orders[:, n // 2 : 2 * (n // 2)], n)
    r = _correlation_of_means(responses, first, second)
    defined = np.isfinite(r)
    half = divide(np.where(defined, r, 0.0).sum(axis=0), defined.sum(axis=0))
    return _root(_spearman_brown(half))


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
    responses = _repeats(responses)
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
        more than 1.96 times their error.
    """
    responses = _repeats(responses, at_least=4)
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
        flag = np.abs(difference[0]) > 1.96 * error
    return Stationarity(
        flag, difference[0], error, *(SplitHalf(*(v[0] for v in ceilings[h])) for h in HALVES)
    )


def oracle_jackknife(responses) -> np.ndarray:
    """Correlation of each trial with the mean of the others: a low estimate of the ceiling.

    Returns
    -------
    np.ndarray
        (neuron,), for predicting *single trials*. It **under-estimates** what a perfect model
        reaches, because the mean of the other trials is noisy itself.

    Notes
    -----
    r(y_n, mean of the others), pooled over trials and bins.
    """
    responses = _repeats(responses)
    mean = _others_mean(responses)
    use = np.isfinite(responses) & np.isfinite(mean)
    return _correlation(responses, mean, use)


def oracle_conservative(responses) -> np.ndarray:
    """The oracle known as "conservative": a high estimate of the single-trial ceiling.

    Returns
    -------
    np.ndarray
        (neuron,), for predicting *single trials*. Despite its name it **over-estimates** the
        ceiling: the noise of the mean counts as signal.

    Notes
    -----
    √(V_m / (V_m + V_n)), V_m = Var_t(ȳ), V_n = mean_t Var_n(y), both with ddof 0.
    """
    responses = _repeats(responses)
    present = np.isfinite(responses)
    n_t = present.sum(axis=0)
    psth = divide(np.where(present, responses, 0.0).sum(axis=0), n_t)
    use = n_t > 0
    n = use.sum(axis=0)
    mean = divide(np.where(use, psth, 0.0).sum(axis=0), n)
    v_mean = divide((np.where(use, psth - mean, 0.0) ** 2).sum(axis=0), n)
    within = (np.where(present, responses - psth, 0.0) ** 2).sum(axis=0)
    v_noise = divide(np.where(use, divide(within, n_t), 0.0).sum(axis=0), n)
    return np.sqrt(divide(v_mean, v_mean + v_noise))


def leave_one_out_psth_bits_per_spike(
    responses,
    null_rate,
    bin_width: float,
    *,
    smoothing: float = 0.030,
    blocks=None,
    reduction: str = "none",
) -> np.ndarray:
    """Bits per spike of predicting each trial by the smoothed PSTH of the others.

    The yardstick for a model's bits per spike on repeats. It is no upper bound: a model that
    averages over similar stimuli can beat it, above all with few trials.

    Parameters
    ----------
    responses : array (trial, time, neuron)
        Spike counts per bin, at least two trials.
    null_rate : array (neuron,)
        Training mean counts per bin, as in `bits_per_spike`.
    bin_width : float
        Seconds per bin.
    smoothing : float
        Width of the centred boxcar in seconds; 0 for none. A width that is no odd number of bins
        takes fractions of the outermost bins.
    blocks : array (time,), optional
        Label per bin; smoothing stops at the edges of a block.
    reduction : {"none", "mean", "ratio"}

    Returns
    -------
    np.ndarray
        (neuron,) or a single value.

    Raises
    ------
    ValueError
        With fewer than two trials, negative counts or a negative width.

    Notes
    -----
    Where no other trial fired, a plain PSTH calls a spike impossible and one such spike makes the
    score -inf. So the PSTH is the posterior mean of a Poisson rate, with one bin of one trial at
    `null_rate` as prior: λ̂ = (Σ counts + λ₀) / (number of observations + 1), sums over the boxcar
    and the other trials.
    """
    responses = _repeats(responses)
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction: {reduction!r}, expected one of {', '.join(REDUCTIONS)}")
    if not bin_width > 0 or not smoothing >= 0:
        raise ValueError(f"smoothing: {smoothing} s in bins of {bin_width} s")
    present = np.isfinite(responses)
    counts = np.where(present, responses, 0.0)
    # smoothing is linear: smooth the sums once and each trial once, then subtract
    width = smoothing / bin_width
    counts = _boxcar(counts, width, blocks)
    observed = _boxcar(present.astype(float), width, blocks)
    others = counts.sum(axis=0) - counts
    n_others = observed.sum(axis=0) - observed
    rate = (others + np.asarray(null_rate, float)) / (n_others + 1.0)
    prediction = np.where(n_others > 0, rate, np.nan)
    return bits_per_spike(np.maximum(prediction, 0.0), responses, null_rate, reduction=reduction)


def fano_factor(responses) -> np.ndarray:
    """Variance over trials relative to the mean count: 1 for Poisson, less for regular firing.

    Parameters
    ----------
    responses : array (trial, time, neuron)
        Counts, at least two trials.

    Returns
    -------
    np.ndarray
        (neuron,); σ² / mean count, both over bins with at least two trials. NaN for a silent cell.
    """
    responses = _repeats(responses)
    responses = np.where(np.isfinite(responses).sum(axis=0) >= 2, responses, np.nan)
    arrays = moment_sums(None, responses).total()
    present = np.isfinite(responses)
    n_t = present.sum(axis=0)
    # each bin's mean counts with the weight n_t - 1 that its variance has
    psth = divide(np.where(present, responses, 0.0).sum(axis=0), n_t)
    weight = np.maximum(n_t - 1, 0)
    mean = divide(np.where(weight > 0, psth * weight, 0.0).sum(axis=0), weight.sum(axis=0))
    return divide(divide(arrays["within"], arrays["dof"]), mean)


def _repeats(responses, at_least: int = 2) -> np.ndarray:
    responses = as_trials(responses)
    if len(responses) < at_least:
        raise ValueError(f"responses: {len(responses)} trial(s); this needs at least {at_least}")
    return responses


def _root(square) -> np.ndarray:
    return np.where(square > 0, np.sqrt(np.where(square > 0, square, 0.0)), np.nan)


def _spearman_brown(r) -> np.ndarray:
    return divide(2 * r, 1 + r)


def _as_split_half(r) -> SplitHalf:
    reliable = _spearman_brown(r)
    return SplitHalf(r, reliable, _root(reliable))


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
            r[start + i] = _correlation(a[None], b[None], both[None])
    return r


def _others_mean(responses) -> np.ndarray:
    present = np.isfinite(responses)
    values = np.where(present, responses, 0.0)
    n_others = present.sum(axis=0) - present
    return divide(values.sum(axis=0) - values, n_others)


def _correlation(a, b, use) -> np.ndarray:
    """Pearson r of (trial, time, neuron) arrays, pooled over trials and bins in use."""
    n = use.sum(axis=(0, 1))
    centred = []
    for values in (a, b):
        kept = np.where(use, values, 0.0)
        centred.append(np.where(use, kept - divide(kept.sum(axis=(0, 1)), n), 0.0))
    x, y = centred
    power = (x * x).sum(axis=(0, 1)) * (y * y).sum(axis=(0, 1))
    return divide((x * y).sum(axis=(0, 1)), np.sqrt(power))


def _boxcar(values: np.ndarray, width: float, blocks) -> np.ndarray:
    """Sum over a centred boxcar of `width` bins along axis 1, within blocks, zero outside."""
    if width <= 1:
        return values
    reach = int(np.ceil((width - 1) / 2 - 1e-9))
    outer = (width - 1) / 2 - (reach - 1)  # share of the outermost bins, 1 if the width is odd
    blocks = np.zeros(values.shape[1], int) if blocks is None else np.asarray(blocks)
    out = values.copy()
    for lag in range(1, min(reach, values.shape[1] - 1) + 1):
        share = outer if lag == reach else 1.0
        same = (blocks[lag:] == blocks[:-lag])[:, None]
        out[:, lag:] += share * np.where(same, values[:, :-lag], 0.0)
        out[:, :-lag] += share * np.where(same, values[:, lag:], 0.0)
    return out
