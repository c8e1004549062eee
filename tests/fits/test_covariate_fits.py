"""Running and pupil in fits: the right solution, the right score, and none where there is none."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from running_recording import BIN_WIDTH, MEAN, N_PIXELS, STD, running_recording
from small_fits import ALONE

import neuromodels as nm
from neuromodels.datasets.blocks import Block
from neuromodels.datasets.covariates import only_covariates
from neuromodels.datasets.splits import Partition
from neuromodels.encoding.base import Input
from neuromodels.fits.glm.fitting import fit_convex
from neuromodels.fits.glm.regressors import make_design, regressors
from neuromodels.fits.options import ConvexOptions, make_request, make_requests
from neuromodels.fits.runs import make_plan
from neuromodels.fits.sampling import read_batch, segments
from neuromodels.fits.task import prepare

N_LAGS = 5
DATA = Input(
    (1, 5, 1),
    ("a", "b"),
    0.1,
    covariates=("running", "pupil"),
    covariate_mean=(8.0, 1.5),
    covariate_std=(5.0, 0.2),
)
#: Without penalties, every lag with a weight of its own: a plain Poisson regression.
PLAIN = {"history": 0.3, "temporal_basis": 0, "nonlinearity": "exp"}
FREE = ConvexOptions(
    ridge=(0.0,), smoothness=(0.0,), history_ridge=0.0, covariate_ridge=0.0, tolerance=1e-9
)


def partition(missing=0.05, seed=0):
    """Five blocks of 30 s in bins of 0.1 s, the last for validation; some values are missing."""
    rng = np.random.default_rng(seed)
    movie = rng.standard_normal((1500, 1, 5, 1)).astype(np.float32)
    z = rng.standard_normal((1500, 2))
    drive = np.roll(movie[:, 0, :2, 0], 1, axis=0) * 0.6 - 0.5 + z @ [[0.4, -0.3], [0.1, 0.2]]
    counts = rng.poisson(np.exp(drive)).astype(np.int32)
    values = z * DATA.covariate_std + np.array(DATA.covariate_mean)
    values[rng.random(values.shape) < missing] = np.nan
    blocks = [
        Block(
            i,
            0.1 * bins,
            counts[bins],
            bins,
            movie,
            # As a file may hold them: another one first, in another order.
            covariates=np.stack([bins, values[bins, 1], values[bins, 0]], axis=1),
            covariate_names=("clock", "pupil", "running"),
        )
        for i, bins in enumerate(np.arange(1500).reshape(5, 300))
    ]
    return Partition(blocks[:4], blocks[4:], [], [], {})


def fitted(spec, options=FREE, parts=None, data=DATA):
    return fit_convex(
        spec,
        data,
        parts or partition(),
        options,
        **ALONE,
    )


def told(model):
    """Weights of the covariates."""
    return model.covariate.weight.detach().numpy()


def columns(blocks, n_lags=3):
    """Stimulus lag by lag, then the normalized covariates, in plain numpy; and the counts."""
    rows, counts = [], []
    for block in blocks:
        movie = block.movie()[:, 0, :, 0].astype(float)
        n = len(movie)
        past = [movie[n_lags - lag : n - lag] for lag in range(1, n_lags + 1)]
        z = (block.covariates[n_lags:, [2, 1]] - DATA.covariate_mean) / DATA.covariate_std
        rows.append(np.concatenate([*past, np.where(np.isnan(z), 0.0, z)], axis=1))
        counts.append(block.response[n_lags:])
    return np.concatenate(rows), np.concatenate(counts)


# --- the design and its solution -----------------------------------------------------------------


def test_the_last_columns_of_a_design_are_the_normalized_covariates():
    block = partition().train[0]
    model = nm.models.ln(**PLAIN, covariates=("running", "pupil")).build(DATA)
    shared, own = regressors(model, block, 3, [0, 1])
    np.testing.assert_allclose(shared, columns([block])[0], rtol=1e-6, atol=1e-6)
    assert own is None
    coupled = nm.models.glm_coupled(
        **PLAIN, own_history=0.2, coupling_history=0.2, covariates="pupil"
    ).build(DATA)
    shared, own = regressors(coupled, block, 3, [0, 1])
    assert shared.shape[1] == 3 * 5 + 2 * 2 + 1 and own.shape == (297, 2, 2)
    np.testing.assert_allclose(shared[:, -1], columns([block])[0][:, -1], rtol=1e-6, atol=1e-6)


def test_an_ln_model_with_covariates_is_the_poisson_regression_of_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    parts = partition()
    model = fitted(nm.models.ln(**PLAIN, covariates=("running", "pupil")), parts=parts).model
    x, counts = columns(parts.train)
    for neuron in range(2):
        theirs = sm.GLM(counts[:, neuron], sm.add_constant(x), family=sm.families.Poisson())
        expected = theirs.fit(tol=1e-12).params
        ours = np.concatenate(
            [
                [model.bias[neuron].item()],
                model.stimulus.weight[..., neuron].detach().numpy().ravel(),
                told(model)[:, neuron],
            ]
        )
        # Regressors are stored in single precision.
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_trace_is_regressed_on_stimulus_and_covariates():
    parts = partition()
    scaled = [
        [replace(block, response=(7.0 * block.response - 2).astype(np.float32)) for block in blocks]
        for blocks in (parts.train, parts.validation)
    ]
    parts = Partition(*scaled, [], [], {})
    spec = nm.models.ln(history=0.3, temporal_basis=0, covariates=("running", "pupil"))
    model = fitted(spec, parts=parts, data=replace(DATA, response="trace")).model
    x, y = columns(parts.train)
    expected = np.linalg.lstsq(np.insert(x, 0, 1.0, axis=1), y, rcond=None)[0]
    np.testing.assert_allclose(told(model), expected[-2:], atol=1e-4)
    np.testing.assert_allclose(model.bias.detach(), expected[0], atol=1e-4)


@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
def test_the_gradient_of_the_whole_objective_vanishes_at_a_coupled_fit(nonlinearity):
    # The objective is put together from the model's own rates: what was fitted is what predicts.
    parts = partition()
    options = ConvexOptions(
        ridge=(1e-2,), smoothness=(0.0,), history_ridge=1e-3, covariate_ridge=3e-2, tolerance=1e-8
    )
    spec = nm.models.glm_coupled(
        **PLAIN | {"nonlinearity": nonlinearity},
        own_history=0.2,
        coupling_history=0.3,
        coupling_basis=2,
        covariates=("pupil", "running"),
    )
    model = fitted(spec, options, parts).model.double()
    loss, n_bins = 0.0, 0
    for block in parts.train:
        values = torch.from_numpy(block.covariates[:, [1, 2]])[None]
        spikes = torch.from_numpy(block.response.astype(float))
        rates = model(torch.from_numpy(block.movie())[None], spikes[None], values)[0]
        seen = spikes[model.lead_in :]
        loss = loss + (rates - seen * rates.log()).sum()
        n_bins += len(seen)
    loss = loss / n_bins + 0.5e-2 * model.stimulus.weight.square().sum()
    loss = loss + 0.5e-3 * (model.own.square().sum() + model.coupling.square().sum())
    loss = loss + 1.5e-2 * model.covariate.weight.square().sum()
    loss.backward()
    itself = range(2)
    model.coupling.grad[:, itself, itself] = 0
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() < 1e-6, name
    assert model.covariate.weight.abs().min() > 0.01


def test_regressors_that_are_read_piece_by_piece_give_the_same_weights():
    spec = nm.models.glm(**PLAIN, own_history=0.2, covariates="all")
    data = replace(
        DATA,
        covariates=("clock", *DATA.covariates),
        covariate_mean=(750.0, *DATA.covariate_mean),
        covariate_std=(400.0, *DATA.covariate_std),
    )
    options = replace(FREE, tolerance=1e-7)
    held = fitted(spec, options, data=data).model
    streamed = fitted(spec, replace(options, memory_gb=1e-5), data=data).model
    design, _ = make_design(spec.build(data).float(), partition().train, 3, 1e-5, [0, 1])
    assert design._n_blocks > 4
    for one, two in zip(held.parameters(), streamed.parameters(), strict=True):
        np.testing.assert_allclose(one.detach(), two.detach(), atol=1e-6)


def test_cells_that_are_fitted_on_their_own_windows_are_told_the_covariates_too():
    spec = nm.models.ln(**PLAIN, covariates=("running", "pupil"))
    outcome = fitted(spec, replace(FREE, crop=3))
    assert outcome.summary["crop_side"] == 3
    # The pixels that drive a cell lie inside its window: the weights are those of the whole frame
    # within their error.
    whole, cut = told(fitted(spec).model), told(outcome.model)
    np.testing.assert_allclose(cut, whole, atol=0.03)
    assert not np.array_equal(cut, whole)


def test_a_low_rank_filter_of_the_largest_rank_is_the_full_one_with_its_covariates():
    full = fitted(nm.models.ln(**PLAIN, covariates=("running", "pupil"))).model
    outcome = fitted(nm.models.ln(**PLAIN, rank=3, covariates=("running", "pupil")))
    low = outcome.model
    assert outcome.summary["converged"]
    np.testing.assert_allclose(told(low), told(full), atol=1e-6)
    np.testing.assert_allclose(
        low.stimulus.assembled().detach(), full.stimulus.assembled().detach(), atol=1e-6
    )
    one = fitted(nm.models.ln(**PLAIN, rank=1, covariates=("running", "pupil"))).model
    np.testing.assert_allclose(told(one), told(full), atol=0.05)


def test_a_batch_for_a_network_holds_the_covariates_of_its_bins():
    model = nm.models.retina_cnn(history=0.3, covariates="running").build(DATA)
    chosen = segments(partition(missing=0).train, model.lead_in, 100)[:3]
    (batch,) = read_batch(chosen, model)
    assert batch.covariates.shape == (*batch.stimulus.shape[:2], 1)
    for segment, values in zip(chosen, batch.covariates, strict=True):
        bins = slice(segment.start - model.lead_in, segment.stop)
        np.testing.assert_array_equal(values[:, 0], segment.block.covariates[bins, 2])
    assert list(batch.given) == ["covariates"]


# --- what drives the cells is found, what does not is not ----------------------------------------

CONVEX = {
    "history": N_LAGS * BIN_WIDTH,
    "temporal_basis": 0,
    "nonlinearity": "exp",
    "ridge": (1e-4,),
    "smoothness": (0.0,),
}
OPTIONS = {
    "ln": CONVEX,
    "glm": CONVEX | {"own_history": 0.06, "own_basis": 3},
    "retina-cnn": {
        "history": N_LAGS * BIN_WIDTH,
        "temporal_basis": 0,
        "channels": (4, 4),
        "kernels": (3, 3),
        "batch_bins": 128,
        "segment_bins": 128,
        "epochs": 8,
        "patience": 8,
    },
}


@cache
def nested(kind, seed, **recording):
    """Models without, with running, and with running and pupil, on one split; and the truth."""
    made, truth = running_recording(seed, **recording)
    models = [kind, f"{kind}+running", f"{kind}+running+pupil"]
    return nm.compare(made, models, options=OPTIONS, bin_width=BIN_WIDTH), truth, made


def gain(comparison, more, less):
    """Held-out bits per spike that a covariate adds, and the standard error of the pair."""
    row = comparison.differences["population"].sel(
        pair=f"{more} − {less}", metric="bits_per_spike", reduction="mean"
    )
    return float(row.sel(part="value")), float(row.sel(part="standard_error"))


def error_of(comparison, model):
    """Standard error of a model's own held-out score."""
    scores = comparison.details["population"].sel(
        model=model, metric="bits_per_spike", reduction="mean", part="standard_error"
    )
    return float(scores.squeeze())


def standard_errors(recording, model):
    """Of the covariate weights of a converged fit: its Fisher information, in plain numpy."""
    errors = []
    x, rates = [], []
    for block in prepare(recording, bin_width=BIN_WIDTH).partition.train:
        movie = block.movie()[:, 0, :, 0].astype(float)
        n = len(movie)
        past = [movie[N_LAGS - lag : n - lag] for lag in range(1, N_LAGS + 1)]
        z = (block.covariates[N_LAGS:] - MEAN) / STD
        x.append(np.concatenate([np.ones((n - N_LAGS, 1)), *past, z], axis=1))
        values = torch.from_numpy(block.covariates)[None]
        spikes = torch.from_numpy(block.response.astype(float))[None]
        rates.append(model(torch.from_numpy(block.movie())[None], spikes, values)[0])
    x, rates = np.concatenate(x), torch.cat(rates).detach().numpy()
    for rate in rates.T:
        information = x.T @ (rate[:, None] * x)
        errors.append(np.sqrt(np.diag(np.linalg.inv(information)))[-2:])
    return np.array(errors).T


def deviations(kind, seed, **recording):
    """Errors of the weights in standard errors, and what each covariate added to the score."""
    comparison, truth, made = nested(kind, seed, **recording)
    largest = f"{kind}+running+pupil"
    model = comparison.fit(largest).model
    # The fit's z are those of its own training mean and deviation.
    weight = told(model) * (STD / np.array(model.input.covariate_std))[:, None]
    running = gain(comparison, f"{kind}+running", kind)
    pupil = gain(comparison, largest, f"{kind}+running")
    errors = standard_errors(made, model)
    return (weight - truth.weight) / errors, running, pupil, error_of(comparison, largest)


def test_the_table_says_what_each_covariate_adds():
    comparison = nested("ln", 0)[0]
    line = next(x for x in str(comparison).splitlines() if x.startswith("Covariates"))
    for more, less, name in (
        ("ln+running", "ln", "running"),
        ("ln+running+pupil", "ln", "running+pupil"),
        ("ln+running+pupil", "ln+running", "pupil"),
    ):
        value, _ = gain(comparison, more, less)
        pattern = rf"\W{re.escape(name)} adds (\S+)(?: \[.*?\])? to {re.escape(less)}[;.]"
        said = float(re.search(pattern, line)[1])
        assert said == pytest.approx(value, abs=0.006)


def test_running_is_found_and_the_pupil_is_not():
    z, running, pupil, error = deviations("ln", 0)
    assert running[0] > 3 * running[1] > 0
    assert abs(pupil[0]) < error and abs(pupil[0]) < 0.1 * running[0]
    assert np.abs(z).max() < 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ln", "glm"])
def test_running_is_found_and_the_pupil_is_not_over_seeds(kind):
    own = -0.5 if kind == "glm" else 0.0
    found = [deviations(kind, seed, own=own) for seed in range(8)]
    z = np.array([one[0] for one in found])
    running, pupil = (np.array([one[i] for one in found]) for i in (1, 2))
    error = np.array([one[3] for one in found])
    # The errors of held-out scores are on the safe side, and 40 s are short.
    assert (running[:, 0] > 2 * running[:, 1]).all()
    assert running[:, 0].mean() > 3 * running[:, 1].mean()
    assert (np.abs(pupil[:, 0]) < error).all()
    # A useless weight costs a little: half a degree of freedom per cell, far below the gain.
    assert abs(pupil[:, 0].mean()) < 0.05 * running[:, 0].mean()
    # Standard errors are right: 48 deviations have a root mean square of 1 (sd 0.1).
    assert 0.7 < np.sqrt((z**2).mean()) < 1.3
    assert np.abs(z).max() < 4


@pytest.mark.slow
def test_a_network_recovers_the_gain_of_running():
    for seed in range(3):
        comparison, truth, _ = nested("retina-cnn", seed, n_blocks=30)
        running = gain(comparison, "retina-cnn+running", "retina-cnn")
        pupil = gain(comparison, "retina-cnn+running+pupil", "retina-cnn+running")
        assert running[0] > 3 * running[1] > 0
        assert abs(pupil[0]) < error_of(comparison, "retina-cnn+running+pupil")
        weight = comparison.fit("retina-cnn+running+pupil").parameters["covariate_weight"].values
        np.testing.assert_allclose(weight, truth.weight, atol=0.08)


# --- a whole comparison --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    recording, _ = running_recording(3, n_blocks=6, n_bins=120, own=-0.5)
    options = OPTIONS | {"retina-cnn": OPTIONS["retina-cnn"] | {"epochs": 2}}
    names = ["ln+running", "glm+all", "retina-cnn+pupil"]
    return recording, nm.compare(recording, names, options=options, bin_width=BIN_WIDTH)


def test_a_stored_comparison_predicts_as_before_and_says_what_it_was_told(small, tmp_path):
    recording, comparison = small
    comparison.to_hdf5(tmp_path / "c.h5")
    loaded = nm.load(tmp_path / "c.h5")
    assert loaded.models == ("ln+running", "glm+all", "retina-cnn+pupil")
    assert "from the stimulus + running " in str(loaded)
    for name in loaded.models:
        again = loaded.fit(name).predict(recording)["noise"]
        before = comparison.fit(name).predictions["noise"]
        np.testing.assert_array_equal(again["test"]["rate"], before["test"]["rate"])
    weights = loaded.fit("glm+all").parameters["covariate_weight"]
    assert weights["covariate"].values.tolist() == ["running", "pupil"]


def test_a_movie_alone_is_predicted_at_the_mean_of_the_covariates(small):
    recording, comparison = small
    movie = np.random.default_rng(0).integers(0, 2, (60, N_PIXELS, 1)).astype(np.uint8)
    for name in ("ln+running", "retina-cnn+pupil"):
        found = nm.predict(comparison, movie, model=name)["movie/all"]["rate"].values
        model = comparison.fit(name).model
        mean = torch.tensor(model.input.covariate_mean).expand(1, 60, 1)
        with torch.no_grad():
            expected = model(torch.from_numpy(movie)[None, :, None], None, mean)[0]
        np.testing.assert_allclose(found[model.lead_in :], expected, rtol=1e-5)


def without_covariates(recording, roles=("train", "heldout", "test")):
    """The recording as it would be if nobody had watched the animal in these roles."""
    from neuromodels.datasets.building import build_recording

    kept = {}
    for role in recording.roles("noise"):
        node = recording.role(role, "noise")
        kept[role] = node.drop_dims("covariate") if role in roles else node
    return build_recording({"noise": kept}, source="unwatched")


def test_a_recording_without_the_covariate_is_refused_with_what_to_do(small):
    recording, comparison = small
    bare = without_covariates(recording)
    with pytest.raises(nm.InputError, match=r"(?s)unwatched: /noise/.*'running'.*not measured"):
        comparison.fit("ln+running").predict(bare)
    with pytest.raises(nm.OptionError, match="(?s)unwatched.*no covariates.*without"):
        nm.compare(bare, ["ln+running"], options=OPTIONS, bin_width=BIN_WIDTH)
    with pytest.raises(nm.OptionError, match="(?s)no covariate 'runing'.*running, pupil"):
        nm.compare(recording, ["ln+runing"], options=OPTIONS, bin_width=BIN_WIDTH)
    # Before the first fit, not when the test is predicted.
    part = without_covariates(recording, ("test",))
    with pytest.raises(nm.InputError, match=r"unwatched: /noise/test: covariates.*'running'"):
        nm.compare(part, ["ln+running"], options=OPTIONS, bin_width=BIN_WIDTH)


# --- options -------------------------------------------------------------------------------------


def test_options_of_a_model_serve_its_nested_sets_unless_they_have_their_own():
    tables = {"ln": {"history": 0.2, "rank": 1}, "ln+pupil": {"history": 0.4}}
    requests = make_requests(["ln", "ln+running", "ln+pupil", "ln+running"], tables)
    assert [r.label for r in requests] == ["ln", "ln+running", "ln+pupil", "ln+running (2)"]
    assert [r.spec.resolve().history for r in requests] == [0.2, 0.2, 0.4, 0.2]
    assert [r.spec.resolve().rank for r in requests] == [1, 1, 0, 1]


def test_covariates_are_an_option_too():
    request = make_request("glm", {"covariates": ["running"], "history": 0.2})
    assert request.spec == nm.models.glm(covariates="running", history=0.2)
    assert request.label == "glm+running"
    with pytest.raises(nm.OptionError, match="takes no covariates"):
        make_request("spiking", {"covariates": ["running"]})
    with pytest.raises(nm.OptionError, match="must not be negative"):
        make_request("ln", {"covariate_ridge": -1.0})


def test_the_ridge_on_covariates_keeps_their_weights_small():
    spec = nm.models.ln(**PLAIN, covariates="running")
    free, held = fitted(spec).model, fitted(spec, replace(FREE, covariate_ridge=10.0)).model
    assert np.abs(told(held)).max() < 0.1 * np.abs(told(free)).max()


def test_a_run_with_other_covariates_or_another_likelihood_is_no_resumption():
    recording, _ = running_recording(3, n_blocks=6, n_bins=120)

    def call(recording, **options):
        requests = make_requests(["ln+all"], {"ln": CONVEX | options})
        plan = make_plan(recording, requests, bin_width=BIN_WIDTH, learn_from=None, score_on=None)
        return plan.call([0])

    first = call(recording)
    assert call(recording) == first
    assert call(only_covariates(recording, ["running"])) != first
    assert call(recording, likelihood="poisson") != first
    assert call(recording, covariate_ridge=0.0) != first


@pytest.mark.slow
def test_given_the_spikes_nested_sets_are_subtracted_and_other_inputs_are_not():
    made, _ = running_recording(0, own=-0.5)
    models = ["glm", "glm+running", "glm-coupled"]
    comparison = nm.compare(made, models, options=OPTIONS, bin_width=BIN_WIDTH)
    given = comparison.differences["difference"].sel(metric="bits_per_spike_conditional")
    assert (given.sel(pair="glm+running − glm") > 0).all()
    assert np.isnan(given.sel(pair="glm-coupled − glm")).all()


def test_only_nested_sets_of_covariates_are_subtracted(small):
    row = small[1].differences["difference"].sel(metric="bits_per_spike")
    assert np.isfinite(row.sel(pair="glm+all − ln+running")).all()
    assert np.isfinite(row.sel(pair="retina-cnn+pupil − glm+all")).all()
    assert np.isnan(row.sel(pair="retina-cnn+pupil − ln+running")).all()
