"""Every choice of a SuperSpike training, with the paper's values and the authors' demo's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from neuromodels.options import OptionError, make_options
from neuromodels.spiking.kernels import check_time_constants
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import LIFParameters, Method, whole_steps


@dataclass(frozen=True)
class SuperSpikeOptions:
    """How a network learns to answer one raster with another.

    Attributes
    ----------
    hidden : tuple of int
        Neurons of each hidden layer; none for a single layer.
    recurrent : tuple of int
        Layers (1 is the first after the input) whose neurons also drive each other.
    dt_s, tau_mem_s, tau_syn_s, threshold_v, rest_v, refractory_s, delay_s : float
        Of the neurons, see `LIFParameters`; the axonal delay is the same for all.
    membrane, synapse, traces : {"exact", "euler"}
        Integrators of voltages, of currents, and of the rule's traces.
    surrogate : {"superspike", "constant", "given"}
        σ' = (1 + β|U − ϑ|)⁻², or 1; "given" is what the record of a run says where an object was
        passed.
    beta_per_v : float
        β, 1/V.
    surrogate_scale : {"unit", "slope"}
        "slope" multiplies σ' with β; RMaxProp takes constant factors out again.
    surrogate_read : {"before reset", "after reset"}
        Which voltage σ' sees at a spike.
    error_rise_s, error_decay_s : float
        Of α, s.
    feedback : {"symmetric", "random", "uniform", "none"}
        How the output error reaches hidden layers; "none" leaves them as they are.
    feedback_delay_s : float
        How late it arrives there, s.
    learning_rate_v : float
        r₀: the largest change of a weight in an update, V.
    learning_rate_drop : float
        Factor on the learning rate from `drop_at_s` on.
    drop_at_s : float
        Simulated time of the drop, s; 0 for none.
    update_s : float
        Time between updates of the weights, s.
    rms_decay_s, rms_epsilon : float
        Of RMaxProp.
    rms_per : {"update", "step"}
        Whether its v follows the sum over an update block, or every step (engine "online" alone).
    weight_bound_v : float
        Largest weight, V.
    w0_v : float
        Initial weights are drawn from N(0, w0/√n_source), V.
    regulariser : float
        ρ of the heterosynaptic term; 0 leaves it out.
    regulariser_exponent, regulariser_tau_s : float
        a, and the time constant of the postsynaptic rate trace z, s.
    regulariser_gated : bool
        Multiply the term with the squared error.
    psp_threshold, error_threshold : float
        Traces and errors (1/ms) below count as zero (engine "online" alone).
    duration_s : float
        Simulated time, s.
    burn_in_s : float
        Time at the start in which RMaxProp sees gradients and no weight changes, s.
    epoch_s : float
        Time between two rows of the record, s.
    engine : {"auto", "event", "gemm", "online"}
        "auto" is the fastest that is exact for these options.
    dtype : {"float32", "float64"}
        Of everything that is computed.
    """

    hidden: tuple[int, ...] = (256,)
    recurrent: tuple[int, ...] = ()
    dt_s: float = 1e-4
    tau_mem_s: float = 10e-3
    tau_syn_s: float = 5e-3
    threshold_v: float = -50e-3
    rest_v: float = -60e-3
    refractory_s: float = 5e-3
    delay_s: float = 0.8e-3
    membrane: Method = "exact"
    synapse: Method = "exact"
    traces: Method = "exact"
    surrogate: Literal["superspike", "constant", "given"] = "superspike"
    beta_per_v: float = 1000.0
    surrogate_scale: Literal["unit", "slope"] = "unit"
    surrogate_read: Literal["before reset", "after reset"] = "before reset"
    error_rise_s: float = 5e-3
    error_decay_s: float = 10e-3
    feedback: Literal["symmetric", "random", "uniform", "none"] = "symmetric"
    feedback_delay_s: float = 0.0
    learning_rate_v: float = 1e-3
    learning_rate_drop: float = 1.0
    drop_at_s: float = 0.0
    update_s: float = 0.5
    rms_decay_s: float = 30.0
    rms_epsilon: float = 1e-12
    rms_per: Literal["update", "step"] = "update"
    weight_bound_v: float = 0.1
    w0_v: float = 0.05
    regulariser: float = 0.0
    regulariser_exponent: float = 4.0
    regulariser_tau_s: float = 0.1
    regulariser_gated: bool = False
    psp_threshold: float = 0.0
    error_threshold: float = 0.0
    duration_s: float = 1000.0
    burn_in_s: float = 0.0
    epoch_s: float = 20.0
    engine: Literal["auto", "event", "gemm", "online"] = "auto"
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self):
        positive = (
            "learning_rate_v",
            "learning_rate_drop",
            "update_s",
            "rms_decay_s",
            "weight_bound_v",
            "w0_v",
            "beta_per_v",
            "duration_s",
            "epoch_s",
            "regulariser_tau_s",
            "regulariser_exponent",
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} = {getattr(self, name)} must be positive.")
        not_negative = (
            "rms_epsilon",
            "regulariser",
            "psp_threshold",
            "error_threshold",
            "burn_in_s",
            "drop_at_s",
            "feedback_delay_s",
        )
        for name in not_negative:
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name} = {getattr(self, name)} must not be negative.")
        check_time_constants(self.error_rise_s, self.error_decay_s, "error_rise_s", "error_decay_s")
        for name in ("update_s", "epoch_s", "feedback_delay_s", "burn_in_s"):
            whole_steps(getattr(self, name), self.dt_s, name)
        self._check_volts()
        self._check_times()
        self._check_engine()
        self._check_idle()

    def _check_volts(self) -> None:
        for name in ("w0_v", "learning_rate_v", "weight_bound_v"):
            if getattr(self, name) > 1:
                raise OptionError(
                    f"{name} = {getattr(self, name):g} V is more than a volt.",
                    remedy="Volts are meant: 50 mV is 0.05.",
                )
        if self.learning_rate_v > self.weight_bound_v:
            raise OptionError(
                f"learning_rate_v = {self.learning_rate_v:g} V is more than weight_bound_v = "
                f"{self.weight_bound_v:g} V.",
                remedy="An update would throw every weight from bound to bound: 1 mV is 0.001.",
            )

    def _check_times(self) -> None:
        if self.duration_s < self.update_s:
            raise OptionError(
                f"duration_s = {self.duration_s:g} s is shorter than update_s = "
                f"{self.update_s:g} s: no weight would change.",
                remedy="Train for longer (--seconds), or give a shorter update_s.",
            )

    @property
    def _literal(self) -> list[str]:
        """Options set that only the engine `online` can do exactly."""
        found = {
            "psp_threshold": self.psp_threshold > 0,
            "error_threshold": self.error_threshold > 0,
            "rms_per = 'step'": self.rms_per == "step",
        }
        return [name for name, is_set in found.items() if is_set]

    def _check_engine(self) -> None:
        if self._literal and self.engine not in ("auto", "online"):
            raise OptionError(
                f"the engine {self.engine!r} cannot do {', '.join(self._literal)} exactly.",
                remedy="Set engine = 'online', which goes through every step of every synapse.",
            )

    def _check_idle(self) -> None:
        idle = {}
        if not self.regulariser:
            names = ("regulariser_gated", "regulariser_exponent", "regulariser_tau_s")
            idle |= dict.fromkeys(names, "set regulariser")
        if self.surrogate != "superspike":
            idle["beta_per_v"] = "set surrogate = 'superspike'"
        for name, remedy in idle.items():
            if getattr(self, name) != self.__dataclass_fields__[name].default:
                raise OptionError(
                    f"{name} = {getattr(self, name)!r} has no effect here.",
                    remedy=f"Leave it out, or {remedy}.",
                )

    @property
    def surrogate_height(self) -> float:
        """σ' at the threshold."""
        # ρ is meant in the demo's units: errors in 1/ms beside a σ' with β in 1/V. The engines'
        # sums have errors in 1/s; with a σ' of height 1 both factors of a thousand cancel.
        return self.beta_per_v if self.surrogate_scale == "slope" else 1.0

    @property
    def chosen_engine(self) -> str:
        """The engine that "auto" stands for."""
        if self.engine != "auto":
            return self.engine
        return "online" if self._literal else "event"

    def network(self, n_inputs: int, n_outputs: int) -> SpikingNetwork:
        """The network that these options describe."""
        parameters = LIFParameters(
            self.tau_mem_s, self.tau_syn_s, self.threshold_v, self.rest_v, self.refractory_s
        )
        return SpikingNetwork(
            (n_inputs, *self.hidden, n_outputs),
            parameters,
            self.dt_s,
            self.delay_s,
            self.recurrent,
            self.membrane,
            self.synapse,
        )


#: What the authors' published demo does differently from the paper's text.
_DEMO: dict[str, Any] = {
    "membrane": "euler",
    "traces": "euler",
    "surrogate_read": "after reset",
    "surrogate_scale": "slope",
    "burn_in_s": 20.0,
    "learning_rate_drop": 0.1,
    "drop_at_s": 420.0,
    "duration_s": 1020.0,
}
_RANDOM = {"feedback_delay_s": 0.8e-3, "regulariser": 1.0}

PRESETS: dict[str, dict[str, Any]] = {"paper": {}, "demo": _DEMO}


def superspike_options(preset: str = "paper", **given: Any) -> SuperSpikeOptions:
    """Options of a preset, with changes.

    Parameters
    ----------
    preset : {"paper", "demo"}
        "paper": the text of Zenke & Ganguli 2018, exact integration. "demo": what the authors'
        published program does: Euler membrane and traces, σ' read after the reset, a burn-in of
        20 s, a tenth of the learning rate from 420 s on; with random feedback a feedback delay of
        0.8 ms. With random feedback both have the regulariser, ρ = 1 and a = 4.
    **given
        Fields of `SuperSpikeOptions`.

    Returns
    -------
    SuperSpikeOptions
        Checked.

    Raises
    ------
    OptionError
        No such preset or option, or a value that it cannot have.
    """
    if preset not in PRESETS:
        raise OptionError(f"there is no preset {preset!r}.", remedy=f"Known: {', '.join(PRESETS)}.")
    values = dict(PRESETS[preset])
    if given.get("surrogate") == "constant":
        values.pop("surrogate_scale", None)
    if given.get("feedback") == "random":
        values["regulariser"] = _RANDOM["regulariser"]
        if preset == "demo":
            values["feedback_delay_s"] = _RANDOM["feedback_delay_s"]
    return make_options(SuperSpikeOptions, values | given, "train_spikes")
