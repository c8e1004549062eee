"""Parts of the convolutional models: noise, normalization, convolutions that fit any movie."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

NoiseMode = Literal["train", "always", "off"]


class GaussianNoise(nn.Module):
    """Independent Gaussian noise on every unit.

    Parameters
    ----------
    sigma : float
        Standard deviation.
    mode : {"train", "always", "off"}
        When noise is added: while training, always (to study variability), never.
    generator : torch.Generator
        Where the draws come from, shared by all noise of a model.
    """

    def __init__(self, sigma: float, mode: NoiseMode, generator: torch.Generator):
        super().__init__()
        self.sigma = sigma
        self.mode = mode
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus noise, same shape."""
        active = self.mode == "always" or (self.mode == "train" and self.training)
        if not active or self.sigma == 0:
            return x
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=self.generator)
        return torch.add(x, noise, alpha=self.sigma)


class Dropout(nn.Module):
    """Dropout whose draws come from the model's own generator, so that a fit can be resumed."""

    def __init__(self, p: float, generator: torch.Generator):
        super().__init__()
        self.p = p
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """Return x with a share p of units silenced while training, same shape."""
        if not self.training or self.p == 0:
            return x
        draws = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=self.generator)
        return x * (draws >= self.p) / (1 - self.p)


class UnitNorm(nn.Module):
    """Batch normalization of every unit at every position.

    Parameters
    ----------
    n_units : int
        Features times positions.
    eps, momentum : float
        As in `torch.nn.BatchNorm1d`.
    positive : bool
        Use the absolute value of the scale, so that it cannot flip a unit's sign (Maheswaranathan
        et al. 2023).
    """

    def __init__(self, n_units: int, eps: float, momentum: float, positive: bool):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.positive = positive
        self.scale = nn.Parameter(torch.ones(n_units))
        self.shift = nn.Parameter(torch.zeros(n_units))
        self.register_buffer("running_mean", torch.zeros(n_units))
        self.register_buffer("running_var", torch.ones(n_units))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (sample, …) over samples, same shape."""
        scale = self.scale.abs() if self.positive else self.scale
        out = nn.functional.batch_norm(
            x.flatten(1),
            self.running_mean,
            self.running_var,
            scale,
            self.shift,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )
        return out.reshape(x.shape)


def cut_kernel(kernel: int, size: tuple[int, int]) -> tuple[int, int]:
    """Kernel cut to what is left of each axis: 15 becomes (15, 1) on a movie of 31 x 1."""
    return min(kernel, size[0]), min(kernel, size[1])


class Convolution(nn.Sequential):
    """Valid convolution over space, in one step or as a stack of small linear ones.

    Parameters
    ----------
    in_channels, out_channels : int
        Features.
    kernel : tuple of int
        (y, x), already cut to the axis.
    stack : int
        0 for one convolution; else the size of the small kernels whose stack spans `kernel`, with
        nothing between them and a bias only at the end (Maheswaranathan et al. 2023).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int], stack: int):
        layers = []
        left_y, left_x = kernel
        while stack and max(left_y, left_x) > stack:
            step = min(stack, left_y), min(stack, left_x)
            layers.append(nn.Conv2d(in_channels, out_channels, step, bias=False))
            left_y, left_x = left_y - step[0] + 1, left_x - step[1] + 1
            in_channels = out_channels
        layers.append(nn.Conv2d(in_channels, out_channels, (left_y, left_x)))
        super().__init__(*layers)

    def kernel_norm(self) -> Tensor:
        """Sum of squares of the weights, biases left out."""
        return sum(layer.weight.square().sum() for layer in self)
