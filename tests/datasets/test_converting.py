"""`convert`: any readable recording to HDF5, NWB or zarr, whole or not at all."""

import errno
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest
from random_recordings import assert_same, random_recording
from small_recording import small_recording

from neuromodels.datasets.building import build_recording, build_role
from neuromodels.datasets.converting import WRITERS, convert
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import lazy_variable
from neuromodels.datasets.opening import open_recording

SUFFIX = {"hdf5": ".h5", "nwb": ".nwb", "zarr": ".zarr"}


def recording(seed: int = 0):
    return random_recording(seed, size=8)


def content(path):
    """Bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())
    return {str(item.relative_to(path.parent)): item.read_bytes() for item in files}


@pytest.mark.parametrize("name", ["a.HDF5", "a.nwb", "a.zarr"])
def test_the_suffix_says_what_is_written_and_the_recording_comes_back(tmp_path, name):
    path = convert(recording(), tmp_path / name)
    assert path.is_dir() == (name == "a.zarr")
    if path.is_file():
        with h5py.File(path) as file:
            assert ("nwb_version" in file.attrs) == (name == "a.nwb")
    assert_same(recording(), open_recording(path))
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_a_file_goes_through_all_formats_and_is_the_same(tmp_path):
    first = convert(recording(1), tmp_path / "a.h5")
    second = convert(first, tmp_path / "b.nwb")
    third = convert(second, tmp_path / "c.zarr")
    last = convert(str(third), str(tmp_path / "d.h5"))
    assert_same(recording(1), open_recording(last))


def test_to_says_it_where_the_name_does_not(tmp_path):
    path = convert(recording(), tmp_path / "cell.data", to="hdf5")
    assert_same(recording(), open_recording(path))
    with pytest.raises(InputError, match=r"End it in \.h5"):
        convert(recording(), tmp_path / "cell")
    with pytest.raises(InputError, match="One of: hdf5, nwb, zarr"):
        convert(recording(), tmp_path / "cell", to="mat")


@pytest.mark.parametrize("to", WRITERS)
def test_what_exists_is_kept_unless_told_otherwise(tmp_path, to):
    path = convert(recording(), tmp_path / f"a{SUFFIX[to]}")
    before = content(path)
    with pytest.raises(InputError, match="exists already"):
        convert(recording(1), path)
    assert content(path) == before
    convert(recording(1), path, overwrite=True)
    assert_same(recording(1), open_recording(path))
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_is_no_zarr_is_never_replaced(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.txt").write_text("only copy")
    with pytest.raises(InputError, match=r"no folder with a zarr\.json"):
        convert(recording(), tmp_path / "a.zarr", overwrite=True)
    assert (tmp_path / "a.zarr" / "thesis.txt").read_text() == "only copy"


def test_damage_is_not_passed_on_under_a_new_checksum(tmp_path):
    path = convert(small_recording(n_blocks=3, n_bins=80, n_trials=3), tmp_path / "a.h5")
    with h5py.File(path) as file:
        place = file["stimulus/train/response"].id.get_offset()
    damaged = bytearray(path.read_bytes())
    damaged[place + 20] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="/train/response: is damaged"):
        convert(path, tmp_path / "b.nwb")
    assert not (tmp_path / "b.nwb").exists()


def test_a_recording_with_errors_is_refused(tmp_path):
    bad = recording()
    bad.tree["moving_bars/train/stimulus"].attrs.pop("units")
    with pytest.raises(InputError, match="has no units"):
        convert(bad, tmp_path / "a.nwb")
    assert list(tmp_path.iterdir()) == []


# -- interrupted, no space, no permission ----------------------------------------------------------


def interrupted(error: BaseException):
    """A recording whose movie takes several pieces, and `error` at the third."""

    class Movie:
        shape, dtype, reads = (64, 100, 100), np.dtype(np.uint8), 0

        def __getitem__(self, key):
            Movie.reads += 1
            if Movie.reads > 2:
                raise error
            rows = range(*key[0].indices(64))
            return np.random.default_rng(0).integers(0, 255, (len(rows), 100, 100), dtype="u1")

    movie = lazy_variable(("frame", "y", "x"), Movie())
    role = build_role(
        movie, np.ones((64, 2), dtype=int), bin_width=0.01, frame_of_bin=np.arange(64)
    )
    return build_recording({"s": {"train": role}}, identity="none")


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("how", ["full disk", "interrupt"])
def test_what_stops_writing_leaves_the_earlier_file_and_nothing_else(
    tmp_path, monkeypatch, to, how
):
    monkeypatch.setattr("neuromodels.datasets.stored_values.SLAB_BYTES", 2**18)
    monkeypatch.setattr("neuromodels.datasets.formats.nwb_copy.SLAB_BYTES", 2**18)
    full = OSError(errno.ENOSPC, "No space left on device")
    error = full if how == "full disk" else KeyboardInterrupt()
    path = tmp_path / f"a{SUFFIX[to]}"
    convert(recording(), path)
    before = content(path)
    writer = import_module(f"neuromodels.datasets.formats.{WRITERS[to]}")
    with pytest.raises(InputError if how == "full disk" else KeyboardInterrupt) as raised:
        writer.write(interrupted(error), path, overwrite=True)
    if how == "full disk":
        assert "No space left on device" in str(raised.value)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert content(path) == before


LIMITED = """
import resource, signal, sys
sys.path.insert(0, {tests!r})
from small_recording import small_recording
from neuromodels.datasets.converting import convert
from neuromodels.datasets.errors import InputError
recording = small_recording(n_blocks=4)
import pynwb, zarr
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
for name in ("a.h5", "a.nwb", "a.zarr"):
    try:
        convert(recording, {folder!r} + "/" + name, overwrite=True)
    except InputError as error:
        print(name, str(error).count(chr(10)), error.what)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_a_real_limit_of_the_system_leaves_the_earlier_files(tmp_path):
    for name in ("a.h5", "a.nwb", "a.zarr"):
        convert(recording(), tmp_path / name)
    before = {item.name: content(item) for item in tmp_path.iterdir()}
    tests = str(Path(__file__).parents[1] / "support")
    program = LIMITED.format(tests=tests, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.count("could not be written") == 3, (done.stdout, done.stderr[-2000:])
    assert {item.name: content(item) for item in tmp_path.iterdir()} == before


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind root")
@pytest.mark.parametrize("to", WRITERS)
def test_a_read_only_folder_is_one_message(tmp_path, to):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="no permission"):
            convert(recording(), tmp_path / f"a{SUFFIX[to]}")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("to", WRITERS)
def test_a_folder_that_may_not_be_written_is_one_message_for_root_too(tmp_path, monkeypatch, to):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="no permission"):
        convert(recording(), tmp_path / f"a{SUFFIX[to]}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_moved_after_it_was_opened_is_an_error_not_a_traceback(tmp_path):
    path = convert(recording(), tmp_path / "a.zarr")
    opened = open_recording(path)
    shutil.rmtree(path)
    assert opened.validate().errors
