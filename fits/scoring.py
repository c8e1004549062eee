"""Scores of predictions against what was recorded, in every mode, each with its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from neuromodels.analysis.intervals import interval_or_reason, jackknife_over_blocks, sub_blocks
from neuromodels.analysis.metrics import METRICS
from neuromodels.analysis.poisson import expected_root
from neuromodels.datasets.blocks import Block
from neuromodels.fits.predictions import Prediction

#: Stretch that is left out at a time for a standard error, s.
PIECE_SECONDS = 3.0
#: With fewer pieces a standard error would be a guess: there is none.
MIN_PIECES = 10
#: Stretch of a test movie whose score is shown as spread where there is no interval, s.
STRETCH_SECONDS = 1.0


class Score(NamedTuple):
    """One column of the scores: which formula, on which data, given what.

    Attributes
    ----------
    name : str
        Label in the results.
    metric : str
        Formula, in `neuromodels.analysis.metrics.METRICS`.
    role : str
        "heldout": unrepeated blocks that no fit has seen; "test": the repeated movie.
    conditional : bool
        Whether the model was given the recorded spikes.
    unit : str
        Of the value.
    adjusted : bool
        Whether gain and offset of the prediction were refitted.
    """

    name: str
    metric: str
    role: str
    conditional: bool
    unit: str
    adjusted: bool = False


SCORES = (
    Score("bits_per_spike", "bits_per_spike", "heldout", False, "bits per spike"),
    Score("deviance_explained", "deviance_explained", "heldout", False, "1"),
    Score("variance_explained", "variance_explained", "heldout", False, "1"),
    Score("bits_per_spike_conditional", "bits_per_spike", "heldout", True, "bits per spike"),
    Score("deviance_explained_conditional", "deviance_explained", "heldout", True, "1"),
    Score("pearson_r", "pearson_r", "test", False, "1"),
    Score("cc_norm", "cc_norm", "test", False, "1"),
    Score("feve", "feve", "test", False, "1"),
    Score("r2_er", "r2_er", "test", False, "1"),
    Score("signal_power_explained", "signal_power_explained", "test", False, "1"),
    Score("bits_per_spike_test", "bits_per_spike", "test", False, "bits per spike"),
    Score("deviance_explained_test", "deviance_explained", "test", False, "1"),
    Score("variance_explained_test", "variance_explained", "test", False, "1"),
    Score("bits_per_spike_test_conditional", "bits_per_spike", "test", True, "bits per spike"),
    Score("deviance_explained_test_conditional", "deviance_explained", "test", True, "1"),
)
#: For stimuli that some model has not learned from.
ADJUSTED = Score(
    "bits_per_spike_adjusted", "bits_per_spike", "heldout", False, "bits per spike", adjusted=True
)
#: Scores of spikes alone, as a sentence begins.
OF_COUNTS = {"bits_per_spike": "bits per spike are", "deviance_explained": "Poisson deviance is"}


@dataclass(frozen=True)
class Observed:
    """The responses of one role that are scored, joined over blocks.

    Attributes
    ----------
    blocks : list of Block
        Where they come from.
    response : numpy.ndarray
        (trial, bin, neuron); one trial where nothing was repeated; NaN where none was recorded.
    label : numpy.ndarray
        (bin,): label of the block.
    scored : numpy.ndarray
        (bin,) bool: bins that every model of the comparison can predict.
    repeated : bool
        Whether the stimulus was repeated.
    kind : str
        What the responses are: "count" (spikes per bin), "rate" or "trace".
    """

    blocks: list[Block]
    response: np.ndarray
    label: np.ndarray
    scored: np.ndarray
    repeated: bool
    kind: str = "count"

    @property
    def n_trials(self) -> int:
        """Repeats; 1 where nothing was repeated."""
        return self.response.shape[0]


def observe(blocks: list[Block], lead_in: int, kind: str = "count") -> Observed | None:
    """Join the blocks of a role; bins before `lead_in` in each block are not scored.

    Parameters
    ----------
    blocks : list of Block
        Of one role.
    lead_in : int
        The longest of all models of a comparison, bins.
    kind : str
        "count", "rate" or "trace".

    Returns
    -------
    Observed or None
        None if there is no block.
    """
    if not blocks:
        return None
    repeated = blocks[0].response.ndim == 3
    n_trials = max(block.n_trials for block in blocks)
    parts = []
    for block in blocks:
        response = block.response if repeated else block.response[None]
        full = np.full((n_trials, *response.shape[1:]), np.nan)
        full[: len(response)] = response
        parts.append(full)
    scored = [np.arange(block.n_bins) >= lead_in for block in blocks]
    labels = [np.full(block.n_bins, i) for i, block in enumerate(blocks)]
    return Observed(
        blocks,
        np.concatenate(parts, axis=1),
        np.concatenate(labels),
        np.concatenate(scored),
        repeated,
        kind,
    )


def joined(predictions: list[Prediction], observed: Observed, score: Score) -> Any:
    """Predictions of all blocks on the observed bins, or None where a model has no such mode.

    Returns
    -------
    numpy.ndarray or None
        (bin, neuron), or (trial, bin, neuron) for conditional ones.
    """
    if score.adjusted:
        if any(prediction.adjusted is None for prediction in predictions):
            return None
        return np.concatenate([prediction.adjusted for prediction in predictions])
    if not score.conditional:
        return np.concatenate([prediction.rate for prediction in predictions])
    if any(prediction.conditional is None for prediction in predictions):
        return None
    parts = []
    for prediction in predictions:
        rates = prediction.conditional
        rates = rates if rates.ndim == 3 else rates[None]
        full = np.full((observed.n_trials, *rates.shape[1:]), np.nan)
        full[: len(rates)] = rates
        parts.append(full)
    return np.concatenate(parts, axis=1)


class Scored(NamedTuple):
    """One score of one model: per neuron, and for the population in two ways.

    Attributes
    ----------
    value, standard_error, low, high : numpy.ndarray
        (neuron,), NaN where there is none.
    mean, ratio : numpy.ndarray
        (value, standard error, low, high) of the mean over cells and of the ratio of sums.
    reason : str
        Why the score does not exist; "" where it does.
    no_interval : str
        Why there is no interval; "" where there is one.
    """

    value: np.ndarray
    standard_error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    ratio: np.ndarray
    reason: str
    no_interval: str


def _nothing(n_neurons: int, reason: str) -> Scored:
    empty, four = np.full(n_neurons, np.nan), np.full(4, np.nan)
    return Scored(empty, empty, empty, empty, four, four, reason, reason)


def why_not(score: Score, observed: Observed | None) -> str:
    """Why a score cannot exist on this data; "" where it can."""
    if observed is None:
        return f"the recording has no {score.role} data"
    if not observed.scored.any():
        return f"every {score.role} block is shorter than the longest window"
    if observed.kind != "count" and score.metric in OF_COUNTS:
        return (
            f"{OF_COUNTS[score.metric]} defined for spike counts; this recording holds "
            f"{observed.kind}s"
        )
    needed = METRICS[score.metric].min_trials
    if observed.n_trials < needed:
        return f"needs at least {needed} repeats, the recording has {observed.n_trials}"
    return ""


def evaluate(
    score: Score,
    observed: Observed | None,
    predictions: list[Prediction] | None,
    *,
    null_rate: np.ndarray,
    bin_width: float,
    other: list[Prediction] | None = None,
) -> Scored:
    """One score of one model, or of the paired difference of two.

    Parameters
    ----------
    score : Score
        Which.
    observed : Observed or None
        Responses of its role.
    predictions : list of Prediction or None
        One per block.
    null_rate : numpy.ndarray
        (neuron,), mean training response: the reference of bits per spike, deviance and variance
        explained.
    bin_width : float
        s.
    other : list of Prediction, optional
        Predictions of a second model: score the difference, first minus second.

    Returns
    -------
    Scored
        NaN with a reason where the score does not exist.
    """
    n_neurons = len(null_rate)
    if reason := why_not(score, observed):
        return _nothing(n_neurons, reason)
    first = joined(predictions, observed, score)
    second = None if other is None else joined(other, observed, score)
    if first is None or (other is not None and second is None):
        learned = "the model has learned from this stimulus"
        return _nothing(n_neurons, learned if score.adjusted else "the model does not see spikes")
    use = observed.scored
    responses, labels = observed.response[:, use], observed.label[use]
    first = first[..., use, :]
    second = None if second is None else second[..., use, :]
    if score.metric == "r2_er" and observed.kind == "count":
        # The estimator assumes equal variance over time; square roots of counts nearly have it.
        responses, first = np.sqrt(responses), expected_root(first)
        second = None if second is None else expected_root(second)
    metric = METRICS[score.metric]
    pieces = sub_blocks(labels, bin_width, PIECE_SECONDS)
    sums = metric.sums(first, responses, pieces, null_rate)
    other_sums = None if second is None else metric.sums(second, responses, pieces, null_rate)

    columns = {}
    reasons = ""
    for reduction in ("none", "mean", "ratio"):
        value = metric.evaluate(sums.total(), reduction)
        if other_sums is not None:
            value = value - metric.evaluate(other_sums.total(), reduction)
        error = np.full(np.shape(value), np.nan)
        if len(sums.blocks) >= MIN_PIECES:
            error = jackknife_over_blocks(
                metric, sums, other_sums, reduction=reduction, stretches=labels_of(pieces, labels)
            ).standard_error
        interval = interval_or_reason(
            score.metric,
            first,
            responses,
            bin_width=bin_width,
            blocks=labels,
            null_rate=null_rate,
            other=second,
            reduction=reduction,
        )
        columns[reduction] = (value, error, interval.low, interval.high)
        if reduction == "mean":
            reasons = str(np.ravel(interval.reason)[0])
    return Scored(
        *columns["none"],
        mean=np.array([float(v) for v in columns["mean"]]),
        ratio=np.array([float(v) for v in columns["ratio"]]),
        reason="",
        no_interval=reasons,
    )


def split_inputs(inputs: str) -> tuple[list[str], list[str]]:
    """What a model was given: what it sees (stimulus, covariates), and whose recorded spikes."""
    parts = inputs.split(" + ")
    past = [part for part in parts if part.endswith(" past")]
    return [part for part in parts if part not in past], past


def labels_of(pieces: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Block that each piece lies in."""
    return labels[np.unique(pieces, return_index=True)[1]]


def spread_over_stretches(
    score: Score,
    observed: Observed,
    predictions: list[Prediction],
    null_rate: np.ndarray,
    bin_width: float,
) -> tuple[float, float]:
    """Smallest and largest mean over cells that a part of the data gives by itself.

    The parts are blocks of the held-out data, and stretches of about a second of a test movie.
    """
    rates = joined(predictions, observed, score)
    if rates is None:
        return np.nan, np.nan
    use, metric = observed.scored, METRICS[score.metric]
    parts = observed.label[use]
    if observed.repeated:
        parts = sub_blocks(parts, bin_width, STRETCH_SECONDS)
    sums = metric.sums(rates[..., use, :], observed.response[:, use], parts, null_rate)
    values = metric.evaluate(sums.arrays, "mean")
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)
