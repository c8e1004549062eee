"""Losses of spiking networks for training by surrogate gradients, (trial, step, neuron) arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from neuromodels.options import OptionError
from neuromodels.spiking.fused_kernels import filter_kernel
from neuromodels.spiking.kernels import Kernel

#: (output (trial, step, neuron), target) to a scalar.
Loss = Callable[[Tensor, Tensor], Tensor]
#: What is taken over trials and neurons.
Reduction = Literal["mean", "sum", "none"]


class _Filter(torch.autograd.Function):
    """Convolution with a kernel along the steps; its adjoint is the same, backward in time."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, kernel: Kernel) -> Tensor:
        ctx.kernel = kernel
        return _convolve(signal.detach(), kernel, reverse=False)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _convolve(grad, ctx.kernel, reverse=True), None


def _convolve(signal: Tensor, kernel: Kernel, reverse: bool) -> Tensor:
    if signal.device.type == "cpu" and signal.dtype in (torch.float32, torch.float64):
        values = torch.tensor([kernel.rise, kernel.decay, kernel.drive], dtype=signal.dtype)
        array = signal.contiguous().numpy()
        return torch.from_numpy(filter_kernel(array, *values.numpy(), reverse))
    # Elsewhere a loop over steps would be slow: by Fourier transform, padded against wrapping.
    n_steps = signal.shape[1]
    samples = torch.as_tensor(kernel(n_steps), dtype=signal.dtype, device=signal.device)
    spectrum = torch.fft.rfft(samples, 2 * n_steps)[:, None]
    if reverse:
        spectrum = spectrum.conj()
    out = torch.fft.irfft(torch.fft.rfft(signal, 2 * n_steps, dim=1) * spectrum, 2 * n_steps, dim=1)
    return out[:, :n_steps]


def filtered(signal: Tensor, kernel: Kernel) -> Tensor:
    """Convolve spikes with a kernel, from rest; gradients pass.

    Parameters
    ----------
    signal : torch.Tensor
        (trial, step, neuron).
    kernel : Kernel
        `error_kernel` or another double exponential.

    Returns
    -------
    torch.Tensor
        Same shape, in the unit of the kernel.
    """
    return _Filter.apply(signal, kernel)


def van_rossum_loss(
    spikes: Tensor, target: Tensor, kernel: Kernel, dt_s: float, reduction: Reduction = "mean"
) -> Tensor:
    """Distance of spike trains from their targets: L = ½ Σ_t (α∗(S − S_target))² dt.

    Zenke & Ganguli 2018, section 2, with the kernel's own time constants.

    Parameters
    ----------
    spikes, target : torch.Tensor
        (trial, step, neuron), 0 or 1.
    kernel : Kernel
        α, from `error_kernel`, 1/s.
    dt_s : float
        Step, s.
    reduction : {"mean", "sum", "none"}
        Over trials and neurons; "sum" is the loss whose gradient the SuperSpike rule follows.

    Returns
    -------
    torch.Tensor
        1/s; a scalar, or (trial, neuron).

    Raises
    ------
    OptionError
        Shapes differ, unknown reduction.
    """
    if spikes.shape != target.shape or spikes.ndim != 3:
        raise OptionError(
            f"spikes are {tuple(spikes.shape)} and targets {tuple(target.shape)}.",
            "van_rossum_loss",
            "Both must be (trial, step, neuron).",
        )
    if reduction not in ("mean", "sum", "none"):
        raise OptionError(f"reduction = {reduction!r} is unknown.", remedy="mean, sum or none.")
    loss = 0.5 * dt_s * filtered(spikes - target, kernel).pow(2).sum(1)
    return loss if reduction == "none" else getattr(loss, reduction)()


def rate_cross_entropy(spikes: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of classes whose evidence is the number of spikes of an output neuron.

    Parameters
    ----------
    spikes : torch.Tensor
        (trial, step, class).
    labels : torch.Tensor
        (trial,) int64.

    Returns
    -------
    torch.Tensor
        Mean over trials.
    """
    return functional.cross_entropy(spikes.sum(1), labels)


def peak_voltage_cross_entropy(voltage_v: Tensor, labels: Tensor, unit_v: float = 1e-3) -> Tensor:
    """Cross entropy of classes whose evidence is a readout's highest voltage in the trial.

    Cramer et al. 2020 (arXiv:1910.07407), "max over time". The voltage of rest does not matter.

    Parameters
    ----------
    voltage_v : torch.Tensor
        (trial, step, class), V, of a network with `readout="voltage"`.
    labels : torch.Tensor
        (trial,) int64.
    unit_v : float
        Voltage that counts as 1, V.

    Returns
    -------
    torch.Tensor
        Mean over trials.
    """
    return functional.cross_entropy(voltage_v.amax(1) / unit_v, labels)


def snntorch_loss(
    function: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor], Tensor]:
    """Make a loss of `snntorch.functional`, which has time first, take our arrays.

    Parameters
    ----------
    function : callable
        Such as `snntorch.functional.ce_count_loss()`.

    Returns
    -------
    callable
        (spikes (trial, step, neuron), target) to a scalar.
    """

    def loss(spikes: Tensor, target: Tensor) -> Tensor:
        return function(spikes.transpose(0, 1), target)

    return loss
