"""True ceilings against dense covariances and brute force; every estimator against the truth."""

import numpy as np
import pytest
from page_tables import rows_below

from neuromodels.analysis import ceilings, metrics
from neuromodels.analysis.ceiling_intervals import cc_max_any_gain
from neuromodels.analysis.repeatability import measure_ceilings
from neuromodels.datasets.errors import InputError
from neuromodels.fits.truth.ceiling_table import AIMS, ceiling_table, estimates
from neuromodels.fits.truth.ceilings import (
    WORLDS,
    Variability,
    draw_trials,
    single_trial_ceiling,
    smooth_rates,
    true_ceiling,
)

WIDTH = 0.01
SUB_POISSON = Variability(drift=0.5, gain_sd=0.4, gain_tau_s=0.3, noise="binomial", max_count=12)


def rates(n_bins=300, n_neurons=8, mean=0.2, seed=0):
    return smooth_rates(n_bins, n_neurons, mean, np.random.default_rng(seed))


def by_dense_matrices(rate, n_trials, of, levels=None):
    """The definition with the covariance of the noise written out, for one neuron (time,)."""
    n = len(rate)
    drift = np.linspace(1 - of.drift / 2, 1 + of.drift / 2, n_trials)
    centre = np.eye(n) - 1 / n
    time = np.arange(n) * WIDTH
    gain, one = np.zeros((n, n)), np.zeros((n, n))
    for a in range(n_trials):
        for b in range(n_trials):
            if a != b and not of.gain_goes_on:
                continue
            lag = time[:, None] - time + (a - b) * n * WIDTH
            c = np.exp(of.gain_sd**2 * np.exp(-np.abs(lag) / of.gain_tau_s)) - 1
            c = c if levels is None else centre @ c @ centre
            gain += drift[a] * drift[b] * c / n_trials**2
            one = c if a == b else one
    level = drift if levels is None else levels
    variance = sum(rate * level[a] for a in range(n_trials))
    if of.noise == "binomial":
        for a in range(n_trials):
            square = level[a] ** 2 + drift[a] ** 2 * np.diag(one)
            variance = variance - rate**2 * square / of.max_count
    covariance = rate[:, None] * rate * gain + np.diag(variance) / n_trials**2
    mean = rate * level.mean()
    noise = np.trace(centre @ covariance) / (n - 1)
    m = mean - mean.mean()
    power = m @ m / (n - 1)
    along = m @ covariance @ m / (n - 1) ** 2
    return np.sqrt(power / (power + noise - along / power))


@pytest.mark.parametrize("of", [*WORLDS.values(), SUB_POISSON], ids=[*WORLDS, "sub-Poisson"])
@pytest.mark.parametrize("given", [False, True], ids=["gain drawn anew", "these trials"])
def test_the_true_ceiling_is_that_of_the_noise_covariance_written_out(of, given):
    rate = rates(60, 3)
    levels = np.random.default_rng(1).uniform(0.5, 1.5, (4, 3)) if given else None
    found = true_ceiling(rate, 4, WIDTH, of, levels)
    for i in range(3):
        expected = by_dense_matrices(rate[:, i], 4, of, None if levels is None else levels[:, i])
        assert found[i] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["plain", "drift", "gain", "both"])
def test_the_true_ceiling_is_the_r_that_the_true_rate_reaches_on_average(name):
    rate, rng = rates(), np.random.default_rng(2)
    r = []
    for _ in range(60):
        y = draw_trials(rate, 10, WIDTH, WORLDS[name], rng)[0].mean(axis=0)
        r.append([np.corrcoef(rate[:, i], y[:, i])[0, 1] for i in range(rate.shape[1])])
    error = np.std(r, axis=0, ddof=1) / np.sqrt(60)
    difference = np.mean(r, axis=0) - true_ceiling(rate, 10, WIDTH, WORLDS[name])
    # the expectation is taken inside the root: .001 at this length and number of trials
    assert abs(difference.mean()) < 0.001 + 4 * np.sqrt((error**2).sum()) / len(error)


def test_with_the_levels_of_the_trials_given_it_is_their_r():
    """Also for a slow gain, whose mean over ten trials is far from 1 in a single session."""
    rate, rng = rates(300, 40), np.random.default_rng(3)
    levels = np.exp(0.5 * rng.standard_normal((10, 1))) * np.ones((1, 40))
    r = []
    for _ in range(60):
        y = rng.poisson(rate * levels[:, None]).mean(axis=0)
        r.append([np.corrcoef(rate[:, i], y[:, i])[0, 1] for i in range(40)])
    truth = true_ceiling(rate, 10, WIDTH, levels=levels)
    error = np.std(r, axis=0) / np.sqrt(60)
    assert abs((np.mean(r, axis=0) - truth).mean()) < 0.0005 + 4 * error.mean() / np.sqrt(40)


def test_a_gain_common_to_a_whole_trial_lowers_no_ceiling():
    rate = rates()
    common = Variability(gain_sd=0.5, gain_tau_s=1e9)
    plain = true_ceiling(rate, 5, WIDTH)
    np.testing.assert_allclose(true_ceiling(rate, 5, WIDTH, common), plain, rtol=1e-6)
    within = Variability(gain_sd=0.5, gain_tau_s=0.1)
    assert (true_ceiling(rate, 5, WIDTH, within) < plain).all()


def test_the_true_ceiling_rises_with_trials_rate_and_regularity():
    rate = rates()
    by_trials = [true_ceiling(rate, n, WIDTH) for n in (1, 2, 5, 10, 40, 1000)]
    assert (np.diff(by_trials, axis=0) > 0).all() and (by_trials[-1] > 0.99).all()
    by_rate = [true_ceiling(rate * factor, 5, WIDTH) for factor in (0.1, 1, 10)]
    assert (np.diff(by_rate, axis=0) > 0).all()
    regular = Variability(noise="binomial", max_count=8)
    assert (true_ceiling(rate, 5, WIDTH, regular) > true_ceiling(rate, 5, WIDTH)).all()


def test_the_single_trial_ceiling_is_the_pooled_correlation_of_the_true_rate():
    rate = rates(600, 6, seed=4)
    for name in ("plain", "both"):
        y = draw_trials(rate, 60, WIDTH, WORLDS[name], np.random.default_rng(5))[0]
        for i in range(6):
            pooled = np.corrcoef(np.tile(rate[:, i], 60), y[:, :, i].ravel())[0, 1]
            expected = single_trial_ceiling(rate, 60, WORLDS[name])[i]
            assert pooled == pytest.approx(expected, abs=0.02)  # 60 gains of a trial each


def test_what_has_no_ceiling_is_undefined_and_wrong_input_is_refused():
    assert np.isnan(true_ceiling(np.full((50, 2), 0.3), 5, WIDTH)).all()
    assert np.isnan(true_ceiling(np.zeros((50, 2)), 5, WIDTH)).all()
    with pytest.raises(InputError, match="rate has shape"):
        true_ceiling(np.ones(50), 5, WIDTH)
    with pytest.raises(InputError, match="values that no rate has"):
        true_ceiling(np.full((50, 2), -1.0), 5, WIDTH)
    with pytest.raises(InputError, match="0 trials"):
        true_ceiling(rates(), 0, WIDTH)
    with pytest.raises(InputError, match="levels have shape"):
        true_ceiling(rates(), 5, WIDTH, levels=np.ones((4, 8)))
    with pytest.raises(ValueError, match="at least 4 trials"):
        cc_max_any_gain(np.ones((3, 100, 2)))


def test_the_ceiling_that_allows_for_gain_is_right_where_cc_max_is_too_low():
    """Drift from .6 to 1.4: v = .072, so CC_max is 1 - v/(N - 1) of the truth, squared."""
    rate = rates(1000, 100, mean=0.5, seed=6)
    counts, levels = draw_trials(rate, 6, WIDTH, WORLDS["drift"], np.random.default_rng(7))
    truth = true_ceiling(rate, 6, WIDTH, WORLDS["drift"], levels)
    found = cc_max_any_gain(counts) - truth
    assert abs(found.mean()) < 4 * found.std() / 10 + 2e-4
    variance = np.var(np.linspace(0.6, 1.4, 6), ddof=1)
    short = truth * (np.sqrt(1 - variance / (6 - variance)) - 1)
    low = ceilings.cc_max(counts) - truth
    assert low.mean() == pytest.approx(short.mean(), rel=0.1)


def test_alike_trials_have_one_ceiling_with_and_without_allowance_for_gain():
    rate = rates(3000, 20, mean=0.5)
    counts, _ = draw_trials(rate, 10, WIDTH, WORLDS["plain"], np.random.default_rng(8))
    np.testing.assert_allclose(cc_max_any_gain(counts), ceilings.cc_max(counts), atol=5e-4)


def test_cc_norm_of_the_true_rate_is_one():
    rate = rates(1000, 150, mean=0.2)
    counts, _ = draw_trials(rate, 10, WIDTH, WORLDS["plain"], np.random.default_rng(9))
    found = metrics.cc_norm(rate, counts)
    assert abs(found.mean() - 1) < 4 * found.std() / np.sqrt(150) + 0.001


def test_every_estimator_errs_as_the_table_says():
    """One column of the table, small: signs of the biases and what is undefined."""
    found = ceiling_table(["drift"], [2, 5], [0.02, 0.5], [5.0], runs=96, seed=1)
    cell = found.sel(world="drift", seconds=5.0)
    few = cell.sel(n_trials=2)
    assert few["undefined"].sel(estimator="cc_max", rate=0.02) > 0.2
    assert few["undefined"].sel(estimator="cc_max", rate=0.5) == 0
    assert (few["undefined"].sel(estimator="cc_max_any_gain") == 1).all()
    error = cell["error"].sel(n_trials=5)
    assert (error.sel(estimator="oracle_jackknife") < -0.05).all()
    assert (error.sel(estimator="oracle_conservative") > 0.04).all()
    assert error.sel(estimator="cc_max_halves", rate=0.5) < -0.01  # two of five against two
    assert abs(error.sel(estimator="cc_max_any_gain", rate=0.5)) < 0.003
    assert set(found.estimator.values) == set(AIMS) == set(estimates(np.ones((4, 50, 2))))


def test_a_comparison_and_an_inspection_give_one_ceiling_for_the_same_bins():
    from small_fits import CONVEX
    from small_recording import small_recording

    import neuromodels as nm

    recording = small_recording()
    comparison = nm.compare(recording, ["ln"], options={"ln": CONVEX})
    observed = comparison.tree[f"observed/{recording.stimuli[0]}/test"].to_dataset()
    scored = observed["response"].values[:, observed["scored"].values.astype(bool)]
    found = measure_ceilings("test", scored)
    for kind in ("cc_max", "cc_max_interleaved", "cc_max_first_second", "explainable_fraction"):
        stored = comparison.ceilings.sel(ceiling_kind=kind).values
        np.testing.assert_allclose(stored, getattr(found, kind), rtol=1e-9)


@pytest.mark.slow
def test_the_documented_errors_of_every_estimator_are_reproduced():
    seen = 0
    for world, seconds, rate, trials, truth, *errors, _ in rows_below(
        "ceilings.md", "Every estimator"
    ):
        cell = (world, int(trials), float(rate), float(seconds))
        if cell[1] * cell[3] > 400:  # the longest ones take minutes
            continue
        found = ceiling_table(*([value] for value in cell), runs=120, seed=11).squeeze()
        assert float(found["truth"]) == pytest.approx(float(truth), abs=0.03), cell
        for name, said in zip(AIMS, errors, strict=True):
            column = found.sel(estimator=name)
            if said == "–":
                assert column["undefined"] == 1
                continue
            said = said.split(" ")[0].replace("−", "-")
            # a median of 120 has 1.25/√120 of the spread as its error, the page's own with 240
            margin = 4 * 1.25 * float(column["spread"]) * np.sqrt(1 / 120 + 1 / 240) + 0.001
            assert abs(float(column["error"]) - float(said)) < margin, (cell, name)
            seen += 1
    assert seen > 100
