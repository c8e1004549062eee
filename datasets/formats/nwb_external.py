"""Frames that an NWB file keeps in files beside it: images, one each, or videos."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.nwb_data import Reading
from neuromodels.datasets.lazy_movies import show_in_sequence
from neuromodels.datasets.links import is_inside

# What images begin with; everything else is opened as a movie.
IMAGES = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*"),
    *(b"P5", b"P6"),
)


def external_frames(series, reading: Reading, where: str) -> xr.Variable:
    """The frames of an ImageSeries with `external_file`, read when needed.

    Parameters
    ----------
    series : pynwb.image.ImageSeries
        Lists images, one frame each (a TIFF may hold several), or videos; paths count from the
        folder of the NWB file.

    Returns
    -------
    xarray.Variable (frame, [channel,] y, x)

    Raises
    ------
    InputError
        If a file is missing, lies elsewhere without `allow_external`, or frames differ in size.
    """
    parts = [_opened(path, where) for path in _paths(series, reading, where)]
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise InputError(
            f"its external files hold frames of different sizes: {sorted(shapes)[:4]}",
            where=where,
            remedy="Frames of one movie must share one size: resize them to what was on screen.",
        )
    joined = show_in_sequence(parts, range(len(parts))).copy(deep=False)
    joined.attrs = {"units": str(series.unit or "") or "arbitrary"}
    return joined


def _paths(series, reading: Reading, where: str) -> list[Path]:
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in series.external_file]
    listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    if reading.source.path is None:
        raise InputError(
            f"keeps its frames in other files ({listed}), which a streamed file cannot reach",
            where=where,
            remedy="Download the NWB file and these files into one folder, or pass the frames as "
            'stimulus="movie.npy" with frame_times=.',
        )
    folder = reading.source.path.resolve().parent
    paths = []
    for name in names:
        path = folder / name
        try:
            inside = "://" not in name and is_inside(path, folder)
            there = path.is_file()
        except (OSError, ValueError, RuntimeError):
            inside, there = False, False
        if not inside and not reading.allow_external:
            raise InputError(
                f"keeps its frames in {name!r}, outside of the file's folder",
                where=where,
                remedy="Put them beside the NWB file; or, if you trust the file, pass "
                "allow_external=True (--open allow_external=true).",
            )
        if not there:
            raise InputError(
                f"keeps its frames in another file ({name}), which is not there",
                where=where,
                remedy=f'Put it into {folder}, or pass the frames as stimulus="movie.npy" with '
                "frame_times=.",
            )
        paths.append(path)
    return paths


def _opened(path: Path, where: str) -> xr.Variable:
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(IMAGES):
        from neuromodels.datasets.image_files import image_stack

        return image_stack(path, where)
    from neuromodels.datasets.movie_files import open_movie

    return open_movie(path, where)
