"""Validation: every error and every note, each at its place; sound recordings have neither."""

import numpy as np
import pytest
import xarray as xr

from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording

N = 1000


def sound(stimulus=None, counts=None, **options) -> Recording:
    rng = np.random.default_rng(0)
    stimulus = rng.random((N, 4, 4)).astype("f4") if stimulus is None else stimulus
    counts = rng.poisson(0.3, (N, 3)) if counts is None else counts
    options = {
        "bin_width": 0.01,
        "test_stimulus": rng.random((200, 4, 4)).astype("f4"),
        "test_counts": rng.poisson(0.3, (10, 200, 3)),
    } | options
    return recording_from_arrays(stimulus, counts, **options)


def changed(where: str, change) -> Recording:
    """A sound recording with one node replaced."""
    tree = sound().tree
    nodes = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    nodes[where] = change(nodes[where].copy(deep=True))
    return Recording(xr.DataTree.from_dict(nodes))


def only(problems):
    assert len(problems) == 1, [str(item) for item in problems]
    return problems[0]


def set_values(name, index, value):
    def change(node):
        node[name].values[index] = value
        return node

    return change


def without(name, attribute):
    def change(node):
        del node[name].attrs[attribute]
        return node

    return change


def with_coord(name, values):
    return lambda node: node.assign_coords({name: node[name].copy(data=values)})


def test_a_sound_recording_has_neither_errors_nor_notes():
    assert str(sound().validate()) == "nothing is wrong"


def test_a_report_is_made_once():
    recording = sound()
    assert recording.validate() is recording.at(0.02).validate()


def test_missing_frames_are_an_error_with_the_first_frame():
    frames = np.random.default_rng(0).random((N, 4, 4)).astype("f4")
    frames[[17, 30], 0, 0] = np.nan
    problem = only(sound(frames).validate().errors)
    assert problem.where == "/stimulus/train/stimulus"
    assert "2 frames, the first is frame 17" in problem.what


def test_negative_counts_are_an_error_with_bin_and_neuron():
    counts = np.zeros((N, 3), dtype=int) + 1
    counts[41, 2] = -1
    problem = only(sound(counts=counts, neurons=["a", "b", "c"]).validate().errors)
    assert problem.where == "/stimulus/train/response"
    assert "bin 41 of neuron c" in problem.what


def test_fractions_are_no_counts():
    counts = np.ones((N, 3))
    counts[5, 1] = 0.5
    assert "no integers" in only(sound(counts=counts).validate().errors).what


def test_missing_counts_in_unrepeated_data_are_an_error():
    counts = np.ones((N, 3))
    counts[5, 1] = np.nan
    assert "missing" in only(sound(counts=counts).validate().errors).what


@pytest.mark.parametrize(
    ("name", "value", "where", "what"),
    [
        ("frame_of_bin", N, "frame_of_bin", f"is {N} in bin 3, but there are {N} frames"),
        ("frame_of_bin", -2, "frame_of_bin", "is -2 in bin 3"),
    ],
)
def test_frame_numbers_out_of_range_are_an_error(name, value, where, what):
    problem = only(changed("/stimulus/train", set_values(name, 3, value)).validate().errors)
    assert problem.where == f"/stimulus/train/{where}"
    assert what in problem.what


def times(index, value):
    time = np.arange(N) * 0.01
    time[index] = value
    return time


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (times(10, 0.09), "repeats at bin 10"),
        (times(10, 0.0), "runs backwards at bin 10"),
        (times(slice(10, None), np.arange(10, N) * 0.01 + 5), "jumps by 5.01 s inside block 0"),
    ],
)
def test_times_that_do_not_ascend_evenly_are_an_error(values, what):
    recording = changed("/stimulus/train", with_coord("time", values))
    assert what in only(recording.validate().errors).what


def test_a_jump_with_a_new_block_is_sound():
    def change(node):
        time = np.arange(N) * 0.01 + np.where(np.arange(N) < 500, 0, 60)
        node = node.assign_coords(time=node["time"].copy(data=time))
        return with_coord("block", (np.arange(N) >= 500).astype(int))(node)

    assert changed("/stimulus/train", change).validate().problems == ()


def test_a_block_label_used_twice_is_an_error():
    labels = np.repeat([0, 1, 0], [300, 300, 400])
    recording = changed("/stimulus/train", with_coord("block", labels))
    assert "label 0 is used for 2" in only(recording.validate().errors).what


def test_duplicate_neurons_are_an_error():
    problem = only(sound(neurons=["a", "b", "a"]).validate().errors)
    assert problem.where == "/neuron"
    assert "a more than once" in problem.what


@pytest.mark.parametrize("name", ["stimulus", "response", "time"])
def test_missing_units_are_an_error(name):
    recording = changed("/stimulus/train", without(name, "units"))
    assert only(recording.validate().errors).where == f"/stimulus/train/{name}"


@pytest.mark.parametrize("shape", [(0, 200, 3), (10, 0, 3)])
def test_a_declared_test_without_trials_or_bins_is_an_error(shape):
    options = {"test_counts": np.zeros(shape, dtype=int)}
    if shape[1] == 0:
        options["test_stimulus"] = np.zeros((0, 4, 4))
    problem = only(sound(**options).validate().errors)
    assert problem.where == "/stimulus/test/response"
    assert "empty" in problem.what


def test_a_test_movie_inside_train_is_an_error():
    rng = np.random.default_rng(0)
    frames = rng.random((N, 4, 4)).astype("f4")
    report = sound(frames, test_stimulus=frames[350:550]).validate()
    problem = only(report.errors)
    assert problem.where == "/stimulus/test/stimulus"
    assert "200 of its 200 pictures" in problem.what
    assert "from picture 350" in problem.what


def test_a_second_of_the_test_movie_inside_train_is_an_error_also_on_a_slow_display():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 2, (120, 4, 4), dtype="u1")  # 12 Hz: 10 s
    test = rng.integers(0, 2, (24, 4, 4), dtype="u1")
    test[5:17] = frames[70:82]
    report = sound(frames, frame_rate=12, test_stimulus=test).validate()
    assert "12 of its 24 pictures" in only(report.errors).what


@pytest.mark.parametrize("period", [1, 2])
def test_blank_or_alternating_stretches_are_no_overlap(period):
    def with_flicker(n, seed):
        frames = np.random.default_rng(seed).integers(0, 255, (n, 4, 4), dtype="u1")
        # 0.15 s of two alternating pictures in both movies
        frames[20:35] = (np.arange(15) % period)[:, None, None]
        return frames

    report = sound(with_flicker(N, 1), test_stimulus=with_flicker(200, 2)).validate()
    assert report.errors == ()


def test_black_and_white_flicker_of_the_whole_field_is_no_overlap():
    # Each change once, two pictures always alternate: that says nothing about their sequence.
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 2, (n, 1, 1), dtype="u1") for n in (N, 200))
    assert sound(train, test_stimulus=test).validate().errors == ()


def test_pictures_that_recur_one_by_one_are_no_overlap():
    rng = np.random.default_rng(0)
    bank = rng.random((20, 4, 4)).astype("f4")
    report = sound(
        bank[rng.integers(0, 20, N)], test_stimulus=bank[rng.integers(0, 20, 200)]
    ).validate()
    assert report.errors == ()


def test_all_errors_come_in_one_message():
    counts = np.full((N, 3), -1)
    report = sound(counts=counts, neurons=["a", "a", "b"]).validate()
    with pytest.raises(InputError) as error:
        report.raise_errors()
    assert "negative" in str(error.value)
    assert "more than once" in str(error.value)


def test_notes_do_not_raise():
    counts = np.random.default_rng(0).poisson(0.3, (N, 3))
    counts[:, 1] = 0
    report = sound(counts=counts, neurons=["u1", "u2", "u3"]).validate()
    report.raise_errors()
    assert "u2 is silent" in only(report.notes).what


def test_a_single_repeat_is_a_note():
    counts = np.random.default_rng(0).poisson(0.3, (1, 200, 3))
    report = sound(test_counts=counts).validate()
    assert report.errors == ()
    assert "one repeat only" in only(report.notes).what


def test_a_drift_over_blocks_is_a_note_with_the_rates():
    rng = np.random.default_rng(0)
    n_bins = 20_000
    rate = np.column_stack([np.linspace(0.4, 0.1, n_bins), np.full(n_bins, 0.3)])
    report = recording_from_arrays(
        rng.random((n_bins, 2)),
        rng.poisson(rate),
        bin_width=0.01,
        blocks=np.repeat(np.arange(20), 1000),
    ).validate()
    note = only(report.notes)
    assert "1 of 2 neurons drift over blocks: 0 from 32" in note.what


def test_late_frames_are_a_note():
    onsets = np.arange(N) * 0.01
    onsets[700] += 0.008
    note = only(sound(frame_times=onsets).validate().notes)
    assert note.where == "/stimulus/train/frame_time"
    assert "near 6.99 s" in note.what


def test_ragged_trials_are_sound():
    trials = [np.random.default_rng(i).poisson(0.3, (200 - 3 * i, 3)) for i in range(10)]
    assert sound(test_counts=trials).validate().errors == ()
