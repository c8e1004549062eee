"""Several recordings in one call: what each gets, what is said over animals, what is refused."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import scipy.stats
import torch
from several_recordings import MODELS, OPTIONS, recordings, small_set
from several_retinas import retinas
from small_recording import small_recording
from two_stimuli import two_stimuli

import neuromodels as nm
from neuromodels.analysis.animals import average_by_animal, mean_over_animals
from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.fits.predictions import stimulus_rates
from neuromodels.fits.progress import Progress
from neuromodels.fits.runs import opened
from neuromodels.fits.task import prepare

SHARED = "retina-cnn-shared"
TWO = {"history": 0.1, "temporal_basis": 6, "ridge": [1e-3], "smoothness": [0.0]}
#: What may differ between two runs: when and how fast they ran.
TIMES = {"created", "wall_time_s", "cpu_time_s", "wall_time", "cpu_time"}


def assert_same_tree(one, two):
    assert [node.path for node in one.subtree] == [node.path for node in two.subtree]
    for a, b in zip(one.subtree, two.subtree, strict=True):
        for name in set(a.variables) - TIMES:
            np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=name)
        for name in (set(a.attrs) | set(b.attrs)) - TIMES - {"key"}:
            assert json.dumps(a.attrs[name]) == json.dumps(b.attrs[name]), name


# -- what each recording gets ----------------------------------------------------------------------


def test_every_model_is_fitted_to_every_recording_and_members_are_whole_comparisons():
    found = small_set()
    assert found.names == ("recording 1", "recording 2", "recording 3")
    assert found.models == MODELS
    alone = nm.compare(recordings()[1], ["ln"], options=OPTIONS)
    member = found["recording 2"]
    np.testing.assert_array_equal(member.scores.sel(model="ln"), alone.scores.sel(model="ln"))


def test_the_core_is_the_same_in_all_members_and_each_predicts_by_itself_what_is_stored(tmp_path):
    found = small_set()
    fits = [found[name].fit(SHARED) for name in found.names]
    cores = [fit.model.core.state_dict() for fit in fits]
    for name, value in cores[0].items():
        assert all(torch.equal(value, core[name]) for core in cores[1:])
    assert len({tuple(fit.model.input.neurons) for fit in fits}) == 1
    assert {(fit.model.input.mean, fit.model.input.std) for fit in fits} == {
        (fits[0].model.input.mean, fits[0].model.input.std)
    }
    models = [nm.load(fits[0].to_hdf5(tmp_path / "member.h5")).model, *(f.model for f in fits[1:])]
    for recording, fit, model in zip(recordings(), fits, models, strict=True):
        heldout = prepare(recording).partition.heldout
        rates = np.concatenate([stimulus_rates(model, block) for block in heldout])
        stored = fit.predictions["stimulus/heldout"]["rate"].values
        np.testing.assert_array_equal(rates, stored)


def test_a_single_recording_shares_its_core_with_none_and_gives_what_retina_cnn_gives():
    one = nm.compare(recordings()[:1], ["retina-cnn", SHARED], options=OPTIONS)
    scores = one.scores.isel(member=0)
    np.testing.assert_array_equal(scores.sel(model="retina-cnn"), scores.sel(model=SHARED))


def test_fit_of_several_recordings_keeps_the_name_of_the_model_and_a_fit_in_each_member():
    options = OPTIONS["retina-cnn"]
    found = nm.fit(recordings()[:2], "retina-cnn", **options)
    assert found.models == ("retina-cnn",)
    first, second = (found[name].fit("retina-cnn") for name in found)
    assert first.attrs["model"] == SHARED
    assert first.attrs["summary"]["core_learned_from"] == ["recording 1", "recording 2"]
    kernel = "core_convolutions_0_0_weight"
    np.testing.assert_array_equal(first.parameters[kernel], second.parameters[kernel])


def test_a_set_is_its_file_and_names_choose_a_member_to_predict_with(tmp_path):
    found = nm.compare(recordings()[:2], ["ln"], options=OPTIONS)
    loaded = nm.load(found.to_hdf5(tmp_path / "set.h5"))
    assert str(loaded) == str(found)
    assert_same_tree(found.tree, loaded.tree)
    movie = recordings()[0].test["stimulus"].values
    with pytest.raises(nm.OptionError, match="several recordings and none was named"):
        nm.predict(loaded, movie)
    predicted = nm.predict(loaded, movie, member="recording 2")
    expected = found["recording 2"].fit("ln").predict(movie)
    np.testing.assert_array_equal(predicted["movie/all/rate"], expected["movie/all/rate"])
    with pytest.raises(nm.InputError, match="no recording 'recording 9'"):
        loaded["recording 9"]


# -- what is said over animals ---------------------------------------------------------------------


def test_recordings_of_one_animal_are_averaged_before_animals_are():
    summary = small_set().summary
    score = summary["score"].values
    expected = np.stack([(score[0] + score[1]) / 2, score[2]])
    assert summary["animal"].values.tolist() == ["m1", "m2"]
    np.testing.assert_allclose(summary["animal_score"], expected, equal_nan=True)
    np.testing.assert_allclose(summary["mean"], expected.mean(0), equal_nan=True)
    np.testing.assert_allclose(summary["sd"], expected.std(0, ddof=1), equal_nan=True)


def test_a_difference_of_two_models_is_paired_in_every_recording():
    summary = small_set().summary
    metric = {"metric": "bits_per_spike"}
    pair = summary["difference"].sel(pair=f"{SHARED} − ln", **metric)
    score = summary["score"].sel(**metric)
    np.testing.assert_allclose(pair, score.sel(model=SHARED) - score.sel(model="ln"))


def test_all_cells_of_all_recordings_are_the_second_reduction():
    found = small_set()
    cells = np.concatenate([found[name].scores.values for name in found], axis=-1)
    known = np.isfinite(cells).any(-1)
    expected = np.nanmean(cells[known], -1)
    np.testing.assert_allclose(found.summary["pooled_mean"].values[known], expected)
    np.testing.assert_array_equal(found.summary["pooled_cells"], np.isfinite(cells).sum(-1))


def test_below_three_animals_there_is_no_interval_and_the_table_says_why():
    found = small_set()
    assert np.isnan(found.summary["low"]).all()
    assert "too few animals for an interval over them: 2 animals" in str(found)
    assert "too few to say whether that would hold in others" in str(found)


def test_the_interval_over_animals_is_that_of_students_t():
    values = np.random.default_rng(0).normal(size=(5, 4))
    values[0, 1] = np.nan
    found = mean_over_animals(values)
    for column in range(4):
        known = values[np.isfinite(values[:, column]), column]
        low, high = scipy.stats.t.interval(
            0.95, len(known) - 1, known.mean(), scipy.stats.sem(known)
        )
        assert (found.low[column], found.high[column]) == pytest.approx((low, high))
        assert found.n[column] == len(known)


@pytest.mark.parametrize("n_animals", [3, 4, 8])
def test_the_interval_covers_the_mean_of_normal_animals_in_95_of_100_studies(n_animals):
    values = np.random.default_rng(n_animals).normal(0.3, 0.1, (n_animals, 20_000))
    found = mean_over_animals(values)
    covered = np.mean((found.low < 0.3) & (found.high > 0.3))
    # Three standard errors of a share of 20,000.
    assert covered == pytest.approx(0.95, abs=0.0047)


def test_an_animal_without_a_score_is_in_no_mean():
    names, values = average_by_animal(np.array([[np.nan], [2.0], [np.nan]]), ["a", "a", "b"])
    assert names == ("a", "b")
    np.testing.assert_array_equal(values, [[2.0], [np.nan]])
    found = mean_over_animals(values)
    assert found.n.tolist() == [1]
    assert found.mean.tolist() == [2.0]
    assert np.isnan(found.sd).all()


def test_the_figure_has_a_line_per_animal():
    from matplotlib.figure import Figure

    from neuromodels.analysis.plots.animals import plot_animals

    summary = small_set().summary
    ax = plot_animals(summary, "bits_per_spike", ax=Figure().subplots())
    drawn = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    for animal in summary["animal"].values.tolist():
        expected = summary["animal_score"].sel(animal=animal, metric="bits_per_spike")
        np.testing.assert_array_equal(drawn[animal], expected)
    with pytest.raises(nm.InputError, match="no score 'bits'"):
        plot_animals(summary, "bits")


def test_a_set_has_a_summary_on_each_stimulus_that_is_made_of_the_members_scores_there():
    call = {"learn_from": "fast", "options": {"ln": TWO}}
    found = nm.compare([two_stimuli(seed=seed)[0] for seed in (0, 1)], ["ln"], **call)
    assert found.stimuli == ("fast", "slow")
    for stimulus in found.stimuli:
        cells = [found[name].on(stimulus).scores.sel(model="ln").mean("neuron") for name in found]
        for summary in (found.summary_on(stimulus), found.on(stimulus).summary):
            np.testing.assert_allclose(summary["score"].sel(model="ln"), cells, rtol=1e-9)
        assert f"scored on {stimulus}" in str(found)
    assert found.on("slow").stimuli == ("slow",)
    with pytest.raises(nm.InputError, match="no summary on 'bars'"):
        found.on("bars")


# -- what is refused -------------------------------------------------------------------------------


def other(shape=(8, 1), bin_width=0.010, seed=5, **more):
    rng = np.random.default_rng(seed)
    movie, counts = rng.random((3000, *shape)), rng.poisson(0.5, (3000, 2))
    return recording_from_arrays(movie, counts, bin_width=bin_width, **more)


def spaced(width):
    recording = other(seed=int(width))
    node = recording.tree["stimulus"]
    y = node["train"]["y"] if "y" in node["train"].coords else node["y"]
    node.coords["y"] = ("y", np.arange(8) * width, dict(y.attrs) | {"units": "µm"})
    return opened(recording)


REFUSED = {
    "none": (lambda: [], "no recording was given"),
    "something else": (lambda: [other(), np.zeros(3)], "recording 2: is a ndarray"),
    "twice": (lambda: [other(), other()], "is the same recording as recording 1"),
    "bins": (lambda: [other(), other(bin_width=1 / 60)], "recordings have different bins"),
    "screens": (lambda: [other(), other((9, 1))], r"9 \(y\) x 1 \(x\) px"),
    "spacing": (lambda: [spaced(10.0), spaced(20.0)], "pixels 20 µm apart along y"),
    "kinds": (
        lambda: [
            other(),
            recording_from_arrays(
                np.random.default_rng(1).random((3000, 8, 1)),
                np.random.default_rng(2).random((3000, 2)),
                bin_width=0.010,
                kind="rate",
            ),
        ],
        "different kinds of response",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_recordings_that_cannot_be_fitted_together_are_refused_before_the_first_fit(name, tmp_path):
    make, said = REFUSED[name]
    with pytest.raises(nm.InputError, match=said):
        nm.fit(make(), "retina-cnn", history=0.1, out=tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [None, np.zeros(3), {"a": None}])
def test_what_is_no_recording_is_refused(given):
    with pytest.raises(nm.InputError, match="no recording"):
        nm.compare(given, ["ln"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"seeds": "two"}, "seeds = 'two'"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 0.5}, "seed = 0.5"),
        ({"seed": 2**63}, "too large"),
    ],
)
def test_a_seed_that_cannot_be_is_refused(call, said, tmp_path):
    with pytest.raises(nm.OptionError, match=said):
        nm.compare(other(), ["ln"], options=OPTIONS, out=tmp_path / "out.h5", **call)
    assert not list(tmp_path.iterdir())


def test_a_bin_width_that_fits_not_all_and_a_window_longer_than_one_of_them_are_refused(tmp_path):
    with pytest.raises(nm.InputError, match="no whole multiple"):
        nm.compare([other(), other(bin_width=1 / 60)], ["ln"], bin_width=0.010)
    short = small_recording(n_bins=60, seed=9)
    with pytest.raises(nm.OptionError, match="shortest block lasts 0.6 s"):
        nm.fit([other(), short], "retina-cnn", history=0.8, out=tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == []


def test_models_without_a_core_are_fitted_to_screens_of_any_size_and_have_nothing_to_share():
    with pytest.raises(nm.OptionError, match="ln has no core that recordings could share"):
        nm.fit(recordings(), "ln")
    found = nm.compare([other(), other((9, 1))], ["ln"], options=OPTIONS)
    assert found.names == ("recording 1", "recording 2")


@pytest.mark.parametrize("place", ["summary", "members", "members/{}", "members/{}/scores"])
def test_a_set_that_lost_a_part_is_refused_when_it_is_loaded(place, tmp_path):
    found = small_set()
    path = found.to_hdf5(tmp_path / "set.h5")
    with h5py.File(path, "r+") as file:
        del file[place.format(found.names[-1])]
    with pytest.raises(nm.InputError, match="lacks /(summary|members)/"):
        nm.load(path)


# -- interruption ----------------------------------------------------------------------------------


def test_a_run_interrupted_again_and_again_goes_on_to_the_same_result(tmp_path):
    """After an epoch of the shared core, and after its last."""

    class Stopping(Progress):
        def __init__(self, stop):
            self.stop = stop

        def update(self, done, note=""):
            # A resumed training first tells where it starts.
            if "epoch" in self.stop and done == 1 and "epoch" in note:
                raise KeyboardInterrupt

        def finish(self, note=""):
            if self.stop == "a fit" and "finished before" not in note:
                raise KeyboardInterrupt

    given, models, out = recordings()[:2], [SHARED], tmp_path / "set.h5"
    call = {"models": models, "options": OPTIONS, "out": out}
    with pytest.raises(KeyboardInterrupt):
        nm.compare(given, **call, progress=Stopping("an epoch"))
    with pytest.raises(KeyboardInterrupt):
        nm.compare(given, **call, progress=Stopping("a fit"), resume=True)
    assert not out.exists()
    nm.compare(given, **call, resume=True, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["set.h5"]
    whole = nm.compare(given, models, options=OPTIONS)
    assert_same_tree(whole.tree, nm.load(out).tree)


def test_a_run_over_the_same_recordings_in_another_order_is_not_resumed(tmp_path):
    """Fits are kept by place: one recording's would become the other's."""

    class Stopping(Progress):
        def finish(self, note=""):
            raise KeyboardInterrupt

    given, call = recordings()[:2], {"options": OPTIONS, "out": tmp_path / "set.h5"}
    # Of files, which keep their names wherever they stand.
    paths = [one.to_hdf5(tmp_path / f"{name}.h5") for one, name in zip(given, "ab", strict=True)]
    with pytest.raises(KeyboardInterrupt):
        nm.compare(paths, ["ln"], **call, progress=Stopping())
    with pytest.raises(nm.InputError, match="other data"):
        nm.compare(paths[::-1], ["ln"], **call, resume=True)
    assert nm.compare(paths, ["ln"], **call, resume=True).names == ("a", "b")


# -- what it is for --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_core_shared_by_three_recordings_of_three_minutes_predicts_better_than_three_alone():
    """Cells of the same types in three animals, 6 each; 5 seeds, all defaults but the window."""
    found = []
    for seed in range(5):
        both = nm.compare(
            retinas(3, minutes=3.0, seed=seed),
            ["retina-cnn", SHARED],
            options={"retina-cnn": {"history": 0.3}},
            seed=seed,
        )
        pair = both.summary["difference"].sel(pair=f"{SHARED} − retina-cnn")
        found.append(float(pair.sel(metric="bits_per_spike").mean()))
    found = np.array(found)
    # Measured: +0.056 ± 0.010 bits per spike, of 2.2.
    assert found.mean() > 3 * found.std(ddof=1) / np.sqrt(len(found))
    assert found.mean() > 0.02


@pytest.mark.slow
def test_the_shared_core_predicts_better_than_three_alone_on_the_simulated_retina_too():
    """Subunits, inhibition, history, couplings, gain and drift; scored on 40 repeats of 20 s."""
    found = []
    for seed in range(5):
        three = [
            nm.simulate_retina(
                minutes=3.0,
                repeats=40,
                test_seconds=20.0,
                n_cells=6,
                seed=100 * seed + animal,
                bin_width=0.010,
                stimulus_parameters={"size": (12, 12)},
                # The true rate is not asked for here.
                train_runs=1,
                test_runs=40,
            )
            for animal in range(3)
        ]
        both = nm.compare(
            three, ["retina-cnn", SHARED], options={"retina-cnn": {"history": 0.3}}, seed=seed
        )
        pair = both.summary["difference"].sel(pair=f"{SHARED} − retina-cnn")
        found.append(float(pair.sel(metric="bits_per_spike_test").mean()))
    # Measured: +0.0073 ± 0.0022 bits per spike, of 0.63; 4 of 5.
    assert scipy.stats.ttest_1samp(found, 0, alternative="greater").pvalue < 0.05
    assert np.sum(np.array(found) > 0) >= 4
