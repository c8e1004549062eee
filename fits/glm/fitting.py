"""Fitting LN models and GLMs: convex where they are convex, to a stated gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuromodels.datasets.splits import Partition
from neuromodels.encoding.base import EncodingModel, Input
from neuromodels.encoding.bases import lead_in_of
from neuromodels.fits.glm.cropping import Crops, View, make_crops
from neuromodels.fits.glm.curvature import Gram, compute_gram
from neuromodels.fits.glm.design import Design, Weights
from neuromodels.fits.glm.lowrank import LowRankFit, fit_low_rank
from neuromodels.fits.glm.regressors import make_design, penalties
from neuromodels.fits.glm.selection import (
    Selection,
    select_penalty,
    select_penalty_of_one,
    validation_scores,
)
from neuromodels.fits.glm.solver import GLMSolution, fit_glm
from neuromodels.fits.likelihoods import Likelihood, settle
from neuromodels.fits.memory import regressor_gb
from neuromodels.fits.options import ConvexOptions
from neuromodels.fits.outcome import Outcome, history_dataset
from neuromodels.fits.progress import Progress
from neuromodels.fits.windows import candidate_histories, longest_lead_in
from neuromodels.models import ModelSpec

#: Gradient at which the fits that compare windows stop.
SEARCH_TOLERANCE = 1e-4


@dataclass(frozen=True)
class _Window:
    """Regressors of one window, to fit on and to choose on.

    Traces are standardized; `shift` and `factor` take a drive back to their units.
    """

    history: float
    model: EncodingModel
    design: Design
    counts: np.ndarray
    check: Design
    check_counts: np.ndarray
    gram: Gram
    family: dict[str, str]
    shift: np.ndarray
    factor: np.ndarray

    def score(self, options: ConvexOptions) -> np.ndarray:
        """Validation score of every neuron, with the penalty in the middle of the list."""
        candidates, _ = penalties(self.model, options)
        solution = fit_glm(
            self.design,
            self.counts,
            penalty=candidates[len(candidates) // 2],
            tolerance=SEARCH_TOLERANCE,
            gram=self.gram,
            **self.family,
        )
        reference = self.counts.mean(axis=0)
        return validation_scores(
            self.check, self.check_counts, solution.weights, reference, **self.family
        )


def _mean_score(scores: np.ndarray) -> float:
    scored = np.isfinite(scores)
    return float(scores[scored].mean()) if scored.any() else -np.inf


def _window(
    spec: ModelSpec,
    likelihood: Likelihood,
    view: View,
    options: ConvexOptions,
    history: float,
    score_from: int,
) -> _Window:
    # A low-rank filter starts from the full one, and shares its regressors and penalties.
    # Single precision is enough for regressors; the solver's arithmetic is double.
    model = spec.build(view.data, history=history, rank=0).float()
    memory, targets = regressor_gb(options.memory_gb), view.targets
    design, counts = make_design(model, view.train, model.lead_in, memory, targets)
    check, check_counts = make_design(model, view.validation, score_from, memory, targets)
    # For a single neuron the exact covariance is not worth its price.
    gram = compute_gram(design, "kron" if view.cropped else "auto")
    offset, scale = likelihood.scale(counts)
    return _Window(
        history,
        model,
        design,
        likelihood.standardized(counts, offset, scale),
        check,
        likelihood.standardized(check_counts, offset, scale),
        gram,
        {"likelihood": likelihood.name, "nonlinearity": model.options.nonlinearity},
        *likelihood.drive_units(offset, scale),
    )


@dataclass(frozen=True)
class _Fitted:
    """What came of one view."""

    view: View
    selection: Selection
    strengths: list[tuple[float, float]]
    low: LowRankFit | None
    spiking: np.ndarray
    shift: np.ndarray
    factor: np.ndarray

    @property
    def solution(self) -> GLMSolution:
        return self.selection.solution if self.low is None else self.low.solution

    def give(self, model: EncodingModel) -> None:
        """Put the weights into the model of the whole frame; the stimulus filter into its window.

        Weights outside the window stay 0.
        """
        fitted, neurons = self.solution.weights, self.view.neurons
        weights = Weights(
            self.shift + self.factor * fitted.intercept, self.factor * fitted.shared, fitted.own
        )
        n_basis, shape = model.stimulus.window.n_basis, self.view.data.movie_shape
        n_stimulus = n_basis * self.view.data.n_pixels
        first_covariate = len(weights.shared) - len(model.input.covariates)
        rows, columns = self.view.window
        with torch.no_grad():
            model.bias[neurons] = torch.from_numpy(weights.intercept)
            if model.covariate is not None:
                told = torch.from_numpy(weights.shared[first_covariate:])
                model.covariate.weight[:, neurons] = told
            if self.low is not None:
                temporal = torch.from_numpy(self.factor * self.low.temporal)
                model.stimulus.temporal[..., neurons] = temporal
                spatial = self.low.spatial.reshape(-1, *shape, len(neurons))
                window = model.stimulus.spatial[:, :, rows, columns]
                window[..., neurons] = torch.from_numpy(spatial)
                return
            filters = weights.shared[:n_stimulus].reshape(n_basis, *shape, len(neurons))
            window = model.stimulus.weight[:, :, rows, columns]
            window[..., neurons] = torch.from_numpy(filters)
            if model.uses_spikes:
                model.own[:, neurons] = torch.from_numpy(weights.own)
                if model.options.coupling:
                    sources = len(self.view.data.neurons)
                    coupling = weights.shared[n_stimulus:first_covariate]
                    coupling = coupling.reshape(-1, sources, len(neurons))
                    model.coupling[:, :, neurons] = torch.from_numpy(coupling)


def _fit_window(spec: ModelSpec, view: View, options: ConvexOptions, window: _Window) -> _Fitted:
    """Choose the penalties of every neuron of a view and fit it."""
    wanted = spec.resolve()
    candidates, strengths = penalties(window.model, options)
    solver = {
        **window.family,
        "tolerance": options.tolerance,
        "max_iterations": options.max_iterations,
    }
    # A neuron with regressors of its own is fitted with all penalties at once.
    select = select_penalty_of_one if view.cropped else select_penalty
    selection = select(
        window.design,
        window.counts,
        window.check,
        window.check_counts,
        candidates,
        gram=window.gram,
        **solver,
    )
    low = None
    if wanted.rank:
        n_basis = window.model.stimulus.window.n_basis
        low = fit_low_rank(
            window.design,
            window.counts,
            selection,
            rank=wanted.rank,
            n_basis=n_basis,
            n_rest=len(window.model.input.covariates),
            **solver,
        )
    return _Fitted(
        view,
        selection,
        strengths,
        low,
        window.counts.any(axis=0),
        window.shift,
        window.factor,
    )


def _search(
    spec: ModelSpec,
    likelihood: Likelihood,
    crops: Crops,
    options: ConvexOptions,
    histories: Sequence[float],
    score_from: int,
    progress: Progress,
) -> tuple[list[float], _Window | None]:
    """Mean validation score of every window of time, over neurons.

    On the whole frame the best one is returned with all that was computed for it; with crops it is
    computed again for each neuron.
    """
    kept = None

    def try_all(view: View) -> list[np.ndarray]:
        nonlocal kept
        found, best = [], -np.inf
        for index, history in enumerate(histories):
            window = _window(spec, likelihood, view, options, history, score_from)
            found.append(window.score(options))
            if crops.side is None:
                score = _mean_score(found[-1])
                note = f"window {history:g} s   validation {score:.3f} {likelihood.unit}"
                progress.update(index + 1, note)
                if score >= best:
                    best, kept = score, window
        return found

    of_views = []
    for view, found in crops.each(try_all, crops.sample()):
        of_views.append(found)
        if crops.side is not None:
            progress.update(len(of_views), f"windows of neuron {crops.data.neurons[view.first]}")
    parts = zip(*of_views, strict=True)
    return [_mean_score(np.concatenate(scores)) for scores in parts], kept


def fit_convex(
    spec: ModelSpec,
    data: Input,
    partition: Partition,
    options: ConvexOptions,
    *,
    seed: int,  # noqa: ARG001 - a convex fit has no chance in it
    search_seed: int,  # noqa: ARG001
    store: Path | None,  # noqa: ARG001 - seconds long: an interrupted fit starts again
    search_store: Path | None,  # noqa: ARG001
    progress: Progress,
) -> Outcome:
    """Fit an LN model or a GLM; validation blocks choose its window and penalties per neuron.

    Parameters
    ----------
    spec : ModelSpec
        "ln", "glm" or "glm-coupled".
    data : Input
        Frames, neurons, bin width and normalization.
    partition : Partition
        Training and validation blocks; nothing else is looked at.
    options : ConvexOptions
        Candidates and tolerance.
    seed, search_seed, store, search_store
        Not needed: the objective has one minimum.
    progress : Progress
        Told after every window.

    Returns
    -------
    Outcome
        Fitted model; diagnostics give value, gradient, iterations and penalties per neuron.

    Notes
    -----
    Objective per neuron: mean over bins of λ − y log λ, plus ½ ridge ‖k‖² + ½ smoothness ‖Dk‖²
    (second differences over space) + ½ history_ridge ‖h‖² (couplings included) + ½ covariate_ridge
    ‖w‖². A full filter makes it convex for both nonlinearities (Paninski 2004); a low-rank filter
    starts from the full one and is fitted by alternation, see `neuromodels.fits.glm.lowrank`.

    For rates and traces λ − y log λ becomes ½ (y − μ)² with a linear μ (Gaussian; ridge
    regression), or log μ + y/μ with μ an exp (Gamma), see `neuromodels.fits.likelihoods`. Both are
    fitted in units of the trace's training standard deviation or mean, so that strengths of
    penalties mean the same whatever its units.
    """
    spec, likelihood = settle(spec, options, data)
    likelihood.check([*partition.train, *partition.validation], data)
    wanted = spec.resolve()
    histories = candidate_histories(wanted.history, partition, data.bin_width, wanted.delay)
    score_from = longest_lead_in(histories, data.bin_width, wanted.delay)
    crops = make_crops(data, partition, options, wanted, max(histories))
    probe = spec.build(crops.input, history=histories[0])
    if probe.uses_spikes:
        score_from = max(score_from, lead_in_of(probe.history_lags))
    searching = len(histories) > 1
    steps = 0
    if searching:
        steps = len(histories) if crops.side is None else len(crops.sample())
    progress.start(spec.name, steps + len(crops.groups()))
    history, kept, search = histories[0], None, {}
    if searching:
        scores, kept = _search(spec, likelihood, crops, options, histories, score_from, progress)
        # Of equals the longest: the more distant past did no harm.
        history = max(zip(scores, histories, strict=True))[1]
        search = {
            "search": ("candidate_history", np.array(scores)),
            "candidate_history": np.array(histories),
        }

    def fit_view(view: View) -> _Fitted:
        window = kept or _window(spec, likelihood, view, options, history, score_from)
        return _fit_window(spec, view, options, window)

    model = spec.build(data, history=history)
    fitted: list[_Fitted] = []
    for view, one in crops.each(fit_view):
        one.give(model)
        fitted.append(one)
        if crops.side is not None:
            progress.update(steps + len(fitted), f"neuron {data.neurons[view.first]}")
    return _outcome(
        model, fitted, crops, likelihood, history, histories, score_from, search, progress
    )


def _outcome(
    model: EncodingModel,
    fitted: list[_Fitted],
    crops: Crops,
    likelihood: Likelihood,
    history: float,
    histories: Sequence[float],
    score_from: int,
    search: dict[str, Any],
    progress: Progress,
) -> Outcome:
    """Put together what the views say, and tell how the fit ended."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(one.solution, name) for one in fitted])

    strengths = fitted[0].strengths
    validation = np.concatenate([one.selection.scores for one in fitted], axis=1)
    chosen = np.array([strengths[i] for one in fitted for i in one.selection.chosen])
    score = _mean_score(validation.max(axis=0))
    spiking = np.concatenate([one.spiking for one in fitted])
    converged, gradient = joined("converged"), joined("gradient_norm")
    n_left = int((spiking & ~converged).sum())
    worst = float(np.max(gradient[spiking], initial=0.0))
    stopped = (
        f"{n_left} of {spiking.sum()} neurons did not converge"
        if n_left
        else f"converged (gradient {worst:.0e})"
    )
    if n_silent := int((~spiking).sum()):
        # Its most likely rate is 0, which no finite weights give.
        of_what = "spikes" if likelihood.name == "poisson" else "a response"
        stopped += f", {n_silent} neuron{'s' * (n_silent > 1)} without {of_what}"
    progress.finish(f"{stopped}, window {history:g} s{crops.note()}")
    return Outcome(
        model=model,
        history=history_dataset({"validation": [score]}, "iteration", likelihood.metric),
        diagnostics={
            "value": ("neuron", joined("value")),
            "iterations": ("neuron", joined("iterations")),
            "gradient_norm": ("neuron", gradient),
            "converged": ("neuron", converged.astype(np.int8)),
            "message": ("neuron", joined("message")),
            "ridge": ("neuron", chosen[:, 0]),
            "smoothness": ("neuron", chosen[:, 1]),
            "validation": (("candidate_penalty", "neuron"), validation),
            "candidate_penalty": np.arange(len(strengths)),
            "candidate_ridge": (("candidate_penalty",), np.array([r for r, _ in strengths])),
            "candidate_smoothness": (("candidate_penalty",), np.array([s for _, s in strengths])),
            **crops.diagnostics(),
            **search,
        },
        summary={
            "chosen_history": history,
            "history_candidates": list(histories),
            "likelihood": likelihood.name,
            f"validation_{likelihood.metric}": score,
            "validation_from_bin": score_from,
            "stopped": stopped,
            "converged": n_left == 0,
            "largest_gradient": worst,
            **crops.summary(bool(search)),
            **likelihood.remarked(crops.partition.train),
        },
    )
