"""The spiking network: a front end drives hidden spiking neurons, and these the recorded ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.encoding.base import (
    EncodingModel,
    Input,
    StimulusWindow,
    bins_of,
    refuse_idle,
)
from neuromodels.encoding.front_ends import ConvFront, LinearFront, NoFront
from neuromodels.encoding.spiking_runs import Recorded, at_rest, run_on
from neuromodels.options import OptionError
from neuromodels.spiking.kernels import psp_kernel
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import LIFParameters

#: A run begins with so much time under the first drive, s; it is settled after so many of the
#: neurons' time constants.
WARM_UP_S, SETTLED_AFTER = 0.1, 5
#: Each run of the hidden neurons drives so many copies of the output neurons, with noise of their
#: own: they cost little, and make the mean of the runs smoother.
OUTPUT_COPIES = 4
#: Where output neurons start before any drive, in distances from rest to threshold, and the spread
#: of the sum of their weights in the same unit.
OUTPUT_START, READOUT_START = 0.3, 0.5


@dataclass(frozen=True)
class SpikingOptions:
    """Front end and neurons of a spiking network.

    Attributes
    ----------
    history : float or "auto"
        How far back the front end sees, s; "auto" is chosen on validation blocks by the fit.
    temporal_basis : int
        Log-raised-cosine bumps that its filters are made of in time; 0 for a weight per lag.
    delay : int
        Bins between an output and the last bin seen; 1 is strictly past.
    front_end : {"conv", "linear"}
        How the stimulus becomes a current. "conv": a few filters, each repeated over the movie like
        a mosaic of cells of one kind. "linear": every hidden neuron has a filter of its own.
    channels : int
        Kinds of hidden neuron (conv).
    kernel : int or "auto"
        Side of their filters, pixels (conv); "auto" is half of the movie's larger side, at most 15.
    stride : int or "auto"
        Pixels from one hidden neuron of a kind to the next (conv); "auto" is 1, or more where there
        would be over 512 hidden neurons.
    hidden : int
        Hidden neurons (linear, and where there is no front end).
    dt_s : float
        Step of the neurons, s; the nearest one of which a bin is a whole number is taken.
    tau_mem_s, tau_syn_s, refractory_s : float
        Of all neurons, see `neuromodels.spiking.neurons.LIFParameters`; the refractory period is
        rounded to whole steps.
    noise : tuple of float
        Of hidden and of output neurons: standard deviation of the voltage that the noise makes by
        itself, in distances from rest to threshold.
    n_runs : int
        Noisy runs whose mean is the rate.
    """

    history: float | Literal["auto"] = "auto"
    temporal_basis: int = 16
    delay: int = 1
    front_end: Literal["conv", "linear"] = "conv"
    channels: int = 8
    kernel: int | Literal["auto"] = "auto"
    stride: int | Literal["auto"] = "auto"
    hidden: int = 48
    dt_s: float = 1e-3
    tau_mem_s: float = 10e-3
    tau_syn_s: float = 5e-3
    refractory_s: float = 2e-3
    noise: tuple[float, ...] = (0.3, 0.3)
    n_runs: int = 128

    def __post_init__(self):
        if self.history != "auto" and not self.history > 0:
            raise OptionError(f"history = {self.history!r} must be a positive number of seconds.")
        if self.delay < 0 or self.temporal_basis < 0:
            raise OptionError("delay and temporal_basis must not be negative.")
        for name in ("channels", "kernel", "stride", "hidden", "n_runs"):
            if getattr(self, name) != "auto" and getattr(self, name) < 1:
                raise OptionError(f"{name} = {getattr(self, name)} must be at least 1.")
        if len(self.noise) != 2 or min(self.noise) < 0:
            raise OptionError(
                f"noise = {self.noise} must be two numbers, of hidden and of output neurons.",
                remedy="Neither may be negative.",
            )
        if not self.dt_s > 0:
            raise OptionError(f"dt_s = {self.dt_s:g} s must be positive.")
        LIFParameters(self.tau_mem_s, self.tau_syn_s, refractory_s=self.refractory_s)
        for kinds, names in _FRONT_ENDS.items():
            refuse_idle(
                self,
                names,
                active=self.front_end in kinds,
                remedy=f"Leave it out, or give front_end = {kinds[0]!r} too.",
            )


#: Options that belong to some front ends alone.
_FRONT_ENDS = {
    ("conv",): ("channels", "kernel", "stride"),
    ("linear", "none"): ("hidden",),
    ("conv", "linear"): ("temporal_basis", "delay"),
}


class Spiking(EncodingModel):
    """Leaky integrate-and-fire neurons between the stimulus and the recorded spikes.

    The front end is linear in the normalized stimulus; its output a is a current into each hidden
    neuron, in units of the current that would just reach the threshold. Hidden neurons drive one
    output neuron per recorded neuron. Every neuron has Gaussian noise in its current. The rate is
    the mean of many noisy runs, times a gain and plus a floor per neuron (calibration):

        λ_n(t) = g_n ⟨spikes of output n in bin t⟩ + f_n

    Parameters
    ----------
    data : Input
        Frames, neurons, bin width, normalization.
    options : SpikingOptions
        Front end and neurons. `history` must be a number by now.
    seed : int
        Of the initial weights and of the noise.

    Raises
    ------
    OptionError
        A window shorter than one bin, an unresolved history, or time constants too short for the
        step.

    References
    ----------
    Zenke & Ganguli (2018), Neural Computation 30, 1514: neurons and learning rule.
    """

    kind = "spiking"

    def __init__(self, data: Input, options: SpikingOptions, seed: int = 0):
        super().__init__(data, options)
        if options.history == "auto":
            raise OptionError(
                "history = 'auto' is chosen by a fit.", self.kind, "Give history in seconds."
            )
        n_lags, n_neurons = bins_of(options.history, data.bin_width, "history"), len(data.neurons)
        self.window = StimulusWindow(n_lags, options.temporal_basis, options.delay)
        self.generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if options.front_end == "conv":
                self.front = ConvFront(
                    data, self.window.n_basis, options.channels, options.kernel, options.stride
                )
            elif options.front_end == "linear":
                self.front = LinearFront(data, self.window.n_basis, options.hidden)
            else:
                self.front = NoFront(options.hidden)
            n_hidden = self.front.n_hidden
            self.readout = nn.Parameter(
                torch.randn(n_hidden, n_neurons) * READOUT_START / math.sqrt(n_hidden)
            )
        self.bias = nn.Parameter(torch.full((n_neurons,), OUTPUT_START))
        self.register_buffer("gain", torch.ones(n_neurons))
        self.register_buffer("floor", torch.zeros(n_neurons))
        self.steps_per_bin = max(1, round(data.bin_width / options.dt_s))
        dt_s = data.bin_width / self.steps_per_bin
        held_s = round(options.refractory_s / dt_s) * dt_s
        # The input layer of the network is silent: the drive stands in its place.
        self.network = SpikingNetwork(
            (1, n_hidden, n_neurons),
            LIFParameters(options.tau_mem_s, options.tau_syn_s, refractory_s=held_s),
            dt_s,
            0.0,
        )

    # -- time ---------------------------------------------------------------------------------
    @property
    def stimulus_lead_in(self) -> int:
        """Bins of stimulus before the first output."""
        return self.window.lead_in

    @property
    def settled_from(self) -> int:
        """First bin that the start of a run does not reach any more."""
        settling = SETTLED_AFTER * (self.options.tau_mem_s + self.options.tau_syn_s)
        return self.lead_in + math.ceil(settling / self.input.bin_width)

    # -- volts --------------------------------------------------------------------------------
    @property
    def weights(self) -> Tensor:
        """(hidden, neuron), V."""
        return self.readout * self.network.parameters.gap_v

    @property
    def volts_per_unit(self) -> float:
        """What is added to the current per step to hold U one distance above rest, V."""
        return self.network.parameters.gap_v * (1 - self.network.coefficients.synapse_decay)

    @property
    def noise_v(self) -> np.ndarray:
        """(hidden and output,), standard deviation of the noise added at each step, V."""
        kernel = psp_kernel(self.network.coefficients)
        response = kernel(kernel.memory(1e-9))
        # Noise of one volt per step makes the voltage vary by this much.
        volts = self.network.parameters.gap_v / math.sqrt(np.square(response).sum())
        return np.repeat(np.array(self.options.noise) * volts, self.network.sizes[1:])

    @property
    def config(self) -> dict[str, Any]:
        """A plain dict that rebuilds the model, with the step and the sizes that were used."""
        return super().config | {
            "dt_used_s": self.network.dt_s,
            "refractory_used_s": self.network.parameters.refractory_s,
            "hidden_neurons": self.front.n_hidden,
            "front_map": list(getattr(self.front, "map", ())),
        }

    # -- from stimulus to rates ---------------------------------------------------------------
    def drive(self, stimulus: Tensor, spikes: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Add to the current of hidden and output neurons at each step of a bin, V.

        Parameters
        ----------
        stimulus : torch.Tensor
            (batch, time, channel, y, x).
        spikes : torch.Tensor, optional
            Recorded counts, (batch, time, neuron), for networks that see them.

        Returns
        -------
        torch.Tensor
            (batch, time − lead_in, hidden and output); differentiable.
        """
        hidden = self.front(self.window(self.normalize(stimulus)))
        output = self.bias.expand(*hidden.shape[:2], -1)
        return torch.cat([hidden, output], dim=2) * self.volts_per_unit

    def runs(
        self,
        drive: np.ndarray,
        n_runs: int,
        seed: int,
        *,
        copies: int = 1,
        warm_up_s: float = WARM_UP_S,
        record: Literal["counts", "output", "rule"] = "counts",
    ) -> tuple[np.ndarray, Recorded]:
        """Run the neurons under a drive.

        Parameters
        ----------
        drive : numpy.ndarray
            (bin, hidden and output), V, or one per run, (run, bin, …); its type is computed in.
        n_runs : int
            Runs, which differ in their noise.
        seed : int
            Of the noise.
        copies : int
            Output neurons per recorded neuron, which differ in their noise; the copies lie one
            after the other.
        warm_up_s : float
            How long the first row is held before, s.
        record : {"counts", "output", "rule"}
            What to keep, see `neuromodels.encoding.spiking_runs.run_on`.

        Returns
        -------
        counts : numpy.ndarray
            (bin, copy and neuron), output spikes of all runs together.
        recorded : Recorded
            Without the warm-up.
        """
        n_hidden = len(self.readout)
        outputs = [drive[..., n_hidden:]] * copies
        values = np.concatenate([drive[..., :n_hidden], *outputs], axis=-1)
        hidden_noise, output_noise = np.split(self.noise_v, [n_hidden])
        about = (
            np.tile(self.weights.detach().numpy(), copies),
            np.concatenate([hidden_noise, np.tile(output_noise, copies)]),
            self.network.coefficients,
            self.network.parameters.gap_v,
            self.steps_per_bin,
        )
        state = at_rest(values.shape[-1], n_runs, seed, values.dtype)
        n_before = math.ceil(warm_up_s / self.input.bin_width)
        run_on(state, np.repeat(values[..., :1, :], n_before, axis=-2), *about)
        return run_on(state, values, *about, record=record)

    def mean_counts(self, drive: Tensor, n_runs: int, seed: int) -> np.ndarray:
        """Mean spikes per bin of the output neurons over noisy runs, (bin, neuron)."""
        counts, _ = self.runs(drive.detach().numpy(), n_runs, seed, copies=OUTPUT_COPIES)
        each = counts.reshape(len(counts), OUTPUT_COPIES, -1).sum(axis=1)
        return each / (n_runs * OUTPUT_COPIES)

    def respond(self, drive: Tensor, seed: int | None = None) -> Tensor:
        """Rates of one stretch, whose runs are never cut.

        Parameters
        ----------
        drive : torch.Tensor
            (bin, hidden and output), as `drive` gives it for one stimulus.
        seed : int, optional
            Of the noise; drawn from the model's generator by default.

        Returns
        -------
        torch.Tensor
            (bin, neuron), spikes per bin.
        """
        if seed is None:
            seed = int(torch.randint(2**31, (), generator=self.generator))
        counts = self.mean_counts(drive, self.options.n_runs, seed)
        return self.gain * torch.from_numpy(counts).to(self.gain.dtype) + self.floor

    def forward(self, stimulus: Tensor, spikes: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Rates per bin, (batch, time − lead_in, neuron); without a gradient."""
        with torch.no_grad():
            return torch.stack([self.respond(one) for one in self.drive(stimulus)])

    # -- description --------------------------------------------------------------------------
    def parameter_dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names of every entry of `state_dict`."""
        if self.options.front_end == "conv":
            front = {
                "front.convolution.weight": ("hidden_channel", "front_input", "front_y", "front_x"),
                "front.convolution.bias": ("hidden_channel",),
            }
        else:
            front = {"front.bias": ("hidden",)}
            if self.options.front_end == "linear":
                front["front.weight"] = ("stimulus_basis", "channel", "y", "x", "hidden")
        each = {name: ("neuron",) for name in ("bias", "gain", "floor")}
        return front | {"readout": ("hidden", "neuron")} | each

    def filters(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Filters of the front end over lags and space, and the readout over positions."""
        if self.options.front_end == "none":
            return {}
        weight, basis = self.front.weight.detach().double(), self.window.basis
        if self.options.front_end == "linear":
            kernel = torch.einsum("bcyxh,lb->hlcyx", weight, basis).numpy()
            return {"front_filter": (("hidden", "stimulus_lag", "channel", "y", "x"), kernel)}
        shape = (len(weight), self.window.n_basis, self.input.movie_shape[0], *weight.shape[2:])
        kernel = torch.einsum("hbcyx,lb->hlcyx", weight.reshape(shape), basis).numpy()
        dims = ("hidden_channel", "stimulus_lag", "channel", "front_y", "front_x")
        readout = self.readout.detach().numpy()
        maps = readout.T.reshape(-1, len(weight), *self.front.map)
        return {
            "front_filter": (dims, kernel),
            "readout_map": (("neuron", "hidden_channel", "map_y", "map_x"), maps),
        }

    def coords(self) -> dict[str, Any]:
        """Neuron ids and lags in seconds."""
        return super().coords() | {"stimulus_lag": self.window.lags(self.input.bin_width)}
