"""MATLAB v5 and v7.3, HDF5, .npz and .npy files, through a mapping that says what is what.

A mapping is a small TOML file. Open it (``open_recording("map.toml")``; files are relative to it,
and lie in its folder or in `folder=`), or pass it along: ``open_recording("cells.mat",
mapping="map.toml")``, ``open_recording("folder", mapping="map.toml")``.

Responses in bins::

    file = "cells.mat"                # where a table names no file of its own
    bin_width = "1/600"               # s, as a fraction or a number
    species = "mouse"                 # also area, licence, title, description, reference, ...
    neurons = ["a", "b"]              # or { variable = "ids" }; default 0, 1, ...

    [stimulus]                        # what it is
    name = "moving_bars"
    units = "Weber contrast"          # of the frames' values; pixel_units, background, ...
    samples_per_frame = 10            # sampled once per bin, 10 bins show one frame; or
    # frame_rate = 60                 # every frame is stored once; neither: one frame per bin

    [train]
    stimulus = { variable = "movie",  axes = ["y", "x", "time", "block"] }
    response = { variable = "spikes", axes = ["neuron", "time", "block"], kind = "count" }
    heldout_blocks = [4, 14]          # counted from 0; or a table [heldout] like [train]
    # bins_per_block = 6000           # where blocks follow one another on the axis of time

    [test]                            # and [repeats], which needs no stimulus
    stimulus = { variable = "clip", axes = ["y", "x", "time"], slices = { time = [0, 4000] } }
    response = { variable = "test", axes = ["neuron", "time", "trial"] }

Axes are named in the order that MATLAB shows (`size`); of .h5, .npz and .npy in the order that
h5py and numpy show. A response has neuron, time, and trial or block; a movie time, y, x, channel
and block; "1" is an axis of length one that means nothing. `slices` keep [first, one after the
last], counted from 0. `kind` is "count" (default), "rate" (Hz) or "trace", with `units`.
``data.spikes`` is a field of a struct. The cells of a cell array of equally large arrays are its
first axis. `first_bin` says how many bins lie before the first one, on the clock.
[neuron.depth] = { variable, axes = ["neuron"], units } is kept as what is known about the neurons.

Spike times::

    [spikes]                          # a cell array (or the field of a struct array) with the
    variable = "spikes"               # times of each neuron, a matrix (neuron, spike) padded with
    units = "samples"                 # NaN, or all times along with clusters = "ids" of each spike
    sampling_rate = 30000             # units: "s" (default), "ms" or "samples"

    [stimulus]
    variable = "movie"
    axes = ["x", "y", "time"]
    frame_times = { variable = "flips", units = "ms" }  # or triggers, with frames_per_trigger;
                                                        # or frame_rate (Hz) and start (s)
    [trials]                          # if there are any
    start = { variable = "on" }
    stop = { variable = "off" }
    columns = { kind = "trial_kind" } # for test="kind == 'repeat'"

Instead of [spikes], for calcium imaging and the like, on the same clock::

    [traces]
    variable = "dff"
    axes = ["neuron", "time"]
    kind = "trace"                    # or "rate" (Hz)
    units = "dF/F"
    times = { variable = "scan_times", units = "s" }   # or sampling_rate (Hz) and start (s)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from neuromodels.datasets.building import build_recording
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.mapped_arrays import (
    MATLAB5,
    MATLAB73,
    Listed,
    file_kind,
    list_variables,
)
from neuromodels.datasets.formats.mapped_roles import (
    STIMULUS_KEYS,
    read_metadata,
    read_neurons,
    read_roles,
    stored_width,
)
from neuromodels.datasets.formats.mapped_schema import (
    ABOUT,
    CLOCKED,
    LARGEST_MAPPING,
    ROLES,
    Place,
    check_mapping,
    checked_text,
    parse_mapping,
)
from neuromodels.datasets.formats.mapped_spikes import read_session
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.sessions import assemble
from neuromodels.datasets.sources import Source

TITLE = "a MATLAB file or a mapping"
OPTIONS = ("mapping", "folder")
#: A line that begins so makes a text a mapping.
TABLES = (*CLOCKED, *ROLES)
TEMPLATE = """Write which variable is what into a file map.toml, and pass it: mapping="map.toml" \
(--mapping map.toml). For responses in bins:
    bin_width = 0.010
    [train]
    stimulus = {{ variable = "{movie}", axes = [{movie_axes}] }}
    response = {{ variable = "{response}", axes = [{response_axes}], kind = "count" }}
    [test]
    stimulus = {{ variable = "...", axes = ["y", "x", "time"] }}
    response = {{ variable = "...", axes = ["neuron", "time", "trial"] }}
  docs/recordings.md shows mappings for spike times, too."""


def recognizes(source: Source) -> bool:
    """Whether it is a .mat file, a mapping, or a folder with a .mat file or one mapping."""
    if source.is_stream:
        return source.head.startswith((MATLAB5, MATLAB73))
    if source.is_folder:
        return bool(_mappings(source.path)) or any(
            _is_matlab(path) for path in sorted(source.path.glob("*.mat"))
        )
    if source.head.startswith((MATLAB5, MATLAB73)):
        return True
    if source.looks_like_hdf5:
        return file_kind(source.path) == "mat73"
    return _is_mapping(source.path, source.head)


def read(
    source: Source,
    *,
    bin_width=None,
    stimulus=None,
    test=None,
    mapping: str | Path | Mapping | None = None,
    folder: str | Path | None = None,
) -> Recording:
    """Open what a mapping describes; see the module for what it can say.

    Parameters
    ----------
    source : Source
        The mapping itself, a file with variables, or a folder with such files.
    bin_width : float or Fraction, s, optional
        Bins of the view that is returned (default: the mapping's).
    stimulus : str, optional
        The name of the mapping's stimulus; it has one.
    test : str or list of (start, stop), optional
        With [spikes] or [traces]: which trials are the repeated test. Other mappings say it
        themselves.
    mapping : path or dict, optional
        The mapping, where `source` is the data.
    folder : path, optional
        Where the data lie (default: beside the mapping, or `source` itself).

    Raises
    ------
    InputError
        If the mapping is missing or does not fit the files; with what they hold.
    """
    if source.is_stream:
        raise source.error(
            "is a MATLAB file that is streamed", "Download it: MATLAB files are read from a path."
        )
    tables, place, text = _given(source, mapping, folder)
    attrs = {key: tables[key] for key in ABOUT if key in tables}
    attrs["format"] = f"described by {Path(place.said).name}"
    identity = _identity(tables, place, text)
    name = tables.get("stimulus", {}).get("name", "stimulus") if _is_table(tables) else "stimulus"
    name = checked_text(name, f"{place.said}: [stimulus]: name")
    _check_stimulus(stimulus, name, place.said)
    if any(table in tables for table in CLOCKED):
        return assemble(
            read_session(tables, place, source.name, attrs, identity),
            test=test,
            bin_width=bin_width,
            finest_bin_width=stored_width(tables, place),
        )
    if test is not None:
        raise InputError(
            "does not apply: the mapping says which part is the test",
            where=f"{place.said}: test",
            remedy="Leave test= out, or change [test] of the mapping.",
        )
    about = tables.get("stimulus", {})
    roles = read_roles(tables, place)
    metadata = read_metadata(tables, place)
    keys = ("description", "generator", "seed", "background")
    recording = build_recording(
        {name: roles},
        neurons=read_neurons(tables, place),
        attrs=attrs,
        stimulus_attrs={name: {key: about[key] for key in keys if key in about}},
        unit_metadata=metadata,
        identity=identity,
        source=source.name,
    )
    return recording if bin_width is None else recording.at(bin_width)


def _given(source: Source, mapping, folder) -> tuple[Mapping, Place, str]:
    """Tables of the mapping, where its files are, and its text."""
    is_data = source.is_folder or not _is_mapping(source.path, source.head)
    if not is_data and mapping is not None:
        raise InputError(
            "is given, and the source is a mapping itself",
            where=f"{source.name}: mapping",
            remedy="Give the data first, or only the mapping (folder= says where the data are).",
        )
    if is_data and mapping is None:
        found = _mappings(source.path) if source.is_folder else []
        if len(found) != 1:
            raise _no_mapping(source, found)
        mapping = found[0]
    if isinstance(mapping, Mapping):
        check_mapping(mapping, "mapping")
        tables, text, said, beside = mapping, repr(mapping), "mapping", Path()
    else:
        path = source.path if mapping is None else Path(mapping)
        text, said, beside = _text(path), str(path), path.parent
        tables = parse_mapping(text, said)
    if folder is not None:
        base = Path(folder)
    elif is_data:
        base = source.path if source.is_folder else source.path.parent
    else:
        base = beside
    if not base.is_dir():
        raise InputError(
            "is no folder", where=f"{base}: folder", remedy="Give the folder that holds the data."
        )
    file = tables.get("file")
    if is_data and not source.is_folder:
        file = source.path.name if folder is None else file
    return tables, Place(base, file, said), text


def _is_table(tables: Mapping) -> bool:
    about = tables.get("stimulus", {})
    if not isinstance(about, Mapping):
        raise InputError(
            f"is {about!r}"[:80],
            where="mapping: stimulus",
            remedy=f"[stimulus] is a table with {', '.join(STIMULUS_KEYS[:4])}, ...",
        )
    return True


def _check_stimulus(given, name: str, where: str) -> None:
    if given is None or given == name or (isinstance(given, (list, tuple)) and given == [name]):
        return
    raise InputError(
        f"no {given!r}"[:80],
        where=f"{where}: stimulus",
        remedy=f"The mapping has one stimulus: {name!r}. Frames are named in the mapping.",
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_MAPPING:
            raise InputError(
                f"has {path.stat().st_size} bytes", where=str(path), remedy="Give a TOML mapping."
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(
            "is no text (UTF-8)", where=str(path), remedy="Save the mapping as UTF-8 text."
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})",
            where=f"{path}: mapping",
            remedy="Give the path of the TOML file.",
        ) from error


def _is_mapping(path: Path, head: bytes) -> bool:
    """Whether a file is text with a line like [train]; whether it is sound is seen later."""
    if b"\0" in head:
        return False
    try:
        if path.stat().st_size > LARGEST_MAPPING:
            return False
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    names = {line.split("#")[0].strip() for line in lines}
    return any(f"[{table}]" in names for table in TABLES)


def _is_matlab(path: Path) -> bool:
    try:
        return path.is_file() and file_kind(path) in ("mat5", "mat73")
    except OSError:
        return False


def _mappings(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            with path.open("rb") as file:
                head = file.read(512)
        except OSError:
            continue
        if _is_mapping(path, head):
            found.append(path)
    return found


def _no_mapping(source: Source, found: list[Path]) -> InputError:
    if found:
        return InputError(
            f"holds {len(found)} mappings: {', '.join(path.name for path in found)}",
            where=source.name,
            remedy="Open one of them, or name it with mapping=.",
        )
    files = [source.path]
    if source.is_folder:
        files = [path for path in sorted(source.path.glob("*.mat")) if _is_matlab(path)][:5]
    listed: list[Listed] = []
    said = []
    for path in files:
        try:
            own = list_variables(path)
        except Exception:  # scipy and h5py raise what they like for a damaged file
            raise InputError(
                "is a damaged MATLAB file: its variables cannot be listed",
                where=str(path),
                remedy="Copy or save it again.",
            ) from None
        listed += own
        prefix = f"{path.name}: " if source.is_folder else ""
        said.append(prefix + (", ".join(map(str, own[:20])) or "nothing"))
    what = "a folder of MATLAB files" if source.is_folder else "a MATLAB file"
    return InputError(
        f"is {what}, and nothing says which variable is what; it holds {'; '.join(said)}",
        where=source.name,
        remedy=_template(listed),
    )


def _template(listed: list[Listed]) -> str:
    """A mapping to start from, with guesses by name."""

    def pick(words: tuple[str, ...]) -> Listed | None:
        named = [item for item in listed if any(word in item.name.lower() for word in words)]
        return next(iter(sorted(named, key=lambda item: -len(item.shape))), None)

    movie = pick(("stim", "movie", "frame", "image"))
    response = pick(("spike", "resp", "count", "rate", "psth", "raster"))
    return TEMPLATE.format(
        movie=movie.name if movie else "...",
        movie_axes=_guess(movie, ("y", "x", "time", "block")),
        response=response.name if response else "...",
        response_axes=_guess(response, ("neuron", "time", "block")),
    )


def _guess(item: Listed | None, names: tuple[str, ...]) -> str:
    n_axes = len(item.shape) if item else len(names) - 1
    return ", ".join(f'"{name}"' for name in names[: max(1, n_axes)])


def _identity(tables: Mapping, place: Place, text: str) -> str:
    """sha256 over the mapping and the files that it names, in the order of their names."""
    digest = hashlib.sha256(text.encode())
    names = sorted(_files(tables) | ({place.file} if place.file else set()))
    for name in names:
        path = place.path({"file": name}, place.said)
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _files(table: Mapping) -> set[str]:
    own = {table["file"]} if isinstance(table.get("file"), str) else set()
    return own.union(*(_files(item) for item in table.values() if isinstance(item, Mapping)))
