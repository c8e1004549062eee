"""Our own file: a recording of pictures as one labelled, netCDF4-compatible HDF5 file."""

from __future__ import annotations

from neuromodels.datasets.attributes import decode_attribute
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.image_recording import SCHEMA, ImageRecording
from neuromodels.datasets.seal import check_seal
from neuromodels.datasets.sources import Source
from neuromodels.datasets.storage import read_tree

TITLE = "a neuromodels recording of pictures"
OPTIONS = ()


def recognizes(source: Source) -> bool:
    """Whether it is HDF5 that neuromodels wrote as a recording of pictures.

    Raises
    ------
    RecordingError
        If it carries our seal and is damaged; asked first, so that HDF5 never sees such a file.
    """
    if source.path is not None:
        check_seal(source.path)
    if source.root is None or "neuromodels_schema" not in source.root.attrs:
        return False
    with source.hdf5() as file:
        try:
            return str(decode_attribute(file.attrs["neuromodels_schema"])) == SCHEMA
        except (OSError, ValueError, TypeError):
            return False


def read(source: Source, *, bin_width=None, stimulus=None, test=None) -> ImageRecording:
    """Open a recording that `ImageRecording.to_hdf5` wrote; it is read when used.

    Raises
    ------
    InputError
        If the file is damaged, or an option does not apply to pictures.
    """
    refuse_options(source, bin_width=bin_width, test=test)
    tree = read_tree(source.path or source.file)
    if tree.coords.get("neuron") is None or tree.coords["neuron"].dims != ("neuron",):
        tree.close()
        raise InputError(
            "is missing",
            where=f"{source.name}: /neuron",
            remedy="Name the neurons in the root of the file; see docs/recordings.md.",
        )
    recording = ImageRecording(tree, source.name)
    if stimulus is None:
        return recording
    names = [stimulus] if isinstance(stimulus, str) else list(stimulus)
    for name in names:
        recording.roles(name)  # an unknown stimulus is an error that lists the known ones
    others = [name for name in recording.stimuli if name not in names]
    return ImageRecording(tree.drop_nodes(others), source.name)


def refuse_options(source: Source, **given) -> None:
    """Raise for options of `open_recording` that mean nothing for pictures."""
    why = {
        "bin_width": "these responses are stored per presentation, not in bins of a session",
        "test": "every picture may have repeats; there is no test movie",
        "stimulus": "there is one set of pictures",
    }
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"does not apply: {why[name]}",
                where=f"{source.name}: {name}",
                remedy=f"Leave {name}= out.",
            )
