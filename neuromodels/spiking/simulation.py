"""Run a spiking network, compiled, any number of steps at a time, exact across the cuts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numba import njit

from neuromodels.spiking.network import SpikingNetwork


class Events(NamedTuple):
    """Spikes, sorted by step.

    Attributes
    ----------
    steps : numpy.ndarray
        (n,), step of each spike, from the start of the run or chunk that it belongs to.
    neurons : numpy.ndarray
        (n,), neuron of each, within its population.
    """

    steps: np.ndarray
    neurons: np.ndarray


class NetworkState(NamedTuple):
    """Everything that a network carries from one step to the next.

    Attributes
    ----------
    voltage : numpy.ndarray
        (neuron,), U − U_rest of all neurons but the input, V.
    current : numpy.ndarray
        (neuron,), V.
    held : numpy.ndarray
        (neuron,), refractory steps that are left.
    under_way : Events
        Spikes that were sent and have not arrived; neurons counted over all populations, steps
        from now on.
    """

    voltage: np.ndarray
    current: np.ndarray
    held: np.ndarray
    under_way: Events


class Activity(NamedTuple):
    """What a network did.

    Attributes
    ----------
    spikes : tuple of Events
        Of every population, the input first.
    arrivals : tuple of Events
        The same spikes, and earlier ones, where they arrive: after the axonal delay.
    distance : tuple of numpy.ndarray
        (step, neuron) U − threshold of every population but the input, V; σ' of it where a
        surrogate was given; empty if not recorded.
    """

    spikes: tuple[Events, ...]
    arrivals: tuple[Events, ...]
    distance: tuple[np.ndarray, ...]


def resting_state(network: SpikingNetwork, dtype: type = np.float64) -> NetworkState:
    """A network at rest, with no spike under way."""
    n = sum(network.sizes[1:])
    none = np.empty(0, dtype=np.int64)
    return NetworkState(
        np.zeros(n, dtype), np.zeros(n, dtype), np.zeros(n, np.int32), Events(none, none)
    )


def simulate(
    network: SpikingNetwork,
    weights: Mapping[str, np.ndarray],
    inputs: Events,
    n_steps: int,
    state: NetworkState | None = None,
    *,
    record: Literal["before reset", "after reset", "no"] = "before reset",
    superspike: tuple[float, float] | None = None,
    drive: np.ndarray | None = None,
    steps_per_row: int = 1,
    noise: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[Activity, NetworkState]:
    """Run a network on input spikes.

    Parameters
    ----------
    network : SpikingNetwork
        Populations and constants.
    weights : mapping of str to numpy.ndarray
        (n_source, n_target) per connection, V; their type (float32 or float64) is computed in.
    inputs : Events
        Spikes of the input, steps 0 … n_steps − 1, sorted.
    n_steps : int
        How long to run.
    state : NetworkState, optional
        Where to go on; at rest by default. It is not changed.
    record : {"before reset", "after reset", "no"}
        Which voltage to keep: the one compared with the threshold, or the one that a spike leaves.
    superspike : tuple of float, optional
        (β, height): record height · (1 + |β (U − threshold)|)⁻² instead of the voltage, with β in
        1/V. The same as `SuperSpikeSurrogate.derivative`, but without a second pass.
    drive : numpy.ndarray, optional
        (row, neuron) added to the current of every neuron but the input at each step, V.
    steps_per_row : int
        Steps that a row of `drive` holds for.
    noise : numpy.ndarray, optional
        (neuron,), standard deviation of the Gaussian noise added to the current per step, V.
    seed : int
        Of the noise.

    Returns
    -------
    activity : Activity
        Spikes, arrivals and voltages.
    state : NetworkState
        After the last step: running on from it is the same as running in one piece.
    """
    dtype = np.result_type(*weights.values())
    state = resting_state(network, dtype) if state is None else state
    offsets, n_input = network.offsets, network.sizes[0]
    n_neurons = int(offsets[-1]) - n_input
    parts = [np.ascontiguousarray(weights[c.name], dtype=dtype) for c in network.connections]
    flat = parts[0].ravel() if len(parts) == 1 else np.concatenate([p.ravel() for p in parts])
    starts = np.concatenate([[0], np.cumsum([p.size for p in parts])]).astype(np.int64)
    table = np.array(
        [
            (c.source, offsets[c.target] - n_input, c.shape[1], starts[i])
            for i, c in enumerate(network.connections)
        ],
        dtype=np.int64,
    )
    voltage, current, held = (part.copy() for part in state[:3])
    sent_steps, sent = _merged(inputs, network.delay_steps, state.under_way, n_input)
    if drive is None:
        drive = np.empty((0, n_neurons), dtype)
    if noise is None:
        noise = np.empty(0, dtype)
    rows = 0 if record == "no" else n_steps
    # One block per population, so that each is contiguous.
    recorded = np.empty(rows * n_neurons, dtype)
    beta, height = superspike or (0.0, 0.0)
    membrane, gain, synapse, refractory = network.coefficients
    spike_steps, spike_ids, late_steps, late_ids, n_arrived = _run(
        n_steps,
        voltage,
        current,
        held,
        flat,
        table,
        offsets,
        network.delay_steps,
        sent_steps,
        sent,
        drive.astype(dtype, copy=False),
        steps_per_row,
        noise.astype(dtype, copy=False),
        seed,
        dtype.type(membrane),
        dtype.type(gain),
        dtype.type(synapse),
        refractory,
        dtype.type(network.parameters.gap_v),
        record == "after reset",
        dtype.type(beta),
        dtype.type(height),
        recorded,
    )
    under_way = Events(late_steps[n_arrived:] - n_steps, late_ids[n_arrived:])
    sent_by_input = inputs.steps < n_steps
    spikes = (
        Events(inputs.steps[sent_by_input], inputs.neurons[sent_by_input]),
        *_by_population(spike_steps, spike_ids, offsets)[1:],
    )
    arrivals = _by_population(late_steps[:n_arrived], late_ids[:n_arrived], offsets)
    parted = tuple(
        recorded[rows * (start - n_input) :][: rows * size].reshape(rows, size)
        for start, size in zip(offsets[1:-1], network.sizes[1:], strict=True)
    )
    after = NetworkState(voltage, current, held, under_way)
    return Activity(spikes, arrivals, parted), after


def _merged(
    inputs: Events, delays: np.ndarray, under_way: Events, n_input: int
) -> tuple[np.ndarray, np.ndarray]:
    """Arrivals known before the run: of input spikes, and of all that were under way."""
    steps = np.concatenate([under_way.steps, inputs.steps + delays[inputs.neurons]])
    neurons = np.concatenate([under_way.neurons, inputs.neurons])
    # Within a step the input comes first, as without a cut: sums are then equal to the last bit.
    order = np.lexsort((neurons >= n_input, steps))
    return steps[order].astype(np.int64), neurons[order].astype(np.int64)


def _by_population(
    steps: np.ndarray, neurons: np.ndarray, offsets: np.ndarray
) -> tuple[Events, ...]:
    population = np.searchsorted(offsets, neurons, side="right") - 1
    found = []
    for index, start in enumerate(offsets[:-1]):
        chosen = population == index
        found.append(Events(steps[chosen], neurons[chosen] - start))
    return tuple(found)


@njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _run(
    n_steps,
    voltage,
    current,
    held,
    weights,
    table,
    offsets,
    delays,
    sent_steps,
    sent,
    drive,
    steps_per_row,
    noise,
    seed,
    membrane,
    gain,
    synapse,
    refractory,
    gap,
    after_reset,
    beta,
    height,
    recorded,
):
    n, n_input = voltage.size, offsets[1]
    longest = delays.max() + 1
    most = n * (n_steps // (refractory + 1) + 1)
    spike_steps = np.empty(most, np.int64)
    spike_ids = np.empty(most, np.int64)
    n_spikes = 0
    # Spikes of the populations wait in one list per step of arrival.
    waiting = np.empty((longest, n), np.int64)
    n_waiting = np.zeros(longest, np.int64)
    arrived_steps = np.empty(most + sent.size, np.int64)
    arrived_ids = np.empty(most + sent.size, np.int64)
    n_arrived, known = 0, 0
    recording = recorded.size > 0
    distance = np.empty(n, voltage.dtype)
    zero, one = voltage.dtype.type(0), voltage.dtype.type(1)
    if noise.size:
        np.random.seed(seed)
    for t in range(n_steps):
        for i in range(n):
            moved = voltage[i] * membrane + current[i] * gain
            moved = moved if held[i] == 0 else zero
            voltage[i] = moved
            distance[i] = moved - gap
        for i in range(n):
            held[i] = max(held[i] - 1, 0)
            current[i] *= synapse
        for i in range(n):
            if distance[i] > 0:
                voltage[i] = 0
                held[i] = refractory
                if after_reset:
                    distance[i] = -gap
                spike_steps[n_spikes] = t
                spike_ids[n_spikes] = n_input + i
                n_spikes += 1
                slot = (t + delays[n_input + i]) % longest
                waiting[slot, n_waiting[slot]] = n_input + i
                n_waiting[slot] += 1
        if recording:
            for p in range(1, offsets.size - 1):
                start, size = offsets[p] - n_input, offsets[p + 1] - offsets[p]
                begin = n_steps * start + t * size
                seen, kept = distance[start : start + size], recorded[begin : begin + size]
                if height > 0:
                    for i in range(size):
                        scaled = one + abs(beta * seen[i])
                        kept[i] = height / (scaled * scaled)
                else:
                    kept[:] = seen
        if drive.shape[0]:
            added = drive[t // steps_per_row]
            for i in range(n):
                current[i] += added[i]
        if noise.size:
            for i in range(n):
                current[i] += noise[i] * np.random.standard_normal()
        first = n_arrived
        while known < sent.size and sent_steps[known] == t:
            arrived_ids[n_arrived] = sent[known]
            n_arrived += 1
            known += 1
        slot = t % longest
        for k in range(n_waiting[slot]):
            arrived_ids[n_arrived] = waiting[slot, k]
            n_arrived += 1
        n_waiting[slot] = 0
        for k in range(first, n_arrived):
            arrived_steps[k] = t
            source = arrived_ids[k]
            population = 0
            while source >= offsets[population + 1]:
                population += 1
            for c in range(table.shape[0]):
                if table[c, 0] == population:
                    start, size = table[c, 1], table[c, 2]
                    begin = table[c, 3] + (source - offsets[population]) * size
                    strength = weights[begin : begin + size]
                    target = current[start : start + size]
                    for i in range(size):
                        target[i] += strength[i]
    # What is still under way, in order of arrival, is appended to what has arrived.
    total = n_arrived
    for ahead in range(longest):
        t = n_steps + ahead
        while known < sent.size and sent_steps[known] == t:
            arrived_steps[total] = t
            arrived_ids[total] = sent[known]
            total += 1
            known += 1
        slot = t % longest
        for k in range(n_waiting[slot]):
            arrived_steps[total] = t
            arrived_ids[total] = waiting[slot, k]
            total += 1
        n_waiting[slot] = 0
    return (
        spike_steps[:n_spikes],
        spike_ids[:n_spikes],
        arrived_steps[:total],
        arrived_ids[:total],
        n_arrived,
    )
