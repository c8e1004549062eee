"""Sums over time blocks from which every score and ceiling is computed.

A score is a formula of sums over bins. Keeping those sums per block of time means that a point
estimate, a jack-knife and a bootstrap are the same code: weights times sums, then the formula.

Arrays have the order (trial, time, neuron) for responses and (time, neuron) for predictions. A
missing response is NaN ("ragged" repeats); a bin without a prediction is NaN and is left out.
Everything is centred on the neuron's own mean before it is squared.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import xlogy

_WORKING_SET = 2**23  # elements of one float64 temporary, 64 MB: neurons go through in slices


@dataclass(frozen=True)
class Sums:
    """Sums over the bins of each block, ready to be weighted and scored.

    Attributes
    ----------
    blocks : np.ndarray
        Labels of the blocks, shape (block,).
    arrays : dict[str, np.ndarray]
        The sums by name, each of shape (block, neuron) or (block, neuron, trial[, trial]).
    """

    blocks: np.ndarray
    arrays: dict[str, np.ndarray]

    def total(self) -> dict[str, np.ndarray]:
        """Sums over all blocks, each of shape (neuron, ...)."""
        return {name: a.sum(axis=0) for name, a in self.arrays.items()}

    def weighted(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Sums with block weights (resample, block): each result is (resample, neuron, ...)."""
        weights = np.asarray(weights, float)
        # Zero times an infinite log-likelihood is NaN: such a resample has no finite score.
        with np.errstate(invalid="ignore"):
            return {n: np.tensordot(weights, a, axes=(1, 0)) for n, a in self.arrays.items()}


class Checked(NamedTuple):
    """Arrays that fit one another, and how their bins are grouped into blocks."""

    prediction: np.ndarray | None
    responses: np.ndarray
    order: np.ndarray | None
    starts: np.ndarray
    labels: np.ndarray


def moment_sums(prediction, responses, blocks=None, *, min_trials: int = 1) -> Sums:
    """Sums for every score that compares variances: r, CC_norm, FEVE, r²_ER, signal power.

    Parameters
    ----------
    prediction : array (time, neuron) or None
        Predicted response per bin; None when only the responses are described.
    responses : array (trial, time, neuron) or (time, neuron)
        Repeats of one stimulus, NaN where a trial is missing.
    blocks : array (time,), optional
        Label of the block that each bin belongs to; one block if left out.
    min_trials : int
        Fewest trials that the caller's formula needs.

    Returns
    -------
    Sums

    Raises
    ------
    ValueError
        If shapes disagree, values are infinite or there are fewer than `min_trials` trials.

    Notes
    -----
    With nothing missing, products of pairs of trials collapse to one row per trial. Ragged
    repeats need the pairs themselves, (block, neuron, trial, trial).
    """
    data = checked(prediction, responses, blocks)
    if data.prediction is not None and data.prediction.ndim != 2:
        raise ValueError(
            f"prediction: has shape {data.prediction.shape}; this score compares one prediction "
            "(time, neuron) with the mean over trials"
        )
    n_trials = data.responses.shape[0]
    if n_trials < min_trials:
        raise ValueError(f"responses: {n_trials} trial(s); this needs at least {min_trials}")
    return _over_neurons(data, _moments_of, _is_ragged(data.prediction, data.responses))


def likelihood_sums(prediction, responses, null_rate, blocks=None) -> Sums:
    """Sums for the Poisson scores: bits per spike and deviance explained.

    Parameters
    ----------
    prediction : array (time, neuron) or (trial, time, neuron)
        Predicted counts per bin, not negative. The form with trials is for conditional
        predictions, which differ from trial to trial.
    responses : array (trial, time, neuron) or (time, neuron)
        Spike counts per bin, NaN where missing.
    null_rate : array (neuron,)
        Counts per bin of the reference model: each cell's mean over the *training* data.
    blocks : array (time,), optional
        Label of the block that each bin belongs to.

    Returns
    -------
    Sums

    Raises
    ------
    ValueError
        If shapes disagree, or counts, predictions or reference rates are negative.
    """
    data = checked(prediction, responses, blocks)
    if prediction is None:
        raise ValueError("prediction: None; a likelihood needs predicted rates")
    for name, values in (("prediction", data.prediction), ("responses", data.responses)):
        if np.any(values < 0):
            where = tuple(int(i) for i in np.argwhere(values < 0)[0])
            raise ValueError(f"{name}: negative at index {where}; counts and rates are >= 0")
    null_rate = _checked_reference(null_rate, data.responses.shape[2])
    if (null_rate < 0).any():
        raise ValueError("null_rate: must be >= 0 for every neuron")
    return _over_neurons(data, _likelihood_of, null_rate=null_rate)


def square_sums(prediction, responses, null_rate, blocks=None) -> Sums:
    """Sums for the share of variance explained on single trials, negative values allowed.

    Parameters
    ----------
    prediction : array (time, neuron) or (trial, time, neuron)
        Predicted response per bin, in the units of the responses.
    responses : array (trial, time, neuron) or (time, neuron)
        Traces, rates or counts, NaN where missing.
    null_rate : array (neuron,)
        Response of the reference model: each cell's mean over the *training* data.
    blocks : array (time,), optional
        Label of the block that each bin belongs to.

    Returns
    -------
    Sums

    Raises
    ------
    ValueError
        If shapes disagree, or a value is infinite.
    """
    data = checked(prediction, responses, blocks)
    if prediction is None:
        raise ValueError("prediction: None; an error needs a predicted response")
    null_rate = _checked_reference(null_rate, data.responses.shape[2])
    return _over_neurons(data, _squares_of, null_rate=null_rate)


def _checked_reference(null_rate, n_neurons: int) -> np.ndarray:
    null_rate = np.asarray(null_rate, float)
    if null_rate.shape != (n_neurons,):
        raise ValueError(f"null_rate: has shape {null_rate.shape}, expected ({n_neurons},)")
    if not np.isfinite(null_rate).all():
        raise ValueError("null_rate: must be finite for every neuron")
    return null_rate


def pair_covariances(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Per trial, the sum and the number of its covariances with the other trials.

    Both have shape (..., neuron, trial). A pair with fewer than two common bins has none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if "pair_product" not in arrays:
            n, each = arrays["n"][..., None], arrays["trial_sum"]
            others = each.sum(axis=-1, keepdims=True) - each
            rows = (arrays["trial_product"] - each * others / n) / (n - 1)
            counts = np.where(n >= 2, each.shape[-1] - 1.0, 0.0) + np.zeros_like(each)
            return np.where(counts > 0, rows, 0.0), counts
        n, sums = arrays["pair_n"], arrays["pair_sum"]
        covariance = arrays["pair_product"] - sums * np.swapaxes(sums, -1, -2) / n
        defined = (n >= 1.5) & ~np.eye(n.shape[-1], dtype=bool)
        covariance = np.where(defined, covariance / (n - 1), 0.0)
    return covariance.sum(axis=-1), defined.sum(axis=-1).astype(float)


def signal_power_of(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Signal power (..., neuron): the mean covariance over pairs of trials."""
    rows, counts = pair_covariances(arrays)
    return divide(rows.sum(axis=-1), counts.sum(axis=-1))


def divide(numerator, denominator) -> np.ndarray:
    """Quotient, NaN where the denominator is zero or NaN."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    with np.errstate(all="ignore"):
        return np.where(denominator == 0, np.nan, numerator / denominator)


def as_trials(responses) -> np.ndarray:
    """Responses as float64 (trial, time, neuron); infinite values and other shapes refused."""
    responses = np.asarray(responses, float)
    if responses.ndim == 2:
        responses = responses[None]
    if responses.ndim != 3:
        raise ValueError(
            f"responses: has shape {responses.shape}, expected (trial, time, neuron) or "
            "(time, neuron)"
        )
    if 0 in responses.shape:
        raise ValueError(f"responses: has shape {responses.shape}, nothing to score")
    if np.isinf(responses).any():
        raise ValueError("responses: infinite values; mark missing bins as NaN")
    return responses


def checked(prediction, responses, blocks=None) -> Checked:
    """Arrays as float64 whose shapes fit one another, or a ValueError that names the wrong one."""
    responses = as_trials(responses)
    n_time = responses.shape[1]
    if prediction is not None:
        prediction = np.asarray(prediction, float)
        if prediction.shape not in (responses.shape, responses.shape[1:]):
            raise ValueError(
                f"prediction: has shape {prediction.shape}, which fits neither (time, neuron) = "
                f"{responses.shape[1:]} nor (trial, time, neuron) = {responses.shape}"
            )
        if np.isinf(prediction).any():
            raise ValueError("prediction: infinite values")
    if blocks is None:
        return Checked(prediction, responses, None, np.zeros(1, int), np.zeros(1, int))
    blocks = np.asarray(blocks)
    if blocks.shape != (n_time,):
        raise ValueError(f"blocks: has shape {blocks.shape}, expected one label per bin ({n_time})")
    labels, inverse = np.unique(blocks, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    if np.array_equal(order, np.arange(n_time)):
        order = None
    starts = np.searchsorted(np.sort(inverse), np.arange(len(labels)))
    return Checked(prediction, responses, order, starts, labels)


def _over_neurons(
    data: Checked, build: Callable, *args, null_rate: np.ndarray | None = None
) -> Sums:
    """Build per-bin terms for slices of neurons and add them up within blocks."""
    pieces: list[dict[str, np.ndarray]] = []
    n_trials, n_time, n_neurons = data.responses.shape
    step = max(1, _WORKING_SET // (n_trials * n_time))
    for first in range(0, n_neurons, step):
        part = slice(first, first + step)
        responses = data.responses[:, :, part]
        prediction = None if data.prediction is None else data.prediction[..., part]
        if data.order is not None:
            responses = responses[:, data.order]
            prediction = None if prediction is None else prediction[..., data.order, :]
        reference = () if null_rate is None else (null_rate[part],)
        terms = build(prediction, responses, *reference, *args)
        pieces.append({name: _add_up(term, data.starts) for name, term in terms})
    return Sums(data.labels, {n: np.concatenate([p[n] for p in pieces], axis=1) for n in pieces[0]})


def _add_up(term, starts: np.ndarray) -> np.ndarray:
    """(time, neuron) or (trial, time, neuron) per bin to (block, neuron[, trial]) per block."""
    if callable(term):  # pairs of trials: one matrix product per block
        edges = [*starts, None]
        return np.stack([term(slice(a, b)) for a, b in zip(edges[:-1], edges[1:], strict=True)])
    if term.ndim == 2:
        return np.add.reduceat(term, starts, axis=0)
    return np.moveaxis(np.add.reduceat(term, starts, axis=1), 0, -1)


def _is_ragged(prediction, responses) -> bool:
    """Whether some bin that counts holds some trials but not all of them."""
    present = np.isfinite(responses).sum(axis=0)
    ragged = (present > 0) & (present < responses.shape[0])
    if prediction is not None:
        ragged &= np.isfinite(prediction)
    return bool(ragged.any())


def _centred(values: np.ndarray, use: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (time, neuron) minus their mean over the bins in use, 0 elsewhere; and that mean.

    The first value is taken off before the mean, so that a constant becomes exactly zero.
    """
    n = np.maximum(use.sum(axis=0), 1)
    first = np.take_along_axis(np.where(use, values, 0.0), use.argmax(axis=0)[None], axis=0)[0]
    shifted = np.where(use, values - first, 0.0)
    mean = shifted.sum(axis=0) / n
    return np.where(use, shifted - mean, 0.0), first + mean


def _moments_of(prediction, responses, ragged: bool) -> Iterator[tuple[str, object]]:
    present = np.isfinite(responses)
    if prediction is not None:
        present = present & np.isfinite(prediction)
    n_t = present.sum(axis=0)
    use = n_t > 0
    some = np.maximum(n_t, 1)
    psth = np.where(present, responses, 0.0).sum(axis=0) / some
    u, psth_mean = _centred(psth, use)
    within = (np.where(present, responses - psth, 0.0) ** 2).sum(axis=0)
    z = np.where(present, responses - psth_mean, 0.0)

    yield "n", use.astype(float)
    yield "u", u
    yield "uu", u * u
    yield "n_obs", n_t.astype(float)
    yield "z", n_t * u
    yield "zz", within + n_t * u * u
    yield "within", within
    yield "dof", np.maximum(n_t - 1.0, 0.0)
    yield "inv", use / some
    yield "trial_sum", z
    yield "trial_product", z * (z.sum(axis=0) - z)
    if ragged:
        y, m = np.moveaxis(z, 2, 0), np.moveaxis(present.astype(float), 2, 0)
        yield "pair_n", lambda bins: m[:, :, bins] @ np.swapaxes(m[:, :, bins], 1, 2)
        yield "pair_sum", lambda bins: y[:, :, bins] @ np.swapaxes(m[:, :, bins], 1, 2)
        yield "pair_product", lambda bins: y[:, :, bins] @ np.swapaxes(y[:, :, bins], 1, 2)
    if prediction is not None:
        x, _ = _centred(prediction, use)
        yield "x", x
        yield "xx", x * x
        yield "xu", x * u
        yield "err", within + n_t * np.where(use, psth - prediction, 0.0) ** 2
        yield "x_inv", x / some
        yield "xx_inv", x * x / some


def _likelihood_of(prediction, responses, null_rate) -> Iterator[tuple[str, object]]:
    present = np.isfinite(responses) & np.isfinite(prediction)
    if prediction.ndim == 2:
        # one rate for all trials: only the counts summed over trials matter
        n_t = present.sum(axis=0).astype(float)
        y = np.where(present, responses, 0.0)
        saturated = (xlogy(y, y) - y).sum(axis=0)
        y = y.sum(axis=0)
    else:
        n_t = present.astype(float)
        y = np.where(present, responses, 0.0)
        saturated = xlogy(y, y) - y
    yield "n", (n_t > 0 if n_t.ndim == 2 else n_t.any(axis=0)).astype(float)
    rate = np.where(n_t > 0, prediction, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_model = xlogy(y, rate)
        # A cell without training spikes has no reference for the spikes that it fires later.
        log_null = np.where((null_rate == 0) & (y > 0), np.nan, xlogy(y, null_rate))
        terms = {
            "gain": log_model - log_null - n_t * (rate - null_rate),
            "spikes": y,
            "deviance": 2.0 * (saturated - log_model + n_t * rate),
            "null_deviance": 2.0 * (saturated - log_null + n_t * null_rate),
        }
    for name, term in terms.items():
        yield name, term if term.ndim == 2 else term.sum(axis=0)


def _squares_of(prediction, responses, null_rate) -> Iterator[tuple[str, object]]:
    present = np.isfinite(responses) & np.isfinite(prediction)
    yield "n", present.any(axis=0).astype(float)
    for name, guess in (("error", prediction), ("null_error", null_rate)):
        # Trial by trial: the mean over trials would lose the digits of a small difference.
        yield name, (np.where(present, responses - guess, 0.0) ** 2).sum(axis=0)
