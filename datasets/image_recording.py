"""Recordings of pictures: what every neuron did at every presentation of every picture."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError

if TYPE_CHECKING:
    from neuromodels.datasets.problems import Report

SCHEMA = "image_recording"
DEFAULT_STIMULUS = "images"
DEFAULT_ROLE = "presentations"
#: Label of presentations in which no picture was shown.
BLANK = "blank"
MAX_BYTES = 8 * 10**9  # of a table of repeats and pictures


class ImageRecording:
    """Responses to pictures, presentation by presentation, as a labelled tree.

    Parameters
    ----------
    tree : xarray.DataTree
        `/STIMULUS/ROLE` nodes with `response` (presentation, neuron[, time_bin]), the coordinates
        `stimulus_id` and `repetition` (presentation), `region` and `animal` (neuron),
        `time_bin_start` and `time_bin_end` (time_bin; s from the onset) and, where they are known,
        `images` (stimulus, channel, y, x). Use `open_recording` or
        `image_recording_from_arrays` to make one.
    source : str
        Path of the file, or "arrays"; error messages begin with it.
    """

    def __init__(self, tree: xr.DataTree, source: str = "arrays"):
        self.tree = tree
        self.source = source
        self._report: Report | None = None

    @property
    def stimuli(self) -> tuple[str, ...]:
        """Names of the sets of pictures."""
        return tuple(self.tree.children)

    @property
    def neurons(self) -> np.ndarray:
        """Identifiers of the neurons, str."""
        return np.asarray(self.tree.coords["neuron"].values).astype(str)

    @property
    def attrs(self) -> dict:
        """Species, area, notes of the reader, ... as the file states them."""
        return dict(self.tree.attrs)

    @property
    def identity(self) -> str:
        """Hash of the source (sha256), stored in every result."""
        return str(self.tree.attrs.get("identity", ""))

    def roles(self, stimulus: str | None = None) -> tuple[str, ...]:
        """Roles of a set of pictures: "presentations", or train, test, ... where stated."""
        return tuple(self.tree[self._stimulus(stimulus)].children)

    def role(self, role: str | None = None, stimulus: str | None = None) -> xr.Dataset:
        """Responses and pictures of one role; the only one need not be named.

        Raises
        ------
        InputError
            If there is no such role, or several and none was named.
        """
        stimulus = self._stimulus(stimulus)
        names = self.roles(stimulus)
        if role is None and len(names) == 1:
            role = names[0]
        if role not in names:
            said = "several roles and none was named" if role is None else f"no role {role!r}"
            raise self._error(f"has {said}", f"/{stimulus}", f"Choose one of: {', '.join(names)}.")
        dataset = self.tree[stimulus][role].to_dataset()
        used = {dim for variable in dataset.data_vars.values() for dim in variable.dims}
        return dataset.drop_vars(
            [name for name in dataset.coords if name in dataset.dims and name not in used]
        )

    def by_repetition(self, role: str | None = None, stimulus: str | None = None) -> xr.DataArray:
        """Responses in the order of pictures and repeats, for tuning and ceilings.

        Returns
        -------
        xarray.DataArray
            (repetition, stimulus, neuron[, time_bin]), float64, NaN where a picture was shown
            less often or a neuron was not recorded.
        """
        return by_repetition(self.role(role, stimulus))

    def validate(self) -> Report:
        """Everything that is wrong with the recording, in one report (read once, then kept)."""
        from neuromodels.datasets.image_validation import validate_images

        if self._report is None:
            self._report = validate_images(self)
        return self._report

    def to_hdf5(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the recording to one labelled HDF5 file, which `open_recording` opens."""
        from neuromodels.datasets.storage import write_tree

        return write_tree(self.tree, path, overwrite=overwrite)

    def to_assembly(
        self,
        path: str | Path,
        *,
        role: str | None = None,
        stimulus: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the responses of one role as a Brain-Score (BrainIO) assembly in netCDF."""
        from neuromodels.datasets.formats.assembly import write

        return write(self, path, role=role, stimulus=stimulus, overwrite=overwrite)

    def close(self) -> None:
        """Close the file, if there is one; what was not read yet can no longer be."""
        self.tree.close()

    def summary(self) -> list[dict]:
        """Sizes of every role, as plain values: one dict per stimulus and role."""
        return [
            _summary(stimulus, role, self.role(role, stimulus))
            for stimulus in self.stimuli
            for role in self.roles(stimulus)
        ]

    def __repr__(self) -> str:
        head, rows = self._lines()
        return "\n".join([head, *(f"  {name:<14} {said}" for name, said in rows)])

    def _repr_html_(self) -> str:
        head, rows = self._lines()
        body = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(said)}</td></tr>"
            for name, said in rows
        )
        return f"<div><p>{html.escape(head)}</p><table>{body}</table></div>"

    def _lines(self) -> tuple[str, list[tuple[str, str]]]:
        attrs = self.tree.attrs
        stated = [str(attrs.get(key, "")) for key in ("species", "area")]
        subject = ", ".join(word for word in stated if word and word != "not stated")
        head = [Path(self.source).name, str(attrs.get("format", "")), subject]
        head.append(f"{self.neurons.size} neurons")
        several = len(self.stimuli) > 1
        rows = []
        for item in self.summary():
            name = f"{item['stimulus']}/{item['role']}" if several else item["role"]
            rows.append((name, describe_role(item)))
        return "   ".join(part for part in head if part), rows

    def _stimulus(self, stimulus: str | None) -> str:
        names = self.stimuli
        if stimulus is None and len(names) == 1:
            return names[0]
        if stimulus in names:
            return stimulus
        said = "several stimuli and none was named" if stimulus is None else f"no {stimulus!r}"
        raise self._error(f"has {said}", "stimulus", f"Choose one of: {', '.join(names)}.")

    def _error(self, what: str, where: str, remedy: str) -> InputError:
        return InputError(what, where=f"{self.source}: {where}", remedy=remedy)


def by_repetition(role: xr.Dataset) -> xr.DataArray:
    """See `ImageRecording.by_repetition`; works on one role."""
    ids = role["stimulus_id"].values.astype(str)
    repetition = role["repetition"].values
    # In the order of the pictures where these are known, else as first shown.
    shown, first, index = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    if "stimulus" in role.coords:
        known = {str(name): i for i, name in enumerate(role["stimulus"].values)}
        order = np.array(sorted(order, key=lambda i: known.get(str(shown[i]), len(known))))
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    labels, row = np.unique(repetition, return_inverse=True)
    response = role["response"]
    cells = labels.size * shown.size * (response.size // max(1, len(ids)))
    if cells * 8 > MAX_BYTES:
        raise InputError(
            f"are shown so unequally that {labels.size} repeats of {shown.size} pictures would "
            f"take {cells * 8 / 1e9:.0f} GB",
            where="stimulus_id",
            remedy="Take the pictures with very many repeats out, or use role() as it is.",
        )
    rest = tuple(dim for dim in ("neuron", "time_bin") if dim in response.dims)
    values = response.transpose("presentation", *rest).values
    out = np.full((labels.size, shown.size, *values.shape[1:]), np.nan)
    out[row, rank[index]] = values
    coords = {"repetition": labels, "stimulus": shown[order], "neuron": role["neuron"]}
    for name in ("time_bin_start", "time_bin_end"):
        if "time_bin" in rest and name in role.coords:
            coords[name] = role[name]
    return xr.DataArray(out, dims=("repetition", "stimulus", *rest), coords=coords)


def number_repetitions(stimulus_id) -> np.ndarray:
    """How often each picture was shown before: 0 for its first presentation."""
    seen: dict[str, int] = {}
    count = np.empty(len(stimulus_id), dtype=np.int32)
    for i, name in enumerate(stimulus_id):
        count[i] = seen.get(name, 0)
        seen[name] = count[i] + 1
    return count


def describe_role(item: Mapping) -> str:
    """One line about a role, from its `summary`."""
    low, high = item["n_repeats"]
    repeats = f"{low} repeats" if low == high else f"{low}-{high} repeats"
    parts = [
        f"{item['n_stimuli']} pictures",
        "1 value each" if high == 1 else repeats,
        f"{item['n_presentations']} presentations",
    ]
    if item["n_time_bins"] is not None:
        start, stop = item["time_span_s"]
        parts.append(f"{item['n_time_bins']} time bins, {start * 1e3:g} to {stop * 1e3:g} ms")
    shape = item["image_shape"]
    if shape:
        parts.append(f"images {shape[1]} (y) x {shape[2]} (x) px, {shape[0]} channel(s)")
    else:
        parts.append("no images")
    return ", ".join(parts)


def _summary(stimulus: str, role: str, dataset: xr.Dataset) -> dict:
    timed = "time_bin" in dataset["response"].dims
    ids = dataset["stimulus_id"].values.astype(str) if "stimulus_id" in dataset else np.zeros(0)
    _, counts = np.unique(ids, return_counts=True)
    bins = timed and "time_bin_start" in dataset and "time_bin_end" in dataset
    starts, ends = (
        (dataset["time_bin_start"].values, dataset["time_bin_end"].values) if bins else (0, 0)
    )
    return {
        "stimulus": stimulus,
        "role": role,
        "n_presentations": dataset.sizes.get("presentation", 0),
        "n_stimuli": int(counts.size),
        "n_repeats": (int(counts.min()), int(counts.max())) if counts.size else (0, 0),
        "n_neurons": dataset.sizes.get("neuron", 0),
        "n_time_bins": dataset.sizes["time_bin"] if timed else None,
        "time_span_s": (float(np.min(starts)), float(np.max(ends))) if timed else None,
        "image_shape": tuple(dataset["images"].shape[1:]) if "images" in dataset else None,
        "n_images": dataset.sizes["stimulus"] if "images" in dataset else 0,
        "kind": dataset["response"].attrs.get("kind"),
        "units": dataset["response"].attrs.get("units"),
    }
