"""Arrays of a deep-retina file, with axes found from their lengths."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import h5py
import numpy as np

from neuromodels.datasets.binning import bin_edges, exact_bin_width
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.mapped_hdf5 import check_link, check_stored, natural_order
from neuromodels.datasets.sources import Source

COUNTS = "binned"
PREFERRED = (COUNTS, "firing_rate_10ms", "firing_rate_5ms", "firing_rate_20ms")


@dataclass(frozen=True, eq=False)
class Half:
    """train or test of the file."""

    group: h5py.Group
    where: str
    n_bins: int
    n_cells: int


def open_half(file: h5py.File, source: Source, name: str) -> Half:
    where = f"{source.name}: /{name}"
    check_link(file, name, where)
    group = file[name]
    if not isinstance(group, h5py.Group):
        raise InputError("is no group", where=where, remedy="Export the file again.")
    movie = find_dataset(group, "stimulus", where)
    if movie.ndim not in (3, 4) or not movie.size:
        raise InputError(
            f"has shape {movie.shape}",
            where=f"{where}/stimulus",
            remedy="It must be (bin, y, x), one frame per bin.",
        )
    responses = responses_of(group, where)
    if not responses:
        raise InputError(
            "holds no responses",
            where=f"{where}/response",
            remedy="Expected binned or firing_rate_10ms, (cell, bin).",
        )
    shape = responses[next(iter(responses))].shape
    n_bins = movie.shape[0]
    if len(shape) != 2 or n_bins not in shape:
        raise InputError(
            f"has shape {shape}, the stimulus {n_bins} frames",
            where=f"{where}/response/{next(iter(responses))}",
            remedy="It must be (cell, bin), with one bin per frame.",
        )
    n_cells = shape[0] if shape[1] == n_bins else shape[1]
    return Half(group, where, n_bins, n_cells)


def responses_of(group: h5py.Group, where: str) -> dict[str, h5py.Dataset]:
    check_link(group, "response", where)
    inner = group["response"]
    names = [n for n in inner if n == COUNTS or n.startswith("firing_rate")]
    for name in names:
        check_link(inner, name, f"{where}/response")
    order = sorted(names, key=lambda n: (PREFERRED.index(n) if n in PREFERRED else 9, n))
    return {n: inner[n] for n in order if isinstance(inner[n], h5py.Dataset)}


def response_values(half: Half, name: str) -> np.ndarray:
    """A response as (cell, bin)."""
    where = f"{half.where}/response/{name}"
    values = _numbers(responses_of(half.group, half.where)[name], where)
    if values.shape == (half.n_cells, half.n_bins):
        return values
    if values.shape == (half.n_bins, half.n_cells):
        return values.T
    raise InputError(
        f"has shape {values.shape} for {half.n_cells} cells and {half.n_bins} frames",
        where=where,
        remedy="It must be (cell, bin), with one bin per frame.",
    )


def repeat_values(half: Half, name: str) -> tuple[np.ndarray | None, list[str] | None]:
    """Repeats of a response as (repeat, cell, bin) and names of the cells, or None."""
    if half.group.get("repeats", getclass=True) is not h5py.Group:
        return None, None
    check_link(half.group, "repeats", half.where)
    group, where = half.group["repeats"], f"{half.where}/repeats"
    if name in group:
        check_link(group, name, where)
        return _by_kind(half, _numbers(group[name], f"{where}/{name}"), name), None
    cells = sorted((n for n in group if n.startswith("cell")), key=natural_order)
    if not cells:
        return None, None
    if len(cells) != half.n_cells:
        raise InputError(
            f"holds {len(cells)} cells, the responses {half.n_cells}",
            where=where,
            remedy="Every cell needs its repeats.",
        )
    each = [_of_cell(group, cell, name, half, where) for cell in cells]
    if any(item is None for item in each):
        return None, None
    longest = max(len(item) for item in each)
    if all(len(item) == longest for item in each):
        trials = np.stack(each, axis=1)
    else:
        trials = np.full((longest, len(cells), half.n_bins), np.nan)
        for i, item in enumerate(each):
            trials[: len(item), i] = item
    if (name == COUNTS) != are_whole(trials):
        return None, None  # counts where rates were asked for, or the other way round
    return trials, cells


def _of_cell(group, cell: str, name: str, half: Half, where: str) -> np.ndarray | None:
    check_link(group, cell, where)
    item, place = group[cell], f"{where}/{cell}"
    if isinstance(item, h5py.Group):
        if name not in item:
            return None
        check_link(item, name, place)
        item, place = item[name], f"{place}/{name}"
    values = _numbers(item, place)
    if values.ndim == 2 and values.shape[1] == half.n_bins:
        return values
    if values.ndim == 2 and values.shape[0] == half.n_bins:
        return values.T
    raise InputError(
        f"has shape {values.shape} for {half.n_bins} frames",
        where=place,
        remedy="It must be (repeat, bin).",
    )


def _by_kind(half: Half, values: np.ndarray, name: str) -> np.ndarray:
    where, n_cells, n_bins = f"{half.where}/repeats/{name}", half.n_cells, half.n_bins
    if values.ndim == 3 and values.shape[0] == n_bins and values.shape[2] != n_bins:
        values = values.transpose(2, 1, 0)
    if values.ndim != 3 or values.shape[2] != n_bins or n_cells not in values.shape[:2]:
        raise InputError(
            f"has shape {values.shape} for {n_cells} cells and {n_bins} frames",
            where=where,
            remedy="It must be (repeat, cell, bin).",
        )
    if values.shape[1] != n_cells:
        return values.transpose(1, 0, 2)
    if values.shape[0] != n_cells:
        return values
    average = response_values(half, name)
    off = [float(np.nansum((values.mean(axis=axis) - average) ** 2)) for axis in (0, 1)]
    return values if off[0] <= off[1] else values.transpose(1, 0, 2)


def bin_clock(half: Half, given) -> tuple[np.ndarray, Fraction]:
    """Starts of the bins, s, and their width."""
    where = f"{half.where}/time"
    if "time" not in half.group:
        if given is None:
            raise InputError(
                "is missing",
                where=where,
                remedy="Say how wide the bins of the file are: bin_width=0.01 (--bin-width 0.01).",
            )
        width = exact_bin_width(given, where)
        return bin_edges(0.0, width, half.n_bins)[:-1], width
    time = _numbers(find_dataset(half.group, "time", half.where), where).reshape(-1)
    time = time.astype(np.float64)
    if time.size != half.n_bins:
        raise InputError(
            f"has {time.size} entries for {half.n_bins} frames",
            where=where,
            remedy="It must give the start of every bin.",
        )
    steps = np.diff(time)
    bad = np.flatnonzero(~(np.isfinite(steps) & (steps > 0)))
    if bad.size or time.size < 2:
        at = int(bad[0]) if bad.size else 0
        raise InputError(
            f"does not ascend at bin {at} ({bad.size} such bins)",
            where=where,
            remedy="It must ascend, in seconds.",
        )
    plain = steps[steps < 1.5 * np.median(steps)]
    mean = float(plain.mean())
    nice = Fraction(mean).limit_denominator(1000)
    width = nice if nice and abs(float(nice) / mean - 1) < 1e-4 else exact_bin_width(mean, where)
    return time, width


def find_dataset(group: h5py.Group, name: str, where: str) -> h5py.Dataset:
    if name not in group:
        raise InputError("is missing", where=f"{where}/{name}", remedy="Export the file again.")
    check_link(group, name, where)
    item = group[name]
    if not isinstance(item, h5py.Dataset):
        raise InputError("is a group", where=f"{where}/{name}", remedy="It must be a dataset.")
    check_stored(item, f"{where}/{name}")
    return item


def _numbers(item, where: str) -> np.ndarray:
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "biuf":
        raise InputError("holds no numbers", where=where, remedy="Export the file again.")
    check_stored(item, where)
    return np.asarray(item[()])


def are_whole(values: np.ndarray) -> bool:
    present = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    return bool((present >= 0).all() and (present == np.floor(present)).all())
