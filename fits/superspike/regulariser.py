"""The heterosynaptic term that keeps hidden neurons from firing without end.

Zenke & Ganguli 2018: ρ w_ij z_i^a is taken off inside the integral of the rule, with z a trace of
the postsynaptic spikes; all inputs of a neuron that fires too much are weakened.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from neuromodels.spiking.simulation import Events


class RateTrace:
    """z of one population: jumps by one at a spike, and decays.

    Parameters
    ----------
    n_neurons : int
        Neurons of the population.
    tau_s, dt_s : float
        Time constant and step, s.
    exponent : float
        a.
    """

    def __init__(self, n_neurons: int, tau_s: float, dt_s: float, exponent: float):
        self.decay, self.exponent = math.exp(-dt_s / tau_s), exponent
        self.trace = np.zeros(n_neurons)

    def powers(self, spikes: Events, n_steps: int, error: np.ndarray | None = None) -> np.ndarray:
        """Sum z^a over the next steps.

        Parameters
        ----------
        spikes : Events
            Of the population.
        n_steps : int
            Steps to go on.
        error : numpy.ndarray, optional
            (step, neuron); each step counts with its square (the gated variant).

        Returns
        -------
        numpy.ndarray
            (neuron,)
        """
        gate = np.empty((0, 0)) if error is None else np.asarray(error, np.float64)
        return _powers(
            spikes.steps, spikes.neurons, n_steps, self.trace, self.decay, self.exponent, gate
        )


@njit(cache=True)
def _powers(steps, neurons, n_steps, trace, decay, exponent, gate):
    n = trace.size
    sums = np.zeros(n)
    if gate.size:
        k = 0
        for t in range(n_steps):
            for i in range(n):
                trace[i] *= decay
            while k < steps.size and steps[k] == t:
                trace[neurons[k]] += 1
                k += 1
            for i in range(n):
                sums[i] += trace[i] ** exponent * gate[t, i] ** 2
        return sums
    # Between spikes z^a is a geometric series.
    ratio = decay**exponent
    since = np.full(n, -1)
    for k in range(steps.size):
        i, t = neurons[k], steps[k]
        passed = t - 1 - since[i]
        value = (trace[i] * decay) ** exponent
        sums[i] += value * (1 - ratio**passed) / (1 - ratio)
        trace[i] *= decay ** (passed + 1)
        trace[i] += 1
        sums[i] += trace[i] ** exponent
        since[i] = t
    for i in range(n):
        passed = n_steps - 1 - since[i]
        value = (trace[i] * decay) ** exponent
        sums[i] += value * (1 - ratio**passed) / (1 - ratio)
        trace[i] *= decay**passed
    return sums
