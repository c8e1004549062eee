"""Make a recording of pictures from arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from neuromodels.datasets.building import hash_roles
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import lazy_variable
from neuromodels.datasets.image_recording import (
    BLANK,
    DEFAULT_ROLE,
    DEFAULT_STIMULUS,
    SCHEMA,
    ImageRecording,
    number_repetitions,
)
from neuromodels.datasets.storage import SCHEMA_VERSION

UNITS = {"count": "spikes per presentation", "rate": "not stated", "trace": "not stated"}
TAKEN = {"presentation", "neuron", "stimulus", "time_bin", "time_bin_start", "time_bin_end"}
TAKEN |= {"channel", "y", "x", "images", "response", "stimulus_id", "repetition"}
NOT_STATED = "not stated"
FILL = np.iinfo(np.uint16).max


def image_recording_from_arrays(
    responses,
    *,
    images=None,
    stimulus_id=None,
    repetition=None,
    neurons: Sequence[str] | None = None,
    time_bins=None,
    region=None,
    animal=None,
    kind: str = "count",
    units: str | None = None,
    stimulus_name: str = DEFAULT_STIMULUS,
    role: str = DEFAULT_ROLE,
    image_ids: Sequence[str] | None = None,
    presentation_metadata: Mapping[str, object] | None = None,
    unit_metadata: Mapping[str, object] | None = None,
    attrs: Mapping | None = None,
    identity: str | None = None,
    source: str = "arrays",
) -> ImageRecording:
    """Make a recording of pictures from the responses to them.

    Parameters
    ----------
    responses : array
        (presentation, neuron); (repetition, stimulus, neuron), NaN where there was no such
        repeat; with `time_bins` (presentation, neuron, time_bin) or
        (repetition, stimulus, neuron, time_bin).
    images : (stimulus, y, x) or (stimulus, channel, y, x), or {id: picture}, optional
        The pictures. A labelled `xarray.Variable` is read when needed.
    stimulus_id : (presentation,) or (stimulus,), optional
        Which picture was shown; integers count the pictures from 0, -1 is a blank. Default: the
        position.
    repetition : (presentation,) int, optional
        Number of the repeat, 0, 1, ... Default: in the order of presentations.
    neurons : list of str, optional
    time_bins : (time_bin + 1,) edges or (time_bin, 2) array, s, optional
        When each bin starts and ends, from the onset of the picture.
    region, animal : str or (neuron,), optional
    kind : {"count", "rate", "trace"}
        "rate" for averages over repeats.
    units : str, optional
        Default for counts: "spikes per presentation".
    stimulus_name, role : str
        Where in the tree the responses go.
    image_ids : list of str, optional
        Names of `images` in their order.
    presentation_metadata, unit_metadata : {name: array}, optional
        What else is known, one value per presentation and per neuron.
    attrs : dict, optional
        Species, area, notes, ...

    Returns
    -------
    ImageRecording
        Nothing is judged here but shapes; `validate` says what is wrong with the values.

    Raises
    ------
    InputError
        If lengths or shapes disagree.
    """
    values = _numbers(responses, f"{source}: responses")
    timed = time_bins is not None
    layouts = {2: ("presentation", "neuron"), 3: ("repetition", "stimulus", "neuron")}
    if timed:
        layouts = {
            3: ("presentation", "neuron", "time_bin"),
            4: ("repetition", "stimulus", "neuron", "time_bin"),
        }
    if values.ndim not in layouts:
        raise InputError(
            f"has shape {values.shape}",
            where=f"{source}: responses",
            remedy=f"It must be ({') or ('.join(', '.join(axes) for axes in layouts.values())})"
            f"{'' if timed else '; give time_bins= where there are bins'}.",
        )
    crossed = layouts[values.ndim][0] == "repetition"
    pictures, names = _pictures(images, image_ids, source)
    n_ids = values.shape[1] if crossed else values.shape[0]
    ids = _ids(stimulus_id, n_ids, names, source)
    if crossed:
        if repetition is not None:
            raise InputError(
                "is given, but the first axis of responses counts the repeats",
                where=f"{source}: repetition",
                remedy="Leave it out, or give responses as (presentation, neuron).",
            )
        values, ids, repeats = _uncross(values, ids)
    elif repetition is None:
        repeats = number_repetitions(ids.tolist())
    else:
        repeats = of_length(repetition, len(ids), f"{source}: repetition", "presentation")
    if pictures is not None and names is None:
        names = _names_of(pictures, ids, stimulus_id, crossed, source)

    n_neurons = values.shape[1]
    about = {"kind": kind, "units": units or UNITS.get(kind, NOT_STATED)}
    response, encoding = _stored(values, kind)
    variable = xr.Variable(
        ("presentation", "neuron", "time_bin")[: values.ndim], response, about, encoding
    )
    labels = [str(i) for i in range(n_neurons)] if neurons is None else [str(n) for n in neurons]
    of_length(labels, n_neurons, f"{source}: neurons", "neuron")
    coords = {
        "presentation": np.arange(len(ids)),
        "stimulus_id": ("presentation", ids, {"description": "which picture was shown"}),
        "repetition": ("presentation", repeats, {"description": "number of the repeat, from 0"}),
    }
    for name, given in (presentation_metadata or {}).items():
        extra = of_length(given, len(ids), f"{source}: {name}", "presentation")
        coords[_free(name)] = ("presentation", extra)
    for name, given in (("region", region), ("animal", animal)):
        given = NOT_STATED if given is None else given
        given = [given] * n_neurons if isinstance(given, str) else given
        extra = of_length(given, n_neurons, f"{source}: {name}", "neuron").astype(str)
        coords[name] = ("neuron", extra)
    if timed:
        starts, ends = edges_of_bins(time_bins, values.shape[2], source)
        unit = {"units": "s", "description": "from the onset of the picture"}
        coords["time_bin"] = np.arange(starts.size)
        coords["time_bin_start"] = ("time_bin", starts, unit)
        coords["time_bin_end"] = ("time_bin", ends, unit)
    node = xr.Dataset({"response": variable}, coords)
    if pictures is not None:
        node["images"] = pictures
        node = node.assign_coords(
            stimulus=np.asarray(names, dtype=str),
            **{dim: np.arange(node.sizes[dim]) for dim in ("channel", "y", "x")},
        )
    # Rows of the root: what is known of the neurons. Every node repeats their names.
    label = ("neuron", np.asarray(labels, dtype=str), {"description": "identifier"})
    root = {"neuron": label}
    for name, given in (unit_metadata or {}).items():
        if not isinstance(given, tuple):  # else a variable with axes of its own
            given = ("neuron", of_length(given, n_neurons, f"{source}: {name}", "neuron"))
        root[_free(name)] = given
    stated = {"species": NOT_STATED, "area": NOT_STATED, "licence": NOT_STATED, "source": source}
    stated |= dict(attrs or {})
    node = node.assign_coords(neuron=label)
    if identity is None:
        identity = hash_roles({stimulus_name: {role: node}}, labels)
    stated |= {"identity": identity, "neuromodels_schema": SCHEMA}
    stated["schema_version"] = SCHEMA_VERSION
    tree = {"/": xr.Dataset(coords=root, attrs=stated)}
    tree |= {f"/{stimulus_name}": xr.Dataset(), f"/{stimulus_name}/{role}": node}
    return ImageRecording(xr.DataTree.from_dict(tree), source)


def edges_of_bins(given, n: int | None, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of time bins, s, from edges or pairs; `n` bins if that is known."""
    where = f"{source}: time_bins"
    edges = _numbers(given, where).astype(np.float64)
    if edges.ndim == 1 and edges.size > 1:
        edges = np.stack([edges[:-1], edges[1:]], axis=1)
    if edges.ndim != 2 or edges.shape[1] != 2 or (n is not None and len(edges) != n):
        expected = "" if n is None else f" for {n} bins"
        raise InputError(
            f"has shape {np.shape(given)}{expected}",
            where=where,
            remedy="Give all edges, (time_bin + 1,), or (time_bin, 2) starts and ends, s.",
        )
    return edges[:, 0].copy(), edges[:, 1].copy()


def _free(name: str) -> str:
    """The name, with an underscore where it would hide what the contract means by it."""
    return f"{name}_" if name in TAKEN else name


def _uncross(values: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Presentations, picture by picture, out of (repetition, stimulus, ...), without padding."""
    n_repeats, n_stimuli = values.shape[:2]
    flat = values.swapaxes(0, 1).reshape(n_repeats * n_stimuli, *values.shape[2:])
    repeats = np.tile(np.arange(n_repeats, dtype=np.int32), n_stimuli)
    names = np.repeat(ids, n_repeats)
    if flat.dtype.kind == "f":
        there = ~np.isnan(flat).reshape(len(flat), -1).all(axis=1)
        if there.any():
            flat, names, repeats = flat[there], names[there], repeats[there]
    return flat, names, repeats


def _stored(values: np.ndarray, kind: str) -> tuple[np.ndarray, dict]:
    """Counts in small integers; where some are missing, as floats that are stored as integers."""
    if kind != "count" or values.size == 0 or values.dtype.kind != "f":
        return values, {}
    missing = np.isnan(values)
    known = np.where(missing, 0, values)
    if np.isinf(known).any() or (known % 1 != 0).any() or known.min() < 0 or known.max() >= FILL:
        return values, {}
    if missing.any():
        return values.astype(np.float32), {"dtype": "uint16", "_FillValue": FILL}
    return known.astype(np.uint8 if known.max() < 256 else np.uint16), {}


class _OneChannel:
    """Grey pictures (stimulus, y, x) on disk, seen as (stimulus, channel, y, x)."""

    def __init__(self, pictures: xr.Variable):
        self.pictures = pictures
        self.shape = (pictures.shape[0], 1, *pictures.shape[1:])
        self.dtype = pictures.dtype

    def __getitem__(self, key) -> np.ndarray:
        stimulus, channel, y, x = (*key, *[slice(None)] * (4 - len(key)))
        read = np.asarray(self.pictures[stimulus].values)
        at = 0 if np.ndim(stimulus) == 0 and not isinstance(stimulus, slice) else 1
        read = np.expand_dims(read, at)
        for axis, part in ((at + 2, x), (at + 1, y), (at, channel)):
            read = read[(slice(None),) * axis + (part,)]
        return read


def _pictures(images, image_ids, source: str):
    """Pictures as a variable (stimulus, channel, y, x), and their names if they are known."""
    where = f"{source}: images"
    if images is None:
        return None, None
    names = None if image_ids is None else [str(name) for name in image_ids]
    if isinstance(images, Mapping):
        names = [str(name) for name in images]
        arrays = [np.asarray(picture) for picture in images.values()]
        shapes = {picture.shape for picture in arrays}
        if len(shapes) != 1:
            raise InputError(
                f"have {len(shapes)} different shapes",
                where=where,
                remedy="Give all pictures in one size.",
            )
        images = np.stack(arrays)
    lazy = isinstance(images, xr.Variable)
    values = images if lazy else _numbers(images, where)
    dims = ("stimulus", "channel", "y", "x")
    if values.ndim == 3:
        values = lazy_variable(dims, _OneChannel(values)) if lazy else values[:, None]
    if values.ndim != 4:
        raise InputError(
            f"have shape {values.shape}",
            where=where,
            remedy="They must be (stimulus, y, x) or (stimulus, channel, y, x).",
        )
    if values.shape[3] in (3, 4) and values.shape[1] > 4:
        raise InputError(
            f"have shape {values.shape}: the colours seem to be the last axis",
            where=where,
            remedy="They must be (stimulus, channel, y, x): np.moveaxis(images, -1, 1).",
        )
    if names is not None:
        of_length(names, values.shape[0], f"{source}: image_ids", "picture")
    about = {"units": "pixel value"}
    if lazy:  # the data stay where they are
        about |= {key: value for key, value in values.attrs.items() if key == "units"}
        return xr.Variable(dims, values._data, about), names
    return xr.Variable(dims, values, about), names


def _ids(stimulus_id, n: int, names: list[str] | None, source: str) -> np.ndarray:
    """Names of the pictures shown; numbers point into `names`."""
    where = f"{source}: stimulus_id"
    if stimulus_id is None:
        if names is not None and len(names) != n:
            raise InputError(
                f"is not given, and there are {len(names)} pictures for {n} responses",
                where=where,
                remedy="Say which picture was shown at each presentation.",
            )
        return np.asarray(names if names is not None else [str(i) for i in range(n)], dtype=str)
    given = of_length(stimulus_id, n, where, "response")
    if given.dtype.kind == "f" and np.isfinite(given).all() and not (given % 1).any():
        given = given.astype(np.int64)
    if given.dtype.kind not in "iu":
        if given.dtype.kind == "f":
            raise InputError(
                "holds numbers that are no integers", where=where, remedy="Give names or indices."
            )
        return given.astype(str)
    if names is None or not ((given >= -1) & (given < len(names))).all():
        known = given.astype(str)
    else:
        known = np.asarray([*names, BLANK], dtype=str)[given]
    return np.where(given == -1, BLANK, known).astype(str)


def _names_of(pictures, ids, stimulus_id, crossed: bool, source: str) -> list[str]:
    """Names of pictures that came without: their positions, or the order of `stimulus_id`."""
    n = pictures.shape[0]
    given = None if stimulus_id is None else np.asarray(stimulus_id)
    if given is None or given.dtype.kind in "iuf":
        return [str(i) for i in range(n)]
    if crossed and given.size == n:
        return given.astype(str).tolist()
    first = list(dict.fromkeys(ids.tolist()))
    if not crossed and len(first) == len(ids) == n:
        return first
    raise InputError(
        f"are {n} without names, and stimulus_id has {len(first)} names",
        where=f"{source}: images",
        remedy="Give image_ids, the names of the images in their order.",
    )


def _numbers(given, where: str) -> np.ndarray:
    try:
        values = np.asarray(given)
    except ValueError as error:
        raise InputError(
            f"is no regular array ({error})", where=where, remedy="Pad what is missing with NaN."
        ) from error
    if values.dtype.kind not in "biuf":
        raise InputError(
            f"has type {values.dtype}", where=where, remedy="It must be an array of numbers."
        )
    return values.astype(np.float32) if values.dtype == np.float16 else values


def of_length(given, n: int, where: str, what: str) -> np.ndarray:
    """The array given, if it has `n` entries; else an error that says so."""
    values = np.asarray(given)
    if values.dtype.kind == "O":
        values = np.asarray([str(item) for item in values])
    if values.ndim < 1 or len(values) != n:
        raise InputError(
            f"has {len(values) if values.ndim else 1} entries for {n} {what}s",
            where=where,
            remedy=f"Give one entry per {what}.",
        )
    return values
