"""Brian2 is the referee: same weights, same input, then the same spikes, to the step."""

import subprocess
import sys

import numpy as np
import pytest

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.sample.superspike import superspike_task
from neuromodels.fits.superspike.network_files import write_brian2_script
from neuromodels.options import OptionError
from neuromodels.spiking.brian2_script import brian2_script, run_brian2
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import LIFParameters
from neuromodels.spiking.simulation import Events, simulate

# Brian2 calls pyparsing by names that it will lose.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")

SIZES = (30, 20, 10)


def random_delays(sizes, rng, most):
    return tuple(tuple(float(d) * 1e-4 for d in rng.integers(0, most, n)) for n in sizes)


def excited(network, rng, w0=0.15, mean=0.005):
    """Weights that let every population spike: balanced ones, and a little more excitation."""
    return {name: w + mean for name, w in network.initial_weights(w0, rng).items()}


def poisson(n_neurons, n_steps, chance, rng):
    return Events(*np.nonzero(rng.random((n_steps, n_neurons)) < chance))


def problem(n_steps=1000, chance=0.005, seed=1, **settings):
    rng = np.random.default_rng(seed)
    network = SpikingNetwork(**({"sizes": SIZES} | settings))
    inputs = poisson(network.sizes[0], n_steps, chance, rng)
    return network, excited(network, rng), inputs, n_steps


def spikes_of(events):
    return list(zip(events.steps.tolist(), events.neurons.tolist(), strict=True))


def assert_same_spikes(ours, theirs, at_least=30):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert len(b.steps) >= at_least, "a silent population proves nothing"
        assert sorted(spikes_of(a)) == spikes_of(b)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="paper"),
        pytest.param(
            {
                "sizes": (30, 15, 12, 10),
                "recurrent": (1, 3),
                "delay_s": random_delays((30, 15, 12, 10), np.random.default_rng(5), 20),
            },
            id="two hidden layers, recurrent, another delay for every neuron",
        ),
        pytest.param({"membrane": "euler"}, id="Euler membrane, exact synapse"),
        pytest.param(
            {
                "parameters": LIFParameters(20e-3, 7e-3, -0.04, -0.055, 0.0),
                "dt_s": 4e-4,
                "delay_s": 0.0,
                "membrane": "euler",
                "synapse": "euler",
            },
            id="Euler, other constants and step, no delay, not refractory",
        ),
        pytest.param(
            {"synapse": "euler"}, id="exact membrane, Euler synapse", marks=pytest.mark.slow
        ),
    ],
)
def test_spike_sets_are_identical_to_those_of_brian2(settings):
    network, weights, inputs, n_steps = problem(**settings)
    activity, _ = simulate(network, weights, inputs, n_steps)
    assert_same_spikes(activity.spikes, run_brian2(network, weights, inputs, n_steps))


def test_without_input_nothing_spikes_in_brian2_either():
    network, weights, _, _ = problem()
    none = np.empty(0, dtype=np.int64)
    assert [len(s.steps) for s in run_brian2(network, weights, Events(none, none), 20)] == [0] * 3


def test_the_referee_leaves_brian2_as_it_was():
    from brian2 import defaultclock, ms, prefs

    network, weights, inputs, _ = problem(n_steps=20, chance=0.02)
    before = prefs["codegen.target"], float(defaultclock.dt)
    try:
        prefs["codegen.target"] = "cython"
        defaultclock.dt = 0.25 * ms
        run_brian2(network, weights, inputs, 20)
        assert prefs["codegen.target"] == "cython"
        assert float(defaultclock.dt) == 0.25e-3
        assert "tau_mem" not in globals()
    finally:
        prefs["codegen.target"] = before[0]
        defaultclock.dt = before[1] * 1e3 * ms


def run_script(path):
    """Run a script without neuromodels on its path, and read the spikes that it saved."""
    done = subprocess.run(
        [sys.executable, "-I", str(path)], capture_output=True, text=True, cwd=path.parent
    )
    assert done.returncode == 0, done.stderr
    with np.load(path.with_name(path.stem + "-spikes.npz")) as file:
        return done.stdout, dict(file)


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        pytest.param(
            {"membrane": "euler", "synapse": "euler", "sizes": (30, 20, 10), "recurrent": (2,)},
            {"net.py", "net-spikes.npz"},
            id="all in the script",
        ),
        pytest.param(
            {"sizes": (50, 40, 10), "recurrent": (1,)},
            {"net.py", "net.npz", "net-spikes.npz"},
            id="numbers beside it",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_exported_script_gives_the_same_spikes(tmp_path, settings, files):
    network, weights, inputs, n_steps = problem(**settings)
    path = write_brian2_script(tmp_path / "net.py", network, weights, inputs, n_steps * 1e-4)
    said, saved = run_script(path)
    assert {p.name for p in tmp_path.iterdir()} == files
    assert "neuromodels" not in path.read_text().replace("Written by neuromodels", "")
    activity, _ = simulate(network, weights, inputs, n_steps)
    found = tuple(Events(saved[f"{n}_steps"], saved[f"{n}_neurons"]) for n in network.names)
    assert_same_spikes(activity.spikes, found)
    for name, events in zip(network.names, activity.spikes, strict=True):
        assert f"{name}: {len(events.steps)} spikes" in said


def test_an_embedded_weight_is_read_back_to_the_last_bit():
    network = SpikingNetwork((2, 1))
    values = np.array([[0.1 + 0.2], [-1 / 3]])
    script = brian2_script(
        network, {"input_to_output": values}, Events(np.array([3]), np.array([1])), 1e-3
    )
    read = {"np": np}
    start = script.index("weights = {")
    exec(script[start : script.index("prefs.codegen")], read)
    assert read["weights"]["input_to_output"].tobytes() == values.tobytes()


def test_a_script_is_not_overwritten_unless_told(tmp_path):
    network, weights, inputs, n_steps = problem()
    path = tmp_path / "net.py"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_brian2_script(path, network, weights, inputs, n_steps * 1e-4)
    assert path.read_text() == "mine"
    write_brian2_script(path, network, weights, inputs, n_steps * 1e-4, overwrite=True)
    assert "NeuronGroup" in path.read_text()
    with pytest.raises(InputError, match="no folder"):
        write_brian2_script(tmp_path / "no" / "net.py", network, weights, inputs, 0.1)
    assert {p.name for p in tmp_path.iterdir()} == {"net.py"}


@pytest.mark.parametrize(
    ("steps", "neurons", "said"),
    [
        ([3], [30], "input neuron 30 does not exist"),
        ([20], [0], "step 20, outside the run"),
        ([3, 3, 3], [1, 2, 1], "input neuron 1 spikes 2 times in step 3"),
    ],
)
def test_input_that_brian2_cannot_play_is_refused(steps, neurons, said):
    network, weights, _, _ = problem(n_steps=1)
    events = Events(np.array(steps), np.array(neurons))
    with pytest.raises(OptionError, match=said):
        run_brian2(network, weights, events, 20)


def test_unknown_code_generation_and_broken_durations_are_refused():
    network, weights, inputs, _ = problem(n_steps=10)
    with pytest.raises(OptionError, match="no codegen 'c'"):
        brian2_script(network, weights, inputs, 1e-3, codegen="c")
    with pytest.raises(OptionError, match="duration_s"):
        brian2_script(network, weights, inputs, 1.05e-3)


@pytest.mark.slow
@pytest.mark.parametrize("delays", ["0.8 ms", "random"])
def test_oxford_gives_the_spikes_of_brian2(delays):
    sizes = (200, 64, 200)
    rng = np.random.default_rng(1705)
    delay_s = 0.8e-3 if delays == "0.8 ms" else random_delays(sizes, rng, 100)
    network = SpikingNetwork(sizes, delay_s=delay_s)
    task = superspike_task("oxford")
    n_steps = 18_900
    inputs = Events(*task.inputs.steps(network.dt_s, n_steps))
    weights = network.initial_weights(0.2, rng)
    activity, _ = simulate(network, weights, inputs, n_steps)
    assert_same_spikes(
        activity.spikes, run_brian2(network, weights, inputs, n_steps), at_least=1000
    )
