"""Arrays that say what their axes are: movies and responses as xarray DataArrays."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import xarray as xr

from neuromodels.datasets.binning import exact_bin_width
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import KEEP_BELOW_BYTES

MOVIE = ("frame", "channel", "y", "x")
RESPONSE = ("trial", "time", "neuron")
#: Attributes of a movie that have places of their own in a recording.
OWN_PLACE = ("units", "background")
SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "microsecond", "microseconds"), 1e-6),
}


@dataclass(frozen=True, eq=False)
class LabelledMovie:
    """Frames as (frame, [channel,] y, x), and what their labels say; None where they say nothing.

    `onsets` (frame,) in s, `y` and `x` positions of the pixels.
    """

    frames: object
    onsets: np.ndarray | None = None
    y: np.ndarray | None = None
    x: np.ndarray | None = None
    units: str | None = None
    pixel_units: str | None = None


@dataclass(frozen=True, eq=False)
class LabelledResponse:
    """Responses as ([trial,] time, neuron), and what their labels say.

    `time` (bin,) start of each bin in s, `block` (bin,) integers, `neurons` names.
    """

    values: object
    time: np.ndarray | None = None
    block: np.ndarray | None = None
    neurons: list[str] | None = None
    kind: str | None = None
    units: str | None = None


def labelled_movie(stimulus, where: str) -> LabelledMovie:
    """A movie with its axes in order.

    Parameters
    ----------
    stimulus : DataArray or anything else
        Dimensions frame (or time), channel, y and x in any order; y, x and channel may be missing.
        Coordinates: `frame_time` on frame (or `time` on time) in s, `y`, `x`. What is no DataArray
        is handed back as it is.
    where : str
        Argument, for messages.

    Raises
    ------
    InputError
        If a dimension has another name.
    """
    if not isinstance(stimulus, xr.DataArray):
        return LabelledMovie(stimulus)
    by_time = "frame" not in stimulus.dims and "time" in stimulus.dims
    array = stimulus.rename(time="frame") if by_time else stimulus
    _known_dims(array, MOVIE, ("frame",), where, "frame (or time), channel, y and x")
    onset = next((n for n in ("frame_time", "time") if n in stimulus.coords), None)
    onsets = None
    if onset is not None and stimulus[onset].dims in (("frame",), ("time",)):
        onsets = _seconds(stimulus[onset], f"{where}: {onset}")
    order = [dim for dim in MOVIE if dim in array.dims]
    variable = array.variable.transpose(*order)
    units = _units(variable)
    if variable.nbytes <= KEEP_BELOW_BYTES or not {"y", "x"} <= set(order):
        shape = [variable.sizes.get(d, 1) for d in MOVIE if d != "channel" or d in order]
        frames = np.asarray(variable.values).reshape(shape)
    else:
        frames = xr.Variable(order, variable._data, {"units": units or "arbitrary"})
    axes = {dim: array[dim] for dim in ("y", "x") if dim in array.coords}
    positions = {dim: np.asarray(axis.values) for dim, axis in axes.items() if axis.dims == (dim,)}
    pixel_units = {_units(axes[dim]) for dim in positions} - {None}
    return LabelledMovie(
        frames,
        onsets,
        positions.get("y"),
        positions.get("x"),
        units,
        pixel_units.pop() if len(pixel_units) == 1 else None,
    )


def stimulus_facts(stimulus) -> dict:
    """What a labelled movie says of itself: generator, seed, times of events, ..."""
    attrs = stimulus.attrs if isinstance(stimulus, xr.DataArray) else {}
    return {name: fact for name, fact in attrs.items() if name not in OWN_PLACE}


def stated_background(stimulus, where: str) -> float | None:
    """Intensity between frames that a labelled movie says.

    Raises
    ------
    InputError
        If it is no number.
    """
    value = stimulus.attrs.get("background") if isinstance(stimulus, xr.DataArray) else None
    if value is None or (isinstance(value, (int, float, np.number)) and np.isfinite(value)):
        return None if value is None else float(value)
    raise InputError(f"is {value!r}"[:80], where=where, remedy="Give the intensity, a number.")


def labelled_response(response, where: str, width: Fraction) -> LabelledResponse:
    """Responses with their axes in order.

    Parameters
    ----------
    response : DataArray, a list of these (one per trial), or anything else
        Dimensions time, neuron and, with repeats, trial, in any order. Coordinates: `time` (start
        of each bin, s), `neuron`, `block` on time; attributes `kind` and `units`.
    width : Fraction
        Width of the bins, s.

    Raises
    ------
    InputError
        If a dimension has another name, the bins have another width, or time does not ascend.
    """
    if _is_trials(response):
        trials = [labelled_response(t, f"{where}[{i}]", width) for i, t in enumerate(response)]
        first = max(trials, key=lambda trial: len(trial.values))
        for i, trial in enumerate(trials):
            if trial.neurons != first.neurons:
                raise InputError(
                    "names other neurons than the other trials",
                    where=f"{where}[{i}]",
                    remedy="Give every trial the same neurons in the same order.",
                )
        values = [trial.values for trial in trials]
        return LabelledResponse(
            values, first.time, first.block, first.neurons, first.kind, first.units
        )
    if not isinstance(response, xr.DataArray):
        return LabelledResponse(response)
    _known_dims(response, RESPONSE, ("time", "neuron"), where, "time, neuron and trial")
    array = response.transpose(*(dim for dim in RESPONSE if dim in response.dims))
    time = block = None
    if "time" in array.coords:
        time = _seconds(array["time"], f"{where}: time")
        own = stated_width(array)
        if own is not None and abs(float(own) - float(width)) > 1e-6 * float(width):
            raise InputError(
                f"has bins of {float(own):.6g} s, but bin_width is {float(width):.6g} s",
                where=f"{where}: time",
                remedy="Leave bin_width out, and ask for others with recording.at(...).",
            )
        back = np.flatnonzero(np.diff(time) <= 0)
        if back.size:
            raise InputError(
                f"does not ascend at bin {back[0] + 1}",
                where=f"{where}: time",
                remedy="Give the start of every bin, s, in order.",
            )
        jumps = np.abs(np.diff(time) - float(width)) > 1e-3 * float(width)
        block = np.concatenate([[0], np.cumsum(jumps)])[: time.size].astype(np.int32)
    if "block" in array.coords and array["block"].dims == ("time",):
        block = np.asarray(array["block"].values)
    neurons = None
    if "neuron" in array.coords:
        neurons = [str(name) for name in array["neuron"].values.tolist()]
    kind = array.attrs.get("kind")
    return LabelledResponse(array.values, time, block, neurons, kind, _units(array))


def stated_width(response) -> Fraction | None:
    """Width of the bins that a DataArray says, s: the usual step of its time."""
    if isinstance(response, (list, tuple)):
        widths = (stated_width(trial) for trial in response)
        return next((width for width in widths if width is not None), None)
    if not isinstance(response, xr.DataArray) or "time" not in response.coords:
        return None
    time = response["time"]
    exact = [time.attrs.get(f"bin_width_{part}") for part in ("numerator", "denominator")]
    if all(isinstance(part, (int, np.integer)) and part > 0 for part in exact):
        return Fraction(int(exact[0]), int(exact[1]))
    if time.dims != ("time",) or time.size < 2 or time.dtype.kind not in "iuf":
        return None
    step = float(np.median(np.abs(np.diff(time.values.astype(np.float64)))))
    step *= SECONDS.get(_units(time) or "s", 1.0)
    return exact_bin_width(round(step, 9)) if np.isfinite(step) and step > 5e-10 else None


def name_neurons(role: xr.Dataset, names: list[str] | None, where: str) -> xr.Dataset:
    """A role whose neurons carry these names; None leaves them without.

    Raises
    ------
    InputError
        If a name occurs twice.
    """
    if names is None:
        return role
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            f"names the neuron {twice!r} twice",
            where=where,
            remedy="Give every neuron a name of its own.",
        )
    if len(names) != role.sizes["neuron"]:
        raise InputError(
            f"names {len(names)} neurons for {role.sizes['neuron']}",
            where=where,
            remedy="Give one name per neuron.",
        )
    return role.assign_coords(neuron=("neuron", np.asarray(names, dtype=str)))


def same_neurons(
    roles: dict[str, xr.Dataset], where: str
) -> tuple[list[str] | None, dict[str, xr.Dataset]]:
    """Names of the neurons, or None, and the roles with their neurons in one order.

    Raises
    ------
    InputError
        If two roles name different neurons.
    """
    named = {
        role: node["neuron"].values.tolist()
        for role, node in roles.items()
        if "neuron" in node.coords
    }
    if not named:
        return None, roles
    first, names = next(iter(named.items()))
    roles = dict(roles)
    for role, own in named.items():
        if own == names:
            continue
        if sorted(own) != sorted(names):
            other = sorted(set(own) ^ set(names))
            raise InputError(
                f"differ in their neurons: {', '.join(other[:5])}",
                where=f"{where}: {first} and {role}",
                remedy="Give both the same neurons.",
            )
        order = [own.index(name) for name in names]
        node = roles[role].isel(neuron=order)
        if "spikes_outside" in node.attrs:
            node.attrs["spikes_outside"] = node.attrs["spikes_outside"][order]
        roles[role] = node
    return names, roles


def _known_dims(array: xr.DataArray, known, needed, where: str, words: str) -> None:
    unknown = [str(dim) for dim in array.dims if dim not in known]
    missing = [dim for dim in needed if dim not in array.dims]
    if unknown or missing:
        what = f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing)}"
        raise InputError(
            f"has dimensions {tuple(map(str, array.dims))} ({what})",
            where=where,
            remedy=f"Name them {words}, in any order: array.rename(...).",
        )


def _is_trials(response) -> bool:
    if not isinstance(response, (list, tuple)) or not response:
        return False
    return all(isinstance(trial, xr.DataArray) for trial in response)


def _seconds(coordinate: xr.DataArray, where: str) -> np.ndarray:
    units = _units(coordinate) or "s"
    if coordinate.dtype.kind not in "iuf" or units not in SECONDS:
        raise InputError(
            f"holds {coordinate.dtype} values in {units!r}",
            where=where,
            remedy="Give seconds as numbers, with attribute units='s'.",
        )
    values = coordinate.values.astype(np.float64) * SECONDS[units]
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InputError(
            f"value {bad[0]} is NaN or infinite", where=where, remedy="Give every time, s."
        )
    return values


def _units(thing) -> str | None:
    units = thing.attrs.get("units")
    return str(units) if units not in (None, "") else None
