"""Van Rossum distances against integrals by quadrature, finite differences and filtered rasters."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from neuromodels.analysis.spike_trains.van_rossum import (
    superspike_cost,
    van_rossum_distance,
    van_rossum_distances,
    van_rossum_gradient,
    van_rossum_matrix,
)
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.sample.superspike import superspike_task
from neuromodels.datasets.spike_trains import SpikeTrains, sorted_trains, trains_of_lists
from neuromodels.options import OptionError
from neuromodels.spiking.kernels import error_kernel

RISE, DECAY = 5e-3, 10e-3
KERNELS = ["double-exponential", "exponential"]


def pulse(t, kernel, rise=RISE, decay=DECAY):
    """The kernel, and the factor before the integral of the squared difference, from the papers."""
    after = np.maximum(t, 0.0)
    if kernel == "exponential":
        return np.where(t >= 0, np.exp(-after / decay), 0.0), 1 / decay
    value = (np.exp(-after / decay) - np.exp(-after / rise)) / (decay - rise)
    return np.where(t >= 0, value, 0.0), 0.5


def by_quadrature(a, b, kernel, stop=None, **tau):
    """D² by numerical integration from spike to spike."""

    def square(t):
        up, factor = pulse(t - np.asarray(a), kernel, **tau)
        down, _ = pulse(t - np.asarray(b), kernel, **tau)
        return factor * (up.sum() - down.sum()) ** 2

    stop = max([*a, *b]) + 1.0 if stop is None else stop
    edges = sorted({*a, *b, max([*a, *b]) + 0.05, stop})
    edges = [edge for edge in edges if edge <= stop]
    pieces = zip(edges[:-1], edges[1:], strict=True)
    return sum(quad(square, p, q - 1e-13, epsabs=1e-11, epsrel=1e-11)[0] for p, q in pieces)


def two_trains(seed, n=7, m=5):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 0.1, n), rng.uniform(0, 0.1, m)


@pytest.mark.parametrize("apart", [0.0, 1e-3, 7e-3, 50e-3, 2.0])
def test_two_single_spikes_have_the_closed_form_of_the_papers(apart):
    def overlap(s):
        square = 2 * (DECAY**2 - RISE**2)
        return (DECAY * math.exp(-s / DECAY) - RISE * math.exp(-s / RISE)) / square

    loss = van_rossum_distance([0.1], [0.1 + apart], squared=True)
    assert loss == pytest.approx(overlap(0) - overlap(apart), rel=1e-9)
    classical = van_rossum_distance([0.1], [0.1 + apart], kernel="exponential", squared=True)
    assert classical == pytest.approx(1 - math.exp(-apart / DECAY), rel=1e-9)


def test_a_spike_without_partner_costs_half_in_the_classical_distance_and_a_quarter_tau_in_ours():
    classical = van_rossum_distance([0.3], [], kernel="exponential", squared=True)
    assert classical == pytest.approx(0.5, rel=1e-14)
    loss = van_rossum_distance([], [0.3], squared=True)
    assert loss == pytest.approx(1 / (4 * (RISE + DECAY)), rel=1e-14)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stop", [None, 0.045, 0.12])
def test_is_the_integral_of_the_squared_difference(kernel, stop):
    a, b = two_trains(1)
    tau = {"rise": 3e-3, "decay": 17e-3}
    square = van_rossum_distance(a, b, 3e-3, 17e-3, kernel, stop_s=stop, squared=True)
    assert square == pytest.approx(by_quadrature(a, b, kernel, stop, **tau), rel=1e-7)
    root = van_rossum_distance(a, b, 3e-3, 17e-3, kernel, stop_s=stop)
    assert root == pytest.approx(math.sqrt(square), rel=1e-14)


def test_the_infinite_integral_is_that_up_to_a_late_end():
    a, b = two_trains(2)
    assert van_rossum_distance(a, b) == pytest.approx(van_rossum_distance(a, b, stop_s=5.0), 1e-13)


def test_trains_that_differ_by_a_nanosecond_keep_eight_digits():
    # D² = Δ² / (4 τ_r τ_d (τ_r + τ_d)) for small Δ; a difference of pair sums would give 0.
    apart = (0.1 + 1e-9) - 0.1
    expected = apart**2 / (4 * RISE * DECAY * (RISE + DECAY))
    loss = van_rossum_distance([0.1, 0.2], [0.1 + 1e-9, 0.2], squared=True)
    assert loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stop", [None, 0.06])
def test_the_gradient_is_that_of_finite_differences(kernel, stop):
    a, b = two_trains(3)
    found = van_rossum_gradient(a, b, kernel=kernel, stop_s=stop)
    assert np.any(np.diff(a) < 0)  # the order of the spikes given is kept
    for i in range(len(a)):
        step = np.zeros(len(a))
        step[i] = 1e-7
        up, down = (
            van_rossum_distance(a + side * step, b, kernel=kernel, stop_s=stop, squared=True)
            for side in (1, -1)
        )
        assert found[i] == pytest.approx((up - down) / 2e-7, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_gradient_vanishes_between_equal_trains_and_without_others(kernel):
    a, _ = two_trains(4)
    assert van_rossum_gradient(a, a, kernel=kernel) == pytest.approx(0, abs=1e-10)
    assert van_rossum_gradient([0.2], [], kernel=kernel).tolist() == [0.0]
    assert van_rossum_gradient([], a, kernel=kernel).shape == (0,)


def test_descending_the_gradient_brings_spikes_onto_the_target():
    spikes, target = np.array([0.021, 0.058]), np.array([0.020, 0.060])
    for _ in range(300):
        spikes = spikes - 1e-7 * van_rossum_gradient(spikes, target)
    assert spikes == pytest.approx(target, abs=1e-6)


times = st.lists(st.floats(0, 0.2), max_size=6)


@given(times, times, times, st.sampled_from(KERNELS))
def test_is_a_metric(a, b, c, kernel):
    def distance(x, y):
        return van_rossum_distance(x, y, kernel=kernel)

    assert distance(a, a) == 0
    assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-9, abs=1e-9)
    assert distance(a, c) <= distance(a, b) + distance(b, c) + 1e-9
    if distance(a, b) == 0:
        assert sorted(a) == pytest.approx(sorted(b), abs=1e-12)


def test_permuting_neurons_permutes_distances_and_each_is_that_of_its_trains():
    rng = np.random.default_rng(5)
    a, b = ([rng.uniform(0, 1, rng.integers(0, 30)) for _ in range(6)] for _ in range(2))
    order = rng.permutation(6)
    trains_a, trains_b = (trains_of_lists([np.sort(t) for t in x], 1.0) for x in (a, b))
    found = van_rossum_distances(trains_a, trains_b)
    assert found == pytest.approx(
        [van_rossum_distance(x, y) for x, y in zip(a, b, strict=True)], rel=1e-14
    )
    permuted = van_rossum_distances(trains_a.select(order), trains_b.select(order))
    assert np.array_equal(permuted, found[order])


def test_the_matrix_holds_the_distances_of_all_pairs():
    trains = [np.random.default_rng(i).uniform(0, 1, 3 * i) for i in range(4)]
    matrix = van_rossum_matrix(trains, kernel="exponential")
    pairs = [[van_rossum_distance(a, b, kernel="exponential") for b in trains] for a in trains]
    assert matrix == pytest.approx(np.array(pairs), rel=1e-12)
    assert np.array_equal(matrix, matrix.T)
    assert van_rossum_matrix([]).shape == (0, 0)


@pytest.mark.parametrize("method", ["exact", "euler"])
@pytest.mark.parametrize("repeats", [True, False])
def test_the_cost_is_that_of_filtered_rasters(method, repeats):
    rng = np.random.default_rng(6)
    n, n_steps, dt, rise, decay = 4, 700, 2e-4, 2e-3, 15e-3
    signal, trains = np.zeros((n_steps, n)), []
    for sign in (1, -1):
        steps, neurons = rng.integers(0, n_steps, 40), rng.integers(0, n, 40)
        np.add.at(signal, (steps, neurons), sign)
        trains.append(sorted_trains((steps + 0.5) * dt, neurons, n, n_steps * dt))
    error = error_kernel(rise, decay, dt, method).filter(np.tile(signal, (12, 1)))
    lap = error[-n_steps:] if repeats else error[:n_steps]
    tau = {"tau_rise_s": rise, "tau_decay_s": decay}
    found = superspike_cost(*trains, n_steps * dt, dt, method, repeats=repeats, **tau)
    assert found == pytest.approx(0.12 * np.mean(lap**2), rel=1e-9)


@pytest.mark.parametrize(("method", "cost"), [("euler", 210.66), ("exact", 210.21)])
def test_a_silent_network_costs_what_the_demo_prints_for_oxford(method, cost):
    # The specification's reference: demo ids, second loop of 18,899 steps onward.
    target = superspike_task("oxford", ids="demo").target
    silent = SpikeTrains([], [], 200, target.duration)
    assert superspike_cost(silent, target, 1.8899, 1e-4, method) == pytest.approx(cost, abs=0.005)


@pytest.mark.parametrize(("method", "cost"), [("euler", 4.03), ("exact", 4.00)])
def test_one_unmatched_spike_per_second_costs_four(method, cost):
    one, none = SpikeTrains([0.5], [0], 1, 1.0), SpikeTrains([], [], 1, 1.0)
    assert superspike_cost(none, one, 1.0, 1e-4, method) == pytest.approx(cost, abs=0.005)
    assert superspike_cost(one, none, 1.0, 1e-4, method) == pytest.approx(cost, abs=0.005)


def test_cost_and_loss_are_one_quantity_in_two_units():
    task = superspike_task("single")
    silent = SpikeTrains([], [], 1, task.duration)
    cost = superspike_cost(silent, task.target, 0.5, 1e-5, repeats=False)
    (loss,) = van_rossum_distances(silent, task.target, stop_s=0.5, squared=True)
    assert cost == pytest.approx(0.24 * loss / 0.5, rel=1e-3)  # steps of 10 us


def test_refuses_what_it_cannot_compare():
    with pytest.raises(InputError, match="spike time 1 is nan"):
        van_rossum_distance([0.1, np.nan], [])
    with pytest.raises(InputError, match=r"shape \(1, 1\)"):
        van_rossum_gradient([[0.1]], [])
    with pytest.raises(OptionError, match="both"):
        van_rossum_distance([], [], 5e-3, 5e-3)
    with pytest.raises(OptionError, match="positive"):
        van_rossum_distance([], [], tau_decay_s=-1.0, kernel="exponential")
    with pytest.raises(OptionError, match="no kernel 'gauss'"):
        van_rossum_distance([], [], kernel="gauss")
    with pytest.raises(OptionError, match="no number"):
        van_rossum_distance([], [], stop_s=math.nan)
    one, two = (SpikeTrains([], [], n, 1.0) for n in (1, 2))
    with pytest.raises(InputError, match="1 neurons against 2"):
        van_rossum_distances(one, two)
    with pytest.raises(InputError, match="after step"):
        superspike_cost(SpikeTrains([0.9], [0], 1, 1.0), one, 0.5)
    with pytest.raises(OptionError, match="0 s"):
        superspike_cost(one, one, 0.0)
