"""Movies to show: noise, bars, gratings, flashes and natural images, from a seed, in µm and s.

Every generator returns a labelled movie whose frames are made when they are asked for, so that an
hour of noise takes no memory. See docs/stimuli.md.

>>> from neuromodels.datasets import stimuli
>>> movie = stimuli.white_noise(duration=10, frame_rate=60, size=(8, 8), pixel_size=50, seed=1)
>>> movie.dims, movie.shape, movie.y.attrs["units"]
(('frame', 'y', 'x'), (600, 8, 8), 'µm')
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from neuromodels.datasets.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

#: Names as the command line spells them, and the module of each generator.
GENERATORS = {
    "white-noise": "noise",
    "m-sequence": "m_sequences",
    "contrast-steps": "noise",
    "flash": "flashes",
    "omitted-flash": "flashes",
    "moving-bars": "bars",
    "drifting-grating": "gratings",
    "reversing-grating": "gratings",
    "natural-movie": "natural",
}
_EXPORTS = {name.replace("-", "_"): module for name, module in GENERATORS.items()}
_EXPORTS |= {"load_movie": "files", "write_movie": "files"}

__all__ = sorted([*_EXPORTS, "generate", "listing"])


def generate(name: str, **parameters: Any) -> xr.DataArray:
    """The movie of a generator that is known by its name.

    Parameters
    ----------
    name : str
        One of `GENERATORS`, for example "white-noise"; `white_noise` is the same.
    **parameters
        Arguments of that function, for example ``duration=60``.

    Returns
    -------
    xarray.DataArray (frame, y, x)
        "stimulus".

    Raises
    ------
    InputError
        If there is no such generator, if it has no such parameter or lacks one, or if the movie
        is impossible.
    """
    function = find_generator(name)
    known = inspect.signature(function).parameters
    asked = f"stimulus {name.replace('_', '-')}"
    for given in parameters:
        if given not in known:
            raise InputError(
                f"has no parameter {given!r}",
                where=asked,
                remedy=f"It has: {', '.join(known)}.",
            )
    missing = [
        key
        for key, parameter in known.items()
        if parameter.default is parameter.empty and key not in parameters
    ]
    if missing:
        raise InputError(
            f"needs {', '.join(missing)}",
            where=asked,
            remedy=f"Give it, for example {missing[0]}=...; docs/stimuli.md says what it means.",
        )
    return function(**parameters)


def listing() -> list[tuple[str, str]]:
    """Name of every generator and what it shows, in a line."""
    return [(name, _first_line(find_generator(name))) for name in GENERATORS]


def find_generator(name: str) -> Callable[..., xr.DataArray]:
    """The function that makes the movie of this name, `white_noise` or "white-noise".

    Raises
    ------
    InputError
        If there is none.
    """
    spelled = str(name).replace("_", "-")
    if spelled not in GENERATORS:
        raise InputError(
            f"there is no generator {name!r}",
            where="stimulus",
            remedy=f"Choose one of: {', '.join(GENERATORS)}.",
        )
    return getattr(import_module(f"{__name__}.{GENERATORS[spelled]}"), spelled.replace("-", "_"))


def _first_line(function: Callable) -> str:
    return inspect.getdoc(function).splitlines()[0]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "GENERATORS"]
