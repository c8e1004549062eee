"""openretina's layout for sessions of one's own, built by h5py and numpy alone."""

import pickle
from fractions import Fraction

import h5py
import numpy as np
import pytest

from neuromodels.datasets.errors import RecordingError
from neuromodels.datasets.opening import open_recording


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return {
        "movies": {
            "mouse": rng.random((2, 300, 4, 5)).astype("f4"),
            "noise": rng.random((2, 200, 4, 5)).astype("f4"),
            "test_clip": rng.random((2, 100, 4, 5)).astype("f4"),
        },
        "mouse": rng.poisson(0.3, (3, 300)),
        "noise": rng.poisson(0.3, (3, 200)),
        "test_clip": rng.poisson(0.3, (6, 3, 100)),
    }


def write(folder, data, own=(), names=("session1",), info=True):
    (folder / "stimuli").mkdir(parents=True)
    for name, movie in data["movies"].items():
        if name not in own:
            np.save(folder / "stimuli" / f"{name}.npy", movie)
    for session in names:
        with h5py.File(folder / f"{session}.h5", "w") as file:
            for name in data["movies"]:
                file[f"responses_{name}"] = data[name]
                if name in own:
                    file[f"stimulus_{name}"] = data["movies"][name]
            if info:
                file["session_info/animal"] = "m1"
                file["session_info/group"] = np.array([1, 5, 9])
    return folder


def check(recording, data):
    train, test = recording.train, recording.test
    movie = np.concatenate([data["movies"][n].transpose(1, 0, 2, 3) for n in ("mouse", "noise")])
    assert np.array_equal(train.stimulus.values, movie)
    counts = np.concatenate([data[n].T for n in ("mouse", "noise")])
    assert np.array_equal(train.response.values, counts)
    assert np.array_equal(train.block.values, np.repeat([0, 1], [300, 200]))
    assert np.array_equal(test.response.values, data["test_clip"].transpose(0, 2, 1))
    clip = data["movies"]["test_clip"].transpose(1, 0, 2, 3)
    assert np.array_equal(test.stimulus.values, clip)
    assert train.response.attrs["kind"] == "count"
    assert recording.exact_bin_width == Fraction(1, 30)
    assert not recording.validate().errors


@pytest.mark.parametrize("own", [(), ("noise",), ("mouse", "noise", "test_clip")])
def test_a_folder_and_a_session_are_read_as_published(tmp_path, data, own):
    folder = write(tmp_path / "data", data, own)
    check(open_recording(folder, frame_rate=30), data)
    recording = open_recording(folder / "session1.h5", frame_rate=30)
    check(recording, data)
    assert recording.attrs["animal"] == "m1"
    assert recording.tree.coords["group"].values.tolist() == [1, 5, 9]


def test_frames_stay_on_disk(tmp_path, data):
    recording = open_recording(write(tmp_path / "data", data, ("noise",)), frame_rate=30)
    variable = recording.train.stimulus.variable
    assert not isinstance(variable._data, np.ndarray)
    both = np.concatenate([data["movies"][n].transpose(1, 0, 2, 3) for n in ("mouse", "noise")])
    assert np.array_equal(variable[295:305].values, both[295:305])


def test_the_frame_rate_is_asked_for_unless_the_session_states_it(tmp_path, data):
    folder = write(tmp_path / "data", data)
    with pytest.raises(RecordingError, match="states no frame rate"):
        open_recording(folder)
    with h5py.File(folder / "session1.h5", "r+") as file:
        file["session_info/frame_rate"] = 30.0
    check(open_recording(folder), data)


def test_the_test_is_chosen_by_name(tmp_path, data):
    folder = write(tmp_path / "data", data)
    other = open_recording(folder, frame_rate=30, test="noise", stimulus=["mouse", "noise"])
    assert other.train.sizes["time"] == 300
    assert other.test.response.shape == (1, 200, 3)
    assert any("no noise ceiling" in note for note in other.attrs["notes"])
    none = open_recording(folder, frame_rate=30, test="none", stimulus=["mouse", "noise"])
    assert none.roles() == ("train",)
    with pytest.raises(RecordingError, match="no 'chirp'"):
        open_recording(folder, frame_rate=30, test="chirp")


def test_several_sessions_need_a_name(tmp_path, data):
    folder = write(tmp_path / "data", data, names=("a", "b"))
    with pytest.raises(RecordingError, match="holds 2 sessions"):
        open_recording(folder, frame_rate=30)
    check(open_recording(folder, frame_rate=30, session="b"), data)


def test_traces_are_no_counts(tmp_path, data):
    data = {**data, "mouse": data["mouse"] + 0.5}
    folder = write(tmp_path / "data", data)
    found = open_recording(folder, frame_rate=30)
    assert found.train.response.attrs["kind"] == "trace"
    assert open_recording(folder, frame_rate=30, kind="rate").test.response.attrs["kind"] == "rate"


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda d: d["movies"].update(mouse=d["movies"]["mouse"][:, :250]), "300 bins, the stim"),
        (lambda d: d["movies"].update(mouse=d["movies"]["mouse"][0]), "must be"),
        (lambda d: d.update(noise=d["noise"][:2]), "different numbers of neurons"),
        (lambda d: d["movies"].update(noise=d["movies"]["noise"][..., :3]), "different sizes"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, data, spoil, what):
    spoil(data)
    folder = write(tmp_path / "data", data)
    with pytest.raises(RecordingError, match=what):
        open_recording(folder, frame_rate=30)


def test_a_missing_movie_is_named(tmp_path, data):
    folder = write(tmp_path / "data", data)
    (folder / "stimuli" / "noise.npy").unlink()
    with pytest.raises(RecordingError, match=r"stimuli/noise\.npy"):
        open_recording(folder, frame_rate=30)


def test_a_pickle_is_refused_and_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "movies.pkl"
    path.write_bytes(pickle.dumps({"train": Trap()}))
    with pytest.raises(RecordingError, match="Python pickle") as error:
        open_recording(path)
    assert "np.save" in error.value.remedy
    assert not (tmp_path / "ran").exists()
    movie = tmp_path / "data" / "stimuli"
    movie.mkdir(parents=True)
    np.save(movie / "train.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    with h5py.File(tmp_path / "data" / "a.h5", "w") as file:
        file["responses_train"] = np.ones((2, 5))
    with pytest.raises(RecordingError, match="nothing that is read is executed"):
        open_recording(tmp_path / "data", frame_rate=30)
