"""Bars that sweep over the screen, and a bar in random motion."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from neuromodels.datasets.arguments import not_negative, number, one_of, positive
from neuromodels.datasets.stimuli.screen import (
    Rendered,
    Screen,
    label_movie,
    make_screen,
    seed_of,
    signed_swing,
)
from neuromodels.datasets.stimuli.walks import reflected_walk

MOTIONS = ("sweep", "random-walk")
EIGHT = tuple(45.0 * i for i in range(8))


def moving_bars(
    *,
    duration: float = 60.0,
    frame_rate: float = 60.0,
    size: tuple[int, int] = (20, 20),
    pixel_size: float = 50.0,
    speed: float = 1000.0,
    width: float = 200.0,
    direction: float | list[float] | None = None,
    motion: str = "sweep",
    pause: float = 0.5,
    contrast: float = 1.0,
    mean: float = 0.5,
    polarity: str = "bright",
    seed: int = 0,
) -> xr.DataArray:
    """Bars that sweep over the screen in one direction after another, or one that wanders.

    Parameters
    ----------
    duration, frame_rate, size, pixel_size
        As `white_noise`.
    speed : float
        "sweep": µm/s. "random-walk": standard deviation of the way of a free bar in one
        second, µm.
    width : float, µm
        Along the direction of motion; across it, a bar is as long as the screen.
    direction : float or list of float, deg, optional
        0 moves towards larger x, 90 towards larger y. A list is gone through in turn; left out,
        every sweep takes one of eight directions at random. "random-walk": one direction
        (default 0).
    motion : {"sweep", "random-walk"}
    pause : float, s
        Between sweeps.
    contrast, mean : float
        A bar has the intensity mean (1 + contrast), a dark one mean (1 − contrast).
    polarity : {"bright", "dark"}
    seed : int
        Of directions and of the random walk.

    Returns
    -------
    xarray.DataArray (frame, y, x), float32
        Coordinates (frame): `bar_position`, µm, of the bar's centre from the middle of the screen
        along the direction, NaN without a bar; `bar_direction`, deg. Attribute `sweep_times`, s.

    Raises
    ------
    InputError
        If the bar is wider than the screen, or so fast that it is never seen on it.

    Notes
    -----
    A sweep's bar enters from outside: its position is −(extent + width)/2 + speed · t, t since
    the sweep began. A pixel that a bar covers in part has a share of the contrast. The random
    walk is that of a diffusing bar, reflected where it would leave the screen (as the stimulus
    of the bundled recording wanders, which has inertia besides).
    """
    parameters = dict(locals())
    where = "stimuli.moving_bars"
    screen = make_screen(
        where, duration=duration, frame_rate=frame_rate, size=size, pixel_size=pixel_size
    )
    one_of(motion, MOTIONS, f"{where}: motion")
    middle, signed = signed_swing(where, mean, contrast, polarity)
    fast = positive(speed, f"{where}: speed", "µm/s")
    wide = positive(width, f"{where}: width", "µm")
    rng = np.random.default_rng(seed_of(seed, where))
    choices = _directions(screen, direction, motion)
    for towards in choices:
        extent = screen.extent_along(towards)
        if wide > extent * (1 + 1e-12):
            raise screen.wrong(
                "width",
                f"{wide:g} µm is wider than the screen, {extent:g} µm in direction {towards:g} deg",
                "Make the bar narrower, or the screen larger.",
            )
    gap = screen.frames_of(not_negative(pause, f"{where}: pause", "s, from 0"), "pause", 0)
    if motion == "sweep":
        at_random = rng if direction is None else None
        position, which, starts = _sweeps(screen, choices, fast, wide, gap, at_random)
    else:
        steps = rng.normal(0, fast / math.sqrt(screen.frame_rate), screen.n_frames - 1)
        position = reflected_walk(steps, 0.0, (screen.extent_along(choices[0]) - wide) / 2)
        which, starts = np.zeros(screen.n_frames, dtype=np.intp), [0]
    random = motion == "random-walk" or direction is None
    return label_movie(
        screen,
        _Bars(screen, choices, which, position, wide, middle, signed),
        parameters=parameters,
        background=middle,
        seed=seed if random else None,
        along_frames={
            "bar_position": (position, "µm"),
            "bar_direction": (np.asarray(choices)[which], "deg"),
        },
        sweep_times=screen.times(starts),
    )


def _directions(screen: Screen, direction, motion: str) -> tuple[float, ...]:
    if direction is None:
        return EIGHT if motion == "sweep" else (0.0,)
    given = direction if isinstance(direction, (list, tuple, np.ndarray)) else [direction]
    if len(given) < 1 or (motion == "random-walk" and len(given) > 1):
        raise screen.wrong(
            "direction",
            f"has {len(given)} directions",
            "Give one, or with motion='sweep' several.",
        )
    return tuple(number(value, f"{screen.where}: direction", "deg") for value in given)


def _sweeps(screen: Screen, choices, speed: float, width: float, gap: int, rng):
    """Position (µm) and number of the direction in every frame, and the first frames."""
    position = np.full(screen.n_frames, np.nan)
    which = np.zeros(screen.n_frames, dtype=np.intp)
    starts, frame = [], 0
    while frame < screen.n_frames:
        chosen = len(starts) % len(choices) if rng is None else int(rng.integers(len(choices)))
        way = screen.extent_along(choices[chosen]) + width
        # A bar may be so slow that the movie ends long before it has crossed.
        n = math.ceil(min(way / speed * screen.frame_rate - 1e-9, screen.n_frames + 3))
        if n < 3:
            raise screen.wrong(
                "speed",
                f"{speed:g} µm/s crosses the screen within {n} frames at {screen.frame_rate:g} Hz",
                "Make the bar slower, or frame_rate higher.",
            )
        there = np.arange(frame, min(frame + n, screen.n_frames))
        position[there] = -way / 2 + speed * (there - frame) / screen.frame_rate
        which[frame : frame + n + gap] = chosen
        starts.append(frame)
        frame += n + gap
    return position, which, starts


class _Bars(Rendered):
    def __init__(self, screen: Screen, choices, which, position, width, mean, contrast):
        self.shape, self.dtype = screen.shape, np.dtype(np.float32)
        self._along = np.stack([screen.along(towards) for towards in choices])
        self._which, self._position = which, position
        self._width, self._pixel = width, screen.pixel_size
        self._mean, self._contrast = mean, contrast

    def render(self, start: int, stop: int) -> np.ndarray:
        # Overlap of two stretches, exact along an axis; far away where there is no bar.
        centre = np.nan_to_num(self._position[start:stop], nan=np.inf)[:, None, None]
        away = np.abs(self._along[self._which[start:stop]] - centre)
        most = min(self._width, self._pixel)
        covered = np.clip((self._width + self._pixel) / 2 - away, 0, most) / self._pixel
        return self._mean * (1 + self._contrast * covered)
