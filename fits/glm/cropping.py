"""Which part of the frame a neuron's stimulus filter may use: a window around its receptive field.

On large frames a filter over all pixels has tens of thousands of weights, nearly all of them on
pixels that the neuron does not see. As is usual (McIntosh et al. 2016), the stimulus is then cut
around the spike-triggered average, and each neuron is fitted on its own part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.frames import read_frames
from neuromodels.datasets.splits import Partition
from neuromodels.encoding.base import Input, StimulusWindow, bins_of
from neuromodels.encoding.bases import lead_in_of, log_raised_cosine, project_past
from neuromodels.encoding.ln import LNOptions
from neuromodels.fits.glm.parallel import ordered_map
from neuromodels.fits.memory import regressor_gb, share
from neuromodels.fits.options import ConvexOptions

#: Stimulus columns (basis × channel × pixel) up to which "auto" leaves the frame whole.
WHOLE_COLUMNS = 4000
#: Stimulus columns of a window that "auto" chooses, at most.
CROP_COLUMNS = 2000
#: Temporal bumps of the spike-triggered average that places the windows.
STA_BASIS = 8
#: Smoothing of that average, pixels.
STA_WIDTH = 1.0
#: Smoothing of its energy, as a share of the window: centres the window on fields with many lobes.
ENERGY_SHARE = 1 / 6
#: Neurons on which windows of time are compared, at most; each costs a fit per window.
SEARCH_NEURONS = 6
#: Stimulus values read at once.
READ_VALUES = 8_000_000
#: Bytes for each: as stored, gathered, in single and in double precision.
READ_BYTES = 24
#: Matrices over all columns that the fit of one neuron holds at once.
WORKING_MATRICES = 24

Result = TypeVar("Result")


@dataclass(frozen=True)
class View:
    """Neurons that are fitted together, and what they are shown.

    Attributes
    ----------
    data : Input
        Frames as large as the window; the neurons whose spikes `train` and `validation` hold.
    train, validation : list of Block
        Cropped.
    targets : list of int
        The neurons of `data` that are fitted; the others are sources of couplings.
    neurons : list of int
        The same among all neurons of the recording.
    corner : (y, x)
        First pixel of the window.
    cropped : bool
        Whether it is a single neuron on its own window.
    """

    data: Input
    train: list[Block]
    validation: list[Block]
    targets: list[int]
    neurons: list[int]
    corner: tuple[int, int] = (0, 0)
    cropped: bool = False

    @property
    def first(self) -> int:
        """The neuron, or the first of them."""
        return self.neurons[0]

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the frame."""
        (y, x), (height, width) = self.corner, self.data.movie_shape[1:]
        return slice(y, y + height), slice(x, x + width)


def crop_side(
    crop: int | Literal["auto"], n_basis: int, movie_shape: tuple[int, int, int]
) -> int | None:
    """Side of the window, pixels; None for the whole frame.

    Parameters
    ----------
    crop : int or "auto"
        Option of the fit.
    n_basis : int
        Temporal basis functions of the filter.
    movie_shape : (channel, y, x)
    """
    channels, height, width = movie_shape
    side = crop
    if crop == "auto":
        if n_basis * channels * height * width <= WHOLE_COLUMNS:
            return None
        fitting = [
            s
            for s in range(1, max(height, width) + 1)
            if n_basis * channels * min(s, height) * min(s, width) <= CROP_COLUMNS
        ]
        side = max(fitting, default=1)
    return None if side == 0 or side >= max(height, width) else side


def _frames_at_once(block: Block) -> int:
    values = min(READ_VALUES, share(1 / 8) // READ_BYTES)
    return max(1, values // int(np.prod(block.frames.shape[1:])))


def spike_triggered_average(blocks: list[Block], n_lags: int, delay: int) -> np.ndarray:
    """Covariance of every neuron's spikes with the stimulus before them, on a few temporal bumps.

    Every frame is read once, however many bins show it.

    Parameters
    ----------
    blocks : list of Block
        Unrepeated.
    n_lags, delay : int
        Window, bins.

    Returns
    -------
    numpy.ndarray
        (neuron, basis, channel, y, x), float32; up to a factor per neuron.
    """
    basis = log_raised_cosine(n_lags, min(STA_BASIS, n_lags))
    basis = torch.from_numpy((basis / np.linalg.norm(basis, axis=0)).astype(np.float32))
    lead_in = lead_in_of(n_lags, delay)
    triggered = stimulus = spikes = None
    n_shown = 0
    for block in blocks:
        shown = np.flatnonzero(block.frame_of_bin >= 0)
        if not shown.size:
            continue
        # The spikes that a bin's frame precedes are the past of the block run backwards.
        counts = torch.from_numpy(block.response[::-1].astype(np.float32))
        counts = torch.nn.functional.pad(counts, (0, 0, lead_in, 0))
        following = project_past(counts[None], basis, delay)[0].flatten(1).numpy()[::-1][shown]
        frames, where, times = np.unique(
            block.frame_of_bin[shown], return_inverse=True, return_counts=True
        )
        weights = np.zeros((len(frames), following.shape[1]), dtype=np.float32)
        np.add.at(weights, where, following)
        step = _frames_at_once(block)
        for first in range(0, len(frames), step):
            some = slice(first, first + step)
            movie = read_frames(block.frames, frames[some])
            movie = movie.reshape(len(movie), -1).astype(np.float32)
            if triggered is None:
                triggered = np.zeros((following.shape[1], movie.shape[1]))
                stimulus, spikes = np.zeros(movie.shape[1]), np.zeros(following.shape[1])
                offset = movie.mean()
            # Sums of single precision keep their digits only near zero.
            movie -= offset
            triggered += weights[some].T @ movie
            stimulus += times[some] @ movie
            spikes += weights[some].sum(axis=0, dtype=np.float64)
            n_shown += int(times[some].sum())
    n_neurons, shape = blocks[0].response.shape[1], blocks[0].frames.shape[1:]
    if triggered is None:
        return np.zeros((n_neurons, basis.shape[1], *shape), dtype=np.float32)
    triggered -= np.outer(spikes, stimulus / n_shown)
    triggered = triggered.reshape(basis.shape[1], n_neurons, *shape).swapaxes(0, 1)
    return triggered.astype(np.float32)


def place_windows(average: np.ndarray, side: int) -> np.ndarray:
    """Where the windows lie: around the most energetic spot of each smoothed average.

    Parameters
    ----------
    average : numpy.ndarray
        (neuron, basis, channel, y, x).
    side : int
        Pixels.

    Returns
    -------
    numpy.ndarray
        First row and column, (neuron, 2), within the frame; the middle of the frame for a neuron
        without an average.
    """
    height, width = average.shape[-2:]
    most = np.array([max(0, height - side), max(0, width - side)])
    corners = []
    for one in average:
        centre = np.array([height // 2, width // 2])
        if one.any():
            smooth = gaussian_filter(one.astype(np.float64), (0, 0, STA_WIDTH, STA_WIDTH))
            energy = gaussian_filter((smooth**2).sum(axis=(0, 1)), side * ENERGY_SHARE)
            centre = np.array(np.unravel_index(energy.argmax(), energy.shape))
        corners.append(np.clip(centre - side // 2, 0, most))
    return np.array(corners, dtype=int)


def crop_blocks(
    blocks: list[Block], corners: Sequence[np.ndarray], shape: tuple[int, int]
) -> list[list[Block]]:
    """The blocks with windows of their frames, in memory: a list of blocks for every corner.

    Parameters
    ----------
    blocks : list of Block
    corners : sequence of (y, x)
    shape : (y, x)
        Of the windows.
    """
    result: list[list[Block]] = [[] for _ in corners]
    for block in blocks:
        index = np.asarray(block.frame_of_bin)
        shown = index[index >= 0]
        first, stop = (int(shown.min()), int(shown.max()) + 1) if shown.size else (0, 0)
        step = _frames_at_once(block)
        pieces: list[list[np.ndarray]] = [[] for _ in corners]
        for start in range(first, max(stop, first + 1), step):
            frames = block.frames[start : min(start + step, stop)]
            for (y, x), held in zip(corners, pieces, strict=True):
                held.append(frames[..., y : y + shape[0], x : x + shape[1]].copy())
        local = np.where(index >= 0, index - first, -1)
        for held, cropped in zip(pieces, result, strict=True):
            cropped.append(replace(block, frames=np.concatenate(held), frame_of_bin=local))
    return result


@dataclass(frozen=True)
class Crops:
    """Which part of the frame each neuron's filter may use.

    Attributes
    ----------
    data : Input
        Of the whole frame.
    partition : Partition
    coupled : bool
        Whether a view needs the spikes of all neurons.
    memory_gb : float
        Bounds the cropped frames and the regressors held at once.
    n_basis : int
        Temporal basis functions of the filter, at most.
    side : int or None
        Of the window, pixels; along an axis that is shorter the window is as long as it. None for
        the whole frame.
    corners : numpy.ndarray
        First row and column, (neuron, 2).
    """

    data: Input
    partition: Partition
    coupled: bool
    memory_gb: float
    n_basis: int
    side: int | None
    corners: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Of the window, (y, x)."""
        height, width = self.data.movie_shape[1:]
        return (
            (height, width)
            if self.side is None
            else (min(self.side, height), min(self.side, width))
        )

    @property
    def input(self) -> Input:
        """Of the windows, with all neurons."""
        return replace(self.data, movie_shape=(self.data.movie_shape[0], *self.shape))

    def groups(self) -> list[list[int]]:
        """Neurons that are fitted together: all on the whole frame, each alone on a window."""
        everyone = list(range(len(self.data.neurons)))
        return [everyone] if self.side is None else [[neuron] for neuron in everyone]

    def sample(self) -> list[int]:
        """Neurons on which windows of time are compared, evenly chosen from those with spikes."""
        everyone = np.arange(len(self.data.neurons))
        if self.side is None:
            return everyone.tolist()
        total = sum(block.response.sum(axis=0) for block in self.partition.train)
        spiking = np.flatnonzero(total) if np.any(total) else everyone
        n = min(SEARCH_NEURONS, len(spiking))
        return spiking[((np.arange(n) + 0.5) * len(spiking) / n).astype(int)].tolist()

    def each(
        self, function: Callable[[View], Result], neurons: list[int] | None = None
    ) -> Iterator[tuple[View, Result]]:
        """Do something with the whole frame, or with each neuron's window; in order."""
        if self.side is None:
            everyone = self.groups()[0]
            partition = self.partition
            view = View(self.data, partition.train, partition.validation, everyone, everyone)
            yield view, function(view)
            return
        bins = sum(block.n_bins for block in (*self.partition.train, *self.partition.validation))
        columns = self.n_basis * self.input.n_pixels
        # Besides its regressors a fit holds some matrices over columns.
        needed = min(4 * bins * columns, self.memory_gb * 1e9) + WORKING_MATRICES * 8 * columns**2
        most = max(1, int(self.memory_gb * 1e9 // needed))
        yield from ordered_map(function, self._views(neurons), most=most)

    def _views(self, neurons: list[int] | None) -> Iterator[View]:
        everyone = list(range(len(self.data.neurons)))
        neurons = everyone if neurons is None else neurons
        blocks = [*self.partition.train, *self.partition.validation]
        n_train = len(self.partition.train)
        n_frames = sum(int(np.ptp(block.frame_of_bin)) + 1 for block in blocks)
        size = n_frames * self.input.n_pixels * blocks[0].frames.dtype.itemsize
        # Frames are read once for as many neurons as a quarter of the memory holds.
        step = max(1, int(self.memory_gb * 0.25e9 // size))
        for first in range(0, len(neurons), step):
            group = neurons[first : first + step]
            cropped = crop_blocks(blocks, self.corners[group], self.shape)
            for neuron, own in zip(group, cropped, strict=True):
                sources = everyone
                if not self.coupled:
                    sources = [neuron]
                    own = [replace(block, response=block.response[:, sources]) for block in own]
                yield View(
                    replace(self.input, neurons=tuple(self.data.neurons[n] for n in sources)),
                    own[:n_train],
                    own[n_train:],
                    [sources.index(neuron)],
                    [neuron],
                    (int(self.corners[neuron, 0]), int(self.corners[neuron, 1])),
                    cropped=True,
                )

    def note(self) -> str:
        """For the end of a line that says how the fit ended."""
        if self.side is None:
            return ""
        return f", filters of {self.shape[0]} × {self.shape[1]} pixels"

    def diagnostics(self) -> dict[str, Any]:
        """Where the windows lie, for the result."""
        if self.side is None:
            return {}
        unit = {"units": "pixel"}
        return {
            "crop_y": ("neuron", self.corners[:, 0], {**unit, "long_name": "first row"}),
            "crop_x": ("neuron", self.corners[:, 1], {**unit, "long_name": "first column"}),
            "crop_side": ((), self.side, unit),
        }

    def summary(self, searched: bool) -> dict[str, Any]:
        """What was done, in words and numbers; nothing for the whole frame."""
        if self.side is None:
            return {}
        told = {
            "crop_side": self.side,
            "crop_y": self.corners[:, 0].tolist(),
            "crop_x": self.corners[:, 1].tolist(),
            "crop": (
                f"Each stimulus filter uses {self.shape[0]} × {self.shape[1]} pixels around the "
                "neuron's spike-triggered average over the training blocks; it is 0 elsewhere."
            ),
        }
        if searched:
            told["history_compared_on"] = [self.data.neurons[n] for n in self.sample()]
        return told


def make_crops(
    data: Input,
    partition: Partition,
    options: ConvexOptions,
    model: LNOptions,
    history: float,
) -> Crops:
    """Decide on the whole frame or on windows, and place these by the training blocks alone.

    Parameters
    ----------
    data : Input
        Of the whole frame.
    partition : Partition
    options : ConvexOptions
        Their `crop`.
    model : LNOptions or GLMOptions
        Temporal basis and delay.
    history : float
        How far back the spike-triggered average looks, s: the longest candidate.
    """
    n_lags = bins_of(history, data.bin_width, "history")
    n_basis = StimulusWindow(n_lags, model.temporal_basis, model.delay).n_basis
    side = crop_side(options.crop, n_basis, data.movie_shape)
    corners = np.zeros((len(data.neurons), 2), dtype=int)
    if side is not None:
        average = spike_triggered_average(partition.train, n_lags, model.delay)
        corners = place_windows(average, side)
    coupled = getattr(model, "coupling", False)
    memory_gb = regressor_gb(options.memory_gb)
    return Crops(data, partition, coupled, memory_gb, n_basis, side, corners)
