"""Offset and drift between two clocks are found from pulses, also where pulses are missing."""

import numpy as np
import pytest

from neuromodels.datasets.clocks import align_clocks, to_clock
from neuromodels.datasets.errors import InputError


def two_clocks(n=1800, drift=1e-4, offset=12.3, *, missing=0.02, jitter=1e-4, spread=1.0, seed=0):
    """Pulses about once per second; which of them each clock saw, and the true numbers."""
    rng = np.random.default_rng(seed)
    true = np.cumsum(1 + spread * rng.random(n))
    seen_a, seen_b = rng.random(n) >= missing, rng.random(n) >= missing
    on_b = offset + (1 + drift) * true + rng.normal(0, jitter, n)
    return true[seen_a], on_b[seen_b], np.flatnonzero(seen_a), np.flatnonzero(seen_b)


@pytest.mark.parametrize("drift", [1e-4, -1e-4, 0.0])
@pytest.mark.parametrize("missing", [0.0, 0.02, 0.2])
def test_a_drift_of_100_ppm_is_recovered_with_pulses_missing_on_both_sides(drift, missing):
    a, b, numbers_a, numbers_b = two_clocks(drift=drift, missing=missing, seed=3)
    clock = align_clocks(a, b)
    # 0.1 ms of jitter over an hour of pulses leaves far less than 1 ppm and 0.1 ms.
    assert clock.drift == pytest.approx(drift, abs=2e-8)
    assert clock.offset == pytest.approx(12.3, abs=1e-4)
    np.testing.assert_array_equal(numbers_a[clock.matched_a], numbers_b[clock.matched_b])
    assert clock.matched_a.size == np.intersect1d(numbers_a, numbers_b).size
    assert clock.residual_rms < 1.5e-4
    moment = np.array([0.0, 1000.0])
    np.testing.assert_allclose(to_clock(moment, clock), 12.3 + (1 + drift) * moment, atol=1e-4)


def test_a_recording_that_began_later_is_aligned():
    a, b, numbers_a, numbers_b = two_clocks(seed=1)
    clock = align_clocks(a, b[700:])
    np.testing.assert_array_equal(numbers_a[clock.matched_a], numbers_b[700:][clock.matched_b])
    assert clock.drift == pytest.approx(1e-4, abs=5e-8)
    assert "have no partner" in clock.words()


def test_regular_pulses_in_equal_number_are_matched_one_to_one():
    a = np.arange(600.0)
    b = 5 + a * (1 - 5e-5) + np.random.default_rng(0).normal(0, 1e-4, 600)
    clock = align_clocks(a, b)
    assert clock.matched_a.size == 600
    assert clock.drift == pytest.approx(-5e-5, abs=1e-7)
    assert clock.offset == pytest.approx(5, abs=1e-4)


def test_regular_pulses_of_which_some_are_missing_are_refused_not_guessed():
    a = np.arange(600.0)
    with pytest.raises(InputError, match="too regular to tell which are missing"):
        align_clocks(a, a[:-7] + 3)


def test_outliers_do_not_pull_the_line():
    a, b, *_ = two_clocks(missing=0.0)
    b[::50] += 0.02  # late, by far more than the jitter
    clock = align_clocks(a, b)
    assert clock.drift == pytest.approx(1e-4, abs=1e-7)
    assert clock.offset == pytest.approx(12.3, abs=2e-4)
    assert clock.n_outliers >= 36


@pytest.mark.parametrize("n", [10, 30, 100, 1000])
def test_pulses_that_have_nothing_in_common_do_not_match(n):
    rng = np.random.default_rng(n)
    with pytest.raises(InputError, match="do not match"):
        align_clocks(np.cumsum(rng.random(n) + 0.1), np.cumsum(rng.random(n + 3) + 0.1))


@pytest.mark.parametrize(
    "times", [[1.0, 2.0], [1.0, np.nan, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0], ["a", "b", "c"]]
)
def test_bad_pulses_are_named(times):
    with pytest.raises(InputError, match="clock b"):
        align_clocks(np.arange(5.0), times)
