"""The cost of the output while it learns."""

from __future__ import annotations

import math

import numpy as np

#: 0.12 s² ⟨e²⟩ is the unit in which the authors' demo prints its cost.
COST_UNIT_S2 = 0.12
#: Time constant of the running average of the cost, s.
COST_TAU_S = 10.0


class RunningCost:
    """The cost of the output as the authors' demo prints it: 0.12 s² ⟨e²⟩, averaged over 10 s."""

    def __init__(self, dt_s: float):
        self.decay = math.exp(-dt_s / COST_TAU_S)
        self._value, self._weight = 0.0, 0.0
        self._sum, self._steps = 0.0, 0

    @property
    def running(self) -> float:
        """Running average."""
        return self._value / self._weight

    def add(self, error: np.ndarray) -> None:
        """Take in the next steps, (step, neuron) in 1/s."""
        n_steps, n_neurons = error.shape
        costs = np.einsum("ti,ti->t", error, error, dtype=np.float64) * (COST_UNIT_S2 / n_neurons)
        weights = (1 - self.decay) * self.decay ** np.arange(n_steps - 1, -1, -1)
        self._value = self._value * self.decay**n_steps + float(weights @ costs)
        self._weight = self._weight * self.decay**n_steps + float(weights.sum())
        self._sum += float(costs.sum())
        self._steps += n_steps

    def take(self) -> float:
        """Mean since the last call."""
        mean = self._sum / self._steps
        self._sum, self._steps = 0.0, 0
        return mean

    def stored(self) -> list[float]:
        """State for a checkpoint, at the end of an epoch."""
        return [self._value, self._weight]

    def restore(self, state: list[float]) -> None:
        """Go on from `stored`."""
        self._value, self._weight = state
