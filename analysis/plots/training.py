"""How a network learned: loss and validation score over epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.reading import NAMES, fits_of, models_of
from neuromodels.analysis.plots.style import looks, new_figure, own_axes, say, talk_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = {"loss": "training loss", "validation": "validation"}


def trained_models(tree: xr.DataTree) -> tuple[str, ...]:
    """Models that were trained for at least two epochs."""
    return tuple(model for model in models_of(tree) if _histories(tree, model))


def _histories(tree: xr.DataTree, model: str) -> dict[int, xr.Dataset]:
    found = {
        seed: fit["history"].to_dataset()
        for seed, fit in fits_of(tree, model).items()
        if "history" in fit.children
    }
    return {seed: history for seed, history in found.items() if history.sizes.get("epoch", 0) > 1}


def plot_training(
    tree: xr.DataTree, column: str = "validation", ax: Axes | None = None, legend: bool = True
) -> Axes:
    """Draw loss or validation score over epochs, one line per network and seed.

    Parameters
    ----------
    tree : xarray.DataTree
        Of a comparison.
    column : {"validation", "loss"}
        What to draw.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    legend : bool
        Whether to name the models.

    Returns
    -------
    matplotlib.axes.Axes
        A large symbol marks the epoch of the best validation score, whose weights are kept.
    """
    style = looks(models_of(tree))
    with talk_style():
        ax = own_axes(ax, 5.0, 3.2)
        if not trained_models(tree):
            return say(ax, "no model was trained in epochs")
        for model in trained_models(tree):
            look = style[model]
            for index, history in enumerate(_histories(tree, model).values()):
                if column not in history:
                    continue
                epoch, values = history["epoch"].values, history[column].values
                label = "_" if index else model
                ax.plot(epoch, values, color=look.color, ls=look.line, lw=1.6, label=label)
                if "validation" in history and np.isfinite(history["validation"].values).any():
                    best = int(np.nanargmax(history["validation"].values))
                    ax.plot(epoch[best], values[best], look.marker, color=look.color, ms=7, mec="k")
        ax.set_xlabel("epoch")
        label = COLUMNS.get(column, column)
        ax.set_ylabel(f"{label} ({_metric(tree)})" if column == "validation" else label)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if legend:
            ax.legend(loc="best")
    return ax


def _metric(tree: xr.DataTree) -> str:
    """What the networks were validated by."""
    history = next(iter(_histories(tree, trained_models(tree)[0]).values()))
    stored = history["validation"].attrs if "validation" in history else {}
    return NAMES[stored.get("metric", "bits_per_spike")]


def training_figure(tree: xr.DataTree) -> Figure | None:
    """Draw loss and validation score of all networks; None if there is no network."""
    if not trained_models(tree):
        return None
    with talk_style():
        figure = new_figure(9.0, 3.4)
        for ax, column in zip(figure.subplots(1, 2), COLUMNS, strict=True):
            plot_training(tree, column, ax=ax, legend=column == "validation")
    return figure
