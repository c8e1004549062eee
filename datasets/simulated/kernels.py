"""Spike-history and coupling kernels over lags: from exponentials, log-cosines, or as given."""

from __future__ import annotations

import numpy as np

from neuromodels.datasets.errors import InputError

#: An exponential is followed for so many time constants; what is left is below 5e-5 of it.
TIME_CONSTANTS = 10
LONGEST_KERNEL = 100_000  # steps


def exponential_kernel(pairs, dt: float, where: str = "kernel") -> np.ndarray:
    """What a spike adds to the drive in the steps after it, as a sum of exponentials.

    Parameters
    ----------
    pairs : sequence of (amplitude, tau_s)
        Each adds ``amplitude exp(-lag dt / tau_s)``.
    dt : float
        Step, s.
    where : str
        Argument, for messages.

    Returns
    -------
    numpy.ndarray (lag,)
        Row 0 is the step right after the spike (lag 1).

    Raises
    ------
    InputError
        If a time constant is not positive or makes the kernel too long for this step.

    Examples
    --------
    >>> exponential_kernel([(-1.0, 0.01)], dt=0.01)[:2].round(3)
    array([-0.368, -0.135])
    """
    try:
        values = [(float(amplitude), float(tau)) for amplitude, tau in pairs]
    except (TypeError, ValueError, OverflowError):
        values = [(np.nan, np.nan)]
    if not values:
        return np.zeros(1)
    if not all(np.isfinite(a) and np.isfinite(tau) and tau > 0 for a, tau in values):
        raise InputError(
            f"is {pairs!r}"[:80],
            where=where,
            remedy="Give pairs of (amplitude, time constant in s), the constants above 0.",
        )
    n_lags = int(np.ceil(TIME_CONSTANTS * max(tau for _, tau in values) / dt))
    if n_lags > LONGEST_KERNEL:
        raise InputError(
            f"lasts {n_lags:,} steps of {dt:g} s",
            where=where,
            remedy=f"Give time constants below {LONGEST_KERNEL * dt / TIME_CONSTANTS:g} s.",
        )
    lag = np.arange(1, n_lags + 1)[:, None] * dt
    amplitude, tau = np.array(values).T
    return (amplitude * np.exp(-lag / tau)).sum(axis=1)


def log_cosine_kernel(weights, n_lags: int) -> np.ndarray:
    """A kernel in the span of log-raised-cosine bumps of unit length.

    Parameters
    ----------
    weights : (basis,)
        Of bump 0 (the most recent) and the others; at least two.
    n_lags : int
        Length, steps.

    Returns
    -------
    numpy.ndarray (lag,)
        Row 0 is lag 1.

    Notes
    -----
    With φ = log(lag + 3), lags from 0, and centres c evenly spaced by δ from the first to the
    last φ: ½[1 + cos(clip((φ − c)π / (2δ), −π, π))] (after Pillow et al. 2008, Nature 454).

    Examples
    --------
    >>> log_cosine_kernel([1.0, 0.0, 0.0], 10).argmax()
    np.int64(0)
    """
    weights = np.asarray(weights, float)
    phi = np.log(np.arange(n_lags) + 3.0)
    centres, spacing = np.linspace(phi[0], phi[-1], weights.size, retstep=True)
    phase = np.clip((phi[:, None] - centres) * np.pi / (2 * spacing), -np.pi, np.pi)
    basis = 0.5 * (1 + np.cos(phase))
    return (basis / np.linalg.norm(basis, axis=0)) @ weights


def kernel_of(value, dt: float, where: str) -> np.ndarray:
    """A kernel (lag,) from an array over lags or from pairs of (amplitude, tau_s).

    Raises
    ------
    InputError
        If it is neither, or not finite.
    """
    if is_exponentials(value):
        return exponential_kernel(value, dt, where)
    try:
        kernel = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        kernel = np.empty(0)
    if kernel.ndim != 1 or not kernel.size or kernel.dtype.kind not in "iuf":
        raise InputError(
            f"is {value!r}"[:80],
            where=where,
            remedy="Give (lag,) values, or pairs of (amplitude, time constant in s).",
        )
    if not np.isfinite(kernel).all():
        raise InputError("holds NaN or infinite values", where=where, remedy="Give numbers.")
    return kernel.astype(np.float64)


def is_exponentials(value) -> bool:
    """Whether a kernel is given as pairs of (amplitude, tau_s) and not as an array."""
    return isinstance(value, (tuple, list)) and all(
        isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in value
    )
