"""Scores against closed forms, loops over trials, scikit-learn and literal formulas."""

import numpy as np
import pytest

from neuromodels.analysis import metrics as m
from neuromodels.analysis.sums import moment_sums

MOMENT_SCORES = [m.pearson_r, m.cc_norm, m.signal_power_explained, m.feve, m.r2_er]


def simulated(seed=0, trials=7, time=300, neurons=4, rate=0.8):
    """Poisson counts, their rates and an imperfect prediction."""
    rng = np.random.default_rng(seed)
    drive = rng.standard_normal((time, neurons))
    lam = rate * np.exp(0.8 * drive)
    prediction = 0.3 + 0.7 * lam * np.exp(0.3 * rng.standard_normal(lam.shape))
    return prediction, rng.poisson(lam, (trials, time, neurons)).astype(float), lam


def with_gaps(y, seed=1):
    """The same responses with single bins, the end of a trial and a whole trial of a cell gone."""
    y = y.copy()
    y[np.random.default_rng(seed).random(y.shape) < 0.1] = np.nan
    y[2, 200:] = np.nan
    y[4, :, 1] = np.nan
    return y


# --- independent implementations, one neuron at a time, with loops -------------------------------


def loop_terms(p, y):
    """PSTH, observations, pooled σ² and mean pairwise covariance of one neuron, by loops."""
    time = [t for t in range(y.shape[1]) if np.isfinite(y[:, t]).any() and np.isfinite(p[t])]
    psth = np.array([np.nanmean(y[:, t]) for t in time])
    n_t = np.array([np.isfinite(y[:, t]).sum() for t in time])
    squares = sum(np.nansum((y[:, t] - np.nanmean(y[:, t])) ** 2) for t in time)
    covariances = []
    for a in range(len(y)):
        for b in range(a):
            common = [t for t in time if np.isfinite(y[a, t]) and np.isfinite(y[b, t])]
            if len(common) >= 2:
                covariances.append(np.cov(y[a, common], y[b, common])[0, 1])
    every = [(y[n, t], p[t]) for t in time for n in range(len(y)) if np.isfinite(y[n, t])]
    sigma2 = squares / (n_t - 1).sum()
    return p[time], psth, n_t, sigma2, np.mean(covariances), np.array(every)


def loop_score(name, p, y):
    p, psth, n_t, sigma2, power, every = loop_terms(p, y)
    cov = np.cov(p, psth)
    if name == "pearson_r":
        return np.corrcoef(p, psth)[0, 1]
    if name == "cc_norm":
        return cov[0, 1] / np.sqrt(cov[0, 0] * power)
    if name == "signal_power_explained":
        return (psth.var(ddof=1) - (psth - p).var(ddof=1)) / power
    if name == "feve":
        error = np.mean((every[:, 0] - every[:, 1]) ** 2)
        return 1 - (error - sigma2) / (every[:, 0].var(ddof=1) - sigma2)
    if name == "explainable_fraction":
        return (every[:, 0].var(ddof=1) - sigma2) / every[:, 0].var(ddof=1)
    v, u, time = p - p.mean(), psth - psth.mean(), len(p)
    numerator = (v @ u) ** 2 - sigma2 * (v**2 / n_t).sum()
    return numerator / ((v @ v) * (u @ u - (1 - 1 / time) * sigma2 * (1 / n_t).sum()))


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "ragged"])
@pytest.mark.parametrize("score", MOMENT_SCORES, ids=lambda f: f.__name__)
def test_vectorised_scores_equal_loops_over_trials_and_bins(score, missing):
    p, y, _ = simulated()
    if missing:
        y = with_gaps(y)
        p[:20] = np.nan  # bins before a model's first output
    expected = [loop_score(score.__name__, p[:, i], y[:, :, i]) for i in range(4)]
    np.testing.assert_allclose(score(p, y), expected, rtol=1e-10)


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "ragged"])
def test_explainable_fraction_equals_loops(missing):
    p, y, _ = simulated()
    y = with_gaps(y) if missing else y
    expected = [loop_score("explainable_fraction", p[:, i], y[:, :, i]) for i in range(4)]
    np.testing.assert_allclose(m.explainable_fraction(y), expected, rtol=1e-10)


def test_r2_er_is_the_published_formula_when_nothing_is_missing():
    p, y, _ = simulated()
    n, time, _ = y.shape
    for i in range(4):
        v, u = p[:, i] - p[:, i].mean(), y[:, :, i].mean(0) - y[:, :, i].mean()
        sigma2 = y[:, :, i].var(0, ddof=1).mean()
        literal = ((v * u).sum() ** 2 - sigma2 / n * (v**2).sum()) / (
            (v**2).sum() * ((u**2).sum() - (time - 1) * sigma2 / n)
        )
        assert m.r2_er(p, y)[i] == pytest.approx(literal, rel=1e-10)


@pytest.mark.parametrize("score", MOMENT_SCORES, ids=lambda f: f.__name__)
def test_ragged_code_equals_complete_code_when_nothing_is_missing(score):
    p, y, _ = simulated()
    # one trial of one other neuron misses a bin, so that all go through the code for pairs
    p5, y5 = np.c_[p, p[:, :1]], np.concatenate([y, y[:, :, :1]], axis=2)
    y5[0, 0, 4] = np.nan
    np.testing.assert_allclose(score(p5, y5)[:4], score(p, y), rtol=1e-10)


@pytest.mark.parametrize("score", MOMENT_SCORES, ids=lambda f: f.__name__)
def test_blocks_add_up_and_large_offsets_do_no_harm(score):
    p, y, _ = simulated()
    blocks = np.arange(300) // 37 % 5  # labels come back, as when blocks interleave
    metric = m.METRICS[score.__name__]
    by_block = metric.evaluate(moment_sums(p, y, blocks).total())
    np.testing.assert_allclose(by_block, score(p, y), rtol=1e-11)
    # 1e7 on both leaves 9 of 16 digits; squares that were not centred would leave none
    np.testing.assert_allclose(score(p + 1e7, y + 1e7), score(p, y), rtol=1e-6)


def test_weights_repeat_blocks():
    p, y, _ = simulated()
    blocks = np.repeat([0, 1, 2], 100)
    twice = np.r_[0:100, 0:100, 200:300]
    for name in ("pearson_r", "cc_norm", "feve", "r2_er"):
        metric = m.METRICS[name]
        weighted = metric.evaluate(moment_sums(p, y, blocks).weighted([[2, 0, 1]]))[0]
        np.testing.assert_allclose(weighted, metric.evaluate(
            moment_sums(p[twice], y[:, twice]).total()), rtol=1e-10)  # fmt: skip


def test_cc_norm_ignores_positive_gain_and_offset():
    p, y, _ = simulated()
    np.testing.assert_allclose(m.cc_norm(7.5 * p + 3, y), m.cc_norm(p, y), rtol=1e-10)
    np.testing.assert_allclose(m.cc_norm(-p, y), -m.cc_norm(p, y), rtol=1e-10)


def test_an_offset_costs_feve_its_square_over_the_variance_of_the_rate():
    rng = np.random.default_rng(3)
    lam = np.exp(0.7 * rng.standard_normal((2000, 1))) * np.ones((1, 60))
    y = rng.poisson(lam, (10, 2000, 60))
    c = 0.4
    lost = m.feve(lam, y) - m.feve(lam + c, y)
    expected = c**2 / lam[:, 0].var()
    # mean over 60 independent cells, four standard errors
    assert abs(lost.mean() - expected) < 4 * lost.std() / np.sqrt(60)


def test_nothing_is_clipped():
    _, y, lam = simulated(trials=3)
    assert (m.feve(100 * lam, y) < -10).all()
    assert (m.signal_power_explained(100 * lam, y) < -10).all()
    many = [simulated(seed, trials=3, rate=0.3) for seed in range(20)]
    assert max(m.cc_norm(lam, y).max() for _, y, lam in many) > 1


def two_rates(mean=0.2):
    lam = np.repeat([[0.5 * mean], [1.5 * mean]], 500_000, axis=0)
    return lam, np.random.default_rng(4).poisson(lam)


def test_bits_per_spike_of_two_rates_has_its_closed_form():
    lam, y = two_rates()
    ratio = np.array([0.5, 1.5])
    expected = 0.5 * (ratio * np.log2(ratio)).sum()
    found = m.bits_per_spike(lam, y, [0.2])[0]
    # 2e5 spikes of .79 bits standard deviation: standard error .0018, four of them
    assert abs(found - expected) < 0.007


def test_bits_per_spike_equals_a_loop_with_scipy_likelihoods():
    from scipy.stats import poisson

    p, y, _ = simulated()
    y = with_gaps(y)
    null = np.array([0.9, 1.0, 1.1, 1.2])
    expected = []
    for i in range(4):
        total = spikes = 0.0
        for trial in y[:, :, i]:
            seen = np.isfinite(trial)
            total += (
                poisson.logpmf(trial[seen], p[seen, i]) - poisson.logpmf(trial[seen], null[i])
            ).sum()
            spikes += trial[seen].sum()
        expected.append(total / spikes / np.log(2))
    np.testing.assert_allclose(m.bits_per_spike(p, y, null), expected, rtol=1e-9)


def test_a_prediction_per_trial_equals_one_prediction_repeated():
    p, y, _ = simulated()
    y, null = with_gaps(y), np.ones(4)
    each = np.repeat(p[None], len(y), axis=0)
    for score in (m.bits_per_spike, m.deviance_explained):
        np.testing.assert_allclose(score(each, y, null), score(p, y, null), rtol=1e-11)
    # a trial that is not predicted does not count
    each[3] = np.nan
    kept = np.delete(y, 3, axis=0)
    np.testing.assert_allclose(
        m.bits_per_spike(each, y, null), m.bits_per_spike(p, kept, null), rtol=1e-11
    )


def test_deviance_explained_is_one_when_saturated_and_zero_for_the_null_model():
    _, y, _ = simulated()
    null = np.array([0.5, 1.0, 1.5, 2.0])
    np.testing.assert_allclose(m.deviance_explained(y, y, null), 1, atol=1e-12)
    flat = np.broadcast_to(null, y.shape[1:])
    np.testing.assert_allclose(m.deviance_explained(flat, y, null), 0, atol=1e-12)
    np.testing.assert_allclose(m.bits_per_spike(flat, y, null), 0, atol=1e-12)


def test_deviance_explained_agrees_with_scikit_learn():
    d2_tweedie_score = pytest.importorskip("sklearn.metrics").d2_tweedie_score
    p, y, _ = simulated()
    mean = y.mean((0, 1))  # scikit-learn's null model is the mean of the scored data
    found = m.deviance_explained(p, y, mean)
    for i in range(4):
        expected = d2_tweedie_score(y[:, :, i].ravel(), np.tile(p[:, i], len(y)), power=1)
        assert found[i] == pytest.approx(expected, rel=1e-9)


def test_a_spike_where_none_was_possible_costs_everything():
    p, y, _ = simulated()
    p[10, 0], y[0, 10, 0] = 0.0, 1.0
    assert m.bits_per_spike(p, y, np.ones(4))[0] == -np.inf
    assert m.bits_per_spike(p, y, np.ones(4), reduction="mean") == -np.inf
    p[10, 0], y[:, 10, 0] = 0.0, 0.0
    assert np.isfinite(m.bits_per_spike(p, y, np.ones(4))).all()


def test_silent_cells_are_nan_and_the_rest_is_untouched():
    p, y, _ = simulated()
    alone = {f.__name__: f(p, y) for f in MOMENT_SCORES}
    y[:, :, 2] = 0
    for score in MOMENT_SCORES:
        found = score(p, y)
        assert np.isnan(found[2])
        np.testing.assert_allclose(
            np.delete(found, 2), np.delete(alone[score.__name__], 2), rtol=1e-12
        )
    null = np.array([1.0, 1.0, 0.0, 0.0])
    found = m.bits_per_spike(p, y, null)
    # no spikes at all; and spikes of a cell that had none in training, so has no reference
    assert np.isnan(found[2:]).all() and np.isfinite(found[:2]).all()
    assert np.isnan(m.deviance_explained(p, y, null)[3])


def test_constant_predictions_have_no_correlation():
    p, y, _ = simulated()
    p[:, 1] = 0.1  # its mean is not 0.1 in floating point
    assert np.isnan(m.pearson_r(p, y)[1])
    assert np.isnan(m.cc_norm(p, y)[1])


def test_reductions_are_the_mean_over_cells_and_the_ratio_of_sums():
    p, y, _ = simulated()
    null = np.ones(4)
    each = m.bits_per_spike(p, y, null)
    spikes = y.sum((0, 1))
    assert m.bits_per_spike(p, y, null, reduction="mean") == pytest.approx(each.mean())
    pooled = (each * spikes).sum() / spikes.sum()
    assert m.bits_per_spike(p, y, null, reduction="ratio") == pytest.approx(pooled)
    terms = [loop_terms(p[:, i], y[:, :, i]) for i in range(4)]
    covariance = sum(np.cov(t[0], t[1])[0, 1] for t in terms)
    expected = covariance / np.sqrt(sum(t[0].var(ddof=1) for t in terms) * sum(t[4] for t in terms))
    assert m.cc_norm(p, y, reduction="ratio") == pytest.approx(expected, rel=1e-10)


def test_the_mean_over_cells_is_over_those_that_have_a_score():
    p, y, _ = simulated()
    each = m.cc_norm(p, y)
    y[:, :, 0] = 0
    assert m.cc_norm(p, y, reduction="mean") == pytest.approx(each[1:].mean())
    y[:] = 0
    assert np.isnan(m.cc_norm(p, y, reduction="mean"))


def test_slices_of_neurons_change_nothing(monkeypatch):
    p, y, _ = simulated()
    y = with_gaps(y)
    whole = [f(p, y) for f in MOMENT_SCORES] + [m.bits_per_spike(p, y, np.arange(1.0, 5))]
    monkeypatch.setattr("neuromodels.analysis.sums._WORKING_SET", 1)
    parts = [f(p, y) for f in MOMENT_SCORES] + [m.bits_per_spike(p, y, np.arange(1.0, 5))]
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


def test_inputs_are_not_changed():
    p, y, _ = simulated()
    y = with_gaps(y)
    before = p.copy(), y.copy()
    m.cc_norm(p, y)
    m.bits_per_spike(p, y, np.ones(4))
    np.testing.assert_array_equal(p, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_wrong_inputs_are_refused_by_name():
    p, y, _ = simulated()
    null = np.ones(4)
    with pytest.raises(ValueError, match="prediction: has shape"):
        m.pearson_r(p[:-1], y)
    with pytest.raises(ValueError, match="prediction: has shape"):
        m.pearson_r(np.repeat(p[None], 7, axis=0), y)
    with pytest.raises(ValueError, match="prediction: negative at index"):
        m.bits_per_spike(-p, y, null)
    with pytest.raises(ValueError, match="responses: negative at index"):
        m.bits_per_spike(p, -y, null)
    with pytest.raises(ValueError, match="responses: has shape"):
        m.pearson_r(p, y[0, :, 0])
    with pytest.raises(ValueError, match="responses: infinite"):
        m.pearson_r(p, np.where(y > 2, np.inf, y))
    with pytest.raises(ValueError, match="null_rate: has shape"):
        m.bits_per_spike(p, y, [1.0])
    with pytest.raises(ValueError, match="reduction: 'median'"):
        m.pearson_r(p, y, reduction="median")
    for score in (m.cc_norm, m.feve, m.r2_er, m.signal_power_explained):
        with pytest.raises(ValueError, match=r"responses: 1 trial"):
            score(p, y[:1])
    with pytest.raises(ValueError, match="prediction: None"):
        m.pearson_r(None, y)
