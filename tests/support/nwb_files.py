"""NWB files as labs write them: made by pynwb alone, with the truth that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Checkerboard:
    """What `write_checkerboard_nwb` put into its file."""

    path: Path
    movie: np.ndarray  # (frame, y, x) uint8, 0 or 255
    onsets: np.ndarray  # (frame,) s
    spike_times: list[np.ndarray]  # per neuron, s; the last neuron is silent
    filters: np.ndarray  # (neuron, lag, y, x); lag in frames, 0 is the frame on screen
    log_rate: np.ndarray  # (neuron,) log Hz without stimulus
    rates: np.ndarray  # (frame, neuron) Hz while each frame is on screen
    trials: list[tuple[float, float, str]]  # start, stop (s), kind: "unique" or "repeat"


def write_nwb(
    path: str | Path,
    *,
    frames: np.ndarray | None = None,
    spike_times: Sequence[np.ndarray] | None = None,
    rate: float | None = None,
    timestamps: np.ndarray | None = None,
    start: float = 0.0,
    trials: Sequence[tuple] = (),
    trial_columns: Sequence[str] = (),
    epochs: Sequence[tuple] = (),
    series: Sequence = (),
    name: str = "movie",
    unit_columns: dict[str, Sequence] | None = None,
    obs_intervals: Sequence | None = None,
) -> Path:
    """Write an NWB file with pynwb.

    Parameters
    ----------
    frames : (frame, y, x) or (frame, y, x, rgb)
        Written in the order of the NWB schema: (frame, x, y[, rgb]).
    spike_times : list of arrays, s; None leaves the units table out
    rate, start : Hz and s; or `timestamps`, s
    trials : (start, stop, *values of trial_columns)
    epochs : (start, stop, tags)
    series : further pynwb series to present
    """
    from pynwb import NWBHDF5IO, NWBFile
    from pynwb.file import Subject
    from pynwb.image import ImageSeries

    nwb = NWBFile(
        session_description="checkerboard",
        identifier="synthetic",
        session_start_time=datetime(2024, 1, 1, tzinfo=UTC),
    )
    nwb.subject = Subject(subject_id="m1", species="Mus musculus", age="P60D", sex="F")
    if frames is not None:
        timing = {"timestamps": timestamps}
        if timestamps is None:
            timing = {"rate": rate, "starting_time": start}
        nwb.add_stimulus(
            ImageSeries(name=name, data=np.swapaxes(frames, 1, 2), unit="grey value", **timing)
        )
    for item in series:
        nwb.add_stimulus(item)
    for column, values in (unit_columns or {}).items():
        nwb.add_unit_column(column, f"{column} of the unit")
        assert len(values) == len(spike_times)
    for i, times in enumerate(spike_times if spike_times is not None else ()):
        extra = {column: values[i] for column, values in (unit_columns or {}).items()}
        if obs_intervals is not None:
            extra["obs_intervals"] = obs_intervals[i]
        nwb.add_unit(spike_times=times, id=i + 10, **extra)
    for column in trial_columns:
        nwb.add_trial_column(column, f"{column} of the trial")
    for begin, stop, *values in trials:
        extra = dict(zip(trial_columns, values, strict=True))
        nwb.add_trial(start_time=begin, stop_time=stop, **extra)
    for begin, stop, tags in epochs:
        nwb.add_epoch(begin, stop, tags)
    with NWBHDF5IO(str(path), "w") as io:
        io.write(nwb)
    return Path(path)


def checkerboard(n_frames: int, seed: int, height: int = 6, width: int = 8) -> np.ndarray:
    """Binary white noise, (frame, y, x) uint8 of 0 and 255."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, (n_frames, height, width), dtype=np.uint8) * 255


def ln_filters(n_neurons: int, height: int, width: int, n_lags: int = 8) -> np.ndarray:
    """Biphasic in time, Gaussian in space: (neuron, lag, y, x)."""
    lag = np.arange(n_lags)
    time = np.exp(-((lag - 2) ** 2) / 2) - 0.5 * np.exp(-((lag - 5) ** 2) / 4)
    y, x = np.mgrid[:height, :width]
    filters = np.empty((n_neurons, n_lags, height, width))
    for i in range(n_neurons):
        cy = (i + 0.5) * height / n_neurons
        cx = (n_neurons - i - 0.5) * width / n_neurons
        space = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 2)
        full = time[:, None, None] * space
        filters[i] = 0.9 * (-1) ** i * full / np.linalg.norm(full)
    return filters


def ln_spikes(
    movie: np.ndarray, onsets: np.ndarray, period: float, filters, log_rate, seed: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Poisson spikes of rate exp(log_rate + filter * contrast) Hz, constant during a frame."""
    rng = np.random.default_rng(seed)
    contrast = movie.reshape(len(movie), -1) / 127.5 - 1
    drive = np.zeros((len(movie), len(filters)))
    for lag in range(filters.shape[1]):
        weights = filters[:, lag].reshape(len(filters), -1)
        drive[lag:] += contrast[: len(movie) - lag] @ weights.T
    rates = np.exp(log_rate + drive)
    counts = rng.poisson(rates * period)
    spike_times = []
    for count in counts.T:
        frame = np.repeat(np.arange(len(movie)), count)
        spike_times.append(np.sort(onsets[frame] + rng.uniform(0, period, frame.size)))
    return spike_times, rates


def write_checkerboard_nwb(
    path: str | Path,
    *,
    n_unique: int = 24,
    unique_s: float = 10.0,
    n_repeats: int = 20,
    repeat_s: float = 8.0,
    frame_rate: float = 30.0,
    n_neurons: int = 4,
    seed: int = 0,
    trials: bool = True,
    jitter: float = 0.0,
) -> Checkerboard:
    """A retina that looks at a checkerboard: unrepeated trials, repeats between them, LN neurons.

    6 x 8 pixels (y, x) at 30 Hz; 4 minutes unrepeated in 24 trials, and one 8 s clip in each of
    20 trials between them. `n_neurons` LN neurons with known filters and one silent unit. The
    trials table has a column `kind`: "unique" or "repeat".

    Parameters
    ----------
    trials : bool
        False leaves the trials table out.
    jitter : float, s
        Standard deviation of frame onsets; stores timestamps instead of a rate.
    """
    n_long, n_clip = round(unique_s * frame_rate), round(repeat_s * frame_rate)
    unique = checkerboard(n_unique * n_long, seed).reshape(n_unique, n_long, 6, 8)
    clip = checkerboard(n_clip, seed + 1)
    order = []
    for i in range(max(n_unique, n_repeats)):
        order += [unique[i]] if i < n_unique else []
        order += [clip] if i < n_repeats else []
    movie = np.concatenate(order)
    kinds = ["repeat" if part is clip else "unique" for part in order]
    onsets = 0.5 + np.arange(len(movie)) / frame_rate
    if jitter:
        onsets = onsets + np.random.default_rng(seed + 2).normal(0, jitter, onsets.size)
    edges = np.cumsum([0, *(len(part) for part in order)])
    starts = np.append(onsets, onsets[-1] + 1 / frame_rate)[edges]
    rows = [
        (float(a), float(b), kind)
        for a, b, kind in zip(starts[:-1], starts[1:], kinds, strict=True)
    ]
    filters = ln_filters(n_neurons, *movie.shape[1:])
    log_rate = np.log(np.linspace(8, 16, n_neurons))
    spike_times, rates = ln_spikes(movie, onsets, 1 / frame_rate, filters, log_rate, seed + 3)
    # Spikes while nothing was shown: before the movie and after it.
    spike_times = [np.concatenate([[0.1, 0.2], t, [t[-1] + 5.0]]) for t in spike_times]
    spike_times.append(np.zeros(0))
    timing = {"timestamps": onsets} if jitter else {"rate": frame_rate, "start": 0.5}
    write_nwb(
        path,
        frames=movie,
        spike_times=spike_times,
        trials=rows if trials else (),
        trial_columns=("kind",) if trials else (),
        name="checkerboard",
        unit_columns={
            "quality": ["good"] * n_neurons + ["silent"],
            "depth": np.linspace(0.0, 40.0, n_neurons + 1),
        },
        **timing,
    )
    return Checkerboard(
        Path(path), movie, onsets, spike_times, filters, log_rate, rates, rows if trials else []
    )


def new_nwb(spike_times: Sequence[np.ndarray] = ()):
    """An empty session of pynwb with sorted units, to which tests add what they need."""
    from pynwb import NWBFile

    nwb = NWBFile(
        session_description="test",
        identifier="synthetic",
        session_start_time=datetime(2024, 1, 1, tzinfo=UTC),
    )
    for i, times in enumerate(spike_times):
        nwb.add_unit(spike_times=times, id=i)
    return nwb


def save_nwb(nwb, path: str | Path) -> Path:
    """Write a session with pynwb alone."""
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(path), "w") as io:
        io.write(nwb)
    return Path(path)


def presentations_table(name: str, rows: Sequence[dict]):
    """A table in the layout of the Allen Visual Coding files: one row per frame or image."""
    from pynwb.epoch import TimeIntervals

    table = TimeIntervals(name=name, description="what was shown when")
    for column in rows[0]:
        if column not in ("start_time", "stop_time"):
            table.add_column(column, column)
    for row in rows:
        table.add_row(**row)
    return table


def add_traces(nwb, traces: dict[str, np.ndarray], *, rate=None, timestamps=None, ids=None):
    """Add {"DfOverF": (sample, cell), ...} in the layout of ophys files, with one segmentation."""
    from pynwb.device import Device
    from pynwb.ophys import (
        DfOverF,
        Fluorescence,
        ImageSegmentation,
        OpticalChannel,
        RoiResponseSeries,
    )

    n_cells = next(iter(traces.values())).shape[1]
    device = Device(name="microscope")
    nwb.add_device(device)
    plane = nwb.create_imaging_plane(
        name="plane",
        optical_channel=OpticalChannel(name="green", description="g", emission_lambda=500.0),
        description="plane",
        device=device,
        excitation_lambda=920.0,
        indicator="GCaMP6f",
        location="V1",
    )
    module = nwb.create_processing_module("ophys", "two-photon imaging")
    segmentation = ImageSegmentation()
    module.add(segmentation)
    table = segmentation.create_plane_segmentation("rois", plane, "cells")
    for i in range(n_cells):
        table.add_roi(pixel_mask=[(i, i, 1.0)], id=i if ids is None else ids[i])
    timing = {"rate": rate} if timestamps is None else {"timestamps": timestamps}
    for name, values in traces.items():
        region = table.create_roi_table_region("cells", region=list(range(n_cells)))
        series = RoiResponseSeries(name=name, data=values, rois=region, unit="n.a.", **timing)
        kind = DfOverF if name == "DfOverF" else Fluorescence
        module.add(kind(name=name, roi_response_series=[series]))
    return nwb
