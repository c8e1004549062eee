"""A perfect model of Poisson cells, many times over: what each score and ceiling says of it.

The rate is λ_t ∝ exp(1.2 s_t), s a moving sum over 5 bins of white noise divided by √5, 500 bins.
The prediction is λ itself, so that every noise-corrected score should be 1; both oracles aim at the
single-trial ceiling √(Var λ / (Var λ + mean λ)).
"""

import numpy as np
import pytest

from neuromodels.analysis import ceilings, halves, metrics

# (mean and standard deviation over 400 runs, from an independent implementation)
TABLE = {
    (0.05, 5): {
        "pearson_r": 0.62,
        "cc_norm": (1.05, 0.16),
        "halves_norm": 1.13,
        "feve": (1.10, 0.39),
        "r2_er": (1.13, 0.39),
        "oracle_jackknife": 0.19,
        "oracle_conservative": 0.54,
        "single_trial_ceiling": 0.33,
    },
    (0.05, 10): {
        "pearson_r": 0.74,
        "cc_norm": (1.01, 0.06),
        "halves_norm": 1.01,
        "feve": (1.01, 0.12),
        "r2_er": (1.02, 0.11),
        "oracle_jackknife": 0.24,
        "oracle_conservative": 0.45,
        "single_trial_ceiling": 0.34,
    },
    (0.3, 3): {
        "pearson_r": 0.83,
        "cc_norm": (1.01, 0.04),
        "halves_norm": 1.08,
        "feve": (1.01, 0.07),
        "r2_er": (1.01, 0.07),
        "oracle_jackknife": 0.50,
        "oracle_conservative": 0.79,
        "single_trial_ceiling": 0.65,
    },
    (0.3, 10): {
        "pearson_r": 0.94,
        "cc_norm": (1.00, 0.01),
        "halves_norm": 1.00,
        "feve": (1.00, 0.02),
        "r2_er": (1.00, 0.02),
        "oracle_jackknife": 0.61,
        "oracle_conservative": 0.70,
        "single_trial_ceiling": 0.66,
    },
}


def perfect_model(rate, n_trials, runs, seed=0):
    """Scores of the true rate in every run: a dict of (run,). Runs are the neurons of one call."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((504, runs))
    drive = sum(noise[lag : lag + 500] for lag in range(5)) / np.sqrt(5)
    lam = np.exp(1.2 * drive)
    lam *= rate / lam.mean(axis=0)
    y = rng.poisson(lam, (n_trials, 500, runs)).astype(float)
    enough = y.sum((0, 1)) >= 5
    lam, y = lam[:, enough], y[:, :, enough]
    r = metrics.pearson_r(lam, y)
    return {
        "pearson_r": r,
        "cc_norm": metrics.cc_norm(lam, y),
        "halves_norm": r / halves.cc_max_halves(y, n_splits=30, seed=seed),
        "feve": metrics.feve(lam, y),
        "r2_er": metrics.r2_er(lam, y),
        "oracle_jackknife": ceilings.oracle_jackknife(y),
        "oracle_conservative": ceilings.oracle_conservative(y),
        "single_trial_ceiling": np.sqrt(lam.var(0) / (lam.var(0) + lam.mean(0))),
    }


def assert_row(rate, n_trials, runs, seed):
    found = perfect_model(rate, n_trials, runs, seed)
    for name, expected in TABLE[rate, n_trials].items():
        mean, spread = expected if isinstance(expected, tuple) else (expected, None)
        values = found[name]
        assert np.isfinite(values).mean() > 0.97, name
        spread = np.nanstd(values) if spread is None else spread
        # the table is itself a mean of 400 runs, rounded to two digits; four standard errors
        tolerance = 4 * spread * np.sqrt(1 / runs + 1 / 400) + 0.008
        assert abs(np.nanmean(values) - mean) < tolerance, (name, np.nanmean(values), mean)


@pytest.mark.parametrize("n_trials, rate", [(5, 0.05), (10, 0.05), (10, 0.3)])
def test_a_perfect_model_scores_as_in_the_table(n_trials, rate):
    assert_row(rate, n_trials, runs=120, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("rate, n_trials", list(TABLE))
def test_a_perfect_model_scores_as_in_the_table_over_400_runs(rate, n_trials, seed):
    assert_row(rate, n_trials, runs=400, seed=seed)


@pytest.mark.parametrize("n_trials, undefined", [(2, 0.10), (3, 0.01)])
def test_with_two_or_three_sparse_trials_the_median_is_right_where_the_mean_is_not(
    n_trials, undefined
):
    found = perfect_model(0.05, n_trials, runs=400, seed=4)
    # a ratio with a denominator near zero has no useful mean; its median is within .1 of 1
    assert abs(np.nanmedian(found["cc_norm"]) - 1) < 0.1
    # share of runs without a positive signal power: binomial, 400 runs, four standard errors
    tolerance = 4 * np.sqrt(undefined * (1 - undefined) / 400)
    assert abs(np.isnan(found["cc_norm"]).mean() - undefined) < tolerance


def test_ratio_of_population_sums_is_steady_where_the_mean_of_ratios_is_not():
    rng = np.random.default_rng(5)
    pooled, means = [], []
    for _ in range(40):
        noise = rng.standard_normal((504, 20))
        lam = np.exp(1.2 * sum(noise[k : k + 500] for k in range(5)) / np.sqrt(5))
        lam *= 0.05 / lam.mean(axis=0)
        y = rng.poisson(lam, (3, 500, 20))
        pooled.append(metrics.feve(lam, y, reduction="ratio"))
        means.append(metrics.feve(lam, y, reduction="mean"))
    assert np.std(pooled) < 0.5 * np.std(means)
    assert abs(np.mean(pooled) - 1) < 4 * np.std(pooled) / np.sqrt(40)


def test_halves_put_the_ceiling_too_low_for_an_odd_number_of_trials():
    even = perfect_model(0.3, 4, runs=150, seed=6)
    odd = perfect_model(0.3, 3, runs=150, seed=6)
    assert abs(np.mean(even["halves_norm"]) - 1) < 0.02
    # three trials are split 1 and 1: √(2/(1+1/r₁)) is the ceiling of two trials, not of three
    assert 1.05 < np.mean(odd["halves_norm"]) < 1.11
    assert abs(np.mean(odd["cc_norm"]) - 1) < 0.02


def test_oracles_err_in_opposite_directions():
    found = perfect_model(0.05, 5, runs=100, seed=7)
    truth = found["single_trial_ceiling"]
    assert np.mean(found["oracle_jackknife"] < truth) > 0.95
    assert np.mean(found["oracle_conservative"] > truth) > 0.95
