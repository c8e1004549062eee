"""The commands for spiking networks: rasters in, a run, its figures and its exports out."""

import json
import os
import signal
import time

import numpy as np
import pytest
from command_line import CommandLine, finished, start
from PIL import Image

import neuromodels as nm
from neuromodels.cli import cli
from neuromodels.datasets.rasters import read_ras, write_ras
from neuromodels.datasets.sample.superspike import superspike_task

TRAIN = ["--inputs", "100", "--outputs", "1", "--hidden", "0"]


@pytest.fixture
def run(capsys):
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def rasters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rasters")
    task = superspike_task("single")
    # One-based ids, as in the published files.
    return (
        write_ras(task.inputs, folder / "in.ras", first_id=1),
        write_ras(task.target, folder / "target.ras", first_id=1),
    )


@pytest.fixture(scope="module")
def trained(rasters, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run.h5"
    arguments = ["train-spikes", *rasters, *TRAIN, "--input-first-id=1", "--target-first-id=1"]
    arguments += ["--loop=0.5", "--seconds=60", "--quiet", f"--out={out}"]
    cli.main([str(argument) for argument in arguments], standalone_mode=False)
    return out


def test_two_rasters_train_a_network_that_hits_its_targets(trained):
    run = nm.load(trained)
    hits = run.spikes().times
    # Targets are 83 ms apart.
    assert len(hits) == 5
    np.testing.assert_allclose(hits, run.target.times, atol=5e-3)


def test_ids_that_begin_at_one_are_told_before_the_training(run, rasters, tmp_path):
    result = run("train-spikes", *rasters, *TRAIN, "--out", tmp_path / "run.h5")
    assert result.code == 2
    assert "id 100 is not one of the 100 neurons" in result.err
    assert "--input-first-id 1" in result.err
    assert not list(tmp_path.iterdir())


def test_the_number_of_neurons_must_be_said(run, rasters, tmp_path):
    result = run("train-spikes", *rasters, "--out", tmp_path / "run.h5")
    assert result.code == 2 and "n_neurons" in result.err


def test_show_prints_the_run_again_and_draws_it(run, trained, tmp_path):
    result = run("show", trained, "--figures", tmp_path / "figures")
    assert result.code == 0 and "spiking network 100-1" in result.out
    with Image.open(tmp_path / "figures" / "run.png") as image:
        assert image.size[0] > 1000
    said = json.loads(run("show", trained, "--json").out)
    assert said["populations"] == {"input": 100, "output": 1}
    assert said["cost"] < said["silent_cost"]


def test_a_film_is_made_of_the_learning(run, rasters, tmp_path):
    arguments = ["train-spikes", *rasters, *TRAIN, "--input-first-id=1", "--target-first-id=1"]
    arguments += ["--loop=0.5", "--seconds=6", "--set", "epoch_s=2.0", "-q"]
    film, out = tmp_path / "film.gif", tmp_path / "run.h5"
    result = run(*arguments, "--out", out, "--animation", film)
    assert (result.code, result.out) == (0, "")
    with Image.open(film) as image:
        assert image.n_frames == 3
    # A film that could not be written is told before the training.
    result = run(*arguments, "--out", tmp_path / "other.h5", "--animation", tmp_path / "film.xyz")
    assert result.code == 2 and "gif" in result.err
    assert not (tmp_path / "other.h5").exists()


def test_a_trained_network_leaves_for_other_programs(run, trained, tmp_path):
    for kind, name in (("ras", "learned.ras"), ("brian2", "net.py"), ("nir", "net.nir")):
        result = run("export-spikes", trained, "--to", kind, "--out", tmp_path / name)
        assert result.code == 0 and str(tmp_path / name) in result.out
        assert ("refractory" in result.err) == (kind == "nir")
    assert len(read_ras(tmp_path / "learned.ras", 1)) == 5
    result = run("export-spikes", trained, "--to", "ras", "--out", tmp_path / "learned.ras")
    assert result.code == 2 and "exists" in result.err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to a process")
def test_an_interrupted_training_says_how_to_go_on(run, rasters, tmp_path):
    arguments = ["train-spikes", *rasters, *TRAIN, "--input-first-id=1", "--target-first-id=1"]
    arguments += ["--loop=0.5", "--seconds=20000", "--out", tmp_path / "run.h5"]
    process = start(
        *arguments,
        cwd=tmp_path,
        # A test run in the background ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    state = tmp_path / "run.h5.partial" / "model_0" / "shared" / "training.h5"
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    result = finished(process)
    assert result.code == 130 and "--resume" in result.err
    assert state.exists()
    again = run(*arguments)
    assert again.code == 2 and "unfinished run" in again.err


def test_flags_are_not_set_twice_and_misspelt_options_are_told(run, rasters, tmp_path):
    arguments = ["train-spikes", *rasters, *TRAIN, "--out", tmp_path / "run.h5"]
    for given, said in (
        ("feedback=random", "--feedback"),
        ("duration_s=9", "--seconds"),
        ("hiden=3", "unknown option"),
        ("preset=demo", "unknown option"),
        ("keep=all", "unknown option"),
    ):
        result = run(*arguments, "--set", given)
        assert result.code == 2 and said in result.err, result.err


def test_ids_that_may_count_from_one_are_noticed(run, rasters, tmp_path):
    arguments = ["train-spikes", *rasters, "--inputs=101", "--outputs=2", "--hidden=0"]
    arguments += ["--loop=0.5", "--seconds=1", "--out", tmp_path / "run.h5"]
    result = run(*arguments)
    assert result.code == 0 and "pass --target-first-id 1" in result.err
