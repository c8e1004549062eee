"""Figures of an inspection: rates, reliability, drift, frame intervals and the clock test."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuromodels.analysis.inspection import Inspection, StimulusInspection, inspect_recording
from neuromodels.analysis.plots.style import (
    CEILING,
    FAINT,
    OBSERVED,
    SPIKE,
    figure_folder,
    new_figure,
    own_axes,
    save_figure,
    say,
    talk_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from neuromodels.datasets.recording import Recording

_MARKED = "#B5327F"  # what stands out
_MOST_NAMES = 30  # neurons that are named on an axis


def plot_rates(inspection: Inspection, stimulus: StimulusInspection, ax: Axes | None = None):
    """Draw the mean response of every neuron; silent ones are marked.

    Parameters
    ----------
    inspection : Inspection
    stimulus : StimulusInspection
        One of `inspection.stimuli`.
    ax : matplotlib.axes.Axes, optional
    """
    with talk_style():
        ax = own_axes(ax, 6.0, 3.0)
        at = np.arange(stimulus.rate.size)
        ax.bar(at, stimulus.rate, color=FAINT, width=0.8)
        if stimulus.silent.any():
            silent = at[stimulus.silent]
            ax.plot(silent, np.zeros(silent.size), "x", color=_MARKED, label="silent")
            ax.legend()
        _name_neurons(ax, inspection.neurons)
        unit = "Rate" if stimulus.rate_units == "Hz" else "Mean"
        ax.set_ylabel(f"{unit} ({stimulus.rate_units})")
        ax.set_title(f"Over {stimulus.rate_from or 'nothing'}")
    return ax


def plot_reliability(inspection: Inspection, stimulus: StimulusInspection, ax: Axes | None = None):
    """Draw CC_max of every neuron with its interval, and of both ways to halve the trials.

    Parameters are those of `plot_rates`.
    """
    with talk_style():
        ax = own_axes(ax, 6.0, 3.0)
        c, interval = stimulus.ceilings, stimulus.ceiling_interval
        if c is None:
            return say(ax, f"No ceilings: {stimulus.reasons['ceilings']}")
        at = np.arange(c.cc_max.size)
        ax.plot(at, c.cc_max, "o", color=CEILING, label="all trials")
        if interval is not None:
            ax.vlines(at, interval.low, interval.high, color=CEILING, label="95 %")
        halves = (c.cc_max_interleaved, "interleaved halves"), (c.cc_max_first_second, "in order")
        for (values, label), marker in zip(halves, ("^", "v"), strict=True):
            ax.plot(at + 0.2, values, marker, color=FAINT, markersize=4, label=label)
        _name_neurons(ax, inspection.neurons)
        ax.set_ylabel("CC_max")
        ax.set_ylim(top=1.005)
        ax.set_title(f"{c.n_trials} trials of {c.role}, {inspection.bin_width * 1e3:.3g} ms bins")
        ax.legend(ncols=2)
    return ax


def plot_drift(inspection: Inspection, stimulus: StimulusInspection, ax: Axes | None = None):
    """Draw how much every neuron changes over blocks and trials, with standard errors.

    Parameters are those of `plot_rates`.
    """
    with talk_style():
        ax = own_axes(ax, 6.0, 3.0)
        drifts = [
            (stimulus.over_blocks, "rate over {}", "o"),
            (stimulus.over_trials, "rate over {}", "s"),
            (stimulus.gain_over_trials, "gain over {}", "^"),
        ]
        drifts = [item for item in drifts if item[0] is not None]
        if not drifts:
            return say(ax, "Drift was not measured")
        ax.axhline(0, color="black", linewidth=0.8)
        at = np.arange(len(inspection.neurons))
        for k, (drift, label, marker) in enumerate(drifts):
            x = at + 0.2 * (k - (len(drifts) - 1) / 2)
            change, error = 100 * drift.change, 100 * drift.standard_error
            shade = (SPIKE, FAINT, CEILING)[k]
            ax.errorbar(
                x, change, error, fmt=marker, color=shade, markersize=4, linewidth=1,
                label=label.format(drift.over),
            )  # fmt: skip
            ax.plot(x[drift.drifts], change[drift.drifts], marker, color=_MARKED, zorder=5)
        _name_neurons(ax, inspection.neurons)
        ax.set_ylabel("Change, start to end (% of the mean)")
        ax.set_title("Drift (coloured: beyond 3 errors and 10 %)")
        ax.legend(ncols=len(drifts), loc="best")
    return ax


def plot_alignment(stimulus: StimulusInspection, ax: Axes | None = None):
    """Draw how well shifted stimuli predict the responses, and where the latencies lie.

    Parameters
    ----------
    stimulus : StimulusInspection
    ax : matplotlib.axes.Axes, optional
    """
    with talk_style():
        ax = own_axes(ax, 6.0, 3.0)
        found = stimulus.alignment
        if found is None or found.shift is None:
            return say(ax, found.message if found else "The alignment was not tested")
        follows = found.follows if found.follows.any() else np.ones(found.follows.size, bool)
        per_neuron = found.score_per_neuron[:, follows]
        ax.plot(found.shift, per_neuron, color=OBSERVED, linewidth=0.8)
        ax.plot(found.shift, found.score, color=CEILING, label="mean")
        ax.axvline(0, color=FAINT, linewidth=0.8, linestyle=":")
        if found.latency is not None:
            latency = float(np.nanmedian(found.latency))
            ax.axvline(
                latency, color=_MARKED, linewidth=1, linestyle="--", label="latency of the cells"
            )
        ax.set_xlabel("Stimulus moved by (s)")
        ax.set_ylabel("Correlation (LN and response)")
        ax.set_title(f"Clock test: {found.verdict}")
        ax.legend(loc="upper right")
    return ax


def plot_frame_intervals(stimulus: StimulusInspection, ax: Axes | None = None):
    """Draw the intervals between frames over the session; irregular ones are marked.

    Parameters
    ----------
    stimulus : StimulusInspection
    ax : matplotlib.axes.Axes, optional
    """
    with talk_style():
        ax = own_axes(ax, 6.0, 3.0)
        frames = stimulus.frames
        if frames is None:
            return say(ax, f"No frame intervals: {stimulus.reasons['frames']}")
        late = np.abs(frames.interval * frames.rate - 1) > 0.5
        step = max(1, late.size // 20_000)
        ax.plot(frames.at[::step], 1e3 * frames.interval[::step], ".", color=SPIKE, markersize=2)
        ax.plot(frames.at[late], 1e3 * frames.interval[late], "x", color=_MARKED, markersize=5)
        ax.set_ylim(bottom=0, top=max(2e3 / frames.rate, 1.1e3 * frames.interval.max()))
        ax.set_xlabel("Time (s)")
        ax.set_ylabel("Interval (ms)")
        ax.set_title(f"{frames.n_irregular} of {frames.n_intervals} frame intervals irregular")
    return ax


def save_inspection_figures(found: Inspection | Recording, folder: str | Path) -> list[Path]:
    """Write the figures of an inspection as PNG into a folder.

    Parameters
    ----------
    found : Inspection or Recording
        A recording is inspected first.
    folder : str or Path
        Made if it does not exist; files of the same names are replaced.

    Returns
    -------
    list of Path
        rates.png, reliability.png, drift.png, frame_intervals.png and alignment.png; with several
        stimuli each begins with the stimulus' name. A figure with nothing to show is left out.

    Raises
    ------
    InputError
        The folder cannot be made or written.
    """
    if not isinstance(found, Inspection):
        found = inspect_recording(found)
    folder = figure_folder(folder)
    written = []
    for i, stimulus in enumerate(found.stimuli):
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", stimulus.name).strip("_.") or "stimulus"
        prefix = f"{i + 1}_{name}_" if len(found.stimuli) > 1 else ""
        for kind, (plot, is_there) in _FIGURES.items():
            if is_there(stimulus):
                with talk_style():
                    width = min(16.0, max(6.0, 0.25 * len(found.neurons)))
                    figure = new_figure(width, 3.4)
                    plot(found, stimulus, ax=figure.subplots())
                written.append(save_figure(figure, folder / f"{prefix}{kind}.png"))
    return written


def _name_neurons(ax: Axes, neurons: np.ndarray) -> None:
    ax.set_xlim(-0.6, len(neurons) - 0.4)
    if len(neurons) > _MOST_NAMES:
        ax.set_xlabel("Neuron")
        return
    names = [str(name).replace("$", r"\$") for name in neurons]
    crowded = sum(len(name) for name in names) > 60
    ax.set_xticks(range(len(names)), names, rotation=90 if crowded else 0)


_FIGURES: dict[str, tuple[Callable, Callable]] = {
    "rates": (plot_rates, lambda s: bool(s.rate_from)),
    "reliability": (plot_reliability, lambda s: s.ceilings is not None),
    "drift": (plot_drift, lambda s: s.over_blocks is not None or s.over_trials is not None),
    "frame_intervals": (
        lambda _, stimulus, ax: plot_frame_intervals(stimulus, ax),
        lambda s: s.frames is not None,
    ),
    "alignment": (
        lambda _, stimulus, ax: plot_alignment(stimulus, ax),
        lambda s: s.alignment is not None and s.alignment.shift is not None,
    ),
}
