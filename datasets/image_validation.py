"""Everything that is wrong with a recording of pictures: where, what, and how to mend it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from neuromodels.datasets.frames import frame_slabs
from neuromodels.datasets.image_recording import BLANK, ImageRecording
from neuromodels.datasets.problems import Problem, Report, add_error, add_note, are
from neuromodels.datasets.recording import KINDS
from neuromodels.datasets.validation import find_damage

AXES = (("presentation", "neuron"), ("presentation", "neuron", "time_bin"))


def validate_images(recording: ImageRecording) -> Report:
    """Check everything that a fit relies on; images are read in pieces.

    Returns
    -------
    Report
        Errors (fits refuse) and notes, all of them.
    """
    found: list[Problem] = []
    if find_damage(recording.tree, found):
        return Report(tuple(found), recording.source)
    if not recording.stimuli:
        add_error(found, "/", "holds no stimulus", "See docs/recordings.md.")
    _check_unique(
        recording.neurons.tolist(), found, "/neuron", "neuron", "Give every neuron one name."
    )
    for stimulus in recording.stimuli:
        shown = {}
        for role in recording.roles(stimulus):
            node, where = recording.role(role, stimulus), f"/{stimulus}/{role}"
            if _check_shape(node, where, found):
                _check_response(node, recording.neurons, where, found)
                _check_presentations(node, where, found)
                _check_time_bins(node, where, found)
                shown[role] = set(node["stimulus_id"].values.astype(str)) - {BLANK}
            _check_images(node, where, found)
        _check_overlap(stimulus, shown, found)
    return Report(tuple(found), recording.source)


def _check_shape(node: xr.Dataset, where: str, found: list[Problem]) -> bool:
    """Whether the node has what the other checks read."""
    before = len(found)
    for name in ("response", "stimulus_id", "repetition"):
        if name not in node.variables:
            add_error(found, f"{where}/{name}", "is missing", "See docs/recordings.md.")
    if len(found) > before:
        return False
    response = node["response"]
    here = f"{where}/response"
    if set(response.dims) not in [set(axes) for axes in AXES]:
        add_error(
            found,
            here,
            f"has axes {response.dims}",
            "They must be (presentation, neuron), or (presentation, neuron, time_bin).",
        )
    elif response.size == 0:
        add_error(found, here, f"is empty ({dict(response.sizes)})", "Leave the role out.")
    for name in ("stimulus_id", "repetition"):
        if node[name].dims != ("presentation",):
            add_error(
                found,
                f"{where}/{name}",
                f"has axes {node[name].dims}",
                "It must have one entry per presentation.",
            )
    kind = response.attrs.get("kind")
    if kind not in KINDS:
        add_error(found, here, f"has kind {kind!r}", f"One of: {', '.join(KINDS)}.")
    if response.dtype.kind not in "iufb":
        add_error(found, here, f"has type {response.dtype}", "Responses are numbers.")
    if not response.attrs.get("units"):
        add_error(found, here, "has no units", "Set response.attrs['units'].")
    return len(found) == before


def _check_response(node: xr.Dataset, names: np.ndarray, where: str, found: list[Problem]) -> None:
    here = f"{where}/response"
    rest = [dim for dim in AXES[1] if dim in node["response"].dims]
    values = node["response"].transpose(*rest).values
    floating = values.dtype.kind == "f"
    if floating and np.isinf(values).any():
        first = np.argwhere(np.isinf(values))[0]
        add_error(
            found,
            here,
            f"holds infinite values, the first in presentation {first[0]} of neuron "
            f"{names[first[1]]}",
            "Use NaN for what was not recorded.",
        )
        return
    missing = np.isnan(values) if floating else np.zeros(values.shape, dtype=bool)
    kind = node["response"].attrs["kind"]
    if kind == "count":
        _check_counts(values, missing, names, here, found)
    if missing.any():
        per_neuron = missing.reshape(len(values), names.size, -1).all(axis=2)
        never = per_neuron.all(axis=0)
        partly = per_neuron.any(axis=0) & ~never
        if never.any():
            add_note(found, here, f"{are(names[never])} never recorded", "Leave them out.")
        if partly.any():
            share = per_neuron[:, partly].mean()
            add_note(
                found,
                here,
                f"{partly.sum()} of {names.size} neurons miss presentations "
                f"({100 * share:.2g} % of theirs)",
                "They are NaN, and every average is over what is there.",
            )
        if (missing.reshape(per_neuron.shape + (-1,)).any(axis=2) & ~per_neuron).any():
            add_note(found, here, "some presentations miss time bins", "They are NaN.")
    if kind != "trace":
        total = np.where(missing, 0, values).reshape(len(values), names.size, -1).sum(axis=(0, 2))
        silent = (total == 0) & ~missing.reshape(len(values), names.size, -1).all(axis=(0, 2))
        if silent.any():
            add_note(
                found,
                here,
                f"{are(names[silent])} silent",
                "Correlations and ceilings are NaN there.",
            )


def _check_counts(values, missing, names, here: str, found: list[Problem]) -> None:
    if values.dtype.kind in "ub":
        return
    negative = values < 0
    if negative.any():
        first = np.argwhere(negative)[0]
        add_error(
            found,
            here,
            f"holds {negative.sum()} negative counts, the first in presentation {first[0]} of "
            f"neuron {names[first[1]]}",
            "Counts are 0 or more; store rates or traces with kind='rate' or 'trace'.",
        )
    if values.dtype.kind == "f":
        broken = np.where(missing, 0, values) % 1 != 0
        if broken.any():
            first = np.argwhere(broken)[0]
            add_error(
                found,
                here,
                f"holds {broken.sum()} counts that are no integers, the first in presentation "
                f"{first[0]} of neuron {names[first[1]]}",
                "Give spike counts, or say kind='rate' (averages over repeats) or kind='trace'.",
            )


def _check_presentations(node: xr.Dataset, where: str, found: list[Problem]) -> None:
    ids = node["stimulus_id"].values.astype(str)
    repetition = node["repetition"].values
    if repetition.dtype.kind not in "iu":
        add_error(
            found,
            f"{where}/repetition",
            f"has type {repetition.dtype}",
            "Number the repeats of every picture 0, 1, 2, ...",
        )
        return
    empty = np.char.str_len(np.char.strip(ids)) == 0
    if empty.any():
        add_error(
            found,
            f"{where}/stimulus_id",
            f"is empty in presentation {np.flatnonzero(empty)[0]}",
            f"Name what was shown; {BLANK!r} where nothing was.",
        )
    first: dict[tuple[str, int], int] = {}
    twice = []
    for i, key in enumerate(zip(ids.tolist(), repetition.tolist(), strict=True)):
        if key in first:
            twice.append((i, key))
        else:
            first[key] = i
    if twice:
        i, key = twice[0]
        add_error(
            found,
            f"{where}/repetition",
            f"{len(twice)} presentations repeat a (stimulus_id, repetition), the first is "
            f"presentation {i}: {key[0]}, repeat {key[1]}, as presentation {first[key]}",
            "Number the repeats of every picture 0, 1, 2, ... in the order shown.",
        )
    _, counts = np.unique(ids[ids != BLANK], return_counts=True)
    if counts.size and counts.max() == 1:
        add_note(
            found,
            f"{where}/repetition",
            "every picture has one value only",
            "Noise ceilings and reliabilities are NaN.",
        )
    elif counts.size and counts.min() != counts.max():
        single = f", {(counts == 1).sum()} only once" if (counts == 1).any() else ""
        add_note(
            found,
            f"{where}/repetition",
            f"pictures have {counts.min()} to {counts.max()} repeats{single}",
            "Nothing to mend: averages are over the repeats that exist.",
        )


def _check_time_bins(node: xr.Dataset, where: str, found: list[Problem]) -> None:
    if "time_bin" not in node["response"].dims:
        return
    edges = []
    for name in ("time_bin_start", "time_bin_end"):
        if name not in node.variables or node[name].dims != ("time_bin",):
            add_error(
                found,
                f"{where}/{name}",
                "is missing",
                "Say when every time bin begins and ends, s from the onset.",
            )
            return
        edges.append(np.asarray(node[name].values, dtype=float))
    starts, ends = edges
    if not (np.isfinite(starts).all() and np.isfinite(ends).all()):
        add_error(found, f"{where}/time_bin_start", "holds NaN", "Give seconds from the onset.")
    elif (ends <= starts).any():
        first = int(np.flatnonzero(ends <= starts)[0])
        add_error(
            found,
            f"{where}/time_bin_end",
            f"bin {first} ends at {ends[first]:g} s, but begins at {starts[first]:g} s",
            "Every bin must end after it begins.",
        )
    elif (np.diff(starts) <= 0).any():
        first = int(np.flatnonzero(np.diff(starts) <= 0)[0])
        add_error(
            found,
            f"{where}/time_bin_start",
            f"does not ascend at bin {first + 1} ({starts[first]:g} s, then "
            f"{starts[first + 1]:g} s)",
            "Sort the bins and leave out duplicates.",
        )


def _check_images(node: xr.Dataset, where: str, found: list[Problem]) -> None:
    here = f"{where}/images"
    if "images" not in node:
        add_note(found, here, "are not in the recording", "Give them with images= to fit models.")
        return
    images = node["images"]
    if images.dims != ("stimulus", "channel", "y", "x"):
        add_error(found, here, f"have axes {images.dims}", "They are (stimulus, channel, y, x).")
        return
    names = [str(name) for name in node["stimulus"].values]
    _check_unique(names, found, f"{where}/stimulus", "picture", "Give every picture one name.")
    if images.dtype.kind == "f":
        bad, done = [], 0
        for slab in frame_slabs(images.variable):
            broken = ~np.isfinite(slab).reshape(len(slab), -1).all(axis=1)
            bad += (done + np.flatnonzero(broken)).tolist()
            done += len(slab)
        if bad:
            add_error(
                found,
                here,
                f"hold NaN or infinite values in {len(bad)} pictures, the first is {names[bad[0]]}",
                "Replace them by what was on screen (for example the background).",
            )
    if "stimulus_id" not in node:
        return
    shown = set(node["stimulus_id"].values.astype(str).tolist())
    unknown = sorted(shown - set(names) - {BLANK})
    if unknown:
        listed = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        add_error(
            found,
            f"{where}/stimulus_id",
            f"{len(unknown)} of {len(shown)} are not among the images: {listed}",
            "Give all the pictures that were shown, under the names that stimulus_id has.",
        )
    unseen = len(set(names) - shown)
    if unseen:
        add_note(found, here, f"{unseen} of {len(names)} were never shown", "They do no harm.")


def _check_overlap(stimulus: str, shown: dict[str, set], found: list[Problem]) -> None:
    for role in ("test", "heldout"):
        both = sorted(shown.get("train", set()) & shown.get(role, set()))
        if both:
            add_error(
                found,
                f"/{stimulus}/{role}/stimulus_id",
                f"{len(both)} of its {len(shown[role])} pictures are also in train, for example "
                f"{both[0]}",
                "Take them out of train: a score on them would be a score on training data.",
            )


def _check_unique(names: list[str], found, where: str, what: str, remedy: str) -> None:
    known, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        twice = ", ".join(known[counts > 1][:5])
        add_error(found, where, f"names a {what} more than once: {twice}", remedy)
