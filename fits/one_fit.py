"""Fit one model with one seed, predict what will be scored, and label it all as a `Fit`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.storage import SCHEMA_VERSION
from neuromodels.fits.fit import RESULT, Fit, created, predictions_dataset, versions, with_units
from neuromodels.fits.options import Request
from neuromodels.fits.outcome import Outcome
from neuromodels.fits.predictions import N_RUNS, Prediction, predict_blocks
from neuromodels.fits.progress import Progress, Stopwatch
from neuromodels.fits.rescaling import refit_gain_and_offset
from neuromodels.fits.task import Task
from neuromodels.models import SPIKING


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
    elif request.spec.kind in SPIKING:
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
    if task.data.response == "count":
        for stimulus, blocks in task.adjusting.items():
            place = f"{stimulus}/heldout"
            if place in predictions:
                found = predict_blocks(outcome.model, blocks, max_rate=task.max_rate, seed=seed)
                predictions[place] = predictions[place].assign(_adjustment(found, blocks))
    more = {}
    if request.spec.kind in SPIKING:
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
        "created": created(),
        **times,
    }
    return tree


def _grid(task: Task) -> dict[str, xr.Variable]:
    """Where the pixels lie, as the recording says."""
    train = task.recording.role("train", task.stimulus)
    return {axis: train[axis].variable for axis in ("y", "x") if axis in train.coords}
