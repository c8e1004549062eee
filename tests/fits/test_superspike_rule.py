"""The rule is the gradient that it is said to be: automatic differentiation of graphs written here.

The graphs replay the spikes of the simulation. Their gradient passes through the linear synapse
and membrane alone (no reset, no refractoriness), and through σ' at a spike.
"""

import math

import numpy as np
import pytest
import torch
from spiking_cases import convolved, dense, double_exponential, random_events

from neuromodels.fits.superspike.engines import Chunk, RuleKernels, make_engine
from neuromodels.fits.superspike.errors import ErrorFilter, Mismatch
from neuromodels.fits.superspike.rmaxprop import RMaxProp
from neuromodels.spiking.kernels import error_kernel, psp_kernel
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.simulation import simulate

DT, N_STEPS, DELAY = 1e-4, 2000, 8
SIZES = (20, 6, 4)
BETA = 1e3  # 1/V


class Replayed(torch.autograd.Function):
    """Spikes that were sent; their derivative by the voltage is σ'."""

    @staticmethod
    def forward(ctx, voltage, spikes, surrogate):
        ctx.save_for_backward(surrogate)
        return spikes.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None, None


def surrogate(distance):
    return 1 / (1 + np.abs(BETA * distance)) ** 2


def linear_voltage(arrivals, weights):
    """U of synapse and membrane without reset, stepped: U from I, then I from arrivals."""
    membrane, synapse = math.exp(-DT / 10e-3), math.exp(-DT / 5e-3)
    gain = membrane - synapse  # τ_syn / (τ_mem − τ_syn) = 1
    currents = (arrivals @ weights).unbind(0)
    voltage = current = torch.zeros(weights.shape[1], dtype=torch.float64)
    voltages = []
    for added in currents:
        voltage = membrane * voltage + gain * current
        current = synapse * current + added
        voltages.append(voltage)
    return torch.stack(voltages)


def alpha_filter(signal):
    """α ∗ signal as a matrix product."""
    kernel = double_exponential(N_STEPS, 5e-3, 10e-3, DT) / 5e-3
    lag = np.arange(N_STEPS)[:, None] - np.arange(N_STEPS)
    matrix = np.where(lag >= 0, kernel[np.maximum(lag, 0)], 0.0)
    return torch.tensor(matrix) @ signal


def loss(outputs, target):
    """½ ∫ (α ∗ (S − Ŝ))² dt."""
    return 0.5 * DT * (alpha_filter(outputs - target) ** 2).sum()


def delayed(spikes):
    return torch.cat([torch.zeros(DELAY, spikes.shape[1], dtype=spikes.dtype), spikes[:-DELAY]])


class Case:
    """A network at work, and what the rule says about its weights."""

    def __init__(self, seed, recurrent=(), record="before reset", network=None, weights=None):
        rng = np.random.default_rng(seed)
        self.network = network or SpikingNetwork(SIZES, recurrent=recurrent)
        self.weights = weights or self.network.initial_weights(0.15, rng)
        self.inputs = random_events(SIZES[0], N_STEPS, 80, np.random.default_rng(seed + 100))
        self.target = random_events(SIZES[2], N_STEPS, 30, np.random.default_rng(seed + 200))
        self.activity, _ = simulate(self.network, self.weights, self.inputs, N_STEPS, record=record)
        self.spikes = [
            torch.tensor(dense(events, N_STEPS, n))
            for events, n in zip(self.activity.spikes, SIZES, strict=True)
        ]
        self.surrogates = [torch.tensor(surrogate(d)) for d in self.activity.distance]
        self.wanted = torch.tensor(dense(self.target, N_STEPS, SIZES[2]))
        self.kernels = RuleKernels(
            psp_kernel(self.network.coefficients), error_kernel(5e-3, 10e-3, DT)
        )
        assert min(s.sum() for s in self.spikes) > 15

    def tensor(self, name):
        return torch.tensor(self.weights[name], requires_grad=True)

    def mismatch(self):
        sent, wanted = self.activity.spikes[-1], self.target
        steps = np.concatenate([sent.steps, wanted.steps])
        order = np.argsort(steps, kind="stable")
        values = np.repeat([1.0, -1.0], [len(sent.steps), len(wanted.steps)])
        neurons = np.concatenate([sent.neurons, wanted.neurons])
        return Mismatch(steps[order], neurons[order], values[order])

    def rule(self, layer, feedback=None, scale=1.0, engine="event"):
        """G of all connections into a layer."""
        error = ErrorFilter(self.kernels.eligibility, SIZES[layer])(
            self.mismatch(), N_STEPS, feedback
        )
        into = self.network.into(layer)
        engine = make_engine(engine, [c.shape for c in into], self.kernels, DT)
        arrivals = [self.activity.arrivals[c.source] for c in into]
        values = scale * surrogate(self.activity.distance[layer - 1])
        engine.accumulate(Chunk(values, error, arrivals))
        return {c.name: sums for c, sums in zip(into, engine.take(), strict=True)}


def relative(found, expected):
    return np.abs(found - np.asarray(expected)).max() / np.abs(np.asarray(expected)).max()


def cosine(a, b):
    a, b = np.ravel(a), np.ravel(b)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def output_graph(case):
    """Loss of the output's spikes, given those of the hidden layer; and the weights."""
    arrivals = delayed(case.spikes[1])
    weights = case.tensor("hidden_to_output")
    voltage = linear_voltage(arrivals, weights)
    outputs = Replayed.apply(voltage, case.spikes[2], case.surrogates[1])
    return loss(outputs, case.wanted), weights


def hidden_spikes(case, weights):
    voltage = linear_voltage(delayed(case.spikes[0]), weights)
    return Replayed.apply(voltage, case.spikes[1], case.surrogates[0])


@pytest.mark.parametrize(
    ("seed", "record"), [(0, "before reset"), (1, "before reset"), (2, "after reset")]
)
def test_the_output_rule_is_the_gradient_of_the_loss_with_a_surrogate_and_no_reset(seed, record):
    case = Case(seed, record=record)
    total, weights = output_graph(case)
    total.backward()
    assert relative(case.rule(2)["hidden_to_output"], weights.grad) < 1e-12


def test_the_rule_of_recurrent_weights_is_the_gradient_at_replayed_recurrent_spikes():
    case = Case(3, recurrent=(2,))
    forward, back = case.tensor("hidden_to_output"), case.tensor("output_to_output")
    voltage = linear_voltage(delayed(case.spikes[1]), forward)
    # The output's spikes that arrive back are replayed without a gradient: the rule is local.
    voltage = voltage + linear_voltage(delayed(case.spikes[2]), back)
    outputs = Replayed.apply(voltage, case.spikes[2], case.surrogates[1])
    loss(outputs, case.wanted).backward()
    found = case.rule(2)
    assert relative(found["hidden_to_output"], forward.grad) < 1e-12
    assert relative(found["output_to_output"], back.grad) < 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_the_symmetric_hidden_rule_is_the_gradient_through_straight_through_output_spikes(seed):
    case = Case(seed)
    weights = case.tensor("input_to_hidden")
    # In the graph the output spikes are W₂ S_hidden; their value is that of the real spikes.
    signal = hidden_spikes(case, weights) @ torch.tensor(case.weights["hidden_to_output"])
    outputs = case.spikes[2] + signal - signal.detach()
    loss(outputs, case.wanted).backward()
    found = case.rule(1, case.weights["hidden_to_output"].T)["input_to_hidden"]
    assert relative(found, weights.grad) < 1e-12


def test_the_symmetric_hidden_rule_is_not_backpropagation_through_time():
    found = []
    for seed in range(3):
        case = Case(seed)
        weights = case.tensor("input_to_hidden")
        arrivals = delayed(hidden_spikes(case, weights))
        voltage = linear_voltage(arrivals, torch.tensor(case.weights["hidden_to_output"]))
        outputs = Replayed.apply(voltage, case.spikes[2], case.surrogates[1])
        loss(outputs, case.wanted).backward()
        rule = case.rule(1, case.weights["hidden_to_output"].T)["input_to_hidden"]
        found.append(cosine(rule, weights.grad))
    assert max(found) < 0.999
    assert np.median(found) > 0.7  # but mostly it points the same way


def test_random_feedback_that_happens_to_be_the_weights_is_symmetric_feedback():
    case = Case(4)
    feedback = case.weights["hidden_to_output"].T
    error = convolved(
        dense(case.activity.spikes[2], N_STEPS, 4) - case.wanted.numpy(),
        double_exponential(N_STEPS, 5e-3, 10e-3, DT) / 5e-3,
    )
    # Symmetric as the paper has it: the filtered output error through the weights.
    found = case.rule(1, feedback)["input_to_hidden"]
    engine = make_engine("online", [(20, 6)], case.kernels, DT)
    engine.accumulate(
        Chunk(case.surrogates[0].numpy(), error @ feedback, [case.activity.arrivals[0]])
    )
    assert relative(found, engine.take()[0]) < 1e-12
    other = np.random.default_rng(5).normal(size=feedback.shape)
    assert abs(cosine(case.rule(1, other)["input_to_hidden"], found)) < 0.9


def test_permuted_neurons_give_permuted_results():
    plain = Case(5, recurrent=(1,))
    order = np.random.default_rng(6).permutation(6)
    weights = {
        "input_to_hidden": plain.weights["input_to_hidden"][:, order],
        "hidden_to_hidden": plain.weights["hidden_to_hidden"][np.ix_(order, order)],
        "hidden_to_output": plain.weights["hidden_to_output"][order],
    }
    mixed = Case(5, network=plain.network, weights=weights)
    assert np.array_equal(mixed.spikes[1], plain.spikes[1][:, order])
    assert np.array_equal(mixed.spikes[2], plain.spikes[2])
    before = plain.rule(1, plain.weights["hidden_to_output"].T)
    after = mixed.rule(1, weights["hidden_to_output"].T)
    expected = {
        "input_to_hidden": before["input_to_hidden"][:, order],
        "hidden_to_hidden": before["hidden_to_hidden"][np.ix_(order, order)],
    }
    for name, right in expected.items():
        assert relative(after[name], right) < 1e-12
    found = mixed.rule(2)["hidden_to_output"]
    assert relative(found, plain.rule(2)["hidden_to_output"][order]) < 1e-12


def test_after_reset_the_surrogate_at_a_spike_is_a_121st_of_its_peak():
    case = Case(0, record="after reset")
    for spikes, values in zip(case.spikes[1:], case.surrogates, strict=True):
        at_spikes = values[spikes > 0]
        assert (at_spikes * 121 - 1).abs().max() < 1e-12


def test_reading_the_surrogate_before_or_after_reset_changes_the_rule():
    before, after = Case(0).rule(2), Case(0, record="after reset").rule(2)
    assert relative(before["hidden_to_output"], after["hidden_to_output"]) > 0.05


def test_a_constant_factor_of_the_surrogate_leaves_learning_as_it_is():
    case = Case(0)
    updates = []
    for scale in (1.0, 1e3):
        rule = RMaxProp((6, 4), epsilon=0.0)
        weights = case.weights["hidden_to_output"]
        for seed in (0, 5):
            gradient = Case(seed, weights=case.weights).rule(2, scale=scale)["hidden_to_output"]
            weights = rule.step(weights, gradient, 1e-3)
        updates.append(weights - case.weights["hidden_to_output"])
    assert np.abs(updates[0]).max() > 1e-3
    assert np.abs(updates[0] - updates[1]).max() < 1e-15


def test_the_delayed_surrogate_and_psp_trace_are_read_where_the_spike_arrives():
    """Both at the same voltage: moving one of them by a step is no gradient any more."""
    case = Case(0)
    total, weights = output_graph(case)
    total.backward()
    late = [
        events._replace(steps=np.minimum(events.steps + 1, N_STEPS - 1))
        for events in case.activity.arrivals
    ]
    case.activity = case.activity._replace(arrivals=tuple(late))
    assert relative(case.rule(2)["hidden_to_output"], weights.grad) > 1e-4
