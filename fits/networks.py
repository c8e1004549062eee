"""Fitting a network: choose how far back it sees, then train it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuromodels.datasets.splits import Partition
from neuromodels.encoding.base import EncodingModel, Input
from neuromodels.fits.checkpoint import load_checkpoint, save_checkpoint
from neuromodels.fits.epochs import TrainingRecord
from neuromodels.fits.likelihoods import settle
from neuromodels.fits.outcome import Outcome, history_dataset
from neuromodels.fits.progress import Progress
from neuromodels.fits.training import Trainer, TrainingOptions
from neuromodels.fits.windows import candidate_histories, longest_lead_in
from neuromodels.models import ModelSpec


def _train(
    spec: ModelSpec,
    data: Input,
    partition: Partition,
    options: TrainingOptions,
    *,
    history: float,
    seed: int,
    score_from: int,
    checkpoint: Path | None,
    progress: Progress,
) -> tuple[EncodingModel, TrainingRecord]:
    spec, likelihood = settle(spec, options, data)
    model = spec.build(data, seed, history=history)
    trainer = Trainer(
        model,
        partition.train,
        partition.validation,
        options,
        seed=seed,
        score_from=score_from,
        likelihood=likelihood,
    )
    model.set_rates(torch.from_numpy(trainer.reference))
    return model, trainer.run(checkpoint, progress)


class _Shifted(Progress):
    """Tells a part of the work as steps of the whole."""

    def __init__(self, progress: Progress, before: int, note: str):
        self._progress, self._before, self._note = progress, before, note

    def update(self, done: int, note: str = "") -> None:
        self._progress.update(self._before + done, f"{self._note}{note}")


def _search(
    spec: ModelSpec,
    data: Input,
    partition: Partition,
    options: TrainingOptions,
    histories: tuple[float, ...],
    *,
    seed: int,
    score_from: int,
    store: Path | None,
    progress: Progress,
    train: Callable[..., tuple[EncodingModel, Any]],
) -> list[float]:
    """Validation score of each window after a short training; finished ones are kept in `store`."""
    short = options.for_search()
    scores: list[float] = []
    for index, history in enumerate(histories):
        done = store / f"history_{index}.h5" if store else None
        if done is not None and (found := load_checkpoint(done)):
            scores.append(float(found[0]["score"]))
            continue
        _, record = train(
            spec,
            data,
            partition,
            short,
            history=history,
            seed=seed,
            score_from=score_from,
            checkpoint=store / f"history_{index}.running.h5" if store else None,
            progress=_Shifted(progress, index * short.epochs, f"window {history:g} s   "),
        )
        scores.append(record.best)
        if done is not None:
            save_checkpoint(done, {"score": np.array(record.best)}, {"history": history})
    return scores


def fit_network(
    spec: ModelSpec,
    data: Input,
    partition: Partition,
    options: TrainingOptions,
    *,
    seed: int,
    search_seed: int,
    store: Path | None,
    search_store: Path | None,
    progress: Progress,
    train: Callable[..., tuple[EncodingModel, Any]] = _train,
) -> Outcome:
    """Train a network; a window of "auto" is first chosen by short trainings.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    data : Input
        Frames, neurons, bin width and normalization.
    partition : Partition
        Training and validation blocks; nothing else is looked at.
    options : TrainingOptions
        How.
    seed : int
        Of weights, noise and order of segments.
    search_seed : int
        The same for the choice of the window, which all seeds of a comparison share.
    store, search_store : Path or None
        Folders that hold the running state of this fit, and of the choice of the window.
    progress : Progress
        Told after every epoch.
    train : callable
        Trains one model with a given window.

    Returns
    -------
    Outcome
        Fitted model with its history and diagnostics.
    """
    spec, likelihood = settle(spec, options, data)
    likelihood.check([*partition.train, *partition.validation], data)
    wanted = spec.resolve()
    histories = candidate_histories(wanted.history, partition, data.bin_width, wanted.delay)
    score_from = longest_lead_in(histories, data.bin_width, wanted.delay)
    searching = len(histories) > 1
    total = options.epochs + searching * len(histories) * options.search_epochs
    progress.start(spec.name, total)
    diagnostics: dict[str, Any] = {}
    chosen = histories[0]
    before = 0
    if searching:
        scores = _search(
            spec,
            data,
            partition,
            options,
            histories,
            seed=search_seed,
            score_from=score_from,
            store=search_store,
            progress=progress,
            train=train,
        )
        chosen = histories[int(np.argmax(scores))]
        before = len(histories) * options.search_epochs
        diagnostics["search"] = (("candidate_history",), np.array(scores))
        diagnostics["candidate_history"] = np.array(histories)
    model, record = train(
        spec,
        data,
        partition,
        options,
        history=chosen,
        seed=seed,
        score_from=score_from,
        checkpoint=store / "training.h5" if store else None,
        progress=_Shifted(progress, before, ""),
    )
    progress.finish(f"validation {record.best:.3f} {likelihood.unit}, window {chosen:g} s")
    return Outcome(
        model=model,
        history=history_dataset(record.history, "epoch", likelihood.metric),
        diagnostics=diagnostics,
        summary={
            "chosen_history": chosen,
            "history_candidates": list(histories),
            "likelihood": likelihood.name,
            f"validation_{likelihood.metric}": record.best,
            "validation_from_bin": score_from,
            "best_epoch": record.best_epoch + 1,
            "stopped": record.stopped,
            "converged": None,
            **likelihood.remarked(partition.train),
        },
    )
