"""Spiking networks on Braille letters: halves, controls, and verdicts."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from neuromodels.datasets.braille import BrailleLetters, load_braille
from neuromodels.datasets.errors import InputError
from neuromodels.fits.papers import superspike_braille
from neuromodels.fits.papers.superspike_braille import (
    BRAILLE,
    linear_baselines,
    shuffled,
    spike_counts,
    train_letters,
)
from neuromodels.fits.papers.verdicts import HELD, NOT_HELD, UNDECIDED


def invented(n_letters=3, n_repetitions=30, seed=0):
    """Letters that press different taxels at different times."""
    rng = np.random.default_rng(seed)
    letters = np.repeat(np.arange(n_letters), n_repetitions)
    frames = np.arange(76)[None, :, None]
    when, force = rng.uniform(10, 60, (n_letters, 12)), 20 * (rng.random((n_letters, 12)) < 0.5)
    shape = np.exp(-(((frames - when[letters][:, None]) / 8) ** 2)) * force[letters][:, None]
    analog = np.round(shape + rng.normal(0, 0.3, shape.shape)).astype(np.float32)
    return BrailleLetters(
        analog - analog[:, :1],
        letters,
        np.tile(np.arange(n_repetitions), n_letters),
        tuple("ABC"[:n_letters]),
    )


@pytest.fixture
def no_file(monkeypatch):
    """Invented letters instead of the published ones."""
    letters = invented()
    monkeypatch.setattr(superspike_braille, "load_braille", lambda *_, **__: letters)
    return letters


def test_the_network_learns_letters_and_not_their_shuffled_labels(no_file):
    run = train_letters([0], 12)
    assert run["accuracy"].item() > 0.9
    assert set(run.dims) == set(run.coords)
    assert run["letter_accuracy"].mean().item() == pytest.approx(run["accuracy"].item())
    control = train_letters([0], 2, shuffle=True)
    assert control["accuracy"].item() < 0.7
    xr.testing.assert_identical(control, train_letters([0], 2, shuffle=True))


def test_shuffling_moves_labels_of_the_training_half_alone(no_file):
    train, test = no_file.honest_split()
    labels = shuffled(no_file, train, 0)
    np.testing.assert_array_equal(labels[test], no_file.letters[test])
    assert (labels[train] != no_file.letters[train]).mean() > 0.4
    np.testing.assert_array_equal(np.sort(labels[train]), np.sort(no_file.letters[train]))


def test_spike_counts_are_the_rises_and_falls_of_each_signal(no_file):
    counts = spike_counts(no_file)
    change = np.diff(no_file.analog, axis=1)
    # Whole numbers that change by whole thresholds: every level crossed is one spike.
    np.testing.assert_array_equal(counts[:, :12], np.maximum(change, 0).sum(1))
    np.testing.assert_array_equal(counts[:, 12:], np.maximum(-change, 0).sum(1))


def test_without_the_file_nothing_is_decided_and_the_reader_is_told(monkeypatch):
    def unavailable(*_, **__):
        raise InputError("cannot be downloaded (no network)", where="letters.gz", remedy="By hand.")

    monkeypatch.setattr(superspike_braille, "load_braille", unavailable)
    runs = {job.name: job.function(**job.arguments) for job in BRAILLE.jobs("small")}
    part = BRAILLE.judge(runs, "small")
    assert [claim.verdict for claim in part.claims] == [UNDECIDED]
    assert "cannot be downloaded (no network)" in part.notes[0]


def test_verdicts_follow_the_accuracies():
    def judged(spiking):
        names = ["logistic regression", "logistic, spike counts", "logistic, every 8th frame"]
        linear = xr.Dataset(
            {"accuracy": ("classifier", np.array([0.98, 0.9, 0.951]))},
            coords={"classifier": ("classifier", np.array(names))},
        )
        run = xr.Dataset(
            {"accuracy": ("seed", spiking), "hidden_rate": ("seed", [5.0] * len(spiking))},
            coords={"seed": range(len(spiking))},
        )
        control = xr.Dataset({"accuracy": ("seed", [0.04])}, coords={"seed": [0]})
        runs = {"braille-linear": linear, "braille-spiking": run, "braille-shuffled": control}
        return [claim.verdict for claim in BRAILLE.judge(runs, "small").claims]

    assert judged([0.99, 0.98, 0.985]) == [HELD] * 4
    assert judged([0.95, 0.94, 0.93]) == [NOT_HELD, HELD, HELD, HELD]
    assert judged([0.5]) == [NOT_HELD, NOT_HELD, HELD, HELD]


@pytest.mark.slow
def test_the_first_frame_alone_tells_letters_apart_and_shuffled_labels_do_not():
    folder = Path(os.environ.get("NEUROMODELS_DATA", "")) / "spikes-braille"
    if "NEUROMODELS_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("set NEUROMODELS_DATA to a folder that holds spikes-braille")
    found = linear_baselines(str(folder))["accuracy"].to_series()
    assert found["logistic regression"] == pytest.approx(0.981, abs=0.004)
    assert found["linear support vectors"] == pytest.approx(0.9956, abs=0.003)
    assert found["linear discriminants"] == pytest.approx(0.9985, abs=0.003)
    assert found["logistic, every 8th frame"] == pytest.approx(0.951, abs=0.003)
    assert found["logistic, first frame alone"] > 0.2
    assert found["logistic, shuffled labels"] < 0.08
    assert load_braille(folder).analog[:, 0].any() == 0
