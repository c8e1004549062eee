"""The spiking stage against closed forms, numpy, and Brian2."""

import numpy as np
import pytest

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.simulated.anatomy import Screen, draw_anatomy
from neuromodels.datasets.simulated.brian2_stage import brian2_spikes
from neuromodels.datasets.simulated.kernels import exponential_kernel
from neuromodels.datasets.simulated.parameters import RetinaParameters, glm_truth
from neuromodels.datasets.simulated.spiking import add_run, draw_spikes, make_stage

SCREEN = Screen(np.arange(8) * 50.0, np.arange(8) * 50.0, 50.0)
FREE = {"history": (), "coupling_within": (), "coupling_across": ()}


def cells(n, parameters, seed=0):
    anatomy = draw_anatomy(SCREEN, n, parameters, np.random.default_rng(seed))
    return anatomy, make_stage(anatomy, parameters)


def run(stage, drive, seed=0, gain=1.0):
    rng = np.random.default_rng(seed)
    return draw_spikes(stage, drive, np.ones(drive.shape), np.full(len(drive), gain), rng)


def test_without_history_the_rate_is_the_output_of_the_drive():
    p = RetinaParameters(**FREE, output="softplus", rate_scale_hz=40)
    drive = np.random.default_rng(0).normal(size=(300, 3))
    _, stage = cells(3, p)
    factor, gain = np.full(drive.shape, 1.5), np.full(300, 0.5)
    _, rates, capped = draw_spikes(stage, drive, factor, gain, np.random.default_rng(0))
    assert rates == pytest.approx(0.04 * np.log1p(np.exp(drive)) * 0.75)
    assert not stage.has_memory
    assert capped == 0


def test_rates_given_the_past_equal_those_of_numpy():
    p = glm_truth(dt=0.01, noise="binomial", max_count=3)
    anatomy, stage = cells(4, p)
    rng = np.random.default_rng(2)
    drive = rng.normal(-2.5, 0.5, (400, 4))
    counts, rates, _ = run(stage, drive)
    expected = drive.copy()
    kernels = {
        "own": (p.kernel("history"), np.eye(4)),
        "within": (p.kernel("coupling_within"), anatomy.factor_within),
        "across": (p.kernel("coupling_across"), anatomy.factor_across),
    }
    for kernel, factor in kernels.values():
        for lag, value in enumerate(kernel, start=1):
            expected[lag:] += value * counts[:-lag].astype(float) @ factor
    assert rates == pytest.approx(np.exp(expected), rel=1e-9)


@pytest.mark.parametrize(("noise", "most"), [("poisson", 1), ("binomial", 1), ("binomial", 5)])
def test_counts_of_a_step_have_the_stated_mean_and_variance(noise, most):
    mean = 0.6
    p = glm_truth(**FREE, noise=noise, max_count=most, mean_rate_hz=5)
    _, stage = cells(1, p)
    counts, _, _ = run(stage, np.full((100_000, 1), np.log(mean)))
    fano = 1.0 if noise == "poisson" else 1 - mean / most
    assert counts.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / 1e5))
    assert counts.var() / counts.mean() == pytest.approx(fano, abs=0.02)


@pytest.mark.parametrize("n_cells", [3, 8, 12])
def test_excitation_that_a_cell_hears_is_bounded_and_weaker_excitation_is_left_alone(n_cells):
    for seed in range(10):
        free, limit = glm_truth(excitation_limit=None), glm_truth().excitation_limit
        before, after = (cells(n_cells, p, seed)[0] for p in (free, glm_truth()))
        peak = free.kernel("coupling_within").max()
        heard, bounded = (peak * a.factor_within.sum(axis=0) for a in (before, after))
        assert bounded == pytest.approx(np.minimum(heard, limit))
        # Shares of the sources stay as they are, and so does inhibition.
        known = heard > 0
        assert (after.factor_within / np.where(known, bounded, 1))[:, known] == pytest.approx(
            before.factor_within[:, known] / heard[known]
        )
        assert (after.factor_across == before.factor_across).all()
    # x = b exp(E x), E summed over lags, has a solution even for twice the highest mean rate as b.
    summed = limit * free.kernel("coupling_within").sum() / peak
    assert summed * 2 * max(glm_truth().mean_rates) * glm_truth().dt * np.e < 1


def test_refractory_cells_vary_less_than_poisson_cells():
    p = RetinaParameters(history=((-12.0, 0.003),), coupling_within=(), coupling_across=())
    _, stage = cells(1, p)
    counts, _, _ = run(stage, np.full((100_000, 1), 1.5))
    windows = counts.reshape(-1, 100).sum(axis=1)
    assert windows.var() / windows.mean() < 0.8


def test_spikes_of_neighbours_raise_or_lower_the_rate_by_the_sign_of_the_coupling():
    p = RetinaParameters(
        history=(), coupling_within=((1.5, 0.005),), coupling_across=((-1.5, 0.005),)
    )
    anatomy, stage = cells(4, p)
    counts, _, _ = run(stage, np.full((200_000, 4), 0.0))
    y = counts - counts.mean(axis=0)
    after = sum(y[:-lag].T @ y[lag:] for lag in range(1, 6))  # (source, neuron)
    after /= np.sqrt(5 * len(y)) * np.outer(y.std(axis=0), y.std(axis=0))
    excited, inhibited = anatomy.factor_within > 0, anatomy.factor_across > 0
    assert excited.any()
    assert inhibited.any()
    assert (after[excited] > 3).all()
    assert (after[inhibited] < -3).all()


def test_the_mean_over_free_runs_is_the_psth_of_fresh_ones():
    p = RetinaParameters()
    _, stage = cells(3, p)
    drive = 2 * np.sin(np.arange(500) / 30)[:, None] + np.array([0.0, 0.5, 1.0])
    ones, gain = np.ones(drive.shape), np.ones(500)
    total, psth = np.zeros(drive.shape), np.zeros(drive.shape)
    counts = np.zeros(drive.shape, np.uint16)
    rng = np.random.default_rng(3)
    for _ in range(1000):
        add_run(stage, drive, ones, gain, rng, counts, total)
    for _ in range(1000):
        add_run(stage, drive, ones, gain, rng, counts, np.zeros(drive.shape))
        psth += counts
    rate, psth = total / 1000, psth / 1000
    z = (psth - rate) / np.sqrt(rate * (1 - rate) / 1000)
    assert np.abs(z).max() < 5
    assert z.std() == pytest.approx(1, abs=0.1)


def test_a_rate_beyond_one_spike_per_step_is_cut_and_counted():
    _, stage = cells(1, RetinaParameters(**FREE))
    counts, rates, capped = run(stage, np.full((10, 1), 100.0))
    assert (counts == 1).all()
    assert (rates == 1).all()
    assert capped == 10


def test_exponential_kernels_decay_by_the_step():
    kernel = exponential_kernel([(2.0, 0.01), (-1.0, 0.002)], dt=0.001)
    lag = np.arange(1, kernel.size + 1) * 0.001
    assert kernel == pytest.approx(2 * np.exp(-lag / 0.01) - np.exp(-lag / 0.002))


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_brian2_gives_the_same_spikes():
    pytest.importorskip("brian2")
    p = RetinaParameters(history=((-8.0, 0.002), (-0.5, 0.02)))
    anatomy, stage = cells(5, p)
    rng = np.random.default_rng(1)
    drive, factor = rng.normal(1.0, 1.0, (1500, 5)), rng.uniform(0.5, 1.5, (1500, 5))
    ours, _, _ = draw_spikes(stage, drive, factor, np.ones(1500), np.random.default_rng(7))
    uniform = np.random.default_rng(7).random(drive.shape)
    theirs = brian2_spikes(anatomy, p, drive, factor, uniform)
    assert ours.sum(axis=0).min() > 20, "silent cells prove nothing"
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("changes", [{"noise": "poisson"}, {"history": np.zeros(3)}])
def test_brian2_refuses_what_it_cannot_do(changes):
    p = RetinaParameters(**changes)
    anatomy, _ = cells(2, p)
    nothing = np.zeros((2, 2))
    with pytest.raises(InputError, match="max_count|array over lags"):
        brian2_spikes(anatomy, p, nothing, nothing, nothing)
