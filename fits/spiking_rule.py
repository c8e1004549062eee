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
    floor_hz: float = 0.0,
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
    floor_hz : float
        If positive, the error is divided by the rate that the runs have now plus this, so that
        quiet and busy moments count as they do in a Poisson likelihood.

    Returns
    -------
    Gradient
        Sums over the stretch.
    """
    dtype = recorded.distance.dtype
    n_runs = recorded.output.shape[2]
    own, wanted = recorded.output, target[..., None].astype(dtype)
    total = own.sum(axis=2, keepdims=True)
    mean = (total - own) / dtype.type(n_runs - 1) if others else own
    if first_step:
        mean, wanted, own = mean.copy(), wanted.copy(), own.copy()
        mean[:first_step] = wanted[:first_step] = own[:first_step] = 0
    psp, alpha = kernels
    arguments = (dtype.type(alpha.rise), dtype.type(alpha.decay), dtype.type(alpha.drive))
    rate, aim = _forward(mean, *arguments), _forward(wanted, *arguments)
    own = rate if not others else _forward(own, *arguments)
    loss = 0.5 * dt_s * float(np.square(own - aim, dtype=np.float64).sum()) / n_runs
    error = rate - aim
    if floor_hz > 0:
        error /= rate + dtype.type(floor_hz)
    weights = np.zeros(feedback.shape, np.float64)
    drive = np.zeros((len(target) // steps_per_bin, recorded.distance.shape[1]), np.float64)
    _backward(
        recorded.distance,
        error,
        np.ascontiguousarray(feedback, dtype),
        recorded.steps,
        recorded.hidden,
        recorded.runs,
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
    n_steps, n, n_runs = signal.shape
    out = np.empty_like(signal)
    first, second = np.zeros((n, n_runs), signal.dtype), np.zeros((n, n_runs), signal.dtype)
    for t in range(n_steps):
        for i in range(n):
            for r in range(n_runs):
                second[i, r] = decay * second[i, r] + drive * first[i, r]
                first[i, r] = rise * first[i, r] + signal[t, i, r]
                out[t, i, r] = second[i, r]
    return out


@njit(cache=True, fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")
def _backward(
    distance,
    error,
    feedback,
    steps,
    hidden,
    runs,
    factors,
    beta,
    steps_per_bin,
    weights,
    drive,
):
    n_steps, n, n_runs = distance.shape
    n_hidden, n_output = feedback.shape
    alpha_decay, alpha_rise, psp_decay, psp_rise = factors
    one, none = distance.dtype.type(1), distance.dtype.type(0)
    slow, fast = np.zeros_like(error[0]), np.zeros_like(error[0])
    late, early = np.zeros_like(distance[0]), np.zeros_like(distance[0])
    reversed_error = np.zeros_like(slow)
    fed_back = np.zeros(n_runs, distance.dtype)
    k = steps.size - 1
    for t in range(n_steps - 1, -1, -1):
        row = t // steps_per_bin
        for o in range(n_output):
            for r in range(n_runs):
                slow[o, r] = error[t, o, r] + alpha_decay * slow[o, r]
                fast[o, r] = error[t, o, r] + alpha_rise * fast[o, r]
                reversed_error[o, r] = slow[o, r] - fast[o, r]
        for i in range(n):
            if i < n_hidden:
                fed_back[:] = none
                for o in range(n_output):
                    share = feedback[i, o]
                    for r in range(n_runs):
                        fed_back[r] += share * reversed_error[o, r]
                e = fed_back
            else:
                e = reversed_error[i - n_hidden]
            far, a, b = distance[t, i], late[i], early[i]
            total = none
            for r in range(n_runs):
                bump = one / (one + beta * abs(far[r]))
                p = e[r] * bump * bump
                a[r] = p + psp_decay * a[r]
                b[r] = p + psp_rise * b[r]
                total += a[r] - b[r]
            drive[row, i] += total
        while k >= 0 and steps[k] == t:
            i, r = hidden[k], runs[k]
            for o in range(n_output):
                weights[i, o] += late[n_hidden + o, r] - early[n_hidden + o, r]
            k -= 1
