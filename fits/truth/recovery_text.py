"""What a model recovered of a simulation's truth, as lines for a terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from neuromodels.fits.table import cells_of, number

#: Roles in words.
ROLE_NAMES = {"heldout": "held-out blocks", "test": "repeated test"}
COLUMNS = {"cc_true": "CC_true", "relative_error": "rel. error", "bits_lost": "bits lost"}


def recovery_text(found: xr.Dataset) -> str:
    """The recovery as a table: a line per model, means over cells and seeds.

    Parameters
    ----------
    found : xarray.Dataset
        What `nm.recovery` gave.
    """
    width = found.attrs["bin_width_s"]
    lines = [
        f"recovery of the truth   {Path(found.attrs['recording']).name}   "
        f"{cells_of(found.sizes['neuron'])}, {width * 1e3:g} ms bins, mean over cells"
    ]
    for stimulus in found["stimulus"].values:
        for role in found["role"].values:
            here = found.sel(stimulus=stimulus, role=role)
            if not int(here["bins"]):
                continue
            about = (
                f"{stimulus}, {ROLE_NAMES[str(role)]}, {int(here['bins']) * width:.4g} s: the true "
                f"rate scores {_mean(here['bits_true'])} bits/spike"
            )
            if role == "test":
                about += f", r at most {_mean(here['ceiling_true'])} (estimated from the trials "
                about += f"{_mean(here['ceiling_estimated'])})"
            lines += ["", about, *_rates(here)]
    return "\n".join([*lines, *_filters(found)])


def _mean(values: xr.DataArray) -> str:
    return number(float(values.mean()), 3)


def _rates(here: xr.Dataset) -> list[str]:
    """A line per model on one stretch of data."""
    models = here["model"].values.astype(str)
    width = max(len(model) for model in models)
    lines = [f"  {'':<{width}}" + "".join(f"{head:>12}" for head in COLUMNS.values())]
    for model in models:
        one = here.sel(model=model)
        line = f"  {model:<{width}}" + "".join(f"{_mean(one[name]):>12}" for name in COLUMNS)
        if np.isfinite(one["cc_conditional"]).any():
            line += (
                f"   given the spikes: CC {_mean(one['cc_conditional'])}, bits lost "
                f"{_mean(one['bits_lost_conditional'])}"
            )
        lines.append(line)
    return lines


def _filters(found: xr.Dataset) -> list[str]:
    """Lines on history and coupling filters, for the models that have them."""
    lines = []
    for model in found["model"].values:
        one, said = found.sel(model=model), []
        for name in ("filter", "history"):
            values = one.get(f"{name}_correlation")
            if values is not None and np.isfinite(values).any():
                what = "stimulus" if name == "filter" else name
                said.append(f"{what} filters r {_mean(values)}")
        if "coupling_sign" in one and np.isfinite(one["coupling_sign"]).any():
            away = ~np.eye(found.sizes["neuron"], dtype=bool)
            present = found["true_coupling"].values[away] != 0
            said.append(
                f"couplings: sign right in {_mean(one['coupling_sign'])} of {present.sum()}, rank "
                f"correlation {_mean(one['coupling_rank'])}, told from the {(~present).sum()} "
                f"absent ones {_mean(one['coupling_separation'])}"
            )
        if said:
            lines.append(f"{model}: {'; '.join(said)}")
    return ["", *lines] if lines else []
