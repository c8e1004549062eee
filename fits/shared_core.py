"""One retina CNN for several recordings: a core that all share, a readout for each."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from neuromodels.datasets.splits import Partition
from neuromodels.encoding.base import Input
from neuromodels.fits.epochs import TrainingRecord
from neuromodels.fits.likelihoods import POISSON, Likelihood, settle
from neuromodels.fits.networks import fit_network
from neuromodels.fits.outcome import Outcome
from neuromodels.fits.progress import Progress
from neuromodels.fits.sampling import Segment
from neuromodels.fits.training import (
    StepTrainer,
    Trainer,
    TrainingOptions,
    make_optimizer,
    steps_per_epoch,
)
from neuromodels.models import ModelSpec


def pooled_inputs(data: Sequence[Input], partitions: Sequence[Partition]) -> list[Input]:
    """What each network is told of its recording, with one scale of the stimulus for all.

    Parameters
    ----------
    data : sequence of Input
        One per recording.
    partitions : sequence of Partition
        Theirs.

    Returns
    -------
    list of Input
        With the mean and the standard deviation of all training movies taken together: what is
        the same contrast to the animals is the same to the core.
    """
    bins = np.array([sum(block.n_bins for block in part.train) for part in partitions], float)
    share = bins / bins.sum()
    means, variances = (np.array([getattr(one, name) for one in data]) for name in ("mean", "std"))
    mean = float(share @ means)
    std = math.sqrt(float(share @ (variances**2 + (means - mean) ** 2)))
    return [replace(one, mean=mean, std=std) for one in data]


def joined_models(
    spec: ModelSpec, data: Sequence[Input], seed: int, **overrides: Any
) -> nn.ModuleList:
    """Untrained retina CNNs, one per recording, that have one core.

    Parameters
    ----------
    spec : ModelSpec
        A retina CNN.
    data : sequence of Input
        Frames of one size.
    seed : int
        Of the core and of the first readout; each further readout has its own, derived from it.
    **overrides
        Options that a fit has chosen, such as the history.

    Returns
    -------
    torch.nn.ModuleList
        ``models[i].core is models[0].core``.
    """
    models = nn.ModuleList(
        spec.build(one, _seed_of(seed, index), **overrides) for index, one in enumerate(data)
    )
    for model in models[1:]:
        model.core = models[0].core
    return models


def _seed_of(seed: int, index: int) -> int:
    return seed if index == 0 else zlib.crc32(f"{seed}/{index}".encode())


class SharedTrainer(StepTrainer):
    """Trains the networks of several recordings, whose core is one, by the sum of their losses.

    The loss is the mean over all training bins and cells of all recordings: its gradient in the
    core is the sum of the recordings' own, each weighted by its cells times bins. Every step
    draws from the recordings in proportion to their bins, `batch_bins` bins in all, and an epoch
    sees every bin once. Validation is the mean over recordings of the mean score over cells, so
    that a recording with many cells does not choose for the others. Where the core normalizes
    its units, each recording's share of a step is normalized by itself, and the running moments
    are common.

    Parameters
    ----------
    models : torch.nn.ModuleList
        As `joined_models` makes them; trained in place.
    partitions : sequence of Partition
        Training and validation blocks of each recording.
    options : TrainingOptions
        How.
    seed : int
        Of the order of segments.
    score_from : int
        First bin of each validation block that is scored.
    likelihood : Likelihood
        Of the responses, the same kind in all recordings.
    """

    def __init__(
        self,
        models: nn.ModuleList,
        partitions: Sequence[Partition],
        options: TrainingOptions,
        *,
        seed: int,
        score_from: int,
        likelihood: Likelihood = POISSON,
    ):
        self.options, self.likelihood = options, likelihood
        self.parts = [
            Trainer(
                model,
                part.train,
                part.validation,
                options,
                seed=_seed_of(seed, index),
                score_from=score_from,
                likelihood=likelihood,
            )
            for index, (model, part) in enumerate(zip(models, partitions, strict=True))
        ]
        n_segments = sum(len(part.segments) for part in self.parts)
        self.n_batches = steps_per_epoch(n_segments, options)
        own = tuple(f"validation_{index}" for index in range(len(self.parts)))
        super().__init__(
            models,
            make_optimizer(models, options),
            epochs=options.epochs,
            columns=("loss", "validation", "learning_rate", *own, "wall_time", "cpu_time"),
            generators={
                f"{name}_{index}": generator
                for index, part in enumerate(self.parts)
                for name, generator in part.generators.items()
            },
            patience=options.patience,
        )

    def _identity(self) -> dict[str, Any]:
        return {
            "options": asdict(self.options),
            "n_segments": [len(part.segments) for part in self.parts],
        }

    def batches(self) -> list[list[list[Segment]]]:
        """Draw the order of an epoch: per step, the segments of every recording."""
        drawn = []
        for index, part in enumerate(self.parts):
            order = torch.randperm(len(part.segments), generator=part.order).tolist()
            places = (np.arange(len(order)) + 0.5) / len(order)
            drawn += [(at, index, i) for at, i in zip(places.tolist(), order, strict=True)]
        # Sorted by place, every stretch of the list holds the recordings in proportion.
        drawn.sort()
        steps = []
        for step in range(self.n_batches):
            edges = [len(drawn) * k // self.n_batches for k in (step, step + 1)]
            chosen: list[list[Segment]] = [[] for _ in self.parts]
            for _, index, i in drawn[slice(*edges)]:
                chosen[index].append(self.parts[index].segments[i])
            steps.append(chosen)
        return steps

    def scores(self) -> dict[str, float]:
        """Mean score over recordings, and the score of each."""
        own = [part.validate() for part in self.parts]
        return {
            "validation": float(np.mean(own)),
            **{f"validation_{index}": score for index, score in enumerate(own)},
        }

    def accumulate(self, chosen: list[list[Segment]]) -> float:
        """Add the gradient of the loss of some segments of every recording; returns the loss."""
        sizes = np.array(
            [
                len(part.model.input.neurons) * sum(float(one.weight.sum()) for one in some)
                for part, some in zip(self.parts, chosen, strict=True)
            ]
        )
        shares = (sizes / sizes.sum()).tolist()
        return sum(
            share * part.accumulate(some, share)
            for part, some, share in zip(self.parts, chosen, shares, strict=True)
            if some
        )


def _train(
    spec: ModelSpec,
    _data: Input,
    _partition: Partition,
    options: TrainingOptions,
    *,
    inputs: Sequence[Input],
    partitions: Sequence[Partition],
    history: float,
    seed: int,
    score_from: int,
    checkpoint: Path | None,
    progress: Progress,
) -> tuple[nn.ModuleList, TrainingRecord]:
    spec, likelihood = settle(spec, options, inputs[0])
    models = joined_models(spec, inputs, seed, history=history)
    trainer = SharedTrainer(
        models, partitions, options, seed=seed, score_from=score_from, likelihood=likelihood
    )
    for part in trainer.parts:
        part.model.set_rates(torch.from_numpy(part.reference))
    return models, trainer.run(checkpoint, progress)


def fit_shared(
    spec: ModelSpec,
    data: Sequence[Input],
    partitions: Sequence[Partition],
    options: TrainingOptions,
    *,
    identities: Sequence[str],
    seed: int,
    search_seed: int,
    store: Path | None,
    search_store: Path | None,
    progress: Progress,
) -> list[Outcome]:
    """Fit one retina CNN to several recordings: a common core, and a readout for each.

    Parameters
    ----------
    spec : ModelSpec
        A retina CNN; a window of "auto" is chosen once for all, among those that every
        recording has room for.
    data : sequence of Input
        Of each recording; frames, bins and kind of response must agree.
    partitions : sequence of Partition
        Of each recording; training and validation blocks alone are looked at.
    options : TrainingOptions
        How.
    identities : sequence of str
        What tells the recordings apart: seeds follow their alphabet, so that the order in which
        recordings are given changes nothing.
    seed, search_seed, store, search_store, progress
        As for `neuromodels.fits.networks.fit_network`.

    Returns
    -------
    list of Outcome
        One per recording, in the order given. Each holds a plain retina CNN with its own copy of
        the core, equal in all.

    References
    ----------
    Klindt, Ecker, Euler, Bethge (2017), NeurIPS 30, arXiv:1711.02653: features that all cells
    share, read out by each; Lurz et al. (2021), ICLR: one core for several animals.
    """
    for one, part in zip(data, partitions, strict=True):
        settle(spec, options, one)[1].check([*part.train, *part.validation], one)
    order = sorted(range(len(data)), key=lambda index: identities[index])
    parts = [partitions[index] for index in order]
    inputs = pooled_inputs([data[index] for index in order], parts)
    together = Partition(
        [block for part in parts for block in part.train],
        [block for part in parts for block in part.validation],
        heldout=[],
        test=[],
        description={},
    )
    joint = fit_network(
        spec,
        inputs[0],
        together,
        options,
        seed=seed,
        search_seed=search_seed,
        store=store,
        search_store=search_store,
        progress=progress,
        train=partial(_train, inputs=inputs, partitions=parts),
    )
    spec = settle(spec, options, inputs[0])[0]
    own = [
        _own_outcome(spec, joint, place, one, seed, len(data)) for place, one in enumerate(inputs)
    ]
    return [own[order.index(index)] for index in range(len(data))]


def _own_outcome(
    spec: ModelSpec, joint: Outcome, place: int, data: Input, seed: int, n_recordings: int
) -> Outcome:
    """One recording's part of a joint fit, as if it had been fitted alone."""
    model = spec.build(data, _seed_of(seed, place), history=joint.summary["chosen_history"])
    model.load_state_dict(joint.model[place].state_dict())
    model.eval()
    history = joint.history
    own = history[f"validation_{place}"].assign_attrs(history["validation"].attrs)
    others = [f"validation_{index}" for index in range(n_recordings)]
    summary = joint.summary | {
        "recordings_sharing_the_core": n_recordings,
        "validation_of_this_recording": float(own[joint.summary["best_epoch"] - 1]),
    }
    return Outcome(
        model=model,
        history=history.drop_vars(others).assign(validation_own=own),
        diagnostics=dict(joint.diagnostics),
        summary=summary,
    )
