"""Stretches of time without a jump: what every fit reads, in bins of any whole width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import xarray as xr

from neuromodels.datasets.binning import group_bins
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import SLAB_BYTES, Frames, read_frames


def stored_width(role: xr.Dataset) -> Fraction:
    """Exact width of the stored bins of a role node, s.

    Raises
    ------
    InputError
        If `time` does not say it.
    """
    attrs = role["time"].attrs if "time" in role.variables else {}
    if not {"bin_width_numerator", "bin_width_denominator"} <= set(attrs):
        raise InputError(
            "does not say its bin width",
            where="time",
            remedy="Add bin_width_numerator and bin_width_denominator (s, as a fraction).",
        )
    return Fraction(int(attrs["bin_width_numerator"]), int(attrs["bin_width_denominator"]))


def block_runs(labels: np.ndarray) -> list[tuple[int, int, int]]:
    """Runs of equal block labels as (label, first bin, bin after the last)."""
    labels = np.asarray(labels)
    if labels.size == 0:
        return []
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts = [0, *edges.tolist()]
    stops = [*edges.tolist(), labels.size]
    return [(int(labels[a]), a, b) for a, b in zip(starts, stops, strict=True)]


def regroup(role: xr.Dataset, per_group: int) -> xr.Dataset:
    """A role node with `per_group` bins joined into one, block by block.

    Returns a dataset with the same variables; `time` keeps the start of each new bin and its
    exact width as a fraction in its attributes.
    """
    runs = block_runs(role["block"].values)
    groups = [(stop - start) // per_group for _, start, stop in runs]
    first = [
        start + per_group * np.arange(n) for (_, start, _), n in zip(runs, groups, strict=True)
    ]
    first = np.concatenate([np.zeros(0, dtype=np.intp), *first]).astype(np.intp)

    count = role["response"].attrs.get("kind") == "count"
    joined = {}
    for name, how in (
        ("response", "sum" if count else "mean"),
        ("covariates", "mean of known"),
        # Expected counts of a simulated recording.
        ("true_rate", "sum"),
        ("conditional_rate", "sum"),
    ):
        if name in role:
            variable = role[name]
            values = _join_blocks(variable, runs, groups, per_group, how)
            joined[name] = (variable.dims, values, dict(variable.attrs))
    if "frame_of_bin" in role:
        centre = role["frame_of_bin"].values[first + per_group // 2]
        joined["frame_of_bin"] = (("time",), centre, dict(role["frame_of_bin"].attrs))

    rest = role.drop_dims("time")
    width = stored_width(role) * per_group
    attrs = dict(role["time"].attrs)
    attrs.update(bin_width_numerator=width.numerator, bin_width_denominator=width.denominator)
    coords = {
        name: ("time", coord.values[first], attrs if name == "time" else dict(coord.attrs))
        for name, coord in role.coords.items()
        if coord.dims == ("time",)
    }
    return rest.assign(joined).assign_coords(coords).assign_attrs(role.attrs)


def _join_blocks(variable: xr.DataArray, runs, groups, per_group: int, how: str) -> np.ndarray:
    axis = variable.dims.index("time")
    bin_bytes = variable.dtype.itemsize * (variable.size // max(1, variable.sizes["time"]))
    # A long block is read in pieces of whole groups.
    most = max(1, SLAB_BYTES // max(1, bin_bytes * per_group)) * per_group
    pieces = [
        (first, min(first + most, start + n * per_group))
        for (_, start, _), n in zip(runs, groups, strict=True)
        for first in range(start, start + n * per_group, most)
    ]
    parts = []
    slab, offset = None, 0
    for i, (start, stop) in enumerate(pieces):
        if slab is None or stop > offset + slab.shape[axis]:
            # Many short blocks are read together; a long one alone.
            upto = stop
            for _, later in pieces[i + 1 :]:
                if (later - start) * bin_bytes > SLAB_BYTES:
                    break
                upto = later
            offset = start
            slab = np.asarray(variable.isel(time=slice(start, upto)).values)
        inside = [slice(None)] * slab.ndim
        inside[axis] = slice(start - offset, stop - offset)
        n = (stop - start) // per_group
        parts.append(group_bins(slab[tuple(inside)], n, per_group, axis, how))
    if not parts:
        nothing = variable.isel(time=slice(0, 0)).values
        return group_bins(np.asarray(nothing), 0, per_group, axis, how)
    return np.concatenate(parts, axis=axis)


def make_blocks(role: xr.Dataset, frames: Frames | None, background: float) -> list[Block]:
    response = role["response"]
    repeated = "trial" in response.dims
    order = ("trial", "time", "neuron") if repeated else ("time", "neuron")
    values = np.asarray(response.transpose(*order).values)
    if np.issubdtype(values.dtype, np.integer):
        # Unsigned counts would wrap round in the differences that fits take.
        values = values.astype(np.int32, copy=False)
    count = response.attrs.get("kind") == "count"
    trials = role["trial"].values if repeated else None
    time = role["time"].values
    shown = (
        role["frame_of_bin"].values
        if "frame_of_bin" in role
        else np.full(time.size, -1, dtype=np.int32)
    )
    covariates = (
        role["covariates"].transpose(..., "time", "covariate") if "covariates" in role else None
    )
    named = () if covariates is None else tuple(role["covariate"].values.astype(str).tolist())
    blocks = []
    for label, start, stop in block_runs(role["block"].values):
        part = values[..., start:stop, :]
        labels = trials
        extra = None if covariates is None else np.asarray(covariates[..., start:stop, :].values)
        if repeated and np.issubdtype(part.dtype, np.floating):
            there = ~np.isnan(part).all(axis=(1, 2))
            part, labels = part[there], trials[there]
            if extra is not None and extra.ndim == 3:
                extra = extra[there]
            if count and not np.isnan(part).any():
                part = part.astype(np.int32)
            else:
                part = part.astype(np.float32, copy=False)
        blocks.append(
            Block(
                label=label,
                time=time[start:stop],
                response=part,
                frame_of_bin=shown[start:stop],
                frames=frames,
                background=background,
                trials=labels,
                covariates=extra,
                covariate_names=named,
            )
        )
    return blocks


@dataclass(frozen=True, eq=False)
class Block:
    """One stretch of a recording without a jump in time; no window may cross its edges.

    Attributes
    ----------
    label : int
        Label of the block in the recording.
    time : (bin,) float64
        Start of each bin, s.
    response : (bin, neuron) or (trial, bin, neuron)
        Spike counts as int32; float32 where trials are ragged (NaN: not recorded) and for
        rates and traces. Trials without any data in this block are left out.
    frame_of_bin : (bin,) int
        Frame on screen at the centre of each bin, −1 for none.
    frames : Frames or array (frame, channel, y, x), or None where the stimulus is unknown
    background : float
        What a bin without a frame shows.
    trials : (trial,) labels of the trials, or None for an unrepeated block
    covariates : (bin, covariate) or (trial, bin, covariate), or None
    covariate_names : tuple of str
        Of its last axis.
    """

    label: int
    time: np.ndarray
    response: np.ndarray
    frame_of_bin: np.ndarray
    frames: Frames | np.ndarray | None
    background: float = 0.0
    trials: np.ndarray | None = None
    covariates: np.ndarray | None = None
    covariate_names: tuple[str, ...] = ()

    @property
    def n_bins(self) -> int:
        return len(self.time)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Of one frame, (channel, y, x); no frame is read.

        Raises
        ------
        InputError
            If the stimulus of this block is unknown.
        """
        return tuple(int(n) for n in self._known_frames().shape[1:])

    @property
    def n_trials(self) -> int:
        return 1 if self.response.ndim == 2 else self.response.shape[0]

    def movie(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Frames on screen in bins `start` to `stop`: (bin, channel, y, x), as stored.

        Raises
        ------
        InputError
            If the stimulus of this block is unknown.
        """
        self._known_frames()
        index = np.asarray(self.frame_of_bin[start:stop], dtype=np.intp)
        shown = index >= 0
        if not shown.any():
            shape = (index.size, *self.frames.shape[1:])
            return np.full(shape, self.background, dtype=self.frames.dtype)
        # Bins without a frame show some other frame, and then the background.
        movie = read_frames(self.frames, np.where(shown, index, index[shown].min()))
        if not shown.all():
            movie[~shown] = self.background
        return movie

    def _known_frames(self) -> Frames | np.ndarray:
        if self.frames is None:
            raise InputError(
                "has no stimulus",
                where=f"block {self.label}",
                remedy="Use a role that holds `stimulus`; responses alone serve couplings.",
            )
        return self.frames

    def cut(self, start: int, stop: int, label: int | None = None) -> Block:
        """Bins `start` to `stop` as a block of their own; nothing is copied."""
        covariates = self.covariates
        return replace(
            self,
            label=self.label if label is None else label,
            time=self.time[start:stop],
            response=self.response[..., start:stop, :],
            frame_of_bin=self.frame_of_bin[start:stop],
            covariates=None if covariates is None else covariates[..., start:stop, :],
        )
