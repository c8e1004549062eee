"""Spike trains as rasters: every spike a mark, what was asked for behind what was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.style import SPIKE, columns_that_fit, own_axes, talk_style
from neuromodels.datasets.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

#: Targets lie behind in light grey; outputs near one are almost black, those near none are red.
TARGET, HIT, EXTRA = "#b9b9b9", "#14213d", "#d1491b"
#: A target this near is met, s: half a decay time of the error kernel.
NEAR = 5e-3
#: Share of a row that a spike takes, and that a target takes.
TICK, TALL = 0.72, 1.0
#: Rows lower than this many points get squares instead of ticks.
LOWEST_TICK = 2.6
#: From so many spikes on, they are pixels also in a PDF.
MANY = 3000


class Spikes(NamedTuple):
    """Spike times (s), the neuron of each, the number of neurons, and the duration (s)."""

    times: np.ndarray
    neurons: np.ndarray
    n_neurons: int
    duration: float


def spikes_of(trains: Any) -> Spikes:
    """Read spike trains, or a dataset with `time` and `neuron` along `spike`.

    Parameters
    ----------
    trains : SpikeTrains or xarray.Dataset
        A dataset has attributes `n_neurons` and `duration_s` (or `duration`), s.

    Returns
    -------
    Spikes

    Raises
    ------
    InputError
        It is neither.
    """
    if isinstance(trains, xr.Dataset):
        found = {name: trains.get(name) for name in ("time", "neuron")}
        found["n_neurons"] = trains.attrs.get("n_neurons")
        found["duration"] = trains.attrs.get("duration_s", trains.attrs.get("duration"))
    else:
        names = ("times", "neurons", "n_neurons", "duration")
        found = {name: getattr(trains, name, None) for name in names}
    missing = [name for name, value in found.items() if value is None]
    if missing:
        raise InputError(
            f"has no {', '.join(missing)}",
            where=f"spike trains ({type(trains).__name__})",
            remedy="Pass SpikeTrains, or the dataset that SpikeTrains.to_dataset() gives.",
        )
    times, neurons, n_neurons, duration = found.values()
    times, neurons = np.asarray(times, float), np.asarray(neurons).astype(int)
    return Spikes(times, neurons, int(n_neurons), float(duration))


def near(spikes: Spikes, others: Spikes, tolerance_s: float) -> np.ndarray:
    """Whether each spike has one of the same neuron in another set at most `tolerance_s` away.

    Returns
    -------
    numpy.ndarray
        (spike,) booleans. Two spikes beside the same one are both near: to count spikes one to
        one, use `neuromodels.analysis.spike_trains.spike_sets`.
    """
    if not len(spikes.times) or not len(others.times):
        return np.zeros(len(spikes.times), bool)
    # One axis for all neurons, each further from the next than any tolerance.
    last = max(spikes.times.max(), others.times.max())
    first = min(spikes.times.min(), others.times.min())
    apart = last - first + 2 * tolerance_s + 1.0
    wanted = np.sort(others.neurons * apart + (others.times - first))
    places = spikes.neurons * apart + (spikes.times - first)
    after = np.searchsorted(wanted, places)
    right = wanted[np.minimum(after, len(wanted) - 1)]
    left = wanted[np.maximum(after - 1, 0)]
    return np.minimum(np.abs(right - places), np.abs(left - places)) <= tolerance_s + 1e-9


def plot_raster(
    trains: Any,
    target: Any = None,
    ax: Axes | None = None,
    *,
    window: tuple[float, float] | None = None,
    tolerance_s: float = NEAR,
    color: str = SPIKE,
    title: str = "",
    legend: bool = True,
) -> Axes:
    """Draw every spike, one row per neuron, over the spikes that were asked for.

    Parameters
    ----------
    trains : SpikeTrains or xarray.Dataset
        See `spikes_of`.
    target : SpikeTrains or xarray.Dataset, optional
        Spikes that the same neurons should have fired: light marks behind. Where no spike
        covers one it was missed; a spike without one nearby is red.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    window : tuple of float, optional
        From and to, s; all of `trains` by default.
    tolerance_s : float
        How near a target has to be, s.
    color : str
        Of the spikes when there is no target.
    title : str
        Above the axes.
    legend : bool
        Whether the marks are named, above the axes; only with a target.

    Returns
    -------
    matplotlib.axes.Axes
        Neuron 0 is the lowest row. 100,000 spikes take well below a second.

    Raises
    ------
    InputError
        No spike trains, a target of another number of neurons, or a window without width.
    """
    spikes = spikes_of(trains)
    window = _checked_window(window, spikes.duration)
    wanted = None if target is None else _checked_target(spikes_of(target), spikes, tolerance_s)
    with talk_style():
        ax = own_axes(ax, 7.0, min(5.0, 1.4 + 0.12 * spikes.n_neurons))
        ax.set_xlim(window)
        ax.set_ylim(-0.5, spikes.n_neurons - 0.5)
        handles = raster_marks(ax, wanted is not None, tolerance_s, color)
        show_spikes(handles, spikes, wanted, window, tolerance_s)
        fit_marks(ax)
        _neuron_axis(ax, spikes.n_neurons)
        ax.set_xlabel("time (s)")
        if not _inside(spikes, window).any():
            ax.text(0.5, 0.5, "no spikes", ha="center", va="center", transform=ax.transAxes)
        rows = 0
        if wanted is not None and legend:
            rows = name_marks(ax, handles)
        if title:
            ax.set_title(title, pad=title_pad(rows))
    return ax


def title_pad(legend_rows: int) -> float:
    """Points between axes and title that leave room for the rows of a legend above the axes."""
    return 6.0 + 14.0 * legend_rows


def _checked_window(window: tuple[float, float] | None, duration: float) -> tuple[float, float]:
    start, stop = (0.0, duration) if window is None else map(float, window)
    if not start < stop:
        raise InputError(
            f"no time from {start:g} to {stop:g} s",
            where="plot_raster: window",
            remedy="Give from and to in seconds, the earlier first.",
        )
    return start, stop


def _checked_target(target: Spikes, spikes: Spikes, tolerance_s: float) -> Spikes:
    if target.n_neurons != spikes.n_neurons:
        raise InputError(
            f"has {target.n_neurons} neurons, the spikes are of {spikes.n_neurons}",
            where="plot_raster: target",
            remedy="Pass the target of the population that is drawn.",
        )
    if not tolerance_s >= 0:
        raise InputError(
            f"is {tolerance_s}", where="plot_raster: tolerance_s", remedy="Give seconds, 0 or more."
        )
    return target


def raster_marks(
    ax: Axes, targeted: bool, tolerance_s: float = NEAR, color: str = SPIKE
) -> dict[str, Line2D]:
    """Add the empty marks of a raster, the lowest first; `show_spikes` fills them.

    Returns
    -------
    dict
        "target", "hit" and "extra" with a target, else "spike".
    """
    looks = {"spike": (color, "spike", 2)}
    if targeted:
        within = f"{1e3 * tolerance_s:g} ms"
        looks = {
            "target": (TARGET, "target", 1),
            "hit": (HIT, f"output within {within} of one", 2),
            "extra": (EXTRA, "output further away", 3),
        }
    return {
        name: ax.plot([], [], ls="", color=shade, label=label, zorder=order, gid=name)[0]
        for name, (shade, label, order) in looks.items()
    }


def show_spikes(
    marks: dict[str, Line2D],
    spikes: Spikes,
    target: Spikes | None,
    window: tuple[float, float],
    tolerance_s: float = NEAR,
) -> None:
    """Put spikes, and what was asked for, into the marks that `raster_marks` made."""
    shown = _inside(spikes, window)
    parts = {"spike": shown}
    if target is not None:
        met = near(spikes, target, tolerance_s)
        parts = {"hit": shown & met, "extra": shown & ~met}
        inside = _inside(target, window)
        marks["target"].set_data(target.times[inside], target.neurons[inside])
    for name, part in parts.items():
        marks[name].set_data(spikes.times[part], spikes.neurons[part])
    for line in marks.values():
        line.set_rasterized(len(spikes.times) > MANY)


def _inside(spikes: Spikes, window: tuple[float, float]) -> np.ndarray:
    return (spikes.times >= window[0]) & (spikes.times <= window[1])


def fit_marks(ax: Axes) -> None:
    """Fit the marks to the height of a row; again after the layout has changed the axes."""
    low, high = ax.get_ylim()
    row = ax.get_window_extent().height / ax.figure.dpi * 72 / abs(high - low)
    for line in ax.get_lines():
        name = line.get_gid()
        if name not in ("spike", "target", "hit", "extra"):
            continue
        is_target = name == "target"
        if row < LOWEST_TICK:
            # Next to no room: a target is a wider square than the spike on it.
            size = max(row, 1.2) * (1.35 if is_target else 1.0)
            line.set(marker="s", markersize=size, markeredgewidth=0)
        else:
            size = min(row, 16.0) * (TALL if is_target else TICK)
            width = min(max(0.14 * row, 0.8), 1.6) * (2.8 if is_target else 1.0)
            line.set(marker="|", markersize=size, markeredgewidth=width)


def _neuron_axis(ax: Axes, n_neurons: int) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    ax.set_ylabel("neuron")
    if n_neurons == 1:
        ax.set_yticks([0])
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def name_marks(ax: Axes, marks: dict[str, Line2D]) -> int:
    """Name the marks above the axes, large enough to be seen; return the rows this takes."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            ls="",
            marker="|",
            color=line.get_color(),
            ms=9,
            mew=4.0 if name == "target" else 1.8,
            label=line.get_label(),
        )
        for name, line in marks.items()
    ]
    columns = columns_that_fit(ax, [str(handle.get_label()) for handle in handles])
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns,
        handlelength=0.8,
        columnspacing=1.1,
    )
    return -(-len(handles) // columns)
