"""Tables and series that index frames become movies and image recordings without a copy."""

import h5py
import numpy as np
import pytest
from nwb_files import checkerboard, new_nwb, presentations_table, save_nwb
from pynwb.base import ImageReferences, Images
from pynwb.image import GrayscaleImage, ImageSeries, IndexSeries

from neuromodels.datasets.errors import RecordingError
from neuromodels.datasets.opening import open_recording

CLIP = checkerboard(90, 1)
BLOCKS = (5.0, 45.0)  # s; the clip is shown five times in each
TABLE = "natural_movie_one_presentations"


@pytest.fixture(scope="module")
def spike_times():
    rng = np.random.default_rng(0)
    return [np.sort(rng.uniform(0, 70, 900)) for _ in range(3)]


def movie_rows():
    return [
        {
            "start_time": start + (90 * showing + frame) / 30,
            "stop_time": start + (90 * showing + frame + 1) / 30,
            "stimulus_name": "natural_movie_one",
            "frame": float(frame),
            "stimulus_block": block,
        }
        for block, start in enumerate(BLOCKS)
        for showing in range(5)
        for frame in range(90)
    ]


def template(name="natural_movie_one_template", frames=CLIP):
    return ImageSeries(name=name, data=np.swapaxes(frames, 1, 2), unit="grey", rate=30.0)


@pytest.fixture(scope="module")
def allen(tmp_path_factory, spike_times):
    nwb = new_nwb(spike_times)
    nwb.add_stimulus_template(template())
    nwb.add_time_intervals(presentations_table(TABLE, movie_rows()))
    spontaneous = [{"start_time": 0.0, "stop_time": 5.0, "stimulus_name": "spontaneous"}]
    nwb.add_time_intervals(presentations_table("spontaneous_presentations", spontaneous))
    return save_nwb(nwb, tmp_path_factory.mktemp("allen") / "session.nwb")


def test_a_table_of_frames_is_a_movie_whose_repeats_are_found(allen, spike_times):
    recording = open_recording(allen, bin_width=0.1)
    assert recording.stimuli == ("natural_movie_one",)
    np.testing.assert_array_equal(recording.test["stimulus"].values, CLIP)
    starts = [start + 3.0 * i for start in BLOCKS for i in range(5)]
    np.testing.assert_allclose(recording.test["trial_start"].values, starts)
    edges = starts[7] + np.arange(31) / 10
    expected = np.histogram(spike_times[2], edges)[0]
    np.testing.assert_array_equal(recording.test["response"].values[7, :, 2], expected)
    assert recording.validate().errors == ()


def test_frames_of_a_template_are_read_by_index_when_needed(allen):
    variable = open_recording(allen).tree["natural_movie_one/test"].to_dataset()["stimulus"]
    assert not variable.variable._in_memory
    np.testing.assert_array_equal(variable.variable[40:43].values, CLIP[40:43])


def test_the_table_can_be_named_though_its_rows_are_frames(allen):
    assert open_recording(allen, table=TABLE).test.sizes["trial"] == 10


def test_columns_of_the_table_choose_the_test(allen):
    recording = open_recording(allen, test="stimulus_block == 1")
    assert recording.test.sizes["trial"] == 5


def test_a_missing_template_is_named_and_can_be_given(allen, tmp_path):
    path = tmp_path / "bare.nwb"
    path.write_bytes(allen.read_bytes())
    with h5py.File(path, "a") as file:
        del file["stimulus/templates/natural_movie_one_template"]
    with pytest.raises(RecordingError) as error:
        open_recording(path)
    assert f"{path}: /intervals/{TABLE}" in str(error.value)
    assert f'stimulus="natural_movie_one.npy" with table="{TABLE}"' in error.value.remedy
    np.save(tmp_path / "natural_movie_one.npy", CLIP)
    recording = open_recording(path, stimulus="natural_movie_one.npy", table=TABLE)
    np.testing.assert_array_equal(recording.test["stimulus"].values, CLIP)
    with pytest.raises(RecordingError, match="the template has 80"):
        open_recording(path, stimulus=CLIP[:80], table=TABLE)


def test_trials_of_another_movie_count_beside_the_table(tmp_path, spike_times):
    nwb = new_nwb(spike_times)
    nwb.add_stimulus_template(template())
    nwb.add_time_intervals(presentations_table(TABLE, movie_rows()))
    other = np.concatenate([CLIP, checkerboard(60, 5), CLIP[::-1]])
    frames = np.swapaxes(other, 1, 2)
    series = ImageSeries(name="other", data=frames, unit="grey", rate=30.0, starting_time=22.0)
    nwb.add_stimulus(series)
    nwb.add_trial_column("kind", "kind")
    for start, stop in ((5.0, 20.0), (22.0, 25.0), (27.0, 30.0)):
        nwb.add_trial(start_time=start, stop_time=stop, kind="a")
    recording = open_recording(save_nwb(nwb, tmp_path / "both.nwb"))
    assert recording.role("test", "natural_movie_one").sizes["trial"] == 10
    assert recording.role("train", "other").sizes["frame"] == 180  # 60 are in no trial
    chosen = open_recording(tmp_path / "both.nwb", test="kind == 'a'")
    assert "test" in chosen.roles("other")


def index_movie(path, spike_times, index):
    """IndexSeries into an ImageSeries, as older pynwb wrote it: today's refuses to."""
    nwb = new_nwb(spike_times)
    nwb.add_stimulus_template(template("movie"))
    picture = [GrayscaleImage(name="a", data=CLIP[0])]
    order = ImageReferences(name="order_of_images", data=picture)
    images = Images(name="unused", images=picture, order_of_images=order)
    nwb.add_stimulus_template(images)
    nwb.add_stimulus(
        IndexSeries(
            name="shown",
            data=np.asarray(index, np.uint32),
            indexed_images=images,
            unit="N/A",
            rate=60.0,
            starting_time=3.0,
        )
    )
    save_nwb(nwb, path)
    with h5py.File(path, "a") as file:
        series = file["stimulus/presentation/shown"]
        del series["indexed_images"]
        series["indexed_timeseries"] = h5py.SoftLink("/stimulus/templates/movie")
    return path


def test_an_index_series_shows_frames_of_an_image_series(tmp_path, spike_times):
    index = np.tile(np.repeat(np.arange(90), 2), 6)  # each frame for two refreshes
    recording = open_recording(index_movie(tmp_path / "cell.nwb", spike_times, index))
    np.testing.assert_array_equal(recording.test["stimulus"].values, CLIP[index[:180]])
    np.testing.assert_allclose(recording.test["trial_start"].values, 3.0 + 3.0 * np.arange(6))


def test_an_index_beyond_the_template_is_refused(tmp_path, spike_times):
    path = index_movie(tmp_path / "cell.nwb", spike_times, [0, 1, 2, 90])
    with pytest.raises(RecordingError, match="presentation 3 shows frame 90, but the template has"):
        open_recording(path)


def test_images_shown_one_by_one_are_an_image_recording(tmp_path, spike_times):
    rng = np.random.default_rng(1)
    pictures = [GrayscaleImage(name=f"scene{i}", data=CLIP[i].T) for i in range(12)]
    order = ImageReferences(name="order_of_images", data=pictures)
    images = Images(name="scenes", images=pictures, order_of_images=order)
    index = rng.permutation(np.repeat(np.arange(12), 10))
    onsets = 5 + np.arange(120) * 0.5
    nwb = new_nwb(spike_times)
    nwb.add_stimulus_template(images)
    nwb.add_stimulus(
        IndexSeries(
            name="shown",
            data=index.astype(np.uint32),
            indexed_images=images,
            unit="N/A",
            timestamps=onsets,
        )
    )
    recording = open_recording(save_nwb(nwb, tmp_path / "scenes.nwb"))
    role = recording.role()
    np.testing.assert_array_equal(role["images"].values[:, 0], CLIP[:12])
    assert list(role["stimulus_id"].values) == [f"scene{i}" for i in index]
    counts = [np.histogram(t, np.append(onsets, onsets[-1] + 0.5))[0] for t in spike_times]
    np.testing.assert_array_equal(role["response"].values, np.transpose(counts))
    assert recording.validate().errors == ()


def test_a_table_of_scenes_opens_beside_movies_and_without_its_images(tmp_path, spike_times):
    rng = np.random.default_rng(2)
    index = rng.integers(-1, 118, 80)  # -1 is a blank
    rows = [
        {"start_time": 36 + i / 4, "stop_time": 36.25 + i / 4, "frame": float(index[i])}
        for i in range(32)
    ]
    nwb = new_nwb(spike_times)
    nwb.add_stimulus_template(template())
    nwb.add_time_intervals(presentations_table(TABLE, movie_rows()))
    nwb.add_time_intervals(presentations_table("natural_scenes_presentations", rows))
    path = save_nwb(nwb, tmp_path / "both.nwb")
    recording = open_recording(path)
    assert recording.stimuli == ("natural_movie_one",)
    assert any("natural_scenes_presentations not read" in n for n in recording.attrs["notes"])
    scenes = open_recording(path, images=True)
    assert scenes.role()["response"].sizes == {"presentation": 32, "neuron": 3}
    assert any("lacks the images" in note for note in scenes.attrs["notes"])
