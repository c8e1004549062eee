"""Spiking networks from NIR, where a graph describes what such a network is.

The equations, and what NIR leaves open, are in `nir_export`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromodels.options import OptionError
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import LIFParameters
from neuromodels.spiking.nir_export import Spike, check_spikes, import_nir

if TYPE_CHECKING:
    import nir


def from_nir(
    graph: nir.NIRGraph,
    *,
    dt_s: float | None = None,
    refractory_s: float | None = None,
    spikes: Spike | None = None,
) -> tuple[SpikingNetwork, dict[str, np.ndarray]]:
    """Make a network of a NIR graph, where the two describe the same thing.

    The graph must be a chain of CubaLIF populations with the same constants, connected by Linear
    or Affine (without bias) and perhaps Delay nodes; each population may also drive itself.

    Parameters
    ----------
    graph : nir.NIRGraph
        Of `to_nir`, or of another program.
    dt_s : float, optional
        Step, s, which NIR does not hold. By default that of a graph of `to_nir`.
    refractory_s : float, optional
        Refractory period, s, which NIR does not hold. By default that of a graph of `to_nir`, or 0.
    spikes : {"pulse", "impulse"}, optional
        See `to_nir`. By default what a graph of `to_nir` says, or "pulse".

    Returns
    -------
    network : SpikingNetwork
        Named by its order in the chain, whatever the nodes of the graph are called.
    weights : dict of numpy.ndarray
        (n_source, n_target) per connection, V.

    Raises
    ------
    OptionError
        The graph holds what such a network cannot be, or the step is not known.
    """
    import_nir()
    known = graph.metadata
    dt_s = _number(known, "dt_s") if dt_s is None else dt_s
    if dt_s is None:
        raise OptionError(
            "a NIR graph does not say its time step.", remedy="Give dt_s, for example 1e-4."
        )
    if refractory_s is None:
        refractory_s = _number(known, "refractory_s") or 0.0
    spikes = str(known.get("spikes", "pulse")) if spikes is None else spikes
    check_spikes(spikes)
    layers, linear = _layers(graph)
    cells = [graph.nodes[name] for name in layers[1:]]
    constants = {
        what: _same(what, [np.asarray(value(cell)) for cell in cells])
        for what, value in {
            "tau_mem": lambda cell: cell.tau_mem,
            "tau_syn": lambda cell: cell.tau_syn,
            "v_leak": lambda cell: cell.v_leak,
            "v_threshold - v_leak": lambda cell: cell.v_threshold - cell.v_leak,
            "v_reset - v_leak": lambda cell: cell.v_reset - cell.v_leak,
        }.items()
    }
    gap_v, rest_v = constants["v_threshold - v_leak"], constants["v_leak"]
    if abs(constants["v_reset - v_leak"]) > 1e-6 * abs(gap_v):
        raise OptionError(
            "the neurons are reset to another voltage than they rest at.",
            remedy="Here a spike leaves the neuron at rest: set v_reset to v_leak.",
        )
    # In graphs of "pulse", voltages count from rest, which the metadata give.
    rest_v += _number(known, "zero_v") or 0.0
    network = SpikingNetwork(
        sizes=(linear[0, 1][0].shape[1], *(cell.v_threshold.size for cell in cells)),
        parameters=LIFParameters(
            tau_mem_s=constants["tau_mem"],
            tau_syn_s=constants["tau_syn"],
            threshold_v=rest_v + gap_v,
            rest_v=rest_v,
            refractory_s=refractory_s,
        ),
        dt_s=dt_s,
        delay_s=_delays(linear, layers, [cell.v_threshold.size for cell in cells]),
        recurrent=tuple(sorted(target for source, target in linear if source == target)),
        membrane=str(known.get("membrane", "exact")),
        synapse=str(known.get("synapse", "exact")),
    )
    weights = {}
    for c in network.connections:
        matrix = linear[c.source, c.target][0]
        if matrix.shape != c.shape[::-1]:
            raise OptionError(
                f"weights of {matrix.shape} connect {c.shape[0]} neurons with {c.shape[1]}.",
                remedy="Weights of NIR are (n_target, n_source).",
            )
        cell, height = cells[c.target - 1], dt_s if spikes == "pulse" else 1.0
        jump = np.ravel(cell.r * cell.w_in * height / cell.tau_syn)
        weights[c.name] = np.ascontiguousarray(matrix.T * jump)
    return network, weights


def _layers(
    graph: nir.NIRGraph,
) -> tuple[list[str], dict[tuple[int, int], tuple[np.ndarray, np.ndarray | None]]]:
    """Return the populations in their order, and weights and delays by (source, target)."""
    nir = import_nir()
    allowed = (nir.Input, nir.Output, nir.CubaLIF, nir.Linear, nir.Affine, nir.Delay)
    for name, node in graph.nodes.items():
        if not isinstance(node, allowed):
            raise OptionError(
                f"node {name!r} is a {type(node).__name__}, which such a network has no place for.",
                remedy=f"Known: {', '.join(kind.__name__ for kind in allowed)}.",
            )
    before = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}
    after = {name: [b for a, b in graph.edges if a == name] for name in graph.nodes}
    cells = [name for name, node in graph.nodes.items() if isinstance(node, nir.CubaLIF)]
    inputs = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    outputs = [name for name, node in graph.nodes.items() if isinstance(node, nir.Output)]
    if len(inputs) != 1 or len(outputs) != 1 or not cells:
        raise OptionError(
            f"the graph has {len(inputs)} inputs, {len(cells)} populations of CubaLIF neurons and "
            f"{len(outputs)} outputs.",
            remedy="It must have one input, one output, and neurons between them.",
        )
    found = {}
    for name, node in graph.nodes.items():
        if not isinstance(node, (nir.Linear, nir.Affine)):
            continue
        source, delay = _only(before[name], name, "comes from"), None
        if isinstance(graph.nodes[source], nir.Delay):
            delay = np.ravel(graph.nodes[source].delay)
            source = _only(before[source], source, "comes from")
        target = _only(after[name], name, "goes to")
        if source not in (*cells, inputs[0]) or target not in cells:
            raise OptionError(
                f"node {name!r} connects {source!r} with {target!r}.",
                remedy="Weights must connect the input or neurons with neurons.",
            )
        if isinstance(node, nir.Affine) and np.any(node.bias):
            raise OptionError(
                f"node {name!r} has a bias, which such a network has no place for.",
                remedy="Train without bias, or set it to 0.",
            )
        if np.ndim(node.weight) != 2 or (source, target) in found:
            raise OptionError(f"node {name!r} is no single matrix from {source!r} to {target!r}.")
        found[source, target] = np.asarray(node.weight), delay
    for a, b in graph.edges:
        if b in cells and not isinstance(graph.nodes[a], (nir.Linear, nir.Affine)):
            raise OptionError(
                f"node {a!r} drives {b!r} without weights.", remedy="Put a Linear node between."
            )
    chain = [inputs[0]]
    while following := [b for a, b in found if a == chain[-1] and b not in chain]:
        chain.append(following[0])
    place = {name: index for index, name in enumerate(chain)}
    odd = [(a, b) for a, b in found if place.get(b, -2) - place.get(a, -9) not in (0, 1)]
    if odd or set(cells) != set(chain[1:]) or before[outputs[0]] != [chain[-1]]:
        raise OptionError(
            "the populations of the graph are no chain from input to output"
            + (f": {odd[0][0]!r} drives {odd[0][1]!r}." if odd else "."),
            remedy="Each must drive the next, and at most itself beside.",
        )
    return chain, {(place[a], place[b]): value for (a, b), value in found.items()}


def _only(names: list[str], node: str, verb: str) -> str:
    if len(names) != 1:
        raise OptionError(f"node {node!r} {verb} {len(names)} nodes.", remedy="It must be one.")
    return names[0]


def _delays(
    linear: Mapping[tuple[int, int], tuple[np.ndarray, np.ndarray | None]],
    layers: list[str],
    sizes: list[int],
) -> float | tuple[tuple[float, ...], ...]:
    """Return the axonal delay of every neuron; one number if it is the same for all."""
    delays = [np.zeros(size) for size in (linear[0, 1][0].shape[1], *sizes)]
    for index, layer in enumerate(layers):
        given = [
            np.zeros(delays[index].size) if delay is None else delay * np.ones(delays[index].size)
            for (source, _), (_, delay) in linear.items()
            if source == index
        ]
        if any(np.any(other != given[0]) for other in given[1:]):
            raise OptionError(
                f"spikes of {layer!r} arrive later at some populations than at others.",
                remedy="A delay belongs to the neuron that sends: give all its connections the "
                "same.",
            )
        if given:
            delays[index] = given[0]
    # The delay of an output that drives nobody is nowhere in the graph.
    silent = len(layers) - 1 not in {source for source, _ in linear}
    sending = np.concatenate(delays[:-1] if silent else delays)
    if np.all(sending == sending[0]):
        return float(sending[0])
    return tuple(tuple(part.tolist()) for part in delays)


def _same(what: str, values: list[np.ndarray]) -> float:
    """Return the value that all neurons share."""
    flat = np.concatenate([np.ravel(value) for value in values]).astype(float)
    if np.ptp(flat) > 1e-6 * np.abs(flat).max():
        raise OptionError(
            f"{what} differs between neurons ({flat.min():g} to {flat.max():g}).",
            remedy="All neurons of such a network have the same constants.",
        )
    return float(flat[0])


def _number(metadata: Mapping[str, Any], name: str) -> float | None:
    """Return a number of the metadata, if it is there."""
    try:
        return float(metadata[name]) if name in metadata else None
    except (TypeError, ValueError) as error:
        raise OptionError(f"{name} of the graph's metadata is no number.") from error
