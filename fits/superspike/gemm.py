"""The engine `gemm`: a reverse sweep per neuron, and one matrix product per chunk.

The filter of the eligibility is causal, so it can be moved to the error, reversed in time:

    G = dt Xᵀ P,   P_ti = ẽ_i(t) σ'_i(t),   ẽ_i(u) = Σ_{t≥u} α(t−u) e_i(t)

with X_tj the PSP trace of j. What is left per synapse and step is one multiplication, inside a
matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from neuromodels.fits.superspike.engines import (
    Chunk,
    RuleKernels,
    joined_arrivals,
    parted,
    row_bounds,
    steps_to_remember,
)
from neuromodels.fits.superspike.errors import ErrorFilter, Mismatch


class GemmEngine:
    """See `neuromodels.fits.superspike.engines.make_engine`.

    The error of a chunk also meets what happened before it, so the surrogates and traces of the
    last 0.2 s (float32) or 0.4 s (float64) are kept: older ones are below the precision. A chunk
    longer than four times that is taken in pieces.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        kernels: RuleKernels,
        dt_s: float,
        dtype: type = np.float64,
    ):
        self.kernels, self.dt_s, self.dtype = kernels, dt_s, np.dtype(dtype)
        self.bounds = row_bounds(shapes)
        n_source, n_target = int(self.bounds[-1]), shapes[0][1]
        self.memory = steps_to_remember(kernels, dtype)
        # Stepping a PSP trace from arrivals is the same work as stepping an error from spikes.
        self.traces = ErrorFilter(kernels.psp, n_source, dtype=dtype)
        self.sums = np.zeros((n_source, n_target), self.dtype)
        self.past = np.zeros((0, n_target), self.dtype)
        self.past_traces = np.zeros((0, n_source), self.dtype)

    def accumulate(self, chunk: Chunk) -> None:
        """Go through the steps that follow those seen so far."""
        surrogate = np.ascontiguousarray(chunk.surrogate, self.dtype)
        error = np.ascontiguousarray(chunk.error, self.dtype)
        steps, rows = joined_arrivals(chunk.arrivals, self.bounds)
        piece = 4 * self.memory
        for start in range(0, len(error), piece):
            stop = min(start + piece, len(error))
            a, b = np.searchsorted(steps, (start, stop))
            arrivals = Mismatch(steps[a:b] - start, rows[a:b], np.ones(b - a))
            traces = self.traces(arrivals, stop - start)
            self._add(surrogate[start:stop], error[start:stop], traces)

    def take(self) -> list[np.ndarray]:
        """Return G (n_source, n_target) since the last call, per connection, and start new sums."""
        sums, self.sums = self.sums, np.zeros_like(self.sums)
        sums *= self.dtype.type(self.dt_s * self.kernels.eligibility.gain)
        return parted(sums, self.bounds)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that is carried from chunk to chunk, for a checkpoint."""
        return {
            "traces": self.traces.stages.copy(),
            "sums": self.sums.copy(),
            "past": self.past.copy(),
            "past_traces": self.past_traces.copy(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        self.traces.stages, self.sums = state["traces"].copy(), state["sums"].copy()
        self.past, self.past_traces = state["past"].copy(), state["past_traces"].copy()

    def _add(self, surrogate: np.ndarray, error: np.ndarray, traces: np.ndarray) -> None:
        scalar, eligibility = self.dtype.type, self.kernels.eligibility
        decay, rise = scalar(eligibility.decay), scalar(eligibility.rise)
        carried = np.zeros((2, surrogate.shape[1]), self.dtype)
        self.sums += traces.T @ _reversed(surrogate, error, carried, decay, rise)
        if len(self.past):
            none = np.zeros((0, 0), self.dtype)
            self.sums += self.past_traces.T @ _reversed(self.past, none, carried, decay, rise)
        self.past = np.concatenate([self.past, surrogate])[-self.memory :]
        self.past_traces = np.concatenate([self.past_traces, traces])[-self.memory :]


@njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _reversed(surrogate, error, carried, decay, rise):
    n_steps, n = surrogate.shape
    product = np.empty_like(surrogate)
    slow, fast = carried
    for u in range(n_steps - 1, -1, -1):
        p, sigma = product[u], surrogate[u]
        if error.size:
            e = error[u]
            for i in range(n):
                slow[i] = e[i] + decay * slow[i]
                fast[i] = e[i] + rise * fast[i]
        else:
            for i in range(n):
                slow[i] *= decay
                fast[i] *= rise
        for i in range(n):
            p[i] = (slow[i] - fast[i]) * sigma[i]
    return product
