"""One recording with several stimuli: what is learned from, and what is scored."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from two_stimuli import two_stimuli

import neuromodels as nm
from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.datasets.joining import join_stimuli
from neuromodels.fits.table_text import comparison_summary, comparison_text
from neuromodels.fits.task import prepare

OPTIONS = {"history": 0.1, "temporal_basis": 6, "ridge": [1e-3], "smoothness": [0.0]}


@cache
def recording():
    return two_stimuli()[0]


@cache
def crossed():
    """Learned from each stimulus, and from both together."""
    return nm.compare(
        recording(), ["ln"], learn_from=["fast", "slow", "fast+slow"], options={"ln": OPTIONS}
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return crossed().to_hdf5(tmp_path_factory.mktemp("crossed") / "crossed.h5")


def test_one_call_scores_every_model_on_every_stimulus():
    comparison = crossed()
    assert comparison.models == ("ln@fast", "ln@slow", "ln@fast+slow")
    assert comparison.stimuli == ("fast", "slow")
    for name in comparison.stimuli:
        scores = comparison.on(name).scores.sel(metric=["bits_per_spike", "pearson_r"])
        assert np.isfinite(scores).all()


def test_the_scores_on_each_stimulus_are_those_of_a_fit_of_that_pair_alone():
    alone = nm.compare(
        recording(), ["ln"], learn_from="slow", score_on="fast", options={"ln": OPTIONS}
    )
    assert alone.stimuli == ("fast",)
    assert comparison_text(alone).startswith("learned from slow, scored on fast\n")
    one = alone.scores.sel(model="ln").values
    np.testing.assert_allclose(
        crossed().on("fast").scores.sel(model="ln@slow").values, one, rtol=1e-9, equal_nan=True
    )


def test_bits_on_a_stimulus_are_relative_to_the_mean_rate_in_its_own_training_blocks():
    task = prepare(recording(), learn_from="fast")
    fit, view = crossed().fit("ln@fast"), recording().at(0.01)
    for name in ("fast", "slow"):
        node = fit.predictions[f"{name}/heldout"].to_dataset()
        rate = node["rate"].values.astype(float)
        blocks = task.scored[name]["heldout"]
        counts = np.concatenate([block.response for block in blocks])
        times = {float(t) for block in blocks for t in block.time}
        train = prepare(recording(), learn_from=name).partition.train
        assert not times & {float(t) for block in train for t in block.time}
        null = np.concatenate([block.response for block in train]).mean(0)
        lead = fit.attrs["lead_in_bins"]
        use = np.concatenate([np.arange(block.n_bins) >= lead for block in blocks])
        y, r = counts[use], rate[use]
        gain = (y * np.log(r / null) - (r - null)).sum(0) / (y.sum(0) * np.log(2))
        stored = crossed().on(name).scores.sel(model="ln@fast", metric="bits_per_spike")
        np.testing.assert_allclose(stored.values, gain, rtol=1e-6)
    assert view.stimuli == ("fast", "slow")


def test_gain_and_offset_are_refitted_where_a_model_has_not_learned_and_only_there():
    comparison = crossed()
    for name, other in (("fast", "slow"), ("slow", "fast")):
        details = comparison.on(name).details.sel(metric="bits_per_spike_adjusted")
        score = details["score"].mean(("seed", "fold"))
        assert np.isfinite(score.sel(model=f"ln@{other}")).all()
        for own in (f"ln@{name}", "ln@fast+slow"):
            assert np.isnan(score.sel(model=own)).all()
            assert "has learned from this" in str(details["reason"].sel(model=own).values)
        node = comparison.fit(f"ln@{other}").predictions[f"{name}/heldout"].to_dataset()
        task = prepare(recording(), learn_from=other)
        counts = np.concatenate([b.response for b in task.scored[name]["heldout"]])
        rate = (node["rate"] * node["adjusted_gain"] + node["adjusted_offset"]).values
        null, use = task.reference[name], np.isfinite(rate).all(axis=1)
        y, r = counts[use], rate[use].astype(float)
        gain = (y * np.log(r / null) - (r - null)).sum(0) / (y.sum(0) * np.log(2))
        np.testing.assert_allclose(score.sel(model=f"ln@{other}").values, gain, rtol=1e-6)
        chosen = {float(t) for block in task.adjusting[name] for t in block.time}
        assert not chosen & {float(t) for b in task.scored[name]["heldout"] for t in b.time}


def test_learning_from_both_uses_the_training_blocks_of_both():
    both = prepare(recording(), learn_from="fast+slow")
    parts = [prepare(recording(), learn_from=name) for name in ("fast", "slow")]
    for role in ("train", "validation"):
        joined = [id(b.response.base) for b in getattr(both.partition, role)]
        each = [id(b.response.base) for p in parts for b in getattr(p.partition, role)]
        assert joined == each
    n = sum(p.partition.train[0].n_bins * len(p.partition.train) for p in parts)
    assert sum(b.n_bins for b in both.partition.train) == n


def test_learning_from_both_is_as_good_on_each_as_learning_from_it_alone():
    # The neurons are LN and respond to both alike, so that more data can only help.
    for name in ("fast", "slow"):
        scores = crossed().on(name).scores.sel(metric="cc_norm").mean("neuron")
        assert (
            float(scores.sel(model="ln@fast+slow")) > float(scores.sel(model=f"ln@{name}")) - 0.02
        )


def test_headings_stand_over_their_columns_however_long_the_names_are():
    lines = comparison_text(crossed()).splitlines()
    assert lines[0] == "scored on fast"
    head = next(line for line in lines if line.startswith("held out"))
    population = crossed().on("fast").details["population"].sel(model="ln@fast+slow")
    pooled = population.sel(metric="bits_per_spike", reduction="mean", part="value")
    value = f"{float(pooled.mean()):.2f}"
    row = next(line for line in lines if line.startswith("  ln@fast+slow  "))
    assert head.index("bits/spike") == row.index(value)


def test_the_matrix_of_the_table_shows_what_is_stored():
    text = comparison_text(crossed())
    head = next(line for line in text.splitlines() if line.startswith("bits/spike, held out"))
    assert head.split()[-2:] == ["fast", "slow"]
    row = text.splitlines()[text.splitlines().index(head) + 2].split()
    assert row[0] == "ln@slow"
    for value, name in zip(row[1:], ("fast", "slow"), strict=True):
        stored = crossed().on(name).scores.sel(model="ln@slow", metric="bits_per_spike")
        assert float(value) == pytest.approx(float(stored.mean()), abs=0.005)


def test_a_file_of_several_stimuli_opens_as_it_was(path):
    loaded = nm.load(path)
    assert loaded.stimuli == ("fast", "slow")
    for name in loaded.stimuli:
        np.testing.assert_array_equal(loaded.on(name).scores, crossed().on(name).scores)
        np.testing.assert_array_equal(
            loaded.on(name).differences["difference"], crossed().on(name).differences["difference"]
        )
    assert comparison_summary(loaded)["on"]["slow"]["models"].keys() == set(loaded.models)


@pytest.mark.slow
def test_figures_of_each_stimulus_are_drawn(path, tmp_path):
    from neuromodels.cli import main

    with pytest.raises(SystemExit) as end:
        main(["show", str(path), "--figures", str(tmp_path / "figures"), "--quiet"])
    assert end.value.code == 0
    for name in ("fast", "slow"):
        assert (tmp_path / "figures" / name / "overview.png").stat().st_size > 10_000


def test_a_single_fit_keeps_its_scores_on_all_stimuli(tmp_path):
    fitted = nm.fit(recording(), "ln", learn_from="fast", out=tmp_path / "fit.h5", **OPTIONS)
    from neuromodels.fits.compare import comparison_of

    for one in (fitted, nm.load(tmp_path / "fit.h5")):
        seen = comparison_of(one)
        assert seen.stimuli == ("fast", "slow")
        assert "learned from fast, scored on slow" in comparison_text(seen)
        scores = seen.on("slow").scores.sel(model="ln")
        expected = crossed().on("slow").scores.sel(model="ln@fast")
        np.testing.assert_allclose(scores, expected, rtol=1e-9, equal_nan=True)


def test_an_interrupted_run_over_several_stimuli_goes_on_to_the_same_result(tmp_path, monkeypatch):
    from neuromodels.fits import runs

    whole, calls = runs.fit_request, []

    def stop_at_the_second(*args, **kwargs):
        calls.append(args[0].label)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args, **kwargs)

    monkeypatch.setattr(runs, "fit_request", stop_at_the_second)
    call = {"learn_from": ["fast", "slow"], "options": {"ln": OPTIONS}, "out": tmp_path / "c.h5"}
    with pytest.raises(KeyboardInterrupt):
        nm.compare(recording(), ["ln"], **call)
    assert not (tmp_path / "c.h5").exists()
    resumed = nm.compare(recording(), ["ln"], **call, resume=True)
    assert calls == ["ln@fast", "ln@slow", "ln@slow"]
    np.testing.assert_allclose(
        resumed.on("slow").scores.sel(model="ln@slow"),
        crossed().on("slow").scores.sel(model="ln@slow"),
        equal_nan=True,
    )


def small(shape=(9, 1), n_neurons=2, width=0.010, n=2000):
    rng = np.random.default_rng(1)
    movie, counts = rng.random((n, *shape)), rng.poisson(1, (n, n_neurons))
    return recording_from_arrays(movie, counts, bin_width=width)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ({}, "several stimuli and none was named"),
        ({"learn_from": "bars"}, "no 'bars'"),
        ({"learn_from": "a+b"}, "different sizes cannot be learned from together"),
        ({"learn_from": ["a", "b"]}, "frames of different sizes"),
        ({"learn_from": "a", "score_on": "b"}, "b has frames of another size"),
    ],
)
def test_what_cannot_be_learned_from_or_scored_is_refused(call, what, tmp_path):
    mixed = join_stimuli({"a": small(), "b": small((7, 1))})
    with pytest.raises(nm.InputError, match=what):
        nm.compare(mixed, ["ln"], out=tmp_path / "out.h5", **call)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("names", [3, [], [None], ""])
def test_what_names_no_stimulus_is_refused(names, tmp_path):
    one = join_stimuli({"a": small(), "b": small()})
    for call in ({"learn_from": names}, {"learn_from": "a", "score_on": names}):
        with pytest.raises((nm.OptionError, nm.InputError), match="names no stimulus|has no ''"):
            nm.compare(one, ["ln"], out=tmp_path / "out.h5", **call)
    assert not list(tmp_path.iterdir())


def test_a_stimulus_of_another_size_is_left_out_and_it_is_said():
    mixed = join_stimuli({"a": small(), "b": small((7, 1))})
    task = prepare(mixed, learn_from="a")
    assert list(task.scored) == ["a"]
    assert any("not scored on b: it has frames of another size" in note for note in task.notes)


def test_stimuli_of_other_neurons_or_bins_are_not_joined():
    with pytest.raises(nm.InputError, match="other neurons"):
        join_stimuli({"a": small(), "b": small(n_neurons=3)})
    with pytest.raises(nm.InputError, match=r"bins of 0.02 s, a of 0.01 s"):
        join_stimuli({"a": small(), "b": small(width=0.020)})


@pytest.mark.parametrize(
    ("frame_rate", "width", "fits"),
    [(60.0, "1/100", False), (60.0, "1/120", True), (60.0, "1/60", True), (100.0, "1/100", True)],
)
def test_bins_that_do_not_fit_the_frames_of_the_display_are_said(frame_rate, width, fits):
    rng, width = np.random.default_rng(0), Fraction(width)
    counts = rng.poisson(0.2, (int(40 / width), 2))
    movie = rng.random((round(40 * frame_rate), 4, 1))
    made = recording_from_arrays(movie, counts, bin_width=width, frame_rate=frame_rate)
    notes = prepare(made, bin_width=float(width)).notes
    assert any("do not fit frames" in note for note in notes) is not fits
