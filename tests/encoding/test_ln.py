"""The LN model: its drive by loops, its factors, its nonlinearities."""

import numpy as np
import pytest
import torch

from neuromodels.encoding.base import Input
from neuromodels.encoding.nonlinearities import drive_of, rate_of
from neuromodels.models import ln
from neuromodels.options import OptionError

DATA = Input((2, 3, 2), ("a", "b"), 0.01, mean=0.4, std=0.25)
OPTIONS = {"history": 0.08, "temporal_basis": 4}


def draw(model, seed=0):
    """Random weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64, generator=generator))
    return model


@pytest.mark.parametrize("options", [{}, {"rank": 2}, {"temporal_basis": 0}, {"delay": 0}])
def test_drive_is_bias_plus_filter_times_past_frames(options):
    model = draw(ln(**OPTIONS | options).build(DATA))
    movie = torch.rand(1, 20, 2, 3, 2, generator=torch.Generator().manual_seed(1)).double()
    found = model.stimulus_drive(movie)[0].detach().numpy()
    dataset = model.parameters_dataset()
    filter_ = dataset["stimulus_filter"].transpose("stimulus_lag", "channel", "y", "x", "neuron")
    frames = (movie[0].numpy() - 0.4) / 0.25
    for out, drive in enumerate(found):
        expected = dataset["bias"].values.copy()
        for lag, weights in zip(dataset["stimulus_lag"].values, filter_.values, strict=True):
            frame = frames[out + model.lead_in - round(lag / 0.01)]
            expected += np.einsum("cyx,cyxn->n", frame, weights)
        np.testing.assert_allclose(drive, expected, rtol=0, atol=1e-11)


def test_a_filter_of_full_rank_in_factors_is_the_full_filter():
    full = draw(ln(**OPTIONS).build(DATA))
    factored = ln(**OPTIONS, rank=4).build(DATA)
    weight = full.stimulus.weight.detach().reshape(4, 12, 2)
    left, size, right = torch.linalg.svd(weight.permute(2, 0, 1), full_matrices=False)
    with torch.no_grad():
        factored.bias.copy_(full.bias)
        factored.stimulus.temporal.copy_((left * size[:, None]).permute(2, 1, 0))
        factored.stimulus.spatial.copy_(right.permute(1, 2, 0).reshape(4, 2, 3, 2, 2))
    movie = torch.rand(2, 30, 2, 3, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(factored(movie), full(movie), rtol=1e-10, atol=1e-12)


def test_a_filter_of_rank_one_is_a_product_of_time_and_space():
    model = draw(ln(**OPTIONS, rank=1).build(DATA))
    for neuron in range(2):
        flat = model.parameters_dataset()["stimulus_filter"].values[..., neuron].reshape(8, -1)
        size = np.linalg.svd(flat, compute_uv=False)
        assert size[1] < 1e-12 * size[0]


def test_a_rank_that_no_filter_can_have_is_refused_with_the_largest_one():
    with pytest.raises(OptionError, match="Give at most 4"):
        ln(**OPTIONS, rank=5).build(DATA)


def test_a_window_of_auto_must_be_chosen_before_the_model_is_made():
    with pytest.raises(OptionError, match="chosen by a fit"):
        ln().build(DATA)


@pytest.mark.parametrize("name", ["exp", "softplus"])
def test_nonlinearity_and_inverse_are_the_formulas(name):
    drive = torch.linspace(-20, 20, 41, dtype=torch.float64)
    rate = rate_of(drive, name)
    literal = np.exp(drive.numpy()) if name == "exp" else np.logaddexp(0, drive.numpy())
    np.testing.assert_allclose(rate.numpy(), literal, rtol=1e-12)
    # The inverse of a softplus near 0 loses digits of 1 + e^u: seven are left at e^-20.
    torch.testing.assert_close(drive_of(rate, name), drive, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["exp", "softplus"])
def test_a_model_without_filter_fires_at_the_rates_it_is_set_to(name):
    model = ln(**OPTIONS, nonlinearity=name).build(DATA)
    rates = torch.tensor([0.02, 4.0], dtype=torch.float64)
    model.set_rates(rates)
    found = model(torch.rand(1, 12, 2, 3, 2))
    torch.testing.assert_close(found, rates.expand_as(found), rtol=1e-9, atol=0)


def test_eight_bit_frames_are_read_as_numbers():
    model = draw(ln(**OPTIONS).build(DATA))
    movie = torch.randint(0, 256, (1, 20, 2, 3, 2), generator=torch.Generator().manual_seed(0))
    bytes_ = movie.to(torch.uint8)
    assert torch.equal(model.stimulus_drive(bytes_), model.stimulus_drive(movie.double()))
