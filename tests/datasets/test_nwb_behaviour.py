"""Behaviour in NWB files that pynwb wrote becomes covariates, under short names, in their units."""

import numpy as np
import pytest
from nwb_files import checkerboard, write_nwb

import neuromodels as nm

TIMES = np.arange(0, 18, 0.02)


def write(path, build, module="behavior"):
    """A session of 14 s with a clip of 2 s in three trials, and the behaviour that `build` adds."""
    from pynwb import NWBHDF5IO

    clip = checkerboard(40, 1)
    frames = np.concatenate([checkerboard(100, 0), clip, checkerboard(60, 2), clip, clip])
    spikes = [np.sort(np.random.default_rng(i).uniform(0, 15, 60)) for i in range(2)]
    starts = [0.5, 5.5, 7.5, 10.5, 12.5]
    write_nwb(
        path,
        frames=frames,
        spike_times=spikes,
        timestamps=0.5 + np.arange(280) / 20,
        trials=list(zip(starts, [*starts[1:], 14.5], "ururr", strict=True)),
        trial_columns=["kind"],
    )
    with NWBHDF5IO(str(path), "a") as io:
        nwb = io.read()
        build(nwb, nwb.create_processing_module(module, "behaviour"))
        io.write(nwb)
    return path


def running_and_pupil(nwb, module):
    from pynwb import TimeSeries
    from pynwb.behavior import BehavioralTimeSeries, EyeTracking, PupilTracking, SpatialSeries

    speed = TimeSeries(
        name="running_speed",
        data=(TIMES * 100).astype(int),
        conversion=0.01,
        offset=2.0,
        unit="cm/s",
        timestamps=TIMES,
    )
    pupil = TimeSeries(
        name="pupil diameter", data=TIMES**2, unit="mm", rate=50.0, starting_time=0.0
    )
    gaze = SpatialSeries(
        name="gaze",
        data=np.column_stack([TIMES, -TIMES]),
        timestamps=speed,  # a link to the times of another series
        reference_frame="screen",
        unit="degree",
    )
    module.add(BehavioralTimeSeries(time_series=speed))
    module.add(PupilTracking(time_series=pupil))
    module.add(EyeTracking(spatial_series=gaze))
    nwb.add_acquisition(TimeSeries(name="lick", data=TIMES, unit="V", timestamps=TIMES))


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return write(tmp_path_factory.mktemp("behaviour") / "cell.nwb", running_and_pupil)


def test_running_and_pupil_are_found_with_units_and_scale(session):
    recording = nm.open_recording(session, bin_width=0.02)
    about = dict(
        zip(
            recording.train["covariate"].values.tolist(),
            recording.train["covariate_units"].values.tolist(),
            strict=True,
        )
    )
    assert about == {
        "running_speed": "cm/s",
        "gaze_x": "degree",
        "gaze_y": "degree",
        "pupil_diameter": "mm",
    }
    told = recording.train["covariates"]
    centre = recording.train["time"].values + 0.01
    np.testing.assert_allclose(told.sel(covariate="running_speed"), centre + 2, atol=0.011)
    np.testing.assert_allclose(told.sel(covariate="pupil_diameter"), centre**2, atol=2e-3)
    np.testing.assert_allclose(told.sel(covariate="gaze_y"), -centre, atol=1e-3)
    notes = " ".join(recording.attrs["notes"])
    assert "running_speed (cm/s)" in notes and "lick" in notes
    assert not recording.validate().errors


def test_every_repeat_has_the_behaviour_of_its_own_time(session):
    test = nm.open_recording(session, bin_width=0.02).test
    starts = test["trial_start"].values
    np.testing.assert_allclose(starts, [5.5, 10.5, 12.5])
    expected = starts[:, None] + 0.01 + np.arange(100) * 0.02
    np.testing.assert_allclose(test["covariates"].sel(covariate="gaze_x"), expected, atol=1e-3)


def test_the_user_chooses_by_name_or_leaves_them_out(session):
    def names(covariates):
        train = nm.open_recording(session, covariates=covariates).train
        return train["covariate"].values.tolist() if "covariates" in train else []

    assert names("none") == []
    assert names(["lick", "running_speed"]) == ["lick", "running_speed"]
    assert names("gaze, lick") == ["gaze_x", "gaze_y", "lick"]
    assert names("/processing/behavior/PupilTracking/pupil diameter") == ["pupil_diameter"]
    with pytest.raises(nm.InputError, match="no series 'runing'") as caught:
        names("runing")
    assert "running_speed" in str(caught.value)


def test_a_file_beside_the_recording_joins_what_the_recording_holds(session, tmp_path):
    np.savez(tmp_path / "more.npz", time=TIMES, temperature=np.full(TIMES.size, 36.0) + TIMES)
    both = nm.open_recording(session, covariates=["gaze", str(tmp_path / "more.npz")])
    assert both.train["covariate"].values.tolist() == ["gaze_x", "gaze_y", "temperature"]
    alone = nm.open_recording(session, covariates=["none", str(tmp_path / "more.npz")])
    assert alone.train["covariate"].values.tolist() == ["temperature"]


def test_what_cannot_be_used_is_left_out_with_a_reason_unless_it_is_named(tmp_path):
    from pynwb import TimeSeries
    from pynwb.misc import AnnotationSeries

    def build(nwb, module):
        del nwb
        backwards, gone = TIMES.copy(), np.full(TIMES.size, np.nan)
        backwards[5] = 0.0
        module.add(TimeSeries(name="broken", data=TIMES, unit="cm/s", timestamps=backwards))
        module.add(TimeSeries(name="gone", data=gone, unit="cm/s", timestamps=TIMES))
        module.add(TimeSeries(name="pose", data=np.zeros((9, 40)), unit="px", rate=1.0))
        module.add(AnnotationSeries(name="said", data=["a", "b"], timestamps=[0.0, 1.0]))
        module.add(TimeSeries(name="wheel", data=TIMES, unit="n.a.", timestamps=TIMES))

    path = write(tmp_path / "cell.nwb", build, "treadmill")
    recording = nm.open_recording(path)
    assert recording.train["covariate"].values.tolist() == ["wheel"]
    assert recording.train["covariate_units"].values.tolist() == ["arbitrary"]
    notes = " ".join(recording.attrs["notes"])
    assert "broken is left out: times do not ascend" in notes and "gone is left out" in notes
    with pytest.raises(nm.InputError, match="do not ascend") as caught:
        nm.open_recording(path, covariates="broken")
    assert "/treadmill/broken" in str(caught.value)


def test_names_are_as_long_as_it_takes_to_tell_series_apart(tmp_path):
    from pynwb import TimeSeries
    from pynwb.behavior import BehavioralTimeSeries

    def build(nwb, module):
        eye = nwb.create_processing_module("eye_tracking", "eye")
        for place in (module, eye):
            for name in ("left", "right") if place is eye else ("left",):
                inside = TimeSeries(name="speed", data=TIMES, unit="cm/s", timestamps=TIMES)
                place.add(BehavioralTimeSeries(name=name, time_series=inside))

    recording = nm.open_recording(write(tmp_path / "cell.nwb", build))
    assert sorted(recording.train["covariate"].values.tolist()) == [
        "behavior_left_speed",
        "eye_tracking_left_speed",
        "right_speed",
    ]


def test_a_module_that_is_no_behaviour_is_not_taken(tmp_path):
    from pynwb import TimeSeries

    def build(nwb, module):
        del nwb
        module.add(TimeSeries(name="lfp", data=TIMES, unit="V", timestamps=TIMES))

    recording = nm.open_recording(write(tmp_path / "cell.nwb", build, "ecephys"))
    assert "covariates" not in recording.train


def test_an_nwb_file_that_we_write_tells_other_programs_the_covariates(session, tmp_path):
    from pynwb import NWBHDF5IO

    recording = nm.open_recording(session, bin_width=0.02, finest_bin_width=0.02)
    path = nm.convert(recording, tmp_path / "ours.nwb")
    with NWBHDF5IO(str(path), "r") as io:
        speed = io.read().processing["behavior"]["running_speed"]
        assert speed.unit == "cm/s"
        values, times = speed.data[:], speed.timestamps[:]
    train, test = (
        r["covariates"].sel(covariate="running_speed") for r in (recording.train, recording.test)
    )
    np.testing.assert_array_equal(values, np.concatenate([train.values, *test.values]))
    assert (np.diff(times) > 0).all()
    again = nm.open_recording(
        path, restore=False, stimulus="movie_train", table="none", test="none", bin_width=0.02
    )
    told = again.train["covariates"].sel(covariate="running_speed")
    np.testing.assert_allclose(told.values[:100], train.values[:100], atol=0.02)
