"""The share of variance explained: what it is, what it refuses, and what its interval covers."""

import numpy as np
import pytest
from scipy.signal import lfilter
from sklearn.metrics import r2_score

from neuromodels.analysis.intervals import interval_or_reason
from neuromodels.analysis.metrics import METRICS, variance_explained
from neuromodels.analysis.sums import square_sums


@pytest.fixture
def traces():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(400, 3))
    return signal, signal * [1.0, 5.0, -2.0] + rng.normal(size=(400, 3)) - [0.0, 1.0, 3.0]


def test_with_the_mean_of_the_same_data_it_is_the_r2_of_scikit_learn(traces):
    signal, response = traces
    found = variance_explained(signal, response, response.mean(0))
    expected = r2_score(response, signal, multioutput="raw_values")
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_it_is_0_for_the_training_mean_1_for_the_data_and_negative_for_worse(traces):
    _, response = traces
    mean = np.array([0.3, -1.0, -2.0])
    flat = np.broadcast_to(mean, response.shape)
    np.testing.assert_allclose(variance_explained(flat, response, mean), 0, atol=1e-12)
    np.testing.assert_allclose(variance_explained(response, response, mean), 1, atol=1e-12)
    assert (variance_explained(flat + 5, response, mean) < 0).all()


def test_units_and_zero_of_a_trace_do_not_matter(traces):
    signal, response = traces
    mean = response.mean(0)
    one = variance_explained(signal, response, mean)
    two = variance_explained(3000 * signal - 7, 3000 * response - 7, 3000 * mean - 7)
    np.testing.assert_allclose(one, two, rtol=1e-9)


def test_trials_and_missing_values_equal_a_loop(traces):
    signal, response = traces
    rng = np.random.default_rng(1)
    trials = response + rng.normal(size=(5, *response.shape))
    trials[rng.random(trials.shape) < 0.2] = np.nan
    predicted = signal.copy()
    predicted[:20] = np.nan
    mean = np.array([0.1, -1.0, -3.0])
    found = variance_explained(predicted, trials, mean)
    for n in range(3):
        error = null = 0.0
        for trial in trials[:, 20:, n]:
            for y, guess in zip(trial, predicted[20:, n], strict=True):
                if np.isfinite(y):
                    error += (y - guess) ** 2
                    null += (y - mean[n]) ** 2
        assert found[n] == pytest.approx(1 - error / null, rel=1e-12)


def test_blocks_add_up_and_the_ratio_pools_the_squares(traces):
    signal, response = traces
    mean = response.mean(0)
    blocks = np.repeat(np.arange(8), 50)
    sums = square_sums(signal, response, mean, blocks)
    metric = METRICS["variance_explained"]
    np.testing.assert_allclose(
        metric.evaluate(sums.total()), variance_explained(signal, response, mean), rtol=1e-12
    )
    pooled = 1 - ((response - signal) ** 2).sum() / ((response - mean) ** 2).sum()
    assert variance_explained(signal, response, mean, reduction="ratio") == pytest.approx(pooled)


def test_a_trace_that_never_leaves_the_training_mean_has_no_score():
    response = np.full((50, 2), 2.0)
    response[:, 1] += np.random.default_rng(0).normal(size=50)
    found = variance_explained(response, response, np.array([2.0, 2.0]))
    assert np.isnan(found[0]) and found[1] == 1


def test_what_it_is_relative_to_must_be_given_and_finite(traces):
    signal, response = traces
    with pytest.raises(ValueError, match="finite"):
        variance_explained(signal, response, np.array([0.0, np.nan, 0.0]))
    with pytest.raises(ValueError, match="shape"):
        variance_explained(signal, response, np.zeros(2))
    with pytest.raises(ValueError, match="training mean"):
        METRICS["variance_explained"].sums(signal, response)


# -- its interval ----------------------------------------------------------------------------------

WIDTH, CELLS, STRETCH = 0.1, 6, 360


def wandering(rng, n_bins, seconds, columns):
    """Stationary Gaussian series with variance 1 and exponential memory."""
    keep = np.exp(-WIDTH / seconds)
    start = int(5 * seconds / WIDTH)
    noise = rng.normal(size=(start + n_bins, columns)) * np.sqrt(1 - keep**2)
    return lfilter([1], [1, -keep], noise, axis=0)[start:]


def session(rng, n_bins, noise_s, gain_sd):
    """Traces with the memory of an indicator, and a good and a poor prediction of them."""
    signal = wandering(rng, n_bins, 0.3, CELLS)
    gain = np.exp(gain_sd * wandering(rng, n_bins, 20.0, 1) - gain_sd**2 / 2)
    traces = gain * signal + wandering(rng, n_bins, noise_s, CELLS)
    return traces, 0.9 * signal + 0.2 * wandering(rng, n_bins, 0.3, CELLS), 0.6 * signal


@pytest.mark.slow
@pytest.mark.parametrize(("noise_s", "gain_sd"), [(0.1, 0.0), (1.0, 0.0), (0.5, 0.3)])
def test_95_percent_intervals_of_held_out_traces_hold_the_truth(noise_s, gain_sd):
    """180 s held out in 5 stretches, noise as slow as an indicator, and a gain that all share."""
    null = np.zeros(CELLS)
    traces, good, poor = session(np.random.default_rng(0), 600_000, noise_s, gain_sd)
    truth = [variance_explained(one, traces, null).mean() for one in (good, poor)]
    inside = np.zeros((2, 250))
    kept = np.concatenate([np.arange(STRETCH) + 2 * b * STRETCH for b in range(5)])
    for run in range(inside.shape[1]):
        parts = session(np.random.default_rng(1000 + run), 9 * STRETCH, noise_s, gain_sd)
        traces, good, poor = (part[kept] for part in parts)
        for row, (other, aim) in enumerate([(None, truth[0]), (poor, truth[0] - truth[1])]):
            found = interval_or_reason(
                "variance_explained",
                good,
                traces,
                bin_width=WIDTH,
                blocks=np.repeat(np.arange(5), STRETCH),
                null_rate=null,
                other=other,
                reduction="mean",
            )
            inside[row, run] = found.low <= aim <= found.high
    # The last world covers 92 % (500 runs); 250 runs scatter by 1.7 %.
    assert (inside.mean(axis=1) > 0.89).all()
