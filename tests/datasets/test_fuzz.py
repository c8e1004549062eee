"""Damaged inputs of every format: refused clearly or opened soundly, never anything else."""

import json
import shutil
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fuzz_damage import damage
from fuzz_inputs import INPUTS, located

CHILD = Path(__file__).parents[1] / "support" / "fuzz_child.py"


def run_all(jobs, folder):
    """Outcome of every job; a child that dies takes one job with it."""
    outcomes, said = {}, {}
    while jobs:
        (folder / "jobs.json").write_text(json.dumps(jobs))
        child = subprocess.run(
            [sys.executable, CHILD, folder / "jobs.json"], capture_output=True, text=True
        )
        running = None
        for line in child.stdout.splitlines():
            outcome, name, *_ = json.loads(line)
            running = name if outcome == "start" else None
            if outcome != "start":
                outcomes[name] = outcome
        if running is not None:
            outcomes[running] = f"DIED with {child.returncode}: {child.stderr[-500:]}"
        elif len(outcomes) < len(said) + len(jobs) and not child.stdout:
            pytest.fail(child.stderr)
        jobs = [job for job in jobs if job[0] not in outcomes]
    return outcomes


@pytest.mark.parametrize("kind", sorted(INPUTS))
def test_a_damaged_input_is_refused_clearly_or_opened_soundly(kind, tmp_path, how_many):
    sound = tmp_path / "sound"
    sound.mkdir()
    name, options = INPUTS[kind](sound)
    jobs, done = [["sound", str(sound / name), located(options, sound)]], {}
    for i in range(how_many[kind]):
        rng = np.random.default_rng([zlib.crc32(kind.encode()), i])
        folder = tmp_path / f"damaged{i}"
        shutil.copytree(sound, folder)
        done[f"{i}"] = damage(folder, rng)
        jobs.append([f"{i}", str(folder / name), located(options, folder)])
    outcomes = run_all(jobs, tmp_path)
    assert outcomes.pop("sound") == "opened"
    bad = {done[i]: said for i, said in outcomes.items() if said not in ("opened", "refused")}
    assert not bad, "\n\n".join(f"{what}\n{said}" for what, said in bad.items())
    assert Counter(outcomes.values())["refused"] > 0.2 * len(outcomes)


@pytest.fixture(scope="session")
def how_many():
    """Damaged inputs per format, 1,000 in all; opening NWB is the slowest."""
    slow = {"nwb": 60, "our_hdf5": 20, "our_images": 25, "zarr_store": 20}
    rest = -(-(1000 - sum(slow.values())) // max(1, len(INPUTS) - len(slow)))
    return {kind: slow.get(kind, rest) for kind in INPUTS}
