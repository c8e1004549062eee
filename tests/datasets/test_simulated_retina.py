"""The recording of a simulated retina: contract, truth, seeds, and errors."""

import json

import numpy as np
import pytest
import xarray as xr
from command_line import CommandLine

import neuromodels as nm
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.simulated.parameters import glm_truth
from neuromodels.datasets.simulated.retina import simulate_retina
from neuromodels.datasets.simulated.truth import known_ceiling

SMALL = {
    "minutes": 0.5,
    "repeats": 6,
    "test_seconds": 2.0,
    "n_cells": 3,
    "bin_width": 0.005,
    "stimulus_parameters": {"size": (6, 8)},
    "train_runs": 4,
    "test_runs": 60,
}
MOVIE = {
    key: value for key, value in SMALL.items() if key not in ("minutes", "stimulus_parameters")
}
ALONE = {"history": (), "coupling_within": (), "coupling_across": ()}


@pytest.fixture(scope="module")
def recording():
    return simulate_retina(seed=1, **SMALL)


def movie(n_frames=400, rate=50.0, seed=0, shape=(4, 5), levels=2):
    return xr.DataArray(
        np.random.default_rng(seed).integers(0, levels, (n_frames, *shape)).astype(np.uint8),
        dims=("frame", "y", "x"),
        attrs={"frame_rate": rate, "background": (levels - 1) / 2},
    )


def test_it_is_a_recording_like_any_other(recording):
    assert not recording.validate().errors
    assert recording.roles() == ("train", "test")
    assert recording.stored_bin_width == 0.005
    assert recording.train["response"].attrs["kind"] == "count"
    assert recording.train["y"].attrs["units"] == "µm"
    assert recording.attrs["simulation"]["seed"] == 1
    assert recording.tree["white_noise"].attrs["background"] == 0.5
    assert list(recording.neurons) == ["on0", "on1", "off0"]
    starts = recording.test["trial_start"].values
    assert starts[-1] - starts[0] > 30, "repeats are spread over the session"


def test_rates_stand_beside_the_counts(recording):
    for role in (recording.train, recording.test):
        assert role["true_rate"].dims == ("time", "neuron")
        assert role["conditional_rate"].dims == role["response"].dims
        assert role["true_rate"].attrs["units"] == "spikes per bin"
    assert recording.test["true_rate"].attrs["runs"] == 60
    assert not recording.test["true_rate"].attrs["exact"]


def test_counts_have_the_conditional_rate_as_their_mean(recording):
    for role in (recording.train, recording.test):
        rate = role["conditional_rate"].values.astype(float)
        off = role["response"].values - rate
        error = np.sqrt(rate.sum(axis=tuple(range(rate.ndim - 1))))
        assert np.abs(off.sum(axis=tuple(range(rate.ndim - 1))) / error).max() < 4
        # Also where the rate is high: nothing of what is left follows the stimulus.
        true = np.broadcast_to(role["true_rate"].values.astype(float), rate.shape)
        z = (off * true).sum() / np.sqrt((rate * true**2).sum())
        assert abs(z) < 4


def test_every_cell_has_about_its_stated_mean_rate(recording):
    found = recording.train["true_rate"].values.mean(axis=0) / recording.stored_bin_width
    assert found == pytest.approx(recording.truth["true_mean_rate"].values, rel=0.15)


def test_without_spike_history_the_true_rate_is_exact():
    alone = simulate_retina(seed=2, **SMALL, **ALONE, gain_sd=0.2, drift=0.5)
    assert alone.test["true_rate"].attrs["exact"]
    train = alone.train
    gain = train["conditional_rate"].values / train["true_rate"].values
    assert np.ptp(gain, axis=1).max() < 1e-5, "what is left is the gain that all cells share"
    at = (train["time"].values / 0.01 + 1e-6).astype(int)
    assert gain[:, 0] == pytest.approx(alone.truth["true_gain"].values[at], rel=1e-5)
    # The mean over many trials is the true rate, within their error.
    trials = alone.test["conditional_rate"].values / alone.test["true_rate"].values
    assert trials.mean() == pytest.approx(1, abs=5 * 0.2 / np.sqrt(6))


def test_drift_changes_each_cell_by_its_own_share():
    still = simulate_retina(seed=2, **SMALL, **ALONE, gain_sd=0, drift=0.0)
    moving = simulate_retina(seed=2, **SMALL, **ALONE, gain_sd=0, drift=0.8)
    ratio = moving.train["true_rate"].values / still.train["true_rate"].values
    position = moving.train["time"].values / moving.attrs["simulation"]["session_s"] - 0.5
    share = moving.truth["true_drift"].values
    assert np.abs(share).max() > 0.1
    assert ratio == pytest.approx(1 + position[:, None] * share, rel=1e-4)


def test_the_stored_truth_gives_the_rates_of_the_glm_regime():
    rec = simulate_retina(
        seed=3, **(SMALL | {"bin_width": None, "n_cells": 4}), parameters=glm_truth()
    )
    truth, train = rec.truth, rec.train
    stimulus_filter = truth["true_filter"].transpose("filter_lag", ..., "neuron").values
    history, coupling = truth["true_history"].values, truth["true_coupling"].values
    first = np.flatnonzero(train["block"].values == 1)
    frames = train["stimulus"].values[train["frame_of_bin"].values[first]].astype(float)
    counts = train["response"].values[first].astype(float)
    drive = np.tile(truth["true_offset"].values, (len(first), 1))
    for lag, weight in enumerate(stimulus_filter):
        adapted = truth["true_filter"].attrs["adapted"]
        shown = frames[: len(first) - lag] - adapted
        drive[lag:] += np.einsum("tyx,yxn->tn", shown, weight)
    for lag, (own, others) in enumerate(zip(history, coupling, strict=True), start=1):
        drive[lag:] += counts[:-lag] * own + counts[:-lag] @ others
    assert np.exp(drive) == pytest.approx(train["conditional_rate"].values[first], rel=1e-3)
    assert (np.diagonal(coupling, axis1=1, axis2=2) == 0).all()


@pytest.mark.slow
def test_cells_that_would_run_away_stay_calm_where_what_they_hear_is_bounded():
    screen = {"size": (8, 8), "pixel_size": 100.0}
    shown = {"minutes": 20, "repeats": 10, "stimulus_parameters": screen}
    for n_cells, seed in ((8, 2), (12, 4)):
        with pytest.raises(InputError, match="run away"):
            simulate_retina(
                n_cells=n_cells, seed=seed, **shown, parameters=glm_truth(excitation_limit=None)
            )
        calm = simulate_retina(n_cells=n_cells, seed=seed, **shown, parameters=glm_truth())
        # Cells stop at 20.
        assert calm.train["conditional_rate"].max() < 8


def test_wider_bins_sum_the_rates_as_they_sum_the_counts(recording):
    wide = recording.at(0.02)
    for role in ("train", "test"):
        narrow, joined = recording.role(role), wide.role(role)
        for name in ("true_rate", "conditional_rate", "response"):
            assert joined[name].sum() == pytest.approx(float(narrow[name].sum()), rel=1e-5)
    first = recording.test["true_rate"].values[:4].sum(axis=0)
    assert wide.test["true_rate"].values[0] == pytest.approx(first, rel=1e-6)


def test_a_file_keeps_the_truth(recording, tmp_path):
    back = nm.open_recording(recording.to_hdf5(tmp_path / "sim.h5"))
    assert back.identity == recording.identity
    assert back.attrs["simulation"] == json.loads(json.dumps(recording.attrs["simulation"]))
    xr.testing.assert_equal(back.truth.load(), recording.truth)
    for role in ("train", "test"):
        xr.testing.assert_equal(back.role(role).load(), recording.role(role).load())
    assert not back.validate().errors


def test_the_seed_draws_everything(recording):
    again = simulate_retina(seed=1, **SMALL)
    assert again.identity == recording.identity
    other = simulate_retina(seed=4, **SMALL)
    assert not np.array_equal(other.train["stimulus"], recording.train["stimulus"])
    assert not np.allclose(other.truth["true_subunit_x"], recording.truth["true_subunit_x"])
    same = "true_impulse_response"
    assert np.array_equal(other.truth[same], recording.truth[same]), "types share their filters"


def test_several_stimuli_are_shown_to_the_same_cells():
    # Those of one generator come on top of the shared ones.
    small = SMALL | {"stimulus_parameters": {"pixel_size": 50.0, "noise": {"hold": 2}}}
    shown = {"noise": "white-noise", "flashes": "flash", "film": (None, movie(shape=(20, 20)))}
    rec = simulate_retina(shown, seed=5, **small)
    assert rec.stimuli == ("noise", "flashes", "film")
    assert rec.roles("noise") == ("train", "test")
    assert rec.roles("flashes") == ("test",), "the same every time: nothing to learn from"
    assert rec.roles("film") == ("test",)
    first = rec.role("train", "noise")["stimulus"].values
    assert (first[0:-1:2] == first[1::2]).all() and (first[2] != first[0]).any()
    assert not rec.validate().errors


def test_the_end_of_a_movie_is_its_test():
    shown = movie()
    rec = simulate_retina(shown, seed=1, **MOVIE)
    assert np.array_equal(rec.train["stimulus"], shown.values[:300])
    assert np.array_equal(rec.test["stimulus"], shown.values[300:])
    assert rec.test.sizes["trial"] == 6


def test_a_training_and_a_test_movie_can_be_given():
    train, test = movie(), movie(100, seed=1)
    rec = simulate_retina((train, test), seed=1, **MOVIE)
    assert np.array_equal(rec.train["stimulus"], train)
    assert np.array_equal(rec.test["stimulus"], test)


def test_a_full_field_movie_drives_all_cells():
    rec = simulate_retina(movie(shape=(1, 1), levels=200), seed=1, **MOVIE)
    assert (rec.train["response"].values.sum(axis=0) > 0).all()


def test_running_multiplies_the_rate_and_the_pupil_does_nothing():
    rec = simulate_retina(seed=2, **SMALL, **ALONE, running_weight=0.5, gain_sd=0, drift=0)
    still = simulate_retina(seed=2, **SMALL, **ALONE, gain_sd=0, drift=0)
    assert list(rec.train["covariate"].values) == ["running", "pupil"]
    assert list(rec.train["covariate_units"].values) == ["cm/s", "mm"]
    assert rec.test["covariates"].dims == ("trial", "time", "covariate")
    running = rec.train["covariates"].values[:, 0]
    log_ratio = np.log(rec.train["true_rate"].values / still.train["true_rate"].values)
    slope, _ = np.polyfit(running, log_ratio[:, 0], 1)
    left = log_ratio - log_ratio.mean(axis=0) - slope * (running - running.mean())[:, None]
    assert slope > 0
    assert np.abs(left).max() < 0.01


def test_the_known_ceiling_is_the_correlation_that_the_truth_reaches():
    rec = simulate_retina(seed=6, **(SMALL | {"test_seconds": 20.0, "repeats": 10}))
    test = rec.at(0.01).test
    psth, rate = test["response"].values.mean(axis=0), test["true_rate"].values
    reached = [np.corrcoef(psth[:, i], rate[:, i])[0, 1] for i in range(3)]
    assert known_ceiling(rec, 0.01) == pytest.approx(reached, abs=0.03)
    # The mean over repeats scatters about the truth by what single trials vary about their mean.
    trials = test["response"].values
    ratio = np.square(psth - rate).mean(axis=0) / (trials.var(axis=0, ddof=1).mean(axis=0) / 10)
    assert ratio == pytest.approx(1, abs=0.12)


def test_only_simulations_have_a_truth():
    rec = nm.recording_from_arrays(
        movie().values,
        np.ones((400, 2), int),
        bin_width=0.01,
        test_stimulus=movie(seed=2).values,
        test_counts=np.ones((2, 400, 2), int),
    )
    with pytest.raises(InputError, match="no simulation"):
        _ = rec.truth
    with pytest.raises(InputError, match="simulate_retina"):
        known_ceiling(rec, 0.01)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"drift": 3.0}, "drift"),
        ({"dt": 0.0}, "dt"),
        ({"gain_sd": -1.0}, "gain_sd"),
        ({"subunit_nonlinearity": "cubic"}, "rectifier, softplus, linear"),
        ({"output": "tanh"}, "softplus, exp"),
        ({"mean_rate_hz": (20, 5)}, "mean_rate_hz"),
        ({"mean_rate_hz": 900.0}, "raise max_count"),
        ({"filter_stages": 1}, "filter_stages"),
        ({"history": ((1.0, -0.01),)}, "history"),
        ({"history": np.zeros((2, 2))}, "history"),
        ({"history": ((1.0, 1e6),)}, "steps"),
        ({"amacrine_strenght": 1.0}, "amacrine_strength"),
        ({"coupling_within": ((30.0, 0.005),), "minutes": 0.1}, "run away"),
        ({"repeats": 0}, "repeats"),
        ({"n_cells": 0}, "n_cells"),
        ({"bin_width": 0.0015}, "whole multiple"),
        ({"minutes": -1}, "minutes"),
        ({"test_seconds": np.nan}, "test_seconds"),
        ({"stimulus": "noise"}, "white-noise"),
        ({"stimulus": "flash"}, "same every time"),
        ({"stimulus": 3}, "int"),
        ({"stimulus": {}}, "empty"),
        ({"stimulus": "moving-bars", "minutes": 2.0}, "random-walk"),
        ({"stimulus_parameters": {"bars": {"hold": 2}}}, "not shown"),
        ({"stimulus": {"a": "white-noise", "b": (None, movie())}}, "covers"),
        ({"stimulus": movie(50), "stimulus_parameters": None, "minutes": None}, "lasts 1 s"),
        ({"stimulus": movie(), "stimulus_parameters": None, "minutes": 9}, "minutes"),
        ({"stimulus": movie() * 0, "minutes": None, "stimulus_parameters": None}, "contrast|mean"),
        ({"stimulus": movie(), "minutes": None}, "stimulus_parameters"),
        ({"stimulus": movie().isel(y=0), "minutes": None}, "dimensions"),
        ({"n_cells": "two"}, "n_cells: is 'two'"),
        ({"repeats": 10**30}, "repeats: is 1000"),
        ({"test_runs": 10**400}, "to 1,000,000"),
        ({"bin_width": 10**400}, "bin_width: is 1000"),
        ({"parameters": {"dt": 0.001}}, "glm_truth"),
        ({"gain_sd": 1e308}, "gain_sd: is 1e.308"),
        ({"coupling_spread": 1e6}, "from 0 to 5"),
        ({"amacrine_strength": 10**400}, "amacrine_strength: is 1000"),
        ({"filter_stages": "four"}, "filter_stages"),
        ({"output": np.ones(2)}, "softplus, exp"),
        ({"history": [[1.0, 2.0], [3.0]]}, "history: is"),
        ({"history": [["a", 0.01]]}, "history: is"),
        ({"subunit_spacing_um": 1e-3}, "subunits on"),
        ({"stimulus_parameters": 3}, "stimulus_parameters: is 3"),
        ({"stimulus_parameters": {"duration": 9.0}}, "minutes and test_seconds"),
        ({"stimulus": {"a/b": "white-noise"}}, "'a/b' is no name"),
    ],
)
def test_what_is_impossible_is_refused_by_name(arguments, says):
    with pytest.raises(InputError, match=says):
        simulate_retina(**(SMALL | arguments))


def with_nan(at):
    return movie().where(movie().frame != at)


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (with_nan(3), "NaN"),
        # In neither of the blocks that drives are set on: the truth would be NaN there.
        (with_nan(350), "NaN"),
        (movie().assign_attrs(background="grey"), "background: is 'grey'"),
        (movie().assign_coords(y=("y", np.zeros(4), {"units": "µm"})), "ascend or descend"),
        (nm.stimuli.flash(duration=20, size=(8, 8)), "repeats itself: 120 of the 120"),
    ],
)
def test_a_movie_whose_truth_would_be_nonsense_is_refused(shown, says):
    given = {"stimulus": shown, "stimulus_parameters": None, "minutes": None}
    with pytest.raises(InputError, match=says):
        simulate_retina(**(SMALL | given | {"test_seconds": 2.0}))


def test_inhibition_may_come_after_the_end_of_a_block():
    # A delay between one and two lengths of a block (6 s) once was an error of shapes.
    rec = simulate_retina(amacrine_delay_s=9.0, **(SMALL | {"minutes": 0.1, "repeats": 2}))
    assert np.isfinite(rec.train["true_rate"].values).all()


def test_the_command_takes_what_looks_like_a_path_for_one(tmp_path, capsys):
    run = CommandLine(capsys)
    result = run("simulate", "retina", "--stimulus", tmp_path / "no.h5", "--out", tmp_path / "s.h5")
    assert result.code == 2 and "no.h5: does not exist" in result.err
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_recording_and_says_what_it_knows(tmp_path, capsys):
    run = CommandLine(capsys)
    out = tmp_path / "sim.h5"
    small = ("--minutes", 0.5, "--repeats", 4, "--test-seconds", 2, "--cells", 2, "--seed", 3)
    small += ("--stimulus-set", "size=[6, 6]", "--bin-width", 0.01, "--out", out)
    result = run("simulate", "retina", *small, "--set", "gain_sd=0.2")
    assert result.code == 0, result.err
    assert "true ceiling" in result.out
    back = nm.open_recording(out)
    assert back.attrs["simulation"]["gain_sd"] == 0.2
    assert back.truth["true_offset"].sizes["neuron"] == 2
    refused = run("simulate", "retina", *small)
    assert refused.code == 2
    assert "--overwrite" in refused.err or "overwrite" in refused.err
    wrong = run("simulate", "retina", *small, "--overwrite", "--set", "drift=9")
    assert wrong.code == 2
    assert "drift" in wrong.err
    assert nm.open_recording(out).attrs["simulation"]["gain_sd"] == 0.2, "nothing half-written"
    as_json = run("simulate", "retina", *small, "--overwrite", "--json")
    assert len(json.loads(as_json.out)["cells"]) == 2
