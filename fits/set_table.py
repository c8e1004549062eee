"""The comparison over recordings as a table, in a terminal, in a notebook and for programs."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.fits.table import cells_of, heading, number

if TYPE_CHECKING:
    from neuromodels.fits.comparison_set import ComparisonSet

#: Scores that the short table shows after the headline score, where they exist.
ALSO = ("bits_per_spike_conditional", "pearson_r", "cc_norm")
#: Ceiling that stands below a score.
CEILINGS = {"pearson_r": "cc_max"}
#: With more recordings their columns give way to the lowest and the highest.
MOST_COLUMNS = 6
#: Widest column of a recording, letters.
WIDEST = 14
WHERE = {"heldout": "held out", "test": "repeated movie"}


@dataclass(frozen=True)
class _Section:
    """One metric: a title, the headings of the columns, and rows that begin with a name."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def _over(summary: xr.Dataset, prefix: str, at: dict[str, str]) -> list[str]:
    """Mean, standard error and interval over animals, as cells of a row."""
    signed = bool(prefix)
    row = {name: float(summary[f"{prefix}{name}"].sel(at)) for name in ("mean", "low", "high")}
    error = number(float(summary[f"{prefix}standard_error"].sel(at)))
    limits = [number(row[name], 2, signed) for name in ("low", "high")]
    known = np.isfinite([row["low"], row["high"]]).all()
    return [number(row["mean"], 2, signed), error, f"[{' '.join(limits)}]" if known else "–"]


def _columns(values: np.ndarray, signed: bool = False) -> list[str]:
    """A figure per recording or animal, or their range where they are many."""
    if len(values) <= MOST_COLUMNS:
        return [number(value, 2, signed) for value in values]
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if known.size else (np.nan, np.nan)
    return [number(low, 2, signed), number(high, 2, signed)]


def _column_names(names: list[str]) -> list[str]:
    if len(names) > MOST_COLUMNS:
        return ["lowest", "highest"]
    return [name if len(name) <= WIDEST else f"…{name[1 - WIDEST :]}" for name in names]


def _section(summary: xr.Dataset, metric: str) -> _Section | None:
    """Scores of one metric; rows of paired differences follow those of the models."""
    if not np.isfinite(summary["mean"].sel(metric=metric)).any():
        return None
    data, unit = (str(summary[name].sel(metric=metric).values) for name in ("data", "unit"))
    given = int(summary["conditional"].sel(metric=metric))
    title = f"{WHERE.get(data, data)}, {heading(metric)}"
    title += " given recorded spikes (another question)" if given else ""
    title += ", gain and offset refitted" if metric.endswith("_adjusted") else ""
    title += f" ({unit})" if unit not in ("1", "bits per spike") else ""
    rows = []
    for model in summary["model"].values.astype(str):
        at = {"model": model, "metric": metric}
        if np.isfinite(float(summary["mean"].sel(at))):
            each = _columns(summary["score"].sel(at).values)
            rows.append([model, *each, *_over(summary, "", at)])
    for pair in summary["pair"].values.astype(str):
        at = {"pair": pair, "metric": metric}
        if np.isfinite(float(summary["difference_mean"].sel(at))):
            each = _columns(summary["difference"].sel(at).values, signed=True)
            rows.append([pair, *each, *_over(summary, "difference_", at)])
    if metric in CEILINGS:
        rows += _ceiling(summary, CEILINGS[metric])
    names = _column_names(summary["member"].values.astype(str).tolist())
    return _Section(title, [*names, "mean", "s.e.", "95 % over animals"], rows)


def _ceiling(summary: xr.Dataset, kind: str) -> list[list[str]]:
    """The noise ceiling of each recording, and its mean over recordings."""
    values = summary["ceiling"].sel(ceiling_kind=kind).values
    known = values[np.isfinite(values)]
    if not known.size:
        return []
    return [["ceiling", *_columns(values), number(float(known.mean())), "", ""]]


def _sections(summary: xr.Dataset, metrics: list[str]) -> list[_Section]:
    found = (_section(summary, metric) for metric in dict.fromkeys(metrics))
    return [section for section in found if section is not None]


def _short(summary: xr.Dataset) -> list[str]:
    there = set(summary["metric"].values.astype(str))
    return [str(summary.attrs["headline_metric"]), *(name for name in ALSO if name in there)]


def _headline(summary: xr.Dataset) -> str:
    n, animals = summary.sizes["member"], summary.sizes["animal"]
    total = int(summary["n_neurons"].sum())
    of = f" of {animals} animal{'s' * (animals > 1)}" if animals != n else ""
    return (
        f"{n} recording{'s' * (n > 1)}{of}, {cells_of(total)} in all; mean over the cells of each "
        f"recording{', over those of each animal' if of else ''}, then over animals"
    )


def _notes(found: ComparisonSet) -> list[str]:
    summary = found.summary
    notes = list(found.attrs.get("notes", []))
    if summary.attrs["no_interval"]:
        notes.append(str(summary.attrs["no_interval"]))
    elif np.isfinite(summary["low"]).any():
        notes.append(
            f"95 % over animals: Student t, n = {summary.sizes['animal']}; exact if the animals' "
            "values are normal"
        )
    return notes


def _conclusion(summary: xr.Dataset) -> str:
    """One plain sentence on the two best models."""
    metric = str(summary.attrs["headline_metric"])
    means = summary["mean"].sel(metric=metric)
    ranked = means.sortby(-means).dropna("model")["model"].values.astype(str).tolist()
    n = summary.sizes["animal"]
    said = "1 animal" if n == 1 else f"{n} animals"
    if len(ranked) < 2:
        return f"Only one model was scored, on {said}: nothing is said about which is better."
    best, second = ranked[:2]
    pairs = summary["pair"].values.astype(str).tolist()
    sign = 1 if f"{best} − {second}" in pairs else -1
    pair = f"{best} − {second}" if sign > 0 else f"{second} − {best}"
    at = {"pair": pair, "metric": metric}
    value = sign * float(summary["difference_mean"].sel(at))
    low, high = sorted(
        sign * float(summary[f"difference_{end}"].sel(at)) for end in ("low", "high")
    )
    each = sign * summary["animal_difference"].sel(at).values
    ahead = f"ahead in {int((each > 0).sum())} of {int(np.isfinite(each).sum())}"
    name = heading(metric)
    if not np.isfinite([low, high]).all():
        return (
            f"{best} scores highest ({value:+.2f} {name} over {second}, {ahead}), but {said} are "
            "too few to say whether that would hold in others."
            if n > 1
            else f"{best} scores highest ({value:+.2f} {name} over {second}), but one animal says "
            "nothing about others."
        )
    limits = f"{value:+.2f} {name}, 95 % interval {low:+.2f} to {high:+.2f}, {ahead}"
    if low > 0:
        return f"Over {said}, {best} predicts better than {second}: {limits}."
    return f"Over {said}, {best} and {second} cannot be told apart: {limits}."


def _pooled(summary: xr.Dataset, metric: str) -> list[str]:
    rows = []
    for model in summary["model"].values.astype(str):
        at = {"model": model, "metric": metric}
        cells = int(summary["pooled_cells"].sel(at))
        if cells:
            mean, sd = (
                number(float(summary[f"pooled_{name}"].sel(at)), 3) for name in ("mean", "sd")
            )
            rows.append(f"  {model:<22} {mean}, SD over {cells_of(cells)} {sd}")
    return rows


def _lines(section: _Section) -> list[str]:
    width = max(22, *(len(row[0]) for row in section.rows))
    table = [section.headings, *(row[1:] for row in section.rows)]
    wide = [max(len(row[k]) for row in table) for k in range(len(section.headings))]
    names = ["", *(row[0] for row in section.rows)]
    lines = [section.title]
    for name, row in zip(names, table, strict=True):
        cells = "  ".join(f"{cell:>{size}}" for cell, size in zip(row, wide, strict=True))
        lines.append(f"  {name:<{width}}  {cells}".rstrip())
    return lines


def set_text(found: ComparisonSet, all_scores: bool = False) -> str:
    """The comparison over recordings for a terminal.

    Parameters
    ----------
    found : ComparisonSet
        What `nm.compare` gave for several recordings.
    all_scores : bool
        Every score, and the mean over all cells as well.

    Returns
    -------
    str
        Lines; each stimulus has a table.
    """
    lines = [_headline(found.summary)]
    for stimulus in found.stimuli:
        summary = found.summary_on(stimulus)
        if len(found.stimuli) > 1:
            lines += ["", f"scored on {stimulus}"]
        metrics = summary["metric"].values.astype(str).tolist() if all_scores else _short(summary)
        for section in _sections(summary, metrics):
            lines += _lines(section)
        if all_scores:
            for metric in metrics:
                if rows := _pooled(summary, metric):
                    lines += [f"{metric}, mean over all cells of all recordings", *rows]
        lines += ["", _conclusion(summary)] if len(found.stimuli) > 1 else []
    lines += [f"note: {note}" for note in _notes(found)]
    if len(found.stimuli) == 1:
        lines += ["", _conclusion(found.summary)]
    return "\n".join(lines)


def set_html(found: ComparisonSet) -> str:
    """The comparison over recordings for a notebook."""
    parts = [f"<p>{html.escape(_headline(found.summary))}</p>"]
    for stimulus in found.stimuli:
        summary = found.summary_on(stimulus)
        if len(found.stimuli) > 1:
            parts.append(f"<p>scored on {html.escape(stimulus)}</p>")
        for section in _sections(summary, _short(summary)):
            head = _row([section.title, *section.headings], "th")
            rows = "".join(_row(row) for row in section.rows)
            parts.append(f"<table>{head}{rows}</table>")
        parts.append(f"<p>{html.escape(_conclusion(summary))}</p>")
    parts += [f"<p>note: {html.escape(note)}</p>" for note in _notes(found)]
    return "<div>" + "".join(parts) + "</div>"


def _row(cells: list[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def set_summary(found: ComparisonSet) -> dict[str, Any]:
    """The scores for programs; those on further stimuli under their names."""
    result = {"members": list(found.names), "notes": _notes(found)} | _as_json(found.summary)
    if len(found.stimuli) > 1:
        result["on"] = {name: _as_json(found.summary_on(name)) for name in found.stimuli}
    return result


def _as_json(summary: xr.Dataset) -> dict[str, Any]:
    metrics = summary["metric"].values.astype(str).tolist()

    def rows(dim: str, each: str, prefix: str) -> dict[str, Any]:
        names = ("mean", "sd", "standard_error", "low", "high", "n_animals")
        return {
            label: {
                metric: {
                    "per_animal": summary[each].sel({dim: label, "metric": metric}).values.tolist(),
                    **{
                        name: summary[prefix + name].sel({dim: label, "metric": metric}).item()
                        for name in names
                    },
                }
                for metric in metrics
            }
            for label in summary[dim].values.astype(str).tolist()
        }

    scores = {
        model: {
            metric: summary["score"].sel(model=model, metric=metric).values.tolist()
            for metric in metrics
        }
        for model in summary["model"].values.astype(str).tolist()
    }
    return {
        "stimulus": summary.attrs["stimulus"],
        "animals": summary["animal"].values.astype(str).tolist(),
        "animal_of_member": summary["animal_of_member"].values.astype(str).tolist(),
        "per_recording": scores,
        "models": rows("model", "animal_score", ""),
        "differences": rows("pair", "animal_difference", "difference_"),
        "no_interval_because": str(summary.attrs["no_interval"]) or None,
    }
