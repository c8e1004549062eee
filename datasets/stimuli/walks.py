"""Paths that wander between two walls."""

from __future__ import annotations

import numpy as np


def reflected_walk(steps: np.ndarray, start, half_range) -> np.ndarray:
    """Sum of steps, reflected at walls on both sides of 0.

    Parameters
    ----------
    steps : (step, ...)
        The first one leads away from `start`.
    start : float or array
        Between the walls.
    half_range : float or array
        Distance of either wall from 0; where it is 0 the path stays at 0.

    Returns
    -------
    (step + 1, ...)
        `start` is its first point.

    Notes
    -----
    The free path is folded at the walls, which for symmetric steps is the same walk.
    """
    free = np.concatenate([np.zeros((1, *steps.shape[1:])), np.cumsum(steps, axis=0)]) + start
    half = np.broadcast_to(half_range, free.shape)
    width = np.where(half > 0, 4 * half, 1.0)
    return np.where(half > 0, np.abs((free - half) % width - 2 * half) - half, 0.0)
