"""What an engine of the SuperSpike rule is: three ways to the same sum.

For the synapse from j to i the rule asks for

    G_ji = dt Σ_t e_i(t) (α ∗ h_ij)(t),    h_ij(u) = σ'(U_i(u)) (ε ∗ S_j)(u),

with S_j the spikes of j where they arrive (Zenke & Ganguli 2018, section 2). G is the derivative
of the loss by the weight as the rule sees it; the rule steps against it. Weights change every
update block; an engine never starts anew there: eligibility reaches across.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from neuromodels.options import OptionError
from neuromodels.spiking.kernels import Kernel
from neuromodels.spiking.simulation import Events


class RuleKernels(NamedTuple):
    """The two filters of the rule.

    Attributes
    ----------
    psp : Kernel
        ε: what a presynaptic spike leaves at the synapse.
    eligibility : Kernel
        α: of the van Rossum loss, and so of the eligibility trace, 1/s.
    """

    psp: Kernel
    eligibility: Kernel


class Chunk(NamedTuple):
    """Some steps in the life of one population.

    Attributes
    ----------
    surrogate : numpy.ndarray
        (step, neuron) σ'(U).
    error : numpy.ndarray
        (step, neuron) e, 1/s: output minus target, filtered.
    arrivals : sequence of Events
        Spikes arriving at each incoming connection, steps from the chunk's start, sorted.
    """

    surrogate: np.ndarray
    error: np.ndarray
    arrivals: Sequence[Events]


class Engine(Protocol):
    """The sums G of all connections into one population."""

    def accumulate(self, chunk: Chunk) -> None:
        """Go through the steps that follow those seen so far."""

    def take(self) -> list[np.ndarray]:
        """Return G (n_source, n_target) since the last call, per connection, and start new sums."""

    def state(self) -> dict[str, np.ndarray]:
        """Everything that is carried from chunk to chunk, for a checkpoint."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""


#: Names of the engines, fastest first.
ENGINES = ("event", "gemm", "online")


def make_engine(
    name: str,
    shapes: Sequence[tuple[int, int]],
    kernels: RuleKernels,
    dt_s: float,
    dtype: type = np.float64,
    **options: float,
) -> Engine:
    """Make an engine for the connections into one population.

    Parameters
    ----------
    name : {"event", "gemm", "online"}
        "event": one backward sweep and a row addition per spike. "gemm": a backward sweep and one
        matrix product per chunk. "online": the rule as it is written, step by step and synapse by
        synapse.
    shapes : sequence of tuple of int
        (n_source, n_target) of each connection.
    kernels : RuleKernels
        Filters.
    dt_s : float
        Step, s.
    dtype : type
        float32 or float64.
    **options
        Of "online" alone: ``psp_threshold``, ``error_threshold``, ``peak_decay``.

    Returns
    -------
    Engine
        At rest.

    Raises
    ------
    OptionError
        No such engine, or an option that it cannot do exactly.
    """
    if name not in ENGINES:
        raise OptionError(f"there is no engine {name!r}.", remedy=f"Known: {', '.join(ENGINES)}.")
    if name == "online":
        from neuromodels.fits.superspike.online import OnlineEngine

        return OnlineEngine(shapes, kernels, dt_s, dtype, **options)
    if options:
        raise OptionError(
            f"the engine {name!r} cannot do {', '.join(sorted(options))} exactly.",
            remedy="Take the engine 'online', which goes through every step of every synapse.",
        )
    if name == "gemm":
        from neuromodels.fits.superspike.gemm import GemmEngine

        return GemmEngine(shapes, kernels, dt_s, dtype)
    from neuromodels.fits.superspike.event import EventEngine

    return EventEngine(shapes, kernels, dt_s, dtype)


def steps_to_remember(kernels: RuleKernels, dtype: type) -> int:
    """Steps after which what a synapse has seen no longer counts at this precision."""
    kernel = max(kernels, key=lambda one: max(one.rise, one.decay))
    return kernel.memory(float(np.finfo(dtype).eps))


def row_bounds(shapes: Sequence[tuple[int, int]]) -> np.ndarray:
    """Where the rows of each connection begin in one matrix of all sources, and their number."""
    return np.concatenate([[0], np.cumsum([n_source for n_source, _ in shapes])])


def parted(rows: np.ndarray, bounds: np.ndarray) -> list[np.ndarray]:
    """Cut a matrix of all sources into one (n_source, n_target) per connection."""
    return [rows[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def joined_arrivals(arrivals: Sequence[Events], bounds: np.ndarray) -> Events:
    """Arrivals of all connections by time, as rows of one matrix of synapses.

    Parameters
    ----------
    arrivals : sequence of Events
        Per connection.
    bounds : numpy.ndarray
        (connection + 1,), where the rows of each connection start.

    Returns
    -------
    Events
        Sorted by step; the neurons are rows.
    """
    steps = np.concatenate([events.steps for events in arrivals])
    rows = np.concatenate(
        [events.neurons + start for events, start in zip(arrivals, bounds, strict=False)]
    )
    if len(arrivals) > 1:
        order = np.argsort(steps, kind="stable")
        steps, rows = steps[order], rows[order]
    return Events(steps, rows)
