"""What all models of a comparison share: data, splits, normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import memory_bound
from neuromodels.datasets.image_recording import ImageRecording
from neuromodels.datasets.recording import Recording, frame_size
from neuromodels.datasets.splits import Partition, partition
from neuromodels.encoding.base import Input
from neuromodels.fits.predictions import RUNAWAY_FACTOR

#: Bins of a fit unless told otherwise, s.
BIN_WIDTH = 0.010
#: Values of the movie read at once for its mean and variance.
_READ_VALUES = 20_000_000
#: Of each: as stored, gathered bin by bin, and in double precision.
_VALUE_BYTES = 16
#: Between the names of stimuli that are learned from together.
JOINT = "+"
SCORED_ROLES = ("heldout", "test")
#: How far the ratio of frames and bins may be off a whole number, as a share of it.
FITTING = 0.01


@dataclass(frozen=True)
class Task:
    """One recording, made ready to fit models to.

    Attributes
    ----------
    recording : Recording
        At the bin width of the fit.
    learned : tuple of str
        Names of the stimuli that models learn from, together.
    partition : Partition
        Blocks to train on and to choose on, of all of them.
    scored : dict
        Blocks that are scored, by stimulus and role ("heldout", "test").
    reference : dict
        (neuron,) by scored stimulus: what the score of a model is relative to, its mean response
        per bin in that stimulus' training blocks (where it has none, in those learned from).
    adjusting : dict
        Validation blocks, by scored stimulus, of those that are not learned from: gain and offset
        of a prediction are refitted there.
    data : Input
        What a model must know about the recording.
    mean_rate : numpy.ndarray
        (neuron,), mean response per bin in training.
    notes : tuple of str
        What `validate` and the splits had to say.
    """

    recording: Recording
    learned: tuple[str, ...]
    partition: Partition
    scored: dict[str, dict[str, list[Block]]]
    reference: dict[str, np.ndarray]
    adjusting: dict[str, list[Block]]
    data: Input
    mean_rate: np.ndarray
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of what is learned from, as `learn_from` takes it."""
        return JOINT.join(self.learned)

    @property
    def stimulus(self) -> str:
        """The first stimulus learned from."""
        return self.learned[0]

    @property
    def response_units(self) -> str:
        """Of what is recorded and predicted."""
        if self.data.response == "count":
            return "spikes per bin"
        return self.recording.role("train", self.stimulus)["response"].attrs.get("units", "1")

    @property
    def max_rate(self) -> np.ndarray:
        """(neuron,): simulated rates above this run away and are capped, spikes per bin."""
        largest = np.max([block.response.max(axis=0) for block in self.partition.train], axis=0)
        return RUNAWAY_FACTOR * np.maximum(largest, 1).astype(float)

    def roles(self) -> dict[str, list[Block]]:
        """Blocks of the first stimulus learned from that are scored, by role."""
        return self.scored.get(self.stimulus, {role: [] for role in SCORED_ROLES})

    def description(self) -> dict[str, Any]:
        """What is stored with every result."""
        return {
            "source": self.recording.source,
            "identity": self.recording.identity,
            "stimulus": self.name,
            "scored": list(self.scored),
            "bin_width_s": self.data.bin_width,
            "covariates": list(self.data.covariates),
            "splits": self.partition.description,
        }


def default_bin_width(recording: Recording) -> float:
    """10 ms where the stored bins divide it, else the nearest wider multiple of them, s."""
    stored = recording.stored_bin_width
    return stored * max(1, int(np.ceil(BIN_WIDTH / stored - 1e-9)))


def _moments(blocks: list[Block]) -> tuple[float, float]:
    """Mean and standard deviation of the movie, all pixels, as it was shown bin by bin."""
    count, total, squares = 0, 0.0, 0.0
    for block in blocks:
        values = min(_READ_VALUES, memory_bound() // (8 * _VALUE_BYTES))
        step = max(1, values // math.prod(block.frame_shape))
        for start in range(0, block.n_bins, step):
            movie = block.movie(start, min(start + step, block.n_bins)).astype(np.float64)
            count += movie.size
            total += movie.sum()
            squares += np.square(movie, out=movie).sum()
    mean = total / count
    return mean, float(np.sqrt(max(squares / count - mean**2, 0.0)))


def prepare(
    recording: Recording,
    *,
    bin_width: float | None = None,
    learn_from: str | None = None,
    score_on: Sequence[str] | None = None,
) -> Task:
    """Check a recording, split it and normalize it.

    Parameters
    ----------
    recording : Recording
        Spike counts, rates or traces.
    bin_width : float, optional
        s; `default_bin_width` if not given.
    learn_from : str, optional
        Which stimulus models learn from, if there are several; "a+b" for both together.
    score_on : sequence of str, optional
        Which stimuli models are scored on; by default all with frames of the same size that have
        anything to score.

    Returns
    -------
    Task
        What every model of a comparison is fitted to and scored on.

    Raises
    ------
    InputError
        The recording has errors, responses of several kinds, no training blocks, a stimulus that
        never changes, or no such stimulus.
    """
    if isinstance(recording, ImageRecording):
        raise InputError(
            "holds responses to pictures, and these models are fitted to movies.",
            where=recording.source,
            remedy="See it with `neuromodels inspect`, or read it with recording.role() for a fit "
            "of your own.",
        )
    if not isinstance(recording, Recording):
        raise InputError(
            f"is a {type(recording).__name__}, no recording.",
            where="recording",
            remedy="Give what nm.open_recording or nm.recording_from_arrays returns, a path, or a "
            "list of these.",
        )
    report = recording.validate()
    report.raise_errors()
    view = recording.at(default_bin_width(recording) if bin_width is None else bin_width)
    learned = _learned(view, learn_from)
    parts = {name: partition(view, name) for name in learned}
    for name, part in parts.items():
        for what, blocks in (("train", part.train), ("validation", part.validation)):
            if not blocks:
                raise InputError(
                    f"no {what} blocks are left.",
                    where=f"{recording.source}: /{name}: splits",
                    remedy="Record a longer unrepeated stretch, or give more blocks.",
                )
    whole = _together(parts)
    scored, others, left_out = _scored(view, parts, score_on)
    reference = {
        name: mean_response((parts.get(name) or others.get(name) or whole).train) for name in scored
    }
    mean, std = _moments(whole.train)
    if std == 0:
        raise InputError(
            "the stimulus never changes in training.",
            where=f"{recording.source}: stimulus",
            remedy="Choose a stimulus that varies.",
        )
    data = Input(
        movie_shape=whole.train[0].frame_shape,
        neurons=tuple(str(n) for n in view.neurons),
        bin_width=view.bin_width,
        mean=mean,
        std=std,
        response=_kind(view, tuple(dict.fromkeys([*learned, *scored]))),
        **_covariates(whole.train),
    )
    found = [f"{note.where.rpartition(': ')[2]}: {note.what}" for note in report.notes]
    display = _note_on_display(view, learned[0])
    notes = (*view.attrs.get("notes", []), *found, *left_out, *display)
    return Task(
        view,
        learned,
        whole,
        scored,
        reference,
        {name: part.validation for name, part in others.items()},
        data,
        mean_response(whole.train),
        tuple(notes),
    )


def _note_on_display(view: Recording, stimulus: str) -> list[str]:
    """Said where bins and frames of the display do not fit: some bins show a frame late."""
    train = view.role("train", stimulus)
    if "frame_time" not in train or train.sizes["frame"] < 2:
        return []
    frame, width = float(np.median(np.diff(train["frame_time"].values))), view.bin_width
    share = max(frame, width) / min(frame, width)
    if abs(share - round(share)) <= FITTING * share:
        return []
    return [
        f"bins of {1e3 * width:.4g} ms do not fit frames of {1e3 * frame:.4g} ms, so that models "
        "see some frames late: bins that divide a frame predict better (docs/recordings.md)"
    ]


def mean_response(blocks: list[Block]) -> np.ndarray:
    """Mean response per bin, (neuron,), over unrepeated blocks."""
    return np.concatenate([block.response for block in blocks]).mean(axis=0)


def _learned(view: Recording, learn_from: str | None) -> tuple[str, ...]:
    """Names of the stimuli that are learned from; each has training data and equal frames."""
    if learn_from is None:
        if len(view.stimuli) == 1:
            return view.stimuli
        raise InputError(
            "has several stimuli and none was named.",
            where=f"{view.source}: learn_from",
            remedy=f"Choose one of {', '.join(view.stimuli)}; several, to learn from each in turn; "
            f"or {JOINT.join(view.stimuli[:2])!r}, to learn from both together.",
        )
    # A name may itself have the sign in it.
    names = (learn_from,) if learn_from in view.stimuli else tuple(learn_from.split(JOINT))
    names = tuple(dict.fromkeys(name.strip() for name in names))
    shapes = {}
    for name in names:
        shapes[name] = tuple(view.role("train", name)["stimulus"].shape[1:])
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{name} {frame_size(shape)}" for name, shape in shapes.items())
        raise InputError(
            f"stimuli with frames of different sizes cannot be learned from together: {said}.",
            where=f"{view.source}: learn_from",
            remedy="Learn from each in turn.",
        )
    return names


def _together(parts: dict[str, Partition]) -> Partition:
    """All blocks of several stimuli, to learn from at once."""
    if len(parts) == 1:
        return next(iter(parts.values()))

    def all_of(role: str) -> list[Block]:
        return [block for part in parts.values() for block in getattr(part, role)]

    return Partition(
        *(all_of(role) for role in ("train", "validation", "heldout", "test")),
        {"by_stimulus": {name: part.description for name, part in parts.items()}},
    )


def _scored(
    view: Recording, parts: dict[str, Partition], score_on: Sequence[str] | None
) -> tuple[dict[str, dict[str, list[Block]]], dict[str, Partition], list[str]]:
    """Blocks to score, by stimulus; how those not learned from are split; what is left out."""
    first = next(iter(parts.values()))
    shape = first.train[0].frame_shape
    asked = list(dict.fromkeys(view.stimuli if score_on is None else score_on))
    # What was learned from comes first: it is what a table begins with.
    asked.sort(key=lambda name: name not in parts)
    scored, others, left_out = {}, {}, []
    for name in asked:
        # Split as if it were learned from: every model is then scored on the same blocks.
        found = parts.get(name) or _partition_if_long_enough(view, name)
        there = view.roles(name)
        roles = {
            role: getattr(found, role)
            if found
            else (view.blocks(role, name) if role in there else [])
            for role in SCORED_ROLES
        }
        known = [block for blocks in roles.values() for block in blocks if block.frames is not None]
        why = "has nothing to score (no held-out and no repeated frames)" if not known else ""
        if known and known[0].frame_shape != shape:
            why = f"has frames of another size ({frame_size(known[0].frame_shape)})"
        if why and score_on is not None:
            raise InputError(
                f"{name} {why}.",
                where=f"{view.source}: score_on",
                remedy=f"What is learned from has {frame_size(shape)}; leave {name} out.",
            )
        if why:
            left_out.append(f"not scored on {name}: it {why}")
            continue
        scored[name] = roles
        if found and name not in parts:
            others[name] = found
    return scored, others, left_out


def _partition_if_long_enough(view: Recording, name: str) -> Partition | None:
    if "train" not in view.roles(name):
        return None
    try:
        return partition(view, name)
    except InputError:
        return None


def _kind(view: Recording, names: tuple[str, ...]) -> str:
    """What the responses are, the same in every role."""
    kinds = {
        f"/{name}/{role}": view.tree[name][role]["response"].attrs.get("kind")
        for name in names
        for role in view.roles(name)
    }
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{where} {kind}" for where, kind in kinds.items())
        raise InputError(
            f"holds responses of several kinds: {said}.",
            where=f"{view.source}: response",
            remedy="Learn from and score on stimuli with one kind of response (learn_from, "
            "score_on).",
        )
    return next(iter(kinds.values()))


def _covariates(blocks: list[Block]) -> dict[str, tuple]:
    """Names of the covariates that all training blocks have, their means and deviations."""
    names = [
        name
        for name in blocks[0].covariate_names
        if all(name in block.covariate_names for block in blocks)
    ]
    means, stds = [], []
    for name in names:
        values = np.concatenate([b.covariates[:, b.covariate_names.index(name)] for b in blocks])
        known = values[np.isfinite(values)].astype(float)
        changes = known.size and np.ptp(known) > 0
        means.append(float(known.mean()) if known.size else 0.0)
        # One that never changes says nothing, whatever its scale.
        stds.append(float(known.std()) if changes else 1.0)
    return {
        "covariates": tuple(names),
        "covariate_mean": tuple(means),
        "covariate_std": tuple(stds),
    }
