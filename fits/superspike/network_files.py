"""Spiking networks written to files of other programs, and read from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuromodels.datasets.storage import check_output, write_whole
from neuromodels.options import OptionError
from neuromodels.spiking import brian2_text
from neuromodels.spiking.brian2_script import CodeGeneration, checked_steps
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.nir_export import Spike, graph_of, import_nir, warn_of_losses
from neuromodels.spiking.nir_import import from_nir
from neuromodels.spiking.simulation import Events

# Numbers (weights, spikes) up to which a script holds them itself, rather than in a file beside it.
MOST_EMBEDDED = 2000


def write_brian2_script(
    path: str | Path,
    network: SpikingNetwork,
    weights: Mapping[str, np.ndarray],
    inputs: Events,
    duration_s: float,
    *,
    codegen: CodeGeneration = "numpy",
    overwrite: bool = False,
) -> Path:
    """Write a network as a Python script for Brian2 to a file.

    Small networks are held by the script; the numbers of larger ones go into a .npz file of the
    same name beside it, which must stay there.

    Parameters
    ----------
    path : str or Path
        "network.py"
    network, weights, inputs, duration_s, codegen
        As in `brian2_script`.
    overwrite : bool
        Replace files that exist.

    Returns
    -------
    Path
        Where the script is.

    Raises
    ------
    OptionError
        As `brian2_script`.
    InputError
        A file exists, or cannot be written.
    """
    path = Path(path)
    if path.suffix == ".npz":
        raise OptionError("is no name of a script.", str(path), "Let it end in .py.")
    n_steps = checked_steps(network, weights, inputs, duration_s, codegen)
    check_output(path, overwrite)
    if sum(np.size(w) for w in weights.values()) + 2 * len(inputs.steps) <= MOST_EMBEDDED:
        data = brian2_text.embedded(network, weights, inputs)
    else:
        beside = path.with_suffix(".npz")
        arrays = {"input_steps": inputs.steps, "input_neurons": inputs.neurons}
        arrays |= {f"{name}_delay_steps": d for name, d in brian2_text.delays(network).items()}
        arrays |= {name: np.asarray(w, dtype=np.float64) for name, w in weights.items()}

        def write(temporary: Path) -> None:
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays)

        write_whole(beside, write, overwrite)
        data = brian2_text.loaded(network, beside.name)
    text = brian2_text.script(network, data, n_steps, codegen)
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"), overwrite)
    return path


def write_nir(
    path: str | Path,
    network: SpikingNetwork,
    weights: Mapping[str, np.ndarray],
    *,
    spikes: Spike = "pulse",
    overwrite: bool = False,
) -> Path:
    """Write a network to a NIR file (HDF5), and say what NIR cannot hold of it.

    Parameters
    ----------
    path : str or Path
        "network.nir"
    network, weights, spikes
        As in `to_nir`.
    overwrite : bool
        Replace a file that exists.

    Returns
    -------
    Path
        Where it is.

    Warns
    -----
    UserWarning
        Once for each thing that is lost.

    Raises
    ------
    OptionError
        As `to_nir`.
    InputError
        The file exists, or cannot be written.
    """
    path = Path(path)
    check_output(path, overwrite)
    graph = graph_of(network, weights, spikes)
    write_whole(path, lambda temporary: import_nir().write(temporary, graph), overwrite)
    warn_of_losses(graph)
    return path


def read_nir(path: str | Path, **assumed: Any) -> tuple[SpikingNetwork, dict[str, np.ndarray]]:
    """Read a network from a NIR file.

    Parameters
    ----------
    path : str or Path
        A file of any program that writes NIR.
    **assumed
        `dt_s`, `refractory_s` and `spikes`, as in `from_nir`.

    Returns
    -------
    network : SpikingNetwork
    weights : dict of numpy.ndarray

    Raises
    ------
    OptionError
        The file is missing or broken, or holds another kind of network.
    """
    nir = import_nir()
    path = Path(path)
    if not path.is_file():
        raise OptionError("there is no such file.", str(path))
    try:
        graph = nir.read(path)
    except Exception as error:  # nir raises whatever h5py, its asserts and its look-ups do
        raise OptionError(
            f"cannot be read as NIR: {error}.", str(path), "Write it anew with its program."
        ) from error
    try:
        return from_nir(graph, **assumed)
    except OptionError as error:
        raise OptionError(error.what, str(path), error.remedy) from error
