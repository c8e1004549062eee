"""Figures show the numbers of the comparison's tree and nothing else, in every corner case."""

import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.colors import to_rgb

from neuromodels.analysis.plots import (
    filters,
    overview,
    reading,
    responses,
    scores,
    style,
    training,
)
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.storage import read_tree, write_tree

WIDTH = 0.01
N_BINS, N_LAGS, N_HISTORY = 200, 12, 8
LEAD_IN = 20
METRICS = {
    "bits_per_spike": ("heldout", 0, "bits per spike"),
    "bits_per_spike_conditional": ("heldout", 1, "bits per spike"),
    "pearson_r": ("test", 0, "1"),
    "cc_norm": ("test", 0, "1"),
    "bits_per_spike_test": ("test", 0, "bits per spike"),
}
CEILINGS = ("cc_max", "leave_one_out_bits_per_spike")
KINDS = {
    "ln": "ln",
    "glm": "glm",
    "glm-coupled": "glm",
    "retina-cnn": "cnn",
    "other": "callable",
}


def parameters(kind, neurons, movie, rng, coupled=False):
    """The filters that models of a kind store."""
    channels, height, width = movie
    lags = (np.arange(N_LAGS) + 1) * WIDTH
    space = {"channel": np.arange(channels), "y": np.arange(height), "x": np.arange(width)}
    if kind == "callable":
        return xr.Dataset({"weight": ("thing", rng.normal(size=3))}, coords={"thing": range(3)})
    if kind == "cnn":
        kernel = (min(height, 5), min(width, 5))
        values = rng.normal(size=(4, N_LAGS, channels, *kernel))
        dims = ("layer1_channel", "stimulus_lag", "channel", "layer1_y", "layer1_x")
        names = {name: np.arange(n) for name, n in zip(dims, values.shape, strict=True)}
        return xr.Dataset({"layer1_filter": (dims, values)}, coords=names | {"stimulus_lag": lags})
    dims = ("stimulus_lag", "channel", "y", "x", "neuron")
    values = rng.normal(size=(N_LAGS, *movie, len(neurons)))
    found = xr.Dataset(
        {"stimulus_filter": (dims, values)},
        coords={"stimulus_lag": lags, "neuron": neurons, **space},
    )
    for name in ("y", "x"):
        found[name].attrs["units"] = "pixel"
    history = (np.arange(N_HISTORY) + 1) * WIDTH
    if kind == "glm":
        found["history_filter"] = (
            ("history_lag", "neuron"),
            rng.normal(size=(N_HISTORY, len(neurons))),
        )
        found = found.assign_coords(history_lag=history)
    if coupled:
        found["coupling_filter"] = (
            ("coupling_lag", "source_neuron", "neuron"),
            rng.normal(size=(N_HISTORY, len(neurons), len(neurons))),
        )
        found = found.assign_coords(coupling_lag=history, source_neuron=neurons)
    return found


def observed_node(shape, rng, neurons, silent, start=0.0, blocks=1):
    """Responses as the assembly labels them: unscored lead-ins, blocks far apart in time."""
    counts = rng.poisson(0.2, (*shape, len(neurons))).astype(np.int32)
    for name in silent:
        counts[..., neurons.index(name)] = 0
    n = shape[-1] // blocks
    time = np.concatenate([start + 100.0 * b + np.arange(n) * WIDTH for b in range(blocks)])
    dims = ("trial", "time", "neuron") if len(shape) == 2 else ("time", "neuron")
    coords = {"time": time, "block": ("time", np.repeat(np.arange(blocks), n)), "neuron": neurons}
    if len(shape) == 2:
        coords["trial"] = np.arange(shape[0])
    scored = np.tile(np.arange(n) >= LEAD_IN, blocks).astype(np.int8)
    return xr.Dataset({"response": (dims, counts), "scored": ("time", scored)}, coords=coords)


def score_node(models, neurons, seeds, silent, repeated, rng):
    """Scores with intervals on held-out blocks and standard errors alone on repeats."""
    shape = (len(models), len(seeds), 1, len(METRICS), len(neurons))
    value = rng.uniform(0.3, 0.9, shape)
    for k, (role, conditional, _) in enumerate(METRICS.values()):
        if role == "test" and not repeated:
            value[:, :, :, k] = np.nan
        if conditional:
            value[[not m.startswith("glm") for m in models], :, :, k] = np.nan
    value[..., [neurons.index(name) for name in silent]] = np.nan
    error = np.full_like(value, 0.05)
    heldout = np.array([role == "heldout" for role, *_ in METRICS.values()])[:, None]
    spoken = np.isfinite(value).sum(-1)
    mean = np.where(spoken, np.nansum(value, -1) / np.maximum(spoken, 1), np.nan)
    part = [mean, mean * 0 + 0.02]
    part += [np.where(heldout[:, 0], mean + sign * 0.06, np.nan) for sign in (-1, 1)]
    population = np.stack([np.stack(part, -1)] * 2, -2)
    ceiling = np.stack([rng.uniform(0.92, 0.98, len(neurons)), rng.uniform(1, 2, len(neurons))])
    ceiling[:, [neurons.index(name) for name in silent]] = np.nan
    if not repeated:
        ceiling[:] = np.nan
    dims = ("model", "seed", "fold", "metric")
    return xr.Dataset(
        {
            "score": ((*dims, "neuron"), value),
            "standard_error": ((*dims, "neuron"), error),
            "interval_low": ((*dims, "neuron"), np.where(heldout, value - 0.1, np.nan)),
            "interval_high": ((*dims, "neuron"), np.where(heldout, value + 0.12, np.nan)),
            "population": ((*dims, "reduction", "part"), population),
            "reason": (
                ("model", "metric"),
                np.array([["" if repeated else "no repeats"] * len(METRICS)] * len(models)),
            ),
            "ceiling": (("ceiling_kind", "neuron"), ceiling),
        },
        coords={
            "model": models,
            "mode": (
                "model",
                ["free-running" if m.startswith("glm") else "stimulus-only" for m in models],
            ),
            "seed": seeds,
            "fold": [0],
            "metric": list(METRICS),
            "data": ("metric", [role for role, *_ in METRICS.values()]),
            "conditional": ("metric", np.array([c for _, c, _ in METRICS.values()], np.int8)),
            "unit": ("metric", [unit for *_, unit in METRICS.values()]),
            "neuron": neurons,
            "reduction": ["mean", "ratio"],
            "part": ["value", "standard_error", "low", "high"],
            "ceiling_kind": list(CEILINGS),
        },
        attrs={
            "bin_width_s": WIDTH,
            "headline_metric": "bits_per_spike",
            "headline_reduction": "mean",
            "n_trials": 5 if repeated else 0,
        },
    )


def difference_node(models, neurons, rng):
    pairs = [(b, a) for i, a in enumerate(models) for b in models[i + 1 :]]
    value = rng.normal(0.2, 0.1, (len(pairs), len(METRICS), len(neurons)))
    value[:, list(METRICS).index("bits_per_spike_conditional")] = np.nan
    mean = value.mean(-1)
    population = np.stack([np.stack([mean, mean * 0 + 0.02, mean - 0.1, mean + 0.1], -1)] * 2, -2)
    return xr.Dataset(
        {
            "difference": (("pair", "metric", "neuron"), value),
            "population": (("pair", "metric", "reduction", "part"), population),
        },
        coords={
            "pair": [f"{b} − {a}" for b, a in pairs],
            "first": ("pair", [b for b, _ in pairs]),
            "second": ("pair", [a for _, a in pairs]),
            "metric": list(METRICS),
            "neuron": neurons,
            "reduction": ["mean", "ratio"],
            "part": ["value", "standard_error", "low", "high"],
        },
    )


def make_tree(
    models=("ln", "glm", "retina-cnn"),
    n_neurons=4,
    movie=(1, 9, 1),
    seeds=(0,),
    silent=(),
    test=5,
    heldout=True,
    nonlinearity="softplus",
):
    """A comparison's tree as the assembly builds it, from random numbers.

    `test` is the number of repeats; 0 for no repeated movie.
    """
    rng = np.random.default_rng(7)
    models, seeds = list(models), list(seeds)
    neurons = [f"u{i:02d}" for i in range(n_neurons)]
    roles = {}
    if test:
        roles["test"] = observed_node((test, N_BINS), rng, neurons, silent)
    if heldout:
        roles["heldout"] = observed_node((2 * N_BINS,), rng, neurons, silent, 50.0, blocks=2)
    nodes = {"scores": score_node(models, neurons, seeds, silent, test > 1, rng)}
    if len(models) > 1:
        nodes["differences"] = difference_node(models, neurons, rng)
    nodes |= {f"observed/bars/{role}": node for role, node in roles.items()}
    for model in models:
        kind = KINDS[model.split(":")[0]]
        for seed in seeds:
            path = f"fits/{model}/{seed}/0"
            coupled = model == "glm-coupled"
            nodes[f"{path}/parameters"] = parameters(kind, neurons, movie, rng, coupled)
            if kind == "cnn":
                columns = {"loss": rng.uniform(size=6), "validation": rng.uniform(size=6)}
                nodes[f"{path}/history"] = xr.Dataset(
                    {name: ("epoch", values) for name, values in columns.items()},
                    coords={"epoch": np.arange(1, 7)},
                )
            for role, node in roles.items():
                rate = rng.uniform(0, 0.5, (node.sizes["time"], n_neurons)).astype(np.float32)
                rate[node["scored"].values == 0] = np.nan
                found = node[["time", "block", "neuron"]].assign(rate=(("time", "neuron"), rate))
                if kind == "glm":
                    found["rate_conditional"] = node["response"] * 0.0 + 9.0
                nodes[f"{path}/predictions/bars/{role}"] = found
    tree = xr.DataTree.from_dict(nodes)
    for model in models:
        for seed in seeds:
            tree[f"fits/{model}/{seed}/0"].attrs = {
                "label": model,
                "config": {"options": {"nonlinearity": nonlinearity}},
            }
    return tree


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def tree():
    return make_tree()


def drawn(ax, model):
    """Values and bar lengths of a model's symbols."""
    container = next(c for c in ax.containers if c.get_label() == model)
    line, _, bars = container
    return np.asarray(line.get_ydata()), np.array(bars[0].get_segments())[:, :, 1]


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line_of(ax, color):
    (line,) = [li for li in ax.get_lines() if li.get_color() == color and len(li.get_xdata()) > 1]
    return line


# -- scores --------------------------------------------------------------------------------------
def test_symbols_are_the_scores_and_bars_the_intervals(tree):
    ax = scores.plot_scores(tree, "bits_per_spike")
    row = tree["scores"].to_dataset().sel(metric="bits_per_spike", seed=0, fold=0)
    for model in ("ln", "glm", "retina-cnn"):
        value, bars = drawn(ax, model)
        np.testing.assert_array_equal(value, row["score"].sel(model=model))
        np.testing.assert_allclose(bars[:, 0], row["interval_low"].sel(model=model))
        np.testing.assert_allclose(bars[:, 1], row["interval_high"].sel(model=model))
    assert "bars: 95 % interval" in labels(ax)
    assert ax.get_ylabel() == "bits per spike\n(held-out blocks)"


def test_bars_are_standard_errors_where_there_is_no_interval_and_say_so(tree):
    ax = scores.plot_scores(tree, "pearson_r")
    value, bars = drawn(ax, "ln")
    np.testing.assert_allclose(bars[:, 1] - value, 0.05)
    assert "bars: ± 1 standard error" in labels(ax)


@pytest.mark.parametrize(
    ("metric", "kind"),
    [("pearson_r", "cc_max"), ("bits_per_spike_test", "leave_one_out_bits_per_spike")],
)
def test_ceilings_are_drawn_per_neuron_and_as_their_mean(tree, metric, kind):
    ax = scores.plot_scores(tree, metric)
    wanted = tree["scores"]["ceiling"].sel(ceiling_kind=kind).values
    label = scores.REFERENCES[metric][1]
    (lines,) = [c for c in ax.collections if c.get_label() == label]
    heights = np.array(lines.get_segments())[:, 0, 1]
    np.testing.assert_allclose(heights, [*wanted, wanted.mean()])


def test_the_mean_ceiling_is_over_the_neurons_that_have_a_score():
    tree = make_tree(silent=["u00"])
    (lines,) = [
        c for c in scores.plot_scores(tree, "pearson_r").collections if "CC" in c.get_label()
    ]
    ceiling = tree["scores"]["ceiling"].sel(ceiling_kind="cc_max").values
    assert lines.get_segments()[-1][0, 1] == pytest.approx(ceiling[1:].mean())


def test_cc_norm_has_its_ceiling_at_one(tree):
    ax = scores.plot_scores(tree, "cc_norm")
    assert any(np.all(np.asarray(line.get_ydata()) == 1) for line in ax.get_lines())


def test_the_mean_stands_beside_the_neurons(tree):
    ax = scores.plot_scores(tree, "bits_per_spike")
    row = tree["scores"]["population"].sel(metric="bits_per_spike", reduction="mean", part="value")
    means = [c[0].get_ydata() for c in ax.containers if len(c[0].get_ydata()) == 1]
    np.testing.assert_allclose(np.ravel(means).astype(float), row.values.ravel())
    assert [t.get_text() for t in ax.get_xticklabels()] == ["u00", "u01", "u02", "u03", "mean"]


def test_with_seeds_the_symbol_is_their_mean_and_points_are_the_seeds():
    tree = make_tree(seeds=(0, 1, 2))
    ax = scores.plot_scores(tree, "bits_per_spike")
    score = tree["scores"]["score"].sel(metric="bits_per_spike", model="ln", fold=0)
    np.testing.assert_allclose(drawn(ax, "ln")[0], score.mean("seed"))
    color = style.KNOWN["ln"].color
    dots = [
        li.get_ydata()
        for li in ax.get_lines()
        if li.get_marker() == "." and li.get_color() == color
    ]
    np.testing.assert_allclose(np.array(dots), score.transpose("neuron", "seed").values.T)


def test_a_neuron_without_a_score_says_so_and_has_no_symbol():
    ax = scores.plot_scores(make_tree(silent=["u02"]), "bits_per_spike")
    (symbols,) = [c[0] for c in ax.containers if c.get_label() == "ln"]
    assert list(np.flatnonzero(np.isnan(symbols.get_ydata()))) == [2]
    assert [(t.get_text(), t.get_position()[0]) for t in ax.texts] == [("no score", 2)]


def test_a_score_that_no_model_has_gives_the_reason():
    ax = scores.plot_scores(make_tree(test=0), "pearson_r")
    assert "no repeats" in ax.texts[0].get_text()
    assert not ax.containers


def test_models_without_a_score_are_not_named(tree):
    ax = scores.plot_scores(tree, "bits_per_spike_conditional")
    assert labels(ax)[0] == "glm (free-running)" and not any("cnn" in t for t in labels(ax))


def test_differences_are_drawn_with_their_intervals(tree):
    ax = scores.plot_differences(tree, "bits_per_spike")
    table = tree["differences"].to_dataset().sel(metric="bits_per_spike")
    for y, pair in enumerate(table["pair"].values):
        (points,) = [line for line in ax.get_lines() if line.get_label() == pair]
        np.testing.assert_array_equal(points.get_xdata(), table["difference"].sel(pair=pair))
        parts = table["population"].sel(pair=pair, reduction="mean")
        line, _, bars = ax.containers[y]
        assert line.get_xdata()[0] == pytest.approx(float(parts.sel(part="value")))
        np.testing.assert_allclose(
            bars[0].get_segments()[0][:, 0], parts.sel(part=["low", "high"]).values
        )
    assert [t.get_text() for t in ax.get_yticklabels()] == list(table["pair"].values)


def test_pairs_that_cannot_be_compared_are_left_out(tree):
    ax = scores.plot_differences(tree, "bits_per_spike_conditional")
    assert "comparable" in ax.texts[0].get_text()
    ax = scores.plot_differences(make_tree(models=["ln"]))
    assert "only one model" in ax.texts[0].get_text()


# -- responses -----------------------------------------------------------------------------------
def shown_bins(tree, role="test"):
    node = tree[f"observed/bars/{role}"].to_dataset()
    return node, np.flatnonzero((node["scored"].values == 1) & (node["block"].values == 0))


def test_the_psth_is_the_mean_count_in_hz(tree):
    ax = responses.plot_psth(tree, "u01")
    node, bins = shown_bins(tree)
    counts = node["response"].sel(neuron="u01").values[:, bins]
    values, edges, _ = ax.patches[0].get_data()
    np.testing.assert_allclose(values, counts.mean(0) / WIDTH)
    np.testing.assert_allclose(edges[:-1], node["time"].values[bins])
    assert ax.get_ylabel() == "rate (Hz)" and ax.get_xlabel() == "time in the movie (s)"


def test_repeats_that_were_not_recorded_do_not_count():
    tree = make_tree()
    node = tree["observed/bars/test"].to_dataset().load()
    response = node["response"].astype(np.float32)
    response[1:, 100:] = np.nan
    tree["observed/bars/test"] = xr.DataTree(node.assign(response=response))
    values = responses.plot_psth(tree, "u01").patches[0].get_data().values
    wanted = response.sel(neuron="u01").values
    np.testing.assert_allclose(values[100 - LEAD_IN :], wanted[0, 100:] / WIDTH)
    np.testing.assert_allclose(values[: 100 - LEAD_IN], wanted[:, LEAD_IN:100].mean(0) / WIDTH)


def test_predictions_are_in_hz_at_the_centres_of_their_bins_and_run_freely(tree):
    ax = responses.plot_psth(tree, "u01")
    node, bins = shown_bins(tree)
    for model in ("ln", "glm", "retina-cnn"):
        line = line_of(ax, style.KNOWN[model].color)
        rate = tree[f"fits/{model}/0/0/predictions/bars/test"]["rate"].sel(neuron="u01")
        np.testing.assert_allclose(line.get_ydata(), rate.values[bins] / WIDTH, rtol=1e-6)
        np.testing.assert_allclose(line.get_xdata(), node["time"].values[bins] + WIDTH / 2)


def test_the_legend_gives_r_of_the_fit_that_is_drawn():
    tree = make_tree(seeds=(3, 4))
    score = tree["scores"]["score"].sel(metric="pearson_r", neuron="u00", fold=0)
    for seed in (3, 4):
        shown = labels(responses.plot_psth(tree, "u00", seed=seed))
        r = float(score.sel(model="ln", seed=seed))
        assert shown[:2] == ["PSTH (5 repeats)", f"ln  r {r:.2f}"]
        assert shown[2].startswith("glm (free-running)  r ")


def test_every_bin_with_spikes_has_a_tick_in_the_row_of_its_repeat(tree):
    ax = responses.plot_rasters(tree, "u03")
    node, bins = shown_bins(tree)
    counts = node["response"].sel(neuron="u03").values[:, bins]
    segments = np.array(ax.collections[0].get_segments())
    found = np.zeros_like(counts)
    found[
        segments[:, 0, 1].astype(int),
        np.round((segments[:, 0, 0] - node["time"].values[bins[0]]) / WIDTH - 0.5).astype(int),
    ] = 1
    np.testing.assert_array_equal(found, counts > 0)


def test_a_window_is_kept_and_never_crosses_a_block(tree):
    node, _ = shown_bins(tree, "heldout")
    ax = responses.plot_rasters(tree, "u00", role="heldout", window=(50.5, 151.0))
    assert ax.get_xlim() == pytest.approx((50.5, 52.0))  # the first block ends at 52 s
    ax = responses.plot_rasters(tree, "u00", role="test", window=(0.5, 0.9))
    assert ax.get_xlim() == pytest.approx((0.5, 0.9))
    with pytest.raises(InputError, match="no bin from 60 to 61 s"):
        responses.plot_psth(tree, "u00", role="heldout", window=(60, 61))


def test_without_repeats_spikes_are_counted_and_bits_are_given():
    tree = make_tree(test=0)
    ax = responses.plot_psth(tree, "u01")
    node, bins = shown_bins(tree, "heldout")
    values, edges, _ = ax.patches[0].get_data()
    counts = node["response"].sel(neuron="u01").values[bins]
    assert np.sum(values * np.diff(edges)) == pytest.approx(counts.sum())
    np.testing.assert_allclose(np.diff(edges), 0.1)
    bits = tree["scores"]["score"].sel(metric="bits_per_spike", model="ln", neuron="u01").item()
    assert f"ln  {bits:.2f}" in labels(ax)


def test_a_single_repeat_is_no_psth():
    assert reading.responses_of(make_tree(test=1)).role == "heldout"
    assert reading.responses_of(make_tree(test=1, heldout=False)).role == "test"
    assert (
        labels(responses.plot_psth(make_tree(test=1), "u00", role="test"))[0] == "spikes in 0.1 s"
    )


def test_a_model_that_runs_away_does_not_flatten_the_others_and_is_said():
    tree = make_tree()
    node = tree["fits/glm/0/0/predictions/bars/test"].to_dataset()
    tree["fits/glm/0/0/predictions/bars/test"] = xr.DataTree(node.assign(rate=node["rate"] * 100))
    ax = responses.plot_psth(tree, "u00", rasters=False)
    recorded = ax.patches[0].get_data().values.max()
    assert ax.get_ylim()[1] < 2 * recorded
    assert any("(up to 4" in label or "(up to 5" in label for label in labels(ax))


def test_a_silent_neuron_has_axes_all_the_same():
    ax = responses.plot_psth(make_tree(silent=["u01"]), "u01")
    assert np.all(ax.patches[0].get_data().values == 0) and ax.get_ylim()[1] > 0
    assert "ln  r –" in labels(ax)


# -- filters -------------------------------------------------------------------------------------
def test_a_bar_filter_is_time_against_space_with_the_response_at_the_right(tree):
    ax = filters.plot_stimulus_filter(tree, "ln", "u02")
    weights = tree["fits/ln/0/0/parameters"]["stimulus_filter"].sel(neuron="u02").values[:, 0, :, 0]
    image = ax.images[0]
    np.testing.assert_array_equal(image.get_array(), weights[::-1].T)
    np.testing.assert_allclose(image.get_extent(), (-0.125, -0.005, 8.5, -0.5))
    assert image.get_clim() == (-np.abs(weights).max(), np.abs(weights).max())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time before response (s)", "y (px)")


def test_an_image_filter_is_the_map_and_the_profile_of_the_largest_weight():
    tree = make_tree(movie=(3, 6, 7))
    weights = tree["fits/ln/0/0/parameters"]["stimulus_filter"].sel(neuron="u00").values
    lag, channel, y, x = np.unravel_index(np.abs(weights).argmax(), weights.shape)
    ax = filters.plot_stimulus_filter(tree, "ln", "u00")
    np.testing.assert_array_equal(ax.images[0].get_array(), weights[lag, channel])
    assert ax.get_xlabel() == f"x (px), ch. {channel} at −{(lag + 1) * WIDTH:.3g} s"
    ax = filters.plot_temporal_profile(tree, "ln", "u00")
    curves = [line for line in ax.get_lines() if str(line.get_label()).startswith("channel")]
    assert len(curves) == 3
    for index, curve in enumerate(curves):
        np.testing.assert_array_equal(curve.get_ydata(), weights[:, index, y, x])
        np.testing.assert_allclose(curve.get_xdata(), -(np.arange(N_LAGS) + 1) * WIDTH)


def test_a_full_field_filter_is_a_curve():
    tree = make_tree(movie=(1, 1, 1))
    ax = filters.plot_filters(tree, "ln", "u01")
    weights = tree["fits/ln/0/0/parameters"]["stimulus_filter"].sel(neuron="u01").values
    curve = line_of(ax, style.KNOWN["ln"].color)
    np.testing.assert_array_equal(curve.get_ydata(), weights[:, 0, 0, 0])


@pytest.mark.parametrize("nonlinearity", ["softplus", "exp"])
def test_a_history_filter_is_a_weight_or_for_exp_a_factor(nonlinearity):
    tree = make_tree(nonlinearity=nonlinearity)
    ax = filters.plot_history_filter(tree, "glm", "u01")
    weights = tree["fits/glm/0/0/parameters"]["history_filter"].sel(neuron="u01").values
    values, edges, _ = ax.patches[0].get_data()
    wanted, label = (weights, "added to the drive")
    if nonlinearity == "exp":
        wanted, label = np.exp(weights), "factor on the rate"
    np.testing.assert_allclose(values, wanted)
    np.testing.assert_allclose(edges, (np.arange(N_HISTORY + 1) + 0.5) * WIDTH)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time since own spike (s)", label)


def test_couplings_name_the_strongest_sources_and_leave_the_neuron_itself_out():
    tree = make_tree(models=["glm-coupled"], n_neurons=6)
    ax = filters.plot_coupling_filters(tree, "glm-coupled", "u00")
    weights = tree["fits/glm-coupled/0/0/parameters"]["coupling_filter"].sel(neuron="u00")
    strength = np.abs(weights).sum("coupling_lag").drop_sel(source_neuron="u00")
    ranked = strength["source_neuron"].values[np.argsort(-strength.values)]
    assert labels(ax) == list(ranked[:3]) and len(ax.patches) == 5
    np.testing.assert_array_equal(
        ax.patches[0].get_data().values, weights.sel(source_neuron=ranked[0])
    )


def test_first_layer_filters_are_the_kernels(tree):
    kernels = tree["fits/retina-cnn/0/0/parameters"]["layer1_filter"].values[:, :, 0, :, 0]
    ax = filters.plot_first_layer(tree, "retina-cnn", 2)
    np.testing.assert_array_equal(ax.images[0].get_array(), kernels[2][::-1].T)
    mosaic = filters.plot_filters(tree, "retina-cnn").images[0].get_array()
    first = kernels[0][::-1].T
    np.testing.assert_allclose(
        mosaic[: first.shape[0], : first.shape[1]], first / np.abs(first).max()
    )
    assert len(filters.filters_figure(tree, "retina-cnn").axes) == 4


def test_a_model_without_known_filters_says_so():
    tree = make_tree(models=["ln", "other"])
    assert "no filters" in filters.plot_filters(tree, "other").texts[0].get_text()
    assert filters.filters_figure(tree, "other") is None


# -- training ------------------------------------------------------------------------------------
def test_training_shows_every_epoch_of_every_seed_and_the_best():
    tree = make_tree(seeds=(0, 1))
    ax = training.plot_training(tree, "loss")
    curves, best = ax.get_lines()[::2], ax.get_lines()[1::2]
    for seed in (0, 1):
        history = tree[f"fits/retina-cnn/{seed}/0/history"].to_dataset()
        np.testing.assert_array_equal(curves[seed].get_ydata(), history["loss"])
        top = int(history["validation"].values.argmax())
        assert best[seed].get_xdata()[0] == top + 1
    assert training.training_figure(make_tree(models=["ln", "glm"])) is None


# -- style ---------------------------------------------------------------------------------------
def test_a_model_has_one_color_in_all_figures(tree):
    color = style.looks(reading.models_of(tree))["retina-cnn"].color
    axes = scores.plot_scores(tree)
    assert next(c for c in axes.containers if c.get_label() == "retina-cnn")[0].get_color() == color
    assert line_of(responses.plot_psth(tree, "u00"), color)
    assert training.plot_training(tree).get_lines()[0].get_color() == color
    alone = make_tree(models=["retina-cnn", "ln"])  # another order, another set
    assert style.looks(reading.models_of(alone))["retina-cnn"].color == color


def test_variants_of_a_kind_and_unknown_models_have_looks_of_their_own():
    models = ["mine", "retina-cnn:mcintosh2016", "ln", "retina-cnn", "theirs"]
    found = style.looks(models)
    assert list(found) == models and len(set(found.values())) == 5
    assert found["retina-cnn"] == style.KNOWN["retina-cnn"]
    assert style.looks(["retina-cnn:mcintosh2016"])["retina-cnn:mcintosh2016"].color == (
        style.KNOWN["retina-cnn"].color
    )


# Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def cielab(color, matrix):
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(matrix) @ linear, 0, 1)
    xyz = (
        np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        @ seen
        / [0.9505, 1.0, 1.089]
    )
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_colors_differ_for_the_color_blind(vision):
    seen = [cielab(look.color, VISION[vision]) for look in style.KNOWN.values()]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(distances) > 15  # a just noticeable difference is about 2.3


def test_models_differ_in_grey():
    lightness = sorted(cielab(look.color, np.eye(3))[0] for look in style.KNOWN.values())
    assert min(np.diff(lightness)) > 10
    everyone = [*style.KNOWN.values(), *style.OTHERS]
    assert len({look.marker for look in everyone}) == len(everyone)
    assert len({str(look.line) for look in everyone}) == len(everyone)


def test_the_users_settings_are_as_before(tree):
    before = dict(mpl.rcParams)
    overview.plot_overview(tree)
    scores.plot_scores(tree)
    with pytest.raises(InputError):
        responses.plot_psth(tree, "nobody")
    assert dict(mpl.rcParams) == before


def test_figures_draw_into_the_axes_that_are_given(tree):
    calls = [
        lambda ax: scores.plot_scores(tree, ax=ax),
        lambda ax: scores.plot_differences(tree, ax=ax),
        lambda ax: responses.plot_psth(tree, "u00", ax=ax),
        lambda ax: responses.plot_rasters(tree, "u00", ax=ax),
        lambda ax: filters.plot_filters(tree, "glm", ax=ax),
        lambda ax: filters.plot_history_filter(tree, "glm", ax=ax),
        lambda ax: training.plot_training(tree, ax=ax),
    ]
    figure = style.new_figure(5, 4)
    for call in calls:
        ax = figure.add_subplot()
        assert call(ax) is ax
    assert pyplot.get_fignums() == []


# -- the whole -----------------------------------------------------------------------------------
CASES = {
    "plain": {},
    "one neuron": {"n_neurons": 1},
    "thirty neurons": {"n_neurons": 30},
    "silent neuron": {"silent": ["u01"]},
    "all silent": {"n_neurons": 2, "silent": ["u00", "u01"]},
    "no repeated movie": {"test": 0},
    "a single repeat": {"test": 1},
    "repeats only": {"heldout": False},
    "one model": {"models": ["retina-cnn"]},
    "seeds": {"seeds": (0, 1, 2)},
    "images": {"movie": (1, 6, 7)},
    "colour": {"movie": (3, 6, 7)},
    "full field": {"movie": (1, 1, 1)},
    "many models": {
        "models": ["ln", "glm", "glm-coupled", "retina-cnn", "retina-cnn:small", "other"]
    },
    "unknown filters": {"models": ["other"]},
}


FILTER_CASES = ("plain", "one neuron", "images", "colour", "full field", "unknown filters")


def faults(figure):
    """Texts that a figure would cut off, and pairs that lie on each other."""
    figure.set_dpi(60)
    figure.draw_without_rendering()
    renderer, (width, height) = figure.canvas.get_renderer(), figure.canvas.get_width_height()
    found, boxes = [], []
    ticks = {
        text
        for ax in figure.findobj(mpl.axes.Axes)
        for axis in (ax.xaxis, ax.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for text in (tick.label1, tick.label2)
    }  # which of them are drawn is up to matplotlib
    for text in figure.findobj(mpl.text.Text):
        if text in ticks or not text.get_visible() or not text.get_text().strip():
            continue
        box = text.get_window_extent(renderer)
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            found.append(text.get_text())
        found += [
            (text.get_text(), name)
            for name, other in boxes
            if min(box.x1, other.x1) - max(box.x0, other.x0) > 1
            and min(box.y1, other.y1) - max(box.y0, other.y0) > 1
        ]
        boxes.append((text.get_text(), box))
    return found


@pytest.mark.parametrize("case", CASES)
def test_every_figure_can_be_drawn_and_no_text_is_cut_or_covered(case):
    tree = make_tree(**CASES[case])
    made = [overview.plot_overview(tree)]
    if case in FILTER_CASES:
        made += [filters.filters_figure(tree, model) for model in reading.models_of(tree)]
    else:
        makers = (overview.scores_figure, overview.psth_figure, overview.differences_figure)
        made += [make(tree) for make in makers]
    made += [responses.plot_psth(tree, "u00").figure, scores.plot_scores(tree).figure]
    for figure in made:
        assert figure is None or faults(figure) == []


def test_of_many_neurons_some_are_shown_from_best_to_worst_and_it_is_said():
    tree = make_tree(n_neurons=30, silent=["u05"])
    figure = overview.psth_figure(tree)
    shown = [
        ax.get_title(loc="left").split(" ")[0] for ax in figure.axes if ax.get_title(loc="left")
    ]
    mean = tree["scores"]["score"].sel(metric="bits_per_spike").mean(("model", "seed", "fold"))
    ranked = [str(n) for n in mean["neuron"].values[np.argsort(-mean.values)] if n != "u05"]
    assert len(shown) == 12 and "u05" not in shown
    assert (shown[0], shown[-1]) == (ranked[0], ranked[-1])
    said = figure.legends[0].get_title().get_text()
    assert said == "12 of 30 cells, evenly from best to worst predicted"


def test_files_are_written_whole_and_nothing_else(tree, tmp_path):
    folder, settings = tmp_path / "new" / "figures", dict(mpl.rcParams)
    written = overview.save_figures(tree, folder)
    names = {"overview", "scores", "differences", "psth", "training"}
    names |= {"filters_ln", "filters_glm", "filters_retina-cnn"}
    assert {path.name for path in written} == {f"{name}.png" for name in names}
    assert set(folder.iterdir()) == set(written)
    for path in written:
        image = pyplot.imread(path)
        assert image.ndim == 3 and image.std() > 0
    assert dict(mpl.rcParams) == settings
    assert pyplot.get_fignums() == []


def test_one_model_has_no_differences_and_odd_labels_make_safe_names(tmp_path):
    written = overview.save_figures(make_tree(models=["retina-cnn:a(b=1)"]), tmp_path)
    names = {path.name for path in written}
    assert "filters_retina-cnn_a_b_1.png" in names and "differences.png" not in names


def test_a_folder_that_cannot_be_written_is_named(tree, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="cannot be written") as caught:
        overview.save_figures(tree, file / "figures")
    assert str(file) in str(caught.value)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        overview.save_figures(tree, tmp_path / "figures")
    assert list((tmp_path / "figures").iterdir()) == []


def test_a_tree_read_from_its_file_gives_the_same_picture(tree, tmp_path):
    path = write_tree(tree, tmp_path / "comparison.h5")
    there, here = overview.plot_overview(read_tree(path)), overview.plot_overview(tree)
    for figure in (there, here):
        figure.set_dpi(50)
        figure.canvas.draw()
    np.testing.assert_array_equal(there.canvas.buffer_rgba(), here.canvas.buffer_rgba())


def test_a_notebook_can_show_the_overview(tree):
    assert overview.plot_overview(tree)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda tree: scores.plot_scores(tree, "nonsense"), "Scores: bits_per_spike"),
        (lambda tree: responses.plot_psth(tree, "nobody"), "Neurons: u00, u01"),
        (lambda tree: responses.plot_psth(tree, "u00", role="sleep"), "Roles: test, heldout"),
        (lambda tree: responses.plot_psth(tree, "u00", seed=9), "Seeds: 0"),
        (lambda tree: filters.plot_filters(tree, "nonsense"), "Models: ln, glm, retina-cnn"),
        (lambda tree: scores.plot_scores(tree["fits"]), "Give the tree of a comparison"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(tree, call, said):
    with pytest.raises(InputError, match=said):
        call(tree)


def test_importing_the_figures_does_not_import_matplotlib():
    code = "import sys, neuromodels.analysis.plots.overview; print('matplotlib' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
