"""A spiking network as plain data: populations, connections, constants, weights, state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from neuromodels.options import OptionError
from neuromodels.spiking.neurons import (
    Coefficients,
    LIFParameters,
    Method,
    lif_coefficients,
    whole_steps,
)


class Connection(NamedTuple):
    """All-to-all synapses from one population to another (or to itself).

    Attributes
    ----------
    name : str
        "hidden_to_output"
    source, target : int
        Populations, 0 being the input.
    shape : tuple of int
        (n_source, n_target) of its weights.
    """

    name: str
    source: int
    target: int
    shape: tuple[int, int]


@dataclass(frozen=True)
class SpikingNetwork:
    """Layers of current-based LIF neurons, each driving the next, and itself if recurrent.

    Attributes
    ----------
    sizes : tuple of int
        Neurons of the input, of every hidden layer, and of the output.
    parameters : LIFParameters
        Constants of all neurons.
    dt_s : float
        Time step, s.
    delay_s : float or tuple of tuple of float
        Axonal delay, s: one for all, or per population (the input first) one per neuron.
    recurrent : tuple of int
        Populations (1 being the first after the input) whose neurons also drive each other.
    membrane, synapse : {"exact", "euler"}
        Integrators.
    """

    sizes: tuple[int, ...]
    parameters: LIFParameters = LIFParameters()
    dt_s: float = 1e-4
    delay_s: float | tuple[tuple[float, ...], ...] = 0.8e-3
    recurrent: tuple[int, ...] = ()
    membrane: Method = "exact"
    synapse: Method = "exact"

    def __post_init__(self):
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise OptionError(
                f"sizes = {self.sizes} must name at least an input and an output, none empty.",
                remedy="For example (200, 256, 200).",
            )
        if unknown := set(self.recurrent) - set(range(1, len(self.sizes))):
            raise OptionError(
                f"there is no layer {min(unknown)} to make recurrent.",
                remedy=f"Layers after the input are 1 to {len(self.sizes) - 1}.",
            )
        _ = self.coefficients, self.delay_steps  # both check what they are made from

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the populations: input, hidden (hidden1, hidden2, …), output."""
        n_hidden = len(self.sizes) - 2
        hidden = ["hidden"] if n_hidden == 1 else [f"hidden{i + 1}" for i in range(n_hidden)]
        return ("input", *hidden, "output")

    @cached_property
    def connections(self) -> tuple[Connection, ...]:
        """Feed-forward and recurrent connections, ordered by target."""
        found = []
        for target in range(1, len(self.sizes)):
            sources = [target - 1] + [target] * (target in self.recurrent)
            for source in sources:
                name = f"{self.names[source]}_to_{self.names[target]}"
                shape = (self.sizes[source], self.sizes[target])
                found.append(Connection(name, source, target, shape))
        return tuple(found)

    def into(self, target: int) -> tuple[Connection, ...]:
        """Connections into a population."""
        return tuple(c for c in self.connections if c.target == target)

    @cached_property
    def coefficients(self) -> Coefficients:
        """What a step multiplies with."""
        return lif_coefficients(
            self.parameters, self.dt_s, membrane=self.membrane, synapse=self.synapse
        )

    @cached_property
    def offsets(self) -> np.ndarray:
        """Where each population starts among all neurons, the input first; and their number."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    @cached_property
    def delay_steps(self) -> np.ndarray:
        """Axonal delay of every neuron, the input first, in steps."""
        total = sum(self.sizes)
        if isinstance(self.delay_s, (int, float)):
            return np.full(total, whole_steps(self.delay_s, self.dt_s, "delay_s"), dtype=np.int64)
        if tuple(len(part) for part in self.delay_s) != tuple(self.sizes):
            raise OptionError(
                "delay_s must be one delay, or one per neuron of every population.",
                remedy=f"Expected tuples of {self.sizes} delays, the input first.",
            )
        flat = [delay for part in self.delay_s for delay in part]
        return np.array([whole_steps(d, self.dt_s, "delay_s") for d in flat], dtype=np.int64)

    def initial_weights(self, w0: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw weights from N(0, w0/√n_source), in V.

        Parameters
        ----------
        w0 : float
            Standard deviation times the root of the number of sources, V.
        rng : numpy.random.Generator
            Source of chance.

        Returns
        -------
        dict of numpy.ndarray
            (n_source, n_target) by the connection's name.
        """
        return {
            c.name: rng.normal(0.0, w0 / np.sqrt(c.shape[0]), c.shape) for c in self.connections
        }

    def check_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Refuse weights that are not this network's.

        Raises
        ------
        OptionError
            A connection is missing, unknown, of another shape, or holds no numbers.
        """
        expected = {c.name: c.shape for c in self.connections}
        if set(weights) != set(expected):
            raise OptionError(
                f"weights of {sorted(weights)} were given for a network with {sorted(expected)}.",
                remedy="Give one array (n_source, n_target) per connection.",
            )
        for name, shape in expected.items():
            if np.shape(weights[name]) != shape:
                raise OptionError(
                    f"weights {name!r} have shape {np.shape(weights[name])}, not {shape}.",
                    remedy="Weights are (n_source, n_target): a row belongs to a source neuron.",
                )
            if not np.isfinite(weights[name]).all():
                raise OptionError(f"weights {name!r} hold a value that is no number.")

    @property
    def config(self) -> dict[str, Any]:
        """A plain dict from which `from_config` makes the network again."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SpikingNetwork:
        """Make a network from its `config`."""
        delay = config["delay_s"]
        return cls(
            **{
                **config,
                "sizes": tuple(config["sizes"]),
                "recurrent": tuple(config["recurrent"]),
                "parameters": LIFParameters(**config["parameters"]),
                "delay_s": delay
                if isinstance(delay, (int, float))
                else tuple(tuple(part) for part in delay),
            }
        )
