"""GLMs of all neurons at once, fitted to a stated gradient tolerance.

The iteration is that of `neuromodels.fits.glm.lbfgs`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuromodels.fits.glm.curvature import Gram, check_gram, compute_gram
from neuromodels.fits.glm.design import Design, Weights
from neuromodels.fits.glm.lbfgs import MEMORY, MEMORY_KRON, Neuron, Problem, begin, fit_group
from neuromodels.fits.glm.likelihood import loss_named
from neuromodels.fits.glm.penalties import QuadraticPenalty

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
    problem = Problem(design, penalty, function, gram, tolerance, max_iterations)
    fitted: list[Neuron] = []
    for group in _groups(n_neurons, design, gram):
        neurons = [
            begin(problem, n, response[:, n], None if rows is None else rows[n]) for n in group
        ]
        fit_group(problem, [neuron for neuron in neurons if not neuron.done])
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
