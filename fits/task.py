"""What all models of a comparison share: data, splits, normalization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import memory_bound
from neuromodels.datasets.image_recording import ImageRecording
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.splits import Partition, partition
from neuromodels.encoding.base import Input
from neuromodels.fits.predictions import RUNAWAY_FACTOR

#: Bins of a fit unless told otherwise, s.
BIN_WIDTH = 0.010
#: Values of the movie read at once for its mean and variance.
_READ_VALUES = 20_000_000
#: Of each: as stored, gathered bin by bin, and in double precision.
_VALUE_BYTES = 16


@dataclass(frozen=True)
class Task:
    """One recording, made ready to fit models to.

    Attributes
    ----------
    recording : Recording
        At the bin width of the fit.
    stimulus : str
        Name of the stimulus fitted.
    partition : Partition
        Blocks to train on, to choose on, and to score on.
    data : Input
        What a model must know about the recording.
    mean_rate : numpy.ndarray
        (neuron,), spikes per bin in training: the reference of bits per spike.
    notes : tuple of str
        What `validate` and the splits had to say.
    """

    recording: Recording
    stimulus: str
    partition: Partition
    data: Input
    mean_rate: np.ndarray
    notes: tuple[str, ...]

    @property
    def max_rate(self) -> np.ndarray:
        """(neuron,): simulated rates above this run away and are capped, spikes per bin."""
        largest = np.max([block.response.max(axis=0) for block in self.partition.train], axis=0)
        return RUNAWAY_FACTOR * np.maximum(largest, 1).astype(float)

    def roles(self) -> dict[str, list[Block]]:
        """Blocks that are scored, by role."""
        return {"heldout": self.partition.heldout, "test": self.partition.test}

    def description(self) -> dict[str, Any]:
        """What is stored with every result."""
        return {
            "source": self.recording.source,
            "identity": self.recording.identity,
            "stimulus": self.stimulus,
            "bin_width_s": self.data.bin_width,
            "splits": self.partition.description,
        }


def default_bin_width(recording: Recording) -> float:
    """10 ms where the stored bins divide it, else the nearest wider multiple of them, s."""
    stored = recording.stored_bin_width
    return stored * max(1, int(np.ceil(BIN_WIDTH / stored - 1e-9)))


def _moments(blocks: list[Block]) -> tuple[float, float]:
    """Mean and standard deviation of the movie, all pixels, as it was shown bin by bin."""
    count, total, squares = 0, 0.0, 0.0
    for block in blocks:
        values = min(_READ_VALUES, memory_bound() // (8 * _VALUE_BYTES))
        step = max(1, values // math.prod(block.frame_shape))
        for start in range(0, block.n_bins, step):
            movie = block.movie(start, min(start + step, block.n_bins)).astype(np.float64)
            count += movie.size
            total += movie.sum()
            squares += np.square(movie, out=movie).sum()
    mean = total / count
    return mean, float(np.sqrt(max(squares / count - mean**2, 0.0)))


def prepare(
    recording: Recording, *, bin_width: float | None = None, stimulus: str | None = None
) -> Task:
    """Check a recording, split it and normalize it.

    Parameters
    ----------
    recording : Recording
        Spike counts.
    bin_width : float, optional
        s; `default_bin_width` if not given.
    stimulus : str, optional
        Which one, if there are several.

    Returns
    -------
    Task
        What every model of a comparison is fitted to and scored on.

    Raises
    ------
    InputError
        The recording has errors, holds no spike counts, no training blocks, or a stimulus that
        never changes.
    """
    if isinstance(recording, ImageRecording):
        raise InputError(
            "holds responses to pictures, and these models are fitted to movies.",
            where=recording.source,
            remedy="See it with `neuromodels inspect`, or read it with recording.role() for a fit "
            "of your own.",
        )
    report = recording.validate()
    report.raise_errors()
    view = recording.at(default_bin_width(recording) if bin_width is None else bin_width)
    if stimulus is None and len(view.stimuli) == 1:
        stimulus = view.stimuli[0]
    train = view.role("train", stimulus)
    kind = train["response"].attrs.get("kind")
    if kind != "count":
        raise InputError(
            f"holds a {kind}, but these models are fitted to spike counts.",
            where=f"{recording.source}: response",
            remedy="Give spike times or counts per bin (kind = 'count').",
        )
    split = partition(view, stimulus)
    for name, blocks in (("train", split.train), ("validation", split.validation)):
        if not blocks:
            raise InputError(
                f"no {name} blocks are left.",
                where=f"{recording.source}: splits",
                remedy="Record a longer unrepeated stretch, or give more blocks.",
            )
    mean, std = _moments(split.train)
    if std == 0:
        raise InputError(
            "the stimulus never changes in training.",
            where=f"{recording.source}: stimulus",
            remedy="Choose a stimulus that varies.",
        )
    counts = np.concatenate([block.response for block in split.train])
    data = Input(
        movie_shape=split.train[0].frame_shape,
        neurons=tuple(str(n) for n in view.neurons),
        bin_width=view.bin_width,
        mean=mean,
        std=std,
    )
    found = [f"{note.where.rpartition(': ')[2]}: {note.what}" for note in report.notes]
    notes = tuple([*view.attrs.get("notes", []), *found])
    return Task(view, stimulus, split, data, counts.mean(axis=0), notes)
