"""The one way from a model and a stretch of recording to rates."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from neuromodels.datasets.blocks import Block
from neuromodels.fits.covariates import covariates_of, mean_over_trials, n_told_apart
from neuromodels.fits.memory import bytes_per_bin, share

#: Outputs computed at once; bounds memory, and nothing else depends on it.
CHUNK = 4096
#: Values that a chunk of stimulus may hold before the chunk is made shorter.
CHUNK_VALUES = 2_000_000
#: Bytes that a value of the stimulus may cost in a model; above, the cost is measured.
WORST_BYTES = 512
N_RUNS = 200
#: A simulated rate above so many times the largest training count per bin is capped.
RUNAWAY_FACTOR = 10.0


@dataclass(frozen=True)
class Prediction:
    """Rates of one block, float32, spikes per bin; NaN before a model's lead-in.

    Attributes
    ----------
    rate : numpy.ndarray
        (bin, neuron): from the stimulus alone, or the mean of free-running simulations; the mean
        over trials where each has covariates of its own.
    conditional : numpy.ndarray or None
        Given the recorded spikes: (bin, neuron), or (trial, bin, neuron) with repeats.
    capped : numpy.ndarray or None
        Share of simulated draws whose rate was capped, (neuron,).
    adjusted : numpy.ndarray or None
        (bin, neuron): `rate` with gain and offset refitted to a stimulus not learned from.
    """

    rate: np.ndarray
    conditional: np.ndarray | None = None
    capped: np.ndarray | None = None
    adjusted: np.ndarray | None = None


class _Stimulus:
    """A block's movie that `simulate` takes piece by piece, as it would a tensor.

    Shape (1, bin, channel, y, x); only slices over bins are read.
    """

    def __init__(self, model: nn.Module, block: Block):
        self._block = block
        self.bins_at_once = None
        if share(1 / 4) < WORST_BYTES * CHUNK_VALUES:
            self.bins_at_once = _bins_within_bound(model, block)
        self.shape = (1, block.n_bins, *block.frame_shape)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: tuple[slice, slice]) -> torch.Tensor:
        start, stop, _ = key[1].indices(self.shape[1])
        return torch.from_numpy(self._block.movie(start, stop))[None]


def _run(
    model: nn.Module, block: Block, start: int, stop: int, spikes: torch.Tensor | None = None
) -> np.ndarray:
    """Rates of bins `start` + lead-in to `stop`: (trial, bin, neuron), or one for all trials."""
    seen = [torch.from_numpy(block.movie(start, stop))[None]]
    if spikes is not None:
        seen.append(spikes)
    covariates = covariates_of(model, block, start, stop)
    given = {} if covariates is None else {"covariates": covariates}
    return model(*seen, **given).numpy()


def _trial_chunk(model: nn.Module, block: Block, n_trials: int) -> int:
    """Outputs computed at once where each of so many trials has its own."""
    size = _chunk_size(model, block)
    return max(min(size, 64), size // n_trials)


def _chunk_size(model: nn.Module, block: Block) -> int:
    values = math.prod(block.frame_shape)
    lead_in = model.lead_in
    size = max(64, min(CHUNK, CHUNK_VALUES // values - lead_in))
    if 2 * size * values * WORST_BYTES <= share(1 / 2):
        return size
    return min(size, _bins_within_bound(model, block))


def _bins_within_bound(model: nn.Module, block: Block) -> int:
    fixed, each = bytes_per_bin(model, block.frame_shape)
    return max(1, int((share(1 / 2) - fixed) // each))


@torch.no_grad()
def stimulus_rates(model: nn.Module, block: Block) -> np.ndarray:
    """Rates of a stimulus-only model.

    Parameters
    ----------
    model : torch.nn.Module
        Keeps the model contract; used as it is, `eval` or `train`.
    block : Block
        The stretch.

    Returns
    -------
    numpy.ndarray
        (bin, neuron), float32; NaN in the first `lead_in` bins.
    """
    lead_in, n_bins = model.lead_in, block.n_bins
    rates = np.full((n_bins, block.response.shape[-1]), np.nan, dtype=np.float32)
    if hasattr(model, "respond"):
        # Neurons with a state: only what drives them may be computed piece by piece.
        rates[lead_in:] = model.respond(drive_of_block(model, block)).numpy()
        return rates
    size = _trial_chunk(model, block, n_told_apart(model, block))
    for start in range(lead_in, n_bins, size):
        stop = min(start + size, n_bins)
        of_trials = _run(model, block, start - lead_in, stop)
        rates[start:stop] = mean_over_trials(of_trials, block, start)
    return rates


@torch.no_grad()
def drive_of_block(
    model: nn.Module,
    block: Block,
    start: int = 0,
    stop: int | None = None,
    trial: int | None = None,
) -> torch.Tensor:
    """What drives a model whose neurons have a state, bin by bin.

    Parameters
    ----------
    model : torch.nn.Module
        With ``drive(stimulus, spikes)``, which sees `lead_in` bins, and ``respond(drive)``.
    block : Block
        The stretch.
    start, stop : int
        Bins of it that are looked at.
    trial : int, optional
        Whose recorded spikes are given, where the stimulus was repeated and the model sees them.

    Returns
    -------
    torch.Tensor
        (bin, unit), from bin `start` + `lead_in` on.
    """
    lead_in, stop = model.lead_in, block.n_bins if stop is None else stop
    size, parts = _chunk_size(model, block), []
    for first in range(start + lead_in, stop, size):
        last = min(first + size, stop)
        movie = torch.from_numpy(block.movie(first - lead_in, last))[None]
        spikes = None
        if getattr(model, "uses_spikes", False):
            counts = block.response if trial is None else block.response[trial]
            spikes = torch.from_numpy(counts[first - lead_in : last].astype(np.float64))[None]
        parts.append(model.drive(movie, spikes)[0])
    return torch.cat(parts)


@torch.no_grad()
def _conditional(model: nn.Module, block: Block) -> np.ndarray:
    lead_in, n_bins = model.lead_in, block.n_bins
    spikes = block.response.astype(np.float64)
    trials = spikes if spikes.ndim == 3 else spikes[None]
    # A bin whose past was not recorded has no conditional rate: NaN runs through by itself.
    rates = np.full(trials.shape, np.nan, dtype=np.float32)
    if hasattr(model, "respond"):
        for index, rate in enumerate(rates):
            trial = index if spikes.ndim == 3 else None
            rate[lead_in:] = model.respond(drive_of_block(model, block, trial=trial)).numpy()
        return rates if spikes.ndim == 3 else rates[0]
    size = _trial_chunk(model, block, len(trials))
    for start in range(lead_in, n_bins, size):
        stop = min(start + size, n_bins)
        past = torch.from_numpy(np.ascontiguousarray(trials[:, start - lead_in : stop]))
        rates[:, start:stop] = _run(model, block, start - lead_in, stop, past)
    return rates if spikes.ndim == 3 else rates[0]


def predict_block(
    model: nn.Module,
    block: Block,
    *,
    max_rate: np.ndarray | None = None,
    n_runs: int = N_RUNS,
    seed: int = 0,
) -> Prediction:
    """Predict one block in every mode that the model has.

    Parameters
    ----------
    model : torch.nn.Module
        Keeps the model contract.
    block : Block
        The stretch.
    max_rate : numpy.ndarray, optional
        (neuron,), the cap of simulated rates; needed by models with spike history.
    n_runs : int
        Free-running simulations, at least, in all; as many for every trial whose covariates differ.
    seed : int
        Of the simulations; each block draws its own stream.

    Returns
    -------
    Prediction
        Rates, NaN before the lead-in.
    """
    model.eval()
    # The stream depends on where the block lies, not on which blocks were asked for.
    stream = zlib.crc32(f"{seed}/{block.label}/{block.time[0]:.6f}".encode())
    if hasattr(model, "generator"):
        # Only a model whose noise is always on draws from it here.
        model.generator.manual_seed(stream)
    if not getattr(model, "uses_spikes", False):
        return Prediction(stimulus_rates(model, block))
    if max_rate is None:
        raise ValueError("max_rate is needed to simulate a model with spike history.")
    movie = _Stimulus(model, block)
    if math.prod(movie.shape) <= CHUNK_VALUES and movie.bins_at_once is None:
        movie = movie[:, :]
    rate = np.full((block.n_bins, block.response.shape[-1]), np.nan, dtype=np.float32)
    given, cap = {}, torch.as_tensor(max_rate)
    if (covariates := covariates_of(model, block)) is not None:
        given["covariates"] = covariates
        n_runs = math.ceil(n_runs / len(covariates))
    simulated = model.simulate(movie, n_runs, max_rate=cap, seed=stream, **given)
    first = model.stimulus_lead_in
    rate[first:] = mean_over_trials(simulated.rate.numpy(), block, first)
    return Prediction(rate, _conditional(model, block), simulated.capped.numpy())


def predict_blocks(
    model: nn.Module,
    blocks: list[Block],
    *,
    max_rate: np.ndarray | None = None,
    n_runs: int = N_RUNS,
    seed: int = 0,
) -> list[Prediction]:
    """`predict_block` for every block that is longer than the lead-in; NaN for the others."""
    found = []
    for block in blocks:
        if block.n_bins > model.lead_in:
            found.append(predict_block(model, block, max_rate=max_rate, n_runs=n_runs, seed=seed))
            continue
        shape = block.response.shape
        nothing = np.full((block.n_bins, shape[-1]), np.nan, dtype=np.float32)
        spiking = getattr(model, "uses_spikes", False)
        found.append(
            Prediction(
                nothing,
                np.full(shape, np.nan, dtype=np.float32) if spiking else None,
                np.zeros(shape[-1]) if spiking else None,
            )
        )
    return found
