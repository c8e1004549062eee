"""Error signals: the van Rossum filter of mismatched spikes, near and far from the output."""

import numpy as np
import pytest
from spiking_cases import convolved, double_exponential, random_events

from neuromodels.fits.superspike.errors import ErrorFilter, Mismatch
from neuromodels.spiking.kernels import error_kernel

DT, N_STEPS = 1e-4, 2000


def random_mismatch(n_neurons, seed=0):
    rng = np.random.default_rng(seed)
    events = random_events(n_neurons, N_STEPS, 80, rng)
    return Mismatch(*events, rng.choice([-1.0, 1.0], len(events.steps)))


def as_array(mismatch, n_neurons):
    values = np.zeros((N_STEPS, n_neurons))
    np.add.at(values, (mismatch.steps, mismatch.neurons), mismatch.values)
    return values


def cut(mismatch, start, stop):
    a, b = np.searchsorted(mismatch.steps, (start, stop))
    return Mismatch(mismatch.steps[a:b] - start, mismatch.neurons[a:b], mismatch.values[a:b])


def alpha(method="exact"):
    return double_exponential(N_STEPS, 5e-3, 10e-3, DT, method) / 5e-3


@pytest.mark.parametrize("method", ["exact", "euler"])
def test_the_error_is_the_mismatch_filtered_with_alpha(method):
    mismatch = random_mismatch(5)
    found = ErrorFilter(error_kernel(5e-3, 10e-3, DT, method), 5)(mismatch, N_STEPS)
    expected = convolved(as_array(mismatch, 5), alpha(method))
    assert np.abs(found - expected).max() < 1e-12 * np.abs(expected).max()


def test_feedback_before_the_filter_is_feedback_after_it():
    mismatch = random_mismatch(5)
    feedback = np.random.default_rng(1).normal(size=(5, 7))
    found = ErrorFilter(error_kernel(5e-3, 10e-3, DT), 7)(mismatch, N_STEPS, feedback)
    expected = convolved(as_array(mismatch, 5), alpha()) @ feedback
    assert np.abs(found - expected).max() < 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("delay", [0, 1, 8, 300])
@pytest.mark.parametrize("cuts", [(), (500, 637), (1, 2, 2, 7, 1999), range(100, 2000, 100)])
def test_a_delay_moves_the_error_whatever_the_time_is_cut_into(delay, cuts):
    mismatch = random_mismatch(5)
    feedback = np.random.default_rng(1).normal(size=(5, 7))
    errors = ErrorFilter(error_kernel(5e-3, 10e-3, DT), 7, delay)
    found = [
        errors(cut(mismatch, a, b), b - a, feedback)
        for a, b in zip((0, *cuts), (*cuts, N_STEPS), strict=True)
    ]
    expected = np.zeros((N_STEPS, 7))
    expected[delay:] = (convolved(as_array(mismatch, 5), alpha()) @ feedback)[: N_STEPS - delay]
    assert np.abs(np.concatenate(found) - expected).max() < 1e-12 * np.abs(expected).max()


def test_cuts_change_no_bit():
    mismatch = random_mismatch(5)
    whole = ErrorFilter(error_kernel(5e-3, 10e-3, DT), 5)(mismatch, N_STEPS)
    errors = ErrorFilter(error_kernel(5e-3, 10e-3, DT), 5)
    found = [errors(cut(mismatch, a, a + 250), 250) for a in range(0, N_STEPS, 250)]
    assert np.array_equal(np.concatenate(found), whole)


def test_the_mismatch_given_stays_as_it_was():
    mismatch = random_mismatch(5)
    before = [part.copy() for part in mismatch]
    errors = ErrorFilter(error_kernel(5e-3, 10e-3, DT), 5, 8)
    errors(cut(mismatch, 0, 1000), 1000)
    errors(mismatch, N_STEPS)
    assert all(np.array_equal(a, b) for a, b in zip(before, mismatch, strict=True))


def test_an_output_that_hits_its_targets_has_no_error():
    events = random_events(5, N_STEPS, 50, np.random.default_rng(2))
    steps = np.repeat(events.steps, 2)
    values = np.tile([1.0, -1.0], len(events.steps))
    both = Mismatch(steps, np.repeat(events.neurons, 2), values)
    assert not ErrorFilter(error_kernel(5e-3, 10e-3, DT), 5)(both, N_STEPS).any()


@pytest.mark.parametrize(("method", "cost"), [("exact", 4.00), ("euler", 4.03)])
def test_one_unmatched_spike_per_second_costs_what_the_demo_says(method, cost):
    one = Mismatch(np.array([10]), np.array([0]), np.array([1.0]))
    error = ErrorFilter(error_kernel(5e-3, 10e-3, DT, method), 1)(one, N_STEPS)
    # In its unit, 0.12 s² ⟨e²⟩; exact: 0.12 / (2 (τ_r + τ_d)).
    assert 0.12 * DT * (error**2).sum() == pytest.approx(cost, abs=5e-3)


def test_a_restored_filter_goes_on_as_before_with_what_was_under_way():
    mismatch = random_mismatch(5)
    errors, other = (ErrorFilter(error_kernel(5e-3, 10e-3, DT), 5, 400) for _ in range(2))
    errors(cut(mismatch, 0, 900), 900)
    stored = errors.state()
    other.restore(stored)
    rest = cut(mismatch, 900, N_STEPS)
    assert len(stored["late_steps"]) > 0
    assert np.array_equal(errors(rest, 1100), other(rest, 1100))


def test_single_precision_stays_near_double():
    mismatch = random_mismatch(5)
    kernel = error_kernel(5e-3, 10e-3, DT)
    single = ErrorFilter(kernel, 5, dtype=np.float32)(mismatch, N_STEPS)
    double = ErrorFilter(kernel, 5)(mismatch, N_STEPS)
    assert single.dtype == np.float32
    assert np.abs(single - double).max() < 1e-5 * np.abs(double).max()
