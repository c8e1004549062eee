"""Addresses read by ranges: small blocks that are kept, long stretches in one request."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import BinaryIO

from neuromodels.datasets.errors import RecordingError

# HDF5 reads many small pieces here and there, so small blocks that stay beat a long read-ahead.
BLOCK_BYTES = 2**16
KEPT_BYTES = 2**25


def open_address(address: str) -> BinaryIO:
    """Open an address for reading by ranges; nothing but what is read is fetched.

    Parameters
    ----------
    address : str
        Anything that fsspec opens: ``https://...``, ``s3://...``.

    Raises
    ------
    RecordingError
        If fsspec is missing, there is nothing, or the server sends whole files only.
    """
    try:
        import fsspec
    except ImportError:
        raise RecordingError(
            "is an address, and fsspec is not installed",
            where=address,
            remedy="Install it: pip install 'neuromodels[stream]'; or download the file.",
        ) from None
    try:
        system, path = fsspec.core.url_to_fs(address)
        file = system.open(path, "rb", cache_type="none")
        size = getattr(file, "size", None)
        if size is None:
            size = file.seek(0, 2)
        return BlockFile(_Plain(file, size), address)
    except Exception as error:  # every protocol has errors of its own
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        if "seek streaming" in said:
            said = "the server sends whole files only, not parts of them"
        raise RecordingError(
            f"cannot be opened ({said})",
            where=address,
            remedy="Check the address and the connection, or download the file; pip install "
            "'neuromodels[stream]' brings what http(s) needs.",
        ) from error


class BlockFile(io.RawIOBase):
    """A file that keeps blocks it has fetched, and fetches neighbouring ones in one request.

    Parameters
    ----------
    fetch : object with `size` and `range(start, stop)`
    name : str
    """

    def __init__(self, fetch, name: str):
        self.name = name
        self._fetch = fetch
        self._size = int(fetch.size)
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("seek before the file's beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        start, stop = self._position, min(self._position + len(view), self._size)
        if start >= stop:
            return 0
        view[: stop - start] = self._read(start, stop)
        self._position = stop
        return stop - start

    def _read(self, start: int, stop: int) -> bytes:
        first, last = start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        if stop - start > KEPT_BYTES // 2:  # would push everything else out
            return self._range(start, stop)
        missing = [i for i in range(first, last + 1) if i not in self._blocks]
        while missing:
            begin = end = missing.pop(0)
            while missing and missing[0] == end + 1:
                end = missing.pop(0)
            data = self._range(begin * BLOCK_BYTES, min((end + 1) * BLOCK_BYTES, self._size))
            for i in range(begin, end + 1):
                offset = (i - begin) * BLOCK_BYTES
                self._blocks[i] = data[offset : offset + BLOCK_BYTES]
        parts = [self._blocks[i] for i in range(first, last + 1)]
        for i in range(first, last + 1):
            self._blocks.move_to_end(i)
        while len(self._blocks) * BLOCK_BYTES > KEPT_BYTES:
            self._blocks.popitem(last=False)
        offset = start - first * BLOCK_BYTES
        return b"".join(parts)[offset : offset + stop - start]

    def _range(self, start: int, stop: int) -> bytes:
        data = self._fetch.range(start, stop)
        if len(data) != stop - start:
            raise OSError(f"{self.name}: {len(data)} bytes came instead of {stop - start}")
        return data


class _Plain:
    """Ranges of a file object."""

    def __init__(self, file, size: int):
        self._file = file
        self.size = size

    def range(self, start: int, stop: int) -> bytes:
        try:
            self._file.seek(start)
            return self._file.read(stop - start)
        except OSError:
            raise
        except Exception as error:  # of every protocol its own
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise OSError(f"reading failed ({said})") from error
