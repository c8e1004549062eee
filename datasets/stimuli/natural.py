"""Natural images as an eye sees them: it drifts over one, then jumps to another."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import xarray as xr

from neuromodels.datasets.arguments import not_negative, positive, whole
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.picture_files import GreyPictures
from neuromodels.datasets.stimuli.screen import (
    Rendered,
    Screen,
    label_movie,
    make_screen,
    seed_of,
    swing,
)
from neuromodels.datasets.stimuli.walks import reflected_walk

KEPT_PICTURES = 16
#: Images must have room for so many standard deviations about their mean.
ROOM_SD = 2.0


def natural_movie(
    folder: str | Path,
    *,
    duration: float = 60.0,
    frame_rate: float = 60.0,
    size: tuple[int, int] = (20, 20),
    pixel_size: float = 50.0,
    jitter: float = 100.0,
    saccade_interval: float = 1.0,
    shortest_fixation: float = 0.15,
    mean: float = 0.5,
    contrast: float = 0.4,
    shrink: int = 1,
    seed: int = 0,
) -> xr.DataArray:
    """Natural images under the drift of fixation, with saccades to other images and places.

    Parameters
    ----------
    folder : str or Path
        Folder or zip archive of pictures (png, jpg, tif, ...) of any sizes; colours become grey.
    duration, frame_rate, size, pixel_size
        As `white_noise`.
    jitter : float, µm
        Standard deviation of the way in one second along each axis: a random walk, reflected at
        the edges of the image, shown to the nearest pixel.
    saccade_interval : float, s
        Mean time between saccades.
    shortest_fixation : float, s
        Eyes do not jump again sooner; beyond it the intervals are exponential.
    mean, contrast : float
        Of every image: its mean, and its standard deviation as a share of the mean. Values beyond
        the display's range are cut; mean and contrast are those after the cut.
    shrink : int
        Pixels of the image, along each axis, that one pixel of the screen averages.
    seed : int

    Returns
    -------
    xarray.DataArray (frame, y, x), float32
        Coordinates (frame): `image`, index into the sorted pictures; `gaze_y`, `gaze_x`, first row
        and column of the (shrunk) image on the screen. Attributes `saccade_times`, s, the first
        frame of every fixation but the first; `n_images`; `images_identity`, sha256 of the
        pictures.

    Raises
    ------
    InputError
        If the folder holds no pictures, one is smaller than the screen or of one grey, or cannot
        be read.

    Notes
    -----
    The stimulus of McIntosh et al. (2016) and Maheswaranathan et al. (2023) in kind: jittered
    natural images. Grey levels of the files are taken for intensities.
    """
    parameters = dict(locals())
    where = "stimuli.natural_movie"
    screen = make_screen(
        where, duration=duration, frame_rate=frame_rate, size=size, pixel_size=pixel_size
    )
    middle, contrast = swing(where, mean, contrast, ROOM_SD)
    way = not_negative(jitter, f"{where}: jitter", "µm, from 0") / screen.pixel_size
    interval = positive(saccade_interval, f"{where}: saccade_interval", "seconds")
    shortest = not_negative(shortest_fixation, f"{where}: shortest_fixation", "seconds, from 0")
    if shortest >= interval:
        raise screen.wrong(
            "shortest_fixation",
            f"{shortest:g} s is not shorter than the mean saccade_interval of {interval:g} s",
            "Give less, or a longer saccade_interval.",
        )
    factor = whole(shrink, 1, f"{where}: shrink", "pixels of an image per pixel of the screen")
    if not isinstance(folder, (str, os.PathLike)):
        raise screen.wrong("folder", f"is {folder!r}"[:80], "Give the path of a folder of images.")
    pictures = GreyPictures(folder)
    room = _room(screen, pictures, factor)
    rng = np.random.default_rng(seed_of(seed, where))
    starts = _fixations(screen, shortest, interval, rng)
    fixation = np.repeat(np.arange(starts.size), np.diff(starts, append=screen.n_frames))
    image = _images(starts.size, len(pictures.names), rng)
    gaze = _gaze(screen, starts, room[image], way / math.sqrt(screen.frame_rate), rng)
    return label_movie(
        screen,
        _Fixated(screen, pictures, factor, image[fixation], gaze, middle, contrast),
        parameters=parameters,
        background=middle,
        seed=seed,
        along_frames={
            "image": (image[fixation], "1"),
            "gaze_y": (gaze[:, 0], "pixel"),
            "gaze_x": (gaze[:, 1], "pixel"),
        },
        saccade_times=screen.times(starts[1:]),
        n_images=len(pictures.names),
        images_identity=pictures.identity,
    )


def _room(screen: Screen, pictures: GreyPictures, factor: int) -> np.ndarray:
    """Rows and columns by which the screen can move over each picture, (picture, 2)."""
    room = np.array(pictures.sizes) // factor - np.array(screen.size)
    small = np.flatnonzero((room < 0).any(axis=1))
    if small.size:
        height, width = pictures.sizes[small[0]]
        by = f", shrunk by {factor}," if factor > 1 else ""
        raise InputError(
            f"is {height} (y) x {width} (x) px{by} and smaller than the screen of "
            f"{screen.size[0]} x {screen.size[1]}",
            where=pictures.where(int(small[0])),
            remedy="Take out small pictures, or make size or shrink smaller.",
        )
    return room


def _fixations(
    screen: Screen, shortest: float, interval: float, rng: np.random.Generator
) -> np.ndarray:
    """First frame of every fixation."""
    starts = [0]
    while True:
        drawn = (shortest + rng.exponential(interval - shortest)) * screen.frame_rate
        frames = max(1, round(min(drawn, screen.n_frames)))
        if starts[-1] + frames >= screen.n_frames:
            return np.array(starts)
        starts.append(starts[-1] + frames)


def _images(n_fixations: int, n_images: int, rng: np.random.Generator) -> np.ndarray:
    """A picture per fixation, never the same twice in a row if there are several."""
    if n_images == 1:
        return np.zeros(n_fixations, dtype=np.int64)
    steps = rng.integers(1, n_images, n_fixations)
    steps[0] = rng.integers(n_images)
    return np.cumsum(steps) % n_images


def _gaze(screen: Screen, starts, room, step: float, rng: np.random.Generator) -> np.ndarray:
    """First row and column on the screen, (frame, 2), int; `room` (fixation, 2), `step` px."""
    gaze = np.empty((screen.n_frames, 2), dtype=np.int64)
    stops = [*starts[1:], screen.n_frames]
    for first, last, free in zip(starts, stops, room, strict=True):
        half = free / 2
        place = rng.uniform(-half, half)
        path = reflected_walk(rng.normal(0, step, (last - first - 1, 2)), place, half)
        gaze[first:last] = np.clip(np.rint(path + half), 0, free)
    return gaze


class _Fixated(Rendered):
    def __init__(self, screen: Screen, pictures, factor: int, image, gaze, mean, contrast):
        self.shape, self.dtype = screen.shape, np.dtype(np.float32)
        self._pictures, self._factor = pictures, factor
        self._image, self._gaze = image, gaze
        self._mean, self._contrast = mean, contrast
        self._kept: dict[int, np.ndarray] = {}

    def render(self, start: int, stop: int) -> np.ndarray:
        frames = np.empty((stop - start, *self.shape[1:]), dtype=np.float32)
        image = self._image[start:stop]
        edges = [0, *(np.flatnonzero(np.diff(image)) + 1).tolist(), image.size]
        for first, last in zip(edges[:-1], edges[1:], strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(
                self._prepared(int(image[first])), self.shape[1:]
            )
            rows, columns = self._gaze[start + first : start + last].T
            frames[first:last] = windows[rows, columns]
        return frames

    def _prepared(self, index: int) -> np.ndarray:
        if index not in self._kept:
            if len(self._kept) >= KEPT_PICTURES:
                del self._kept[next(iter(self._kept))]
            grey = _shrunk(self._pictures.read(index).astype(np.float64), self._factor)
            if np.ptp(grey) == 0:
                raise InputError(
                    "is of one grey: it has no contrast to scale",
                    where=self._pictures.where(index),
                    remedy="Take this picture out.",
                )
            self._kept[index] = _scaled(grey, self._mean, self._contrast).astype(np.float32)
        return self._kept[index]


def _shrunk(grey: np.ndarray, factor: int) -> np.ndarray:
    height, width = (n // factor for n in grey.shape)
    whole_blocks = grey[: height * factor, : width * factor]
    return whole_blocks.reshape(height, factor, width, factor).mean(axis=(1, 3))


def _scaled(grey: np.ndarray, mean: float, contrast: float) -> np.ndarray:
    """Grey levels with this mean and contrast after the cut at 0 and 1."""
    unit = (grey - grey.mean()) / grey.std()
    offset, gain, target = mean, mean * contrast, mean * contrast
    for _ in range(50):
        scaled = np.clip(offset + gain * unit, 0, 1)
        off, wide = mean - scaled.mean(), scaled.std()
        if abs(off) < 1e-4 and abs(wide - target) < 1e-4:
            break
        offset += off
        gain *= target / wide if target else 1.0
    return scaled
