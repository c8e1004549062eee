"""The pages in docs/models say what the code does: every option with its default."""

import ast
import re
from dataclasses import fields

import pytest
from source_tree import ROOT

from neuromodels.encoding.glm import GLMOptions
from neuromodels.encoding.ln import LNOptions
from neuromodels.encoding.presets import presets
from neuromodels.encoding.retina_cnn_options import RetinaCNNOptions
from neuromodels.encoding.spiking_coupled import SpikingCoupledOptions
from neuromodels.fits.options import ConvexOptions
from neuromodels.fits.spiking_options import SpikingTrainingOptions
from neuromodels.fits.training import TrainingOptions

PAGES = {
    "ln": (LNOptions, ConvexOptions),
    "glm": (GLMOptions,),
    "retina_cnn": (RetinaCNNOptions, TrainingOptions),
    "spiking": (SpikingCoupledOptions, SpikingTrainingOptions),
}


def page(name):
    """Text of one page."""
    return (ROOT / "docs" / "models" / f"{name}.md").read_text("utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_lists_every_option_with_its_default_and_no_other(name):
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", page(name), re.MULTILINE)
    told = {option: ast.literal_eval(default) for option, default in rows}
    assert told == {field.name: field.default for cls in PAGES[name] for field in fields(cls)}


def test_the_page_of_the_cnn_lists_every_preset_with_its_layers():
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+ of .*?) \|", page("retina_cnn"), re.MULTILINE))
    assert set(rows) == set(presets())
    for name, layers in rows.items():
        model = presets()[name]["model"]
        pairs = re.findall(r"(\d+) of (\d+)", layers)
        assert [int(n) for n, _ in pairs] == model["channels"]
        assert [int(k) for _, k in pairs] == model["kernels"]
