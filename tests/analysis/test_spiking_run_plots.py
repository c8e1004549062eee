"""Figures and films of spiking runs show the record that they are made of."""

import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from matplotlib.colors import to_rgb
from PIL import Image
from spiking_records import (
    DURATION,
    EPOCHS,
    N_HIDDEN,
    N_INPUT,
    N_OUTPUT,
    figures_closed,
    make_record,
    marks,
    overlapping,
    pairs,
    record,
)

from neuromodels.analysis.plots import (
    raster_animation,
    rasters,
    spiking_runs,
)
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.storage import read_tree, write_tree

__all__ = ["figures_closed", "record"]  # fixtures


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
