"""The SuperSpike rule of noisy runs, against automatic differentiation and the engine `event`."""

import numpy as np
import pytest
import torch

from neuromodels.encoding.spiking_runs import at_rest, run_on
from neuromodels.fits.spiking_rule import rule_gradient
from neuromodels.fits.superspike.engines import Chunk, RuleKernels
from neuromodels.fits.superspike.event import EventEngine
from neuromodels.spiking.kernels import error_kernel, psp_kernel
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.simulation import Events

N_HIDDEN, N_OUTPUT, N_BINS, PER_BIN, DT, BETA = 5, 3, 12, 5, 1e-3, 1000.0
NETWORK = SpikingNetwork((1, N_HIDDEN, N_OUTPUT), dt_s=DT, delay_s=0.0)
KERNELS = RuleKernels(psp_kernel(NETWORK.coefficients), error_kernel(5e-3, 10e-3, DT))


@pytest.fixture(scope="module")
def activity():
    """Two runs of a lively network: drive, weights, what was recorded, and a target."""
    rng = np.random.default_rng(4)
    n = N_HIDDEN + N_OUTPUT
    drive = rng.normal(3e-3, 2e-3, (N_BINS, n))
    weights = rng.normal(0, 5e-3, (N_HIDDEN, N_OUTPUT))
    state = at_rest(n, 2, seed=1, dtype=np.float64)
    _, recorded = run_on(
        state,
        drive,
        weights,
        np.full(n, 1e-3),
        NETWORK.coefficients,
        NETWORK.parameters.gap_v,
        PER_BIN,
        record="rule",
    )
    target = (rng.random((N_BINS * PER_BIN, N_OUTPUT)) < 0.05).astype(float)
    assert recorded.steps.size > 20 and recorded.output.sum() > 10
    return drive, weights, recorded, target


def toeplitz(rise, decay, gain):
    """Matrix (time, time) of a double exponential."""
    lag = np.subtract.outer(np.arange(N_BINS * PER_BIN), np.arange(N_BINS * PER_BIN))
    kernel = gain * (np.exp(-DT / decay) ** np.abs(lag) - np.exp(-DT / rise) ** np.abs(lag))
    return torch.from_numpy(np.where(lag > 0, kernel, 0.0))


def graph_gradient(drive, weights, recorded, target, error):
    """Automatic gradient of the no-reset, straight-through graph, written with plain matrices.

    Spikes are those of the run; their gradient is σ' at the recorded voltage, and voltages depend
    on currents through the linear synapse and membrane alone.
    """
    alpha = toeplitz(5e-3, 10e-3, 1 / 5e-3)
    # A unit of current decays with 5 ms and drives a membrane of 10 ms.
    psp = toeplitz(5e-3, 10e-3, 5e-3 / (10e-3 - 5e-3))
    total = 0.0
    w = torch.tensor(weights, requires_grad=True)
    d = torch.tensor(drive, requires_grad=True)
    per_step = d.repeat_interleave(PER_BIN, dim=0)
    for run in range(2):
        sigma = torch.from_numpy(1 / (1 + BETA * np.abs(recorded.distance[run])) ** 2)
        sent = torch.zeros(N_BINS * PER_BIN, N_HIDDEN, dtype=torch.float64)
        sent[recorded.of(run)] = 1
        volts = psp @ per_step[:, :N_HIDDEN]
        hidden = sent + sigma[:, :N_HIDDEN] * (volts - volts.detach())
        e = torch.from_numpy(error[run])
        # Output layer: hidden spikes as they were. Hidden layer: output = its weighted input.
        volts = psp @ (sent @ w + per_step[:, N_HIDDEN:])
        output = sigma[:, N_HIDDEN:] * (volts - volts.detach())
        through = hidden @ w.detach()
        total = total + DT * (e * (alpha @ output)).sum() + DT * (e * (alpha @ through)).sum()
    (total / 2).backward()
    return w.grad.numpy(), d.grad.numpy()


def filtered(signal):
    """α ∗ signal, (run, time, output)."""
    return np.einsum("ts,rso->rto", toeplitz(5e-3, 10e-3, 1 / 5e-3).numpy(), signal)


@pytest.mark.parametrize("others", [False, True])
def test_the_gradient_of_weights_and_drive_is_that_of_the_rules_graph(activity, others):
    drive, weights, recorded, target = activity
    own = filtered(recorded.output)
    aim = filtered(np.stack([target, target]))
    error = (own[::-1] if others else own) - aim
    found = rule_gradient(
        recorded,
        target,
        weights,
        KERNELS,
        dt_s=DT,
        steps_per_bin=PER_BIN,
        beta_per_v=BETA,
        others=others,
    )
    of_weights, of_drive = graph_gradient(drive, weights, recorded, target, error)
    for mine, expected in ((found.weights, of_weights), (found.drive, of_drive)):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    assert found.loss == pytest.approx(0.5 * DT * ((own - aim) ** 2).sum() / 2, rel=1e-12)


def test_the_gradient_of_weights_is_that_of_the_engine_event(activity):
    _, weights, recorded, target = activity
    found = rule_gradient(
        recorded, target, weights, KERNELS, dt_s=DT, steps_per_bin=PER_BIN, beta_per_v=BETA,
        others=False,
    )  # fmt: skip
    error = filtered(recorded.output - target)
    expected = 0.0
    for run in range(2):
        engine = EventEngine([weights.shape], KERNELS, DT)
        sigma = (1 + BETA * np.abs(recorded.distance[run, :, N_HIDDEN:])) ** -2.0
        arrivals = Events(*(part.astype(np.int64) for part in recorded.of(run)))
        engine.accumulate(Chunk(sigma, error[run], [arrivals]))
        expected = expected + engine.take()[0] / 2
    np.testing.assert_allclose(found.weights, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_spikes_before_the_first_step_that_counts_change_nothing(activity):
    _, weights, recorded, target = activity
    other = target.copy()
    other[:10] = 1 - other[:10]
    about = {"dt_s": DT, "steps_per_bin": PER_BIN, "beta_per_v": BETA}
    first, second, all_steps = (
        rule_gradient(recorded, wanted, weights, KERNELS, first_step=start, **about)
        for wanted, start in ((target, 10), (other, 10), (target, 0))
    )
    np.testing.assert_array_equal(first.drive, second.drive)
    assert first.loss == second.loss != all_steps.loss


def test_feedback_reaches_hidden_neurons_through_the_matrix_given(activity):
    _, weights, recorded, target = activity
    about = {"dt_s": DT, "steps_per_bin": PER_BIN, "beta_per_v": BETA}
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, N_HIDDEN, N_OUTPUT))
    both, first, second = (
        rule_gradient(recorded, target, matrix, KERNELS, **about)
        for matrix in (one + two, one, two)
    )
    hidden = slice(N_HIDDEN)
    np.testing.assert_allclose(
        both.drive[:, hidden], first.drive[:, hidden] + second.drive[:, hidden], rtol=1e-9
    )
    np.testing.assert_array_equal(both.weights, first.weights)
