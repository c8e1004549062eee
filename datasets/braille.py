"""Braille letters felt by a robot's fingertip: 27 letters, 50 times each, 12 taxels."""

from __future__ import annotations

import gzip
import io
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuromodels.datasets.downloads import RemoteFile, check_sha256, fetch
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spike_trains import SpikeTrains, sorted_trains

#: As Müller-Cleve et al. published it with the tutorials of spytorch (CC BY 4.0).
FILE = RemoteFile(
    "https://raw.githubusercontent.com/fzenke/spytorch/d363dbf93a04bf97b4819f1a41579bbbec17b1d2/"
    "notebooks/data/tutorial5_braille_spiking_data.pkl.gz",
    301_542,
    "f48a449264a00ee665df62329f2364059e49d0d0faeee4993e595d08616e5a1c",
)
FRAME_S = 1 / 40  # the fingertip was read out at 40 Hz
N_TRAIN = 25  # repetitions of each letter that the honest split trains on
LEVEL_SLACK = 1e-9  # of a threshold: 1.0 / 0.1 may be 9.999…
# All that the pickle needs. numpy 2 keeps its function under another name than numpy 1 did.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


@dataclass(frozen=True, eq=False)
class BrailleLetters:
    """The fingertip's analogue signals; they are no spikes yet, see `encode_send_on_delta`.

    Attributes
    ----------
    analog : (sample, frame, taxel) float32
        Signals, 0 … 255 as the sensor gives them (or their change since the first frame), 76
        frames.
    letters : (sample,) int64
        Which letter, a place in `letter_names`.
    repetitions : (sample,) int64
        How often the letter had been touched before, 0 … 49.
    letter_names : tuple of str
        "Space", "A" … "Z".
    frame_s : float
        Time from frame to frame, s.
    """

    analog: np.ndarray
    letters: np.ndarray
    repetitions: np.ndarray
    letter_names: tuple[str, ...]
    frame_s: float = FRAME_S

    def honest_split(self) -> tuple[np.ndarray, np.ndarray]:
        """Return which samples train and which test: repetitions 0 … 24, and 25 … 49.

        The repetitions of a letter were recorded one after another, so that the offset of the
        sensor tells letters apart. A random split puts neighbours on both sides and rewards this;
        the split by order rewards it less, and subtracting the first frame takes it away.

        Returns
        -------
        train, test : (sample,) bool
            675 samples each.
        """
        train = self.repetitions < N_TRAIN
        return train, ~train


def load_braille(path: str | Path | None = None, *, subtract_first: bool = True) -> BrailleLetters:
    """Read the Braille letters; without a path the file is downloaded once (0.3 MB).

    The published file is a pickle. It is read only if its sha256 is the known one, and then with
    numpy arrays and plain values as the only things that it may hold.

    Parameters
    ----------
    path : str or Path, optional
        ``tutorial5_braille_spiking_data.pkl.gz``, or the folder that holds it (default: download
        to the cache, see `downloads.fetch`).
    subtract_first : bool
        Subtract the first frame of each sample. It alone tells a third of the letters, because
        repetitions sit together in time; scores without subtraction are no evidence.

    Returns
    -------
    BrailleLetters
        1,350 samples; cut to 76 frames, which all of them have.

    Raises
    ------
    InputError
        If there is no such file, it cannot be downloaded, or it is another file.

    References
    ----------
    Müller-Cleve et al. 2022, Front. Neurosci. 16:951164; Zenodo 6556273; CC BY 4.0, in
    github.com/fzenke/spytorch.
    """
    path = fetch(FILE) if path is None else Path(path)
    if path.is_dir():
        path = path / FILE.name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})",
            where=str(path),
            remedy=f"Give the path of {FILE.name}, or none to download it.",
        ) from error
    check_sha256(data, FILE, str(path))
    samples = restricted_load(gzip.decompress(data), str(path))
    n_frames = min(len(sample["taxel_data"]) for sample in samples)
    analog = np.stack([s["taxel_data"][:n_frames] for s in samples]).astype(np.float32)
    if subtract_first:
        analog -= analog[:, :1].copy()
    names = tuple(dict.fromkeys(sample["letter"] for sample in samples))
    return BrailleLetters(
        analog,
        np.array([names.index(sample["letter"]) for sample in samples]),
        np.array([sample["repetition"] for sample in samples]),
        names,
    )


def encode_send_on_delta(analog: np.ndarray, threshold: float, frame_s: float) -> list[SpikeTrains]:
    """Turn analogue signals into spikes: one whenever a signal has changed by a threshold.

    A channel remembers the level at which it last sent. When its signal, a straight line from
    frame to frame, has risen by `threshold`, its ON neuron sends a spike and the level rises by as
    much; when it has fallen by `threshold`, its OFF neuron sends one and the level falls. The
    first frame is the first level, so that offsets leave no trace.

    Parameters
    ----------
    analog : (sample, frame, channel) float array
        Signals.
    threshold : float
        Change that makes a spike, in units of the signal.
    frame_s : float
        Time from frame to frame, s.

    Returns
    -------
    list of SpikeTrains
        One per sample, of 2 · channels neurons: the ON neurons 0 … channels − 1, then the OFF
        neurons. The first frame is at 0 s, the end one frame after the last.

    Raises
    ------
    InputError
        The signals are not finite or have other dimensions, or threshold or time are not positive.

    References
    ----------
    Miskowicz 2006, Sensors 6:49 (send-on-delta sampling).

    Examples
    --------
    >>> ramp = np.array([0.0, 2.0, 0.0])[None, :, None]  # up by 2, down by 2; a frame each 0.1 s
    >>> (trains,) = encode_send_on_delta(ramp, 1.0, 0.1)
    >>> trains.of(0).round(3).tolist(), trains.of(1).round(3).tolist()
    ([0.05, 0.1], [0.15, 0.2])
    """
    analog = _checked(analog, threshold, frame_s)
    n_samples, n_frames, n_channels = analog.shape
    height = (analog - analog[:, :1]) / threshold  # in thresholds above the first level
    level = np.zeros((n_samples, n_channels))
    found = []
    for frame in range(1, n_frames):
        now = height[:, frame]
        up = np.maximum(np.floor(now + LEVEL_SLACK) - level, 0)
        down = np.maximum(level - np.ceil(now - LEVEL_SLACK), 0)
        found.append(_crossings(height[:, frame - 1], now, level, up, frame, +1))
        found.append(_crossings(height[:, frame - 1], now, level, down, frame, -1))
        level += up - down
    sample, neuron, time = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(sample, kind="stable")
    edges = np.searchsorted(sample[order], np.arange(n_samples + 1))
    parts = (order[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True))
    return [
        sorted_trains(time[part] * frame_s, neuron[part], 2 * n_channels, n_frames * frame_s)
        for part in parts
    ]


def restricted_load(data: bytes, where: str):
    """Read a pickle of numpy arrays and plain values; anything else in it is refused.

    Raises
    ------
    InputError
        If it names another class or function, or is damaged.
    """
    try:
        return _Restricted(io.BytesIO(data)).load()
    except _Forbidden as error:
        raise InputError(
            f"holds {error}, which could run code when it is read",
            where=where,
            remedy="Do not open it elsewhere; take the file from where it was published.",
        ) from None
    except (
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError),
        *(AttributeError, OverflowError, MemoryError, ImportError),
    ) as error:
        raise InputError(
            f"is damaged ({type(error).__name__})", where=where, remedy="Download it again."
        ) from error


class _Forbidden(Exception):
    pass


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise _Forbidden(f"{module}.{name}"[:80]) from None


def _checked(analog, threshold, frame_s) -> np.ndarray:
    where = "encode_send_on_delta"
    analog = np.asarray(analog)
    if analog.ndim != 3 or analog.dtype.kind not in "iuf" or analog.shape[1] < 2:
        raise InputError(
            f"is {analog.dtype} of shape {analog.shape}",
            where=f"{where}: analog",
            remedy="Give numbers (sample, frame, channel), two frames or more.",
        )
    bad = np.argwhere(~np.isfinite(analog))
    if len(bad):
        raise InputError(
            f"is NaN or infinite at (sample, frame, channel) = {tuple(bad[0].tolist())}",
            where=f"{where}: analog",
            remedy="Remove such samples.",
        )
    for name, value in (("threshold", threshold), ("frame_s", frame_s)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(
                f"is {value}", where=f"{where}: {name}", remedy="Give a positive number."
            )
    return analog.astype(np.float64)


def _crossings(before, now, level, count, frame: int, sign: int) -> tuple[np.ndarray, ...]:
    """Sample, neuron and time (frames) of the spikes from the frame before to this one."""
    sample, channel = np.nonzero(count)
    times = count[sample, channel].astype(np.int64)
    sample, channel = np.repeat(sample, times), np.repeat(channel, times)
    # 1, 2, … for the crossings of each signal
    first = np.repeat(np.cumsum(times) - times, times)
    crossed = level[sample, channel] + sign * (np.arange(times.sum()) - first + 1)
    a, b = before[sample, channel], now[sample, channel]
    share = np.clip((crossed - a) / (b - a), 0, 1)
    neuron = channel + (0 if sign > 0 else before.shape[1])
    return sample, neuron, frame - 1 + share
