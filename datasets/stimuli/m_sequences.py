"""M-sequences: binary noise whose autocorrelation is flat to the last digit."""

from __future__ import annotations

import numpy as np
import xarray as xr

from neuromodels.datasets.arguments import positive, whole
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.stimuli.screen import (
    TwoLevels,
    label_movie,
    make_screen,
    swing,
)

ORDERS = (2, 24)


def m_sequence(
    *,
    order: int = 15,
    duration: float | None = None,
    frame_rate: float = 60.0,
    size: tuple[int, int] = (16, 16),
    pixel_size: float = 50.0,
    contrast: float = 1.0,
    mean: float = 0.5,
    hold: int = 1,
) -> xr.DataArray:
    """Checkerboard driven by one M-sequence, every check by the same sequence at another delay.

    Parameters
    ----------
    order : int
        Stages n of the shift register, 2 to 24; the period is 2ⁿ − 1 patterns.
    duration : float, s, optional
        One whole period if left out; longer movies repeat it.
    frame_rate, size, pixel_size, hold
        As `white_noise`.
    contrast, mean : float
        Intensities are mean (1 ± contrast).

    Returns
    -------
    xarray.DataArray (frame, y, x)
        Attributes `period_frames`, and `delay_frames`, by how much a check lags behind the one
        before it (row by row): responses must be shorter than that, or filters of two checks mix.

    Raises
    ------
    InputError
        If the order is out of range, or the period shorter than the number of checks.

    Notes
    -----
    A maximal length shift register (`scipy.signal.max_len_seq`): over a whole period there is one
    bright pattern more than dark ones, and the autocorrelation of ±1 values is −1/(2ⁿ − 1) at
    every lag but 0 (Golomb 1967; for receptive fields: Sutter 1987, Reid, Victor & Shapley 1997).

    Examples
    --------
    >>> movie = m_sequence(order=4, size=(1, 1), frame_rate=60)
    >>> movie.sizes["frame"], int(movie.sum())
    (15, 8)
    """
    parameters = dict(locals())
    from scipy.signal import max_len_seq

    where = "stimuli.m_sequence"
    stages = whole(order, ORDERS[0], f"{where}: order", "stages of the shift register")
    if stages > ORDERS[1]:
        raise InputError(
            f"is {stages}: a period of 2^{stages} - 1 patterns",
            where=f"{where}: order",
            remedy=f"Give {ORDERS[0]} to {ORDERS[1]}.",
        )
    hold = whole(hold, 1, f"{where}: hold", "frames")
    period = 2**stages - 1
    if duration is None:
        # Half a frame more, so that rounding takes none away.
        rate = positive(frame_rate, f"{where}: frame_rate", "frames per second, for example 60")
        duration = (period * hold + 0.5) / rate
    screen = make_screen(
        where, duration=duration, frame_rate=frame_rate, size=size, pixel_size=pixel_size
    )
    n_pixels = screen.size[0] * screen.size[1]
    if n_pixels > period:
        raise screen.wrong(
            "order",
            f"{stages} gives {period:,} patterns, fewer than the {n_pixels:,} checks",
            f"Give at least {n_pixels.bit_length()}, or fewer checks.",
        )
    middle, contrast = swing(where, mean, contrast)
    delay = period // n_pixels
    sequence = max_len_seq(stages)[0].astype(bool)
    levels = (middle * (1 - contrast), middle * (1 + contrast))
    return label_movie(
        screen,
        _Shifted(screen.shape, levels, sequence, delay, hold),
        parameters=parameters,
        background=middle,
        period_frames=period * hold,
        delay_frames=delay * hold,
    )


class _Shifted(TwoLevels):
    def __init__(self, shape, levels, sequence: np.ndarray, delay: int, hold: int):
        super().__init__(shape, levels)
        self._sequence, self._hold = sequence, hold
        self._delays = (delay * np.arange(shape[1] * shape[2])).reshape(shape[1:])

    def second(self, start: int, stop: int) -> np.ndarray:
        pattern = np.arange(start, stop) // self._hold
        return self._sequence[(pattern[:, None, None] - self._delays) % self._sequence.size]
