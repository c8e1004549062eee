"""Linear filters of many neurons at many shifts of the stimulus, from covariances alone.

Filters are fitted by ridge regression on seven eighths of the pieces and scored on the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.linalg import solve

from neuromodels.analysis.drift import mean as average
from neuromodels.analysis.stimulus_features import Piece

GROUPS = 8  # of pieces; scores are those of groups left out
WINDOW, SPAN = 0.3, 0.5  # s: length of a filter, latencies around the best shift
_MOST_NEURONS, _MOST_PATTERNS, _MIN_SPIKES = 20, 40, 100


@dataclass(eq=False)
class Prepared:
    """Centred features and rates in groups of pieces, their covariances, and what was chosen."""

    features: list  # per piece (bin, pattern)
    rates: list  # per piece (bin, neuron)
    group: np.ndarray  # (piece,)
    neurons: np.ndarray
    n_lags: int  # to each side
    cross: np.ndarray  # (group, 2 n_lags + 1, neuron, pattern)
    power: np.ndarray  # (group, neuron)
    project: Callable  # a piece of another role to the same patterns
    scored: slice  # groups that scores are taken from


def prepare(pieces: list[Piece], kind, width, n_trials, most_shift) -> Prepared | str:
    total = sum(len(piece.rate) for piece in pieces)
    if total * width < 5:
        return "less than 5 s of data"
    while len(pieces) < GROUPS:  # few and long: halved, so that some can be left out
        pieces = [half for piece in pieces for half in _halves(piece)]
    rates = np.concatenate([piece.rate for piece in pieces])
    spikes = np.nansum(rates, axis=0) * (n_trials if kind == "count" else 1)
    variance = average((rates - average(rates)) ** 2)
    enough = variance > 0
    if kind == "count":
        enough &= spikes >= _MIN_SPIKES
    neurons = np.flatnonzero(enough)
    if neurons.size == 0:
        return f"no neuron has {_MIN_SPIKES} spikes" if kind == "count" else "no response varies"
    if neurons.size > _MOST_NEURONS:
        order = spikes if kind == "count" else variance
        neurons = np.sort(neurons[np.argsort(order[neurons])[-_MOST_NEURONS:]])
    every = np.concatenate([piece.stimulus for piece in pieces])
    mean = average(every)
    spread = np.sqrt(average((every - mean) ** 2))
    kept = spread > 1e-6 * max(1e-12, float(np.nanmax(np.abs(every), initial=0)))
    if not kept.any():
        return "the stimulus does not change"
    # Luminance and change differ in unit; patches of one kind keep their relative contrast.
    scale = spread[kept]

    def centred(piece: Piece) -> np.ndarray:
        return np.nan_to_num((piece.stimulus[:, kept] - mean[kept]) / scale)

    features = [centred(piece) for piece in pieces]
    rates = []
    for piece in pieces:
        rate = piece.rate[:, neurons]
        there = np.isfinite(rate)
        level = np.where(there, rate, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        rates.append(np.where(there, rate - level, 0).astype(np.float32))
    longest = max(len(rate) for rate in rates)
    reach = min(most_shift, longest * width / 2)
    n_lags = math.ceil((reach + WINDOW + SPAN) / width) + 1
    group = np.arange(len(pieces)) * GROUPS // len(pieces)
    scored = slice(None)
    if features[0].shape[1] > _MOST_PATTERNS:
        # Patterns found in what is scored would predict it by chance.
        scored = slice(1, None, 2)
        chosen = np.flatnonzero(group % 2 == 0)
        cross = covariance([features[i] for i in chosen], [rates[i] for i in chosen], n_lags)
        patterns = _patterns(cross)
        features = [part @ patterns for part in features]
        first = centred
        centred = lambda piece: first(piece) @ patterns  # noqa: E731
    cross = np.stack(
        [
            covariance(
                [features[i] for i in np.flatnonzero(group == g)],
                [rates[i] for i in np.flatnonzero(group == g)],
                n_lags,
            )
            for g in range(GROUPS)
        ]
    )
    power = np.stack(
        [
            sum((rates[i] ** 2).sum(axis=0) for i in np.flatnonzero(group == g))
            for g in range(GROUPS)
        ]
    )
    return Prepared(features, rates, group, neurons, n_lags, cross, power, centred, scored)


def _halves(piece: Piece) -> list[Piece]:
    middle = len(piece.rate) // 2
    return [
        Piece(piece.stimulus[part], piece.rate[part], piece.at)
        for part in (slice(middle), slice(middle, None))
    ]


def covariance(features: list, rates: list, n_lags: int) -> np.ndarray:
    """Sum of rate(t) feature(t − lag), (lag, neuron, feature), lags from −n_lags to n_lags."""
    n = next_fast_len(max(len(part) for part in rates) + n_lags, real=True)
    n = max(n, 2 * n_lags + 2)
    total = 0.0
    for x, y in zip(features, rates, strict=True):
        total = total + rfft(y, n, axis=0)[:, :, None] * rfft(x, n, axis=0)[:, None, :].conj()
    full = irfft(total, n, axis=0, overwrite_x=True)
    return np.concatenate([full[-n_lags:], full[: n_lags + 1]]).astype(np.float32)


def _patterns(cross: np.ndarray) -> np.ndarray:
    """The few patterns of features that some neuron follows at some lag, (feature, pattern)."""
    energy = (cross**2).sum(axis=2)
    frames = [cross[np.argsort(energy[:, n])[-12:], n] for n in range(cross.shape[1])]
    frames = np.concatenate([part / max(np.linalg.norm(part), 1e-30) for part in frames])
    _, _, patterns = np.linalg.svd(frames, full_matrices=False)
    return patterns[:_MOST_PATTERNS].T.astype(np.float32)


def _bumps(width: float) -> tuple[np.ndarray, np.ndarray]:
    """Lags (bins) of the window behind the stimulus, and smooth functions on them (lag, bump)."""
    first = 1 if width <= 0.02 else 0
    lags = np.arange(first, max(first + 1, round(WINDOW / width)) + 1)
    n = min(7, lags.size)
    if n == lags.size:
        return lags, np.eye(n, dtype=np.float32)
    centres = np.linspace(lags[0], lags[-1], n)
    phase = np.clip((lags[:, None] - centres) / (centres[1] - centres[0]), -1, 1)
    return lags, (0.5 + 0.5 * np.cos(np.pi * phase)).astype(np.float32)


class Scores:
    """Cross-validated linear predictions at any shift, from covariances alone."""

    def __init__(self, data: Prepared, width: float):
        self.data, self.width = data, width
        self.lags, self.bumps = _bumps(width)
        size = data.cross.shape[3] * self.bumps.shape[1]
        self.gram = np.zeros((GROUPS, size, size), np.float32)
        for x, g in zip(data.features, data.group, strict=True):
            design = _design(x, self.lags, self.bumps)
            self.gram[g] += design.T @ design
        total = self.gram.sum(axis=0)
        self.level = float(np.trace(total)) / size
        self.reach = data.n_lags - math.ceil(SPAN / width) - self.lags[-1]

    def target(self, shifts: np.ndarray, cross=None) -> np.ndarray:
        """Covariance of the design with the responses, (group, shift, neuron, weight)."""
        cross = self.data.cross if cross is None else cross
        centre = (cross.shape[1] - 1) // 2
        index = centre + np.asarray(shifts)[:, None] + self.lags
        return np.stack(
            [
                np.einsum("slnd,lb->sndb", part[index], self.bumps, optimize=True).reshape(
                    len(shifts), part.shape[1], -1
                )
                for part in cross
            ]
        )

    def curve(self, shifts: np.ndarray, ridge: float):
        """Covariance of prediction and response, and power of the prediction, per group."""
        target = self.target(shifts)
        total, gram = target.sum(axis=0), self.gram.sum(axis=0)
        shape = target.shape[1:]
        agree, power = np.empty((2, GROUPS, *shape[:2]))
        eye = np.eye(shape[2], dtype=np.float32) * ridge * self.level
        for g in range(GROUPS):
            rest = (total - target[g]).reshape(-1, shape[2])
            weights = solve(gram - self.gram[g] + eye, rest.T, assume_a="pos").T.reshape(shape)
            agree[g] = (weights * target[g]).sum(axis=2)
            spread = (weights.reshape(-1, shape[2]) @ self.gram[g]).reshape(shape)
            power[g] = (spread * weights).sum(axis=2)
        return agree, power

    def correlation(self, sums, groups: slice | None = None) -> np.ndarray:
        """(shift, neuron) from the sums of some groups."""
        groups = self.data.scored if groups is None else groups
        agree, power = (part[groups].sum(axis=0) for part in sums)
        response = self.data.power[groups].sum(axis=0)
        return agree / np.sqrt(np.maximum(power * response, 1e-30))


def _design(x: np.ndarray, lags: np.ndarray, bumps: np.ndarray) -> np.ndarray:
    """Features smoothed in the past by each bump, (bin, feature x bump)."""
    n = next_fast_len(len(x) + int(lags[-1]) + 1, real=True)
    kernel = np.zeros((lags[-1] + 1, bumps.shape[1]), np.float32)
    kernel[lags] = bumps
    spectrum = rfft(x, n, axis=0)[:, :, None] * rfft(kernel, n, axis=0)[:, None, :]
    return irfft(spectrum, n, axis=0)[: len(x)].reshape(len(x), -1).astype(np.float32)


def latencies(data: Prepared, best: int, width: float, chosen: np.ndarray):
    """Latency and onset of each chosen neuron (s), NaN for others; error of the median.

    The features are reduced to the one pattern that the neuron follows; its filter over lags
    around the best shift is smooth (penalty on second differences), which takes the stimulus'
    own autocorrelation out.
    """
    n_neurons = data.cross.shape[2]
    latency, onset = np.full((2, n_neurons), np.nan)
    span = math.ceil(SPAN / width)
    middle = best + round(WINDOW / 2 / width)
    centre = data.n_lags
    low, high = max(-centre, middle - span), min(centre, middle + span)
    lags = np.arange(low, high + 1)
    sums = data.cross[:, centre + lags]
    whole = sum(x.T @ x for x in data.features)
    whole = whole + np.eye(len(whole)) * 0.03 * np.trace(whole) / len(whole)
    n = next_fast_len(max(len(x) for x in data.features) + lags.size, real=True)
    bend = np.diff(np.eye(lags.size), 2, axis=0)
    bend = bend.T @ bend
    by_group = []
    for i in chosen:
        white = solve(whole, sums[:, :, i].sum(axis=0).T, assume_a="pos")
        u, _, _ = np.linalg.svd(white, full_matrices=False)
        pattern = u[:, 0]
        auto = np.zeros((GROUPS, lags.size))
        for x, g in zip(data.features, data.group, strict=True):
            auto[g] += irfft(np.abs(rfft(x @ pattern, n)) ** 2, n)[: lags.size]
        target = sums[:, :, i] @ pattern
        kernel, parts = _smooth_filter(auto, target, bend)
        noise = float(np.sqrt(np.var(parts, axis=0) * (GROUPS - 1)).mean())
        # What made this shift the best lies in its window.
        window = slice(max(0, best - 1 - low), best + 2 + round(WINDOW / width) - low)
        start = lags[window.start]
        latency[i], onset[i] = (start + place for place in _first_peak(kernel, window, noise))
        by_group.append([start + _first_peak(part, window, noise)[0] for part in parts])
    latency, onset = latency * width, onset * width
    typical = np.median(np.array(by_group) * width, axis=0)  # with each group left out
    spread = (GROUPS - 1) / GROUPS * np.sum((typical - typical.mean()) ** 2)
    scatter = 1.25 * np.std(latency[chosen]) / math.sqrt(chosen.size)
    return latency, onset, float(math.sqrt(spread + scatter**2 + (width / 2) ** 2))


def _smooth_filter(auto: np.ndarray, target: np.ndarray, bend: np.ndarray):
    """Filter (lag,) whose roughness predicts left-out groups best; and without each group."""
    place = np.abs(np.subtract.outer(*[np.arange(auto.shape[1])] * 2))
    matrices, best = auto[:, place], None
    for rough in (0.01, 0.1, 1.0, 10.0):
        penalty = (rough * bend + 1e-3 * np.eye(len(bend))) * auto[:, 0].sum()
        parts = [
            solve(matrices.sum(axis=0) - matrices[g] + penalty, target.sum(axis=0) - target[g])
            for g in range(GROUPS)
        ]
        agree = sum(part @ target[g] for g, part in enumerate(parts))
        power = sum(part @ matrices[g] @ part for g, part in enumerate(parts))
        score = agree / math.sqrt(max(power, 1e-30))
        if best is None or score > best[0]:
            best = score, penalty, parts
    return solve(matrices.sum(axis=0) + best[1], target.sum(axis=0)), best[2]


def _first_peak(kernel: np.ndarray, window: slice, noise: float) -> tuple[float, float]:
    """Place of the first peak clearly above half of the largest, and where it is half risen."""
    kernel = kernel[window]
    size = np.abs(kernel)
    inner = np.arange(1, size.size - 1)
    tops = inner[(size[inner] >= size[inner - 1]) & (size[inner] > size[inner + 1])]
    tops = tops[size[tops] >= min(size.max(), 0.5 * size.max() + 3 * noise)]
    top = int(tops[0]) if tops.size else int(np.argmax(size))
    signed = kernel * np.sign(kernel[top])
    rise = top
    while rise > 0 and signed[rise - 1] > 0.5 * signed[top]:
        rise -= 1
    if rise > 0:
        upper, lower = signed[rise], signed[rise - 1]
        rise -= (upper - 0.5 * signed[top]) / max(upper - lower, 1e-30)
    peak = float(top)
    if 0 < top < size.size - 1:
        a, b, c = signed[top - 1 : top + 2]
        peak += 0.5 * (c - a) / max(2 * b - a - c, 1e-30)
    return peak, float(rise)


def between_halves(scores: Scores, sums, coarse, ridge, follows) -> tuple[float, float]:
    """Delay of the second half of the session against the first, s, and its error.

    If the halves prefer shifts that are far apart, their difference; else the filter of each half
    is moved over the other.
    """
    half = GROUPS // 2
    parts = slice(half), slice(half, None)
    width = scores.width
    bests = []
    for part in parts:
        curve = scores.correlation(sums, part)[:, follows].mean(axis=1)
        bests.append(int(coarse[np.argmax(curve)]))
    if abs(bests[1] - bests[0]) * width > 0.4:
        return (bests[1] - bests[0]) * width, 0.1
    base = round(np.mean(bests))
    most = min(round(0.5 / width), scores.reach - abs(base))
    if most < 2:
        return math.nan, math.nan
    moves = np.arange(-most, most + 1)
    target = scores.target(base + moves)
    eye = np.eye(target.shape[3]) * ridge * scores.level
    delays = []
    for here, there, sign in ((parts[0], parts[1], 1), (parts[1], parts[0], -1)):
        weights = solve(scores.gram[here].sum(axis=0) + eye, target[here, most].sum(axis=0).T)
        for g in range(there.start or 0, there.stop or GROUPS):
            match = np.einsum("snw,wn->sn", target[g], weights)[:, follows]
            delays.append(sign * delay(match, moves) * width)
    delays = np.array(delays)  # (group, neuron)
    per_group = np.median(delays, axis=1)
    error = max(1.25 * per_group.std(ddof=1) / math.sqrt(GROUPS), width / 4)
    return float(np.median(delays)), float(error)


def delay(match: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Place of the highest match of every neuron, between the bins."""
    top = np.clip(np.argmax(match, axis=0), 1, len(moves) - 2)
    a, b, c = (match[top + k, np.arange(match.shape[1])] for k in (-1, 0, 1))
    bend = 2 * b - a - c
    return moves[top] + np.where(bend > 0, 0.5 * (c - a) / np.where(bend > 0, bend, 1), 0.0)
