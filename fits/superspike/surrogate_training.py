"""The second trainer: backpropagation through time with a surrogate, for any loss.

It is a different algorithm from the SuperSpike rule, though it may use the same surrogate: errors
go back through the hidden layers' voltages and, unless told otherwise, through resets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.fits.epochs import EpochTrainer, TrainingRecord
from neuromodels.fits.progress import Progress
from neuromodels.fits.superspike.losses import Loss
from neuromodels.options import OptionError
from neuromodels.spiking.events import SpikeEvents


class SpikingTrials(NamedTuple):
    """What a spiking network learns from.

    Attributes
    ----------
    inputs : torch.Tensor or SpikeEvents
        (trial, step, source).
    targets : torch.Tensor
        What the loss compares with, by trial: labels (trial,), spikes (trial, step, neuron), ...
    """

    inputs: Tensor | SpikeEvents
    targets: Tensor

    def select(self, trials: np.ndarray) -> SpikingTrials:
        """Return some trials, in the order given."""
        if isinstance(self.inputs, SpikeEvents):
            return SpikingTrials(self.inputs.select(trials), self.targets[trials])
        return SpikingTrials(self.inputs[trials], self.targets[trials])


@dataclass(frozen=True)
class SurrogateOptions:
    """How a spiking network is trained by surrogate gradients.

    Attributes
    ----------
    epochs : int
        Passes over the trials.
    batch_trials : int
        Trials whose loss makes one step.
    learning_rate : float
        Of Adam: about what a weight changes by in a step at most, V.
    gradient_clip : float
        Largest norm of a step's gradient; 0 leaves it as it is. (Adam divides by the gradient's
        size: a norm that is always above is no change at all.)
    weight_bound_v : float
        Weights are clipped to ± this after every step, V; 0 leaves them as they are.
    seed : int
        Of the order of trials.
    """

    epochs: int = 50
    batch_trials: int = 64
    learning_rate: float = 1e-3
    gradient_clip: float = 0.0
    weight_bound_v: float = 0.0
    seed: int = 0

    def __post_init__(self):
        for name in ("epochs", "batch_trials"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} = {getattr(self, name)} must be at least 1.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise OptionError(f"learning_rate = {self.learning_rate:g} must be positive.")
        if self.gradient_clip < 0 or self.weight_bound_v < 0:
            raise OptionError("gradient_clip and weight_bound_v must not be negative.")


def train_surrogate(
    network: nn.Module,
    data: SpikingTrials,
    loss: Loss,
    options: SurrogateOptions | None = None,
    *,
    validation: SpikingTrials | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> TrainingRecord:
    """Train a spiking network by backpropagation through time, in place.

    Parameters
    ----------
    network : torch.nn.Module
        A `LIFNetwork`, a layer, or any module that takes (trial, step, source) and returns
        (trial, step, neuron), alone or with a state, as list of all layers or not.
    data : SpikingTrials
        Trials to learn from.
    loss : callable
        (output of the last layer, targets) to a scalar, a mean over trials.
    options : SurrogateOptions, optional
        How.
    validation : SpikingTrials, optional
        Trials that choose the epoch.
    checkpoint : Path, optional
        File that holds the state after every epoch; training goes on from it if it exists, as
        if it had never stopped.
    progress : Progress, optional
        Told after every epoch.

    Returns
    -------
    TrainingRecord
        The network then has the weights of the best epoch.

    Raises
    ------
    OptionError
        Trials and targets differ in number; a checkpoint of other options, data or network.
    """
    trainer = SurrogateTrainer(network, data, loss, options or SurrogateOptions(), validation)
    return trainer.run(checkpoint, progress)


def output_of(network: nn.Module, inputs: Tensor | SpikeEvents) -> Tensor:
    """Run a network and return the output of its last layer, whatever else it returns."""
    out = network(inputs)
    if isinstance(out, tuple):
        out = out[0]
    return out[-1] if isinstance(out, list) else out


class SurrogateTrainer(EpochTrainer):
    """See `train_surrogate`."""

    #: The best epoch is that of the least validation loss.
    sign = -1

    def __init__(
        self,
        network: nn.Module,
        data: SpikingTrials,
        loss: Loss,
        options: SurrogateOptions,
        validation: SpikingTrials | None,
    ):
        for what, trials in (("training", data), ("validation", validation)):
            if trials is not None and trials.inputs.shape[0] != len(trials.targets):
                raise OptionError(
                    f"{trials.inputs.shape[0]} {what} trials have {len(trials.targets)} targets."
                )
        self.network, self.data, self.loss, self.options = network, data, loss, options
        self.validation = validation
        self.order = torch.Generator().manual_seed(options.seed)
        super().__init__(
            network,
            torch.optim.Adam(network.parameters(), lr=options.learning_rate),
            epochs=options.epochs,
            columns=("loss", "validation", "wall_time", "cpu_time"),
            generators={"order": self.order},
        )

    def _note(self) -> str:
        note = f"epoch {self.epoch}/{self.options.epochs}   loss {self.history['loss'][-1]:.4g}"
        if self.validation is not None:
            note += f"   validation {self.history['validation'][-1]:.4g}"
        return note

    def _one_epoch(self, let_through: Callable[[], None]) -> dict[str, float]:
        self.network.train()
        n_trials = self.data.inputs.shape[0]
        order = torch.randperm(n_trials, generator=self.order).numpy()
        total = 0.0
        for start in range(0, n_trials, self.options.batch_trials):
            let_through()
            chosen = order[start : start + self.options.batch_trials]
            inputs, targets = self.data.select(chosen)
            self.optimizer.zero_grad()
            loss = self.loss(output_of(self.network, inputs), targets)
            loss.backward()
            if self.options.gradient_clip:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.options.gradient_clip)
            self.optimizer.step()
            if bound := self.options.weight_bound_v:
                with torch.no_grad():
                    for parameter in self.network.parameters():
                        parameter.clamp_(-bound, bound)
            total += float(loss.detach()) * len(chosen)
        row = {"loss": total / n_trials}
        return row if self.validation is None else row | {"validation": self._validate()}

    @torch.no_grad()
    def _validate(self) -> float:
        self.network.eval()
        n_trials, total = self.validation.inputs.shape[0], 0.0
        for start in range(0, n_trials, self.options.batch_trials):
            chosen = np.arange(start, min(start + self.options.batch_trials, n_trials))
            inputs, targets = self.validation.select(chosen)
            total += float(self.loss(output_of(self.network, inputs), targets)) * len(chosen)
        return total / n_trials

    def _identity(self) -> dict[str, Any]:
        # More epochs are no other training: it can be prolonged.
        options = {k: v for k, v in asdict(self.options).items() if k != "epochs"}
        shapes = {name: list(value.shape) for name, value in self.network.state_dict().items()}
        data = [list(self.data.inputs.shape), list(self.data.targets.shape)]
        return {"options": options, "network": shapes, "data": data}
