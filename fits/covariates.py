"""What a stretch of recording says of the covariates that a model is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.errors import InputError


def told(model: nn.Module) -> tuple[str, ...]:
    """Names of the covariates that a model is told; none for a model made elsewhere."""
    return getattr(getattr(model, "input", None), "covariates", ())


def check_covariates(names: Sequence[str], blocks: list[Block], where: str) -> None:
    """Refuse blocks that lack a covariate of a model.

    Parameters
    ----------
    names : sequence of str
        Those that the model is told.
    blocks : list of Block
        Of one role.
    where : str
        Which role of which recording, for the error.

    Raises
    ------
    InputError
        Naming the covariate.
    """
    for block in blocks:
        for name in names:
            if name not in block.covariate_names:
                has = ", ".join(block.covariate_names) or "none"
                raise InputError(
                    f"has no covariate {name!r}, and the model was made with it (it has: {has}).",
                    where=f"{where}: covariates",
                    remedy="Attach it to the recording, NaN where it was not measured (taken at "
                    "its mean), or use a model without it.",
                )


def covariates_of(
    model: nn.Module, block: Block, start: int = 0, stop: int | None = None
) -> Tensor | None:
    """Covariates that a model is told in some bins of a block, in its own order.

    Parameters
    ----------
    model : torch.nn.Module
        Keeps the model contract.
    block : Block
        The stretch.
    start, stop : int
        Bins of it.

    Returns
    -------
    torch.Tensor or None
        (1, bin, covariate), or (trial, bin, covariate) where each trial has its own, float64; None
        for a model that is told none.

    Raises
    ------
    InputError
        The block lacks one of them.
    """
    names = told(model)
    if not names:
        return None
    check_covariates(names, [block], f"block {block.label}")
    chosen = [block.covariate_names.index(name) for name in names]
    values = block.covariates[..., start:stop, :][..., chosen].astype(np.float64)
    return torch.from_numpy(values if values.ndim == 3 else values[None])


def n_told_apart(model: nn.Module, block: Block) -> int:
    """Trials of a block that a stimulus-only model tells apart: those with own covariates, or 1."""
    own = bool(told(model)) and block.covariates is not None and block.covariates.ndim == 3
    return len(block.covariates) if own else 1


def mean_over_trials(rates: np.ndarray, block: Block, start: int) -> np.ndarray:
    """Mean rate over the trials that were recorded in each bin.

    Parameters
    ----------
    rates : numpy.ndarray
        (trial, bin, neuron), each given the covariates of its own trial; or one for all.
    block : Block
        Where the trials come from.
    start : int
        Bin of the block that the first rates belong to.

    Returns
    -------
    numpy.ndarray
        (bin, neuron). Bins that no trial has recorded get the mean over all.
    """
    recorded = block.response[..., start : start + rates.shape[1], :]
    if len(rates) == 1 or recorded.dtype.kind != "f":
        return rates.mean(axis=0)
    there = ~np.isnan(recorded).all(axis=-1)
    there[:, ~there.any(axis=0)] = True
    return np.einsum("rb,rbn->bn", there / there.sum(axis=0), rates)


def at_the_mean(block: Block, names: tuple[str, ...]) -> Block:
    """A block that was recorded without covariates, with all of them at their means (NaN)."""
    if not names:
        return block
    missing = np.full((block.n_bins, len(names)), np.nan)
    return replace(block, covariates=missing, covariate_names=names)
