"""Learning from a stream, step by step, is training in chunks."""

import numpy as np
import pytest

from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.fits.superspike.options import superspike_options
from neuromodels.fits.superspike.stream import StreamLearner
from neuromodels.fits.superspike.tasks import RasterTask
from neuromodels.fits.superspike.training import SuperSpikeTrainer
from neuromodels.options import OptionError
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.simulation import Events, simulate

N_INPUTS, N_OUTPUTS, LOOP = 30, 4, 1889
COMMON = {"hidden": (8,), "w0_v": 0.2, "update_s": 0.1, "dtype": "float64"}


def trains(n_neurons, rate_hz, seed):
    rng = np.random.default_rng(seed)
    n = rng.poisson(n_neurons * rate_hz * LOOP * 1e-4)
    times = np.sort(rng.integers(0, LOOP, n)) * 1e-4 + 2e-5
    return SpikeTrains(times, rng.integers(0, n_neurons, n), n_neurons, LOOP * 1e-4)


def by_step(events, n_steps):
    """Neurons that spike at each step."""
    return [events.neurons[events.steps == t] for t in range(n_steps)]


def streamed(learner, task, n_steps):
    """Output spikes of a learner that is fed the task step by step."""
    inputs = by_step(task.inputs(0, n_steps), n_steps)
    none = Events(np.empty(0, np.int64), np.empty(0, np.int64))
    mismatch = task.mismatch(0, n_steps, none)
    targets = by_step(Events(mismatch.steps, mismatch.neurons), n_steps)
    return [learner.step(*step) for step in zip(inputs, targets, strict=True)]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"hidden": ()},
        {"hidden": (8, 5), "recurrent": (1, 3)},
        {"preset": "demo", "feedback": "random", "burn_in_s": 0.1, "drop_at_s": 0.2},
        {"feedback": "uniform", "regulariser": 1.0, "regulariser_gated": True},
        {"feedback": "none", "surrogate": "constant"},
        {"rms_per": "step", "psp_threshold": 0.05, "error_threshold": 0.02},
    ],
    ids=lambda given: " ".join(given) or "paper",
)
def test_a_stream_learns_the_weights_and_sends_the_spikes_of_a_training_in_chunks(given):
    options = superspike_options(**(COMMON | given))
    task = RasterTask(trains(N_INPUTS, 40, 0), trains(N_OUTPUTS, 30, 1), 1e-4, LOOP)
    trainer = SuperSpikeTrainer(task, options, seed=3)
    learner = StreamLearner(N_INPUTS, N_OUTPUTS, options, seed=3)
    n_steps = 4000  # two loops, four updates
    outputs = []
    while trainer.step < n_steps:
        start = trainer.step
        spikes = trainer.advance(500).spikes[-1]
        outputs += [(start + t, i) for t, i in zip(*spikes, strict=True)]
    found = streamed(learner, task, n_steps)
    assert [(t, i) for t, sent in enumerate(found) for i in sent] == outputs
    assert len(outputs) > 10
    moved = 0.0
    for name, expected in trainer.weights.items():
        assert np.abs(learner.weights[name] - expected).max() < 1e-12
        moved = max(moved, np.abs(expected - trainer.initial_weights[name]).max())
    assert moved > 1e-4
    assert learner.cost == pytest.approx(trainer.cost.running, rel=1e-9)
    assert (learner.n_steps, learner.time_s) == (4000, pytest.approx(0.4))


def test_between_updates_a_stream_is_the_simulation():
    options = superspike_options(**(COMMON | {"recurrent": (1,)}))
    task = RasterTask(trains(N_INPUTS, 40, 0), trains(N_OUTPUTS, 30, 1), 1e-4, LOOP)
    learner = StreamLearner(N_INPUTS, N_OUTPUTS, options, seed=3)
    network = SpikingNetwork((N_INPUTS, 8, N_OUTPUTS), recurrent=(1,))
    activity, _ = simulate(network, learner.weights, task.inputs(0, 900), 900)
    assert len(activity.spikes[-1].steps) > 3
    expected = by_step(activity.spikes[-1], 900)
    for found, right in zip(streamed(learner, task, 900), expected, strict=True):
        assert np.array_equal(found, right)


def test_without_a_teacher_there_is_no_error_and_nothing_is_learned():
    learner = StreamLearner(N_INPUTS, N_OUTPUTS, superspike_options(**COMMON), seed=3)
    before = learner.weights
    inputs = by_step(Events(*trains(N_INPUTS, 40, 0).steps(1e-4, LOOP)), LOOP)
    n_sent = sum(len(learner.step(neurons)) for neurons in inputs)
    assert n_sent > 0
    assert all(np.array_equal(before[name], values) for name, values in learner.weights.items())
    assert learner.cost == 0


def test_silence_that_is_wanted_is_learned():
    learner = StreamLearner(N_INPUTS, N_OUTPUTS, superspike_options(**COMMON), seed=3)
    inputs = by_step(Events(*trains(N_INPUTS, 40, 0).steps(1e-4, LOOP)), LOOP)
    sent = [sum(len(learner.step(neurons, ())) for neurons in inputs) for _ in range(15)]
    assert sent[0] > 5
    assert sent[-1] < 0.5 * sent[0]


@pytest.mark.parametrize("step", [([30], None), ([-1], None), ([0], [4])])
def test_neurons_that_do_not_exist_are_refused(step):
    learner = StreamLearner(N_INPUTS, N_OUTPUTS, superspike_options(**COMMON))
    with pytest.raises(OptionError, match="there is no (input|target) neuron"):
        learner.step(*step)


def test_an_engine_that_needs_chunks_is_refused():
    with pytest.raises(OptionError, match="'event' needs whole chunks"):
        StreamLearner(3, 2, superspike_options(engine="event"))


@pytest.mark.parametrize("inputs", [np.zeros(20), [0.5], 3, [[1]]])
def test_spikes_are_given_as_numbers_of_neurons(inputs):
    learner = StreamLearner(20, 2, superspike_options(hidden=(3,)))
    with pytest.raises(OptionError, match="flatnonzero"):
        learner.step(inputs)
