"""Regressors of every time bin, and the products with them that a fit of all neurons at once needs.

All arithmetic is float64, whatever the storage: rows are cast in chunks that stay in cache, which
costs no more than a float32 product here and leaves no noise floor. Arrays that run over time are
`(neuron, bin)`, so that what is done to one neuron is contiguous and does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np

from neuromodels.fits.glm.parallel import ordered_map

CHUNK_ELEMENTS = 1 << 19
# BLAS picks another kernel, and so another order of summation, for a small or ragged number of
# right-hand sides. Padding to whole tiles makes a neuron's sums independent of its companions.
TILE = 8

Block = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Weights:
    """What a GLM learned: an intercept, weights of shared regressors, weights of its own ones.

    Attributes
    ----------
    intercept : (neuron,) float64
    shared : (column, neuron) float64
    own : (own column, neuron) float64
    """

    intercept: np.ndarray
    shared: np.ndarray
    own: np.ndarray

    def stack(self) -> np.ndarray:
        """All weights as one row per neuron: `(neuron, 1 + shared + own)`."""
        return np.concatenate([self.intercept[None], self.shared, self.own]).T.copy()

    @staticmethod
    def unstack(rows: np.ndarray, n_shared: int) -> Weights:
        """Undo `stack`."""
        columns = np.ascontiguousarray(rows.T)
        return Weights(columns[0], columns[1 : 1 + n_shared], columns[1 + n_shared :])


class Chunk:
    """A few bins of a design, turned into float64 when they are used."""

    def __init__(self, bins: slice, shared: np.ndarray, own: np.ndarray | None) -> None:
        self.bins, self._shared, self._own = bins, shared, own

    @property
    def shared(self) -> np.ndarray:
        """(bin, column)"""
        return np.asarray(self._shared, dtype=np.float64)

    @property
    def stored(self) -> np.ndarray:
        """(bin, column), in the type that it is stored in."""
        return self._shared

    @property
    def has_own(self) -> bool:
        """Whether neurons have columns of their own."""
        return self._own is not None

    def own_of(self, neuron: int) -> np.ndarray:
        """(bin, own column) of one neuron."""
        return np.ascontiguousarray(self._own[:, neuron], dtype=np.float64)


class Design:
    """Regressors of all bins: columns that all neurons share, and columns of one neuron each.

    Parameters
    ----------
    shared : (bin, column) float32 or float64
        For instance the stimulus on a temporal basis, then coupling features. May have no column.
        If `kron` is given its first columns are ordered (basis, pixel) in C order.
    own : (bin, neuron, own column), optional
        Regressors that only the neuron itself sees, for instance its own spike history.
    mask : (column, neuron) bool, optional
        False fixes that weight of that neuron at 0.
    kron : (n_basis, n_pixels), optional
        Says that the first `n_basis * n_pixels` shared columns are a stimulus on a temporal basis.
        With more than a few thousand columns the solver then approximates their Gram matrix by a
        temporal times a spatial one.

    Raises
    ------
    ValueError
        Naming the argument, bin and column, for NaN or infinite entries and for shapes that
        disagree.

    Notes
    -----
    `Design.from_blocks` never holds more than one block: every product streams over the blocks.
    The in-memory case is a list of one block.
    """

    def __init__(
        self,
        shared: np.ndarray,
        own: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        *,
        kron: tuple[int, int] | None = None,
    ) -> None:
        self._setup(lambda _: (shared, own), 1, mask, kron)

    @classmethod
    def from_blocks(
        cls,
        read_block: Callable[[int], Block],
        n_blocks: int,
        *,
        mask: np.ndarray | None = None,
        kron: tuple[int, int] | None = None,
    ) -> Design:
        """Regressors that are computed anew, block by block, whenever they are needed.

        Parameters
        ----------
        read_block : callable
            `read_block(i)` returns `(shared, own)` of block i (`own` may be None); the same
            arrays each time.
        n_blocks : int
            Blocks 0 to `n_blocks - 1` follow each other in time and make up all bins.
        mask, kron
            As for `Design`.
        """
        design = cls.__new__(cls)
        design._setup(read_block, n_blocks, mask, kron)
        return design

    def _setup(
        self,
        read_block: Callable[[int], Block],
        n_blocks: int,
        mask: np.ndarray | None,
        kron: tuple[int, int] | None,
    ) -> None:
        if n_blocks < 1:
            raise ValueError(f"n_blocks is {n_blocks}: a design needs at least one block")
        self._read_block, self._n_blocks = read_block, n_blocks
        self.kron = kron
        self._check_blocks(mask)
        if mask is not None:
            mask = np.asarray(mask)
            if mask.dtype != bool:
                raise ValueError(f"mask has type {mask.dtype}: expected True (free) or False (0)")
            if mask.ndim != 2 or mask.shape[0] != self.n_shared:
                raise ValueError(
                    f"mask has shape {mask.shape}: expected (column, neuron) with "
                    f"{self.n_shared} columns"
                )
            if self.n_own and mask.shape[1] != self.n_neurons:
                raise ValueError(
                    f"mask has {mask.shape[1]} neurons, own has {self.n_neurons}: make them equal"
                )
        self.mask = mask
        if kron is not None and kron[0] * kron[1] > self.n_shared:
            raise ValueError(f"kron={kron} needs more columns than the {self.n_shared} of shared")

    def _check_blocks(self, mask: np.ndarray | None) -> None:
        """One pass: sizes, column means, and that every number is finite."""
        n_bins, sizes = 0, None
        total: np.ndarray | None = None
        for index in range(self._n_blocks):
            shared, own = self._read_block(index)
            place = f"block {index}" if self._n_blocks > 1 else "the design"
            if np.ndim(shared) != 2:
                raise ValueError(
                    f"shared of {place} has shape {np.shape(shared)}: expected (bin, column)"
                )
            if own is not None and (np.ndim(own) != 3 or len(own) != len(shared)):
                raise ValueError(
                    f"own of {place} has shape {np.shape(own)}: expected (bin, neuron, column) "
                    f"with {len(shared)} bins"
                )
            found = shared.shape[1], None if own is None else own.shape[1:]
            if sizes is not None and found != sizes:
                raise ValueError(f"{place} has sizes {found}, the blocks before it {sizes}")
            sizes = found
            for name, values in (("shared", shared), ("own", own)):
                if values is not None:
                    _check_finite(name, values, n_bins)
            own_sum = [] if own is None else own.sum(axis=0, dtype=np.float64).ravel()
            part = np.concatenate([shared.sum(axis=0, dtype=np.float64), own_sum])
            total = part if total is None else total + part
            n_bins += len(shared)
        if n_bins == 0:
            raise ValueError("the design has no bins")
        self.n_bins = n_bins
        self.n_shared, own_shape = sizes
        self.n_own = 0 if own_shape is None else own_shape[1]
        self.n_neurons: int | None = None
        if own_shape is not None:
            self.n_neurons = own_shape[0]
        elif mask is not None:
            self.n_neurons = np.shape(mask)[1]
        means = total / n_bins
        self.shared_mean = means[: self.n_shared]
        self.own_mean = means[self.n_shared :].reshape(-1 if self.n_own else 0, self.n_own)

    def copies(self, n: int) -> Design:
        """The regressors of a single neuron, for n fits of it that differ in their penalty."""
        same = copy(self)

        def read_block(index: int) -> Block:
            shared, own = self._read_block(index)
            if own is not None:
                own = np.broadcast_to(own, (len(own), n, own.shape[2]))
            return shared, own

        same._read_block = read_block
        if self.n_neurons is not None:
            same.n_neurons = n
        if self.n_own:
            same.own_mean = np.repeat(self.own_mean, n, axis=0)
        if self.mask is not None:
            same.mask = np.repeat(self.mask, n, axis=1)
        return same

    def chunks(self, least_rows: int = 64) -> Iterator[Chunk]:
        """All bins in order, in pieces that fit in cache (with at least so many rows)."""
        width = self.n_shared + self.n_own * (self.n_neurons or 0)
        rows = max(least_rows, min(CHUNK_ELEMENTS // max(width, 1), 1 << 15))
        start = 0
        for index in range(self._n_blocks):
            shared, own = self._read_block(index)
            for first in range(0, len(shared), rows):
                piece = slice(first, min(first + rows, len(shared)))
                bins = slice(start + piece.start, start + piece.stop)
                yield Chunk(bins, shared[piece], own[piece] if self.n_own else None)
            start += len(shared)

    def linear_predictor(self, weights: Weights) -> np.ndarray:
        """Log rate (or input of softplus) in every bin: `(bin, neuron)`."""
        rows = weights.stack()
        self.check_neurons(len(rows), "weights")
        if rows.shape[1] != 1 + self.n_shared + self.n_own:
            raise ValueError(
                f"weights are for {weights.shared.shape[0]} shared and {weights.own.shape[0]} own "
                f"columns; the design has {self.n_shared} and {self.n_own}"
            )
        return self.predictor(rows, np.arange(len(rows))).T

    def check_neurons(self, n_neurons: int, what: str) -> None:
        """Raise if `what` is for another number of neurons than the design."""
        if self.n_neurons is not None and n_neurons != self.n_neurons:
            raise ValueError(f"{what} has {n_neurons} neurons, the design {self.n_neurons}")

    def predictor(self, rows: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """Product with weights of some neurons: `(n, 1 + shared + own)` to `(n, bin)`."""
        split = 1 + self.n_shared
        shared_rows = _tiles(rows[:, 1:split])
        result = np.empty((len(neurons), self.n_bins))

        def fill(chunk: Chunk) -> None:
            part = (shared_rows @ chunk.shared.T)[: len(neurons)]
            part += rows[:, :1]
            for i, n in enumerate(neurons if chunk.has_own else ()):
                part[i] += np.einsum("tq,q->t", chunk.own_of(n), rows[i, split:])
            result[:, chunk.bins] = part

        for _ in ordered_map(fill, self.chunks()):
            pass
        return result

    def gradient(self, residual: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """Mean over bins of residual times regressors: `(n, bin)` to `(n, 1 + shared + own)`."""
        split = 1 + self.n_shared

        def products(chunk: Chunk) -> np.ndarray:
            part = residual[:, chunk.bins]
            total = np.zeros((len(neurons), split + self.n_own))
            total[:, 0] = [np.sum(row) for row in part]
            total[:, 1:split] = (_tiles(part) @ chunk.shared)[: len(neurons)]
            for i, n in enumerate(neurons if chunk.has_own else ()):
                total[i, split:] = np.einsum("t,tq->q", part[i], chunk.own_of(n))
            return total

        result = np.zeros((len(neurons), split + self.n_own))
        for _, total in ordered_map(products, self.chunks()):
            result += total
        return result / self.n_bins


def _tiles(rows: np.ndarray) -> np.ndarray:
    missing = -len(rows) % TILE
    return np.concatenate([rows, np.zeros((missing, rows.shape[1]))]) if missing else rows


def _check_finite(name: str, values: np.ndarray, first_bin: int) -> None:
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} has type {values.dtype}: expected real numbers")
    # One sum finds out; the search for the place is only paid when there is one to find.
    with np.errstate(over="ignore", invalid="ignore"):
        quick = np.isfinite(np.sum(values, dtype=np.float64))
    if quick or np.isfinite(values).all():
        return
    where = np.argwhere(~np.isfinite(values))
    value = values[tuple(where[0])]
    axes = ("bin", "column") if name == "shared" else ("bin", "neuron", "column")
    index = [where[0][0] + first_bin, *where[0][1:]]
    place = ", ".join(f"{axis} {i}" for axis, i in zip(axes, index, strict=True))
    raise ValueError(
        f"{name} is {value} at {place} ({len(where)} such entries): regressors must be finite"
    )
