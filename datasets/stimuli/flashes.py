"""Flashes: of the full field, of a spot, and the flash that is left out."""

from __future__ import annotations

import numpy as np
import xarray as xr

from neuromodels.datasets.arguments import not_negative, number, positive, whole
from neuromodels.datasets.stimuli.screen import (
    Screen,
    TwoLevels,
    label_movie,
    make_screen,
    signed_swing,
)


def flash(
    *,
    duration: float = 60.0,
    frame_rate: float = 60.0,
    size: tuple[int, int] = (20, 20),
    pixel_size: float = 50.0,
    flash_duration: float = 0.5,
    period: float = 2.0,
    delay: float = 0.5,
    contrast: float = 1.0,
    mean: float = 0.5,
    polarity: str = "bright",
    diameter: float | None = None,
    position: tuple[float, float] = (0.0, 0.0),
) -> xr.DataArray:
    """Flashes of the full field or of a spot, on grey, at regular intervals.

    Parameters
    ----------
    duration, frame_rate, size, pixel_size
        As `white_noise`. All times are taken to the nearest frame.
    flash_duration, period : float, s
        How long each lasts, and from one onset to the next.
    delay : float, s
        Onset of the first.
    contrast, mean : float
        A flash has the intensity mean (1 + contrast), a dark one mean (1 − contrast).
    polarity : {"bright", "dark"}
    diameter : float, µm, optional
        Of the spot: pixels whose centres lie in it. The full field if left out.
    position : (y, x), µm
        Centre of the spot, from the middle of the screen.

    Returns
    -------
    xarray.DataArray (frame, y, x)
        Attributes `flash_times` and `flash_duration`, s, as shown.

    Raises
    ------
    InputError
        If flashes overlap, if the spot is wider than the screen or covers no pixel.
    """
    parameters = dict(locals())
    where = "stimuli.flash"
    screen = make_screen(
        where, duration=duration, frame_rate=frame_rate, size=size, pixel_size=pixel_size
    )
    on = _seconds_in_frames(screen, flash_duration, "flash_duration")
    every = _seconds_in_frames(screen, period, "period")
    _apart(screen, on, every)
    first = screen.frames_of(not_negative(delay, f"{where}: delay", "s"), "delay", 0)
    if first >= screen.n_frames:
        raise screen.wrong("delay", f"{delay:g} s is the end of the movie", "Make it shorter.")
    starts = np.arange(first, screen.n_frames, every)
    spot = _spot(screen, diameter, position)
    middle, levels = _levels(where, mean, contrast, polarity)
    return label_movie(
        screen,
        _Flashes(screen.shape, levels, _lit(screen.n_frames, starts, on), spot),
        parameters=parameters,
        background=middle,
        flash_times=screen.times(starts),
        flash_duration=on / screen.frame_rate,
    )


def omitted_flash(
    *,
    n_flashes: int = 8,
    period: float = 0.08,
    flash_duration: float = 0.02,
    pause: float = 1.0,
    duration: float | None = None,
    frame_rate: float = 100.0,
    size: tuple[int, int] = (1, 1),
    pixel_size: float = 50.0,
    contrast: float = 1.0,
    mean: float = 0.5,
    polarity: str = "dark",
) -> xr.DataArray:
    """Regular flashes that stop: some ganglion cells answer the flash that does not come.

    Parameters
    ----------
    n_flashes : int
        Of each sequence.
    period, flash_duration : float, s
        From onset to onset, and of each flash. All times are taken to the nearest frame.
    pause : float, s
        Grey before the first flash of a sequence and after the last period of one.
    duration : float, s, optional
        As many whole sequences as it holds; one if left out.
    frame_rate, size, pixel_size
        As `white_noise`; one pixel is a full field.
    contrast, mean, polarity
        As `flash`.

    Returns
    -------
    xarray.DataArray (frame, y, x)
        Attributes `flash_times`, and `omitted_times`, s: when the next flash would have come, a
        value per sequence.

    Raises
    ------
    InputError
        If flashes overlap, or no sequence fits into `duration`.

    Notes
    -----
    The omitted stimulus response of Schwartz, Harris, Shrom & Berry (2007). The defaults are
    those of Maheswaranathan et al. (2023): 8 dark flashes of 2 frames every 8 frames, at 10 ms.
    """
    parameters = dict(locals())
    where = "stimuli.omitted_flash"
    given = {"frame_rate": frame_rate, "size": size, "pixel_size": pixel_size}
    number_ = whole(n_flashes, 1, f"{where}: n_flashes", "how many flashes")
    lengths = [
        positive(seconds, f"{where}: {name}", "seconds")
        for seconds, name in ((period, "period"), (pause, "pause"))
    ]
    one = number_ * lengths[0] + 2 * lengths[1]
    # Longer by what rounding to frames may add; cut to whole sequences below.
    screen = make_screen(where, duration=2 * one if duration is None else duration, **given)
    on = _seconds_in_frames(screen, flash_duration, "flash_duration")
    every = _seconds_in_frames(screen, period, "period")
    _apart(screen, on, every)
    rest = screen.frames_of(lengths[1], "pause")
    cycle = rest + number_ * every
    n_sequences = 1 if duration is None else (screen.n_frames - rest) // cycle
    if n_sequences < 1:
        raise screen.wrong(
            "duration",
            f"{duration:g} s is shorter than one sequence of {(cycle + rest) / frame_rate:g} s",
            "Make it longer, or take fewer flashes or a shorter pause.",
        )
    n_frames = n_sequences * cycle + rest
    screen = make_screen(where, duration=(n_frames + 0.5) / screen.frame_rate, **given)
    begins = rest + cycle * np.arange(n_sequences)
    starts = (begins[:, None] + every * np.arange(number_)).ravel()
    middle, levels = _levels(where, mean, contrast, polarity)
    return label_movie(
        screen,
        _Flashes(screen.shape, levels, _lit(n_frames, starts, on), np.ones(screen.size, bool)),
        parameters=parameters,
        background=middle,
        n_flashes=number_,
        flash_times=screen.times(starts),
        flash_duration=on / screen.frame_rate,
        omitted_times=screen.times(begins + number_ * every),
    )


class _Flashes(TwoLevels):
    def __init__(self, shape, levels, lit: np.ndarray, spot: np.ndarray):
        super().__init__(shape, levels)
        self._lit, self._spot = lit, spot

    def second(self, start: int, stop: int) -> np.ndarray:
        return self._lit[start:stop, None, None] & self._spot


def _levels(where: str, mean, contrast, polarity) -> tuple[float, tuple[float, float]]:
    """Mean, and the intensities outside and inside a flash."""
    middle, signed = signed_swing(where, mean, contrast, polarity)
    return middle, (middle, middle * (1 + signed))


def _seconds_in_frames(screen: Screen, seconds, name: str) -> int:
    return screen.frames_of(positive(seconds, f"{screen.where}: {name}", "seconds"), name)


def _apart(screen: Screen, on: int, every: int) -> None:
    if on >= every:
        raise screen.wrong(
            "period",
            f"{every / screen.frame_rate:.4g} s leaves no time between flashes of "
            f"{on / screen.frame_rate:.4g} s",
            "Make period longer or flash_duration shorter.",
        )


def _lit(n_frames: int, starts: np.ndarray, on: int) -> np.ndarray:
    """In which frames there is a flash; the last one may be cut by the end."""
    frames = (starts[:, None] + np.arange(on)).ravel()
    lit = np.zeros(n_frames, dtype=bool)
    lit[frames[frames < n_frames]] = True
    return lit


def _spot(screen: Screen, diameter, position) -> np.ndarray:
    centre = list(position) if isinstance(position, (list, tuple, np.ndarray)) else []
    if len(centre) != 2:
        raise screen.wrong("position", f"is {position!r}"[:80], "Give (y, x) in µm.")
    y, x = (number(value, f"{screen.where}: position", "(y, x) in µm") for value in centre)
    if diameter is None:
        return np.ones(screen.size, dtype=bool)
    across = positive(diameter, f"{screen.where}: diameter", "µm")
    if across > max(screen.extent):
        raise screen.wrong(
            "diameter",
            f"{across:g} µm is wider than the screen of {max(screen.extent):g} µm",
            "Make it smaller, or leave it out for the full field.",
        )
    spot = np.hypot(screen.y[:, None] - y, screen.x - x) <= across / 2
    if not spot.any():
        raise screen.wrong(
            "diameter",
            f"a spot of {across:g} µm at ({y:g}, {x:g}) µm covers the centre of no pixel",
            f"Make it larger than a pixel ({screen.pixel_size:g} µm) and place it on the screen, "
            f"{screen.extent[0]:g} (y) x {screen.extent[1]:g} (x) µm.",
        )
    return spot
