"""Options of the retina CNN, and the kernels that suit a movie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from neuromodels.encoding.base import refuse_idle
from neuromodels.options import OptionError

#: Kernels of the first and of later layers, at most, pixels.
LARGEST_KERNELS = (15, 7)


@dataclass(frozen=True)
class RetinaCNNOptions:
    """Architecture of a retina CNN.

    Attributes
    ----------
    history : float or "auto"
        How far back the model sees, s; "auto" is chosen on validation blocks by the fit.
    temporal_basis : int
        Log-raised-cosine bumps that the first layer's temporal kernels are made of; 0 gives every
        lag a weight of its own, as published.
    delay : int
        Bins between an output and the last bin seen; 1 is strictly past.
    channels : tuple of int
        Features of each convolution.
    kernels : tuple of int or "auto"
        Kernel size of each convolution, pixels; "auto" takes half of the movie's larger side, at
        most 15 pixels in the first layer and 7 in later ones.
    stack : int
        Build each kernel as a stack of linear kernels of this size (2 or more); 0 for one kernel.
    norm : {"none", "batch", "abs-batch"}
        Normalization per unit and position after each convolution.
    norm_output : bool
        Also normalize the readout's drive.
    norm_eps, norm_momentum : float
        Constants of the normalization.
    noise : tuple of float
        Standard deviation of the noise before each rectifier.
    noise_mode : {"train", "always", "off"}
        When noise is added.
    dropout : float
        Share of the last features silenced while training.
    readout_bias : bool
        Whether the readout has a bias.
    output : {"auto", "softplus", "parametric-softplus", "exp", "linear"}
        Output nonlinearity; the parametric one is α log(1 + exp(βu)), α and β per cell. "auto" goes
        with the likelihood of the fit: softplus for spike counts, linear for traces and rates with
        Gaussian noise, exp with the Gamma likelihood.
    output_start : tuple of float
        Starting α and β.
    l2, readout_l2, readout_l1, activity_l1 : float
        Penalties: squared convolution weights, squared and absolute readout weights (each summed
        over weights, the readout's averaged over neurons), mean absolute output drive.
    """

    history: float | Literal["auto"] = "auto"
    temporal_basis: int = 16
    delay: int = 1
    channels: tuple[int, ...] = (16, 32)
    kernels: tuple[int, ...] | Literal["auto"] = "auto"
    stack: int = 0
    norm: Literal["none", "batch", "abs-batch"] = "none"
    norm_output: bool = False
    norm_eps: float = 1e-3
    norm_momentum: float = 0.01
    noise: tuple[float, ...] = (0.3, 0.3)
    noise_mode: Literal["train", "always", "off"] = "train"
    dropout: float = 0.2
    readout_bias: bool = True
    output: Literal["auto", "softplus", "parametric-softplus", "exp", "linear"] = "auto"
    output_start: tuple[float, ...] = (0.2, 5.0)
    l2: float = 0.0
    readout_l2: float = 0.0
    readout_l1: float = 0.0
    activity_l1: float = 0.0

    def __post_init__(self):
        kernels = self.channels if self.kernels == "auto" else self.kernels
        if not len(self.channels) == len(kernels) == len(self.noise) >= 1:
            raise OptionError(
                f"channels {self.channels}, kernels {self.kernels} and noise {self.noise} must "
                "have one value per convolution."
            )
        if self.history != "auto" and not self.history > 0:
            raise OptionError(f"history = {self.history!r} must be a positive number of seconds.")
        if min(self.channels) < 1 or min(kernels) < 1:
            raise OptionError("channels and kernels must be at least 1.")
        if self.delay < 0 or self.temporal_basis < 0:
            raise OptionError("delay and temporal_basis must not be negative.")
        if self.stack < 0 or self.stack == 1:
            raise OptionError(
                f"stack = {self.stack}: kernels of this size cannot span a larger one.",
                remedy="Give 2 or more, or 0 for one kernel.",
            )
        if len(self.output_start) != 2 or min(self.output_start) <= 0:
            raise OptionError("output_start needs two positive numbers, α and β.")
        if not 0 <= self.dropout < 1 or min(self.noise) < 0:
            raise OptionError("dropout must lie in [0, 1) and noise must not be negative.")
        if min(self.l2, self.readout_l2, self.readout_l1, self.activity_l1) < 0:
            raise OptionError("penalties must not be negative.")
        if not self.norm_eps > 0 or not 0 < self.norm_momentum <= 1:
            raise OptionError("norm_eps must be positive and norm_momentum lie in (0, 1].")
        refuse_idle(
            self,
            ("norm_eps", "norm_momentum"),
            active=self.norm != "none" or self.norm_output,
            remedy="Give norm or norm_output too, or leave it at its default.",
        )
        refuse_idle(
            self,
            ("output_start",),
            active=self.output == "parametric-softplus",
            remedy="Give output = 'parametric-softplus' too, or leave it at its default.",
        )


def kernels_for(movie_shape: tuple[int, int, int], n_layers: int) -> tuple[int, ...]:
    """Kernel sizes for a movie: odd, half of what is left of its larger side, capped.

    Parameters
    ----------
    movie_shape : tuple of int
        (channel, y, x).
    n_layers : int
        Convolutions.

    Returns
    -------
    tuple of int
        15 and 7 for sides of 30 pixels and more, less for smaller movies, so that weights are
        shared over space wherever there is space.

    Examples
    --------
    >>> kernels_for((1, 31, 1), 2), kernels_for((1, 12, 10), 2)
    ((15, 7), (5, 3))
    """
    left, found = max(movie_shape[1:]), []
    for layer in range(n_layers):
        half = left // 2
        odd = max(1, half - 1 + half % 2)
        found.append(min(LARGEST_KERNELS[min(layer, 1)], odd))
        left -= found[-1] - 1
    return tuple(found)
