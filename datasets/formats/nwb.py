"""NWB 2.x files: sorted units, the stimulus that was shown, and trials (read with pynwb)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.nwb_stimuli import choose_series, read_movie
from neuromodels.datasets.formats.nwb_tables import interval_table, read_units
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.sessions import Session, assemble
from neuromodels.datasets.sources import Source

TITLE = "an NWB file"
OPTIONS = ("table", "axes", "finest_bin_width")


def recognizes(source: Source) -> bool:
    """Whether it is an NWB file of version 2."""
    return source.root is not None and "nwb_version" in source.root.attrs


def read(
    source: Source,
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
    source : Source
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
    if axes not in ("xy", "yx"):
        raise InputError(
            f"is {axes!r}",
            where=f"{source.name}: axes",
            remedy="Use 'xy' (the NWB schema) or 'yx' for files that hold (frame, y, x).",
        )
    io = _open(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of it is checked below
            session = _session(io, source, stimulus, table, axes)
            if isinstance(test, str) and session.trials is not None:
                session = replace(session, trials=replace(session.trials, named=True))
            return assemble(
                session,
                test=test,
                bin_width=bin_width,
                finest_bin_width=finest_bin_width,
                all_movies=stimulus is None,
            )
    finally:
        io.close()


def _session(io, source: Source, stimulus, table, axes) -> Session:
    nwb = _parse(io, source)
    units = read_units(nwb, source.name)
    chosen, notes = choose_series(nwb, stimulus, source.name)
    movies = [read_movie(series, source.name, axes) for series in chosen]
    notes += _pixel_order(movies, axes)
    trials, said = interval_table(nwb, table, source.name)
    return Session(
        source.name,
        units,
        movies,
        trials,
        attrs={**_about(nwb), "format": _version(source)},
        notes=notes + said,
        identity=source.identity,
    )


def _pixel_order(movies, axes: str) -> list[str]:
    """Say how frames were read where it matters: a wrong order is seen in no score."""
    if axes == "yx" or all(min(movie.frames.shape[-2:]) == 1 for movie in movies):
        return []
    return [
        "frames were read as (frame, x, y), the order of the NWB schema; if the file holds "
        "(frame, y, x), pass axes='yx' (--axes yx)"
    ]


def _open(source: Source):
    from pynwb import NWBHDF5IO

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return NWBHDF5IO(str(source.path), "r", load_namespaces=True)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise _unreadable(source.name, error) from error


def _parse(io, source: Source):
    from hdmf.build import BuildError, ConstructError

    try:
        return io.read()
    except (
        *(OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError),
        *(BuildError, ConstructError),
    ) as error:
        raise _unreadable(source.name, error) from error


def _unreadable(path: str, error: BaseException) -> InputError:
    place, said = "", str(error)
    if len(error.args) == 2:  # hdmf says (builder, reason); its builders print all that they hold
        said = str(error.args[1])
        place = str(getattr(error.args[0], "path", "")).removeprefix("root")
    said = (said.strip().splitlines() or [type(error).__name__])[0]
    return InputError(
        f"pynwb cannot read it ({said[:200]})",
        where=f"{path}: {place}" if place else path,
        remedy="Check it with `python -m pynwb.validate`, or export it again as NWB 2.x.",
    )


def _about(nwb) -> dict:
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


def _version(source: Source) -> str:
    with source.hdf5() as file:
        version = file.attrs["nwb_version"]
    return f"NWB {version.decode() if isinstance(version, bytes) else version}"
