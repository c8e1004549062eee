"""Bring every simulated cell to its stated drive and mean rate, on a part of the training movie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.simulated.anatomy import Anatomy
from neuromodels.datasets.simulated.parameters import RetinaParameters
from neuromodels.datasets.simulated.shows import Show
from neuromodels.datasets.simulated.spiking import CALM, SpikingStage, add_run
from neuromodels.datasets.simulated.stages import (
    Scale,
    contrast_of,
    ganglion_inputs,
    subunit_inputs,
)

RUNS = 8
ROUNDS = 15
SLOPES = (0.4, 3.0)  # of the log of the rate against the offset
EVERY = 5  # steps: the drive changes slowly
CLOSE, ENOUGH = 0.005, 0.1  # relative error of a mean rate: stop there, fail beyond
CAPPED_SHARE = 1e-3  # of the steps


def measure_scale(
    show: Show,
    pieces: Sequence[tuple[int, int, np.ndarray]],
    anatomy: Anatomy,
    parameters: RetinaParameters,
) -> Scale:
    """Size of the signals during pieces (first frame, stop, frame of each step) of training."""
    squares, n = np.zeros(2), 0
    for piece in pieces:
        on, off = _inputs(show, piece, anatomy, parameters)
        squares += np.square(on).sum(), np.square(off).sum()
        n += on.size
    subunit = np.sqrt(squares / n)
    if not (subunit > 0).all():
        raise InputError(
            "does not change: no cell would respond",
            where=f"simulate_retina: stimulus {show.name}",
            remedy="Show a movie with contrast.",
        )
    summed = [
        ganglion_inputs(*_inputs(show, piece, anatomy, parameters), subunit, anatomy, parameters)
        for piece in pieces
    ]
    summed = np.concatenate(summed)
    sd = summed.std(axis=0)
    if not (sd > 0).all():
        raise InputError(
            f"drives {int((sd == 0).sum())} cells not at all",
            where=f"simulate_retina: stimulus {show.name}",
            remedy="Show a movie with more contrast, or lower subunit_threshold.",
        )
    return Scale(subunit, summed.mean(axis=0), sd)


def find_offsets(
    drives: Sequence[np.ndarray],
    stage: SpikingStage,
    anatomy: Anatomy,
    parameters: RetinaParameters,
    seed: np.random.SeedSequence,
) -> np.ndarray:
    """Offset (neuron,) of the drive at which each cell has its mean rate.

    Parameters
    ----------
    drives : list of (step, neuron)
        Of the pieces that the mean is taken over, without offset.

    Raises
    ------
    InputError
        If no offset gives that rate, because cells excite each other without end.
    """
    target = anatomy.mean_rate_hz * parameters.dt
    offset = _without_memory(np.concatenate(drives)[::EVERY], stage, target)
    if not stage.has_memory:
        return offset
    slope, step, before = np.ones(target.size), np.zeros(target.size), None
    for _ in range(ROUNDS):
        found, capped = _mean_counts(drives, offset, stage, seed)
        wrong = np.log(target / np.maximum(found, 1e-3 * target))
        if np.abs(wrong).max() < CLOSE:
            break
        if before is not None:
            # Secant: how much the last step changed the log of the rate.
            moved = np.where(step == 0, 1.0, step)
            slope = np.clip((before - wrong) / moved, *SLOPES)
        step, before = np.clip(wrong / slope, -1, 1), wrong
        offset = offset + step
    found, capped = _mean_counts(drives, offset, stage, seed)
    if np.abs(found / target - 1).max() > ENOUGH or capped > CAPPED_SHARE:
        worst = int(np.abs(np.log(found / target)).argmax())
        raise InputError(
            f"run away: {anatomy.names[worst]} fires at {found[worst] / parameters.dt:.3g} Hz "
            f"instead of {anatomy.mean_rate_hz[worst]:.3g} Hz",
            where="simulate_retina: cells",
            remedy=CALM,
        )
    return offset


def _without_memory(drive: np.ndarray, stage: SpikingStage, target: np.ndarray) -> np.ndarray:
    """Offsets by bisection: the mean rate rises with the offset."""
    low, high = np.full(target.size, -60.0), np.full(target.size, 60.0)
    for _ in range(40):
        middle = (low + high) / 2
        mean = np.minimum(stage.rates(drive + middle), stage.cap).mean(axis=0)
        low, high = np.where(mean < target, middle, low), np.where(mean < target, high, middle)
    return (low + high) / 2


def _mean_counts(drives, offset, stage: SpikingStage, seed) -> tuple[np.ndarray, float]:
    """Mean count per step, and share of capped steps; the same random numbers every time."""
    rng = np.random.default_rng(seed)
    total, n_steps, capped = np.zeros(offset.size), 0, 0
    for drive in drives:
        rates = np.zeros(drive.shape)
        counts = np.zeros(drive.shape, np.uint16)
        ones, gain = np.ones(drive.shape), np.ones(len(drive))
        for _ in range(RUNS):
            capped += add_run(stage, drive + offset, ones, gain, rng, counts, rates)
        total += rates.sum(axis=0)
        n_steps += RUNS * len(drive)
    return total / n_steps, capped / (n_steps * offset.size)


def _inputs(show: Show, piece, anatomy: Anatomy, parameters: RetinaParameters):
    start, stop, frame_of_step = piece
    contrast = contrast_of(show.train.frames[start:stop].values, show.adapted)
    return subunit_inputs(contrast, frame_of_step, show.screen, anatomy, parameters)
