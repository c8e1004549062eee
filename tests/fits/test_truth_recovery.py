"""What `nm.recovery` says of fits whose truth plain numpy made, and what fits recover."""

import json
import math
from functools import cache

import numpy as np
import pytest
import xarray as xr
from small_recording import small_recording
from truth_worlds import (
    BIN,
    SUBUNIT_NETWORK,
    SUBUNIT_TRAINING,
    coupled_world,
    ln_world,
    subunit_world,
)

import neuromodels as nm
from neuromodels.datasets.simulated.parameters import glm_truth
from neuromodels.fits.truth.matching import (
    compare_couplings,
    lag_width,
    match_filters,
    on_lags,
    rank_correlation,
)
from neuromodels.fits.truth.recovery import _ceilings, expected_bits_lost, recovery
from neuromodels.fits.truth.recovery_text import recovery_text

LN = {"history": 0.12, "temporal_basis": 5}
GLM = {
    "history": 0.1,
    "temporal_basis": 4,
    "nonlinearity": "exp",
    "own_history": 0.2,
    "own_basis": 6,
    "coupling_history": 0.1,
    "coupling_basis": 4,
}
PENALTIES = {"ridge": [1e-4], "smoothness": [0.0]}


@cache
def ln_fit():
    world = ln_world(12_000, 0, n_trials=20)
    return world, nm.fit(world.recording, nm.models.ln(**LN), progress=False, **PENALTIES)


@cache
def coupled_fits():
    world = coupled_world(10_000, 0, n_trials=10)
    models = [nm.models.ln(**LN, nonlinearity="exp"), nm.models.glm_coupled(**GLM)]
    options = {"ln": PENALTIES, "glm-coupled": PENALTIES}
    return world, nm.compare(world.recording, models, options=options, progress=False)


# --- formulas ------------------------------------------------------------------------------------


def test_the_expected_loss_is_the_mean_difference_of_the_scores_of_many_draws():
    rng = np.random.default_rng(0)
    true = rng.gamma(1.0, 0.3, (400, 1))
    model = true * rng.uniform(0.5, 1.5, true.shape)
    counts = rng.poisson(true, (4_000, *true.shape))
    gained = (counts * np.log2(true / model)).sum((1, 2)) - (true - model).sum() / math.log(2)
    expected = expected_bits_lost(model, true)[0] * true.sum()
    assert abs(gained.mean() - expected) < 4 * gained.std() / math.sqrt(len(gained))


def test_the_loss_of_a_mean_rate_is_the_information_of_a_process_of_two_rates():
    # ½ Σ (r_i / r̄) log₂(r_i / r̄): spec 8.
    rates = np.array([[0.05], [0.35]])
    closed = 0.5 * sum(r / 0.2 * math.log2(r / 0.2) for r in (0.05, 0.35))
    assert expected_bits_lost(np.full((2, 1), 0.2), rates)[0] == pytest.approx(closed)


def test_what_a_model_calls_impossible_costs_without_limit_and_silence_has_no_score():
    assert expected_bits_lost(np.zeros((2, 1)), np.full((2, 1), 0.1))[0] == np.inf
    assert np.isnan(expected_bits_lost(np.full((2, 1), 0.1), np.zeros((2, 1)))[0])


def test_subunits_are_matched_whatever_their_order_and_scale_but_not_their_sign():
    rng = np.random.default_rng(1)
    true = rng.standard_normal((3, 6, 5))
    order = np.array([2, 0, 3])
    fitted = rng.standard_normal((4, 6, 5))
    fitted[order] = np.array([0.5, 3.0, 2.0])[:, None, None] * true
    found = match_filters(fitted, true)
    np.testing.assert_array_equal(found.order, order)
    np.testing.assert_allclose(found.scale, [0.5, 3.0, 2.0])
    np.testing.assert_allclose(found.correlation, 1)
    flipped = match_filters(-true[:1], true[:1])
    assert flipped.correlation[0] == pytest.approx(-1)
    assert flipped.scale[0] == 0


def test_too_few_or_foreign_filters_are_an_error():
    with pytest.raises(ValueError, match="fewer than the 2 true ones"):
        match_filters(np.ones((1, 4)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="cannot be matched"):
        match_filters(np.ones((2, 4)), np.ones((2, 5)))


def test_a_kernel_in_fine_steps_is_what_wide_bins_see_of_it():
    # Mean over both moments' places in their bins, by brute force over fine steps.
    rng = np.random.default_rng(2)
    per_bin, n_lags = 5, 4
    values = rng.standard_normal(40)
    step, width = 0.002, 0.010
    kernel = xr.DataArray(values, dims="lag", coords={"lag": step * np.arange(1, 41)})
    brute = [
        np.mean(
            [
                values[lag - 1] if 1 <= (lag := k * per_bin + late - early) <= 40 else 0
                for early in range(per_bin)
                for late in range(per_bin)
            ]
        )
        for k in range(1, n_lags + 1)
    ]
    lags = width * np.arange(1, n_lags + 1)
    np.testing.assert_allclose(on_lags(kernel, "lag", lags), brute, atol=1e-12)
    same = on_lags(kernel, "lag", step * np.arange(1, 51))
    np.testing.assert_allclose(same, np.append(values, np.zeros(10)), atol=1e-12)


def test_scores_of_couplings_are_those_of_counting_pairs():
    true = np.array([[9.0, 0.4, 0.0], [-0.2, 9.0, 0.3], [0.0, 0.0, 9.0]])
    fitted = np.array([[0.0, 0.3, -0.1], [0.1, 0.0, 0.5], [0.15, 0.0, 0.0]])
    found = compare_couplings(fitted, true)
    # Signs: .3 and .5 are right, .1 for -.2 is wrong.
    assert found.sign_agreement == pytest.approx(2 / 3)
    # |.3|, |.5| beat .1, .15, 0; |.1| beats 0, ties with .1 and loses to .15.
    assert found.separation == pytest.approx((3 + 3 + 1 + 0.5) / 9)
    assert found.absent_size == pytest.approx((0.25 / 3) / 0.3)
    assert np.isnan(compare_couplings(fitted, np.eye(3)).sign_agreement)


def test_ranks_and_lags_of_trivial_cases():
    assert rank_correlation(np.array([1, 2, 10]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1)
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3)))
    assert lag_width(np.array([0.02])) == 0.02


# --- recovery of a fit ---------------------------------------------------------------------------


def test_scores_against_the_truth_are_those_that_numpy_gives():
    world, fit = ln_fit()
    found = recovery(fit, world.recording)
    assert found["cc_true"].dims == ("model", "seed", "stimulus", "role", "neuron")
    for role in ("heldout", "test"):
        shown = fit.predictions[f"stimulus/{role}"].to_dataset()
        # The held-out blocks are a part of the training role, found by their times.
        source = world.recording.role("train" if role == "heldout" else "test")
        time = np.round(shown["time"].values / BIN).astype(int)
        true, rate = source["true_rate"].values[time], shown["rate"].values
        use = np.isfinite(rate).all(1)
        true, rate = true[use], rate[use].astype(float)
        here = found.isel(model=0, seed=0, stimulus=0).sel(role=role)
        assert int(here["bins"]) == use.sum()
        for n in range(4):
            a, b = rate[:, n], true[:, n]
            assert float(here["cc_true"][n]) == pytest.approx(np.corrcoef(a, b)[0, 1])
            error = np.sqrt(np.mean((a - b) ** 2)) / b.std()
            assert float(here["relative_error"][n]) == pytest.approx(error)
            lost = (b * np.log2(b / a)).sum() - (b - a).sum() / math.log(2)
            assert float(here["bits_lost"][n]) == pytest.approx(lost / b.sum())


def test_the_true_ceiling_is_that_of_poisson_counts_and_the_estimate_agrees():
    world, fit = ln_fit()
    found = recovery(fit, world.recording).isel(stimulus=0)
    rate = world.recording.test["true_rate"].values[12:]
    closed = np.sqrt(rate.var(0) / (rate.var(0) + rate.mean(0) / 20))
    # Levels of trials are measured, each to 15 %: 0.01 in the ceiling of 20.
    np.testing.assert_allclose(found["ceiling_true"], closed, atol=0.03)
    np.testing.assert_allclose(found["ceiling_estimated"], closed, atol=0.03)
    np.testing.assert_allclose(found["r_true"], closed, atol=0.03)


def test_a_gain_common_to_a_whole_trial_does_not_lower_the_true_ceiling():
    rng = np.random.default_rng(3)
    rate = rng.gamma(1.0, 0.3, (3000, 2))
    level = np.linspace(0.4, 1.6, 12)
    drawn = rng.poisson(level[:, None, None] * rate, (60, 12, *rate.shape)).mean(1)
    brute = np.mean([[np.corrcoef(r[:, n], rate[:, n])[0, 1] for n in (0, 1)] for r in drawn], 0)
    trials = rng.poisson(level[:, None, None] * rate).astype(float)
    found = _ceilings(rate, trials)[0]
    np.testing.assert_allclose(found, brute, atol=0.004)
    # A trial that was not recorded, and one that was cut short.
    trials[3], trials[4, 2000:] = np.nan, np.nan
    np.testing.assert_allclose(_ceilings(rate, trials)[0], brute, atol=0.015)


def test_an_ln_filter_and_its_rate_are_recovered_from_white_noise():
    world, fit = ln_fit()
    found = recovery(fit, world.recording)
    kernel = fit.parameters["stimulus_filter"].values[:, 0, :, 0]
    for n in range(4):
        r = np.corrcoef(kernel[..., n].ravel(), world.truth["kernel"][..., n].ravel())[0, 1]
        assert float(found["filter_correlation"][0, 0, n]) == pytest.approx(r)
        assert r > 0.97
    assert float(found["cc_true"].min()) > 0.97


def test_couplings_and_histories_in_the_span_of_the_basis_are_recovered():
    world, comparison = coupled_fits()
    found = recovery(comparison, world.recording).sel(model="glm-coupled", seed=0)
    assert float(found["coupling_sign"]) == 1
    assert float(found["coupling_separation"]) > 0.95
    assert float(found["coupling_rank"]) > 0.8
    assert float(found["history_correlation"].min()) > 0.97
    np.testing.assert_allclose(
        found["true_coupling"], world.truth["coupling"].sum(0) * BIN, atol=1e-12
    )
    # Absent couplings come out near zero beside the true ones.
    assert float(found["coupling_absent"]) < 0.3


def test_a_model_that_is_the_truth_loses_half_a_nat_per_weight_and_recording():
    # Expected excess deviance of maximum likelihood: p weights cost p/2 nats in as much data as
    # they were fitted to (Akaike 1974), whatever the weights. p = 1 + 16 + 6 + 4 x 4 here.
    world, comparison = coupled_fits()
    found = recovery(comparison, world.recording).sel(model="glm-coupled", seed=0)
    splits = comparison.attrs["recording"]["splits"]
    rate = world.recording.train["true_rate"].values.mean(0)
    trained = splits["train"]["duration_s"] / BIN
    expected = 39 / 2 / math.log(2) / (rate * trained)
    lost = found["bits_lost_conditional"].sel(role="test").values.ravel()
    # χ² with 39 degrees of freedom for each of five neurons: the mean is known to 10 %, and the
    # penalty and correlated weights make it less.
    assert 0.5 < (lost / expected).mean() < 1.4
    assert float(found["cc_conditional"].mean()) > 0.92


def test_models_without_a_filter_have_no_score_of_it_and_the_table_says_who_has():
    world, comparison = coupled_fits()
    found = recovery(comparison, world.recording)
    for name in ("coupling_sign", "history_correlation", "cc_conditional"):
        assert np.isnan(found[name].sel(model="ln")).all()
    text = recovery_text(found)
    assert "repeated test, 10 s" not in text  # the lead-in is not scored
    assert "glm-coupled: history filters r" in text
    assert "sign right in 1.000 of 10" in text
    assert text.count("given the spikes: CC") == 2
    lines = [line for line in text.splitlines() if line.startswith("  ln ")]
    assert len(lines) == 2


def test_all_models_are_scored_on_the_bins_of_the_longest_lead_in():
    world, comparison = coupled_fits()
    alone = recovery(comparison.fit("ln"), world.recording)
    beside = recovery(comparison, world.recording)
    assert int(alone["bins"].sel(role="test").item()) == 1000 - 12
    # Stimulus window and spike history of the GLM, bins.
    assert int(beside["bins"].sel(role="test").item()) == 1000 - 10 - 20


def test_models_compared_on_a_simulated_retina_are_held_against_its_truth():
    # Names and options as a user gives them; where the truth is a GLM, the GLM is nearest to it.
    recording = nm.simulate_retina(
        parameters=glm_truth(),
        minutes=3,
        repeats=6,
        test_seconds=6,
        n_cells=3,
        stimulus_parameters={"size": (4, 4), "pixel_size": 150.0},
        train_runs=8,
        test_runs=100,
    )
    window = {"history": 0.2, "temporal_basis": 6}
    convex = window | {"nonlinearity": "exp", "ridge": [1e-3], "smoothness": [1e-2]}
    small = {"channels": (4,), "kernels": (3,), "noise": (0.1,), "epochs": 2}
    options = {
        "ln": convex,
        "glm-coupled": convex | {"coupling_history": 0.1, "coupling_basis": 4},
        "retina-cnn": window | small | {"batch_bins": 512, "segment_bins": 256},
    }
    comparison = nm.compare(
        recording, ["ln", "glm-coupled", "retina-cnn"], options=options, progress=False
    )
    found = nm.recovery(comparison, recording).isel(seed=0, stimulus=0)
    assert list(found["model"].values) == ["ln", "glm-coupled", "retina-cnn"]
    given = found["cc_conditional"].mean(("role", "neuron"))
    assert np.isfinite(given).values.tolist() == [False, True, False]
    assert float(given.sel(model="glm-coupled")) > 0.85
    cc_true = found["cc_true"].mean(("role", "neuron"))
    # Two epochs of three minutes: a network knows something by then, and far less than the others.
    assert 0.2 < float(cc_true.sel(model="retina-cnn")) < 0.8 < float(cc_true.sel(model="ln"))
    glm = found.sel(model="glm-coupled")
    assert float(glm["filter_correlation"].mean()) > 0.85
    assert float(glm["history_correlation"].min()) > 0.95
    kernels = recording.truth["true_coupling"]
    expected = kernels.sum("coupling_lag") * glm_truth().dt
    np.testing.assert_allclose(found["true_coupling"], expected, atol=1e-12)
    assert float(glm["coupling_rank"]) > 0.5


def test_the_recording_may_be_its_file(tmp_path):
    world, fit = ln_fit()
    path = world.recording.to_hdf5(tmp_path / "simulated.h5")
    xr.testing.assert_allclose(
        recovery(nm.load(fit.to_hdf5(tmp_path / "fit.h5")), path), recovery(fit, world.recording)
    )


def test_a_subunit_of_an_lnln_cascade_is_recovered():
    # Of five starts, the one that scores best on validation blocks; some get stuck (slow test).
    world = subunit_world(24_000, 1)
    model = nm.models.retina_cnn(**SUBUNIT_NETWORK)
    fit = nm.fit(world.recording, model, seed=2, progress=False, epochs=12, **SUBUNIT_TRAINING)
    found = match_filters(fit.parameters["layer1_filter"][:, :, 0, :, 0], world.truth["kernels"])
    assert found.correlation.min() > 0.98
    assert float(recovery(fit, world.recording)["cc_true"].min()) > 0.98


# --- bad input -----------------------------------------------------------------------------------


def test_a_recording_that_is_no_simulation_is_refused():
    recording = small_recording()
    fit = nm.fit(recording, nm.models.ln(history=0.05, temporal_basis=3), progress=False)
    with pytest.raises(nm.InputError, match="is no simulation"):
        recovery(fit, recording)


def test_what_is_no_single_result_is_refused():
    world, fit = ln_fit()
    with pytest.raises(nm.InputError, match="give one member and its recording"):
        recovery([fit], world.recording)
    with pytest.raises(nm.InputError, match="recording: is NoneType"):
        recovery(fit, None)


def test_another_simulation_is_refused():
    _, fit = ln_fit()
    with pytest.raises(nm.InputError, match="not the recording that the models were fitted to"):
        recovery(fit, ln_world(4_000, 1).recording)


def test_a_role_without_its_true_rate_is_refused_by_name():
    world = ln_world(4_000, 2)
    fit = nm.fit(world.recording, nm.models.ln(**LN), progress=False, **PENALTIES)
    node = world.recording.tree["stimulus/train"]
    node.dataset = node.to_dataset().drop_vars("true_rate")
    bare = type(world.recording)(world.recording.tree)
    with pytest.raises(nm.InputError, match="/stimulus/train: holds no true rate"):
        recovery(fit, bare)


def test_the_command_line_shows_the_same_recovery(tmp_path, capsys):
    from neuromodels.cli import main

    world, fitted = ln_fit()
    truth, fit = tmp_path / "sim.h5", tmp_path / "fit.h5"
    world.recording.to_hdf5(truth)
    fitted.to_hdf5(fit)
    with pytest.raises(SystemExit) as end:
        main(["show", str(fit), "--truth", str(truth)])
    assert end.value.code == 0
    shown, own = capsys.readouterr().out, recovery_text(nm.recovery(fitted, world.recording))
    # The first line names the file.
    assert shown.splitlines()[1:] == own.splitlines()[1:]
    with pytest.raises(SystemExit):
        main(["show", str(fit), "--truth", str(truth), "--json"])
    stored = json.loads(capsys.readouterr().out)["data_vars"]["cc_true"]["data"]
    found = nm.recovery(fitted, world.recording)["cc_true"].values
    np.testing.assert_allclose(np.array(stored, dtype=float), found)
