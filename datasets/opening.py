"""Open a recording, whatever the file: what it is is read from its content, not from its name."""

from __future__ import annotations

import difflib
import struct
import zlib
from importlib import import_module
from tokenize import TokenError
from types import ModuleType
from typing import TYPE_CHECKING

from neuromodels.datasets.covariate_choice import choose_covariates
from neuromodels.datasets.errors import InputError, RecordingError
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.sources import HDF5, Source

if TYPE_CHECKING:
    from neuromodels.datasets.image_recording import ImageRecording

#: Modules of `datasets.formats` in the order in which they are asked. Each has `TITLE`, `OPTIONS`,
#: `recognizes(source)` and `read(source, *, bin_width, stimulus, test, **options)`.
FORMATS = (
    "labelled_images",
    "labelled_hdf5",
    "zarr_store",
    "nwb_written",
    "nwb",
    "kilosort",
    "assembly",
    "raster_folder",
    "image_session",
    "deep_retina",
    "openretina",
    "mapped",
)
#: What every format takes.
COMMON_OPTIONS = ("bin_width", "stimulus", "test", "covariates")
#: Read in any file or folder that a mapping describes, whatever its own layout.
MAPPED = "mapped"
READABLE = (
    "neuromodels reads its own files, NWB 2.x, Kilosort/Phy folders, deep-retina and openretina "
    "layouts, and with mapping= (--mapping) MATLAB, HDF5, npz and npy files"
)
ARRAYS = "other data come in through neuromodels.recording_from_arrays"
# What other files begin with, to say what was found.
SIGNATURES = {
    b"\x93NUMPY": "a numpy array",
    b"PK\x03\x04": "a zip archive (npz, docx, ...)",
    b"CDF": "a netCDF 3 file",
    b"\x1f\x8b": "a gzip archive",
    b"%PDF": "a PDF document",
}
# What libraries raise when a file is not what it claims to be.
UNREADABLE = (
    *(OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, AttributeError),
    *(IndexError, ArithmeticError, AssertionError, NotImplementedError, MemoryError),
    *(SyntaxError, TokenError, struct.error, zlib.error, BufferError),
    *(RecursionError, SystemError),
)


def open_recording(
    path, *, bin_width=None, stimulus=None, test=None, covariates=None, **options
) -> Recording | ImageRecording:
    """Open a recording from a file: spikes in bins, the frames that were shown, and the test.

    Parameters
    ----------
    path : str, Path, address or binary file object
        A file, or a folder such as Phy leaves. What it is, is found from the content.
        `docs/recordings.md` has a recipe for each: NWB 2.x, our own HDF5 and zarr, Kilosort/Phy,
        MATLAB (with `mapping=`), deep-retina, openretina, image recordings. Addresses
        (``https://...``) need the extra `stream`.
    bin_width : float or Fraction, s, optional
        Bins of the view that is returned (default: the bins that are stored; 1 ms where the file
        holds spike times).
    stimulus : str or list of str, or a movie, optional
        Which of several stimuli (default: all of them). Or, where the file lacks it, the movie
        that was shown: a file (npy, HDF5, mp4), a folder of images, or an array, along with
        `frame_times=`, `triggers=`, `frame_rate=` or `schedule=`.
    test : str or list of (start, stop), optional
        Which trials are the repeated test, as a condition over the columns of the table of
        trials, ``"kind == 'repeat'"``; or stretches of time in seconds, one per repeat; or
        ``"none"``. By default, trials whose frames are identical are the test;
        ``recording.attrs["notes"]`` and ``role.attrs["selection"]`` say what was chosen and why.
    covariates : str, list of str, dict or DataFrame, optional
        Running, pupil, ...: a csv or npz file, or anything else that `attach_covariates` takes; or
        names of those that the file holds (several: a list, or with commas between; files may be
        among them). By default all that the file holds; ``"none"`` leaves them out.
    **options
        Of the format. An option that it does not have is refused with a list of those it has.

    Returns
    -------
    Recording or ImageRecording
        Frames stay in the file until they are needed.

    Raises
    ------
    RecordingError
        If the file or an option cannot be used; the message says what to do. (It is an
        `InputError`.)
    """
    source = Source(path)
    try:
        reader = _reader(source, options)
        _check_options(source, options, reader)
        folder = source.path if source.is_folder or source.path is None else source.path.parent
        told = choose_covariates(covariates, folder)
        chooses = getattr(reader, "CHOOSES_COVARIATES", False)
        if chooses:
            options["covariates"] = told.names
        recording = reader.read(
            source, bin_width=bin_width, stimulus=stimulus, test=test, **options
        )
        return told.applied(recording, names_are_read=chooses)
    except RecordingError:
        raise
    except InputError as error:
        raise RecordingError(error.what, where=error.where, remedy=error.remedy) from error
    except UNREADABLE as error:
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise source.error(
            f"cannot be read ({type(error).__name__}{': ' if said else ''}{said})",
            "The file is damaged, or not what it claims to be: export or download it again.",
        ) from error


def _reader(source: Source, options: dict) -> ModuleType:
    """The module that reads this source; anything else is an error that says what was found."""
    if not source.is_folder and not source.head:
        raise source.error("is empty", "Copy or export it again.")
    mapped = options.get("mapping") is not None
    for name in FORMATS:
        module = import_module(f"neuromodels.datasets.formats.{name}")
        if name == MAPPED if mapped else module.recognizes(source):
            return module
    raise _unknown(source)


def _unknown(source: Source) -> RecordingError:
    remedy = f"{READABLE}; {ARRAYS}."
    if source.is_folder:
        names = sorted(item.name for item in source.path.iterdir())
        listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        what = f"holds {listed}" if names else "is empty"
        return source.error(f"is a folder of unknown layout ({what})", remedy)
    if source.root is not None:
        names = list(source.root.members)
        if "neuromodels_result" in source.root.attrs:
            return source.error(
                "is a result of neuromodels, not a recording",
                "See it with `neuromodels show`, or open it with nm.load.",
            )
        if "nwb_version" in names:
            return source.error(
                "is an NWB file of version 1, which pynwb does not read",
                "Convert it to NWB 2.x (the data's owners often offer a newer version).",
            )
        listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        what = f"holds {listed}" if names else "is empty"
        return source.error(f"is an HDF5 file of unknown layout ({what})", remedy)
    if source.head.startswith(HDF5):
        source.hdf5()  # says what is wrong with it
    known = (name for start, name in SIGNATURES.items() if source.head.startswith(start))
    kind = next(known, "a text file" if _is_text(source.head) else "no HDF5 file")
    return source.error(f"is {kind}, not a recording", remedy)


def _is_text(head: bytes) -> bool:
    try:
        return head.decode("utf-8").isprintable() or b"\n" in head
    except UnicodeDecodeError:
        return False


def _check_options(source: Source, options: dict, reader: ModuleType) -> None:
    every = (*COMMON_OPTIONS, *reader.OPTIONS)
    for name in options:
        if name not in every:
            near = difflib.get_close_matches(name, every, 1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"unknown option for {reader.TITLE}",
                where=f"{source.name}: {name}",
                remedy=f"{hint}Options: {', '.join(every)}.",
            )
