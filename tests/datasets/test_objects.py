"""Spikes of other packages and labelled arrays become the same recording as plain arrays."""

import subprocess
import sys
import warnings

import neo
import numpy as np
import pynapple as nap
import pytest
import quantities as pq
import xarray as xr

from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import lazy_variable
from neuromodels.datasets.objects import units_of
from neuromodels.datasets.spikes import recording_from_spikes

RATE = 30.0
SECONDS = 30.0


@pytest.fixture
def trains():
    rng = np.random.default_rng(0)
    return [np.sort(rng.uniform(0.0, SECONDS, n)) for n in (200, 120, 60)]


@pytest.fixture
def movie():
    return np.random.default_rng(1).integers(0, 255, (900, 3, 4)).astype(np.uint8)


@pytest.fixture
def plain(trains, movie):
    return recording_from_spikes(trains, movie, frame_rate=RATE, start=0.0, test="none")


def tsgroup(trains):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = {i: nap.Ts(train) for i, train in zip((3, 7, 20), trains, strict=True)}
        return nap.TsGroup(times, metadata={"depth": np.array([1.5, 2.5, 3.5])})


def spiketrains(trains, units="ms"):
    scale = {"ms": 1000, "s": 1}[units]
    return [
        neo.SpikeTrain(
            train * scale,
            units=units,
            t_start=0 * pq.s,
            t_stop=SECONDS * pq.s,
            name=f"unit{i}",
            quality="good",
            unit_id=10 + i,
        )
        for i, train in enumerate(trains)
    ]


class Sorting:
    """The methods of a SpikeInterface sorting that are needed."""

    def __init__(self, trains, segments=1, times=True):
        self.samples = [np.round(train * 20_000).astype(np.int64) for train in trains]
        self.unit_ids = np.array(["a", "b", "c"])
        self.segments, self.times = segments, times

    def get_unit_ids(self):
        return self.unit_ids

    def get_num_segments(self):
        return self.segments

    def get_sampling_frequency(self):
        return 20_000.0

    def get_property_keys(self):
        return ["quality", "location"]

    def get_property(self, name):
        return np.array(["good"] * 3) if name == "quality" else np.zeros((3, 2))

    def get_unit_spike_train(self, unit_id, **options):
        if options and not self.times:
            raise TypeError("unexpected keyword argument 'return_times'")
        samples = self.samples[self.unit_ids.tolist().index(unit_id)]
        return samples / 20_000.0 if options.get("return_times") else samples


def same_spikes(units, trains, tolerance=0.0):
    for found, train in zip(units.spike_times, trains, strict=True):
        np.testing.assert_allclose(found, train, rtol=0, atol=tolerance)


def test_pynapple_groups_keep_index_and_metadata(trains):
    units = units_of(tsgroup(trains))
    assert units.ids == ["3", "7", "20"]
    same_spikes(units, trains, 1e-9)  # pynapple rounds to ns
    assert units.metadata["depth"].tolist() == [1.5, 2.5, 3.5]
    single = units_of(nap.Ts(trains[0]))
    same_spikes(single, trains[:1], 1e-9)
    same_spikes(units_of([nap.Ts(train) for train in trains]), trains, 1e-9)
    by_name = units_of({"on": nap.Ts(trains[0]), "off": nap.Ts(trains[1])})
    assert by_name.ids == ["on", "off"]
    same_spikes(by_name, trains[:2], 1e-9)


def test_a_pynapple_group_of_an_epoch_was_observed_there(trains):
    epoch = nap.IntervalSet(5.0, 12.0)
    units = units_of(tsgroup(trains).restrict(epoch))
    np.testing.assert_allclose(units.observed[0], [[5.0, 12.0]])
    assert units_of(tsgroup(trains)).observed is None


@pytest.mark.parametrize("units", ["ms", "s"])
def test_neo_trains_are_rescaled_to_seconds(trains, units):
    found = units_of(spiketrains(trains, units))
    assert found.ids == ["10", "11", "12"]
    same_spikes(found, trains, 1e-9)
    assert found.metadata["quality"].tolist() == ["good"] * 3


def test_neo_start_says_when_recording_began_and_shifts_nothing():
    train = neo.SpikeTrain([6.0, 7.5] * pq.s, t_start=5000 * pq.ms, t_stop=9 * pq.s)
    units = units_of([train, train])
    same_spikes(units, [[6.0, 7.5]] * 2)
    np.testing.assert_array_equal(units.observed[1], [[5.0, 9.0]])
    assert units.ids == ["0", "1"]  # no ids, no names


def test_a_neo_segment_is_its_trains(trains):
    segment = neo.Segment()
    for train in spiketrains(trains):
        train.annotations.clear()
        segment.spiketrains.append(train)
    for given in (segment, segment.spiketrains, list(segment.spiketrains)):
        found = units_of(given)
        assert found.ids == ["unit0", "unit1", "unit2"]
        same_spikes(found, trains, 1e-9)
    block = neo.Block()
    block.segments = [segment]
    assert units_of(block).ids == ["unit0", "unit1", "unit2"]
    block.segments = [segment, segment]
    with pytest.raises(InputError, match="2 segments"):
        units_of(block)


@pytest.mark.parametrize("times", [True, False])
def test_a_sorting_is_read_by_its_methods(trains, times):
    units = units_of(Sorting(trains, times=times))
    assert units.ids == ["a", "b", "c"]
    same_spikes(units, trains, 0.5 / 20_000)
    assert units.metadata["quality"].tolist() == ["good"] * 3
    assert "location" not in units.metadata
    with pytest.raises(InputError, match="2 segments") as error:
        units_of(Sorting(trains, segments=2))
    assert "select_segment_sorting" in error.value.remedy


def test_all_objects_give_the_same_recording(trains, movie, plain):
    objects = (
        tsgroup(trains),
        spiketrains(trains),
        spiketrains(trains, "s"),
        dict(zip("abc", trains, strict=True)),
        np.array([*trains, None], dtype=object)[:3],
    )
    for spikes in objects:
        recording = recording_from_spikes(
            spikes, movie, frame_rate=RATE, start=0.0, test="none", attrs={"species": "mouse"}
        )
        counts = recording.train["response"].values
        assert abs(counts.astype(int) - plain.train["response"].values).sum() <= 2  # ns rounding
        assert recording.neurons.tolist() == units_of(spikes).ids
        assert recording.attrs["species"] == "mouse"
        assert recording.validate().errors == ()


def test_a_clip_that_trials_repeat_is_the_test(trains):
    rng = np.random.default_rng(5)
    clip = rng.integers(0, 255, (90, 3, 4)).astype(np.uint8)
    parts = [
        rng.integers(0, 255, (90, 3, 4)).astype(np.uint8) if i % 2 else clip for i in range(10)
    ]
    trials = np.array([(3.0 * i, 3.0 * (i + 1)) for i in range(10)])
    recording = recording_from_spikes(
        trains, np.concatenate(parts), frame_times=np.arange(900) / RATE, trials=trials
    )
    assert recording.test["response"].sizes["trial"] == 5
    expected = [np.histogram(t, np.arange(0, 3.0005, 0.001))[0].sum() for t in trains]
    assert recording.test["response"][0].sum("time").values.tolist() == expected


def test_spikes_out_of_order_are_sorted_and_negative_ones_said():
    units = units_of([[3.0, 1.0, -0.5]])
    assert units.spike_times[0].tolist() == [-0.5, 1.0, 3.0]
    assert "sorted: 0" in units.notes[0]
    assert "negative spike times: 0 (1, first -0.5 s)" in units.notes[1]


@pytest.mark.parametrize(
    ("spikes", "match"),
    [
        ([0.1, 0.2], "entry 0 is 0.1"),
        ([], "holds no neuron"),
        (np.zeros(()), "numpy.ndarray, which holds no spike trains"),
        ("spikes", "str, which holds no spike trains"),
        (3, "int, which holds no spike trains"),
        (None, "NoneType, which holds no spike trains"),
        ([[0.1, np.nan]], "unit 0: holds 1 times that are NaN or infinite, the first is number 1"),
        ([[0.1], ["late"]], "unit 1: holds <U4 values"),
        ([[True, False]], "holds bool values"),
        ([[[0.1, 0.2], [0.3, 0.4]]], r"has shape \(2, 2\)"),
        ({"a": [[1.0], [1.0, 2.0]]}, "unit a: cannot be read as numbers"),
        ({1: [0.1], "1": [0.2]}, "ids 1 occur more than once"),
        ([np.array([{}], dtype=object)], "holds object values"),
    ],
)
def test_what_holds_no_spike_times_is_refused(spikes, match, movie):
    with pytest.raises(InputError, match=match) as error:
        recording_from_spikes(spikes, movie, frame_rate=RATE)
    assert error.value.where.startswith("recording_from_spikes: spikes")


def test_no_package_is_imported_that_the_caller_did_not_import():
    code = (
        "import sys, numpy as np\n"
        "from neuromodels.datasets.spikes import recording_from_spikes\n"
        "recording_from_spikes([np.arange(1, 9.0)], np.eye(3)[np.arange(300) % 3], frame_rate=30)\n"
        "print([name for name in ('neo', 'pynapple', 'spikeinterface') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# recording_from_arrays


def test_ids_of_objects_name_the_neurons_of_arrays_too(trains, movie):
    clip, onsets = movie[:60], np.arange(60) / RATE
    trials = [[t[t < 2] for t in trains] for _ in range(4)]
    by_id = [dict(zip("cab", trial, strict=True)) for trial in trials]
    recording = recording_from_arrays(
        movie,
        spike_times=dict(zip("cab", trains, strict=True)),
        frame_rate=RATE,
        test_stimulus=clip,
        test_spike_times=[dict(sorted(trial.items())) for trial in by_id],
    )
    assert recording.neurons.tolist() == ["c", "a", "b"]
    by_place = recording_from_arrays(
        movie,
        spike_times=trains,
        frame_times=np.arange(900) / RATE,
        test_stimulus=clip,
        test_spike_times=trials,
        test_frame_times=onsets,
        neurons=["c", "a", "b"],
    )
    for role in ("train", "test"):
        found, expected = (getattr(r, role)["response"].values for r in (recording, by_place))
        np.testing.assert_array_equal(found, expected)
    group = recording_from_arrays(movie, spike_times=tsgroup(trains), frame_rate=RATE)
    assert group.neurons.tolist() == ["3", "7", "20"]
    assert group.tree["depth"].values.tolist() == [1.5, 2.5, 3.5]


def test_neurons_that_differ_between_roles_or_trials_are_named(trains, movie):
    given = {"stimulus": movie, "frame_rate": RATE, "test_stimulus": movie[:60]}
    named = dict(zip("abc", trains, strict=True))
    with pytest.raises(InputError, match="train and test: differ in their neurons: c, d"):
        recording_from_arrays(
            **given,
            spike_times=named,
            test_spike_times=[{"a": [0.1], "b": [], "d": [1.0]}] * 2,
        )
    with pytest.raises(InputError, match=r"test_spike_times\[1\]: holds 2 neurons"):
        recording_from_arrays(**given, spike_times=trains, test_spike_times=[trains, trains[:2]])


@pytest.fixture
def labelled(movie):
    rng = np.random.default_rng(2)
    onsets = 10.0 + np.arange(900) / RATE
    stimulus = xr.DataArray(
        movie,
        dims=("frame", "y", "x"),
        coords={
            "frame_time": ("frame", onsets, {"units": "s"}),
            "y": ("y", [1.0, 2.0, 3.0], {"units": "degrees"}),
            "x": ("x", np.arange(4) * 0.5, {"units": "degrees"}),
        },
        attrs={"units": "cd/m2"},
    )
    counts = xr.DataArray(
        rng.poisson(0.3, (3000, 3)),
        dims=("time", "neuron"),
        coords={"time": 10.0 + np.arange(3000) / 100, "neuron": ["u5", "u2", "u9"]},
    )
    test = xr.DataArray(
        rng.poisson(0.3, (4, 200, 3)),
        dims=("trial", "time", "neuron"),
        coords={"neuron": ["u2", "u5", "u9"]},
    )
    return stimulus, counts, test


def test_labelled_arrays_go_by_names_in_any_order(labelled, movie):
    stimulus, counts, test = labelled
    clip = 255 - stimulus.isel(frame=slice(60))
    recording = recording_from_arrays(
        stimulus.transpose("x", "frame", "y"),
        counts.T,
        test_stimulus=clip.assign_coords(frame_time=("frame", np.arange(60) / RATE)),
        test_counts=test.transpose("neuron", "time", "trial"),
    )
    assert recording.neurons.tolist() == ["u5", "u2", "u9"]
    assert recording.bin_width == 0.01
    np.testing.assert_array_equal(recording.train["stimulus"].values, movie)
    np.testing.assert_array_equal(recording.train["response"].values, counts.values)
    in_order = test.sel(neuron=["u5", "u2", "u9"]).values
    np.testing.assert_array_equal(recording.test["response"].values, in_order)
    np.testing.assert_array_equal(recording.train["time"].values, counts["time"].values)
    shown = np.floor((np.arange(3000) + 0.5) * 0.3).astype(int)
    np.testing.assert_array_equal(recording.train["frame_of_bin"].values, shown)
    assert recording.train["y"].values.tolist() == [1.0, 2.0, 3.0]
    assert recording.train["x"].attrs["units"] == "degrees"
    assert recording.train["stimulus"].attrs["units"] == "cd/m2"
    assert recording.validate().errors == ()


def test_a_recording_taken_apart_goes_together_again(labelled):
    stimulus, counts, _ = labelled
    first = recording_from_arrays(stimulus, counts, kind="rate")
    again = recording_from_arrays(first.train["stimulus"], first.train["response"])
    for name in ("stimulus", "response", "frame_of_bin", "block", "time", "frame_time", "y", "x"):
        xr.testing.assert_identical(again.train[name], first.train[name])
    assert again.bin_width == first.bin_width


def test_time_that_jumps_makes_blocks_and_ms_are_scaled(labelled):
    stimulus, counts, _ = labelled
    kept = counts.isel(time=np.r_[0:1000, 1500:3000])
    in_ms = kept.assign_coords(time=("time", kept["time"].values * 1000, {"units": "ms"}))
    recording = recording_from_arrays(stimulus, in_ms)
    assert np.unique(recording.train["block"].values, return_counts=True)[1].tolist() == [
        1000,
        1500,
    ]
    assert recording.bin_width == 0.01


def test_full_field_and_bars_need_no_empty_axes(labelled):
    stimulus, counts, _ = labelled
    bars = recording_from_arrays(stimulus.isel(y=0, drop=True), counts)
    assert bars.train["stimulus"].shape == (900, 1, 4)
    field = recording_from_arrays(stimulus.isel(y=0, x=0, drop=True), counts)
    assert field.train["stimulus"].shape == (900, 1, 1)
    by_time = stimulus.rename(frame="time").drop_vars("frame_time")
    by_time = by_time.assign_coords(time=stimulus["frame_time"].values)
    again = recording_from_arrays(by_time, counts)
    np.testing.assert_array_equal(again.train["frame_time"].values, stimulus["frame_time"].values)


def test_unknown_labels_are_refused(labelled):
    stimulus, counts, test = labelled
    cases = [
        ((stimulus.rename(y="row"), counts), {}, "stimulus: has dimensions"),
        ((stimulus, counts.rename(neuron="cell")), {}, "unknown: cell"),
        ((stimulus, counts.isel(neuron=0)), {}, "missing: neuron"),
        ((stimulus, counts), {"bin_width": 0.02}, "has bins of 0.01 s, but bin_width is 0.02"),
        ((stimulus, counts.assign_coords(neuron=["a", "a", "b"])), {}, "neuron 'a' twice"),
        ((stimulus, counts.isel(time=slice(None, None, -1))), {}, "not ascend at bin 1"),
        ((stimulus, counts.assign_coords(time=counts["time"] + 100)), {}, "lie between 110 and"),
        (
            (stimulus, counts),
            {"test_stimulus": stimulus[:60], "test_counts": test.rename(trial="repeat")},
            "unknown: repeat",
        ),
    ]
    for arguments, options, match in cases:
        with pytest.raises(InputError, match=match):
            recording_from_arrays(*arguments, **options)


def test_onsets_of_a_labelled_movie_serve_spikes(labelled, trains):
    stimulus, _, _ = labelled
    spikes = [train + 10.0 for train in trains]
    recording = recording_from_spikes(spikes, stimulus, test="none")
    assert recording.train["time"].values[0] == 10.0
    assert recording.train["response"].sum("time").values.tolist() == [200, 120, 60]


def test_a_large_labelled_movie_stays_on_disk(labelled, movie, monkeypatch):
    stimulus, counts, _ = labelled
    monkeypatch.setattr("neuromodels.datasets.labelled.KEEP_BELOW_BYTES", 0)
    slices = []

    class OnDisk:
        shape, dtype = movie.shape, movie.dtype

        def __getitem__(self, key):
            slices.append(key)
            return movie[key]

    lazy = stimulus.copy(data=lazy_variable(stimulus.dims, OnDisk())._data)
    recording = recording_from_arrays(lazy, counts, attrs={"identity": "given"})
    shown = recording.blocks("train")[0].movie()
    np.testing.assert_array_equal(shown[:, 0], movie[recording.train["frame_of_bin"].values])
    assert slices


def test_several_test_movies_and_heldout_data_keep_one_order_of_neurons(trains, movie):
    spikes = dict(zip("abc", trains, strict=True))
    backwards = dict(reversed(spikes.items()))
    recording = recording_from_arrays(
        movie,
        spike_times=spikes,
        frame_rate=RATE,
        heldout_stimulus=255 - movie,
        heldout_spike_times=backwards,
        test_stimulus=[255 - movie[:60], 255 - movie[90:150]],
        test_spike_times=[[spikes] * 2, [backwards] * 2],
    )
    assert recording.neurons.tolist() == ["a", "b", "c"]
    totals = recording.train["response"].sum("time").values
    assert totals.tolist() == [200, 120, 60]
    heldout = recording.tree["stimulus/heldout"]
    assert heldout["response"].sum("time").values.tolist() == [200, 120, 60]
    early = [np.count_nonzero(train < 2) for train in trains]
    assert recording.test["response"][0].sum("time").values.tolist() == [2 * n for n in early]
    outside = recording.test.attrs["spikes_outside"]
    assert np.asarray(outside).tolist() == [
        4 * (t.size - n) for t, n in zip(trains, early, strict=True)
    ]
