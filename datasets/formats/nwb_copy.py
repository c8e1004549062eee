"""The copy of a recording inside an NWB file, from which `nwb_written` restores it exactly."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from neuromodels.datasets.recording import Recording
from neuromodels.datasets.stored_values import (
    SLAB_BYTES,
    SMALL_BYTES,
    chunk_shape,
    json_attribute,
    new_digest,
    stored_type,
    stored_values,
    value_bytes,
)

NO_SUBJECT = "not-stated"  # NWB demands an id
MARK = "neuromodels_nwb"  # attribute of the root: version of the copy
MANIFEST = "neuromodels"  # name of the copy's description in /scratch
# Axes of frames: NWB has (frame, x, y[, channel]), a recording (frame, [channel,] y, x).
NWB_AXES = {3: (0, 2, 1), 4: (0, 3, 2, 1)}


def add_copy(nwb, recording: Recording, movies: dict, pieces: dict, where: str) -> None:
    """Everything in the tree, so that it comes back as it was: numbers in /scratch, rest as JSON.

    Frames are not stored twice: the copy says where they are.
    """
    from hdmf.backends.hdf5 import H5DataIO
    from pynwb.core import ScratchData

    nodes, number = [], 0
    for node in recording.tree.subtree:
        own, variables = node.to_dataset(inherit=False), {}
        for name, variable in own.variables.items():
            here = f"{where}: {node.path.rstrip('/')}/{name}"
            about = {
                "dims": [str(dim) for dim in variable.dims],
                "coord": name in own.coords,
                "attrs": {k: json_attribute(v, here) for k, v in variable.attrs.items()},
            }
            dtype, _, fill = stored_type(variable, here)
            if fill is not None:
                about |= {"fill": fill.item(), "dtype": variable.dtype.str}
            place = movies.get(tuple(node.path.strip("/").split("/")))
            if name == "stimulus" and place is not None:
                about |= {"place": place, "axes": NWB_AXES[variable.ndim]}
            elif dtype.kind == "O" or variable.size == 0 or variable.ndim == 0:
                about["values"] = json_attribute(np.array(variable.values), here)
            else:
                number += 1
                about |= {"place": f"/scratch/array_{number}", "axes": list(range(variable.ndim))}
                piece = pieces_of(variable, about["axes"], here)
                layout = {}
                if variable.nbytes > SMALL_BYTES:
                    layout = {"compression": "gzip", "shuffle": True}
                array = ScratchData(
                    name=f"array_{number}",
                    data=H5DataIO(piece, **layout),
                    description=f"{node.path.rstrip('/')}/{name} {variable.dims}",
                )
                nwb.add_scratch(array)
                pieces[about["place"]] = piece
            variables[str(name)] = about
        attrs = {k: json_attribute(v, f"{where}: {node.path}") for k, v in own.attrs.items()}
        nodes.append({"path": node.path, "attrs": attrs, "variables": variables})
    nwb.add_scratch(
        json.dumps({"nodes": nodes}, ensure_ascii=True),
        name=MANIFEST,
        description="the recording as neuromodels restores it: labels, attributes, and where the "
        "arrays are (JSON)",
    )


def pieces_of(variable: xr.Variable, axes, where: str):
    """A variable as hdmf writes it: in pieces, axes in the order of NWB, its sha256 on the way."""
    from hdmf.data_utils import GenericDataChunkIterator

    boolean = variable.dtype.kind == "b"
    dtype, _, fill = (np.dtype(bool), {}, None) if boolean else stored_type(variable, where)
    shape = tuple(variable.shape[axis] for axis in axes)
    chunks = chunk_shape(shape, dtype.itemsize)
    row = max(1, dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64)))
    step = min(shape[0], max(1, SLAB_BYTES // row // chunks[0]) * chunks[0])

    class Pieces(GenericDataChunkIterator):
        digest = new_digest(dtype, shape)

        def check(self) -> None:
            """Raise if the disk refused what was written before; set when there is a disk."""

        def _get_data(self, selection) -> np.ndarray:
            self.check()
            values = np.asarray(variable[selection[0]].values)
            values = stored_values(values, dtype, fill, where).transpose(axes)
            self.digest.update(value_bytes(values))
            return np.ascontiguousarray(values)[(slice(None), *selection[1:])]

        def _get_maxshape(self) -> tuple[int, ...]:
            return shape

        def _get_dtype(self) -> np.dtype:
            return dtype

        def checksum(self) -> str:
            return self.digest.hexdigest()

    return Pieces(buffer_shape=(step, *shape[1:]), chunk_shape=chunks)
