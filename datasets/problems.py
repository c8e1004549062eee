"""What is wrong with a recording, or worth knowing about it: where, what, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuromodels.datasets.errors import RecordingError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong ("error": fits refuse) or worth knowing ("note")."""

    severity: str
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.what}\n  {self.remedy}"


@dataclass(frozen=True)
class Report:
    """What `validate` found."""

    problems: tuple[Problem, ...]
    source: str = "arrays"

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(item for item in self.problems if item.severity == "error")

    @property
    def notes(self) -> tuple[Problem, ...]:
        return tuple(item for item in self.problems if item.severity == "note")

    def raise_errors(self) -> None:
        """Raise the errors, all of them in one message; notes never raise.

        Raises
        ------
        RecordingError
        """
        errors = self.errors
        if not errors:
            return
        first = errors[0]
        more = "".join(f"\n{self.source}: {e.where}: {e.what}\n  {e.remedy}" for e in errors[1:])
        raise RecordingError(
            first.what, where=f"{self.source}: {first.where}", remedy=first.remedy + more
        )

    def __str__(self) -> str:
        if not self.problems:
            return "nothing is wrong"
        return "\n".join(str(item) for item in (*self.errors, *self.notes))


def add_error(found: list[Problem], where: str, what: str, remedy: str) -> None:
    """Add what no score could survive."""
    found.append(Problem("error", where, what, remedy))


def add_note(found: list[Problem], where: str, what: str, remedy: str) -> None:
    """Add what a reader of the scores must know."""
    found.append(Problem("note", where, what, remedy))


def are(names: np.ndarray) -> str:
    """Some names and the verb that follows: "u1 is", "u1, u2 are"."""
    shown = ", ".join(str(name) for name in names[:5])
    more = f" and {names.size - 5} more" if names.size > 5 else ""
    return f"{shown}{more} {'is' if names.size == 1 else 'are'}"
