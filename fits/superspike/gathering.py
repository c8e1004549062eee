"""Gather what a finished training left into the record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr

from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.datasets.storage import SCHEMA_VERSION
from neuromodels.fits.checkpoint import plain
from neuromodels.fits.fit import RESULT, created, versions
from neuromodels.fits.superspike.errors import ErrorFilter
from neuromodels.fits.superspike.record import KIND, SpikingRun
from neuromodels.fits.superspike.training import SuperSpikeTrainer
from neuromodels.spiking.kernels import error_kernel, psp_kernel
from neuromodels.spiking.simulation import simulate

#: Outputs whose voltages and eligibilities a record shows.
SHOWN = 3


def make_run(
    trainer: SuperSpikeTrainer,
    inputs: SpikeTrains,
    target: SpikeTrains,
    *,
    references: Mapping[str, float],
    call: Mapping[str, Any],
) -> SpikingRun:
    """Gather what a finished training left.

    Parameters
    ----------
    trainer : SuperSpikeTrainer
        Trained.
    inputs, target : SpikeTrains
        Of one loop.
    references : mapping of str to float
        `silent_cost` and `greedy_cost`, in the cost's unit.
    call : mapping
        What determines the result.

    Returns
    -------
    SpikingRun
        Complete.
    """
    options, network = trainer.options, trainer.network
    kept = sorted(epoch for epoch in trainer.kept_epochs if epoch <= trainer.epoch)
    nodes = {
        "inputs": inputs.to_dataset(),
        "targets": target.to_dataset(),
        "spikes": _spikes(trainer, kept),
        "progress": _progress(trainer, references),
        **_weights(trainer, kept),
        "traces": _traces(trainer),
    }
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs = {
        RESULT: KIND,
        "schema_version": SCHEMA_VERSION,
        "options": plain(asdict(options)),
        "network": plain(network.config),
        "seed": trainer.seed,
        "duration": trainer.task.loop_steps * options.dt_s,
        "loop_steps": trainer.task.loop_steps,
        "dt_s": options.dt_s,
        "kept_epochs": kept,
        "engine": options.chosen_engine,
        "surrogate": plain(trainer.surrogate.config) if trainer.surrogate else options.surrogate,
        "call": plain(dict(call)),
        "versions": versions(),
        "created": created(),
    }
    return SpikingRun(tree)


def _spikes(trainer: SuperSpikeTrainer, kept: list[int]) -> xr.Dataset:
    rows = np.concatenate([np.empty((0, 4), np.int64), *trainer.kept_spikes])
    return xr.Dataset(
        {
            "time": (
                "spike",
                rows[:, 2] * trainer.options.dt_s,
                {"units": "s", "description": "within the loop"},
            ),
            "neuron": ("spike", rows[:, 3], {"description": "who sent it, from 0"}),
            "population": (
                "spike",
                rows[:, 1],
                {"names": list(trainer.network.names[1:]), "description": "number of its layer"},
            ),
            "epoch": ("spike", rows[:, 0], {"description": "the last loop of this epoch"}),
        },
        coords={"spike": ("spike", np.arange(len(rows)), {"description": "number of the spike"})},
        attrs={"epochs": kept},
    )


def _progress(trainer: SuperSpikeTrainer, references: Mapping[str, float]) -> xr.Dataset:
    history = trainer.history
    about = {
        "time": ("s", "simulated time at the end of the epoch"),
        "cost": ("1", "0.12 s^2 <e^2>, running average over 10 s, at the end of the epoch"),
        "epoch_cost": ("1", "the same, mean over the epoch"),
        "learning_rate": ("V", "largest change of a weight in an update"),
        "wall_time": ("s", "since the start of training"),
        "cpu_time": ("s", "since the start of training"),
    }
    variables = {
        name: ("epoch", np.array(history[name]), {"units": unit, "long_name": said})
        for name, (unit, said) in about.items()
    }
    mean_square = np.array(history["epoch_cost"]) / 0.12
    variables["rms_error"] = (
        "epoch",
        np.sqrt(mean_square),
        {"units": "Hz", "long_name": "root of the mean squared error (the paper's cost)"},
    )
    rate = np.array(history["rate"]).reshape(trainer.epoch, -1)
    variables["rate"] = (("epoch", "population"), rate, {"units": "Hz", "long_name": "mean rate"})
    return xr.Dataset(
        variables,
        coords={
            "epoch": ("epoch", np.arange(1, trainer.epoch + 1), {"description": "from 1"}),
            "population": ("population", list(trainer.network.names)),
        },
        attrs=dict(references),
    )


def _weights(trainer: SuperSpikeTrainer, kept: list[int]) -> dict[str, xr.Dataset]:
    nodes = {}
    for connection in trainer.network.connections:
        name = connection.name
        stack = [trainer.initial_weights[name]]
        stack += [trainer.kept_weights[f"{epoch}/{name}"] for epoch in kept]
        about = {"units": "V", "long_name": f"weights {name.replace('_', ' ')}"}
        n_source, n_target = connection.shape
        nodes[f"weights/{name}"] = xr.Dataset(
            {"weight": (("snapshot", "source", "target"), np.stack(stack), about)},
            coords={
                "snapshot": ("snapshot", [0, *kept], {"description": "epoch; 0: before training"}),
                "source": ("source", np.arange(n_source)),
                "target": ("target", np.arange(n_target)),
            },
        )
    return nodes


def _traces(trainer: SuperSpikeTrainer) -> xr.Dataset:
    """A loop without learning after the last epoch: some voltages, errors, eligibilities."""
    options, network, task = trainer.options, trainer.network, trainer.task
    loop, dt = task.loop_steps, options.dt_s
    # In pieces: a loop of voltages of every neuron may be large.
    shown = min(SHOWN, network.sizes[-1])
    activity_spikes, voltage, arrivals, state, done = [], [], [], trainer.state, 0
    while done < loop:
        n_steps = min(5000, loop - done)
        inputs = task.inputs(trainer.step + done, n_steps)
        activity, state = simulate(network, trainer.weights, inputs, n_steps, state)
        outputs = activity.spikes[-1]
        mismatch = task.mismatch(trainer.step + done, n_steps, outputs)
        activity_spikes.append((mismatch, n_steps))
        voltage.append(activity.distance[-1][:, :shown].astype(np.float64))
        source = activity.arrivals[-2]
        seen = np.zeros(n_steps)
        np.add.at(seen, source.steps[source.neurons == 0], 1.0)
        arrivals.append(seen)
        done += n_steps
    alpha = error_kernel(options.error_rise_s, options.error_decay_s, dt, options.traces)
    filtered = ErrorFilter(alpha, network.sizes[-1])
    errors = [filtered(mismatch, n)[:, :shown] for mismatch, n in activity_spikes]
    distance = np.concatenate(voltage)
    beta = options.beta_per_v if options.surrogate == "superspike" else 0.0
    surrogate = (1 + np.abs(beta * distance)) ** -2
    psp = psp_kernel(network.coefficients).filter(np.concatenate(arrivals))
    eligibility = alpha.filter(surrogate * psp[:, None])
    # The loop begins somewhere in the raster: turn it so that time 0 is the raster's.
    turned = [
        np.roll(part, trainer.step % loop, axis=0).astype(np.float32)
        for part in (distance + network.parameters.threshold_v, np.concatenate(errors), eligibility)
    ]
    dims = ("time", "recorded")
    return xr.Dataset(
        {
            "voltage": (dims, turned[0], {"units": "V", "long_name": "voltage before the reset"}),
            "error": (dims, turned[1], {"units": "Hz", "long_name": "filtered error"}),
            "eligibility": (
                dims,
                turned[2],
                {"units": "Hz", "long_name": "eligibility of the synapse from source neuron 0"},
            ),
        },
        coords={
            "time": ("time", np.arange(loop) * dt, {"units": "s"}),
            "recorded": ("recorded", np.arange(shown), {"description": "output neuron"}),
        },
    )
