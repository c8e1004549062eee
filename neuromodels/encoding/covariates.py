"""Running, pupil, eye position: what a model is told beside the stimulus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from neuromodels.options import OptionError

if TYPE_CHECKING:
    from neuromodels.encoding.base import Input

#: In a model's name, every covariate of the recording.
ALL = "all"
#: A spread smaller than so much of the mean is none.
ROUNDING = 1e-12


def choose_covariates(data: Input, names: Sequence[str], model: str) -> Input:
    """What a model that is told only some covariates must know of a recording.

    Parameters
    ----------
    data : Input
        With all covariates of the recording.
    names : sequence of str
        Those of the model; ("all",) for every one.
    model : str
        Name of the model, for errors.

    Returns
    -------
    Input
        With these covariates alone, in the order of `names`.

    Raises
    ------
    OptionError
        The recording lacks one of them.
    """
    known = data.covariates
    chosen = known if tuple(names) == (ALL,) else tuple(names)
    if names and not known:
        raise OptionError(
            "the recording has no covariates.",
            model,
            "Add them (--covariates FILE, nm.attach_covariates), or use the model without.",
        )
    for name in chosen:
        if name not in known:
            raise OptionError(
                f"the recording has no covariate {name!r}.", model, f"It has: {', '.join(known)}."
            )
    at = [known.index(name) for name in chosen]
    return replace(
        data,
        covariates=chosen,
        covariate_mean=tuple(data.covariate_mean[i] for i in at),
        covariate_std=tuple(data.covariate_std[i] for i in at),
    )


class CovariateEffect(nn.Module):
    """How far the covariates of a bin push each neuron: Σ_c w_c z_c(t).

    z is a covariate with its training mean and standard deviation taken out. An LN model and a GLM
    add the sum to the drive; a network multiplies its rates with the exponential of it.

    Parameters
    ----------
    data : Input
        Names, means and standard deviations of the covariates, and the neurons.
    """

    def __init__(self, data: Input):
        super().__init__()
        self.mean, self.std = data.covariate_mean, data.covariate_std
        self.weight = nn.Parameter(torch.zeros(len(data.covariates), len(data.neurons)))

    def normalized(self, covariates: Tensor) -> Tensor:
        """Take out the training mean and standard deviation; NaN counts as the mean.

        Parameters
        ----------
        covariates : torch.Tensor
            (…, covariate), in their own units.

        Returns
        -------
        torch.Tensor
            Same shape, in the floating-point type of the weights. 0 where a covariate is missing,
            or never changed in training: nothing was learned of it then.
        """
        # In double precision: a clock or a position may be large against its spread.
        values = covariates.double()
        mean, std = values.new_tensor(self.mean), values.new_tensor(self.std)
        # The standard deviation of equal numbers is not always 0 to the last digit.
        varies = std > ROUNDING * mean.abs()
        z = (values - mean) / torch.where(varies, std, 1.0)
        known = varies & ~values.isnan()
        return torch.where(known, z, 0.0).to(self.weight.dtype)

    def forward(self, covariates: Tensor) -> Tensor:
        """(batch, time, covariate) to (batch, time, neuron)."""
        return self.normalized(covariates) @ self.weight
