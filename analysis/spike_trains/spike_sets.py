"""Whether two simulations or recordings hold the same spikes, and where they first part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from neuromodels.analysis.spike_trains.trains import by_neuron, check_same_neurons
from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.options import OptionError

#: Share of the tolerance by which rounding may exceed it: 0.3 − 0.2 is a little more than 0.1.
_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class SpikeComparison:
    """How many spikes two sets share; `print` it for the sentence.

    Attributes
    ----------
    identical, missing, extra : (neuron,) int
        Spikes in both; in the reference only; in the trains only.
    first_difference_s, first_neuron : float, int or None
        When, and in which neuron, the first spike has no partner.
    tolerance_s : float
        How far partners may be apart, s.
    """

    identical: np.ndarray
    missing: np.ndarray
    extra: np.ndarray
    first_difference_s: float | None
    first_neuron: int | None
    tolerance_s: float

    @property
    def n_different(self) -> int:
        """Spikes without a partner, on either side."""
        return int(self.missing.sum() + self.extra.sum())

    @property
    def same(self) -> bool:
        """Whether every spike has a partner."""
        return self.n_different == 0

    def __str__(self) -> str:
        shared, missing, extra = (
            int(part.sum()) for part in (self.identical, self.missing, self.extra)
        )
        within = f" within {self.tolerance_s * 1e3:.3g} ms" if self.tolerance_s else ""
        if self.same:
            return f"0 of {shared:,} spikes differ{within}"
        return (
            f"{self.n_different:,} of {shared + missing + extra:,} spikes differ{within}: "
            f"{missing:,} missing, {extra:,} extra, {shared:,} shared; the first difference is at "
            f"{self.first_difference_s:.6g} s in neuron {self.first_neuron}"
        )


def compare_spikes(
    trains: SpikeTrains,
    reference: SpikeTrains,
    tolerance_s: float = 0.0,
    *,
    dt_s: float | None = None,
) -> SpikeComparison:
    """Count the spikes that two sets share, neuron by neuron.

    Parameters
    ----------
    trains, reference : SpikeTrains
        Of the same neurons, on the same clock.
    tolerance_s : float
        Spikes up to this far apart are the same spike, s. Each has one partner at most, and as
        many as possible are paired.
    dt_s : float, optional
        Compare the steps of this length (s) in which the spikes lie, not their times: for two
        simulators, whose times of one step may differ in the last digit.

    Returns
    -------
    SpikeComparison

    Raises
    ------
    InputError
        Different numbers of neurons.
    OptionError
        A negative tolerance, or a tolerance of whole steps that is none.

    Notes
    -----
    Both trains are walked in order: the earlier of the two next spikes is paired with the other if
    that is near enough, and dropped if not. On a line, with the same tolerance for all spikes,
    this pairs as many as any matching does: a spike out of reach of the next one is out of reach
    of all later ones.

    Examples
    --------
    >>> a = SpikeTrains([0.1, 0.2], [0, 1], n_neurons=2, duration=1.0)
    >>> b = SpikeTrains([0.1], [0], n_neurons=2, duration=1.0)
    >>> print(compare_spikes(a, a))
    0 of 2 spikes differ
    >>> print(compare_spikes(b, a))
    1 of 2 spikes differ: 1 missing, 0 extra, 1 shared; the first difference is at 0.2 s in neuron 1
    """
    check_same_neurons(trains, reference, "compare_spikes")
    if not (np.isfinite(tolerance_s) and tolerance_s >= 0):
        raise OptionError(f"tolerance_s = {tolerance_s:g} s must not be negative.")
    n, groups = trains.n_neurons, []
    for each in (trains, reference):
        times, neurons = (each.times, each.neurons) if dt_s is None else each.steps(dt_s)
        groups.append(by_neuron(times.astype(np.float64), neurons, n))
    unit = 1.0 if dt_s is None else dt_s
    identical, first, neuron = _match(*groups[0], *groups[1], tolerance_s / unit * (1 + _SLACK))
    return SpikeComparison(
        identical,
        np.diff(groups[1].starts) - identical,
        np.diff(groups[0].starts) - identical,
        float(first * unit) if neuron >= 0 else None,
        int(neuron) if neuron >= 0 else None,
        float(tolerance_s),
    )


@njit(cache=True)
def _match(times_a, starts_a, times_b, starts_b, tolerance):
    """Pairs per neuron, and the first spike of all without a partner (neuron −1: none)."""
    n = len(starts_a) - 1
    pairs = np.zeros(n, np.int64)
    first, which = np.inf, -1
    for neuron in range(n):
        i, j = starts_a[neuron], starts_b[neuron]
        while i < starts_a[neuron + 1] or j < starts_b[neuron + 1]:
            more_a, more_b = i < starts_a[neuron + 1], j < starts_b[neuron + 1]
            if more_a and more_b and abs(times_a[i] - times_b[j]) <= tolerance:
                pairs[neuron] += 1
                i, j = i + 1, j + 1
                continue
            from_a = not more_b or (more_a and times_a[i] < times_b[j])
            alone = times_a[i] if from_a else times_b[j]
            i, j = (i + 1, j) if from_a else (i, j + 1)
            if alone < first:
                first, which = alone, neuron
    return pairs, first, which
