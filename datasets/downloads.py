"""Public files that are too large or too special to bundle: fetched once, checked, kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.storage import write_whole

TIMEOUT_S = 30


class RemoteFile(NamedTuple):
    """A file at a fixed address, and what it must be.

    Attributes
    ----------
    address : str
        Where it lies.
    n_bytes : int
        Its size.
    sha256 : str
        Of its bytes, in hexadecimal.
    """

    address: str
    n_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        return self.address.rsplit("/", 1)[-1]


def cache_folder() -> Path:
    """Return where downloads are kept: $NEUROMODELS_CACHE, or neuromodels in the user's cache."""
    own = os.environ.get("NEUROMODELS_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "neuromodels"


def fetch(remote: RemoteFile, folder: str | Path | None = None) -> Path:
    """Return the local copy of a public file; it is downloaded if there is none.

    Parameters
    ----------
    remote : RemoteFile
        What is wanted.
    folder : str or Path, optional
        Where copies are kept (default: `cache_folder`).

    Returns
    -------
    Path
        A file whose sha256 is right.

    Raises
    ------
    InputError
        If it cannot be downloaded or kept, or is not the file that was published.
    """
    path = Path(folder if folder is not None else cache_folder()) / remote.name
    by_hand = f"Download {remote.address} by hand, and give the path of the file."
    if path.is_file():
        check_sha256(path.read_bytes(), remote, str(path))
        return path
    try:
        with urlopen(remote.address, timeout=TIMEOUT_S) as answer:
            data = answer.read(remote.n_bytes + 1)
    except (URLError, OSError, ValueError) as error:
        said = getattr(error, "reason", None) or error
        raise InputError(
            f"cannot be downloaded ({said})", where=remote.address, remedy=by_hand
        ) from error
    check_sha256(data, remote, remote.address)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot be made ({error.strerror or error})",
            where=str(path.parent),
            remedy="Let NEUROMODELS_CACHE name a folder in which you may write.",
        ) from error
    # Another process may have written the same bytes meanwhile: replacing them does no harm.
    return write_whole(path, lambda temporary: _write(temporary, data), overwrite=True)


def check_sha256(data: bytes, remote: RemoteFile, where: str) -> None:
    """Refuse bytes that are not those of the published file.

    Raises
    ------
    InputError
    """
    found = hashlib.sha256(data).hexdigest()
    if found != remote.sha256:
        raise InputError(
            f"is not the published file {remote.name} (sha256 {found[:12]}…, it should be "
            f"{remote.sha256[:12]}…)",
            where=where,
            remedy=f"Delete it and download {remote.address} again.",
        )


def _write(temporary: Path, data: bytes) -> None:
    temporary.write_bytes(data)
