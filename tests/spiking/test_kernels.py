"""Double-exponential kernels: closed forms, and the neuron's own response."""

import numpy as np
import pytest
from scipy.integrate import quad

from neuromodels.options import OptionError
from neuromodels.spiking.kernels import error_kernel, psp_kernel
from neuromodels.spiking.neurons import LIFParameters, lif_coefficients

DT = 1e-4


def test_alpha_is_the_sampled_double_exponential():
    times = DT * np.arange(2000)
    expected = (np.exp(-times / 10e-3) - np.exp(-times / 5e-3)) / 5e-3
    assert np.abs(error_kernel(5e-3, 10e-3, DT)(2000) - expected).max() < 1e-11


def test_alpha_has_unit_area_and_starts_at_zero():
    area, _ = quad(lambda t: (np.exp(-t / 10e-3) - np.exp(-t / 5e-3)) / 5e-3, 0, 0.5)
    assert area == pytest.approx(1.0)
    values = error_kernel(5e-3, 10e-3, DT)(20000)
    assert values[0] == 0
    assert DT * values.sum() == pytest.approx(1.0, rel=1e-4)


def test_alpha_stepped_by_euler_has_unit_area_to_rounding():
    # Σ (1 − dt/τ)^n = τ/dt: the discrete areas are those of the continuous exponentials.
    values = error_kernel(5e-3, 10e-3, DT, "euler")(20000)
    assert DT * values.sum() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("membrane", ["exact", "euler"])
@pytest.mark.parametrize("synapse", ["exact", "euler"])
def test_the_psp_kernel_is_what_a_stepped_neuron_answers_to_a_unit_weight(membrane, synapse):
    decay, gain, left, _ = coefficients = lif_coefficients(
        LIFParameters(7e-3, 3e-3), DT, membrane=membrane, synapse=synapse
    )
    voltage, current, answer = 0.0, 1.0, [0.0]  # the spike arrives at step 0
    for _ in range(999):
        voltage, current = decay * voltage + gain * current, left * current
        answer.append(voltage)
    assert np.abs(psp_kernel(coefficients)(1000) - answer).max() < 1e-13


@pytest.mark.parametrize("shape", [(500,), (500, 3), (500, 2, 3)])
def test_filtering_is_convolution_along_time(shape):
    signal = np.random.default_rng(0).normal(size=shape)
    kernel = error_kernel(5e-3, 10e-3, DT)
    flat = signal.reshape(500, -1)
    expected = np.stack([np.convolve(column, kernel(500))[:500] for column in flat.T], 1)
    found = kernel.filter(signal)
    assert np.abs(found - expected.reshape(shape)).max() < 1e-12 * np.abs(expected).max()


def test_the_drive_steps_two_stages_into_the_same_kernel():
    kernel = error_kernel(5e-3, 10e-3, DT)
    first, second, values = 1.0, 0.0, [0.0]
    for _ in range(999):
        second, first = kernel.decay * second + kernel.drive * first, kernel.rise * first
        values.append(second)
    assert np.abs(kernel(1000) - values).max() < 1e-11


@pytest.mark.parametrize("precision", [1e-7, 1e-16])
def test_after_its_memory_two_such_filters_have_decayed_to_about_the_precision(precision):
    kernel = error_kernel(5e-3, 10e-3, DT)
    response = np.convolve(kernel(20000), kernel(20000))[:20000]
    steps = kernel.memory(precision)
    assert np.abs(response[steps:]).max() < 20 * precision * response.max()
    assert np.abs(response[: steps // 2]).max() > precision * response.max()


@pytest.mark.parametrize(
    ("rise", "decay", "dt_s", "named"),
    [
        (5e-3, 5e-3, DT, "tau_rise_s and tau_decay_s"),
        (-5e-3, 10e-3, DT, "tau_rise_s"),
        (5e-3, np.nan, DT, "tau_decay_s"),
        (5e-3, 10e-3, 3e-3, "more than half"),
        (5e-3, 10e-3, 0.0, "dt_s"),
    ],
)
def test_time_constants_and_steps_that_make_no_kernel_are_refused(rise, decay, dt_s, named):
    with pytest.raises(OptionError, match=named):
        error_kernel(rise, decay, dt_s)


def test_an_unknown_integrator_is_refused():
    with pytest.raises(OptionError, match="exact, euler"):
        error_kernel(5e-3, 10e-3, DT, "heun")
