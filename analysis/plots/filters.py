"""What fitted models look for: stimulus and spike-history filters, first layers of networks."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.reading import (
    bin_width_of,
    check_neuron,
    fit_of,
    models_of,
    neurons_of,
    parameters_of,
    some_neurons,
)
from neuromodels.analysis.plots.style import (
    FAINT,
    looks,
    new_figure,
    own_axes,
    say,
    talk_style,
)
from neuromodels.analysis.plots.weights import draw_mosaic, draw_profile, draw_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STIMULUS, LAYER, HISTORY, COUPLING = (
    "stimulus_filter",
    "layer1_filter",
    "history_filter",
    "coupling_filter",
)
#: Most panels of one kind in a figure.
MOST_NEURONS, MOST_CHANNELS = 12, 32


def plot_filters(
    tree: xr.DataTree,
    model: str,
    neuron: str | None = None,
    ax: Axes | None = None,
    seed: int | None = None,
) -> Axes:
    """Draw what a model looks for: a neuron's stimulus filter, or a network's first layer.

    Parameters
    ----------
    tree : xarray.DataTree
        Of a comparison.
    model : str
        Label.
    neuron : str, optional
        Id, for models with a filter per neuron; the first by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    seed : int, optional
        The first by default.

    Returns
    -------
    matplotlib.axes.Axes
        Says so where a model has no filters that are known here.

    Raises
    ------
    InputError
        No such model, neuron or seed.
    """
    found = parameters_of(tree, model, seed)
    if STIMULUS in found:
        return plot_stimulus_filter(tree, model, neuron, ax, seed)
    if LAYER in found:
        return plot_first_layer(tree, model, None, ax, seed)
    with talk_style():
        return say(own_axes(ax, 4.0, 3.0), f"{model}:\nno filters to show")


def plot_stimulus_filter(
    tree: xr.DataTree,
    model: str,
    neuron: str | None = None,
    ax: Axes | None = None,
    seed: int | None = None,
) -> Axes:
    """Draw a neuron's stimulus filter, as an image.

    Parameters
    ----------
    tree, model, neuron, ax, seed
        As in `plot_filters`.

    Returns
    -------
    matplotlib.axes.Axes
        Time against space for a movie of bars; the map at the lag of the largest weight for a
        movie of images; a curve for a full field. Weights add to the drive per standard deviation
        of the stimulus; of several colour channels that of the largest weight is shown. Solid
        contours enclose positive, dashed ones negative weights beyond 0.4 of the largest.
    """
    neuron, weights = _of_neuron(tree, model, neuron, STIMULUS, seed)
    with talk_style():
        ax = own_axes(ax, 4.2, 3.2)
        draw_weights(ax, tree, model, weights)
        ax.set_title(f"{model}: stimulus filter, {neuron}")
    return ax


def plot_temporal_profile(
    tree: xr.DataTree,
    model: str,
    neuron: str | None = None,
    ax: Axes | None = None,
    seed: int | None = None,
) -> Axes:
    """Draw how a neuron weighs the past of the pixel that matters most to it.

    Parameters
    ----------
    tree, model, neuron, ax, seed
        As in `plot_filters`.

    Returns
    -------
    matplotlib.axes.Axes
        One curve per colour channel, weight against time before the response (s).
    """
    neuron, weights = _of_neuron(tree, model, neuron, STIMULUS, seed)
    with talk_style():
        ax = own_axes(ax, 4.2, 3.0)
        draw_profile(ax, tree, model, weights)
        ax.set_title(f"{model}: stimulus filter, {neuron}")
    return ax


def plot_history_filter(
    tree: xr.DataTree,
    model: str,
    neuron: str | None = None,
    ax: Axes | None = None,
    seed: int | None = None,
) -> Axes:
    """Draw what a spike does to a neuron's own later rate.

    Parameters
    ----------
    tree, model, neuron, ax, seed
        As in `plot_filters`.

    Returns
    -------
    matplotlib.axes.Axes
        For an exponential nonlinearity the factor exp(h) on the rate, else the weight h that is
        added to the drive, against time since the spike (s).
    """
    neuron, weights = _of_neuron(tree, model, neuron, HISTORY, seed)
    with talk_style():
        ax = own_axes(ax, 4.2, 3.0)
        value, label, neutral = _effect(tree, model, weights.values, seed)
        look = looks(models_of(tree))[model]
        ax.axhline(neutral, color=FAINT, lw=0.8, zorder=0)
        ax.stairs(
            value, _lag_edges(tree, weights["history_lag"]), baseline=None, color=look.color, lw=1.8
        )
        ax.set_xlabel("time since own spike (s)")
        ax.set_ylabel(label)
        ax.set_xlim(left=0)
        ax.set_title(f"{model}: spike history, {neuron}")
    return ax


def plot_coupling_filters(
    tree: xr.DataTree,
    model: str,
    neuron: str | None = None,
    ax: Axes | None = None,
    seed: int | None = None,
) -> Axes:
    """Draw what spikes of the other neurons do to a neuron's rate.

    Parameters
    ----------
    tree, model, neuron, ax, seed
        As in `plot_filters`.

    Returns
    -------
    matplotlib.axes.Axes
        The three strongest sources are named; the others are thin.
    """
    neuron, weights = _of_neuron(tree, model, neuron, COUPLING, seed)
    with talk_style():
        ax = own_axes(ax, 4.2, 3.0)
        edges = _lag_edges(tree, weights["coupling_lag"])
        color = looks(models_of(tree))[model].color
        others = weights.sel(source_neuron=weights["source_neuron"] != neuron)
        values, label, neutral = _effect(tree, model, others.values, seed)
        order = np.argsort(-np.abs(others.values).sum(axis=0), kind="stable")
        ax.axhline(neutral, color=FAINT, lw=0.8, zorder=0)
        for rank, source in enumerate(order):
            named = rank < 3
            ax.stairs(
                values[:, source],
                edges,
                baseline=None,
                color=color if named else FAINT,
                lw=1.6 if named else 0.7,
                ls=("-", "--", ":")[rank] if named else "-",
                zorder=3 if named else 1,
                label=str(others["source_neuron"].values[source]) if named else "_",
            )
        ax.set_xlabel("time since other's spike (s)")
        ax.set_ylabel(label)
        ax.set_xlim(left=0)
        ax.set_title(f"{model}: couplings, {neuron}")
        if len(order):
            ax.legend(fontsize=8, handlelength=1.6, loc="best")
    return ax


def plot_first_layer(
    tree: xr.DataTree,
    model: str,
    channel: int | None = None,
    ax: Axes | None = None,
    seed: int | None = None,
) -> Axes:
    """Draw the filters of a network's first layer.

    Parameters
    ----------
    tree, model, ax, seed
        As in `plot_filters`.
    channel : int, optional
        One feature, counted from 0, with its largest weight in the title; by default all, side by
        side, each scaled to its own.

    Returns
    -------
    matplotlib.axes.Axes
        As in `plot_stimulus_filter`; kernels are local, pixels count within the kernel.
    """
    weights = parameters_of(tree, model, seed)[LAYER]
    weights = weights.rename(layer1_y="y", layer1_x="x")
    with talk_style():
        if channel is None:
            ax = own_axes(ax, 6.0, 3.4)
            draw_mosaic(ax, weights)
            ax.set_title(f"{model}: first layer")
            return ax
        ax = own_axes(ax, 3.4, 3.0)
        draw_weights(ax, tree, model, weights.isel(layer1_channel=channel), bar=False)
        limit = float(np.abs(weights.isel(layer1_channel=channel).values).max())
        ax.set_title(f"{channel + 1}: ±{limit:.2g}")
    return ax


def filters_figure(tree: xr.DataTree, model: str, seed: int | None = None) -> Figure | None:
    """Draw all filters of a model: per neuron, or per feature of a network's first layer.

    Parameters
    ----------
    tree : xarray.DataTree
        Of a comparison.
    model : str
        Label.
    seed : int, optional
        The first by default.

    Returns
    -------
    matplotlib.figure.Figure or None
        At most 12 neurons, spread evenly from best to worst predicted, or 32 features. None
        where the model has no filters that are known here.
    """
    found = parameters_of(tree, model, seed)
    if STIMULUS in found:
        units = some_neurons(tree, MOST_NEURONS)
        panels = _panels_of_neuron(found)
        total, what = len(neurons_of(tree)), "neurons"
        draws = [
            [partial(panel, tree, model, unit, seed=seed) for panel in panels] for unit in units
        ]
    elif LAYER in found:
        total, what = found.sizes["layer1_channel"], "features of the first layer"
        shape = found[LAYER]
        panels = [plot_first_layer]
        if shape.sizes["layer1_y"] > 1 and shape.sizes["layer1_x"] > 1:
            panels.append(_layer_profile)
        draws = [
            [partial(panel, tree, model, unit, seed=seed) for panel in panels]
            for unit in range(min(total, MOST_CHANNELS))
        ]
    else:
        return None
    with talk_style():
        figure = _grid(draws, small=LAYER in found and STIMULUS not in found)
        shown = f"{len(draws)} of {total} {what}" if len(draws) < total else f"{total} {what}"
        figure.suptitle(f"{model}: {shown}", x=0.01, ha="left")
    return figure


def _panels_of_neuron(found: xr.Dataset) -> list[Callable[..., Axes]]:
    panels: list[Callable[..., Axes]] = [plot_stimulus_filter]
    if found.sizes["y"] > 1 and found.sizes["x"] > 1:
        panels.append(plot_temporal_profile)
    if HISTORY in found:
        panels.append(plot_history_filter)
    if COUPLING in found and found.sizes["source_neuron"] > 1:
        panels.append(plot_coupling_filters)
    return panels


def _grid(draws: list[list[partial]], small: bool) -> Figure:
    """One column of panels per unit, at most six (or eight) units in a row."""
    n_panels = len(draws[0])
    n_columns = min(len(draws), 8 if small else 6)
    n_rows = -(-len(draws) // n_columns)
    width, height = (1.75, 1.9) if small else (2.7, 2.3)
    figure = new_figure(max(4.2, width * n_columns), 0.4 + height * n_rows * n_panels)
    axes = figure.subplots(n_rows * n_panels, n_columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for index, unit in enumerate(draws):
        row, column = divmod(index, n_columns)
        for part, draw in enumerate(unit):
            ax = axes[row * n_panels + part, column]
            ax.set_axis_on()
            draw(ax=ax)
            # The figure names the model; a column names its neuron or feature once.
            ax.set_title("" if part else _without_model(ax.get_title(loc="left")))
            if column:
                ax.set_ylabel("")
            if index and draw.func in (plot_temporal_profile, _layer_profile) and ax.get_legend():
                ax.get_legend().remove()  # channels are the same in all panels
            if small:
                _spare_labels(ax, left=not column, bottom=index + n_columns >= len(draws))
    return figure


def _without_model(title: str) -> str:
    """What follows "MODEL: KIND, " in a title."""
    return re.sub(r"^.*: (stimulus filter|spike history|couplings), ", "", title)


def _spare_labels(ax: Axes, left: bool, bottom: bool) -> None:
    """Keep labels of panels that are alike at the left and at the bottom only."""
    ax.tick_params(labelleft=left, labelbottom=bottom)
    ax.xaxis.label.set_fontsize(8)
    # A map's label gives its own lag.
    if not bottom and " at " not in ax.get_xlabel():
        ax.set_xlabel("")


def _of_neuron(
    tree: xr.DataTree, model: str, neuron: str | None, name: str, seed: int | None
) -> tuple[str, xr.DataArray]:
    neuron = neurons_of(tree)[0] if neuron is None else check_neuron(tree, neuron)
    return neuron, parameters_of(tree, model, seed)[name].sel(neuron=neuron)


def _effect(
    tree: xr.DataTree, model: str, weights: np.ndarray, seed: int | None
) -> tuple[np.ndarray, str, float]:
    config = fit_of(tree, model, seed).attrs.get("config", {})
    if config.get("options", {}).get("nonlinearity") == "exp":
        return np.exp(weights), "factor on the rate", 1.0
    return weights, "added to the drive", 0.0


def _lag_edges(tree: xr.DataTree, lags: xr.DataArray) -> np.ndarray:
    width = bin_width_of(tree)
    return np.append(lags.values - width / 2, lags.values[-1] + width / 2)


def _layer_profile(
    tree: xr.DataTree, model: str, channel: int, ax: Axes, seed: int | None = None
) -> Axes:
    weights = parameters_of(tree, model, seed)[LAYER].isel(layer1_channel=channel)
    weights = weights.rename(layer1_y="y", layer1_x="x")
    draw_profile(ax, tree, model, weights / (np.abs(weights).max() or 1.0))
    ax.set_ylim(-1.1, 1.1)
    ax.set_ylabel("weight / largest")
    return ax
