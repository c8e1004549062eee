"""Every parameter of the simulated retina, with its unit; and the one whose truth is a GLM."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from neuromodels.datasets.arguments import one_of, whole
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.simulated.kernels import is_exponentials, kernel_of, log_cosine_kernel
from neuromodels.datasets.simulated.modulation import NOISES

SUBUNITS = ("rectifier", "softplus", "linear")
OUTPUTS = ("softplus", "exp")
KERNELS = ("history", "coupling_within", "coupling_across")


@dataclass(frozen=True, eq=False)
class RetinaParameters:
    """The simulated retina in numbers (see docs/simulated.md for its equations).

    The defaults give ganglion cells of 5 to 20 Hz whose counts vary less than Poisson counts.

    Attributes
    ----------
    dt : float, s
        Step of the simulation.
    fast_tau_s, slow_tau_s : float, s
        Time constants of the photoreceptor's two cascades of leaky integrators.
    filter_stages : int
        Stages of each cascade.
    slow_weight : float
        Weight of the slow cascade, which is subtracted; 1 leaves no response to steady light.
    on_bipolar_tau_s, off_bipolar_tau_s : float, s
        Further low-pass of ON and OFF bipolar cells.
    subunit_spacing_um, subunit_sigma_um : float, µm
        Distance of neighbouring bipolar cells, and width of their Gaussian receptive fields.
    subunit_nonlinearity : {"rectifier", "softplus", "linear"}
    subunit_threshold : float
        In standard deviations of the subunits' input.
    amacrine_strength : float
        Of the inhibition, as a share of the excitation's weight; 0 is none.
    amacrine_sigma_um : float, µm
        Width of the pool of subunits that inhibits a cell.
    amacrine_tau_s, amacrine_delay_s : float, s
        Low-pass and further delay of the inhibition.
    cell_spacing_um : float, µm
        Distance of neighbours of one type (less where the screen is too small for it).
    ganglion_sigma_um : float, µm
        Width of the pool of subunits that excites a cell.
    weight_spread : float
        Standard deviation of the log of the weights about that pool.
    jitter : float
        Of places of subunits and cells, as a share of their spacing.
    on_share : float
        Share of ON cells, 0 to 1; the others are OFF.
    drive_sd : float
        Standard deviation of the drive over time, in units of the argument of `output`.
    output : {"softplus", "exp"}
    rate_scale_hz : float, Hz
        The rate is ``rate_scale_hz * output(drive)``.
    mean_rate_hz : float or (low, high), Hz
        Mean rate of every cell, or a range that it is drawn from.
    history : pairs of (amplitude, tau_s), or (lag,) array
        Added to a cell's drive in the steps after its own spike; arrays are in steps of `dt`.
    coupling_within, coupling_across : pairs or (lag,) array
        Added after a spike of a neighbour of the same type, and of the other type.
    coupling_spread : float
        Standard deviation of the log of each pair's factor.
    coupling_reach : float
        Neighbours lie within so many spacings; pairs beyond are not coupled.
    excitation_limit : float or None
        The peaks of the excitation that a cell hears sum to at most this: where they are more, all
        of its exciting couplings are scaled down together. None: no limit.
    noise : {"binomial", "poisson"}
        Of the count in a step, given everything before it.
    max_count : int
        Largest count of a step, for binomial noise.
    gain_sd, gain_tau_s : float, s
        Standard deviation (of the log) and time constant of the slow gain that all cells share.
    drift : float
        Largest change of a cell's rate over the session, as a share of its mean; every cell has
        its own, up or down.
    running_weight : float
        The rate is multiplied by ``exp(running_weight * z)``, z the running speed in standard
        deviations. Not 0: running and pupil (which drives nothing) are stored as covariates.

    Raises
    ------
    InputError
        If a value is impossible; the message names it.
    """

    dt: float = 0.001
    fast_tau_s: float = 0.015
    slow_tau_s: float = 0.025
    filter_stages: int = 4
    slow_weight: float = 0.7
    on_bipolar_tau_s: float = 0.015
    off_bipolar_tau_s: float = 0.010
    subunit_spacing_um: float = 80.0
    subunit_sigma_um: float = 40.0
    subunit_nonlinearity: str = "rectifier"
    subunit_threshold: float = 0.0
    amacrine_strength: float = 0.5
    amacrine_sigma_um: float = 200.0
    amacrine_tau_s: float = 0.02
    amacrine_delay_s: float = 0.02
    cell_spacing_um: float = 150.0
    ganglion_sigma_um: float = 70.0
    weight_spread: float = 0.3
    jitter: float = 0.2
    on_share: float = 0.5
    drive_sd: float = 1.5
    output: str = "softplus"
    rate_scale_hz: float = 30.0
    mean_rate_hz: Any = (5.0, 20.0)
    history: Any = ((-12.0, 0.0015), (-1.0, 0.03))
    coupling_within: Any = ((0.5, 0.01),)
    coupling_across: Any = ((-0.5, 0.01),)
    coupling_spread: float = 0.3
    coupling_reach: float = 1.3
    excitation_limit: float | None = None
    noise: str = "binomial"
    max_count: int = 1
    gain_sd: float = 0.1
    gain_tau_s: float = 5.0
    drift: float = 0.1
    running_weight: float = 0.0

    def __post_init__(self):
        for name in POSITIVE:
            self._check(name, 0, LARGEST, open_low=True)
        for name in NOT_NEGATIVE:
            self._check(name, 0, LARGEST)
        for name in SPREADS:
            self._check(name, 0, LARGEST_SPREAD)
        self._check("on_share", 0, 1)
        self._check("drift", 0, 1.9)
        self._check("jitter", 0, 0.5)
        if self.excitation_limit is not None:
            self._check("excitation_limit", 0, LARGEST, open_low=True)
        self._check("subunit_threshold", -LARGEST, LARGEST)
        self._check("running_weight", -2, 2)
        for name, least, most in (("filter_stages", 2, 100), ("max_count", 1, 1000)):
            where = f"RetinaParameters: {name}"
            whole(getattr(self, name), least, where, "a whole number", most)
        for name, choices in (
            ("subunit_nonlinearity", SUBUNITS),
            ("output", OUTPUTS),
            ("noise", NOISES),
        ):
            one_of(getattr(self, name), choices, f"RetinaParameters: {name}")
        low, high = self.mean_rates
        if not 0 < low <= high or not np.isfinite(high):
            raise _bad("mean_rate_hz", self.mean_rate_hz, "Give Hz above 0: 10, or (5, 20).")
        if self.noise == "binomial" and high * self.dt > 0.5 * self.max_count:
            raise _bad(
                "mean_rate_hz",
                self.mean_rate_hz,
                f"At most {self.max_count} spikes fit into a step of {self.dt:g} s: lower the "
                "rate, or raise max_count.",
            )
        if self.subunit_threshold and self.subunit_nonlinearity == "linear":
            raise _bad(
                "subunit_threshold",
                self.subunit_threshold,
                "Linear subunits have no threshold: give 0, or another subunit_nonlinearity.",
            )
        if self.max_count != 1 and self.noise == "poisson":
            raise _bad(
                "max_count",
                self.max_count,
                "Poisson counts have no largest one: give 1, or noise='binomial'.",
            )
        if self.gain_sd and self.gain_tau_s < 10 * self.dt:
            raise _bad("gain_tau_s", self.gain_tau_s, f"Give at least {10 * self.dt:g} s.")
        for name in KERNELS:
            kernel_of(getattr(self, name), self.dt, f"RetinaParameters: {name}")

    @property
    def mean_rates(self) -> tuple[float, float]:
        """Lowest and highest mean rate, Hz."""
        value = self.mean_rate_hz
        try:
            low, high = (value, value) if np.ndim(value) == 0 else value
            return float(low), float(high)
        except (TypeError, ValueError, OverflowError):
            raise _bad("mean_rate_hz", value, "Give Hz above 0: 10, or (5, 20).") from None

    @property
    def is_linear(self) -> bool:
        """Whether the drive is a linear filter of the stimulus."""
        return self.subunit_nonlinearity == "linear" and self.amacrine_strength == 0

    def kernel(self, name: str) -> np.ndarray:
        """`history`, `coupling_within` or `coupling_across` as (lag,); row 0 is lag 1."""
        return kernel_of(getattr(self, name), self.dt, f"RetinaParameters: {name}")

    def changed(self, **changes) -> RetinaParameters:
        """The same retina with other values.

        Raises
        ------
        InputError
            If there is no parameter of that name, or a value is impossible.
        """
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                near = difflib.get_close_matches(name, known, 3)
                raise InputError(
                    f"has no parameter {name!r}",
                    where="simulate_retina",
                    remedy=f"Did you mean: {', '.join(near)}?"
                    if near
                    else f"It has: {', '.join(known)}.",
                )
        return replace(self, **changes)

    def scalars(self) -> dict:
        """What is no array, as plain values for a file."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if name not in KERNELS or is_exponentials(value)
        }

    def _check(self, name: str, low: float, high: float, open_low: bool = False) -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float, np.integer, np.floating))
        inside = number and low <= value <= high
        if not inside or isinstance(value, bool) or (open_low and value == low):
            above = f"above {low:g}" if open_low else f"from {low:g}"
            raise _bad(name, value, f"Give a number {above} to {high:g}.")


POSITIVE = (
    *("dt", "fast_tau_s", "slow_tau_s", "on_bipolar_tau_s", "off_bipolar_tau_s"),
    *("subunit_spacing_um", "subunit_sigma_um", "amacrine_sigma_um", "amacrine_tau_s"),
    *("cell_spacing_um", "ganglion_sigma_um", "rate_scale_hz", "gain_tau_s", "drive_sd"),
)
NOT_NEGATIVE = ("slow_weight", "amacrine_strength", "amacrine_delay_s", "coupling_reach")
SPREADS = ("weight_spread", "coupling_spread", "gain_sd")
LARGEST = 1e6
LARGEST_SPREAD = 5.0  # of a logarithm: factors of 150 within one standard deviation


def glm_truth(dt: float = 0.01, **changes) -> RetinaParameters:
    """Cells for which a coupled GLM with exponential output is the truth.

    No subunit nonlinearity, no amacrine cells, no gain and no drift; Poisson counts in steps of
    `dt`, whose mean is ``exp(offset + filter * stimulus + history + couplings)`` strictly past;
    history and couplings lie in the span of 10 and 8 log-raised-cosine bumps over 0.4 s, the
    package's own GLM's. What a cell hears of its exciting neighbours is bounded.

    Parameters
    ----------
    dt : float, s
        Step, and the bin width in which the GLM is the truth.
    **changes
        Any other field of `RetinaParameters`.

    Raises
    ------
    InputError
        If a value is impossible.

    Notes
    -----
    Cells that excite each other through an exponential settle only if ``x = b exp(E x)`` has a
    solution: E b e <= 1, b the count of a step without the others, E the excitation by one spike
    of each neighbour, summed over lags. In steps of 10 ms that sum is 2.6 times the peak: a limit
    of 0.4 on the peaks leaves room for b up to 0.35, more than twice the highest mean. The cells'
    own history (-5.8, summed over lags) does the rest.

    Examples
    --------
    >>> glm_truth().output, glm_truth().is_linear
    ('exp', True)
    """
    if not isinstance(dt, (int, float)) or not 0 < dt <= 0.1:
        raise _bad("dt", dt, "Give seconds, at most 0.1.")
    n_lags = max(10, round(0.4 / dt))
    truth = {
        "dt": float(dt),
        "subunit_nonlinearity": "linear",
        "amacrine_strength": 0.0,
        "output": "exp",
        "rate_scale_hz": 1 / dt,
        "noise": "poisson",
        # Exponential cells that excite each other run away unless drive and couplings are mild.
        "drive_sd": 0.6,
        "excitation_limit": 0.4,
        "mean_rate_hz": (5.0, 15.0),
        "history": log_cosine_kernel([-1.2, -0.8, -0.5, -0.3, -0.2, -0.1, 0, 0, 0, 0], n_lags),
        "coupling_within": log_cosine_kernel([0.2, 0.08, 0, 0, 0, 0, 0, 0], n_lags),
        "coupling_across": log_cosine_kernel([-0.5, -0.2, 0, 0, 0, 0, 0, 0], n_lags),
        "coupling_spread": 0.3,
        "gain_sd": 0.0,
        "drift": 0.0,
    }
    return RetinaParameters(**truth).changed(**changes)


def _bad(name: str, value, remedy: str) -> InputError:
    return InputError(f"is {value!r}"[:80], where=f"RetinaParameters: {name}", remedy=remedy)
