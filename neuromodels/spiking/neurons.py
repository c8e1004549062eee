"""Current-based leaky integrate-and-fire neurons: their constants, and how they step in time.

τ_mem dU/dt = (U_rest − U) + I,   dI/dt = −I/τ_syn + Σ_j w_ij S_j

A spike is sent where U exceeds the threshold; U then stays at rest for the refractory period.
Zenke & Ganguli 2018 (Neural Computation 30:1514), section 2. Everything is in volts and seconds;
the current I is in volts as well (it carries the membrane resistance).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from neuromodels.options import OptionError

#: How a linear equation steps in time: with its exact propagator, or by forward Euler.
Method = Literal["exact", "euler"]


@dataclass(frozen=True)
class LIFParameters:
    """Constants of a population of neurons.

    Attributes
    ----------
    tau_mem_s, tau_syn_s : float
        Time constants of membrane and synaptic current, s; they must differ.
    threshold_v, rest_v : float
        Threshold, and the voltage of rest and reset, V.
    refractory_s : float
        Time after a spike during which the voltage is held at rest, s. A refractory period of n
        steps holds the n steps after the spike: the next spike comes n + 1 steps later at best.
    """

    tau_mem_s: float = 10e-3
    tau_syn_s: float = 5e-3
    threshold_v: float = -50e-3
    rest_v: float = -60e-3
    refractory_s: float = 5e-3

    def __post_init__(self):
        for field in fields(self):
            if not math.isfinite(getattr(self, field.name)):
                raise OptionError(f"{field.name} = {getattr(self, field.name)} is no number.")
        if self.threshold_v <= self.rest_v:
            raise OptionError(
                f"threshold_v = {self.threshold_v:g} V must lie above rest_v = {self.rest_v:g} V.",
                remedy="Volts are meant: -50 mV is -0.05.",
            )
        if self.refractory_s < 0:
            raise OptionError(f"refractory_s = {self.refractory_s:g} must not be negative.")
        for name in ("tau_mem_s", "tau_syn_s", "refractory_s"):
            if getattr(self, name) > 1:
                raise OptionError(
                    f"{name} = {getattr(self, name):g} s is more than a second.",
                    remedy="Seconds are meant: 5 ms is 0.005.",
                )
        check_time_constants(self.tau_syn_s, self.tau_mem_s, "tau_syn_s", "tau_mem_s")

    @property
    def gap_v(self) -> float:
        """Distance from rest to threshold, V."""
        return self.threshold_v - self.rest_v


class Coefficients(NamedTuple):
    """What a step multiplies with.

    Attributes
    ----------
    membrane_decay : float
        Share of U − U_rest that is left after a step.
    current_gain : float
        Part of I (as it was before the step) that is added to U.
    synapse_decay : float
        Share of I that is left after a step.
    refractory_steps : int
        Steps after a spike during which U is held at rest.
    """

    membrane_decay: float
    current_gain: float
    synapse_decay: float
    refractory_steps: int


def check_time_constants(rise_s: float, decay_s: float, rise: str, decay: str) -> None:
    """Refuse time constants that make no double exponential.

    Raises
    ------
    OptionError
        One is not positive, or both are the same.
    """
    for name, value in ((rise, rise_s), (decay, decay_s)):
        if not (math.isfinite(value) and value > 0):
            raise OptionError(f"{name} = {value:g} s must be positive.")
    if abs(rise_s - decay_s) < 1e-6 * decay_s:
        raise OptionError(
            f"{rise} and {decay} are both {decay_s:g} s.",
            remedy="The double exponential needs two time constants: change one by 1 %.",
        )


def check_step(dt_s: float, shortest_s: float, what: str) -> None:
    """Refuse a time step that a time constant does not allow.

    Raises
    ------
    OptionError
        The step is not positive, or longer than half the shortest time constant.
    """
    if not (math.isfinite(dt_s) and dt_s > 0):
        raise OptionError(f"dt_s = {dt_s:g} s must be positive.")
    if dt_s > 0.5 * shortest_s:
        raise OptionError(
            f"dt_s = {dt_s:g} s is more than half of {what} = {shortest_s:g} s.",
            remedy=f"Take a step of at most {0.5 * shortest_s:g} s. Seconds are meant: 0.1 ms is "
            "0.0001.",
        )


def whole_steps(seconds: float, dt_s: float, what: str) -> int:
    """Return a duration in steps; it must be a whole number of them.

    Raises
    ------
    OptionError
        It is negative or no multiple of the step.
    """
    steps = round(seconds / dt_s)
    if seconds < 0 or abs(steps * dt_s - seconds) > 1e-6 * dt_s:
        raise OptionError(
            f"{what} = {seconds:g} s is no whole number of steps of {dt_s:g} s.",
            remedy=f"Take {max(0, steps) * dt_s:g} s, or another dt_s.",
        )
    return steps


def decay_factor(tau_s: float, dt_s: float, method: Method) -> float:
    """Share of an exponentially decaying quantity that is left after a step."""
    if method == "exact":
        return math.exp(-dt_s / tau_s)
    if method == "euler":
        return 1 - dt_s / tau_s
    raise OptionError(f"there is no integrator {method!r}.", remedy="Known: exact, euler.")


def lif_coefficients(
    parameters: LIFParameters,
    dt_s: float,
    *,
    membrane: Method = "exact",
    synapse: Method = "exact",
) -> Coefficients:
    """Return what one step of the neurons multiplies with.

    Parameters
    ----------
    parameters : LIFParameters
        Constants.
    dt_s : float
        Step, s.
    membrane, synapse : {"exact", "euler"}
        Integrators. With Euler the membrane is stepped first, from the current before the step.

    Returns
    -------
    Coefficients
        For `lif_step` and the compiled simulation.

    Raises
    ------
    OptionError
        The step does not fit the time constants or the refractory period.
    """
    tau_mem, tau_syn = parameters.tau_mem_s, parameters.tau_syn_s
    short = "tau_syn_s" if tau_syn < tau_mem else "tau_mem_s"
    check_step(dt_s, min(tau_mem, tau_syn), short)
    membrane_decay = decay_factor(tau_mem, dt_s, membrane)
    if membrane == "exact":
        gain = tau_syn / (tau_mem - tau_syn)
        gain *= membrane_decay - math.exp(-dt_s / tau_syn)
    else:
        gain = dt_s / tau_mem
    return Coefficients(
        membrane_decay,
        gain,
        decay_factor(tau_syn, dt_s, synapse),
        whole_steps(parameters.refractory_s, dt_s, "refractory_s"),
    )
