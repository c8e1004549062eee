"""An inspection as lines for a terminal."""

from __future__ import annotations

import textwrap
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuromodels.analysis.alignment import LIMITS
from neuromodels.analysis.covariate_inspection import covariate_lines
from neuromodels.datasets.recording import format_duration, frame_size

if TYPE_CHECKING:
    from neuromodels.analysis.drift import Drift
    from neuromodels.analysis.inspection import Inspection, StimulusInspection

NONE = "–"
_SHORTEST = 1e-5  # s; less jitter is that of rounding


def inspection_text(found: Inspection) -> str:
    """What is in a recording: errors first, then sizes, neurons and drift, then notes."""
    several = len(found.stimuli) > 1
    sizes = [_movie(stimulus) for stimulus in found.stimuli]
    neurons = _count(len(found.neurons), "neuron")
    head = [Path(found.source).name, found.format, found.subject, neurons]
    lines = ["   ".join(part for part in (*head, *([] if several else sizes)) if part)]
    if found.errors:
        lines.append(f"{_count(len(found.errors), 'error')}: fit and compare refuse this recording")
        lines += [f"  {line}" for item in found.errors for line in str(item).split("\n")]
    if found.unreadable:
        lines.append(f"  not shown, because it cannot be read: {', '.join(found.unreadable)}")
    for stimulus in found.stimuli:
        if stimulus.alignment is not None and stimulus.alignment.warns:
            name = f"{stimulus.name}: " if several else ""
            lines += [f"warning: {name}{stimulus.alignment.message}"]
        elif _repeats_but_follows_nothing(stimulus):
            lines.append(
                f"warning: {stimulus.name}: the cells repeat themselves, but none clearly follows "
                "the stimulus: is it the right movie, frame rate, order of frames and of axes?"
            )
    for stimulus, size in zip(found.stimuli, sizes, strict=True):
        if several:
            lines += ["", "   ".join(part for part in (stimulus.name, size) if part)]
        lines += _roles(stimulus)
        lines += ["", *_neurons(stimulus, found), "", *_drift(stimulus, found)]
        lines += ["", *stimulus_lines(stimulus), *covariate_lines(stimulus.covariates)]
    notes = [str(item) for item in found.notes] + [f"note: {item}" for item in found.remarks]
    if notes:
        lines += ["", _count(len(notes), "note")]
        lines += [f"  {line}" for item in notes for line in item.split("\n")]
    return "\n".join(lines)


def _repeats_but_follows_nothing(stimulus: StimulusInspection) -> bool:
    """Reliable cells that no shift of the stimulus predicts; cells may also be nonlinear."""
    if stimulus.alignment is None or stimulus.ceilings is None:
        return False
    gate = stimulus.ceilings.passes_gate
    unknown = stimulus.alignment.verdict == "unknown" and not np.any(stimulus.alignment.follows)
    return unknown and gate is not None and gate.sum() >= 2


def _movie(stimulus: StimulusInspection) -> str:
    movies = [role for role in stimulus.roles if "frame_shape" in role]
    if not movies:
        return ""
    rate, total = movies[0]["frame_rate_hz"], sum(role["movie_bytes"] for role in movies)
    size = frame_size(movies[0]["frame_shape"])
    lazily = f" ({total / 1e9:.1f} GB, read lazily)" if total > 1e9 else ""
    return size + (f" at {rate:.4g} Hz" if rate else "") + lazily


def _roles(stimulus: StimulusInspection) -> list[str]:
    rows = []
    for role in stimulus.roles:
        trials = "" if role["n_trials"] is None else f" x {role['n_trials']}"
        said = role["selection"] or _count(role["n_blocks"], "block")
        rows.append([role["role"], format_duration(role["duration_s"]) + trials, said])
    return _table([], rows, left={0, 1, 2})


def _neurons(stimulus: StimulusInspection, found: Inspection) -> list[str]:
    c, spikes, interval = stimulus.ceilings, stimulus.refractory, stimulus.ceiling_interval
    unit = "rate" if stimulus.rate_units == "Hz" else "mean"
    heads = [
        ["unit", ""],
        [f"{unit} ({stimulus.rate_units})", ""],
        ["explainable", "fraction"],
        ["CC_max", f"{c.n_trials} trials" if c else ""],
        *([["95 %", "interval"]] if interval else []),
        ["reliability", "interleaved"],
        ["reliability", "first/second"],
        *([["spikes (%) <", _limits(spikes)]] if spikes else []),
        ["notes", ""],
    ]
    left = {0, len(heads) - 1}
    rows = []
    for i, name in enumerate(found.neurons):
        values = [NONE] * (5 if interval else 4)
        if c:
            interleaved = c.reliability_interleaved[i], c.cc_max_interleaved[i]
            in_order = c.reliability_first_second[i], c.cc_max_first_second[i]
            values = [_number(c.explainable_fraction[i]), _number(c.cc_max[i], 3)]
            values += [_interval(interval.low[i], interval.high[i])] if interval else []
            values += [
                f"{_number(reliability, 3)} ({_number(ceiling, 3)})"
                if reliability == reliability
                else NONE
                for reliability, ceiling in (interleaved, in_order)
            ]
        if spikes:
            shares = (100 * share[i] for share in (spikes.share_one, spikes.share_two))
            values.append(" / ".join(_number(share) for share in shares))
        rows.append([str(name), _rate(stimulus.rate[i]), *values, _remark(stimulus, i)])
    head = f"{unit} over {stimulus.rate_from or 'nothing'}, "
    if c is None:
        head += f"no ceilings: {stimulus.reasons['ceilings']}"
        return [head, *_table(heads, rows, left=left), *_without_spikes(stimulus)]
    head += f"ceilings from {c.role} in {found.bin_width * 1e3:.4g} ms bins"
    after = [
        "  reliability: Spearman-Brown of the halves, in brackets its root; CC_max: ceiling of r"
    ]
    if c.ragged:
        after.append("  trials are ragged: halves are compared on the bins that both have")
    if c.halves_differ.any():
        after.append(
            "  halves differ: the two ceilings differ more than in 19 of 20 random orders of trials"
        )
    if "ceiling_interval" in stimulus.reasons:
        after.append(f"  no interval of CC_max: {stimulus.reasons['ceiling_interval']}")
    for why in sorted({str(why) for why in interval.reason if why} if interval else ()):
        after.append(f"  {NONE} for an interval: {why}")
    return [head, *_table(heads, rows, left=left), *after, *_without_spikes(stimulus)]


def _without_spikes(stimulus: StimulusInspection) -> list[str]:
    why = stimulus.reasons.get("refractory")
    return [f"  refractory violations: not known, {why}"] if why else []


def _limits(spikes) -> str:
    one, two = (f"{1e3 * limit:.3g}" for limit in spikes.within)
    return f"{one} / {two} ms"


def _interval(low: float, high: float) -> str:
    return f"{_number(low, 3)}–{_number(high, 3)}" if np.isfinite(low) else NONE


def _remark(stimulus: StimulusInspection, i: int) -> str:
    c = stimulus.ceilings
    fails = c is not None and c.passes_gate is not None and not c.passes_gate[i]
    if stimulus.silent[i]:
        return "silent: fitted, but fails the gate" if fails else f"silent in {stimulus.rate_from}"
    said = ["fails the gate: no signal above 2 errors"] if fails else []
    if stimulus.refractory is not None and stimulus.refractory.violates[i]:
        said.append("refractory violations")
    return ", ".join(said + (["halves differ"] if c is not None and c.halves_differ[i] else []))


def _drift(stimulus: StimulusInspection, found: Inspection) -> list[str]:
    units = f"({stimulus.rate_units})"
    heads, columns, marks = [["unit", ""]], [], []
    for drift in (stimulus.over_blocks, stimulus.over_trials):
        if drift is None:
            continue
        heads += [[drift.over, f"first → last fifth {units}"], ["trend", "% of the mean"]]
        columns += [_ends(drift), _percent(drift)]
        marks.append(drift.drifts)
        if drift is stimulus.over_blocks and stimulus.onset is not None:
            onset = stimulus.onset
            heads.append(["first tenth of", "a block / mean"])
            parts = zip(onset.ratio, onset.standard_error, onset.differs, strict=True)
            columns.append([_with_error(*part) for part in parts])
            marks.append(onset.differs)
    if (gain := stimulus.gain_over_trials) is not None:
        heads.append(["gain over trials", "% of the mean"])
        columns.append(_percent(gain))
        marks.append(gain.drifts)
    names = {"over_blocks": "over blocks", "onset": "within blocks", "over_trials": "over trials"}
    without = [f"  {names[k]}: {why}" for k, why in stimulus.reasons.items() if k in names]
    if not columns:
        return ["drift: not measured", *without]
    rows = [list(row) for row in zip([str(n) for n in found.neurons], *columns, strict=True)]
    after = ["  trend: rise of a straight line from start to end ± standard error"]
    if any(mark.any() for mark in marks):
        after[0] += "; * beyond 3 errors and 10 %"
    n = sum(np.any(marks, axis=0))
    said = f"drift: {n} of {len(found.neurons)} neurons (*)" if n else "drift: none found"
    return [said, *_table(heads, rows, left={0}), *after, *without]


def stimulus_lines(stimulus: StimulusInspection) -> list[str]:
    """The movie, its frames' times, and whether it is on the clock of the responses."""
    lines, s, frames = [], stimulus.statistics, stimulus.frames
    if s is None:
        lines.append(f"stimulus: {stimulus.reasons['statistics']}")
    else:
        levels = "more than 256" if s.levels == 0 else s.levels
        said = f"{s.distinct} different" + (
            f" of {s.n_looked_at} looked at" if s.n_looked_at < s.n_frames else ""
        )
        contrast = f", contrast {_figure(s.contrast)}" if np.isfinite(s.contrast) else ""
        lines.append(
            f"stimulus: {_count(s.n_frames, 'frame')} ({said}), {_figure(s.low)} to "
            f"{_figure(s.high)} ({levels} levels), mean {_figure(s.mean)}, sd {_figure(s.sd)}"
            f"{contrast}"
        )
        widths = [
            f"{_figure(value * scale)} {unit}"
            for value, scale, unit in (
                (s.correlation_time, 1e3, "ms"),
                (s.correlation_space, 1, "px"),
            )
            if np.isfinite(value)
        ]
        if widths:
            lines.append(f"  autocorrelation falls to one half within {' and '.join(widths)}")
        if s.is_clipped:
            lines.append(
                f"  clipped: {100 * s.at_low:.1f} % of the values are {_figure(s.low)}, "
                f"{100 * s.at_high:.1f} % are {_figure(s.high)}"
            )
    if frames is None:
        lines.append(f"  frame intervals: {stimulus.reasons['frames']}")
    else:
        jitter = f", jitter {1e3 * frames.jitter:.2g} ms" if frames.jitter > _SHORTEST else ""
        irregular = "none irregular"
        if frames.n_irregular:
            irregular = (
                f"{frames.n_irregular} ({100 * frames.n_irregular / frames.n_intervals:.2g} %) off "
                f"by more than half a frame, the worst {1e3 * frames.worst:.4g} ms at "
                f"{frames.worst_at:.6g} s"
            )
        lines.append(f"  frame intervals: {1e3 / frames.rate:.4g} ms{jitter}; {irregular}")
    if stimulus.overlap:
        lines.append(f"  train/test overlap: {stimulus.overlap}")
    if stimulus.alignment is not None:
        lines.append(f"alignment: {stimulus.alignment.message}")
        if stimulus.alignment.shift is not None:
            lines += [f"  {line}" for line in textwrap.wrap(LIMITS, 110)]
    return lines


def _figure(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _ends(drift: Drift) -> list[str]:
    ends = zip(drift.first_fifth, drift.last_fifth, strict=True)
    return [f"{_rate(first)} → {_rate(last)}" for first, last in ends]


def _percent(drift: Drift) -> list[str]:
    parts = zip(100 * drift.change, 100 * drift.standard_error, drift.drifts, strict=True)
    return [_with_error(*part, digits=0, signed=True) for part in parts]


def _with_error(value, error, flagged, digits: int = 2, signed: bool = False) -> str:
    if not np.isfinite(value):
        return f"{NONE}  "
    text = f"{_number(value, digits, signed)} ± {_number(error, digits)}"
    return text + (" *" if flagged else "  ")


def _rate(value: float) -> str:
    if not np.isfinite(value):
        return NONE
    return f"{value:.1f}" if value == 0 or 0.1 <= abs(value) < 1e4 else f"{value:.2g}"


def _number(value: float, digits: int = 2, signed: bool = False) -> str:
    if not np.isfinite(value):
        return NONE
    value = round(float(value), digits) + 0.0  # no "-0"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _columns(text: str) -> int:
    """Columns that a text takes in a terminal: wide letters two, combining marks none."""
    shown = (c for c in text if not unicodedata.combining(c))
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in shown)


def _table(heads: list[list[str]], rows: list[list[str]], left: set[int]) -> list[str]:
    cells = [list(line) for line in zip(*heads, strict=True)] + rows
    widths = [max(_columns(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = []
        for i, cell in enumerate(row):
            space = " " * (widths[i] - _columns(cell))
            padded.append(cell + space if i in left else space + cell)
        lines.append(("  " + "   ".join(padded)).rstrip())
    return lines
