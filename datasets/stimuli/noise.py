"""White noise, and noise whose contrast steps."""

from __future__ import annotations

import numpy as np
import xarray as xr

from neuromodels.datasets.arguments import one_of, positive, whole
from neuromodels.datasets.generated import DISTRIBUTIONS, generated_movie
from neuromodels.datasets.stimuli.screen import (
    Rendered,
    Screen,
    grey_levels,
    label_movie,
    make_screen,
    seed_of,
    swing,
)

#: Contrast unless one is given; 0.35 is the high one of Baccus & Meister (2002).
USUAL_CONTRAST = {"binary": 1.0, "gaussian": 0.35}
#: Gaussian noise must have room for so many standard deviations; the rest is cut at 0 and 1.
ROOM_SD = 2.0


def white_noise(
    *,
    duration: float = 60.0,
    frame_rate: float = 60.0,
    size: tuple[int, int] = (20, 20),
    pixel_size: float = 50.0,
    kind: str = "binary",
    contrast: float | None = None,
    mean: float = 0.5,
    hold: int = 1,
    seed: int = 0,
) -> xr.DataArray:
    """Flickering checkerboard: every check changes at random, independent of all others.

    Parameters
    ----------
    duration : float, s
    frame_rate : float, Hz
    size : (y, x), pixels
        (1, 1) flickers the full field, (1, x) bars.
    pixel_size : float, µm
    kind : {"binary", "gaussian"}
    contrast : float, optional
        Binary: intensities are mean (1 ± contrast) (default 1). Gaussian: standard deviation as
        a share of the mean (default 0.35); values beyond the display's range are cut.
    mean : float
        Mean intensity; 1 is the display's largest.
    hold : int
        Frames for which a pattern stays.
    seed : int

    Returns
    -------
    xarray.DataArray (frame, y, x)
        uint8 if intensities are 0 and 1, else float32. The attribute `clipped_share` says how
        much of the Gaussian lies beyond 0 to 1.

    Raises
    ------
    InputError
        If the contrast is negative or leaves the display's range (Gaussian: within 2 standard
        deviations), or if another argument makes no movie.

    Notes
    -----
    The stream is that of `generated.generated_movie`, which says how a display program makes it
    in a line. Any stretch is made without the frames before it.

    Examples
    --------
    >>> movie = white_noise(duration=1, frame_rate=100, size=(2, 2), seed=3)
    >>> sorted(set(movie.values.ravel().tolist()))
    [0, 1]
    """
    parameters = dict(locals())
    where = "stimuli.white_noise"
    one_of(kind, DISTRIBUTIONS, f"{where}: kind")
    contrast = USUAL_CONTRAST[kind] if contrast is None else contrast
    screen = make_screen(
        where, duration=duration, frame_rate=frame_rate, size=size, pixel_size=pixel_size
    )
    middle, contrast = swing(where, mean, contrast, 1.0 if kind == "binary" else ROOM_SD)
    noise = _unit_noise(screen, kind, whole(hold, 1, f"{where}: hold", "frames"), seed)
    return label_movie(
        screen,
        _Modulated(noise, middle, np.array([contrast]), kind),
        parameters=parameters | {"contrast": contrast},
        background=middle,
        seed=seed_of(seed, where),
        **({} if kind == "binary" else {"clipped_share": _clipped_share(middle, contrast)}),
    )


def contrast_steps(
    *,
    duration: float = 60.0,
    frame_rate: float = 60.0,
    size: tuple[int, int] = (1, 1),
    pixel_size: float = 50.0,
    low: float = 0.05,
    high: float = 0.35,
    period: float = 20.0,
    kind: str = "gaussian",
    mean: float = 0.5,
    hold: int = 1,
    seed: int = 0,
) -> xr.DataArray:
    """Flicker that alternates between low and high contrast about one mean, to see adaptation.

    Parameters
    ----------
    duration, frame_rate, size, pixel_size, kind, mean, hold, seed
        As `white_noise`; one pixel is a full field.
    low, high : float
        Contrasts; the movie begins with the low one.
    period : float, s
        Of one low and one high epoch, equally long (to the nearest frame).

    Returns
    -------
    xarray.DataArray (frame, y, x)
        Coordinate `contrast` (frame); attribute `step_times`, s, every change of contrast.

    Raises
    ------
    InputError
        If `low` is not below `high`, or if the movie would leave the display's range.

    Notes
    -----
    The protocol of Smirnakis et al. (1997) and Baccus & Meister (2002): mean and time course of
    the flicker stay, its standard deviation steps.
    """
    parameters = dict(locals())
    where = "stimuli.contrast_steps"
    one_of(kind, DISTRIBUTIONS, f"{where}: kind")
    screen = make_screen(
        where, duration=duration, frame_rate=frame_rate, size=size, pixel_size=pixel_size
    )
    reach = 1.0 if kind == "binary" else ROOM_SD
    middle, high = swing(where, mean, high, reach)
    _, low = swing(where, mean, low, reach)
    if low >= high:
        raise screen.wrong("low", f"{low:g} is not below high, {high:g}", "Exchange them.")
    period = positive(period, f"{where}: period", "seconds")
    half = screen.frames_of(period / 2, "period")
    frames = np.arange(screen.n_frames)
    contrast = np.where(frames // half % 2, high, low)
    noise = _unit_noise(screen, kind, whole(hold, 1, f"{where}: hold", "frames"), seed)
    return label_movie(
        screen,
        _Modulated(noise, middle, contrast, kind),
        parameters=parameters,
        background=middle,
        seed=seed_of(seed, where),
        along_frames={"contrast": (contrast, "1")},
        step_times=screen.times(np.arange(half, screen.n_frames, half)),
    )


def _unit_noise(screen: Screen, kind: str, hold: int, seed: int) -> xr.Variable:
    """Noise of mean 0 and variance 1 (binary: levels 0 and 1, to stay in a byte)."""
    recipe = {
        "generator": "white-noise",
        "seed": seed,
        "shape": list(screen.size),
        "n_frames": screen.n_frames,
        "distribution": kind,
        "hold": hold,
    }
    return generated_movie(recipe, screen.where)


class _Modulated(Rendered):
    """Noise scaled about a mean, the contrast one for all frames or one per frame."""

    def __init__(self, noise: xr.Variable, mean: float, contrast: np.ndarray, kind: str):
        self._noise, self._mean, self._kind = noise, mean, kind
        self._contrast = np.broadcast_to(contrast, len(noise))
        self.shape = noise.shape
        ends = (mean * (1 - contrast[:1]), mean * (1 + contrast[:1]))
        whole_bytes = kind == "binary" and contrast.size == 1
        self.dtype = grey_levels(ends).dtype if whole_bytes else np.dtype(np.float32)

    def render(self, start: int, stop: int) -> np.ndarray:
        noise = np.asarray(self._noise[start:stop].values, dtype=np.float64)
        if self._kind == "binary":
            noise = 2 * noise - 1
        swing_ = self._mean * self._contrast[start:stop, None, None]
        return np.clip(self._mean + swing_ * noise, 0, 1)


def _clipped_share(mean: float, contrast: float) -> float:
    """Probability that a Gaussian value lies beyond 0 to 1."""
    from scipy.special import ndtr

    if contrast == 0:
        return 0.0
    sd = mean * contrast
    return float(ndtr(-mean / sd) + ndtr(-(1 - mean) / sd))
