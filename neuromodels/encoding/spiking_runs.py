"""Many noisy runs of a two-layer spiking network, driven bin by bin.

The step of time is that of `neuromodels.spiking.simulation.simulate` without axonal delay. Runs
differ in their noise alone.
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
        (run, neuron), U − U_rest and I, hidden neurons first; V.
    held : numpy.ndarray
        (run, neuron), refractory steps that are left.
    random : numpy.ndarray
        (run, neuron), state of each neuron's stream of noise.
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
        (run, step, neuron), U − threshold before the reset, V.
    output : numpy.ndarray
        (run, step, output neuron), 1 where it sent a spike.
    steps, hidden : numpy.ndarray
        (spike,) of the hidden neurons, run after run, each sorted by step.
    bounds : numpy.ndarray
        (run + 1,), where the spikes of each run begin, and their number.
    """

    distance: np.ndarray
    output: np.ndarray
    steps: np.ndarray
    hidden: np.ndarray
    bounds: np.ndarray

    def of(self, run: int) -> tuple[np.ndarray, np.ndarray]:
        """Steps and neurons of the hidden spikes of one run."""
        one = slice(self.bounds[run], self.bounds[run + 1])
        return self.steps[one], self.hidden[one]


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
    shape = (n_runs, n_neurons)
    random = np.random.SeedSequence(seed).generate_state(n_runs * n_neurons, np.uint32)
    # Zero is the one state that a stream never leaves.
    random = np.maximum(random, 1).astype(np.uint32).reshape(shape)
    return Runs(np.zeros(shape, dtype), np.zeros(shape, dtype), np.zeros(shape, np.int32), random)


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
        (bin, neuron), added to the current at each step, V; or (run, bin, neuron), one per run.
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
    n_hidden, (n_runs, n) = len(weights), state.voltage.shape
    drive = drive if drive.ndim == 3 else drive[None]
    n_steps = drive.shape[1] * steps_per_bin
    known = record == "rule"
    distance = np.empty((n_runs, n_steps * known, n), dtype)
    output = np.zeros((n_runs, n_steps * (record != "counts"), n - n_hidden), dtype)
    most = n_hidden * n_runs * (n_steps // (refractory + 1) + 1) * known
    steps, hidden = np.empty(most, np.int32), np.empty(most, np.int32)
    counts, bounds = _run(
        *state,
        np.ascontiguousarray(drive, dtype),
        np.ascontiguousarray(weights, dtype),
        np.asarray(noise * _UNIT, dtype),
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
    )
    return counts, Recorded(distance, output, steps[: bounds[-1]], hidden[: bounds[-1]], bounds)


@njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _run(
    voltage,
    current,
    held,
    random,
    drive,
    weights,
    noise,
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
):
    n_runs, n = voltage.shape
    n_hidden = weights.shape[0]
    counts = np.zeros((drive.shape[1], n - n_hidden), np.int64)
    bounds = np.zeros(n_runs + 1, np.int64)
    recording, keeping = distance.shape[1] > 0, output.shape[1] > 0
    scratch, fired = np.empty(n, voltage.dtype), np.empty(n, np.int64)
    zero, one = voltage.dtype.type(0), voltage.dtype.type(1)
    noisy = noise.max() > zero
    n_kept = 0
    for run in range(n_runs):
        u, c, h, stream = voltage[run], current[run], held[run], random[run]
        given = drive[run % drive.shape[0]]
        for t in range(drive.shape[1] * steps_per_bin):
            row = t // steps_per_bin
            added = given[row]
            far = distance[run, t] if recording else scratch
            n_above = 0
            for i in range(n):
                moved = (u[i] * membrane + c[i] * gain) * (one if h[i] == 0 else zero)
                above = moved - gap
                far[i] = above
                u[i] = moved if above <= zero else zero
                h[i] = max(h[i] - 1, 0)
                n_above += above > zero
            for i in range(n):
                c[i] = c[i] * synapse + added[i]
            if noisy:
                for i in range(n):
                    # xorshift32 (Marsaglia 2003); numba would widen without the casts.
                    x = stream[i]
                    x = np.uint32(x ^ np.uint32(x << np.uint32(13)))
                    x = np.uint32(x ^ np.uint32(x >> np.uint32(17)))
                    x = np.uint32(x ^ np.uint32(x << np.uint32(5)))
                    stream[i] = x
                    both = np.int32(x & np.uint32(0xFFFF)) + np.int32(x >> np.uint32(16))
                    c[i] += noise[i] * voltage.dtype.type(both - 0xFFFF)
            if not n_above:
                continue
            n_fired = 0
            for i in range(n):
                if far[i] > zero:
                    h[i] = refractory
                    fired[n_fired] = i
                    n_fired += 1
            for k in range(n_fired):
                i = fired[k]
                if i < n_hidden:
                    for o in range(n - n_hidden):
                        c[n_hidden + o] += weights[i, o]
                    if recording:
                        steps[n_kept], hidden[n_kept] = t, i
                        n_kept += 1
                else:
                    counts[row, i - n_hidden] += 1
                    if keeping:
                        output[run, t, i - n_hidden] = 1
        bounds[run + 1] = n_kept
    return counts, bounds
