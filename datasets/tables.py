"""Rows of a table of trials that a user's words choose, without running anything."""

from __future__ import annotations

import ast
import difflib
import re
from typing import TYPE_CHECKING

import numpy as np

from neuromodels.datasets.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# Comparisons, and/or/not, arithmetic, names and constants. No calls, attributes or subscripts:
# nothing that could reach a Python object.
ALLOWED = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd),
    *(ast.Invert, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.FloorDiv),
    *(ast.BitAnd, ast.BitOr, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
    *(ast.In, ast.NotIn, ast.List, ast.Tuple, ast.Name, ast.Load, ast.Constant),
)
QUOTED = re.compile(r"`[^`]*`")


def rows_where(table: pd.DataFrame, condition: str, where: str) -> np.ndarray:
    """Rows that fulfil a condition like ``kind == 'repeat' and contrast > 0.5``.

    Parameters
    ----------
    table : DataFrame
    condition : str
        Comparisons of columns with values, joined by and, or, not. A column whose name is no
        word is written in backticks. Calls, attributes and indexing are refused, so a condition
        can run no code.
    where : str
        File and variable, for the error message.

    Returns
    -------
    (row,) bool

    Raises
    ------
    InputError
        If the condition cannot be read, names an unknown column, or gives no yes or no per row.
    """
    columns = [str(name) for name in table.columns]
    remedy = f"Write it like \"kind == 'repeat'\". Columns: {', '.join(columns)}."
    names = {f"quoted_{i}": text for i, text in enumerate(QUOTED.findall(condition))}
    plain = condition
    for name, text in names.items():
        plain = plain.replace(text, name, 1)
    try:
        tree = ast.parse(plain.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"cannot read {condition!r}", where=where, remedy=remedy) from None
    for node in ast.walk(tree):
        if not isinstance(node, ALLOWED):
            kind = type(node).__name__
            raise InputError(
                f"{condition!r} contains something other than comparisons ({kind})",
                where=where,
                remedy=remedy,
            )
        if isinstance(node, ast.Name):
            column = names[node.id].strip("`") if node.id in names else node.id
            if column not in columns:
                near = difflib.get_close_matches(column, columns, 1)
                hint = f" (did you mean {near[0]!r}?)" if near else " (text needs quotes)"
                raise InputError(
                    f"{condition!r}: there is no column {column!r}{hint}",
                    where=where,
                    remedy=remedy,
                )
    try:
        chosen = table.eval(condition, engine="python")
    except (TypeError, ValueError, SyntaxError, NotImplementedError, KeyError) as error:
        raise InputError(
            f"{condition!r} does not work on these columns: {error}", where=where, remedy=remedy
        ) from None
    chosen = np.asarray(chosen)
    if chosen.shape != (len(table),) or chosen.dtype != bool:
        raise InputError(
            f"{condition!r} does not say yes or no for every row", where=where, remedy=remedy
        )
    return chosen
