"""What is known of each covariate of a recording: its range, and how much of it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neuromodels.datasets.covariate_labels import covariate_names, covariate_units


@dataclass(frozen=True)
class CovariateSummary:
    """One covariate over all roles of a stimulus.

    Attributes
    ----------
    name, units : str
    low, high, mean : float
        Of the bins in which it is known; NaN where there are none.
    missing : float
        Share of the bins (of all trials) in which it is unknown.
    """

    name: str
    units: str
    low: float
    high: float
    mean: float
    missing: float


def summarize_covariates(roles: Sequence[xr.Dataset]) -> tuple[CovariateSummary, ...]:
    """Range, mean and missing share of every covariate.

    Parameters
    ----------
    roles : list of Dataset
        Role nodes of one stimulus.
    """
    columns: dict[str, list[np.ndarray]] = {}
    units: dict[str, str] = {}
    for role in roles:
        for i, name in enumerate(covariate_names(role)):
            values = role["covariates"].isel(covariate=i).values
            columns.setdefault(name, []).append(np.asarray(values, dtype=np.float64).ravel())
            units.setdefault(name, covariate_units(role)[i])
    found = []
    for name, parts in columns.items():
        values = np.concatenate(parts)
        known = values[np.isfinite(values)]
        low, high, mean = (
            (float(known.min()), float(known.max()), float(known.mean()))
            if known.size
            else (np.nan,) * 3
        )
        missing = 1 - known.size / max(1, values.size)
        found.append(CovariateSummary(name, units[name], low, high, mean, missing))
    return tuple(found)


def covariate_lines(covariates: Sequence[CovariateSummary]) -> list[str]:
    """A line for each covariate, for a terminal."""
    lines = ["covariates"] if covariates else []
    width = max((len(item.name) for item in covariates), default=0)
    for item in covariates:
        units = "" if item.units == "arbitrary" else f" {item.units}"
        said = f"{item.low:.4g} to {item.high:.4g}{units}, mean {item.mean:.4g}"
        said = "unknown in all bins" if np.isnan(item.mean) else said
        if 0 < item.missing < 1:
            said += f"; unknown (NaN) in {100 * item.missing:.2g} % of the bins"
        lines.append(f"  {item.name:<{width}}   {said}".replace(" -", " −"))
    return lines
