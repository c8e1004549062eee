"""Open a recording, whatever the file: what it is is read from its content, not from its name."""

from __future__ import annotations

import difflib
from pathlib import Path

import h5py

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording

READABLE = "neuromodels reads its own HDF5 recordings and NWB 2.x files"
ARRAYS = "other data come in through neuromodels.recording_from_arrays"
HDF5 = b"\x89HDF\r\n\x1a\n"
# What other files begin with, to say what was found.
SIGNATURES = {
    b"MATLAB 5.0": "a MATLAB v5 file",
    b"\x93NUMPY": "a numpy array",
    b"PK\x03\x04": "a zip archive (npz, docx, ...)",
    b"CDF": "a netCDF 3 file",
    b"\x1f\x8b": "a gzip archive",
    b"%PDF": "a PDF document",
}


def open_recording(
    path: str | Path, *, bin_width=None, stimulus=None, test=None, **options
) -> Recording:
    """Open a recording from a file: spikes in bins, the frames that were shown, and the test.

    Parameters
    ----------
    path : str or Path
        A recording that neuromodels wrote, or an NWB 2.x file with sorted units and the frames of
        the stimulus. Which of them it is, is found from the content.
    bin_width : float or Fraction, s, optional
        Bins of the view that is returned (default: the bins that are stored; 1 ms for NWB).
    stimulus : str or list of str, optional
        Which of several stimuli (default: all of them).
    test : str or list of (start, stop), optional
        NWB: which trials are the repeated test, as a condition over the columns of the trials
        table, ``"kind == 'repeat'"``; or stretches of time in seconds, one per repeat; or
        ``"none"``. By default, trials whose frames are identical are the test;
        ``recording.attrs["notes"]`` and ``role.attrs["selection"]`` say what was chosen and why.
    **options
        NWB: `table` (table of trials), `axes` ("xy" as in the NWB schema, or "yx" for files that
        hold (frame, y, x)) and `finest_bin_width` (s). See `neuromodels.datasets.formats.nwb.read`.

    Returns
    -------
    Recording
        Frames stay in the file until they are needed.

    Raises
    ------
    InputError
        If the file or an option cannot be used; the message says what to do.
    """
    path = Path(path)
    if _detect(path) == "nwb":
        from neuromodels.datasets.formats import nwb

        _check_options(path, options, nwb.OPTIONS, "an NWB file")
        return nwb.read(path, bin_width=bin_width, stimulus=stimulus, test=test, **options)
    from neuromodels.datasets.formats import labelled_hdf5

    _check_options(path, options, (), "a neuromodels recording")
    if test is not None:
        raise InputError(
            "does not apply: the file says which part is the test",
            where=f"{path}: test",
            remedy="Leave test= out, or open the original recording with it.",
        )
    recording = labelled_hdf5.read(path)
    if stimulus is not None:
        recording = _only(recording, [stimulus] if isinstance(stimulus, str) else list(stimulus))
    return recording if bin_width is None else recording.at(bin_width)


def _detect(path: Path) -> str:
    """ "nwb" or "neuromodels"; everything else is an error that says what was found."""
    if path.is_dir():
        raise _refuse(path, "is a folder", f"Give a file; {READABLE}.")
    if not path.exists():
        near = []
        if path.parent.is_dir():
            names = [item.name for item in path.parent.iterdir()]
            near = difflib.get_close_matches(path.name, names, 1, cutoff=0.8)
        hint = f"Did you mean {path.with_name(near[0])}?" if near else "Check the path."
        raise _refuse(path, "there is no such file", hint)
    try:
        with path.open("rb") as file:
            head = file.read(128)
    except OSError as error:
        reason = error.strerror or str(error)
        raise _refuse(path, f"cannot be read ({reason})", "Check its permissions.") from error
    try:
        with h5py.File(path, "r") as file:
            return _detect_layout(path, file)
    except OSError as error:
        raise _not_hdf5(path, head, str(error)) from error


def _detect_layout(path: Path, file: h5py.File) -> str:
    if "neuromodels_schema" in file.attrs:
        return "neuromodels"
    version = file.attrs.get("nwb_version")
    if version is not None:
        return "nwb"
    if "neuromodels_result" in file.attrs:
        raise _refuse(
            path,
            "is a result of neuromodels, not a recording",
            "See it with `neuromodels show`, or open it with nm.load.",
        )
    if isinstance(file.get("nwb_version"), h5py.Dataset):
        raise _refuse(
            path,
            "is an NWB file of version 1, which pynwb does not read",
            "Convert it to NWB 2.x (the data's owners often offer a newer version).",
        )
    if "MATLAB_class" in {name for item in file.values() for name in item.attrs}:
        raise _refuse(path, "is a MATLAB v7.3 file", f"{READABLE}; {ARRAYS}.")
    names = list(file)
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    what = f"holds {listed}" if names else "is empty"
    raise _refuse(path, f"is an HDF5 file of unknown layout ({what})", f"{READABLE}; {ARRAYS}.")


def _not_hdf5(path: Path, head: bytes, said: str) -> InputError:
    if not head:
        return _refuse(path, "is empty", "Copy or export it again.")
    if head.startswith(HDF5):
        if "unable to lock" in said:
            remedy = "Close the program that writes it, then try again."
            return _refuse(path, "is being written by another program", remedy)
        return _refuse(
            path,
            "is a damaged or truncated HDF5 file",
            "Copy or download it again, and compare its size with the original's.",
        )
    kind = next((name for start, name in SIGNATURES.items() if head.startswith(start)), None)
    if kind is None:
        kind = "a text file" if _is_text(head) else "no HDF5 file"
    return _refuse(path, f"is {kind}, not a recording", f"{READABLE}; {ARRAYS}.")


def _is_text(head: bytes) -> bool:
    try:
        return head.decode("utf-8").isprintable() or b"\n" in head
    except UnicodeDecodeError:
        return False


def _check_options(path: Path, options: dict, known: tuple[str, ...], what: str) -> None:
    every = ("bin_width", "stimulus", "test", *known)
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, every, 1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"unknown option for {what}",
                where=f"{path}: {name}",
                remedy=f"{hint}Options: {', '.join(every)}.",
            )


def _only(recording: Recording, names: list[str]) -> Recording:
    for name in names:
        recording.roles(name)  # an unknown stimulus is an error that lists the known ones
    others = [name for name in recording.stimuli if name not in names]
    return Recording(recording.tree.drop_nodes(others), recording.source)


def _refuse(path: Path, what: str, remedy: str) -> InputError:
    return InputError(what, where=str(path), remedy=remedy)
