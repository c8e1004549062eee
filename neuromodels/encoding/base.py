"""The contract that every encoding model keeps, and what all of ours share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.encoding.bases import lead_in_of, log_raised_cosine, project_past
from neuromodels.encoding.covariates import CovariateEffect
from neuromodels.options import OptionError

if TYPE_CHECKING:
    import xarray as xr

# Tolerance, in bins, with which a window in seconds is turned into bins.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Input:
    """What a model sees and predicts: everything about a recording that a model must know.

    Attributes
    ----------
    movie_shape : tuple of int
        (channel, y, x) of one frame.
    neurons : tuple of str
        Ids of the neurons predicted.
    bin_width : float
        Seconds.
    mean, std : float
        Of the training stimulus, over all frames and pixels: the model normalizes with these.
    covariates : tuple of str
        Names of running speed, pupil, ... that the model is told beside the stimulus.
    covariate_mean, covariate_std : tuple of float
        Of each over the training bins: the model normalizes with these.
    response : str
        What is predicted: "count" (spikes per bin), "rate" or "trace".
    """

    movie_shape: tuple[int, int, int]
    neurons: tuple[str, ...]
    bin_width: float
    mean: float = 0.0
    std: float = 1.0
    covariates: tuple[str, ...] = ()
    covariate_mean: tuple[float, ...] = ()
    covariate_std: tuple[float, ...] = ()
    response: str = "count"

    @property
    def n_pixels(self) -> int:
        """Pixels of a frame, all channels."""
        return math.prod(self.movie_shape)


def bins_of(seconds: float, bin_width: float, what: str) -> int:
    """Whole number of bins in a window; an error says so if there is none.

    Raises
    ------
    OptionError
        The window is shorter than one bin or no number at all.
    """
    if not 0 < seconds < math.inf:
        raise OptionError(f"{what} = {seconds!r} must be a positive number of seconds.")
    n_bins = int(math.floor(seconds / bin_width + _ROUNDING))
    if n_bins < 1:
        raise OptionError(
            f"{what} = {seconds:g} s is shorter than one bin ({bin_width:g} s).",
            remedy=f"Give at least {bin_width:g} s, or use finer bins.",
        )
    return n_bins


def refuse_idle(options: Any, names: Iterable[str], *, active: bool, remedy: str) -> None:
    """Refuse options that differ from their defaults although nothing would read them.

    Parameters
    ----------
    options : dataclass
        All options of a model.
    names : iterable of str
        Those that only matter together with another one.
    active : bool
        Whether they matter here.
    remedy : str
        Which other option makes them matter.

    Raises
    ------
    OptionError
        One of them was changed for nothing.
    """
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in names and not active and value != field.default:
            raise OptionError(f"{field.name} = {value!r} has no effect here.", remedy=remedy)


class EncodingModel(nn.Module):
    """What the stimulus (and, for some models, past spikes) makes of the neurons' rates.

    ``forward(stimulus, spikes=None, covariates=None)`` takes a stimulus of shape (batch, time,
    channel, y, x) and returns rates, spikes per bin (of a trace: its values), of shape (batch,
    time − lead_in, neuron): output t belongs to bin t + lead_in, and depends on strictly earlier
    bins alone, save for the covariates, which are those of its own bin: (batch, time, covariate)
    in their own units, of the same bins as the stimulus; None stands for their means. A stimulus
    batch of 1 broadcasts over trials of spikes and covariates.

    Attributes
    ----------
    lead_in : int
        Bins of stimulus needed before the first output.
    stimulus_lead_in : int
        The same without spike history: where a free-running simulation starts.
    input : Input
        Frame shape, neurons, bin width and normalization.
    inputs : str
        What the rate depends on, as said beside every score.
    uses_spikes : bool
        Whether `forward` needs recorded spikes.
    """

    uses_spikes = False
    #: Name in the registry; `config` and the registry's `build` find the class by it.
    kind = ""

    def __init__(self, data: Input, options: Any):
        super().__init__()
        self.input = data
        self.options = options
        self.covariate = CovariateEffect(data) if data.covariates else None

    @property
    def inputs(self) -> str:
        """What the rate depends on."""
        return " + ".join(("stimulus", *self.input.covariates))

    # -- time ---------------------------------------------------------------------------------
    @property
    def lead_in(self) -> int:
        """Bins before the first output."""
        return self.stimulus_lead_in

    @property
    def stimulus_lead_in(self) -> int:
        """Bins of stimulus before the first output."""
        raise NotImplementedError

    @property
    def settled_from(self) -> int:
        """First bin that no start of a simulation reaches any more: scores begin there."""
        return self.lead_in

    # -- input --------------------------------------------------------------------------------
    def normalize(self, stimulus: Tensor) -> Tensor:
        """Scale raw frames to mean 0 and variance 1 of the training stimulus.

        Parameters
        ----------
        stimulus : torch.Tensor
            Shape (batch, time, channel, y, x), any number type.

        Returns
        -------
        torch.Tensor
            Same shape, in the floating-point type of the model's parameters.

        Raises
        ------
        ValueError
            The frames have another shape than those that the model was made for.
        """
        if stimulus.ndim != 5 or tuple(stimulus.shape[2:]) != self.input.movie_shape:
            raise ValueError(
                "stimulus must have shape (batch, time, channel, y, x) with frames of "
                f"{self.input.movie_shape}, not {tuple(stimulus.shape)}."
            )
        dtype = next(self.parameters()).dtype
        return (stimulus.to(dtype) - self.input.mean) / self.input.std

    def covariate_effect(self, covariates: Tensor | None, stimulus: Tensor) -> Tensor | None:
        """How far covariates push each neuron in the bins that the stimulus makes outputs for.

        Parameters
        ----------
        covariates : torch.Tensor or None
            (batch, time, covariate), in their own units; NaN where one is missing.
        stimulus : torch.Tensor
            (batch, time, channel, y, x), of the same bins.

        Returns
        -------
        torch.Tensor or None
            (batch, time − stimulus_lead_in, neuron); None where they stay at their means.

        Raises
        ------
        ValueError
            Covariates of another shape than stimulus and model ask for.
        """
        if covariates is None:
            return None
        names = self.input.covariates
        if self.covariate is None:
            raise ValueError("covariates were given to a model that was made without any.")
        if covariates.ndim != 3 or covariates.shape[2] != len(names):
            raise ValueError(
                f"covariates must have shape (batch, time, covariate) with {', '.join(names)}, not "
                f"{tuple(covariates.shape)}."
            )
        if covariates.shape[1] != stimulus.shape[1]:
            raise ValueError(
                f"stimulus has {stimulus.shape[1]} bins but covariates have {covariates.shape[1]}."
            )
        if stimulus.shape[0] not in (1, covariates.shape[0]) and covariates.shape[0] != 1:
            raise ValueError(
                f"stimulus has a batch of {stimulus.shape[0]} but covariates have one of "
                f"{covariates.shape[0]}: give equal ones, or one stimulus for all trials."
            )
        return self.covariate(covariates[:, self.stimulus_lead_in :])

    # -- description --------------------------------------------------------------------------
    @property
    def config(self) -> dict[str, Any]:
        """A plain dict from which `neuromodels.models.build_from_config` makes the model again."""
        from dataclasses import asdict

        return {"kind": self.kind, "input": asdict(self.input), "options": asdict(self.options)}

    def parameter_dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names of every entry of `state_dict`, for `parameters_dataset`."""
        raise NotImplementedError

    def coords(self) -> dict[str, Any]:
        """Coordinates of the named dimensions: neuron ids, lags in seconds."""
        return {"neuron": list(self.input.neurons)}

    def filters(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Filters over lags, made from the weights, for people and figures."""
        return {}

    @staticmethod
    def filter_units(name: str) -> str:
        """Units of a derived filter."""
        if name in ("history_filter", "coupling_filter"):
            return "drive per spike"
        return "drive per standard deviation of the stimulus" if "filter" in name else "1"

    def parameters_dataset(self) -> xr.Dataset:
        """Return the weights, labelled, and the filters that they make.

        Returns
        -------
        xarray.Dataset
            One variable per entry of ``state_dict`` (attribute ``state_key``), and derived
            filters (attribute ``derived``) whose lags are in seconds.
        """
        import xarray as xr

        dims = self.parameter_dims() | {"covariate.weight": ("covariate", "neuron")}
        variables: dict[str, Any] = {}
        for key, value in self.state_dict().items():
            # A copy: what was stored must not follow the model when it learns on.
            values = value.detach().cpu().numpy().copy()
            variables[key.replace(".", "_")] = (dims[key], values, {"state_key": key})
        for name, (names, values) in self.filters().items():
            about = {"derived": 1, "units": self.filter_units(name)}
            variables[name] = (names, np.array(values), about)
        sizes = {
            name: size
            for names, values, *_ in variables.values()
            for name, size in zip(names, values.shape, strict=True)
        }
        known = self.coords()
        if self.covariate is not None:
            known = known | {"covariate": list(self.input.covariates)}
        coords = {name: known.get(name, np.arange(size)) for name, size in sizes.items()}
        dataset = xr.Dataset(variables, coords={k: (k, np.asarray(v)) for k, v in coords.items()})
        for name in dataset.coords:
            if str(name) in ("y", "x") or str(name).endswith(("_y", "_x")):
                dataset[name].attrs["units"] = "pixel"
            if str(name).endswith("_lag"):
                dataset[name].attrs.update(
                    units="s", long_name="time from the bin looked at to the bin predicted"
                )
        return dataset

    def load_parameters(self, dataset: xr.Dataset) -> None:
        """Set the weights from what `parameters_dataset` gave."""
        state = {
            variable.attrs["state_key"]: torch.from_numpy(np.array(variable.values))
            for variable in dataset.data_vars.values()
            if "state_key" in variable.attrs
        }
        self.load_state_dict(state, strict=True)


class StimulusWindow(nn.Module):
    """The stretch of past stimulus that a model sees, on a temporal basis or lag by lag.

    Parameters
    ----------
    n_lags : int
        Window, bins.
    n_basis : int
        Log-raised-cosine bumps; 0 gives every lag a weight of its own.
    delay : int
        Bins between an output and the last bin that it sees.
    """

    def __init__(self, n_lags: int, n_basis: int, delay: int = 1):
        super().__init__()
        self.n_lags = n_lags
        self.delay = delay
        self.n_basis = min(n_basis, n_lags) or n_lags
        self.free = n_basis == 0
        basis = np.eye(n_lags) if self.free else log_raised_cosine(n_lags, self.n_basis)
        # Unit norm: a penalty then treats recent and distant lags alike.
        basis = basis / np.linalg.norm(basis, axis=0)
        self.register_buffer("basis", torch.from_numpy(basis), persistent=False)

    @property
    def lead_in(self) -> int:
        """Bins before the first output."""
        return lead_in_of(self.n_lags, self.delay)

    def forward(self, stimulus: Tensor) -> Tensor:
        """Project (batch, time, …) to (batch, time − lead_in, basis, …)."""
        batch, time, *frame = stimulus.shape
        if self.free:
            if time <= self.lead_in:
                raise ValueError(
                    f"the stimulus has {time} bins, but the first output needs {self.lead_in} "
                    "before it."
                )
            past = stimulus[:, : time - self.delay].unfold(1, self.n_lags, 1).flip(-1)
            return past.movedim(-1, 2)
        flat = stimulus.reshape(batch, time, math.prod(frame))
        out = project_past(flat, self.basis.to(stimulus.dtype), self.delay)
        return out.reshape(batch, out.shape[1], self.n_basis, *frame)

    def lags(self, bin_width: float) -> np.ndarray:
        """Lags of the window's rows, s."""
        return (np.arange(self.n_lags) + self.delay) * bin_width
