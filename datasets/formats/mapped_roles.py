"""[train], [heldout], [test] and [repeats] of a mapping: responses in bins and their frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import xarray as xr

from neuromodels.datasets.binning import bin_edges, exact_bin_width, frames_on_screen
from neuromodels.datasets.building import build_role
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.mapped_arrays import as_names
from neuromodels.datasets.formats.mapped_axes import MappedFrames, NamedArray, named_array
from neuromodels.datasets.formats.mapped_schema import (
    ARRAY_KEYS,
    ROLES,
    Place,
    check_keys,
    checked_choice,
    checked_int,
    checked_number,
    checked_text,
)
from neuromodels.datasets.lazy_movies import movie_variable
from neuromodels.datasets.recording import KINDS, format_duration

TIMING_KEYS = ("samples_per_frame", "frame_rate")
STIMULUS_KEYS = (
    *("name", "units", "pixel_units", "description", "generator", "seed", "background"),
    *TIMING_KEYS,
)
ROLE_KEYS = ("stimulus", "response", "first_bin", "selection")
TRAIN_KEYS = (*ROLE_KEYS, "bins_per_block")
KEYS = {
    "train": (*TRAIN_KEYS, "heldout_blocks"),
    "heldout": TRAIN_KEYS,
    "test": ROLE_KEYS,
    "repeats": ROLE_KEYS,
}


@dataclass(frozen=True, eq=False)
class _Part:
    """One role while it is read."""

    response: NamedArray
    stimulus: NamedArray | None
    timing: Mapping
    kind: str
    units: str | None
    n_blocks: int
    n_bins: int  # of a block
    first_bin: int
    width: Fraction
    about: Mapping
    where: str


def read_roles(mapping: Mapping, place: Place) -> dict[str, xr.Dataset]:
    """The roles that a mapping names, movies on disk where they can stay there.

    Raises
    ------
    InputError
        If something is missing or lengths disagree; the message names the table.
    """
    width = stored_width(mapping, place)
    if width is None:
        raise InputError(
            "is missing",
            where=f"{place.said}: bin_width",
            remedy='Say how wide the bins are, s: bin_width = 0.010, or "1/600".',
        )
    about = mapping.get("stimulus", {})
    check_keys(about, STIMULUS_KEYS, f"{place.said}: [stimulus]")
    roles = {}
    for role in ROLES:
        if role not in mapping:
            continue
        table, where = mapping[role], f"{place.said}: [{role}]"
        check_keys(table, KEYS[role], where)
        part = _part(role, table, place, width, about, where)
        if role in ("test", "repeats"):
            roles[role] = _repeated(part, table)
            continue
        heldout = _heldout_blocks(table, part, mapping)
        kept = [b for b in range(part.n_blocks) if b not in heldout]
        roles[role] = _unrepeated(part, kept, table)
        if heldout:
            roles["heldout"] = _unrepeated(part, heldout, {})
    return roles


def stored_width(mapping: Mapping, place: Place) -> Fraction | None:
    """Width of the bins that the mapping states, s."""
    if "bin_width" not in mapping:
        return None
    return exact_bin_width(mapping["bin_width"], f"{place.said}: bin_width")


def read_neurons(mapping: Mapping, place: Place) -> list[str] | None:
    """Identifiers of the neurons, from the mapping or a variable; None if nothing says them."""
    given, where = mapping.get("neurons"), f"{place.said}: neurons"
    if given is None:
        return None
    if isinstance(given, list):
        return [checked_text(name, f"{where}[{i}]") for i, name in enumerate(given)]
    check_keys(given, ("file", "variable"), where)
    return as_names(place.find(given, where), where)


def read_metadata(mapping: Mapping, place: Place) -> dict:
    """[neuron.NAME]: what is known about the neurons, by neuron and perhaps other axes."""
    tables, found = mapping.get("neuron", {}), {}
    if not isinstance(tables, Mapping):
        check_keys(tables, ("NAME",), f"{place.said}: neuron")
    for name, table in tables.items():
        where = f"{place.said}: [neuron.{name}]"
        check_keys(table, (*ARRAY_KEYS, "units", "description"), where)
        axes = table.get("axes", ["neuron"])
        more = [axis for axis in axes if axis not in ("neuron", "1")] if _texts(axes) else []
        array = named_array(
            {"axes": ["neuron"], **table},
            place,
            where,
            required=("neuron",),
            optional=more,
            more_keys=("units", "description"),
        )
        values = array.read(("neuron", *more))
        if values.dtype.kind == "f":
            values = values.astype(np.float32)
        attrs = {key: str(table[key]) for key in ("units", "description") if key in table}
        found[name] = (("neuron", *more), values, {"units": "not stated", **attrs})
        for axis in more:
            found.setdefault(
                axis, (axis, np.arange(array.sizes[axis]), {"units": "1", "description": axis})
            )
    return found


def _texts(axes) -> bool:
    return isinstance(axes, list) and all(isinstance(axis, str) for axis in axes)


def _part(role: str, table, place: Place, width: Fraction, about, where: str) -> _Part:
    if "response" not in table:
        raise InputError(
            "is missing",
            where=f"{where} response",
            remedy='Name it: response = { variable = "spikes", axes = ["neuron", "time"] }.',
        )
    repeated = role in ("test", "repeats")
    response = named_array(
        table["response"],
        place,
        f"{where} response",
        required=("neuron", "time"),
        optional=("trial",) if repeated else ("block",),
        more_keys=("kind", "units"),
    )
    kind = table["response"].get("kind", "count")
    checked_choice(kind, KINDS, f"{where} response: kind")
    n_blocks, n_bins = response.sizes.get("block", 1), response.sizes["time"]
    if "bins_per_block" in table:
        per_block = checked_int(table["bins_per_block"], f"{where}: bins_per_block")
        if "block" in response.sizes or n_bins % per_block:
            what = (
                f"is {per_block}, and there are {n_bins} bins"
                if n_bins % per_block
                else "is given, and the response has an axis of blocks"
            )
            raise InputError(
                what,
                where=f"{where}: bins_per_block",
                remedy="Blocks must be equally long; cut the rest with slices.",
            )
        n_blocks, n_bins = n_bins // per_block, per_block
    stimulus, timing = None, {}
    if "stimulus" in table:
        stimulus = named_array(
            table["stimulus"],
            place,
            f"{where} stimulus",
            required=("time",),
            optional=("y", "x", "channel") if repeated else ("y", "x", "channel", "block"),
            more_keys=TIMING_KEYS,
        )
        given = table["stimulus"] if any(k in table["stimulus"] for k in TIMING_KEYS) else about
        timing = {key: given[key] for key in TIMING_KEYS if key in given}
    elif role != "repeats":
        raise InputError(
            "is missing",
            where=f"{where} stimulus",
            remedy="Only [repeats] may leave it out: name the movie that was shown.",
        )
    return _Part(
        response,
        stimulus,
        timing,
        kind,
        table["response"].get("units"),
        n_blocks,
        n_bins,
        checked_int(table.get("first_bin", 0), f"{where}: first_bin", 0),
        width,
        about,
        where,
    )


def _heldout_blocks(table, part: _Part, mapping: Mapping) -> list[int]:
    given, where = table.get("heldout_blocks", []), f"{part.where}: heldout_blocks"
    if given and "heldout" in mapping:
        raise InputError(
            "is given beside [heldout]", where=where, remedy="Use one of them, not both."
        )
    good = isinstance(given, list) and all(
        isinstance(b, int) and not isinstance(b, bool) and 0 <= b < part.n_blocks for b in given
    )
    if not good or len(set(given)) != len(given) or len(given) >= part.n_blocks > 0 < len(given):
        raise InputError(
            f"is {given!r} of {part.n_blocks} blocks"[:120],
            where=where,
            remedy="List different blocks, counted from 0, and leave some for training.",
        )
    return sorted(given)


def _frames(part: _Part, blocks: list[int]):
    """The movie, onsets within a block, and the frame of each bin of a block."""
    if part.stimulus is None:
        return None, None, None
    where, sizes = part.stimulus.where, part.stimulus.sizes
    samples, by_axis = sizes["time"], "block" in sizes
    if by_axis and sizes["block"] != part.n_blocks:
        raise InputError(
            f"has {sizes['block']} blocks, the response {part.n_blocks}",
            where=where,
            remedy="Both must hold the same blocks; cut them with slices.",
        )
    if not by_axis:
        if samples % part.n_blocks:
            raise InputError(
                f"has {samples} samples for {part.n_blocks} blocks",
                where=where,
                remedy="Blocks must be equally long; cut the rest with slices.",
            )
        samples //= part.n_blocks
    per_frame, n_frames = 1, samples
    if "samples_per_frame" in part.timing:
        if "frame_rate" in part.timing:
            raise InputError(
                "has both samples_per_frame and frame_rate",
                where=where,
                remedy="Give samples_per_frame where the movie is sampled once per bin, "
                "frame_rate where it holds every frame once.",
            )
        per_frame = checked_int(part.timing["samples_per_frame"], f"{where}: samples_per_frame")
        if samples != part.n_bins or samples % per_frame:
            raise InputError(
                f"has {samples} samples, the response {part.n_bins} bins, and a frame has "
                f"{per_frame} samples",
                where=where,
                remedy="Both must be equally long and whole frames; cut them with slices "
                "(time = [first, stop]).",
            )
        n_frames = samples // per_frame
    edges = bin_edges(0.0, part.width, part.n_bins)
    if "frame_rate" in part.timing:
        rate = checked_number(part.timing["frame_rate"], f"{where}: frame_rate")
        period = 1 / exact_bin_width(rate, f"{where}: frame_rate")
        _check_lengths(part, n_frames, period)
        onsets = bin_edges(0.0, period, n_frames)[:-1]
        shown = frames_on_screen(onsets, edges[:-1], part.width, last_frame=float(period))
    else:
        if samples != part.n_bins:
            more = part.n_bins % samples == 0
            rate = float(1 / (part.width * part.n_bins / samples)) if more else 60
            raise InputError(
                f"has {samples} frames for {part.n_bins} bins",
                where=where,
                remedy=f"Say how fast they were shown: frame_rate = {rate:g} (Hz)"
                + (f", if each frame stayed for {part.n_bins // samples} bins." if more else ".")
                + " Or cut the longer one with slices.",
            )
        shown = np.arange(part.n_bins) // per_frame
        onsets = edges[:-1:per_frame]
    parts = [(b, 0, n_frames) if by_axis else (None, b * samples, n_frames) for b in blocks]
    reader = MappedFrames(part.stimulus, parts, per_frame)
    reader.check_constant()
    units = str(part.about.get("units", "arbitrary"))
    return movie_variable(reader, {"units": units}), onsets, shown


def _check_lengths(part: _Part, n_frames: int, period: Fraction) -> None:
    movie, response = float(n_frames * period), float(part.n_bins * part.width)
    if abs(movie - response) > float(period + part.width):
        raise InputError(
            f"lasts {movie:.6g} s ({n_frames} frames at {float(1 / period):g} Hz), the response "
            f"{response:.6g} s ({part.n_bins} bins of {float(part.width):.6g} s)",
            where=part.stimulus.where,
            remedy="Check frame_rate and bin_width, or cut the longer one with slices.",
        )


def _unrepeated(part: _Part, blocks: list[int], table) -> xr.Dataset:
    frames, onsets, shown = _frames(part, blocks)
    order, n_bins = ("time", "neuron"), part.n_bins
    if "block" in part.response.sizes:
        values = [part.response.read(order, block=b) for b in blocks]
    else:
        cuts = [slice(b * n_bins, (b + 1) * n_bins) for b in blocks]
        values = [part.response.read(order, time=cut) for cut in cuts]
    first = part.first_bin
    edges = bin_edges(0.0, part.width, first + n_bins * part.n_blocks)[first:]
    starts = edges[:-1].reshape(part.n_blocks, n_bins)[blocks]
    seconds = format_duration(float(n_bins * part.width))
    plural = "s" if len(blocks) > 1 else ""
    said = f"{len(blocks)} block{plural} of {seconds}" if part.n_blocks > 1 else "all of it"
    return _build(part, frames, np.concatenate(values), starts, blocks, onsets, shown, table, said)


def _repeated(part: _Part, table) -> xr.Dataset:
    frames, onsets, shown = _frames(part, [0])
    values = part.response.read(("trial", "time", "neuron"))
    edges = bin_edges(0.0, part.width, part.first_bin + part.n_bins)[part.first_bin :]
    said = f"{len(values)} repeats"
    return _build(part, frames, values, edges[None, :-1], [0], onsets, shown, table, said)


def _build(part: _Part, frames, values, starts, blocks, onsets, shown, table, said) -> xr.Dataset:
    n_blocks = len(blocks)
    frame_of_bin = frame_time = None
    if frames is not None:
        offset = np.arange(n_blocks)[:, None] * onsets.size
        frame_of_bin = np.where(shown < 0, -1, shown + offset).reshape(-1)
        if "frame_rate" in part.timing:
            frame_time = (starts[:, :1] + onsets).reshape(-1)
        else:
            frame_time = starts[:, :: part.n_bins // onsets.size].reshape(-1)
    return build_role(
        frames,
        values,
        bin_width=part.width,
        time=starts.reshape(-1),
        block=np.repeat(np.asarray(blocks, dtype=np.int32), part.n_bins),
        frame_of_bin=frame_of_bin,
        frame_time=frame_time,
        kind=part.kind,
        stimulus_units=str(part.about.get("units", "arbitrary")),
        response_units=part.units,
        pixel_units=str(part.about.get("pixel_units", "pixel")),
        attrs={"selection": str(table.get("selection", said))},
        where=part.where,
    )
