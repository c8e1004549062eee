"""Epochs of training a torch module, one after the other; all that is carried along is stored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.fits.checkpoint import load_checkpoint, plain, save_checkpoint
from neuromodels.fits.interrupts import held_interrupts
from neuromodels.fits.progress import Progress
from neuromodels.options import OptionError


@dataclass
class TrainingRecord:
    """How a training went.

    Attributes
    ----------
    history : dict of list
        Per epoch: `loss`, `validation` (empty without anything to validate on), `wall_time` and
        `cpu_time` (s, since the start), and what the trainer adds.
    best_epoch : int
        Epoch whose weights the module has now: the one of the best validation score, or the last.
    stopped : str
        Why training ended.
    """

    history: dict[str, list[float]]
    best_epoch: int
    stopped: str

    @property
    def best(self) -> float:
        """Best validation score."""
        return self.history["validation"][self.best_epoch]


class EpochTrainer:
    """What all trainings of torch modules share; a subclass says what an epoch is.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place.
    optimizer : torch.optim.Optimizer
        Of its parameters.
    epochs : int
        At most.
    columns : tuple of str
        Of the history: all that `_one_epoch` returns, and `wall_time` and `cpu_time`.
    generators : dict of torch.Generator
        Everything that chance comes from, by name.
    patience : int, optional
        Epochs without progress on the validation score before training stops.
    """

    #: The sign with which a validation score is to be as large as possible.
    sign = 1

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        epochs: int,
        columns: tuple[str, ...],
        generators: dict[str, torch.Generator],
        patience: int | None = None,
    ):
        self.module, self.optimizer, self.generators = module, optimizer, generators
        self.epochs, self.patience = epochs, patience
        self.history: dict[str, list[float]] = {name: [] for name in columns}
        self.best_epoch = -1
        self.best_state: dict[str, Tensor] = {}

    def _one_epoch(self, let_through: Callable[[], None]) -> dict[str, float]:
        """Train for an epoch, and return its row; Ctrl-C comes where `let_through` is called."""
        raise NotImplementedError

    def _identity(self) -> dict[str, Any]:
        """What a stored state must agree with."""
        raise NotImplementedError

    def _note(self) -> str:
        """How it stands, in a line."""
        raise NotImplementedError

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
            The module then has the weights of the best epoch, and is in `eval` mode.
        """
        progress = progress or Progress()
        if checkpoint is not None and (found := load_checkpoint(checkpoint)):
            self._restore(*found)
        wall, cpu = time.monotonic(), time.process_time()
        if self.epoch:
            wall -= self.history["wall_time"][-1]
            cpu -= self.history["cpu_time"][-1]
            progress.update(self.epoch, self._note())
        with held_interrupts() as let_through:
            while (stopped := self._reason_to_stop()) is None:
                row = self._one_epoch(let_through)
                row |= {"wall_time": time.monotonic() - wall, "cpu_time": time.process_time() - cpu}
                for name, value in row.items():
                    self.history[name].append(float(value))
                self._keep_best()
                if checkpoint is not None:
                    save_checkpoint(checkpoint, self._arrays(), self._state())
                progress.update(self.epoch, self._note())
        if self.best_state:
            self.module.load_state_dict(self.best_state)
        self.module.eval()
        return TrainingRecord(self.history, self.best_epoch, stopped)

    def _reason_to_stop(self) -> str | None:
        if self.epoch and not math.isfinite(self.history["loss"][-1]):
            return f"the loss is no longer a number (epoch {self.epoch})"
        if self.epoch >= self.epochs:
            return f"all {self.epochs} epochs done"
        waited = self.epoch - 1 - self.best_epoch
        if self.epoch and self.patience is not None and waited >= self.patience:
            return f"no progress on the validation blocks for {self.patience} epochs"
        return None

    def _keep_best(self) -> None:
        scores = self.history["validation"]
        if not scores:
            self.best_epoch = self.epoch - 1
        elif self.best_epoch < 0 or self.sign * (scores[-1] - scores[self.best_epoch]) > 0:
            self.best_epoch = self.epoch - 1
            self.best_state = {k: v.clone() for k, v in self.module.state_dict().items()}

    # -- the state on disk ----------------------------------------------------------------------
    def _state(self) -> dict[str, Any]:
        return {"history": self.history, "best_epoch": self.best_epoch, "is": self._identity()}

    def _arrays(self) -> dict[str, np.ndarray]:
        parts = {"module": self.module.state_dict(), "best": self.best_state}
        for index, state in self.optimizer.state_dict()["state"].items():
            parts[f"optimizer/{index}"] = state
        parts["random"] = {name: one.get_state() for name, one in self.generators.items()}
        return {
            f"{part}/{name}": value.cpu().numpy()
            for part, values in parts.items()
            for name, value in values.items()
        }

    def _restore(self, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        if state["is"] != plain(self._identity()):
            raise OptionError(
                "the stored state of this training was made with other options or data.",
                remedy="Resume with the same options, or start again with overwrite.",
            )
        self.history, self.best_epoch = state["history"], state["best_epoch"]
        parts: dict[str, dict[str, Tensor]] = {
            name: {} for name in ("module", "best", "optimizer", "random")
        }
        for name, value in arrays.items():
            part, _, key = name.partition("/")
            parts[part][key] = torch.from_numpy(np.array(value))
        self.module.load_state_dict(parts["module"])
        self.best_state = parts["best"]
        optimizer = self.optimizer.state_dict()
        for name, value in parts["optimizer"].items():
            index, _, key = name.partition("/")
            optimizer["state"].setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(optimizer)
        for name, generator in self.generators.items():
            generator.set_state(parts["random"][name])
