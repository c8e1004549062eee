"""What all generators share: the screen in µm and frames in s, and the labels of a movie."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neuromodels.datasets.arguments import not_negative, number, one_of, positive, whole
from neuromodels.datasets.binning import bin_edges, exact_bin_width, whole_bins
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.lazy_movies import MovieReader, movie_variable

MOST_PIXELS = 2**24  # of one frame
MOST_FRAMES = 10**8  # whose times take 2 GB
FASTEST = 1e5  # frames per second
PIXEL_UM = (1e-3, 1e6)
#: How things can differ from the mean.
POLARITIES = ("bright", "dark")
AT_ONCE = 2**21  # pixels that are computed together


@dataclass(frozen=True)
class Screen:
    """Where the pixels are and when the frames come.

    Attributes
    ----------
    where : str
        Generator, for messages.
    n_frames : int
    frame_rate : float, Hz
    size : (y, x) pixels
    pixel_size : float, µm
    """

    where: str
    n_frames: int
    frame_rate: float
    size: tuple[int, int]
    pixel_size: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the movie, (frame, y, x)."""
        return (self.n_frames, *self.size)

    @property
    def y(self) -> np.ndarray:
        """Centres of the rows, µm, 0 in the middle, ascending with the index."""
        return centred(self.size[0], self.pixel_size)

    @property
    def x(self) -> np.ndarray:
        """Centres of the columns, µm."""
        return centred(self.size[1], self.pixel_size)

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width, µm."""
        return self.size[0] * self.pixel_size, self.size[1] * self.pixel_size

    @property
    def frame_time(self) -> np.ndarray:
        """Onset of every frame, s; each is rounded only once."""
        return bin_edges(0.0, 1 / exact_bin_width(self.frame_rate), self.n_frames)[:-1]

    def times(self, frames) -> np.ndarray:
        """Onsets of some frames, s."""
        rate = exact_bin_width(self.frame_rate)
        return np.asarray(frames, dtype=np.int64) * rate.denominator / rate.numerator

    def along(self, direction: float) -> np.ndarray:
        """How far every pixel lies in a direction, µm, (y, x); 0 deg is +x, 90 deg is +y."""
        step_y, step_x = heading(direction)
        return step_y * self.y[:, None] + step_x * self.x

    def extent_along(self, direction: float) -> float:
        """Length of the screen's shadow on a line in this direction, µm."""
        height, width = self.extent
        step_y, step_x = heading(direction)
        return abs(step_y) * height + abs(step_x) * width

    def frames_of(self, seconds: float, name: str, least: int = 1) -> int:
        """A stretch of time as the nearest whole number of frames.

        Raises
        ------
        InputError
            If it is shorter than `least` frames, or longer than any movie.
        """
        if seconds * self.frame_rate > MOST_FRAMES:
            raise self.wrong(
                name, f"is {seconds:g} s, more than {MOST_FRAMES:,} frames", "Give seconds."
            )
        number = round(seconds * self.frame_rate)
        if number < least:
            raise self.wrong(
                name,
                f"{seconds:g} s is shorter than a frame of {1 / self.frame_rate:.4g} s",
                f"Give at least {1 / self.frame_rate:.4g} s, or a higher frame_rate.",
            )
        return number

    def wrong(self, name: str, what: str, remedy: str) -> InputError:
        return InputError(what, where=f"{self.where}: {name}", remedy=remedy)


def make_screen(where: str, *, duration, frame_rate, size, pixel_size) -> Screen:
    """Check the arguments that every generator takes.

    Parameters
    ----------
    where : str
        Generator, for messages.
    duration : float, s
        An incomplete last frame is left out.
    frame_rate : float, Hz
    size : (int, int)
        Pixels (y, x).
    pixel_size : float, µm

    Raises
    ------
    InputError
        If one of them makes no movie.
    """
    rate = positive(frame_rate, f"{where}: frame_rate", "frames per second, for example 60")
    if rate > FASTEST:
        raise InputError(
            f"is {rate:g} Hz", where=f"{where}: frame_rate", remedy="Give frames per second."
        )
    sides = list(size) if isinstance(size, (list, tuple, np.ndarray)) else []
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in sides)
    if len(sides) != 2 or not whole or min(sides) < 1 or math.prod(map(int, sides)) > MOST_PIXELS:
        raise InputError(
            f"is {size!r}",
            where=f"{where}: size",
            remedy="Give whole numbers of pixels, (y, x), for example (20, 20).",
        )
    pixel = positive(pixel_size, f"{where}: pixel_size", "the side of a pixel in µm")
    if not PIXEL_UM[0] <= pixel <= PIXEL_UM[1]:
        raise InputError(
            f"is {pixel:g} µm",
            where=f"{where}: pixel_size",
            remedy="Give the side of a pixel on the retina in µm, for example 50.",
        )
    seconds = positive(duration, f"{where}: duration", "the length of the movie in s")
    if seconds * rate > MOST_FRAMES:
        raise InputError(
            f"is {seconds:g} s, more than {MOST_FRAMES:,} frames",
            where=f"{where}: duration",
            remedy="Give seconds.",
        )
    n_frames = whole_bins(seconds, 1 / exact_bin_width(rate))
    if n_frames < 1:
        raise InputError(
            f"{seconds:g} s is shorter than one frame of {1 / rate:.4g} s",
            where=f"{where}: duration",
            remedy=f"Give at least {1 / rate:.4g} s.",
        )
    return Screen(where, n_frames, rate, (int(sides[0]), int(sides[1])), pixel)


def label_movie(
    screen: Screen,
    reader: MovieReader,
    *,
    parameters: Mapping,
    background: float,
    seed: int | None = None,
    along_frames: Mapping[str, tuple[np.ndarray, str]] | None = None,
    **facts,
) -> xr.DataArray:
    """Frames with their places, times and history.

    Parameters
    ----------
    reader : MovieReader
        (frame, y, x); read when the movie is.
    parameters : mapping
        All arguments of the generator.
    background : float
        Intensity between the frames.
    seed : int, optional
        Where something is random.
    along_frames : {name: (values (frame,), units)}, optional
        What changes from frame to frame: contrast, position of the bar, ...
    **facts
        Further attributes, for example times of events, s.

    Returns
    -------
    xarray.DataArray (frame, y, x)
        "stimulus".
    """
    about = {
        "units": "1",
        "long_name": "light intensity as a share of the display's largest",
        "generator": screen.where.removeprefix("stimuli.").replace("_", "-"),
        "frame_rate": screen.frame_rate,
        "background": float(background),
        "parameters": json.dumps(dict(parameters), default=_plain),
        **({} if seed is None else {"seed": seed}),
        **facts,
    }
    coords = {
        "frame": ("frame", np.arange(screen.n_frames), {"units": "1"}),
        "frame_time": (
            "frame",
            screen.frame_time,
            {"units": "s", "description": "onset of each frame"},
        ),
        "y": ("y", screen.y, {"units": "µm"}),
        "x": ("x", screen.x, {"units": "µm"}),
    }
    for name, (values, units) in (along_frames or {}).items():
        coords[name] = ("frame", values, {"units": units})
    return xr.DataArray(movie_variable(reader, about), coords, name="stimulus")


class Rendered(MovieReader):
    """Frames that are computed: `render(start, stop)`; long runs piece by piece, to save memory."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames `start` to `stop`, (frame, y, x)."""
        step = max(1, AT_ONCE // math.prod(self.shape[1:]))
        if stop - start <= step:
            return self.render(start, stop)
        frames = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        for first in range(start, stop, step):
            last = min(stop, first + step)
            frames[first - start : last - start] = self.render(first, last)
        return frames

    def render(self, start: int, stop: int) -> np.ndarray:
        raise NotImplementedError


class TwoLevels(Rendered):
    """Pixels that have one of two intensities; subclasses say where they have the second one."""

    def __init__(self, shape: tuple[int, ...], levels: tuple[float, float]):
        self.shape = shape
        self._levels = grey_levels(levels)
        self.dtype = self._levels.dtype

    def render(self, start: int, stop: int) -> np.ndarray:
        return self._levels[self.second(start, stop).astype(np.intp)]

    def second(self, start: int, stop: int) -> np.ndarray:
        raise NotImplementedError


def grey_levels(levels) -> np.ndarray:
    """Intensities in a byte each if they are 0 and 1, else as float32."""
    values = np.asarray(levels, dtype=np.float64)
    return values.astype(np.uint8 if np.isin(values, (0, 1)).all() else np.float32)


def centred(n: int, spacing: float) -> np.ndarray:
    """`n` positions about 0."""
    return (np.arange(n) - (n - 1) / 2) * spacing


def heading(direction: float) -> tuple[float, float]:
    """Unit vector (y, x) of a direction in deg; multiples of 90 are exact."""
    quarter, rest = divmod(direction % 360, 90)
    if rest == 0:
        return ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0))[int(quarter) % 4]
    return math.sin(math.radians(direction)), math.cos(math.radians(direction))


def seed_of(value, where: str) -> int:
    """A seed of numpy's generators."""
    return whole(value, 0, f"{where}: seed", "a whole number")


def swing(where: str, mean, contrast, reach: float = 1.0) -> tuple[float, float]:
    """Mean intensity and contrast of a movie that swings by `reach` contrasts about its mean.

    Raises
    ------
    InputError
        If the contrast is negative, or if the movie would leave the display's range, 0 to 1.
    """
    middle = number(mean, f"{where}: mean", "the mean intensity, between 0 and 1")
    if not 0 < middle < 1:
        raise InputError(
            f"is {mean!r}",
            where=f"{where}: mean",
            remedy="Give the mean intensity, between 0 (dark) and 1 (the display's largest).",
        )
    given = not_negative(contrast, f"{where}: contrast", "the contrast, from 0")
    most = min(1.0, (1 - middle) / middle) / reach
    if given > most * (1 + 1e-12):
        raise InputError(
            f"is {given:g}: about a mean of {middle:g} the intensity would leave 0 to 1"
            + (f" ({reach:g} sd)" if reach > 1 else ""),
            where=f"{where}: contrast",
            remedy=f"Give at most {most:.4g}, or change mean.",
        )
    return middle, given


def signed_swing(where: str, mean, contrast, polarity) -> tuple[float, float]:
    """Mean intensity, and the contrast of things on it, negative for dark ones.

    Raises
    ------
    InputError
        As `swing`, or if there is no such polarity.
    """
    one_of(polarity, POLARITIES, f"{where}: polarity")
    middle, given = swing(where, mean, contrast)
    return middle, given if polarity == "bright" else -given


def _plain(value):
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
