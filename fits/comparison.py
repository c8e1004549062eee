"""The result of a comparison: scores, ceilings, differences, and every fit, in one tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.storage import read_tree, write_tree
from neuromodels.fits.fit import RESULT, Fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuromodels.fits.papers.reproduction import Reproduction
    from neuromodels.fits.superspike.record import SpikingRun


class Comparison:
    """Models fitted to one recording and scored side by side.

    Parameters
    ----------
    tree : xarray.DataTree
        Nodes `observed`, `scores`, `differences`, `fits/MODEL/SEED/FOLD`; see docs/results.md.
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
        """Scores with ceilings, predictions against the PSTH with rasters, and filters."""
        from neuromodels.analysis.plots.overview import plot_overview

        return plot_overview(self.tree)

    def to_hdf5(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write everything to one labelled HDF5 file, whole or not at all."""
        return write_tree(self.tree, path, overwrite=overwrite)

    def __str__(self) -> str:
        from neuromodels.fits.table import comparison_text

        return comparison_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from neuromodels.fits.table import comparison_html

        return comparison_html(self)


def node_name(label: str) -> str:
    """Name of a model's node; a slash would make two of it."""
    return label.replace("/", "_")


def load(path: str | Path) -> Fit | Comparison | SpikingRun | Reproduction:
    """Open any result; models are rebuilt from the file alone.

    Parameters
    ----------
    path : str or Path
        What `to_hdf5` wrote.

    Returns
    -------
    Fit, Comparison, SpikingRun or Reproduction
        Read lazily.

    Raises
    ------
    InputError
        The file is missing, damaged, or holds something else.
    """
    tree = read_tree(path)
    kind = tree.attrs.get(RESULT)
    if kind == "comparison":
        return Comparison(tree)
    if kind == "fit":
        return Fit(tree)
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
