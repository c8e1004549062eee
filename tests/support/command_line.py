"""The command line, called in this process or, where that matters, in one of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest


class Result(NamedTuple):
    """What a call left behind."""

    code: int
    out: str
    err: str

    @property
    def complaints(self) -> str:
        """Standard error without the lines that tell of progress."""
        lines = self.err.splitlines(keepends=True)
        return "".join(line for line in lines if not re.search(r" done +\d+ s   ", line))


class CommandLine:
    """Calls `neuromodels` in this process: `run("inspect", path)`."""

    def __init__(self, capsys: pytest.CaptureFixture[str]):
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Result:
        from neuromodels.cli import main

        self._capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        return Result(exit_.value.code, *self._capsys.readouterr())


def start(*arguments: object, **options) -> subprocess.Popen:
    """Start `python -m neuromodels` in a process of its own, one thread, no terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "neuromodels", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Outside the repository: there, `python -m` would find the folders in place of the rooms.
        cwd=Path(options.pop("cwd")),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **options,
    )


def finished(process: subprocess.Popen, timeout: float = 120) -> Result:
    """Wait for a process that `start` started."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Result(process.returncode, out, err)


def listing(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, to see that nothing was added, changed or taken away."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }
