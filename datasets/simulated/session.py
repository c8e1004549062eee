"""A session: when each block and each repeat is shown, and what drifts meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.simulated.anatomy import Anatomy
from neuromodels.datasets.simulated.modulation import drift_at, shared_gain, slow_process
from neuromodels.datasets.simulated.parameters import RetinaParameters
from neuromodels.datasets.simulated.shows import Clip, Show

BLOCK_S = 20.0  # the training movie is shown in pieces of about this length
PAUSE_S = 1.0  # of the background between any two pieces
COVARIATES = ("running", "pupil")
COVARIATE_UNITS = ("cm/s", "mm")
SLOW_STEP_S = 0.01  # sampling of gain and covariates, which are slow


@dataclass(frozen=True)
class Piece:
    """Something that is shown without a break: a block of training, or one repeat of the test.

    Attributes
    ----------
    show : int
        Index of the stimulus.
    number : int
        Of the block, or of the repeat.
    start, stop : int
        Frames of its clip.
    n_bins : int
    onset : float
        On the clock of the session, s.
    """

    show: int
    repeat: bool
    number: int
    start: int
    stop: int
    n_bins: int
    onset: float = 0.0


@dataclass(frozen=True, eq=False)
class Session:
    """The pieces in the order in which they are shown, and what is slow.

    Attributes
    ----------
    gain : (slow step,)
        Shared by all cells.
    covariates : (slow step, covariate) or None
        Running speed, pupil.
    covariate_factor : (slow step,)
        By which running multiplies the rates; mean 1.
    """

    pieces: list[Piece]
    duration_s: float
    slow_step_s: float
    gain: np.ndarray
    covariates: np.ndarray | None
    covariate_factor: np.ndarray
    drift: np.ndarray
    dt: float

    def shown(self, show: int, repeat: bool) -> list[Piece]:
        """Blocks, or repeats, of one stimulus in their own order."""
        mine = [p for p in self.pieces if p.show == show and p.repeat == repeat]
        return sorted(mine, key=lambda piece: piece.number)

    def gain_during(self, onset: float, n_steps: int) -> np.ndarray:
        """Shared gain (step,) from a time of the session on."""
        return self.gain[self._slow(onset, n_steps)]

    def factor_during(self, onset: float, n_steps: int) -> np.ndarray:
        """Drift and covariates (step, neuron) from a time of the session on."""
        position = (onset + np.arange(n_steps) * self.dt) / self.duration_s
        running = self.covariate_factor[self._slow(onset, n_steps)]
        return np.ascontiguousarray(drift_at(position, self.drift) * running[:, None])

    def covariates_during(self, onset: float, n_steps: int) -> np.ndarray:
        """Covariates (step, covariate) from a time of the session on."""
        return self.covariates[self._slow(onset, n_steps)]

    def _slow(self, onset: float, n_steps: int) -> np.ndarray:
        time = onset + (np.arange(n_steps) + 0.5) * self.dt
        return (time / self.slow_step_s).astype(np.intp)


def plan_session(
    shows: Sequence[Show],
    repeats: int,
    bin_width: float,
    anatomy: Anatomy,
    parameters: RetinaParameters,
    rng: np.random.Generator,
) -> Session:
    """Spread the blocks and repeats of all stimuli evenly over a session and draw what is slow."""
    waiting = []
    for index, show in enumerate(shows):
        blocks = [] if show.train is None else _blocks(show.train, BLOCK_S)
        tests = [(0, len(show.test.onsets))] * repeats
        for repeat, spans in ((False, blocks), (True, tests)):
            clip = show.test if repeat else show.train
            for number, (start, stop) in enumerate(spans):
                length = clip.ends[stop - 1] - clip.onsets[start]
                piece = Piece(
                    *(index, repeat, number, start, stop),
                    n_bins=int(np.floor(length / bin_width + 1e-6)),
                )
                waiting.append(((number + 0.5) / len(spans), piece))
    short = next((piece for _, piece in waiting if piece.n_bins < 1), None)
    if short is not None:
        raise InputError(
            f"is shorter than a bin of {bin_width:g} s in a {'test' if short.repeat else 'block'}",
            where=f"simulate_retina: stimulus {shows[short.show].name}",
            remedy="Show a longer movie, or store narrower bins.",
        )
    waiting.sort(key=lambda item: item[0])
    pieces, clock = [], 0.0
    for _, piece in waiting:
        pieces.append(replace(piece, onset=clock))
        clip = shows[piece.show].test if piece.repeat else shows[piece.show].train
        clock += float(clip.ends[piece.stop - 1] - clip.onsets[piece.start]) + PAUSE_S
    step = max(parameters.dt, min(SLOW_STEP_S, parameters.gain_tau_s / 10))
    n_slow = int(np.ceil(clock / step)) + 1
    gain = shared_gain(1, n_slow, step, parameters.gain_sd, parameters.gain_tau_s, rng)[0]
    covariates, factor = None, np.ones(n_slow)
    if parameters.running_weight:
        covariates = _running_and_pupil(n_slow, step, rng)
        running = covariates[:, 0]
        factor = np.exp(parameters.running_weight * (running - running.mean()) / running.std())
        factor /= factor.mean()
    return Session(pieces, clock, step, gain, covariates, factor, anatomy.drift, parameters.dt)


def _blocks(clip: Clip, seconds: float) -> list[tuple[int, int]]:
    """Frames of pieces of about equal length."""
    n = max(1, round(clip.ends[-1] / seconds))
    edges = np.searchsorted(clip.onsets, np.arange(n + 1) * clip.ends[-1] / n - 1e-6)
    edges[-1] = len(clip.onsets)
    return [(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True) if b > a]


def _running_and_pupil(n: int, step: float, rng: np.random.Generator) -> np.ndarray:
    """Speed in bouts of seconds, cm/s, and a slow pupil diameter, mm, independent of it."""
    slow = [slow_process(1, n, step, tau_s, rng)[0] for tau_s in (4.0, 8.0)]
    return np.stack([12 * np.maximum(slow[0], 0), 1.2 + 0.2 * slow[1]], axis=1)
