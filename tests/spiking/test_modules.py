"""Layers and networks: shapes, delays, carried state, and errors that help."""

import numpy as np
import pytest
import torch

from neuromodels.options import OptionError
from neuromodels.spiking.layers import LIFLayer, LILayer
from neuromodels.spiking.modules import LIFNetwork, from_module, to_module
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import LIFParameters
from neuromodels.spiking.simulation import Events, simulate
from neuromodels.spiking.surrogates import SnntorchSurrogate


def random_spikes(shape, density=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) < density).double()


@pytest.mark.parametrize("engine", ["fused", "steps"])
def test_a_delay_moves_the_response_by_as_many_steps(engine):
    generator = torch.Generator().manual_seed(1)
    layer = LIFLayer(6, 5, weight_scale_v=0.3, engine=engine, generator=generator).double()
    late = LIFLayer(6, 5, delay_steps=4, engine=engine).double()
    late.load_state_dict(layer.state_dict())
    inputs = random_spikes((2, 50, 6))
    early, delayed = layer(inputs)[0], late(inputs)[0]
    assert torch.equal(delayed[:, 4:], early[:, :-4]) and not delayed[:, :5].any()
    assert early.sum() > 5


@pytest.mark.parametrize("engine", ["fused", "steps"])
def test_each_source_has_its_own_delay(engine):
    layer = LIFLayer(3, 3, delay_steps=[0, 2, 5], engine=engine).double()
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3))
    inputs = torch.zeros(1, 12, 3, dtype=torch.float64)
    inputs[:, 1] = 1
    first = layer(inputs)[0][0].argmax(0)
    assert first.tolist() == [2, 4, 7]


@pytest.mark.parametrize("engine", ["fused", "steps"])
def test_a_recurrent_spike_arrives_after_its_delay(engine):
    layer = LIFLayer(1, 2, recurrent=True, recurrent_delay_steps=3, engine=engine).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0]]))
        layer.recurrent_weight.copy_(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    inputs = torch.zeros(1, 12, 1, dtype=torch.float64)
    inputs[:, 0] = 1
    # 0 → neuron 0 fires at 1 → arrives at 4 → neuron 1 fires at 5.
    assert layer(inputs)[0][0].argmax(0).tolist() == [1, 5]


@pytest.mark.parametrize("engine", ["fused", "steps"])
def test_a_trial_in_parts_is_the_whole_trial(engine):
    network = LIFNetwork(
        [6, 5, 4], delay_steps=2, recurrent=True, recurrent_delay_steps=3, weight_scale_v=0.3,
        engine=engine, generator=torch.Generator().manual_seed(1),
    ).double()  # fmt: skip
    inputs = random_spikes((2, 60, 6))
    whole, end = network(inputs)
    state, parts = None, []
    for part in inputs.split([1, 1, 30, 28], 1):
        out, state = network(part, state)
        parts.append(out[-1])
    assert torch.equal(torch.cat(parts, 1), whole[-1])
    for one, other in zip(end, state, strict=True):
        for a, b in zip((*one.neurons, *one[1:]), (*other.neurons, *other[1:]), strict=True):
            assert torch.equal(a, b)
    assert whole[-1].sum() > 3


def test_detached_state_cuts_the_gradient():
    network = LIFNetwork([6, 5, 4], weight_scale_v=0.3).double()
    _, state = network(random_spikes((2, 30, 6)))
    cut = [one.detach() for one in state]
    assert not any(value.requires_grad for one in cut for value in (*one.neurons, *one[1:]))


def test_a_readout_is_the_exact_sum_of_psps():
    layer = LILayer(2, 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1e-3], [-2e-3]], dtype=torch.float64))
    inputs = torch.zeros(1, 40, 2, dtype=torch.float64)
    inputs[0, 3, 0] = inputs[0, 10, 1] = 1
    voltage = layer(inputs)[0][0, :, 0]
    t = torch.arange(40, dtype=torch.float64)
    expected = torch.zeros(40, dtype=torch.float64)
    for start, weight in ((3, 1e-3), (10, -2e-3)):
        age = (t - start).clamp_min(0) * 1e-3
        # τ_syn / (τ_mem − τ_syn) = 1
        expected += weight * (torch.exp(-age / 10e-3) - torch.exp(-age / 5e-3))
    torch.testing.assert_close(voltage, expected - 60e-3, rtol=0, atol=1e-15)


def test_permuting_neurons_permutes_spikes():
    layer = LIFLayer(6, 5, weight_scale_v=0.3).double()
    order, inputs = torch.tensor([3, 0, 4, 1, 2]), random_spikes((2, 50, 6))
    spikes = layer(inputs)[0]
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:, order])
    assert torch.equal(layer(inputs)[0], spikes[:, :, order])


def test_the_same_generator_gives_the_same_weights():
    made = [LIFNetwork([6, 5], generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(made[0].layers[0].weight, made[1].layers[0].weight)
    many = LIFLayer(400, 300, weight_scale_v=0.2, generator=torch.Generator().manual_seed(3))
    assert many.weight.std().item() == pytest.approx(0.2 / 20, rel=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIFLayer(0, 2), "cannot be"),
        (lambda: LIFLayer(2, 2, dt_s=1.0), "0.1 ms is"),
        (lambda: LIFLayer(2, 2, delay_steps=1.5), "whole steps"),
        (lambda: LIFLayer(2, 2, delay_steps=[1, 2, 3]), "one for each of 2"),
        (lambda: LIFLayer(2, 2, delay_steps=-1), "not negative"),
        (lambda: LIFLayer(2, 2, recurrent_delay_steps=2), "not recurrent"),
        (lambda: LIFLayer(2, 2, engine="fast"), "auto, fused or steps"),
        (lambda: LIFLayer(2, 2, reset_gradient="half"), "full, detached, none"),
        (lambda: LIFLayer(2, 2, weight_scale_v=0.0), "positive"),
        (lambda: LIFNetwork([3]), "at least two"),
        (lambda: LIFNetwork([3, 2], readout="rate"), "spikes or voltage"),
        (lambda: LIFLayer(3, 2)(torch.zeros(5, 3)), "batch of one"),
        (lambda: LIFLayer(3, 2)(torch.zeros(1, 5, 4)), "step, 3"),
        (lambda: LIFLayer(3, 2, LIFParameters(tau_mem_s=5e-3)), "two time constants"),
    ],
)
def test_errors_say_what_to_do(make, message):
    with pytest.raises(OptionError, match=message):
        make()


def test_a_surrogate_of_snntorch_runs_in_a_network():
    network = LIFNetwork([6, 5], surrogate=SnntorchSurrogate("fast_sigmoid"), weight_scale_v=0.3)
    out, _ = network(random_spikes((2, 30, 6)).float())
    out[-1].sum().backward()
    assert network.layers[0].weight.grad.abs().sum() > 0


def test_plain_data_and_module_fire_the_same_spikes_and_convert_back():
    rng = np.random.default_rng(0)
    delays = tuple(tuple(1e-4 * rng.integers(0, 12, n)) for n in (8, 7, 6))
    network = SpikingNetwork((8, 7, 6), delay_s=delays, recurrent=(1, 2), membrane="euler")
    weights = network.initial_weights(0.4, rng)
    inputs = random_spikes((1, 400, 8), 0.03)
    module = to_module(network, weights)
    outputs, _ = module(inputs)
    steps, neurons = inputs[0].nonzero().numpy().T
    activity, _ = simulate(network, weights, Events(steps, neurons), 400)
    for ours, spikes in zip(outputs, activity.spikes[1:], strict=True):
        expected = np.zeros(ours.shape[1:])
        expected[spikes.steps, spikes.neurons] = 1
        np.testing.assert_array_equal(ours[0].detach(), expected)
        assert expected.sum() > 10
    again, held = from_module(module)
    # Seconds come back from whole steps.
    assert np.array_equal(again.delay_steps, network.delay_steps)
    assert {**again.config, "delay_s": 0} == {**network.config, "delay_s": 0}
    assert all(np.array_equal(held[name], weights[name]) for name in weights)


def test_a_module_that_plain_data_cannot_hold_is_refused():
    for module, message in (
        (LIFNetwork([3, 2], readout="voltage"), "no spikes"),
        (LIFNetwork([3, 2, 2], recurrent=True, recurrent_delay_steps=2), "different delays"),
    ):
        with pytest.raises(OptionError, match=message):
            from_module(module)
    mixed = LIFNetwork([3, 2, 2])
    mixed.layers[1] = LIFLayer(2, 2, LIFParameters(refractory_s=0))
    with pytest.raises(OptionError, match="not those of the first layer"):
        from_module(mixed)
    assert from_module(LIFNetwork([3, 2, 2], delay_steps=2))[0].delay_s == pytest.approx(2e-3)


def test_the_loop_over_steps_runs_on_other_devices():
    """The meta device holds no numbers, but refuses tensors of other devices."""
    network = LIFNetwork([6, 5, 4], delay_steps=2, recurrent=True, recurrent_delay_steps=3)
    network = network.to("meta")
    inputs = torch.zeros((2, 20, 6), device="meta")
    outputs, state = network(inputs)
    outputs, _ = network(inputs, state)
    outputs[-1].sum().backward()
    assert outputs[-1].device.type == "meta" and outputs[-1].shape == (2, 20, 4)
    assert network.layers[0].weight.grad.shape == (6, 5)
