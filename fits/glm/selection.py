"""Penalties chosen per neuron on validation blocks, along a warm-started path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neuromodels.analysis import metrics
from neuromodels.fits.glm.curvature import Gram, compute_gram, gram_at, gram_of_copies
from neuromodels.fits.glm.design import Design, Weights
from neuromodels.fits.glm.likelihood import nonlinearity_named
from neuromodels.fits.glm.penalties import QuadraticPenalty, choose
from neuromodels.fits.glm.solver import GLMSolution, checked_counts, fit_poisson_glm

SLOW = 6


@dataclass(frozen=True)
class Selection:
    """The penalty that each neuron got, why, and the fit with it.

    Attributes
    ----------
    penalty : QuadraticPenalty
        Strengths per neuron.
    strengths : dict of name to (neuron,)
        The same, by name of the penalty term; "own" is the ridge on own columns.
    chosen : (neuron,) int
        Index of the chosen candidate.
    scores : (candidate, neuron)
        Validation log-likelihood in bits per spike, relative to the training mean rate; NaN for a
        neuron without spikes in training or validation.
    solution : GLMSolution
        With the chosen penalties, to the full tolerance.
    """

    penalty: QuadraticPenalty
    strengths: dict[str, np.ndarray]
    chosen: np.ndarray
    scores: np.ndarray
    solution: GLMSolution


def select_penalty(
    design_train: Design,
    counts_train: np.ndarray,
    design_validation: Design,
    counts_validation: np.ndarray,
    candidates: Sequence[QuadraticPenalty],
    *,
    nonlinearity: str = "exp",
    tolerance: float = 1e-6,
    path_tolerance: float = 1e-5,
    max_iterations: int = 200,
    gram: Gram | None = None,
) -> Selection:
    """Give every neuron the penalty that predicts its validation spikes best.

    Parameters
    ----------
    design_train, design_validation : Design
        The same columns in training and validation bins.
    counts_train, counts_validation : (bin, neuron)
    candidates : sequence of QuadraticPenalty
        The same terms with different strengths, by convention from strong to weak: each fit starts
        at the solution of the most similar one before it, and ties go to the first.
    nonlinearity, max_iterations, gram
        As for `fit_poisson_glm`; the Gram is that of `design_train`.
    tolerance : float
        Of the solution that is returned.
    path_tolerance : float
        Of the fits that are only scored.

    Returns
    -------
    Selection
        A neuron without a score (no spikes in training or validation) gets the first candidate.
    """
    candidates = list(candidates)
    if not candidates:
        raise ValueError("candidates is empty: give at least one penalty")
    counts_train = checked_counts(design_train, counts_train)
    counts_validation = checked_counts(design_validation, counts_validation)
    n_neurons = counts_train.shape[1]
    if counts_validation.shape[1] != n_neurons:
        raise ValueError(
            f"counts_validation has {counts_validation.shape[1]} neurons, counts_train {n_neurons}"
        )
    choose(candidates, np.zeros(n_neurons, dtype=int))  # raises if their terms differ
    if gram is None:
        gram = compute_gram(design_train)
    rates = counts_train.mean(axis=0, dtype=np.float64)
    function = nonlinearity_named(nonlinearity)
    options = {"nonlinearity": nonlinearity, "max_iterations": max_iterations}
    near = gram
    places = np.array([_log_strengths(candidate) for candidate in candidates])
    fits: list[GLMSolution] = []
    scores = np.full((len(candidates), n_neurons), np.nan)
    for k, candidate in enumerate(candidates):
        start = None
        if k:
            nearest = int(np.argmin(np.abs(places[:k] - places[k]).sum(axis=1)))
            start = fits[nearest].weights
        fit = fit_poisson_glm(
            design_train,
            counts_train,
            penalty=candidate,
            start=start,
            tolerance=max(tolerance, path_tolerance),
            gram=near,
            **options,
        )
        # Neighbours on the path have nearly the same curvature: a few iterations then do.
        if np.median(fit.iterations) > SLOW and k + 1 < len(candidates):
            near = gram_at(design_train, gram, counts_train, fit.weights, function)
        fits.append(fit)
        scores[k] = bits_per_spike(
            design_validation, counts_validation, fit.weights, rates, nonlinearity
        )
    chosen = np.argmax(np.where(np.isnan(scores), -np.inf, scores), axis=0)
    penalty = choose(candidates, chosen)
    rows = np.array([fits[k].weights.stack()[n] for n, k in enumerate(chosen)])
    solution = fit_poisson_glm(
        design_train,
        counts_train,
        penalty=penalty,
        start=Weights.unstack(rows, design_train.n_shared),
        tolerance=tolerance,
        gram=near,
        **options,
    )
    strengths = {name: np.asarray(values) for name, values in penalty.named().items()}
    return Selection(penalty, strengths, chosen, scores, solution)


def select_penalty_of_one(
    design_train: Design,
    counts_train: np.ndarray,
    design_validation: Design,
    counts_validation: np.ndarray,
    candidates: Sequence[QuadraticPenalty],
    *,
    nonlinearity: str = "exp",
    tolerance: float = 1e-6,
    path_tolerance: float = 1e-5,
    max_iterations: int = 200,
    gram: Gram | None = None,
) -> Selection:
    """As `select_penalty`, for the design of a single neuron: all candidates are fitted at once.

    A product with the regressors then serves all of them. They start from the candidate in the
    middle of the list, and are preconditioned with the curvature there.
    """
    candidates = list(candidates)
    counts_train = checked_counts(design_train, counts_train)
    counts_validation = checked_counts(design_validation, counts_validation)
    if counts_train.shape[1] != 1 or counts_validation.shape[1] != 1:
        raise ValueError(f"{counts_train.shape[1]} neurons: expected a single one")
    n = len(candidates)
    together = choose(candidates, np.arange(n))
    if gram is None:
        gram = compute_gram(design_train)
    rates = counts_train.mean(axis=0, dtype=np.float64)
    options = {"nonlinearity": nonlinearity, "max_iterations": max_iterations}
    path = max(tolerance, path_tolerance)
    middle = fit_poisson_glm(
        design_train,
        counts_train,
        penalty=candidates[n // 2],
        tolerance=path,
        gram=gram,
        **options,
    )
    near = gram_of_copies(
        design_train, gram, counts_train, middle.weights, nonlinearity_named(nonlinearity), n
    )
    rows = np.repeat(middle.weights.stack(), n, axis=0)
    fits = fit_poisson_glm(
        design_train.copies(n),
        np.repeat(counts_train, n, axis=1),
        penalty=together,
        start=Weights.unstack(rows, design_train.n_shared),
        tolerance=path,
        gram=near,
        **options,
    )
    scores = bits_per_spike(
        design_validation.copies(n),
        np.repeat(counts_validation, n, axis=1),
        fits.weights,
        np.repeat(rates, n),
        nonlinearity,
    )[:, None]
    chosen = np.argmax(np.where(np.isnan(scores), -np.inf, scores), axis=0)
    penalty = choose(candidates, chosen)
    solution = fit_poisson_glm(
        design_train,
        counts_train,
        penalty=penalty,
        start=Weights.unstack(fits.weights.stack()[chosen], design_train.n_shared),
        tolerance=tolerance,
        gram=replace(near, own=near.own[:1], neurons=near.neurons[:1]),
        **options,
    )
    strengths = {name: np.asarray(values) for name, values in penalty.named().items()}
    return Selection(penalty, strengths, chosen, scores, solution)


def bits_per_spike(
    design: Design,
    counts: np.ndarray,
    weights: Weights,
    reference: np.ndarray,
    nonlinearity: str = "exp",
) -> np.ndarray:
    """Log-likelihood gain over a constant rate, in bits per spike, for every neuron.

    Parameters
    ----------
    design : Design
    counts : (bin, neuron)
    weights : Weights
    reference : (neuron,)
        Constant rate per bin, for instance the training mean.
    nonlinearity : "exp" or "softplus"

    Returns
    -------
    (neuron,)
        NaN without spikes or with a reference of 0; −∞ for a rate of 0 where there was a spike.
    """
    with np.errstate(over="ignore"):
        rates = nonlinearity_named(nonlinearity).rate(design.linear_predictor(weights))
        # The metric refuses infinite rates; the largest number scores worse than anything real.
        return metrics.bits_per_spike(np.minimum(rates, np.finfo(float).max), counts, reference)


def _log_strengths(penalty: QuadraticPenalty) -> np.ndarray:
    return np.array([np.mean(np.log10(np.asarray(s) + 1e-9)) for s in penalty.named().values()])
