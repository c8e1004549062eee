"""Which spikes two sets share, against sets of steps and optimal matching of another library."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from neuromodels.analysis.spike_trains.spike_sets import compare_spikes
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains, sorted_trains, trains_of_steps
from neuromodels.options import OptionError


def random_trains(rng, n_spikes, n_neurons=5, n_steps=400):
    chosen = rng.permutation(n_steps * n_neurons)[:n_spikes]
    return chosen // n_neurons, chosen % n_neurons


def test_counts_on_the_grid_are_those_of_sets_of_steps():
    rng = np.random.default_rng(1)
    (s, n), (t, m) = (random_trains(rng, k) for k in (500, 700))
    a, b = trains_of_steps(s, n, 5, 1e-4, 400), trains_of_steps(t, m, 5, 1e-4, 400)
    found = compare_spikes(a, b, dt_s=1e-4)
    for neuron in range(5):
        ours, theirs = set(s[n == neuron]), set(t[m == neuron])
        assert found.identical[neuron] == len(ours & theirs)
        assert found.missing[neuron] == len(theirs - ours)
        assert found.extra[neuron] == len(ours - theirs)
    step, neuron = min(set(zip(s, n, strict=True)) ^ set(zip(t, m, strict=True)))
    assert (found.first_difference_s, found.first_neuron) == (pytest.approx(step * 1e-4), neuron)


@pytest.mark.parametrize("tolerance", [0.0, 0.002, 0.01, 0.05])
def test_as_many_spikes_are_paired_as_the_best_matching_pairs(tolerance):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        a, b = (np.sort(rng.integers(0, 300, k)) / 1000 for k in (40, 50))  # on a grid: ties too
        near = np.abs(a[:, None] - b[None]) <= tolerance + 1e-9
        best = np.sum(maximum_bipartite_matching(csr_array(near), perm_type="column") >= 0)
        trains = (SpikeTrains(x, np.zeros(len(x), int), 1, 1.0) for x in (a, b))
        found = compare_spikes(*trains, tolerance)
        assert found.identical.tolist() == [best]
        assert (found.missing[0], found.extra[0]) == (50 - best, 40 - best)


def test_times_of_one_step_that_differ_in_the_last_digit_are_the_same_on_the_grid():
    steps = np.arange(1, 2000, 7)
    a = SpikeTrains(steps * 1e-4, np.zeros(len(steps), int), 1, 1.0)
    b = SpikeTrains(np.nextafter(steps / 1e4, 0), np.zeros(len(steps), int), 1, 1.0)
    assert not compare_spikes(a, b).same
    assert compare_spikes(a, b, dt_s=1e-4).same
    assert compare_spikes(a, b, 1e-12).same


def test_a_tolerance_of_whole_steps_counts_steps():
    a = trains_of_steps([10, 20, 30], [0, 0, 0], 1, 1e-4, 100)
    b = trains_of_steps([11, 22, 33], [0, 0, 0], 1, 1e-4, 100)
    shared = [compare_spikes(a, b, k * 1e-4, dt_s=1e-4).identical[0] for k in range(4)]
    assert shared == [0, 1, 2, 3]


def test_the_sentence_says_how_many_and_where_first():
    a = sorted_trains([0.3, 0.1, 0.2], [1, 0, 1], 2, 1.0)
    b = sorted_trains([0.1, 0.2], [0, 0], 2, 1.0)
    assert str(compare_spikes(a, a)) == "0 of 3 spikes differ"
    assert str(compare_spikes(a, a, 1e-3)) == "0 of 3 spikes differ within 1 ms"
    found = compare_spikes(a, b)
    assert not found.same
    assert str(found) == (
        "3 of 4 spikes differ: 1 missing, 2 extra, 1 shared; "
        "the first difference is at 0.2 s in neuron 0"
    )
    silent = SpikeTrains([], [], 2, 1.0)
    assert str(compare_spikes(silent, silent)) == "0 of 0 spikes differ"
    assert compare_spikes(silent, a).missing.tolist() == [1, 2]


def test_refuses_what_it_cannot_compare():
    one, two = (SpikeTrains([], [], n, 1.0) for n in (1, 2))
    with pytest.raises(InputError, match="1 neurons against 2"):
        compare_spikes(one, two)
    with pytest.raises(OptionError, match="must not be negative"):
        compare_spikes(one, one, -1e-3)
