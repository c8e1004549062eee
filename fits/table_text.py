"""A comparison as people and programs read it: in a terminal, in a notebook, as JSON."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromodels.fits.table import Table, heading, number

if TYPE_CHECKING:
    from neuromodels.fits.comparison import Comparison


def comparison_text(comparison: Comparison, all_scores: bool = False) -> str:
    """The comparison for a terminal.

    Parameters
    ----------
    comparison : Comparison
        What `nm.compare` gave.
    all_scores : bool
        Also every other score, per neuron.

    Returns
    -------
    str
        Lines. Of several stimuli each has a table, and the last one puts them side by side.
    """
    tables = {name: Table(comparison.on(name)) for name in comparison.stimuli}
    lines: list[str] = []
    for stimulus, table in tables.items():
        if where := _where(comparison, stimulus):
            lines += [*([""] if lines else []), where]
        lines += _table_lines(table)
        lines += [f"note: {note}" for note in table.notes_on_scores()]
        if len(tables) > 1:
            lines += table.conclusions()
    last = list(tables.values())[-1]
    if len(tables) > 1:
        lines += ["", *_side_by_side(tables), ""]
    lines += [f"note: {note}" for note in last.notes_on_fits()]
    if len(tables) == 1:
        lines += ["", *last.conclusions()]
    if all_scores:
        for stimulus, table in tables.items():
            lines += ["", *([f"scored on {stimulus}"] if len(tables) > 1 else [])]
            lines += _all_scores(table)
    return "\n".join(lines)


def _where(comparison: Comparison, stimulus: str) -> str:
    """What a table was scored on, and what was learned from where no model's name says so."""
    learned = comparison.tree.attrs["recording"].get("stimulus", stimulus)
    if not any("@" in model for model in comparison.models) and learned != stimulus:
        return f"learned from {learned}, scored on {stimulus}"
    return f"scored on {stimulus}" if len(comparison.stimuli) > 1 else ""


def _table_lines(table: Table) -> list[str]:
    comparison, differences = table.comparison, table.differences()
    width = max(20, *(len(model) for model in comparison.models), *(len(p) for p, _ in differences))
    held = [
        *table.heldout(),
        *((pair, "paired by cell and time", score) for pair, score in differences),
    ]
    given = [
        (*row[:2], f"{row[2]}  (another question: not compared)") for row in table.conditional()
    ]
    headings, rows = table.on_test() if table.facts["n_trials"] > 1 else ([], [])
    middle = max(43, *(len(row[1]) for row in [*held, *given, *rows]))
    head = width + middle + 5
    lines: list[str] = []
    if table.facts["heldout_scored_s"]:
        lines.append(f"{table.headline():<{head}}{heading(table.metric)}")
        lines += [
            f"  {name:<{width}}  {what:<{middle}} {score}" for name, what, score in held + given
        ]
    if headings:
        lines.append(f"{table.test_headline():<{head}}" + "".join(f"{h:<11}" for h in headings))
        for name, mode, *values in rows:
            cells = "".join(f"{value:<11}" for value in values)
            lines.append(f"  {name:<{width}}  {mode:<{middle}} {cells}".rstrip())
    return [line.rstrip() for line in lines]


def _side_by_side(tables: dict[str, Table]) -> list[str]:
    """One score of all models on all stimuli: rows are models, columns what they are scored on."""
    lines = []
    main = next(iter(tables.values())).metric
    across = {
        main: f"{heading(main)}, held out",
        f"{main}_adjusted": "the same, gain and offset refitted there",
        "cc_norm": "CC_norm, repeats",
    }
    for metric, about in across.items():
        columns = {
            name: [
                table.value(model, metric) if metric in table.details["metric"] else np.nan
                for model in table.comparison.models
            ]
            for name, table in tables.items()
        }
        if not any(np.isfinite(values).any() for values in columns.values()):
            continue
        models = next(iter(tables.values())).comparison.models
        width = max(44, *(len(model) for model in models))
        wide = max(11, *(len(name) + 2 for name in tables))
        heads = "".join(f"{name:>{wide}}" for name in tables)
        lines.append(f"{about:<{width + 2}}{heads}")
        for index, model in enumerate(models):
            cells = "".join(f"{number(values[index]):>{wide}}" for values in columns.values())
            lines.append(f"  {model:<{width}}{cells}")
    return lines


def _all_scores(table: Table) -> list[str]:
    details = table.details
    width = max(22, *(len(model) for model in table.comparison.models))
    lines = []
    for metric in details["metric"].values:
        data, unit = (str(details[name].sel(metric=metric).values) for name in ("data", "unit"))
        lines.append(
            f"{metric}   ({data}{'' if unit == '1' else ', ' + unit}; mean over cells, ratio of "
            f"sums, then per cell: {', '.join(details['neuron'].values.astype(str))})"
        )
        for model in table.comparison.models:
            reason = str(details["reason"].sel(model=model, metric=metric).values)
            if reason:
                lines.append(f"  {model:<{width}} – ({reason})")
                continue
            pooled = table.population.sel(model=model, metric=metric, part="value")
            each = table.comparison.scores.sel(model=model, metric=metric).values
            cells = " ".join(number(value, 3) for value in each)
            pair = " ".join(number(float(pooled.sel(reduction=r)), 3) for r in ("mean", "ratio"))
            lines.append(f"  {model:<{width}} {pair}   {cells}")
    lines += _distances(table)
    lines.append("ceilings   (per cell)")
    for name in details["ceiling"].coords["ceiling_kind"].values:
        cells = " ".join(number(v, 3) for v in details["ceiling"].sel(ceiling_kind=name).values)
        lines.append(f"  {name:<29} {cells}")
    return lines


def _distances(table: Table) -> list[str]:
    """Distances between spike trains, beside what gives them a meaning."""
    lines = []
    for model in table.comparison.models:
        tree = table.comparison.fit(model).tree
        if "distances" not in tree.children:
            continue
        found = tree["distances"].to_dataset()
        role, pairs = found.attrs["role"], found.attrs["n_pairs"]
        about = f"{role}, {pairs} pairs, per second; mean over cells, then per cell"
        lines.append(f"spike trains of {model}   ({about})")
        for measure in found["measure"].values:
            for pair in found["pair"].values:
                each = found["distance"].sel(measure=measure, pair=pair).values
                cells = " ".join(number(value, 1) for value in (each.mean(), *each))
                lines.append(f"  {measure!s:<15} {pair!s:<22} {cells}")
    return lines


def comparison_html(comparison: Comparison) -> str:
    """The comparison for a notebook."""
    tables = {name: Table(comparison.on(name)) for name in comparison.stimuli}
    parts = []
    for stimulus, table in tables.items():
        if where := _where(comparison, stimulus):
            parts.append(f"<p>{html.escape(where)}</p>")
        parts += _table_html(table)
        said = [f"note: {note}" for note in table.notes_on_scores()] + table.conclusions()
        parts += [f"<p>{html.escape(sentence)}</p>" for sentence in said]
    for note in next(iter(tables.values())).notes_on_fits():
        parts.append(f"<p>note: {html.escape(note)}</p>")
    return "<div>" + "".join(parts) + "</div>"


def _table_html(table: Table) -> list[str]:
    def row(cells: list[str], tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    parts = []
    if table.facts["heldout_scored_s"]:
        rows = [row(["model", "sees", heading(table.metric)], "th")]
        rows += [row(list(cells)) for cells in (*table.heldout(), *table.conditional())]
        rows += [
            row([pair, "paired by cell and time", score]) for pair, score in table.differences()
        ]
        parts.append(f"<p>{html.escape(table.headline())}</p><table>{''.join(rows)}</table>")
    if table.facts["n_trials"] > 1:
        headings, body = table.on_test()
        rows = [row(["model", "", *headings], "th"), *(row(cells) for cells in body)]
        parts.append(f"<p>{html.escape(table.test_headline())}</p><table>{''.join(rows)}</table>")
    return parts


def comparison_summary(comparison: Comparison) -> dict[str, Any]:
    """The scores for programs; those on further stimuli under their names."""
    found = _summary(comparison.on(comparison.stimuli[0]))
    if len(comparison.stimuli) > 1:
        found["on"] = {name: _summary(comparison.on(name)) for name in comparison.stimuli}
    return found


def _summary(comparison: Comparison) -> dict[str, Any]:
    details = comparison.details
    population = details["population"].mean(("seed", "fold"), skipna=False)
    models = {}
    for model in comparison.models:
        rows = {}
        for metric in details["metric"].values:
            reason = str(details["reason"].sel(model=model, metric=metric).values)
            cell = population.sel(model=model, metric=metric)
            rows[str(metric)] = {
                "mean_over_cells": dict(
                    zip(
                        ("value", "standard_error", "low", "high"),
                        cell.sel(reduction="mean").values.tolist(),
                        strict=True,
                    )
                ),
                "ratio_of_sums": float(cell.sel(reduction="ratio", part="value")),
                "per_neuron": comparison.scores.sel(model=model, metric=metric).values.tolist(),
                "missing_because": reason or None,
            }
        models[model] = rows
    ceiling = details["ceiling"]
    return {
        "neurons": details["neuron"].values.tolist(),
        "models": models,
        "ceilings": {
            str(name): ceiling.sel(ceiling_kind=name).values.tolist()
            for name in ceiling["ceiling_kind"].values
        },
        "notes": list(comparison.attrs.get("notes", [])),
    }
