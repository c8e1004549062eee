"""A spiking network as a readable Brian2 script, and Brian2 as the referee of our simulation.

The script that is exported and the referee that runs in this process are the same text, so that
what is tested is what a user gets. Stimberg, Brette & Goodman 2019 (eLife 8:e47314).

Brian2 steps its neurons, sends the spikes of those above threshold, adds the weights of the spikes
that arrive, and resets: the order of `simulation.simulate`. It starts counting the refractory
period at the spike itself, hence n held steps are a refractory period of n + 1 steps there.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from neuromodels.options import OptionError, nearest
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import whole_steps
from neuromodels.spiking.simulation import Events
from neuromodels.spiking.writing import check_target, write_whole

#: How Brian2 runs the equations: with NumPy, or compiled (needs Cython and a C++ compiler).
CodeGeneration = Literal["numpy", "cython"]

# Numbers (weights, spikes) up to which a script holds them itself, rather than in a file beside it.
MOST_EMBEDDED = 2000

_MEMBRANE = "du/dt = (u_rest - u + current) / tau_mem : volt (unless refractory)"
_SYNAPSE = "dcurrent/dt = -current / tau_syn : volt"

_IMPORTS = """\
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
    n_steps = _checked(network, weights, inputs, duration_s, codegen)
    return _script(network, _embedded(network, weights, inputs), n_steps, codegen)


def write_brian2_script(
    path: str | Path,
    network: SpikingNetwork,
    weights: Mapping[str, np.ndarray],
    inputs: Events,
    duration_s: float,
    *,
    codegen: CodeGeneration = "numpy",
    overwrite: bool = False,
) -> Path:
    """Write a network as a Python script for Brian2 to a file.

    Small networks are held by the script; the numbers of larger ones go into a .npz file of the
    same name beside it, which must stay there.

    Parameters
    ----------
    path : str or Path
        "network.py"
    network, weights, inputs, duration_s, codegen
        As in `brian2_script`.
    overwrite : bool
        Replace files that exist.

    Returns
    -------
    Path
        Where the script is.

    Raises
    ------
    OptionError
        As `brian2_script`; or a file exists, or cannot be written.
    """
    path = Path(path)
    if path.suffix == ".npz":
        raise OptionError("is no name of a script.", str(path), "Let it end in .py.")
    n_steps = _checked(network, weights, inputs, duration_s, codegen)
    check_target(path, overwrite)
    if sum(np.size(w) for w in weights.values()) + 2 * len(inputs.steps) <= MOST_EMBEDDED:
        data = _embedded(network, weights, inputs)
    else:
        beside = path.with_suffix(".npz")
        arrays = {"input_steps": inputs.steps, "input_neurons": inputs.neurons}
        arrays |= {f"{name}_delay_steps": d for name, d in _delays(network).items()}
        arrays |= {name: np.asarray(w, dtype=np.float64) for name, w in weights.items()}

        def write(temporary: Path) -> None:
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays)

        write_whole(beside, write, overwrite)
        data = _loaded(network, beside.name)
    text = _script(network, data, n_steps, codegen)
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"), overwrite)
    return path


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

    _checked(network, weights, inputs, n_steps * network.dt_s, codegen)
    if type(get_device()).__name__ != "RuntimeDevice":
        raise OptionError(
            "Brian2 is set to a device that writes programs instead of running.",
            remedy='Call brian2.set_device("runtime") first.',
        )
    names = {
        "input_steps": inputs.steps,
        "input_neurons": inputs.neurons,
        "delay_steps": _delays(network),
        "weights": {name: np.asarray(w, dtype=np.float64) for name, w in weights.items()},
    }
    # The script is run as it stands: what the referee tests is what a user gets.
    target, dt = prefs["codegen.target"], float(defaultclock.dt)
    try:
        text = _IMPORTS + _model(network, n_steps, codegen)
        exec(compile(text, "<brian2_script>", "exec"), names)
    finally:
        prefs["codegen.target"] = target
        defaultclock.dt = dt * second
    return tuple(_sorted(*names["spikes"][name]) for name in network.names)


def _sorted(steps: np.ndarray, neurons: np.ndarray) -> Events:
    order = np.lexsort((neurons, steps))
    return Events(steps[order].astype(np.int64), neurons[order].astype(np.int64))


def _checked(
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


def _delays(network: SpikingNetwork) -> dict[str, np.ndarray]:
    """Delay of every neuron that drives others, in steps, by population."""
    sources = {c.source for c in network.connections}
    bounds = network.offsets
    return {
        name: network.delay_steps[bounds[i] : bounds[i + 1]]
        for i, name in enumerate(network.names)
        if i in sources
    }


def _script(network: SpikingNetwork, data: str, n_steps: int, codegen: str) -> str:
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
    return head + _IMPORTS + "\n" + data + "\n" + _model(network, n_steps, codegen) + _SAVING


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


def _model(network: SpikingNetwork, n_steps: int, codegen: str) -> str:
    """Write the part that reads input_steps, input_neurons, delay_steps, weights; gives spikes."""
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


def _embedded(network: SpikingNetwork, weights: Mapping[str, np.ndarray], inputs: Events) -> str:
    lines = [
        "# Spikes of the input: steps of dt, and neurons.",
        f"input_steps = {_array(inputs.steps, 'int')}",
        f"input_neurons = {_array(inputs.neurons, 'int')}",
        "# Axonal delay of every source neuron, in steps.",
        "delay_steps = {",
        *(f'    "{name}": {_array(d, "int")},' for name, d in _delays(network).items()),
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


def _loaded(network: SpikingNetwork, file: str) -> str:
    return f'''\
# Spikes of the input (steps of dt, neurons), axonal delays of the source neurons (steps), and
# weights in volts (a row for each source neuron, a column for each target).
with np.load(Path(__file__).with_name("{file}")) as file:
    input_steps, input_neurons = file["input_steps"], file["input_neurons"]
    delay_steps = {{
        name: file[name + "_delay_steps"] for name in {_names(_delays(network))}
    }}
    weights = {{
        name: file[name] for name in {_names(c.name for c in network.connections)}
    }}
'''
