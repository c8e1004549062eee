"""NIR: its equations, solved here on their own, give what our networks do."""

import sys
import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from neuromodels.datasets.errors import InputError
from neuromodels.fits.superspike.network_files import read_nir, write_nir
from neuromodels.options import OptionError
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import LIFParameters
from neuromodels.spiking.nir_export import to_nir
from neuromodels.spiking.nir_import import from_nir
from neuromodels.spiking.simulation import Events, simulate

nir = pytest.importorskip("nir", reason="the package nir is not installed")

# Most tests are about what NIR holds; what it loses has its own.
pytestmark = pytest.mark.filterwarnings("ignore:NIR")

NOT_REFRACTORY = LIFParameters(refractory_s=0.0)
EULER = {"membrane": "euler", "synapse": "euler"}


def random_delays(sizes, rng, most=20):
    return tuple(tuple(float(d) * 1e-4 for d in rng.integers(0, most, n)) for n in sizes)


def weights_of(network, mean=0.005, seed=3):
    """Balanced weights and a little more excitation: every population spikes."""
    rng = np.random.default_rng(seed)
    return {name: w + mean for name, w in network.initial_weights(0.15, rng).items()}


def raster(n_steps, n_neurons, chance, seed=4):
    return np.random.default_rng(seed).random((n_steps, n_neurons)) < chance


def run_graph(graph, raster, dt):
    """Step a NIR graph as simulators do: forward Euler, spikes of height 1 for one step.

    Returns spikes and voltages before reset, (step, neuron), by CubaLIF node.
    """
    nodes, n_steps = graph.nodes, len(raster)
    into = {name: [a for a, b in graph.edges if b == name] for name in nodes}
    cells = [name for name, node in nodes.items() if isinstance(node, nir.CubaLIF)]
    sent = {name: np.zeros((n_steps, nodes[name].v_leak.size)) for name in cells}
    sent["input"] = raster.astype(float)
    volts = {name: np.zeros_like(sent[name]) for name in cells}
    v = {name: nodes[name].v_leak.copy() for name in cells}
    current = {name: np.zeros_like(v[name]) for name in cells}

    def output(name, t):
        node = nodes[name]
        if isinstance(node, nir.Linear):
            return node.weight @ output(into[name][0], t)
        if isinstance(node, nir.Delay):
            then = t - np.rint(node.delay / dt).astype(int)
            past = sent[into[name][0]][np.maximum(then, 0), np.arange(then.size)]
            return np.where(then >= 0, past, 0.0)
        return sent[name][t]

    for t in range(n_steps):
        for name in cells:
            node = nodes[name]
            moved = node.v_leak - v[name] + node.r * current[name]
            v[name] = v[name] + dt / node.tau_mem * moved
            volts[name][t] = v[name]
            spiking = v[name] > node.v_threshold
            sent[name][t] = spiking
            v[name] = np.where(spiking, node.v_reset, v[name])
        for name in cells:
            node = nodes[name]
            drive = node.w_in * sum(output(source, t) for source in into[name])
            current[name] = current[name] + dt / node.tau_syn * (drive - current[name])
    return sent, volts


@pytest.mark.parametrize(
    "settings",
    [
        {"sizes": (20, 12, 8)},
        {
            "sizes": (20, 10, 9, 8),
            "recurrent": (1, 3),
            "delay_s": random_delays((20, 10, 9, 8), np.random.default_rng(8)),
        },
    ],
)
def test_the_graph_stepped_as_simulators_do_gives_our_spikes_and_voltages(settings):
    network = SpikingNetwork(parameters=NOT_REFRACTORY, **settings, **EULER)
    weights = weights_of(network)
    shown = raster(600, 20, 0.005)
    sent, volts = run_graph(to_nir(network, weights), shown, network.dt_s)
    activity, _ = simulate(network, weights, Events(*np.nonzero(shown)), 600)
    for index, name in enumerate(network.names[1:], start=1):
        steps, neurons = np.nonzero(sent[f"{name}_neurons"])
        ours = activity.spikes[index]
        assert steps.size > 20, "a silent population proves nothing"
        assert set(zip(steps, neurons, strict=True)) == set(
            zip(ours.steps, ours.neurons, strict=True)
        )
        distance = volts[f"{name}_neurons"] - network.parameters.gap_v
        np.testing.assert_allclose(activity.distance[index - 1], distance, atol=1e-14)


def test_dirac_pulses_and_the_differential_equations_give_our_exact_voltage():
    # Weights too small for a spike: what is compared is the meaning of every constant.
    network = SpikingNetwork((6, 3), LIFParameters(12e-3, 4e-3, -0.045, -0.065), 5e-4, delay_s=1e-3)
    weights = {"input_to_output": np.random.default_rng(0).normal(0, 0.004, (6, 3))}
    shown = raster(60, 6, 0.05)
    graph = to_nir(network, weights, spikes="impulse")
    cell, matrix = graph.nodes["output_neurons"], graph.nodes["input_to_output"].weight

    def slope(_, state):
        v, current = state.reshape(2, 3)
        return np.concatenate(
            [(cell.v_leak - v + cell.r * current) / cell.tau_mem, -current / cell.tau_syn]
        )

    state, volts = np.concatenate([cell.v_leak, np.zeros(3)]), []
    delay = int(np.rint(graph.nodes["input_axons"].delay[0] / 5e-4))
    for t in range(60):
        if t:
            run = solve_ivp(slope, (0, 5e-4), state, method="DOP853", rtol=1e-12, atol=1e-15)
            state = run.y[:, -1]
        volts.append(state[:3].copy())
        if t >= delay:
            state[3:] += cell.w_in / cell.tau_syn * (matrix @ shown[t - delay])
    activity, _ = simulate(network, weights, Events(*np.nonzero(shown)), 60)
    assert np.ptp(volts) > 1e-4
    ours = activity.distance[0] + network.parameters.threshold_v
    np.testing.assert_allclose(ours, volts, atol=1e-12)


@pytest.mark.parametrize("spikes", ["pulse", "impulse"])
@pytest.mark.parametrize("delay_s", [0.0, 0.8e-3, "random"])
def test_a_file_gives_the_network_and_its_weights_back(tmp_path, spikes, delay_s):
    sizes = (7, 5, 4, 3)
    if delay_s == "random":
        delay_s = random_delays(sizes, np.random.default_rng(1))
    network = SpikingNetwork(
        sizes,
        LIFParameters(20e-3, 3e-3, -0.04, -0.07, 2e-3),
        delay_s=delay_s,
        recurrent=(2, 3),
        membrane="euler",
    )
    weights = weights_of(network)
    path = write_nir(tmp_path / "net.nir", network, weights, spikes=spikes)
    assert path.read_bytes()[1:4] == b"HDF"
    again, read = read_nir(path)
    assert (again.sizes, again.recurrent) == (network.sizes, network.recurrent)
    assert (again.membrane, again.synapse, again.dt_s) == ("euler", "exact", network.dt_s)
    np.testing.assert_array_equal(again.delay_steps, network.delay_steps)
    for name, value in vars(network.parameters).items():
        assert getattr(again.parameters, name) == pytest.approx(value, rel=1e-14)
    assert list(read) == list(weights)
    for name, w in weights.items():
        np.testing.assert_allclose(read[name], w, rtol=1e-14)


def test_what_nir_cannot_hold_is_said_once_each_and_kept_in_the_file(tmp_path):
    network = SpikingNetwork((3, 2))
    with pytest.warns(UserWarning) as caught:
        path = write_nir(tmp_path / "net.nir", network, weights_of(network))
    said = [str(w.message) for w in caught]
    for word in ("refractory period", "threshold and reset", "integrator", "units", "height"):
        assert sum(word in message for message in said) == 1, word
    assert len(said) == 5
    assert nir.read(path).metadata["lost"].splitlines() == said
    assert all(w.filename == __file__ for w in caught), "the warning names the caller's line"


def test_a_period_that_is_not_there_is_not_warned_about():
    network = SpikingNetwork((3, 2), NOT_REFRACTORY)
    with pytest.warns(UserWarning) as caught:
        to_nir(network, weights_of(network))
    assert not any("refractory" in str(w.message) for w in caught)


def foreign(weight, **changed):
    """A graph as another program would write it: no metadata, voltages from 0."""
    cell = {
        "tau_syn": np.full(2, 5e-3),
        "tau_mem": np.full(2, 1e-2),
        "r": np.full(2, 3.0),
        "v_leak": np.zeros(2),
        "v_threshold": np.ones(2),
        "v_reset": np.zeros(2),
        "w_in": np.array([1.0, 2.0]),
    } | changed
    nodes = {
        "a": nir.Input({"input": np.array([3])}),
        "b": nir.Affine(weight, np.zeros(2)),
        "c": nir.CubaLIF(**cell),
        "d": nir.Output({"output": np.array([2])}),
    }
    return nir.NIRGraph(nodes, [("a", "b"), ("b", "c"), ("c", "d")])


def test_a_graph_of_another_program_has_its_resistance_and_input_weight_in_the_weights():
    weight = np.arange(6.0).reshape(2, 3) - 2
    network, weights = from_nir(foreign(weight), dt_s=1e-3)
    assert network.sizes == (3, 2)
    assert network.parameters == LIFParameters(1e-2, 5e-3, 1.0, 0.0, 0.0)
    # I jumps by w_in dt / τ_syn, and R makes it volts.
    jump = 3.0 * np.array([1.0, 2.0]) * 1e-3 / 5e-3
    np.testing.assert_allclose(weights["input_to_output"], weight.T * jump, rtol=1e-14)
    _, weights = from_nir(foreign(weight), dt_s=1e-3, spikes="impulse", refractory_s=2e-3)
    np.testing.assert_allclose(weights["input_to_output"], weight.T * jump * 1e3, rtol=1e-14)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"v_reset": np.full(2, -0.5)}, "another voltage than they rest at"),
        ({"tau_mem": np.array([1e-2, 2e-2])}, "tau_mem differs between neurons"),
        ({"tau_syn": np.full(2, 1e-2)}, "are both"),
    ],
)
def test_constants_that_our_neurons_cannot_have_are_refused(changed, said):
    with pytest.raises(OptionError, match=said):
        from_nir(foreign(np.ones((2, 3)), **changed), dt_s=1e-3)


def changed_graph(change):
    network = SpikingNetwork((3, 2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = to_nir(network, weights_of(network))
    change(graph)
    return graph


def skip(graph):
    graph.nodes["skipping"] = nir.Linear(np.ones((2, 3)))
    graph.edges += [("input", "skipping"), ("skipping", "output_neurons")]


def other_node(graph):
    graph.nodes["relay"] = nir.Threshold(np.ones(2))


def no_weights(graph):
    graph.edges.append(("hidden_neurons", "output_neurons"))


def biased(graph):
    w = graph.nodes["hidden_to_output"].weight
    graph.nodes["hidden_to_output"] = nir.Affine(w, np.ones(2))


def two_inputs(graph):
    graph.nodes["second"] = nir.Input({"input": np.array([3])})


def earlier_output(graph):
    graph.edges.remove(("output_neurons", "output"))
    graph.edges.append(("hidden_neurons", "output"))


def bad_number(graph):
    graph.metadata["dt_s"] = "soon"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (skip, "'input' drives 'output_neurons'"),
        (other_node, "'relay' is a Threshold"),
        (no_weights, "without weights"),
        (biased, "has a bias"),
        (two_inputs, "has 2 inputs"),
        (earlier_output, "no chain"),
        (bad_number, "dt_s of the graph's metadata"),
    ],
)
def test_graphs_that_are_no_chain_of_such_neurons_are_refused(change, said):
    with pytest.raises(OptionError, match=said):
        from_nir(changed_graph(change))


def test_without_metadata_the_time_step_is_asked_for():
    with pytest.raises(OptionError, match="time step"):
        from_nir(foreign(np.ones((2, 3))))


def test_files_are_whole_or_not_there(tmp_path):
    network = SpikingNetwork((3, 2))
    weights = weights_of(network)
    path = tmp_path / "net.nir"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_nir(path, network, weights)
    with pytest.raises(OptionError, match="cannot be read as NIR"):
        read_nir(path)
    write_nir(path, network, weights, overwrite=True)
    assert read_nir(path)[0] == network
    with pytest.raises(OptionError, match="no such file"):
        read_nir(tmp_path / "other.nir")
    assert [p.name for p in tmp_path.iterdir()] == ["net.nir"]


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "nir", None)
    network = SpikingNetwork((3, 2))
    with pytest.raises(OptionError, match=r'pip install "neuromodels\[nir\]"'):
        to_nir(network, weights_of(network))
