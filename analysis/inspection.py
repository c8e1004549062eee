"""What is in a recording: sizes, rates, reliability, ceilings, drift, and what is wrong with it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.special import ndtr, stdtrit

from neuromodels.analysis import ceilings as of
from neuromodels.analysis.inspection_text import inspection_text
from neuromodels.analysis.metrics import explainable_fraction
from neuromodels.analysis.sums import divide
from neuromodels.datasets.binning import exact_bin_width
from neuromodels.datasets.blocks import block_runs, stored_width
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.validation import DRIFT_CHANGE, DRIFT_Z, Problem

MIN_ROWS = 8  # fewer blocks or trials show no trend
SEGMENT = 30.0  # s, pieces of a session that was recorded in one go
ORDERS = 100  # random orders of the trials: the error of a difference of ceilings to 7 %
_WORKING_SET = 2**24  # values of repeats at a time


@dataclass(frozen=True, eq=False)
class Drift:
    """Rates from the first to the last block or trial, per neuron.

    Attributes
    ----------
    over : str
        What is compared: "50 blocks", "54 trials".
    first_fifth, last_fifth : (neuron,)
        Rate in the first and last fifth of them, in the unit of `StimulusInspection.rate`.
    change, standard_error : (neuron,)
        Rise of a straight line from start to end as a fraction of the mean, and its error.
    drifts : (neuron,) bool
        The change exceeds 10 % and what chance gives in 3 of 1000 (3 standard errors for many
        rows, more for few).
    """

    over: str
    first_fifth: np.ndarray
    last_fifth: np.ndarray
    change: np.ndarray
    standard_error: np.ndarray
    drifts: np.ndarray


@dataclass(frozen=True, eq=False)
class BlockOnset:
    """Rate in the first tenth of a block relative to the block's mean, over all blocks.

    `ratio`, `standard_error` (over blocks) and `differs` (from 1, by the rule of `Drift`) are
    (neuron,).
    """

    n_blocks: int
    ratio: np.ndarray
    standard_error: np.ndarray
    differs: np.ndarray


@dataclass(frozen=True, eq=False)
class Ceilings:
    """How repeatable the responses are, per neuron (see `neuromodels.analysis.ceilings`).

    Attributes
    ----------
    role, n_trials : the repeats that were used
    ragged : bool
        Some trials miss bins that others have; halves are compared on the bins of both.
    explainable_fraction : (neuron,)
        Share of the single-trial variance, in bins of this width, that repeats.
    cc_max : (neuron,)
        Ceiling of r from the signal power of all trials.
    reliability_interleaved, reliability_first_second : (neuron,)
        Spearman-Brown of two halves of the trials.
    cc_max_interleaved, cc_max_first_second : (neuron,)
        Their square roots, ceilings of r.
    halves_differ : (neuron,) bool
        The two ceilings differ by more than 1.96 errors; 1 in 20 does so by chance.
    passes_gate : (neuron,) bool, or None with fewer than three trials
        The signal power exceeds twice its error.
    """

    role: str
    n_trials: int
    ragged: bool
    explainable_fraction: np.ndarray
    cc_max: np.ndarray
    reliability_interleaved: np.ndarray
    cc_max_interleaved: np.ndarray
    reliability_first_second: np.ndarray
    cc_max_first_second: np.ndarray
    halves_differ: np.ndarray
    passes_gate: np.ndarray | None


@dataclass(frozen=True, eq=False)
class StimulusInspection:
    """One stimulus: its roles and what each neuron did.

    Attributes
    ----------
    roles : tuple of dict
        As `Recording.summary` gives them; a role that cannot be read has only its name.
    rate : (neuron,)
        Mean response in `rate_units` over the roles `rate_from`.
    silent : (neuron,) bool
        No spike in those roles (never for traces).
    ceilings, over_blocks, block_onset, over_trials
        None where they cannot exist; `reasons` then says why, under the same name.
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
    block_onset: BlockOnset | None
    over_trials: Drift | None
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Inspection:
    """What `inspect_recording` found: plain arrays and values, and `text()` for a terminal.

    `errors` and `notes` are those of `Recording.validate`; `remarks` are what the reader of the
    file had to say. `bin_width` (s) is that of the ceilings.
    """

    source: str
    format: str
    subject: str
    neurons: np.ndarray
    bin_width: float
    stimuli: tuple[StimulusInspection, ...]
    errors: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    remarks: tuple[str, ...]

    def text(self) -> str:
        """Lines for a terminal: errors, sizes, a table of the neurons, drift, notes."""
        return inspection_text(self)

    def to_dict(self) -> dict:
        """The same as values that JSON can hold; what does not exist is None."""
        return _plain(dataclasses.asdict(self))

    def __str__(self) -> str:
        return self.text()


def inspect_recording(recording: Recording, bin_width: float = 0.010) -> Inspection:
    """Show what is in a recording, how reliable its neurons are, and what is wrong with it.

    Parameters
    ----------
    recording : Recording
        It may have errors: they are listed, and the rest is shown as far as it can be read.
        Movies are checked in pieces and never held.
    bin_width : float or Fraction
        Bins of the ceilings, s; the next multiple of the stored bins is used.

    Returns
    -------
    Inspection
    """
    report = recording.validate()
    attrs = recording.attrs
    readable, unreadable = _readable(recording)
    stimuli, used = [], float("nan")
    if readable.stimuli:
        ratio = exact_bin_width(bin_width) / exact_bin_width(readable.stored_bin_width)
        view = readable.at(exact_bin_width(readable.stored_bin_width) * math.ceil(ratio))
        used = view.bin_width
        stimuli = [_inspect_stimulus(view, name) for name in readable.stimuli]
    for name in recording.stimuli:
        lost = tuple({"stimulus": name, "role": role} for at, role in unreadable if at == name)
        stimuli = [
            dataclasses.replace(item, roles=item.roles + lost) if item.name == name else item
            for item in stimuli
        ]
    stated = [str(attrs.get(key, "")) for key in ("species", "area")]
    remarks = attrs.get("notes", ())
    remarks = [remarks] if isinstance(remarks, str) else [str(remark) for remark in remarks]
    return Inspection(
        source=recording.source,
        format=str(attrs.get("format") or _own_format(recording)),
        subject=", ".join(word for word in stated if word and word != "not stated"),
        neurons=recording.neurons,
        bin_width=used,
        stimuli=tuple(stimuli),
        errors=report.errors,
        notes=report.notes,
        remarks=tuple(remarks + ([f"clock: {attrs['clock']}"] if "clock" in attrs else [])),
    )


class _Responses(NamedTuple):
    values: np.ndarray  # ([trial,] time, neuron), NaN where missing
    runs: list[tuple[int, int, int]]
    time: np.ndarray
    width: float


def _readable(recording: Recording) -> tuple[Recording, list[tuple[str, str]]]:
    """The recording without the roles that cannot be read, and the names of those."""
    lost = [
        (stimulus, role)
        for stimulus in recording.stimuli
        for role in recording.roles(stimulus)
        if not _is_readable(recording.tree[stimulus][role].to_dataset())
    ]
    gone = {f"/{stimulus}/{role}" for stimulus, role in lost}
    for stimulus in recording.stimuli:
        if all((stimulus, role) in lost for role in recording.roles(stimulus)):
            gone.add(f"/{stimulus}")
    if not gone:
        return recording, lost
    nodes = {n.path: n.to_dataset(inherit=False) for n in recording.tree.subtree}
    kept = {path: node for path, node in nodes.items() if path not in gone}
    return Recording(xr.DataTree.from_dict(kept), recording.source), lost


def _is_readable(node: xr.Dataset) -> bool:
    names = {"response", "time", "block"}
    if not names <= set(node.variables):
        return False
    dims = node["response"].dims
    if set(dims) not in ({"time", "neuron"}, {"trial", "time", "neuron"}):
        return False
    try:
        stored_width(node)
        for name in names | ({"frame_time"} & set(node.variables)):
            node[name].load()
    except (InputError, OSError):
        return False
    return True


def _own_format(recording: Recording) -> str:
    return "arrays" if recording.source == "arrays" else f"HDF5 {Path(recording.source).suffix}"


def _inspect_stimulus(view: Recording, name: str) -> StimulusInspection:
    roles = view.roles(name)
    data = {role: _responses(view.role(role, name)) for role in roles}
    data = {role: found for role, found in data.items() if found.values.size}
    chosen = [role for role in ("train", "heldout") if role in data]
    chosen = chosen or [role for role in ("test", "repeats") if role in data][:1] or list(data)[:1]
    units, scale, kind = _rate_units(view.role(roles[0], name))
    n = view.neurons.size
    rate, silent = np.full(n, np.nan), np.zeros(n, dtype=bool)
    if chosen:
        parts = [_sum_and_count(data[role].values.reshape(-1, n)) for role in chosen]
        total, count = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
        rate = scale(divide(total, count), data[chosen[0]].width)
        silent = (total == 0) & (kind != "trace")

    reasons: dict[str, str] = {}
    found_ceilings, over_trials = None, None
    repeated = [role for role in ("test", "repeats") if role in data]
    repeated.sort(key=lambda role: data[role].values.ndim < 3 or len(data[role].values) < 2)
    if not repeated:
        reasons["ceilings"] = reasons["over_trials"] = "no repeated test"
    elif data[repeated[0]].values.ndim < 3 or len(data[repeated[0]].values) < 2:
        reasons["ceilings"] = reasons["over_trials"] = f"{repeated[0]} holds one trial only"
    else:
        role, found = repeated[0], data[repeated[0]]
        found_ceilings = _measure_ceilings(role, found.values)
        if len(found.values) < MIN_ROWS:
            reasons["over_trials"] = f"fewer than {MIN_ROWS} trials"
        else:
            rows = scale(_trial_means(found.values), found.width)
            over_trials = _drift(f"{len(rows)} trials", rows, np.arange(len(rows)) / len(rows))
    over_blocks, onset = _over_blocks(data, scale, reasons)
    return StimulusInspection(
        name,
        str(view.tree[name].attrs.get("description", "")),
        tuple(item for item in view.summary() if item["stimulus"] == name),
        rate,
        units,
        " + ".join(chosen),
        silent,
        found_ceilings,
        over_blocks,
        onset,
        over_trials,
        reasons,
    )


def _responses(role: xr.Dataset) -> _Responses:
    values = np.asarray(role["response"].transpose("trial", "time", "neuron", missing_dims="ignore"))
    if values.dtype.kind == "f" and np.isinf(values).any():
        values = np.where(np.isinf(values), np.nan, values)
    runs = block_runs(role["block"].values)
    return _Responses(values, runs, role["time"].values, float(stored_width(role)))


def _rate_units(role: xr.Dataset):
    attrs = role["response"].attrs
    kind = attrs.get("kind", "count")
    if kind == "count":
        return "Hz", lambda mean, width: mean / width, kind
    return str(attrs.get("units") or "unknown unit"), lambda mean, _: mean, kind


def _sum_and_count(values: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    if values.dtype.kind != "f":
        total = values.sum(axis=axis, dtype=np.float64)
        return total, np.full(total.shape, values.shape[axis])
    total = np.nansum(values, axis=axis, dtype=np.float64)
    return total, np.isfinite(values).sum(axis=axis)


def _mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    return divide(*_sum_and_count(values, axis))


def _trial_means(values: np.ndarray) -> np.ndarray:
    """Mean of every trial (trial, neuron), as if each had seen the whole movie."""
    means = np.empty((values.shape[0], values.shape[2]))
    for part in _neurons_at_a_time(values):
        psth = _mean(values[..., part])
        means[:, part] = _mean(values[..., part] - psth, axis=1) + _mean(psth)
    return means


def _neurons_at_a_time(values: np.ndarray) -> list[slice]:
    n = values.shape[-1]
    step = max(1, _WORKING_SET // (values.size // n))
    return [slice(first, first + step) for first in range(0, n, step)]


def _measure_ceilings(role: str, values: np.ndarray) -> Ceilings:
    pieces = []
    n_trials = len(values)
    for part in _neurons_at_a_time(values):
        y = values[..., part]
        if n_trials >= 4:
            stable = of.stationarity(y, n_orders=ORDERS)
            differ, halves = stable.non_stationary, (stable.interleaved, stable.first_second)
        else:
            differ, halves = np.zeros(y.shape[-1], bool), [of.split_half(y, h) for h in of.HALVES]
        shares = [value for half in halves for value in (half.reliability, half.cc_max)]
        gate = of.gate(y) if n_trials >= 3 else np.zeros(y.shape[-1], bool)
        pieces.append((explainable_fraction(y), of.cc_max(y), *shares, differ, gate))
    *fields, gate = (np.concatenate(piece) for piece in zip(*pieces, strict=True))
    missing = np.isnan(values).any(axis=2) if values.dtype.kind == "f" else np.zeros((1, 1), bool)
    ragged = bool((missing.any(axis=0) & ~missing.all(axis=0)).any())
    return Ceilings(role, n_trials, ragged, *fields, gate if n_trials >= 3 else None)


def _over_blocks(data: dict[str, _Responses], scale, reasons: dict[str, str]):
    """Drift over the blocks of the session, and the rate at their beginning."""
    found = [data[role] for role in ("train", "heldout") if role in data]
    if not found:
        reasons["over_blocks"] = reasons["block_onset"] = "no unrepeated data"
        return None, None
    blocks = [(f, a, b) for f in found for _, a, b in f.runs]
    blocks.sort(key=lambda block: block[0].time[block[1]])
    starts = np.array([f.time[a] for f, a, _ in blocks])
    stops = np.array([f.time[b - 1] for f, _, b in blocks])
    if len(found) > 1 and (starts[1:] < stops[:-1]).any():
        # Each role has a clock of its own: their order in the session is unknown.
        blocks = [(found[0], a, b) for _, a, b in found[0].runs]
    width = found[0].width
    pieces, over = blocks, f"{len(blocks)} blocks"
    if len(blocks) < MIN_ROWS:
        seconds = min(SEGMENT, max(1.0, sum(b - a for _, a, b in blocks) * width / 10))
        pieces, over = [], ""
        for f, a, b in blocks:
            edges = np.linspace(a, b, max(1, round((b - a) * width / seconds)) + 1).astype(int)
            pieces += [(f, *edge) for edge in zip(edges[:-1], edges[1:], strict=True)]
        over = f"{len(pieces)} segments of about {seconds:.3g} s"
    drift = None
    if len(pieces) < MIN_ROWS:
        reasons["over_blocks"] = f"fewer than {MIN_ROWS} blocks or segments"
    else:
        rows = np.array([scale(_block_mean(f.values, a, b), width) for f, a, b in pieces])
        at = np.array([(f.time[a] + f.time[b - 1]) / 2 for f, a, b in pieces])
        first, last = pieces[0], pieces[-1]
        start, end = first[0].time[first[1]], last[0].time[last[2] - 1]
        drift = _drift(over, rows, (at - start) / (end - start), [b - a for _, a, b in pieces])
    long_enough = [(f, a, b) for f, a, b in blocks if b - a >= 10]
    if len(long_enough) < MIN_ROWS:
        reasons["block_onset"] = f"fewer than {MIN_ROWS} blocks"
        return drift, None
    whole = np.array([_block_mean(f.values, a, b) for f, a, b in long_enough])
    first = np.array([_block_mean(f.values, a, a + (b - a) // 10) for f, a, b in long_enough])
    return drift, _onset(first, whole)


def _block_mean(values: np.ndarray, start: int, stop: int) -> np.ndarray:
    return _mean(values[..., start:stop, :].reshape(-1, values.shape[-1]))


def _drift(over: str, rows: np.ndarray, at: np.ndarray, weights=None) -> Drift:
    """Weighted straight line through rows (row, neuron) at positions 0 to 1 of the session."""
    there = np.isfinite(rows)
    w = np.where(there, 1.0 if weights is None else np.asarray(weights, float)[:, None], 0.0)
    n, y = there.sum(axis=0), np.where(there, rows, 0.0)
    x = at[:, None] - divide((w * at[:, None]).sum(axis=0), w.sum(axis=0))
    mean = divide((w * y).sum(axis=0), w.sum(axis=0))
    sxx = (w * x**2).sum(axis=0)
    slope = divide((w * x * y).sum(axis=0), sxx)
    residual = (w * (y - mean - slope * x) ** 2).sum(axis=0)
    error = np.sqrt(divide(divide(residual, np.maximum(n - 2, 0)), sxx))
    change, error = divide(slope, np.abs(mean)), divide(error, np.abs(mean))
    fifth = math.ceil(len(rows) / 5)
    ends = [
        divide((w[part] * y[part]).sum(axis=0), w[part].sum(axis=0))
        for part in (slice(fifth), slice(-fifth, None))
    ]
    return Drift(over, *ends, change, error, _stands_out(change, error, n - 2))


def _onset(first: np.ndarray, whole: np.ndarray) -> BlockOnset:
    there = np.isfinite(first) & np.isfinite(whole)
    n = there.sum(axis=0)
    first, whole = (np.where(there, values, 0.0) for values in (first, whole))
    total = whole.sum(axis=0)
    ratio = np.where(total > 0, divide(first.sum(axis=0), total), np.nan)
    spread = np.where(there, (first - ratio * whole) ** 2, 0.0).sum(axis=0)
    error = divide(np.sqrt(divide(n * spread, n - 1)), total)
    return BlockOnset(len(first), ratio, error, _stands_out(ratio - 1, error, n - 1))


def _stands_out(change: np.ndarray, error: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """As rare by chance as 3 standard errors of a normal variable, and more than 10 %."""
    limit = stdtrit(np.maximum(dof, 1), ndtr(DRIFT_Z))
    with np.errstate(invalid="ignore"):
        return (np.abs(change) > limit * error) & (np.abs(change) > DRIFT_CHANGE)


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Fraction):
        return float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
