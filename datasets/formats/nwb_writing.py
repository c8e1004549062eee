"""NWB 2.x files from recordings: units, frames and trials for all, and a copy that loses nothing.

Roles (and the trials of repeated ones) follow one another on the clock of the session. A spike
lies inside its bin, so that counting at the stored width gives the same counts. What NWB has no
place for is kept in /scratch, from which `nwb_written` restores the recording exactly.
"""

from __future__ import annotations

import re
import warnings
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from neuromodels.datasets.blocks import block_runs, stored_width
from neuromodels.datasets.formats.nwb_behaviour import session_covariates
from neuromodels.datasets.formats.nwb_copy import MARK, NO_SUBJECT, NWB_AXES, add_copy, pieces_of
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.seal import seal
from neuromodels.datasets.steady_file import SteadyFile
from neuromodels.datasets.storage import write_whole
from neuromodels.datasets.stored_values import CHECKSUM

PAUSE = 1.0  # s between roles and between trials
REGULAR = 1e-6  # s; times that are less off are written as a rate
#: NWB wants a date; this one says that there is none.
UNKNOWN_DATE = datetime(1970, 1, 1, tzinfo=UTC)
#: ... and a subject; these say as validly that nothing is known.
ANY_SPECIES, ANY_AGE = "http://purl.obolibrary.org/obo/NCBITaxon_1", "P0D/"
SPECIES = {"mouse": "Mus musculus", "rat": "Rattus norvegicus", "human": "Homo sapiens"}
SPECIES |= {"macaque": "Macaca mulatta", "salamander": "Ambystoma tigrinum"}


@dataclass
class _Shown:
    """Where a role lies on the clock of the session."""

    stimulus: str
    role: str
    node: xr.Dataset
    response: np.ndarray  # (trial, time, neuron)
    starts: np.ndarray  # (trial,) s
    repeated: bool
    #: (trial, first bin, bin after the last, block label)
    runs: list[tuple[int, int, int, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return re.sub(r"[/:\s]+", "_", f"{self.stimulus}_{self.role}")

    @property
    def width(self) -> float:
        return float(stored_width(self.node))

    def bin_starts(self, trial: int) -> np.ndarray:
        time = self.node["time"].values
        return self.starts[trial] + (time - time[0])


def write(recording: Recording, path: str | Path, overwrite: bool = False) -> Path:
    """Write a recording as NWB 2.x; movies are streamed.

    Counts become spike times of units, other responses a TimeSeries; frames an ImageSeries, of
    repeats a template with a table of presentations; blocks and trials the trials table. Opened
    with `open_recording`, it is the same recording again, with all attributes.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is false, cannot be written, or the recording is not
        sound (`recording.validate()` says why).
    """
    path = Path(path)

    def write_file(temporary: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the temporary name; the rest is tested
            _write_file(recording, temporary, path)

    return write_whole(path, write_file, overwrite)


def _write_file(recording: Recording, temporary: Path, path: Path) -> None:
    from pynwb import NWBHDF5IO

    nwb = _new_file(recording)
    shown = _on_session_clock(recording)
    pieces: dict[str, object] = {}
    movies = _add_movies(nwb, shown, pieces)
    _add_units(nwb, recording, shown)
    _add_trials(nwb, shown)
    _add_series(nwb, recording, shown)
    add_copy(nwb, recording, movies, pieces, str(path))
    with closing(SteadyFile(temporary)) as disk:
        for piece in pieces.values():
            piece.check = disk.check
        with h5py.File(disk, "w") as file, NWBHDF5IO(file=file, mode="w") as io:
            io.write(nwb, cache_spec=True)
            file.attrs[MARK] = 1
            for place, piece in pieces.items():
                file[place].attrs[CHECKSUM] = piece.checksum()
        disk.check()
    seal(temporary)


def _new_file(recording: Recording):
    from pynwb import NWBFile
    from pynwb.file import Subject

    attrs = recording.attrs
    start, known = _start_time(attrs.get("session_start_time"))
    said = str(attrs.get("session_description") or attrs.get("description") or "")
    notes = [] if known else ["The date of the session is not known; 1970-01-01 stands for it."]
    for name in ("source", "licence", "area", "species"):
        if attrs.get(name):
            notes.append(f"{name}: {attrs[name]}")
    nwb = NWBFile(
        session_description=said or f"responses to {', '.join(recording.stimuli)}",
        identifier=str(attrs.get("identifier") or recording.identity or recording.source),
        session_start_time=start,
        notes="\n".join(notes),
        **{
            name: str(attrs[name])
            for name in ("lab", "institution", "session_id")
            if attrs.get(name)
        },
    )
    species = str(attrs.get("species") or "")
    species = SPECIES.get(species.lower(), species)
    known = re.fullmatch(r"[A-Z][a-z]+ [a-z]+", species) is not None
    nwb.subject = Subject(
        subject_id=re.sub(r"\W+", "-", str(attrs.get("subject_id") or NO_SUBJECT)),
        species=species if known else ANY_SPECIES,
        sex="U",
        age=ANY_AGE,
        description="what the recording says of it is in the notes",
    )
    return nwb


def _start_time(said) -> tuple[datetime, bool]:
    try:
        start = datetime.fromisoformat(str(said))
    except ValueError:
        return UNKNOWN_DATE, False
    return (start if start.tzinfo else start.replace(tzinfo=UTC)), True


def _on_session_clock(recording: Recording) -> list[_Shown]:
    found, clock = [], 0.0
    for stimulus in recording.stimuli:
        for role in recording.roles(stimulus):
            node = recording.tree[stimulus][role].to_dataset()
            repeated = "trial" in node["response"].dims
            order = ("trial", "time", "neuron") if repeated else ("time", "neuron")
            response = np.asarray(node["response"].transpose(*order).values)
            response = response if repeated else response[np.newaxis]
            time = node["time"].values
            length = float(time[-1] - time[0]) + float(stored_width(node))
            starts = clock + np.arange(len(response)) * (length + PAUSE)
            item = _Shown(stimulus, role, node, response, starts, repeated)
            for trial in range(len(response)):
                for label, first, stop in block_runs(node["block"].values):
                    there = np.flatnonzero(~np.isnan(response[trial, first:stop]).all(axis=1))
                    if there.size:  # a ragged trial ends earlier
                        item.runs.append((trial, first, first + int(there[-1]) + 1, label))
            found.append(item)
            clock = float(starts[-1]) + length + PAUSE
    return found


def _add_units(nwb, recording: Recording, shown: list[_Shown]) -> None:
    from pynwb.misc import Units

    times: list[list[np.ndarray]] = [[] for _ in recording.neurons]
    counted = [item for item in shown if item.node["response"].attrs["kind"] == "count"]
    if not counted:
        return
    for item in counted:
        for trial, counts in enumerate(item.response):
            starts = item.bin_starts(trial)
            counts = np.nan_to_num(counts).astype(np.int64)
            for neuron, column in enumerate(counts.T):
                times[neuron].append(_inside_bins(starts, column, item.width))
    intervals = np.array(
        [
            (item.bin_starts(trial)[first], item.bin_starts(trial)[stop - 1] + item.width)
            for item in counted
            for trial, first, stop, _ in item.runs
        ]
    ).reshape(-1, 2)
    columns = _unit_columns(recording)
    nwb.units = Units(
        name="units",
        description="spikes lie inside the bins in which they were counted",
        resolution=counted[0].width,
    )
    nwb.add_unit_column("unit_name", "identifier of the neuron")
    for name, (description, _) in columns.items():
        nwb.add_unit_column(name, description)
    for i, name in enumerate(recording.neurons):
        row = {column: values[i] for column, (_, values) in columns.items()}
        spikes = np.concatenate([np.zeros(0), *times[i]])
        nwb.add_unit(id=i, unit_name=str(name), spike_times=spikes, obs_intervals=intervals, **row)


def _inside_bins(starts: np.ndarray, counts: np.ndarray, width: float) -> np.ndarray:
    """Spike times: one at the centre of its bin, several spread evenly inside it."""
    filled = np.flatnonzero(counts)
    counts = counts[filled]
    first = np.cumsum(counts) - counts
    within = np.arange(counts.sum()) - np.repeat(first, counts)
    part = (within + 0.5) / np.repeat(counts, counts)
    return np.repeat(starts[filled], counts) + part * width


def _unit_columns(recording: Recording) -> dict[str, tuple[str, np.ndarray]]:
    from pynwb.misc import Units

    taken = {column["name"] for column in Units.__columns__}
    taken |= {"id", "unit_name", "name", "description", "colnames", "neuron"}
    taken |= {"waveform_unit", "waveform_rate", "resolution"}
    columns = {}
    for name, coord in recording.tree.coords.items():
        plain = coord.dims == ("neuron",) and coord.dtype.kind in "biufUTO"
        if plain and name not in taken and not re.search(r"[/:]", str(name)):
            values = coord.values
            values = values if values.dtype.kind in "biuf" else values.astype(str)
            columns[str(name)] = (str(coord.attrs.get("description") or name), values)
    return columns


def _add_trials(nwb, shown: list[_Shown]) -> None:
    for name, description in (
        ("stimulus", "what was shown"),
        ("role", "train, heldout (unrepeated), test or repeats (the same frames in every trial)"),
        ("block", "stretch of time without a jump, within the role"),
        ("trial", "number of the repeat; -1 for unrepeated stimuli"),
    ):
        nwb.add_trial_column(name, description)
    for item in shown:
        labels = item.node["trial"].values if item.repeated else np.array([-1])
        for trial, first, stop, label in item.runs:
            starts = item.bin_starts(trial)
            nwb.add_trial(
                start_time=float(starts[first]),
                stop_time=float(starts[stop - 1] + item.width),
                stimulus=item.stimulus,
                role=item.role,
                block=label,
                trial=int(labels[trial]),
            )


def _add_movies(nwb, shown: list[_Shown], pieces: dict) -> dict[tuple[str, str], str]:
    """Add the frames of every role; returns where they are, by stimulus and role."""
    from hdmf.backends.hdf5 import H5DataIO
    from pynwb.image import ImageSeries

    places = {}
    for item in shown:
        if "stimulus" not in item.node:
            continue
        movie = item.node["stimulus"]
        onsets = _onsets(item)
        piece = pieces_of(movie.variable, NWB_AXES[movie.ndim], item.name)
        timing = {"rate": _frame_rate(item), "starting_time": 0.0}
        if onsets is not None:
            timing = _timing(onsets)
        series = ImageSeries(
            name=item.name,
            data=H5DataIO(piece, compression="gzip", shuffle=True),
            unit=str(movie.attrs.get("units") or "arbitrary"),
            description=str(item.node.attrs.get("selection") or f"frames of {item.name}"),
            **timing,
        )
        if onsets is not None:
            nwb.add_stimulus(series)
            place = f"/stimulus/presentation/{item.name}"
        else:
            nwb.add_stimulus_template(series)
            place = f"/stimulus/templates/{item.name}"
            _add_presentations(nwb, item)
        pieces[f"{place}/data"] = piece
        places[item.stimulus, item.role] = f"{place}/data"
    return places


def _onsets(item: _Shown) -> np.ndarray | None:
    """Session times at which frames appeared; None unless each was shown once, in order."""
    on_screen = item.node["frame_of_bin"].values
    n_frames = item.node.sizes["frame"]
    first = np.flatnonzero(np.diff(on_screen, prepend=-2))
    frames = on_screen[first]
    bins = first[frames >= 0]
    if item.repeated or not np.array_equal(frames[frames >= 0], np.arange(n_frames)):
        return None
    onsets = item.node["time"].values[bins]
    if "frame_time" in item.node:
        exact = item.node["frame_time"].values
        if (np.abs(exact - onsets) <= item.width).all() and (np.diff(exact) > 0).all():
            onsets = exact
    return item.starts[0] + (onsets - item.node["time"].values[0])


def _add_presentations(nwb, item: _Shown) -> None:
    """When every frame of a template was shown, as a table of the layout of Allen's recordings.

    pynwb no longer writes an IndexSeries into a movie, and frames are not stored twice.
    """
    from hdmf.common import VectorData
    from pynwb.epoch import TimeIntervals

    on_screen = item.node["frame_of_bin"].values
    parts = []
    for trial, start, stop, label in item.runs:
        part, starts = on_screen[start:stop], item.bin_starts(trial)[start:stop]
        first = np.flatnonzero(np.diff(part, prepend=-2))
        ends = np.append(starts[first[1:]], starts[-1] + item.width)
        there = part[first] >= 0
        same = np.ones(int(there.sum()), dtype=np.int64)
        parts.append((starts[first][there], ends[there], part[first][there], same * label))
        parts[-1] += (same * trial,)
    if not sum(len(part[0]) for part in parts):
        return
    starts, stops, frames, blocks, trials = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    columns = [
        VectorData("start_time", "onset of the frame, s", data=starts),
        VectorData("stop_time", "end of the frame, s", data=stops),
        VectorData("stimulus_name", "the template", data=[item.name] * len(starts)),
        VectorData("stimulus_block", "stretch of time without a jump", data=blocks),
        VectorData("frame", "index of the frame in the template", data=frames.astype(np.int64)),
        VectorData("repeat", "number of the repeat, from 0", data=trials),
    ]
    nwb.add_time_intervals(
        TimeIntervals(
            name=f"{item.name}_presentations",
            description=f"when the frames of /stimulus/templates/{item.name} were shown",
            columns=columns,
        )
    )


def _timing(times: np.ndarray) -> dict:
    """Times as NWB wants them: a start and a rate where they are regular, else one by one."""
    if times.size > 2:
        rate = round((times.size - 1) / float(times[-1] - times[0]), 9)
        regular = times[0] + np.arange(times.size) / rate
        if np.abs(times - regular).max() < REGULAR:
            return {"starting_time": float(times[0]), "rate": rate}
    return {"timestamps": times}


def _frame_rate(item: _Shown) -> float:
    if "frame_time" in item.node and item.node.sizes["frame"] > 1:
        step = float(np.median(np.diff(item.node["frame_time"].values)))
        if step > 0:
            return 1 / step
    return 1 / item.width


def _add_series(nwb, recording: Recording, shown: list[_Shown]) -> None:
    """Rates, traces and covariates as series on the clock of the session."""
    from pynwb import TimeSeries

    found, neurons = [], ", ".join(recording.neurons)
    for item in shown:
        kind = item.node["response"].attrs["kind"]
        if kind != "count":
            units = str(item.node["response"].attrs.get("units") or "arbitrary")
            about = f"{kind} of each neuron; columns: {neurons}"
            module = "ophys" if kind == "trace" else "ecephys"
            found.append((module, f"{item.name}_response", item.response, units, about, item))
    for module, name, values, units, about, item in found:
        if module not in nwb.processing:
            nwb.create_processing_module(module, "in bins, on the clock of the session")
        parts = [(values[t, a:b], item.bin_starts(t)[a:b]) for t, a, b, _ in item.runs]
        if parts:
            nwb.processing[module].add(
                TimeSeries(
                    name=name,
                    data=np.concatenate([part for part, _ in parts]),
                    **_timing(np.concatenate([times for _, times in parts])),
                    unit=units,
                    description=about,
                )
            )
    covariates = session_covariates(shown)
    if covariates:
        module = nwb.create_processing_module("behavior", "in bins, on the clock of the session")
    for name, (values, times, units) in covariates.items():
        plain = re.sub(r"[/:]", "_", name)
        module.add(
            TimeSeries(
                name=plain if plain not in module.data_interfaces else f"{plain}_",
                data=values,
                **_timing(times),
                unit=units,
                description=f"{name}: mean in each bin, NaN where unknown",
            )
        )
