"""Labelled movies in files, in recordings and at the command line."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import xarray as xr
from command_line import CommandLine

import neuromodels as nm
from neuromodels.datasets.errors import InputError

SMALL = {"size": (3, 4), "pixel_size": 20.0}


@pytest.fixture
def run(capsys):
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Bars in a file, and the movie that was written."""
    movie = nm.stimuli.moving_bars(duration=30.0, direction=0.0, width=40.0, speed=50.0, **SMALL)
    return nm.stimuli.write_movie(movie, tmp_path_factory.mktemp("movies") / "bars.h5"), movie


def test_a_movie_comes_back_from_its_file_with_everything_that_it_said(written):
    path, movie = written
    again = nm.stimuli.load_movie(path)
    assert again.identical(movie) and again.dtype == movie.dtype
    with h5py.File(path) as file:  # any HDF5 program sees labels and units
        assert file["stimulus"].shape == (1800, 3, 4)
        assert file["stimulus"].attrs["units"] == "1" and file["y"].attrs["units"] == "µm"
        assert file["stimulus"].dims[1][0].name == "/y"


def test_a_movie_file_is_written_whole_or_not_at_all(written, tmp_path):
    path, movie = written
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        nm.stimuli.write_movie(movie, path)
    broken = movie.copy(data=movie.values).assign_attrs(units=object())
    with pytest.raises(InputError, match="cannot be stored"):
        nm.stimuli.write_movie(broken, tmp_path / "new.h5")
    with pytest.raises(InputError, match="is no labelled movie"):
        nm.stimuli.write_movie(movie.values, tmp_path / "new.h5")
    assert path.read_bytes() == before and not list(tmp_path.iterdir())


def test_what_is_no_movie_file_is_refused(tmp_path):
    from neuromodels.datasets.storage import write_tree

    other = write_tree(xr.DataTree(xr.Dataset({"a": 1.0})), tmp_path / "other.h5")
    with pytest.raises(InputError, match="holds another tree, not a movie"):
        nm.stimuli.load_movie(other)
    with pytest.raises(InputError, match="does not exist"):
        nm.stimuli.load_movie(tmp_path / "none.h5")


def test_a_recording_takes_times_places_and_history_from_a_labelled_movie():
    train = nm.stimuli.flash(duration=10.0, frame_rate=50.0, **SMALL)
    test = nm.stimuli.white_noise(duration=2.0, frame_rate=25.0, seed=3, **SMALL)
    rng = np.random.default_rng(0)
    recording = nm.recording_from_arrays(
        train,
        rng.poisson(1, (1000, 2)),
        bin_width=0.01,
        test_stimulus=test,
        test_counts=rng.poisson(1, (4, 200, 2)),
    )
    assert not recording.validate().problems
    assert recording.tree["stimulus"].attrs == {"background": 0.5, "generator": "flash"}
    np.testing.assert_array_equal(recording.train.frame_of_bin, np.arange(1000) // 2)
    np.testing.assert_array_equal(recording.test.frame_of_bin, np.arange(200) // 4)
    np.testing.assert_array_equal(recording.train.y, [-20, 0, 20])
    assert recording.train.y.attrs["units"] == "µm"
    shown = recording.train.stimulus.attrs
    assert shown["units"] == "1"
    np.testing.assert_allclose(shown["flash_times"], [0.5, 2.5, 4.5, 6.5, 8.5])
    assert recording.test.stimulus.attrs["seed"] == 3
    np.testing.assert_array_equal(recording.blocks("train")[0].movie()[::2, 0], train.values)


def test_the_command_writes_the_movie_of_the_call(run, tmp_path):
    out = tmp_path / "noise.h5"
    call = ("stimulus", "white-noise", "--minutes", "0.1", "--seed", "4", "--frame-rate", "50")
    shape = ("--set", "size=[3, 4]", "--set", "kind=gaussian")
    said = run(*call, *shape, "--out", out, "--json")
    assert said.code == 0 and json.loads(said.out)["n_frames"] == 300
    movie = nm.stimuli.white_noise(
        duration=6.0, frame_rate=50.0, size=(3, 4), kind="gaussian", seed=4
    )
    np.testing.assert_array_equal(nm.stimuli.load_movie(out), movie)
    assert "exists already" in run(*call, "--out", out).err
    again = run(*call, *shape, "--out", out, "--overwrite")
    assert again.code == 0 and "3 (y) x 4 (x) px of 50 µm" in again.out


def test_the_command_lists_the_generators(run):
    said = run("stimulus", "--list")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()] == list(nm.stimuli.GENERATORS)
    rows = json.loads(run("stimulus", "--list", "--json").out)
    assert rows[0]["name"] == "white-noise"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("moving-bars", "--set", "width=9000"), "is wider than the screen"),
        (("white-noise", "--set", "contrast=-1"), "contrast: is -1"),
        (("white-noise", "--frame-rate", "0"), "frame_rate: is 0"),
        (("flash", "--seed", "1"), "has no parameter 'seed'"),
        (("natural-movie",), "needs folder"),
        (("stripes",), "there is no generator 'stripes'"),
        (("flash", "--minutes", "1", "--duration", "3"), "not both"),
        ((), "Which one?"),
    ],
)
def test_the_command_refuses_an_impossible_movie_and_leaves_nothing(run, tmp_path, arguments, said):
    refused = run("stimulus", *arguments, "--out", tmp_path / "movie.h5")
    assert refused.code == 2 and said in refused.err
    assert not list(tmp_path.iterdir())


def damaged_frames(path):
    # Chunks are compressed: HDF5 itself would stumble over these only when they are read.
    with h5py.File(path) as file:
        chunk = file["stimulus"].id.get_chunk_info(0)
    with open(path, "r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)


def without_times(path):
    with h5py.File(path, "r+") as file:
        del file["frame_time"]


@pytest.mark.parametrize(
    ("damage", "said"), [(damaged_frames, "checksum"), (without_times, "lacks its frames or their")]
)
def test_a_damaged_movie_is_refused_when_it_is_loaded(damage, said, tmp_path):
    path = nm.stimuli.write_movie(nm.stimuli.white_noise(duration=5, seed=1), tmp_path / "noise.h5")
    damage(path)
    with pytest.raises(InputError, match=said):
        nm.stimuli.load_movie(path)
