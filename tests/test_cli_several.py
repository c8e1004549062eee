"""Several recordings on the command line: compared, fitted, shown, predicted with, refused."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from command_line import CommandLine
from several_recordings import OPTIONS, recordings
from small_fits import toml

import neuromodels as nm
from neuromodels.fits.set_table import set_text


@pytest.fixture
def run(capsys):
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two recordings as files of the same name, and options."""
    place = tmp_path_factory.mktemp("several")
    for day, recording in zip(("day1", "day2"), recordings(), strict=False):
        (place / day).mkdir()
        recording.to_hdf5(place / day / "cells.h5")
    (place / "options.toml").write_text(toml(OPTIONS), "utf-8")
    return place


@pytest.fixture(scope="module")
def found(folder):
    """What Python makes of them, and writes to set.h5."""
    files = [folder / day / "cells.h5" for day in ("day1", "day2")]
    return nm.compare(files, ["ln"], options=OPTIONS, out=folder / "set.h5")


def test_compare_of_two_files_prints_what_python_prints_with_a_column_for_each(run, folder, found):
    result = run(
        *("compare", folder / "day1" / "cells.h5", folder / "day2" / "cells.h5"),
        *("--models", "ln", "--config", folder / "options.toml", "--out", folder / "cli.h5"),
    )
    assert result.code == 0, result.err
    assert str(found) in result.out
    assert "2 recordings of 1 animal, 6 cells in all" in result.out
    assert "cells (2)" in result.out
    assert (folder / "cli.h5").exists()


def test_json_gives_scores_per_recording_and_over_animals(run, folder, found):
    told = json.loads(run("show", folder / "set.h5", "--json").out)
    assert told["members"] == ["cells", "cells (2)"]
    expected = found.scores.sel(model="ln", metric="bits_per_spike").values.tolist()
    assert told["per_recording"]["ln"]["bits_per_spike"] == expected
    assert told["models"]["ln"]["bits_per_spike"]["low"] is None
    assert "too few animals" in told["no_interval_because"]


def test_all_scores_are_printed_and_the_mean_over_all_cells(found):
    text = set_text(found, all_scores=True)
    for heading in ("dev. expl.", "FEVE", "r²_ER"):
        assert heading in text
    assert "cc_norm, mean over all cells of all recordings" in text


def test_a_member_is_named_to_predict(run, folder, found):
    movie, out = folder / "day1" / "cells.h5", folder / "predicted.h5"
    arguments = ("predict", folder / "set.h5", movie, "--member", "cells (2)", "--out", out)
    assert run(*arguments).code == 0
    expected = found["cells (2)"].fit("ln").predict(nm.open_recording(movie))
    with h5py.File(out) as file:
        written = file["stimulus/test/rate"][...]
    np.testing.assert_array_equal(written, expected["stimulus/test/rate"])


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
@pytest.mark.usefixtures("found")
def test_figures_of_every_recording_are_drawn(run, folder):
    result = run("show", folder / "set.h5", "--figures", folder / "figures", "--quiet")
    assert result.code == 0, result.err
    for name in ("animals.png", "cells/overview.png", "cells (2)/overview.png"):
        assert (folder / "figures" / name).stat().st_size > 5_000
