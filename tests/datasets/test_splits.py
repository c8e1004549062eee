"""Splits: whole blocks, evenly over the session, nothing shared between parts."""

import json

import numpy as np
import pytest

from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.splits import partition, spread_evenly


def recording(n_bins=6000, n_blocks=1, **options):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(n_blocks) + 100, n_bins // n_blocks)
    return recording_from_arrays(
        rng.random((n_bins, 3)),
        rng.poisson(0.2, (n_bins, 2)),
        bin_width=0.1,
        blocks=labels,
        **options,
    )


def spans(blocks):
    return [(block.time[0], block.time[-1]) for block in blocks]


@pytest.mark.parametrize(("n", "k"), [(50, 5), (45, 5), (10, 1), (7, 7), (13, 4)])
def test_blocks_are_taken_at_equal_distances(n, k):
    taken = spread_evenly(n, k)
    assert taken == [int(np.floor((i + 0.5) * n / k)) for i in range(k)]
    assert len(set(taken)) == k
    assert max(taken) < n


def test_fifty_blocks_give_five_held_out_and_five_for_validation():
    parts = partition(recording(6000, 50))
    assert [block.label for block in parts.heldout] == [105, 115, 125, 135, 145]
    assert len(parts.validation) == 5
    assert len(parts.train) == 40


def test_no_bin_is_in_two_parts_and_none_is_lost():
    for n_blocks in (1, 3, 12, 50):
        parts = partition(recording(6000, n_blocks))
        together = [*parts.train, *parts.validation, *parts.heldout]
        times = np.sort(np.concatenate([block.time for block in together]))
        assert np.array_equal(times, recording(6000, n_blocks).train.time.values)


def test_a_declared_heldout_role_is_used_whole_and_train_keeps_the_rest():
    rng = np.random.default_rng(1)
    whole = recording(
        6000, 20, heldout_stimulus=rng.random((300, 3)), heldout_counts=rng.poisson(1, (300, 2))
    )
    parts = partition(whole)
    assert [block.n_bins for block in parts.heldout] == [300]
    assert len(parts.train) + len(parts.validation) == 20
    assert "role heldout" in parts.description["heldout_from"]


def test_one_long_block_is_cut_into_segments_and_says_so():
    parts = partition(recording(6000, 1), segment=30)
    segments = parts.description["segments"]
    assert len(segments) == 20
    assert segments[3] == {"label": 3, "block": 100, "start_s": 90.0, "stop_s": 120.0}
    assert all(abs(item["stop_s"] - item["start_s"] - 30) < 0.2 for item in segments)
    assert "lead-in" in parts.description["segment_rule"]
    assert [block.label for block in parts.heldout] == [5, 15]


def test_a_short_recording_is_cut_into_shorter_segments():
    parts = partition(recording(300, 1))  # 30 s
    assert len(parts.train) >= 6
    assert len(parts.validation) >= 1
    assert len(parts.heldout) == 1


def test_held_out_segments_are_spread_over_the_session():
    parts = partition(recording(6000, 1))
    middles = [np.mean(span) for span in spans(parts.heldout)]
    assert middles[0] < 300 < middles[1]


def test_nothing_is_held_out_when_told_so():
    parts = partition(recording(6000, 50), heldout_fraction=0)
    assert parts.heldout == []
    assert len(parts.train) == 45


def test_a_recording_without_repeats_has_an_empty_test_with_the_reason():
    parts = partition(recording())
    assert parts.test == []
    assert parts.description["test"]["reason"]


def test_the_description_is_plain_json_and_equal_for_equal_calls():
    first, second = (partition(recording(6000, 50)).description for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


def test_a_recording_too_short_to_split_is_refused():
    with pytest.raises(InputError, match="too short"):
        partition(recording(3, 1))


@pytest.mark.parametrize(
    "wrong", [{"validation_blocks": 0}, {"heldout_fraction": 1.0}, {"segment": 0}]
)
def test_impossible_splits_are_refused(wrong):
    with pytest.raises(InputError, match="cannot be split"):
        partition(recording(), **wrong)
