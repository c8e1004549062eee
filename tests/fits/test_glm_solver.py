"""The GLM solver: closed forms, independent implementations, hard data, and bad data."""

import numpy as np
import pytest
from scipy import optimize

from neuromodels.fits.glm.curvature import compute_gram
from neuromodels.fits.glm.design import Design, Weights
from neuromodels.fits.glm.penalties import QuadraticPenalty, choose, ridge, smoothness
from neuromodels.fits.glm.selection import select_penalty, validation_scores
from neuromodels.fits.glm.solver import fit_glm

# A fit to this gradient is converged to rounding: weights then agree with exact ones to 1e-6.
TIGHT = 1e-11


def simulated(n_bins=3000, n_columns=6, n_neurons=3, seed=0, rate=0.2, spread=0.5):
    rng = np.random.default_rng(seed)
    regressors = rng.standard_normal((n_bins, n_columns))
    weights = rng.standard_normal((n_columns, n_neurons)) * spread / np.sqrt(n_columns)
    counts = rng.poisson(rate * np.exp(regressors @ weights))
    return regressors, counts


def objective(regressors, counts, row, strength, nonlinearity):
    """Written out for one neuron, apart from the solver."""
    eta = row[0] + regressors @ row[1:]
    rate = np.exp(eta) if nonlinearity == "exp" else np.logaddexp(0.0, eta)
    return np.mean(rate - counts * np.log(rate)) + 0.5 * strength * np.sum(row[1:] ** 2)


# Closed forms


@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
def test_without_regressors_the_rate_is_the_mean_count(nonlinearity):
    counts = np.random.default_rng(0).poisson([0.1, 2.0, 7.0], (500, 3))
    fit = fit_glm(Design(np.zeros((500, 0))), counts, nonlinearity=nonlinearity)
    mean = counts.mean(0)
    expected = np.log(mean) if nonlinearity == "exp" else np.log(np.expm1(mean))
    assert np.allclose(fit.weights.intercept, expected, atol=1e-12)
    assert fit.converged.all()


def test_indicator_weights_are_logs_of_group_means():
    group = np.arange(600) % 3
    counts = np.random.default_rng(1).poisson(np.array([0.2, 1.0, 4.0])[group])[:, None]
    fit = fit_glm(Design(np.eye(3)[group][:, 1:]), counts, tolerance=TIGHT)
    logs = np.log([counts[group == g].mean() for g in range(3)])
    assert np.allclose(fit.weights.intercept, logs[0], atol=1e-9)
    assert np.allclose(fit.weights.shared[:, 0], logs[1:] - logs[0], atol=1e-9)


def test_expected_counts_add_up_to_the_spikes_because_the_intercept_is_free():
    regressors, counts = simulated()
    penalty = QuadraticPenalty([ridge(6)], [0.1])
    design = Design(regressors)
    fit = fit_glm(design, counts, penalty=penalty, tolerance=TIGHT)
    rates = np.exp(design.linear_predictor(fit.weights))
    assert np.allclose(rates.sum(0), counts.sum(0), rtol=1e-9)


# Independent implementations


def test_coefficients_agree_with_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    regressors, counts = simulated()
    fit = fit_glm(Design(regressors), counts, tolerance=TIGHT)
    for n in range(3):
        model = sm.GLM(counts[:, n], sm.add_constant(regressors), family=sm.families.Poisson())
        peer = model.fit(tol=1e-14, maxiter=100).params
        assert np.abs(fit.weights.stack()[n] - peer).max() < 1e-6


def test_ridge_agrees_with_scikit_learn_at_alpha_equal_to_the_strength():
    from sklearn.linear_model import PoissonRegressor

    regressors, counts = simulated()
    strengths = np.array([1e-3, 0.02, 0.5])
    penalty = QuadraticPenalty([ridge(6)], [strengths])
    fit = fit_glm(Design(regressors), counts, penalty=penalty, tolerance=TIGHT)
    for n, alpha in enumerate(strengths):
        peer = PoissonRegressor(alpha=alpha, solver="newton-cholesky", tol=1e-12, max_iter=200)
        peer.fit(regressors, counts[:, n])
        assert np.abs(fit.weights.shared[:, n] - peer.coef_).max() < 1e-6
        assert abs(fit.weights.intercept[n] - peer.intercept_) < 1e-6


@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
def test_solution_agrees_with_a_general_optimiser(nonlinearity):
    regressors, counts = simulated(rate=1.0)
    penalty = QuadraticPenalty([ridge(6)], [0.01])
    fit = fit_glm(
        Design(regressors), counts, penalty=penalty, nonlinearity=nonlinearity, tolerance=TIGHT
    )
    for n in range(3):
        arguments = regressors, counts[:, n]
        peer = optimize.minimize(
            lambda row, a=arguments: objective(*a, row, 0.01, nonlinearity), np.zeros(7), tol=1e-12
        )
        # Its gradient is by finite differences: about 1e-8 in the gradient, 1e-6 in weights.
        assert np.abs(fit.weights.stack()[n] - peer.x).max() < 1e-5
        assert fit.value[n] <= peer.fun + 1e-12


@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
def test_reported_value_and_gradient_are_those_of_the_objective(nonlinearity):
    torch = pytest.importorskip("torch")
    regressors, counts = simulated(rate=1.0)
    penalty = QuadraticPenalty([ridge(6)], [0.01])
    fit = fit_glm(
        Design(regressors), counts, penalty=penalty, nonlinearity=nonlinearity, tolerance=1e-2
    )
    for n in range(3):
        row = torch.tensor(fit.weights.stack()[n], requires_grad=True)
        eta = row[0] + torch.from_numpy(regressors) @ row[1:]
        rate = torch.exp(eta) if nonlinearity == "exp" else torch.nn.functional.softplus(eta)
        loss = torch.mean(rate - torch.from_numpy(counts[:, n]) * torch.log(rate))
        loss = loss + 0.005 * torch.sum(row[1:] ** 2)
        loss.backward()
        assert abs(loss.item() - fit.value[n]) < 1e-12
        assert abs(row.grad.abs().max().item() - fit.gradient_norm[n]) < 1e-12


def test_nemos_ridge_has_the_same_objective_and_solution():
    nmo = pytest.importorskip("nemos")
    import jax

    jax.config.update("jax_enable_x64", True)
    regressors, counts = simulated()
    peer = nmo.glm.PopulationGLM(
        regularizer="Ridge", regularizer_strength=0.01, solver_kwargs={"tol": 1e-12}
    ).fit(regressors, counts)
    penalty = QuadraticPenalty([ridge(6)], [0.01])
    fit = fit_glm(Design(regressors), counts, penalty=penalty, tolerance=TIGHT)
    assert np.abs(fit.weights.shared - np.asarray(peer.coef_)).max() < 1e-6
    assert np.abs(fit.weights.intercept - np.asarray(peer.intercept_)).max() < 1e-6


# Structure of the design


def test_a_neuron_gets_the_same_weights_alone_and_in_company():
    regressors, counts = simulated(n_neurons=11, spread=1.5)
    own = np.random.default_rng(5).standard_normal((3000, 11, 2))
    together = fit_glm(Design(regressors, own), counts)
    for n in (0, 7, 10):
        alone = fit_glm(Design(regressors, own[:, [n]]), counts[:, [n]])
        assert np.abs(together.weights.stack()[n] - alone.weights.stack()[0]).max() < 1e-9
        assert together.iterations[n] == alone.iterations[0]


def test_own_columns_are_columns_that_only_one_neuron_sees():
    regressors, counts = simulated(n_neurons=2)
    own = np.random.default_rng(2).standard_normal((3000, 2, 3))
    fit = fit_glm(
        Design(regressors, own),
        counts,
        penalty=QuadraticPenalty([ridge(6)], [0.01], own=np.array([0.01, 0.01])),
        tolerance=TIGHT,
    )
    for n in range(2):
        joined = Design(np.concatenate([regressors, own[:, n]], axis=1))
        penalty = QuadraticPenalty([ridge(9)], [0.01])
        alone = fit_glm(joined, counts[:, [n]], penalty=penalty, tolerance=TIGHT)
        assert np.allclose(fit.weights.stack()[n], alone.weights.stack()[0], atol=1e-8)


def test_masked_weights_are_zero_and_the_rest_as_if_the_columns_were_absent():
    regressors, counts = simulated()
    mask = np.ones((6, 3), dtype=bool)
    mask[[1, 4], 2] = False
    fit = fit_glm(Design(regressors, mask=mask), counts, tolerance=TIGHT)
    fewer = fit_glm(Design(regressors[:, mask[:, 2]]), counts[:, [2]], tolerance=TIGHT)
    assert (fit.weights.shared[~mask] == 0).all()
    assert np.allclose(fit.weights.shared[mask[:, 2], 2], fewer.weights.shared[:, 0], atol=1e-8)


def test_streamed_blocks_give_the_same_fit_as_one_array():
    regressors, counts = simulated()
    own = np.random.default_rng(3).standard_normal((3000, 3, 2)).astype(np.float32)
    edges = [0, 700, 701, 2200, 3000]

    def read(i):
        piece = slice(edges[i], edges[i + 1])
        return regressors[piece], own[piece]

    streamed = Design.from_blocks(read, 4)
    whole = Design(regressors, own)
    one = fit_glm(streamed, counts, tolerance=TIGHT)
    two = fit_glm(whole, counts, tolerance=TIGHT)
    assert np.allclose(one.weights.stack(), two.weights.stack(), atol=1e-9)
    assert np.allclose(
        streamed.linear_predictor(one.weights), whole.linear_predictor(one.weights), atol=1e-12
    )


def test_linear_predictor_is_intercept_plus_products():
    regressors, _ = simulated()
    own = np.random.default_rng(3).standard_normal((3000, 3, 2))
    rng = np.random.default_rng(4)
    weights = Weights(
        rng.standard_normal(3), rng.standard_normal((6, 3)), rng.standard_normal((2, 3))
    )
    expected = weights.intercept + regressors @ weights.shared
    expected += np.einsum("tnq,qn->tn", own, weights.own)
    assert np.allclose(Design(regressors, own).linear_predictor(weights), expected, atol=1e-12)


@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
def test_kronecker_preconditioner_reaches_the_solution_of_the_dense_one(nonlinearity):
    n_basis, shape = 5, (4, 6)
    rng = np.random.default_rng(0)
    n_bins, n_pixels = 6000, 24
    # Neighbouring pixels and bins alike, as in a natural movie.
    movie = rng.standard_normal((n_bins + 20, *shape))
    movie = movie + np.roll(movie, 1, 0) + np.roll(movie, 1, 1) + np.roll(movie, 1, 2)
    movie = movie.reshape(-1, n_pixels)
    shared = np.stack([movie[20 - 3 * k : 20 - 3 * k + n_bins] for k in range(n_basis)], axis=1)
    coupling = rng.poisson(0.3, (n_bins, 3)).astype(float)
    shared = np.concatenate([shared.reshape(n_bins, -1), coupling], axis=1)
    weights = rng.standard_normal((shared.shape[1], 2)) * 0.05
    counts = rng.poisson(0.1 * np.exp(shared @ weights))
    design = Design(shared, kron=(n_basis, n_pixels))
    n = design.n_shared
    penalty = QuadraticPenalty(
        [ridge(n, 0, 120), smoothness(n_basis, shape, n_columns=n), ridge(n, 120, n, "coupling")],
        [1e-3, 1e-2, 1e-4],
    )
    options = {"penalty": penalty, "nonlinearity": nonlinearity, "tolerance": 1e-9}
    kron = fit_glm(design, counts, gram=compute_gram(design, "kron"), **options)
    dense = fit_glm(design, counts, **options)
    assert kron.converged.all() and kron.iterations.max() < 60
    assert np.allclose(kron.weights.stack(), dense.weights.stack(), atol=1e-6)


# Hard data


@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
@pytest.mark.parametrize("collinear", [False, True])
@pytest.mark.parametrize("modulation", [0.6, 2.0, 3.0])
def test_strong_modulation_and_collinear_regressors_converge(nonlinearity, collinear, modulation):
    rng = np.random.default_rng(1)
    regressors = rng.standard_normal((10_000, 40))
    axes = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    scale = 1.0 / np.arange(1, 41) ** 2 if collinear else np.ones(40)
    regressors = (regressors * scale) @ axes.T
    weights = axes @ (rng.standard_normal((40, 4)) / scale[:, None])
    log_rate = regressors @ weights
    log_rate *= modulation / log_rate.std(0)
    counts = rng.poisson(0.1 * np.exp(log_rate) / np.exp(log_rate).mean(0))
    fit = fit_glm(Design(regressors), counts, nonlinearity=nonlinearity, tolerance=1e-6)
    assert fit.converged.all() and (fit.gradient_norm < 1e-6).all()
    assert fit.iterations.max() <= 60


def test_silent_neuron_gets_a_finite_answer_and_a_message_and_disturbs_nobody():
    regressors, counts = simulated()
    counts[:, 1] = 0
    fit = fit_glm(Design(regressors), counts)
    assert fit.converged.tolist() == [True, False, True]
    assert "no spikes" in fit.message[1]
    assert (fit.weights.shared[:, 1] == 0).all()
    assert np.isclose(np.exp(fit.weights.intercept[1]) * len(counts), 0.5)
    others = fit_glm(Design(regressors), counts[:, [0, 2]])
    assert np.allclose(fit.weights.stack()[[0, 2]], others.weights.stack(), atol=1e-9)


@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
def test_one_spike_is_enough_for_a_finite_fit(nonlinearity):
    regressors, counts = simulated()
    counts[:] = 0
    counts[1234] = 1
    fit = fit_glm(
        Design(regressors),
        counts,
        penalty=QuadraticPenalty([ridge(6)], [1e-4]),
        nonlinearity=nonlinearity,
    )
    assert fit.converged.all() and np.isfinite(fit.weights.stack()).all()


def test_duplicate_and_constant_columns_do_not_change_the_rates():
    regressors, counts = simulated()
    padded = np.concatenate([regressors, regressors[:, :2], np.zeros((3000, 1))], axis=1)
    one, two = Design(regressors), Design(padded)
    fit_one = fit_glm(one, counts, tolerance=1e-10)
    fit_two = fit_glm(two, counts, tolerance=1e-10)
    assert fit_two.converged.all()
    assert np.allclose(
        one.linear_predictor(fit_one.weights), two.linear_predictor(fit_two.weights), atol=1e-6
    )


def test_more_columns_than_bins_converge_under_a_ridge():
    rng = np.random.default_rng(0)
    regressors, counts = rng.standard_normal((60, 200)), rng.poisson(0.5, (60, 2))
    fit = fit_glm(Design(regressors), counts, penalty=QuadraticPenalty([ridge(200)], [0.01]))
    assert fit.converged.all()


@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
def test_hundreds_of_spikes_per_bin_converge(nonlinearity):
    rng = np.random.default_rng(0)
    regressors = rng.standard_normal((2000, 5))
    rates = 300 * np.exp(regressors @ rng.standard_normal((5, 3)) * 0.3)
    fit = fit_glm(Design(regressors), rng.poisson(rates), nonlinearity=nonlinearity)
    assert fit.converged.all()


def test_a_start_that_overflows_is_recovered_from():
    regressors, counts = simulated()
    start = Weights(np.full(3, 900.0), np.full((6, 3), 400.0), np.zeros((0, 3)))
    fit = fit_glm(Design(regressors), counts, start=start, tolerance=1e-9)
    cold = fit_glm(Design(regressors), counts, tolerance=1e-9)
    assert np.allclose(fit.weights.stack(), cold.weights.stack(), atol=1e-7)


def test_iteration_limit_is_reported_as_not_converged():
    regressors, counts = simulated(spread=1.5)
    fit = fit_glm(Design(regressors), counts, tolerance=1e-12, max_iterations=2)
    assert not fit.converged.any()
    assert all("limit of 2 iterations" in message for message in fit.message)


def test_float32_regressors_are_fitted_in_float64():
    regressors, counts = simulated()
    single = regressors.astype(np.float32)
    fit = fit_glm(Design(single), counts, tolerance=TIGHT)
    double = fit_glm(Design(single.astype(np.float64)), counts, tolerance=TIGHT)
    assert fit.converged.all()
    assert np.allclose(fit.weights.stack(), double.weights.stack(), atol=1e-9)


def test_inputs_are_not_changed():
    regressors, counts = simulated()
    before = regressors.copy(), counts.copy()
    fit_glm(Design(regressors), counts)
    assert (regressors == before[0]).all() and (counts == before[1]).all()


def test_coupled_glm_is_recovered_from_simulation():
    rng = np.random.default_rng(7)
    n_bins, n_neurons, n_lags, n_basis = 40_000, 3, 20, 3
    lag = np.log(np.arange(n_lags) + 3)
    centers = np.linspace(lag[0], lag[-1], n_basis)
    phase = (lag[:, None] - centers) * np.pi / (2 * (centers[1] - centers[0]))
    basis = 0.5 * (1 + np.cos(np.clip(phase, -np.pi, np.pi)))
    basis /= basis.sum(0)
    stimulus = rng.standard_normal((n_bins, 2))
    intercept = np.log([0.15, 0.2, 0.25])
    filters = rng.normal(0, 0.4, (2, n_neurons))
    history = np.array([[-3.0, -1.0, 0.5]] * n_neurons).T
    coupling = rng.normal(0, 0.6, (n_basis, n_neurons, n_neurons))
    coupling[:, range(n_neurons), range(n_neurons)] = 0
    counts = np.zeros((n_bins + n_lags, n_neurons))
    past = np.zeros((n_bins, n_basis, n_neurons))
    drive = intercept + stimulus @ filters
    for t in range(n_bins):
        past[t] = basis.T @ counts[t : t + n_lags][::-1]
        log_rate = drive[t] + np.einsum("bn,bn->n", past[t], history)
        log_rate += np.einsum("bs,bsn->n", past[t], coupling)
        counts[t + n_lags] = rng.poisson(np.exp(log_rate))
    shared = np.concatenate([stimulus, past.reshape(n_bins, -1)], axis=1)
    mask = np.ones((2 + n_basis * n_neurons, n_neurons), dtype=bool)
    mask[2:] = ~np.tile(np.eye(n_neurons, dtype=bool), (n_basis, 1))
    design = Design(shared, past.transpose(0, 2, 1), mask)
    fit = fit_glm(design, counts[n_lags:])
    assert fit.converged.all()
    rates = np.exp(design.linear_predictor(fit.weights))
    errors = []
    for n in range(n_neurons):
        columns = np.concatenate([np.ones((n_bins, 1)), shared[:, mask[:, n]], past[:, :, n]], 1)
        deviation = np.linalg.inv(columns.T @ (columns * rates[:, [n]])).diagonal() ** 0.5
        free = np.concatenate([[True], mask[:, n], np.ones(n_basis, dtype=bool)])
        truth = np.concatenate([filters[:, n], coupling[:, :, n].ravel()])
        truth = np.concatenate([intercept[[n]], truth, history[:, n]])
        errors.append((fit.weights.stack()[n] - truth)[free] / deviation)
    # Errors in units of the standard error that Fisher information gives: 36 numbers of unit
    # variance, so that 4 and a root mean square of 1.4 are each passed once in hundreds of runs.
    assert np.abs(errors).max() < 4
    assert 0.6 < np.sqrt(np.mean(np.square(errors))) < 1.4


# Penalties and their choice


def test_smoothness_is_the_sum_of_squared_differences():
    rng = np.random.default_rng(0)
    filters = rng.standard_normal((4, 2, 3, 5))
    weights = np.concatenate([filters.ravel(), rng.standard_normal(7)])
    for order in (1, 2):
        space = smoothness(4, (2, 3, 5), n_columns=127, order=order).matrix
        basis = smoothness(4, (2, 3, 5), n_columns=127, order=order, over="basis").matrix
        in_space = sum((np.diff(filters, n=order, axis=axis) ** 2).sum() for axis in (2, 3))
        in_basis = (np.diff(filters, n=order, axis=0) ** 2).sum()
        assert np.isclose(weights @ (space @ weights), in_space)
        assert np.isclose(weights @ (basis @ weights), in_basis)


def test_smoothness_leaves_a_singleton_axis_alone():
    weights = np.random.default_rng(0).standard_normal((3, 9, 1))
    matrix = smoothness(3, (9, 1), order=2).matrix
    expected = (np.diff(weights, n=2, axis=1) ** 2).sum()
    assert np.isclose(weights.ravel() @ (matrix @ weights.ravel()), expected)


def test_value_includes_the_penalty():
    regressors, counts = simulated()
    penalty = QuadraticPenalty([ridge(6), smoothness(2, (3, 1))], [0.1, np.array([0.0, 1.0, 2.0])])
    fit = fit_glm(Design(regressors), counts, penalty=penalty)
    plain = [
        objective(regressors, counts[:, n], fit.weights.stack()[n], 0, "exp") for n in range(3)
    ]
    assert np.allclose(fit.value, plain + penalty.value(fit.weights), atol=1e-12)


def test_each_neuron_gets_the_candidate_with_its_best_validation_score():
    regressors, counts = simulated(n_bins=400, n_columns=40, n_neurons=4, spread=0.8)
    counts[:, 3] = np.random.default_rng(9).poisson(0.2, 400)  # no drive: a strong ridge is best
    train, check = Design(regressors[:250]), Design(regressors[250:])
    candidates = [QuadraticPenalty([ridge(40)], [s]) for s in (1.0, 0.1, 0.01, 1e-3)]
    result = select_penalty(train, counts[:250], check, counts[250:], candidates)
    assert result.scores.shape == (4, 4)
    for k, candidate in enumerate(candidates):
        fit = fit_glm(train, counts[:250], penalty=candidate)
        rates = np.exp(check.linear_predictor(fit.weights))
        mean = counts[:250].mean(0)
        gain = (counts[250:] * np.log(rates / mean) - rates + mean).sum(0)
        expected = gain / counts[250:].sum(0) / np.log(2)
        # The path is fitted to a gradient of 1e-5 only.
        assert np.allclose(result.scores[k], expected, atol=1e-3)
    assert (result.chosen == result.scores.argmax(0)).all()
    chosen = np.array([1.0, 0.1, 0.01, 1e-3])[result.chosen]
    assert (result.strengths["ridge"] == chosen).all()
    assert result.solution.converged.all()
    direct = fit_glm(
        train, counts[:250], penalty=QuadraticPenalty([ridge(40)], [chosen]), tolerance=TIGHT
    )
    assert np.allclose(result.solution.weights.stack(), direct.weights.stack(), atol=1e-3)


def test_a_neuron_without_validation_spikes_has_no_score_and_the_first_candidate():
    regressors, counts = simulated(n_bins=600)
    counts[400:, 0] = 0
    candidates = [QuadraticPenalty([ridge(6)], [s]) for s in (0.1, 0.001)]
    result = select_penalty(
        Design(regressors[:400]), counts[:400], Design(regressors[400:]), counts[400:], candidates
    )
    assert np.isnan(result.scores[:, 0]).all() and np.isfinite(result.scores[:, 1:]).all()
    assert result.chosen[0] == 0


def test_bits_per_spike_of_a_two_rate_process_is_its_information():
    rates = np.repeat([1.0, 3.0], 500)
    counts = rates[:, None]
    design = Design(np.log(rates)[:, None])
    weights = Weights(np.zeros(1), np.ones((1, 1)), np.zeros((0, 1)))
    expected = 0.5 * sum(r / 2 * np.log2(r / 2) for r in (1.0, 3.0))
    assert np.isclose(validation_scores(design, counts, weights, np.array([2.0]))[0], expected)


def test_candidates_must_have_the_same_terms():
    with pytest.raises(ValueError, match="same terms"):
        choose([QuadraticPenalty([ridge(6)], [1]), QuadraticPenalty()], np.zeros(2, dtype=int))


# Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shared": (5, 2, np.nan)}, "shared is nan at bin 5, column 2"),
        ({"own": (7, 1, 0, np.inf)}, "own is inf at bin 7, neuron 1, column 0"),
        ({"counts": (3, 2, np.nan)}, "counts is nan at bin 3, neuron 2"),
        ({"counts": (3, 2, -1)}, "counts is -1.0 at bin 3, neuron 2"),
    ],
)
def test_bad_numbers_are_named_by_place(change, message):
    regressors, counts = simulated()
    arrays = {"shared": regressors, "own": np.zeros((3000, 3, 1)), "counts": counts.astype(float)}
    for name, (*place, value) in change.items():
        arrays[name][tuple(place)] = value
    with pytest.raises(ValueError, match=message):
        fit_glm(Design(arrays["shared"], arrays["own"]), arrays["counts"])


def test_sizes_and_options_that_do_not_fit_are_named():
    regressors, counts = simulated()
    design = Design(regressors)
    with pytest.raises(ValueError, match="counts has shape"):
        fit_glm(design, counts[:-1])
    with pytest.raises(ValueError, match="penalty ridge is for 5 columns"):
        fit_glm(design, counts, penalty=QuadraticPenalty([ridge(5)], [1.0]))
    with pytest.raises(ValueError, match="2 strengths for 3 neurons"):
        fit_glm(design, counts, penalty=QuadraticPenalty([ridge(6)], [np.ones(2)]))
    with pytest.raises(ValueError, match="strength of ridge"):
        QuadraticPenalty([ridge(6)], [-1.0])
    with pytest.raises(ValueError, match="expected 'exp' or 'softplus'"):
        fit_glm(design, counts, nonlinearity="relu")
    with pytest.raises(ValueError, match="own has 2"):
        Design(regressors, np.zeros((3000, 2, 1)), np.ones((6, 3), dtype=bool))
    with pytest.raises(ValueError, match="gram is of 6"):
        fit_glm(Design(regressors[:, :4]), counts, gram=compute_gram(design))
