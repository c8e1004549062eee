"""Figures of the SuperSpike reproduction: rasters learned, curves, final costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.learning_curves import plot_learning_curve, plot_reproduction
from neuromodels.analysis.plots.rasters import fit_marks, plot_raster
from neuromodels.analysis.plots.style import looks, new_figure, talk_style
from neuromodels.datasets.sample.superspike import superspike_task
from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.fits.papers.paper import Runs
from neuromodels.fits.papers.superspike_raster_claims import by_network
from neuromodels.fits.papers.superspike_reference import AUTHORS, CURVE_S, FLOOR, PROTOTYPE
from neuromodels.fits.papers.superspike_single import learned_at
from neuromodels.fits.papers.superspike_xor import by_network as exclusive_or_networks
from neuromodels.fits.papers.superspike_xor_figure import exclusive_or_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Networks whose curves are drawn, of those that were run, and what the legend calls them.
CURVES = {
    "none": "no hidden layer",
    "256": "symmetric, 256 hidden",
    "256 random": "random",
    "256 random, regularised": "random, regularised",
    "256 uniform": "uniform",
}
#: Looks of the small networks, the same in every panel.
KINDS = ("symmetric", "random", "random-negative", "uniform", "bundled", "poisson")
TITLES = {"logo": "Auryn's logo", "oxford": "Radcliffe Camera, Oxford"}


def draw(runs: Mapping[str, Runs], tables: Mapping[str, xr.Dataset]) -> dict[str, Figure]:
    """Draw what a reproduction has; what was not run is left out.

    Parameters
    ----------
    runs : mapping
        Finished runs by experiment and name.
    tables : mapping of str to xarray.Dataset
        Measured values by experiment.

    Returns
    -------
    dict of matplotlib.figure.Figure
        "rasters", "costs", "single" and "xor".
    """
    figures = {}
    found = {task: by_network(task, runs.get(task, {})) for task in TITLES}
    tasks = [task for task in TITLES if "256" in found[task]]
    if tasks:
        figures["rasters"] = _rasters({task: found[task]["256"][0] for task in tasks})
        figures["costs"] = _costs({task: found[task] for task in tasks}, tables)
    trained = {
        name: run for part in ("single", "hidden") for name, run in runs.get(part, {}).items()
    }
    if trained:
        figures["single"] = _single(trained)
    if runs.get("xor"):
        figures["xor"] = exclusive_or_figure(exclusive_or_networks(runs["xor"]))
    return figures


def output_of(run: xr.Dataset) -> SpikeTrains:
    """Output spikes of a run's last loop."""
    return SpikeTrains(
        run["spike_time"].values,
        run["spike_neuron"].values,
        int(run.attrs["n_outputs"]),
        float(run.attrs["duration_s"]),
        str(run.attrs.get("run", "output")),
    )


def _rasters(runs: Mapping[str, xr.Dataset]) -> Figure:
    """Targets on the left, what 256 hidden units learned on the right."""
    with talk_style():
        figure = new_figure(13.33, 3.75 * len(runs))
        axes = np.atleast_2d(figure.subplots(len(runs), 2, sharex="row", sharey="row"))
        for (left, right), (task, run) in zip(axes, runs.items(), strict=True):
            rasters = superspike_task(task, ids="demo")
            learned = output_of(run)
            target = _cut(rasters.target, learned.duration)
            plot_raster(target, ax=left, title=f"{TITLES[task]}: target")
            plot_raster(learned, target, right, title="learned, 256 hidden units")
            right.set_ylabel("")
        figure.get_layout_engine().execute(figure)
        for ax in axes.flat:
            fit_marks(ax)
    return figure


def _cut(trains: SpikeTrains, duration: float) -> SpikeTrains:
    """The demo's loop is a step shorter than its raster."""
    kept = trains.times < duration
    return SpikeTrains(trains.times[kept], trains.neurons[kept], trains.n_neurons, duration)


def _costs(found: Mapping[str, dict[str, list[xr.Dataset]]], tables) -> Figure:
    """Learning curves above, final costs below, a column per raster."""
    with talk_style():
        figure = new_figure(6.67 * len(found), 8.2)
        axes = figure.subplots(2, len(found), squeeze=False, height_ratios=[1, 1.15])
        for (upper, lower), (task, networks) in zip(axes.T, found.items(), strict=True):
            curves = {said: networks[label] for label, said in CURVES.items() if label in networks}
            lines = {"silent": float(tables[task].attrs["silent_cost"])}
            points = None
            if task == "oxford":
                lines["greedy"] = FLOOR
                points = {
                    "reference, symmetric": (CURVE_S, PROTOTYPE),
                    "authors' demo, symmetric": (CURVE_S, AUTHORS),
                }
            plot_learning_curve(curves, lines, upper, points=points)
            upper.set_ylabel(f"{TITLES[task]}\ncost")
            if "none" in networks:
                table = tables[task].sel(network=tables[task]["network"] != "none")
                lines["no hidden layer"] = float(
                    tables[task]["cost"].sel(network="none").mean("seed", skipna=True)
                )
            plot_reproduction(table if "none" in networks else tables[task], lines, lower)
            lower.set_ylabel("final cost (mean of the last 100 s)")
    return figure


def _single(runs: Runs) -> Figure:
    """Share of seeds that had learned, over trials: one neuron, four hidden, eight hidden."""
    groups = {
        "no hidden layer": [n for n in runs if n.startswith("single-")],
        "4 hidden units": [n for n in runs if n.startswith("hidden4-")],
        "8 hidden units": [n for n in runs if n.startswith("hidden8-")],
    }
    groups = {title: names for title, names in groups.items() if names}
    with talk_style():
        figure = new_figure(13.33, 3.6)
        axes = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
        for ax, (title, names) in zip(axes, groups.items(), strict=True):
            _learned_shares(ax, {name.split("-", 1)[1]: runs[name] for name in names})
            ax.set_title(title)
        axes[0].set_ylabel("seeds that have learned (%)")
    return figure


def _learned_shares(ax: Axes, runs: Runs) -> None:
    style = looks(KINDS)
    for label, run in runs.items():
        at = learned_at(run["right"].values)
        n_trials = run.sizes["trial"]
        steps = np.sort(at[at > 0])
        x = np.concatenate([[0], steps, [n_trials]])
        y = 100 * np.concatenate([[0], np.arange(1, len(steps) + 1), [len(steps)]]) / len(at)
        name = label.replace("-", ", ")
        ax.step(x, y, where="post", color=style[label].color, ls=style[label].line, label=name)
    ax.set_xlim(0, max(run.sizes["trial"] for run in runs.values()))
    ax.set_ylim(-2, 104)
    ax.set_xlabel("trial of 0.5 s")
    ax.legend(loc="lower right")
