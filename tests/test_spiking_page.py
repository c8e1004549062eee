"""The examples of docs/spiking.md work as they stand (the first one shortened)."""

import re
import shlex

import pytest
from click.testing import CliRunner
from source_tree import ROOT

from neuromodels.cli import cli
from neuromodels.datasets.rasters import write_ras
from neuromodels.datasets.sample.superspike import superspike_task

DOCS = (ROOT / "docs" / "spiking.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", DOCS, flags=re.M | re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    task = superspike_task("oxford")
    write_ras(task.inputs, tmp_path / "input.ras")
    write_ras(task.target, tmp_path / "target.ras", first_id=1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_examples():
    assert [kind for kind, _ in BLOCKS] == ["python", "", *["python"] * 4]


def test_the_examples_in_python_run_one_after_the_other(folder):
    names = {}
    for kind, code in BLOCKS:
        if kind == "python":
            short = code.replace("hidden=256", "hidden=8, duration_s=2.0")
            exec(compile(short, "docs/spiking.md", "exec"), names)
    assert (folder / "run.h5").exists() and (folder / "run.png").exists()
    assert (names["answers"] == names["labels"]).float().mean() > 0.9


@pytest.mark.parametrize(
    "line", [line for kind, code in BLOCKS if not kind for line in code.split("\n")]
)
def test_a_command_runs(line, folder):
    if line:
        result = CliRunner().invoke(cli, [*shlex.split(line)[1:], "--seconds", "2", "--quiet"])
        assert result.exit_code == 0, result.output
        assert (folder / "run.h5").exists()
