"""SuperSpike on whole rasters: the logo of Auryn, and the Radcliffe Camera in Oxford.

Zenke & Ganguli 2018, figures 6 to 8 (the logo). The paper never uses Oxford, which is the task of
the authors' published demo; both run with the demo's settings here, so that they compare with
`superspike_reference`. Always beside them: a silent network, one without a hidden layer, and what
refractoriness leaves of Oxford.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from neuromodels.analysis.spike_trains.spike_sets import compare_spikes
from neuromodels.datasets.sample.superspike import superspike_task
from neuromodels.datasets.spike_trains import SpikeTrains, sorted_trains
from neuromodels.fits.papers.paper import Job, Runs
from neuromodels.fits.superspike.options import superspike_options
from neuromodels.fits.superspike.tasks import RasterTask
from neuromodels.fits.superspike.train import references
from neuromodels.fits.superspike.training import SuperSpikeTrainer

#: An output spike so near its target looks right in a raster that is seconds long, s.
SEEN_S = 10e-3
#: The final cost is the mean of so much time at the end, s.
FINAL_S = 100.0


class Network(NamedTuple):
    """Which network, and about how long a run of it takes on one core, s."""

    hidden: int
    options: dict[str, Any]
    oxford_s: float
    logo_s: float


#: By label. The demo has no regulariser unless it says so.
NETWORKS = {
    "none": Network(0, {}, 10, 5),
    "8": Network(8, {}, 12, 6),
    "32": Network(32, {}, 13, 7),
    "64": Network(64, {}, 15, 8),
    "128": Network(128, {}, 18, 10),
    "256": Network(256, {}, 27, 14),
    "512": Network(512, {}, 50, 26),
    "256 constant": Network(256, {"surrogate": "constant"}, 27, 14),
    "256 fixed": Network(256, {"feedback": "none"}, 18, 10),
    "256 random": Network(256, {"feedback": "random", "regulariser": 0.0}, 50, 26),
    "256 random, regularised": Network(256, {"feedback": "random"}, 45, 20),
    "256 uniform": Network(256, {"feedback": "uniform"}, 52, 26),
}
SMALL = ("none", "32", "128", "256", "256 random", "256 random, regularised", "256 uniform")
FULL = {
    "oxford": tuple(NETWORKS),
    "logo": (
        *("none", "8", "32", "64", "128", "256"),
        *("256 random", "256 random, regularised", "256 uniform"),
    ),
}
#: Seeds; the paper's own claims are about the logo.
SEEDS = {"small": {"oxford": 1, "logo": 3}, "full": {"oxford": 5, "logo": 5}}
#: The learning curve is compared with means of three seeds.
CURVE_SEEDS = 3
#: Of the run with the demo's thresholds, which go through every step of every synapse.
THRESHOLDS = {"psp_threshold": 1e-7, "error_threshold": 1e-7}
THRESHOLDS_S, THRESHOLDS_RUN = 100.0, "oxford-256-thresholds-seed0"
#: The network that was trained as the paper's text says, not as the demo does it.
PAPER_TEXT = "256, paper's text"


def train_raster(
    task: str,
    hidden: int,
    options: dict[str, Any],
    seed: int,
    preset: str = "demo",
    duration_s: float | None = None,
) -> xr.Dataset:
    """Train a network on a bundled raster, and keep its curve and its last loop.

    Parameters
    ----------
    task : {"oxford", "logo"}
        Which raster.
    hidden : int
        Hidden neurons; 0 for none.
    options : dict
        Changes of `SuperSpikeOptions`.
    seed : int
        Of weights and random feedback.
    preset : {"demo", "paper"}
        "demo" also reads ids and loops as the demo does; "paper" takes 1 off the target's ids.
    duration_s : float, optional
        Another simulated time than the preset's, s.

    Returns
    -------
    xarray.Dataset
        Per epoch `time` (s), `cost`, `epoch_cost`, `rate (epoch, population)` (Hz); `final_cost`,
        `final_hidden_rate`; output spikes of the last loop, `spike_time` (s) and `spike_neuron`,
        with how many of the targets they hit within 10 ms. Attributes hold the references.
    """
    given = dict(options) if duration_s is None else options | {"duration_s": duration_s}
    if hidden == 0:
        given.pop("feedback", None)
    chosen = superspike_options(preset, hidden=(hidden,) if hidden else (), **given)
    rasters = superspike_task(task, ids="demo" if preset == "demo" else "shifted")
    loop_steps = round(rasters.duration / chosen.dt_s)
    if preset == "demo":
        # The demo computes the loop in single precision, and truncates: 18,899 steps for Oxford.
        loop_steps = int(float(np.float32(rasters.duration)) / chosen.dt_s)
    trainer = SuperSpikeTrainer(
        RasterTask(rasters.inputs, rasters.target, chosen.dt_s, loop_steps), chosen, seed=seed
    )
    trainer.run()
    outputs = _last_loop(trainer)
    about = references(rasters.target, chosen, loop_steps)
    return _record(trainer, outputs, rasters.target).assign_attrs(about)


def _last_loop(trainer: SuperSpikeTrainer) -> SpikeTrains:
    """Output spikes of the last loop."""
    kept = np.concatenate(trainer.kept_spikes)
    chosen = (kept[:, 0] == trainer.epoch) & (kept[:, 1] == len(trainer.network.sizes) - 2)
    dt_s, loop = trainer.options.dt_s, trainer.task.loop_steps
    times, neurons = kept[chosen, 2] * dt_s, kept[chosen, 3]
    return sorted_trains(times, neurons, trainer.network.sizes[-1], loop * dt_s, "output")


def _record(trainer: SuperSpikeTrainer, outputs: SpikeTrains, target: SpikeTrains) -> xr.Dataset:
    history, options = trainer.history, trainer.options
    last = max(1, round(FINAL_S / options.epoch_s))
    rate = np.array(history["rate"])
    seen = compare_spikes(outputs, target, SEEN_S)
    hits = int(seen.identical.sum())
    hidden_rate = rate[-last:, 1:-1].mean() if options.hidden else np.nan
    spikes = {"spike": ("spike", np.arange(len(outputs)), {"description": "of the last loop"})}
    return xr.Dataset(
        {
            "time": ("epoch", np.array(history["time"]), {"units": "s"}),
            "cost": (
                "epoch",
                np.array(history["cost"]),
                {"long_name": "0.12 s^2 <e^2>, running average over 10 s"},
            ),
            "epoch_cost": (
                "epoch",
                np.array(history["epoch_cost"]),
                {"long_name": "0.12 s^2 <e^2>, mean over the epoch"},
            ),
            "rate": (("epoch", "population"), rate, {"units": "Hz"}),
            "final_cost": (
                (),
                float(np.mean(history["epoch_cost"][-last:])),
                {"long_name": f"mean epoch_cost of the last {last * options.epoch_s:g} s"},
            ),
            "final_hidden_rate": ((), float(hidden_rate), {"units": "Hz"}),
            "hits": ((), hits, {"long_name": "targets with a spike of their own within 10 ms"}),
            "targets": ((), len(target)),
            "spike_time": ("spike", outputs.times, {"units": "s"}),
            "spike_neuron": ("spike", outputs.neurons),
        },
        coords={
            "epoch": ("epoch", np.arange(1, trainer.epoch + 1), {"description": "from 1"}),
            "population": ("population", np.array(trainer.network.names, dtype=str)),
            **spikes,
        },
        attrs={"duration_s": outputs.duration, "n_outputs": outputs.n_neurons},
    )


# -- runs -----------------------------------------------------------------------------------------
def run_name(task: str, network: str, seed: int, preset: str = "demo") -> str:
    """Name of a run."""
    words = network.replace(",", "").replace(" ", "-")
    return f"{task}-{words}" + ("" if preset == "demo" else f"-{preset}") + f"-seed{seed}"


def jobs_of(task: str, size: str) -> list[Job]:
    """List the runs on a raster.

    Parameters
    ----------
    task : {"oxford", "logo"}
        Which one.
    size : {"small", "full"}
        Some networks with few seeds, or all with five.

    Returns
    -------
    list of Job
    """
    jobs = []
    for label in SMALL if size == "small" else FULL[task]:
        n_seeds = SEEDS[size][task]
        if task == "oxford" and label == "256":
            n_seeds = max(n_seeds, CURVE_SEEDS)
        jobs += [_job(task, label, seed) for seed in range(n_seeds)]
    jobs += [_job(task, "256", seed, preset="paper") for seed in range(SEEDS[size][task])]
    if task == "oxford":
        options = dict(THRESHOLDS)
        arguments = {"task": task, "hidden": 256, "options": options, "seed": 0}
        arguments["duration_s"] = THRESHOLDS_S
        jobs.append(Job(THRESHOLDS_RUN, train_raster, arguments, 35.0))
    return jobs


def _job(task: str, label: str, seed: int, preset: str = "demo") -> Job:
    network = NETWORKS[label]
    arguments = {"task": task, "hidden": network.hidden, "options": network.options, "seed": seed}
    seconds = network.oxford_s if task == "oxford" else network.logo_s
    name = run_name(task, label, seed, preset)
    return Job(name, train_raster, arguments | {"preset": preset}, seconds)


def by_network(task: str, runs: Runs) -> dict[str, list[xr.Dataset]]:
    """Sort finished runs by network.

    Parameters
    ----------
    task : {"oxford", "logo"}
        Which raster.
    runs : mapping of str to xarray.Dataset
        By name.

    Returns
    -------
    dict of str to list of xarray.Dataset
        One for each seed; with the paper's preset under "256, paper's text".
    """
    found: dict[str, list[xr.Dataset]] = {}
    for label in (*NETWORKS, PAPER_TEXT):
        network, preset = ("256", "paper") if label == PAPER_TEXT else (label, "demo")
        start = run_name(task, network, 0, preset)[:-1]
        chosen = [
            run
            for name, run in runs.items()
            if name.startswith(start) and name.removeprefix(start).isdigit()
        ]
        if chosen:
            found[label] = chosen
    return found
