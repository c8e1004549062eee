"""Covariates: what running and pupil do to a rate, and how their names are read."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from encoding_cases import BIN_WIDTH, CASES, DATA, fill, inputs

from neuromodels import models
from neuromodels.datasets.blocks import Block
from neuromodels.datasets.errors import InputError
from neuromodels.encoding.spiking import SpikingOptions
from neuromodels.fits import predictions
from neuromodels.fits.covariates import at_the_mean, covariates_of
from neuromodels.models import ModelSpec, build_from_config, parse
from neuromodels.options import OptionError

TOLD = replace(
    DATA,
    covariates=("running", "pupil", "still"),
    covariate_mean=(3.0, 1e5, 2.0),
    covariate_std=(2.0, 0.5, 0.0),
)
NAMES = ("pupil", "running")
#: Exponential outputs, so that an effect on the drive is a factor of the rate.
FORMS = {
    "ln": "ln, rank 2, exp",
    "glm": "glm, exp",
    "glm-coupled": "glm-coupled",
    "retina-cnn": "retina-cnn",
}
every_form = pytest.mark.parametrize("form", FORMS)


def make(form, names=NAMES, seed=0):
    """A small model in float64 whose covariates matter."""
    spec = replace(CASES[FORMS[form]], covariates=names)
    if form == "glm-coupled":
        spec = replace(spec, options=spec.options | {"nonlinearity": "exp"})
    model = spec.build(TOLD, seed)
    if form != "retina-cnn":
        fill(model, seed)
    if names:
        rng = torch.Generator().manual_seed(5)
        with torch.no_grad():
            model.covariate.weight.copy_(0.3 * torch.randn(len(names), 3, generator=rng))
    return model.double().eval()


def run(model, movie, spikes, covariates):
    spikes = spikes if model.uses_spikes else None
    with torch.no_grad():
        return model(movie, spikes, covariates).numpy()


def measured(n_trials, n_bins, seed=2):
    """Pupil and running, (trial, bin, covariate), in their own units."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n_trials, n_bins, 2))
    return z * [0.5, 2.0] + [1e5, 3.0], z


@every_form
def test_rates_are_multiplied_by_the_exponential_of_the_weighted_normalized_covariates(form):
    model = make(form)
    movie, spikes = inputs(2, model.lead_in + 9)
    values, z = measured(2, model.lead_in + 9)
    found = run(model, movie, spikes, torch.from_numpy(values))
    plain = run(model, movie, spikes, None)
    factor = np.exp(z[:, model.lead_in :] @ model.covariate.weight.detach().numpy())
    np.testing.assert_allclose(found, plain * factor, rtol=1e-9)


@every_form
def test_an_output_is_told_the_covariates_of_its_own_bin_alone(form):
    model = make(form)
    n_bins = model.lead_in + 5
    movie, spikes = inputs(1, n_bins)
    values = torch.from_numpy(measured(1, n_bins)[0]).requires_grad_()
    rates = model(movie, spikes if model.uses_spikes else None, values)
    for out in range(5):
        (gradient,) = torch.autograd.grad(rates[0, out].sum(), values, retain_graph=True)
        told = gradient[0].abs().sum(-1) > 0
        assert told.nonzero().flatten().tolist() == [out + model.lead_in]


@every_form
def test_a_missing_covariate_counts_as_its_mean(form):
    model = make(form)
    n_bins = model.lead_in + 5
    movie, spikes = inputs(1, n_bins)
    nothing = torch.full((1, n_bins, 2), torch.nan, dtype=torch.float64)
    mean = torch.tensor([1e5, 3.0], dtype=torch.float64).expand(1, n_bins, 2)
    expected = run(model, movie, spikes, None)
    np.testing.assert_array_equal(run(model, movie, spikes, nothing), expected)
    np.testing.assert_array_equal(run(model, movie, spikes, mean), expected)
    half = measured(1, n_bins)[0]
    half[..., 1] = np.nan
    filled = half.copy()
    filled[..., 1] = 3.0
    np.testing.assert_array_equal(
        run(model, movie, spikes, torch.from_numpy(half)),
        run(model, movie, spikes, torch.from_numpy(filled)),
    )


def test_a_covariate_that_never_changed_in_training_has_no_effect():
    model = make("ln", ("still",))
    movie, _ = inputs(1, 20)
    values = torch.full((1, 20, 1), 50.0)
    np.testing.assert_array_equal(run(model, movie, None, values), run(model, movie, None, None))
    # Of equal numbers: not 0 to the last digit.
    model.covariate.mean, model.covariate.std = (0.1,), (3e-17,)
    np.testing.assert_array_equal(run(model, movie, None, values), run(model, movie, None, None))


@every_form
def test_the_gradient_of_the_weights_is_that_of_finite_differences(form):
    model = make(form)
    movie, spikes = inputs(1, model.lead_in + 6)
    values = torch.from_numpy(measured(1, model.lead_in + 6)[0])

    def total():
        return model(movie, spikes if model.uses_spikes else None, values).sum()

    weight = model.covariate.weight
    (gradient,) = torch.autograd.grad(total(), weight)
    step = 1e-6
    for index in np.ndindex(2, 3):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[index] += sign * step
                ends.append(float(total()))
                weight[index] -= sign * step
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(gradient[index]), rel=1e-6)


@every_form
def test_one_stimulus_serves_trials_with_covariates_of_their_own(form):
    model = make(form)
    movie, spikes = inputs(3, model.lead_in + 6)
    values = torch.from_numpy(measured(3, model.lead_in + 6)[0])
    one = run(model, movie[:1], spikes, values)
    for trial in range(3):
        alone = run(model, movie[:1], spikes[trial : trial + 1], values[trial : trial + 1])
        np.testing.assert_allclose(one[trial], alone[0], rtol=1e-12)


# --- predictions of blocks -----------------------------------------------------------------------


def block_of(n_bins, n_trials=4, *, per_trial=True, ends_early=0):
    """A repeated block with pupil and running per trial, running first."""
    movie, _ = inputs(1, n_bins)
    _, counts = inputs(n_trials, n_bins, seed=1)
    response = counts.numpy().astype(np.float32 if ends_early else np.int32)
    if ends_early:
        response[-1, -ends_early:] = np.nan
    values = measured(n_trials, n_bins)[0][..., ::-1]
    return Block(
        label=0,
        time=BIN_WIDTH * np.arange(n_bins),
        response=response,
        frame_of_bin=np.arange(n_bins),
        frames=movie[0].numpy(),
        trials=np.arange(n_trials),
        covariates=values if per_trial else values[0],
        covariate_names=("running", "pupil"),
    )


@every_form
@pytest.mark.parametrize("per_trial", [True, False])
def test_predictions_do_not_depend_on_chunks(form, per_trial, monkeypatch):
    model, block = make(form), block_of(200, per_trial=per_trial)
    cap = np.full(3, 1e6)
    whole = predictions.predict_block(model, block, max_rate=cap, n_runs=8)
    monkeypatch.setattr(predictions, "CHUNK", 64)
    parts = predictions.predict_block(model, block, max_rate=cap, n_runs=8)
    np.testing.assert_allclose(parts.rate, whole.rate, rtol=1e-5)
    if model.uses_spikes:
        np.testing.assert_allclose(parts.conditional, whole.conditional, rtol=1e-5)
        spikes = torch.from_numpy(block.response.astype(float))
        movie = torch.from_numpy(block.movie())[None]
        given = covariates_of(model, block)
        expected = model(movie, spikes, given).detach().numpy()
        np.testing.assert_allclose(whole.conditional[:, model.lead_in :], expected, rtol=1e-5)


@pytest.mark.parametrize("form", ["ln", "retina-cnn"])
def test_the_rate_of_repeats_is_the_mean_over_trials_given_the_covariates_of_each(form):
    model, block = make(form), block_of(60, ends_early=10)
    movie = torch.from_numpy(block.movie())[None]
    values = torch.from_numpy(block.covariates[..., ::-1].copy())
    each = model(movie, None, values).detach().numpy()
    found = predictions.predict_block(model, block).rate
    ended, start = 50 - model.lead_in, model.lead_in
    np.testing.assert_allclose(found[start:50], each[:, :ended].mean(0), rtol=1e-6)
    # The last trial was not recorded any more.
    np.testing.assert_allclose(found[50:], each[:-1, ended:].mean(0), rtol=1e-6)


def test_free_runs_are_told_the_covariates_of_every_trial():
    model, block = make("glm"), block_of(40)
    with torch.no_grad():
        # Without history a run has the rate that the stimulus and the covariates give it.
        model.own.zero_()
    found = predictions.predict_block(model, block, max_rate=np.full(3, 1e6), n_runs=3)
    movie = torch.from_numpy(block.movie())[None]
    values = torch.from_numpy(block.covariates[..., ::-1].copy())
    drive = model.stimulus_drive(movie, values).detach().exp().numpy()
    np.testing.assert_allclose(found.rate[model.stimulus_lead_in :], drive.mean(0), rtol=1e-6)
    # With one run per trial, spikes follow the own covariates of each.
    run = model.simulate(movie, 2, max_rate=torch.full((3,), 1e6), covariates=values)
    assert run.rate.shape == (4, 40 - model.stimulus_lead_in, 3)
    np.testing.assert_allclose(run.rate.numpy(), drive, rtol=1e-9)


def test_a_block_without_the_covariate_is_refused_unless_it_is_put_at_the_mean():
    model = make("ln")
    bare = replace(block_of(40), covariates=None, covariate_names=())
    with pytest.raises(InputError, match=r"(?s)no covariate 'pupil'.*it has: none.*its mean"):
        predictions.predict_block(model, bare)
    some = replace(block_of(40), covariate_names=("running", "eye"))
    with pytest.raises(InputError, match="it has: running, eye"):
        predictions.predict_block(model, some)
    found = predictions.predict_block(model, at_the_mean(bare, NAMES)).rate
    expected = run(model, torch.from_numpy(bare.movie())[None], None, None)[0]
    np.testing.assert_allclose(found[model.lead_in :], expected, rtol=1e-6)


# --- description ---------------------------------------------------------------------------------


@every_form
def test_config_and_parameters_rebuild_the_same_model_with_labelled_weights(form):
    model = make(form)
    stored = model.parameters_dataset()
    assert stored["covariate_weight"].dims == ("covariate", "neuron")
    assert stored["covariate"].values.tolist() == list(NAMES)
    again = build_from_config(json.loads(json.dumps(model.config))).double().eval()
    again.load_parameters(stored)
    assert again.config == model.config
    movie, spikes = inputs(1, model.lead_in + 5)
    values = torch.from_numpy(measured(1, model.lead_in + 5)[0])
    assert np.array_equal(run(again, movie, spikes, values), run(model, movie, spikes, values))


@every_form
def test_a_file_written_before_there_were_covariates_still_loads(form):
    model = make(form, ())
    config = json.loads(json.dumps(model.config))
    for name in ("covariates", "covariate_mean", "covariate_std", "response"):
        del config["input"][name]
    again = build_from_config(config).double().eval()
    again.load_parameters(model.parameters_dataset())
    assert again.config == model.config
    assert "covariate_weight" not in model.parameters_dataset()


def test_inputs_name_what_a_rate_depends_on():
    assert make("ln").inputs == "stimulus + pupil + running"
    assert make("glm").inputs == "stimulus + pupil + running + own past"
    assert make("retina-cnn", ()).inputs == "stimulus"


# --- names ---------------------------------------------------------------------------------------


def test_names_say_which_covariates_a_model_is_told():
    spec = parse("retina-cnn:mcintosh2016+running+pupil")
    assert spec == models.retina_cnn("mcintosh2016", covariates=("running", "pupil"))
    assert spec.name == "retina-cnn:mcintosh2016+running+pupil"
    assert spec.plain_name == "retina-cnn:mcintosh2016"
    assert parse("ln+running") == models.ln(covariates="running") != models.ln()
    assert parse("glm-coupled+pupil") == models.glm_coupled(covariates=["pupil"])
    assert parse("glm+pupil") == models.glm(covariates=["pupil"])


def test_a_model_keeps_its_own_covariates_of_those_recorded_in_its_own_order():
    model = parse("ln+still+running").build(TOLD, history=0.05)
    assert model.input.covariates == ("still", "running")
    assert model.input.covariate_mean == (2.0, 3.0)
    assert model.input.covariate_std == (0.0, 2.0)
    assert parse("ln+all").build(TOLD, history=0.05).input == TOLD
    assert parse("ln").build(TOLD, history=0.05).input == DATA


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ln+", "has no name"),
        ("ln+running+running", "given twice"),
        ("ln+all+running", "every covariate"),
        ("retina-cmn+running", "Did you mean 'retina-cnn'"),
        ("spiking+running", "takes no covariates: currents"),
        ("spiking-coupled+all", "takes no covariates"),
    ],
)
def test_names_that_cannot_be_are_refused_in_words(name, words):
    with pytest.raises(OptionError, match=words):
        parse(name)


def test_python_refuses_the_same():
    with pytest.raises(OptionError, match="takes no covariates"):
        models.spiking(covariates=("running",))
    with pytest.raises(OptionError, match="are no names"):
        models.ln(covariates=5)
    assert "covariates" not in SpikingOptions.__dataclass_fields__


def test_a_covariate_that_the_recording_lacks_names_those_it_has():
    with pytest.raises(OptionError, match="(?s)no covariate 'runing'.*has: running, pupil, still"):
        parse("ln+runing").build(TOLD, history=0.05)
    for name in ("ln+running", "ln+all"):
        with pytest.raises(OptionError, match="(?s)has no covariates.*use the model without"):
            parse(name).build(DATA, history=0.05)


@every_form
def test_covariates_of_the_wrong_shape_are_refused_in_words(form):
    model = make(form)
    n_bins = model.lead_in + 5
    movie, spikes = inputs(2, n_bins)
    values = torch.from_numpy(measured(2, n_bins)[0])
    for wrong in (values[0], values[..., :1]):
        with pytest.raises(ValueError, match=r"\(batch, time, covariate\) with pupil, running"):
            run(model, movie, spikes, wrong)
    with pytest.raises(ValueError, match="bins but covariates have"):
        run(model, movie, spikes, values[:, 1:])
    with pytest.raises(ValueError, match="batch of 2 but covariates have one of 3"):
        run(model, movie, spikes, values[[0, 1, 0]])
    with pytest.raises(ValueError, match="made without any"):
        run(make(form, ()), movie, spikes, values)


def test_two_specs_that_differ_in_covariates_alone_differ():
    assert ModelSpec("ln") != ModelSpec("ln", covariates=("running",))
