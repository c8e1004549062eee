"""The retina CNN: spatiotemporal filters, a second convolution, a readout per neuron."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from neuromodels.encoding.base import EncodingModel, Input, StimulusWindow, bins_of
from neuromodels.encoding.layers import Convolution, Dropout, GaussianNoise, UnitNorm, cut_kernel
from neuromodels.encoding.nonlinearities import TraceOutput, default_nonlinearity, make_output
from neuromodels.encoding.retina_cnn_options import RetinaCNNOptions, kernels_for
from neuromodels.options import OptionError


class RetinaCore(nn.Module):
    """Stimulus to features: the part that recordings can share."""

    def __init__(self, data: Input, options: RetinaCNNOptions, generator: torch.Generator):
        super().__init__()
        n_lags = bins_of(options.history, data.bin_width, "history")
        self.window = StimulusWindow(n_lags, options.temporal_basis, options.delay)
        channels, *size = data.movie_shape
        in_channels = channels * self.window.n_basis
        self.kernels: list[tuple[int, int]] = []
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        self.noises = nn.ModuleList()
        for out_channels, kernel, sigma in zip(
            options.channels, options.kernels, options.noise, strict=True
        ):
            cut = cut_kernel(kernel, (size[0], size[1]))
            self.kernels.append(cut)
            self.convolutions.append(Convolution(in_channels, out_channels, cut, options.stack))
            size = [size[0] - cut[0] + 1, size[1] - cut[1] + 1]
            if options.norm != "none":
                self.norms.append(
                    UnitNorm(
                        out_channels * size[0] * size[1],
                        options.norm_eps,
                        options.norm_momentum,
                        positive=options.norm == "abs-batch",
                    )
                )
            self.noises.append(GaussianNoise(sigma, options.noise_mode, generator))
            in_channels = out_channels
        self.shape = (in_channels, size[0], size[1])

    def forward(self, stimulus: Tensor) -> Tensor:
        """(batch, time, channel, y, x) to (batch, time − lead_in, channel, y, x) features."""
        projected = self.window(stimulus)
        batch, time, n_basis, channels, height, width = projected.shape
        x = projected.reshape(batch * time, n_basis * channels, height, width)
        if min(height, width) == 1:
            # A third faster on bars; larger frames gain nothing from this layout.
            x = x.contiguous(memory_format=torch.channels_last)
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if self.norms:
                x = self.norms[i](x)
            x = torch.relu(self.noises[i](x))
        return x.reshape(batch, time, *x.shape[1:])


class DenseReadout(nn.Module):
    """Features to rates: every neuron weighs every feature at every position.

    The part that belongs to one recording.
    """

    def __init__(
        self,
        features: tuple[int, int, int],
        n_neurons: int,
        options: RetinaCNNOptions,
        generator: torch.Generator,
        response: str = "count",
    ):
        super().__init__()
        n_features = int(np.prod(features))
        self.features = features
        self.dropout = Dropout(options.dropout, generator)
        self.linear = nn.Linear(n_features, n_neurons, bias=options.readout_bias)
        self.norm = (
            UnitNorm(
                n_neurons,
                options.norm_eps,
                options.norm_momentum,
                positive=options.norm == "abs-batch",
            )
            if options.norm_output
            else None
        )
        self.output = make_output(options.output, n_neurons, options.output_start, response)

    def drive(self, features: Tensor) -> Tensor:
        """(batch, time, channel, y, x) to the drive (batch, time, neuron) before the output."""
        batch, time = features.shape[:2]
        x = self.linear(self.dropout(features.reshape(batch * time, -1)))
        if self.norm is not None:
            x = self.norm(x)
        return x.reshape(batch, time, -1)


class RetinaCNN(EncodingModel):
    """A convolutional network of the retina, after McIntosh et al. (2016).

    λ(t) = F(W · relu(k₂ ∗ relu(k₁ ∗ s(t) + b₁ + ξ₁) + b₂ + ξ₂) + b₃), with valid convolutions over
    space, temporal kernels over the window only in the first layer, Gaussian noise ξ and an output
    nonlinearity F: a softplus for spike counts, none for traces (see `output`). Covariates, if any,
    are a gain: the rate is λ(t) exp(w·z(t)).

    Parameters
    ----------
    data : Input
        Frames, neurons, bin width, normalization.
    options : RetinaCNNOptions
        Architecture. `history` must be a number by now. A kernel larger than what is left of an
        axis is cut to it; `config` says so.
    seed : int
        Of the initial weights and of the noise.

    Raises
    ------
    OptionError
        A window shorter than one bin or an unresolved history.

    References
    ----------
    McIntosh, Maheswaranathan, Nayebi, Ganguli, Baccus (2016), NeurIPS 29, arXiv:1702.01825.
    Maheswaranathan et al. (2023), Neuron 111, 2742.
    """

    kind = "retina-cnn"

    def __init__(self, data: Input, options: RetinaCNNOptions, seed: int = 0):
        if options.kernels == "auto":
            chosen = kernels_for(data.movie_shape, len(options.channels))
            options = replace(options, kernels=chosen)
        if options.output == "auto":
            chosen = default_nonlinearity(data.response, of_trace="linear")
            options = replace(options, output=chosen)
        super().__init__(data, options)
        if options.history == "auto":
            raise OptionError(
                "history = 'auto' is chosen by a fit.", "retina-cnn", "Give history in seconds."
            )
        self.generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.core = RetinaCore(data, options, self.generator)
            self.readout = DenseReadout(
                self.core.shape, len(data.neurons), options, self.generator, data.response
            )

    @property
    def stimulus_lead_in(self) -> int:
        """Bins of stimulus before the first output."""
        return self.core.window.lead_in

    @property
    def config(self) -> dict[str, Any]:
        """A plain dict that rebuilds the model; `kernels_used` are the kernels after cutting."""
        return super().config | {"kernels_used": [list(kernel) for kernel in self.core.kernels]}

    @property
    def noise(self) -> str:
        """When noise is added: "train", "always" or "off"."""
        return self.core.noises[0].mode

    @noise.setter
    def noise(self, mode: Literal["train", "always", "off"]) -> None:
        if mode not in ("train", "always", "off"):
            raise OptionError(f"noise = {mode!r} is not one of 'train', 'always', 'off'.")
        for layer in self.core.noises:
            layer.mode = mode
        self.options = replace(self.options, noise_mode=mode)

    def drive(self, stimulus: Tensor) -> Tensor:
        """Drive before the output nonlinearity, (batch, time − lead_in, neuron)."""
        return self.readout.drive(self.core(self.normalize(stimulus)))

    def forward(
        self,
        stimulus: Tensor,
        spikes: Tensor | None = None,  # noqa: ARG002
        covariates: Tensor | None = None,
    ) -> Tensor:
        """Rates per bin, (batch, time − lead_in, neuron)."""
        rate = self.readout.output(self.drive(stimulus))
        return self._scaled(rate, stimulus, covariates)

    def _scaled(self, rate: Tensor, stimulus: Tensor, covariates: Tensor | None) -> Tensor:
        """Rates times the gain that the covariates give: exp(Σ w z), 1 at their means."""
        told = self.covariate_effect(covariates, stimulus)
        return rate if told is None else rate * told.exp()

    def training_output(
        self, stimulus: Tensor, covariates: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Rates and the penalty that the loss adds, independent of batch size."""
        drive = self.drive(stimulus)
        options, weight = self.options, self.readout.linear.weight
        penalty = options.l2 * sum(layer.kernel_norm() for layer in self.core.convolutions)
        if options.readout_l2:
            penalty = penalty + options.readout_l2 * weight.square().sum(1).mean()
        if options.readout_l1:
            penalty = penalty + options.readout_l1 * weight.abs().sum(1).mean()
        if options.activity_l1:
            penalty = penalty + options.activity_l1 * drive.abs().mean()
        rate = self._scaled(self.readout.output(drive), stimulus, covariates)
        return rate, torch.as_tensor(penalty, dtype=drive.dtype)

    def set_scale(self, scale: Tensor) -> None:
        """Take the unit (neuron,) in which traces are learned; predictions are in their own units.

        Does nothing for spike counts, whose unit is one spike.
        """
        if isinstance(self.readout.output, TraceOutput):
            self.readout.output.scale.copy_(scale)

    def set_rates(self, rates: Tensor) -> None:
        """Start the readout at the mean responses (neuron,): rates in spikes per bin, or traces."""
        drive = self.readout.output.set_rate(rates).to(torch.float32)
        with torch.no_grad():
            if self.readout.norm is not None:
                self.readout.norm.shift.copy_(drive)
            elif self.readout.linear.bias is not None:
                self.readout.linear.bias.copy_(drive)

    def parameter_dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names of every entry of `state_dict`."""
        return dict(self._parameter_dims())

    def _parameter_dims(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        for key in self.state_dict():
            part, *rest = key.split(".")
            if part == "core" and rest[0] == "convolutions":
                layer, step, name = int(rest[1]) + 1, int(rest[2]), rest[3]
                out = f"layer{layer}_channel"
                last = step == len(self.core.convolutions[layer - 1]) - 1
                source = f"layer{layer}_input" if step == 0 else f"layer{layer}_stack_channel"
                target = out if last else f"layer{layer}_stack_channel_out"
                kernel = (f"layer{layer}_step{step}_y", f"layer{layer}_step{step}_x")
                yield key, (target,) if name == "bias" else (target, source, *kernel)
            elif part == "core":
                yield key, (f"layer{int(rest[1]) + 1}_unit",)
            elif key == "readout.linear.weight":
                yield key, ("neuron", "feature")
            elif part != "covariate":
                yield key, ("neuron",)

    def filters(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """First-layer filters over lags and space, and the readout over positions."""
        first = self.core.convolutions[0]
        found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        n_channels = self.input.movie_shape[0]
        if len(first) == 1:
            weight = first[0].weight.detach().double()
            shape = (weight.shape[0], self.core.window.n_basis, n_channels, *weight.shape[2:])
            kernel = torch.einsum(
                "obcyx,lb->olcyx", weight.reshape(shape), self.core.window.basis
            ).numpy()
            found["layer1_filter"] = (
                ("layer1_channel", "stimulus_lag", "channel", "layer1_y", "layer1_x"),
                kernel,
            )
        weight = self.readout.linear.weight.detach().numpy()
        layer = len(self.core.convolutions)
        found["readout_map"] = (
            ("neuron", f"layer{layer}_channel", f"layer{layer}_map_y", f"layer{layer}_map_x"),
            weight.reshape(weight.shape[0], *self.readout.features),
        )
        return found

    def coords(self) -> dict[str, Any]:
        """Neuron ids and lags in seconds."""
        return super().coords() | {"stimulus_lag": self.core.window.lags(self.input.bin_width)}
