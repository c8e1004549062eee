"""Reproduce a paper: do its runs, judge its claims, keep everything in one file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.storage import SCHEMA_VERSION, read_tree
from neuromodels.fits.fit import RESULT, created, versions
from neuromodels.fits.papers.paper import SIZES, Experiment, Paper, Part, Runs
from neuromodels.fits.papers.running import RunLines, run_jobs
from neuromodels.fits.papers.verdicts import Claim
from neuromodels.fits.progress import LineProgress, Progress, make_progress
from neuromodels.fits.store import Store
from neuromodels.options import OptionError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What the attribute `neuromodels_result` says of these files.
KIND = "reproduction"
#: Where each paper's `PAPER` is.
_MODULES = {"superspike": "neuromodels.fits.papers.superspike"}
_CLAIM = ("text", "verdict", "measured", "expected", "tolerance", "source")


def papers() -> tuple[Paper, ...]:
    """List the papers that can be reproduced: name, claim, how long it takes."""
    return tuple(find_paper(name) for name in _MODULES)


def find_paper(name: str) -> Paper:
    """Return a paper by name.

    Raises
    ------
    OptionError
        There is no such paper.
    """
    if name not in _MODULES:
        raise OptionError(f"there is no paper {name!r}.", "reproduce", nearest(name, _MODULES))
    return import_module(_MODULES[name]).PAPER


def reproduce(
    name: str,
    size: str = "small",
    out: str | Path | None = None,
    *,
    workers: int = 2,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | Progress | None = None,
) -> Reproduction:
    """Repeat a paper's experiments and say, claim by claim, whether they held.

    Parameters
    ----------
    name : str
        One of `papers()`.
    size : {"small", "full"}
        Minutes and few seeds, or everything.
    out : path, optional
        Files to write: ``OUT.h5``, and figures ``OUT/*.png``. Each finished run is kept in
        ``OUT.h5.partial`` until all are done. By default results/NAME.
    workers : int
        Processes, of one thread each.
    resume : bool
        Go on with an interrupted reproduction.
    overwrite : bool
        Replace what is there.
    progress : bool or Progress, optional
        By default progress is shown where standard error is a terminal.

    Returns
    -------
    Reproduction
        Print it for the tables and verdicts; `plot()` it.

    Raises
    ------
    OptionError
        No such paper or size, or no worker.
    InputError
        The output is in the way, or cannot be written.
    """
    return reproduce_paper(
        find_paper(name),
        size,
        output_file(out or f"results/{name}"),
        workers=workers,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )


def check_request(size: str, workers: int) -> None:
    """Refuse a size or a number of workers that cannot be, before anything is done."""
    if size not in SIZES:
        raise OptionError(f"there is no size {size!r}.", "reproduce", nearest(size, SIZES))
    if not isinstance(workers, int) or workers < 1:
        raise OptionError(
            f"workers = {workers} must be at least 1.", "reproduce", "Give a number of processes."
        )


def output_file(out: str | Path) -> Path:
    """The HDF5 file that belongs to an output's name; its figures are in a folder beside it."""
    out = Path(out)
    return out if out.suffix == ".h5" else out.with_name(out.name + ".h5")


def reproduce_paper(
    paper: Paper,
    size: str,
    out: Path,
    *,
    workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | Progress | None = None,
) -> Reproduction:
    """Repeat the experiments of any paper object; the rest is as in `reproduce`.

    Parameters
    ----------
    paper : Paper
        Its experiments.
    size : {"small", "full"}
        Handed to the experiments.
    out : Path
        HDF5 file to write.
    workers, resume, overwrite, progress
        See `reproduce`.

    Returns
    -------
    Reproduction
    """
    check_request(size, workers)
    jobs = {experiment.name: experiment.jobs(size) for experiment in paper.experiments}
    listed = [job for group in jobs.values() for job in group]
    call = {
        "paper": paper.name,
        "size": size,
        "jobs": {
            job.name: [f"{job.function.__module__}:{job.function.__qualname__}", job.arguments]
            for job in listed
        },
        "versions": versions(),
    }
    _make_folder(out.parent)
    store = Store(out, call, resume=resume, overwrite=overwrite)
    if resume and (done := store.result()) is not None:
        store.clear()
        return Reproduction(done)
    store.begin()
    telling = make_progress(progress)
    if type(telling) is LineProgress:
        telling = RunLines()
    with telling:
        runs = run_jobs(listed, store.folder_of(0), workers, telling, f"{paper.name} ({size})")
    found = {name: {job.name: runs[job.name] for job in group} for name, group in jobs.items()}
    tree = _tree(paper, size, found)
    store.write(tree)
    return Reproduction(tree)


def _tree(paper: Paper, size: str, runs: dict[str, Runs]) -> xr.DataTree:
    nodes: dict[str, xr.Dataset] = {}
    claims: list[tuple[str, Claim]] = []
    for experiment in paper.experiments:
        part = experiment.judge(runs[experiment.name], size)
        claims += [(experiment.name, claim) for claim in part.claims]
        nodes[f"/{experiment.name}"] = xr.Dataset(attrs=_about(experiment, part))
        nodes[f"/{experiment.name}/table"] = part.table
        for name, run in runs[experiment.name].items():
            nodes[f"/{experiment.name}/runs/{name}"] = run
    nodes["/claims"] = _claims(claims)
    nodes["/"] = xr.Dataset(
        attrs={
            RESULT: KIND,
            "schema_version": SCHEMA_VERSION,
            "paper": paper.name,
            "citation": paper.citation,
            "claim": paper.claim,
            "size": size,
            "experiments": [experiment.name for experiment in paper.experiments],
            "versions": versions(),
            "created": created(),
        }
    )
    return xr.DataTree.from_dict(nodes)


def _about(experiment: Experiment, part: Part) -> dict[str, Any]:
    return {
        "title": experiment.title,
        "headings": list(part.headings),
        "rows": [list(row) for row in part.rows],
        "notes": list(part.notes),
    }


def _claims(claims: list[tuple[str, Claim]]) -> xr.Dataset:
    columns: dict[str, Any] = {
        name: ("claim", np.array([getattr(claim, name) for _, claim in claims], dtype=str))
        for name in _CLAIM
    }
    columns["experiment"] = ("claim", np.array([name for name, _ in claims], dtype=str))
    columns["seeds"] = ("claim", np.array([claim.seeds for _, claim in claims], dtype=np.int64))
    number = ("claim", np.arange(1, len(claims) + 1), {"description": "from 1"})
    return xr.Dataset(columns, coords={"claim": number})


class Reproduction:
    """A paper repeated: print it, `plot()` it, read `claims`. It is its file.

    Attributes
    ----------
    tree : xarray.DataTree
        ``/claims``; per experiment ``table``, and its ``runs`` by name.
    """

    def __init__(self, tree: xr.DataTree):
        self.tree = tree

    @property
    def claims(self) -> list[Claim]:
        """Verdicts, in the order of the report."""
        node = self.tree["claims"]
        return [
            Claim(
                seeds=int(node["seeds"].values[i]),
                **{name: str(node[name].values[i]) for name in _CLAIM},
            )
            for i in range(node.sizes.get("claim", 0))
        ]

    def table(self, experiment: str) -> xr.Dataset:
        """Return the measured values of one experiment."""
        self._check(experiment)
        return self.tree[f"{experiment}/table"].to_dataset()

    def runs(self, experiment: str) -> dict[str, xr.Dataset]:
        """Return the runs of one experiment by name."""
        self._check(experiment)
        node = self.tree[experiment]
        if "runs" not in node.children:
            return {}
        return {name: run.to_dataset() for name, run in node["runs"].children.items()}

    def _check(self, experiment: str) -> None:
        known = self.tree.attrs["experiments"]
        if experiment not in known:
            raise InputError(
                f"has no experiment {experiment!r}.",
                where="reproduction",
                remedy=nearest(experiment, known),
            )

    def plot(self) -> dict[str, Figure]:
        """Draw the figures, by name."""
        names = self.tree.attrs["experiments"]
        paper = find_paper(self.tree.attrs["paper"])
        return paper.draw({n: self.runs(n) for n in names}, {n: self.table(n) for n in names})

    def save_figures(self, folder: str | Path) -> list[Path]:
        """Write the figures as PNG and return where they are."""
        from neuromodels.analysis.plots.style import figure_folder, save_figure

        place = figure_folder(folder)
        return [save_figure(figure, place / f"{n}.png") for n, figure in self.plot().items()]

    @classmethod
    def load(cls, path: str | Path) -> Reproduction:
        """Open what `reproduce` wrote.

        Raises
        ------
        InputError
            The file is missing, damaged, or holds something else.
        """
        tree = read_tree(path)
        if tree.attrs.get(RESULT) != KIND:
            raise InputError(
                "holds no reproduction.",
                where=str(path),
                remedy="Give a file that `neuromodels reproduce` wrote.",
            )
        return cls(tree)

    def __str__(self) -> str:
        from neuromodels.fits.papers.report import reproduction_text

        return reproduction_text(self.tree)

    __repr__ = __str__


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot be made ({error.strerror}).",
            where=str(folder),
            remedy="Choose an output in a folder that you can write to.",
        ) from error
