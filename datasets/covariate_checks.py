"""What is wrong with the covariates of a recording, or worth knowing about them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from neuromodels.datasets.covariate_labels import check_names, covariate_names
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.problems import Problem, add_error, add_note
from neuromodels.datasets.recording import Recording

MOST_MISSING = 0.5  # share of the bins
AXES = (("time", "covariate"), ("trial", "time", "covariate"))


def check_covariates(node: xr.Dataset, where: str, found: list[Problem]) -> None:
    """Check names, shape and values of the covariates of a role."""
    if "covariates" not in node:
        return
    here, variable = f"{where}/covariates", node["covariates"]
    if set(variable.dims) not in map(set, AXES) or variable.dtype.kind not in "iufb":
        add_error(
            found,
            here,
            f"has axes {variable.dims} and type {variable.dtype}",
            "It must hold numbers (time, covariate), or (trial, time, covariate) with repeats.",
        )
        return
    if "covariate" not in node.coords:
        add_error(found, here, "does not name its columns", "Add the coordinate `covariate`.")
        return
    names = covariate_names(node)
    try:
        check_names(names, here)
    except InputError as error:
        add_error(found, here, error.what, error.remedy)
    if "covariate_units" not in node.variables:
        add_error(
            found, here, "does not say units", "Add the coordinate covariate_units (covariate)."
        )
    for i, name in enumerate(names):
        values = np.asarray(variable.isel(covariate=i).values, dtype=np.float64)
        if np.isinf(values).any():
            remedy = "Use NaN where nothing was measured."
            add_error(found, here, f"{name} holds infinite values", remedy)
            continue
        known = values[~np.isnan(values)]
        share = 1 - known.size / max(1, values.size)
        if share > MOST_MISSING:
            add_note(
                found,
                here,
                f"{name} is unknown (NaN) in {share:.0%} of the bins",
                "Models take it at its mean there; check that its times are seconds on the clock "
                "of the session.",
            )
        if known.size and known.min() == known.max():
            add_note(
                found,
                here,
                f"{name} is {known[0]:.4g} in all bins",
                "A covariate that does not change tells a model nothing.",
            )


def check_same_covariates(recording: Recording, found: list[Problem]) -> None:
    """Roles that have covariates must name the same ones: a model needs them in each."""
    named = {}
    for stimulus in recording.stimuli:
        for role in recording.roles(stimulus):
            node = recording.tree[stimulus][role].to_dataset()
            if "covariates" in node and "covariate" in node.coords:
                named[f"/{stimulus}/{role}"] = covariate_names(node)
    for place, names in named.items():
        first = next(iter(named))
        if sorted(names) != sorted(named[first]):
            add_note(
                found,
                f"{place}/covariates",
                f"are {', '.join(names)}, those of {first} are {', '.join(named[first])}",
                "A model can only be told covariates that every role has.",
            )
