"""From frames, their onsets, trials and spike times to the roles of a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frame_numbers import alike, numbers_of_stretches
from neuromodels.datasets.frames import frame_slabs
from neuromodels.datasets.recurrence import Stretch
from neuromodels.datasets.repeats import (
    Choice,
    chosen_repeats,
    number_frames,
    on_equal_steps,
    plain_repeats,
    repeats_in_movie,
    repeats_in_trials,
)
from neuromodels.datasets.role_data import LONGEST_HOLD, repeated_role, train_role

SHORTEST_CLIP = 2.0  # s, for clips that are found in a movie without trials


@dataclass(frozen=True, eq=False)
class Movie:
    """A stimulus as it was presented.

    Attributes
    ----------
    frames : xarray.Variable (frame, [channel,] y, x), perhaps on disk
    onsets : (frame,) float64, s, ascending
    period : float, the usual interval between frames, s
    where : str, file and variable, for messages
    numbers : (frame,) int64, optional
        Equal ones stand for identical frames, where the reader knows them without the frames.
    streamed : bool
        Frames come over a connection: only those that decide are read and compared.
    """

    name: str
    frames: xr.Variable
    onsets: np.ndarray
    period: float
    where: str
    attrs: dict = field(default_factory=dict)
    numbers: np.ndarray | None = None
    streamed: bool = False

    @property
    def breaks(self) -> np.ndarray:
        """Frames before which the movie pauses."""
        return np.flatnonzero(np.diff(self.onsets) > LONGEST_HOLD * self.period) + 1

    @property
    def ends(self) -> np.ndarray:
        """When each frame goes, s: at the next onset, or after one interval before a pause."""
        ends = np.append(self.onsets[1:], self.onsets[-1] + self.period)
        last = self.breaks - 1
        ends[last] = self.onsets[last] + self.period
        return ends


class Responses(Protocol):
    """What neurons did, on the clock of the movie; see `responses.Units` and `responses.Traces`."""

    kind: str
    units: str | None

    def binned(self, start: float, width: Fraction, n_bins: int) -> np.ndarray:
        """Responses (bin, neuron) in `n_bins` bins from `start`, s."""


@dataclass(frozen=True)
class Declared:
    """Which part the user says is the test: rows of the trials, or stretches of time."""

    said: str
    rows: np.ndarray | None = None  # (trial,) bool
    intervals: np.ndarray | None = None  # (stretch, 2), s; none of them: nothing is test


def frames_of_intervals(movie: Movie, intervals: np.ndarray) -> list[Stretch]:
    """First frame and frame after the last of each (start, stop) in seconds.

    A frame belongs to the interval in which it begins; half a frame of jitter is allowed for.
    """
    early = np.asarray(intervals, dtype=np.float64).reshape(-1, 2) - movie.period / 2
    index = np.searchsorted(movie.onsets, early)
    return [(int(a), int(b)) for a, b in index]


def make_roles(
    movie: Movie,
    responses: Responses,
    width: Fraction,
    *,
    trials: np.ndarray | None = None,
    test: Declared | None = None,
    table: str = "trials",
) -> tuple[dict[str, xr.Dataset], str, list[str]]:
    """Cut a movie and its spikes into training data and the repeated test.

    Parameters
    ----------
    movie : Movie
    responses : Responses
        Sorted spikes or traces on the clock of the movie.
    width : Fraction
        Width of the bins, s.
    trials : (trial, 2), s, optional
        Start and stop of each trial, ascending, without overlap.
    test : Declared, optional
        What the user says. Otherwise repeats are found from the frames.
    table : str
        What the trials are called, for messages.

    Returns
    -------
    roles : {"train": ..., "test": ...}; a part that is empty is left out
    reason : str, which part is the test and why
    notes : list of str
    """
    numbers, compared = _numbers(movie, trials, test, table)
    stretches, choice, notes = _cut(movie, numbers, trials, test, table)
    if compared:
        notes = [note for note in notes if "no clip of" not in note] + compared
    train = [stretches[i] for i in choice.train]
    train, said = _train_stretches(
        movie, numbers, stretches, train, table if trials is not None else ""
    )
    notes = [*notes, *choice.notes, *said]
    roles = {}
    blocks = _joined(train, movie.breaks)
    if blocks:
        roles["train"], said = train_role(movie, responses, blocks, width)
        notes += said
    if choice.clips:
        roles["test"], said = repeated_role(movie, responses, stretches, choice, width)
        notes += said
    roles = {role: node for role, node in roles.items() if node.sizes["time"]}
    return roles, choice.reason, notes


def _numbers(
    movie: Movie, trials: np.ndarray | None, test: Declared | None, table: str
) -> tuple[np.ndarray, list[str]]:
    """Equal numbers for identical frames, and what a stream leaves out."""
    if movie.numbers is not None:
        return movie.numbers, []
    if not movie.streamed:
        return number_frames(frame_slabs(movie.frames), movie.where), []
    if test is not None and test.intervals is not None:
        decisive = frames_of_intervals(movie, test.intervals)
    elif trials is not None and test is not None and test.rows is not None:
        every = frames_of_intervals(movie, trials)
        decisive = [every[i] for i in np.flatnonzero(test.rows)]
    elif trials is not None:
        decisive = alike(movie.frames, frames_of_intervals(movie, trials), movie.where)
    else:
        decisive = []
    looked = f"in the {table} only" if trials is not None else "nowhere, as there are no trials"
    if test is not None:
        looked = "only in what test= says"
    note = (
        f"{movie.name}: streamed, so repeats were looked for {looked}, and other frames were not "
        "compared; download the file for the full search"
    )
    return numbers_of_stretches(movie.frames, decisive, movie.where), [note]


def _cut(
    movie: Movie,
    numbers: np.ndarray,
    trials: np.ndarray | None,
    test: Declared | None,
    table: str,
) -> tuple[list[Stretch], Choice, list[str]]:
    """Stretches of frames, and which of them are train and test."""
    min_frames = max(1, int(np.ceil(SHORTEST_CLIP / movie.period)))
    whole = (0, len(numbers))

    def words(n_frames: int) -> str:
        return f"{n_frames * movie.period:.3g} s"

    if test is not None and test.intervals is not None:
        chosen = [s for s in frames_of_intervals(movie, test.intervals) if s[1] > s[0]]
        rest = _outside(chosen, whole) if trials is None else frames_of_intervals(movie, trials)
        rest = [
            s for s in rest if s[1] > s[0] and not any(s[0] < b and a < s[1] for a, b in chosen)
        ]
        stretches = sorted([*chosen, *rest])
        picked = [stretches.index(stretch) for stretch in chosen]
        shown = _shown(movie, numbers, stretches)
        return stretches, chosen_repeats(shown, picked, min_frames, test.said), []

    if trials is not None:
        stretches = frames_of_intervals(movie, trials)
        filled = [i for i, (start, stop) in enumerate(stretches) if stop > start]
        notes = []
        if len(filled) < len(stretches):
            notes.append(
                f"{len(stretches) - len(filled)} of {len(stretches)} {table} show no frame of "
                f"{movie.name}"
            )
        stretches = [stretches[i] for i in filled]
        shown = _shown(movie, numbers, stretches)
        if test is not None and test.rows is not None:
            picked = np.flatnonzero(test.rows[filled]).tolist()
            return stretches, chosen_repeats(shown, picked, min_frames, test.said), notes
        choice = repeats_in_trials(shown, min_frames, movie.where, words)
        if choice is not None:
            return stretches, choice, notes
        notes += plain_repeats(shown)
        found = repeats_in_movie(numbers, movie.breaks, min_frames, movie.where, words)
        if found is not None:
            notes.append(
                f"no two {table} show identical frames, but parts of the movie recur: the test "
                "was found without the table"
            )
            return *found, notes
    else:
        notes = []
        found = repeats_in_movie(numbers, movie.breaks, min_frames, movie.where, words)
        if found is not None:
            return *found, notes
        stretches = [whole]
    reason = "no repeats found: no test"
    choice = Choice((), tuple(range(len(stretches))), (), reason)
    notes.append(
        f"{movie.name}: no clip of {SHORTEST_CLIP:g} s or more is shown again, so there is no "
        "test; test= can choose one"
    )
    return stretches, choice, notes


def _shown(movie: Movie, numbers: np.ndarray, stretches: Sequence[Stretch]) -> list[np.ndarray]:
    return [on_equal_steps(numbers[a:b], movie.onsets[a:b], movie.period) for a, b in stretches]


def _train_stretches(
    movie: Movie,
    numbers: np.ndarray,
    stretches: Sequence[Stretch],
    train: list[Stretch],
    table: str,
) -> tuple[list[Stretch], list[str]]:
    """Training stretches; frames outside of all trials serve where the trials leave none."""
    outside = _outside(stretches, (0, len(numbers)))
    seconds = sum(stop - start for start, stop in outside) * movie.period
    if not table or not outside:
        return train, []
    if train:
        return train, [f"{seconds:.3g} s of {movie.name} lie in none of the {table}: left out"]
    shortest = SHORTEST_CLIP / movie.period
    used = [(start, stop) for start, stop in outside if stop - start >= shortest]
    if not used:
        return train, []
    return used, [f"all {table} are test, so the frames outside of them are the training data"]


def _outside(stretches: Sequence[Stretch], whole: Stretch) -> list[Stretch]:
    rest, position = [], whole[0]
    for start, stop in sorted(stretches):
        if start > position:
            rest.append((position, start))
        position = max(position, stop)
    return [*rest, (position, whole[1])] if position < whole[1] else rest


def _joined(stretches: Sequence[Stretch], breaks: np.ndarray) -> list[Stretch]:
    """Stretches cut where the movie pauses, and joined where they touch without a pause."""
    pauses = set(breaks.tolist())
    joined: list[Stretch] = []
    for start, stop in sorted(stretches):
        inside = [b for b in breaks.tolist() if start < b < stop]
        for a, b in zip([start, *inside], [*inside, stop], strict=True):
            if joined and joined[-1][1] == a and a not in pauses:
                joined[-1] = (joined[-1][0], b)
            else:
                joined.append((a, b))
    return joined


def check_trials(trials: np.ndarray, where: str) -> np.ndarray:
    """Order of the trials in time.

    Raises
    ------
    InputError
        If a trial has no start or stop, stops before it starts, or overlaps another one.
    """
    bad = np.flatnonzero(~(np.isfinite(trials).all(axis=1) & (trials[:, 1] >= trials[:, 0])))
    if bad.size:
        start, stop = trials[bad[0]]
        raise InputError(
            f"row {bad[0]} runs from {start:g} to {stop:g} s ({bad.size} such rows)",
            where=where,
            remedy="Give every row a start_time and a later stop_time, or choose another table "
            "with table= (table='none' reads the movie without one).",
        )
    order = np.argsort(trials[:, 0], kind="stable")
    ordered = trials[order]
    overlap = np.flatnonzero(ordered[1:, 0] < ordered[:-1, 1] - 1e-6)
    if overlap.size:
        first, second = order[overlap[0]], order[overlap[0] + 1]
        raise InputError(
            f"rows {first} and {second} overlap in time ({overlap.size} such pairs)",
            where=where,
            remedy="Choose a table whose rows follow one another with table= (table='none' reads "
            "the movie without one).",
        )
    return order
