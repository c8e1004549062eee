"""Low-rank stimulus filters: a sum of products of a temporal and a spatial filter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from neuromodels.fits.glm.design import Design, Weights
from neuromodels.fits.glm.penalties import PenaltyTerm, QuadraticPenalty
from neuromodels.fits.glm.selection import Selection
from neuromodels.fits.glm.solver import GLMSolution, fit_glm

MAX_ALTERNATIONS = 100


class LowRankFit(NamedTuple):
    """Factors of every neuron's filter, and how their fit ended.

    Attributes
    ----------
    temporal : numpy.ndarray
        (rank, basis, neuron); carries the size of the filter.
    spatial : numpy.ndarray
        (rank, pixel, neuron); orthonormal over rank, largest weight positive.
    solution : GLMSolution
        Of the assembled filter. `iterations` counts alternations; `gradient_norm` is the larger of
        both problems, each the full filter's gradient along orthonormal axes of the held factor.
    """

    temporal: np.ndarray
    spatial: np.ndarray
    solution: GLMSolution


class _Factors(NamedTuple):
    temporal: np.ndarray
    spatial: np.ndarray
    rest: np.ndarray
    intercept: float


def _normalized(temporal: np.ndarray, spatial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fix scale, order and sign: the product of the factors stays as it is."""
    rank = len(temporal)
    left, size, right = np.linalg.svd(temporal.T @ spatial, full_matrices=False)
    spatial = right[:rank]
    sign = np.sign(spatial[np.arange(rank), np.abs(spatial).argmax(axis=1)])
    sign[sign == 0] = 1.0
    return (left[:, :rank] * size[:rank]).T * sign[:, None], spatial * sign[:, None]


class _Alternation:
    """The two convex problems of one neuron's filter."""

    def __init__(
        self,
        design: Design,
        counts: np.ndarray,
        penalty: sparse.csr_array,
        n_basis: int,
        **solver,
    ):
        self.design, self.counts, self.penalty = design, counts[:, None], penalty
        self.n_basis, self.solver = n_basis, solver

    def improve(self, factors: _Factors, temporal: bool) -> tuple[_Factors, GLMSolution]:
        """Fit one factor while the other is held."""
        held = factors.spatial if temporal else factors.temporal
        free = factors.temporal if temporal else factors.spatial
        # Orthonormal axes of the held factor: the gradient is then that of the full filter, seen
        # along them, whatever the size of the factors.
        axes, mixing = np.linalg.qr(held.T)
        rank, n_pixels = len(held), factors.spatial.shape[1]
        # Columns of the smaller problem run over (basis, rank) or (rank, pixel), then the rest.
        if temporal:
            embedding = sparse.kron(sparse.eye_array(self.n_basis), axes, format="csr")
            start = (mixing @ free).T.ravel()
        else:
            embedding = sparse.kron(axes, sparse.eye_array(n_pixels), format="csr")
            start = (mixing @ free).ravel()
        n_rest = len(factors.rest)
        if n_rest:
            embedding = sparse.block_diag([embedding, sparse.eye_array(n_rest)], format="csr")
            start = np.concatenate([start, factors.rest])
        features = np.concatenate(
            [self._along(axes, chunk.shared, temporal, n_rest) for chunk in self.design.chunks()]
        )
        penalty = PenaltyTerm("filter", (embedding.T @ self.penalty @ embedding).tocsr())
        solution = fit_glm(
            Design(features),
            self.counts,
            penalty=QuadraticPenalty((penalty,), (1.0,)),
            start=Weights(np.array([factors.intercept]), start[:, None], np.empty((0, 1))),
            **self.solver,
        )
        fitted, rest = np.split(solution.weights.shared[:, 0], [features.shape[1] - n_rest])
        if temporal:
            pair = fitted.reshape(self.n_basis, rank).T, axes.T
        else:
            pair = axes.T, fitted.reshape(rank, n_pixels)
        intercept = float(solution.weights.intercept[0])
        return _Factors(*_normalized(*pair), rest, intercept), solution

    def _along(
        self, axes: np.ndarray, shared: np.ndarray, temporal: bool, n_rest: int
    ) -> np.ndarray:
        """Regressors (bin, basis × pixel) seen along the axes of the held factor, then the rest."""
        stimulus, rest = np.split(shared, [shared.shape[1] - n_rest], axis=1)
        by_basis = stimulus.reshape(len(shared), self.n_basis, -1)
        seen = (by_basis @ axes if temporal else axes.T @ by_basis).reshape(len(shared), -1)
        return np.concatenate([seen, rest], axis=1) if n_rest else seen


def fit_low_rank(
    design: Design,
    counts: np.ndarray,
    selection: Selection,
    *,
    rank: int,
    n_basis: int,
    n_rest: int = 0,
    **solver,
) -> LowRankFit:
    """Fit filters of rank R, starting from full ones.

    Parameters
    ----------
    design : Design
        Of the full filter: shared columns (basis, pixel), then those that are no part of it.
    counts : numpy.ndarray
        (bin, neuron).
    selection : Selection
        Fit of the full filters: their penalties are kept.
    rank : int
        R.
    n_basis : int
        Temporal basis functions.
    n_rest : int
        Columns after the filter, for instance covariates; both problems fit their weights.
    **solver
        `likelihood`, `nonlinearity`, `tolerance`, `max_iterations` of `fit_glm`.

    Returns
    -------
    LowRankFit
        Factors and diagnostics.

    Notes
    -----
    The best rank-R part of the full filter (SVD) starts an alternation of two convex fits: spatial
    filters given the temporal ones, and the reverse. The objective never rises, and the penalty is
    that of the assembled filter. A neuron is done when neither problem needs a step to reach the
    tolerance. The whole is not convex: this is a minimum near the full solution.
    """
    full = selection.solution
    n_columns, n_neurons = full.weights.shared.shape
    rows: list[tuple] = []
    temporal = np.zeros((rank, n_basis, n_neurons))
    n_filter = n_columns - n_rest
    spatial = np.zeros((rank, n_filter // n_basis, n_neurons))
    rest = np.zeros((n_rest, n_neurons))
    for neuron in range(n_neurons):
        filter_ = full.weights.shared[:n_filter, neuron].reshape(n_basis, -1)
        intercept = float(full.weights.intercept[neuron])
        if not filter_.any():
            # A silent neuron has no filter to factor.
            rows.append(
                (
                    intercept,
                    full.value[neuron],
                    0,
                    full.gradient_norm[neuron],
                    False,
                    str(full.message[neuron]),
                )
            )
            continue
        left, size, right = np.linalg.svd(filter_, full_matrices=False)
        others = full.weights.shared[n_filter:, neuron]
        factors = _Factors((left[:, :rank] * size[:rank]).T, right[:rank], others, intercept)
        problem = _Alternation(
            design,
            counts[:, neuron],
            selection.penalty.matrix_of(neuron, n_columns),
            n_basis,
            **solver,
        )
        alternations, still = 0, False
        while not still and alternations < MAX_ALTERNATIONS:
            alternations += 1
            factors, over_space = problem.improve(factors, temporal=False)
            factors, over_time = problem.improve(factors, temporal=True)
            still = bool(over_space.iterations[0] == 0 and over_time.iterations[0] == 0)
        gradient = float(max(over_space.gradient_norm[0], over_time.gradient_norm[0]))
        message = "converged" if still else f"stopped at {MAX_ALTERNATIONS} alternations"
        rows.append(
            (factors.intercept, float(over_time.value[0]), alternations, gradient, still, message)
        )
        temporal[..., neuron], spatial[..., neuron] = factors.temporal, factors.spatial
        rest[:, neuron] = factors.rest
    intercept, value, iterations, gradient, converged, message = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    assembled = np.einsum("rbn,rpn->bpn", temporal, spatial).reshape(n_filter, n_neurons)
    shared = np.concatenate([assembled, rest])
    weights = Weights(intercept, shared, np.empty((0, n_neurons)))
    return LowRankFit(
        temporal,
        spatial,
        GLMSolution(weights, value, iterations, gradient, converged, message),
    )
