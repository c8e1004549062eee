"""Every kind of encoding model and every preset, small and with weights that are not zero."""

from __future__ import annotations

import torch

from neuromodels.encoding.base import EncodingModel, Input
from neuromodels.encoding.presets import presets
from neuromodels.models import ModelSpec

BIN_WIDTH = 0.01
#: Two channels, an axis longer than the small kernels and one shorter than all of them.
DATA = Input((2, 6, 3), ("a", "b", "c"), BIN_WIDTH, mean=0.5, std=0.3)

_LN = {"history": 0.07, "temporal_basis": 4}
_GLM = _LN | {"own_history": 0.05, "own_basis": 3}
_COUPLED = _GLM | {"coupling_history": 0.03, "coupling_basis": 2}
_CNN = {"history": 0.07, "temporal_basis": 4, "channels": (3, 4), "kernels": (3, 2)}

CASES: dict[str, ModelSpec] = {
    "ln": ModelSpec("ln", None, _LN),
    "ln, every lag free": ModelSpec("ln", None, {"history": 0.07, "temporal_basis": 0}),
    "ln, delay 3": ModelSpec("ln", None, _LN | {"delay": 3}),
    "ln, rank 2, exp": ModelSpec("ln", None, _LN | {"rank": 2, "nonlinearity": "exp"}),
    "glm": ModelSpec("glm", None, _GLM),
    "glm, exp": ModelSpec("glm", None, _GLM | {"nonlinearity": "exp"}),
    "glm, long own history": ModelSpec("glm", None, _GLM | {"own_history": 0.11}),
    "glm-coupled": ModelSpec("glm-coupled", None, _COUPLED),
    "glm-coupled, long couplings": ModelSpec("glm-coupled", None, _COUPLED | {"history": 0.02}),
    "retina-cnn": ModelSpec("retina-cnn", None, _CNN),
    "retina-cnn, delay 2": ModelSpec("retina-cnn", None, _CNN | {"delay": 2}),
} | {
    # The published window would make every movie here long; nothing else is changed.
    f"retina-cnn:{name}": ModelSpec("retina-cnn", name, {"history": 0.07})
    for name in presets()
}


def fill(model: EncodingModel, seed: int = 0) -> EncodingModel:
    """Give an LN model or GLM small random weights; a network has its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            draws = torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator)
            parameter.copy_(0.2 * draws)
        if getattr(model.options, "coupling", False):
            # A neuron's own past lies in its own filter alone.
            model.coupling[:, range(3), range(3)] = 0
    return model


def make(name: str, seed: int = 0) -> EncodingModel:
    """The model of a case in float64 and as it predicts, so that sums are exact to 1e-12."""
    model = CASES[name].build(DATA, seed)
    if not name.startswith("retina-cnn"):
        fill(model, seed)
    return model.double().eval()


def inputs(
    batch: int, n_bins: int, data: Input = DATA, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """A movie (batch, time, channel, y, x) and counts (batch, time, neuron), float64."""
    generator = torch.Generator().manual_seed(seed)
    movie = torch.rand((batch, n_bins, *data.movie_shape), dtype=torch.float64, generator=generator)
    rates = torch.full((batch, n_bins, len(data.neurons)), 0.4, dtype=torch.float64)
    return movie, torch.poisson(rates, generator=generator)
