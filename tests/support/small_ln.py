"""An LN model with random weights, as a fit that was never fitted."""

from __future__ import annotations

import torch
import xarray as xr

import neuromodels as nm
from neuromodels.encoding.base import Input
from neuromodels.fits.fit import Fit, with_units


def small_ln(size: tuple[int, int]) -> Fit:
    """Two neurons, 10 ms bins, a window of 50 ms; frames of `size` (y, x) pixels."""
    known = Input(movie_shape=(1, *size), neurons=("a", "b"), bin_width=0.01, mean=0.5, std=0.5)
    model = nm.models.ln(history=0.05, temporal_basis=3).build(known)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_(0, 0.3, generator=draw)
    cap = xr.Dataset({"max_rate": ("neuron", [5.0, 5.0])}, {"neuron": ["a", "b"]})
    tree = xr.DataTree.from_dict(
        {"parameters": with_units(model.parameters_dataset()), "diagnostics": cap}
    )
    tree.attrs = {"neuromodels_result": "fit", "seed": 0, "model": "ln", "label": "ln"}
    tree.attrs["config"] = model.config
    return Fit(tree)
