"""What the table of a comparison says: rows, notes and conclusions, however they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromodels.analysis.metrics import formula_of, main_metric
from neuromodels.fits.scoring import split_inputs

if TYPE_CHECKING:
    from neuromodels.fits.comparison import Comparison

#: Scores on the repeated movie that the short table shows, of spikes and of rates or traces.
ON_TEST = ("pearson_r", "cc_norm", "bits_per_spike_test")
ON_TEST_OF_TRACES = ("pearson_r", "cc_norm", "feve")
HEADINGS = {
    "bits_per_spike": "bits/spike",
    "deviance_explained": "dev. expl.",
    "variance_explained": "R²",
    "pearson_r": "r to PSTH",
    "cc_norm": "CC_norm",
    "feve": "FEVE",
    "r2_er": "r²_ER",
    "signal_power_explained": "SPE",
}


def heading(metric: str) -> str:
    """Short name of a score for a column."""
    return HEADINGS[formula_of(metric)]


def number(value: float, digits: int = 2, signed: bool = False) -> str:
    """A figure, or a dash where there is none."""
    if not np.isfinite(value):
        return "–"
    if round(value, digits) == 0:
        value, signed = 0.0, False
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def _interval(row: xr.DataArray, signed: bool = False) -> str:
    low, high = (float(row.sel(part=part)) for part in ("low", "high"))
    if not np.isfinite(low) or not np.isfinite(high):
        return ""
    return f" [{number(low, 2, signed)} {number(high, 2, signed)}]"


def cells_of(n: int) -> str:
    """Count of cells in words."""
    return "1 cell" if n == 1 else f"{n} cells"


class Table:
    """Rows, notes and conclusions of a comparison on one stimulus.

    Parameters
    ----------
    comparison : Comparison
        As scored on that stimulus.
    """

    def __init__(self, comparison: Comparison):
        self.comparison = comparison
        self.details = comparison.details
        self.facts: dict[str, Any] = dict(self.details.attrs)
        self.reduction = self.facts["headline_reduction"]
        self.count = self.facts.get("response", "count") == "count"
        self.metric = main_metric(self.facts.get("response", "count"))
        self.n_neurons = self.details.sizes["neuron"]
        self.population = self.details["population"].mean(("seed", "fold"), skipna=False)

    def value(self, model: str, metric: str) -> float:
        row = self.population.sel(model=model, metric=metric, reduction=self.reduction)
        return float(row.sel(part="value"))

    def with_interval(self, model: str, metric: str) -> str:
        row = self.population.sel(model=model, metric=metric, reduction=self.reduction)
        text = number(float(row.sel(part="value"))) + _interval(row)
        if self.details.sizes["seed"] > 1:
            each = self.details["population"].sel(
                model=model, metric=metric, reduction=self.reduction, part="value"
            )
            low, high = float(each.min()), float(each.max())
            if high > low:
                text += f"  ({number(low, 3)}-{number(high, 3)} over seeds)"
        return text

    def inputs(self, model: str) -> str:
        return str(self.details["inputs"].sel(model=model).values)

    def told(self, model: str) -> str:
        """What a model sees but the spikes: the stimulus, and covariates."""
        return " + ".join(split_inputs(self.inputs(model))[0]) or "stimulus"

    def has_history(self, model: str) -> bool:
        return str(self.details["mode"].sel(model=model).values) == "free-running"

    def pooling(self, metric: str) -> str:
        scores = self.comparison.scores.sel(metric=metric)
        n_scored = int(np.isfinite(scores).any("model").sum())
        cells = cells_of(self.n_neurons)
        if 0 < n_scored < self.n_neurons:
            cells = f"{n_scored} of {cells}"
        if self.reduction == "mean":
            return f"mean over {cells}"
        return f"ratio of sums over {cells} (few spikes)"

    # -- parts ------------------------------------------------------------------------------------
    def heldout(self) -> list[tuple[str, str, str]]:
        """Rows (name, what it sees, score) on the held-out blocks."""
        rows = []
        for model in self.comparison.models:
            if self.has_history(model):
                rows.append(
                    (
                        model,
                        f"from the {self.told(model)}, running freely",
                        self.with_interval(model, self.metric),
                    )
                )
            else:
                rows.append(
                    (
                        model,
                        f"from the {self.told(model)}",
                        self.with_interval(model, self.metric),
                    )
                )
        return rows

    def conditional(self) -> list[tuple[str, str, str]]:
        """Rows of models that were given recorded spikes: another question, never subtracted."""
        return [
            (
                model,
                "given " + self.inputs(model),
                self.with_interval(model, "bits_per_spike_conditional"),
            )
            for model in self.comparison.models
            if self.has_history(model)
        ]

    def differences(self) -> list[tuple[str, str]]:
        """Rows (pair, difference with interval) on the held-out blocks."""
        if "differences" not in self.comparison.tree.children:
            return []
        rows = []
        table = self.comparison.differences["population"].sel(
            metric=self.metric, reduction=self.reduction
        )
        for pair in table["pair"].values:
            row = table.sel(pair=pair)
            value = float(row.sel(part="value"))
            if np.isfinite(value):
                rows.append((str(pair), number(value, 2, signed=True) + _interval(row, True)))
        return rows

    def on_test(self) -> tuple[list[str], list[list[str]]]:
        """Headings and rows on the repeated movie, ceilings last."""
        metrics = ON_TEST if self.count else ON_TEST_OF_TRACES
        headings = [heading(metric) for metric in metrics]
        rows = [
            [
                model,
                "free-running" if self.has_history(model) else "",
                *(number(self.value(model, metric)) for metric in metrics),
            ]
            for model in self.comparison.models
        ]
        ceiling = self.details["ceiling"]
        highest = number(float(ceiling.sel(ceiling_kind="cc_max").mean()), 3)
        low, high = (self.facts.get(f"mean_ceiling_{end}", np.nan) for end in ("low", "high"))
        known = np.isfinite(low) and np.isfinite(high)
        sure = f"of r; 95 % interval {number(low, 3)} to {number(high, 3)}" if known else "of r"
        rows.append(["ceiling", sure, highest, "1", "" if self.count else "1"])
        if not self.count:
            return headings, rows
        bits = float(ceiling.sel(ceiling_kind="leave_one_out_bits_per_spike").mean())
        rows.append(["leave-one-out PSTH", "a reference, no limit", "", "", number(bits)])
        return headings, rows

    def notes_on_scores(self) -> list[str]:
        """What must be said beside the figures."""
        found = []
        if self.facts["n_trials"] > 1:
            on_test = f"{self.metric}_test"
            why = str(self.details["no_interval"].sel(metric=on_test).values[0])
            if why:
                spread = self.details["spread"].sel(metric="pearson_r").mean(("seed", "fold"))
                each = ", ".join(
                    f"{model} {number(float(low))} to {number(float(high))}"
                    for model, (low, high) in zip(
                        self.comparison.models, spread.values, strict=True
                    )
                )
                found.append(f"test movie: {why}; r of single seconds: {each}")
        if self.facts["heldout_scored_s"]:
            why = str(self.details["no_interval"].sel(metric=self.metric).values[0])
            if why:
                found.append(f"held out: {why}")
        found += self._about_gate()
        drifting = int(self.details["non_stationary"].sum())
        if drifting:
            found.append(
                f"{drifting} of {cells_of(self.n_neurons)} drift: the ceiling is lower for first "
                "against second half of the repeats than for interleaved ones"
            )
        return found

    def notes_on_fits(self) -> list[str]:
        """What must be said of the fits and of the recording, whatever they were scored on."""
        found = []
        for model in self.comparison.models:
            fit = self.comparison.fit(model)
            found += [f"{model}: {remark}" for remark in fit.attrs["summary"].get("remarks", [])]
            if fit.attrs["summary"].get("converged") is False:
                found.append(f"{model}: {fit.attrs['summary']['stopped']}")
            for role in fit.predictions.subtree:
                if "capped_share" in role and float(role["capped_share"].max()) > 0:
                    found.append(
                        f"{model} runs away when it runs freely: up to "
                        f"{100 * float(role['capped_share'].max()):.2g} % of its draws on "
                        f"{role.path.strip('/').partition('/')[2]} were capped"
                    )
        return [*found, *self.comparison.attrs.get("notes", [])]

    def _about_gate(self) -> list[str]:
        """Cells without a score, and cells whose signal is not sure."""
        neurons = self.details["neuron"].values.astype(str)
        scored = np.isfinite(self.comparison.scores.sel(metric=self.metric)).any("model")
        silent = neurons[~scored.values] if self.facts["heldout_scored_s"] else neurons[:0]
        found = []
        if silent.size:
            why = (
                "no spikes in training or in the held-out blocks"
                if self.count
                else "never off its training mean in the held-out blocks"
            )
            found.append(f"without a score, and in no mean: unit {', '.join(silent[:8])} ({why})")
        gate = self.details["gate"].values
        weak = neurons[(gate == 0) & ~np.isin(neurons, silent)]
        if self.facts["n_trials"] > 1 and weak.size:
            found.append(
                f"unit {', '.join(weak[:8])}: the repeats show no signal beyond its error (signal "
                "power / error ≤ 2); counted all the same"
            )
        return found

    def conclusions(self) -> list[str]:
        """Plain sentences on what may be concluded."""
        return [self._about_models(), *self._about_covariates(), self._about_ceiling()]

    def _about_covariates(self) -> list[str]:
        """What each covariate, or set of them, adds to the same model without it."""
        added = []
        table = self.comparison.differences.get("population")
        for less in self.comparison.models:
            for more in self.comparison.models:
                name = more.removeprefix(f"{less}+")
                pair = f"{more} − {less}"
                if name == more or table is None or pair not in table["pair"].values:
                    continue
                row = table.sel(pair=pair, metric=self.metric, reduction=self.reduction)
                value = float(row.sel(part="value"))
                if np.isfinite(value):
                    said = number(value, 2, signed=True) + _interval(row, True)
                    added.append(f"{name} adds {said} to {less}")
        return [f"Covariates ({heading(self.metric)}): {'; '.join(added)}."] if added else []

    def _about_models(self) -> str:
        models = self.comparison.models
        metric = self.facts["headline_metric"]
        values = {model: self.value(model, metric) for model in models}
        known = {model: value for model, value in values.items() if np.isfinite(value)}
        if len(known) < 2:
            return "Only one model was scored, so nothing is said about which is better."
        ranked = sorted(known, key=known.get, reverse=True)
        best, second = ranked[:2]
        if metric == self.metric and known[best] <= 0:
            mean, clocked = ("rates", "spikes") if self.count else ("responses", "responses")
            return (
                f"No model predicts better than the cells' mean {mean}. `neuromodels inspect` "
                f"tests whether movie and {clocked} are on one clock, and shows how reliable the "
                "cells are."
            )
        name, given = heading(metric), self._given(best, second)
        pair = self.comparison.differences["population"].sel(
            metric=metric, reduction=self.reduction
        )
        forward = f"{best} − {second}"
        sign = 1 if forward in pair["pair"].values else -1
        row = sign * pair.sel(pair=forward if sign > 0 else f"{second} − {best}")
        value = float(row.sel(part="value"))
        low, high = sorted(float(row.sel(part=part)) for part in ("low", "high"))
        if not np.isfinite(value):
            return (
                f"{best} scores highest, {second} next; they were told different things, so that "
                "no difference is given."
            )
        # Sorting NaN is undefined, and without an interval nothing is claimed.
        if not np.isfinite([low, high]).all():
            return (
                f"{given}{best} scores highest ({value:+.2f} {name} over {second}), "
                "but this test is too short to say whether that would hold on another stretch."
                if abs(value) >= 0.005
                else f"{given}{best} and {second} differ by less than 0.005 {name}."
            )
        where = "on held-out blocks of this recording"
        if low > 0:
            return (
                f"{given}{best} predicts better than {second} {where}: "
                f"{value:+.2f} {name}, 95 % interval {low:+.2f} to {high:+.2f}."
            )
        return (
            f"{given}{best} and {second} cannot be told apart {where}: "
            f"{value:+.2f} {name}, 95 % interval {low:+.2f} to {high:+.2f}."
        )

    def _given(self, *models: str) -> str:
        """How a sentence on models begins that see no more than the stimulus; else nothing."""
        alike = all(self.told(model) == "stimulus" for model in models)
        return "From the stimulus, " if alike else ""

    def _about_ceiling(self) -> str:
        ceiling = float(self.details["ceiling"].sel(ceiling_kind="cc_max").mean())
        scores = {model: self.value(model, "pearson_r") for model in self.comparison.models}
        known = {model: value for model, value in scores.items() if np.isfinite(value)}
        if not known or not np.isfinite(ceiling):
            return "Without a repeated stimulus nothing can be said about the noise ceiling."
        best = max(known, key=known.get)
        if " + " in self.told(best):
            return (
                f"On the repeated movie {best} reaches r {known[best]:.2f}; the ceiling of "
                f"{ceiling:.2f} is that of the stimulus alone and bounds no model that knows more."
            )
        return (
            f"On the repeated movie {best} reaches r {known[best]:.2f} of at most {ceiling:.2f}; "
            "this holds for this movie, not for other stimuli or animals."
        )

    def headline(self) -> str:
        heldout = self.facts["heldout_scored_s"]
        width = self.facts["bin_width_s"] * 1e3
        return f"held out: {heldout:.3g} s scored, {width:.3g} ms bins, {self.pooling(self.metric)}"

    def test_headline(self) -> str:
        return (
            f"test movie: {self.facts['test_scored_s']:.3g} s x {self.facts['n_trials']} repeats, "
            f"{self.pooling('pearson_r')}"
        )
