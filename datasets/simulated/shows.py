"""What is shown to a simulated retina: a training movie and a repeated test, on one screen."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from neuromodels.datasets.arguments import positive
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import frame_slabs
from neuromodels.datasets.labelled import labelled_movie
from neuromodels.datasets.overlap import find_overlap, fingerprint, shown_pictures
from neuromodels.datasets.simulated.anatomy import Screen

USUAL_MINUTES = 20.0
USUAL_PIXEL_UM = 50.0  # where a movie does not say it
MICROMETRES = ("µm", "μm", "um", "micrometer", "micrometre", "micron")
SAMPLED_FRAMES = 1000  # for the mean intensity
SEES = 0.9  # of the first stimulus' extent that every other one must cover


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames (frame, y, x) that may be lazy, and the onset of each, s, the first at 0."""

    frames: xr.Variable
    onsets: np.ndarray

    @cached_property
    def ends(self) -> np.ndarray:
        """When each frame goes, s."""
        return np.append(self.onsets[1:], self.onsets[-1] + np.median(np.diff(self.onsets)))


@dataclass(frozen=True, eq=False)
class Show:
    """One stimulus of a session.

    Attributes
    ----------
    train : Clip or None
        Shown once; None for a stimulus that is the same every time.
    test : Clip
        Shown again and again.
    screen : Screen
    adapted : float
        Intensity that photoreceptors are adapted to: the background, or the mean of a movie
        on a dark background.
    attrs : dict
        Generator, seed, background, ... of the stimulus.
    """

    name: str
    train: Clip | None
    test: Clip
    screen: Screen
    adapted: float
    attrs: dict


def make_shows(
    stimulus,
    minutes: float | None,
    test_seconds: float,
    stimulus_parameters: Mapping | None,
    seeds: np.random.SeedSequence,
) -> list[Show]:
    """Every stimulus that `simulate_retina` was asked for.

    Raises
    ------
    InputError
        If one of them is no movie or no generator's name, is too short, holds NaN, or does not
        cover the screen of the first one.
    """
    positive(test_seconds, "simulate_retina: test_seconds", "seconds, for example 10")
    if minutes is not None:
        positive(minutes, "simulate_retina: minutes", "minutes, for example 20")
    named = stimulus if isinstance(stimulus, Mapping) else {None: stimulus}
    if not named:
        raise _wrong("stimulus", "is empty", "Give a generator's name, a movie, or {name: ...}.")
    own = _by_stimulus(stimulus_parameters or {}, named)
    shows = []
    for (name, asked), seed in zip(named.items(), seeds.spawn(len(named)), strict=True):
        if isinstance(asked, str):
            show = _generated(name, asked, minutes, test_seconds, own[name], seed)
        else:
            show = _given(name, asked, minutes, test_seconds)
        shows.append(show)
    if stimulus_parameters and not any(isinstance(asked, str) for asked in named.values()):
        raise _wrong(
            "stimulus_parameters", "are for generators", "Leave them out: a movie was given."
        )
    if shows[0].train is None:
        raise _wrong(
            "stimulus",
            f"{shows[0].name} is the same every time, so nothing could be learned from it",
            'Put one that varies first: {"noise": "white-noise", ...}.',
        )
    _same_place(shows)
    for show in shows:
        _test_is_new(show)
    return shows


def _by_stimulus(parameters: Mapping, named: Mapping) -> dict:
    """Parameters of every generator: shared ones, and in {stimulus: parameters} its own."""
    if not isinstance(parameters, Mapping) or not all(isinstance(key, str) for key in parameters):
        raise _wrong("stimulus_parameters", f"is {parameters!r}"[:80], "Give {name: value}.")
    own = {key: value for key, value in parameters.items() if isinstance(value, Mapping)}
    shared = {key: value for key, value in parameters.items() if key not in own}
    for name in own:
        if name not in named:
            raise _wrong(
                "stimulus_parameters",
                f"names {name!r}, which is not shown",
                f"Shown are: {', '.join(map(str, named))}.",
            )
    return {name: {**shared, **own.get(name, {})} for name in named}


def _generated(name, generator, minutes, test_seconds, parameters, seed) -> Show:
    from neuromodels.datasets import stimuli

    name = name or re.sub(r"\W+", "_", generator)
    if "duration" in parameters:
        raise _wrong(
            "stimulus_parameters",
            "set duration, which follows from minutes and test_seconds",
            "Give those in its place.",
        )
    seconds = 60 * (USUAL_MINUTES if minutes is None else minutes)
    first, second = (int(state) for state in seed.generate_state(2))
    if "seed" not in inspect.signature(stimuli.find_generator(generator)).parameters:
        test = stimuli.generate(generator, **{**parameters, "duration": test_seconds})
        return _show(name, None, test)
    train = stimuli.generate(generator, **{"duration": seconds, "seed": first, **parameters})
    test = stimuli.generate(generator, **{**parameters, "duration": test_seconds, "seed": second})
    return _show(name, train, test)


def _given(name, movie, minutes, test_seconds) -> Show:
    name = name or "stimulus"
    if isinstance(movie, (tuple, list)) and len(movie) == 2:
        train, test = movie
        _is_movie(test)
        if train is None:
            return _show(name, None, test)
        _is_movie(train)
        return _show(name, _at_most(train, minutes), test)
    _is_movie(movie)
    ends = Clip(movie.variable, _onsets(movie)).ends
    first = int(np.searchsorted(ends, ends[-1] - test_seconds + 1e-6, side="right"))
    if first < 2:
        raise _wrong(
            "stimulus",
            f"lasts {ends[-1]:.4g} s, and its last {test_seconds:g} s are the repeated test",
            "Give a longer movie, a smaller test_seconds, or (training movie, test movie).",
        )
    train, test = movie.isel(frame=slice(0, first)), movie.isel(frame=slice(first, None))
    return _show(name, _at_most(train, minutes), test)


def _show(name: str, train, test) -> Show:
    movie = test if train is None else train
    screen = _screen(movie)
    if train is not None and train.shape[1:] != test.shape[1:]:
        raise _wrong(
            "stimulus",
            f"the training movie has frames of {train.shape[1:]}, the test of {test.shape[1:]}",
            "Show both on one screen.",
        )
    background = movie.attrs.get("background", 0.0)
    if not isinstance(background, (int, float, np.number)) or not 0 <= background < np.inf:
        raise _wrong("stimulus: background", f"is {background!r}"[:80], "Give an intensity from 0.")
    adapted = background if background > 0 else _mean_intensity(movie)
    if not adapted > 0 or not np.isfinite(adapted):
        raise _wrong(
            "stimulus", f"has a mean intensity of {adapted:g}", "Give intensities of 0 and more."
        )
    about = {
        key: value
        for key, value in movie.attrs.items()
        if key in ("generator", "seed", "frame_rate", "parameters", "background")
    }
    about.setdefault("background", adapted)
    return Show(name, None if train is None else _clip(train), _clip(test), screen, adapted, about)


def _is_movie(movie) -> None:
    if not isinstance(movie, xr.DataArray):
        raise _wrong(
            "stimulus",
            f"is a {type(movie).__name__}",
            "Give a generator's name, a labelled movie (DataArray), (training, test) or a dict.",
        )
    if movie.dims != ("frame", "y", "x") or not all(movie.shape) or movie.dtype.kind not in "iufb":
        raise _wrong(
            "stimulus",
            f"has dimensions {movie.dims}, shape {movie.shape} and type {movie.dtype}",
            "Give (frame, y, x) of numbers; of several channels choose one.",
        )


def _clip(movie: xr.DataArray) -> Clip:
    variable = movie.variable
    if variable.dtype.kind in "ib" or variable.dtype == np.float64:
        small = variable.dtype != np.float64 and variable.min() >= 0 and variable.max() <= 255
        variable = variable.astype(np.uint8 if small else np.float32)
    return Clip(variable, _onsets(movie))


def _onsets(movie: xr.DataArray) -> np.ndarray:
    """Onset of every frame, s, the first at 0."""
    onsets = labelled_movie(movie[:, :1, :1], "simulate_retina: stimulus").onsets
    if onsets is None:
        rate = movie.attrs.get("frame_rate")
        if not isinstance(rate, (int, float, np.number)) or not rate > 0:
            raise _wrong(
                "stimulus",
                "does not say when its frames are shown",
                "Give it a coordinate frame_time (s) or an attribute frame_rate (Hz).",
            )
        onsets = np.arange(movie.sizes["frame"]) / float(rate)
    if onsets.size < 2 or (np.diff(onsets) <= 0).any():
        raise _wrong(
            "stimulus: frame_time", "does not ascend", "Give at least two frames, in order."
        )
    return onsets - onsets[0]


def _at_most(movie: xr.DataArray, minutes: float | None) -> xr.DataArray:
    """The first minutes of a movie; an error if it is shorter."""
    if minutes is None:
        return movie
    ends = Clip(movie.variable, _onsets(movie)).ends
    if ends[-1] < 60 * minutes - 1e-6:
        raise _wrong(
            "minutes",
            f"is {minutes:g}, but the training movie lasts {ends[-1] / 60:.4g} min",
            "Leave minutes out to use all of it.",
        )
    return movie.isel(frame=slice(0, int(np.sum(ends <= 60 * minutes + 1e-6))))


def _screen(movie: xr.DataArray) -> Screen:
    axes, sizes = {}, []
    for dim in ("y", "x"):
        known = dim in movie.coords and movie[dim].attrs.get("units") in MICROMETRES
        axes[dim] = _positions(movie[dim]) if known else None
        if known and movie.sizes[dim] > 1:
            sizes.append(float(np.median(np.abs(np.diff(axes[dim])))))
    pixel = sizes[0] if sizes else USUAL_PIXEL_UM
    for dim, values in axes.items():
        if values is None:
            n = movie.sizes[dim]
            axes[dim] = (np.arange(n) - (n - 1) / 2) * pixel
    return Screen(axes["y"], axes["x"], pixel)


def _positions(axis: xr.DataArray) -> np.ndarray:
    """Centres of the pixels, in order and apart."""
    values = axis.values.astype(float) if axis.dtype.kind in "iuf" else np.array([np.nan])
    steps = np.diff(values)
    if not np.isfinite(values).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise _wrong(
            f"stimulus: {axis.name}",
            "holds no positions that ascend or descend",
            "Give the centre of every pixel, µm.",
        )
    return values


def _mean_intensity(movie: xr.DataArray) -> float:
    step = max(1, movie.sizes["frame"] // SAMPLED_FRAMES)
    return float(movie.isel(frame=slice(None, None, step)).mean())


def _same_place(shows: list[Show]) -> None:
    """Every stimulus must be seen by all cells; one pixel along an axis is the whole axis."""
    first = shows[0]
    for show in shows[1:]:
        for axis in ("y", "x"):
            own, base = getattr(show.screen, axis), getattr(first.screen, axis)
            need = base.size * first.screen.pixel_um
            if own.size > 1 and own.size * show.screen.pixel_um < SEES * need:
                raise _wrong(
                    f"stimulus {show.name}",
                    f"covers {own.size * show.screen.pixel_um:g} µm along {axis}, {first.name} "
                    f"{need:g} µm",
                    "Show all stimuli on one screen: the same size times pixel_size.",
                )


def _test_is_new(show: Show) -> None:
    """A stimulus that repeats itself has nothing in its test that training does not show."""
    clips = [clip for clip in (show.test, show.train) if clip is not None]
    prints = [_fingerprints(clip, f"stimulus {show.name}") for clip in clips]
    if show.train is None:
        return
    overlap = find_overlap(
        *(
            shown_pictures(found, np.arange(found.size), float(np.median(np.diff(clip.onsets))))
            for found, clip in zip(prints, clips, strict=True)
        )
    )
    # Flashes have two pictures, too few for `find_overlap`.
    if overlap is not None or _is_part_of(*prints):
        covered, of = (prints[0].size,) * 2 if overlap is None else (overlap.covered, overlap.of)
        raise _wrong(
            f"stimulus {show.name}",
            f"repeats itself: {covered} of the {of} pictures of the test are also part of the "
            "training movie",
            'Make it vary (moving bars: motion="random-walk"), or give (None, movie): a test only.',
        )


def _fingerprints(clip: Clip, where: str) -> np.ndarray:
    """Of every frame; an error if one of them is not all numbers."""
    prints = []
    for slab in frame_slabs(clip.frames):
        if slab.dtype.kind == "f" and not np.isfinite(slab).all():
            raise _wrong(where, "holds NaN or infinite intensities", "Fill them, or cut them out.")
        prints += [fingerprint(frame) for frame in slab]
    return np.array(prints, dtype=np.uint64)


def _is_part_of(test: np.ndarray, train: np.ndarray) -> bool:
    """Whether all frames of the test come in the training movie, in the same order."""
    if np.unique(test).size < 2:  # one picture is no stimulus, which is for others to say
        return False
    starts = np.arange(train.size - test.size + 1)
    for later, picture in enumerate(test):
        starts = starts[train[starts + later] == picture]
        if not starts.size:
            break
    return starts.size > 0


def _wrong(name: str, what: str, remedy: str) -> InputError:
    return InputError(what, where=f"simulate_retina: {name}", remedy=remedy)
