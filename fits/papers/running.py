"""Do the runs of a reproduction: in several processes, each kept when done, none done twice."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.storage import read_tree, write_tree
from neuromodels.fits.papers.paper import Job
from neuromodels.fits.progress import LineProgress, Progress


def run_jobs(
    jobs: Sequence[Job], folder: Path, workers: int, progress: Progress, name: str
) -> dict[str, xr.Dataset]:
    """Do all runs that `folder` does not hold yet, and return every one of them.

    Parameters
    ----------
    jobs : sequence of Job
        Of different names.
    folder : Path
        Where each finished run is one file.
    workers : int
        Processes, of one thread each; with one, everything runs here.
    progress : Progress
        Told after every run; in seconds of one core, so that the time left is about right.
    name : str
        What progress calls the work.

    Returns
    -------
    dict of xarray.Dataset
        By name, in the order of `jobs`.

    Raises
    ------
    InputError
        A worker was killed.
    """
    if len({job.name for job in jobs}) < len(jobs):
        raise ValueError("two runs of this reproduction have one name")
    missing = [job for job in jobs if not _is_done(folder, job)]
    done_s = sum(job.seconds for job in jobs) - sum(job.seconds for job in missing)
    n_done = len(jobs) - len(missing)
    progress.start(name, max(1, round(sum(job.seconds for job in jobs))))
    if n_done:
        progress.update(round(done_s), f"{n_done} of {len(jobs)} runs were done before")
    # Long runs first, so that no worker is left with one while the others are idle.
    missing.sort(key=lambda job: -job.seconds)
    for job_name, seconds in _finished(missing, folder, workers):
        done_s, n_done = done_s + seconds, n_done + 1
        progress.update(round(done_s), f"{n_done} of {len(jobs)} runs: {job_name}")
    progress.finish(f"{len(jobs)} runs")
    return {job.name: read_tree(_file(folder, job)).to_dataset().load() for job in jobs}


def _file(folder: Path, job: Job) -> Path:
    return folder / f"{job.name}.h5"


def _is_done(folder: Path, job: Job) -> bool:
    """Whether a run was done before; one whose data could not be had then is tried again."""
    path = _file(folder, job)
    return path.exists() and "unavailable" not in read_tree(path).attrs


def _finished(jobs: Sequence[Job], folder: Path, workers: int):
    """Names and seconds of the runs, one by one as they are done."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield _do(job, folder)
        return
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed, parallel_config

    try:
        with parallel_config(backend="loky", inner_max_num_threads=1):
            pool = Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch=workers)
            yield from pool(delayed(_do)(job, folder) for job in jobs)
    except BrokenProcessPool as error:
        raise InputError(
            f"a worker process ended before its run was done ({str(error).split('. ')[0]})",
            where=str(folder),
            remedy="Finished runs are kept: go on with resume (--resume), and with fewer workers "
            "if memory was short.",
        ) from error


def _do(job: Job, folder: Path) -> tuple[str, float]:
    began, cpu = time.monotonic(), time.process_time()
    found = job.function(**job.arguments)
    found = found.assign_attrs(
        run=job.name,
        arguments=job.arguments,
        wall_time_s=time.monotonic() - began,
        cpu_time_s=time.process_time() - cpu,
    )
    write_tree(xr.DataTree(found), _file(folder, job), overwrite=True)
    return job.name, job.seconds


class RunLines(LineProgress):
    """A line per finished run on standard error, with the time left: for logs."""

    def start(self, name: str, total: int) -> None:
        """Remember what began, and how long it is."""
        super().start(name, total)
        self._total, self._first = total, (0, time.monotonic())

    def update(self, done: int, note: str = "") -> None:
        """Say which run is done, and how long the others will take."""
        start, since = self._first
        if note.endswith("before"):
            self._first, left = (done, time.monotonic()), ""
        else:
            seconds = (time.monotonic() - since) / max(1, done - start) * (self._total - done)
            left = f"   {int(seconds // 60)}:{int(seconds % 60):02d} left"
        print(f"{self._name:<24} {note}{left}", file=sys.stderr, flush=True)
