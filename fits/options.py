"""Options of a fit: told apart from those of the model, checked, read from TOML."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from neuromodels.fits.likelihoods import LikelihoodName
from neuromodels.fits.spiking_options import SpikingTrainingOptions
from neuromodels.fits.training import TrainingOptions
from neuromodels.models import REGISTRY, SPIKING, ModelSpec, as_names, parse
from neuromodels.options import OptionError, make_options, names, nearest


@dataclass(frozen=True)
class ConvexOptions:
    """How an LN model or a GLM is fitted.

    Attributes
    ----------
    ridge : tuple of float
        Strengths of the ridge on the stimulus filter to choose among, on the mean over bins.
    smoothness : tuple of float
        Strengths of the penalty on differences of neighbouring pixels to choose among.
    history_ridge : float
        Ridge on spike-history and coupling filters.
    covariate_ridge : float
        Ridge on the weights of covariates.
    tolerance : float
        Largest gradient entry, per neuron, at which the fit counts as converged.
    max_iterations : int
        Limit; a fit that reaches it says so.
    memory_gb : float
        Regressors above this size are computed anew in every pass and never held whole.
    crop : int or "auto"
        Side, pixels, of the window around each neuron's receptive field that its stimulus filter
        may use; 0 for the whole frame. "auto": the whole frame up to 4000 stimulus columns (basis
        functions times pixels), else as large as 2000 columns allow.
    likelihood : {"auto", "poisson", "gaussian", "gamma"}
        What the loss is: "auto" is Poisson for spike counts, Gaussian for rates and traces.
    """

    ridge: tuple[float, ...] = (1e-2, 1e-3, 1e-4)
    smoothness: tuple[float, ...] = (0.0, 1e-3, 1e-2, 1e-1)
    history_ridge: float = 1e-4
    covariate_ridge: float = 1e-4
    tolerance: float = 1e-6
    max_iterations: int = 300
    memory_gb: float = 2.0
    crop: int | Literal["auto"] = "auto"
    likelihood: LikelihoodName = "auto"

    def __post_init__(self):
        if not self.ridge or not self.smoothness:
            raise OptionError("ridge and smoothness need at least one strength each.")
        if min(*self.ridge, *self.smoothness, self.history_ridge, self.covariate_ridge) < 0:
            raise OptionError("strengths of penalties must not be negative.")
        if not self.tolerance > 0 or self.max_iterations < 1 or not self.memory_gb > 0:
            raise OptionError("tolerance, max_iterations and memory_gb must be positive.")
        if self.crop != "auto" and self.crop < 0:
            raise OptionError(f"crop = {self.crop!r} must not be negative.")


@dataclass(frozen=True)
class Request:
    """One model with all that its fit needs to know, except data and seed.

    Attributes
    ----------
    label : str
        Name in tables and files.
    spec : ModelSpec
        The model.
    options : ConvexOptions, TrainingOptions or SpikingTrainingOptions
        How it is fitted.
    """

    label: str
    spec: ModelSpec
    options: ConvexOptions | TrainingOptions | SpikingTrainingOptions


def options_class(kind: str) -> type:
    """Options of the fitting procedure of a kind of model."""
    if kind in SPIKING:
        return SpikingTrainingOptions
    return TrainingOptions if kind == "retina-cnn" else ConvexOptions


def make_request(
    model: str | ModelSpec, given: dict[str, Any] | None = None, label: str | None = None
) -> Request:
    """Sort options into those of the model and those of its fit, and check both.

    Parameters
    ----------
    model : str or ModelSpec
        "ln", "retina-cnn:mcintosh2016" or what `nm.models.ln(...)` returns.
    given : dict, optional
        Options of either sort, and `covariates`; they win over those of a preset.
    label : str, optional
        Name in tables and files; the model's own by default.

    Returns
    -------
    Request
        Ready to fit.

    Raises
    ------
    OptionError
        An unknown model, option, or a value that an option cannot have.
    """
    spec = parse(model) if isinstance(model, str) else model
    if not isinstance(spec, ModelSpec):
        raise OptionError(
            f"{model!r} is not a model.",
            remedy="Give a name such as 'ln', or what nm.models.ln(...) returns.",
        )
    given = dict(given or {})
    if "covariates" in given:
        spec = replace(spec, covariates=as_names(given.pop("covariates")))
    architecture = names(REGISTRY[spec.kind].load()[1])
    fitting = names(options_class(spec.kind))
    for name in given:
        if name not in architecture and name not in fitting:
            raise OptionError(
                f"unknown option {name!r}.", spec.name, nearest(name, (*architecture, *fitting))
            )
    of_model = {k: v for k, v in given.items() if k in architecture}
    of_fit = {k: v for k, v in given.items() if k in fitting}
    spec = replace(spec, options=spec.options | of_model)
    spec.resolve()
    options = make_options(options_class(spec.kind), spec.training() | of_fit, spec.name)
    return Request(label or spec.name, spec, options)


def make_requests(
    models: list[str | ModelSpec], options: dict[str, dict[str, Any]] | None = None
) -> list[Request]:
    """`make_request` for each model; equal names get a number.

    Parameters
    ----------
    models : list
        Names or specifications.
    options : dict, optional
        Options by model name; those of models that are not asked for are left aside. Those of
        "ln" serve "ln+running" too, and those of "retina-cnn" serve "retina-cnn-shared", unless it
        has its own: such models then differ in nothing else.

    Raises
    ------
    OptionError
        No model at all, options for a model that is not asked for, or as `make_request`.
    """
    if not models:
        raise OptionError("no model was given.", remedy="For example models=['ln', 'glm'].")
    options = dict(options or {})
    specs = [parse(model) if isinstance(model, str) else model for model in models]
    asked = {getattr(spec, "name", str(spec)) for spec in specs}
    for name in options:
        if name not in asked:
            # One file may serve several calls; a name that no model has is a mistake.
            parse(name)
        if not isinstance(options[name], dict):
            raise OptionError(
                f"options for {name!r} are {options[name]!r}.",
                remedy=f"Give a table, for example [{name}] and a line with history = 0.8.",
            )
    requests: list[Request] = []
    for spec in specs:
        request = make_request(spec, options_of(spec, options))
        name = request.spec.name
        before = sum(earlier.spec.name == name for earlier in requests)
        if before:
            request = replace(request, label=f"{name} ({before + 1})")
        requests.append(request)
    return requests


def options_of(spec: Any, options: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Options of one model among those by model name, as `make_requests` chooses them."""
    if not isinstance(spec, ModelSpec) or spec.name in options:
        return options.get(getattr(spec, "name", ""), {})
    of_alone = options.get(replace(spec, shared=False, covariates=()).name, {})
    of_plain = options.get(spec.plain_name, of_alone)
    return {name: value for name, value in of_plain.items() if name != "covariates"}


def read_config(path: str | Path) -> dict[str, Any]:
    """Read options from TOML: flat for one model, or a table per model.

    Raises
    ------
    OptionError
        The file cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise OptionError(f"cannot be read ({error.strerror}).", str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(
            f"is not TOML: {error}.", str(path), "See tomllib's rules, for example ridge = [1e-3]."
        ) from error
