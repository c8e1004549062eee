"""The bundled recording: six ganglion cells, a bar movie, half an hour and 54 repeats."""

from __future__ import annotations

from importlib.resources import as_file, files

from neuromodels.datasets.recording import Recording


def sample_recording() -> Recording:
    """Open the bundled recording: 6 retinal ganglion cells and a 31-pixel bar movie.

    Half an hour of unrepeated movie in 50 blocks of 36 s (45 in `train`, 5 spread evenly in
    `heldout`) and one 10 s movie shown 54 times (`test`: its first 6.667 s; `repeats`: the
    rest). Counts in bins of exactly 1/600 s, frames at 60 Hz.

    The bins were made from the data of G. Mahuas et al. (MIT licence, see `LICENSE` beside
    this file): Mahuas, Isacchini, Marre, Ferrari and Mora, NeurIPS 2020.
    """
    from neuromodels.datasets.opening import open_recording

    with as_file(files(__package__) / "moving_bars.h5") as path:
        return open_recording(path)
