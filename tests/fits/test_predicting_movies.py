"""A fitted model before labelled movies: any frame rate, the movie's own clock, its pixels."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import xarray as xr
from command_line import CommandLine
from small_ln import small_ln

import neuromodels as nm
from neuromodels.datasets.errors import InputError
from neuromodels.fits.fit import Fit

SMALL = {"size": (3, 4), "pixel_size": 20.0}


@cache
def small_fit() -> Fit:
    """Of the screen of `SMALL`."""
    return small_ln(SMALL["size"])


def test_a_movie_with_a_frame_per_bin_is_predicted_like_its_bare_frames():
    fit = small_fit()
    movie = nm.stimuli.white_noise(duration=3.0, frame_rate=100.0, **SMALL)
    labelled = nm.predict(fit, movie)["movie/all/rate"]
    bare = nm.predict(fit, movie.values)["movie/all/rate"]
    np.testing.assert_array_equal(labelled, bare)
    np.testing.assert_allclose(labelled.time, np.arange(300) / 100, atol=1e-12)
    assert labelled.time.attrs["units"] == "s" and np.isfinite(labelled[5:]).all()


@pytest.mark.parametrize("frame_rate", [25.0, 60.0, 75.0, 240.0])
def test_at_another_frame_rate_a_bin_shows_the_frame_at_its_centre(frame_rate):
    fit = small_fit()
    movie = nm.stimuli.white_noise(duration=2.0, frame_rate=frame_rate, seed=5, **SMALL)
    # In whole microseconds: 1/60 s is none, but no centre lies within one of an onset.
    shown = [int((10 * i + 5) * frame_rate / 1000 + 1e-9) for i in range(200)]
    expected = fit.predict(movie.values[shown])["movie/all/rate"]
    np.testing.assert_allclose(fit.predict(movie)["movie/all/rate"], expected, rtol=1e-6)


def test_a_movie_that_begins_later_keeps_its_clock_and_dims_in_any_order():
    fit = small_fit()
    movie = nm.stimuli.white_noise(duration=2.0, frame_rate=50.0, **SMALL)
    late = movie.assign_coords(frame_time=movie.frame_time + 7.5).transpose("x", "frame", "y")
    rate = fit.predict(late)["movie/all/rate"]
    assert float(rate.time[0]) == 7.5
    np.testing.assert_array_equal(rate, fit.predict(movie)["movie/all/rate"])


def test_a_pause_between_frames_shows_the_frame_before_it_on():
    fit = small_fit()
    movie = nm.stimuli.white_noise(duration=1.0, frame_rate=50.0, **SMALL)
    onsets = movie.frame_time.values + np.where(np.arange(50) < 20, 0, 0.3)
    frames = np.repeat(movie.values, np.where(np.arange(50) == 19, 32, 2), axis=0)
    late = fit.predict(movie.assign_coords(frame_time=("frame", onsets, {"units": "s"})))
    np.testing.assert_array_equal(late["movie/all/rate"], fit.predict(frames)["movie/all/rate"])


def reversed_times(movie):
    """The last frame first."""
    return movie.assign_coords(frame_time=("frame", movie.frame_time.values[::-1]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m[:, :2], "the model was fitted to (1, 3, 4)"),
        (lambda m: m[:2], "longer than the model's window of 5 bins"),
        (reversed_times, "does not ascend"),
        (lambda m: m.rename(y="height"), "unknown: height"),
        (lambda m: m.where(m.frame != 3).astype("f4"), "not finite"),
        (
            lambda m: m.assign_coords(frame_time=m.frame_time.assign_attrs(units="weeks")),
            "values in 'weeks'",
        ),
        (lambda m: m.assign_attrs(background="grey"), "background: is 'grey'"),
    ],
)
def test_a_movie_that_does_not_fit_the_model_is_refused(change, said):
    movie = nm.stimuli.white_noise(duration=2.0, frame_rate=50.0, **SMALL)
    with pytest.raises(InputError) as refused:
        small_fit().predict(change(movie))
    assert said in str(refused.value)


def test_a_movie_of_other_pixels_than_the_recording_is_refused():
    tree = small_fit().tree.copy()
    grid = {"y": ("y", [-20.0, 0, 20], {"units": "µm"})}
    tree["parameters"] = xr.DataTree(tree["parameters"].to_dataset().assign_coords(grid))
    fit = Fit(tree)
    movie = nm.stimuli.white_noise(duration=1.0, frame_rate=100.0, **SMALL)
    assert fit.predict(movie)["movie/all/rate"].shape == (100, 2)
    with pytest.raises(InputError, match="has pixels of 40 µm"):
        fit.predict(nm.stimuli.white_noise(duration=1.0, size=(3, 4), pixel_size=40.0))


def test_the_command_predicts_a_movie_from_its_file(capsys, tmp_path):
    run = CommandLine(capsys)
    movie = nm.stimuli.moving_bars(duration=5.0, direction=0.0, width=40.0, speed=50.0, **SMALL)
    nm.stimuli.write_movie(movie, tmp_path / "bars.h5")
    small_fit().to_hdf5(tmp_path / "ln.h5")
    said = run("predict", tmp_path / "ln.h5", tmp_path / "bars.h5", "--out", tmp_path / "out.h5")
    assert said.code == 0, said.err
    rate = xr.open_dataset(tmp_path / "out.h5", group="movie/all", engine="h5netcdf")["rate"]
    expected = small_fit().predict(movie)["movie/all/rate"]
    np.testing.assert_array_equal(rate, expected)
    assert rate.attrs["units"] == "spikes per bin" and rate.sizes["time"] == 500
