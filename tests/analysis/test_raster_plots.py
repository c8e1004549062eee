"""Figures of spiking runs show the spikes, costs, traces and weights of the record."""

import time
from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.animation import FFMpegWriter
from matplotlib.colors import to_rgb
from PIL import Image

from neuromodels.analysis.plots import (
    learning_curves,
    raster_animation,
    rasters,
    spiking_runs,
    traces,
)
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.datasets.storage import read_tree, write_tree

DURATION = 0.5
N_INPUT, N_HIDDEN, N_OUTPUT = 12, 7, 5
EPOCHS = (0, 2, 5)


def trains(n_spikes, n_neurons, rng, duration=DURATION):
    times = np.sort(rng.uniform(0, duration, n_spikes))
    return SpikeTrains(times, rng.integers(0, n_neurons, n_spikes), n_neurons, duration)


def dataset_of(spikes):
    return xr.Dataset(
        {"time": ("spike", spikes.times), "neuron": ("spike", spikes.neurons)},
        coords={"spike": np.arange(len(spikes.times))},
        attrs={"n_neurons": spikes.n_neurons, "duration": spikes.duration},
    )


def make_record(weights=True, silent_epoch=0):
    """A run of two populations whose first epoch has no output spikes at all."""
    rng = np.random.default_rng(4)
    columns = {name: [] for name in ("time", "neuron", "population", "epoch")}
    for epoch in EPOCHS:
        for population, n in enumerate((N_HIDDEN, N_OUTPUT)):
            if epoch == silent_epoch:
                continue
            some = trains(30 + epoch, n, rng)
            columns["time"] += list(some.times)
            columns["neuron"] += list(some.neurons)
            columns["population"] += [population] * len(some.times)
            columns["epoch"] += [epoch] * len(some.times)
    spikes = xr.Dataset(
        {name: ("spike", np.array(values)) for name, values in columns.items()},
        coords={"spike": np.arange(len(columns["time"]))},
        attrs={"epochs": list(EPOCHS)},
    )
    spikes["population"].attrs["names"] = ["hidden", "output"]
    epoch = np.arange(6)
    progress = xr.Dataset(
        {
            "time": ("epoch", 20.0 * (epoch + 1)),
            "cost": ("epoch", 200 * np.exp(-epoch / 2.0)),
            "rate": (("epoch", "population"), rng.uniform(1, 20, (6, 2))),
        },
        coords={"epoch": epoch, "population": ["hidden", "output"]},
        attrs={"silent_cost": 210.7, "greedy_cost": float("nan")},
    )
    nodes = {
        "/": xr.Dataset(attrs={"duration": DURATION, "dt_s": 1e-4}),
        "/inputs": dataset_of(trains(60, N_INPUT, rng)),
        "/targets": dataset_of(trains(25, N_OUTPUT, rng)),
        "/spikes": spikes,
        "/progress": progress,
    }
    shapes = {"input_to_hidden": (N_INPUT, N_HIDDEN), "hidden_to_output": (N_HIDDEN, N_OUTPUT)}
    for name, shape in shapes.items() if weights else ():
        nodes[f"/weights/{name}"] = xr.Dataset(
            {"weight": (("snapshot", "source", "target"), rng.normal(0, 5e-3, (2, *shape)))},
            coords={"snapshot": [0, 5], "source": range(shape[0]), "target": range(shape[1])},
        )
    return xr.DataTree.from_dict(nodes)


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def record():
    return make_record()


def marks(ax):
    """Spikes of every kind of mark as sorted (neuron, time) pairs."""
    return {
        line.get_gid(): sorted(zip(line.get_ydata(), line.get_xdata(), strict=True))
        for line in ax.get_lines()
        if line.get_gid() in ("spike", "target", "hit", "extra")
    }


def pairs(spikes, chosen=slice(None)):
    return sorted(zip(spikes.neurons[chosen], spikes.times[chosen], strict=True))


def texts_of(figure):
    """Everything written in a figure that can be seen, with its place in pixels."""
    from matplotlib.text import Text

    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    found = [text for text in figure.findobj(Text) if text.get_text().strip()]
    found = [text for text in found if text.get_visible() and text.figure is not None]
    return {text: text.get_window_extent(renderer) for text in found}


def overlapping(figure, *, ticks=False):
    """Pairs of texts that lie on each other."""
    boxes = texts_of(figure)
    tick_labels = {
        label
        for ax in figure.get_axes()
        for label in ax.get_xticklabels()
        + ax.get_yticklabels()
        + ax.get_xticklabels(minor=True)
        + ax.get_yticklabels(minor=True)
    }
    if not ticks:
        boxes = {text: box for text, box in boxes.items() if text not in tick_labels}
    return [
        (a.get_text(), b.get_text())
        for (a, box), (b, other) in combinations(boxes.items(), 2)
        if box.shrunk(0.9, 0.8).overlaps(other)
    ]


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


def test_a_hundred_thousand_spikes_with_targets_are_drawn_in_two_seconds(tmp_path):
    rng = np.random.default_rng(8)
    spikes, target = trains(100_000, 1000, rng, 5.0), trains(100_000, 1000, rng, 5.0)
    start = time.process_time()
    ax = rasters.plot_raster(spikes, target)
    ax.figure.savefig(tmp_path / "many.png")
    assert time.process_time() - start < 2
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


# -- weights -------------------------------------------------------------------------------------
def test_histograms_count_every_weight_before_and_after(record):
    kept = record["weights/input_to_hidden"].to_dataset()
    ax = spiking_runs.plot_weights(kept, title="input to hidden")
    for patch, values in zip(ax.patches, 1e3 * kept["weight"].values, strict=True):
        counts, edges, _ = patch.get_data()
        np.testing.assert_array_equal(counts, np.histogram(values, edges)[0])
        assert counts.sum() == N_INPUT * N_HIDDEN
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["epoch 0", "epoch 5"]
    assert ax.get_xlabel() == "weight (mV)" and overlapping(ax.figure) == []


def test_the_matrix_is_the_last_snapshot_source_by_target(record):
    kept = record["weights/hidden_to_output"].to_dataset()
    ax = spiking_runs.plot_weights(kept.transpose(), kind="matrix")
    np.testing.assert_allclose(ax.images[0].get_array(), 1e3 * kept["weight"].values[-1])
    low, high = ax.images[0].get_clim()
    assert low == -high
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("target neuron", "source neuron")
    with pytest.raises(InputError, match="is 'map'"):
        spiking_runs.plot_weights(kept, kind="map")


# -- a whole run ---------------------------------------------------------------------------------
def axes_by(figure, label):
    return [ax for ax in figure.get_axes() if ax.get_ylabel().split(" ")[0] == label]


def test_the_overview_shows_input_hidden_and_output_with_target(record, tmp_path):
    stored = read_tree(write_tree(record, tmp_path / "run.h5"))
    figure = spiking_runs.plot_run(stored)
    top, middle, bottom = axes_by(figure, "neuron")
    spikes = record["spikes"].to_dataset()
    last = spikes["epoch"].values == 5
    inputs = rasters.spikes_of(record["inputs"].to_dataset())
    assert marks(top) == {"spike": pairs(inputs)}
    hidden = last & (spikes["population"].values == 0)
    all_spikes = rasters.Spikes(spikes["time"].values, spikes["neuron"].values, 0, 0.0)
    assert marks(middle)["spike"] == pairs(all_spikes, hidden)
    assert middle.get_ylim() == (-0.5, N_HIDDEN - 0.5)
    found = marks(bottom)
    assert sorted(found["hit"] + found["extra"]) == pairs(all_spikes, last & ~hidden)
    assert found["target"] == pairs(rasters.spikes_of(record["targets"].to_dataset()))
    (cost,) = axes_by(figure, "cost")
    np.testing.assert_array_equal(cost.get_lines()[0].get_ydata(), record["progress"]["cost"])
    assert [text.get_text() for text in cost.texts] == ["silent 210.7"]  # the floor is unknown
    assert sum(bool(ax.images) for ax in figure.get_axes()) >= 2
    assert overlapping(figure) == []


def test_a_run_without_weights_has_an_overview_too():
    figure = spiking_runs.plot_run(make_record(weights=False))
    assert len(axes_by(figure, "neuron")) == 3 and not any(ax.images for ax in figure.get_axes())


def test_spikes_of_a_population_and_epoch_come_out_as_they_went_in(record):
    spikes = record["spikes"].to_dataset()
    chosen = (spikes["population"].values == 1) & (spikes["epoch"].values == 2)
    found = spiking_runs.population_spikes(record, "output", 2)
    np.testing.assert_array_equal(found.times, spikes["time"].values[chosen])
    assert (found.n_neurons, found.duration) == (N_OUTPUT, DURATION)
    assert len(spiking_runs.population_spikes(record, "output", 0).times) == 0
    with pytest.raises(InputError, match="no spikes of epoch 1\n  Kept are 0, 2, 5"):
        spiking_runs.population_spikes(record, "output", 1)
    with pytest.raises(InputError, match="no population 'deep'"):
        spiking_runs.population_spikes(record, "deep")
    with pytest.raises(InputError, match="has no /spikes"):
        spiking_runs.plot_run(record.filter(lambda node: "spike" not in node.dims))


def test_one_neuron_over_epochs_has_a_row_per_epoch_with_its_targets(record):
    ax = spiking_runs.plot_epochs(record, 3, title="output neuron 3")
    found, target = marks(ax), rasters.spikes_of(record["targets"].to_dataset())
    wanted = target.times[target.neurons == 3]
    each = [spiking_runs.population_spikes(record, "output", epoch) for epoch in EPOCHS]
    rows = [(row, t) for row, it in enumerate(each) for t in it.times[it.neurons == 3]]
    assert sorted(found["hit"] + found["extra"]) == sorted(rows)
    assert found["target"] == sorted((row, t) for row in range(len(EPOCHS)) for t in wanted)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "2", "5"]
    assert ax.get_ylabel() == "epoch" and overlapping(ax.figure) == []
    with pytest.raises(InputError, match="is 5, there are 5 outputs"):
        spiking_runs.plot_epochs(record, 5)


# -- the film ------------------------------------------------------------------------------------
def test_the_film_has_a_frame_per_epoch_and_stays_on_the_last(record, tmp_path_factory, tmp_path):
    told = []
    stored = read_tree(write_tree(record, tmp_path_factory.mktemp("stored") / "run.h5"))
    path = raster_animation.animate_learning(
        stored, tmp_path / "run.gif", fps=4, progress=lambda *done: told.append(done)
    )
    film = Image.open(path)
    assert (film.n_frames, film.size) == (len(EPOCHS), (960, 290))
    durations = []
    for index in range(film.n_frames):
        film.seek(index)
        durations.append(film.info["duration"])
    assert durations == [250, 250, 2000] and film.info["loop"] == 0
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [file.name for file in tmp_path.iterdir()] == ["run.gif"]


def test_a_frame_shows_the_spikes_and_the_cost_of_its_epoch(record):
    film = raster_animation._Film(record, {"floor": 5.6}, rasters.NEAR)
    raster = film.marks["target"].axes
    for epoch in EPOCHS:
        film.show(epoch)
        found = marks(raster)
        wanted = spiking_runs.population_spikes(record, "output", epoch)
        assert sorted(found["hit"] + found["extra"]) == pairs(wanted)
        assert found["target"] == pairs(film.target)
        cost = record["progress"]["cost"].values
        np.testing.assert_array_equal(film.so_far.get_ydata(), cost[: epoch + 1])
        assert film.now.get_xydata().tolist() == [[20.0 * (epoch + 1), cost[epoch]]]
        assert film.heading.get_text() == f"output, epoch {epoch} ({20 * (epoch + 1)} s simulated)"
        assert overlapping(film.figure) == []


def test_colours_survive_in_the_gif(record, tmp_path):
    film = Image.open(raster_animation.animate_learning(record, tmp_path / "run.gif"))
    film.seek(2)
    seen = np.asarray(film.convert("RGB")).reshape(-1, 3).astype(int)
    for color in (rasters.TARGET, rasters.HIT, rasters.EXTRA):
        wanted = np.array(to_rgb(color)) * 255
        assert np.abs(seen - wanted).max(1).min() < 12


def test_a_film_that_fails_or_may_not_replace_leaves_the_old_one(record, tmp_path):
    path = tmp_path / "run.gif"
    path.write_bytes(b"an older film")
    with pytest.raises(InputError, match="exists already"):
        raster_animation.animate_learning(record, path)

    def stop(done, _total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        raster_animation.animate_learning(record, path, overwrite=True, progress=stop)
    assert path.read_bytes() == b"an older film"
    assert [file.name for file in tmp_path.iterdir()] == ["run.gif"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("run.avi", {}, "End it with .gif or .mp4"),
        ("run.gif", {"fps": 0}, "is 0"),
        ("nowhere/run.gif", {}, "there is no folder"),
    ],
)
def test_a_film_that_cannot_be_written_says_why(record, tmp_path, name, options, message):
    with pytest.raises(InputError, match=message):
        raster_animation.animate_learning(record, tmp_path / name, **options)


def test_without_ffmpeg_an_mp4_is_refused_with_the_remedy(record, tmp_path, monkeypatch):
    monkeypatch.setattr(FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(InputError, match=r"Install ffmpeg, or end the name with .gif"):
        raster_animation.animate_learning(record, tmp_path / "run.mp4")


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="ffmpeg is not installed")
def test_an_mp4_has_a_frame_per_epoch_and_two_seconds_of_the_last(record, tmp_path):
    av = pytest.importorskip("av")
    path = raster_animation.animate_learning(record, tmp_path / "run.mp4", fps=5)
    with av.open(str(path)) as film:
        frames = list(film.decode(video=0))
    assert len(frames) == len(EPOCHS) + 9 and (frames[0].width, frames[0].height) == (960, 290)
    assert [file.name for file in tmp_path.iterdir()] == ["run.mp4"]
