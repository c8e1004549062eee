"""Published settings of the retina CNN, read from `presets.toml`."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from neuromodels.options import OptionError, nearest


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Published settings by name, each with tables `model` and `training` and a `source`."""
    text = resources.files("neuromodels.encoding").joinpath("presets.toml").read_text("utf-8")
    return tomllib.loads(text)


def preset(name: str) -> dict[str, Any]:
    """One published setting.

    Raises
    ------
    OptionError
        There is no preset of that name.
    """
    if name not in presets():
        raise OptionError(f"there is no preset {name!r}.", "retina-cnn", nearest(name, presets()))
    return presets()[name]
