"""Traces of calcium imaging in NWB become responses, on their own clock."""

import numpy as np
import pytest
from nwb_files import add_traces, checkerboard, new_nwb, save_nwb
from pynwb.image import ImageSeries

from neuromodels.datasets.errors import RecordingError
from neuromodels.datasets.opening import open_recording

RATE = 10.0  # samples per second, one for each frame
CLIP = checkerboard(60, 1)
MOVIE = np.concatenate([CLIP, checkerboard(120, 2), CLIP, checkerboard(120, 3)])


@pytest.fixture
def write(tmp_path):
    def write(traces, spike_times=(), **timing):
        nwb = new_nwb(spike_times)
        frames = np.swapaxes(MOVIE, 1, 2)
        nwb.add_stimulus(ImageSeries(name="movie", data=frames, unit="n", rate=RATE))
        timing = timing or {"rate": RATE}
        return save_nwb(add_traces(nwb, traces, **timing), tmp_path / "cells.nwb")

    return write


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(len(MOVIE) + 50, 4)).astype(np.float32)


def test_traces_are_read_at_their_sampling_interval(write, values):
    recording = open_recording(write({"DfOverF": values}, rate=RATE, ids=[7, 3, 11, 2]))
    assert recording.bin_width == pytest.approx(0.1)
    assert list(recording.neurons) == ["7", "3", "11", "2"]
    assert recording.train["response"].attrs["kind"] == "trace"
    np.testing.assert_allclose(recording.test["response"].values[0], values[:60])
    np.testing.assert_allclose(recording.test["response"].values[1], values[180:240])
    assert recording.validate().errors == ()


def test_timestamps_say_when_samples_were_taken(write, values):
    times = 2.0 + np.arange(len(values)) / RATE
    recording = open_recording(write({"DfOverF": values}, timestamps=times), table="none")
    np.testing.assert_allclose(recording.test["response"].values[1], values[160:220], rtol=1e-6)
    assert recording.validate().errors == ()


def test_traces_are_chosen_by_name_and_deconvolved_events_are_rates(write, values):
    events = np.abs(values)
    path = write({"DfOverF": values, "event_detection": events, "Fluorescence": 2 * values})
    assert "others (traces=)" in " ".join(open_recording(path).attrs["notes"])
    recording = open_recording(path, traces="event_detection")
    assert recording.train["response"].attrs["kind"] == "rate"
    np.testing.assert_allclose(recording.test["response"].values[0], events[:60])
    with pytest.raises(RecordingError, match="no traces 'DffOverF'") as error:
        open_recording(path, traces="DffOverF")
    assert "ophys/DfOverF/DfOverF" in error.value.remedy


def test_spikes_come_before_traces_unless_these_are_asked_for(write, values):
    path = write({"DfOverF": values}, spike_times=[np.linspace(0, 30, 400)] * 2)
    assert open_recording(path).train["response"].attrs["kind"] == "count"
    assert open_recording(path, traces="DfOverF").train["response"].attrs["kind"] == "trace"


def test_missing_samples_are_left_out_and_said(write, values):
    values = values.copy()
    values[100:103] = np.nan  # all cells: a shutter
    values[:, 2] = np.nan  # a cell that was lost
    recording = open_recording(write({"DfOverF": values}))
    assert list(recording.neurons) == ["0", "1", "3"]
    assert recording.train.sizes["time"] == 240 - 3
    assert len(recording.blocks("train")) == 3
    notes = " ".join(recording.attrs["notes"])
    assert "1 of 4 cells are left out" in notes and "0.3 s of the training data" in notes
    assert recording.validate().errors == ()
    shown = recording.blocks("train")[1].movie()[:, 0]
    np.testing.assert_array_equal(shown, MOVIE[103:180])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda v: np.full_like(v, np.nan), "all of its 4 cells miss"),
        (lambda v: np.where(np.arange(4) == 1, np.inf, v), "sample 0 of cell 1 is infinite"),
    ],
)
def test_traces_that_cannot_be_used_are_refused(write, values, change, what):
    with pytest.raises(RecordingError, match=what) as error:
        open_recording(write({"DfOverF": change(values)}))
    assert "/processing/ophys/DfOverF/DfOverF" in error.value.where
