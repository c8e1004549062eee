"""Write a file of a spiking network: it appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from neuromodels.options import OptionError


def check_target(path: Path, overwrite: bool = False) -> None:
    """Refuse, before any work, a file that exists or whose folder does not.

    Raises
    ------
    OptionError
    """
    if path.is_dir():
        raise OptionError("is a folder.", str(path), "Give the name of a file.")
    if path.exists() and not overwrite:
        raise OptionError(
            "exists already.",
            str(path),
            "Choose another name, or pass overwrite=True (--overwrite).",
        )
    if not path.parent.is_dir():
        raise OptionError(
            f"there is no folder {path.parent} to write it in.", str(path), "Make the folder first."
        )


def write_whole(path: Path, write: Callable[[Path], None], overwrite: bool = False) -> None:
    """Let `write` make a file under a temporary name beside `path`, and rename it.

    Whatever interrupts it, an earlier file stays as it was and no temporary file remains.

    Raises
    ------
    OptionError
        The file exists and `overwrite` is false, or it cannot be written.
    """
    check_target(path, overwrite)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        check_target(path, overwrite)
        os.replace(temporary, path)
    except OSError as error:
        raise OptionError(
            f"cannot be written: {error.strerror or error}.", str(path), "Choose another place."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
