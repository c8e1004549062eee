"""What a reproduced paper consists of: experiments, each of runs to do and claims to judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuromodels.fits.papers.verdicts import Claim

#: Finished runs by name.
Runs = Mapping[str, xr.Dataset]
SIZES = ("small", "full")


@dataclass(frozen=True)
class Job:
    """A run that any process can do, and that need not be done twice.

    Attributes
    ----------
    name : str
        Of its file and its node, so without slashes.
    function : callable
        At the top level of a module; called with the arguments, it gives a labelled
        xarray.Dataset (each dimension with a coordinate) that need not hold `arguments`. Its
        attribute `unavailable` says why data could not be had; such a run is tried again.
    arguments : dict
        What JSON can hold; everything that determines the result.
    seconds : float
        About how long it takes on one free core, s: for the time left, and long ones go first.
    """

    name: str
    function: Callable[..., xr.Dataset]
    arguments: dict[str, Any]
    seconds: float

    def __post_init__(self):
        if not self.name or "/" in self.name:
            raise ValueError(f"{self.name!r} can be no name of a file.")


@dataclass(frozen=True)
class Part:
    """What an experiment showed.

    Attributes
    ----------
    table : xarray.Dataset
        The measured values, labelled, for the file.
    headings : tuple of str
        Of the table that is printed.
    rows : tuple of tuple of str
        Its rows, as text.
    claims : tuple of Claim
        What the paper says, and whether it held.
    notes : tuple of str
        What a reader has to know: criteria, settings, what was left out.
    """

    table: xr.Dataset
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    claims: tuple[Claim, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """One experiment of a paper.

    Attributes
    ----------
    name : str
        Short, of its node in the file: "single", "logo".
    title : str
        What was done, in a line.
    jobs : callable
        ``jobs(size)`` lists the runs of "small" or "full".
    judge : callable
        ``judge(runs, size)`` makes a Part of the experiment's finished runs.
    """

    name: str
    title: str
    jobs: Callable[[str], list[Job]]
    judge: Callable[[Runs, str], Part]


@dataclass(frozen=True)
class Paper:
    """A paper that can be reproduced with one command.

    Attributes
    ----------
    name : str
        What is typed.
    citation : str
        Authors, year, journal.
    claim : str
        In a sentence.
    sizes : dict of str to str
        How long "small" and "full" take, and what they leave out.
    experiments : tuple of Experiment
        In the order of the report.
    draw : callable
        ``draw(runs by experiment, tables by experiment)`` gives figures by name of file.
    """

    name: str
    citation: str
    claim: str
    sizes: Mapping[str, str]
    experiments: tuple[Experiment, ...]
    draw: Callable[[Mapping[str, Runs], Mapping[str, xr.Dataset]], dict[str, Figure]]
