"""The engine `event`: a reverse sweep per neuron, and one row addition per presynaptic spike.

Both filters of the rule are causal, so each can be moved to the other factor, reversed in time:

    G_ji = dt Σ_f ψ_i(t_f),   ψ_i(u) = Σ_{t≥u} ε(t−u) ẽ_i(t) σ'_i(t),
                              ẽ_i(u) = Σ_{t≥u} α(t−u) e_i(t)

with t_f the arrivals of j. Two double exponentials backwards need four numbers per neuron.
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
from neuromodels.spiking.simulation import Events


class EventEngine:
    """See `neuromodels.fits.superspike.engines.make_engine`.

    The error of a chunk also meets what happened before it, so the surrogates and arrivals of the
    last 0.2 s (float32) or 0.4 s (float64) are kept: older ones are below the precision.
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
        self.n_target = shapes[0][1]
        self.memory = steps_to_remember(kernels, dtype)
        self.sums = np.zeros((self.bounds[-1], self.n_target), self.dtype)
        self.past = np.zeros((0, self.n_target), self.dtype)
        none = np.empty(0, np.int64)
        self.past_arrivals = Events(none, none)

    def accumulate(self, chunk: Chunk) -> None:
        """Go through the steps that follow those seen so far."""
        surrogate = np.ascontiguousarray(chunk.surrogate, self.dtype)
        error = np.ascontiguousarray(chunk.error, self.dtype)
        arrivals = joined_arrivals(chunk.arrivals, self.bounds)
        carried = np.zeros((4, self.n_target), self.dtype)
        factors = self._factors()
        _sweep(surrogate, error, *arrivals, self.sums, carried, factors)
        if len(self.past):
            no_error = np.empty((0, self.n_target), self.dtype)
            _sweep(self.past, no_error, *self.past_arrivals, self.sums, carried, factors)
        self._remember(surrogate, arrivals)

    def take(self) -> list[np.ndarray]:
        """Return G (n_source, n_target) since the last call, per connection, and start new sums."""
        sums, self.sums = self.sums, np.zeros_like(self.sums)
        sums *= self.dtype.type(self.dt_s * self.kernels.psp.gain * self.kernels.eligibility.gain)
        return parted(sums, self.bounds)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that is carried from chunk to chunk, for a checkpoint."""
        return {
            "sums": self.sums.copy(),
            "past": self.past,
            "past_steps": self.past_arrivals.steps,
            "past_rows": self.past_arrivals.neurons,
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        self.sums, self.past = state["sums"].copy(), state["past"].copy()
        self.past_arrivals = Events(state["past_steps"].copy(), state["past_rows"].copy())

    def _factors(self) -> np.ndarray:
        eligibility, psp = self.kernels.eligibility, self.kernels.psp
        return np.array([eligibility.decay, eligibility.rise, psp.decay, psp.rise], self.dtype)

    def _remember(self, surrogate: np.ndarray, arrivals: Events) -> None:
        n_steps = len(surrogate)
        if n_steps >= self.memory:
            self.past = surrogate[n_steps - self.memory :].copy()
            known = arrivals
        else:
            kept = self.past[max(0, len(self.past) + n_steps - self.memory) :]
            shift = len(self.past)
            known = Events(
                np.concatenate([self.past_arrivals.steps, arrivals.steps + shift]),
                np.concatenate([self.past_arrivals.neurons, arrivals.neurons]),
            )
            n_steps += shift
            self.past = np.concatenate([kept, surrogate])
        cut = n_steps - len(self.past)
        recent = known.steps >= cut
        self.past_arrivals = Events(known.steps[recent] - cut, known.neurons[recent])


@njit(cache=True, fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")
def _sweep(surrogate, error, steps, rows, sums, carried, factors):
    n_steps, n = surrogate.shape
    error_decay, error_rise, psp_decay, psp_rise = factors
    # Arrays of its own, and short loops: only then does the compiler vectorise.
    slow, fast = carried[0].copy(), carried[1].copy()
    late, early = carried[2].copy(), carried[3].copy()
    p = np.empty(n, surrogate.dtype)
    with_error = error.size > 0
    k = steps.size - 1
    for u in range(n_steps - 1, -1, -1):
        if with_error:
            e = error[u]
            for i in range(n):
                slow[i] = e[i] + error_decay * slow[i]
                fast[i] = e[i] + error_rise * fast[i]
        else:
            for i in range(n):
                slow[i] *= error_decay
                fast[i] *= error_rise
        sigma = surrogate[u]
        for i in range(n):
            p[i] = (slow[i] - fast[i]) * sigma[i]
        for i in range(n):
            late[i] = p[i] + psp_decay * late[i]
            early[i] = p[i] + psp_rise * early[i]
        while k >= 0 and steps[k] == u:
            total = sums[rows[k]]
            for i in range(n):
                total[i] += late[i] - early[i]
            k -= 1
    carried[0], carried[1], carried[2], carried[3] = slow, fast, late, early
