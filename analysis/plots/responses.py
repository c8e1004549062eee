"""What was recorded against what was predicted: rasters, PSTHs, and rates in Hz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.reading import (
    NAMES,
    Responses,
    check_neuron,
    fits_of,
    mean_score,
    models_of,
    predicted,
    responses_of,
    scores_of,
    shown_name,
)
from neuromodels.analysis.plots.style import (
    OBSERVED,
    SPIKE,
    columns_that_fit,
    looks,
    own_axes,
    talk_style,
)
from neuromodels.datasets.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Longest stretch shown unless a window is given, s.
LONGEST = 6.0
#: Without repeats spikes are counted in windows of this width, s.
COUNTED = 0.1
#: Share of the height that the raster takes.
RASTER_SHARE = 0.36
#: A model whose rate runs away beyond this multiple of the largest recorded rate leaves the axes.
RUNAWAY = 1.5


def plot_rasters(
    tree: xr.DataTree,
    neuron: str,
    ax: Axes | None = None,
    role: str | None = None,
    window: tuple[float, float] | None = None,
) -> Axes:
    """Draw the spikes of a neuron, one row per repeat.

    Parameters
    ----------
    tree : xarray.DataTree
        Of a comparison.
    neuron : str
        Id.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    role : str, optional
        "test" or "heldout"; by default the repeats if there are any.
    window : tuple of float, optional
        From and to, s; by default what is scored, at most 6 s.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        No such neuron, role, or stretch, or a recording of traces.

    Notes
    -----
    A comparison holds counts and no spike times: a tick spans a bin with at least one spike.
    """
    neuron = check_neuron(tree, neuron)
    responses = responses_of(tree, role)
    if not responses.counted:
        raise InputError(
            f"holds a {responses.shown_as}, which has no spikes.",
            where="plot: rasters",
            remedy="Use plot_psth.",
        )
    bins = responses.bins(window, LONGEST)
    with talk_style():
        ax = own_axes(ax, 8.0, 3.0)
        _raster(ax, responses, responses.counts(neuron, bins), bins)
        ax.set_xlabel(_time_label(responses))
        ax.set_title(neuron)
    return ax


def plot_psth(
    tree: xr.DataTree,
    neuron: str,
    ax: Axes | None = None,
    role: str | None = None,
    window: tuple[float, float] | None = None,
    *,
    seed: int | None = None,
    rasters: bool = True,
    names: bool = True,
) -> Axes:
    """Draw a neuron's firing rate or trace, what each model predicts, and the spikes above.

    Parameters
    ----------
    tree : xarray.DataTree
        Of a comparison.
    neuron : str
        Id.
    ax : matplotlib.axes.Axes, optional
        Where to draw; the raster takes the upper part.
    role : str, optional
        "test": PSTH of the repeats. "heldout": a stretch that was shown once, whose spikes are
        counted in windows of 0.1 s. By default the repeats if there are any.
    window : tuple of float, optional
        From and to, s; by default what is scored, at most 6 s.
    seed : int, optional
        Fit that is drawn; the first by default.
    rasters : bool
        Whether spikes are drawn, where there are any.
    names : bool
        Whether the legend names the models, or only their scores.

    Returns
    -------
    matplotlib.axes.Axes
        Rates in Hz, traces in their own units. Models that see spikes run freely. The legend gives
        r to the PSTH (or, on held-out blocks, bits per spike or R²) of the fit that is drawn, over
        all that was scored.

    Raises
    ------
    InputError
        No such neuron, role, stretch, or seed.
    """
    neuron = check_neuron(tree, neuron)
    responses = responses_of(tree, role)
    bins = responses.bins(window, LONGEST)
    counts = responses.counts(neuron, bins)
    repeated = responses.n_trials > 1
    metric, short = ("pearson_r", "r ") if repeated else (responses.score, "")
    rasters = rasters and responses.counted
    with talk_style():
        ax = own_axes(ax, 8.0, 4.0)
        observed = _observed(ax, responses, counts, bins)
        handles = [observed] if names else []
        top = _predictions(ax, tree, responses, neuron, bins, seed, (metric, short, names), handles)
        _rate_axis(ax, responses, bins, top, RASTER_SHARE if rasters else 0.0)
        if rasters:
            _raster_above(ax, responses, counts, bins)
        _describe(ax, _title(tree, neuron, repeated, metric), handles, names)
    return ax


def _describe(ax: Axes, title: str, handles: list[Any], names: bool) -> None:
    """Title and legend above the axes: in one line, or with long names below the title."""
    columns = max(1, len(handles))
    if names:
        columns = columns_that_fit(ax, [str(handle.get_label()) for handle in handles])
    rows = -(-len(handles) // columns)
    ax.set_title(title, pad=8 + 14 * rows if names else 5)
    ax.legend(
        handles=handles,
        loc="lower left" if names else "lower right",
        bbox_to_anchor=(0, 1.0) if names else (1, 1.0),
        ncols=columns,
        handlelength=1.7,
        columnspacing=1.0,
    )


def _time_label(responses: Responses) -> str:
    return "time in the movie (s)" if responses.n_trials > 1 else "time in the recording (s)"


def _edges(responses: Responses, bins: np.ndarray) -> np.ndarray:
    start = responses.time[bins[0]]
    return start + np.arange(len(bins) + 1) * responses.bin_width


def _raster(ax: Axes, responses: Responses, counts: np.ndarray, bins: np.ndarray) -> None:
    edges = _edges(responses, bins)
    trial, at = np.nonzero(np.nan_to_num(counts) > 0)
    centres = (edges[at] + edges[at + 1]) / 2
    ax.vlines(centres, trial + 0.08, trial + 0.92, color=SPIKE, lw=0.7)
    ax.set_ylim(len(counts), 0)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_yticks([])
    # Horizontal, so that it stays clear of the rate axis below.
    label = f"{len(counts)}\nrepeats" if len(counts) > 1 else "spikes"
    ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)


def _raster_above(ax: Axes, responses: Responses, counts: np.ndarray, bins: np.ndarray) -> None:
    share = RASTER_SHARE if len(counts) > 1 else 0.12
    above = ax.inset_axes([0, 1 - share, 1, share])
    _raster(above, responses, counts, bins)
    above.patch.set_visible(False)
    above.set_xticks([])
    for side in above.spines.values():
        side.set_visible(False)


def _observed(ax: Axes, responses: Responses, counts: np.ndarray, bins: np.ndarray) -> Any:
    """Fill the recorded rate, Hz; a trace is a line."""
    edges = _edges(responses, bins)
    if len(counts) > 1:
        recorded = ~np.isnan(counts)
        total = np.where(recorded, counts, 0).sum(axis=0)
        with np.errstate(invalid="ignore"):
            rate = np.where(recorded.any(axis=0), total / recorded.sum(axis=0), np.nan)
        rate, label = rate * responses.factor, f"PSTH ({len(counts)} repeats)"
        if not responses.counted:
            label = f"mean of {len(counts)} repeats"
    elif not responses.counted:
        rate, label = counts[0], "recorded"
    else:
        together = min(len(bins), max(1, round(COUNTED / responses.bin_width)))
        n_windows = len(bins) // together
        summed = counts[0, : n_windows * together].reshape(n_windows, together).sum(axis=1)
        width = together * responses.bin_width
        rate, edges = summed / width, edges[0] + np.arange(n_windows + 1) * width
        label = f"spikes in {width:g} s"
    if not responses.counted:
        return ax.stairs(rate, edges, baseline=None, color=OBSERVED, lw=2.5, label=label)
    return ax.stairs(rate, edges, fill=True, facecolor=OBSERVED, edgecolor=OBSERVED, label=label)


def _predictions(
    ax: Axes,
    tree: xr.DataTree,
    responses: Responses,
    neuron: str,
    bins: np.ndarray,
    seed: int | None,
    wording: tuple[str, str, bool],
    handles: list[Any],
) -> float:
    """Draw every model's rate or trace; return the top of the axis."""
    metric, short, names = wording
    edges = _edges(responses, bins)
    centres = (edges[:-1] + edges[1:]) / 2
    recorded = ax.patches[-1].get_data().values
    top = float(np.nanmax(recorded, initial=0.0 if responses.counted else -np.inf))
    limit = RUNAWAY * top if top > 0 and responses.counted else np.inf
    style = looks(models_of(tree))
    scores = scores_of(tree)["score"].sel(metric=metric, neuron=neuron).isel(fold=0)
    for model in models_of(tree):
        rate = predicted(tree, model, responses, neuron, bins, seed)
        if rate is None:
            continue
        look = style[model]
        used = next(iter(fits_of(tree, model))) if seed is None else seed
        score = float(scores.sel(model=model, seed=used))
        label = f"{short}{score:.2f}" if np.isfinite(score) else f"{short}–"
        if names:
            label = f"{shown_name(tree, model)}  {label}"
        peak = float(np.nanmax(rate, initial=0.0 if responses.counted else -np.inf))
        if peak > limit:
            label += f" (up to {peak:.0f} Hz)" if names else f" ↑{peak:.0f} Hz"
        top = max(top, min(peak, limit))
        handles += ax.plot(centres, rate, color=look.color, ls=look.line, lw=1.5, label=label)
    return top


def _rate_axis(
    ax: Axes, responses: Responses, bins: np.ndarray, top: float, raster_share: float
) -> None:
    from matplotlib.ticker import MaxNLocator

    edges = _edges(responses, bins)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel(_time_label(responses))
    if not responses.counted:
        ax.set_ylabel(responses.shown_as)
        return
    top = 1.04 * top if top > 0 else 1.0
    if responses.n_trials == 1:
        raster_share = min(raster_share, 0.15)
    ax.set_ylim(0, top / (1 - raster_share - 0.02 * (raster_share > 0)))
    ticks = MaxNLocator(nbins=4, integer=True).tick_values(0, top)
    ax.set_yticks([tick for tick in ticks if 0 <= tick <= top])
    ax.spines["left"].set_bounds(0, top)
    # Centred on the part of the axis that shows rates.
    ax.set_ylabel(responses.shown_as, y=(1 - raster_share) / 2)


def _title(tree: xr.DataTree, neuron: str, repeated: bool, metric: str) -> str:
    if not repeated:
        return f"{neuron} ({NAMES[metric]})" if _has(tree, neuron, metric) else neuron
    ceiling = float(scores_of(tree)["ceiling"].sel(ceiling_kind="cc_max", neuron=neuron))
    return f"{neuron} (r at most {ceiling:.2f})" if np.isfinite(ceiling) else neuron


def _has(tree: xr.DataTree, neuron: str, metric: str) -> bool:
    return bool(np.isfinite(mean_score(tree, metric).sel(neuron=neuron).values).any())
