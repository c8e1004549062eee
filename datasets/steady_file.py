"""A file that HDF5 writes to and that never fails under it: errors are raised where they can be.

The HDF5 library crashes the whole process when the disk is full while it closes a file. So what
the system refuses is kept in memory until the file is closed, and the error is raised by `check`.
"""

from __future__ import annotations

import os
from pathlib import Path


class SteadyFile:
    """A binary file for `h5py.File(file, "w")`; call `check` between writes and after closing.

    Parameters
    ----------
    path : Path
        Created, or emptied.
    """

    def __init__(self, path: Path):
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 (closed by `close`)
        self._error: BaseException | None = None
        self._refused: list[tuple[int, bytes]] = []  # what the system did not take: place, bytes
        self._position = 0
        self._size = 0

    def check(self) -> None:
        """Raise what went wrong while HDF5 was writing, a full disk for example."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._file.close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        start = self._position
        self._position += len(view)
        self._size = max(self._size, self._position)
        if self._error is None:
            try:
                self._write(start, view)
                return len(view)
            except BaseException as error:  # an interrupt inside HDF5 would crash it, too
                self._error = error
        self._refused.append((start, bytes(view)))
        return len(view)

    def read(self, size: int) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        start, n = self._position, max(0, min(len(view), self._size - self._position))
        self._file.seek(start)
        view[:n] = self._file.read(n).ljust(n, b"\0")
        for place, data in self._refused:
            first, stop = max(place, start), min(place + len(data), start + n)
            if first < stop:
                view[first - start : stop - start] = data[first - place : stop - place]
        self._position += n
        return n

    def truncate(self, size: int) -> int:
        self._size = size
        if self._error is None:
            try:
                self._file.truncate(size)
            except BaseException as error:
                self._error = error
        return size

    def flush(self) -> None:
        """Nothing is buffered."""

    def _write(self, start: int, view: memoryview) -> None:
        self._file.seek(start)
        done = 0
        while done < len(view):
            done += self._file.write(view[done:])
