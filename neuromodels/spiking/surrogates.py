"""Surrogates: what stands for the derivative of a spike by the voltage.

A spike is a step of the voltage, H(U − ϑ), whose derivative is zero or infinite. Learning puts a
smooth bump around the threshold in its place. Every surrogate here has the form

    σ'(U) = height · shape(slope · (U − ϑ)),   shape(0) = 1

with height 1 ("unit": only the shape counts, as in Zenke & Ganguli 2018) or the height that makes
it the derivative of a sigmoid that rises by one ("slope"; the fast sigmoid rises by two).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from neuromodels.options import OptionError, make_options, nearest

#: "unit": the bump is 1 at the threshold; "slope": it is the derivative of the sigmoid.
Scale = Literal["unit", "slope"]


class _Spike(torch.autograd.Function):
    """Step forward, surrogate backward."""

    @staticmethod
    def forward(ctx: Any, distance_v: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(distance_v)
        ctx.surrogate = surrogate
        return (distance_v > 0).to(distance_v.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (distance_v,) = ctx.saved_tensors
        return grad * ctx.surrogate.derivative(distance_v), None


@dataclass(frozen=True)
class Surrogate:
    """What all surrogates share; use one of the classes below.

    A surrogate can be given to snnTorch's neurons as `spike_grad`. Each class has `slope_per_v` (by
    which the distance to the threshold is multiplied, 1/V), `height` (value at the threshold) and
    `shape(h)` (bump of height 1 over h = slope · distance, of an array or a tensor).
    """

    #: Name in a config.
    name: ClassVar[str] = ""
    #: Number by which compiled code knows the shape; -1 where it does not.
    compiled_shape: ClassVar[int] = -1

    def __post_init__(self):
        if not (math.isfinite(self.slope_per_v) and self.slope_per_v >= 0):
            raise OptionError(
                f"the slope of a surrogate is {self.slope_per_v:g} per volt; it must be a positive "
                "number.",
                self.name,
            )
        if getattr(self, "scale", "unit") not in ("unit", "slope"):
            raise OptionError(f"scale = {self.scale!r} is unknown.", self.name, "unit or slope.")

    def derivative(self, distance_v: Any) -> Any:
        """Return σ' where the voltage has these distances from the threshold.

        Parameters
        ----------
        distance_v : numpy.ndarray, torch.Tensor or float
            U − ϑ, V.

        Returns
        -------
        numpy.ndarray or torch.Tensor
            Same shape and kind.
        """
        if not isinstance(distance_v, Tensor):
            distance_v = np.asarray(distance_v)
        return self.height * self.shape(self.slope_per_v * distance_v)

    def spike(self, distance_v: Tensor) -> Tensor:
        """Return 1 where the voltage exceeds the threshold, else 0; its gradient is σ'.

        Parameters
        ----------
        distance_v : torch.Tensor
            U − ϑ, V.

        Returns
        -------
        torch.Tensor
            Same shape and precision.
        """
        return _Spike.apply(distance_v, self)

    def __call__(self, distance_v: Tensor) -> Tensor:
        """Return `spike(distance_v)`: the form in which snnTorch takes a surrogate."""
        return self.spike(distance_v)

    @property
    def config(self) -> dict[str, Any]:
        """Plain values that `surrogate_from_config` makes an equal surrogate from."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class _OfSteepness(Surrogate):
    beta_per_v: float = 1000.0
    scale: Scale = "unit"

    @property
    def slope_per_v(self) -> float:
        """β."""
        return self.beta_per_v


@dataclass(frozen=True)
class SuperSpikeSurrogate(_OfSteepness):
    """Derivative of the fast sigmoid h / (1 + |h|): σ' = (1 + |β (U − ϑ)|)⁻².

    Zenke & Ganguli 2018, section 2 (the surrogate); there without the factor β ("unit").

    Attributes
    ----------
    beta_per_v : float
        Steepness β, 1/V.
    scale : {"unit", "slope"}
        "unit" is 1 at the threshold, "slope" is β there (as the authors' program and snnTorch's
        `fast_sigmoid` have it).
    """

    name: ClassVar[str] = "superspike"
    compiled_shape: ClassVar[int] = 0

    @property
    def height(self) -> float:
        """1 or β."""
        return 1.0 if self.scale == "unit" else self.beta_per_v

    def shape(self, h: Any) -> Any:
        """(1 + |h|)⁻²."""
        return 1 / (1 + abs(h)) ** 2


@dataclass(frozen=True)
class SigmoidSurrogate(_OfSteepness):
    """Derivative of the logistic function 1 / (1 + e^(−β (U − ϑ))).

    Attributes
    ----------
    beta_per_v : float
        Steepness β, 1/V.
    scale : {"unit", "slope"}
        "unit" is 1 at the threshold, "slope" is β/4.
    """

    name: ClassVar[str] = "sigmoid"
    compiled_shape: ClassVar[int] = 1

    @property
    def height(self) -> float:
        """1 or β/4."""
        return 1.0 if self.scale == "unit" else self.beta_per_v / 4

    def shape(self, h: Any) -> Any:
        """4 e^−|h| / (1 + e^−|h|)², which no large |h| can overflow."""
        falling = torch.exp(-abs(h)) if isinstance(h, Tensor) else np.exp(-abs(h))
        return 4 * falling / (1 + falling) ** 2


@dataclass(frozen=True)
class ArctanSurrogate(Surrogate):
    """Derivative of ½ + arctan(π/2 · α (U − ϑ)) / π: σ' = 1 / (1 + (π/2 · α (U − ϑ))²).

    Fang et al. 2021 (arXiv:2007.05785).

    Attributes
    ----------
    alpha_per_v : float
        Steepness α, 1/V.
    scale : {"unit", "slope"}
        "unit" is 1 at the threshold, "slope" is α/2.
    """

    name: ClassVar[str] = "arctan"
    compiled_shape: ClassVar[int] = 2
    alpha_per_v: float = 1000.0
    scale: Scale = "unit"

    @property
    def slope_per_v(self) -> float:
        """π/2 · α."""
        return math.pi / 2 * self.alpha_per_v

    @property
    def height(self) -> float:
        """1 or α/2."""
        return 1.0 if self.scale == "unit" else self.alpha_per_v / 2

    def shape(self, h: Any) -> Any:
        """1 / (1 + h²)."""
        return 1 / (1 + h * h)


@dataclass(frozen=True)
class TriangularSurrogate(Surrogate):
    """Triangle around the threshold: σ' = max(0, 1 − |U − ϑ| / width).

    Esser et al. 2016 (PNAS 113:11441).

    Attributes
    ----------
    width_v : float
        Distance from the threshold at which the triangle ends, V.
    scale : {"unit", "slope"}
        "unit" is 1 at the threshold, "slope" is 1/width (unit area).
    """

    name: ClassVar[str] = "triangular"
    compiled_shape: ClassVar[int] = 3
    width_v: float = 10e-3
    scale: Scale = "unit"

    def __post_init__(self):
        if not self.width_v > 0:
            raise OptionError(f"width_v = {self.width_v:g} V must be positive.", self.name)
        super().__post_init__()

    @property
    def slope_per_v(self) -> float:
        """1 / width."""
        return 1 / self.width_v

    @property
    def height(self) -> float:
        """1 or 1 / width."""
        return 1.0 if self.scale == "unit" else 1 / self.width_v

    def shape(self, h: Any) -> Any:
        """1 − |h|, not below zero."""
        rising = 1 - abs(h)
        return rising.clamp_min(0) if isinstance(h, Tensor) else np.maximum(rising, 0)


@dataclass(frozen=True)
class ConstantSurrogate(Surrogate):
    """The same at every voltage: learning that ignores the distance to the threshold.

    Attributes
    ----------
    value : float
        σ'; 1 is the straight-through estimator, the control of Zenke & Ganguli 2018.
    """

    name: ClassVar[str] = "constant"
    compiled_shape: ClassVar[int] = 4
    value: float = 1.0

    @property
    def slope_per_v(self) -> float:
        """Does not matter."""
        return 0.0

    @property
    def height(self) -> float:
        """The value."""
        return self.value

    def shape(self, h: Any) -> Any:
        """1."""
        return torch.ones_like(h) if isinstance(h, Tensor) else np.ones_like(h)


@dataclass(frozen=True)
class SnntorchSurrogate(Surrogate):
    """A surrogate of snnTorch, its derivative read through automatic differentiation.

    Attributes
    ----------
    function : str or callable
        Name in `snntorch.surrogate` ("fast_sigmoid", "atan", ...), or a function that such a call
        returned.
    parameters : dict
        What the named function is called with, such as `{"slope": 25}`.
    unit_v : float
        Voltage that counts as 1 for snnTorch, whose threshold is 1 by default: the gap between
        rest and threshold.
    """

    name: ClassVar[str] = "snntorch"
    function: str | Callable[[Tensor], Tensor] = "fast_sigmoid"
    parameters: dict[str, Any] = field(default_factory=dict)
    unit_v: float = 10e-3

    def __post_init__(self):
        if not self.unit_v > 0:
            raise OptionError(f"unit_v = {self.unit_v:g} V must be positive.", self.name)
        if callable(self.function):
            if self.parameters:
                raise OptionError(
                    "parameters are for a surrogate given by name.",
                    self.name,
                    "Call the function of snntorch.surrogate with them yourself.",
                )
            made = self.function
        else:
            made = _snntorch_function(self.function, self.parameters)
        # Frozen: what is made from the attributes is set once, here.
        object.__setattr__(self, "_made", made)

    @property
    def slope_per_v(self) -> float:
        """Volts to the units of snnTorch."""
        return 1 / self.unit_v

    @property
    def height(self) -> float:
        """1: the derivative is by the distance in units of `unit_v`."""
        return 1.0

    def shape(self, h: Any) -> Any:
        """Gradient of the sum of spikes by h."""
        is_tensor = isinstance(h, Tensor)
        # torch.tensor: a 0-d array or a scalar, whose memory cannot be shared.
        h = h.detach() if is_tensor else torch.tensor(h)
        with torch.enable_grad():
            h = h.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self._made(h).sum(), h)
        return gradient if is_tensor else gradient.numpy()

    @property
    def config(self) -> dict[str, Any]:
        """Plain values; only of a surrogate given by name."""
        if callable(self.function):
            raise OptionError(
                "a surrogate given as a function cannot be stored.",
                self.name,
                "Give its name in snntorch.surrogate, and its parameters.",
            )
        return super().config


def _snntorch_function(name: str, parameters: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    from snntorch import surrogate

    known = [key for key, value in vars(surrogate).items() if callable(value) and key[0] != "_"]
    if name not in known:
        raise OptionError(f"snnTorch has no surrogate {name!r}.", remedy=nearest(name, known))
    try:
        return getattr(surrogate, name)(**parameters)
    except TypeError as error:
        raise OptionError(f"{error}.", f"snntorch.surrogate.{name}") from error


SURROGATES: dict[str, type[Surrogate]] = {
    cls.name: cls
    for cls in (
        SuperSpikeSurrogate,
        SigmoidSurrogate,
        ArctanSurrogate,
        TriangularSurrogate,
        ConstantSurrogate,
        SnntorchSurrogate,
    )
}


def surrogate_from_config(config: dict[str, Any]) -> Surrogate:
    """Make a surrogate from its name and values.

    Parameters
    ----------
    config : dict
        As `Surrogate.config` has it: `name`, and what differs from the defaults.

    Returns
    -------
    Surrogate
        Of the named kind.

    Raises
    ------
    OptionError
        Unknown name or value.
    """
    values = dict(config)
    name = values.pop("name", None)
    if name not in SURROGATES:
        raise OptionError(f"there is no surrogate {name!r}.", remedy=nearest(str(name), SURROGATES))
    if name == SnntorchSurrogate.name:
        return SnntorchSurrogate(**values)
    return make_options(SURROGATES[name], values, f"surrogate {name}")
