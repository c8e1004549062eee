"""Recordings of a simulated retina: every parameter and the true rate are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import xarray as xr

from neuromodels.datasets.arguments import whole
from neuromodels.datasets.binning import bin_edges, exact_bin_width, frames_on_screen, group_bins
from neuromodels.datasets.building import build_recording, build_role
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.role_data import trial_starts
from neuromodels.datasets.simulated.anatomy import Anatomy, draw_anatomy
from neuromodels.datasets.simulated.calibration import find_offsets, measure_scale
from neuromodels.datasets.simulated.modulation import shared_gain
from neuromodels.datasets.simulated.parameters import RetinaParameters
from neuromodels.datasets.simulated.session import (
    COVARIATE_UNITS,
    COVARIATES,
    Piece,
    Session,
    plan_session,
)
from neuromodels.datasets.simulated.shows import Clip, Show, make_shows
from neuromodels.datasets.simulated.spiking import (
    SpikingStage,
    add_run,
    draw_spikes,
    make_stage,
)
from neuromodels.datasets.simulated.stages import (
    Scale,
    contrast_of,
    ganglion_inputs,
    subunit_inputs,
)
from neuromodels.datasets.simulated.truth import truth_of

REFERENCE_BLOCKS = 3  # of training, on which drives and mean rates are set


def simulate_retina(
    stimulus="white-noise",
    *,
    minutes: float | None = None,
    repeats: int = 40,
    test_seconds: float = 10.0,
    n_cells: int = 12,
    seed: int = 0,
    bin_width=None,
    stimulus_parameters=None,
    train_runs: int = 32,
    test_runs: int = 1000,
    parameters: RetinaParameters | None = None,
    **changes,
) -> Recording:
    """Record from ganglion cells whose every parameter is known, and whose true rate is stored.

    Light passes photoreceptors, bipolar subunits, delayed amacrine inhibition and spiking
    ganglion cells with history, couplings, shared slow gain and drift (docs/simulated.md).

    Parameters
    ----------
    stimulus : str, DataArray, (DataArray, DataArray) or {name: one of these}
        A generator of `neuromodels.stimuli` by name; a labelled movie (its last `test_seconds`
        become the repeated test, the rest is training); a training movie (or None) and a test
        movie; or several stimuli by name, all shown to the same cells. A generator that knows no
        seed shows the same every time and gives a test only. Drives and mean rates are set on
        the first one.
    minutes : float, optional
        Training of every stimulus (default: 20 for generators, all of a movie).
    repeats : int
        Of every test, spread evenly over the session.
    test_seconds : float, s
    n_cells : int
        ON cells first, then OFF cells.
    seed : int
        Draws the movies, the places and weights of the cells, and the spikes. The types'
        filters depend on `parameters` alone, so retinas of other seeds share them.
    bin_width : float or Fraction, s, optional
        Bins that are stored, a multiple of the step (default: the step, 1 ms).
    stimulus_parameters : dict, optional
        Passed to the generator: ``{"size": (12, 12), "pixel_size": 60.0}``; of several
        generators to all, or to each its own: ``{"noise": {...}, "bars": {...}}``.
    train_runs, test_runs : int
        Free runs whose mean is the true rate where spikes matter for it.
    parameters : RetinaParameters, optional
        Or `glm_truth()`, for which a GLM is the truth.
    **changes
        Single fields of `RetinaParameters`, for example ``gain_sd=0``.

    Returns
    -------
    Recording
        Like any other, and `Recording.truth`; in every role `true_rate`, the expected count of a
        bin given the stimulus, and `conditional_rate`, that given the spikes before it as well.

    Raises
    ------
    InputError
        If a parameter is impossible, the movie too short, or the cells run away.

    Examples
    --------
    >>> recording = simulate_retina(
    ...     minutes=0.5, repeats=4, test_seconds=2, n_cells=2, bin_width=0.01,
    ...     stimulus_parameters={"size": (8, 8)}, test_runs=40,
    ... )
    >>> recording.test["true_rate"].dims, recording.test["conditional_rate"].dims
    (('time', 'neuron'), ('trial', 'time', 'neuron'))
    """
    if not isinstance(parameters, RetinaParameters | None):
        raise InputError(
            f"is {parameters!r}"[:80],
            where="simulate_retina: parameters",
            remedy="Give RetinaParameters(...), glm_truth(), or single ones by name: gain_sd=0.",
        )
    p = (parameters or RetinaParameters()).changed(**changes)
    for name, value, least, most in (
        ("repeats", repeats, 1, 10**5),
        ("n_cells", n_cells, 1, 10**4),
        ("seed", seed, 0, np.inf),
        ("train_runs", train_runs, 1, 10**6),
        ("test_runs", test_runs, 1, 10**6),
    ):
        whole(value, least, f"simulate_retina: {name}", "a whole number", most)
    dt = exact_bin_width(p.dt, "RetinaParameters: dt")
    width = dt if bin_width is None else exact_bin_width(bin_width, "simulate_retina: bin_width")
    if (width / dt).denominator != 1:
        raise InputError(
            f"is {float(width):g} s, no whole multiple of the step of {float(dt):g} s",
            where="simulate_retina: bin_width",
            remedy=f"The nearest is {float(dt * max(1, round(width / dt))):g} s.",
        )
    draws = np.random.SeedSequence(seed).spawn(6)
    cells, of_session, of_spikes, of_truth = (np.random.default_rng(draws[i]) for i in (0, 1, 2, 3))
    shows = make_shows(stimulus, minutes, test_seconds, stimulus_parameters, draws[4])
    anatomy = draw_anatomy(shows[0].screen, n_cells, p, cells)
    session = plan_session(shows, repeats, float(width), anatomy, p, of_session)
    stage = make_stage(anatomy, p)
    retina = _calibrated(shows[0], session.shown(0, False), anatomy, stage, p, width, draws[5])
    lab = _Lab(retina, session, dt, width, train_runs, test_runs, of_spikes, of_truth)
    roles = {
        show.name: {
            **({} if show.train is None else {"train": lab.train(show, session.shown(i, False))}),
            "test": lab.test(show, session.shown(i, True)),
        }
        for i, show in enumerate(shows)
    }
    recording = build_recording(
        roles,
        neurons=anatomy.names,
        attrs={
            "title": "Simulated retina",
            "species": "simulated",
            "area": "retina",
            "licence": "CC0-1.0",
            "source": "neuromodels.simulate_retina",
            "simulation": {
                **p.scalars(),
                "seed": int(seed),
                "n_cells": int(n_cells),
                "repeats": int(repeats),
                "test_seconds": float(test_seconds),
                "train_runs": int(train_runs),
                "test_runs": int(test_runs),
                "session_s": session.duration_s,
            },
        },
        stimulus_attrs={show.name: show.attrs for show in shows},
        unit_metadata={
            "cell_type": np.where(anatomy.is_on, "ON", "OFF"),
            "cell_y": ("neuron", anatomy.cell_yx[:, 0], {"units": "µm"}),
            "cell_x": ("neuron", anatomy.cell_yx[:, 1], {"units": "µm"}),
        },
        source="simulated",
    )
    recording.tree.dataset = recording.tree.to_dataset().assign(
        truth_of(anatomy, p, retina.scale, retina.offset, shows[0], session)
    )
    return recording


@dataclass(frozen=True, eq=False)
class Retina:
    """A retina whose drives and mean rates are set."""

    anatomy: Anatomy
    parameters: RetinaParameters
    stage: SpikingStage
    scale: Scale
    offset: np.ndarray

    def drive(self, show: Show, clip: Clip, start: int, stop: int, frame_of_step) -> np.ndarray:
        """Drive (step, neuron) by frames `start` to `stop` of a clip, from a steady background."""
        contrast = contrast_of(clip.frames[start:stop].values, show.adapted)
        on, off = subunit_inputs(
            contrast, frame_of_step, show.screen, self.anatomy, self.parameters
        )
        summed = ganglion_inputs(on, off, self.scale.subunit, self.anatomy, self.parameters)
        z = (summed - self.scale.mean) / self.scale.sd
        return self.parameters.drive_sd * z + self.offset


def _calibrated(
    show: Show, blocks: Sequence[Piece], anatomy, stage, p: RetinaParameters, width: Fraction, seed
) -> Retina:
    chosen = np.unique(np.linspace(0, len(blocks) - 1, REFERENCE_BLOCKS).round().astype(int))
    dt = exact_bin_width(p.dt)
    pieces = [blocks[i] for i in chosen]
    steps = [_frames(show.train, piece, dt, int(width / dt)) for piece in pieces]
    spans = [(a.start, a.stop, frames) for a, frames in zip(pieces, steps, strict=True)]
    scale = measure_scale(show, spans, anatomy, p)
    bare = Retina(anatomy, p, stage, scale, np.zeros(len(anatomy.is_on)))
    drives = [bare.drive(show, show.train, *span) for span in spans]
    return Retina(anatomy, p, stage, scale, find_offsets(drives, stage, anatomy, p, seed))


@dataclass(frozen=True, eq=False)
class _Answer:
    """To one piece, in stored bins."""

    counts: np.ndarray
    conditional: np.ndarray
    covariates: np.ndarray | None


@dataclass(frozen=True, eq=False)
class _Lab:
    """One session's recording: runs the retina on the pieces that are shown."""

    retina: Retina
    session: Session
    dt: Fraction
    width: Fraction
    train_runs: int
    test_runs: int
    of_spikes: np.random.Generator
    of_truth: np.random.Generator

    @property
    def per_bin(self) -> int:
        return int(self.width / self.dt)

    def train(self, show: Show, blocks: Sequence[Piece]) -> xr.Dataset:
        """The training role; every block begins from a steady background, without past spikes."""
        answers, truth, times, onsets, exact = [], [], [], [], True
        for block in blocks:
            drive = self._drive(show, show.train, block)
            answers.append(self._answer(drive, block))
            true, is_exact = self._expected(drive, [block], self.train_runs)
            exact &= is_exact
            truth.append(self._bins(true).astype(np.float32))
            times.append(bin_edges(block.onset, self.width, block.n_bins)[:-1])
            own = show.train.onsets[block.start : block.stop]
            onsets.append(block.onset + own - own[0])
        time, onsets = np.concatenate(times), np.concatenate(onsets)
        shown = [_frames(show.train, block, self.width, 1) for block in blocks]
        frame_of_bin = [
            np.where(frames < 0, -1, frames + block.start)
            for frames, block in zip(shown, blocks, strict=True)
        ]
        role = self._role(
            show,
            show.train,
            np.concatenate([answer.counts for answer in answers]),
            time=time,
            block=np.repeat(np.arange(len(blocks)), [b.n_bins for b in blocks]).astype(np.int32),
            frame_of_bin=np.concatenate(frame_of_bin),
            frame_time=onsets,
            covariates=_joined([answer.covariates for answer in answers], np.concatenate),
            attrs={"selection": f"{len(blocks)} blocks, repeats of the test between them"},
        )
        conditional = np.concatenate([answer.conditional for answer in answers])
        return _with_rates(role, np.concatenate(truth), conditional, self.train_runs, exact)

    def test(self, show: Show, trials: Sequence[Piece]) -> xr.Dataset:
        """The repeated role; every repeat begins from a steady background, without past spikes."""
        drive = self._drive(show, show.test, trials[0])
        answers = [self._answer(drive, trial) for trial in trials]
        true, exact = self._expected(drive, trials, self.test_runs)
        seconds = float(self.width) * trials[0].n_bins
        role = self._role(
            show,
            show.test,
            np.stack([answer.counts for answer in answers]),
            frame_of_bin=_frames(show.test, trials[0], self.width, 1),
            frame_time=show.test.onsets,
            covariates=_joined([answer.covariates for answer in answers], np.stack),
            attrs={"selection": f"{seconds:.4g} s shown {len(trials)} times"},
        )
        role = role.assign_coords(trial_starts([[t.onset for t in trials]], len(trials)))
        true = self._bins(true).astype(np.float32)
        conditional = np.stack([answer.conditional for answer in answers])
        return _with_rates(role, true, conditional, _evenly(self.test_runs, len(trials)), exact)

    def _role(self, show: Show, clip: Clip, counts: np.ndarray, **more) -> xr.Dataset:
        named = {"covariate_names": COVARIATES, "covariate_units": COVARIATE_UNITS}
        return build_role(
            clip.frames,
            counts,
            bin_width=self.width,
            stimulus_units="1",
            y=show.screen.y,
            x=show.screen.x,
            pixel_units="µm",
            where="simulate_retina",
            **(named if more["covariates"] is not None else {}),
            **more,
        )

    def _drive(self, show: Show, clip: Clip, piece: Piece) -> np.ndarray:
        steps = _frames(clip, piece, self.dt, self.per_bin)
        return self.retina.drive(show, clip, piece.start, piece.stop, steps)

    def _answer(self, drive: np.ndarray, piece: Piece) -> _Answer:
        stage, n = self.retina.stage, len(drive)
        factor = self.session.factor_during(piece.onset, n)
        gain = self.session.gain_during(piece.onset, n)
        counts, rates, n_capped = draw_spikes(stage, drive, factor, gain, self.of_spikes)
        stage.check(n_capped)
        covariates = None
        if self.session.covariates is not None:
            covariates = self._bins(self.session.covariates_during(piece.onset, n), "mean")
        conditional = self._bins(rates).astype(np.float32)
        return _Answer(self._bins(counts), conditional, covariates)

    def _expected(
        self, drive: np.ndarray, pieces: Sequence[Piece], runs: int
    ) -> tuple[np.ndarray, bool]:
        """Expected count per step given the stimulus, mean over pieces, and whether it is exact."""
        stage, p, session = self.retina.stage, self.retina.parameters, self.session
        factor = sum(session.factor_during(piece.onset, len(drive)) for piece in pieces)
        factor = factor / len(pieces)
        if not stage.has_memory:
            rates = stage.rates(drive)
            # A gain five standard deviations up must not reach the cap, where nothing is a product.
            strongest = session.covariate_factor.max() * (1 + p.drift / 2) * np.exp(5 * p.gain_sd)
            if rates.max() * strongest <= stage.cap:
                return rates * factor, True
        total, counts = np.zeros(drive.shape), np.zeros(drive.shape, np.uint16)
        step, each = session.slow_step_s, _evenly(runs, len(pieces)) // len(pieces)
        slow = (np.arange(len(drive)) * p.dt / step).astype(np.intp)
        for piece in pieces:
            factor = session.factor_during(piece.onset, len(drive))
            gains = shared_gain(each, slow[-1] + 1, step, p.gain_sd, p.gain_tau_s, self.of_truth)
            for gain in gains:
                stage.check(add_run(stage, drive, factor, gain[slow], self.of_truth, counts, total))
        return total / (each * len(pieces)), False

    def _bins(self, values: np.ndarray, how: str = "sum") -> np.ndarray:
        return group_bins(values, len(values) // self.per_bin, self.per_bin, 0, how)


def _joined(parts: list, how) -> np.ndarray | None:
    return None if parts[0] is None else how(parts)


def _evenly(runs: int, n_trials: int) -> int:
    """At least `runs`, equally many for every trial."""
    return n_trials * -(-runs // n_trials)


def _frames(clip: Clip, piece: Piece, width: Fraction, per_bin: int) -> np.ndarray:
    """Frame of the piece (from 0) on screen in each step or bin of it, -1 for none."""
    onsets = clip.onsets[piece.start : piece.stop] - clip.onsets[piece.start]
    time = bin_edges(0.0, width, piece.n_bins * per_bin)[:-1]
    last = float(clip.ends[piece.stop - 1] - clip.onsets[piece.stop - 1])
    return frames_on_screen(onsets, time, width, last_frame=last)


def _with_rates(role, true: np.ndarray, conditional: np.ndarray, runs: int, exact: bool):
    units = {"units": "spikes per bin"}
    about = {
        **units,
        "description": "expected count given the stimulus, over everything that differs from "
        "trial to trial",
        "exact": exact,
        **({} if exact else {"runs": runs}),
    }
    given = {**units, "description": "expected count given the spikes before each step, and gain"}
    return role.assign(
        true_rate=(("time", "neuron"), true, about),
        conditional_rate=(role["response"].dims, conditional, given),
    )
