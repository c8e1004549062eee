"""How the cost of a spiking network fell, against the costs that bound it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.rasters import EXTRA, HIT, title_pad
from neuromodels.analysis.plots.style import CEILING, columns_that_fit, looks, own_axes, talk_style
from neuromodels.datasets.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COST = "cost (mean squared van Rossum error)"
SEED = "#5b7fa6"
#: Lines that name a level: the higher the level, the longer the dashes.
DASHES: tuple[Any, ...] = ((0, (6, 2)), (0, (3, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))


def plot_learning_curve(
    progress: xr.Dataset | Mapping[str, xr.Dataset | Sequence[xr.Dataset]],
    lines: Mapping[str, float] | None = None,
    ax: Axes | None = None,
    *,
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> Axes:
    """Draw how the cost falls with simulated time, against the costs that bound it.

    Parameters
    ----------
    progress : xarray.Dataset or mapping
        `cost` and simulated `time` (s) along `epoch`; several by label. Several seeds of one
        label, a sequence, are thin lines with their median, thick.
    lines : mapping of str to float, optional
        Costs to compare with: a silent network, one without a hidden layer, the floor that
        unreachable targets leave. One that a logarithmic axis cannot show is left out.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    points : mapping of str to (times, costs), optional
        Published values at some times (s).

    Returns
    -------
    matplotlib.axes.Axes
        The cost is on a logarithmic axis; four is about one unmatched spike per second and neuron.
    """
    runs = {"": progress} if isinstance(progress, xr.Dataset) else dict(progress)
    seeds = {k: [v] if isinstance(v, xr.Dataset) else list(v) for k, v in runs.items()}
    style = looks(list(seeds))
    with talk_style():
        ax = own_axes(ax, 6.0, 3.6)
        for label, found in seeds.items():
            color, dash = style[label].color, style[label].line
            if label == "":
                color, dash = HIT, "-"
            if len(found) > 1:
                for each in found:
                    ax.plot(each["time"], each["cost"], color=color, lw=0.6, alpha=0.6)
            ax.plot(*_median(found), color=color, ls=dash, lw=1.8, label=label or "_")
        for index, (label, (times, costs)) in enumerate((points or {}).items()):
            marker = "osD^v"[index % 5]
            ax.plot(times, costs, marker, color="k", mfc="white", ms=4.5, zorder=4, label=label)
        ax.set_yscale("log")
        ax.set_xlim(left=0)
        ax.set_xlabel("simulated time (s)")
        ax.set_ylabel(COST)
        plain_log_axis(ax)
        named_levels(ax, lines or {})
        legend_above(ax)
    return ax


def _median(runs: Sequence[xr.Dataset]) -> tuple[np.ndarray, np.ndarray]:
    """Times that all runs share, and the median of their costs."""
    n = min(run.sizes["epoch"] for run in runs)
    costs = np.stack([run["cost"].values[:n] for run in runs])
    return runs[0]["time"].values[:n], np.median(costs, axis=0)


def plain_log_axis(ax: Axes) -> None:
    """Write the costs of a logarithmic axis as 1, 2, 5, 10, ... instead of powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = ax.dataLim.intervaly
    wide = np.isfinite([low, high]).all() and low > 0 and high > 30 * low
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def named_levels(ax: Axes, levels: Mapping[str, float]) -> None:
    """Draw horizontal lines with their names and values beside the axes, none over another."""
    log = ax.get_yscale() == "log"
    drawn = {k: float(v) for k, v in levels.items() if np.isfinite(v) and (v > 0 or not log)}
    if not drawn:
        return
    ordered = sorted(drawn.items(), key=lambda item: item[1])
    values = [value for _, value in ordered]
    low, high = ax.get_ylim()
    low = min(low, values[0] / 1.25) if log else min(low, values[0])
    high = max(high, values[-1] * 1.25) if log else max(high, values[-1])
    ax.set_ylim(low, high)
    to_share = np.log if log else np.asarray
    share = (to_share(values) - to_share(low)) / (to_share(high) - to_share(low))
    height = ax.get_window_extent().height / ax.figure.dpi * 72
    places = _spread(share, 11.5 / height)
    for index, ((name, value), place) in enumerate(zip(ordered, places, strict=True)):
        # The upper line has the longest dashes.
        dash = DASHES[(len(ordered) - 1 - index) % len(DASHES)]
        ax.axhline(value, color=CEILING, lw=0.9, ls=dash, zorder=1, gid="level")
        ax.text(1.015, place, f"{name} {value:.4g}", fontsize=8.5, va="center", **_beside(ax))


def _beside(ax: Axes) -> dict[str, Any]:
    return {"transform": ax.transAxes, "ha": "left", "clip_on": False}


def _spread(places: np.ndarray, gap: float) -> np.ndarray:
    """Move sorted places apart to at least `gap`, as little and as evenly as two sweeps can."""
    up = np.array(places, float)
    for i in range(1, len(up)):
        up[i] = max(up[i], up[i - 1] + gap)
    down = np.array(places, float)
    for i in range(len(down) - 2, -1, -1):
        down[i] = min(down[i], down[i + 1] - gap)
    return (up + down) / 2


def legend_above(ax: Axes) -> int:
    """Name what is drawn above the axes, where nothing is; return the rows this takes."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return 0
    columns = columns_that_fit(ax, labels)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=columns)
    return -(-len(handles) // columns)


def plot_rates(progress: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the mean firing rate of each population (Hz) over simulated time."""
    names = [str(name) for name in progress["population"].values]
    style = looks(names)
    with talk_style():
        ax = own_axes(ax, 6.0, 2.4)
        for name, rate in zip(names, progress["rate"].transpose("population", ...), strict=True):
            look = style[name]
            ax.plot(progress["time"], rate, color=look.color, ls=look.line, label=name)
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("simulated time (s)")
        ax.set_ylabel("rate (Hz)")
        legend_above(ax)
    return ax


def plot_reproduction(
    table: xr.Dataset,
    lines: Mapping[str, float] | None = None,
    ax: Axes | None = None,
    *,
    title: str = "",
) -> Axes:
    """Draw the final cost of each network and seed against the costs that bound it.

    Parameters
    ----------
    table : xarray.Dataset
        `cost (network, seed)`; NaN where a seed was not run. Optional `reference (network)`:
        values that were published or measured before, NaN where there is none.
    lines : mapping of str to float, optional
        Costs to compare with, as in `plot_learning_curve`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    title : str
        Above the axes.

    Returns
    -------
    matplotlib.axes.Axes
        Points are seeds, a bar is their mean, a hollow diamond the reference; low is better.

    Raises
    ------
    InputError
        The table has no cost by network and seed.
    """
    if "cost" not in table or set(table["cost"].dims) != {"network", "seed"}:
        raise InputError(
            "has no cost (network, seed)",
            where="plot_reproduction: table",
            remedy='Pass a dataset with a variable "cost" and these two dimensions.',
        )
    costs = table["cost"].transpose("network", "seed").values
    names = [str(name) for name in table["network"].values]
    places = np.arange(len(names))
    known = np.isfinite(costs)
    means = [
        row[found].mean() if found.any() else np.nan
        for row, found in zip(costs, known, strict=True)
    ]
    with talk_style():
        ax = own_axes(ax, 2.6 + 0.55 * len(names), 4.2)
        n_seeds = costs.shape[1]
        spread = np.linspace(-0.18, 0.18, n_seeds) if n_seeds > 1 else np.zeros(1)
        at = np.broadcast_to(places[:, None] + spread, costs.shape)
        ax.hlines(means, places - 0.34, places + 0.34, color=HIT, lw=2.2, label="mean", zorder=3)
        ax.plot(at[known], costs[known], "o", color=SEED, ms=5, mec="white", mew=0.6, label="seed")
        if "reference" in table:
            look = {"color": EXTRA, "mfc": "none", "ms": 7.5, "mew": 1.3, "zorder": 4}
            ax.plot(places, table["reference"], "D", label="reference", **look)
        ax.set_yscale("log")
        ax.set_ylabel(COST)
        ax.set_xlim(-0.6, len(names) - 0.4)
        many = len(names) > 4
        ax.set_xticks(places, labels=names)
        ax.tick_params(axis="x", length=0)
        if many:
            ax.tick_params(axis="x", labelrotation=35)
            for text in ax.get_xticklabels():
                text.set(ha="right", rotation_mode="anchor")
        plain_log_axis(ax)
        named_levels(ax, lines or {})
        rows = legend_above(ax)
        if title:
            ax.set_title(title, pad=title_pad(rows))
    return ax
