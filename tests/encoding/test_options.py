"""Options: what is accepted, and what an error says."""

from dataclasses import dataclass
from typing import Literal

import pytest

from neuromodels.options import OptionError, make_options, names, nearest


@dataclass(frozen=True)
class Options:
    """One option of every kind."""

    needed: float
    count: int = 3
    sizes: tuple[int, ...] = (1, 2)
    mode: Literal["one", "two"] = "one"
    window: float | Literal["auto"] = "auto"
    switch: bool = False

    def __post_init__(self):
        if self.count < 0:
            raise ValueError("count must not be negative.")


def test_defaults_are_filled_in_and_lists_become_tuples():
    options = make_options(Options, {"needed": 1, "sizes": [4], "window": 0.5})
    assert options == Options(1, 3, (4,), "one", 0.5, False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"count": 2.5}, "Expected int"),
        ({"count": True}, "Expected int"),
        ({"count": "3"}, "Expected int"),
        ({"needed": "1"}, "Expected float"),
        ({"needed": True}, "Expected float"),
        ({"needed": None}, "Expected float"),
        ({"sizes": [1.5]}, "Expected list of int"),
        ({"mode": "three"}, "Expected 'one' or 'two'"),
        ({"mode": ["one"]}, "Expected 'one' or 'two'"),
        ({"window": "always"}, "Expected float or 'auto'"),
        ({"switch": 1}, "Expected bool"),
    ],
)
def test_a_value_of_the_wrong_kind_says_what_was_expected(given, words):
    with pytest.raises(OptionError, match=f"(?s)here: option .* is of the wrong kind.*{words}"):
        make_options(Options, {"needed": 1.0} | given, "here")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(OptionError, match=r"(?s)unknown option 'widow'.*Did you mean 'window'\?"):
        make_options(Options, {"needed": 1.0, "widow": 1})


def test_an_option_without_default_must_be_given():
    with pytest.raises(OptionError, match="'needed' is missing"):
        make_options(Options, {})


def test_what_the_class_refuses_is_said_with_its_place():
    with pytest.raises(OptionError, match="glm: count must not be negative"):
        make_options(Options, {"needed": 1.0, "count": -1}, "glm")


def test_the_given_dictionary_is_left_as_it_was():
    given = {"needed": 1.0, "sizes": [1]}
    make_options(Options, given)
    assert given == {"needed": 1.0, "sizes": [1]}


def test_names_are_those_of_all_classes():
    assert names(Options, Options)[:6] == tuple(Options.__dataclass_fields__)


def test_nearest_falls_back_on_the_list():
    assert nearest("histry", ["history", "delay"]) == "Did you mean 'history'?"
    assert nearest("zzz", ["history", "delay"]) == "Known: delay, history."


def test_a_message_has_what_and_where_on_a_line_and_the_remedy_below():
    assert (
        str(OptionError("is wrong.", "fit.toml", "Mend it.")) == "fit.toml: is wrong.\n  Mend it."
    )
    assert str(OptionError("is wrong.")) == "is wrong."
