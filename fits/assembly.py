"""From fits and observed responses to the labelled tree of a comparison."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from neuromodels.analysis import ceilings, halves
from neuromodels.analysis.ceiling_intervals import ceiling_interval, mean_ceiling_interval
from neuromodels.analysis.metrics import METRICS, explainable_fraction, main_metric
from neuromodels.fits.comparison import ON, node_name
from neuromodels.fits.fit import Fit, with_units
from neuromodels.fits.predictions import Prediction
from neuromodels.fits.scoring import (
    ADJUSTED,
    SCORES,
    Observed,
    Score,
    Scored,
    evaluate,
    observe,
    split_inputs,
    spread_over_stretches,
)
from neuromodels.fits.task import Task

FOLD = 0
REDUCTIONS = ("mean", "ratio")
PARTS = ("value", "standard_error", "low", "high")
#: With so few repeats and spikes a cell's own ratio is heavy-tailed: the population's sums decide.
FEW_TRIALS, LOW_RATE = 5, 0.05


def stored_predictions(fit: Fit, task: Task, stimulus: str) -> dict[str, list[Prediction]]:
    """Predictions of a fit, role by role and block by block, as they are in the file."""
    found = {}
    for role, blocks in task.scored[stimulus].items():
        if not blocks:
            continue
        node = fit.predictions[f"{stimulus}/{role}"].to_dataset()
        rate = node["rate"].values
        conditional = node["rate_conditional"].values if "rate_conditional" in node else None
        adjusted = None
        if "adjusted_gain" in node:
            adjusted = node["adjusted_gain"].values * rate + node["adjusted_offset"].values
        start, parts = 0, []
        for block in blocks:
            bins = slice(start, start + block.n_bins)
            given = None
            if conditional is not None:
                given = conditional[..., bins, :]
                if given.ndim == 3:
                    given = given[: block.n_trials]
            parts.append(
                Prediction(rate[bins], given, adjusted=None if adjusted is None else adjusted[bins])
            )
            start += block.n_bins
        found[role] = parts
    return found


def _observed_dataset(observed: Observed, neurons: tuple[str, ...], units: str) -> xr.Dataset:
    blocks = observed.blocks
    response = observed.response if observed.repeated else observed.response[0]
    dims = ("trial", "time", "neuron") if observed.repeated else ("time", "neuron")
    coords: dict[str, Any] = {
        "time": ("time", np.concatenate([block.time for block in blocks]), {"units": "s"}),
        "block": ("time", np.concatenate([np.full(b.n_bins, b.label) for b in blocks])),
        "neuron": list(neurons),
    }
    if observed.repeated:
        coords["trial"] = max(blocks, key=lambda block: block.n_trials).trials
    whole = observed.kind == "count" and not np.isnan(response).any()
    return xr.Dataset(
        {
            "response": (
                dims,
                response.astype(np.int32) if whole else response.astype(np.float32),
                {"units": units, "kind": observed.kind},
            ),
            "scored": (
                "time",
                observed.scored.astype(np.int8),
                {"long_name": "1: every model can predict this bin, and it is scored"},
            ),
        },
        coords=coords,
    )


def _ceilings(
    observed: Observed | None, reference: np.ndarray, bin_width: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Ceilings by name, and what they say of each neuron."""
    n_neurons = len(reference)
    empty = np.full(n_neurons, np.nan)
    names = (
        "cc_max",
        "cc_max_halves",
        "cc_max_interleaved",
        "cc_max_first_second",
        "reliability_interleaved",
        "reliability_first_second",
        "explainable_fraction",
        "oracle_jackknife",
        "oracle_conservative",
        "leave_one_out_bits_per_spike",
    )
    found = dict.fromkeys(names, empty)
    facts = {
        "signal_power": empty,
        "signal_power_error": empty,
        "gate": np.zeros(n_neurons, dtype=np.int8),
        "non_stationary": np.zeros(n_neurons, dtype=np.int8),
        "ceiling_low": empty,
        "ceiling_high": empty,
    }
    if observed is None or observed.n_trials < 2 or not observed.scored.any():
        return found, facts
    responses = observed.response[:, observed.scored]
    interleaved = halves.split_half(responses, "interleaved")
    first_second = halves.split_half(responses, "first_second")
    power = ceilings.signal_power(responses)
    found |= {
        "cc_max": ceilings.cc_max(responses),
        "cc_max_halves": halves.cc_max_halves(responses),
        "cc_max_interleaved": interleaved.cc_max,
        "cc_max_first_second": first_second.cc_max,
        "reliability_interleaved": interleaved.reliability,
        "reliability_first_second": first_second.reliability,
        "explainable_fraction": explainable_fraction(responses),
        "oracle_jackknife": ceilings.oracle_jackknife(responses),
        "oracle_conservative": ceilings.oracle_conservative(responses),
    }
    if observed.kind == "count":
        found["leave_one_out_bits_per_spike"] = ceilings.leave_one_out_psth_bits_per_spike(
            responses,
            reference,
            bin_width,
            blocks=observed.label[observed.scored],
        )
    facts |= {
        "signal_power": np.asarray(power[0]),
        "signal_power_error": np.asarray(power[1]),
        "gate": ceilings.gate(responses).astype(np.int8),
    }
    interval = ceiling_interval(responses)
    if not isinstance(interval, str):
        facts |= {"ceiling_low": interval.low, "ceiling_high": interval.high}
    if observed.n_trials >= 4:
        stationarity = halves.stationarity(responses)
        facts["non_stationary"] = stationarity.non_stationary.astype(np.int8)
    return found, facts


def _mean_ceiling(observed: Observed | None) -> dict[str, Any]:
    """Interval of the mean ceiling over cells, or why there is none, as attributes."""
    if observed is None or observed.n_trials < 2 or not observed.scored.any():
        return {}
    found = mean_ceiling_interval(observed.response[:, observed.scored])
    if isinstance(found, str):
        return {"no_ceiling_interval": found}
    return {"mean_ceiling_low": found.low, "mean_ceiling_high": found.high}


def _metric_coords(columns: tuple[Score, ...]) -> dict[str, Any]:
    return {
        "metric": [score.name for score in columns],
        "data": ("metric", [score.role for score in columns]),
        "conditional": ("metric", np.array([score.conditional for score in columns], np.int8)),
        "unit": ("metric", [score.unit for score in columns]),
        "estimator_version": ("metric", [METRICS[score.metric].version for score in columns]),
    }


class Assembly:
    """Scores fits of one task on one stimulus, all on the same bins, and labels everything.

    Parameters
    ----------
    task : Task
        Data and splits.
    fits : dict
        (label, seed) to Fit; all pairs of label and seed.
    stimulus : str
        One of those that the task scores.
    """

    def __init__(self, task: Task, fits: dict[tuple[str, int], Fit], stimulus: str):
        self.task, self.fits, self.stimulus = task, fits, stimulus
        self.reference = task.reference[stimulus]
        self.labels = tuple(dict.fromkeys(label for label, _ in fits))
        self.seeds = tuple(dict.fromkeys(seed for _, seed in fits))
        self.scored_from = max(fit.attrs["settled_from_bin"] for fit in fits.values())
        self.observed = {
            role: observe(blocks, self.scored_from, task.data.response)
            for role, blocks in task.scored[stimulus].items()
        }
        self.predictions = {
            key: stored_predictions(fit, task, stimulus) for key, fit in fits.items()
        }
        adjusted = any(
            prediction.adjusted is not None
            for found in self.predictions.values()
            for prediction in found.get(ADJUSTED.role, ())
        )
        self.columns = (*SCORES, ADJUSTED) if adjusted else SCORES

    def _evaluate(self, score: Score, key: tuple[str, int], other: Any = None) -> Scored:
        return evaluate(
            score,
            self.observed[score.role],
            self.predictions[key].get(score.role),
            null_rate=self.reference,
            bin_width=self.task.data.bin_width,
            other=None if other is None else self.predictions[other].get(score.role),
        )

    def scores(self) -> xr.Dataset:
        """Every score of every fit, with errors, intervals or reasons, and the ceilings."""
        neurons = self.task.data.neurons
        shape = (len(self.labels), len(self.seeds), 1, len(self.columns))
        per_neuron = {
            name: np.full((*shape, len(neurons)), np.nan)
            for name in ("score", "standard_error", "interval_low", "interval_high")
        }
        population = np.full((*shape, len(REDUCTIONS), len(PARTS)), np.nan)
        spread = np.full((*shape, 2), np.nan)
        reason = np.full((len(self.labels), len(self.columns)), "", dtype=object)
        no_interval = reason.copy()
        for m, label in enumerate(self.labels):
            for s, seed in enumerate(self.seeds):
                for k, score in enumerate(self.columns):
                    at, found = (m, s, FOLD, k), self._evaluate(score, (label, seed))
                    columns = (found.value, found.standard_error, found.low, found.high)
                    for name, column in zip(per_neuron, columns, strict=True):
                        per_neuron[name][at] = column
                    population[at] = found.mean, found.ratio
                    reason[m, k], no_interval[m, k] = found.reason, found.no_interval
                    if not found.reason:
                        spread[at] = spread_over_stretches(
                            score,
                            self.observed[score.role],
                            self.predictions[label, seed][score.role],
                            self.reference,
                            self.task.data.bin_width,
                        )
        dims = ("model", "seed", "fold", "metric")
        found, facts = _ceilings(self.observed["test"], self.reference, self.task.data.bin_width)
        first = [self.fits[label, self.seeds[0]].attrs for label in self.labels]
        return xr.Dataset(
            {
                **{name: ((*dims, "neuron"), v) for name, v in per_neuron.items()},
                "population": ((*dims, "reduction", "part"), population),
                "spread": ((*dims, "limit"), spread),
                "reason": (("model", "metric"), reason.astype(str)),
                "no_interval": (("model", "metric"), no_interval.astype(str)),
                "ceiling": (("ceiling_kind", "neuron"), np.array(list(found.values()))),
                **{name: ("neuron", values) for name, values in facts.items()},
                **self._reference(),
            },
            coords={
                "model": list(self.labels),
                "inputs": ("model", [attrs["inputs"] for attrs in first]),
                "mode": ("model", [attrs["mode"] for attrs in first]),
                "seed": list(self.seeds),
                "fold": [FOLD],
                **_metric_coords(self.columns),
                "neuron": list(neurons),
                "reduction": list(REDUCTIONS),
                "part": list(PARTS),
                "limit": ["smallest", "largest"],
                "ceiling_kind": list(found),
            },
            attrs=self._facts(),
        )

    def _reference(self) -> dict[str, Any]:
        """What scores are relative to, by the name that it has in the file."""
        if self.task.data.response == "count":
            rate = self.reference / self.task.data.bin_width
            about = {"units": "Hz", "long_name": "mean rate in training: reference of the bits"}
            return {"training_rate": ("neuron", rate, about)}
        about = {
            "units": self.task.response_units,
            "long_name": "mean in training: reference of the variance explained",
        }
        return {"training_mean": ("neuron", self.reference, about)}

    def _facts(self) -> dict[str, Any]:
        test, heldout = self.observed["test"], self.observed["heldout"]
        width = self.task.data.bin_width
        few = test is not None and test.n_trials <= FEW_TRIALS
        count = self.task.data.response == "count"
        low = count and float(np.median(self.reference)) < LOW_RATE
        return {
            "stimulus": self.stimulus,
            "bin_width_s": width,
            "smoothing": "none",
            "scored_from_bin": self.scored_from,
            "response": self.task.data.response,
            "headline_metric": (
                main_metric(self.task.data.response) if heldout is not None else "cc_norm"
            ),
            "headline_reduction": "ratio" if few and low else "mean",
            "n_trials": 0 if test is None else test.n_trials,
            **_mean_ceiling(test),
            "heldout_scored_s": 0.0 if heldout is None else float(heldout.scored.sum() * width),
            "test_scored_s": 0.0 if test is None else float(test.scored.sum() * width),
            "interval": "95 %, jack-knife-t over 3 s pieces, widened by their dependence",
        }

    def _comparable(self, one: str, two: str, score: Score) -> bool:
        """Whether two scores may be subtracted.

        Covariates must be nested: what those add that one has and the other has not is then what
        is asked. Scores that were given recorded spikes must have been given the same.
        """
        seed = self.seeds[0]
        first, second = self.fits[one, seed].attrs, self.fits[two, seed].attrs
        told, past = zip(*(split_inputs(a["inputs"]) for a in (first, second)), strict=True)
        if not (set(told[0]) <= set(told[1]) or set(told[1]) <= set(told[0])):
            return False
        if not score.conditional:
            return True
        return first["mode"] == "free-running" and past[0] == past[1]

    def differences(self) -> xr.Dataset:
        """Paired differences of all pairs of models, later minus earlier, mean over seeds."""
        pairs = [(two, one) for one, two in combinations(self.labels, 2)]
        n_neurons = len(self.task.data.neurons)
        value = np.full((len(pairs), len(self.columns), n_neurons), np.nan)
        population = np.full((len(pairs), len(self.columns), len(REDUCTIONS), len(PARTS)), np.nan)
        for p, (one, two) in enumerate(pairs):
            for k, score in enumerate(self.columns):
                if not self._comparable(one, two, score):
                    continue
                found = [self._evaluate(score, (one, s), (two, s)) for s in self.seeds]
                value[p, k] = np.mean([f.value for f in found], axis=0)
                population[p, k] = np.mean([(f.mean, f.ratio) for f in found], axis=0)
        return xr.Dataset(
            {
                "difference": (("pair", "metric", "neuron"), value),
                "population": (("pair", "metric", "reduction", "part"), population),
            },
            coords={
                "pair": [f"{one} − {two}" for one, two in pairs],
                "first": ("pair", [one for one, _ in pairs] or np.empty(0, "U1")),
                "second": ("pair", [two for _, two in pairs] or np.empty(0, "U1")),
                **_metric_coords(self.columns),
                "neuron": list(self.task.data.neurons),
                "reduction": list(REDUCTIONS),
                "part": list(PARTS),
            },
            attrs={
                "note": "NaN where the two models were given different recorded spikes, or "
                "covariates of which neither set contains the other"
            },
        )

    def nodes(self) -> dict[str, xr.Dataset]:
        """Scores, differences and observed responses of this stimulus."""
        found = {"scores": with_units(self.scores())}
        if len(self.labels) > 1:
            found["differences"] = with_units(self.differences())
        for role, observed in self.observed.items():
            if observed is not None:
                found[f"observed/{self.stimulus}/{role}"] = with_units(
                    _observed_dataset(observed, self.task.data.neurons, self.task.response_units)
                )
        return found


def comparison_tree(task: Task, fits: dict[tuple[str, int], Fit]) -> xr.DataTree:
    """Everything that a comparison's file holds, attributes of the root left out.

    Scores on the first stimulus are `/scores` and `/differences`, those on others in `/on/NAME`.
    """
    flat: dict[str, xr.Dataset] = {}
    for index, stimulus in enumerate(task.scored):
        for path, dataset in Assembly(task, fits, stimulus).nodes().items():
            inside = index == 0 or path.startswith("observed/")
            flat[path if inside else f"{ON}/{stimulus}/{path}"] = dataset
    for (label, seed), fit in fits.items():
        place = f"fits/{node_name(label)}/{seed}/{FOLD}"
        for child in fit.tree.subtree:
            part = child.path.strip("/")
            flat[f"{place}/{part}" if part else place] = child.to_dataset()
    return xr.DataTree.from_dict(flat)
