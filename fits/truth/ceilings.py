"""The true ceiling of r: how well the true rate correlates with the mean over noisy trials.

Closed forms for a known rate, drift, gain and count noise, and draws of such trials to check them
and every estimator by. Rates are (time, neuron), expected counts per bin; each neuron is an
experiment of its own (its gain is not that of the others), so that many columns are many
repetitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.simulated.modulation import draw_counts, drift_factors, shared_gain


@dataclass(frozen=True)
class Variability:
    """What makes trials of one stimulus differ.

    Attributes
    ----------
    drift : float
        Change of the rate from the first to the last trial, as a share of its mean (-2 to 2).
    gain_sd, gain_tau_s : float
        Standard deviation of the logarithm of a gain of mean 1, and its correlation time, s.
    gain_goes_on : bool
        Trials follow one another without a gap and one gain runs on through all of them;
        otherwise every trial has a gain of its own.
    noise, max_count
        Of the counts, as in `datasets.simulated.modulation.draw_counts`.
    """

    drift: float = 0.0
    gain_sd: float = 0.0
    gain_tau_s: float = 2.0
    gain_goes_on: bool = False
    noise: str = "poisson"
    max_count: int = 1


#: The worlds of the tables: drift from 0.6 to 1.4 times the mean, gain that varies by 30 %.
WORLDS = {
    "plain": Variability(),
    "drift": Variability(drift=0.8),
    "gain": Variability(gain_sd=0.3),
    "both": Variability(drift=0.8, gain_sd=0.3),
    "slow gain": Variability(gain_sd=0.3, gain_tau_s=30.0, gain_goes_on=True),
    "slow both": Variability(drift=0.8, gain_sd=0.3, gain_tau_s=30.0, gain_goes_on=True),
}
PLAIN = WORLDS["plain"]


def true_ceiling(
    rate, n_trials: int, bin_width: float, of: Variability = PLAIN, levels=None
) -> np.ndarray:
    """Correlation that the true rate is expected to reach with the mean over trials.

    Parameters
    ----------
    rate : array (time, neuron)
        Expected counts per bin, averaged over everything that differs from trial to trial.
    n_trials : int
    bin_width : float
        s.
    of : Variability
    levels : array (trial, neuron), optional
        Factor of every trial that took place: its drift times the mean of its gain. The ceiling
        is then that of *these* trials; without it, of trials whose gain is drawn anew.

    Returns
    -------
    np.ndarray
        (neuron,); NaN for a constant rate.

    Raises
    ------
    InputError
        If the rate is no (time, neuron) array of numbers ≥ 0, or there is no trial.

    Notes
    -----
    ȳ the mean over N trials, m = E ȳ = λ times the mean of the trials' levels (drift is averaged,
    not removed), ε = ȳ - m, variances over time. The expected r(m, ȳ) is

    ``√( S / (S + E Var ε - E Cov(m, ε)² / S) )``, S = Var m.

    Without the last term this is √(Var m / E Var ȳ). The term is the part of the noise that has
    the shape of m: a gain common to a whole trial scales ȳ and lowers no correlation. It takes the
    expectation inside the root, which is exact to order 1/T and to order (variance of the mean
    gain over the trials) x (1 - r²).
    The noise of bins t and s has the covariance λ_t λ_s Σ_nn' d_n d_n' c(t - s + lag of n, n')/N²,
    c(τ) = exp(σ² e^{-|τ|/τ_g}) - 1, plus the variance of counts, Σ_n λ_t d_n / N² for Poisson.
    With `levels`, gains are taken relative to their mean over the trial.
    """
    rate = _checked(rate, n_trials)
    n_time = len(rate)
    drift = drift_factors(n_trials, of.drift)
    given = levels is not None
    levels = np.asarray(levels, float) if given else np.repeat(drift[:, None], rate.shape[1], 1)
    if levels.shape != (n_trials, rate.shape[1]):
        raise InputError(
            f"levels have shape {levels.shape}, not (trial, neuron) = {n_trials, rate.shape[1]}",
            where="true_ceiling: levels",
            remedy="Give one factor per trial and neuron.",
        )
    over = _gain_covariance(n_time, n_trials, bin_width, of, drift)
    diagonal = _diagonal(over, given)

    def form(x):  # xᵀ C x for the covariance C of the mean gain
        return _quadratic(x - x.mean(axis=0) if given else x, over)

    counts = _count_variance(rate, levels, drift, bin_width, of, given)
    centred = rate - rate.mean(axis=0)
    power = (centred**2).sum(axis=0) / (n_time - 1)
    power = np.where(power > 1e-20 * (rate**2).mean(axis=0), power, np.nan)  # a constant rate
    noise = diagonal @ rate**2 - form(rate) / n_time
    noise = noise / (n_time - 1) + counts.mean(axis=0)
    along = (form(centred * rate) + (centred**2 * counts).sum(axis=0)) / (n_time - 1) ** 2
    signal = power * levels.mean(axis=0) ** 2
    return np.sqrt(signal / (signal + noise - along / power))


def single_trial_ceiling(rate, n_trials: int, of: Variability = PLAIN) -> np.ndarray:
    """Correlation of the true rate with the single trials, pooled: what oracles aim at.

    Parameters are those of `true_ceiling`; the drift of the trials counts as noise here.

    Returns
    -------
    np.ndarray
        (neuron,); its square is the aim of the explainable fraction.

    Notes
    -----
    √(Var m / Var y), y over all bins of all trials.
    """
    rate = _checked(rate, n_trials)
    drift = drift_factors(n_trials, of.drift)
    gain_power = np.exp(of.gain_sd**2)
    levels = np.repeat(drift[:, None], rate.shape[1], 1)
    counts = n_trials * _count_variance(rate, levels, drift, 1.0, of, False)
    mean, square = rate.mean(axis=0), (rate**2).mean(axis=0)
    pooled = square * (drift**2).mean() * gain_power + counts.mean(axis=0) - mean**2
    return np.sqrt((square - mean**2) / pooled)


def draw_trials(
    rate,
    n_trials: int,
    bin_width: float,
    of: Variability,
    rng: np.random.Generator,
    *,
    one_gain: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Counts of trials of one stimulus, and each trial's level (drift times mean gain).

    Parameters
    ----------
    rate : array (time, neuron)
    n_trials, bin_width, of
        As in `true_ceiling`.
    rng : numpy.random.Generator
    one_gain : bool
        All neurons share the gain, as those of one recording do.

    Returns
    -------
    counts, levels
        (trial, time, neuron) and (trial, neuron).

    Notes
    -----
    The gain is constant over a twentieth of its correlation time, at most 0.1 s.
    """
    rate = _checked(rate, n_trials)
    n_time, n_neurons = rate.shape
    drift = drift_factors(n_trials, of.drift)
    factor = np.repeat(drift[None, :, None], n_neurons, 0)
    levels = factor[..., 0]
    if of.gain_sd:
        # the steps of a gain that goes on must fill a trial
        most = max(1, int(min(0.1, of.gain_tau_s / 20) / bin_width + 1e-9))
        step = max(k for k in range(1, most + 1) if n_time % k == 0)
        n_steps = n_time // step
        n_gains = 1 if one_gain else n_neurons
        on = (n_gains, n_trials * n_steps)
        shape = on if of.gain_goes_on else (n_gains * n_trials, n_steps)
        gain = shared_gain(*shape, step * bin_width, of.gain_sd, of.gain_tau_s, rng)
        gain = np.broadcast_to(
            gain.reshape(n_gains, n_trials, n_steps), (n_neurons, n_trials, n_steps)
        )
        levels = levels * gain.mean(axis=2)
        factor = factor * np.repeat(gain, step, axis=2)
    counts = draw_counts(rate.T[:, None] * factor, rng, of.noise, of.max_count)
    return np.moveaxis(counts, 0, 2), levels.T


def smooth_rates(
    n_bins: int, n_neurons: int, mean: float, rng: np.random.Generator, depth: float = 1.2
) -> np.ndarray:
    """Random rates (time, neuron) of the Monte Carlo: exp(depth · s), s smooth over 5 bins.

    s is a moving sum of white noise over 5 bins divided by √5; `mean` in counts per bin.
    """
    noise = rng.standard_normal((n_bins + 4, n_neurons))
    rate = np.exp(depth * sum(noise[lag : lag + n_bins] for lag in range(5)) / np.sqrt(5))
    return mean * rate / rate.mean(axis=0)


def _checked(rate, n_trials: int) -> np.ndarray:
    rate = np.asarray(rate, float)
    if rate.ndim != 2 or len(rate) < 2 or not np.all(np.isfinite(rate) & (rate >= 0)):
        raise InputError(
            f"the rate has shape {rate.shape} or values that no rate has",
            where="true ceiling: rate",
            remedy="Give expected counts per bin ≥ 0 as (time, neuron), at least two bins.",
        )
    if n_trials < 1:
        raise InputError(
            f"{n_trials} trials", where="true ceiling: n_trials", remedy="Give at least 1."
        )
    return rate


def _covariance(seconds: np.ndarray, of: Variability) -> np.ndarray:
    return np.expm1(of.gain_sd**2 * np.exp(-np.abs(seconds) / of.gain_tau_s))


def _gain_covariance(n_time, n_trials, bin_width, of: Variability, drift) -> np.ndarray:
    """Covariance of the drift-weighted mean gain at lags -(T - 1) to T - 1."""
    lags = np.arange(1 - n_time, n_time) * bin_width
    total = np.zeros(lags.size)
    if not of.gain_sd:
        return total
    apart = range(1 - n_trials, n_trials) if of.gain_goes_on else [0]
    for k in apart:
        weight = (drift[: n_trials - abs(k)] * drift[abs(k) :]).sum()
        total += weight * _covariance(lags + k * n_time * bin_width, of)
    return total / n_trials**2


def _diagonal(over: np.ndarray, relative: bool) -> np.ndarray:
    """Variance of the gain in every bin, taken relative to the mean over the trial or not."""
    n = (over.size + 1) // 2
    if not relative:
        return np.full(n, over[n - 1])
    sums = np.concatenate([[0.0], np.cumsum(over)])
    row = (sums[n : 2 * n] - sums[:n])[::-1] / n
    return over[n - 1] - 2 * row + row.mean()


def _quadratic(x: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Σ_ts x_t x_s over(t - s) of every column, by the autocorrelation of x."""
    n = len(x)
    if not over.any():
        return np.zeros(x.shape[1])
    products = np.fft.irfft(np.abs(np.fft.rfft(x, 2 * n, axis=0)) ** 2, 2 * n, axis=0)[:n]
    return over[n - 1] * products[0] + (over[n:] + over[n - 2 :: -1]) @ products[1:]


def _count_variance(rate, levels, drift, bin_width, of: Variability, given: bool) -> np.ndarray:
    """Variance of the mean over trials that count noise alone makes, (time, neuron)."""
    n = len(levels)
    if of.noise == "poisson":
        return rate * (levels.sum(axis=0) / n**2)
    one = _covariance(np.arange(1 - len(rate), len(rate)) * bin_width, of)
    gain = _diagonal(one, given)[:, None]
    square = (levels**2).sum(axis=0) + (drift**2).sum() * gain
    return (rate * levels.sum(axis=0) - rate**2 * square / of.max_count) / n**2
