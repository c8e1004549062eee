"""Braille letters: the published file and no other, honest halves, and spikes of its changes."""

import http.server
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromodels.datasets import braille
from neuromodels.datasets.braille import encode_send_on_delta, load_braille, restricted_load
from neuromodels.datasets.downloads import RemoteFile, fetch
from neuromodels.datasets.errors import InputError


@pytest.fixture(scope="module")
def folder():
    data = os.environ.get("NEUROMODELS_DATA")
    if not data or not (Path(data) / "spikes-braille").is_dir():
        pytest.skip("set NEUROMODELS_DATA to a folder that holds spikes-braille")
    return Path(data) / "spikes-braille"


@pytest.fixture
def server(tmp_path):
    """A web server on this machine, for what is in a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "published"))

        def log_message(self, *args):
            pass

    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "letters.gz").write_bytes(b"letters")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def letters_at(server, sha256=None):
    import hashlib

    return RemoteFile(f"{server}/letters.gz", 7, sha256 or hashlib.sha256(b"letters").hexdigest())


# Downloading


def test_a_file_is_downloaded_once_and_kept(server, tmp_path):
    cache = tmp_path / "cache" / "deep"
    path = fetch(letters_at(server), cache)
    assert path.read_bytes() == b"letters"
    (tmp_path / "published" / "letters.gz").unlink()
    assert fetch(letters_at(server), cache) == path
    assert [item.name for item in cache.iterdir()] == ["letters.gz"]


def test_the_cache_can_be_chosen(server, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROMODELS_CACHE", str(tmp_path / "mine"))
    assert fetch(letters_at(server)) == tmp_path / "mine" / "letters.gz"


def test_another_file_than_the_published_one_is_refused_and_not_kept(server, tmp_path):
    with pytest.raises(InputError, match="is not the published file letters.gz"):
        fetch(letters_at(server, sha256="0" * 64), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_kept_file_that_was_changed_is_refused(server, tmp_path):
    path = fetch(letters_at(server), tmp_path)
    path.write_bytes(b"LETTERS")
    with pytest.raises(InputError, match="Delete it"):
        fetch(letters_at(server), tmp_path)


def test_a_failed_download_says_how_to_do_without(server, tmp_path):
    missing = letters_at(server)._replace(address=f"{server}/nothing.gz")
    with pytest.raises(InputError, match="cannot be downloaded.*\n.*by hand"):
        fetch(missing, tmp_path)
    with pytest.raises(InputError, match="cannot be downloaded"):
        fetch(missing._replace(address="http://127.0.0.1:1/nothing.gz"), tmp_path)


# Reading


def test_it_holds_50_touches_of_27_letters(folder):
    letters = load_braille(folder, subtract_first=False)
    assert letters.analog.shape == (1350, 76, 12)
    assert letters.letter_names == ("Space", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert (np.bincount(letters.letters) == 50).all()
    assert (np.bincount(letters.repetitions) == 27).all()
    assert (letters.analog.min(), letters.analog.max()) == (55, 255)


def test_subtraction_leaves_the_first_frame_at_zero_and_all_changes_as_they_were(folder):
    raw = load_braille(folder, subtract_first=False)
    changes = load_braille(folder)
    assert not changes.analog[:, 0].any()
    assert np.array_equal(np.diff(changes.analog, axis=1), np.diff(raw.analog, axis=1))


def test_it_agrees_with_an_unrestricted_reading(folder):
    import gzip

    raw = load_braille(folder, subtract_first=False)
    # The published file; its sha256 was checked by the line above.
    with gzip.open(folder / "tutorial5_braille_spiking_data.pkl.gz") as file:
        samples = pickle.load(file)
    for i in (0, 7, 700, 1349):
        assert np.array_equal(raw.analog[i], samples[i]["taxel_data"][:76])
        assert raw.letter_names[raw.letters[i]] == samples[i]["letter"]
        assert raw.repetitions[i] == samples[i]["repetition"]


def test_the_honest_split_trains_on_the_earlier_half_of_each_letter(folder):
    letters = load_braille(folder)
    train, test = letters.honest_split()
    assert not (train & test).any()
    assert (train | test).all()
    assert letters.repetitions[train].max() == 24
    assert letters.repetitions[test].min() == 25
    assert (np.bincount(letters.letters[train]) == 25).all()


def test_linear_baselines_of_the_honest_split(folder):
    """Logistic regression on every 8th frame, as in the data's description; and on all frames."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def accuracy(subtract, every, classifier):
        letters = load_braille(folder, subtract_first=subtract)
        train, test = letters.honest_split()
        x, y = letters.analog[:, ::every].reshape(1350, -1), letters.letters
        fitted = make_pipeline(StandardScaler(), classifier).fit(x[train], y[train])
        return fitted.score(x[test], y[test])

    assert accuracy(False, 8, LogisticRegression(max_iter=300)) == pytest.approx(0.991, abs=0.003)
    assert accuracy(True, 8, LogisticRegression(max_iter=300)) == pytest.approx(0.951, abs=0.003)
    # What a spiking network, which sees all frames, must be compared with.
    assert accuracy(True, 1, LogisticRegression(max_iter=300)) == pytest.approx(0.981, abs=0.004)
    assert accuracy(True, 1, LinearDiscriminantAnalysis()) == pytest.approx(0.9985, abs=0.003)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_a_pickle_that_would_run_code_is_refused_before_it_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="mkdir, which could run code"):
        restricted_load(pickle.dumps([Harmful()]), "letters.pkl")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("call", [eval, getattr, np.load, pickle.loads])
def test_a_pickle_that_names_any_function_is_refused(call):
    with pytest.raises(InputError, match="could run code"):
        restricted_load(pickle.dumps([call]), "letters.pkl")


def test_arrays_and_plain_values_pass_and_damage_is_said():
    data = pickle.dumps([{"letter": "A", "taxel_data": np.arange(6.0).reshape(2, 3)}])
    (sample,) = restricted_load(data, "letters.pkl")
    assert np.array_equal(sample["taxel_data"], [[0, 1, 2], [3, 4, 5]])
    for damaged in (data[:-20], b"", b"no pickle"):
        with pytest.raises(InputError, match="is damaged"):
            restricted_load(damaged, "letters.pkl")


def test_another_file_is_never_unpickled(tmp_path, monkeypatch):
    import gzip

    monkeypatch.setattr(braille, "restricted_load", None)  # calling it would fail
    path = tmp_path / "letters.pkl.gz"
    path.write_bytes(gzip.compress(pickle.dumps([])))
    with pytest.raises(InputError, match="is not the published file"):
        load_braille(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_braille(tmp_path)


# Encoding


def crossings_on_a_fine_grid(signal, threshold, fine=2000):
    """ON and OFF times (frames) of one signal, by walking along its straight lines."""
    # Levels are counted: a signal that comes back to where it was meets the very same one.
    start, n, found = signal[0], 0, []
    for frame in range(1, len(signal)):
        a, b = signal[frame - 1], signal[frame]
        for k in range(1, fine + 1):
            now = a + (b - a) * k / fine
            while now >= start + (n + 1) * threshold:
                n += 1
                found.append((frame - 1 + k / fine, 0))
            while now <= start + (n - 1) * threshold:
                n -= 1
                found.append((frame - 1 + k / fine, 1))
    return found


@given(st.lists(st.floats(-3, 3, width=16), min_size=2, max_size=6), st.sampled_from([0.37, 1.1]))
@settings(max_examples=25)
def test_spikes_come_where_a_walk_along_the_signal_meets_the_next_level(signal, threshold):
    (trains,) = encode_send_on_delta(np.array(signal)[None, :, None], threshold, 0.5)
    truth = crossings_on_a_fine_grid(signal, threshold)
    for neuron in (0, 1):
        expected = [time * 0.5 for time, kind in truth if kind == neuron]
        assert trains.of(neuron).size == len(expected)
        np.testing.assert_allclose(trains.of(neuron), expected, atol=0.5 / 2000 + 1e-9)


def test_samples_and_channels_are_encoded_on_their_own():
    rng = np.random.default_rng(0)
    analog = np.cumsum(rng.normal(size=(3, 20, 4)), axis=1)
    together = encode_send_on_delta(analog, 0.5, 0.025)
    assert [t.n_neurons for t in together] == [8, 8, 8]
    assert {t.duration for t in together} == {20 * 0.025}
    for i in range(3):
        for c in range(4):
            (alone,) = encode_send_on_delta(analog[i : i + 1, :, c : c + 1], 0.5, 0.025)
            assert np.array_equal(together[i].of(c), alone.of(0))
            assert np.array_equal(together[i].of(c + 4), alone.of(1))


def test_spikes_count_the_change_of_the_signal(folder):
    letters = load_braille(folder)
    for trains, analog in zip(
        encode_send_on_delta(letters.analog, 2.0, letters.frame_s)[::100],
        letters.analog[::100],
        strict=True,
    ):
        counts = np.bincount(trains.neurons, minlength=24)
        change = 2.0 * (counts[:12].astype(float) - counts[12:])
        assert (np.abs(analog[-1] - analog[0] - change) < 2.0).all()


def test_an_offset_leaves_no_trace():
    signal = np.random.default_rng(1).integers(0, 50, (2, 30, 3)).astype(float)
    plain, shifted = (encode_send_on_delta(s, 2.0, 0.1) for s in (signal, signal + 100))
    assert all(a == b for a, b in zip(plain, shifted, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"analog": np.zeros((3, 4))}, r"analog: is float64 of shape \(3, 4\)"),
        ({"analog": np.full((1, 3, 1), np.nan)}, r"analog: is NaN or infinite at .*\(0, 0, 0\)"),
        ({"threshold": 0.0}, "threshold: is 0.0"),
        ({"frame_s": -1.0}, "frame_s: is -1.0"),
    ],
)
def test_impossible_signals_are_refused(change, message):
    good = {"analog": np.zeros((1, 3, 1)), "threshold": 1.0, "frame_s": 0.1}
    with pytest.raises(InputError, match=message):
        encode_send_on_delta(**good | change)
