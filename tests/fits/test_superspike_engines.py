"""The three engines: equal to the rule written as sums, whatever the time is cut into."""

import numpy as np
import pytest
from spiking_cases import convolved, dense, double_exponential, part, random_events

from neuromodels.fits.superspike.engines import (
    ENGINES,
    Chunk,
    RuleKernels,
    make_engine,
    steps_to_remember,
)
from neuromodels.fits.superspike.errors import ErrorFilter, Mismatch
from neuromodels.fits.superspike.rmaxprop import RMaxProp
from neuromodels.options import OptionError
from neuromodels.spiking.kernels import error_kernel, psp_kernel
from neuromodels.spiking.network import SpikingNetwork
from neuromodels.spiking.neurons import LIFParameters, lif_coefficients
from neuromodels.spiking.simulation import Events, simulate

DT = 1e-4
LOOP, UPDATE, N_STEPS = 1889, 1500, 6000


def kernels(method="exact", dt_s=DT):
    coefficients = lif_coefficients(LIFParameters(), dt_s, membrane=method, synapse=method)
    return RuleKernels(psp_kernel(coefficients), error_kernel(5e-3, 10e-3, dt_s, method))


def random_chunk(rng, n_steps=N_STEPS, n_sources=(3, 4), n_target=5):
    """Surrogates, errors, and the arrivals of two connections."""
    surrogate = rng.random((n_steps, n_target)) ** 4
    error = 100 * rng.normal(size=(n_steps, n_target))
    arrivals = [random_events(n, n_steps, 100, rng) for n in n_sources]
    return Chunk(surrogate, error, arrivals)


def direct(chunk, blocks, n_sources=(3, 4), method="exact"):
    """Sum over time of e · (α ∗ (σ' x)), both kernels as closed forms: per block and connection."""
    n_steps = len(chunk.error)
    # ε for τ_mem = 10 ms and τ_syn = 5 ms: with τ_syn / (τ_mem − τ_syn) = 1 in front.
    psp = double_exponential(n_steps, 5e-3, 10e-3, DT, method)
    alpha = double_exponential(n_steps, 5e-3, 10e-3, DT, method) / 5e-3
    found = []
    for events, n in zip(chunk.arrivals, n_sources, strict=True):
        x = convolved(dense(events, n_steps, n), psp)
        driven = x[:, :, None] * chunk.surrogate[:, None, :]
        eligibility = convolved(driven, alpha)
        product = DT * eligibility * chunk.error[:, None, :]
        found.append([product[a:b].sum(0) for a, b in blocks])
    return found


def sums_by_block(engine, chunk, cuts):
    """Feed a long chunk in pieces, ending at every cut and every update."""
    ends = sorted({*cuts, *range(UPDATE, len(chunk.error) + 1, UPDATE)} - {0})
    start, found = 0, []
    for stop in ends:
        arrivals = [part(events, start, stop) for events in chunk.arrivals]
        engine.accumulate(Chunk(chunk.surrogate[start:stop], chunk.error[start:stop], arrivals))
        if stop % UPDATE == 0:
            found.append(engine.take())
        start = stop
    return [list(of_connection) for of_connection in zip(*found, strict=True)]


def relative(found, expected):
    """Largest difference as a share of the largest value."""
    return np.abs(np.subtract(found, expected)).max() / np.abs(expected).max()


@pytest.fixture(scope="module")
def case():
    chunk = random_chunk(np.random.default_rng(0))
    blocks = [(a, a + UPDATE) for a in range(0, N_STEPS, UPDATE)]
    return chunk, direct(chunk, blocks)


# Chunks of the loop, which ends nowhere near an update; of uneven lengths; and of updates alone.
CUTS = {
    "loops": range(LOOP, N_STEPS, LOOP),
    "500": range(500, N_STEPS, 500),
    "137": range(137, N_STEPS, 137),
    "one step, nothing": (1, 2, 2, 3, 1501),
    "updates": (),
}


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS.keys())
@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_the_rule_summed_directly_across_updates_and_cuts(name, cuts, case):
    chunk, expected = case
    engine = make_engine(name, [(3, 5), (4, 5)], kernels(), DT)
    for found, right in zip(sums_by_block(engine, chunk, cuts), expected, strict=True):
        assert relative(found, right) < 1e-12


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_whose_traces_step_by_euler_is_the_sum_over_eulers_kernels(name):
    chunk = random_chunk(np.random.default_rng(9), 1000)
    expected = direct(chunk, [(0, 1000)], method="euler")
    engine = make_engine(name, [(3, 5), (4, 5)], kernels("euler"), DT)
    engine.accumulate(chunk)
    for found, right in zip(engine.take(), expected, strict=True):
        assert relative(found, right[0]) < 1e-12


@pytest.mark.parametrize("name", ENGINES)
def test_a_chunk_of_no_steps_changes_nothing(name):
    chunk = random_chunk(np.random.default_rng(1), 400)
    engines = [make_engine(name, [(3, 5), (4, 5)], kernels(), DT) for _ in range(2)]
    nothing = [part(events, 0, 0) for events in chunk.arrivals]
    engines[0].accumulate(Chunk(chunk.surrogate[:0], chunk.error[:0], nothing))
    for engine in engines:
        engine.accumulate(chunk)
    engines[0].accumulate(Chunk(chunk.surrogate[:0], chunk.error[:0], nothing))
    for found, expected in zip(*(engine.take() for engine in engines), strict=True):
        assert np.array_equal(found, expected)


def test_spikes_that_arrive_in_the_same_step_count_each():
    rng = np.random.default_rng(2)
    steps = np.repeat([0, 7, 150, 299], 8)
    ties = Events(steps, rng.integers(0, 3, 32))
    chunk = random_chunk(rng, 300)._replace(arrivals=[ties, ties])
    expected = direct(chunk, [(0, 300)], (3, 4))
    for name in ENGINES:
        engine = make_engine(name, [(3, 5), (4, 5)], kernels(), DT)
        engine.accumulate(chunk)
        for found, right in zip(engine.take(), expected, strict=True):
            assert relative(found, right[0]) < 1e-12


@pytest.mark.parametrize("name", ENGINES)
def test_a_restored_engine_goes_on_as_if_nothing_had_happened(name):
    rng = np.random.default_rng(3)
    first, second = random_chunk(rng, 700), random_chunk(rng, 900)
    engine = make_engine(name, [(3, 5), (4, 5)], kernels(), DT)
    engine.accumulate(first)
    stored = engine.state()
    engine.accumulate(second)
    restored = make_engine(name, [(3, 5), (4, 5)], kernels(), DT)
    restored.restore(stored)
    restored.accumulate(second)
    for found, expected in zip(restored.take(), engine.take(), strict=True):
        assert np.array_equal(found, expected)
    engine.accumulate(first)
    restored.accumulate(first)
    for found, expected in zip(restored.take(), engine.take(), strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", ENGINES)
def test_single_precision_is_right_to_2e_5_over_a_whole_oxford_loop(name):
    rng = np.random.default_rng(4)
    n_steps = 18900
    chunk = random_chunk(rng, n_steps, (20, 4), 16)
    double = make_engine("event", [(20, 16), (4, 16)], kernels(), DT)
    double.accumulate(chunk)
    single = make_engine(name, [(20, 16), (4, 16)], kernels(), DT, np.float32)
    for start in range(0, n_steps, 5000):
        stop = min(start + 5000, n_steps)
        arrivals = [part(events, start, stop) for events in chunk.arrivals]
        single.accumulate(Chunk(chunk.surrogate[start:stop], chunk.error[start:stop], arrivals))
    for found, expected in zip(single.take(), double.take(), strict=True):
        assert found.dtype == np.float32
        assert relative(found, expected) < 2e-5


@pytest.mark.parametrize("name", ["event", "gemm"])
def test_what_an_engine_keeps_does_not_grow_with_time(name):
    rng = np.random.default_rng(5)
    engine = make_engine(name, [(3, 5), (4, 5)], kernels(), DT)
    memory = steps_to_remember(kernels(), np.float64)
    sizes = []
    for n_steps in (1000, 3 * memory, 10 * memory):
        engine.accumulate(random_chunk(rng, n_steps))
        sizes.append(len(engine.state()["past"]))
    assert sizes == [1000, memory, memory]


def learned(name, n_steps=3 * LOOP):
    """Weights of a recurrent network after several updates inside and across loops."""
    network = SpikingNetwork((30, 8, 4), recurrent=(1,))
    rng = np.random.default_rng(6)
    weights = network.initial_weights(0.1, rng)
    inputs = random_events(30, n_steps, 40, rng)
    target = random_events(4, n_steps, 30, rng)
    engines = {
        layer: make_engine(name, [c.shape for c in network.into(layer)], kernels(), DT)
        for layer in (1, 2)
    }
    filters = {layer: ErrorFilter(kernels().eligibility, n) for layer, n in ((1, 8), (2, 4))}
    rules = {c.name: RMaxProp(c.shape) for c in network.connections}
    state, start, n_spikes = None, 0, 0
    ends = {*range(LOOP, n_steps + 1, LOOP), *range(UPDATE // 2, n_steps, UPDATE // 2)}
    for stop in sorted(ends):
        n = stop - start
        activity, state = simulate(network, weights, part(inputs, start, stop), n, state)
        wanted = part(target, start, stop)
        steps = np.concatenate([activity.spikes[2].steps, wanted.steps])
        order = np.argsort(steps, kind="stable")
        values = np.repeat([1.0, -1.0], [len(activity.spikes[2].steps), len(wanted.steps)])
        neurons = np.concatenate([activity.spikes[2].neurons, wanted.neurons])
        mismatch = Mismatch(steps[order], neurons[order], values[order])
        n_spikes += len(activity.spikes[1].steps)
        for layer, feedback in ((2, None), (1, weights["hidden_to_output"].T)):
            error = filters[layer](mismatch, n, feedback)
            surrogate = 1 / (1 + np.abs(activity.distance[layer - 1]) / 1e-3) ** 2
            arrivals = [activity.arrivals[c.source] for c in network.into(layer)]
            engines[layer].accumulate(Chunk(surrogate, error, arrivals))
        if stop % (UPDATE // 2) == 0:
            for layer, engine in engines.items():
                for c, gradient in zip(network.into(layer), engine.take(), strict=True):
                    weights[c.name] = rules[c.name].step(weights[c.name], gradient, 1e-3)
        start = stop
    assert n_spikes > 100
    return weights


def test_engines_learn_the_same_weights_when_loop_and_update_do_not_align():
    reference = learned("online")
    initial = SpikingNetwork((30, 8, 4), recurrent=(1,)).initial_weights(
        0.1, np.random.default_rng(6)
    )
    for name in ("event", "gemm"):
        for connection, weights in learned(name).items():
            assert np.abs(weights - reference[connection]).max() < 1e-12
            assert np.abs(weights - initial[connection]).max() > 2e-3


# What only the literal engine can do


@pytest.mark.parametrize("name", ["event", "gemm"])
@pytest.mark.parametrize("option", ["psp_threshold", "error_threshold", "peak_decay"])
def test_an_engine_refuses_by_name_what_it_cannot_do_exactly(name, option):
    with pytest.raises(OptionError, match=f"(?s){name}.*{option}.*online"):
        make_engine(name, [(3, 5)], kernels(), DT, **{option: 0.5})


def test_small_traces_and_errors_count_as_zero_when_asked():
    chunk = random_chunk(np.random.default_rng(7), 1200)
    psp = double_exponential(1200, 5e-3, 10e-3, DT)
    alpha = double_exponential(1200, 5e-3, 10e-3, DT) / 5e-3
    x = convolved(dense(chunk.arrivals[0], 1200, 3), psp)
    assert 0.1 < (x < 0.2).mean() < 0.9
    driven = np.where(x < 0.2, 0, x)[:, :, None] * chunk.surrogate[:, None, :]
    eligibility = convolved(driven, alpha)
    error = np.where(np.abs(chunk.error) < 60, 0, chunk.error)
    expected = DT * np.einsum("tji,ti->ji", eligibility, error)
    engine = make_engine("online", [(3, 5)], kernels(), DT, psp_threshold=0.2, error_threshold=60.0)
    engine.accumulate(chunk._replace(arrivals=chunk.arrivals[:1]))
    assert relative(engine.take()[0], expected) < 1e-12


def test_the_thresholds_of_the_demo_change_next_to_nothing():
    rng = np.random.default_rng(10)
    spikes = dense(random_events(5, N_STEPS, 2, rng), N_STEPS, 5)
    error = convolved(spikes, double_exponential(N_STEPS, 5e-3, 10e-3, DT) / 5e-3)
    assert 0.1 < (np.abs(error) < 1e-4).mean() < 0.9
    arrivals = [random_events(n, N_STEPS, 5, rng) for n in (3, 4)]
    chunk = Chunk(rng.random((N_STEPS, 5)), error, arrivals)
    sums = []
    # 1e-7 for a PSP trace, and 1e-7 /ms for an error.
    for options in ({}, {"psp_threshold": 1e-7, "error_threshold": 1e-4}):
        engine = make_engine("online", [(3, 5), (4, 5)], kernels(), DT, **options)
        engine.accumulate(chunk)
        sums.append(np.concatenate(engine.take()))
    assert 0 < relative(sums[1], sums[0]) < 1e-5


def test_peaks_follow_the_largest_product_of_error_and_eligibility_and_forget():
    chunk = random_chunk(np.random.default_rng(8), 1200)
    psp = double_exponential(1200, 5e-3, 10e-3, DT)
    alpha = double_exponential(1200, 5e-3, 10e-3, DT) / 5e-3
    x = convolved(dense(chunk.arrivals[0], 1200, 3), psp)
    driven = x[:, :, None] * chunk.surrogate[:, None, :]
    eligibility = convolved(driven, alpha)
    decay, v = np.exp(-DT / 0.02), np.zeros((3, 5))
    for t in range(1200):
        v = np.maximum(decay * v, (chunk.error[t] * eligibility[t]) ** 2)
    engine = make_engine("online", [(3, 5)], kernels(), DT, peak_decay=decay)
    for a, b in ((0, 500), (500, 1200)):
        arrivals = [part(chunk.arrivals[0], a, b)]
        engine.accumulate(Chunk(chunk.surrogate[a:b], chunk.error[a:b], arrivals))
    assert relative(engine.peaks()[0], np.sqrt(v)) < 1e-12
    assert relative(engine.eligibility()[0], eligibility[-1]) < 1e-12


def test_peaks_that_were_not_followed_cannot_be_asked_for():
    engine = make_engine("online", [(3, 5)], kernels(), DT)
    with pytest.raises(OptionError, match="peak_decay"):
        engine.peaks()


@pytest.mark.parametrize(
    "option", [{"psp_threshold": -1.0}, {"error_threshold": np.nan}, {"peak_decay": 1.5}]
)
def test_options_without_meaning_are_refused(option):
    with pytest.raises(OptionError, match=next(iter(option))):
        make_engine("online", [(3, 5)], kernels(), DT, **option)


def test_an_unknown_engine_is_refused():
    with pytest.raises(OptionError, match="event, gemm, online"):
        make_engine("fast", [(3, 5)], kernels(), DT)
