"""Running speed, pupil, temperature: what else moves the cells, in the bins of a recording."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from neuromodels.datasets.blocks import block_runs, stored_width
from neuromodels.datasets.covariate_files import read_series
from neuromodels.datasets.covariate_labels import (
    VARIABLES,
    check_names,
    covariate_names,
    session_times,
    with_covariates,
)
from neuromodels.datasets.covariate_series import Series
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording

LONGER_BY = 500  # than the recording: more is taken for another unit of time


def attach_covariates(
    recording: Recording, covariates, *, units=None, longest_gap: float | None = None, folder=None
) -> Recording:
    """A recording that also knows what the animal did: running, pupil, ..., in every bin.

    Parameters
    ----------
    recording : Recording
    covariates : dict, DataFrame or path
        ``{name: (times, values)}`` with times in seconds on the clock of the session; a value may
        also be an `xarray.DataArray` with a coordinate `time`, or a pynapple `Tsd`. Or a table: a
        DataFrame, csv or npz file with a column `time` (s) and one column per covariate; a
        heading may say the unit: ``running (cm/s)``.
    units : str or dict, optional
        Of all covariates, or of each by name.
    longest_gap : float, s, optional
        In longer gaps between samples the covariate is unknown, NaN (default: ten times its usual
        interval between samples).
    folder : Path, optional
        Where the file is looked for if it is not found from here.

    Returns
    -------
    Recording
        At the bins of `recording`, with `covariates` (time, covariate) in every unrepeated role
        and (trial, time, covariate) in repeated ones: on a repeat the value is that of its own
        time in the session (`trial_start`). Movies stay where they are.

    Raises
    ------
    InputError
        If a series is damaged, its name is taken, or the recording's roles are not on one clock.

    Notes
    -----
    A bin takes the mean of the samples in it; where bins are finer than the sampling, the straight
    line between samples. Roles of a recording from arrays are on the clock of their `time`. Repeats
    without `trial_start` have no place in the session: their covariates are NaN, which models take
    as the mean, and a note says so. (`recording_from_arrays` takes `test_covariates`.)

    Examples
    --------
    >>> import numpy as np
    >>> from neuromodels.datasets.arrays import recording_from_arrays
    >>> rng = np.random.default_rng(0)
    >>> recording = recording_from_arrays(
    ...     rng.integers(0, 2, (100, 4, 4)), rng.poisson(0.2, (100, 2)), bin_width=0.1
    ... )
    >>> times = np.arange(0, 10, 0.05)
    >>> moving = attach_covariates(recording, {"running": (times, 20 * times)}, units="cm/s")
    >>> moving.train["covariates"].values[:3, 0]
    array([0.5, 2.5, 4.5], dtype=float32)
    """
    if not isinstance(recording, Recording):
        raise InputError(
            f"are for a recording of movies, and this is a {type(recording).__name__}",
            where="covariates",
            remedy="Open one with open_recording, or make it with recording_from_arrays.",
        )
    series = read_series(covariates, "covariates", folder, units)
    _check_one_clock(recording)
    digest = hashlib.sha256(recording.identity.encode())
    for item in series:
        digest.update(f"{item.name}:{item.units}".encode())
        digest.update(item.times.tobytes() + item.values.tobytes())
    digest.update(repr(longest_gap).encode())
    place = series[0].where.removeprefix("covariates").removeprefix(": ")
    said = f"covariates attached: {', '.join(item.name for item in series)}"
    return attach_series(
        recording,
        series,
        longest_gap=longest_gap,
        notes=[f"{said} (from {place})" if place else said],
        identity=digest.hexdigest(),
    )


def attach_series(
    recording: Recording,
    series: Sequence[Series],
    *,
    longest_gap: float | None = None,
    notes: Sequence[str] = (),
    identity: str | None = None,
) -> Recording:
    """As `attach_covariates`, for series that were read and a recording on one clock."""
    known = isinstance(longest_gap, (int, float, np.number)) and longest_gap > 0
    if longest_gap is not None and not known:
        raise InputError(
            f"is {longest_gap!r}", where="longest_gap", remedy="Give a positive number of seconds."
        )
    names = [item.name for item in series]
    check_names(names, series[0].where)
    notes = list(notes)
    onsets = []
    nodes = {node.path: node.to_dataset(inherit=False) for node in recording.tree.subtree}
    for stimulus in recording.stimuli:
        for role in recording.roles(stimulus):
            place = f"/{stimulus}/{role}"
            node = nodes[place]
            starts = session_times(node)
            width = float(stored_width(node))
            if starts is None:
                notes.append(
                    f"{place}: its trials have no start on the clock of the session, so covariates "
                    "are unknown there (NaN; models take the mean)"
                )
                starts = np.full(node.sizes["time"], np.nan)
            onsets += [np.nanmin(starts), np.nanmax(starts)] if np.isfinite(starts).any() else []
            values = np.empty((*starts.shape, len(series)), dtype=np.float32)
            for i, item in enumerate(series):
                values[..., i] = item.binned(starts, width, longest_gap)
            units = [item.units for item in series]
            nodes[place] = with_covariates(node, values, names, units, series[0].where)
    notes += _other_clock(series, np.ptp(onsets) if onsets else 0.0)
    root = nodes["/"]
    earlier = root.attrs.get("notes") or []
    earlier = [earlier] if isinstance(earlier, str) else list(earlier)
    about = {"notes": [*earlier, *notes]} if notes else {}
    about |= {} if identity is None else {"identity": identity}
    nodes["/"] = root.assign_attrs(about)
    return rebuilt(recording, nodes)


def _other_clock(series: Sequence[Series], session_s: float) -> list[str]:
    """Series that go on for so much longer than the session that their times are hardly seconds."""
    return [
        f"{item.name} lasts {item.times[-1] - item.times[0]:.4g} s, the recording "
        f"{session_s:.4g} s: are its times in seconds?"
        for item in series
        if session_s and item.times[-1] - item.times[0] > LONGER_BY * session_s
    ]


def rebuilt(recording: Recording, nodes: Mapping[str, xr.Dataset]) -> Recording:
    """A recording of changed nodes, at the same bins and on the same open file."""
    tree = xr.DataTree.from_dict(dict(nodes))
    tree.set_close(recording.tree.close)
    tree.encoding.update(recording.tree.encoding)
    return Recording(tree, recording.source).at(recording.exact_bin_width)


def only_covariates(recording: Recording, names: Sequence[str]) -> Recording:
    """The recording with these of its covariates, in this order; no names leave none.

    Raises
    ------
    InputError
        If it has none of that name.
    """
    nodes = {node.path: node.to_dataset(inherit=False) for node in recording.tree.subtree}
    known = list(dict.fromkeys(name for node in nodes.values() for name in covariate_names(node)))
    for name in names:
        if name not in known:
            listed = ", ".join(known) or "none (give a file: covariates='running.csv')"
            raise InputError(
                f"there is no covariate {name!r}",
                where=f"{recording.source}: covariates",
                remedy=f"It has: {listed}.",
            )
    for path, node in nodes.items():
        if "covariates" in node:
            own = covariate_names(node)
            kept = [own.index(name) for name in names if name in own]
            bare = node.drop_vars(VARIABLES, errors="ignore")
            nodes[path] = node.isel(covariate=kept) if kept else bare
    return rebuilt(recording, nodes)


def _check_one_clock(recording: Recording) -> None:
    """Refuse roles that lie at the same time: each has a clock of its own."""
    spans = []
    for stimulus in recording.stimuli:
        for role in recording.roles(stimulus):
            node = recording.tree[stimulus][role].to_dataset()
            starts = session_times(node)
            if starts is None:
                continue
            width = float(stored_width(node))
            for _, a, b in block_runs(node["block"].values):
                for row in np.atleast_2d(starts)[:, a:b]:
                    if np.isfinite(row[0]):
                        spans.append((row[0], row[-1] + width, width, f"/{stimulus}/{role}"))
    spans.sort()
    for (_, stop, width, first), (start, _, _, second) in zip(spans, spans[1:], strict=False):
        if stop - start > 2 * width and first != second:
            raise InputError(
                f"{first} and {second} both lie at {start:.6g} s: they are not on one clock",
                where=f"{recording.source}: covariates",
                remedy="Give the covariates of each role in its bins: "
                "recording_from_arrays(..., covariates=, heldout_covariates=, test_covariates=).",
            )
