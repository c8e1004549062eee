"""A core that several recordings share: what is learned jointly, and what each gets of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_fits import ALONE
from small_recording import small_recording

import neuromodels as nm
from neuromodels.fits.progress import Progress
from neuromodels.fits.shared_core import SharedTrainer, fit_shared, joined_models, pooled_inputs
from neuromodels.fits.task import prepare
from neuromodels.fits.training import Trainer, TrainingOptions
from neuromodels.models import parse

OPTIONS = TrainingOptions(epochs=2, batch_bins=512, segment_bins=128)
QUIET = {"noise": (0.0, 0.0), "dropout": 0.0}


def spec_of(**options):
    given = {"temporal_basis": 4, "channels": (2, 3), "kernels": (3, 3), "history": 0.1}
    return nm.models.retina_cnn(**(given | options))


@pytest.fixture(scope="module")
def tasks():
    """Three recordings of different lengths, in different units of light."""
    return [
        prepare(small_recording(n_blocks=n, seed=seed)) for n, seed in ((12, 0), (8, 1), (10, 2))
    ]


def joint_trainer(tasks, seed=0, options=OPTIONS, **overrides):
    data = pooled_inputs([task.data for task in tasks], [task.partition for task in tasks])
    models = joined_models(spec_of(**overrides), data, seed)
    return SharedTrainer(
        models, [task.partition for task in tasks], options, seed=seed, score_from=10
    )


def fit_all(tasks, **more):
    return fit_shared(
        spec_of(),
        [task.data for task in tasks],
        [task.partition for task in tasks],
        more.pop("options", OPTIONS),
        identities=[task.recording.identity for task in tasks],
        **ALONE | more,
    )


def gradients(module):
    return {name: value.grad.clone() for name, value in module.named_parameters()}


def test_one_scale_of_light_serves_all_recordings_that_of_their_movies_taken_together(tasks):
    rng = np.random.default_rng(0)
    movies = [rng.normal(mean, std, size) for mean, std, size in ((1, 2, 50), (-3, 0.5, 80))]

    class Block:
        def __init__(self, n_bins):
            self.n_bins = n_bins

    parts = [replace(tasks[0].partition, train=[Block(m.size)]) for m in movies]
    data = [replace(tasks[0].data, mean=m.mean(), std=m.std()) for m in movies]
    whole = np.concatenate(movies)
    for found in pooled_inputs(data, parts):
        assert found.mean == pytest.approx(whole.mean())
        assert found.std == pytest.approx(whole.std())


def test_the_gradient_of_the_joint_loss_is_the_sum_of_the_recordings_own(tasks):
    joint = joint_trainer(tasks, **QUIET, l2=0.01)
    joint.module.train()
    chosen = joint.batches()[0]
    value = joint.accumulate(chosen)
    cells_times_bins = [
        len(task.data.neurons) * sum(float(s.weight.sum()) for s in some)
        for task, some in zip(tasks, chosen, strict=True)
    ]
    shares = np.array(cells_times_bins) / sum(cells_times_bins)
    core, total = {}, 0.0
    for index, (task, some, share) in enumerate(zip(tasks, chosen, shares, strict=True)):
        data = joint.parts[index].model.input
        alone = spec_of(**QUIET, l2=0.01).build(data, 0)
        alone.load_state_dict(joint.parts[index].model.state_dict())
        alone.train()
        trainer = Trainer(
            alone, task.partition.train, task.partition.validation, OPTIONS, seed=0, score_from=10
        )
        total += share * trainer.accumulate(some)
        own = gradients(alone)
        for name, gradient in own.items():
            if name.startswith("core."):
                core[name] = core.get(name, 0) + share * gradient
        readout = joint.parts[index].model.readout.linear.weight.grad
        torch.testing.assert_close(readout, share * own["readout.linear.weight"].float())
    assert value == pytest.approx(total, rel=1e-5)
    for name, gradient in core.items():
        found = dict(joint.parts[0].model.named_parameters())[name].grad
        # Single precision sums in another order.
        torch.testing.assert_close(found, gradient.float(), rtol=1e-4, atol=1e-6)


def test_an_epoch_sees_every_training_bin_once_and_each_step_holds_a_batch_in_all(tasks):
    joint = joint_trainer(tasks)
    steps = joint.batches()
    for index, part in enumerate(joint.parts):
        seen = [id(segment) for step in steps for segment in step[index]]
        assert sorted(seen) == sorted(id(segment) for segment in part.segments)
    sizes = [sum(len(some) for some in step) for step in steps]
    assert max(sizes) <= OPTIONS.batch_bins // OPTIONS.segment_bins
    assert min(sizes) >= 1
    # In proportion: no recording is absent for long from what is learned.
    for index, part in enumerate(joint.parts):
        there = np.flatnonzero([bool(step[index]) for step in steps])
        assert np.diff(there).max() <= 1 + np.ceil(len(steps) / len(part.segments))


def test_each_recording_gets_a_plain_network_with_the_same_core_and_its_own_readout(tasks):
    outcomes = fit_all(tasks)
    first = outcomes[0].model
    for task, outcome in zip(tasks, outcomes, strict=True):
        assert outcome.model.kind == "retina-cnn"
        assert outcome.model.input.neurons == task.data.neurons
        for name, value in first.core.state_dict().items():
            assert torch.equal(value, outcome.model.core.state_dict()[name])
    assert not torch.equal(first.readout.linear.weight, outcomes[1].model.readout.linear.weight)
    assert len({id(outcome.model.core) for outcome in outcomes}) == 3
    own = [outcome.history["validation_own"].values for outcome in outcomes]
    joint = outcomes[0].history["validation"].values
    np.testing.assert_allclose(np.mean(own, axis=0), joint, rtol=1e-12)


def test_the_order_in_which_recordings_are_given_changes_nothing(tasks):
    one, two, three = fit_all(tasks)
    third, first, second = fit_all([tasks[2], tasks[0], tasks[1]])
    for before, after in ((one, first), (two, second), (three, third)):
        for name, value in before.model.state_dict().items():
            assert torch.equal(value, after.model.state_dict()[name]), name


def test_a_joint_training_stopped_after_an_epoch_and_resumed_equals_one_without_a_stop(
    tasks, tmp_path
):
    class Stop(Exception):
        pass

    class AfterOne(Progress):
        def update(self, done, note=""):
            if done == 1:
                raise Stop

    whole = fit_all(tasks[:2])
    with pytest.raises(Stop):
        fit_all(tasks[:2], store=tmp_path, progress=AfterOne())
    resumed = fit_all(tasks[:2], store=tmp_path)
    for one, two in zip(whole, resumed, strict=True):
        for name, value in one.model.state_dict().items():
            assert torch.equal(value, two.model.state_dict()[name]), name
        assert one.history["loss"].values.tolist() == two.history["loss"].values.tolist()


def test_the_window_is_chosen_once_among_those_that_every_recording_has_room_for():
    short = prepare(small_recording(n_blocks=12, n_bins=150, seed=3))
    tasks = [prepare(small_recording(seed=0)), short]
    outcomes = fit_shared(
        parse("retina-cnn"),
        [task.data for task in tasks],
        [task.partition for task in tasks],
        replace(OPTIONS, epochs=1, search_epochs=1),
        identities=["a", "b"],
        **ALONE,
    )
    # Half of the shorter recording's blocks of 1.5 s has room for 0.4 s alone.
    assert {outcome.summary["chosen_history"] for outcome in outcomes} == {0.4}
