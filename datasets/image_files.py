"""A movie as a folder of images, or as the pages of a TIFF stack (read with pillow)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.lazy_movies import MovieReader, movie_variable
from neuromodels.datasets.movie_files import IMAGE_SUFFIXES, natural_order

GREY_MODES = {"1": np.uint8, "L": np.uint8, "LA": np.uint8, "La": np.uint8}
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB", "RGBa")


def image_folder(folder: Path, where: str) -> xr.Variable:
    """Images of a folder as frames, in the order of the numbers in their names.

    Raises
    ------
    InputError
        If there is none, or one differs in size or kind from the first.
    """
    try:
        items = [item for item in folder.iterdir() if item.suffix.lower() in IMAGE_SUFFIXES]
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})",
            where=where,
            remedy="Check its permissions.",
        ) from error
    # The ._x.png files that macOS leaves on other disks are no images.
    items = [item for item in items if not item.name.startswith(".")]
    if not items:
        raise InputError(
            "holds no image",
            where=where,
            remedy=f"Put the frames in it as {', '.join(IMAGE_SUFFIXES[:3])} files.",
        )
    items.sort(key=lambda item: natural_order(item.name))
    pages = [(item, 0) for item in items]
    return movie_variable(_Images(pages, where), {"source": folder.name})


def image_stack(path: Path, where: str) -> xr.Variable:
    """The pages of a .tif file as frames.

    Raises
    ------
    InputError
        If it is damaged, or a page differs in size or kind from the first.
    """
    with _image(path, where) as image:
        n_pages = _number_of_pages(image, path, where)
    return movie_variable(
        _Images([(path, page) for page in range(n_pages)], where), {"source": path.name}
    )


class _Images(MovieReader):
    def __init__(self, pages: list[tuple[Path, int]], where: str):
        self._pages, self._where = pages, where
        first = None
        for (path, page), image in _opened(pages, where):
            found = (image.size, _kind(image.mode, path, where))
            first = first or found
            if found != first:
                (x, y), (x0, y0) = found[0], first[0]
                raise InputError(
                    f"{path.name}{f' (page {page})' if page else ''} is {x} x {y} pixels, "
                    f"{found[1]}; the first image is {x0} x {y0}, {first[1]}",
                    where=where,
                    remedy="Frames of a movie have one size and are all grey or all in colour.",
                )
        (x, y), self._kind = first
        self.shape = (len(pages), 3, y, x) if self._kind == "colour" else (len(pages), y, x)
        self.dtype = np.dtype(np.float32 if self._kind == "deep grey" else np.uint8)

    def read(self, start: int, stop: int) -> np.ndarray:
        frames = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        for i, ((path, _), image) in enumerate(_opened(self._pages[start:stop], self._where)):
            with _as_input_errors(path, self._where):
                if self._kind == "colour":
                    values = np.moveaxis(np.asarray(image.convert("RGB")), 2, 0)
                else:
                    values = np.asarray(image if self._kind != "grey" else image.convert("L"))
            if values.shape != frames.shape[1:]:
                raise InputError(
                    f"{path.name} was changed after the movie was opened",
                    where=self._where,
                    remedy="Open it again.",
                )
            frames[i] = values
        return frames


def _number_of_pages(image, path: Path, where: str) -> int:
    with _as_input_errors(path, where):
        return int(getattr(image, "n_frames", 1))


def _opened(pages: list[tuple[Path, int]], where: str) -> Iterator:
    """Each page with its image, at that page; a stack is opened once."""
    i = 0
    while i < len(pages):
        path = pages[i][0]
        with _image(path, where) as image:
            while i < len(pages) and pages[i][0] == path:
                with _as_input_errors(path, where):
                    image.seek(pages[i][1])
                yield pages[i], image
                i += 1


@contextmanager
def _image(path: Path, where: str):
    from PIL import Image

    with _as_input_errors(path, where):
        image = Image.open(path)
    with image:
        yield image


@contextmanager
def _as_input_errors(path: Path, where: str):
    """What pillow raises for damaged and for absurdly large images, as errors that name them."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path.name} claims more pixels than a display has",
            where=where,
            remedy="Check the image; give the frames as they were shown.",
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError) as error:
        raise InputError(
            f"{path.name} is damaged or no image",
            where=where,
            remedy="Copy or export it again.",
        ) from error


def _kind(mode: str, path: Path, where: str) -> str:
    if mode in GREY_MODES:
        return "grey"
    if mode in DEEP_MODES:
        return "deep grey"
    if mode in COLOUR_MODES:
        return "colour"
    raise InputError(
        f"{path.name} has pixels of kind {mode}",
        where=where,
        remedy="Save the frames as grey or RGB png files.",
    )
