"""Which covariates an opened recording has: its own by name, and files or series beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neuromodels.datasets.covariate_files import is_covariate_file
from neuromodels.datasets.covariates import attach_covariates, only_covariates
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording

if TYPE_CHECKING:
    from neuromodels.datasets.image_recording import ImageRecording

NONE = "none"


@dataclass(frozen=True)
class CovariateChoice:
    """What the user says of covariates.

    Attributes
    ----------
    names : list of str or None
        Those of the file that are used; None: all.
    beside : tuple
        What is attached: files, dicts, tables.
    folder : Path or None
        Where files are looked for if they are not found from here.
    """

    names: list[str] | None
    beside: tuple
    folder: Path | None

    def applied(
        self, recording: Recording | ImageRecording, names_are_read: bool
    ) -> Recording | ImageRecording:
        """The recording with what was chosen.

        Raises
        ------
        InputError
            If it has no covariate of a name, or is one of pictures; it is closed then.
        """
        try:
            if not isinstance(recording, Recording):
                if self.names or self.beside:
                    raise InputError(
                        "are for movies, and this is a recording of pictures",
                        where=f"{recording.source}: covariates",
                        remedy="Leave covariates out.",
                    )
                return recording
            if self.names is not None and not names_are_read:
                recording = only_covariates(recording, self.names)
            for given in self.beside:
                recording = attach_covariates(recording, given, folder=self.folder)
        except InputError:
            recording.close()
            raise
        return recording


def choose_covariates(given, folder: Path | None) -> CovariateChoice:
    """Tell names from files: "running, pupil", "running.csv", ["running", "pupil.csv"], a dict."""
    if given is None:
        return CovariateChoice(None, (), folder)
    if isinstance(given, str) and not is_covariate_file(given, folder):
        given = [part.strip() for part in given.split(",") if part.strip()]
    if not isinstance(given, (list, tuple)):
        return CovariateChoice(None, (given,), folder)
    files = tuple(part for part in given if is_covariate_file(part, folder))
    names = [part for part in given if part not in files]
    wrong = [part for part in names if not isinstance(part, str)]
    if wrong or not given:
        raise InputError(
            f"holds {wrong[0]!r}"[:80] if wrong else "is empty",
            where="covariates",
            remedy="Give names, files, or {name: (times, values)}; 'none' for no covariates.",
        )
    if NONE in names:
        return CovariateChoice([name for name in names if name != NONE], files, folder)
    return CovariateChoice(names or None, files, folder)
