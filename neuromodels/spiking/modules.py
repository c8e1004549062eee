"""Networks of spiking layers as torch modules, and the same network as plain data.

Inputs and outputs are (batch, step, neuron).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.options import OptionError
from neuromodels.spiking.events import SpikeEvents
from neuromodels.spiking.layers import Engine, LayerState, LIFLayer, LILayer
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import LIFParameters, lif_coefficients
from neuromodels.spiking.steps import ResetGradient
from neuromodels.spiking.surrogates import Surrogate


class LIFNetwork(nn.Module):
    """Layers of leaky integrate-and-fire neurons, each driven by the one before.

    Parameters
    ----------
    sizes : sequence of int
        Number of inputs, then of the neurons of each layer.
    parameters : LIFParameters, optional
        Constants of all layers.
    dt_s : float
        Step, s.
    readout : {"spikes", "voltage"}
        What the last layer is: spiking neurons, or leaky integrators.
    generator : torch.Generator, optional
        Of the initial weights.
    **options
        Of every `LIFLayer`: surrogate, reset_gradient, delay_steps (one number), recurrent (the
        layers but the last), recurrent_delay_steps, weight_scale_v, membrane, synapse, engine.

    Raises
    ------
    OptionError
        As of the layers.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        parameters: LIFParameters | None = None,
        dt_s: float = 1e-3,
        *,
        readout: Literal["spikes", "voltage"] = "spikes",
        generator: torch.Generator | None = None,
        **options: Any,
    ):
        super().__init__()
        if len(sizes) < 2:
            raise OptionError("a network needs at least two sizes: inputs and neurons.")
        if readout not in ("spikes", "voltage"):
            raise OptionError(f"readout = {readout!r} is unknown.", remedy="spikes or voltage.")
        layers: list[LILayer] = []
        for index, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            is_last = index == len(sizes) - 2
            own = dict(options)
            if is_last and len(sizes) > 2:
                own.pop("recurrent", None)
                own.pop("recurrent_delay_steps", None)
            kind: type[LILayer] = LIFLayer
            if is_last and readout == "voltage":
                kind = LILayer
                for name in ("surrogate", "reset_gradient", "recurrent", "recurrent_delay_steps"):
                    own.pop(name, None)
            layers.append(kind(n_in, n_out, parameters, dt_s, generator=generator, **own))
        self.layers = nn.ModuleList(layers)

    def forward(
        self, inputs: Tensor | SpikeEvents, state: Sequence[LayerState] | None = None
    ) -> tuple[list[Tensor], list[LayerState]]:
        """Return what every layer puts out, the last one's last, and the state of all layers.

        Parameters
        ----------
        inputs : torch.Tensor or SpikeEvents
            (batch, step, source).
        state : sequence of LayerState, optional
            Before the first step; at rest by default.

        Returns
        -------
        outputs : list of torch.Tensor
            Spikes (or voltages of a readout) of each layer, (batch, step, neuron).
        state : list of LayerState
            After the last step.
        """
        outputs, after, events = [], [], None
        for index, layer in enumerate(self.layers):
            own = None if state is None else state[index]
            inputs, new, events = layer.run(inputs, own, events)
            outputs.append(inputs)
            after.append(new)
        return outputs, after


def to_module(
    network: SpikingNetwork,
    weights: Mapping[str, np.ndarray],
    *,
    surrogate: Surrogate | None = None,
    reset_gradient: ResetGradient = "full",
    engine: Engine = "auto",
) -> LIFNetwork:
    """Turn a network and its weights into a module of PyTorch that fires the same spikes.

    Parameters
    ----------
    network : SpikingNetwork
        Populations and constants.
    weights : mapping of str to numpy.ndarray
        (n_source, n_target) per connection, V; their precision is kept.
    surrogate, reset_gradient, engine
        As of `LIFLayer`.

    Returns
    -------
    LIFNetwork
        To train by surrogate gradients.

    Raises
    ------
    OptionError
        Weights that are not this network's.
    """
    network.check_weights(weights)
    module = LIFNetwork(network.sizes[:2])
    delays = np.split(network.delay_steps, network.offsets[1:-1])
    layers = []
    for target in range(1, len(network.sizes)):
        is_recurrent = target in network.recurrent
        layer = LIFLayer(
            network.sizes[target - 1],
            network.sizes[target],
            network.parameters,
            network.dt_s,
            surrogate=surrogate,
            reset_gradient=reset_gradient,
            delay_steps=delays[target - 1],
            recurrent=is_recurrent,
            recurrent_delay_steps=delays[target] if is_recurrent else 0,
            membrane=network.membrane,
            synapse=network.synapse,
            engine=engine,
        )
        for connection in network.into(target):
            made = nn.Parameter(torch.from_numpy(np.array(weights[connection.name])))
            if connection.source == target:
                layer.recurrent_weight = made
            else:
                layer.weight = made
        layers.append(layer)
    module.layers = nn.ModuleList(layers)
    return module


def from_module(module: LIFNetwork) -> tuple[SpikingNetwork, dict[str, np.ndarray]]:
    """Turn a trained module into plain data: to simulate, export to Brian2 or NIR, or go on with.

    Parameters
    ----------
    module : LIFNetwork
        Of spiking layers.

    Returns
    -------
    network : SpikingNetwork
        Populations and constants.
    weights : dict of numpy.ndarray
        (n_source, n_target) per connection, V.

    Raises
    ------
    OptionError
        What plain data cannot hold: leaky integrators, layers that differ in their constants,
        neurons whose spikes reach their own layer and the next with different delays.
    """
    layers = list(module.layers)
    for index, layer in enumerate(layers):
        if not isinstance(layer, LIFLayer):
            raise OptionError("leaky integrators send no spikes.", f"layer {index}")
        _check_same_constants(layer, layers[0], f"layer {index}")
    first = layers[0]
    delays = [layer.delays for layer in layers] + [layers[-1].recurrent_delays]
    recurrent = []
    for index, layer in enumerate(layers):
        if layer.recurrent_weight is None:
            continue
        recurrent.append(index + 1)
        if (layer.recurrent_delays != delays[index + 1]).any():
            raise OptionError(
                "a neuron's spikes reach its own layer and the next with different delays.",
                f"layer {index}",
                "Give recurrent_delay_steps and the next layer's delay_steps the same values.",
            )
    network = SpikingNetwork(
        (first.n_in, *(layer.n_out for layer in layers)),
        first.constants,
        first.dt_s,
        _delay_s(delays, first.dt_s, bool(recurrent and recurrent[-1] == len(layers))),
        tuple(recurrent),
        first.membrane,
        first.synapse,
    )
    weights = {}
    for connection in network.connections:
        layer = layers[connection.target - 1]
        own = connection.source == connection.target
        held = layer.recurrent_weight if own else layer.weight
        weights[connection.name] = held.detach().cpu().numpy().copy()
    return network, weights


def _check_same_constants(layer: LIFLayer, first: LIFLayer, where: str) -> None:
    same = layer.constants == first.constants and layer.dt_s == first.dt_s
    if not same or layer.coefficients != first.coefficients:
        raise OptionError("this layer's constants are not those of the first layer.", where)
    expected = lif_coefficients(
        layer.constants, layer.dt_s, membrane=layer.membrane, synapse=layer.synapse
    )
    if not np.allclose(layer.coefficients, expected, rtol=1e-6, atol=0):
        raise OptionError("this layer's step does not follow from its time constants.", where)


def _delay_s(
    delays: list[np.ndarray], dt_s: float, last_matters: bool
) -> float | tuple[tuple[float, ...], ...]:
    """One delay if all that matter are the same, else one for each neuron of each population."""
    known = np.concatenate(delays if last_matters else delays[:-1])
    if (known == known[0]).all():
        return float(known[0] * dt_s)
    return tuple(tuple(float(steps * dt_s) for steps in part) for part in delays)
