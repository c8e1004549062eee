"""What is stored of a simulated retina beside its spikes: filters, weights, kernels, gain."""

from __future__ import annotations

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.simulated.anatomy import Anatomy, history_and_coupling
from neuromodels.datasets.simulated.parameters import RetinaParameters
from neuromodels.datasets.simulated.session import Session
from neuromodels.datasets.simulated.shows import Show
from neuromodels.datasets.simulated.stages import Scale, impulse_responses, linear_filter


def truth_of(
    anatomy: Anatomy,
    parameters: RetinaParameters,
    scale: Scale,
    offset: np.ndarray,
    show: Show,
    session: Session,
) -> dict[str, tuple]:
    """Variables of the root of a simulated recording, {name: (dims, values, attrs)}.

    Lags are in steps of `dt`. `true_filter` exists where the drive is linear in the stimulus,
    and is on the pixels of the first stimulus.
    """
    p = parameters
    history, coupling = history_and_coupling(anatomy, p)
    impulse = impulse_responses(p)
    lag = {"units": "s", "description": "time since the spike"}
    found = {
        "true_history": (
            ("history_lag", "neuron"),
            history,
            {"units": "drive", "description": "added by a cell's own spike"},
        ),
        "true_coupling": (
            ("coupling_lag", "source_neuron", "neuron"),
            coupling,
            {"units": "drive", "description": "added by a spike of source_neuron"},
        ),
        "history_lag": ("history_lag", (np.arange(len(history)) + 1) * p.dt, lag),
        "coupling_lag": ("coupling_lag", (np.arange(len(coupling)) + 1) * p.dt, lag),
        "source_neuron": ("source_neuron", np.asarray(anatomy.names, dtype=str)),
        "true_offset": (
            "neuron",
            offset - p.drive_sd * scale.mean / scale.sd,
            {"units": "drive", "description": "drive without any input to the cell"},
        ),
        "true_mean_rate": (
            "neuron",
            anatomy.mean_rate_hz,
            {"units": "Hz", "description": "asked for; drive and offset are set to give it"},
        ),
        "true_drift": (
            "neuron",
            anatomy.drift,
            {"units": "1", "description": "change over the session as a share of the mean rate"},
        ),
        "true_impulse_response": (
            ("impulse_lag", "subunit_type"),
            impulse,
            {"units": "1", "description": "of a subunit to one step of contrast 1"},
        ),
        "impulse_lag": ("impulse_lag", np.arange(len(impulse)) * p.dt, {"units": "s"}),
        "subunit_type": ("subunit_type", np.array(["ON", "OFF"])),
        "true_subunit_scale": ("subunit_type", scale.subunit, {"units": "contrast"}),
        "subunit": ("subunit", np.arange(len(anatomy.subunit_yx)), {"units": "1"}),
        "true_subunit_y": ("subunit", anatomy.subunit_yx[:, 0], {"units": "µm"}),
        "true_subunit_x": ("subunit", anatomy.subunit_yx[:, 1], {"units": "µm"}),
        "true_excitation": (
            ("subunit", "neuron"),
            anatomy.excitation,
            {"units": "1", "description": "weights of the subunits of a cell's own type"},
        ),
        "true_inhibition": (
            ("subunit", "neuron"),
            p.amacrine_strength * anatomy.inhibition,
            {"units": "1", "description": "weights of the pool that inhibits a cell"},
        ),
        "true_input_weight": (
            "neuron",
            p.drive_sd / scale.sd,
            {"units": "drive", "description": "per excitation minus inhibition"},
        ),
        "true_gain": (
            "gain_time",
            session.gain,
            {"units": "1", "description": "gain that all cells share, over the session"},
        ),
        "gain_time": (
            "gain_time",
            np.arange(len(session.gain)) * session.slow_step_s,
            {"units": "s"},
        ),
    }
    if p.is_linear:
        values = linear_filter(show.screen, anatomy, p, scale, show.adapted)
        n = np.flatnonzero(np.abs(impulse).max(axis=1) > 1e-6 * np.abs(impulse).max())[-1] + 1
        found["true_filter"] = (
            ("filter_lag", "filter_y", "filter_x", "neuron"),
            values[:n],
            {
                "units": "drive per intensity",
                "description": "lag 0 is the frame on screen; of the intensity minus `adapted`",
                "adapted": show.adapted,
            },
        )
        found["filter_lag"] = ("filter_lag", np.arange(n) * p.dt, {"units": "s"})
        found["filter_y"] = ("filter_y", show.screen.y, {"units": "µm"})
        found["filter_x"] = ("filter_x", show.screen.x, {"units": "µm"})
    return found


def known_ceiling(recording: Recording, bin_width, stimulus: str | None = None) -> np.ndarray:
    """Correlation (neuron,) that the true rate is expected to have with the mean over repeats.

    Nothing is estimated from the agreement of repeats, as it must be where the truth is not known:
    see `ceiling_of_trials`.

    Raises
    ------
    InputError
        If the recording is no simulation, or `bin_width` does not fit its bins.
    """
    test = recording.at(bin_width).role("test", stimulus or recording.stimuli[0])
    if "true_rate" not in test:
        raise InputError(
            "is no simulation", where=recording.source, remedy="Make one with simulate_retina."
        )
    rate = test["true_rate"].values.astype(np.float64)
    return ceiling_of_trials(rate, test["response"].values.astype(np.float64))


def ceiling_of_trials(rate: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Correlation that a known rate is expected to have with the mean over these trials.

    Parameters
    ----------
    rate : (time, neuron)
        Expected counts per bin.
    trials : (trial, time, neuron)
        Counts; NaN where a trial was not recorded.

    Returns
    -------
    numpy.ndarray (neuron,)
        NaN for a constant rate.

    Notes
    -----
    Every trial y_n is a_n λ and a rest, a_n its level by least squares: drift and gain of a whole
    trial scale the mean over trials and lower no correlation. The ceiling is
    √(ā² Var λ / (ā² Var λ + mean Var rest / N)).
    """
    shape = rate - rate.mean(axis=0)
    power = (np.isfinite(trials) * shape**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.nansum(trials * shape, axis=1) / power
        rest = trials - np.nanmean(trials, axis=1, keepdims=True) - level[:, None] * shape
        signal = rate.var(axis=0) * level.mean(axis=0) ** 2
        noise = np.nanmean(rest**2, axis=1).mean(axis=0) / len(trials)
        return np.sqrt(signal / (signal + noise))
