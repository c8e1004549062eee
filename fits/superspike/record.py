"""A finished spiking training: weights, spikes as events, errors per epoch. It is its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.datasets.storage import SCHEMA_VERSION, read_tree, write_tree
from neuromodels.fits.checkpoint import plain
from neuromodels.fits.fit import RESULT, versions
from neuromodels.fits.superspike.training import SuperSpikeTrainer
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.simulation import Events, simulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuromodels.fits.superspike.options import SuperSpikeOptions

#: What the attribute `neuromodels_result` says of these files.
KIND = "spiking run"
#: Neurons whose voltages and eligibility a record shows.
SHOWN = 3


class SpikingRun:
    """What a training left: print it, `plot()` it, `to_hdf5()` it.

    Attributes
    ----------
    tree : xarray.DataTree
        ``/progress`` (cost, rates, times per epoch), ``/inputs`` and ``/targets`` (spikes of a
        loop), ``/spikes`` (of the kept epochs), ``/weights/CONNECTION``, ``/traces`` (voltages,
        errors and eligibilities of some neurons in a last loop without learning).
    """

    def __init__(self, tree: xr.DataTree):
        self.tree = tree

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Options, seed, versions."""
        return self.tree.attrs

    @property
    def progress(self) -> xr.Dataset:
        """Cost, rates, learning rate and times per epoch."""
        return self.tree["progress"].to_dataset()

    @property
    def network(self) -> SpikingNetwork:
        """The network, rebuilt from the file alone."""
        return SpikingNetwork.from_config(self.attrs["network"])

    @property
    def options(self) -> SuperSpikeOptions:
        """How it was trained."""
        from neuromodels.fits.superspike.options import SuperSpikeOptions
        from neuromodels.options import make_options

        return make_options(SuperSpikeOptions, dict(self.attrs["options"]), "run")

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs of which spikes were kept."""
        return tuple(self.attrs["kept_epochs"])

    @property
    def inputs(self) -> SpikeTrains:
        """The input of a loop."""
        return SpikeTrains.from_dataset(self.tree["inputs"].to_dataset(), "inputs")

    @property
    def target(self) -> SpikeTrains:
        """What the output was to learn."""
        return SpikeTrains.from_dataset(self.tree["targets"].to_dataset(), "targets")

    def weights(self, epoch: int = -1) -> dict[str, np.ndarray]:
        """Return the weights (n_source, n_target) by connection, V.

        Parameters
        ----------
        epoch : int
            One of those kept; 0 is before training, -1 the last.

        Raises
        ------
        InputError
            No weights of that epoch were kept.
        """
        found = {}
        for name, node in self.tree["weights"].children.items():
            kept = node["snapshot"].values
            if epoch != -1 and epoch not in kept:
                raise InputError(
                    f"holds no weights of epoch {epoch}.",
                    where="run",
                    remedy=f"Kept are: {', '.join(map(str, kept.tolist()))}.",
                )
            index = -1 if epoch == -1 else int(np.flatnonzero(kept == epoch)[0])
            found[name] = node["weight"].values[index].copy()
        return found

    def spikes(self, epoch: int = -1, population: str = "output") -> SpikeTrains:
        """Return what a population did in the last loop of an epoch.

        Parameters
        ----------
        epoch : int
            One of `epochs`; -1 the last.
        population : str
            "output", "hidden", …

        Raises
        ------
        InputError
            No such population, or no spikes of that epoch were kept.
        """
        events, names = self.tree["spikes"], list(self.network.names[1:])
        if population not in names:
            raise InputError(
                f"there is no population {population!r}.",
                where="run",
                remedy=f"Known: {', '.join(names)}.",
            )
        kept = self.attrs["kept_epochs"]
        epoch = kept[-1] if epoch == -1 else epoch
        if epoch not in kept:
            raise InputError(
                f"holds no spikes of epoch {epoch}.",
                where="run",
                remedy=f"Kept are: {', '.join(map(str, kept))}.",
            )
        index = names.index(population)
        chosen = (events["epoch"].values == epoch) & (events["population"].values == index)
        times = events["time"].values[chosen]
        order = np.argsort(times, kind="stable")
        return SpikeTrains(
            times[order],
            events["neuron"].values[chosen][order],
            self.network.sizes[index + 1],
            self.attrs["duration"],
            f"epoch {epoch}: {population}",
        )

    def respond(self, inputs: SpikeTrains, epoch: int = -1) -> dict[str, SpikeTrains]:
        """Run the trained network, from rest, on any input.

        Parameters
        ----------
        inputs : SpikeTrains
            As many neurons as the input has.
        epoch : int
            Of which the weights are taken.

        Returns
        -------
        dict of SpikeTrains
            By population.

        Raises
        ------
        InputError
            Another number of input neurons.
        """
        network = self.network
        if inputs.n_neurons != network.sizes[0]:
            raise InputError(
                f"has {inputs.n_neurons} neurons, and the network has {network.sizes[0]} inputs.",
                where=inputs.source or "inputs",
                remedy="Give the spikes of as many neurons as it was trained with.",
            )
        n_steps = int(np.ceil(inputs.duration / network.dt_s - 1e-6))
        steps = Events(*inputs.steps(network.dt_s, n_steps))
        activity, _ = simulate(network, self.weights(epoch), steps, n_steps, record="no")
        found = {}
        for name, size, events in zip(
            network.names[1:], network.sizes[1:], activity.spikes[1:], strict=True
        ):
            times = events.steps * network.dt_s
            found[name] = SpikeTrains(times, events.neurons, size, n_steps * network.dt_s, name)
        return found

    def plot(self) -> Figure:
        """Draw input, output against target, learning curve and weights."""
        from neuromodels.analysis.plots.spiking_runs import plot_run

        return plot_run(self.tree)

    def plot_traces(self, window: tuple[float, float] | None = None) -> Figure:
        """Draw voltages, errors and eligibilities of a few outputs; `window` in s."""
        from neuromodels.analysis.plots.traces import traces_figure

        threshold = self.network.parameters.threshold_v
        return traces_figure(self.tree["traces"].to_dataset(), threshold_v=threshold, window=window)

    def animate(self, path: str | Path, **options: Any) -> Path:
        """Write a film (GIF or MP4) of the output raster being learned."""
        from neuromodels.analysis.plots.raster_animation import animate_learning

        return animate_learning(self.tree, path, **options)

    def to_hdf5(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write everything to one HDF5 file, whole or not at all."""
        return write_tree(self.tree, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> SpikingRun:
        """Open what `to_hdf5` wrote.

        Raises
        ------
        InputError
            The file is missing, damaged, or holds something else.
        """
        tree = read_tree(path)
        if tree.attrs.get(RESULT) != KIND:
            raise InputError(
                "holds no spiking run.", where=str(path), remedy="Fits are opened by nm.load."
            )
        return cls(tree)

    def __str__(self) -> str:
        from neuromodels.fits.superspike.text import run_text

        return run_text(self)

    __repr__ = __str__


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
        `silent_cost` and `floor_cost`, in the cost's unit.
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
        "call": plain(dict(call)),
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
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
    from neuromodels.fits.superspike.errors import ErrorFilter
    from neuromodels.spiking.kernels import error_kernel, psp_kernel

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
