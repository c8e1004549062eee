"""Run a comparison in forked children, kill them at chosen moments, resume, and report.

Run as a script in a process of its own: it imports everything, computes nothing itself, and forks,
so that a child costs no imports and no thread pool is ever forked.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

import torch
import torch._dynamo

import neuromodels.fits.networks  # noqa: F401 - imported before the forks
from neuromodels.fits import compare as compare_module
from neuromodels.fits.glm import fitting  # noqa: F401
from neuromodels.fits.training import Trainer

#: Every change of what is on disk goes through one of these; an epoch is the work in between.
STEPS = ((os, "replace"), (os, "fsync"), (shutil, "rmtree"), (Path, "mkdir"))
OPTIONS = {
    "ln": {"history": 0.1, "ridge": [1e-3], "smoothness": [0.0]},
    "glm": {
        "history": 0.1,
        "ridge": [1e-3],
        "smoothness": [0.0],
        "own_history": 0.05,
        "own_basis": 3,
    },
    "retina-cnn": {
        "temporal_basis": 4,
        "channels": [2, 3],
        "kernels": [3, 3],
        "epochs": 3,
        "search_epochs": 1,
        "batch_bins": 512,
        "segment_bins": 128,
    },
}


def run(recording, models: list[str], seeds: int, folder: Path, *, resume: bool) -> None:
    """The call that is interrupted and resumed."""
    compare_module.compare(
        recording,
        models,
        seeds=seeds,
        options={name: OPTIONS[name] for name in models},
        out=folder / "out.h5",
        resume=resume,
        progress=False,
    )


class Counter:
    """Counts steps, and kills the process at the one asked for."""

    def __init__(self, kill_at: int | None, after: bool):
        self.kill_at, self.after, self.count = kill_at, after, 0

    def wrap(self, owner, name: str) -> None:
        original = getattr(owner, name)

        def counted(*args, **kwargs):
            index, self.count = self.count, self.count + 1
            if index == self.kill_at and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            value = original(*args, **kwargs)
            if index == self.kill_at and self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            return value

        setattr(owner, name, counted)


def in_child(work) -> int:
    """Run `work` in a forked child; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            torch.set_num_threads(1)
            work()
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def main(base: Path, n_points: int, models: list[str], seeds: int) -> None:
    """Print one JSON line: how many steps there are, and what happened at each kill point."""
    from small_recording import small_recording

    recording = small_recording(n_bins=160)

    def counted(folder: Path, kill_at: int | None, after: bool, resume: bool) -> None:
        counter = Counter(kill_at, after)
        for owner, name in STEPS:
            counter.wrap(owner, name)
        counter.wrap(Trainer, "_one_epoch")
        run(recording, models, seeds, folder, resume=resume)
        (folder / "steps.txt").write_text(str(counter.count))

    whole = base / "whole"
    whole.mkdir()
    assert in_child(lambda: counted(whole, None, False, False)) == 0
    n_steps = int((whole / "steps.txt").read_text())
    outcomes = []
    for point in range(n_points):
        kill_at = point * (n_steps - 1) // (n_points - 1)
        folder = base / f"kill_{kill_at}"
        folder.mkdir()
        killed = in_child(lambda f=folder, k=kill_at, a=bool(point % 2): counted(f, k, a, False))
        # A second kill while the resumed run is at work, then to the end.
        again = in_child(lambda f=folder: counted(f, 7, False, True))
        resumed = in_child(lambda f=folder: run(recording, models, seeds, f, resume=True))
        outcomes.append({"at": kill_at, "killed": killed, "again": again, "resumed": resumed})
    print(json.dumps({"n_steps": n_steps, "outcomes": outcomes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","), int(sys.argv[4]))
