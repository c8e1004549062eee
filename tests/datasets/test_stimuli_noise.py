"""Noise, M-sequences and contrast steps against their formulas, and what makes no movie."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import ndtri

from neuromodels.datasets import stimuli
from neuromodels.datasets.errors import InputError

SMALL = {"frame_rate": 50.0, "size": (3, 4), "pixel_size": 20.0}


def test_a_movie_says_where_its_pixels_are_when_its_frames_come_and_how_it_was_made():
    movie = stimuli.white_noise(duration=1.0, seed=7, **SMALL)
    assert movie.name == "stimulus" and movie.dims == ("frame", "y", "x")
    np.testing.assert_array_equal(movie.y, [-20, 0, 20])
    np.testing.assert_array_equal(movie.x, [-30, -10, 10, 30])
    np.testing.assert_allclose(movie.frame_time, np.arange(50) / 50, atol=1e-15)
    assert movie.frame.attrs["units"] == "1" and movie.frame_time.attrs["units"] == "s"
    assert movie.y.attrs["units"] == movie.x.attrs["units"] == "µm"
    about = movie.attrs
    assert about["units"] == "1" and about["generator"] == "white-noise" and about["seed"] == 7
    assert about["frame_rate"] == 50 and about["background"] == 0.5
    again = stimuli.generate(about["generator"], **json.loads(about["parameters"]))
    assert again.identical(movie)


def test_binary_noise_is_the_stated_stream_of_numpy():
    movie = stimuli.white_noise(duration=2.0, seed=3, contrast=0.5, mean=0.4, hold=2, **SMALL)
    uniform = np.random.default_rng(3).random((50, 3, 4))
    expected = np.where(uniform < 0.5, 0.6, 0.2).repeat(2, axis=0)
    np.testing.assert_allclose(movie.values, expected, rtol=1e-6)


def test_gaussian_noise_is_the_stated_stream_cut_at_the_range_of_the_display():
    movie = stimuli.white_noise(duration=4.0, seed=3, kind="gaussian", contrast=0.5, **SMALL)
    gauss = ndtri(np.random.default_rng(3).random((200, 3, 4)))
    np.testing.assert_allclose(movie.values, np.clip(0.5 + 0.25 * gauss, 0, 1), atol=1e-6)
    assert movie.attrs["clipped_share"] == pytest.approx(0.0455, abs=1e-4)  # beyond 2 sd


def test_white_noise_has_its_mean_and_contrast_and_no_correlations():
    for kind, contrast in (("binary", 1.0), ("gaussian", 0.3)):
        movie = stimuli.white_noise(duration=400, kind=kind, contrast=contrast, **SMALL)
        values = movie.values.reshape(20000, 12).astype(float)
        # Four standard errors of 20000 frames.
        assert np.abs(values.mean(0) - 0.5).max() < 4 * 0.5 * contrast / np.sqrt(20000)
        assert np.abs(values.std(0) / 0.5 - contrast).max() < 4 * contrast / np.sqrt(20000)
        unit = (values - values.mean(0)) / values.std(0)
        assert np.abs(unit.T @ unit / 20000 - np.eye(12)).max() < 4.5 / np.sqrt(20000)
        assert np.abs(unit[1:].T @ unit[:-1] / 20000).max() < 4.5 / np.sqrt(20000)


def test_an_hour_of_noise_takes_no_memory_and_is_entered_anywhere():
    hour = stimuli.white_noise(duration=3600, frame_rate=60, size=(100, 100), kind="gaussian")
    assert hour.nbytes > 8e9
    late = hour[200_000:200_003].values
    stream = np.random.PCG64(0)
    stream.advance(200_000 * 10_000)
    gauss = ndtri(np.random.Generator(stream).random((3, 100, 100)))
    np.testing.assert_allclose(late, np.clip(0.5 + 0.175 * gauss, 0, 1), atol=1e-6)


def test_the_seed_alone_decides_what_is_random():
    for name, extra in (("white-noise", {}), ("contrast-steps", {}), ("moving-bars", {})):
        make = [stimuli.generate(name, duration=30.0, seed=s, **extra).values for s in (1, 1, 2)]
        np.testing.assert_array_equal(make[0], make[1])
        assert (make[0] != make[2]).any()


@pytest.mark.parametrize("order", [2, 3, 5, 8, 11, 14])
def test_an_m_sequence_is_balanced_has_its_period_and_a_flat_autocorrelation(order):
    n = 2**order - 1
    movie = stimuli.m_sequence(order=order, duration=2 * n / 50 + 0.01, frame_rate=50, size=(1, 1))
    signs = 2 * movie.values.ravel().astype(int) - 1
    assert movie.attrs["period_frames"] == n and movie.sizes["frame"] == 2 * n
    np.testing.assert_array_equal(signs[:n], signs[n:])  # the period divides n ...
    one = signs[:n]
    assert one.sum() == 1  # one bright pattern more
    spectrum = np.abs(np.fft.fft(one)) ** 2
    correlation = np.rint(np.fft.ifft(spectrum).real).astype(int)
    assert correlation[0] == n
    assert (correlation[1:] == -1).all()  # ... and nothing shorter


@pytest.mark.parametrize("order", [*range(2, 17), 18])
def test_every_order_runs_through_all_states_of_its_register(order):
    n = 2**order - 1
    movie = stimuli.m_sequence(order=order, size=(1, 1), frame_rate=60.0)
    bits = movie.values.ravel().astype(np.int64)
    assert bits.size == n
    circle = np.concatenate([bits, bits[: order - 1]])
    states = sum(circle[i : i + n] << i for i in range(order))
    assert np.unique(states).size == n and states.min() == 1


def test_every_check_of_an_m_sequence_is_the_same_sequence_later():
    movie = stimuli.m_sequence(order=9, size=(2, 3), frame_rate=60.0, hold=2)
    delay = movie.attrs["delay_frames"]
    assert delay == 511 // 6 * 2
    checks = movie.values.reshape(1022, 6)
    for i in range(6):
        np.testing.assert_array_equal(checks[:, i], np.roll(checks[:, 0], i * delay))


def test_contrast_steps_between_two_values_about_one_mean():
    movie = stimuli.contrast_steps(
        duration=400.0, frame_rate=50.0, low=0.1, high=0.4, period=20.0, size=(2, 2)
    )
    np.testing.assert_allclose(movie.attrs["step_times"], np.arange(10.0, 400.0, 10.0))
    epochs = movie.values.reshape(40, 500 * 4)
    assert np.abs(epochs[::2].std(1) / 0.5 - 0.1).max() < 4 * 0.1 / np.sqrt(2 * 2000)
    assert np.abs(epochs[1::2].std(1) / 0.5 - 0.4).max() < 5 * 0.4 / np.sqrt(2 * 2000)
    assert np.abs(epochs.mean(1) - 0.5).max() < 4 * 0.2 / np.sqrt(2000)
    change = np.flatnonzero(np.diff(movie.contrast.values)) + 1
    np.testing.assert_allclose(movie.frame_time[change], movie.attrs["step_times"])


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("white-noise", {"contrast": -0.1}, "contrast: is -0.1, which is negative"),
        ("white-noise", {"contrast": 1.2}, "would leave 0 to 1"),
        ("white-noise", {"contrast": 0.8, "kind": "gaussian"}, "(2 sd)"),
        ("white-noise", {"mean": 0.7}, "Give at most 0.4286"),
        ("white-noise", {"mean": 1.5}, "mean: is 1.5"),
        ("white-noise", {"frame_rate": 0}, "frame_rate: is 0, which is not positive"),
        ("white-noise", {"frame_rate": -60}, "frame_rate: is -60"),
        ("white-noise", {"frame_rate": float("nan")}, "frame_rate: is nan"),
        ("white-noise", {"duration": 0.01}, "0.01 s is shorter than one frame of 0.01667 s"),
        ("white-noise", {"duration": -3}, "duration: is -3"),
        ("white-noise", {"duration": 1e9}, "more than"),
        ("white-noise", {"size": (0, 3)}, "size: is (0, 3)"),
        ("white-noise", {"size": 20}, "size: is 20"),
        ("white-noise", {"pixel_size": 0}, "pixel_size: is 0"),
        ("white-noise", {"pixel_size": 1e308}, "pixel_size: is 1e+308"),
        ("white-noise", {"duration": 10**400}, "duration: is 1000"),
        ("white-noise", {"hold": 0}, "hold: is 0"),
        ("white-noise", {"seed": -1}, "seed: is -1"),
        ("white-noise", {"kind": "pink"}, "Use one of: binary, gaussian"),
        ("white-noise", {"colour": 3}, "has no parameter 'colour'"),
        ("m-sequence", {"order": 1}, "order: is 1"),
        ("m-sequence", {"order": 25}, "Give 2 to 24"),
        ("m-sequence", {"order": 4, "size": (4, 4)}, "fewer than the 16 checks"),
        ("contrast-steps", {"low": 0.4, "high": 0.2}, "is not below high"),
        ("contrast-steps", {"period": 0.001}, "shorter than a frame"),
        ("contrast-steps", {"period": 1e18}, "more than 100,000,000 frames"),
        ("m-sequence", {"order": 2**31}, "Give 2 to 24"),
        ("natural-movie", {"folder": 3}, "folder: is 3"),
        ("natural-movie", {}, "needs folder"),
        ("checkers", {}, "there is no generator 'checkers'"),
    ],
)
def test_a_movie_that_cannot_be_is_refused_with_what_to_do(name, wrong, said):
    with pytest.raises(InputError) as refused:
        stimuli.generate(name, **wrong)
    assert said in str(refused.value)


def test_every_generator_is_listed_with_a_line():
    rows = dict(stimuli.listing())
    assert list(rows) == list(stimuli.GENERATORS)
    assert all(20 < len(line) <= 100 for line in rows.values())
