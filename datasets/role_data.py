"""The data of a role: responses in bins, and which frame was on screen in each."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromodels.datasets.binning import (
    bin_edges,
    frames_on_screen,
    smallest_unsigned,
    whole_bins,
)
from neuromodels.datasets.building import build_role
from neuromodels.datasets.recurrence import Stretch
from neuromodels.datasets.repeats import Choice

if TYPE_CHECKING:
    from neuromodels.datasets.presentations import Movie, Responses

LONGEST_HOLD = 10  # frame intervals; after a longer gap nothing is known to be on screen


def train_role(
    movie: Movie, responses: Responses, blocks: Sequence[Stretch], width: Fraction
) -> tuple[xr.Dataset, list[str]]:
    """The training data: stretches of frames, a block each, and notes on what is left out."""
    ends = movie.ends
    frames = np.concatenate([np.arange(start, stop) for start, stop in blocks])
    counts, times, labels = [], [], []
    for label, (start, stop) in enumerate(blocks):
        onset = float(movie.onsets[start])
        n_bins = whole_bins(float(ends[stop - 1]) - onset, width)
        counts.append(responses.binned(onset, width, n_bins))
        times.append(bin_edges(onset, width, n_bins)[:-1])
        labels.append(np.full(n_bins, label, dtype=np.int32))
    time, counts, labels, notes = _without_gaps(
        np.concatenate(times), _joined_counts(counts, responses.kind), np.concatenate(labels), width
    )
    shown = frames_on_screen(
        movie.onsets, time, width, last_frame=movie.period, hold=LONGEST_HOLD * movie.period
    )
    place = np.full(len(movie.onsets) + 1, -1, dtype=np.int64)
    place[frames] = np.arange(frames.size)
    pieces = f"{len(blocks)} stretch{'es' if len(blocks) != 1 else ''} of unrepeated frames"
    role = build_role(
        _select(movie.frames, frames),
        counts,
        kind=responses.kind,
        response_units=responses.units,
        bin_width=width,
        time=time,
        block=labels,
        frame_of_bin=place[shown],
        frame_time=movie.onsets[frames],
        stimulus_units=movie.frames.attrs.get("units", "arbitrary"),
        attrs={"selection": pieces},
        where=movie.where,
    )
    return role, notes


def _without_gaps(time, response, labels, width):
    """Bins in which every response is known; a new block begins after those that are left out."""
    if response.dtype.kind != "f":
        return time, response, labels, []
    known = ~np.isnan(response).any(axis=1)
    if known.all():
        return time, response, labels, []
    lost = np.count_nonzero(~known) * float(width)
    new = np.diff(labels, prepend=labels[:1]) != 0
    new[1:] |= known[1:] & ~known[:-1]
    labels = np.cumsum(new).astype(np.int32)
    note = f"{lost:.3g} s of the training data are left out: some cells have no value (NaN) there"
    return time[known], response[known], labels[known], [note]


def repeated_role(
    movie: Movie,
    responses: Responses,
    stretches: Sequence[Stretch],
    choice: Choice,
    width: Fraction,
) -> tuple[xr.Dataset, list[str]]:
    """The repeated test: clips after one another, a block each; shorter trials are ragged."""
    notes = []
    ends = movie.ends
    n_trials = max(len(clip.trials) for clip in choice.clips)
    frames, onsets, shown, times, labels, parts, starts = [], [], [], [], [], [], []
    n_frames, begin = 0, 0.0
    for label, clip in enumerate(choice.clips):
        first, stop = stretches[clip.reference]
        own = movie.onsets[first:stop] - movie.onsets[first]
        length = float(ends[stop - 1] - movie.onsets[first])
        trials = [stretches[i] for i in clip.trials]
        lengths = np.array([ends[b - 1] - movie.onsets[a] for a, b in trials])
        complete = lengths > length - movie.period / 2
        n_bins = whole_bins(float(lengths[complete].min()), width)
        response = []
        for (a, _), lasts in zip(trials, lengths, strict=True):
            there = min(n_bins, whole_bins(float(lasts), width))
            response.append(responses.binned(float(movie.onsets[a]), width, there))
        parts.append(_stack(response, n_trials, n_bins))
        starts.append([float(movie.onsets[a]) for a, _ in trials])
        jitter = [
            float(np.abs(movie.onsets[a:b] - movie.onsets[a] - own).max())
            for a, b in trials
            if b - a == stop - first
        ]
        off = [shift for shift in jitter if shift > movie.period / 2]
        if off:
            notes.append(
                f"{movie.name}: in {len(off)} of {len(trials)} repeats frames come up to "
                f"{max(off) * 1e3:.3g} ms earlier or later than in the others"
            )
        time = bin_edges(0.0, width, n_bins)[:-1]
        on_screen = frames_on_screen(
            own, time, width, last_frame=movie.period, hold=LONGEST_HOLD * movie.period
        )
        shown.append(np.where(on_screen < 0, -1, on_screen + n_frames))
        times.append(time + begin)
        onsets.append(own + begin)
        labels.append(np.full(n_bins, label, dtype=np.int32))
        frames.append(np.arange(first, stop))
        n_frames += stop - first
        begin += max(n_bins * float(width), float(own[-1]) + movie.period)
    role = build_role(
        _select(movie.frames, np.concatenate(frames)),
        np.concatenate(parts, axis=1),
        kind=responses.kind,
        response_units=responses.units,
        bin_width=width,
        time=np.concatenate(times),
        block=np.concatenate(labels),
        frame_of_bin=np.concatenate(shown),
        frame_time=np.concatenate(onsets),
        stimulus_units=movie.frames.attrs.get("units", "arbitrary"),
        attrs={"selection": choice.reason},
        where=movie.where,
    )
    return role.assign_coords(trial_starts(starts, n_trials)), notes


def trial_starts(starts: list[list[float]], n_trials: int) -> dict:
    """When each repeat began in the session: (trial,), or (trial, clip) of several clips."""
    about = {"units": "s", "description": "onset of each repeat in the session"}
    if len(starts) == 1:
        return {"trial_start": ("trial", np.array(starts[0]), about)}
    onsets = np.full((n_trials, len(starts)), np.nan)
    for clip, of_clip in enumerate(starts):
        onsets[: len(of_clip), clip] = of_clip
    labels = ("clip", np.arange(len(starts)), {"units": "1", "description": "block of the clip"})
    return {"trial_start": (("trial", "clip"), onsets, about), "clip": labels}


def _joined_counts(parts: list[np.ndarray], kind: str) -> np.ndarray:
    joined = np.concatenate(parts)
    return smallest_unsigned(joined) if kind == "count" else joined


def _stack(response: list[np.ndarray], n_trials: int, n_bins: int) -> np.ndarray:
    n_neurons = response[0].shape[1]
    if len(response) == n_trials and all(len(trial) == n_bins for trial in response):
        return np.stack(response)
    stacked = np.full((n_trials, n_bins, n_neurons), np.nan, dtype=np.float32)
    for i, trial in enumerate(response):
        stacked[i, : len(trial)] = trial
    return stacked


def _select(frames: xr.Variable, index: np.ndarray) -> xr.Variable:
    contiguous = index.size == index[-1] - index[0] + 1 and bool((np.diff(index) == 1).all())
    chosen = slice(int(index[0]), int(index[-1]) + 1) if contiguous else index
    return frames.isel({frames.dims[0]: chosen})
