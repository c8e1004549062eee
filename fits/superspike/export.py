"""A trained spiking network for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuromodels.datasets.rasters import write_ras
from neuromodels.fits.superspike.network_files import write_brian2_script, write_nir
from neuromodels.fits.superspike.record import SpikingRun
from neuromodels.options import OptionError, nearest
from neuromodels.spiking.simulation import Events

KINDS = ("brian2", "nir", "ras")


def export_run(run: SpikingRun, kind: str, path: str | Path, overwrite: bool = False) -> list[Path]:
    """Write a trained network as a Brian2 script or a NIR graph, or its output spikes as .ras.

    Parameters
    ----------
    run : SpikingRun
        Trained.
    kind : {"brian2", "nir", "ras"}
        "brian2": a script that runs by itself and gives the spikes of one loop, from rest. "nir":
        a graph of the Neuromorphic Intermediate Representation; what it cannot hold is warned of.
        "ras": the output spikes of the last loop of training, a line "seconds id" per spike.
    path : str or Path
        Where.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    list of Path
        Files written.

    Raises
    ------
    OptionError
        No such kind, or integrators that the other program does not have.
    InputError
        The file exists or cannot be written.
    """
    network, path = run.network, Path(path)
    if kind == "ras":
        return [write_ras(run.spikes(), path, overwrite=overwrite)]
    if kind == "nir":
        return [write_nir(path, network, run.weights(), overwrite=overwrite)]
    if kind != "brian2":
        raise OptionError(f"there is no export {kind!r}.", remedy=nearest(kind, KINDS))
    n_steps = run.attrs["loop_steps"]
    inputs = Events(*run.inputs.steps(network.dt_s, n_steps))
    weights = {name: values.astype(np.float64) for name, values in run.weights().items()}
    written = write_brian2_script(
        path, network, weights, inputs, n_steps * network.dt_s, overwrite=overwrite
    )
    beside = written.with_suffix(".npz")
    return [written, *([beside] if beside.exists() else [])]
