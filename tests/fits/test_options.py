"""Options: sorted into those of the model and of its fit, checked, and mended by a suggestion."""

import pytest

import neuromodels as nm
from neuromodels.fits.options import (
    ConvexOptions,
    make_request,
    make_requests,
    read_config,
)
from neuromodels.fits.training import TrainingOptions


def said(call, *args, **kwargs) -> str:
    with pytest.raises(nm.OptionError) as error:
        call(*args, **kwargs)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("nl", "ln"),
        ("GLM", "glm"),
        ("glm_coupled", "glm-coupled"),
        ("retina_cnn", "retina-cnn"),
        ("retinacnn", "retina-cnn"),
        ("retina-cnn:mcintosh", "mcintosh2016"),
        ("retina-cnn:mcniru", "mcniru_bn"),
    ],
)
def test_an_unknown_model_or_preset_suggests_the_nearest(name, near):
    text = said(make_request, name)
    assert f"'{near}'" in text.split("\n")[1]


def test_a_name_like_none_lists_what_there_is():
    text = said(make_request, "transformer")
    assert all(name in text for name in ("ln", "glm", "glm-coupled", "retina-cnn"))
    text = said(nm.models.retina_cnn, preset="2050")
    assert "mcintosh2016" in text and "primate" in text


def test_only_the_cnn_has_presets():
    assert "ln has no presets" in said(make_request, "ln:mcintosh2016")
    assert "there is no preset ''" in said(make_request, "retina-cnn:")


@pytest.mark.parametrize(
    ("model", "option", "near"),
    [
        ("ln", "histroy", "history"),
        ("ln", "ridg", "ridge"),
        ("glm", "own_histori", "own_history"),
        ("retina-cnn", "epoch", "epochs"),
        ("retina-cnn", "learning-rate", "learning_rate"),
        ("retina-cnn", "chanels", "channels"),
    ],
)
def test_an_unknown_option_suggests_the_nearest_of_model_and_fit(model, option, near):
    text = said(make_request, model, {option: 1})
    assert text == f"{model}: unknown option '{option}'.\n  Did you mean '{near}'?"


def test_an_option_of_another_model_is_unknown():
    assert "unknown option 'own_history'" in said(make_request, "ln", {"own_history": 0.1})
    assert "unknown option 'ridge'" in said(make_request, "retina-cnn", {"ridge": [1e-3]})
    assert "unknown option 'epochs'" in said(make_request, "glm", {"epochs": 3})


@pytest.mark.parametrize(
    ("model", "option", "value", "expected"),
    [
        ("ln", "history", "long", "float or 'auto'"),
        ("ln", "rank", 1.5, "int"),
        ("ln", "rank", True, "int"),
        ("ln", "nonlinearity", "relu", "'auto' or 'softplus' or 'exp' or 'identity'"),
        ("ln", "ridge", "strong", "list of float"),
        ("ln", "ridge", ["a"], "list of float"),
        ("glm", "own_history", None, "float"),
        ("retina-cnn", "norm_output", 1, "bool"),
        ("retina-cnn", "channels", [8, 16.5], "list of int"),
        ("retina-cnn", "optimizer", "sgd", "'adamw' or 'adam' or 'rmsprop'"),
        ("retina-cnn", "epochs", "12", "int"),
    ],
)
def test_a_value_of_the_wrong_kind_says_what_is_expected(model, option, value, expected):
    text = said(make_request, model, {option: value})
    first, second = text.split("\n")
    assert first.startswith(f"{model}: option {option} = ") and "wrong kind" in first
    assert second.strip() == f"Expected {expected}."


@pytest.mark.parametrize(
    ("model", "options", "what"),
    [
        ("ln", {"rank": -1}, "rank"),
        ("ln", {"ridge": []}, "ridge"),
        ("ln", {"ridge": [-1.0]}, "strengths of penalties"),
        ("ln", {"tolerance": 0.0}, "tolerance"),
        ("glm", {"rank": 2}, "low-rank"),
        ("retina-cnn", {"epochs": 0}, "epochs = 0"),
        ("retina-cnn", {"channels": [8]}, "one value per convolution"),
        ("retina-cnn", {"dropout": 1.0}, "dropout"),
        ("retina-cnn", {"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_any_fit(model, options, what):
    assert what in said(make_request, model, options)


def test_options_are_sorted_into_model_and_fit_and_win_over_a_preset():
    request = make_request("retina-cnn:mcintosh2016", {"channels": [4, 4], "epochs": 3})
    assert isinstance(request.options, TrainingOptions)
    assert request.options.epochs == 3
    assert request.options.batch_bins == 5000  # of the preset
    wanted = request.spec.resolve()
    assert wanted.channels == (4, 4)
    assert (wanted.history, wanted.kernels) == (0.4, (15, 7))  # of the preset
    convex = make_request("ln", {"history": 0.4, "ridge": [1e-2]})
    assert isinstance(convex.options, ConvexOptions)
    assert (convex.spec.options, convex.options.ridge) == ({"history": 0.4}, (1e-2,))


def test_a_model_made_in_python_is_the_one_of_the_command_line():
    named = make_request("retina-cnn:mcintosh2016", {"dropout": 0.1})
    made = make_request(nm.models.retina_cnn(preset="mcintosh2016", dropout=0.1))
    assert made.spec == named.spec and made.options == named.options
    coupled = nm.models.glm_coupled(own_history=0.2)
    assert make_request(coupled).spec.resolve().coupling


def test_python_calls_check_their_options_at_once():
    assert "Did you mean 'history'?" in said(nm.models.ln, histor=0.4)
    assert "wrong kind" in said(nm.models.retina_cnn, channels="8,16")


def test_equal_models_get_numbers_and_options_go_by_name():
    requests = make_requests(
        ["ln", nm.models.ln(history=0.2), "retina-cnn"],
        {"ln": {"temporal_basis": 4}, "retina-cnn": {"epochs": 2}},
    )
    assert [r.label for r in requests] == ["ln", "ln (2)", "retina-cnn"]
    assert [r.spec.options.get("temporal_basis") for r in requests] == [4, 4, None]
    assert requests[1].spec.options["history"] == 0.2


def test_what_cannot_be_compared_is_said():
    assert "no model was given" in said(make_requests, [])
    assert "Did you mean 'retina-cnn'?" in said(make_requests, ["ln"], {"retina_cnn": {}})
    assert make_requests(["ln"], {"glm": {"history": 0.2}}) == make_requests(["ln"])
    assert "options for 'ln' are 5" in said(make_requests, ["ln"], {"ln": 5})
    assert "5 is not a model" in said(make_requests, [5])
    assert "None is not a model" in said(make_request, None)


def test_options_come_from_a_toml_file(tmp_path):
    path = tmp_path / "options.toml"
    path.write_text('["retina-cnn"]\nepochs = 3\nchannels = [4, 8]\n[ln]\nhistory = "auto"\n')
    tables = read_config(path)
    requests = make_requests(["ln", "retina-cnn"], tables)
    assert requests[1].options.epochs == 3
    assert requests[1].spec.resolve().channels == (4, 8)
    assert requests[0].spec.resolve().history == "auto"


def test_a_file_that_is_no_toml_is_named(tmp_path):
    path = tmp_path / "options.toml"
    assert said(read_config, path).startswith(f"{path}: cannot be read (No such file")
    path.write_text("epochs: 3\n")
    assert said(read_config, path).startswith(f"{path}: is not TOML")
    path.write_bytes(b"\xff\xfe\x00")
    assert said(read_config, path).startswith(f"{path}: is not TOML")
    assert said(read_config, tmp_path).startswith(f"{tmp_path}: cannot be read")
