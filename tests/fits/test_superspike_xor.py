"""The spiking exclusive-or: what is asked, what counts as an error, and when a claim holds."""

import numpy as np
import pytest
import xarray as xr

from neuromodels.fits.papers.superspike_xor import NETWORKS, XOR, curve_spread, lower
from neuromodels.fits.papers.superspike_xor_runs import train_networks
from neuromodels.fits.papers.verdicts import HELD, NOT_HELD, UNDECIDED
from neuromodels.fits.superspike.errors import Mismatch
from neuromodels.fits.superspike.gated_tasks import (
    ExclusiveOrDesign,
    ExclusiveOrTask,
    right_output,
)
from neuromodels.fits.superspike.options import superspike_options
from neuromodels.fits.superspike.training import SuperSpikeTrainer
from neuromodels.options import OptionError
from neuromodels.spiking.simulation import Events

TRIAL, STIMULUS, WINDOW = 1250, 100, 250  # steps of 0.1 ms


def answers(n_trials, rng, n=400):
    """Random spikes of both outputs."""
    spikes = np.unique(rng.integers(0, n_trials * TRIAL * 2, n))
    return Events(*np.divmod(spikes, 2))


def cut(events, start, n_steps):
    inside = (events.steps >= start) & (events.steps < start + n_steps)
    return Events(events.steps[inside] - start, events.neurons[inside])


def in_chunks(task, outputs, edges):
    """Inputs and mismatch of a task that is asked piece by piece."""
    inputs, errors = [], []
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        got, error = task.inputs(a, b - a), task.mismatch(a, b - a, cut(outputs, a, b - a))
        inputs.append(Events(got.steps + a, got.neurons))
        errors.append(error._replace(steps=error.steps + a))
    return tuple(
        kind(*(np.concatenate(part) for part in zip(*pieces, strict=True)))
        for kind, pieces in ((Events, inputs), (Mismatch, errors))
    )


def test_groups_fire_once_at_fixed_times_if_they_are_on_and_noise_is_4_hz_elsewhere():
    task = ExclusiveOrTask(3)
    n_trials, noise = 400, 0
    seen = set()
    for number in range(n_trials):
        pattern, onset, _ = task.trial(number)
        seen.add(pattern)
        spikes = task.inputs(number * TRIAL, TRIAL)
        during = (spikes.steps >= onset) & (spikes.steps < onset + STIMULUS)
        noise += int((~during).sum())
        on = [
            range(34),
            range(34, 67) if pattern & 1 else (),
            range(67, 100) if pattern & 2 else (),
        ]
        expected = [neuron for group in on for neuron in group]
        order = np.argsort(spikes.neurons[during])
        assert spikes.neurons[during][order].tolist() == expected
        times = spikes.steps[during][order] - onset
        np.testing.assert_array_equal(times, task.firing_steps[expected])
    assert seen == {0, 1, 2, 3}
    expected = 4 * 100 * n_trials * (0.125 - 0.010)
    assert abs(noise - expected) < 4 * np.sqrt(expected)


def test_nothing_depends_on_how_time_is_cut():
    rng = np.random.default_rng(0)
    outputs = answers(20, rng)
    whole = in_chunks(ExclusiveOrTask(1), outputs, [0, 20 * TRIAL])
    edges = [0, *np.sort(rng.choice(20 * TRIAL, 60, replace=False)), 20 * TRIAL]
    parts = in_chunks(ExclusiveOrTask(1), outputs, edges)
    for one, other in zip(whole, parts, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_errors_are_wrong_spikes_at_once_and_missing_answers_at_the_end_of_the_window():
    rng = np.random.default_rng(1)
    n_trials = 60
    outputs = answers(n_trials, rng)
    task = ExclusiveOrTask(2)
    found = task.mismatch(0, n_trials * TRIAL, outputs)
    expected, correct = [], []
    for number in range(n_trials):
        pattern, onset, _ = task.trial(number)
        begin = number * TRIAL + onset
        right = 1 if pattern in (1, 2) else 0
        hit = wrong = False
        for step, neuron in zip(*outputs, strict=True):
            if not number * TRIAL <= step < (number + 1) * TRIAL:
                continue
            inside = begin <= step < begin + WINDOW
            if inside and neuron == right:
                hit = True
            else:
                expected.append((step, neuron, 1.0))
                wrong |= inside
        if not hit:
            expected.append((begin + WINDOW, right, -1.0))
        correct.append(hit and not wrong)
    assert sorted(zip(*found, strict=True)) == sorted(expected)
    assert (np.diff(found.steps) >= 0).all()
    np.testing.assert_array_equal(task.outcomes(n_trials).correct, correct)


def test_right_answers_cause_no_error_whenever_they_come_in_the_window():
    task = ExclusiveOrTask(0)
    rng = np.random.default_rng(0)
    about = [task.trial(number)[:2] for number in range(40)]
    steps = np.array([i * TRIAL + onset for i, (_, onset) in enumerate(about)])
    steps += rng.integers(0, WINDOW, 40)
    neurons = right_output(np.array([pattern for pattern, _ in about]))
    assert len(task.mismatch(0, 40 * TRIAL, Events(steps, neurons)).steps) == 0
    outcomes = task.outcomes(40)
    assert outcomes.correct.all()
    assert not outcomes.stray.any()


def test_a_design_that_cannot_be_says_why():
    with pytest.raises(OptionError, match="cannot hold jitter, stimulus and window"):
        ExclusiveOrDesign(trial_s=0.05)
    with pytest.raises(OptionError, match="three numbers"):
        ExclusiveOrDesign(group_sizes=(50, 50, 0))


def options(**given):
    chosen = {"hidden": (4,), "duration_s": 5.0, "epoch_s": 2.5, "feedback": "symmetric"}
    return superspike_options(**chosen | given)


class Interrupted(Exception):
    pass


def interrupt(trainer):
    raise Interrupted


def test_training_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(tmp_path):
    straight = SuperSpikeTrainer(ExclusiveOrTask(5), options(), seed=5)
    straight.run()
    with pytest.raises(Interrupted):
        SuperSpikeTrainer(ExclusiveOrTask(5), options(), seed=5).run(
            tmp_path / "c", watch=interrupt
        )
    resumed = SuperSpikeTrainer(ExclusiveOrTask(5), options(), seed=5)
    resumed.run(tmp_path / "c")
    for name, weights in straight.weights.items():
        np.testing.assert_array_equal(resumed.weights[name], weights)
    np.testing.assert_array_equal(resumed.task.outcomes(40).hit, straight.task.outcomes(40).hit)


def test_four_hidden_units_with_symmetric_feedback_learn_the_exclusive_or():
    task = ExclusiveOrTask(1)
    SuperSpikeTrainer(task, options(duration_s=100.0, epoch_s=50.0), seed=1).run()
    correct = task.outcomes(800).correct
    # A layer that knows three of the four patterns gets 75 %.
    assert correct[-100:].mean() > 0.9 > 0.5 > correct[:100].mean()


def test_a_run_of_the_experiment_is_labelled_and_the_same_again():
    arguments = {
        "hidden": [4],
        "feedback": "random",
        "regulariser": 0.0,
        "seeds": [0, 1],
        "choosing": [1000],
        "rates_v": [1e-3, 5e-3],
        "w0_v": [5e-3],
        "trials": 200,
        "choosing_trials": 100,
        "test_trials": 100,
    }
    run = train_networks(**arguments)
    assert set(run.dims) == set(run.coords)
    assert run["accuracy"].sizes == {"seed": 2, "block": 1}
    assert sorted(run.attrs["shown_patterns"]) == [0, 1, 2, 3]
    assert run.attrs["learning_rate_v"] in (1e-3, 5e-3)
    xr.testing.assert_identical(run, train_networks(**arguments))


def fake_runs(accuracy):
    """Finished runs with these accuracies per seed."""
    rng = np.random.default_rng(0)
    runs = {}
    for job, name in zip(XOR.jobs("small"), NETWORKS, strict=True):
        values = np.asarray(accuracy[name], float)
        n = len(values)
        noise = 0.1 if name.startswith("random") else 0.01
        runs[job.name] = xr.Dataset(
            {
                "test_accuracy": (("seed", "pattern"), np.repeat(values[:, None], 4, 1)),
                "accuracy": (("seed", "block"), values[:, None] + noise * rng.normal(size=(n, 9))),
                "late_accuracy": ("seed", values),
                "stray_rate": ("seed", np.zeros(n)),
                "hidden_rate": ("seed", np.full(n, 9.0)),
            },
            coords={"seed": np.arange(n)},
            attrs={"learning_rate_v": 1e-3, "w0_v": 5e-3, "sizes": [100, 4, 2]},
        )
    return runs


def test_claims_hold_or_do_not_by_the_measured_accuracies():
    perfect, middling, low = [0.99, 0.98, 1, 0.97, 0.99], [0.7, 0.6, 0.74, 0.5, 0.71], [0.2] * 5
    named = {name: perfect for name in NETWORKS}
    as_told = XOR.judge(fake_runs(named | {"uniform": low, "no hidden layer": middling}), "small")
    assert [claim.verdict for claim in as_told.claims] == [HELD] * 6
    otherwise = XOR.judge(fake_runs(named | {"random": low, "uniform": middling}), "small")
    verdicts = [claim.verdict for claim in otherwise.claims]
    # random solves; symmetric solves; none does not; curves; uniform < random; uniform < symmetric
    assert verdicts == [NOT_HELD, HELD, NOT_HELD, HELD, NOT_HELD, HELD]
    assert "no hidden layer" in dict.fromkeys(row[0] for row in otherwise.rows)


def test_seeds_that_do_not_differ_decide_nothing():
    claim = lower("a below b", {"a": np.array([0.5, 0.9]), "b": np.array([0.6, 0.8])}, "accuracy")
    assert claim.verdict == UNDECIDED


def test_spread_of_curves_is_the_distance_from_the_mean_of_the_others():
    curves = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 3.0]])
    expected = [np.sqrt((1 + 4) / 2), np.sqrt((0.25 + 0.25) / 2), np.sqrt((0.25 + 6.25) / 2)]
    np.testing.assert_allclose(curve_spread(curves), expected)
