"""Scores over animals: a dot per animal and model, joined, with the mean over animals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.reading import score_label
from neuromodels.analysis.plots.style import (
    CEILING,
    FAINT,
    SPIKE,
    looks,
    new_figure,
    own_axes,
    say,
    talk_style,
)
from neuromodels.datasets.errors import InputError
from neuromodels.options import nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Scores that the figure shows after the headline score, where they exist.
ALSO = ("cc_norm",)
#: More animals than this get no name at the end of their line.
MOST_NAMES = 12
#: Least distance between two names, as a share of the axis.
NAME_HEIGHT = 0.055


def plot_animals(summary: xr.Dataset, metric: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the score of every animal under each model, joined by a line, and the mean.

    Parameters
    ----------
    summary : xarray.Dataset
        Of a comparison set (`ComparisonSet.summary`).
    metric : str, optional
        A score of the set; its headline score by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Bars are the 95 % interval over animals where there is one, else ± 1 standard error.

    Raises
    ------
    InputError
        There is no such score.
    """
    metric = str(summary.attrs["headline_metric"]) if metric is None else metric
    known = summary["metric"].values.astype(str).tolist()
    if metric not in known:
        raise InputError(
            f"has no score {metric!r}.", where="plot: metric", remedy=nearest(metric, known)
        )
    table = summary.sel(metric=metric)
    there = np.isfinite(table["mean"].values)
    models = table["model"].values.astype(str)[there].tolist()
    with talk_style():
        ax = own_axes(ax, 2.4 + 1.2 * len(models), 3.6)
        if not models:
            return say(ax, f"no score\n{score_label(summary, metric)}")
        _means(ax, table, models)
        _lines(ax, table.isel(model=there))
        ax.set_xticks(range(len(models)), models, rotation=20 if len(models) > 3 else 0)
        ax.set_xlim(-0.5, len(models) - 0.35)
        ax.set_ylabel(score_label(summary, metric))
        if ax.get_ylim()[0] < 0 < ax.get_ylim()[1]:
            ax.axhline(0, color=FAINT, lw=0.8, zorder=0)
    return ax


def _lines(ax: Axes, table: xr.Dataset) -> None:
    animals = table["animal"].values.astype(str)
    places = np.arange(table.sizes["model"])
    for animal in animals:
        values = table["animal_score"].sel(animal=animal).values
        ax.plot(places, values, "-o", color=FAINT, ms=4.5, mec="white", mew=0.5, lw=1, label=animal)
    last = table["animal_score"].isel(model=-1).values
    if len(animals) <= MOST_NAMES and np.isfinite(last).all():
        _names(ax, float(places[-1]), last, animals.tolist())


def _names(ax: Axes, place: float, values: np.ndarray, animals: list[str]) -> None:
    """Write names at the ends of the lines, pushed apart where they would overlap."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high)
    order = np.argsort(values)
    heights, lowest = {}, -np.inf
    for index in order:
        lowest = max(float(values[index]), lowest + NAME_HEIGHT * (high - low))
        heights[index] = lowest
    for index, height in heights.items():
        ax.text(place + 0.09, height, animals[index], fontsize=8, va="center", color=SPIKE)


def _means(ax: Axes, table: xr.Dataset, models: list[str]) -> None:
    from matplotlib.lines import Line2D

    style = looks(table["model"].values.astype(str).tolist())
    kinds = set()
    for place, model in enumerate(models):
        row = table.sel(model=model)
        mean, error = float(row["mean"]), float(row["standard_error"])
        interval = np.isfinite(float(row["low"]))
        length = float(row["high"]) - mean if interval else error
        if np.isfinite(length):
            kinds.add("95 % interval" if interval else "± 1 s.e.")
        ax.errorbar(
            [place - 0.14],
            [mean],
            [length],
            fmt=style[model].marker,
            color=style[model].color,
            ms=8,
            mec="black",
            mew=0.7,
            ecolor=CEILING,
            elinewidth=1.4,
            capsize=3.5,
            zorder=3,
        )
    n = table.sizes["animal"]
    said = f"mean over {n} animal{'s' * (n > 1)}"
    said += f", bars: {', '.join(sorted(kinds))}" if kinds else ""
    handles: list[Any] = [
        Line2D([], [], color=FAINT, marker="o", ms=4.5, lw=1, label="animal"),
        Line2D([], [], ls="", marker="o", color="white", mec="black", ms=7, label=said),
    ]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=1)


def animals_figure(summary: xr.Dataset) -> Figure:
    """Draw the headline score and CC_norm of all animals, side by side.

    Parameters
    ----------
    summary : xarray.Dataset
        Of a comparison set.
    """
    wanted = dict.fromkeys([str(summary.attrs["headline_metric"]), *ALSO])
    known = set(summary["metric"].values.astype(str))
    metrics = [
        name
        for name in wanted
        if name in known and np.isfinite(summary["mean"].sel(metric=name)).any()
    ] or [str(summary.attrs["headline_metric"])]
    width = 2.4 + 1.2 * summary.sizes["model"]
    with talk_style():
        figure = new_figure(width * len(metrics), 3.8)
        axes = np.atleast_1d(figure.subplots(1, len(metrics)))
        for ax, metric in zip(axes, metrics, strict=True):
            plot_animals(summary, metric, ax=ax)
    return figure
