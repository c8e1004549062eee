"""RMaxProp: bounded steps, at a rate that forgets slowly and ignores the gradient's unit."""

import math

import numpy as np
import pytest

from neuromodels.fits.superspike.rmaxprop import RMaxProp
from neuromodels.options import OptionError


def gradients(n=12, seed=0, shape=(6, 4)):
    """Heavy-tailed, so that single gradients stand out."""
    rng = np.random.default_rng(seed)
    return rng.standard_t(2, size=(n, *shape)) * np.exp(3 * rng.normal(size=shape))


def run(rule, found, rate_v=1e-3, weights=None):
    weights = np.zeros(found[0].shape) if weights is None else weights
    history = [weights]
    for gradient in found:
        history.append(rule.step(history[-1], gradient, rate_v))
    return np.array(history)


def test_the_update_is_the_published_one_written_with_squares():
    rule = RMaxProp((6, 4), update_s=0.5, tau_rms_s=3.0, epsilon=1e-3, bounds_v=(-1e-3, 2e-3))
    v, weights = np.zeros((6, 4)), np.zeros((6, 4))
    for gradient, found in zip(gradients(), run(rule, gradients())[1:], strict=True):
        v = np.maximum(math.exp(-0.5 / 3.0) * v, gradient**2)
        weights = np.clip(weights - 1e-3 / (np.sqrt(v) + 1e-3) * gradient, -1e-3, 2e-3)
        assert np.abs(found - weights).max() < 1e-15
    assert weights.max() == 2e-3  # both bounds were met
    assert weights.min() == -1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e15])
def test_no_weight_moves_by_more_than_the_rate_however_large_the_gradient(dtype, size):
    found = (size * gradients()).astype(dtype)
    moved = np.diff(run(RMaxProp((6, 4), dtype=dtype), found, 1e-3), axis=0)
    assert np.abs(moved).max() <= 1e-3 * (1 + 1e-5)


def test_the_first_step_has_the_size_of_the_rate():
    moved = run(RMaxProp((6, 4)), gradients(1))[-1]
    assert np.allclose(moved, -1e-3 * np.sign(gradients(1)[0]), rtol=1e-9)


@pytest.mark.parametrize("factor", [1e-8, 1e3, 1e8])
def test_a_constant_factor_of_the_gradient_cancels(factor):
    plain = run(RMaxProp((6, 4), epsilon=0.0), gradients())
    scaled = run(RMaxProp((6, 4), epsilon=0.0), factor * gradients())
    assert np.abs(plain - scaled).max() < 1e-15


def test_small_gradients_are_not_lost_in_single_precision():
    found = gradients().astype(np.float32)
    plain = run(RMaxProp((6, 4), epsilon=0.0, dtype=np.float32), found)
    # The squares of these lie below the smallest number of single precision.
    tiny = run(RMaxProp((6, 4), epsilon=0.0, dtype=np.float32), np.float32(2.0**-90) * found)
    assert np.abs(plain - tiny).max() < 1e-9


def test_a_large_gradient_is_forgotten_over_the_time_constant():
    rule = RMaxProp((1, 1), update_s=0.5, tau_rms_s=2.0)
    rule.step(np.zeros((1, 1)), np.full((1, 1), 100.0), 1e-3)
    for _ in range(8):
        rule.step(np.zeros((1, 1)), np.full((1, 1), 1e-3), 1e-3)
    assert rule.peak[0, 0] ** 2 == pytest.approx(1e4 * math.exp(-4.0 / 2.0), rel=1e-12)


def test_burn_in_updates_the_peak_and_no_weight():
    burnt, plain = RMaxProp((6, 4)), RMaxProp((6, 4))
    weights = np.full((6, 4), 0.01)
    for gradient in gradients():
        assert np.array_equal(burnt.step(weights, gradient, 1e-3, learn=False), weights)
        plain.step(weights, gradient, 1e-3)
    assert np.array_equal(burnt.peak, plain.peak)


def test_a_synapse_without_any_gradient_keeps_its_weight_even_without_epsilon():
    weights = np.full((2, 2), 0.01)
    with np.errstate(all="raise"):
        found = RMaxProp((2, 2), epsilon=0.0).step(weights, np.zeros((2, 2)), 1e-3)
    assert np.array_equal(found, weights)


def test_a_peak_from_the_engine_takes_the_place_of_its_own():
    gradient, peak = gradients(1)[0], np.abs(gradients(1, seed=1)[0]) + 10
    found = RMaxProp((6, 4), epsilon=0.0).step(np.zeros((6, 4)), gradient, 1e-3, peak=peak)
    assert np.allclose(found, np.clip(-1e-3 * gradient / peak, -0.1, 0.1), rtol=1e-12)


def test_weights_given_are_not_changed():
    weights = np.full((6, 4), 0.01)
    RMaxProp((6, 4)).step(weights, gradients(1)[0], 1e-3)
    assert (weights == 0.01).all()


def test_a_restored_rule_goes_on_as_before():
    rule, other = RMaxProp((6, 4)), RMaxProp((6, 4))
    history = run(rule, gradients())
    other.restore(rule.state())
    more = gradients(5, seed=2)
    assert np.array_equal(
        run(rule, more, weights=history[-1]), run(other, more, weights=history[-1])
    )


@pytest.mark.parametrize(
    "option",
    [
        {"update_s": 0.0},
        {"tau_rms_s": -1.0},
        {"tau_rms_s": math.nan},
        {"epsilon": -1e-12},
        {"bounds_v": (0.1, -0.1)},
    ],
)
def test_options_without_meaning_are_refused(option):
    with pytest.raises(OptionError, match=next(iter(option))):
        RMaxProp((2, 2), **option)
