"""Recordings from sorted spikes and the stimulus that was shown beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from neuromodels.datasets.beside import movies_beside
from neuromodels.datasets.covariates import attach_covariates
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.labelled import labelled_movie
from neuromodels.datasets.objects import units_of
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.responses import Units
from neuromodels.datasets.sessions import Session, assemble

#: What says when frames were shown; a DataArray may say it itself.
TIMES = ("frame_times", "frame_rate", "triggers", "schedule")


def recording_from_spikes(
    spikes,
    stimulus,
    *,
    frame_times=None,
    frame_rate=None,
    start=None,
    triggers=None,
    frames_per_trigger=None,
    schedule=None,
    trials=None,
    test=None,
    bin_width=None,
    finest_bin_width=None,
    covariates=None,
    attrs: Mapping | None = None,
) -> Recording:
    """Make a recording from spikes in memory and the movie that was shown meanwhile.

    The spikes of the whole session and its movie go in as they are; training data and repeats
    are found in it, as in a file.

    Parameters
    ----------
    spikes : TsGroup, list of SpikeTrain, Segment, sorting, {id: array} or list of arrays
        Spike times in seconds on one clock (neo: in whatever unit they carry), one entry per
        neuron; see `units_of`.
    stimulus : array, DataArray, path, generator, or a list or dict of these
        Frames in the order shown: (frame,), (frame, y), (frame, y, x) or (frame, channel, y, x).
        The coordinate frame_time of a DataArray gives the onsets.
    frame_times : (frame,) array or file, s, optional
        Onset of every frame on the clock of the spikes. Or say it with `frame_rate` and `start`,
        with `triggers`, or with a `schedule`.
    frame_rate : float, Hz, optional
    start : float, s, optional
        Onset of the first frame.
    triggers : array or file, s, optional
        Times of the triggers; each stands for `frames_per_trigger` frames.
    frames_per_trigger : int, optional
    schedule : table or file, optional
        Which stimulus began when (stimulus, start, repeat).
    trials : csv, DataFrame or (trial, 2) array, s, optional
        Start and stop of every trial.
    test : str or list of (start, stop), optional
        Which part is the repeated test; by default it is found from the frames.
    bin_width : float or Fraction, s, optional
        Bins of the view that is returned (default: 1 ms).
    finest_bin_width : float or Fraction, s, optional
        Bins that spikes are counted in.
    covariates : dict, DataFrame or file, optional
        Running, pupil, ... on the clock of the spikes, as `attach_covariates` takes them.
    attrs : dict, optional
        Species, area, licence, ...

    Returns
    -------
    Recording
        `neuron` holds the ids of the units, other coordinates what is known about them.

    Raises
    ------
    InputError
        If spikes and stimulus do not belong together; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> movie = rng.integers(0, 2, (900, 4, 4))
    >>> spikes = {"a": np.sort(rng.uniform(0, 30, 200)), "b": np.sort(rng.uniform(0, 30, 90))}
    >>> recording_from_spikes(spikes, movie, frame_rate=30).neurons.tolist()
    ['a', 'b']
    """
    name = "recording_from_spikes"
    recording = record_units(
        units_of(spikes, f"{name}: spikes"),
        stimulus,
        source=name,
        attrs=attrs,
        test=test,
        bin_width=bin_width,
        finest_bin_width=finest_bin_width,
        frame_times=frame_times,
        frame_rate=frame_rate,
        start=start,
        triggers=triggers,
        frames_per_trigger=frames_per_trigger,
        schedule=schedule,
        trials=trials,
    )
    return recording if covariates is None else attach_covariates(recording, covariates)


def record_units(
    units: Units,
    stimulus,
    *,
    source: str,
    folder: Path | None = None,
    attrs: Mapping | None = None,
    identity: str | None = None,
    test=None,
    bin_width=None,
    finest_bin_width=None,
    **beside,
) -> Recording:
    """Join sorted units with the stimulus beside them; readers of sorted spikes end here.

    Parameters
    ----------
    units : Units
    stimulus, **beside
        What `beside.movies_beside` takes.
    source : str
        How messages begin: file, folder or call.
    folder : Path, optional
        Where names of files are looked for.
    test, bin_width, finest_bin_width
        As in `sessions.assemble`.
    """
    if stimulus is None and beside.get("schedule") is None:
        raise InputError(
            "is missing: spikes alone do not say what was shown",
            where=f"{source}: stimulus",
            remedy="Pass stimulus= (frames as an array, .npy, HDF5, a movie or a folder of "
            "images) with frame_times=, frame_rate=, triggers= or schedule=.",
        )
    timed = any(beside.get(name) is not None for name in TIMES)
    if isinstance(stimulus, xr.DataArray) and not timed:
        beside["frame_times"] = labelled_movie(stimulus, f"{source}: stimulus").onsets
    found = movies_beside(stimulus, where=source, folder=folder, span=units.span(), **beside)
    session = Session(
        source,
        units,
        list(found.movies),
        found.trials,
        attrs=dict(attrs or {}),
        notes=list(found.notes),
        identity=identity,
    )
    return assemble(session, test=test, bin_width=bin_width, finest_bin_width=finest_bin_width)
