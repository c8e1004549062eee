"""Constants of neurons: exact propagators, and refusals in words."""

import math

import numpy as np
import pytest
from scipy.linalg import expm

from neuromodels.options import OptionError
from neuromodels.spiking.neurons import LIFParameters, lif_coefficients, whole_steps


@pytest.mark.parametrize(
    ("tau_mem_s", "tau_syn_s", "dt_s"),
    [(10e-3, 5e-3, 1e-4), (10e-3, 5e-3, 1e-3), (5e-3, 20e-3, 1e-4), (20e-3, 2e-3, 5e-4)],
)
def test_exact_coefficients_are_the_matrix_exponential(tau_mem_s, tau_syn_s, dt_s):
    rates = np.array([[-1 / tau_mem_s, 1 / tau_mem_s], [0, -1 / tau_syn_s]])
    (membrane, gain), (zero, synapse) = expm(dt_s * rates)
    found = lif_coefficients(LIFParameters(tau_mem_s, tau_syn_s), dt_s)
    assert zero == 0
    assert found[:3] == pytest.approx((membrane, gain, synapse), rel=1e-11)


def test_euler_coefficients_are_the_first_order_of_each_equation():
    found = lif_coefficients(LIFParameters(), 1e-3, membrane="euler", synapse="euler")
    assert found == pytest.approx((0.9, 0.1, 0.8, 5))
    mixed = lif_coefficients(LIFParameters(), 1e-3, membrane="euler")
    assert mixed == pytest.approx((0.9, 0.1, math.exp(-0.2), 5))


def test_5_ms_of_refractoriness_are_50_steps():
    assert lif_coefficients(LIFParameters(), 1e-4).refractory_steps == 50


def test_the_gap_is_the_distance_from_rest_to_threshold():
    assert LIFParameters().gap_v == pytest.approx(10e-3)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"threshold_v": -70e-3}, "threshold_v = -0.07 V"),
        ({"threshold_v": math.nan}, "threshold_v"),
        ({"refractory_s": -1e-3}, "refractory_s"),
        ({"tau_mem_s": 0.0}, "tau_mem_s"),
        ({"tau_syn_s": math.inf}, "tau_syn_s"),
        ({"tau_mem_s": 5e-3}, "tau_syn_s and tau_mem_s are both 0.005 s"),
    ],
)
def test_constants_that_make_no_neuron_are_refused(values, named):
    with pytest.raises(OptionError, match=named):
        LIFParameters(**values)


@pytest.mark.parametrize("dt_s", [0.0, -1e-4, math.nan, 3e-3, 0.1])
def test_a_step_that_the_time_constants_do_not_allow_is_refused(dt_s):
    with pytest.raises(OptionError, match="dt_s"):
        lif_coefficients(LIFParameters(), dt_s)


def test_durations_are_whole_steps_despite_rounding():
    assert whole_steps(0.3, 0.1, "delay_s") == 3
    assert whole_steps(0.8e-3, 1e-4, "delay_s") == 8
    assert whole_steps(0.0, 1e-4, "delay_s") == 0
    assert whole_steps(1000.0, 1e-4, "duration_s") == 10_000_000


@pytest.mark.parametrize("seconds", [0.85e-3, -1e-4, 1e-6])
def test_a_duration_that_is_no_whole_number_of_steps_is_refused(seconds):
    with pytest.raises(OptionError, match="delay_s"):
        whole_steps(seconds, 1e-4, "delay_s")


def test_refractoriness_that_is_no_whole_number_of_steps_is_refused():
    with pytest.raises(OptionError, match="refractory_s"):
        lif_coefficients(LIFParameters(refractory_s=5.03e-3), 1e-4)
