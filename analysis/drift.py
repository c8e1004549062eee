"""Slow change over a session: a trend over blocks or trials, and the rate at the start of a block.

Functions of rates (row, neuron), one row per block, segment or trial, NaN where one is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

from neuromodels.analysis.sums import divide
from neuromodels.datasets.validation import DRIFT_CHANGE, DRIFT_Z

MIN_ROWS = 8  # fewer show no trend
SEGMENT = 30.0  # s, pieces of a session that was recorded in one go


@dataclass(frozen=True, eq=False)
class Drift:
    """Rates from the first to the last block or trial, per neuron.

    Attributes
    ----------
    over : str
        What was compared: "50 blocks", "54 trials".
    first_fifth, last_fifth : (neuron,)
        Mean over the first and over the last fifth of the rows, in the unit of the rows.
    change, standard_error : (neuron,)
        Rise of a straight line from start to end as a fraction of the mean, and its error.
    drifts : (neuron,) bool
        The change stands out, see `trend`.
    """

    over: str
    first_fifth: np.ndarray
    last_fifth: np.ndarray
    change: np.ndarray
    standard_error: np.ndarray
    drifts: np.ndarray


@dataclass(frozen=True, eq=False)
class BlockOnset:
    """Rate in the first tenth of a block relative to the whole block, per neuron.

    `ratio` is over `n_blocks` blocks, `standard_error` from their scatter; `differs` says where
    the ratio stands out from 1.
    """

    n_blocks: int
    ratio: np.ndarray
    standard_error: np.ndarray
    differs: np.ndarray


class Responses(NamedTuple):
    """What one role holds: values ([trial,] time, neuron), NaN where missing.

    `runs` are its blocks as (label, first bin, bin after the last), `time` the start of each bin
    and `width` their width, s.
    """

    values: np.ndarray
    runs: list[tuple[int, int, int]]
    time: np.ndarray
    width: float


def trend(over: str, rows, at=None, weights=None) -> Drift:
    """Whether the rates rise or fall from the first to the last row.

    Parameters
    ----------
    over : str
        What the rows are, for the reader.
    rows : array (row, neuron)
        Rates in the order of recording.
    at : array (row,), optional
        Place of each row in the session, from 0 to 1; by default they are equally spaced.
    weights : array (row,), optional
        Duration of each row.

    Returns
    -------
    Drift

    Notes
    -----
    Weighted least squares. A change is flagged where it exceeds 10 % of the mean and what chance
    exceeds once in 700 on each side: 3 standard errors for many rows, more for few (Student's t).
    The error takes the scatter of the rows as independent.
    """
    rows = np.asarray(rows, float)
    at = np.linspace(0, 1, len(rows)) if at is None else np.asarray(at, float)
    w = np.ones(len(rows)) if weights is None else np.asarray(weights, float)
    there = np.isfinite(rows)
    w, y, n = np.where(there, w[:, None], 0.0), np.where(there, rows, 0.0), there.sum(axis=0)
    x = at[:, None] - _average(at[:, None], w)
    centre, power = _average(y, w), (w * x**2).sum(axis=0)
    slope = divide((w * x * y).sum(axis=0), power)
    variance = divide((w * (y - centre - slope * x) ** 2).sum(axis=0), np.maximum(n - 2, 0))
    change = divide(slope, np.abs(centre))
    error = divide(np.sqrt(divide(variance, power)), np.abs(centre))
    fifth = math.ceil(len(rows) / 5)
    early, late = slice(fifth), slice(len(rows) - fifth, None)
    return Drift(
        over,
        _average(y[early], w[early]),
        _average(y[late], w[late]),
        change,
        error,
        _stands_out(change, error, n - 2),
    )


def over_blocks(session: list[Responses], rate_of: Callable) -> Drift | str:
    """Trend over the blocks of a session, or why there is none.

    Parameters
    ----------
    session : list of Responses
        Unrepeated data: train, then heldout. If their times overlap, each has a clock of its own
        and only the first counts.
    rate_of : callable
        Turns a mean per bin and the width of a bin into a rate.

    Returns
    -------
    Drift or str
        Fewer than 8 blocks are cut into segments of at most 30 s.
    """
    blocks = _session_blocks(session)
    over = f"{len(blocks)} blocks"
    if len(blocks) < MIN_ROWS:
        total = sum((stop - start) * found.width for found, start, stop in blocks)
        seconds = min(SEGMENT, max(1.0, total / 10))
        blocks = [part for block in blocks for part in _cut(*block, seconds)]
        over = f"{len(blocks)} segments of about {seconds:.3g} s"
    if not blocks:
        return "no unrepeated data"
    if len(blocks) < MIN_ROWS:
        return f"only {over}"
    rows = [rate_of(_block_mean(*block), block[0].width) for block in blocks]
    at = np.array([(found.time[a] + found.time[b - 1]) / 2 for found, a, b in blocks])
    first, last = blocks[0][0].time[blocks[0][1]], blocks[-1][0].time[blocks[-1][2] - 1]
    return trend(over, rows, (at - first) / (last - first), [b - a for _, a, b in blocks])


def block_onset(session: list[Responses]) -> BlockOnset | str:
    """Whether neurons fire more, or less, when a block begins; or why that is not known.

    Returns
    -------
    BlockOnset or str
        The ratio of the sums over blocks, and its error from their scatter (delta method).
    """
    blocks = [block for block in _session_blocks(session) if block[2] - block[1] >= 10]
    if len(blocks) < MIN_ROWS:
        return f"fewer than {MIN_ROWS} blocks"
    whole = np.array([_block_mean(*block) for block in blocks])
    first = np.array([_block_mean(found, a, a + (b - a) // 10) for found, a, b in blocks])
    there = np.isfinite(first) & np.isfinite(whole)
    n = there.sum(axis=0)
    first, whole = (np.where(there, values, 0.0) for values in (first, whole))
    total = whole.sum(axis=0)
    ratio = np.where(total > 0, divide(first.sum(axis=0), total), np.nan)
    scatter = np.where(there, (first - ratio * whole) ** 2, 0.0).sum(axis=0)
    error = divide(np.sqrt(divide(n * scatter, n - 1)), total)
    return BlockOnset(len(first), ratio, error, _stands_out(ratio - 1, error, n - 1))


def _session_blocks(session: list[Responses]) -> list[tuple[Responses, int, int]]:
    """Blocks in the order of recording; without heldout if its clock is not that of train."""
    blocks = [(found, start, stop) for found in session for _, start, stop in found.runs]
    blocks.sort(key=lambda block: block[0].time[block[1]])
    starts = np.array([found.time[start] for found, start, _ in blocks])
    stops = np.array([found.time[stop - 1] for found, _, stop in blocks])
    if len(session) > 1 and (starts[1:] <= stops[:-1]).any():
        return [(session[0], start, stop) for _, start, stop in session[0].runs]
    return blocks


def _cut(found: Responses, start: int, stop: int, seconds: float) -> list[tuple]:
    n = min(stop - start, max(1, round((stop - start) * found.width / seconds)))
    edges = start + (stop - start) * np.arange(n + 1) // n
    return [(found, int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _block_mean(found: Responses, start: int, stop: int) -> np.ndarray:
    return mean(observations(found.values[..., start:stop, :]))


def sum_and_count(values: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sum over what is there and how much that is."""
    if values.dtype.kind != "f":
        total = values.sum(axis=axis, dtype=np.float64)
        return total, np.full(total.shape, values.shape[axis])
    return np.nansum(values, axis=axis, dtype=np.float64), (~np.isnan(values)).sum(axis=axis)


def mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean over what is there, NaN where nothing is."""
    return divide(*sum_and_count(values, axis))


def observations(values: np.ndarray) -> np.ndarray:
    """([trial,] time, neuron) as (observation, neuron)."""
    return values.reshape(-1, values.shape[-1])


def _average(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return divide((weights * values).sum(axis=0), weights.sum(axis=0))


def _stands_out(change: np.ndarray, error: np.ndarray, dof: np.ndarray) -> np.ndarray:
    limit = stdtrit(np.maximum(dof, 1), ndtr(DRIFT_Z))
    with np.errstate(invalid="ignore"):
        return (np.abs(change) > limit * error) & (np.abs(change) > DRIFT_CHANGE)
