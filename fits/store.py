"""The folder in which a running comparison keeps what is done, so that it can go on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.storage import check_output, read_tree, write_tree
from neuromodels.fits.checkpoint import load_checkpoint, save_checkpoint
from neuromodels.fits.fit import Fit

if TYPE_CHECKING:
    import xarray as xr


class Store:
    """``OUT.partial/``: finished fits and the state of the running one.

    Parameters
    ----------
    out : Path
        The result that will be written.
    call : dict
        Everything that determines the result, as JSON can hold it.
    resume : bool
        Go on with what is there.
    overwrite : bool
        Start again, and replace `out` if it exists.

    Raises
    ------
    InputError
        The output exists, an unfinished run is in the way, or there is one of another call.
    """

    def __init__(self, out: Path, call: dict[str, Any], *, resume: bool, overwrite: bool):
        self.out = Path(out)
        self.folder = self.out.with_name(self.out.name + ".partial")
        self._about = self.folder / "call.h5"
        text = json.dumps(call, sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        found = load_checkpoint(self._about)
        if resume and found is not None and found[1]["key"] != self.key:
            raise InputError(
                "holds an unfinished run with other data, models, options, seeds or versions.",
                where=str(self.folder),
                remedy="Repeat the same call to go on, or pass overwrite to start again.",
            )
        if not resume and not overwrite and found is not None:
            raise InputError(
                "holds an unfinished run.",
                where=str(self.folder),
                remedy="Pass resume (--resume) to go on or overwrite (--overwrite) to start again.",
            )
        if not resume:
            check_output(self.out, overwrite)
        if found is None and _is_foreign(self.folder):
            raise InputError(
                "is in the way: the state of the run would be kept there.",
                where=str(self.folder),
                remedy="Move it, or choose another output.",
            )
        self._lock = FileLock(self.folder / "lock", timeout=0)
        if self.folder.exists():
            self._hold()
        if self.folder.exists() and (not resume or found is None):
            self._lock.release()
            shutil.rmtree(self.folder)
        # What an interrupted run was allowed to replace, its resumption is.
        self._overwrite = overwrite or (resume and found is not None)

    def _hold(self) -> None:
        """Keep other processes off the folder; the system lets go when this one ends."""
        try:
            self._lock.acquire()
        except Timeout as error:
            raise InputError(
                "is being written by another run.",
                where=str(self.folder),
                remedy="Wait until it ends, or stop it.",
            ) from error

    def result(self) -> xr.DataTree | None:
        """The result, if an earlier run was interrupted after writing it."""
        if not self.out.exists():
            return None
        tree = read_tree(self.out).load()
        return tree if tree.attrs.get("key") == self.key else None

    def begin(self) -> None:
        """Make the folder; from here on an interruption can be resumed."""
        check_output(self.out, self._overwrite)
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot be made ({error.strerror}).",
                where=str(self.folder),
                remedy="Choose an output in a folder that you can write to.",
            ) from error
        self._hold()
        save_checkpoint(self._about, {}, {"key": self.key})

    def folder_of(self, index: int, seed: int | None = None) -> Path:
        """Folder for the running state of a model: of one seed, or what all seeds share."""
        part = "shared" if seed is None else f"seed_{seed}"
        folder = self.folder / f"model_{index}" / part
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _fit_file(self, index: int, seed: int) -> Path:
        return self.folder / f"model_{index}" / f"seed_{seed}.h5"

    def finished(self, index: int, seed: int) -> Fit | None:
        """A fit that an earlier run has finished."""
        path = self._fit_file(index, seed)
        return Fit(read_tree(path).load()) if path.exists() else None

    def keep(self, index: int, seed: int, fit: Fit) -> None:
        """Store a finished fit and drop its running state."""
        state = self.folder_of(index, seed)
        write_tree(fit.tree, self._fit_file(index, seed), overwrite=True)
        shutil.rmtree(state, ignore_errors=True)

    def write(self, tree: xr.DataTree) -> None:
        """Put the result in its place in one step, then remove the folder."""
        tree.attrs["key"] = self.key
        # Written inside the folder: what a kill leaves behind is never beside the result.
        whole = write_tree(tree, self.folder / "result.h5", overwrite=True)
        os.replace(whole, self.out)
        self.clear()

    def clear(self) -> None:
        """Remove the folder: the result is written."""
        self._lock.release(force=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_foreign(folder: Path) -> bool:
    """Whether there is something that no run of ours, wherever it was killed, has left."""
    if not folder.is_dir():
        return folder.exists()
    ours = ("lock", "call.h5", ".call.h5.", "model_", "result.h5", ".result.h5.")
    return not all(item.name.startswith(ours) for item in folder.iterdir())
