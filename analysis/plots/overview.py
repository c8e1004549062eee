"""The whole comparison in one figure, and all figures in a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.filters import (
    HISTORY,
    STIMULUS,
    filters_figure,
    plot_filters,
    plot_history_filter,
)
from neuromodels.analysis.plots.reading import (
    bin_width_of,
    heldout_score,
    mean_score,
    models_of,
    neurons_of,
    neurons_with_score,
    parameters_of,
    ranked_neurons,
    responses_of,
    scores_of,
    shown_name,
    some_neurons,
)
from neuromodels.analysis.plots.responses import plot_psth
from neuromodels.analysis.plots.scores import plot_differences, plot_scores
from neuromodels.analysis.plots.style import (
    OBSERVED,
    figure_folder,
    looks,
    new_figure,
    save_figure,
    talk_style,
)
from neuromodels.analysis.plots.training import training_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Most cells of psth.png, and of the overview.
MOST_CELLS, FEW_CELLS = 12, 3
#: Most models whose filters the overview shows.
MOST_MODELS = 4
LONG_TITLE = 28  # characters that fit over the narrowest filter


def plot_overview(tree: xr.DataTree) -> Figure:
    """Draw the comparison: scores with ceilings, predictions against rasters, and filters.

    Parameters
    ----------
    tree : xarray.DataTree
        Of a comparison (`Comparison.tree`).

    Returns
    -------
    matplotlib.figure.Figure
        One slide. Of many neurons the best, the median and the worst predicted are shown. It is
        not known to pyplot; notebooks show it, and ``figure.savefig(path)`` keeps it.
    """
    with talk_style():
        figure = new_figure(13.33, 7.8)
        upper, lower = figure.subfigures(2, 1, height_ratios=[2.35, 1])
        left, right = upper.subfigures(1, 2, width_ratios=[1, 1.65])
        _scores_panels(left, tree)
        _psth_panels(right, tree, _typical(tree))
        _filter_panels(lower, tree)
    return figure


def _measured(tree: xr.DataTree) -> list[str]:
    """Scores worth a panel: on held-out blocks, and on repeats."""
    wanted = (heldout_score(tree), "pearson_r")
    return [metric for metric in wanted if neurons_with_score(tree, metric)]


def _typical(tree: xr.DataTree) -> dict[str, str]:
    """Neurons of the overview and what each stands for."""
    neurons = neurons_of(tree)
    if len(neurons) <= FEW_CELLS:
        return dict.fromkeys(neurons, "")
    metric = str(scores_of(tree).attrs["headline_metric"])
    known = set(neurons_with_score(tree, metric))
    ranked = [neuron for neuron in ranked_neurons(tree) if neuron in known]
    if len(ranked) < FEW_CELLS:
        return dict.fromkeys(neurons[:FEW_CELLS], "")
    words = ("best predicted", "median", "worst predicted")
    places = (0, len(ranked) // 2, len(ranked) - 1)
    return {ranked[place]: word for place, word in zip(places, words, strict=True)}


def _header(tree: xr.DataTree) -> str:
    scores, n = scores_of(tree), len(neurons_of(tree))
    stimulus = responses_of(tree).stimulus
    return f"{stimulus}: {n} cell{'s' * (n > 1)}, {1e3 * bin_width_of(tree):.3g} ms bins" + (
        f", {scores.attrs['n_trials']} repeats" if scores.attrs["n_trials"] > 1 else ""
    )


def _scores_panels(part: Any, tree: xr.DataTree) -> None:
    metrics = _measured(tree) or [str(scores_of(tree).attrs["headline_metric"])]
    axes = np.atleast_1d(part.subplots(len(metrics), 1))
    for ax, metric in zip(axes, metrics, strict=True):
        plot_scores(tree, metric, ax=ax, names=False)
    part.suptitle(_header(tree), x=0.02, ha="left")


def _psth_panels(part: Any, tree: xr.DataTree, neurons: dict[str, str]) -> None:
    axes = np.atleast_1d(part.subplots(len(neurons), 1))
    for ax, (neuron, word) in zip(axes, neurons.items(), strict=True):
        plot_psth(tree, neuron, ax=ax, names=False)
        if word:
            ax.set_title(f"{ax.get_title(loc='left')}, {word}", loc="left")
        if ax is not axes[-1]:
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
    part.align_ylabels(axes)
    _model_legend(part, tree)


def _model_legend(
    part: Any, tree: xr.DataTree, lines: bool = True, title: str | None = None
) -> None:
    """Name the models once, by symbol, and line and recorded rate where these are drawn."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    style = looks(models_of(tree))
    handles: list[Any] = [
        Line2D(
            [],
            [],
            color=look.color,
            ls=look.line if lines else "",
            marker=look.marker,
            ms=5.5,
            label=shown_name(tree, model),
        )
        for model, look in style.items()
    ]
    if lines:
        responses = responses_of(tree)
        repeated = responses.n_trials > 1
        if responses.counted:
            recorded = "PSTH" if repeated else "spikes counted"
        else:
            recorded = "mean of repeats" if repeated else "recorded"
        handles = [Patch(color=OBSERVED, label=recorded), *handles]
    columns = len(handles) if len(handles) <= 4 else -(-len(handles) // 2)
    part.legend(
        handles=handles,
        loc="outside upper left",
        ncols=columns,
        handlelength=2.6 if lines else 1.2,
        fontsize=10,
        title=title,
        title_fontsize=11.5,
        alignment="left",
    )


def _filter_panels(part: Any, tree: xr.DataTree) -> None:
    neuron = ranked_neurons(tree)[0]
    models = models_of(tree)[:MOST_MODELS]
    panels = []
    for model in models:
        found = parameters_of(tree, model)
        panels.append((plot_filters, model, 1.6 if STIMULUS not in found and found.sizes else 1.0))
        if HISTORY in found and len(models) < MOST_MODELS:
            panels.append((plot_history_filter, model, 0.9))
    ratios = [width for *_, width in panels]
    axes = np.atleast_1d(part.subplots(1, len(panels), gridspec_kw={"width_ratios": ratios}))
    for ax, (plot, model, _) in zip(axes, panels, strict=True):
        plot(tree, model, neuron, ax=ax)
        title = ax.get_title(loc="left")
        if len(title) > LONG_TITLE:
            ax.set_title(title.replace(": ", ":\n", 1), loc="left")


def psth_figure(tree: xr.DataTree) -> Figure:
    """Draw rasters, PSTHs and predictions of all cells, at most 12.

    Parameters
    ----------
    tree : xarray.DataTree
        Of a comparison.

    Returns
    -------
    matplotlib.figure.Figure
        Of more cells, 12 are spread evenly from the best to the worst predicted; it says so.
    """
    neurons, total = some_neurons(tree, MOST_CELLS), len(neurons_of(tree))
    n_columns = 1 if len(neurons) < 4 else 2
    n_rows = -(-len(neurons) // n_columns)
    with talk_style():
        figure = new_figure(7.6 * n_columns, 0.7 + 2.5 * n_rows)
        axes = figure.subplots(n_rows, n_columns, squeeze=False)
        for index, ax in enumerate(axes.flat):
            if index >= len(neurons):
                ax.set_axis_off()
                continue
            plot_psth(tree, neurons[index], ax=ax, names=False)
            if index + n_columns < len(neurons):
                ax.set_xlabel("")
        some = f"{len(neurons)} of {total} cells, evenly from best to worst predicted"
        _model_legend(figure, tree, title=some if len(neurons) < total else None)
    return figure


def scores_figure(tree: xr.DataTree) -> Figure:
    """Draw scores on held-out blocks, and r, CC_norm and the same score on repeats, per cell."""
    heldout = heldout_score(tree)
    wanted = (heldout, "pearson_r", "cc_norm", f"{heldout}_test")
    metrics = [metric for metric in wanted if np.isfinite(mean_score(tree, metric).values).any()]
    metrics = metrics or [str(scores_of(tree).attrs["headline_metric"])]
    n_columns = 1 if len(metrics) == 1 or len(neurons_of(tree)) > 12 else 2
    n_rows = -(-len(metrics) // n_columns)
    width = max(6.5, min(13.0, 2.0 + 0.4 * len(neurons_of(tree))))
    with talk_style():
        figure = new_figure(width * n_columns, 3.6 * n_rows)
        axes = figure.subplots(n_rows, n_columns, squeeze=False)
        for index, ax in enumerate(axes.flat):
            if index < len(metrics):
                plot_scores(tree, metrics[index], ax=ax, names=False)
            else:
                ax.set_axis_off()
        _model_legend(figure, tree, lines=False)
    return figure


def differences_figure(tree: xr.DataTree) -> Figure | None:
    """Draw paired differences of the headline score; None if one model was fitted."""
    if "differences" not in tree.children:
        return None
    metric = str(scores_of(tree).attrs["headline_metric"])
    with talk_style():
        figure = new_figure(7.5, 1.7 + 0.5 * tree["differences"].sizes["pair"])
        plot_differences(tree, metric, ax=figure.subplots())
    return figure


def save_figures(tree: xr.DataTree, folder: str | Path) -> list[Path]:
    """Write every figure of a comparison as PNG into a folder, each whole or not at all.

    Parameters
    ----------
    tree : xarray.DataTree
        Of a comparison.
    folder : str or Path
        Made if it does not exist; files of the same names are replaced.

    Returns
    -------
    list of Path
        overview.png, scores.png, psth.png; differences.png with two or more models;
        filters_MODEL.png where filters are known; training.png with networks.

    Raises
    ------
    InputError
        The folder cannot be made or written.
    """
    folder = figure_folder(folder)
    written = []
    makers: dict[str, Any] = {
        "overview": plot_overview,
        "scores": scores_figure,
        "differences": differences_figure,
        "psth": psth_figure,
        "training": training_figure,
    }
    for name, make in makers.items():
        figure = make(tree)
        if figure is not None:
            written.append(save_figure(figure, folder / f"{name}.png"))
    for model, name in _file_names(models_of(tree)).items():
        figure = filters_figure(tree, model)
        if figure is not None:
            written.append(save_figure(figure, folder / f"filters_{name}.png"))
    return written


def _file_names(models: tuple[str, ...]) -> dict[str, str]:
    """Names that every file system takes, all different."""
    names: dict[str, str] = {}
    for model in models:
        name = base = re.sub(r"[^A-Za-z0-9.-]+", "_", model).strip("_.") or "model"
        number = 2
        while name.lower() in {used.lower() for used in names.values()}:
            name, number = f"{base}_{number}", number + 1
        names[model] = name
    return names
