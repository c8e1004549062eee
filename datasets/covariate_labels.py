"""Names, units and times of the covariates in a role node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neuromodels.datasets.blocks import block_runs
from neuromodels.datasets.errors import InputError

FORBIDDEN = "+,"  # these separate the names of covariates
RESERVED = ("all", "none")
#: What a role holds of its covariates.
VARIABLES = ("covariates", "covariate", "covariate_units")


def label_covariates(
    values: np.ndarray, names: Sequence[str] | None = None, units: Sequence[str] | None = None
) -> tuple[dict, dict]:
    """Variable and coordinates of covariates ([trial,] bin, covariate), for a role node."""
    n = values.shape[-1]
    names = [str(i) for i in range(n)] if names is None else [str(name) for name in names]
    units = ["arbitrary"] * n if units is None else [str(unit) for unit in units]
    about = {"units": "see covariate_units", "description": "mean in each bin, NaN where unknown"}
    dims = ("trial", "time", "covariate")[-values.ndim :]
    coords = {
        "covariate": ("covariate", np.asarray(names, dtype=str)),
        "covariate_units": ("covariate", np.asarray(units, dtype=str)),
    }
    return {"covariates": (dims, values, about)}, coords


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse names of covariates that are empty, doubled, or that no model could be told.

    Raises
    ------
    InputError
    """
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InputError(
                f"holds two covariates {name!r}", where=where, remedy="Give each its own name."
            )
        if not name.strip() or name in RESERVED or any(mark in name for mark in FORBIDDEN):
            raise InputError(
                f"a covariate is called {name!r}",
                where=where,
                remedy="Use a plain word such as running: models are told covariates by name "
                "(ln+running+pupil, retina-cnn+all).",
            )


def session_times(role: xr.Dataset) -> np.ndarray | None:
    """When each stored bin of a role was in the session, s: (time,), or (trial, time) of repeats.

    None for repeats that do not say when they began (`trial_start`); NaN for a trial that does not
    have a clip.
    """
    time = role["time"].values.astype(np.float64)
    if "trial" not in role["response"].dims:
        return time
    if "trial_start" not in role.variables:
        return None
    runs = block_runs(role["block"].values)
    since = np.concatenate([np.zeros(0), *(time[a:b] - time[a] for _, a, b in runs)])
    starts = role["trial_start"]
    if starts.dims == ("trial",):
        return starts.values[:, np.newaxis] + since
    clips = [label for label, a, b in runs for _ in range(b - a)]
    of_bin = starts.transpose("trial", "clip").sel(clip=clips).values
    return of_bin + since


def with_covariates(
    role: xr.Dataset, values: np.ndarray, names: Sequence[str], units: Sequence[str], where: str
) -> xr.Dataset:
    """A role that has these covariates beside those that it had.

    Raises
    ------
    InputError
        If it has one of that name.
    """
    if "covariates" in role:
        own = role["covariates"].transpose(..., "time", "covariate")
        known = covariate_names(role)
        twice = [name for name in names if name in known]
        if twice:
            raise InputError(
                f"the recording has a covariate {twice[0]!r} already",
                where=where,
                remedy="Give it another name, or open the recording without: covariates='none'.",
            )
        earlier = np.asarray(own.values)
        if earlier.ndim != values.ndim:  # the same in all trials
            bins = max(earlier.shape[:-1], values.shape[:-1], key=len)
            earlier = np.broadcast_to(earlier, (*bins, earlier.shape[-1]))
            values = np.broadcast_to(values, (*bins, values.shape[-1]))
        values = np.concatenate([earlier, values], axis=-1)
        units = [*covariate_units(role), *units]
        names = [*known, *names]
        role = role.drop_vars(VARIABLES, errors="ignore")
    variables, coords = label_covariates(values, names, units)
    return role.assign(variables).assign_coords(coords)


def covariate_names(role: xr.Dataset) -> list[str]:
    """Names of the covariates of a role; none where it has none."""
    return role["covariate"].values.astype(str).tolist() if "covariates" in role else []


def covariate_units(role: xr.Dataset) -> list[str]:
    """Units of each covariate of a role."""
    if "covariate_units" in role.variables:
        return role["covariate_units"].values.astype(str).tolist()
    return [str(role["covariates"].attrs.get("units") or "arbitrary")] * role.sizes["covariate"]


def joined_covariates(roles: Sequence[xr.Dataset], n_trials: int) -> dict:
    """Covariates of movies that become one role, as arguments of `build_role`; {} without any.

    A movie with fewer trials than others is padded with NaN.

    Raises
    ------
    InputError
        If the movies name different covariates.
    """
    if not any("covariates" in role for role in roles):
        return {}
    named = [covariate_names(role) for role in roles]
    if any(names != named[0] for names in named):
        raise InputError(
            "differ from movie to movie",
            where="covariates",
            remedy="Give every movie of a role the same covariates in the same order.",
        )
    per_trial = any("trial" in role["covariates"].dims for role in roles)
    parts = []
    for role in roles:
        part = np.asarray(role["covariates"].transpose(..., "time", "covariate").values)
        if per_trial:
            part = np.broadcast_to(part, (role.sizes["trial"], *part.shape[-2:]))
            more = ((0, n_trials - len(part)), (0, 0), (0, 0))
            part = np.pad(part, more, constant_values=np.nan) if more[0][1] else part
        parts.append(part)
    return {
        "covariates": np.concatenate(parts, axis=-2),
        "covariate_names": named[0],
        "covariate_units": covariate_units(roles[0]),
    }
