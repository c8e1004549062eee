"""Gain and offset of a prediction refitted to a stimulus that the model has not learned from.

A model carried over to another stimulus may know the shape of the response and miss its size: the
retina adapts to the mean and contrast of what it sees. Two numbers per neuron tell the two apart.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

#: Share of the mean rate below which an offset does not fall: a rate of 0 makes a spike impossible.
_LEAST = 1e-6


def refit_gain_and_offset(rates: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset that make predicted rates the most likely, neuron by neuron.

    Parameters
    ----------
    rates : numpy.ndarray
        (bin, neuron), predicted spikes per bin; bins with NaN are left out.
    counts : numpy.ndarray
        (bin, neuron), spikes per bin.

    Returns
    -------
    gain, offset : numpy.ndarray
        (neuron,), not negative: gain · rate + offset. NaN for a neuron without a spike.

    Notes
    -----
    Maximises the Poisson likelihood Σ y log(gλ + o) − (gλ + o) over g ≥ 0, o ≥ 0, which is concave;
    at a maximum inside the bounds Σ(gλ + o) = Σ y.
    """
    gain, offset = np.full(rates.shape[1], np.nan), np.full(rates.shape[1], np.nan)
    known = np.isfinite(rates).all(axis=1)
    for neuron in range(rates.shape[1]):
        rate, count = rates[known, neuron].astype(float), counts[known, neuron].astype(float)
        mean, level = count.mean() if count.size else 0.0, rate.mean() if rate.size else 0.0
        if mean == 0:
            continue
        if level == 0:
            gain[neuron], offset[neuron] = 0.0, mean
            continue
        # In units of the means both numbers are about 1.
        shape, target = rate / level, count / mean

        def loss(
            parts: np.ndarray, shape: np.ndarray = shape, target: np.ndarray = target
        ) -> tuple[float, np.ndarray]:
            predicted = parts[0] * shape + parts[1]
            slope = 1 - target / predicted
            value = np.mean(predicted - target * np.log(predicted))
            return value, np.array([np.mean(slope * shape), np.mean(slope)])

        bounds = [(0, None), (_LEAST, None)]
        found = minimize(loss, [0.5, 0.5], jac=True, bounds=bounds, method="L-BFGS-B", tol=1e-12)
        gain[neuron], offset[neuron] = found.x * [mean / level, mean]
    return gain, offset
