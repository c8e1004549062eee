"""Preconditioned L-BFGS of many neurons side by side (Nocedal & Wright, algorithm 7.4).

One product with the regressors serves all neurons, everything else is done per neuron, so that a
neuron's weights do not depend on which others are fitted with it. The initial inverse Hessian of
each neuron is that of a constant rate; when that is a poor model of the true one (strong
modulation, collinear regressors), the true Hessian at the current point replaces it, which makes
the next step a Newton step.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuromodels.fits.glm.curvature import (
    DensePreconditioner,
    Gram,
    KroneckerPreconditioner,
    exact_preconditioner,
    first_preconditioner,
    neuron_curvatures,
)
from neuromodels.fits.glm.design import Design
from neuromodels.fits.glm.likelihood import Loss
from neuromodels.fits.glm.penalties import QuadraticPenalty

MEMORY, MEMORY_KRON = 8, 24
REFRESH_AFTER, REFRESH_WORTH = 20, 15
ARMIJO, CURVATURE = 1e-4, 0.5
TRIALS = 30


@dataclass(frozen=True)
class Problem:
    """What all neurons of a fit have in common."""

    design: Design
    penalty: QuadraticPenalty
    function: Loss
    gram: Gram
    tolerance: float
    max_iterations: int


@dataclass
class Neuron:
    """Where the fit of one neuron stands."""

    index: int
    observed: Any
    mean: float
    free: np.ndarray
    row: np.ndarray
    preconditioner: DensePreconditioner | KroneckerPreconditioner | None = None
    penalty_slope: np.ndarray | None = None
    eta: np.ndarray | None = None
    residual: np.ndarray | None = None
    value: float = np.nan
    gradient: np.ndarray | None = None
    last_step: np.ndarray | None = None
    gradient_norm: float = np.inf
    norms: deque = field(default_factory=lambda: deque(maxlen=6))
    pairs: deque = field(default_factory=deque)
    iterations: int = 0
    refreshed_at: int = 0
    is_newton: bool = False
    wants_refresh: bool = False
    done: bool = False
    converged: bool = False
    message: str = ""

    def direction(self) -> np.ndarray:
        """Two-loop recursion; steepest descent in the metric of the preconditioner at first."""
        vector = self.gradient.copy()
        weights = []
        for step, change, inverse in reversed(self.pairs):
            weight = inverse * np.sum(step * vector)
            vector -= weight * change
            weights.append(weight)
        vector = self.preconditioner.solve(vector)
        for (step, change, inverse), weight in zip(self.pairs, reversed(weights), strict=True):
            vector += (weight - inverse * np.sum(change * vector)) * step
        return -vector

    def stop(self, message: str, converged: bool = False) -> None:
        """End the fit of this neuron and let go of what only the iteration needs."""
        self.done, self.converged, self.message = True, converged, message
        self.eta = self.residual = self.preconditioner = None
        self.pairs.clear()


def begin(problem: Problem, index: int, response: np.ndarray, row: np.ndarray | None) -> Neuron:
    """A neuron at its first weights: those given (`row`), or a constant response."""
    design, function = problem.design, problem.function
    size = 1 + design.n_shared + design.n_own
    free = np.ones(size, dtype=bool)
    if design.mask is not None:
        free[1 : 1 + design.n_shared] = design.mask[:, index]
    mean = float(np.mean(response, dtype=np.float64))
    silent = mean == 0 and not function.signed
    null = np.zeros(size)
    null[0] = function.inverse(0.5 / design.n_bins if silent else mean)
    if row is None or silent:
        row = null
    observed = function.observed(response)
    neuron = Neuron(index, observed, mean, free, np.where(free, row, 0.0))
    neuron.pairs = deque(maxlen=MEMORY if problem.gram.kron is None else MEMORY_KRON)
    if silent:
        eta = np.full(design.n_bins, row[0])
        total, residual = function.loss(eta, neuron.observed)
        gradient = design.gradient(residual[None], np.array([index]))[0] * free
        neuron.value = total / design.n_bins
        neuron.gradient_norm = float(np.abs(gradient).max())
        neuron.stop(
            f"{function.empty}: the likelihood has no maximum; weights are 0, the response adds up "
            "to one half over all bins"
        )
        return neuron
    weight = function.curvature_at_rate(mean)
    neuron.preconditioner = first_preconditioner(
        design, problem.gram, problem.penalty, index, weight, free[1:]
    )
    return neuron


def fit_group(problem: Problem, active: list[Neuron]) -> None:
    """Fit neurons that have begun, in place, until each has converged or stopped."""
    design = problem.design
    if not active:
        return
    eta = design.predictor(np.array([n.row for n in active]), _indices(active))
    for neuron, one in zip(active, eta, strict=True):
        _place(problem, neuron, one)
    _update_gradients(problem, active)
    active = [neuron for neuron in active if not neuron.done]
    while active:
        directions = []
        for neuron in active:
            direction = neuron.direction()
            if not np.sum(direction * neuron.gradient) < 0:
                neuron.pairs.clear()
                direction = neuron.direction()
            directions.append(direction)
        along = design.predictor(np.array(directions), _indices(active))
        moved = []
        for neuron, direction, delta in zip(active, directions, along, strict=True):
            neuron.iterations += 1
            if _line_search(problem, neuron, direction, delta):
                moved.append(neuron)
            else:
                _after_failed_search(problem, neuron)
        _update_gradients(problem, moved)
        active = [neuron for neuron in active if not neuron.done]
        _refresh(problem, [neuron for neuron in active if neuron.wants_refresh])


def _indices(neurons: list[Neuron]) -> np.ndarray:
    return np.array([neuron.index for neuron in neurons], dtype=int)


def _place(problem: Problem, neuron: Neuron, eta: np.ndarray) -> None:
    """Value and residual at a neuron's first weights; a start that overflows is replaced."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        total, residual = problem.function.loss(eta, neuron.observed)
    if not np.isfinite(total):
        neuron.row = np.zeros_like(neuron.row)
        neuron.row[0] = problem.function.inverse(neuron.mean)
        eta = np.full_like(eta, neuron.row[0])
        total, residual = problem.function.loss(eta, neuron.observed)
    slope = problem.penalty.times(neuron.index, neuron.row, problem.design.n_shared)
    neuron.eta, neuron.residual, neuron.penalty_slope = eta, residual, slope
    neuron.value = total / problem.design.n_bins + 0.5 * np.sum(neuron.row * slope)


def _line_search(
    problem: Problem, neuron: Neuron, direction: np.ndarray, delta: np.ndarray
) -> bool:
    """Move along a direction until the slope has halved; False if nothing decreases.

    The objective along a line is convex, so the sign of its slope says on which side of the
    minimum a trial lies: bracket it, then interpolate the slope. A trial costs one exp per bin.
    """
    n_bins = problem.design.n_bins
    penalty_along = problem.penalty.times(neuron.index, direction, problem.design.n_shared)
    linear = np.sum(neuron.penalty_slope * direction)
    quadratic = np.sum(penalty_along * direction)
    base = 0.5 * np.sum(neuron.penalty_slope * neuron.row)
    slope_at_0 = np.sum(neuron.gradient * direction)
    slack = 1e-13 * (1.0 + abs(neuron.value))
    low, high = (0.0, slope_at_0), (np.inf, np.nan)
    best = None
    step = 1.0
    for _ in range(TRIALS):
        eta = neuron.eta + step * delta
        with np.errstate(all="ignore"):
            total, residual = problem.function.loss(eta, neuron.observed)
            value = total / n_bins + base + step * linear + 0.5 * step**2 * quadratic
            slope = np.sum(residual * delta) / n_bins + linear + step * quadratic
        finite = np.isfinite(value) and np.isfinite(slope)
        decreases = finite and value <= neuron.value + ARMIJO * step * slope_at_0 + slack
        if decreases:
            best = step, value, eta, residual
            if abs(slope) <= CURVATURE * abs(slope_at_0):
                break
        if finite and slope < 0:
            previous, low = low, (step, slope)
            if high[0] == np.inf:
                rise = (slope - previous[1]) / (step - previous[0])
                newton = step - slope / rise if rise > 0 else np.inf
                step = float(np.clip(newton, 1.5 * step, 10.0 * step))
                continue
        else:
            high = (step, slope if finite else np.nan)
        width = high[0] - low[0]
        if np.isfinite(high[1]) and high[1] > low[1]:
            guess = low[0] - low[1] * width / (high[1] - low[1])
        else:
            guess = low[0] + 0.3 * width
        step = float(np.clip(guess, low[0] + 0.1 * width, high[0] - 0.1 * width))
    if best is None:
        return False
    step, neuron.value, neuron.eta, neuron.residual = best
    neuron.penalty_slope = neuron.penalty_slope + step * penalty_along
    neuron.row = neuron.row + step * direction
    neuron.last_step = step * direction
    return True


def _update_gradients(problem: Problem, neurons: list[Neuron]) -> None:
    """New gradients, what L-BFGS remembers of the change, and whether to stop or refresh."""
    if not neurons:
        return
    dense = problem.gram.kron is None
    residual = np.array([neuron.residual for neuron in neurons])
    gradients = problem.design.gradient(residual, _indices(neurons))
    for neuron, gradient in zip(neurons, gradients, strict=True):
        gradient = (gradient + neuron.penalty_slope) * neuron.free
        if neuron.last_step is not None:
            change = gradient - neuron.gradient
            product = np.sum(neuron.last_step * change)
            if product > 1e-10 * np.linalg.norm(neuron.last_step) * np.linalg.norm(change):
                neuron.pairs.append((neuron.last_step, change, 1.0 / product))
        neuron.gradient = gradient
        neuron.gradient_norm = float(np.abs(gradient).max())
        neuron.norms.append(neuron.gradient_norm)
        if neuron.gradient_norm < problem.tolerance:
            neuron.stop("converged", converged=True)
        elif neuron.iterations >= problem.max_iterations:
            neuron.stop(
                f"stopped at the limit of {problem.max_iterations} iterations: largest gradient "
                f"{neuron.gradient_norm:.1e}"
            )
        elif dense and neuron.iterations - neuron.refreshed_at >= REFRESH_AFTER:
            neuron.wants_refresh = _iterations_left(neuron, problem.tolerance) > REFRESH_WORTH


def _iterations_left(neuron: Neuron, tolerance: float) -> float:
    """At the pace of the last iterations; a Hessian costs as much as many of them."""
    factor = np.log(neuron.norms[0] / neuron.norms[-1]) / (len(neuron.norms) - 1)
    return np.log(neuron.norms[-1] / tolerance) / factor if factor > 0 else np.inf


def _after_failed_search(problem: Problem, neuron: Neuron) -> None:
    fresh = neuron.refreshed_at == neuron.iterations - 1 and neuron.is_newton
    exhausted = fresh if problem.gram.kron is None else not neuron.pairs
    if exhausted or neuron.iterations >= problem.max_iterations:
        neuron.stop(
            f"no step decreases the objective any more: largest gradient {neuron.gradient_norm:.1e}"
        )
    else:
        neuron.wants_refresh = True


def _refresh(problem: Problem, neurons: list[Neuron]) -> None:
    """Precondition with the true Hessian at the current point and forget the steps before."""
    for neuron in neurons:
        neuron.wants_refresh = False
        neuron.refreshed_at = neuron.iterations
    if problem.gram.kron is not None:
        # Too many columns for a Hessian: begin anew with the constant-rate one.
        for neuron in neurons:
            neuron.pairs.clear()
        return
    if not neurons:
        return
    weights = np.array([problem.function.curvature(n.eta, n.observed) for n in neurons])
    known = neuron_curvatures(problem.design, _indices(neurons), weights)
    for neuron, curvature in zip(neurons, known, strict=True):
        neuron.preconditioner = exact_preconditioner(
            problem.design, problem.penalty, neuron.index, curvature, neuron.free[1:]
        )
        neuron.is_newton = True
        neuron.pairs.clear()
