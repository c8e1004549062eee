"""The point-process GLM: a stimulus filter, the neuron's own past, and the others' past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.encoding.base import Input, bins_of, refuse_idle
from neuromodels.encoding.bases import lead_in_of, log_raised_cosine, project_past
from neuromodels.encoding.ln import LN, LNOptions
from neuromodels.encoding.nonlinearities import rate_of
from neuromodels.options import OptionError

#: Regressors held at once while a long stimulus is turned into a drive.
CHUNK_VALUES = 20_000_000


@dataclass(frozen=True)
class GLMOptions(LNOptions):
    """Shape of a point-process GLM; the stimulus filter's options are those of the LN model.

    Attributes
    ----------
    own_history, coupling_history : float
        How far back a neuron sees its own and the others' spikes, s.
    own_basis, coupling_basis : int
        Log-raised-cosine bumps of these filters; at most one per lag is used.
    coupling : bool
        Whether neurons see each other.
    """

    own_history: float = 0.4
    own_basis: int = 10
    coupling: bool = False
    coupling_history: float = 0.4
    coupling_basis: int = 8

    def __post_init__(self):
        super().__post_init__()
        if self.rank:
            raise OptionError(
                "a GLM with a low-rank stimulus filter is not offered.",
                remedy="Use rank = 0 here, or the ln model for a low-rank filter.",
            )
        if self.own_basis < 1 or self.coupling_basis < 1:
            raise OptionError("own_basis and coupling_basis must be at least 1.")
        if not self.own_history > 0 or not self.coupling_history > 0:
            raise OptionError("own_history and coupling_history must be positive, in seconds.")
        refuse_idle(
            self,
            ("coupling_history", "coupling_basis"),
            active=self.coupling,
            remedy="Use the glm-coupled model, or coupling = true.",
        )


class Simulation(NamedTuple):
    """What a free-running simulation gave.

    Attributes
    ----------
    rate : torch.Tensor
        Mean rate over runs, spikes per bin, (batch, bin, neuron).
    spikes : torch.Tensor or None
        (batch, run, bin, neuron), if asked for.
    capped : torch.Tensor
        Share of draws whose rate was capped, (neuron,).
    """

    rate: Tensor
    spikes: Tensor | None
    capped: Tensor


class GLM(LN):
    """Point-process GLM: λ_i(t) = F(b_i + k_i·s + h_i∗y_i + Σ_{j≠i} l_ij∗y_j), all strictly past.

    Covariates, if any, add w_i·z(t) of their own bin to the drive.

    Parameters
    ----------
    data : Input
        Frames, neurons, bin width, normalization.
    options : GLMOptions
        Filters and nonlinearity.

    References
    ----------
    Truccolo et al. (2005), J. Neurophysiol. 93, 1074; Pillow et al. (2008), Nature 454, 995.
    """

    kind = "glm"
    uses_spikes = True

    def __init__(self, data: Input, options: GLMOptions):
        super().__init__(data, options)
        n_neurons = len(data.neurons)
        self.register_buffer("own_basis", self._basis("own"), persistent=False)
        self.own = nn.Parameter(torch.zeros(self.own_basis.shape[1], n_neurons))
        if options.coupling:
            self.register_buffer("coupling_basis", self._basis("coupling"), persistent=False)
            n_basis = self.coupling_basis.shape[1]
            # (basis, source_neuron, neuron); a neuron's own past lies in `own` alone.
            self.coupling = nn.Parameter(torch.zeros(n_basis, n_neurons, n_neurons))
        self.double()

    def _basis(self, which: str) -> Tensor:
        window = getattr(self.options, f"{which}_history")
        n_lags = bins_of(window, self.input.bin_width, f"{which}_history")
        n_basis = min(getattr(self.options, f"{which}_basis"), n_lags)
        basis = log_raised_cosine(n_lags, n_basis)
        return torch.from_numpy(basis / np.linalg.norm(basis, axis=0))

    @property
    def inputs(self) -> str:
        """What the rate depends on."""
        own = f"{super().inputs} + own past"
        return f"{own} + population past" if self.options.coupling else own

    @property
    def lead_in(self) -> int:
        """Bins before the first output."""
        return max(self.stimulus_lead_in, lead_in_of(self.history_lags))

    @property
    def settled_from(self) -> int:
        """First bin whose whole spike history lies inside a simulation, which starts without any.

        Before it a free run fires as if it had been silent: a transient of the method, not of the
        model.
        """
        return self.stimulus_lead_in + self.history_lags

    @property
    def history_lags(self) -> int:
        """Lags of the longest history filter, bins."""
        lags = [len(self.own_basis)]
        if self.options.coupling:
            lags.append(len(self.coupling_basis))
        return max(lags)

    def history_features(self, spikes: Tensor, which: str) -> Tensor:
        """Past spikes on the basis of the "own" or the "coupling" filters.

        Parameters
        ----------
        spikes : torch.Tensor
            (batch, time, neuron).
        which : {"own", "coupling"}
            Whose basis.

        Returns
        -------
        torch.Tensor
            (batch, time − lead_in, basis, neuron): aligned with the model's outputs. NaN where a
            bin of the neuron's past is NaN (not recorded).
        """
        basis = getattr(self, f"{which}_basis")
        spikes = spikes.to(basis.dtype)
        missing = spikes.isnan()
        features = project_past(spikes.nan_to_num(), basis)
        if missing.any():
            # Products over a whole chunk would carry NaN to bins that do not look there.
            seen = project_past(missing.to(basis.dtype), basis.new_ones(len(basis), 1))
            features = features.masked_fill(seen > 0.5, torch.nan)
        return features[:, self.lead_in - lead_in_of(len(basis)) :]

    def forward(
        self, stimulus: Tensor, spikes: Tensor | None = None, covariates: Tensor | None = None
    ) -> Tensor:
        """Rates per bin given the recorded past, (batch, time − lead_in, neuron).

        Parameters
        ----------
        stimulus : torch.Tensor
            (batch, time, channel, y, x); a batch of 1 serves all trials of `spikes`.
        spikes : torch.Tensor
            (batch, time, neuron), counts of the same bins.
        covariates : torch.Tensor, optional
            (batch, time, covariate) of the same bins; at their means by default.

        Raises
        ------
        ValueError
            No spikes were given, or of another shape than stimulus and neurons ask for.
        """
        if spikes is None:
            raise ValueError(
                "a GLM needs spikes=(batch, time, neuron); use simulate() for free-running rates."
            )
        drive = self.stimulus_drive(stimulus, covariates)
        drive = drive[:, self.lead_in - self.stimulus_lead_in :]
        n_neurons = len(self.input.neurons)
        if spikes.ndim != 3 or spikes.shape[2] != n_neurons:
            raise ValueError(
                f"spikes must have shape (batch, time, neuron) with {n_neurons} neurons, not "
                f"{tuple(spikes.shape)}."
            )
        if spikes.shape[1] != stimulus.shape[1]:
            raise ValueError(
                f"stimulus has {stimulus.shape[1]} bins but spikes have {spikes.shape[1]}."
            )
        if drive.shape[0] not in (1, spikes.shape[0]):
            raise ValueError(
                f"stimulus has a batch of {drive.shape[0]} but spikes have one of "
                f"{spikes.shape[0]}: give equal ones, or one stimulus for all trials."
            )
        drive = drive + (self.history_features(spikes, "own") * self.own).sum(2)
        if self.options.coupling:
            features = self.history_features(spikes, "coupling")
            drive = drive + torch.einsum("ntbm,bmi->nti", features, self.coupling)
        return rate_of(drive, self.options.nonlinearity)

    def history_filters(self) -> Tensor:
        """All effects of past spikes lag by lag: (lag, source_neuron, neuron)."""
        n_neurons = len(self.input.neurons)
        n_lags = self.history_lags
        filters = torch.zeros(n_lags, n_neurons, n_neurons, dtype=self.own.dtype)
        if self.options.coupling:
            filters[: len(self.coupling_basis)] = torch.einsum(
                "lb,bmi->lmi", self.coupling_basis, self.coupling
            )
        index = torch.arange(n_neurons)
        filters[: len(self.own_basis), index, index] += self.own_basis @ self.own
        return filters

    def _drive_in_chunks(self, stimulus: Tensor, covariates: Tensor | None) -> Tensor:
        """`stimulus_drive` of a long stimulus, in pieces that bound the memory it takes."""
        lead_in, n_bins = self.stimulus_lead_in, stimulus.shape[1]
        values = self.stimulus.window.n_basis * self.input.n_pixels * len(stimulus)
        # What is read piece by piece may say how long its pieces are.
        step = getattr(stimulus, "bins_at_once", None) or max(64, CHUNK_VALUES // values)
        pieces = []
        for start in range(lead_in, n_bins, step):
            bins = slice(start - lead_in, start + step)
            told = None if covariates is None else covariates[:, bins]
            pieces.append(self.stimulus_drive(stimulus[:, bins], told))
        return torch.cat(pieces, 1)

    @torch.no_grad()
    def simulate(
        self,
        stimulus: Tensor,
        n_runs: int = 200,
        *,
        max_rate: Tensor,
        seed: int = 0,
        keep_spikes: bool = False,
        covariates: Tensor | None = None,
    ) -> Simulation:
        """Let the model run freely: it sees the spikes that it has drawn itself.

        Parameters
        ----------
        stimulus : torch.Tensor
            (batch, time, channel, y, x).
        n_runs : int
            Independent runs, of each member of the batch.
        max_rate : torch.Tensor
            (neuron,): a rate above it, spikes per bin, is capped, and the draw is counted.
        seed : int
            Of the Poisson draws.
        keep_spikes : bool
            Also return the spikes drawn.
        covariates : torch.Tensor, optional
            (batch, time, covariate) of the same bins; at their means by default. A stimulus batch
            of 1 serves all trials of them.

        Returns
        -------
        Simulation
            Rates from bin `stimulus_lead_in` on: (batch, time − stimulus_lead_in, neuron). History
            is zero at the start.
        """
        drive = self._drive_in_chunks(stimulus, covariates)
        batch, n_time, n_neurons = drive.shape
        generator = torch.Generator().manual_seed(seed)
        filters = self.history_filters()
        n_lags = len(filters)
        index = torch.arange(n_neurons)
        own = filters[:, index, index]
        flat = filters.permute(1, 0, 2).reshape(n_neurons, n_lags * n_neurons)
        # A ring of what past spikes add to the next n_lags bins.
        ahead = drive.new_zeros(batch * n_runs, n_lags, n_neurons)
        rate_sum = torch.empty_like(drive)
        kept = drive.new_zeros(batch, n_runs, n_time, n_neurons) if keep_spikes else None
        capped = drive.new_zeros(n_neurons)
        for t in range(n_time):
            slot = t % n_lags
            total = drive[:, t].repeat_interleave(n_runs, 0) + ahead[:, slot]
            rate = rate_of(total, self.options.nonlinearity)
            # A rate that is not a number comes from an overflow and counts as too large.
            over = ~(rate <= max_rate)
            capped += over.sum(0)
            rate = torch.where(over, max_rate, rate)
            spikes = torch.poisson(rate, generator=generator)
            rate_sum[:, t] = rate.reshape(batch, n_runs, n_neurons).mean(1)
            if kept is not None:
                kept[:, :, t] = spikes.reshape(batch, n_runs, n_neurons)
            ahead[:, slot] = 0
            if self.options.coupling:
                added = (spikes @ flat).reshape(-1, n_lags, n_neurons)
            else:
                added = spikes[:, None] * own
            # Lag 1 is the next slot of the ring.
            first = n_lags - 1 - slot
            ahead[:, slot + 1 :] += added[:, :first]
            ahead[:, : slot + 1] += added[:, first:]
        return Simulation(rate_sum, kept, capped / (batch * n_runs * n_time))

    def parameter_dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names of every entry of `state_dict`."""
        dims = super().parameter_dims() | {"own": ("history_basis", "neuron")}
        if self.options.coupling:
            dims["coupling"] = ("coupling_basis", "source_neuron", "neuron")
        return dims

    def filters(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Stimulus, history and coupling filters lag by lag."""
        found = super().filters()
        own = (self.own_basis @ self.own).detach().numpy()
        found["history_filter"] = (("history_lag", "neuron"), own)
        if self.options.coupling:
            coupling = torch.einsum("lb,bmi->lmi", self.coupling_basis, self.coupling)
            dims = ("coupling_lag", "source_neuron", "neuron")
            found["coupling_filter"] = (dims, coupling.detach().numpy())
        return found

    def coords(self) -> dict[str, Any]:
        """Neuron ids and lags in seconds."""
        width = self.input.bin_width
        coords = super().coords() | {
            "history_lag": (np.arange(len(self.own_basis)) + 1) * width,
            "source_neuron": list(self.input.neurons),
        }
        if self.options.coupling:
            coords["coupling_lag"] = (np.arange(len(self.coupling_basis)) + 1) * width
        return coords
