"""One step of the neurons: against the equations, and what learning sees of the reset."""

import numpy as np
import pytest
import torch

from neuromodels.options import OptionError
from neuromodels.spiking.kernels import error_kernel, psp_kernel
from neuromodels.spiking.neurons import LIFParameters, lif_coefficients
from neuromodels.spiking.steps import LIFState, li_step, lif_step, resting_state
from neuromodels.spiking.surrogates import SuperSpikeSurrogate

PARAMETERS = LIFParameters()
DT_S = 1e-3
COEFFICIENTS = lif_coefficients(PARAMETERS, DT_S)
SURROGATE = SuperSpikeSurrogate()


def run(currents, mode="full", parameters=PARAMETERS, coefficients=COEFFICIENTS):
    """Spikes of (step, batch, neuron) arriving currents."""
    state, out = resting_state(parameters, currents.shape[1:], currents), []
    for current in currents.unbind(0):
        spikes, state = lif_step(current, state, coefficients, parameters, SURROGATE, mode)
        out.append(spikes)
    return torch.stack(out), state


def simulate(weights, arrivals):
    """The same neurons in NumPy, from the four lines of the definition; voltage before reset."""
    n_steps, n = len(arrivals), weights.shape[1]
    voltage, current, held = np.full(n, -60e-3), np.zeros(n), np.zeros(n, int)
    spikes, seen = np.zeros((n_steps, n)), np.zeros((n_steps, n))
    for t in range(n_steps):
        voltage = (
            -60e-3
            + (voltage + 60e-3) * np.exp(-DT_S / 10e-3)
            + current * (5 / (10 - 5) * (np.exp(-DT_S / 10e-3) - np.exp(-DT_S / 5e-3)))
        )
        voltage[held > 0] = -60e-3
        seen[t] = voltage
        spikes[t] = voltage > -50e-3
        held = np.where(spikes[t] > 0, 5, np.maximum(held - 1, 0))
        voltage[spikes[t] > 0] = -60e-3
        current = current * np.exp(-DT_S / 5e-3) + arrivals[t] @ weights
    return spikes, seen


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(3)
    arrivals = (rng.random((300, 12)) < 0.06).astype(float)
    return arrivals, rng.normal(8e-3, 20e-3, (12, 4))


def test_spikes_are_those_of_the_definition(case):
    arrivals, weights = case
    expected, _ = simulate(weights, arrivals)
    for mode in ("full", "detached", "none"):
        spikes, _ = run(torch.tensor(arrivals @ weights)[:, None], mode)
        np.testing.assert_array_equal(spikes[:, 0], expected)
    assert expected.sum() > 20


def test_a_psp_peaks_at_a_quarter_of_the_weight_after_6_9_ms():
    coefficients = lif_coefficients(PARAMETERS, 1e-4)
    currents = torch.zeros(300, 1, 1, dtype=torch.float64)
    currents[0] = 1e-3
    state, voltages = resting_state(PARAMETERS, (1, 1), currents), []
    for current in currents.unbind(0):
        voltage, state = li_step(current, state, coefficients, PARAMETERS.rest_v)
        voltages.append(voltage)
    psp = torch.stack(voltages).flatten() - PARAMETERS.rest_v
    assert psp.max().item() == pytest.approx(0.25e-3, rel=1e-4)
    assert psp.argmax().item() == 69


def test_the_spike_after_the_refractory_period_comes_at_step_51():
    coefficients = lif_coefficients(PARAMETERS, 1e-4)
    currents = torch.full((300, 1, 1), 1.0, dtype=torch.float64)
    times = run(currents, coefficients=coefficients)[0].flatten().nonzero().flatten()
    assert set(times.diff().tolist()) == {51}


def test_an_input_spike_first_acts_one_step_later():
    currents = torch.zeros(4, 1, 1, dtype=torch.float64)
    currents[1] = 1.0
    assert run(currents)[0].flatten().tolist() == [0, 0, 1, 0]


def test_without_reset_the_gradient_is_the_superspike_rule_of_an_output_layer(case):
    arrivals, weights = case
    spikes, seen = simulate(weights, arrivals)
    alpha = error_kernel(5e-3, 10e-3, DT_S)
    target = (np.random.default_rng(4).random(spikes.shape) < 0.03).astype(float)
    # The rule, literally: e · α∗(σ'(U) · PSP trace), summed over time.
    error = alpha.filter(spikes - target)
    trace = psp_kernel(COEFFICIENTS).filter(arrivals)
    bump = 1 / (1 + np.abs(1000 * (seen + 50e-3))) ** 2
    eligibility = alpha.filter(trace[:, :, None] * bump[:, None, :])
    rule = DT_S * np.einsum("ti,tji->ji", error, eligibility)
    # The gradient of L = ½ Σ e² dt, α as a matrix.
    lag = np.arange(len(arrivals))[:, None] - np.arange(len(arrivals))
    matrix = torch.tensor(np.where(lag >= 0, alpha(len(arrivals))[lag], 0))
    weight = torch.tensor(weights, requires_grad=True)
    out, _ = run((torch.tensor(arrivals) @ weight)[:, None], "none")
    loss = 0.5 * DT_S * (matrix @ (out[:, 0] - torch.tensor(target))).pow(2).sum()
    loss.backward()
    np.testing.assert_allclose(weight.grad, rule, rtol=1e-12, atol=1e-12 * np.abs(rule).max())


def test_reset_gradients_against_the_chain_rule_by_hand():
    """Three steps without refractoriness; the second one fires."""
    parameters = LIFParameters(refractory_s=0)
    coefficients = lif_coefficients(parameters, DT_S)
    decay, gain = coefficients.membrane_decay, coefficients.current_gain
    start = torch.tensor([[-51e-3]], dtype=torch.float64)
    push = torch.tensor([[2.5e-3]], dtype=torch.float64) / gain
    nothing, zeros = torch.zeros_like(start), torch.zeros((1, 1), dtype=torch.int64)
    first = -60e-3 + 9e-3 * decay + 2.5e-3
    assert first > -50e-3
    slope = float(SURROGATE.derivative(first + 50e-3))
    for mode, expected in {
        "full": -slope * (first + 60e-3) * decay * decay,
        "detached": 0.0,
        "none": decay * decay,
    }.items():
        voltage = start.clone().requires_grad_()
        state = LIFState(voltage, push, zeros)
        fired, state = lif_step(nothing, state, coefficients, parameters, SURROGATE, mode)
        assert fired.item() == 1
        after, _ = li_step(nothing, state, coefficients, parameters.rest_v)
        (gradient,) = torch.autograd.grad(after.sum(), voltage)
        assert gradient.item() == pytest.approx(expected, rel=1e-12)


def test_a_held_neuron_passes_gradient_only_without_reset():
    start = torch.full((1, 1), -60e-3, dtype=torch.float64)
    for mode, expected in {"full": 0.0, "detached": 0.0, "none": COEFFICIENTS[0]}.items():
        voltage = start.clone().requires_grad_()
        state = LIFState(voltage, torch.zeros_like(start), torch.ones((1, 1), dtype=torch.int64))
        _, state = lif_step(start * 0, state, COEFFICIENTS, PARAMETERS, SURROGATE, mode)
        gradient = torch.autograd.grad(state.voltage_v.sum(), voltage, allow_unused=True)[0]
        assert (0.0 if gradient is None else gradient.item()) == pytest.approx(expected)


def test_the_state_given_is_not_changed(case):
    arrivals, weights = case
    state = resting_state(PARAMETERS, (1, 4), torch.zeros(1, dtype=torch.float64))
    before = [value.clone() for value in state]
    lif_step(torch.tensor(arrivals[:1] @ weights), state, COEFFICIENTS, PARAMETERS, SURROGATE)
    assert all(torch.equal(one, other) for one, other in zip(before, state, strict=True))


def test_an_unknown_reset_gradient_is_refused():
    with pytest.raises(OptionError, match="full, detached, none"):
        run(torch.zeros(1, 1, 1), "some")
