"""Training with the SuperSpike rule: what changes nothing, what matters, what is kept."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import neuromodels.fits.superspike.training as training
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.sample.superspike import superspike_task
from neuromodels.datasets.spike_trains import SpikeTrains, sorted_trains
from neuromodels.fits.superspike.options import SuperSpikeOptions, superspike_options
from neuromodels.fits.superspike.regulariser import RateTrace
from neuromodels.fits.superspike.tasks import RasterTask, looped
from neuromodels.fits.superspike.training import SuperSpikeTrainer
from neuromodels.options import OptionError
from neuromodels.spiking.simulation import Events
from neuromodels.spiking.surrogates import SuperSpikeSurrogate

SHORT = {
    "hidden": (8,),
    "duration_s": 2.4,
    "epoch_s": 0.8,
    "update_s": 0.2,
    "dtype": "float64",
    # A few hidden neurons of small weights would be silent, and learn nothing.
    "w0_v": 0.3,
}


def small_task(seed=0, n_inputs=20, n_outputs=3, seconds=0.27, dt_s=1e-4) -> RasterTask:
    """Random rasters whose loop fits neither the update nor the epoch."""
    rng = np.random.default_rng(seed)

    def trains(n, rate):
        count = rng.poisson(rate * n * seconds)
        return sorted_trains(
            rng.uniform(0, seconds, count), rng.integers(0, n, count), n, seconds, "made up"
        )

    return RasterTask(trains(n_inputs, 30), trains(n_outputs, 20), dt_s)


def trained(task=None, seed=1, **given) -> SuperSpikeTrainer:
    trainer = SuperSpikeTrainer(
        task or small_task(), superspike_options(**SHORT | given), seed=seed, kept_epochs=(1, 3)
    )
    trainer.run()
    return trainer


def assert_same_weights(one, other, tolerance=0.0):
    for name, values in one.weights.items():
        np.testing.assert_allclose(values, other.weights[name], rtol=0, atol=tolerance)


def test_the_network_learns_something_in_these_short_runs():
    found = trained()
    assert found.history["epoch_cost"][-1] < 0.8 * found.history["epoch_cost"][0]
    assert all(np.ptp(values) > 0.01 for values in found.weights.values())


@pytest.mark.parametrize("feedback", ["symmetric", "random", "uniform"])
@pytest.mark.parametrize("engine", ["gemm", "online"])
def test_engines_train_the_same_network(engine, feedback):
    given = {"feedback": feedback, "duration_s": 0.8}
    assert_same_weights(trained(**given), trained(engine=engine, **given), 1e-12)


def test_recurrent_and_deep_networks_train_the_same_with_every_engine():
    given = {"hidden": (7, 6), "recurrent": (1, 3), "duration_s": 0.8}
    event = trained(**given)
    assert set(event.weights) == {
        "input_to_hidden1",
        "hidden1_to_hidden1",
        "hidden1_to_hidden2",
        "hidden2_to_output",
        "output_to_output",
    }
    moved = [np.abs(event.weights[k] - event.initial_weights[k]).max() for k in event.weights]
    assert min(moved) > 1e-4
    assert_same_weights(event, trained(engine="gemm", **given), 1e-12)


def test_how_time_is_cut_changes_nothing(monkeypatch):
    whole = trained()
    monkeypatch.setattr(training, "CHUNK_VALUES", 11 * 137)  # 137 steps at once
    assert_same_weights(whole, trained(), 1e-12)


def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path):
    given = {"feedback": "random", "regulariser": 1.0, "feedback_delay_s": 0.8e-3}
    whole = trained(**given)

    class Stop(Exception):
        pass

    def stop(trainer):
        if trainer.epoch == 2:
            raise Stop

    options = superspike_options(**SHORT | given)
    first = SuperSpikeTrainer(small_task(), options, seed=1, kept_epochs=(1, 3))
    with pytest.raises(Stop):
        first.run(tmp_path / "state.h5", watch=stop)
    second = SuperSpikeTrainer(small_task(), options, seed=1, kept_epochs=(1, 3))
    second.run(tmp_path / "state.h5")
    assert_same_weights(whole, second)
    for name in ("cost", "epoch_cost", "rate", "learning_rate"):
        assert whole.history[name] == second.history[name]
    kept = [np.concatenate(one.kept_spikes) for one in (whole, second)]
    np.testing.assert_array_equal(*kept)


def test_a_state_of_another_training_is_refused(tmp_path):
    trainer = SuperSpikeTrainer(small_task(), superspike_options(**SHORT), seed=1)
    trainer.run(tmp_path / "state.h5")
    other = SuperSpikeTrainer(small_task(), superspike_options(**SHORT), seed=2)
    with pytest.raises(OptionError, match="other options or data"):
        other.run(tmp_path / "state.h5")


def test_burn_in_and_fixed_hidden_weights_stay_where_they_were():
    burned = trained(burn_in_s=2.4)
    assert_same_weights(burned, trained(burn_in_s=2.4, learning_rate_v=0.05))
    for name, values in burned.weights.items():
        np.testing.assert_array_equal(values, burned.initial_weights[name])
    fixed = trained(feedback="none")
    np.testing.assert_array_equal(
        fixed.weights["input_to_hidden"], fixed.initial_weights["input_to_hidden"]
    )
    assert np.ptp(fixed.weights["hidden_to_output"] - fixed.initial_weights["hidden_to_output"])


def test_no_weight_moves_by_more_than_the_learning_rate_or_leaves_its_bounds():
    options = superspike_options(**SHORT | {"weight_bound_v": 0.02, "w0_v": 0.08})
    trainer = SuperSpikeTrainer(small_task(), options, seed=1)
    before = trainer.weights
    for _ in range(6):
        trainer.advance(2000)
        for name, values in trainer.weights.items():
            assert np.abs(values).max() <= 0.02
            assert np.abs(values - before[name]).max() <= 1e-3 * (1 + 1e-9)
        before = trainer.weights


def test_the_learning_rate_drops_when_it_is_told_to():
    found = trained(learning_rate_drop=0.1, drop_at_s=1.6)
    assert found.history["learning_rate"] == pytest.approx([1e-3, 1e-3, 1e-3])
    assert found.learning_rate == pytest.approx(1e-4)
    last = found.kept_weights["3/hidden_to_output"] - found.kept_weights["1/hidden_to_output"]
    # One epoch at 1 mV (4 updates) and one at 0.1 mV.
    assert 1e-3 < np.abs(last).max() <= 4.4e-3


@pytest.mark.parametrize(
    "change",
    [
        {"membrane": "euler"},
        {"synapse": "euler"},
        {"traces": "euler"},
        {"surrogate_read": "after reset"},
        {"surrogate": "constant"},
        {"beta_per_v": 300.0},
        {"delay_s": 2e-3},
        {"refractory_s": 2e-3},
        {"tau_mem_s": 12e-3},
        {"tau_syn_s": 4e-3},
        {"threshold_v": -51e-3},
        {"error_rise_s": 4e-3},
        {"error_decay_s": 12e-3},
        {"learning_rate_v": 5e-4},
        {"rms_decay_s": 1.0},
        {"rms_epsilon": 1.0},
        {"rms_per": "step"},
        {"psp_threshold": 0.05},
        {"error_threshold": 5e-3},
        {"feedback": "uniform"},
        {"feedback_delay_s": 5e-3},
        {"regulariser": 10.0},
        {"update_s": 0.4},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_option_matters(change):
    given = {"duration_s": 0.8}
    reference, changed = trained(**given), trained(**given | change)
    moved = [np.abs(reference.weights[k] - changed.weights[k]).max() for k in reference.weights]
    assert max(moved) > 1e-6


@pytest.mark.parametrize(
    "change",
    [{"regulariser_exponent": 2.0}, {"regulariser_tau_s": 0.02}, {"regulariser_gated": True}],
)
def test_every_option_of_the_regulariser_matters(change):
    given = {"duration_s": 0.8, "regulariser": 10.0}
    one, other = trained(**given), trained(**given | change)
    assert np.abs(one.weights["input_to_hidden"] - other.weights["input_to_hidden"]).max() > 1e-6


def test_a_constant_factor_of_the_surrogate_cancels():
    given = {"rms_epsilon": 0.0, "duration_s": 0.8}
    assert_same_weights(trained(**given), trained(surrogate_scale="slope", **given), 1e-10)


def test_a_surrogate_object_trains_as_its_name_does():
    named = trained(duration_s=0.8)
    options = superspike_options(**SHORT | {"duration_s": 0.8})
    given = SuperSpikeTrainer(
        small_task(), options, seed=1, surrogate=SuperSpikeSurrogate(beta_per_v=1000.0)
    )
    given.run()
    assert_same_weights(named, given, 1e-12)


def test_options_that_an_engine_cannot_do_exactly_are_refused_by_name():
    for change in ({"rms_per": "step"}, {"psp_threshold": 1e-7}, {"error_threshold": 1e-7}):
        with pytest.raises(OptionError, match=next(iter(change))):
            superspike_options(engine="event", **change)
        assert superspike_options(**change).chosen_engine == "online"


def test_impossible_options_are_refused():
    for change, said in (
        ({"dt_s": 4e-3}, "half of tau_syn_s"),
        ({"dt_s": 0.1}, "no whole number|more than half"),
        ({"tau_mem_s": 5e-3}, "both"),
        ({"regulariser_exponent": 2.0}, "no effect"),
        ({"learning_rate_v": 0.0}, "positive"),
        ({"hiden": (3,)}, "Did you mean"),
    ):
        with pytest.raises(OptionError, match=said):
            superspike_options(**change).network(3, 2)


def test_the_presets_differ_where_the_paper_and_the_demo_do():
    paper, demo = superspike_options("paper"), superspike_options("demo")
    assert (paper.membrane, demo.membrane) == ("exact", "euler")
    assert (paper.surrogate_read, demo.surrogate_read) == ("before reset", "after reset")
    assert (paper.burn_in_s, demo.burn_in_s) == (0.0, 20.0)
    assert superspike_options("demo", feedback="random").regulariser == 1.0
    assert superspike_options("demo", feedback="random").feedback_delay_s == 0.8e-3
    same = {"hidden", "learning_rate_v", "rms_decay_s", "w0_v", "synapse", "update_s"}
    assert all(getattr(paper, name) == getattr(demo, name) for name in same)
    assert replace(paper) == SuperSpikeOptions()


@pytest.mark.parametrize(("traces", "silent"), [("euler", 210.66), ("exact", 210.21)])
def test_a_silent_network_on_oxford_costs_what_the_raster_says(traces, silent):
    task = superspike_task("oxford", ids="demo")
    loop = RasterTask(task.inputs, task.target, 1e-4, 18_899)
    options = superspike_options(hidden=(), traces=traces)
    silence = {"input_to_output": np.zeros((200, 200))}
    trainer = SuperSpikeTrainer(loop, options, weights=silence)
    n_spikes = 0
    for loop_number in range(2):
        left = 18_899
        if loop_number:
            trainer.cost.take()
        while left:
            n_steps = min(left, 5000 - trainer.step % 5000)
            activity = trainer.advance(n_steps)
            trainer.weights = {k: np.zeros_like(v) for k, v in trainer.weights.items()}
            n_spikes += len(activity.spikes[-1].steps)
            left -= n_steps
    assert n_spikes == 0
    assert trainer.cost.take() == pytest.approx(silent, abs=0.005)


def test_permuting_neurons_permutes_the_trained_weights():
    rng = np.random.default_rng(5)
    task = small_task()
    swap_in, swap_out = rng.permutation(20), rng.permutation(3)
    place_in, place_out = np.argsort(swap_in), np.argsort(swap_out)
    permuted = small_task()
    permuted._inputs = Events(task._inputs.steps, place_in[task._inputs.neurons])
    permuted._target = Events(task._target.steps, place_out[task._target.neurons])
    options = superspike_options(**SHORT | {"duration_s": 0.8})
    one = SuperSpikeTrainer(task, options, seed=1)
    start = {
        "input_to_hidden": one.weights["input_to_hidden"][swap_in],
        "hidden_to_output": one.weights["hidden_to_output"][:, swap_out],
    }
    other = SuperSpikeTrainer(permuted, options, weights=start)
    one.run()
    other.run()
    np.testing.assert_allclose(
        one.weights["input_to_hidden"][swap_in], other.weights["input_to_hidden"], atol=1e-12
    )
    np.testing.assert_allclose(
        one.weights["hidden_to_output"][:, swap_out], other.weights["hidden_to_output"], atol=1e-12
    )


def test_a_loop_is_cut_anywhere():
    rng = np.random.default_rng(0)
    events = Events(np.sort(rng.integers(0, 100, 40)), rng.integers(0, 5, 40))
    played = np.concatenate([events.steps + 100 * lap for lap in range(6)])
    for start, n_steps in ((0, 600), (37, 63), (99, 2), (250, 210)):
        cut = looped(events, 100, start, n_steps)
        inside = (played >= start) & (played < start + n_steps)
        np.testing.assert_array_equal(cut.steps, played[inside] - start)
        np.testing.assert_array_equal(cut.neurons, np.tile(events.neurons, 6)[inside])


def test_the_rate_trace_sums_powers_as_a_loop_over_steps_would():
    rng = np.random.default_rng(3)
    n, n_steps, tau, dt, exponent = 4, 700, 0.1, 1e-3, 4.0
    spikes = rng.random((n_steps, n)) < 0.03
    gate = rng.random((n_steps, n))
    trace, plain, gated = np.zeros(n), np.zeros(n), np.zeros(n)
    for t in range(n_steps):
        trace = trace * np.exp(-dt / tau) + spikes[t]
        plain += trace**exponent
        gated += trace**exponent * gate[t] ** 2
    steps, neurons = np.nonzero(spikes)
    one, other = (RateTrace(n, tau, dt, exponent) for _ in range(2))
    sums = np.zeros(n), np.zeros(n)
    for a, b in ((0, 1), (1, 300), (300, 700)):
        inside = (steps >= a) & (steps < b)
        events = Events(steps[inside] - a, neurons[inside])
        sums[0][:] += one.powers(events, b - a)
        sums[1][:] += other.powers(events, b - a, gate[a:b])
    np.testing.assert_allclose(sums[0], plain, rtol=1e-12)
    np.testing.assert_allclose(sums[1], gated, rtol=1e-12)
    np.testing.assert_allclose(one.trace, trace, rtol=1e-12)


def test_the_regulariser_quietens_a_hidden_layer():
    loud = {"feedback": "random", "duration_s": 4.8, "learning_rate_v": 5e-3}
    free = trained(**loud, regulariser=0.0)
    held = trained(**loud, regulariser=1e4)
    assert held.history["rate"][-1][1] < 0.5 * free.history["rate"][-1][1]


def test_a_target_without_a_spike_and_spikes_behind_the_loop_are_refused():
    some = SpikeTrains([0.1], [0], 1, 0.5)
    with pytest.raises(InputError, match="holds no spike"):
        RasterTask(some, SpikeTrains([], [], 1, 0.5), 1e-4)
    with pytest.raises(InputError, match="after step"):
        RasterTask(some, SpikeTrains([0.4], [0], 1, 0.5), 1e-4, 3000)


@pytest.mark.slow
def test_a_trial_of_18900_steps_stays_within_200_mb():
    program = """
import resource
from neuromodels.datasets.sample.superspike import superspike_task
from neuromodels.fits.superspike.options import superspike_options
from neuromodels.fits.superspike.tasks import RasterTask
from neuromodels.fits.superspike.training import SuperSpikeTrainer
task = superspike_task("oxford")
def run(seconds):
    # One update, and so one gradient, per trial.
    options = superspike_options(duration_s=seconds, epoch_s=1.89, update_s=1.89)
    SuperSpikeTrainer(RasterTask(task.inputs, task.target, 1e-4), options).run()
short = superspike_options(duration_s=0.01, epoch_s=0.01, update_s=0.01)
SuperSpikeTrainer(RasterTask(task.inputs, task.target, 1e-4), short).run()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(2 * 1.89)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert float(out) < 200
