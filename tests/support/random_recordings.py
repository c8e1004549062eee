"""Recordings drawn at random: all that the contract allows, and an exact comparison."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import xarray as xr

from neuromodels.datasets.building import build_recording, build_role

NAMES = ("ä1", "β-2", "unit 3", "0007", "神経", "x/y", "json:{", "N'5")


def random_recording(seed: int, n_stimuli: int = 1, kind: str = "count", size: int = 30):
    """A sound recording: several stimuli and roles, ragged trials, jumps, bins without a frame."""
    rng = np.random.default_rng(seed)
    n_neurons = int(rng.integers(1, len(NAMES) + 1))
    width = [Fraction(1, 100), Fraction(1, 60), Fraction(7, 1000)][rng.integers(3)]
    roles, about = {}, {}
    for stimulus in ("moving_bars", "natural scenes")[:n_stimuli]:
        shape = tuple(rng.integers(1, 6, size=rng.integers(2, 4)))
        names = ["train", "heldout", "test", "repeats"]
        chosen = ["train", *[name for name in names[1:] if rng.random() < 0.6]]
        roles[stimulus] = {
            role: _role(rng, role, shape, n_neurons, width, kind, size) for role in chosen
        }
        about[stimulus] = {"generator": "pcg64", "seed": int(rng.integers(2**40)), "on": True}
    metadata = {
        "depth": rng.normal(size=n_neurons).astype("f4"),
        "quality": np.array(["good", "müde"])[rng.integers(2, size=n_neurons)],
        "is_off": rng.random(n_neurons) < 0.5,
        "spike_times": rng.integers(0, 9, n_neurons),  # a name that NWB has taken
    }
    return build_recording(
        roles,
        neurons=list(rng.permutation(NAMES)[:n_neurons]),
        attrs={
            "species": ["Mus musculus", "mouse", "not stated"][rng.integers(3)],
            "area": "retina",
            "nested": {"list": [1, None, "ü"], "off": False},
            "nothing": None,
            "limit": float("inf"),
            "matrix": rng.normal(size=(2, 3)),
            "levels": np.array([1, 2, 3], dtype="i2"),
            "notes": ["first", "second"],
        },
        stimulus_attrs=about,
        unit_metadata=metadata,
    )


def _role(rng, role, shape, n_neurons, width, kind, size) -> xr.Dataset:
    n_bins, n_frames = int(rng.integers(4, size)), int(rng.integers(1, 12))
    repeated = role in ("test", "repeats")
    start = float(rng.integers(0, 100))
    bins = np.arange(n_bins) + np.cumsum(rng.random(n_bins) < 0.1) * 50
    frames_shape = (n_frames, *shape)
    frames = rng.integers(0, 256, frames_shape).astype("u1")
    if rng.random() < 0.5:
        frames = rng.normal(size=frames_shape).astype("f4")
    shown = np.sort(rng.integers(-1, n_frames, n_bins))
    if rng.random() < 0.4:
        shown = rng.integers(-1, n_frames, n_bins)
    unknown = role == "repeats"
    lengths = rng.integers(1, n_bins + 1, int(rng.integers(1, 4)))
    lengths[0] = n_bins
    values = [_response(rng, kind, n, n_neurons) for n in (lengths if repeated else [n_bins])]
    n_covariates = int(rng.integers(0, 3))
    covariates = rng.normal(size=(n_bins, n_covariates)).astype("f4")
    if repeated and rng.random() < 0.5:
        covariates = np.stack([covariates + i for i in range(len(lengths))])
    return build_role(
        None if unknown else frames,
        values if repeated else values[0],
        bin_width=width,
        time=start + bins * float(width),
        block=np.concatenate([[0], np.cumsum(np.diff(bins) > 1)]).astype("i4"),
        frame_of_bin=None if unknown else shown,
        frame_time=None if rng.random() < 0.4 else start + np.arange(n_frames) * float(width),
        kind=kind,
        covariates=covariates if n_covariates else None,
        covariate_names=["Läufer", "pupil"][:n_covariates],
        attrs={"selection": "drawn at random", "spikes_outside": np.arange(n_neurons)},
    )


def _response(rng, kind, n_bins, n_neurons) -> np.ndarray:
    if kind == "count":
        return rng.poisson(rng.choice([0.1, 2, 200]), (n_bins, n_neurons))
    values = rng.gamma(1.0, size=(n_bins, n_neurons)).astype("f4")
    return values - 1 if kind == "trace" else values


def assert_same(one, other) -> None:
    """Same nodes in the same order, values, types, attributes and stored types."""
    assert [node.path for node in one.tree.subtree] == [node.path for node in other.tree.subtree]
    for node in one.tree.subtree:
        there = other.tree[node.path]
        mine, theirs = node.to_dataset(), there.to_dataset()
        xr.testing.assert_equal(mine, theirs)
        _same_attrs(mine.attrs, theirs.attrs, node.path)
        for name, variable in mine.variables.items():
            read = theirs.variables[name]
            where = f"{node.path}/{name}"
            assert read.dims == variable.dims, where
            assert read.dtype.kind == variable.dtype.kind, where
            assert variable.dtype.kind == "U" or read.dtype == variable.dtype, where
            _same_attrs(variable.attrs, read.attrs, where)
            for key in ("dtype", "_FillValue"):
                if "_FillValue" in variable.encoding:
                    assert read.encoding[key] == variable.encoding[key], where


def _same_attrs(mine: dict, theirs: dict, where: str) -> None:
    assert set(mine) == set(theirs), where
    for key, value in mine.items():
        read = theirs[key]
        if isinstance(value, np.ndarray):
            assert np.array_equal(read, value, equal_nan=True), f"{where}: {key}"
            assert read.dtype == value.dtype, f"{where}: {key}"
        else:
            assert read == value, f"{where}: {key}"
