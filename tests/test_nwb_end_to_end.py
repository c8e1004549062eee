"""An NWB file that pynwb alone wrote goes through the same commands as any other recording."""

import json

import h5py
import numpy as np
import pytest
from command_line import CommandLine
from nwb_files import write_checkerboard_nwb
from small_fits import NETWORK, toml

import neuromodels as nm

N_LIVE = 4
MODELS = ("ln", "glm", "retina-cnn")
WINDOW = {"history": 0.3, "temporal_basis": 8}
CONVEX = WINDOW | {"ridge": [1e-2, 1e-3], "smoothness": [0.0]}
OPTIONS = {
    "ln": CONVEX,
    "glm": CONVEX | {"own_history": 0.05, "own_basis": 3},
    "retina-cnn": NETWORK | WINDOW,
}


@pytest.fixture
def run(capsys):
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nwb")


@pytest.fixture(scope="module")
def truth(folder):
    return write_checkerboard_nwb(folder / "cell.nwb")


@pytest.fixture(scope="module")
def compared(folder, truth):
    """The comparison, from the command line: its file and what it printed."""
    from neuromodels.cli import main

    config, out = folder / "options.toml", folder / "cell.h5"
    config.write_text(toml(OPTIONS))
    arguments = ["compare", truth.path, "--models", ",".join(MODELS), "--config", config]
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("click.echo", lambda text="", **_: printed.append(text))
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in [*arguments, "--out", out]])
    assert exit_.value.code == 0, printed
    return nm.load(out), "\n".join(printed)


def test_inspect_finds_units_stimulus_and_repeats(run, truth):
    result = run("inspect", truth.path)
    assert (result.code, result.complaints) == (0, "")
    assert "6 (y) x 8 (x) px at 30 Hz" in result.out
    assert "4 min 0 s" in result.out and "8 s x 20" in result.out
    assert "silent" in result.out
    found = json.loads(run("inspect", truth.path, "--json").out)
    assert len(found["neurons"]) == N_LIVE + 1
    assert found["errors"] == []


def test_the_repeats_can_be_said_instead_of_found(run, truth):
    said = run("inspect", truth.path, "--test", "kind == 'repeat'")
    assert said.code == 0 and "8 s x 20" in said.out
    wrong = run("inspect", truth.path, "--test", "kynd == 'repeat'")
    assert (wrong.code, wrong.out) == (2, "")
    assert "kynd" in wrong.err and "kind" in wrong.err and str(truth.path) in wrong.err


def test_the_ln_model_recovers_something_of_every_neuron(compared, truth):
    comparison, _ = compared
    scores = comparison.scores.sel(model="ln").isel(neuron=slice(N_LIVE))
    # 3 minutes of training and 400 weights: far from the truth, but better than the mean rate.
    assert (scores.sel(metric="bits_per_spike") > 0).all()
    assert (scores.sel(metric="pearson_r") > 0.3).all()
    filters = comparison.fit("ln").parameters["stimulus_filter"].isel(channel=0)
    # Frames last 3.3 bins of 10 ms; lag l of the truth, in frames, began l frames before.
    lag_in_frames = np.floor((filters["stimulus_lag"].values - 0.010) * 30).astype(int)
    for neuron in range(N_LIVE):
        true = truth.filters[neuron][np.minimum(lag_in_frames, 7)]
        true = np.where((lag_in_frames < 8)[:, None, None], true, 0.0)
        found = filters.isel(neuron=neuron).transpose("stimulus_lag", "y", "x").values
        # Chance for 48 pixels on 8 temporal functions is about 1 / sqrt(384) = 0.05.
        assert np.corrcoef(true.ravel(), found.ravel())[0, 1] > 0.5


def test_the_silent_unit_is_fitted_noted_and_has_no_score(compared):
    comparison, printed = compared
    for model in MODELS:
        scores = comparison.scores.sel(model=model).isel(neuron=N_LIVE)
        for metric in ("bits_per_spike", "pearson_r", "cc_norm", "bits_per_spike_test"):
            assert np.isnan(scores.sel(metric=metric)), (model, metric)
        rate = comparison.fit(model).predictions["checkerboard/test"]["rate"].isel(neuron=N_LIVE)
        assert np.isfinite(rate.values[-100:]).all()
        assert (rate.values[-100:] < 0.01).all()  # below 1 Hz, where the data say 0
    silent = str(comparison.details["neuron"].values[N_LIVE])
    notes = [line for line in printed.split("\n") if line.startswith("note: ")]
    assert any(silent in note and "silent" in note for note in notes)
    assert int(comparison.details["gate"].isel(neuron=N_LIVE)) == 0


def test_ceilings_and_splits_come_from_the_file(compared):
    comparison, printed = compared
    facts = comparison.details.attrs
    assert facts["n_trials"] == 20
    cc_max = comparison.ceilings.sel(ceiling_kind="cc_max")
    assert ((cc_max[:N_LIVE] > 0.5) & (cc_max[:N_LIVE] <= 1)).all()
    splits = comparison.attrs["recording"]["splits"]
    assert splits["stimulus"] == "checkerboard"
    # 24 unrepeated trials of 10 s; the last four follow each other and are one stretch: 21 blocks.
    parts = [splits[name] for name in ("train", "validation", "heldout")]
    assert [len(part["labels"]) for part in parts] == [15, 4, 2]
    assert sum(part["duration_s"] for part in parts) == pytest.approx(240, abs=0.5)
    labels = [label for part in parts for label in part["labels"]]
    assert len(set(labels)) == 21
    assert "x 20 repeats" in printed


def test_predict_takes_the_nwb_file_again(run, compared, truth, tmp_path):
    comparison, _ = compared
    comparison.to_hdf5(tmp_path / "cell.h5")
    out = tmp_path / "predicted.h5"
    result = run("predict", tmp_path / "cell.h5", truth.path, "--model", "ln", "--out", out)
    assert (result.code, result.complaints) == (0, "")
    stored = comparison.fit("ln").predictions["checkerboard/test"]["rate"].values
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["checkerboard/test/rate"][...], stored)
