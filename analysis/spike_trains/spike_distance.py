"""SPIKE and ISI distance of Kreuz, which need no time scale: computed by the library PySpike.

PySpike (BSD licence) is an extra, `pip install "neuromodels[spikes]"`; it is compiled when it is
installed and needs a C compiler for that.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from neuromodels.analysis.spike_trains.trains import as_times, by_neuron, check_same_neurons
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.options import OptionError

Measure = Literal["spike", "isi"]


def spike_distance(a, b, stop_s: float, start_s: float = 0.0) -> float:
    """How far the spike times of two trains are apart, relative to the local intervals.

    Parameters
    ----------
    a, b : array (spike,)
        Spike times of one neuron, s, in any order, within `start_s` and `stop_s`.
    stop_s, start_s : float
        End and start of the recording, s: silence counts.

    Returns
    -------
    float
        0 for equal trains, at most 1; about 0.29 for two independent Poisson trains of one rate.

    Raises
    ------
    InputError
        Spike times that are no numbers or lie outside the recording.
    OptionError
        PySpike is not installed, or the recording has no length.

    References
    ----------
    Kreuz, Chicharro, Houghton, Andrzejak & Mormann 2013, Journal of Neurophysiology 109:1457.
    """
    return _pair("spike", a, b, start_s, stop_s, "spike_distance")


def isi_distance(a, b, stop_s: float, start_s: float = 0.0) -> float:
    """How different the interspike intervals of two trains are, moment by moment.

    Parameters
    ----------
    a, b : array (spike,)
        Spike times of one neuron, s, in any order, within `start_s` and `stop_s`.
    stop_s, start_s : float
        End and start of the recording, s.

    Returns
    -------
    float
        Mean over time of |I_a − I_b| / max(I_a, I_b), with I the interval around each moment:
        0 for equal intervals, below 1; ½ for two independent Poisson trains of one rate.

    Raises
    ------
    InputError
        Spike times that are no numbers or lie outside the recording.
    OptionError
        PySpike is not installed, or the recording has no length.

    References
    ----------
    Kreuz, Haas, Morelli, Abarbanel & Politi 2007, Journal of Neuroscience Methods 165:151.
    """
    return _pair("isi", a, b, start_s, stop_s, "isi_distance")


def spike_distances(
    trains_a: SpikeTrains, trains_b: SpikeTrains, measure: Measure = "spike"
) -> np.ndarray:
    """SPIKE or ISI distance of each neuron in one recording from itself in another.

    Parameters
    ----------
    trains_a, trains_b : SpikeTrains
        Of the same neurons and the same duration.
    measure : {"spike", "isi"}
        Which distance.

    Returns
    -------
    numpy.ndarray
        (neuron,), between 0 and 1.

    Raises
    ------
    InputError
        Different numbers of neurons, or durations.
    OptionError
        PySpike is not installed, or there is no such measure.
    """
    distance, train = _library(measure)
    check_same_neurons(trains_a, trains_b, "spike_distances")
    duration = trains_a.duration
    if not math.isclose(duration, trains_b.duration, rel_tol=1e-9):
        raise InputError(
            f"{duration:g} s against {trains_b.duration:g} s.",
            where="spike_distances",
            remedy="Cut both to the same stretch: trains.between(start, stop).",
        )
    rows = []
    for trains in (trains_a, trains_b):
        times, starts = by_neuron(trains.times, trains.neurons, trains.n_neurons)
        rows.append([train(row, (0.0, duration)) for row in np.split(times, starts[1:-1])])
    return np.array([distance(a, b) for a, b in zip(*rows, strict=True)])


def _pair(measure: Measure, a, b, start_s: float, stop_s: float, where: str) -> float:
    distance, train = _library(measure)
    if not (math.isfinite(start_s) and math.isfinite(stop_s) and start_s < stop_s):
        raise OptionError(
            f"the recording lasts from {start_s:g} to {stop_s:g} s.",
            where,
            "Give its end (and start) in seconds.",
        )
    pair = []
    for name, times in (("a", a), ("b", b)):
        times = as_times(times, f"{where}: {name}")
        outside = times[(times < start_s) | (times > stop_s)]
        if len(outside):
            raise InputError(
                f"{len(outside)} spikes are outside {start_s:g} to {stop_s:g} s, the first at "
                f"{outside[0]:g} s.",
                where=f"{where}: {name}",
                remedy="Give the start and the end of the recording, in seconds.",
            )
        pair.append(train(times, (start_s, stop_s)))
    return float(distance(*pair))


def _library(measure: Measure):
    """Return PySpike's function, and its class of trains."""
    if measure not in ("spike", "isi"):
        raise OptionError(f"there is no distance {measure!r}.", remedy="Known: spike, isi.")
    try:
        import pyspike
    except ImportError:
        raise OptionError(
            "the SPIKE and ISI distances need the library PySpike, which is not installed.",
            remedy='pip install "neuromodels[spikes]" (needs a C compiler).',
        ) from None
    distance = pyspike.spike_distance if measure == "spike" else pyspike.isi_distance
    return distance, pyspike.SpikeTrain
