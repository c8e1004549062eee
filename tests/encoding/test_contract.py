"""The model contract, held for every model of the registry and every preset."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from encoding_cases import BIN_WIDTH, CASES, DATA, fill, inputs, make

from neuromodels.datasets.blocks import Block
from neuromodels.encoding.base import Input, bins_of
from neuromodels.fits import predictions
from neuromodels.models import REGISTRY, ModelSpec, build_from_config
from neuromodels.options import OptionError

every_model = pytest.mark.parametrize("name", CASES)
spiking_models = pytest.mark.parametrize("name", [n for n in CASES if n.startswith("glm")])

# Float64: the order of sums changes with the length of a block, nothing else does.
SAME = {"rtol": 1e-11, "atol": 1e-12}


def run(model, movie, spikes):
    """Rates, with spikes only for models that ask for them."""
    return model(movie, spikes) if model.uses_spikes else model(movie)


def test_every_entry_of_the_registry_is_tested_here():
    # Spiking networks have noise and a state: tests/encoding/test_spiking.py holds their contract.
    spiking = {"spiking", "spiking-coupled"}
    assert {spec.kind for spec in CASES.values()} | spiking == set(REGISTRY)


# --- time ----------------------------------------------------------------------------------------


@every_model
def test_there_is_one_output_per_bin_after_the_lead_in(name):
    model = make(name)
    rates = run(model, *inputs(2, model.lead_in + 7))
    assert rates.shape == (2, 7, len(DATA.neurons))
    assert (rates > 0).all()


@every_model
def test_an_output_sees_its_window_of_frames_and_no_other(name):
    model = make(name)
    delay, n_lags = model.options.delay, bins_of(model.options.history, BIN_WIDTH, "history")
    assert model.stimulus_lead_in == n_lags - 1 + delay
    movie, spikes = inputs(1, model.lead_in + 6)
    movie.requires_grad_()
    rates = run(model, movie, spikes)
    for out in range(rates.shape[1]):
        bin_ = out + model.lead_in
        (gradient,) = torch.autograd.grad(rates[0, out].sum(), movie, retain_graph=True)
        seen = gradient[0].abs().sum((1, 2, 3)) > 0
        expected = torch.zeros(movie.shape[1], dtype=bool)
        expected[bin_ - model.stimulus_lead_in : bin_ - delay + 1] = True
        assert torch.equal(seen, expected), f"output of bin {bin_}"


@spiking_models
def test_an_output_sees_strictly_past_spikes_within_its_windows(name):
    model = make(name)
    own = bins_of(model.options.own_history, BIN_WIDTH, "own_history")
    other = bins_of(model.options.coupling_history, BIN_WIDTH, "coupling_history")
    movie, spikes = inputs(1, model.lead_in + 4)
    spikes.requires_grad_()
    rates = model(movie, spikes)
    for out in range(4):
        bin_ = out + model.lead_in
        for neuron in range(3):
            (gradient,) = torch.autograd.grad(rates[0, out, neuron], spikes, retain_graph=True)
            for source in range(3):
                lags = own if source == neuron else other * model.options.coupling
                expected = torch.zeros(spikes.shape[1], dtype=bool)
                expected[bin_ - lags : bin_] = True
                assert torch.equal(gradient[0, :, source] != 0, expected)


@every_model
def test_a_bin_has_the_same_rate_in_a_short_block_and_in_a_long_one(name):
    model = make(name)
    movie, spikes = inputs(1, 150)
    whole = run(model, movie, spikes)
    for start, stop in ((0, 40), (17, 18), (60, 139)):
        bins = slice(start, stop + model.lead_in)
        part = run(model, movie[:, bins], spikes[:, bins])
        torch.testing.assert_close(part, whole[:, start:stop], **SAME)


@every_model
def test_a_trial_has_the_same_rates_alone_and_in_a_batch(name):
    model = make(name)
    movie, spikes = inputs(3, 40)
    together = run(model, movie, spikes)
    for trial in range(3):
        alone = run(model, movie[trial : trial + 1], spikes[trial : trial + 1])
        torch.testing.assert_close(alone[0], together[trial], **SAME)


@every_model
def test_one_stimulus_serves_all_trials(name):
    model = make(name)
    movie, spikes = inputs(4, 40)
    one = model(movie[:1], spikes)
    each = model(movie[:1].expand(4, -1, -1, -1, -1), spikes)
    torch.testing.assert_close(one.expand_as(each), each, **SAME)


# --- predictions of blocks -----------------------------------------------------------------------


def block_of(n_bins, n_trials=3, missing=0):
    """A repeated block; the last trial ends `missing` bins early."""
    movie, spikes = inputs(1, n_bins)
    _, counts = inputs(n_trials, n_bins, seed=1)
    response = counts.numpy().astype(np.float32 if missing else np.int32)
    if missing:
        response[-1, -missing:] = np.nan
    return Block(
        label=0,
        time=BIN_WIDTH * np.arange(n_bins),
        response=response,
        frame_of_bin=np.arange(n_bins),
        frames=movie[0].numpy(),
        trials=np.arange(n_trials),
    )


@every_model
def test_predictions_do_not_depend_on_the_chunks_they_are_made_in(name, monkeypatch):
    model, block = make(name), block_of(300)
    cap = np.full(3, 20.0)
    whole = predictions.predict_block(model, block, max_rate=cap, n_runs=3)
    monkeypatch.setattr(predictions, "CHUNK", 64)
    parts = predictions.predict_block(model, block, max_rate=cap, n_runs=3)
    # Predictions are float32.
    np.testing.assert_allclose(parts.rate, whole.rate, rtol=1e-6)
    assert np.isnan(whole.rate[: model.stimulus_lead_in]).all()
    assert np.isfinite(whole.rate[model.stimulus_lead_in :]).all()
    if model.uses_spikes:
        np.testing.assert_allclose(parts.conditional, whole.conditional, rtol=1e-6)
        assert np.isfinite(whole.conditional[:, model.lead_in :]).all()
    else:
        movie = torch.from_numpy(block.movie())[None]
        np.testing.assert_allclose(
            whole.rate[model.lead_in :], model(movie)[0].detach().numpy(), rtol=1e-6
        )


@spiking_models
def test_a_trial_that_ends_early_has_rates_up_to_its_end(name):
    # Only bins whose own past was not recorded are NaN: nothing reaches back in time.
    model, missing = make(name), 20
    full, ragged = block_of(120), block_of(120, missing=missing)
    rates = [
        predictions.predict_block(model, block, max_rate=np.full(3, 20.0), n_runs=2).conditional
        for block in (full, ragged)
    ]
    known = slice(model.lead_in, 120 - missing + 1)
    np.testing.assert_array_equal(rates[1][-1, known], rates[0][-1, known])
    assert np.isnan(rates[1][-1, 120 - missing + 1 :]).all()
    np.testing.assert_array_equal(rates[1][:-1], rates[0][:-1])


@every_model
def test_a_block_shorter_than_the_lead_in_is_nan_not_an_error(name):
    model = make(name)
    block = block_of(model.lead_in)
    found = predictions.predict_blocks(model, [block], max_rate=np.full(3, 20.0))[0]
    assert found.rate.shape == (model.lead_in, 3)
    assert np.isnan(found.rate).all()


# --- wrong input ---------------------------------------------------------------------------------


@every_model
def test_a_stimulus_of_the_wrong_shape_is_refused_in_words(name):
    model = make(name)
    movie, spikes = inputs(1, model.lead_in + 5)
    with pytest.raises(ValueError, match=r"\(batch, time, channel, y, x\)"):
        model(movie[0], spikes)
    with pytest.raises(ValueError, match=r"frames of \(2, 6, 3\), not"):
        model(movie[..., :2], spikes)
    short = slice(0, model.lead_in)
    with pytest.raises(ValueError, match="bins, but the first output needs"):
        run(model, movie[:, short], spikes[:, short])


@spiking_models
def test_spikes_of_the_wrong_shape_are_refused_in_words(name):
    model = make(name)
    movie, spikes = inputs(2, model.lead_in + 5)
    with pytest.raises(ValueError, match="needs spikes"):
        model(movie)
    # One neuron would broadcast over all without a word.
    for wrong in (spikes[..., :1], spikes[..., [0, 1, 2, 0]], spikes[0]):
        with pytest.raises(ValueError, match=r"\(batch, time, neuron\) with 3 neurons"):
            model(movie, wrong)
    with pytest.raises(ValueError, match="bins but spikes have"):
        model(movie, spikes[:, 1:])
    with pytest.raises(ValueError, match="batch of 2 but spikes have one of 3"):
        model(movie, spikes[[0, 1, 0]])


# --- description ---------------------------------------------------------------------------------


@every_model
def test_config_as_json_and_parameters_rebuild_the_same_model(name):
    model = make(name)
    again = build_from_config(json.loads(json.dumps(model.config))).double().eval()
    again.load_parameters(model.parameters_dataset())
    assert again.config == model.config
    movie, spikes = inputs(1, model.lead_in + 9)
    assert torch.equal(run(again, movie, spikes), run(model, movie, spikes))


@every_model
def test_every_dimension_of_the_parameters_has_a_coordinate_and_lags_are_seconds(name):
    model = make(name)
    dataset = model.parameters_dataset()
    assert set(dataset.dims) == set(dataset.coords)
    assert list(dataset["neuron"].values) == list(DATA.neurons)
    lags = [dim for dim in dataset.dims if str(dim).endswith("_lag")]
    first = {"stimulus_lag": model.options.delay, "history_lag": 1, "coupling_lag": 1}
    for dim in lags:
        expected = BIN_WIDTH * (first[dim] + np.arange(dataset.sizes[dim]))
        np.testing.assert_allclose(dataset[dim], expected)
        assert dataset[dim].attrs["units"] == "s"
    # A stack of kernels has no single first-layer filter to show over lags.
    assert lags or model.options.stack


@every_model
def test_stored_parameters_do_not_follow_a_model_that_learns_on(name):
    model = make(name)
    dataset = model.parameters_dataset()
    before = dataset.copy(deep=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert dataset.identical(before)


@every_model
def test_the_state_is_stored_completely(name):
    model = make(name)
    stored = {v.attrs.get("state_key") for v in model.parameters_dataset().data_vars.values()}
    assert stored - {None} == set(model.state_dict())


# --- every option matters ------------------------------------------------------------------------

_LN = {"history": 0.07, "temporal_basis": 4}
_GLM = _LN | {"own_history": 0.05, "own_basis": 3, "coupling_history": 0.04}
_GLM |= {"coupling_basis": 3}
_CNN = {"history": 0.07, "temporal_basis": 4, "channels": (3, 4), "kernels": (3, 2)}
_CNN |= {"norm": "batch", "norm_output": True, "output": "parametric-softplus"}

STIMULUS = {"history": 0.05, "temporal_basis": 3, "delay": 2, "nonlinearity": "exp"}
OPTIONS = {
    "ln": (_LN, STIMULUS | {"rank": 1}),
    "glm-coupled": (
        _GLM,
        STIMULUS
        | {
            "own_history": 0.03,
            "own_basis": 2,
            "coupling": False,
            "coupling_history": 0.03,
            "coupling_basis": 2,
            "rank": 1,
        },
    ),
    "retina-cnn": (
        _CNN,
        {
            "history": 0.05,
            "temporal_basis": 3,
            "delay": 2,
            "channels": (4, 4),
            "kernels": (2, 2),
            "stack": 2,
            "norm": "abs-batch",
            "norm_output": False,
            "norm_eps": 0.1,
            "norm_momentum": 0.5,
            "noise": (0.1, 0.1),
            "noise_mode": "off",
            "dropout": 0.5,
            "readout_bias": False,
            "output": "softplus",
            "output_start": (1.0, 2.0),
            "l2": 0.1,
            "readout_l2": 0.1,
            "readout_l1": 0.1,
            "activity_l1": 0.1,
        },
    ),
}


def behaviour(kind, options):
    """All that a model does on one movie: rates, and for a network one step of training."""
    model = ModelSpec(kind, None, options).build(DATA, 0)
    if kind != "retina-cnn":
        fill(model)
    elif model.options.norm != "none":
        with torch.no_grad():
            # Scales of both signs, or their absolute value would change nothing.
            model.core.norms[0].scale[::2] = -0.7
    model.double()
    movie, spikes = inputs(2, 30)
    found = [run(model.eval(), movie, spikes)]
    if kind == "retina-cnn":
        found += model.train().training_output(movie)
        found += [run(model.eval(), movie, spikes)]
    return model.config, [value.detach() for value in found]


@pytest.mark.parametrize(
    ("kind", "option"), [(kind, option) for kind in OPTIONS for option in OPTIONS[kind][1]]
)
def test_every_option_changes_config_and_function_or_is_refused(kind, option):
    base, others = OPTIONS[kind]
    changed = base | {option: others[option]}
    refused = {"rank": "low-rank", "coupling": "makes it another model"}
    if kind == "glm-coupled" and option in refused:
        with pytest.raises(OptionError, match=refused[option]):
            ModelSpec(kind, None, changed).resolve()
        return
    (config, one), (other_config, two) = behaviour(kind, base), behaviour(kind, changed)
    assert config["options"][option] != other_config["options"][option]
    assert any(
        a.shape != b.shape or not torch.allclose(a, b) for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("kind", OPTIONS)
def test_no_option_is_left_out_above(kind):
    assert {field.name for field in fields(REGISTRY[kind].load()[1])} == set(OPTIONS[kind][1])


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("glm", {"coupling_history": 0.1}, "coupling_history = 0.1 has no effect"),
        ("glm", {"coupling_basis": 3}, "coupling_basis = 3 has no effect"),
        ("retina-cnn", {"norm_eps": 0.1}, "norm_eps = 0.1 has no effect"),
        ("retina-cnn", {"norm_momentum": 0.1}, "norm_momentum = 0.1 has no effect"),
        ("retina-cnn", {"output_start": (1.0, 1.0)}, "output_start = .* has no effect"),
    ],
)
def test_an_option_that_nothing_would_read_is_refused(kind, options, words):
    with pytest.raises(OptionError, match=words):
        ModelSpec(kind, None, options).resolve()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ln", {"history": 0.0}),
        ("ln", {"history": -1.0}),
        ("ln", {"history": float("nan")}),
        ("ln", {"rank": -1}),
        ("ln", {"temporal_basis": -1}),
        ("ln", {"delay": -1}),
        ("glm", {"own_history": 0.0}),
        ("glm", {"own_basis": 0}),
        ("glm-coupled", {"coupling_history": -0.1}),
        ("glm-coupled", {"coupling_basis": 0}),
        ("retina-cnn", {"history": 0.0}),
        ("retina-cnn", {"temporal_basis": -1}),
        ("retina-cnn", {"delay": -1}),
        ("retina-cnn", {"channels": (4,)}),
        ("retina-cnn", {"channels": (0, 4)}),
        ("retina-cnn", {"kernels": (3, 0)}),
        ("retina-cnn", {"channels": (), "kernels": (), "noise": ()}),
        ("retina-cnn", {"noise": (-0.1, 0.1)}),
        ("retina-cnn", {"dropout": 1.0}),
        ("retina-cnn", {"stack": 1}),
        ("retina-cnn", {"stack": -3}),
        ("retina-cnn", {"l2": -1e-3}),
        ("retina-cnn", {"readout_l1": -1e-3}),
        ("retina-cnn", {"norm": "batch", "norm_eps": 0.0}),
        ("retina-cnn", {"norm": "batch", "norm_momentum": 2.0}),
        ("retina-cnn", {"output": "parametric-softplus", "output_start": (1.0, 0.0)}),
        ("retina-cnn", {"output": "parametric-softplus", "output_start": (1.0,)}),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(kind, options):
    with pytest.raises(OptionError):
        ModelSpec(kind, None, options).resolve()


# --- windows in seconds --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "width", "bins"),
    [(0.4, 0.01, 40), (0.3, 0.1, 3), (0.41667, 1 / 120, 50), (0.415, 0.01, 41), (0.01, 0.01, 1)],
)
def test_a_window_holds_the_whole_bins_that_fit_in_it(seconds, width, bins):
    # 0.3 / 0.1 is 2.9999…96 in floating point: a millionth of a bin is forgiven.
    assert bins_of(seconds, width, "history") == bins


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 0.005])
def test_a_window_without_bins_is_refused(seconds):
    with pytest.raises(OptionError, match="history = "):
        bins_of(seconds, 0.01, "history")


@every_model
def test_normalization_is_part_of_the_model(name):
    # Brighter, stronger frames with matching statistics are the same stimulus.
    spec = CASES[name]
    first, second = (
        make(name),
        spec.build(Input(DATA.movie_shape, DATA.neurons, BIN_WIDTH, mean=0.5 * 9 + 2, std=0.3 * 9)),
    )
    second.double().eval().load_state_dict(first.state_dict())
    movie, spikes = inputs(1, first.lead_in + 5)
    torch.testing.assert_close(
        run(second, 9 * movie + 2, spikes), run(first, movie, spikes), rtol=1e-9, atol=0
    )
