"""A model of a simulated recording, scored against the truth that made the recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from scipy.special import xlogy

from neuromodels.analysis.ceilings import cc_max
from neuromodels.analysis.metrics import pearson_r
from neuromodels.analysis.sums import divide
from neuromodels.datasets.blocks import block_runs
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.opening import open_recording
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.simulated.truth import ceiling_of_trials
from neuromodels.fits.comparison import Comparison
from neuromodels.fits.fit import Fit
from neuromodels.fits.truth.matching import compare_couplings, lag_width, on_lags

#: Roles whose predictions are scored.
ROLES = ("heldout", "test")
#: Scores of rates: name, units and meaning.
RATE_SCORES = {
    "cc_true": ("1", "correlation of the predicted with the true rate"),
    "relative_error": ("1", "root mean square error of the rate / SD of the true rate"),
    "bits_lost": ("bits per spike", "what the true rate would score more, in expectation"),
    "cc_conditional": ("1", "correlation of the rates given the recorded spikes"),
    "bits_lost_conditional": ("bits per spike", "the same loss, given the recorded spikes"),
}
COUPLING_SCORES = {
    "coupling_sign": "share of the true couplings whose fitted sign is right",
    "coupling_rank": "rank correlation of fitted and true couplings over all pairs",
    "coupling_separation": "chance that a true coupling is fitted larger than an absent one",
    "coupling_absent": "mean size of fitted couplings where there is none / where there is one",
}


def expected_bits_lost(rate, true_rate) -> np.ndarray:
    """Bits per spike that a prediction falls short of the true rate, free of sampling noise.

    Parameters
    ----------
    rate, true_rate : array (..., neuron)
        Predicted and true counts per bin, the same shape.

    Returns
    -------
    numpy.ndarray
        (neuron,): 0 for the truth and for nothing else; infinite where the model calls
        impossible what happens. NaN for a neuron that never fires.

    Notes
    -----
    Σ [λ ln(λ/λ̂) − (λ − λ̂)] / (ln 2 · Σ λ): the Kullback-Leibler divergence of Poisson counts.
    Bits per spike are linear in the counts, so this is the expected difference of the scores of
    λ and λ̂ for any counts of mean λ, Poisson or not.

    Examples
    --------
    >>> true = np.array([[0.1], [0.3]])
    >>> expected_bits_lost(true, true), expected_bits_lost(np.full((2, 1), 0.2), true).round(4)
    (array([0.]), array([0.1887]))
    """
    rate, true_rate = (np.asarray(a, float).reshape(-1, np.shape(a)[-1]) for a in (rate, true_rate))
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = xlogy(true_rate, true_rate) - xlogy(true_rate, rate)
    spikes = true_rate.sum(0)
    bits = (gain - true_rate + rate).sum(0) / np.log(2)
    return divide(bits, spikes)


def recovery(result: Fit | Comparison, recording: Recording | str | Path) -> xr.Dataset:
    """How much of the truth behind a simulated recording each model has found.

    Parameters
    ----------
    result : Fit or Comparison
        Of that recording.
    recording : Recording or path
        What `simulate_retina` made, or any recording with `true_rate` in its roles.

    Returns
    -------
    xarray.Dataset
        Per (model, seed, stimulus, role, neuron): `cc_true`, `relative_error` and `bits_lost` of
        the predicted rate (free-running, where a model sees spikes) against `true_rate`;
        `cc_conditional` and `bits_lost_conditional` of the rate given the recorded spikes against
        `conditional_rate`. `bits_true`: what the true rate scores against the training mean.
        Per (stimulus, neuron), of the repeated test: `ceiling_true`, the r with the mean over the
        trials to be expected of the true rate; `r_true`, the r that it has; and
        `ceiling_estimated`, CC_max from the trials alone.
        Where truth and model have them, `filter_correlation` and `history_correlation` (model,
        seed, neuron) of stimulus and history filters, `coupling` and `true_coupling`
        (source_neuron, neuron), summed over lags, and `coupling_sign`, `coupling_rank`,
        `coupling_separation`, `coupling_absent` (model, seed).
        Printed by `recovery_text.recovery_text`.

    Raises
    ------
    InputError
        The result is no fit and no comparison, the recording is no simulation, or the models were
        fitted to another one.

    Notes
    -----
    All models are scored on the bins that every one of them can predict. The true rate of the
    unrepeated part includes drift at that time of the session, which no model of the stimulus
    knows: `bits_lost` counts it. Where the true rate is itself a mean over simulated runs (its
    attribute `runs`), its error counts as the model's too.

    The true ceiling is that of `truth.ceilings.true_ceiling`, with the noise measured, see
    `datasets.simulated.truth.ceiling_of_trials`.
    """
    if isinstance(recording, str | Path):
        recording = open_recording(recording)
    if not isinstance(recording, Recording):
        raise InputError(
            f"is {type(recording).__name__}, no recording",
            where="recovery: recording",
            remedy="Give what simulate_retina returned, or its file.",
        )
    truth = recording.truth
    fits = _fits(result)
    _check_same(result, recording)
    first = next(iter(fits.values()))
    view = recording.at(first.attrs["recording"]["bin_width_s"])
    labels = list(dict.fromkeys(label for label, _ in fits))
    seeds = list(dict.fromkeys(seed for _, seed in fits))
    stimuli = list(first.predictions.children)
    settled = max(fit.attrs["settled_from_bin"] for fit in fits.values())
    scores = _Scores(view, fits, labels, seeds, stimuli, settled)
    found = xr.Dataset(
        {**scores.of_rates(), **_of_filters(truth, fits, labels, seeds)},
        coords={
            "model": labels,
            "seed": seeds,
            "stimulus": stimuli,
            "role": list(ROLES),
            "neuron": view.neurons,
        },
        attrs={
            "recording": recording.source,
            "identity": recording.identity,
            "bin_width_s": view.bin_width,
            "scored_from_bin": settled,
        },
    )
    found["bins"] = (("stimulus", "role"), scores.bins, {"long_name": "bins that were scored"})
    if "true_coupling" in found:
        found = found.assign_coords(source_neuron=view.neurons)
    return found


def _fits(result: Fit | Comparison) -> dict[tuple[str, int], Fit]:
    if isinstance(result, Fit):
        return {(result.label, int(result.attrs["seed"])): result}
    if not isinstance(result, Comparison):
        raise InputError(
            f"is {type(result).__name__}, neither a fit nor a comparison.",
            where="recovery: result",
            remedy="Of several recordings, give one member and its recording: result['NAME'].",
        )
    return {(m, seed): result.fit(m, seed) for m in result.models for seed in result.seeds}


def _check_same(result: Fit | Comparison, recording: Recording) -> None:
    about = result.attrs["recording"]
    if about["identity"] != recording.identity:
        raise InputError(
            f"is not the recording that the models were fitted to ({about['source']}).",
            where=recording.source,
            remedy="Give the simulated recording itself, in memory or as its file.",
        )


class _Scores:
    """Predicted beside true rates, role by role, on the bins that all models predict."""

    def __init__(self, view, fits, labels, seeds, stimuli, settled: int):
        self.view, self.fits = view, fits
        self.labels, self.seeds, self.stimuli = labels, seeds, stimuli
        self.settled = settled
        self.bins = np.zeros((len(stimuli), len(ROLES)), dtype=int)

    def of_rates(self) -> dict[str, tuple]:
        n_neurons = len(self.view.neurons)
        places = (len(self.stimuli), len(ROLES))
        shape = (len(self.labels), len(self.seeds), *places, n_neurons)
        values = {name: np.full(shape, np.nan) for name in RATE_SCORES}
        bits = np.full((*places, n_neurons), np.nan)
        ceilings = np.full((3, len(self.stimuli), n_neurons), np.nan)
        for s, stimulus in enumerate(self.stimuli):
            for r, role in enumerate(ROLES):
                true, use = self._truth(stimulus, role)
                if true is None or not use.any():
                    continue
                self.bins[s, r] = use.sum()
                rate = true["true_rate"].values[use]
                null = self._reference(stimulus, role)
                bits[s, r] = expected_bits_lost(np.broadcast_to(null, rate.shape), rate)
                if "trial" in true["response"].dims:
                    trials = true["response"].transpose("trial", "time", "neuron").values
                    ceilings[:, s] = _ceilings(rate, trials[:, use].astype(float))
                for (label, seed), fit in self.fits.items():
                    at = (self.labels.index(label), self.seeds.index(seed), s, r)
                    for name, value in self._one(fit, stimulus, role, use, true).items():
                        values[name][at] = value
        dims = ("model", "seed", "stimulus", "role", "neuron")
        found = {
            name: (dims, values[name], {"units": units, "long_name": said})
            for name, (units, said) in RATE_SCORES.items()
        }
        about = {
            "units": "bits per spike",
            "long_name": "what the true rate scores, in expectation",
        }
        found["bits_true"] = (dims[2:], bits, about)
        for name, said, one in (
            ("ceiling_true", "r that the true rate is expected to have", ceilings[0]),
            ("r_true", "r of the true rate with the mean over the trials", ceilings[1]),
            ("ceiling_estimated", "CC_max from the trials alone", ceilings[2]),
        ):
            found[name] = (("stimulus", "neuron"), one, {"units": "1", "long_name": said})
        return found

    def _reference(self, stimulus: str, role: str) -> np.ndarray:
        """Mean true rate in training, or in the role itself where nothing was trained on."""
        of = "train" if "train" in self.view.roles(stimulus) else role
        return self._role(of, stimulus)["true_rate"].mean("time").values

    def _role(self, role: str, stimulus: str) -> xr.Dataset:
        node = self.view.role(role, stimulus)
        if "true_rate" not in node:
            raise InputError(
                "holds no true rate",
                where=f"{self.view.source}: /{stimulus}/{role}",
                remedy="Give a simulated recording, such as nm.simulate_retina() makes.",
            )
        return node

    def _truth(self, stimulus: str, role: str) -> tuple[xr.Dataset | None, np.ndarray | None]:
        """What lies behind the predicted bins, and which of these all models predict."""
        shown = self._predicted(next(iter(self.fits.values())), stimulus, role)
        if shown is None:
            return None, None
        # Without a held-out role of its own, a comparison carves one from the training part.
        source = role if role in self.view.roles(stimulus) else "train"
        node = self._role(source, stimulus)
        time, wanted = node["time"].values, shown["time"].values
        index = np.searchsorted(time, wanted - self.view.bin_width / 2)
        found = node.isel(time=np.minimum(index, len(time) - 1))
        if np.abs(found["time"].values - wanted).max(initial=0) > self.view.bin_width / 2:
            raise InputError(
                f"does not hold the times that were predicted ({wanted[0]:g} s on).",
                where=f"{self.view.source}: /{stimulus}/{source}",
                remedy="Give the recording that the models were fitted to.",
            )
        within = np.concatenate([np.arange(b - a) for _, a, b in block_runs(shown["block"].values)])
        use = within >= self.settled
        for fit in self.fits.values():
            rate = self._predicted(fit, stimulus, role)["rate"].values
            use &= np.isfinite(rate).all(1)
        return found, use

    @staticmethod
    def _predicted(fit: Fit, stimulus: str, role: str) -> xr.Dataset | None:
        if role not in fit.predictions[stimulus].children:
            return None
        return fit.predictions[f"{stimulus}/{role}"].to_dataset()

    def _one(self, fit: Fit, stimulus: str, role: str, use, true) -> dict[str, np.ndarray]:
        predicted = self._predicted(fit, stimulus, role)
        rate, wanted = predicted["rate"].values[use], true["true_rate"].values[use]
        found = {
            "cc_true": pearson_r(rate, wanted),
            "relative_error": divide(np.sqrt(((rate - wanted) ** 2).mean(0)), wanted.std(0)),
            "bits_lost": expected_bits_lost(rate, wanted),
        }
        if "rate_conditional" in predicted and "conditional_rate" in true:
            given = predicted["rate_conditional"].transpose(..., "time", "neuron").values
            wanted = true["conditional_rate"].transpose(..., "time", "neuron").values
            given, wanted = given[..., use, :], wanted[..., use, :]
            known = np.isfinite(given).all(-1) & np.isfinite(wanted).all(-1)
            found["cc_conditional"] = pearson_r(given[known], wanted[known])
            found["bits_lost_conditional"] = expected_bits_lost(given[known], wanted[known])
        return found


def _ceilings(rate: np.ndarray, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `ceiling_true`, `r_true` and `ceiling_estimated` are, (neuron,) each."""
    trials = trials[np.isfinite(trials).any((1, 2))]
    estimated = cc_max(trials) if len(trials) > 1 else np.full(rate.shape[1], np.nan)
    return ceiling_of_trials(rate, trials), pearson_r(rate, trials), estimated


#: Filters of a model, those of the truth, and their axis of lags: model's name first.
FILTERS = {
    "filter_correlation": ("stimulus_filter", "true_filter", "filter_lag", "stimulus filter"),
    "history_correlation": ("history_filter", "true_history", "history_lag", "history filter"),
}


def _of_filters(truth: xr.Dataset, fits, labels, seeds) -> dict[str, tuple]:
    """Stimulus, history and coupling filters of the models and of the truth that have them."""
    shape = (len(labels), len(seeds))
    parameters = {
        (labels.index(label), seeds.index(seed)): fit.parameters
        for (label, seed), fit in fits.items()
    }
    found: dict[str, tuple] = {}
    for name, (ours, theirs, lag, said) in FILTERS.items():
        if theirs not in truth:
            continue
        values = np.full((*shape, truth.sizes["neuron"]), np.nan)
        for at, weights in parameters.items():
            if ours in weights:
                values[at] = _filter_correlation(weights[ours], truth[theirs], lag)
        about = {"units": "1", "long_name": f"correlation of fitted and true {said}"}
        found[name] = (("model", "seed", "neuron"), values, about)
    if "true_coupling" in truth:
        found |= _couplings(truth["true_coupling"], parameters, shape)
    return found


def _filter_correlation(fitted: xr.DataArray, true: xr.DataArray, lag: str) -> np.ndarray:
    """(neuron,): r over lags (and pixels); NaN where the two lie on other pixels."""
    ours = fitted.dims[0]
    expected = on_lags(true, lag, fitted[ours].values)
    expected = expected.reshape(-1, true.sizes["neuron"])
    values = fitted.transpose(ours, ..., "neuron").values.reshape(-1, true.sizes["neuron"])
    if values.shape != expected.shape:
        return np.full(true.sizes["neuron"], np.nan)
    return pearson_r(values, expected)


def _couplings(true: xr.DataArray, parameters, shape: tuple[int, int]) -> dict[str, tuple]:
    true = true.transpose("coupling_lag", "source_neuron", "neuron")
    total = _summed(true)
    fitted = np.full((*shape, *total.shape), np.nan)
    values = {name: np.full(shape, np.nan) for name in COUPLING_SCORES}
    for at, weights in parameters.items():
        if "coupling_filter" not in weights:
            continue
        fitted[at] = _summed(weights["coupling_filter"].transpose(*true.dims))
        for name, value in zip(COUPLING_SCORES, compare_couplings(fitted[at], total), strict=True):
            values[name][at] = value
    about = {"units": "s", "long_name": "drive per spike, summed over lags"}
    return {
        "coupling": (("model", "seed", "source_neuron", "neuron"), fitted, about),
        "true_coupling": (("source_neuron", "neuron"), total, about),
        **{
            name: (("model", "seed"), values[name], {"units": "1", "long_name": said})
            for name, said in COUPLING_SCORES.items()
        },
    }


def _summed(kernels: xr.DataArray) -> np.ndarray:
    """Drive × time that one spike brings, so that bins of any width compare."""
    lags = kernels["coupling_lag"].values
    return kernels.sum("coupling_lag").values * lag_width(lags)
