"""An interrupted run, resumed, gives what an uninterrupted one gives."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_recording import small_recording

import neuromodels as nm
from neuromodels.datasets.storage import read_tree
from neuromodels.fits.progress import Progress

SUPPORT = Path(__file__).parents[1] / "support"
#: What may differ between two runs: when and how fast they ran.
TIMES = {"created", "wall_time_s", "cpu_time_s", "wall_time", "cpu_time"}


def assert_same_result(one: Path, two: Path) -> None:
    first, second = read_tree(one).load(), read_tree(two).load()
    assert [node.path for node in first.subtree] == [node.path for node in second.subtree]
    for a, b in zip(first.subtree, second.subtree, strict=True):
        for name in set(a.variables) | set(b.variables):
            if name not in TIMES:
                np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=name)
        for name in set(a.attrs) | set(b.attrs):
            if name not in TIMES:
                assert json.dumps(a.attrs[name]) == json.dumps(b.attrs[name]), name


def check_kill_points(tmp_path: Path, n_points: int, models: str, seeds: int) -> None:
    environment = os.environ | {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [
            sys.executable,
            str(SUPPORT / "kill_harness.py"),
            str(tmp_path),
            str(n_points),
            models,
            str(seeds),
        ],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert len(report["outcomes"]) == n_points
    for outcome in report["outcomes"]:
        assert outcome["killed"] == -signal.SIGKILL, outcome
        assert outcome["resumed"] == 0, (outcome, done.stderr[-3000:])
        folder = tmp_path / f"kill_{outcome['at']}"
        assert_same_result(tmp_path / "whole" / "out.h5", folder / "out.h5")
        left = {path.name for path in folder.iterdir()} - {"steps.txt"}
        assert left == {"out.h5"}, outcome


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, and kills what it forked")
def test_kill_and_resume_at_many_points_equals_an_uninterrupted_run(tmp_path):
    check_kill_points(tmp_path, 8, "ln,retina-cnn", 1)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, and kills what it forked")
def test_kill_and_resume_at_very_many_points_equals_an_uninterrupted_run(tmp_path):
    check_kill_points(tmp_path, 60, "ln,glm,retina-cnn", 2)


def test_resume_of_another_call_is_refused(tmp_path):
    recording, out = small_recording(), tmp_path / "out.h5"

    class Stop(Exception):
        pass

    class Interrupting(Progress):
        def finish(self, note=""):
            raise Stop

    with pytest.raises(Stop):
        nm.compare(
            recording, ["ln"], out=out, options={"ln": {"history": 0.1}}, progress=Interrupting()
        )
    with pytest.raises(nm.InputError, match="other data, models, options"):
        nm.compare(
            recording,
            ["ln"],
            out=out,
            options={"ln": {"history": 0.2}},
            resume=True,
            progress=False,
        )
    with pytest.raises(nm.InputError, match="unfinished run"):
        nm.compare(recording, ["ln"], out=out, options={"ln": {"history": 0.1}}, progress=False)


def test_two_runs_cannot_write_one_output(tmp_path):
    recording, out = small_recording(), tmp_path / "out.h5"
    options = {"ln": {"history": 0.1}}

    class Second(Progress):
        said = ""

        def start(self, name, total):
            # Another process, in the middle of the first run.
            code = (
                "import sys; sys.path.insert(0, sys.argv[1])\n"
                "import neuromodels as nm\n"
                "from small_recording import small_recording\n"
                "try:\n"
                "    nm.compare(small_recording(), ['ln'], out=sys.argv[2], resume=True,\n"
                "               options={'ln': {'history': 0.1}}, progress=False)\n"
                "except nm.InputError as error:\n"
                "    print(error)\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, str(SUPPORT), str(out)],
                capture_output=True,
                text=True,
                check=True,
                cwd=tmp_path,
            )
            Second.said = done.stdout

    nm.compare(recording, ["ln"], out=out, options=options, progress=Second())
    assert "is being written by another run" in Second.said
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
