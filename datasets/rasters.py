"""Rasters as text (.ras): a spike in each line, "seconds id"."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains, duration_after, sorted_trains
from neuromodels.datasets.storage import write_whole

FORMAT = 'Write one spike in each line, "seconds id": 0.0123 7. Lines that begin with # are notes.'
MOST_ID = 2**53  # beyond it, whole numbers written as 1e17 are no longer exact


def read_ras(
    path: str | Path,
    n_neurons: int,
    first_id: int = 0,
    duration: float | None = None,
    *,
    on_out_of_range: Literal["error", "drop"] = "error",
) -> SpikeTrains:
    """Read spike trains from a .ras file; an id that cannot be is an error, never dropped unasked.

    Parameters
    ----------
    path : str or Path
        Text of two columns, seconds and id, separated by blanks or tabs. Lines may be in any order;
        empty lines and all that follows a # are skipped.
    n_neurons : int
        Neurons that there are, with silent ones.
    first_id : int
        Id of the first neuron in the file: 1 for files that count from 1. Neuron 0 of the result
        is the one with this id.
    duration : float, optional
        Length of the stretch, s (default: the first whole millisecond after the last spike).
    on_out_of_range : {"error", "drop"}
        What happens to spikes of ids that do not exist. What was dropped stands in `source`.

    Returns
    -------
    SpikeTrains
        Sorted by time.

    Raises
    ------
    InputError
        If there is no such file, it is empty or no text, or a line is no spike; with the line.
    """
    trains, dropped = read_ras_dropping(path, n_neurons, first_id, duration, on_out_of_range)
    if not dropped:
        return trains
    ids = ", ".join(str(i) for i in sorted(dropped)[:5]) + (", …" if len(dropped) > 5 else "")
    source = f"{trains.source} ({sum(dropped.values())} spikes of ids {ids} dropped)"
    return SpikeTrains(trains.times, trains.neurons, trains.n_neurons, trains.duration, source)


def read_ras_dropping(
    path: str | Path,
    n_neurons: int,
    first_id: int = 0,
    duration: float | None = None,
    on_out_of_range: Literal["error", "drop"] = "drop",
) -> tuple[SpikeTrains, dict[int, int]]:
    """Read spike trains as `read_ras` does, and how many spikes of which ids were dropped.

    Returns
    -------
    trains : SpikeTrains
        Of the ids that exist.
    dropped : dict
        Number of spikes dropped, by id in the file.

    Raises
    ------
    InputError
        As `read_ras`.
    """
    path = Path(path)
    _check_arguments(path, n_neurons, first_id, on_out_of_range)
    times, ids, lines = _read_lines(path, duration)
    inside = [first_id <= i < first_id + n_neurons for i in ids]
    outside = [k for k, here in enumerate(inside) if not here]
    if outside and on_out_of_range == "error":
        raise _out_of_range(path, ids, lines, outside, n_neurons, first_id)
    dropped = dict(Counter(ids[k] for k in outside))
    if duration is None:
        duration = duration_after(max(times))
    elif times and not max(times) < duration:
        k = int(np.argmax(times))
        raise InputError(
            f"a spike is at {times[k]!r} s, and the stretch ends at {duration!r} s",
            where=f"{path}: line {lines[k]}",
            remedy="Give a longer duration. If the file holds milliseconds, divide its times by "
            "1000.",
        )
    kept = np.asarray(inside, dtype=bool)
    neurons = np.asarray(ids, dtype=np.int64) - first_id
    trains = sorted_trains(
        np.asarray(times, dtype=np.float64)[kept], neurons[kept], n_neurons, duration, str(path)
    )
    return trains, dropped


def write_ras(
    trains: SpikeTrains, path: str | Path, first_id: int = 0, overwrite: bool = False
) -> Path:
    """Write spike trains as text, a spike in each line; the file appears whole or not at all.

    Times are written with as many digits as give the same number back, so that `read_ras` with the
    same `first_id`, number of neurons and duration reads equal trains. The first line, a note,
    states these.

    Parameters
    ----------
    trains : SpikeTrains
        What is written.
    path : str or Path
        Usually ``*.ras``.
    first_id : int
        Id of neuron 0 in the file.
    overwrite : bool
        Replace a file that exists.

    Returns
    -------
    Path
        Where the file is.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is false, or if it cannot be written.
    """
    note = f"# neurons {trains.n_neurons}, duration {trains.duration!r} s, first id {first_id}\n"

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(note)
            pairs = zip(trains.times.tolist(), trains.neurons.tolist(), strict=True)
            file.writelines(f"{time!r} {neuron + first_id}\n" for time, neuron in pairs)

    return write_whole(path, write, overwrite)


def _check_arguments(path: Path, n_neurons, first_id, on_out_of_range) -> None:
    for name, value, least in (("n_neurons", n_neurons, 1), ("first_id", first_id, -MOST_ID)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise InputError(
                f"is {value!r}"[:80],
                where=f"{path}: {name}",
                remedy="Give the number of neurons, at least 1."
                if name == "n_neurons"
                else "Give the id of the first neuron, 0 or 1.",
            )
    if on_out_of_range not in ("error", "drop"):
        raise InputError(
            f"is {on_out_of_range!r}"[:80],
            where=f"{path}: on_out_of_range",
            remedy="Choose 'error' or 'drop'.",
        )


def _read_lines(path: Path, duration) -> tuple[list[float], list[int], list[int]]:
    """Times, ids and line numbers of all spikes."""
    times, ids, lines = [], [], []
    for number, words in _words(path):
        where = f"{path}: line {number}"
        if len(words) != 2:
            shown = " ".join(words)
            raise InputError(
                f"{shown[:40]!r} is not two columns", where=where, remedy=_columns_remedy(shown)
            )
        times.append(_time(words[0], where))
        ids.append(_id(words[1], where))
        lines.append(number)
    # A silent population is written as a file of notes; only its length must be told.
    if not times and duration is None:
        raise InputError("holds no spikes", where=str(path), remedy=FORMAT)
    return times, ids, lines


def _words(path: Path) -> Iterator[tuple[int, list[str]]]:
    if path.is_dir():
        raise InputError("is a folder", where=str(path), remedy="Give the file in it.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("is no text", where=str(path), remedy=FORMAT) from None
    except FileNotFoundError:
        raise InputError("does not exist", where=str(path), remedy="Check the path.") from None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot be read ({said})", where=str(path)[:200], remedy="Check path and permissions."
        ) from error
    if not text:
        raise InputError("is empty", where=str(path), remedy=FORMAT)
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split("#", 1)[0].split()
        if words:
            yield number, words


def _columns_remedy(line: str) -> str:
    if "," in line or ";" in line:
        return f"Separate the columns by a blank, and write decimal points. {FORMAT}"
    return FORMAT


def _time(word: str, where: str) -> float:
    try:
        time = float(word) if _plain(word) else None
    except ValueError:
        time = None
    if time is None:
        raise InputError(f"{word[:40]!r} is no time", where=where, remedy=FORMAT)
    if not math.isfinite(time):
        raise InputError(
            f"the time is {word[:40]}", where=where, remedy="Remove spikes whose time is unknown."
        )
    if time < 0:
        raise InputError(
            f"the time is negative: {word[:40]} s",
            where=where,
            remedy="Let time begin at 0: subtract the start of the stretch from all times.",
        )
    return time


def _id(word: str, where: str) -> int:
    try:
        value = float(word) if _plain(word) else math.nan
    except ValueError:
        value = math.nan
    if not (value.is_integer() and abs(value) < MOST_ID):
        raise InputError(
            f"{word[:40]!r} is no id of a neuron, which is a whole number",
            where=where,
            remedy=f"{FORMAT} Are the columns swapped?",
        )
    return int(value)


def _plain(word: str) -> bool:
    # Python also reads 1_000 and digits of other scripts.
    return word.isascii() and "_" not in word


def _out_of_range(path, ids, lines, outside, n_neurons, first_id) -> InputError:
    """The error for ids that do not exist; it says what the file looks like."""
    first, last = first_id, first_id + n_neurons - 1
    low, high = min(ids), max(ids)
    k = outside[0]
    if first_id == 0 and low >= 1 and high == n_neurons:
        remedy = (
            f"The file looks one-based (ids {low} … {high}, no 0): pass first_id=1 (on the command "
            "line --target-first-id 1 or --input-first-id 1)."
        )
    elif first_id == 1 and low == 0 and high < n_neurons:
        remedy = (
            f"The file looks zero-based (ids 0 … {high}): pass first_id=0 (on the command line "
            "--target-first-id 0 or --input-first-id 0)."
        )
    else:
        wanted = high - first_id + 1
        more = f"n_neurons={wanted}, or " if low >= first_id else ""
        remedy = (
            f"The file holds ids {low} … {high}: give {more}another first_id (on the command line "
            "--target-first-id or --input-first-id). on_out_of_range='drop' leaves such spikes out."
        )
    return InputError(
        f"id {ids[k]} is not one of the {n_neurons} neurons ({first} … {last}); "
        f"{len(outside)} such spikes",
        where=f"{path}: line {lines[k]}",
        remedy=remedy,
    )
