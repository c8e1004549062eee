"""Options of a fit of a spiking network to a recording."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from neuromodels.options import OptionError
from neuromodels.spiking.kernels import check_time_constants


@dataclass(frozen=True)
class SpikingTrainingOptions:
    """How a spiking network is fitted to recorded spikes.

    Attributes
    ----------
    epochs : int
        Passes over the training stretches, at most, each followed by a look at the validation
        blocks.
    share : float
        Share of the stretches that a pass takes, drawn anew each time.
    least_updates : int
        Updates that an epoch makes at least: a short recording is gone through several times.
    stretch_s : float
        Recording that makes one update, s.
    runs_per_stretch : int
        Noisy runs that are compared with a recorded stretch.
    compare : {"other runs", "own run"}
        Which runs the error of a run comes from: "other runs" aims at the recorded rate, "own run"
        at the loss of single trains, whose best answer to irregular spikes is to send fewer.
    error_rise_s, error_decay_s : float
        Of α, the kernel of the van Rossum loss, s.
    beta_per_v : float
        β of the surrogate, 1/V.
    feedback : {"symmetric", "random", "uniform"}
        How an output's error reaches the hidden neurons.
    learning_rate : float
        Highest learning rate of Adam; weights are in distances from rest to threshold.
    weight_decay : float
        Decoupled decay of filters and weights.
    schedule : {"one-cycle", "constant", "plateau"}
        As for networks, see `neuromodels.fits.training.TrainingOptions`.
    patience : int
        Epochs without progress on the validation blocks before training stops.
    search_epochs : int
        Length of the short runs that choose among several histories.
    search_share : float
        `share` in these runs.
    validation_runs : int
        Noisy runs whose mean is scored after every epoch.
    """

    epochs: int = 6
    share: float = 1.0
    least_updates: int = 500
    stretch_s: float = 2.0
    runs_per_stretch: int = 4
    compare: Literal["other runs", "own run"] = "other runs"
    error_rise_s: float = 5e-3
    error_decay_s: float = 10e-3
    beta_per_v: float = 1000.0
    feedback: Literal["symmetric", "random", "uniform"] = "symmetric"
    learning_rate: float = 5e-3
    weight_decay: float = 0.0
    schedule: Literal["one-cycle", "constant", "plateau"] = "one-cycle"
    patience: int = 4
    search_epochs: int = 1
    search_share: float = 0.3
    validation_runs: int = 32

    def __post_init__(self):
        for name in (
            "epochs",
            "least_updates",
            "runs_per_stretch",
            "patience",
            "search_epochs",
            "validation_runs",
        ):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} = {getattr(self, name)} must be at least 1.")
        for name in ("stretch_s", "beta_per_v", "learning_rate"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} = {getattr(self, name):g} must be positive.")
        for name in ("share", "search_share"):
            if not 0 < getattr(self, name) <= 1:
                raise OptionError(f"{name} = {getattr(self, name):g} must lie in (0, 1].")
        if self.weight_decay < 0:
            raise OptionError(f"weight_decay = {self.weight_decay:g} must not be negative.")
        if self.compare == "other runs" and self.runs_per_stretch < 2:
            raise OptionError(
                "compare = 'other runs' needs runs_per_stretch of 2 or more.",
                remedy="Give more runs, or compare = 'own run'.",
            )
        check_time_constants(self.error_rise_s, self.error_decay_s, "error_rise_s", "error_decay_s")

    def for_search(self) -> SpikingTrainingOptions:
        """Options of the short runs that choose among several histories."""
        return replace(
            self,
            epochs=self.search_epochs,
            patience=self.search_epochs,
            share=self.search_share,
            least_updates=max(1, round(self.search_share * self.least_updates)),
        )
