"""What a good prediction is: the likelihoods of spike counts, rates and traces.

Spike counts take the Poisson likelihood. Rates and traces (ΔF/F, deconvolved activity) take

- the Gaussian one: noise of the same size whatever the response. The noise variance is profiled
  out, so that the fit is least squares;
- the Gamma one: noise in proportion to the response, for values that are never negative. The
  shape is profiled out; log μ + y/μ is left. A Gamma density has no value at 0, but its loss has:
  zeros make it a quasi-likelihood, whose mean is estimated without bias all the same.

References
----------
McCullagh & Nelder (1989), Generalized Linear Models, chapters 2 (families), 8 (Gamma) and 9
(quasi-likelihood).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from neuromodels.analysis.metrics import bits_per_spike, variance_explained
from neuromodels.datasets.blocks import Block
from neuromodels.datasets.errors import InputError
from neuromodels.encoding.base import Input
from neuromodels.models import ModelSpec
from neuromodels.options import OptionError

LikelihoodName = Literal["auto", "poisson", "gaussian", "gamma"]

#: Smallest rate in a logarithm, relative to 1 spike per bin or to the mean trace.
_SMALLEST = 1e-8
#: A prediction beyond this is as bad as any; its square is still a number.
_LARGEST = 1e150
#: Models whose response need not be spikes, and their option for the last step.
_LAST_STEP = {
    "ln": "nonlinearity",
    "glm": "nonlinearity",
    "glm-coupled": "nonlinearity",
    "retina-cnn": "output",
}
_FOR_TRACES = ("ln", "retina-cnn")


@dataclass(frozen=True)
class Likelihood:
    """How responses scatter about what a model predicts.

    Attributes
    ----------
    name : str
        "poisson", "gaussian" or "gamma".
    metric : str
        Score by which windows, penalties and epochs are chosen, in
        `neuromodels.analysis.metrics.METRICS`.
    unit : str
        Of that score, in a progress line.
    last_steps : dict
        By option name: the nonlinearities that may end a model, the default first.
    """

    name: str
    metric: str
    unit: str
    last_steps: dict[str, tuple[str, ...]]

    def loss(self, prediction: Tensor, response: Tensor, scale: Tensor) -> Tensor:
        """Negative log-likelihood per bin and neuron, without what no model changes.

        Parameters
        ----------
        prediction, response : torch.Tensor
            (…, neuron), in the units of the recording.
        scale : torch.Tensor
            (neuron,), see `scale`: the loss does not depend on the units of a trace.
        """
        if self.name == "poisson":
            return poisson_loss(prediction, response)
        if self.name == "gaussian":
            return 0.5 * ((prediction - response) / scale).square()
        relative = (prediction / scale).clamp_min(_SMALLEST)
        return torch.log(relative) + response / scale / relative

    def scale(self, response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Zero and unit in which every neuron's response is fitted, from its training bins.

        Parameters
        ----------
        response : numpy.ndarray
            (bin, neuron).

        Returns
        -------
        offset, scale : numpy.ndarray
            (neuron,). Gaussian: mean and standard deviation; Gamma: 0 and the mean; Poisson: 0
            and 1, for counts have a unit of their own. A constant trace has the scale 1.
        """
        offset, scale = np.zeros(response.shape[1]), np.ones(response.shape[1])
        if self.name == "poisson":
            return offset, scale
        values = np.asarray(response, dtype=np.float64)
        if self.name == "gaussian":
            flat = values.max(axis=0) == values.min(axis=0)
            offset = np.where(flat, values[0], values.mean(axis=0))
            scale = np.where(flat, 1.0, values.std(axis=0))
        else:
            mean = values.mean(axis=0)
            scale = np.where(mean > 0, mean, 1.0)
        return offset, scale

    def standardized(
        self, response: np.ndarray, offset: np.ndarray, scale: np.ndarray
    ) -> np.ndarray:
        """Responses in the zero and unit that `scale` gave; counts stay what they are."""
        return response if self.name == "poisson" else (response - offset) / scale

    def drive_units(self, offset: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What takes a linear predictor of standardized responses to the recording's units.

        Returns
        -------
        shift, factor : numpy.ndarray
            (neuron,): the predictor becomes shift + factor times it. A logarithm turns a unit into
            a shift.
        """
        if self.name == "gaussian":
            return offset, scale
        return np.log(scale), np.ones_like(scale)

    def validation(
        self, prediction: np.ndarray, response: np.ndarray, reference: np.ndarray
    ) -> np.ndarray:
        """Score by which every choice of a fit is made, per neuron.

        Parameters
        ----------
        prediction, response : numpy.ndarray
            (bin, neuron).
        reference : numpy.ndarray
            (neuron,), mean response in training.

        Returns
        -------
        numpy.ndarray
            (neuron,): bits per spike for counts, variance explained for rates and traces; NaN for
            a neuron that has no such score.
        """
        if self.name == "poisson":
            # The metric refuses infinite rates; the largest number is worse than anything real.
            return bits_per_spike(np.minimum(prediction, np.finfo(float).max), response, reference)
        bounded = np.clip(np.asarray(prediction, dtype=np.float64), -_LARGEST, _LARGEST)
        return variance_explained(bounded, response, reference)

    def check(self, blocks: list[Block], data: Input, where: str = "response") -> None:
        """Refuse responses that the likelihood does not have; `where` they are stored.

        Raises
        ------
        InputError
            A negative value with the Gamma likelihood; names the neuron and the bin.
        """
        if self.name != "gamma":
            return
        for block in blocks:
            bad = np.argwhere(block.response < 0)
            if len(bad):
                bin_, neuron = bad[0]
                raise InputError(
                    f"is {block.response[bin_, neuron]:.4g} for unit {data.neurons[neuron]} in bin "
                    f"{bin_} of block {block.label} ({block.time[bin_]:.6g} s); the Gamma "
                    "likelihood has no negative values.",
                    where=where,
                    remedy='Use likelihood="gaussian", or give activity that is never negative.',
                )

    def remarked(self, blocks: list[Block]) -> dict[str, list[str]]:
        """`remarks` of a fit's summary on these training blocks, if there is one."""
        zeros = sum(np.count_nonzero(block.response == 0) for block in blocks)
        share = zeros / sum(block.response.size for block in blocks)
        if self.name != "gamma" or not share:
            return {}
        said = (
            f"{100 * share:.2g} % of the training values are 0, where a Gamma density has no "
            "value: a quasi-likelihood fit"
        )
        return {"remarks": [said]}


LIKELIHOODS = {
    "poisson": Likelihood(
        "poisson",
        "bits_per_spike",
        "bits/spike",
        {
            "nonlinearity": ("softplus", "exp"),
            "output": ("softplus", "parametric-softplus", "exp"),
        },
    ),
    "gaussian": Likelihood(
        "gaussian",
        "variance_explained",
        "R²",
        {
            "nonlinearity": ("identity",),
            "output": ("linear", "softplus", "parametric-softplus", "exp"),
        },
    ),
    "gamma": Likelihood(
        "gamma",
        "variance_explained",
        "R²",
        {"nonlinearity": ("exp",), "output": ("exp", "softplus", "parametric-softplus")},
    ),
}
POISSON = LIKELIHOODS["poisson"]


def poisson_loss(rate: Tensor, count: Tensor) -> Tensor:
    """Negative Poisson log-likelihood per bin and neuron, without the count's constant."""
    return rate - count * torch.log(rate.clamp_min(_SMALLEST))


def settle(spec: ModelSpec, options: Any, data: Input) -> tuple[ModelSpec, Likelihood]:
    """Choose the likelihood of a fit, and the nonlinearity that goes with it.

    Parameters
    ----------
    spec : ModelSpec
        The model; a last step of "auto" is filled in.
    options : ConvexOptions, TrainingOptions or SpikingTrainingOptions
        Their `likelihood`; "auto" is Poisson for counts, Gaussian for rates and traces. Those of
        spiking networks have none.
    data : Input
        Says what is predicted.

    Returns
    -------
    spec : ModelSpec
    likelihood : Likelihood

    Raises
    ------
    OptionError
        A model of spikes for something else, a likelihood that such responses do not have, or a
        nonlinearity that does not go with it.
    """
    kind = data.response
    if kind != "count" and spec.kind not in _FOR_TRACES:
        raise OptionError(
            f"needs spike counts, for it sees or fires spikes; this recording holds {kind}s.",
            spec.name,
            f"Use {' or '.join(_FOR_TRACES)}, which are fitted to rates and traces too.",
        )
    asked = getattr(options, "likelihood", "auto")
    name = ("poisson" if kind == "count" else "gaussian") if asked == "auto" else asked
    if name == "poisson" and kind != "count":
        raise OptionError(
            f"likelihood = 'poisson' is the likelihood of spike counts; this recording holds "
            f"{kind}s, which are no whole numbers of events.",
            spec.name,
            "Use likelihood = 'gaussian', or 'gamma' for values that are never negative.",
        )
    if name != "poisson" and kind == "count":
        raise OptionError(
            f"likelihood = {name!r} is for rates and traces; this recording holds spike counts.",
            spec.name,
            "Leave it at 'auto' (Poisson). To fit smoothed activity, give it with kind = 'rate'.",
        )
    likelihood = LIKELIHOODS[name]
    option = _LAST_STEP.get(spec.kind)
    if option is None:
        return spec, likelihood
    allowed, wanted = likelihood.last_steps[option], getattr(spec.resolve(), option)
    if wanted == "auto":
        return replace(spec, options=spec.options | {option: allowed[0]}), likelihood
    if wanted not in allowed:
        raise OptionError(
            f"{option} = {wanted!r} does not go with the {name} likelihood.",
            spec.name,
            f"Leave it at 'auto', or use {' or '.join(repr(one) for one in allowed)}.",
        )
    return spec, likelihood
