"""Quadratic penalties on GLM weights: ridge and smoothness, with strengths per neuron.

The penalty of neuron n is ½ wᵀ P_n w with P_n = Σ_k strength_kn · matrix_k over the shared columns
and ½ own_n ‖v‖² over its own columns. It is added to the objective per *bin* (mean over bins), so a
strength does not depend on how long the recording is. The intercept is never penalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class PenaltyTerm:
    """One penalty matrix over the shared columns, by name.

    Attributes
    ----------
    name : str
    matrix : sparse (column, column), symmetric and positive semi-definite
    factors : tuple of (over basis, over pixels) pairs of sparse matrices
        If the matrix on the first (basis, pixel) columns is a sum of Kronecker products, these.
    """

    name: str
    matrix: sparse.csr_array
    factors: tuple[tuple[sparse.csr_array, sparse.csr_array], ...] = ()


def ridge(n_columns: int, first: int = 0, last: int | None = None, name="ridge") -> PenaltyTerm:
    """Keep weights small: ½ ‖w‖² over columns `first` to `last` (exclusive) of `n_columns`."""
    last = n_columns if last is None else last
    if not 0 <= first <= last <= n_columns:
        raise ValueError(f"ridge over columns {first} to {last} does not fit {n_columns} columns")
    diagonal = np.zeros(n_columns)
    diagonal[first:last] = 1.0
    return PenaltyTerm(name, sparse.diags_array(diagonal).tocsr())


def smoothness(
    n_basis: int,
    shape: Sequence[int],
    *,
    n_columns: int | None = None,
    order: int = 2,
    over: str = "space",
    name: str | None = None,
) -> PenaltyTerm:
    """Keep neighbouring weights of a stimulus filter alike: squared differences, summed.

    Parameters
    ----------
    n_basis : int
        Temporal basis functions; columns are ordered (basis, [channel,] y, x) in C order.
    shape : (y, x) or (channel, y, x)
        Differences are taken over y and x, never over channels.
    n_columns : int, optional
        All shared columns; those that follow the stimulus (couplings) are not penalised.
    order : 1 or 2
        First or second differences. An axis too short to have any is left alone.
    over : "space" or "basis"
    name : str, optional
        Default "smoothness_space" or "smoothness_basis".
    """
    if order not in (1, 2):
        raise ValueError(f"order={order}: expected 1 (first) or 2 (second differences)")
    if over not in ("space", "basis"):
        raise ValueError(f"over={over!r}: expected 'space' or 'basis'")
    if len(shape) not in (2, 3):
        raise ValueError(f"shape={tuple(shape)}: expected (y, x) or (channel, y, x)")
    channels, height, width = (1, *shape) if len(shape) == 2 else shape
    if over == "space":
        down = sparse.kron(_differences(height, order), sparse.eye_array(width))
        across = sparse.kron(sparse.eye_array(height), _differences(width, order))
        space = sparse.kron(sparse.eye_array(channels), down + across)
        factors = sparse.eye_array(n_basis).tocsr(), space.tocsr()
    else:
        pixels = sparse.eye_array(channels * height * width)
        factors = _differences(n_basis, order), pixels.tocsr()
    matrix = sparse.kron(*factors)
    n_stimulus = matrix.shape[0]
    n_columns = n_stimulus if n_columns is None else n_columns
    if n_columns < n_stimulus:
        raise ValueError(f"n_columns={n_columns} is less than the {n_stimulus} of the stimulus")
    rest = n_columns - n_stimulus
    padded = sparse.block_diag([matrix, sparse.csr_array((rest, rest))]) if rest else matrix
    return PenaltyTerm(name or f"smoothness_{over}", padded.tocsr(), (factors,))


def _differences(length: int, order: int) -> sparse.csr_array:
    if length <= order:
        return sparse.csr_array((length, length))
    matrix = sparse.csr_array(np.diff(np.eye(length), n=order, axis=0))
    return (matrix.T @ matrix).tocsr()


@dataclass(frozen=True)
class QuadraticPenalty:
    """A sum of penalty terms, each with one strength or one per neuron.

    Attributes
    ----------
    terms : sequence of PenaltyTerm, with different names
    strengths : as many numbers or (neuron,) arrays, not negative
    own : number or (neuron,) array
        Ridge on every neuron's own columns.
    """

    terms: Sequence[PenaltyTerm] = ()
    strengths: Sequence[float | np.ndarray] = ()
    own: float | np.ndarray = 0.0

    def __post_init__(self) -> None:
        if len(self.terms) != len(self.strengths):
            raise ValueError(f"{len(self.terms)} terms but {len(self.strengths)} strengths")
        names = [term.name for term in self.terms]
        if len(set(names)) < len(names) or "own" in names:
            raise ValueError(f"names of penalty terms must differ (and not be 'own'): {names}")
        for name, strength in self.named().items():
            values = np.asarray(strength, dtype=float)
            if values.ndim > 1 or not (np.isfinite(values).all() and (values >= 0).all()):
                raise ValueError(
                    f"strength of {name} is {strength}: expected numbers that are not negative, "
                    "one or one per neuron"
                )

    def named(self) -> dict[str, float | np.ndarray]:
        """Strength by name; `own` is the ridge on own columns."""
        pairs = zip(self.terms, self.strengths, strict=True)
        return {term.name: strength for term, strength in pairs} | {"own": self.own}

    def check(self, n_columns: int, n_neurons: int) -> None:
        """Raise if the matrices or strengths do not fit a design."""
        for term in self.terms:
            if term.matrix.shape != (n_columns, n_columns):
                raise ValueError(
                    f"penalty {term.name} is for {term.matrix.shape[0]} columns, the design has "
                    f"{n_columns}"
                )
        for name, strength in self.named().items():
            if np.ndim(strength) == 1 and len(strength) != n_neurons:
                raise ValueError(
                    f"penalty {name} has {len(strength)} strengths for {n_neurons} neurons"
                )

    def strengths_of(self, neuron: int) -> tuple[list[float], float]:
        """Strength of each term and of the ridge on own columns, for one neuron."""
        return [_pick(s, neuron) for s in self.strengths], _pick(self.own, neuron)

    def times(self, neuron: int, row: np.ndarray, n_shared: int) -> np.ndarray:
        """P_n times one neuron's `(1 + shared + own)` weights: the gradient of its penalty."""
        strengths, own = self.strengths_of(neuron)
        result = np.zeros_like(row)
        shared = slice(1, 1 + n_shared)
        for term, strength in zip(self.terms, strengths, strict=True):
            if strength:
                result[shared] += strength * (term.matrix @ row[shared])
        result[1 + n_shared :] = own * row[1 + n_shared :]
        return result

    def matrix_of(self, neuron: int, n_shared: int) -> sparse.csr_array:
        """P_n over the shared columns, sparse."""
        strengths, _ = self.strengths_of(neuron)
        total = sparse.csr_array((n_shared, n_shared))
        for term, strength in zip(self.terms, strengths, strict=True):
            total = total + strength * term.matrix
        return total.tocsr()

    def value(self, weights) -> np.ndarray:
        """½ wᵀ P_n w of every neuron of `weights`: `(neuron,)`."""
        rows = weights.stack()
        n_shared = weights.shared.shape[0]
        return np.array([0.5 * row @ self.times(n, row, n_shared) for n, row in enumerate(rows)])


def choose(candidates: Sequence[QuadraticPenalty], index: np.ndarray) -> QuadraticPenalty:
    """One penalty in which neuron n has the strengths of `candidates[index[n]]`."""
    first = candidates[0]
    for candidate in candidates[1:]:
        same = len(candidate.terms) == len(first.terms) and all(
            one is two or (one.name == two.name and (one.matrix != two.matrix).nnz == 0)
            for one, two in zip(candidate.terms, first.terms, strict=True)
        )
        if not same:
            raise ValueError("candidates must have the same terms and differ in strengths only")
    of_neuron = [candidates[k].strengths_of(n) for n, k in enumerate(index)]
    strengths = [np.array([s[k] for s, _ in of_neuron]) for k in range(len(first.terms))]
    return QuadraticPenalty(first.terms, strengths, np.array([own for _, own in of_neuron]))


def _pick(strength: float | np.ndarray, neuron: int) -> float:
    return float(strength[neuron]) if np.ndim(strength) else float(strength)
