"""An inspection of a recording of pictures as lines for a terminal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuromodels.datasets.image_recording import describe_role

if TYPE_CHECKING:
    from neuromodels.analysis.image_inspection import ImageInspection, RoleInspection, TimeCourse

NONE = "–"
MAX_ROWS = 200  # neurons listed in a terminal


def image_inspection_text(found: ImageInspection) -> str:
    """What is in a recording of pictures: errors, sizes, neurons, time bins, then notes."""
    n = len(found.neurons)
    head = [Path(found.source).name, found.format, found.subject]
    lines = ["   ".join(part for part in (*head, _count(n, "neuron")) if part)]
    if found.errors:
        lines.append(_count(len(found.errors), "error"))
        lines += [f"  {line}" for item in found.errors for line in str(item).split("\n")]
    if found.unreadable:
        lines.append(f"  not shown, because it cannot be read: {', '.join(found.unreadable)}")
    for role in found.roles:
        name = f"{role.summary['stimulus']}/{role.summary['role']}"
        lines += [f"  {name}   {describe_role(role.summary)}", ""]
        lines += _neurons(role, found.neurons)
        if role.time_course is not None:
            lines += ["", *_bins(role.time_course)]
        lines.append("")
    notes = [str(item) for item in found.notes] + [f"note: {item}" for item in found.remarks]
    if notes:
        lines.append(_count(len(notes), "note"))
        lines += [f"  {line}" for item in notes for line in item.split("\n")]
    return "\n".join(lines).rstrip()


def _neurons(role: RoleInspection, neurons: np.ndarray) -> list[str]:
    heads = ["neuron", "mean", "repeats", "r halves", "reliability", "CC_max", "explainable"]
    rows, tuning = [], role.tuning
    for i, name in enumerate(neurons[:MAX_ROWS]):
        low, high = role.min_repeats[i], role.max_repeats[i]
        row = [str(name), _number(role.mean[i], 3), f"{low}" if low == high else f"{low}-{high}"]
        if tuning:
            given = (
                tuning.r_halves,
                tuning.reliability,
                tuning.cc_max,
                tuning.explainable_fraction,
            )
            row += [_number(values[i]) for values in given]
        rows.append(row)
    lines = _table(heads if tuning else heads[:3], rows)
    if len(neurons) > MAX_ROWS:
        lines.append(f"  ... and {len(neurons) - MAX_ROWS} more (all in the JSON output)")
    said = f"  mean in {role.mean_units}"
    lines.append(said + (f"; all of {role.window} from the onset" if role.window else ""))
    if tuning is None:
        return [*lines, f"  no reliability and no ceiling: {role.reasons['tuning']}"]
    known = tuning.reliability[np.isfinite(tuning.reliability)]
    if known.size:
        lines.append(
            f"  reliability (split-half, Spearman-Brown): median {np.median(known):.2f} "
            f"({known.min():.2f} to {known.max():.2f}), {known.size} of {neurons.size} neurons"
        )
    if tuning.passes_gate is not None:
        failing = int((~tuning.passes_gate).sum())
        lines.append(f"  signal power within twice its error: {failing} of {neurons.size} neurons")
    return lines


def _bins(course: TimeCourse) -> list[str]:
    heads = [
        "time bin (ms)",
        f"mean ({course.mean_units})",
        "r halves (mean)",
        "r halves (median)",
        "reliability (median)",
    ]
    rows = [
        [f"{start * 1e3:g} to {end * 1e3:g}", _number(mean, 3), *map(_number, rest)]
        for start, end, mean, *rest in zip(
            course.start,
            course.end,
            course.mean,
            course.r_halves,
            course.r_halves_median,
            course.reliability_median,
            strict=True,
        )
    ]
    return _table(heads, rows)


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  "
        + "   ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [heads, *rows]
    ]


def _number(value: float, digits: int = 2) -> str:
    if not math.isfinite(value):
        return NONE
    return f"{value:.3g}" if digits == 3 else f"{value:.{digits}f}"


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
