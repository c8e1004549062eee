"""The bundled recording is the authors' data, bin for bin, with its licence."""

import os
import pickle
import time
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import h5py
import numpy as np
import pytest

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.sample import sample_recording
from neuromodels.datasets.sample.convert_moving_bars import convert, native_frames
from neuromodels.datasets.splits import partition
from neuromodels.datasets.storage import verify

FOLDER = files("neuromodels.datasets.sample")


@pytest.fixture(scope="module")
def recording():
    return sample_recording()


@pytest.fixture(scope="module")
def source():
    folder = os.environ.get("NEUROMODELS_DATA")
    if not folder or not (Path(folder) / "rgc-moving-bars").is_dir():
        pytest.skip("set NEUROMODELS_DATA to a folder that holds rgc-moving-bars/*.mat")
    return Path(folder) / "rgc-moving-bars"


def mat(source, name):
    from scipy.io import loadmat

    return loadmat(source / f"{name}_data_bars.mat")


def test_it_is_six_cells_with_four_roles(recording):
    assert recording.stimuli == ("moving_bars",)
    assert recording.roles() == ("train", "heldout", "test", "repeats")
    assert recording.neurons.size == 6
    assert recording.exact_bin_width == Fraction(1, 600)
    assert recording.train.sizes["frame"] == 45 * 2160
    assert recording.test.response.shape == (54, 4000, 6)
    assert recording.repeats.response.shape == (54, 2000, 6)
    assert recording.train.stimulus.shape[1:] == (31, 1)
    assert recording.train.response.dtype == np.uint8


def test_held_out_blocks_are_spread_over_the_session(recording):
    heldout = [block.label for block in recording.blocks("heldout")]
    assert heldout == [4, 14, 24, 34, 44]
    train = [block.label for block in recording.blocks("train")]
    assert sorted(train + heldout) == list(range(50))
    assert len(partition(recording.at(0.01)).validation) == 5


def test_it_is_small_intact_and_carries_its_licence():
    with (FOLDER / "moving_bars.h5").open("rb") as file:
        assert len(file.read()) < 3e6
    assert verify(FOLDER / "moving_bars.h5") > 20
    assert "Gabriel Mahuas" in (FOLDER / "LICENSE").read_text()


def test_it_has_no_errors_and_notes_the_drift(recording):
    report = recording.validate()
    assert report.errors == ()
    assert any("drift" in note.what for note in report.notes)


def test_every_axis_has_labels_with_units_in_plain_hdf5():
    with h5py.File(FOLDER / "moving_bars.h5") as file:
        for role in ("train", "heldout", "test", "repeats"):
            node = file["moving_bars"][role]
            for name in ("stimulus", "response", "frame_of_bin"):
                assert node[name].attrs["units"], name
                for axis in node[name].dims:
                    scale = axis[0]
                    assert scale.attrs.get("units") or scale.attrs["description"]
            assert node["time"].attrs["units"] == "s"
            assert node["time"].attrs["bin_width_denominator"] == 600


def test_blocks_at_10_ms_take_under_half_a_second():
    recording = sample_recording()
    start = time.process_time()
    blocks = recording.at(0.010).blocks("train")
    taken = time.process_time() - start
    assert len(blocks) == 45
    assert all(block.n_bins == 3600 for block in blocks)
    assert taken < 0.5


def test_counts_and_frames_are_those_of_the_source(recording, source):
    unique = mat(source, "nonrepeat")
    for role in ("train", "heldout"):
        for block in recording.blocks(role):
            assert np.array_equal(block.response, unique["spikes_train"][:, :, block.label].T)
            shown = block.movie()[:, 0, :, 0]
            assert np.array_equal(shown, unique["stimulus"][:, 0, :, block.label].T)
    test, repeats = mat(source, "test"), mat(source, "repeat")
    movie = test["stimulus_test"][:, 0].T
    for role, spikes, shown in (
        ("test", test["spikes_test"], movie[:4000]),
        ("repeats", repeats["spikes_train"], movie[4000:]),
    ):
        (block,) = recording.blocks(role)
        assert np.array_equal(block.response, spikes.transpose(2, 1, 0))
        assert np.array_equal(block.movie()[:, 0, :, 0], shown)


def test_the_script_makes_the_bundled_recording_again(recording, source):
    import xarray as xr

    again = convert(source)
    xr.testing.assert_identical(again.tree, recording.tree.copy().load())


def test_wide_bins_keep_every_spike_of_a_block(recording):
    wide, fine = recording.at(0.010).blocks("train"), recording.blocks("train")
    for a, b in zip(wide, fine, strict=True):
        assert np.array_equal(a.response.sum(axis=0), b.response.sum(axis=0))


def test_it_travels_to_worker_processes_unread(recording):
    travelled = pickle.loads(pickle.dumps(sample_recording()))
    np.testing.assert_array_equal(travelled.heldout.response, recording.heldout.response)


def test_errors_travel_to_and_from_worker_processes():
    error = InputError("is wrong", where="a.h5: /x", remedy="Mend it.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "a.h5: /x: is wrong\n  Mend it."


def test_a_movie_that_changes_within_a_frame_is_refused():
    movie = np.zeros((31, 40), dtype=np.uint8)
    movie[:, 15] = 1
    with pytest.raises(InputError, match="within a frame"):
        native_frames(movie, "block 0")
    with pytest.raises(InputError, match="no multiple of ten"):
        native_frames(movie[:, :35], "block 0")


def test_missing_source_files_are_named(tmp_path):
    with pytest.raises(InputError, match="nonrepeat_data_bars.mat"):
        convert(tmp_path)
