"""Whether spikes are those of one neuron, and whether it answers alike in every trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuromodels.analysis.drift import MIN_ROWS, Drift, Responses, trend
from neuromodels.analysis.sums import divide

#: Wider bins say nothing about refractory periods, s.
WIDEST_BIN = 0.0021
#: Spikes closer than `REFRACTORY` s to the one before, as a share, that are too many.
REFRACTORY, TOO_MANY = 0.0015, 0.01


@dataclass(frozen=True, eq=False)
class Refractory:
    """Share of spikes that come too soon after another to be of the same neuron.

    Spikes are known to one bin, so these are lower bounds for the limits named.

    Attributes
    ----------
    within : tuple of float
        One and two bins, s.
    share_one, share_two : (neuron,)
        Spikes in the same bin as an earlier one; in the same or the next bin.
    violates : (neuron,) bool
        More than 1 % of the spikes come within 1.5 ms of another.
    """

    within: tuple[float, float]
    share_one: np.ndarray
    share_two: np.ndarray
    violates: np.ndarray


def refractory(session: list[Responses], kind: str) -> Refractory | str:
    """How many spikes follow another at once, or why that is not known.

    Parameters
    ----------
    session : list of Responses
        Counts (time, neuron) or (trial, time, neuron) in the stored bins.
    kind : str
        Of the response: only counts have spikes.
    """
    if kind != "count":
        return "no spikes, but " + {"rate": "rates", "trace": "traces"}.get(kind, kind)
    if not session:
        return "no data"
    width = session[0].width
    if width > WIDEST_BIN:
        return f"bins of {width * 1e3:.3g} ms are too wide (2 ms or less needed)"
    spikes = same = following = 0
    for found in session:
        values = np.nan_to_num(found.values)
        there = values > 0
        total = values.reshape(-1, values.shape[-1]).sum(axis=0, dtype=np.float64)
        occupied = there.reshape(-1, there.shape[-1]).sum(axis=0)
        pairs = there[..., 1:, :] & there[..., :-1, :]
        edges = [start for _, start, _ in found.runs[1:]]
        pairs[..., np.array(edges, int) - 1, :] = False
        spikes = spikes + total
        same = same + total - occupied
        following = following + pairs.reshape(-1, pairs.shape[-1]).sum(axis=0)
    one, two = divide(same, spikes), divide(same + following, spikes)
    known = np.zeros(one.shape)
    for share, limit in ((one, width), (two, 2 * width)):
        known = np.where(limit <= REFRACTORY, share, known)
    if width > REFRACTORY:
        known = np.zeros(one.shape)
    return Refractory((width, 2 * width), one, two, np.nan_to_num(known) > TOO_MANY)


def gain_over_trials(values: np.ndarray) -> Drift | str:
    """Trend of the size of the response over trials, or why there is none.

    Parameters
    ----------
    values : array (trial, time, neuron)

    Returns
    -------
    Drift or str
        Rows are the slope of each trial's response on the mean response of the others: 1 on
        average, whatever the rate without a stimulus.
    """
    if len(values) < MIN_ROWS:
        return f"fewer than {MIN_ROWS} trials"
    y = np.asarray(values, np.float64)
    y = y[:, np.isfinite(y).all(axis=(0, 2))]
    if y.shape[1] < 10:
        return "trials share too few bins"
    y = y - y.mean(axis=1, keepdims=True)
    total, rows = y.sum(axis=0), []
    for trial in y:
        others = (total - trial) / (len(y) - 1)
        rows.append(divide((others * trial).sum(axis=0), (others**2).sum(axis=0)))
    rows = np.array(rows)
    return trend(f"{len(y)} trials", divide(rows, rows.mean(axis=0)))
