"""From requests and recordings to results: checked first, fitted one by one, kept as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.opening import open_recording
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.storage import SCHEMA_VERSION
from neuromodels.fits.assembly import comparison_tree
from neuromodels.fits.comparison import Comparison
from neuromodels.fits.covariates import check_covariates
from neuromodels.fits.fit import RESULT, Fit, created, versions
from neuromodels.fits.interrupts import plain_interrupts
from neuromodels.fits.likelihoods import settle
from neuromodels.fits.one_fit import fit_request, scored_fit
from neuromodels.fits.options import Request
from neuromodels.fits.progress import Progress, Stopwatch, make_progress
from neuromodels.fits.store import Store
from neuromodels.fits.task import Task, prepare
from neuromodels.fits.windows import candidate_histories
from neuromodels.models import SEEDED, SPIKING
from neuromodels.options import OptionError

if TYPE_CHECKING:
    from neuromodels.encoding.base import EncodingModel

Fits = dict[tuple[str, int], Fit]

LARGEST_SEED = 2**63  # torch's


@dataclass(frozen=True)
class Plan:
    """What is fitted to one recording.

    Attributes
    ----------
    tasks : list of Task
        One per stimulus, or joint stimuli, that models learn from.
    jobs : list of (Request, Task)
        Every fit but for its seed.
    name : str
        Of the recording, where there are several; else "".
    """

    tasks: list[Task]
    jobs: list[tuple[Request, Task]]
    name: str = ""

    def call(self, seeds: Sequence[int]) -> dict[str, Any]:
        """Everything that determines the result."""
        return {
            "recording": self.tasks[0].description(),
            "models": [
                {
                    "name": r.spec.name,
                    "architecture": r.spec.given(),
                    "splits": task.partition.description,
                }
                | asdict(r)
                for r, task in self.jobs
            ],
            "seeds": list(seeds),
            "versions": versions(),
        }


def make_plan(
    recording: Recording,
    requests: list[Request],
    *,
    bin_width: float | None,
    learn_from: list[str] | None,
    score_on: list[str] | None,
    name: str = "",
) -> Plan:
    """Make a recording ready, and refuse what cannot be fitted to it before the first fit.

    Raises
    ------
    InputError, OptionError
        As `neuromodels.fits.compare.compare`.
    """
    tasks = [
        prepare(recording, bin_width=bin_width, learn_from=one, score_on=score_on)
        for one in learn_from or [None]
    ]
    shapes = {task.data.movie_shape for task in tasks}
    if len(shapes) > 1:
        raise InputError(
            "the stimuli have frames of different sizes: models of one are not scored on another.",
            where=f"{recording.source}: learn_from",
            remedy="Compare models on each by itself.",
        )
    jobs = [
        (replace(request, label=_label(request, task, tasks)), task)
        for task in tasks
        for request in requests
    ]
    for request, task in jobs:
        _check(request, task)
    return Plan(tasks, jobs, name)


def _label(request: Request, task: Task, tasks: list[Task]) -> str:
    """Name of a model in tables and files; it says what it learned from where others differ."""
    return request.label if len(tasks) == 1 else f"{request.label}@{task.name}"


def _check(request: Request, task: Task) -> None:
    """Refuse, before the first fit, a model that this recording cannot have."""
    wanted, width = request.spec.resolve(), task.data.bin_width
    learned = [*task.partition.train, *task.partition.validation]
    try:
        _, likelihood = settle(request.spec, request.options, task.data)
        likelihood.check(learned, task.data, f"{task.recording.source}: response")
        found = candidate_histories(wanted.history, task.partition, width, wanted.delay)
        model = request.spec.build(task.data, history=found[0])
        _check_length(model, task)
        _check_covariates(model, task)
        if len(task.learned) > 1 and request.spec.kind in SPIKING:
            raise OptionError(
                "learns from one stimulus at a time.", remedy="Name one of them as learn_from."
            )
    except OptionError as error:
        said = str(error).removeprefix(f"{request.spec.name}: ")
        where = f"{task.recording.source}: {request.label}"
        raise OptionError(said, where) from error


def _check_covariates(model: EncodingModel, task: Task) -> None:
    source = task.recording.source
    check_covariates(model.input.covariates, task.partition.validation, f"{source}: validation")
    for stimulus, roles in task.scored.items():
        for role, blocks in roles.items():
            check_covariates(model.input.covariates, blocks, f"{source}: /{stimulus}/{role}")


def _check_length(model: EncodingModel, task: Task) -> None:
    blocks = [*task.partition.train, *task.partition.validation]
    shortest = min(block.n_bins for block in blocks)
    if model.lead_in >= shortest:
        width = task.data.bin_width
        raise OptionError(
            f"looks back {model.lead_in * width:g} s, but the shortest block lasts "
            f"{shortest * width:g} s.",
            remedy="Give shorter histories; if the blocks should be longer, check that time is the "
            "first axis of the movie.",
        )


def run(
    plans: list[Plan],
    *,
    seed: int,
    seeds: int,
    out: str | Path | None,
    resume: bool,
    overwrite: bool,
    progress: bool | Progress | None,
    call: Callable[[list[dict[str, Any]]], dict[str, Any]],
    finish: Callable[[list[Comparison]], xr.DataTree],
) -> xr.DataTree:
    """Fit everything that was planned, and write the result if there is an output.

    Parameters
    ----------
    plans : list of Plan
        One per recording, all of the same models.
    seed, seeds, out, resume, overwrite, progress
        As for `neuromodels.fits.compare.compare`.
    call : callable
        From the calls of the plans to that of the whole, which a resumed run must repeat.
    finish : callable
        From the comparisons, one per plan, to what is written and returned.

    Returns
    -------
    xarray.DataTree
    """
    if not _is_whole(seed) or seed < 0:
        raise OptionError(f"seed = {seed!r} is no seed.", remedy="Give a whole number from 0.")
    if seed + seeds > LARGEST_SEED:
        raise OptionError(f"seed = {seed} is too large.", remedy="Give one below 2^63.")
    all_seeds = list(range(seed, seed + seeds))
    calls = [plan.call(all_seeds) for plan in plans]
    store = None
    if out is not None:
        store = Store(Path(out), call(calls), resume=resume, overwrite=overwrite)
        if resume and (done := store.result()) is not None:
            store.clear()
            return done
        store.begin()
    try:
        with make_progress(progress) as telling:
            fits = _all_fits(plans, all_seeds, store, telling)
    except OptionError:
        # The same call would fail again: there is nothing to resume.
        if store is not None and not resume:
            store.clear()
        raise
    found = [
        _comparison(plan, own, one_call)
        for plan, own, one_call in zip(plans, fits, calls, strict=True)
    ]
    tree = finish(found)
    if store is not None:
        store.write(tree)
    return tree


def opened(recording: Recording | str | Path) -> Recording:
    """Return the recording, opened if it is a path."""
    return open_recording(recording) if isinstance(recording, str | Path) else recording


def check_run(seeds: int, out: str | Path | None, resume: bool) -> None:
    """Refuse arguments that no recording could satisfy.

    Raises
    ------
    OptionError
        No seed, or nothing to resume.
    """
    if not _is_whole(seeds) or seeds < 1:
        raise OptionError(
            f"seeds = {seeds!r} must be at least 1.", remedy="Give a whole number: how many."
        )
    if resume and out is None:
        raise OptionError("resume needs out.", remedy="Give the output that was interrupted.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _comparison(plan: Plan, fits: Fits, call: dict[str, Any]) -> Comparison:
    task = plan.tasks[0]
    tree = comparison_tree(task, fits)
    tree.attrs = {
        RESULT: "comparison",
        "schema_version": SCHEMA_VERSION,
        "call": call,
        "recording": task.description(),
        "notes": list(task.notes),
        "versions": versions(),
        "created": created(),
    }
    return Comparison(tree)


def _all_fits(
    plans: list[Plan], seeds: list[int], store: Store | None, progress: Progress
) -> list[Fits]:
    """Fits of every plan, model by model: all recordings have one before the next begins."""
    fits: list[Fits] = [{} for _ in plans]
    n_jobs = len(plans[0].jobs)
    for job in range(n_jobs):
        places = [index * n_jobs + job for index in range(len(plans))]
        for seed in seeds:
            said = f" (seed {seed})" if len(seeds) > 1 else ""
            if len(plans) > 1 and plans[0].jobs[job][0].spec.shared:
                progress.suffix = said
                found = _joint_fits(plans, job, store, places, seed, seeds[0], progress)
                for own, (label, fit) in zip(fits, found, strict=True):
                    own[label, seed] = fit
                continue
            for plan, own, place in zip(plans, fits, places, strict=True):
                request, task = plan.jobs[job]
                learned = f" @{task.name}" if len(plan.tasks) > 1 else ""
                progress.suffix = (f" {plan.name}" if plan.name else "") + learned + said
                own[request.label, seed] = _one_fit(
                    request, task, store, place, seed, seeds[0], progress, own
                )
    return fits


def _finished(store: Store | None, place: int, seed: int) -> Fit | None:
    return None if store is None else store.finished(place, seed)


def _one_fit(
    request: Request,
    task: Task,
    store: Store | None,
    place: int,
    seed: int,
    first_seed: int,
    progress: Progress,
    done: Fits,
) -> Fit:
    if found := _finished(store, place, seed):
        progress.start(request.label, 1)
        progress.finish("finished before")
        return found
    if seed != first_seed and request.spec.kind not in SEEDED:
        # A convex fit has no chance in it: every seed has the same one.
        tree = done[request.label, first_seed].tree.copy()
        tree.attrs = dict(tree.attrs) | {"seed": seed}
        return Fit(tree)
    with plain_interrupts():
        fitted = fit_request(
            request,
            task,
            seed=seed,
            search_seed=first_seed,
            store=store.folder_of(place, seed) if store else None,
            search_store=store.folder_of(place) if store else None,
            progress=progress,
        )
    if store is not None:
        store.keep(place, seed, fitted)
    return fitted


def _joint_fits(
    plans: list[Plan],
    job: int,
    store: Store | None,
    places: list[int],
    seed: int,
    first_seed: int,
    progress: Progress,
) -> list[tuple[str, Fit]]:
    """One core fitted to all recordings; label and fit of each."""
    from neuromodels.fits.shared_core import fit_shared

    requests, tasks = zip(*(plan.jobs[job] for plan in plans), strict=True)
    labels = [request.label for request in requests]
    found = [_finished(store, place, seed) for place in places]
    if all(fit is not None for fit in found):
        progress.start(labels[0], 1)
        progress.finish("finished before")
        return list(zip(labels, found, strict=True))
    started = Stopwatch()
    with plain_interrupts():
        outcomes = fit_shared(
            requests[0].spec,
            [task.data for task in tasks],
            [task.partition for task in tasks],
            requests[0].options,
            identities=[task.recording.identity for task in tasks],
            seed=seed,
            search_seed=first_seed,
            store=store.folder_of(places[0], seed) if store else None,
            search_store=store.folder_of(places[0]) if store else None,
            progress=progress,
        )
        together = {"core_learned_from": [plan.name for plan in plans]}
        fits = [
            scored_fit(
                request,
                task,
                replace(outcome, summary=outcome.summary | together),
                seed=seed,
                started=started,
            )
            for request, task, outcome in zip(requests, tasks, outcomes, strict=True)
        ]
    if store is not None:
        # The folder of the first holds the state of the training: it goes last.
        for place, fit in reversed(list(zip(places, fits, strict=True))):
            store.keep(place, seed, fit)
    return list(zip(labels, fits, strict=True))
