"""The main job on the bundled recording: what the README promises of the demo."""

import numpy as np
import pytest

import neuromodels as nm

#: A window found on the validation blocks; the search itself is part of the slow test.
WINDOW = 1.2


@pytest.fixture(scope="module")
def comparison():
    recording = nm.sample_recording()
    options = {
        "ln": {"history": WINDOW, "ridge": [1e-3], "smoothness": [1e-2]},
        "glm": {"history": WINDOW, "ridge": [1e-3], "smoothness": [1e-2]},
        "retina-cnn": {"history": WINDOW},
    }
    return nm.compare(recording, ["ln", "glm", "retina-cnn"], options=options, progress=False)


def mean_of(comparison, model, metric):
    return float(comparison.scores.sel(model=model, metric=metric).mean())


def test_ln_reaches_its_converged_score_on_the_held_out_blocks(comparison):
    # A converged LN reaches .92-.95 here; an LN stopped early was measured at about half of it.
    assert mean_of(comparison, "ln", "bits_per_spike") >= 0.9
    assert comparison.fit("ln").attrs["summary"]["converged"]


def test_glm_gains_from_its_own_past_when_given_the_recorded_spikes(comparison):
    gain = mean_of(comparison, "glm", "bits_per_spike_conditional") - mean_of(
        comparison, "ln", "bits_per_spike"
    )
    # Measured .13-.17, in two implementations.
    assert 0.08 < gain < 0.25
    assert comparison.fit("glm").attrs["summary"]["converged"]


def test_cnn_reaches_its_score_on_the_held_out_blocks(comparison):
    # 1.6 is the mean of three seeds (slow test); one seed scatters by about .01.
    assert mean_of(comparison, "retina-cnn", "bits_per_spike") >= 1.58


def test_predictions_of_the_test_movie_have_not_changed(comparison):
    # A regression check with a tolerance, nothing is tuned on it.
    for model, r in (("ln", 0.71), ("glm", 0.71), ("retina-cnn", 0.925)):
        assert mean_of(comparison, model, "pearson_r") == pytest.approx(r, abs=0.03)


def test_ceilings_are_those_of_the_recording(comparison):
    ceiling = comparison.ceilings.sel(ceiling_kind="cc_max").values
    # Over 0 to 6.667 s it is .969-.979; the first 1.2 s are not scored here.
    assert np.all((ceiling > 0.96) & (ceiling < 0.985))


def test_a_shifted_prediction_scores_nothing(comparison):
    observed = comparison.tree["observed/moving_bars/test"].to_dataset()
    rate = comparison.fit("retina-cnn").predictions["moving_bars/test"]["rate"].values
    psth = observed["response"].mean("trial").values
    scored = observed["scored"].values == 1
    shifted = np.roll(rate[scored], 200, axis=0)
    r = [np.corrcoef(shifted[:, n], psth[scored][:, n])[0, 1] for n in range(rate.shape[1])]
    assert np.abs(np.mean(r)) < 0.3


@pytest.mark.slow
def test_demo_protocol_reaches_the_documented_scores_over_three_seeds():
    comparison = nm.compare(nm.sample_recording(), ["ln", "retina-cnn"], seeds=3, progress=False)
    assert mean_of(comparison, "ln", "bits_per_spike") >= 0.9
    assert mean_of(comparison, "retina-cnn", "bits_per_spike") >= 1.6
