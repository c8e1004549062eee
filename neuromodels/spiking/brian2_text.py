"""The text of a Brian2 script: readable, and complete.

The model reads `input_steps`, `input_neurons`, `delay_steps` and `weights`, and leaves `spikes`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.simulation import Events

_MEMBRANE = "du/dt = (u_rest - u + current) / tau_mem : volt (unless refractory)"
_SYNAPSE = "dcurrent/dt = -current / tau_syn : volt"

IMPORTS = """\
import numpy as np
from brian2 import (
    Network,
    NeuronGroup,
    SpikeGeneratorGroup,
    SpikeMonitor,
    Synapses,
    defaultclock,
    prefs,
    second,
    volt,
)
"""

# Equations, method, and what is done to the neurons in every step beside, per pair of integrators.
# Brian2 has one method per group: what the other equation needs is written out as an operation.
_INTEGRATORS = {
    ("exact", "exact"): ((_MEMBRANE, _SYNAPSE), "exact", ()),
    ("euler", "euler"): ((_MEMBRANE, _SYNAPSE), "euler", ()),
    ("euler", "exact"): (
        (_MEMBRANE, "current : volt"),
        "euler",
        (("current *= exp(-dt / tau_syn)", "groups"),),
    ),
    ("exact", "euler"): (
        (_MEMBRANE, _SYNAPSE, "current_before : volt"),
        "exact",
        (
            ("current_before = current", "start"),
            ("current = current_before * (1 - dt / tau_syn)", "groups"),
        ),
    ),
}


def delays(network: SpikingNetwork) -> dict[str, np.ndarray]:
    """Return the delay of every neuron that drives others, in steps, by population."""
    sources = {c.source for c in network.connections}
    bounds = network.offsets
    return {
        name: network.delay_steps[bounds[i] : bounds[i + 1]]
        for i, name in enumerate(network.names)
        if i in sources
    }


def script(network: SpikingNetwork, data: str, n_steps: int, codegen: str) -> str:
    """Return the whole script, given the part that makes or reads its numbers."""
    arrows = " -> ".join(f"{n} ({s})" for n, s in zip(network.names, network.sizes, strict=True))
    recurrent = [network.names[i] for i in network.recurrent]
    if recurrent:
        arrows += f"; recurrent: {', '.join(recurrent)}"
    head = f'''\
"""A network of current-based leaky integrate-and-fire neurons, for Brian2.

{arrows}

Written by neuromodels. It needs brian2 and numpy:  python THIS_FILE [spikes.npz]
"""

import sys
from pathlib import Path

'''
    return head + IMPORTS + "\n" + data + "\n" + model(network, n_steps, codegen) + _SAVING


_SAVING = """
# Save them all: steps and neurons of every population.
if __name__ == "__main__":
    here = Path(__file__)
    path = sys.argv[1] if len(sys.argv) > 1 else here.with_name(here.stem + "-spikes.npz")
    saved = {}
    for name, (steps, neurons) in spikes.items():
        print(f"{name}: {len(steps)} spikes")
        saved[name + "_steps"], saved[name + "_neurons"] = steps, neurons
    np.savez(path, **saved)
    print(f"saved in {path}")
"""


def model(network: SpikingNetwork, n_steps: int, codegen: str) -> str:
    """Return the part that builds the network and runs it."""
    p, refractory = network.parameters, network.coefficients.refractory_steps
    equations, method, operations = _INTEGRATORS[network.membrane, network.synapse]
    groups = "".join(
        f'    "{name}": NeuronGroup({size}, **lif),\n'
        for name, size in zip(network.names[1:], network.sizes[1:], strict=True)
    )
    regularly = "".join(
        f'    populations[name].run_regularly("{code}", when="{when}", order=1)\n'
        for code, when in operations
    )
    connections = "".join(
        f'    connect("{network.names[c.source]}", "{network.names[c.target]}"),\n'
        for c in network.connections
    )
    joined = "\n".join(equations)
    return f'''\
prefs.codegen.target = "{codegen}"
defaultclock.dt = {float(network.dt_s)!r} * second

# Neurons. The synaptic current is in volts: it carries the membrane resistance.
constants = {{
    "tau_mem": {float(p.tau_mem_s)!r} * second,
    "tau_syn": {float(p.tau_syn_s)!r} * second,
    "u_threshold": {float(p.threshold_v)!r} * volt,
    "u_rest": {float(p.rest_v)!r} * volt,
}}
lif = {{
    "model": """
{textwrap.indent(joined, " " * 8)}
    """,
    "method": "{method}",
    "threshold": "u > u_threshold",
    "reset": "u = u_rest",
    # The voltage is held for {refractory} steps; Brian2 counts the step of the spike as well.
    "refractory": {refractory + 1} * defaultclock.dt,
    "namespace": constants,
}}
populations = {{
    "input": SpikeGeneratorGroup({network.sizes[0]}, input_neurons, input_steps * defaultclock.dt),
{groups}}}
for name in {_names(network.names[1:])}:
    populations[name].u = constants["u_rest"]
{regularly}

def connect(source, target):
    """Connect all neurons of two populations; a spike adds its weight after the axon's delay."""
    synapses = Synapses(
        populations[source],
        populations[target],
        "weight : volt",
        on_pre="current_post += weight",
    )
    synapses.connect()
    i, j = np.asarray(synapses.i), np.asarray(synapses.j)
    synapses.weight = weights[f"{{source}}_to_{{target}}"][i, j] * volt
    synapses.delay = delay_steps[source][i] * defaultclock.dt
    return synapses


connections = [
{connections}]
monitors = {{name: SpikeMonitor(population) for name, population in populations.items()}}
network = Network(list(populations.values()), connections, list(monitors.values()))
network.run({n_steps} * defaultclock.dt, namespace={{}})

# Spikes as steps of dt and neurons, by population.
spikes = {{
    name: (np.rint(monitor.t / defaultclock.dt).astype(int), np.array(monitor.i))
    for name, monitor in monitors.items()
}}
'''


def embedded(network: SpikingNetwork, weights: Mapping[str, np.ndarray], inputs: Events) -> str:
    """Return the part of a script that holds its numbers itself."""
    lines = [
        "# Spikes of the input: steps of dt, and neurons.",
        f"input_steps = {_array(inputs.steps, 'int')}",
        f"input_neurons = {_array(inputs.neurons, 'int')}",
        "# Axonal delay of every source neuron, in steps.",
        "delay_steps = {",
        *(f'    "{name}": {_array(d, "int")},' for name, d in delays(network).items()),
        "}",
        "# Weights in volts: a row for each source neuron, a column for each target.",
        "weights = {",
        *(
            f'    "{c.name}": {_array(np.ravel(weights[c.name]), "float")}.reshape{c.shape},'
            for c in network.connections
        ),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _array(values: np.ndarray, kind: Literal["int", "float"]) -> str:
    """Write an array so that reading it gives the same bits."""
    if kind == "int" and len(values) > 1 and np.all(values == values[0]):
        return f"np.full({len(values)}, {int(values[0])})"
    convert = int if kind == "int" else float
    text = textwrap.fill(", ".join(repr(convert(v)) for v in values), 92)
    return f"np.array([\n{textwrap.indent(text, ' ' * 8)}\n    ], dtype={kind})"


def _names(names: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def loaded(network: SpikingNetwork, file: str) -> str:
    """Return the part of a script that reads its numbers from a file beside it."""
    return f"""\
# Spikes of the input (steps of dt, neurons), axonal delays of the source neurons (steps), and
# weights in volts (a row for each source neuron, a column for each target).
with np.load(Path(__file__).with_name({file!r})) as file:
    input_steps, input_neurons = file["input_steps"], file["input_neurons"]
    delay_steps = {{
        name: file[name + "_delay_steps"] for name in {_names(delays(network))}
    }}
    weights = {{
        name: file[name] for name in {_names(c.name for c in network.connections)}
    }}
"""
