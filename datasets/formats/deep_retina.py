"""The HDF5 layout of the deep-retina data (Baccus lab; Maheswaranathan et al. 2023).

    train/time                     (bin,) s
    train/stimulus                 (bin, y, x), one frame per bin
    train/response/binned          (cell, bin) spike counts
    train/response/firing_rate_5ms, firing_rate_10ms, firing_rate_20ms   (cell, bin) smoothed, Hz
    test/...                       the same for the repeated movie, averaged over repeats
    test/repeats/firing_rate_10ms  (repeat, cell, bin) or (cell, repeat, bin), one for each kind; or
    test/repeats/cell01            (repeat, bin), by cell

Files of others in this layout (Goldin et al. 2022) are read, too. Which axis is which is found from
the lengths; where cells and repeats are equally many, from the average in test/response.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np

from neuromodels.datasets.binning import bin_edges, smallest_unsigned
from neuromodels.datasets.building import build_recording, build_role
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.deep_retina_arrays import (
    COUNTS,
    Half,
    are_whole,
    bin_clock,
    find_dataset,
    open_half,
    repeat_values,
    response_values,
    responses_of,
)
from neuromodels.datasets.formats.mapped_hdf5 import StoredArray, class_of
from neuromodels.datasets.lazy_movies import ArrayFrames, movie_variable
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.sources import Source

TITLE = "a deep-retina file"
OPTIONS = ("response", "skip", "blocks")
RATES = (
    "these are smoothed rates (an acausal filter), not spike counts: Poisson losses on them are no "
    "likelihood, and scores are not those of counts"
)


def recognizes(source: Source) -> bool:
    """Whether it is HDF5 with train or test that hold a stimulus and a group of responses."""
    if source.root is None:
        return False
    groups = [n for n in ("train", "test") if source.root.members.get(n) is h5py.Group]
    if not groups:
        return False
    try:
        with source.hdf5() as file:
            return all(
                class_of(file[name], "stimulus") in (h5py.Dataset, h5py.ExternalLink)
                and class_of(file[name], "response") in (h5py.Group, h5py.ExternalLink)
                for name in groups
            )
    except (OSError, KeyError, RuntimeError, ValueError):
        return False  # damaged: whoever reads HDF5 of unknown layout says so


def read(
    source: Source,
    *,
    bin_width=None,
    stimulus=None,
    test=None,
    response: str | None = None,
    skip: float = 0.0,
    blocks: int | None = None,
) -> Recording:
    """Open a deep-retina file: counts where it has them, frames read when needed.

    Parameters
    ----------
    source : Source
    bin_width : float or Fraction, s, optional
        Bins of the view (default: those of the file; needed where it has no `time`).
    response : str, optional
        Which of the responses: "binned" (spike counts) or "firing_rate_10ms", ... By default
        counts; smoothed rates, and a note, where there are none.
    skip : float, s
        Left out at the start of each training block, while the retina adapts (the authors: 60).
    blocks : int, optional
        Of how many equally long blocks the training data consist (the authors: 6, in recordings
        of January 2016 3). By default `time` says where it jumps.

    Raises
    ------
    InputError
        If something is missing, or lengths disagree.
    """
    if test is not None:
        raise InputError(
            "does not apply: the file says which part is the test",
            where=f"{source.name}: test",
            remedy="Leave test= out.",
        )
    name = Path(source.name).stem.split("?")[0]
    name = name if re.fullmatch(r"[A-Za-z]\w*", name) else "stimulus"
    if stimulus not in (None, name, [name]):
        raise InputError(
            f"no {stimulus!r}"[:80],
            where=f"{source.name}: stimulus",
            remedy=f"The file holds one stimulus, {name!r}.",
        )
    file = source.hdf5()
    try:
        recording = _recording(file, source, name, bin_width, response, skip, blocks)
    except BaseException:
        file.close()
        raise
    if not source.is_stream:
        file.close()  # frames open it again when they are read
    return recording if bin_width is None else recording.at(bin_width)


def _recording(file, source: Source, name, bin_width, response, skip, blocks) -> Recording:
    halves = {h: open_half(file, source, h) for h in ("train", "test") if h in file}
    chosen, notes = _choose(halves, response, source)
    roles, cells = {}, None
    width = kind = None
    if "train" in halves:
        half = halves["train"]
        values = response_values(half, chosen)
        kind = _kind(chosen, values)
        time, width = bin_clock(half, bin_width)
        values, kind, said = _as_kind(values, kind, chosen, width)
        notes += said
        labels = _blocks(half, time, width, blocks)
        kept = _after_skip(labels, skip, width, half.where)
        roles["train"] = build_role(
            _movie(half, source),
            values.T[kept],
            bin_width=width,
            time=_regular(time, labels, width)[kept],
            block=labels[kept].astype(np.int32),
            frame_of_bin=np.arange(half.n_bins)[kept],
            frame_time=_regular(time, labels, width),
            kind=kind,
            attrs={"selection": _said(labels, skip)},
            where=half.where,
        )
    if "test" in halves:
        half = halves["test"]
        time, own = bin_clock(half, bin_width if width is None else width)
        if width is not None and own != width:
            raise InputError(
                f"has bins of {float(own):g} s, train of {float(width):g} s",
                where=f"{half.where}/time",
                remedy="Both must have the same bins.",
            )
        trials, cells = repeat_values(half, chosen)
        if trials is None:
            trials = response_values(half, chosen)[None]
            notes.append(
                f"the test has no repeats of {chosen}, only their average: no noise ceiling"
            )
        trials, own_kind, said = _as_kind(trials, _kind(chosen, trials), chosen, own)
        notes += [note for note in said if note not in notes]
        if kind == "count" and own_kind == "rate":
            trials = _average_as_counts(half, chosen)
            own_kind = kind
        roles["test"] = build_role(
            _movie(half, source),
            trials.transpose(0, 2, 1),
            bin_width=own,
            start=0.0,
            frame_of_bin=np.arange(half.n_bins),
            frame_time=bin_edges(0.0, own, half.n_bins)[:-1],
            kind=own_kind,
            attrs={"selection": f"the file's test, {len(trials)} repeats"},
            where=half.where,
        )
    return build_recording(
        {name: roles},
        neurons=cells,
        attrs={"format": "deep-retina HDF5", "notes": notes, "response": chosen},
        stimulus_attrs={name: {"description": "one frame per bin"}},
        identity=source.identity,
        source=source.name,
    )


def _choose(halves, wanted: str | None, source: Source) -> tuple[str, list[str]]:
    """Which response: the user's; else counts, then rates, the first that has repeats."""
    each = [list(responses_of(half.group, half.where)) for half in halves.values()]
    common = [name for name in each[0] if all(name in names for names in each)]
    if wanted is not None:
        if wanted not in common:
            raise InputError(
                f"no {wanted!r}"[:80],
                where=f"{source.name}: response",
                remedy=f"The file has {', '.join(common) or 'none that train and test share'}.",
            )
        return wanted, [f"responses are {wanted}, as asked for"]
    if not common:
        raise InputError(
            f"train and test share no response ({'; '.join(', '.join(n) for n in each)})",
            where=source.name,
            remedy="Export the same responses for both.",
        )
    for name in common:
        if "test" not in halves or repeat_values(halves["test"], name)[0] is not None:
            why = "" if name == common[0] else f"; {common[0]} has no repeats"
            return name, [f"responses are {name}{why}"]
    for name in common:
        if name != COUNTS or are_whole(response_values(halves["test"], name)):
            return name, [f"responses are {name}"]
    return common[0], [f"responses are {common[0]}"]


def _blocks(half: Half, time: np.ndarray, width: Fraction, blocks) -> np.ndarray:
    """Label of the block of every bin."""
    if blocks is None:
        return np.concatenate([[0], np.cumsum(np.diff(time) > 1.5 * float(width))])
    whole = isinstance(blocks, (int, np.integer)) and not isinstance(blocks, bool)
    if not whole or not 1 <= blocks <= half.n_bins:
        raise InputError(
            f"is {blocks!r}"[:80],
            where=f"{half.where}: blocks",
            remedy="Give the number of training blocks, for example 6.",
        )
    return np.arange(half.n_bins) * int(blocks) // half.n_bins


def _after_skip(labels: np.ndarray, skip, width: Fraction, where: str) -> np.ndarray:
    number = isinstance(skip, (int, float, Fraction)) and not isinstance(skip, bool)
    if not number or not 0 <= float(skip) < np.inf:
        raise InputError(
            f"is {skip!r}"[:80], where=f"{where}: skip", remedy="Give seconds, for example 60."
        )
    n_skipped = int(np.ceil(float(skip) / float(width) - 1e-9))
    starts = np.searchsorted(labels, labels)
    kept = np.arange(labels.size) - starts >= n_skipped
    if not kept.any():
        raise InputError(
            f"leaves nothing: no block is longer than {float(skip):g} s",
            where=f"{where}: skip",
            remedy="Skip less, or give the number of blocks.",
        )
    return kept


def _regular(time: np.ndarray, labels: np.ndarray, width: Fraction) -> np.ndarray:
    """The clock without the rounding of the file: exact bins from the start of each block."""
    first = np.searchsorted(labels, labels)
    return time[first] + (np.arange(time.size) - first) * float(width)


def _said(labels: np.ndarray, skip) -> str:
    n = int(labels[-1]) + 1
    left = f", without the first {float(skip):g} s of each" if skip else ""
    return f"the file's train, {n} block{'s' if n > 1 else ''}{left}"


def _kind(name: str, values: np.ndarray) -> str:
    return "count" if name == COUNTS and are_whole(values) else "rate"


def _as_kind(values, kind: str, name: str, width: Fraction):
    if kind == "count":
        whole = not np.isnan(values).any() if values.dtype.kind == "f" else True
        return (smallest_unsigned(values) if whole else values), kind, []
    if name == COUNTS:
        said = f"{name} holds no whole numbers: an average of counts, read as rates in Hz"
        return values / float(width), kind, [said]
    return values, kind, [RATES]


def _average_as_counts(half: Half, name: str) -> np.ndarray:
    raise InputError(
        "holds averages over repeats, train holds counts",
        where=f"{half.where}/response/{name}",
        remedy="Without test/repeats of counts choose rates: response='firing_rate_10ms' "
        "(--open response=firing_rate_10ms).",
    )


def _movie(half: Half, source: Source):
    dataset = find_dataset(half.group, "stimulus", half.where)
    where = f"{half.where}/stimulus"
    array = dataset if source.is_stream else StoredArray(source.path, dataset)
    return movie_variable(ArrayFrames(array, where), {"units": "arbitrary"})
