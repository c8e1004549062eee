"""The training loop: what it samples, how it steps, when it stops."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_recording import small_recording

import neuromodels as nm
from neuromodels.fits.likelihoods import poisson_loss
from neuromodels.fits.sampling import read_batch, segments
from neuromodels.fits.task import prepare
from neuromodels.fits.training import Trainer, TrainingOptions, learning_rate

OPTIONS = TrainingOptions(epochs=3, batch_bins=512, segment_bins=128)


@pytest.fixture(scope="module")
def task():
    return prepare(small_recording())


def make_trainer(task, options=OPTIONS, seed=0, **overrides):
    spec = nm.models.retina_cnn(temporal_basis=4, channels=(2, 3), kernels=(3, 3), **overrides)
    model = spec.build(task.data, seed, history=0.1)
    return Trainer(
        model, task.partition.train, task.partition.validation, options, seed=seed, score_from=10
    )


@pytest.mark.parametrize(("lead_in", "length"), [(10, 128), (40, 77), (10, 390), (10, 1000)])
def test_an_epoch_counts_every_usable_bin_exactly_once(task, lead_in, length):
    total = {id(block): np.zeros(block.n_bins) for block in task.partition.train}
    for segment in segments(task.partition.train, lead_in, length):
        total[id(segment.block)][segment.start : segment.stop] += segment.weight
    for block in task.partition.train:
        counted = total[id(block)]
        assert not counted[:lead_in].any()
        np.testing.assert_allclose(counted[lead_in:], 1.0, rtol=1e-6)


def test_no_training_window_touches_validation_heldout_or_another_block(task):
    lead_in = 10
    forbidden = {float(t) for block in [*task.partition.validation] for t in block.time}
    for segment in segments(task.partition.train, lead_in, 128):
        assert segment.start - lead_in >= 0
        assert segment.stop <= segment.block.n_bins
        seen = segment.block.time[segment.start - lead_in : segment.stop]
        assert forbidden.isdisjoint(seen.tolist())


def test_a_batch_holds_the_frames_before_its_outputs_and_the_counts_of_its_outputs(task):
    segment = segments(task.partition.train, 10, 128)[3]
    ((stimulus, counts, weight, covariates),) = read_batch([segment], SimpleNamespace(lead_in=10))
    assert covariates is None
    assert stimulus.shape[1] == 10 + counts.shape[1] == 10 + weight.shape[1]
    np.testing.assert_array_equal(
        stimulus[0], segment.block.movie(segment.start - 10, segment.stop)
    )
    np.testing.assert_array_equal(counts[0], segment.block.response[segment.start : segment.stop])


def test_poisson_loss_has_its_minimum_at_the_count():
    count = torch.tensor([1.0, 2.0, 5.0])
    rate = count.clone().requires_grad_()
    poisson_loss(rate, count).sum().backward()
    assert torch.allclose(rate.grad, torch.zeros(3), atol=1e-6)


def test_the_gradient_of_an_epoch_does_not_depend_on_how_bins_are_cut_into_segments(task):
    gradients = []
    for length in (64, 195, 1000):
        trainer = make_trainer(task, noise=(0.0, 0.0), dropout=0.0, l2=0.01, readout_l2=0.01)
        chosen = segments(task.partition.train, trainer.model.lead_in, length)
        trainer.model.train()
        trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.0)
        trainer.options = replace(OPTIONS, gradient_clip=1e9)
        trainer._step(chosen)
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]))
    # Single precision sums in another order.
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)
    assert torch.allclose(gradients[0], gradients[2], rtol=1e-3, atol=1e-5)


def test_one_cycle_rises_for_a_tenth_and_falls_to_zero():
    options = TrainingOptions(schedule="one-cycle", learning_rate=1.0)
    rates = [learning_rate(options, step, 100, []) for step in range(100)]
    assert int(np.argmax(rates)) == 9 or int(np.argmax(rates)) == 10
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 1e-3
    assert np.all(np.diff(rates[10:]) < 0)


def test_plateau_drops_after_five_epochs_without_progress():
    options = TrainingOptions(schedule="plateau", learning_rate=1.0)
    assert learning_rate(options, 0, 100, [1.0] * 6) == 1.0
    assert learning_rate(options, 0, 100, [1.0] * 7) == pytest.approx(0.2)
    assert learning_rate(options, 0, 100, [*[1.0] * 7, 2.0, 1.9]) == pytest.approx(0.2)


def test_training_stops_without_progress_and_keeps_the_best_weights(task):
    options = TrainingOptions(
        epochs=30,
        batch_bins=512,
        segment_bins=128,
        learning_rate=1.0,
        patience=2,
        schedule="constant",
        gradient_clip=100.0,
    )
    trainer = make_trainer(task, options)
    record = trainer.run()
    assert "no progress" in record.stopped or "no longer a number" in record.stopped
    assert len(record.history["loss"]) < 30
    assert trainer.validate() == pytest.approx(max(record.history["validation"]), abs=1e-6)


def test_training_improves_on_the_mean_rate_and_the_same_seed_gives_the_same_weights(task):
    options = replace(OPTIONS, epochs=6, learning_rate=0.02)
    first, second, other = (make_trainer(task, options, seed=s) for s in (0, 0, 1))
    record = first.run()
    second.run()
    other.run()
    assert record.best > 0
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])
    assert not torch.equal(first.model.readout.linear.weight, other.model.readout.linear.weight)


def test_a_run_stopped_after_every_epoch_and_resumed_equals_one_without_a_stop(task, tmp_path):
    whole = make_trainer(task)
    whole.run()
    file = tmp_path / "training.h5"

    class Stop(Exception):
        pass

    from neuromodels.fits.progress import Progress

    class AfterOne(Progress):
        calls = 0

        def update(self, done, note=""):
            self.calls += 1
            # The first call of a resumed run only tells where it starts.
            if self.calls == (2 if done > 1 else 1):
                raise Stop

    for _ in range(OPTIONS.epochs):
        trainer = make_trainer(task)
        with pytest.raises(Stop):
            trainer.run(file, AfterOne())
    trainer = make_trainer(task)
    record = trainer.run(file)
    assert record.history["loss"] == whole.history["loss"]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name])


def test_a_window_longer_than_every_block_is_an_error(task):
    spec = nm.models.retina_cnn(temporal_basis=4, channels=(2,), kernels=(3,), noise=(0.0,))
    model = spec.build(task.data, history=20.0)
    with pytest.raises(nm.OptionError, match="longer than every training block"):
        Trainer(
            model, task.partition.train, task.partition.validation, OPTIONS, seed=0, score_from=10
        )
