"""Recordings of pictures: built from arrays and from spikes, checked, and stored."""

import h5py
import numpy as np
import pytest
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.image_arrays import image_recording_from_arrays
from neuromodels.datasets.image_presentations import image_recording_from_presentations
from neuromodels.datasets.opening import open_recording
from neuromodels.datasets.responses import Traces, Units
from neuromodels.datasets.storage import verify
from neuromodels.fits.task import prepare


@pytest.fixture
def counts():
    """(repetition, stimulus, neuron); picture 2 was shown twice, the others three times."""
    counts = np.random.default_rng(0).poisson(3.0, (3, 12, 4)).astype(float)
    counts[2, 2] = np.nan
    return counts


@pytest.fixture
def pictures():
    return np.random.default_rng(1).integers(0, 256, (12, 6, 5, 3)).astype(np.uint8)


def errors(recording):
    return " | ".join(f"{item.where} {item.what}" for item in recording.validate().errors)


def notes(recording):
    return " | ".join(f"{item.where} {item.what}" for item in recording.validate().notes)


def test_padding_of_missing_repeats_makes_no_presentations(counts):
    recording = image_recording_from_arrays(counts)
    role = recording.role()
    assert role.sizes["presentation"] == 3 * 12 - 1
    assert role["response"].dtype == np.uint8
    back = recording.by_repetition()
    assert back.dims == ("repetition", "stimulus", "neuron")
    np.testing.assert_array_equal(back.values, counts)


def test_pictures_and_presentations_are_matched_by_name_not_by_order(pictures):
    ids = ["c", "a", "b", "a"]
    recording = image_recording_from_arrays(
        np.array([[1.0], [2.0], [3.0], [4.0]]),
        images={name: pictures[i, ..., 0] for i, name in enumerate("abc")},
        stimulus_id=ids,
    )
    by = recording.by_repetition().sel(neuron="0")
    assert list(by["stimulus"].values) == ["a", "b", "c"]
    np.testing.assert_array_equal(by.values, [[2, 3, 1], [4, np.nan, np.nan]])
    images = recording.role()["images"]
    np.testing.assert_array_equal(images.sel(stimulus="b")[0], pictures[1, ..., 0])


def test_a_recording_comes_back_from_its_file_as_it_was(counts, pictures, tmp_path):
    recording = image_recording_from_arrays(
        np.stack([counts, counts + 1], axis=-1),
        images=np.moveaxis(pictures, -1, 1),
        time_bins=[0.0, 0.05, 0.15],
        region=["V4", "V4", "IT", "IT"],
        animal="m1",
        unit_metadata={"depth": [1.0, 2.0, 3.0, 4.0]},
        attrs={"species": "macaque", "notes": ["é"]},
    )
    path = recording.to_hdf5(tmp_path / "r.h5")
    assert verify(path) > 5
    back = open_recording(path)
    xr.testing.assert_identical(back.role().load(), recording.role())
    assert back.attrs == recording.attrs
    assert back.neurons.tolist() == recording.neurons.tolist()
    with pytest.raises(InputError, match="exists"):
        recording.to_hdf5(path)


def test_plain_hdf5_shows_every_label(counts, tmp_path):
    path = image_recording_from_arrays(counts, region="V4").to_hdf5(tmp_path / "r.h5")
    with h5py.File(path) as file:
        node = file["images/presentations"]
        assert [dim[0].name.split("/")[-1] for dim in node["response"].dims] == [
            "presentation",
            "neuron",
        ]
        assert node["region"].asstr()[0] == "V4"
        assert node["stimulus_id"].asstr()[3] == "1"


def test_missing_single_responses_are_stored_and_noted(counts, tmp_path):
    counts[0, 5, 1] = np.nan
    recording = image_recording_from_arrays(counts)
    assert "1 of 4 neurons miss presentations" in notes(recording)
    back = open_recording(recording.to_hdf5(tmp_path / "r.h5"))
    np.testing.assert_array_equal(back.by_repetition().values, counts)
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["images/presentations/response"].dtype == np.uint16


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["response"].values.__setitem__((3, 1), -1), "2 negative counts, the first in"),
        (lambda r: r["response"].values.__setitem__((3, 1), 0.5), "counts that are no integers"),
        (lambda r: r["response"].values.__setitem__((3, 1), np.inf), "infinite values"),
        (lambda r: r["images"].values.__setitem__((7, 0, 1, 1), np.nan), "the first is 7"),
        (lambda r: r["repetition"].values.__setitem__(1, 0), "presentation 1: 0, repeat 0"),
        (lambda r: r["stimulus_id"].values.__setitem__(1, "x"), "not among the images: x"),
        (lambda r: r["stimulus_id"].values.__setitem__(1, " "), "is empty in presentation 1"),
        (lambda r: r["stimulus"].values.__setitem__(1, "0"), "names a picture more than once: 0"),
        (lambda r: r["time_bin_end"].values.__setitem__(1, 0.0), "bin 1 ends at 0 s"),
        (lambda r: r["time_bin_start"].values.__setitem__(1, -1.0), "does not ascend"),
        (lambda r: r["response"].attrs.pop("units"), "has no units"),
        (lambda r: r["response"].attrs.__setitem__("kind", "spikes"), "has kind 'spikes'"),
    ],
)
def test_every_error_is_reported_with_its_place(counts, change, said):
    recording = image_recording_from_arrays(
        np.stack([counts, counts], axis=-1),
        images=np.zeros((12, 3, 3)),
        time_bins=[0.0, 0.1, 0.2],
        kind="count",
    )
    assert errors(recording) == ""
    path = "/images/presentations"
    node = recording.tree[path].to_dataset(inherit=False).copy(deep=True)
    node["response"] = node["response"].astype(float)
    for name in ("time_bin_start", "time_bin_end", "repetition", "stimulus_id", "stimulus"):
        values = node[name].values.copy()
        values.flags.writeable = True
        node = node.assign_coords({name: (node[name].dims, values)})
    if said.startswith("names"):
        node = node.assign_coords(stimulus=["0", "0", *map(str, range(2, 12))])
    else:
        change(node)
    recording.tree[path].dataset = node
    recording._report = None
    assert said in errors(recording)


def test_notes_say_what_limits_the_recording(counts):
    counts[..., 2] = np.where(np.isnan(counts[..., 2]), np.nan, 0)
    said = notes(image_recording_from_arrays(counts))
    assert "2 is silent" in said
    assert "pictures have 2 to 3 repeats" in said
    assert "images are not in the recording" in said
    once = image_recording_from_arrays(counts[0])
    assert "every picture has one value only" in notes(once)


def test_pictures_in_train_and_test_are_an_error(counts):
    train = image_recording_from_arrays(counts, role="train")
    test = image_recording_from_arrays(counts[:, 3:5], stimulus_id=["3", "4"], role="test")
    train.tree["/images/test"] = test.tree["/images/test"]
    assert "2 of its 2 pictures are also in train" in errors(train)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"responses": np.zeros(3)}, "has shape"),
        ({"responses": np.array(["a", "b"])}, "has type"),
        ({"stimulus_id": ["a"]}, "has 1 entries for 12"),
        ({"neurons": ["a"]}, "has 1 entries for 4 neurons"),
        ({"images": np.zeros((12, 8, 8, 3))}, "colours seem to be the last axis"),
        ({"images": np.zeros((12, 8))}, "must be"),
        ({"repetition": np.arange(12)}, "first axis of responses counts the repeats"),
        ({"images": np.zeros((2, 8, 8)), "image_ids": ["a"]}, "has 1 entries for 2 pictures"),
        ({"region": ["V4"]}, "region: has 1 entries"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(counts, given, said):
    with pytest.raises(InputError) as error:
        image_recording_from_arrays(**{"responses": counts, **given})
    assert said in str(error.value)


def test_fits_refuse_pictures_with_a_clear_word(counts):
    with pytest.raises(InputError, match="responses to pictures"):
        prepare(image_recording_from_arrays(counts))


# --- spikes and presentations ---------------------------------------------------------------


def test_spikes_are_counted_in_every_presentation():
    units = Units(
        ["a", "b"],
        [np.array([0.99, 1.0, 1.2, 1.25, 3.1]), np.array([1.1, 5.0])],
        observed=[np.array([[0.0, 10.0]]), np.array([[0.0, 3.2]])],
    )
    recording = image_recording_from_presentations(
        np.zeros((2, 4, 4)), [1, -1, 1], [1.0, 2.0, 3.0], [1.25, 2.25, 3.25], units, source="s.nwb"
    )
    role = recording.role()
    # [onset, offset): the spike at the offset is not counted; unit b was not observed to the end.
    np.testing.assert_array_equal(role["response"], [[2, 1], [0, 0], [1, np.nan]])
    assert role["stimulus_id"].values.tolist() == ["1", "blank", "1"]
    assert role["repetition"].values.tolist() == [0, 0, 1]
    assert errors(recording) == ""


def test_bins_from_the_onset_add_up_to_the_presentation():
    rng = np.random.default_rng(2)
    units = Units(["a"], [np.sort(rng.uniform(0, 20, 900))])
    onsets = np.arange(1, 19) * 1.0
    whole, binned = (
        image_recording_from_presentations(
            None, np.arange(18) % 3, onsets, onsets + 0.25, units, source="s", time_bins=bins
        ).role()["response"]
        for bins in (None, 0.05)
    )
    assert binned.shape == (18, 1, 5)
    np.testing.assert_array_equal(binned.sum("time_bin"), whole)
    edges = onsets[4] + np.array([0.0, 0.05, 0.10])
    expected = np.histogram(units.spike_times[0], edges)[0]
    np.testing.assert_array_equal(binned[4, 0, :2], expected)


def test_traces_are_averaged_over_the_presentation():
    times = np.arange(100) * 0.1
    traces = Traces(["c"], times[:, None] ** 2, times, units="dF/F")
    made = image_recording_from_presentations(
        None, ["p", "q"], [1.0, 2.0], [1.5, 2.5], traces, source="s"
    )
    expected = [np.mean(times[10:15] ** 2), np.mean(times[20:25] ** 2)]
    np.testing.assert_allclose(made.role()["response"][:, 0], expected)


def test_clocks_that_do_not_meet_are_an_error():
    units = Units(["a"], [np.array([1e4, 2e4])])
    with pytest.raises(InputError, match="no response falls into a presentation"):
        image_recording_from_presentations(None, [0, 1], [1, 2], [1.5, 2.5], units, source="s")
    with pytest.raises(InputError, match="presentation 1 lasts from 2 to 1.5 s"):
        image_recording_from_presentations(None, [0, 1], [1, 2], [1.5, 1.5], units, source="s")
