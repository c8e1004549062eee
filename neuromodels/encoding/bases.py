"""Temporal bases, and the one function that looks into the past."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from neuromodels.options import OptionError


def log_raised_cosine(n_lags: int, n_basis: int, offset: float = 3.0) -> np.ndarray:
    """Smooth bumps that are narrow for the recent past and wide for the distant past.

    Parameters
    ----------
    n_lags : int
        Length of the window, bins.
    n_basis : int
        How many bumps; at most `n_lags`.
    offset : float, default 3.0
        Added to the lag (bins) before the logarithm; smaller is finer near lag 0.

    Returns
    -------
    numpy.ndarray
        Shape (n_lags, n_basis), float64. Row 0 is the most recent bin; every column sums to 1.

    Raises
    ------
    OptionError
        `n_basis` outside 1..`n_lags`, or so many that some bumps lie between two lags.

    Notes
    -----
    With φ = log(lag + offset), centres c evenly spaced from the first to the last φ and spacing δ,
    b(lag) = ½[1 + cos(clip((φ − c)π / (2δ), −π, π))], after Pillow et al. (2008), Nature 454,
    Methods.

    Examples
    --------
    >>> log_raised_cosine(40, 8).shape
    (40, 8)
    """
    if not 1 <= n_basis <= n_lags:
        raise OptionError(f"n_basis must lie between 1 and n_lags = {n_lags}, not {n_basis}.")
    if n_basis == 1:
        return np.full((n_lags, 1), 1.0 / n_lags)
    phi = np.log(np.arange(n_lags) + offset)
    centres, spacing = np.linspace(phi[0], phi[-1], n_basis, retstep=True)
    phase = np.clip((phi[:, None] - centres) * np.pi / (2 * spacing), -np.pi, np.pi)
    basis = 0.5 * (1 + np.cos(phase))
    if not basis.any(axis=0).all():
        # A bump reaches 2δ to either side, and the widest gap is that between the first two lags.
        most = math.ceil(4 * (phi[-1] - phi[0]) / (phi[1] - phi[0]))
        raise OptionError(
            f"{n_basis} bumps are too many for {n_lags} bins: some would see none of them.",
            remedy=f"Give at most {most}, or a weight per bin where that is offered (0).",
        )
    return basis / basis.sum(axis=0)


def lead_in_of(n_lags: int, delay: int = 1) -> int:
    """Bins of signal that `project_past` needs before its first output."""
    return n_lags - 1 + delay


def project_past(signal: Tensor, basis: Tensor, delay: int = 1) -> Tensor:
    """Weigh the past of a signal with every function of a basis.

    Parameters
    ----------
    signal : torch.Tensor
        Shape (batch, time, k).
    basis : torch.Tensor
        Shape (n_lags, n_basis). Row 0 weighs the last bin allowed.
    delay : int, default 1
        Bins between an output and the last bin that it may see; 1 is strictly past.

    Returns
    -------
    torch.Tensor
        Shape (batch, time − lead_in, n_basis, k) with lead_in = n_lags − 1 + delay. Output t
        belongs to bin t + lead_in.

    Raises
    ------
    ValueError
        The signal is not longer than the lead-in.

    Notes
    -----
    One matrix product per chunk of bins with the banded Toeplitz matrix of the basis, which runs
    at the speed of dense products.
    """
    n_lags, n_basis = basis.shape
    batch, n_time, k = signal.shape
    n_out = n_time - lead_in_of(n_lags, delay)
    if n_out <= 0:
        raise ValueError(
            f"the signal has {n_time} bins, but the first output needs "
            f"{lead_in_of(n_lags, delay)} before it."
        )
    chunk = min(n_out, max(32, n_lags // 2))
    n_chunks = math.ceil(n_out / chunk)
    width = chunk + n_lags - 1
    # Windows start at multiples of `chunk`; the last one is filled up with zeros.
    needed = (n_chunks - 1) * chunk + width
    past = signal[:, : n_out + n_lags - 1]
    past = torch.nn.functional.pad(past, (0, 0, 0, needed - past.shape[1]))
    windows = past.unfold(1, width, chunk).transpose(2, 3).reshape(batch * n_chunks, width, k)
    # toeplitz[t, b, t + n_lags - 1 - lag] = basis[lag, b]
    toeplitz = basis.new_zeros(chunk, n_basis, width)
    reversed_basis = basis.flip(0).T
    toeplitz.as_strided((chunk, n_basis, n_lags), (n_basis * width + 1, width, 1)).copy_(
        reversed_basis.expand(chunk, n_basis, n_lags)
    )
    toeplitz = toeplitz.reshape(chunk * n_basis, width)
    out = torch.matmul(toeplitz.expand(windows.shape[0], -1, -1), windows)
    return out.reshape(batch, n_chunks * chunk, n_basis, k)[:, :n_out]
