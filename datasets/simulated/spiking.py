"""Spikes step by step: own history, couplings, gain, and counts that vary less than Poisson."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.simulated.anatomy import Anatomy, history_and_coupling
from neuromodels.datasets.simulated.parameters import RetinaParameters

LARGEST_MEAN = 20.0  # expected count of a step above which Poisson cells count as run away

ROOM = 1024  # steps between two moves of what past spikes add
CALM = "Weaken coupling_within or drive_sd, or strengthen the refractory history."


@dataclass(frozen=True, eq=False)
class SpikingStage:
    """What the spikes of one step do to the drive of the next ones, ready for the compiled loop.

    Attributes
    ----------
    first : (neuron + 1,)
        Where the targets of every source begin in `target` and `kernel`.
    target, length : (pair,)
        Target of each pair, and lags of its kernel.
    kernel : (pair, lag)
        Row of lag 1 first.
    softplus, binomial : bool
    scale : float
        Count per step for an output of 1.
    cap : float
        Largest expected count of a step.
    """

    first: np.ndarray
    target: np.ndarray
    length: np.ndarray
    kernel: np.ndarray
    softplus: bool
    binomial: bool
    scale: float
    cap: float

    def check(self, n_capped: int) -> None:
        """Raise an error if Poisson cells ran away; binomial ones cannot, but may be driven hard.

        Raises
        ------
        InputError
        """
        if n_capped and not self.binomial:
            raise InputError(
                f"run away: more than {LARGEST_MEAN:g} spikes are expected in {n_capped} steps",
                where="simulate_retina: cells",
                remedy=CALM,
            )

    @property
    def has_memory(self) -> bool:
        """Whether a spike changes any later rate."""
        return bool(self.kernel.any())

    def rates(self, drive: np.ndarray) -> np.ndarray:
        """Expected count per step where no spike has been; not capped."""
        return self.scale * (np.logaddexp(0, drive) if self.softplus else np.exp(drive))


def make_stage(anatomy: Anatomy, parameters: RetinaParameters) -> SpikingStage:
    """The spiking stage of a retina."""
    history, coupling = history_and_coupling(anatomy, parameters)
    n_lags, n = max(len(history), len(coupling)), history.shape[1]
    kernels = np.zeros((n, n, n_lags))  # source, target, lag
    kernels[:, :, : len(coupling)] = coupling.transpose(1, 2, 0)
    kernels[np.arange(n), np.arange(n), : len(history)] += history.T
    source, target = np.nonzero(kernels.any(axis=2))
    kernels = np.ascontiguousarray(kernels[source, target]).reshape(len(source), n_lags)
    binomial = parameters.noise == "binomial"
    return SpikingStage(
        first=np.searchsorted(source, np.arange(n + 1)),
        target=target.astype(np.int64),
        length=n_lags - np.argmax(kernels[:, ::-1] != 0, axis=1),
        kernel=kernels,
        softplus=parameters.output == "softplus",
        binomial=binomial,
        scale=parameters.rate_scale_hz * parameters.dt,
        cap=float(parameters.max_count) if binomial else LARGEST_MEAN,
    )


def draw_spikes(
    stage: SpikingStage,
    drive: np.ndarray,
    factor: np.ndarray,
    gain: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, int]:
    """One run from an empty past.

    Parameters
    ----------
    drive : (step, neuron)
    factor : (step, neuron)
        Multiplies the rate: drift, covariates.
    gain : (step,)
        Multiplies the rate of all cells.
    rng
        One uniform number per step and neuron is drawn, in that order.

    Returns
    -------
    counts : (step, neuron) uint16
    rates : (step, neuron)
        Expected counts given the spikes before, and gain and factor of the step.
    n_capped : int
        Steps in which a rate was cut at `stage.cap`.
    """
    counts = np.zeros(drive.shape, np.uint16)
    rates = np.zeros(drive.shape)
    return counts, rates, add_run(stage, drive, factor, gain, rng, counts, rates)


def add_run(
    stage: SpikingStage,
    drive: np.ndarray,
    factor: np.ndarray,
    gain: np.ndarray,
    rng: np.random.Generator,
    counts: np.ndarray,
    rates: np.ndarray,
) -> int:
    """As `draw_spikes`: counts are overwritten, rates are added to `rates`; returns n_capped."""
    return _run(
        drive,
        factor,
        gain,
        stage.first,
        stage.target,
        stage.length,
        stage.kernel,
        stage.softplus,
        stage.binomial,
        stage.scale,
        stage.cap,
        rng,
        counts,
        rates,
    )


# Plain arguments, because a compiled function takes no dataclass.
@njit(cache=True, error_model="numpy")
def _run(
    drive,
    factor,
    gain,
    first,
    target,
    length,
    kernel,
    softplus,
    binomial,
    scale,
    cap,
    rng,
    counts,
    rates,
):
    n_steps, n = drive.shape
    n_lags = kernel.shape[1]
    # What past spikes add to the steps to come: column `now` is this step's. When the room is used
    # up, what waits is moved to the front.
    waiting = np.zeros((n, ROOM + n_lags))
    now, n_capped = 0, 0
    for t in range(n_steps):
        for i in range(n):
            u = drive[t, i] + waiting[i, now]
            if not softplus:
                out = np.exp(u) if u < 100.0 else np.inf
            elif u > 30.0:
                out = u
            elif u > -17.0:
                out = np.log(1.0 + np.exp(u))
            else:  # here the exponential differs by less than 3e-8 of it
                out = np.exp(u)
            mean = scale * out * factor[t, i] * gain[t]
            if mean > cap:
                mean = cap
                n_capped += 1
            rates[t, i] += mean
            counts[t, i] = _count(mean, cap if binomial else 0.0, rng.random())
        for j in range(n):
            count = float(counts[t, j])
            if count > 0:
                for pair in range(first[j], first[j + 1]):
                    coming = waiting[target[pair], now + 1 : now + 1 + length[pair]]
                    added = kernel[pair]
                    for lag in range(coming.size):
                        coming[lag] += count * added[lag]
        now += 1
        if now == ROOM:
            for i in range(n):
                for lag in range(n_lags):
                    waiting[i, lag] = waiting[i, ROOM + lag]
                waiting[i, n_lags:] = 0.0
            now = 0
    return n_capped


@njit(cache=True)
def _count(mean, largest, uniform):
    """Count whose distribution function passes `uniform`: binomial, or Poisson if largest is 0."""
    if uniform < 1.0 - mean:  # no spike, for both, and without an exponential
        return 0
    if largest == 1.0:
        return 1
    if largest > 0:
        chance = mean / largest
        if chance >= 1.0:
            return int(largest)
        probability = (1.0 - chance) ** largest
    else:
        probability = np.exp(-mean)
    count, total = 0, probability
    while uniform >= total and count < 1000 and (largest == 0 or count < largest):
        if largest > 0:
            probability *= (largest - count) / (count + 1) * chance / (1.0 - chance)
        else:
            probability *= mean / (count + 1)
        count += 1
        total += probability
    return count
