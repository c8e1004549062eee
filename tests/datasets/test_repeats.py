"""What counts as the repeated test, and what does not."""

import numpy as np
import pytest

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recurrence import distinct_per_window, recurring_clips, window_ranks
from neuromodels.datasets.repeats import (
    MIN_DISTINCT_FRAMES,
    chosen_repeats,
    number_frames,
    on_equal_steps,
    repeats_in_movie,
    repeats_in_trials,
)

CLIP = np.arange(1000, 1240)


def unique(i, n=300):
    """Frame numbers that occur nowhere else."""
    return np.arange(n) + 10_000 * (i + 1)


def in_trials(trials, **kwargs):
    return repeats_in_trials(trials, 60, "cell.nwb: movie", **kwargs)


def in_movie(parts, breaks=(), min_frames=60):
    return repeats_in_movie(np.concatenate(parts), breaks, min_frames, "cell.nwb: movie")


def showings(found):
    stretches, choice = found
    return [[stretches[i] for i in clip.trials] for clip in choice.clips]


def test_identical_frames_get_one_number_across_slabs():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 4, (50, 1, 2), dtype=np.uint8)
    numbers = number_frames([frames[:20], frames[20:]], "here")
    same = (frames[:, None] == frames[None]).all(axis=(2, 3))
    np.testing.assert_array_equal(numbers[:, None] == numbers[None], same)


def test_a_frame_with_nan_is_named():
    frames = np.zeros((10, 2, 2), dtype=np.float32)
    frames[7, 1, 1] = np.nan
    with pytest.raises(InputError, match="cell.nwb: movie: frame 7 holds NaN"):
        number_frames([frames[:5], frames[5:]], "cell.nwb: movie")


def test_a_dropped_frame_leaves_the_one_before_on_screen():
    numbers, onsets = np.array([5, 6, 8, 9]), np.array([0.0, 0.1, 0.31, 0.4])
    assert on_equal_steps(numbers, onsets, 0.1).tolist() == [5, 6, 6, 8, 9]


def test_a_slightly_wrong_frame_interval_does_not_add_up_over_a_long_trial():
    onsets = np.arange(100_000) / 59.94
    numbers = np.arange(onsets.size)
    np.testing.assert_array_equal(on_equal_steps(numbers, onsets, 1 / 60), numbers)


def test_trials_with_identical_frames_are_the_test():
    choice = in_trials([unique(0), CLIP, unique(1), CLIP, CLIP])
    assert [clip.trials for clip in choice.clips] == [(1, 3, 4)]
    assert choice.train == (0, 2)
    assert "3 trials with identical frames" in choice.reason


@pytest.mark.parametrize(
    "plain",
    [np.zeros(240, dtype=int), np.arange(240) // 120, np.arange(240) % (MIN_DISTINCT_FRAMES - 1)],
    ids=["blank", "flash", "flicker between nine frames"],
)
def test_blank_constant_and_few_framed_trials_never_count(plain):
    assert in_trials([plain, unique(0), plain, plain]) is None
    choice = in_trials([plain, CLIP, plain, CLIP, unique(0)])
    assert [clip.trials for clip in choice.clips] == [(1, 3)]
    assert choice.train == (0, 2, 4)
    assert any("different frames" in note for note in choice.notes)


def test_a_trial_that_was_stopped_early_is_a_repeat_with_what_it_shows():
    choice = in_trials([unique(0), CLIP, CLIP[:200], CLIP])
    assert choice.clips[0].trials == (1, 2, 3)
    assert choice.clips[0].reference in (1, 3)


def test_a_trial_with_one_deviating_frame_is_reported_and_stays():
    odd = CLIP.copy()
    odd[100] = odd[99]
    choice = in_trials([unique(0), CLIP, odd, CLIP])
    assert choice.clips[0].trials == (1, 2, 3)
    assert choice.notes == (
        "trial 2 (counted from 0): 1 of 240 frames deviate from the other repeats; kept among them",
    )


@pytest.mark.parametrize("shift", [1, 3])
def test_a_trial_out_of_step_after_dropped_frames_is_neither_test_nor_train(shift):
    late = np.delete(CLIP, slice(100, 100 + shift))
    choice = in_trials([unique(0), CLIP, late, CLIP])
    assert choice.clips[0].trials == (1, 3)
    assert choice.left_out == (2,)
    assert choice.train == (0,)
    assert "out of step" in choice.notes[0]


def test_a_training_trial_that_shows_part_of_the_test_is_left_out():
    mixed = np.concatenate([unique(5, 100), CLIP[50:150], unique(6, 100)])
    choice = in_trials([unique(0), CLIP, mixed, CLIP])
    assert choice.left_out == (2,)
    assert "parts of the test movie" in choice.notes[-1]


def test_several_clips_shown_equally_often_are_all_test():
    other = CLIP + 500
    choice = in_trials([CLIP, other, unique(0), CLIP, other])
    assert [clip.trials for clip in choice.clips] == [(0, 3), (1, 4)]


def test_a_long_movie_shown_twice_stays_in_training_beside_a_much_repeated_test():
    choice = in_trials([unique(0), *[CLIP] * 10, unique(0)])
    assert [clip.trials for clip in choice.clips] == [tuple(range(1, 11))]
    assert choice.train == (0, 11)
    assert "shown 2 times" in choice.notes[0]


@pytest.mark.parametrize(
    "trials",
    [[CLIP] * 10 + [CLIP + 500] * 4 + [unique(0)], [CLIP, CLIP + 500] * 5],
    ids=["unequally often", "nothing left to fit on"],
)
def test_an_unclear_choice_is_an_error_that_asks_for_test(trials):
    with pytest.raises(InputError, match="not clear which part is the repeated test") as error:
        in_trials(trials)
    assert "test=" in error.value.remedy


def test_one_repeated_clip_alone_is_a_test_without_training_data():
    choice = in_trials([CLIP] * 5)
    assert choice.clips[0].trials == (0, 1, 2, 3, 4)
    assert choice.train == ()


def test_no_repeats_no_choice():
    assert in_trials([unique(i) for i in range(5)]) is None


def test_thousands_of_unrepeated_trials_with_a_common_grey_start_take_no_time():
    trials = [np.concatenate([np.zeros(20, dtype=int), unique(i, 100)]) for i in range(3000)]
    assert in_trials(trials) is None


def test_the_users_choice_is_grouped_by_frames_and_kept_whole():
    odd = np.delete(CLIP, 100)
    choice = chosen_repeats([unique(0), CLIP, odd, CLIP, CLIP + 500], [1, 2, 3, 4], 60, "said")
    assert [clip.trials for clip in choice.clips] == [(1, 3), (2,), (4,)]
    assert choice.train == (0,)


def test_repeats_that_the_user_did_not_choose_do_not_leak_into_training():
    choice = chosen_repeats([unique(0), CLIP, CLIP, CLIP], [1, 2], 60, "said")
    assert choice.left_out == (3,)


# --- movies without trials


def test_a_clip_between_unrepeated_frames_is_found_to_the_frame():
    found = in_movie([unique(0), CLIP, unique(1), CLIP, unique(2), CLIP])
    assert showings(found) == [[(300, 540), (840, 1080), (1380, 1620)]]
    stretches, choice = found
    assert [stretches[i] for i in choice.train] == [(0, 300), (540, 840), (1080, 1380)]


def test_showings_that_follow_each_other_are_told_apart():
    found = in_movie([unique(0), CLIP, CLIP, CLIP, unique(1)])
    assert showings(found) == [[(300, 540), (540, 780), (780, 1020)]]


def test_a_last_showing_that_was_stopped_is_a_shorter_repeat():
    found = in_movie([unique(0), CLIP, unique(1), CLIP, unique(2), CLIP[:200]])
    assert showings(found) == [[(300, 540), (840, 1080), (1380, 1580)]]


def test_what_follows_a_dropped_frame_is_neither_test_nor_train():
    late = np.delete(CLIP, 100)
    stretches, choice = in_movie([unique(0), CLIP, unique(1), CLIP, unique(2), late, unique(3)])
    assert [stretches[i] for i in choice.clips[0].trials] == [(300, 540), (840, 1080), (1380, 1480)]
    left = [stretches[i] for i in choice.left_out]
    assert left[0][0] == 1480 and sum(b - a for a, b in left) >= 139
    assert "parts of the test movie" in choice.notes[-1]


def test_two_clips_shown_equally_often_are_both_found():
    other = CLIP + 500
    found = in_movie([unique(0), CLIP, unique(1), other, unique(2), other, unique(3), CLIP])
    assert sorted(showings(found)) == [
        [(300, 540), (1920, 2160)],
        [(840, 1080), (1380, 1620)],
    ]


@pytest.mark.parametrize(
    "plain",
    [
        np.zeros(600, dtype=int),
        np.arange(600) // 30 % 2,
        np.arange(600) % 30,
        np.concatenate([CLIP[:50], unique(8), CLIP[:50]]),
    ],
    ids=["grey", "flicker", "grating of a short period", "a clip shorter than the shortest"],
)
def test_grey_flicker_gratings_and_short_clips_are_no_test(plain):
    assert in_movie([unique(0), plain, unique(1), plain[:5]]) is None


def test_no_showing_runs_across_a_pause():
    movie = [unique(0), CLIP, unique(1), CLIP]
    broken = in_movie(movie, breaks=[400])
    for start, stop in sum(showings(broken), []):
        assert not start < 400 < stop


def test_window_ranks_and_counts_agree_with_brute_force():
    rng = np.random.default_rng(1)
    numbers = rng.integers(0, 3, 200)
    for length in (1, 2, 5, 7, 16):
        windows = np.lib.stride_tricks.sliding_window_view(numbers, length)
        same = (windows[:, None] == windows[None]).all(axis=2)
        ranks = window_ranks(numbers, length)
        np.testing.assert_array_equal(ranks[:, None] == ranks[None], same)
        counted = [np.unique(window).size for window in windows]
        np.testing.assert_array_equal(distinct_per_window(numbers, length), counted)


def test_every_showing_found_in_random_movies_shows_the_same_frames():
    rng = np.random.default_rng(2)
    for _ in range(30):
        clip = rng.integers(0, 40, rng.integers(60, 200))
        parts = []
        for i in range(rng.integers(2, 6)):
            parts += [unique(i, int(rng.integers(0, 150))), clip]
        numbers = np.concatenate(parts)
        found = recurring_clips(numbers, [], 60, MIN_DISTINCT_FRAMES, 0.0)
        taken = np.zeros(numbers.size, dtype=int)
        for clips in found:
            first = numbers[slice(*clips[0])]
            for start, stop in clips:
                taken[start:stop] += 1
                shown = numbers[start:stop]
                # One frame of tolerance: the smallest deviation that is kept.
                assert np.count_nonzero(shown != first[: len(shown)]) <= 1
        assert taken.max() == 1
