"""Single values that a user gives: checked, or refused with what to give."""

from __future__ import annotations

import sys

import numpy as np

from neuromodels.datasets.errors import InputError

LARGEST = sys.float_info.max
LARGEST_WHOLE = 2**63 - 1  # of an index


def number(value, where: str, meaning: str) -> float:
    """A finite number.

    Raises
    ------
    InputError
    """
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    # Compared, not converted: a whole number may have more digits than a float can hold.
    if real and abs(value) <= LARGEST:
        return float(value)
    raise InputError(f"is {value!r}"[:80], where=where, remedy=f"Give {meaning}.")


def positive(value, where: str, meaning: str) -> float:
    """A number above 0.

    Raises
    ------
    InputError
    """
    given = number(value, where, meaning)
    if given > 0:
        return given
    raise InputError(f"is {value!r}, which is not positive", where=where, remedy=f"Give {meaning}.")


def not_negative(value, where: str, meaning: str) -> float:
    """A number from 0.

    Raises
    ------
    InputError
    """
    given = number(value, where, meaning)
    if given >= 0:
        return given
    raise InputError(f"is {value!r}, which is negative", where=where, remedy=f"Give {meaning}.")


def whole(value, least: int, where: str, meaning: str, most: float = LARGEST_WHOLE) -> int:
    """A whole number from `least` to `most`.

    Raises
    ------
    InputError
    """
    given = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if given and least <= value <= most:
        return int(value)
    limit = f" to {most:,}" if most < LARGEST_WHOLE else ""
    remedy = f"Give {meaning}, from {least}{limit}."
    raise InputError(f"is {value!r}"[:80], where=where, remedy=remedy)


def one_of(value, choices: tuple[str, ...], where: str) -> str:
    """One of a few words.

    Raises
    ------
    InputError
    """
    if isinstance(value, str) and value in choices:
        return value
    raise InputError(f"is {value!r}"[:80], where=where, remedy=f"Use one of: {', '.join(choices)}.")
