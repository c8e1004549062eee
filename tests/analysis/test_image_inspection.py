"""What inspect says of recordings of pictures: rates, repeats, reliability, ceilings, when."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from neuromodels.analysis import ceilings
from neuromodels.analysis.image_inspection import (
    ceiling_of_pictures,
    inspect_image_recording,
    split_half_of_pictures,
)
from neuromodels.datasets.image_arrays import image_recording_from_arrays
from neuromodels.datasets.opening import open_recording

DATA = Path(os.environ.get("NEUROMODELS_DATA", "/nowhere"))


def simulated(signal_sd=1.0, noise_sd=1.0, shape=(8, 400, 3), seed=0):
    """Normal responses with a known ceiling: CC_max = √(S / (S + N/n))."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(10, signal_sd, shape[1:])
    return signal + rng.normal(0, noise_sd, shape)


def test_reliability_and_ceiling_are_those_that_were_simulated():
    found = inspect_image_recording(
        image_recording_from_arrays(simulated(noise_sd=2.0), kind="rate", units="Hz")
    )
    tuning = found.roles[0].tuning
    expected = 1 / (1 + 4 / 8)
    # 400 pictures: r has a standard error of about 0.02
    np.testing.assert_allclose(tuning.reliability, expected, atol=0.06)
    np.testing.assert_allclose(tuning.cc_max, np.sqrt(expected), atol=0.04)
    np.testing.assert_allclose(tuning.explainable_fraction, 1 / 5, atol=0.05)
    assert tuning.passes_gate.all()


def test_the_ceiling_agrees_with_that_over_trials_where_repeats_are_complete():
    responses = simulated()
    np.testing.assert_allclose(
        ceiling_of_pictures(responses)[1], ceilings.cc_max(responses), atol=1e-3
    )


def test_the_ceiling_holds_with_unequal_repeats():
    responses = simulated(noise_sd=1.5, shape=(10, 500, 4))
    n = np.random.default_rng(1).integers(2, 11, 500)
    responses[np.arange(10)[:, None] >= n] = np.nan
    expected = np.sqrt(1 / (1 + 1.5**2 * np.mean(1 / n)))
    np.testing.assert_allclose(ceiling_of_pictures(responses)[1], expected, atol=0.03)


def test_noise_alone_has_neither_reliability_nor_ceiling():
    noise = simulated(signal_sd=0.0, shape=(6, 300, 5))
    assert np.abs(split_half_of_pictures(noise)).max() < 0.2
    found = inspect_image_recording(image_recording_from_arrays(noise, kind="rate"))
    assert found.roles[0].tuning.passes_gate.sum() <= 1


def test_averages_have_no_ceiling_and_the_reason_is_said():
    found = inspect_image_recording(image_recording_from_arrays(simulated()[0], kind="rate"))
    role = found.roles[0]
    assert role.tuning is None
    assert role.reasons["tuning"] == "every picture has one value only"
    assert "no ceiling: every picture has one value only" in found.text()


def test_time_bins_show_when_neurons_are_tuned():
    rng = np.random.default_rng(3)
    rates = np.full((60, 4, 3), 2.0)
    rates[:, :, 2] = rng.uniform(0, 8, (60, 4))  # tuned from 50 ms on
    counts = rng.poisson(rates, (6, 60, 4, 3))
    found = inspect_image_recording(
        image_recording_from_arrays(counts, time_bins=[-0.05, 0.0, 0.05, 0.1])
    )
    course = found.roles[0].time_course
    assert np.abs(course.r_halves[:2]).max() < 0.2
    assert course.r_halves[2] > 0.7
    np.testing.assert_allclose(course.mean, counts.mean((0, 1, 2)) / 0.05)
    assert course.mean_units == "Hz"
    role = found.roles[0]
    assert role.window == "0 to 100 ms"
    np.testing.assert_allclose(role.mean, counts[..., 1:].sum(-1).mean((0, 1)) / 0.1)
    assert "50 to 100" in found.text()


def test_the_json_form_has_the_same_numbers_and_no_nan():
    counts = np.random.default_rng(0).poisson(2.0, (4, 30, 3)).astype(float)
    counts[..., 1] = 0
    found = inspect_image_recording(image_recording_from_arrays(counts))
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["roles"][0]["tuning"]["reliability"][1] is None
    assert said["roles"][0]["mean"] == found.roles[0].mean.tolist()
    assert "1 is silent" in found.text()


def test_a_broken_recording_is_shown_as_far_as_it_can_be_read():
    counts = np.random.default_rng(0).poisson(2.0, (4, 30, 3)).astype(float)
    counts[0, 0, 0] = -1
    found = inspect_image_recording(image_recording_from_arrays(counts))
    assert len(found.errors) == 1
    assert found.unreadable == ("/images/presentations",)
    assert "1 negative counts" in found.text()


@pytest.mark.skipif(
    not (DATA / "v4-images").is_dir(), reason="NEUROMODELS_DATA does not hold v4-images"
)
def test_the_v4_sessions_are_as_reliable_as_their_source_says():
    found = inspect_image_recording(open_recording(DATA / "v4-images", session="210325"))
    role = found.roles[0]
    reliability = role.tuning.reliability
    # Stated: median .75 (.51 to .93); halves are drawn anew here.
    assert np.median(reliability) == pytest.approx(0.75, abs=0.02)
    assert reliability.min() == pytest.approx(0.51, abs=0.02)
    assert reliability.max() == pytest.approx(0.93, abs=0.02)
    assert len(found.neurons) == 50
    assert (role.min_repeats.min(), role.max_repeats.max()) == (6, 10)
    other = inspect_image_recording(open_recording(DATA / "v4-images", session="201025"))
    assert len(other.neurons) == 89 and other.roles[0].summary["n_stimuli"] == 1200
    assert "averages over repeats" in other.roles[0].reasons["tuning"]


@pytest.mark.skipif(
    not (DATA / "it-seven-objects").is_dir(),
    reason="NEUROMODELS_DATA does not hold it-seven-objects",
)
def test_the_it_units_are_tuned_after_the_onset_and_not_before(tmp_path):
    folder = DATA / "it-seven-objects/Zhang_Desimone_7object_raster_data_mat"
    for file in sorted(folder.glob("*.mat"))[::3]:  # every third unit: 44
        (tmp_path / file.name).symlink_to(file)
    found = inspect_image_recording(open_recording(tmp_path, label="stimulus_ID"))
    course = found.roles[0].time_course
    before = course.end <= 0.05 + 1e-9
    at = {round(1e3 * start): r for start, r in zip(course.start, course.r_halves, strict=True)}
    # Stated for all 132: about 0 before, .55 at 100-150 ms, .34 at the end; a mean over 44 units
    # with r of 7 objects has an error of about 0.06.
    assert np.abs(course.r_halves[before]).mean() < 0.1
    assert at[100] == pytest.approx(0.52, abs=0.12)
    assert at[450] == pytest.approx(0.35, abs=0.12)
    assert at[150] > at[450]
