"""One fitted model: its weights, how the fit went, what it predicts. It is its file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.storage import write_tree
from neuromodels.fits.covariates import check_covariates
from neuromodels.fits.predictions import Prediction, predict_blocks
from neuromodels.fits.shown import MOVIE, blocks_to_predict, check_pixels
from neuromodels.models import build_from_config

if TYPE_CHECKING:
    from neuromodels.encoding.base import EncodingModel

#: Attribute that says what a result file holds.
RESULT = "neuromodels_result"


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    packages = ("neuromodels", "torch", "numpy", "scipy", "xarray")
    return {package: version(package) for package in packages}


def created() -> str:
    """Now, as results state it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def with_units(dataset: xr.Dataset, grid: Mapping[str, xr.Variable] | None = None) -> xr.Dataset:
    """Give every numbered axis its units.

    Parameters
    ----------
    dataset : xarray.Dataset
        Not changed.
    grid : mapping, optional
        Coordinates to take for axes of that name.

    Returns
    -------
    xarray.Dataset
        Axes that only count have the units "1".
    """
    coords = {name: axis for name, axis in (grid or {}).items() if name in dataset.dims}
    for name in dataset.dims:
        axis = dataset[name].variable
        if name not in coords and axis.dtype.kind in "iuf" and "units" not in axis.attrs:
            units = "s" if name == "candidate_history" else "1"
            coords[name] = (axis.dims, axis.values, {**axis.attrs, "units": units})
    return dataset.assign_coords(coords)


def predictions_dataset(
    blocks: list[Block],
    predictions: list[Prediction],
    neurons: tuple[str, ...],
    response_units: str = "spikes per bin",
) -> xr.Dataset:
    """Label the predictions of one role.

    Parameters
    ----------
    blocks : list of Block
        Of the role.
    predictions : list of Prediction
        One per block.
    neurons : tuple of str
        Ids.
    response_units : str
        Of what is predicted: a rate, or a trace in its own units.

    Returns
    -------
    xarray.Dataset
        `rate (time, neuron)`; with history also `rate_free`, the same values under the name that
        says how they were made, and `rate_conditional ([trial,] time, neuron)`.
    """
    coords = {
        "time": ("time", np.concatenate([block.time for block in blocks]), {"units": "s"}),
        "block": (
            "time",
            np.concatenate([np.full(block.n_bins, block.label) for block in blocks]),
        ),
        "neuron": list(neurons),
    }
    rate = np.concatenate([prediction.rate for prediction in predictions])
    units = {"units": response_units}
    dataset = xr.Dataset({"rate": (("time", "neuron"), rate, units)}, coords=coords)
    if predictions[0].conditional is None:
        return with_units(dataset)
    dataset["rate"].attrs["mode"] = "free-running"
    dataset["rate_free"] = dataset["rate"]
    capped = np.mean([prediction.capped for prediction in predictions], axis=0)
    dataset["capped_share"] = (
        "neuron",
        capped,
        {"units": "1", "long_name": "share of simulated draws whose rate ran away"},
    )
    conditional = [prediction.conditional for prediction in predictions]
    if conditional[0].ndim == 2:
        dataset["rate_conditional"] = (("time", "neuron"), np.concatenate(conditional), units)
        return with_units(dataset)
    trials = max(blocks, key=lambda block: block.n_trials).trials
    full = []
    for part in conditional:
        padded = np.full((len(trials), *part.shape[1:]), np.nan, dtype=part.dtype)
        padded[: len(part)] = part
        full.append(padded)
    dataset["rate_conditional"] = (
        ("trial", "time", "neuron"),
        np.concatenate(full, axis=1),
        units,
    )
    return with_units(dataset.assign_coords(trial=np.asarray(trials)))


class Fit:
    """A fitted model with everything that is known of it.

    Parameters
    ----------
    tree : xarray.DataTree
        Nodes `parameters`, `history`, `diagnostics`, `predictions`; see docs/results.md.
    """

    def __init__(self, tree: xr.DataTree):
        self.tree = tree

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Facts of the fit: model, config, seed, inputs, recording, versions."""
        return self.tree.attrs

    @property
    def label(self) -> str:
        """Name in tables and figures."""
        return self.attrs["label"]

    @property
    def parameters(self) -> xr.Dataset:
        """Weights and the filters that they make, labelled."""
        return self.tree["parameters"].to_dataset()

    @property
    def history(self) -> xr.Dataset:
        """Per epoch or iteration."""
        return self.tree["history"].to_dataset()

    @property
    def diagnostics(self) -> xr.Dataset:
        """Convergence per neuron, and what was chosen by which score."""
        return self.tree["diagnostics"].to_dataset()

    @property
    def predictions(self) -> xr.DataTree:
        """Rates by stimulus and role."""
        return self.tree["predictions"]

    @property
    def scores(self) -> xr.Dataset:
        """Scores, if the fit was made by `nm.fit`."""
        return self.tree["scores"].to_dataset()

    @cached_property
    def model(self) -> EncodingModel:
        """The model itself, rebuilt from config and weights."""
        model = build_from_config(self.attrs["config"])
        model.load_parameters(self.parameters)
        model.eval()
        return model

    def predict(
        self, stimulus: Recording | xr.DataArray | np.ndarray, *, seed: int | None = None
    ) -> xr.DataTree:
        """Predict responses to a recording's stimuli, or to a movie.

        Parameters
        ----------
        stimulus : Recording, DataArray or array
            A recording: every role that has a stimulus is predicted, block by block. A labelled
            movie, such as the generators of `stimuli` make: at any frame rate, a bin shows the
            frame on screen at its centre. An array (time, y, x) or (time, channel, y, x): a movie
            with one frame per bin of the fit. Movies leave the model's covariates at their
            training means.
        seed : int, optional
            Of simulations; that of the fit by default.

        Returns
        -------
        xarray.DataTree
            `rate (time, neuron)` in `/STIMULUS/ROLE`, or in `/movie/all` for a movie; NaN
            before the model's lead-in.

        Raises
        ------
        InputError
            Frames of another shape, pixels of another size, a movie shorter than the lead-in, or
            a recording without a covariate that the model was fitted with.
        """
        seed = self.attrs["seed"] if seed is None else seed
        source = f"{stimulus.source}: /" if isinstance(stimulus, Recording) else ""
        check_pixels(stimulus, self.parameters)
        nodes = {}
        for name, blocks in blocks_to_predict(stimulus, self.model.input).items():
            self._check(f"{source}{name}" if source else "stimulus", blocks)
            known = self.diagnostics
            cap = known["max_rate"].values if "max_rate" in known else None
            found = predict_blocks(self.model, blocks, max_rate=cap, seed=seed)
            if all(block.trials is None and block.label == MOVIE for block in blocks):
                # A movie alone has no recorded spikes to be conditional on.
                found = [Prediction(p.rate, None, None) for p in found]
            nodes[name] = predictions_dataset(
                blocks,
                found,
                self.model.input.neurons,
                self.attrs.get("response_units", "spikes per bin"),
            )
        tree = xr.DataTree.from_dict(nodes)
        tree.attrs = {
            RESULT: "predictions",
            "model": self.attrs["model"],
            "label": self.label,
            "bin_width_s": self.model.input.bin_width,
            "lead_in_bins": self.model.lead_in,
        }
        return tree

    def _check(self, name: str, blocks: list[Block]) -> None:
        shape = tuple(blocks[0].movie(0, 1).shape[1:])
        if shape != self.model.input.movie_shape:
            raise InputError(
                f"has frames of (channel, y, x) = {shape}, the model was fitted to "
                f"{self.model.input.movie_shape}.",
                where=name,
                remedy="Give a stimulus of the size that the model knows.",
            )
        if all(block.n_bins <= self.model.lead_in for block in blocks):
            raise InputError(
                f"has no block longer than the model's window of {self.model.lead_in} bins.",
                where=name,
                remedy="Give a longer stimulus.",
            )
        check_covariates(self.model.input.covariates, blocks, name)

    def to_hdf5(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write everything to one labelled HDF5 file, whole or not at all."""
        return write_tree(self.tree, path, overwrite=overwrite)

    def __repr__(self) -> str:
        facts, summary = self.attrs, self.attrs["summary"]
        return (
            f"Fit of {self.label} (seed {facts['seed']}) to {facts['recording']['source']}, "
            f"{len(self.model.input.neurons)} neurons, "
            f"{facts['recording']['bin_width_s'] * 1e3:g} ms bins, window "
            f"{summary['chosen_history']:g} s; {summary['stopped']}"
        )
