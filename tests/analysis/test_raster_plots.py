"""Rasters, learning curves and traces show the spikes, costs and voltages that they are given."""

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from spiking_records import (
    DURATION,
    dataset_of,
    figures_closed,
    marks,
    overlapping,
    pairs,
    record,
    trains,
)

from neuromodels.analysis.plots import (
    learning_curves,
    rasters,
    traces,
)
from neuromodels.datasets.errors import InputError

__all__ = ["figures_closed", "record"]  # fixtures


# -- rasters -------------------------------------------------------------------------------------
def test_every_spike_is_a_mark_in_the_row_of_its_neuron():
    spikes = trains(200, 20, np.random.default_rng(0))
    ax = rasters.plot_raster(spikes)
    assert marks(ax) == {"spike": pairs(spikes)}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "neuron")
    assert ax.get_xlim() == (0, DURATION) and ax.get_ylim() == (-0.5, 19.5)


def test_a_dataset_is_drawn_as_the_trains_it_came_from():
    spikes = trains(50, 4, np.random.default_rng(1))
    assert marks(rasters.plot_raster(dataset_of(spikes))) == {"spike": pairs(spikes)}
    assert marks(rasters.plot_raster(spikes.to_dataset())) == {"spike": pairs(spikes)}


@pytest.mark.parametrize("tolerance", [0.0, 2e-3, 0.02])
def test_outputs_near_a_target_of_their_neuron_are_told_from_the_others(tolerance):
    rng = np.random.default_rng(2)
    spikes, target = trains(120, 6, rng), trains(80, 6, rng)
    # Some lie exactly on a target.
    times, neurons = (
        np.r_[spikes.times, target.times[:10]],
        np.r_[spikes.neurons, target.neurons[:10]],
    )
    shared = rasters.Spikes(times, neurons, 6, DURATION)
    found = marks(rasters.plot_raster(shared, target, tolerance_s=tolerance))
    apart = np.abs(times[:, None] - target.times)
    met = ((apart <= tolerance) & (neurons[:, None] == target.neurons)).any(1)
    assert found["target"] == pairs(target)
    assert found["hit"] == pairs(shared, met)
    assert found["extra"] == pairs(shared, ~met)


def test_targets_lie_behind_and_are_lighter_and_wider_than_spikes():
    rng = np.random.default_rng(3)
    ax = rasters.plot_raster(trains(30, 5, rng), trains(30, 5, rng))
    line = {line.get_gid(): line for line in ax.get_lines()}
    grey = {
        name: np.dot(to_rgb(it.get_color()), (0.2126, 0.7152, 0.0722)) for name, it in line.items()
    }
    assert grey["hit"] + 0.2 < grey["extra"] and grey["extra"] + 0.2 < grey["target"]
    assert line["target"].get_zorder() < line["hit"].get_zorder() < line["extra"].get_zorder()
    assert line["target"].get_markeredgewidth() > line["hit"].get_markeredgewidth()


def test_the_legend_says_what_near_means_and_overlaps_nothing():
    rng = np.random.default_rng(3)
    for width in (3.0, 5.0, 9.0):
        ax = pyplot.subplots(figsize=(width, 3), layout="constrained")[1]
        rasters.plot_raster(
            trains(30, 5, rng), trains(30, 5, rng), ax, tolerance_s=2e-3, title="output, epoch 3"
        )
        named = [text.get_text() for text in ax.get_legend().get_texts()]
        assert named == ["target", "output within 2 ms of one", "output further away"]
        assert overlapping(ax.figure) == []
        box = ax.get_legend().get_window_extent()
        assert box.y0 >= ax.get_window_extent().y1 - 1


def test_a_window_shows_its_spikes_only():
    spikes = trains(200, 8, np.random.default_rng(5))
    ax = rasters.plot_raster(spikes, window=(0.1, 0.2))
    inside = (spikes.times >= 0.1) & (spikes.times <= 0.2)
    assert marks(ax)["spike"] == pairs(spikes, inside) and ax.get_xlim() == (0.1, 0.2)


def test_marks_keep_within_their_rows():
    rng = np.random.default_rng(6)
    for n in (1, 5, 40, 300):
        ax = rasters.plot_raster(trains(50, n, rng))
        ax.figure.canvas.draw()
        rasters.fit_marks(ax)
        row = ax.get_window_extent().height / ax.figure.dpi * 72 / n
        assert ax.get_lines()[0].get_markersize() <= max(row, 1.2)


def test_silence_is_said():
    nothing = rasters.Spikes(np.zeros(0), np.zeros(0, int), 3, 1.0)
    ax = rasters.plot_raster(nothing)
    assert [text.get_text() for text in ax.texts] == ["no spikes"]
    rng = np.random.default_rng(7)
    found = marks(rasters.plot_raster(nothing, trains(5, 3, rng, 1.0)))
    assert len(found["target"]) == 5 and not found["hit"] and not found["extra"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trains": np.zeros(3)}, "has no times, neurons, n_neurons, duration"),
        ({"trains": xr.Dataset({"time": ("spike", [0.1])})}, "no neuron, n_neurons, duration"),
        ({"target": rasters.Spikes(np.zeros(1), np.zeros(1, int), 9, 1.0)}, "has 9 neurons"),
        ({"window": (0.3, 0.3)}, "no time from 0.3 to 0.3 s"),
        (
            {"target": rasters.Spikes(np.zeros(1), np.zeros(1, int), 3, 1.0), "tolerance_s": -1},
            "is -1",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said_by_name(arguments, message):
    spikes = rasters.Spikes(np.array([0.1]), np.array([0]), 3, 1.0)
    with pytest.raises(InputError, match=message):
        rasters.plot_raster(**({"trains": spikes} | arguments))


def test_a_hundred_thousand_spikes_with_targets_are_one_line_per_kind_of_mark():
    rng = np.random.default_rng(8)
    spikes, target = trains(100_000, 1000, rng, 5.0), trains(100_000, 1000, rng, 5.0)
    ax = rasters.plot_raster(spikes, target)
    # Target, hit, extra: what takes long is an object per spike.
    assert len(ax.get_lines()) + len(ax.collections) + len(ax.patches) <= 3
    assert sum(len(line.get_xdata()) for line in ax.get_lines()) == 200_000
    assert all(line.get_rasterized() for line in ax.get_lines())


# -- learning curves -----------------------------------------------------------------------------
def curve(costs):
    n = len(costs)
    return xr.Dataset(
        {"time": ("epoch", 20.0 * (np.arange(n) + 1)), "cost": ("epoch", np.asarray(costs, float))},
        coords={"epoch": np.arange(n)},
    )


def test_the_curve_is_the_cost_over_simulated_time():
    ax = learning_curves.plot_learning_curve(curve([200, 50, 20]))
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_xydata(), [[20, 200], [40, 50], [60, 20]])
    assert ax.get_yscale() == "log" and ax.get_legend() is None
    assert ax.get_xlabel() == "simulated time (s)" and ax.get_ylabel().startswith("cost")


def test_seeds_are_thin_lines_with_their_median():
    seeds = [curve([200, 50, 20]), curve([190, 60, 30]), curve([150, 40, 10, 5])]
    ax = learning_curves.plot_learning_curve({"symmetric": seeds, "random": curve([200, 90])})
    thick = [line for line in ax.get_lines() if line.get_linewidth() > 1]
    assert [line.get_label() for line in thick] == ["symmetric", "random"]
    np.testing.assert_array_equal(thick[0].get_ydata(), [190, 50, 20])
    thin = [list(line.get_ydata()) for line in ax.get_lines() if line.get_linewidth() < 1]
    assert thin == [list(seed["cost"].values) for seed in seeds]


def test_levels_are_named_with_their_values_and_lie_on_no_other_text():
    lines = {"silent": 210.66, "no hidden layer": 14.8, "floor": 14.2, "best": 15, "lost": np.nan}
    for size in ((6, 3.6), (3.5, 2.0)):
        ax = pyplot.subplots(figsize=size, layout="constrained")[1]
        learning_curves.plot_learning_curve({"a": curve([200, 20])}, lines, ax)
        drawn = [line.get_ydata()[0] for line in ax.get_lines() if line.get_gid() == "level"]
        assert sorted(drawn) == [14.2, 14.8, 15, 210.66]
        assert [text.get_text() for text in ax.texts] == [
            "floor 14.2",
            "no hidden layer 14.8",
            "best 15",
            "silent 210.7",
        ]
        heights = [text.get_position()[1] for text in ax.texts]
        assert heights == sorted(heights) and overlapping(ax.figure) == []
        low, high = ax.get_ylim()
        assert low < 14.2 and high > 210.66


def test_a_floor_of_zero_does_not_break_the_logarithmic_axis():
    ax = learning_curves.plot_learning_curve(curve([20, 5]), {"floor": 0.0})
    assert not ax.texts and ax.get_ylim()[0] > 0


def test_published_values_are_points():
    published = ([20, 40], [214.4, 105.5])
    ax = learning_curves.plot_learning_curve(
        {"ours": curve([200, 90])}, points={"authors' program": published}
    )
    (points,) = [line for line in ax.get_lines() if line.get_label() == "authors' program"]
    np.testing.assert_array_equal(points.get_xydata(), np.transpose(published))


def test_rates_are_in_hz_by_population(record):
    ax = learning_curves.plot_rates(record["progress"].to_dataset())
    rate = record["progress"]["rate"]
    assert ax.get_ylabel() == "rate (Hz)"
    for line in ax.get_lines():
        np.testing.assert_array_equal(line.get_ydata(), rate.sel(population=line.get_label()))


def test_a_reproduction_shows_every_seed_the_means_and_the_reference():
    costs = np.array([[15.0, 16.0], [71.0, np.nan], [np.nan, np.nan]])
    names = ["no hidden layer", "symmetric 8", "uniform 256"]
    table = xr.Dataset(
        {"cost": (("network", "seed"), costs), "reference": ("network", [14.8, 71.0, 195.0])},
        coords={"network": names, "seed": [0, 1]},
    )
    ax = learning_curves.plot_reproduction(table, {"silent": 210.7}, title="Oxford")
    line = {it.get_label(): it for it in ax.get_lines()}
    np.testing.assert_array_equal(line["seed"].get_ydata(), [15, 16, 71])
    np.testing.assert_array_equal(line["reference"].get_ydata(), [14.8, 71, 195])
    drawn = [segment for segment in ax.collections[0].get_segments() if len(segment)]
    np.testing.assert_array_equal([segment[0, 1] for segment in drawn], [15.5, 71])
    assert [text.get_text() for text in ax.get_xticklabels()] == names
    assert overlapping(ax.figure) == []
    with pytest.raises(InputError, match="no cost"):
        learning_curves.plot_reproduction(table.rename(seed="fold"))


# -- traces --------------------------------------------------------------------------------------
def trace_data(n, dim, name, rng):
    when = np.arange(100) * 1e-3
    values = rng.normal(-0.055, 0.002, (100, n))
    return xr.Dataset({name: (("time", dim), values)}, coords={"time": when, dim: np.arange(n)})


def lines_of(ax):
    return [line for line in ax.get_lines() if line.get_gid() == "trace"]


def test_one_voltage_is_in_mv_with_its_threshold():
    data = trace_data(1, "recorded", "voltage", np.random.default_rng(9))
    ax = traces.plot_voltages(data, threshold_v=-0.05)
    np.testing.assert_allclose(lines_of(ax)[0].get_ydata(), 1e3 * data["voltage"].values[:, 0])
    assert ax.get_ylabel() == "membrane potential (mV)" and ax.get_xlabel() == "time (s)"
    assert any(np.all(np.asarray(line.get_ydata()) == -50) for line in ax.get_lines())


def test_several_voltages_are_stacked_without_crossing_and_carry_a_true_scale():
    data = trace_data(4, "recorded", "voltage", np.random.default_rng(10))
    ax = traces.plot_voltages(data, threshold_v=-0.05, spikes={2: [0.02, 0.07]})
    drawn = np.array([line.get_ydata() for line in lines_of(ax)])
    wanted = 1e3 * data["voltage"].values.T
    np.testing.assert_allclose(np.diff(drawn), np.diff(wanted))
    assert np.all(drawn[:-1].min(1) > drawn[1:].max(1))
    (bar,) = [line for line in ax.get_lines() if line.get_gid() == "scale"]
    (text,) = [text.get_text() for text in ax.texts]
    assert text == f"{np.diff(bar.get_ydata())[0]:g} mV"
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"neuron {i}" for i in range(4)]
    (strokes,) = [it for it in ax.collections if it.get_gid() == "spike"]
    ends = np.array(strokes.get_segments())
    np.testing.assert_allclose(ends[:, 0, 0], [0.02, 0.07])
    assert drawn[2].max() < ends[0, 0, 1] < ends[0, 1, 1] < drawn[1].min()
    with pytest.raises(InputError, match="'9', which was not recorded"):
        traces.plot_voltages(data, spikes={9: [0.1]})


@pytest.mark.parametrize(
    ("plot", "dim", "name"),
    [
        (traces.plot_errors, "output", "error"),
        (traces.plot_eligibility, "synapse", "eligibility"),
        (traces.plot_voltages, "recorded", "voltage"),
    ],
)
def test_many_traces_are_an_image_of_the_values(plot, dim, name):
    data = trace_data(20, dim, name, np.random.default_rng(11))
    ax = plot(data)
    unit = 1e3 if name == "voltage" else 1.0
    np.testing.assert_allclose(ax.images[0].get_array(), unit * data[name].values.T)
    assert ax.images[0].get_extent() == pytest.approx((-5e-4, 0.0995, -0.5, 19.5))
    if name == "error":
        low, high = ax.images[0].get_clim()
        assert low == -high


def test_synapses_are_named_by_source_and_target():
    data = trace_data(2, "synapse", "eligibility", np.random.default_rng(12))
    data = data.assign_coords(source=("synapse", [3, 4]), target=("synapse", [0, 1]))
    ax = traces.plot_eligibility(data)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["3 → 0", "4 → 1"]
