"""How well the ceiling of r is known: an interval over trials that drift and gain do not upset.

CC_max takes all trials as equally strong. If they are not (the cell drifts, its gain wanders), the
mean over trials is merely scaled, which no correlation sees, yet signal power is lost: CC_max is
too low by about v / 2(N - 1), v the variance of the trials' gains relative to their mean. What is
estimated here allows for it.

In simulation intervals called 95 % cover the true ceiling for the stimulus and the trials that were
shown in 94 % of runs or more (`fits.truth.coverage`, docs/ceilings.md): Poisson counts of 0.02 to
0.5 per bin, 8 to 40 trials of 5 to 60 s, with drift, with gain that wanders within or over trials,
and with all of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from neuromodels.analysis.sums import divide

MIN_TRIALS = 8  # fewer have no interval: at low rates those that there were would not cover
MIN_BINS = 100
NO_SIGNAL = "no signal above the noise when a trial is left out"
_WORKING_SET = 2**22  # products of pairs of trials that are held at a time


@dataclass(frozen=True, eq=False)
class CeilingInterval:
    """95 % interval of the ceiling of r, per neuron, from the trials.

    Attributes
    ----------
    low, high : (neuron,)
        NaN where there is none.
    reason : (neuron,) str
        Why there is none, "" where there is one.
    """

    low: np.ndarray
    high: np.ndarray
    reason: np.ndarray


class MeanCeiling(NamedTuple):
    """Mean ceiling of r over `n_neurons` neurons and its 95 % interval."""

    value: float
    low: float
    high: float
    n_neurons: int


class _Powers(NamedTuple):
    """Power over time of one trial: of what repeats, and of what does not."""

    signal: np.ndarray
    noise: np.ndarray

    def log_ratio(self) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            signal = np.where(self.signal > 0, self.signal, np.nan)
            return np.log(signal / np.where(self.noise > 0, self.noise, np.nan))


def cc_max_any_gain(responses) -> np.ndarray:
    """Ceiling of r with the mean over these trials, if some trials are stronger than others.

    Parameters
    ----------
    responses : array (trial, time, neuron)
        At least four trials, in bins that all of them share.

    Returns
    -------
    np.ndarray
        (neuron,); NaN where no signal is left. As `ceilings.cc_max` if all trials are alike.

    Raises
    ------
    ValueError
        With fewer than four trials.

    Notes
    -----
    With z_n the response of trial n minus its mean over time, trial n is b_n s + e_n, e_n
    orthogonal to the signal s. Then CC_max² = (SP + V/N) / (SP + W/N): SP the mean covariance over
    pairs of trials, W the mean power of a trial minus SP, V the variance over trials of b_n √(s·s).
    From products K_nm = z_n·z_m over time of different trials only, which noise does not bias,
    V = (mean of K_nm K_nk - mean of K_nm K_kl) / SP.
    """
    responses = np.asarray(responses)
    if responses.ndim != 3 or len(responses) < 4:
        raise ValueError(
            f"responses: has shape {responses.shape}, expected (trial, time, neuron) with at least "
            "4 trials"
        )
    complete = responses[:, np.isfinite(responses).all(axis=(0, 2))]
    n, ratios = len(complete), []
    for products in _products_of_trials(complete):
        ratios.append(_of_all(products).log_ratio())
    return _ceiling(np.concatenate(ratios), n)


def ceiling_interval(values: np.ndarray, level: float = 0.95) -> CeilingInterval | str:
    """Confidence interval of the ceiling of r over the choice of trials, or why there is none.

    Parameters
    ----------
    values : array (trial, time, neuron)
        Responses; bins that some trial misses are left out.
    level : float

    Returns
    -------
    CeilingInterval or str
        For the stimulus that was shown, and for trials whose drift and mean gain are those of the
        trials that were recorded; another session's gain may be another.

    Notes
    -----
    Jack-knife-t over trials of the logarithm of signal over noise power (see `cc_max_any_gain`),
    carried over to the ceiling √(1 / (1 + noise / N signal)). There is no interval with fewer than
    8 trials or 100 bins, nor where signal or noise power is not positive with any one trial left
    out. Nothing else is asked of a cell: to drop intervals because they are *wide* leaves those
    that are narrow by chance.

    References
    ----------
    Tukey (1958), Ann. Math. Stat. 29:614.
    """
    found = _jack_knife(values)
    if isinstance(found, str):
        return found
    whole, left = found
    low, high = _limits(whole, left, level)
    low, high = _ceiling(low, len(values)), _ceiling(high, len(values))
    known = np.isfinite(low) & np.isfinite(high)
    return CeilingInterval(
        np.where(known, low, np.nan),
        np.where(known, high, np.nan),
        np.where(known, "", NO_SIGNAL),
    )


def mean_ceiling_interval(values: np.ndarray, level: float = 0.95) -> MeanCeiling | str:
    """Mean ceiling of r over neurons with its confidence interval, or why there is none.

    Parameters
    ----------
    values : array (trial, time, neuron)
        As for `ceiling_interval`.
    level : float

    Returns
    -------
    MeanCeiling or str
        Over the neurons that respond at all; there is none if the ceiling of any of them is not
        defined, for a mean over those that are would be too high. It speaks of these neurons, not
        of others of their kind.

    Notes
    -----
    Jack-knife-t over trials of log(c² / (1 - c²)), c the mean over neurons of the ceilings: what
    neurons share in a trial (gain, state) is in the scatter over trials.
    """
    found = _jack_knife(values)
    if isinstance(found, str):
        return found
    whole, left = found
    y = np.asarray(values)
    responds = np.nanmax(y, axis=(0, 1)) > np.nanmin(y, axis=(0, 1))
    undefined = responds & ~(np.isfinite(whole) & np.isfinite(left).all(axis=1))
    if undefined.any() or not responds.any():
        return f"{undefined.sum()} of {responds.sum()} neurons: {NO_SIGNAL}"
    n = len(values)
    value = _ceiling(whole[responds], n).mean()
    means = _ceiling(left[responds], n).mean(axis=0)
    limits = _limits(_log_odds(value)[None], _log_odds(means)[None], level)
    low, high = (float(np.sqrt(1 / (1 + np.exp(-limit[0])))) for limit in limits)
    return MeanCeiling(float(value), low, high, int(responds.sum()))


def _jack_knife(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | str:
    """Log of signal over noise (neuron,), and (neuron, trial) with each trial left out."""
    if len(values) < MIN_TRIALS:
        return f"fewer than {MIN_TRIALS} trials"
    complete = np.asarray(values)
    complete = complete[:, np.isfinite(complete).all(axis=(0, 2))]
    if complete.shape[1] < MIN_BINS:
        return f"trials share fewer than {MIN_BINS} bins"
    whole, left = [], []
    for products in _products_of_trials(complete):
        whole.append(_of_all(products).log_ratio())
        left.append(_without_each(products).log_ratio())
    return np.concatenate(whole), np.concatenate(left)


def _limits(whole: np.ndarray, left: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Jack-knife-t over trials: limits (row,) from (row,) and (row, trial)."""
    n = left.shape[1]
    pseudo = n * whole[:, None] - (n - 1) * left
    half = stdtrit(n - 1, 0.5 + level / 2) * pseudo.std(axis=1, ddof=1) / np.sqrt(n)
    centre = pseudo.mean(axis=1)
    return centre - half, centre + half


def _log_odds(ceiling: np.ndarray) -> np.ndarray:
    return np.log(ceiling**2 / (1 - ceiling**2))


def _ceiling(log_ratio: np.ndarray, n_trials: int) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return 1 / np.sqrt(1 + np.exp(-log_ratio) / n_trials)


def _products_of_trials(values: np.ndarray):
    """Products over time of pairs of trials, (neuron, trial, trial), for some neurons at a time."""
    n_trials, n_time, n_neurons = values.shape
    step = max(1, _WORKING_SET // (n_trials * max(n_trials, n_time)))
    for first in range(0, n_neurons, step):
        part = np.moveaxis(values[..., first : first + step], 2, 0).astype(np.float64)
        part -= part.mean(axis=2, keepdims=True)
        yield part @ part.swapaxes(1, 2)


def _of_all(products: np.ndarray) -> _Powers:
    own = np.einsum("iaa->ia", products)
    row = products.sum(axis=2) - own
    squares = (products**2).sum(axis=2) - own**2
    return _powers(
        own.sum(axis=1),
        row.sum(axis=1),
        (row**2).sum(axis=1),
        squares.sum(axis=1),
        products.shape[1],
    )


def _without_each(products: np.ndarray) -> _Powers:
    """Powers (neuron, trial) with each trial left out."""
    n = products.shape[1]
    own = np.einsum("iaa->ia", products)
    row = products.sum(axis=2) - own
    squares = (products**2).sum(axis=2) - own**2
    # row sums without trial k are row - K[:, k]; its own row goes altogether
    row_squares = (row**2).sum(axis=1, keepdims=True) - row**2 + squares
    row_squares -= 2 * (np.einsum("ia,iab->ib", row, products) - row * own)
    return _powers(
        own.sum(axis=1, keepdims=True) - own,
        row.sum(axis=1, keepdims=True) - 2 * row,
        row_squares,
        squares.sum(axis=1, keepdims=True) - 2 * squares,
        n - 1,
    )


def _powers(own, pairs, row_squares, squares, n: int) -> _Powers:
    """Signal and noise from sums of products: of trials with themselves, with others, of rows.

    `pairs` sums K_nm over n ≠ m, `squares` K_nm², `row_squares` (Σ_m K_nm)².
    """
    power = pairs / (n * (n - 1))
    shared = (row_squares - squares) / (n * (n - 1) * (n - 2))
    apart = pairs**2 - 4 * row_squares + 2 * squares
    apart = apart / (n * (n - 1) * (n - 2) * (n - 3))
    of_gain = divide(shared - apart, power)
    return _Powers(power + of_gain / n, own / n - power - of_gain)
