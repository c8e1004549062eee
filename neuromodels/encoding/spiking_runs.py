"""Many noisy runs of a two-layer spiking network side by side, driven bin by bin.

The step of time is that of `neuromodels.spiking.simulation.simulate` without axonal delay; runs lie
along the last axis, so that one instruction moves several. Runs differ in their noise alone.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numba import njit

from neuromodels.spiking.neurons import Coefficients

#: Noise is the sum of two uniform numbers of 16 bits, which is cheap; synapse and membrane add up
#: tens of them, and so the voltage is Gaussian. This makes their standard deviation one.
_UNIT = math.sqrt(6 / (2**32 - 1))


class Runs(NamedTuple):
    """Where all runs stand: the state from which `run_on` goes on.

    Attributes
    ----------
    voltage, current : numpy.ndarray
        (neuron, run), U − U_rest and I, hidden neurons first; V.
    held : numpy.ndarray
        (neuron, run), refractory steps that are left.
    random : numpy.ndarray
        (run,), state of each run's stream of noise.
    """

    voltage: np.ndarray
    current: np.ndarray
    held: np.ndarray
    random: np.ndarray


class Recorded(NamedTuple):
    """What the rule must know of some steps of all runs.

    Attributes
    ----------
    distance : numpy.ndarray
        (step, neuron, run), U − threshold before the reset, V.
    output : numpy.ndarray
        (step, output neuron, run), 1 where it sent a spike.
    steps, hidden, runs : numpy.ndarray
        (spike,) of the hidden neurons, sorted by step.
    """

    distance: np.ndarray
    output: np.ndarray
    steps: np.ndarray
    hidden: np.ndarray
    runs: np.ndarray


def at_rest(n_neurons: int, n_runs: int, seed: int, dtype: type = np.float32) -> Runs:
    """All neurons of all runs at rest.

    Parameters
    ----------
    n_neurons : int
        Hidden and output.
    n_runs : int
        Runs.
    seed : int
        Of the noise.
    dtype : type
        float32 or float64.

    Returns
    -------
    Runs
        State.
    """
    random = np.random.SeedSequence(seed).generate_state(n_runs, np.uint32)
    shape = (n_neurons, n_runs)
    return Runs(
        np.zeros(shape, dtype),
        np.zeros(shape, dtype),
        np.zeros(shape, np.int32),
        np.maximum(random, 1).astype(np.uint32),
    )


def run_on(
    state: Runs,
    drive: np.ndarray,
    weights: np.ndarray,
    noise: np.ndarray,
    coefficients: Coefficients,
    gap_v: float,
    steps_per_bin: int,
    *,
    record: Literal["counts", "output", "rule"] = "counts",
) -> tuple[np.ndarray, Recorded]:
    """Go on with all runs and count the output spikes.

    Parameters
    ----------
    state : Runs
        Where they stand; moved on in place. Its type, float32 or float64, is computed in.
    drive : numpy.ndarray
        (bin, neuron), added to the current at each step, V.
    weights : numpy.ndarray
        (hidden, output), V.
    noise : numpy.ndarray
        (neuron,), standard deviation of the noise added to the current at each step, V.
    coefficients : Coefficients
        Of the step.
    gap_v : float
        From rest to threshold, V.
    steps_per_bin : int
        Steps that a row of the drive holds for.
    record : {"counts", "output", "rule"}
        Nothing but counts; also the output spikes; or all that the rule must know.

    Returns
    -------
    counts : numpy.ndarray
        (bin, output), spikes of all runs together.
    recorded : Recorded
        Arrays that were not asked for have no steps.
    """
    dtype = state.voltage.dtype
    membrane, gain, synapse, refractory = coefficients
    n_hidden, (n, n_runs) = len(weights), state.voltage.shape
    n_steps = len(drive) * steps_per_bin
    known = record == "rule"
    distance = np.empty((n_steps * known, n, n_runs), dtype)
    output = np.zeros((n_steps * (record != "counts"), n - n_hidden, n_runs), dtype)
    most = n_hidden * n_runs * (n_steps // (refractory + 1) + 1) * known
    steps, hidden, runs = (np.empty(most, np.int32) for _ in range(3))
    counts, n_spikes = _run(
        *state,
        np.ascontiguousarray(drive, dtype),
        np.ascontiguousarray(weights, dtype),
        np.asarray(noise, dtype),
        dtype.type(_UNIT),
        steps_per_bin,
        dtype.type(membrane),
        dtype.type(gain),
        dtype.type(synapse),
        refractory,
        dtype.type(gap_v),
        distance,
        output,
        steps,
        hidden,
        runs,
    )
    return counts, Recorded(distance, output, steps[:n_spikes], hidden[:n_spikes], runs[:n_spikes])


@njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _run(
    voltage,
    current,
    held,
    random,
    drive,
    weights,
    noise,
    unit,
    steps_per_bin,
    membrane,
    gain,
    synapse,
    refractory,
    gap,
    distance,
    output,
    steps,
    hidden,
    runs,
):
    n, n_runs = voltage.shape
    n_hidden = weights.shape[0]
    counts = np.zeros((drive.shape[0], n - n_hidden), np.int64)
    recording, keeping = distance.shape[0] > 0, output.shape[0] > 0
    scratch = np.empty(n_runs, voltage.dtype)
    zero, one = voltage.dtype.type(0), voltage.dtype.type(1)
    fired = np.empty((n * n_runs, 2), np.int32)
    n_kept = 0
    for t in range(drive.shape[0] * steps_per_bin):
        row = t // steps_per_bin
        n_fired = 0
        for i in range(n):
            u, c, h = voltage[i], current[i], held[i]
            far = distance[t, i] if recording else scratch
            added, width = drive[row, i], noise[i] * unit
            for r in range(n_runs):
                moved = (u[r] * membrane + c[r] * gain) * (one if h[r] == 0 else zero)
                above = moved - gap
                far[r] = above
                u[r] = moved if above <= zero else zero
                h[r] = max(h[r] - 1, 0)
            if width > zero:
                for r in range(n_runs):
                    # xorshift32 (Marsaglia 2003); numba would widen without the casts.
                    x = random[r]
                    x = np.uint32(x ^ np.uint32(x << np.uint32(13)))
                    x = np.uint32(x ^ np.uint32(x >> np.uint32(17)))
                    x = np.uint32(x ^ np.uint32(x << np.uint32(5)))
                    random[r] = x
                    both = np.int32(x & np.uint32(0xFFFF)) + np.int32(x >> np.uint32(16))
                    c[r] = c[r] * synapse + added + width * voltage.dtype.type(both - 0xFFFF)
            else:
                for r in range(n_runs):
                    c[r] = c[r] * synapse + added
            n_above = 0
            for r in range(n_runs):
                n_above += far[r] > zero
            if n_above:
                for r in range(n_runs):
                    if far[r] > zero:
                        h[r] = refractory
                        fired[n_fired, 0] = i
                        fired[n_fired, 1] = r
                        n_fired += 1
        for k in range(n_fired):
            i, r = fired[k, 0], fired[k, 1]
            if i < n_hidden:
                for o in range(n - n_hidden):
                    current[n_hidden + o, r] += weights[i, o]
                if recording:
                    steps[n_kept], hidden[n_kept], runs[n_kept] = t, i, r
                    n_kept += 1
            else:
                counts[row, i - n_hidden] += 1
                if keeping:
                    output[t, i - n_hidden, r] = 1
    return counts, n_kept
