"""Any recording that can be opened, as a file that other programs read."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.opening import open_recording
from neuromodels.datasets.storage import check_folder, check_output

#: What `to` may say, and which module of `datasets.formats` writes it.
WRITERS = {"hdf5": "labelled_hdf5", "nwb": "nwb_writing", "zarr": "zarr_store"}
SUFFIXES = {".h5": "hdf5", ".hdf5": "hdf5", ".nwb": "nwb", ".zarr": "zarr"}


def convert(recording, out, *, to: str | None = None, overwrite: bool = False, **options) -> Path:
    """Write a recording to HDF5, NWB or zarr: whole or not at all, nothing lost.

    Parameters
    ----------
    recording : Recording, str, Path, ...
        A recording, or anything that `open_recording` opens.
    out : str or Path
        `.h5` or `.hdf5`: our HDF5, which netCDF programs open; `.nwb`: NWB 2.x with units, frames
        and trials; `.zarr`: a zarr folder, for object stores (needs ``neuromodels[zarr]``).
    to : {"hdf5", "nwb", "zarr"}, optional
        What to write where the name does not say it.
    overwrite : bool
        Replace what exists.
    **options
        Of `open_recording`. Bins are written as they are stored, whatever `bin_width` says.

    Returns
    -------
    Path
        Where it is. `open_recording` gives the same recording back from each.

    Raises
    ------
    InputError
        If the output exists or cannot be written, or the recording has errors: what is damaged or
        contradicts itself is not passed on.
    """
    out = Path(out)
    to = _target(out, to)
    if to == "zarr":
        check_folder(out, "zarr.json", overwrite)
    else:
        check_output(out, overwrite)
    ours = hasattr(recording, "tree")
    if ours and options:
        raise InputError(
            "apply to files, and this is an open recording",
            where=f"convert: {', '.join(options)}",
            remedy="Give the file, or open it with these options.",
        )
    opened = recording if ours else open_recording(recording, **options)
    try:
        if to == "nwb" and not hasattr(opened, "stored_bin_width"):
            raise InputError(
                "holds presentations of pictures, which this writer does not put into NWB",
                where=str(out),
                remedy="Write .h5 or .zarr instead.",
            )
        opened.validate().raise_errors()
        writer = import_module(f"neuromodels.datasets.formats.{WRITERS[to]}")
        return writer.write(opened, out, overwrite=overwrite)
    finally:
        if not ours:
            opened.close()


def _target(out: Path, to: str | None) -> str:
    if to is None:
        to = SUFFIXES.get(out.suffix.lower())
        if to is None:
            raise InputError(
                f"ends in {out.suffix or 'nothing'}, which says nothing about its format",
                where=str(out),
                remedy=f"End it in {', '.join(SUFFIXES)}, or say to= ({', '.join(WRITERS)}).",
            )
    if to not in WRITERS:
        raise InputError(f"is {to!r}", where=f"{out}: to", remedy=f"One of: {', '.join(WRITERS)}.")
    return to
