"""The command line: what is printed where, what is written, and with which exit code."""

import json
import os
import shlex
import signal
import time

import h5py
import numpy as np
import pytest
from command_line import CommandLine, finished, listing, start
from small_fits import CONVEX, NETWORK, toml
from small_recording import small_recording

import neuromodels as nm
from neuromodels.cli import cli

COMMANDS = sorted(cli.commands)
LN = [f"--set={name}={value}" for name, value in CONVEX.items()]


@pytest.fixture
def run(capsys):
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def recording(folder):
    return small_recording().to_hdf5(folder / "recording.h5")


@pytest.fixture(scope="module")
def config(folder):
    path = folder / "options.toml"
    path.write_text(toml({"ln": CONVEX, "retina-cnn": NETWORK}))
    return path


@pytest.fixture(scope="module")
def fitted(folder, recording):
    path = folder / "ln.h5"
    nm.fit(nm.open_recording(recording), "ln", out=path, **CONVEX)
    return path


@pytest.fixture(scope="module")
def compared(folder, recording):
    path = folder / "compared.h5"
    options = {"ln": CONVEX, "retina-cnn": NETWORK}
    opened = nm.open_recording(recording)
    nm.compare(opened, ["ln", "retina-cnn"], seeds=2, options=options, out=path)
    return path


# -- help ------------------------------------------------------------------------------------------


def test_help_lists_every_command_in_a_line(run):
    result = run("--help")
    assert (result.code, result.complaints) == (0, "")
    for name in COMMANDS:
        assert f"\n  {name} " in result.out
    assert run("-h").out == result.out
    assert {"demo", "inspect", "models", "fit", "compare", "predict"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_has_examples_that_its_options_allow(run, name):
    result = run(name, "--help")
    assert (result.code, result.complaints) == (0, "")
    examples = result.out.split("Examples\n")[1].strip().split("\n")
    assert len(examples) >= 2
    for line in examples:
        program, command, *arguments = shlex.split(line)
        assert (program, command) == ("neuromodels", name)
        cli.commands[name].make_context(name, arguments)  # parses, and runs nothing


def test_an_unknown_command_or_option_is_bad_input(run):
    for arguments in (["fitt"], ["fit", "--modle", "ln"], ["fit", "a.h5"], ["compare", "a.h5"]):
        result = run(*arguments)
        assert (result.code, result.out) == (2, "")
        assert "Error: " in result.err and "Traceback" not in result.err


# -- models, inspect -------------------------------------------------------------------------------


def test_models_lists_each_model_and_preset_in_a_line(run):
    result = run("models")
    assert (result.code, result.complaints) == (0, "")
    *lines, blank, covariates = result.out.splitlines()
    assert not blank and "+running" in covariates
    names = [line.split()[0] for line in lines]
    assert {"ln", "glm", "glm-coupled", "retina-cnn", "retina-cnn:mcintosh2016"} <= set(names)
    assert all(len(line.split()) > 3 for line in lines)
    listed = json.loads(run("models", "--json").out)
    assert [row["name"] for row in listed] == names


def test_inspect_shows_roles_rates_and_ceilings(run, recording):
    result = run("inspect", recording)
    assert (result.code, result.complaints) == (0, "")
    for text in ("train", "48 s", "4 s x 8", "CC_max", "8 trials", "drift"):
        assert text in result.out


def test_inspect_as_json_says_the_same_to_programs(run, recording):
    result = run("inspect", recording, "--json")
    assert (result.code, result.complaints) == (0, "")
    found = json.loads(result.out)
    assert found["neurons"] == ["0", "1", "2"]
    assert found["errors"] == []


# -- fit -------------------------------------------------------------------------------------------


def test_fit_writes_one_file_and_prints_scores_that_are_in_it(run, recording, tmp_path):
    out = tmp_path / "ln.h5"
    result = run("fit", recording, "--model", "ln", "--out", out, *LN)
    assert (result.code, result.complaints) == (0, "")
    assert list(listing(tmp_path)) == ["ln.h5"]
    fit = nm.load(out)
    assert fit.attrs["fit_options"]["ridge"] == [1e-3]
    assert fit.attrs["config"]["options"]["history"] == 0.1
    assert repr(fit) in result.out
    for metric in ("bits_per_spike", "bits_per_spike_test", "pearson_r", "cc_norm"):
        row = fit.scores["population"].sel(model="ln", metric=metric, reduction="mean")
        assert f"{float(row.sel(part='value').squeeze()):.2f}" in result.out
    assert f"{out} (" in result.out
    assert "feve" not in result.out  # of all scores, only the usual ones


@pytest.mark.parametrize("table", ["", "[ln]\n"])
def test_fit_takes_a_config_and_set_wins_over_it(run, recording, tmp_path, table):
    config = tmp_path / "ln.toml"
    options = "history = 0.05\ntemporal_basis = 3\nridge = [1e-2]\nsmoothness = [0.0]\n"
    config.write_text(table + options)
    out = tmp_path / "ln.h5"
    result = run(
        "fit", recording, "--model", "ln", "--config", config, "--set", "history = 0.1",
        "--set", "nonlinearity=exp", "--bin-width", 0.02, "--json", "--out", out,
    )  # fmt: skip
    assert (result.code, result.complaints) == (0, "")
    options = nm.load(out).attrs["config"]["options"]
    assert (options["history"], options["temporal_basis"]) == (0.1, 3)
    assert options["nonlinearity"] == "exp"
    assert nm.load(out).attrs["recording"]["bin_width_s"] == 0.02
    assert json.loads(result.out)["models"]["ln"]["bits_per_spike"]["missing_because"] is None


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("histroy=0.4", "Did you mean 'history'?"),
        ("history=long", "Expected float or 'auto'."),
        ("rank=1.5", "Expected int."),
        ("ridge=", "Expected list of float."),
        ("history", "has no '='"),
        ("seed=3", "unknown option 'seed'"),
        ("out=x.h5", "unknown option 'out'"),
        ("recording=x.h5", "unknown option 'recording'"),
    ],
)
def test_a_setting_that_cannot_be_is_bad_input(run, recording, tmp_path, setting, what):
    result = run("fit", recording, "--model", "ln", "--set", setting, "--out", tmp_path / "a.h5")
    assert (result.code, result.out) == (2, "")
    assert what in result.err
    assert not listing(tmp_path)


# -- compare ---------------------------------------------------------------------------------------


def test_compare_with_two_seeds_prints_the_table_and_keeps_every_fit(
    run, recording, config, tmp_path
):
    out = tmp_path / "compared.h5"
    result = run(
        "compare", recording, "--models", "ln, retina-cnn", "--seed", 3, "--seeds", 2,
        "--config", config, "--all-scores", "--out", out,
    )  # fmt: skip
    assert (result.code, result.complaints) == (0, "")
    assert list(listing(tmp_path)) == ["compared.h5"]
    comparison = nm.load(out)
    assert (comparison.models, comparison.seeds) == (("ln", "retina-cnn"), (3, 4))
    first, second = (comparison.fit("retina-cnn", seed).parameters for seed in (3, 4))
    assert not first.equals(second)
    assert comparison.fit("ln", 3).parameters.equals(comparison.fit("ln", 4).parameters)
    assert "\nfeve " in result.out
    for text in ("held out", "retina-cnn − ln", "over seeds", "ceiling", "From the stimulus"):
        assert text in result.out
    for metric in comparison.details["metric"].values:
        assert f"\n{metric} " in result.out


def test_json_alone_is_on_stdout_and_quiet_is_silent(run, recording, tmp_path):
    config = tmp_path / "ln.toml"
    config.write_text(toml({"ln": CONVEX}))
    arguments = ("compare", recording, "--models", "ln", "--config", config, "--out")
    result = run(*arguments, tmp_path / "a.h5", "--json")
    assert (result.code, result.complaints) == (0, "")
    found = json.loads(result.out)
    score = found["models"]["ln"]["bits_per_spike"]
    stored = nm.load(tmp_path / "a.h5").scores.sel(model="ln", metric="bits_per_spike")
    assert score["per_neuron"] == stored.values.tolist()
    assert score["mean_over_cells"]["value"] == pytest.approx(np.mean(score["per_neuron"]))
    # What does not exist is null, with the reason: JSON has no NaN.
    missing = found["models"]["ln"]["bits_per_spike_conditional"]
    assert missing["per_neuron"] == [None, None, None]
    assert missing["missing_because"] == "the model does not see spikes"
    assert run(*arguments, tmp_path / "b.h5", "--quiet") == (0, "", "")


@pytest.mark.parametrize("command", ["models", "inspect", "predict"])
def test_quiet_prints_nothing_anywhere(run, recording, fitted, tmp_path, command):
    arguments = {
        "models": [],
        "inspect": [recording],
        "predict": [fitted, recording, "--out", tmp_path / "p.h5"],
    }[command]
    assert run(command, *arguments, "--quiet") == (0, "", "")


# -- predict ---------------------------------------------------------------------------------------


def test_predict_gives_the_rates_of_every_role_of_a_recording(run, recording, fitted, tmp_path):
    out = tmp_path / "predicted.h5"
    result = run("predict", fitted, recording, "--out", out)
    assert (result.code, result.complaints) == (0, "")
    assert "stimulus/test   400 bins x 3 neurons" in result.out
    stored = nm.load(fitted).predictions["stimulus/test"]["rate"].values
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["stimulus/test/rate"][...], stored)
        assert file["stimulus/test/rate"].attrs["units"] == "spikes per bin"
        assert set(file["stimulus"]) == {"train", "heldout", "test"}


def test_predict_takes_a_movie_and_names_a_model_of_a_comparison(
    run, recording, compared, tmp_path
):
    movie, out = tmp_path / "movie.npy", tmp_path / "predicted.h5"
    np.save(movie, nm.open_recording(recording).test["stimulus"].values)
    refused = run("predict", compared, movie, "--out", out)
    assert refused.code == 2 and "Choose one of: ln, retina-cnn." in refused.err
    result = run(
        "predict", compared, movie, "--model", "retina-cnn", "--seed", 1, "--json", "--out", out
    )
    assert (result.code, result.complaints) == (0, "")
    found = json.loads(result.out)
    assert found["model"] == "retina-cnn"
    assert found["predicted"] == {"movie/all": {"time": 400, "neuron": 3}}
    stored = nm.load(compared).fit("retina-cnn", 1).predictions["stimulus/test"]["rate"].values
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["movie/all/rate"][...], stored)
    assert run("predict", compared, movie, "--model", "glm", "--out", tmp_path / "q.h5").code == 2


@pytest.mark.parametrize(
    ("movie", "what"),
    [
        (np.zeros((50, 4, 4)), "has frames of"),
        (np.full((50, 8, 1), np.nan), "not finite"),
        (np.array([{"a": 1}]), "no array of numbers"),
        (np.zeros((3, 8, 1)), "window of 10 bins"),
    ],
)
def test_a_movie_that_cannot_be_predicted_is_named(run, fitted, tmp_path, movie, what):
    path = tmp_path / "movie.npy"
    np.save(path, movie, allow_pickle=True)
    result = run("predict", fitted, path, "--out", tmp_path / "p.h5")
    assert (result.code, result.out) == (2, "")
    first, second = result.err.rstrip("\n").split("\n")
    assert first.startswith(f"{path}: ") and what in first and second.startswith("  ")
    assert list(listing(tmp_path)) == ["movie.npy"]


# -- what exists is kept ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["fit", "compare", "predict"])
def test_an_output_that_exists_is_refused_and_left_as_it_is(
    run, recording, fitted, config, tmp_path, command
):
    out = tmp_path / "precious.h5"
    out.write_bytes(b"years of work")
    arguments = {
        "fit": [recording, "--model", "ln", *LN],
        "compare": [recording, "--models", "ln", "--config", tmp_path / "ln.toml"],
        "predict": [fitted, recording],
    }[command]
    (tmp_path / "ln.toml").write_text(toml({"ln": CONVEX}))
    before = listing(tmp_path)
    variants = [[]] if command == "predict" else [[], ["--resume"]]
    for more in variants:
        result = run(command, *arguments, "--out", out, *more)
        assert (result.code, result.out) == (2, "")
        assert str(out) in result.err and "Traceback" not in result.err
        assert listing(tmp_path) == before
    result = run(command, *arguments, "--out", out, "--overwrite")
    assert (result.code, result.complaints) == (0, "")
    assert listing(tmp_path).keys() == before.keys()
    assert h5py.is_hdf5(out)


def test_resume_of_a_finished_run_leaves_its_result_as_it_is(run, recording, tmp_path):
    arguments = ("fit", recording, "--model", "ln", *LN, "--out", tmp_path / "ln.h5")
    assert run(*arguments).code == 0
    before = listing(tmp_path)
    assert run(*arguments, "--resume").code == 0
    assert listing(tmp_path) == before
    # Another call is no resumption of it.
    other = run(*arguments, "--set", "rank=1", "--resume")
    assert other.code == 2 and "exists already" in other.err
    assert listing(tmp_path) == before


def test_a_folder_of_the_user_in_the_place_of_the_running_state_is_left_alone(
    run, recording, tmp_path
):
    (tmp_path / "ln.h5.partial").mkdir()
    (tmp_path / "ln.h5.partial" / "notes.txt").write_text("mine")
    before = listing(tmp_path)
    for more in ([], ["--overwrite"], ["--resume"]):
        result = run("fit", recording, "--model", "ln", *LN, "--out", tmp_path / "ln.h5", *more)
        assert result.code == 2 and "is in the way" in result.err
        assert listing(tmp_path) == before


# -- exit codes ------------------------------------------------------------------------------------


def test_our_own_fault_exits_1_and_says_how_to_report_it(run, monkeypatch, recording, tmp_path):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(nm, "fit", broken, raising=False)
    arguments = ("fit", recording, "--model", "ln", "--out", tmp_path / "a.h5")
    result = run(*arguments)
    assert (result.code, result.out) == (1, "")
    assert "internal error: ZeroDivisionError: oops" in result.err
    assert "Traceback" not in result.err
    assert "Traceback" in run("--debug", *arguments).err


@pytest.mark.parametrize(
    ("command", "resumable"), [("fit", True), ("compare", True), ("inspect", False)]
)
def test_an_interruption_exits_130(run, monkeypatch, recording, command, resumable):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(nm, "open_recording", interrupted, raising=False)
    arguments = {
        "fit": ["--model", "ln", "--out=a.h5"],
        "compare": ["--out=a.h5"],
        "inspect": [],
    }[command]
    result = run(command, recording, *arguments)
    assert (result.code, result.out) == (130, "")
    assert ("--resume" in result.err) == resumable


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to a process")
def test_ctrl_c_in_a_cnn_fit_says_how_to_go_on_and_resume_finishes(run, recording, tmp_path):
    out = tmp_path / "cnn.h5"
    training = NETWORK | {"epochs": 40, "patience": 40, "schedule": '"constant"'}
    settings = [f"--set={name}={value}" for name, value in training.items()]
    arguments = ("fit", recording, "--model", "retina-cnn", *settings, "--out", out)
    process = start(
        *arguments,
        cwd=tmp_path,
        # A test run in the background ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    state = tmp_path / "cnn.h5.partial" / "model_0" / "seed_0" / "training.h5"
    deadline = time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    result = finished(process)
    assert (result.code, result.out) == (130, "")
    assert result.err.split() and "--resume" in result.err and "Traceback" not in result.err
    assert not out.exists() and state.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["cnn.h5.partial"]

    blocked = run(*arguments)
    assert blocked.code == 2 and "--resume" in blocked.err

    resumed = run(*arguments, "--resume", "--quiet")
    assert resumed == (0, "", "")
    assert list(listing(tmp_path)) == ["cnn.h5"]
    assert nm.load(out).history.sizes["epoch"] == 40


def test_the_installed_command_runs_by_itself(recording, tmp_path):
    result = finished(start("inspect", recording, "--json", cwd=tmp_path))
    assert (result.code, result.complaints) == (0, "")
    assert json.loads(result.out)["neurons"] == ["0", "1", "2"]


# -- figures ---------------------------------------------------------------------------------------


def test_figures_are_drawn_beside_the_result(run, recording, tmp_path):
    (tmp_path / "ln.toml").write_text(toml({"ln": CONVEX}))
    out, figures = tmp_path / "compared.h5", tmp_path / "figures"
    result = run(
        "compare", recording, "--models", "ln", "--config", tmp_path / "ln.toml",
        "--figures", figures, "--json", "--out", out,
    )  # fmt: skip
    assert (result.code, result.complaints) == (0, "")
    drawn = json.loads(result.out)["figures"]
    assert drawn and sorted(drawn) == sorted(str(path) for path in figures.glob("*.png"))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures.iterdir())
