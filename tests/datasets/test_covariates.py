"""Covariates come into the bins of a recording as their definition says, whatever brings them."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import neuromodels as nm
from neuromodels.datasets.building import build_recording, build_role
from neuromodels.datasets.covariate_series import Series


def arrays(n_bins=200, n_trials=3, width=0.01, **options):
    rng = np.random.default_rng(0)
    return nm.recording_from_arrays(
        rng.integers(0, 2, (n_bins, 2, 3)),
        rng.poisson(0.3, (n_bins, 2)),
        bin_width=width,
        test_stimulus=rng.integers(2, 4, (40, 2, 3)),
        test_counts=rng.poisson(0.3, (n_trials, 40, 2)),
        **options,
    )


def session(trials, n_frames=400, **options):
    """A session of 20 s at 20 Hz whose clips of 2 s in `trials` (s) are repeats."""
    rng = np.random.default_rng(1)
    movie = rng.integers(0, 2, (n_frames, 3, 4), dtype=np.uint8)
    for clip, starts in enumerate(trials):
        frames = np.random.default_rng(10 + clip).integers(0, 2, (40, 3, 4), dtype=np.uint8)
        for start in starts:
            movie[20 * start : 20 * start + 40] = frames
    spikes = [np.sort(rng.uniform(0, 20, 80)) for _ in range(2)]
    return nm.recording_from_spikes(
        {"a": spikes[0], "b": spikes[1]}, movie, frame_times=np.arange(n_frames) / 20, **options
    )


def covariate(recording, role, name):
    return recording.role(role)["covariates"].sel(covariate=name).values


# --- from samples to bins -------------------------------------------------------------------


def test_a_bin_wider_than_the_sampling_holds_the_mean_of_its_samples():
    rng = np.random.default_rng(2)
    values = rng.normal(size=1000)
    binned = Series("a", np.arange(1000) / 1000, values).binned(np.arange(100) / 100, 0.01)
    np.testing.assert_allclose(binned, values.reshape(100, 10).mean(axis=1), atol=1e-6)


def test_samples_at_the_bins_own_rate_are_taken_as_they_are():
    values = np.random.default_rng(3).normal(size=300)
    starts = 17.3 + np.arange(300) * 0.01  # rounding must not move a sample into the bin before
    binned = Series("a", 17.3 + np.arange(300) / 100, values).binned(starts, 0.01)
    np.testing.assert_allclose(binned, values, rtol=1e-6)


def test_between_coarse_samples_a_ramp_stays_a_ramp():
    series = Series("a", np.arange(0, 10.1, 0.1), 3 * np.arange(0, 10.1, 0.1) - 2)
    starts = np.arange(9990) * 0.001
    np.testing.assert_allclose(series.binned(starts, 0.001), 3 * (starts + 0.0005) - 2, atol=1e-5)


def test_a_large_offset_costs_no_digits():
    times = np.arange(10_000) / 1000
    binned = Series("a", times, 1e6 + times).binned(np.arange(100) / 10, 0.1)
    np.testing.assert_allclose(binned - 1e6, np.arange(100) / 10 + 0.0495, atol=0.07)  # float32


def test_nothing_is_known_in_a_long_gap_nor_beyond_the_ends():
    times = np.concatenate([np.arange(2, 4, 0.1), np.arange(6, 8, 0.1)])
    binned = Series("a", times, np.ones(times.size)).binned(np.arange(0, 10, 0.05), 0.05)
    known = np.arange(0, 10, 0.05)[~np.isnan(binned)]
    # One usual interval beyond the ends the last value holds.
    assert known.min() == pytest.approx(1.9) and known.max() == pytest.approx(7.95)
    assert not ((known > 3.95) & (known < 5.95)).any()


def test_the_longest_gap_is_what_the_user_says():
    series = Series("a", [0.0, 0.1, 0.2, 3.2, 3.3], [0.0, 0, 0, 3, 3])
    assert np.isnan(series.binned([1.65], 0.1)[0])
    assert series.binned([1.65], 0.1, longest_gap=3.5)[0] == pytest.approx(1.5)


def test_a_short_stretch_of_missing_samples_is_bridged_by_a_line():
    values = np.arange(100.0)
    values[40:43] = np.nan
    binned = Series("a", np.arange(100) / 10, values).binned(np.arange(100) / 10, 0.1)
    bridged = np.where(np.isnan(values), np.arange(100) + 0.5, values)  # at the bins' centres
    np.testing.assert_allclose(binned, bridged)


@pytest.mark.parametrize(
    ("times", "values", "said"),
    [
        ([0, 1, 1], [1, 2, 3], "do not ascend at sample 2"),
        ([0, np.nan, 1], [1, 2, 3], "time 1 is NaN"),
        ([0, 1], [1, 2, 3], "values for"),
        ([0, 1], [1, np.inf], "sample 1 is infinite"),
        ([0, 1], ["a", "b"], "holds values of type"),
        ([], [], "holds no samples"),
    ],
)
def test_a_damaged_series_is_refused_by_name(times, values, said):
    with pytest.raises(nm.InputError, match=said) as caught:
        nm.attach_covariates(arrays(), {"running": (times, values)})
    assert "running" in str(caught.value)


# --- on the clock of the session ------------------------------------------------------------


def test_a_covariate_that_is_the_session_time_comes_out_as_trial_start_plus_bin():
    recording = session([[4, 10, 16]], bin_width=0.01)
    times = np.arange(0, 21, 0.005)
    told = nm.attach_covariates(recording, {"clock": (times, times)}, units="s")
    starts = told.test["trial_start"].values
    np.testing.assert_allclose(starts, [4, 10, 16])
    bins = np.arange(told.test.sizes["time"]) * 0.01
    expected = starts[:, None] + bins + 0.005 - 0.0005  # stored bins of 1 ms, centred
    np.testing.assert_allclose(covariate(told, "test", "clock"), expected, atol=1.1e-3)
    train = told.train
    np.testing.assert_allclose(
        covariate(told, "train", "clock"), train["time"].values + 0.005, atol=1.1e-3
    )


def test_each_of_several_clips_is_aligned_by_its_own_trials():
    recording = session([[2, 8, 14], [5, 17]], bin_width=0.01)
    times = np.arange(0, 21, 0.01)
    told = nm.attach_covariates(recording, {"clock": (times, times)})
    assert told.test["trial_start"].dims == ("trial", "clip")
    values, block = covariate(told, "test", "clock"), told.test["block"].values
    first = {label: values[:, np.flatnonzero(block == label)[0]] for label in (0, 1)}
    np.testing.assert_allclose(first[0], [2.005, 8.005, 14.005], atol=1e-3)
    np.testing.assert_allclose(first[1], [5.005, 17.005, np.nan], atol=1e-3)
    blocks = told.blocks("test")
    assert [block.covariates.shape for block in blocks] == [(3, 200, 1), (2, 200, 1)]


def test_repeats_without_a_place_in_the_session_are_unknown_and_a_note_says_so():
    told = nm.attach_covariates(arrays(), {"running": (np.arange(0, 3, 0.1), np.ones(30))})
    assert np.isnan(told.test["covariates"].values).all()
    assert not np.isnan(told.train["covariates"].values).any()
    assert any("/stimulus/test" in note and "no start" in note for note in told.attrs["notes"])


def test_roles_on_clocks_of_their_own_are_refused():
    recording = arrays(
        heldout_stimulus=np.full((50, 2, 3), 9), heldout_counts=np.ones((50, 2), dtype=int)
    )
    with pytest.raises(nm.InputError, match="not on one clock"):
        nm.attach_covariates(recording, {"running": ([0.0, 1.0], [1.0, 2.0])})


def test_spikes_in_memory_take_covariates_on_their_clock():
    told = session([[4, 10, 16]], bin_width=0.5, covariates={"clock": ([0.0, 20.0], [0.0, 20.0])})
    np.testing.assert_allclose(covariate(told, "test", "clock")[:, 0], [4.25, 10.25, 16.25])


def test_covariates_are_added_to_those_there_and_leave_the_rest_alone():
    recording = arrays()
    first = nm.attach_covariates(recording, {"a": ([0.0, 2.0], [1.0, 1.0])}, units="cm")
    both = nm.attach_covariates(first, {"b": ([0.0, 2.0], [2.0, 2.0])}, units={"b": "mm"})
    assert both.train["covariate"].values.tolist() == ["a", "b"]
    assert both.train["covariate_units"].values.tolist() == ["cm", "mm"]
    assert both.blocks("train")[0].covariate_names == ("a", "b")
    np.testing.assert_array_equal(both.train["response"], recording.train["response"])
    assert "covariates" not in recording.train
    assert len({recording.identity, first.identity, both.identity}) == 3
    # Values depend on the longest gap, too.
    strict = nm.attach_covariates(
        recording, {"a": ([0.0, 2.0], [1.0, 1.0])}, units="cm", longest_gap=0.1
    )
    assert strict.identity != first.identity
    with pytest.raises(nm.InputError, match="has a covariate 'a' already"):
        nm.attach_covariates(both, {"a": ([0.0, 2.0], [1.0, 1.0])})


def test_the_view_of_a_recording_stays_at_its_bins():
    view = arrays().at(0.05)
    told = nm.attach_covariates(view, {"a": (np.arange(0, 2, 0.01), np.arange(200.0))})
    assert told.bin_width == 0.05
    np.testing.assert_allclose(covariate(told, "train", "a"), np.arange(40) * 5 + 2)


def test_wider_bins_average_what_is_known():
    values = np.arange(200.0)[:, None]
    values[:7] = np.nan
    wide = arrays(covariates=values).at(0.05).train["covariates"].values[:, 0]
    np.testing.assert_allclose(wide[:3], [np.nan, np.mean([7, 8, 9]), 12])


# --- what brings them -----------------------------------------------------------------------


def test_csv_npz_dict_dataframe_and_labelled_series_say_the_same(tmp_path):
    times, running = np.arange(0, 2, 0.02), np.arange(100.0)
    pupil = np.where(running % 7 == 0, np.nan, running**2)
    table = pd.DataFrame({"time": times, "running": running, "pupil": pupil})
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "b.csv", index=False, sep=";")
    np.savez(tmp_path / "a.npz", time=times, running=running, pupil=pupil)
    labelled = {
        name: xr.DataArray(values, {"time": times}, "time", attrs={"units": "cm"})
        for name, values in (("running", running), ("pupil", pupil))
    }
    given = [tmp_path / "a.csv", tmp_path / "b.csv", str(tmp_path / "a.npz"), table, labelled]
    told = [nm.attach_covariates(arrays(), item).train for item in given]
    reference = nm.attach_covariates(
        arrays(), {"running": (times, running), "pupil": (times, pupil)}
    ).train
    for node in told:
        np.testing.assert_array_equal(node["covariates"].values, reference["covariates"].values)
    assert told[-1]["covariate_units"].values.tolist() == ["cm", "cm"]


def test_pynapple_series_go_in_as_they_are():
    pynapple = pytest.importorskip("pynapple")
    times, values = np.arange(0, 2, 0.01), np.arange(200.0)
    told = nm.attach_covariates(arrays(), {"running": pynapple.Tsd(times, values)})
    np.testing.assert_allclose(covariate(told, "train", "running"), values)


def test_a_heading_says_units_also_of_the_time(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time (ms),running (cm/s),T [°C]\n0,1,20\n1000,2,21\n2000,3,22\n")
    told = nm.attach_covariates(arrays(), path).train
    assert told["covariate"].values.tolist() == ["running", "T"]
    assert told["covariate_units"].values.tolist() == ["cm/s", "°C"]
    np.testing.assert_allclose(told["covariates"].values[100, 0], 2.005, rtol=1e-5)


def test_a_comma_at_the_end_of_each_row_moves_no_column(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,running\n0,1,\n1,2,\n2,3,\n")
    told = nm.attach_covariates(arrays(), path).train
    np.testing.assert_allclose(told["covariates"].values[[0, 100], 0], [1.005, 2.005], rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("running,pupil\n1,2\n", "has no column `time`"),
        ("time,running\n0,1\n1,fast\n", r"row 3 is 'fast'"),
        ("time,running\n1,1\n0,1\n", "do not ascend at sample 1"),
        ("time,all\n0,1\n1,1\n", "is called 'all'"),
        ("time,a+b\n0,1\n1,1\n", "is called 'a.b'"),
        ("time\n0\n1\n", "holds no covariate"),
        ("", "is no table"),
        ("time,a,a\n0,1,2\n1,1,2\n", "has two columns 'a'"),
        ("time,running\n0,5,1,2\n1,0,1,3\n", "more cells than its heading"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error_that_names_it(text, said, tmp_path):
    path = tmp_path / "behaviour.csv"
    path.write_text(text)
    with pytest.raises(nm.InputError, match=said) as caught:
        nm.attach_covariates(arrays(), path)
    assert "behaviour.csv" in str(caught.value)


def test_npz_with_objects_is_not_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", time=np.arange(3), a=np.array([{}, 1, 2], dtype=object))
    with pytest.raises(nm.InputError, match="could run code"):
        nm.attach_covariates(arrays(), tmp_path / "a.npz")


def test_what_is_no_covariates_is_refused():
    for given, said in (
        (3, "is a int"),
        ({}, "holds no covariate"),
        ({"a": np.arange(3)}, "is a ndarray"),
        ("nowhere.csv", "no such file"),
    ):
        with pytest.raises(nm.InputError, match=said):
            nm.attach_covariates(arrays(), given)
    with pytest.raises(nm.InputError, match="units"):
        nm.attach_covariates(arrays(), {"a": ([0, 1], [0, 1])}, units={"b": "cm"})
    with pytest.raises(nm.InputError, match="longest_gap"):
        nm.attach_covariates(arrays(), {"a": ([0, 1], [0, 1])}, longest_gap=0)
    with pytest.raises(nm.InputError, match="longest_gap"):
        nm.attach_covariates(arrays(), {"a": ([0, 1], [0, 1])}, longest_gap="long")


def test_times_in_milliseconds_are_noted():
    times = np.arange(0, 3, 0.01)
    in_seconds, in_ms = (
        nm.attach_covariates(arrays(), {"a": (scale * times, times)}).attrs["notes"]
        for scale in (1, 1000)
    )
    assert not any("in seconds?" in note for note in in_seconds)
    assert any("a lasts 2990 s" in note and "in seconds?" in note for note in in_ms)


# --- recording_from_arrays ------------------------------------------------------------------


def test_arrays_take_covariates_of_every_role():
    rng = np.random.default_rng(4)
    train, test = rng.normal(size=(200, 2)), rng.normal(size=(3, 40, 2))
    recording = arrays(
        covariates={"running": train[:, 0], "pupil": train[:, 1]},
        test_covariates={"pupil": test[..., 1], "running": test[..., 0]},
        covariate_units={"running": "cm/s", "pupil": "mm"},
    )
    np.testing.assert_allclose(recording.train["covariates"], train, rtol=1e-6)
    np.testing.assert_allclose(recording.test["covariates"], test, rtol=1e-6)
    assert recording.test["covariate"].values.tolist() == ["running", "pupil"]
    assert recording.test["covariate_units"].values.tolist() == ["cm/s", "mm"]
    block = recording.blocks("test")[0]
    assert block.covariates.shape == (3, 40, 2)
    assert block.covariate_names == ("running", "pupil")
    assert "covariates" in repr(recording) and "running, pupil" in repr(recording)


def test_labelled_covariates_keep_their_names_in_any_order_of_axes():
    values = np.random.default_rng(5).normal(size=(2, 200))
    labelled = xr.DataArray(
        values,
        {"covariate": ["running", "pupil"], "covariate_units": ("covariate", ["cm/s", "mm"])},
        ("covariate", "time"),
    )
    train = arrays(covariates=labelled).train
    np.testing.assert_allclose(train["covariates"], values.T, rtol=1e-6)
    assert train["covariate_units"].values.tolist() == ["cm/s", "mm"]


def test_a_sampled_series_among_arrays_is_binned():
    times = np.arange(0, 2, 0.001)
    train = arrays(covariates={"a": (times, times), "b": np.arange(200)}).train
    np.testing.assert_allclose(train["covariates"][:, 0], np.arange(200) / 100 + 0.0045, atol=1e-6)


def test_a_role_without_covariates_knows_them_as_unknown():
    recording = arrays(covariates=np.ones((200, 1)))
    assert recording.test["covariate"].values.tolist() == ["covariate_0"]
    assert np.isnan(recording.test["covariates"].values).all()
    assert any(note.startswith("test: no covariates") for note in recording.attrs["notes"])


def test_covariates_of_several_test_movies_follow_one_another():
    rng = np.random.default_rng(6)
    movies = [rng.integers(0, 2, (n, 2, 3)) for n in (30, 20)]
    counts = [rng.poisson(0.3, (trials, n, 2)) for trials, n in ((3, 30), (2, 20))]
    told = [rng.normal(size=(*c.shape[:2], 1)) for c in counts]
    recording = nm.recording_from_arrays(
        rng.integers(0, 2, (100, 2, 3)),
        rng.poisson(0.3, (100, 2)),
        bin_width=0.01,
        test_stimulus=movies,
        test_counts=counts,
        covariates={"a": np.zeros(100)},
        test_covariates=[{"a": values[..., 0]} for values in told],
    )
    for block, values in zip(recording.blocks("test"), told, strict=True):
        np.testing.assert_allclose(block.covariates, values, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"covariates": np.zeros((199, 1))}, r"shape \(199, 1\) for 200 bins"),
        ({"covariates": np.zeros(200)}, r"shape \(200,\)"),
        ({"covariates": {"a": np.zeros(199)}}, r"covariates: a: has shape \(199,\)"),
        ({"covariates": np.zeros((200, 0))}, "holds no covariate"),
        ({"covariates": [["x"]] * 200}, "not numbers"),
        ({"covariates": np.full((200, 1), np.inf)}, "infinite"),
        (
            {"test_covariates": np.zeros((2, 40, 1))},
            r"test_covariates: has shape .* 3 trials of 40",
        ),
        ({"test_covariates": {"a": ([0, 1], [0, 1])}}, "no place in the session"),
        ({"heldout_covariates": np.zeros((5, 1))}, "has no stimulus"),
        (
            {"covariates": {"a": np.zeros(200)}, "test_covariates": {"b": np.zeros((3, 40))}},
            "test has b, and train has a",
        ),
    ],
)
def test_covariates_that_do_not_fit_are_refused(options, said):
    with pytest.raises(nm.InputError, match=said):
        arrays(**options)


# --- files, checks --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".h5", ".nwb", ".zarr"])
def test_names_units_and_starts_of_trials_survive_writing(suffix, tmp_path):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    recording = session([[2, 8, 14], [5, 17]])
    times = np.arange(0, 18, 0.1)
    told = nm.attach_covariates(
        recording,
        {"Läufer": (times, times), "pupil/x": (times, -times)},
        units={"Läufer": "cm/s", "pupil/x": "µm"},
    )
    back = nm.open_recording(nm.convert(told, tmp_path / f"a{suffix}"))
    for role in ("train", "test"):
        xr.testing.assert_identical(back.role(role).load(), told.role(role).load())
    only = nm.open_recording(tmp_path / f"a{suffix}", covariates=["pupil/x"])
    assert only.test["covariate"].values.tolist() == ["pupil/x"]
    bare = nm.open_recording(tmp_path / f"a{suffix}", covariates="none")
    assert "covariates" not in bare.test and "covariate_units" not in bare.test.variables


def test_every_format_takes_a_file_of_covariates_beside_it(tmp_path):
    session([[4, 10, 16]]).to_hdf5(tmp_path / "cell.h5")
    pd.DataFrame({"time": np.arange(25.0), "clock": np.arange(25.0)}).to_csv(
        tmp_path / "clock.csv", index=False
    )
    # Found beside the recording, whatever the working folder.
    recording = nm.open_recording(tmp_path / "cell.h5", covariates="clock.csv", bin_width=0.5)
    np.testing.assert_allclose(covariate(recording, "test", "clock")[:, 0], [4.25, 10.25, 16.25])
    with pytest.raises(nm.InputError, match="no such file"):
        nm.open_recording(tmp_path / "cell.h5", covariates="clocks.csv")
    with pytest.raises(nm.InputError, match="no covariate 'clock'") as caught:
        nm.open_recording(tmp_path / "cell.h5", covariates="clock")
    assert "cell.h5" in str(caught.value)
    with pytest.raises(nm.InputError, match="is empty"):
        nm.open_recording(tmp_path / "cell.h5", covariates="")


def test_pictures_have_no_covariates(tmp_path):
    path = tmp_path / "pictures.h5"
    pictures = nm.image_recording_from_arrays(np.ones((4, 2)), stimulus_id=list("abab"))
    nm.convert(pictures, path)
    assert nm.open_recording(path, covariates="none").neurons.size == 2
    for given in ("running", {"running": ([0.0, 1.0], [0.0, 1.0])}):
        with pytest.raises(nm.InputError, match="pictures"):
            nm.open_recording(path, covariates=given)
    with pytest.raises(nm.InputError, match="recording of movies"):
        nm.attach_covariates(pictures, {"running": ([0.0, 1.0], [0.0, 1.0])})


def test_validation_finds_what_is_wrong_with_covariates():
    def role(values, names, units=None):
        return build_role(
            np.arange(10).reshape(10, 1, 1),
            np.ones((10, 1), dtype=int),
            bin_width=0.01,
            frame_of_bin=np.arange(10),
            frame_time=np.arange(10) / 100,
            covariates=values,
            covariate_names=names,
            covariate_units=units,
        )

    def report(node):
        return build_recording({"noise": {"train": node}}).validate()

    fine = np.random.default_rng(0).normal(size=(10, 2))
    assert not report(role(fine, ["a", "b"])).problems
    (twice,) = report(role(fine, ["a", "a"])).errors
    assert twice.where == "/noise/train/covariates" and "'a'" in twice.what
    sparse = fine.copy()
    sparse[:6, 1], sparse[:, 0] = np.nan, 3
    said = [note.what for note in report(role(sparse, ["a", "b"])).notes]
    assert said == ["a is 3 in all bins", "b is unknown (NaN) in 60% of the bins"]
    wrong = role(fine, ["a", "b"])
    wrong = wrong.assign(covariates=(("time", "neuron"), fine[:, :1]))
    assert "has axes" in report(wrong).errors[0].what
    fine[3, 1] = np.inf
    assert "b holds infinite" in report(role(fine, ["a", "b"])).errors[0].what


def test_an_inspection_says_range_unit_and_missing_share_of_each():
    values = np.column_stack([np.arange(200.0), np.full(200, np.nan)])
    values[:20, 0] = np.nan
    recording = arrays(
        covariates={"speed": values[:, 0], "pupil": values[:, 1]},
        test_covariates=xr.DataArray(
            np.zeros((40, 2)), {"covariate": ["speed", "pupil"]}, ("time", "covariate")
        ),
        covariate_units={"speed": "cm/s"},
    )
    found = nm.inspect_recording(recording, alignment=False)
    speed, pupil = found.stimuli[0].covariates
    assert (speed.low, speed.high, speed.units) == (0, 199, "cm/s")
    assert speed.missing == pytest.approx(20 / 240)
    assert "0 to 199 cm/s" in found.text()
    assert found.to_dict()["stimuli"][0]["covariates"][1]["name"] == pupil.name == "pupil"
