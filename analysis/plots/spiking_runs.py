"""A run of a spiking network: what its record holds, its weights, and all of it in one figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.learning_curves import (
    legend_above,
    named_levels,
    plot_learning_curve,
    plot_rates,
)
from neuromodels.analysis.plots.rasters import (
    HIT,
    NEAR,
    Spikes,
    fit_marks,
    plot_raster,
    spikes_of,
    title_pad,
)
from neuromodels.analysis.plots.style import (
    DIVERGING,
    FAINT,
    OBSERVED,
    new_figure,
    own_axes,
    say,
    talk_style,
)
from neuromodels.datasets.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Weights beyond this share of all saturate the colours of a matrix.
SATURATED = 0.995
#: Most hidden populations, and connections, that the overview shows.
MOST_HIDDEN, MOST_CONNECTIONS = 2, 3


# -- what a record holds -------------------------------------------------------------------------
def population_names(record: xr.DataTree) -> tuple[str, ...]:
    """Names of a run's populations in the order of their numbers: hidden layers, then output."""
    names = node_of(record, "spikes")["population"].attrs.get("names")
    if names is None:
        raise InputError(
            "does not name its populations",
            where="record of a run: /spikes/population",
            remedy='Give it the attribute names, such as ["hidden", "output"].',
        )
    return tuple(map(str, np.atleast_1d(names)))


def epochs_of(record: xr.DataTree) -> np.ndarray:
    """Epochs whose spikes were kept, silent ones among them if the record lists its `epochs`."""
    spikes = node_of(record, "spikes")
    listed = spikes.attrs.get("epochs")
    epochs = np.unique(spikes["epoch"].values if listed is None else np.asarray(listed))
    if not len(epochs):
        raise InputError(
            "holds no spikes of any epoch",
            where="record of a run: /spikes",
            remedy="Keep the spikes of some epochs when the network is trained.",
        )
    return epochs.astype(int)


def population_spikes(record: xr.DataTree, name: str, epoch: int | None = None) -> Spikes:
    """Take the spikes of one population in one epoch out of a run's record.

    Parameters
    ----------
    record : xarray.DataTree
        Of a run.
    name : str
        "hidden", "output", ...
    epoch : int, optional
        The last one kept by default.

    Returns
    -------
    Spikes
        Times within the loop, s.

    Raises
    ------
    InputError
        No such population, or no spikes were kept of this epoch.
    """
    names, epochs = population_names(record), epochs_of(record)
    epoch = int(epochs[-1]) if epoch is None else epoch
    if name not in names:
        raise InputError(
            f"has no population {name!r}",
            where="record of a run: /spikes",
            remedy=f"Choose one of {', '.join(names)}.",
        )
    if epoch not in epochs:
        kept = f"Kept are {', '.join(map(str, epochs[:8]))}{', ...' * (len(epochs) > 8)}."
        raise InputError(
            f"holds no spikes of epoch {epoch}", where="record of a run: /spikes", remedy=kept
        )
    spikes = node_of(record, "spikes")
    of_it = (spikes["population"].values == names.index(name)) & (spikes["epoch"].values == epoch)
    times, neurons = (spikes[part].values[of_it] for part in ("time", "neuron"))
    duration = record.attrs.get("duration_s", record.attrs.get("duration"))
    if duration is None:
        duration = spikes_of(node_of(record, "inputs")).duration
    return Spikes(times, neurons.astype(int), _size_of(record, name), float(duration))


def node_of(record: xr.DataTree, path: str) -> xr.Dataset:
    """One part of a run's record, or an InputError that says it is not there."""
    try:
        return record[path].to_dataset()
    except KeyError:
        raise InputError(
            f"has no /{path}",
            where="record of a run",
            remedy="Pass the record of a finished run, and keep this part when it is made.",
        ) from None


def spikes_loaded(record: xr.DataTree) -> xr.DataTree:
    """The same record with all spikes in memory: a file would be read again for every epoch."""
    loaded = record.copy()
    loaded["spikes"] = xr.DataTree(node_of(record, "spikes").load())
    return loaded


def _size_of(record: xr.DataTree, name: str) -> int:
    """Number of neurons: as the targets or the weights say, else up to the last that fired."""
    spikes = node_of(record, "spikes")
    names = population_names(record)
    if name == names[-1] and "targets" in record.children:
        return int(record["targets"].attrs["n_neurons"])
    for connection in weight_names(record):
        if connection.endswith(f"_to_{name}"):
            return record[f"weights/{connection}"].sizes["target"]
    fired = spikes["neuron"].values[spikes["population"].values == names.index(name)]
    return int(fired.max(initial=0)) + 1


def weight_names(record: xr.DataTree) -> tuple[str, ...]:
    """Names of the connections whose weights were kept, such as "input_to_hidden"."""
    return tuple(record["weights"].children) if "weights" in record.children else ()


# -- weights -------------------------------------------------------------------------------------
def plot_weights(
    weights: xr.Dataset, ax: Axes | None = None, *, kind: str = "histogram", title: str = ""
) -> Axes:
    """Draw the weights of a connection (mV): before and after as histograms, or as a matrix.

    Parameters
    ----------
    weights : xarray.Dataset
        `weight (snapshot, source, target)`, V; snapshots are epochs.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    kind : {"histogram", "matrix"}
        The first and the last snapshot on common bins, or the last one source by target, red
        where it excites and blue where it inhibits; the strongest 0.5 % saturate.
    title : str
        Above the axes.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        No such kind of drawing.
    """
    if kind not in ("histogram", "matrix"):
        raise InputError(
            f"is {kind!r}", where="plot_weights: kind", remedy='Pass "histogram" or "matrix".'
        )
    values = weights["weight"].transpose("snapshot", "source", "target") * 1e3
    with talk_style():
        ax = own_axes(ax, 4.0, 2.8)
        if not values.size:
            return say(ax, "no weights were kept")
        rows = _histograms(ax, values) if kind == "histogram" else _matrix(ax, values)
        if title:
            ax.set_title(title, pad=title_pad(rows))
    return ax


def _histograms(ax: Axes, values: xr.DataArray) -> int:
    first, last = values.values[0].ravel(), values.values[-1].ravel()
    edges = np.histogram_bin_edges(np.concatenate([first, last]), bins=50)
    epochs = values["snapshot"].values
    before = {"fill": True, "facecolor": OBSERVED, "edgecolor": FAINT, "lw": 0.8}
    if len(epochs) > 1:
        ax.stairs(np.histogram(first, edges)[0], edges, label=f"epoch {epochs[0]}", **before)
    after = np.histogram(last, edges)[0]
    ax.stairs(after, edges, color=HIT, lw=1.5, label=f"epoch {epochs[-1]}")
    ax.set_xlabel("weight (mV)")
    ax.set_ylabel("synapses")
    return legend_above(ax)


def _matrix(ax: Axes, values: xr.DataArray) -> int:
    image = values.values[-1]
    limit = float(np.quantile(np.abs(image), SATURATED)) or float(np.abs(image).max()) or 1.0
    shown = ax.imshow(
        image, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
    )
    for side in ax.spines.values():
        side.set_visible(True)
    ax.set_xlabel("target neuron")
    ax.set_ylabel("source neuron")
    bar = ax.figure.colorbar(shown, ax=ax, pad=0.03, aspect=16, extend="both")
    bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"{limit:.2g}"])
    bar.ax.tick_params(labelsize=7.5, length=2)
    bar.set_label("mV", labelpad=-4)
    bar.outline.set_linewidth(0.5)
    return 0


# -- one neuron over epochs ------------------------------------------------------------------------
def plot_epochs(
    record: xr.DataTree,
    neuron: int = 0,
    ax: Axes | None = None,
    *,
    tolerance_s: float = NEAR,
    title: str = "",
    legend: bool = True,
) -> Axes:
    """Draw how one output neuron came to fire at its targets: a row per epoch, the last on top.

    Parameters
    ----------
    record : xarray.DataTree
        Of a run.
    neuron : int
        Number of the output neuron.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    tolerance_s, title, legend
        As in `plot_raster`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        No such neuron, or the record has no spikes or targets.
    """
    epochs, output = epochs_of(record), population_names(record)[-1]
    target = spikes_of(node_of(record, "targets"))
    if not 0 <= neuron < target.n_neurons:
        raise InputError(
            f"is {neuron}, there are {target.n_neurons} outputs",
            where="plot_epochs: neuron",
            remedy=f"Choose 0 to {target.n_neurons - 1}.",
        )
    record = spikes_loaded(record)
    each = [population_spikes(record, output, epoch) for epoch in epochs]
    times = [spikes.times[spikes.neurons == neuron] for spikes in each]
    rows = np.repeat(np.arange(len(epochs)), [len(found) for found in times])
    wanted = target.times[target.neurons == neuron]
    shown = Spikes(np.concatenate(times), rows, len(epochs), each[0].duration)
    every = np.repeat(np.arange(len(epochs)), len(wanted))
    targets = Spikes(np.tile(wanted, len(epochs)), every, len(epochs), target.duration)
    ax = plot_raster(shown, targets, ax, tolerance_s=tolerance_s, title=title, legend=legend)
    with talk_style():
        ax.set_ylabel("epoch")
        ticks = np.arange(0, len(epochs), -(-len(epochs) // 6))
        ax.set_yticks(ticks, labels=[str(epochs[tick]) for tick in ticks])
    return ax


# -- all in one ----------------------------------------------------------------------------------
def plot_run(record: xr.DataTree, lines: dict[str, float] | None = None) -> Figure:
    """Draw a whole run: input, hidden and output rasters, cost, rates and weights.

    Parameters
    ----------
    record : xarray.DataTree
        Of a run. Rasters are of the last epoch whose spikes were kept, of a single output neuron
        all such epochs; of many layers the first two hidden ones and three connections are shown.
    lines : dict, optional
        Costs to compare with; by default those of a silent network and of the best answer that
        refractoriness allows, where the record has them.

    Returns
    -------
    matplotlib.figure.Figure
        One slide. It is not known to pyplot; notebooks show it, and ``figure.savefig(path)``
        keeps it.

    Raises
    ------
    InputError
        The record has no spikes, inputs, or progress.
    """
    progress = node_of(record, "progress")
    lines = bounds_of(progress) if lines is None else lines
    with talk_style():
        figure = new_figure(13.33, 7.8)
        left, right = figure.subfigures(1, 2, width_ratios=[1.32, 1])
        rasters = _raster_panels(left, record)
        learning, weights = right.subfigures(2, 1, height_ratios=[1, 1.05])
        curve, rates = learning.subplots(2, 1, height_ratios=[1.5, 1])
        plot_learning_curve(progress, ax=curve)
        curve.set(xlabel="", ylabel="cost")
        plot_rates(progress, ax=rates)
        histograms = _weight_panels(weights, record)
        # Names need the room that the layout leaves them.
        figure.get_layout_engine().execute(figure)
        for title, ax in histograms.items():
            ax.set_title(title, pad=title_pad(legend_above(ax)))
        named_levels(curve, lines)
        figure.get_layout_engine().execute(figure)
        for ax in rasters:
            fit_marks(ax)
    return figure


def bounds_of(progress: xr.Dataset) -> dict[str, float]:
    """Costs of a silent network, and of the best answer that refractoriness allows."""
    named = {"silent": "silent_cost", "greedy": "greedy_cost"}
    found = {label: progress.attrs.get(name) for label, name in named.items()}
    return {label: float(value) for label, value in found.items() if value is not None}


def _raster_panels(part: Any, record: xr.DataTree) -> list[Axes]:
    *hidden, output = population_names(record)
    hidden = hidden[:MOST_HIDDEN]
    epoch = int(epochs_of(record)[-1])
    target = node_of(record, "targets") if "targets" in record.children else None
    heights = [1.0] * (1 + len(hidden)) + [2.2]
    axes = list(part.subplots(len(heights), 1, gridspec_kw={"height_ratios": heights}))
    plot_raster(node_of(record, "inputs"), ax=axes[0], title="input")
    for ax, name in zip(axes[1:], hidden, strict=False):
        plot_raster(population_spikes(record, name, epoch), ax=ax, title=name)
    spikes = population_spikes(record, output, epoch)
    if spikes.n_neurons == 1 and target is not None and len(epochs_of(record)) > 1:
        plot_epochs(record, 0, axes[-1], title=output)
    else:
        plot_raster(spikes, target, axes[-1], title=f"{output}, epoch {epoch}")
    for ax in axes[:-1]:
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
    part.align_ylabels(axes)
    return axes


def _weight_panels(part: Any, record: xr.DataTree) -> dict[str, Axes]:
    """Draw histograms above matrices; return the histograms by the names of their connections."""
    names = weight_names(record)[:MOST_CONNECTIONS]
    if not names:
        return {}
    # Two figures: the scales of the matrices take no room from the histograms.
    halves = part.subfigures(2, 1)
    axes = np.stack([half.subplots(1, len(names), squeeze=False)[0] for half in halves])
    for (upper, lower), name in zip(axes.T, names, strict=True):
        kept = node_of(record, f"weights/{name}")
        plot_weights(kept, upper)
        plot_weights(kept, lower, kind="matrix")
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    titles = [name.replace("_to_", " to ").replace("_", " ") for name in names]
    return dict(zip(titles, axes[0], strict=True))
