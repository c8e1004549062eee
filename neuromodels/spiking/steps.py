"""One step of a population of leaky integrate-and-fire neurons, for tensors of any device.

The order of a step, everywhere in this package (U voltage, I current, both in volts):

1. U ← U_rest + (U − U_rest) · membrane_decay + I · current_gain; held at rest while refractory
2. a spike where U > threshold
3. U ← U_rest where a spike was sent
4. I ← I · synapse_decay + Σ w · (spikes that arrive at this step)

so that a spike that arrives at step t first acts on the voltage at step t + 1.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from neuromodels.options import OptionError
from neuromodels.spiking.neurons import Coefficients, LIFParameters
from neuromodels.spiking.surrogates import Surrogate

#: What learning sees of reset and refractoriness.
ResetGradient = Literal["full", "detached", "none"]
RESET_GRADIENTS: tuple[str, ...] = ("full", "detached", "none")


class LIFState(NamedTuple):
    """Neurons between two steps.

    Attributes
    ----------
    voltage_v : torch.Tensor
        U after reset, V, (batch, neuron).
    current_v : torch.Tensor
        Synaptic current I, V, same shape.
    held_steps : torch.Tensor
        Steps for which the neuron is still held at rest, int64, same shape.
    """

    voltage_v: Tensor
    current_v: Tensor
    held_steps: Tensor


class _Replace(torch.autograd.Function):
    """Value of the second, gradient to the first; exact, which a + (b − a) is not."""

    @staticmethod
    def forward(ctx: Any, carrier: Tensor, value: Tensor) -> Tensor:  # noqa: ARG004
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return grad, None


def resting_state(parameters: LIFParameters, shape: tuple[int, ...], like: Tensor) -> LIFState:
    """Return neurons at rest without current.

    Parameters
    ----------
    parameters : LIFParameters
        Their constants.
    shape : tuple of int
        (batch, neuron).
    like : torch.Tensor
        Gives precision and device.

    Returns
    -------
    LIFState
        Of that shape.
    """
    return LIFState(
        like.new_full(shape, parameters.rest_v),
        like.new_zeros(shape),
        torch.zeros(shape, dtype=torch.int64, device=like.device),
    )


def fire(
    state: LIFState,
    coefficients: Coefficients,
    parameters: LIFParameters,
    surrogate: Surrogate,
    reset_gradient: ResetGradient = "full",
) -> tuple[Tensor, LIFState]:
    """Step voltages and send spikes (1 to 3 above); the current stays for `receive`.

    Parameters and returns as of `lif_step`.
    """
    if reset_gradient not in RESET_GRADIENTS:
        raise OptionError(
            f"reset_gradient = {reset_gradient!r} is unknown.",
            remedy=f"Known: {', '.join(RESET_GRADIENTS)}.",
        )
    rest = parameters.rest_v
    moved = rest + (state.voltage_v - rest) * coefficients.membrane_decay
    moved = moved + state.current_v * coefficients.current_gain
    # A held neuron sits at rest, below threshold: it sends no spike.
    held = torch.where(state.held_steps > 0, rest, moved)
    if reset_gradient == "none":
        held = _Replace.apply(moved, held)
    spikes = surrogate.spike(held - parameters.threshold_v)
    if reset_gradient == "none":
        voltage = _Replace.apply(held, torch.where(spikes > 0, rest, held))
    else:
        reset = spikes.detach() if reset_gradient == "detached" else spikes
        voltage = held * (1 - reset) + rest * reset
    waiting = (state.held_steps - 1).clamp_min(0)
    waiting = torch.where(spikes > 0, coefficients.refractory_steps, waiting)
    return spikes, LIFState(voltage, state.current_v, waiting)


def receive(state: LIFState, arriving_current: Tensor, coefficients: Coefficients) -> LIFState:
    """Let the current decay and add what arrives (4 above)."""
    current = state.current_v * coefficients.synapse_decay + arriving_current
    return state._replace(current_v=current)


def lif_step(
    arriving_current: Tensor,
    state: LIFState,
    coefficients: Coefficients,
    parameters: LIFParameters,
    surrogate: Surrogate,
    reset_gradient: ResetGradient = "full",
) -> tuple[Tensor, LIFState]:
    """Move a population of neurons by one step; returns who fired.

    Parameters
    ----------
    arriving_current : torch.Tensor
        Σ w · (spikes that arrive at this step), V, (batch, neuron).
    state : LIFState
        Before the step; not changed.
    coefficients : Coefficients
        From `lif_coefficients`.
    parameters : LIFParameters
        Threshold and rest.
    surrogate : Surrogate
        What stands for the derivative of a spike.
    reset_gradient : {"full", "detached", "none"}
        "full": the gradient passes through the reset too. "detached": the reset is a constant of
        the gradient. "none": the gradient of U passes through the linear synapse and membrane
        only; neither reset nor refractoriness erases anything (its output-layer gradient is the
        SuperSpike rule). Spikes are the same for all three.

    Returns
    -------
    spikes : torch.Tensor
        0 or 1, (batch, neuron).
    state : LIFState
        After the step.

    Raises
    ------
    OptionError
        Unknown reset_gradient.
    """
    spikes, state = fire(state, coefficients, parameters, surrogate, reset_gradient)
    return spikes, receive(state, arriving_current, coefficients)


def li_step(
    arriving_current: Tensor, state: LIFState, coefficients: Coefficients, rest_v: float
) -> tuple[Tensor, LIFState]:
    """Move leaky integrators, which send no spikes, by one step.

    Parameters
    ----------
    arriving_current : torch.Tensor
        As in `lif_step`.
    state : LIFState
        Before the step; `held_steps` is kept.
    coefficients : Coefficients
        Of synapse and membrane.
    rest_v : float
        Voltage of rest, V.

    Returns
    -------
    voltage_v : torch.Tensor
        U of this step, V, (batch, neuron).
    state : LIFState
        After the step.
    """
    voltage = rest_v + (state.voltage_v - rest_v) * coefficients.membrane_decay
    voltage = voltage + state.current_v * coefficients.current_gain
    return voltage, receive(state._replace(voltage_v=voltage), arriving_current, coefficients)
