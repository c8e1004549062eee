"""Arrays whose axes have names: read by slices, in whatever order is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.mapped_arrays import Found
from neuromodels.datasets.formats.mapped_schema import (
    ARRAY_KEYS,
    Place,
    check_keys,
    checked_choice,
    checked_int,
)
from neuromodels.datasets.lazy_movies import MovieReader, movie_dtype

IGNORED = "1"  # the name of an axis of length one that means nothing
SLAB_BYTES = 2**25


class NamedArray:
    """An array in memory or on disk with a name for every axis.

    Attributes
    ----------
    sizes : {axis: length}, after the mapping's slices
    where : str, for messages
    """

    def __init__(self, values, axes: Sequence[str], slices: Mapping[str, slice], where: str):
        self._values, self._axes, self._slices = values, tuple(axes), dict(slices)
        self.where = where
        self.dtype = np.dtype(values.dtype)
        self.sizes = {
            axis: (len(range(*self._slices[axis].indices(size))) if axis in self._slices else size)
            for axis, size in zip(axes, values.shape, strict=True)
            if axis != IGNORED
        }

    def read(self, order: Sequence[str], **chosen) -> np.ndarray:
        """Values with the axes of `order`; other axes must be chosen by a number.

        Parameters
        ----------
        order : axes of the result; one that the array lacks has length one
        **chosen : {axis: int or slice with a positive step}
        """
        key, kept = [], []
        for axis, size in zip(self._axes, self._values.shape, strict=True):
            if axis == IGNORED:
                key.append(0)
                continue
            offset = self._slices[axis].start if axis in self._slices else 0
            size = self.sizes[axis]
            item = chosen.get(axis, slice(0, size))
            if isinstance(item, slice):
                start, stop, step = item.indices(size)
                key.append(slice(offset + start, offset + stop, step))
                kept.append(axis)
            else:
                key.append(offset + int(item))
        values = np.asarray(self._values[tuple(key)])
        values = values.transpose([kept.index(axis) for axis in order if axis in kept])
        missing = tuple(i for i, axis in enumerate(order) if axis not in kept)
        return np.expand_dims(values, missing) if missing else values


def named_array(
    table,
    place: Place,
    where: str,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    more_keys: Sequence[str] = (),
) -> NamedArray:
    """The array that a table of a mapping names.

    Raises
    ------
    InputError
        If the variable is missing or has another number of axes than the mapping names.
    """
    check_keys(table, (*ARRAY_KEYS, *more_keys), where)
    allowed = (*required, *optional)
    axes = table.get("axes")
    if not isinstance(axes, list) or not axes:
        raise InputError(
            "has no axes" if axes is None else f"is {axes!r}"[:80],
            where=f"{where}: axes",
            remedy=f"Name the axes in the order of the file: axes = {_quoted(allowed)} as there.",
        )
    for axis in axes:
        checked_choice(axis, (*allowed, IGNORED), f"{where}: axes")
    repeated = [axis for axis in axes if axis != IGNORED and axes.count(axis) > 1]
    absent = [axis for axis in required if axis not in axes]
    if repeated or absent:
        what = f"names {repeated[0]!r} twice" if repeated else f"has no {absent[0]!r}"
        raise InputError(
            what,
            where=f"{where}: axes",
            remedy=f"Every array needs {_quoted(required)}, once each.",
        )
    return _name_axes(place.find(table, where), axes, table, where)


def _name_axes(found: Found, axes: list[str], table, where: str) -> NamedArray:
    values = found.values
    if isinstance(values, list):
        shapes = {item.shape if hasattr(item, "shape") else () for item in values}
        if len(shapes) != 1:
            raise InputError(
                f"is a cell array of {len(values)} with {len(shapes)} different shapes",
                where=where,
                remedy="Save one array, padded with NaN where trials are shorter.",
            )
        values, found = np.stack(values), Found(None)
    shape = tuple(values.shape)
    seen = shape[::-1] if found.reversed_axes else shape
    given = list(axes)
    if found.pads_axes and len(seen) < len(axes):
        # MATLAB drops trailing axes of length one.
        given, missing = axes[: len(seen)], axes[len(seen) :]
        if any(axis in ("time", "neuron") for axis in missing):
            given = list(axes)
    if found.pads_axes and len(seen) == 2 and len(given) == 1 and 1 in seen:
        given = [given[0], IGNORED] if seen[1] == 1 else [IGNORED, given[0]]
    if len(given) != len(seen):
        raise InputError(
            f"has {len(seen)} axes, shape {seen}; the mapping names {len(axes)}: {_quoted(axes)}",
            where=where,
            remedy=f'Name every axis in that order; "{IGNORED}" is one of length one that means '
            "nothing.",
        )
    for axis, size in zip(given, seen, strict=True):
        if axis == IGNORED and size != 1:
            raise InputError(
                f'has {size} entries along an axis named "{IGNORED}", shape {seen}',
                where=where,
                remedy="Give that axis its name.",
            )
        if size == 0:
            raise InputError(f"is empty, shape {seen}", where=where, remedy="Export it again.")
    slices = _slices(table, dict(zip(given, seen, strict=True)), where)
    stored = given[::-1] if found.reversed_axes else given
    return NamedArray(values, stored, slices, where)


def _slices(table, sizes: dict[str, int], where: str) -> dict[str, slice]:
    given = table.get("slices", {})
    place = f"{where}: slices"
    check_keys(given, tuple(axis for axis in sizes if axis != IGNORED), place)
    slices = {}
    for axis, pair in given.items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise InputError(
                f"{axis} is {pair!r}"[:80],
                where=place,
                remedy=f"Give the first and the one after the last: {axis} = [0, {sizes[axis]}].",
            )
        first = checked_int(pair[0], place, 0)
        stop = checked_int(pair[1], place, 0)
        if not first < stop <= sizes[axis]:
            raise InputError(
                f"{axis} = {pair} of {sizes[axis]}",
                where=place,
                remedy="Counts begin at 0, and the second number is the one after the last.",
            )
        slices[axis] = slice(first, stop)
    return slices


class MappedFrames(MovieReader):
    """Frames of a named array, blocks after one another, read in runs.

    Parameters
    ----------
    array : NamedArray with time, and perhaps block, y, x and channel
    parts : list of (block or None, first sample, number of frames)
        Where each stretch of frames lies.
    samples : int
        Samples per frame; the first of each is taken.
    """

    def __init__(self, array: NamedArray, parts: list[tuple[int | None, int, int]], samples: int):
        self._array, self._parts, self._samples = array, parts, samples
        self._starts = np.concatenate([[0], np.cumsum([n for *_, n in parts])])
        sizes = array.sizes
        pixels = (sizes.get("y", 1), sizes.get("x", 1))
        channels = (sizes["channel"],) if "channel" in sizes else ()
        self._order = ("time", *(("channel",) if channels else ()), "y", "x")
        self.shape = (int(self._starts[-1]), *channels, *pixels)
        self.dtype = movie_dtype(array.dtype, array.where)

    def read(self, start: int, stop: int) -> np.ndarray:
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        pieces = []
        for (block, sample, n_frames), begin in zip(
            self._parts[first:], self._starts[first:], strict=False
        ):
            a, b = max(start - begin, 0), min(stop - begin, n_frames)
            if a >= b:
                break
            steps = slice(sample + a * self._samples, sample + b * self._samples, self._samples)
            where = {} if block is None else {"block": block}
            pieces.append(self._array.read(self._order, time=steps, **where))
        return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]

    def check_constant(self) -> None:
        """Refuse frames that change between their samples: they would be lost.

        Raises
        ------
        InputError
            Names the first sample that differs.
        """
        if self._samples == 1:
            return
        frame = self._samples * self._array.dtype.itemsize * int(np.prod(self.shape[1:]))
        step = max(1, SLAB_BYTES // frame)
        for block, sample, n_frames in self._parts:
            where = {} if block is None else {"block": block}
            for a in range(0, n_frames, step):
                b = min(n_frames, a + step)
                steps = slice(sample + a * self._samples, sample + b * self._samples)
                values = self._array.read(self._order, time=steps, **where)
                grouped = values.reshape(b - a, self._samples, -1)
                bad = np.flatnonzero((grouped != grouped[:, :1]).any(axis=(1, 2)))
                if bad.size:
                    said = "" if block is None else f" of block {block}"
                    raise InputError(
                        f"changes within frame {a + bad[0]}{said}, samples "
                        f"{steps.start + bad[0] * self._samples} to "
                        f"{steps.start + (bad[0] + 1) * self._samples - 1}",
                        where=self._array.where,
                        remedy="samples_per_frame is how many samples show one frame: check it, "
                        "or leave it out for one frame per bin.",
                    )


def _quoted(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
