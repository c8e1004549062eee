"""A movie as a few numbers per bin, read in pieces: what tests of timing and statistics look at."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from neuromodels.datasets.blocks import stored_width
from neuromodels.datasets.frames import SLAB_BYTES

#: Spatial features of a frame: mean luminance in so many patches, and change in so many.
PATCHES, CHANGES = 144, 9
_SIDE = 96  # pixels per side that are looked at; larger frames are strided
_READ_BYTES = 2**30  # of a movie; of a larger one, fewer pieces are taken


class Piece(NamedTuple):
    """A stretch without a jump: `stimulus` (bin, feature) and `rate` (bin, neuron), float32.

    `at` is its middle on the clock of the recording, s. Features of bins without a frame are NaN.
    """

    stimulus: np.ndarray
    rate: np.ndarray
    at: float


def take_pieces(role: xr.Dataset, seconds: float, most_bins: int) -> list[Piece]:
    """Stretches of a role, spread evenly over it, with the stimulus as a few features per bin.

    Parameters
    ----------
    role : xarray.Dataset
        With a stimulus. Trials are averaged.
    seconds : float
        Longest piece.
    most_bins : int
        Of all pieces together.

    Returns
    -------
    list of Piece
        In the order of time. Blocks that follow one another without a gap are joined.
    """
    movie, shown = role["stimulus"].variable, role["frame_of_bin"].values
    response = role["response"].transpose("trial", "time", "neuron", missing_dims="ignore")
    time, width = role["time"].values, float(stored_width(role))
    edges = np.flatnonzero(np.abs(np.diff(time) - width) > 0.01 * width) + 1
    stretches = []
    for a, b in zip([0, *edges], [*edges, time.size], strict=True):
        n = max(1, round((b - a) * width / seconds))
        cuts = a + (b - a) * np.arange(n + 1) // n
        stretches += list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))
    stretches = [s for s in stretches if s[1] - s[0] > 2]
    frame_bytes = movie.dtype.itemsize * int(np.prod(movie.shape[1:], dtype=np.int64))
    n_frames = np.unique(shown[shown >= 0]).size
    share = min(1.0, most_bins / max(1, time.size), _READ_BYTES / max(1, n_frames * frame_bytes))
    n = max(min(8, len(stretches)), round(share * len(stretches)))
    chosen = [stretches[int((i + 0.5) * len(stretches) / n)] for i in range(n)]
    pieces = []
    for a, b in chosen:
        values = np.asarray(response[..., a:b, :].values, np.float32)
        if values.ndim == 3:
            there = np.isfinite(values)
            count = there.sum(axis=0)
            values = np.where(there, values, 0).sum(axis=0) / np.where(count, count, np.nan)
        features = frame_features(movie, shown[a:b])
        pieces.append(Piece(features, values, float(time[a] + time[b - 1]) / 2))
    return pieces


def frame_features(movie: xr.Variable, shown: np.ndarray) -> np.ndarray:
    """Luminance in patches and change in larger patches, (bin, feature); NaN without a frame.

    A cell without a linear filter (complex, ON-OFF) shows up in the change: the mean absolute
    difference from the frame before.
    """
    there = (shown >= 0) & (shown < movie.shape[0])
    if not there.any():
        return np.full((shown.size, 1), np.nan, np.float32)
    first, last = int(shown[there].min()), int(shown[there].max())
    height, width = movie.shape[-2:]
    rows, columns = (np.arange(0, n, -(-n // _SIDE)) for n in (height, width))
    grids = [_grid(rows.size, columns.size, most) for most in (PATCHES, CHANGES)]
    frame_bytes = movie.dtype.itemsize * int(np.prod(movie.shape[1:], dtype=np.int64))
    step, before, parts = max(1, SLAB_BYTES // max(1, frame_bytes)), None, []
    for start in range(max(0, first - 1), last + 1, step):
        slab = np.asarray(movie[start : min(start + step, last + 1)].values)
        if slab.ndim == 4:
            slab = slab.mean(axis=1, dtype=np.float32)
        slab = slab[:, rows[0] :: max(1, -(-height // _SIDE)), :: max(1, -(-width // _SIDE))]
        slab = slab.astype(np.float32)
        previous = np.concatenate([slab[:1] if before is None else before, slab[:-1]])
        change = np.abs(slab - previous)
        parts.append(np.concatenate([_pool(slab, grids[0]), _pool(change, grids[1])], axis=1))
        before = slab[-1:]
    features = np.concatenate(parts)
    result = features[np.clip(shown - max(0, first - 1), 0, len(features) - 1)]
    result[~there] = np.nan
    return result


def _grid(height: int, width: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """First rows and columns of at most `most` patches, about as many per side as fit."""
    if height * width <= most:
        return np.arange(height), np.arange(width)
    scale = np.sqrt(most / (height * width))
    down = min(height, max(1, int(height * scale)))
    across = min(width, max(1, most // down))
    down = min(height, max(1, most // across))
    return np.arange(down) * height // down, np.arange(across) * width // across


def _pool(frames: np.ndarray, grid: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    rows, columns = grid
    area = np.outer(np.diff([*rows, frames.shape[1]]), np.diff([*columns, frames.shape[2]]))
    if area.max() > 1:
        frames = np.add.reduceat(np.add.reduceat(frames, rows, axis=1), columns, axis=2) / area
    return frames.reshape(len(frames), -1).astype(np.float32, copy=False)
