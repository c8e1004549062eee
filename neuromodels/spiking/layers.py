"""Spiking layers as torch modules: thin, their state goes in and comes out.

Inputs and outputs are (batch, step, neuron). Weights are (source, neuron): a row holds what a
spike of one source adds to the current of every neuron.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.options import OptionError
from neuromodels.spiking.events import SpikeEvents, delay_events
from neuromodels.spiking.fused import Recurrence, can_fuse, fused_integrator, fused_layer
from neuromodels.spiking.neurons import Coefficients, LIFParameters, Method, lif_coefficients
from neuromodels.spiking.steps import (
    RESET_GRADIENTS,
    LIFState,
    ResetGradient,
    fire,
    li_step,
    receive,
    resting_state,
)
from neuromodels.spiking.surrogates import SuperSpikeSurrogate, Surrogate

#: "fused" is compiled, "steps" a loop in PyTorch; "auto" takes the compiled one where it can.
Engine = Literal["auto", "fused", "steps"]


class LayerState(NamedTuple):
    """A layer between two calls; carried on, two halves of a trial equal the whole.

    Attributes
    ----------
    neurons : LIFState
        Voltages, currents, refractoriness.
    inputs : torch.Tensor
        (batch, longest delay, source), input spikes that may still be under way.
    recurrent : torch.Tensor
        (batch, longest recurrent delay, neuron), own spikes that may still be under way.
    """

    neurons: LIFState
    inputs: Tensor
    recurrent: Tensor

    def detach(self) -> LayerState:
        """Return the same state, cut off from the gradient (truncated backpropagation)."""
        neurons = LIFState(*(value.detach() for value in self.neurons))
        return LayerState(neurons, self.inputs.detach(), self.recurrent.detach())


class LILayer(nn.Module):
    """Leaky integrators that never fire: a readout whose voltages are the answer.

    Parameters
    ----------
    n_in, n_out : int
        Sources and neurons.
    parameters : LIFParameters, optional
        Constants; threshold and refractory period do not matter.
    dt_s : float
        Step, s.
    delay_steps : int or sequence of int
        Steps from a spike to its arrival, for all sources or for each.
    weight_scale_v : float
        Initial weights are drawn from N(0, weight_scale_v / √n_in), V (second argument: standard
        deviation).
    membrane, synapse : {"exact", "euler"}
        Integrators.
    engine : {"auto", "fused", "steps"}
        See `Engine`.
    generator : torch.Generator, optional
        Of the initial weights.

    Raises
    ------
    OptionError
        Sizes, delays or engine that cannot be.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        parameters: LIFParameters | None = None,
        dt_s: float = 1e-3,
        *,
        delay_steps: int | Sequence[int] = 0,
        weight_scale_v: float = 50e-3,
        membrane: Method = "exact",
        synapse: Method = "exact",
        engine: Engine = "auto",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if min(n_in, n_out) < 1:
            raise OptionError(f"a layer of {n_out} neurons with {n_in} sources cannot be.")
        if engine not in ("auto", "fused", "steps"):
            raise OptionError(f"engine = {engine!r} is unknown.", remedy="auto, fused or steps.")
        # Not `parameters`, which is torch's name for weights.
        self.constants: LIFParameters = parameters or LIFParameters()
        self.dt_s = dt_s
        self.coefficients: Coefficients = lif_coefficients(
            self.constants, dt_s, membrane=membrane, synapse=synapse
        )
        self.membrane: Method = membrane
        self.synapse: Method = synapse
        self.engine: Engine = engine
        self.delays = _delays(delay_steps, n_in, "delay_steps")
        self.weight = nn.Parameter(_initial(n_in, n_out, weight_scale_v, generator))

    @property
    def n_in(self) -> int:
        """Number of sources."""
        return self.weight.shape[0]

    @property
    def n_out(self) -> int:
        """Number of neurons."""
        return self.weight.shape[1]

    def initial_state(self, n_batch: int) -> LayerState:
        """Return neurons at rest, with nothing under way.

        Parameters
        ----------
        n_batch : int
            Trials.
        """
        pending = self.weight.new_zeros((n_batch, int(self.delays.max()), self.n_in))
        neurons = resting_state(self.constants, (n_batch, self.n_out), self.weight)
        return LayerState(neurons, pending, self.weight.new_zeros((n_batch, 0, self.n_out)))

    def forward(
        self, inputs: Tensor | SpikeEvents, state: LayerState | None = None
    ) -> tuple[Tensor, LayerState]:
        """Return voltages, (batch, step, neuron) V, and the state after the last step.

        Parameters
        ----------
        inputs : torch.Tensor or SpikeEvents
            (batch, step, source).
        state : LayerState, optional
            Before the first step; at rest by default.
        """
        return self.run(inputs, state)[:2]

    def run(
        self,
        inputs: Tensor | SpikeEvents,
        state: LayerState | None = None,
        events: SpikeEvents | None = None,
    ) -> tuple[Tensor, LayerState, SpikeEvents | None]:
        """Do as `forward`; takes and returns spikes as a list too, where that is known.

        Parameters
        ----------
        inputs, state
            As of `forward`.
        events : SpikeEvents, optional
            The dense input as a list.

        Returns
        -------
        output : torch.Tensor
            As of `forward`.
        state : LayerState
            After the last step.
        events : SpikeEvents or None
            The output as a list.
        """
        state = state or self.initial_state(self._n_batch(inputs))
        arriving, pending = self._arrivals(inputs, state)
        if arriving is not inputs:
            events = None
        out, neurons, recurrent, events = self._simulate(arriving, state, events)
        return out, LayerState(neurons, pending, recurrent), events

    def _simulate(
        self, arriving: Tensor | SpikeEvents, state: LayerState, events: SpikeEvents | None
    ) -> tuple[Tensor, LIFState, Tensor, SpikeEvents | None]:
        rest = self.constants.rest_v
        if self._fuses(None):
            out, neurons = fused_integrator(
                arriving, self.weight, state.neurons, self.coefficients, rest, events
            )
        else:
            neurons, voltages = state.neurons, []
            for current in self._currents(arriving):
                voltage, neurons = li_step(current, neurons, self.coefficients, rest)
                voltages.append(voltage)
            out = torch.stack(voltages, 1)
        return out, neurons, state.recurrent, None

    def _n_batch(self, inputs: Tensor | SpikeEvents) -> int:
        shape = tuple(inputs.shape)
        if len(shape) != 3 or shape[2] != self.n_in or min(shape) < 1:
            raise OptionError(
                f"input of shape {shape} is not (batch, step, {self.n_in}).",
                type(self).__name__,
                "A single trial is a batch of one: inputs[None].",
            )
        return shape[0]

    def _arrivals(
        self, inputs: Tensor | SpikeEvents, state: LayerState
    ) -> tuple[Tensor | SpikeEvents, Tensor]:
        """Inputs at the steps at which they arrive, and those that are still under way."""
        if isinstance(inputs, SpikeEvents) and not self._fuses(None):
            inputs = inputs.to_dense(self.weight)
        elif isinstance(inputs, Tensor):
            inputs = inputs.to(self.weight.dtype)
        longest = state.inputs.shape[1]
        if longest == 0:
            return inputs, state.inputs
        if isinstance(inputs, SpikeEvents):
            return delay_events(inputs, self.delays, state.inputs)
        n_steps = inputs.shape[1]
        known = torch.cat([state.inputs.to(inputs), inputs], 1)
        if (self.delays == self.delays[0]).all():
            arriving = known[:, :n_steps]
        else:
            first = torch.from_numpy(longest - self.delays).to(inputs.device)
            step = torch.arange(n_steps, device=inputs.device)[:, None] + first
            arriving = known.gather(1, step.expand(len(inputs), -1, -1))
        return arriving, known[:, n_steps:]

    def _currents(self, arriving: Tensor) -> tuple[Tensor, ...]:
        # Unbound once: indexing every step would make the reverse pass quadratic in the steps.
        return (arriving @ self.weight).unbind(1)

    def _fuses(self, surrogate: Surrogate | None) -> bool:
        if self.engine == "steps":
            return False
        able = can_fuse(self.weight, surrogate)
        if self.engine == "fused" and not able:
            raise OptionError(
                "engine = 'fused' needs the CPU and a surrogate with a compiled form.",
                type(self).__name__,
                "Use engine = 'auto'.",
            )
        return able

    def extra_repr(self) -> str:
        """Sizes and step."""
        return f"{self.n_in}, {self.n_out}, dt_s={self.dt_s:g}, engine={self.engine!r}"


class LIFLayer(LILayer):
    """Leaky integrate-and-fire neurons with learned weights.

    Parameters
    ----------
    n_in, n_out, parameters, dt_s, delay_steps, weight_scale_v, membrane, synapse, engine, generator
        As of `LILayer`.
    surrogate : Surrogate, optional
        What stands for the derivative of a spike; the paper's by default.
    reset_gradient : {"full", "detached", "none"}
        What learning sees of the reset, see `lif_step`.
    recurrent : bool
        Whether the neurons connect to each other (and themselves).
    recurrent_delay_steps : int or sequence of int
        Steps from a neuron's own spike to its arrival in the layer.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        parameters: LIFParameters | None = None,
        dt_s: float = 1e-3,
        *,
        surrogate: Surrogate | None = None,
        reset_gradient: ResetGradient = "full",
        delay_steps: int | Sequence[int] = 0,
        recurrent: bool = False,
        recurrent_delay_steps: int | Sequence[int] = 0,
        weight_scale_v: float = 50e-3,
        membrane: Method = "exact",
        synapse: Method = "exact",
        engine: Engine = "auto",
        generator: torch.Generator | None = None,
    ):
        super().__init__(
            n_in, n_out, parameters, dt_s, delay_steps=delay_steps, weight_scale_v=weight_scale_v,
            membrane=membrane, synapse=synapse, engine=engine, generator=generator,
        )  # fmt: skip
        if reset_gradient not in RESET_GRADIENTS:
            raise OptionError(
                f"reset_gradient = {reset_gradient!r} is unknown.",
                remedy=f"Known: {', '.join(RESET_GRADIENTS)}.",
            )
        self.surrogate = surrogate or SuperSpikeSurrogate()
        self.reset_gradient: ResetGradient = reset_gradient
        self.recurrent_delays = _delays(recurrent_delay_steps, n_out, "recurrent_delay_steps")
        self.recurrent_weight: nn.Parameter | None = None
        if recurrent:
            self.recurrent_weight = nn.Parameter(_initial(n_out, n_out, weight_scale_v, generator))
        elif self.recurrent_delays.any():
            raise OptionError("recurrent_delay_steps is given to a layer that is not recurrent.")

    def initial_state(self, n_batch: int) -> LayerState:
        """Return neurons at rest, with nothing under way.

        Parameters
        ----------
        n_batch : int
            Trials.
        """
        longest = int(self.recurrent_delays.max())
        recurrent = self.weight.new_zeros((n_batch, longest, self.n_out))
        return super().initial_state(n_batch)._replace(recurrent=recurrent)

    def forward(
        self, inputs: Tensor | SpikeEvents, state: LayerState | None = None
    ) -> tuple[Tensor, LayerState]:
        """Return spikes, (batch, step, neuron), and the state after the last step.

        Parameters
        ----------
        inputs : torch.Tensor or SpikeEvents
            (batch, step, source): spikes (0 or 1), or any other numbers.
        state : LayerState, optional
            Before the first step; at rest by default.
        """
        return self.run(inputs, state)[:2]

    def _simulate(
        self, arriving: Tensor | SpikeEvents, state: LayerState, events: SpikeEvents | None
    ) -> tuple[Tensor, LIFState, Tensor, SpikeEvents | None]:
        recurrent = state.recurrent
        if self._fuses(self.surrogate):
            recurrence = None
            if self.recurrent_weight is not None:
                recurrence = Recurrence(self.recurrent_weight, self.recurrent_delays, recurrent)
            spikes, neurons, events = fused_layer(
                arriving, self.weight, state.neurons, self.coefficients, self.constants,
                self.surrogate, self.reset_gradient, recurrence, events,
            )  # fmt: skip
        else:
            if isinstance(arriving, SpikeEvents):
                arriving = arriving.to_dense(self.weight)
            spikes, neurons = self._loop(self._currents(arriving), state)
            events = None
        if longest := recurrent.shape[1]:
            recurrent = torch.cat([recurrent, spikes[:, -longest:]], 1)[:, -longest:]
        return spikes, neurons, recurrent, events

    def _loop(self, currents: tuple[Tensor, ...], state: LayerState) -> tuple[Tensor, LIFState]:
        neurons, sent = state.neurons, list(state.recurrent.unbind(1))
        lead = len(sent)
        which = [
            (int(delay), torch.from_numpy(np.flatnonzero(self.recurrent_delays == delay)))
            for delay in np.unique(self.recurrent_delays)
        ]
        for t, current in enumerate(currents):
            spikes, neurons = fire(
                neurons, self.coefficients, self.constants, self.surrogate, self.reset_gradient
            )
            sent.append(spikes)
            if self.recurrent_weight is not None:
                for delay, sources in which:
                    arriving = sent[lead + t - delay][:, sources]
                    current = current + arriving @ self.recurrent_weight[sources]
            neurons = receive(neurons, current, self.coefficients)
        return torch.stack(sent[lead:], 1), neurons


def _delays(steps: int | Sequence[int], n: int, what: str) -> np.ndarray:
    delays = np.asarray(steps)
    if delays.dtype.kind not in "iu" or delays.shape not in ((), (n,)) or (delays < 0).any():
        raise OptionError(
            f"{what} must be whole steps, not negative: one number or one for each of {n} sources."
        )
    return np.array(np.broadcast_to(delays, (n,)), dtype=np.int64)


def _initial(n_in: int, n_out: int, scale_v: float, generator: torch.Generator | None) -> Tensor:
    if not scale_v > 0:
        raise OptionError(f"weight_scale_v = {scale_v:g} V must be positive.")
    return torch.randn((n_in, n_out), generator=generator) * (scale_v / math.sqrt(n_in))
