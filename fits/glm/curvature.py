"""Second derivatives of the GLM objective, exact or approximate, and the solves with them.

The Hessian of one neuron is XᵀHX/T + P with H the curvature of the loss in every bin. At a constant
rate H is a number, so one Gram matrix of the regressors serves all neurons and all penalties: the
preconditioner of the fit. Where rates are strongly modulated the true Hessian takes its place. For
tens of thousands of stimulus columns the Gram is approximated by temporal ⊗ spatial covariance.

Columns are centred throughout: eliminating the intercept leaves their (weighted) covariance.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import linalg

from neuromodels.fits.glm.design import Chunk, Design, Weights
from neuromodels.fits.glm.likelihood import Loss
from neuromodels.fits.glm.parallel import ordered_map
from neuromodels.fits.glm.penalties import QuadraticPenalty

# Relative to the diagonal: makes duplicate columns solvable, moves nothing else.
JITTER = 1e-10
DENSE_LIMIT = 4000
# Effective bins per column at which a covariance is known well enough to precondition with.
BINS_PER_COLUMN = 30


@dataclass(frozen=True)
class NeuronCurvature:
    """Second derivatives of one neuron's loss at some weights.

    Attributes
    ----------
    weight : float
        Mean over bins of the curvature of the loss.
    mean : (column,)
        Of the shared and own regressors, weighted with it.
    covariance : (column, column)
        Likewise.
    """

    weight: float
    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Gram:
    """Covariance of the regressors over bins: computed once, reused for every penalty.

    Attributes
    ----------
    shared : (column, column) or None
        Covariance of the shared columns; with `kron` that of the columns after the stimulus.
    own : (neuron, own column, own column)
    cross : (neuron, column, own column) or None
        Covariance of shared with own columns; not kept with `kron`.
    kron : (basis, basis) and (pixel, pixel), or None
        Factors whose Kronecker product approximates the covariance of the stimulus columns.
    neurons : one NeuronCurvature per neuron, or empty
        Curvature at the weights of an earlier fit, see `gram_at`; it takes the place of a constant
        rate.
    """

    shared: np.ndarray
    own: np.ndarray
    cross: np.ndarray | None
    kron: tuple[np.ndarray, np.ndarray] | None = None
    neurons: tuple[NeuronCurvature, ...] = ()
    _eigenbases: dict = field(default_factory=dict, repr=False, compare=False)


def compute_gram(design: Design, kind: str = "auto") -> Gram:
    """Covariance of all regressors of a design, in one pass.

    Parameters
    ----------
    design : Design
    kind : "auto", "dense" or "kron"
        "auto" takes the Kronecker form if the design has a `kron` hint and more than 4000 columns.
    """
    if kind not in ("auto", "dense", "kron"):
        raise ValueError(f"kind={kind!r}: expected 'auto', 'dense' or 'kron'")
    if kind == "kron" and design.kron is None:
        raise ValueError("kind='kron' needs a design with kron=(n_basis, n_pixels)")
    if kind == "auto":
        kind = "kron" if design.kron is not None and design.n_shared > DENSE_LIMIT else "dense"
    n_basis, n_pixels = design.kron if kind == "kron" else (0, 0)
    n_stimulus = n_basis * n_pixels
    n_dense, n_own = design.n_shared - n_stimulus, design.n_own
    n_neurons = (design.n_neurons or 0) if n_own else 0
    temporal, spatial = np.zeros((n_basis, n_basis)), np.zeros((n_pixels, n_pixels))
    # Neighbouring rows of a spatial covariance are nearly equal: enough of them are enough.
    stride = max(1, design.n_bins * n_basis // max(20 * n_pixels, 20_000))
    dense = np.zeros((n_dense, n_dense))
    own = np.zeros((n_neurons, n_own, n_own))
    cross = None if n_stimulus else np.zeros((n_neurons, n_dense, n_own))
    for chunk in design.chunks(_rows(n_dense + n_own)):
        shared = chunk.shared - design.shared_mean
        if n_stimulus:
            stimulus = shared[:, :n_stimulus].reshape(-1, n_basis, n_pixels)
            by_basis = stimulus.transpose(1, 0, 2).reshape(n_basis, -1)
            temporal += by_basis @ by_basis.T
            rows = stimulus[::stride].reshape(-1, n_pixels)
            spatial += rows.T @ rows
            shared = shared[:, n_stimulus:]
        dense += shared.T @ shared
        for n in range(n_neurons):
            one = chunk.own_of(n) - design.own_mean[n]
            own[n] += one.T @ one
            if cross is not None:
                cross[n] += shared.T @ one
    for total in (dense, own, cross, temporal):
        if total is not None:
            total /= design.n_bins
    factors = (temporal, spatial / max(np.trace(spatial), 1e-300)) if n_stimulus else None
    return Gram(dense, own, cross, factors)


def _rows(n_columns: int) -> int:
    """Rows per chunk that make adding a product cheap against computing it."""
    return min(max(n_columns, 512), DENSE_LIMIT)


def check_gram(gram: Gram, design: Design) -> None:
    """Raise if a Gram belongs to a design of other sizes."""
    n_stimulus = 0 if gram.kron is None else len(gram.kron[0]) * len(gram.kron[1])
    sizes = n_stimulus + len(gram.shared), gram.own.shape[2]
    if sizes != (design.n_shared, design.n_own):
        raise ValueError(
            f"gram is of {sizes[0]} shared and {sizes[1]} own columns, the design has "
            f"{design.n_shared} and {design.n_own}"
        )


class DensePreconditioner:
    """Solve with (weight · covariance + penalty) for one neuron, intercept eliminated."""

    def __init__(
        self,
        weight: float,
        mean: np.ndarray,
        covariance: np.ndarray,
        penalty: tuple[np.ndarray, np.ndarray],
        free: np.ndarray,
    ) -> None:
        """`covariance` is overwritten; `penalty` is P over shared columns, own ridge diagonal."""
        shared_penalty, own_penalty = penalty
        matrix = covariance
        matrix *= weight
        n_shared = len(shared_penalty)
        matrix[:n_shared, :n_shared] += shared_penalty
        index = np.arange(n_shared, len(matrix))
        matrix[index, index] += own_penalty
        matrix[~free] = 0.0
        matrix[:, ~free] = 0.0
        diagonal = np.diagonal(matrix).copy()
        diagonal[diagonal <= 0] = 1.0
        self._scale = 1.0 / np.sqrt(diagonal)
        matrix *= self._scale
        matrix *= self._scale[:, None]
        np.fill_diagonal(matrix, 1.0)
        self._factor = _cholesky(matrix)
        self._weight, self._mean, self._free = weight, mean, free

    def solve(self, gradient: np.ndarray) -> np.ndarray:
        """Inverse Hessian times a gradient, both `(1 + shared + own,)`."""
        inner = (gradient[1:] - self._mean * gradient[0]) * self._free
        inner = linalg.cho_solve((self._factor, True), inner * self._scale, check_finite=False)
        inner = inner * self._scale * self._free
        return np.concatenate([[gradient[0] / self._weight - self._mean @ inner], inner])


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    if not len(matrix):
        return matrix
    jitter = JITTER
    while True:
        try:
            return linalg.cholesky(
                matrix + jitter * np.eye(len(matrix)), lower=True, check_finite=False
            )
        except linalg.LinAlgError:
            jitter *= 100
            if jitter > 1:
                raise


class KroneckerPreconditioner:
    """As `DensePreconditioner`, with temporal ⊗ spatial covariance for the stimulus columns."""

    def __init__(
        self,
        weight: float,
        gram: Gram,
        mean: np.ndarray,
        penalty: QuadraticPenalty,
        neuron: int,
        free: np.ndarray,
    ) -> None:
        in_time, in_space, variance = eigenbasis(gram, penalty)
        self._in_time, self._in_space = in_time, in_space
        n_stimulus = variance.size
        n_shared = n_stimulus + len(gram.shared)
        strengths, own_ridge = penalty.strengths_of(neuron)
        matrix = penalty.matrix_of(neuron, n_shared)
        diagonal = weight * variance
        for term, strength in zip(penalty.terms, strengths, strict=True):
            diagonal = diagonal + strength * _in_eigenbasis(term, in_time, in_space)
        self._inverse = 1.0 / (diagonal + 1e-6 * max(diagonal.mean(), 1e-300))
        own = gram.own[neuron] if len(gram.own) else np.zeros((0, 0))
        self._rest = DensePreconditioner(
            weight,
            mean[n_stimulus:],
            linalg.block_diag(gram.shared, own),
            (matrix[n_stimulus:, n_stimulus:].toarray(), np.full(len(own), own_ridge)),
            free[n_stimulus:],
        )
        self._stimulus = slice(1, 1 + n_stimulus)
        self._mean, self._free = mean[:n_stimulus], free[:n_stimulus]

    def solve(self, gradient: np.ndarray) -> np.ndarray:
        """Inverse Hessian times a gradient, both `(1 + shared + own,)`."""
        stimulus = self._stimulus
        rest = self._rest.solve(np.concatenate([gradient[:1], gradient[stimulus.stop :]]))
        inner = (gradient[stimulus] - self._mean * gradient[0]) * self._free
        image = inner.reshape(len(self._in_time), -1)
        image = self._in_time.T @ image @ self._in_space * self._inverse
        inner = (self._in_time @ image @ self._in_space.T).ravel() * self._free
        return np.concatenate([[rest[0] - self._mean @ inner], inner, rest[1:]])


def eigenbasis(gram: Gram, penalty: QuadraticPenalty) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Axes over basis functions and pixels along which covariance and penalties are near diagonal.

    Returns
    -------
    in_time : (basis, basis), in_space : (pixel, pixel)
        Eigenvectors in columns.
    variance : (basis, pixel)
        Of the stimulus along their products.
    """
    key = tuple(id(term) for term in penalty.terms)
    if key not in gram._eigenbases:
        vectors, values = [], []
        for side, covariance in enumerate(gram.kron):
            # A white stimulus has no axes of its own: a trace of the penalty then decides.
            mixed = covariance / max(np.trace(covariance), 1e-300)
            for term in penalty.terms:
                for pair in term.factors:
                    trace = pair[side].trace()
                    if trace > 0:
                        mixed = mixed + 1e-3 * pair[side].toarray() / trace
            axes = linalg.eigh(mixed)[1]
            vectors.append(axes)
            values.append(
                np.maximum(np.einsum("is,ij,js->s", axes, covariance, axes, optimize=True), 0)
            )
        # The terms are kept with their basis so that their ids stay theirs.
        gram._eigenbases[key] = (*vectors, np.outer(*values)), tuple(penalty.terms)
    return gram._eigenbases[key][0]


def _in_eigenbasis(term, in_time: np.ndarray, in_space: np.ndarray) -> np.ndarray:
    shape = len(in_time), len(in_space)
    if not term.factors:
        # A ridge, or a matrix whose structure is not known: its mean diagonal.
        return np.full(shape, term.matrix.diagonal()[: shape[0] * shape[1]].mean())
    total = np.zeros(shape)
    for over_time, over_space in term.factors:
        total += np.outer(
            np.sum(in_time * (over_time @ in_time), axis=0),
            np.sum(in_space * (over_space @ in_space), axis=0),
        )
    return total


def first_preconditioner(
    design: Design,
    gram: Gram,
    penalty: QuadraticPenalty,
    neuron: int,
    weight: float,
    free: np.ndarray,
) -> DensePreconditioner | KroneckerPreconditioner:
    """The Hessian of one neuron as its Gram knows it: constant rate, or from an earlier fit."""
    if gram.neurons:
        known = gram.neurons[neuron]
        return exact_preconditioner(design, penalty, neuron, known, free)
    own_mean = design.own_mean[neuron] if design.n_own else np.zeros(0)
    mean = np.concatenate([design.shared_mean, own_mean])
    if gram.kron is not None:
        return KroneckerPreconditioner(weight, gram, mean, penalty, neuron, free)
    n_shared = design.n_shared
    covariance = np.empty((len(mean), len(mean)))
    covariance[:n_shared, :n_shared] = gram.shared
    if design.n_own:
        covariance[:n_shared, n_shared:] = gram.cross[neuron]
        covariance[n_shared:, :n_shared] = gram.cross[neuron].T
        covariance[n_shared:, n_shared:] = gram.own[neuron]
    known = NeuronCurvature(weight, mean, covariance)
    return exact_preconditioner(design, penalty, neuron, known, free)


def exact_preconditioner(
    design: Design,
    penalty: QuadraticPenalty,
    neuron: int,
    curvature: NeuronCurvature,
    free: np.ndarray,
) -> DensePreconditioner:
    """Factor the Hessian of one neuron: curvature of its loss plus penalty."""
    shared = penalty.matrix_of(neuron, design.n_shared).toarray()
    own = np.full(design.n_own, penalty.strengths_of(neuron)[1])
    return DensePreconditioner(
        curvature.weight, curvature.mean, curvature.covariance.copy(), (shared, own), free
    )


def neuron_curvatures(
    design: Design, neurons: np.ndarray, weights: np.ndarray, dtype: type = np.float64
) -> list[NeuronCurvature]:
    """Curvature of some neurons' losses, from that of every bin: `weights (n, bin)`.

    A covariance that stands on many more bins than it has columns is taken from every k-th bin.
    Products within a chunk are taken in `dtype`: single precision is half the work, and enough to
    precondition with.
    """
    size = design.n_shared + design.n_own
    totals = np.array([np.sum(row) for row in weights])
    effective = totals**2 / [np.sum(row**2) for row in weights]
    strides = np.maximum(1, effective // (BINS_PER_COLUMN * max(size, 1))).astype(int)
    mass, shift = np.zeros(len(neurons)), np.zeros((len(neurons), size))
    hessians = np.zeros((len(neurons), size, size))
    for chunk in design.chunks(_rows(size)):
        shared = np.asarray(chunk.stored, dtype=dtype) - design.shared_mean.astype(dtype)

        def add(i: int, chunk: Chunk = chunk, shared: np.ndarray = shared) -> None:
            columns, n = shared[:: strides[i]], neurons[i]
            if chunk.has_own:
                own = chunk.own_of(n)[:: strides[i]] - design.own_mean[n]
                columns = np.concatenate([columns, own.astype(dtype)], axis=1)
            root = np.sqrt(weights[i, chunk.bins][:: strides[i]])
            scaled = columns * root[:, None].astype(dtype)
            hessians[i] += scaled.T @ scaled
            shift[i] += root @ scaled
            mass[i] += root @ root

        for _ in ordered_map(add, range(len(neurons))):
            pass
    result = []
    for i, n in enumerate(neurons):
        offset = shift[i] / mass[i]
        covariance = hessians[i] / mass[i] - np.outer(offset, offset)
        own_mean = design.own_mean[n] if design.n_own else np.zeros(0)
        mean = np.concatenate([design.shared_mean, own_mean]) + offset
        result.append(NeuronCurvature(totals[i] / design.n_bins, mean, covariance))
    return result


def gram_at(
    design: Design,
    gram: Gram,
    response: np.ndarray,
    weights: Weights,
    function: Loss,
    memory: float = 1e9,
) -> Gram:
    """A Gram that also knows every neuron's curvature at given weights, for fits near to them.

    Returned unchanged for a Kronecker Gram, or if the curvatures would not fit in `memory` bytes.
    """
    n_neurons = response.shape[1]
    per_neuron = 8 * ((design.n_shared + design.n_own) ** 2 + 2 * design.n_bins)
    if gram.kron is not None or n_neurons * per_neuron > memory:
        return gram
    neurons = np.arange(n_neurons)
    eta = design.predictor(weights.stack(), neurons)
    at_bins = [function.curvature(eta[n], function.observed(response[:, n])) for n in neurons]
    known = neuron_curvatures(design, neurons, np.array(at_bins))
    return replace(gram, neurons=tuple(known))


def gram_of_copies(
    design: Design, gram: Gram, response: np.ndarray, weights: Weights, function: Loss, n: int
) -> Gram:
    """For n fits of a single neuron near to given weights: they share its curvature there.

    With too many columns for that, or without spikes, they share `gram`.
    """
    size = design.n_shared + design.n_own
    if size <= DENSE_LIMIT and response.any():
        eta = design.predictor(weights.stack(), np.arange(1))
        at_bins = function.curvature(eta[0], function.observed(response[:, 0]))[None]
        known = neuron_curvatures(design, np.arange(1), at_bins, dtype=np.float32)
        split = design.n_shared
        covariance = known[0].covariance
        gram = Gram(
            covariance[:split, :split],
            covariance[None, split:, split:],
            covariance[None, :split, split:],
            neurons=tuple(known),
        )
    return replace(
        gram,
        own=np.repeat(gram.own, n, axis=0),
        cross=None if gram.cross is None else np.repeat(gram.cross, n, axis=0),
        neurons=gram.neurons * n,
    )
