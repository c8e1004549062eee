"""What can be fitted: one registry for the command line and for Python."""

from __future__ import annotations

from collections.abc import Sequence
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
#: Kinds made of a core and a readout per recording, and the end of the name of one whose core is
#: fitted to all recordings of a call.
WITH_CORE = ("retina-cnn",)
SHARED = "-shared"
#: Kinds that learn from the spikes themselves.
SPIKING = ("spiking", "spiking-coupled")


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
    covariates : tuple of str
        Names of running speed, pupil, ... that the model is told beside the stimulus; ("all",) for
        every one that the recording has.
    shared : bool
        Whether one core is fitted to all recordings of a call, with a readout for each.

    Raises
    ------
    OptionError
        A model that takes no covariates was given some, or a covariate twice or without a name; a
        model without a core was to share it.
    """

    kind: str
    preset: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    covariates: tuple[str, ...] = ()
    shared: bool = False

    def __post_init__(self):
        if self.shared and self.kind not in WITH_CORE:
            raise OptionError(
                f"{self.kind} has no core that recordings could share.",
                remedy=f"Only {', '.join(WITH_CORE)} has one. `compare` fits {self.kind} to each "
                "recording by itself.",
            )
        if self.covariates and self.kind in SPIKING:
            raise OptionError(
                "a spiking network takes no covariates: currents from the stimulus and from past "
                "spikes alone drive its neurons.",
                self.name,
                "Use ln, glm, glm-coupled or retina-cnn with covariates.",
            )
        for name in self.covariates:
            if not name.strip() or self.covariates.count(name) > 1:
                wrong = "is given twice" if name.strip() else "has no name"
                raise OptionError(
                    f"covariate {name!r} {wrong}.", self.name, "For example 'ln+running+pupil'."
                )
        if "all" in self.covariates and len(self.covariates) > 1:
            raise OptionError(
                "'all' stands for every covariate and leaves no other to name.",
                self.name,
                f"Use {self.plain_name}+all.",
            )

    @property
    def plain_name(self) -> str:
        """``kind`` or ``kind:preset``, without covariates."""
        kind = self.kind + SHARED * self.shared
        return f"{kind}:{self.preset}" if self.preset else kind

    @property
    def name(self) -> str:
        """``kind`` or ``kind:preset``, with ``+covariate`` for each."""
        return "+".join((self.plain_name, *self.covariates))

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
            Frames, neurons, bin width, normalization; with all covariates of the recording, of
            which the model takes its own.
        seed : int
            Of initial weights and noise; models with a convex fit ignore it.
        **overrides
            Options that a fit has chosen, such as the history.

        Raises
        ------
        OptionError
            The recording lacks one of the model's covariates; or as `resolve`.
        """
        from neuromodels.encoding.covariates import choose_covariates

        data = choose_covariates(data, self.covariates, self.name)
        return _construct(REGISTRY[self.kind].load()[0], data, self.resolve(**overrides), seed)


def _construct(model_class: type, data: Any, options: Any, seed: int) -> Any:
    seeded = {"seed": seed} if model_class.kind in SEEDED else {}
    return model_class(data, options, **seeded)


def _preset(name: str) -> dict[str, Any]:
    from neuromodels.encoding.presets import preset

    return preset(name)


def parse(name: str) -> ModelSpec:
    """Read ``kind``, ``kind:preset`` or ``kind-shared``, with ``+covariate`` as often as wanted.

    Parameters
    ----------
    name : str
        For example "ln", "retina-cnn:mcintosh2016" or "glm+running+pupil"; "ln+all" takes every
        covariate that the recording has.

    Returns
    -------
    ModelSpec
        The model, to be built for a recording.

    Raises
    ------
    OptionError
        No model or preset of that name, or covariates that it cannot have.

    Examples
    --------
    >>> parse("retina-cnn:mcintosh2016").preset
    'mcintosh2016'
    >>> parse("glm+running+pupil").covariates
    ('running', 'pupil')
    """
    plain, *covariates = name.split("+")
    kind, colon, preset = plain.partition(":")
    shared = kind.endswith(SHARED) and kind.removesuffix(SHARED) in REGISTRY
    kind = kind.removesuffix(SHARED) if shared else kind
    if kind not in REGISTRY:
        raise OptionError(f"there is no model {kind!r}.", remedy=nearest(kind, REGISTRY))
    if colon:
        if kind != "retina-cnn":
            raise OptionError(f"{kind} has no presets.", name, f"Use {kind!r} alone.")
        _preset(preset)
    return ModelSpec(kind, preset or None, covariates=tuple(covariates), shared=shared)


def _spec(
    kind: str,
    preset: str | None,
    options: dict[str, Any],
    covariates: Sequence[str] = (),
    shared: bool = False,
) -> ModelSpec:
    if preset is not None:
        parse(f"{kind}:{preset}")
    spec = ModelSpec(kind, preset, options, as_names(covariates), shared)
    spec.resolve()
    return spec


def as_names(covariates: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several as a tuple.

    Raises
    ------
    OptionError
        Anything else.
    """
    given = (covariates,) if isinstance(covariates, str) else covariates
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise OptionError(
            f"covariates = {covariates!r} are no names.", remedy="For example ('running', 'pupil')."
        )
    return tuple(given)


def ln(*, covariates: str | Sequence[str] = (), **options: Any) -> ModelSpec:
    """Return an LN model to fit.

    Parameters
    ----------
    covariates : sequence of str
        Names of running speed, pupil, ... that it is told beside the stimulus; "all" for every one
        that the recording has.
    **options
        As `neuromodels.encoding.ln.LNOptions`.
    """
    return _spec("ln", None, options, covariates)


def glm(*, covariates: str | Sequence[str] = (), **options: Any) -> ModelSpec:
    """Return a GLM with own history to fit; `covariates` as for `ln`, options as `GLMOptions`."""
    return _spec("glm", None, options, covariates)


def glm_coupled(*, covariates: str | Sequence[str] = (), **options: Any) -> ModelSpec:
    """Return a GLM with own history and couplings to fit; arguments as for `glm`."""
    return _spec("glm-coupled", None, options, covariates)


def retina_cnn(
    preset: str | None = None,
    *,
    covariates: str | Sequence[str] = (),
    shared: bool = False,
    **options: Any,
) -> ModelSpec:
    """Return a retina CNN to fit.

    Parameters
    ----------
    preset : str, optional
        A published setting: "mcintosh2016", "mcintosh2016_code", "mcniru_bn",
        "maheswaranathan2023" or "primate". Without one, the package's own defaults.
    covariates : sequence of str
        As for `ln`; here they are a gain on the rates.
    shared : bool
        Fit one core to all recordings of a call, with a readout for each; of a single recording
        the model is the same either way.
    **options
        As `neuromodels.encoding.retina_cnn_options.RetinaCNNOptions`, on top of the preset.

    Returns
    -------
    ModelSpec
        For `nm.fit` and `nm.compare`.

    Raises
    ------
    OptionError
        No such preset, no such option, or a value that it cannot have.
    """
    return _spec("retina-cnn", preset, options, covariates, shared)


def spiking(**options: Any) -> ModelSpec:
    """Return a spiking network to fit; options as `neuromodels.encoding.spiking.SpikingOptions`."""
    return _spec("spiking", None, options, options.pop("covariates", ()))


def spiking_coupled(**options: Any) -> ModelSpec:
    """Return a spiking network that also sees past spikes; `SpikingCoupledOptions`."""
    return _spec("spiking-coupled", None, options, options.pop("covariates", ()))


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

    rows = []
    for name, entry in REGISTRY.items():
        rows.append((name, entry.summary))
        if name in WITH_CORE:
            rows.append((name + SHARED, "the same, one core for all recordings of a call"))
    return rows + [(f"retina-cnn:{name}", table["source"]) for name, table in presets().items()]
