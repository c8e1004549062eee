"""Pictures in a zip archive or a folder: named, sorted, and read when they are needed."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import lazy_variable

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
# Only what Pillow decodes itself: PostScript, for one, would start another program.
DECODERS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")
GREY = ("1", "L", "LA")
MAX_FILE = 2**26  # bytes of one picture, unpacked
MAX_PIXELS = 2**25
MAX_PICTURES = 10**6


def open_pictures(path: str | Path) -> tuple[xr.Variable, list[str], str]:
    """Pictures of a zip archive or a folder, in the order of their numbered names.

    Returns
    -------
    images : xarray.Variable
        (stimulus, channel, y, x), uint8, read from the files when used.
    names : list of str
        File names without folder and ending.
    identity : str
        sha256 over names, sizes and (in archives) checksums.

    Raises
    ------
    InputError
        If there are no pictures, they differ in size, or a name leads out of the archive.
    """
    store, order, names = _opened(path)
    return (
        lazy_variable(("stimulus", "channel", "y", "x"), _Pictures(store, order)),
        names,
        store.identity(order),
    )


class GreyPictures:
    """Pictures of any sizes, in shades of grey: for movies that wander over them.

    Parameters
    ----------
    path : str or Path
        Zip archive or folder.

    Attributes
    ----------
    names : list of str
        File names without folder and ending, in the order of their numbers.
    sizes : list of (y, x)
        Pixels.

    Raises
    ------
    InputError
        If there are no pictures, or one cannot be read.
    """

    def __init__(self, path: str | Path):
        self._store, self._members, self.names = _opened(path)
        widths = (_header(self._store, member)[0] for member in self._members)
        self.sizes = [(height, width) for width, height in widths]

    @property
    def identity(self) -> str:
        """sha256 over names, sizes and (in archives) checksums."""
        return self._store.identity(self._members)

    def where(self, index: int) -> str:
        """File of a picture, for messages."""
        return f"{self._store.path}: {self._members[index]}"

    def read(self, index: int) -> np.ndarray:
        """Grey levels (y, x), uint8, those of colours by luminance (ITU-R 601)."""
        pixels = _pixels(self._store, self._members[index], "L")
        if pixels.shape != self.sizes[index]:
            raise _damaged(self._store, self._members[index], "it changed since it was opened")
        return pixels


def _opened(path: str | Path):
    """Folder or archive, its pictures in the order of their numbers, and their names."""
    path = Path(path)
    if not path.exists():
        raise InputError(
            "does not exist", where=str(path), remedy="Check the path of the pictures."
        )
    store = _Folder(path) if path.is_dir() else _Archive(path)
    if not store.members:
        raise InputError(
            "holds no pictures",
            where=str(path),
            remedy=f"Give a zip archive or folder of {', '.join(ENDINGS[:4])} files.",
        )
    if len(store.members) > MAX_PICTURES:
        raise InputError(
            f"holds {len(store.members)} files", where=str(path), remedy="Give the pictures shown."
        )
    order = sorted(store.members, key=_natural)
    names = [PurePosixPath(member).stem for member in order]
    for i, name in enumerate(sorted(names)[1:]):
        if name == sorted(names)[i]:
            raise InputError(
                f"holds more than one picture named {name}",
                where=str(path),
                remedy="File names without folder and ending must differ.",
            )
    return store, order, names


class _Pictures:
    """An array (picture, channel, y, x) that decodes files when it is indexed."""

    dtype = np.dtype(np.uint8)

    def __init__(self, store, members: list[str]):
        self.store, self.members = store, members
        first, grey = None, True
        for member in members:
            size, mode = _header(store, member)
            first = first or (size, member)
            grey &= mode in GREY
            if size != first[0]:
                raise InputError(
                    f"is {size[0]} x {size[1]} px, {first[1]} is {first[0][0]} x {first[0][1]} px",
                    where=f"{store.path}: {member}",
                    remedy="All pictures must have one size.",
                )
        width, height = first[0]
        self.mode = "L" if grey else "RGB"
        self.shape = (len(members), 1 if grey else 3, height, width)

    def __getitem__(self, key) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        picked = np.arange(self.shape[0])[key[0]]
        out = np.empty((np.size(picked), *self.shape[1:]), dtype=np.uint8)
        for row, i in enumerate(np.atleast_1d(picked)):
            out[row] = self._decode(self.members[int(i)])
        out = out.reshape(*np.shape(picked), *self.shape[1:])
        for axis, part in reversed(list(enumerate(key[1:], start=np.ndim(picked)))):
            out = out[(slice(None),) * axis + (part,)]
        return out

    def _decode(self, member: str) -> np.ndarray:
        pixels = _pixels(self.store, member, self.mode)
        pixels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        if pixels.shape != self.shape[1:]:
            raise _damaged(self.store, member, "it changed since it was opened")
        return pixels


class _Folder:
    def __init__(self, path: Path):
        self.path = path
        self.members = [
            item.name
            for item in path.iterdir()
            if item.suffix.lower() in ENDINGS
            and not item.name.startswith(".")
            and not item.is_symlink()  # a link may lead anywhere
            and item.is_file()
        ]

    def read(self, member: str) -> bytes:
        file = self.path / member
        if file.stat().st_size > MAX_FILE:
            raise _too_large(self, member, file.stat().st_size)
        return file.read_bytes()

    def identity(self, members: list[str]) -> str:
        return _digest((name, (self.path / name).read_bytes()) for name in members)


class _Archive:
    def __init__(self, path: Path):
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(
                f"is no zip archive that can be read ({error})",
                where=str(path),
                remedy="Give a zip archive or a folder of pictures; download it again.",
            ) from error
        self.infos = {}
        for info in infos:
            name = info.filename
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if ".." in parts or name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
                raise InputError(
                    f"holds a name that leads out of it: {name!r}",
                    where=str(path),
                    remedy="Do not trust this archive; make it again from the pictures.",
                )
            hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
            if info.is_dir() or hidden or not name.lower().endswith(ENDINGS):
                continue
            if name in self.infos:
                raise InputError(
                    f"holds {name} twice", where=str(path), remedy="Make the archive again."
                )
            self.infos[name] = info
        self.members = list(self.infos)
        self._open: zipfile.ZipFile | None = None

    def read(self, member: str) -> bytes:
        info = self.infos[member]
        if info.file_size > MAX_FILE:
            raise _too_large(self, member, info.file_size)
        if info.flag_bits & 1:
            raise _damaged(self, member, "it is encrypted")
        if self._open is None:
            self._open = zipfile.ZipFile(self.path)
        try:
            # One byte more than declared: who declares less than there is, is not believed.
            with self._open.open(info) as file:
                data = file.read(info.file_size + 1)
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise _damaged(self, member, error) from error
        if len(data) != info.file_size:
            raise _damaged(self, member, f"{len(data)} bytes, {info.file_size} declared")
        return data

    def identity(self, members: list[str]) -> str:
        infos = (self.infos[name] for name in members)
        return _digest((i.filename, f"{i.file_size} {i.CRC}".encode()) for i in infos)


def _digest(items) -> str:
    import hashlib

    digest = hashlib.sha256()
    for name, data in items:
        digest.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()


def _header(store, member: str) -> tuple[tuple[int, int], str]:
    with _picture(store, member) as picture:
        return picture.size, picture.mode


def _pixels(store, member: str, mode: str) -> np.ndarray:
    """(y, x[, channel]), uint8."""
    with _picture(store, member) as picture:
        try:
            return np.asarray(picture.convert(mode))
        except (OSError, ValueError, SyntaxError) as error:
            raise _damaged(store, member, error) from error


def _picture(store, member: str):
    """The picture with its header read; pixels are decoded when asked for."""
    import warnings

    from PIL import Image

    data = store.read(member)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=DECODERS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(store, member, "it is no picture that can be read") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large(store, member, picture.width * picture.height, "pixels")
    if picture.mode.startswith(("I", "F")):
        raise InputError(
            f"has more than 8 bits per pixel (mode {picture.mode})",
            where=f"{store.path}: {member}",
            remedy="Give the pictures as an array: images=, (stimulus, channel, y, x).",
        )
    return picture


def _natural(name: str) -> list:
    """image2 before image10."""
    return [
        (0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def _too_large(store, member: str, size: int, what: str = "bytes") -> InputError:
    return InputError(
        f"has {size} {what}, more than a picture shown in an experiment",
        where=f"{store.path}: {member}",
        remedy="Make the pictures smaller, or take this file out.",
    )


def _damaged(store, member: str, why) -> InputError:
    return InputError(
        f"is damaged ({str(why)[:200]})",
        where=f"{store.path}: {member}",
        remedy="Make or download it again.",
    )
