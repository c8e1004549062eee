"""Role nodes and recordings, built with labels and units on every axis; readers use this."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from neuromodels.datasets.binning import bin_edges, exact_bin_width, smallest_unsigned
from neuromodels.datasets.blocks import stored_width
from neuromodels.datasets.covariate_labels import joined_covariates, label_covariates
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import frame_slabs
from neuromodels.datasets.recording import Recording

SCHEMA_VERSION = 1
UNITS_OF_KIND = {"count": "spikes per bin", "rate": "Hz", "trace": "arbitrary"}


def build_role(
    frames,
    response,
    *,
    bin_width,
    time=None,
    start: float = 0.0,
    block=None,
    frame_of_bin=None,
    frame_time=None,
    trials=None,
    kind: str = "count",
    stimulus_units: str = "arbitrary",
    response_units: str | None = None,
    y=None,
    x=None,
    pixel_units: str = "pixel",
    covariates=None,
    covariate_names: Sequence[str] | None = None,
    covariate_units: Sequence[str] | None = None,
    attrs: Mapping | None = None,
    where: str = "arrays",
) -> xr.Dataset:
    """One role node of the recording contract, with labels and units on every axis.

    Parameters
    ----------
    frames : array, lazy xarray.Variable (see `lazy_variable`) or None
        (frame,), (frame, y), (frame, y, x) or (frame, channel, y, x); None if unknown.
    response : (bin, neuron), (trial, bin, neuron), or a list of (bin, neuron), one per trial
        Ragged trials are padded with NaN and written as integers with a fill value.
    bin_width : Fraction or float, s
    time : (bin,), s, optional
        Start of each bin; by default contiguous from `start`.
    block : (bin,) integers, optional
        A new label wherever time jumps (default: one block, 0).
    frame_of_bin : (bin,) integers, optional
        Index of the frame on screen, −1 for none. Required with frames.
    frame_time : (frame,), s, optional
        Onset of every frame.
    trials : (trial,) integers, optional
        Labels of the trials (default 0, 1, ...).
    covariates : (bin, covariate) or (trial, bin, covariate), optional
        Running speed, pupil, ...; `covariate_names` labels them, `covariate_units` says the unit
        of each.
    attrs : dict, optional
        Attributes of the role; `selection` says why these data have this role.
    where : str
        How error messages begin: file and node.
    """
    width = exact_bin_width(bin_width, f"{where}: bin_width")
    response = _response_variable(response, kind, response_units, where)
    n_bins = response.sizes["time"]
    if time is None:
        time = bin_edges(start, width, n_bins)[:-1]
    time_attrs = {
        "units": "s",
        "description": "start of each bin",
        "bin_width_numerator": width.numerator,
        "bin_width_denominator": width.denominator,
    }
    coords = {
        "time": ("time", np.asarray(time, dtype=np.float64), time_attrs),
        "block": (
            "time",
            np.zeros(n_bins, dtype=np.int32) if block is None else np.asarray(block),
            {"units": "1", "description": "stretch of time without a jump"},
        ),
    }
    variables = {"response": response}
    if "trial" in response.dims:
        n_trials = response.sizes["trial"]
        labels = np.arange(n_trials) if trials is None else np.asarray(trials)
        coords["trial"] = ("trial", labels, {"units": "1", "description": "number of the repeat"})
    if frames is not None:
        movie = _movie_variable(frames, stimulus_units, where)
        variables["stimulus"] = movie
        coords.update(_movie_coords(movie, y, x, pixel_units, frame_time))
        if frame_of_bin is None:
            raise InputError("is missing", where=f"{where}: frame_of_bin", remedy="Give it.")
    if frame_of_bin is not None:
        variables["frame_of_bin"] = (
            "time",
            np.asarray(frame_of_bin, dtype=np.int32),
            {"units": "1", "description": "index of the frame at the bin's centre, -1 for none"},
        )
    if covariates is not None:
        labelled = label_covariates(np.asarray(covariates), covariate_names, covariate_units)
        variables |= labelled[0]
        coords |= labelled[1]
    _agree(variables, coords, where)
    return xr.Dataset(variables, coords, dict(attrs or {}))


def build_recording(
    roles: Mapping[str, Mapping[str, xr.Dataset]],
    *,
    neurons: Sequence[str] | None = None,
    attrs: Mapping | None = None,
    stimulus_attrs: Mapping[str, Mapping] | None = None,
    unit_metadata: Mapping[str, object] | None = None,
    identity: str | None = None,
    source: str = "arrays",
) -> Recording:
    """Join role nodes into a recording.

    Parameters
    ----------
    roles : {stimulus: {role: dataset}}
        Datasets made by `build_role`.
    neurons : list of str, optional
        Identifiers (default "0", "1", ...).
    attrs : dict, optional
        Attributes of the recording: species, area, licence, source, format, ...
    stimulus_attrs : {stimulus: dict}, optional
        What each stimulus is: description, generator, seed, background.
    unit_metadata : {name: (neuron,) array or (dims, values, attrs)}, optional
        What is known about the neurons; axes besides `neuron` need an entry of their own.
    identity : str, optional
        Hash of the source file (default: sha256 over the arrays).
    source : str
        Path of the file; error messages begin with it.
    """
    counts = {
        f"/{stimulus}/{role}": node.sizes["neuron"]
        for stimulus, nodes in roles.items()
        for role, node in nodes.items()
    }
    if not counts:
        raise InputError("holds no data", where=source, remedy="Give at least a train role.")
    n_neurons = next(iter(counts.values()))
    for place, number in counts.items():
        if number != n_neurons:
            raise InputError(
                f"has {number} neurons, {next(iter(counts))} has {n_neurons}",
                where=f"{source}: {place}/response",
                remedy="Every role must hold the same neurons in the same order.",
            )
    names = [str(i) for i in range(n_neurons)] if neurons is None else [str(n) for n in neurons]
    if len(names) != n_neurons:
        raise InputError(
            f"has {len(names)} names for {n_neurons} neurons",
            where=f"{source}: neurons",
            remedy="Give one identifier per neuron.",
        )
    coords = {
        "neuron": ("neuron", np.asarray(names, dtype=str), {"description": "identifier"}),
    }
    for name, value in (unit_metadata or {}).items():
        coords[name] = value if isinstance(value, tuple) else ("neuron", np.asarray(value))

    nodes = {}
    for stimulus, members in roles.items():
        if not str(stimulus).strip(". ") or "/" in str(stimulus):
            raise InputError(
                f"{stimulus!r} is no name for a stimulus",
                where=source,
                remedy="Take letters and digits; a slash would be a folder of the file.",
            )
        shared = _shared_axes(stimulus, members, source)
        about = dict((stimulus_attrs or {}).get(stimulus, {}))
        about.setdefault("background", 0.0)
        nodes[f"/{stimulus}"] = xr.Dataset(coords=shared, attrs=about)
        for role, node in members.items():
            nodes[f"/{stimulus}/{role}"] = node.assign_coords(neuron=coords["neuron"])
    stated = {"species": "not stated", "area": "not stated", "licence": "not stated"}
    stated |= {"source": source, **(attrs or {})}
    stated["identity"] = hash_roles(roles, names) if identity is None else identity
    stated |= {"neuromodels_schema": "recording", "schema_version": SCHEMA_VERSION}
    nodes["/"] = xr.Dataset(coords=coords, attrs=stated)
    return Recording(xr.DataTree.from_dict(nodes), source)


def concatenate_roles(roles: Sequence[xr.Dataset], where: str = "arrays") -> xr.Dataset:
    """Several movies of one role after one another, each in blocks of its own.

    Frames and bins follow each other, block labels are numbered anew, and times are shifted
    so that they ascend. Movies with fewer trials than others are padded with NaN.

    Raises
    ------
    InputError
        If the movies differ in size; the message begins with `where`.
    """
    if len(roles) == 1:
        return roles[0]
    shapes = {role["stimulus"].shape[1:] for role in roles}
    if len(shapes) > 1:
        raise InputError(
            f"holds movies of different sizes: {sorted(shapes)}",
            where=f"{where}: stimulus",
            remedy="Movies of one role must share one grid of pixels; name them as stimuli.",
        )
    width = stored_width(roles[0])
    n_trials = max(role.sizes.get("trial", 0) for role in roles)
    times, blocks, frames_of_bins, movies, onsets, responses = [], [], [], [], [], []
    next_time, next_block, next_frame = 0.0, 0, 0
    for role in roles:
        time = role["time"].values
        shift = next_time - time[0] if time.size else 0.0
        labels = np.unique(role["block"].values, return_inverse=True)[1]
        shown = role["frame_of_bin"].values
        times.append(time + shift)
        blocks.append(labels + next_block)
        frames_of_bins.append(np.where(shown < 0, -1, shown + next_frame))
        movies.append(np.asarray(role["stimulus"].values))
        if "frame_time" in role:
            onsets.append(role["frame_time"].values + shift)
        responses.append(_pad_trials(np.asarray(role["response"].values), n_trials))
        next_time = float(times[-1][-1] + float(width)) if time.size else next_time
        next_block += int(labels.max(initial=-1)) + 1
        next_frame += role.sizes["frame"]
    first = roles[0]
    return build_role(
        np.concatenate(movies),
        np.concatenate(responses, axis=-2),
        bin_width=width,
        time=np.concatenate(times),
        block=np.concatenate(blocks).astype(np.int32),
        frame_of_bin=np.concatenate(frames_of_bins),
        frame_time=np.concatenate(onsets) if len(onsets) == len(roles) else None,
        kind=first["response"].attrs["kind"],
        stimulus_units=first["stimulus"].attrs["units"],
        response_units=first["response"].attrs["units"],
        y=first["y"].values,
        x=first["x"].values,
        pixel_units=first["y"].attrs["units"],
        attrs={**first.attrs, **_total_outside(roles)},
        **joined_covariates(roles, n_trials),
    )


def hash_roles(roles: Mapping[str, Mapping[str, xr.Dataset]], names: Sequence[str]) -> str:
    """sha256 over names, shapes, types and values of all roles; movies are streamed."""
    digest = hashlib.sha256("\n".join(names).encode())
    for stimulus in sorted(roles):
        for role, node in sorted(roles[stimulus].items()):
            for name in sorted(node.variables):
                variable = node.variables[name]
                head = f"/{stimulus}/{role}/{name}:{variable.dims}:{variable.shape}"
                digest.update(f"{head}:{variable.dtype.str}".encode())
                slabs = frame_slabs(variable) if variable.ndim else [variable.values]
                for slab in slabs:
                    digest.update(np.ascontiguousarray(slab).tobytes())
    return digest.hexdigest()


def stack_trials(trials, where: str) -> np.ndarray:
    if isinstance(trials, (list, tuple)):
        trials = [np.asarray(trial) for trial in trials]
        if any(trial.ndim != 2 for trial in trials):
            raise InputError(
                f"holds a trial of shape {next(t.shape for t in trials if t.ndim != 2)}",
                where=where,
                remedy="Every trial must be (bin, neuron).",
            )
        if len({trial.shape[1] for trial in trials}) > 1:
            raise InputError(
                f"has trials of {sorted({trial.shape[1] for trial in trials})} neurons",
                where=where,
                remedy="Every trial must hold the same neurons.",
            )
        longest = max((len(trial) for trial in trials), default=0)
        if all(len(trial) == longest for trial in trials):
            return np.stack(trials) if trials else np.zeros((0, 0, 0), dtype=np.uint8)
        padded = np.full((len(trials), longest, trials[0].shape[1]), np.nan, dtype=np.float32)
        for i, trial in enumerate(trials):
            padded[i, : len(trial)] = trial
        return padded
    return np.asarray(trials)


def _pad_trials(response: np.ndarray, n_trials: int) -> np.ndarray:
    missing = n_trials - response.shape[0]
    if response.ndim != 3 or missing == 0:
        return response
    return np.pad(
        response.astype(np.float32), ((0, missing), (0, 0), (0, 0)), constant_values=np.nan
    )


def _response_variable(response, kind: str, units: str | None, where: str) -> xr.Variable:
    values = stack_trials(response, where)
    if values.ndim not in (2, 3):
        raise InputError(
            f"has shape {values.shape}",
            where=f"{where}: response",
            remedy="It must be (bin, neuron), or (trial, bin, neuron) with repeats.",
        )
    dims = ("trial", "time", "neuron")[-values.ndim :]
    about = {"count": "spikes in each bin", "rate": "firing rate", "trace": "response"}[kind]
    attrs = {"kind": kind, "units": units or UNITS_OF_KIND[kind], "description": about}
    if kind != "count":
        return xr.Variable(dims, values.astype(np.float32, copy=False), attrs)
    if values.dtype == bool:
        values = values.astype(np.uint8)
    present = values
    if np.issubdtype(values.dtype, np.floating):
        present = np.nan_to_num(values, nan=0.0, posinf=-1.0, neginf=-1.0)
    countable = bool((present >= 0).all() and (present == np.floor(present)).all())
    if not countable:  # left as it is: `validate` says where it is wrong
        return xr.Variable(dims, values, attrs)
    small = smallest_unsigned(present)
    if np.isnan(values).any():
        variable = xr.Variable(dims, values.astype(np.float32, copy=False), attrs)
        fill = small.dtype.type(np.iinfo(small.dtype).max)
        variable.encoding = {"dtype": small.dtype, "_FillValue": fill}
        return variable
    return xr.Variable(dims, small, attrs)


def _movie_variable(frames, units: str, where: str) -> xr.Variable:
    attrs = {"units": units, "description": "frames shown, in the order of frame_of_bin"}
    lazy = isinstance(frames, xr.Variable)
    values = frames if lazy else np.asarray(frames)
    if values.ndim not in (1, 2, 3, 4):
        raise InputError(
            f"has shape {values.shape}",
            where=f"{where}: stimulus",
            remedy="It must be (frame,), (frame, y), (frame, y, x) or (frame, channel, y, x).",
        )
    dims = ("frame", "channel", "y", "x") if values.ndim == 4 else ("frame", "y", "x")
    if lazy and values.ndim >= 3:
        lazily = frames.copy(deep=False)
        lazily.dims = dims
        lazily.attrs = {**attrs, **frames.attrs}
        return lazily
    values = np.asarray(values)
    values = values.reshape(values.shape + (1,) * (3 - values.ndim))
    if np.issubdtype(values.dtype, np.integer) or values.dtype == bool:
        small = values.size == 0 or (values.min() >= 0 and values.max() <= 255)
        values = values.astype(np.uint8 if small else np.float32, copy=False)
    else:
        values = values.astype(np.float32, copy=False)
    return xr.Variable(dims, values, attrs)


def _movie_coords(movie: xr.Variable, y, x, pixel_units: str, frame_time) -> dict:
    coords = {}
    for axis, given in (("y", y), ("x", x)):
        values = np.arange(movie.sizes[axis]) if given is None else np.asarray(given)
        about = {"units": pixel_units, "description": f"position of the pixel along {axis}"}
        coords[axis] = (axis, values, about)
    n_frames = movie.sizes["frame"]
    coords["frame"] = ("frame", np.arange(n_frames), {"units": "1", "description": "frame number"})
    if "channel" in movie.dims:
        coords["channel"] = ("channel", np.arange(movie.sizes["channel"]), {"units": "1"})
    if frame_time is not None:
        about = {"units": "s", "description": "onset of each frame"}
        coords["frame_time"] = ("frame", np.asarray(frame_time, dtype=np.float64), about)
    return coords


def _total_outside(roles: Sequence[xr.Dataset]) -> dict:
    outside = [role.attrs["spikes_outside"] for role in roles if "spikes_outside" in role.attrs]
    return {"spikes_outside": np.sum(outside, axis=0)} if outside else {}


def _agree(variables: dict, coords: dict, where: str) -> None:
    sizes: dict[str, tuple[int, str]] = {}
    for name, variable in {**variables, **coords}.items():
        if not isinstance(variable, xr.Variable):
            dims, values = variable[:2]
            variable = np.asarray(values)
            dims = (dims,) if isinstance(dims, str) else tuple(dims)
        else:
            dims = variable.dims
        if len(dims) != variable.ndim:
            raise InputError(
                f"has shape {variable.shape}, expected axes {dims}",
                where=f"{where}: {name}",
                remedy="Give it in that shape.",
            )
        for dim, size in zip(dims, variable.shape, strict=True):
            known, owner = sizes.setdefault(dim, (size, name))
            if known != size:
                raise InputError(
                    f"has {size} entries along {dim}, {owner} has {known}",
                    where=f"{where}: {name}",
                    remedy="Both must have the same length.",
                )


def _shared_axes(stimulus: str, members: Mapping[str, xr.Dataset], source: str) -> dict:
    shared, owner = {}, {}
    for role, node in members.items():
        if "stimulus" not in node:
            continue
        for axis in ("y", "x"):
            if axis not in shared:
                shared[axis], owner[axis] = node.coords[axis].variable, role
            elif not shared[axis].equals(node.coords[axis].variable):
                raise InputError(
                    f"has {node.sizes[axis]} pixels along {axis}, that of {owner[axis]} has "
                    f"{shared[axis].size}, or their positions differ",
                    where=f"{source}: /{stimulus}/{role}/stimulus",
                    remedy="All movies of a stimulus must share one grid of pixels.",
                )
    return shared
