"""Responses to pictures in a numpy array, and the pictures in a zip archive or folder beside it."""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.labelled_images import refuse_options
from neuromodels.datasets.image_arrays import image_recording_from_arrays
from neuromodels.datasets.image_recording import ImageRecording
from neuromodels.datasets.picture_files import ENDINGS, open_pictures
from neuromodels.datasets.sources import Source

TITLE = "responses to pictures (.npy)"
OPTIONS = ("session", "images", "axes", "kind", "units", "region", "animal")
NUMPY = b"\x93NUMPY"
IMAGES = "images"
#: Folders of responses, the best first: what was averaged has no ceiling.
RESPONSES = ("responses_raw", "responses", "responses_repeat_averaged")
AVERAGED = "averaged"
AXES = ("neuron", "stimulus", "repetition", "time_bin")
#: How the axes of arrays are meant where the number of pictures leaves a choice.
USUAL = {2: ("neuron", "stimulus"), 3: ("neuron", "stimulus", "repetition")}


@dataclass
class _Session:
    """The files of one session."""

    name: str
    responses: dict[str, Path] = field(default_factory=dict)
    images: Path | None = None

    @property
    def best(self) -> Path:
        return next(self.responses[name] for name in RESPONSES if name in self.responses)


def recognizes(source: Source) -> bool:
    """Whether it is a folder of such sessions, or an array of at least two axes."""
    if source.is_folder:
        return bool(_sessions(source.path))
    return source.path is not None and (_header(source.head) or 0) >= 2


def read(
    source: Source,
    *,
    bin_width=None,
    stimulus=None,
    test=None,
    session=None,
    images=None,
    axes=None,
    kind: str | None = None,
    units: str | None = None,
    region=None,
    animal=None,
) -> ImageRecording:
    """Read the responses of a session and label them with the pictures that evoked them.

    Parameters
    ----------
    source : folder or .npy file
        A folder holds `images/` and `responses_raw/` or `responses_repeat_averaged/`, with one
        zip archive (or folder) and one array per session: `images_SESSION.zip`,
        `responses_SESSION.npy`.
    session : str, optional
        Which one, if there are several.
    images : path of a zip archive or a folder, optional
        The pictures, sorted by their numbered names (default: those of the session).
    axes : str or list of str, optional
        Axes of the array, such as "neuron, stimulus, repetition" (default: told from the number
        of pictures). Missing repeats are NaN.
    kind : {"count", "rate", "trace"}, optional
        Default: counts where every value is a whole number, else rates.
    units, region, animal : str, optional

    Raises
    ------
    InputError
        If the session is unknown, or no axis is as long as there are pictures.
    """
    refuse_options(source, bin_width=bin_width, stimulus=stimulus, test=test)
    found = _choose(source, session)
    path = found.best
    pictures_path = images if images is not None else found.images
    if pictures_path is None:
        raise InputError(
            "does not say what was shown",
            where=source.name,
            remedy="Responses to pictures need images=, a zip archive or a folder; for a movie and "
            "counts, say with mapping= which array is which.",
        )
    if not isinstance(pictures_path, (str, Path)):
        raise InputError(
            f"is a {type(pictures_path).__name__}",
            where=f"{source.name}: images",
            remedy="Give a zip archive or a folder; arrays go through "
            "neuromodels.image_recording_from_arrays.",
        )
    pictures, names, shown = open_pictures(pictures_path)
    values = _load(path)
    order = _axes(axes, values.shape, len(names), path)
    values = values.transpose(
        [order.index(axis) for axis in ("repetition", "stimulus", "neuron") if axis in order]
    )
    if "repetition" not in order:
        values = values[None]
    averaged = AVERAGED in path.parent.name or AVERAGED in path.stem
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    whole = known.size > 0 and not (known % 1).any() and known.min() >= 0
    if kind is None:
        negative = known.size > 0 and known.min() < 0
        kind = "count" if whole and not averaged else ("trace" if negative else "rate")
    notes = []
    if averaged or (kind == "rate" and len(values) == 1 and not whole):
        notes.append(
            "responses are averages over repeats"
            + ("" if averaged else ", as it seems (one value per picture, no whole numbers)")
            + ": there is no noise ceiling"
        )
        units = units or "spikes per presentation, mean over repeats"
    digest = hashlib.sha256(shown.encode())
    with path.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return image_recording_from_arrays(
        values,
        images=pictures,
        image_ids=names,
        region=region,
        animal=animal,
        kind=kind,
        units=units,
        attrs={
            "format": "array and pictures",
            "session": found.name,
            "responses": str(path.name if source.path == path else path.relative_to(source.path)),
            "averaged_over_repeats": bool(notes),
            "notes": notes,
        },
        identity=digest.hexdigest(),
        source=source.name,
    )


def _sessions(folder: Path) -> dict[str, _Session]:
    """Sessions of a folder that have responses and pictures, by name."""
    try:
        names = {item.name for item in folder.iterdir()}
    except OSError:
        return {}
    if IMAGES not in names:
        return {}
    found: dict[str, _Session] = {}
    places = [(name, folder / name) for name in RESPONSES if (folder / name).is_dir()]
    places.append(("responses", folder))
    for place, where in places:
        for file in sorted(where.glob("responses*.npy")):
            if file.is_file():
                name = file.stem.removeprefix("responses").lstrip("_-") or folder.name
                session = found.setdefault(name, _Session(name))
                session.responses.setdefault(place, file)
    only = len(found) == 1
    for name, session in found.items():
        session.images = _images_of(folder / IMAGES, name, only)
    return {name: session for name, session in found.items() if session.images is not None}


def _images_of(folder: Path, session: str, only: bool) -> Path | None:
    for candidate in (f"images_{session}.zip", f"{session}.zip", f"images_{session}", session):
        if (folder / candidate).exists():
            return folder / candidate
    if not only:
        return None
    archives = sorted(folder.glob("*.zip"))
    if len(archives) == 1:
        return archives[0]
    pictures = any(item.suffix.lower() in ENDINGS for item in folder.iterdir())
    return folder if pictures else None


def _choose(source: Source, session) -> _Session:
    if not source.is_folder:
        path = source.path
        if session is not None:
            raise InputError(
                "does not apply: the file holds one session",
                where=f"{source.name}: session",
                remedy="Leave session= out, or open the folder.",
            )
        # The pictures lie beside, where the folder is one of those above.
        for folder in (path.parent, path.parent.parent):
            for found in _sessions(folder).values():
                if path in found.responses.values():
                    return _Session(found.name, {RESPONSES[0]: path}, found.images)
        return _Session(path.stem, {RESPONSES[0]: path})
    sessions = _sessions(source.path)
    if session is None and len(sessions) == 1:
        return next(iter(sessions.values()))
    listed = ", ".join(sorted(sessions))
    if session is None:
        raise InputError(
            f"holds {len(sessions)} sessions and none was named",
            where=f"{source.name}: session",
            remedy=f"Choose one with session=: {listed}.",
        )
    if str(session) not in sessions:
        raise InputError(
            f"no session {str(session)!r}",
            where=f"{source.name}: session",
            remedy=f"Choose one of: {listed}.",
        )
    return sessions[str(session)]


def _header(head: bytes) -> int | None:
    """Number of axes that the header of a numpy array declares; None if it is none."""
    if not head.startswith(NUMPY):
        return None
    said = re.search(rb"'shape':\s*(\([\d, L]*\))", head)
    try:
        return len(ast.literal_eval(said.group(1).decode())) if said else None
    except (SyntaxError, ValueError):
        return None


def _load(path: Path) -> np.ndarray:
    """The array; nothing pickled, and no more than the file holds (memory-mapped)."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(
            f"is no numpy array that can be read ({str(error).splitlines()[0][:200]})",
            where=str(path),
            remedy="Save it with numpy.save, as numbers.",
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iufb" or not values.size:
        what = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else "an archive"
        raise InputError(
            f"is no array of numbers with something in it, but {what}",
            where=str(path),
            remedy="Save the responses as (neuron, stimulus, repetition) or (neuron, stimulus).",
        )
    return values


def _axes(given, shape: tuple[int, ...], n_images: int, path: Path) -> tuple[str, ...]:
    """Names of the axes: as given, or the only order in which the pictures fit."""
    where = f"{path}: axes"
    if given is not None:
        named = given.replace(",", " ").split() if isinstance(given, str) else list(given)
        wrong = [name for name in named if name not in AXES[:3]]
        needed = {"neuron", "stimulus"} <= set(named) and len(set(named)) == len(named)
        if wrong or not needed or len(named) != len(shape):
            raise InputError(
                f"are {', '.join(map(str, named))} for an array of shape {shape}",
                where=where,
                remedy="Name each once: neuron, stimulus and, with repeats, repetition.",
            )
        size = shape[named.index("stimulus")]
        if size != n_images:
            raise InputError(
                f"has {size} stimuli, and there are {n_images} pictures",
                where=where,
                remedy="Give the pictures that were shown, one per stimulus, or other axes.",
            )
        return tuple(named)
    usual = USUAL.get(len(shape))
    if usual is None:
        raise InputError(
            f"has shape {shape}",
            where=str(path),
            remedy="It must be (neuron, stimulus) or (neuron, stimulus, repetition).",
        )
    fit = [axis for axis, size in enumerate(shape) if size == n_images]
    if not fit:
        raise InputError(
            f"has shape {shape}, and there are {n_images} pictures: no axis fits",
            where=str(path),
            remedy="Give the pictures of this session, one per stimulus.",
        )
    # Repeats and neurons look alike in an array: only the usual order is taken without a word.
    orders = {order for order in permutations(usual) if order.index("stimulus") in fit}
    if fit == [usual.index("stimulus")]:
        return usual
    if len(orders) == 1:
        return next(iter(orders))
    raise InputError(
        f"have no usual order: shape {shape} with {n_images} pictures",
        where=where,
        remedy='Name them, for example axes="repetition, stimulus, neuron".',
    )
