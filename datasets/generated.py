"""White noise from its seed: any frame again, without the file and without the frames before it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from neuromodels.datasets.arguments import whole
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.lazy_movies import MovieReader, movie_variable

GENERATORS = ("white-noise",)
DISTRIBUTIONS = ("binary", "gaussian")
KEYS = (
    *("generator", "seed", "shape", "n_frames", "distribution", "levels", "mean", "sd"),
    *("units", "hold"),
)
EXAMPLE = '{generator = "white-noise", seed = 0, shape = [20, 20], n_frames = 36000}'
LARGEST_RECIPE = 2**20  # bytes


def generated_movie(recipe: Mapping, where: str) -> xr.Variable:
    """Frames of seeded white noise, made when they are asked for.

    Parameters
    ----------
    recipe : dict
        - ``generator``: "white-noise"
        - ``seed``: integer
        - ``shape``: [y, x] or [channel, y, x]; ``n_frames``: integer
        - ``distribution``: "binary" (default; ``levels = [0, 1]``) or "gaussian" (``mean = 0``,
          ``sd = 1``)
        - ``hold``: frames for which each pattern stays (default 1)
        - ``units``: of the values
    where : str
        For messages.

    Returns
    -------
    xarray.Variable (frame, [channel,] y, x)
        uint8 if it is binary with levels of one byte, else float32.

    Raises
    ------
    InputError
        If a key is missing, unknown or out of range.

    Notes
    -----
    The frames are one stream of numpy's PCG64 generator, so that the program that drives the
    display can make them in one line, with ``u = np.random.default_rng(seed).random((n_patterns,
    *shape))``: binary frames are ``levels[1]`` where ``u < 0.5`` and else ``levels[0]``, Gaussian
    ones ``mean + sd * scipy.special.ndtri(u)``. One draw per pixel makes the stream one that can
    be entered anywhere (`numpy.random.PCG64.advance`).
    """
    unknown = [str(key) for key in recipe if key not in KEYS]
    if unknown:
        raise _wrong(f"has an unknown key {unknown[0]!r}", where, f"Keys: {', '.join(KEYS)}.")
    if recipe.get("generator") not in GENERATORS:
        raise _wrong(
            f"generator is {recipe.get('generator')!r}", where, f"There is: {GENERATORS[0]!r}."
        )
    missing = [key for key in ("seed", "shape", "n_frames") if key not in recipe]
    if missing:
        raise _wrong(f"lacks {', '.join(missing)}", where, f"Write it like {EXAMPLE}.")
    reader = _WhiteNoise(recipe, where)
    about = {
        "units": str(recipe.get("units", "arbitrary")),
        "generator": "white-noise",
        "seed": int(recipe["seed"]),
        "distribution": reader.distribution,
    }
    return movie_variable(reader, about)


def read_recipe(path: Path, where: str) -> dict:
    """A generator's description from a .toml or .json file.

    Raises
    ------
    InputError
        If it cannot be parsed.
    """
    try:
        if path.stat().st_size > LARGEST_RECIPE:
            raise _wrong("is too large for a description", where, f"Write it like {EXAMPLE}.")
        text = path.read_text(encoding="utf-8-sig")
        recipe = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        said = (str(error).splitlines() or [""])[0][:100]
        raise _wrong(f"cannot be read ({said})", where, f"Write it like {EXAMPLE}.") from None
    if not isinstance(recipe, dict):
        raise _wrong("is no table of keys and values", where, f"Write it like {EXAMPLE}.")
    if set(recipe) == {"stimulus"} and isinstance(recipe["stimulus"], dict):
        return recipe["stimulus"]
    return recipe


class _WhiteNoise(MovieReader):
    def __init__(self, recipe: Mapping, where: str):
        self._seed = _integer(recipe["seed"], 0, f"{where}: seed")
        n_frames = _integer(recipe["n_frames"], 1, f"{where}: n_frames")
        self._hold = _integer(recipe.get("hold", 1), 1, f"{where}: hold")
        shape = recipe["shape"]
        sizes = list(shape) if isinstance(shape, (list, tuple)) else []
        if len(sizes) not in (2, 3):
            raise _wrong(f"shape is {shape!r}", where, "Give [y, x] or [channel, y, x].")
        self.shape = (n_frames, *(_integer(size, 1, f"{where}: shape") for size in sizes))
        self._pixels = int(np.prod(self.shape[1:], dtype=np.float64))
        if self._pixels > 10**9:
            raise _wrong(f"shape is {shape!r}, too large for a frame", where, "Give [y, x].")
        self.distribution = recipe.get("distribution", "binary")
        if self.distribution not in DISTRIBUTIONS:
            raise _wrong(
                f"distribution is {self.distribution!r}", where, "Use 'binary' or 'gaussian'."
            )
        spare = ("mean", "sd") if self.distribution == "binary" else ("levels",)
        for key in spare:
            if key in recipe:
                raise _wrong(
                    f"{key} means nothing with {self.distribution!r}", where, "Leave it out."
                )
        if self.distribution == "binary":
            self._levels = _two_levels(recipe.get("levels", [0, 1]), where)
            self.dtype = self._levels.dtype
        else:
            self._mean = _number(recipe.get("mean", 0.0), f"{where}: mean")
            self._sd = _number(recipe.get("sd", 1.0), f"{where}: sd")
            self.dtype = np.dtype(np.float32)

    def read(self, start: int, stop: int) -> np.ndarray:
        first, last = start // self._hold, (stop - 1) // self._hold
        stream = np.random.PCG64(self._seed)
        stream.advance(first * self._pixels)
        uniform = np.random.Generator(stream).random((last + 1 - first, *self.shape[1:]))
        if self.distribution == "binary":
            patterns = self._levels[(uniform < 0.5).astype(np.intp)]
        else:
            from scipy.special import ndtri

            # 0 is among the values of `random`, and minus infinity is no grey level.
            patterns = self._mean + self._sd * ndtri(np.maximum(uniform, 2.0**-54))
        return patterns[np.arange(start, stop) // self._hold - first]


def _two_levels(levels, where: str) -> np.ndarray:
    given = list(levels) if isinstance(levels, (list, tuple, np.ndarray)) else []
    if len(given) != 2:
        raise _wrong(f"levels is {levels!r}"[:80], where, "Give two values: [dark, bright].")
    values = np.array([_number(level, f"{where}: levels") for level in given])
    bytes_ = (values == np.rint(values)).all() and values.min() >= 0 and values.max() <= 255
    return values.astype(np.uint8 if bytes_ else np.float32)


def _integer(value, least: int, where: str) -> int:
    return whole(value, least, where, "a whole number")


def _number(value, where: str) -> float:
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if real and abs(value) < 1e30:
        return float(value)
    raise _wrong(f"is {value!r}"[:80], where, "Give a number.")


def _wrong(what: str, where: str, remedy: str) -> InputError:
    return InputError(what, where=where, remedy=remedy)
