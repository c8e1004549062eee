"""Bars, gratings, flashes and natural images: what is where, and when."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from neuromodels.datasets import stimuli
from neuromodels.datasets.errors import InputError


def test_a_bar_is_where_its_speed_and_the_time_put_it():
    movie = stimuli.moving_bars(
        duration=20.0, frame_rate=100.0, size=(6, 30), pixel_size=10.0, speed=200.0, width=40.0,
        direction=0.0, pause=0.5, contrast=0.8, mean=0.5,
    )  # fmt: skip
    # From −(300 + 40) / 2 at 200 µm/s: 1.7 s and a pause.
    np.testing.assert_allclose(movie.attrs["sweep_times"], np.arange(0, 20, 2.2))
    since = np.arange(2000) % 220 / 100
    moving = since < 1.7
    np.testing.assert_allclose(movie.bar_position[moving], -170 + 200 * since[moving], atol=1e-9)
    assert np.isnan(movie.bar_position.values[~moving]).all()
    light = movie.values - 0.5
    seen = np.abs(np.nan_to_num(movie.bar_position.values, nan=1e9)) <= 130
    np.testing.assert_allclose(light.sum((1, 2))[seen], 0.4 * 4 * 6, rtol=1e-5)
    centre = (light * movie.x.values).sum((1, 2))[seen] / light.sum((1, 2))[seen]
    np.testing.assert_allclose(centre, movie.bar_position.values[seen], atol=1e-3)
    assert (light[~moving] == 0).all()


@pytest.mark.parametrize(
    ("direction", "axis", "sign"), [(0, "x", 1), (180, "x", -1), (90, "y", 1), (270, "y", -1)]
)
def test_a_bar_moves_in_the_direction_that_is_asked_for(direction, axis, sign):
    movie = stimuli.moving_bars(duration=1.0, direction=direction, width=100.0)
    light = movie.values - 0.5
    there = movie[axis].values
    weights = light.sum(1 if axis == "x" else 2)
    lit = weights.sum(1) > 0
    path = (weights * there).sum(1)[lit] / weights.sum(1)[lit]
    # Where the bar enters and leaves, only a part of it is seen, or one row of pixels.
    steps = sign * np.diff(path)
    assert (steps > -1e-3).all() and np.median(steps) == pytest.approx(1000 / 60, abs=0.01)


def test_bars_take_directions_in_turn_or_at_random():
    movie = stimuli.moving_bars(duration=30.0, direction=[0, 90, 45], polarity="dark")
    assert movie.min() == 0 and movie.max() == 0.5 and "seed" not in movie.attrs
    first = np.searchsorted(movie.frame_time, movie.attrs["sweep_times"] + 1e-9)
    shown = movie.bar_direction.values[first]
    np.testing.assert_array_equal(shown, np.resize([0, 90, 45], shown.size))
    random = stimuli.moving_bars(duration=300.0, seed=1)
    assert set(np.unique(random.bar_direction)) == {45.0 * i for i in range(8)}


def test_a_wandering_bar_diffuses_and_stays_on_the_screen():
    movie = stimuli.moving_bars(
        duration=400.0, motion="random-walk", speed=300.0, width=100.0, size=(1, 40),
        pixel_size=25.0,
    )  # fmt: skip
    position = movie.bar_position.values
    assert np.abs(position).max() <= 450
    np.testing.assert_allclose(movie.values.sum((1, 2)), 0.5 * (40 + 4), rtol=1e-5)
    steps = np.diff(position)
    free = np.abs(position[:-1]) < 300  # where no wall reflects
    # Half a percent per standard error of the 20,000 steps.
    assert steps[free].std() * np.sqrt(60) == pytest.approx(300, rel=0.02)
    # The walk fills the range evenly.
    assert np.histogram(position, 3, (-450, 450))[0].min() > 0.15 * position.size


def test_a_drifting_grating_is_its_formula():
    arguments = {"spatial_period": 130.0, "temporal_frequency": 3.0, "contrast": 0.6, "mean": 0.6}
    arguments |= {"direction": 30.0, "phase": 40.0}
    movie = stimuli.drifting_grating(duration=2.0, frame_rate=75.0, pixel_size=20.0, **arguments)
    for frame, row, column in ((0, 0, 0), (17, 3, 11), (149, 19, 7)):
        y, x, t = (row - 9.5) * 20, (column - 9.5) * 20, frame / 75
        along = x * np.cos(np.pi / 6) + y * np.sin(np.pi / 6)
        wave = np.sin(2 * np.pi * (along / 130 - 3 * t) + np.deg2rad(40))
        assert movie.values[frame, row, column] == pytest.approx(0.6 * (1 + 0.6 * wave), abs=1e-6)
    square = stimuli.drifting_grating(duration=2.0, waveform="square", **arguments)
    np.testing.assert_allclose(np.unique(square), [0.24, 0.96], rtol=1e-6)


def test_a_reversing_grating_stands_and_changes_its_sign_twice_a_cycle():
    movie = stimuli.reversing_grating(duration=4.0, temporal_frequency=1.0, direction=90.0)
    np.testing.assert_allclose(movie.attrs["reversal_times"], [0.25, 0.75] + list(
        np.arange(1.25, 4, 0.5)
    ))  # fmt: skip
    first, later = movie.values[0] - 0.5, movie.values[20] - 0.5  # 1/3 s
    np.testing.assert_allclose(later, -first, atol=1e-6)
    rows = 0.5 * np.sin(2 * np.pi * movie.y.values / 400)
    np.testing.assert_allclose(first, np.repeat(rows[:, None], 20, axis=1), atol=1e-6)
    smooth = stimuli.reversing_grating(duration=2.0, temporal_frequency=1.0, reversal="sine")
    np.testing.assert_allclose(smooth.contrast, np.cos(2 * np.pi * smooth.frame_time), atol=1e-9)


def test_flashes_come_at_their_times_and_only_on_their_spot():
    movie = stimuli.flash(
        duration=9.0, frame_rate=50.0, flash_duration=0.2, period=2.0, delay=0.5, contrast=0.5,
        diameter=260.0, position=(-100.0, 150.0), polarity="dark",
    )  # fmt: skip
    np.testing.assert_allclose(movie.attrs["flash_times"], [0.5, 2.5, 4.5, 6.5, 8.5])
    time = movie.frame_time.values
    expected = ((time - 0.5) % 2 < 0.2 - 1e-9) & (time >= 0.5)
    lit = (movie.values < 0.5).any((1, 2))
    np.testing.assert_array_equal(lit, expected)
    spot = movie.values[lit.argmax()] < 0.5
    inside = np.hypot(movie.y.values[:, None] + 100, movie.x.values - 150) <= 130
    np.testing.assert_array_equal(spot, inside)
    assert np.unique(movie.values).tolist() == [0.25, 0.5]


def test_the_omitted_flash_is_marked_where_it_would_have_come():
    movie = stimuli.omitted_flash()  # as in Maheswaranathan et al. (2023)
    dark = movie.values[:, 0, 0] == 0
    starts = np.flatnonzero(dark & ~np.roll(dark, 1))
    np.testing.assert_array_equal(starts, 100 + 8 * np.arange(8))
    assert dark.sum() == 16
    np.testing.assert_allclose(movie.attrs["omitted_times"], [1.64])
    assert movie.sizes["frame"] == 100 + 64 + 100
    several = stimuli.omitted_flash(duration=10.0, n_flashes=12, period=0.1)
    np.testing.assert_allclose(several.attrs["omitted_times"], [2.2, 4.4, 6.6, 8.8])
    assert several.attrs["flash_times"].size == 48 and several.sizes["frame"] == 980


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three pictures of different sizes and modes."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i, (size, mode) in enumerate((((60, 80), "L"), ((90, 50), "L"), ((48, 48), "RGB"))):
        shape = size if mode == "L" else (*size, 3)
        values = (255 * rng.beta(1, 3, shape)).astype(np.uint8)
        Image.fromarray(values, mode).save(folder / f"scene{i}.png")
    return folder


def test_a_natural_movie_shows_scaled_pictures_at_the_gaze_that_it_states(pictures):
    movie = stimuli.natural_movie(
        pictures, duration=20.0, size=(16, 20), jitter=400.0, saccade_interval=0.7, seed=2
    )
    values = movie.values
    scaled = []
    for i in range(3):
        grey = np.asarray(Image.open(pictures / f"scene{i}.png").convert("L"), dtype=float)
        scaled.append(grey)
    for frame in (0, 333, 1199):
        grey = scaled[int(movie.image[frame])]
        y, x = int(movie.gaze_y[frame]), int(movie.gaze_x[frame])
        window = grey[y : y + 16, x : x + 20]
        free = (values[frame] > 0) & (values[frame] < 1)
        # A straight line from the file's grey to the intensity, up to the cut.
        slope, offset = np.polyfit(window[free], values[frame][free], 1)
        np.testing.assert_allclose(values[frame], np.clip(slope * window + offset, 0, 1), atol=1e-4)


def test_the_gaze_stays_inside_the_picture_and_jumps_at_the_saccades(pictures):
    movie = stimuli.natural_movie(
        pictures, duration=200.0, size=(16, 20), jitter=500.0, saccade_interval=0.5
    )
    sizes = np.array([(60, 80), (90, 50), (48, 48)])[movie.image.values]
    gaze = np.stack([movie.gaze_y.values, movie.gaze_x.values], axis=1)
    assert (gaze >= 0).all() and (gaze + (16, 20) <= sizes).all()
    assert gaze.min() == 0 and (gaze + (16, 20) == sizes).any()  # it reaches the edges
    changed = np.flatnonzero(np.diff(movie.image.values)) + 1
    np.testing.assert_allclose(movie.frame_time[changed], movie.attrs["saccade_times"])
    gaps = np.diff(movie.attrs["saccade_times"])
    assert gaps.mean() == pytest.approx(0.5, rel=0.25)  # 400 intervals
    assert gaps.min() >= 0.15 - 0.5 / 60  # no eye jumps again sooner, to the nearest frame
    steps = np.diff(gaze, axis=0)[np.diff(movie.image.values) == 0]
    # 10 pixels in a second; some are reflected.
    assert steps.std() * np.sqrt(60) == pytest.approx(10, rel=0.1)


def test_pictures_get_the_stated_mean_and_contrast_after_the_cut(pictures):
    from neuromodels.datasets.stimuli.natural import _scaled

    for path in sorted(pictures.iterdir()):
        grey = np.asarray(Image.open(path).convert("L"), dtype=float)
        scaled = _scaled(grey, 0.4, 0.5)
        assert scaled.mean() == pytest.approx(0.4, abs=2e-4)
        assert scaled.std() == pytest.approx(0.2, abs=2e-4)
        assert scaled.min() >= 0 and scaled.max() <= 1


def test_a_folder_that_holds_no_movie_is_refused(pictures, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        stimuli.natural_movie(tmp_path / "none")
    with pytest.raises(InputError, match="holds no pictures"):
        stimuli.natural_movie(tmp_path)
    with pytest.raises(InputError, match="smaller than the screen"):
        stimuli.natural_movie(pictures, size=(50, 50))
    with pytest.raises(InputError, match=r"shrunk by 4, and smaller"):
        stimuli.natural_movie(pictures, size=(13, 10), shrink=4)
    Image.fromarray(np.full((40, 40), 7, np.uint8)).save(tmp_path / "blank.png")
    with pytest.raises(InputError, match="of one grey"):
        stimuli.natural_movie(tmp_path, duration=1.0).load()
    (tmp_path / "scene.png").write_bytes(b"\x89PNG no picture")
    with pytest.raises(InputError, match="damaged"):
        stimuli.natural_movie(tmp_path)


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("moving-bars", {"width": 1001.0}, "is wider than the screen, 1000 µm in direction 0"),
        ("moving-bars", {"width": 0}, "width: is 0"),
        ("moving-bars", {"speed": -100}, "speed: is -100"),
        ("moving-bars", {"speed": 1e6}, "crosses the screen within"),
        ("moving-bars", {"direction": []}, "has 0 directions"),
        ("moving-bars", {"direction": [0, 90], "motion": "random-walk"}, "has 2 directions"),
        ("moving-bars", {"contrast": -1}, "contrast: is -1"),
        ("moving-bars", {"motion": "jump"}, "Use one of: sweep, random-walk"),
        ("moving-bars", {"pause": 1e308}, "more than 100,000,000 frames"),
        ("moving-bars", {"pause": float("nan"), "motion": "random-walk"}, "pause: is nan"),
        ("drifting-grating", {"spatial_period": 99.0}, "less than two pixels"),
        ("drifting-grating", {"temporal_frequency": 31.0}, "less than two frames per cycle"),
        ("drifting-grating", {"temporal_frequency": -1.0}, "Turn direction by 180 deg"),
        ("drifting-grating", {"waveform": "saw"}, "Use one of: sine, square"),
        ("reversing-grating", {"spatial_period": 0}, "spatial_period: is 0"),
        ("flash", {"flash_duration": 2.0}, "leaves no time between flashes"),
        ("flash", {"flash_duration": 0.001}, "shorter than a frame"),
        ("flash", {"diameter": 1e4}, "wider than the screen"),
        ("flash", {"diameter": 10.0}, "covers the centre of no pixel"),
        ("flash", {"diameter": 100.0, "position": (900.0, 0.0)}, "place it on the screen"),
        ("flash", {"diameter": 100.0, "position": 3}, "Give (y, x) in µm"),
        ("flash", {"position": (float("nan"), 0.0)}, "position: is nan"),
        ("flash", {"period": 1e308}, "more than 100,000,000 frames"),
        ("flash", {"delay": 99.0}, "is the end of the movie"),
        ("omitted-flash", {"n_flashes": 0}, "n_flashes: is 0"),
        ("omitted-flash", {"duration": 2.0}, "shorter than one sequence of 2.64 s"),
        ("omitted-flash", {"period": 0.01}, "leaves no time between flashes"),
    ],
)  # fmt: skip
def test_a_shape_that_cannot_be_shown_is_refused_with_what_to_do(name, wrong, said):
    with pytest.raises(InputError) as refused:
        stimuli.generate(name, **wrong)
    assert said in str(refused.value)


def test_a_bar_may_be_so_slow_that_it_is_never_seen():
    movie = stimuli.moving_bars(duration=1.0, speed=5e-324, direction=0.0)
    assert (movie.values == 0.5).all()
    assert movie["bar_position"].values.tolist() == [-600.0] * 60
