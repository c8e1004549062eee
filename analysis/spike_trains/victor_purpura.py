"""Victor-Purpura distance: the cheapest way to turn one spike train into another.

Deleting or adding a spike costs 1, moving it by Δt costs q |Δt|. A spike is worth moving by less
than 2/q, so that q sets the precision at which spike times matter: q = 0 compares spike counts,
infinite q counts the spikes that do not coincide. Victor & Purpura 1996, Journal of
Neurophysiology 76:1310.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from neuromodels.analysis.spike_trains.trains import as_times, listed, paired
from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.options import OptionError


def victor_purpura_distance(a, b, cost_per_s: float) -> float:
    """Least cost of turning one spike train into another, in spikes added, deleted or moved.

    Parameters
    ----------
    a, b : array (spike,)
        Spike times of one neuron, s, in any order.
    cost_per_s : float
        q, cost of moving a spike by one second; 200 means that 10 ms are as far as a spike is
        moved. 0 and infinity are allowed.

    Returns
    -------
    float
        Without unit (spikes); a metric for q > 0.

    Raises
    ------
    InputError
        Spike times that are no numbers.
    OptionError
        The cost is negative or no number.

    Notes
    -----
    The recursion of Victor & Purpura, D(i, j) = min(D(i−1, j) + 1, D(i, j−1) + 1,
    D(i−1, j−1) + q |a_i − b_j|), in clusters of spikes: where both trains are silent for more than
    2/q no spike is moved across, so the trains fall into parts whose costs add up.

    Examples
    --------
    >>> round(victor_purpura_distance([0.1, 0.5], [0.102], cost_per_s=100), 6)
    1.2
    """
    q = _cost(cost_per_s)
    return _distance(
        as_times(a, "victor_purpura_distance: a"), as_times(b, "victor_purpura_distance: b"), q
    )


def victor_purpura_distances(
    trains_a: SpikeTrains, trains_b: SpikeTrains, cost_per_s: float
) -> np.ndarray:
    """Distance of each neuron's spikes in one recording from its spikes in another.

    Parameters
    ----------
    trains_a, trains_b : SpikeTrains
        Of the same neurons, on the same clock.
    cost_per_s : float
        q, 1/s.

    Returns
    -------
    numpy.ndarray
        (neuron,), without unit.

    Raises
    ------
    InputError
        The recordings have different numbers of neurons.
    OptionError
        The cost is negative or no number.
    """
    q = _cost(cost_per_s)
    a, b = paired(trains_a, trains_b, "victor_purpura_distances")
    return _distances(*a, *b, q)


def victor_purpura_matrix(trains, cost_per_s: float) -> np.ndarray:
    """Distances between all pairs of trains, for instance the trials of one neuron.

    Parameters
    ----------
    trains : list of array (spike,)
        Spike times, s.
    cost_per_s : float
        q, 1/s.

    Returns
    -------
    numpy.ndarray
        (train, train), symmetric, 0 on the diagonal.

    Raises
    ------
    InputError
        Spike times that are no numbers.
    OptionError
        The cost is negative or no number.
    """
    return _matrix(*listed(trains), _cost(cost_per_s))


def _cost(cost_per_s: float) -> float:
    if math.isnan(cost_per_s) or cost_per_s < 0:
        raise OptionError(
            f"cost_per_s = {cost_per_s:g} must not be negative.",
            remedy="Take 2 divided by the longest shift that still counts as the same spike: "
            "200 per second for 10 ms.",
        )
    return float(cost_per_s)


@njit(cache=True, error_model="numpy")
def _edit_cost(a, b, q):
    """Least cost by dynamic programming over all pairs, one row at a time."""
    if len(a) < len(b):  # the row is the shorter one
        a, b = b, a
    row = np.arange(len(b) + 1).astype(np.float64)
    for i in range(len(a)):
        diagonal = row[0]
        row[0] = i + 1.0
        for j in range(len(b)):
            shift = abs(a[i] - b[j])
            moved = diagonal + (q * shift if shift > 0 else 0.0)  # infinite q, no shift: free
            diagonal = row[j + 1]
            row[j + 1] = min(moved, min(diagonal, row[j]) + 1.0)
    return row[len(b)]


@njit(cache=True, error_model="numpy")
def _distance(a, b, q):
    """Sum over clusters of spikes that are more than 2/q apart from all others."""
    reach = 2.0 / q if q > 0 else np.inf
    total, i, j = 0.0, 0, 0
    while i < len(a) or j < len(b):
        end_a, end_b = i, j
        last = -np.inf
        while end_a < len(a) or end_b < len(b):
            from_a = end_b == len(b) or (end_a < len(a) and a[end_a] <= b[end_b])
            time = a[end_a] if from_a else b[end_b]
            if time - last > reach and end_a + end_b > i + j:
                break
            last = time
            end_a, end_b = (end_a + 1, end_b) if from_a else (end_a, end_b + 1)
        total += _edit_cost(a[i:end_a], b[j:end_b], q)
        i, j = end_a, end_b
    return total


@njit(cache=True)
def _distances(times_a, starts_a, times_b, starts_b, q):
    n = len(starts_a) - 1
    result = np.empty(n)
    for i in range(n):
        a = times_a[starts_a[i] : starts_a[i + 1]]
        b = times_b[starts_b[i] : starts_b[i + 1]]
        result[i] = _distance(a, b, q)
    return result


@njit(cache=True)
def _matrix(times, starts, q):
    n = len(starts) - 1
    result = np.zeros((n, n))
    for i in range(n):
        a = times[starts[i] : starts[i + 1]]
        for j in range(i):
            b = times[starts[j] : starts[j + 1]]
            result[i, j] = result[j, i] = _distance(a, b, q)
    return result
