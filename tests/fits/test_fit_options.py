"""Every option of a fit changes the fit, or says that it does not."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from small_fits import ALONE

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.splits import Partition
from neuromodels.encoding.base import Input
from neuromodels.fits.glm.fitting import fit_convex
from neuromodels.fits.networks import fit_network
from neuromodels.fits.options import ConvexOptions
from neuromodels.fits.training import TrainingOptions
from neuromodels.models import glm, ln, retina_cnn

DATA = Input(
    (1, 5, 1),
    ("a", "b"),
    0.1,
    covariates=("running",),
    covariate_mean=(0.0,),
    covariate_std=(1.0,),
)


def partition():
    """Four training blocks and one for validation, 10 s each in bins of 0.1 s."""
    rng = np.random.default_rng(0)
    movie = rng.standard_normal((500, 1, 5, 1)).astype(np.float32)
    counts = rng.poisson(np.exp(np.roll(movie[:, 0, :2, 0], 1, axis=0)))
    running = rng.standard_normal((500, 1))
    blocks = [
        Block(
            i,
            0.1 * bins,
            counts[bins].astype(np.int32),
            bins,
            movie,
            covariates=running[bins],
            covariate_names=("running",),
        )
        for i, bins in enumerate(np.arange(500).reshape(5, 100))
    ]
    return Partition(blocks[:4], blocks[4:], [], [], {})


def fitted(procedure, spec, options, data=DATA):
    """Weights and the course of a fit."""
    outcome = procedure(
        spec,
        data,
        partition(),
        options,
        **ALONE,
    )
    course = outcome.history.drop_vars(["wall_time", "cpu_time"], errors="ignore")
    search = outcome.diagnostics.get("search", (None, np.zeros(0)))[1]
    return [v.numpy() for v in outcome.model.state_dict().values()] + [
        *(variable.values for variable in course.data_vars.values()),
        search,
    ]


def differ(one, two):
    """Whether any array differs."""
    return any(
        a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(one, two, strict=True)
    )


CONVEX = {
    "ridge": (1.0,),
    "smoothness": (1.0,),
    "history_ridge": 1.0,
    "covariate_ridge": 1.0,
    "tolerance": 1e-2,
    "max_iterations": 1,
    "crop": 3,
}


@pytest.mark.parametrize("option", CONVEX)
def test_every_option_of_a_convex_fit_matters(option):
    spec = glm(history=0.4, temporal_basis=3, own_history=0.3, own_basis=2, covariates=("running",))
    base = {"ridge": (1e-3,), "smoothness": (0.0,)}
    one = fitted(fit_convex, spec, ConvexOptions(**base))
    two = fitted(fit_convex, spec, ConvexOptions(**base | {option: CONVEX[option]}))
    assert differ(one, two)


TRAINING = {
    "epochs": 4,
    "batch_bins": 60,
    "segment_bins": 20,
    "optimizer": "rmsprop",
    "learning_rate": 1e-3,
    "weight_decay": 5.0,
    "schedule": "constant",
    "patience": 1,
    "gradient_clip": 1e-3,
    "search_epochs": 1,
}


@pytest.mark.parametrize("option", TRAINING)
def test_every_option_of_training_matters(option):
    spec = retina_cnn(temporal_basis=3, channels=(3, 3), kernels=(3, 2))
    base = {"epochs": 3, "search_epochs": 2, "batch_bins": 120, "segment_bins": 40}
    if option == "patience":
        # So high a rate that the validation blocks get worse.
        base |= {"learning_rate": 1.0, "epochs": 8, "patience": 8}
    if option == "optimizer":
        # Decoupled decay belongs to AdamW alone; elsewhere it is refused.
        base |= {"weight_decay": 0.0}
    one = fitted(fit_network, spec, TrainingOptions(**base))
    two = fitted(fit_network, spec, TrainingOptions(**base | {option: TRAINING[option]}))
    assert differ(one, two)


@pytest.mark.parametrize(
    ("procedure", "spec", "options"),
    [
        (fit_convex, ln(history=0.4, temporal_basis=3), ConvexOptions),
        (
            fit_network,
            retina_cnn(history=0.4, temporal_basis=3, channels=(3, 3), kernels=(3, 2)),
            TrainingOptions,
        ),
    ],
)
def test_the_likelihood_matters(procedure, spec, options):
    data = replace(DATA, response="rate")
    one, two = (
        fitted(procedure, spec, options(likelihood=name), data) for name in ("gaussian", "gamma")
    )
    assert differ(one[:2], two[:2])
    assert not differ(one, fitted(procedure, spec, options(), data))


def test_no_option_is_left_out_above():
    # How much memory may be used changes no result; test_recovery compares both ways.
    assert {f.name for f in fields(ConvexOptions)} == {*CONVEX, "memory_gb", "likelihood"}
    assert {f.name for f in fields(TrainingOptions)} == {*TRAINING, "likelihood"}


def test_a_training_with_equal_seeds_is_the_same_to_the_bit():
    spec = retina_cnn(temporal_basis=3, channels=(3, 3), kernels=(3, 2), history=0.4)
    options = TrainingOptions(epochs=2, batch_bins=120, segment_bins=40)
    before = torch.get_rng_state()
    assert not differ(fitted(fit_network, spec, options), fitted(fit_network, spec, options))
    assert torch.equal(torch.get_rng_state(), before)
