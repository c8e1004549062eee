"""Our own file: a recording as one labelled, netCDF4-compatible HDF5 file."""

from __future__ import annotations

from pathlib import Path

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.storage import read_tree, write_tree

SCHEMA = "recording"


def write(recording: Recording, path: str | Path, overwrite: bool = False) -> Path:
    """Write a recording at its stored bins; movies larger than memory are streamed.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is false, or cannot be written.
    """
    return write_tree(recording.tree, path, overwrite=overwrite)


def read(path: str | Path) -> Recording:
    """Open a recording that `write` wrote; movies and responses are read when used.

    Raises
    ------
    InputError
        If the file is damaged or holds something else, for example a fit.
    """
    tree = read_tree(path)
    schema = tree.attrs.get("neuromodels_schema")
    if schema != SCHEMA:
        tree.close()
        raise InputError(
            f"holds a {schema or 'tree without a schema'}, not a recording",
            where=str(path),
            remedy="Give a recording; results are opened with neuromodels.load.",
        )
    return Recording(tree, str(path))
