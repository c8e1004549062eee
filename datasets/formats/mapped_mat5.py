"""MATLAB v5 files checked element by element: scipy's reader crashes on some damaged ones."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

COMPRESSED, MATRIX = 15, 14
#: Bytes of a value by the type of an element (Level 5 MAT-file format).
VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
TEXT = (1, 2, 3, 4, 16, 17, 18)
CELL, STRUCT, OBJECT, CHAR, SPARSE, FUNCTION, OPAQUE = 1, 2, 3, 4, 5, 16, 17
COMPLEX = 0x800
DEEPEST = 20


def check_mat5(path: Path, variable: str) -> None:
    """Walk through a variable of a v5 file, so that a damaged one is never parsed.

    Raises
    ------
    ValueError
        If an element has an unknown type, or is longer than what holds it.
    """
    content = np.memmap(path, dtype=np.uint8, mode="r")
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    if order is None:
        raise ValueError("it has no mark of its byte order")
    position = 128
    while position + 8 <= content.size:
        kind, size = struct.unpack(order + "II", bytes(content[position : position + 8]))
        position += 8
        if position + size > content.size:
            raise ValueError("an element ends after the file")
        data = content[position : position + size]
        position += size
        if kind == COMPRESSED:
            whole = zlib.decompressobj()
            head = whole.decompress(bytes(data), 8 + 512)
            kind, size = struct.unpack(order + "II", head[:8])
            if kind != MATRIX:
                raise ValueError(f"an element has type {kind}")
            if _name(head[8:], order) != variable:
                continue
            # It cannot become longer than it says that it is.
            rest = whole.decompress(whole.unconsumed_tail, max(1, size - len(head) + 8))
            body = (head + rest)[8:]
            if len(body) < size:
                raise ValueError("a compressed element is too short")
            _check_matrix(memoryview(body), order, 0)
        elif kind == MATRIX and _name(bytes(data[:512]), order) == variable:
            _check_matrix(memoryview(data), order, 0)


def _name(head: bytes, order: str) -> str:
    """Name of a variable from the beginning of its matrix."""
    view = memoryview(head)
    position = 0
    for _ in range(2):  # flags, dimensions
        _, _, position = _element(view, position, order)
    _, data, _ = _element(view, position, order)
    return bytes(data).decode("latin-1")


def _element(view: memoryview, position: int, order: str) -> tuple[int, memoryview, int]:
    """Type and data of the element at a position, and where the next one begins."""
    (tag,) = struct.unpack_from(order + "I", view, position)
    if tag >> 16:  # a small one: at most four bytes within the tag
        kind, size = tag & 0xFFFF, tag >> 16
        if size > 4:
            raise ValueError("a small element has more than four bytes")
        return kind, view[position + 4 : position + 4 + size], position + 8
    (size,) = struct.unpack_from(order + "I", view, position + 4)
    start = position + 8
    if start + size > len(view):
        raise ValueError("an element ends after what holds it")
    padded = size if tag == MATRIX else -(-size // 8) * 8
    return tag, view[start : start + size], start + padded


def _check_matrix(view: memoryview, order: str, depth: int) -> None:
    if not len(view):
        return  # an empty array
    if depth > DEEPEST:
        raise ValueError("cells and structs are nested too deeply")
    kind, flags, position = _element(view, 0, order)
    if kind != 6 or len(flags) != 8:
        raise ValueError("a variable has no flags")
    (word,) = struct.unpack_from(order + "I", flags, 0)
    sort = word & 0xFF
    if sort == OPAQUE:  # within a struct: three names and what MATLAB keeps of it
        for _ in range(3):
            kind, data, position = _element(view, position, order)
            if kind != 1:
                raise ValueError("a MATLAB object has no names")
        _check_matrices(view, position, order, 1, depth)
        return
    kind, data, position = _element(view, position, order)
    if kind != 5 or len(data) < 8 or len(data) % 4:
        raise ValueError("a variable has no dimensions")
    shape = struct.unpack(f"{order}{len(data) // 4}i", data)
    if min(shape) < 0:
        raise ValueError(f"a variable has shape {shape}")
    count = int(np.prod(shape, dtype=object))
    kind, data, position = _element(view, position, order)
    if kind not in (1, 16) and len(data):
        raise ValueError("a variable has no name")

    parts = 2 if word & COMPLEX else 1
    if sort == SPARSE:
        for _ in range(2):
            kind, data, position = _element(view, position, order)
            if kind != 5 or len(data) % 4:
                raise ValueError("a sparse matrix has no indices")
        _check_values(view, position, order, None, parts)
    elif sort == CHAR:
        kind, data, position = _element(view, position, order)
        if kind not in TEXT:
            raise ValueError(f"text has type {kind}")
    elif sort == CELL:
        _check_matrices(view, position, order, count, depth)
    elif sort in (STRUCT, OBJECT):
        if sort == OBJECT:
            kind, data, position = _element(view, position, order)
        kind, data, position = _element(view, position, order)
        length = struct.unpack_from(order + "i", data, 0)[0] if len(data) == 4 else 0
        kind, data, position = _element(view, position, order)
        if length <= 0 or kind != 1 or len(data) % length:
            raise ValueError("a struct has no names of fields")
        _check_matrices(view, position, order, count * (len(data) // length), depth)
    elif sort == FUNCTION:
        _check_matrices(view, position, order, 1, depth)
    elif 6 <= sort <= 15:
        _check_values(view, position, order, count, parts)
    else:
        raise ValueError(f"a variable has class {sort}")


def _check_values(view, position: int, order: str, count: int | None, parts: int) -> None:
    for _ in range(parts):
        kind, data, position = _element(view, position, order)
        if kind not in VALUE_BYTES:
            raise ValueError(f"numbers have type {kind}")
        if count is None:
            continue  # sparse: logical ones are shorter than their type says
        if len(data) != count * VALUE_BYTES[kind]:
            raise ValueError(f"{count} numbers are stored in {len(data)} bytes")


def _check_matrices(view, position: int, order: str, count: int, depth: int) -> None:
    if count * 8 > len(view):
        raise ValueError(f"{count} members are stored in {len(view)} bytes")
    for _ in range(count):
        kind, data, position = _element(view, position, order)
        if kind != MATRIX:
            raise ValueError(f"a member has type {kind}")
        _check_matrix(data, order, depth + 1)
