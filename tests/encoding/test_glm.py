"""The point-process GLM: its rate by loops, its free runs by loops with the same draws."""

import numpy as np
import pytest
import torch

from neuromodels.encoding.base import Input
from neuromodels.models import glm, glm_coupled

BIN = 0.01
DATA = Input((1, 3, 2), ("a", "b"), BIN, mean=0.5, std=0.5)
OPTIONS = {"history": 0.04, "temporal_basis": 3, "own_history": 0.06, "own_basis": 3}
COUPLED = OPTIONS | {"coupling_history": 0.03, "coupling_basis": 2}
NO_CAP = torch.tensor([1e9, 1e9], dtype=torch.float64)


def draw(model, scale=0.3, seed=0):
    """Random weights; a neuron is no source of its own coupling."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            draws = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
            parameter.copy_(scale * draws)
        if model.options.coupling:
            model.coupling[:, [0, 1], [0, 1]] = 0
    return model


def frames(batch, n_bins, seed=0):
    """White frames."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((batch, n_bins, 1, 3, 2), dtype=torch.float64, generator=generator)


def literal_history(dataset, past, neuron):
    """Effect of past spikes (bin, neuron) on the bin after them, by loops over labelled filters."""
    total = 0.0
    for lag, weight in zip(
        dataset["history_lag"].values, dataset["history_filter"].values[:, neuron], strict=True
    ):
        back = round(lag / BIN)
        if back <= len(past):
            total += weight * past[-back, neuron]
    if "coupling_filter" in dataset:
        for lag, weights in zip(
            dataset["coupling_lag"].values, dataset["coupling_filter"].values, strict=True
        ):
            back = round(lag / BIN)
            for source in range(past.shape[1]):
                if back <= len(past):
                    total += weights[source, neuron] * past[-back, source]
    return total


def nonlinear(drive, name):
    """The two nonlinearities in numpy."""
    return np.exp(drive) if name == "exp" else np.logaddexp(0, drive)


@pytest.mark.parametrize("nonlinearity", ["softplus", "exp"])
@pytest.mark.parametrize(
    "make", [lambda **o: glm(**OPTIONS | o), lambda **o: glm_coupled(**COUPLED | o)]
)
def test_conditional_rate_equals_a_literal_loop(make, nonlinearity):
    model = draw(make(nonlinearity=nonlinearity).build(DATA))
    movie = frames(1, 30)
    spikes = torch.from_numpy(np.random.default_rng(0).poisson(0.5, (1, 30, 2)).astype(float))
    found = model(movie, spikes)[0].detach().numpy()
    dataset = model.parameters_dataset()
    shown = (movie[0].numpy() - 0.5) / 0.5
    for out in range(len(found)):
        t = out + model.lead_in
        for neuron in range(2):
            drive = dataset["bias"].values[neuron]
            for lag, weights in zip(
                dataset["stimulus_lag"].values, dataset["stimulus_filter"].values, strict=True
            ):
                drive += (shown[t - round(lag / BIN)] * weights[..., neuron]).sum()
            drive += literal_history(dataset, spikes[0, :t].numpy(), neuron)
            assert found[out, neuron] == pytest.approx(nonlinear(drive, nonlinearity), rel=1e-10)


def test_own_and_coupling_filters_add_up_in_the_history_filters():
    model = draw(glm_coupled(**COUPLED).build(DATA))
    dataset = model.parameters_dataset()
    filters = model.history_filters().detach().numpy()
    assert filters.shape == (6, 2, 2)
    for neuron in range(2):
        np.testing.assert_allclose(
            filters[:, neuron, neuron], dataset["history_filter"].values[:, neuron], atol=1e-14
        )
        other = 1 - neuron
        np.testing.assert_allclose(
            filters[:3, other, neuron],
            dataset["coupling_filter"].values[:, other, neuron],
            atol=1e-14,
        )
        assert (filters[3:, other, neuron] == 0).all()


@pytest.mark.parametrize("nonlinearity", ["softplus", "exp"])
@pytest.mark.parametrize("coupled", [False, True])
def test_free_runs_equal_a_literal_loop_with_the_same_draws(coupled, nonlinearity):
    spec = (glm_coupled if coupled else glm)(
        **(COUPLED if coupled else OPTIONS), nonlinearity=nonlinearity
    )
    model = draw(spec.build(DATA))
    movie, n_runs = frames(2, 40), 3
    found = model.simulate(movie, n_runs, max_rate=NO_CAP, seed=7, keep_spikes=True)
    drive = model.stimulus_drive(movie).detach().numpy()
    dataset = model.parameters_dataset()
    generator = torch.Generator().manual_seed(7)
    spikes = np.zeros((2 * n_runs, drive.shape[1], 2))
    rates = np.zeros_like(spikes)
    for t in range(drive.shape[1]):
        for run in range(2 * n_runs):
            for neuron in range(2):
                past = literal_history(dataset, spikes[run, :t], neuron)
                rates[run, t, neuron] = nonlinear(
                    drive[run // n_runs, t, neuron] + past, nonlinearity
                )
        spikes[:, t] = torch.poisson(torch.from_numpy(rates[:, t]), generator=generator).numpy()
    np.testing.assert_array_equal(found.spikes.numpy(), spikes.reshape(2, n_runs, -1, 2))
    mean = rates.reshape(2, n_runs, -1, 2).mean(1)
    np.testing.assert_allclose(found.rate.numpy(), mean, rtol=1e-10)
    assert (found.capped == 0).all()


def test_a_free_run_fed_back_as_recorded_spikes_gives_its_own_rates():
    model = draw(glm_coupled(**COUPLED).build(DATA))
    movie = frames(1, 60)
    run = model.simulate(movie, 1, max_rate=NO_CAP, keep_spikes=True)
    # History is zero before the simulation starts.
    past = torch.cat([torch.zeros(1, model.stimulus_lead_in, 2).double(), run.spikes[0]], 1)
    conditional = model(movie, past).detach()
    skip = model.lead_in - model.stimulus_lead_in
    torch.testing.assert_close(conditional, run.rate[:, skip:], rtol=1e-10, atol=0)


def test_without_history_the_free_running_rate_is_the_conditional_one():
    model = draw(glm(**OPTIONS).build(DATA))
    torch.nn.init.zeros_(model.own)
    movie = frames(1, 50)
    found = model.simulate(movie, 400, max_rate=NO_CAP, keep_spikes=True)
    skip = model.lead_in - model.stimulus_lead_in
    conditional = model(movie, torch.ones(1, 50, 2)).detach()
    torch.testing.assert_close(found.rate[:, skip:], conditional, rtol=1e-12, atol=0)
    # And the spikes drawn have that mean: about 90 bins and neurons, 5 standard errors.
    error = (found.rate / 400).sqrt()
    assert ((found.spikes.mean(1) - found.rate).abs() < 5 * error).all()


def run_with_history(own_filter, rate=0.3, n_runs=400, n_bins=300):
    """Counts (run, bin, neuron) of a GLM whose own filter over 6 bins is given."""
    model = glm(**OPTIONS | {"own_basis": 6}).build(DATA)
    wanted = torch.tensor(own_filter, dtype=torch.float64)
    with torch.no_grad():
        model.own.copy_(torch.linalg.solve(model.own_basis, wanted)[:, None].expand(-1, 2))
    model.set_rates(torch.tensor([rate, rate], dtype=torch.float64))
    found = model.simulate(frames(1, n_bins), n_runs, max_rate=NO_CAP, keep_spikes=True)
    return found.spikes[0].numpy()


def fano(counts, width=50):
    """Variance over mean of counts in windows, over runs."""
    n_runs, n_bins, _ = counts.shape
    windows = counts[:, : n_bins // width * width].reshape(n_runs, -1, width, 2).sum(2)
    return (windows.var(0, ddof=1) / windows.mean(0)).mean()


def test_free_runs_without_history_are_poisson():
    # Ten independent Fano factors of 400 runs each: standard error sqrt(2 / 4000) = 0.02.
    assert fano(run_with_history([0.0] * 6)) == pytest.approx(1, abs=0.08)


def test_a_refractory_filter_makes_counts_more_regular_and_a_bursting_one_less():
    refractory = run_with_history([-6.0, -4.0, -2.0, -1.0, -0.5, -0.2])
    assert fano(refractory) < 0.7
    # After a spike hardly another one.
    pairs = (refractory[:, 1:] * refractory[:, :-1]).mean()
    assert pairs < 0.05 * refractory.mean() ** 2
    assert fano(run_with_history([0.4, 0.2, 0.1, 0.0, 0.0, 0.0])) > 1.2


@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
def test_a_runaway_is_capped_counted_and_finite(nonlinearity):
    model = glm(**OPTIONS | {"nonlinearity": nonlinearity}).build(DATA)
    with torch.no_grad():
        model.own[:, 0] = 40.0
    model.set_rates(torch.tensor([0.5, 0.5], dtype=torch.float64))
    cap = torch.tensor([20.0, 20.0], dtype=torch.float64)
    found = model.simulate(frames(1, 100), 50, max_rate=cap, keep_spikes=True)
    assert torch.isfinite(found.rate).all()
    assert found.rate.max() <= 20
    assert found.capped[0] > 0.5
    assert found.capped[1] == 0
    # The share counts draws: in a capped bin the mean rate is the cap.
    share = (found.rate[0, :, 0] == 20).double().mean()
    assert found.capped[0] >= share


def test_equal_seeds_give_equal_runs_and_other_seeds_others():
    model = draw(glm(**OPTIONS).build(DATA))
    runs = [
        model.simulate(frames(1, 40), 5, max_rate=NO_CAP, seed=seed, keep_spikes=True).spikes
        for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_a_simulation_leaves_the_global_generator_alone():
    model = draw(glm(**OPTIONS).build(DATA))
    before = torch.get_rng_state()
    model.simulate(frames(1, 20), 5, max_rate=NO_CAP)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_rate_depends_on_is_said():
    assert glm(**OPTIONS).build(DATA).inputs == "stimulus + own past"
    assert glm_coupled(**COUPLED).build(DATA).inputs == "stimulus + own past + population past"
