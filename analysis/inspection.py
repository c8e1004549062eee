"""What is in a recording: sizes, rates, reliability, ceilings, drift, and what is wrong with it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import xarray as xr

from neuromodels.analysis.alignment import Alignment, alignment_test
from neuromodels.analysis.ceiling_intervals import CeilingInterval, ceiling_interval
from neuromodels.analysis.covariate_inspection import CovariateSummary, summarize_covariates
from neuromodels.analysis.drift import (
    MIN_ROWS,
    BlockOnset,
    Drift,
    Responses,
    block_onset,
    observations,
    over_blocks,
    sum_and_count,
    trend,
)
from neuromodels.analysis.inspection_text import inspection_text
from neuromodels.analysis.repeatability import Ceilings, measure_ceilings, trial_means
from neuromodels.analysis.spike_quality import Refractory, gain_over_trials, refractory
from neuromodels.analysis.stimulus_statistics import (
    FrameTiming,
    StimulusStatistics,
    frame_timing,
    stimulus_statistics,
)
from neuromodels.analysis.sums import divide
from neuromodels.datasets.binning import exact_bin_width
from neuromodels.datasets.blocks import block_runs, stored_width
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import frame_slabs
from neuromodels.datasets.problems import Problem
from neuromodels.datasets.recording import Recording

#: Bins of the ceilings unless told otherwise, s.
BIN_WIDTH = Fraction(1, 100)


@dataclass(frozen=True, eq=False)
class StimulusInspection:
    """One stimulus: its roles and what each neuron did.

    Attributes
    ----------
    roles : tuple of dict
        As `Recording.summary` gives them.
    rate : (neuron,)
        Mean response in `rate_units` over the roles `rate_from`.
    silent : (neuron,) bool
        Never fired in those roles (false for traces).
    ceilings, ceiling_interval, over_blocks, onset, over_trials, gain_over_trials, refractory,
    statistics, frames
        None where they cannot exist; `reasons` then says why, under the same name.
    covariates : tuple of CovariateSummary
        Units, range and missing share of running, pupil, ...; empty without any.
    overlap : str
        Whether frames of the test or of held-out data are also in the training movie.
    alignment : Alignment or None
        Whether stimulus and responses are on one clock; None if it was not asked for.
    """

    name: str
    description: str
    roles: tuple[dict, ...]
    rate: np.ndarray
    rate_units: str
    rate_from: str
    silent: np.ndarray
    ceilings: Ceilings | None
    over_blocks: Drift | None
    onset: BlockOnset | None
    over_trials: Drift | None
    reasons: dict[str, str]
    ceiling_interval: CeilingInterval | None = None
    gain_over_trials: Drift | None = None
    refractory: Refractory | None = None
    statistics: StimulusStatistics | None = None
    frames: FrameTiming | None = None
    covariates: tuple[CovariateSummary, ...] = ()
    overlap: str = ""
    alignment: Alignment | None = None


@dataclass(frozen=True, eq=False)
class Inspection:
    """What `inspect_recording` found: plain arrays and values, and `text()` for a terminal.

    `errors` and `notes` are those of `Recording.validate`, `remarks` what the reader of the file
    had to say. Roles in `unreadable` are left out. `bin_width` (s) is that of the ceilings.
    """

    source: str
    format: str
    subject: str
    neurons: np.ndarray
    bin_width: float
    stimuli: tuple[StimulusInspection, ...]
    unreadable: tuple[str, ...]
    errors: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    remarks: tuple[str, ...]

    def text(self) -> str:
        """Lines for a terminal: errors, sizes, a table of the neurons, drift, notes."""
        return inspection_text(self)

    def to_dict(self) -> dict:
        """The same as values that JSON can hold; what does not exist is None."""
        values = dataclasses.asdict(self)
        for stimulus in values["stimuli"]:
            for name in ("interval", "at"):  # one per frame: in the file, and in the figures
                (stimulus["frames"] or {}).pop(name, None)
        return _plain(values)

    def __str__(self) -> str:
        return self.text()


def inspect_recording(
    recording: Recording, bin_width: float | None = None, alignment: bool = True
) -> Inspection:
    """Show what is in a recording, how reliable its neurons are, and what is wrong with it.

    Parameters
    ----------
    recording : Recording
        It may have errors: they are listed, and the rest is shown as far as it can be read.
        Movies are checked in pieces and never held.
    bin_width : float or Fraction, optional
        Bins of the ceilings, s; a multiple of the stored ones. 10 ms, or the next multiple, if not
        given.
    alignment : bool
        Also test whether stimulus and responses are on one clock (see
        `analysis.alignment.alignment_test`); it takes a second or a few.

    Returns
    -------
    Inspection

    Raises
    ------
    InputError
        If `bin_width` is no multiple of the stored bins.
    """
    report = recording.validate()
    readable, unreadable = _readable(recording) if report.errors else (recording, [])
    stimuli, used = [], math.nan
    if readable.stimuli:
        stored = exact_bin_width(readable.stored_bin_width)
        view = readable.at(bin_width or stored * math.ceil(BIN_WIDTH / stored))
        used = view.bin_width
        stimuli = [
            dataclasses.replace(
                _inspect_stimulus(view, name),
                overlap=_overlap(readable, name, report.errors),
                alignment=_align(readable, name, report.errors) if alignment else None,
            )
            for name in view.stimuli
        ]
    attrs = recording.attrs
    stated = [str(attrs.get(key, "")) for key in ("species", "area")]
    remarks = attrs.get("notes") or ()
    remarks = [remarks] if isinstance(remarks, str) else [str(remark) for remark in remarks]
    remarks += [f"clock: {attrs['clock']}"] if "clock" in attrs else []
    own = "arrays" if recording.source == "arrays" else "neuromodels HDF5"
    return Inspection(
        source=recording.source,
        format=str(attrs.get("format") or own),
        subject=", ".join(word for word in stated if word and word != "not stated"),
        neurons=recording.neurons,
        bin_width=used,
        stimuli=tuple(stimuli),
        unreadable=tuple(unreadable),
        errors=report.errors,
        notes=report.notes,
        remarks=tuple(remarks),
    )


def _readable(recording: Recording) -> tuple[Recording, list[str]]:
    """The recording without the roles that cannot be read, and the paths of those."""
    nodes = {node.path: node.to_dataset(inherit=False) for node in recording.tree.subtree}
    lost = []
    for name in recording.stimuli:
        roles = [f"/{name}/{role}" for role in recording.roles(name)]
        broken = [path for path in roles if not _is_readable(recording.tree[path].to_dataset())]
        lost += broken
        for path in [*broken, f"/{name}"] if len(broken) == len(roles) else broken:
            del nodes[path]
    return (Recording(xr.DataTree.from_dict(nodes), recording.source) if lost else recording), lost


def _is_readable(role: xr.Dataset) -> bool:
    names = ["response", "time", "block"]
    if not set(names) <= set(role.variables):
        return False
    if set(role["response"].dims) - {"trial"} != {"time", "neuron"}:
        return False
    try:
        stored_width(role)
        for name in [*names, "frame_time"]:
            for _ in frame_slabs(role[name].variable) if name in role.variables else ():
                pass
    except (InputError, OSError):
        return False
    return True


def _align(recording: Recording, name: str, errors: tuple[Problem, ...]) -> Alignment:
    if errors:
        return Alignment("unknown", "not tested: the recording has errors")
    try:
        return alignment_test(recording, name)
    except (OSError, np.linalg.LinAlgError) as error:
        return Alignment("unknown", f"not tested: {str(error).splitlines()[0]}")


def _overlap(recording: Recording, name: str, errors: tuple[Problem, ...]) -> str:
    roles = recording.roles(name)
    with_movie = [role for role in roles if "stimulus" in recording.tree[name][role].variables]
    scored = [role for role in ("test", "heldout") if role in with_movie]
    if "train" not in with_movie or not scored:
        return ""
    places = [f"/{name}/{role}/stimulus" for role in scored]
    found = [e for e in errors if e.where in places and "also shown" in e.what]
    return found[0].what if found else f"no stretch of {' or '.join(scored)} is in train"


def _inspect_stimulus(view: Recording, name: str) -> StimulusInspection:
    roles = {role: view.role(role, name) for role in view.roles(name)}
    units, rate_of = _rates(next(iter(roles.values())))
    data = {role: _responses(dataset) for role, dataset in roles.items()}
    data = {role: found for role, found in data.items() if found.values.size}
    session = [data[role] for role in ("train", "heldout") if role in data]
    chosen = [role for role in ("train", "heldout") if role in data]
    chosen = chosen or [role for role in ("test", "repeats", *data) if role in data][:1]
    rate, silent = np.full(view.neurons.size, np.nan), np.zeros(view.neurons.size, dtype=bool)
    if chosen:
        sums = [sum_and_count(observations(data[role].values)) for role in chosen]
        total, count = (np.sum(part, axis=0) for part in zip(*sums, strict=True))
        rate = rate_of(divide(total, count), data[chosen[0]].width)
        kinds = {dataset["response"].attrs.get("kind") for dataset in roles.values()}
        silent = (total == 0) & (kinds <= {"count", "rate"})

    reasons: dict[str, str] = {}
    found_ceilings = over_trials = interval = gain = None
    offered = [role for role in ("test", "repeats") if role in data]
    repeated = [
        role for role in offered if data[role].values.ndim == 3 and len(data[role].values) > 1
    ]
    if repeated:
        role, found = repeated[0], data[repeated[0]]
        found_ceilings = measure_ceilings(role, found.values)
        interval, gain = ceiling_interval(found.values), gain_over_trials(found.values)
        n_trials = len(found.values)
        if n_trials >= MIN_ROWS:
            rows = rate_of(trial_means(found.values), found.width)
            over_trials = trend(f"{n_trials} trials", rows)
        else:
            reasons["over_trials"] = f"fewer than {MIN_ROWS} trials"
    else:
        why = f"{offered[0]} holds one trial only" if offered else "no repeated test"
        reasons["ceilings"] = reasons["over_trials"] = why
        interval = gain = why
    shown = [role for role in roles.values() if "stimulus" in role.variables][:1]
    stored = view.at(view.stored_bin_width)
    kind = str(next(iter(roles.values()))["response"].attrs.get("kind", "count"))
    found = {
        "over_blocks": over_blocks(session, rate_of),
        "onset": block_onset(session),
        "ceiling_interval": interval,
        "gain_over_trials": gain,
        "refractory": refractory([_responses(stored.role(r, name)) for r in chosen], kind),
        "statistics": _of_movie(stimulus_statistics, shown),
        "frames": _of_movie(frame_timing, shown),
    }
    reasons |= {what: why for what, why in found.items() if isinstance(why, str)}
    found = {what: None if isinstance(value, str) else value for what, value in found.items()}
    return StimulusInspection(
        name=name,
        description=str(view.tree[name].attrs.get("description", "")),
        roles=tuple(item for item in view.summary() if item["stimulus"] == name),
        rate=rate,
        rate_units=units,
        rate_from=" + ".join(chosen),
        silent=silent,
        ceilings=found_ceilings,
        over_trials=over_trials,
        reasons=reasons,
        covariates=summarize_covariates(list(roles.values())),
        **found,
    )


def _of_movie(measure: Callable, shown: list[xr.Dataset]):
    if not shown:
        return "the stimulus is not in the recording"
    if shown[0]["stimulus"].ndim not in (3, 4):
        return "the movie has other axes than (frame, y, x) or (frame, channel, y, x)"
    try:
        return measure(shown[0])
    except OSError as error:
        return f"the movie cannot be read ({str(error).splitlines()[0]})"


def _responses(role: xr.Dataset) -> Responses:
    response = role["response"].transpose("trial", "time", "neuron", missing_dims="ignore")
    values = np.asarray(response.values)
    if values.dtype.kind == "f" and np.isinf(values).any():
        values = np.where(np.isinf(values), np.nan, values)
    width = float(stored_width(role))
    return Responses(values, block_runs(role["block"].values), role["time"].values, width)


def _rates(role: xr.Dataset) -> tuple[str, Callable]:
    """The unit of rates and what turns a mean per bin (and the width of a bin) into a rate."""
    attrs = role["response"].attrs
    if attrs.get("kind", "count") == "count":
        return "Hz", lambda mean, width: mean / width
    return str(attrs.get("units") or "no unit"), lambda mean, _: mean


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
