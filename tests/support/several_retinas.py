"""Recordings of cells of the same types from several animals, from plain numpy."""

from __future__ import annotations

import numpy as np

from neuromodels.datasets.arrays import recording_from_arrays

BIN_WIDTH = 0.010
SIDE = 12
N_TYPES = 4


def _filters(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Centre-surround filters (type, 5, 5) and biphasic time courses (type, 12)."""
    grid = np.arange(5) - 2
    distance = np.add.outer(grid**2, grid**2)
    lags = np.arange(12)
    space, time = [], []
    for _ in range(N_TYPES):
        sigma, sign = rng.uniform(0.7, 1.1), rng.choice([-1, 1])
        surround = rng.uniform(0.2, 0.6)
        bump = np.exp(-distance / (2 * sigma**2))
        wide = np.exp(-distance / (2 * (2 * sigma) ** 2))
        kernel = bump / bump.sum() - surround * wide / wide.sum()
        space.append(sign * kernel / np.linalg.norm(kernel))
        peak = rng.uniform(2.0, 4.0)
        course = (lags / peak) ** 2 * np.exp(-2 * (lags / peak - 1)) - 0.5 * (
            lags / (2 * peak)
        ) ** 4 * np.exp(-4 * (lags / (2 * peak) - 1))
        time.append(course / np.linalg.norm(course))
    return np.array(space), np.array(time)


def retinas(n: int, minutes: float, seed: int, n_cells: int = 6, heldout_minutes: float = 1.0):
    """Recordings of `n` animals: the cells differ, the filters of their types are the same.

    Each cell sums rectified subunits of its type under a Gaussian field: LNLN, as in
    Pitkow & Meister (2012). The movie is binary white noise on 12 x 12 pixels at 50 Hz.

    Returns
    -------
    list of Recording
        Roles train and heldout.
    """
    rng = np.random.default_rng(seed)
    space, time = _filters(rng)
    return [_retina(rng, space, time, minutes, n_cells, heldout_minutes) for _ in range(n)]


def _retina(rng, space, time, minutes, n_cells, heldout_minutes):
    kinds = rng.integers(0, N_TYPES, n_cells)
    side = SIDE - 4
    centres = rng.uniform(1, side - 2, (n_cells, 2))
    y, x = np.mgrid[:side, :side]
    fields = np.exp(
        -((y[None] - centres[:, :1, None]) ** 2 + (x[None] - centres[:, 1:, None]) ** 2)
        / (2 * 1.2**2)
    ).reshape(n_cells, -1)
    fields /= fields.sum(1, keepdims=True)
    gain = rng.uniform(2.0, 4.0, n_cells)

    def film(duration):
        frames = rng.integers(0, 2, (round(duration * 60 * 50), SIDE, SIDE))
        return np.repeat(frames.astype(np.uint8), 2, axis=0)

    def respond(movie):
        shown = movie.astype(np.float32) * 2 - 1
        windows = np.lib.stride_tricks.sliding_window_view(shown, (5, 5), axis=(1, 2))
        rate = np.empty((len(movie), n_cells))
        for kind in set(kinds.tolist()):
            local = np.tensordot(windows, space[kind].astype(np.float32), ([3, 4], [0, 1]))
            local = local.reshape(len(movie), -1)
            past = np.zeros_like(local)
            for lag, weight in enumerate(time[kind], start=1):
                past[lag:] += np.float32(weight) * local[:-lag]
            subunits = np.maximum(past - 0.3, 0)
            mine = kinds == kind
            rate[:, mine] = subunits @ fields[mine].T.astype(np.float32)
        rate = np.log1p(np.exp(gain * (rate / rate.mean(0) - 1.6) * 2)) * 0.15
        return rng.poisson(rate)

    train, heldout = film(minutes), film(heldout_minutes)
    return recording_from_arrays(
        train,
        respond(train),
        bin_width=BIN_WIDTH,
        frame_rate=1 / BIN_WIDTH,
        heldout_stimulus=heldout,
        heldout_counts=respond(heldout),
    )
