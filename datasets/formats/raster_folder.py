"""Folders of raster files of the Neural Decoding Toolbox: one MATLAB file per neuron."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from neuromodels.datasets.binning import exact_bin_width
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.labelled_images import refuse_options
from neuromodels.datasets.formats.mapped_mat5 import check_mat5
from neuromodels.datasets.image_arrays import TAKEN, image_recording_from_arrays
from neuromodels.datasets.image_recording import ImageRecording, number_repetitions
from neuromodels.datasets.picture_files import open_pictures
from neuromodels.datasets.sources import Source

TITLE = "a folder of raster files (Neural Decoding Toolbox)"
OPTIONS = ("label", "time_bin", "onset", "sample_rate", "images", "region", "animal")
RASTER = ("raster_data", "raster_labels", "raster_site_info")
TIME_BIN = 0.050  # s
SAMPLE_RATE = 1000  # Hz: the toolbox's rasters have 1 ms per column
MAX_VALUES = 2**27  # of one raster
MAX_BINS = 100_000


@dataclass(frozen=True, eq=False)
class _Raster:
    """One neuron: data (trial, sample), labels (trial,), column of the onset, what is known."""

    name: str
    data: np.ndarray
    labels: dict[str, np.ndarray]
    onset: int | None
    site: dict


def recognizes(source: Source) -> bool:
    """Whether it is a folder (or a folder in it) of MATLAB files that hold raster_data."""
    if not source.is_folder:
        return False
    files = _files(source.path)
    return bool(files) and "raster_data" in _variables(files[0])


def read(
    source: Source,
    *,
    bin_width=None,
    stimulus=None,
    test=None,
    label: str | None = None,
    time_bin=None,
    onset=None,
    sample_rate: float = SAMPLE_RATE,
    images=None,
    region=None,
    animal=None,
) -> ImageRecording:
    """Read all neurons, their trials sorted by what was shown, in bins from the onset.

    Trials of different neurons are matched by condition and repeat only: the neurons may have
    been recorded one after another, and then their trials have nothing else in common.

    Parameters
    ----------
    label : str, optional
        Which of the labels of the trials names what was shown (default: that with most values).
    time_bin : float, s
        Default 50 ms; `bin_width` means the same.
    onset : float, s, optional
        From the start of a row (default: the file's alignment_event_time).
    sample_rate : float, Hz
        Columns per second.
    images : path of a zip archive or a folder, optional
        Pictures, named as the values of `label`.
    region, animal : str, optional

    Raises
    ------
    InputError
        If a file is damaged, or the files do not belong together.
    """
    refuse_options(source, stimulus=stimulus, test=test)
    where = f"{source.name}: time_bin"
    if bin_width is not None and time_bin is not None:
        raise InputError(
            "is given twice", where=where, remedy="Give time_bin= or bin_width=, not both."
        )
    width = exact_bin_width(
        next((w for w in (time_bin, bin_width) if w is not None), TIME_BIN), where
    )
    per_bin = width * exact_bin_width(sample_rate, f"{source.name}: sample_rate")
    if per_bin.denominator != 1 or per_bin < 1:
        raise InputError(
            f"{float(width):g} s are {float(per_bin):g} columns of 1/{sample_rate:g} s",
            where=where,
            remedy="Choose a whole number of columns, for example time_bin=0.05.",
        )
    files = _files(source.path)
    digest = hashlib.sha256()
    rasters = [_read_raster(file, digest) for file in files]
    notes = []
    label = _label(rasters, label, source)
    first, stop = _span(rasters, onset, sample_rate, int(per_bin), source, notes)

    conditions = _order(rasters, label)
    repeats = [number_repetitions(raster.labels[label].tolist()) for raster in rasters]
    n_repeats = 1 + max(int(r.max()) for r in repeats)
    n_bins = stop - first
    values = np.full((n_repeats, len(conditions), len(rasters), n_bins), np.nan, np.float32)
    index = {name: i for i, name in enumerate(conditions)}
    whole = all(_whole(raster.data) for raster in rasters)
    for unit, (raster, repeat) in enumerate(zip(rasters, repeats, strict=True)):
        shown = [index[name] for name in raster.labels[label].tolist()]
        zero = raster.onset if onset is None else round(onset * sample_rate)
        begin = (zero or 0) + first * int(per_bin)
        part = raster.data[:, begin : begin + n_bins * int(per_bin)]
        binned = part.reshape(len(part), n_bins, int(per_bin))
        values[repeat, shown, unit] = binned.sum(axis=2) if whole else binned.mean(axis=2)
    _remark(rasters, values, conditions, notes)

    pictures = image_ids = None
    if images is not None:
        pictures, image_ids, _ = open_pictures(images)
    edges = np.array([float(Fraction(i) * width) for i in range(first, stop + 1)])
    made = image_recording_from_arrays(
        values,
        images=pictures,
        image_ids=image_ids,
        stimulus_id=conditions,
        neurons=[raster.name for raster in rasters],
        time_bins=edges,
        region=region,
        animal=animal,
        kind="count" if whole else "trace",
        units="spikes per bin" if whole else "not stated",
        unit_metadata=_sites(rasters),
        attrs={"format": "raster files", "stimulus_label": label, "notes": notes},
        identity=digest.hexdigest(),
        source=source.name,
    )
    return _with_labels(made, rasters, label)


def _files(folder: Path) -> list[Path]:
    """MATLAB files of the folder, or of the only folder in it that has some."""
    try:
        here = _rasters_in(folder)
        if here:
            return here
        below = [item for item in folder.iterdir() if item.is_dir() and not item.is_symlink()]
        found = [files for item in below if (files := _rasters_in(item))]
    except OSError:
        return []
    return found[0] if len(found) == 1 else []


def _rasters_in(folder: Path) -> list[Path]:
    files = (file for file in folder.glob("*.mat") if not file.name.startswith("."))
    return sorted(file for file in files if file.is_file())


def _variables(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what a MATLAB file declares; nothing if it is none."""
    from scipy.io import whosmat

    try:
        return {name: shape for name, shape, _ in whosmat(file)}
    except Exception:  # scipy raises many kinds for foreign files
        return {}


def _read_raster(file: Path, digest) -> _Raster:
    from scipy.io import loadmat

    shapes = _variables(file)  # declared: looked at before anything is unpacked
    for name in ("raster_data", "raster_labels"):
        if name not in shapes:
            raise InputError(
                f"holds no {name}" if shapes else "is no MATLAB v5 file that can be read",
                where=str(file),
                remedy="Take it out of the folder, or save it with -v7 as the others.",
            )
    if np.prod(shapes["raster_data"], dtype=float) > MAX_VALUES:
        raise InputError(
            f"has shape {shapes['raster_data']}",
            where=f"{file}: raster_data",
            remedy="A raster is (trial, ms); one file holds one neuron.",
        )
    try:
        content = file.read_bytes()
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(content).digest())
        for name in RASTER:
            if name in shapes:
                check_mat5(file, name)
        held = loadmat(
            file,
            simplify_cells=True,
            variable_names=RASTER,
        )
    except Exception as error:  # scipy raises many kinds for damaged files
        raise InputError(
            f"cannot be read ({str(error)[:200]})",
            where=str(file),
            remedy="Download or export it again.",
        ) from error
    data = np.atleast_2d(np.asarray(held["raster_data"]))
    if data.dtype.kind not in "biuf" or data.ndim != 2 or not np.isfinite(data).all():
        raise InputError(
            f"is no matrix of finite numbers (trial, ms), but {data.dtype} {data.shape}",
            where=f"{file}: raster_data",
            remedy="Export the spikes of every trial as 0 and 1.",
        )
    labels = held["raster_labels"]
    if not isinstance(labels, dict) or not labels:
        raise InputError(
            "is no struct with a list per label",
            where=f"{file}: raster_labels",
            remedy="It names what was shown in every trial, as the toolbox describes.",
        )
    known = {}
    for name, given in labels.items():
        values = np.atleast_1d(np.asarray(given))
        if values.shape != (len(data),):
            raise InputError(
                f"has {values.size} entries for {len(data)} trials",
                where=f"{file}: raster_labels.{name}",
                remedy="Give one entry per row of raster_data.",
            )
        known[name] = np.asarray([str(item) for item in values.tolist()])
    site = held.get("raster_site_info")
    site = site if isinstance(site, dict) else {}
    event = site.get("alignment_event_time")
    known_onset = isinstance(event, (int, float, np.number)) and 1 <= event <= data.shape[1]
    # MATLAB counts columns from 1.
    onset = int(round(float(event))) - 1 if known_onset else None
    name = file.stem.removesuffix("_raster_data")
    return _Raster(name, data, known, onset, site)


def _label(rasters: list[_Raster], label: str | None, source: Source) -> str:
    shared = [name for name in rasters[0].labels if all(name in r.labels for r in rasters)]
    if label is None and shared:
        return max(shared, key=lambda name: len(set(rasters[0].labels[name].tolist())))
    if label not in shared:
        raise InputError(
            "the files share no label" if label is None else f"no label {label!r} in all files",
            where=f"{source.name}: label",
            remedy=f"Choose one of: {', '.join(shared) or 'none'}.",
        )
    return label


def _span(rasters, onset, sample_rate, per_bin: int, source, notes) -> tuple[int, int]:
    """First and last bin, counted from the onset, that all rasters have in full."""
    zeros = []
    for raster in rasters:
        zero = raster.onset
        if onset is not None:
            zero = round(onset * sample_rate)
            if not 0 <= zero <= raster.data.shape[1]:
                raise InputError(
                    f"{onset:g} s lies outside the rasters",
                    where=f"{source.name}: onset",
                    remedy="It is counted in s from the start of a row.",
                )
        zeros.append(zero)
    if any(zero is None for zero in zeros):
        if not all(zero is None for zero in zeros):
            raise InputError(
                "some files say alignment_event_time and others do not",
                where=source.name,
                remedy="Give onset=, s from the start of a row.",
            )
        notes.append(
            "the files do not say when the picture appeared: times are from the start of "
            "a row (onset= sets it)"
        )
        zeros = [0] * len(rasters)
    before = min(zeros)
    after = min(r.data.shape[1] - zero for r, zero in zip(rasters, zeros, strict=True))
    first, stop = -(before // per_bin), after // per_bin
    if not 1 <= stop - first <= MAX_BINS:
        raise InputError(
            f"no bin of {per_bin} columns fits into rasters of {before} + {after} columns",
            where=f"{source.name}: time_bin",
            remedy="Choose narrower bins.",
        )
    return first, stop


def _order(rasters: list[_Raster], label: str) -> list[str]:
    return sorted({name for raster in rasters for name in raster.labels[label].tolist()})


def _whole(data: np.ndarray) -> bool:
    return data.size == 0 or bool((data >= 0).all() and (data % 1 == 0).all())


def _remark(rasters, values, conditions, notes: list[str]) -> None:
    first = rasters[0].labels
    same = all(
        raster.labels.keys() == first.keys()
        and all(np.array_equal(raster.labels[name], first[name]) for name in first)
        for raster in rasters
    )
    sessions = {str(raster.site.get("session_ID")) for raster in rasters}
    if not same or len(sessions) > 1:
        told = f" ({len(sessions)} sessions)" if len(sessions) > 1 else ""
        notes.append(
            f"a pseudo-population: the {len(rasters)} neurons were not all recorded together{told}."
            " A presentation joins the trials of all neurons with the same condition and number "
            "of repeat, so that noise correlations mean nothing"
        )
    missing = np.isnan(values[..., 0]).sum(axis=(0, 1))
    if missing.any():
        notes.append(
            f"{(missing > 0).sum()} neurons lack up to {missing.max()} of the "
            f"{values.shape[0]} x {len(conditions)} trials: these are NaN"
        )


def _sites(rasters: list[_Raster]) -> dict[str, np.ndarray]:
    """What the files say of the neurons, where all of them say it."""
    found = {}
    for name in rasters[0].site:
        given = [raster.site.get(name) for raster in rasters]
        if all(isinstance(item, (int, float, np.number)) for item in given):
            found[name] = np.asarray(given)
        elif all(isinstance(item, str) for item in given):
            found[name] = np.asarray(given, dtype=str)
    return found


def _with_labels(made: ImageRecording, rasters: list[_Raster], label: str) -> ImageRecording:
    """Add the other labels of the trials, where what was shown determines them."""
    path = f"/{made.stimuli[0]}/{made.roles()[0]}"
    ids = made.role()["stimulus_id"].values
    for name in rasters[0].labels:
        pairs = {
            pair
            for raster in rasters
            if name in raster.labels
            for pair in zip(
                raster.labels[label].tolist(), raster.labels[name].tolist(), strict=True
            )
        }
        known = dict(pairs)
        taken = name in made.tree[path].coords
        if (
            name == label
            or taken
            or name in TAKEN
            or len(known) != len(pairs)
            or not set(ids) <= set(known)
        ):
            continue
        values = np.asarray([known[item] for item in ids.tolist()], dtype=str)
        node = made.tree[path].to_dataset(inherit=False)
        made.tree[path].dataset = node.assign_coords({name: ("presentation", values)})
    return made
