"""Text rasters: every spike is read or is an error that names its line; writing loses nothing."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.rasters import read_ras, read_ras_dropping, write_ras
from neuromodels.datasets.sample.superspike import superspike_task
from neuromodels.datasets.spike_trains import SpikeTrains, sorted_trains

LINES = ["0.2 1", "0.1 0", "0.3 2", "0.1 2"]


def write(folder, text) -> Path:
    path = folder / "cells.ras"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(LINES),
        "\n".join(LINES) + "\n\n\n",
        "# neurons 3\n" + "\n".join(LINES) + "\n# the end",
        "\r\n".join(LINES) + "\r\n",
        "\r".join(LINES),
        "\ufeff" + "\n".join(LINES),
        "  0.2\t1 # comment\n0.1   0\n\n3e-1 2.0\n.1 2  \n",
    ],
    ids=["plain", "blank", "comments", "crlf", "cr", "bom", "loose"],
)
def test_comments_blank_lines_and_line_ends_change_nothing(text, tmp_path):
    trains = read_ras(write(tmp_path, text), 3)
    assert trains == SpikeTrains([0.1, 0.1, 0.2, 0.3], [0, 2, 1, 2], 3, 0.301)


@given(st.permutations(LINES))
@settings(max_examples=20)
def test_the_order_of_lines_changes_nothing(tmp_path_factory, lines):
    path = write(tmp_path_factory.mktemp("ras"), "\n".join(lines))
    assert read_ras(path, 3) == SpikeTrains([0.1, 0.1, 0.2, 0.3], [0, 2, 1, 2], 3, 0.301)


@given(
    spikes=st.lists(st.tuples(st.floats(0, 9.99), st.integers(0, 4)), max_size=20),
    first_id=st.integers(-1, 3),
)
@settings(max_examples=60)
def test_what_is_written_is_read_again_to_the_last_bit(tmp_path_factory, spikes, first_id):
    trains = sorted_trains([t for t, _ in spikes], [n for _, n in spikes], 5, 10.0)
    path = write_ras(trains, tmp_path_factory.mktemp("ras") / "a.ras", first_id)
    assert read_ras(path, 5, first_id, duration=10.0) == trains


def test_numpy_reads_what_is_written(tmp_path):
    trains = sorted_trains([0.1 + 0.2, 1 / 3], [0, 4], 5, 1.0)
    table = np.loadtxt(write_ras(trains, tmp_path / "a.ras", first_id=1))
    assert table.tolist() == [[0.1 + 0.2, 1.0], [1 / 3, 5.0]]


def test_a_file_that_exists_stays_unless_it_may_be_replaced(tmp_path):
    path = write(tmp_path, "0.1 0")
    trains = SpikeTrains([0.5], [0], 1, 1.0)
    with pytest.raises(InputError, match="exists already"):
        write_ras(trains, path)
    assert path.read_text() == "0.1 0"
    write_ras(trains, path, overwrite=True)
    assert read_ras(path, 1).times.tolist() == [0.5]
    assert [item.name for item in tmp_path.iterdir()] == ["cells.ras"]


def test_a_stated_duration_is_kept(tmp_path):
    assert read_ras(write(tmp_path, "0.1 0"), 1, duration=2.5).duration == 2.5


def test_a_silent_population_needs_its_duration(tmp_path):
    path = write_ras(SpikeTrains([], [], 3, 2.0), tmp_path / "silent.ras")
    assert read_ras(path, 3, duration=2.0) == SpikeTrains([], [], 3, 2.0)
    with pytest.raises(InputError, match="holds no spikes"):
        read_ras(path, 3)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("0.1 0\n0.2 3", "line 2", "id 3 is not one of the 3 neurons (0 … 2); 1 such"),
        ("0.1 0\n0.2 -1", "line 2", "id -1"),
        ("0.1 0\n0.2 1.5", "line 2", "'1.5' is no id of a neuron"),
        ("0.1 0\n0.2 one", "line 2", "'one' is no id"),
        ("0.1 0\n0.2 nan", "line 2", "'nan' is no id"),
        ("0.1 0\n0.2 1_0", "line 2", "'1_0' is no id"),
        ("0.1 0\n0.2 " + "9" * 5000, "line 2", "is no id"),
        ("0.1 0\n\n# note\n-0.2 1", "line 4", "negative: -0.2 s"),
        ("0.1 0\nnan 1", "line 2", "the time is nan"),
        ("0.1 0\ninf 1", "line 2", "the time is inf"),
        ("0.1 0\nsoon 1", "line 2", "'soon' is no time"),
        ("0.1 0\n0.2", "line 2", "'0.2' is not two columns"),
        ("0.1 0\n0.2 1 5", "line 2", "'0.2 1 5' is not two columns"),
        ("0.1,0", "line 1", "'0.1,0' is not two columns"),
        ("", None, "is empty"),
        ("\n# only a note\n", None, "holds no spikes"),
        (b"\x89HDF\r\n\x1a\n\x00\x00", None, "is no text"),
        (b"\x00\x01\x02\x03 \x05", "line 1", "is no time"),
    ],
)
def test_bad_lines_are_named(text, place, message, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_ras(path, 3)
    assert caught.value.where == (f"{path}: {place}" if place else str(path))
    assert message in caught.value.what
    assert caught.value.remedy


@given(st.binary(max_size=60) | st.text("0123456789.-e# \n\t", max_size=40).map(str.encode))
@settings(max_examples=150)
def test_any_bytes_are_spikes_or_an_error_that_says_what_to_do(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.ras"
    path.write_bytes(data)
    try:
        trains = read_ras(path, 10)
    except InputError as error:
        assert error.remedy and str(path) in error.where
    else:
        lines = [line.split(b"#")[0].strip() for line in data.splitlines()]
        assert len(trains) == sum(bool(line) for line in lines)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_ras(tmp_path / "none.ras", 3)
    with pytest.raises(InputError, match="is a folder"):
        read_ras(tmp_path, 3)


def test_a_spike_after_the_stated_end_is_named(tmp_path):
    with pytest.raises(InputError, match=r"line 2: a spike is at 120\.0 s.*ends at 1\.0 s"):
        read_ras(write(tmp_path, "0.1 0\n120 1\n0.2 2"), 3, duration=1.0)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("n_neurons", 0), ("n_neurons", 2.5), ("first_id", "1"), ("on_out_of_range", "ignore")],
)
def test_impossible_arguments_are_named(argument, value, tmp_path):
    with pytest.raises(InputError, match=argument):
        read_ras(write(tmp_path, "0.1 0"), **{"n_neurons": 3, argument: value})


def test_one_based_and_zero_based_files_are_told_apart_in_the_remedy(tmp_path):
    one_based = write(tmp_path, "0.1 1\n0.2 3")
    with pytest.raises(InputError, match=r"pass first_id=1 .*--target-first-id 1"):
        read_ras(one_based, 3)
    zero_based = write(tmp_path, "0.1 0\n0.2 2")
    with pytest.raises(InputError, match=r"pass first_id=0 .*--target-first-id 0"):
        read_ras(zero_based, 3, first_id=1)
    larger = write(tmp_path, "0.1 0\n0.2 7")
    with pytest.raises(InputError, match="n_neurons=8"):
        read_ras(larger, 3)


def test_spikes_are_dropped_only_on_request_and_counted(tmp_path):
    path = write(tmp_path, "0.1 0\n0.2 3\n0.3 3\n0.4 9\n0.35 2")
    trains, dropped = read_ras_dropping(path, 3)
    assert dropped == {3: 2, 9: 1}
    assert trains.times.tolist() == [0.1, 0.35]
    noted = read_ras(path, 3, on_out_of_range="drop")
    assert noted == trains
    assert "3 spikes of ids 3, 9 dropped" in noted.source


# The bundled tasks; the numbers are those of the specification, counted from the published files.


@pytest.mark.parametrize(
    ("name", "n_inputs", "n_outputs", "duration", "input_spikes", "target_spikes"),
    [
        ("oxford", 200, 200, 1.89, 1889, 10_367),
        ("logo", 100, 100, 3.5, 1746, 1630),
        ("single", 100, 1, 0.5, 232, 5),
    ],
)
def test_bundled_tasks_hold_every_published_spike(
    name, n_inputs, n_outputs, duration, input_spikes, target_spikes
):
    task = superspike_task(name)
    assert (task.inputs.n_neurons, task.target.n_neurons) == (n_inputs, n_outputs)
    assert task.duration == task.inputs.duration == task.target.duration == duration
    assert (len(task.inputs), len(task.target)) == (input_spikes, target_spikes)
    assert task.n_dropped == 0


def test_oxford_is_as_the_specification_describes_it():
    task = superspike_task("oxford")
    assert task.inputs.rates().mean() == pytest.approx(5.00, abs=0.005)
    assert task.target.rates().mean() == pytest.approx(27.4, abs=0.05)
    counts = np.bincount(task.target.neurons, minlength=200)
    assert (counts.min(), counts.max()) == (6, 125)
    short = sum(int((np.diff(task.target.of(i)) < 5e-3).sum()) for i in range(200))
    assert short == 495


def test_the_oxford_target_read_as_zero_based_is_a_loud_error(tmp_path):
    folder = os.environ.get("NEUROMODELS_DATA")
    if not folder:
        pytest.skip("set NEUROMODELS_DATA to a folder that holds superspike-oxford")
    path = Path(folder) / "superspike-oxford" / "oxford-target.ras"
    with pytest.raises(InputError, match=r"id 200 .*10 such spikes\n.*one-based.*first_id=1"):
        read_ras(path, 200)
    assert read_ras(path, 200, first_id=1, duration=1.89) == superspike_task("oxford").target


def test_the_demo_reads_oxford_unshifted_and_loses_ten_spikes():
    shifted, demo = superspike_task("oxford"), superspike_task("oxford", ids="demo")
    assert demo.n_dropped == 10
    assert len(demo.target) == 10_357
    assert demo.target.of(0).size == 0
    for neuron in (1, 57, 199):
        assert np.array_equal(demo.target.of(neuron), shifted.target.of(neuron - 1))
    assert demo.inputs == shifted.inputs


def test_the_single_task_asks_for_five_equidistant_spikes():
    target = superspike_task("single").target
    np.testing.assert_allclose(np.diff(target.of(0)), 0.083, atol=1e-12)
    assert np.unique(superspike_task("single").inputs.neurons).size == 87


def test_unknown_tasks_are_refused():
    with pytest.raises(InputError, match="oxford, logo, single"):
        superspike_task("cambridge")
    with pytest.raises(InputError, match="shifted, demo"):
        superspike_task("oxford", ids="raw")


def test_bundled_files_are_the_published_bytes():
    from importlib.resources import files

    folder = os.environ.get("NEUROMODELS_DATA")
    if not folder:
        pytest.skip("set NEUROMODELS_DATA to a folder that holds superspike-oxford")
    published = Path(folder) / "superspike-oxford"
    bundled = files("neuromodels.datasets.sample.superspike")
    for name, there in {
        "oxford-input.ras": "oxford-input.ras",
        "oxford-target.ras": "oxford-target.ras",
        "logo-input.ras": "ssbm-auryn/input.ras",
        "logo-target.ras": "ssbm-auryn/target.ras",
        "single-input.ras": "ssbm-poisson/input.ras",
        "single-target.ras": "ssbm-poisson/target.ras",
        "LICENSE": "LICENSE.ssbm",
    }.items():
        assert (bundled / name).read_bytes() == (published / there).read_bytes(), name
