"""The spiking network that also sees the recorded neurons' past spikes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.encoding.base import Input, bins_of
from neuromodels.encoding.bases import log_raised_cosine, project_past
from neuromodels.encoding.glm import Simulation
from neuromodels.encoding.spiking import WARM_UP_S, Spiking, SpikingOptions
from neuromodels.encoding.spiking_runs import at_rest, run_on
from neuromodels.options import OptionError

#: Bins of stimulus that a free run reads at once.
_CHUNK = 512


@dataclass(frozen=True)
class SpikingCoupledOptions(SpikingOptions):
    """Front ends and neurons of a spiking network that sees past spikes.

    Attributes
    ----------
    front_end : {"conv", "linear", "none"}
        "none": the spikes of the recorded neurons are all that it sees, and `history` is as long as
        `population_history`.
    population_history : float
        How far back it sees the spikes of all recorded neurons, s.
    population_basis : int
        Log-raised-cosine bumps that their filters are made of in time.

    See Also
    --------
    SpikingOptions : Everything else.
    """

    front_end: Literal["conv", "linear", "none"] = "conv"
    population_history: float = 0.1
    population_basis: int = 4

    def __post_init__(self):
        if self.front_end == "none":
            if self.history not in ("auto", self.population_history):
                raise OptionError(
                    f"history = {self.history!r} has no effect here.",
                    remedy="Leave it out, or give front_end = 'conv' too.",
                )
            # Nothing is seen through it: there is nothing to choose.
            object.__setattr__(self, "history", self.population_history)
        super().__post_init__()
        if not self.population_history > 0:
            raise OptionError(
                f"population_history = {self.population_history!r} must be a positive number of "
                "seconds."
            )
        if self.population_basis < 1:
            raise OptionError(f"population_basis = {self.population_basis} must be at least 1.")


class SpikingCoupled(Spiking):
    """A spiking network driven by the stimulus and by what the recorded neurons did before.

    Counts of strictly earlier bins, filtered in time, are a current into every hidden and output
    neuron; all else is as in `Spiking`. Given the recorded spikes it predicts each trial; running
    freely, its output neurons drive each other in place of the recorded ones.

    Parameters
    ----------
    data : Input
        Frames, neurons, bin width, normalization.
    options : SpikingCoupledOptions
        Front ends and neurons. `history` must be a number by now.
    seed : int
        Of the initial weights and of the noise.
    """

    kind = "spiking-coupled"
    uses_spikes = True

    @property
    def inputs(self) -> str:
        """What the rate depends on, as said beside every score."""
        seen = "" if self.options.front_end == "none" else "stimulus + "
        return f"{seen}own past + population past"

    def __init__(self, data: Input, options: SpikingCoupledOptions, seed: int = 0):
        super().__init__(data, options, seed)
        self.n_past = bins_of(options.population_history, data.bin_width, "population_history")
        basis = log_raised_cosine(self.n_past, min(options.population_basis, self.n_past))
        basis = basis / np.linalg.norm(basis, axis=0)
        self.register_buffer("past_basis", torch.from_numpy(basis), persistent=False)
        n_neurons = len(data.neurons)
        shape = (basis.shape[1], n_neurons, sum(self.network.sizes[1:]))
        self.population = nn.Parameter(torch.zeros(shape))

    @property
    def lead_in(self) -> int:
        """Bins before the first output, given recorded spikes."""
        return max(self.stimulus_lead_in, self.n_past)

    @property
    def settled_from(self) -> int:
        """First bin whose past lies inside a free run, which starts without spikes."""
        return super().settled_from + self.n_past

    def drive(self, stimulus: Tensor, spikes: Tensor | None = None) -> Tensor:
        """Add to the current of hidden and output neurons at each step of a bin, V.

        Parameters
        ----------
        stimulus : torch.Tensor
            (batch, time, channel, y, x); a batch of 1 serves all trials of `spikes`.
        spikes : torch.Tensor
            (batch, time, neuron), recorded counts of the same bins.

        Returns
        -------
        torch.Tensor
            (batch, time − lead_in, hidden and output); differentiable.

        Raises
        ------
        ValueError
            No spikes were given, or of another shape than stimulus and neurons ask for.
        """
        n_neurons = len(self.input.neurons)
        if spikes is None:
            raise ValueError(
                "this network needs spikes=(batch, time, neuron); use simulate() for free runs."
            )
        if spikes.ndim != 3 or spikes.shape[2] != n_neurons or spikes.shape[1] != stimulus.shape[1]:
            raise ValueError(
                f"spikes must have shape (batch, time, neuron) with {n_neurons} neurons and the "
                f"stimulus' {stimulus.shape[1]} bins, not {tuple(spikes.shape)}."
            )
        seen = super().drive(stimulus)[:, self.lead_in - self.stimulus_lead_in :]
        spikes = spikes.to(self.population.dtype)
        past = project_past(spikes, self.past_basis.to(spikes.dtype), 1)
        past = past[:, self.lead_in - self.n_past :]
        return seen + past.flatten(2) @ self.population.flatten(0, 1) * self.volts_per_unit

    def forward(self, stimulus: Tensor, spikes: Tensor | None = None) -> Tensor:
        """Rates per bin given recorded spikes, (batch, time − lead_in, neuron); no gradient."""
        with torch.no_grad():
            return torch.stack([self.respond(one) for one in self.drive(stimulus, spikes)])

    @torch.no_grad()
    def simulate(
        self, stimulus: Tensor, n_runs: int = 200, *, max_rate: Tensor, seed: int = 0
    ) -> Simulation:
        """Run freely: what the output neurons send takes the place of the recorded spikes.

        Parameters
        ----------
        stimulus : torch.Tensor
            (1, time, channel, y, x), or what can be cut like it.
        n_runs : int
            Runs.
        max_rate : torch.Tensor
            (neuron,): a count above it, spikes per bin, is capped, and counted as such.
        seed : int
            Of the noise.

        Returns
        -------
        Simulation
            Calibrated mean counts from bin `stimulus_lead_in` on, (1, time − stimulus_lead_in,
            neuron). There are no spikes before the start.
        """
        n_time, n_neurons = stimulus.shape[1] - self.stimulus_lead_in, len(self.input.neurons)
        dtype, most = self.population.detach().numpy().dtype, max_rate.numpy()
        # (lag and neuron, hidden and output): from counts, latest first, to currents.
        filters = torch.einsum("lb,bnm->lnm", self.past_basis.to(self.population), self.population)
        filters = (filters.flatten(0, 1) * self.volts_per_unit).numpy()
        about = (
            self.weights.numpy(),
            self.noise_v,
            self.network.coefficients,
            self.network.parameters.gap_v,
            self.steps_per_bin,
        )
        state = at_rest(filters.shape[1], n_runs, seed, dtype)
        past = np.zeros((n_runs, self.n_past, n_neurons), dtype)
        rate, capped = np.empty((n_time, n_neurons)), np.zeros(n_neurons)
        for start in range(0, n_time, _CHUNK):
            stop = min(start + _CHUNK, n_time)
            movie = stimulus[:, start : stop + self.stimulus_lead_in]
            seen = super().drive(movie)[0].numpy()
            if start == 0:
                n_before = math.ceil(WARM_UP_S / self.input.bin_width)
                run_on(state, np.repeat(seen[:1], n_before, axis=0), *about)
            for bin_, row in enumerate(seen, start):
                drive = row + past.reshape(n_runs, -1) @ filters
                _, recorded = run_on(state, drive[:, None], *about, record="output")
                counts = recorded.output.sum(axis=1)
                capped += (counts > most).sum(axis=0)
                counts = np.minimum(counts, most)
                rate[bin_] = counts.mean(axis=0)
                past = np.concatenate([counts[:, None].astype(dtype), past[:, :-1]], axis=1)
        rate = self.gain.numpy() * rate + self.floor.numpy()
        share = torch.from_numpy(capped / (n_time * n_runs))
        return Simulation(torch.from_numpy(rate)[None].to(self.gain.dtype), None, share)

    def parameter_dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names of every entry of `state_dict`."""
        dims = ("population_basis", "source_neuron", "unit")
        return super().parameter_dims() | {"population": dims}

    def filters(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Also the filters of past spikes, into hidden and then output neurons."""
        weight = self.population.detach().double()
        kernel = torch.einsum("lb,bnm->lnm", self.past_basis, weight).numpy()
        dims = ("coupling_lag", "source_neuron", "unit")
        return super().filters() | {"coupling_filter": (dims, kernel)}

    def coords(self) -> dict[str, Any]:
        """Neuron ids and lags in seconds."""
        lags = (np.arange(self.n_past) + 1) * self.input.bin_width
        names = list(self.input.neurons)
        return super().coords() | {"coupling_lag": lags, "source_neuron": names}
