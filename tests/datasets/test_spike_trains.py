"""Spike trains keep every spike, know their neurons and their end, and fall on a floor grid."""

from fractions import Fraction

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import (
    SpikeTrains,
    duration_after,
    sorted_trains,
    trains_of_lists,
    trains_of_steps,
)


@st.composite
def random_trains(draw, longest=5.0):
    n_neurons = draw(st.integers(1, 6))
    duration = draw(st.floats(0.01, longest))
    below = st.floats(0, duration, exclude_max=True)
    spikes = draw(st.lists(st.tuples(below, st.integers(0, n_neurons - 1)), max_size=30))
    return sorted_trains([t for t, _ in spikes], [n for _, n in spikes], n_neurons, duration)


def small():
    return SpikeTrains([0.1, 0.25, 0.3, 0.3], [1, 0, 2, 1], 4, 0.5, "cell.ras")


def test_arrays_are_float64_and_int64_and_cannot_be_changed():
    trains = SpikeTrains(np.float32([0.25]), np.uint8([0]), 1, 1)
    assert trains.times.dtype == np.float64
    assert trains.neurons.dtype == np.int64
    assert isinstance(trains.duration, float)
    with pytest.raises(ValueError, match="read-only"):
        trains.times[0] = 0


def test_making_trains_leaves_the_callers_arrays_alone():
    times, neurons = np.array([0.3, 0.3]), np.array([1, 0])
    trains = SpikeTrains(times, neurons, 2, 1.0)
    assert neurons.tolist() == [1, 0]
    assert trains.neurons.tolist() == [0, 1]  # spikes at the same time: in the order of neurons
    times[0] = 0.0  # still the caller's
    assert trains.times.tolist() == [0.3, 0.3]


def test_rates_and_trains_of_one_neuron_count_its_spikes():
    assert small().rates().tolist() == [2.0, 4.0, 2.0, 0.0]
    assert small().of(1).tolist() == [0.1, 0.3]
    assert small().of(3).size == 0
    assert len(small()) == 4


def test_equal_trains_are_equal_wherever_they_are_from():
    other = SpikeTrains([0.1, 0.25, 0.3, 0.3], [1, 0, 1, 2], 4, 0.5, "elsewhere")
    assert small() == other
    assert small() != SpikeTrains(other.times, other.neurons, 5, 0.5)
    assert small() != SpikeTrains(other.times, other.neurons, 4, 0.6)


@pytest.mark.parametrize("dt", ["0.1", "0.0001", "0.001", "0.0003", "0.00005"])
def test_a_time_on_the_grid_falls_into_the_step_that_begins_there(dt):
    # The decimal numbers, divided exactly, are the truth; floats miss some of them.
    step = Fraction(dt)
    truth = np.r_[0:2000, 18_890:18_899, 999_990:1_000_000]
    times = np.array([float(int(k) * step) for k in truth])
    trains = SpikeTrains(times, np.zeros(truth.size, int), 1, float(1_000_000 * step))
    steps, _ = trains.steps(float(dt), 1_000_000)
    assert steps.tolist() == truth.tolist()


def test_a_time_within_a_step_falls_into_it():
    trains = SpikeTrains([0.000088, 0.000199, 0.0002, 0.00029], [0, 0, 0, 0], 1, 0.01)
    assert trains.steps(1e-4)[0].tolist() == [0, 1, 2, 2]


def test_steps_are_sorted_by_step_then_neuron():
    trains = SpikeTrains([0.1, 0.11, 0.12, 0.2], [2, 1, 0, 0], 3, 0.3)
    steps, neurons = trains.steps(0.1)
    assert steps.tolist() == [1, 1, 1, 2]
    assert neurons.tolist() == [0, 1, 2, 0]


def test_a_spike_just_before_the_end_is_in_the_last_step():
    trains = SpikeTrains([np.nextafter(1.0, 0)], [0], 1, 1.0)
    assert trains.steps(0.1, 10)[0].tolist() == [9]


def test_spikes_after_the_last_step_are_an_error_that_counts_them():
    with pytest.raises(InputError, match=r"3 spikes come after step 1.*\n.*5 steps") as caught:
        small().steps(0.1, 2)
    assert caught.value.where == "cell.ras: times"


@given(
    st.sets(st.tuples(st.integers(0, 20_000), st.integers(0, 3)), max_size=40),
    st.sampled_from([1e-4, 1e-3, 5e-5, 0.00037]),
)
def test_steps_of_a_simulation_come_back(spikes, dt):
    steps, neurons = [s for s, _ in spikes], [n for _, n in spikes]
    trains = trains_of_steps(steps, neurons, 4, dt, 20_001)
    again = trains.steps(dt, 20_001)
    assert sorted(zip(*(part.tolist() for part in again), strict=True)) == sorted(spikes)


def test_chosen_neurons_are_renumbered_in_the_order_named():
    labelled = SpikeTrains([0.1, 0.2, 0.3], [0, 1, 2], 3, 1.0, labels=("a", "b", "c"))
    chosen = labelled.select([2, 0])
    assert chosen == SpikeTrains([0.1, 0.3], [1, 0], 2, 1.0, labels=("c", "a"))
    with pytest.raises(InputError, match="twice"):
        small().select([1, 1])
    with pytest.raises(InputError, match="neuron 4, and there are 4"):
        small().select([4])


def test_a_stretch_begins_at_zero_and_ends_before_its_stop():
    part = small().between(0.1, 0.3)
    np.testing.assert_allclose(part.times, [0.0, 0.15], rtol=0, atol=1e-15)
    assert part.neurons.tolist() == [1, 0]
    assert part.duration == pytest.approx(0.2)
    with pytest.raises(InputError, match="not within"):
        small().between(0.1, 0.6)


@given(random_trains(), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50)
def test_stretches_lose_no_spike_between_them(trains, a, b):
    a, b = sorted((a * trains.duration, b * trains.duration))
    edges = [e for e in (0.0, a, b, trains.duration)]
    parts = [trains.between(u, v) for u, v in zip(edges, edges[1:], strict=False) if u < v]
    assert sum(len(part) for part in parts) == len(trains)


@given(random_trains())
@settings(max_examples=50)
def test_a_dataset_holds_all_of_them_with_units(trains):
    dataset = trains.to_dataset()
    assert SpikeTrains.from_dataset(dataset) == trains
    assert dataset["time"].attrs["units"] == "s"
    assert set(dataset.dims) == set(dataset.coords) == {"spike"}


def test_labels_survive_a_dataset():
    trains = SpikeTrains([0.1], [1], 2, 1.0, "file.nwb", ("6", "191"))
    again = SpikeTrains.from_dataset(trains.to_dataset())
    assert again == trains
    assert again.source == "file.nwb"
    assert again.labels == ("6", "191")


def test_lists_of_times_become_neurons_silent_ones_too():
    trains = trains_of_lists([[0.3, 0.1], [], np.array([0.2])], 1.0)
    assert trains == SpikeTrains([0.1, 0.2, 0.3], [0, 2, 0], 3, 1.0)


@pytest.mark.parametrize("last", [0.0, 0.0005, 0.001, 1.8888, 1.889, 0.9999999999999999, 1e5, 1e9])
def test_the_default_end_is_a_whole_millisecond_after_the_last_spike(last):
    end = duration_after(last)
    assert last < end <= last + 1.0001e-3
    assert end * 1e3 == pytest.approx(round(end * 1e3), abs=1e-3)


@pytest.mark.parametrize(
    ("change", "where", "message"),
    [
        ({"times": [0.3, 0.1]}, "times", "spike 1 .* comes before spike 0"),
        ({"times": [0.1, np.nan]}, "times", "spike 1 is at nan"),
        ({"times": [-0.1, 0.1]}, "times", "spike 0 is at -0.1 s, before 0"),
        ({"times": [0.1, 1.0]}, "times", "the stretch ends at 1 s"),
        ({"times": [0.1]}, "neurons", "1 times and 2 neurons"),
        ({"times": ["a", "b"]}, "times", "<U1"),
        ({"times": [[0.1, 0.2]]}, "times", r"shape \(1, 2\)"),
        ({"neurons": [0, 2]}, "neurons", "spike 1 is of neuron 2, and there are 2"),
        ({"neurons": [-1, 0]}, "neurons", "neuron -1"),
        ({"neurons": [0.5, 1]}, "neurons", "number 0 is 0.5"),
        ({"n_neurons": 0}, "n_neurons", "is 0"),
        ({"n_neurons": "2"}, "n_neurons", "is '2'"),
        ({"duration": np.inf}, "duration", "is inf"),
        ({"duration": 0}, "duration", "is 0"),
        ({"labels": ("a",)}, "labels", "1 labels for 2 neurons"),
    ],
)
def test_impossible_spikes_are_refused_by_name(change, where, message):
    good = {"times": [0.1, 0.2], "neurons": [0, 1], "n_neurons": 2, "duration": 1.0}
    with pytest.raises(InputError, match=message) as caught:
        SpikeTrains(**good | change)
    assert caught.value.where == f"SpikeTrains: {where}"
    assert caught.value.remedy


def test_a_step_must_be_positive():
    with pytest.raises(InputError, match="dt_s"):
        small().steps(0.0)


def test_datasets_of_another_kind_are_refused():
    with pytest.raises(InputError, match="has no neuron, n_neurons, duration_s"):
        SpikeTrains.from_dataset(xr.Dataset({"time": ("spike", [0.1])}))
