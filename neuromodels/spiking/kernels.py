"""Double-exponential kernels in discrete time: defined once, shared by every engine.

Two stages in a row, the first (rise) jumping by one at an event, the second (decay) following it:

    y(t) = d_decay y(t−1) + c z(t−1);   z(t) = d_rise z(t−1) + S(t)

so that an event at step 0 gives y(n) = gain · (d_decay^n − d_rise^n): nothing at the step of the
event itself. It is the order of the neuron too, whose voltage is stepped from the current that was
there before: with the neuron's time constants y is the exact derivative of U by a weight.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from neuromodels.spiking.neurons import (
    Coefficients,
    Method,
    check_step,
    check_time_constants,
    decay_factor,
)


class Kernel(NamedTuple):
    """A double exponential, gain · (decay^n − rise^n) at step n after an event.

    Attributes
    ----------
    rise, decay : float
        What is left of the first and the second stage after a step.
    gain : float
        Height; carries the unit (1/s for a kernel of unit area).
    """

    rise: float
    decay: float
    gain: float

    @property
    def drive(self) -> float:
        """What the first stage adds to the second in a step."""
        return self.gain * (self.decay - self.rise)

    def __call__(self, n_steps: int) -> np.ndarray:
        """Values at steps 0 … n_steps − 1 after an event."""
        steps = np.arange(n_steps)
        return self.gain * (self.decay**steps - self.rise**steps)

    def filter(self, signal: np.ndarray) -> np.ndarray:
        """Convolve a signal (time, ...) with the kernel, from rest.

        Parameters
        ----------
        signal : numpy.ndarray
            Events per step, (time, ...).

        Returns
        -------
        numpy.ndarray
            Same shape.
        """
        from scipy.signal import lfilter

        # One filter of second order would lose four digits: its poles lie so close to one.
        decayed = lfilter([1.0], [1.0, -self.decay], signal, axis=0)
        return self.gain * (decayed - lfilter([1.0], [1.0, -self.rise], signal, axis=0))

    def memory(self, precision: float) -> int:
        """Steps in which two such kernels in a row decay to about a relative precision."""
        slow = -math.log(max(self.rise, self.decay))
        n = -math.log(precision) / slow
        # (n e^-n): the convolution of two equal exponentials decays later than one alone.
        return math.ceil(n + math.log(max(2.0, n * slow)) / slow)


def error_kernel(
    tau_rise_s: float, tau_decay_s: float, dt_s: float, method: Method = "exact"
) -> Kernel:
    """α of the van Rossum loss, of unit area, in 1/s.

    α(t) = (e^(−t/τ_d) − e^(−t/τ_r)) / (τ_d − τ_r). Zenke & Ganguli 2018, section 2.

    Parameters
    ----------
    tau_rise_s, tau_decay_s : float
        Time constants, s.
    dt_s : float
        Step, s.
    method : {"exact", "euler"}
        Sampled exponentials, or both stages stepped by forward Euler.

    Returns
    -------
    Kernel
        In 1/s.

    Raises
    ------
    OptionError
        Time constants that are not positive, equal, or too short for the step.
    """
    check_time_constants(tau_rise_s, tau_decay_s, "tau_rise_s", "tau_decay_s")
    check_step(dt_s, min(tau_rise_s, tau_decay_s), "the shorter time constant")
    return Kernel(
        decay_factor(tau_rise_s, dt_s, method),
        decay_factor(tau_decay_s, dt_s, method),
        1 / (tau_decay_s - tau_rise_s),
    )


def psp_kernel(coefficients: Coefficients) -> Kernel:
    """Voltage that a unit weight adds after a spike arrives: the neuron's own propagator.

    Parameters
    ----------
    coefficients : Coefficients
        Of the neuron; or, for a rule whose traces step otherwise, of those traces.

    Returns
    -------
    Kernel
        Without unit (V per V); the exact derivative of U by a weight, reset aside.
    """
    membrane, drive, synapse, _ = coefficients
    return Kernel(synapse, membrane, drive / (membrane - synapse))
