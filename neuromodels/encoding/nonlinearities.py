"""From a linear drive to a response per bin: a rate, or a trace."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus


def default_nonlinearity(response: str, of_trace: str = "identity") -> str:
    """What ends a model unless told otherwise: a softplus for counts, nothing for traces.

    Parameters
    ----------
    response : str
        "count", "rate" or "trace".
    of_trace : str
        Name of doing nothing.
    """
    return "softplus" if response == "count" else of_trace


def rate_of(drive: Tensor, nonlinearity: str) -> Tensor:
    """Turn a drive into a response: ``exp(u)``, ``log(1 + exp(u))``, or ``u`` itself.

    The first two keep the Poisson log-likelihood of a linear drive concave (Paninski 2004, Network
    15), ``exp`` that of a Gamma response as well; ``u`` goes with Gaussian noise.
    """
    if nonlinearity == "identity":
        return drive
    return torch.exp(drive) if nonlinearity == "exp" else softplus(drive)


def drive_of(rate: Tensor, nonlinearity: str) -> Tensor:
    """Inverse of `rate_of`, for starting values."""
    if nonlinearity == "identity":
        return rate
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
        rate = rate.clamp_min(1e-4)
        if not self.parametric:
            return drive_of(rate, "softplus")
        scaled = rate / self.log_gain.detach().exp()
        return drive_of(scaled, "softplus") / self.log_steepness.detach().exp()


class PlainOutput(nn.Module):
    """``exp(u)``, or the drive itself.

    Parameters
    ----------
    nonlinearity : {"exp", "identity"}
    """

    def __init__(self, nonlinearity: str):
        super().__init__()
        self.nonlinearity = nonlinearity

    def forward(self, drive: Tensor) -> Tensor:
        """Response per bin, same shape as the drive (…, neuron)."""
        return rate_of(drive, self.nonlinearity)

    def set_rate(self, rate: Tensor) -> Tensor:
        """Drive at which each cell gives this response."""
        rate = rate.clamp_min(1e-4) if self.nonlinearity == "exp" else rate
        return drive_of(rate, self.nonlinearity)


class TraceOutput(nn.Module):
    """A trace in its own units, offset + scale · F(u): what is learned does not depend on them.

    Parameters
    ----------
    n_neurons : int
        Cells.
    inner : SoftplusOutput or PlainOutput
        F. With the identity the offset is the mean of the trace; otherwise it is 0, for the trace
        to stay positive.
    """

    def __init__(self, n_neurons: int, inner: SoftplusOutput | PlainOutput):
        super().__init__()
        self.inner = inner
        self.register_buffer("offset", torch.zeros(n_neurons))
        self.register_buffer("scale", torch.ones(n_neurons))

    def forward(self, drive: Tensor) -> Tensor:
        """The trace, same shape as the drive (…, neuron)."""
        return self.offset + self.scale * self.inner(drive)

    def set_rate(self, rate: Tensor) -> Tensor:
        """Drive that gives the mean trace (neuron,); takes it for the offset where there is one."""
        if getattr(self.inner, "nonlinearity", "") == "identity":
            self.offset.copy_(rate)
            return torch.zeros_like(rate)
        return self.inner.set_rate(rate / self.scale)


def make_output(
    name: str, n_neurons: int, start: tuple[float, ...], response: str
) -> SoftplusOutput | PlainOutput | TraceOutput:
    """The last step of a network.

    Parameters
    ----------
    name : {"softplus", "parametric-softplus", "exp", "linear"}
        Which.
    n_neurons : int
        Cells.
    start : tuple of float
        Of the parametric softplus.
    response : str
        "count", "rate" or "trace": what it gives.
    """
    if name in ("exp", "linear"):
        output = PlainOutput("exp" if name == "exp" else "identity")
    else:
        output = SoftplusOutput(n_neurons, start if name == "parametric-softplus" else None)
    return output if response == "count" else TraceOutput(n_neurons, output)
