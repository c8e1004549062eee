"""Everything that is wrong with a recording, in one report: where, what, and how to mend it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from neuromodels.datasets.blocks import block_runs, stored_width
from neuromodels.datasets.covariate_checks import check_covariates, check_same_covariates
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import frame_slabs
from neuromodels.datasets.overlap import Shown, find_overlap, fingerprint, shown_pictures
from neuromodels.datasets.problems import Problem, Report, add_error, add_note, are
from neuromodels.datasets.recording import KINDS, Recording

LATE = 0.5  # frames; an interval this much off the median is irregular
DRIFT_Z, DRIFT_CHANGE = 3.0, 0.1  # halves of a session must differ by both to be a drift


def validate(recording: Recording) -> Report:
    """Check a recording against the contract; movies are streamed, never held.

    Errors are what no score could survive: missing values in frames, negative counts, lengths
    that disagree, times that do not ascend, duplicate identifiers, missing units, a test movie
    that is also training data. Notes are what a reader of the scores must know: a silent
    neuron, a single repeat, drift, irregular frames.
    """
    found: list[Problem] = []
    if find_damage(recording.tree, found):  # what is read from it would be noise
        return Report(tuple(found), recording.source)
    _check_neurons(recording, found)
    if not recording.stimuli:
        add_error(found, "/", "holds no stimulus", "Add a node with a train role.")
    widths = {}
    for stimulus in recording.stimuli:
        roles = recording.roles(stimulus)
        if not roles:
            add_error(found, f"/{stimulus}", "has no role", "Add at least a train role.")
        prints = {}
        for role in roles:
            node = recording.tree[stimulus][role].to_dataset()
            where = f"/{stimulus}/{role}"
            if not _check_shape(node, where, found):
                continue
            widths[where] = stored_width(node)
            try:
                _check_response(node, role, where, recording.neurons, found)
                _check_time(node, where, found)
                check_covariates(node, where, found)
                if "stimulus" in node:
                    prints[role] = _check_frames(node, where, found)
            except OSError as error:
                add_error(
                    found,
                    where,
                    f"cannot be read ({str(error).splitlines()[0]})",
                    "The file is damaged: copy or download it again.",
                )
        _check_overlap(stimulus, prints, found)
    check_same_covariates(recording, found)
    if len(set(widths.values())) > 1:
        said = ", ".join(f"{where} {float(width):.6g} s" for where, width in widths.items())
        add_error(found, "/", f"bin widths differ: {said}", "Store all roles at one bin width.")
    return Report(tuple(found), recording.source)


def find_damage(tree: xr.DataTree, found: list[Problem]) -> bool:
    """Add an error for every variable of our own files that differs from its checksum.

    Returns
    -------
    bool
        Whether there is any.
    """
    checked_variables = tree.encoding.get("checked_variables")
    if checked_variables is None:
        return False
    before = len(found)
    remedy = "Copy or download the file again, or make it anew."
    try:
        for name, intact in checked_variables():
            if not intact:
                add_error(found, name, "is damaged: it differs from its checksum", remedy)
    except InputError as error:
        add_error(found, "/", error.what, error.remedy)
    return len(found) > before


def _check_neurons(recording: Recording, found: list[Problem]) -> None:
    names, counts = np.unique(recording.neurons, return_counts=True)
    if (counts > 1).any():
        twice = ", ".join(names[counts > 1][:5])
        add_error(found, "/neuron", f"holds {twice} more than once", "Give every neuron one name.")


def _check_shape(node: xr.Dataset, where: str, found: list[Problem]) -> bool:
    """Whether the node has what the other checks read."""
    sound = True
    for name in ("response", "time", "block"):
        if name not in node.variables:
            add_error(found, f"{where}/{name}", "is missing", "See docs/recordings.md.")
            sound = False
    for name in ("time", "block", "frame_of_bin"):
        if name in node.variables and not _is_number_per_bin(node[name]):
            add_error(
                found,
                f"{where}/{name}",
                f"has axes {node[name].dims} and type {node[name].dtype}",
                "It must hold one number per bin.",
            )
            sound = False
    if not sound:
        return False
    dims = node["response"].dims
    if set(dims) not in ({"time", "neuron"}, {"trial", "time", "neuron"}):
        add_error(
            found,
            f"{where}/response",
            f"has axes {dims}",
            "They must be (time, neuron), or (trial, time, neuron) with repeats.",
        )
        sound = False
    attrs = node["time"].attrs
    if not {"bin_width_numerator", "bin_width_denominator"} <= set(attrs):
        add_error(
            found,
            f"{where}/time",
            "does not say its bin width",
            "Add bin_width_numerator and bin_width_denominator (s, as a fraction).",
        )
        sound = False
    for name in ("response", "stimulus"):
        if name in node.variables and node[name].dtype.kind not in "iufb":
            said = f"has type {node[name].dtype}"
            add_error(found, f"{where}/{name}", said, "It must hold numbers.")
            sound = False
    kind = node["response"].attrs.get("kind")
    if kind not in KINDS:
        add_error(found, f"{where}/response", f"has kind {kind!r}", f"One of: {', '.join(KINDS)}.")
        sound = False
    for name in ("stimulus", "response", "time"):
        if name in node.variables and not node[name].attrs.get("units"):
            add_error(found, f"{where}/{name}", "has no units", f"Set {name}.attrs['units'].")
    if "stimulus" in node:
        dims = node["stimulus"].dims
        if dims not in (("frame", "y", "x"), ("frame", "channel", "y", "x")):
            add_error(
                found,
                f"{where}/stimulus",
                f"has axes {dims}",
                "They must be (frame, y, x) or (frame, channel, y, x).",
            )
            sound = False
        if "frame_of_bin" not in node:
            add_error(
                found,
                f"{where}/frame_of_bin",
                "is missing",
                "Say for every bin which frame is on screen.",
            )
            sound = False
    return sound


def _is_number_per_bin(variable: xr.DataArray) -> bool:
    return variable.dims == ("time",) and variable.dtype.kind in "iuf"


def _check_response(
    node: xr.Dataset, role: str, where: str, names: np.ndarray, found: list[Problem]
) -> None:
    here = f"{where}/response"
    response = node["response"]
    repeated = "trial" in response.dims
    if response.size == 0:
        add_error(
            found,
            here,
            f"is empty ({dict(response.sizes)})",
            f"Give {role} some data, or leave the role out.",
        )
        return
    order = ("trial", "time", "neuron") if repeated else ("time", "neuron")
    values = np.asarray(response.transpose(*order).values)
    floating = np.issubdtype(values.dtype, np.floating)
    missing = np.isnan(values) if floating else np.zeros(1, dtype=bool)
    if floating and np.isinf(values).any():
        add_error(found, here, "holds infinite values", "Remove them or leave the trial out.")
        return
    if missing.any() and not repeated:
        first = np.argwhere(missing)[0]
        add_error(
            found,
            here,
            f"holds {missing.sum()} missing values, the first in bin {first[0]} of neuron "
            f"{names[first[1]]}",
            "Leave those bins out and begin a new block after them.",
        )
    if response.attrs["kind"] == "count":
        _check_counts(values, missing, here, names, found)
    if missing.any():
        values = np.where(missing, 0, values)
    per_bin = values.sum(axis=-2, dtype=np.float64)  # (trial, neuron) or (neuron,)
    if response.attrs["kind"] != "trace":
        silent = np.flatnonzero(per_bin.reshape(-1, names.size).sum(axis=0) == 0)
        if silent.size:
            add_note(
                found,
                here,
                f"{are(names[silent])} silent",
                "It is fitted, but scores that need spikes are NaN.",
            )
    if repeated:
        trials = values.shape[0]
        if trials == 1:
            add_note(
                found,
                here,
                "holds one repeat only",
                "Noise ceilings and scores that need them are NaN.",
            )
        recorded = np.where(missing, 0, 1).sum(axis=1) if missing.any() else values.shape[1]
        rates = per_bin / np.maximum(recorded, 1)
        there = np.broadcast_to(np.asarray(recorded) > 0, rates.shape)
        _check_drift(np.where(there, rates, np.nan), "trials", node, here, names, found)
    else:
        runs = block_runs(node["block"].values)
        rates = [values[a:b].mean(axis=0, dtype=np.float64) for _, a, b in runs]
        _check_drift(np.array(rates), "blocks", node, here, names, found)
    outside = np.asarray(node.attrs.get("spikes_outside", 0))
    if outside.any():
        add_note(
            found,
            here,
            f"{int(outside.sum())} spikes fall outside the stimulus and are not counted",
            "Expected where the recording is longer than the stimulus; else check both clocks.",
        )


def _check_counts(
    values: np.ndarray, missing: np.ndarray, here: str, names: np.ndarray, found: list[Problem]
) -> None:
    if np.issubdtype(values.dtype, np.unsignedinteger):
        return
    negative = values < 0
    if negative.any():
        first = np.argwhere(negative)[0]
        add_error(
            found,
            here,
            f"holds {negative.sum()} negative counts, the first in bin {first[-2]} of neuron "
            f"{names[first[-1]]}",
            "Counts are 0 or more; store rates or traces with kind='rate' or 'trace'.",
        )
    if np.issubdtype(values.dtype, np.floating) and not missing.all():
        broken = np.where(np.isnan(values), 0, values) % 1 != 0
        if broken.any():
            first = np.argwhere(broken)[0]
            add_error(
                found,
                here,
                f"holds {broken.sum()} counts that are no integers, the first in bin "
                f"{first[-2]} of neuron {names[first[-1]]}",
                "Give spike counts, or say kind='rate' or kind='trace'.",
            )


def _check_drift(
    rates: np.ndarray, over: str, node: xr.Dataset, here: str, names, found: list[Problem]
) -> None:
    """Compare the two halves of a session, in units of the scatter within each half."""
    if len(rates) < 8:
        return
    half = len(rates) // 2
    early, late = rates[:half], rates[-half:]
    with np.errstate(invalid="ignore", divide="ignore"):
        before, after = np.nanmean(early, axis=0), np.nanmean(late, axis=0)
        spread = np.nanvar(early, axis=0, ddof=1) + np.nanvar(late, axis=0, ddof=1)
        z = (after - before) / np.sqrt(spread / half)
        change = (after - before) / np.abs((after + before) / 2)
        drifts = (np.abs(z) > DRIFT_Z) & (np.abs(change) > DRIFT_CHANGE)
    if not drifts.any():
        return
    unit, scale = "", 1.0
    if node["response"].attrs["kind"] == "count":
        unit, scale = " Hz", 1 / float(stored_width(node))
    worst = int(np.nanargmax(np.where(drifts, np.abs(change), -1)))
    add_note(
        found,
        here,
        f"{drifts.sum()} of {names.size} neurons drift over {over}: {names[worst]} from "
        f"{before[worst] * scale:.3g} to {after[worst] * scale:.3g}{unit} (halves)",
        "Blocks are held out evenly; compare ceilings of interleaved and of first/second halves.",
    )


def _check_time(node: xr.Dataset, where: str, found: list[Problem]) -> None:
    time = node["time"].values
    width = float(stored_width(node))
    steps = np.diff(time)
    if not np.isfinite(time).all():
        add_error(found, f"{where}/time", "holds NaN", "Give the start of every bin, s.")
        return
    if (steps <= 0).any():
        first = int(np.flatnonzero(steps <= 0)[0])
        what = "repeats" if steps[first] == 0 else "runs backwards"
        add_error(
            found,
            f"{where}/time",
            f"{what} at bin {first + 1} ({time[first]:.6g} s, then {time[first + 1]:.6g} s)",
            "Sort the bins and leave out duplicates.",
        )
        return
    labels = node["block"].values
    runs = block_runs(labels)
    known, counts = np.unique([label for label, _, _ in runs], return_counts=True)
    if (counts > 1).any():
        add_error(
            found,
            f"{where}/block",
            f"label {known[counts > 1][0]} is used for {counts.max()} separate stretches",
            "Give every stretch a label of its own.",
        )
    jumps = (np.abs(steps - width) > 0.01 * width) & (np.diff(labels) == 0)
    if jumps.any():
        first = int(np.flatnonzero(jumps)[0])
        add_error(
            found,
            f"{where}/time",
            f"jumps by {steps[first]:.6g} s inside block {labels[first]} at bin {first + 1} "
            f"({time[first + 1]:.6g} s); bins are {width:.6g} s",
            "Begin a new block there.",
        )


def _check_frames(node: xr.Dataset, where: str, found: list[Problem]) -> Shown:
    """Check the movie and return what was shown, for the comparison between roles."""
    movie = node["stimulus"]
    n_frames = movie.sizes["frame"]
    shown = node["frame_of_bin"].values
    if shown.size and (shown.min() < -1 or shown.max() >= n_frames):
        first = int(np.flatnonzero((shown < -1) | (shown >= n_frames))[0])
        add_error(
            found,
            f"{where}/frame_of_bin",
            f"is {shown[first]} in bin {first}, but there are {n_frames} frames",
            "Frame numbers run from 0; -1 says that there was none.",
        )
    floating = movie.dtype.kind == "f"
    prints = np.empty(n_frames, dtype=np.uint64)
    bad, first_bad, done = 0, 0, 0
    for slab in frame_slabs(movie.variable):
        if floating:
            broken = ~np.isfinite(slab).reshape(len(slab), -1).all(axis=1)
            if broken.any() and not bad:
                first_bad = done + int(np.flatnonzero(broken)[0])
            bad += int(broken.sum())
        for i, frame in enumerate(np.ascontiguousarray(slab)):
            prints[done + i] = fingerprint(frame)
        done += len(slab)
    if bad:
        add_error(
            found,
            f"{where}/stimulus",
            f"holds NaN or infinite values in {bad} frames, the first is frame {first_bad}",
            "Replace them by what was on screen (for example the background).",
        )
    if "frame_time" in node:
        _check_frame_times(node, where, found)
    return shown_pictures(prints, shown, float(stored_width(node)))


def _check_frame_times(node: xr.Dataset, where: str, found: list[Problem]) -> None:
    onsets = node["frame_time"].values
    steps = np.diff(onsets)
    if steps.size == 0:
        return
    if not np.isfinite(onsets).all() or (steps <= 0).any():
        first = int(np.flatnonzero(~(steps > 0))[0])
        add_error(
            found,
            f"{where}/frame_time",
            f"does not ascend at frame {first + 1} ({onsets[first]:.6g} s, then "
            f"{onsets[first + 1]:.6g} s)",
            "Sort the frames and leave out duplicates.",
        )
        return
    period = np.median(steps)
    # A pause between blocks is no late frame: only frames within one block are compared.
    time, labels = node["time"].values, node["block"].values
    at = np.clip(np.searchsorted(time, onsets, side="right") - 1, 0, time.size - 1)
    late = (np.abs(steps - period) > LATE * period) & (np.diff(labels[at]) == 0)
    if late.any():
        first = int(np.flatnonzero(late)[0])
        add_note(
            found,
            f"{where}/frame_time",
            f"{late.sum()} frames off by more than half a frame, the first near "
            f"{onsets[first]:.6g} s",
            "Nothing to mend: every bin shows the frame that was on screen at its centre.",
        )


def _check_overlap(stimulus: str, shown: dict[str, Shown], found: list[Problem]) -> None:
    """Error where the training movie contains a stretch of a movie that scores models."""
    for role in ("test", "heldout"):
        if "train" not in shown or role not in shown:
            continue
        overlap = find_overlap(shown[role], shown["train"])
        if overlap is not None:
            add_error(
                found,
                f"/{stimulus}/{role}/stimulus",
                f"{overlap.covered} of its {overlap.of} pictures are also shown, in the same "
                f"order, in /{stimulus}/train (from picture {overlap.first} there)",
                "Take that stretch out of train: a score on it would be a score on training data.",
            )
