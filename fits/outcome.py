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


#: Units of what fits choose by.
VALIDATION_UNITS = {"bits_per_spike": "bits per spike", "variance_explained": "1"}


def history_dataset(
    columns: dict[str, list[float]], dim: str, metric: str = "bits_per_spike"
) -> xr.Dataset:
    """Label what was noted in every epoch or iteration; `dim` counts from 1.

    Parameters
    ----------
    columns : dict of name to list of float
    dim : str
        "epoch" or "iteration".
    metric : str
        What the column "validation" holds.
    """
    import xarray as xr

    units = UNITS | {"validation": {"metric": metric, "units": VALIDATION_UNITS[metric]}}
    length = len(next(iter(columns.values())))
    return xr.Dataset(
        {
            name: (dim, np.asarray(values, dtype=float), units.get(name, {}))
            for name, values in columns.items()
        },
        coords={dim: np.arange(1, length + 1)},
    )
