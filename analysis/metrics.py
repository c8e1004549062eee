"""Scores of a prediction against recorded responses, per neuron and for the population.

Each score is a formula of a few terms, and each term a function of sums over bins
(`neuromodels.analysis.sums`). Responses are (trial, time, neuron) with NaN where a trial is
missing, predictions (time, neuron); results are float64, one number per neuron, NaN where a score
is undefined. Nothing is clipped: a score below 0 or above 1 is shown as it is.

All scores take `reduction`:

"none"
    One value per neuron.
"mean"
    Mean over the neurons for which the score is defined. How many those are is the number of
    finite values under "none".
"ratio"
    Ratio of population sums: the terms of the formula (covariances, variances, signal powers,
    log-likelihoods, spikes) are summed over neurons before the formula is applied, as if the cells
    were one. Steady where few trials or low rates make a cell's own ratio heavy-tailed.

Notation: y_{n,t} is the response in repeat n of N and bin t of T, ȳ_t its mean over repeats, ŷ_t
the prediction; variances over time have ddof 1; σ² is the variance between repeats, pooled over
bins with weights n_t - 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neuromodels.analysis.sums import (
    Sums,
    divide,
    likelihood_sums,
    moment_sums,
    signal_power_of,
    square_sums,
)

REDUCTIONS = ("none", "mean", "ratio")


@dataclass(frozen=True)
class Metric:
    """A score as terms of sums and a formula of terms, so that any weighting of blocks works.

    Attributes
    ----------
    name : str
    kind : str
        "moments", "likelihood" or "squares": which sums it reads.
    min_trials : int
    terms, formula : callable
        Sums to terms (..., neuron); terms to the score.
    version : int
        Goes up when the estimator changes; values of different versions are never compared.
    """

    name: str
    kind: str
    min_trials: int
    terms: Callable
    formula: Callable
    version: int = 1

    def sums(self, prediction, responses, blocks=None, null_rate=None) -> Sums:
        """The sums that this score reads."""
        if self.kind == "moments":
            return moment_sums(prediction, responses, blocks, min_trials=self.min_trials)
        if null_rate is None:
            raise ValueError(f"null_rate: {self.name} needs the training mean of each cell")
        sums = likelihood_sums if self.kind == "likelihood" else square_sums
        return sums(prediction, responses, null_rate, blocks)

    def evaluate(self, arrays: dict[str, np.ndarray], reduction: str = "none") -> np.ndarray:
        """Score from summed (neuron, ...) or weighted (resample, neuron, ...) sums."""
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction: {reduction!r}, expected one of {', '.join(REDUCTIONS)}")
        terms = np.broadcast_arrays(*self.terms(arrays))
        if reduction == "ratio":
            defined = ~np.any([np.isnan(t) for t in terms], axis=0)
            terms = [np.where(defined, t, 0.0).sum(axis=-1) for t in terms]
        values = np.asarray(self.formula(*terms), float)
        if reduction != "mean":
            return values
        defined = ~np.isnan(values)
        return divide(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def main_metric(response: str) -> str:
    """Score of a stretch that was shown once: for "count" bits per spike, else R²."""
    return "bits_per_spike" if response == "count" else "variance_explained"


def formula_of(score: str) -> str:
    """Name of the formula behind a column of scores: "bits_per_spike" of "bits_per_spike_test"."""
    for suffix in ("_conditional", "_adjusted", "_test"):
        score = score.removesuffix(suffix)
    return score


def pearson_r(prediction, responses, *, reduction: str = "none") -> np.ndarray:
    """How well the shape of the predicted rate follows the mean over trials, from -1 to 1.

    Parameters
    ----------
    prediction : array (time, neuron)
        Predicted response; NaN bins are left out.
    responses : array (trial, time, neuron) or (time, neuron)
        Recorded responses, NaN where missing.
    reduction : {"none", "mean", "ratio"}

    Returns
    -------
    np.ndarray
        (neuron,) or a single value. NaN where prediction or response is constant.

    Raises
    ------
    ValueError
        If the shapes disagree or the reduction is unknown.

    Notes
    -----
    r = Cov(ŷ, ȳ) / √(Var ŷ · Var ȳ). It is limited by noise: see `ceilings.cc_max`.
    """
    return _score(PEARSON_R, prediction, responses, reduction)


def cc_norm(prediction, responses, *, reduction: str = "none") -> np.ndarray:
    """Correlation with the noise-free response: 1 is a perfect shape, whatever the noise.

    Parameters and result as `pearson_r`; at least two trials. NaN where no signal was measured
    (signal power ≤ 0). Noise can carry it above 1.

    Notes
    -----
    CC_norm = Cov(ŷ, ȳ) / √(Var ŷ · SP) = r / CC_max, with SP the signal power (mean covariance
    over pairs of trials). Gain and offset of the prediction do not matter.

    References
    ----------
    Schoppe, Harper, Willmore, King & Schnupp (2016), Front. Comput. Neurosci. 10:10.
    Sahani & Linden (2003), NIPS 15 (signal power).
    """
    return _score(CC_NORM, prediction, responses, reduction)


def signal_power_explained(prediction, responses, *, reduction: str = "none") -> np.ndarray:
    """Share of the stimulus-driven power that the prediction removes; errors of gain count.

    Parameters and result as `cc_norm`. 1 is perfect; it has no lower bound.

    Notes
    -----
    SPE = [Var(ȳ) - Var(ȳ - ŷ)] / SP. An offset does not matter.

    References
    ----------
    Sahani & Linden (2003), NIPS 15.
    """
    return _score(SIGNAL_POWER_EXPLAINED, prediction, responses, reduction)


def feve(prediction, responses, *, reduction: str = "none") -> np.ndarray:
    """Fraction of the explainable variance explained; wrong gain and wrong offset cost.

    Parameters and result as `cc_norm`. 1 is perfect, 0 no better than the mean; negative values
    stay. NaN where the explainable variance is ≤ 0.

    Notes
    -----
    FEVE = 1 - [mean_{n,t}(y - ŷ)² - σ²] / [Var_{n,t}(y) - σ²]. An offset c costs c²/Var λ in
    expectation.

    References
    ----------
    Cadena et al. (2019), PLoS Comput. Biol. 15:e1006897.
    """
    return _score(FEVE, prediction, responses, reduction)


def r2_er(prediction, responses, *, reduction: str = "none") -> np.ndarray:
    """Squared correlation with the noise-free response, corrected for the noise of the mean.

    Parameters and result as `cc_norm`; NaN where the corrected response power is ≤ 0.

    Notes
    -----
    With v, u the centred ŷ and ȳ,
    r²_ER = [(Σ v u)² - (σ²/N) Σ v²] / [Σ v² · (Σ u² - (T-1) σ²/N)].
    With missing trials σ²/N becomes σ²/n_t bin by bin: Σ v²σ²/n_t and (1 - 1/T) Σ σ²/n_t.
    It assumes the same variance in every bin; for spike counts give √counts and a prediction of
    √counts, or prefer `cc_norm`.

    References
    ----------
    Pospisil & Bair (2021), PLoS Comput. Biol. 17:e1009212.
    """
    return _score(R2_ER, prediction, responses, reduction)


def explainable_fraction(responses, *, reduction: str = "none") -> np.ndarray:
    """Share of the single-trial variance that repeats of the stimulus account for.

    Parameters
    ----------
    responses : array (trial, time, neuron)
        At least two trials.
    reduction : {"none", "mean", "ratio"}

    Returns
    -------
    np.ndarray
        (neuron,) or a single value; may be negative where there is no signal.

    Notes
    -----
    (Var_{n,t}(y) - σ²) / Var_{n,t}(y), as used for choosing cells by Cadena et al. (2019).
    """
    return _score(EXPLAINABLE_FRACTION, None, responses, reduction)


def bits_per_spike(prediction, responses, null_rate, *, reduction: str = "none") -> np.ndarray:
    """Information that the predicted rates give about each spike, beyond the cell's mean rate.

    Parameters
    ----------
    prediction : array (time, neuron) or (trial, time, neuron)
        Predicted counts per bin. The form with trials is for predictions that were given the
        recorded past of each trial.
    responses : array (trial, time, neuron) or (time, neuron)
        Spike counts per bin.
    null_rate : array (neuron,)
        Mean counts per bin over the training data. (Taking the test mean instead makes the
        reference know the answer.)
    reduction : {"none", "mean", "ratio"}
        "ratio" is bits of the whole population per spike of the population.

    Returns
    -------
    np.ndarray
        (neuron,) or a single value. -inf where a spike fell in a bin predicted to be impossible;
        NaN for a cell without spikes, or without training spikes.

    Raises
    ------
    ValueError
        If shapes disagree or a rate or count is negative.

    Notes
    -----
    [Σ y ln(λ̂/λ₀) - (λ̂ - λ₀)] / (n_spikes · ln 2), Poisson log-likelihoods over all trials.

    References
    ----------
    Brenner et al. (2000), Neural Comput. 12:1531; Pillow et al. (2008), Nature 454:995.
    """
    return _score(BITS_PER_SPIKE, prediction, responses, reduction, null_rate)


def deviance_explained(prediction, responses, null_rate, *, reduction: str = "none") -> np.ndarray:
    """Poisson counterpart of R²: 0 for the training mean rate, 1 if every count is predicted.

    Parameters and result as `bits_per_spike`. Single-trial noise counts as unexplained, so that 1
    is out of reach of any model of rates.

    Notes
    -----
    1 - D(y, λ̂)/D(y, λ₀), with D = 2 Σ [y ln(y/μ) - (y - μ)] (Cohen's pseudo-R²; McFadden's is
    another quantity).
    """
    return _score(DEVIANCE_EXPLAINED, prediction, responses, reduction, null_rate)


def variance_explained(prediction, responses, null_rate, *, reduction: str = "none") -> np.ndarray:
    """R² on data that the fit has not seen: 0 for the training mean, 1 if every value is predicted.

    Parameters and result as `bits_per_spike`, in the units of the responses: traces (ΔF/F,
    deconvolved), rates or counts, negative values allowed. Gain and offset cost, and the noise of
    single trials counts as unexplained. NaN for a trace that never leaves its training mean.
    "ratio" weighs cells by their variance; for traces of unlike scale prefer "mean".

    Notes
    -----
    1 - Σ (y - ŷ)² / Σ (y - ȳ_train)², over bins and trials. The mean of the *test* in its place
    would make the reference know the answer.
    """
    return _score(VARIANCE_EXPLAINED, prediction, responses, reduction, null_rate)


def _score(metric: Metric, prediction, responses, reduction, null_rate=None) -> np.ndarray:
    if prediction is None and metric is not EXPLAINABLE_FRACTION:
        raise ValueError(f"prediction: None; {metric.name} needs one")
    sums = metric.sums(prediction, responses, null_rate=null_rate)
    return metric.evaluate(sums.total(), reduction)


def _second_moments(a) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centred sums Σvu, Σvv, Σuu of prediction (v) and mean response (u)."""
    n = np.where(a["n"] >= 2, a["n"], np.nan)
    return (
        a["xu"] - a["x"] * a["u"] / n,
        a["xx"] - a["x"] ** 2 / n,
        a["uu"] - a["u"] ** 2 / n,
    )


def _noise(a) -> np.ndarray:
    return divide(a["within"], a["dof"])


def _total_variance(a) -> np.ndarray:
    return divide(a["zz"] - divide(a["z"] ** 2, a["n_obs"]), a["n_obs"] - 1)


def _root_ratio(covariance, product) -> np.ndarray:
    positive = product > 0
    return np.where(positive, covariance / np.sqrt(np.where(positive, product, 1.0)), np.nan)


def _over_positive(numerator, denominator) -> np.ndarray:
    """Quotient, NaN where the denominator is not positive: a power that was not measured."""
    return np.where(denominator > 0, divide(numerator, denominator), np.nan)


def _covariance_terms(a):
    vu, vv, uu = _second_moments(a)
    return vu / (a["n"] - 1), vv / (a["n"] - 1), uu / (a["n"] - 1)


def _cc_norm_terms(a):
    cov, var_model, _ = _covariance_terms(a)
    return cov, var_model, signal_power_of(a)


def _cc_norm_formula(cov, var_model, power):
    # two negative factors must not pass for a positive one
    return np.where(power > 0, _root_ratio(cov, var_model * power), np.nan)


def _spe_terms(a):
    cov, var_model, _ = _covariance_terms(a)
    return 2 * cov - var_model, signal_power_of(a)


def _feve_terms(a):
    noise = _noise(a)
    return divide(a["err"], a["n_obs"]) - noise, _total_variance(a) - noise


def _r2_er_terms(a):
    vu, vv, uu = _second_moments(a)
    mean = divide(a["x"], a["n"])
    noise = _noise(a)
    noise_vu = noise * (a["xx_inv"] - 2 * mean * a["x_inv"] + mean**2 * a["inv"])
    return vu, noise_vu, vv, uu - noise * (1 - divide(1.0, a["n"])) * a["inv"]


def _r2_er_formula(vu, noise_vu, vv, power):
    return np.where(power > 0, _over_positive(vu**2 - noise_vu, vv * power), np.nan)


def _bits_formula(gain, spikes):
    return divide(gain, spikes * np.log(2.0))


PEARSON_R = Metric(
    "pearson_r", "moments", 1, _covariance_terms, lambda cov, vv, uu: _root_ratio(cov, vv * uu)
)
CC_NORM = Metric("cc_norm", "moments", 2, _cc_norm_terms, _cc_norm_formula)
SIGNAL_POWER_EXPLAINED = Metric("signal_power_explained", "moments", 2, _spe_terms, _over_positive)
FEVE = Metric(
    "feve", "moments", 2, _feve_terms, lambda error, power: 1 - _over_positive(error, power)
)
R2_ER = Metric("r2_er", "moments", 2, _r2_er_terms, _r2_er_formula)
EXPLAINABLE_FRACTION = Metric(
    "explainable_fraction",
    "moments",
    2,
    lambda a: (_total_variance(a) - _noise(a), _total_variance(a)),
    _over_positive,
)
BITS_PER_SPIKE = Metric(
    "bits_per_spike", "likelihood", 1, lambda a: (a["gain"], a["spikes"]), _bits_formula
)
DEVIANCE_EXPLAINED = Metric(
    "deviance_explained",
    "likelihood",
    1,
    lambda a: (a["deviance"], a["null_deviance"]),
    lambda model, null: 1 - divide(model, null),
)
VARIANCE_EXPLAINED = Metric(
    "variance_explained",
    "squares",
    1,
    lambda a: (a["error"], a["null_error"]),
    lambda error, null: 1 - divide(error, null),
)

METRICS = {
    metric.name: metric
    for metric in (
        PEARSON_R,
        CC_NORM,
        SIGNAL_POWER_EXPLAINED,
        FEVE,
        R2_ER,
        EXPLAINABLE_FRACTION,
        BITS_PER_SPIKE,
        DEVIANCE_EXPLAINED,
        VARIANCE_EXPLAINED,
    )
}
