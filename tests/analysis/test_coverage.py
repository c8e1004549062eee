"""Intervals of ceilings and of scores hold the truth as often as they say, or there are none."""

import numpy as np
import pytest
from page_tables import rows_below
from scipy.stats import binom
from scipy.stats import t as student

from neuromodels.analysis import halves
from neuromodels.analysis.ceiling_intervals import (
    NO_SIGNAL,
    cc_max_any_gain,
    ceiling_interval,
    mean_ceiling_interval,
)
from neuromodels.datasets.errors import InputError
from neuromodels.fits.truth.ceilings import WORLDS, draw_trials, smooth_rates, true_ceiling
from neuromodels.fits.truth.coverage import Session, ceiling_coverage, score_coverage

LEAST = 0.93
SESSIONS = {
    "slow gain": Session(),
    "drift": Session(drift=0.8),
    "strong gain and drift, 120 s": Session(seconds=120, drift=0.8, gain_sd=0.6, gain_tau_s=10),
    "2 Hz": Session(rate=0.02),
    "wandering contrast": Session(contrast_tau_s=3),
}


def enough(covered: float, runs: float) -> bool:
    """Whether so many hits are to be expected (1 in 1,000) if 93 % are covered."""
    return round(covered * runs) >= binom.ppf(0.001, round(runs), LEAST)


def trials(n_trials, n_bins=200, n_neurons=5, mean=0.3, world="both", seed=0):
    rng = np.random.default_rng(seed)
    rate = smooth_rates(n_bins, n_neurons, mean, rng)
    return draw_trials(rate, n_trials, 0.01, WORLDS[world], rng)[0]


def loop_powers(y):
    """Signal and noise power of one neuron (trial, time), from the definition, in loops."""
    n = len(y)
    products = np.array([[np.dot(a - a.mean(), b - b.mean()) for a in y] for b in y])
    pairs = [products[i, j] for i in range(n) for j in range(n) if i != j]
    shared = [
        products[i, j] * products[i, k]
        for i in range(n) for j in range(n) for k in range(n) if len({i, j, k}) == 3
    ]  # fmt: skip
    apart = [
        products[i, j] * products[k, m]
        for i in range(n) for j in range(n) for k in range(n) for m in range(n)
        if len({i, j, k, m}) == 4
    ]  # fmt: skip
    power = np.mean(pairs)
    of_gain = (np.mean(shared) - np.mean(apart)) / power
    return power + of_gain / n, np.mean(np.diag(products)) - power - of_gain


def test_the_interval_is_the_jack_knife_over_trials_written_as_loops():
    y = trials(8, n_bins=120, n_neurons=2)
    found = ceiling_interval(y)
    for i in range(2):
        signal, noise = loop_powers(y[:, :, i])
        whole = np.log(signal / noise)
        assert cc_max_any_gain(y)[i] == pytest.approx(1 / np.sqrt(1 + noise / signal / 8), rel=1e-9)
        left = [np.log(np.divide(*loop_powers(np.delete(y[:, :, i], k, 0)))) for k in range(8)]
        pseudo = 8 * whole - 7 * np.array(left)
        half = student.ppf(0.975, 7) * pseudo.std(ddof=1) / np.sqrt(8)
        low, high = (1 / np.sqrt(1 + np.exp(-(pseudo.mean() + s * half)) / 8) for s in (-1, 1))
        assert (found.low[i], found.high[i]) == pytest.approx((low, high), rel=1e-9)


@pytest.mark.parametrize(("world", "n_trials", "rate"), [("slow both", 10, 0.1), ("gain", 8, 0.5)])
def test_intervals_of_ceilings_cover_under_drift_and_gain(world, n_trials, rate):
    found = ceiling_coverage(WORLDS[world], n_trials, rate, 5.0, runs=400, seed=1)
    assert found.shown == 1
    assert enough(found.covered, 400), found


def test_where_signal_hardly_shows_the_intervals_that_there_are_still_cover():
    """No selection by width: 100 spikes in all, and the few cells with an interval cover too."""
    found = ceiling_coverage(WORLDS["plain"], 8, 0.02, 5.0, runs=400, seed=2)
    assert 0.8 < found.shown < 1 and found.width > 0.3
    assert enough(found.covered, 400 * found.shown), found


def test_an_interval_neither_depends_on_the_gain_of_whole_trials_nor_on_other_neurons():
    y = trials(10, mean=0.5, world="plain")
    scaled = ceiling_interval(3.7 * y + 2)
    np.testing.assert_allclose(scaled.low, ceiling_interval(y).low, rtol=1e-9)
    np.testing.assert_allclose(ceiling_interval(y[..., 2:3]).low, scaled.low[2:3], rtol=1e-9)
    order = np.random.default_rng(3).permutation(10)
    np.testing.assert_allclose(ceiling_interval(y[order]).high, scaled.high, rtol=1e-9)


def test_there_is_a_reason_where_there_is_no_interval():
    assert ceiling_interval(trials(7)) == "fewer than 8 trials"
    assert ceiling_interval(trials(8, n_bins=99)) == "trials share fewer than 100 bins"
    y = trials(10)
    y[:, :, 1] = 0
    y[:, :, 2] = np.random.default_rng(0).poisson(0.001, y.shape[:2])
    found = ceiling_interval(y)
    assert (found.reason == ["", NO_SIGNAL, NO_SIGNAL, "", ""]).all()
    assert np.isnan(found.low[1:3]).all() and np.isnan(found.high[1:3]).all()
    ragged = y.astype(float)
    ragged[3, 110:] = np.nan
    np.testing.assert_array_equal(ceiling_interval(ragged).low, ceiling_interval(y[:, :110]).low)
    with pytest.raises(InputError, match="fewer than 8 trials"):
        ceiling_coverage(WORLDS["plain"], 5, 0.1, 5.0, runs=2)


def test_the_mean_over_cells_that_share_a_gain_has_an_interval_that_covers():
    rng, of, hits = np.random.default_rng(6), WORLDS["slow both"], []
    for _ in range(150):
        rate = smooth_rates(200, 6, 0.2, rng)
        y, levels = draw_trials(rate, 8, 0.01, of, rng, one_gain=True)
        found, truth = mean_ceiling_interval(y), true_ceiling(rate, 8, 0.01, of, levels).mean()
        assert found.n_neurons == 6 and found.low < found.value < found.high
        hits.append(found.low <= truth <= found.high)
    assert enough(np.mean(hits), 150)
    y[:, :, 2] = 0  # a silent cell has no ceiling, and hides no other's
    assert mean_ceiling_interval(y).n_neurons == 5
    y[3, 7, 2] = 1
    assert mean_ceiling_interval(y) == f"1 of 6 neurons: {NO_SIGNAL}"
    assert mean_ceiling_interval(y[:7]) == "fewer than 8 trials"


@pytest.mark.parametrize(("n_trials", "mean"), [(6, 0.1), (20, 0.02)])
def test_one_steady_cell_in_twenty_is_called_non_stationary_by_chance(n_trials, mean):
    y = trials(n_trials, n_bins=100, n_neurons=400, mean=mean, world="plain", seed=4)
    flagged = halves.stationarity(y, n_orders=99).non_stationary.mean()
    assert binom.ppf(0.001, 400, 0.03) / 400 < flagged < binom.ppf(0.999, 400, 0.05) / 400


def test_intervals_of_scores_cover_under_drift_and_shared_gain():
    session = Session(seconds=180, drift=0.6, bin_width=0.1)
    found = score_coverage(session, runs=60, seed=5, hours=5)
    assert min(found.values()) > 0.85, found  # 60 runs: four binomial errors below 95 %
    assert np.isnan(score_coverage(Session(seconds=60, bin_width=0.1), runs=1, hours=1)["mean"])


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_the_documented_coverage_of_ceilings_is_reproduced_and_never_below_93_percent(world):
    seen = 0
    for name, rate, *columns in rows_below("ceilings.md", "Coverage"):
        for n_trials, column in zip((8, 10, 20, 40), columns, strict=True):
            for seconds, said in zip((5.0, 10.0, 60.0), column.split("/"), strict=True):
                if name != world or said == "–":
                    continue
                assert float(said) >= 100 * LEAST
                if n_trials * seconds > 400:  # minutes each; measured for the page
                    continue
                cell = (n_trials, float(rate), seconds)
                found = ceiling_coverage(WORLDS[world], *cell, runs=400, seed=21)
                assert enough(found.covered, 400 * found.shown), (cell, found)
                seen += 1
    assert seen >= 24  # 5 and 10 s


@pytest.mark.slow
def test_ceilings_of_a_simulated_retina_are_covered_by_their_intervals():
    """History, coupling, binomial counts, gain and drift; the truth by brute force."""
    from neuromodels.analysis.metrics import cc_norm, pearson_r
    from neuromodels.datasets.simulated.retina import simulate_retina

    recording = simulate_retina(
        "white-noise", minutes=1, repeats=600, test_seconds=5, n_cells=6, seed=3
    )
    test = recording.at(0.01).test
    counts, rate = test["response"].values, test["true_rate"].values
    sets = [counts[first::40] for first in range(40)]  # 15 trials, spread over the session
    truth = np.mean([pearson_r(rate, y) for y in sets], axis=0)
    intervals = [ceiling_interval(y) for y in sets]
    covered = np.mean([(i.low <= truth) & (truth <= i.high) for i in intervals])
    assert enough(covered, 240), covered
    norm = np.array([cc_norm(rate, y) for y in sets])
    assert abs(norm.mean() - 1) < 4 * norm.std() / np.sqrt(240) + 0.003


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["bits_per_spike", "deviance_explained"])
@pytest.mark.parametrize("session", SESSIONS, ids=list(SESSIONS))
def test_intervals_of_scores_cover_in_every_documented_world(session, metric):
    found = score_coverage(SESSIONS[session], metric, runs=300, seed=31, hours=20)
    print(session, metric, found)
    for name, covered in found.items():
        # per cell: six cells of a run are one draw of what they share
        assert enough(covered, 300), (name, found)
