"""The layout of openretina for sessions of one's own: a folder of stimuli, an HDF5 file a session.

    FOLDER/stimuli/NAME.npy        (channel, frame, y, x), shared by the sessions
    FOLDER/SESSION.h5              responses_NAME   (neuron, frame), one bin per frame
                                   stimulus_NAME    (channel, frame, y, x), of this session alone
                                   session_info/... what else is known; by neuron or in general

This is what openretina's `load_stimuli` and `load_responses` read (openretina.data_io,
h5_dataset_reader). It knows averages over repeats; ``responses_NAME`` of a test may also be
(trial, neuron, frame) here, as openretina holds them in memory. Open the folder (`session=` names
one of several) or the session's file. The layout states no frame rate: `frame_rate=` is needed,
unless session_info has one.

The movies of Höfling et al. (2024) come in a Python pickle, which is a program: it is refused.
Single recordings of Maheswaranathan et al. (2023) and Goldin et al. (2022) are deep-retina files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np

from neuromodels.datasets.binning import bin_edges, exact_bin_width
from neuromodels.datasets.building import build_recording, build_role
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.deep_retina_arrays import are_whole
from neuromodels.datasets.formats.mapped_arrays import file_kind, find_variable
from neuromodels.datasets.formats.mapped_axes import MappedFrames, NamedArray
from neuromodels.datasets.formats.mapped_hdf5 import (
    StoredArray,
    check_link,
    check_stored,
    class_of,
)
from neuromodels.datasets.lazy_movies import movie_variable, show_in_sequence
from neuromodels.datasets.recording import KINDS, Recording
from neuromodels.datasets.sources import Source

TITLE = "an openretina session"
OPTIONS = ("session", "frame_rate", "kind")
STIMULI = "stimuli"
RESPONSES = "responses_"
OWN_STIMULUS = "stimulus_"
INFO = "session_info"
RATE_KEYS = ("frame_rate", "fps", "stimulus_frame_rate")
NAME = "stimulus"
PICKLE = """In openretina's environment, save what it holds as arrays (movie: channel, frame, y, \
x; responses: neuron, frame):
    np.save("FOLDER/stimuli/train.npy", movies.train); np.save("FOLDER/stimuli/test.npy", \
movies.test_movie)
    with h5py.File("FOLDER/session.h5", "w") as f:
        f["responses_train"] = responses.train; f["responses_test"] = responses.test_response
  and open FOLDER."""


def recognizes(source: Source) -> bool:
    """Whether it is a session, a folder with sessions, or the pickle that openretina also uses."""
    if source.is_folder:
        return bool(_sessions(source.path))
    if source.root is not None:
        return _is_session(source.root.members)
    head = source.head
    return len(head) > 2 and head[0] == 0x80 and head[1] in (2, 3, 4, 5)


def read(
    source: Source,
    *,
    bin_width=None,
    stimulus=None,
    test: str | Sequence[str] | None = None,
    session: str | None = None,
    frame_rate: float | None = None,
    kind: str | None = None,
) -> Recording:
    """Open one session: every stimulus is a block of the training data or of the test.

    Parameters
    ----------
    source : Source
        The folder, or the HDF5 file of a session.
    bin_width : float or Fraction, s, optional
        Bins of the view (default: one per frame).
    stimulus : str or list of str, optional
        Which of the stimuli (default: all that have responses).
    test : str or list of str, optional
        Names of the stimuli that are the test; "none" for no test. By default those with "test"
        in their names.
    session : str, optional
        Which file of the folder.
    frame_rate : float, Hz, optional
        Frames per second, which the layout does not state.
    kind : {"count", "rate", "trace"}, optional
        What responses are (default: counts if all are whole numbers, else traces).

    Raises
    ------
    InputError
        If something is missing, or lengths disagree.
    """
    if source.root is None and not source.is_folder:
        raise source.error(
            "is a Python pickle: to read it is to run it, and nothing that is read is executed",
            PICKLE,
        )
    path = _session(source, session)
    place = str(path) if path is not None else source.name
    if kind is not None and kind not in KINDS:
        raise InputError(
            f"is {kind!r}"[:80], where=f"{place}: kind", remedy=f"Use one of: {', '.join(KINDS)}."
        )
    file = source.hdf5() if path is None else Source(path).hdf5()
    try:
        recording = _recording(file, path, place, stimulus, test, frame_rate, kind)
    finally:
        if path is not None:
            file.close()  # frames open it again when they are read
    return recording if bin_width is None else recording.at(bin_width)


def _recording(file, path: Path | None, place: str, stimulus, test, frame_rate, kind) -> Recording:
    names = sorted(n.removeprefix(RESPONSES) for n in file if n.startswith(RESPONSES))
    chosen = _chosen(names, stimulus, f"{place}: stimulus")
    tests, said = _tests(chosen, test, f"{place}: test")
    info, metadata = _info(file)
    width = _width(frame_rate, info, place)
    responses = {name: _responses(file, name, place) for name in chosen}
    kind, told = _kind(responses, kind)
    n_neurons = _n_neurons(responses, place)
    metadata = {k: v for k, v in metadata.items() if len(v) == n_neurons}
    notes = [said, *told]
    for name in tests:
        if responses[name].ndim == 2:
            notes.append(f"{name}: an average over repeats, or one trial: no noise ceiling")
    folder = None if path is None else path.parent / STIMULI
    roles = {}
    for role, members in (("train", [n for n in chosen if n not in tests]), ("test", tests)):
        if members:
            movies = {n: _movie(file, path, folder, n, place) for n in members}
            roles[role] = _role(role, movies, responses, width, kind, place)
    return build_recording(
        {NAME: roles},
        attrs={"format": "openretina session", "notes": notes, **info},
        stimulus_attrs={NAME: {"description": ", ".join(chosen)}},
        unit_metadata=metadata,
        source=place,
        identity=_identity(path, folder, file, chosen) if path is not None else None,
    )


def _identity(path: Path, folder: Path, file: h5py.File, names: Sequence[str]) -> str:
    used = [path]
    used += [folder / f"{n}.npy" for n in names if f"{OWN_STIMULUS}{n}" not in file]
    digest = hashlib.sha256()
    for item in used:
        digest.update(Source(item).identity.encode())
    return digest.hexdigest()


def _role(role: str, movies, responses, width: Fraction, kind: str, place: str):
    """Movies after one another, each a block."""
    names = list(movies)
    lengths = [movies[name].shape[0] for name in names]
    for name, n_frames in zip(names, lengths, strict=True):
        if responses[name].shape[-1] != n_frames:
            raise InputError(
                f"has {responses[name].shape[-1]} bins, the stimulus {n_frames} frames",
                where=f"{place}: {RESPONSES}{name}",
                remedy="openretina wants one bin per frame: export both at one rate.",
            )
    sizes = {movies[name].shape[1:] for name in names}
    if len(sizes) > 1:
        raise InputError(
            f"holds movies of different sizes: {sorted(sizes)}",
            where=f"{place}: {role}",
            remedy="Choose those of one size with stimulus=.",
        )
    values = [responses[name] for name in names]
    repeated = role == "test"
    if repeated:
        values = [v[None] if v.ndim == 2 else v for v in values]
        most = max(len(v) for v in values)
        if any(len(v) != most for v in values):
            values = [
                np.pad(
                    v.astype(np.float32),
                    ((0, most - len(v)), (0, 0), (0, 0)),
                    constant_values=np.nan,
                )
                for v in values
            ]
    joined = np.moveaxis(np.concatenate(values, axis=-1), -2, -1)
    n_bins = sum(lengths)
    time = bin_edges(0.0, width, n_bins)[:-1]
    return build_role(
        show_in_sequence([movies[name] for name in names], list(range(len(names)))),
        joined,
        bin_width=width,
        time=time,
        block=np.repeat(np.arange(len(names), dtype=np.int32), lengths),
        frame_of_bin=np.arange(n_bins),
        frame_time=time,
        kind=kind,
        attrs={"selection": ", ".join(names)},
        where=place,
    )


def _movie(file: h5py.File, path: Path | None, folder: Path | None, name: str, place: str):
    own = f"{OWN_STIMULUS}{name}"
    where = f"{place}: {own}"
    if own in file:
        check_link(file, own, where)
        dataset = file[own]
        if not isinstance(dataset, h5py.Dataset):
            raise InputError("is a group", where=where, remedy="It must be a dataset.")
        check_stored(dataset, where)
        values = dataset if path is None else StoredArray(path, dataset)
    else:
        shared = None if folder is None else folder / f"{name}.npy"
        inside = shared is not None and shared.resolve().is_relative_to(folder.parent.resolve())
        if shared is None or not inside or not shared.is_file() or file_kind(shared) != "npy":
            raise InputError(
                f"has responses, but no stimulus: neither {own} nor {STIMULI}/{name}.npy",
                where=f"{place}: {RESPONSES}{name}",
                remedy="Put the movie (channel, frame, y, x) there, or leave these responses out "
                "with stimulus=.",
            )
        where = str(shared)
        values = find_variable(shared, None, where).values
    if len(values.shape) != 4 or 0 in values.shape:
        raise InputError(
            f"has shape {tuple(values.shape)}",
            where=where,
            remedy="It must be (channel, frame, y, x).",
        )
    axes = ("channel", "time", "y", "x") if values.shape[0] > 1 else ("1", "time", "y", "x")
    array = NamedArray(values, axes, {}, where)
    reader = MappedFrames(array, [(None, 0, array.sizes["time"])], 1)
    return movie_variable(reader, {"units": "arbitrary"})


def _responses(file: h5py.File, name: str, place: str) -> np.ndarray:
    key = f"{RESPONSES}{name}"
    where = f"{place}: {key}"
    check_link(file, key, where)
    dataset = file[key]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "biuf":
        raise InputError("holds no numbers", where=where, remedy="It must be (neuron, frame).")
    check_stored(dataset, where)
    if dataset.ndim not in (2, 3) or 0 in dataset.shape:
        raise InputError(
            f"has shape {dataset.shape}",
            where=where,
            remedy="It must be (neuron, frame), or (trial, neuron, frame) of a test.",
        )
    return np.asarray(dataset[()])


def _chosen(names: list[str], stimulus, where: str) -> list[str]:
    if stimulus is None:
        return names
    wanted = [stimulus] if isinstance(stimulus, str) else list(stimulus)
    for name in wanted:
        if name not in names:
            raise InputError(
                f"no {name!r}"[:80], where=where, remedy=f"Responses to: {', '.join(names)}."
            )
    return [name for name in names if name in wanted]


def _tests(names: list[str], test, where: str) -> tuple[list[str], str]:
    if test is None:
        tests = [name for name in names if "test" in name.lower()]
        said = ", ".join(tests) or "none of the stimuli"
        return tests, f"the test is {said}, by name; choose others with test="
    wanted = [test] if isinstance(test, str) else list(test)
    if wanted == ["none"]:
        return [], "no test, as asked for"
    for name in wanted:
        if name not in names:
            raise InputError(
                f"no {name!r}"[:80],
                where=where,
                remedy=f"Name stimuli: {', '.join(names)}; or 'none'.",
            )
    return [name for name in names if name in wanted], f"the test is {', '.join(wanted)}"


def _kind(responses: dict[str, np.ndarray], kind: str | None) -> tuple[str, list[str]]:
    if kind is not None:
        return kind, []
    whole = all(are_whole(values) for values in responses.values())
    found = "count" if whole else "trace"
    why = "all are whole numbers" if whole else "not all are whole numbers"
    return found, [f"responses are read as {found}: {why}; kind= says otherwise"]


def _n_neurons(responses: dict[str, np.ndarray], place: str) -> int:
    numbers = {name: values.shape[-2] for name, values in responses.items()}
    if len(set(numbers.values())) > 1:
        raise InputError(
            f"has responses of different numbers of neurons: {numbers}",
            where=place,
            remedy="Every stimulus needs the same neurons; choose some with stimulus=.",
        )
    return next(iter(numbers.values()))


def _width(frame_rate, info: dict, place: str) -> Fraction:
    given = frame_rate
    if given is None:
        given = next((info[key] for key in RATE_KEYS if key in info), None)
    if given is None:
        raise InputError(
            "is missing: the layout states no frame rate",
            where=f"{place}: frame_rate",
            remedy="Give frames (and bins) per second: frame_rate=30 (--frame-rate 30).",
        )
    try:
        return 1 / exact_bin_width(given)
    except InputError:
        raise InputError(
            f"is {given!r}"[:80],
            where=f"{place}: frame_rate",
            remedy="Give frames per second, Hz.",
        ) from None


def _info(file: h5py.File) -> tuple[dict, dict]:
    """Single values of session_info, and its lists."""
    if class_of(file, INFO) is not h5py.Group:
        return {}, {}
    single, lists = {}, {}
    for name in file[INFO]:
        if class_of(file[INFO], name) is not h5py.Dataset:
            continue
        item = file[INFO][name]
        if item.shape is None or item.size > 10**6:
            continue
        value = item[()]
        if item.ndim == 1 and item.dtype.kind in "biuf":
            lists[name] = np.asarray(value)
        elif item.ndim == 0:
            value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            single[name] = value.item() if hasattr(value, "item") else value
    reserved = ("neuron", "notes", "format", "source", "identity")
    return (
        {k: v for k, v in single.items() if k not in reserved},
        {k: v for k, v in lists.items() if k not in reserved},
    )


def _session(source: Source, session: str | None) -> Path | None:
    """The file of the session; None if it is streamed."""
    if not source.is_folder:
        return source.path
    found = {path.stem: path for path in _sessions(source.path)}
    if session is not None and session in found:
        return found[session]
    if session is None and len(found) == 1:
        return next(iter(found.values()))
    what = f"no {session!r}"[:80] if session is not None else f"holds {len(found)} sessions"
    raise InputError(
        what,
        where=f"{source.name}: session",
        remedy=f"Choose one with session= (--open session=...): {', '.join(found)}.",
    )


def _sessions(folder: Path) -> list[Path]:
    found = []
    for path in sorted([*folder.glob("*.h5"), *folder.glob("*.hdf5")]):
        try:
            with h5py.File(path, "r") as file:
                members = {name: class_of(file, name) for name in file}
        except (OSError, RuntimeError, KeyError, ValueError):
            continue
        if _is_session(members):
            found.append(path)
    return found


def _is_session(members) -> bool:
    return any(
        name.startswith(RESPONSES) and kind is h5py.Dataset for name, kind in members.items()
    )
