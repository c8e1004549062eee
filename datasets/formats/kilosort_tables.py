"""The text files of a Kilosort/Phy folder: cluster tables with their labels, and params.py."""

from __future__ import annotations

import ast
import contextlib
import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.objects import some, tidy_metadata

HUMAN = "group"  # the column that people set in Phy
#: Files that may hold it, best first. Kilosort copies its own labels to cluster_group.tsv, but
#: under the column KSLabel.
LABEL_FILES = ("cluster_group.tsv", "cluster_groups.csv", "cluster_info.tsv")
ID_COLUMNS = ("cluster_id", "id")
UNSORTED = "unsorted"
USUAL = ("good", "mua", "noise", UNSORTED)
SLOWEST = 1000.0  # Hz; no spike sorting works on fewer samples
CALIBRATION = 1e-3  # largest relative difference between a nominal rate and a measured one
LARGEST_TEXT = 2**26  # bytes of a table
ASSIGNMENT = re.compile(r"^\s*sample_rate\s*=(?!=)\s*(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class ClusterTables:
    """Columns of the cluster tables: {(file, column): {cluster: text}}."""

    columns: dict[tuple[str, str], dict[int, str]]

    @property
    def ids(self) -> set[int]:
        return {cluster for column in self.columns.values() for cluster in column}

    def columns_of(self, clusters: np.ndarray) -> dict[str, np.ndarray]:
        """Each column once, for these clusters: numbers where all are numbers, else text."""
        found: dict[str, np.ndarray] = {}
        # cluster_info.tsv holds all columns as Phy saved them; the single files come first
        # because Phy writes them from the same state and other tools only them.
        order = sorted(self.columns, key=lambda key: key[0] == "cluster_info.tsv")
        for file, name in order:
            if name in found:
                continue
            column = self.columns[file, name]
            texts = [column.get(int(cluster), "") for cluster in clusters]
            if any(texts):
                found[name] = _numbers(texts)
        return tidy_metadata(found, len(clusters))


def stated_rate(folder: Path, given: float | None) -> tuple[float, list[str]]:
    """Samples per second as params.py and the user say; and notes.

    Raises
    ------
    InputError
        If neither says it, they contradict each other, or it is no rate.
    """
    path = folder / "params.py"
    remedy = "Pass sampling_rate= in Hz (--open sampling_rate=30000)."
    stated = None
    if path.is_file():
        lines = ASSIGNMENT.findall(_text(path))
        if lines:
            try:
                stated = ast.literal_eval(lines[-1])  # params.py is never run
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                stated = lines[-1]
            if given is None:
                stated = _rate(stated, f"{path}: sample_rate", remedy)
    if given is None:
        if stated is None:
            what = "has no line sample_rate" if path.is_file() else "is missing"
            raise InputError(
                f"{what}: spike times are counted in samples", where=str(path), remedy=remedy
            )
        return stated, []
    rate = _rate(given, f"{folder}: sampling_rate", remedy)
    if stated is None:
        return rate, []
    stated = _rate(stated, f"{path}: sample_rate", "Mend it, or remove the line.")
    if abs(stated - rate) > CALIBRATION * rate:
        raise InputError(
            f"is {rate:g} Hz, but params.py says sample_rate = {stated:g}",
            where=f"{folder}: sampling_rate",
            remedy="Leave sampling_rate out, or mend params.py.",
        )
    if stated != rate:
        return rate, [f"sampling rate {rate!r} Hz as given (params.py: {stated!r})"]
    return rate, []


def read_tables(folder: Path) -> ClusterTables:
    """All cluster_*.tsv of a folder (and cluster_groups.csv of older Phy).

    Raises
    ------
    InputError
        If a table cannot be read, or names a cluster twice.
    """
    paths = sorted({*folder.glob("cluster_*.tsv"), folder / "cluster_groups.csv"})
    columns: dict[tuple[str, str], dict[int, str]] = {}
    for path in paths:
        if path.is_file():
            columns |= {(path.name, name): column for name, column in _table(path).items()}
    return ClusterTables(columns)


def choose_clusters(
    folder: Path,
    tables: ClusterTables,
    ids: np.ndarray,
    labels: str | Sequence[str],
    labels_from: str | None,
) -> tuple[np.ndarray, list[str]]:
    """Which clusters with spikes carry the labels wanted.

    Parameters
    ----------
    ids : (cluster,) ascending
        Clusters that have spikes: what Phy shows.

    Returns
    -------
    chosen : (cluster,) ids, ascending
    notes : list of str

    Raises
    ------
    InputError
        If nobody labelled anything, or no cluster carries such a label.
    """
    wanted = _wanted(labels, folder)
    column, places, notes = _labels(folder, tables, labels_from, wanted)
    label_of = {int(i): (column.get(int(i), "") or UNSORTED).lower() for i in ids}
    counts = Counter(label_of.values())
    names = [*USUAL, *sorted(set(counts) - set(USUAL))]
    said = ", ".join(f"{counts[name]} {name}" for name in names if counts[name] or name in USUAL)
    if column:
        notes.append(f"labels from {places}: {said}")
    empty = sorted(tables.ids - {int(i) for i in ids})
    if empty:
        listed = [str(i) for i in empty]
        notes.append(
            f"{plural(len(empty), 'cluster')} listed but without spikes left out: {some(listed)}"
        )
    if wanted is None:
        if column:
            notes.append(f"labels='all': all {len(ids)} clusters with spikes are taken")
        return ids, notes
    chosen = np.array([int(i) for i in ids if label_of[int(i)] in wanted], dtype=ids.dtype)
    if not chosen.size:
        raise InputError(
            f"no cluster is labelled {' or '.join(sorted(wanted))} ({said})",
            where=f"{folder}: {places}",
            remedy="Choose others with labels=, for example labels='good,mua' or labels='all' "
            "(--open labels=all).",
        )
    unknown = sorted(wanted - set(counts) - set(USUAL))
    if unknown:
        notes.append(f"no cluster is labelled {', '.join(unknown)}")
    return chosen, notes


def plural(number: int, what: str) -> str:
    """1 spike, 2 spikes."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _labels(folder, tables: ClusterTables, labels_from: str | None, wanted):
    """Labels by cluster, the file and column that they come from, and notes."""
    name = labels_from or HUMAN
    every = {column.lower(): column for _, column in tables.columns}
    name = every.get(str(name).lower(), name)
    files = [file for file, column in tables.columns if column == name]
    files.sort(key=lambda file: LABEL_FILES.index(file) if file in LABEL_FILES else -1)
    said = [file for file in files if _labelled(tables.columns[file, name])]
    if said:
        column = tables.columns[said[0], name]
        notes = _contradictions(tables, said, name)
        if name == HUMAN:
            return column, f"{said[0]}, column {name}", notes
        notes.append(f"{name} was not set by a person in Phy")
        return column, f"{said[0]}, column {name}", notes
    known = sorted({column for _, column in tables.columns if column != HUMAN})
    if labels_from is not None:
        raise InputError(
            f"no table of the folder has labels in a column {labels_from!r}",
            where=f"{folder}: labels_from",
            remedy=f"Columns: {', '.join(known) or 'none'}. labels='all' (--open "
            "labels=all) takes every cluster.",
        )
    if wanted is None:
        return {}, "", ["nothing was labelled by a person; labels='all': every cluster is taken"]
    offer = (
        "labels_from='KSLabel' to take Kilosort's own labels, or "
        if any(column == "KSLabel" for _, column in tables.columns)
        else ""
    )
    raise InputError(
        "nothing was curated: no cluster has a label that a person set (column 'group')",
        where=f"{folder}: cluster_group.tsv",
        remedy=f"Label the clusters in Phy and save; or pass {offer}labels='all' (--open "
        "labels=all) to take every cluster.",
    )


def _labelled(column: dict[int, str]) -> bool:
    return any(label and label.lower() != UNSORTED for label in column.values())


def _contradictions(tables: ClusterTables, files: list[str], name: str) -> list[str]:
    notes = []
    first = tables.columns[files[0], name]
    for file in files[1:]:
        other = tables.columns[file, name]
        differ = [i for i in first if other.get(i) and other[i].lower() != first[i].lower()]
        if differ:
            i, what = differ[0], plural(len(differ), "cluster")
            notes.append(
                f"{files[0]} and {file} disagree about {what} (cluster {i}: "
                f"{first[i] or UNSORTED}, {other[i]}): {files[0]} is used"
            )
    return notes


def _wanted(labels, folder: Path) -> set[str] | None:
    """Labels in lower case; None for all."""
    where = f"{folder}: labels"
    remedy = "Give 'good', 'good,mua', a list of labels, or 'all'."
    if isinstance(labels, str):
        labels = labels.split(",")
    try:
        words = [word.strip().lower() for word in labels]
    except (TypeError, AttributeError):
        raise InputError(f"is {str(labels)[:60]}", where=where, remedy=remedy) from None
    words = {word for word in words if word}
    if not words:
        raise InputError("is empty", where=where, remedy=remedy)
    return None if "all" in words else words


def _table(path: Path) -> dict[str, dict[int, str]]:
    """Columns of one table by cluster: tabs, or commas where there are no tabs."""
    # The csv module takes care of CRLF and of quotes; blank rows are no clusters.
    lines = _text(path).splitlines()
    delimiter = "\t" if any("\t" in line for line in lines[:1]) else ","
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error as error:
        raise InputError(f"cannot be read ({error})", where=str(path), remedy=AGAIN) from None
    rows = [(number, row) for number, row in enumerate(rows, 1) if any(row)]
    if not rows:
        return {}
    header = rows[0][1]
    place = next((header.index(name) for name in ID_COLUMNS if name in header), None)
    if place is None:
        raise InputError(
            f"has no column {' or '.join(ID_COLUMNS)} (columns: {', '.join(header)[:200]})",
            where=str(path),
            remedy="Save it again in Phy, or take it out of the folder.",
        )
    columns: dict[str, dict[int, str]] = {name: {} for name in header if name}
    for number, row in rows[1:]:
        cluster = _cluster(row[place] if place < len(row) else "", path, number)
        if cluster in columns[header[place]]:
            raise InputError(
                f"row {number}: cluster {cluster} is listed twice", where=str(path), remedy=AGAIN
            )
        for name, cell in zip(header, row, strict=False):
            if name:
                columns[name][cluster] = "" if cell.lower() in ("nan", "none") else cell
    return {name: column for name, column in columns.items() if name not in ID_COLUMNS} or {
        "": dict.fromkeys(columns[header[place]], "")
    }


AGAIN = "Save it again in Phy."


def _cluster(text: str, path: Path, row: int) -> int:
    try:
        number = float(text)
        if number >= 0 and number == int(number):
            return int(number)
    except (ValueError, OverflowError):
        pass
    raise InputError(
        f"row {row}: {text[:40]!r} is no cluster id", where=str(path), remedy=AGAIN
    ) from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_TEXT + 1)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})",
            where=str(path),
            remedy="Check its permissions.",
        ) from error
    if len(raw) > LARGEST_TEXT:
        raise InputError(
            f"is larger than {LARGEST_TEXT >> 20} MB", where=str(path), remedy="Check the file."
        )
    return raw.decode("utf-8-sig", "replace").replace("\0", "")


def _rate(value, where: str, remedy: str) -> float:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # from a command line
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise InputError(f"is {str(value)[:60]}, no plain number", where=where, remedy=remedy)
    if not math.isfinite(value) or value <= 0:
        raise InputError(f"is {value:g} Hz", where=where, remedy=remedy)
    if value < SLOWEST:
        raise InputError(
            f"is {value:g} Hz, too few samples for spikes",
            where=where,
            remedy=f"Give it in Hz, not kHz: {1000 * value:g}? {remedy}",
        )
    return float(value)


def _numbers(texts: list[str]) -> np.ndarray:
    try:
        values = np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        return np.array(texts, dtype=str)
    whole = np.isfinite(values).all() and (values == np.floor(values)).all()
    small = whole and (np.abs(values) < 2**53).all()
    return values.astype(np.int64) if small else values
