"""The spiking exclusive-or: short patterns in noise, answered within a window that gates errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from neuromodels.fits.superspike.errors import Mismatch
from neuromodels.options import OptionError
from neuromodels.spiking.neurons import whole_steps
from neuromodels.spiking.simulation import Events

N_OUTPUTS = 2
N_PATTERNS = 4  # neither, the first operand, the second, both


@dataclass(frozen=True)
class ExclusiveOrDesign:
    """What a trial of the spiking exclusive-or looks like.

    Zenke & Ganguli 2018, section 4.1, give 100 inputs in three groups, 10 ms, 15 ms and 4 Hz. They
    do not print how large the groups are (here they are equal, as far as 100 allows), nor the
    intervals between trials (here a trial per 125 ms, that is four per weight update, its onset
    drawn from the first 75 ms of them).

    Attributes
    ----------
    group_sizes : tuple of int
        Inputs of the time reference, of the first and of the second operand.
    stimulus_s : float
        Time in which every input of an active group fires once, s.
    grace_s : float
        How long after the stimulus an answer still counts, s.
    trial_s : float
        Time per trial, s.
    jitter_s : float
        The onset of a stimulus is drawn from this first part of the trial, s.
    noise_hz : float
        Rate at which every input fires outside stimuli, Hz.
    """

    group_sizes: tuple[int, int, int] = (34, 33, 33)
    stimulus_s: float = 10e-3
    grace_s: float = 15e-3
    trial_s: float = 125e-3
    jitter_s: float = 75e-3
    noise_hz: float = 4.0

    def __post_init__(self):
        if not (len(self.group_sizes) == 3 and min(self.group_sizes) > 0):
            raise OptionError(
                f"group_sizes = {self.group_sizes} must be three numbers above zero.",
                remedy="They are the inputs of the reference and of both operands.",
            )
        if not (min(self.stimulus_s, self.grace_s) > 0 and min(self.jitter_s, self.noise_hz) >= 0):
            raise OptionError(
                "stimulus_s and grace_s must be positive, jitter_s and noise_hz not negative."
            )
        if self.jitter_s + self.stimulus_s + self.grace_s >= self.trial_s:
            raise OptionError(
                f"a trial of {self.trial_s:g} s cannot hold jitter, stimulus and window.",
                remedy="They must sum to less than trial_s.",
            )


class Outcomes(NamedTuple):
    """How trials were answered.

    Attributes
    ----------
    patterns : numpy.ndarray
        (trial,), 0: neither operand, 1: the first, 2: the second, 3: both.
    hit : numpy.ndarray
        (trial,) bool, whether the right output fired within the window.
    wrong : numpy.ndarray
        (trial,) bool, whether the other one did.
    stray : numpy.ndarray
        (trial,), spikes of either outside the window.
    """

    patterns: np.ndarray
    hit: np.ndarray
    wrong: np.ndarray
    stray: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """(trial,) bool: the right output fired within the window, the other did not."""
        return self.hit & ~self.wrong


class ExclusiveOrTask:
    """Say whether one of two input groups fires, or both or neither: an endless series of trials.

    In each trial the neurons of the reference group, and those of the operands that are on, fire
    once, at times that are fixed for each neuron. Output 1 is to fire if one operand is on, output
    0 if both or none are, from the stimulus' begin to `grace_s` after its end. Errors are gated: a
    spike that should not be (of the other output, or outside the window) counts +1 when it comes;
    a missing answer counts −1 at the end of the window; the time of an answer does not matter, nor
    does a second spike of the right output. Zenke & Ganguli 2018, sections 3.3.3 and 4.1, figure 5.

    Every trial follows from the seed and its number, whatever was asked before; the answers so far
    are the only state.

    Parameters
    ----------
    seed : int
        Of the times at which the inputs fire.
    trials_seed : int
        Of the order of patterns, onsets and noise.
    design : ExclusiveOrDesign, optional
        Sizes and times.
    dt_s : float
        Step, s.

    Raises
    ------
    OptionError
        A time of the design that is no whole number of steps.
    """

    n_outputs = N_OUTPUTS

    def __init__(
        self,
        seed: int,
        trials_seed: int = 0,
        design: ExclusiveOrDesign | None = None,
        dt_s: float = 1e-4,
    ):
        self.seed, self.trials_seed, self.dt_s = seed, trials_seed, dt_s
        self.design = design = design or ExclusiveOrDesign()
        self.n_inputs = sum(design.group_sizes)
        self.groups = np.repeat(np.arange(3), design.group_sizes)
        self.stimulus_steps = whole_steps(design.stimulus_s, dt_s, "stimulus_s")
        self.window_steps = self.stimulus_steps + whole_steps(design.grace_s, dt_s, "grace_s")
        self.loop_steps = whole_steps(design.trial_s, dt_s, "trial_s")
        self.jitter_steps = whole_steps(design.jitter_s, dt_s, "jitter_s")
        rng = np.random.default_rng([seed, 0])
        self.firing_steps = rng.integers(0, self.stimulus_steps, self.n_inputs)
        none = np.empty(0, np.int64)
        self.answers = Events(none, none)
        self.trial = lru_cache(maxsize=64)(self._trial)

    def _trial(self, number: int) -> tuple[int, int, Events]:
        """Pattern, onset (steps from the trial's begin) and input spikes of a trial."""
        design, length = self.design, self.loop_steps
        rng = np.random.default_rng([self.seed, 1, self.trials_seed, number])
        pattern = int(rng.integers(N_PATTERNS))
        onset = int(rng.integers(self.jitter_steps + 1))
        n_noise = rng.poisson(design.noise_hz * design.trial_s * self.n_inputs)
        steps = rng.integers(0, length, n_noise)
        neurons = rng.integers(0, self.n_inputs, n_noise)
        between = (steps < onset) | (steps >= onset + self.stimulus_steps)
        on = np.array([True, pattern in (1, 3), pattern in (2, 3)])
        chosen = np.flatnonzero(on[self.groups])
        steps = np.concatenate([steps[between], onset + self.firing_steps[chosen]])
        # A neuron fires at most once per step.
        spikes = np.unique(steps * self.n_inputs + np.concatenate([neurons[between], chosen]))
        return pattern, onset, Events(*np.divmod(spikes, self.n_inputs))

    def inputs(self, start: int, n_steps: int) -> Events:
        """Input spikes of the steps from `start`, counted from there."""
        numbers = range(start // self.loop_steps, (start + n_steps - 1) // self.loop_steps + 1)
        parts = [self.trial(number)[2] for number in numbers]
        offsets = [number * self.loop_steps - start for number in numbers]
        steps = np.concatenate([p.steps + o for p, o in zip(parts, offsets, strict=True)])
        neurons = np.concatenate([part.neurons for part in parts])
        inside = (steps >= 0) & (steps < n_steps)
        return Events(steps[inside], neurons[inside])

    def mismatch(self, start: int, n_steps: int, outputs: Events) -> Mismatch:
        """Wrong spikes count 1 when they come, missing answers −1 when their window ends."""
        sent = outputs.steps + start
        self.answers = Events(
            np.concatenate([self.answers.steps, sent]),
            np.concatenate([self.answers.neurons, outputs.neurons]),
        )
        is_right = self._judged(sent, outputs.neurons)[0]
        missed_steps, missed = self._missed(start, n_steps)
        steps = np.concatenate([outputs.steps[~is_right], missed_steps])
        neurons = np.concatenate([outputs.neurons[~is_right], missed])
        values = np.ones(len(steps))
        values[len(steps) - len(missed) :] = -1.0
        order = np.argsort(steps, kind="stable")
        return Mismatch(steps[order], neurons[order], values[order])

    def outcomes(self, n_trials: int) -> Outcomes:
        """How the first trials were answered, all of whose steps `mismatch` has seen.

        Parameters
        ----------
        n_trials : int
            How many trials.

        Returns
        -------
        Outcomes
            Of each.
        """
        trials = self.answers.steps // self.loop_steps
        right, inside = self._judged(*self.answers)

        def count(which: np.ndarray) -> np.ndarray:
            return np.bincount(trials[which], minlength=n_trials)[:n_trials]

        patterns = np.array([self.trial(number)[0] for number in range(n_trials)])
        return Outcomes(patterns, count(right) > 0, count(inside & ~right) > 0, count(~inside))

    def _judged(self, steps: np.ndarray, neurons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(spike,) whether it is a right answer, and whether it is within a window."""
        trials, which = np.unique(steps // self.loop_steps, return_inverse=True)
        about = [self.trial(number)[:2] for number in trials.tolist()]
        patterns, onsets = np.array(about, np.int64).reshape(-1, 2)[which].T
        since = steps % self.loop_steps - onsets
        inside = (since >= 0) & (since < self.window_steps)
        return inside & (neurons == right_output(patterns)), inside

    def _missed(self, start: int, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Step (from `start`) and output of the answers missing from windows that end here."""
        steps, missed = [], []
        for number in range(start // self.loop_steps, (start + n_steps - 1) // self.loop_steps + 1):
            pattern, onset, _ = self.trial(number)
            began = number * self.loop_steps + onset
            end = began + self.window_steps
            if not start <= end < start + n_steps:
                continue
            a, b = np.searchsorted(self.answers.steps, (began, end))
            right = int(right_output(pattern))
            if right not in self.answers.neurons[a:b]:
                steps.append(end - start)
                missed.append(right)
        return np.array(steps, np.int64), np.array(missed, np.int64)

    def stored(self) -> dict[str, np.ndarray]:
        """Everything that is carried from chunk to chunk."""
        return self.answers._asdict()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `stored` gave."""
        self.answers = Events(state["steps"].copy(), state["neurons"].copy())


def right_output(patterns: np.ndarray | int) -> np.ndarray:
    """Output that is to fire: 1 if exactly one operand is on, 0 otherwise."""
    return ((np.asarray(patterns) == 1) | (np.asarray(patterns) == 2)).astype(np.int64)
