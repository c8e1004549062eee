"""Frame numbers of movies that come over a connection: few frames are read and compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import xarray as xr

from neuromodels.datasets.frames import frame_slabs
from neuromodels.datasets.recurrence import Stretch
from neuromodels.datasets.repeats import number_frames

PROBES = (0.0, 0.5)  # of a trial: frames that show whether it may be a repeat


def numbers_of_stretches(
    frames: xr.Variable, stretches: Sequence[Stretch], where: str
) -> np.ndarray:
    """Frame numbers, equal for identical frames within the stretches; all others are unread.

    Parameters
    ----------
    frames : xarray.Variable (frame, ...)
    stretches : list of (start, stop)
        What is read.
    where : str
        File and variable, for messages.

    Returns
    -------
    (frame,) int64
        Frames that were not read have numbers of their own.
    """
    numbers = np.arange(frames.shape[0], dtype=np.int64)
    chosen = [slice(start, stop) for start, stop in stretches if stop > start]
    if chosen:
        slabs = (slab for part in chosen for slab in frame_slabs(frames[part]))
        read = np.concatenate([numbers[part] for part in chosen])
        numbers[read] = number_frames(slabs, where) + frames.shape[0]
    return numbers


def alike(frames: xr.Variable, stretches: Sequence[Stretch], where: str) -> list[Stretch]:
    """Those stretches that may show the same, by their first and middle frames.

    Trials that are out of step after a dropped frame begin alike all the same, so stretches that
    share any of the frames looked at are returned.
    """
    filled = [stretch for stretch in stretches if stretch[1] > stretch[0]]
    shortest = min((stop - start for start, stop in filled), default=0)
    groups: dict[tuple, set[int]] = defaultdict(set)
    for probe in PROBES:
        offset = int(probe * shortest)
        pieces = (np.asarray(frames[a + offset : a + offset + 1].values) for a, _ in filled)
        for i, number in enumerate(number_frames(pieces, where)):
            groups[probe, int(number)].add(i)
    found = sorted({i for group in groups.values() if len(group) > 1 for i in group})
    return [filled[i] for i in found]
