"""What HDF5 attributes cannot hold (booleans, None, lists, dicts) as JSON, and back."""

from __future__ import annotations

import json

import numpy as np

JSON = "json:"
ARRAY = "array:"


def encode_attribute(value):
    """An attribute as a text, a number or a 1-D array of numbers, which any reader opens.

    Texts, numbers and arrays of two or more numbers are stored as they are; everything else
    becomes `json:...`.

    Raises
    ------
    TypeError
        If the value has no JSON form.
    """
    if isinstance(value, str):
        # A text that looks encoded, or that HDF5 would cut at its NUL, is encoded too.
        plain = value and not value.startswith((JSON, ARRAY)) and "\0" not in value
        return value if plain else JSON + json.dumps(value, ensure_ascii="\0" in value)
    if isinstance(value, (bool, np.bool_)) or value is None:
        return JSON + json.dumps(None if value is None else bool(value))
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    if isinstance(value, float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else JSON + str(value)
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.size > 1 and value.dtype.kind in "iuf":
            return value
        stored = {"dtype": value.dtype.str, "shape": value.shape, "values": value.ravel().tolist()}
        return ARRAY + json.dumps(stored, ensure_ascii=False, default=_plain)
    return JSON + json.dumps(value, ensure_ascii=False, default=_plain)


def decode_attribute(value):
    """The value that `encode_attribute` was given (tuples come back as lists)."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        if value.startswith(JSON):
            return json.loads(value[len(JSON) :])
        if value.startswith(ARRAY):
            stored = json.loads(value[len(ARRAY) :])
            values = np.array(stored["values"], dtype=stored["dtype"])
            return values.reshape(stored["shape"])
        return value
    if isinstance(value, np.ndarray) and value.shape in ((), (1,)):
        return value.reshape(()).item()
    return value.item() if isinstance(value, np.generic) else value


def _plain(value):
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
