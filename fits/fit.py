"""One fitted model: its weights, how the fit went, what it predicts. It is its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.storage import SCHEMA_VERSION, write_tree
from neuromodels.fits.covariates import check_covariates
from neuromodels.fits.options import Request
from neuromodels.fits.outcome import Outcome
from neuromodels.fits.predictions import N_RUNS, Prediction, predict_blocks
from neuromodels.fits.progress import Progress, Stopwatch
from neuromodels.fits.rescaling import refit_gain_and_offset
from neuromodels.fits.shown import MOVIE, blocks_to_predict, check_pixels
from neuromodels.fits.task import Task
from neuromodels.models import build_from_config

if TYPE_CHECKING:
    from neuromodels.encoding.base import EncodingModel

#: Attribute that says what a result file holds.
RESULT = "neuromodels_result"


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    packages = ("neuromodels", "torch", "numpy", "scipy", "xarray")
    return {package: version(package) for package in packages}


def fit_request(
    request: Request,
    task: Task,
    *,
    seed: int,
    search_seed: int,
    store: Path | None = None,
    search_store: Path | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Fit one model with one seed and predict everything that will be scored.

    Parameters
    ----------
    request : Request
        Model and options.
    task : Task
        Data and splits.
    seed, search_seed : int
        Of this fit, and of choices that all seeds share.
    store, search_store : Path, optional
        Folders for the running state.
    progress : Progress, optional
        Told as the fit goes on.

    Returns
    -------
    Fit
        With predictions of the held-out blocks and of the repeated movie.
    """
    progress = progress or Progress()
    started = Stopwatch()
    if request.spec.kind == "retina-cnn":
        from neuromodels.fits.networks import fit_network as fit_it
    elif request.spec.kind in ("spiking", "spiking-coupled"):
        from neuromodels.fits.spiking import fit_spiking

        fit_it = partial(fit_spiking, recording=task.recording, stimulus=task.stimulus)
    else:
        from neuromodels.fits.glm.fitting import fit_convex as fit_it
    outcome = fit_it(
        request.spec,
        task.data,
        task.partition,
        request.options,
        seed=seed,
        search_seed=search_seed,
        store=store,
        search_store=search_store,
        progress=progress,
    )
    return scored_fit(request, task, outcome, seed=seed, started=started)


def scored_fit(
    request: Request, task: Task, outcome: Outcome, *, seed: int, started: Stopwatch
) -> Fit:
    """Predict, with a model that was fitted, everything that will be scored, and label it all.

    Parameters
    ----------
    request : Request
        Model and options.
    task : Task
        Data and splits.
    outcome : Outcome
        Of the fit.
    seed : int
        Of the fit, and of simulations.
    started : Stopwatch
        Started with the fit.
    """
    predictions = {
        f"{stimulus}/{role}": predictions_dataset(
            blocks,
            predict_blocks(outcome.model, blocks, max_rate=task.max_rate, seed=seed),
            task.data.neurons,
            task.response_units,
        )
        for stimulus, roles in task.scored.items()
        for role, blocks in roles.items()
        if blocks
    }
    for stimulus, blocks in task.adjusting.items() if task.data.response == "count" else ():
        place = f"{stimulus}/heldout"
        if place in predictions:
            found = predict_blocks(outcome.model, blocks, max_rate=task.max_rate, seed=seed)
            predictions[place] = predictions[place].assign(_adjustment(found, blocks))
    more = {}
    if request.spec.kind in ("spiking", "spiking-coupled"):
        from neuromodels.fits.spike_distances import spike_distances

        more["distances"] = spike_distances(outcome.model, task, seed=seed)
    return Fit(_fit_tree(request, task, outcome, predictions, seed, started.times(), more))


def _adjustment(predictions: list[Prediction], blocks: list[Block]) -> dict[str, tuple]:
    """Gain and offset that fit predictions to a stimulus that was not learned from."""
    gain, offset = refit_gain_and_offset(
        np.concatenate([prediction.rate for prediction in predictions]),
        np.concatenate([block.response for block in blocks]),
    )
    about = "refitted on the validation blocks of this stimulus"
    return {
        "adjusted_gain": ("neuron", gain, {"units": "1", "long_name": f"gain of rate, {about}"}),
        "adjusted_offset": (
            "neuron",
            offset,
            {"units": "spikes per bin", "long_name": f"added to gain times rate, {about}"},
        ),
    }


def _fit_tree(
    request: Request,
    task: Task,
    outcome: Outcome,
    predictions: dict[str, xr.Dataset],
    seed: int,
    times: dict[str, float],
    more: dict[str, xr.Dataset],
) -> xr.DataTree:
    model = outcome.model
    diagnostics = xr.Dataset(
        {k: v for k, v in outcome.diagnostics.items() if isinstance(v, tuple)},
        coords={
            "neuron": list(task.data.neurons),
            **{k: v for k, v in outcome.diagnostics.items() if not isinstance(v, tuple)},
        },
    )
    if "candidate_history" in diagnostics:
        diagnostics["candidate_history"].attrs["units"] = "s"
        diagnostics["search"].attrs |= dict(outcome.history["validation"].attrs)
    diagnostics["mean_rate"] = ("neuron", task.mean_rate, {"units": task.response_units})
    if task.data.response == "count":
        diagnostics["max_rate"] = ("neuron", task.max_rate, {"units": "spikes per bin"})
    nodes: dict[str, Any] = {
        "parameters": with_units(model.parameters_dataset(), _grid(task)),
        "history": with_units(outcome.history),
        "diagnostics": with_units(diagnostics),
        **{name: with_units(dataset) for name, dataset in more.items()},
        **{f"predictions/{place}": dataset for place, dataset in predictions.items()},
    }
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs = {
        RESULT: "fit",
        "schema_version": SCHEMA_VERSION,
        "label": request.label,
        "model": request.spec.name,
        "config": model.config,
        "fit_options": asdict(request.options),
        "inputs": model.inputs,
        "response_units": task.response_units,
        "mode": "free-running" if model.uses_spikes else "stimulus-only",
        "lead_in_bins": model.lead_in,
        "settled_from_bin": model.settled_from,
        "seed": seed,
        "fold": 0,
        "simulated_runs": N_RUNS if model.uses_spikes else 0,
        "summary": outcome.summary,
        "recording": task.description(),
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **times,
    }
    return tree


def _grid(task: Task) -> dict[str, xr.Variable]:
    """Where the pixels lie, as the recording says."""
    train = task.recording.role("train", task.stimulus)
    return {axis: train[axis].variable for axis in ("y", "x") if axis in train.coords}


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
