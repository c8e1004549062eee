"""A finished spiking training: weights, spikes as events, errors per epoch. It is its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.datasets.storage import read_tree, write_tree
from neuromodels.fits.fit import RESULT
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.simulation import Events, simulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuromodels.analysis.spike_trains.spike_sets import SpikeComparison
    from neuromodels.fits.superspike.options import SuperSpikeOptions

#: What the attribute `neuromodels_result` says of these files.
KIND = "spiking run"


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

    def compare_with_brian2(self, epoch: int = -1) -> dict[str, SpikeComparison]:
        """Run the trained network in Brian2 as well, and compare every spike of a loop from rest.

        Parameters
        ----------
        epoch : int
            Of which the weights are taken.

        Returns
        -------
        dict of SpikeComparison
            By population; print one for the number of spikes that differ.

        Raises
        ------
        OptionError
            Input that Brian2 cannot play: a neuron that spikes twice in a step.
        """
        from neuromodels.analysis.spike_trains.spike_sets import compare_spikes
        from neuromodels.datasets.spike_trains import trains_of_steps
        from neuromodels.spiking.brian2_script import run_brian2

        network, n_steps, dt_s = self.network, self.attrs["loop_steps"], self.network.dt_s
        weights = {name: w.astype(np.float64) for name, w in self.weights(epoch).items()}
        inputs = Events(*self.inputs.steps(dt_s, n_steps))
        ours, _ = simulate(network, weights, inputs, n_steps, record="no")
        theirs = run_brian2(network, weights, inputs, n_steps)
        found = {}
        for name, size, one, other in zip(
            network.names[1:], network.sizes[1:], ours.spikes[1:], theirs[1:], strict=True
        ):
            pair = [
                trains_of_steps(events.steps, events.neurons, size, dt_s, n_steps)
                for events in (one, other)
            ]
            found[name] = compare_spikes(*pair, dt_s=dt_s)
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
