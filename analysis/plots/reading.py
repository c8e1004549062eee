"""What figures need of a comparison's labelled tree, in the units in which they show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from neuromodels.analysis.metrics import formula_of, main_metric
from neuromodels.datasets.errors import InputError

#: How a score is written on an axis.
NAMES = {
    "bits_per_spike": "bits per spike",
    "deviance_explained": "deviance explained",
    "variance_explained": "variance explained, R²",
    "pearson_r": "r to PSTH",
    "cc_norm": "CC$_{norm}$",
    "feve": "FEVE",
    "r2_er": "r²$_{ER}$",
    "signal_power_explained": "signal power explained",
}
WHERE = {"heldout": "held-out blocks", "test": "repeated movie"}


@dataclass(frozen=True)
class Responses:
    """What was recorded in one role, still on disk where the tree is.

    Attributes
    ----------
    stimulus, role : str
        Where in the tree.
    data : xarray.Dataset
        `response ([trial,] time, neuron)` in spikes per bin or in the units of a trace,
        `scored (time)`.
    bin_width : float
        s.
    """

    stimulus: str
    role: str
    data: xr.Dataset
    bin_width: float

    @property
    def n_trials(self) -> int:
        """Repeats; 1 where nothing was repeated."""
        return self.data.sizes.get("trial", 1)

    @property
    def counted(self) -> bool:
        """Whether these are spikes, and not rates or traces."""
        return self.data["response"].attrs.get("kind", "count") == "count"

    @property
    def factor(self) -> float:
        """From stored values to those shown: counts become rates, traces keep their units."""
        return 1 / self.bin_width if self.counted else 1.0

    @property
    def shown_as(self) -> str:
        """Name and units of what is shown."""
        if self.counted:
            return "rate (Hz)"
        about = self.data["response"].attrs
        return f"{about['kind']} ({about['units']})"

    @property
    def score(self) -> str:
        """Score of a stretch shown once."""
        return main_metric("count" if self.counted else "trace")

    @property
    def time(self) -> np.ndarray:
        """Start of each bin, s."""
        return self.data["time"].values

    def counts(self, neuron: str, bins: np.ndarray) -> np.ndarray:
        """Responses (trial, bin) of one neuron, as stored; NaN where one was not recorded."""
        response = self.data["response"].sel(neuron=neuron).isel(time=bins)
        values = np.asarray(response.values, dtype=float)
        return values.reshape(self.n_trials, -1)

    def bins(self, window: tuple[float, float] | None, longest: float) -> np.ndarray:
        """Indices of the bins to show, all of one block.

        Parameters
        ----------
        window : tuple of float or None
            From and to, s; None for what is scored of the first block, at most `longest` s.
        longest : float
            s.

        Raises
        ------
        InputError
            Nothing was recorded in the window.
        """
        time, block = self.time, self.data["block"].values
        half = self.bin_width / 2
        if window is None:
            scored = np.flatnonzero(self.data["scored"].values)
            first = scored[0] if len(scored) else 0
            inside = (time > time[first] - half) & (time < time[first] + longest - half)
        else:
            inside = (time > window[0] - half) & (time < window[1] - half)
            if not inside.any():
                raise InputError(
                    f"has no bin from {window[0]:g} to {window[1]:g} s.",
                    where=f"plot: {self.stimulus}/{self.role}: window",
                    remedy=f"It lasts from {time[0]:g} to {time[-1] + self.bin_width:g} s.",
                )
            first = np.flatnonzero(inside)[0]
        return np.flatnonzero(inside & (block == block[first]))


def scores_of(tree: xr.DataTree) -> xr.Dataset:
    """All scores of a comparison.

    Raises
    ------
    InputError
        The tree is not that of a comparison.
    """
    if "scores" not in tree.children:
        raise InputError(
            "has no node `scores`.",
            where="plot: tree",
            remedy="Give the tree of a comparison: nm.load(path).tree.",
        )
    return tree["scores"].to_dataset()


def models_of(tree: xr.DataTree) -> tuple[str, ...]:
    """Labels of the models, in the order of the comparison."""
    return tuple(str(model) for model in scores_of(tree)["model"].values)


def neurons_of(tree: xr.DataTree) -> tuple[str, ...]:
    """Ids of the neurons."""
    return tuple(str(neuron) for neuron in scores_of(tree)["neuron"].values)


def bin_width_of(tree: xr.DataTree) -> float:
    """Bin width of everything that was fitted and predicted, s."""
    return float(scores_of(tree).attrs["bin_width_s"])


def check_neuron(tree: xr.DataTree, neuron: str) -> str:
    """Return the neuron's id.

    Raises
    ------
    InputError
        There is no such neuron.
    """
    known = neurons_of(tree)
    if str(neuron) not in known:
        shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
        raise InputError(
            f"there is no neuron {neuron!r}.", where="plot: neuron", remedy=f"Neurons: {shown}."
        )
    return str(neuron)


def shown_name(tree: xr.DataTree, model: str) -> str:
    """Name of a model in a legend; it says when predictions are free-running."""
    mode = str(scores_of(tree)["mode"].sel(model=model).values)
    return f"{model} ({mode})" if mode == "free-running" else model


def fits_of(tree: xr.DataTree, model: str) -> dict[int, xr.DataTree]:
    """Fits of a model by seed, first fold.

    Raises
    ------
    InputError
        There is no such model.
    """
    for node in tree["fits"].children.values() if "fits" in tree.children else ():
        found = {int(seed): next(iter(n.children.values())) for seed, n in node.children.items()}
        if any(fit.attrs.get("label") == model for fit in found.values()):
            return found
    raise InputError(
        f"there is no model {model!r}.",
        where="plot: model",
        remedy=f"Models: {', '.join(models_of(tree))}.",
    )


def fit_of(tree: xr.DataTree, model: str, seed: int | None = None) -> xr.DataTree:
    """One fit of a model; the first seed unless another is asked for.

    Raises
    ------
    InputError
        There is no such model or seed.
    """
    found = fits_of(tree, model)
    seed = next(iter(found)) if seed is None else seed
    if seed not in found:
        raise InputError(
            f"{model} was not fitted with seed {seed}.",
            where="plot: seed",
            remedy=f"Seeds: {', '.join(map(str, found))}.",
        )
    return found[seed]


def parameters_of(tree: xr.DataTree, model: str, seed: int | None = None) -> xr.Dataset:
    """Weights and filters of a fit; empty where a fit stores none."""
    fit = fit_of(tree, model, seed)
    return fit["parameters"].to_dataset() if "parameters" in fit.children else xr.Dataset()


def responses_of(tree: xr.DataTree, role: str | None = None) -> Responses:
    """Return the responses of a role.

    Parameters
    ----------
    tree : xarray.DataTree
        Of a comparison.
    role : str, optional
        "test" or "heldout"; by default the repeated movie if there are repeats, else the held-out
        blocks.

    Raises
    ------
    InputError
        Nothing was observed in that role.
    """
    width = bin_width_of(tree)
    found = {
        str(name): Responses(str(stimulus), str(name), node.to_dataset(), width)
        for stimulus, roles in (
            tree["observed"].children if "observed" in tree.children else {}
        ).items()
        for name, node in roles.children.items()
    }
    if role is not None and role not in found:
        raise InputError(
            f"nothing was observed in the role {role!r}.",
            where="plot: role",
            remedy=f"Roles: {', '.join(found) or 'none'}.",
        )
    if not found:
        raise InputError(
            "holds no observed responses.",
            where="plot: tree",
            remedy="Compare models on a recording with held-out blocks or repeats.",
        )
    if role is None:
        # More repeats first; held-out blocks before a single repeat.
        role = max(found, key=lambda name: (found[name].n_trials, name == "heldout"))
    return found[role]


def predicted(
    tree: xr.DataTree,
    model: str,
    responses: Responses,
    neuron: str,
    bins: np.ndarray,
    seed: int | None = None,
) -> np.ndarray | None:
    """Rate (Hz) or trace that a model predicts from the stimulus; None if there is none.

    A model that sees spikes runs freely here. NaN before its lead-in.
    """
    node = fit_of(tree, model, seed)
    for name in ("predictions", responses.stimulus, responses.role):
        if name not in node.children:
            return None
        node = node.children[name]
    rate = node.to_dataset()["rate"].sel(neuron=neuron).isel(time=bins)
    return np.asarray(rate.values, dtype=float) * responses.factor


def mean_score(tree: xr.DataTree, metric: str) -> xr.DataArray:
    """Score (model, neuron), mean over seeds and folds.

    Raises
    ------
    InputError
        There is no such score.
    """
    score = scores_of(tree)["score"]
    check_metric(tree, metric)
    return score.sel(metric=metric).mean(("seed", "fold"), skipna=False)


def check_metric(tree: xr.DataTree, metric: str) -> None:
    """Refuse a score that the comparison does not have.

    Raises
    ------
    InputError
        Names those that it has.
    """
    known = [str(name) for name in scores_of(tree)["metric"].values]
    if metric not in known:
        raise InputError(
            f"there is no score {metric!r}.",
            where="plot: metric",
            remedy=f"Scores: {', '.join(known)}.",
        )


def metric_label(tree: xr.DataTree, metric: str) -> str:
    """Score, data, and what the model was given, for an axis."""
    return score_label(scores_of(tree), metric)


def score_label(scores: xr.Dataset, metric: str) -> str:
    """The same, of scores with the coordinates `data` and `conditional`."""
    row = scores.sel(metric=metric)
    base = formula_of(metric)
    where = WHERE.get(str(row["data"].values), str(row["data"].values))
    given = ", given spikes" if int(row["conditional"]) else ""
    given += ", gain refitted" if metric.endswith("_adjusted") else ""
    return f"{NAMES.get(base, base)}\n({where}{given})"


def ranked_neurons(tree: xr.DataTree) -> tuple[str, ...]:
    """Neurons from best to worst predicted (mean over models), those without a score last."""
    scores = scores_of(tree)
    metric = str(scores.attrs["headline_metric"])
    values = mean_score(tree, metric)
    known = values.isel(model=~np.isnan(values.values).all(axis=1))
    mean = known.mean("model", skipna=False).values if known.sizes["model"] else values[0].values
    order = np.argsort(np.where(np.isnan(mean), np.inf, -mean), kind="stable")
    neurons = neurons_of(tree)
    return tuple(neurons[i] for i in order)


def some_neurons(tree: xr.DataTree, most: int) -> tuple[str, ...]:
    """All neurons, or `most` of them, spread evenly from the best to the worst predicted.

    Neurons without a score are chosen only where there are too few others.
    """
    neurons = neurons_of(tree)
    if len(neurons) <= most:
        return neurons
    ranked = ranked_neurons(tree)
    metric = str(scores_of(tree).attrs["headline_metric"])
    known = set(neurons_with_score(tree, metric))
    pool = [neuron for neuron in ranked if neuron in known]
    if len(pool) < most:
        pool = list(ranked)
    picks = np.round(np.linspace(0, len(pool) - 1, most)).astype(int)
    return tuple(pool[i] for i in picks)


def heldout_score(tree: xr.DataTree) -> str:
    """Main score of what was shown once: bits per spike, or variance explained for traces."""
    return main_metric(scores_of(tree).attrs.get("response", "count"))


def neurons_with_score(tree: xr.DataTree, metric: str) -> tuple[str, ...]:
    """Neurons for which at least one model has this score."""
    known = ~np.isnan(mean_score(tree, metric).values).all(axis=0)
    return tuple(n for n, k in zip(neurons_of(tree), known, strict=True) if k)
