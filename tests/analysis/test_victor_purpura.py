"""Victor-Purpura distance against hand cases, a recursion written here, and the metric's axioms."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromodels.analysis.spike_trains.victor_purpura import (
    victor_purpura_distance,
    victor_purpura_distances,
    victor_purpura_matrix,
)
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains, trains_of_lists
from neuromodels.options import OptionError


def by_recursion(a, b, q):
    """The definition: the last spike is deleted, added, or moved."""
    a, b = sorted(a), sorted(b)

    @functools.cache
    def cost(i, j):
        if i == 0 or j == 0:
            return float(i + j)
        moved = cost(i - 1, j - 1) + q * abs(a[i - 1] - b[j - 1])
        return min(cost(i - 1, j) + 1, cost(i, j - 1) + 1, moved)

    return cost(len(a), len(b))


@pytest.mark.parametrize(
    ("a", "b", "q", "cost"),
    [
        ([], [], 100, 0),
        ([0.1], [], 100, 1),
        ([0.100], [0.103], 100, 0.3),
        ([0.1], [0.2], 100, 2),  # too far: deleted and added
        ([0.100, 0.200], [0.201], 100, 1.1),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], 1000, 0),
        ([0.100, 0.110], [0.105], 100, 1.5),
        ([0.100, 0.104], [0.104, 0.108], 100, 0.8),  # both moved, though one coincides
        ([0.3, 0.1], [0.1, 0.3], 1000, 0),  # in any order
    ],
)
def test_hand_cases(a, b, q, cost):
    assert victor_purpura_distance(a, b, q) == pytest.approx(cost, abs=1e-12)


@pytest.mark.parametrize("q", [0.0, 1.0, 10.0, 80.0, 1e3, 1e6])
def test_equals_the_recursion_of_the_definition(q):
    # Sparse and dense trains: 2/q is shorter than most intervals in some and longer in others.
    for seed in range(15):
        rng = np.random.default_rng(seed)
        a, b = (rng.uniform(0, 10 ** rng.uniform(-1.5, 1), rng.integers(0, 25)) for _ in range(2))
        assert victor_purpura_distance(a, b, q) == pytest.approx(by_recursion(a, b, q), abs=1e-9)


def test_without_a_cost_of_moving_it_is_the_difference_of_the_counts():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0, 1, 17), rng.uniform(0, 1, 5)
    assert victor_purpura_distance(a, b, 0.0) == 12
    assert victor_purpura_distance(a, b, 1e-9) == pytest.approx(12, abs=1e-6)


def test_with_infinite_cost_of_moving_it_is_the_number_of_spikes_that_do_not_coincide():
    rng = np.random.default_rng(2)
    a, b = (rng.permutation(100)[:40] / 1000 for _ in range(2))
    alone = len(set(a) ^ set(b))
    assert victor_purpura_distance(a, b, math.inf) == alone
    assert victor_purpura_distance(a, b, 1e9) == alone
    assert victor_purpura_distance([0.1, 0.1], [0.1], math.inf) == 1


times = st.lists(st.floats(0, 0.2), max_size=6)


@given(times, times, times, st.sampled_from([1.0, 30.0, 400.0, math.inf]))
def test_is_a_metric(a, b, c, q):
    def distance(x, y):
        return victor_purpura_distance(x, y, q)

    assert distance(a, a) == 0
    assert distance(a, b) == pytest.approx(distance(b, a), abs=1e-12)
    assert distance(a, c) <= distance(a, b) + distance(b, c) + 1e-9
    if distance(a, b) < 1e-12:
        assert sorted(a) == pytest.approx(sorted(b), abs=1e-12)
    assert abs(len(a) - len(b)) <= distance(a, b) <= len(a) + len(b)


def test_permuting_neurons_permutes_distances_and_each_is_that_of_its_trains():
    rng = np.random.default_rng(3)
    a, b = ([rng.uniform(0, 1, rng.integers(0, 30)) for _ in range(6)] for _ in range(2))
    trains_a, trains_b = (trains_of_lists([np.sort(t) for t in x], 1.0) for x in (a, b))
    found = victor_purpura_distances(trains_a, trains_b, 50.0)
    assert found == pytest.approx([by_recursion(x, y, 50.0) for x, y in zip(a, b, strict=True)])
    order = rng.permutation(6)
    permuted = victor_purpura_distances(trains_a.select(order), trains_b.select(order), 50.0)
    assert np.array_equal(permuted, found[order])


def test_the_matrix_holds_the_distances_of_all_pairs():
    trains = [np.random.default_rng(i).uniform(0, 1, 3 * i) for i in range(4)]
    pairs = [[by_recursion(a, b, 20.0) for b in trains] for a in trains]
    assert victor_purpura_matrix(trains, 20.0) == pytest.approx(np.array(pairs))
    assert victor_purpura_matrix([], 20.0).shape == (0, 0)


def test_refuses_what_it_cannot_compare():
    for cost in (-1.0, math.nan):
        with pytest.raises(OptionError, match="must not be negative"):
            victor_purpura_distance([], [], cost)
    with pytest.raises(InputError, match=r"train 1: spike time 0 is inf"):
        victor_purpura_matrix([[0.1], [math.inf]], 1.0)
    with pytest.raises(InputError, match="1 neurons against 2"):
        victor_purpura_distances(*(SpikeTrains([], [], n, 1.0) for n in (1, 2)), 1.0)
