"""The rasters on which SuperSpike was shown: inputs that repeat, and the output to be learned.

From the benchmark suite ssbm of Friedemann Zenke (MIT licence, see `LICENSE` beside this file);
Zenke & Ganguli 2018, Neural Computation 30:1514.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Literal, NamedTuple

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.rasters import read_ras_dropping
from neuromodels.datasets.spike_trains import SpikeTrains

TaskName = Literal["oxford", "logo", "single"]


class _Shape(NamedTuple):
    n_inputs: int
    n_outputs: int
    duration: float  # s
    first_target_id: int  # as the file counts them; all inputs count from 0


SHAPES = {
    "oxford": _Shape(200, 200, 1.89, 1),
    "logo": _Shape(100, 100, 3.5, 1),
    "single": _Shape(100, 1, 0.5, 0),
}


@dataclass(frozen=True)
class SpikingTask:
    """Input that repeats every `duration`, and the output that a network shall learn.

    Attributes
    ----------
    name : str
        Which one.
    inputs, target : SpikeTrains
        Spikes of the input and of the output neurons.
    duration : float
        Length of the loop, s.
    n_dropped : int
        Target spikes that were left out because their neuron does not exist (only with
        ``ids="demo"``).
    """

    name: str
    inputs: SpikeTrains
    target: SpikeTrains
    duration: float
    n_dropped: int = 0


def superspike_task(
    name: TaskName = "oxford", ids: Literal["shifted", "demo"] = "shifted"
) -> SpikingTask:
    """Read a bundled task of SuperSpike: a raster that goes in, and one that shall come out.

    ======  ======  =======  ========  ==============================================
    name    inputs  outputs  duration  target
    ======  ======  =======  ========  ==============================================
    oxford  200     200      1.89 s    a picture of the Radcliffe Camera, 10,367 spikes
    logo    100     100      3.5 s     the logo of the simulator Auryn
    single  100     1        0.5 s     five spikes, 83 ms apart
    ======  ======  =======  ========  ==============================================

    Parameters
    ----------
    name : {"oxford", "logo", "single"}
        Which one.
    ids : {"shifted", "demo"}
        The target files of oxford and logo count neurons from 1. "shifted" takes 1 off, so that
        each spike has its neuron. "demo" reads them as the published demo does, as if they
        counted from 0: neuron 0 has no target, and the spikes of the last id are dropped (ten in
        oxford, none in logo). The target of single counts from 0: both read the same.

    Returns
    -------
    SpikingTask
        495 of the target intervals of oxford are shorter than 5 ms: no neuron with that
        refractory period can send them all.

    Raises
    ------
    InputError
        There is no such task, or no such way to read ids.

    References
    ----------
    Zenke & Ganguli 2018, Neural Computation 30:1514. Zenke 2017, github.com/fzenke/ssbm.

    Examples
    --------
    >>> task = superspike_task("oxford")
    >>> len(task.inputs), len(task.target), task.duration
    (1889, 10367, 1.89)
    >>> superspike_task("oxford", ids="demo").n_dropped
    10
    """
    _check_choice(name, SHAPES, "name")
    _check_choice(ids, ("shifted", "demo"), "ids")
    shape = SHAPES[name]
    first = shape.first_target_id if ids == "shifted" else 0
    inputs, _ = _read(f"{name}-input.ras", shape.n_inputs, 0, shape.duration, "error")
    target, dropped = _read(
        *(f"{name}-target.ras", shape.n_outputs, first, shape.duration),
        "error" if ids == "shifted" else "drop",
    )
    return SpikingTask(name, inputs, target, shape.duration, sum(dropped.values()))


def _read(file: str, n_neurons: int, first_id: int, duration: float, outside: str):
    with as_file(files(__package__) / file) as path:
        trains, dropped = read_ras_dropping(path, n_neurons, first_id, duration, outside)
    named = SpikeTrains(trains.times, trains.neurons, n_neurons, duration, f"bundled {file}")
    return named, dropped


def _check_choice(value, known, argument: str) -> None:
    if value not in known:
        raise InputError(
            f"is {value!r}"[:80],
            where=f"superspike_task: {argument}",
            remedy=f"Choose one of: {', '.join(known)}.",
        )
