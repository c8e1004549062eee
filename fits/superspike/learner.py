"""What one layer of a network learns with."""

from __future__ import annotations

import math

import numpy as np

from neuromodels.fits.superspike.engines import Chunk, RuleKernels, make_engine
from neuromodels.fits.superspike.errors import ErrorFilter, Mismatch
from neuromodels.fits.superspike.options import SuperSpikeOptions
from neuromodels.fits.superspike.regulariser import RateTrace
from neuromodels.fits.superspike.rmaxprop import RMaxProp
from neuromodels.spiking.kernels import error_kernel, psp_kernel
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import lif_coefficients
from neuromodels.spiking.simulation import Activity


class LayerLearner:
    """One layer's engine, its error, and a step size for each of its synapses.

    Parameters
    ----------
    network : SpikingNetwork
        Of which the layer is one.
    layer : int
        Which population, 1 being the first after the input.
    options : SuperSpikeOptions
        How.
    feedback : numpy.ndarray or None
        (n_output, n_neurons), fixed; None where it follows the weights, and for the output.

    Attributes
    ----------
    engine : Engine
        Sums of error times eligibility.
    filter : ErrorFilter
        Makes the error of the layer.
    rules : list of RMaxProp
        One per incoming connection.
    rate : RateTrace or None
        Of the regulariser, of which `powers` gathers the sums (neuron,).
    """

    def __init__(
        self,
        network: SpikingNetwork,
        layer: int,
        options: SuperSpikeOptions,
        feedback: np.ndarray | None,
    ):
        self.options, self.layer, self.feedback = options, layer, feedback
        self.connections = network.into(layer)
        self.is_output = layer == len(network.sizes) - 1
        dt_s, dtype, size = options.dt_s, np.dtype(options.dtype), network.sizes[layer]
        alpha = error_kernel(options.error_rise_s, options.error_decay_s, dt_s, options.traces)
        stepped = lif_coefficients(
            network.parameters, dt_s, membrane=options.traces, synapse=options.traces
        )
        shapes = [c.shape for c in self.connections]
        kernels = RuleKernels(psp_kernel(stepped), alpha)
        self.engine = make_engine(
            options.chosen_engine, shapes, kernels, dt_s, dtype.type, **_literal(options)
        )
        late = 0 if self.is_output else round(options.feedback_delay_s / dt_s)
        self.filter = ErrorFilter(alpha, size, late, dtype)
        self.rate, self.powers = None, np.zeros(size)
        if options.regulariser and not self.is_output:
            self.rate = RateTrace(
                size, options.regulariser_tau_s, dt_s, options.regulariser_exponent
            )
        self.rules = [
            RMaxProp(
                shape,
                update_s=options.update_s,
                tau_rms_s=options.rms_decay_s,
                epsilon=options.rms_epsilon,
                bounds_v=(-options.weight_bound_v, options.weight_bound_v),
                dtype=dtype.type,
            )
            for shape in shapes
        ]

    def learn(
        self,
        activity: Activity,
        surrogate: np.ndarray,
        mismatch: Mismatch,
        feedback: np.ndarray | None,
    ) -> np.ndarray:
        """Take in the next steps.

        Parameters
        ----------
        activity : Activity
            Of the whole network.
        surrogate : numpy.ndarray
            (step, neuron) σ' of this layer.
        mismatch : Mismatch
            Of the output.
        feedback : numpy.ndarray or None
            (n_output, n_neurons): how the layer sees the error of the output.

        Returns
        -------
        numpy.ndarray
            (step, neuron), the layer's error, 1/s.
        """
        n_steps = len(surrogate)
        error = self.filter(mismatch, n_steps, feedback)
        arrivals = [activity.arrivals[c.source] for c in self.connections]
        self.engine.accumulate(Chunk(surrogate, error, arrivals))
        if self.rate is not None:
            gate = error * 1e-3 if self.options.regulariser_gated else None
            self.powers += self.rate.powers(activity.spikes[self.layer], n_steps, gate)
        return error

    def updated(
        self, weights: dict[str, np.ndarray], rate_v: float, *, learn: bool
    ) -> dict[str, np.ndarray]:
        """Return the layer's weights after an update, and begin to gather anew.

        Parameters
        ----------
        weights : dict of numpy.ndarray
            Of the network; not changed.
        rate_v : float
            r₀, V.
        learn : bool
            False only lets RMaxProp look.

        Returns
        -------
        dict of numpy.ndarray
            Of this layer's connections.
        """
        options, gradients = self.options, self.engine.take()
        per_step = options.rms_per == "step"
        peaks = self.engine.peaks() if per_step else [None] * len(gradients)
        found = {}
        for connection, gradient, peak, rule in zip(
            self.connections, gradients, peaks, self.rules, strict=True
        ):
            before = weights[connection.name]
            if self.rate is not None:
                held = options.surrogate_height * options.regulariser * self.powers
                gradient = gradient + before * held.astype(before.dtype)
            if per_step:
                # Peaks of e λ go with the mean of e λ: no weight moves by more than r₀ (γ aside).
                gradient = gradient / options.update_s
            found[connection.name] = rule.step(before, gradient, rate_v, learn=learn, peak=peak)
        self.powers[:] = 0
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Everything that is carried along, for a checkpoint."""
        members = {"engine": self.engine, "filter": self.filter}
        members |= {f"rule{index}": rule for index, rule in enumerate(self.rules)}
        arrays = {f"{k}/{name}": v for k, one in members.items() for name, v in one.state().items()}
        if self.rate is not None:
            arrays |= {"rate": self.rate.trace, "powers": self.powers}
        return arrays

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        self.engine.restore(part_of(state, "engine"))
        self.filter.restore(part_of(state, "filter"))
        for index, rule in enumerate(self.rules):
            rule.restore(part_of(state, f"rule{index}"))
        if self.rate is not None:
            self.rate.trace, self.powers = state["rate"], state["powers"]


def part_of(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Arrays whose names begin with ``prefix/``, by the rest of their names."""
    start = f"{prefix}/"
    return {k.removeprefix(start): np.array(v) for k, v in arrays.items() if k.startswith(start)}


def _literal(options: SuperSpikeOptions) -> dict[str, float]:
    """What only the engine `online` takes."""
    if options.chosen_engine != "online":
        return {}
    # The threshold is in 1/ms, as the error is in the demo; the engine's errors are in 1/s.
    found = {
        "psp_threshold": options.psp_threshold,
        "error_threshold": options.error_threshold * 1e3,
    }
    if options.rms_per == "step":
        found["peak_decay"] = math.exp(-options.dt_s / options.rms_decay_s)
    return found
