"""The one training loop: every torch model of the package learns here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.datasets.recording import Block
from neuromodels.options import OptionError


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    Attributes
    ----------
    epochs : int
        Passes over the training bins, at most.
    batch_bins : int
        Bins whose loss makes one step.
    segment_bins : int
        Length of the contiguous stretches that a batch is made of, in outputs.
    optimizer : {"adamw", "adam", "rmsprop"}
        Update rule.
    learning_rate : float
        Highest learning rate of the schedule.
    weight_decay : float
        Decoupled weight decay (AdamW); presets use explicit penalties instead.
    schedule : {"one-cycle", "constant", "plateau"}
        "one-cycle" rises over a tenth of the steps and falls to zero as a cosine; "plateau"
        multiplies by 0.2 after 5 epochs without progress on the validation blocks.
    patience : int
        Epochs without progress on the validation blocks before training stops.
    gradient_clip : float
        Largest norm of a step's gradient.
    search_epochs : int
        Length of the short runs that choose among several histories.
    """

    epochs: int = 14
    batch_bins: int = 4096
    segment_bins: int = 512
    optimizer: Literal["adamw", "adam", "rmsprop"] = "adamw"
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    schedule: Literal["one-cycle", "constant", "plateau"] = "one-cycle"
    patience: int = 6
    gradient_clip: float = 1.0
    search_epochs: int = 3

    def __post_init__(self):
        for name in ("epochs", "batch_bins", "segment_bins", "patience", "search_epochs"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} = {getattr(self, name)} must be at least 1.")
        if not self.learning_rate > 0 or not self.gradient_clip > 0 or self.weight_decay < 0:
            raise OptionError(
                "learning_rate and gradient_clip must be positive, weight_decay not negative."
            )


@dataclass(frozen=True)
class Segment:
    """A contiguous stretch of outputs inside one block.

    Attributes
    ----------
    block : Block
        Where it lies.
    start, stop : int
        First and one past the last output bin, counted from the block's start.
    weight : numpy.ndarray
        (bin,): 1 over the number of segments that cover the bin, so that an epoch counts every bin
        once.
    """

    block: Block
    start: int
    stop: int
    weight: np.ndarray


def segments(blocks: list[Block], lead_in: int, length: int) -> list[Segment]:
    """Tile the usable bins of every block with stretches of equal length.

    Parameters
    ----------
    blocks : list of Block
        No stretch crosses the edge of one.
    lead_in : int
        Bins at a block's start that have no full window.
    length : int
        Outputs per stretch; a block with fewer gives one shorter stretch.

    Returns
    -------
    list of Segment
        Every usable bin has total weight 1.
    """
    found = []
    for block in blocks:
        usable = block.n_bins - lead_in
        if usable <= 0:
            continue
        size = min(length, usable)
        starts = np.round(np.linspace(0, usable - size, math.ceil(usable / size))).astype(int)
        covered = np.zeros(usable)
        for start in starts:
            covered[start : start + size] += 1
        for start in starts:
            weight = (1 / covered[start : start + size]).astype(np.float32)
            found.append(Segment(block, lead_in + start, lead_in + start + size, weight))
    return found


def poisson_loss(rate: Tensor, count: Tensor) -> Tensor:
    """Negative Poisson log-likelihood per bin and neuron, without the count's constant."""
    return rate - count * torch.log(rate.clamp_min(1e-8))


def read_batch(chosen: list[Segment], lead_in: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Stimulus, counts and weights of segments, stacked by length.

    Yields
    ------
    stimulus : torch.Tensor
        (segment, lead_in + bin, channel, y, x), as stored.
    counts : torch.Tensor
        (segment, bin, neuron).
    weight : torch.Tensor
        (segment, bin, 1).
    """
    by_length: dict[int, list[Segment]] = {}
    for segment in chosen:
        by_length.setdefault(segment.stop - segment.start, []).append(segment)
    for group in by_length.values():
        movies = [s.block.movie(s.start - lead_in, s.stop) for s in group]
        counts = [s.block.response[s.start : s.stop] for s in group]
        yield (
            torch.from_numpy(np.stack(movies)),
            torch.from_numpy(np.stack(counts).astype(np.float32)),
            torch.from_numpy(np.stack([s.weight for s in group]))[..., None],
        )
