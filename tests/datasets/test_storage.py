"""Files: what is written is read back, whole or not at all, and damage is noticed."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from random_recordings import assert_same, random_recording

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import lazy_variable
from neuromodels.datasets.opening import open_recording
from neuromodels.datasets.seal import check_seal
from neuromodels.datasets.steady_file import SteadyFile
from neuromodels.datasets.storage import check_output, read_tree, verify, write_tree

N_VALUES = 12  # flips among the values, which take longest to find
SUPPORT = str(Path(__file__).parents[1] / "support")
ATTRS = {
    "true": True,
    "nothing": None,
    "settings": {"depth": [1, 2.5, None], "name": "naïve", "deep": {"on": False}},
    "list": [1, "a", None],
    "empty": "",
    "looks encoded": "json:{",
    "one": np.array([3.5]),
    "several": np.array([1, 2, 3]),
    "matrix": np.arange(6.0).reshape(2, 3),
    "integer": 7,
    "huge": 2**80,
    "float": 0.1,
    "infinite": float("inf"),
    "long": "x" * 200_000,
}


def example_tree() -> xr.DataTree:
    neuron = np.array(["ä1", "β-2", "c 3"])
    root = xr.Dataset(
        coords={"neuron": ("neuron", neuron), "depth": ("neuron", [1.0, 2.0, np.nan])}
    )
    root.attrs = {"schema_version": 1, **ATTRS}
    child = xr.Dataset(
        {
            "rate": (("time", "neuron"), np.arange(15_000, dtype="f4").reshape(5000, 3)),
            "count": (("time", "neuron"), np.arange(15_000, dtype="u1").reshape(5000, 3)),
            "passed": ("neuron", [True, False, True]),
            "reason": ("neuron", np.array(["", "silent: für immer", "ok"])),
            "loss": ((), 0.25),
            "nothing": (("epoch", "neuron"), np.zeros((0, 3))),
            "words": ("epoch", np.array([], dtype="U1")),
        },
        coords={
            "time": ("time", np.arange(5000) / 600, {"units": "s"}),
            "block": ("time", np.zeros(5000, dtype="i4")),
            "epoch": ("epoch", np.zeros(0, dtype="i8")),
        },
        attrs={"config": {"bias": True}},
    )
    child["rate"].attrs = {"units": "Hz", "smoothed": False, "by": None}
    leaf = xr.Dataset({"weight": ("neuron", np.array([1, -2, 3], dtype="i8"))})
    return xr.DataTree.from_dict({"/": root, "/fit": child, "/fit/glm: own history": leaf})


def slow_movie(seconds_per_read=0.0, error_after=None):
    class Source:
        shape, dtype, reads = (64, 128, 128), np.dtype(np.uint8), 0

        def __getitem__(self, key):
            Source.reads += 1
            if error_after is not None and Source.reads > error_after[0]:
                raise error_after[1]
            time.sleep(seconds_per_read)
            rows = range(*key[0].indices(64))
            return np.random.default_rng(0).integers(0, 255, (len(rows), 128, 128), dtype="u1")

    coords = {name: np.arange(n) for name, n in zip(("frame", "y", "x"), Source.shape, strict=True)}
    movie = lazy_variable(("frame", "y", "x"), Source())
    return xr.DataTree(xr.Dataset({"movie": movie}, coords))


def test_a_tree_comes_back_identical_with_all_its_attributes(tmp_path):
    tree = example_tree()
    back = read_tree(write_tree(tree, tmp_path / "a.h5"))
    for node in tree.subtree:
        xr.testing.assert_equal(node.to_dataset(), back[node.path].to_dataset())
        for name, variable in node.variables.items():
            read = back[node.path].variables[name]
            assert read.attrs == variable.attrs
            assert read.dtype.kind == variable.dtype.kind
    assert back["fit"].attrs == tree["fit"].attrs
    for key, value in ATTRS.items():
        assert np.array_equal(back.attrs[key], value), key
        assert type(back.attrs[key]) is type(value), key


def test_writing_does_not_change_the_tree(tmp_path):
    tree = example_tree()
    write_tree(tree, tmp_path / "a.h5")
    xr.testing.assert_identical(tree, example_tree())


def test_plain_h5py_sees_names_labels_and_units_on_every_axis(tmp_path):
    with h5py.File(write_tree(example_tree(), tmp_path / "a.h5")) as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "dims") else None)
        for name in names:
            if file[name].is_scale:
                continue
            for axis in file[name].dims:
                assert axis.keys()[0] in ("neuron", "time", "epoch"), name
        rate = file["fit/rate"]
        assert rate.attrs["units"] == "Hz"
        assert rate.dims[0][0].attrs["units"] == "s"
        assert rate.dims[1][0].asstr()[:].tolist() == ["ä1", "β-2", "c 3"]


def test_plain_xarray_opens_the_file_with_coordinates_in_place(tmp_path):
    with xr.open_datatree(write_tree(example_tree(), tmp_path / "a.h5"), engine="h5netcdf") as tree:
        assert set(tree["fit"].coords) == {"neuron", "time", "block", "epoch"}
        assert tree["fit/rate"].dims == ("time", "neuron")
        assert "depth" in tree.coords


def test_reading_is_lazy(tmp_path):
    tree = read_tree(write_tree(example_tree(), tmp_path / "a.h5"))
    assert not tree["fit"].variables["rate"]._in_memory
    tree.close()


def test_ragged_counts_are_stored_as_integers_with_a_fill_value(tmp_path):
    values = np.array([[0, 2], [254, np.nan]], dtype="f4")
    data = xr.Dataset({"n": (("trial", "time"), values)}, {"trial": [0, 1], "time": [0.0, 0.1]})
    data["n"].encoding = {"dtype": np.uint8, "_FillValue": 255}
    path = write_tree(xr.DataTree(data), tmp_path / "a.h5")
    with h5py.File(path) as file:
        assert file["n"].dtype == np.uint8
        assert file["n"].attrs["_FillValue"] == 255
    back = read_tree(path)["n"]
    np.testing.assert_array_equal(back.values, values)
    verify(path)
    again = write_tree(read_tree(path), tmp_path / "b.h5")
    with h5py.File(again) as file:
        assert file["n"][:].tolist() == [[0, 2], [254, 255]]


@pytest.mark.parametrize("values", [[0.5, np.nan], [255.0, np.nan], [-1.0, 0.0]])
def test_values_that_the_integers_cannot_hold_are_refused_not_rounded(tmp_path, values):
    data = xr.Dataset({"n": ("t", np.array(values, dtype="f4"))}, {"t": [0, 1]})
    data["n"].encoding = {"dtype": np.uint8, "_FillValue": 255}
    with pytest.raises(InputError, match="cannot store"):
        write_tree(xr.DataTree(data), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_an_axis_without_labels_is_refused_and_nothing_is_left(tmp_path):
    tree = xr.DataTree(xr.Dataset({"a": ("lag", np.zeros(3))}))
    with pytest.raises(InputError, match="'lag' has no coordinate"):
        write_tree(tree, tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "tree",
    [
        xr.DataTree(xr.Dataset(attrs={"model": object()})),
        xr.DataTree(xr.Dataset({"z": ((), 1j)})),
        xr.DataTree(xr.Dataset({"o": ("t", np.array([{}, 1], dtype=object))}, {"t": [0, 1]})),
    ],
    ids=["attribute", "complex", "object"],
)
def test_what_hdf5_cannot_hold_is_refused_and_nothing_is_left(tmp_path, tree):
    with pytest.raises(InputError, match=r"a\.h5: /"):
        write_tree(tree, tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path):
    path = write_tree(example_tree(), tmp_path / "a.h5")
    before = path.read_bytes()
    other = xr.DataTree(xr.Dataset(attrs={"a": 1}))
    with pytest.raises(InputError, match="exists already"):
        write_tree(other, path)
    assert path.read_bytes() == before
    write_tree(other, path, overwrite=True)
    assert read_tree(path).attrs["a"] == 1


def test_a_file_may_be_rewritten_from_its_own_lazy_tree(tmp_path):
    path = write_tree(example_tree(), tmp_path / "a.h5")
    write_tree(read_tree(path), path, overwrite=True)
    xr.testing.assert_equal(read_tree(path)["fit"].to_dataset(), example_tree()["fit"].to_dataset())


def test_the_file_appears_by_one_rename_of_a_complete_file(tmp_path, monkeypatch):
    renamed = []
    rename = os.replace

    def watched(temporary, path):
        assert temporary.parent == path.parent
        renamed.append((temporary.stat().st_ino, verify(temporary)))  # closed and complete
        rename(temporary, path)

    monkeypatch.setattr("neuromodels.datasets.storage.os.replace", watched)
    path = write_tree(example_tree(), tmp_path / "a.h5")
    assert renamed == [(path.stat().st_ino, verify(path))]


@pytest.fixture
def small_slabs(monkeypatch):
    """Files are written in pieces of 256 kB, so that a megabyte takes several."""
    monkeypatch.setattr("neuromodels.datasets.stored_values.SLAB_BYTES", 2**18)


@pytest.mark.usefixtures("small_slabs")
def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    path = write_tree(example_tree(), tmp_path / "a.h5")
    before = path.read_bytes()
    with pytest.raises(InputError, match="No space left on device"):
        write_tree(slow_movie(error_after=(1, full)), path, overwrite=True)
    assert [item.name for item in tmp_path.iterdir()] == ["a.h5"]
    assert path.read_bytes() == before


@pytest.mark.usefixtures("small_slabs")
def test_an_interrupt_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_tree(slow_movie(error_after=(1, KeyboardInterrupt())), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_kill_9_while_writing_leaves_no_file_under_the_final_name(tmp_path):
    path = tmp_path / "a.h5"
    program = (
        f"import sys; sys.path.insert(0, {SUPPORT!r})\n"
        "from test_storage import slow_movie\n"
        "from neuromodels.datasets.storage import write_tree\n"
        f"write_tree(slow_movie(seconds_per_read=30), {str(path)!r})\n"
    )
    folder = os.path.dirname(__file__)
    with subprocess.Popen([sys.executable, "-c", program], cwd=folder) as process:
        for _ in range(300):
            if list(tmp_path.glob(".a.h5*.tmp")):
                break
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert list(tmp_path.glob(".a.h5*.tmp")), "it was killed before it began to write"
    assert not path.exists()


def test_a_truncated_file_is_one_message(tmp_path):
    path = write_tree(example_tree(), tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="truncated") as error:
        read_tree(path)
    assert str(error.value).count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_no_hdf5_is_one_message(tmp_path, content):
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.h5"):
        read_tree(path)


def test_a_missing_file_a_folder_and_a_foreign_file_say_so(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_tree(tmp_path / "no.h5")
    with pytest.raises(InputError, match="is a folder"):
        read_tree(tmp_path)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="not written by neuromodels"):
        read_tree(tmp_path / "f.h5")


def test_a_file_of_a_newer_version_asks_for_an_update(tmp_path):
    path = write_tree(xr.DataTree(xr.Dataset(attrs={"schema_version": 99})), tmp_path / "a.h5")
    with pytest.raises(InputError, match="Update"):
        read_tree(path)


def test_a_changed_value_is_noticed_by_verify(tmp_path):
    path = write_tree(example_tree(), tmp_path / "a.h5")
    assert verify(path) > 8
    with h5py.File(path, "r+") as file:
        file["fit/count"][17, 1] += 1
    with pytest.raises(InputError, match="/fit/count"):
        verify(path)


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        check_output(tmp_path / "no" / "a.h5")
    with pytest.raises(InputError, match="is a folder"):
        check_output(tmp_path)
    if os.name != "nt" and os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(InputError, match="permission"):
            check_output(tmp_path / "a.h5")
        tmp_path.chmod(0o700)


@pytest.mark.usefixtures("small_slabs")
def test_movies_larger_than_a_slab_are_streamed_in_order(tmp_path):
    movie = np.random.default_rng(0).integers(0, 255, (70, 100, 131), dtype="u1")
    coords = {name: np.arange(n) for name, n in zip(("frame", "y", "x"), movie.shape, strict=True)}
    data = xr.Dataset({"movie": lazy_variable(("frame", "y", "x"), movie)}, coords)
    path = write_tree(xr.DataTree(data), tmp_path / "a.h5")
    with h5py.File(path) as file:
        assert np.array_equal(file["movie"][30:40], movie[30:40])
        assert np.array_equal(file["movie"][-1], movie[-1])


# -- flipped bytes: never other data without a word ------------------------------------------------


def outcome_of(path, whole):
    """What opening and validating says of a damaged file."""
    try:
        opened = open_recording(path)
        if opened.validate().errors:
            return "reported"
        assert_same(whole, opened)
    except InputError:
        return "refused"
    return "the same"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a crash must not take the tests with it")
def test_a_flipped_bit_anywhere_is_found_and_never_crashes_hdf5(tmp_path):
    recording = random_recording(12, size=8)
    path = recording.to_hdf5(tmp_path / "a.h5")
    content = path.read_bytes()
    values = sorted(places_of_values(path))
    assert len(values) > 1000
    rng = np.random.default_rng(0)
    # In the structure, at both ends (where the seal is), and among the values.
    structure = np.setdiff1d(np.arange(len(content)), values)
    places = [*rng.choice(structure, 140), *range(8), *range(len(content) - 60, len(content))]
    places += list(rng.choice(values, N_VALUES))
    child = os.fork()
    if child == 0:
        with (tmp_path / "outcomes").open("w") as said:
            for place in places:
                damaged = bytearray(content)
                damaged[place] ^= 1 << rng.integers(8)
                path.write_bytes(damaged)
                try:
                    print(place, outcome_of(path, recording), file=said, flush=True)
                except BaseException as error:
                    print(place, type(error).__name__, error, file=said, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "HDF5 crashed"
    outcomes = (tmp_path / "outcomes").read_text().splitlines()
    assert len(outcomes) == len(places)
    said = [line.split(" ", 1)[1] for line in outcomes]
    assert set(said) == {"refused", "reported"}, set(said)
    assert said[-N_VALUES:] == ["reported"] * N_VALUES  # values are found by `validate`


def places_of_values(path):
    with h5py.File(path) as file:
        found = []
        file.visititems(lambda _, item: found.append(item) if hasattr(item, "shape") else None)
        for item in found:
            if item.dtype.kind in "iuf" and item.id.get_offset() is not None:
                start = item.id.get_offset()
                yield from range(start, start + item.id.get_storage_size())


def test_the_seal_is_no_matter_to_other_programs_and_goes_when_they_change_the_file(tmp_path):
    path = random_recording(0, size=8).to_hdf5(tmp_path / "a.h5")
    assert check_seal(path)
    with h5py.File(path, "r") as file:
        assert file.attrs["area"] == "retina"
    assert check_seal(path)
    with h5py.File(path, "r+") as file:
        file.attrs["area"] = "LGN"
    assert not check_seal(path)
    opened = open_recording(path)
    assert opened.attrs["area"] == "LGN"
    assert opened.validate().errors == ()
    opened.close()
    with h5py.File(path, "r+") as file:
        file["moving_bars/train/response"][0] += 1
    errors = open_recording(path).validate().errors
    assert [error.where for error in errors] == ["/moving_bars/train/response"]


def test_a_file_without_a_seal_of_an_earlier_version_opens(tmp_path):
    path = random_recording(0, size=8).to_hdf5(tmp_path / "a.h5")
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"\x00nmseal1", 0, -8)])
    assert not check_seal(path)
    assert_same(random_recording(0, size=8), open_recording(path))


def test_a_file_cut_inside_its_seal_is_refused(tmp_path):
    path = random_recording(0, size=8).to_hdf5(tmp_path / "a.h5")
    content = path.read_bytes()
    start = content.rindex(b"\x00nmseal1", 0, -8)
    for keep in (start + 3, start + 8, (start + len(content)) // 2, len(content) - 3):
        path.write_bytes(content[:keep])  # all that HDF5 needs is there
        with pytest.raises(InputError, match="is damaged"):
            open_recording(path)


def test_hdf5_never_sees_a_write_that_fails(tmp_path, monkeypatch):
    written = SteadyFile(tmp_path / "a.h5")
    full, take = OSError(errno.ENOSPC, "No space left on device"), written._write

    def refuse_after_4_kb(start, view):
        if start + len(view) > 4096:
            raise full
        take(start, view)

    monkeypatch.setattr(written, "_write", refuse_after_4_kb)
    numbers = np.random.default_rng(0).normal(size=(300, 40))
    with h5py.File(written, "w") as file:
        for i in range(5):
            file[f"group {i}/numbers"] = numbers
            file.flush()
        np.testing.assert_array_equal(file["group 1/numbers"], numbers)  # from memory
    with pytest.raises(OSError, match="No space left"):
        written.check()
    written.close()
