"""What a network is given, and how far its output is from what it should be."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.fits.superspike.errors import Mismatch
from neuromodels.spiking.simulation import Events


class SpikingTask(Protocol):
    """Endless input, and the error of the output, asked for chunk after chunk.

    Attributes
    ----------
    n_inputs, n_outputs : int
        Neurons.
    loop_steps : int
        Steps after which the input comes again; the record keeps one loop.
    """

    n_inputs: int
    n_outputs: int
    loop_steps: int

    def inputs(self, start: int, n_steps: int) -> Events:
        """Input spikes of the steps from `start`, counted from there."""

    def mismatch(self, start: int, n_steps: int, outputs: Events) -> Mismatch:
        """Signed events of which the error is filtered, given the output spikes."""


class RasterTask:
    """One raster in, another one out, over and over.

    Parameters
    ----------
    inputs, target : SpikeTrains
        Played in a loop.
    dt_s : float
        Step, s; spike times are put on this grid (rounded down).
    loop_steps : int, optional
        Length of the loop; by default the longer duration of the two.

    Raises
    ------
    InputError
        A spike lies behind the loop's end, or the target holds no spike.
    """

    def __init__(
        self, inputs: SpikeTrains, target: SpikeTrains, dt_s: float, loop_steps: int | None = None
    ):
        if not len(target):
            raise InputError(
                "holds no spike.",
                where=target.source or "target",
                remedy="Give the spikes that the output is to learn.",
            )
        if loop_steps is None:
            loop_steps = round(max(inputs.duration, target.duration) / dt_s)
        self.n_inputs, self.n_outputs = inputs.n_neurons, target.n_neurons
        self.loop_steps = loop_steps
        self._inputs = Events(*inputs.steps(dt_s, loop_steps))
        self._target = Events(*target.steps(dt_s, loop_steps))

    def inputs(self, start: int, n_steps: int) -> Events:
        """Input spikes of the steps from `start`, counted from there."""
        return looped(self._inputs, self.loop_steps, start, n_steps)

    def mismatch(self, start: int, n_steps: int, outputs: Events) -> Mismatch:
        """Output spikes count 1, targets −1."""
        targets = looped(self._target, self.loop_steps, start, n_steps)
        return signed(outputs, targets)


def looped(events: Events, loop_steps: int, start: int, n_steps: int) -> Events:
    """Cut the steps from `start` out of an endless repetition.

    Parameters
    ----------
    events : Events
        Of one loop, sorted.
    loop_steps : int
        Its length.
    start, n_steps : int
        Which steps of the repetition.

    Returns
    -------
    Events
        Steps from `start`, sorted.
    """
    first, last = start // loop_steps, (start + n_steps - 1) // loop_steps
    steps, neurons = [], []
    for loop in range(first, last + 1):
        offset = loop * loop_steps - start
        a, b = np.searchsorted(events.steps, (-offset, n_steps - offset))
        steps.append(events.steps[a:b] + offset)
        neurons.append(events.neurons[a:b])
    return Events(np.concatenate(steps), np.concatenate(neurons))


def signed(outputs: Events, targets: Events) -> Mismatch:
    """Put output spikes (+1) and targets (−1) in one order of time."""
    steps = np.concatenate([outputs.steps, targets.steps])
    order = np.argsort(steps, kind="stable")
    values = np.ones(len(steps))
    values[len(outputs.steps) :] = -1.0
    neurons = np.concatenate([outputs.neurons, targets.neurons])
    return Mismatch(steps[order], neurons[order], values[order])
