"""From light to the drive of ganglion cells: photoreceptors, bipolar subunits, amacrine cells.

Time runs in steps of dt; the drive of a step depends on what was on screen before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from neuromodels.datasets.simulated.anatomy import Anatomy, Screen, receptive_fields
from neuromodels.datasets.simulated.parameters import RetinaParameters

IMPULSE_S = 0.5  # of the filter that is stored


@dataclass(frozen=True, eq=False)
class Scale:
    """What brings signals to their stated size; measured once, on a part of the training movie.

    Attributes
    ----------
    subunit : (2,)
        Standard deviation of the input of ON and of OFF subunits.
    mean, sd : (neuron,)
        Of a cell's summed input over time.
    """

    subunit: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def contrast_of(frames: np.ndarray, mean_intensity: float) -> np.ndarray:
    """Weber contrast (frame, pixel) of frames (frame, y, x) about the intensity adapted to."""
    frames = np.asarray(frames, np.float64).reshape(len(frames), -1)
    return (frames - mean_intensity) / mean_intensity


def subunit_inputs(
    contrast: np.ndarray,
    frame_of_step: np.ndarray,
    screen: Screen,
    anatomy: Anatomy,
    parameters: RetinaParameters,
) -> tuple[np.ndarray, np.ndarray]:
    """Filtered light in every ON and every OFF subunit, before the nonlinearity.

    Parameters
    ----------
    contrast : (frame, pixel)
    frame_of_step : (step,)
        −1 is the mean intensity.

    Returns
    -------
    on, off : (step, subunit)
        OFF is that of light that dims.
    """
    p = parameters
    fields = receptive_fields(screen, anatomy, p.subunit_sigma_um)
    light = np.zeros((len(contrast) + 1, fields.shape[1]))
    light[:-1] = contrast @ fields
    light = light[frame_of_step]
    return bipolar_inputs(light, p)


def bipolar_inputs(
    light: np.ndarray, parameters: RetinaParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Photoreceptor and bipolar filters: (step, k) light to the inputs of ON and OFF subunits.

    Notes
    -----
    Two cascades of n leaky integrators (gamma functions of order n), their difference, and one
    more low-pass for each type. A step of light is seen from the next step on.
    """
    p = parameters
    fast = _cascade(light, np.exp(-p.dt / p.fast_tau_s), p.filter_stages)
    slow = _cascade(light, np.exp(-p.dt / p.slow_tau_s), p.filter_stages)
    seen = np.zeros_like(light)
    seen[1:] = (fast - p.slow_weight * slow)[:-1]
    on = _cascade(seen, np.exp(-p.dt / p.on_bipolar_tau_s), 1)
    off = _cascade(seen, np.exp(-p.dt / p.off_bipolar_tau_s), 1)
    return on, -off


def impulse_responses(parameters: RetinaParameters) -> np.ndarray:
    """Response (lag, 2) of ON and OFF subunits to one step of contrast 1; row 0 is lag 0."""
    light = np.zeros((max(2, round(IMPULSE_S / parameters.dt)), 1))
    light[0] = 1
    return np.concatenate(bipolar_inputs(light, parameters), axis=1)


def ganglion_inputs(
    on: np.ndarray,
    off: np.ndarray,
    scale: np.ndarray,
    anatomy: Anatomy,
    parameters: RetinaParameters,
) -> np.ndarray:
    """Excitation minus delayed inhibition (step, neuron), from the inputs of subunits.

    Parameters
    ----------
    on, off : (step, subunit)
    scale : (2,)
        See `Scale.subunit`.
    """
    p = parameters
    summed = np.empty((len(on), len(anatomy.is_on)))
    for signal, size, mine in ((on, scale[0], anatomy.is_on), (off, scale[1], ~anatomy.is_on)):
        if not mine.any():
            continue
        bipolar = _subunit_output(signal / size, p)
        summed[:, mine] = bipolar @ anatomy.excitation[:, mine]
        if p.amacrine_strength:
            pool = bipolar @ anatomy.inhibition[:, mine]
            pool = np.maximum(_cascade(pool, np.exp(-p.dt / p.amacrine_tau_s), 1), 0)
            delay = round(p.amacrine_delay_s / p.dt)
            late = np.zeros_like(pool)
            late[delay:] = pool[: max(len(pool) - delay, 0)]
            summed[:, mine] -= p.amacrine_strength * late
    return summed


def linear_filter(
    screen: Screen,
    anatomy: Anatomy,
    parameters: RetinaParameters,
    scale: Scale,
    mean_intensity: float,
) -> np.ndarray:
    """The filter (lag, y, x, neuron) of a linear retina: drive per intensity on screen.

    ``drive(t) = offset + Σ filter(lag, y, x) (I(t - lag, y, x) - mean_intensity)``, lags in steps.
    """
    fields = receptive_fields(screen, anatomy, parameters.subunit_sigma_um)
    space = fields @ anatomy.excitation  # (pixel, neuron)
    which = np.where(anatomy.is_on, 0, 1)
    time = impulse_responses(parameters)[:, which] / scale.subunit[which]
    gain = parameters.drive_sd / scale.sd / mean_intensity
    shape = (len(time), screen.y.size, screen.x.size, len(which))
    return (time[:, None, :] * (space * gain)).reshape(shape)


def _subunit_output(signal: np.ndarray, parameters: RetinaParameters) -> np.ndarray:
    if parameters.subunit_nonlinearity == "linear":
        return signal
    signal = signal - parameters.subunit_threshold
    if parameters.subunit_nonlinearity == "rectifier":
        return np.maximum(signal, 0)
    return np.logaddexp(0, signal)


@njit(cache=True)
def _cascade(signal, keep, n_stages):
    """Leaky integrators of unit gain in a row, from rest; (step, k)."""
    n_steps, n = signal.shape
    out = np.empty_like(signal)
    state = np.zeros((n_stages + 1, n))
    for t in range(n_steps):
        state[0] = signal[t]
        for stage in range(1, n_stages + 1):
            for i in range(n):  # the inner loop: one instruction for several cells
                state[stage, i] += (1 - keep) * (state[stage - 1, i] - state[stage, i])
        out[t] = state[n_stages]
    return out
