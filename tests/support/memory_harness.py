"""Fit models to a recording on disk in a process that may not use more memory than it is told.

Run as a script in a process of its own. The limit is on private memory (RLIMIT_DATA), set after the
imports: what they took is the base, and what the work may add to it is the argument.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import numpy as np

SIDE, CHECK = 120, 5  # pixels of a frame, and of one check of its noise
FIELDS = ((7, 4), (15, 18))  # check, (y, x), that each neuron sees
LAG = 2  # bins from a frame to its spikes
BIN_WIDTH = 0.05

#: Options with which frames of 14,400 pixels are fitted in seconds.
CONVEX = {"history": 0.2, "temporal_basis": 3, "ridge": [1e-2], "smoothness": [0.0], "crop": 9}
OPTIONS = {
    "ln": CONVEX,
    "glm": CONVEX | {"own_history": 0.1, "own_basis": 2},
    "retina-cnn": {
        "history": 0.15,
        "temporal_basis": 2,
        "channels": [1],
        "kernels": [1],
        "noise": [0.0],
        "dropout": 0.0,
        "epochs": 1,
    },
}


def checks(n_frames: int) -> np.ndarray:
    """(frame, y, x): black or white checks, each frame another."""
    side = SIDE // CHECK
    return np.random.default_rng(0).integers(0, 2, (n_frames, side, side), dtype=np.uint8)


class Movie:
    """Frames that are made when they are asked for: never whole in memory."""

    dtype = np.dtype(np.float32)

    def __init__(self, noise: np.ndarray):
        self.noise, self.shape = noise, (len(noise), SIDE, SIDE)

    def __getitem__(self, key):
        frames = np.repeat(np.repeat(self.noise[key[0]].astype(self.dtype), CHECK, 1), CHECK, 2)
        return frames[(slice(None), *key[1:])]


def write_recording(path: Path, n_frames: int) -> None:
    """Neurons that see one check each, `LAG` bins ago."""
    from neuromodels.datasets.building import build_recording, build_role
    from neuromodels.datasets.frames import lazy_variable

    noise = checks(n_frames)
    seen = np.stack([noise[:, y, x] for y, x in FIELDS], axis=1)
    rate = 0.1 + 1.5 * np.roll(seen, LAG, axis=0)
    counts = np.random.default_rng(1).poisson(rate).astype(np.int32)
    movie = lazy_variable(("frame", "y", "x"), Movie(noise))
    node = build_role(movie, counts, bin_width=BIN_WIDTH, frame_of_bin=np.arange(n_frames))
    build_recording({"checks": {"train": node}}, identity="made by a seed").to_hdf5(path)


def memory(name: str) -> int:
    """An entry of this process's status, bytes: VmData, VmHWM, VmRSS."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def main(path: str, allowed: int, how: str) -> None:
    """Print what was found and how much memory it took, as JSON."""
    import torch._dynamo  # noqa: F401 - what an optimizer would import

    import neuromodels as nm
    import neuromodels.fits.glm.fitting
    import neuromodels.fits.networks

    recording = nm.open_recording(path)
    base, data = memory("VmRSS"), memory("VmData")
    limit = data + allowed
    if allowed:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    if how == "whole":
        try:
            recording.train["stimulus"].values  # noqa: B018 - what must fail
        except MemoryError:
            print(json.dumps({"refused": True}))
        return
    comparison = nm.compare(recording, how.split(","), options=OPTIONS, progress=False)
    found = {"peak": memory("VmHWM") - base, "base": base, "data": data}
    for name in comparison.models:
        weights = comparison.fit(name).parameters
        if "stimulus_filter" in weights:
            energy = (weights["stimulus_filter"].values ** 2).sum(axis=(0, 1))
            spots = [
                np.unravel_index(one.argmax(), one.shape) for one in np.moveaxis(energy, -1, 0)
            ]
            found[name] = [[int(y) // CHECK, int(x) // CHECK] for y, x in spots]
    scores = comparison.scores.sel(metric="bits_per_spike")
    found["bits"] = {name: scores.sel(model=name).values.tolist() for name in comparison.models}
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write_recording(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    sys.stdout.flush()
    os._exit(0)
