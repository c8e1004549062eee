"""The spiking stage written for Brian2, which must give the spikes of the compiled one."""

from __future__ import annotations

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.simulated.anatomy import Anatomy, exponential_terms
from neuromodels.datasets.simulated.parameters import RetinaParameters


def brian2_spikes(
    anatomy: Anatomy,
    parameters: RetinaParameters,
    drive: np.ndarray,
    factor: np.ndarray,
    uniform: np.ndarray,
) -> np.ndarray:
    """Spikes of the same cells in Brian2, from the same random numbers.

    Every exponential of a kernel is a variable of the cell that decays exactly and that a spike
    of the cell or of its neighbours steps up; a cell spikes where
    ``uniform >= 1 - dt rate_scale_hz output(drive) factor``.

    Parameters
    ----------
    anatomy, parameters
        With kernels that are pairs of (amplitude, tau_s), and at most one spike per step.
    drive, factor : (step, neuron)
        As `spiking.draw_spikes`; the gain multiplied into `factor`.
    uniform : (step, neuron)
        ``np.random.default_rng(seed).random((step, neuron))`` are the numbers that `draw_spikes`
        takes from ``default_rng(seed)``.

    Returns
    -------
    numpy.ndarray (step, neuron)
        0 or 1.

    Raises
    ------
    InputError
        If a kernel is an array, or more than one spike fits into a step.
    """
    p = parameters
    if p.noise != "binomial" or p.max_count != 1:
        raise InputError(
            f"is {p.noise!r} with max_count = {p.max_count}",
            where="brian2_spikes: noise",
            remedy="Brian2's cells spike at most once in a step: noise='binomial', max_count=1.",
        )
    terms = exponential_terms(anatomy, parameters)
    from brian2 import (
        Clock,
        Network,
        NeuronGroup,
        SpikeMonitor,
        Synapses,
        TimedArray,
        prefs,
        second,
    )

    n_steps, n = drive.shape
    step = p.dt * second
    output = "log(1 + exp(u))" if p.output == "softplus" else "exp(u)"
    decays = "\n".join(f"dh{k}/dt = -h{k} / tau{k} : 1" for k in range(len(terms)))
    inputs = " + ".join(["drive_at(t, i)", *(f"h{k}" for k in range(len(terms)))])
    constants = {f"tau{k}": tau * second for k, (tau, _) in enumerate(terms)}
    constants |= {
        "drive_at": TimedArray(drive, dt=step),
        "factor_at": TimedArray(factor, dt=step),
        "uniform_at": TimedArray(uniform, dt=step),
        "scale": p.rate_scale_hz * p.dt,
    }
    target = prefs.codegen.target
    prefs.codegen.target = "numpy"  # a few cells: compiling would take longer than running
    try:
        clock = Clock(dt=step)
        cells = NeuronGroup(
            n,
            f"{decays}\nu = {inputs} : 1\nmean = scale * {output} * factor_at(t, i) : 1",
            threshold="uniform_at(t, i) >= 1 - mean",
            reset="",
            method="exact",
            namespace=constants,
            clock=clock,
        )
        monitor = SpikeMonitor(cells)
        network = Network(cells, monitor)
        weights = [np.zeros((n, n)), *(weight for _, weight in terms)]
        source, to = np.nonzero(np.any(weights, axis=0))
        if source.size:
            wire = Synapses(
                cells,
                cells,
                "\n".join(f"w{k} : 1" for k in range(len(terms))),
                on_pre="\n".join(f"h{k}_post += w{k}" for k in range(len(terms))),
                clock=clock,
            )
            wire.connect(i=source, j=to)
            for k, (_, weight) in enumerate(terms):
                setattr(wire, f"w{k}", weight[source, to])
            network.add(wire)
        network.run(n_steps * step)
        when, who = np.rint(monitor.t / step).astype(int), np.asarray(monitor.i)
    finally:
        prefs.codegen.target = target
    counts = np.zeros((n_steps, n), np.uint16)
    counts[when, who] = 1
    return counts
