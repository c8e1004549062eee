"""Fitting LN models and GLMs: convex where they are convex, to a stated gradient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.splits import Partition
from neuromodels.encoding.base import EncodingModel, Input
from neuromodels.encoding.bases import lead_in_of
from neuromodels.fits.glm.curvature import Gram, compute_gram
from neuromodels.fits.glm.design import Design, Weights
from neuromodels.fits.glm.lowrank import LowRankFit, fit_low_rank
from neuromodels.fits.glm.penalties import QuadraticPenalty, ridge, smoothness
from neuromodels.fits.glm.selection import bits_per_spike, select_penalty
from neuromodels.fits.glm.solver import fit_poisson_glm
from neuromodels.fits.options import ConvexOptions
from neuromodels.fits.outcome import Outcome, history_dataset
from neuromodels.fits.progress import Progress
from neuromodels.fits.windows import candidate_histories, longest_lead_in
from neuromodels.models import ModelSpec
from neuromodels.options import OptionError

#: Gradient at which the fits that compare windows stop.
SEARCH_TOLERANCE = 1e-4


def regressors(model: EncodingModel, block: Block, start: int) -> tuple[np.ndarray, np.ndarray]:
    """What the weights of an LN model or GLM multiply, for the bins of one block from `start` on.

    Parameters
    ----------
    model : LN or GLM
        Its own windows and bases make the regressors, so that fit and prediction agree.
    block : Block
        Unrepeated.
    start : int
        First bin, at least the model's lead-in.

    Returns
    -------
    shared : numpy.ndarray
        (bin, column), float32: stimulus (basis, pixel), then coupling (basis, source neuron).
    own : numpy.ndarray or None
        (bin, neuron, basis), float32: each neuron's own past.
    """
    skip = start - model.stimulus_lead_in
    with torch.no_grad():
        movie = torch.from_numpy(block.movie(skip, block.n_bins))[None]
        stimulus = model.stimulus.window(model.normalize(movie))[0].flatten(1)
        columns, own = [stimulus], None
        if model.uses_spikes:
            spikes = torch.from_numpy(block.response[start - model.lead_in :].astype(np.float32))
            if model.options.coupling:
                columns.append(model.history_features(spikes[None], "coupling")[0].flatten(1))
            own = model.history_features(spikes[None], "own")[0].transpose(1, 2)
            own = np.ascontiguousarray(own.numpy(), dtype=np.float32)
        shared = torch.cat(columns, 1).numpy().astype(np.float32)
    return shared, own


def make_design(
    model: EncodingModel, blocks: list[Block], start: int, memory_gb: float
) -> tuple[Design, np.ndarray]:
    """Regressors and counts of all bins from `start` on in every block.

    Above `memory_gb` the regressors are computed anew whenever they are needed.

    Returns
    -------
    design : Design
    counts : numpy.ndarray
        (bin, neuron).

    Raises
    ------
    OptionError
        No block is longer than `start` bins.
    """
    usable = [block for block in blocks if block.n_bins > start]
    if not usable:
        longest = max(block.n_bins for block in blocks) * model.input.bin_width
        raise OptionError(
            f"the model looks back {start * model.input.bin_width:g} s, as long as every block "
            f"(at most {longest:g} s).",
            remedy="Give shorter histories.",
        )
    counts = np.concatenate([block.response[start:] for block in usable])
    n_neurons = len(model.input.neurons)
    n_basis, n_pixels = model.stimulus.window.n_basis, model.input.n_pixels
    n_stimulus, n_coupling, n_own = n_basis * n_pixels, 0, 0
    mask = None
    if model.uses_spikes:
        n_own = model.own_basis.shape[1]
        if model.options.coupling:
            n_coupling = model.coupling_basis.shape[1] * n_neurons
            mask = np.ones((n_stimulus + n_coupling, n_neurons), dtype=bool)
            # Columns run over (basis, source): a neuron is not its own source.
            itself = np.tile(np.eye(n_neurons, dtype=bool), (model.coupling_basis.shape[1], 1))
            mask[n_stimulus:] = ~itself
    size = 4 * len(counts) * (n_stimulus + n_coupling + n_own * n_neurons)
    kron = (n_basis, n_pixels)
    if size <= memory_gb * 1e9:
        held = [regressors(model, block, start) for block in usable]
        shared = np.concatenate([part for part, _ in held])
        own = None if held[0][1] is None else np.concatenate([part for _, part in held])
        return Design(shared, own, mask, kron=kron), counts
    design = Design.from_blocks(
        lambda i: regressors(model, usable[i], start), len(usable), mask=mask, kron=kron
    )
    return design, counts


def penalties(
    model: EncodingModel, options: ConvexOptions
) -> tuple[list[QuadraticPenalty], list[tuple[float, float]]]:
    """All candidates, strongest ridge first within each smoothness, and their strengths."""
    n_basis = model.stimulus.window.n_basis
    n_stimulus = n_basis * model.input.n_pixels
    n_coupling = 0
    if model.uses_spikes and model.options.coupling:
        n_coupling = model.coupling_basis.shape[1] * len(model.input.neurons)
    total = n_stimulus + n_coupling
    terms = (
        ridge(total, 0, n_stimulus),
        smoothness(n_basis, model.input.movie_shape, n_columns=total),
        ridge(total, n_stimulus, total, name="coupling_ridge"),
    )
    strengths = [(r, s) for s in options.smoothness for r in sorted(options.ridge, reverse=True)]
    candidates = [
        QuadraticPenalty(terms, (r, s, options.history_ridge), own=options.history_ridge)
        for r, s in strengths
    ]
    return candidates, strengths


@dataclass(frozen=True)
class _Window:
    """Regressors of one window, to fit on and to choose on."""

    history: float
    model: EncodingModel
    design: Design
    counts: np.ndarray
    check: Design
    check_counts: np.ndarray
    gram: Gram

    def score(self, penalty: QuadraticPenalty, nonlinearity: str) -> float:
        """Validation bits per spike with one penalty for all, mean over neurons."""
        solution = fit_poisson_glm(
            self.design,
            self.counts,
            penalty=penalty,
            nonlinearity=nonlinearity,
            tolerance=SEARCH_TOLERANCE,
            gram=self.gram,
        )
        reference = self.counts.mean(axis=0)
        scores = bits_per_spike(
            self.check, self.check_counts, solution.weights, reference, nonlinearity
        )
        return _mean_score(scores)


def _mean_score(scores: np.ndarray) -> float:
    scored = np.isfinite(scores)
    return float(scores[scored].mean()) if scored.any() else -np.inf


def _window(
    spec: ModelSpec,
    data: Input,
    partition: Partition,
    options: ConvexOptions,
    history: float,
    score_from: int,
) -> _Window:
    # A low-rank filter starts from the full one, and shares its regressors and penalties.
    # Single precision is enough for regressors; the solver's arithmetic is double.
    model = spec.build(data, history=history, rank=0).float()
    design, counts = make_design(model, partition.train, model.lead_in, options.memory_gb)
    check, check_counts = make_design(model, partition.validation, score_from, options.memory_gb)
    return _Window(history, model, design, counts, check, check_counts, compute_gram(design))


def set_weights(model: EncodingModel, weights: Weights) -> None:
    """Put the solver's weights into the model."""
    n_neurons = len(model.input.neurons)
    n_stimulus = model.stimulus.window.n_basis * model.input.n_pixels
    with torch.no_grad():
        model.bias.copy_(torch.from_numpy(weights.intercept))
        stimulus = weights.shared[:n_stimulus]
        model.stimulus.weight.copy_(torch.from_numpy(stimulus.reshape(model.stimulus.weight.shape)))
        if model.uses_spikes:
            model.own.copy_(torch.from_numpy(weights.own))
            if model.options.coupling:
                coupling = weights.shared[n_stimulus:].reshape(-1, n_neurons, n_neurons)
                model.coupling.copy_(torch.from_numpy(np.ascontiguousarray(coupling)))


def _set_factors(model: EncodingModel, fit: LowRankFit) -> None:
    with torch.no_grad():
        model.bias.copy_(torch.from_numpy(fit.solution.weights.intercept))
        model.stimulus.temporal.copy_(torch.from_numpy(fit.temporal))
        spatial = fit.spatial.reshape(model.stimulus.spatial.shape)
        model.stimulus.spatial.copy_(torch.from_numpy(spatial))


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
    (second differences over space) + ½ history_ridge ‖h‖². A full filter makes it convex for both
    nonlinearities (Paninski 2004); a low-rank filter starts from the full one and is fitted by
    alternation, see `neuromodels.fits.glm.lowrank`.
    """
    wanted = spec.resolve()
    histories = candidate_histories(wanted.history, partition, data.bin_width, wanted.delay)
    score_from = longest_lead_in(histories, data.bin_width, wanted.delay)
    probe = spec.build(data, history=histories[0])
    if probe.uses_spikes:
        score_from = max(score_from, lead_in_of(probe.history_lags))
    searching = len(histories) > 1
    progress.start(spec.name, len(histories) * searching + 1)
    scores: list[float] = []
    best: _Window | None = None
    for index, history in enumerate(histories):
        window = _window(spec, data, partition, options, history, score_from)
        if searching:
            candidates, _ = penalties(window.model, options)
            middle = candidates[len(candidates) // 2]
            scores.append(window.score(middle, wanted.nonlinearity))
            note = f"window {history:g} s   validation {scores[-1]:.3f} bits/spike"
            progress.update(index + 1, note)
        if best is None or scores[-1] == max(scores):
            best = window
    candidates, strengths = penalties(best.model, options)
    selection = select_penalty(
        best.design,
        best.counts,
        best.check,
        best.check_counts,
        candidates,
        nonlinearity=wanted.nonlinearity,
        tolerance=options.tolerance,
        max_iterations=options.max_iterations,
        gram=best.gram,
    )
    score = _mean_score(selection.scores.max(axis=0))
    chosen = np.array([strengths[i] for i in selection.chosen])
    model = spec.build(data, history=best.history)
    solution = selection.solution
    if model.options.rank:
        low = fit_low_rank(
            best.design,
            best.counts,
            selection,
            rank=model.options.rank,
            n_basis=model.stimulus.window.n_basis,
            nonlinearity=model.options.nonlinearity,
            tolerance=options.tolerance,
            max_iterations=options.max_iterations,
        )
        solution = low.solution
        _set_factors(model, low)
    else:
        set_weights(model, solution.weights)
    spiking = best.counts.any(axis=0)
    n_left = int((spiking & ~solution.converged).sum())
    worst = float(np.max(solution.gradient_norm[spiking], initial=0.0))
    stopped = (
        f"{n_left} of {spiking.sum()} neurons did not converge"
        if n_left
        else f"converged (gradient {worst:.0e})"
    )
    if n_silent := int((~spiking).sum()):
        # Its most likely rate is 0, which no finite weights give.
        stopped += f", {n_silent} neuron{'s' * (n_silent > 1)} without spikes"
    progress.finish(f"{stopped}, window {best.history:g} s")
    search = {}
    if searching:
        search = {
            "search": ("candidate_history", np.array(scores)),
            "candidate_history": np.array(histories),
        }
    return Outcome(
        model=model,
        history=history_dataset({"validation": [score]}, "iteration"),
        diagnostics={
            "value": ("neuron", solution.value),
            "iterations": ("neuron", solution.iterations),
            "gradient_norm": ("neuron", solution.gradient_norm),
            "converged": ("neuron", solution.converged.astype(np.int8)),
            "message": ("neuron", solution.message),
            "ridge": ("neuron", chosen[:, 0]),
            "smoothness": ("neuron", chosen[:, 1]),
            "validation": (("candidate_penalty", "neuron"), selection.scores),
            "candidate_penalty": np.arange(len(strengths)),
            "candidate_ridge": (("candidate_penalty",), np.array([r for r, _ in strengths])),
            "candidate_smoothness": (("candidate_penalty",), np.array([s for _, s in strengths])),
            **search,
        },
        summary={
            "chosen_history": best.history,
            "history_candidates": list(histories),
            "validation_bits_per_spike": score,
            "validation_from_bin": score_from,
            "stopped": stopped,
            "converged": n_left == 0,
            "largest_gradient": worst,
        },
    )
