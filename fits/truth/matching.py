"""Fitted filters beside the true ones: order, scale and lags of the two made comparable."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from neuromodels.analysis.metrics import pearson_r


class Matching(NamedTuple):
    """Which fitted filter is which true one.

    Attributes
    ----------
    order : numpy.ndarray
        (true filter,): index of the fitted filter that stands for it.
    scale : numpy.ndarray
        (true filter,): factor, 0 or more, by which the true filter comes nearest to the fitted.
    correlation : numpy.ndarray
        (true filter,): cosine of the angle between the two, 1 where they differ by scale alone.
    """

    order: np.ndarray
    scale: np.ndarray
    correlation: np.ndarray


def match_filters(fitted: np.ndarray, true: np.ndarray) -> Matching:
    """Pair every true subunit filter with the fitted one that resembles it most.

    Parameters
    ----------
    fitted : array (fitted filter, ...)
        At least as many as there are true ones; further axes are lags and pixels.
    true : array (true filter, ...)
        On the same lags and pixels.

    Returns
    -------
    Matching
        The pairs whose cosines have the largest sum.

    Raises
    ------
    ValueError
        The filters lie on different axes, or fewer were fitted than there are.

    Notes
    -----
    Units before a rectifier are known up to their order and a positive factor:
    w · relu(k · s) = (w / a) · relu(a k · s) for a > 0 only. A fitted filter of the wrong sign is
    therefore no match, and its cosine is negative. The assignment is that of Kuhn (1955), Naval
    Res. Logist. 2, 83.

    Examples
    --------
    >>> true = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    >>> found = match_filters(np.array([[0.0, 2.0, 2.0], [3.0, 0.0, 0.0]]), true)
    >>> found.order, found.scale
    (array([1, 0]), array([3., 2.]))
    """
    fitted, true = np.asarray(fitted, float), np.asarray(true, float)
    if fitted.shape[1:] != true.shape[1:]:
        raise ValueError(
            f"fitted filters of {fitted.shape[1:]} cannot be matched with true ones of "
            f"{true.shape[1:]}."
        )
    if len(fitted) < len(true):
        raise ValueError(f"{len(fitted)} fitted filters are fewer than the {len(true)} true ones.")
    a, b = fitted.reshape(len(fitted), -1), true.reshape(len(true), -1)
    product = b @ a.T
    norms = np.linalg.norm(b, axis=1)[:, None] * np.linalg.norm(a, axis=1)
    cosine = np.divide(product, norms, out=np.zeros_like(product), where=norms > 0)
    rows, order = linear_sum_assignment(cosine, maximize=True)
    power = (b**2).sum(1)
    best = product[rows, order]
    scale = np.divide(best, power, out=np.zeros_like(best), where=power > 0)
    return Matching(order, np.maximum(scale, 0), cosine[rows, order])


def lag_width(lags: np.ndarray) -> float:
    """Spacing of evenly spaced lags that count from one bin on, s.

    A single lag is its own width: lag 1 is the bin before.
    """
    lags = np.asarray(lags, float)
    return float(lags[0]) if len(lags) == 1 else float(np.diff(lags).mean())


def on_lags(true: xr.DataArray, lag: str, lags: np.ndarray) -> np.ndarray:
    """A true filter on the wider lags of a model's filter.

    Parameters
    ----------
    true : xarray.DataArray
        With a dimension `lag` in s.
    lag : str
        Name of that dimension.
    lags : array (model lag,), s
        Of the model.

    Returns
    -------
    numpy.ndarray
        (model lag, ...), the other axes as they are; zero beyond the end of the true filter. On
        equal lags it is the true filter itself.

    Notes
    -----
    Two moments that lie k bins of width W apart lie kW ± W apart in time: uniform within their
    bins, the weight of the lag l is the triangle 1 − |l − kW| / W. What acts within a bin, on lags
    below W, is seen in part only by a model that looks at strictly past bins.
    """
    width, fine = lag_width(lags), np.asarray(true[lag].values, float)
    step = lag_width(fine)
    triangle = np.maximum(1 - np.abs(fine - np.asarray(lags)[:, None]) / width, 0)
    # Equal steps but for rounding: the weight of a lag is 1 where the bins are the same.
    triangle = np.where(triangle < 1e-6, 0, triangle) * min(1.0, step / width)
    return np.tensordot(triangle, true.transpose(lag, ...).values.astype(float), 1)


class Couplings(NamedTuple):
    """How well couplings were recovered, all pairs of different neurons together.

    Attributes
    ----------
    sign_agreement : float
        Share of the pairs that are coupled in truth whose fitted coupling has the right sign.
    rank_correlation : float
        Spearman's, over all pairs.
    separation : float
        Chance that a pair that is coupled in truth has the larger fitted coupling (absolute) than
        one that is not: 1 tells them apart, 0.5 is guessing. NaN where all or none are coupled.
    absent_size : float
        Mean absolute fitted coupling of the pairs without one, as a share of that of the others.
    """

    sign_agreement: float
    rank_correlation: float
    separation: float
    absent_size: float


def compare_couplings(fitted: np.ndarray, true: np.ndarray) -> Couplings:
    """Score fitted couplings (source, neuron) against the true ones, sums over lags.

    Parameters
    ----------
    fitted, true : array (source neuron, neuron)
        The diagonals, each neuron's own history, are left out.

    Returns
    -------
    Couplings
        NaN where a score has no meaning: a single neuron, no coupling in truth.

    Examples
    --------
    >>> true = np.array([[0, 0.5, 0], [0.5, 0, -0.2], [0, -0.2, 0]])
    >>> compare_couplings(2 * true, true)[:3]
    (1.0, 1.0, 1.0)
    """
    away = ~np.eye(len(true), dtype=bool)
    a, b = np.asarray(fitted, float)[away], np.asarray(true, float)[away]
    present = b != 0
    sign = float(np.mean(np.sign(a[present]) == np.sign(b[present]))) if present.any() else np.nan
    separation = absent = np.nan
    if present.any() and not present.all():
        yes, no = np.abs(a[present]), np.abs(a[~present])
        higher = (yes[:, None] > no).mean() + 0.5 * (yes[:, None] == no).mean()
        separation = float(higher)
        absent = float(no.mean() / yes.mean()) if yes.mean() > 0 else np.nan
    return Couplings(sign, rank_correlation(a, b), separation, absent)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN where one of them is constant."""
    if not np.size(a):
        return np.nan
    return float(pearson_r(rankdata(a)[:, None], rankdata(b)[:, None])[0])
