"""Temporal bases and the look into the past, against literal formulas and loops."""

import math

import numpy as np
import pytest
import torch

from neuromodels.encoding.base import StimulusWindow
from neuromodels.encoding.bases import lead_in_of, log_raised_cosine, project_past
from neuromodels.options import OptionError

# Float64 sums of at most 100 products of order 1.
EXACT = {"rtol": 0, "atol": 1e-12}


def literal_basis(n_lags, n_basis, offset=3.0):
    """The formula of the documentation, one number at a time."""
    first, last = math.log(offset), math.log(n_lags - 1 + offset)
    spacing = (last - first) / (n_basis - 1)
    columns = []
    for i in range(n_basis):
        centre = first + i * spacing
        column = []
        for lag in range(n_lags):
            phase = (math.log(lag + offset) - centre) * math.pi / (2 * spacing)
            column.append(0.5 * (1 + math.cos(max(-math.pi, min(math.pi, phase)))))
        columns.append([value / sum(column) for value in column])
    return np.array(columns).T


def literal_past(signal, basis, delay):
    """Σ over lags of basis[lag] · signal[t − delay − lag], by loops."""
    n_lags, n_basis = basis.shape
    batch, n_time, k = signal.shape
    lead_in = n_lags - 1 + delay
    out = np.zeros((batch, n_time - lead_in, n_basis, k))
    for b in range(batch):
        for t in range(lead_in, n_time):
            for lag in range(n_lags):
                out[b, t - lead_in] += basis[lag][:, None] * signal[b, t - delay - lag]
    return out


@pytest.mark.parametrize(("n_lags", "n_basis"), [(40, 8), (200, 16), (7, 7), (3, 2)])
def test_basis_is_the_documented_formula(n_lags, n_basis):
    np.testing.assert_allclose(
        log_raised_cosine(n_lags, n_basis), literal_basis(n_lags, n_basis), **EXACT
    )


@pytest.mark.parametrize(("n_lags", "n_basis"), [(40, 8), (1, 1), (5, 1), (40, 37)])
def test_every_bump_sums_to_one_and_is_nowhere_negative(n_lags, n_basis):
    basis = log_raised_cosine(n_lags, n_basis)
    assert basis.shape == (n_lags, n_basis)
    assert (basis >= 0).all()
    np.testing.assert_allclose(basis.sum(axis=0), 1, **EXACT)


def test_every_lag_is_seen_and_bumps_widen_with_lag():
    basis = log_raised_cosine(100, 10)
    assert (basis.sum(axis=1) > 0).all()
    width = (basis > basis.max(axis=0) / 2).sum(axis=0)
    # The outermost bumps are cut off by the ends of the window.
    assert (np.diff(width[1:-1]) >= 0).all()
    assert width[-2] > 3 * width[1]


@pytest.mark.parametrize("n_basis", [0, 11, -1])
def test_a_number_of_bumps_that_does_not_fit_is_refused(n_basis):
    with pytest.raises(ValueError, match="between 1 and n_lags = 10"):
        log_raised_cosine(10, n_basis)


@pytest.mark.parametrize(("n_lags", "most"), [(40, 37), (200, 59)])
def test_more_bumps_than_the_first_lags_can_tell_apart_are_refused(n_lags, most):
    # The message's number is one that works.
    assert np.isfinite(log_raised_cosine(n_lags, most)).all()
    with pytest.raises(OptionError, match=f"Give at most {most}"):
        log_raised_cosine(n_lags, n_lags)


@pytest.mark.parametrize("delay", [0, 1, 4])
@pytest.mark.parametrize(("n_lags", "n_time"), [(1, 5), (8, 12), (8, 100), (90, 230)])
def test_projection_equals_a_literal_loop(n_lags, n_time, delay):
    # 100 and 230 bins take several chunks of the product, 12 bins not even one whole.
    rng = np.random.default_rng(n_time + delay)
    signal, basis = rng.normal(size=(2, n_time, 3)), rng.normal(size=(n_lags, 2))
    found = project_past(torch.from_numpy(signal), torch.from_numpy(basis), delay)
    np.testing.assert_allclose(found.numpy(), literal_past(signal, basis, delay), **EXACT)


def test_the_shortest_signal_gives_one_output_and_a_shorter_one_an_error():
    basis = torch.ones(6, 1)
    lead_in = lead_in_of(6, delay=2)
    assert lead_in == 7
    assert project_past(torch.ones(1, lead_in + 1, 1), basis, 2).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match="has 7 bins, but the first output needs 7"):
        project_past(torch.ones(1, lead_in, 1), basis, 2)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_free_lag_window_equals_a_literal_loop(delay):
    window = StimulusWindow(5, 0, delay)
    movie = torch.randn(2, 30, 1, 3, 2, generator=torch.Generator().manual_seed(0))
    found = window(movie)
    assert found.shape == (2, 30 - window.lead_in, 5, 1, 3, 2)
    for out in range(found.shape[1]):
        for lag in range(5):
            seen = movie[:, out + window.lead_in - delay - lag]
            assert torch.equal(found[:, out, lag], seen)


def test_window_on_a_basis_equals_weighted_free_lags():
    free, smooth = StimulusWindow(20, 0), StimulusWindow(20, 6)
    movie = torch.randn(1, 70, 2, 3, 1, generator=torch.Generator().manual_seed(1)).double()
    expected = torch.einsum("ntlcyx,lb->ntbcyx", free(movie), smooth.basis)
    torch.testing.assert_close(smooth(movie), expected, **EXACT)


def test_bumps_of_a_window_have_unit_norm_and_are_never_more_than_its_lags():
    window = StimulusWindow(4, 16)
    assert window.n_basis == 4
    torch.testing.assert_close(window.basis.square().sum(0), torch.ones(4).double(), **EXACT)


def test_lags_are_seconds_from_the_bin_seen_to_the_bin_predicted():
    np.testing.assert_allclose(StimulusWindow(3, 0, delay=2).lags(0.01), [0.02, 0.03, 0.04])
