"""Networks to and from snnTorch, with every difference of the dynamics mapped or named.

How snnTorch steps (tested against the version installed): the current first, then the membrane
with the *new* current, then the threshold (strict, as ours):

    syn ← α syn + input;   mem ← β mem + syn;   spike where mem > threshold

Ours acts on the membrane one step after a spike arrives. With α = synapse_decay, β =
membrane_decay and weights times current_gain the two are the same, an input of ours being one of
snnTorch a step later. Of the resets only "zero" is ours:

==========================  ==============  ===================
snnTorch, reset "zero"      refractory      reset_gradient
==========================  ==============  ===================
Synaptic, reset_delay       1 step          "detached"
Synaptic, no reset_delay    none            "full"
Leaky, reset_delay          none            "detached"
Leaky, no reset_delay       none            "full"
==========================  ==============  ===================
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from neuromodels.options import OptionError
from neuromodels.spiking.layers import LIFLayer, LILayer
from neuromodels.spiking.modules import LIFNetwork
from neuromodels.spiking.neurons import Coefficients, LIFParameters
from neuromodels.spiking.surrogates import SnntorchSurrogate, Surrogate

if TYPE_CHECKING:
    import numpy as np


class SnntorchNetwork(nn.Module):
    """Linear layers and neurons of snnTorch in a row, with delays between them.

    Attributes
    ----------
    linear, neurons : torch.nn.ModuleList
        `torch.nn.Linear` without bias, and `snntorch.Synaptic`.
    delays : list of numpy.ndarray
        Steps by which each layer's input is late, (source,).
    rest_v : list of float or None
        Voltage of rest of a layer whose voltage is the output; None where it is spikes.
    time_first : bool
        Whether arrays are (step, batch, neuron), as snnTorch has them, or (batch, step, neuron).
    """

    def __init__(
        self,
        linear: list[nn.Linear],
        neurons: list[nn.Module],
        delays: list[np.ndarray],
        rest_v: list[float | None],
        time_first: bool,
    ):
        super().__init__()
        self.linear, self.neurons = nn.ModuleList(linear), nn.ModuleList(neurons)
        self.delays, self.rest_v, self.time_first = delays, rest_v, time_first

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the output of the last layer from rest, arrays as `time_first` says.

        Parameters
        ----------
        inputs : torch.Tensor
            Spikes of the sources.
        """
        x = inputs if self.time_first else inputs.transpose(0, 1)
        parts = zip(self.linear, self.neurons, self.delays, self.rest_v, strict=True)
        for linear, neuron, delays, rest_v in parts:
            current = linear(_late(x, delays))
            state = neuron.reset_mem()
            out = []
            for now in current.unbind(0):
                spikes, *state = neuron(now, *state)
                out.append(spikes if rest_v is None else state[-1] + rest_v)
            x = torch.stack(out)
        return x if self.time_first else x.transpose(0, 1)


def _late(x: Tensor, delays: np.ndarray) -> Tensor:
    """Move each source of (step, batch, source) later by its delay."""
    out = torch.zeros_like(x)
    for delay in set(delays.tolist()):
        which = torch.from_numpy(delays == delay)
        if delay < len(x):
            out[delay:, :, which] = x[: len(x) - delay, :, which]
    return out


def to_snntorch(network: LIFNetwork, *, time_first: bool = True) -> SnntorchNetwork:
    """Turn a network into modules of snnTorch that fire the same spikes.

    Parameters
    ----------
    network : LIFNetwork
        Of feed-forward layers, with any integrator and delays.
    time_first : bool
        Whether the result takes and gives (step, batch, neuron), as snnTorch does.

    Returns
    -------
    SnntorchNetwork
        A copy of the weights, times current_gain, in `linear`; thresholds are in volts above rest.

    Warns
    -----
    UserWarning
        By name: a refractory period of more than one step (it becomes one step), a
        `reset_gradient` that snnTorch does not have for this refractory period.

    Raises
    ------
    OptionError
        A recurrent layer.
    """
    import snntorch

    linear, neurons, delays, rests = [], [], [], []
    for index, layer in enumerate(network.layers):
        where = f"layer {index}"
        decay, gain, synapse, refractory = layer.coefficients
        constants = layer.constants
        fires = isinstance(layer, LIFLayer)
        if fires and layer.recurrent_weight is not None:
            raise OptionError(
                "recurrent connections cannot be turned into snnTorch's.",
                where,
                "Build the layer there with snntorch.RSynaptic.",
            )
        options: dict[str, Any] = {"reset_mechanism": "none"}
        if fires:
            _warn_of_loss(layer, refractory, where)
            options = {
                "spike_grad": layer.surrogate,
                "reset_mechanism": "zero",
                "reset_delay": refractory > 0,
            }
        # As double precision: Python numbers would be stored in single precision.
        as_tensor = {"dtype": layer.weight.dtype}
        neurons.append(
            snntorch.Synaptic(
                alpha=torch.tensor(synapse, **as_tensor),
                beta=torch.tensor(decay, **as_tensor),
                threshold=torch.tensor(constants.gap_v, **as_tensor),
                **options,
            )
        )
        made = nn.Linear(layer.n_in, layer.n_out, bias=False, **as_tensor)
        with torch.no_grad():
            made.weight.copy_(layer.weight.T * gain)
        linear.append(made)
        delays.append(layer.delays + 1)
        rests.append(None if fires else constants.rest_v)
    return SnntorchNetwork(linear, neurons, delays, rests, time_first).to(network.layers[0].weight)


def _warn_of_loss(layer: LIFLayer, refractory: int, where: str) -> None:
    if refractory > 1:
        warnings.warn(
            f"{where}: the refractory period of {refractory} steps is lost; snnTorch holds a "
            "neuron at rest for one step at most. Spikes will differ.",
            stacklevel=3,
        )
    there = "detached" if refractory else "full"
    if layer.reset_gradient != there:
        warnings.warn(
            f"{where}: reset_gradient = {layer.reset_gradient!r} is lost; snnTorch's gradient with "
            f"this refractory period is {there!r}.",
            stacklevel=3,
        )


def from_snntorch(
    module: nn.Module, dt_s: float = 1e-3, *, surrogate: Surrogate | None = None
) -> LIFNetwork:
    """Turn Linear and Leaky or Synaptic modules of snnTorch into a network of this package.

    Its layers fire the spikes that those of snnTorch fire, one step later per layer: our voltage
    follows an arriving spike by a step.

    Parameters
    ----------
    module : torch.nn.Module
        Its modules are taken in the order in which they were made: `Linear` without bias, then
        `snntorch.Leaky` or `snntorch.Synaptic`, again and again. A `SnntorchNetwork` comes back
        with its delays.
    dt_s : float
        Length of a step, s.
    surrogate : Surrogate, optional
        Instead of the module's own, which is read through automatic differentiation and therefore
        runs in the loop over steps; a named one runs compiled. Distances are in units of snnTorch,
        so that its `fast_sigmoid(25)` is `SuperSpikeSurrogate(25.0)`.

    Returns
    -------
    LIFNetwork
        Threshold of snnTorch in volts, rest 0 V. Weights are divided by current_gain, which our
        neurons have and snnTorch's do not.

    Raises
    ------
    OptionError
        What has no counterpart here: other modules, biases, other resets, constants per neuron,
        constants that are learned.
    """
    import snntorch

    pairs: list[tuple[nn.Linear, nn.Module, str]] = []
    linear: nn.Linear | None = None
    delays = module.delays if isinstance(module, SnntorchNetwork) else None
    for name, part in _leaves(module):
        if isinstance(part, nn.Linear) and linear is None:
            linear = part
        elif isinstance(part, (snntorch.Leaky, snntorch.Synaptic)) and linear is not None:
            pairs.append((linear, part, name))
            linear = None
        elif not isinstance(part, (nn.Identity, nn.Flatten)):
            raise OptionError(
                f"{type(part).__name__} has no counterpart here at this place.",
                name,
                "Give Linear, then Leaky or Synaptic, and so on.",
            )
    if not pairs or linear is not None:
        raise OptionError("every Linear needs neurons of snnTorch after it.", "from_snntorch")
    network = LIFNetwork([pairs[0][0].in_features, *(pair[0].out_features for pair in pairs)])
    for index, (linear, neuron, name) in enumerate(pairs):
        late = None if delays is None else delays[index] - 1
        network.layers[index] = _layer(linear, neuron, name, dt_s, surrogate, late)
    return network


def _leaves(module: nn.Module) -> list[tuple[str, nn.Module]]:
    if isinstance(module, SnntorchNetwork):
        parts = zip(module.linear, module.neurons, strict=True)
        return [(f"layer {index}", part) for index, both in enumerate(parts) for part in both]
    return [
        (name or type(part).__name__, part)
        for name, part in module.named_modules()
        if not list(part.children())
    ]


def _layer(
    linear: nn.Linear,
    neuron: nn.Module,
    name: str,
    dt_s: float,
    surrogate: Surrogate | None,
    delays: np.ndarray | None,
) -> LILayer:
    import snntorch

    if linear.bias is not None and linear.bias.detach().any():
        raise OptionError("a bias has no counterpart here.", name, "Use Linear(..., bias=False).")
    if neuron.inhibition or neuron.state_quant or float(neuron.graded_spikes_factor) != 1:
        raise OptionError("inhibition, state_quant and graded spikes have no counterpart.", name)
    if neuron.reset_mechanism == "subtract":
        raise OptionError(
            "reset_mechanism = 'subtract' has no counterpart here.",
            name,
            "Train it with reset_mechanism='zero'.",
        )
    fires = neuron.reset_mechanism == "zero"
    threshold = _constant(neuron, "threshold", name)
    beta = _constant(neuron, "beta", name)
    is_leaky = isinstance(neuron, snntorch.Leaky)
    alpha = 0.0 if is_leaky else _constant(neuron, "alpha", name)
    tau_mem_s = _time_constant(beta, dt_s, "beta", name)
    if is_leaky:
        # No synaptic current: what arrives acts once, as through a synapse much shorter than a
        # step. The time constant only says so; the step itself uses gain 1 and decay 0.
        tau_syn_s, gain = dt_s / 50, 1.0
    else:
        tau_syn_s = _time_constant(alpha, dt_s, "alpha", name)
        if abs(tau_syn_s - tau_mem_s) < 1e-6 * tau_mem_s:
            raise OptionError(
                f"alpha and beta are both {beta:g}.", name, "Change one of them by 1 %."
            )
        gain = tau_syn_s / (tau_mem_s - tau_syn_s) * (beta - alpha)
    refractory = int(neuron.reset_delay and not is_leaky) if fires else 0
    constants = LIFParameters(tau_mem_s, tau_syn_s, threshold, 0.0, refractory * dt_s)
    late = 0 if delays is None else delays.tolist()
    size = (linear.in_features, linear.out_features)
    if not fires:
        layer = LILayer(*size, delay_steps=late)
    else:
        if surrogate is None:
            own = neuron.spike_grad
            surrogate = own if isinstance(own, Surrogate) else SnntorchSurrogate(own, unit_v=1.0)
        layer = LIFLayer(
            *size,
            surrogate=surrogate,
            reset_gradient="detached" if neuron.reset_delay else "full",
            delay_steps=late,
        )
    layer.constants, layer.dt_s = constants, dt_s
    layer.coefficients = Coefficients(beta, gain, alpha, refractory)
    layer.to(linear.weight)
    with torch.no_grad():
        layer.weight.copy_(linear.weight.T / gain)
    return layer


def _constant(neuron: nn.Module, name: str, where: str) -> float:
    value = getattr(neuron, name)
    if isinstance(value, nn.Parameter):
        raise OptionError(f"{name} is learned, which has no counterpart here.", where)
    if value.numel() != 1:
        raise OptionError(f"{name} differs between neurons, which has no counterpart here.", where)
    return float(value)


def _time_constant(factor: float, dt_s: float, name: str, where: str) -> float:
    if not 0 < factor < 1:
        raise OptionError(
            f"{name} = {factor:g} is no decay with a time constant.",
            where,
            "It must lie between 0 and 1; without a synaptic current use snntorch.Leaky.",
        )
    return -dt_s / math.log(factor)
