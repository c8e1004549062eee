"""Onsets of frames from triggers, where the truth is known; and what is wrong is named."""

import numpy as np
import pytest

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.time_files import read_times
from neuromodels.datasets.timing import (
    START,
    check_units,
    find_dropped_frames,
    frame_onsets,
    regularity,
    split_showings,
)

RATE = 60.0


def display(n_frames, *, rate=RATE, start=10.0, jitter=0.0, dropped=(), seed=0):
    """Onsets of a display that holds frames `dropped` for one refresh longer."""
    steps = np.ones(n_frames - 1)
    steps[list(dropped)] += 1
    onsets = start + np.concatenate([[0], np.cumsum(steps)]) / rate
    return onsets + np.random.default_rng(seed).normal(0, jitter, n_frames)


def test_a_trigger_per_frame_is_the_onset():
    onsets = display(1000, jitter=1e-4, dropped=[300])
    found, notes = frame_onsets(onsets, 1000)
    np.testing.assert_array_equal(found, onsets)
    assert notes == []


@pytest.mark.parametrize("per, n_frames", [(10, 1000), (10, 1001), (7, 1000), (60, 59)])
def test_every_nth_frame_is_exact_on_a_regular_display(per, n_frames):
    onsets = display(n_frames)
    found, _ = frame_onsets(onsets[::per], n_frames, per, RATE)
    np.testing.assert_allclose(found, onsets, atol=1e-9)


def test_every_nth_frame_is_within_the_jitter_and_half_a_drop():
    onsets = display(1000, jitter=2e-4, dropped=[333])
    found, _ = frame_onsets(onsets[::10], 1000, 10)
    off = np.abs(found - onsets)
    assert off.max() < 1 / RATE  # between two triggers a drop is spread over the frames
    assert np.quantile(off, 0.98) < 1e-3


def test_a_pause_between_triggers_does_not_stretch_the_frames():
    onsets = np.concatenate([display(500), display(500, start=30.0)])
    found, notes = frame_onsets(onsets[::10], 1000, 10)
    np.testing.assert_allclose(found, onsets, atol=1e-9)
    assert "trigger 49 at 18.1667 s is followed by a gap of 71.0 intervals" in notes[0]


def test_starts_show_the_movie_as_often():
    found, _ = frame_onsets([10.0, 30.0, 50.5], 600, START, RATE)
    expected = np.concatenate([display(600, start=s) for s in (10.0, 30.0, 50.5)])
    np.testing.assert_allclose(found, expected, atol=1e-9)
    with pytest.raises(InputError, match="nothing says how fast"):
        frame_onsets([10.0, 30.0], 600, START)
    with pytest.raises(InputError, match=r"start 1 at 15 s comes 5 s after start 0, before"):
        frame_onsets([10.0, 15.0], 600, START, RATE)


def test_a_missing_trigger_is_named():
    onsets = display(2000, jitter=1e-4)
    with pytest.raises(InputError) as error:
        frame_onsets(np.delete(onsets, 813), 2000)
    time = f"{onsets[812]:.6g}"
    assert (
        f"trigger 812 at {time} s is followed by a gap of 2.0 intervals: one trigger may be missing"
        in error.value.what
    )
    with pytest.raises(InputError, match="gap of 4.0 intervals: 3 triggers may be missing"):
        frame_onsets(np.delete(onsets, [50, 51, 52]), 2000)


def test_a_double_trigger_is_named():
    onsets = display(2000, jitter=1e-4)
    twice = np.insert(onsets, 501, onsets[500] + 0.001)
    with pytest.raises(InputError, match=r"trigger 501 at \S+ s comes only 0\.06 intervals after"):
        frame_onsets(twice, 2000)


def test_a_missing_trigger_behind_a_double_one_is_noted():
    onsets = display(2000, jitter=1e-4)
    both = np.delete(np.insert(onsets, 501, onsets[500] + 0.001), 1200)
    _, notes = frame_onsets(both, 2000)
    assert "may be off by one" in notes[0] and "trigger 501" in notes[0]


def test_a_count_that_fits_another_mode_says_so():
    onsets = display(1000)
    with pytest.raises(InputError) as error:
        frame_onsets(onsets[::10], 1000)
    assert "frames_per_trigger=10" in error.value.remedy
    with pytest.raises(InputError, match="frames_per_trigger='start'"):
        frame_onsets(onsets[:1], 1000)
    with pytest.raises(InputError, match=r"regular\n.*ended earlier"):
        frame_onsets(onsets[:-5], 1000)


def test_showings_are_split_and_the_one_that_is_wrong_is_named():
    starts = np.arange(5) * 20.0 + 3
    shown = [display(600, start=start) for start in starts]
    pieces = split_showings(np.concatenate(shown), 600)
    np.testing.assert_array_equal(np.stack(pieces), shown)
    shown[2] = np.delete(shown[2], 100)
    with pytest.raises(InputError) as error:
        split_showings(np.concatenate(shown), 600)
    assert "showing 3 (triggers 1200 to 1798, from 43 s) has 599 triggers" in error.value.what
    assert "trigger 1299 at 44.65 s is followed by a gap of 2.0 intervals" in error.value.what
    # A pulse too many elsewhere makes the total right, and the showings wrong all the same.
    shown[4] = np.append(shown[4], shown[4][-1] + 1 / RATE)
    with pytest.raises(InputError, match="showing 3"):
        split_showings(np.concatenate(shown), 600)


def test_a_hiccup_of_the_display_is_no_end_of_a_showing():
    shown = [display(600, start=start, dropped=[300] * (start == 20)) for start in (0, 20, 40)]
    shown[1][301:] += 5 / RATE
    pieces = split_showings(np.concatenate(shown), 600)
    np.testing.assert_array_equal(np.stack(pieces), shown)


def test_dropped_frames_are_found():
    onsets = display(1000, jitter=3e-4, dropped=[100, 500])
    onsets[701:] += 3 / RATE
    frame, missed = find_dropped_frames(onsets)
    assert frame.tolist() == [100, 500, 700]
    assert missed.tolist() == [1, 1, 3]


def test_jitter_is_measured_and_told_from_drops():
    found = regularity(display(3000, jitter=5e-4, dropped=[1000]))
    # Two onsets that jitter by 0.5 ms each make an interval that does by 0.71 ms.
    assert found.jitter == pytest.approx(np.sqrt(2) * 5e-4, rel=0.05)
    assert found.period == pytest.approx(1 / RATE, abs=5e-5)
    assert (found.n_dropped, found.worst_frame, found.n_short) == (1, 1000, 0)
    assert found.irregular and "1 refreshes missed" in found.words()
    assert not regularity(display(3000, jitter=1e-4)).irregular
    assert regularity([1.0, 2.0]) is None


@pytest.mark.parametrize(
    "factor, rate, said",
    [
        (1000, None, "look like milliseconds"),
        (1000, 60, "look like milliseconds"),
        (30_000, None, "look like samples"),
        (30_000, 60, r"about 30,000 Hz"),
        (1e-4, None, "are no seconds"),
    ],
)
def test_times_in_another_unit_are_refused(factor, rate, said):
    times = display(100) * factor
    if factor > 20_000:
        times = np.rint(times)
    with pytest.raises(InputError, match=said):
        check_units(times, rate, "triggers")


def test_slow_frames_are_accepted_where_the_rate_says_the_same():
    check_units(display(100), None, "x")
    check_units(display(100, rate=0.2), 0.2, "x")  # an image for 5 s
    check_units(display(100, rate=0.7), None, "x")
    check_units(display(600)[::60], None, "x", frames_between=60)


def test_times_from_files(tmp_path):
    import h5py

    times = np.array([0.5, 1.25, 2.0])
    np.save(tmp_path / "t.npy", times)
    np.save(tmp_path / "column.npy", times[:, None])
    (tmp_path / "t.csv").write_text("onset\n0.5\n1.25\n2\n")
    (tmp_path / "t.txt").write_text("0.5\n1.25\n2\n\n")
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["events/frames"] = times
    for name in ("t.npy", "column.npy", "t.csv", "t.txt", "t.h5:/events/frames"):
        np.testing.assert_array_equal(read_times(name, "x", tmp_path), times)
    assert read_times(3, "start").tolist() == read_times("3.0", "start").tolist() == [3.0]


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("t.csv", "onset\n0.5\nx\n", "row 3 is 'x'"),
        ("t.csv", "onset\n0.5\nnan\n", "time 1 is NaN"),
        ("t.csv", "onset,offset\n0.5,2\n", r"2 columns \(onset, offset\)"),
        ("t.csv", "onset\n", "no times"),
        ("t.csv", "onset\n1,\n2,3\n", "row 3 has 2 cells"),
        ("t.csv", "", "is empty"),
        ("t.csv", "1,5\n2,5\n", "2 columns"),
        ("t.txt", "2\n1\n", r"time 1 \(1 s\) comes before time 0"),
        ("t.txt", "2\n2\n", "is the same as"),
        ("t.npy", b"\x93NUMPY", "damaged or cut off"),
        ("t.h5", b"\x89HDF\r\n\x1a\n", "t.h5"),
        ("t.csv", b"\xff\xfe\x00\x01", "no UTF-8"),
    ],
)
def test_bad_times_name_file_and_place(tmp_path, name, content, said):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        read_times(tmp_path / name, "cell: triggers")
    assert name in error.value.where and "cell: triggers" in error.value.where


@pytest.mark.parametrize(
    "given", [None, True, {}, ["a"], [[1, 2], [3, 4]], [], [np.inf], [[1], [1, 2]], "none.npy"]
)
def test_what_are_no_times_is_refused(given):
    with pytest.raises(InputError):
        read_times(given, "triggers")


def test_pickled_times_are_not_executed(tmp_path):
    np.save(tmp_path / "t.npy", np.array([print, 1], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="could run code"):
        read_times(tmp_path / "t.npy", "triggers")


def test_a_pause_is_no_dropped_frame():
    onsets = np.concatenate([np.arange(100), 200 + np.arange(100)]) / 60
    found = regularity(onsets)
    assert (found.n_pauses, found.n_dropped, found.n_late) == (1, 0, 0)
    assert not found.irregular
    assert found.worst < 1e-9
