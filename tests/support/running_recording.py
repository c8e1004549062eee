"""Cells whose gain follows running, beside a pupil that says nothing: plain numpy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neuromodels.datasets.building import build_recording, build_role

BIN_WIDTH = 0.02
NAMES, UNITS = ("running", "pupil"), ("cm/s", "mm")
#: Units of the covariates: mean and standard deviation.
MEAN, STD = np.array([8.0, 1.5]), np.array([5.0, 0.2])
N_PIXELS = 6


class Truth(NamedTuple):
    """What the recording was made of.

    Attributes
    ----------
    kernel : numpy.ndarray
        (lag, pixel, neuron), of the stimulus minus a half.
    weight : numpy.ndarray
        (covariate, neuron), of the covariates in standard deviations.
    drive : numpy.ndarray
        (bin, neuron) of the training data, log spikes per bin.
    """

    kernel: np.ndarray
    weight: np.ndarray
    drive: np.ndarray


def slow(rng: np.random.Generator, n_bins: int, tau_s: float = 1.0) -> np.ndarray:
    """Two independent signals with mean 0 and variance 1 that change within seconds."""
    keep = np.exp(-BIN_WIDTH / tau_s)
    noise = rng.standard_normal((n_bins, 2)) * np.sqrt(1 - keep**2)
    noise[0] = rng.standard_normal(2)
    for t in range(1, n_bins):
        noise[t] += keep * noise[t - 1]
    return noise


def running_recording(
    seed: int = 0,
    *,
    n_blocks: int = 15,
    n_bins: int = 400,
    n_trials: int = 6,
    weight: float = 0.4,
    n_neurons: int = 3,
    own: float = 0.0,
):
    """Blocks of white noise and a repeated clip, with running and pupil in each trial.

    Parameters
    ----------
    seed : int
        Of stimulus, covariates, cells and spikes.
    n_blocks, n_bins : int
        Of training; a third as many blocks are held out.
    n_trials : int
        Of the repeats.
    weight : float
        What a standard deviation of running adds to the log rate; of neurons in turn also a half
        and the negative of it.
    n_neurons : int
        Cells.
    own : float
        What a spike adds to the log rate of its neuron in the next bin.

    Returns
    -------
    Recording
        Roles train, heldout and test.
    Truth
        What it was made of.
    """
    rng = np.random.default_rng(seed)
    lags = np.exp(-np.arange(1, 6) / 2.0)
    kernel = lags[:, None, None] * rng.normal(size=(N_PIXELS, n_neurons)) * 0.8
    weights = np.zeros((2, n_neurons))
    weights[0] = weight * np.array([1.0, 0.5, -1.0])[np.arange(n_neurons) % 3]

    def make(n: int, trials: int):
        movie = rng.integers(0, 2, size=(n, N_PIXELS, 1)).astype(np.uint8)
        z = np.stack([slow(rng, n) for _ in range(trials)])
        drive = np.log(0.25) + z @ weights
        for lag, at in enumerate(kernel, 1):
            drive[:, lag:] += (movie[: n - lag, :, 0] - 0.5) @ at
        counts = np.zeros(drive.shape, dtype=int)
        for t in range(n):
            if t:
                drive[:, t] += own * counts[:, t - 1]
            counts[:, t] = rng.poisson(np.exp(drive[:, t]))
        return movie, MEAN + STD * z, counts, drive

    def role(n_pieces: int, trials: int | None = None):
        made = [make(n_bins, trials or 1) for _ in range(n_pieces)]
        frames = np.concatenate([one[0] for one in made])
        values, counts, drive = (
            np.concatenate([one[i] for one in made], axis=1) for i in (1, 2, 3)
        )
        if trials is None:
            values, counts = values[0], counts[0]
        bins = np.arange(len(frames))
        node = build_role(
            frames,
            counts,
            bin_width=BIN_WIDTH,
            block=bins // n_bins,
            frame_of_bin=bins,
            frame_time=bins * BIN_WIDTH,
            covariates=values,
            covariate_names=NAMES,
            covariate_units=UNITS,
        )
        return node, drive[0]

    train, drive = role(n_blocks)
    roles = {"train": train, "heldout": role(n_blocks // 3)[0], "test": role(1, n_trials)[0]}
    recording = build_recording({"noise": roles}, source=f"running, seed {seed}")
    return recording, Truth(kernel, weights, drive)
