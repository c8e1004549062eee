"""NWB files that pynwb alone wrote become recordings that hold what was measured."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from nwb_files import checkerboard, ln_filters, ln_spikes, write_checkerboard_nwb, write_nwb
from pynwb import TimeSeries
from pynwb.image import ImageSeries, OpticalSeries

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.opening import open_recording

RATE = 30.0
SERIES = "/stimulus/presentation/movie"


@pytest.fixture(scope="module")
def retina(tmp_path_factory):
    """The file that other tests use too: trials, repeats, a silent unit."""
    return write_checkerboard_nwb(tmp_path_factory.mktemp("nwb") / "retina.nwb")


@pytest.fixture(scope="module")
def small():
    """Frames and spikes of a short session: three unrepeated trials, a clip between them."""
    clip = checkerboard(90, 1)
    parts = [checkerboard(90, 10), clip, checkerboard(90, 11), clip, checkerboard(90, 12)]
    movie = np.concatenate(parts)
    onsets = np.arange(len(movie)) / RATE
    spikes, _ = ln_spikes(movie, onsets, 1 / RATE, ln_filters(2, 6, 8), np.log([15, 20]), 5)
    trials = [(3.0 * i, 3.0 * (i + 1), "repeat" if i % 2 else "unique") for i in range(5)]
    return {"frames": movie, "spike_times": spikes, "trials": trials, "trial_columns": ("kind",)}


@pytest.fixture
def write_small(small, tmp_path):
    def write(**changes):
        timing = {} if "timestamps" in changes else {"rate": RATE}
        return write_nwb(tmp_path / "cell.nwb", **{**small, **timing, **changes})

    return write


def test_sizes_units_and_labels(retina):
    recording = open_recording(retina.path, bin_width=0.010)
    assert recording.stimuli == ("checkerboard",)
    assert recording.roles() == ("train", "test")
    assert recording.train["response"].sizes == {"time": 24_000, "neuron": 5}
    assert recording.test["response"].sizes == {"trial": 20, "time": 800, "neuron": 5}
    assert list(recording.neurons) == ["10", "11", "12", "13", "14"]
    assert list(recording.tree["quality"].values) == ["good"] * 4 + ["silent"]
    np.testing.assert_array_equal(recording.tree["depth"].values, [0, 10, 20, 30, 40])
    assert recording.train["stimulus"].attrs["units"] == "grey value"
    assert recording.attrs["species"] == "Mus musculus"
    assert recording.attrs["subject_id"] == "m1"
    assert recording.attrs["format"].startswith("NWB 2")
    assert "20 trials with identical frames" in recording.test.attrs["selection"]
    report = recording.validate()
    assert report.errors == ()
    assert any("14 is silent" in note.what for note in report.notes)


def test_frames_are_those_that_were_shown_in_the_order_y_x(retina):
    recording = open_recording(retina.path)
    first = recording.blocks("train")[0]
    shown = first.movie()[:, 0]
    frame = np.floor((first.time + 0.0005 - 0.5) * 30 + 1e-9).astype(int)
    np.testing.assert_array_equal(shown, retina.movie[frame])
    start = round(retina.trials[1][0] * 1000)
    clip = np.floor((np.arange(8000) + 0.5) * 0.03 + 1e-9).astype(int)
    offset = round((start / 1000 - 0.5) * 30)
    np.testing.assert_array_equal(
        recording.blocks("test")[0].movie()[:, 0], retina.movie[offset + clip]
    )


def test_every_spike_is_in_one_bin_or_counted_as_outside(retina):
    recording = open_recording(retina.path)
    train, test = recording.train, recording.test
    counted = train["response"].sum("time") + test["response"].sum(("trial", "time"))
    outside = train.attrs["spikes_outside"]
    given = [times.size for times in retina.spike_times]
    np.testing.assert_array_equal(counted.values + outside, given)
    # Two before and one after the movie; the session has no gaps.
    np.testing.assert_array_equal(outside, [3, 3, 3, 3, 0])


def test_counts_of_a_repeat_are_the_spikes_after_its_onset(retina):
    recording = open_recording(retina.path)
    onsets = [start for start, _, kind in retina.trials if kind == "repeat"]
    np.testing.assert_allclose(recording.test["trial_start"].values, onsets)
    for trial in (0, 7, 19):
        for neuron in (0, 3):
            edges = onsets[trial] + np.arange(8001) / 1000
            expected = np.histogram(retina.spike_times[neuron], edges)[0]
            got = recording.test["response"].values[trial, :, neuron]
            # numpy puts a spike on the very last edge into the last bin: there is none.
            np.testing.assert_array_equal(got, expected)


def test_the_known_filter_comes_out_of_the_recording(retina):
    """The spike-triggered average of white noise is proportional to the LN filter."""
    recording = open_recording(retina.path, bin_width=1 / 30)
    filters = retina.filters
    for neuron in range(4):
        average, total = np.zeros(filters.shape[1:]), 0
        for block in recording.blocks("train"):
            contrast = block.movie()[:, 0] / 127.5 - 1
            counts = block.response[:, neuron]
            for lag in range(filters.shape[1]):
                average[lag] += np.tensordot(counts[8:], contrast[8 - lag : len(counts) - lag], 1)
            total += counts[8:].sum()
        r = np.corrcoef(average.ravel(), filters[neuron].ravel())[0, 1]
        # About 2000 spikes and 384 weights of norm 0.9: noise of an estimate is 1/sqrt(2000)
        # per weight, so r is about 0.9 / sqrt(0.81 + 384 / 2000) = 0.9.
        assert r > 0.8


def test_the_same_repeats_are_found_with_and_without_a_trials_table(retina, tmp_path):
    bare = write_checkerboard_nwb(tmp_path / "bare.nwb", trials=False, jitter=0.001)
    recording = open_recording(bare.path, bin_width=0.010)
    expected = open_recording(retina.path, bin_width=0.010)
    for size in ("trial", "frame", "neuron"):
        assert recording.test.sizes[size] == expected.test.sizes[size]
    # Onsets jitter by 1 ms, and the shortest repeat says how many bins there are.
    assert recording.test.sizes["time"] in (799, 800)
    assert recording.train.sizes["frame"] == expected.train.sizes["frame"]
    np.testing.assert_array_equal(
        recording.test["stimulus"].values, expected.test["stimulus"].values
    )


def test_what_the_user_says_is_the_test(retina):
    said = open_recording(retina.path, test="kind == 'repeat'")
    found = open_recording(retina.path)
    np.testing.assert_array_equal(said.test["response"].values, found.test["response"].values)
    assert "kind == 'repeat'" in said.test.attrs["selection"]
    times = [row[:2] for row in retina.trials if row[2] == "repeat"]
    by_time = open_recording(retina.path, test=times, table="none")
    np.testing.assert_array_equal(by_time.test["response"].values, found.test["response"].values)
    np.testing.assert_array_equal(by_time.train["response"].values, found.train["response"].values)


def test_without_a_test_everything_is_training_data(retina):
    recording = open_recording(retina.path, test="none")
    assert recording.roles() == ("train",)
    assert len(recording.blocks("train")) == 1
    assert recording.train.sizes["time"] == 400_000


def test_a_movie_without_repeats_is_training_data_and_a_note_says_so(write_small):
    path = write_small(frames=checkerboard(270, 3), trials=(), trial_columns=())
    recording = open_recording(path)
    assert recording.roles() == ("train",)
    assert any("no test" in note for note in recording.attrs["notes"])


def test_a_table_that_lists_only_the_repeats_leaves_the_rest_for_training(write_small, small):
    repeats = [row for row in small["trials"] if row[2] == "repeat"]
    recording = open_recording(write_small(trials=repeats))
    assert recording.test.sizes["trial"] == 2
    assert len(recording.blocks("train")) == 3
    assert recording.train.sizes["frame"] == 270


def test_a_frozen_part_of_each_trial_is_found_without_the_table(write_small):
    clip = checkerboard(90, 1)
    frames = np.concatenate([part for i in range(3) for part in (checkerboard(60, 10 + i), clip)])
    trials = [(5.0 * i, 5.0 * (i + 1), "unique, then frozen") for i in range(3)]
    recording = open_recording(write_small(frames=frames, trials=trials))
    assert recording.test["response"].shape == (3, 3000, 2)
    assert len(recording.blocks("train")) == 3
    assert any("found without the table" in note for note in recording.attrs["notes"])


def test_trial_times_may_miss_frame_onsets_by_a_few_milliseconds(write_small, small):
    rng = np.random.default_rng(0)
    trials = [(a + rng.uniform(-0.01, 0.01), b - 0.015, kind) for a, b, kind in small["trials"]]
    recording = open_recording(write_small(trials=trials))
    expected = open_recording(write_small())
    np.testing.assert_array_equal(
        recording.test["response"].values, expected.test["response"].values
    )


def test_frame_of_bin_follows_a_display_that_is_late_and_drops_frames(write_small):
    rng = np.random.default_rng(3)
    onsets = np.cumsum(rng.choice([1, 1, 1, 2, 5], 450)) / RATE + rng.normal(0, 0.002, 450)
    movie = checkerboard(450, 4)
    path = write_small(frames=movie, timestamps=onsets, trials=(), trial_columns=())
    block = open_recording(path).blocks("train")[0]
    # By hand: the last frame whose onset is not after the bin's centre.
    by_hand = [max(np.flatnonzero(onsets <= t + 0.0005)) for t in block.time[:2000]]
    np.testing.assert_array_equal(block.movie(0, 2000)[:, 0], movie[by_hand])


def test_a_pause_in_the_movie_begins_a_new_block(write_small):
    onsets = np.arange(450) / RATE
    onsets[200:] += 20.0
    path = write_small(timestamps=onsets, trials=(), trial_columns=(), frames=checkerboard(450, 4))
    recording = open_recording(path)
    first, second = recording.blocks("train")
    assert first.time[0] == pytest.approx(0.0) and second.time[0] == pytest.approx(onsets[200])
    assert first.n_bins == 6666 and second.n_bins == 8333  # 200 and 250 frames at 30 Hz
    assert recording.validate().errors == ()


def test_a_trial_that_was_stopped_early_is_ragged(write_small, small):
    frames = small["frames"][:330]  # the second repeat ends after 60 of 90 frames
    recording = open_recording(write_small(frames=frames, trials=small["trials"][:4]))
    response = recording.test["response"].values
    assert response.shape == (2, 3000, 2)
    assert not np.isnan(response[0]).any()
    assert not np.isnan(response[1, :2000]).any() and np.isnan(response[1, 2000:]).all()


def test_two_repeated_clips_are_blocks_of_one_test(write_small):
    a, b = checkerboard(90, 1), checkerboard(120, 2)
    parts = [checkerboard(90, 10), a, b, checkerboard(90, 11), a, b, a]
    edges = np.cumsum([0, *map(len, parts)]) / RATE
    trials = [(x, y, "?") for x, y in zip(edges[:-1], edges[1:], strict=True)]
    recording = open_recording(write_small(frames=np.concatenate(parts), trials=trials))
    first, second = recording.blocks("test")
    assert (first.n_trials, second.n_trials) == (3, 2)
    assert (first.n_bins, second.n_bins) == (3000, 4000)
    np.testing.assert_array_equal(first.movie()[10, 0], a[0])
    np.testing.assert_array_equal(second.movie()[-1, 0], b[-1])
    assert recording.validate().errors == ()


def test_bins_finer_than_the_default_are_made_when_asked_for(retina):
    recording = open_recording(retina.path, bin_width=1 / 60)
    assert recording.bin_width == pytest.approx(1 / 60)
    assert recording.stored_bin_width <= 0.001
    recording = open_recording(retina.path, finest_bin_width=0.0005)
    assert recording.bin_width == 0.0005


def test_frames_stay_in_the_file_until_they_are_needed(retina):
    recording = open_recording(retina.path)
    variable = recording.tree["checkerboard/train"].to_dataset()["stimulus"].variable
    assert not variable._in_memory
    np.testing.assert_array_equal(variable[5:8].values, retina.movie[5:8])


def test_a_file_that_has_gone_before_its_frames_were_read_is_named(write_small):
    path = write_small()
    recording = open_recording(path)
    path.unlink()
    with pytest.raises(InputError, match="cell.nwb: /stimulus/presentation/movie"):
        recording.blocks("train")[0].movie()


@pytest.mark.parametrize("axes", ["xy", "yx"])
def test_color_and_pixel_order(write_small, small, axes):
    color = np.stack([small["frames"], 255 - small["frames"], small["frames"] // 2], axis=3)
    recording = open_recording(write_small(frames=color), axes=axes)
    movie = recording.blocks("train")[0].movie(0, 1)
    assert movie.shape == ((1, 3, 6, 8) if axes == "xy" else (1, 3, 8, 6))
    expected = np.moveaxis(color[0], 2, 0)
    np.testing.assert_array_equal(movie[0] if axes == "xy" else movie[0].swapaxes(1, 2), expected)


@pytest.mark.parametrize("shape", [(450,), (450, 31)], ids=["full field", "bars"])
def test_a_time_series_is_a_full_field_or_bar_movie(write_small, shape):
    data = np.random.default_rng(0).normal(size=shape)
    series = TimeSeries(name="light", data=data, unit="cd/m2", rate=RATE, starting_time=0.0)
    recording = open_recording(write_small(frames=None, series=[series]))
    shown = recording.blocks("train")[0].movie(0, 1)
    assert shown.shape == (1, 1, *(shape[1:] or (1,)), 1)
    np.testing.assert_allclose(shown.ravel(), np.ravel(data[0]), rtol=1e-6)
    assert recording.train["stimulus"].attrs["units"] == "cd/m2"


def test_several_movies_are_stimuli_of_their_own_and_can_be_chosen(write_small, small):
    other = OpticalSeries(
        name="bars",
        data=np.swapaxes(checkerboard(300, 20, 4, 5), 1, 2),
        unit="grey value",
        rate=RATE,
        starting_time=20.0,
        distance=0.2,
        field_of_view=[0.01, 0.02],
        orientation="up",
    )
    spikes = [np.append(times, 20.0 + times) for times in small["spike_times"]]
    path = write_small(series=[other], spike_times=spikes)
    recording = open_recording(path)
    assert set(recording.stimuli) == {"movie", "bars"}
    assert recording.role("train", "bars").sizes["x"] == 5
    assert recording.roles("movie") == ("train", "test") and recording.roles("bars") == ("train",)
    said = open_recording(path, test="kind == 'repeat'")
    assert said.roles("movie") == ("train", "test") and said.roles("bars") == ("train",)
    assert open_recording(path, stimulus="bars").stimuli == ("bars",)
    with pytest.raises(InputError, match="no series 'baars'") as error:
        open_recording(path, stimulus="baars")
    assert "bars" in error.value.remedy and "movie" in error.value.remedy


def test_epochs_with_tags_serve_as_trials(write_small, small):
    epochs = [(a, b, [kind]) for a, b, kind in small["trials"]]
    path = write_small(trials=(), trial_columns=(), epochs=epochs)
    recording = open_recording(path, test="tags == 'repeat'")
    assert recording.test.sizes["trial"] == 2


def test_one_epoch_around_everything_is_no_trial(write_small):
    path = write_small(trials=(), trial_columns=(), epochs=[(0.0, 100.0, ["awake"])])
    assert open_recording(path).test.sizes["trial"] == 2


def test_unsorted_spikes_are_sorted_and_negative_ones_told(write_small, small):
    spikes = [small["spike_times"][0][::-1], np.append(-1.0, small["spike_times"][1])]
    recording = open_recording(write_small(spike_times=spikes))
    expected = open_recording(write_small())
    np.testing.assert_array_equal(
        recording.train["response"].values, expected.train["response"].values
    )
    notes = recording.attrs["notes"]
    assert any("not in order" in note and "10" in note for note in notes)
    assert any("negative" in note and "11" in note for note in notes)


def test_units_that_were_not_observed_all_the_time_are_told(write_small):
    whole, part = np.array([[0.0, 15.0]]), np.array([[0.0, 7.5]])
    notes = open_recording(write_small(obs_intervals=[whole, part])).attrs["notes"]
    assert any("observed intervals: 11 (50%)" in note for note in notes)


def test_a_recording_from_nwb_survives_our_own_file(retina, tmp_path):
    recording = open_recording(retina.path)
    again = open_recording(recording.to_hdf5(tmp_path / "again.h5"))
    assert again.identity == recording.identity
    for role in ("train", "test"):
        for name in ("response", "stimulus", "frame_of_bin"):
            np.testing.assert_array_equal(
                again.role(role)[name].values, recording.role(role)[name].values
            )


# --- bad files: one message each, which names file, variable and remedy


def no_units(path):
    with h5py.File(path, "a") as file:
        del file["units"]


def no_spike_times(path):
    with h5py.File(path, "a") as file:
        del file["units/spike_times"], file["units/spike_times_index"]
        file["units"].attrs["colnames"] = []


def no_stimulus(path):
    with h5py.File(path, "a") as file:
        del file["stimulus/presentation/movie"]


def too_few_timestamps(path):
    with h5py.File(path, "a") as file:
        series = file[SERIES]
        del series["starting_time"]
        timestamps = series.create_dataset("timestamps", data=np.arange(440) / RATE)
        timestamps.attrs.update(interval=1, unit="seconds")


def timestamps_back(path):
    too_few_timestamps(path)
    with h5py.File(path, "a") as file:
        values = np.arange(450) / RATE
        values[100] = 0.0
        del file[SERIES]["timestamps"]
        file[SERIES].create_dataset("timestamps", data=values).attrs.update(
            interval=1, unit="seconds"
        )


def nan_timestamps(path):
    timestamps_back(path)
    with h5py.File(path, "a") as file:
        file[SERIES]["timestamps"][7] = np.nan


def no_rate(path):
    with h5py.File(path, "a") as file:
        file[SERIES]["starting_time"].attrs["rate"] = 0.0


def nan_spike(path):
    with h5py.File(path, "a") as file:
        file["units/spike_times"][3] = np.nan


def damaged_index(path):
    with h5py.File(path, "a") as file:
        file["units/spike_times_index"][-1] = 10**6 % 65536


def repeated_ids(path):
    with h5py.File(path, "a") as file:
        file["units/id"][:] = 7


def backward_trial(path):
    with h5py.File(path, "a") as file:
        file["intervals/trials/stop_time"][1] = 0.0


def overlapping_trials(path):
    with h5py.File(path, "a") as file:
        file["intervals/trials/start_time"][2] = 4.0


def shorter_column(path):
    with h5py.File(path, "a") as file:
        attrs = dict(file["intervals/trials/stop_time"].attrs)
        del file["intervals/trials/stop_time"]
        file.create_dataset("intervals/trials/stop_time", data=np.ones(3)).attrs.update(attrs)


def trials_elsewhere(path):
    with h5py.File(path, "a") as file:
        for name in ("start_time", "stop_time"):
            file[f"intervals/trials/{name}"][:] += 1000.0


@pytest.mark.parametrize(
    ("damage", "place", "what"),
    [
        (no_units, "/units", "no units table"),
        (no_spike_times, "/units", "no spike_times"),
        (no_stimulus, "/stimulus/presentation", "no stimulus"),
        (too_few_timestamps, SERIES, "has 450 frames but its timestamps hold 440"),
        (timestamps_back, f"{SERIES}/timestamps", "do not ascend at frame 100"),
        (nan_timestamps, f"{SERIES}/timestamps", "timestamp 7 is NaN"),
        (no_rate, SERIES, "neither timestamps nor a positive rate"),
        (nan_spike, "/units/spike_times", "unit 10 has 1 spike times that are NaN"),
        (damaged_index, "/units/spike_times", "index does not fit"),
        (repeated_ids, "/units/id", "7 occur more than once"),
        (backward_trial, "/intervals/trials", "row 1 runs from 3 to 0 s"),
        (overlapping_trials, "/intervals/trials", "rows 1 and 2 overlap"),
        (shorter_column, "/intervals/trials", "must be the same length"),
        (trials_elsewhere, "/intervals/trials", "none of its 5 rows has a frame"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_damaged_file_gives_one_message_with_place_and_remedy(write_small, damage, place, what):
    path = write_small()
    damage(path)
    with pytest.raises(InputError) as error:
        open_recording(path)
    first, second = str(error.value).split("\n")
    assert first.startswith(f"{path}: {place}")
    assert what in first
    assert second.startswith("  ") and len(second) > 10


def test_no_spikes_at_all(write_small):
    with pytest.raises(InputError, match="holds no spikes"):
        open_recording(write_small(spike_times=[np.zeros(0), np.zeros(0)]))


def test_spikes_and_stimulus_that_do_not_meet_in_time(write_small, small):
    later = [times + 500.0 for times in small["spike_times"]]
    with pytest.raises(InputError, match="no spike falls into the stimulus") as error:
        open_recording(write_small(spike_times=later))
    assert "one clock" in error.value.remedy
    samples = [times * 30_000.0 + 10**6 for times in small["spike_times"]]
    with pytest.raises(InputError, match="no spike falls into the stimulus") as error:
        open_recording(write_small(spike_times=samples))
    assert "sampling rate" in error.value.remedy


def test_nan_frames(write_small, small):
    frames = small["frames"].astype(np.float32)
    frames[17, 2, 3] = np.nan
    with pytest.raises(InputError, match=f"{SERIES}: frame 17 holds NaN"):
        open_recording(write_small(frames=frames))


def test_frames_in_another_file(write_small):
    series = ImageSeries(
        name="film", external_file=["film.avi"], unit="grey", rate=RATE, num_samples=450
    )
    path = write_small(frames=None, series=[series])
    with pytest.raises(InputError, match=r"keeps its frames in another file \(film.avi\)"):
        open_recording(path)


def test_an_unclear_test_asks_for_test(write_small, small):
    frames = np.tile(small["frames"][:180], (3, 1, 1))
    trials = [(3.0 * i, 3.0 * (i + 1), "ab"[i % 2]) for i in range(6)]
    path = write_small(frames=frames, trials=trials)
    with pytest.raises(InputError, match="not clear which part is the repeated test") as error:
        open_recording(path)
    assert "test=" in error.value.remedy
    recording = open_recording(path, test="kind == 'b'")
    assert recording.test.sizes["trial"] == 3
    assert len(recording.blocks("train")) == 3


@pytest.mark.parametrize(
    ("test", "what"),
    [
        ("kind == 'nothing'", "no row of trials fulfils"),
        ("kin == 'repeat'", "did you mean 'kind'"),
        ([(5.0, 4.0)], r"is \[\(5.0, 4.0\)\]"),
        ([(0.0, 4.0), (3.0, 6.0)], "overlap"),
        ([(900.0, 904.0)], "no frame was on screen"),
        (3, "is 3"),
    ],
)
def test_a_test_that_cannot_be_is_refused(write_small, test, what):
    with pytest.raises(InputError, match=what):
        open_recording(write_small(), test=test)


@pytest.mark.parametrize(
    "option",
    [
        {"stimulus": 3},
        {"stimulus": []},
        {"traces": "DfOverF"},
        {"images": True},
        {"time_bins": 0.1},
        {"allow_external": "no"},
        {"table": 5},
        {"frame_rate": 30.0},
    ],
    ids=lambda option: next(iter(option)),
)
def test_an_option_that_does_not_apply_is_named(write_small, option):
    with pytest.raises(InputError) as error:
        open_recording(write_small(), **option)
    place = "/stimulus/presentation" if "images" in option else next(iter(option))
    assert error.value.where.endswith(place)


def test_every_real_sample_opens_or_says_why_not():
    folder = os.environ.get("NEUROMODELS_DATA")
    if not folder:
        pytest.skip("NEUROMODELS_DATA is not set: no real NWB files here")
    samples = sorted((Path(folder) / "nwb-samples").glob("*.nwb"))
    assert samples
    for path in samples:
        try:
            assert open_recording(path).validate().errors == ()
        except InputError as error:
            first, second = str(error).split("\n")
            assert first.startswith(str(path)) and second.startswith("  ")


def real_sample(name):
    folder = os.environ.get("NEUROMODELS_DATA")
    if not folder:
        pytest.skip("NEUROMODELS_DATA is not set: no real NWB files here")
    return Path(folder) / "nwb-samples" / name


@pytest.mark.parametrize(
    ("name", "place", "what", "remedy"),
    [
        ("pynapple_A8604-211122", "/stimulus/presentation", "no stimulus", 'frame_times="'),
        ("pynwb_1.0.2_nwbfile", "/units", "no units table, no traces", "nwbfile.add_unit"),
        ("pynwb_2.1.0_imageseries_no_data", "/units", "no stimulus", "nwbfile.add_unit"),
        ("pynwb_496908818s", "", "NWB file of version 1", "NWB 2.x"),
    ],
)
def test_a_real_file_says_what_it_lacks_and_what_to_do(name, place, what, remedy):
    path = real_sample(f"{name}.nwb")
    with pytest.raises(InputError, match=what) as error:
        open_recording(path)
    assert error.value.where == (f"{path}: {place}" if place else str(path))
    assert remedy in error.value.remedy


def test_frames_and_trials_beside_a_real_file(tmp_path):
    path = real_sample("pynapple_A8604-211122.nwb")
    movie = checkerboard(1500, 0, 2, 3)
    onsets = 100.0 + np.arange(1500) / 5
    np.save(tmp_path / "movie.npy", movie)
    np.save(tmp_path / "frames.npy", onsets)
    frames = {"stimulus": tmp_path / "movie.npy", "frame_times": tmp_path / "frames.npy"}
    with h5py.File(path) as file:
        times = file["units/spike_times"][:]
        stops = file["units/spike_times_index"][:].astype(int)
    inside = [np.histogram(t, [100.0, 400.0])[0][0] for t in np.split(times, stops[:-1])]
    recording = open_recording(path, bin_width=0.2, **frames)
    np.testing.assert_array_equal(recording.train["response"].sum("time").values, inside)
    np.testing.assert_array_equal(recording.train["stimulus"].values, movie)
    trials = np.array([[100.0, 200.0], [200.0, 400.0]])
    recording = open_recording(
        path, bin_width=0.2, trials=trials, test="start_time > 150", **frames
    )
    assert recording.test.sizes["time"] == 1000
    with pytest.raises(InputError, match="no frames are given"):
        open_recording(path, frame_times=onsets)


def test_spikes_of_a_real_file_meet_a_stimulus_that_was_added_to_it(tmp_path):
    """The one real sample with spikes lacks a stimulus; pynwb adds one, as its owner would."""
    folder = os.environ.get("NEUROMODELS_DATA")
    if not folder:
        pytest.skip("NEUROMODELS_DATA is not set: no real NWB files here")
    from pynwb import NWBHDF5IO

    path = tmp_path / "real.nwb"
    shutil.copyfile(Path(folder) / "nwb-samples" / "pynapple_A8604-211122.nwb", path)
    path.chmod(0o644)
    movie = checkerboard(5000, 0, 2, 3)
    with NWBHDF5IO(str(path), "a") as io:
        nwb = io.read()
        series = ImageSeries(name="noise", data=movie, unit="n.a.", rate=5.0, starting_time=10.0)
        nwb.add_stimulus(series)
        io.write(nwb)
        expected = [np.asarray(nwb.units["spike_times"][i]) for i in range(3)]
    recording = open_recording(path, bin_width=0.010)
    inside = [np.count_nonzero((t >= 10.0) & (t < 1010.0)) for t in expected]
    np.testing.assert_array_equal(recording.train["response"].sum("time").values, inside)
    assert list(recording.neurons) == ["6", "191", "206"]
    assert "group" in recording.tree.coords and "electrode_group" in recording.tree.coords
