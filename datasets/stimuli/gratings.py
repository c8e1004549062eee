"""Gratings that drift, and gratings that reverse their contrast."""

from __future__ import annotations

import numpy as np
import xarray as xr

from neuromodels.datasets.arguments import number, one_of, positive
from neuromodels.datasets.stimuli.screen import (
    Rendered,
    Screen,
    heading,
    label_movie,
    make_screen,
    swing,
)

WAVEFORMS = ("sine", "square")


def drifting_grating(
    *,
    duration: float = 10.0,
    frame_rate: float = 60.0,
    size: tuple[int, int] = (20, 20),
    pixel_size: float = 50.0,
    spatial_period: float = 400.0,
    temporal_frequency: float = 2.0,
    direction: float = 0.0,
    contrast: float = 1.0,
    mean: float = 0.5,
    waveform: str = "sine",
    phase: float = 0.0,
) -> xr.DataArray:
    """Grating that drifts in one direction, for tuning to direction, frequency and contrast.

    Parameters
    ----------
    duration, frame_rate, size, pixel_size
        As `white_noise`.
    spatial_period : float, µm
        1000 / spatial_period are the cycles per mm.
    temporal_frequency : float, Hz
        0 stands still.
    direction : float, deg
        In which it drifts: 0 towards larger x, 90 towards larger y.
    contrast : float
        Michelson's: (largest − smallest) / (largest + smallest).
    mean : float
    waveform : {"sine", "square"}
    phase : float, deg
        At the middle of the screen, at time 0.

    Returns
    -------
    xarray.DataArray (frame, y, x), float32
        Coordinate `phase` (frame), in cycles, of the middle of the screen.

    Raises
    ------
    InputError
        If the grating is finer than two pixels or faster than two frames a cycle, or leaves the
        display's range.

    Notes
    -----
    I(u, t) = mean [1 + contrast sin(2π (u / spatial_period − temporal_frequency t) + phase)], u
    the distance from the middle in the direction of drift, at the centre of each pixel and the
    onset of each frame; "square" takes the sign of the sine.
    """
    parameters = dict(locals())
    where = "stimuli.drifting_grating"
    screen = make_screen(
        where, duration=duration, frame_rate=frame_rate, size=size, pixel_size=pixel_size
    )
    one_of(waveform, WAVEFORMS, f"{where}: waveform")
    middle, contrast = swing(where, mean, contrast)
    cycles = _cycles(screen, spatial_period, direction)
    frequency = _frequency(screen, temporal_frequency)
    offset = number(phase, f"{where}: phase", "deg") / 360
    moving = offset - frequency * screen.frame_time
    return label_movie(
        screen,
        _Grating(middle, contrast, cycles, moving, np.ones(screen.n_frames), waveform),
        parameters=parameters,
        background=middle,
        along_frames={"phase": (moving % 1, "cycle")},
    )


def reversing_grating(
    *,
    duration: float = 10.0,
    frame_rate: float = 60.0,
    size: tuple[int, int] = (20, 20),
    pixel_size: float = 50.0,
    spatial_period: float = 400.0,
    temporal_frequency: float = 1.0,
    direction: float = 0.0,
    contrast: float = 1.0,
    mean: float = 0.5,
    waveform: str = "sine",
    reversal: str = "square",
    phase: float = 0.0,
) -> xr.DataArray:
    """Standing grating whose bright and dark bars change places, to find subunits.

    Parameters
    ----------
    duration, frame_rate, size, pixel_size, spatial_period, contrast, mean, waveform, phase
        As `drifting_grating`.
    temporal_frequency : float, Hz
        Whole cycles per second; each has two reversals.
    direction : float, deg
        Across the bars.
    reversal : {"square", "sine"}
        Whether the contrast changes at once or as a cosine.

    Returns
    -------
    xarray.DataArray (frame, y, x), float32
        Coordinate `contrast` (frame), negative where it is reversed; attribute `reversal_times`,
        s, the first frame of every new sign.

    Raises
    ------
    InputError
        As `drifting_grating`.

    Notes
    -----
    I(u, t) = mean [1 + contrast sin(2π u / spatial_period + phase) s(t)], s(t) the cosine
    cos(2π temporal_frequency t) or its sign. Cells that sum linearly over space have a phase at
    which they are silent; those with rectifying subunits answer at twice the frequency at every
    phase (Hochstein & Shapley 1976).
    """
    parameters = dict(locals())
    where = "stimuli.reversing_grating"
    screen = make_screen(
        where, duration=duration, frame_rate=frame_rate, size=size, pixel_size=pixel_size
    )
    one_of(waveform, WAVEFORMS, f"{where}: waveform")
    one_of(reversal, WAVEFORMS, f"{where}: reversal")
    middle, contrast = swing(where, mean, contrast)
    cycles = _cycles(screen, spatial_period, direction)
    frequency = _frequency(screen, temporal_frequency)
    offset = number(phase, f"{where}: phase", "deg") / 360
    # In quarters of a cycle, so that the sign is exact where the cosine is 0.
    quarters = np.round(4 * frequency * screen.frame_time, 9)
    sign = np.where((quarters % 4 < 1) | (quarters % 4 >= 3), 1.0, -1.0)
    factor = sign if reversal == "square" else np.cos(np.pi / 2 * quarters)
    return label_movie(
        screen,
        _Grating(middle, contrast, cycles, np.full(screen.n_frames, offset), factor, waveform),
        parameters=parameters,
        background=middle,
        along_frames={"contrast": (contrast * factor, "1")},
        reversal_times=screen.times(np.flatnonzero(np.diff(sign)) + 1),
    )


class _Grating(Rendered):
    def __init__(self, mean: float, contrast: float, cycles, moving, factor, waveform: str):
        self._mean, self._contrast, self._waveform = mean, contrast, waveform
        self._cycles, self._moving, self._factor = cycles, moving, factor
        self.shape = (len(moving), *cycles.shape)
        self.dtype = np.dtype(np.float32)

    def render(self, start: int, stop: int) -> np.ndarray:
        frames = slice(start, stop)
        cycles = self._cycles + self._moving[frames, None, None]
        if self._waveform == "square":
            # By the cycle, not by the sine: that of a whole cycle is not quite 0.
            wave = np.where(np.round(cycles, 9) % 1 < 0.5, 1.0, -1.0)
        else:
            wave = np.sin(2 * np.pi * cycles)
        return self._mean * (1 + self._contrast * wave * self._factor[frames, None, None])


def _cycles(screen: Screen, spatial_period, direction) -> np.ndarray:
    """Cycles from the middle of the screen, (y, x)."""
    period = positive(spatial_period, f"{screen.where}: spatial_period", "µm per cycle")
    towards = number(direction, f"{screen.where}: direction", "deg")
    shortest = 2 * screen.pixel_size * max(map(abs, heading(towards)))
    if period < shortest * (1 - 1e-12):
        raise screen.wrong(
            "spatial_period",
            f"{period:g} µm is less than two pixels of {screen.pixel_size:g} µm along an axis: "
            "another grating would be seen",
            f"Give at least {shortest:.4g} µm, or smaller pixels.",
        )
    return screen.along(towards) / period


def _frequency(screen: Screen, temporal_frequency) -> float:
    name = "temporal_frequency"
    frequency = number(temporal_frequency, f"{screen.where}: {name}", "Hz, from 0")
    if frequency < 0:
        raise screen.wrong(name, f"is {frequency:g}", "Turn direction by 180 deg instead.")
    if frequency > screen.frame_rate / 2 * (1 + 1e-12):
        raise screen.wrong(
            name,
            f"{frequency:g} Hz is less than two frames per cycle at {screen.frame_rate:g} Hz",
            f"Give at most {screen.frame_rate / 2:g} Hz, or a higher frame_rate.",
        )
    return frequency
