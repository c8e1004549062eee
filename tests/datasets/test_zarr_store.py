"""Zarr folders: what other programs see, what is read when, and damage that is noticed."""

import builtins
import json

import numpy as np
import pytest
import xarray as xr
from random_recordings import random_recording
from small_recording import small_recording

from neuromodels.datasets.converting import convert
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.zarr_store import read_zarr, write_zarr
from neuromodels.datasets.opening import open_recording

zarr = pytest.importorskip("zarr")


@pytest.fixture(scope="module")
def recording():
    return small_recording(n_blocks=3, n_bins=80, n_trials=3)


@pytest.fixture
def path(recording, tmp_path):
    return convert(recording, tmp_path / "a.zarr")


def test_plain_xarray_and_zarr_open_it_with_names_and_coordinates(recording, path):
    with xr.open_datatree(path, engine="zarr", consolidated=False) as tree:
        node = tree["stimulus/train"]
        assert node["response"].dims == ("time", "neuron")
        assert {"time", "block", "frame"} <= set(node.coords)
        np.testing.assert_array_equal(node["stimulus"], recording.train["stimulus"])
    counts = zarr.open_array(path / "stimulus" / "test" / "response", mode="r")
    np.testing.assert_array_equal(counts[:], recording.test["response"])
    assert counts.metadata.dimension_names == ("trial", "time", "neuron")


def test_ragged_trials_are_integers_on_disk_and_nan_in_plain_xarray(tmp_path):
    values = np.array([[0, 2], [254, np.nan]], dtype="f4")
    data = xr.Dataset({"n": (("trial", "time"), values)}, {"trial": [0, 1], "time": [0.0, 0.1]})
    data["n"].encoding = {"dtype": np.uint8, "_FillValue": np.uint8(255)}
    write_zarr(xr.DataTree(data), tmp_path / "a.zarr")
    assert zarr.open_array(tmp_path / "a.zarr" / "n", mode="r").dtype == np.uint8
    with xr.open_dataset(tmp_path / "a.zarr", engine="zarr", consolidated=False) as plain:
        np.testing.assert_array_equal(plain["n"], values)


def test_reading_is_lazy(path):
    tree = read_zarr(path)
    assert not tree["stimulus/train"].variables["stimulus"]._in_memory


def test_an_address_is_read_through_fsspec(recording, path):
    tree = read_zarr(f"file://{path}")
    np.testing.assert_array_equal(
        tree["stimulus/train/response"].values, recording.train["response"].values
    )


def test_a_changed_value_a_lost_chunk_and_changed_metadata_are_noticed(path):
    metadata = path / "stimulus" / "train" / "zarr.json"
    before = metadata.read_text()
    metadata.write_text(before.replace("1 block", "2 block").replace("}", "} ", 1))
    open_recording(path)  # spaces do not matter
    about = json.loads(before)
    about["attributes"]["selection"] = "nobody knows"
    metadata.write_text(json.dumps(about))
    with pytest.raises(InputError, match="is damaged"):
        open_recording(path)
    metadata.write_text(before)

    array = zarr.open_array(path / "stimulus" / "train" / "response", mode="r+")
    array[17, 1] += 1
    errors = open_recording(path).validate().errors
    assert [error.where for error in errors] == ["/stimulus/train/response"]
    array[17, 1] -= 1
    assert open_recording(path).validate().errors == ()

    chunk = next(item for item in (path / "stimulus/test/stimulus/c").rglob("*") if item.is_file())
    chunk.unlink()  # zarr itself reads zeros where a chunk is missing
    errors = open_recording(path).validate().errors
    assert [error.where for error in errors] == ["/stimulus/test/stimulus"]


def test_the_order_of_stimuli_is_kept(tmp_path):
    recording = random_recording(3, n_stimuli=2)
    tree = xr.DataTree.from_dict(
        {
            f"/{name}": recording.tree[name].to_dataset()
            for name in ("natural scenes", "moving_bars")
        }
    )
    write_zarr(tree, tmp_path / "a.zarr")
    assert list(read_zarr(tmp_path / "a.zarr").children) == ["natural scenes", "moving_bars"]


def test_without_zarr_one_line_says_what_to_install(recording, path, tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "zarr":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    for act in (lambda: open_recording(path), lambda: convert(recording, tmp_path / "b.zarr")):
        with pytest.raises(InputError, match=r"pip install 'neuromodels\[zarr\]'"):
            act()
