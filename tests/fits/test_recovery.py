"""Fitted models give back what plain numpy simulated, within the errors that Fisher allows.

Nothing of the package makes the truth: bases, filters, drives and spikes are computed here.
"""

import math

import numpy as np
import pytest
import torch
from small_fits import ALONE

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.splits import Partition
from neuromodels.encoding.base import Input
from neuromodels.fits.glm.fitting import fit_convex
from neuromodels.fits.options import ConvexOptions
from neuromodels.models import glm, glm_coupled, ln
from neuromodels.options import OptionError

BIN = 0.01
HEIGHT, N_LAGS, N_BASIS = 5, 12, 4
SHAPE = (1, HEIGHT, 1)
#: Hardly any penalty: estimates are then unbiased and as wide as Fisher information says.
FREE = ConvexOptions(ridge=(1e-8,), smoothness=(0.0,), history_ridge=1e-8, tolerance=1e-7)


# --- the simulated world -------------------------------------------------------------------------


def unit_basis(n_lags, n_basis):
    """Log-raised cosines of unit norm, (lag, basis), from the formula in the documentation."""
    first, last = math.log(3), math.log(n_lags + 2)
    step = (last - first) / (n_basis - 1)
    basis = np.zeros((n_lags, n_basis))
    for lag in range(n_lags):
        for i in range(n_basis):
            phase = (math.log(lag + 3) - first - i * step) * math.pi / (2 * step)
            basis[lag, i] = 0.5 * (1 + math.cos(max(-math.pi, min(math.pi, phase))))
    return basis / np.sqrt((basis**2).sum(axis=0))


def past(signal, basis):
    """Σ over lags ≥ 1 of basis · signal before: (bin, k) to (bin, basis, k), zeros before bin 0."""
    out = np.zeros((len(signal), basis.shape[1], signal.shape[1]))
    for lag, weights in enumerate(basis, start=1):
        out[lag:] += weights[:, None] * signal[:-lag, None]
    return out


def rate_of(drive, nonlinearity):
    """The two nonlinearities."""
    return np.exp(drive) if nonlinearity == "exp" else np.logaddexp(0, drive)


def information(drive, nonlinearity):
    """Fisher information of a Poisson count about its drive."""
    if nonlinearity == "exp":
        return np.exp(drive)
    return 1 / (1 + np.exp(-drive)) ** 2 / np.logaddexp(0, drive)


def white(n_bins, seed):
    """Gaussian frames, (bin, channel, y, x)."""
    return np.random.default_rng(seed).standard_normal((n_bins, *SHAPE)).astype(np.float32)


def weights_of(rank, n_neurons, seed, size=0.5):
    """(basis, pixel, neuron) of the given rank (0: full) and norm."""
    rng = np.random.default_rng(seed)
    n = rank or min(N_BASIS, HEIGHT)
    weights = np.einsum(
        "rbn,rpn->bpn",
        rng.standard_normal((n, N_BASIS, n_neurons)),
        rng.standard_normal((n, HEIGHT, n_neurons)),
    )
    return size * weights / np.sqrt((weights**2).sum((0, 1)))


def ln_world(weights, bias, nonlinearity, n_bins, seed):
    """Movie, counts, drive and regressors of LN neurons."""
    movie = white(n_bins, seed)
    features = past(movie.reshape(n_bins, -1).astype(float), unit_basis(N_LAGS, N_BASIS))
    drive = bias + np.einsum("tbp,bpn->tn", features, weights)
    counts = np.random.default_rng(seed + 1000).poisson(rate_of(drive, nonlinearity))
    return movie, counts, drive, features


def partition_of(movie, counts, n_blocks=10, bin_width=BIN):
    """Blocks of equal length; every fifth is for validation."""
    length = len(movie) // n_blocks
    blocks = [
        Block(
            label=i,
            time=bin_width * np.arange(i * length, (i + 1) * length),
            response=counts[i * length : (i + 1) * length].astype(np.int32),
            frame_of_bin=np.arange(i * length, (i + 1) * length),
            frames=movie,
        )
        for i in range(n_blocks)
    ]
    train = [block for block in blocks if block.label % 5 != 2]
    return Partition(train, [block for block in blocks if block.label % 5 == 2], [], [], {})


def fit(spec, partition, options=FREE, bin_width=BIN):
    """Run the fitting procedure as a comparison does."""
    neurons = tuple(f"n{i}" for i in range(partition.train[0].response.shape[1]))
    return fit_convex(
        spec,
        Input(SHAPE, neurons, bin_width),
        partition,
        options,
        **ALONE,
    )


def used_bins(partition, lead_in):
    """Indices of the bins that the fit may use."""
    return np.concatenate([block.frame_of_bin[lead_in:] for block in partition.train])


def z_scores(estimate, truth, regressors, weight):
    """Errors in units of the standard errors that Fisher information gives at the truth.

    regressors (bin, column) includes the intercept; estimate and truth (column,).
    """
    fisher = regressors.T @ (weight[:, None] * regressors)
    # Correlated columns: errors along the axes of the information are independent.
    values, axes = np.linalg.eigh(fisher)
    return np.sqrt(values) * (axes.T @ (estimate - truth))


def assert_within_errors(z):
    """Standard normal: none beyond 4.5 (1e-5 each), mean square 1 within 4 of its errors."""
    z = np.asarray(z).ravel()
    assert np.abs(z).max() < 4.5
    assert abs((z**2).mean() - 1) < 4 * math.sqrt(2 / z.size)


LN_OPTIONS = {"history": N_LAGS * BIN, "temporal_basis": N_BASIS}
START = {"exp": -2.0, "softplus": -1.0}


# --- LN ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_filter_of_an_ln_neuron_is_recovered(nonlinearity, seed):
    weights = weights_of(0, 3, seed)
    bias = START[nonlinearity] + np.array([0.0, 0.3, -0.3])
    movie, counts, drive, features = ln_world(weights, bias, nonlinearity, 12_000, seed)
    partition = partition_of(movie, counts)
    outcome = fit(ln(**LN_OPTIONS, nonlinearity=nonlinearity), partition)
    assert outcome.summary["converged"]
    used = used_bins(partition, outcome.model.lead_in)
    regressors = np.column_stack([np.ones(len(used)), features[used].reshape(len(used), -1)])
    fitted = outcome.model.stimulus.weight.detach().numpy().reshape(-1, 3)
    z = [
        z_scores(
            np.append(outcome.model.bias[n].item(), fitted[:, n]),
            np.append(bias[n], weights[..., n].ravel()),
            regressors,
            information(drive[used, n], nonlinearity),
        )
        for n in range(3)
    ]
    assert_within_errors(z)


def test_the_spike_triggered_average_of_white_noise_is_the_filter_of_an_exponential_neuron():
    # E[s | spike] = k for unit white Gaussian frames: closed form, and what the fit agrees with.
    weights = weights_of(0, 1, 5)
    movie, counts, _, _ = ln_world(weights, -1.0, "exp", 40_000, 5)
    partition = partition_of(movie, counts)
    outcome = fit(ln(**LN_OPTIONS, nonlinearity="exp"), partition)
    kernel = unit_basis(N_LAGS, N_BASIS) @ weights[..., 0]
    frames, spikes = movie.reshape(len(movie), -1), counts[:, 0]
    sta = np.array([spikes[lag:] @ frames[:-lag] for lag in range(1, N_LAGS + 1)]) / spikes.sum()
    # The variance of a frame given a spike is 1: standard error 1/√spikes, 60 weights.
    error = 1 / math.sqrt(spikes.sum())
    assert np.abs(sta - kernel).max() < 4.5 * error
    fitted = outcome.model.parameters_dataset()["stimulus_filter"].values[:, 0, :, 0, 0]
    # On the basis the fit has fewer weights and smaller errors.
    assert np.abs(fitted - kernel).max() < 4.5 * error
    assert np.abs(fitted - kernel).mean() < np.abs(sta - kernel).mean()


def test_the_window_that_the_neuron_has_is_chosen_over_shorter_ones():
    # The filter acts 0.9 to 1.2 s back in bins of 0.1 s; windows of 0.4 and 0.8 s see none of it.
    weights = weights_of(0, 2, 3, size=0.8)
    weights[:-1] = 0
    weights *= 0.8 / np.sqrt((weights**2).sum((0, 1)))
    movie, counts, _, _ = ln_world(weights, -0.5, "exp", 6_000, 3)
    partition = partition_of(movie, counts, bin_width=0.1)
    outcome = fit(
        ln(temporal_basis=8, nonlinearity="exp"), partition, ConvexOptions(), bin_width=0.1
    )
    assert outcome.summary["history_candidates"] == [0.4, 0.8, 1.2, 2.0]
    search = outcome.diagnostics["search"][1]
    assert outcome.summary["chosen_history"] in (1.2, 2.0)
    assert search[2] > search[0] + 0.02
    assert outcome.model.options.history == outcome.summary["chosen_history"]


def test_regressors_computed_anew_give_the_fit_of_those_held_in_memory():
    weights = weights_of(0, 2, 4)
    partition = partition_of(*ln_world(weights, -1.0, "softplus", 4_000, 4)[:2])
    held, streamed = (
        fit(glm_coupled(**LN_OPTIONS), partition, ConvexOptions(memory_gb=gigabytes))
        for gigabytes in (1.0, 1e-9)
    )
    for (name, one), two in zip(
        held.model.state_dict().items(), streamed.model.state_dict().values(), strict=True
    ):
        # Sums over blocks in another order, both to a gradient of 1e-6.
        torch.testing.assert_close(one, two, rtol=0, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


# --- low rank ------------------------------------------------------------------------------------

RIDGE = ConvexOptions(ridge=(1e-3,), smoothness=(1e-2,), tolerance=1e-7)


def second_differences(height):
    """Matrix that the smoothness penalty squares."""
    return np.diff(np.eye(height), n=2, axis=0)


def objective_and_gradient(model, counts, features, nonlinearity):
    """Objective per neuron and its gradient (basis, pixel, neuron), by the documented formula."""
    weights = model.stimulus.assembled().detach().numpy().reshape(N_BASIS, HEIGHT, -1)
    drive = model.bias.detach().numpy() + np.einsum("tbp,bpn->tn", features, weights)
    rate = rate_of(drive, nonlinearity)
    slope = rate if nonlinearity == "exp" else 1 / (1 + np.exp(-drive))
    rough = np.einsum("qp,bpn->bqn", second_differences(HEIGHT), weights)
    value = (rate - counts * np.log(rate)).mean(0)
    value += 0.5 * 1e-3 * (weights**2).sum((0, 1)) + 0.5 * 1e-2 * (rough**2).sum((0, 1))
    gradient = np.einsum("tn,tbp->bpn", (1 - counts / rate) * slope, features) / len(counts)
    gradient += 1e-3 * weights
    gradient += 1e-2 * np.einsum("qp,bqn->bpn", second_differences(HEIGHT), rough)
    return value, gradient


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
def test_a_fit_of_low_rank_is_at_a_minimum_of_the_documented_objective(rank, nonlinearity):
    weights = weights_of(rank, 2, 10 + rank)
    movie, counts, _, features = ln_world(
        weights, START[nonlinearity], nonlinearity, 12_000, 10 + rank
    )
    partition = partition_of(movie, counts)
    full = fit(ln(**LN_OPTIONS, nonlinearity=nonlinearity), partition, RIDGE)
    low = fit(ln(**LN_OPTIONS, nonlinearity=nonlinearity, rank=rank), partition, RIDGE)
    assert low.summary["converged"]
    used = used_bins(partition, low.model.lead_in)
    value, gradient = objective_and_gradient(low.model, counts[used], features[used], nonlinearity)
    # Regressors are stored as float32.
    np.testing.assert_allclose(low.diagnostics["value"][1], value, rtol=1e-6)
    assert (value >= full.diagnostics["value"][1] - 1e-9).all()
    temporal = low.model.stimulus.temporal.detach().numpy()
    spatial = low.model.stimulus.spatial.detach().numpy().reshape(rank, HEIGHT, 2)
    for n in range(2):
        np.testing.assert_allclose(spatial[..., n] @ spatial[..., n].T, np.eye(rank), atol=1e-10)
        axes = np.linalg.qr(temporal[..., n].T)[0]
        # Flat along both factors: 1e-7 asked for, plus the rounding of float32 regressors.
        assert np.abs(gradient[..., n] @ spatial[..., n].T).max() < 1e-6
        assert np.abs(axes.T @ gradient[..., n]).max() < 1e-6


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("nonlinearity", ["exp", "softplus"])
def test_a_filter_of_low_rank_is_recovered_with_the_errors_of_its_few_weights(rank, nonlinearity):
    n_neurons = 4
    weights = weights_of(rank, n_neurons, 10 + rank)
    bias = START[nonlinearity]
    movie, counts, drive, features = ln_world(weights, bias, nonlinearity, 12_000, 10 + rank)
    partition = partition_of(movie, counts)
    model = fit(ln(**LN_OPTIONS, nonlinearity=nonlinearity, rank=rank), partition, FREE).model
    used = used_bins(partition, model.lead_in)
    regressors = np.column_stack([np.ones(len(used)), features[used].reshape(len(used), -1)])
    fitted = model.stimulus.assembled().detach().numpy().reshape(-1, n_neurons)
    squares = []
    for n in range(n_neurons):
        z = z_scores(
            np.append(model.bias[n].item(), fitted[:, n]),
            np.append(bias, weights[..., n].ravel()),
            regressors,
            information(drive[used, n], nonlinearity),
        )
        squares.append((z**2).sum())
    # Chi-squared with as many degrees of freedom as the factors have free numbers, and the bias:
    # 9 for rank 1 and 15 for rank 2, where a full filter has 21. Four errors of the mean.
    freedom = rank * (N_BASIS + HEIGHT - rank) + 1
    assert abs(np.mean(squares) - freedom) < 4 * math.sqrt(2 * freedom / n_neurons)


def test_a_low_rank_that_is_no_restriction_gives_the_full_filter():
    weights = weights_of(0, 2, 20)
    partition = partition_of(*ln_world(weights, -1.0, "softplus", 6_000, 20)[:2])
    full, low = (fit(ln(**LN_OPTIONS, rank=rank), partition, RIDGE) for rank in (0, N_BASIS))
    torch.testing.assert_close(
        low.model.stimulus.assembled(), full.model.stimulus.assembled(), rtol=0, atol=1e-5
    )


def test_a_low_rank_filter_needs_no_ridge():
    weights = weights_of(1, 2, 21)
    partition = partition_of(*ln_world(weights, -1.0, "exp", 6_000, 21)[:2])
    options = ConvexOptions(ridge=(0.0,), smoothness=(0.0,))
    low = fit(ln(**LN_OPTIONS, rank=1, nonlinearity="exp"), partition, options)
    assert low.summary["converged"]
    assert low.summary["largest_gradient"] < 1e-6


# --- GLM -----------------------------------------------------------------------------------------

OWN, COUPLING = (10, 4), (8, 3)
GLM_OPTIONS = LN_OPTIONS | {
    "own_history": OWN[0] * BIN,
    "own_basis": OWN[1],
    "coupling_history": COUPLING[0] * BIN,
    "coupling_basis": COUPLING[1],
}


def coupled_world(nonlinearity, seed, n_bins=15_000):
    """Three neurons that see a movie, their own spikes and each other's, bin after bin."""
    rng = np.random.default_rng(seed)
    stimulus = weights_of(0, 3, seed, size=0.4)
    own = 0.5 * rng.standard_normal((OWN[1], 3)) - 0.4
    coupling = 0.25 * rng.standard_normal((COUPLING[1], 3, 3))
    coupling[:, range(3), range(3)] = 0
    bias = np.full(3, START[nonlinearity])
    movie = white(n_bins, seed)
    features = past(movie.reshape(n_bins, -1).astype(float), unit_basis(N_LAGS, N_BASIS))
    drive = bias + np.einsum("tbp,bpn->tn", features, stimulus)
    own_filter, coupling_filter = unit_basis(*OWN) @ own, np.zeros((OWN[0], 3, 3))
    coupling_filter[: COUPLING[0]] = np.einsum("lb,bmn->lmn", unit_basis(*COUPLING), coupling)
    coupling_filter[:, range(3), range(3)] += own_filter
    counts = np.zeros((n_bins, 3))
    for t in range(n_bins):
        recent = counts[max(0, t - OWN[0]) : t][::-1]
        drive[t] += np.einsum("lm,lmn->n", recent, coupling_filter[: len(recent)])
        counts[t] = rng.poisson(rate_of(drive[t], nonlinearity))
    truth = {"bias": bias, "stimulus": stimulus, "own": own, "coupling": coupling}
    return movie, counts, drive, features, truth


@pytest.mark.parametrize(("nonlinearity", "seed"), [("exp", 0), ("softplus", 1)])
def test_stimulus_history_and_coupling_filters_of_a_glm_are_recovered(nonlinearity, seed):
    movie, counts, drive, features, truth = coupled_world(nonlinearity, seed)
    partition = partition_of(movie, counts)
    outcome = fit(glm_coupled(**GLM_OPTIONS, nonlinearity=nonlinearity), partition)
    assert outcome.summary["converged"]
    model = outcome.model
    fitted = {name: value.numpy() for name, value in model.state_dict().items()}
    assert (fitted["coupling"][:, range(3), range(3)] == 0).all()
    used = used_bins(partition, model.lead_in)
    own, others = past(counts, unit_basis(*OWN)), past(counts, unit_basis(*COUPLING))
    z = []
    for n in range(3):
        sources = [m for m in range(3) if m != n]
        regressors = np.column_stack(
            [
                np.ones(len(used)),
                features[used].reshape(len(used), -1),
                own[used, :, n],
                others[used][:, :, sources].reshape(len(used), -1),
            ]
        )
        estimate, known = (
            np.concatenate(
                [
                    [weights["bias"][n]],
                    weights["stimulus"].reshape(-1, 3)[:, n],
                    weights["own"][:, n],
                    weights["coupling"][:, sources, n].ravel(),
                ]
            )
            for weights in (fitted | {"stimulus": fitted["stimulus.weight"]}, truth)
        )
        z.append(z_scores(estimate, known, regressors, information(drive[used, n], nonlinearity)))
    assert_within_errors(z)


def test_filters_over_lags_are_those_that_the_simulation_used():
    movie, counts, _, _, truth = coupled_world("exp", 2)
    outcome = fit(glm_coupled(**GLM_OPTIONS, nonlinearity="exp"), partition_of(movie, counts))
    found = outcome.model.parameters_dataset()
    expected = {
        "history_filter": unit_basis(*OWN) @ truth["own"],
        "coupling_filter": np.einsum("lb,bmn->lmn", unit_basis(*COUPLING), truth["coupling"]),
    }
    for name, filter_ in expected.items():
        # About 0.03 to 0.08 of noise per lag; wrong lags or swapped neurons would give 0.5.
        assert np.sqrt(np.mean((found[name].values - filter_) ** 2)) < 0.1
        assert np.corrcoef(found[name].values.ravel(), filter_.ravel())[0, 1] > 0.9


def test_an_uncoupled_glm_of_one_neuron_does_not_depend_on_the_others():
    movie, counts, _, _, _ = coupled_world("softplus", 3, n_bins=5_000)
    together = fit(
        glm(**{k: v for k, v in GLM_OPTIONS.items() if "coupling" not in k}),
        partition_of(movie, counts),
    ).model
    alone = fit(
        glm(**{k: v for k, v in GLM_OPTIONS.items() if "coupling" not in k}),
        partition_of(movie, counts[:, 1:2]),
    ).model
    torch.testing.assert_close(alone.own[:, 0], together.own[:, 1], rtol=0, atol=1e-9)
    torch.testing.assert_close(
        alone.stimulus.weight[..., 0], together.stimulus.weight[..., 1], rtol=0, atol=1e-9
    )


# --- what can go wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", [ln(**LN_OPTIONS), ln(**LN_OPTIONS, rank=1), glm_coupled(**GLM_OPTIONS)]
)
def test_a_silent_neuron_gets_finite_answers_and_leaves_the_others_alone(spec):
    weights = weights_of(0, 2, 30)
    movie, counts, _, _ = ln_world(weights, -1.0, "softplus", 5_000, 30)
    silent = np.column_stack([counts[:, 0], np.zeros(len(counts)), counts[:, 1]])
    outcome = fit(spec, partition_of(movie, silent), RIDGE)
    for name, value in outcome.model.state_dict().items():
        assert torch.isfinite(value).all(), name
    converged = outcome.diagnostics["converged"][1]
    assert converged.tolist() == [1, 0, 1]
    assert np.isfinite(outcome.diagnostics["validation"][1][:, [0, 2]]).all()
    assert math.isfinite(outcome.summary["validation_bits_per_spike"])
    # The fit is as good as it can be; that one neuron has nothing to fit is said.
    assert outcome.summary["converged"]
    assert outcome.summary["largest_gradient"] < 1e-6
    assert "1 neuron without spikes" in outcome.summary["stopped"]
    movie_ = torch.from_numpy(movie[:200])[None]
    rates = outcome.model(movie_, torch.from_numpy(silent[None, :200].astype(float)))
    assert torch.isfinite(rates).all()
    assert (rates[..., 1] < 1e-3).all()


def test_histories_longer_than_every_block_are_an_error_in_words():
    partition = partition_of(*ln_world(weights_of(0, 2, 0), -1.0, "exp", 500, 0)[:2])
    with pytest.raises(OptionError, match="looks back 0.8 s"):
        fit(glm(**LN_OPTIONS, own_history=0.8), partition)


def test_the_fit_looks_at_training_and_validation_blocks_only():
    movie, counts, _, _ = ln_world(weights_of(0, 2, 0), -1.0, "exp", 3_000, 0)
    partition = partition_of(movie, counts)
    unreadable = [None]
    judged = Partition(partition.train, partition.validation, unreadable, unreadable, {})
    one, two = fit(ln(**LN_OPTIONS), partition), fit(ln(**LN_OPTIONS), judged)
    assert torch.equal(one.model.stimulus.weight, two.model.stimulus.weight)
