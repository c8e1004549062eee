"""The spiking network as an encoding model: its dynamics, its noise, its contract."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch

from neuromodels.datasets.blocks import Block
from neuromodels.encoding import front_ends
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
