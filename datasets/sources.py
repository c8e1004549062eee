"""What a recording is opened from: a file, a folder, an address or a file object."""

from __future__ import annotations

import difflib
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import h5py

from neuromodels.datasets.errors import RecordingError
from neuromodels.datasets.streams import open_address

HDF5 = b"\x89HDF\r\n\x1a\n"
HEAD = 512  # bytes that tell formats apart
USER_BLOCKS = (512, 1024, 2048, 4096)  # where HDF5 may begin after a foreign head


@dataclass(frozen=True)
class Root:
    """The first level of an HDF5 file: enough to tell layouts apart."""

    attrs: frozenset[str]
    members: dict[str, type]  # h5py.Group or h5py.Dataset by name


class Source:
    """Something that may hold a recording; nothing is read before it is asked for.

    Parameters
    ----------
    given : str, Path or binary file object
        A file, a folder, an address that fsspec opens (``https://...``, ``s3://...``), or an open
        file object that can seek.

    Attributes
    ----------
    name : str
        Path, address or name of the file object: messages begin with it.
    path : Path or None
        None for addresses and file objects.
    file : binary file object or None
        What addresses and file objects are read through.

    Raises
    ------
    RecordingError
        If there is no such file or folder.
    """

    def __init__(self, given):
        self.file: BinaryIO | None = None
        self.path: Path | None = None
        if hasattr(given, "read") and hasattr(given, "seek"):
            self.file = given
            self.name = str(getattr(given, "name", None) or f"<{type(given).__name__}>")
        elif not isinstance(given, str | os.PathLike):
            raise RecordingError(
                f"is a {type(given).__name__}, no file",
                where="open_recording: path",
                remedy="Spikes and arrays in memory go into neuromodels.recording_from_spikes or "
                "recording_from_arrays.",
            )
        elif "://" in str(given):
            self.name = str(given)
            self.file = open_address(self.name)
        else:
            self.path = Path(given)
            self.name = str(given)
            _check_exists(self.path)

    @property
    def is_folder(self) -> bool:
        return self.path is not None and self.path.is_dir()

    @property
    def is_stream(self) -> bool:
        """Whether it has no path, so that only what is read is fetched."""
        return self.path is None

    @cached_property
    def head(self) -> bytes:
        """The first bytes; none of a folder."""
        if self.is_folder:
            return b""
        try:
            if self.file is not None:
                self.file.seek(0)
                head = self.file.read(HEAD)
                self.file.seek(0)
                return bytes(head)
            with self.path.open("rb") as file:
                return file.read(HEAD)
        except OSError as error:
            reason = error.strerror or str(error)
            remedy = "Check the connection." if self.is_stream else "Check its permissions."
            raise self.error(f"cannot be read ({reason})", remedy) from error

    @property
    def looks_like_hdf5(self) -> bool:
        """Whether it begins as HDF5 does, or holds it after a user block (MATLAB v7.3)."""
        if self.head.startswith(HDF5):
            return True
        if self.file is not None:
            return self._hdf5_after_user_block()
        return not self.is_folder and bool(h5py.is_hdf5(self.path))

    def hdf5(self) -> h5py.File:
        """The HDF5 file, open for reading; whoever asks closes it.

        Raises
        ------
        RecordingError
            If it is truncated, damaged or being written.
        """
        try:
            if self.file is not None:
                self.file.seek(0)
                return h5py.File(self.file, "r")
            return h5py.File(self.path, "r")
        except (OSError, ValueError, RuntimeError) as error:
            raise self._no_hdf5(str(error)) from error

    @cached_property
    def root(self) -> Root | None:
        """First level of the HDF5 file; None if it is none.

        Raises
        ------
        RecordingError
            As `hdf5`.
        """
        if not self.looks_like_hdf5:
            return None
        with self.hdf5() as file:
            try:
                members = {
                    name: file.get(name, getclass=True) for name in file if _is_inside(file, name)
                }
                return Root(frozenset(file.attrs), members)
            except (OSError, KeyError, RuntimeError, ValueError, UnicodeError) as error:
                raise self._no_hdf5(str(error)) from error

    @cached_property
    def identity(self) -> str:
        """sha256 of a file; name and size of what is streamed."""
        if self.file is not None:
            self.file.seek(0, 2)
            size = self.file.tell()
            self.file.seek(0)
            return f"{self.name} ({size} bytes)"
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def error(self, what: str, remedy: str, variable: str = "") -> RecordingError:
        """An error that names this source, and the variable in it."""
        where = f"{self.name}: {variable}" if variable else self.name
        return RecordingError(what, where=where, remedy=remedy)

    def _hdf5_after_user_block(self) -> bool:
        try:
            found = False
            for place in USER_BLOCKS:
                self.file.seek(place)
                found = found or self.file.read(len(HDF5)) == HDF5
            self.file.seek(0)
        except (OSError, ValueError):
            return False
        return found

    def _no_hdf5(self, said: str) -> RecordingError:
        if "unable to lock" in said:
            return self.error(
                "is being written by another program",
                "Close the program that writes it, then try again.",
            )
        return self.error(
            "is a damaged or truncated HDF5 file",
            "Copy or download it again, and compare its size with the original's.",
        )


def _is_inside(file: h5py.File, name: str) -> bool:
    """Whether a member lies in this file: links to other files are followed by nobody here."""
    return isinstance(file.get(name, getlink=True), h5py.HardLink)


def _check_exists(path: Path) -> None:
    try:
        if path.exists():
            return
    except (OSError, ValueError):
        pass
    near = []
    if path.parent.is_dir():
        names = [item.name for item in path.parent.iterdir()]
        near = difflib.get_close_matches(path.name, names, 1, cutoff=0.8)
    hint = f"Did you mean {path.with_name(near[0])}?" if near else "Check the path."
    raise RecordingError("there is no such file", where=str(path), remedy=hint)
