"""Which target spikes a neuron with a refractory period can hit in their own step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from neuromodels.analysis.spike_trains.trains import by_neuron
from neuromodels.analysis.spike_trains.van_rossum import superspike_cost
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains, trains_of_steps
from neuromodels.options import OptionError
from neuromodels.spiking.neurons import Method, whole_steps


@dataclass(frozen=True, eq=False)
class Reachability:
    """What the greedy answer to a target misses; `print` it for the paragraph.

    Attributes
    ----------
    targets, unreachable, doubled : (neuron,) int
        Target spikes; those that come too soon after one that is hit; those in the same time step
        as the one before (they are unreachable too).
    greedy : SpikeTrains
        The answer that hits as many targets as any answer can in their own step, and sends no other
        spike.
    greedy_cost, silent_cost : float
        Cost of `greedy`, and of no spike at all: `superspike_cost` over the loop.
    spacing_steps : int
        Fewest steps from one spike to the next.
    refractory_s, dt_s : float
        What it was computed for, s.
    """

    targets: np.ndarray
    unreachable: np.ndarray
    doubled: np.ndarray
    greedy: SpikeTrains
    greedy_cost: float
    silent_cost: float
    spacing_steps: int
    refractory_s: float
    dt_s: float

    def __str__(self) -> str:
        total, lost, doubled = (
            int(part.sum()) for part in (self.targets, self.unreachable, self.doubled)
        )
        silent = int(np.sum(self.targets == 0))
        first = f"All {total:,} target spikes can be hit in their own step"
        if lost:
            share = f"{lost:,} of {total:,} target spikes ({lost / total:.1%})"
            first = f"{share} cannot be hit in their own step"
        parts = [
            f"{first}: a refractory period of {self.refractory_s * 1e3:g} ms lets spikes come "
            f"every {self.spacing_steps} steps of {self.dt_s * 1e3:g} ms at best."
        ]
        if lost:
            worst = int(np.argmax(self.unreachable))
            parts.append(
                f"They are in {np.sum(self.unreachable > 0)} of {len(self.targets)} neurons, most "
                f"in neuron {worst} ({self.unreachable[worst]} of {self.targets[worst]})."
            )
        if doubled:
            parts.append(f"In the same step as another of the same neuron: {doubled:,}.")
        if silent:
            parts.append(f"Neurons without any target spike: {silent}.")
        if lost:
            parts.append(
                f"The answer that hits all others and sends nothing else costs "
                f"{self.greedy_cost:.3g} (a silent network {self.silent_cost:.4g}); one that "
                "spreads such spikes around their places may cost much less."
            )
        return " ".join(parts)


def reachability(
    target: SpikeTrains,
    refractory_s: float = 5e-3,
    dt_s: float = 1e-4,
    *,
    loop_steps: int | None = None,
    method: Method = "exact",
    tau_rise_s: float = 5e-3,
    tau_decay_s: float = 10e-3,
) -> Reachability:
    """Count the target spikes that no network can hit in their own step, before the training.

    Parameters
    ----------
    target : SpikeTrains
        Spikes to be learned.
    refractory_s : float
        A whole number n of steps, s: a neuron is held for n steps after a spike, so that the next
        spike comes n + 1 steps later at best.
    dt_s : float
        Step of the simulation, s.
    loop_steps : int, optional
        Steps after which the target starts anew; the trial's own duration without it. The first
        spikes of a lap are not checked against the last ones of the lap before.
    method, tau_rise_s, tau_decay_s
        Of the error kernel, for the costs; as in `superspike_cost`.

    Returns
    -------
    Reachability

    Raises
    ------
    InputError
        The target has no spike, or spikes after the last step.
    OptionError
        The refractory period is negative or no whole number of steps.

    Notes
    -----
    Each neuron takes every target that comes late enough after the last one taken. Taking the
    earliest possible spike never costs a later one, so no answer hits more targets in their own
    step. The greedy cost is no bound: two spikes sent a little before and after two targets that
    lie too close to each other cost much less than one that hits and one that is left out.

    Examples
    --------
    >>> target = SpikeTrains([0.010, 0.013, 0.020], [0, 0, 0], n_neurons=1, duration=0.1)
    >>> reachability(target).unreachable.tolist()
    [1]
    """
    spacing = whole_steps(refractory_s, dt_s, "refractory_s") + 1
    if len(target) == 0:
        raise InputError(
            "there are no target spikes.",
            where=f"{target.source or 'reachability'}: target",
            remedy="Check the ids of the neurons and the stretch that was cut out.",
        )
    if loop_steps is None:
        loop_steps = int(np.ceil(target.duration / dt_s - 1e-6))
    elif loop_steps < 1:
        raise OptionError(f"loop_steps = {loop_steps} must be at least 1.")
    n = target.n_neurons
    steps, neurons = target.steps(dt_s, loop_steps)
    times, starts = by_neuron(steps, neurons, n)
    hit = _greedy(times, starts, spacing)
    owner = np.repeat(np.arange(n), np.diff(starts))
    again = np.concatenate([[False], (np.diff(times) == 0) & (np.diff(owner) == 0)])
    greedy = trains_of_steps(times[hit], owner[hit], n, dt_s, loop_steps, "greedy answer")
    silent = trains_of_steps([], [], n, dt_s, loop_steps)
    greedy_cost, silent_cost = (
        superspike_cost(
            answer,
            target,
            loop_steps * dt_s,
            dt_s,
            method,
            tau_rise_s=tau_rise_s,
            tau_decay_s=tau_decay_s,
        )
        for answer in (greedy, silent)
    )
    return Reachability(
        np.diff(starts),
        np.bincount(owner[~hit], minlength=n),
        np.bincount(owner[again], minlength=n),
        greedy,
        greedy_cost,
        silent_cost,
        spacing,
        refractory_s,
        dt_s,
    )


@njit(cache=True)
def _greedy(steps, starts, spacing):
    """Whether each spike comes at least `spacing` steps after the last one taken."""
    hit = np.zeros(len(steps), np.bool_)
    for neuron in range(len(starts) - 1):
        first = starts[neuron]
        last = steps[first] - spacing if first < starts[neuron + 1] else 0
        for i in range(first, starts[neuron + 1]):
            if steps[i] - last >= spacing:
                hit[i] = True
                last = steps[i]
    return hit
