"""Conditions over the trials table choose rows and run nothing."""

import numpy as np
import pandas as pd
import pytest

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.tables import rows_where

TABLE = pd.DataFrame(
    {
        "kind": ["repeat", "unique", "repeat", "grey"],
        "contrast": [0.5, 1.0, 1.0, 0.0],
        "movie number": [1, 2, 1, 3],
    }
)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("kind == 'repeat'", [0, 2]),
        ("kind == 'repeat' and contrast > 0.5", [2]),
        ("(kind == 'repeat') & (contrast > 0.5)", [2]),
        ("not kind == 'repeat'", [1, 3]),
        ("kind in ['repeat', 'grey']", [0, 2, 3]),
        ("`movie number` == 1", [0, 2]),
        ("0.2 < contrast < 0.8", [0]),
    ],
)
def test_a_condition_chooses_rows(condition, rows):
    np.testing.assert_array_equal(np.flatnonzero(rows_where(TABLE, condition, "f: test")), rows)


@pytest.mark.parametrize(
    "condition",
    [
        "__import__('os').system('touch hacked')",
        "kind.str.contains('repeat')",
        "@pd.eval('1')",
        "kind[0]",
        "kind == (lambda: 1)",
        "[x for x in kind]",
        "f'{kind}' == 'repeat'",
        "`__import__('os').getcwd()` == 1",
        "9 ** 9 ** 9 > contrast",
        "a := 1",
        "kind == 'repeat'; import os",
        "(" * 5000,
        "",
    ],
)
def test_a_condition_that_is_more_than_comparisons_is_refused(condition, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        rows_where(TABLE, condition, "cell.nwb: test")
    assert "kind, contrast, movie number" in error.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_column_is_named_with_the_nearest():
    with pytest.raises(InputError, match="no column 'knid'.*did you mean 'kind'"):
        rows_where(TABLE, "knid == 'repeat'", "cell.nwb: test")
    with pytest.raises(InputError, match="no column 'repeat'.*quotes"):
        rows_where(TABLE, "kind == repeat", "cell.nwb: test")


@pytest.mark.parametrize("condition", ["contrast", "contrast + 1", "1", "True", "kind > 1"])
def test_a_condition_without_a_yes_or_no_per_row_is_refused(condition):
    with pytest.raises(InputError):
        rows_where(TABLE, condition, "cell.nwb: test")
