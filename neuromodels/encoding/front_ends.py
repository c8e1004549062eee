"""Front ends of a spiking network: from the stimulus to a current into every hidden neuron.

Currents are in units of the one that would just reach the threshold.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from neuromodels.encoding.base import Input
from neuromodels.encoding.layers import cut_kernel
from neuromodels.encoding.retina_cnn_options import kernels_for

#: "auto" strides leave at most so many hidden neurons.
MOST_HIDDEN = 512
#: Current into a hidden neuron before any stimulus, at the start of a training.
HIDDEN_START = 0.6


class LinearFront(nn.Module):
    """A filter of its own for every hidden neuron.

    Parameters
    ----------
    data : Input
        Frames.
    n_basis : int
        Functions of time.
    n_hidden : int
        Hidden neurons.
    """

    def __init__(self, data: Input, n_basis: int, n_hidden: int):
        super().__init__()
        self.n_hidden = n_hidden
        shape = (n_basis, *data.movie_shape, n_hidden)
        self.weight = nn.Parameter(torch.randn(shape) / math.sqrt(n_basis * data.n_pixels))
        self.bias = nn.Parameter(torch.full((n_hidden,), HIDDEN_START))

    def forward(self, projected: Tensor) -> Tensor:
        """(batch, time, basis, channel, y, x) to (batch, time, hidden)."""
        return projected.flatten(2) @ self.weight.flatten(0, 3) + self.bias


class NoFront(nn.Module):
    """Hidden neurons that see no stimulus, only a constant current.

    Parameters
    ----------
    n_hidden : int
        Hidden neurons.
    """

    def __init__(self, n_hidden: int):
        super().__init__()
        self.n_hidden = n_hidden
        self.bias = nn.Parameter(torch.full((n_hidden,), HIDDEN_START))

    def forward(self, projected: Tensor) -> Tensor:
        """(batch, time, …) to (batch, time, hidden)."""
        return self.bias.expand(*projected.shape[:2], -1)


class ConvFront(nn.Module):
    """A few filters, each repeated over the movie: hidden neurons of a kind share theirs.

    Parameters
    ----------
    data : Input
        Frames.
    n_basis : int
        Functions of time.
    n_kinds : int
        Filters.
    kernel : int or "auto"
        Their side, pixels; cut to the movie.
    stride : int or "auto"
        Pixels from one hidden neuron to the next of its kind.
    """

    def __init__(
        self,
        data: Input,
        n_basis: int,
        n_kinds: int,
        kernel: int | Literal["auto"],
        stride: int | Literal["auto"],
    ):
        super().__init__()
        channels, *size = data.movie_shape
        side = kernels_for(data.movie_shape, 1)[0] if kernel == "auto" else kernel
        cut = cut_kernel(side, (size[0], size[1]))
        if stride == "auto":
            stride = _stride(size, cut, n_kinds)
        self.map = _positions(size, cut, stride)
        self.n_hidden = n_kinds * math.prod(self.map)
        self.convolution = nn.Conv2d(channels * n_basis, n_kinds, cut, stride)
        spread = (channels * n_basis * math.prod(cut)) ** -0.5
        nn.init.normal_(self.convolution.weight, std=spread)
        nn.init.constant_(self.convolution.bias, HIDDEN_START)

    @property
    def weight(self) -> nn.Parameter:
        """(kind, basis and channel, y, x)."""
        return self.convolution.weight

    def forward(self, projected: Tensor) -> Tensor:
        """(batch, time, basis, channel, y, x) to (batch, time, hidden)."""
        batch, time, n_basis, channels, height, width = projected.shape
        maps = self.convolution(projected.reshape(-1, n_basis * channels, height, width))
        return maps.reshape(batch, time, self.n_hidden)


def _positions(size: list[int], kernel: tuple[int, int], stride: int) -> tuple[int, int]:
    height, width = ((n - k) // stride + 1 for n, k in zip(size, kernel, strict=True))
    return height, width


def _stride(size: list[int], kernel: tuple[int, int], n_kinds: int) -> int:
    """Smallest stride with at most `MOST_HIDDEN` neurons; as large as the map if there is none."""
    for stride in range(1, max(size) + 1):
        if n_kinds * math.prod(_positions(size, kernel, stride)) <= MOST_HIDDEN:
            return stride
    return max(size)
