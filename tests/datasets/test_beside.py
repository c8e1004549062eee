"""A stimulus beside the spikes: frames and times from different files become one session."""

import h5py
import numpy as np
import pandas as pd
import pytest

from neuromodels.datasets.beside import BESIDE_OPTIONS, is_movie, movies_beside, trials_beside
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.responses import Units
from neuromodels.datasets.sessions import Session, assemble

RATE = 50.0
WHERE = "phy"


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 2, (300, 6, 8), dtype=np.uint8)


def onsets(n, start=2.0, rate=RATE):
    return start + np.arange(n) / rate


def session(beside, spikes):
    units = Units([str(i) for i in range(len(spikes))], spikes)
    return assemble(Session("phy", units, beside.movies, beside.trials, notes=beside.notes))


def test_frame_times_triggers_and_rate_say_the_same(frames, tmp_path):
    np.save(tmp_path / "noise.npy", frames)
    np.save(tmp_path / "times.npy", onsets(300))
    np.savetxt(tmp_path / "triggers.txt", onsets(300)[::10])
    with h5py.File(tmp_path / "daq.h5", "w") as file:
        file["sync/start"] = [2.0]
    given = {"stimulus": "noise.npy", "folder": tmp_path, "where": WHERE}
    ways = (
        {"frame_times": "times.npy"},
        {"frame_times": onsets(300)},
        {"triggers": onsets(300)},
        {"triggers": "triggers.txt", "frames_per_trigger": 10},
        {"triggers": [2.0], "frames_per_trigger": "start", "frame_rate": RATE},
        {"triggers": "daq.h5:/sync/start", "frame_rate": RATE},
        {"frame_rate": RATE, "start": 2.0},
    )
    for way in ways:
        beside = movies_beside(**given, **way)
        (movie,) = beside.movies
        assert movie.name == "noise" and beside.trials is None and beside.notes == [], way
        np.testing.assert_allclose(movie.onsets, onsets(300), atol=1e-9)
        assert movie.period == pytest.approx(1 / RATE)
        np.testing.assert_array_equal(movie.frames.values, frames)


def test_starts_of_a_short_movie_are_not_taken_for_its_frames(frames):
    """Twenty triggers for ten frames: the rate tells that each of them starts the movie."""
    beside = movies_beside(frames[:10], where=WHERE, triggers=np.arange(20.0), frame_rate=RATE)
    assert beside.movies[0].onsets.size == 200
    assert len(beside.trials.frame) == 20


def test_a_rate_alone_begins_at_zero_and_says_so(frames):
    beside = movies_beside(frames, where=WHERE, frame_rate=RATE)
    assert beside.movies[0].onsets[0] == 0
    assert "taken to begin at 0 s" in beside.notes[0]


@pytest.mark.parametrize("way", ["start", "triggers", "frame_times", "starts"])
def test_one_movie_shown_several_times_is_the_repeated_test(frames, way):
    starts = np.array([1.0, 8.5, 15.0])
    every = np.concatenate([onsets(300, start) for start in starts])
    options = {
        "start": {"triggers": starts, "frames_per_trigger": "start", "frame_rate": RATE},
        "starts": {"start": starts, "frame_rate": RATE},
        "triggers": {"triggers": every},
        "frame_times": {"frame_times": every},
    }[way]
    beside = movies_beside(frames, where=WHERE, **options)
    (movie,) = beside.movies
    np.testing.assert_allclose(movie.onsets, every, atol=1e-9)
    assert movie.frames.shape == (900, 6, 8)
    np.testing.assert_array_equal(movie.frames[290:310].values, [*frames[290:], *frames[:10]])
    np.testing.assert_allclose(beside.trials.frame["start_time"], starts, atol=1e-9)
    np.testing.assert_allclose(beside.trials.frame["stop_time"], starts + 6.0, atol=1e-9)
    recording = session(beside, [np.sort(np.random.default_rng(1).uniform(0, 25, 500))])
    assert recording.roles() == ("test",)
    assert recording.test["response"].sizes["trial"] == 3
    assert not recording.validate().errors


def test_spikes_are_counted_in_the_bin_of_their_frame(frames):
    """A spike 5 ms after the onset of every bright frame: the STA must be that pixel alone."""
    beside = movies_beside(frames, where=WHERE, triggers=onsets(300)[::3], frames_per_trigger=3)
    bright = frames[:, 2, 3] == 1
    recording = session(beside, [onsets(300)[bright] + 0.005])
    train = recording.at(1 / RATE).train
    shown = train["stimulus"].values[train["frame_of_bin"].values, 2, 3]
    np.testing.assert_array_equal(train["response"].values[:, 0], shown)


def test_several_movies_by_name(frames):
    beside = movies_beside(
        {"noise": frames, "clip": frames[:100]},
        where=WHERE,
        start={"noise": 1.0, "clip": [10.0, 13.0]},
        frame_rate=RATE,
    )
    assert [movie.name for movie in beside.movies] == ["noise", "clip"]
    assert beside.trials.frame["stimulus"].tolist() == ["noise", "clip", "clip"]
    recording = session(beside, [np.sort(np.random.default_rng(1).uniform(0, 20, 500))])
    assert recording.stimuli == ("noise", "clip")
    assert recording.roles("clip") == ("test",)
    assert recording.roles("noise") == ("train",)


def test_movies_that_overlap_in_time_are_refused(frames):
    with pytest.raises(InputError, match=r"b begins at 3 s, while a runs until 7 s"):
        movies_beside({"a": frames, "b": frames}, where=WHERE, start=[1.0, 3.0], frame_rate=RATE)


def test_irregular_frames_are_noted_with_the_numbers(frames):
    times = onsets(300)
    times[100:] += 1 / RATE
    (note,) = movies_beside(frames, where=WHERE, frame_times=times).notes
    assert note.startswith("stimulus: frame intervals are irregular: usual interval 20 ms")
    assert "1 refreshes missed" in note and "after frame 99" in note


def test_a_rate_that_contradicts_the_times_is_noted(frames):
    (note,) = movies_beside(frames, where=WHERE, frame_times=onsets(300), frame_rate=60).notes
    assert "every 20 ms" in note and "frame_rate says 60" in note


@pytest.mark.parametrize(
    "options, said",
    [
        ({}, r"nothing says when(.|\n)*frame_times=(.|\n)*triggers=(.|\n)*frame_rate="),
        ({"triggers": [1.0]}, "frame_rate="),
        ({"triggers": onsets(300), "frame_times": onsets(300)}, "both frame_times and triggers"),
        ({"triggers": onsets(299)}, "there are 299 triggers for 300 frames"),
        ({"triggers": np.delete(onsets(300), 50)}, "trigger 49 at 2.98 s is followed by a gap"),
        ({"triggers": onsets(300), "frames_per_trigger": 0}, "frames_per_trigger: is 0"),
        ({"triggers": onsets(300), "frames_per_trigger": "stop"}, "'start'"),
        ({"frame_times": onsets(301)}, "leave it out"),
        ({"frame_times": onsets(20)}, "holds 20 times for a movie of 300 frames"),
        ({"frame_times": onsets(300) * 1000}, "look like milliseconds"),
        ({"frame_times": np.rint(onsets(300) * 30_000)}, "look like samples"),
        ({"frame_rate": 0}, "frame_rate: is 0"),
        ({"frame_rate": "fast"}, "frame_rate: is 'fast'"),
        ({"frame_rate": 50, "start": [1.0, 2.0]}, "before the movie ends"),
        ({"frame_rate": 50, "start": np.nan}, "time 0 is NaN"),
    ],
)
def test_what_is_missing_or_wrong_is_named(frames, options, said):
    with pytest.raises(InputError, match=said):
        movies_beside(frames, where=WHERE, **options)


def test_one_of_several_movies_outside_of_the_recording_is_named(frames):
    movies, starts = {"a": frames, "b": frames}, {"a": 0.0, "b": 150.0}
    with pytest.raises(InputError, match="the recording runs from 0 to 100 s"):
        movies_beside(movies, where=WHERE, frame_rate=50, start=starts, span=(0.0, 100.0))


def test_without_a_stimulus_it_is_asked_for():
    with pytest.raises(InputError, match=r"no frames(.|\n)*stimulus=(.|\n)*schedule="):
        movies_beside(None, where=WHERE, frame_rate=50)


def test_what_is_a_movie_and_what_a_name(frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("noise.npy", frames)
    (tmp_path / "folder").mkdir()
    movies = (frames, "noise.npy", tmp_path / "x.npy", ["noise.npy"], {"a": frames})
    assert all(is_movie(given) for given in movies)
    assert is_movie({"generator": "white-noise"})
    names = (None, "noise", "folder", "", ["noise", "bars"], [], {}, True, 3, "a\0b")
    assert not any(is_movie(given) for given in names)
    assert is_movie("noise.npy", tmp_path)


def test_trials_from_csv_table_and_array(tmp_path):
    (tmp_path / "trials.csv").write_text("start_time,stop_time,kind\n0,2,train\n2,4,repeat\n")
    trials = trials_beside("trials.csv", WHERE, tmp_path)
    assert trials.name == "trials.csv" and trials.frame["kind"].tolist() == ["train", "repeat"]
    assert trials.frame["stop_time"].dtype.kind in "if"
    pairs = trials_beside([(0, 2), (2, 4)], WHERE)
    table = trials_beside(pd.DataFrame({"start": [0.0, 2], "stop": [2.0, 4]}), WHERE)
    for given in (trials, pairs, table):
        np.testing.assert_array_equal(given.frame[["start_time", "stop_time"]], [[0, 2], [2, 4]])


@pytest.mark.parametrize(
    "content, said",
    [
        ("start_time\n1\n", "no column stop_time"),
        ("start_time,stop_time\n1,x\n", "column stop_time holds something other"),
        ("start_time,stop_time\n", "has no rows"),
        ("start,stop,start_time\n1,2,1\n", "more than one column start_time"),
        ("", "is empty"),
    ],
)
def test_bad_trials_are_named(tmp_path, content, said):
    (tmp_path / "trials.csv").write_text(content)
    with pytest.raises(InputError, match=said):
        trials_beside(tmp_path / "trials.csv", WHERE)


def test_the_users_trials_choose_the_test(frames):
    clip, noise = frames[:100], np.random.default_rng(5).integers(0, 2, (200, 6, 8), np.uint8)
    movie = np.concatenate([noise[:100], clip, noise[100:], clip])
    table = pd.DataFrame(
        {"start": np.arange(4) * 2.0, "stop": np.arange(4) * 2.0 + 2, "kind": list("abab")}
    )
    beside = movies_beside(movie, where=WHERE, frame_rate=RATE, start=0.0, trials=table)
    units = Units(["0"], [np.sort(np.random.default_rng(1).uniform(0, 8, 200))])
    recording = assemble(
        Session("phy", units, beside.movies, beside.trials, notes=beside.notes), test="kind == 'b'"
    )
    assert recording.test["response"].sizes["trial"] == 2
    assert recording.train["response"].sizes["time"] == 4000


def test_a_movie_that_outlasts_the_recording_is_noted(frames):
    beside = movies_beside(frames, where=WHERE, frame_rate=RATE, start=0.0, span=(0.0, 4.0))
    assert "runs until 6 s, the recording until 4 s" in beside.notes[0]


def test_the_options_are_those_of_the_function():
    import inspect

    assert set(BESIDE_OPTIONS) < set(inspect.signature(movies_beside).parameters)
