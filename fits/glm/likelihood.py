"""Loss of one neuron as a function of its linear predictor, with two derivatives.

With η the predictor of a bin, μ = f(η) its predicted response and y what was recorded, the losses
of a bin are, up to terms without η (McCullagh & Nelder 1989, Generalized Linear Models, ch. 2, 8):

- Poisson, for counts: μ − y log μ, with f = exp or softplus = log(1 + e^η);
- Gaussian, for traces and rates: ½ (y − μ)², with f the identity;
- Gamma, for traces and rates that are not negative: log μ + y/μ, with f = exp.

All are convex in η. Variance (Gaussian) and shape (Gamma) do not enter: they scale the whole loss,
and their most likely values follow from the fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class SparseCounts:
    """Counts of one neuron: the bins with spikes, and how many there are in each."""

    bins: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray) -> SparseCounts:
        """From the counts in all bins."""
        bins = np.flatnonzero(counts)
        return cls(bins, counts[bins].astype(np.float64))


def _every_bin(response: np.ndarray) -> np.ndarray:
    return response.astype(np.float64)


@dataclass(frozen=True)
class Loss:
    """From linear predictor to response, and the loss that goes with it.

    Attributes
    ----------
    rate : predictor to predicted response per bin
    inverse : predicted response per bin to predictor
    observed : responses of one neuron in all bins to the form that the next two take
    loss : (predictor, observed) to (sum of the loss over bins, its derivative in every bin)
    curvature : (predictor, observed) to the second derivative in every bin
    curvature_at_rate : the expected second derivative where the response is constant
    signed : whether responses may be negative; otherwise one that is 0 throughout has no fit
    empty : what such a response is called
    """

    rate: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[float], float]
    observed: Callable[[np.ndarray], Any]
    loss: Callable[[np.ndarray, Any], tuple[float, np.ndarray]]
    curvature: Callable[[np.ndarray, Any], np.ndarray]
    curvature_at_rate: Callable[[float], float]
    signed: bool = False
    empty: str = "no spikes"


def _exp_loss(eta: np.ndarray, counts: SparseCounts) -> tuple[float, np.ndarray]:
    slope = np.exp(eta)
    value = np.sum(slope) - np.sum(counts.values * eta[counts.bins])
    slope[counts.bins] -= counts.values
    return value, slope


def _softplus(eta: np.ndarray) -> np.ndarray:
    return np.maximum(eta, 0.0) + np.log1p(np.exp(-np.abs(eta)))


def _softplus_and_sigmoid(eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    small = np.exp(-np.abs(eta))
    rate = np.maximum(eta, 0.0) + np.log1p(small)
    return rate, np.where(eta >= 0, 1.0, small) / (1.0 + small)


def _softplus_loss(eta: np.ndarray, counts: SparseCounts) -> tuple[float, np.ndarray]:
    rate, slope = _softplus_and_sigmoid(eta)
    at_spikes = rate[counts.bins]
    value = np.sum(rate) - np.sum(counts.values * np.log(at_spikes))
    slope[counts.bins] *= 1.0 - counts.values / at_spikes
    return value, slope


def _softplus_curvature(eta: np.ndarray, counts: SparseCounts) -> np.ndarray:
    rate, sigmoid = _softplus_and_sigmoid(eta)
    result = sigmoid * (1.0 - sigmoid)
    mu, sigma = rate[counts.bins], sigmoid[counts.bins]
    # Of −log softplus; it is positive, its two terms cancel where the rate is tiny.
    of_log = (sigma / mu) ** 2 - sigma * (1.0 - sigma) / mu
    result[counts.bins] += counts.values * np.maximum(of_log, 0.0)
    return result


def _gaussian_loss(eta: np.ndarray, response: np.ndarray) -> tuple[float, np.ndarray]:
    error = eta - response
    return 0.5 * np.sum(error**2), error


def _gamma_loss(eta: np.ndarray, response: np.ndarray) -> tuple[float, np.ndarray]:
    ratio = response * np.exp(-eta)
    return np.sum(eta) + np.sum(ratio), 1.0 - ratio


LOSSES = {
    ("poisson", "exp"): Loss(
        rate=np.exp,
        inverse=np.log,
        observed=SparseCounts.of,
        loss=_exp_loss,
        curvature=lambda eta, counts: np.exp(eta),  # noqa: ARG005
        curvature_at_rate=lambda rate: rate,
    ),
    ("poisson", "softplus"): Loss(
        rate=_softplus,
        # log(e^rate − 1), without overflow at high rates
        inverse=lambda rate: rate + np.log(-np.expm1(-rate)),
        observed=SparseCounts.of,
        loss=_softplus_loss,
        curvature=_softplus_curvature,
        curvature_at_rate=lambda rate: np.expm1(-rate) ** 2 / rate,
    ),
    ("gaussian", "identity"): Loss(
        rate=lambda eta: eta,
        inverse=lambda mean: mean,
        observed=_every_bin,
        loss=_gaussian_loss,
        curvature=lambda eta, response: np.ones_like(eta),  # noqa: ARG005
        curvature_at_rate=lambda mean: 1.0,  # noqa: ARG005
        signed=True,
    ),
    ("gamma", "exp"): Loss(
        rate=np.exp,
        inverse=np.log,
        observed=_every_bin,
        loss=_gamma_loss,
        curvature=lambda eta, response: response * np.exp(-eta),
        curvature_at_rate=lambda mean: 1.0,  # noqa: ARG005
        empty="zero throughout",
    ),
}


def loss_named(likelihood: str, nonlinearity: str) -> Loss:
    """Look up a convex loss, for instance ("poisson", "softplus").

    Raises
    ------
    ValueError
        No such pair.
    """
    if (likelihood, nonlinearity) not in LOSSES:
        pairs = [repr(f) for name, f in LOSSES if name == likelihood]
        expected = " or ".join(pairs) or "another likelihood"
        raise ValueError(
            f"nonlinearity={nonlinearity!r} with likelihood={likelihood!r}: expected {expected}"
        )
    return LOSSES[likelihood, nonlinearity]
