"""Training and questioning of the networks that `superspike_xor` compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from neuromodels.fits.superspike.gated_tasks import N_PATTERNS, ExclusiveOrTask, Outcomes
from neuromodels.fits.superspike.options import SuperSpikeOptions, superspike_options
from neuromodels.fits.superspike.training import SuperSpikeTrainer
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.simulation import Events, simulate

#: Trials per point of a learning curve.
BLOCK = 200
#: Share of the training after which the learning rate falls to a tenth, as in the authors' demo:
#: at the full rate a single update after a quiet time can undo what is then frozen and tested.
FULL_RATE, DROP = 0.75, 0.1
#: Training trials at the end whose answers count as "while learning".
LATE_TRIALS = 1000
#: Trials of the raster that is kept.
SHOWN = 4


def answer(
    task: ExclusiveOrTask,
    network: SpikingNetwork,
    weights: Mapping[str, np.ndarray],
    n_trials: int,
) -> tuple[Outcomes, tuple[Events, ...]]:
    """Let a network answer trials, with learning off.

    Parameters
    ----------
    task : ExclusiveOrTask
        Fresh: it has seen no answers.
    network : SpikingNetwork
        Starts at rest.
    weights : mapping of str to numpy.ndarray
        V.
    n_trials : int
        How many.

    Returns
    -------
    outcomes : Outcomes
        How it did.
    spikes : tuple of Events
        Of every population, the input first, over all trials.
    """
    state, chunk = None, 40 * task.loop_steps
    end = n_trials * task.loop_steps
    parts: list[tuple[Events, ...]] = []
    for start in range(0, end, chunk):
        n_steps = min(chunk, end - start)
        inputs = task.inputs(start, n_steps)
        activity, state = simulate(network, weights, inputs, n_steps, state, record="no")
        task.mismatch(start, n_steps, activity.spikes[-1])
        parts.append(tuple(Events(e.steps + start, e.neurons) for e in activity.spikes))
    spikes = tuple(
        Events(*(np.concatenate(part) for part in zip(*population, strict=True)))
        for population in zip(*parts, strict=True)
    )
    return task.outcomes(n_trials), spikes


def train_networks(
    hidden: list[int],
    feedback: str,
    regulariser: float,
    seeds: list[int],
    choosing: list[int],
    rates_v: list[float],
    w0_v: list[float],
    trials: int,
    choosing_trials: int,
    test_trials: int,
) -> xr.Dataset:
    """Train one network per seed on the exclusive-or, and let it answer unseen trials.

    Each seed has its own input pattern, initial weights and feedback. Learning rate and size of the
    initial weights are those whose last tenth of (fewer) training trials is best, over other seeds.

    Parameters
    ----------
    hidden : list of int
        Neurons of hidden layers.
    feedback : str
        See `SuperSpikeOptions`.
    regulariser : float
        ρ.
    seeds, choosing : list of int
        Those that are reported, and those that choose.
    rates_v, w0_v : list of float
        Learning rates and sizes of initial weights to choose from, V.
    trials, choosing_trials, test_trials : int
        To learn from, to learn from by the seeds that choose, and to answer afterwards.

    Returns
    -------
    xarray.Dataset
        `(seed, block)`: `accuracy` while learning; `(seed, pattern)`: `test_accuracy`, on
        unseen trials with learning off; `(seed)`: `late_accuracy` of the last 1,000 trials of
        learning, `stray_rate` and `hidden_rate` (Hz), `n_positive` feedback weights;
        `(w0, rate)`: `chosen_by`, the accuracy that chose; and the spikes of some test trials of
        the best seed.
    """
    options = _options(hidden, feedback, regulariser, trials)
    short = _options(hidden, feedback, regulariser, choosing_trials)
    last = max(1, choosing_trials // 10)

    def late_accuracy(w0: float, rate: float, seed: int) -> float:
        trainer = _trained(replace(short, w0_v=w0, learning_rate_v=rate), seed)
        return float(trainer.task.outcomes(choosing_trials).correct[-last:].mean())

    chosen_by = np.array(
        [[np.mean([late_accuracy(w, r, s) for s in choosing]) for r in rates_v] for w in w0_v]
    )
    w0, rate = np.unravel_index(chosen_by.argmax(), chosen_by.shape)
    options = replace(options, w0_v=w0_v[w0], learning_rate_v=rates_v[rate])
    found = [_one_seed(options, seed, trials, test_trials) for seed in seeds]
    best = int(np.argmax([row["test_accuracy"].mean() for row in found]))
    stacked = {name: np.stack([row[name] for row in found]) for name in found[0] if name != "shown"}
    dims = {"accuracy": ("seed", "block"), "test_accuracy": ("seed", "pattern")}
    blocks = (np.arange(trials // BLOCK) + 1) * BLOCK
    spikes, outcomes = found[best]["shown"]
    return xr.Dataset(
        {name: (dims.get(name, ("seed",)), values) for name, values in stacked.items()}
        | {"chosen_by": (("w0", "rate"), chosen_by)}
        | spikes,
        coords={
            "seed": ("seed", np.array(seeds, np.int64)),
            "block": ("block", blocks, {"description": "last trial of each block, from 1"}),
            "pattern": ("pattern", np.array(["neither", "first", "second", "both"])),
            "rate": ("rate", np.array(rates_v), {"units": "V"}),
            "w0": ("w0", np.array(w0_v), {"units": "V"}),
            "spike": ("spike", np.arange(len(spikes["spike_time"][1]))),
        },
        attrs={
            "learning_rate_v": options.learning_rate_v,
            "w0_v": options.w0_v,
            "shown_seed": seeds[best],
            "sizes": list(options.network(100, 2).sizes),
        }
        | outcomes,
    )


def _options(
    hidden: Sequence[int], feedback: str, regulariser: float, trials: int
) -> SuperSpikeOptions:
    trial_s = ExclusiveOrTask(0).design.trial_s
    return superspike_options(
        "paper",
        hidden=tuple(hidden),
        feedback=feedback,
        regulariser=regulariser,
        duration_s=trials * trial_s,
        learning_rate_drop=DROP,
        drop_at_s=FULL_RATE * trials * trial_s,
        epoch_s=BLOCK * trial_s,
    )


def _trained(options: SuperSpikeOptions, seed: int) -> SuperSpikeTrainer:
    trainer = SuperSpikeTrainer(ExclusiveOrTask(seed), options, seed=seed)
    trainer.run()
    return trainer


def _one_seed(
    options: SuperSpikeOptions, seed: int, trials: int, test_trials: int
) -> dict[str, Any]:
    trainer = _trained(options, seed)
    learning = trainer.task.outcomes(trials).correct
    unseen = ExclusiveOrTask(seed, trials_seed=1)
    outcomes, spikes = answer(unseen, trainer.network, trainer.weights, test_trials)
    seconds = test_trials * unseen.design.trial_s
    n_hidden = sum(trainer.network.sizes[1:-1])
    n_sent = sum(len(events.steps) for events in spikes[1:-1])
    fixed = trainer.learners[1].feedback if 1 in trainer.learners else None
    correct = outcomes.correct
    return {
        "accuracy": learning[: trials // BLOCK * BLOCK].reshape(-1, BLOCK).mean(1),
        "late_accuracy": learning[-LATE_TRIALS:].mean(),
        "test_accuracy": np.array(
            [correct[outcomes.patterns == pattern].mean() for pattern in range(N_PATTERNS)]
        ),
        "stray_rate": outcomes.stray.sum() / seconds,
        "hidden_rate": n_sent / max(1, n_hidden) / seconds,
        "n_positive": 0 if fixed is None else int((fixed > 0).sum()),
        "shown": _excerpt(unseen, spikes, outcomes),
    }


def _excerpt(
    task: ExclusiveOrTask, spikes: tuple[Events, ...], outcomes: Outcomes
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Spikes of the first trials in a row that show all patterns, and when they were asked."""
    patterns = outcomes.patterns
    first = next(
        (
            start
            for start in range(len(patterns) - SHOWN + 1)
            if len(set(patterns[start : start + SHOWN].tolist())) == N_PATTERNS
        ),
        0,
    )
    begin, end = first * task.loop_steps, (first + SHOWN) * task.loop_steps
    times, populations, neurons = [], [], []
    for population, events in enumerate(spikes):
        inside = (events.steps >= begin) & (events.steps < end)
        times.append((events.steps[inside] - begin) * task.dt_s)
        populations.append(np.full(inside.sum(), population))
        neurons.append(events.neurons[inside])
    numbers = range(first, first + SHOWN)
    onsets = [
        ((number - first) * task.loop_steps + task.trial(number)[1]) * task.dt_s
        for number in numbers
    ]
    return (
        {
            "spike_time": ("spike", np.concatenate(times), {"units": "s"}),
            "spike_population": ("spike", np.concatenate(populations)),
            "spike_neuron": ("spike", np.concatenate(neurons)),
        },
        {
            "shown_onsets_s": [round(onset, 6) for onset in onsets],
            "shown_patterns": patterns[first : first + SHOWN].tolist(),
        },
    )
