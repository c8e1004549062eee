"""The same models fitted to several recordings, some of them with one core for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.image_recording import ImageRecording
from neuromodels.datasets.recording import Recording, frame_size
from neuromodels.datasets.storage import SCHEMA_VERSION
from neuromodels.fits.comparison import Comparison, node_name
from neuromodels.fits.comparison_set import ComparisonSet, set_tree
from neuromodels.fits.fit import created, versions
from neuromodels.fits.options import Request
from neuromodels.fits.progress import Progress
from neuromodels.fits.runs import Plan, check_run, make_plan, opened, run
from neuromodels.fits.task import Task, default_bin_width

#: Attributes of a recording that name the animal; the first that says something counts.
ANIMAL = ("animal", "subject", "subject_id")
#: Relative difference up to which two spacings of pixels are one.
_SPACING = 1e-3


def with_shared_core(request: Request) -> Request:
    """The same model, but with one core for all recordings.

    Raises
    ------
    OptionError
        The model has no core.
    """
    return replace(request, spec=replace(request.spec, shared=True))


def compare_recordings(
    recordings: Sequence[Recording | str | Path],
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
) -> ComparisonSet:
    """Fit models to several recordings, and average their scores over animals.

    Parameters
    ----------
    recordings : sequence of Recording or path
        Of equal bins and one kind of response; for a shared core also of equal frames.
    requests : list of Request
        Models with their options; those whose `spec.shared` is set have one core for all.
    seed, seeds, bin_width, learn_from, score_on, out, resume, overwrite, progress
        As for `neuromodels.fits.compare.compare`, the same for every recording.

    Returns
    -------
    ComparisonSet
        A member per recording, named by its file.

    Raises
    ------
    InputError
        No recording, one of them twice, or recordings that cannot be fitted together.
    OptionError
        As for `compare`.
    """
    check_run(seeds, out, resume)
    if not recordings:
        raise InputError("no recording was given.", where="recordings", remedy="Give at least one.")
    found = [opened(one) for one in recordings]
    for place, one in enumerate(found, start=1):
        if not isinstance(one, Recording | ImageRecording):
            raise InputError(
                f"is a {type(one).__name__}, no recording.",
                where=f"recording {place}",
                remedy="Give files, or what nm.open_recording or nm.recording_from_arrays returns.",
            )
    sources = _sources(found)
    _check_different(found, sources)
    _check_bins(found, sources, bin_width)
    names = member_names(sources)
    plans = [
        make_plan(
            recording,
            requests,
            bin_width=bin_width,
            learn_from=learn_from,
            score_on=score_on,
            name=name,
        )
        for recording, name in zip(found, names, strict=True)
    ]
    _check_together(plans, sources)
    animals, notes = _animals(found, names)

    def whole_call(calls: list[dict[str, Any]]) -> dict[str, Any]:
        # What is kept of a run is kept by place: the same recordings in another order are not it.
        return {"order": names, "members": dict(zip(names, calls, strict=True))}

    def finish(comparisons: list[Comparison]) -> xr.DataTree:
        members = dict(zip(names, comparisons, strict=True))
        about = {
            "schema_version": SCHEMA_VERSION,
            "call": whole_call([comparison.attrs["call"] for comparison in comparisons]),
            "notes": notes,
            "versions": versions(),
            "created": created(),
        }
        return set_tree(members, animals, about)

    tree = run(
        plans,
        seed=seed,
        seeds=seeds,
        out=out,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        call=whole_call,
        finish=finish,
    )
    return ComparisonSet(tree)


def _sources(found: list[Recording]) -> list[str]:
    """How messages call each recording: by its file, or by its place if it has none."""
    said = Counter(recording.source for recording in found)
    return [
        f"recording {place} ({recording.source})"
        if said[recording.source] > 1 and not Path(recording.source).exists()
        else recording.source
        for place, recording in enumerate(found, start=1)
    ]


def member_names(sources: Sequence[str]) -> list[str]:
    """Names of the members: the stems of their files, numbered where they repeat.

    Examples
    --------
    >>> member_names(["day1/cell.h5", "day2/cell.h5", "arrays"])
    ['cell', 'cell (2)', 'arrays']
    """
    names: list[str] = []
    for source in sources:
        place = source.startswith("recording ") and source.endswith(")")
        stem = source.split(" (")[0] if place else Path(source).stem
        name = base = node_name(stem.strip() or "recording").strip(".") or "recording"
        number = 2
        while name in names:
            name, number = f"{base} ({number})", number + 1
        names.append(name)
    return names


def _check_different(found: list[Recording], sources: list[str]) -> None:
    for (one, first), (two, second) in combinations(zip(found, sources, strict=True), 2):
        if isinstance(one, ImageRecording) or isinstance(two, ImageRecording):
            continue
        same = one is two or (one.identity and one.identity == two.identity)
        if same:
            raise InputError(
                f"is the same recording as {first}.",
                where=second,
                remedy="Give each recording once: a copy is no second animal.",
            )


def _check_bins(found: list[Recording], sources: list[str], bin_width: float | None) -> None:
    """Refuse recordings whose bins would differ; a width that does not fit one says so itself."""
    if bin_width is not None:
        return
    widths = {
        source: default_bin_width(recording)
        for source, recording in zip(sources, found, strict=True)
        if not isinstance(recording, ImageRecording)
    }
    if len({round(width, 9) for width in widths.values()}) > 1:
        said = ", ".join(f"{source} {width * 1e3:.4g} ms" for source, width in widths.items())
        raise InputError(
            f"recordings have different bins: {said}.",
            where="bin_width",
            remedy="Give a bin_width (s) that is a whole multiple of the stored bins of each; "
            "scores in different bins cannot be averaged.",
        )


def _check_together(plans: list[Plan], sources: list[str]) -> None:
    """Refuse what is sound alone and not together."""
    first_tasks = [plan.tasks[0] for plan in plans]
    kinds = {s: task.data.response for s, task in zip(sources, first_tasks, strict=True)}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{source} {kind}s" for source, kind in kinds.items())
        raise InputError(
            f"recordings hold different kinds of response: {said}.",
            where="recordings",
            remedy="Compare counts with counts, and traces with traces.",
        )
    jobs = zip(*(plan.jobs for plan in plans), strict=True)
    for job in jobs:
        request = job[0][0]
        if request.spec.shared:
            _check_screens([task for _, task in job], sources, request.label)


def _check_screens(tasks: list[Task], sources: list[str], label: str) -> None:
    """Refuse a shared core for frames of different size or spacing: its filters are in pixels."""
    (first, first_source), *rest = zip(tasks, sources, strict=True)
    for task, source in rest:
        one, two = first.data.movie_shape, task.data.movie_shape
        if one != two:
            raise InputError(
                f"has frames of {frame_size(two)}, {first_source} of {frame_size(one)}: "
                f"{label} has one core for both.",
                where=f"{source}: stimulus",
                remedy="Cut or resample the movies to one size, or compare models that are fitted "
                "to each recording by itself.",
            )
        one, two = _spacing(first), _spacing(task)
        for axis in one.keys() & two.keys():
            (width, units), (other, other_units) = one[axis], two[axis]
            apart = abs(width - other) > _SPACING * max(abs(width), abs(other))
            if units == other_units and apart:
                raise InputError(
                    f"has pixels {other:.4g} {other_units} apart along {axis}, {first_source} "
                    f"{width:.4g} {units}: {label} has one core for both.",
                    where=f"{source}: {axis}",
                    remedy="Resample the movies to one spacing, or correct the coordinate.",
                )


def _spacing(task: Task) -> dict[str, tuple[float, str]]:
    """Distance between pixels and its units, by axis."""
    train = task.recording.role("train", task.stimulus)
    found = {}
    for axis in ("y", "x"):
        values = np.asarray(train[axis].values, float) if axis in train.coords else np.zeros(0)
        if values.size > 1:
            units = str(train[axis].attrs.get("units", ""))
            found[axis] = (float(np.median(np.abs(np.diff(values)))), units)
    return found


def _animals(found: list[Recording], names: list[str]) -> tuple[list[str], list[str]]:
    """The animal of each recording, and what must be said of it."""
    stated = []
    for recording in found:
        said = (str(recording.attrs.get(name) or "").strip() for name in ANIMAL)
        stated.append(next((one for one in said if one and one != "not stated"), ""))
    unknown = [name for name, animal in zip(names, stated, strict=True) if not animal]
    animals = [animal or name for name, animal in zip(names, stated, strict=True)]
    if not unknown or len(names) == 1:
        return animals, []
    which = "no recording says" if len(unknown) == len(names) else f"{', '.join(unknown)}: not said"
    note = f"{which} whose it is (attribute animal): each counts as an animal of its own"
    return animals, [note]
