"""Fit models to one recording, score them on the same bins, and keep everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from neuromodels.datasets.recording import Recording
from neuromodels.fits.comparison import ON, Comparison, node_name
from neuromodels.fits.fit import RESULT, Fit
from neuromodels.fits.options import make_request, make_requests
from neuromodels.fits.progress import Progress
from neuromodels.fits.runs import check_run, make_plan, opened, run
from neuromodels.models import ModelSpec
from neuromodels.options import OptionError

if TYPE_CHECKING:
    from neuromodels.fits.comparison_set import ComparisonSet

#: What `compare` fits unless told otherwise.
MODELS = ("ln", "glm", "retina-cnn")


def compare(
    recording: Recording | str | Path | Sequence[Recording | str | Path],
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
) -> Comparison | ComparisonSet:
    """Fit models to a recording and compare them with each other and with the noise ceiling.

    Parameters
    ----------
    recording : Recording, path, or sequence of these
        Spike counts, rates or traces with a `train` role; `heldout` and `test` where there are
        any. With several, each model is fitted to each, "retina-cnn-shared" with one core to
        all, and scores are averaged over animals.
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
    Comparison or ComparisonSet
        Print it for the table; `plot()` it; `to_hdf5()` it. A set for a sequence of recordings.

    Raises
    ------
    InputError
        Something is wrong with the recording or the output.
    OptionError
        Something is wrong with a model or an option.
    """
    models = models.split(",") if isinstance(models, str) else list(models)
    requests = make_requests([m.strip() if isinstance(m, str) else m for m in models], options)
    data = {
        "bin_width": bin_width,
        "learn_from": _names("learn_from", learn_from),
        "score_on": _names("score_on", score_on),
    }
    keeping = {"out": out, "resume": resume, "overwrite": overwrite, "progress": progress}
    if isinstance(recording, list | tuple):
        from neuromodels.fits.recordings import compare_recordings

        return compare_recordings(recording, requests, seed=seed, seeds=seeds, **data, **keeping)
    check_run(seeds, out, resume)
    tree = run(
        [make_plan(opened(recording), requests, **data)],
        seed=seed,
        seeds=seeds,
        **keeping,
        call=lambda calls: calls[0],
        finish=lambda found: found[0].tree,
    )
    return Comparison(tree)


def fit(
    recording: Recording | str | Path | Sequence[Recording | str | Path],
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
) -> Fit | ComparisonSet:
    """Fit one model to a recording and score it.

    Parameters
    ----------
    recording : Recording, path, or sequence of these
        Spike counts, rates or traces with a `train` role. With several, one core is fitted to
        all, with a readout for each: only "retina-cnn" has one.
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
    Fit or ComparisonSet
        With `scores`. For a sequence of recordings a set, whose members hold a fit each.

    Raises
    ------
    InputError, OptionError
        As for `compare`.
    """
    request = make_request(model, options)
    data = {
        "bin_width": bin_width,
        "learn_from": _names("learn_from", None if learn_from is None else [learn_from]),
        "score_on": _names("score_on", score_on),
    }
    keeping = {"out": out, "resume": resume, "overwrite": overwrite, "progress": progress}
    if isinstance(recording, list | tuple):
        from neuromodels.fits.recordings import compare_recordings, with_shared_core

        requests = [with_shared_core(request)]
        return compare_recordings(recording, requests, seed=seed, seeds=1, **data, **keeping)
    check_run(1, out, resume)
    tree = run(
        [make_plan(opened(recording), [request], **data)],
        seed=seed,
        seeds=1,
        **keeping,
        call=lambda calls: calls[0],
        finish=lambda found: _single(found[0]),
    )
    return Fit(tree)


def _names(option: str, given: str | Sequence[str] | None) -> list[str] | None:
    """Names of stimuli from text with commas, or a sequence."""
    if given is None:
        return None
    names = given.split(",") if isinstance(given, str) else given
    named = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not named or not names:
        raise OptionError(
            f"{option} = {given!r} names no stimulus.", remedy="Give a name, or a list of names."
        )
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


def predict(
    result: Fit | Comparison | ComparisonSet,
    stimulus: Any,
    *,
    member: str | None = None,
    model: str | None = None,
    seed: int | None = None,
) -> xr.DataTree:
    """Predict responses to a stimulus with a fitted model.

    Parameters
    ----------
    result : Fit, Comparison or ComparisonSet
        What `fit`, `compare` or `load` gave.
    stimulus : Recording, DataArray or array
        A recording; a labelled movie, as the generators of `stimuli` make; or frames (time, y, x)
        or (time, channel, y, x), one per bin.
    member : str, optional
        Whose neurons, of a comparison over several recordings; needed if it has several.
    model : str, optional
        Which model of a comparison; needed if it has several.
    seed : int, optional
        Which seed of it; the first by default.

    Returns
    -------
    xarray.DataTree
        `rate (time, neuron)`, spikes per bin or the units of the trace, in ``/STIMULUS/ROLE`` or
        ``/movie/all``.

    Raises
    ------
    OptionError
        A comparison of several models or recordings, and none was named.
    InputError
        The stimulus does not fit the model.
    """
    result = _member(result, member)
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


def _member(result: Fit | Comparison | ComparisonSet, member: str | None) -> Fit | Comparison:
    """One recording's comparison; what is no set is returned as it is."""
    from neuromodels.fits.comparison_set import ComparisonSet

    if not isinstance(result, ComparisonSet):
        if member is not None:
            raise OptionError(
                f"there is one recording, and {member!r} was named as member.",
                remedy="Leave out member.",
            )
        return result
    if member is None and len(result) > 1:
        raise OptionError(
            "the comparison holds several recordings and none was named.",
            remedy=f"Choose one of: {', '.join(result.names)} (member, --member).",
        )
    return result[member or result.names[0]]
