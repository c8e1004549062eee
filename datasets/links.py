"""What an HDF5 file refers to outside itself, and whether it holds as much as it declares."""

from __future__ import annotations

from pathlib import Path

import h5py

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.sources import Source

SURE_BYTES = 2**26  # read without a look at what is stored
MOST_COMPRESSED = 10_000  # times; deflate reaches 1032, constant data under others a little more


def check_links(file: h5py.File, source: Source, allow_external: bool = False) -> None:
    """Refuse a file that would have others read that lie outside of its folder.

    Looks at external links, raw data in other files and virtual datasets, of this file and of
    the files in its folder that it leads to. Links are not followed, so cycles do no harm.

    Parameters
    ----------
    file : h5py.File
        Open for reading.
    source : Source
        Where it came from. Nothing that is streamed has a folder.
    allow_external : bool
        The user trusts the file: nothing is checked.

    Raises
    ------
    RecordingError
        Names the first link that leads outside.
    """
    if allow_external:
        return
    waiting, seen = [(file, "")], set()
    while waiting:
        current, via = waiting.pop()
        try:
            for place, kind, name in _checked_references(current, source):
                target = _target(kind, name, source)
                if target is False:
                    raise source.error(
                        f"{kind} {name!r}, outside of the file's folder",
                        "Nothing was read from there. If you trust the file, pass "
                        "allow_external=True (--open allow_external=true)."
                        if not source.is_stream
                        else "Nothing else can be read while a file is streamed: download it "
                        "with the files that belong to it.",
                        f"{via}{place}",
                    )
                if target is not None and target not in seen:
                    seen.add(target)
                    if target.is_file() and h5py.is_hdf5(target):
                        waiting.append((h5py.File(target, "r"), f"{target.name}: "))
        finally:
            if current is not file:
                current.close()


def references(file: h5py.File) -> list[tuple[str, str, str]]:
    """(place, "links to", name of another file) of all that lies elsewhere; links are not followed.

    Hard links that run in circles are met once.
    """
    found = []

    def link(name, item):
        if isinstance(item, h5py.ExternalLink):
            found.append((f"/{name}", "links to", str(item.filename)))

    def stored(name, item):
        if not isinstance(item, h5py.Dataset):
            return
        for other, *_ in item.external or ():
            found.append((f"/{name}", "has its data in", str(other)))
        if item.is_virtual:
            others = {part.file_name for part in item.virtual_sources()} - {"."}
            found.extend((f"/{name}", "is composed of", str(other)) for other in sorted(others))

    file.visititems_links(link)
    file.visititems(stored)
    return found


def _checked_references(file: h5py.File, source: Source) -> list[tuple[str, str, str]]:
    try:
        return references(file)
    # SystemError: names that are no text, met while HDF5 calls back
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, SystemError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
        raise source.error(
            f"is a damaged HDF5 file ({said})",
            "Copy or download it again, and compare its size with the original's.",
        ) from error


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, with all symbolic links resolved, lies in a folder."""
    return path.resolve().is_relative_to(folder.resolve())


def check_declared(data, where: str) -> None:
    """Refuse a dataset that declares far more than the file stores, before memory is given to it.

    Raises
    ------
    InputError
    """
    if not isinstance(data, h5py.Dataset):
        return
    declared = data.size * data.dtype.itemsize if data.shape is not None else 0
    if declared <= SURE_BYTES or data.is_virtual or data.external:
        return
    stored = min(data.id.get_storage_size(), data.file.id.get_filesize())
    if declared > MOST_COMPRESSED * stored:
        raise InputError(
            f"declares {declared / 2**30:.3g} GiB (shape {data.shape}), but the file stores "
            f"{stored:,} bytes of it",
            where=where,
            remedy="The file is damaged or was never filled: export or download it again.",
        )


def _target(kind: str, name: str, source: Source) -> Path | None | bool:
    """The file that HDF5 would open; None if there is none, False if it is out of bounds.

    HDF5 looks for linked files beside the file and then in the working folder; for raw data only
    in the working folder.
    """
    if source.path is None or "://" in name:
        return False
    folders = [source.path.parent, source.path.resolve().parent]
    try:
        given = Path(name)
        tried = [Path.cwd() / given]  # an absolute name stays itself
        if kind != "has its data in":
            beside = [folder / given.name for folder in folders] if given.is_absolute() else []
            beside += [] if given.is_absolute() else [folder / given for folder in folders]
            tried = [given, *beside, *tried] if given.is_absolute() else [*beside, *tried]
        target = next((path.resolve() for path in tried if path.exists()), None)
    except (OSError, ValueError, RuntimeError):  # names that no file can have, link loops
        return False
    if target is None:
        return None
    return target if any(is_inside(target, folder) for folder in folders) else False
