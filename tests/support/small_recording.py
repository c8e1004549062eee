"""A recording small enough to fit within a second, from plain numpy."""

from __future__ import annotations

import numpy as np

from neuromodels.datasets.arrays import recording_from_arrays

BIN_WIDTH = 0.010


def small_recording(n_blocks: int = 12, n_bins: int = 400, n_trials: int = 8, seed: int = 0):
    """Three LN neurons looking at a bar movie of 8 pixels; 4 s blocks and a repeated clip.

    Returns
    -------
    Recording
        Roles train, heldout and test.
    """
    rng = np.random.default_rng(seed)
    space = rng.normal(size=(8, 3)) * 0.4
    lags = np.exp(-np.arange(1, 11) / 4.0)

    def respond(movie: np.ndarray, n: int) -> np.ndarray:
        drive = (movie[:, :, 0] - 0.5) @ space
        drive = np.stack([np.convolve(d, lags)[: len(d)] for d in drive.T], axis=1)
        drive = np.concatenate([np.zeros((1, 3)), drive[:-1]])
        return rng.poisson(0.2 * np.exp(drive), size=(n, *drive.shape))

    def movie(n: int) -> np.ndarray:
        return rng.integers(0, 2, size=(n, 8, 1)).astype(np.uint8)

    train, heldout, test = movie(n_blocks * n_bins), movie(2 * n_bins), movie(n_bins)
    return recording_from_arrays(
        train,
        respond(train, 1)[0],
        bin_width=BIN_WIDTH,
        frame_rate=1 / BIN_WIDTH,
        blocks=np.repeat(np.arange(n_blocks), n_bins),
        heldout_stimulus=heldout,
        heldout_counts=respond(heldout, 1)[0],
        heldout_blocks=np.repeat([0, 1], n_bins),
        test_stimulus=test,
        test_counts=respond(test, n_trials),
    )
