"""Poisson loss of one neuron as a function of its linear predictor, with two derivatives.

With η the predictor of a bin, μ = f(η) its rate per bin and y its count, the loss of a bin is
μ − y log μ (log y! is left out). It is convex in η for both nonlinearities:
f = exp, and f = softplus = log(1 + e^η).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Nonlinearity:
    """From linear predictor to rate, and the Poisson loss that goes with it.

    Attributes
    ----------
    rate : predictor to rate per bin
    inverse : rate per bin to predictor
    loss : (predictor, counts) to (sum of the loss over bins, its derivative in every bin)
    curvature : (predictor, counts) to the second derivative in every bin
    curvature_at_rate : the expected second derivative where the rate is constant
    """

    rate: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[float], float]
    loss: Callable[[np.ndarray, SparseCounts], tuple[float, np.ndarray]]
    curvature: Callable[[np.ndarray, SparseCounts], np.ndarray]
    curvature_at_rate: Callable[[float], float]


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


NONLINEARITIES = {
    "exp": Nonlinearity(
        rate=np.exp,
        inverse=np.log,
        loss=_exp_loss,
        curvature=lambda eta, counts: np.exp(eta),  # noqa: ARG005
        curvature_at_rate=lambda rate: rate,
    ),
    "softplus": Nonlinearity(
        rate=_softplus,
        # log(e^rate − 1), without overflow at high rates
        inverse=lambda rate: rate + np.log(-np.expm1(-rate)),
        loss=_softplus_loss,
        curvature=_softplus_curvature,
        curvature_at_rate=lambda rate: np.expm1(-rate) ** 2 / rate,
    ),
}


def nonlinearity_named(name: str) -> Nonlinearity:
    """Look up "exp" or "softplus"."""
    if name not in NONLINEARITIES:
        raise ValueError(f"nonlinearity={name!r}: expected 'exp' or 'softplus'")
    return NONLINEARITIES[name]
