"""Error signals: the filtered difference between what was sent and what was wanted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from neuromodels.spiking.kernels import Kernel


class Mismatch(NamedTuple):
    """Output spikes and targets of a chunk, in time order: what the error is filtered from.

    Attributes
    ----------
    steps : numpy.ndarray
        (n,), from the chunk's start, sorted.
    neurons : numpy.ndarray
        (n,), output neuron.
    values : numpy.ndarray
        (n,), +1 for a spike that was sent, −1 for a target.
    """

    steps: np.ndarray
    neurons: np.ndarray
    values: np.ndarray


class ErrorFilter:
    """e = α ∗ (F (Ŝ − S)) of one population, chunk after chunk.

    The feedback F is applied to spikes, before the filter: by linearity it is the same as feeding
    back the filtered error, and costs one row addition per spike.

    Parameters
    ----------
    kernel : Kernel
        α, 1/s.
    n_neurons : int
        Neurons of the population.
    delay_steps : int
        How late the feedback arrives.
    dtype : type
        float32 or float64.
    """

    def __init__(self, kernel: Kernel, n_neurons: int, delay_steps: int = 0, dtype=np.float64):
        self.kernel, self.dtype = kernel, np.dtype(dtype)
        self.delay_steps = delay_steps
        self.stages = np.zeros((2, n_neurons), self.dtype)
        self.late = Mismatch(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    def __call__(
        self, mismatch: Mismatch, n_steps: int, feedback: np.ndarray | None = None
    ) -> np.ndarray:
        """Filter the next chunk.

        Parameters
        ----------
        mismatch : Mismatch
            Of the output neurons.
        n_steps : int
            Steps of the chunk.
        feedback : numpy.ndarray, optional
            (n_output, n_neurons); by default every output neuron keeps its own error.

        Returns
        -------
        numpy.ndarray
            (step, neuron), 1/s.
        """
        if self.delay_steps:
            # What was under way comes first, and stays sorted: its steps lie before the new ones.
            joined = Mismatch(
                *(np.concatenate(pair) for pair in zip(self.late, mismatch, strict=True))
            )
            joined.steps[len(self.late.steps) :] += self.delay_steps
            due = joined.steps < n_steps
            self.late = Mismatch(
                joined.steps[~due] - n_steps, joined.neurons[~due], joined.values[~due]
            )
            mismatch = Mismatch(*(part[due] for part in joined))
        if feedback is None:
            feedback = np.empty((0, 0), self.dtype)
        return _filter(
            mismatch.steps,
            mismatch.neurons,
            mismatch.values.astype(self.dtype),
            np.ascontiguousarray(feedback, self.dtype),
            n_steps,
            self.stages,
            self.dtype.type(self.kernel.decay),
            self.dtype.type(self.kernel.rise),
            self.dtype.type(self.kernel.drive),
        )

    def state(self) -> dict[str, np.ndarray]:
        """Everything that is carried from chunk to chunk."""
        late = {f"late_{k}": v for k, v in self.late._asdict().items()}
        return {"stages": self.stages.copy()} | late

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        self.stages = state["stages"].copy()
        self.late = Mismatch(*(state[f"late_{k}"].copy() for k in Mismatch._fields))


@njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _filter(steps, neurons, values, feedback, n_steps, stages, decay, rise, drive):
    first, second = stages[0].copy(), stages[1].copy()
    n = first.size
    error = np.empty((n_steps, n), first.dtype)
    k = 0
    for t in range(n_steps):
        e = error[t]
        for i in range(n):
            second[i] = decay * second[i] + drive * first[i]
            first[i] *= rise
        e[:] = second
        while k < steps.size and steps[k] == t:
            if feedback.size:
                row, value = feedback[neurons[k]], values[k]
                for i in range(n):
                    first[i] += value * row[i]
            else:
                first[neurons[k]] += values[k]
            k += 1
    stages[0], stages[1] = first, second
    return error
