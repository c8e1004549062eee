"""Every estimator of a ceiling against the ceiling itself, over many simulated cells."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from neuromodels.analysis import ceilings, halves
from neuromodels.analysis.ceiling_intervals import cc_max_any_gain
from neuromodels.analysis.metrics import explainable_fraction
from neuromodels.fits.truth.ceilings import (
    WORLDS,
    draw_trials,
    single_trial_ceiling,
    smooth_rates,
    true_ceiling,
)

#: What each estimator aims at: the ceiling for the mean over the trials, the ceiling for single
#: trials, or the square of the latter.
AIMS = {
    "cc_max": "mean",
    "cc_max_any_gain": "mean",
    "cc_max_halves": "mean",
    "cc_max_interleaved": "mean",
    "cc_max_first_second": "mean",
    "oracle_jackknife": "single trial",
    "oracle_conservative": "single trial",
    "explainable_fraction": "single trial, squared",
}
POPULATION = 12  # cells whose mean is compared with the mean of their true ceilings
_WORKING_SET = 2**22


def estimates(responses) -> dict[str, np.ndarray]:
    """Every estimate of a ceiling by name, (neuron,) each, of responses (trial, time, neuron)."""
    responses = np.asarray(responses, float)
    few = np.full(responses.shape[2], np.nan)
    return {
        "cc_max": ceilings.cc_max(responses),
        "cc_max_any_gain": cc_max_any_gain(responses) if len(responses) >= 4 else few,
        "cc_max_halves": halves.cc_max_halves(responses),
        "cc_max_interleaved": halves.split_half(responses, "interleaved").cc_max,
        "cc_max_first_second": halves.split_half(responses, "first_second").cc_max,
        "oracle_jackknife": ceilings.oracle_jackknife(responses),
        "oracle_conservative": ceilings.oracle_conservative(responses),
        "explainable_fraction": explainable_fraction(responses),
    }


def ceiling_table(
    worlds: Iterable[str] = ("plain", "drift", "gain", "both"),
    trials: Iterable[int] = (2, 5, 10, 40),
    rates: Iterable[float] = (0.02, 0.1, 0.5),
    seconds: Iterable[float] = (5.0, 10.0, 60.0),
    *,
    runs: int = 240,
    seed: int = 0,
    bin_width: float = 0.01,
) -> xr.Dataset:
    """Errors of every estimator of a ceiling, in worlds whose true ceiling is known.

    Parameters
    ----------
    worlds : iterable of str
        Names in `ceilings.WORLDS`.
    trials, rates, seconds
        Numbers of repeats; mean counts per bin; lengths of the repeated stimulus.
    runs : int
        Simulated cells, each with a rate of its own; a multiple of 12 for the population's mean.
    seed : int
    bin_width : float
        s.

    Returns
    -------
    xarray.Dataset
        Over (world, n_trials, rate, seconds): `truth`, the median true ceiling of the mean, and
        `population_error`, the median error of the mean over 12 cells of CC_max, undefined cells
        left out, against the mean of all 12 truths; over (…, estimator): `error`, the median of
        estimate minus aim, `spread`, half the distance of the 16th and 84th percentile, and
        `undefined`, the share of cells without an estimate.

    Notes
    -----
    The aim is the ceiling of the trials that took place (their drift, their mean gain), see
    `ceilings.true_ceiling`.
    """
    axes = {
        "world": list(worlds),
        "n_trials": list(trials),
        "rate": list(rates),
        "seconds": list(seconds),
    }
    shape = tuple(len(values) for values in axes.values())
    truth, population = np.full(shape, np.nan), np.full(shape, np.nan)
    columns = np.full((3, *shape, len(AIMS)), np.nan)
    for at in np.ndindex(shape):
        of, n, rate, length = (values[i] for values, i in zip(axes.values(), at, strict=True))
        rng = np.random.default_rng([seed, *at])
        found, aims = _simulate(of, n, rate, round(length / bin_width), runs, bin_width, rng)
        truth[at] = np.median(aims["mean"])
        for k, (name, aim) in enumerate(AIMS.items()):
            error = found[name] - aims[aim]
            defined = np.isfinite(error)
            columns[(2, *at, k)] = 1 - defined.mean()
            if defined.any():
                low, middle, high = np.percentile(error[defined], [16, 50, 84])
                columns[(0, *at, k)], columns[(1, *at, k)] = middle, (high - low) / 2
        population[at] = _population_error(found["cc_max"], aims["mean"])
    dims = tuple(axes)
    per_estimator = (*dims, "estimator")
    return xr.Dataset(
        {
            "truth": (dims, truth),
            "population_error": (dims, population),
            "error": (per_estimator, columns[0]),
            "spread": (per_estimator, columns[1]),
            "undefined": (per_estimator, columns[2]),
        },
        coords={
            **axes,
            "estimator": list(AIMS),
            "aim": ("estimator", list(AIMS.values())),
        },
        attrs={"runs": runs, "seed": seed, "bin_width": bin_width},
    )


def _simulate(world, n_trials, rate, n_bins, runs, bin_width, rng):
    """Estimates and aims of all runs, as dicts of (run,)."""
    step = max(1, _WORKING_SET // (n_trials * n_bins))
    pieces, truths = [], []
    for first in range(0, runs, step):
        lam = smooth_rates(n_bins, min(step, runs - first), rate, rng)
        counts, levels = draw_trials(lam, n_trials, bin_width, WORLDS[world], rng)
        pieces.append(estimates(counts))
        single = single_trial_ceiling(lam, n_trials, WORLDS[world])
        mean = true_ceiling(lam, n_trials, bin_width, WORLDS[world], levels)
        truths.append({"mean": mean, "single trial": single, "single trial, squared": single**2})
    return [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in (pieces, truths)
    ]


def _population_error(found: np.ndarray, truth: np.ndarray) -> float:
    """Median over populations of the error of the mean over defined cells."""
    n = found.size // POPULATION * POPULATION
    if not n:
        return np.nan
    cells, aims = found[:n].reshape(-1, POPULATION), truth[:n].reshape(-1, POPULATION)
    defined = np.isfinite(cells)
    some = defined.any(axis=1)
    mean = np.where(defined, cells, 0.0).sum(axis=1)[some] / defined.sum(axis=1)[some]
    return float(np.median(mean - aims.mean(axis=1)[some])) if some.any() else np.nan
