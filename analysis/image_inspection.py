"""What is in a recording of pictures: sizes, rates, repeats, reliability, ceilings, and when."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neuromodels.analysis import ceilings, halves
from neuromodels.analysis.image_inspection_text import image_inspection_text
from neuromodels.analysis.metrics import explainable_fraction
from neuromodels.analysis.sums import divide
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.image_recording import BLANK, ImageRecording, by_repetition
from neuromodels.datasets.problems import Problem

N_SPLITS = 20  # random halves of the repeats; their r is averaged


@dataclass(frozen=True, eq=False)
class Tuning:
    """How repeatable the responses to pictures are, per neuron.

    Attributes
    ----------
    r_halves : (neuron,)
        Correlation over pictures of the means of two halves of the repeats, averaged over
        random halves.
    reliability : (neuron,)
        Its Spearman-Brown correction: of the mean over all repeats.
    cc_max : (neuron,)
        Ceiling of r with the mean over all repeats, see `ceiling_of_pictures`.
    explainable_fraction : (neuron,)
        Share of the single-presentation variance that the picture accounts for.
    passes_gate : (neuron,) bool, or None with fewer than three repeats
        The signal power exceeds twice its error.
    """

    r_halves: np.ndarray
    reliability: np.ndarray
    cc_max: np.ndarray
    explainable_fraction: np.ndarray
    passes_gate: np.ndarray | None


@dataclass(frozen=True, eq=False)
class TimeCourse:
    """The same, time bin by time bin.

    Attributes
    ----------
    start, end : (time_bin,), s from the onset
    mean : (time_bin,)
        Mean response over neurons and presentations, in `mean_units`.
    r_halves, r_halves_median : (time_bin,)
        Mean and median over neurons of the split-half correlation of tuning, not corrected.
    reliability_median : (time_bin,)
        Median over neurons of its Spearman-Brown correction.
    r_halves_per_neuron : (neuron, time_bin)
    """

    start: np.ndarray
    end: np.ndarray
    mean: np.ndarray
    mean_units: str
    r_halves: np.ndarray
    r_halves_median: np.ndarray
    reliability_median: np.ndarray
    r_halves_per_neuron: np.ndarray


@dataclass(frozen=True, eq=False)
class RoleInspection:
    """One set of pictures in one role.

    Attributes
    ----------
    summary : dict
        As `ImageRecording.summary` gives it.
    mean : (neuron,)
        Mean response in `mean_units`.
    n_presentations, min_repeats, max_repeats : (neuron,)
        Presentations recorded, and repeats of the pictures.
    window : str
        Which time bins tuning and ceilings are of; empty where there are none.
    tuning, time_course
        None where they cannot exist; `reasons` then says why, under the same name.
    """

    summary: dict
    mean: np.ndarray
    mean_units: str
    n_presentations: np.ndarray
    min_repeats: np.ndarray
    max_repeats: np.ndarray
    window: str
    tuning: Tuning | None
    time_course: TimeCourse | None
    reasons: dict[str, str]


@dataclass(frozen=True, eq=False)
class ImageInspection:
    """What `inspect_image_recording` found: plain arrays and values, and `text()`.

    `errors` and `notes` are those of `ImageRecording.validate`, `remarks` what the reader of the
    file had to say. Roles in `unreadable` are left out.
    """

    source: str
    format: str
    subject: str
    neurons: np.ndarray
    roles: tuple[RoleInspection, ...]
    unreadable: tuple[str, ...]
    errors: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    remarks: tuple[str, ...]

    def text(self) -> str:
        """Lines for a terminal: errors, sizes, a table of the neurons, time bins, notes."""
        return image_inspection_text(self)

    def to_dict(self) -> dict:
        """The same as values that JSON can hold; what does not exist is None."""
        return _plain(dataclasses.asdict(self))

    def __str__(self) -> str:
        return self.text()


def inspect_image_recording(recording: ImageRecording) -> ImageInspection:
    """Show what is in a recording of pictures, how reliable its neurons are, and what is wrong.

    Parameters
    ----------
    recording : ImageRecording
        It may have errors: they are listed, and the rest is shown as far as it can be read.

    Returns
    -------
    ImageInspection

    Notes
    -----
    With time bins, tuning and ceilings are of the sum (counts) or mean over the bins that start
    at the onset or later. Reliability compares random halves of the repeats, 20 times with a
    fixed seed; with unequal repeats each half is the mean of those it has.
    """
    report = recording.validate()
    attrs = recording.attrs
    stated = [str(attrs.get(key, "")) for key in ("species", "area")]
    remarks = attrs.get("notes", [])
    broken = {item.where for item in report.errors}
    roles, unreadable = [], []
    for stimulus in recording.stimuli:
        for role in recording.roles(stimulus):
            name = f"/{stimulus}/{role}"
            parts = ("response", "stimulus_id", "repetition", "time_bin_start", "time_bin_end")
            if any(f"{name}/{part}" in broken for part in parts):
                unreadable.append(name)
                continue
            try:
                node = recording.role(role, stimulus)
                summary = next(
                    item
                    for item in recording.summary()
                    if (item["stimulus"], item["role"]) == (stimulus, role)
                )
                roles.append(_inspect_role(node, summary, attrs))
            except (InputError, OSError):
                unreadable.append(name)
    return ImageInspection(
        source=recording.source,
        format=str(attrs.get("format", "")),
        subject=", ".join(word for word in stated if word and word != "not stated"),
        neurons=recording.neurons,
        roles=tuple(roles),
        unreadable=tuple(unreadable),
        errors=report.errors,
        notes=report.notes,
        remarks=tuple([remarks] if isinstance(remarks, str) else remarks),
    )


def split_half_of_pictures(responses, n_splits: int = N_SPLITS, seed: int = 0) -> np.ndarray:
    """Correlation of tuning between two halves of the repeats, averaged over random halves.

    Parameters
    ----------
    responses : array (repetition, stimulus, neuron)
        At least two repeats; NaN where missing.
    n_splits, seed : int

    Returns
    -------
    np.ndarray
        (neuron,), not corrected for the length of the halves; NaN for a silent neuron.
    """
    responses = np.asarray(responses, dtype=float)
    rng = np.random.default_rng(seed)
    r = np.stack(
        [halves.split_half(responses[rng.permutation(len(responses))]).r for _ in range(n_splits)]
    )
    defined = np.isfinite(r)
    return divide(np.where(defined, r, 0.0).sum(axis=0), defined.sum(axis=0))


def ceiling_of_pictures(responses) -> tuple[np.ndarray, np.ndarray]:
    """Signal power over pictures, and the ceiling of r with the mean over all repeats.

    Parameters
    ----------
    responses : array (repetition, stimulus, neuron)
        At least two repeats of some pictures; NaN where missing.

    Returns
    -------
    signal_power, cc_max : np.ndarray
        (neuron,); a ceiling is NaN where the signal power is ≤ 0.

    Notes
    -----
    SP = Var(ȳ) - σ² mean(1/n), with ȳ the mean over the n repeats of a picture and σ² the variance
    between repeats, pooled over pictures; CC_max = √(SP / Var(ȳ)). `ceilings.cc_max` averages
    over pairs of trials instead: with unequal repeats, pairs that few pictures share then count as
    much as the others, and make it noisy.
    """
    values = np.asarray(responses, dtype=float)
    present = np.isfinite(values)
    n = present.sum(axis=0)  # (stimulus, neuron)
    mean = divide(np.where(present, values, 0.0).sum(axis=0), n)
    within = np.where(present, values - mean, 0.0)
    noise = divide((within**2).sum(axis=(0, 1)), np.maximum(n - 1, 0).sum(axis=0))
    shown = n > 0
    n_shown = shown.sum(axis=0)
    centre = divide(np.where(shown, mean, 0.0).sum(axis=0), n_shown)
    spread = divide((np.where(shown, mean - centre, 0.0) ** 2).sum(axis=0), n_shown - 1)
    share = divide(np.where(shown, divide(1.0, n), 0.0).sum(axis=0), n_shown)
    power = spread - noise * share
    return power, ceilings.root(divide(power, spread))


def _stands_out(responses: np.ndarray) -> np.ndarray:
    """Whether the signal power exceeds twice its error, by jack-knife over repeats."""
    n = len(responses)
    power, _ = ceiling_of_pictures(responses)
    left = np.stack([ceiling_of_pictures(np.delete(responses, i, axis=0))[0] for i in range(n)])
    with np.errstate(invalid="ignore"):
        error = np.sqrt((n - 1) / n * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
        return power > 2 * error


def _inspect_role(node: xr.Dataset, summary: dict, attrs: dict) -> RoleInspection:
    shown = node.isel(presentation=node["stimulus_id"].values.astype(str) != BLANK)
    crossed = by_repetition(shown if shown.sizes["presentation"] else node)
    values = crossed.values  # (repetition, stimulus, neuron[, time_bin])
    timed = "time_bin" in crossed.dims
    kind = node["response"].attrs["kind"]
    window, widths, reasons = "", None, {}
    pooled = values
    if timed:
        starts, ends = crossed["time_bin_start"].values, crossed["time_bin_end"].values
        widths = ends - starts
        chosen = starts >= -1e-9
        chosen = chosen if chosen.any() else np.ones(starts.size, dtype=bool)
        window = f"{starts[chosen][0] * 1e3:g} to {ends[chosen].max() * 1e3:g} ms"
        picked = values[..., chosen]
        pooled = picked.sum(axis=-1) if kind == "count" else picked.mean(axis=-1)
    present = np.isfinite(pooled)
    repeats = present.sum(axis=0)  # (stimulus, neuron)
    mean = divide(np.where(present, pooled, 0.0).sum((0, 1)), present.sum((0, 1)))
    units = str(summary["units"])
    if timed and kind == "count":
        mean, units = mean / widths[chosen].sum(), "Hz"
    tuning = time_course = None
    why = _no_ceiling(repeats, attrs)
    if why:
        reasons["tuning"] = why
    else:
        tuning = _tuning(pooled)
    if not timed:
        reasons["time_course"] = "responses have no time bins"
    else:
        time_course = _time_course(values, starts, ends, kind, units, bool(why))
    return RoleInspection(
        summary=summary,
        mean=mean,
        mean_units=units,
        n_presentations=present.sum(axis=(0, 1)),
        min_repeats=repeats.min(axis=0),
        max_repeats=repeats.max(axis=0),
        window=window,
        tuning=tuning,
        time_course=time_course,
        reasons=reasons,
    )


def _no_ceiling(repeats: np.ndarray, attrs: dict) -> str:
    """Why reliability and ceilings cannot exist; empty if they can."""
    if repeats.max() < 2:
        if attrs.get("averaged_over_repeats"):
            return "responses are averages over repeats, one value per picture"
        return "every picture has one value only"
    if ((repeats >= 2).sum(axis=0) < 3).all():
        return "fewer than three pictures have repeats"
    return ""


def _tuning(pooled: np.ndarray) -> Tuning:
    r = split_half_of_pictures(pooled)
    return Tuning(
        r_halves=r,
        reliability=divide(2 * r, 1 + r),
        cc_max=ceiling_of_pictures(pooled)[1],
        explainable_fraction=explainable_fraction(pooled),
        passes_gate=_stands_out(pooled) if len(pooled) > 2 else None,
    )


def _time_course(values, starts, ends, kind: str, units: str, no_repeats: bool) -> TimeCourse:
    n_neurons, n_bins = values.shape[2:]
    present = np.isfinite(values)
    mean = divide(np.where(present, values, 0.0).sum((0, 1, 2)), present.sum((0, 1, 2)))
    r = np.full((n_neurons, n_bins), np.nan)
    if not no_repeats:
        for i in range(n_bins):
            r[:, i] = split_half_of_pictures(values[..., i])
    return TimeCourse(
        start=starts,
        end=ends,
        mean=mean / (ends - starts) if kind == "count" else mean,
        mean_units="Hz" if kind == "count" else units,
        r_halves=_over_neurons(r, np.mean),
        r_halves_median=_over_neurons(r, np.median),
        reliability_median=_over_neurons(divide(2 * r, 1 + r), np.median),
        r_halves_per_neuron=r,
    )


def _over_neurons(values: np.ndarray, how) -> np.ndarray:
    columns = [column[np.isfinite(column)] for column in values.T]
    return np.array([how(column) if column.size else np.nan for column in columns])


def _plain(value):
    """Arrays as lists, NaN and infinities as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
