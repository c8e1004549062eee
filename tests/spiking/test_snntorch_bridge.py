"""snnTorch and this package: the same spikes and gradients where the dynamics are the same."""

import warnings

import pytest
import snntorch as snn
import torch
from snntorch import surrogate as snn_surrogate
from torch import nn

from neuromodels.options import OptionError
from neuromodels.spiking.modules import LIFNetwork
from neuromodels.spiking.neurons import LIFParameters
from neuromodels.spiking.snntorch_bridge import from_snntorch, to_snntorch
from neuromodels.spiking.surrogates import SuperSpikeSurrogate


def random_spikes(shape, density=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) < density).double()


def small_network(refractory_steps, reset_gradient, **options):
    return LIFNetwork(
        [12, 10, 6], LIFParameters(refractory_s=refractory_steps * 1e-3),
        reset_gradient=reset_gradient, weight_scale_v=0.2,
        generator=torch.Generator().manual_seed(1), **options,
    ).double()  # fmt: skip


@pytest.mark.parametrize(("refractory_steps", "mode"), [(0, "full"), (1, "detached")])
@pytest.mark.parametrize("delay_steps", [0, 3])
def test_snntorch_fires_the_same_spikes_with_the_same_gradient(refractory_steps, mode, delay_steps):
    network = small_network(refractory_steps, mode, delay_steps=delay_steps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = to_snntorch(network)
    inputs = random_spikes((3, 100, 12))
    ours, other = network(inputs)[0][-1], theirs(inputs.transpose(0, 1)).transpose(0, 1)
    assert torch.equal(ours, other) and ours.sum() > 30
    target = torch.sin(torch.arange(ours.numel())).reshape(ours.shape)
    (ours * target).sum().backward()
    (other * target).sum().backward()
    for layer, linear in zip(network.layers, theirs.linear, strict=True):
        by_weight = linear.weight.grad.T * layer.coefficients.current_gain
        torch.testing.assert_close(layer.weight.grad, by_weight, rtol=1e-9, atol=1e-9)


def test_a_readout_becomes_neurons_that_never_reset():
    network = small_network(0, "full", readout="voltage")
    theirs = to_snntorch(network, time_first=False)
    inputs = random_spikes((3, 100, 12))
    torch.testing.assert_close(network(inputs)[0][-1], theirs(inputs), rtol=0, atol=1e-14)


def test_what_is_lost_is_named():
    with pytest.warns(UserWarning, match="refractory period of 5 steps is lost"):
        theirs = to_snntorch(small_network(5, "detached"))
    assert theirs.neurons[0].reset_delay
    with pytest.warns(UserWarning, match="reset_gradient = 'none' is lost.*'full'"):
        to_snntorch(small_network(0, "none"))
    with pytest.raises(OptionError, match="RSynaptic"):
        to_snntorch(small_network(0, "full", recurrent=True))


def run_snntorch(modules, inputs):
    """Spikes of each neuron module, by the loop of snnTorch's tutorials."""
    states, out = {}, {index: [] for index, part in enumerate(modules) if hasattr(part, "fire")}
    for index in out:
        states[index] = modules[index].reset_mem()
        if not isinstance(states[index], tuple):
            states[index] = (states[index],)
    for x in inputs.unbind(1):
        for index, part in enumerate(modules):
            if index in out:
                x, *states[index] = part(x, *states[index])
                out[index].append(x)
            else:
                # The surrogates of snnTorch answer in single precision.
                x = part(x.double())
    return [torch.stack(spikes, 1) for spikes in out.values()]


@pytest.mark.parametrize("reset_delay", [True, False])
@pytest.mark.parametrize("kind", ["leaky", "synaptic"])
def test_modules_of_snntorch_fire_the_same_spikes_here_a_step_later_per_layer(kind, reset_delay):
    torch.manual_seed(0)
    as_double = {"dtype": torch.float64}

    def neuron():
        options = {
            "beta": torch.tensor(0.9, **as_double), "threshold": torch.tensor(1.0, **as_double),
            "spike_grad": snn_surrogate.fast_sigmoid(25), "reset_mechanism": "zero",
            "reset_delay": reset_delay,
        }  # fmt: skip
        if kind == "leaky":
            return snn.Leaky(**options)
        return snn.Synaptic(alpha=torch.tensor(0.7, **as_double), **options)

    modules = nn.Sequential(
        nn.Linear(12, 10, bias=False), neuron(), nn.Linear(10, 6, bias=False), neuron()
    ).double()
    with torch.no_grad():
        for linear in modules[::2]:
            linear.weight.copy_(torch.randn(linear.weight.shape) * 0.6)
    inputs = random_spikes((3, 100, 12))
    theirs = run_snntorch(modules, inputs)
    by_surrogate = []
    for surrogate in (None, SuperSpikeSurrogate(25.0)):
        network = from_snntorch(modules, surrogate=surrogate)
        ours, _ = network(inputs)
        for layer, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            late = layer + 1
            assert torch.equal(one[:, late:], other[:, :-late])
            assert other.sum() > 50
        modules.zero_grad()
        ours[-1][:, 2:].pow(2).sum().backward()
        theirs[-1][:, :-2].pow(2).sum().backward(retain_graph=True)
        for index, layer in enumerate(network.layers):
            expected = modules[2 * index].weight.grad.T * layer.coefficients.current_gain
            # Single precision: that of snnTorch's spikes, through which its reset is.
            close = {"rtol": 1e-4, "atol": 1e-5 * float(expected.abs().max())}
            torch.testing.assert_close(layer.weight.grad, expected, **close)
        by_surrogate.append(network.layers[0].weight.grad)
    torch.testing.assert_close(*by_surrogate)


def test_there_and_back_is_the_same_network():
    network = small_network(1, "detached", delay_steps=2, surrogate=SuperSpikeSurrogate(500.0))
    back = from_snntorch(to_snntorch(network), dt_s=1e-3)
    for one, other in zip(network.layers, back.layers, strict=True):
        torch.testing.assert_close(one.weight, other.weight)
        assert (one.delays == other.delays).all()
        assert other.surrogate == one.surrogate
        assert other.coefficients == pytest.approx(one.coefficients)
        assert other.constants.tau_mem_s == pytest.approx(10e-3)
        assert other.constants.tau_syn_s == pytest.approx(5e-3)
    inputs = random_spikes((2, 60, 12))
    assert torch.equal(network(inputs)[0][-1], back(inputs)[0][-1])


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([nn.Linear(3, 2), snn.Leaky(0.9, reset_mechanism="zero")], "bias"),
        ([nn.Linear(3, 2, bias=False), snn.Leaky(0.9)], "'subtract'"),
        ([nn.Linear(3, 2, bias=False), nn.ReLU()], "ReLU"),
        ([nn.Linear(3, 2, bias=False)], "neurons of snnTorch after"),
        (
            [nn.Linear(3, 2, bias=False), snn.Leaky(torch.rand(2), reset_mechanism="zero")],
            "differs between neurons",
        ),
        (
            [
                nn.Linear(3, 2, bias=False),
                snn.Leaky(0.9, learn_beta=True, reset_mechanism="zero"),
            ],
            "learned",
        ),
        (
            [nn.Linear(3, 2, bias=False), snn.Synaptic(0.9, 0.9, reset_mechanism="zero")],
            "Change one",
        ),
        (
            [nn.Linear(3, 2, bias=False), snn.Synaptic(0.0, 0.9, reset_mechanism="zero")],
            "use snntorch.Leaky",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_counterpart_is_refused(modules, message):
    with pytest.raises(OptionError, match=message):
        from_snntorch(nn.Sequential(*modules))
