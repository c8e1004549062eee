"""How well any model could do: signal power, the ceiling of r, references and oracles.

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


class Estimate(NamedTuple):
    """A value per neuron and its standard error."""

    value: np.ndarray
    standard_error: np.ndarray


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
    return root(divide(signal_power_of(arrays), variance))


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
    responses = repeats(responses)
    mean = _others_mean(responses)
    use = np.isfinite(responses) & np.isfinite(mean)
    return correlation(responses, mean, use)


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
    responses = repeats(responses)
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
    responses = repeats(responses)
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
    responses = repeats(responses)
    responses = np.where(np.isfinite(responses).sum(axis=0) >= 2, responses, np.nan)
    arrays = moment_sums(None, responses).total()
    present = np.isfinite(responses)
    n_t = present.sum(axis=0)
    # each bin's mean counts with the weight n_t - 1 that its variance has
    psth = divide(np.where(present, responses, 0.0).sum(axis=0), n_t)
    weight = np.maximum(n_t - 1, 0)
    mean = divide(np.where(weight > 0, psth * weight, 0.0).sum(axis=0), weight.sum(axis=0))
    return divide(divide(arrays["within"], arrays["dof"]), mean)


def repeats(responses, at_least: int = 2) -> np.ndarray:
    """Responses as float64 (trial, time, neuron) with enough trials, or a ValueError."""
    responses = as_trials(responses)
    if len(responses) < at_least:
        raise ValueError(f"responses: {len(responses)} trial(s); this needs at least {at_least}")
    return responses


def root(square) -> np.ndarray:
    """Square root, NaN where there is nothing positive to take it of."""
    return np.where(square > 0, np.sqrt(np.where(square > 0, square, 0.0)), np.nan)


def _others_mean(responses) -> np.ndarray:
    present = np.isfinite(responses)
    values = np.where(present, responses, 0.0)
    n_others = present.sum(axis=0) - present
    return divide(values.sum(axis=0) - values, n_others)


def correlation(a, b, use) -> np.ndarray:
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
