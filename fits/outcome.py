"""What every fitting procedure returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromodels.encoding.base import EncodingModel

if TYPE_CHECKING:
    import xarray as xr


UNITS = {
    "loss": {"units": "nat per bin and neuron"},
    "validation": {"units": "bits per spike"},
    "wall_time": {"units": "s"},
    "cpu_time": {"units": "s"},
}


@dataclass(frozen=True)
class Outcome:
    """A fitted model and how the fit went.

    Attributes
    ----------
    model : EncodingModel
        With its weights.
    history : xarray.Dataset
        Per epoch or iteration.
    diagnostics : dict
        Arrays that tell how the fit went, as xarray takes them: name to (dims, values), and
        coordinates by name.
    summary : dict
        Small facts, stored as attributes: what was chosen, why the fit stopped.
    """

    model: EncodingModel
    history: xr.Dataset
    diagnostics: dict[str, Any]
    summary: dict[str, Any]


def history_dataset(columns: dict[str, list[float]], dim: str) -> xr.Dataset:
    """Label what was noted in every epoch or iteration; `dim` counts from 1."""
    import xarray as xr

    length = len(next(iter(columns.values())))
    return xr.Dataset(
        {
            name: (dim, np.asarray(values, dtype=float), UNITS.get(name, {}))
            for name, values in columns.items()
        },
        coords={dim: np.arange(1, length + 1)},
    )
