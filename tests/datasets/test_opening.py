"""open_recording finds out what a file is from its content and says what else it found."""

import h5py
import numpy as np
import pytest
from nwb_files import write_checkerboard_nwb

from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.opening import open_recording


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return recording_from_arrays(
        rng.integers(0, 2, (500, 4, 5)), rng.poisson(0.1, (500, 3)), bin_width=0.010
    )


@pytest.fixture(scope="module")
def nwb_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("opening") / "cell.nwb"
    return write_checkerboard_nwb(path, n_unique=3, n_repeats=2).path


def test_the_content_decides_not_the_name(arrays, nwb_path, tmp_path):
    ours = arrays.to_hdf5(tmp_path / "named_like_an.nwb")
    assert open_recording(ours).stimuli == ("stimulus",)
    other = tmp_path / "named_like_ours.h5"
    other.write_bytes(nwb_path.read_bytes())
    assert open_recording(other).stimuli == ("checkerboard",)


def test_a_bin_width_gives_the_view(arrays, tmp_path):
    path = arrays.to_hdf5(tmp_path / "r.h5")
    recording = open_recording(path, bin_width=0.020)
    assert recording.bin_width == 0.020
    with pytest.raises(InputError, match="whole multiple"):
        open_recording(path, bin_width=0.015)


def test_one_stimulus_of_our_own_file_can_be_chosen(arrays, tmp_path):
    path = arrays.to_hdf5(tmp_path / "r.h5")
    assert open_recording(path, stimulus="stimulus").stimuli == ("stimulus",)
    with pytest.raises(InputError, match="no 'movie'"):
        open_recording(path, stimulus="movie")
    with pytest.raises(InputError, match="test: does not apply"):
        open_recording(path, test="kind == 'repeat'")


@pytest.mark.parametrize(
    ("option", "near"), [("bin_with", "bin_width"), ("tabel", "table"), ("stimuli", "stimulus")]
)
def test_an_unknown_option_is_refused_with_the_nearest_name(nwb_path, option, near):
    with pytest.raises(InputError, match="unknown option") as error:
        open_recording(nwb_path, **{option: "x"})
    assert f"Did you mean {near!r}" in error.value.remedy


def test_options_of_another_format_are_refused(arrays, tmp_path):
    with pytest.raises(InputError, match="unknown option for a neuromodels recording"):
        open_recording(arrays.to_hdf5(tmp_path / "r.h5"), axes="xy")


def foreign(kind, path):
    if kind == "matlab5":
        path.write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(512))
    elif kind == "numpy":
        np.save(path.open("wb"), np.zeros(3))
    elif kind == "npz":
        np.savez(path.open("wb"), a=np.zeros(3))
    elif kind == "text":
        path.write_text("time,spikes\n0.1,3\n")
    elif kind == "noise":
        path.write_bytes(bytes(range(128, 256)) * 4)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            file["train/stimulus"] = np.zeros(3)
    elif kind == "empty hdf5":
        h5py.File(path, "w").close()
    elif kind == "matlab7":
        with h5py.File(path, "w") as file:
            file["spikes"] = np.zeros(3)
            file["spikes"].attrs["MATLAB_class"] = np.bytes_("double")
    elif kind == "nwb1":
        with h5py.File(path, "w") as file:
            file["nwb_version"] = "NWB-1.0.6"


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("missing", "no such file"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "is a text file"),
        ("noise", "is no HDF5 file"),
        ("matlab5", "is a damaged MATLAB file"),
        ("matlab7", r"is a MATLAB file, and nothing says .* it holds spikes \(3, double\)"),
        ("numpy", "is a numpy array"),
        ("npz", "is a zip archive"),
        ("hdf5", r"HDF5 file of unknown layout \(holds train\)"),
        ("empty hdf5", r"HDF5 file of unknown layout \(is empty\)"),
        ("nwb1", "NWB file of version 1"),
    ],
)
def test_what_is_no_recording_is_named(tmp_path, kind, what):
    path = tmp_path / "file"
    foreign(kind, path)
    with pytest.raises(InputError, match=what) as error:
        open_recording(path)
    first, second = str(error.value).split("\n", 1)
    assert first.startswith(str(path))
    assert second.startswith("  ") and len(second) > 10


def test_a_misspelt_name_suggests_the_file_beside_it(nwb_path):
    with pytest.raises(InputError) as error:
        open_recording(nwb_path.with_name("cel.nwb"))
    assert "cell.nwb" in error.value.remedy


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("whose", ["ours", "nwb"])
def test_a_truncated_file_is_refused(arrays, nwb_path, tmp_path, keep, whose):
    source = arrays.to_hdf5(tmp_path / "r.h5") if whose == "ours" else nwb_path
    content = source.read_bytes()
    path = tmp_path / "cut.h5"
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match="is damaged|damaged or truncated"):
        open_recording(path)
