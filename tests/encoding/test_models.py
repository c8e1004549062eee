"""The registry: names, presets, and errors that say what was meant."""

import pytest

from neuromodels import models
from neuromodels.encoding.base import EncodingModel, Input
from neuromodels.encoding.presets import presets
from neuromodels.options import OptionError

DATA = Input((1, 4, 1), ("a",), 0.01)


@pytest.mark.parametrize("name", models.REGISTRY)
def test_every_name_is_read_and_built(name):
    spec = models.parse(name)
    assert (spec.name, spec.preset) == (name, None)
    model = spec.build(DATA, history=0.05)
    assert isinstance(model, EncodingModel)
    assert models.build_from_config(model.config).config == model.config


@pytest.mark.parametrize("preset", presets())
def test_every_preset_is_read_and_brings_its_training(preset):
    spec = models.parse(f"retina-cnn:{preset}")
    assert spec.name == f"retina-cnn:{preset}"
    assert spec.resolve().channels == tuple(presets()[preset]["model"]["channels"])
    assert spec.training()["epochs"] > 0


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("retina-cmn", "retina-cnn"),
        ("gml", "glm"),
        ("LN", "ln"),
        ("glm-couple", "glm-coupled"),
        ("retina-cnn:mcintosh", "mcintosh2016"),
        ("retina-cnn:macniru_bn", "mcniru_bn"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name, nearest):
    with pytest.raises(OptionError, match=f"Did you mean '{nearest}"):
        models.parse(name)


def test_a_name_like_no_other_gets_the_list():
    with pytest.raises(OptionError, match="Known: glm, glm-coupled, ln, retina-cnn"):
        models.parse("xyz")


def test_a_preset_of_a_model_without_presets_is_refused():
    with pytest.raises(OptionError, match="ln has no presets"):
        models.parse("ln:mcintosh2016")


@pytest.mark.parametrize(
    ("make", "option", "nearest"),
    [
        (models.ln, "temporal_bases", "temporal_basis"),
        (models.glm, "own_histroy", "own_history"),
        (models.glm_coupled, "coupling_basises", "coupling_basis"),
        (models.retina_cnn, "chanels", "channels"),
    ],
)
def test_an_unknown_option_suggests_the_nearest(make, option, nearest):
    with pytest.raises(OptionError, match=f"(?s)unknown option '{option}'.*'{nearest}'"):
        make(**{option: 1})


def test_python_and_command_line_name_the_same_models():
    assert models.ln() == models.parse("ln")
    assert models.glm() == models.parse("glm")
    assert models.glm_coupled() == models.parse("glm-coupled")
    assert models.retina_cnn() == models.parse("retina-cnn")
    assert models.retina_cnn("primate") == models.parse("retina-cnn:primate")


def test_options_given_win_over_those_of_a_preset():
    options = models.retina_cnn("mcintosh2016", l2=0.5).resolve()
    assert options.l2 == 0.5
    assert options.kernels == (15, 7)


def test_a_config_of_a_later_version_is_refused_in_words():
    with pytest.raises(OptionError, match="knows no model of kind 'transformer'"):
        models.build_from_config({"kind": "transformer"})


def test_the_listing_names_every_model_and_preset_in_a_line():
    rows = dict(models.listing())
    with_presets = {*models.REGISTRY, *(f"retina-cnn:{name}" for name in presets())}
    assert set(rows) == with_presets | {"retina-cnn-shared"}
    assert all(line and "\n" not in line for line in rows.values())


def test_only_a_network_with_a_core_can_share_it_and_its_name_says_so():
    spec = models.parse("retina-cnn-shared:mcintosh2016+running")
    assert spec == models.retina_cnn("mcintosh2016", covariates="running", shared=True)
    assert spec.name == "retina-cnn-shared:mcintosh2016+running"
    with pytest.raises(OptionError, match="ln has no core that recordings could share"):
        models.parse("ln-shared")
    with pytest.raises(OptionError, match="no model 'retina-shared'"):
        models.parse("retina-shared")
