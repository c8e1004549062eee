"""Assemblies of Brain-Score (BrainIO) in netCDF: presentation x neuroid x time_bin."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from neuromodels.datasets.attributes import decode_attribute, encode_attribute
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.labelled_images import refuse_options
from neuromodels.datasets.image_arrays import image_recording_from_arrays
from neuromodels.datasets.image_recording import (
    DEFAULT_STIMULUS,
    ImageRecording,
    number_repetitions,
)
from neuromodels.datasets.picture_files import open_pictures
from neuromodels.datasets.sources import Source
from neuromodels.datasets.storage import write_whole
from neuromodels.datasets.stored_values import CHECKSUM

TITLE = "a Brain-Score assembly"
OPTIONS = ("images", "time_units")
AXES = ("presentation", "neuroid", "time_bin")
STIMULUS_IDS = ("stimulus_id", "image_id", "image_file_name", "stimulus", "object_name")
REPETITIONS = ("repetition", "repetition_id", "trial", "repeat")
NEUROIDS = ("neuroid_id", "neuron_id", "neuroid")
SECONDS = {"s": 1.0, "ms": 1e-3}
MS = 1000
VARIABLE = "response"
OURS = ("neuromodels_schema", "schema_version")
CDF3 = b"CDF"


def recognizes(source: Source) -> bool:
    """Whether it is netCDF with the axes presentation and neuroid."""
    if source.head.startswith(CDF3):  # netCDF 3 lists its axes first
        return b"presentation" in source.head and b"neuroid" in source.head
    if source.root is None:
        return False
    members = set(source.root.members)
    return "presentation" in members and bool(members & {"neuroid", "neuroid_id"})


def read(
    source: Source, *, bin_width=None, stimulus=None, test=None, images=None, time_units=None
) -> ImageRecording:
    """Read an assembly: responses, what was shown, and what is known of the neurons.

    Parameters
    ----------
    images : path of a zip archive or a folder, optional
        The stimulus set; file names without ending are the stimulus ids.
    time_units : {"ms", "s"}, optional
        Of `time_bin_start` and `time_bin_end` (default: as the file says, else ms, as BrainIO).

    Raises
    ------
    InputError
        If an axis or a label is missing.
    """
    refuse_options(source, bin_width=bin_width, stimulus=stimulus, test=test)
    dataset = _open(source)
    try:
        return _recording(dataset, source, images, time_units)
    except LookupError as error:  # an encoding of text that does not exist, for example
        raise source.error(
            f"is damaged ({str(error)[:200]})", "Copy or download it again."
        ) from error
    finally:
        dataset.close()


def write(
    recording: ImageRecording,
    path: str | Path,
    *,
    role: str | None = None,
    stimulus: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one role as an assembly: netCDF4, times in ms, MultiIndex levels as coordinates.

    Images stay behind, as in BrainIO, where they are a stimulus set of their own.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is false, or there are several roles and none is named.
    """
    node = recording.role(role, stimulus)
    axes = [
        axis for axis in ("presentation", "neuron", "time_bin") if axis in node["response"].dims
    ]
    response = node["response"].transpose(*axes)
    coords = {"neuroid_id": ("neuroid", recording.neurons)}
    known = {**recording.tree.to_dataset().coords, **node.coords}
    for name, coord in known.items():
        if name in coords or name in (*axes, "stimulus", "channel", "y", "x"):
            continue
        if coord.dims == ("neuron",):
            coords[str(name)] = ("neuroid", coord.values)
        elif coord.dims in (("presentation",), ("time_bin",)):
            coords[str(name)] = (coord.dims[0], coord.values)
    for name in ("time_bin_start", "time_bin_end"):
        if name in coords:
            ms = np.round(np.asarray(coords[name][1], dtype=float) * MS, 6)
            ms = ms.astype(np.int64) if not (ms % 1).any() else ms
            coords[name] = ("time_bin", ms, {"units": "ms"})
    about = {key: value for key, value in response.attrs.items() if key != CHECKSUM}
    stated = {key: value for key, value in recording.attrs.items() if key not in OURS}
    stated = {key: encode_attribute(value) for key, value in stated.items()}
    # BrainIO makes an index of all labels of an axis: an axis must not have one already.
    values = response.values
    assembly = xr.Dataset({VARIABLE: (AXES[: len(axes)], values, about)}, coords, stated)
    return write_whole(path, partial(assembly.to_netcdf, engine="h5netcdf"), overwrite)


def _open(source: Source) -> xr.Dataset:
    engine = "scipy" if source.head.startswith(CDF3) else "h5netcdf"
    given = source.path or source.file
    # Times stay numbers: nothing here is a date.
    return xr.open_dataset(given, engine=engine, decode_times=False)


def _recording(dataset: xr.Dataset, source: Source, images, time_units) -> ImageRecording:
    array = _array(dataset, source)
    notes = []
    if "time_bin" not in array.dims:
        array = array.transpose("presentation", "neuroid")
    else:
        array = array.transpose(*AXES)
    labels = {**dataset.variables}
    ids = _labels(labels, STIMULUS_IDS, "presentation")
    if ids is None:
        raise InputError(
            "does not say which picture was shown",
            where=f"{source.name}: presentation",
            remedy=f"Give the coordinate {STIMULUS_IDS[0]} or {STIMULUS_IDS[1]}.",
        )
    ids_name, ids = ids[0], ids[1].astype(str)
    repeats_name, repeats = _labels(labels, REPETITIONS, "presentation") or (None, None)
    if repeats is None or repeats.dtype.kind not in "iuf" or (repeats % 1).any():
        repeats, repeats_name = number_repetitions(ids.tolist()), None
    else:
        repeats = repeats.astype(np.int64)
        if len(set(zip(ids.tolist(), repeats.tolist(), strict=True))) < len(ids):
            notes.append(
                f"{repeats_name} numbers several presentations of a picture alike: its repeats are "
                f"numbered anew in the order of presentations"
            )
            repeats, repeats_name = number_repetitions(ids.tolist()), None
    names = _labels(labels, NEUROIDS, "neuroid")
    used = {ids_name, repeats_name, *(names[:1] if names else ()), *AXES}
    time_bins = None
    if "time_bin" in array.dims:
        time_bins = _time_bins(labels, time_units, source, notes)
        used |= {"time_bin_start", "time_bin_end"}
    extra = {"presentation": {}, "neuroid": {}}
    for name, variable in labels.items():
        if len(variable.dims) == 1 and variable.dims[0] in extra and name not in used:
            extra[variable.dims[0]][str(name).replace(" ", "_")] = _plain(variable.values)
    pictures = image_ids = None
    if images is not None:
        pictures, image_ids, _ = open_pictures(images)
    values = array.values
    kind, units = _kind(values, array.attrs)
    stated = {**dataset.attrs, **array.attrs}
    attrs = {str(k): decode_attribute(v) for k, v in stated.items() if k not in UNSTATED}
    found = [*_notes(attrs.pop("notes", [])), *notes]
    neuroids = extra["neuroid"]
    return image_recording_from_arrays(
        values,
        images=pictures,
        image_ids=image_ids,
        stimulus_id=ids,
        repetition=repeats,
        neurons=None if names is None else [str(name) for name in names[1]],
        time_bins=time_bins,
        region=neuroids.pop("region", None),
        animal=neuroids.pop("animal", None),
        kind=kind,
        units=units,
        stimulus_name=_stimulus_name(attrs),
        presentation_metadata=extra["presentation"],
        unit_metadata=neuroids,
        attrs={**attrs, "format": "Brain-Score assembly", "notes": found},
        identity=source.identity,
        source=source.name,
    )


UNSTATED = {"identity", "neuromodels_schema", "schema_version", "source", "kind", "units", "sha256"}
UNSTATED |= {"format", "_NCProperties", "coordinates"}


def _array(dataset: xr.Dataset, source: Source) -> xr.DataArray:
    """The one variable over presentations and neuroids."""
    found = [
        variable
        for variable in dataset.data_vars.values()
        if {"presentation", "neuroid"} <= set(variable.dims) <= set(AXES)
        and variable.dtype.kind in "iufb"
    ]
    if len(found) != 1:
        listed = ", ".join(str(variable.name) for variable in found) or "none"
        raise InputError(
            f"needs one variable over {', '.join(AXES)}, and has {len(found)} ({listed})",
            where=source.name,
            remedy="Write one assembly per file.",
        )
    return found[0]


def _labels(variables: dict, names: tuple[str, ...], axis: str):
    """The first of these names that labels the axis, and its values."""
    for name in names:
        if name in variables and variables[name].dims == (axis,):
            return name, _plain(variables[name].values)
    return None


def _plain(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "OS":
        return np.asarray(
            [
                item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
                for item in values.tolist()
            ]
        )
    return values


def _time_bins(labels: dict, time_units, source: Source, notes: list[str]) -> np.ndarray:
    edges, unit = [], time_units
    for name in ("time_bin_start", "time_bin_end"):
        if name not in labels or labels[name].dims != ("time_bin",):
            raise InputError(
                "is missing",
                where=f"{source.name}: {name}",
                remedy="Label the time bins with their start and end, ms from the onset.",
            )
        unit = unit or labels[name].attrs.get("units")
        edges.append(np.asarray(labels[name].values, dtype=float))
    if unit is None:
        unit = "ms"
        notes.append(
            "time bins are taken as ms, as BrainIO has them (time_units='s' reads seconds)"
        )
    if unit not in SECONDS:
        raise InputError(
            f"is {unit!r}", where=f"{source.name}: time_units", remedy="It is 'ms' or 's'."
        )
    # Division, not multiplication by 1e-3: 70 ms are then 0.07 s to the last bit.
    return np.stack(edges, axis=1) / round(1 / SECONDS[unit])


def _kind(values: np.ndarray, attrs: dict) -> tuple[str, str]:
    """Kind as stated; else counts where all are whole, rates where none is negative."""
    kind, units = attrs.get("kind"), attrs.get("units")
    if kind not in ("count", "rate", "trace"):
        known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if known.size and known.min() < 0:
            kind = "trace"
        else:
            kind = "rate" if values.dtype.kind == "f" and (known % 1 != 0).any() else "count"
    return kind, str(units or ("spikes per bin" if kind == "count" else "not stated"))


def _notes(given) -> list[str]:
    return [str(item) for item in given] if isinstance(given, (list, tuple)) else [str(given)]


def _stimulus_name(attrs: dict) -> str:
    name = str(attrs.get("stimulus_set_identifier") or DEFAULT_STIMULUS)
    return name.replace("/", "_").strip() or DEFAULT_STIMULUS
