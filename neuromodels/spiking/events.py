"""Spikes as a list instead of a dense array, for layers whose input is mostly silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuromodels.options import OptionError
from neuromodels.spiking.fused_kernels import find_spikes

#: Above this share of ones a matrix product is faster than adding one row per spike.
SPARSE_BELOW = 0.1


class SpikeEvents(NamedTuple):
    """Spikes of several trials, sorted by trial, then step.

    Attributes
    ----------
    row_start : numpy.ndarray
        (trial · step + 1,) int64: where the spikes of each step begin in `sources`.
    sources : numpy.ndarray
        (spike,) int32: who fired.
    shape : tuple of int
        (trial, step, source) of the dense array.
    """

    row_start: np.ndarray
    sources: np.ndarray
    shape: tuple[int, int, int]

    def rows(self) -> np.ndarray:
        """Return trial · n_steps + step of each spike, (spike,) int64."""
        return np.repeat(np.arange(len(self.row_start) - 1), np.diff(self.row_start))

    def select(self, trials: np.ndarray) -> SpikeEvents:
        """Return some trials, in the order given."""
        n_steps = self.shape[1]
        trials = np.asarray(trials)
        rows = (trials[:, None] * n_steps + np.arange(n_steps)).ravel()
        counts = (self.row_start[1:] - self.row_start[:-1])[rows]
        row_start = np.concatenate([[0], np.cumsum(counts)])
        parts = [
            self.sources[self.row_start[trial * n_steps] : self.row_start[(trial + 1) * n_steps]]
            for trial in trials
        ]
        return SpikeEvents(row_start, np.concatenate(parts), (len(trials), *self.shape[1:]))

    def to_dense(self, like: Tensor) -> Tensor:
        """Return zeros and ones, (trial, step, source), in the precision and on the device of like.

        Two spikes of one neuron in one step make a two.
        """
        n_trials, n_steps, n_sources = self.shape
        flat = torch.zeros(n_trials * n_steps * n_sources, dtype=like.dtype, device=like.device)
        index = torch.from_numpy(self.rows() * n_sources + self.sources).to(like.device)
        flat.index_add_(0, index, torch.ones_like(index, dtype=like.dtype))
        return flat.reshape(self.shape)


def spike_events(
    trials: Sequence[tuple[np.ndarray, np.ndarray]], n_steps: int, n_sources: int
) -> SpikeEvents:
    """List the spikes of several trials.

    Parameters
    ----------
    trials : sequence of (steps, sources)
        Of each trial: at which step which neuron fired, in any order; what
        `SpikeTrains.steps(dt_s)` returns.
    n_steps, n_sources : int
        Length of a trial and number of neurons.

    Returns
    -------
    SpikeEvents
        For spiking layers.

    Raises
    ------
    OptionError
        A step or a neuron is out of range, or there is no trial.
    """
    if not len(trials):
        raise OptionError("there is no trial.")
    rows, sources = [], []
    for trial, (steps, neurons) in enumerate(trials):
        steps, neurons = np.asarray(steps, np.int64), np.asarray(neurons, np.int64)
        for what, value, stop in (("step", steps, n_steps), ("neuron", neurons, n_sources)):
            if value.size and (value.min() < 0 or value.max() >= stop):
                wrong = value[(value < 0) | (value >= stop)][0]
                raise OptionError(f"{what} {wrong} is outside 0 … {stop - 1}.", f"trial {trial}")
        rows.append(trial * n_steps + steps)
        sources.append(neurons)
    return _sorted_events(
        np.concatenate(rows), np.concatenate(sources), (len(trials), n_steps, n_sources)
    )


def find_events(spikes: Tensor) -> SpikeEvents | None:
    """List the spikes of a dense array if that pays.

    Parameters
    ----------
    spikes : torch.Tensor
        (trial, step, source), on the CPU, float32 or float64.

    Returns
    -------
    SpikeEvents or None
        None if a value is neither 0 nor 1, or more than a tenth are ones.
    """
    dense = spikes.detach().contiguous().numpy()
    n_trials, n_steps, n_sources = dense.shape
    is_double = dense.dtype == np.float64
    bits = dense.reshape(n_trials * n_steps, n_sources).view(np.int32)
    row_start = np.empty(n_trials * n_steps + 1, np.int64)
    sources = np.empty(max(16, int(SPARSE_BELOW * dense.size)), np.int32)
    one = np.ones(1, dense.dtype).view(np.int32)[-1]
    n = find_spikes(bits, int(is_double), one, row_start, sources)
    return None if n < 0 else SpikeEvents(row_start, sources[:n].copy(), tuple(dense.shape))


def delay_events(
    events: SpikeEvents, delays: np.ndarray, pending: Tensor
) -> tuple[SpikeEvents, Tensor]:
    """Move spikes to the steps at which they arrive.

    Parameters
    ----------
    events : SpikeEvents
        When they are sent.
    delays : numpy.ndarray
        (source,) steps.
    pending : torch.Tensor
        (trial, longest delay, source), spikes of the steps before the first.

    Returns
    -------
    events : SpikeEvents
        When they arrive.
    pending : torch.Tensor
        Spikes of the last steps, for the next call.
    """
    n_trials, n_steps, n_sources = events.shape
    longest = pending.shape[1]
    before = pending.nonzero().numpy()
    trial, step = np.divmod(events.rows(), max(1, n_steps))
    trial = np.concatenate([before[:, 0], trial])
    step = np.concatenate([before[:, 1] - longest, step])
    source = np.concatenate([before[:, 2], events.sources])
    left = torch.zeros_like(pending)
    late = step >= n_steps - longest
    place = (trial[late], step[late] - (n_steps - longest), source[late])
    left.index_put_(tuple(map(torch.from_numpy, place)), torch.ones((), dtype=left.dtype))
    arrival = step + delays[source]
    inside = (arrival >= 0) & (arrival < n_steps)
    rows = trial[inside] * n_steps + arrival[inside]
    return _sorted_events(rows, source[inside], events.shape), left


def _sorted_events(
    rows: np.ndarray, sources: np.ndarray, shape: tuple[int, int, int]
) -> SpikeEvents:
    order = np.argsort(rows, kind="stable")
    row_start = np.zeros(shape[0] * shape[1] + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=shape[0] * shape[1]), out=row_start[1:])
    return SpikeEvents(row_start, sources[order].astype(np.int32), shape)
