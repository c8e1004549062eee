"""Spiking networks to NIR, the format that simulators and neuromorphic chips exchange.

NIR describes a graph of equations. Its current-based neuron (CubaLIF) is

    τ_syn dI/dt = −I + w_in S;   τ_mem dv/dt = (v_leak − v) + R I;   v > v_threshold: v ← v_reset

It says nothing of the height of a spike, and that matters. Its text has Dirac pulses, so that I
jumps by w_in / τ_syn; the simulators that read it step I by dt/τ_syn (w_in S − I) with S = 1 for
one step, so that I jumps by w_in dt / τ_syn. Both are offered. Pedersen et al. 2024 (Nature
Communications 15:8122); neuroir.org/docs/primitives.html.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neuromodels.options import OptionError, nearest
from neuromodels.spiking.network import SpikingNetwork

if TYPE_CHECKING:
    import nir

#: What a spike is: 1 for one time step (what simulators do), or a Dirac pulse (what NIR says).
Spike = Literal["pulse", "impulse"]


def to_nir(
    network: SpikingNetwork, weights: Mapping[str, np.ndarray], *, spikes: Spike = "pulse"
) -> nir.NIRGraph:
    """Describe a network in NIR, and say what NIR cannot hold of it.

    Nodes are, by population: ``input`` and ``output``; ``<name>_neurons`` (CubaLIF);
    ``<name>_axons`` (Delay, one per neuron, where there is a delay); and ``<source>_to_<target>``
    (Linear, with the weights as rows of targets). Seconds and volts throughout.

    Parameters
    ----------
    network : SpikingNetwork
        Populations and constants.
    weights : mapping of str to numpy.ndarray
        (n_source, n_target) per connection, V.
    spikes : {"pulse", "impulse"}
        "pulse": spikes are 1 for one step of `network.dt_s`, as in snnTorch, Norse and Rockpool:
        w_in = τ_syn / dt, R = τ_mem / dt, voltages from rest. "impulse": Dirac pulses, as in the
        text of NIR, and no constant depends on the step: w_in = τ_syn, R = 1, v_leak at rest.

    Returns
    -------
    nir.NIRGraph
        Its metadata hold what is lost (``lost``, one line each), and the constants from which
        `nir_import.from_nir` makes the network again.

    Warns
    -----
    UserWarning
        Once for each thing that is lost.

    Raises
    ------
    OptionError
        The package nir is missing, or the weights are not the network's.
    """
    graph = graph_of(network, weights, spikes)
    warn_of_losses(graph)
    return graph


def warn_of_losses(graph: nir.NIRGraph) -> None:
    """Warn, where the caller was called, of each thing that NIR cannot hold."""
    for message in graph.metadata["lost"].splitlines():
        warnings.warn(message, stacklevel=3)


def graph_of(
    network: SpikingNetwork, weights: Mapping[str, np.ndarray], spikes: Spike
) -> nir.NIRGraph:
    """`to_nir`, without its warnings."""
    nir = import_nir()
    check_spikes(spikes)
    network.check_weights(weights)
    p, dt_s = network.parameters, network.dt_s
    if spikes == "pulse":
        constants = {
            "r": p.tau_mem_s / dt_s,
            "w_in": p.tau_syn_s / dt_s,
            "v_leak": 0.0,
            "v_reset": 0.0,
            "v_threshold": p.gap_v,
        }
        scale = dt_s / p.tau_mem_s  # the inverse of R: I is in other units
    else:
        constants = {
            "r": 1.0,
            "w_in": p.tau_syn_s,
            "v_leak": p.rest_v,
            "v_reset": p.rest_v,
            "v_threshold": p.threshold_v,
        }
        scale = 1.0
    constants |= {"tau_mem": p.tau_mem_s, "tau_syn": p.tau_syn_s}
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([network.sizes[0]])})}
    edges, ends = [], ["input"]
    for name, size in zip(network.names[1:], network.sizes[1:], strict=True):
        nodes[f"{name}_neurons"] = nir.CubaLIF(
            **{k: np.full(size, v) for k, v in constants.items()}
        )
        ends.append(f"{name}_neurons")
    delays = np.split(network.delay_steps * dt_s, network.offsets[1:-1])
    for source in {c.source: None for c in network.connections}:
        if delays[source].any():
            axons = f"{network.names[source]}_axons"
            nodes[axons] = nir.Delay(delays[source])
            edges.append((ends[source], axons))
    for c in network.connections:
        axons = f"{network.names[c.source]}_axons"
        nodes[c.name] = nir.Linear(np.ascontiguousarray(np.asarray(weights[c.name]).T * scale))
        edges += [(axons if axons in nodes else ends[c.source], c.name), (c.name, ends[c.target])]
    nodes["output"] = nir.Output({"output": np.array([network.sizes[-1]])})
    edges.append((ends[-1], "output"))
    metadata = {
        "lost": "\n".join(_lost(network, spikes)),
        "spikes": spikes,
        "dt_s": float(dt_s),
        "refractory_s": float(p.refractory_s),
        "zero_v": float(p.rest_v) if spikes == "pulse" else 0.0,
        "membrane": network.membrane,
        "synapse": network.synapse,
    }
    return nir.NIRGraph(nodes, edges, metadata)


def _lost(network: SpikingNetwork, spikes: Spike) -> list[str]:
    """Name what NIR has no field for, or leaves to whoever reads it."""
    lost = []
    if network.coefficients.refractory_steps:
        lost.append(
            "NIR has no refractory period: neurons may spike again within "
            f"{network.parameters.refractory_s * 1e3:g} ms, and will, where they are driven."
        )
    lost += [
        "NIR leaves threshold and reset to the reader: here a neuron spikes strictly above the "
        "threshold, and its voltage is set to rest within the same step (not reduced by the "
        "threshold).",
        f"NIR has no time step and no integrator: here {network.dt_s * 1e3:g} ms, membrane "
        f"{network.membrane}, synapse {network.synapse}, and a spike that arrives acts on the "
        "voltage one step later.",
        "NIR names no units: here s and V"
        + (", voltages from rest." if spikes == "pulse" else "."),
    ]
    if spikes == "pulse":
        lost.append(
            f"NIR names no height of a spike: here it is 1 for one step of {network.dt_s * 1e3:g} "
            "ms, so that the constants hold for this step only."
        )
    else:
        lost.append(
            "NIR names no height of a spike: here it is a Dirac pulse, as in its text; most "
            "simulators read a 1 that lasts a step instead, and would see weights scaled by dt."
        )
    return lost


def check_spikes(spikes: str) -> None:
    """Refuse a kind of spike that does not exist."""
    if spikes not in ("pulse", "impulse"):
        raise OptionError(
            f"spikes = {spikes!r} is no kind of spike.",
            remedy=nearest(str(spikes), ("pulse", "impulse")),
        )


def import_nir() -> Any:
    """Return the package nir, or say how to get it."""
    try:
        import nir
    except ImportError as error:
        raise OptionError(
            "NIR files need the package nir.", remedy='pip install "neuromodels[nir]"'
        ) from error
    return nir
