"""Two rasters in, a trained network out: SuperSpike in one call."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.fits.fit import versions
from neuromodels.fits.progress import Progress, make_progress
from neuromodels.fits.store import Store
from neuromodels.fits.superspike.gathering import make_run
from neuromodels.fits.superspike.options import SuperSpikeOptions, superspike_options
from neuromodels.fits.superspike.record import SpikingRun
from neuromodels.fits.superspike.tasks import RasterTask
from neuromodels.fits.superspike.training import SuperSpikeTrainer
from neuromodels.options import OptionError

if TYPE_CHECKING:
    from neuromodels.spiking.surrogates import Surrogate

#: Epochs whose spikes a record keeps, unless told otherwise.
KEPT = 24


def train_spikes(
    inputs: SpikeTrains,
    target: SpikeTrains,
    *,
    hidden: int | tuple[int, ...] = 256,
    preset: str = "paper",
    seed: int = 0,
    loop_steps: int | None = None,
    weights: dict[str, np.ndarray] | None = None,
    surrogate: Surrogate | None = None,
    keep: int = KEPT,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | Progress | None = None,
    **options: Any,
) -> SpikingRun:
    """Teach a spiking network to answer one raster with another, spike by spike.

    The SuperSpike rule of Zenke & Ganguli 2018 (Neural Computation 30:1514).

    Parameters
    ----------
    inputs, target : SpikeTrains
        Of `read_spike_trains`, or made from arrays; played in a loop.
    hidden : int or tuple of int
        Hidden neurons; several layers as a tuple, 0 or () for none.
    preset : {"paper", "demo"}
        See `superspike_options`.
    seed : int
        Of initial weights and random feedback.
    loop_steps : int, optional
        Length of the loop; by default the longer duration of the two rasters.
    weights : dict of numpy.ndarray, optional
        Where to start: (n_source, n_target) per connection, V.
    surrogate : Surrogate, optional
        Another σ' than the options name, of `neuromodels.spiking.surrogates`.
    keep : int
        Epochs, spread over the training, whose spikes and weights the record keeps.
    out : path, optional
        Write the run there; the running state is kept beside it, in ``OUT.partial``.
    resume : bool
        Go on with an interrupted run of the same call.
    overwrite : bool
        Replace what is there.
    progress : bool or Progress, optional
        By default progress is shown where standard error is a terminal.
    **options
        Fields of `SuperSpikeOptions`, such as ``feedback="random"`` or ``duration_s=200``.

    Returns
    -------
    SpikingRun
        Print it, `plot()` it, `animate()` it, `to_hdf5()` it.

    Raises
    ------
    InputError
        The target holds no spike, a spike lies behind the loop's end, or the output is in the way.
    OptionError
        An option that does not exist or cannot have its value.

    Examples
    --------
    >>> from neuromodels.datasets.sample.superspike import superspike_task
    >>> task = superspike_task("single")
    >>> run = train_spikes(task.inputs, task.target, hidden=0, duration_s=20.0)
    >>> run.spikes().n_neurons
    1
    """
    for name, trains in (("inputs", inputs), ("target", target)):
        if not isinstance(trains, SpikeTrains):
            raise InputError(
                f"is a {type(trains).__name__}, no spike trains.",
                where=name,
                remedy="Read a file with nm.read_spike_trains, or make nm.SpikeTrains of arrays.",
            )
    if "epoch_s" not in options and (length := options.get("duration_s", 1e3)) < 200:
        # Ten rows of a short training, of whole updates.
        update = options.get("update_s", SuperSpikeOptions.update_s)
        options["epoch_s"] = update * max(1, round(length / 10 / update))
    chosen = superspike_options(preset, hidden=_layers(hidden), **options)
    if resume and out is None:
        raise OptionError("resume needs out.", remedy="Give the output that was interrupted.")
    task = RasterTask(inputs, target, chosen.dt_s, loop_steps)
    _check_durations(inputs, target, task, chosen, loop_steps)
    trainer = SuperSpikeTrainer(
        task,
        chosen,
        seed=seed,
        weights=weights,
        surrogate=surrogate,
        kept_epochs=_spread(chosen, keep),
    )
    call = _call(trainer, inputs, target, preset)
    store = None
    if out is not None:
        store = Store(Path(out), call, resume=resume, overwrite=overwrite)
        if resume and (done := store.result()) is not None:
            store.clear()
            return SpikingRun(done)
        store.begin()
    with make_progress(progress) as telling:
        trainer.run(store.folder_of(0) / "training.h5" if store else None, telling, "superspike")
    run = make_run(
        trainer, inputs, target, references=references(target, chosen, task.loop_steps), call=call
    )
    if store is not None:
        store.write(run.tree)
    return run


def _layers(hidden: int | tuple[int, ...]) -> tuple[int, ...]:
    layers = (hidden,) if isinstance(hidden, int) else hidden
    if layers == (0,):
        return ()
    if not isinstance(layers, tuple | list) or not all(
        isinstance(size, int) and size > 0 for size in layers
    ):
        raise OptionError(
            f"hidden = {hidden!r} is no number of neurons.",
            remedy="For example 256, (128, 64) for two layers, or 0 for none.",
        )
    return tuple(layers)


def _check_durations(
    inputs: SpikeTrains,
    target: SpikeTrains,
    task: RasterTask,
    options: SuperSpikeOptions,
    loop_steps: int | None,
) -> None:
    """Refuse rasters that are on different clocks, or longer than the training."""
    loop = task.loop_steps * options.dt_s
    if loop > options.duration_s:
        raise InputError(
            f"lasts {loop:g} s, but the training only {options.duration_s:g} s of simulated time.",
            where=f"{target.source or 'target'}: duration",
            remedy="Train for longer (duration_s; --seconds). Times are in seconds: divide "
            "milliseconds by 1000.",
        )
    if options.duration_s <= options.burn_in_s:
        raise OptionError(
            f"duration_s = {options.duration_s:g} s ends with the burn-in ({options.burn_in_s:g} "
            "s), in which no weight changes.",
            remedy="Train for longer (--seconds), or set burn_in_s = 0.0.",
        )
    longer, shorter = sorted((inputs, target), key=lambda trains: -trains.duration)
    if loop_steps is None and longer.duration > 20 * shorter.duration:
        raise InputError(
            f"lasts {longer.duration:g} s, and {shorter.source or 'the other raster'} only "
            f"{shorter.duration:g} s.",
            where=f"{longer.source or 'raster'}: duration",
            remedy="Are the times of one in milliseconds? If not, say how long the loop is "
            "(loop_steps; --loop).",
        )


def references(
    target: SpikeTrains, options: SuperSpikeOptions, loop_steps: int
) -> dict[str, float | int]:
    """Costs that give a run's cost a meaning: of silence, and of the greedy answer.

    Parameters
    ----------
    target : SpikeTrains
        One loop.
    options : SuperSpikeOptions
        Time constants.
    loop_steps : int
        Length of the loop.

    Returns
    -------
    dict of float and int
        `silent_cost`; `greedy_cost`, of the answer that hits in its own step whatever can be hit
        so, and leaves out the rest; `n_targets`, and `n_unreachable`: those left out.
    """
    from neuromodels.analysis.spike_trains.reachability import reachability

    found = reachability(
        target,
        options.refractory_s,
        options.dt_s,
        loop_steps=loop_steps,
        method=options.traces,
        tau_rise_s=options.error_rise_s,
        tau_decay_s=options.error_decay_s,
    )
    return {
        "silent_cost": found.silent_cost,
        "greedy_cost": found.greedy_cost,
        "n_targets": int(found.targets.sum()),
        "n_unreachable": int(found.unreachable.sum()),
    }


def _spread(options: SuperSpikeOptions, keep: int) -> list[int]:
    """Epochs to keep: the first ones closely, later ones further apart, as learning slows down."""
    n_epochs = max(1, round(options.duration_s / options.epoch_s))
    if keep < 1:
        raise OptionError(f"keep = {keep} must be at least 1.")
    if n_epochs <= keep:
        return list(range(1, n_epochs + 1))
    return sorted({round(e) for e in np.geomspace(1, n_epochs, keep)})


def _call(
    trainer: SuperSpikeTrainer, inputs: SpikeTrains, target: SpikeTrains, preset: str
) -> dict[str, Any]:
    """Everything that determines the result."""
    digest = hashlib.sha256()
    for trains in (inputs, target):
        digest.update(np.ascontiguousarray(trains.times).tobytes())
        digest.update(np.ascontiguousarray(trains.neurons).tobytes())
    for values in trainer.initial_weights.values():
        digest.update(values.tobytes())
    return {
        "preset": preset,
        "inputs": inputs.source,
        "target": target.source,
        "data": digest.hexdigest(),
        **trainer.identity(),
        "surrogate": None if trainer.surrogate is None else trainer.surrogate.config,
        "kept_epochs": sorted(trainer.kept_epochs),
        "versions": versions(),
    }
