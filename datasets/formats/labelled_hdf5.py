"""Our own file: a recording as one labelled, netCDF4-compatible HDF5 file."""

from __future__ import annotations

from pathlib import Path

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.seal import check_seal
from neuromodels.datasets.sources import Source
from neuromodels.datasets.storage import read_tree, write_tree

TITLE = "a neuromodels recording"
OPTIONS = ()
SCHEMA = "recording"


def write(recording: Recording, path: str | Path, overwrite: bool = False) -> Path:
    """Write a recording at its stored bins; movies larger than memory are streamed.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is false, or cannot be written.
    """
    return write_tree(recording.tree, path, overwrite=overwrite)


def recognizes(source: Source) -> bool:
    """Whether it is HDF5 that neuromodels wrote as a recording.

    Raises
    ------
    RecordingError
        If it carries our seal and is damaged; asked first, so that HDF5 never sees such a file.
    """
    if source.path is not None:
        check_seal(source.path)
    return source.root is not None and "neuromodels_schema" in source.root.attrs


def read(source: Source, *, bin_width=None, stimulus=None, test=None) -> Recording:
    """Open a recording that `write` wrote; movies and responses are read when used.

    Raises
    ------
    InputError
        If the file is damaged or holds something else, for example a fit.
    """
    tree = read_tree(source.path or source.file)
    return recording_of(tree, source.name, bin_width=bin_width, stimulus=stimulus, test=test)


def recording_of(tree, name: str, *, bin_width=None, stimulus=None, test=None) -> Recording:
    """The recording in a tree that neuromodels wrote, and the part of it that was asked for.

    Raises
    ------
    InputError
        If the tree holds something else, or not what was asked for; the tree is closed.
    """
    if test is not None:
        tree.close()
        raise InputError(
            "does not apply: the file says which part is the test",
            where=f"{name}: test",
            remedy="Leave test= out, or open the original recording with it.",
        )
    schema = tree.attrs.get("neuromodels_schema")
    if schema != SCHEMA:
        tree.close()
        raise InputError(
            f"holds a {schema or 'tree without a schema'}, not a recording",
            where=name,
            remedy="Give a recording; results are opened with neuromodels.load.",
        )
    recording = Recording(tree, name)
    if stimulus is not None:
        recording = _only(recording, [stimulus] if isinstance(stimulus, str) else list(stimulus))
    return recording if bin_width is None else recording.at(bin_width)


def _only(recording: Recording, names: list[str]) -> Recording:
    for name in names:
        recording.roles(name)  # an unknown stimulus is an error that lists the known ones
    others = [name for name in recording.stimuli if name not in names]
    return Recording(recording.tree.drop_nodes(others), recording.source)
