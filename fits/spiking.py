"""Fitting a spiking network to a recording: spike trains to aim at, training, calibration."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.splits import Partition, spread_evenly
from neuromodels.encoding.base import Input
from neuromodels.encoding.spiking import Spiking
from neuromodels.fits.epochs import TrainingRecord
from neuromodels.fits.networks import fit_network
from neuromodels.fits.outcome import Outcome
from neuromodels.fits.progress import Progress
from neuromodels.fits.spiking_options import SpikingTrainingOptions
from neuromodels.fits.spiking_training import SpikeTrainer, Trains, mean_counts
from neuromodels.fits.training import validation_score
from neuromodels.models import ModelSpec

#: Iterations of the calibration; each raises the likelihood, and the last ones by nothing.
_ITERATIONS = 200


def fit_spiking(
    spec: ModelSpec,
    data: Input,
    partition: Partition,
    options: SpikingTrainingOptions,
    *,
    recording: Recording,
    stimulus: str,
    seed: int,
    search_seed: int,
    store: Path | None,
    search_store: Path | None,
    progress: Progress,
) -> Outcome:
    """Train a spiking network by the SuperSpike rule, then calibrate its rates.

    Parameters
    ----------
    spec, data, partition, seed, search_seed, store, search_store, progress
        As for `neuromodels.fits.networks.fit_network`.
    options : SpikingTrainingOptions
        How.
    recording : Recording
        Where the spikes are read at their finest.
    stimulus : str
        Which one.

    Returns
    -------
    Outcome
        Fitted model with its history and diagnostics.
    """
    width = data.bin_width
    trains = recorded_trains(recording, stimulus, partition.train, width, spec.resolve().dt_s)
    outcome = fit_network(
        spec,
        data,
        partition,
        options,
        seed=seed,
        search_seed=search_seed,
        store=store,
        search_store=search_store,
        progress=progress,
        train=partial(_train, trains=trains),
    )
    model, start = outcome.model, outcome.summary["validation_from_bin"]
    start = max(start, model.settled_from)
    reference = np.concatenate([block.response for block in partition.train]).mean(0)
    calibrate(model, _some(partition.train, len(partition.validation)))
    rates = calibrated_rates(model, partition.validation)
    score = validation_score(rates, partition.validation, start, reference)
    return replace(
        outcome,
        summary=outcome.summary
        | {
            "validation_bits_per_spike": score,
            "before_calibration": outcome.summary["validation_bits_per_spike"],
            "validation_from_bin": start,
            "calibrated_on": "training blocks",
        },
    )


def _train(
    spec: ModelSpec,
    data: Input,
    partition: Partition,
    options: SpikingTrainingOptions,
    *,
    history: float,
    seed: int,
    score_from: int,
    checkpoint: Path | None,
    progress: Progress,
    trains: list[Trains],
) -> tuple[Spiking, TrainingRecord]:
    model = spec.build(data, seed, history=history)
    trainer = SpikeTrainer(
        model,
        partition.train,
        partition.validation,
        trains,
        options,
        seed=seed,
        score_from=score_from,
    )
    return model, trainer.run(checkpoint, progress)


# -- what to aim at -------------------------------------------------------------------------------
def recorded_trains(
    recording: Recording, stimulus: str, blocks: list[Block], bin_width: float, dt_s: float
) -> list[Trains]:
    """Spikes of unrepeated blocks on the neurons' steps, from the finest bins that are stored.

    Several spikes of a bin are spread evenly over it. Bins finer than a step tell nothing more and
    are joined.

    Parameters
    ----------
    recording : Recording
        With the stored bins.
    stimulus : str
        Which one.
    blocks : list of Block
        Cut from its role `train`, at `bin_width`.
    bin_width : float
        Of the fit, s.
    dt_s : float
        Step asked for, s.

    Returns
    -------
    list of Trains
        One per block.
    """
    per_bin = max(1, round(bin_width / dt_s))
    found = finest_counts(recording, stimulus, "train", blocks, bin_width, bin_width / per_bin)
    return [as_trains(counts, per_bin / parts) for counts, parts in found]


def finest_counts(
    recording: Recording,
    stimulus: str,
    role: str,
    blocks: list[Block],
    bin_width: float,
    dt_s: float,
) -> list[tuple[np.ndarray, int]]:
    """Counts of blocks in the finest stored bins that are not shorter than a step.

    Parameters
    ----------
    recording, stimulus, blocks, bin_width
        As for `recorded_trains`.
    role : str
        Which the blocks were cut from.
    dt_s : float
        Step, s.

    Returns
    -------
    list of (numpy.ndarray, int)
        ([trial,] fine bin, neuron), and how many of them make a bin of the fit.
    """
    fine, parts = _finest(recording, bin_width, dt_s)
    roles = recording.roles(stimulus)
    # A held-out part that the recording does not declare was carved from its training data.
    stored = recording.at(fine).blocks(role if role in roles else "train", stimulus)
    found = []
    for block in blocks:
        counts = _same_stretch(stored, block, fine, parts)
        found.append((block.response, 1) if counts is None else (counts, parts))
    return found


def _finest(recording: Recording, bin_width: float, dt_s: float) -> tuple[float, int]:
    """Width of the finest useful bins, s, and how many of them make a bin of the fit."""
    stored = recording.stored_bin_width
    whole = round(bin_width / stored)
    for parts in range(whole, 0, -1):
        if whole % parts == 0 and (bin_width / parts >= 0.999 * dt_s or parts == 1):
            return bin_width / parts, parts
    return bin_width, 1


def _same_stretch(stored: list[Block], block: Block, width: float, parts: int) -> np.ndarray | None:
    """Counts of the same time in finer bins; None if they are not there."""
    for one in stored:
        first = round((block.time[0] - one.time[0]) / width)
        if first >= 0 and first + parts * block.n_bins <= one.n_bins:
            found = one.response[..., first : first + parts * block.n_bins, :]
            shape = (*found.shape[:-2], block.n_bins, parts, found.shape[-1])
            if np.array_equal(found.reshape(shape).sum(axis=-2), block.response, equal_nan=True):
                return found
    return None


def as_trains(counts: np.ndarray, steps_per_bin: float) -> Trains:
    """Put the spikes of every bin evenly over it.

    Parameters
    ----------
    counts : numpy.ndarray
        (bin, neuron).
    steps_per_bin : float
        Steps of a bin, not always a whole number.

    Returns
    -------
    Trains
        As many spikes as were counted.
    """
    bins, neurons = np.nonzero(counts)
    many = counts[bins, neurons].astype(np.int64)
    which = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    place = (which + 0.5) / np.repeat(many, many)
    steps = np.floor((np.repeat(bins, many) + place) * steps_per_bin + 1e-6).astype(np.int64)
    neurons = np.repeat(neurons, many)
    order = np.lexsort((neurons, steps))
    return Trains(steps[order], neurons[order])


# -- calibration ----------------------------------------------------------------------------------
def _some(blocks: list[Block], n: int) -> list[Block]:
    return [blocks[i] for i in spread_evenly(len(blocks), min(n, len(blocks)))]


def calibrate(model: Spiking, blocks: list[Block]) -> None:
    """Set gain and floor of every neuron to those of the highest Poisson likelihood.

    The mean of noisy runs is a rate in its own right; the two numbers per neuron take out what the
    rule does not aim at (it compares squares, not likelihoods) and that no run ever says "never".

    Parameters
    ----------
    model : Spiking
        Its `gain` and `floor` are set.
    blocks : list of Block
        Training blocks, unrepeated.

    Notes
    -----
    λ = g r + f is a mixture of two known shapes; g and f follow the fixed-point steps of
    expectation maximisation (Richardson-Lucy): they stay positive and never lower the likelihood.
    """
    from_bin = model.settled_from
    counts = mean_counts(model, blocks, model.options.n_runs)
    usable = [i for i, block in enumerate(blocks) if block.n_bins > from_bin]
    if not usable:
        return
    rate = np.concatenate([counts[i][from_bin:] for i in usable])
    seen = np.concatenate([blocks[i].response[from_bin:] for i in usable]).astype(float)
    gain, floor = mixture(rate, seen)
    with torch.no_grad():
        model.gain.copy_(torch.from_numpy(gain))
        model.floor.copy_(torch.from_numpy(floor))


def mixture(rate: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and floor of the highest Poisson likelihood of counts under g · rate + f.

    Parameters
    ----------
    rate, counts : numpy.ndarray
        (bin, neuron).

    Returns
    -------
    gain, floor : numpy.ndarray
        (neuron,). A neuron without spikes gets the smallest floor, and the gain of a neuron whose
        runs were silent stays at 1.
    """
    total, n_bins = rate.sum(axis=0), len(rate)
    gain, floor = np.ones(rate.shape[1]), np.maximum(0.1 * counts.mean(axis=0), 1e-6)
    silent = total == 0
    for _ in range(_ITERATIONS):
        ratio = counts / (gain * rate + floor)
        gain = np.where(silent, 1.0, gain * (ratio * rate).sum(axis=0) / np.where(silent, 1, total))
        floor = np.maximum(floor * ratio.sum(axis=0) / n_bins, 1e-6)
    return gain, floor


@torch.no_grad()
def calibrated_rates(model: Spiking, blocks: list[Block]) -> list[np.ndarray]:
    """Rates as they are predicted, (bin, neuron) per block; NaN before the lead-in."""
    gain, floor = model.gain.double().numpy(), model.floor.double().numpy()
    counts = mean_counts(model, blocks, model.options.n_runs)
    return [gain * each + floor for each in counts]
