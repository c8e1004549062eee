"""The retina CNN: published sizes, kernels that fit the movie, noise, normalization, penalties."""

import json

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from neuromodels.encoding.base import Input
from neuromodels.encoding.layers import Convolution, GaussianNoise, UnitNorm
from neuromodels.encoding.presets import presets
from neuromodels.models import ModelSpec
from neuromodels.options import OptionError

SMALL = {"history": 0.07, "temporal_basis": 4, "channels": (3, 4), "kernels": (3, 2)}
DATA = Input((1, 6, 3), ("a", "b", "c"), 0.01)


def build(data=DATA, preset=None, seed=0, **options):
    """A CNN with small layers unless a preset says otherwise."""
    given = options if preset else SMALL | options
    return ModelSpec("retina-cnn", preset, given).build(data, seed)


def movie(data=DATA, batch=2, n_bins=20, seed=0):
    """White frames, float32."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, n_bins, *data.movie_shape), generator=generator)


# --- sizes ---------------------------------------------------------------------------------------

PUBLISHED = {
    # preset: features of each layer on 50 x 50 pixels, frames of history, bin width (s)
    "mcintosh2016": ([(8, 36, 36), (16, 30, 30)], 40, 0.01),
    "mcintosh2016_code": ([(16, 36, 36), (8, 28, 28)], 40, 0.01),
    "mcniru_bn": ([(8, 36, 36), (8, 26, 26)], 40, 0.01),
    "maheswaranathan2023": ([(8, 36, 36), (8, 26, 26)], 40, 0.01),
    "primate": ([(8, 35, 35), (16, 20, 20)], 50, 1 / 120),
}


def test_the_sizes_of_every_preset_are_tested():
    assert set(PUBLISHED) == set(presets())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_has_the_published_sizes_on_the_published_movie(name):
    maps, frames, width = PUBLISHED[name]
    data = Input((1, 50, 50), ("a", "b"), width)
    model = build(data, name).eval()
    assert model.lead_in == frames
    seen = []
    for layer in model.core.convolutions:
        layer.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:])))
    rates = model(movie(data, 1, frames + 1))
    assert seen == maps
    assert rates.shape == (1, 1, 2)
    assert model.readout.linear.weight.shape == (2, np.prod(maps[-1]))


@pytest.mark.parametrize(
    ("size", "used"),
    [
        # What is left after the first layer of 31 x 1 is 17 x 1.
        ((31, 1), [[15, 1], [7, 1]]),
        ((1, 1), [[1, 1], [1, 1]]),
        ((8, 8), [[8, 8], [1, 1]]),
        ((50, 50), [[15, 15], [7, 7]]),
    ],
)
def test_kernels_are_cut_to_what_is_left_of_an_axis_and_config_says_so(size, used):
    data = Input((1, *size), ("a",), 0.01)
    model = build(data, "mcintosh2016", history=0.02).eval()
    assert json.loads(json.dumps(model.config))["kernels_used"] == used
    assert model.config["options"]["kernels"] == (15, 7)
    assert model(movie(data, 1, 5)).shape == (1, 3, 1)


@pytest.mark.parametrize(
    ("kernel", "stack"), [((15, 15), 3), ((11, 1), 3), ((8, 5), 3), ((6, 6), 2)]
)
def test_a_stack_of_small_kernels_spans_the_large_one(kernel, stack):
    layer = Convolution(2, 3, kernel, stack)
    image = torch.randn(1, 2, 20, 15, generator=torch.Generator().manual_seed(0))
    assert layer(image).shape == (1, 3, 20 - kernel[0] + 1, 15 - kernel[1] + 1)
    assert len(layer) > 1
    assert all(max(step.kernel_size) <= stack for step in layer)


def test_a_stack_equals_one_convolution_with_the_composed_kernel():
    torch.manual_seed(0)
    layer = Convolution(2, 3, (7, 4), 3).double()
    # Cross-correlations one after the other are one with the (true) convolution of their kernels.
    composed = layer[0].weight.detach().numpy()
    for step in list(layer)[1:]:
        after = step.weight.detach().numpy()
        composed = np.array(
            [
                [
                    sum(convolve2d(composed[m, i], row[m]) for m in range(len(composed)))
                    for i in range(composed.shape[1])
                ]
                for row in after
            ]
        )
    assert composed.shape == (3, 2, 7, 4)
    image = torch.randn(2, 2, 12, 9, dtype=torch.float64)
    expected = torch.nn.functional.conv2d(image, torch.from_numpy(composed), layer[-1].bias)
    # Float64: the same sums in another order.
    torch.testing.assert_close(layer(image), expected, rtol=1e-11, atol=1e-12)


# --- filters for people --------------------------------------------------------------------------


@pytest.mark.parametrize("temporal_basis", [0, 4])
@pytest.mark.parametrize("delay", [1, 2])
def test_the_filter_shown_is_the_one_that_the_first_layer_applies(temporal_basis, delay):
    data = Input((2, 6, 3), ("a",), 0.01, mean=0.2, std=1.5)
    model = build(data, temporal_basis=temporal_basis, delay=delay).double().eval()
    found = model.parameters_dataset()["layer1_filter"]
    assert found.dims == ("layer1_channel", "stimulus_lag", "channel", "layer1_y", "layer1_x")
    frames = movie(data, 1, 20).double()
    seen = []
    model.core.convolutions[0].register_forward_hook(lambda _m, _i, out: seen.append(out))
    model(frames)
    normalized = (frames[0].numpy() - 0.2) / 1.5
    bias = model.core.convolutions[0][0].bias.detach().numpy()
    lags = np.round(found["stimulus_lag"].values / 0.01).astype(int)
    expected = np.zeros(seen[0].shape)
    for out in range(len(expected)):
        for y, x in np.ndindex(*expected.shape[2:]):
            patch = normalized[out + model.lead_in - lags][:, :, y : y + 3, x : x + 3]
            expected[out, :, y, x] = (found.values * patch).sum((1, 2, 3, 4)) + bias
    # Filters are summed in float64, as is the layer here.
    np.testing.assert_allclose(seen[0].detach().numpy(), expected, rtol=1e-9, atol=1e-10)


def test_the_readout_map_is_the_readout_by_feature_and_position():
    model = build().eval()
    found = model.parameters_dataset()["readout_map"]
    assert found.dims == ("neuron", "layer2_channel", "layer2_map_y", "layer2_map_x")
    features = model.core(model.normalize(movie())).detach().numpy()
    expected = np.einsum("btcyx,ncyx->btn", features, found.values)
    drive = model.drive(movie()).detach().numpy()
    expected += model.readout.linear.bias.detach().numpy()
    # Float32 sums of some tens of terms.
    np.testing.assert_allclose(drive, expected, rtol=1e-5, atol=1e-5)


# --- noise ---------------------------------------------------------------------------------------


def test_without_noise_a_model_is_deterministic_in_training_too():
    model = build(noise_mode="off", dropout=0.0).train()
    assert torch.equal(model(movie()), model(movie()))


def test_noise_of_training_is_there_in_training_only():
    model = build(noise_mode="train", dropout=0.0)
    model.train()
    assert not torch.equal(model(movie()), model(movie()))
    model.eval()
    assert torch.equal(model(movie()), model(movie()))


def test_noise_that_is_always_there_follows_the_seed_of_the_model():
    # Weights and noise come from the same seed, so equal seeds give equal draws.
    one, two = (build(noise_mode="always", seed=3).eval() for _ in range(2))
    first = one(movie())
    assert torch.equal(first, two(movie()))
    assert not torch.equal(first, one(movie()))


def test_noise_is_independent_for_every_unit_position_and_sample():
    layer = GaussianNoise(0.3, "always", torch.Generator().manual_seed(0))
    draws = (layer(torch.zeros(4000, 3, 2, 2)) / 0.3).flatten(1).double()
    correlation = torch.corrcoef(draws.T) - torch.eye(12)
    # 66 correlations of 4,000 pairs: standard error 0.016, the largest by chance about 0.05.
    assert correlation.abs().max() < 0.07
    assert (draws.std(0) - 1).abs().max() < 0.05
    neighbours = torch.corrcoef(torch.stack([draws[:-1].flatten(), draws[1:].flatten()]))
    assert neighbours[0, 1].abs() < 0.02


def test_the_noise_switch_changes_the_function_and_the_config():
    model = build(dropout=0.0).eval()
    quiet = model(movie())
    model.noise = "always"
    assert model.noise == model.config["options"]["noise_mode"] == "always"
    assert not torch.equal(model(movie()), quiet)
    model.noise = "off"
    assert torch.equal(model.train()(movie()), quiet)
    with pytest.raises(OptionError, match="'train', 'always', 'off'"):
        model.noise = "sometimes"


def test_dropout_silences_the_given_share_in_training_and_keeps_the_mean():
    model = build(noise_mode="off", dropout=0.25).train()
    kept = model.readout.dropout(torch.ones(200, 500))
    torch.testing.assert_close(kept.unique(), torch.tensor([0, 1 / 0.75]))
    # 100,000 draws: standard error of the mean 0.002.
    assert kept.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(model.readout.dropout.eval()(torch.ones(3)), torch.ones(3))


def test_making_a_model_leaves_the_global_generator_alone_and_follows_its_seed():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = build(seed=1), build(seed=1), build(seed=2)
    one.train()(movie())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.readout.linear.weight, two.readout.linear.weight)
    assert not torch.equal(one.readout.linear.weight, other.readout.linear.weight)


# --- normalization -------------------------------------------------------------------------------


def test_unit_norm_is_torchs_batch_norm_of_every_unit_and_position():
    ours = UnitNorm(12, 1e-3, 0.01, positive=False).double()
    theirs = torch.nn.BatchNorm1d(12, eps=1e-3, momentum=0.01).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for one, two in ((ours.scale, theirs.weight), (ours.shift, theirs.bias)):
            values = torch.randn(12, generator=generator).double()
            one.copy_(values)
            two.copy_(values)
    for _ in range(3):
        maps = 2 + 3 * torch.randn(50, 3, 2, 2, generator=generator).double()
        torch.testing.assert_close(ours(maps).flatten(1), theirs(maps.flatten(1)))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(maps).flatten(1), theirs(maps.flatten(1)))


def test_a_positive_scale_cannot_flip_a_unit():
    layer = UnitNorm(4, 1e-3, 0.01, positive=True)
    maps = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    upright = layer(maps)
    with torch.no_grad():
        layer.scale.mul_(-1)
    assert torch.equal(layer(maps), upright)


# --- training ------------------------------------------------------------------------------------

PENALTIES = {"l2": 0.3, "readout_l2": 0.2, "readout_l1": 0.1, "activity_l1": 0.05}


def test_the_penalty_is_the_documented_sum():
    model = build(noise_mode="off", dropout=0.0, stack=2, **PENALTIES).double()
    rates, penalty = model.training_output(movie().double())
    kernels = [p for k, p in model.core.named_parameters() if k.endswith("weight")]
    weight, drive = model.readout.linear.weight, model.drive(movie().double())
    expected = 0.3 * sum((kernel**2).sum() for kernel in kernels)
    expected += sum(0.2 * (row**2).sum() + 0.1 * row.abs().sum() for row in weight) / 3
    expected += 0.05 * drive.abs().mean()
    torch.testing.assert_close(penalty, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(rates, model(movie().double()))


def test_the_penalty_does_not_depend_on_batch_size_or_number_of_neurons():
    quiet = {"noise_mode": "off", "dropout": 0.0} | PENALTIES
    small = build(**quiet).double()
    large = build(Input((1, 6, 3), tuple("abcdef"), 0.01), **quiet).double()
    with torch.no_grad():
        large.core.load_state_dict(small.core.state_dict())
        # Every neuron twice.
        large.readout.linear.weight.copy_(small.readout.linear.weight.repeat(2, 1))
        large.readout.linear.bias.copy_(small.readout.linear.bias.repeat(2))
    frames = movie().double()
    expected = small.training_output(frames)[1]
    torch.testing.assert_close(small.training_output(frames.repeat(5, 1, 1, 1, 1))[1], expected)
    torch.testing.assert_close(large.training_output(frames)[1], expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"output": "parametric-softplus"},
        {"norm_output": True},
        {"norm": "batch", "norm_output": True, "readout_bias": False},
    ],
)
def test_a_network_that_sees_nothing_starts_at_the_mean_rates(options):
    model = build(**options).eval()
    torch.nn.init.zeros_(model.readout.linear.weight)
    if model.readout.linear.bias is not None and model.readout.norm is not None:
        # The normalization in front of the output would take a bias away.
        torch.nn.init.zeros_(model.readout.linear.bias)
    rates = torch.tensor([0.01, 0.2, 3.0], dtype=torch.float64)
    model.set_rates(rates)
    # Float32; running variance 1 plus eps.
    found = model(movie())
    torch.testing.assert_close(found, rates.float().expand_as(found), rtol=1e-3, atol=1e-5)


def test_a_preset_can_be_overridden_and_an_unresolved_window_is_refused():
    model = build(preset="mcintosh2016", history=0.05, channels=(2, 3))
    assert model.config["options"]["channels"] == (2, 3)
    assert model.lead_in == 5
    with pytest.raises(OptionError, match="chosen by a fit"):
        build(history="auto")
