"""The recording contract: stimuli, responses and which frame was on screen, by role."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromodels.datasets.binning import exact_bin_width
from neuromodels.datasets.blocks import Block, block_runs, make_blocks, regroup, stored_width
from neuromodels.datasets.covariate_labels import covariate_names
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import Frames

if TYPE_CHECKING:
    from neuromodels.datasets.problems import Report

#: Wider bins are taken for a slip of the unit, s.
LARGEST_BIN = 1
ROLES = ("train", "heldout", "test", "repeats")
KINDS = ("count", "rate", "trace")


def frame_size(shape: tuple[int, ...]) -> str:
    """Size of a frame ([channel,] y, x) as people read it: "50 (y) x 40 (x) px"."""
    *channels, height, width = shape
    said = f"{height} (y) x {width} (x) px"
    return f"{channels[0]} channels of {said}" if channels and channels[0] > 1 else said


def format_duration(seconds: float) -> str:
    """Seconds as people say them: "30 min 0 s", "6.67 s"."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return (f"{hours} h " if hours else "") + f"{minutes} min {seconds} s"


@dataclass
class _Shared:
    """What all views of one recording share, so that nothing is read or checked twice."""

    frames: dict = field(default_factory=dict)
    views: dict = field(default_factory=dict)
    report: Report | None = None


class Recording:
    """What was shown and what the neurons did, as a labelled tree, read when needed.

    Parameters
    ----------
    tree : xarray.DataTree
        `/STIMULUS/ROLE` nodes as `docs/recordings.md` states. Use `open_recording`,
        `sample_recording` or `recording_from_arrays` to make one.
    source : str
        Path of the file, or "arrays"; error messages begin with it.
    """

    def __init__(self, tree: xr.DataTree, source: str = "arrays"):
        self.tree = tree
        self.source = source
        self._group = 1
        self._shared = _Shared(views={1: self})
        self._roles: dict[tuple[str, str], xr.Dataset] = {}
        self._blocks: dict[tuple[str, str], list[Block]] = {}

    @property
    def stimuli(self) -> tuple[str, ...]:
        """Names of the stimuli."""
        return tuple(self.tree.children)

    @property
    def neurons(self) -> np.ndarray:
        """Identifiers of the neurons, str."""
        return np.asarray(self.tree.coords["neuron"].values).astype(str)

    @property
    def attrs(self) -> dict:
        """Species, area, licence, source, ... as the file states them."""
        return dict(self.tree.attrs)

    @property
    def identity(self) -> str:
        """Hash of the source (sha256), stored in every result."""
        return str(self.tree.attrs.get("identity", ""))

    @property
    def truth(self) -> xr.Dataset:
        """What is known of a simulated retina: filters, weights, kernels, gain (`true_...`).

        The true rates stand in the roles: `recording.test["true_rate"]`.

        Raises
        ------
        InputError
            If the recording is no simulation.
        """
        found = self.tree.to_dataset(inherit=False)
        names = [name for name in found.data_vars if str(name).startswith("true_")]
        if not names:
            raise self._error("is no simulation", "truth", "Make one with simulate_retina.")
        return found[names].assign_attrs(found.attrs.get("simulation", {}))

    @property
    def stored_bin_width(self) -> float:
        """Width of the bins in the file, s."""
        return float(self._stored)

    @property
    def bin_width(self) -> float:
        """Width of the bins of this view, s."""
        return float(self.exact_bin_width)

    @property
    def exact_bin_width(self) -> Fraction:
        """Width of the bins of this view as a fraction of a second."""
        return self._stored * self._group

    @property
    def _stored(self) -> Fraction:
        for stimulus in self.tree.children.values():
            for node in stimulus.children.values():
                return stored_width(node.to_dataset())
        raise self._error("holds no stimulus with a role", "/", "Add a `train` role.")

    def at(self, bin_width) -> Recording:
        """The same recording in wider bins: a view that computes when it is read.

        Counts are summed (rates, traces and covariates averaged) in whole groups from the
        start of each block; an incomplete last group is dropped. A bin shows the frame at its
        centre.

        Parameters
        ----------
        bin_width : float or Fraction
            New width in seconds, a whole multiple of `stored_bin_width`.

        Raises
        ------
        InputError
            If it is no whole multiple; the message names the nearest one.
        """
        wanted = exact_bin_width(bin_width)
        if wanted > max(LARGEST_BIN, self._stored):
            raise InputError(
                f"{float(wanted):g} s is too wide for a bin",
                where=f"{self.source}: bin_width",
                remedy="Widths are in seconds: 10 ms is 0.010.",
            )
        ratio = wanted / self._stored
        if ratio.denominator != 1:
            nearest = self._stored * max(1, round(ratio))
            raise InputError(
                f"{float(wanted):.6g} s is no whole multiple of the stored bins of "
                f"{float(self._stored):.6g} s",
                where=f"{self.source}: bin_width",
                remedy=f"The nearest one is {float(nearest):.6g} s ({nearest} s).",
            )
        views = self._shared.views
        if int(ratio) not in views:
            view = Recording(self.tree, self.source)
            view._group = int(ratio)
            view._shared = self._shared
            views[int(ratio)] = view
        return views[int(ratio)]

    def roles(self, stimulus: str | None = None) -> tuple[str, ...]:
        """Roles of a stimulus: some of train, heldout, test, repeats."""
        present = self.tree[self._stimulus(stimulus)].children
        known = [role for role in ROLES if role in present]
        return (*known, *(role for role in present if role not in ROLES))

    def role(self, role: str, stimulus: str | None = None) -> xr.Dataset:
        """Stimulus and response of one role as a labelled dataset, at this view's bins.

        Raises
        ------
        InputError
            If there is no such role, or several stimuli and none was named.
        """
        stimulus = self._stimulus(stimulus)
        key = (stimulus, role)
        if key not in self._roles:
            stored = self._stored_role(role, stimulus)
            self._roles[key] = stored if self._group == 1 else regroup(stored, self._group)
        return self._roles[key]

    @property
    def train(self) -> xr.Dataset:
        """The data that fits split into training and validation."""
        return self.role("train")

    @property
    def heldout(self) -> xr.Dataset:
        """Unrepeated data that are never fitted."""
        return self.role("heldout")

    @property
    def test(self) -> xr.Dataset:
        """The repeated test stimulus: response (trial, time, neuron)."""
        return self.role("test")

    @property
    def repeats(self) -> xr.Dataset:
        """Further repeats, for couplings and ceilings."""
        return self.role("repeats")

    def blocks(self, role: str, stimulus: str | None = None) -> list[Block]:
        """What every fit reads: the blocks of a role in order, at this view's bins.

        The response is in memory; frames are read when `Block.movie` asks for them.
        """
        stimulus = self._stimulus(stimulus)
        key = (stimulus, role)
        if key not in self._blocks:
            self._blocks[key] = make_blocks(
                self.role(role, stimulus), self._frames(role, stimulus), self._background(stimulus)
            )
        return list(self._blocks[key])

    def validate(self) -> Report:
        """Everything that is wrong with the recording, in one report (read once, then kept)."""
        from neuromodels.datasets.validation import validate

        if self._shared.report is None:
            self._shared.report = validate(self)
        return self._shared.report

    def to_hdf5(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the recording, at its stored bins, to one labelled HDF5 file."""
        from neuromodels.datasets.formats.labelled_hdf5 import write

        return write(self, path, overwrite=overwrite)

    def close(self) -> None:
        """Close the file, if there is one; what was not read yet can no longer be."""
        self.tree.close()

    def summary(self) -> list[dict]:
        """Sizes of every role, as plain values: one dict per stimulus and role."""
        return [
            _role_summary(name, role, self._stored_role(role, name))
            for name in self.stimuli
            for role in self.roles(name)
        ]

    def __repr__(self) -> str:
        head, rows = _describe(self)
        width = max((len(row[0]) for row in rows), default=0)
        lines = [f"  {row[0]:<{width}}   {row[1]:<22} {row[2]}".rstrip() for row in rows]
        return "\n".join([head, *lines])

    def _repr_html_(self) -> str:
        head, rows = _describe(self)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        return f"<div><p>{html.escape(head)}</p><table>{body}</table></div>"

    def _stimulus(self, stimulus: str | None) -> str:
        names = self.stimuli
        if stimulus is None and len(names) == 1:
            return names[0]
        if stimulus in names:
            return stimulus
        said = "several stimuli and none was named" if stimulus is None else f"no {stimulus!r}"
        raise self._error(f"has {said}", "stimulus", f"Choose one of: {', '.join(names)}.")

    def _stored_role(self, role: str, stimulus: str) -> xr.Dataset:
        node = self.tree[stimulus]
        if role not in node.children:
            raise self._error(
                f"has no role {role!r}",
                f"/{stimulus}",
                f"It has: {', '.join(self.roles(stimulus)) or 'none'}.",
            )
        dataset = node[role].to_dataset()
        # Coordinates of the root that describe units with axes of their own (an outline of a
        # receptive field) are inherited by every node; they do not belong to a role.
        own = node[role].to_dataset(inherit=False).variables.values()
        used = {dim for variable in own for dim in variable.dims}
        return dataset.drop_vars(
            [name for name in dataset.coords if name in dataset.dims and name not in used]
        )

    def _frames(self, role: str, stimulus: str) -> Frames | None:
        frames = self._shared.frames
        if (stimulus, role) not in frames:
            stored = self._stored_role(role, stimulus)
            known = "stimulus" in stored
            frames[stimulus, role] = Frames(stored["stimulus"].variable) if known else None
        return frames[stimulus, role]

    def _background(self, stimulus: str) -> float:
        return float(self.tree[stimulus].attrs.get("background", 0.0))

    def _error(self, what: str, where: str, remedy: str) -> InputError:
        return InputError(what, where=f"{self.source}: {where}", remedy=remedy)


def _role_summary(stimulus: str, role: str, dataset: xr.Dataset) -> dict:
    n_bins = dataset.sizes.get("time", 0)
    summary = {
        "stimulus": stimulus,
        "role": role,
        "n_bins": n_bins,
        "duration_s": float(n_bins * stored_width(dataset)),
        "n_blocks": len(block_runs(dataset["block"].values)),
        "n_trials": dataset.sizes.get("trial"),
        "n_neurons": dataset.sizes.get("neuron", 0),
        "kind": dataset["response"].attrs.get("kind"),
        "selection": dataset.attrs.get("selection", ""),
        "covariates": covariate_names(dataset),
    }
    if "stimulus" in dataset:
        movie = dataset["stimulus"]
        frame_time = dataset["frame_time"].values if "frame_time" in dataset else np.zeros(0)
        steps = np.diff(frame_time)
        summary["frame_shape"] = tuple(movie.shape[1:])
        summary["n_frames"] = movie.sizes["frame"]
        summary["frame_rate_hz"] = float(1 / np.median(steps)) if steps.size else None
        summary["movie_bytes"] = int(movie.size * movie.dtype.itemsize)
    return summary


def _describe(recording: Recording) -> tuple[str, list[tuple[str, str, str]]]:
    summaries = recording.summary()
    attrs = recording.tree.attrs
    stated = [str(attrs[key]) for key in ("species", "area") if key in attrs]
    subject = ", ".join(word for word in stated if word and word != "not stated")
    parts = [Path(recording.source).name, attrs.get("format", ""), subject]
    parts.append(f"{recording.neurons.size} neurons")
    if summaries:
        parts.append(f"{recording.bin_width * 1e3:.4g} ms bins")
    movies = [item for item in summaries if "frame_shape" in item]
    if movies:
        size = frame_size(movies[0]["frame_shape"])
        rate = movies[0]["frame_rate_hz"]
        total = sum(item["movie_bytes"] for item in movies)
        lazily = f" ({total / 1e9:.1f} GB, read lazily)" if total > 1e9 else ""
        parts.append(size + (f" at {rate:.4g} Hz" if rate else "") + lazily)
    several = len(recording.stimuli) > 1
    rows = []
    for item in summaries:
        name = f"{item['stimulus']}/{item['role']}" if several else item["role"]
        length = format_duration(item["duration_s"])
        if item["n_trials"] is not None:
            length += f" x {item['n_trials']}"
        blocks = f"{item['n_blocks']} blocks" if item["n_blocks"] != 1 else "1 block"
        said = item["selection"] or blocks
        rows.append((name, length, said))
    covariates = list(dict.fromkeys(name for item in summaries for name in item["covariates"]))
    if covariates:
        rows.append(("covariates", ", ".join(covariates), ""))
    return "   ".join(part for part in parts if part), rows
