"""One small, valid input for every reader; each is written without the reader's own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from nwb_files import checkerboard, write_nwb
from PIL import Image
from scipy.io import savemat
from sorting_files import write_phy

INPUTS: dict[str, Callable[[Path], tuple[str, dict]]] = {}


def add(function: Callable) -> Callable:
    """Register a maker: it writes into a folder, and returns what to open and the options.

    "@" in an option stands for the folder, see `located`.
    """
    INPUTS[function.__name__] = function
    return function


def located(options: dict, folder: Path) -> dict:
    """Options with the folder in the place of "@"."""
    return {
        name: value.replace("@", str(folder)) if isinstance(value, str) else value
        for name, value in options.items()
    }


def _spikes(seed: int = 0, seconds: float = 12.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.sort(rng.uniform(0.0, seconds, n)) for n in (60, 90, 5)]


@add
def our_hdf5(folder: Path) -> tuple[str, dict]:
    from small_recording import small_recording

    small_recording(n_blocks=3, n_bins=60, n_trials=3).to_hdf5(folder / "cell.h5")
    return "cell.h5", {}


@add
def nwb(folder: Path) -> tuple[str, dict]:
    frames = np.concatenate([checkerboard(80, 0), checkerboard(40, 1), checkerboard(40, 1)])
    write_nwb(
        folder / "cell.nwb",
        frames=frames,
        spike_times=_spikes(),
        timestamps=0.5 + np.arange(160) / 20,
        trials=[(0.5, 4.5, "unique"), (4.5, 6.5, "repeat"), (6.5, 8.5, "repeat")],
        trial_columns=["kind"],
    )
    return "cell.nwb", {}


def _movie(n: int, seed: int = 0) -> np.ndarray:
    return checkerboard(n, seed, height=4, width=5)


@add
def phy_with_schedule(folder: Path) -> tuple[str, dict]:
    samples = {c: (s * 30_000).astype(int) for c, s in zip((2, 5, 7), _spikes(), strict=True)}
    write_phy(folder / "phy", samples, groups={2: "good", 5: "good", 7: "noise"})
    np.save(folder / "noise.npy", _movie(80))
    np.save(folder / "clip.npy", _movie(30, 1))
    rows = ["stimulus,start,repeat", "noise.npy,0.5,", "clip.npy,5.0,1", "clip.npy,7.0,2"]
    (folder / "stimuli.csv").write_text("\n".join(rows) + "\n")
    return "phy", {"schedule": "@/stimuli.csv", "frame_rate": 20.0}


@add
def phy_with_triggers(folder: Path) -> tuple[str, dict]:
    samples = {c: (s * 30_000).astype(int) for c, s in zip((0, 1, 4), _spikes(), strict=True)}
    write_phy(folder / "phy", samples, groups={0: "good", 1: "good", 4: "good"})
    np.save(folder / "movie.npy", _movie(200))
    np.savetxt(folder / "triggers.csv", 0.5 + np.arange(20) / 2, fmt="%.6f")
    return "phy", {
        "stimulus": "@/movie.npy",
        "triggers": "@/triggers.csv",
        "frames_per_trigger": 10,
        "sampling_rate": 30_000,
    }


BINNED = """bin_width = 0.05
[train]
stimulus = { file = "cells.mat", variable = "movie", axes = ["y", "x", "time"] }
response = { file = "cells.mat", variable = "counts", axes = ["neuron", "time"] }
[test]
stimulus = { file = "cells.mat", variable = "clip", axes = ["y", "x", "time"] }
response = { file = "cells.mat", variable = "repeats", axes = ["neuron", "time", "trial"] }
"""


@add
def matlab_counts(folder: Path) -> tuple[str, dict]:
    rng = np.random.default_rng(0)
    variables = {
        "movie": np.moveaxis(_movie(80), 0, -1),
        "counts": rng.poisson(0.4, (3, 80)).astype(np.uint8),
        "clip": np.moveaxis(_movie(30, 1), 0, -1),
        "repeats": rng.poisson(0.4, (3, 30, 4)).astype(np.uint8),
    }
    savemat(folder / "cells.mat", variables)
    (folder / "map.toml").write_text(BINNED)
    return "map.toml", {}


SPIKES = """[spikes]
variable = "spikes"
units = "ms"
[stimulus]
variable = "movie"
axes = ["y", "x", "time"]
frame_times = { variable = "flips" }
[trials]
start = { variable = "start" }
stop = { variable = "stop" }
"""


@add
def matlab_spikes(folder: Path) -> tuple[str, dict]:
    cells = np.empty((1, 3), dtype=object)
    cells[0, :] = [times * 1e3 for times in _spikes()]
    variables = {
        "spikes": cells,
        "movie": np.moveaxis(_movie(160), 0, -1),
        "flips": 0.5 + np.arange(160) / 20,
        "start": np.array([0.5, 4.5]),
        "stop": np.array([4.5, 8.5]),
    }
    savemat(folder / "cells.mat", variables)
    (folder / "map.toml").write_text(SPIKES)
    return "cells.mat", {"mapping": "@/map.toml"}


@add
def matlab73(folder: Path) -> tuple[str, dict]:
    rng = np.random.default_rng(0)
    with h5py.File(folder / "cells.mat", "w", userblock_size=512) as file:
        # MATLAB's first axis is HDF5's last.
        for name, values in (
            ("movie", _movie(80).swapaxes(1, 2)),
            ("counts", rng.poisson(0.4, (80, 3)).astype(np.uint8)),
            ("clip", _movie(30, 1).swapaxes(1, 2)),
            ("repeats", rng.poisson(0.4, (4, 30, 3)).astype(np.uint8)),
        ):
            file[name] = values
            file[name].attrs["MATLAB_class"] = np.bytes_("uint8")
    with (folder / "cells.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    (folder / "map.toml").write_text(BINNED)
    return "map.toml", {}


@add
def deep_retina(folder: Path) -> tuple[str, dict]:
    rng = np.random.default_rng(0)
    with h5py.File(folder / "naturalscene.h5", "w") as file:
        for half, n in (("train", 90), ("test", 40)):
            file[f"{half}/stimulus"] = _movie(n, n)
            file[f"{half}/time"] = np.arange(n) * 0.01
            file[f"{half}/response/binned"] = rng.poisson(0.3, (3, n)).astype(np.float64)
            file[f"{half}/response/firing_rate_10ms"] = rng.random((3, n))
        for i in range(3):
            file[f"test/repeats/cell{i:02d}"] = rng.poisson(0.3, (5, 40)).astype(np.float64)
    return "naturalscene.h5", {}


@add
def openretina(folder: Path) -> tuple[str, dict]:
    rng = np.random.default_rng(0)
    (folder / "data" / "stimuli").mkdir(parents=True)
    np.save(folder / "data" / "stimuli" / "train.npy", _movie(90)[None])
    np.save(folder / "data" / "stimuli" / "test.npy", _movie(40, 1)[None])
    with h5py.File(folder / "data" / "session_1.h5", "w") as file:
        file["responses_train"] = rng.random((3, 90)).astype(np.float32)
        file["responses_test"] = rng.random((3, 40)).astype(np.float32)
        file["session_info/animal"] = "m1"
    return "data", {"frame_rate": 30.0}


@add
def images_npy(folder: Path) -> tuple[str, dict]:
    rng = np.random.default_rng(0)
    np.save(folder / "responses_a.npy", rng.poisson(2.0, (4, 12, 3)).astype(np.float64))
    (folder / "images").mkdir()
    for i in range(12):
        picture = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"image{i:04d}.png")
    return "responses_a.npy", {"images": "@/images"}


@add
def raster_folder(folder: Path) -> tuple[str, dict]:
    rng = np.random.default_rng(0)
    (folder / "rasters").mkdir()
    ids = np.array([["hand", "face", "hand", "face"]], dtype=object)
    for unit in range(2):
        site = {"session_ID": 1001, "recording_channel": unit, "unit": "A"}
        savemat(
            folder / "rasters" / f"bp100{unit}_raster_data.mat",
            {
                "raster_data": rng.integers(0, 2, (4, 200), dtype=np.uint8),
                "raster_labels": {"stimulus_ID": ids},
                "raster_site_info": site | {"alignment_event_time": 51},
            },
        )
    return "rasters", {}


@add
def our_images(folder: Path) -> tuple[str, dict]:
    from neuromodels.datasets.image_arrays import image_recording_from_arrays

    rng = np.random.default_rng(0)
    image_recording_from_arrays(
        rng.poisson(2.0, (3, 8, 4)), images=rng.integers(0, 255, (8, 1, 5, 5), dtype=np.uint8)
    ).to_hdf5(folder / "images.h5")
    return "images.h5", {}


@add
def zarr_store(folder: Path) -> tuple[str, dict]:
    from small_recording import small_recording

    from neuromodels.datasets.converting import convert

    convert(small_recording(n_blocks=2, n_bins=50, n_trials=2), folder / "cell.zarr")
    return "cell.zarr", {}
