"""What the weights of an LN model or GLM multiply, and what their size costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from neuromodels.datasets.blocks import Block
from neuromodels.encoding.base import EncodingModel
from neuromodels.fits.covariates import covariates_of
from neuromodels.fits.glm.design import Design
from neuromodels.fits.glm.penalties import QuadraticPenalty, ridge, smoothness
from neuromodels.fits.options import ConvexOptions
from neuromodels.options import OptionError

#: Stretches of regressors that are in memory at once while they stream, at most: those that
#: threads work on, and the next.
STRETCHES = 8
#: Bins of a stretch, at least.
MIN_STRETCH = 64


def regressors(
    model: EncodingModel, block: Block, start: int, targets: Sequence[int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """What the weights of an LN model or GLM multiply, for the bins of one block from `start` on.

    Parameters
    ----------
    model : LN or GLM
        Its own windows and bases make the regressors, so that fit and prediction agree.
    block : Block
        Unrepeated.
    start : int
        First bin, at least the model's lead-in.
    targets : sequence of int
        Neurons of the model that are fitted.

    Returns
    -------
    shared : numpy.ndarray
        (bin, column), float32: stimulus (basis, pixel), coupling (basis, source neuron), and
        covariates, normalized.
    own : numpy.ndarray or None
        (bin, target, basis), float32: each neuron's own past.
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
            own = model.history_features(spikes[None, :, targets], "own")[0].transpose(1, 2)
            own = np.ascontiguousarray(own.numpy(), dtype=np.float32)
        covariates = covariates_of(model, block, start)
        if covariates is not None:
            columns.append(model.covariate.normalized(covariates)[0])
        shared = torch.cat(columns, 1).numpy().astype(np.float32)
    return shared, own


def _column_counts(model: EncodingModel) -> tuple[int, int, int]:
    """Shared columns of a design: of the stimulus, of couplings, of covariates."""
    n_stimulus, n_coupling = model.stimulus.window.n_basis * model.input.n_pixels, 0
    if model.uses_spikes and model.options.coupling:
        n_coupling = model.coupling_basis.shape[1] * len(model.input.neurons)
    return n_stimulus, n_coupling, len(model.input.covariates)


def _stretches(blocks: list[Block], start: int, longest: int) -> list[Block]:
    """Blocks with more than `longest` usable bins cut into several; each begins with its past."""
    found = []
    for block in blocks:
        usable = block.n_bins - start
        pieces = -(-usable // longest)
        edges = [start + usable * i // pieces for i in range(pieces + 1)]
        for first, stop in zip(edges[:-1], edges[1:], strict=True):
            found.append(block if pieces == 1 else block.cut(first - start, stop))
    return found


def make_design(
    model: EncodingModel,
    blocks: list[Block],
    start: int,
    memory_gb: float,
    targets: Sequence[int],
) -> tuple[Design, np.ndarray]:
    """Regressors and counts of the target neurons, all bins from `start` on in every block.

    Above `memory_gb` the regressors are computed anew whenever they are needed.

    Returns
    -------
    design : Design
    counts : numpy.ndarray
        (bin, target).

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
    counts = np.concatenate([block.response[start:, targets] for block in usable])
    n_neurons = len(model.input.neurons)
    n_basis, n_pixels = model.stimulus.window.n_basis, model.input.n_pixels
    n_stimulus, n_coupling, n_covariates = _column_counts(model)
    n_own, mask = 0, None
    if model.uses_spikes:
        n_own = model.own_basis.shape[1]
        if n_coupling:
            mask = np.ones((n_stimulus + n_coupling + n_covariates, n_neurons), dtype=bool)
            # Columns run over (basis, source): a neuron is not its own source.
            itself = np.tile(np.eye(n_neurons, dtype=bool), (model.coupling_basis.shape[1], 1))
            mask[n_stimulus : n_stimulus + n_coupling] = ~itself
            mask = mask[:, targets]
    n_columns = n_stimulus + n_coupling + n_covariates + n_own * len(targets)
    size = 4 * len(counts) * n_columns
    kron = (n_basis, n_pixels)
    row_bytes = size // len(counts)
    # A stretch is read as frames, normalized, and laid out on the basis.
    longest = int(memory_gb * 1e9 / STRETCHES / (2 * row_bytes + 16 * model.input.n_pixels))
    usable = _stretches(usable, start, max(MIN_STRETCH, longest))
    if size <= memory_gb * 1e9:
        shared = own = None
        done = 0
        for block in usable:
            part, own_part = regressors(model, block, start, targets)
            if shared is None:
                shared = np.empty((len(counts), part.shape[1]), part.dtype)
                if own_part is not None:
                    own = np.empty((len(counts), *own_part.shape[1:]), own_part.dtype)
            rows = slice(done, done + len(part))
            shared[rows] = part
            if own is not None:
                own[rows] = own_part
            done += len(part)
        return Design(shared, own, mask, kron=kron), counts
    design = Design.from_blocks(
        lambda i: regressors(model, usable[i], start, targets), len(usable), mask=mask, kron=kron
    )
    return design, counts


def penalties(
    model: EncodingModel, options: ConvexOptions
) -> tuple[list[QuadraticPenalty], list[tuple[float, float]]]:
    """All candidates, strongest ridge first within each smoothness, and their strengths."""
    n_stimulus, n_coupling, n_covariates = _column_counts(model)
    first_covariate = n_stimulus + n_coupling
    total = first_covariate + n_covariates
    terms = (
        ridge(total, 0, n_stimulus),
        smoothness(model.stimulus.window.n_basis, model.input.movie_shape, n_columns=total),
        ridge(total, n_stimulus, first_covariate, name="coupling_ridge"),
        ridge(total, first_covariate, total, name="covariate_ridge"),
    )
    fixed = (options.history_ridge, options.covariate_ridge)
    strengths = [(r, s) for s in options.smoothness for r in sorted(options.ridge, reverse=True)]
    candidates = [
        QuadraticPenalty(terms, (r, s, *fixed), own=options.history_ridge) for r, s in strengths
    ]
    return candidates, strengths
