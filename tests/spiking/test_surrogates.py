"""Surrogates: their values, that every parameter matters, and snnTorch's through one interface."""

import numpy as np
import pytest
import torch
from snntorch import surrogate as snn_surrogate

from neuromodels.options import OptionError
from neuromodels.spiking.surrogates import (
    SURROGATES,
    ArctanSurrogate,
    ConstantSurrogate,
    SigmoidSurrogate,
    SnntorchSurrogate,
    SuperSpikeSurrogate,
    TriangularSurrogate,
    surrogate_from_config,
)

DISTANCES = np.array([-10e-3, -1e-3, 0.0, 0.5e-3, 4e-3])
BY_FORMULA = [
    SuperSpikeSurrogate(700.0),
    SuperSpikeSurrogate(700.0, "slope"),
    SigmoidSurrogate(700.0),
    SigmoidSurrogate(700.0, "slope"),
    ArctanSurrogate(700.0),
    ArctanSurrogate(700.0, "slope"),
    TriangularSurrogate(5e-3),
    TriangularSurrogate(5e-3, "slope"),
    ConstantSurrogate(0.5),
]


@pytest.mark.parametrize(
    ("beta_per_v", "expected"),
    [(1000.0, [1 / 121, 1 / 4, 1, 1 / 2.25, 1 / 25]), (500.0, [1 / 36, 4 / 9, 1, 0.64, 1 / 9])],
)
def test_superspike_values_at_five_distances(beta_per_v, expected):
    np.testing.assert_allclose(
        SuperSpikeSurrogate(beta_per_v).derivative(DISTANCES), expected, rtol=1e-14
    )
    np.testing.assert_allclose(
        SuperSpikeSurrogate(beta_per_v, "slope").derivative(DISTANCES),
        beta_per_v * np.array(expected),
        rtol=1e-14,
    )


def test_at_rest_superspike_is_a_121st_of_its_peak():
    surrogate = SuperSpikeSurrogate()
    ratio = surrogate.derivative(0.0) / surrogate.derivative(-60e-3 - -50e-3)
    assert ratio == pytest.approx(121, rel=1e-12)


@pytest.mark.parametrize(
    ("surrogate", "sigmoid"),
    [
        (SuperSpikeSurrogate(700.0, "slope"), lambda x: 700 * x / (1 + 700 * abs(x))),
        (SigmoidSurrogate(700.0, "slope"), lambda x: 1 / (1 + np.exp(-700 * x))),
        (ArctanSurrogate(700.0, "slope"), lambda x: np.arctan(np.pi / 2 * 700 * x) / np.pi),
        (
            TriangularSurrogate(5e-3, "slope"),
            lambda x: np.clip(x / 5e-3, -1, 1) * (1 - abs(np.clip(x / 5e-3, -1, 1)) / 2),
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_slope_is_the_derivative_of_a_sigmoid(surrogate, sigmoid):
    x = np.array([-7e-3, -3e-3, -1e-3, 0.6e-3, 2e-3, 8e-3])
    numeric = (sigmoid(x + 1e-8) - sigmoid(x - 1e-8)) / 2e-8
    np.testing.assert_allclose(surrogate.derivative(x), numeric, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("surrogate", BY_FORMULA, ids=str)
def test_arrays_and_tensors_and_gradients_agree(surrogate):
    x = torch.tensor(DISTANCES, requires_grad=True)
    spikes = surrogate.spike(x)
    assert spikes.dtype == torch.float64
    np.testing.assert_array_equal(spikes.detach(), DISTANCES > 0)
    (2 * spikes).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * surrogate.derivative(DISTANCES), rtol=1e-15)
    np.testing.assert_allclose(
        surrogate.derivative(torch.tensor(DISTANCES)), surrogate.derivative(DISTANCES), rtol=1e-15
    )
    assert surrogate.spike(torch.zeros(3)).dtype == torch.float32


def test_no_spike_at_the_threshold_itself():
    assert SuperSpikeSurrogate().spike(torch.zeros(1)).item() == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SuperSpikeSurrogate(1000.0), SuperSpikeSurrogate(100.0)),
        (SuperSpikeSurrogate(scale="unit"), SuperSpikeSurrogate(scale="slope")),
        (SigmoidSurrogate(1000.0), SigmoidSurrogate(100.0)),
        (SigmoidSurrogate(scale="unit"), SigmoidSurrogate(scale="slope")),
        (ArctanSurrogate(1000.0), ArctanSurrogate(100.0)),
        (ArctanSurrogate(scale="unit"), ArctanSurrogate(scale="slope")),
        (TriangularSurrogate(10e-3), TriangularSurrogate(3e-3)),
        (TriangularSurrogate(scale="unit"), TriangularSurrogate(scale="slope")),
        (ConstantSurrogate(1.0), ConstantSurrogate(0.5)),
        (SnntorchSurrogate("atan"), SnntorchSurrogate("sigmoid")),
        (SnntorchSurrogate("atan"), SnntorchSurrogate("atan", {"alpha": 1.0})),
        (SnntorchSurrogate("atan"), SnntorchSurrogate("atan", unit_v=1.0)),
    ],
    ids=str,
)
def test_every_parameter_changes_the_gradient(one, other):
    gradients = []
    for surrogate in (one, other):
        x = torch.tensor([-0.7e-3, 0.4e-3, 2e-3], dtype=torch.float64, requires_grad=True)
        surrogate.spike(x).sum().backward()
        gradients.append(x.grad)
    assert (gradients[0] - gradients[1]).abs().min() > 1e-3


@pytest.mark.parametrize(
    ("ours", "function"),
    [
        (SuperSpikeSurrogate(25.0), snn_surrogate.fast_sigmoid(slope=25)),
        (SigmoidSurrogate(25.0, "slope"), snn_surrogate.sigmoid(slope=25)),
        # atan of snnTorch is our arctan's slope form.
        (ArctanSurrogate(2.0, "slope"), snn_surrogate.atan(alpha=2.0)),
        (ConstantSurrogate(), snn_surrogate.straight_through_estimator()),
    ],
    ids=["fast_sigmoid", "sigmoid", "atan", "straight_through"],
)
def test_snntorch_surrogates_through_the_same_interface(ours, function):
    x = np.array([-0.3, -0.1, 0.05, 0.2])
    theirs = SnntorchSurrogate(function, unit_v=1.0)
    np.testing.assert_allclose(theirs.derivative(x), ours.derivative(x), rtol=1e-12)
    tensor = torch.tensor(x, requires_grad=True)
    theirs.spike(tensor).sum().backward()
    np.testing.assert_allclose(tensor.grad, ours.derivative(x), rtol=1e-12)


def test_a_surrogate_of_ours_trains_a_neuron_of_snntorch():
    import snntorch

    drive = torch.tensor([[0.9, 1.3, 1.1]], dtype=torch.float64, requires_grad=True)
    neuron = snntorch.Leaky(beta=0.9, spike_grad=SuperSpikeSurrogate(25.0))
    spikes, _ = neuron(drive, torch.zeros(1, 3, dtype=torch.float64))
    spikes.sum().backward()
    np.testing.assert_array_equal(spikes.detach(), [[0, 1, 1]])
    expected = SuperSpikeSurrogate(25.0).derivative(drive.detach().numpy() - 1)
    np.testing.assert_allclose(drive.grad, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "surrogate", [*BY_FORMULA, SnntorchSurrogate("fast_sigmoid", {"slope": 9})], ids=str
)
def test_config_makes_an_equal_surrogate(surrogate):
    assert surrogate_from_config(surrogate.config) == surrogate


def test_bad_surrogates_are_refused_with_a_remedy():
    with pytest.raises(OptionError, match="Did you mean 'superspike'"):
        surrogate_from_config({"name": "superspke"})
    with pytest.raises(OptionError, match="Did you mean 'beta_per_v'"):
        surrogate_from_config({"name": "superspike", "beta": 1000.0})
    with pytest.raises(OptionError, match="fast_sigmoid"):
        SnntorchSurrogate("fast_sigmoyd")
    with pytest.raises(OptionError, match="unexpected keyword"):
        SnntorchSurrogate("atan", {"slope": 1})
    with pytest.raises(OptionError, match="by name"):
        SnntorchSurrogate(snn_surrogate.atan(), {"alpha": 1})
    with pytest.raises(OptionError, match="cannot be stored"):
        _ = SnntorchSurrogate(snn_surrogate.atan()).config
    for wrong in (
        lambda: SuperSpikeSurrogate(-1.0),
        lambda: SuperSpikeSurrogate(scale="half"),
        lambda: TriangularSurrogate(0.0),
        lambda: SnntorchSurrogate(unit_v=0.0),
    ):
        with pytest.raises(OptionError):
            wrong()


def test_a_large_distance_gives_no_warning_and_no_nan():
    far = np.array([-1e3, 1e3])
    for name in set(SURROGATES) - {"snntorch"}:
        value = SURROGATES[name]().derivative(far)
        assert np.isfinite(value).all()
