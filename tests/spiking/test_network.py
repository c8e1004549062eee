"""A network as plain data: what drives what, and what is refused."""

import json

import numpy as np
import pytest

from neuromodels.options import OptionError
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import LIFParameters


def test_layers_are_connected_in_a_row_and_recurrent_ones_to_themselves():
    network = SpikingNetwork((3, 4, 5, 2), recurrent=(2,))
    assert network.names == ("input", "hidden1", "hidden2", "output")
    assert [(c.name, c.source, c.target, c.shape) for c in network.connections] == [
        ("input_to_hidden1", 0, 1, (3, 4)),
        ("hidden1_to_hidden2", 1, 2, (4, 5)),
        ("hidden2_to_hidden2", 2, 2, (5, 5)),
        ("hidden2_to_output", 2, 3, (5, 2)),
    ]
    assert [c.name for c in network.into(2)] == ["hidden1_to_hidden2", "hidden2_to_hidden2"]
    assert list(network.offsets) == [0, 3, 7, 12, 14]


def test_without_a_hidden_layer_the_input_drives_the_output():
    assert [c.name for c in SpikingNetwork((3, 2)).connections] == ["input_to_output"]


def test_weights_are_drawn_with_a_deviation_of_w0_over_the_root_of_the_number_of_sources():
    network = SpikingNetwork((400, 300, 2))
    weights = network.initial_weights(0.05, np.random.default_rng(0))
    assert weights["input_to_hidden"].std() == pytest.approx(0.05 / 20, rel=0.01)
    assert weights["input_to_hidden"].mean() == pytest.approx(0, abs=5e-5)
    again = network.initial_weights(0.05, np.random.default_rng(0))
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


def test_delays_are_one_for_all_or_one_per_neuron():
    assert list(SpikingNetwork((2, 1)).delay_steps) == [8, 8, 8]
    network = SpikingNetwork((2, 1), delay_s=((0.0, 1e-3), (2e-3,)))
    assert list(network.delay_steps) == [0, 10, 20]


@pytest.mark.parametrize("delay_s", [0.8e-3, ((0.0, 1e-3), (2e-3,), (1e-3, 1e-3))])
def test_a_network_comes_back_from_its_config_as_text(delay_s):
    network = SpikingNetwork(
        (2, 1, 2), LIFParameters(refractory_s=2e-3), 2e-4, delay_s, (1, 2), "euler", "exact"
    )
    again = SpikingNetwork.from_config(json.loads(json.dumps(network.config)))
    assert again == network
    assert again.coefficients == network.coefficients
    assert np.array_equal(again.delay_steps, network.delay_steps)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"sizes": (3,)}, "sizes"),
        ({"sizes": (3, 0)}, "sizes"),
        ({"sizes": (3, 2), "recurrent": (2,)}, "no layer 2"),
        ({"sizes": (3, 2), "recurrent": (0,)}, "no layer 0"),
        ({"sizes": (3, 2), "delay_s": 0.85e-3}, "delay_s"),
        ({"sizes": (3, 2), "delay_s": ((0.0,), (0.0, 0.0))}, "delay_s"),
        ({"sizes": (3, 2), "dt_s": 4e-3, "delay_s": 0.0}, "dt_s"),
        ({"sizes": (3, 2), "membrane": "heun"}, "integrator"),
    ],
)
def test_networks_that_cannot_be_are_refused(options, named):
    with pytest.raises(OptionError, match=named):
        SpikingNetwork(**options)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda w: w.pop("input_to_hidden"), "hidden_to_output"),
        (lambda w: w.update(extra=np.zeros((1, 1))), "extra"),
        (lambda w: w.update(input_to_hidden=np.zeros((4, 3))), r"\(4, 3\), not \(3, 4\)"),
        (lambda w: w["hidden_to_output"].fill(np.nan), "no number"),
    ],
)
def test_weights_of_another_network_are_refused(change, named):
    network = SpikingNetwork((3, 4, 2))
    weights = network.initial_weights(0.05, np.random.default_rng(0))
    network.check_weights(weights)
    change(weights)
    with pytest.raises(OptionError, match=named):
        network.check_weights(weights)
