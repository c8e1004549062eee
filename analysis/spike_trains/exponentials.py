"""Squared differences of spike trains filtered by exponentials: the sums behind the distances.

Spikes of a count +1 and those of b −1. Each exponential has a mark, the sum over earlier spikes of
q e^(−(t − t_i)/τ_k) (the "markage" of Houghton & Kreuz 2012, Network 23:48). Between two spikes the
difference is Σ_k h_k m_k e^(−t/τ_k), whose square has a closed integral, so that trains of n and m
spikes take n + m steps. Every interval adds a square: nearly equal trains lose no digits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit


class Pulse(NamedTuple):
    """A kernel Σ_k h_k e^(−t/τ_k), for ½ ∫ difference² dt.

    Attributes
    ----------
    tau : (exponential,)
        Time constants, in the unit of the spike times.
    products : (exponential, exponential)
        What a pair of marks of 1 adds in infinite time, ½ h_k h_l / (1/τ_k + 1/τ_l).
    """

    tau: np.ndarray
    products: np.ndarray


def continuous(tau, heights) -> Pulse:
    """Pulse of exponentials with these time constants and heights."""
    tau, heights = np.asarray(tau, np.float64), np.asarray(heights, np.float64)
    return Pulse(tau, 0.5 * np.outer(heights, heights) / np.add.outer(1 / tau, 1 / tau))


def sampled(factors, heights) -> Pulse:
    """Pulse in discrete time, ½ Σ difference² over steps: h_k f_k^n at step n after a spike."""
    factors, heights = np.asarray(factors, np.float64), np.asarray(heights, np.float64)
    products = 0.5 * np.outer(heights, heights) / (1 - np.outer(factors, factors))
    return Pulse(-1 / np.log(factors), products)


@njit(cache=True, error_model="numpy")
def squared_difference(a, b, tau, products, stop):
    """½ ∫ (α∗a − α∗b)² of two sorted trains, from the first spike to `stop`."""
    n = len(tau)
    marks = np.zeros(n)
    total, now, i, j = 0.0, 0.0, 0, 0
    while True:
        last = i == len(a) and j == len(b)
        from_a = not last and (j == len(b) or (i < len(a) and a[i] <= b[j]))
        time = stop if last else (a[i] if from_a else b[j])
        time = min(time, stop)
        if i + j > 0 and time > now:
            for k in range(n):
                for m in range(n):
                    share = -math.expm1(-(time - now) * (1 / tau[k] + 1 / tau[m]))
                    total += products[k, m] * marks[k] * marks[m] * share
            for k in range(n):
                marks[k] *= math.exp(-(time - now) / tau[k])
        if time == stop:
            return max(total, 0.0)
        now = time
        marks += 1.0 if from_a else -1.0
        i, j = (i + 1, j) if from_a else (i, j + 1)


@njit(cache=True)
def squared_differences(times_a, starts_a, times_b, starts_b, tau, products, stop):
    """`squared_difference` of each neuron of two `Grouped` recordings."""
    n = len(starts_a) - 1
    squares = np.empty(n)
    for i in range(n):
        a = times_a[starts_a[i] : starts_a[i + 1]]
        b = times_b[starts_b[i] : starts_b[i + 1]]
        squares[i] = squared_difference(a, b, tau, products, stop)
    return squares


@njit(cache=True)
def squared_differences_of_pairs(times, starts, tau, products):
    """`squared_difference` of all pairs of `Grouped` trains."""
    n = len(starts) - 1
    squares = np.zeros((n, n))
    for i in range(n):
        a = times[starts[i] : starts[i + 1]]
        for j in range(i):
            b = times[starts[j] : starts[j + 1]]
            squares[i, j] = squares[j, i] = squared_difference(a, b, tau, products, np.inf)
    return squares


def gradient(a: np.ndarray, b: np.ndarray, pulse: Pulse, stop: float) -> np.ndarray:
    """Derivative of `squared_difference` by the times of the sorted train a.

    With c_k = 2 Σ_l products[k, l], the integral up to infinity is
    Σ_{i<j} q_i q_j Σ_k c_k e^(−|t_i − t_j|/τ_k) plus a constant. What lies beyond `stop` is
    Σ_kl products[k, l] A_k A_l with the marks A at `stop`.
    """
    tau, products = pulse
    times = np.concatenate([a, b])
    order = np.argsort(times, kind="stable")
    order = order[times[order] < stop]
    signs, times = np.where(order < len(a), 1.0, -1.0), times[order]
    slopes = np.zeros(len(times))
    tails = [signs * np.exp(-(stop - times) / each) for each in tau]
    ends = np.array([tail.sum() for tail in tails])
    for k, each in enumerate(tau):
        balance = _later_minus_earlier(times, signs, each)
        slopes += signs * 2 * products[k].sum() * balance / each
        slopes -= 2 * (products[k] @ ends) * tails[k] / each
    result = np.zeros(len(a) + len(b))
    result[order] = slopes
    return result[: len(a)]


@njit(cache=True, error_model="numpy")
def _later_minus_earlier(times, signs, tau):
    """Σ over later spikes of q e^(−|Δt|/τ), less the same over earlier ones, ties left out."""
    n = len(times)
    balance = np.zeros(n)
    for direction in (-1, 1):
        mark, waiting = 0.0, 0.0  # waiting: spikes at this very time
        for step in range(n):
            i = step if direction < 0 else n - 1 - step
            if step > 0:
                gap = abs(times[i] - times[i + direction])
                if gap > 0:
                    mark = (mark + waiting) * math.exp(-gap / tau)
                    waiting = 0.0
            balance[i] += direction * mark
            waiting += signs[i]
    return balance
