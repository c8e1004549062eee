"""Fits to traces (ΔF/F, deconvolved activity) and rates: what is minimised, in which units."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import GammaRegressor
from small_fits import ALONE
from statsmodels.genmod import families
from statsmodels.genmod.generalized_linear_model import GLM as StatsmodelsGLM

import neuromodels as nm
from neuromodels.fits.glm.design import Design
from neuromodels.fits.glm.fitting import fit_convex
from neuromodels.fits.glm.likelihood import LOSSES
from neuromodels.fits.glm.penalties import QuadraticPenalty, ridge
from neuromodels.fits.glm.solver import fit_glm
from neuromodels.fits.networks import fit_network
from neuromodels.fits.options import ConvexOptions
from neuromodels.fits.predictions import predict_blocks
from neuromodels.fits.table_text import comparison_text
from neuromodels.fits.task import prepare
from neuromodels.fits.training import TrainingOptions

WIDTH = 0.1
N_LAGS, N_PIXELS, N_NEURONS = 4, 5, 3
#: One window of free lags, one penalty: nothing is chosen.
LN = {"history": N_LAGS * WIDTH, "temporal_basis": 0}
RIDGE = 1e-2
OPTIONS = {"ridge": (RIDGE,), "smoothness": (0.0,), "tolerance": 1e-12}


def balanced_movie(rng, n_blocks, n_bins, side=(N_PIXELS, 1)):
    """Frames of −1 and 1, as many of each in every block: mean 0 and variance 1 exactly."""
    flat = np.tile(np.float32([-1, 1]), n_bins * side[0] * side[1] // 2)
    return np.concatenate([rng.permutation(flat).reshape(n_bins, *side) for _ in range(n_blocks)])


def features(movie, n_lags=N_LAGS):
    """(bin, lag × pixel), strictly past; the first `n_lags` bins have no full window."""
    flat = movie.reshape(len(movie), -1).astype(float)
    past = np.stack([np.roll(flat, lag, axis=0) for lag in range(1, n_lags + 1)], axis=1)
    return past.reshape(len(flat), -1)


def drive_of(movie, seed=1):
    weights = 0.3 * np.random.default_rng(seed).normal(size=(N_LAGS * N_PIXELS, N_NEURONS))
    return features(movie) @ weights


def trace_recording(respond, seed=0, n_blocks=12, n_bins=400, **about):
    """A recording whose traces are `respond(movie, rng)`, with two held-out blocks and repeats."""
    rng = np.random.default_rng(seed)
    train, heldout, test = (balanced_movie(rng, n, n_bins) for n in (n_blocks, 2, 1))
    return nm.recording_from_arrays(
        train,
        respond(train, rng),
        bin_width=WIDTH,
        frame_rate=1 / WIDTH,
        blocks=np.repeat(np.arange(n_blocks), n_bins),
        heldout_stimulus=heldout,
        heldout_counts=respond(heldout, rng),
        heldout_blocks=np.repeat([0, 1], n_bins),
        test_stimulus=test,
        test_counts=np.stack([respond(test, rng) for _ in range(6)]),
        **{"kind": "trace", "response_units": "dF/F"} | about,
    )


def signed(movie, rng):
    """Linear responses with noise and an offset."""
    drive = drive_of(movie)
    return (0.2 + drive * [1.0, 0.05, 20.0] + rng.normal(size=drive.shape) * [0.5, 0.1, 5.0]) - 0.1


def positive(movie, rng):
    """Responses whose scatter is in proportion to their mean."""
    drive = drive_of(movie)
    return np.exp(drive) * rng.gamma(20.0, 0.05, size=drive.shape) * [1.0, 0.01, 300.0]


def fitted(task, options=OPTIONS, **of_model):
    return fit_convex(
        nm.models.ln(**LN | of_model),
        task.data,
        task.partition,
        ConvexOptions(**options),
        **ALONE,
    )


def used(blocks):
    """Regressors and responses of the bins that a fit uses."""
    columns = [features(block.movie())[N_LAGS:] for block in blocks]
    return np.concatenate(columns), np.concatenate([b.response[N_LAGS:] for b in blocks])


# -- the losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", LOSSES)
def test_slope_and_curvature_are_the_differences_of_the_loss(pair):
    loss, rng = LOSSES[pair], np.random.default_rng(0)
    eta = rng.normal(size=200)
    response = rng.poisson(2.0, 200) if pair[0] == "poisson" else rng.gamma(2.0, 1.0, 200)
    response = response - 1.5 * loss.signed
    seen, step = loss.observed(response), 1e-5
    slope, curvature = loss.loss(eta, seen)[1], loss.curvature(eta, seen)
    for t in range(0, 200, 17):
        moved = [eta + sign * step * (np.arange(200) == t) for sign in (1, -1)]
        (up, slope_up), (down, slope_down) = (loss.loss(one, seen) for one in moved)
        assert slope[t] == pytest.approx((up - down) / (2 * step), abs=1e-6)
        bend = (slope_up[t] - slope_down[t]) / (2 * step)
        assert curvature[t] == pytest.approx(bend, abs=1e-6)


def test_a_gaussian_fit_is_ridge_regression():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(500, 30)) + 0.5, rng.normal(size=(500, 2))
    fit = fit_glm(
        Design(x),
        y,
        penalty=QuadraticPenalty([ridge(30)], [0.1]),
        likelihood="gaussian",
        nonlinearity="identity",
        tolerance=1e-12,
    )
    centred = x - x.mean(0)
    expected = np.linalg.solve(
        centred.T @ centred / 500 + 0.1 * np.eye(30), centred.T @ (y - y.mean(0)) / 500
    )
    np.testing.assert_allclose(fit.weights.shared, expected, atol=1e-10)
    np.testing.assert_allclose(fit.weights.intercept, y.mean(0) - x.mean(0) @ expected, atol=1e-10)
    assert fit.converged.all() and fit.iterations.max() <= 3


@pytest.mark.parametrize("strength", [0.0, 0.05])
def test_a_gamma_fit_is_that_of_scikit_learn_and_of_statsmodels(strength):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 8))
    y = np.exp(x @ rng.normal(size=8) * 0.3 + 1.0) * rng.gamma(3.0, 1 / 3, 800)
    fit = fit_glm(
        Design(x),
        y[:, None],
        penalty=QuadraticPenalty([ridge(8)], [strength]),
        likelihood="gamma",
        nonlinearity="exp",
        tolerance=1e-10,
    )
    other = GammaRegressor(alpha=strength, tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(fit.weights.shared[:, 0], other.coef_, atol=1e-5)
    assert fit.weights.intercept[0] == pytest.approx(other.intercept_, abs=1e-5)
    if not strength:
        columns = np.column_stack([np.ones(800), x])
        third = StatsmodelsGLM(y, columns, family=families.Gamma(families.links.Log())).fit()
        np.testing.assert_allclose(fit.weights.stack()[0], third.params, atol=1e-5)


def test_a_gamma_fit_keeps_the_mean_where_there_are_zeros_and_names_a_trace_of_zeros():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    y = np.exp(x @ [0.5, -0.3]) * rng.gamma(2.0, 0.5, 4000) * (rng.random(4000) < 0.7) / 0.7
    family = {"likelihood": "gamma", "nonlinearity": "exp"}
    fit = fit_glm(Design(x), np.stack([y, np.zeros(4000)], axis=1), **family)
    np.testing.assert_allclose(fit.weights.shared[:, 0], [0.5, -0.3], atol=0.06)
    assert fit.converged[0] and not fit.converged[1]
    assert "zero throughout" in fit.message[1]
    assert np.isfinite(fit.weights.stack()).all()


# -- whole models ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signed_task():
    return prepare(trace_recording(signed))


@pytest.fixture(scope="module")
def positive_task():
    return prepare(trace_recording(positive))


def test_an_ln_model_of_a_trace_is_ridge_regression_in_units_of_its_deviation(signed_task):
    model = fitted(signed_task).model
    x, y = used(signed_task.partition.train)
    mean, deviation = y.mean(0, dtype=float), y.std(0, dtype=float)
    centred = x - x.mean(0)
    z = (y - mean) / deviation
    weights = np.linalg.solve(
        centred.T @ centred / len(x) + RIDGE * np.eye(x.shape[1]), centred.T @ z / len(x)
    )
    expected = weights * deviation
    found = model.stimulus.weight.detach().numpy().reshape(expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-8 * deviation.max())
    blocks = signed_task.scored["stimulus"]["heldout"]
    predicted = np.concatenate([p.rate[N_LAGS:] for p in predict_blocks(model, blocks)])
    by_hand = mean + (used(blocks)[0] - x.mean(0)) @ expected
    np.testing.assert_allclose(predicted, by_hand, rtol=1e-5, atol=1e-6 * deviation.max())
    assert model.options.nonlinearity == "identity"


def test_weights_of_a_linear_trace_scatter_as_least_squares_says(signed_task):
    """Against the truth, in units of the textbook's standard errors."""
    model = fitted(signed_task, OPTIONS | {"ridge": (1e-9,)}).model
    x, _ = used(signed_task.partition.train)
    truth = 0.3 * np.random.default_rng(1).normal(size=(x.shape[1], N_NEURONS)) * [1, 0.05, 20]
    found = model.stimulus.weight.detach().numpy().reshape(truth.shape)
    centred = x - x.mean(0)
    error = np.sqrt(np.diag(np.linalg.inv(centred.T @ centred)))[:, None] * [0.5, 0.1, 5.0]
    z = (found - truth) / error
    assert 0.75 < np.mean(z**2) < 1.3


def test_an_ln_model_with_gamma_noise_is_that_of_scikit_learn(positive_task):
    outcome = fitted(positive_task, OPTIONS | {"likelihood": "gamma"})
    model, (x, y) = outcome.model, used(positive_task.partition.train)
    found = model.stimulus.weight.detach().numpy().reshape(-1, N_NEURONS)
    for n in range(N_NEURONS):
        # In units of the mean, for scikit-learn's own sake: the slopes do not depend on it.
        scaled = y[:, n].astype(float) / y[:, n].mean(dtype=float)
        other = GammaRegressor(alpha=RIDGE, tol=1e-10, max_iter=10_000).fit(x, scaled)
        np.testing.assert_allclose(found[:, n], other.coef_, atol=1e-5)
    assert model.options.nonlinearity == "exp"
    assert outcome.summary["likelihood"] == "gamma" and "remarks" not in outcome.summary


@pytest.mark.parametrize(
    ("likelihood", "more"), [("gaussian", {}), ("gamma", {}), ("gaussian", {"rank": 2})]
)
def test_a_trace_in_other_units_is_predicted_in_those_units(likelihood, more):
    predicted = []
    for unit in (1.0, 1000.0):
        task = prepare(trace_recording(lambda m, r, unit=unit: unit * positive(m, r)))
        options = {"likelihood": likelihood, "ridge": (1e-2, 1e-3), "smoothness": (0.0,)}
        model = fitted(task, options, **more).model
        blocks = task.scored["stimulus"]["heldout"]
        predicted.append(np.concatenate([p.rate[N_LAGS:] for p in predict_blocks(model, blocks)]))
    # Traces are stored in single precision, and 1000 is no power of 2.
    apart = np.abs(predicted[1] / 1000 - predicted[0]) / predicted[0].std(0)
    assert apart.max() < (1e-4 if more else 1e-6)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_covariate_is_weighed_in_the_units_of_the_trace(rank):
    rng = np.random.default_rng(3)
    movie = balanced_movie(rng, 8, 400)
    speed = 10 + 4 * rng.normal(size=(len(movie), 1))
    drive = np.roll(movie[:, :1, 0], 1, axis=0)
    recording = nm.recording_from_arrays(
        movie,
        500 * drive + 25 * speed + 10 * rng.normal(size=drive.shape),
        bin_width=WIDTH,
        frame_rate=1 / WIDTH,
        blocks=np.repeat(np.arange(8), 400),
        covariates={"running": speed[:, 0]},
        covariate_units="cm/s",
        kind="trace",
    )
    options = {"ridge": (1e-6,), "smoothness": (0.0,), "covariate_ridge": 0.0}
    task = prepare(recording)
    model = fitted(task, options, covariates=("running",), rank=rank).model
    per_speed = model.covariate.weight[0, 0].item() / task.data.covariate_std[0]
    assert per_speed == pytest.approx(25, rel=0.01)
    assert model.filters()["stimulus_filter"][1][0, 0, 0, 0, 0] == pytest.approx(500, rel=0.01)


def test_the_window_is_chosen_by_the_variance_explained(signed_task):
    outcome = fitted(signed_task, OPTIONS, history="auto", temporal_basis=8)
    scores = outcome.diagnostics["search"][1]
    at = list(outcome.diagnostics["candidate_history"]).index(outcome.summary["chosen_history"])
    assert scores[at] == scores.max()
    assert 0.3 < outcome.summary["validation_variance_explained"] < 1
    assert outcome.history["validation"].attrs == {"metric": "variance_explained", "units": "1"}


def test_windows_around_receptive_fields_serve_traces_too():
    side = (12, 12)
    spot = np.zeros(side)
    spot[7:9, 2:4] = 1.0

    def respond(movie, rng):
        drive = np.roll((movie * spot).sum((1, 2)), 1)
        return (0.3 * drive + rng.normal(size=len(movie)) - 4.0)[:, None]

    rng = np.random.default_rng(0)
    movie = balanced_movie(rng, 6, 400, side)
    recording = nm.recording_from_arrays(
        movie,
        respond(movie, rng),
        bin_width=WIDTH,
        frame_rate=1 / WIDTH,
        blocks=np.repeat(np.arange(6), 400),
        kind="trace",
    )
    model = fitted(prepare(recording), OPTIONS | {"crop": 4}).model
    weight = model.stimulus.weight.detach().numpy()[..., 0]
    assert (weight[0, 0, 7:9, 2:4] > 0.2).all()
    assert np.count_nonzero(weight) == N_LAGS * 16


# -- the network -----------------------------------------------------------------------------------

SMALL = {
    "history": N_LAGS * WIDTH,
    "temporal_basis": 0,
    "channels": (4,),
    "kernels": (3,),
    "noise": (0.0,),
    "dropout": 0.0,
}


def trained(task, epochs=6, likelihood="auto", **of_model):
    options = TrainingOptions(
        epochs=epochs, batch_bins=256, segment_bins=64, learning_rate=2e-2, likelihood=likelihood
    )
    return fit_network(
        nm.models.retina_cnn(**SMALL | of_model),
        task.data,
        task.partition,
        options,
        **ALONE,
    )


@pytest.mark.parametrize("likelihood", ["gaussian", "gamma"])
def test_a_network_learns_a_trace_in_any_units(likelihood):
    found = []
    for unit in (1.0, 1000.0):
        task = prepare(trace_recording(lambda m, r, unit=unit: unit * positive(m, r), n_blocks=6))
        outcome = trained(task, likelihood=likelihood)
        blocks = task.scored["stimulus"]["heldout"]
        rates = np.concatenate([p.rate[N_LAGS:] for p in predict_blocks(outcome.model, blocks)])
        found.append((outcome.summary["validation_variance_explained"], rates / unit))
    assert found[0][0] > 0.3
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-3)
    deviation = found[0][1].std(0)
    assert (np.abs(found[1][1] - found[0][1]) < 0.02 * deviation).all()


def test_a_network_of_a_trace_starts_at_its_mean_and_ends_in_a_linear_step(signed_task):
    spec = nm.models.retina_cnn(**SMALL)
    model = spec.build(signed_task.data)
    model.set_rates(torch.from_numpy(signed_task.mean_rate))
    model.readout.linear.weight.data.zero_()
    block = signed_task.partition.train[0]
    rate = predict_blocks(model, [block])[0].rate[N_LAGS:]
    np.testing.assert_allclose(rate, np.broadcast_to(signed_task.mean_rate, rate.shape), rtol=1e-5)
    assert model.config["options"]["output"] == "linear"


@pytest.mark.slow
def test_a_network_finds_in_a_calcium_trace_what_no_linear_model_can():
    """ΔF/F = an exponential after each event, whose rate is the square of a filtered stimulus."""

    def respond(movie, rng):
        drive = np.roll(movie.reshape(len(movie), -1)[:, :3].sum(1), 1)
        rate = drive**2 / 3
        decay = np.exp(-np.arange(6) / 1.5)
        trace = np.convolve(rate, decay / decay.sum())[: len(rate)]
        return (trace - 0.8 + 0.1 * rng.normal(size=len(trace)))[:, None]

    history = {"history": 0.6, "temporal_basis": 0}
    network = nm.models.retina_cnn(**history, channels=(24, 24), kernels=(3, 3))
    found = nm.compare(
        trace_recording(respond, n_blocks=20),
        [nm.models.ln(**history), network],
        options={"retina-cnn": {"epochs": 30, "batch_bins": 512, "segment_bins": 128}},
        bin_width=WIDTH,
    )
    scores = found.scores.sel(metric="variance_explained").mean("neuron")
    assert float(scores.sel(model="ln")) < 0.1
    assert float(scores.sel(model="retina-cnn")) > 0.75
    assert float(found.scores.sel(model="retina-cnn", metric="cc_norm").mean()) > 0.9


# -- results ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def comparison():
    specs = [nm.models.ln(**LN), nm.models.retina_cnn(**SMALL)]
    options = {
        "ln": {"ridge": (1e-2, 1e-3), "smoothness": (0.0,)},
        "retina-cnn": {"epochs": 2, "batch_bins": 256, "segment_bins": 64},
    }
    return nm.compare(trace_recording(signed), specs, options=options, bin_width=WIDTH)


def test_a_comparison_of_traces_is_printed_stored_loaded_and_predicts(comparison, tmp_path):
    text = comparison_text(comparison, all_scores=True)
    first = text.splitlines()[0]
    assert first.startswith("held out: 79.2 s scored") and first.endswith("R²")
    assert "bits per spike are defined for spike counts; this recording holds traces" in text
    assert "bits/spike" not in text and "spikes" not in text.split("bits_per_spike")[0]
    loaded = nm.load(comparison.to_hdf5(tmp_path / "traces.h5"))
    assert str(loaded) == str(comparison)
    fit = loaded.fit("retina-cnn")
    observed = loaded.tree["observed/stimulus/heldout"]["response"]
    predicted = fit.predictions["stimulus/heldout"]["rate"]
    assert observed.attrs["units"] == predicted.attrs["units"] == "dF/F"
    assert observed.attrs["kind"] == "trace" and observed.dtype == np.float32
    again = nm.predict(loaded, trace_recording(signed), model="retina-cnn")
    rate = again["stimulus/heldout"]["rate"]
    assert rate.attrs["units"] == "dF/F"
    np.testing.assert_array_equal(rate.values, predicted.values)
    html = comparison._repr_html_()
    assert "R²" in html and "bits/spike" not in html


def test_scores_of_traces_follow_from_the_predictions_alone(comparison):
    node = comparison.tree["observed/stimulus/heldout"]
    y, use = node["response"].values.astype(float), node["scored"].values > 0
    mean = comparison.details["training_mean"].values
    guess = comparison.fit("ln").predictions["stimulus/heldout"]["rate"].values.astype(float)
    error, null = ((y - guess) ** 2)[use].sum(0), ((y - mean) ** 2)[use].sum(0)
    found = comparison.scores.sel(model="ln", metric="variance_explained")
    np.testing.assert_allclose(found, 1 - error / null, rtol=1e-9)
    # The estimator of r²_ER on the traces themselves: no square roots, which negative values lack.
    assert np.isfinite(comparison.scores.sel(metric="r2_er")).all()
    assert np.isnan(comparison.scores.sel(metric="bits_per_spike")).all()
    ceilings = comparison.ceilings
    assert (ceilings.sel(ceiling_kind="cc_max") > 0.5).all()
    assert np.isnan(ceilings.sel(ceiling_kind="leave_one_out_bits_per_spike")).all()


def test_figures_show_a_trace_in_its_units_and_below_zero(comparison):
    from matplotlib import pyplot

    from neuromodels.analysis.plots.responses import plot_psth, plot_rasters
    from neuromodels.analysis.plots.scores import plot_scores

    ax = plot_psth(comparison.tree, "0", role="heldout")
    assert ax.get_ylabel() == "trace (dF/F)" and ax.get_ylim()[0] < 0
    drawn = ax.patches[-1].get_data().values
    node = comparison.tree["observed/stimulus/heldout"]
    recorded = node["response"].sel(neuron="0").values
    start = int(np.flatnonzero(node["scored"].values)[0])
    np.testing.assert_array_equal(drawn, recorded[start : start + len(drawn)])
    assert plot_scores(comparison.tree).get_ylabel().startswith("variance explained")
    with pytest.raises(nm.InputError, match="has no spikes"):
        plot_rasters(comparison.tree, "0")
    pyplot.close("all")


@pytest.mark.parametrize("model", ["glm", "glm-coupled", "spiking", "spiking-coupled"])
def test_models_of_spikes_are_refused_with_the_models_to_use(model):
    with pytest.raises(nm.OptionError, match=r"needs spike counts.*\n.*ln or retina-cnn"):
        nm.compare(trace_recording(signed), ["ln", model], bin_width=WIDTH)


@pytest.mark.parametrize(
    ("likelihood", "more", "message"),
    [
        ("poisson", {}, r"likelihood of spike counts; this recording holds traces"),
        ("gaussian", {"nonlinearity": "exp"}, r"'exp' does not go with the gaussian.*\n.*identity"),
        ("gamma", {"nonlinearity": "softplus"}, r"does not go with the gamma likelihood"),
    ],
)
def test_a_likelihood_that_traces_do_not_have_is_refused(likelihood, more, message):
    recording = trace_recording(positive)
    with pytest.raises(nm.OptionError, match=message):
        nm.fit(recording, "ln", bin_width=WIDTH, likelihood=likelihood, **LN | more)


def test_gamma_is_refused_for_counts_and_for_negative_values_by_unit_and_bin():
    with pytest.raises(nm.OptionError, match="this recording holds spike counts"):
        counts = trace_recording(
            lambda m, r: r.poisson(np.exp(drive_of(m))), kind="count", response_units=None
        )
        nm.fit(counts, "ln", bin_width=WIDTH, likelihood="gamma", **LN)

    def once_negative(movie, rng):
        trace = positive(movie, rng)
        trace[123, 1] = -0.25
        return trace

    with pytest.raises(nm.InputError, match=r"is -0.25 for unit .* in bin 123 of block 0") as said:
        recording = trace_recording(once_negative)
        nm.fit(recording, "retina-cnn", bin_width=WIDTH, likelihood="gamma", **SMALL)
    assert 'likelihood="gaussian"' in str(said.value)


def test_zeros_under_gamma_are_said_beside_the_fit():
    def often_zero(movie, rng):
        return positive(movie, rng) * (rng.random((len(movie), 1)) < 0.75)

    outcome = fitted(prepare(trace_recording(often_zero)), OPTIONS | {"likelihood": "gamma"})
    assert "26 % of the training values are 0" in outcome.summary["remarks"][0]
