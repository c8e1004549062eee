"""What happened inside a spiking network: voltages, errors and eligibilities over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.rasters import HIT
from neuromodels.analysis.plots.style import (
    DIVERGING,
    FAINT,
    new_figure,
    own_axes,
    say,
    talk_style,
)
from neuromodels.datasets.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Traces up to this many are lines, more are an image.
MOST_LINES = 8
#: What one trace along a dimension is called where its coordinate is only a number.
NAMES = {"recorded": "neuron"}


def plot_voltages(
    traces: xr.Dataset,
    ax: Axes | None = None,
    *,
    threshold_v: float | None = None,
    spikes: Mapping[Any, Sequence[float]] | None = None,
) -> Axes:
    """Draw membrane potentials (mV) over time, one above the other.

    Parameters
    ----------
    traces : xarray.Dataset
        `voltage (time, recorded)`, V. More than eight are drawn as an image.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    threshold_v : float, optional
        Dashed in every trace, V.
    spikes : mapping of label to times, optional
        Spike times (s) by the label in `recorded`: a stroke above the threshold, since the
        simulated voltage has no spike of its own.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        Spikes of a neuron that was not recorded.
    """
    values = traces["voltage"] * 1e3
    with talk_style():
        level = None if threshold_v is None else 1e3 * threshold_v
        known = {str(label) for label in traces["recorded"].values}
        times = {str(key): np.asarray(value, float) for key, value in (spikes or {}).items()}
        if not known.issuperset(times):
            raise InputError(
                f"names {sorted(set(times) - known)[0]!r}, which was not recorded",
                where="plot_voltages: spikes",
                remedy=f"Choose from {', '.join(sorted(known))}.",
            )
        times = {_named("recorded", label): value for label, value in times.items()}
        return _traces(ax, values, "membrane potential", "mV", level=level, spikes=times)


def plot_errors(traces: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the filtered error of each output, positive where a spike is too many (1/s)."""
    with talk_style():
        return _traces(ax, traces["error"], "error", "1/s", level=0.0, signed=True)


def plot_eligibility(traces: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the eligibility of each synapse over time: what a weight would change if it were wrong.

    Parameters
    ----------
    traces : xarray.Dataset
        `eligibility (time, synapse)`. More than eight are drawn as an image.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
    """
    values = traces["eligibility"]
    with talk_style():
        return _traces(ax, values, "eligibility", str(values.attrs.get("units", "")))


def traces_figure(
    traces: xr.Dataset,
    *,
    threshold_v: float | None = None,
    window: tuple[float, float] | None = None,
) -> Figure:
    """Draw voltages, errors and eligibilities of a few output neurons, one below the other.

    Parameters
    ----------
    traces : xarray.Dataset
        `voltage`, `error` and `eligibility`, each over `time` and one more dimension.
    threshold_v : float, optional
        Dashed in every voltage, V.
    window : tuple of float, optional
        Stretch to show, s; all by default.

    Returns
    -------
    matplotlib.figure.Figure
        One slide.
    """
    if window is not None:
        traces = traces.sel(time=slice(*window))
    with talk_style():
        figure = new_figure(11.0, 8.0)
        axes = figure.subplots(3, 1, sharex=True)
        plot_voltages(traces, axes[0], threshold_v=threshold_v)
        plot_errors(traces, axes[1])
        plot_eligibility(traces, axes[2])
        for ax in axes[:2]:
            ax.set_xlabel("")
    return figure


def _traces(
    ax: Axes | None,
    values: xr.DataArray,
    name: str,
    units: str,
    *,
    level: float | None = None,
    spikes: Mapping[str, np.ndarray] | None = None,
    signed: bool = False,
) -> Axes:
    """Lines one above the other with a scale, or an image where there are too many."""
    (dim,) = [d for d in values.dims if d != "time"]
    values = values.transpose("time", dim)
    labels = [_label(values, dim, index) for index in range(values.sizes[dim])]
    ax = own_axes(ax, 7.0, max(2.4, 1.3 + 0.55 * min(len(labels), MOST_LINES)))
    time = values["time"].values
    caption = f"{name} ({units})" if units else name
    if not values.size:
        return say(ax, f"no {name} was recorded")
    if len(labels) > MOST_LINES:
        _image(ax, values.values.T, time, caption, signed)
        ax.set_ylabel(NAMES.get(dim, dim))
    else:
        _lines(ax, values.values, time, labels, caption, units, level, spikes or {})
    ax.set_xlim(time[0], time[-1])
    ax.set_xlabel("time (s)")
    return ax


def _label(values: xr.DataArray, dim: str, index: int) -> str:
    """A trace's label: its source and target where it is a synapse, else its coordinate."""
    if {"source", "target"} <= set(values.coords):
        source, target = (values[end].values[index] for end in ("source", "target"))
        return f"{source} → {target}"
    return _named(dim, str(values[dim].values[index]))


def _named(dim: str, label: str) -> str:
    return f"{NAMES.get(dim, dim)} {label}" if label.isdigit() else label


def _lines(
    ax: Axes,
    values: np.ndarray,
    time: np.ndarray,
    labels: Sequence[str],
    caption: str,
    units: str,
    level: float | None,
    spikes: Mapping[str, np.ndarray],
) -> None:
    low = np.nanmin(values, initial=np.inf if level is None else level)
    high = np.nanmax(values, initial=-np.inf if level is None else level)
    span = float(high - low) or 1.0
    stroke = 0.3 * span if spikes else 0.0
    step = 1.15 * span + stroke if len(labels) > 1 else 0.0
    # The first trace is the highest.
    shifts = step * np.arange(len(labels))[::-1]
    for trace, label, shift in zip(values.T, labels, shifts, strict=True):
        ax.plot(time, trace + shift, color=HIT, lw=0.9, gid="trace", label=f"_{label}")
        if level is not None:
            ax.axhline(level + shift, color=FAINT, lw=0.8, ls=(0, (4, 2)), zorder=0)
        if label in spikes:
            base = (high if level is None else level) + shift
            ax.vlines(spikes[label], base, base + stroke, color=HIT, lw=0.9, gid="spike")
    ax.set_ylim(low - 0.06 * span, high + shifts[0] + stroke + 0.06 * span)
    if len(labels) == 1:
        ax.set_ylabel(caption)
        return
    ax.set_yticks(shifts + (low + high) / 2, labels=labels)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_title(caption)
    _scale_bar(ax, low, span, units)


def _scale_bar(ax: Axes, low: float, span: float, units: str) -> None:
    """A round length at the right of the lowest trace."""
    power = 10.0 ** np.floor(np.log10(0.6 * span))
    length = power * max(m for m in (1, 2, 5) if m * power <= 0.6 * span * (1 + 1e-9))
    across = ax.get_yaxis_transform()
    (bar,) = ax.plot([1.012, 1.012], [low, low + length], color="k", lw=2, transform=across)
    bar.set(clip_on=False, gid="scale")
    text = f"{length:g} {units}".strip()
    ax.text(1.022, low + length / 2, text, transform=across, va="center", fontsize=8.5)


def _image(ax: Axes, values: np.ndarray, time: np.ndarray, caption: str, signed: bool) -> None:
    """Traces as rows, the first the lowest as in rasters."""
    step = float(time[1] - time[0]) if len(time) > 1 else 1.0
    extent = (time[0] - step / 2, time[-1] + step / 2, -0.5, len(values) - 0.5)
    limit = float(np.nanmax(np.abs(values))) or 1.0
    kind = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit} if signed else {"cmap": "magma_r"}
    shown = ax.imshow(
        values, aspect="auto", origin="lower", extent=extent, interpolation="auto", **kind
    )
    bar = ax.figure.colorbar(shown, ax=ax, pad=0.02, aspect=16, label=caption)
    bar.ax.tick_params(labelsize=7.5, length=2)
    bar.outline.set_linewidth(0.5)
