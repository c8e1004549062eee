"""Ceilings and references against closed forms, loops over trials and the real recording."""

import os
from pathlib import Path

import numpy as np
import pytest

from neuromodels.analysis import ceilings as c
from neuromodels.analysis import halves as h
from neuromodels.analysis import metrics


def poisson_cells(seed=0, trials=8, time=400, neurons=5, rate=0.6):
    rng = np.random.default_rng(seed)
    lam = rate * np.exp(0.8 * rng.standard_normal((time, neurons)))
    return lam, rng.poisson(lam, (trials, time, neurons)).astype(float)


def with_gaps(y, seed=1):
    y = y.copy()
    y[np.random.default_rng(seed).random(y.shape) < 0.1] = np.nan
    y[1, 250:] = np.nan
    y[3, :, 0] = np.nan
    return y


def loop_signal_power(y):
    """Mean covariance over pairs of trials of one neuron, (trial, time)."""
    pairs = []
    for a in range(len(y)):
        for b in range(a):
            both = np.isfinite(y[a]) & np.isfinite(y[b])
            if both.sum() >= 2:
                pairs.append(np.cov(y[a, both], y[b, both])[0, 1])
    return np.mean(pairs)


def test_signal_power_is_the_formula_of_sahani_and_linden():
    _, y = poisson_cells()
    n = len(y)
    expected = (y.sum(0).var(0, ddof=1) - y.var(1, ddof=1).sum(0)) / (n * (n - 1))
    np.testing.assert_allclose(c.signal_power(y).value, expected, rtol=1e-10)


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "ragged"])
def test_signal_power_and_its_error_equal_loops_over_pairs(missing):
    _, y = poisson_cells()
    y = with_gaps(y) if missing else y
    value, error = c.signal_power(y)
    for i in range(y.shape[2]):
        cell = y[np.isfinite(y[:, :, i]).any(axis=1), :, i]
        n = len(cell)
        assert value[i] == pytest.approx(loop_signal_power(cell), rel=1e-10)
        left = np.array([loop_signal_power(np.delete(cell, k, axis=0)) for k in range(n)])
        expected = np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
        assert error[i] == pytest.approx(expected, rel=1e-9)


def test_expected_signal_power_is_the_variance_of_the_rate():
    rng = np.random.default_rng(2)
    lam = np.exp(0.5 * rng.standard_normal(300))
    y = rng.poisson(np.repeat(lam[:, None], 600, 1), (10, 300, 600))
    found = c.signal_power(y)
    # the 600 neurons are repetitions of one experiment; four standard errors
    assert abs(found.value.mean() - lam.var(ddof=1)) < 4 * found.value.std() / np.sqrt(600)
    # the jack-knife error is the spread over repetitions (and too large with very few trials)
    spread = found.value.std()
    assert np.sqrt((found.standard_error**2).mean()) == pytest.approx(spread, rel=0.15)


def test_signal_power_of_pure_noise_is_zero_and_fails_the_gate():
    noise = np.random.default_rng(3).poisson(0.5, (10, 500, 300))
    value, _ = c.signal_power(noise)
    assert abs(value.mean()) < 4 * value.std() / np.sqrt(300)
    assert c.gate(noise).mean() < 0.1
    _, y = poisson_cells(trials=20)
    assert c.gate(y).all()
    y[:, :, 0] = 0
    np.testing.assert_array_equal(c.gate(y), [False, True, True, True, True])


def test_cc_max_is_the_correlation_of_the_true_rate_with_the_mean_of_trials():
    lam, y = poisson_cells(trials=10, time=5000)
    # sampling error of both correlations with 5,000 bins is below .01
    np.testing.assert_allclose(c.cc_max(y), metrics.pearson_r(lam, y), atol=0.01)


def test_cc_norm_is_r_over_cc_max():
    lam, y = poisson_cells()
    for responses in (y, with_gaps(y)):
        expected = metrics.pearson_r(lam, responses) / c.cc_max(responses)
        np.testing.assert_allclose(metrics.cc_norm(lam, responses), expected, rtol=1e-10)


def test_halves_and_signal_power_agree_for_an_even_number_of_trials():
    _, y = poisson_cells(trials=10, time=4000)
    np.testing.assert_allclose(h.cc_max_halves(y), c.cc_max(y), atol=0.01)
    np.testing.assert_array_equal(h.cc_max_halves(y, seed=3), h.cc_max_halves(y, seed=3))


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "ragged"])
@pytest.mark.parametrize("n", [8, 7])
def test_split_halves_are_the_named_trials(n, missing):
    _, y = poisson_cells(trials=n)
    y = with_gaps(y) if missing else y
    k = n // 2
    means = {
        "interleaved": (y[0 : 2 * k : 2], y[1 : 2 * k : 2]),
        "first_second": (y[:k], y[n - k :]),
    }
    for kind, (first, second) in means.items():
        found = h.split_half(y, kind)
        for i in range(y.shape[2]):
            a, b = (
                np.array([np.nanmean(part[:, t, i]) if np.isfinite(part[:, t, i]).any() else np.nan
                          for t in range(y.shape[1])]) for part in (first, second)
            )  # fmt: skip
            both = np.isfinite(a) & np.isfinite(b)
            assert found.r[i] == pytest.approx(np.corrcoef(a[both], b[both])[0, 1], rel=1e-9)
        np.testing.assert_allclose(found.reliability, 2 * found.r / (1 + found.r), rtol=1e-12)
        np.testing.assert_allclose(found.cc_max**2, found.reliability, rtol=1e-12)
        np.testing.assert_array_equal(h.reliability(y, kind), found.reliability)


def test_cells_whose_tuning_drifts_are_called_non_stationary_and_others_are_not():
    rng = np.random.default_rng(5)
    early, late = (np.exp(0.8 * rng.standard_normal((300, 100))) for _ in range(2))
    share = np.linspace(0, 0.7, 20)[:, None, None]
    drifting = rng.poisson((1 - share) * early + share * late).astype(float)
    steady = rng.poisson(early, (20, 300, 100)).astype(float)
    found = h.stationarity(drifting)
    assert found.non_stationary.mean() > 0.95
    assert (found.interleaved.cc_max > found.first_second.cc_max).all()
    # the permutation test is wrong in 5 % of steady cells; four standard errors
    assert h.stationarity(steady).non_stationary.mean() < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 100)


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "ragged"])
def test_oracles_equal_loops_over_trials(missing):
    _, y = poisson_cells()
    y = with_gaps(y) if missing else y
    for i in range(y.shape[2]):
        own, others, v_noise, psth = [], [], [], []
        for t in range(y.shape[1]):
            seen = y[np.isfinite(y[:, t, i]), t, i]
            psth.append(seen.mean())
            v_noise.append(seen.var())
            for k in range(len(seen)):
                if len(seen) > 1:
                    own.append(seen[k])
                    others.append(np.delete(seen, k).mean())
        assert c.oracle_jackknife(y)[i] == pytest.approx(np.corrcoef(own, others)[0, 1], rel=1e-9)
        expected = np.sqrt(np.var(psth) / (np.var(psth) + np.mean(v_noise)))
        assert c.oracle_conservative(y)[i] == pytest.approx(expected, rel=1e-9)


def test_poisson_counts_have_fano_factor_one_and_regular_ones_less():
    lam, y = poisson_cells(trials=30, time=3000, rate=2.0)
    np.testing.assert_allclose(c.fano_factor(y), 1, atol=0.03)  # error √(2/87,000) and more
    np.testing.assert_allclose(c.fano_factor(with_gaps(y)), 1, atol=0.03)
    binomial = np.random.default_rng(0).binomial(4, 0.5, (30, 3000, 2))
    np.testing.assert_allclose(c.fano_factor(binomial), 0.5, atol=0.02)


@pytest.mark.parametrize("smoothing, kernel", [(0.0, [1]), (0.03, [1, 1, 1]), (0.02, [0.5, 1, 0.5]),
                                               (0.05, [1] * 5)])  # fmt: skip
def test_leave_one_out_reference_equals_a_loop_over_trials(smoothing, kernel):
    _, y = poisson_cells(trials=5, time=120)
    y[2, 60:] = np.nan
    blocks = np.repeat([0, 1], [50, 70])
    null = np.full(5, 0.8)
    gain, spikes = np.zeros(5), np.zeros(5)
    for n in range(5):
        others = np.delete(y, n, axis=0)
        for label in (0, 1):
            inside = blocks == label
            seen = np.isfinite(others[:, inside]).sum(0)
            total = np.nansum(others[:, inside], axis=0)
            own = y[n, inside]
            for i in range(5):
                smooth = np.convolve(total[:, i], kernel, "same") + null[i]
                smooth /= np.convolve(seen[:, i], kernel, "same") + 1
                ok = np.isfinite(own[:, i])
                log_ratio = np.log(smooth[ok] / null[i])
                gain[i] += (own[ok, i] * log_ratio - (smooth[ok] - null[i])).sum()
                spikes[i] += own[ok, i].sum()
    found = c.leave_one_out_psth_bits_per_spike(
        y, null, bin_width=0.01, smoothing=smoothing, blocks=blocks
    )
    np.testing.assert_allclose(found, gain / spikes / np.log(2), rtol=1e-9)


def test_with_many_trials_the_reference_reaches_the_information_of_the_true_rate():
    lam, y = poisson_cells(trials=300, time=200)
    null = lam.mean(0)
    reference = c.leave_one_out_psth_bits_per_spike(y, null, 0.01, smoothing=0)
    truth = metrics.bits_per_spike(lam, y, null)
    # estimating one rate per bin costs about 1/(2 n_trials) nats per bin, .004 bits per spike
    np.testing.assert_allclose(reference, truth, atol=0.01)


def test_wrong_inputs_are_refused_by_name():
    _, y = poisson_cells()
    for function in (c.signal_power, c.cc_max, h.split_half, c.oracle_jackknife, c.fano_factor):
        with pytest.raises(ValueError, match="responses: 1 trial"):
            function(y[:1])
    with pytest.raises(ValueError, match="responses: 3 trial"):
        h.stationarity(y[:3])
    with pytest.raises(ValueError, match="halves: 'odd'"):
        h.split_half(y, "odd")
    with pytest.raises(ValueError, match="smoothing: -1"):
        c.leave_one_out_psth_bits_per_spike(y, np.ones(5), 0.01, smoothing=-1)


@pytest.fixture(scope="module")
def moving_bars():
    """Six ganglion cells at 10 ms: the repeated movie from 0 to 6.66 s, and training means."""
    folder = Path(os.environ.get("NEUROMODELS_DATA", "")) / "rgc-moving-bars"
    if not os.environ.get("NEUROMODELS_DATA") or not folder.is_dir():
        pytest.skip("NEUROMODELS_DATA names no folder with rgc-moving-bars")
    loadmat = pytest.importorskip("scipy.io").loadmat
    test = loadmat(folder / "test_data_bars.mat", variable_names=["spikes_test"])["spikes_test"]
    y = test.transpose(2, 1, 0)[:, :3996].astype(float).reshape(54, 666, 6, 6).sum(axis=2)
    train = loadmat(folder / "nonrepeat_data_bars.mat", variable_names=["spikes_train"])
    return y, train["spikes_train"].mean(axis=(1, 2)) * 6


def test_real_ganglion_cells_have_the_known_ceiling_and_reliability(moving_bars):
    y, _ = moving_bars
    ceiling, of_random_halves = c.cc_max(y), h.cc_max_halves(y, n_splits=200)
    assert (np.round(ceiling, 3) >= 0.969).all() and (np.round(ceiling, 3) <= 0.979).all()
    reliability = np.round(of_random_halves**2, 3)
    assert (reliability >= 0.939).all() and (reliability <= 0.960).all()
    np.testing.assert_allclose(of_random_halves, ceiling, atol=0.002)
    # one split of the trials differs from the mean over splits by about .005
    np.testing.assert_allclose(h.split_half(y).cc_max, ceiling, atol=0.01)
    assert c.gate(y).all()


def test_real_ganglion_cells_have_the_known_leave_one_out_reference(moving_bars):
    y, null = moving_bars
    found = c.leave_one_out_psth_bits_per_spike(y, null, bin_width=0.010, reduction="mean")
    # 1.60; how bins without a spike in any other trial are filled moves it by .05
    assert found == pytest.approx(1.60, abs=0.05)
