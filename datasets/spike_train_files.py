"""Spike trains from any file that holds spikes: text rasters, NWB, and our own HDF5."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.objects import some
from neuromodels.datasets.opening import UNREADABLE
from neuromodels.datasets.rasters import read_ras
from neuromodels.datasets.responses import Units
from neuromodels.datasets.seal import check_seal
from neuromodels.datasets.sources import Source
from neuromodels.datasets.spike_trains import SpikeTrains, duration_after, trains_of_lists
from neuromodels.datasets.storage import read_tree, write_tree

SCHEMA = "spike_trains"
#: Which options go with which files.
OPTIONS = {
    "a .ras file": ("n_neurons", "first_id", "duration"),
    "an NWB file": ("units",),
    "an HDF5 file of neuromodels": ("group",),
}


def read_spike_trains(
    path: str | Path,
    *,
    n_neurons: int | None = None,
    first_id: int | None = None,
    duration: float | None = None,
    units: Sequence | None = None,
    group: str | None = None,
    start: float | None = None,
    stop: float | None = None,
) -> SpikeTrains:
    """Read spike trains from a file; what it is, is found from its content.

    Parameters
    ----------
    path : str or Path
        A .ras file ("seconds id" in each line), an NWB file with sorted units, or an HDF5 file of
        neuromodels with spikes in it.
    n_neurons, first_id, duration
        Of a .ras file, see `rasters.read_ras`; the number of neurons must be given.
    units : list, optional
        Of an NWB file: ids of the units that become neurons 0, 1, … (default: all, in the order of
        the file). `labels` of the result holds the ids.
    group : str, optional
        Of an HDF5 file of neuromodels: which of several groups of spikes, such as
        ``"output/spikes"``.
    start, stop : float, s, optional
        Only the spikes from `start` to before `stop`; time begins at `start` (default: all; in an
        NWB file from 0 to the first whole millisecond after the last spike).

    Returns
    -------
    SpikeTrains
        With times from 0.

    Raises
    ------
    InputError
        If the file cannot be read, holds no spikes, or an option does not go with it.

    See Also
    --------
    rasters.read_ras, write_spike_trains
    """
    given = {"n_neurons": n_neurons, "first_id": first_id, "duration": duration}
    given |= {"units": units, "group": group}
    source = Source(_local(path))
    try:
        kind = _kind(source)
        _check_options(source, kind, given)
        if kind == "an NWB file":
            return _of_units(_nwb_units(source), units, start, stop, source)
        if kind == "a .ras file":
            trains = _read_raster(source, n_neurons, first_id, duration)
        else:
            trains = _read_events(source, group)
    except InputError:
        raise
    except UNREADABLE as error:
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise source.error(
            f"cannot be read ({type(error).__name__}{': ' if said else ''}{said})",
            "The file is damaged, or not what it claims to be: export or download it again.",
        ) from error
    if start is None and stop is None:
        return trains
    return trains.between(start or 0.0, trains.duration if stop is None else stop)


def write_spike_trains(trains: SpikeTrains, path: str | Path, overwrite: bool = False) -> Path:
    """Write spike trains as a labelled HDF5 file, which `read_spike_trains` reads.

    `rasters.write_ras` writes text instead.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is false, or if it cannot be written.
    """
    tree = xr.DataTree(trains.to_dataset())
    tree.attrs["neuromodels_schema"] = SCHEMA
    return write_tree(tree, path, overwrite)


def _local(path) -> Path:
    if not isinstance(path, str | Path) or "://" in str(path):
        raise InputError(
            f"is {str(path)[:80]!r}, no path of a file",
            where="read_spike_trains: path",
            remedy="Download the file, and give its path. Spikes in memory: SpikeTrains, or "
            "trains_of_lists.",
        )
    return Path(path)


def _kind(source: Source) -> str:
    if source.is_folder:
        raise source.error("is a folder", "Give the file in it.")
    check_seal(source.path)  # a damaged file of ours never gets as far as HDF5
    if source.root is None:
        return "a .ras file"
    return "an NWB file" if "nwb_version" in source.root.attrs else "an HDF5 file of neuromodels"


def _check_options(source: Source, kind: str, given: dict) -> None:
    for name, value in given.items():
        if value is not None and name not in OPTIONS[kind]:
            own = ", ".join((*OPTIONS[kind], "start", "stop"))
            raise InputError(
                f"does not go with {kind}",
                where=f"{source.name}: {name}",
                remedy=f"Leave it out. Options of {kind}: {own}.",
            )


def _read_raster(source: Source, n_neurons, first_id, duration) -> SpikeTrains:
    if n_neurons is None:
        raise InputError(
            "must be given: a raster does not say how many neurons are silent",
            where=f"{source.name}: n_neurons",
            remedy="Pass n_neurons (on the command line --inputs or --outputs).",
        )
    return read_ras(source.path, n_neurons, 0 if first_id is None else first_id, duration)


def _read_events(source: Source, group: str | None) -> SpikeTrains:
    tree = read_tree(source.path)
    try:
        found = {
            node.path.strip("/"): node
            for node in tree.subtree
            if {"time", "neuron"} <= {*node.variables} and "n_neurons" in node.attrs
        }
        listed = ", ".join(repr(name) for name in found) or "none"
        where = f"{source.name}: group"
        if group is not None and group.strip("/") not in found:
            raise InputError(
                f"there are no spikes in {group!r}",
                where=where,
                remedy=f"Groups that hold spikes: {listed}.",
            )
        if group is None and len(found) != 1:
            raise InputError(
                f"the file holds {len(found) or 'no'} groups of spikes",
                where=where if found else source.name,
                remedy=f"Name one of them: {listed}."
                if found
                else "Give a file that holds spike times. Counts in bins do not say when each "
                "spike came.",
            )
        name = group.strip("/") if group is not None else next(iter(found))
        _check_values(tree, f"/{name}/".replace("//", "/"), source)
        dataset = found[name].to_dataset(inherit=False).load()
    finally:
        tree.close()
    return SpikeTrains.from_dataset(dataset, f"{source.name}: {name}" if name else source.name)


def _check_values(tree: xr.DataTree, prefix: str, source: Source) -> None:
    """Compare the spikes with their checksums; the seal covers everything else."""
    waiting = {f"{prefix}time", f"{prefix}neuron"}
    for name, intact in tree.encoding["checked_variables"]():
        if name in waiting and not intact:
            raise source.error(
                "is damaged: it differs from its checksum",
                "Copy or download the file again, or make it anew.",
                name,
            )
        waiting.discard(name)
        if not waiting:
            return


def _nwb_units(source: Source) -> Units:
    from neuromodels.datasets.formats.nwb import check_small, parse_nwb
    from neuromodels.datasets.formats.nwb_tables import read_units
    from neuromodels.datasets.links import check_links

    with source.hdf5() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_links(file, source)
        check_small(file, source)
        io, nwb = parse_nwb(file, source)
        try:
            return read_units(nwb, source.name)
        finally:
            io.close()


def _of_units(
    known: Units, units: Sequence | None, start: float | None, stop: float | None, source: Source
) -> SpikeTrains:
    """Spikes of the chosen units within a stretch, with times from its start."""
    wanted = known.ids if units is None else [str(u) for u in np.atleast_1d(np.asarray(units))]
    missing = [unit for unit in wanted if unit not in known.ids]
    if missing or not wanted or len(set(wanted)) < len(wanted):
        what = f"there is no unit {some(missing)}" if missing else "names no unit, or one twice"
        raise InputError(
            what,
            where=f"{source.name}: units",
            remedy=f"Units of the file: {some(known.ids)}.",
        )
    trains = [known.spike_times[known.ids.index(unit)] for unit in wanted]
    spiking = [train for train in trains if train.size]
    if not spiking:
        raise source.error("the chosen units have no spikes", "Choose others.", "/units")
    first, last = min(t[0] for t in spiking), max(t[-1] for t in spiking)
    if start is None and first < 0:
        raise InputError(
            f"spikes come before 0 s, the first at {first:.9g} s",
            where=known.where,
            remedy=f"Say where the stretch begins: start={np.floor(first):g}, or start=0 to leave "
            "them out.",
        )
    start = 0.0 if start is None else float(start)
    stop = duration_after(last) if stop is None else float(stop)
    if not start < stop:
        raise InputError(
            f"the stretch from {start:g} to {stop:g} s is empty",
            where=f"{source.name}: start, stop",
            remedy=f"The spikes lie between {first:.9g} and {last:.9g} s.",
        )
    cut = [t[np.searchsorted(t, start) : np.searchsorted(t, stop)] - start for t in trains]
    if not any(train.size for train in cut):
        raise InputError(
            f"there is no spike from {start:g} to {stop:g} s",
            where=f"{source.name}: start, stop",
            remedy=f"The spikes lie between {first:.9g} and {last:.9g} s.",
        )
    duration = stop - start
    # A time just before `stop` may round to the duration when `start` is subtracted.
    cut = [np.minimum(train, np.nextafter(duration, 0)) for train in cut]
    return trains_of_lists(cut, duration, source.name, wanted)
