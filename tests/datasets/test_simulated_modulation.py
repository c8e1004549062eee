"""Gain, drift and counts of simulations, against their closed forms."""

import numpy as np
import pytest

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.simulated.modulation import (
    draw_counts,
    drift_at,
    drift_factors,
    shared_gain,
)


def test_the_gain_has_mean_one_and_an_exponential_autocorrelation():
    trials, sd, tau_s, width = 4000, 0.4, 0.5, 0.05
    gain = shared_gain(trials, 40, width, sd, tau_s, np.random.default_rng(0))
    error = np.sqrt(np.exp(sd**2) - 1) / np.sqrt(trials)
    assert np.abs(gain.mean(axis=0) - 1).max() < 4.5 * error, "at every moment"
    log_gain = np.log(gain) + sd**2 / 2
    assert np.abs(log_gain.std(axis=0) / sd - 1).max() < 4.5 / np.sqrt(2 * trials)
    for lag in (1, 10, 20):
        found = (log_gain[:, :-lag] * log_gain[:, lag:]).mean() / sd**2
        assert found == pytest.approx(np.exp(-lag * width / tau_s), abs=0.03)


def test_a_gain_without_spread_is_one():
    assert (shared_gain(2, 3, 0.01, 0.0, 1.0, np.random.default_rng(0)) == 1).all()


def test_drift_is_linear_with_mean_one():
    assert drift_factors(5, 0.4).tolist() == pytest.approx([0.8, 0.9, 1.0, 1.1, 1.2])
    factors = drift_factors(11, np.array([0.4, -1.0]))
    assert factors.shape == (11, 2)
    assert factors.mean(axis=0) == pytest.approx([1, 1])
    assert drift_at(np.array([0.0, 1.0]), np.array([2.0])).ravel().tolist() == [0, 2]


@pytest.mark.parametrize(("noise", "most", "fano"), [("poisson", 1, 1.0), ("binomial", 4, 0.7)])
def test_counts_have_the_stated_variance(noise, most, fano):
    n, mean = 200_000, 1.2
    counts = draw_counts(np.full(n, mean), np.random.default_rng(1), noise, most)
    assert counts.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / n))
    assert counts.var() / counts.mean() == pytest.approx(fano, abs=0.02)


def test_bernoulli_counts_are_zero_or_one():
    counts = draw_counts(np.full((10, 100), 0.5), np.random.default_rng(1), "binomial")
    assert set(np.unique(counts)) == {0, 1}


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda rng: shared_gain(1, 1, 0.01, -0.1, 1.0, rng), "sd"),
        (lambda rng: shared_gain(1, 1, 0.01, 0.1, 0.0, rng), "tau_s"),
        (lambda rng: shared_gain(0, 1, 0.01, 0.1, 1.0, rng), "n_trials"),
        (lambda rng: drift_factors(3, 2.5), "change"),
        (lambda rng: draw_counts(np.array([-1.0]), rng), "rate"),
        (lambda rng: draw_counts(np.array([np.nan]), rng), "rate"),
        (lambda rng: draw_counts(np.array([1.5]), rng, "binomial"), "max_count"),
        (lambda rng: draw_counts(np.array([0.5]), rng, "gaussian"), "poisson, binomial"),
    ],
)
def test_impossible_values_are_refused_by_name(call, names):
    with pytest.raises(InputError, match=names):
        call(np.random.default_rng(0))
