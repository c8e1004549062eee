"""A schedule in stimuli.csv says which movie was shown when, and what is the test."""

import numpy as np
import pandas as pd
import pytest

from neuromodels.datasets.beside import movies_beside
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.responses import Units
from neuromodels.datasets.sessions import Session, assemble

RATE = 20.0
WHERE = "phy"
#: noise 20 s, clip 4 s, noise 20 s, clip 4 s, clip 4 s; a second between them.
STARTS = (0.5, 21.5, 26.5, 47.5, 52.5)
TABLE = """stimulus,start,repeat,frame_rate
noise_a.npy,0.5,,20
clip.npy,21.5,1,20
noise_b.npy,26.5,,20
clip.npy,47.5,2,20
clip.npy,52.5,3,20
"""


@pytest.fixture
def lab(tmp_path):
    rng = np.random.default_rng(0)
    movies = {
        name: rng.integers(0, 2, (n, 5, 6), dtype=np.uint8)
        for name, n in (("noise_a", 400), ("noise_b", 400), ("clip", 80))
    }
    for name, frames in movies.items():
        np.save(tmp_path / f"{name}.npy", frames)
    (tmp_path / "stimuli.csv").write_text(TABLE)
    return tmp_path, movies


def read(folder, table=None, **options):
    if table is not None:
        (folder / "stimuli.csv").write_text(table)
    return movies_beside(None, where=WHERE, schedule=folder / "stimuli.csv", **options)


def check(beside, movies):
    (movie,) = beside.movies
    order = ("noise_a", "clip", "noise_b", "clip", "clip")
    expected = np.concatenate([movies[name] for name in order])
    assert movie.name == "stimuli"
    np.testing.assert_array_equal(movie.frames.values, expected)
    # Across the end of one file and the beginning of the next.
    np.testing.assert_array_equal(movie.frames[390:490].values, expected[390:490])
    times = [s + np.arange(len(movies[n])) / RATE for s, n in zip(STARTS, order, strict=True)]
    np.testing.assert_allclose(movie.onsets, np.concatenate(times), atol=1e-9)
    assert beside.trials.test.tolist() == [False, True, False, True, True]
    np.testing.assert_allclose(beside.trials.frame["start_time"], STARTS, atol=1e-9)


def test_presentations_of_one_size_are_one_stimulus_with_a_test(lab):
    folder, movies = lab
    beside = read(folder)
    check(beside, movies)
    spikes = np.sort(np.random.default_rng(1).uniform(0, 57, 900))
    recording = assemble(Session("phy", Units(["0"], [spikes]), beside.movies, beside.trials))
    assert not recording.validate().errors
    assert recording.test["response"].sizes == {"trial": 3, "time": 4000, "neuron": 1}
    assert recording.train["response"].sizes == {"time": 40_000, "neuron": 1}
    assert "the repeats of stimuli.csv (3 trials" in recording.test.attrs["selection"]
    # Counted by hand, from the spike times alone.
    trial = np.histogram(spikes, 47.5 + np.arange(4001) / 1000)[0]
    np.testing.assert_array_equal(recording.test["response"].values[1, :, 0], trial)
    np.testing.assert_array_equal(recording.test["stimulus"].values, movies["clip"])


def test_order_delimiter_and_spaces_do_not_matter(lab):
    folder, movies = lab
    heading, *rows = TABLE.strip().split("\n")
    table = "\ufeff" + "\r\n".join([heading, *reversed(rows)]).replace(",", " ; ")
    check(read(folder, table), movies)


def test_a_table_in_memory_with_movies_by_name(lab):
    folder, movies = lab
    table = pd.read_csv(folder / "stimuli.csv")
    check(movies_beside(None, where=WHERE, schedule=table, folder=folder), movies)
    named = table.assign(stimulus=[name[:-4] for name in table["stimulus"]])
    check(movies_beside(movies, where=WHERE, schedule=named), movies)


def without_rate():
    return "\n".join(line.rpartition(",")[0] for line in TABLE.strip().split("\n"))


def all_onsets(movies):
    order = ("noise_a", "clip", "noise_b", "clip", "clip")
    return [s + np.arange(len(movies[n])) / RATE for s, n in zip(STARTS, order, strict=True)]


def test_the_rate_may_be_given_once(lab):
    folder, movies = lab
    check(read(folder, without_rate(), frame_rate=RATE), movies)


def test_frame_times_and_triggers_of_the_session_are_shared_out(lab):
    folder, movies = lab
    times = all_onsets(movies)
    check(read(folder, without_rate(), frame_times=np.concatenate(times)), movies)
    check(read(folder, without_rate(), triggers=np.concatenate(times)), movies)
    every = np.concatenate([own[::8] for own in times])
    check(read(folder, without_rate(), triggers=every, frames_per_trigger=8), movies)
    beside = read(folder, TABLE.replace(",0.5,", ",0.52,"), triggers=np.array(STARTS))
    check(beside, movies)
    assert "move the starts of the schedule by 20 ms" in beside.notes[0]


def test_a_missing_trigger_is_named_with_its_row(lab):
    folder, movies = lab
    times = all_onsets(movies)
    times[3] = np.delete(times[3], 40)
    with pytest.raises(InputError, match=r"row 5 \(clip.npy\): there are 79 triggers for 80") as e:
        read(folder, without_rate(), triggers=np.concatenate(times))
    assert "trigger 39 at 49.45 s is followed by a gap of 2.0 intervals" in e.value.what


def test_names_and_sizes_make_stimuli(lab):
    folder, movies = lab
    np.save(folder / "bars.npy", np.arange(60.0)[:, None, None] * np.ones((3, 3)))
    more = TABLE + "bars.npy,60,,20\n"
    assert [movie.name for movie in read(folder, more).movies] == ["noise_a", "bars"]
    lines = more.strip().split("\n")
    names = ["name", "noise", "clip", "noise", "clip", "clip", "bars"]
    named = "\n".join(f"{line},{name}" for line, name in zip(lines, names, strict=True))
    beside = read(folder, named)
    assert [movie.name for movie in beside.movies] == ["noise", "clip", "bars"]
    np.testing.assert_array_equal(
        beside.movies[1].frames.values, np.tile(movies["clip"], (3, 1, 1))
    )
    spikes = np.sort(np.random.default_rng(1).uniform(0, 63, 900))
    recording = assemble(Session("phy", Units(["0"], [spikes]), beside.movies, beside.trials))
    assert recording.roles("clip") == ("test",)
    assert recording.roles("noise") == ("train",)
    with pytest.raises(InputError, match="row 7 and row 2 are both named noise"):
        read(folder, named.replace("20,bars", "20,noise"))


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("21.5", "twelve", r"row 3 \(the heading is row 1\): start is 'twelve'"),
        ("21.5", "nan", "row 3"),
        ("21.5", "", "row 3"),
        ("21.5,1", "21.5,once", "row 3 .*repeat is 'once'"),
        ("2,20", "2,-20", "row 5 .*frame_rate is '-20'"),
        ("2,20", "2,", "row 5 has no frame rate"),
        ("noise_b.npy", "noise_c.npy", r"row 4: stimulus is 'noise_c.npy', and there is no such"),
        ("noise_b.npy", "", "row 4 .*names no stimulus"),
        ("noise_b.npy", "../noise_b.npy", "row 4.*leaves the folder"),
        ("noise_b.npy", "/etc/passwd", "row 4.*leaves the folder"),
        ("noise_b.npy", "C:\\\\movie.npy", "row 4.*leaves the folder"),
        ("noise_b.npy", "stimuli.csv", "row 4: stimuli.csv: is of a kind"),
        ("26.5", "22.5", r"row 4 \(noise_b.npy\) starts at 22.5 s, before row 3 \(clip.npy\) ends"),
        ("26.5", "21.5", r"row 4"),
        ("stimulus,", "movie,", "no column 'stimulus'"),
        ("repeat", "start", "two columns 'start'"),
        ("21.5,1,20", "21,5,1,20", "row 3 has 5 cells"),
        (TABLE, "stimulus,start\n", "has no rows"),
        (TABLE, "", "is empty"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(lab, old, new, said):
    folder, _ = lab
    with pytest.raises(InputError, match=said) as error:
        read(folder, TABLE.replace(old, new, 1))
    assert "stimuli.csv" in error.value.where


def test_a_link_may_not_leave_the_folder(lab, tmp_path_factory):
    folder, movies = lab
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    np.save(elsewhere / "noise.npy", movies["noise_b"])
    (folder / "linked.npy").symlink_to(elsewhere / "noise.npy")
    with pytest.raises(InputError, match="row 4.*a link that leaves the folder"):
        read(folder, TABLE.replace("noise_b.npy", "linked.npy"))


def test_datasets_and_generators_serve_as_movies(lab):
    import h5py

    folder, movies = lab
    with h5py.File(folder / "all.h5", "w") as file:
        file["clip"] = movies["clip"]
    (folder / "noise.toml").write_text(
        'generator = "white-noise"\nseed = 3\nshape = [5, 6]\nn_frames = 400\n'
    )
    table = TABLE.replace("clip.npy", "all.h5:/clip").replace("noise_b.npy", "noise.toml")
    uniform = np.random.default_rng(3).random((400, 5, 6))
    check(read(folder, table), {**movies, "noise_b": (uniform < 0.5).astype(np.uint8)})


def test_a_start_beyond_the_recording_is_named(lab):
    folder, _ = lab
    assert read(folder, span=(0.0, 60.0)).movies
    with pytest.raises(InputError, match=r"row 6 starts at 52.5 s, the recording ends at 50 s"):
        read(folder, span=(0.0, 50.0))
    with pytest.raises(InputError, match="start is given with a schedule"):
        read(folder, start=0.0)
