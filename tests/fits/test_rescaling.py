"""Gain and offset refitted to another stimulus."""

from __future__ import annotations

import numpy as np
import pytest

from neuromodels.fits.rescaling import refit_gain_and_offset


def rates(seed=0, n=20_000):
    rng = np.random.default_rng(seed)
    return 0.2 * np.exp(0.8 * rng.normal(size=(n, 3))), rng


def test_known_gain_and_offset_are_found():
    rate, rng = rates()
    gain, offset = np.array([0.5, 1.0, 3.0]), np.array([0.05, 0.2, 0.0])
    found = refit_gain_and_offset(rate, rng.poisson(gain * rate + offset))
    np.testing.assert_allclose(found[0], gain, rtol=0.08)
    np.testing.assert_allclose(found[1], offset, atol=0.015)


def test_at_the_maximum_the_gradient_vanishes_or_points_out_of_bounds():
    rate, rng = rates(1)
    count = rng.poisson(0.7 * rate + 0.1)
    gain, offset = refit_gain_and_offset(rate, count)
    predicted = gain * rate + offset
    np.testing.assert_allclose(predicted.sum(0), count.sum(0), rtol=1e-5)
    np.testing.assert_allclose((count / predicted * rate).sum(0), rate.sum(0), rtol=1e-5)
    falling = rng.poisson(np.maximum(0.3 - 0.1 * rate, 0.01))
    gain, offset = refit_gain_and_offset(rate, falling)
    np.testing.assert_allclose(gain, 0, atol=1e-6)
    np.testing.assert_allclose(offset, falling.mean(0), rtol=1e-5)


def test_units_of_the_prediction_do_not_matter():
    rate, rng = rates(2, 4000)
    count = rng.poisson(rate)
    one, many = refit_gain_and_offset(rate, count), refit_gain_and_offset(1e4 * rate, count)
    np.testing.assert_allclose(many[0] * 1e4, one[0], rtol=1e-9)
    np.testing.assert_allclose(many[1], one[1], rtol=1e-9)


def test_bins_without_a_prediction_are_left_out_and_a_silent_neuron_has_none():
    rate, rng = rates(3, 4000)
    count = rng.poisson(rate)
    count[:, 2] = 0
    padded = np.concatenate([np.full((10, 3), np.nan), rate])
    found = refit_gain_and_offset(padded, np.concatenate([np.full((10, 3), 99), count]))
    np.testing.assert_array_equal(found, refit_gain_and_offset(rate, count))
    assert np.isnan(found[0][2]) and np.isnan(found[1][2])


def test_a_prediction_of_nothing_becomes_the_mean():
    _, rng = rates(4)
    count = rng.poisson(0.3, size=(1000, 1))
    gain, offset = refit_gain_and_offset(np.zeros((1000, 1)), count)
    assert gain[0] == 0
    assert offset[0] == pytest.approx(count.mean())
