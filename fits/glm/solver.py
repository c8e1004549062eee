"""GLMs of all neurons at once, fitted to a stated gradient tolerance.

Preconditioned L-BFGS (Nocedal & Wright, Numerical Optimization, algorithm 7.4), batched: one
product with the regressors serves all neurons, everything else is done per neuron, so that a
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
    check_gram,
    compute_gram,
    exact_preconditioner,
    first_preconditioner,
    neuron_curvatures,
)
from neuromodels.fits.glm.design import Design, Weights
from neuromodels.fits.glm.likelihood import Loss, loss_named
from neuromodels.fits.glm.penalties import QuadraticPenalty

MEMORY, MEMORY_KRON = 8, 24
REFRESH_AFTER, REFRESH_WORTH = 20, 15
ARMIJO, CURVATURE = 1e-4, 0.5
TRIALS = 30
WORKING_BYTES = 2e9


@dataclass(frozen=True)
class GLMSolution:
    """Fitted weights, and how the fit of each neuron ended.

    Attributes
    ----------
    weights : Weights
    value : (neuron,)
        Objective: mean over bins of the loss, plus the penalty.
    iterations : (neuron,) int
    gradient_norm : (neuron,)
        Largest absolute derivative of the objective.
    converged : (neuron,) bool
        Whether `gradient_norm` is below the tolerance.
    message : (neuron,) str
        Why the fit stopped.
    """

    weights: Weights
    value: np.ndarray
    iterations: np.ndarray
    gradient_norm: np.ndarray
    converged: np.ndarray
    message: np.ndarray


def fit_glm(
    design: Design,
    response: np.ndarray,
    *,
    penalty: QuadraticPenalty | None = None,
    likelihood: str = "poisson",
    nonlinearity: str = "exp",
    tolerance: float = 1e-6,
    max_iterations: int = 200,
    start: Weights | None = None,
    gram: Gram | None = None,
) -> GLMSolution:
    """Most likely weights of every neuron, under a quadratic penalty.

    Minimises for each neuron (1/T) Σ_t ℓ(y_t, μ_t) + ½ wᵀ P w over its intercept b and weights w,
    with μ = f(b + x·w) per bin, T bins, P the neuron's penalty and ℓ the loss of the likelihood,
    see `neuromodels.fits.glm.likelihood`. Convex for every likelihood there.

    Parameters
    ----------
    design : Design
    response : (bin, neuron)
        Spikes per bin, or traces; negative with the Gaussian likelihood alone.
    penalty : QuadraticPenalty, optional
        Default none. The intercept is never penalised.
    likelihood : "poisson", "gaussian" or "gamma"
    nonlinearity : "exp" or "softplus" with Poisson, "identity" with Gaussian, "exp" with Gamma
    tolerance : float
        A neuron is done when no derivative of its objective exceeds this.
    max_iterations : int
    start : Weights, optional
        Where to begin, for instance the solution of a similar penalty.
    gram : Gram, optional
        `compute_gram(design)`, if it is known already.

    Returns
    -------
    GLMSolution

    Raises
    ------
    ValueError
        For responses that the likelihood does not have (with neuron and bin), and for sizes or
        options that do not fit.

    Notes
    -----
    A neuron without spikes has no most likely weights (its intercept runs to −∞). It gets weights
    of 0 and the intercept of half a spike in the whole recording, `converged` False, and a message.
    The same holds for a trace of zeros under the Gamma likelihood.
    """
    function = loss_named(likelihood, nonlinearity)
    response = checked_response(design, response, signed=function.signed)
    n_neurons = response.shape[1]
    penalty = QuadraticPenalty() if penalty is None else penalty
    penalty.check(design.n_shared, n_neurons)
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance}: expected a positive number")
    if gram is None:
        gram = compute_gram(design)
    check_gram(gram, design)
    size = 1 + design.n_shared + design.n_own
    rows = None
    if start is not None:
        rows = start.stack()
        if rows.shape != (n_neurons, size) or not np.isfinite(rows).all():
            raise ValueError(
                f"start holds {rows.shape[0]} neurons with {rows.shape[1]} weights (intercept "
                f"included): expected {n_neurons} with {size}, all finite"
            )
    problem = _Problem(design, penalty, function, gram, tolerance, max_iterations)
    fitted: list[_Neuron] = []
    for group in _groups(n_neurons, design, gram):
        neurons = [
            _begin(problem, n, response[:, n], None if rows is None else rows[n]) for n in group
        ]
        _fit_group(problem, [neuron for neuron in neurons if not neuron.done])
        fitted += neurons
    return GLMSolution(
        Weights.unstack(np.array([n.row for n in fitted]).reshape(-1, size), design.n_shared),
        np.array([n.value for n in fitted]),
        np.array([n.iterations for n in fitted], dtype=int),
        np.array([n.gradient_norm for n in fitted]),
        np.array([n.converged for n in fitted], dtype=bool),
        np.array([n.message for n in fitted], dtype=str),
    )


def checked_response(design: Design, response: np.ndarray, *, signed: bool = False) -> np.ndarray:
    """Responses that fit the design, or a ValueError that says what is wrong and where.

    Parameters
    ----------
    design : Design
    response : (bin, neuron)
    signed : bool
        Whether it may be negative.
    """
    name = "response" if signed else "counts"
    response = np.asarray(response)
    if response.ndim != 2 or len(response) != design.n_bins:
        raise ValueError(
            f"{name} has shape {response.shape}: expected (bin, neuron) with the design's "
            f"{design.n_bins} bins"
        )
    design.check_neurons(response.shape[1], name)
    bad = ~np.isfinite(response)
    if not signed:
        bad |= response < 0
    if bad.any():
        time, neuron = np.argwhere(bad)[0]
        raise ValueError(
            f"{name} is {response[time, neuron]} at bin {time}, neuron {neuron} ({bad.sum()} such "
            f"entries): expected finite numbers{'' if signed else ' that are not negative'}"
        )
    return response


def _groups(n_neurons: int, design: Design, gram: Gram) -> list[range]:
    """Neurons that are fitted together: as many as fit in memory."""
    size = 1 + design.n_shared + design.n_own
    dense = len(gram.shared) + design.n_own
    memory = MEMORY if gram.kron is None else MEMORY_KRON
    per_neuron = 8 * (6 * design.n_bins + 2 * dense**2 + (2 * memory + 8) * size)
    step = max(1, int(WORKING_BYTES // per_neuron))
    return [range(first, min(first + step, n_neurons)) for first in range(0, n_neurons, step)]


@dataclass(frozen=True)
class _Problem:
    design: Design
    penalty: QuadraticPenalty
    function: Loss
    gram: Gram
    tolerance: float
    max_iterations: int


@dataclass
class _Neuron:
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


def _begin(problem: _Problem, index: int, response: np.ndarray, row: np.ndarray | None) -> _Neuron:
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
    neuron = _Neuron(index, observed, mean, free, np.where(free, row, 0.0))
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


def _fit_group(problem: _Problem, active: list[_Neuron]) -> None:
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


def _indices(neurons: list[_Neuron]) -> np.ndarray:
    return np.array([neuron.index for neuron in neurons], dtype=int)


def _place(problem: _Problem, neuron: _Neuron, eta: np.ndarray) -> None:
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
    problem: _Problem, neuron: _Neuron, direction: np.ndarray, delta: np.ndarray
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


def _update_gradients(problem: _Problem, neurons: list[_Neuron]) -> None:
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


def _iterations_left(neuron: _Neuron, tolerance: float) -> float:
    """At the pace of the last iterations; a Hessian costs as much as many of them."""
    factor = np.log(neuron.norms[0] / neuron.norms[-1]) / (len(neuron.norms) - 1)
    return np.log(neuron.norms[-1] / tolerance) / factor if factor > 0 else np.inf


def _after_failed_search(problem: _Problem, neuron: _Neuron) -> None:
    fresh = neuron.refreshed_at == neuron.iterations - 1 and neuron.is_newton
    exhausted = fresh if problem.gram.kron is None else not neuron.pairs
    if exhausted or neuron.iterations >= problem.max_iterations:
        neuron.stop(
            f"no step decreases the objective any more: largest gradient {neuron.gradient_norm:.1e}"
        )
    else:
        neuron.wants_refresh = True


def _refresh(problem: _Problem, neurons: list[_Neuron]) -> None:
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
