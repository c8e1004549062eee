"""The engine `online`: the rule as it is written, step by step and synapse by synapse.

Two eligibility stages per synapse, driven by h_ij(t) = σ'(U_i(t)) x_j(t), give λ_ij = α ∗ h_ij; a
sum gathers e_i(t) λ_ij(t). Nothing is moved, reversed or cut, so it is the reference for the other
engines, and the one for streams. Every synapse costs three multiplications and additions per step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from neuromodels.fits.superspike.engines import (
    Chunk,
    RuleKernels,
    joined_arrivals,
    parted,
    row_bounds,
)
from neuromodels.fits.superspike.errors import ErrorFilter, Mismatch
from neuromodels.options import OptionError

#: Steps whose PSP traces are held at a time.
_PIECE = 512
#: Source neurons whose synapses take their steps together: their rows stay in the first cache.
_BLOCK = 8
#: A row of synapses that is smaller is zero: arithmetic on subnormal numbers is slow.
_NOTHING = 1e-30


class OnlineEngine:
    """See `neuromodels.fits.superspike.engines.make_engine`.

    Parameters
    ----------
    shapes : sequence of tuple of int
        (n_source, n_target) of each connection.
    kernels : RuleKernels
        Filters.
    dt_s : float
        Step, s.
    dtype : type
        float32 or float64.
    psp_threshold : float
        PSP traces below count as zero.
    error_threshold : float
        Errors closer to zero count as zero, 1/s.
    peak_decay : float, optional
        γ per step of v ← max(γ v, (e λ)²), kept per step for RMaxProp; see `peaks`.

    Raises
    ------
    OptionError
        A negative threshold, or a decay that is no share.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        kernels: RuleKernels,
        dt_s: float,
        dtype: type = np.float64,
        *,
        psp_threshold: float = 0.0,
        error_threshold: float = 0.0,
        peak_decay: float | None = None,
    ):
        for name, value in (("psp_threshold", psp_threshold), ("error_threshold", error_threshold)):
            if not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{name} = {value:g} must not be negative.")
        if peak_decay is not None and not 0 < peak_decay <= 1:
            raise OptionError(
                f"peak_decay = {peak_decay:g} must lie between 0 and 1.",
                remedy="It is exp(-dt_s / tau_rms_s).",
            )
        self.kernels, self.dt_s, self.dtype = kernels, dt_s, np.dtype(dtype)
        self.psp_threshold, self.error_threshold = psp_threshold, error_threshold
        self.kept = 0.0 if peak_decay is None else math.sqrt(peak_decay)
        self.bounds = row_bounds(shapes)
        n_source, n_target = int(self.bounds[-1]), shapes[0][1]
        # Stepping a PSP trace from arrivals is the same work as stepping an error from spikes.
        self.traces = ErrorFilter(kernels.psp, n_source, dtype=dtype)
        self.first, self.second, self.sums = (
            np.zeros((n_source, n_target), self.dtype) for _ in range(3)
        )
        shape = (0, 0) if peak_decay is None else (n_source, n_target)
        self.peak = np.zeros(shape, self.dtype)

    def accumulate(self, chunk: Chunk) -> None:
        """Go through the steps that follow those seen so far."""
        surrogate = np.ascontiguousarray(chunk.surrogate, self.dtype)
        error = np.ascontiguousarray(chunk.error, self.dtype)
        steps, rows = joined_arrivals(chunk.arrivals, self.bounds)
        for start in range(0, len(error), _PIECE):
            stop = min(start + _PIECE, len(error))
            a, b = np.searchsorted(steps, (start, stop))
            arrivals = Mismatch(steps[a:b] - start, rows[a:b], np.ones(b - a))
            traces = self.traces(arrivals, stop - start)
            self.learn(traces, surrogate[start:stop], error[start:stop])
            self.silence()

    def learn(self, traces: np.ndarray, surrogate: np.ndarray, error: np.ndarray) -> None:
        """Go through steps whose PSP traces are known.

        Parameters
        ----------
        traces : numpy.ndarray
            (step, source) x, sources of all connections.
        surrogate, error : numpy.ndarray
            (step, neuron), as in `Chunk`.
        """
        if self.psp_threshold:
            traces = np.where(traces < self.psp_threshold, self.dtype.type(0), traces)
        if self.error_threshold:
            error = np.where(np.abs(error) < self.error_threshold, self.dtype.type(0), error)
        eligibility, scalar = self.kernels.eligibility, self.dtype.type
        _step(
            traces,
            surrogate,
            error,
            self.first,
            self.second,
            self.sums,
            self.peak,
            scalar(eligibility.rise),
            scalar(eligibility.decay),
            scalar(self.kept),
        )

    def silence(self) -> None:
        """Set synapses to zero that nothing has driven for so long that they nearly are."""
        _silence(self.first, self.second)

    def take(self) -> list[np.ndarray]:
        """Return G (n_source, n_target) since the last call, per connection, and start new sums."""
        sums, self.sums = self.sums, np.zeros_like(self.sums)
        return parted(
            sums * self.dtype.type(self.dt_s * self.kernels.eligibility.drive), self.bounds
        )

    def eligibility(self) -> list[np.ndarray]:
        """Return λ (n_source, n_target) as it is now, per connection, 1/s."""
        return parted(self.second * self.dtype.type(self.kernels.eligibility.drive), self.bounds)

    def peaks(self) -> list[np.ndarray]:
        """Return √v, the recent peak of |e λ|, per connection; units of G per second.

        Raises
        ------
        OptionError
            The engine was made without ``peak_decay``.
        """
        if not self.kept:
            raise OptionError(
                "the engine was not asked to follow peaks.", remedy="Give it peak_decay."
            )
        return parted(self.peak * self.dtype.type(self.kernels.eligibility.drive), self.bounds)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that is carried from chunk to chunk, for a checkpoint."""
        return {
            "traces": self.traces.stages.copy(),
            "first": self.first.copy(),
            "second": self.second.copy(),
            "sums": self.sums.copy(),
            "peak": self.peak.copy(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        self.traces.stages = state["traces"].copy()
        self.first, self.second = state["first"].copy(), state["second"].copy()
        self.sums, self.peak = state["sums"].copy(), state["peak"].copy()


@njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _step(traces, surrogate, error, first, second, sums, peak, rise, decay, kept):
    n_steps, n_source = traces.shape
    n = surrogate.shape[1]
    for block in range(0, n_source, _BLOCK):
        end = min(block + _BLOCK, n_source)
        for t in range(n_steps):
            sigma, e = surrogate[t], error[t]
            for j in range(block, end):
                x = traces[t, j]
                # λ / drive: what the first stage adds is put on when the sum is taken.
                one, two, total = first[j], second[j], sums[j]
                for i in range(n):
                    two[i] = decay * two[i] + one[i]
                    one[i] = rise * one[i] + sigma[i] * x
                for i in range(n):
                    total[i] += e[i] * two[i]
                if kept > 0:
                    most = peak[j]
                    for i in range(n):
                        most[i] = max(kept * most[i], abs(e[i] * two[i]))


@njit(cache=True)
def _silence(first, second):
    for j in range(len(first)):
        if np.abs(second[j]).max() < _NOTHING and np.abs(first[j]).max() < _NOTHING:
            first[j] = 0
            second[j] = 0
