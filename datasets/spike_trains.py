"""Spike trains as events: when each spike came, and which neuron sent it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_checks import (
    as_numbers,
    check_neurons,
    check_times,
    neuron_count,
    positive_duration,
)

# Share of a step by which a time may lie before the beginning of its step: 0.3 / 0.1 is 2.999….
GRID_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class SpikeTrains:
    """Spikes of numbered neurons between 0 s and the end of the stretch.

    Two are equal when spikes, number of neurons, duration and labels are; `source` does not count.
    Spikes at the same time are put in the order of their neurons. The arrays are read-only.

    Attributes
    ----------
    times : (spike,) float64, s
        Ascending, from 0 to before `duration`.
    neurons : (spike,) int64
        Who sent each spike, 0 … n_neurons − 1.
    n_neurons : int
        With those that are silent.
    duration : float
        s.
    source : str
        Where they are from, for messages and records.
    labels : tuple of str
        Names of the neurons, such as unit ids of a file; empty where their numbers are all there
        is.

    Raises
    ------
    InputError
        A time is NaN, infinite, negative, unsorted or not before the end, or a neuron does not
        exist.

    Examples
    --------
    >>> trains = SpikeTrains([0.1, 0.25, 0.3], [1, 0, 1], n_neurons=3, duration=0.5)
    >>> len(trains), trains.rates().tolist()
    (3, [2.0, 4.0, 0.0])
    >>> trains.steps(0.1)[0].tolist()
    [1, 2, 3]
    """

    times: np.ndarray
    neurons: np.ndarray
    n_neurons: int
    duration: float
    source: str = ""
    labels: tuple[str, ...] = ()

    def __post_init__(self):
        where = self.source or "SpikeTrains"
        times = as_numbers(self.times, f"{where}: times", np.float64)
        neurons = as_numbers(self.neurons, f"{where}: neurons", np.int64)
        n_neurons = neuron_count(self.n_neurons, f"{where}: n_neurons")
        duration = positive_duration(self.duration, f"{where}: duration")
        labels = tuple(str(label) for label in self.labels)
        if times.size != neurons.size:
            raise InputError(
                f"there are {times.size} times and {neurons.size} neurons",
                where=f"{where}: neurons",
                remedy="Give one neuron for each spike time.",
            )
        check_times(times, duration, where)
        check_neurons(neurons, n_neurons, where)
        if labels and len(labels) != n_neurons:
            raise InputError(
                f"there are {len(labels)} labels for {n_neurons} neurons",
                where=f"{where}: labels",
                remedy="Give one label for each neuron, or none at all.",
            )
        order = np.lexsort((neurons, times))
        for name, value in (
            ("times", times[order]),
            ("neurons", neurons[order]),
            ("n_neurons", n_neurons),
            ("duration", duration),
            ("labels", labels),
        ):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return self.times.size

    def __eq__(self, other) -> bool:
        if not isinstance(other, SpikeTrains):
            return NotImplemented
        return (
            self.n_neurons == other.n_neurons
            and self.duration == other.duration
            and self.labels == other.labels
            and np.array_equal(self.times, other.times)
            and np.array_equal(self.neurons, other.neurons)
        )

    __hash__ = None

    def __repr__(self) -> str:
        named = f", source={self.source!r}" if self.source else ""
        return (
            f"SpikeTrains({len(self)} spikes, {self.n_neurons} neurons, {self.duration:g} s{named})"
        )

    def steps(self, dt_s: float, n_steps: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the time step and the neuron of every spike, sorted by step, then neuron.

        A spike belongs to the step in which it lies: step k begins at k · dt. A time that rounding
        puts a millionth of a step before the beginning of a step counts as being in it.

        Parameters
        ----------
        dt_s : float
            Length of a step, s.
        n_steps : int, optional
            Steps that there are; a spike after them is an error, never dropped.

        Returns
        -------
        steps : (spike,) int64
            The same step and neuron may come twice, where a neuron spikes twice within a step.
        neurons : (spike,) int64
            Who sent them.

        Raises
        ------
        InputError
            The step is not positive, or a spike comes after the last step.
        """
        where = self.source or "SpikeTrains"
        if not (math.isfinite(dt_s) and dt_s > 0):
            raise InputError(
                f"is {dt_s}",
                where=f"{where}: dt_s",
                remedy="Give a positive time step in seconds: 0.1 ms is 0.0001.",
            )
        exact = self.times / dt_s
        steps = np.floor(exact + GRID_SLACK).astype(np.int64)
        if n_steps is not None:
            # The slack must not push a spike that is inside the last step out of it.
            steps[(steps == n_steps) & (exact < n_steps)] = n_steps - 1
            late = np.flatnonzero(steps >= n_steps)
            if late.size:
                raise InputError(
                    f"{late.size} spikes come after step {n_steps - 1}, the last one; the first "
                    f"at {self.times[late[0]]:.9g} s (neuron {self.neurons[late[0]]})",
                    where=f"{where}: times",
                    remedy=f"Take {math.ceil(self.duration / dt_s - GRID_SLACK)} steps of "
                    f"{dt_s:g} s, or cut the trains: trains.between(0, {n_steps * dt_s:g}).",
                )
        order = np.lexsort((self.neurons, steps))
        return steps[order], self.neurons[order]

    def of(self, neuron: int) -> np.ndarray:
        """Return the spike times of one neuron, s."""
        where = self.source or "SpikeTrains"
        check_neurons(as_numbers([neuron], f"{where}: neuron", np.int64), self.n_neurons, where)
        return self.times[self.neurons == neuron]

    def rates(self) -> np.ndarray:
        """Return the mean rate of every neuron, (neuron,) Hz."""
        return np.bincount(self.neurons, minlength=self.n_neurons) / self.duration

    def select(self, neurons: Sequence[int]) -> SpikeTrains:
        """Return the trains of some neurons, numbered from 0 in the order in which they are named.

        Raises
        ------
        InputError
            A neuron does not exist, or is named twice.
        """
        where = self.source or "SpikeTrains"
        chosen = as_numbers(neurons, f"{where}: neurons", np.int64)
        check_neurons(chosen, self.n_neurons, where)
        if np.unique(chosen).size < chosen.size:
            raise InputError(
                "names a neuron twice",
                where=f"{where}: select",
                remedy="Name every neuron once.",
            )
        place = np.full(self.n_neurons, -1)
        place[chosen] = np.arange(chosen.size)
        new = place[self.neurons]
        kept = new >= 0
        labels = tuple(self.labels[i] for i in chosen) if self.labels else ()
        return SpikeTrains(
            self.times[kept], new[kept], chosen.size, self.duration, self.source, labels
        )

    def between(self, start: float, stop: float) -> SpikeTrains:
        """Return the spikes from `start` to before `stop` (s), with times that begin at 0 again.

        Raises
        ------
        InputError
            The stretch is not within 0 s and the end.
        """
        if not 0 <= start < stop <= self.duration * (1 + 1e-12):
            raise InputError(
                f"the stretch from {start:g} to {stop:g} s is not within 0 and {self.duration:g} s",
                where=f"{self.source or 'SpikeTrains'}: between",
                remedy="Give 0 <= start < stop <= duration, in seconds.",
            )
        first, last = np.searchsorted(self.times, [start, stop])
        duration = stop - start
        # A time just before `stop` may round to the duration when `start` is subtracted.
        times = np.minimum(self.times[first:last] - start, np.nextafter(duration, 0))
        neurons = self.neurons[first:last]
        return SpikeTrains(times, neurons, self.n_neurons, duration, self.source, self.labels)

    def to_dataset(self) -> xr.Dataset:
        """Return the spikes as a labelled dataset, for `storage.write_tree` and xarray."""
        attrs = {"n_neurons": self.n_neurons, "duration_s": self.duration, "source": self.source}
        if self.labels:
            attrs["neuron_labels"] = list(self.labels)
        return xr.Dataset(
            {
                "time": ("spike", self.times, {"units": "s", "description": "when it was sent"}),
                "neuron": ("spike", self.neurons, {"description": "who sent it, from 0"}),
            },
            coords={
                "spike": ("spike", np.arange(len(self)), {"description": "number of the spike"})
            },
            attrs=attrs,
        )

    @staticmethod
    def from_dataset(dataset: xr.Dataset, source: str = "") -> SpikeTrains:
        """Return the spikes of a dataset that `to_dataset` made.

        Raises
        ------
        InputError
            The dataset is of another kind, or holds impossible spikes.
        """
        where = source or "dataset"
        known = {*dataset.variables, *dataset.attrs}
        missing = [n for n in ("time", "neuron", "n_neurons", "duration_s") if n not in known]
        if missing:
            raise InputError(
                f"has no {', '.join(missing)}",
                where=where,
                remedy="Give a dataset of spikes as SpikeTrains.to_dataset() makes it: variables "
                "time and neuron, attributes n_neurons and duration_s.",
            )
        return SpikeTrains(
            dataset["time"].values,
            dataset["neuron"].values,
            dataset.attrs["n_neurons"],
            dataset.attrs["duration_s"],
            source or dataset.attrs.get("source", ""),
            tuple(dataset.attrs.get("neuron_labels", ())),
        )


def trains_of_lists(
    trains: Sequence, duration: float, source: str = "", labels: Sequence[str] = ()
) -> SpikeTrains:
    """Return spike trains from one list of spike times for each neuron.

    Parameters
    ----------
    trains : list of (spike,) arrays, s
        In any order of time; an empty one for a silent neuron.
    duration : float
        s.
    source, labels
        As in `SpikeTrains`.

    Raises
    ------
    InputError
        As `SpikeTrains`.
    """
    where = source or "spike times"
    parts = [as_numbers(t, f"{where}: neuron {i}", np.float64) for i, t in enumerate(trains)]
    times = np.concatenate([np.zeros(0), *parts])
    neurons = np.repeat(np.arange(len(parts)), [part.size for part in parts])
    return sorted_trains(times, neurons, len(parts), duration, source, tuple(labels))


def trains_of_steps(
    steps, neurons, n_neurons: int, dt_s: float, n_steps: int, source: str = ""
) -> SpikeTrains:
    """Return spike trains from the steps of a simulation; step k is the time k · dt.

    `SpikeTrains.steps` gives the same steps back.

    Parameters
    ----------
    steps, neurons : (spike,) int
        In any order.
    n_neurons : int
        With those that are silent.
    dt_s : float
        Length of a step, s.
    n_steps : int
        Steps that were simulated.
    source : str
        Where they are from.

    Raises
    ------
    InputError
        As `SpikeTrains`.
    """
    times = np.asarray(steps, dtype=np.int64) * dt_s
    return sorted_trains(times, neurons, n_neurons, n_steps * dt_s, source)


def sorted_trains(
    times, neurons, n_neurons: int, duration: float, source: str = "", labels=()
) -> SpikeTrains:
    """Return spike trains from spikes in any order; all else is as in `SpikeTrains`."""
    where = source or "SpikeTrains"
    times = as_numbers(times, f"{where}: times", np.float64)
    neurons = as_numbers(neurons, f"{where}: neurons", np.int64)
    if times.size == neurons.size:
        order = np.argsort(times, kind="stable")
        times, neurons = times[order], neurons[order]
    return SpikeTrains(times, neurons, n_neurons, duration, source, labels)


def duration_after(last: float) -> float:
    """Return the first whole millisecond after a time, s: a duration for trains without one."""
    # Rounded to 1e-12 s so that 1.889 is written 1.889; never at or before the spike.
    whole = math.floor(last * 1e3 + GRID_SLACK) + 1
    return max(round(whole * 1e-3, 12), math.nextafter(last, math.inf))
