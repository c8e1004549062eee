"""A spiking network as a readable Brian2 script, and Brian2 as the referee of our simulation.

The script that is exported and the referee that runs in this process are the same text, so that
what is tested is what a user gets. Stimberg, Brette & Goodman 2019 (eLife 8:e47314).

Brian2 steps its neurons, sends the spikes of those above threshold, adds the weights of the spikes
that arrive, and resets: the order of `simulation.simulate`. It starts counting the refractory
period at the spike itself, hence n held steps are a refractory period of n + 1 steps there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from neuromodels.options import OptionError, nearest
from neuromodels.spiking import brian2_text
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import whole_steps
from neuromodels.spiking.simulation import Events

#: How Brian2 runs the equations: with NumPy, or compiled (needs Cython and a C++ compiler).
CodeGeneration = Literal["numpy", "cython"]


def brian2_script(
    network: SpikingNetwork,
    weights: Mapping[str, np.ndarray],
    inputs: Events,
    duration_s: float,
    *,
    codegen: CodeGeneration = "numpy",
) -> str:
    """Write a network as a Python script for Brian2 that gives the same spikes.

    The script needs brian2 and numpy only. It holds weights and input spikes, prints the number of
    spikes of every population and saves them all: ``python network.py spikes.npz``. The arrays of
    that file are ``<population>_steps`` and ``<population>_neurons``. For more than a few
    thousand synapses use `write_brian2_script`, which puts the numbers into a file beside it.

    Parameters
    ----------
    network : SpikingNetwork
        Populations and constants; any integrators, delays and recurrence.
    weights : mapping of str to numpy.ndarray
        (n_source, n_target) per connection, V. Brian2 computes in float64.
    inputs : Events
        Spikes of the input; no neuron twice in a step.
    duration_s : float
        How long to run, s.
    codegen : {"numpy", "cython"}
        How Brian2 runs the equations.

    Returns
    -------
    str
        Python.

    Raises
    ------
    OptionError
        Weights or spikes are not this network's, or Brian2 cannot express them.
    """
    n_steps = checked_steps(network, weights, inputs, duration_s, codegen)
    return brian2_text.script(
        network, brian2_text.embedded(network, weights, inputs), n_steps, codegen
    )


def run_brian2(
    network: SpikingNetwork,
    weights: Mapping[str, np.ndarray],
    inputs: Events,
    n_steps: int,
    *,
    codegen: CodeGeneration = "numpy",
) -> tuple[Events, ...]:
    """Run a network in Brian2, in this process: the referee of `simulate`.

    Brian2's preferences and clock are left as they were.

    Parameters
    ----------
    network, weights, inputs, codegen
        As in `brian2_script`.
    n_steps : int
        How long to run.

    Returns
    -------
    tuple of Events
        Spikes of every population, the input first, sorted by step, then neuron.

    Raises
    ------
    OptionError
        As `brian2_script`; or Brian2 is set to write standalone programs.
    """
    from brian2 import defaultclock, get_device, prefs, second

    checked_steps(network, weights, inputs, n_steps * network.dt_s, codegen)
    if type(get_device()).__name__ != "RuntimeDevice":
        raise OptionError(
            "Brian2 is set to a device that writes programs instead of running.",
            remedy='Call brian2.set_device("runtime") first.',
        )
    names = {
        "input_steps": inputs.steps,
        "input_neurons": inputs.neurons,
        "delay_steps": brian2_text.delays(network),
        "weights": {name: np.asarray(w, dtype=np.float64) for name, w in weights.items()},
    }
    # The script is run as it stands: what the referee tests is what a user gets.
    target, dt = prefs["codegen.target"], float(defaultclock.dt)
    try:
        text = brian2_text.IMPORTS + brian2_text.model(network, n_steps, codegen)
        exec(compile(text, "<brian2_script>", "exec"), names)
    finally:
        prefs["codegen.target"] = target
        defaultclock.dt = dt * second
    return tuple(_sorted(*names["spikes"][name]) for name in network.names)


def _sorted(steps: np.ndarray, neurons: np.ndarray) -> Events:
    order = np.lexsort((neurons, steps))
    return Events(steps[order].astype(np.int64), neurons[order].astype(np.int64))


def checked_steps(
    network: SpikingNetwork,
    weights: Mapping[str, np.ndarray],
    inputs: Events,
    duration_s: float,
    codegen: str,
) -> int:
    """Return the number of steps, after a look at everything that Brian2 would stumble over."""
    if codegen not in ("numpy", "cython"):
        raise OptionError(
            f"there is no codegen {codegen!r}.", remedy=nearest(str(codegen), ("numpy", "cython"))
        )
    network.check_weights(weights)
    n_steps = whole_steps(duration_s, network.dt_s, "duration_s")
    steps, neurons = np.asarray(inputs.steps), np.asarray(inputs.neurons)
    if steps.shape != neurons.shape or steps.ndim != 1:
        raise OptionError(f"inputs have {steps.shape} steps for {neurons.shape} neurons.")
    outside = (neurons < 0) | (neurons >= network.sizes[0])
    if outside.any():
        raise OptionError(
            f"input neuron {neurons[outside][0]} does not exist.",
            remedy=f"Neurons of the input are 0 to {network.sizes[0] - 1}.",
        )
    outside = (steps < 0) | (steps >= n_steps)
    if outside.any():
        raise OptionError(
            f"an input spike is at step {steps[outside][0]}, outside the run.",
            remedy=f"Steps are 0 to {n_steps - 1}: run for longer, or leave the spike out.",
        )
    found, times = np.unique(np.stack([steps, neurons]), axis=1, return_counts=True)
    if found.size and times.max() > 1:
        step, neuron = found[:, times.argmax()]
        raise OptionError(
            f"input neuron {neuron} spikes {times.max()} times in step {step}, which Brian2 "
            "cannot do.",
            remedy=f"Take a shorter step than {network.dt_s:g} s.",
        )
    return n_steps
