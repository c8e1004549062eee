"""NWB 2.x files: sorted units, the stimulus that was shown, and trials (read with pynwb)."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from neuromodels.datasets.binning import exact_bin_width
from neuromodels.datasets.building import build_recording
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.nwb_stimuli import choose_series, read_movie
from neuromodels.datasets.formats.nwb_tables import interval_table, read_units
from neuromodels.datasets.presentations import (
    Declared,
    Movie,
    check_trials,
    frames_of_intervals,
    make_roles,
)
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.tables import rows_where

if TYPE_CHECKING:
    import pandas as pd

OPTIONS = ("table", "axes", "finest_bin_width")
FINEST_BIN = Fraction(1, 1000)  # s
NO_TEST = "none"


def read(
    path: str | Path,
    *,
    bin_width=None,
    stimulus: str | Sequence[str] | None = None,
    test=None,
    table: str | None = None,
    axes: str = "xy",
    finest_bin_width=None,
) -> Recording:
    """Open an NWB file as a recording: spikes binned, frames read when needed.

    Parameters
    ----------
    path : str or Path
    bin_width : float or Fraction, s, optional
        Bins of the view that is returned (default: the finest bins).
    stimulus : str or list of str, optional
        Names of series in /stimulus/presentation (default: all image series there, or all other
        numeric series if there is none). Each becomes a stimulus of its own.
    test : str or list of (start, stop), optional
        Which part is the repeated test: a condition over the columns of the trials table, such as
        ``kind == 'repeat'``; or stretches in seconds, one per repeat; or "none". By default
        repeats are found from the frames.
    table : str, optional
        Table in /intervals that holds the trials (default: trials, else epochs where these follow
        one another); "none" reads the movie without one.
    axes : {"xy", "yx"}
        Order of the pixels in the file. The NWB schema says (frame, x, y[, rgb]), which is the
        default; many files hold (frame, y, x) all the same. Frames are handed out as
        (frame, [channel,] y, x).
    finest_bin_width : float or Fraction, s, optional
        Bins that spikes are counted in (default: 1 ms, or the widest whole part of `bin_width`
        that is not wider).

    Raises
    ------
    InputError
        If the file lacks something that is needed, or contradicts itself.
    """
    path = Path(path)
    if axes not in ("xy", "yx"):
        raise InputError(
            f"is {axes!r}",
            where=f"{path}: axes",
            remedy="Use 'xy' (the NWB schema) or 'yx' for files that hold (frame, y, x).",
        )
    wanted = None if bin_width is None else exact_bin_width(bin_width, f"{path}: bin_width")
    width = _finest(wanted, finest_bin_width, path)
    io = _open(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of it is checked below
            recording = _assemble(io, path, stimulus, test, table, axes, width)
    finally:
        io.close()
    return recording if wanted is None else recording.at(wanted)


def _assemble(io, path, stimulus, test, table, axes, width) -> Recording:
    nwb = _parse(io, path)
    units = read_units(nwb, path)
    chosen, notes = choose_series(nwb, stimulus, path)
    movies = [read_movie(series, path, axes) for series in chosen]
    notes += units.notes
    notes += _pixel_order(movies, axes)
    _check_overlap(movies, units, path)

    name, frame, said = interval_table(nwb, table, path)
    notes += said
    trials = None
    named = table is not None or name == "trials" or isinstance(test, str)
    if frame is not None:
        where = f"{path}: /intervals/{name}"
        trials = frame[["start_time", "stop_time"]].to_numpy(dtype=np.float64)
        order = _trial_order(trials, where, named)
        if order is None:
            notes.append(f"/intervals/{name} is not used: its rows overlap or have no end")
            frame, trials = None, None
        else:
            frame, trials = frame.iloc[order].reset_index(drop=True), trials[order]
    declared = _declared(test, frame, name, path)
    if trials is not None and stimulus is None and not _any_frames(movies, trials) and named:
        raise InputError(
            f"none of its {len(trials)} rows has a frame of {movies[0].name} "
            f"({trials[0, 0]:g} to {trials[:, 1].max():g} s, the movie "
            f"{movies[0].onsets[0]:g} to {movies[0].ends[-1]:g} s)",
            where=f"{path}: /intervals/{name}",
            remedy="Check both clocks, or choose another table with table= "
            "(table='none' reads the movie without one).",
        )
    if trials is not None and not named and len(trials) == 1:
        trials = None  # one epoch around everything says nothing about trials

    roles, about = {}, {}
    for movie in movies:
        rows, said_test = trials, declared
        if trials is not None and not _any_frames([movie], trials):
            notes.append(f"/intervals/{name} says nothing about {movie.name}")
            rows = None
            if declared is not None and declared.rows is not None:
                said_test = Declared(NO_TEST, intervals=np.zeros((0, 2)))
        parts, reason, said = make_roles(
            movie, units.spike_times, width, trials=rows, test=said_test, table=name
        )
        roles[movie.name] = parts
        about[movie.name] = {**movie.attrs, "roles_found": reason}
        notes += said
    roles = {movie: parts for movie, parts in roles.items() if parts}
    if not roles:
        raise InputError(
            "no stretch of the stimulus is as long as a bin",
            where=movies[0].where,
            remedy="Check its timestamps, and the trials table.",
        )
    if declared is not None and declared.said != NO_TEST:
        _check_declared(roles, declared, path)
    _count_outside(roles, units.spike_times)
    notes += _observed(units, roles)
    return build_recording(
        roles,
        neurons=units.ids,
        attrs={**_session(nwb), "format": _version(path), "notes": notes},
        stimulus_attrs=about,
        unit_metadata=units.metadata,
        identity=_sha256(path),
        source=str(path),
    )


def _pixel_order(movies, axes: str) -> list[str]:
    """Say how frames were read where it matters: a wrong order is seen in no score."""
    if axes == "yx" or all(min(movie.frames.shape[-2:]) == 1 for movie in movies):
        return []
    return [
        "frames were read as (frame, x, y), the order of the NWB schema; if the file holds "
        "(frame, y, x), pass axes='yx' (--axes yx)"
    ]


def _finest(wanted: Fraction | None, given, path: Path) -> Fraction:
    if given is not None:
        return exact_bin_width(given, f"{path}: finest_bin_width")
    if wanted is None:
        return FINEST_BIN
    parts = -(-wanted // FINEST_BIN)  # rounded up: no finest bin is wider than 1 ms
    return wanted / parts


def _open(path: Path):
    from pynwb import NWBHDF5IO

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return NWBHDF5IO(str(path), "r", load_namespaces=True)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise _unreadable(path, error) from error


def _parse(io, path: Path):
    from hdmf.build import BuildError, ConstructError

    try:
        return io.read()
    except (
        *(OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError),
        *(BuildError, ConstructError),
    ) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> InputError:
    place, said = "", str(error)
    if len(error.args) == 2:  # hdmf says (builder, reason); its builders print all that they hold
        said = str(error.args[1])
        place = str(getattr(error.args[0], "path", "")).removeprefix("root")
    said = (said.strip().splitlines() or [type(error).__name__])[0]
    return InputError(
        f"pynwb cannot read it ({said[:200]})",
        where=f"{path}: {place}" if place else str(path),
        remedy="Check it with `python -m pynwb.validate`, or export it again as NWB 2.x.",
    )


def _check_overlap(movies: Sequence[Movie], units, path: Path) -> None:
    spikes = units.spike_times
    if not any(times.size for times in spikes):
        raise InputError(
            f"holds no spikes ({len(spikes)} units, all silent)",
            where=f"{path}: /units/spike_times",
            remedy="Export the sorted spike times, s, into the units table.",
        )
    first = min(float(times[0]) for times in spikes if times.size)
    last = max(float(times[-1]) for times in spikes if times.size)
    for movie in movies:
        start, stop = float(movie.onsets[0]), float(movie.ends[-1])
        if not any(np.searchsorted(t, start) < np.searchsorted(t, stop) for t in spikes):
            samples = last - first > 1000 * (stop - start)
            raise InputError(
                f"no spike falls into the stimulus: spikes lie between {first:.6g} and "
                f"{last:.6g} s, the stimulus between {start:.6g} and {stop:.6g} s",
                where=f"{path}: /units/spike_times and {movie.where.split(': ')[-1]}",
                remedy="Spike times look like samples: divide them by the sampling rate."
                if samples
                else "Bring both to one clock, in seconds from the session's start.",
            )


def _trial_order(trials: np.ndarray, where: str, required: bool) -> np.ndarray | None:
    try:
        return check_trials(trials, where)
    except InputError:
        if required:
            raise
        return None


def _any_frames(movies: Sequence[Movie], trials: np.ndarray) -> bool:
    return any(stop > start for m in movies for start, stop in frames_of_intervals(m, trials))


def _declared(test, frame: pd.DataFrame | None, name: str, path: Path) -> Declared | None:
    """What the user says of the test: a condition over the table, stretches of time, or none."""
    if test is None:
        return None
    where = f"{path}: test"
    if isinstance(test, str):
        if test.strip().lower() == NO_TEST:
            return Declared(NO_TEST, intervals=np.zeros((0, 2)))
        if frame is None:
            raise InputError(
                f"{test!r} needs a table of trials, and the file has none that fits",
                where=where,
                remedy="Give the repeats as test=[(start, stop), ...] in seconds, or name a table "
                "with table=.",
            )
        rows = rows_where(frame, test, where)
        if not rows.any():
            raise InputError(
                f"no row of {name} fulfils {test!r}",
                where=where,
                remedy=f"Values: {_values(frame)}.",
            )
        return Declared(f"{name} with {test}", rows=rows)
    try:
        intervals = np.asarray(test, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        intervals = np.full((1, 2), np.nan)
    if not (np.isfinite(intervals).all() and (intervals[:, 1] > intervals[:, 0]).all()):
        raise InputError(
            f"is {str(test)[:80]}",
            where=where,
            remedy="Give a condition like \"kind == 'repeat'\", or [(start, stop), ...] in seconds "
            "with one pair per repeat, or 'none'.",
        )
    intervals = intervals[np.argsort(intervals[:, 0])]
    if (intervals[1:, 0] < intervals[:-1, 1]).any():
        raise InputError("its stretches overlap", where=where, remedy="Give each repeat once.")
    return Declared(f"{len(intervals)} stretches of time given", intervals=intervals)


def _values(frame: pd.DataFrame) -> str:
    said = []
    for column in frame.columns:
        if column not in ("start_time", "stop_time"):
            values = [str(v) for v in frame[column].unique()[:4]]
            more = ", ..." if frame[column].nunique() > 4 else ""
            said.append(f"{column}: {', '.join(values)}{more}")
    return "; ".join(said[:6]) or "only start_time and stop_time"


def _check_declared(roles, declared: Declared, path: Path) -> None:
    if not any("test" in parts for parts in roles.values()):
        raise InputError(
            f"{declared.said}: no frame was on screen then",
            where=f"{path}: test",
            remedy="Choose trials in which the stimulus was shown.",
        )


def _count_outside(roles, spike_times: Sequence[np.ndarray]) -> None:
    """Say on the first role how many spikes are in no bin of any role."""
    nodes = [node for parts in roles.values() for node in parts.values()]
    given = np.array([times.size for times in spike_times], dtype=np.int64)
    for node in nodes:
        response = node["response"]
        dims = [dim for dim in response.dims if dim != "neuron"]
        given -= response.sum(dims, dtype=np.float64).values.round().astype(np.int64)
    nodes[0].attrs["spikes_outside"] = np.maximum(given, 0)


def _observed(units, roles) -> list[str]:
    """Notes on units whose obs_intervals leave out a part of the session that is used."""
    if units.observed is None:
        return []
    used = [node for parts in roles.values() for node in parts.values() if "trial" not in node.dims]
    if not used:
        return []
    partly = []
    for unit, intervals in zip(units.ids, units.observed, strict=True):
        time = np.concatenate([node["time"].values for node in used])
        inside = np.zeros(time.size, dtype=bool)
        for start, stop in intervals:
            inside |= (time >= start) & (time < stop)
        if inside.mean() < 0.99:
            partly.append(f"{unit} ({inside.mean():.0%})")
    if not partly:
        return []
    more = f" and {len(partly) - 5} more" if len(partly) > 5 else ""
    return [
        f"/units/obs_intervals: {', '.join(partly[:5])}{more} observed for only that part of the "
        "training data; the rest counts as silence"
    ]


def _session(nwb) -> dict:
    attrs = {}
    species = getattr(nwb.subject, "species", None) if nwb.subject is not None else None
    if species:
        attrs["species"] = str(species)
    groups = nwb.electrode_groups or {}
    areas = sorted({str(group.location) for group in groups.values() if group.location})
    if 0 < len(areas) <= 5:
        attrs["area"] = ", ".join(areas)
    for name in ("session_description", "identifier", "lab", "institution", "session_id"):
        value = getattr(nwb, name, None)
        if value:
            attrs[name] = str(value)
    if nwb.session_start_time is not None:
        attrs["session_start_time"] = nwb.session_start_time.isoformat()
    return attrs


def _version(path: Path) -> str:
    with h5py.File(path, "r") as file:
        version = file.attrs["nwb_version"]
    return f"NWB {version.decode() if isinstance(version, bytes) else version}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
