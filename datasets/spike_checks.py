"""What makes spikes possible: finite times in order, neurons that exist, an end after them."""

from __future__ import annotations

import math

import numpy as np

from neuromodels.datasets.errors import InputError


def as_numbers(values, where: str, dtype) -> np.ndarray:
    """Copy values into one dimension of float64 or int64, or say what they are.

    Raises
    ------
    InputError
        They are no numbers, have more dimensions, or are not whole where int64 is asked for.
    """
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):
        array = np.asarray(None)
    whole = dtype is np.int64
    if array.ndim == 1 and not array.size:
        array = array.astype(dtype)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise InputError(
            f"holds {array.dtype} of shape {array.shape}",
            where=where,
            remedy="Give one number after another"
            + (", whole ones." if whole else ", in seconds."),
        )
    if whole and array.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(array) | (array != np.round(array)))
        if bad.size:
            raise InputError(
                f"number {bad[0]} is {array[bad[0]]:g} (counted from 0)",
                where=where,
                remedy="Neurons are numbered by whole numbers from 0.",
            )
    return np.array(array, dtype=dtype)


def neuron_count(value, where: str) -> int:
    """Return a number of neurons, which must be a whole number from 1.

    Raises
    ------
    InputError
    """
    try:
        whole = int(value)
        if whole == value and whole >= 1 and not isinstance(value, (bool, str)):
            return whole
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(
        f"is {value!r}"[:80], where=where, remedy="Give the number of neurons, at least 1."
    )


def positive_duration(value, where: str) -> float:
    """Return a duration in seconds, which must be positive and finite.

    Raises
    ------
    InputError
    """
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(
            f"is {value!r}"[:80], where=where, remedy="Give a positive duration in seconds."
        )
    return seconds


def check_times(times: np.ndarray, duration: float, where: str) -> None:
    """Refuse spike times that are NaN, negative, not before the end, or out of order.

    Raises
    ------
    InputError
        With the first such spike.
    """
    where = f"{where}: times"
    bad = np.flatnonzero(~np.isfinite(times))
    if bad.size:
        raise InputError(
            f"spike {bad[0]} is at {times[bad[0]]} ({bad.size} such spikes; counted from 0)",
            where=where,
            remedy="Remove the spikes whose time is unknown.",
        )
    bad = np.flatnonzero(times < 0)
    if bad.size:
        raise InputError(
            f"spike {bad[0]} is at {times[bad[0]]:.9g} s, before 0 ({bad.size} such spikes)",
            where=where,
            remedy="Let time begin at 0: subtract the start of the stretch.",
        )
    bad = np.flatnonzero(times >= duration)
    if bad.size:
        raise InputError(
            f"spike {bad[0]} is at {times[bad[0]]:.9g} s, and the stretch ends at {duration:.9g} s "
            f"({bad.size} such spikes)",
            where=where,
            remedy="Give a longer duration, in seconds; or cut the spikes after it.",
        )
    back = np.flatnonzero(np.diff(times) < 0)
    if back.size:
        i = int(back[0]) + 1
        raise InputError(
            f"spike {i} ({times[i]:.9g} s) comes before spike {i - 1} ({times[i - 1]:.9g} s); "
            f"{back.size} such places",
            where=where,
            remedy="Sort the spikes by time (spike_trains.sorted_trains does it, with their "
            "neurons).",
        )


def check_neurons(neurons: np.ndarray, n_neurons: int, where: str) -> None:
    """Refuse neurons that do not exist.

    Raises
    ------
    InputError
        With the first such spike.
    """
    bad = np.flatnonzero((neurons < 0) | (neurons >= n_neurons))
    if bad.size:
        raise InputError(
            f"spike {bad[0]} is of neuron {neurons[bad[0]]}, and there are {n_neurons} "
            f"(0 … {n_neurons - 1}); {bad.size} such spikes",
            where=f"{where}: neurons",
            remedy="Give n_neurons as it is, or number the neurons from 0 (ids that begin at 1: "
            "subtract 1).",
        )
