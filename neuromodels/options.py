"""Options of models and fits: plain dataclasses, checked when they are given."""

from __future__ import annotations

import difflib
import types
import typing
from dataclasses import MISSING, fields
from math import isfinite
from typing import Any, TypeVar

T = TypeVar("T")


class OptionError(ValueError):
    """An option that does not exist or cannot have the value given.

    Parameters
    ----------
    what : str
        What is wrong.
    where : str, default ""
        Which model, call or file the option was given to.
    remedy : str, default ""
        What to do about it.
    """

    def __init__(self, what: str, where: str = "", remedy: str = ""):
        self.what, self.where, self.remedy = what, where, remedy
        text = f"{where}: {what}" if where else what
        super().__init__(f"{text}\n  {remedy}" if remedy else text)


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """Say which known name is closest to a wrong one.

    Parameters
    ----------
    name : str
        What was typed.
    known : iterable of str
        What exists.

    Returns
    -------
    str
        A sentence for an error message.
    """
    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(known)}."


def names(*classes: type) -> tuple[str, ...]:
    """Names of all options that the given dataclasses hold."""
    return tuple(field.name for cls in classes for field in fields(cls))


def _fits_type(value: Any, annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_fits_type(value, part) for part in typing.get_args(annotation))
    if origin is typing.Literal:
        return value in typing.get_args(annotation)
    if origin is tuple:
        inner = typing.get_args(annotation)[0]
        return isinstance(value, tuple) and all(_fits_type(item, inner) for item in value)
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is type(None):
        return value is None
    return isinstance(value, annotation)


def _readable(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_readable(part) for part in typing.get_args(annotation))
    if origin is typing.Literal:
        return " or ".join(repr(part) for part in typing.get_args(annotation))
    if origin is tuple:
        return f"list of {_readable(typing.get_args(annotation)[0])}"
    return "none" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def make_options(cls: type[T], given: dict[str, Any], where: str = "") -> T:
    """Build an options object; an unknown name or a wrong type is an error that helps.

    Parameters
    ----------
    cls : type
        Dataclass of options. Lists are taken for tuples, and one value for a tuple of one.
    given : dict
        Names and values.
    where : str
        What the options belong to, for messages.

    Returns
    -------
    cls
        The options, defaults filled in.

    Raises
    ------
    OptionError
        Unknown name, wrong type, or a value that the class itself refuses.
    """
    hints = typing.get_type_hints(cls)
    known = {field.name: field for field in fields(cls)}
    values = {}
    for name, value in given.items():
        if name not in known:
            raise OptionError(f"unknown option {name!r}.", where, nearest(name, known))
        if isinstance(value, list):
            value = tuple(value)
        if not _fits_type(value, hints[name]) and _fits_type((value,), hints[name]):
            value = (value,)
        if not _fits_type(value, hints[name]):
            raise OptionError(
                f"option {name} = {value!r} is of the wrong kind.",
                where,
                f"Expected {_readable(hints[name])}.",
            )
        values[name] = value
    missing = [
        name
        for name, field in known.items()
        if name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise OptionError(f"option {missing[0]!r} is missing.", where)
    try:
        return cls(**values)
    except OptionError as error:
        raise OptionError(error.what, error.where or where, error.remedy) from error
    except ValueError as error:
        raise OptionError(str(error), where) from error
