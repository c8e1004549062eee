"""Expectations of Poisson counts."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, xlogy

#: Above this rate the asymptotic series is exact to 1e-6.
_LARGE = 60.0
_TERMS = 200


def expected_root(rate: np.ndarray) -> np.ndarray:
    """Mean of the square root of a Poisson count: what √counts should be compared with.

    Parameters
    ----------
    rate : array
        Any shape, not negative; NaN stays NaN.

    Returns
    -------
    numpy.ndarray
        E[√Y] for Y ~ Poisson(rate), float64.

    Raises
    ------
    ValueError
        A rate is negative.

    Notes
    -----
    Σ_k √k e^{-λ} λ^k / k! up to λ = 60, and beyond it the series √λ (1 − 1/8λ − 7/128λ² − …) of
    the moments of the Poisson distribution.

    Examples
    --------
    >>> bool(abs(expected_root(np.array(1.0)) - 0.7732) < 1e-4)
    True
    """
    rate = np.asarray(rate, dtype=np.float64)
    if np.any(rate < 0):
        raise ValueError("rate: negative; Poisson rates are >= 0")
    small = np.where(rate <= _LARGE, rate, 0.0)
    total = np.zeros_like(small)
    for k in range(1, _TERMS):
        total += np.sqrt(k) * np.exp(xlogy(k, small) - small - gammaln(k + 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / rate
        series = np.sqrt(rate) * (1 - inverse / 8 - 7 * inverse**2 / 128 - 75 * inverse**3 / 1024)
    return np.where(np.isnan(rate), np.nan, np.where(rate > _LARGE, series, total))
