"""Penalties chosen per neuron on validation blocks, along a warm-started path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neuromodels.fits.glm.curvature import Gram, compute_gram, gram_at, gram_of_copies
from neuromodels.fits.glm.design import Design, Weights
from neuromodels.fits.glm.likelihood import loss_named
from neuromodels.fits.glm.penalties import QuadraticPenalty, choose
from neuromodels.fits.glm.solver import GLMSolution, checked_response, fit_glm
from neuromodels.fits.likelihoods import LIKELIHOODS

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
        Validation score, relative to the training mean: bits per spike for counts, variance
        explained for traces; NaN where it is undefined, as for a neuron without spikes.
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
    response_train: np.ndarray,
    design_validation: Design,
    response_validation: np.ndarray,
    candidates: Sequence[QuadraticPenalty],
    *,
    likelihood: str = "poisson",
    nonlinearity: str = "exp",
    tolerance: float = 1e-6,
    path_tolerance: float = 1e-5,
    max_iterations: int = 200,
    gram: Gram | None = None,
) -> Selection:
    """Give every neuron the penalty that predicts its validation blocks best.

    Parameters
    ----------
    design_train, design_validation : Design
        The same columns in training and validation bins.
    response_train, response_validation : (bin, neuron)
    candidates : sequence of QuadraticPenalty
        The same terms with different strengths, by convention from strong to weak: each fit starts
        at the solution of the most similar one before it, and ties go to the first.
    likelihood, nonlinearity, max_iterations, gram
        As for `fit_glm`; the Gram is that of `design_train`.
    tolerance : float
        Of the solution that is returned.
    path_tolerance : float
        Of the fits that are only scored.

    Returns
    -------
    Selection
        A neuron without a score gets the first candidate.
    """
    candidates = list(candidates)
    if not candidates:
        raise ValueError("candidates is empty: give at least one penalty")
    function = loss_named(likelihood, nonlinearity)
    response_train = checked_response(design_train, response_train, signed=function.signed)
    response_validation = checked_response(
        design_validation, response_validation, signed=function.signed
    )
    n_neurons = response_train.shape[1]
    if response_validation.shape[1] != n_neurons:
        raise ValueError(
            f"response_validation has {response_validation.shape[1]} neurons, response_train has "
            f"{n_neurons}"
        )
    choose(candidates, np.zeros(n_neurons, dtype=int))  # raises if their terms differ
    if gram is None:
        gram = compute_gram(design_train)
    means = response_train.mean(axis=0, dtype=np.float64)
    family = {"likelihood": likelihood, "nonlinearity": nonlinearity}
    options = family | {"max_iterations": max_iterations}
    near = gram
    places = np.array([_log_strengths(candidate) for candidate in candidates])
    fits: list[GLMSolution] = []
    scores = np.full((len(candidates), n_neurons), np.nan)
    for k, candidate in enumerate(candidates):
        start = None
        if k:
            nearest = int(np.argmin(np.abs(places[:k] - places[k]).sum(axis=1)))
            start = fits[nearest].weights
        fit = fit_glm(
            design_train,
            response_train,
            penalty=candidate,
            start=start,
            tolerance=max(tolerance, path_tolerance),
            gram=near,
            **options,
        )
        # Neighbours on the path have nearly the same curvature: a few iterations then do.
        if np.median(fit.iterations) > SLOW and k + 1 < len(candidates):
            near = gram_at(design_train, gram, response_train, fit.weights, function)
        fits.append(fit)
        scores[k] = validation_scores(
            design_validation, response_validation, fit.weights, means, **family
        )
    chosen = np.argmax(np.where(np.isnan(scores), -np.inf, scores), axis=0)
    penalty = choose(candidates, chosen)
    rows = np.array([fits[k].weights.stack()[n] for n, k in enumerate(chosen)])
    solution = fit_glm(
        design_train,
        response_train,
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
    response_train: np.ndarray,
    design_validation: Design,
    response_validation: np.ndarray,
    candidates: Sequence[QuadraticPenalty],
    *,
    likelihood: str = "poisson",
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
    function = loss_named(likelihood, nonlinearity)
    response_train = checked_response(design_train, response_train, signed=function.signed)
    response_validation = checked_response(
        design_validation, response_validation, signed=function.signed
    )
    if response_train.shape[1] != 1 or response_validation.shape[1] != 1:
        raise ValueError(f"{response_train.shape[1]} neurons: expected a single one")
    n = len(candidates)
    together = choose(candidates, np.arange(n))
    if gram is None:
        gram = compute_gram(design_train)
    means = response_train.mean(axis=0, dtype=np.float64)
    family = {"likelihood": likelihood, "nonlinearity": nonlinearity}
    options = family | {"max_iterations": max_iterations}
    path = max(tolerance, path_tolerance)
    middle = fit_glm(
        design_train,
        response_train,
        penalty=candidates[n // 2],
        tolerance=path,
        gram=gram,
        **options,
    )
    near = gram_of_copies(design_train, gram, response_train, middle.weights, function, n)
    rows = np.repeat(middle.weights.stack(), n, axis=0)
    fits = fit_glm(
        design_train.copies(n),
        np.repeat(response_train, n, axis=1),
        penalty=together,
        start=Weights.unstack(rows, design_train.n_shared),
        tolerance=path,
        gram=near,
        **options,
    )
    scores = validation_scores(
        design_validation.copies(n),
        np.repeat(response_validation, n, axis=1),
        fits.weights,
        np.repeat(means, n),
        **family,
    )[:, None]
    chosen = np.argmax(np.where(np.isnan(scores), -np.inf, scores), axis=0)
    penalty = choose(candidates, chosen)
    solution = fit_glm(
        design_train,
        response_train,
        penalty=penalty,
        start=Weights.unstack(fits.weights.stack()[chosen], design_train.n_shared),
        tolerance=tolerance,
        gram=replace(near, own=near.own[:1], neurons=near.neurons[:1]),
        **options,
    )
    strengths = {name: np.asarray(values) for name, values in penalty.named().items()}
    return Selection(penalty, strengths, chosen, scores, solution)


def validation_scores(
    design: Design,
    response: np.ndarray,
    weights: Weights,
    reference: np.ndarray,
    *,
    likelihood: str = "poisson",
    nonlinearity: str = "exp",
) -> np.ndarray:
    """How well weights predict every neuron, by the score that choices are made by.

    Parameters
    ----------
    design : Design
    response : (bin, neuron)
    weights : Weights
    reference : (neuron,)
        Constant response per bin, for instance the training mean.
    likelihood, nonlinearity : str
        As for `fit_glm`.

    Returns
    -------
    (neuron,)
        See `Likelihood.validation`.
    """
    with np.errstate(over="ignore"):
        rates = loss_named(likelihood, nonlinearity).rate(design.linear_predictor(weights))
    return LIKELIHOODS[likelihood].validation(rates, response, reference)


def _log_strengths(penalty: QuadraticPenalty) -> np.ndarray:
    return np.array([np.mean(np.log10(np.asarray(s) + 1e-9)) for s in penalty.named().values()])
