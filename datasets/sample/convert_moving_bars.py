"""Make `moving_bars.h5` from the authors' files.

    python -m neuromodels.datasets.sample.convert_moving_bars FOLDER [OUT] [--overwrite]

FOLDER holds `nonrepeat_data_bars.mat`, `repeat_data_bars.mat` and `test_data_bars.mat` of
github.com/gmahuas/2stepGLM, folder `data`, commit dfe6286c8a9c7f6b0ab265139b35a79f654795da
(MIT, (c) 2020 Gabriel Mahuas). Paper: G. Mahuas, G. Isacchini, O. Marre, U. Ferrari, T. Mora,
"A new inference approach for training shallow and deep generalized linear models of noisy
interacting neurons", NeurIPS 2020.

`repeat_data_bars` holds bins 4000 to 6000 of the very presentations whose bins 0 to 4000 are in
`test_data_bars`: one movie of 10 s, shown 54 times. The order of the repeats and the clock of
the blocks are not in the files; blocks are labelled 0 to 49 and follow one another here.
"""

from __future__ import annotations

import argparse
import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from neuromodels.datasets.binning import bin_edges
from neuromodels.datasets.building import build_recording, build_role
from neuromodels.datasets.errors import InputError

FILES = ("nonrepeat_data_bars.mat", "repeat_data_bars.mat", "test_data_bars.mat")
BIN_WIDTH = Fraction(1, 600)
BINS_PER_FRAME = 10
HELDOUT = (4, 14, 24, 34, 44)  # of the blocks 0 to 49, spread evenly: cells drift
N_TEST_BINS = 4000
DESCRIPTION = (
    "moving bars, one row of 31 pixels, 60 frames per second; autocorrelated in space and time"
)


def main(arguments: list[str] | None = None) -> Path:
    """Read the authors' files and write the bundled recording."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "out", type=Path, nargs="?", default=Path(__file__).parent / "moving_bars.h5"
    )
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args(arguments)
    return convert(options.folder).to_hdf5(options.out, overwrite=options.overwrite)


def convert(folder: Path):
    """The recording from the folder with the three source files."""
    for name in FILES:
        if not (folder / name).exists():
            raise InputError("is missing", where=str(folder / name), remedy=__doc__)
    unique, repeats, test = (loadmat(folder / name) for name in FILES)

    movie = unique["stimulus"][:, 0]  # (pixel, bin, block)
    counts = unique["spikes_train"]  # (cell, bin, block)
    n_bins, n_blocks = counts.shape[1:]
    frames = np.stack([native_frames(movie[..., b], f"block {b}") for b in range(n_blocks)])
    labels = np.arange(n_blocks)
    kept = ~np.isin(labels, HELDOUT)
    roles = {
        "train": _unrepeated(frames, counts, labels[kept], n_bins),
        "heldout": _unrepeated(frames, counts, labels[~kept], n_bins),
    }
    shown = native_frames(test["stimulus_test"][:, 0], "stimulus_test")
    n_test_frames = N_TEST_BINS // BINS_PER_FRAME
    roles["test"] = _repeated(
        shown[:n_test_frames], test["spikes_test"], 0, "one 10 s movie shown 54 times: 0 to 6.667 s"
    )
    roles["repeats"] = _repeated(
        shown[n_test_frames:],
        repeats["spikes_train"],
        N_TEST_BINS,
        "the same presentations, 6.667 to 10 s",
    )
    n_cells, n_points = counts.shape[0], unique["Xell"].shape[0]
    outline = {
        "rf_point": ("rf_point", np.arange(n_points), {"units": "1", "description": "point of it"})
    }
    for axis, name in (("x", "Xell"), ("y", "Yell")):
        about = {
            "units": "not stated",
            "description": f"outline of the receptive field along {axis}: {name} of the source",
        }
        outline[f"rf_outline_{axis}"] = (("neuron", "rf_point"), unique[name].T.astype("f4"), about)
    return build_recording(
        {"moving_bars": roles},
        neurons=[f"cell{i}" for i in range(n_cells)],
        attrs={
            "title": "Retinal ganglion cells, moving bars",
            "species": "not stated",
            "area": "retina",
            "licence": "MIT, (c) 2020 Gabriel Mahuas",
            "source": "github.com/gmahuas/2stepGLM, data/, commit "
            "dfe6286c8a9c7f6b0ab265139b35a79f654795da",
            "reference": "Mahuas, Isacchini, Marre, Ferrari and Mora, NeurIPS 2020",
            "cell_type": "OFF ganglion cells",
            "clock": "order and times of the blocks and repeats are not in the source; blocks "
            "follow one another here",
        },
        stimulus_attrs={
            "moving_bars": {
                "description": DESCRIPTION,
                "generator": "not stated",
                "seed": "not stated",
                "background": 0.0,
            }
        },
        unit_metadata=outline,
        identity=source_hash(folder),
        source="moving_bars",
    )


def native_frames(movie: np.ndarray, where: str) -> np.ndarray:
    """One frame for every ten samples, (frame, y, 1); fails unless they are all alike.

    Parameters
    ----------
    movie : (pixel, bin)
        Frames sampled at 600 Hz.
    where : str
        Named in the error.
    """
    n_pixels, n_bins = movie.shape
    remedy = "These are not the files that this script was written for."
    if n_bins % BINS_PER_FRAME:
        raise InputError(f"has {n_bins} bins, no multiple of ten", where=where, remedy=remedy)
    grouped = movie.reshape(n_pixels, -1, BINS_PER_FRAME)
    if (grouped != grouped[..., :1]).any():
        raise InputError("changes within a frame of ten bins", where=where, remedy=remedy)
    return np.ascontiguousarray(grouped[..., 0].T[:, :, None])


def source_hash(folder: Path) -> str:
    """sha256 over the three source files in order."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _unrepeated(frames: np.ndarray, counts: np.ndarray, labels: np.ndarray, n_bins: int):
    times = [bin_edges(0.0, BIN_WIDTH, n_bins * (b + 1))[n_bins * b : -1] for b in labels]
    n_frames = len(labels) * n_bins // BINS_PER_FRAME
    time = np.concatenate(times)
    return build_role(
        np.concatenate([frames[b] for b in labels]),
        np.concatenate([counts[:, :, b].T for b in labels]),
        bin_width=BIN_WIDTH,
        time=time,
        block=np.repeat(labels, n_bins).astype(np.int32),
        frame_of_bin=np.repeat(np.arange(n_frames), BINS_PER_FRAME),
        frame_time=time[::BINS_PER_FRAME],
        stimulus_units="0 or 1 (which is bright is not stated)",
        attrs={"selection": f"{len(labels)} blocks of 36 s"},
        where="moving_bars",
    )


def _repeated(frames: np.ndarray, counts: np.ndarray, first_bin: int, selection: str):
    n_bins = counts.shape[1]
    time = bin_edges(0.0, BIN_WIDTH, first_bin + n_bins)[first_bin:-1]
    return build_role(
        frames,
        counts.transpose(2, 1, 0),
        bin_width=BIN_WIDTH,
        time=time,
        frame_of_bin=np.repeat(np.arange(len(frames)), BINS_PER_FRAME),
        frame_time=time[::BINS_PER_FRAME],
        stimulus_units="0 or 1 (which is bright is not stated)",
        attrs={"selection": selection},
        where="moving_bars",
    )


if __name__ == "__main__":
    main()
