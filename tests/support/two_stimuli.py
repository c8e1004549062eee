"""Neurons that watch two stimuli: to one of them they respond linearly, to both alike."""

from __future__ import annotations

import numpy as np

from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.datasets.joining import join_stimuli

BIN_WIDTH = 0.010
LAGS = np.exp(-np.arange(1, 11) / 4.0)


def drive(movie: np.ndarray, space: np.ndarray) -> np.ndarray:
    """What an LN neuron sums, (bin, neuron), of a movie (bin, y, 1)."""
    seen = (movie[:, :, 0] - 0.5) @ space
    past = np.stack([np.convolve(s, LAGS)[: len(s)] for s in seen.T], axis=1)
    return np.concatenate([np.zeros((1, space.shape[1])), past[:-1]])


def two_stimuli(seed: int = 0, n_bins: int = 5000, n_trials: int = 8, mean: float = 0.2):
    """Fast noise and slow noise seen by three LN neurons, with true rates.

    Returns
    -------
    Recording
        Stimuli "fast" and "slow", each with train and test.
    dict
        By stimulus: true rate of the test movie (bin, neuron), spikes per bin.
    """
    rng = np.random.default_rng(seed)
    space = rng.normal(size=(8, 3)) * 0.5
    recordings, truth = {}, {}
    for name, hold in (("fast", 1), ("slow", 8)):

        def movie(n: int, hold: int = hold) -> np.ndarray:
            patterns = rng.integers(0, 2, size=(-(-n // hold), 8, 1))
            return np.repeat(patterns, hold, axis=0)[:n].astype(np.uint8)

        train, test = movie(n_bins), movie(400)
        rate = mean * np.exp(drive(train, space))
        truth[name] = mean * np.exp(drive(test, space))
        recordings[name] = recording_from_arrays(
            train,
            rng.poisson(rate),
            bin_width=BIN_WIDTH,
            test_stimulus=test,
            test_counts=rng.poisson(truth[name], size=(n_trials, *truth[name].shape)),
        )
    return join_stimuli(recordings), truth
