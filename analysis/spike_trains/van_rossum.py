"""Van Rossum distance: how far two spike trains are apart once each spike is a smooth pulse.

Two trains a and b are filtered by a kernel α, and D² is the integral of the squared difference:

    double exponential   D² = ½ ∫ (α∗a − α∗b)² dt,   α(t) = (e^(−t/τ_d) − e^(−t/τ_r)) / (τ_d − τ_r)
    exponential          D² = (1/τ) ∫ (f_a − f_b)² dt,   f(t) = Σ_spikes e^(−(t − t_i)/τ)

The first is the loss of Zenke & Ganguli 2018 (Neural Computation 30:1514, section 2), in 1/s; the
second is van Rossum 2001 (Neural Computation 13:751), without unit: a spike that the other train
lacks costs ½. (Elephant, for one, scales D by √2, so that it costs 1.) Nothing is binned, and time
grows with the number of spikes only: `exponentials.py`.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from neuromodels.analysis.spike_trains import exponentials
from neuromodels.analysis.spike_trains.exponentials import Pulse
from neuromodels.analysis.spike_trains.trains import (
    as_times,
    by_neuron,
    check_same_neurons,
    listed,
    paired,
)
from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.options import OptionError
from neuromodels.spiking.kernels import error_kernel
from neuromodels.spiking.neurons import Method, check_time_constants, whole_steps

KernelName = Literal["double-exponential", "exponential"]


#: Unit of the cost that the SuperSpike demo prints, s² (spec of the demo: 1.2e6 · e² · dt with e in
#: 1/ms and dt = 0.1 ms).
_COST_S2 = 0.12


def van_rossum_distance(
    a,
    b,
    tau_rise_s: float = 5e-3,
    tau_decay_s: float = 10e-3,
    kernel: KernelName = "double-exponential",
    *,
    stop_s: float | None = None,
    squared: bool = False,
) -> float:
    """How far two spike trains are apart: 0 when equal, growing with every spike that differs.

    Parameters
    ----------
    a, b : array (spike,)
        Spike times of one neuron, s, in any order.
    tau_rise_s, tau_decay_s : float
        Time constants, s: spikes further apart than a few `tau_decay_s` count as different. The
        exponential kernel has `tau_decay_s` only.
    kernel : {"double-exponential", "exponential"}
        Shape of the pulse; see the top of the module for both definitions.
    stop_s : float, optional
        End of the integral, s; spikes after it do not count. Without it the integral is infinite.
    squared : bool
        Return D² itself: for the double exponential the loss L of Zenke & Ganguli.

    Returns
    -------
    float
        D, in s^-½ (double exponential) or without unit (exponential). D obeys the axioms of a
        metric, D² does not.

    Raises
    ------
    InputError
        Spike times that are no numbers.
    OptionError
        Time constants that are not positive, or equal.

    Examples
    --------
    A spike that the other train lacks costs L = 1 / (4 (τ_r + τ_d)) = 16.7 1/s:

    >>> round(van_rossum_distance([0.1], [], squared=True), 3)
    16.667
    >>> van_rossum_distance([0.1, 0.2], [0.1, 0.2])
    0.0
    """
    pulse = _pulse(tau_rise_s, tau_decay_s, kernel)
    a, b = as_times(a, "van_rossum_distance: a"), as_times(b, "van_rossum_distance: b")
    square = exponentials.squared_difference(a, b, *pulse, _stop(stop_s))
    return square if squared else math.sqrt(square)


def van_rossum_gradient(
    a,
    b,
    tau_rise_s: float = 5e-3,
    tau_decay_s: float = 10e-3,
    kernel: KernelName = "double-exponential",
    *,
    stop_s: float | None = None,
) -> np.ndarray:
    """Which way to move each spike of a train to bring it nearer to another.

    Parameters
    ----------
    a, b : array (spike,)
        Spike times, s; the gradient is for those of `a`, in the order given.
    tau_rise_s, tau_decay_s, kernel, stop_s
        As in `van_rossum_distance`.

    Returns
    -------
    numpy.ndarray
        Derivative of D² (squared) by each time of `a`, (spike,), in 1/s² or 1/s. Where the
        exponential kernel has a kink, at two spikes of the same time, the mean of both sides.

    Raises
    ------
    InputError
        Spike times that are no numbers.
    OptionError
        Time constants that are not positive, or equal.
    """
    pulse = _pulse(tau_rise_s, tau_decay_s, kernel)
    times = np.asarray(a, np.float64)
    as_times(times, "van_rossum_gradient: a")
    order = np.argsort(times, kind="stable")
    b = as_times(b, "van_rossum_gradient: b")
    gradient = np.empty(len(times))
    gradient[order] = exponentials.gradient(times[order], b, pulse, _stop(stop_s))
    return gradient


def van_rossum_distances(
    trains_a: SpikeTrains,
    trains_b: SpikeTrains,
    tau_rise_s: float = 5e-3,
    tau_decay_s: float = 10e-3,
    kernel: KernelName = "double-exponential",
    *,
    stop_s: float | None = None,
    squared: bool = False,
) -> np.ndarray:
    """Distance of each neuron's spikes in one recording from its spikes in another.

    Parameters
    ----------
    trains_a, trains_b : SpikeTrains
        Of the same neurons, on the same clock.
    tau_rise_s, tau_decay_s, kernel, stop_s, squared
        As in `van_rossum_distance`.

    Returns
    -------
    numpy.ndarray
        (neuron,). The loss of a network is the sum of the squared distances.

    Raises
    ------
    InputError
        The recordings have different numbers of neurons.
    OptionError
        Time constants that are not positive, or equal.
    """
    pulse = _pulse(tau_rise_s, tau_decay_s, kernel)
    groups = paired(trains_a, trains_b, "van_rossum_distances")
    squares = exponentials.squared_differences(*groups[0], *groups[1], *pulse, _stop(stop_s))
    return squares if squared else np.sqrt(squares)


def van_rossum_matrix(
    trains,
    tau_rise_s: float = 5e-3,
    tau_decay_s: float = 10e-3,
    kernel: KernelName = "double-exponential",
    *,
    squared: bool = False,
) -> np.ndarray:
    """Distances between all pairs of trains, for instance the trials of one neuron.

    Parameters
    ----------
    trains : list of array (spike,)
        Spike times, s.
    tau_rise_s, tau_decay_s, kernel, squared
        As in `van_rossum_distance`.

    Returns
    -------
    numpy.ndarray
        (train, train), symmetric, 0 on the diagonal.

    Raises
    ------
    InputError
        Spike times that are no numbers.
    OptionError
        Time constants that are not positive, or equal.
    """
    pulse = _pulse(tau_rise_s, tau_decay_s, kernel)
    squares = exponentials.squared_differences_of_pairs(*listed(trains), *pulse)
    return squares if squared else np.sqrt(squares)


def superspike_cost(
    outputs: SpikeTrains,
    target: SpikeTrains,
    duration_s: float,
    dt_s: float = 1e-4,
    method: Method = "exact",
    *,
    tau_rise_s: float = 5e-3,
    tau_decay_s: float = 10e-3,
    repeats: bool = True,
) -> float:
    """Error of a network in the unit of the SuperSpike demo: 4 per wrong spike per second.

    0.12 s² · ⟨e²⟩ with e = α∗(S_out − S_target) in 1/s at every step, averaged over steps and
    neurons. One isolated spike too many or missing in each second of each neuron adds 4.00 with
    exact exponentials and 4.03 with Euler steps, which the demo takes.

    Parameters
    ----------
    outputs, target : SpikeTrains
        Of the same neurons; spikes go to the step in which they lie.
    duration_s : float
        Length of the trial, s: a whole number of steps, with all spikes inside.
    dt_s : float
        Step, s.
    method : {"exact", "euler"}
        Sampled exponentials, or both stages of α stepped by forward Euler.
    tau_rise_s, tau_decay_s : float
        Time constants of α, s.
    repeats : bool
        The trial is one lap of a loop, so that each lap begins with what the one before left (as
        in the demo from its second lap on); otherwise it begins without error.

    Returns
    -------
    float
        Without unit. D² of the trial, ½ Σ e² dt of all neurons, is this times
        n_neurons · duration_s / 0.24 s².

    Raises
    ------
    InputError
        Different numbers of neurons, or spikes after the end.
    OptionError
        Steps do not fit the duration or the time constants.
    """
    kernel = error_kernel(tau_rise_s, tau_decay_s, dt_s, method)
    pulse = exponentials.sampled([kernel.decay, kernel.rise], [kernel.gain, -kernel.gain])
    n_steps = whole_steps(duration_s, dt_s, "duration_s")
    if n_steps == 0:
        raise OptionError("duration_s is 0 s.", remedy="Give the length of the trial.")
    check_same_neurons(outputs, target, "superspike_cost")

    def total(laps: int) -> float:
        grids = []
        for trains in (outputs, target):
            steps, neurons = trains.steps(dt_s, n_steps)
            steps = np.concatenate([steps + lap * n_steps for lap in range(laps)])
            grouped = by_neuron(steps.astype(np.float64), np.tile(neurons, laps), trains.n_neurons)
            grids.extend(grouped)
        return exponentials.squared_differences(*grids, *pulse, float(laps * n_steps)).sum()

    # Laps until nothing is left of the start.
    before = math.ceil(kernel.memory(1e-15) / n_steps) if repeats else 0
    lap = total(before + 1) - (total(before) if before else 0.0)
    return float(_COST_S2 * 2 * lap / (n_steps * target.n_neurons))


def _pulse(tau_rise_s: float, tau_decay_s: float, kernel: str) -> Pulse:
    if kernel == "double-exponential":
        check_time_constants(tau_rise_s, tau_decay_s, "tau_rise_s", "tau_decay_s")
        height = 1 / (tau_decay_s - tau_rise_s)
        return exponentials.continuous([tau_decay_s, tau_rise_s], [height, -height])
    if kernel == "exponential":
        if not (math.isfinite(tau_decay_s) and tau_decay_s > 0):
            raise OptionError(f"tau_decay_s = {tau_decay_s:g} s must be positive.")
        return exponentials.continuous([tau_decay_s], [math.sqrt(2 / tau_decay_s)])
    raise OptionError(
        f"there is no kernel {kernel!r}.", remedy="Known: double-exponential, exponential."
    )


def _stop(stop_s: float | None) -> float:
    if stop_s is None:
        return math.inf
    if math.isnan(stop_s):
        raise OptionError("stop_s is no number.", remedy="Leave it out for an infinite integral.")
    return float(stop_s)
