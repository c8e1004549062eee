"""Frames of mp4, avi and other videos, decoded when they are asked for (extra `video`: PyAV)."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.lazy_movies import MovieReader, movie_variable

DAMAGED = "The file is damaged: copy or export it again, losslessly if you can."
# Formats that keep an index of key frames. After a seek in others, such as MPEG program streams,
# frames come with wrong time stamps; they are decoded from the beginning.
INDEXED = {"mov", "mp4", "matroska", "webm", "avi"}
LARGEST_SIDE = 2**14  # pixels; no display has more


def video(path: Path, where: str, colour: bool = False) -> xr.Variable:
    """Frames of a video as uint8, grey (its luma) or RGB.

    Parameters
    ----------
    path : Path
    where : str
        For messages.
    colour : bool
        (frame, channel, y, x) with red, green and blue instead of (frame, y, x).

    Returns
    -------
    xarray.Variable
        Its attribute `frame_rate` is what the file says, Hz: not necessarily what was displayed.

    Raises
    ------
    InputError
        If PyAV is not installed, or the file holds no video or is damaged.

    Notes
    -----
    A lossy codec changes grey levels; what was on the display is what that video shows when it is
    decoded, which is what is read here.
    """
    reader = _Video(path, where, colour)
    about = {"source": path.name, "units": "grey level (0-255)"}
    if reader.frame_rate:
        about["frame_rate"] = reader.frame_rate
    if colour:
        about["units"] = "level (0-255)"
    return movie_variable(reader, about)


class _Video(MovieReader):
    """Any run of frames is decoded from the key frame before it.

    Packets tell the time stamps of all frames without decoding. Where they do not, frames are
    counted by decoding once. There, and in formats without an index, each run is decoded from the
    beginning: right, but slow.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, where: str, colour: bool):
        self._path, self._where = path, where
        self._format = "rgb24" if colour else "gray"
        with self._stream() as (container, stream):
            if stream.codec_context is None:
                raise InputError(
                    "is coded in a way that PyAV cannot decode", where=where, remedy=DAMAGED
                )
            rate = stream.average_rate or stream.guessed_rate
            self.frame_rate = float(rate) if rate else None
            size = (stream.codec_context.height, stream.codec_context.width)
            self._seekable = not INDEXED.isdisjoint(container.format.name.split(","))
            packets = [
                (p.pts, p.dts if p.dts is not None else p.pts, p.is_keyframe)
                for p in container.demux(stream)
                if p.size
            ]
        stamps = [packet[0] for packet in packets]
        self._stamps = None
        if stamps and None not in stamps and len(set(stamps)) == len(stamps):
            self._stamps = np.sort(np.asarray(stamps, dtype=np.int64))
            keys = sorted((pts, dts) for pts, dts, key in packets if key)
            self._keys = np.asarray(keys, dtype=np.int64).reshape(-1, 2)
        n_frames = len(stamps) if self._stamps is not None else self._count()
        if not n_frames or min(size) < 1 or max(size) > LARGEST_SIDE:
            said = f" ({n_frames} frames of {size[1]} x {size[0]} pixels)"
            raise InputError(f"holds no frames{said}", where=where, remedy=DAMAGED)
        self.shape = (n_frames, 3, *size) if colour else (n_frames, *size)

    def read(self, start: int, stop: int) -> np.ndarray:
        frames = np.empty((stop - start, *self.shape[1:]), dtype=np.uint8)
        there = np.zeros(stop - start, dtype=bool)
        for key in self._keys_before(start):
            if self._decode(start, stop, key, frames, there):
                return frames
        lost = start + int(np.argmin(there))
        raise InputError(
            f"frame {lost} cannot be decoded ({np.count_nonzero(~there)} such frames; counted "
            "from 0)",
            where=self._where,
            remedy=DAMAGED,
        )

    def _keys_before(self, start: int) -> list[int | None]:
        """Key frames to decode from: the last one, the one before it, the beginning (None)."""
        if self._stamps is None or not self._seekable:
            return [None]
        last = int(np.searchsorted(self._keys[:, 0], self._stamps[start], side="right")) - 1
        return [*(key for key in (last, last - 1) if key > 0), None]

    def _decode(self, start, stop, key: int | None, frames, there) -> bool:
        """Fill in frames decoded from a key frame on; whether all of them are there."""
        there[:] = False
        with self._stream() as (container, stream):
            if key is not None:
                container.seek(int(self._keys[key, 1]), stream=stream, backward=True)
            landed = False
            for counted, frame in enumerate(container.decode(stream)):
                index = self._index(frame, counted)
                if index is None:
                    continue
                if not landed and key is not None and frame.pts > self._keys[key, 0]:
                    # Some formats seek to a later key frame; what is decoded before it is no
                    # picture, because the frames that it was predicted from are missing.
                    return False
                landed = True
                if start <= index < stop:
                    frames[index - start] = self._picture(frame, index)
                    there[index - start] = True
                if index >= stop - 1 and there.all():
                    break
        return bool(there.all())

    def _index(self, frame, counted: int) -> int | None:
        if self._stamps is None:
            return counted
        if frame.pts is None:
            return None
        index = int(np.searchsorted(self._stamps, frame.pts))
        there = index < len(self._stamps) and self._stamps[index] == frame.pts
        return index if there else None

    def _picture(self, frame, index: int) -> np.ndarray:
        values = frame.to_ndarray(format=self._format)
        values = np.moveaxis(values, 2, 0) if values.ndim == 3 else values
        if values.shape != self.shape[1:]:
            raise InputError(
                f"frame {index} has another size than the first",
                where=self._where,
                remedy="Give a video of one size.",
            )
        return values

    def _count(self) -> int:
        with self._stream() as (container, stream):
            return sum(1 for _ in container.decode(stream))

    @contextmanager
    def _stream(self):
        try:
            import av
        except ImportError:
            raise InputError(
                "is a video, and PyAV, which reads it, is not installed",
                where=self._where,
                remedy="Install it: pip install 'neuromodels[video]'.",
            ) from None
        try:
            # As a file and not as a path: no address and no list of other files is opened.
            with self._path.open("rb") as file, av.open(file, "r") as container:
                if not container.streams.video:
                    raise InputError("holds no video", where=self._where, remedy=DAMAGED)
                yield container, container.streams.video[0]
        except (av.error.FFmpegError, OSError, ValueError, EOFError) as error:
            if isinstance(error, InputError):
                raise
            said = (str(error).splitlines() or [type(error).__name__])[0][:100]
            raise InputError(
                f"cannot be decoded ({said})", where=self._where, remedy=DAMAGED
            ) from error
