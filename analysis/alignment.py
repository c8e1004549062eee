"""Whether stimulus and spikes are on one clock: which shift of the stimulus predicts best.

A linear filter over the 0.3 s before each bin is fitted at every shift of the stimulus, and scored
by its correlation with the response on stretches that it was not fitted to. The latency of the
cells is read from a filter that may also look into the future. Spikes cannot precede their
stimulus, and seldom follow it by more than 0.2 s: a latency outside these limits says by how much
the clocks disagree.

What the test cannot see is listed in `LIMITS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve

from neuromodels.analysis.alignment_filters import (
    Prepared,
    Scores,
    between_halves,
    covariance,
    delay,
    latencies,
    prepare,
)
from neuromodels.analysis.drift import mean
from neuromodels.analysis.stimulus_features import Piece, take_pieces
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording

#: Plausible times from a frame to the peak of the response, s; and the usual one.
PLAUSIBLE = {"count": (0.02, 0.2), "rate": (0.02, 0.2), "trace": (0.02, 0.8)}
USUAL = 0.07
#: Latest plausible half rise of a spiking response, s.
LATEST_ONSET = 0.12
#: What the test cannot see, for the reader.
LIMITS = (
    "cannot be seen: a late stimulus as long as cells still rise after it, an early one as long as "
    "they rise within 120 ms (both: unless latency=(low, high) is known); a shift of a movie that "
    "hardly changes or repeats itself; cells that follow neither luminance nor change"
)
_BIN = 0.010  # s
_PIECE, _MOST_BINS = 60.0, 60_000  # s, and bins in all
_RIDGE = (0.003, 0.03, 0.3)  # of the mean variance of the features
_CLEAR, _CERTAIN = 7.0, 10.0  # scatters above chance; a single neuron must do better to warn
_ELSEWHERE, _NEARLY = 0.6, 0.75  # s from the best shift, share of its score: a rival
_MOVED = 0.03  # s between halves, or train and test, that matter


@dataclass(frozen=True, eq=False)
class Alignment:
    """What shifting the stimulus does to a linear prediction, and what latency the cells have.

    Shifts say where to move the stimulus: `score` at −0.8 s is that of frame times less 0.8 s.

    Attributes
    ----------
    verdict : {"aligned", "late", "early", "drifts", "ambiguous", "unknown"}
        Of the stimulus: "late" if its frame times are later than the truth.
    message : str
        One sentence for the reader, with the numbers.
    role : str
    neurons : (neuron,) str
        The neurons used: at most 20, those with most spikes.
    shift : (shift,)
        Shifts tried, s.
    score : (shift,)
        Mean over neurons of the cross-validated correlation with the response.
    score_per_neuron : (shift, neuron)
    best_shift : float
        Where the score is highest, s; all shifts with the filter inside the window score alike.
    follows : (neuron,) bool
        The neuron's own score is clearly above chance at its best shift.
    latency, onset : (neuron,)
        Time from stimulus to the first large peak of the filter, and to half of its rise, s.
    late, late_low, late_high : float
        How much too late the frame times are, s (negative: too early), for the usual latency and
        for the largest and smallest plausible ones. 0 within them.
    clear : float
        Height of the best neuron's score above those at other shifts, in scatters of these.
    latency_error : float
        Standard error of the median latency, s, over neurons and stretches of time.
    rival : float
        Another shift that predicts nearly as well, s; NaN if there is none.
    second_half, second_half_error : float
        How much later (s) the responses are in the second half of the session than in the first.
    test_shift, test_shift_error : float
        The same for the repeated test against the training data.
    """

    verdict: str
    message: str
    role: str = ""
    neurons: np.ndarray = None
    shift: np.ndarray = None
    score: np.ndarray = None
    score_per_neuron: np.ndarray = None
    best_shift: float = math.nan
    follows: np.ndarray = None
    latency: np.ndarray = None
    onset: np.ndarray = None
    late: float = math.nan
    late_low: float = math.nan
    late_high: float = math.nan
    clear: float = math.nan
    latency_error: float = math.nan
    rival: float = math.nan
    second_half: float = math.nan
    second_half_error: float = math.nan
    test_shift: float = math.nan
    test_shift_error: float = math.nan

    @property
    def warns(self) -> bool:
        """Whether a lab should look at its clocks before it fits anything."""
        return self.verdict in ("late", "early", "drifts")


def alignment_test(
    recording: Recording,
    stimulus: str | None = None,
    *,
    most_shift: float = 10.0,
    latency: tuple[float, float] | None = None,
) -> Alignment:
    """Say whether the frame times and the spike times are on one clock.

    Parameters
    ----------
    recording : Recording
        The training data are used (or held-out data, or the mean over repeats).
    stimulus : str, optional
        Which, if there are several.
    most_shift : float
        Shifts up to this, s, to both sides, or half of the stretches between gaps.
    latency : (float, float), optional
        Plausible times from a frame to the peak of the response, s. 20 to 200 ms if not given
        (800 ms for traces). A narrow range makes the test sharper: of cells known to peak at 50 to
        90 ms, every shift of 50 ms is found.

    Returns
    -------
    Alignment
        Its `verdict` is "unknown" where the test is impossible; the `message` says why.

    Raises
    ------
    InputError
        If the stimulus or the range makes no sense.

    Notes
    -----
    A stimulus that is late by more than the cells' latency makes them respond before it, which is
    certain evidence; retinal cells that rise within 50 ms reveal 50 ms. One that is early lengthens
    the apparent latency and is told where that is implausible: with a latency of 70 ms, from 130 ms
    on. Halves of the session, and the repeated test, are compared with each other to about 10 ms,
    whatever the latency.

    At most 10 minutes, in pieces spread over the session, are read; large frames are pooled.
    """
    if latency is not None and not 0 <= latency[0] < latency[1] < math.inf:
        raise InputError(
            f"is {latency}, expected 0 ≤ low < high",
            where="alignment_test: latency",
            remedy="Give seconds: latency=(0.02, 0.2).",
        )
    if not 0 < most_shift < math.inf:
        raise InputError(
            f"is {most_shift}", where="alignment_test: most_shift", remedy="Give seconds, above 0."
        )
    view = recording.at(recording.exact_bin_width * max(1, round(_BIN / recording.bin_width)))
    offered = [
        name
        for name in ("train", "heldout", "test", "repeats")
        if name in view.roles(stimulus) and "stimulus" in view.role(name, stimulus)
    ]
    if not offered:
        return _unknown("the stimulus is not in the recording")
    role = view.role(offered[0], stimulus)
    width = view.bin_width
    if width > 0.1:
        return _unknown(f"bins of {width:.3g} s are too wide")
    pieces = take_pieces(role, _PIECE, _MOST_BINS)
    kind = role["response"].attrs.get("kind", "count")
    prepared = prepare(pieces, kind, width, len(role.get("trial", [0])), most_shift)
    if isinstance(prepared, str):
        return replace(_unknown(prepared), role=offered[0])
    scores = Scores(prepared, width)
    found = _test(prepared, scores)
    if found.verdict == "unknown":
        found = _apart(found, pieces, kind, width, most_shift)
    if found.verdict == "aligned":
        latest = math.inf if latency or kind == "trace" else LATEST_ONSET
        found = _judge(found, latency or PLAUSIBLE[kind], latest, width)
    found = replace(found, role=offered[0], neurons=recording.neurons[prepared.neurons])
    other = "test" if "test" in offered[1:] else None
    if other and found.follows is not None and found.follows.any():
        found = _compare_roles(found, scores, view.role(other, stimulus))
    return found


def _unknown(why: str) -> Alignment:
    return Alignment("unknown", f"not tested: {why}")


def _test(data: Prepared, scores: Scores) -> Alignment:
    width = scores.width
    step = max(1, round(0.05 / width))
    coarse = np.arange(-(scores.reach // step) * step, scores.reach + 1, step)
    tried = [(ridge, scores.curve(coarse, ridge)) for ridge in _RIDGE]
    curves = [scores.correlation(sums) for _, sums in tried]
    ridge, sums = tried[int(np.argmax([curve.mean(axis=1).max() for curve in curves]))]
    per_neuron = scores.correlation(sums)
    best = int(coarse[np.argmax(per_neuron.mean(axis=1))])
    near = np.abs((coarse - best) * width) <= _ELSEWHERE
    z = _above_chance(per_neuron, near, sum(len(rate) for rate in data.rates))
    follows = (z > _CLEAR) & (per_neuron[near].max(axis=0) > 0.02)
    typical = per_neuron[:, follows].mean(axis=1) if follows.any() else per_neuron.mean(axis=1)
    fine = np.arange(max(-scores.reach, best - 4 * step), min(scores.reach, best + 4 * step) + 1)
    fine_score = scores.correlation(scores.curve(fine, ridge))
    if follows.any():
        best = int(fine[np.argmax(fine_score[:, follows].mean(axis=1))])
    shift = np.concatenate([coarse, fine])
    score = np.concatenate([per_neuron, fine_score])
    shift, order = np.unique(shift, return_index=True)
    score = score[order]
    reach = scores.reach * width
    found = Alignment(
        "unknown",
        f"not known: no neuron clearly follows the stimulus at any shift up to ±{reach:.3g} s",
        shift=shift * width,
        score=score[:, follows if follows.any() else slice(None)].mean(axis=1),
        score_per_neuron=score,
        best_shift=best * width,
        follows=follows,
        clear=float(z.max()),
    )
    if not follows.any():
        return found
    latency, onset, error = latencies(data, best, width, np.flatnonzero(follows))
    far = np.abs(coarse * width - best * width) > _ELSEWHERE
    rival = math.nan
    # Shifted far, the ends of a piece have no partner.
    even = typical / (1 - np.abs(coarse) / max(len(rate) for rate in data.rates))
    if far.any() and even[far].max() > _NEARLY * even[~far].max():
        rival = float(coarse[far][np.argmax(even[far])] * width)
    moved, moved_error = between_halves(scores, sums, coarse, ridge, follows)
    return replace(
        found,
        verdict="aligned",
        latency=latency,
        onset=onset,
        latency_error=error,
        rival=rival,
        second_half=moved,
        second_half_error=moved_error,
    )


def _apart(found: Alignment, pieces: list[Piece], kind, width: float, most_shift) -> Alignment:
    """Test the quarters of a session alone: a clock that drifts blurs what all share."""
    quarters = [pieces[i * len(pieces) // 4 : (i + 1) * len(pieces) // 4] for i in range(4)]
    if len(pieces) < 4 or min(sum(len(p.rate) for p in q) for q in quarters) * width < 30:
        return found
    prepared = [prepare(quarter, kind, width, 1, most_shift) for quarter in quarters]
    tests = [_test(part, Scores(part, width)) for part in prepared if not isinstance(part, str)]
    seen = [test for test in tests if test.verdict != "unknown"]
    peaks = [float(np.nanmedian(test.latency)) for test in seen]
    if len(seen) < 3 or max(peaks) - min(peaks) <= 2 * _MOVED:
        return found
    message = "the clocks drift or jump: in the quarters of the session responses peak at " + (
        ", ".join(f"{value:+.2f}" for value in peaks)
    )
    message += " s after the stimulus" if len(seen) == 4 else " s (one could not be measured)"
    return replace(found, verdict="drifts", message=message)


def _above_chance(curve: np.ndarray, near: np.ndarray, n_bins: int) -> np.ndarray:
    """Height of the best score near the best shift in scatters of the scores elsewhere."""
    elsewhere = curve[~near] if (~near).sum() >= 10 else curve
    middle = np.median(elsewhere, axis=0)
    # From below the median: other peaks, of a movie that repeats itself, are no scatter.
    scatter = middle - np.quantile(elsewhere, 0.159, axis=0)
    return (curve[near].max(axis=0) - middle) / np.maximum(scatter, n_bins**-0.5)


def _compare_roles(found: Alignment, scores: Scores, role) -> Alignment:
    """Add how much later the responses of the test are than those of the training data."""
    data, width = scores.data, scores.width
    pieces = take_pieces(role, _PIECE, _MOST_BINS)
    if not pieces or pieces[0].stimulus.shape[1] < 1 or len(pieces[0].rate) * width < 2:
        return found
    try:
        features = [data.project(piece).astype(np.float32) for piece in pieces]
    except (ValueError, IndexError):  # the movies differ in size
        return found
    rates = [np.nan_to_num(p.rate[:, data.neurons] - mean(p.rate[:, data.neurons])) for p in pieces]
    base = round(found.best_shift / width)
    most = min(round(0.5 / width), scores.reach - abs(base))
    if most < 2:
        return found
    moves = np.arange(-most, most + 1)
    cross = covariance(features, [r.astype(np.float32) for r in rates], data.n_lags)[None]
    weights = solve(
        scores.gram.sum(axis=0) + np.eye(scores.gram.shape[1]) * 0.03 * scores.level,
        scores.target(np.array([base])).sum(axis=0)[0].T,
    )
    match = np.einsum("snw,wn->sn", scores.target(base + moves, cross)[0], weights)
    clear = found.follows & (match.max(axis=0) > 3 * np.median(np.abs(match), axis=0))
    if not clear.any():
        return found
    delays = delay(match[:, clear], moves) * width
    error = max(1.25 * np.std(delays) / math.sqrt(delays.size), width / 2)
    found = replace(found, test_shift=float(np.median(delays)), test_shift_error=float(error))
    if found.verdict == "aligned" and abs(found.test_shift) > max(_MOVED, 4 * error):
        later = "later" if found.test_shift > 0 else "earlier"
        message = (
            f"responses to the test come {abs(found.test_shift) * 1e3:.0f} ms {later} than in "
            "training: its trials and the training movie are not on one clock"
        )
        return replace(found, verdict="drifts", message=message)
    return found


def _judge(found: Alignment, plausible, latest_onset: float, width: float) -> Alignment:
    latency = float(np.nanmedian(found.latency))
    onset = float(np.nanmedian(found.onset))
    # Also the rise must follow the stimulus, and not too late.
    low = max(plausible[0], latency - onset - width / 2)
    high = max(low, min(plausible[1], latency - onset + latest_onset))
    slack = width / 2 if width > 0.02 else 0.0  # a bin's stimulus is that at its centre
    slack += 2 * found.latency_error if found.latency_error > 0.015 + width / 2 else 0.0
    late = 0.0
    if not low - slack <= latency <= high + slack:
        late = np.clip(USUAL, low, high) - latency
    limits = {"late": late, "late_low": 0.0, "late_high": 0.0}
    if late:
        limits |= {"late_low": low - latency, "late_high": high - latency}
    found = replace(found, **{name: float(value) for name, value in limits.items()})
    n, reach = int(found.follows.sum()), found.shift.max()
    said = f"the response peaks {_ms(latency)} ± {_ms(found.latency_error)} after the stimulus"
    if not math.isnan(found.rival):
        message = (
            f"not known: shifts of {found.best_shift:+.2f} and {found.rival:+.2f} s predict alike; "
            "the stimulus repeats itself or changes slowly"
        )
        return replace(found, verdict="ambiguous", message=message)
    moved, error = found.second_half, found.second_half_error
    if abs(moved) > max(_MOVED, 4 * error):
        later = "later" if moved > 0 else "earlier"
        message = (
            f"the clocks drift or jump: responses come {_ms(abs(moved))} ± {_ms(error)} {later} in "
            "the second half of the session than in the first"
        )
        return replace(found, verdict="drifts", message=message)
    if late and n == 1 and found.clear < _CERTAIN:
        message = f"not known: only one neuron follows the stimulus, and hardly ({said})"
        return replace(found, verdict="unknown", message=message)
    if late:
        word, verb = ("late", "Subtract") if late > 0 else ("early", "Add")
        span = sorted(abs(value) for value in (found.late_low, found.late_high))
        if late > 0 and latency <= low:
            said = f"responses peak only {_ms(latency)} after it"
            said = f"responses precede it by {_ms(-latency)}" if latency < 0 else said
        message = (
            f"your stimulus seems to start {abs(late):.2f} s {word}: {said}. {verb} "
            f"{abs(late):.2f} s ({span[0]:.2f} to {span[1]:.2f}) "
            f"{'from' if late > 0 else 'to'} the frame times, or find out why"
        )
        return replace(found, verdict=word, message=message)
    message = f"{said} ({_plural(n)} of {len(found.follows)}); shifts up to ±{reach:.3g} s tried"
    return replace(found, verdict="aligned", message=message)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if abs(seconds) < 1 else f"{seconds:.2f} s"


def _plural(n: int) -> str:
    return f"{n} neuron" + ("" if n == 1 else "s")
