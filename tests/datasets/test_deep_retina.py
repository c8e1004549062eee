"""The deep-retina HDF5 layout, built by h5py alone."""

import io
from fractions import Fraction

import h5py
import numpy as np
import pytest

from neuromodels.datasets.errors import RecordingError
from neuromodels.datasets.opening import open_recording

N_CELLS, N_TRAIN, N_TEST, N_REPEATS = 3, 1200, 200, 5


def truth(seed=0, n_repeats=N_REPEATS):
    rng = np.random.default_rng(seed)
    return {
        "movie": rng.integers(0, 255, (N_TRAIN, 5, 6)).astype(np.uint8),
        "clip": rng.integers(0, 255, (N_TEST, 5, 6)).astype(np.uint8),
        "counts": rng.poisson(0.2, (N_CELLS, N_TRAIN)),
        "repeats": rng.poisson(0.2, (n_repeats, N_CELLS, N_TEST)),
        "rates": rng.random((N_CELLS, N_TRAIN)) * 20,
        "rate_repeats": rng.random((n_repeats, N_CELLS, N_TEST)) * 20,
    }


def write(path, data, repeats="kind", binned=True, time=True, transposed=False, gap=0.0):
    with h5py.File(path, "w") as file:
        for half, movie in (("train", data["movie"]), ("test", data["clip"])):
            group = file.create_group(half)
            group["stimulus"] = movie
            if time:
                clock = 3.0 + np.arange(len(movie)) * 0.01
                clock[600:] += gap
                group["time"] = clock
        test_rates = data["rate_repeats"].mean(axis=0)
        test_counts = data["repeats"].mean(axis=0)
        turn = (lambda a: a.T) if transposed else (lambda a: a)
        if binned:
            file["train/response/binned"] = turn(data["counts"].astype("u1"))
            file["test/response/binned"] = turn(test_counts)
        file["train/response/firing_rate_10ms"] = turn(data["rates"])
        file["test/response/firing_rate_10ms"] = turn(test_rates)
        group = file.create_group("test/repeats")
        if repeats == "kind":
            group["firing_rate_10ms"] = data["rate_repeats"]
            if binned:
                group["binned"] = data["repeats"]
        elif repeats == "kind, cells first":
            group["firing_rate_10ms"] = data["rate_repeats"].transpose(1, 0, 2)
            group["binned"] = data["repeats"].transpose(1, 0, 2)
        elif repeats == "cells":
            for i in range(N_CELLS):
                group[f"cell{i + 8:02d}"] = data["repeats"][:, i]
    return path


@pytest.mark.parametrize("repeats", ["kind", "kind, cells first", "cells"])
@pytest.mark.parametrize("transposed", [False, True])
def test_counts_and_repeats_of_both_layouts(tmp_path, repeats, transposed):
    data = truth()
    path = write(tmp_path / "naturalscene.h5", data, repeats, transposed=transposed)
    recording = open_recording(path)
    assert recording.stimuli == ("naturalscene",)
    assert recording.exact_bin_width == Fraction(1, 100)
    train, test = recording.train, recording.test
    assert train.response.attrs["kind"] == "count"
    assert train.response.dtype == np.uint8
    assert np.array_equal(train.response.values, data["counts"].T)
    assert np.array_equal(train.stimulus.values, data["movie"])
    assert np.array_equal(test.response.values, data["repeats"].transpose(0, 2, 1))
    assert np.array_equal(test.stimulus.values, data["clip"])
    assert not recording.validate().errors
    if repeats == "cells":
        assert list(recording.neurons) == ["cell08", "cell09", "cell10"]


@pytest.mark.parametrize("repeats", ["kind", "kind, cells first"])
def test_as_many_cells_as_repeats_are_told_apart_by_the_average(tmp_path, repeats):
    data = truth(n_repeats=N_CELLS)
    test = open_recording(write(tmp_path / "a.h5", data, repeats)).test
    assert np.array_equal(test.response.values, data["repeats"].transpose(0, 2, 1))


def test_without_counts_rates_are_read_and_a_note_says_so(tmp_path):
    data = truth()
    recording = open_recording(write(tmp_path / "a.h5", data, binned=False))
    assert recording.train.response.attrs["kind"] == "rate"
    assert recording.train.response.attrs["units"] == "Hz"
    assert np.allclose(recording.train.response.values, data["rates"].T, rtol=1e-6)
    assert any("smoothed rates" in note for note in recording.attrs["notes"])
    chosen = open_recording(write(tmp_path / "b.h5", data), response="firing_rate_10ms")
    assert chosen.train.response.attrs["kind"] == "rate"
    with pytest.raises(RecordingError, match="no 'firing_rate_7ms'"):
        open_recording(tmp_path / "b.h5", response="firing_rate_7ms")


def test_an_average_is_never_taken_for_counts(tmp_path):
    data = truth()
    recording = open_recording(write(tmp_path / "a.h5", data, repeats="none"))
    assert recording.attrs["response"] == "firing_rate_10ms"
    assert recording.test.response.shape == (1, N_TEST, N_CELLS)
    assert any("no noise ceiling" in note for note in recording.attrs["notes"])
    with pytest.raises(RecordingError, match="averages over repeats"):
        open_recording(tmp_path / "a.h5", response="binned")


def test_adaptation_is_skipped_in_each_block(tmp_path):
    data = truth()
    path = write(tmp_path / "a.h5", data)
    train = open_recording(path, blocks=4, skip=1.0).train
    kept = np.concatenate([np.arange(b * 300 + 100, (b + 1) * 300) for b in range(4)])
    assert np.array_equal(train.response.values, data["counts"].T[kept])
    assert np.array_equal(train.stimulus.values[train.frame_of_bin.values], data["movie"][kept])
    assert np.allclose(train.time.values, 3.0 + kept * 0.01)
    assert np.unique(train.block).tolist() == [0, 1, 2, 3]
    assert not open_recording(path, blocks=4, skip=1.0).validate().errors
    with pytest.raises(RecordingError, match="leaves nothing"):
        open_recording(path, blocks=6, skip=60)


def test_a_jump_of_the_clock_begins_a_block(tmp_path):
    train = open_recording(write(tmp_path / "a.h5", truth(), gap=5.0)).train
    assert np.array_equal(train.block.values, np.repeat([0, 1], 600))


def test_a_file_object_is_read_like_a_path(tmp_path):
    data = truth()
    path = write(tmp_path / "a.h5", data)
    recording = open_recording(io.BytesIO(path.read_bytes()))
    assert np.array_equal(recording.train.stimulus.values, data["movie"])


def test_without_time_the_width_is_asked_for(tmp_path):
    path = write(tmp_path / "a.h5", truth(), time=False)
    with pytest.raises(RecordingError, match="bin_width=0.01"):
        open_recording(path)
    assert open_recording(path, bin_width=0.01).bin_width == 0.01


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"train/stimulus": np.zeros((1100, 5, 6))}, "the stimulus 1100 frames"),
        ({"train/response/binned": np.zeros((4, N_TRAIN))}, "has 3 neurons, /a/train has 4"),
        ({"train/time": np.zeros(N_TRAIN)}, "does not ascend"),
        ({"train/time": np.arange(7.0)}, "7 entries"),
        ({"test/repeats/binned": np.zeros((2, 2, 2))}, "has shape"),
        ({"train/response/binned": np.full((3, N_TRAIN), b"a")}, "no numbers"),
        ({"train/stimulus": None}, "unknown layout"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, what):
    path = write(tmp_path / "a.h5", truth())
    with h5py.File(path, "r+") as file:
        for name, values in change.items():
            del file[name]
            if values is not None:
                file[name] = values
    with pytest.raises(RecordingError, match=what):
        open_recording(path)


def test_a_link_out_of_the_file_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", truth())
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["stimulus"] = np.zeros((N_TRAIN, 5, 6))
    with h5py.File(path, "r+") as file:
        del file["train/stimulus"]
        file["train/stimulus"] = h5py.ExternalLink(str(tmp_path / "b.h5"), "/stimulus")
    with pytest.raises(RecordingError, match="link"):
        open_recording(path)
