"""Movies in a file of their own: labelled HDF5, written frame by frame, read when needed."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from neuromodels.datasets.attributes import decode_attribute
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.storage import open_hdf5, read_tree, verify, write_tree

SCHEMA = "movie"


def write_movie(movie: xr.DataArray, path: str | Path, overwrite: bool = False) -> Path:
    """Write a labelled movie to one HDF5 file; one that is longer than memory is streamed.

    Parameters
    ----------
    movie : xarray.DataArray (frame, [channel,] y, x)
        As the generators of `stimuli` return it.
    path : str or Path
    overwrite : bool
        Replace a file that exists.

    Returns
    -------
    Path
        Where the file is.

    Raises
    ------
    InputError
        If it is no labelled movie, if the file exists and `overwrite` is false, or if it cannot
        be written; nothing half-written remains.
    """
    named = isinstance(movie, xr.DataArray) and {"frame", "y", "x"} <= set(movie.dims)
    if not named or "frame_time" not in movie.coords:
        raise InputError(
            "is no labelled movie",
            where="write_movie: movie",
            remedy="Give a DataArray (frame, y, x) with the coordinate frame_time, s.",
        )
    dataset = movie.to_dataset(name="stimulus")
    dataset.attrs = {"neuromodels_schema": SCHEMA}
    return write_tree(xr.DataTree(dataset), path, overwrite=overwrite)


def load_movie(path: str | Path) -> xr.DataArray:
    """The labelled movie in a file that `write_movie` wrote; frames are read when they are used.

    All are compared with their checksums first, which reads the file once.

    Raises
    ------
    InputError
        If the file is damaged or holds something else.

    Examples
    --------
    >>> import tempfile
    >>> from neuromodels.datasets import stimuli
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = stimuli.write_movie(stimuli.flash(duration=2), Path(folder.name) / "flash.h5")
    >>> stimuli.load_movie(path).attrs["generator"]
    'flash'
    """
    tree = read_tree(path)
    schema = tree.attrs.get("neuromodels_schema")
    whole = "stimulus" in tree and "frame_time" in tree
    if schema != SCHEMA or not whole:
        tree.close()
        said = f"a {schema}" if schema else "another tree"
        raise InputError(
            "lacks its frames or their times" if schema == SCHEMA else f"holds {said}, not a movie",
            where=str(path),
            remedy="Give a file that `neuromodels stimulus` wrote.",
        )
    verify(path)
    return tree["stimulus"]


def is_movie_file(path: str | Path) -> bool:
    """Whether a file is HDF5 that `write_movie` wrote."""
    try:
        with open_hdf5(path) as file:
            return decode_attribute(file.attrs.get("neuromodels_schema")) == SCHEMA
    except (InputError, OSError):
        return False
