"""Small spiking networks and spikes, and what they do written out as plain loops."""

from __future__ import annotations

import math

import numpy as np
from scipy.signal import fftconvolve

from neuromodels.spiking.simulation import Events


def random_events(n_neurons, n_steps, rate_hz, rng, dt_s=1e-4):
    """Poisson spikes, sorted by step; a neuron may fire twice in a step."""
    n = rng.poisson(n_neurons * rate_hz * n_steps * dt_s)
    steps = np.sort(rng.integers(0, n_steps, n))
    return Events(steps, rng.integers(0, n_neurons, n))


def part(events, start, stop):
    """Events of some steps, counted from the first of them."""
    a, b = np.searchsorted(events.steps, (start, stop))
    return Events(events.steps[a:b] - start, events.neurons[a:b])


def dense(events, n_steps, n_neurons):
    """Spikes per step and neuron."""
    counts = np.zeros((n_steps, n_neurons))
    np.add.at(counts, (events.steps, events.neurons), 1.0)
    return counts


def double_exponential(n_steps, rise, decay, dt_s, method="exact"):
    """Values of e^(−t/decay) − e^(−t/rise) at 0, dt, …; with Euler, of its stepped form."""
    if method == "euler":
        return (1 - dt_s / decay) ** np.arange(n_steps) - (1 - dt_s / rise) ** np.arange(n_steps)
    times = dt_s * np.arange(n_steps)
    return np.exp(-times / decay) - np.exp(-times / rise)


def convolved(signal, kernel):
    """Causal convolution of (time, ...) with a kernel."""
    shape = (-1, *(1,) * (signal.ndim - 1))
    return fftconvolve(signal, kernel.reshape(shape), axes=0)[: len(signal)]


def literal_run(network, weights, inputs, n_steps, drive=None):
    """Spikes (per population, dense), arrivals and U − threshold, one step after the other."""
    p, dt_s, sizes = network.parameters, network.dt_s, network.sizes
    membrane, gain = math.exp(-dt_s / p.tau_mem_s), p.tau_syn_s / (p.tau_mem_s - p.tau_syn_s)
    gain *= membrane - math.exp(-dt_s / p.tau_syn_s)
    if network.membrane == "euler":
        membrane, gain = 1 - dt_s / p.tau_mem_s, dt_s / p.tau_mem_s
    synapse = math.exp(-dt_s / p.tau_syn_s)
    if network.synapse == "euler":
        synapse = 1 - dt_s / p.tau_syn_s
    held_for = round(p.refractory_s / dt_s)
    parts = np.split(network.delay_steps, np.cumsum(sizes)[:-1])
    longest = int(network.delay_steps.max())
    spikes = [np.zeros((n_steps, n)) for n in sizes]
    spikes[0] = dense(inputs, n_steps, sizes[0])
    arrivals = [np.zeros((n_steps + longest, n)) for n in sizes]
    voltage = [np.full(n, p.rest_v) for n in sizes]
    current = [np.zeros(n) for n in sizes]
    free_at = [np.zeros(n, int) for n in sizes]
    seen = [np.zeros((n_steps, n)) for n in sizes]
    for t in range(n_steps):
        for layer, delays in enumerate(parts):
            if layer:
                u = p.rest_v + membrane * (voltage[layer] - p.rest_v) + gain * current[layer]
                u[t < free_at[layer]] = p.rest_v
                seen[layer][t] = u - p.threshold_v
                fired = u > p.threshold_v
                spikes[layer][t] = fired
                u[fired] = p.rest_v
                free_at[layer][fired] = t + 1 + held_for
                voltage[layer] = u
            for neuron, count in enumerate(spikes[layer][t]):
                arrivals[layer][t + delays[neuron], neuron] += count
        for layer in range(1, len(sizes)):
            current[layer] *= synapse
            for c in network.into(layer):
                current[layer] += arrivals[c.source][t] @ weights[c.name]
        if drive is not None:
            for layer, row in enumerate(np.split(drive[t], np.cumsum(sizes[1:])[:-1])):
                current[layer + 1] += row
    return spikes, [a[:n_steps] for a in arrivals], seen[1:]
