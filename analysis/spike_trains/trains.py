"""Spike times as the distances need them: finite, sorted, one neuron after another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains


class Grouped(NamedTuple):
    """Spikes of neuron 0, then of neuron 1, …

    Attributes
    ----------
    times : (spike,)
        Sorted within each neuron, s (or steps).
    starts : (neuron + 1,)
        Where the spikes of each neuron start; the last entry is the number of spikes.
    """

    times: np.ndarray
    starts: np.ndarray


def as_times(times, where: str) -> np.ndarray:
    """Return the spike times of one neuron as a sorted float64 array.

    Parameters
    ----------
    times : array (spike,)
        s, in any order.
    where : str
        Call and argument, for the message.

    Raises
    ------
    InputError
        Not one-dimensional, or a time that is no number.
    """
    times = np.asarray(times, np.float64)
    if times.ndim != 1:
        raise InputError(
            f"spike times have shape {times.shape}.",
            where=where,
            remedy="Pass the times of one neuron, (spike,), in seconds.",
        )
    if not np.isfinite(times).all():
        index = int(np.argmin(np.isfinite(times)))
        raise InputError(
            f"spike time {index} is {times[index]}.",
            where=where,
            remedy="Take out the times that are no numbers.",
        )
    return np.sort(times)


def by_neuron(times: np.ndarray, neurons: np.ndarray, n_neurons: int) -> Grouped:
    """Group sorted spikes by neuron.

    Parameters
    ----------
    times, neurons : (spike,)
        Times or steps, sorted, and who fired.
    n_neurons : int
        Silent neurons included.
    """
    order = np.argsort(neurons, kind="stable")
    counts = np.bincount(neurons, minlength=n_neurons)
    return Grouped(times[order], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def listed(trains) -> Grouped:
    """Group a list of trains, each the spike times of one neuron.

    Raises
    ------
    InputError
        One of them is no train.
    """
    rows = [as_times(train, f"train {index}") for index, train in enumerate(trains)]
    counts = [len(row) for row in rows]
    times = np.concatenate(rows) if rows else np.zeros(0)
    return Grouped(times, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def paired(a: SpikeTrains, b: SpikeTrains, where: str) -> tuple[Grouped, Grouped]:
    """Group the spikes of two recordings of the same neurons.

    Raises
    ------
    InputError
        They are of different numbers of neurons.
    """
    check_same_neurons(a, b, where)
    return (
        by_neuron(a.times, a.neurons, a.n_neurons),
        by_neuron(b.times, b.neurons, b.n_neurons),
    )


def check_same_neurons(a: SpikeTrains, b: SpikeTrains, where: str) -> None:
    """Refuse two recordings of different numbers of neurons.

    Raises
    ------
    InputError
        The numbers differ.
    """
    if a.n_neurons != b.n_neurons:
        raise InputError(
            f"{a.n_neurons} neurons against {b.n_neurons}.",
            where=where,
            remedy="Compare the same neurons: pick them with trains.select([...]).",
        )
