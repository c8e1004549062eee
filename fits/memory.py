"""What a model takes while it runs, and how much of the memory bound a piece of work may use."""

from __future__ import annotations

import math

import torch
from torch import nn

from neuromodels.datasets.frames import memory_bound

#: Share of the bound for a batch of a network; the rest is for movies that are kept, and the model.
BATCH_SHARE = 5 / 8
#: Bytes per value that a layer computes, in single precision, without and with gradients: measured
#: for networks on frames of 50 x 50 and 240 x 240 pixels, rounded up.
PREDICTION_BYTES, TRAINING_BYTES = 4, 5
#: Copies of the stimulus: as stored, in floating point, normalized, laid out for the window.
STIMULUS_COPIES = 4
#: Convolutions on a CPU work on channels in groups of so many, filled up with zeros.
CHANNEL_GROUP = 16
#: Outputs of the two runs whose difference is what one more bin takes.
_FEW, _MORE = 1, 9


def share(part: float) -> int:
    """A part of the memory bound, bytes."""
    return int(part * memory_bound())


def regressor_gb(asked: float) -> float:
    """What the option `memory_gb` asks for, within half of the memory bound, GB."""
    return min(asked, share(1 / 2) / 1e9)


def _size(values: torch.Tensor, channels: int | None = None) -> int:
    if channels is None:
        return values.numel()
    return values.numel() // channels * math.ceil(channels / CHANNEL_GROUP) * CHANNEL_GROUP


@torch.no_grad()
def _values(model: nn.Module, movie_shape: tuple[int, ...], n_outputs: int) -> int:
    """Values that the layers of a model compute for so many outputs, the stimulus among them."""
    n_bins = model.lead_in + n_outputs
    total = STIMULUS_COPIES * n_bins * math.prod(movie_shape)

    def count(module: nn.Module, given: tuple, result: object) -> None:
        nonlocal total
        if not isinstance(result, torch.Tensor):
            return
        if isinstance(module, nn.Conv2d):
            total += _size(given[0], module.in_channels) + _size(result, module.out_channels)
        else:
            total += _size(result)

    layers = [module for module in model.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        stimulus = torch.zeros(1, n_bins, *movie_shape)
        if getattr(model, "uses_spikes", False):
            model(stimulus, torch.zeros(1, n_bins, len(model.input.neurons)))
        else:
            model(stimulus)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def bytes_per_bin(
    model: nn.Module, movie_shape: tuple[int, ...], *, training: bool = False
) -> tuple[int, int]:
    """Memory of a run of a model: before its first output, and for every bin of output.

    Parameters
    ----------
    model : torch.nn.Module
        Keeps the model contract. Its weights, mode and random stream stay as they are.
    movie_shape : tuple of int
        (channel, y, x).
    training : bool
        With gradients.
    """
    mode = model.training
    generator = getattr(model, "generator", None)
    state = None if generator is None else generator.get_state()
    model.eval()
    try:
        few, more = (_values(model, movie_shape, n) for n in (_FEW, _MORE))
    finally:
        model.train(mode)
        if generator is not None:
            generator.set_state(state)
    double = next(model.parameters()).element_size() // 4
    each = max(1, math.ceil((more - few) / (_MORE - _FEW)))
    value = (TRAINING_BYTES if training else PREDICTION_BYTES) * max(1, double)
    return value * max(0, few - each), value * each


def bins_at_once(model: nn.Module, movie_shape: tuple[int, ...]) -> int:
    """Bins of stimulus, lead-in among them, that a network may be trained on at once."""
    _, each = bytes_per_bin(model, movie_shape, training=True)
    return max(model.lead_in + 1, int(share(BATCH_SHARE) // each))
