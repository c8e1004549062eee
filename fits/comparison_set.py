"""Comparisons of the same models on several recordings, and what holds over animals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.analysis.animals import MIN_ANIMALS, average_by_animal, mean_over_animals
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.storage import write_tree
from neuromodels.fits.comparison import ON, Comparison, node_name
from neuromodels.fits.fit import RESULT, with_units
from neuromodels.options import nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What the attribute `neuromodels_result` says of these files.
KIND = "comparison set"
MEMBERS, SUMMARY = "members", "summary"
#: Coordinates of a comparison's scores that say what a metric is.
METRIC_FACTS = ("data", "conditional", "unit", "estimator_version")


class ComparisonSet:
    """The same models fitted to several recordings, side by side and averaged over animals.

    Parameters
    ----------
    tree : xarray.DataTree
        Nodes `members/NAME`, each a whole comparison, `summary`, and `on/STIMULUS/summary` for
        each further stimulus; see docs/several.md.
    """

    def __init__(self, tree: xr.DataTree):
        self.tree = tree
        self._members: dict[str, Comparison] = {}

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Call, versions, notes."""
        return self.tree.attrs

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the recordings, in the order of the call."""
        return tuple(str(name) for name in self.summary["member"].values)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, name: str) -> Comparison:
        if name not in self.names:
            raise InputError(
                f"holds no recording {name!r}.",
                where="comparison set",
                remedy=nearest(str(name), self.names),
            )
        if name not in self._members:
            # A copy, of the tree alone, is a root of its own and can be written as a file.
            self._members[name] = Comparison(self.tree[f"{MEMBERS}/{name}"].copy())
        return self._members[name]

    @property
    def models(self) -> tuple[str, ...]:
        """Labels of the models."""
        return tuple(str(name) for name in self.summary["model"].values)

    @property
    def animals(self) -> tuple[str, ...]:
        """The animals; a recording that states none counts as one."""
        return tuple(str(name) for name in self.summary["animal"].values)

    @property
    def stimuli(self) -> tuple[str, ...]:
        """Names of the stimuli that there is a summary of; the first is `summary`."""
        others = self.tree[ON].children if ON in self.tree.children else ()
        return (str(self.summary.attrs["stimulus"]), *map(str, others))

    @property
    def summary(self) -> xr.Dataset:
        """Scores and paired differences per recording and per animal, and their means."""
        return self.tree[SUMMARY].to_dataset()

    @property
    def scores(self) -> xr.DataArray:
        """Scores (member, model, metric): mean over the cells of each recording and over seeds."""
        return self.summary["score"]

    def summary_on(self, stimulus: str) -> xr.Dataset:
        """The summary of one of its stimuli.

        Raises
        ------
        InputError
            There is none of that stimulus.
        """
        if stimulus not in self.stimuli:
            raise InputError(
                f"has no summary on {stimulus!r}.",
                where="comparison set",
                remedy=nearest(stimulus, self.stimuli),
            )
        if stimulus == self.stimuli[0]:
            return self.summary
        return self.tree[f"{ON}/{stimulus}/{SUMMARY}"].to_dataset()

    def on(self, stimulus: str) -> ComparisonSet:
        """The same set as scored on one of its stimuli alone.

        Raises
        ------
        InputError
            There is no summary of that stimulus.
        """
        summary = self.summary_on(stimulus)
        if len(self.stimuli) == 1:
            return self
        members = {name: self[name] for name in self.names}
        if stimulus != self.stimuli[0]:
            members = {name: one.on(stimulus) for name, one in members.items()}
        nodes = _member_nodes(members)
        nodes[SUMMARY] = summary
        tree = xr.DataTree.from_dict(nodes)
        tree.attrs = dict(self.attrs)
        return ComparisonSet(tree)

    def plot(self) -> Figure:
        """Scores of every animal, joined over models, with their mean."""
        from neuromodels.analysis.plots.animals import animals_figure

        return animals_figure(self.summary)

    def to_hdf5(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write everything to one labelled HDF5 file, whole or not at all."""
        return write_tree(self.tree, path, overwrite=overwrite)

    def __str__(self) -> str:
        from neuromodels.fits.set_table import set_text

        return set_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from neuromodels.fits.set_table import set_html

        return set_html(self)


def _member_nodes(members: Mapping[str, Comparison]) -> dict[str, xr.Dataset]:
    nodes = {}
    for name, comparison in members.items():
        for node in comparison.tree.subtree:
            part = node.path.strip("/")
            nodes[f"{MEMBERS}/{name}/{part}".rstrip("/")] = node.to_dataset()
    return nodes


def set_tree(
    members: Mapping[str, Comparison], animals: Sequence[str], attrs: Mapping[str, Any]
) -> xr.DataTree:
    """Everything that a comparison set's file holds.

    Parameters
    ----------
    members : mapping
        Comparisons by name, all of the same models.
    animals : sequence of str
        Whose recording each is.
    attrs : mapping
        Of the root: call, versions, notes.

    Returns
    -------
    xarray.DataTree
        For `ComparisonSet`.
    """
    nodes: dict[str, xr.Dataset] = _member_nodes(members)
    nodes[SUMMARY] = summarize(members, animals)
    first, *rest = members.values()
    for stimulus in first.stimuli[1:]:
        if all(stimulus in other.stimuli for other in rest):
            scored = {name: one.on(stimulus) for name, one in members.items()}
            nodes[f"{ON}/{stimulus}/{SUMMARY}"] = summarize(scored, animals)
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs = {RESULT: KIND} | dict(attrs)
    tree.attrs["notes"] = [*attrs.get("notes", []), *_not_converged(members)]
    return tree


def _not_converged(members: Mapping[str, Comparison]) -> list[str]:
    """What must be said of fits that stopped before they converged."""
    found = []
    for name, comparison in members.items():
        for model in comparison.models:
            for seed in comparison.tree[f"fits/{node_name(model)}"].children.values():
                about = seed.children["0"].attrs["summary"]
                if about.get("converged") is False:
                    found.append(f"{name}: {model}: {about['stopped']}")
    return list(dict.fromkeys(found))


def summarize(members: Mapping[str, Comparison], animals: Sequence[str]) -> xr.Dataset:
    """Scores over recordings and animals.

    Parameters
    ----------
    members : mapping
        Comparisons by name, all of the same models.
    animals : sequence of str
        Whose recording each is.

    Returns
    -------
    xarray.Dataset
        `score (member, model, metric)`: mean over cells; `n_cells`, those that have one;
        `ceiling (member, ceiling_kind)`;
        `animal_score (animal, model, metric)`; `mean`, `sd`, `standard_error`, `low`, `high`,
        `n_animals (model, metric)` over animals; `pooled_mean`, `pooled_sd` and `pooled_cells`
        over all cells of all recordings; and paired differences of models with equal inputs,
        later minus earlier: `difference (member, pair, metric)`, `animal_difference` and, named
        `difference_…`, their mean over animals.
    """
    comparisons = list(members.values())
    details = [comparison.details for comparison in comparisons]
    per_cell = [comparison.scores for comparison in comparisons]
    score = np.stack([_of_population(one["population"], ("seed", "fold")) for one in details])
    animal_names, animal_score = average_by_animal(score, animals)
    cells = np.concatenate([scores.values for scores in per_cell], axis=-1)
    difference = np.stack([_differences(comparison) for comparison in comparisons])
    animal_difference = average_by_animal(difference, animals)[1]
    table = ("model", "metric")
    first = details[0]
    variables: dict[str, Any] = {
        "score": (("member", *table), score, {"long_name": "mean over the recording's cells"}),
        "n_cells": (
            ("member", *table),
            np.stack([np.isfinite(scores.values).sum(-1) for scores in per_cell]),
            {"long_name": "cells with a score"},
        ),
        "ceiling": (
            ("member", "ceiling_kind"),
            np.stack([_mean_of_known(one["ceiling"].values) for one in details]),
            {"long_name": "mean over the recording's cells"},
        ),
        "animal_score": (("animal", *table), animal_score),
        **_means(animal_score, table, ""),
        **{
            f"pooled_{name}": (table, values, {"long_name": "over all cells of all recordings"})
            for name, values in _over_cells(cells).items()
        },
        "difference": (("member", "pair", "metric"), difference),
        "animal_difference": (("animal", "pair", "metric"), animal_difference),
        **_means(animal_difference, ("pair", "metric"), "difference_"),
    }
    facts = {name: first[name] for name in METRIC_FACTS if name in first.coords}
    dataset = xr.Dataset(
        variables,
        coords={
            "member": list(members),
            "animal_of_member": ("member", list(animals)),
            "n_neurons": ("member", [one.sizes["neuron"] for one in details]),
            "bin_width_s": ("member", [one.attrs["bin_width_s"] for one in details]),
            "stimulus_of_member": ("member", [one.stimuli[0] for one in comparisons]),
            "animal": list(animal_names),
            "model": first["model"].values,
            "metric": first["metric"].values,
            "ceiling_kind": first["ceiling_kind"].values,
            **{name: ("metric", values.values) for name, values in facts.items()},
            **_pairs(comparisons[0]),
        },
        attrs={
            "stimulus": comparisons[0].stimuli[0],
            "headline_metric": first.attrs["headline_metric"],
            "interval": "95 %, Student t over animals; exact if animals' values are normal",
            "no_interval": _too_few(len(animal_names)),
        },
    )
    return with_units(dataset)


def _too_few(n_animals: int) -> str:
    """Why there is no interval over animals; "" where there is one."""
    if n_animals >= MIN_ANIMALS:
        return ""
    said = "1 animal" if n_animals == 1 else f"{n_animals} animals"
    return f"too few animals for an interval over them: {said}, and it takes {MIN_ANIMALS}"


def _of_population(population: xr.DataArray, over: tuple[str, ...] = ()) -> np.ndarray:
    value = population.sel(reduction="mean", part="value")
    return (value.mean(over, skipna=False) if over else value).values


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is known."""
    return mean_over_animals(np.moveaxis(values, -1, 0)).mean


def _pairs(comparison: Comparison) -> dict[str, tuple[str, np.ndarray]]:
    """Which models are subtracted, as coordinates."""
    table = comparison.differences
    none = np.empty(0, "U1")
    return {
        name: ("pair", table[name].values.astype(str) if name in table else none)
        for name in ("pair", "first", "second")
    }


def _differences(comparison: Comparison) -> np.ndarray:
    """(pair, metric): paired by cell and time, mean over the recording's cells."""
    table = comparison.differences
    if not table.sizes:
        return np.empty((0, comparison.details.sizes["metric"]))
    return _of_population(table["population"])


def _means(values: np.ndarray, dims: tuple[str, ...], prefix: str) -> dict[str, Any]:
    found = mean_over_animals(values)._asdict()
    found["n_animals"] = found.pop("n")
    return {f"{prefix}{name}": (dims, array) for name, array in found.items()}


def _over_cells(cells: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and deviation over the last axis: cells of all recordings, each counted once."""
    found = mean_over_animals(np.moveaxis(cells, -1, 0))
    return {"mean": found.mean, "sd": found.sd, "cells": found.n}
