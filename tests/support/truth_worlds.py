"""Recordings whose truth is known, in plain numpy: LN, LNLN and coupled GLM neurons.

Nothing of the package makes these numbers; they are only packed into a recording.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.datasets.recording import Recording

BIN = 0.01


class World(NamedTuple):
    """A recording and what made it.

    Attributes
    ----------
    recording : Recording
        With `true_rate` in its roles.
    truth : dict
        Filters, weights, couplings.
    """

    recording: Recording
    truth: dict[str, np.ndarray]


def bumps(n_lags: int, n_basis: int) -> np.ndarray:
    """Log-raised cosines of unit norm, (lag, basis), from the formula in spec 3.2 / Pillow 2008."""
    phi = np.log(np.arange(n_lags) + 3)
    centres = np.linspace(phi[0], phi[-1], n_basis)
    step = centres[1] - centres[0]
    phase = np.clip((phi[:, None] - centres) * np.pi / (2 * step), -np.pi, np.pi)
    basis = 0.5 * (1 + np.cos(phase))
    return basis / np.linalg.norm(basis, axis=0)


def filtered(movie: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    """Σ over lags ≥ 1 and pixels: movie (bin, pixel), kernels (lag, pixel, k) to (bin, k)."""
    out = np.zeros((len(movie), kernels.shape[2]))
    for lag, kernel in enumerate(kernels, start=1):
        out[lag:] += movie[:-lag] @ kernel
    return out


def packed(
    movies: dict[str, np.ndarray],
    counts: dict[str, np.ndarray],
    rates: dict[str, np.ndarray],
    *,
    n_blocks: int = 20,
    conditional: dict[str, np.ndarray] | None = None,
    root: dict[str, tuple] | None = None,
) -> Recording:
    """A recording with truth; movies (bin, y, x) for "train" and, with repeats, "test"."""
    more = {}
    if "test" in movies:
        more = {"test_stimulus": movies["test"], "test_counts": counts["test"]}
    length = len(movies["train"]) // n_blocks
    recording = recording_from_arrays(
        movies["train"],
        counts["train"],
        bin_width=BIN,
        blocks=np.minimum(np.arange(len(movies["train"])) // length, n_blocks - 1),
        **more,
    )
    tree = recording.tree
    for role, rate in rates.items():
        node = tree[f"stimulus/{role}"].to_dataset()
        node["true_rate"] = (("time", "neuron"), rate, {"units": "spikes per bin"})
        if conditional is not None:
            dims = ("trial", "time", "neuron")[3 - conditional[role].ndim :]
            node["conditional_rate"] = (dims, conditional[role], {"units": "spikes per bin"})
        tree[f"stimulus/{role}"].dataset = node
    top = tree.to_dataset()
    for name, (dims, values, coords) in (root or {}).items():
        top[name] = (dims, values)
        top = top.assign_coords(coords)
    tree.dataset = top.assign_attrs(simulation={"seed": 0})
    return recording


def white(n_bins: int, size: tuple[int, ...], rng) -> np.ndarray:
    """Gaussian frames (bin, y, x) of unit variance."""
    return rng.standard_normal((n_bins, *size)).astype(np.float32)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp x)."""
    return np.logaddexp(0, x)


def ln_world(n_bins: int, seed: int, n_neurons: int = 4, n_trials: int = 0) -> World:
    """LN neurons on Gaussian white noise of 6 pixels; filters of 12 lags in the span of 5 bumps."""
    rng = np.random.default_rng(seed)
    basis, n_pixels = bumps(12, 5), 6
    kernel = np.einsum("lb,bpn->lpn", basis, rng.standard_normal((5, n_pixels, n_neurons)))
    kernel *= 0.8 / np.sqrt((kernel**2).sum((0, 1)))
    movies = {"train": white(n_bins, (n_pixels, 1), rng)}
    if n_trials:
        movies["test"] = white(1000, (n_pixels, 1), rng)
    rates = {
        role: softplus(-1.0 + filtered(movie[:, :, 0], kernel)) for role, movie in movies.items()
    }
    counts = {"train": rng.poisson(rates["train"])}
    if n_trials:
        counts["test"] = rng.poisson(rates["test"], (n_trials, *rates["test"].shape))
    lags = np.arange(13) * BIN
    root = {
        # Lag 0 is the frame on screen, which these neurons do not see yet.
        "true_filter": (
            ("filter_lag", "filter_y", "filter_x", "neuron"),
            np.concatenate([np.zeros((1, *kernel.shape[1:])), kernel])[:, :, None],
            {"filter_lag": lags, "filter_y": np.arange(n_pixels), "filter_x": [0]},
        )
    }
    return World(packed(movies, counts, rates, root=root), {"kernel": kernel})


#: A network that can express `subunit_world` with a channel to spare, and its training.
SUBUNIT_NETWORK = {
    "history": 0.12,
    "temporal_basis": 6,
    "channels": (3,),
    "kernels": (5,),
    "noise": (0.0,),
    "dropout": 0.0,
}
SUBUNIT_TRAINING = {
    "batch_bins": 512,
    "segment_bins": 256,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
}


def subunit_world(n_bins: int, seed: int, n_kinds: int = 2, n_neurons: int = 8) -> World:
    """LNLN neurons: subunits of a few kinds at every place of a bar movie, rectified, summed.

    Kernels span 12 lags and 5 pixels of 12; every neuron weighs neighbouring subunits, some of
    them negatively.
    """
    rng = np.random.default_rng(seed)
    n_pixels, width, n_lags = 12, 5, 12
    n_places = n_pixels - width + 1
    space = np.arange(width) - (width - 1) / 2
    basis = bumps(n_lags, 6)
    kernels = np.zeros((n_kinds, n_lags, width))
    for kind in range(n_kinds):
        # Different time courses and shapes, ON and OFF; then unit norm.
        course = basis @ rng.standard_normal(6)
        shape = np.exp(-(space**2) / (2 * rng.uniform(0.6, 1.4) ** 2)) * np.cos(
            rng.uniform(0, 1.5) * space + rng.uniform(-0.7, 0.7)
        )
        kernels[kind] = np.outer(course, shape)
        kernels[kind] /= np.linalg.norm(kernels[kind])
    threshold = rng.uniform(-0.2, 0.4, n_kinds)
    # Every neuron pools a few subunits of each kind at places of its own.
    pooled = rng.random((n_neurons, n_kinds, n_places)) < 0.35
    weights = pooled * rng.uniform(0.3, 1.0, pooled.shape)
    weights /= np.maximum(weights.sum((1, 2), keepdims=True), 0.3)

    def rate_of(movie: np.ndarray) -> np.ndarray:
        drive = np.full((len(movie), n_neurons), -2.5)
        for place in range(n_places):
            here = np.ascontiguousarray(movie[:, place : place + width, 0])
            seen = filtered(here, np.moveaxis(kernels, 0, 2))
            drive += np.maximum(seen - threshold, 0) @ weights[:, :, place].T * 4
        return softplus(drive)

    movies = {"train": white(n_bins, (n_pixels, 1), rng), "test": white(1000, (n_pixels, 1), rng)}
    rates = {role: rate_of(movie) for role, movie in movies.items()}
    counts = {
        "train": rng.poisson(rates["train"]),
        "test": rng.poisson(rates["test"], (20, *rates["test"].shape)),
    }
    root = {
        "true_subunit_filter": (
            ("subunit_kind", "subunit_lag", "subunit_y"),
            kernels,
            {"subunit_lag": BIN * np.arange(1, n_lags + 1)},
        )
    }
    recording = packed(movies, counts, rates, root=root)
    return World(recording, {"kernels": kernels, "weights": weights})


#: Lags and bumps of the history and of the couplings of `coupled_world`.
OWN, COUPLING = (20, 6), (10, 4)
#: Free runs whose mean is the true rate of coupled neurons.
RUNS = 64


def coupled_world(n_bins: int, seed: int, n_neurons: int = 5, n_trials: int = 0) -> World:
    """Coupled GLM neurons on a ring, F = exp: refractory, one neighbour exciting, one inhibiting.

    Everything lies in the span of log-raised cosines; pairs that are no neighbours do not see each
    other.
    """
    rng = np.random.default_rng(seed)
    n_pixels = 4
    stimulus = np.einsum("lb,bpn->lpn", bumps(10, 4), rng.standard_normal((4, n_pixels, n_neurons)))
    stimulus *= 0.5 / np.sqrt((stimulus**2).sum((0, 1)))
    own = bumps(*OWN) @ np.outer([-2.5, -1.5, -0.8, -0.4, -0.2, -0.1], np.ones(n_neurons))
    size = np.zeros((n_neurons, n_neurons))
    for n in range(n_neurons):
        size[n, (n + 1) % n_neurons] = rng.uniform(0.25, 0.5)
        size[n, (n - 1) % n_neurons] = -rng.uniform(0.3, 0.7)
    coupling = (bumps(*COUPLING) @ [1.0, 0.7, 0.3, 0.1])[:, None, None] * size
    history = np.zeros((OWN[0], n_neurons, n_neurons))
    history[: COUPLING[0]] = coupling
    history[:, range(n_neurons), range(n_neurons)] += own
    bias = np.log(rng.uniform(0.15, 0.3, n_neurons))
    movies = {"train": white(n_bins, (n_pixels, 1), rng)}
    if n_trials:
        movies["test"] = white(1000, (n_pixels, 1), rng)
    counts, rates, conditional = {}, {}, {}
    for role, movie in movies.items():
        drive = bias + filtered(movie[:, :, 0], stimulus)
        drawn, given = _run_freely(drive, history, RUNS, rng)
        rates[role] = given.mean(0)
        kept = 0 if role == "train" else slice(n_trials)
        counts[role], conditional[role] = drawn[kept], given[kept]
    lags = BIN * np.arange(1, OWN[0] + 1)
    root = {
        "true_history": (("history_lag", "neuron"), own, {"history_lag": lags}),
        "true_coupling": (
            ("coupling_lag", "source_neuron", "neuron"),
            coupling,
            {
                "coupling_lag": lags[: COUPLING[0]],
                "source_neuron": [str(n) for n in range(n_neurons)],
            },
        ),
    }
    recording = packed(movies, counts, rates, conditional=conditional, root=root)
    return World(recording, {"coupling": coupling, "own": own, "size": size, "bias": bias})


def _run_freely(drive: np.ndarray, history: np.ndarray, n_runs: int, rng):
    """Counts and rates (run, bin, neuron) of neurons that see their own spikes, bin after bin."""
    n_bins, n_neurons = drive.shape
    n_lags = len(history)
    flat = history.transpose(1, 0, 2).reshape(n_neurons, -1)
    ahead = np.zeros((n_runs, n_bins + n_lags + 1, n_neurons))
    counts, rates = (np.zeros((n_runs, n_bins, n_neurons)) for _ in range(2))
    for t in range(n_bins):
        rates[:, t] = np.exp(drive[t] + ahead[:, t])
        counts[:, t] = rng.poisson(rates[:, t])
        fired = counts[:, t].any(1)
        added = counts[fired, t] @ flat
        ahead[fired, t + 1 : t + 1 + n_lags] += added.reshape(-1, n_lags, n_neurons)
    return counts.astype(int), rates
