"""Training a spiking network on recorded spike trains by the SuperSpike rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch

from neuromodels.datasets.blocks import Block
from neuromodels.encoding.spiking import Spiking
from neuromodels.fits.epochs import EpochTrainer
from neuromodels.fits.memory import share
from neuromodels.fits.predictions import drive_of_block
from neuromodels.fits.spiking_options import SpikingTrainingOptions
from neuromodels.fits.spiking_rule import rule_gradient
from neuromodels.fits.superspike.engines import RuleKernels
from neuromodels.fits.training import learning_rate, validation_score
from neuromodels.options import OptionError
from neuromodels.spiking.kernels import error_kernel, psp_kernel

#: Share of the mean rate in a rate that is scored before it is calibrated: zero spikes in all runs
#: must not mean that a spike is impossible.
FLOOR_SHARE = 0.005
#: Spread of the current that a new front end makes, in distances from rest to threshold.
DRIVE_START = 0.5
#: Bins from which that spread is measured.
_START_BINS = 2000
#: Seed of the noise in validation: the same after every epoch.
_VALIDATION_SEED = 1
#: Bytes per step, neuron and run of a stretch: the distance in single precision, with room.
_BYTES = 12


class Trains(NamedTuple):
    """Recorded spikes of one block, on the neurons' steps.

    Attributes
    ----------
    steps : numpy.ndarray
        (spike,), from the block's start, sorted.
    neurons : numpy.ndarray
        (spike,).
    """

    steps: np.ndarray
    neurons: np.ndarray

    def between(self, start: int, stop: int, n_neurons: int) -> np.ndarray:
        """Spikes per step and neuron, (step, neuron)."""
        first, last = np.searchsorted(self.steps, (start, stop))
        found = np.zeros((stop - start, n_neurons), np.float32)
        np.add.at(found, (self.steps[first:last] - start, self.neurons[first:last]), 1)
        return found


class Stretch(NamedTuple):
    """Bins start … stop − 1 of a training block."""

    block: int
    start: int
    stop: int


def stretches(blocks: list[Block], first_bin: int, length: int) -> list[Stretch]:
    """Cut what follows the first bins of every block into nearly equal stretches.

    Parameters
    ----------
    blocks : list of Block
        Training blocks.
    first_bin : int
        First bin of each block that can be compared.
    length : int
        Longest stretch, bins.

    Returns
    -------
    list of Stretch
        Every bin from `first_bin` on is in one of them.
    """
    found = []
    for index, block in enumerate(blocks):
        usable = block.n_bins - first_bin
        if usable < 1:
            continue
        edges = np.linspace(first_bin, block.n_bins, math.ceil(usable / length) + 1).round()
        pairs = zip(edges[:-1], edges[1:], strict=True)
        found += [Stretch(index, int(start), int(stop)) for start, stop in pairs]
    return found


class SpikeTrainer(EpochTrainer):
    """Trains one spiking network; its whole state can be stored after any epoch.

    Parameters
    ----------
    model : Spiking
        Trained in place.
    train, validation : list of Block
        Unrepeated blocks.
    trains : list of Trains
        Recorded spikes of every training block.
    options : SpikingTrainingOptions
        How.
    seed : int
        Of the order of stretches, of the noise, and of random feedback.
    score_from : int
        First bin of each validation block that is scored.
    """

    def __init__(
        self,
        model: Spiking,
        train: list[Block],
        validation: list[Block],
        trains: list[Trains],
        options: SpikingTrainingOptions,
        *,
        seed: int,
        score_from: int,
    ):
        self.model, self.options = model, options
        self.train, self.validation, self.trains = train, validation, trains
        self.score_from = max(score_from, model.settled_from)
        # Bins that a run needs to forget that it began at rest: they are run and not compared.
        self.settling = model.settled_from - model.lead_in
        self.stretches = stretches(train, model.settled_from, self._bins_per_stretch())
        if not self.stretches:
            raise OptionError(
                f"the window of {model.lead_in} bins is longer than every training block.",
                remedy="Give a shorter history.",
            )
        self.reference = np.concatenate([block.response for block in train]).mean(0)
        network = model.network
        self.kernels = RuleKernels(
            psp_kernel(network.coefficients),
            error_kernel(options.error_rise_s, options.error_decay_s, network.dt_s),
        )
        self.chance = torch.Generator().manual_seed(seed)
        self._scale_start()
        self.feedback = self._fixed_feedback()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        super().__init__(
            model,
            optimizer,
            epochs=options.epochs,
            columns=("loss", "validation", "learning_rate", "wall_time", "cpu_time", "hidden_rate"),
            generators={"chance": self.chance},
            patience=options.patience,
        )

    def _bins_per_stretch(self) -> int:
        """As many as asked for, if the memory bound has room for them."""
        bins = max(1, round(self.options.stretch_s / self.model.input.bin_width))
        n_neurons = sum(self.model.network.sizes[1:])
        each = self.model.steps_per_bin * n_neurons * self.options.runs_per_stretch * _BYTES
        return max(1, min(bins, share(1 / 4) // each - self.settling))

    @torch.no_grad()
    def _scale_start(self) -> None:
        """Make the new filters' current vary as much as a hidden neuron can use, for any movie."""
        if self.model.options.front_end == "none":
            return
        one = max(self.stretches, key=lambda stretch: stretch.stop - stretch.start)
        block, model = self.train[one.block], self.model
        stop = min(block.n_bins, model.lead_in + _START_BINS)
        drive = drive_of_block(model, block, 0, stop)[:, : len(model.readout)]
        spread = float(drive.std(dim=0).mean()) / model.volts_per_unit
        if spread > 0:
            model.front.weight.mul_(DRIVE_START / spread)

    def _fixed_feedback(self) -> np.ndarray | None:
        shape = self.model.readout.shape
        if self.options.feedback == "uniform":
            return np.ones(shape)
        if self.options.feedback == "random":
            return torch.randn(shape, generator=self.chance, dtype=torch.float64).numpy()
        return None

    def _note(self) -> str:
        score = self.history["validation"][-1]
        return f"epoch {self.epoch}/{self.options.epochs}   validation {score:.3f} bits/spike"

    def _identity(self) -> dict[str, Any]:
        return {"options": asdict(self.options), "n_stretches": len(self.stretches)}

    def _one_epoch(self, let_through: Callable[[], None]) -> dict[str, float]:
        self.model.train()
        n_taken = math.ceil(self.options.share * len(self.stretches))
        order = []
        while len(order) < max(n_taken, self.options.least_updates):
            drawn = torch.randperm(len(self.stretches), generator=self.chance)
            order += drawn[:n_taken].tolist()
        seeds = torch.randint(2**31, (len(order),), generator=self.chance).tolist()
        n_steps, losses, spikes, rate = len(order) * self.options.epochs, [], 0.0, 0.0
        seconds = 0.0
        for index, (chosen, seed) in enumerate(zip(order, seeds, strict=True)):
            let_through()
            step = self.epoch * len(order) + index
            rate = learning_rate(self.options, step, n_steps, self.history["validation"])
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss, n_hidden_spikes, lasted = self._update(self.stretches[chosen], seed)
            losses.append(loss)
            spikes, seconds = spikes + n_hidden_spikes, seconds + lasted
        hidden_rate = spikes / (seconds * self.options.runs_per_stretch * len(self.model.readout))
        return {
            "loss": float(np.sum(losses)) / seconds / len(self.reference),
            "validation": self._validate(),
            "learning_rate": rate,
            "hidden_rate": hidden_rate,
        }

    def _update(self, stretch: Stretch, seed: int) -> tuple[float, int, float]:
        """Run, compare, and change the weights once: loss (1/s), hidden spikes, seconds."""
        model, options = self.model, self.options
        block, per_bin = self.train[stretch.block], model.steps_per_bin
        first = stretch.start - self.settling
        seen = slice(first - model.lead_in, stretch.stop)
        movie = torch.from_numpy(block.movie(seen.start, seen.stop))[None]
        spikes = torch.from_numpy(block.response[seen].astype(np.float32))[None]
        drive = model.drive(movie, spikes)[0]
        _, recorded = model.runs(
            drive.detach().numpy(), options.runs_per_stretch, seed, warm_up_s=0.0, record="rule"
        )
        target = self.trains[stretch.block].between(
            first * per_bin, stretch.stop * per_bin, len(self.reference)
        )
        gradient = rule_gradient(
            recorded,
            target,
            model.weights.detach().numpy() if self.feedback is None else self.feedback,
            self.kernels,
            dt_s=model.network.dt_s,
            steps_per_bin=per_bin,
            beta_per_v=options.beta_per_v,
            first_step=self.settling * per_bin,
            others=options.compare == "other runs",
        )
        self.optimizer.zero_grad()
        drive.backward(torch.from_numpy(gradient.drive).to(drive.dtype))
        weights = gradient.weights * model.network.parameters.gap_v
        model.readout.grad = torch.from_numpy(weights).to(model.readout.dtype)
        self.optimizer.step()
        seconds = len(drive) * model.input.bin_width
        return gradient.loss, len(recorded.steps), seconds

    def _validate(self) -> float:
        rates = uncalibrated_rates(
            self.model, self.validation, self.options.validation_runs, self.reference
        )
        return validation_score(rates, self.validation, self.score_from, self.reference)


@torch.no_grad()
def mean_counts(model: Spiking, blocks: list[Block], n_runs: int) -> list[np.ndarray]:
    """Mean spikes per bin of noisy runs for every block, (bin, neuron); NaN before the lead-in."""
    found = []
    for index, block in enumerate(blocks):
        counts = np.full((block.n_bins, block.response.shape[-1]), np.nan)
        if block.n_bins > model.lead_in:
            drive = drive_of_block(model, block)
            counts[model.lead_in :] = model.mean_counts(drive, n_runs, _VALIDATION_SEED + index)
        found.append(counts)
    return found


def uncalibrated_rates(
    model: Spiking, blocks: list[Block], n_runs: int, reference: np.ndarray
) -> list[np.ndarray]:
    """Rates that choices are made by: nearly the runs' own mean, with a little of the cells'."""
    return [
        (1 - FLOOR_SHARE) * counts + FLOOR_SHARE * reference + 1e-6
        for counts in mean_counts(model, blocks, n_runs)
    ]
