"""SPIKE and ISI distance by PySpike against their definitions, integrated here."""

import sys

import numpy as np
import pytest

from neuromodels.analysis.spike_trains.spike_distance import (
    isi_distance,
    spike_distance,
    spike_distances,
)
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains, trains_of_lists
from neuromodels.options import OptionError

needs_pyspike = pytest.mark.usefixtures("pyspike")


@pytest.fixture
def pyspike():
    return pytest.importorskip(
        "pyspike", reason='PySpike is not installed: pip install "neuromodels[spikes]"'
    )


def trains(seed, n=20, m=25):
    """Spikes at both ends, so that the library's treatment of open ends plays no part."""
    rng = np.random.default_rng(seed)
    return (np.sort(np.concatenate([[0, 1], rng.uniform(0, 1, k)])) for k in (n, m))


def profile(a, b, measure, n=200_000):
    """Mean over time of the profile at the centres of n bins."""
    t = (np.arange(n) + 0.5) / n
    interval, local = [], []
    for own, other in ((a, b), (b, a)):
        i = np.searchsorted(own, t)
        before, after = own[i - 1], own[i]
        nearest = np.abs(own[:, None] - other[None]).min(axis=1)
        weight = (nearest[i - 1] * (after - t) + nearest[i] * (t - before)) / (after - before)
        interval.append(after - before)
        local.append(weight)
    if measure == "isi":
        return np.mean(np.abs(interval[0] - interval[1]) / np.maximum(*interval))
    mean = (interval[0] + interval[1]) / 2
    return np.mean((local[0] * interval[1] + local[1] * interval[0]) / (2 * mean**2))


@needs_pyspike
@pytest.mark.parametrize("measure", ["spike", "isi"])
def test_is_the_time_average_of_the_published_profile(measure):
    a, b = trains(1)
    distance = {"spike": spike_distance, "isi": isi_distance}[measure](a, b, 1.0)
    assert distance == pytest.approx(profile(a, b, measure), abs=2e-5)


@needs_pyspike
@pytest.mark.parametrize("distance", [spike_distance, isi_distance])
def test_is_zero_for_equal_trains_symmetric_and_the_same_on_another_clock(distance):
    a, b = trains(2)
    assert distance(a, a, 1.0) == 0
    assert distance(a, b, 1.0) == pytest.approx(distance(b, a, 1.0), rel=1e-12)
    assert distance(a, b, 1.0) == pytest.approx(distance(a + 3, b + 3, 4.0, 3.0), rel=1e-9)
    assert distance(a[::-1], b, 1.0) == distance(a, b, 1.0)


@needs_pyspike
@pytest.mark.parametrize("measure", ["spike", "isi"])
def test_each_neuron_has_the_distance_of_its_trains(measure):
    rng = np.random.default_rng(3)
    a, b = (
        trains_of_lists([np.sort(rng.uniform(0, 1, n)) for n in (0, 5, 20, 0)], 1.0, "invented")
        for _ in range(2)
    )
    single = {"spike": spike_distance, "isi": isi_distance}[measure]
    found = spike_distances(a, b, measure)
    assert found.tolist() == [single(a.of(i), b.of(i), 1.0) for i in range(4)]
    assert found[0] == 0
    order = [2, 0, 3, 1]
    assert np.array_equal(spike_distances(a.select(order), b.select(order), measure), found[order])


@needs_pyspike
def test_refuses_what_it_cannot_compare():
    with pytest.raises(InputError, match=r"a: 1 spikes are outside 0 to 1 s, the first at 1\.5 s"):
        spike_distance([0.1, 1.5], [], 1.0)
    with pytest.raises(OptionError, match="lasts from 1 to 0 s"):
        isi_distance([], [], 0.0, 1.0)
    with pytest.raises(InputError, match="1 s against 2 s"):
        spike_distances(SpikeTrains([], [], 1, 1.0), SpikeTrains([], [], 1, 2.0))


def test_an_unknown_measure_is_refused():
    one = SpikeTrains([], [], 1, 1.0)
    with pytest.raises(OptionError, match="no distance 'sync'"):
        spike_distances(one, one, "sync")


def test_says_how_to_install_the_library_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspike", None)
    with pytest.raises(OptionError, match=r'pip install "neuromodels\[spikes\]"'):
        spike_distance([0.1], [0.2], 1.0)
