"""Recordings of pictures are read from the layouts that labs have: arrays, archives, rasters."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from neuromodels.datasets.errors import InputError, RecordingError
from neuromodels.datasets.opening import open_recording
from neuromodels.datasets.picture_files import open_pictures

DATA = Path(os.environ.get("NEUROMODELS_DATA", "/nowhere"))
needs_v4 = pytest.mark.skipif(
    not (DATA / "v4-images").is_dir(), reason="NEUROMODELS_DATA does not hold v4-images"
)
needs_it = pytest.mark.skipif(
    not (DATA / "it-seven-objects").is_dir(),
    reason="NEUROMODELS_DATA does not hold it-seven-objects",
)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_zip(path, pixels, name="image{}.png"):
    with zipfile.ZipFile(path, "w") as archive:
        for i, picture in enumerate(pixels):
            archive.writestr(name.format(i + 1), png(picture))
    return path


@pytest.fixture
def counts():
    """(repetition, stimulus, neuron); picture 2 was shown twice, the others three times."""
    counts = np.random.default_rng(0).poisson(3.0, (3, 12, 4)).astype(float)
    counts[2, 2] = np.nan
    return counts


@pytest.fixture
def pictures():
    return np.random.default_rng(1).integers(0, 256, (12, 6, 5, 3)).astype(np.uint8)


# --- arrays and pictures in files -----------------------------------------------------------


def test_pictures_are_read_by_number_and_only_when_used(pictures, tmp_path):
    images, names, _ = open_pictures(write_zip(tmp_path / "i.zip", pictures))
    assert names[:3] == ["image1", "image2", "image3"] and names[-1] == "image12"
    assert images.shape == (12, 3, 6, 5)
    np.testing.assert_array_equal(images.values, np.moveaxis(pictures, -1, 1))
    np.testing.assert_array_equal(images[[4, 1], 2, 1:3].values, pictures[[4, 1], 1:3, :, 2])
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, picture in enumerate(pictures[..., 0]):
        (folder / f"{i:03d}.png").write_bytes(png(picture))
    (folder / "leak.png").symlink_to("/etc/passwd")
    grey, names, _ = open_pictures(folder)
    assert grey.shape == (12, 1, 6, 5) and "leak" not in names
    np.testing.assert_array_equal(grey[3, 0].values, pictures[3, ..., 0])


@pytest.mark.parametrize("name", ["../{}.png", "/tmp/{}.png", "a/../../{}.png", "C:\\{}.png"])
def test_an_archive_with_names_that_lead_out_is_refused(pictures, tmp_path, name):
    with pytest.raises(InputError, match="leads out of it"):
        open_pictures(write_zip(tmp_path / "i.zip", pictures, name))


def test_an_archive_that_lies_about_sizes_is_refused(pictures, tmp_path):
    path = write_zip(tmp_path / "i.zip", pictures)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")  # central directory: unpacked size at 24
    data[at + 24 : at + 28] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match="2147483648 bytes"):
        open_pictures(path)
    data[at + 24 : at + 28] = (20).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        open_pictures(path)


def test_pictures_that_differ_in_size_or_are_none_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "i.zip", "w") as archive:
        archive.writestr("a.png", png(np.zeros((4, 4), np.uint8)))
        archive.writestr("b.png", png(np.zeros((4, 5), np.uint8)))
    with pytest.raises(InputError, match="is 5 x 4 px, a.png is 4 x 4 px"):
        open_pictures(tmp_path / "i.zip")
    with zipfile.ZipFile(tmp_path / "j.zip", "w") as archive:
        archive.writestr("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n")
    with pytest.raises(InputError, match="no picture that can be read"):
        open_pictures(tmp_path / "j.zip")


@pytest.fixture
def session(counts, pictures, tmp_path):
    """The layout of the V4 sessions: (neuron, image, repeat), padded with NaN."""
    for folder in ("images", "responses_raw", "responses_repeat_averaged"):
        (tmp_path / "lab" / folder).mkdir(parents=True)
    for name in ("s1", "s2"):
        write_zip(tmp_path / "lab" / "images" / f"images_{name}.zip", pictures)
        averaged = np.nanmean(counts, axis=0).T
        np.save(tmp_path / "lab/responses_repeat_averaged" / f"responses_{name}.npy", averaged)
    raw = tmp_path / "lab/responses_raw/responses_s1.npy"
    np.save(raw, counts.transpose(2, 1, 0))
    return tmp_path / "lab"


def test_a_folder_of_sessions_opens_by_name(session, counts, pictures):
    recording = open_recording(session, session="s1")
    np.testing.assert_array_equal(recording.by_repetition().values, counts)
    images = recording.role()["images"]
    np.testing.assert_array_equal(images.sel(stimulus="image10"), np.moveaxis(pictures[9], -1, 0))
    assert recording.role()["response"].attrs["kind"] == "count"
    averaged = open_recording(session, session="s2")
    assert averaged.role()["response"].attrs["kind"] == "rate"
    assert "no noise ceiling" in averaged.attrs["notes"][0]
    with pytest.raises(RecordingError, match="none was named") as error:
        open_recording(session)
    assert "s1, s2" in error.value.remedy


def test_an_array_opens_with_its_pictures(session, counts, tmp_path):
    zipped = session / "images" / "images_s1.zip"
    path = tmp_path / "mine.npy"
    np.save(path, counts)  # (repetition, stimulus, neuron)
    opened = open_recording(path, images=zipped, axes="repetition, stimulus, neuron")
    np.testing.assert_array_equal(opened.by_repetition().values, counts)
    np.save(path, counts[0])
    np.testing.assert_array_equal(open_recording(path, images=zipped).role()["response"], counts[0])
    with pytest.raises(RecordingError, match="does not say what was shown"):
        open_recording(path)
    np.save(path, counts[:, :5])
    with pytest.raises(RecordingError, match="no axis fits"):
        open_recording(path, images=zipped)
    np.save(path, counts[:, :, [0] * 12])
    with pytest.raises(RecordingError, match="no usual order"):
        open_recording(path, images=zipped)
    np.save(path, np.array([[{}], [{}]], dtype=object), allow_pickle=True)
    with pytest.raises(RecordingError, match="no numpy array that can be read"):
        open_recording(path, images=zipped)
    path.write_bytes((tmp_path / "mine.npy").read_bytes()[:100])
    with pytest.raises(RecordingError):
        open_recording(path, images=zipped)


# --- raster files ---------------------------------------------------------------------------


def write_raster(path, labels, spikes, onset=101, session=1):
    """One neuron as the toolbox stores it; `spikes` are (trial, column), counted from 0."""
    data = np.zeros((len(labels), 200))
    for trial, column in spikes:
        data[trial, column] = 1
    cells = np.empty((1, len(labels)), dtype=object)
    cells[0] = labels
    scipy.io.savemat(
        path,
        {
            "raster_data": data,
            "raster_labels": {"stimulus_ID": cells},
            "raster_site_info": {"alignment_event_time": onset, "session_ID": session},
        },
    )


def test_rasters_are_sorted_by_condition_and_binned_from_the_onset(tmp_path):
    write_raster(tmp_path / "u1_raster_data.mat", ["b", "a", "b"], [(0, 100), (0, 99), (2, 149)])
    write_raster(tmp_path / "u2_raster_data.mat", ["a", "b"], [(0, 150), (0, 151)], session=2)
    recording = open_recording(tmp_path)
    assert recording.neurons.tolist() == ["u1", "u2"]
    response = recording.by_repetition()  # (repetition, stimulus, neuron, time_bin)
    np.testing.assert_allclose(response["time_bin_start"], [-0.1, -0.05, 0, 0.05])
    np.testing.assert_array_equal(response.sel(stimulus="b", neuron="u1")[0], [0, 1, 1, 0])
    np.testing.assert_array_equal(response.sel(stimulus="b", neuron="u1")[1], [0, 0, 1, 0])
    np.testing.assert_array_equal(response.sel(stimulus="a", neuron="u2")[0], [0, 0, 0, 2])
    assert np.isnan(response.sel(stimulus="b", neuron="u2")[1]).all()
    assert "pseudo-population" in recording.attrs["notes"][0]
    assert open_recording(tmp_path, time_bin=0.1).role().sizes["time_bin"] == 2
    with pytest.raises(RecordingError, match="0.0005 s are 0.5 columns"):
        open_recording(tmp_path, time_bin=0.0005)
    (tmp_path / "u3.mat").write_bytes((tmp_path / "u2_raster_data.mat").read_bytes()[:300])
    with pytest.raises(RecordingError, match="u3.mat"):
        open_recording(tmp_path)


# --- real recordings ------------------------------------------------------------------------


@needs_v4
def test_the_v4_session_has_what_its_source_says():
    recording = open_recording(DATA / "v4-images", session="210325")
    truth = np.load(DATA / "v4-images/responses_repeat_averaged/responses_210325.npy")
    by = recording.by_repetition()
    assert by.shape == (10, 640, 50)
    np.testing.assert_allclose(np.nanmean(by.values, axis=0).T, truth)
    assert recording.summary()[0]["n_repeats"] == (6, 10)
    assert recording.role()["images"].shape == (640, 3, 112, 112)
    assert recording.validate().errors == ()


@needs_it
def test_the_it_rasters_keep_every_spike_and_every_trial():
    recording = open_recording(DATA / "it-seven-objects")
    role = recording.role()
    assert role["response"].sizes == {"presentation": 420, "neuron": 132, "time_bin": 20}
    file = DATA / "it-seven-objects/Zhang_Desimone_7object_raster_data_mat"
    held = scipy.io.loadmat(file / "bp1002spk_01A_raster_data.mat", simplify_cells=True)
    raster, labels = held["raster_data"], held["raster_labels"]["combined_ID_position"]
    one = recording.by_repetition().sel(neuron="bp1002spk_01A", stimulus="kiwi_upper").values
    trials = raster[labels == "kiwi_upper"]
    expected = trials[:, :1000].reshape(len(trials), 20, 50).sum(axis=2)
    np.testing.assert_array_equal(one[: len(trials)], expected)
    assert set(role["stimulus_ID"].values) >= {"kiwi", "car", "hand"}
    assert "pseudo-population" in recording.attrs["notes"][0]
    assert recording.validate().errors == ()
