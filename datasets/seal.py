"""A seal behind an HDF5 file: one sha256 over every byte that is not values of a variable.

A flipped bit in the structure of an HDF5 file can give other data without a word, or crash the
HDF5 library. So the structure (all bytes outside the pieces that hold numbers) is checked before
HDF5 sees the file. Values have checksums of their own, because reading all of them takes long.

The seal lies behind the end of the HDF5 file, where the format lets anything lie: h5py, netCDF,
MATLAB and xarray do not see it. A program that changes the file cuts it off; then nothing is
checked here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import h5py

from neuromodels.datasets.errors import RecordingError

MARK = b"\x00nmseal1"
DIGEST = hashlib.sha256().digest_size
# mark, body, sha256 of the body, length of the body (8 bytes), mark
FRAME = 2 * len(MARK) + DIGEST + 8
READ_BYTES = 2**20
#: Where an HDF5 superblock of each version says where its data end.
END_OF_DATA = {0: 40, 1: 44, 2: 28, 3: 28}


def seal(path: str | Path) -> None:
    """Put the seal behind a complete HDF5 file, which nobody has open."""
    size = os.path.getsize(path)
    values = _places_of_values(path)
    body = json.dumps(
        {"bytes": size, "values": values, "sha256": _digest(Path(path), size, values)},
        separators=(",", ":"),
    ).encode()
    with open(path, "ab") as file:
        file.write(MARK + body + hashlib.sha256(body).digest())
        file.write(len(body).to_bytes(8, "little") + MARK)


def check_seal(path: str | Path) -> bool:
    """Compare the structure of a file with its seal; reads all but the values.

    Returns
    -------
    bool
        False if there is no seal: the file is not ours, or another program changed it.

    Raises
    ------
    RecordingError
        If the file is damaged.
    """
    path = Path(path)
    if not path.is_file() or not os.access(path, os.R_OK):
        return False
    try:
        found = _read_seal(path)
        if found is None:
            return False
        intact = _digest(path, found["bytes"], found["values"]) == found["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise RecordingError(
            "is damaged: it differs from its checksum",
            where=str(path),
            remedy="Copy or download the file again, or make it anew.",
        )
    return True


def _read_seal(path: Path) -> dict | None:
    """What the seal says; None if there is none; ValueError if it is damaged."""
    size = path.stat().st_size
    if size < FRAME:
        return None
    with path.open("rb") as file:
        file.seek(size - len(MARK) - 8)
        n_body = int.from_bytes(file.read(8), "little")
        ends = file.read(len(MARK)) == MARK
        start = size - FRAME - n_body
        begins = False
        if start >= 0:
            file.seek(start)
            begins = file.read(len(MARK)) == MARK
        if not (begins or ends):
            if _is_cut(path, size):
                raise ValueError("the seal is cut")
            return None
        if start < 0:
            raise ValueError("length of the seal")
        body = file.read(n_body)
        digest = file.read(DIGEST)
    if not (begins and ends) or hashlib.sha256(body).digest() != digest:
        raise ValueError("the seal itself")
    found = json.loads(body)
    if found["bytes"] != start:
        raise ValueError("length of the file")
    return found


def _is_cut(path: Path, size: int) -> bool:
    """Whether a seal begins where the HDF5 data end, but not all of it is there."""
    with path.open("rb") as file:
        head = file.read(64)
        at = END_OF_DATA.get(head[8] if len(head) == 64 else None)
        if at is None:
            return False
        end = int.from_bytes(head[at : at + 8], "little")
        if not 0 < end < size:
            return False
        file.seek(end)
        rest = file.read(len(MARK))
    return rest == MARK[: len(rest)]


def _digest(path: Path, size: int, values: list[list[int]]) -> str:
    """sha256 over the bytes below `size` that lie outside the (start, stop) of `values`."""
    digest, position = hashlib.sha256(), 0
    with path.open("rb") as file:
        for start, stop in [*values, [size, size]]:
            file.seek(position)
            while position < start:
                part = file.read(min(READ_BYTES, start - position))
                if not part:
                    raise ValueError("the file ends early")
                digest.update(part)
                position += len(part)
            position = max(position, stop)
    return digest.hexdigest()


def _places_of_values(path: str | Path) -> list[list[int]]:
    """Where numbers that carry a checksum lie, as (start, stop) in bytes, in order and joined."""
    places: list[tuple[int, int]] = []
    with h5py.File(path, "r") as file:
        for dataset in _checked_numbers(file):
            if dataset.chunks is None:
                start = dataset.id.get_offset()
                if start is not None:
                    places.append((start, start + dataset.id.get_storage_size()))
            else:
                dataset.id.chunk_iter(
                    lambda chunk: places.append((chunk.byte_offset, chunk.byte_offset + chunk.size))
                )
    joined: list[list[int]] = []
    for start, stop in sorted(places):
        if joined and start == joined[-1][1]:
            joined[-1][1] = stop
        else:
            joined.append([start, stop])
    return joined


def _checked_numbers(file: h5py.File) -> Iterator[h5py.Dataset]:
    """Datasets of plain numbers with a checksum: a text is an address that HDF5 would follow."""
    found: list[h5py.Dataset] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return (item for item in found if item.dtype.kind in "biuf" and "sha256" in item.attrs)
