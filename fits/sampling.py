"""Contiguous stretches of a recording, from which batches are made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.datasets.blocks import Block
from neuromodels.fits.covariates import covariates_of


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


class Batch(NamedTuple):
    """Segments of equal length.

    Attributes
    ----------
    stimulus : torch.Tensor
        (segment, lead_in + bin, channel, y, x), as stored.
    counts : torch.Tensor
        (segment, bin, neuron).
    weight : torch.Tensor
        (segment, bin, 1).
    covariates : torch.Tensor or None
        (segment, lead_in + bin, covariate), in their own units; None for a model that has none.
    """

    stimulus: Tensor
    counts: Tensor
    weight: Tensor
    covariates: Tensor | None

    @property
    def given(self) -> dict[str, Tensor]:
        """What a model is given besides the stimulus, by the name of the argument."""
        return {} if self.covariates is None else {"covariates": self.covariates}


def read_batch(chosen: list[Segment], model: nn.Module, most: int | None = None) -> Iterator[Batch]:
    """Stimulus, counts, weights and covariates of segments, stacked by length.

    Parameters
    ----------
    chosen : list of Segment
        Of one batch.
    model : torch.nn.Module
        Keeps the model contract: its lead-in and covariates are read.
    most : int, optional
        Bins of stimulus that are held at once: the batch comes in as many parts as that needs.

    Yields
    ------
    Batch
    """
    lead_in = model.lead_in
    by_length: dict[int, list[Segment]] = {}
    for segment in chosen:
        by_length.setdefault(segment.stop - segment.start, []).append(segment)
    for group in _parts(list(by_length.values()), lead_in, most):
        movies = [s.block.movie(s.start - lead_in, s.stop) for s in group]
        counts = [s.block.response[s.start : s.stop] for s in group]
        extra = [covariates_of(model, s.block, s.start - lead_in, s.stop) for s in group]
        yield Batch(
            torch.from_numpy(np.stack(movies)),
            torch.from_numpy(np.stack(counts).astype(np.float32)),
            torch.from_numpy(np.stack([s.weight for s in group]))[..., None],
            None if extra[0] is None else torch.cat(extra),
        )


def _parts(groups: list[list[Segment]], lead_in: int, most: int | None) -> Iterator[list[Segment]]:
    """Groups of equal length, cut so that none holds more than `most` bins of stimulus."""
    for group in groups:
        length = group[0].stop - group[0].start
        if most is None or len(group) * (lead_in + length) <= most:
            yield group
            continue
        together = max(1, most // (lead_in + length))
        for first in range(0, len(group), together):
            some = group[first : first + together]
            step = max(1, min(length, most - lead_in))
            for start in range(0, length, step):
                inside = slice(start, min(start + step, length))
                yield [
                    replace(
                        segment,
                        start=segment.start + inside.start,
                        stop=segment.start + inside.stop,
                        weight=segment.weight[inside],
                    )
                    for segment in some
                ]
