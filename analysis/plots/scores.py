"""Scores per neuron with their ceilings, and paired differences between models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.reading import (
    check_metric,
    metric_label,
    models_of,
    neurons_of,
    scores_of,
    shown_name,
)
from neuromodels.analysis.plots.style import (
    CEILING,
    FAINT,
    SPIKE,
    columns_that_fit,
    looks,
    own_axes,
    say,
    talk_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Upper reference of a score: a kind of ceiling in the tree, or a number, and what to call it.
REFERENCES: dict[str, tuple[str | float, str]] = {
    "pearson_r": ("cc_max", "ceiling (CC$_{max}$)"),
    "cc_norm": (1.0, "ceiling"),
    "feve": (1.0, "ceiling"),
    "r2_er": (1.0, "ceiling"),
    "signal_power_explained": (1.0, "ceiling"),
    "bits_per_spike_test": ("leave_one_out_bits_per_spike", "leave-one-out PSTH"),
}
AVERAGED = ["score", "standard_error", "interval_low", "interval_high", "population"]
#: Share of a neuron's place that its models take up, and each of them at most.
SPREAD, EACH = 0.62, 0.26
#: More neurons than this get upright labels; more than LABELS of them, only some get one.
UPRIGHT, LABELS = 10, 40


def plot_scores(
    tree: xr.DataTree, metric: str | None = None, ax: Axes | None = None, names: bool = True
) -> Axes:
    """Draw every neuron's score under each model, the ceiling, and the mean over neurons.

    Parameters
    ----------
    tree : xarray.DataTree
        Of a comparison (`Comparison.tree`).
    metric : str, optional
        A score of the comparison; its headline score by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    names : bool
        Whether the legend names the models, or only bars and ceiling.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        There is no such score.

    Notes
    -----
    With several seeds a symbol is the mean over seeds, and small points are the seeds. Bars are
    95 % intervals where the comparison has them, else one standard error to each side; where it
    has neither there is no bar. Neurons without a score say so.
    """
    scores = scores_of(tree)
    metric = str(scores.attrs["headline_metric"]) if metric is None else metric
    check_metric(tree, metric)
    row = scores.sel(metric=metric)
    neurons = neurons_of(tree)
    shown = [m for m in models_of(tree) if np.isfinite(row["score"].sel(model=m).values).any()]
    with talk_style():
        ax = own_axes(ax, max(6.0, min(14.0, 2.0 + 0.75 * len(neurons))), 3.6)
        if not shown:
            reasons = [str(r) for r in np.unique(row["reason"].values) if str(r)]
            return say(ax, "\n".join([metric_label(tree, metric), *reasons]))
        ceiling = _ceiling(ax, row, metric)
        models, bars = _points(ax, tree, row, shown)
        handles = (models if names else []) + bars + ceiling
        _mark_missing(ax, row)
        _neuron_axis(ax, row, neurons)
        ax.set_ylabel(metric_label(tree, metric))
        if ax.get_ylim()[0] < 0:
            ax.axhline(0, color=FAINT, lw=0.8, zorder=0)
        elif metric not in ("pearson_r", "cc_norm") or ax.get_ylim()[0] < 0.5:
            ax.set_ylim(bottom=0)
        if handles:
            columns = columns_that_fit(ax, [handle.get_label() for handle in handles])
            ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=columns)
    return ax


def _mean_position(n_neurons: int) -> float:
    return n_neurons + 0.35


def _offsets(n_models: int) -> np.ndarray:
    step = min(EACH, SPREAD / max(1, n_models - 1))
    return step * (np.arange(n_models) - (n_models - 1) / 2)


def _bars(low: Any, high: Any, value: Any, error: Any) -> tuple[np.ndarray, bool]:
    """Lengths of error bars (2, n), and whether they are intervals."""
    low, high, value, error = (
        np.atleast_1d(np.asarray(a, float)) for a in (low, high, value, error)
    )
    if np.isfinite(low).any():
        return np.abs(np.stack([value - low, high - value])), True
    return np.stack([error, error]), False


def _points(
    ax: Axes, tree: xr.DataTree, row: xr.Dataset, shown: list[str]
) -> tuple[list[Any], list[Any]]:
    """Draw scores; return legend entries of the models and of the bars."""
    from matplotlib.lines import Line2D

    style = looks(models_of(tree))
    n_neurons = row.sizes["neuron"]
    size = 6.0 if n_neurons <= UPRIGHT else 4.2
    handles: list[Any] = []
    bars: set[bool] = set()
    for model, offset in zip(shown, _offsets(len(shown)), strict=True):
        look = style[model]
        each = row.sel(model=model).isel(fold=0)
        mean = each[AVERAGED].mean("seed", skipna=False)
        place = np.arange(n_neurons) + offset
        value = mean["score"].values
        lengths, interval = _bars(
            mean["interval_low"], mean["interval_high"], value, mean["standard_error"]
        )
        if np.isfinite(lengths).any():
            bars.add(interval)
        ax.errorbar(
            place,
            value,
            lengths,
            fmt=look.marker,
            color=look.color,
            ms=size,
            mec="white",
            mew=0.5,
            elinewidth=1.3,
            zorder=3,
            label=model,
        )
        if each.sizes["seed"] > 1:
            ax.plot(place, each["score"].values.T, ".", color=look.color, ms=3, alpha=0.6, zorder=4)
        if n_neurons > 1:
            pooled = mean["population"].sel(reduction=row.attrs["headline_reduction"])
            at, parts = (
                _mean_position(n_neurons) + offset,
                dict(zip(pooled["part"].values, pooled.values, strict=True)),
            )
            lengths, interval = _bars(
                parts["low"], parts["high"], parts["value"], parts["standard_error"]
            )
            if np.isfinite(lengths).any():
                bars.add(interval)
            ax.errorbar(
                [at],
                [parts["value"]],
                lengths,
                fmt=look.marker,
                color=look.color,
                ms=6.5,
                mec="black",
                mew=0.7,
                ecolor="black",
                elinewidth=1.3,
                capsize=3.5,
                zorder=3,
            )
        handles.append(
            Line2D(
                [],
                [],
                ls="",
                marker=look.marker,
                color=look.color,
                ms=6,
                label=shown_name(tree, model),
            )
        )
    if not bars:
        return handles, []
    text = {True: "95 % interval", False: "± 1 standard error"}
    kind = text[bars.pop()] if len(bars) == 1 else "95 % interval, else ± 1 s.e."
    bar = Line2D([], [], color=FAINT, marker="|", ls="", ms=10, mew=1.5, label=f"bars: {kind}")
    return handles, [bar]


def _ceiling(ax: Axes, row: xr.Dataset, metric: str) -> list[Any]:
    from matplotlib.lines import Line2D

    if metric not in REFERENCES:
        return []
    kind, label = REFERENCES[metric]
    n_neurons = row.sizes["neuron"]
    if isinstance(kind, float):
        ax.axhline(kind, color=CEILING, lw=1.2, zorder=1)
        return [Line2D([], [], color=CEILING, lw=1.2, label=label)]
    values = row["ceiling"].sel(ceiling_kind=kind).values
    if not np.isfinite(values).any():
        return []
    half = SPREAD / 2 + 0.12
    place = np.arange(n_neurons)
    if n_neurons > 1:
        # Over the neurons that have both, as the mean of the scores is.
        both = np.isfinite(values) & np.isfinite(row["score"].values).any(axis=(0, 1, 2))
        wanted = row.attrs["headline_reduction"] == "mean" and both.any()
        mean = values[both].mean() if wanted else np.nan
        place, values = np.append(place, _mean_position(n_neurons)), np.append(values, mean)
    ax.hlines(values, place - half, place + half, color=CEILING, lw=1.6, zorder=2, label=label)
    return [Line2D([], [], color=CEILING, lw=1.6, label=label)]


def _mark_missing(ax: Axes, row: xr.Dataset) -> None:
    missing = np.isnan(row["score"].values).all(axis=(0, 1, 2))
    for at in np.flatnonzero(missing):
        ax.text(
            at,
            0.03,
            "no score",
            rotation=90,
            fontsize=8,
            ha="center",
            va="bottom",
            color=SPIKE,
            transform=ax.get_xaxis_transform(),
        )


def _neuron_axis(ax: Axes, row: xr.Dataset, neurons: tuple[str, ...]) -> None:
    n = len(neurons)
    step = int(np.ceil(n / LABELS))
    ticks = list(range(0, n, step))
    names = [neurons[i] for i in ticks]
    end = n - 0.4
    if n > 1:
        at = _mean_position(n)
        ticks.append(at)
        names.append("mean" if row.attrs["headline_reduction"] == "mean" else "pooled")
        ax.axvline(n - 0.33, color=FAINT, lw=0.8, zorder=0)
        end = at + 0.6
    longest = max(map(len, names))
    upright = n > UPRIGHT or longest * n > 60
    ax.set_xticks(ticks, names, rotation=90 if upright else 0)
    ax.set_xlim(-0.6, end)
    ax.tick_params(axis="x", length=0)


def plot_differences(
    tree: xr.DataTree, metric: str = "bits_per_spike", ax: Axes | None = None
) -> Axes:
    """Draw how much better one model predicts than another, neuron by neuron and on average.

    Parameters
    ----------
    tree : xarray.DataTree
        Of a comparison.
    metric : str
        A score of the comparison.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        One row per pair of models that saw the same; grey points are neurons.

    Raises
    ------
    InputError
        There is no such score.
    """
    check_metric(tree, metric)
    with talk_style():
        if "differences" not in tree.children:
            return say(own_axes(ax, 6.0, 1.5), "only one model: nothing to compare")
        table = tree["differences"].to_dataset().sel(metric=metric)
        table = table.isel(pair=np.isfinite(table["difference"].values).any(axis=1))
        n_pairs = table.sizes["pair"]
        ax = own_axes(ax, 7.0, 1.6 + 0.5 * n_pairs)
        if not n_pairs:
            return say(ax, f"no two models have comparable scores:\n{metric_label(tree, metric)}")
        _difference_rows(ax, tree, table)
        where = metric_label(tree, metric).replace("\n", " ")
        ax.set_xlabel(f"difference in {where}")
    return ax


def _difference_rows(ax: Axes, tree: xr.DataTree, table: xr.Dataset) -> None:
    from matplotlib.lines import Line2D

    style = looks(models_of(tree))
    reduction = str(scores_of(tree).attrs["headline_reduction"])
    pooled = table["population"].sel(reduction=reduction)
    ax.axvline(0, color=CEILING, lw=0.9, zorder=0)
    bars: set[bool] = set()
    for y, pair in enumerate(table["pair"].values):
        row = table.sel(pair=pair)
        each = row["difference"].values
        spread = np.linspace(-0.16, 0.16, len(each)) if len(each) > 1 else np.zeros(1)
        ax.plot(each, y + spread, "o", color=FAINT, ms=4, mec="none", zorder=2, label=str(pair))
        if len(each) == 1 and not np.isfinite(pooled.sel(pair=pair, part="value")):
            continue
        parts = {part: float(pooled.sel(pair=pair, part=part)) for part in pooled["part"].values}
        lengths, interval = _bars(
            parts["low"], parts["high"], parts["value"], parts["standard_error"]
        )
        if np.isfinite(lengths).any():
            bars.add(interval)
        look = style[str(row["first"].values)]
        ax.errorbar(
            [parts["value"]],
            [y],
            xerr=lengths,
            fmt=look.marker,
            color=look.color,
            ms=9,
            mec="black",
            mew=0.8,
            ecolor="black",
            elinewidth=1.8,
            capsize=4,
            zorder=3,
        )
    ax.set_yticks(range(table.sizes["pair"]), [str(pair) for pair in table["pair"].values])
    ax.set_ylim(table.sizes["pair"] - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    together = "mean over neurons" if reduction == "mean" else "all neurons pooled"
    handles = [
        Line2D([], [], ls="", marker="o", color=FAINT, ms=4, label="neuron"),
        Line2D([], [], ls="", marker="o", color="white", mec="black", ms=8, label=together),
    ]
    if bars:
        text = "95 % interval" if True in bars else "± 1 standard error"
        handles.append(Line2D([], [], color="black", lw=1.8, label=text))
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=3)
