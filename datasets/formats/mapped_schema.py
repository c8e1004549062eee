"""What a mapping may say: tables, keys and types of the TOML, checked with the nearest name."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.mapped_arrays import Found, find_variable

LARGEST_MAPPING = 2**20  # bytes
WHICH_TABLE = (
    "Use [spikes] for spike times, [traces] for samples with times of their own, [train] and "
    "[test] for responses in bins of the stimulus."
)
ARRAY_KEYS = ("file", "variable", "axes", "slices")
ROLES = ("train", "heldout", "test", "repeats")
CLOCKED = ("spikes", "traces")  # responses on a clock of their own
ABOUT = (
    *("species", "area", "licence", "title", "description", "reference", "cell_type", "lab"),
    *("session", "clock", "origin"),
)
TOP = (*ABOUT, "file", "bin_width", "neurons", "neuron", "stimulus", "trials", *CLOCKED, *ROLES)


@dataclass(frozen=True)
class Place:
    """Where variables are looked for.

    Attributes
    ----------
    folder : Path
        Files of the mapping are relative to it and lie inside it.
    file : str or None
        The file of variables that name none.
    said : str
        The mapping, for messages.
    """

    folder: Path
    file: str | None
    said: str

    def path(self, table: Mapping, where: str) -> Path:
        """The file that a table names.

        Raises
        ------
        InputError
            If it names none, or one outside of the folder, or one that is not there.
        """
        name = table.get("file", self.file)
        if not name:
            raise InputError(
                "names no file",
                where=where,
                remedy='Add file = "NAME.mat", here or at the top of the mapping.',
            )
        path = self.folder / checked_text(name, f"{where}: file")
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise InputError(
                f"{name} lies outside of {self.folder}",
                where=where,
                remedy="Name files inside the folder of the data; folder= says which that is.",
            )
        if not path.is_file():
            here = sorted(item.name for item in self.folder.iterdir() if item.is_file())
            near = difflib.get_close_matches(str(name), here, 1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"there is no {name} in {self.folder}",
                where=where,
                remedy=f"{hint}Files are looked for beside the mapping; folder= "
                "(--open folder=...) names another folder.",
            )
        return path

    def find(self, table: Mapping, where: str) -> Found:
        """The variable that a table names, see `find_variable`."""
        name = table.get("variable")
        if name is not None:
            checked_text(name, f"{where}: variable")
        return find_variable(self.path(table, where), name, where)


def parse_mapping(text: str, where: str) -> dict:
    """Tables of a mapping, with known keys only.

    Raises
    ------
    InputError
        If it is no TOML, or a table or key is unknown.
    """
    try:
        mapping = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(
            f"is no TOML ({error})", where=where, remedy="Mend that line; text goes in quotes."
        ) from None
    check_mapping(mapping, where)
    return mapping


def check_mapping(mapping: Mapping, where: str) -> None:
    """Refuse unknown tables and keys, and mappings without data.

    Raises
    ------
    InputError
    """
    check_keys(mapping, TOP, where)
    binned = [role for role in ROLES if role in mapping]
    clocked = [name for name in CLOCKED if name in mapping]
    if len(clocked) + bool(binned) > 1:
        both = [*clocked, *binned]
        raise InputError(
            f"has both [{both[0]}] and [{both[1]}]",
            where=where,
            remedy=WHICH_TABLE,
        )
    if not clocked and not binned:
        raise InputError(
            "has neither [train] nor [spikes] nor [traces]", where=where, remedy=WHICH_TABLE
        )
    for key in ABOUT:
        if key in mapping:
            checked_text(mapping[key], f"{where}: {key}")


def check_keys(table, allowed, where: str) -> None:
    """Refuse a table with keys that mean nothing here.

    Raises
    ------
    InputError
        Names the nearest key.
    """
    if not isinstance(table, Mapping):
        raise InputError(
            f"is {table!r}"[:80],
            where=where,
            remedy=f"It must be a table with keys such as {', '.join(allowed[:4])}.",
        )
    for key in table:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, 1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"unknown key {key!r}",
                where=where,
                remedy=f"{hint}Keys: {', '.join(allowed)}.",
            )


def checked_text(value, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InputError(f"is {value!r}"[:80], where=where, remedy="Give text in quotes.")
    return value


def checked_int(value, where: str, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**53:
        raise InputError(
            f"is {value!r}"[:80], where=where, remedy=f"Give a whole number, at least {least}."
        )
    return value


def checked_number(value, where: str) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not 0 < value < float("inf"):
        raise InputError(f"is {value!r}"[:80], where=where, remedy="Give a positive number.")
    return float(value)


def checked_choice(value, choices: tuple[str, ...], where: str) -> str:
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, 1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"is {value!r}"[:80], where=where, remedy=f"{hint}Use one of: {', '.join(choices)}."
        )
    return value
