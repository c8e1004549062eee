"""Several recordings on the command line: compared, fitted, shown, predicted with, refused."""

from __future__ import annotations

import json

import pytest
from command_line import CommandLine
from several_recordings import OPTIONS, recordings
from small_fits import toml

import neuromodels as nm


@pytest.fixture
def run(capsys):
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two recordings as files of the same name, options, and a comparison of both."""
    place = tmp_path_factory.mktemp("several")
    for day, recording in zip(("day1", "day2"), recordings(), strict=False):
        (place / day).mkdir()
        recording.to_hdf5(place / day / "cells.h5")
    (place / "options.toml").write_text(toml(OPTIONS), "utf-8")
    nm.compare(
        [place / "day1" / "cells.h5", place / "day2" / "cells.h5"],
        ["ln"],
        options=OPTIONS,
        out=place / "set.h5",
    )
    return place


def test_compare_of_two_files_prints_a_column_for_each_and_writes_what_python_writes(run, folder):
    result = run(
        *("compare", folder / "day1" / "cells.h5", folder / "day2" / "cells.h5"),
        *("--models", "ln", "--config", folder / "options.toml", "--out", folder / "cli.h5"),
    )
    assert result.code == 0, result.err
    assert "2 recordings of 1 animal, 6 cells in all" in result.out
    assert "cells (2)" in result.out
    assert str(nm.load(folder / "cli.h5")) == str(nm.load(folder / "set.h5"))


def test_json_gives_scores_per_recording_and_over_animals(run, folder):
    result = run("show", folder / "set.h5", "--json")
    told = json.loads(result.out)
    found = nm.load(folder / "set.h5")
    assert told["members"] == ["cells", "cells (2)"]
    expected = found.scores.sel(model="ln", metric="bits_per_spike").values.tolist()
    assert told["per_recording"]["ln"]["bits_per_spike"] == expected
    assert told["models"]["ln"]["bits_per_spike"]["low"] is None
    assert "too few animals" in told["no_interval_because"]


def test_show_prints_every_score(run, folder):
    result = run("show", folder / "set.h5", "--all-scores")
    assert "mean over all cells of all recordings" in result.out


def test_a_member_is_named_to_predict(run, folder):
    movie = folder / "day1" / "cells.h5"
    result = run("predict", folder / "set.h5", movie, "--out", folder / "p.h5")
    assert result.code == 2
    assert "Choose one of: cells, cells (2)" in result.err
    arguments = ("predict", folder / "set.h5", movie, "--member", "cells (2)")
    assert run(*arguments, "--out", folder / "p.h5").code == 0


@pytest.mark.slow
def test_fit_of_two_files_shares_a_core(run, folder):
    files = (folder / "day1" / "cells.h5", folder / "day2" / "cells.h5")
    network = [f"--set={name}={value}" for name, value in OPTIONS["retina-cnn"].items()]
    out = folder / "fit.h5"
    result = run("fit", *files, "--model", "retina-cnn", *network, "--out", out, "--quiet")
    assert (result.code, result.out) == (0, "")
    assert nm.load(out)["cells"].fit("retina-cnn").attrs["model"] == "retina-cnn-shared"


def test_fit_of_a_model_without_a_core_to_two_files_is_refused(run, folder):
    files = (folder / "day1" / "cells.h5", folder / "day2" / "cells.h5")
    result = run("fit", *files, "--model", "ln", "--out", folder / "no.h5")
    assert result.code == 2
    assert "ln has no core that recordings could share" in result.err
    assert not (folder / "no.h5").exists()


def test_the_same_file_twice_is_refused(run, folder):
    file = folder / "day1" / "cells.h5"
    result = run("compare", file, file, "--out", folder / "no.h5")
    assert result.code == 2
    assert f"{file}: is the same recording as {file}" in result.err
    assert not (folder / "no.h5").exists()


@pytest.mark.slow
def test_figures_of_every_recording_are_drawn(run, folder):
    result = run("show", folder / "set.h5", "--figures", folder / "figures", "--quiet")
    assert result.code == 0, result.err
    for name in ("animals.png", "cells/overview.png", "cells (2)/overview.png"):
        assert (folder / "figures" / name).stat().st_size > 5_000
