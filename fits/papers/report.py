"""A reproduction as a page that a person likes to read: tables, notes, verdicts."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

import xarray as xr

from neuromodels.fits.papers.verdicts import HELD, NOT_HELD, UNDECIDED

WIDTH = 100


def reproduction_text(tree: xr.DataTree) -> str:
    """Write a reproduction down: per experiment its table, notes and claims.

    Parameters
    ----------
    tree : xarray.DataTree
        As `reproduce` writes it.

    Returns
    -------
    str
    """
    attrs = tree.attrs
    parts = [f"{attrs['citation']}   size {attrs['size']}\n{_wrapped(attrs['claim'], '')}"]
    claims = tree["claims"].to_dataset()
    for name in attrs["experiments"]:
        about = tree[name].attrs
        lines = [about["title"], *aligned(about["headings"], about["rows"])]
        for note in about["notes"]:
            lines.append(_wrapped(note, "  "))
        chosen = [i for i, of in enumerate(claims["experiment"].values) if of == name]
        for index in chosen:
            lines += _claim(claims.isel(claim=index))
        parts.append("\n".join(lines))
    parts.append(verdict_counts(claims))
    return "\n\n".join(parts)


def verdict_counts(claims: xr.Dataset) -> str:
    """Say how many claims held, did not, and cannot be decided."""
    found = Counter(map(str, claims["verdict"].values))
    said = [f"{found[verdict]} {verdict}" for verdict in (HELD, NOT_HELD, UNDECIDED)]
    return f"{sum(found.values())} claims: {', '.join(said)}"


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (headings, *rows)
    ]


def _claim(claim: xr.Dataset) -> list[str]:
    said: dict[str, Any] = {name: str(claim[name].values) for name in claim.data_vars}
    seeds = int(claim["seeds"])
    runs = "1 run" if seeds == 1 else f"{seeds} runs"
    detail = (
        f"{said['measured']}   ({said['source']}: {said['expected']}; {said['tolerance']}; {runs})"
    )
    text = _wrapped(said["text"], " " * 17)
    return [f"  {said['verdict']:<14} {text.lstrip()}", _wrapped(detail, " " * 17)]


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
