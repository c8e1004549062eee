"""How often an interval called 95 % holds the truth: ceilings over trials, scores over time.

Everything here is simulation with a truth known beforehand; docs/ceilings.md and docs/metrics.md
show the results, and slow tests hold them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from neuromodels.analysis.ceiling_intervals import ceiling_interval
from neuromodels.analysis.intervals import interval_or_reason
from neuromodels.analysis.metrics import METRICS
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.simulated.modulation import drift_at
from neuromodels.fits.truth.ceilings import Variability, draw_trials, smooth_rates, true_ceiling

_WORKING_SET = 2**24  # counts drawn at a time
_CELLS, _BLOCKS = 6, 5


@dataclass(frozen=True)
class CeilingCoverage:
    """How often intervals of the ceiling held it.

    Attributes
    ----------
    runs : int
    shown : float
        Share of cells with an interval.
    covered : float
        Share of those that hold the ceiling of the trials that took place: the stimulus shown, the
        trials' own drift and mean gain.
    below, above : float
        Shares whose ceiling lies below, and above.
    covered_any : float
        Share that holds the ceiling of trials with a gain drawn anew, as in another session.
    ceiling, width : float
        Median true ceiling, and median width of the intervals.
    """

    runs: int
    shown: float
    covered: float
    below: float
    above: float
    covered_any: float
    ceiling: float
    width: float


def ceiling_coverage(
    of: Variability,
    n_trials: int,
    rate: float,
    seconds: float,
    *,
    runs: int = 1000,
    seed: int = 0,
    bin_width: float = 0.01,
) -> CeilingCoverage:
    """Coverage of `analysis.ceiling_intervals.ceiling_interval` in one simulated world.

    Parameters
    ----------
    of : Variability
    n_trials : int
    rate : float
        Mean counts per bin of every cell; each has a random rate of its own (`smooth_rates`).
    seconds : float
        Length of the repeated stimulus.
    runs, seed, bin_width
        Simulated cells, each with its own stimulus; seed; s.

    Raises
    ------
    InputError
        If there can be no interval with so few trials or so short a stimulus.
    """
    rng = np.random.default_rng(seed)
    n_bins = round(seconds / bin_width)
    step = int(min(runs, max(1, _WORKING_SET // (n_trials * n_bins))))
    columns = []
    for first in range(0, runs, step):
        lam = smooth_rates(n_bins, min(step, runs - first), rate, rng)
        counts, levels = draw_trials(lam, n_trials, bin_width, of, rng)
        found = ceiling_interval(counts)
        if isinstance(found, str):
            raise InputError(
                f"no interval: {found}", where="ceiling_coverage", remedy="Give more data."
            )
        of_these = true_ceiling(lam, n_trials, bin_width, of, levels)
        of_any = true_ceiling(lam, n_trials, bin_width, of)
        columns.append((found.low, found.high, of_these, of_any))
    low, high, these, anew = (np.concatenate(part) for part in zip(*columns, strict=True))
    shown = np.isfinite(low)
    low, high, these, anew = (part[shown] for part in (low, high, these, anew))
    return CeilingCoverage(
        runs,
        float(shown.mean()),
        float(((low <= these) & (these <= high)).mean()),
        float((these < low).mean()),
        float((these > high).mean()),
        float(((low <= anew) & (anew <= high)).mean()),
        float(np.median(these)),
        float(np.median(high - low)),
    )


@dataclass(frozen=True)
class Session:
    """Held-out time of a simulated session: six cells, two models that see the stimulus only.

    Each cell's rate is exp of a drive that the models know in part, of fluctuations of its own
    (0.1 s), of a gain that all cells share, and of drift.

    Attributes
    ----------
    seconds : float
        Held-out time in all, in five blocks spread evenly over the session.
    rate : float
        Mean counts per 10 ms and cell, 0.6 to 1.4 times that from cell to cell.
    gain_sd, gain_tau_s : float
        Of the logarithm of the shared gain; s.
    drift : float
        Change of the rates over the session, as a share of their mean.
    contrast_tau_s : float
        The stimulus' contrast wanders by half over this time, s; 0 if it does not.
    bin_width : float
        s.
    """

    seconds: float = 180.0
    rate: float = 0.1
    gain_sd: float = 0.3
    gain_tau_s: float = 20.0
    drift: float = 0.0
    contrast_tau_s: float = 0.0
    bin_width: float = 0.05

    @property
    def null_rate(self) -> np.ndarray:
        """Mean counts per bin of every cell, (neuron,)."""
        return np.linspace(0.6, 1.4, _CELLS) * self.rate * self.bin_width / 0.01

    @property
    def _drift(self) -> np.ndarray:
        """Factor of the rates in each block."""
        return drift_at((np.arange(_BLOCKS) + 0.5) / _BLOCKS, self.drift)

    def block(self, rng: np.random.Generator, n_bins: int, factor: float = 1.0):
        """Rates, predictions of a good and of a weaker model, each (time, neuron)."""
        width = self.bin_width
        drive = 0.6 * _wander(rng, 0.15, n_bins, width, _CELLS)
        drive = drive + 0.8 * _wander(rng, 0.05, n_bins, width, 1)
        if self.contrast_tau_s:
            slow = _wander(rng, self.contrast_tau_s, n_bins, width, 1)
            drive = drive * (1 + 0.5 * np.tanh(slow))
        log_gain = 0.5 * _wander(rng, 0.1, n_bins, width, _CELLS) - 0.125
        if self.gain_sd:
            shared = _wander(rng, self.gain_tau_s, n_bins, width, 1)
            log_gain = log_gain + self.gain_sd * shared - self.gain_sd**2 / 2
        null = self.null_rate
        return (
            factor * null * np.exp(drive - 0.5 + log_gain),
            null * np.exp(0.85 * drive - 0.36),
            null * np.exp(0.6 * drive - 0.18),
        )

    def draw(self, rng: np.random.Generator):
        """Counts and both predictions of a session, (time, neuron), and the block of each bin."""
        n_bins = round(self.seconds / self.bin_width / _BLOCKS)
        blocks = [self.block(rng, n_bins, factor) for factor in self._drift]
        rate, *models = (np.concatenate(part) for part in zip(*blocks, strict=True))
        return rng.poisson(rate), *models, np.repeat(np.arange(_BLOCKS), n_bins)

    def truth(self, metric: str, seed: int = 0, hours: float = 40.0) -> np.ndarray:
        """Score of both models in endless data, (model, neuron)."""
        rng = np.random.default_rng([seed, 1])
        n_bins = round(hours * 3600 / self.bin_width / (_BLOCKS * 4))
        total = [0, 0]
        for factor in np.tile(self._drift, 4):
            rate, *models = self.block(rng, n_bins, factor)
            counts = rng.poisson(rate)
            for i, model in enumerate(models):
                sums = METRICS[metric].sums(model, counts, None, self.null_rate).total()
                total[i] = sums if not total[i] else {k: total[i][k] + sums[k] for k in sums}
        return np.array([METRICS[metric].evaluate(sums) for sums in total])


#: Targets of `score_coverage`: whether paired with the weaker model, and the reduction.
TARGETS = {
    "mean": (False, "mean"),
    "per cell": (False, "none"),
    "paired mean": (True, "mean"),
    "paired per cell": (True, "none"),
}


def score_coverage(
    session: Session,
    metric: str = "bits_per_spike",
    *,
    runs: int = 1000,
    seed: int = 0,
    hours: float = 40.0,
) -> dict[str, float]:
    """Share of simulated sessions whose intervals hold the true score, by target.

    Parameters
    ----------
    session : Session
    metric : {"bits_per_spike", "deviance_explained", "variance_explained"}
    runs, seed : int
    hours : float
        Length of the session that the true score is taken from.

    Returns
    -------
    dict of float
        Keys as `TARGETS`; NaN where no interval is given.
    """
    truth = session.truth(metric, seed, hours)
    rng = np.random.default_rng([seed, 2])
    held = {name: [] for name in TARGETS}
    for _ in range(runs):
        counts, model, weaker, labels = session.draw(rng)
        for name, (paired, reduction) in TARGETS.items():
            aim = truth[0] - truth[1] if paired else truth[0]
            found = interval_or_reason(
                metric,
                model,
                counts,
                bin_width=session.bin_width,
                blocks=labels,
                null_rate=session.null_rate,
                other=weaker if paired else None,
                reduction=reduction,
            )
            aim = aim.mean() if reduction == "mean" else aim
            inside = (found.low <= aim) & (aim <= found.high)
            held[name].append(inside[found.reason == ""])
    pooled = {
        name: np.concatenate([np.atleast_1d(h) for h in parts]) for name, parts in held.items()
    }
    return {name: float(h.mean()) if h.size else np.nan for name, h in pooled.items()}


def _wander(rng, seconds: float, n: int, bin_width: float, columns: int) -> np.ndarray:
    """Stationary Gaussian series of variance 1 with exponential memory, (time, column)."""
    keep = np.exp(-bin_width / seconds)
    noise = rng.standard_normal((n, columns))
    noise[1:] *= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], noise, axis=0)
