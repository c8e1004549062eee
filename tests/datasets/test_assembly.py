"""Brain-Score assemblies are read as others wrote them, and ours are read as theirs are."""

import numpy as np
import pytest
import xarray as xr

from neuromodels.datasets.errors import InputError, RecordingError
from neuromodels.datasets.image_arrays import image_recording_from_arrays
from neuromodels.datasets.opening import open_recording


def their_assembly(n_time=2):
    """Labels of the axes as plain coordinates, no coordinate of the axes' own names."""
    rng = np.random.default_rng(0)
    values = rng.normal(1.0, 0.3, (3, 8, n_time))
    return xr.DataArray(
        values,
        dims=("neuroid", "presentation", "time_bin"),
        coords={
            "neuroid_id": ("neuroid", ["n1", "n2", "n3"]),
            "region": ("neuroid", ["V4", "IT", "IT"]),
            "animal": ("neuroid", ["Tito", "Tito", "Chabo"]),
            "x": ("neuroid", [0.1, 0.2, 0.3]),
            "image_id": ("presentation", list("abcdabcd")),
            "repetition": ("presentation", [0] * 4 + [1] * 4),
            "object_name": ("presentation", ["car", "dog", "car", "dog"] * 2),
            "time_bin_start": ("time_bin", np.arange(n_time) * 100 + 70),
            "time_bin_end": ("time_bin", np.arange(n_time) * 100 + 170),
        },
        attrs={"stimulus_set_identifier": "dicarlo.hvm"},
        name="dicarlo.MajajHong2015",
    )


def gathered(dataset):
    """As BrainIO opens a file: all labels of an axis become the levels of one index."""
    array = dataset[next(iter(dataset.data_vars))]
    levels = {
        dim: [
            name
            for name, coord in array.coords.variables.items()
            if coord.dims == (dim,) and not isinstance(coord, xr.IndexVariable)
        ]
        for dim in array.dims
    }
    return array.set_index(append=True, **levels)


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_their_assembly_opens_with_all_its_labels(tmp_path, engine):
    theirs = their_assembly()
    theirs.to_netcdf(tmp_path / "a.nc", engine=engine)
    recording = open_recording(tmp_path / "a.nc")
    assert recording.stimuli == ("dicarlo.hvm",)
    assert recording.neurons.tolist() == ["n1", "n2", "n3"]
    role = recording.role()
    np.testing.assert_array_equal(role["response"], theirs.transpose("presentation", ...))
    assert role["region"].values.tolist() == ["V4", "IT", "IT"]
    assert role["animal"].values.tolist() == ["Tito", "Tito", "Chabo"]
    assert role["stimulus_id"].values.tolist() == list("abcdabcd")
    assert role["object_name"].values.tolist() == ["car", "dog", "car", "dog"] * 2
    np.testing.assert_array_equal(role["time_bin_start"], [0.07, 0.17])  # s
    assert recording.tree["x_"].values.tolist() == [0.1, 0.2, 0.3]
    assert role["response"].attrs["kind"] == "rate"
    assert recording.validate().errors == ()
    by = recording.by_repetition()
    np.testing.assert_array_equal(by.sel(repetition=1, stimulus="c")[0], theirs[0, 6])


def test_repeats_without_numbers_are_counted(tmp_path):
    theirs = their_assembly().drop_vars("repetition").isel(time_bin=0, drop=True)
    theirs.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    recording = open_recording(tmp_path / "a.nc")
    assert recording.role()["repetition"].values.tolist() == [0] * 4 + [1] * 4
    assert recording.role()["response"].dims == ("presentation", "neuron")
    alike = their_assembly().assign_coords(repetition=("presentation", [0] * 8))
    alike.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    recording = open_recording(tmp_path / "b.nc")
    assert "numbered anew" in " ".join(recording.attrs["notes"])
    assert recording.role()["repetition"].values.tolist() == [0] * 4 + [1] * 4
    assert recording.role()["repetition_"].values.tolist() == [0] * 8
    assert recording.validate().errors == ()


def test_ours_becomes_their_multi_index_and_comes_back(tmp_path):
    rng = np.random.default_rng(1)
    counts = rng.poisson(2.0, (2, 5, 3, 4)).astype(float)
    counts[1, 2, 1] = np.nan
    ours = image_recording_from_arrays(
        counts,
        time_bins=[0.0, 0.0125, 0.025, 0.07, 0.3],
        stimulus_id=list("edcba"),
        region=["V1", "V2", "V4"],
        unit_metadata={"depth": [1, 2, 3]},
        attrs={"notes": ["a note"]},
    )
    path = ours.to_assembly(tmp_path / "a.nc")
    theirs = gathered(xr.open_dataset(path, engine="h5netcdf"))
    assert theirs.dims == ("presentation", "neuroid", "time_bin")
    assert set(theirs.indexes["neuroid"].names) >= {"neuroid_id", "region", "animal", "depth"}
    one = theirs.sel(neuroid_id="1", stimulus_id="b", repetition=1).values.ravel()
    np.testing.assert_array_equal(one, counts[1, 3, 1])
    assert list(theirs["time_bin_start"].values) == [0, 12.5, 25, 70]  # ms
    back = open_recording(path)
    xr.testing.assert_identical(
        back.role()["response"].drop_vars("repetition").load(),
        ours.role()["response"].drop_vars("repetition"),
    )
    assert back.attrs["notes"] == ["a note"]
    with pytest.raises(InputError, match="exists"):
        ours.to_assembly(path)


def test_an_assembly_without_its_labels_says_what_is_missing(tmp_path):
    path = tmp_path / "a.nc"
    their_assembly().drop_vars(["image_id", "object_name"]).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(RecordingError, match="does not say which picture"):
        open_recording(path)
    their_assembly().drop_vars("time_bin_end").to_netcdf(path, engine="h5netcdf")
    with pytest.raises(RecordingError, match="time_bin_end: is missing"):
        open_recording(path)
    with pytest.raises(RecordingError, match="bin_width: does not apply"):
        open_recording(path, bin_width=0.01)
    their_assembly().to_netcdf(path, engine="h5netcdf")
    np.testing.assert_array_equal(
        open_recording(path, time_units="s").role()["time_bin_end"], [170, 270]
    )


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_a_damaged_assembly_opens_or_is_refused_in_words(tmp_path, engine):
    path = tmp_path / "a.nc"
    their_assembly().to_netcdf(path, engine=engine)
    content, rng = path.read_bytes(), np.random.default_rng(1)
    refused = 0
    for i in range(25):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content) if i % 2 else 600, 4):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(content))] if i % 5 == 0 else damaged)
        try:
            open_recording(path).validate()
        except InputError:
            refused += 1
    assert refused
