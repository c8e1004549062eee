"""Train a spiking network with the SuperSpike rule: simulate, compare, update, over and over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromodels.fits.checkpoint import load_checkpoint, plain, save_checkpoint
from neuromodels.fits.interrupts import held_interrupts
from neuromodels.fits.progress import Progress
from neuromodels.fits.superspike.cost import RunningCost
from neuromodels.fits.superspike.learner import LayerLearner, part_of
from neuromodels.fits.superspike.options import SuperSpikeOptions
from neuromodels.fits.superspike.tasks import SpikingTask
from neuromodels.options import OptionError
from neuromodels.spiking.simulation import (
    Activity,
    Events,
    NetworkState,
    resting_state,
    simulate,
)

if TYPE_CHECKING:
    from neuromodels.spiking.surrogates import Surrogate

#: Values that a chunk may hold per array; bounds memory, and nothing else depends on it.
CHUNK_VALUES = 4_000_000
#: Rows of the history, one value per epoch each.
ROWS = ("time", "cost", "epoch_cost", "learning_rate", "wall_time", "cpu_time")


class SuperSpikeTrainer:
    """Everything that a training carries along; its whole state can be stored after any epoch.

    Parameters
    ----------
    task : SpikingTask
        Input, and the error of the output.
    options : SuperSpikeOptions
        How.
    seed : int
        Of initial weights and random feedback.
    weights : dict of numpy.ndarray, optional
        Where to start, (n_source, n_target) per connection, V.
    surrogate : Surrogate, optional
        Another σ' than the options name; anything of `neuromodels.spiking.surrogates`.
    kept_epochs : iterable of int
        Epochs (counted from 1) whose last loop of spikes and whose weights are kept; the last one
        always is.
    """

    def __init__(
        self,
        task: SpikingTask,
        options: SuperSpikeOptions,
        *,
        seed: int = 0,
        weights: dict[str, np.ndarray] | None = None,
        surrogate: Surrogate | None = None,
        kept_epochs: Iterable[int] = (),
    ):
        if (surrogate is None) == (options.surrogate == "given"):
            if surrogate is None:
                raise OptionError(
                    "surrogate = 'given' needs an object.",
                    remedy="Pass surrogate=..., of neuromodels.spiking.surrogates.",
                )
            options = replace(options, surrogate="given")
        self.task, self.options, self.seed = task, options, seed
        self.network = network = options.network(task.n_inputs, task.n_outputs)
        self.dtype = np.dtype(options.dtype)
        self.surrogate = surrogate
        rng = np.random.default_rng(seed)
        drawn = network.initial_weights(options.w0_v, rng)
        bound = options.weight_bound_v
        if weights is not None:
            network.check_weights(weights)
            largest = max(float(np.abs(values).max()) for values in weights.values())
            if largest > bound * (1 + 1e-6):
                raise OptionError(
                    f"a weight of {largest:g} V is beyond weight_bound_v = {bound:g} V.",
                    remedy="Volts are meant: 5 mV is 0.005.",
                )
        self.weights = {
            name: np.clip(values, -bound, bound).astype(self.dtype)
            for name, values in (drawn if weights is None else weights).items()
        }
        self.initial_weights = {name: values.copy() for name, values in self.weights.items()}
        self.state = resting_state(network, self.dtype.type)
        self.step = 0
        self._make_learners(rng)
        self.cost = RunningCost(options.dt_s)
        self.history: dict[str, list[Any]] = {name: [] for name in (*ROWS, "rate")}
        self.n_epochs = math.ceil(options.duration_s / options.epoch_s - 1e-9)
        self.kept_epochs = {*kept_epochs, self.n_epochs}
        self.kept_spikes: list[np.ndarray] = []
        self.kept_weights: dict[str, np.ndarray] = {}
        self._began_epoch()

    def _make_learners(self, rng: np.random.Generator) -> None:
        options, network = self.options, self.network
        n_layers, n_outputs = len(network.sizes), network.sizes[-1]
        fixed = {
            "random": lambda size: rng.normal(size=(n_outputs, size)),
            "uniform": lambda size: np.ones((n_outputs, size)),
        }
        self.learners: dict[int, LayerLearner] = {}
        for layer in range(n_layers - 1 if options.feedback == "none" else 1, n_layers):
            make = fixed.get(options.feedback) if layer < n_layers - 1 else None
            feedback = None if make is None else make(network.sizes[layer])
            self.learners[layer] = LayerLearner(network, layer, options, feedback)

    def feedback_of(self, layer: int) -> np.ndarray:
        """(n_output, n_neurons): how a layer sees the error of the output."""
        fixed = self.learners[layer].feedback
        if fixed is not None:
            return fixed
        # Symmetric: back through every layer above, without its σ'.
        names = self.network.names
        between = [
            self.weights[f"{names[above - 1]}_to_{names[above]}"].T
            for above in range(len(names) - 1, layer, -1)
        ]
        return reduce(np.matmul, between)

    # -- time -----------------------------------------------------------------------------------
    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history["time"])

    @property
    def time_s(self) -> float:
        """Simulated time, s."""
        return self.step * self.options.dt_s

    def _steps(self, seconds: float) -> int:
        return round(seconds / self.options.dt_s)

    def advance(self, n_steps: int) -> Activity:
        """Simulate and learn for some steps, at most up to the next update of the weights.

        Parameters
        ----------
        n_steps : int
            How many.

        Returns
        -------
        Activity
            What the network did.
        """
        update = self._steps(self.options.update_s)
        if n_steps > (left := update - self.step % update):
            raise ValueError(f"{n_steps} steps reach beyond the next update, {left} steps ahead.")
        inputs = self.task.inputs(self.step, n_steps)
        activity, self.state = simulate(
            self.network,
            self.weights,
            inputs,
            n_steps,
            self.state,
            record=self.options.surrogate_read,
            superspike=self.compiled_surrogate,
        )
        self._learn(activity, n_steps)
        self.step += n_steps
        if self.step % update == 0:
            self.update_weights()
        return activity

    def _learn(self, activity: Activity, n_steps: int) -> None:
        mismatch = self.task.mismatch(self.step, n_steps, activity.spikes[-1])
        for layer, learner in self.learners.items():
            feedback = None if learner.is_output else self.feedback_of(layer)
            surrogate = self._derivative(activity.distance[layer - 1])
            error = learner.learn(activity, surrogate, mismatch, feedback)
            if learner.is_output:
                self.cost.add(error)

    def _derivative(self, recorded: np.ndarray) -> np.ndarray:
        if self.compiled_surrogate is not None:
            return recorded
        if self.surrogate is not None:
            return np.asarray(self.surrogate.derivative(recorded), self.dtype)
        return np.ones_like(recorded)

    @property
    def compiled_surrogate(self) -> tuple[float, float] | None:
        """β and height, where σ' is the paper's and the simulation can record it."""
        if self.surrogate is not None or self.options.surrogate == "constant":
            return None
        return self.options.beta_per_v, self.options.surrogate_height

    def update_weights(self) -> None:
        """Step the weights against what the engines have gathered since the last update."""
        learning = self.time_s > self.options.burn_in_s + 0.5 * self.options.dt_s
        for learner in self.learners.values():
            self.weights |= learner.updated(self.weights, self.learning_rate, learn=learning)

    @property
    def learning_rate(self) -> float:
        """r₀ of an update now, V."""
        options = self.options
        # The block that ends now was simulated before the drop.
        dropped = options.drop_at_s and self.time_s > options.drop_at_s + 0.5 * options.dt_s
        return options.learning_rate_v * (options.learning_rate_drop if dropped else 1.0)

    # -- epochs -----------------------------------------------------------------------------------
    def _began_epoch(self) -> None:
        self.n_spikes = np.zeros(len(self.network.sizes))
        self.recent: list[tuple[int, tuple[Events, ...]]] = []

    def _one_epoch(self, let_through: Callable[[], None]) -> None:
        options = self.options
        end = min(self._steps(options.duration_s), (self.epoch + 1) * self._steps(options.epoch_s))
        update = self._steps(options.update_s)
        at_once = max(1, CHUNK_VALUES // sum(self.network.sizes[1:]))
        began, loop_start = self.step, end - self.task.loop_steps
        keep = self.epoch + 1 in self.kept_epochs
        while self.step < end:
            n_steps = min(update - self.step % update, end - self.step, at_once)
            start = self.step
            let_through()
            activity = self.advance(n_steps)
            self.n_spikes += [len(events.steps) for events in activity.spikes]
            if keep and self.step > loop_start:
                self.recent.append((start, activity.spikes))
        seconds = (end - began) * options.dt_s
        self.history["rate"].append((self.n_spikes / seconds / self.network.sizes).tolist())
        if keep:
            self._keep(max(began, loop_start))
        self._began_epoch()

    def _keep(self, since: int) -> None:
        """Keep the spikes of the last loop, and the weights."""
        epoch = self.epoch + 1
        for start, spikes in self.recent:
            for population, events in enumerate(spikes[1:]):
                chosen = events.steps + start >= since
                steps = (events.steps[chosen] + start) % self.task.loop_steps
                rows = np.empty((len(steps), 4), np.int64)
                rows[:, 0], rows[:, 1] = epoch, population
                rows[:, 2], rows[:, 3] = steps, events.neurons[chosen]
                self.kept_spikes.append(rows)
        for name, values in self.weights.items():
            self.kept_weights[f"{epoch}/{name}"] = values.copy()

    def run(
        self,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
        name: str = "superspike",
        watch: Callable[[SuperSpikeTrainer], None] | None = None,
    ) -> None:
        """Train to the end, from the checkpoint if there is one.

        Parameters
        ----------
        checkpoint : Path, optional
            File that holds the state after every epoch.
        progress : Progress, optional
            Told after every epoch.
        name : str
            What progress calls the work.
        watch : callable, optional
            Called with the trainer after every epoch.
        """
        progress = progress or Progress()
        if checkpoint is not None and (found := load_checkpoint(checkpoint)):
            self.restore(*found)
        progress.start(name, self.n_epochs)
        wall, cpu = time.monotonic(), time.process_time()
        if self.epoch:
            wall -= self.history["wall_time"][-1]
            cpu -= self.history["cpu_time"][-1]
            progress.update(self.epoch, self.note())
        with held_interrupts() as let_through:
            while self.epoch < self.n_epochs:
                rate = self.learning_rate
                self._one_epoch(let_through)
                row = (
                    self.time_s,
                    self.cost.running,
                    self.cost.take(),
                    rate,
                    time.monotonic() - wall,
                    time.process_time() - cpu,
                )
                for row_name, value in zip(ROWS, row, strict=True):
                    self.history[row_name].append(float(value))
                if checkpoint is not None:
                    save_checkpoint(checkpoint, *self.stored())
                progress.update(self.epoch, self.note())
                if watch is not None:
                    watch(self)
        progress.finish(f"cost {self.history['epoch_cost'][-1]:.1f}")

    def note(self) -> str:
        """How it stands, in a line."""
        rates = self.history["rate"][-1]
        said = "   ".join(
            f"{name} {rate:.0f} Hz"
            for name, rate in zip(self.network.names[1:], rates[1:], strict=True)
        )
        return f"{self.time_s:.0f} s   cost {self.history['epoch_cost'][-1]:.1f}   {said}"

    # -- the state on disk -------------------------------------------------------------------------
    def stored(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and small values from which `restore` goes on."""
        arrays = {f"weights/{k}": v for k, v in self.weights.items()}
        arrays |= {f"kept_weights/{k}": v for k, v in self.kept_weights.items()}
        arrays |= {f"network/{k}": v for k, v in self.state._asdict().items() if k != "under_way"}
        arrays |= {f"under_way/{k}": v for k, v in self.state.under_way._asdict().items()}
        for layer, learner in self.learners.items():
            arrays |= {f"learner/{layer}/{k}": v for k, v in learner.state().items()}
        arrays["kept_spikes"] = self._all_kept_spikes()
        if hasattr(self.task, "stored"):
            arrays |= {f"task/{k}": v for k, v in self.task.stored().items()}
        attrs = {
            "step": self.step,
            "history": self.history,
            "cost": self.cost.stored(),
            "is": self.identity(),
        }
        return arrays, attrs

    def restore(self, arrays: dict[str, np.ndarray], attrs: dict[str, Any]) -> None:
        """Go on from what `stored` gave.

        Raises
        ------
        OptionError
            It belongs to another training.
        """
        if attrs["is"] != self.identity():
            raise OptionError(
                "the stored state of this training was made with other options or data.",
                remedy="Resume with the same call, or start again with overwrite.",
            )
        self.step, self.history = attrs["step"], attrs["history"]
        self.cost.restore(attrs["cost"])
        self.kept_spikes = [arrays["kept_spikes"]]
        self.weights = part_of(arrays, "weights")
        self.kept_weights = part_of(arrays, "kept_weights")
        network, under_way = part_of(arrays, "network"), part_of(arrays, "under_way")
        self.state = NetworkState(**network, under_way=Events(**under_way))
        for layer, learner in self.learners.items():
            learner.restore(part_of(arrays, f"learner/{layer}"))
        if hasattr(self.task, "restore"):
            self.task.restore(part_of(arrays, "task"))

    def _all_kept_spikes(self) -> np.ndarray:
        return np.concatenate([np.empty((0, 4), np.int64), *self.kept_spikes])

    def identity(self) -> dict[str, Any]:
        """What a stored state must agree with, as JSON holds it."""
        return plain(
            {
                "options": asdict(self.options),
                "seed": self.seed,
                "sizes": self.network.sizes,
                "loop_steps": self.task.loop_steps,
            }
        )
