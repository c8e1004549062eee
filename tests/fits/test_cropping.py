"""Filters on large frames are fitted on a window around each receptive field, and stored whole.

Movies, filters, drives and spikes are plain numpy; nothing of the package makes the truth.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_fits import ALONE

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.splits import Partition
from neuromodels.encoding.base import Input
from neuromodels.fits.glm.cropping import crop_side, make_crops, place_windows
from neuromodels.fits.glm.fitting import fit_convex
from neuromodels.fits.options import ConvexOptions, make_request
from neuromodels.models import glm, glm_coupled, ln
from neuromodels.options import OptionError

BIN = 0.01
SIDE = 20
#: Lags at which the true filters act, bins.
LAGS = (1, 2, 3)
OPTIONS = {"history": 0.04, "temporal_basis": 4}
PENALTY = {"ridge": (1e-4,), "smoothness": (1e-3,)}


# --- the simulated world -------------------------------------------------------------------------


def bump(centre, side=SIDE, width=1.2):
    """A Gaussian of norm 1 on a square frame."""
    y, x = np.mgrid[:side, :side]
    image = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * width**2))
    return image / np.linalg.norm(image)


def truth(centres, side=SIDE, channels=1):
    """Filters, (lag, channel, y, x, neuron): a bump in the last channel, decaying in time."""
    filters = np.zeros((len(LAGS), channels, side, side, len(centres)))
    for n, centre in enumerate(centres):
        filters[:, -1, ..., n] = np.array([0.6, 0.4, 0.2])[:, None, None] * bump(centre, side)
    return filters


def world(filters, n_bins=6000, seed=0, bias=-1.0):
    """White movie (bin, channel, y, x) and Poisson counts of LN neurons (bin, neuron)."""
    rng = np.random.default_rng(seed)
    movie = rng.standard_normal((n_bins, *filters.shape[1:4])).astype(np.float32)
    drive = np.full((n_bins, filters.shape[-1]), float(bias))
    flat = movie.reshape(n_bins, -1)
    for lag, filter_ in zip(LAGS, filters, strict=True):
        drive[lag:] += flat[:-lag] @ filter_.reshape(-1, filters.shape[-1])
    return movie, rng.poisson(np.exp(drive))


def partition_of(movie, counts, frame_of_bin=None, n_blocks=5):
    """Blocks of equal length; the third is for validation."""
    index = np.arange(len(counts)) if frame_of_bin is None else frame_of_bin
    length = len(counts) // n_blocks
    blocks = [
        Block(
            i,
            BIN * np.arange(i * length, (i + 1) * length),
            counts[i * length : (i + 1) * length].astype(np.int32),
            index[i * length : (i + 1) * length],
            movie,
        )
        for i in range(n_blocks)
    ]
    return Partition([b for b in blocks if b.label != 2], [blocks[2]], [], [], {})


def input_of(movie, counts):
    """What the models are told."""
    shape = tuple(int(n) for n in movie.shape[1:])
    return Input(shape, tuple(f"n{i}" for i in range(counts.shape[1])), BIN)


def fit(spec, movie, counts, **options):
    """Run the fitting procedure as a comparison does."""
    return fit_convex(
        spec,
        input_of(movie, counts),
        partition_of(movie, counts),
        ConvexOptions(**PENALTY | options),
        **ALONE,
    )


def corners_of(movie, counts, side, partition=None, delay=1):
    """Where the windows lie, (neuron, 2)."""
    return make_crops(
        input_of(movie, counts),
        partition or partition_of(movie, counts),
        ConvexOptions(crop=side),
        ln(**OPTIONS, delay=delay).resolve(),
        0.04,
    ).corners


def filters_of(outcome):
    """(lag, channel, y, x, neuron)."""
    return outcome.model.parameters_dataset()["stimulus_filter"].values


def correlation(one, two):
    """Of two filters as lists of numbers."""
    return np.corrcoef(one.ravel(), two.ravel())[0, 1]


# --- where the windows lie -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_window_lies_around_the_receptive_field(seed):
    centres = np.random.default_rng(100 + seed).integers(4, SIDE - 4, (3, 2))
    movie, counts = world(truth(centres), seed=seed)
    # Two pixels, less than the distance from the middle of the window to its edge.
    assert np.abs(corners_of(movie, counts, 7) + 3 - centres).max() <= 2


def test_a_window_stays_within_the_frame_at_edges_and_corners():
    centres = [(0, 0), (SIDE - 1, SIDE - 1), (0, 10), (10, SIDE - 1)]
    movie, counts = world(truth(centres))
    corners = corners_of(movie, counts, 7)
    assert corners.min() >= 0
    assert corners.max() <= SIDE - 7
    inside = (corners <= centres) & (centres < corners + 7)
    assert inside.all()


def test_a_window_sees_the_frame_that_was_on_screen_when_frames_last_several_bins():
    filters = truth([(6, 13)])
    movie, _ = world(filters, n_bins=2000)
    index = np.repeat(np.arange(2000), 3)
    index[::50] = -1
    shown = np.where(index[:, None, None, None] >= 0, movie[np.maximum(index, 0)], 0)
    drive = np.full(6000, -1.0)
    for lag, filter_ in zip(LAGS, filters[..., 0], strict=True):
        drive[lag:] += shown.reshape(6000, -1)[:-lag] @ filter_.ravel()
    counts = np.random.default_rng(1).poisson(np.exp(drive))[:, None]
    partition = partition_of(movie, counts, index)
    corner = corners_of(movie, counts, 7, partition)[0]
    assert np.abs(corner + 3 - (6, 13)).max() <= 2
    view = next(
        view
        for view, _ in make_crops(
            input_of(movie, counts), partition, ConvexOptions(crop=7), ln(**OPTIONS).resolve(), 0.04
        ).each(lambda view: view)
    )
    rows, columns = view.window
    for block, cropped in zip(partition.train, view.train, strict=True):
        np.testing.assert_array_equal(cropped.movie(), block.movie()[:, :, rows, columns])


def test_a_neuron_without_spikes_gets_the_middle_of_the_frame():
    movie, counts = world(truth([(5, 5), (12, 12)]))
    counts[:, 1] = 0
    np.testing.assert_array_equal(corners_of(movie, counts, 7)[1], [7, 7])
    outcome = fit(ln(**OPTIONS), movie, counts, crop=7)
    assert not filters_of(outcome)[..., 1].any()
    assert "1 neuron without spikes" in outcome.summary["stopped"]
    assert outcome.summary["converged"]


def test_nothing_but_training_blocks_places_a_window():
    movie, counts = world(truth([(5, 14)]))
    partition = partition_of(movie, counts)
    expected = corners_of(movie, counts, 7, partition)
    # Frames that are not a number and absurd counts: whoever looks at them is found out.
    unseen = np.setdiff1d(
        np.arange(len(movie)), np.concatenate([b.frame_of_bin for b in partition.train])
    )
    movie = movie.copy()
    movie[unseen] = np.nan
    validation = [
        replace(block, response=block.response + 1000, frames=movie)
        for block in partition.validation
    ]
    train = [replace(block, frames=movie) for block in partition.train]
    blind = Partition(train, validation, validation, validation, {})
    np.testing.assert_array_equal(corners_of(movie, counts, 7, blind), expected)


def test_the_energy_of_all_lags_and_channels_counts():
    average = np.zeros((1, 4, 2, SIDE, SIDE))
    average[0, 0, 0, 3, 3] = 1.0
    # Together more than the single strongest entry, at no lag or channel alone.
    average[0, :, :, 15, 15] = 0.9
    np.testing.assert_array_equal(place_windows(average, 5), [[13, 13]])


# --- how large they are --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crop", "n_basis", "shape", "side"),
    [
        ("auto", 16, (1, 31, 1), None),  # 496 columns
        ("auto", 10, (1, 20, 20), None),  # 4000 columns: the last that stay whole
        ("auto", 10, (1, 401, 1), 200),  # 200 pixels of a bar movie are 2000 columns
        ("auto", 16, (1, 50, 50), 11),
        ("auto", 16, (2, 50, 50), 7),
        ("auto", 3000, (1, 50, 50), 1),
        (0, 16, (1, 50, 50), None),
        (9, 16, (1, 50, 50), 9),
        (50, 16, (1, 50, 50), None),
        (40, 16, (1, 30, 50), 40),
    ],
)
def test_the_window_has_the_size_that_is_told(crop, n_basis, shape, side):
    assert crop_side(crop, n_basis, shape) == side


def test_small_movies_are_fitted_on_the_whole_frame_to_the_bit():
    movie, counts = world(truth([(3, 3), (4, 2)], side=6), n_bins=1500)
    one, two = (fit(ln(**OPTIONS), movie, counts, crop=crop) for crop in ("auto", 0))
    np.testing.assert_array_equal(filters_of(one), filters_of(two))
    assert "crop_side" not in one.diagnostics


@pytest.mark.parametrize("crop", [-1, 2.5, "half"])
def test_a_window_of_no_size_is_refused(crop):
    with pytest.raises(OptionError, match="crop"):
        make_request("ln", {"crop": crop})


def test_a_rank_that_the_window_cannot_have_is_refused():
    movie, counts = world(truth([(10, 10)]), n_bins=1000)
    with pytest.raises(OptionError, match="rank = 3"):
        fit(ln(**OPTIONS, rank=3), movie, counts, crop=1)


# --- what is fitted on them ----------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 1])
def test_ln_filters_on_a_large_frame_are_recovered(rank):
    filters = truth([(5, 6), (13, 14), (2, 17)])
    movie, counts = world(filters, n_bins=12_000)
    outcome = fit(ln(**OPTIONS, rank=rank, nonlinearity="exp"), movie, counts, crop=7)
    assert outcome.summary["converged"]
    fitted = filters_of(outcome)
    for n in range(3):
        expected = np.concatenate([filters[..., n], np.zeros((1, *filters.shape[1:4]))])
        # 28 to 196 weights from some 5000 spikes or more.
        assert correlation(fitted[..., n], expected) > (0.95 if rank else 0.9)
        gain = (fitted[..., n] * expected).sum() / (expected**2).sum()
        assert abs(gain - 1) < 0.15


def test_a_filter_is_zero_outside_of_its_window_and_the_result_says_where_that_is():
    movie, counts = world(truth([(5, 6), (13, 14)]))
    outcome = fit(ln(**OPTIONS), movie, counts, crop=7)
    _, y = outcome.diagnostics["crop_y"][:2]
    _, x = outcome.diagnostics["crop_x"][:2]
    assert outcome.diagnostics["crop_side"][1] == outcome.summary["crop_side"] == 7
    for n, image in enumerate(np.moveaxis(np.abs(filters_of(outcome)).sum((0, 1)), -1, 0)):
        outside = image.copy()
        outside[y[n] : y[n] + 7, x[n] : x[n] + 7] = 0
        assert not outside.any()
        assert (image > 0).sum() == 49


@pytest.mark.parametrize("spec", [ln, glm, glm_coupled])
def test_a_neuron_fitted_alone_gets_the_weights_that_it_gets_among_all(spec):
    # A window as high and all but as wide as the frame, whose last column is never lit: the
    # same regressors as the whole frame has, each neuron by the path of cropped stimuli.
    movie, counts = world(truth([(2, 2), (3, 1)], side=6), n_bins=2500)
    movie[..., 5] = 0
    movie = movie[:, :, :5]
    settings = {"tolerance": 1e-9, "smoothness": (0.0,)}
    alone, together = (fit(spec(**OPTIONS), movie, counts, crop=c, **settings) for c in (5, 0))
    assert alone.diagnostics["crop_side"][1] == 5
    np.testing.assert_array_equal(alone.diagnostics["crop_x"][1], 0)
    for name, weights in together.model.state_dict().items():
        np.testing.assert_allclose(
            alone.model.state_dict()[name].numpy(), weights.numpy(), atol=1e-6, err_msg=name
        )


def test_couplings_and_own_history_reach_a_neuron_from_outside_of_its_window():
    filters = truth([(4, 4), (15, 15)])
    movie, _ = world(filters, n_bins=8000)
    rng = np.random.default_rng(7)
    flat = movie.reshape(len(movie), -1)
    counts = np.zeros((len(movie), 2), dtype=int)
    drive = np.full((len(movie), 2), -1.5)
    for lag, filter_ in zip(LAGS, filters, strict=True):
        drive[lag:] += flat[:-lag] @ filter_.reshape(-1, 2)
    for t in range(1, len(movie)):
        # The first neuron excites the second and inhibits itself.
        past = counts[t - 1, 0]
        counts[t] = rng.poisson(np.exp(drive[t] + past * np.array([-1.0, 1.0])))
    spec = glm_coupled(
        **OPTIONS,
        nonlinearity="exp",
        own_history=0.02,
        own_basis=2,
        coupling_history=0.02,
        coupling_basis=2,
    )
    outcome = fit(spec, movie, counts, crop=7)
    found = outcome.model.history_filters().detach().numpy()[0]
    # (source, target): standard errors of some 1/√(spikes that follow a spike), 0.05.
    np.testing.assert_allclose(found, [[-1.0, 1.0], [0.0, 0.0]], atol=0.25)
    for n in range(2):
        assert correlation(filters_of(outcome)[:3, ..., n], filters[..., n]) > 0.85


def test_colours_are_cropped_together():
    filters = truth([(5, 13)], channels=2)
    movie, counts = world(filters, n_bins=8000)
    outcome = fit(ln(**OPTIONS, nonlinearity="exp"), movie, counts, crop=7)
    fitted = filters_of(outcome)[:3, ..., 0]
    assert correlation(fitted, filters[..., 0]) > 0.85
    assert np.linalg.norm(fitted[:, 0]) < 0.5 * np.linalg.norm(fitted[:, 1])


def test_frames_that_change_nothing_outside_of_the_window_change_no_rate():
    movie, counts = world(truth([(5, 6)]), n_bins=2000)
    outcome = fit(ln(**OPTIONS), movie, counts, crop=5)
    y, x = (int(outcome.diagnostics[name][1][0]) for name in ("crop_y", "crop_x"))
    other = -movie[:50]
    other[..., y : y + 5, x : x + 5] *= -1
    rates = [outcome.model(torch.from_numpy(m)[None]).detach().numpy() for m in (movie[:50], other)]
    np.testing.assert_allclose(*rates, rtol=1e-12)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_large_filter_is_the_sum_over_pixels_and_lags(delay):
    rng = np.random.default_rng(0)
    data = Input((2, 30, 30), ("a", "b", "c"), BIN)
    model = ln(history=0.05, temporal_basis=3, delay=delay, nonlinearity="exp").build(data)
    with torch.no_grad():
        model.stimulus.weight.copy_(torch.from_numpy(rng.normal(size=(3, 2, 30, 30, 3)) / 50))
    movie = rng.standard_normal((2, 20, 2, 30, 30))
    kernel = model.parameters_dataset()["stimulus_filter"].values
    lead_in = 4 + delay
    expected = np.zeros((2, 20 - lead_in, 3))
    for lag in range(5):
        first = lead_in - lag - delay
        seen = movie[:, first : first + 20 - lead_in]
        expected += np.einsum("ntcyx,cyxi->nti", seen, kernel[lag])
    rates = model(torch.from_numpy(movie)).detach().numpy()
    np.testing.assert_allclose(np.log(rates), expected, atol=1e-12)


def test_the_window_of_time_is_chosen_on_at_most_six_neurons_that_spike():
    movie, counts = world(truth([(n, n) for n in range(2, 18, 2)], side=20), n_bins=2000)
    counts[:, 0] = 0
    outcome = fit_convex(
        ln(temporal_basis=2),
        replace(input_of(movie, counts), bin_width=0.1),
        partition_of(movie, counts),
        ConvexOptions(**PENALTY, crop=3),
        **ALONE,
    )
    assert len(outcome.summary["history_candidates"]) == 4
    compared = outcome.summary["history_compared_on"]
    assert len(compared) == len(set(compared)) == 6
    assert "n0" not in compared
    assert outcome.diagnostics["value"][1].shape == (8,)


def test_little_memory_changes_no_result():
    movie, counts = world(truth([(5, 6), (13, 14)]), n_bins=1500)
    one, two = (
        fit(glm(**OPTIONS), movie, counts, crop=5, memory_gb=m, tolerance=1e-8) for m in (1, 1e-9)
    )
    np.testing.assert_allclose(filters_of(one), filters_of(two), atol=1e-5)
