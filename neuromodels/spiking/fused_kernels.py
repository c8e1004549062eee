"""Compiled loops behind `fused`: all steps of a layer forward, and their exact reverse.

Arrays are (batch, step, neuron), C-contiguous, all float32 or all float64. What a call does not
need is given as an array of size zero, so that each precision is compiled once. The order of
operations of a step is that of `steps.lif_step`, to the last bit.

Reverse: with a_U the gradient by U after reset, a_I by I, g by a spike of this step,

    g   ← g + a_U (U_rest − U)                        where the gradient passes the reset
    a_U ← a_U (1 − S) + g σ'(U)                       (0 where held; a_U + g σ' with no reset)
    a_I ← a_I · synapse_decay + a_U · current_gain,   a_U ← a_U · membrane_decay

and the gradient by a weight is a_I summed over the steps at which its spikes arrive.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_OPTIONS = {"cache": True, "error_model": "numpy", "nogil": True}
#: Elements of a row that are looked at together for a spike.
_BLOCK = 16


@njit(**_OPTIONS)
def find_spikes(bits, shift, one, row_start, sources):
    """List the spikes of dense rows; returns their number.

    Parameters
    ----------
    bits : numpy.ndarray
        (row, n) int32, the memory of a float32 array; of a float64 array, 2 n wide.
    shift : int
        0 for float32, 1 for float64 (little-endian: a one has its bits in the second half).
    one : int
        The int32 that stands for 1.0.
    row_start, sources : numpy.ndarray
        Filled: where the spikes of each row begin, and their neurons.

    Returns
    -------
    int
        -1 if a value is neither 0 nor 1; -2 if there are more spikes than `sources` has room for.
    """
    n_rows, width = bits.shape
    found = 0
    row_start[0] = 0
    for row in range(n_rows):
        block = 0
        while block < width:
            stop = min(block + _BLOCK, width)
            seen = np.int32(0)
            if stop - block == _BLOCK:
                for k in range(_BLOCK):
                    seen |= bits[row, block + k]
            else:
                for k in range(block, stop):
                    seen |= bits[row, k]
            if seen != 0:
                for k in range(block, stop):
                    if bits[row, k] == 0:
                        continue
                    if bits[row, k] != one or (shift == 1 and k % 2 == 0):
                        return -1
                    if found == sources.size:
                        return -2
                    sources[found] = k >> shift
                    found += 1
            block = stop
        row_start[row + 1] = found
        if row == n_rows // 16 and 12 * found > sources.size:
            return -2  # far too many in the first rows: no need to see the others
    return found


@njit(**_OPTIONS)
def _number(like, value):
    """A number in the precision of another."""
    out = np.empty(1, dtype=np.asarray(like).dtype)
    out[0] = value
    return out[0]


@njit(**_OPTIONS)
def run_forward(
    row_start, sources, weight, drive, recurrent, delays, constants, refractory_steps,
    voltage, current, held, spikes, lead, trace, fired_start, fired,
):  # fmt: skip
    """Simulate a layer.

    Parameters
    ----------
    row_start, sources : numpy.ndarray
        Arriving spikes of row batch · n_steps + step, or size 0.
    weight : numpy.ndarray
        (source, neuron).
    drive : numpy.ndarray
        (batch, step, neuron) arriving current, added to that of the spikes, or size 0.
    recurrent, delays : numpy.ndarray
        (neuron, neuron) and (neuron,), or size 0.
    constants : numpy.ndarray
        membrane_decay, current_gain, synapse_decay, rest, threshold.
    refractory_steps : int
    voltage, current, held : numpy.ndarray
        (batch, neuron), the state; changed in place.
    spikes : numpy.ndarray
        Filled from step `lead` on; those before are the spikes of the steps before the start, as
        far as recurrent delays reach back.
    lead : int
    trace : numpy.ndarray
        Filled with the voltage before reset, NaN where held; or size 0.
    fired_start, fired : numpy.ndarray
        Filled as by `find_spikes`: the spikes as a list.

    Returns
    -------
    int
        Number of spikes; -2 if `fired` is too short for them.
    """
    n_batch, n_steps, n = spikes.shape
    n_steps -= lead
    keep = trace.size > 0
    membrane, gain, synapse, rest, threshold = constants
    zero, one, nothing = _number(rest, 0), _number(rest, 1), _number(rest, np.nan)
    by_events, by_drive, is_recurrent = row_start.size > 0, drive.size > 0, recurrent.size > 0
    # The steps to wait are kept as floats: one width for all that a step touches.
    u, i, wait = np.empty_like(voltage[0]), np.empty_like(voltage[0]), np.empty_like(voltage[0])
    seen, sent, refractory = np.empty_like(u), np.empty_like(u), one * refractory_steps
    n_fired, fits = 0, True
    fired_start[0] = 0
    for b in range(n_batch):
        for k in range(n):
            u[k], i[k], wait[k] = voltage[b, k], current[b, k], one * held[b, k]
        for t in range(n_steps):
            for k in range(n):
                moved = rest + (u[k] - rest) * membrane + i[k] * gain
                now = rest if wait[k] > zero else moved
                seen[k] = nothing if wait[k] > zero else moved
                sent[k] = one if now > threshold else zero
                u[k] = rest if now > threshold else now
                left = wait[k] - one if wait[k] > zero else zero
                wait[k] = refractory if now > threshold else left
                i[k] *= synapse
            for k in range(n):
                spikes[b, lead + t, k] = sent[k]
            if keep:
                for k in range(n):
                    trace[b, t, k] = seen[k]
            if n_fired + n > fired.size:
                fits = False
            else:
                # Without a branch: every neuron is written, and overwritten if it was silent.
                for k in range(n):
                    fired[n_fired] = k
                    n_fired += np.int64(sent[k])
            fired_start[b * n_steps + t + 1] = n_fired
            if by_drive:
                for k in range(n):
                    i[k] += drive[b, t, k]
            if by_events:
                row = b * n_steps + t
                for event in range(row_start[row], row_start[row + 1]):
                    source = sources[event]
                    for k in range(n):
                        i[k] += weight[source, k]
            if is_recurrent:
                for source in range(n):
                    when = lead + t - delays[source]
                    if spikes[b, when, source] != 0:
                        for k in range(n):
                            i[k] += recurrent[source, k]
        for k in range(n):
            voltage[b, k], current[b, k], held[b, k] = u[k], i[k], int(wait[k])
    return n_fired if fits else -2


@njit(**_OPTIONS)
def _surrogate(shape, slope, height, distance, out):
    """σ' of a row of distances; the shapes of `surrogates`, by number."""
    n = distance.size
    zero, one, four = _number(slope, 0), _number(slope, 1), _number(slope, 4)
    if shape == 0:
        for k in range(n):
            h = one + abs(slope * distance[k])
            out[k] = height / (h * h)
    elif shape == 1:
        for k in range(n):
            falling = np.exp(-abs(slope * distance[k]))
            h = one + falling
            out[k] = height * four * falling / (h * h)
    elif shape == 2:
        for k in range(n):
            h = slope * distance[k]
            out[k] = height / (one + h * h)
    elif shape == 3:
        for k in range(n):
            h = one - abs(slope * distance[k])
            out[k] = height * h if h > zero else zero
    else:
        for k in range(n):
            out[k] = height


@njit(cache=True, error_model="numpy", nogil=True, fastmath={"reassoc", "contract"})
def _dot(a, i, b, j, k):
    """Inner product of row a[i] with row b[j, k]."""
    total = _number(a[i, 0], 0)
    for m in range(a.shape[1]):
        total += a[i, m] * b[j, k, m]
    return total


@njit(**_OPTIONS)
def run_backward(
    row_start, sources, grad_weight, grad_drive, recurrent, delays, grad_recurrent, constants,
    passes_reset, shape, trace, spikes, lead, grad_spikes, grad_trace, grad_voltage, grad_current,
):  # fmt: skip
    """Reverse `run_forward`: gradients of everything that went in.

    Parameters
    ----------
    row_start, sources, recurrent, delays, trace, spikes, lead
        As in `run_forward`, and what it filled.
    grad_weight, grad_drive, grad_recurrent : numpy.ndarray
        Zeros to be added to (`grad_drive` is set), or size 0. A recurrent layer needs
        `grad_drive`.
    constants : numpy.ndarray
        As in `run_forward`, then slope and height of the surrogate.
    passes_reset : int
        2: gradient through the reset; 1: the reset is a constant; 0: no reset in the gradient.
    shape : int
        Number of the surrogate's shape.
    grad_spikes : numpy.ndarray
        Gradient by the spikes, as long as `spikes`, or size 0 for leaky integrators. Of a
        recurrent layer it is changed in place; the steps before the start then hold the gradient
        by those spikes.
    grad_trace : numpy.ndarray
        Gradient by the voltage, of leaky integrators, or size 0.
    grad_voltage, grad_current : numpy.ndarray
        (batch, neuron), by the state after the last step; changed into that before the first.
    """
    n_batch, n_steps, n = trace.shape
    membrane, gain, synapse, rest, threshold, slope, height = constants
    zero, one, gap = _number(rest, 0), _number(rest, 1), threshold - rest
    by_events, by_drive = grad_weight.size > 0, grad_drive.size > 0
    is_recurrent, by_spikes, by_trace = (
        recurrent.size > 0,
        grad_spikes.size > 0,
        grad_trace.size > 0,
    )
    a_u, a_i = np.empty_like(grad_voltage[0]), np.empty_like(grad_voltage[0])
    distance, free = np.empty_like(a_u), np.ones_like(a_u)
    slopes, g = np.zeros_like(a_u), np.zeros_like(a_u)
    for b in range(n_batch):
        for k in range(n):
            a_u[k], a_i[k] = grad_voltage[b, k], grad_current[b, k]
        for t in range(n_steps - 1, -lead - 1, -1):
            if t >= 0:
                if by_drive:
                    for k in range(n):
                        grad_drive[b, t, k] = a_i[k]
                if by_events:
                    row = b * n_steps + t
                    for event in range(row_start[row], row_start[row + 1]):
                        source = sources[event]
                        for k in range(n):
                            grad_weight[source, k] += a_i[k]
            if is_recurrent:
                for source in range(n):
                    arrival = t + delays[source]
                    if arrival < 0 or arrival >= n_steps:
                        continue
                    grad_spikes[b, lead + t, source] += _dot(
                        recurrent, source, grad_drive, b, arrival
                    )
                    if spikes[b, lead + t, source] != 0:
                        for k in range(n):
                            grad_recurrent[source, k] += grad_drive[b, arrival, k]
            if t < 0:
                continue
            if by_spikes:
                for k in range(n):
                    now = trace[b, t, k]
                    free[k] = one if now == now else zero
                    distance[k] = (now if now == now else rest) - threshold
                    g[k] = grad_spikes[b, lead + t, k]
                _surrogate(shape, slope, height, distance, slopes)
            # Masks that are multiplied with, not branches: the compiler then makes vectors.
            if passes_reset == 0:
                for k in range(n):
                    a_u[k] += g[k] * slopes[k]
            else:
                if passes_reset == 2:
                    for k in range(n):
                        g[k] -= a_u[k] * (distance[k] + gap)
                for k in range(n):
                    kept = zero if distance[k] > zero else one
                    a_u[k] = (a_u[k] * kept + g[k] * slopes[k]) * free[k]
            if by_trace:
                for k in range(n):
                    a_u[k] += grad_trace[b, t, k]
            for k in range(n):
                a_i[k] = a_i[k] * synapse + a_u[k] * gain
                a_u[k] *= membrane
        for k in range(n):
            grad_voltage[b, k], grad_current[b, k] = a_u[k], a_i[k]


@njit(**_OPTIONS)
def filter_kernel(signal, rise, decay, drive, reverse):
    """Filter (batch, step, neuron) with a double-exponential kernel along the steps, from rest.

    Parameters
    ----------
    signal : numpy.ndarray
        C-contiguous.
    rise, decay, drive : float
        Of the `Kernel`, in the precision of the signal.
    reverse : bool
        Run from the last step to the first (the adjoint).

    Returns
    -------
    numpy.ndarray
        Same shape.
    """
    n_batch, n_steps, n = signal.shape
    out = np.empty_like(signal)
    z, y = np.empty_like(signal[0, 0]), np.empty_like(signal[0, 0])
    for b in range(n_batch):
        z[:] = 0
        y[:] = 0
        for step in range(n_steps):
            t = n_steps - 1 - step if reverse else step
            for k in range(n):
                y[k] = decay * y[k] + drive * z[k]
                z[k] = rise * z[k] + signal[b, t, k]
                out[b, t, k] = y[k]
    return out
