"""From a linear drive to a rate per bin."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

NONLINEARITIES = ("exp", "softplus")


def rate_of(drive: Tensor, nonlinearity: str) -> Tensor:
    """Turn a drive into a rate: ``exp(u)`` or ``log(1 + exp(u))``.

    Both keep the Poisson log-likelihood of a linear drive concave (Paninski 2004, Network 15).
    """
    return torch.exp(drive) if nonlinearity == "exp" else softplus(drive)


def drive_of(rate: Tensor, nonlinearity: str) -> Tensor:
    """Inverse of `rate_of`, for starting values."""
    return torch.log(rate) if nonlinearity == "exp" else rate + torch.log(-torch.expm1(-rate))


class SoftplusOutput(nn.Module):
    """``log(1 + exp(u))``, with a gain and a steepness per cell if asked for.

    Parameters
    ----------
    n_neurons : int
        Cells.
    start : tuple of float or None
        None for the plain form; else starting values of α and β in α log(1 + exp(βu)), one pair
        per cell, as in McIntosh et al. (2016). Both stay positive: their logarithm is learned.
    """

    def __init__(self, n_neurons: int, start: tuple[float, ...] | None):
        super().__init__()
        self.parametric = start is not None
        if start is not None:
            gain, steepness = start
            self.log_gain = nn.Parameter(torch.full((n_neurons,), math.log(gain)))
            self.log_steepness = nn.Parameter(torch.full((n_neurons,), math.log(steepness)))

    def forward(self, drive: Tensor) -> Tensor:
        """Rates per bin, same shape as the drive (…, neuron)."""
        if not self.parametric:
            return softplus(drive)
        return self.log_gain.exp() * softplus(self.log_steepness.exp() * drive)

    def set_rate(self, rate: Tensor) -> Tensor:
        """Drive at which each cell fires at the given rate, for starting the readout's bias."""
        if not self.parametric:
            return drive_of(rate, "softplus")
        scaled = rate / self.log_gain.detach().exp()
        return drive_of(scaled, "softplus") / self.log_steepness.detach().exp()
