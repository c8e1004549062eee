"""The linear–nonlinear model: one spatiotemporal filter per neuron, then a nonlinearity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.encoding.base import EncodingModel, Input, StimulusWindow, bins_of
from neuromodels.encoding.nonlinearities import default_nonlinearity, drive_of, rate_of
from neuromodels.options import OptionError

#: Weights per neuron above which a filter is applied in space first.
LARGE_FILTER = 4000


@dataclass(frozen=True)
class LNOptions:
    """Shape of an LN model.

    Attributes
    ----------
    history : float or "auto"
        How far back the filter sees, s; "auto" is chosen on validation blocks by the fit.
    temporal_basis : int
        Log-raised-cosine bumps that the filter is made of in time; 0 for a weight per lag.
    delay : int
        Bins between an output and the last bin seen; 1 is strictly past.
    rank : int
        0 for a full filter; R for a sum of R products of a temporal and a spatial filter.
    nonlinearity : {"auto", "softplus", "exp", "identity"}
        From drive to rate. "auto" goes with the likelihood of the fit: softplus for spike counts,
        identity for traces and rates with Gaussian noise, exp with the Gamma likelihood.
    """

    history: float | Literal["auto"] = "auto"
    temporal_basis: int = 16
    delay: int = 1
    rank: int = 0
    nonlinearity: Literal["auto", "softplus", "exp", "identity"] = "auto"

    def __post_init__(self):
        if self.history != "auto" and not self.history > 0:
            raise OptionError(f"history = {self.history!r} must be a positive number of seconds.")
        if self.rank < 0 or self.temporal_basis < 0 or self.delay < 0:
            raise OptionError("rank, temporal_basis and delay must not be negative.")


class StimulusFilter(nn.Module):
    """One spatiotemporal filter per neuron on a temporal basis, full or of low rank.

    Parameters
    ----------
    data : Input
        Frames and neurons.
    options : LNOptions
        Window and rank.
    """

    def __init__(self, data: Input, options: LNOptions):
        super().__init__()
        n_lags = bins_of(options.history, data.bin_width, "history")
        self.window = StimulusWindow(n_lags, options.temporal_basis, options.delay)
        self.movie_shape = data.movie_shape
        self.rank = options.rank
        n_neurons, n_basis = len(data.neurons), self.window.n_basis
        largest = min(n_basis, data.n_pixels)
        if self.rank > largest:
            raise OptionError(
                f"rank = {self.rank} is more than a filter of {n_basis} temporal functions and "
                f"{data.n_pixels} pixels can have.",
                "ln",
                f"Give at most {largest}, or 0 for a full filter.",
            )
        if self.rank:
            self.temporal = nn.Parameter(torch.zeros(self.rank, n_basis, n_neurons))
            self.spatial = nn.Parameter(torch.zeros(self.rank, *self.movie_shape, n_neurons))
        else:
            self.weight = nn.Parameter(torch.zeros(n_basis, *self.movie_shape, n_neurons))

    def assembled(self) -> Tensor:
        """Weights of the full filter, (basis, channel, y, x, neuron)."""
        if self.rank:
            return torch.einsum("rbn,rcyxn->bcyxn", self.temporal, self.spatial)
        return self.weight

    def forward(self, stimulus: Tensor) -> Tensor:
        """Normalized stimulus (batch, time, channel, y, x) to (batch, time − lead_in, neuron)."""
        window, weight = self.window, self.assembled()
        large = weight[..., 0].numel() > LARGE_FILTER and not window.free
        if not large or stimulus.shape[1] <= window.lead_in:
            return window(stimulus).flatten(2) @ weight.flatten(0, 3)
        # Space before time: nothing is as large as the frame on every temporal function.
        over_space = weight.movedim(0, -2).flatten(0, 2)
        seen = stimulus.flatten(2) @ over_space.flatten(1)
        batch, time, _ = seen.shape
        seen = seen.reshape(batch, time, window.n_basis, -1).permute(0, 3, 2, 1).flatten(0, 1)
        backwards = window.basis.to(seen.dtype).flip(0).T[None]
        drive = torch.conv1d(seen[..., : time - window.delay], backwards)
        return drive.reshape(batch, -1, drive.shape[-1]).transpose(1, 2)

    def over_lags(self) -> np.ndarray:
        """The filter lag by lag: (lag, channel, y, x, neuron)."""
        weight = self.assembled().detach().double()
        return torch.einsum("bcyxn,lb->lcyxn", weight, self.window.basis).numpy()


class LN(EncodingModel):
    """Linear–nonlinear model: λ(t) = F(b + k · s(past) + w · z(t)), z the covariates, if any.

    Parameters
    ----------
    data : Input
        Frames, neurons, bin width, normalization.
    options : LNOptions
        Filter and nonlinearity. `history` must be a number by now.

    Raises
    ------
    OptionError
        A window shorter than one bin or an unresolved history.

    References
    ----------
    Chichilnisky (2001), Network 12, 199; Paninski (2004), Network 15, 243.
    """

    kind = "ln"

    def __init__(self, data: Input, options: LNOptions):
        if options.nonlinearity == "auto":
            options = replace(options, nonlinearity=default_nonlinearity(data.response))
        super().__init__(data, options)
        if options.history == "auto":
            raise OptionError(
                "history = 'auto' is chosen by a fit.", self.kind, "Give history in seconds."
            )
        self.stimulus = StimulusFilter(data, options)
        self.bias = nn.Parameter(torch.zeros(len(data.neurons)))
        self.double()

    @property
    def stimulus_lead_in(self) -> int:
        """Bins of stimulus before the first output."""
        return self.stimulus.window.lead_in

    def set_rates(self, rates: Tensor) -> None:
        """Start at the mean responses (neuron,): rates in spikes per bin, or traces."""
        with torch.no_grad():
            if self.options.nonlinearity != "identity":
                rates = rates.clamp_min(1e-9)
            self.bias.copy_(drive_of(rates, self.options.nonlinearity))

    def stimulus_drive(self, stimulus: Tensor, covariates: Tensor | None = None) -> Tensor:
        """Drive from stimulus and covariates, (batch, time − stimulus_lead_in, neuron)."""
        drive = self.bias + self.stimulus(self.normalize(stimulus))
        told = self.covariate_effect(covariates, stimulus)
        return drive if told is None else drive + told

    def forward(
        self,
        stimulus: Tensor,
        spikes: Tensor | None = None,  # noqa: ARG002
        covariates: Tensor | None = None,
    ) -> Tensor:
        """Rates per bin, (batch, time − lead_in, neuron)."""
        return rate_of(self.stimulus_drive(stimulus, covariates), self.options.nonlinearity)

    def parameter_dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names of every entry of `state_dict`."""
        if self.options.rank:
            filters = {
                "stimulus.temporal": ("rank", "stimulus_basis", "neuron"),
                "stimulus.spatial": ("rank", "channel", "y", "x", "neuron"),
            }
        else:
            filters = {"stimulus.weight": ("stimulus_basis", "channel", "y", "x", "neuron")}
        return {"bias": ("neuron",), **filters}

    def filters(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """The stimulus filter over lags and space."""
        dims = ("stimulus_lag", "channel", "y", "x", "neuron")
        return {"stimulus_filter": (dims, self.stimulus.over_lags())}

    def coords(self) -> dict[str, Any]:
        """Neuron ids and lags in seconds."""
        lags = self.stimulus.window.lags(self.input.bin_width)
        return super().coords() | {"stimulus_lag": lags}
