"""Scores in every mode: which bins, which data, and why one does not exist."""

import numpy as np
import pytest

from neuromodels.datasets.blocks import Block
from neuromodels.fits.predictions import Prediction
from neuromodels.fits.scoring import SCORES, evaluate, observe, spread_over_stretches

BY_NAME = {score.name: score for score in SCORES}
WIDTH = 0.010


def make_block(response, label=0):
    n_bins = response.shape[-2]
    return Block(
        label=label,
        time=np.arange(n_bins) * WIDTH,
        response=response,
        frame_of_bin=np.arange(n_bins),
        frames=np.zeros((n_bins, 1, 1, 1), dtype=np.uint8),
        trials=np.arange(len(response)) if response.ndim == 3 else None,
    )


@pytest.fixture
def rates():
    rng = np.random.default_rng(0)
    return 0.3 * np.exp(rng.normal(size=(300, 2)))


@pytest.fixture
def repeats(rates):
    return np.random.default_rng(1).poisson(rates, size=(10, *rates.shape))


def test_bins_before_the_longest_window_are_not_scored(rates, repeats):
    observed = observe([make_block(repeats), make_block(repeats, 1)], 50)
    assert observed.scored.sum() == 2 * 250
    # Whatever is predicted before the window makes no difference.
    wild = rates.copy()
    wild[:50] = 1e6
    null = repeats.mean((0, 1))
    for name in ("pearson_r", "cc_norm", "bits_per_spike_test"):
        one, two = (
            evaluate(BY_NAME[name], observed, [Prediction(r)] * 2, null_rate=null, bin_width=WIDTH)
            for r in (rates, wild)
        )
        np.testing.assert_array_equal(one.value, two.value)


def test_bits_per_spike_equal_the_log_likelihood_written_out(rates, repeats):
    observed = observe([make_block(repeats)], 0)
    null = np.array([0.4, 0.6])
    found = evaluate(
        BY_NAME["bits_per_spike_test"],
        observed,
        [Prediction(rates)],
        null_rate=null,
        bin_width=WIDTH,
    )
    gain = repeats * np.log(rates / null) - rates + null
    expected = gain.sum((0, 1)) / repeats.sum((0, 1)) / np.log(2)
    np.testing.assert_allclose(found.value, expected, rtol=1e-9)
    assert found.mean[0] == pytest.approx(expected.mean())
    pooled = gain.sum() / repeats.sum() / np.log(2)
    assert found.ratio[0] == pytest.approx(pooled)


def test_conditional_scores_use_the_prediction_of_each_trial(rates, repeats):
    observed = observe([make_block(repeats)], 0)
    null = repeats.mean((0, 1))
    given = rates * np.exp(0.3 * np.random.default_rng(2).normal(size=repeats.shape))
    prediction = Prediction(rates, given)
    found = evaluate(
        BY_NAME["bits_per_spike_test_conditional"],
        observed,
        [prediction],
        null_rate=null,
        bin_width=WIDTH,
    )
    gain = repeats * np.log(given / null) - given + null
    np.testing.assert_allclose(
        found.value, gain.sum((0, 1)) / repeats.sum((0, 1)) / np.log(2), rtol=1e-9
    )


def test_a_model_that_sees_no_spikes_has_no_conditional_score(rates, repeats):
    observed = observe([make_block(repeats)], 0)
    found = evaluate(
        BY_NAME["bits_per_spike_test_conditional"],
        observed,
        [Prediction(rates)],
        null_rate=np.ones(2),
        bin_width=WIDTH,
    )
    assert np.isnan(found.value).all()
    assert "does not see spikes" in found.reason


def test_scores_that_need_repeats_say_so(rates, repeats):
    observed = observe([make_block(repeats[:1])], 0)
    found = evaluate(
        BY_NAME["cc_norm"], observed, [Prediction(rates)], null_rate=np.ones(2), bin_width=WIDTH
    )
    assert np.isnan(found.value).all()
    assert "needs at least 2 repeats" in found.reason
    absent = evaluate(BY_NAME["bits_per_spike"], None, None, null_rate=np.ones(2), bin_width=WIDTH)
    assert "no heldout data" in absent.reason


def test_a_paired_difference_is_the_difference_of_the_scores_and_has_the_smaller_error(rates):
    rng = np.random.default_rng(3)
    long = 0.3 * np.exp(rng.normal(size=(18000, 2)))
    observed = observe([make_block(rng.poisson(long))], 0)
    worse = long**0.7 * long.mean() ** 0.3
    null = long.mean(0)
    score = BY_NAME["bits_per_spike"]

    def score_of(prediction, other=None):
        return evaluate(
            score,
            observed,
            [Prediction(prediction)],
            null_rate=null,
            bin_width=WIDTH,
            other=None if other is None else [Prediction(other)],
        )

    one, two, difference = score_of(long), score_of(worse), score_of(long, worse)
    np.testing.assert_allclose(difference.value, one.value - two.value, rtol=1e-9)
    # Both models share the stretch of stimulus: pairing removes it.
    assert difference.mean[1] < 0.5 * np.hypot(one.mean[1], two.mean[1])
    assert difference.mean[2] < difference.mean[0] < difference.mean[3]


def test_r2_er_of_the_true_rate_is_near_one(rates, repeats):
    observed = observe([make_block(repeats)], 0)
    found = evaluate(
        BY_NAME["r2_er"], observed, [Prediction(rates)], null_rate=np.ones(2), bin_width=WIDTH
    )
    # 300 bins x 10 repeats: the estimator scatters by about .03.
    np.testing.assert_allclose(found.value, 1.0, atol=0.1)


def test_spread_is_over_seconds_of_a_test_movie_and_blocks_of_held_out_data(rates, repeats):
    observed = observe([make_block(repeats)], 0)
    low, high = spread_over_stretches(
        BY_NAME["pearson_r"], observed, [Prediction(rates)], np.ones(2), WIDTH
    )
    psth = repeats.mean(0)
    each = [
        np.mean([np.corrcoef(rates[s, n], psth[s, n])[0, 1] for n in range(2)])
        for s in (slice(0, 100), slice(100, 200), slice(200, 300))
    ]
    assert (low, high) == (pytest.approx(min(each)), pytest.approx(max(each)))


def test_ragged_trials_are_scored_where_they_were_recorded(rates, repeats):
    ragged = repeats.astype(np.float32)
    ragged[7:, 150:] = np.nan
    whole = evaluate(
        BY_NAME["pearson_r"],
        observe([make_block(ragged)], 0),
        [Prediction(rates)],
        null_rate=np.ones(2),
        bin_width=WIDTH,
    )
    psth = np.nanmean(ragged, 0)
    expected = [np.corrcoef(rates[:, n], psth[:, n])[0, 1] for n in range(2)]
    np.testing.assert_allclose(whole.value, expected, rtol=1e-6)
