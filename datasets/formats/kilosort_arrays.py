"""The arrays of a Kilosort/Phy folder: a sample and a cluster for every spike."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuromodels.datasets.errors import InputError

TIMES, CLUSTERS, TEMPLATES = "spike_times.npy", "spike_clusters.npy", "spike_templates.npy"
EXACT_FLOAT32 = 2**24  # whole numbers that float32 holds exactly
LONGEST = 2**53  # samples; float64 holds no larger whole number exactly


def spike_samples(folder: Path) -> np.ndarray:
    """When each spike was, (spike,) int64, in samples; those before the start are negative.

    Raises
    ------
    InputError
        If the file holds something else, seconds for example.
    """
    path = folder / TIMES
    samples = _whole(
        _load(path),
        path,
        "Kilosort and Phy store samples there, these look like seconds: give them to "
        "neuromodels.recording_from_spikes, or multiply them by the sampling rate and round.",
    )
    if samples.size and samples.max() >= LONGEST:
        raise InputError(
            f"holds the sample {samples.max()}, later than any recording (spike "
            f"{int(samples.argmax())})",
            where=str(path),
            remedy="The file is damaged: copy or export it again.",
        )
    return samples


def spike_clusters(folder: Path, n_spikes: int) -> tuple[np.ndarray, list[str]]:
    """The cluster of each spike as Phy shows it, (spike,) int64, and notes.

    Raises
    ------
    InputError
        If there is not one for each spike.
    """
    notes = []
    path = folder / CLUSTERS
    if not path.is_file():
        path = folder / TEMPLATES
        notes.append(
            f"there is no {CLUSTERS}: ids are those of {TEMPLATES}, from before any merge or "
            "split in Phy"
        )
    clusters = _whole(_load(path), path, "It must hold the cluster of each spike.")
    if clusters.size != n_spikes:
        raise InputError(
            f"holds {clusters.size} clusters for {n_spikes} spikes in {TIMES}",
            where=str(path),
            remedy="Take both files from one export: the sorting was written again, or a copy "
            "was cut off.",
        )
    return clusters, notes


def _load(path: Path) -> np.ndarray:
    """One number per spike, mapped from the file."""
    where = str(path)
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's reader of headers raises whatever its tokenizer does
        raise InputError(
            f"cannot be read ({_reason(error)})",
            where=where,
            remedy="It must be a .npy file of plain numbers: export it again.",
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        kind = getattr(values, "dtype", type(values).__name__)
        raise InputError(f"holds {kind}", where=where, remedy="It must hold one number per spike.")
    if values.ndim != 1 and values.shape != (values.size, 1) and values.shape != (1, values.size):
        raise InputError(
            f"has shape {values.shape}", where=where, remedy="It must hold one number per spike."
        )
    return values.reshape(-1)


def _reason(error: Exception) -> str:
    """What numpy found, in words for who has to mend the file."""
    said = str(error)
    if "pickle" in said or "Python objects" in said:
        return "it holds Python objects, which are never unpickled"
    if "greater than file size" in said or isinstance(error, EOFError):
        return "it is shorter than its header says"
    if isinstance(error, OSError):
        return error.strerror or said[:100]
    return "its header is damaged, or it is no .npy file"


def _whole(values: np.ndarray, path: Path, if_not: str) -> np.ndarray:
    """As int64; floating point only where it holds whole numbers."""
    if values.dtype.kind in "iu":
        # Negative numbers that an exporter stored as uint64 come back as what they were.
        return values.astype(np.int64, casting="unsafe")
    if not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values))
        raise InputError(
            f"holds {bad.size} values that are NaN or infinite, the first is number {bad[0]}",
            where=str(path),
            remedy="Export the sorting again.",
        )
    broken = np.flatnonzero(values != np.floor(values))
    if broken.size:
        raise InputError(
            f"holds {values.dtype} values with fractions, the first is {values[broken[0]]:.6g} "
            f"(spike {broken[0]})",
            where=str(path),
            remedy=if_not,
        )
    limit = EXACT_FLOAT32 if values.dtype.itemsize < 8 else LONGEST
    if values.size and np.abs(values).max() >= limit:
        raise InputError(
            f"holds {values.dtype} values up to {np.abs(values).max():.6g}, which that type rounds",
            where=str(path),
            remedy="Export whole numbers (int64).",
        )
    return values.astype(np.int64)
