"""The compiled simulation: equal to its equations written as a loop, whatever it is cut into."""

import numpy as np
import pytest
from spiking_cases import dense, literal_run, part, random_events

from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import LIFParameters
from neuromodels.spiking.simulation import Events, simulate

NO_EVENTS = Events(np.empty(0, np.int64), np.empty(0, np.int64))


def one_spike(step=0, neuron=0):
    return Events(np.array([step]), np.array([neuron]))


def lively(rng, recurrent=(1, 2), **options):
    """A network of three populations, each neuron with a delay of its own, and its input."""
    sizes = (12, 7, 5)
    delays = tuple(tuple(1e-4 * rng.integers(0, 30, n)) for n in sizes)
    network = SpikingNetwork(sizes, delay_s=delays, recurrent=recurrent, **options)
    return network, network.initial_weights(0.15, rng), random_events(12, 3000, 60, rng)


@pytest.mark.parametrize(
    ("membrane", "synapse"), [("exact", "exact"), ("euler", "exact"), ("euler", "euler")]
)
def test_spikes_and_voltages_are_those_of_the_equations_stepped_in_a_loop(membrane, synapse):
    network, weights, inputs = lively(np.random.default_rng(1), membrane=membrane, synapse=synapse)
    activity, _ = simulate(network, weights, inputs, 3000)
    spikes, arrivals, distance = literal_run(network, weights, inputs, 3000)
    for layer, size in enumerate(network.sizes):
        assert np.array_equal(dense(activity.spikes[layer], 3000, size), spikes[layer])
        assert np.array_equal(dense(activity.arrivals[layer], 3000, size), arrivals[layer])
        assert layer == 0 or spikes[layer].sum() > 30
    for found, expected in zip(activity.distance, distance, strict=True):
        assert np.abs(found - expected).max() < 1e-14


@pytest.mark.parametrize(
    "cuts", [(1000, 2000), (1, 2, 2, 2, 7, 1500, 1500, 2999), range(0, 3001, 5)]
)
def test_cut_into_chunks_it_gives_the_same_to_the_last_bit(cuts):
    rng = np.random.default_rng(2)
    network, weights, inputs = lively(rng)
    drive = 1e-3 * rng.normal(size=(3000, 12))
    whole, end = simulate(network, weights, inputs, 3000, drive=drive)
    state, steps, distance = None, [[], [], []], []
    for a, b in zip((0, *cuts), (*cuts, 3000), strict=True):
        piece, state = simulate(
            network, weights, part(inputs, a, b), b - a, state, drive=drive[a:b]
        )
        distance.append(np.hstack(piece.distance))
        for population, events in enumerate(piece.arrivals):
            steps[population].append(np.stack([events.steps + a, events.neurons]))
    assert np.array_equal(np.concatenate(distance), np.hstack(whole.distance))
    for found, expected in zip(steps, whole.arrivals, strict=True):
        assert np.array_equal(np.hstack(found), np.stack(expected))
    for found, expected in zip(state[:3], end[:3], strict=True):
        assert np.array_equal(found, expected)
    assert np.array_equal(state.under_way, end.under_way)


def test_the_state_it_goes_on_from_stays_as_it_was():
    network, weights, inputs = lively(np.random.default_rng(3))
    _, state = simulate(network, weights, part(inputs, 0, 1000), 1000)
    before = [np.array(field) for field in state]
    first, _ = simulate(network, weights, part(inputs, 1000, 2000), 1000, state)
    again, _ = simulate(network, weights, part(inputs, 1000, 2000), 1000, state)
    assert all(np.array_equal(a, b) for a, b in zip(before, state, strict=True))
    assert np.array_equal(np.hstack(first.distance), np.hstack(again.distance))


def test_a_driven_neuron_fires_every_51_steps_when_5_ms_are_50_steps():
    network = SpikingNetwork((1, 1))
    weights = {"input_to_output": np.zeros((1, 1))}
    activity, _ = simulate(network, weights, NO_EVENTS, 1000, drive=np.full((1000, 1), 1.0))
    assert set(np.diff(activity.spikes[1].steps)) == {51}


def test_without_refractoriness_a_strongly_driven_neuron_fires_at_every_step():
    network = SpikingNetwork((1, 1), LIFParameters(refractory_s=0.0))
    weights = {"input_to_output": np.zeros((1, 1))}
    activity, _ = simulate(network, weights, NO_EVENTS, 100, drive=np.full((100, 1), 2.0))
    assert np.array_equal(activity.spikes[1].steps, np.arange(1, 100))


def test_a_voltage_at_the_threshold_sends_no_spike_and_one_above_does():
    # Powers of two: the voltage reaches the threshold without rounding.
    parameters = LIFParameters(2.0**-6, 2.0**-7, 0.0, -(2.0**-6), 0.0)
    network = SpikingNetwork((1, 1), parameters, 2.0**-10, 0.0, membrane="euler", synapse="euler")
    for weight, n_spikes in ((0.25, 0), (np.nextafter(0.25, 1), 1)):
        weights = {"input_to_output": np.full((1, 1), weight)}
        activity, _ = simulate(network, weights, one_spike(), 2)
        assert activity.distance[0][1, 0] == pytest.approx(0.0, abs=1e-15)
        assert len(activity.spikes[1].steps) == n_spikes


@pytest.mark.parametrize("delay_steps", [0, 1, 8])
def test_a_spike_acts_on_the_voltage_one_step_after_it_arrives(delay_steps):
    network = SpikingNetwork((1, 1), delay_s=delay_steps * 1e-4)
    weights = {"input_to_output": np.full((1, 1), 0.01)}
    activity, _ = simulate(network, weights, one_spike(3), 40)
    moved = np.flatnonzero(activity.distance[0][:, 0] > -network.parameters.gap_v)
    assert moved[0] == 3 + delay_steps + 1
    assert list(activity.arrivals[0].steps) == [3 + delay_steps]


def test_two_spikes_of_a_neuron_in_one_step_count_twice():
    network = SpikingNetwork((2, 3))
    weights = network.initial_weights(0.01, np.random.default_rng(4))
    twice = Events(np.array([5, 5]), np.array([1, 1]))
    double = {name: 2 * values for name, values in weights.items()}
    found, _ = simulate(network, weights, twice, 100)
    expected, _ = simulate(network, double, one_spike(5, 1), 100)
    assert np.allclose(found.distance[0], expected.distance[0], rtol=0, atol=1e-17)


def test_a_drive_is_added_to_the_current_and_a_row_holds_for_its_steps():
    network, weights, inputs = lively(np.random.default_rng(5))
    rows = 2e-3 * np.random.default_rng(6).normal(size=(30, 12))
    activity, _ = simulate(network, weights, inputs, 3000, drive=rows, steps_per_row=100)
    _, _, distance = literal_run(network, weights, inputs, 3000, np.repeat(rows, 100, 0))
    assert np.abs(np.hstack(activity.distance) - np.hstack(distance)).max() < 1e-14


def test_what_is_recorded_after_reset_differs_at_spikes_alone():
    network, weights, inputs = lively(np.random.default_rng(7))
    before, _ = simulate(network, weights, inputs, 3000)
    after, _ = simulate(network, weights, inputs, 3000, record="after reset")
    no, _ = simulate(network, weights, inputs, 3000, record="no")
    for layer in (1, 2):
        fired = dense(before.spikes[layer], 3000, network.sizes[layer]) > 0
        assert np.array_equal(fired, before.distance[layer - 1] > 0)
        assert (after.distance[layer - 1][fired] == -network.parameters.gap_v).all()
        assert np.array_equal(after.distance[layer - 1][~fired], before.distance[layer - 1][~fired])
        assert np.array_equal(no.spikes[layer], before.spikes[layer])
        assert no.distance[layer - 1].shape == (0, network.sizes[layer])


def test_it_computes_in_the_precision_of_the_weights():
    network, weights, inputs = lively(np.random.default_rng(8))
    single = {name: values.astype(np.float32) for name, values in weights.items()}
    activity, state = simulate(network, single, inputs, 300)
    double, _ = simulate(network, weights, inputs, 300)
    assert {d.dtype for d in activity.distance} == {state.voltage.dtype} == {np.dtype("f4")}
    assert np.abs(np.hstack(activity.distance) - np.hstack(double.distance)).max() < 1e-6


# Postsynaptic potentials


def psp(dt_s, membrane="exact", synapse="exact"):
    """Voltage after one spike through a weight of 1 mV, per volt of weight."""
    network = SpikingNetwork((1, 1), dt_s=dt_s, delay_s=0.0, membrane=membrane, synapse=synapse)
    weights = {"input_to_output": np.full((1, 1), 1e-3)}
    activity, _ = simulate(network, weights, one_spike(), round(0.3 / dt_s))
    return (activity.distance[0][:, 0] + network.parameters.gap_v) / 1e-3


def test_a_psp_peaks_at_a_quarter_of_the_weight_after_6_9_ms():
    voltage = psp(1e-4)
    assert voltage.max() == pytest.approx(0.25, rel=1e-4)
    assert 1e-4 * voltage.argmax() == pytest.approx(10e-3 * np.log(2), abs=0.5e-4)


@pytest.mark.parametrize(
    ("dt_s", "synapse", "taller"),
    [
        (1e-4, "exact", 0.013),
        (1e-3, "exact", 0.14),
        (1e-4, "euler", 0.007),
        (1e-3, "euler", 0.077),
    ],
)
def test_euler_makes_psps_too_tall(dt_s, synapse, taller):
    euler = psp(dt_s, "euler", synapse)
    peak = 0.25  # of the continuous PSP
    assert euler.max() / peak - 1 == pytest.approx(taller, rel=0.05)


@pytest.mark.parametrize(("dt_s", "larger"), [(1e-4, 0.010), (1e-3, 0.103)])
def test_an_euler_membrane_makes_the_area_of_psps_too_large(dt_s, larger):
    area = dt_s * psp(dt_s, "euler").sum()
    assert area / 5e-3 - 1 == pytest.approx(larger, rel=0.05)


# Noise


def test_the_noise_of_the_current_has_the_variance_of_an_autoregression():
    network = SpikingNetwork((1, 40), LIFParameters(threshold_v=1e3))
    weights = {"input_to_output": np.zeros((1, 40))}
    noise = np.linspace(1e-3, 4e-3, 40)
    activity, state = simulate(network, weights, NO_EVENTS, 20000, noise=noise, seed=3)
    voltage = activity.distance[0] + network.parameters.gap_v
    membrane, gain, synapse, _ = network.coefficients
    current = (voltage[1:] - membrane * voltage[:-1])[1000:] / gain
    # About 380 independent samples per neuron and 40 neurons: the mean ratio is right to 1 %.
    ratio = current.var(0) / (noise**2 / (1 - synapse**2))
    assert ratio.mean() == pytest.approx(1.0, abs=0.05)
    assert ratio.std() < 0.15
    spread = np.corrcoef(current[::500].T)
    assert np.abs(spread - np.eye(40)).max() < 0.7  # every neuron has noise of its own


def test_noise_repeats_with_its_seed_and_changes_with_another():
    network, weights, inputs = lively(np.random.default_rng(9))
    noise = np.full(12, 1e-3)
    runs = [
        np.hstack(simulate(network, weights, inputs, 500, noise=noise, seed=seed)[0].distance)
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
