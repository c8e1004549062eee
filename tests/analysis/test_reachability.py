"""Targets inside the refractory period, against the specification's counts and brute force."""

import itertools

import numpy as np
import pytest

from neuromodels.analysis.spike_trains.reachability import reachability
from neuromodels.analysis.spike_trains.van_rossum import superspike_cost
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.sample.superspike import superspike_task
from neuromodels.datasets.spike_trains import SpikeTrains, trains_of_steps
from neuromodels.options import OptionError


def test_oxford_has_the_counts_and_the_greedy_cost_of_the_specification():
    target = superspike_task("oxford", ids="demo").target
    report = reachability(target, loop_steps=18_899, method="euler")
    assert (report.unreachable.sum(), report.targets.sum()) == (502, 10_357)
    assert report.greedy_cost == pytest.approx(5.6, abs=0.05)
    assert report.silent_cost == pytest.approx(210.66, abs=0.005)
    assert str(report).startswith(
        "502 of 10,357 target spikes (4.8%) cannot be hit in their own step"
    )
    assert "every 51 steps of 0.1 ms" in str(report)
    assert "costs 5.61 (a silent network 210.7)" in str(report)
    # Were the held steps one fewer, the next spike could come 50 steps later.
    assert reachability(target, 4.9e-3, loop_steps=18_899).unreachable.sum() == 492


def test_the_greedy_answer_hits_as_many_targets_as_any_answer_can():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        steps = np.sort(rng.integers(0, 60, 9))
        report = reachability(trains_of_steps(steps, np.zeros(9, int), 1, 1e-3, 60), 7e-3, 1e-3)
        most = max(
            size
            for size in range(10)
            for chosen in itertools.combinations(steps, size)
            if np.all(np.diff(chosen) >= 8)
        )
        assert report.unreachable.tolist() == [9 - most]
        assert len(report.greedy) == most
        hit, _ = report.greedy.steps(1e-3)
        assert set(hit) <= set(steps)
        assert np.all(np.diff(hit) >= 8)


def test_the_next_spike_comes_one_step_after_the_refractory_period():
    for later, lost in ((50, 1), (51, 0)):
        target = trains_of_steps([100, 100 + later], [0, 0], 1, 1e-4, 1000)
        assert reachability(target).unreachable.tolist() == [lost]
    # Floor grid: 5.05 ms are 51 steps here, and 50 there.
    for start, lost in ((0.01005, 0), (0.0100, 1)):
        target = SpikeTrains([start, start + 0.00505], [0, 0], 1, 0.1)
        assert reachability(target).unreachable.tolist() == [lost]


def test_spikes_of_one_step_are_counted_apart_and_per_neuron():
    steps, neurons = [10, 10, 400, 10, 700, 700, 700], [0, 0, 0, 1, 2, 2, 2]
    report = reachability(trains_of_steps(steps, neurons, 4, 1e-4, 1000))
    assert report.targets.tolist() == [3, 1, 3, 0]
    assert report.doubled.tolist() == [1, 0, 2, 0]
    assert report.unreachable.tolist() == [1, 0, 2, 0]
    assert "In the same step as another of the same neuron: 3." in str(report)
    assert "Neurons without any target spike: 1." in str(report)


def test_a_target_that_can_be_hit_costs_nothing_and_permuting_neurons_permutes_the_report():
    target = superspike_task("single").target
    report = reachability(target)
    assert report.unreachable.sum() == 0
    assert report.greedy_cost == 0
    assert str(report).startswith("All 5 target spikes can be hit in their own step")
    oxford = superspike_task("oxford").target
    order = np.random.default_rng(1).permutation(oxford.n_neurons)
    found, permuted = reachability(oxford), reachability(oxford.select(order))
    assert np.array_equal(permuted.unreachable, found.unreachable[order])
    assert permuted.greedy_cost == pytest.approx(found.greedy_cost, rel=1e-12)


def test_the_greedy_cost_is_that_of_its_answer_with_the_kernel_and_loop_given():
    target = trains_of_steps([10, 30, 950], [0, 0, 0], 1, 1e-4, 1000)
    kernel = {"method": "euler", "tau_rise_s": 2e-3, "tau_decay_s": 15e-3}
    report = reachability(target, loop_steps=1200, **kernel)
    best = trains_of_steps([10, 950], [0, 0], 1, 1e-4, 1200)
    assert np.array_equal(report.greedy.times, best.times)
    assert report.greedy_cost == superspike_cost(best, target, 0.12, 1e-4, **kernel)
    silent = SpikeTrains([], [], 1, 0.12)
    assert report.silent_cost == superspike_cost(silent, target, 0.12, 1e-4, **kernel)


def test_refuses_what_it_cannot_judge():
    target = SpikeTrains([0.05], [0], 1, 0.1)
    with pytest.raises(InputError, match="no target spikes"):
        reachability(SpikeTrains([], [], 3, 1.0))
    with pytest.raises(OptionError, match=r"refractory_s = 0.00505 s is no whole number of steps"):
        reachability(target, 5.05e-3)
    with pytest.raises(OptionError, match="at least 1"):
        reachability(target, loop_steps=0)
    with pytest.raises(InputError, match="after step 399"):
        reachability(target, loop_steps=400)


def test_an_answer_that_spreads_a_doublet_costs_less_than_the_greedy_one():
    target = trains_of_steps([1000, 1020], [0, 0], 1, 1e-4, 5000)
    report = reachability(target)
    assert report.unreachable.tolist() == [1]
    # 51 steps apart, around the middle of the two.
    spread = trains_of_steps([985, 1036], [0, 0], 1, 1e-4, 5000)
    assert superspike_cost(spread, target, 0.5) < 0.1 * report.greedy_cost
