"""How far simulated spike trains are from recorded ones, beside what gives numbers a meaning."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from neuromodels.analysis.spike_trains.van_rossum import van_rossum_distance
from neuromodels.analysis.spike_trains.victor_purpura import victor_purpura_distance
from neuromodels.datasets.blocks import Block
from neuromodels.encoding.spiking import Spiking
from neuromodels.fits.predictions import drive_of_block
from neuromodels.fits.spiking import finest_counts
from neuromodels.fits.task import Task

#: Pairs of trains per block, at most, and recording that is compared, s, at most.
MOST_PAIRS, MOST_S = 20, 120.0
#: Cost of moving a spike, 1/s: two spikes 10 ms apart are as far as one that is missing and one
#: that is new.
COST_PER_S = 200.0
#: Time constants of the van Rossum kernel, s.
TAU_RISE_S, TAU_DECAY_S = 5e-3, 10e-3

MEASURES = ("van Rossum", "Victor-Purpura")
PAIRS = ("simulated, recorded", "recorded, recorded", "silence, recorded")


@torch.no_grad()
def spike_distances(model: Spiking, task: Task, *, seed: int) -> xr.Dataset:
    """Distances of single simulated runs from single recorded trials, per neuron.

    Parameters
    ----------
    model : Spiking
        Fitted.
    task : Task
        Its repeated movie is used, or the held-out blocks where there is none; the first two
        minutes.
    seed : int
        Of the runs.

    Returns
    -------
    xarray.Dataset
        `distance (measure, pair, neuron)`, mean over pairs: van Rossum D² (½ ∫ (α∗a − α∗b)² dt,
        1/s) and Victor-Purpura (spikes; 200 per second), per second of recording. The pairs are a
        run and a trial; a trial and the next one (NaN without repeats), where a network that were
        the cell would be; and an empty train and a trial. Both distances of irregular trains favour
        fewer spikes, silence most of all: a network should be near the second, not below it.
        `spike_rate (train, neuron)`, Hz, of runs and trials.
    """
    role = "test" if task.partition.test else "heldout"
    blocks = _first(task.roles()[role], task.data.bin_width, model.settled_from)
    width, dt_s = task.data.bin_width, model.network.dt_s
    counts = finest_counts(task.recording, task.stimulus, role, blocks, width, dt_s)
    n_neurons = len(task.data.neurons)
    total = np.zeros((len(MEASURES), len(PAIRS), n_neurons))
    spikes, seconds, n_pairs = np.zeros((2, n_neurons)), 0.0, 0
    for index, (block, (fine, parts)) in enumerate(zip(blocks, counts, strict=True)):
        start = model.settled_from * width
        trials = fine if fine.ndim == 3 else fine[None]
        kept = np.flatnonzero(np.isfinite(trials).all(axis=(1, 2)))[:MOST_PAIRS]
        trials = trials[kept]
        if not len(trials):
            continue
        sent = _runs(model, block, kept, seed + index)
        for trial in range(len(trials)):
            following = trials[(trial + 1) % len(trials)]
            for neuron in range(n_neurons):
                real = _times(trials[trial, :, neuron], width / parts, start)
                steps = np.flatnonzero(sent[trial, :, neuron])
                run = (steps + 0.5) * dt_s + model.lead_in * width
                run = run[run >= start]
                others = (run, _times(following[:, neuron], width / parts, start), run[:0])
                for pair, other in enumerate(others):
                    if pair == 1 and len(trials) < 2:
                        total[:, pair, neuron] = np.nan
                        continue
                    square = van_rossum_distance(other, real, TAU_RISE_S, TAU_DECAY_S, squared=True)
                    cost = victor_purpura_distance(other, real, COST_PER_S)
                    total[:, pair, neuron] += square, cost
                spikes[:, neuron] += len(run), len(real)
        seconds += len(trials) * (block.n_bins * width - start)
        n_pairs += len(trials)
    scale = seconds or np.nan
    return xr.Dataset(
        {
            "distance": (
                ("measure", "pair", "neuron"),
                total / scale,
                {"units": "per second of recording: 1/s for van Rossum, spikes for Victor-Purpura"},
            ),
            "spike_rate": (("train", "neuron"), spikes / scale, {"units": "Hz"}),
        },
        coords={
            "measure": list(MEASURES),
            "pair": list(PAIRS),
            "train": ["simulated", "recorded"],
            "neuron": list(task.data.neurons),
        },
        attrs={
            "role": role,
            "given": model.inputs,
            "n_pairs": n_pairs,
            "compared_s": seconds,
            "tau_rise_s": TAU_RISE_S,
            "tau_decay_s": TAU_DECAY_S,
            "cost_per_s": COST_PER_S,
        },
    )


def _runs(model: Spiking, block: Block, trials: np.ndarray, seed: int) -> np.ndarray:
    """Spikes of a run per trial, (trial, step, neuron); given its recorded past if it sees one."""
    if not model.uses_spikes:
        drive = drive_of_block(model, block).numpy()
    else:
        repeated = block.response.ndim == 3
        drive = np.stack(
            [
                drive_of_block(model, block, trial=trial if repeated else None).numpy()
                for trial in trials
            ]
        )
    _, recorded = model.runs(drive, len(trials), seed, record="output")
    return recorded.output


def _first(blocks: list[Block], width: float, settled_from: int) -> list[Block]:
    """Blocks from the start until there are enough seconds."""
    found, seconds = [], 0.0
    for block in blocks:
        if seconds < MOST_S and block.n_bins > settled_from:
            found.append(block)
            seconds += block.n_bins * width
    return found


def _times(counts: np.ndarray, width: float, start: float) -> np.ndarray:
    """Spike times of one train, s, from `start` on; several in a bin are spread evenly."""
    bins = np.flatnonzero(counts)
    many = counts[bins].astype(np.int64)
    which = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    times = (np.repeat(bins, many) + (which + 0.5) / np.repeat(many, many)) * width
    return times[times >= start]
