"""A whole layer over all its time steps as one operation of PyTorch, compiled by numba.

The same as a loop over `steps.lif_step` with automatic differentiation, without the cost of
thousands of small operations. Input spikes are added as one row of weights each where they are
rare, by a matrix product where they are not; the reverse pass is exact and linear in the steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuromodels.options import OptionError
from neuromodels.spiking.events import SPARSE_BELOW, SpikeEvents, find_events
from neuromodels.spiking.fused_kernels import run_backward, run_forward
from neuromodels.spiking.neurons import Coefficients, LIFParameters
from neuromodels.spiking.steps import RESET_GRADIENTS, LIFState, ResetGradient
from neuromodels.spiking.surrogates import Surrogate

_INTEGRATE = -1


class Recurrence(NamedTuple):
    """Connections of a layer to itself.

    Attributes
    ----------
    weight : torch.Tensor
        (neuron, neuron): a row holds what one neuron's spikes add to the current of all, V.
    delays : numpy.ndarray
        (neuron,) int64, steps from a neuron's spike to its arrival.
    pending : torch.Tensor
        (batch, longest delay, neuron), spikes of the steps before the first.
    """

    weight: Tensor
    delays: np.ndarray
    pending: Tensor


class _Settings(NamedTuple):
    coefficients: Coefficients
    rest_v: float
    threshold_v: float
    shape: int
    slope: float
    height: float
    passes_reset: int
    events: SpikeEvents | None
    delays: np.ndarray
    n_batch: int
    n_steps: int
    #: Whether a reverse pass may follow, which needs the voltages.
    keeps: bool
    #: Where the forward pass leaves its spikes as a list.
    found: list[SpikeEvents]

    def constants(self, dtype: torch.dtype) -> np.ndarray:
        decay, gain, synapse, _ = self.coefficients
        values = (decay, gain, synapse, self.rest_v, self.threshold_v, self.slope, self.height)
        return torch.tensor(values, dtype=dtype).numpy()


def can_fuse(like: Tensor, surrogate: Surrogate | None = None) -> bool:
    """Say whether the compiled layer can do it: on the CPU, with a surrogate that it knows."""
    known = surrogate is None or surrogate.compiled_shape >= 0
    return like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64) and known


def fused_layer(
    inputs: Tensor | SpikeEvents,
    weight: Tensor,
    state: LIFState,
    coefficients: Coefficients,
    parameters: LIFParameters,
    surrogate: Surrogate,
    reset_gradient: ResetGradient = "full",
    recurrence: Recurrence | None = None,
    events: SpikeEvents | None = None,
) -> tuple[Tensor, LIFState, SpikeEvents | None]:
    """Simulate a layer of spiking neurons; its gradients are those of the loop over steps.

    Parameters
    ----------
    inputs : torch.Tensor or SpikeEvents
        What arrives at each step, (batch, step, source): spikes, or any other numbers.
    weight : torch.Tensor
        (source, neuron), V.
    state : LIFState
        Before the first step; not changed.
    coefficients, parameters, surrogate, reset_gradient
        As of `lif_step`.
    recurrence : Recurrence, optional
        Connections of the layer to itself.
    events : SpikeEvents, optional
        Dense inputs as a list, where it is known; else they are searched for spikes.

    Returns
    -------
    spikes : torch.Tensor
        (batch, step, neuron), 0 or 1.
    state : LIFState
        After the last step.
    events : SpikeEvents or None
        The spikes as a list, if they are rare.

    Raises
    ------
    OptionError
        A surrogate without a compiled form (use `can_fuse`), an unknown reset_gradient.
    """
    if reset_gradient not in RESET_GRADIENTS:
        raise OptionError(f"reset_gradient = {reset_gradient!r} is unknown.")
    if not can_fuse(weight, surrogate):
        raise OptionError(
            f"surrogate {surrogate.name!r} on {weight.device} in {weight.dtype} is not compiled.",
            remedy="Use the layer's engine 'steps'.",
        )
    form = (surrogate.compiled_shape, surrogate.slope_per_v, surrogate.height)
    passes_reset = {"full": 2, "detached": 1, "none": 0}[reset_gradient]
    return _apply(
        inputs, weight, state, coefficients, (parameters.rest_v, parameters.threshold_v), form,
        passes_reset, recurrence, events,
    )  # fmt: skip


def fused_integrator(
    inputs: Tensor | SpikeEvents,
    weight: Tensor,
    state: LIFState,
    coefficients: Coefficients,
    rest_v: float,
    events: SpikeEvents | None = None,
) -> tuple[Tensor, LIFState]:
    """Simulate leaky integrators, which send no spikes.

    Parameters
    ----------
    inputs, weight, state, coefficients, events
        As of `fused_layer`.
    rest_v : float
        Voltage of rest, V.

    Returns
    -------
    voltage_v : torch.Tensor
        (batch, step, neuron), V.
    state : LIFState
        After the last step.
    """
    form = (_INTEGRATE, 1.0, 1.0)
    levels = (rest_v, np.inf)
    return _apply(inputs, weight, state, coefficients, levels, form, 0, None, events)[:2]


def _apply(
    inputs: Tensor | SpikeEvents,
    weight: Tensor,
    state: LIFState,
    coefficients: Coefficients,
    levels: tuple[float, float],
    form: tuple[int, float, float],
    passes_reset: int,
    recurrence: Recurrence | None,
    events: SpikeEvents | None,
) -> tuple[Tensor, LIFState, SpikeEvents | None]:
    dense = inputs
    if isinstance(inputs, SpikeEvents):
        dense, events = None, inputs
    elif events is None:
        events = find_events(inputs)
    delays = np.zeros(0, np.int64) if recurrence is None else recurrence.delays
    found: list[SpikeEvents] = []
    settings = _Settings(
        coefficients,
        *levels,
        *form,
        passes_reset,
        events,
        delays,
        *inputs.shape[:2],
        torch.is_grad_enabled(),
        found,
    )
    recurrent, pending = (None, None) if recurrence is None else recurrence[::2]
    out, voltage, current, held = _Fused.apply(dense, weight, recurrent, pending, *state, settings)
    return out, LIFState(voltage, current, held), found[0] if found else None


def _array(tensor: Tensor | None, like: Tensor, ndim: int = 3) -> np.ndarray:
    """Memory of a tensor, or an array of size 0 for none."""
    if tensor is None:
        return like.new_empty((0,) * ndim).numpy()
    return tensor.detach().contiguous().numpy()


class _Fused(torch.autograd.Function):
    """Forward and reverse of a layer; the input is dense, or None and events in the settings."""

    @staticmethod
    def forward(ctx, dense, weight, recurrent, pending, voltage, current, held, settings):
        n_batch, n_steps, n = settings.n_batch, settings.n_steps, weight.shape[1]
        events = settings.events
        drive = None
        if events is None:
            drive = (dense.reshape(-1, dense.shape[2]) @ weight).reshape(n_batch, n_steps, n)
        lead = 0 if pending is None else pending.shape[1]
        sent = weight.new_empty((n_batch, lead + n_steps, n))
        if lead:
            sent[:, :lead] = pending
        integrates = settings.shape == _INTEGRATE
        keep = integrates or (settings.keeps and any(ctx.needs_input_grad))
        trace = weight.new_empty((n_batch, n_steps, n)) if keep else None
        state = [value.detach().clone(memory_format=torch.contiguous_format) for value in
                 (voltage, current, held)]  # fmt: skip
        fired_start = np.empty(n_batch * n_steps + 1, np.int64)
        fired = np.empty(n + int(SPARSE_BELOW * n_batch * n_steps * n), np.int32)
        n_fired = run_forward(
            *_rows(events), _array(weight, weight), _array(drive, weight),
            _array(recurrent, weight, 2), settings.delays, settings.constants(weight.dtype)[:5],
            settings.coefficients.refractory_steps, *(value.numpy() for value in state),
            sent.numpy(), lead, _array(trace, weight), fired_start, fired,
        )  # fmt: skip
        if n_fired >= 0 and not integrates:
            shape = (n_batch, n_steps, n)
            settings.found.append(SpikeEvents(fired_start, fired[:n_fired].copy(), shape))
        out = trace if integrates else sent[:, lead:].contiguous()
        ctx.settings = settings
        ctx.save_for_backward(
            dense if events is None else None, weight, recurrent, trace,
            sent if lead else (None if integrates else out),
        )  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(state[2])
        return out, *state

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out, grad_voltage, grad_current, _):
        dense, weight, recurrent, trace, sent = ctx.saved_tensors
        settings, needs = ctx.settings, ctx.needs_input_grad
        n_batch, n_steps, n = trace.shape
        is_recurrent, integrates = recurrent is not None, settings.shape == _INTEGRATE
        lead = 0 if integrates else sent.shape[1] - n_steps
        grad_sent = grad_trace = None
        if integrates:
            grad_trace = grad_out if grad_out is not None else torch.zeros_like(trace)
        elif is_recurrent or grad_out is None:
            grad_sent = torch.zeros_like(sent)
            if grad_out is not None:
                grad_sent[:, lead:] = grad_out
        else:
            grad_sent = grad_out.contiguous()
        events = settings.events
        by_events = events is not None and needs[1]
        grad_weight = torch.zeros_like(weight) if by_events else None
        needs_drive = needs[0] or is_recurrent or (events is None and needs[1])
        grad_drive = torch.empty_like(trace) if needs_drive else None
        grad_recurrent = torch.zeros_like(recurrent) if is_recurrent else None
        state = [
            trace.new_zeros((n_batch, n)) if grad is None else grad.clone(
                memory_format=torch.contiguous_format)
            for grad in (grad_voltage, grad_current)
        ]  # fmt: skip
        run_backward(
            *_rows(events), _array(grad_weight, weight, 2), _array(grad_drive, weight),
            _array(recurrent, weight, 2), settings.delays, _array(grad_recurrent, weight, 2),
            settings.constants(weight.dtype), settings.passes_reset, settings.shape,
            _array(trace, weight), _array(sent, weight), lead, _array(grad_sent, weight),
            _array(grad_trace, weight), *(value.numpy() for value in state),
        )  # fmt: skip
        grad_dense = None
        if needs[0]:
            grad_dense = (grad_drive.reshape(-1, n) @ weight.T).reshape(n_batch, n_steps, -1)
        if events is None and needs[1]:
            grad_weight = dense.reshape(-1, dense.shape[2]).T @ grad_drive.reshape(-1, n)
        grad_pending = grad_sent[:, :lead] if is_recurrent and needs[3] else None
        return grad_dense, grad_weight, grad_recurrent, grad_pending, *state, None, None


def _rows(events: SpikeEvents | None) -> tuple[np.ndarray, np.ndarray]:
    if events is None:
        return np.empty(0, np.int64), np.empty(0, np.int32)
    return events.row_start, events.sources
