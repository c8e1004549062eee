"""NWB files that neuromodels wrote: the recording comes back as it was, nothing lost."""

from __future__ import annotations

import json
from functools import partial

import h5py
import numpy as np
import xarray as xr

from neuromodels.datasets.attributes import decode_attribute
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats import nwb
from neuromodels.datasets.formats.labelled_hdf5 import recording_of
from neuromodels.datasets.formats.nwb_copy import MANIFEST, MARK
from neuromodels.datasets.frames import lazy_variable
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.sources import Source
from neuromodels.datasets.storage import checked_variables
from neuromodels.datasets.stored_values import Filled

TITLE = "an NWB file of neuromodels"
OPTIONS = ("restore", *nwb.OPTIONS)


def recognizes(source: Source) -> bool:
    """Whether it is an NWB file that neuromodels wrote."""
    return source.root is not None and MARK in source.root.attrs


def read(
    source: Source, *, bin_width=None, stimulus=None, test=None, restore: bool = True, **options
) -> Recording:
    """Open an NWB file that `convert` wrote.

    Parameters
    ----------
    restore : bool
        Give back the recording that was written. If false, or with an option of the NWB reader
        (or `test`), the units, frames and trials are read as from any other NWB file.

    Raises
    ------
    InputError
        If the copy in the file is damaged.
    """
    if not restore or test is not None or options:
        return nwb.read(source, bin_width=bin_width, stimulus=stimulus, test=test, **options)
    file = source.hdf5()
    try:
        about = json.loads(file[f"scratch/{MANIFEST}"].asstr()[()])
        tree = xr.DataTree.from_dict(
            {node["path"]: _dataset(file, node) for node in about["nodes"]}
        )
    except (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        file.close()
        raise InputError(
            f"the copy of the recording is damaged ({type(error).__name__})",
            where=f"{source.name}: /scratch",
            remedy="Convert the recording again, or read the NWB as it is: restore=False.",
        ) from error
    tree.set_close(file.close)
    if source.path is not None:
        tree.encoding["checked_variables"] = partial(checked_variables, source.path)
    return recording_of(tree, source.name, bin_width=bin_width, stimulus=stimulus)


def _dataset(file: h5py.File, node: dict) -> xr.Dataset:
    variables, coords = {}, {}
    for name, about in node["variables"].items():
        dims = tuple(about["dims"])
        attrs = {key: decode_attribute(value) for key, value in about["attrs"].items()}
        if "values" in about:
            variable = xr.Variable(dims, decode_attribute(about["values"]), attrs)
        else:
            dataset = file[about["place"]]
            if not isinstance(dataset, h5py.Dataset) or len(dataset.shape) != len(dims):
                raise ValueError(about["place"])
            on_disk = _Oriented(dataset, about["axes"])
            if "fill" in about:
                variable = lazy_variable(
                    dims, Filled(on_disk, about["fill"], np.dtype(about["dtype"])), attrs
                )
                fill = dataset.dtype.type(about["fill"])
                variable.encoding = {"dtype": dataset.dtype, "_FillValue": fill}
            else:
                variable = lazy_variable(dims, on_disk, attrs)
        (coords if about["coord"] else variables)[name] = variable
    attrs = {key: decode_attribute(value) for key, value in node["attrs"].items()}
    return xr.Dataset(variables, coords, attrs)


class _Oriented:
    """An array on disk whose axes lie in another order; `axes[i]` is what lies at axis i there."""

    def __init__(self, dataset: h5py.Dataset, axes: list[int]):
        self._dataset, self._axes = dataset, axes
        self._back = np.argsort(axes)
        self.shape = tuple(dataset.shape[i] for i in self._back)
        self.dtype = dataset.dtype

    def __getitem__(self, key) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *[slice(None)] * (len(self.shape) - len(key)))
        bounds, inside = zip(*map(_whole_stretch, key, self.shape), strict=True)
        values = self._dataset[tuple(bounds[axis] for axis in self._axes)].transpose(self._back)
        for axis in reversed(range(values.ndim)):
            values = values[(slice(None),) * axis + (inside[axis],)]
        return values


def _whole_stretch(key, size: int):
    """A slice that HDF5 reads in one piece, and what to take from it."""
    if isinstance(key, slice):
        if key.step in (None, 1):
            return key, slice(None)
        key = np.arange(*key.indices(size))
    if np.ndim(key) == 0:
        return slice(int(key), int(key) + 1), 0
    wanted = np.asarray(key)
    if wanted.size == 0:
        return slice(0, 0), wanted
    first = int(wanted.min())
    return slice(first, int(wanted.max()) + 1), wanted - first
