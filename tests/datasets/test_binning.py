"""Binning: no spike is lost or moved, whatever the edges."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromodels.datasets.binning import (
    bin_edges,
    bin_intervals,
    bin_spike_times,
    exact_bin_width,
    frames_on_screen,
    group_bins,
)
from neuromodels.datasets.errors import InputError

widths = st.fractions(min_value=Fraction(1, 5000), max_value=Fraction(1, 10), max_denominator=5000)
times = st.lists(st.floats(-0.5, 3.0, allow_nan=False), max_size=60)
starts = st.floats(-0.2, 0.2, allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(times, starts, widths, st.integers(0, 300))
def test_every_spike_is_in_one_bin_or_told_to_be_outside(spikes, start, width, n_bins):
    counts, outside = bin_spike_times([np.array(spikes)], start, width, n_bins)
    assert counts.shape == (n_bins, 1)
    assert int(counts.sum()) + int(outside[0]) == len(spikes)


@settings(max_examples=100, deadline=None)
@given(times, starts, widths, st.integers(1, 12))
def test_wide_bins_are_sums_of_narrow_ones_bit_for_bit(spikes, start, width, k):
    n_wide = 20
    narrow, _ = bin_spike_times([np.array(spikes)], start, width, n_wide * k)
    wide, _ = bin_spike_times([np.array(spikes)], start, width * k, n_wide)
    assert np.array_equal(narrow.reshape(n_wide, k, 1).sum(axis=1), wide)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 2000), st.integers(0, 500))
def test_a_spike_on_an_edge_belongs_to_the_bin_that_starts_there(denominator, i):
    width = Fraction(1, denominator)
    counts, _ = bin_spike_times([np.array([i / denominator])], 0.0, width, 501)
    assert np.flatnonzero(counts[:, 0]).tolist() == [i]


def test_counts_agree_with_a_loop_over_spikes_in_exact_fractions():
    rng = np.random.default_rng(1)
    spikes = np.sort(rng.uniform(0, 2, 400))
    counts, outside = bin_spike_times([spikes], 0.0, Fraction(1, 600), 1000)
    expected = np.zeros(1000, dtype=int)
    for t in spikes:
        i = int(Fraction(float(t)) * 600)
        if i < 1000:
            expected[i] += 1
    assert np.array_equal(counts[:, 0], expected)
    assert outside[0] == 400 - expected.sum()


def test_more_than_255_spikes_in_a_bin_are_counted():
    counts, _ = bin_spike_times([np.full(70_000, 0.5)], 0.0, 1, 1)
    assert counts[0, 0] == 70_000


def test_a_missing_spike_time_is_an_error_that_names_the_neuron():
    with pytest.raises(InputError, match="neuron 1"):
        bin_spike_times([np.array([0.1]), np.array([np.nan])], 0.0, 0.01, 10)


def test_intervals_become_blocks_and_spikes_between_them_are_told():
    spikes = [np.array([0.05, 0.5, 1.05, 1.149]), np.array([])]
    counts, time, block, outside = bin_intervals(spikes, [(0.0, 0.1), (1.0, 1.155)], 0.01)
    assert block.tolist() == [0] * 10 + [1] * 15
    assert time[10] == 1.0
    assert counts.sum(axis=0).tolist() == [3, 0]
    assert outside.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("given_width", "exact"),
    [
        (0.01, (1, 100)),
        (1 / 600, (1, 600)),
        ("1/600", (1, 600)),
        (1, (1, 1)),
        (0.0083, (83, 10000)),
    ],
)
def test_a_bin_width_means_the_fraction_that_was_meant(given_width, exact):
    assert exact_bin_width(given_width) == Fraction(*exact)


@pytest.mark.parametrize("wrong", [0, -0.01, float("nan"), float("inf"), "ten", True, None])
def test_a_bin_width_that_is_no_positive_number_is_refused(wrong):
    with pytest.raises(InputError, match="bin_width"):
        exact_bin_width(wrong)


def test_edges_of_an_hour_carry_no_accumulated_rounding():
    edges = bin_edges(0.0, Fraction(1, 600), 600 * 3600)
    assert edges[-1] == 3600.0
    assert edges[600 * 1234] == 1234.0


def test_a_bin_shows_the_frame_at_its_centre_also_when_frames_are_dropped():
    onsets = np.array([0.0, 0.016, 0.048])  # the frame due at 0.032 was dropped
    shown = frames_on_screen(onsets, np.arange(8) * 0.01, 0.01)
    # Centres 5, 15, 25, ... ms; the last frame stays for the median interval of 24 ms.
    assert shown.tolist() == [0, 0, 1, 1, 1, 2, 2, -1]


def test_before_the_first_frame_and_in_a_pause_nothing_is_on_screen():
    onsets = np.array([0.02, 0.03, 0.10, 0.11])
    shown = frames_on_screen(onsets, np.arange(13) * 0.01, 0.01, hold=0.02)
    assert shown.tolist() == [-1, -1, 0, 1, 1, -1, -1, -1, -1, -1, 2, 3, -1]


def test_grouping_sums_in_a_type_that_cannot_overflow():
    counts = np.full((8, 1), 200, dtype=np.uint8)
    assert group_bins(counts, 2, 4, 0, "sum").tolist() == [[800], [800]]


def test_grouping_makes_a_bin_missing_where_a_part_of_it_is():
    counts = np.array([[1.0], [np.nan], [1.0], [2.0]], dtype=np.float32)
    joined = group_bins(counts, 2, 2, 0, "sum")
    assert np.isnan(joined[0, 0])
    assert joined[1, 0] == 3
