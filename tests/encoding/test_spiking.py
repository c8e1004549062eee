"""The spiking network as an encoding model: its dynamics, its noise, its contract."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch

from neuromodels.datasets.blocks import Block
from neuromodels.encoding import front_ends, spiking_coupled
from neuromodels.encoding.base import Input
from neuromodels.encoding.spiking import SpikingOptions
from neuromodels.encoding.spiking_runs import at_rest, run_on
from neuromodels.fits import predictions
from neuromodels.models import ModelSpec, build_from_config
from neuromodels.options import OptionError
from neuromodels.spiking.simulation import Events, simulate

BIN_WIDTH = 0.01
DATA = Input((2, 6, 3), ("a", "b", "c"), BIN_WIDTH, mean=0.5, std=0.3)
SMALL = {"history": 0.07, "temporal_basis": 4, "n_runs": 4}
CONV = SMALL | {"channels": 3, "kernel": 2}
LINEAR = SMALL | {"front_end": "linear", "hidden": 7}


def make(seed=0, **options):
    """A small model in float64, lively enough that every neuron sends spikes."""
    model = ModelSpec("spiking", None, options or CONV).build(DATA, seed).double().eval()
    with torch.no_grad():
        model.front.weight.mul_(2)
        model.bias.add_(1.2)
    return model


def movie_of(n_bins, seed=0):
    """(1, bin, channel, y, x), float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, n_bins, *DATA.movie_shape), dtype=torch.float64, generator=generator)


# --- dynamics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [CONV, CONV | {"refractory_s": 0.005, "tau_mem_s": 0.02}])
def test_without_noise_every_run_is_the_simulation_of_the_network(options):
    model = make(**options, noise=(0.0, 0.0))
    drive = model.drive(movie_of(60))[0].detach().numpy()
    network, none = model.network, np.empty(0, np.int64)
    n_hidden = network.sizes[1]
    expected, _ = simulate(
        network,
        {
            "input_to_hidden": np.zeros((1, n_hidden)),
            "hidden_to_output": model.weights.detach().numpy(),
        },
        Events(none, none),
        len(drive) * model.steps_per_bin,
        drive=drive,
        steps_per_row=model.steps_per_bin,
    )
    counts, recorded = model.runs(drive, 3, seed=0, warm_up_s=0.0, record="rule")
    hidden, output = expected.spikes[1:]
    assert hidden.steps.size > 100 and output.steps.size > 20
    for run in range(3):
        np.testing.assert_array_equal(recorded.of(run), hidden)
        steps, neurons = np.nonzero(recorded.output[run])
        np.testing.assert_array_equal((steps, neurons), output)
        for distance, part in zip(
            expected.distance, (slice(n_hidden), slice(n_hidden, None)), strict=True
        ):
            np.testing.assert_allclose(recorded.distance[run, :, part], distance, atol=1e-15)
    assert counts.sum() == 3 * output.steps.size


def test_runs_that_are_cut_go_on_as_if_they_were_not():
    model = make()
    drive = model.drive(movie_of(60))[0].detach().numpy()
    about = (
        model.weights.detach().numpy(),
        model.noise_v,
        model.network.coefficients,
        model.network.parameters.gap_v,
        model.steps_per_bin,
    )
    whole, _ = run_on(at_rest(drive.shape[1], 5, 1, drive.dtype), drive, *about)
    state = at_rest(drive.shape[1], 5, 1, drive.dtype)
    parts = [run_on(state, part, *about)[0] for part in np.split(drive, [1, 20, 33])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert whole.sum() > 100


def test_noise_alone_makes_the_voltage_vary_as_much_as_asked_and_normally():
    model = make(**CONV, noise=(0.2, 0.1))
    drive = np.zeros((2000, sum(model.network.sizes[1:])))
    _, recorded = model.runs(drive, 4, seed=3, record="rule")
    # No drive: no neuron comes near its threshold, 5 standard deviations away and more.
    gap, n_hidden = model.network.parameters.gap_v, model.network.sizes[1]
    voltage = (recorded.distance + gap) / gap
    for part, spread in ((slice(n_hidden), 0.2), (slice(n_hidden, None), 0.1)):
        values = voltage[:, :, part]
        assert values.std() == pytest.approx(spread, rel=0.02)
        assert abs(values.mean()) < 0.03 * spread
        standard = values / values.std()
        assert (standard**4).mean() == pytest.approx(3, abs=0.1)
    # Neurons and runs have noise of their own.
    each = np.moveaxis(voltage[:, ::100], 1, 2).reshape(-1, voltage.shape[1] // 100)
    correlation = np.corrcoef(each) - np.eye(len(each))
    assert np.abs(correlation).mean() < 1.3 * np.sqrt(2 / np.pi / each.shape[1])


def test_steps_fill_a_bin_exactly_whatever_its_width():
    data = Input((1, 4, 1), ("a",), 1 / 120)
    model = ModelSpec("spiking", None, {"history": 0.1, "channels": 2}).build(data)
    assert model.steps_per_bin == 8
    assert model.network.dt_s == pytest.approx(1 / 960)
    assert model.config["dt_used_s"] == model.network.dt_s


# --- contract ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [CONV, LINEAR, CONV | {"delay": 3}, CONV | {"stride": 2}])
def test_a_bin_sees_frames_from_its_delay_on_and_none_later(options):
    model = ModelSpec("spiking", None, options).build(DATA).double()
    assert model.lead_in == 7 - 1 + model.options.delay
    movie = movie_of(model.lead_in + 20)
    before = model.drive(movie)[0]
    assert before.shape == (20, sum(model.network.sizes[1:]))
    changed = movie.clone()
    changed[:, 12] += 5.0
    n_hidden = model.network.sizes[1]
    differs = (model.drive(changed)[0] != before)[:, :n_hidden].any(dim=1).nonzero().ravel()
    # Output t belongs to bin t + lead_in: frame 12 is first seen `delay` bins later.
    bins = differs + model.lead_in
    assert bins.min() == 12 + model.options.delay
    assert bins.max() == 12 + model.lead_in


def test_rates_never_depend_on_frames_that_come_later():
    model = make()
    movie = movie_of(80)
    changed = movie.clone()
    changed[:, 40:] = 0
    first, second = (
        model.respond(model.drive(one)[0].detach(), seed=5) for one in (movie, changed)
    )
    assert torch.equal(first[: 41 - model.lead_in], second[: 41 - model.lead_in])
    assert not torch.equal(first[41 - model.lead_in :], second[41 - model.lead_in :])


def test_predictions_do_not_depend_on_the_chunks_they_are_made_in(monkeypatch):
    model, n_bins = make(), 300
    block = Block(
        label=0,
        time=BIN_WIDTH * np.arange(n_bins),
        response=np.zeros((n_bins, 3), np.int32),
        frame_of_bin=np.arange(n_bins),
        frames=movie_of(n_bins)[0].numpy(),
    )
    whole = predictions.predict_block(model, block).rate
    monkeypatch.setattr(predictions, "CHUNK", 64)
    parts = predictions.predict_block(model, block).rate
    # Drives differ in their last digits, and a spike that hangs on one of them may move.
    assert (parts != whole)[model.lead_in :].mean() < 0.01
    assert np.isnan(whole[: model.lead_in]).all()
    assert np.isfinite(whole[model.lead_in :]).all()
    other = predictions.predict_block(model, block, seed=1).rate
    assert not np.array_equal(other, whole, equal_nan=True)
    short = predictions.predict_blocks(model, [block.cut(0, model.lead_in)])[0]
    assert np.isnan(short.rate).all()


@pytest.mark.parametrize("options", [CONV, LINEAR])
def test_config_as_json_and_parameters_rebuild_the_same_model(options):
    model = ModelSpec("spiking", None, options).build(DATA, 3)
    with torch.no_grad():
        model.gain.mul_(1.7)
        model.floor.add_(0.01)
    again = build_from_config(json.loads(json.dumps(model.config)))
    dataset = model.parameters_dataset()
    again.load_parameters(dataset)
    assert again.config == model.config
    stored = {v.attrs.get("state_key") for v in dataset.data_vars.values()}
    assert stored - {None} == set(model.state_dict())
    assert set(dataset.dims) == set(dataset.coords)
    np.testing.assert_allclose(dataset["stimulus_lag"], BIN_WIDTH * np.arange(1, 8))
    movie = movie_of(40)
    for one in (model, again):
        one.generator.manual_seed(0)
    assert torch.equal(model(movie), again(movie))


def test_filters_of_the_front_end_over_lags_make_the_drive():
    model = make(**LINEAR)
    movie = movie_of(30)
    kernel = model.filters()["front_filter"][1]
    past = (movie[0].numpy() - DATA.mean) / DATA.std
    expected = [
        sum((kernel[:, lag] * past[bin_ - 1 - lag]).sum((1, 2, 3)) for lag in range(7))
        for bin_ in range(model.lead_in, 30)
    ]
    volts = model.network.parameters.gap_v * (1 - np.exp(-1 / 5))
    found = model.drive(movie)[0, :, :7].detach().numpy() / volts - 0.6
    # The front end starts in single precision.
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_large_movie_gets_no_more_hidden_neurons_than_a_run_can_bear():
    data = Input((1, 60, 60), ("a",), BIN_WIDTH)
    model = ModelSpec("spiking", None, {"history": 0.1}).build(data)
    assert model.front.n_hidden <= front_ends.MOST_HIDDEN
    assert model.front.n_hidden == 8 * np.prod(model.front.map)
    assert model.config["hidden_neurons"] == model.network.sizes[1] == model.front.n_hidden


# --- options -------------------------------------------------------------------------------------

CHANGED = {
    "history": 0.05,
    "temporal_basis": 3,
    "delay": 2,
    "front_end": "linear",
    "channels": 4,
    "kernel": 3,
    "stride": 2,
    "dt_s": 5e-4,
    "tau_mem_s": 0.02,
    "tau_syn_s": 0.004,
    "refractory_s": 0.004,
    "noise": (0.1, 0.3),
    "n_runs": 5,
}


@pytest.mark.parametrize("name", CHANGED)
def test_every_option_changes_config_and_rates(name):
    base = {k: v for k, v in CONV.items() if name != "front_end" or k not in ("channels", "kernel")}
    found = []
    for options in (base, base | {name: CHANGED[name]}):
        model = ModelSpec("spiking", None, options).build(DATA)
        with torch.no_grad():
            model.bias.add_(1.2)
        found.append((model.config, model(movie_of(30))))
    assert found[0][0] != found[1][0]
    assert not torch.equal(found[0][1], found[1][1])


def test_every_option_is_tested_here():
    assert set(CHANGED) | {"hidden"} == {field.name for field in fields(SpikingOptions)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 5}, "hidden = 5 has no effect"),
        ({"front_end": "linear", "channels": 5}, "channels = 5 has no effect"),
        ({"front_end": "linear", "kernel": 5}, "kernel = 5 has no effect"),
        ({"noise": (0.1,)}, "two numbers"),
        ({"noise": (0.1, -0.1)}, "two numbers"),
        ({"history": -1.0}, "history = -1"),
        ({"n_runs": 0}, "n_runs = 0 must be at least 1"),
        ({"dt_s": 0.0}, "dt_s = 0 s must be positive"),
        ({"tau_mem_s": 0.005}, "are both 0.005 s"),
        ({"history": 0.1, "tau_syn_s": 1e-3, "dt_s": 0.01}, "tau_syn_s"),
        ({"front_end": "deep"}, "of the wrong kind"),
        ({"delay": -1}, "must not be negative"),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_words(options, message):
    with pytest.raises(OptionError, match=message):
        ModelSpec("spiking", None, options).build(DATA)


# --- past spikes ---------------------------------------------------------------------------------

COUPLED = CONV | {"population_history": 0.04, "population_basis": 3}


def coupled(seed=0, noise=(0.0, 0.0), **options):
    """A network in float64 whose cells drive each other a lot."""
    model = ModelSpec("spiking-coupled", None, COUPLED | options | {"noise": noise})
    model = model.build(DATA, seed).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.front.weight.mul_(2)
        model.bias.add_(1.0)
        draws = torch.randn(model.population.shape, dtype=torch.float64, generator=generator)
        model.population.copy_(0.5 * draws)
    return model


@pytest.mark.parametrize("history", [0.07, 0.02])
def test_a_drive_sees_strictly_past_spikes_within_its_window(history):
    model = coupled(history=history)
    assert model.lead_in == max(model.stimulus_lead_in, 4)
    movie = movie_of(model.lead_in + 12)
    spikes = torch.zeros(1, movie.shape[1], 3, dtype=torch.float64)
    before = model.drive(movie, spikes)[0]
    assert torch.equal(before, stimulus_drive(model, movie)[-12:])
    spikes[0, 9, 1] = 2
    changed = (model.drive(movie, spikes)[0] != before).any(dim=1).nonzero().ravel() + model.lead_in
    expected = [bin_ for bin_ in range(10, 14) if bin_ >= model.lead_in]
    assert changed.tolist() == expected


def stimulus_drive(model, movie):
    """What the stimulus alone gives."""
    return super(type(model), model).drive(movie)[0]


def test_a_free_run_is_the_network_given_the_spikes_that_it_sent():
    model = coupled()
    movie = movie_of(120)
    lead_in = model.stimulus_lead_in
    free = model.simulate(movie, 1, max_rate=torch.full((3,), 20.0), seed=0)
    counts = free.rate[0]
    assert counts.sum() > 20 and (free.capped == 0).all()
    spikes = torch.cat([torch.zeros(lead_in, 3, dtype=torch.float64), counts])[None]
    drive = model.drive(movie, spikes)[0].detach().numpy()
    again, _ = model.runs(drive, 1, seed=0)
    np.testing.assert_array_equal(again, counts.numpy())
    # And they do drive each other.
    with torch.no_grad():
        model.population.zero_()
    alone = model.simulate(movie, 1, max_rate=torch.full((3,), 20.0), seed=0)
    assert not torch.equal(alone.rate, free.rate)


def test_a_free_run_read_in_pieces_is_the_same_and_counts_above_the_cap_are_told(monkeypatch):
    model, movie = coupled(noise=(0.3, 0.3)), movie_of(100)
    whole = model.simulate(movie, 6, max_rate=torch.full((3,), 20.0), seed=2)
    monkeypatch.setattr(spiking_coupled, "_CHUNK", 16)
    parts = model.simulate(movie, 6, max_rate=torch.full((3,), 20.0), seed=2)
    assert (parts.rate != whole.rate).double().mean() < 0.02
    low = model.simulate(movie, 6, max_rate=torch.full((3,), 0.5), seed=2)
    assert (low.capped > 0).any() and low.rate.max() <= 0.5


def test_predictions_of_repeats_are_one_free_run_and_one_rate_per_trial():
    model, n_bins = coupled(noise=(0.3, 0.3)), 120
    generator = np.random.default_rng(0)
    block = Block(
        label=0,
        time=BIN_WIDTH * np.arange(n_bins),
        response=generator.poisson(0.4, (3, n_bins, 3)).astype(np.int32),
        frame_of_bin=np.arange(n_bins),
        frames=movie_of(n_bins)[0].numpy(),
        trials=np.arange(3),
    )
    cap = np.full(3, 20.0)
    found, again = (
        predictions.predict_block(model, block, max_rate=cap, n_runs=3) for _ in range(2)
    )
    assert found.rate.shape == (n_bins, 3) and found.conditional.shape == (3, n_bins, 3)
    assert np.isfinite(found.conditional[:, model.lead_in :]).all()
    assert not np.array_equal(found.conditional[0], found.conditional[1], equal_nan=True)
    np.testing.assert_array_equal(found.conditional, again.conditional)
    np.testing.assert_array_equal(found.rate, again.rate)


def test_a_coupled_network_comes_back_from_its_config_and_refuses_bad_spikes():
    model = coupled(noise=(0.3, 0.3))
    again = build_from_config(json.loads(json.dumps(model.config))).double()
    again.load_parameters(model.parameters_dataset())
    movie = movie_of(40)
    spikes = torch.ones(2, 40, 3, dtype=torch.float64)
    for one in (model, again):
        one.generator.manual_seed(0)
    assert torch.equal(model(movie, spikes), again(movie, spikes))
    assert model.parameters_dataset()["coupling_lag"].values == pytest.approx(
        [0.01, 0.02, 0.03, 0.04]
    )
    with pytest.raises(ValueError, match="needs spikes"):
        model(movie)
    for wrong in (spikes[..., :1], spikes[:, 1:], spikes[0]):
        with pytest.raises(ValueError, match=r"\(batch, time, neuron\) with 3 neurons"):
            model(movie, wrong)
    for options in ({"population_history": 0.0}, {"population_basis": 0}):
        with pytest.raises(OptionError, match="population_"):
            ModelSpec("spiking-coupled", None, COUPLED | options).build(DATA)


@pytest.mark.parametrize(("name", "value"), [("population_history", 0.02), ("population_basis", 2)])
def test_options_of_past_spikes_change_config_and_drive(name, value):
    generator = torch.Generator().manual_seed(1)
    spikes = torch.poisson(torch.full((1, 30, 3), 0.5), generator=generator)
    found = []
    for options in (COUPLED, COUPLED | {name: value}):
        model = ModelSpec("spiking-coupled", None, options).build(DATA)
        with torch.no_grad():
            model.population.fill_(0.3)
        found.append((model.config, model.drive(movie_of(30), spikes)[:, -20:]))
    assert found[0][0] != found[1][0]
    assert not torch.equal(found[0][1], found[1][1])


def test_without_a_front_end_past_spikes_are_all_that_counts():
    options = {"front_end": "none", "hidden": 5, "population_history": 0.03}
    spec = ModelSpec("spiking-coupled", None, options)
    model = spec.build(DATA).double()
    assert model.inputs == "own past + population past"
    assert model.lead_in == 3 and model.filters().keys() == {"coupling_filter"}
    with torch.no_grad():
        model.population.fill_(0.3)
    spikes = torch.ones(1, 20, 3, dtype=torch.float64)
    drives = [model.drive(movie_of(20, seed=seed), spikes) for seed in (0, 1)]
    assert torch.equal(*drives)
    assert not torch.equal(drives[0], model.drive(movie_of(20), 2 * spikes))
    again = build_from_config(json.loads(json.dumps(model.config)))
    again.load_parameters(model.parameters_dataset())
    assert again.options == model.options
    for wrong in ({"history": 0.2}, {"delay": 2}, {"channels": 3}):
        with pytest.raises(OptionError, match="has no effect"):
            ModelSpec("spiking-coupled", None, options | wrong).build(DATA)
    with pytest.raises(OptionError, match="wrong kind"):
        ModelSpec("spiking", None, {"front_end": "none"}).build(DATA)
