"""Fit models to one recording, score them on the same bins, and keep everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.opening import open_recording
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.storage import SCHEMA_VERSION
from neuromodels.fits.assembly import comparison_tree
from neuromodels.fits.comparison import ON, Comparison, node_name
from neuromodels.fits.fit import RESULT, Fit, fit_request, versions
from neuromodels.fits.interrupts import plain_interrupts
from neuromodels.fits.options import Request, make_request, make_requests
from neuromodels.fits.progress import Progress, make_progress
from neuromodels.fits.store import Store
from neuromodels.fits.task import Task, prepare
from neuromodels.fits.windows import candidate_histories
from neuromodels.models import SEEDED, SPIKING, ModelSpec
from neuromodels.options import OptionError

if TYPE_CHECKING:
    from neuromodels.encoding.base import EncodingModel

#: What `compare` fits unless told otherwise.
MODELS = ("ln", "glm", "retina-cnn")


def compare(
    recording: Recording | str | Path,
    models: str | Sequence[str | ModelSpec] = MODELS,
    *,
    seed: int = 0,
    seeds: int = 1,
    bin_width: float | None = None,
    learn_from: str | Sequence[str] | None = None,
    score_on: str | Sequence[str] | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | Progress | None = None,
) -> Comparison:
    """Fit models to a recording and compare them with each other and with the noise ceiling.

    Parameters
    ----------
    recording : Recording or path
        Spike counts with a `train` role; `heldout` and `test` where there are any.
    models : sequence of str or ModelSpec
        Names such as "ln" or "retina-cnn:mcintosh2016", or what `nm.models.ln(...)` returns.
    seed : int
        First seed.
    seeds : int
        How many seeds each network is trained with; models with a convex fit are the same for all.
    bin_width : float, optional
        s; 10 ms by default, or the next multiple of the stored bins.
    learn_from : str or sequence of str, optional
        Which stimulus, if the recording has several. With a sequence models learn from each in
        turn and are named ``MODEL@STIMULUS``; "a+b" learns from both together.
    score_on : str or sequence of str, optional
        Which stimuli the models are scored on; by default all of the recording whose frames have
        the same size. `Comparison.on` gives the scores on each.
    options : dict, optional
        Options by model name: {"retina-cnn": {"epochs": 10}}.
    out : path, optional
        Write the result there. The running state is kept beside it, in ``OUT.partial``.
    resume : bool
        Go on with an interrupted run of the same call.
    overwrite : bool
        Replace what is there.
    progress : bool or Progress, optional
        By default progress is shown where standard error is a terminal.

    Returns
    -------
    Comparison
        Print it for the table; `plot()` it; `to_hdf5()` it.

    Raises
    ------
    InputError
        Something is wrong with the recording or the output.
    OptionError
        Something is wrong with a model or an option.
    """
    models = models.split(",") if isinstance(models, str) else list(models)
    requests = make_requests([m.strip() if isinstance(m, str) else m for m in models], options)
    tree = _run(
        recording,
        requests,
        seed=seed,
        seeds=seeds,
        bin_width=bin_width,
        learn_from=_names(learn_from),
        score_on=_names(score_on),
        out=out,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        finish=lambda comparison: comparison.tree,
    )
    return Comparison(tree)


def fit(
    recording: Recording | str | Path,
    model: str | ModelSpec,
    *,
    seed: int = 0,
    bin_width: float | None = None,
    learn_from: str | None = None,
    score_on: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | Progress | None = None,
    **options: Any,
) -> Fit:
    """Fit one model to a recording and score it.

    Parameters
    ----------
    recording : Recording or path
        Spike counts with a `train` role.
    model : str or ModelSpec
        A name such as "ln", or what `nm.models.ln(...)` returns.
    learn_from : str, optional
        Which stimulus, if the recording has several; "a+b" for both together.
    seed, bin_width, score_on, out, resume, overwrite, progress
        As for `compare`.
    **options
        Of the model and of its fit: ``history=1.2, epochs=10``.

    Returns
    -------
    Fit
        With `scores`.

    Raises
    ------
    InputError, OptionError
        As for `compare`.
    """
    tree = _run(
        recording,
        [make_request(model, options)],
        seed=seed,
        seeds=1,
        bin_width=bin_width,
        learn_from=None if learn_from is None else [learn_from],
        score_on=_names(score_on),
        out=out,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        finish=_single,
    )
    return Fit(tree)


def _names(given: str | Sequence[str] | None) -> list[str] | None:
    """Names of stimuli from text with commas, or a sequence."""
    if given is None:
        return None
    names = given.split(",") if isinstance(given, str) else list(given)
    return list(dict.fromkeys(name.strip() for name in names))


def _single(comparison: Comparison) -> xr.DataTree:
    """The only fit of a comparison, with what it was scored on."""
    fitted = comparison.fit(comparison.models[0])
    tree = fitted.tree.copy()
    for name in ("scores", "observed", ON):
        if name in comparison.tree.children:
            tree[name] = comparison.tree[name]
    tree.attrs |= {name: comparison.attrs[name] for name in ("call", "notes")}
    return tree


def comparison_of(fitted: Fit) -> Comparison:
    """A fit made by `fit`, seen as a comparison of one model.

    Parameters
    ----------
    fitted : Fit
        With `scores` and `observed`.

    Returns
    -------
    Comparison
        For its table and figures.
    """
    fitted_nodes = {"parameters", "history", "diagnostics", "predictions", "distances"}
    place = f"fits/{node_name(fitted.label)}/{fitted.attrs['seed']}/{fitted.attrs['fold']}"
    nodes = {}
    for node in fitted.tree.subtree:
        path = node.path.strip("/")
        if path.split("/")[0] in fitted_nodes:
            path = f"{place}/{path}"
        nodes[path or place] = node.to_dataset()
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs = {RESULT: "comparison"} | {
        name: fitted.attrs[name] for name in ("recording", "notes")
    }
    return Comparison(tree)


def _label(request: Request, task: Task, tasks: list[Task]) -> str:
    """Name of a model in tables and files; it says what it learned from where others differ."""
    return request.label if len(tasks) == 1 else f"{request.label}@{task.name}"


def _check(request: Request, task: Task) -> None:
    """Refuse, before the first fit, a model that this recording cannot have."""
    wanted, width = request.spec.resolve(), task.data.bin_width
    try:
        found = candidate_histories(wanted.history, task.partition, width, wanted.delay)
        model = request.spec.build(task.data, history=found[0])
        _check_length(model, task)
        if len(task.learned) > 1 and request.spec.kind in SPIKING:
            raise OptionError(
                "learns from one stimulus at a time.", remedy="Name one of them as learn_from."
            )
    except OptionError as error:
        said = str(error).removeprefix(f"{request.spec.name}: ")
        where = f"{task.recording.source}: {request.label}"
        raise OptionError(said, where) from error


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


def _call(jobs: list[tuple[Request, Task]], seeds: list[int]) -> dict[str, Any]:
    """Everything that determines the result."""
    return {
        "recording": jobs[0][1].description(),
        "models": [
            {
                "label": r.label,
                "name": r.spec.name,
                "options": r.spec.given(),
                "splits": task.partition.description,
            }
            | asdict(r)
            for r, task in jobs
        ],
        "seeds": seeds,
        "versions": versions(),
    }


def _run(
    recording: Recording | str | Path,
    requests: list[Request],
    *,
    seed: int,
    seeds: int,
    bin_width: float | None,
    learn_from: list[str] | None,
    score_on: list[str] | None,
    out: str | Path | None,
    resume: bool,
    overwrite: bool,
    progress: bool | Progress | None,
    finish: Callable[[Comparison], xr.DataTree],
) -> xr.DataTree:
    if seeds < 1:
        raise OptionError(f"seeds = {seeds} must be at least 1.")
    if resume and out is None:
        raise OptionError("resume needs out.", remedy="Give the output that was interrupted.")
    if isinstance(recording, str | Path):
        recording = open_recording(recording)
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
    all_seeds = list(range(seed, seed + seeds))
    call = _call(jobs, all_seeds)
    store = None
    if out is not None:
        store = Store(Path(out), call, resume=resume, overwrite=overwrite)
        if resume and (done := store.result()) is not None:
            store.clear()
            return done
        store.begin()
    fits: dict[tuple[str, int], Fit] = {}
    try:
        with make_progress(progress) as telling:
            for index, (request, task) in enumerate(jobs):
                for one in all_seeds:
                    learned = f" @{task.name}" if len(tasks) > 1 else ""
                    telling.suffix = learned + (f" (seed {one})" if seeds > 1 else "")
                    fits[request.label, one] = _one_fit(
                        request, task, store, index, one, all_seeds[0], telling, fits
                    )
    except OptionError:
        # The same call would fail again: there is nothing to resume.
        if store is not None and not resume:
            store.clear()
        raise
    tree = comparison_tree(tasks[0], fits)
    tree.attrs = {
        RESULT: "comparison",
        "schema_version": SCHEMA_VERSION,
        "call": call,
        "recording": tasks[0].description(),
        "notes": list(tasks[0].notes),
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    tree = finish(Comparison(tree))
    if store is not None:
        store.write(tree)
    return tree


def _one_fit(
    request: Request,
    task: Task,
    store: Store | None,
    index: int,
    seed: int,
    first_seed: int,
    progress: Progress,
    done: dict[tuple[str, int], Fit],
) -> Fit:
    if store is not None and (found := store.finished(index, seed)):
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
            store=store.folder_of(index, seed) if store else None,
            search_store=store.folder_of(index) if store else None,
            progress=progress,
        )
    if store is not None:
        store.keep(index, seed, fitted)
    return fitted


def predict(
    result: Fit | Comparison,
    stimulus: Any,
    *,
    model: str | None = None,
    seed: int | None = None,
) -> xr.DataTree:
    """Predict responses to a stimulus with a fitted model.

    Parameters
    ----------
    result : Fit or Comparison
        What `fit`, `compare` or `load` gave.
    stimulus : Recording or array
        A recording, or a movie (time, y, x) or (time, channel, y, x) with a frame per bin.
    model : str, optional
        Which model of a comparison; needed if it has several.
    seed : int, optional
        Which seed of it; the first by default.

    Returns
    -------
    xarray.DataTree
        `rate (time, neuron)`, spikes per bin, in ``/STIMULUS/ROLE`` or ``/movie/all``.

    Raises
    ------
    OptionError
        A comparison of several models, and none was named.
    InputError
        The stimulus does not fit the model.
    """
    if isinstance(result, Comparison):
        if model is None and len(result.models) > 1:
            raise OptionError(
                "the comparison holds several models and none was named.",
                remedy=f"Choose one of: {', '.join(result.models)}.",
            )
        result = result.fit(model or result.models[0], seed)
    if model not in (None, result.label) or seed not in (None, result.attrs["seed"]):
        raise OptionError(
            f"the file holds {result.label} with seed {result.attrs['seed']} alone.",
            remedy="Leave out model and seed.",
        )
    return result.predict(stimulus)
