"""One labelled HDF5 file: what any program reads in it, and what neuromodels makes of it again."""

import json

import h5py
import numpy as np
import pytest
import xarray as xr
from small_fits import CONVEX, LABELS, LEAD_INS, small_comparison
from small_recording import BIN_WIDTH, small_recording

import neuromodels as nm
from neuromodels.datasets.storage import verify

#: The stimulus window of glm-coupled (10 bins) and, for its free runs, its couplings (15).
LONGEST = 25
ROLES = ("heldout", "test")
WITH_HISTORY = ("glm", "glm-coupled")


@pytest.fixture(scope="module")
def comparison():
    return small_comparison()


@pytest.fixture(scope="module")
def path(comparison, tmp_path_factory):
    return comparison.to_hdf5(tmp_path_factory.mktemp("results") / "comparison.h5")


@pytest.fixture(scope="module")
def loaded(path):
    return nm.load(path)


@pytest.fixture(scope="module")
def recording():
    return small_recording()


@pytest.fixture(scope="module")
def movie(recording):
    return recording.test["stimulus"].values


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found = {}
    file.visititems(
        lambda name, item: found.__setitem__(name, item) if isinstance(item, h5py.Dataset) else None
    )
    return found


# -- the file as other programs see it -------------------------------------------------------------


def test_every_axis_has_a_scale_with_labels_and_units_in_plain_h5py(path):
    with h5py.File(path) as file:
        for name, dataset in datasets(file).items():
            for axis, size in enumerate(dataset.shape):
                if dataset.is_scale:
                    scale = dataset
                else:
                    assert len(dataset.dims[axis]) == 1, f"{name}, axis {axis}"
                    scale = dataset.dims[axis][0]
                assert scale.shape == (size,), f"{name}, axis {axis}"
                label = scale.name.rpartition("/")[2]
                if h5py.check_string_dtype(scale.dtype):
                    assert all(scale.asstr()[...]), f"{name}: an empty label along {label}"
                else:
                    assert scale.attrs["units"], f"{name}: {label} has no units"


def test_axes_of_time_are_in_seconds_and_pixels_lie_where_the_recording_says(path, recording):
    with h5py.File(path) as file:
        scales = {n: d for n, d in datasets(file).items() if d.is_scale}
        ends = ("/time", "_lag", "/candidate_history")
        timed = [scale for name, scale in scales.items() if name.endswith(ends)]
        assert len(timed) >= 20
        assert {scale.attrs["units"] for scale in timed} == {"s"}
        # history = 0.1 s at 10 ms: the last 10 bins, strictly past
        lags = file["fits/ln/0/0/parameters/stimulus_lag"][...]
        np.testing.assert_allclose(lags, np.arange(1, 11) * BIN_WIDTH, rtol=1e-12)
        y = file["fits/ln/0/0/parameters/y"]
        expected = recording.train["y"]
        np.testing.assert_array_equal(y[...], expected.values)
        assert y.attrs["units"] == expected.attrs["units"]


def test_opened_by_xarray_the_file_equals_the_tree_in_memory(comparison, path):
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        assert {node.path for node in opened.subtree} == {n.path for n in comparison.tree.subtree}
        for node in comparison.tree.subtree:
            found = opened[node.path].to_dataset(inherit=False)
            xr.testing.assert_equal(found, node.to_dataset(inherit=False))
            for name, variable in node.to_dataset(inherit=False).variables.items():
                assert found[name].attrs.get("units") == variable.attrs.get("units")


def test_loaded_the_file_equals_the_tree_with_its_attributes(comparison, loaded):
    for node in comparison.tree.subtree:
        found = loaded.tree[node.path]
        xr.testing.assert_equal(found.to_dataset(), node.to_dataset())
        # tuples come back as lists, as JSON has it
        assert found.attrs == json.loads(json.dumps(node.attrs)), node.path


def test_the_file_holds_numbers_and_text_and_no_pickled_objects(path):
    def plain(value):
        return isinstance(value, (str, np.integer, np.floating)) or value.dtype.kind in "iuf"

    # what HDF5 and netCDF write for themselves
    internal = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_NCProperties"}
    with h5py.File(path) as file:
        for name, dataset in datasets(file).items():
            text = h5py.check_string_dtype(dataset.dtype)
            assert dataset.dtype.kind in "iuf" or text, f"{name} is {dataset.dtype}"
        nodes = [file]
        file.visititems(lambda _, item: nodes.append(item))
        for node in nodes:
            for key, value in node.attrs.items():
                assert key in internal or plain(value), f"{node.name}: {key}"


def test_every_variable_carries_a_checksum_and_a_changed_number_is_named(path, tmp_path):
    with h5py.File(path) as file:
        n_variables = len(datasets(file))
    assert verify(path) == n_variables
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(path.read_bytes())
    with h5py.File(damaged, "r+") as file:
        file["fits/ln/0/0/parameters/bias"][0] += 1e-9
    with pytest.raises(nm.InputError, match="/fits/ln/0/0/parameters/bias: is damaged"):
        verify(damaged)


# -- models from the file alone --------------------------------------------------------------------


@pytest.mark.parametrize(("label", "lead_in"), list(zip(LABELS, LEAD_INS, strict=True)))
def test_a_reloaded_model_repeats_the_stored_predictions_bit_for_bit(
    loaded, recording, label, lead_in
):
    fit = loaded.fit(label)
    predicted = fit.predict(recording)
    for role in ROLES:
        stored = fit.predictions[f"stimulus/{role}"].to_dataset()
        again = predicted[f"stimulus/{role}"].to_dataset()
        assert stored["rate"].dtype == np.float32
        xr.testing.assert_identical(again, stored)
        names = {"rate"}
        if label in WITH_HISTORY:
            names = {"rate", "rate_free", "rate_conditional", "capped_share"}
        assert set(stored.data_vars) == names
        conditional = stored.get("rate_conditional", stored["rate"]).transpose(..., "neuron")
        within = np.isnan(conditional.isel(neuron=0).values)
        n_bins = 400
        expected = np.arange(stored.sizes["time"]) % n_bins < lead_in
        np.testing.assert_array_equal(within, np.broadcast_to(expected, within.shape))


@pytest.mark.parametrize("label", ["ln", "ln (2)", "retina-cnn"])
def test_a_movie_alone_is_predicted_as_the_same_movie_in_a_recording(loaded, movie, label):
    predicted = nm.predict(loaded, movie, model=label)["movie/all"]
    stored = loaded.fit(label).predictions["stimulus/test"]
    np.testing.assert_array_equal(predicted["rate"].values, stored["rate"].values)
    np.testing.assert_allclose(predicted["time"], np.arange(len(movie)) * BIN_WIDTH)
    # A checkerboard is naturally true and false: the same frames, another type.
    logical = nm.predict(loaded, movie.astype(bool), model=label)["movie/all"]
    np.testing.assert_array_equal(logical["rate"].values, stored["rate"].values)


def test_a_glm_predicts_a_movie_alone_by_running_freely(loaded, movie):
    fit = loaded.fit("glm-coupled")
    predicted = fit.predict(movie)["movie/all"].to_dataset()
    assert set(predicted.data_vars) == {"rate"}
    # Running freely it starts with zero history, so only the stimulus window is missing: 10 bins.
    assert np.isnan(predicted["rate"].values[:10]).all()
    assert np.isfinite(predicted["rate"].values[10:]).all()
    # Another seed of the simulations, the same mean: 200 runs of about 0.2 spikes per bin leave
    # an error of the history's part of the rate far below 0.05.
    stored = fit.predictions["stimulus/test"]["rate"].values[10:]
    np.testing.assert_allclose(predicted["rate"].values[10:].mean(0), stored.mean(0), atol=0.05)


@pytest.mark.parametrize(
    ("movie", "what"),
    [
        (np.zeros((50, 7, 1)), r"frames of \(channel, y, x\) = \(1, 7, 1\)"),
        (np.zeros((10, 8, 1)), "no block longer than the model's window of 10 bins"),
        (np.full((50, 8, 1), np.nan), "not finite"),
        (np.zeros(50), r"has shape \(50,\)"),
        (np.full((50, 8, 1), "a"), "type <U1"),
    ],
)
def test_a_movie_that_does_not_fit_the_model_is_refused(comparison, movie, what):
    with pytest.raises(nm.InputError, match=what):
        nm.predict(comparison, movie, model="ln")


def test_which_model_predicts_must_be_said_when_there_are_several(comparison):
    movie = np.zeros((50, 8, 1))
    with pytest.raises(nm.OptionError, match="several models") as error:
        nm.predict(comparison, movie)
    assert all(label in str(error.value) for label in LABELS)
    with pytest.raises(nm.InputError, match="no fit of 'lnn' with seed 0"):
        nm.predict(comparison, movie, model="lnn")
    with pytest.raises(nm.InputError, match="no fit of 'ln' with seed 7"):
        nm.predict(comparison, movie, model="ln", seed=7)
    with pytest.raises(nm.OptionError, match="holds ln with seed 0 alone"):
        nm.predict(comparison.fit("ln"), movie, model="glm")


@pytest.mark.parametrize("label", LABELS)
def test_one_fit_of_a_comparison_is_a_file_of_its_own(loaded, movie, label, tmp_path):
    fit = loaded.fit(label)
    again = nm.load(fit.to_hdf5(tmp_path / "fit.h5"))
    assert isinstance(again, nm.Fit)
    assert again.tree.groups == fit.tree.groups
    for node in fit.tree.subtree:
        xr.testing.assert_equal(again.tree[node.path].to_dataset(), node.to_dataset())
    assert repr(again) == repr(fit)
    np.testing.assert_array_equal(
        again.predict(movie)["movie/all"]["rate"], fit.predict(movie)["movie/all"]["rate"]
    )


def test_a_fit_keeps_its_scores_in_its_file(comparison, recording, tmp_path):
    fit = nm.fit(recording, "ln", out=tmp_path / "ln.h5", **CONVEX)
    again = nm.load(tmp_path / "ln.h5")
    xr.testing.assert_equal(again.scores, fit.scores)
    assert set(again.tree.children) >= {"parameters", "history", "diagnostics", "predictions"}
    assert not (tmp_path / "ln.h5.partial").exists()
    # Fitted alone or among others, the model is the same.
    among = comparison.fit("ln")
    xr.testing.assert_equal(fit.parameters, among.parameters)


def test_what_is_no_result_is_not_loaded(tmp_path):
    recording = small_recording(n_blocks=2).to_hdf5(tmp_path / "recording.h5")
    with pytest.raises(nm.InputError, match="holds no fit, no comparison") as error:
        nm.load(recording)
    assert str(recording) in str(error.value)
    with pytest.raises(nm.InputError, match="does not exist"):
        nm.load(tmp_path / "nothing.h5")


# -- scores, from the file alone -------------------------------------------------------------------


def from_file(path, label, role, rate="rate"):
    """Counts (trial, bin, neuron), rates, and mean training counts, on the scored bins."""
    with h5py.File(path) as file:
        observed = file[f"observed/stimulus/{role}"]
        scored = observed["scored"][...] == 1
        counts = observed["response"][...].astype(float)
        counts = counts if counts.ndim == 3 else counts[None]
        rates = file[f"fits/{label}/0/0/predictions/stimulus/{role}/{rate}"][...].astype(float)
        reference = file["scores/training_rate"][...] * file["scores"].attrs["bin_width_s"]
        return counts[:, scored], rates[..., scored, :], reference


def score_in_file(path, label, metric):
    with h5py.File(path) as file:
        scores = file["scores"]
        model = list(scores["model"].asstr()[...]).index(label)
        at = list(scores["metric"].asstr()[...]).index(metric)
        mean = list(scores["reduction"].asstr()[...]).index("mean")
        value = list(scores["part"].asstr()[...]).index("value")
        population = scores["population"][model, 0, 0, at, mean, value]
        return scores["score"][model, 0, 0, at], population


def bits(counts, rates, reference):
    """Poisson log-likelihood gained over the mean training rate, bits per spike."""
    rates = np.broadcast_to(rates, counts.shape)
    gained = counts * np.log(rates / reference) - (rates - reference)
    return gained.sum((0, 1)) / counts.sum((0, 1)) / np.log(2)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(("role", "metric"), [("heldout", ""), ("test", "_test")])
def test_bits_per_spike_follow_from_the_file_alone(path, label, role, metric):
    expected = bits(*from_file(path, label, role))
    stored, population = score_in_file(path, label, f"bits_per_spike{metric}")
    np.testing.assert_allclose(stored, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(population, expected.mean(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("label", WITH_HISTORY)
@pytest.mark.parametrize(("role", "metric"), [("heldout", ""), ("test", "_test")])
def test_conditional_bits_per_spike_follow_from_the_file_alone(path, label, role, metric):
    expected = bits(*from_file(path, label, role, "rate_conditional"))
    stored, _ = score_in_file(path, label, f"bits_per_spike{metric}_conditional")
    np.testing.assert_allclose(stored, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("label", LABELS)
def test_pearson_r_follows_from_the_file_alone(path, label):
    counts, rates, _ = from_file(path, label, "test")
    psth = counts.mean(0)
    expected = [np.corrcoef(rates[:, n], psth[:, n])[0, 1] for n in range(psth.shape[1])]
    stored, population = score_in_file(path, label, "pearson_r")
    np.testing.assert_allclose(stored, expected, rtol=1e-9)
    np.testing.assert_allclose(population, np.mean(expected), rtol=1e-9)


def test_all_models_are_scored_on_the_bins_that_the_longest_window_leaves(comparison, path):
    assert [comparison.fit(m).attrs["lead_in_bins"] for m in LABELS] == list(LEAD_INS)
    assert comparison.details.attrs["scored_from_bin"] == LONGEST
    with h5py.File(path) as file:
        for role in ROLES:
            observed = file[f"observed/stimulus/{role}"]
            block = observed["block"][...]
            since = np.concatenate([np.arange(n) for n in np.unique(block, return_counts=True)[1]])
            np.testing.assert_array_equal(observed["scored"][...], since >= LONGEST)
            for label in LABELS:
                rate = file[f"fits/{label}/0/0/predictions/stimulus/{role}/rate"][...]
                assert np.isfinite(rate[observed["scored"][...] == 1]).all()


def test_a_glm_has_a_conditional_and_a_free_running_score(comparison):
    for metric in ("bits_per_spike", "deviance_explained", "bits_per_spike_test"):
        for label in LABELS:
            free = comparison.scores.sel(model=label, metric=metric)
            given = comparison.scores.sel(model=label, metric=f"{metric}_conditional")
            assert np.isfinite(free).all()
            assert np.isfinite(given).all() == (label in WITH_HISTORY)
    reasons = comparison.details["reason"].sel(metric="bits_per_spike_conditional")
    assert str(reasons.sel(model="ln").values) == "the model does not see spikes"
    assert str(reasons.sel(model="glm").values) == ""
    # Given the past, there is no mean over trials to correlate with: bits and deviance only.
    given = comparison.details["metric"].values[comparison.details["conditional"].values == 1]
    assert {str(name).split("_")[0] for name in given} == {"bits", "deviance"}


def test_models_of_unequal_inputs_are_never_subtracted(comparison):
    table = comparison.differences
    for pair in table["pair"].values:
        row = table.sel(pair=pair)
        first, second = str(row["first"].values), str(row["second"].values)
        for metric in table["metric"].values:
            value = row["difference"].sel(metric=metric).values
            if int(table["conditional"].sel(metric=metric)):
                # ln, glm and glm-coupled see three different things, given the past.
                assert np.isnan(value).all(), (pair, metric)
            else:
                each = comparison.scores.sel(metric=metric)
                expected = each.sel(model=first).values - each.sel(model=second).values
                np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


def test_conditional_scores_of_equal_inputs_are_subtracted(recording):
    window = {"history": 0.1, "temporal_basis": 6}
    short = nm.models.glm(**window, own_history=0.03, own_basis=2)
    long = nm.models.glm(**window, own_history=0.05, own_basis=3)
    fixed = {"ridge": [1e-3], "smoothness": [0.0]}
    comparison = nm.compare(recording, [short, long], options={"glm": fixed})
    metric = "bits_per_spike_conditional"
    found = comparison.differences["difference"].sel(pair="glm (2) − glm", metric=metric)
    each = comparison.scores.sel(metric=metric)
    expected = each.sel(model="glm (2)").values - each.sel(model="glm").values
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
