"""docs/stimuli.md says what the generators do, and its examples work as they stand."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_ln import small_ln

import neuromodels as nm

PAGE = (Path(__file__).parents[1] / "docs" / "stimuli.md").read_text(encoding="utf-8")
COMMON = {"duration", "frame_rate", "size", "pixel_size"}
#: Name, what it shows, own parameters, events.
ROWS = [
    [cell.strip(" `") if i == 0 else cell for i, cell in enumerate(line[1:-1].split("|"))]
    for line in PAGE.splitlines()
    if line.startswith("| `") and line.count("|") == 5
]


def test_the_page_lists_every_generator_with_its_parameters_and_events():
    assert [name for name, *_ in ROWS] == list(nm.stimuli.GENERATORS)
    for name, _, parameters, _ in ROWS:
        said = set(re.findall(r"`(\w+)`", parameters)) | COMMON
        function = getattr(nm.stimuli, name.replace("-", "_"))
        assert said == set(inspect.signature(function).parameters), name


def test_every_event_that_the_page_names_is_in_the_movie(tmp_path):
    _picture(tmp_path)
    for name, *_, events in ROWS:
        movie = nm.stimuli.generate(
            name, **({"folder": tmp_path} if name == "natural-movie" else {})
        )
        for event in re.findall(r"`(\w+)`", events):
            assert event in movie.attrs or movie[event].dims == ("frame",), event


def test_the_examples_work_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_ln((20, 20)).to_hdf5("ln.h5")
    (tmp_path / "photographs").mkdir()
    _picture(tmp_path / "photographs")
    names: dict = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 3
    for code in examples:
        exec(compile(code, "docs/stimuli.md", "exec"), names)
    assert names["rates"]["movie/all/rate"].shape == (1000, 2)
    assert names["natural"].attrs["n_images"] == 1


@pytest.mark.parametrize("line", re.findall(r"^neuromodels (stimulus .*)$", PAGE, re.MULTILINE))
def test_the_commands_of_the_page_parse(line):
    from neuromodels.cli import cli

    command, *arguments = line.split()
    cli.commands[command].make_context(command, arguments)


def _picture(folder: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(values).save(folder / "scene.png")
