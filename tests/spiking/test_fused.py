"""The compiled layer equals the loop over steps with automatic differentiation."""

import time

import numpy as np
import pytest
import torch

from neuromodels.options import OptionError
from neuromodels.spiking.events import find_events, spike_events
from neuromodels.spiking.layers import LIFLayer, LILayer
from neuromodels.spiking.modules import LIFNetwork
from neuromodels.spiking.surrogates import (
    ArctanSurrogate,
    ConstantSurrogate,
    SigmoidSurrogate,
    SnntorchSurrogate,
    SuperSpikeSurrogate,
    TriangularSurrogate,
)


def random_spikes(shape, density=0.05, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) < density).double()


def results(module, inputs, state=None):
    """Outputs and all gradients of a loss that uses outputs and final state, both engines."""
    by_engine = []
    for engine in ("steps", "fused"):
        for layer in module.layers if isinstance(module, LIFNetwork) else [module]:
            layer.engine = engine
        given = inputs.clone().requires_grad_()
        out, after = module(given, state)
        out, after = (out, after) if isinstance(out, list) else ([out], [after])
        loss = sum(
            (value * torch.sin(torch.arange(value.numel()).reshape(value.shape))).sum()
            for value in (*out, *(part for one in after for part in one.neurons[:2]))
        )
        module.zero_grad()
        loss.backward()
        gradients = [given.grad, *(parameter.grad for parameter in module.parameters())]
        by_engine.append((out, gradients, after))
    return by_engine


def assert_same(by_engine):
    (out, gradients, after), (fused_out, fused_gradients, fused_after) = by_engine
    for one, other in zip(out, fused_out, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    for one, other in zip(gradients, fused_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * float(one.abs().max()))
        assert one.abs().max() > 0
    for one, other in zip(after, fused_after, strict=True):
        values, fused_values = (*one.neurons, *one[1:]), (*other.neurons, *other[1:])
        torch.testing.assert_close(values, fused_values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["full", "detached", "none"])
def test_a_network_equals_the_loop_over_steps(mode):
    network = LIFNetwork(
        [30, 20, 10], reset_gradient=mode, delay_steps=3, weight_scale_v=0.3,
        generator=torch.Generator().manual_seed(1),
    ).double()  # fmt: skip
    by_engine = results(network, random_spikes((3, 120, 30)))
    assert_same(by_engine)
    assert all(0.01 < out.mean() < 0.2 for out in by_engine[0][0])


@pytest.mark.parametrize("mode", ["full", "none"])
@pytest.mark.parametrize("delays", [0, [0, 1, 5, 2, 7, 0, 3, 1]])
def test_a_recurrent_layer_equals_the_loop_over_steps(mode, delays):
    layer = LIFLayer(
        12, 8, reset_gradient=mode, recurrent=True, recurrent_delay_steps=delays,
        weight_scale_v=0.3, generator=torch.Generator().manual_seed(1),
    ).double()  # fmt: skip
    assert_same(results(layer, random_spikes((2, 80, 12), 0.1)))


@pytest.mark.parametrize(
    "surrogate",
    [
        SuperSpikeSurrogate(300.0, "slope"),
        SigmoidSurrogate(300.0, "slope"),
        ArctanSurrogate(300.0),
        TriangularSurrogate(4e-3),
        ConstantSurrogate(0.7),
    ],
    ids=lambda one: one.name,
)
def test_every_compiled_surrogate_is_the_one_of_pytorch(surrogate):
    layer = LIFLayer(
        12, 8, surrogate=surrogate, weight_scale_v=0.3, generator=torch.Generator().manual_seed(1)
    ).double()
    assert_same(results(layer, random_spikes((2, 80, 12), 0.1)))


def test_inputs_that_are_no_spikes_and_dense_ones_take_the_matrix_product():
    layer = LIFLayer(12, 8, weight_scale_v=0.1, generator=torch.Generator().manual_seed(1))
    graded = torch.rand((2, 80, 12), dtype=torch.float64)
    dense = random_spikes((2, 80, 12), 0.5)
    assert find_events(graded) is None and find_events(dense) is None
    for inputs in (graded, dense):
        assert_same(results(layer.double(), inputs))


def test_leaky_integrators_equal_the_loop_over_steps():
    layer = LILayer(12, 8, delay_steps=[0, 1, 2] * 4).double()
    assert_same(results(layer, random_spikes((2, 80, 12))))


def test_the_gradient_passes_from_chunk_to_chunk_as_in_one_piece():
    layer = LIFLayer(
        12, 8, recurrent=True, recurrent_delay_steps=4, delay_steps=[0, 6] * 6, weight_scale_v=0.3,
        generator=torch.Generator().manual_seed(1), engine="fused",
    ).double()  # fmt: skip
    inputs, found = random_spikes((2, 90, 12), 0.1), []
    target = torch.sin(torch.arange(2 * 90 * 8)).reshape(2, 90, 8)
    for cuts in ([90], [3, 40, 47]):
        layer.zero_grad()
        state, out = None, []
        for part in inputs.split(cuts, 1):
            spikes, state = layer(part, state)
            out.append(spikes)
        out = torch.cat(out, 1)
        (out * target).sum().backward()
        found.append((out, *(parameter.grad.clone() for parameter in layer.parameters())))
    assert torch.equal(found[0][0], found[1][0])
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11 * float(one.abs().max()))


def test_events_and_dense_inputs_give_the_same():
    dense = random_spikes((3, 60, 12)).float()
    trials = [tuple(trial.nonzero().numpy().T) for trial in dense]
    events = spike_events(trials, 60, 12)
    assert torch.equal(events.to_dense(dense), dense)
    found = find_events(dense)
    assert np.array_equal(found.row_start, events.row_start)
    assert np.array_equal(found.sources, events.sources)
    for delays in (0, 2, [0, 1, 7] * 4):
        layer = LIFLayer(12, 8, delay_steps=delays, weight_scale_v=0.3).double()
        out = []
        for inputs in (dense.double(), events):
            layer.zero_grad()
            spikes, state = layer(inputs)
            spikes, state = layer(inputs, state)  # what was under way arrives in the second call
            spikes.sum().backward()
            out.append((spikes, layer.weight.grad.clone(), state.inputs))
        for one, other in zip(*out, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_single_precision_agrees_with_double():
    network = LIFNetwork(
        [30, 20, 10], weight_scale_v=0.3, generator=torch.Generator().manual_seed(1)
    )
    inputs, found = random_spikes((3, 120, 30)), []
    for dtype in (torch.float64, torch.float32):
        network.to(dtype).zero_grad()
        out, _ = network(inputs.to(dtype))
        out[-1].sum().backward()
        found.append((out[-1].double(), network.layers[0].weight.grad.double().clone()))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[1][1], found[0][1], rtol=2e-3, atol=2e-4)


def test_what_cannot_be_compiled_falls_back_or_says_so():
    layer = LIFLayer(3, 2, surrogate=SnntorchSurrogate("atan"), weight_scale_v=0.3).double()
    inputs = random_spikes((1, 40, 3), 0.2)
    spikes, _ = layer(inputs)
    spikes.sum().backward()
    assert layer.weight.grad.abs().sum() > 0
    layer.engine = "fused"
    with pytest.raises(OptionError, match="auto"):
        layer(inputs)


def test_spike_events_out_of_range_are_refused():
    with pytest.raises(OptionError, match="neuron 12 is outside 0 … 11"):
        spike_events([([0], [12])], 60, 12)
    with pytest.raises(OptionError, match="step 60 is outside"):
        spike_events([([60], [1])], 60, 12)
    with pytest.raises(OptionError, match="no trial"):
        spike_events([], 60, 12)


@pytest.mark.parametrize("engine", ["fused", pytest.param("steps", marks=pytest.mark.slow)])
def test_the_reverse_pass_grows_linearly_with_the_steps(engine):
    size = 64 if engine == "fused" else 4
    layer = LIFLayer(20, size, engine=engine, generator=torch.Generator().manual_seed(1))
    seconds = {}
    for n_steps in (2000, 8000):
        inputs = random_spikes((1, n_steps, 20)).float()
        taken = []
        for _ in range(7 if engine == "fused" else 2):
            loss = layer(inputs)[0].sum()
            began = time.process_time()
            loss.backward()
            taken.append(time.process_time() - began)
        seconds[n_steps] = min(taken)
    # Four times the steps: about 4; quadratic would be 16.
    assert seconds[8000] < 8 * seconds[2000]


def test_spikes_of_any_number_type_and_without_gradient_are_the_same():
    layer = LIFLayer(12, 8, weight_scale_v=0.3, generator=torch.Generator().manual_seed(1))
    dense = random_spikes((2, 60, 12))
    spikes = layer(dense.float())[0].detach()
    for inputs in (dense, dense.bool(), dense.long(), find_events(dense)):
        with torch.no_grad():
            assert torch.equal(layer(inputs)[0], spikes)
    assert spikes.sum() > 10
