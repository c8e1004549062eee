"""The one training loop: every torch model of the package learns here."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.analysis.metrics import bits_per_spike
from neuromodels.datasets.blocks import Block
from neuromodels.fits.checkpoint import load_checkpoint, plain, save_checkpoint
from neuromodels.fits.memory import bins_at_once
from neuromodels.fits.predictions import stimulus_rates
from neuromodels.fits.progress import Progress
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


def poisson_loss(rate: Tensor, count: Tensor) -> Tensor:
    """Negative Poisson log-likelihood per bin and neuron, without the count's constant."""
    return rate - count * torch.log(rate.clamp_min(1e-8))


def validation_score(
    rates: list[np.ndarray], blocks: list[Block], start: int, reference: np.ndarray
) -> float:
    """Bits per spike on unrepeated blocks, mean over neurons: what every choice is made by.

    Parameters
    ----------
    rates : list of numpy.ndarray
        (bin, neuron) per block.
    blocks : list of Block
        Unrepeated.
    start : int
        First bin scored in each block.
    reference : numpy.ndarray
        (neuron,), mean rate in training.

    Returns
    -------
    float
        Neurons without a spike have no score and are left out; minus infinity if a rate is no
        number, or no neuron is left.
    """
    counts = np.concatenate([block.response[start:] for block in blocks])
    rate = np.concatenate([rate[start:] for rate in rates])
    if not np.isfinite(rate).all():
        return -math.inf
    scores = bits_per_spike(rate, counts, reference)
    scored = np.isfinite(scores)
    return float(scores[scored].mean()) if scored.any() else -math.inf


@dataclass
class TrainingRecord:
    """How a training went.

    Attributes
    ----------
    history : dict of list
        Per epoch: `loss`, `validation` (bits per spike), `learning_rate`, `wall_time` and
        `cpu_time` (s, since the start).
    best_epoch : int
        Epoch whose weights the model has now.
    stopped : str
        Why training ended.
    """

    history: dict[str, list[float]]
    best_epoch: int
    stopped: str

    @property
    def best(self) -> float:
        """Best validation score, bits per spike."""
        return self.history["validation"][self.best_epoch]


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


def _optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    if options.optimizer == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
    kind = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}[options.optimizer]
    return kind(model.parameters(), lr=options.learning_rate)


class Trainer:
    """Trains one model; its whole state can be stored after any epoch.

    Parameters
    ----------
    model : torch.nn.Module
        Keeps the model contract; `training_output(stimulus)` may add a penalty to the loss. It is
        trained in place.
    train, validation : list of Block
        Unrepeated blocks of spike counts.
    options : TrainingOptions
        How.
    seed : int
        Of the order of segments.
    score_from : int
        First bin of each validation block that is scored.
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
    ):
        self.model, self.options, self.score_from = model, options, score_from
        self.validation = validation
        self.segments = segments(train, model.lead_in, options.segment_bins)
        if not self.segments:
            raise OptionError(
                f"the window of {model.lead_in} bins is longer than every training block.",
                remedy="Give a shorter history.",
            )
        per_batch = max(1, round(options.batch_bins / options.segment_bins))
        # A batch that the memory bound has no room for comes in parts; their gradients add up.
        self.bins_at_once = bins_at_once(model, train[0].frame_shape)
        self.n_batches = math.ceil(len(self.segments) / per_batch)
        self.reference = np.concatenate([block.response for block in train]).mean(0)
        self.order = torch.Generator().manual_seed(seed)
        self.optimizer = _optimizer(model, options)
        self.history: dict[str, list[float]] = {
            name: [] for name in ("loss", "validation", "learning_rate", "wall_time", "cpu_time")
        }
        self.best_epoch = -1
        self.best_state: dict[str, Tensor] = {}

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history["loss"])

    def run(
        self, checkpoint: Path | None = None, progress: Progress | None = None
    ) -> TrainingRecord:
        """Train to the end, from the checkpoint if there is one.

        Parameters
        ----------
        checkpoint : Path, optional
            File that holds the state after every epoch.
        progress : Progress, optional
            Told after every epoch.

        Returns
        -------
        TrainingRecord
            The model then has the weights of the best epoch.
        """
        progress = progress or Progress()
        identity = {"options": asdict(self.options), "n_segments": len(self.segments)}
        if checkpoint is not None and (found := load_checkpoint(checkpoint)):
            self._restore(*found, identity)
        wall, cpu = time.monotonic(), time.process_time()
        if self.epoch:
            wall -= self.history["wall_time"][-1]
            cpu -= self.history["cpu_time"][-1]
            progress.update(self.epoch, self._note())
        while (stopped := self._reason_to_stop()) is None:
            loss, rate = self._one_epoch()
            score = self._validate()
            row = (loss, score, rate, time.monotonic() - wall, time.process_time() - cpu)
            for name, value in zip(self.history, row, strict=True):
                self.history[name].append(float(value))
            if self.best_epoch < 0 or score > self.history["validation"][self.best_epoch]:
                self.best_epoch = self.epoch - 1
                self.best_state = {k: v.clone() for k, v in self.model.state_dict().items()}
            if checkpoint is not None:
                save_checkpoint(checkpoint, self._arrays(), self._state() | {"is": identity})
            progress.update(self.epoch, self._note())
        if self.best_state:
            self.model.load_state_dict(self.best_state)
        self.model.eval()
        return TrainingRecord(self.history, self.best_epoch, stopped)

    def _note(self) -> str:
        score = self.history["validation"][-1]
        return f"epoch {self.epoch}/{self.options.epochs}   validation {score:.3f} bits/spike"

    def _reason_to_stop(self) -> str | None:
        if self.epoch and not math.isfinite(self.history["loss"][-1]):
            return f"the loss is no longer a number (epoch {self.epoch})"
        if self.epoch >= self.options.epochs:
            return f"all {self.options.epochs} epochs done"
        if self.epoch and self.epoch - 1 - self.best_epoch >= self.options.patience:
            return f"no progress on the validation blocks for {self.options.patience} epochs"
        return None

    def _one_epoch(self) -> tuple[float, float]:
        self.model.train()
        order = torch.randperm(len(self.segments), generator=self.order).tolist()
        n_steps, losses, rate = self.n_batches * self.options.epochs, [], 0.0
        for batch in range(self.n_batches):
            step = self.epoch * self.n_batches + batch
            rate = learning_rate(self.options, step, n_steps, self.history["validation"])
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            chosen = [self.segments[i] for i in order[batch :: self.n_batches]]
            losses.append(self._step(chosen))
        return float(np.mean(losses)), rate

    def _step(self, chosen: list[Segment]) -> float:
        self.optimizer.zero_grad()
        total = sum(float(segment.weight.sum()) for segment in chosen)
        value = 0.0
        for stimulus, counts, weight in read_batch(chosen, self.model.lead_in, self.bins_at_once):
            share = float(weight.sum()) / total
            if hasattr(self.model, "training_output"):
                rate, penalty = self.model.training_output(stimulus)
            else:
                rate, penalty = self.model(stimulus), 0.0
            data = (poisson_loss(rate, counts) * weight).sum() / (total * counts.shape[-1])
            loss = data + share * penalty
            loss.backward()
            value += float(loss.detach())
        nn.utils.clip_grad_norm_(self.model.parameters(), self.options.gradient_clip)
        self.optimizer.step()
        return value

    def _validate(self) -> float:
        self.model.eval()
        rates = [stimulus_rates(self.model, block) for block in self.validation]
        return validation_score(rates, self.validation, self.score_from, self.reference)

    # -- the state on disk ----------------------------------------------------------------------
    def _state(self) -> dict[str, Any]:
        return {"history": self.history, "best_epoch": self.best_epoch}

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"model/{k}": v.numpy() for k, v in self.model.state_dict().items()}
        arrays |= {f"best/{k}": v.numpy() for k, v in self.best_state.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            arrays |= {f"optimizer/{index}/{k}": v.numpy() for k, v in state.items()}
        arrays["random/order"] = self.order.get_state().numpy()
        if hasattr(self.model, "generator"):
            arrays["random/model"] = self.model.generator.get_state().numpy()
        return arrays

    def _restore(
        self, arrays: dict[str, np.ndarray], state: dict[str, Any], identity: dict[str, Any]
    ) -> None:
        if state["is"] != plain(identity):
            raise OptionError(
                "the stored state of this fit was made with other options or data.",
                remedy="Resume with the same options, or start again with overwrite.",
            )
        self.history, self.best_epoch = state["history"], state["best_epoch"]
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        for name, value in arrays.items():
            part, _, key = name.partition("/")
            if part in parts:
                parts[part][key] = torch.from_numpy(np.array(value))
        self.model.load_state_dict(parts["model"])
        self.best_state = parts["best"]
        optimizer = self.optimizer.state_dict()
        for name, value in parts["optimizer"].items():
            index, _, key = name.partition("/")
            optimizer["state"].setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(optimizer)
        self.order.set_state(torch.from_numpy(arrays["random/order"]))
        if "random/model" in arrays:
            self.model.generator.set_state(torch.from_numpy(arrays["random/model"]))
