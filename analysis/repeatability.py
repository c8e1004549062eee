"""How repeatable the responses of many neurons are, in pieces that fit into memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuromodels.analysis import ceilings, halves
from neuromodels.analysis.drift import mean
from neuromodels.analysis.metrics import explainable_fraction

_ORDERS = 99  # random orders of the trials: the five largest differences stand out
_WORKING_SET = 2**24  # values of repeats at a time


@dataclass(frozen=True, eq=False)
class Ceilings:
    """How repeatable the responses are, per neuron (see `analysis.ceilings`, `analysis.halves`).

    Attributes
    ----------
    role, n_trials : the repeats that were used
    ragged : bool
        Some trials miss bins that others have; halves are compared on the bins of both.
    explainable_fraction : (neuron,)
        Share of the single-trial variance, in bins of this width, that repeats.
    cc_max : (neuron,)
        Ceiling of r from the signal power of all trials.
    reliability_interleaved, reliability_first_second : (neuron,)
        Spearman-Brown of two halves of the trials.
    cc_max_interleaved, cc_max_first_second : (neuron,)
        Their square roots, ceilings of r.
    halves_differ : (neuron,) bool
        The two ceilings differ by more than in 19 of 20 random orders of the trials.
    passes_gate : (neuron,) bool, or None with fewer than three trials
        The signal power exceeds twice its error.
    """

    role: str
    n_trials: int
    ragged: bool
    explainable_fraction: np.ndarray
    cc_max: np.ndarray
    reliability_interleaved: np.ndarray
    cc_max_interleaved: np.ndarray
    reliability_first_second: np.ndarray
    cc_max_first_second: np.ndarray
    halves_differ: np.ndarray
    passes_gate: np.ndarray | None


def measure_ceilings(role: str, values: np.ndarray) -> Ceilings:
    """Ceilings of every neuron from the trials of a role, values (trial, time, neuron)."""
    n_trials, pieces = len(values), []
    for part in _neurons_at_a_time(values):
        y = values[..., part]
        if n_trials >= 4:
            stable = halves.stationarity(y, n_orders=_ORDERS)
            differ, pair = stable.non_stationary, (stable.interleaved, stable.first_second)
        else:
            differ = np.zeros(y.shape[-1], dtype=bool)
            pair = [halves.split_half(y, which) for which in halves.HALVES]
        columns = [column for half in pair for column in (half.reliability, half.cc_max)]
        pieces.append(
            (explainable_fraction(y), ceilings.cc_max(y), *columns, differ, ceilings.gate(y))
        )
    *columns, gate = (np.concatenate(piece) for piece in zip(*pieces, strict=True))
    missing = np.isnan(values).any(axis=2) if values.dtype.kind == "f" else np.zeros((1, 1), bool)
    ragged = bool((missing.any(axis=0) & ~missing.all(axis=0)).any())
    # With two trials the signal power has no error, which is no failure of the neuron.
    return Ceilings(role, n_trials, ragged, *columns, gate if n_trials >= 3 else None)


def trial_means(values: np.ndarray) -> np.ndarray:
    """Mean of every trial (trial, neuron), as if each had seen the whole movie."""
    means = []
    for part in _neurons_at_a_time(values):
        psth = mean(values[..., part])
        means.append(mean(values[..., part] - psth, axis=1) + mean(psth))
    return np.concatenate(means, axis=1)


def _neurons_at_a_time(values: np.ndarray) -> list[slice]:
    n = values.shape[-1]
    step = max(1, _WORKING_SET // (values.size // n))
    return [slice(first, first + step) for first in range(0, n, step)]
