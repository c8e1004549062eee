"""Training a network on stretches of recording by the likelihood of its responses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from neuromodels.datasets.blocks import Block
from neuromodels.fits.epochs import EpochTrainer
from neuromodels.fits.likelihoods import POISSON, Likelihood, LikelihoodName
from neuromodels.fits.memory import bins_at_once
from neuromodels.fits.predictions import stimulus_rates
from neuromodels.fits.sampling import Segment, read_batch, segments
from neuromodels.options import OptionError


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    Attributes
    ----------
    epochs : int
        Passes over the training bins, at most.
    batch_bins : int
        Bins whose loss makes one step.
    segment_bins : int
        Length of the contiguous stretches that a batch is made of, in outputs.
    optimizer : {"adamw", "adam", "rmsprop"}
        Update rule.
    learning_rate : float
        Highest learning rate of the schedule.
    weight_decay : float
        Decoupled weight decay (AdamW); presets use explicit penalties instead.
    schedule : {"one-cycle", "constant", "plateau"}
        "one-cycle" rises over a tenth of the steps and falls to zero as a cosine; "plateau"
        multiplies by 0.2 after 5 epochs without progress on the validation blocks.
    patience : int
        Epochs without progress on the validation blocks before training stops.
    gradient_clip : float
        Largest norm of a step's gradient.
    search_epochs : int
        Length of the short runs that choose among several histories.
    likelihood : {"auto", "poisson", "gaussian", "gamma"}
        What the loss is: "auto" is Poisson for spike counts, Gaussian for rates and traces.
    """

    epochs: int = 12
    batch_bins: int = 2048
    segment_bins: int = 512
    optimizer: Literal["adamw", "adam", "rmsprop"] = "adamw"
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    schedule: Literal["one-cycle", "constant", "plateau"] = "one-cycle"
    patience: int = 6
    gradient_clip: float = 1.0
    search_epochs: int = 3
    likelihood: LikelihoodName = "auto"

    def __post_init__(self):
        for name in ("epochs", "batch_bins", "segment_bins", "patience", "search_epochs"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} = {getattr(self, name)} must be at least 1.")
        if self.batch_bins < self.segment_bins:
            raise OptionError(
                f"batch_bins = {self.batch_bins} is less than segment_bins = {self.segment_bins}.",
                remedy="A batch holds at least one segment: give both.",
            )
        if self.weight_decay and self.optimizer != "adamw":
            raise OptionError(
                f"weight_decay = {self.weight_decay:g} needs the optimizer 'adamw'.",
                remedy="Set weight_decay = 0, or use the model's own penalties (l2, readout_l2).",
            )
        if not self.learning_rate > 0 or not self.gradient_clip > 0 or self.weight_decay < 0:
            raise OptionError(
                "learning_rate and gradient_clip must be positive, weight_decay not negative."
            )

    def for_search(self) -> TrainingOptions:
        """Options of the short runs that choose among several histories."""
        return replace(self, epochs=self.search_epochs, patience=self.search_epochs)


def validation_score(
    rates: list[np.ndarray],
    blocks: list[Block],
    start: int,
    reference: np.ndarray,
    likelihood: Likelihood = POISSON,
) -> float:
    """Score on unrepeated blocks, mean over neurons: what every choice is made by.

    Parameters
    ----------
    rates : list of numpy.ndarray
        (bin, neuron) per block.
    blocks : list of Block
        Unrepeated.
    start : int
        First bin scored in each block.
    reference : numpy.ndarray
        (neuron,), mean response in training.
    likelihood : Likelihood
        Bits per spike for counts, variance explained for rates and traces.

    Returns
    -------
    float
        Neurons without a spike have no score and are left out; minus infinity if a rate is no
        number, or no neuron is left.
    """
    responses = np.concatenate([block.response[start:] for block in blocks])
    rate = np.concatenate([rate[start:] for rate in rates])
    if not np.isfinite(rate).all():
        return -math.inf
    scores = likelihood.validation(rate, responses, reference)
    scored = np.isfinite(scores)
    return float(scores[scored].mean()) if scored.any() else -math.inf


PLATEAU_EPOCHS = 5
PLATEAU_FACTOR = 0.2
WARM_UP = 0.1


def learning_rate(options: TrainingOptions, step: int, n_steps: int, scores: list[float]) -> float:
    """Learning rate of a step; a function of what a checkpoint holds, so that resuming is exact.

    Parameters
    ----------
    options : TrainingOptions
        Schedule and highest rate.
    step, n_steps : int
        This step and the steps of all epochs.
    scores : list of float
        Validation scores of the epochs that are over.
    """
    if options.schedule == "constant":
        return options.learning_rate
    if options.schedule == "plateau":
        drops, best, waited = 0, -math.inf, 0
        for score in scores:
            waited = 0 if score > best else waited + 1
            best = max(best, score)
            if waited > PLATEAU_EPOCHS:
                drops, waited = drops + 1, 0
        return options.learning_rate * PLATEAU_FACTOR**drops
    warm = max(1, round(WARM_UP * n_steps))
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (n_steps - warm)))


def make_optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """Return the update rule that the options ask for, of all parameters of a module."""
    if options.optimizer == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
    kind = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}[options.optimizer]
    return kind(model.parameters(), lr=options.learning_rate)


def steps_per_epoch(n_segments: int, options: TrainingOptions) -> int:
    """Steps that see every segment once."""
    return math.ceil(n_segments / max(1, round(options.batch_bins / options.segment_bins)))


class StepTrainer(EpochTrainer):
    """An epoch as steps of a scheduled optimizer; a subclass says on what, and how it is scored.

    Attributes
    ----------
    options : TrainingOptions
        How.
    likelihood : Likelihood
        Of the responses.
    n_batches : int
        Steps of an epoch.
    """

    options: TrainingOptions
    likelihood: Likelihood
    n_batches: int

    def batches(self) -> list[Any]:
        """Draw the order of an epoch: what each of its steps is given."""
        raise NotImplementedError

    def accumulate(self, chosen: Any) -> float:
        """Add the gradient of what a step is given; returns its loss."""
        raise NotImplementedError

    def scores(self) -> dict[str, float]:
        """Columns of the history that the validation blocks give, "validation" among them."""
        raise NotImplementedError

    def _note(self) -> str:
        score, unit = self.history["validation"][-1], self.likelihood.unit
        return f"epoch {self.epoch}/{self.options.epochs}   validation {score:.3f} {unit}"

    def _one_epoch(self, let_through: Callable[[], None]) -> dict[str, float]:
        self.module.train()
        n_steps, losses, rate = self.n_batches * self.options.epochs, [], 0.0
        for batch, chosen in enumerate(self.batches()):
            step = self.epoch * self.n_batches + batch
            rate = learning_rate(self.options, step, n_steps, self.history["validation"])
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            let_through()
            losses.append(self._step(chosen))
        return {"loss": float(np.mean(losses)), "learning_rate": rate} | self.scores()

    def _step(self, chosen: Any) -> float:
        self.optimizer.zero_grad()
        value = self.accumulate(chosen)
        nn.utils.clip_grad_norm_(self.module.parameters(), self.options.gradient_clip)
        self.optimizer.step()
        return value


class Trainer(StepTrainer):
    """Trains one model; its whole state can be stored after any epoch.

    Parameters
    ----------
    model : torch.nn.Module
        Keeps the model contract; `training_output`, called in place of it, may add a penalty to
        the loss. It is trained in place.
    train, validation : list of Block
        Unrepeated blocks.
    options : TrainingOptions
        How.
    seed : int
        Of the order of segments.
    score_from : int
        First bin of each validation block that is scored.
    likelihood : Likelihood
        Of the responses.
    """

    def __init__(
        self,
        model: nn.Module,
        train: list[Block],
        validation: list[Block],
        options: TrainingOptions,
        *,
        seed: int,
        score_from: int,
        likelihood: Likelihood = POISSON,
    ):
        self.model, self.options, self.score_from = model, options, score_from
        self.validation, self.likelihood = validation, likelihood
        self.segments = segments(train, model.lead_in, options.segment_bins)
        if not self.segments:
            raise OptionError(
                f"the window of {model.lead_in} bins is longer than every training block.",
                remedy="Give a shorter history.",
            )
        # A batch that the memory bound has no room for comes in parts; their gradients add up.
        self.bins_at_once = bins_at_once(model, train[0].frame_shape)
        self.n_batches = steps_per_epoch(len(self.segments), options)
        responses = np.concatenate([block.response for block in train])
        self.reference = responses.mean(0, dtype=np.float64)
        self.scale = torch.from_numpy(likelihood.scale(responses)[1].astype(np.float32))
        if hasattr(model, "set_scale"):
            model.set_scale(self.scale)
        self.order = torch.Generator().manual_seed(seed)
        noise = {"model": model.generator} if hasattr(model, "generator") else {}
        super().__init__(
            model,
            make_optimizer(model, options),
            epochs=options.epochs,
            columns=("loss", "validation", "learning_rate", "wall_time", "cpu_time"),
            generators={"order": self.order} | noise,
            patience=options.patience,
        )

    def _identity(self) -> dict[str, Any]:
        return {"options": asdict(self.options), "n_segments": len(self.segments)}

    def batches(self) -> list[list[Segment]]:
        """Draw the order of an epoch: the segments of every step."""
        order = torch.randperm(len(self.segments), generator=self.order).tolist()
        return [
            [self.segments[i] for i in order[batch :: self.n_batches]]
            for batch in range(self.n_batches)
        ]

    def scores(self) -> dict[str, float]:
        """Score on the validation blocks, as a column of the history."""
        return {"validation": self.validate()}

    def accumulate(self, chosen: list[Segment], factor: float = 1.0) -> float:
        """Add the gradient of `factor` times the loss of some segments; returns that loss.

        Parameters
        ----------
        chosen : list of Segment
            Their bins count once each, whatever their number.
        factor : float
            Share of this recording where several share a core.
        """
        total = sum(float(segment.weight.sum()) for segment in chosen)
        value = 0.0
        for batch in read_batch(chosen, self.model, self.bins_at_once):
            stimulus, counts, weight = batch.stimulus, batch.counts, batch.weight
            share = float(weight.sum()) / total
            if hasattr(self.model, "training_output"):
                rate, penalty = self.model.training_output(stimulus, **batch.given)
            else:
                rate, penalty = self.model(stimulus, **batch.given), 0.0
            lost = self.likelihood.loss(rate, counts, self.scale)
            data = (lost * weight).sum() / (total * counts.shape[-1])
            loss = data + share * penalty
            (factor * loss).backward()
            value += float(loss.detach())
        return value

    def validate(self) -> float:
        """Score on the validation blocks."""
        self.model.eval()
        rates = [stimulus_rates(self.model, block) for block in self.validation]
        return validation_score(
            rates, self.validation, self.score_from, self.reference, self.likelihood
        )
