"""Covariates that come in the bins of a recording: arrays, labelled arrays, one by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from neuromodels.datasets.blocks import stored_width
from neuromodels.datasets.covariate_files import read_series, units_by_name
from neuromodels.datasets.covariate_labels import (
    check_names,
    covariate_names,
    covariate_units,
    label_covariates,
)
from neuromodels.datasets.errors import InputError

SHAPES = {
    False: "(bin, covariate), or {name: (bin,)}",
    True: "(trial, bin, covariate), (bin, covariate) if it is the same in all trials, or {name: "
    "(trial, bin)}",
}


def add_covariates(role: xr.Dataset, given, where: str, units=None) -> xr.Dataset:
    """A role node with covariates that were given for its bins.

    Parameters
    ----------
    role : Dataset
        Made by `build_role`.
    given : None, array, DataArray or dict
        ([trial,] bin, covariate); a DataArray goes by its dimensions trial, time and covariate,
        and its coordinates covariate and covariate_units; or {name: ([trial,] bin)}, where an
        unrepeated role also takes (times, values), s, on the clock of its bins.
    where : str
        Argument, for messages.
    units : str or dict, optional

    Raises
    ------
    InputError
        If it does not fit the bins, or is no number.
    """
    if given is None:
        return role
    repeated = "trial" in role["response"].dims
    names = stated = None
    if isinstance(given, xr.DataArray):
        values, names, stated = _labelled(given, where)
    elif isinstance(given, Mapping):
        names = [str(name) for name in given]
        values, stated = _by_name(given, role, where, repeated)
    else:
        values = _numbers(given, where)
    bins = (role.sizes["time"],)
    trials = (role.sizes["trial"], *bins) if repeated else bins
    if values.ndim < 2 or values.shape[:-1] not in (bins, trials):
        said = " trials of ".join(str(n) for n in trials)
        raise InputError(
            f"has shape {values.shape} for {said} bins",
            where=where,
            remedy=f"Give {SHAPES[repeated]}.",
        )
    if not values.shape[-1]:
        raise InputError("holds no covariate", where=where, remedy="Leave it out.")
    names = names or [f"covariate_{i}" for i in range(values.shape[-1])]
    check_names(names, where)
    told = units_by_name(units, names, where)
    known = stated or ["arbitrary"] * len(names)
    units = [told.get(name, unit) for name, unit in zip(names, known, strict=True)]
    variables, coords = label_covariates(values, names, units)
    return role.assign(variables).assign_coords(coords)


def same_covariates(
    roles: Mapping[str, xr.Dataset], where: str
) -> tuple[dict[str, xr.Dataset], list[str]]:
    """Roles that all know the same covariates in one order, and notes on those that did not.

    A role without any gets unknown ones (NaN), which models take as their mean.

    Raises
    ------
    InputError
        If two roles name different covariates.
    """
    roles, notes = dict(roles), []
    told = [role for role, node in roles.items() if covariate_names(node)]
    if not told:
        return roles, notes
    first = roles[told[0]]
    names = covariate_names(first)
    for role, node in roles.items():
        own = covariate_names(node)
        if not own:
            unknown = np.full((node.sizes["time"], len(names)), np.nan, dtype=np.float32)
            variables, coords = label_covariates(unknown, names, covariate_units(first))
            roles[role] = node.assign(variables).assign_coords(coords)
            notes.append(f"{role}: no covariates were given (NaN; models take the mean)")
        elif sorted(own) != sorted(names):
            raise InputError(
                f"{role} has {', '.join(own)}, and {told[0]} has {', '.join(names)}",
                where=f"{where}: covariates",
                remedy="Give all roles the same covariates.",
            )
        else:
            roles[role] = node.isel(covariate=[own.index(name) for name in names])
    return roles, notes


def _labelled(given: xr.DataArray, where: str):
    order = [dim for dim in ("trial", "time", "covariate") if dim in given.dims]
    if "time" not in order or len(order) != given.ndim:
        raise InputError(
            f"has dimensions {given.dims}",
            where=where,
            remedy="Name them time, covariate and, with repeats, trial.",
        )
    array = given.transpose(*order)
    if "covariate" not in order:
        name = str(given.name or "covariate_0")
        array = array.expand_dims(covariate=[name], axis=-1)
    names = stated = None
    if "covariate" in array.coords:
        names = [str(name) for name in array["covariate"].values]
    if "covariate_units" in array.coords:
        stated = [str(unit) for unit in array["covariate_units"].values]
    elif names is not None and array.attrs.get("units"):
        stated = [str(array.attrs["units"])] * len(names)
    return _numbers(array.values, where), names, stated


def _by_name(given: Mapping, role: xr.Dataset, where: str, repeated: bool):
    if not given:
        raise InputError("holds no covariate", where=where, remedy="Leave it out.")
    columns, units = [], []
    for name, entry in given.items():
        if _is_sampled(entry):
            if repeated:
                raise InputError(
                    "is a pair of times and values",
                    where=f"{where}: {name}",
                    remedy=f"Repeats have no place in the session: give {SHAPES[True]}.",
                )
            (series,) = read_series({name: entry}, where)
            columns.append(series.binned(role["time"].values, float(stored_width(role))))
            units.append(series.units)
            continue
        columns.append(_numbers(getattr(entry, "values", entry), f"{where}: {name}"))
        units.append(str(getattr(entry, "attrs", {}).get("units") or "arbitrary"))
        expected = [(role.sizes["time"],)]
        expected += [(role.sizes["trial"], *expected[0])] if repeated else []
        if columns[-1].shape not in expected:
            raise InputError(
                f"has shape {columns[-1].shape}, not {' or '.join(map(str, expected))}",
                where=f"{where}: {name}",
                remedy="Give one value per bin; sampled otherwise: (times, values), s."
                if not repeated
                else "Give one value per trial and bin, or per bin.",
            )
    return np.stack(np.broadcast_arrays(*columns), axis=-1), units


def _is_sampled(entry) -> bool:
    """Whether an entry brings times of its own."""
    if isinstance(entry, (tuple, list)):
        return len(entry) == 2 and all(np.ndim(part) == 1 for part in entry)
    return hasattr(entry, "t") and hasattr(entry, "values")


def _numbers(given, where: str) -> np.ndarray:
    try:
        values = np.asarray(given)
    except ValueError:  # ragged lists
        values = np.asarray(None)
    if values.dtype.kind not in "iufb":
        raise InputError(
            f"holds {values.dtype if values.dtype != object else 'objects'}, not numbers",
            where=where,
            remedy="Give numbers; NaN where nothing was measured.",
        )
    values = values.astype(np.float32)
    if np.isinf(values).any():
        raise InputError(
            "holds infinite values", where=where, remedy="Use NaN where nothing was measured."
        )
    return values
