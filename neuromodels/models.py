"""What can be fitted: one registry for the command line and for Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from neuromodels.options import OptionError, make_options, nearest


@dataclass(frozen=True)
class Entry:
    """A kind of model: where its class and options are, and what it is in a line."""

    module: str
    model: str
    options: str
    summary: str
    fixed: dict[str, Any] = field(default_factory=dict)

    def load(self) -> tuple[type, type]:
        """Import and return (model class, options class)."""
        module = import_module(f"neuromodels.encoding.{self.module}")
        return getattr(module, self.model), getattr(module, self.options)


REGISTRY = {
    "ln": Entry("ln", "LN", "LNOptions", "linear filter per neuron, then a nonlinearity"),
    "glm": Entry(
        "glm",
        "GLM",
        "GLMOptions",
        "point-process GLM: stimulus filter and the neuron's own past",
        fixed={"coupling": False},
    ),
    "glm-coupled": Entry(
        "glm",
        "GLM",
        "GLMOptions",
        "point-process GLM in which neurons also see each other's past",
        fixed={"coupling": True},
    ),
    "retina-cnn": Entry(
        "retina_cnn",
        "RetinaCNN",
        "RetinaCNNOptions",
        "convolutional network; temporal window chosen on validation blocks",
    ),
    "spiking": Entry(
        "spiking",
        "Spiking",
        "SpikingOptions",
        "spiking network trained by the SuperSpike rule on the spikes themselves",
    ),
    "spiking-coupled": Entry(
        "spiking_coupled",
        "SpikingCoupled",
        "SpikingCoupledOptions",
        "spiking network that also sees all recorded neurons' past spikes",
    ),
}
#: Kinds whose fit starts from random weights: their seeds differ.
SEEDED = ("retina-cnn", "spiking", "spiking-coupled")


@dataclass(frozen=True)
class ModelSpec:
    """A model that is not built yet, because it does not know its recording.

    Attributes
    ----------
    kind : str
        Name in the registry.
    preset : str or None
        Published setting.
    options : dict
        Options given on top of the preset.
    """

    kind: str
    preset: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``kind`` or ``kind:preset``."""
        return f"{self.kind}:{self.preset}" if self.preset else self.kind

    def given(self) -> dict[str, Any]:
        """Architecture options of preset and caller together.

        Raises
        ------
        OptionError
            An option contradicts what the model's name says.
        """
        for name, value in REGISTRY[self.kind].fixed.items():
            if self.options.get(name, value) != value:
                raise OptionError(
                    f"option {name} = {self.options[name]!r} makes it another model.",
                    self.name,
                    f"Choose the model by its name: {', '.join(REGISTRY)}.",
                )
        published = _preset(self.preset)["model"] if self.preset else {}
        return {**REGISTRY[self.kind].fixed, **published, **self.options}

    def training(self) -> dict[str, Any]:
        """Training options that the preset brings."""
        return dict(_preset(self.preset)["training"]) if self.preset else {}

    def resolve(self, **overrides: Any) -> Any:
        """Architecture options, checked and complete.

        Raises
        ------
        OptionError
            An option that does not exist or cannot have its value.
        """
        _, options_class = REGISTRY[self.kind].load()
        return make_options(options_class, self.given() | overrides, self.name)

    def build(self, data: Any, seed: int = 0, **overrides: Any) -> Any:
        """Make the model for a recording's `Input`.

        Parameters
        ----------
        data : neuromodels.encoding.base.Input
            Frames, neurons, bin width, normalization.
        seed : int
            Of initial weights and noise; models with a convex fit ignore it.
        **overrides
            Options that a fit has chosen, such as the history.
        """
        return _construct(REGISTRY[self.kind].load()[0], data, self.resolve(**overrides), seed)


def _construct(model_class: type, data: Any, options: Any, seed: int) -> Any:
    seeded = {"seed": seed} if model_class.kind in SEEDED else {}
    return model_class(data, options, **seeded)


def _preset(name: str) -> dict[str, Any]:
    from neuromodels.encoding.presets import preset

    return preset(name)


def parse(name: str) -> ModelSpec:
    """Read ``kind`` or ``kind:preset``.

    Parameters
    ----------
    name : str
        For example "ln" or "retina-cnn:mcintosh2016".

    Returns
    -------
    ModelSpec
        The model, to be built for a recording.

    Raises
    ------
    OptionError
        No model or preset of that name.

    Examples
    --------
    >>> parse("retina-cnn:mcintosh2016").preset
    'mcintosh2016'
    """
    kind, _, preset = name.partition(":")
    if kind not in REGISTRY:
        raise OptionError(f"there is no model {kind!r}.", remedy=nearest(kind, REGISTRY))
    if ":" in name:
        if kind != "retina-cnn":
            raise OptionError(f"{kind} has no presets.", name, f"Use {kind!r} alone.")
        _preset(preset)
    return ModelSpec(kind, preset or None)


def _spec(kind: str, preset: str | None, options: dict[str, Any]) -> ModelSpec:
    if preset is not None:
        parse(f"{kind}:{preset}")
    spec = ModelSpec(kind, preset, options)
    spec.resolve()
    return spec


def ln(**options: Any) -> ModelSpec:
    """Return an LN model to fit; options as `neuromodels.encoding.ln.LNOptions`."""
    return _spec("ln", None, options)


def glm(**options: Any) -> ModelSpec:
    """Return a GLM with own history to fit; options as `neuromodels.encoding.glm.GLMOptions`."""
    return _spec("glm", None, options)


def glm_coupled(**options: Any) -> ModelSpec:
    """Return a GLM with own history and couplings to fit; options as `GLMOptions`."""
    return _spec("glm-coupled", None, options)


def retina_cnn(preset: str | None = None, **options: Any) -> ModelSpec:
    """Return a retina CNN to fit.

    Parameters
    ----------
    preset : str, optional
        A published setting: "mcintosh2016", "mcintosh2016_code", "mcniru_bn",
        "maheswaranathan2023" or "primate". Without one, the package's own defaults.
    **options
        As `neuromodels.encoding.retina_cnn.RetinaCNNOptions`, on top of the preset.

    Returns
    -------
    ModelSpec
        For `nm.fit` and `nm.compare`.

    Raises
    ------
    OptionError
        No such preset, no such option, or a value that it cannot have.
    """
    return _spec("retina-cnn", preset, options)


def spiking(**options: Any) -> ModelSpec:
    """Return a spiking network to fit; options as `neuromodels.encoding.spiking.SpikingOptions`."""
    return _spec("spiking", None, options)


def spiking_coupled(**options: Any) -> ModelSpec:
    """Return a spiking network that also sees past spikes; `SpikingCoupledOptions`."""
    return _spec("spiking-coupled", None, options)


def build_from_config(config: dict[str, Any]) -> Any:
    """Make a model again from its `config`; weights are loaded apart.

    Raises
    ------
    OptionError
        A kind of model that this version does not know.
    """
    from neuromodels.encoding.base import Input

    kind = config.get("kind")
    if kind not in REGISTRY:
        raise OptionError(
            f"this version knows no model of kind {kind!r}.",
            remedy="Update neuromodels: the file was written by a version with more models.",
        )
    model_class, options_class = REGISTRY[kind].load()
    given = dict(config["input"])
    data = Input(
        movie_shape=tuple(given["movie_shape"]),
        neurons=tuple(given["neurons"]),
        bin_width=given["bin_width"],
        mean=given["mean"],
        std=given["std"],
        **{
            name: tuple(given.get(name, ()))
            for name in ("covariates", "covariate_mean", "covariate_std")
        },
        response=given.get("response", "count"),
    )
    return _construct(model_class, data, make_options(options_class, config["options"], kind), 0)


def listing() -> list[tuple[str, str]]:
    """Every model and preset by name, with a line of what it is."""
    from neuromodels.encoding.presets import presets

    rows = [(name, entry.summary) for name, entry in REGISTRY.items()]
    return rows + [(f"retina-cnn:{name}", table["source"]) for name, table in presets().items()]
