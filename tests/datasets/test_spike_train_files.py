"""Spike trains come out of text, NWB and our own HDF5 the same, whatever the file is called."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from nwb_files import write_nwb

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.rasters import write_ras
from neuromodels.datasets.sample.superspike import superspike_task
from neuromodels.datasets.spike_train_files import read_spike_trains, write_spike_trains
from neuromodels.datasets.spike_trains import SpikeTrains, sorted_trains, trains_of_lists
from neuromodels.datasets.storage import write_tree


@pytest.fixture(scope="module")
def trains():
    return trains_of_lists([[0.1, 0.7, 2.5], [], [0.4]], 3.0)


@pytest.fixture(scope="module")
def nwb(tmp_path_factory):
    times = [np.array([0.1, 0.7, 2.5]), np.array([]), np.array([0.4])]
    return write_nwb(tmp_path_factory.mktemp("nwb") / "units.nwb", spike_times=times)


def test_units_of_an_nwb_file_become_neurons_with_their_ids(nwb, trains):
    found = read_spike_trains(nwb, stop=3.0)
    assert found.labels == ("10", "11", "12")
    assert np.array_equal(found.times, trains.times)
    assert np.array_equal(found.neurons, trains.neurons)
    assert read_spike_trains(nwb).duration == 2.501


def test_units_and_a_stretch_of_an_nwb_file_can_be_chosen(nwb):
    found = read_spike_trains(nwb, units=[12, "10"], start=0.3, stop=1.0)
    assert found.labels == ("12", "10")
    assert found.neurons.tolist() == [0, 1]
    np.testing.assert_allclose(found.times, [0.1, 0.4], atol=1e-15)
    assert found.duration == pytest.approx(0.7)


def test_spikes_before_the_session_are_never_dropped_unasked(tmp_path):
    path = write_nwb(tmp_path / "early.nwb", spike_times=[np.array([-0.5, 0.2])])
    with pytest.raises(InputError, match="before 0 s"):
        read_spike_trains(path)
    assert read_spike_trains(path, start=-1).times.tolist() == [0.5, 1.2]
    assert read_spike_trains(path, start=0).times.tolist() == [0.2]


def test_a_published_nwb_file_gives_its_units():
    folder = os.environ.get("NEUROMODELS_DATA")
    if not folder:
        pytest.skip("set NEUROMODELS_DATA to a folder that holds nwb-samples")
    path = Path(folder) / "nwb-samples" / "pynapple_A8604-211122.nwb"
    found = read_spike_trains(path)
    assert (found.n_neurons, len(found)) == (3, 21_354)
    import h5py

    with h5py.File(path) as file:
        assert np.array_equal(found.times, np.sort(file["units/spike_times"][:]))


@given(
    spikes=st.lists(st.tuples(st.floats(0, 9.99), st.integers(0, 4)), max_size=20),
)
@settings(max_examples=8)
def test_hdf5_gives_back_what_was_written(tmp_path_factory, spikes):
    trains = sorted_trains([t for t, _ in spikes], [n for _, n in spikes], 5, 10.0)
    path = write_spike_trains(trains, tmp_path_factory.mktemp("h5") / "a.h5")
    assert read_spike_trains(path) == trains


def test_labels_survive_hdf5(tmp_path):
    trains = SpikeTrains([0.1], [1], 2, 1.0, labels=("6", "191"))
    assert read_spike_trains(write_spike_trains(trains, tmp_path / "a.h5")) == trains


def test_one_of_several_groups_of_spikes_is_named(trains, tmp_path):
    tree = xr.DataTree.from_dict(
        {"/input/spikes": trains.to_dataset(), "/output/spikes": trains.select([0]).to_dataset()}
    )
    path = write_tree(tree, tmp_path / "run.h5")
    assert read_spike_trains(path, group="output/spikes") == trains.select([0])
    with pytest.raises(InputError, match="2 groups of spikes\n.*'input/spikes', 'output/spikes'"):
        read_spike_trains(path)
    with pytest.raises(InputError, match="no spikes in 'hidden'"):
        read_spike_trains(path, group="hidden")


def test_content_counts_and_not_the_name(trains, nwb, tmp_path):
    text = write_ras(trains, tmp_path / "text.nwb")
    ours = write_spike_trains(trains, tmp_path / "ours.ras")
    other = tmp_path / "session.ras"
    other.write_bytes(nwb.read_bytes())
    assert read_spike_trains(text, n_neurons=3, duration=3.0) == trains
    assert read_spike_trains(ours) == trains
    assert len(read_spike_trains(other)) == len(trains)


def test_a_stretch_of_a_raster_begins_at_zero(tmp_path):
    task = superspike_task("oxford")
    path = write_ras(task.target, tmp_path / "a.ras", first_id=1)
    part = read_spike_trains(path, n_neurons=200, first_id=1, duration=1.89, start=0.5, stop=1.0)
    assert part == task.target.between(0.5, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "n_neurons: must be given"),
        ({"n_neurons": 3, "units": [1]}, "units: does not go with a .ras file"),
        ({"n_neurons": 3, "group": "a"}, "group: does not go with a .ras file"),
        ({"n_neurons": 3, "start": 2.0, "stop": 1.0}, "not within"),
    ],
)
def test_options_that_do_not_go_with_a_raster_are_refused(options, message, trains, tmp_path):
    with pytest.raises(InputError, match=message):
        read_spike_trains(write_ras(trains, tmp_path / "a.ras"), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_neurons": 3}, "n_neurons: does not go with an NWB file"),
        ({"units": [77]}, "no unit 77\n.*10, 11, 12"),
        ({"units": [10, 10]}, "one twice"),
        ({"units": [11]}, "have no spikes"),
        ({"start": 0.8, "stop": 2.0}, "no spike from 0.8 to 2 s"),
        ({"start": 3.0}, "is empty"),
    ],
)
def test_options_that_do_not_go_with_an_nwb_file_are_refused(options, message, nwb):
    with pytest.raises(InputError, match=message):
        read_spike_trains(nwb, **options)


def test_files_without_spike_times_are_refused(tmp_path, trains):
    with pytest.raises(InputError, match="is a folder"):
        read_spike_trains(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_spike_trains(tmp_path / "none.ras")
    for path in (5, "https://example.org/a.ras"):
        with pytest.raises(InputError, match="no path of a file"):
            read_spike_trains(path)
    empty = write_tree(xr.DataTree(), tmp_path / "empty.h5")
    with pytest.raises(InputError, match="no groups of spikes"):
        read_spike_trains(empty)


def test_damaged_files_are_refused(tmp_path, trains):
    path = write_spike_trains(trains, tmp_path / "a.h5")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError):
        read_spike_trains(path)


def test_a_single_changed_spike_time_is_noticed(tmp_path):
    times = np.sort(np.random.default_rng(0).uniform(0, 1, 50))
    trains = SpikeTrains(times, np.zeros(50, int), 1, 1.0)
    path = write_spike_trains(trains, tmp_path / "a.h5")
    data = path.read_bytes()
    assert data.count(times.tobytes()) == 1
    changed = times.copy()
    changed[7] = (times[6] + times[7]) / 2
    path.write_bytes(data.replace(times.tobytes(), changed.tobytes()))
    with pytest.raises(InputError, match="/time: is damaged"):
        read_spike_trains(path)
