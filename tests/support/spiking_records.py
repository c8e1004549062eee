"""A made-up record of a spiking run, and what is drawn and written in a figure."""

from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot

from neuromodels.datasets.spike_trains import SpikeTrains

DURATION = 0.5
N_INPUT, N_HIDDEN, N_OUTPUT = 12, 7, 5
EPOCHS = (0, 2, 5)


def trains(n_spikes, n_neurons, rng, duration=DURATION):
    times = np.sort(rng.uniform(0, duration, n_spikes))
    return SpikeTrains(times, rng.integers(0, n_neurons, n_spikes), n_neurons, duration)


def dataset_of(spikes):
    return xr.Dataset(
        {"time": ("spike", spikes.times), "neuron": ("spike", spikes.neurons)},
        coords={"spike": np.arange(len(spikes.times))},
        attrs={"n_neurons": spikes.n_neurons, "duration": spikes.duration},
    )


def make_record(weights=True, silent_epoch=0):
    """A run of two populations whose first epoch has no output spikes at all."""
    rng = np.random.default_rng(4)
    columns = {name: [] for name in ("time", "neuron", "population", "epoch")}
    for epoch in EPOCHS:
        for population, n in enumerate((N_HIDDEN, N_OUTPUT)):
            if epoch == silent_epoch:
                continue
            some = trains(30 + epoch, n, rng)
            columns["time"] += list(some.times)
            columns["neuron"] += list(some.neurons)
            columns["population"] += [population] * len(some.times)
            columns["epoch"] += [epoch] * len(some.times)
    spikes = xr.Dataset(
        {name: ("spike", np.array(values)) for name, values in columns.items()},
        coords={"spike": np.arange(len(columns["time"]))},
        attrs={"epochs": list(EPOCHS)},
    )
    spikes["population"].attrs["names"] = ["hidden", "output"]
    epoch = np.arange(6)
    progress = xr.Dataset(
        {
            "time": ("epoch", 20.0 * (epoch + 1)),
            "cost": ("epoch", 200 * np.exp(-epoch / 2.0)),
            "rate": (("epoch", "population"), rng.uniform(1, 20, (6, 2))),
        },
        coords={"epoch": epoch, "population": ["hidden", "output"]},
        attrs={"silent_cost": 210.7, "greedy_cost": float("nan")},
    )
    nodes = {
        "/": xr.Dataset(attrs={"duration": DURATION, "dt_s": 1e-4}),
        "/inputs": dataset_of(trains(60, N_INPUT, rng)),
        "/targets": dataset_of(trains(25, N_OUTPUT, rng)),
        "/spikes": spikes,
        "/progress": progress,
    }
    shapes = {"input_to_hidden": (N_INPUT, N_HIDDEN), "hidden_to_output": (N_HIDDEN, N_OUTPUT)}
    for name, shape in shapes.items() if weights else ():
        nodes[f"/weights/{name}"] = xr.Dataset(
            {"weight": (("snapshot", "source", "target"), rng.normal(0, 5e-3, (2, *shape)))},
            coords={"snapshot": [0, 5], "source": range(shape[0]), "target": range(shape[1])},
        )
    return xr.DataTree.from_dict(nodes)


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def record():
    return make_record()


def marks(ax):
    """Spikes of every kind of mark as sorted (neuron, time) pairs."""
    return {
        line.get_gid(): sorted(zip(line.get_ydata(), line.get_xdata(), strict=True))
        for line in ax.get_lines()
        if line.get_gid() in ("spike", "target", "hit", "extra")
    }


def pairs(spikes, chosen=slice(None)):
    return sorted(zip(spikes.neurons[chosen], spikes.times[chosen], strict=True))


def texts_of(figure):
    """Everything written in a figure that can be seen, with its place in pixels."""
    from matplotlib.text import Text

    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    found = [text for text in figure.findobj(Text) if text.get_text().strip()]
    found = [text for text in found if text.get_visible() and text.figure is not None]
    return {text: text.get_window_extent(renderer) for text in found}


def overlapping(figure, *, ticks=False):
    """Pairs of texts that lie on each other."""
    boxes = texts_of(figure)
    tick_labels = {
        label
        for ax in figure.get_axes()
        for label in ax.get_xticklabels()
        + ax.get_yticklabels()
        + ax.get_xticklabels(minor=True)
        + ax.get_yticklabels(minor=True)
    }
    if not ticks:
        boxes = {text: box for text, box in boxes.items() if text not in tick_labels}
    return [
        (a.get_text(), b.get_text())
        for (a, box), (b, other) in combinations(boxes.items(), 2)
        if box.shrunk(0.9, 0.8).overlaps(other)
    ]
