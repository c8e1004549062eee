"""Figure of the spiking exclusive-or: how each network learned it, and one answering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.style import FAINT, SPIKE, looks, new_figure, talk_style
from neuromodels.fits.papers.superspike_xor import NETWORKS, SOLVED
from neuromodels.fits.superspike.gated_tasks import ExclusiveOrDesign, right_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of the two outputs, and of the windows in which each is to fire.
OUTPUTS = ("#0B3C7D", "#B5327F")
#: Rows between populations of the raster.
GAP = 4


def exclusive_or_figure(found: Mapping[str, xr.Dataset]) -> Figure:
    """Draw learning curves of all networks, and a raster of the best one with random feedback.

    Parameters
    ----------
    found : mapping of str to xarray.Dataset
        Runs by the names of `superspike_xor.NETWORKS`; those that are missing are left out.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = [name for name in NETWORKS if name in found]
    with talk_style():
        figure = new_figure(13.33, 6.6)
        curves, raster = figure.subfigures(2, 1, height_ratios=[1, 1.25])
        style = looks(names)
        axes = curves.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
        for ax, name in zip(axes, names, strict=True):
            _curves(ax, found[name], style[name].color)
            ax.set_title(name)
        axes[0].set_ylabel("right answers (%)")
        shown = next((name for name in ("random", *names) if name in names), None)
        if shown is not None:
            ax = raster.subplots()
            plot_answers(found[shown], ax)
            seed = found[shown].attrs["shown_seed"]
            ax.set_title(f"{shown}: unseen trials, learning off (seed {seed})")
    return figure


def plot_answers(run: xr.Dataset, ax: Axes) -> Axes:
    """Draw the spikes of a few trials: inputs below, hidden units, and outputs on top.

    Parameters
    ----------
    run : xarray.Dataset
        As `superspike_xor_runs.train_networks` gives it.
    ax : matplotlib.axes.Axes
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
    """
    sizes = run.attrs["sizes"]
    design = ExclusiveOrDesign()
    # Inputs are many: their rows are thinner.
    heights = np.array([0.35] + [2.0] * (len(sizes) - 1))
    tops = np.cumsum(np.array(sizes) * heights + GAP)
    bottoms = np.concatenate([[0], tops[:-1]])
    time, population, neuron = (
        run[f"spike_{name}"].values for name in ("time", "population", "neuron")
    )
    patterns = [str(name) for name in run["pattern"].values]
    for onset, pattern in zip(
        run.attrs["shown_onsets_s"], run.attrs["shown_patterns"], strict=True
    ):
        right = int(right_output(pattern))
        window = design.stimulus_s + design.grace_s
        ax.axvspan(1e3 * onset, 1e3 * (onset + window), color=OUTPUTS[right], alpha=0.13, lw=0)
        ax.text(1e3 * onset + 1, tops[-1], patterns[pattern], color=OUTPUTS[right], va="top")
    for index, (bottom, height) in enumerate(zip(bottoms, heights, strict=True)):
        chosen = population == index
        rows = bottom + (neuron[chosen] + 0.5) * height
        color = SPIKE
        if index == len(sizes) - 1:
            color = np.array(OUTPUTS)[neuron[chosen]]
        ax.vlines(
            1e3 * time[chosen], rows - 0.42 * height, rows + 0.42 * height, color=color, lw=1.2
        )
    names = ["input", *["hidden"] * (len(sizes) - 2), "output"]
    middles = bottoms + np.array(sizes) * heights / 2
    ax.set_yticks(middles, names)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 1e3 * design.trial_s * len(run.attrs["shown_patterns"]))
    ax.set_ylim(-1, tops[-1] + 1)
    ax.set_xlabel("time (ms); shaded: when the output of this colour is to fire")
    return ax


def _curves(ax: Axes, run: xr.Dataset, color: str) -> None:
    trials, accuracy = run["block"].values, 100 * run["accuracy"].values
    ax.plot(trials, accuracy.T, color=FAINT, lw=0.7)
    ax.plot(trials, accuracy.mean(axis=0), color=color, lw=2.2)
    ax.axhline(100 * SOLVED, color="black", lw=0.8, ls=(0, (2, 2)))
    ax.set_ylim(0, 102)
    ax.set_xlim(0, trials[-1])
    ax.set_xlabel("trial")
