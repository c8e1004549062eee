"""Where a long fit keeps its state, so that it can be interrupted at any moment and go on."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def save_checkpoint(path: Path, arrays: dict[str, np.ndarray], attrs: dict[str, Any]) -> None:
    """Replace a checkpoint in one step: whoever reads it finds the old or the new one, whole.

    Parameters
    ----------
    path : Path
        The file, HDF5.
    arrays : dict of numpy.ndarray
        State, by name; names may contain slashes.
    attrs : dict
        Small values that JSON can hold.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    try:
        with h5py.File(name, "w") as file:
            for key, value in arrays.items():
                file.create_dataset(key, data=value)
            file.attrs["state"] = json.dumps(attrs)
        with open(name, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read what `save_checkpoint` wrote; None if there is nothing."""
    if not path.exists():
        return None
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, node: (
                arrays.__setitem__(name, node[()]) if isinstance(node, h5py.Dataset) else None
            )
        )
        return arrays, json.loads(file.attrs["state"])


def plain(value: Any) -> Any:
    """What JSON makes of a value: tuples are lists. To compare it with what was stored."""
    return json.loads(json.dumps(value))
