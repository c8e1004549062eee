"""The SuperSpike rule of noisy runs side by side, and what it says to any front end.

The drive of a bin is a presynaptic signal that arrives at each of its steps. With ψ of
`neuromodels.fits.superspike.event` (two double exponentials backwards in time) its gradient is

    dL/d drive_i(bin) = dt Σ_{t in bin} ψ_i(t),      dL/dw_ji = dt Σ_{spikes of j} ψ_i(t)

so a front end of any form learns by ``drive.backward(gradient)``: the gradient of L by the drive is
exact under the rule, with no approximation of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from neuromodels.encoding.spiking_runs import Recorded
from neuromodels.fits.superspike.engines import RuleKernels


class Gradient(NamedTuple):
    """What one stretch of recording asks for, mean over runs.

    Attributes
    ----------
    loss : float
        ½ Σ e² dt over the stretch and all neurons, 1/s; of each run's own spikes.
    weights : numpy.ndarray
        (hidden, output), of L by the weights.
    drive : numpy.ndarray
        (bin, neuron), of L by the drive.
    """

    loss: float
    weights: np.ndarray
    drive: np.ndarray


def rule_gradient(
    recorded: Recorded,
    target: np.ndarray,
    feedback: np.ndarray,
    kernels: RuleKernels,
    *,
    dt_s: float,
    steps_per_bin: int,
    beta_per_v: float,
    first_step: int = 0,
    others: bool = True,
) -> Gradient:
    """Gradient of the van Rossum loss of a stretch, as the rule sees it.

    Parameters
    ----------
    recorded : Recorded
        What the network did.
    target : numpy.ndarray
        (step, output), recorded spikes.
    feedback : numpy.ndarray
        (hidden, output), how an output's error reaches a hidden neuron.
    kernels : RuleKernels
        ε and α.
    dt_s : float
        Step, s.
    steps_per_bin : int
        Steps of a row of the drive.
    beta_per_v : float
        Of the surrogate, 1/V.
    first_step : int
        Where the comparison begins: spikes before it count in neither train.
    others : bool
        Compare the target with the mean of the *other* runs. The error is then independent of the
        run that it corrects, and the expected gradient is that of the squared error of the rate;
        with its own spikes a run also learns to vary less, that is, to fall silent.

    Returns
    -------
    Gradient
        Sums over the stretch.
    """
    dtype = recorded.distance.dtype
    n_runs, n_steps, n_output = recorded.output.shape
    own = recorded.output.copy()
    wanted = target.astype(dtype)
    own[:, :first_step] = wanted[:first_step] = 0
    psp, alpha = kernels
    arguments = (dtype.type(alpha.rise), dtype.type(alpha.decay), dtype.type(alpha.drive))
    own_rate, aim = _forward(own, *arguments), _forward(wanted[None], *arguments)[0]
    error = own_rate - aim
    loss = 0.5 * dt_s * float(np.square(error, dtype=np.float64).sum()) / n_runs
    if others:
        # The mean over all runs but one's own.
        error = (error.sum(axis=0) - error) / dtype.type(n_runs - 1)
    weights = np.zeros(feedback.shape, np.float64)
    drive = np.zeros((n_steps // steps_per_bin, recorded.distance.shape[2]), np.float64)
    _backward(
        recorded.distance,
        np.ascontiguousarray(error),
        np.ascontiguousarray(feedback.T, dtype),
        recorded.steps,
        recorded.hidden,
        recorded.bounds,
        np.array([alpha.decay, alpha.rise, psp.decay, psp.rise], dtype),
        dtype.type(beta_per_v),
        steps_per_bin,
        weights,
        drive,
    )
    scale = dt_s * psp.gain * alpha.gain / n_runs
    return Gradient(loss, weights * scale, drive * scale)


@njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _forward(signal, rise, decay, drive):
    n_runs, n_steps, n = signal.shape
    out = np.empty_like(signal)
    for run in range(n_runs):
        first, second = np.zeros(n, signal.dtype), np.zeros(n, signal.dtype)
        for t in range(n_steps):
            for i in range(n):
                second[i] = decay * second[i] + drive * first[i]
                first[i] = rise * first[i] + signal[run, t, i]
                out[run, t, i] = second[i]
    return out


@njit(cache=True, fastmath={"contract", "nsz", "reassoc", "arcp"}, error_model="numpy")
def _backward(
    distance,
    error,
    feedback,
    steps,
    hidden,
    bounds,
    factors,
    beta,
    steps_per_bin,
    weights,
    drive,
):
    n_runs, n_steps, n = distance.shape
    n_output, n_hidden = feedback.shape
    alpha_decay, alpha_rise, psp_decay, psp_rise = factors
    one, none = distance.dtype.type(1), distance.dtype.type(0)
    slow, fast = np.zeros(n_output, error.dtype), np.zeros(n_output, error.dtype)
    late, early = np.zeros(n, error.dtype), np.zeros(n, error.dtype)
    e = np.zeros(n, error.dtype)
    for run in range(n_runs):
        slow[:], fast[:], late[:], early[:] = none, none, none, none
        k = bounds[run + 1] - 1
        for t in range(n_steps - 1, -1, -1):
            e[:n_hidden] = none
            for o in range(n_output):
                slow[o] = error[run, t, o] + alpha_decay * slow[o]
                fast[o] = error[run, t, o] + alpha_rise * fast[o]
                reversed_error = slow[o] - fast[o]
                e[n_hidden + o] = reversed_error
                share = feedback[o]
                for i in range(n_hidden):
                    e[i] += share[i] * reversed_error
            far, total = distance[run, t], drive[t // steps_per_bin]
            for i in range(n):
                bump = one / (one + beta * abs(far[i]))
                p = e[i] * bump * bump
                late[i] = p + psp_decay * late[i]
                early[i] = p + psp_rise * early[i]
                total[i] += late[i] - early[i]
            while k >= bounds[run] and steps[k] == t:
                row = weights[hidden[k]]
                for o in range(n_output):
                    row[o] += late[n_hidden + o] - early[n_hidden + o]
                k -= 1
