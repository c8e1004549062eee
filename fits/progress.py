"""Progress with time left, or silence."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any


class Progress(AbstractContextManager):
    """What long work tells while it runs; this one tells nothing.

    Used as ``with progress: progress.start(...)``.

    Attributes
    ----------
    suffix : str
        Added to the name of what starts next.
    """

    suffix = ""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave; nothing to clean."""

    def start(self, name: str, total: int) -> None:
        """A piece of work of `total` steps begins."""

    def update(self, done: int, note: str = "") -> None:
        """So many steps of it are done."""

    def finish(self, note: str = "") -> None:
        """It is done; the note says how it ended."""


class BarProgress(Progress):
    """A bar per model with time left, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        self._bars: Any = Bars(
            TextColumn("{task.fields[name]:<24}"),
            BarColumn(20, complete_style="cyan", finished_style="green"),
            TextColumn("{task.fields[note]}"),
            console=Console(file=sys.stderr, soft_wrap=True),
        )
        self._task: Any = None
        self._began = 0.0
        self._first: tuple[int, float] | None = None

    def __enter__(self) -> BarProgress:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def start(self, name: str, total: int) -> None:
        """Begin a bar."""
        self._began, self._first = time.monotonic(), None
        self._task = self._bars.add_task("", name=name + self.suffix, note="", total=total)

    def update(self, done: int, note: str = "") -> None:
        """Move the bar; the time left follows from the steps seen so far."""
        now, task = time.monotonic(), self._bars.tasks[self._task]
        if self._first is None:
            # A resumed fit begins in the middle: only steps seen here tell the speed.
            self._first = (done, now)
        left = ""
        start, since = self._first
        if done > start:
            seconds = (now - since) / (done - start) * (task.total - done)
            left = f"  {int(seconds // 60)}:{int(seconds % 60):02d} left"
        self._bars.update(self._task, completed=done, note=note + left)

    def finish(self, note: str = "") -> None:
        """Fill the bar and leave it with a note and the time it took."""
        took = time.monotonic() - self._began
        total = self._bars.tasks[self._task].total
        self._bars.update(self._task, completed=total, note=f"done {took:4.0f} s   {note}")


class LineProgress(Progress):
    """A line per finished piece of work on standard error, for logs."""

    def start(self, name: str, total: int) -> None:  # noqa: ARG002
        """Remember what began."""
        self._name, self._began = name + self.suffix, time.monotonic()

    def finish(self, note: str = "") -> None:
        """Say that it is done, how long it took and how it ended."""
        took = time.monotonic() - self._began
        print(f"{self._name:<24} done {took:4.0f} s   {note}", file=sys.stderr, flush=True)


def make_progress(wanted: bool | Progress | None) -> Progress:
    """Choose how to tell progress.

    Parameters
    ----------
    wanted : bool, Progress or None
        None tells only where a person is watching (standard error is a terminal); True tells
        always, in lines where there is no terminal.
    """
    if isinstance(wanted, Progress):
        return wanted
    if wanted is None:
        wanted = sys.stderr.isatty()
    if not wanted:
        return Progress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()


class Stopwatch:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def times(self) -> dict[str, float]:
        """Wall and CPU time since the start, s, as results state them."""
        return {
            "wall_time_s": time.monotonic() - self._wall,
            "cpu_time_s": time.process_time() - self._cpu,
        }
