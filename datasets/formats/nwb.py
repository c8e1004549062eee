"""NWB 2.x files: responses, the stimulus that was shown, and trials (read with pynwb)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import h5py

from neuromodels.datasets.covariates import attach_series
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.nwb_behaviour import read_behaviour
from neuromodels.datasets.formats.nwb_choice import Chosen, choose
from neuromodels.datasets.formats.nwb_copy import NO_SUBJECT
from neuromodels.datasets.formats.nwb_data import Reading
from neuromodels.datasets.formats.nwb_presentations import (
    Presentations,
    beside_runs,
    find_presentations,
    image_names,
    joined_runs,
    presented_movie,
    template_frames,
)
from neuromodels.datasets.formats.nwb_stimuli import read_movie
from neuromodels.datasets.formats.nwb_tables import has_spikes, interval_table, read_units
from neuromodels.datasets.formats.nwb_traces import find_traces, read_traces
from neuromodels.datasets.image_recording import ImageRecording
from neuromodels.datasets.links import check_declared, check_links
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.responses import Traces, Units
from neuromodels.datasets.sessions import Session, assemble
from neuromodels.datasets.sources import Source

TITLE = "an NWB file"
TIMING_OPTIONS = ("frame_times", "frame_rate", "start", "triggers", "frames_per_trigger")
PIXEL_ORDER = (
    "frames were read as (frame, x, y), the order of the NWB schema; if the file holds "
    "(frame, y, x), pass axes='yx' (--axes yx)"
)
OPTIONS = (
    *("table", "axes", "finest_bin_width", "traces", "images", "time_bins", "allow_external"),
    *(*TIMING_OPTIONS, "schedule", "trials"),
)
#: `read` takes the names of covariates, so that others are not read.
CHOOSES_COVARIATES = True


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
    traces: str | None = None,
    images: bool | None = None,
    time_bins=None,
    allow_external: bool = False,
    trials=None,
    schedule=None,
    covariates: list[str] | None = None,
    **timing,
) -> Recording | ImageRecording:
    """Open an NWB file as a recording: spikes binned, frames read when needed.

    Parameters
    ----------
    source : Source
        A file, or what is streamed: then only what is needed is fetched.
    bin_width : float or Fraction, s, optional
        Bins of the view that is returned (default: the finest bins).
    stimulus : str or list of str, or frames, optional
        Names of series in /stimulus/presentation or of stimuli in `*_presentations` tables
        (default: all image series and all movies that such tables present, or all other numeric
        series if there is none). Each becomes a stimulus of its own. Or the frames themselves
        (``"movie.npy"``, an array, ...), with their times in `frame_times`, `triggers`, ... or in
        the `table` of presentations that indexes them.
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
    traces : str, optional
        Fluorescence, ΔF/F or deconvolved events to use as responses, such as ``"DfOverF"``
        (default: only where there are no units with spikes).
    images : bool, optional
        Read images that were shown one by one, not movies (default: where there are no movies).
    time_bins : float or (bin + 1,) edges, s, optional
        Of an image recording: bins from the onset.
    allow_external : bool
        Follow links, and read frames, that lead out of the file's folder.
    covariates : list of str, optional
        Series of behaviour to use as covariates (default: those of modules called behavior,
        eye_tracking, running, ...).
    trials, schedule, **timing
        As `neuromodels.datasets.beside.movies_beside` takes them.

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
    if not isinstance(allow_external, bool):
        raise InputError(
            f"is {allow_external!r}"[:80],
            where=f"{source.name}: allow_external",
            remedy="Pass True if you trust the file to lead out of its folder.",
        )
    reading = Reading(source, axes, allow_external)
    with source.hdf5() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of it is checked below
        check_links(file, source, reading.allow_external)
        check_small(file, source)
        io, nwb = parse_nwb(file, source)
        try:
            responses = _responses(nwb, traces, source)
            about = {**_about(nwb), "format": _version(file)}
            indexed, frames = None, None
            if _is_beside(stimulus, schedule, source):
                indexed = _indexing_table(nwb, table, timing, schedule, reading)
                if indexed is not None:
                    frames = _given_frames(stimulus, source)
                    chosen = Chosen([], [indexed], [], bool(images))
                else:
                    chosen = None
            else:
                _check_alone(timing, source)
                chosen = choose(nwb, stimulus, images, reading)
                if any(table in (p.table, p.name) for p in chosen.presented):
                    # Its rows are frames: the trials are the runs of these.
                    chosen = chosen if stimulus else choose(nwb, table, images, reading)
                    table = None
            if time_bins is not None and not (chosen is not None and chosen.as_images):
                raise InputError(
                    "is for images that were shown one by one, and a movie is read",
                    where=f"{source.name}: time_bins",
                    remedy="Leave it out (bin_width= is for movies), or choose images=True.",
                )
            if chosen is None:
                session = _beside(stimulus, schedule, timing, responses, about, source)
            elif chosen.as_images:
                return _image_recording(chosen, frames, responses, reading, about, time_bins)
            else:
                session = _session(chosen, frames, responses, reading, about)
            if trials is not None:
                session = replace(session, trials=_trials(trials, source))
            elif indexed is None and (table is not None or session.trials is None):
                own, said = interval_table(nwb, table, source.name)
                session = replace(session, trials=own, notes=[*session.notes, *said])
            elif chosen is not None and chosen.series:
                own, _ = interval_table(nwb, None, source.name)
                session = replace(session, trials=beside_runs(own, session.trials))
            if isinstance(test, str) and session.trials is not None:
                session = replace(session, trials=replace(session.trials, named=True))
            behaviour, said = read_behaviour(nwb, covariates, reading)
            recording = assemble(
                replace(session, identity=source.identity, notes=[*session.notes, *said]),
                test=test,
                bin_width=bin_width,
                finest_bin_width=finest_bin_width,
                all_movies=stimulus is None,
            )
            return attach_series(recording, behaviour) if behaviour else recording
        finally:
            io.close()


def _responses(nwb, traces: str | None, source: Source) -> Units | Traces:
    if traces is not None or (not has_spikes(nwb) and find_traces(nwb)):
        return read_traces(nwb, traces, source.name)
    return read_units(nwb, source.name)


def _session(chosen: Chosen, template, responses, reading: Reading, about: dict) -> Session:
    movies = [read_movie(series, reading) for series in chosen.series]
    notes = [*chosen.notes, *_pixel_order(movies, reading.axes)]
    runs = []
    for item in chosen.presented:
        movie, rows, said = presented_movie(item, reading, template)
        movies.append(movie)
        runs += [] if rows is None else [rows]
        notes += said
    if chosen.presented and template is None:
        notes += _pixel_order([m for m in movies if m.numbers is not None], reading.axes)[:1]
    trials = joined_runs(runs, reading.name)
    return Session(reading.name, responses, movies, trials, about, list(dict.fromkeys(notes)))


def _image_recording(
    chosen: Chosen, template, responses, reading: Reading, about: dict, time_bins
) -> ImageRecording:
    from neuromodels.datasets.image_presentations import image_recording_from_presentations

    shown = chosen.presented[0]
    notes = list(chosen.notes)
    pictures, names = template, None
    if template is None and shown.template is not None:
        pictures = template_frames(shown.template, reading, shown.where)
        notes += [PIXEL_ORDER] if reading.axes == "xy" else []
        names = image_names(shown.template)
    if pictures is None:
        notes.append(
            f'the file lacks the images of {shown.name}: pass them as stimulus="images.npy" with '
            f'table="{shown.table}"'
        )
    return image_recording_from_presentations(
        pictures,
        shown.index,
        shown.onsets,
        shown.offsets,
        responses,
        source=reading.name,
        attrs=about,
        time_bins=time_bins,
        identity=reading.source.identity,
        notes=notes,
        image_ids=names,
        stimulus_name=shown.name,
    )


def _is_beside(stimulus, schedule, source: Source) -> bool:
    from neuromodels.datasets.beside import is_movie

    folder = None if source.path is None else source.path.parent
    return schedule is not None or is_movie(stimulus, folder)


def _beside(stimulus, schedule, timing, responses, about: dict, source: Source) -> Session:
    from neuromodels.datasets.beside import movies_beside

    folder = None if source.path is None else source.path.parent
    found = movies_beside(
        stimulus,
        where=source.name,
        folder=folder,
        schedule=schedule,
        span=responses.span(),
        **timing,
    )
    return Session(source.name, responses, found.movies, found.trials, about, found.notes)


def _trials(trials, source: Source):
    from neuromodels.datasets.beside import trials_beside

    folder = None if source.path is None else source.path.parent
    return trials_beside(trials, source.name, folder)


def _given_frames(stimulus, source: Source):
    from neuromodels.datasets.movie_files import open_movie
    from neuromodels.datasets.time_files import found_path

    folder = None if source.path is None else source.path.parent
    if isinstance(stimulus, str):
        stimulus = found_path(stimulus, folder)
    return open_movie(stimulus, f"{source.name}: stimulus")


def _indexing_table(nwb, table, timing, schedule, reading: Reading) -> Presentations | None:
    """Presentations that index the frames which the user gives, if nothing else says when."""
    if schedule is not None or any(value is not None for value in timing.values()):
        return None
    presented = find_presentations(nwb, reading)
    named = [p for p in presented if table in (p.table, p.name)]
    lacking = [p for p in presented if p.template is None]
    if table is None and len(lacking) == 1:
        return lacking[0]
    return named[0] if len(named) == 1 else None


def _check_alone(timing: dict, source: Source) -> None:
    given = [name for name, value in timing.items() if value is not None]
    if given:
        raise InputError(
            "says when frames were shown, but no frames are given",
            where=f"{source.name}: {given[0]}",
            remedy='Give the frames, too: stimulus="movie.npy" (the path must exist).',
        )


def _pixel_order(movies, axes: str) -> list[str]:
    """Say how frames were read where it matters: a wrong order is seen in no score."""
    stored = [m for m in movies if "pixel_order_in_file" in m.attrs]
    if axes == "yx" or all(min(movie.frames.shape[-2:]) == 1 for movie in stored):
        return []
    return [PIXEL_ORDER]


def check_small(file: h5py.File, source: Source) -> None:
    """Refuse descriptions that declare gigabytes: pynwb reads them at once."""

    def check(name, item):
        check_declared(item, f"{source.name}: /{name}")

    for name in file:
        if isinstance(file.get(name, getlink=True), h5py.HardLink):
            check(name, file[name])
    if isinstance(file.get("general"), h5py.Group):
        file["general"].visititems(lambda name, item: check(f"general/{name}", item))


def parse_nwb(file: h5py.File, source: Source):
    """Return pynwb's (io, file) of an NWB file; whatever pynwb raises becomes an InputError."""
    from hdmf.build import BuildError, ConstructError
    from pynwb import NWBHDF5IO

    try:
        io = NWBHDF5IO(file=file, mode="r", load_namespaces=True)
        return io, io.read()
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
    subject = getattr(nwb.subject, "subject_id", None) if nwb.subject is not None else None
    if subject and subject != NO_SUBJECT:
        attrs["subject_id"] = str(subject)
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


def _version(file: h5py.File) -> str:
    version = file.attrs["nwb_version"]
    return f"NWB {version.decode() if isinstance(version, bytes) else version}"
