"""Recordings drawn at random go through every format and lose nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_recordings import assert_same, random_recording

from neuromodels.datasets.converting import convert
from neuromodels.datasets.opening import open_recording

drawn = st.builds(
    random_recording,
    seed=st.integers(0, 10_000),
    n_stimuli=st.integers(1, 2),
    kind=st.sampled_from(["count", "rate", "trace"]),
    size=st.integers(5, 30),
)


def check(recording, path):
    back = open_recording(convert(recording, path, overwrite=True))
    assert_same(recording, back)
    assert back.validate().errors == ()
    assert back.identity == recording.identity
    back.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("roundtrip")


@given(recording=drawn)
@settings(max_examples=4)
def test_hdf5(folder, recording):
    check(recording, folder / "a.h5")


@given(recording=drawn)
@settings(max_examples=2)
def test_zarr(folder, recording):
    pytest.importorskip("zarr")
    check(recording, folder / "a.zarr")


@given(recording=drawn)
@settings(max_examples=2)
def test_nwb(folder, recording):
    check(recording, folder / "a.nwb")
