"""NWB files that we write: what pynwb, its validator and nwbinspector say, and what comes back."""

import warnings

import h5py
import numpy as np
import pytest
from random_recordings import assert_same, random_recording
from small_recording import small_recording

from neuromodels.datasets.building import build_recording, build_role
from neuromodels.datasets.converting import convert
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.opening import open_recording

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def recording():
    return small_recording(n_blocks=3, n_bins=300, n_trials=4)


@pytest.fixture(scope="module")
def path(recording, tmp_path_factory):
    return convert(recording, tmp_path_factory.mktemp("nwb") / "a.nwb")


def read_by_pynwb(path, read):
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(path), "r") as io:
        return read(io.read())


def test_pynwb_and_nwbinspector_find_nothing_wrong(path, tmp_path):
    from pynwb import validate

    inspector = pytest.importorskip("nwbinspector")
    assert validate(path=str(path)) == []
    bad = {"BEST_PRACTICE_VIOLATION", "CRITICAL", "PYNWB_VALIDATION", "ERROR"}
    found = [
        (m.check_function_name, m.message)
        for m in inspector.inspect_nwbfile(nwbfile_path=str(path))
        if m.importance.name in bad
    ]
    assert found == []


@pytest.mark.parametrize(("seed", "kind"), [(4, "count"), (5, "trace")])
def test_the_validator_accepts_all_that_a_recording_may_hold(tmp_path, seed, kind):
    from pynwb import validate

    path = convert(random_recording(seed, 2, kind), tmp_path / "a.nwb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert validate(path=str(path)) == []


def test_spikes_lie_in_their_bins_and_trials_say_where(recording, path):
    def counted(nwb):
        trials = nwb.trials.to_dataframe()
        rows = trials[(trials.role == "test") & (trials.trial == 2)]
        start = rows.start_time.iloc[0]
        n_bins = round((rows.stop_time.iloc[0] - start) / 0.01)
        edges = start + np.arange(n_bins + 1) * 0.01
        names = list(nwb.units["unit_name"][:])
        spikes = [np.histogram(nwb.units["spike_times"][i], edges)[0] for i in range(3)]
        return names, np.stack(spikes, axis=1), len(trials)

    names, counts, n_rows = read_by_pynwb(path, counted)
    assert names == recording.neurons.tolist()
    np.testing.assert_array_equal(counts, recording.test["response"].sel(trial=2))
    assert n_rows == 3 + 2 + 4


def test_frames_lie_in_the_order_of_the_schema_with_their_onsets(recording, path):
    def frames(nwb):
        series = nwb.stimulus["stimulus_train"]
        shown = nwb.intervals["stimulus_test_presentations"].to_dataframe()
        template = nwb.stimulus_template["stimulus_test"].data[:]
        return series.data[:], series.rate, shown, template

    data, rate, shown, template = read_by_pynwb(path, frames)
    movie = recording.train["stimulus"].values  # (frame, y, x)
    np.testing.assert_array_equal(data, movie.transpose(0, 2, 1))
    assert rate == pytest.approx(100)
    np.testing.assert_array_equal(template, recording.test["stimulus"].values.transpose(0, 2, 1))
    assert shown.frame[shown["repeat"] == 3].tolist() == list(range(300))
    np.testing.assert_allclose(shown.stop_time - shown.start_time, 0.01)


def test_as_any_nwb_file_it_holds_the_same_counts_for_the_same_frames(recording, path):
    plain = open_recording(path, restore=False, bin_width=0.01)
    assert plain.attrs["format"].startswith("NWB 2")
    test = plain.role("test", "stimulus_test")
    np.testing.assert_array_equal(test["response"], recording.test["response"])
    np.testing.assert_array_equal(
        test["stimulus"].values[test["frame_of_bin"].values],
        recording.test["stimulus"].values[recording.test["frame_of_bin"].values],
    )


def test_restored_it_is_the_same_from_a_path_and_from_a_file_object(recording, path):
    assert_same(recording, open_recording(path))
    with path.open("rb") as file:
        assert_same(recording, open_recording(file))


def test_a_restored_movie_is_read_by_pieces(path, recording):
    movie = open_recording(path).train["stimulus"]
    assert not movie.variable._in_memory
    expected = recording.train["stimulus"].values
    np.testing.assert_array_equal(movie[5:9].values, expected[5:9])
    np.testing.assert_array_equal(movie[[7, 3, 3], ::-2].values, expected[[7, 3, 3], ::-2])
    np.testing.assert_array_equal(movie[4, 2].values, expected[4, 2])


def test_channels_uneven_bins_and_hundreds_of_spikes_per_bin(tmp_path):
    rng = np.random.default_rng(0)
    role = build_role(
        rng.normal(size=(6, 3, 4, 5)).astype("f4"),
        rng.poisson(300, (9, 2)),
        bin_width=1 / 60,
        frame_of_bin=[-1, 0, 0, 2, 1, 1, -1, 5, 5],
        time=np.array([0, 1, 2, 3, 50, 51, 52, 53, 54]) / 60,
        block=[0, 0, 0, 0, 1, 1, 1, 1, 1],
    )
    recording = build_recording({"s": {"train": role}})
    path = convert(recording, tmp_path / "a.nwb")
    assert_same(recording, open_recording(path))
    times = read_by_pynwb(path, lambda nwb: nwb.units["spike_times"][1])
    edges = np.concatenate([[t, t + 1 / 60 - 1e-9] for t in role["time"].values])
    np.testing.assert_array_equal(np.histogram(times, edges)[0][::2], role["response"][:, 1])
    with h5py.File(path) as file:
        assert file["stimulus/templates/s_train/data"].shape == (6, 5, 4, 3)


def test_a_damaged_frame_and_a_damaged_label_are_noticed(recording, tmp_path):
    path = convert(recording, tmp_path / "a.nwb")
    whole = path.read_bytes()
    with h5py.File(path) as file:
        movie = file["stimulus/presentation/stimulus_train/data"]
        place = movie.id.get_chunk_info(0).byte_offset + 30
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    errors = open_recording(path).validate().errors
    assert [error.where for error in errors] == ["/stimulus/presentation/stimulus_train/data"]
    place = whole.index(b"frames shown, in the order")
    path.write_bytes(whole[:place] + b"F" + whole[place + 1 :])
    with pytest.raises(InputError, match="is damaged"):
        open_recording(path)


def test_another_program_may_add_to_the_file(recording, tmp_path):
    from pynwb import NWBHDF5IO

    path = convert(recording, tmp_path / "a.nwb")
    with NWBHDF5IO(str(path), "a") as io:
        nwb = io.read()
        nwb.add_scratch(np.arange(5), name="mine", description="an analysis")
        io.write(nwb)
    back = open_recording(path)
    assert back.validate().errors == ()
    assert_same(recording, back)
