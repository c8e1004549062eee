"""Fitting spiking networks to recordings: what they aim at, their training, the fit as a whole."""

from dataclasses import fields
from functools import cache

import numpy as np
import pytest
import torch
from small_recording import small_recording

import neuromodels as nm
from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.encoding.spiking_runs import at_rest, run_on
from neuromodels.fits.progress import Progress
from neuromodels.fits.spiking import as_trains, mixture, recorded_trains
from neuromodels.fits.spiking_options import SpikingTrainingOptions
from neuromodels.fits.spiking_training import SpikeTrainer, stretches
from neuromodels.fits.table_text import comparison_text
from neuromodels.fits.task import prepare
from neuromodels.models import ModelSpec
from neuromodels.spiking.network import SpikingNetwork

#: A fit takes a second or two.
MODEL = {"history": 0.05, "temporal_basis": 3, "channels": 2, "n_runs": 8}
TRAINING = {
    "epochs": 2,
    "stretch_s": 1.0,
    "runs_per_stretch": 2,
    "validation_runs": 2,
    "least_updates": 1,
}

# --- what it aims at -----------------------------------------------------------------------------


def test_spikes_of_a_bin_are_spread_evenly_over_it():
    trains = as_trains(np.array([[0, 1], [3, 0], [0, 0], [0, 2]]), 10)
    np.testing.assert_array_equal(trains.steps, [5, 11, 15, 18, 32, 37])
    np.testing.assert_array_equal(trains.neurons, [1, 0, 0, 0, 1, 1])
    dense = trains.between(10, 20, 2)
    assert dense.shape == (10, 2)
    np.testing.assert_array_equal(np.argwhere(dense), [[1, 0], [5, 0], [8, 0]])


def fine_recording(seed=0):
    """Counts at 2.5 ms, blocks of 4 s, no declared held-out part."""
    rng = np.random.default_rng(seed)
    n = 12 * 1600
    return recording_from_arrays(
        rng.integers(0, 2, (n // 4, 5, 1)).astype(np.uint8),
        rng.poisson(0.1, (n, 3)),
        bin_width=0.0025,
        frame_rate=100.0,
        blocks=np.repeat(np.arange(12), 1600),
    )


def test_targets_are_the_finest_stored_bins_and_no_spike_is_lost():
    recording = fine_recording()
    task = prepare(recording, bin_width=0.01)
    stored = {b.label: b.response for b in recording.blocks("train")}
    blocks = task.partition.train
    trains = recorded_trains(task.recording, task.stimulus, blocks, 0.01, 1e-3)
    assert len(trains) == len(blocks)
    for block, train in zip(blocks, trains, strict=True):
        fine = stored[block.label]
        assert len(train.steps) == block.response.sum() == fine.sum()
        # Each step lies in the stored bin of 2.5 ms that its spike was counted in.
        bins = np.floor((train.steps + 0.5) / 2.5).astype(int)
        counted = np.zeros_like(fine)
        np.add.at(counted, (bins, train.neurons), 1)
        assert np.abs(counted - fine).sum() <= 0.35 * fine.sum()  # 2.5 steps: some on an edge
        per_bin = np.zeros_like(block.response)
        np.add.at(per_bin, (train.steps // 10, train.neurons), 1)
        np.testing.assert_array_equal(per_bin, block.response)


def test_stretches_cover_every_bin_that_can_be_compared_once():
    task = prepare(small_recording())
    blocks = task.partition.train
    found = stretches(blocks, 17, 150)
    for index, block in enumerate(blocks):
        bins = [b for s in found if s.block == index for b in range(s.start, s.stop)]
        assert bins == list(range(17, block.n_bins))
    assert max(s.stop - s.start for s in found) <= 151


def test_calibration_is_the_most_likely_gain_and_floor():
    from scipy.optimize import minimize

    rng = np.random.default_rng(2)
    rate = rng.gamma(1.0, 0.3, (4000, 3))
    counts = rng.poisson(rate * [0.5, 1.0, 2.0] + [0.1, 0.02, 0.3])
    gain, floor = mixture(rate, counts)
    for n in range(3):

        def cost(p, n=n):
            expected = np.exp(p[0]) * rate[:, n] + np.exp(p[1])
            return (expected - counts[:, n] * np.log(expected)).sum()

        best = np.exp(minimize(cost, [0.0, -2.0], tol=1e-10).x)
        np.testing.assert_allclose([gain[n], floor[n]], best, rtol=2e-3)


def test_calibration_of_silent_runs_and_of_silent_cells_stays_finite():
    gain, floor = mixture(np.array([[0.0, 0.2], [0.0, 0.1]]), np.array([[1, 0], [0, 0]]))
    assert np.isfinite(gain).all() and (floor > 0).all()
    assert gain[0] == 1 and floor[0] == pytest.approx(0.5)


# --- training ------------------------------------------------------------------------------------


def trainer(**options):
    """A tiny one on the small recording."""
    task = prepare(small_recording(n_blocks=4, n_bins=200))
    spec = ModelSpec("spiking", None, MODEL)
    return SpikeTrainer(
        spec.build(task.data, 0),
        task.partition.train,
        task.partition.validation,
        recorded_trains(task.recording, task.stimulus, task.partition.train, 0.01, 1e-3),
        SpikingTrainingOptions(**TRAINING | options),
        seed=0,
        score_from=10,
    )


@cache
def learned(**options):
    """Filters after a training."""
    one = trainer(**options)
    one.run()
    return one.model.front.weight.detach()


CHANGED = {
    "epochs": 3,
    "share": 0.5,
    "least_updates": 20,
    "stretch_s": 0.5,
    "runs_per_stretch": 3,
    "compare": "own run",
    "error_rise_s": 4e-3,
    "error_decay_s": 20e-3,
    "beta_per_v": 300.0,
    "feedback": "random",
    "learning_rate": 1e-2,
    "weight_decay": 0.5,
    "schedule": "constant",
}


@pytest.mark.parametrize("name", CHANGED)
def test_every_option_of_the_training_changes_what_is_learned(name):
    assert not torch.equal(learned(), learned(**{name: CHANGED[name]}))


def test_every_option_of_the_training_is_tested_here():
    searching = {"search_epochs", "search_share"}
    choosing = {"patience", "validation_runs"}
    names = {field.name for field in fields(SpikingTrainingOptions)}
    assert set(CHANGED) | searching | choosing == names
    short = SpikingTrainingOptions(search_epochs=2, search_share=0.5).for_search()
    assert (short.epochs, short.patience, short.share, short.least_updates) == (2, 2, 0.5, 250)


def test_patience_and_validation_runs_decide_when_and_how_it_is_looked():
    few, many = trainer(), trainer(validation_runs=16)
    assert few.run().history["validation"] != many.run().history["validation"]
    stopped = trainer(epochs=30, patience=1, learning_rate=1e-9, schedule="constant").run().stopped
    assert stopped == "no progress on the validation blocks for 1 epochs"


def test_each_kind_of_feedback_teaches_something_else():
    found = [learned(feedback=kind) for kind in ("symmetric", "random", "uniform")]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(found[one], found[other])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs = 0 must be at least 1"),
        ({"runs_per_stretch": 1}, "needs runs_per_stretch of 2"),
        ({"share": 0.0}, "share = 0 must lie in"),
        ({"error_rise_s": 0.01}, "are both 0.01 s"),
        ({"beta_per_v": 0.0}, "beta_per_v = 0 must be positive"),
        ({"weight_decay": -1.0}, "weight_decay = -1"),
        ({"feedback": "none"}, "of the wrong kind"),
        ({"nohidden": 1}, "unknown option"),
    ],
)
def test_an_option_of_the_training_that_cannot_be_is_refused_in_words(options, message):
    with pytest.raises(nm.OptionError, match=message):
        nm.fit(small_recording(), "spiking", **options)


def test_the_memory_bound_shortens_stretches(monkeypatch):
    assert max(s.stop - s.start for s in trainer().stretches) > 60
    monkeypatch.setenv("NEUROMODELS_MEMORY_GB", "0.0005")
    short = trainer().stretches
    assert max(s.stop - s.start for s in short) < 60


# --- the fit as a whole --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def comparison():
    options = {
        "ln": {"history": 0.05, "temporal_basis": 3, "ridge": [1e-3], "smoothness": [0.0]},
        "spiking": MODEL | TRAINING,
    }
    recording = small_recording(n_blocks=6, n_bins=200)
    return nm.compare(recording, ["ln", "spiking"], options=options, seeds=2, progress=False)


@pytest.fixture(scope="module")
def loaded(comparison, tmp_path_factory):
    """The comparison, from its file."""
    return nm.load(comparison.to_hdf5(tmp_path_factory.mktemp("stored") / "c.h5"))


def test_one_comparison_holds_ln_and_the_spiking_network(comparison, loaded):
    assert comparison.models == ("ln", "spiking")
    scores = comparison.scores.sel(metric="bits_per_spike")
    assert np.isfinite(scores).all()
    text = comparison_text(comparison, all_scores=True)
    assert "spiking − ln" in text and "spike trains of spiking" in text
    first, second = (c.fit("spiking", 1) for c in (comparison, loaded))
    assert first.parameters.identical(second.parameters)
    assert set(second.tree.children) >= {"distances", "diagnostics", "history", "predictions"}
    facts = second.attrs["summary"]
    assert facts["calibrated_on"] == "training blocks"
    assert second.attrs["mode"] == "stimulus-only" and second.attrs["inputs"] == "stimulus"


def test_a_stored_fit_predicts_what_was_scored_bit_for_bit(comparison, loaded):
    again = nm.predict(loaded, small_recording(n_blocks=6, n_bins=200), model="spiking", seed=1)
    for role in ("heldout", "test"):
        scored = comparison.fit("spiking", 1).predictions[f"stimulus/{role}"]["rate"].values
        np.testing.assert_array_equal(again[f"stimulus/{role}"]["rate"].values, scored)


def test_seeds_differ_and_each_is_repeatable(comparison):
    first, second = (comparison.fit("spiking", seed).parameters["readout"] for seed in (0, 1))
    assert not np.array_equal(first, second)
    again = nm.fit(
        small_recording(n_blocks=6, n_bins=200),
        "spiking",
        seed=1,
        progress=False,
        **MODEL,
        **TRAINING,
    )
    np.testing.assert_array_equal(again.parameters["readout"], second)


def test_distances_lie_beside_what_gives_them_a_meaning(comparison):
    found = comparison.fit("spiking").tree["distances"].to_dataset()
    assert found.attrs["role"] == "test" and found.attrs["n_pairs"] == 8
    assert np.isfinite(found["distance"]).all() and (found["distance"] > 0).all()
    # Van Rossum: a lone spike costs 1 / (4 (5 + 10 ms)); Victor-Purpura: a missing spike costs 1.
    recorded = found["spike_rate"].sel(train="recorded")
    silence = found["distance"].sel(pair="silence, recorded")
    np.testing.assert_allclose(silence.sel(measure="Victor-Purpura"), recorded)
    assert (silence.sel(measure="van Rossum") > 16.6 * recorded).all()


def test_a_network_that_sees_past_spikes_is_scored_in_both_ways():
    options = MODEL | TRAINING | {"population_history": 0.02, "population_basis": 2}
    recording = small_recording(n_blocks=6, n_bins=200)
    found = nm.fit(recording, "spiking-coupled", progress=False, **options)
    assert found.attrs["mode"] == "free-running"
    scores = found.scores["score"].isel(model=0, seed=0, fold=0)
    for metric in ("bits_per_spike", "bits_per_spike_conditional"):
        assert np.isfinite(scores.sel(metric=metric)).all()
    test = found.predictions["stimulus/test"]
    assert test["rate_conditional"].dims == ("trial", "time", "neuron")
    assert (test["capped_share"] == 0).all()
    again = found.predict(recording)["stimulus/test"]
    for name in ("rate", "rate_conditional"):
        np.testing.assert_array_equal(again[name], test[name])


def test_from_other_neurons_spikes_alone_a_follower_is_predicted():
    # Cell 1 fires in the bin after cell 0 did; the movie says nothing.
    rng = np.random.default_rng(0)
    leader = rng.random(6000) < 0.15
    follower = np.roll(leader, 1) & (rng.random(6000) < 0.9)
    recording = nm.recording_from_arrays(
        rng.integers(0, 2, (6000, 1, 1), dtype=np.uint8),
        np.stack([leader, follower], axis=1).astype(np.int32),
        bin_width=0.01,
        frame_rate=100.0,
    )
    options = TRAINING | {"front_end": "none", "hidden": 4, "population_history": 0.03}
    found = nm.fit(recording, "spiking-coupled", progress=False, **options | {"epochs": 6})
    scores = found.scores["score"].isel(model=0, seed=0, fold=0)
    conditional = scores.sel(metric="bits_per_spike_conditional").values
    # Nothing foretells cell 0. A short training says a good deal about cell 1.
    assert conditional[1] > 0.4 and abs(conditional[0]) < 0.1
    assert "stimulus" not in found.attrs["inputs"]


def test_an_interrupted_fit_goes_on_to_the_same_weights(tmp_path):
    recording = small_recording(n_bins=200)
    options = MODEL | TRAINING | {"epochs": 3, "history": "auto", "search_epochs": 1}

    class Stop(Exception):
        pass

    class Interrupting(Progress):
        def __init__(self, after):
            self.after = after

        def update(self, done, note=""):
            self.after -= 1
            if not self.after:
                raise Stop

    whole = nm.fit(recording, "spiking", progress=False, **options)
    # During the choice of the window, and during the training.
    for after in (1, 4):
        out = tmp_path / f"{after}.h5"
        with pytest.raises(Stop):
            nm.fit(recording, "spiking", out=out, progress=Interrupting(after), **options)
        resumed = nm.fit(recording, "spiking", out=out, resume=True, progress=False, **options)
        for name, value in whole.parameters.items():
            np.testing.assert_array_equal(resumed.parameters[name], value, err_msg=name)
        role = "stimulus/heldout"
        np.testing.assert_array_equal(
            resumed.predictions[role]["rate"], whole.predictions[role]["rate"]
        )


def energy_recording(seed):
    """Two cells that answer both ON and OFF: a known spiking network, run once per trial."""
    rng = np.random.default_rng(seed)
    n_bins, n_blocks = 1000, 10
    movie = rng.choice([-1.0, 1.0], size=((n_blocks + 2) * n_bins, 4, 1)).astype(np.float32)
    space = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]]).T
    lags = np.array([0.0, 0.3, 0.5, 0.4, 0.2])
    seen = np.stack([np.convolve(x, lags)[: len(movie)] for x in (movie[:, :, 0] @ space).T], 1)
    hidden = np.repeat(np.concatenate([seen, -seen], axis=1), 3, axis=1)
    network = SpikingNetwork((1, 12, 2), dt_s=1e-3, delay_s=0.0)
    volts = 0.01 * (1 - np.exp(-1 / 5))
    drive = np.concatenate([hidden, np.full((len(hidden), 2), 0.4)], axis=1) * volts
    weights = np.zeros((12, 2))
    weights[np.arange(12), (np.arange(12) // 3) % 2] = 12e-3
    state = at_rest(14, 1, seed, np.float64)
    noise = np.full(14, 1.2e-3)
    counts, _ = run_on(state, drive, weights, noise, network.coefficients, 0.01, 10)
    train = slice(n_blocks * n_bins)
    return recording_from_arrays(
        movie[train],
        counts[train],
        bin_width=0.01,
        frame_rate=100.0,
        blocks=np.repeat(np.arange(n_blocks), n_bins),
        heldout_stimulus=movie[n_blocks * n_bins :],
        heldout_counts=counts[n_blocks * n_bins :],
        heldout_blocks=np.repeat([0, 1], n_bins),
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_network_that_made_the_spikes_is_found_where_a_linear_filter_fails(seed):
    options = {
        "ln": {"history": 0.06, "temporal_basis": 0},
        "spiking": {"history": 0.06, "temporal_basis": 0, "front_end": "linear", "hidden": 16},
    }
    found = nm.compare(
        energy_recording(seed), ["ln", "spiking"], options=options, seed=seed, progress=False
    )
    bits = found.scores.sel(metric="bits_per_spike").mean("neuron")
    assert float(bits.sel(model="spiking")) > float(bits.sel(model="ln")) + 1.0


@pytest.mark.slow
def test_on_the_bundled_recording_it_predicts_far_better_than_a_linear_filter():
    found = nm.fit(nm.sample_recording(), "spiking", history=0.8, epochs=4, progress=False)
    score = found.scores["score"].sel(metric="bits_per_spike").mean()
    # An LN model has 0.95.
    assert float(score) > 1.4
    assert found.attrs["summary"]["before_calibration"] > 1.35
