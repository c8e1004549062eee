"""The result of a comparison: scores, ceilings, differences, and every fit, in one tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.storage import read_tree, write_tree
from neuromodels.fits.fit import RESULT, Fit
from neuromodels.options import nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuromodels.fits.comparison_set import ComparisonSet
    from neuromodels.fits.papers.reproduction import Reproduction
    from neuromodels.fits.superspike.record import SpikingRun


#: Node of the scores on all stimuli but the first.
ON = "on"


class Comparison:
    """Models fitted to one recording and scored side by side.

    Parameters
    ----------
    tree : xarray.DataTree
        Nodes `observed`, `scores`, `differences`, `on/STIMULUS`, `fits/MODEL/SEED/FOLD`; see
        docs/results.md.
    """

    def __init__(self, tree: xr.DataTree):
        self.tree = tree

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Recording, splits, call, versions, notes."""
        return self.tree.attrs

    @property
    def models(self) -> tuple[str, ...]:
        """Labels of the models, in the order of the call."""
        return tuple(str(name) for name in self.details["model"].values)

    @property
    def stimuli(self) -> tuple[str, ...]:
        """Names of the stimuli that models were scored on; all scores are those on the first."""
        first = self.details.attrs.get("stimulus", self.attrs["recording"]["stimulus"])
        others = self.tree[ON].children if ON in self.tree.children else ()
        return (str(first), *map(str, others))

    def on(self, stimulus: str) -> Comparison:
        """The same comparison as scored on one of its stimuli alone.

        Parameters
        ----------
        stimulus : str
            One of `stimuli`.

        Returns
        -------
        Comparison
            Its scores, ceilings, differences and figures are those on that stimulus.

        Raises
        ------
        InputError
            Nothing was scored on it.
        """
        if stimulus not in self.stimuli:
            raise InputError(
                f"was not scored on {stimulus!r}.",
                where="comparison",
                remedy=nearest(stimulus, self.stimuli),
            )
        if len(self.stimuli) == 1:
            return self
        children = dict(self.tree.children)
        del children[ON]
        if stimulus != self.stimuli[0]:
            for name in ("scores", "differences"):
                children.pop(name, None)
            children |= self.tree[ON][stimulus].children
        if "observed" in children:
            shown = self.tree["observed"].children
            observed = {stimulus: shown[stimulus]} if stimulus in shown else {}
            children["observed"] = xr.DataTree(children=observed)
        tree = xr.DataTree(self.tree.to_dataset(), children=children)
        tree.attrs = dict(self.attrs)
        return Comparison(tree)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the fits."""
        return tuple(int(seed) for seed in self.details["seed"].values)

    @property
    def details(self) -> xr.Dataset:
        """All scores with errors, intervals, ceilings and reasons."""
        return self.tree["scores"].to_dataset()

    @property
    def scores(self) -> xr.DataArray:
        """Scores (model, metric, neuron), mean over seeds and folds."""
        return self.details["score"].mean(("seed", "fold"), skipna=False)

    @property
    def ceilings(self) -> xr.DataArray:
        """Ceilings and reliabilities (ceiling_kind, neuron)."""
        return self.details["ceiling"]

    @property
    def differences(self) -> xr.Dataset:
        """Paired differences of models with equal inputs; empty for a single model."""
        if "differences" not in self.tree.children:
            return xr.Dataset()
        return self.tree["differences"].to_dataset()

    def fit(self, model: str, seed: int | None = None, fold: int = 0) -> Fit:
        """One of the fits.

        Raises
        ------
        InputError
            No such model or seed.
        """
        seed = self.seeds[0] if seed is None else seed
        if model not in self.models or seed not in self.seeds:
            known = f"Models: {', '.join(self.models)}; seeds: {', '.join(map(str, self.seeds))}."
            raise InputError(
                f"has no fit of {model!r} with seed {seed}.", where="comparison", remedy=known
            )
        # A copy, of the tree alone, is a root of its own and can be written as a file.
        return Fit(self.tree[f"fits/{node_name(model)}/{seed}/{fold}"].copy())

    def plot(self) -> Figure:
        """Scores with ceilings, predictions against the PSTH with rasters, and filters.

        Of several stimuli the first; `on(stimulus).plot()` draws another.
        """
        from neuromodels.analysis.plots.overview import plot_overview

        return plot_overview(self.on(self.stimuli[0]).tree)

    def to_hdf5(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write everything to one labelled HDF5 file, whole or not at all."""
        return write_tree(self.tree, path, overwrite=overwrite)

    def __str__(self) -> str:
        from neuromodels.fits.table_text import comparison_text

        return comparison_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from neuromodels.fits.table_text import comparison_html

        return comparison_html(self)


def node_name(label: str) -> str:
    """Name of a model's node; a slash would make two of it."""
    return label.replace("/", "_")


def _check_there(tree: xr.DataTree, places: list[str], path: str | Path) -> None:
    """Other programs can take groups out of a file."""
    for place in places:
        try:
            tree[place]
        except KeyError as error:
            raise InputError(
                f"lacks /{place}.", where=str(path), remedy="Copy the file again, or make it anew."
            ) from error


def load(path: str | Path) -> Fit | Comparison | ComparisonSet | SpikingRun | Reproduction:
    """Open any result; models are rebuilt from the file alone.

    Parameters
    ----------
    path : str or Path
        What `to_hdf5` wrote.

    Returns
    -------
    Fit, Comparison, ComparisonSet, SpikingRun or Reproduction
        Read lazily.

    Raises
    ------
    InputError
        The file is missing, damaged, incomplete, or holds something else.
    """
    tree = read_tree(path)
    kind = tree.attrs.get(RESULT)
    if kind == "comparison":
        _check_there(tree, ["scores"], path)
        return Comparison(tree)
    if kind == "fit":
        return Fit(tree)
    if kind == "comparison set":
        from neuromodels.fits.comparison_set import ComparisonSet

        _check_there(tree, ["summary/member"], path)
        found = ComparisonSet(tree)
        _check_there(tree, [f"members/{name}/scores" for name in found.names], path)
        return found
    if kind == "spiking run":
        from neuromodels.fits.superspike.record import SpikingRun

        return SpikingRun(tree)
    if kind == "reproduction":
        from neuromodels.fits.papers.reproduction import Reproduction

        return Reproduction(tree)
    raise InputError(
        "holds no fit, no comparison and no other result.",
        where=str(path),
        remedy="Recordings are opened by nm.open_recording.",
    )
