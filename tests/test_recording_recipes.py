"""The recipes of docs/recordings.md work as they stand, on files made without our readers."""

import re
import shlex

import numpy as np
import pynapple
import pytest
from click.testing import CliRunner
from fuzz_inputs import INPUTS
from nwb_files import write_nwb
from source_tree import ROOT

import neuromodels as nm
from neuromodels.cli import cli

DOCS = (ROOT / "docs" / "recordings.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def prepare(title, folder):
    """Files that a recipe opens."""
    makers = {
        "NWB": ["nwb"],
        "Writing": ["nwb"],
        "Kilosort and Phy": ["phy_with_triggers"],
        "Kilosort and Phy with a schedule": ["phy_with_schedule"],
        "MATLAB": ["matlab_counts"],
        "MATLAB with spike times": ["matlab_spikes"],
        "deep-retina": ["deep_retina"],
        "openretina": ["openretina"],
        "Arrays": ["phy_with_triggers"],
        "pynapple, neo, SpikeInterface": ["phy_with_triggers"],
        "Image recordings": ["images_npy"],
        "Covariates": ["nwb"],
    }
    for name in makers.get(title, []):
        INPUTS[name](folder)
    rng = np.random.default_rng(0)
    if title == "NWB without its stimulus":
        spikes = [np.sort(rng.uniform(0, 12, 80)) for _ in range(2)]
        write_nwb(folder / "units.nwb", spike_times=spikes)
        np.save(folder / "movie.npy", rng.integers(0, 2, (200, 4, 5), dtype=np.uint8))
        np.savetxt(folder / "frames.csv", 0.5 + np.arange(200) / 20, fmt="%.4f")
        (folder / "trials.csv").write_text("start_time,stop_time\n0.5,5.5\n5.5,10.5\n")
    if title == "Covariates":
        rows = [f"{t:.1f},{t % 3:.2f},{2 + t % 2:.2f}" for t in np.arange(0, 12, 0.1)]
        heading = "time (s),running (cm/s),pupil (mm)"
        (folder / "behaviour.csv").write_text("\n".join([heading, *rows]))
    if title == "Arrays":
        np.save(folder / "counts.npy", rng.poisson(0.3, (200, 2)))


def recipes():
    """(heading, [(language, code), ...]) of every section with code in it."""
    parts = re.split(r"^##+ (.*)$", DOCS, flags=re.M)[1:]
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        blocks = FENCE.findall(body)
        if any(kind == "python" or "neuromodels " in code for kind, code in blocks):
            yield title, blocks


@pytest.mark.parametrize(("title", "blocks"), recipes(), ids=[title for title, _ in recipes()])
def test_a_recipe_works_as_it_stands(title, blocks, tmp_path, monkeypatch):
    prepare(title, tmp_path)
    monkeypatch.chdir(tmp_path)
    for kind, code in blocks:
        if kind == "python":
            names = {"nm": nm, "np": np, "pynapple": pynapple, "rng": np.random.default_rng(1)}
            exec(compile(code, f"docs/recordings.md: {title}", "exec"), names)
            if "recording" in names:
                names["recording"].validate().raise_errors()
        for line in code.splitlines():
            if kind == "" and line.startswith("neuromodels ") and "://" not in line:
                done = CliRunner().invoke(cli, shlex.split(line)[1:], catch_exceptions=False)
                assert done.exit_code == 0, done.output


def test_files_that_recipes_show_are_those_that_are_tested(tmp_path):
    INPUTS["phy_with_schedule"](tmp_path)
    assert (tmp_path / "stimuli.csv").read_text().strip() in DOCS
    for name in ("matlab_counts", "matlab_spikes"):
        INPUTS[name](tmp_path)
        assert (tmp_path / "map.toml").read_text().strip() in DOCS
