"""Recordings from arrays: the way in for Python users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import xarray as xr

from neuromodels.datasets.array_timing import check_lengths, last_frame, refused, timed_movie
from neuromodels.datasets.binning import (
    bin_edges,
    bin_intervals,
    bin_spike_times,
    exact_bin_width,
    frames_on_screen,
    whole_bins,
)
from neuromodels.datasets.building import (
    build_recording,
    build_role,
    concatenate_roles,
    stack_trials,
)
from neuromodels.datasets.covariate_arrays import add_covariates, same_covariates
from neuromodels.datasets.labelled import (
    labelled_response,
    name_neurons,
    same_neurons,
    stated_background,
    stated_width,
    stimulus_facts,
)
from neuromodels.datasets.objects import is_positional, trial_units, units_of
from neuromodels.datasets.recording import KINDS, Recording


def recording_from_arrays(
    stimulus,
    counts=None,
    *,
    bin_width=None,
    spike_times=None,
    frame_rate: float | None = None,
    frame_times=None,
    blocks=None,
    heldout_stimulus=None,
    heldout_counts=None,
    heldout_spike_times=None,
    heldout_frame_times=None,
    heldout_blocks=None,
    test_stimulus=None,
    test_counts=None,
    test_spike_times=None,
    test_frame_times=None,
    repeats_stimulus=None,
    repeats_counts=None,
    covariates=None,
    heldout_covariates=None,
    test_covariates=None,
    covariate_units=None,
    neurons: Sequence[str] | None = None,
    kind: str | None = None,
    response_units: str | None = None,
    stimulus_name: str = "stimulus",
    stimulus_units: str | None = None,
    background: float | None = None,
    pixel_units: str | None = None,
    attrs: Mapping | None = None,
) -> Recording:
    """Make a recording from a movie and the spikes that it evoked.

    Parameters
    ----------
    stimulus : (frame,), (frame, y), (frame, y, x) or (frame, channel, y, x)
        Unrepeated movie for training: full field, bars, grey, or with channels. An
        `xarray.DataArray` goes by the names of its dimensions, in any order: frame (or time),
        channel, y, x; its coordinates give frame_times and the positions of the pixels, its
        attributes the background and what is known of the stimulus (generator, seed, ...).
    counts : (bin, neuron), optional
        Spike counts (or rates, or traces, see `kind`). Give these or `spike_times`. Dimensions
        of a DataArray: time, neuron and, with repeats, trial; its coordinates give the neurons,
        bin_width and blocks.
    bin_width : float or Fraction, s
        Width of the bins. With `spike_times` the default is 1 ms.
    spike_times : list of arrays, {id: array}, TsGroup, list of SpikeTrain, ..., s, optional
        One array per neuron, or an object that holds them (see `objects.units_of`), on the clock
        of `frame_times`. `neurons` are the ids of the object.
    frame_rate : float, Hz, optional
        Frames per second, the first at time 0. Without it and without `frame_times`, there
        must be one frame per bin.
    frame_times : (frame,), s, optional
        Onset of every frame; for displays that drop or delay frames.
    blocks : optional
        Where time jumps. With `counts`: (bin,) integer labels. With `spike_times`: a list of
        (start, stop) in seconds.
    heldout_stimulus, heldout_counts, heldout_spike_times, heldout_frame_times, heldout_blocks
        Unrepeated data that no fit may see. Left out: fits hold out part of the training data.
    test_stimulus, test_counts, test_spike_times, test_frame_times
        A repeated movie. Counts are (trial, bin, neuron), or a list of (bin, neuron) whose
        lengths may differ. Spike times are a list over trials of lists over neurons, on the
        clock of `test_frame_times` (with `frame_rate`: from the start of the trial). Several
        movies: a list of movies and a list of their counts (or spike times).
    repeats_stimulus, repeats_counts
        More repeats, for couplings; the stimulus may be unknown (None).
    covariates, heldout_covariates, test_covariates : optional
        Running speed, pupil, ... in the bins of each role: (bin, covariate), a DataArray (time,
        covariate), or {name: (bin,)}; {name: (times, values)} is sampled as you like, in seconds
        on the clock of the bins. Of repeats: (trial, bin, covariate) or {name: (trial, bin)}.
        NaN where unknown. See `attach_covariates` for series of a whole session.
    covariate_units : str or dict, optional
        Of all covariates, or of each by name.
    neurons : list of str, optional
        Unique identifiers (default: those of spikes or counts, else "0", "1", ...).
    kind : {"count", "rate", "trace"}
        What the response is: it selects losses and metrics (default: count).
    response_units, stimulus_units, pixel_units : str, optional
        Units of the response, of the frames' values ("arbitrary"), and of the pixel positions
        ("pixel").
    background : float, optional
        What the screen shows in bins without a frame (default: what a labelled `stimulus` says,
        else 0).
    attrs : dict, optional
        Species, area, licence, source, ...

    Returns
    -------
    Recording
        `validate()` reports what is questionable in it.

    Raises
    ------
    InputError
        If shapes disagree; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> movie = rng.integers(0, 2, (1000, 8, 8))
    >>> spikes = rng.poisson(0.1, (1000, 3))
    >>> recording_from_arrays(movie, spikes, bin_width=0.010)
    arrays   3 neurons   10 ms bins   8 (y) x 8 (x) px at 100 Hz
      train   10 s                   1 block
    """
    every_count = (counts, heldout_counts, test_counts, repeats_counts)
    if kind is None:
        kind = getattr(counts, "attrs", {}).get("kind", "count")
    if kind not in KINDS:
        raise refused("kind", f"is {kind!r}", f"Use one of: {', '.join(KINDS)}.")
    if bin_width is None:
        bin_width = next((width for c in every_count if (width := stated_width(c))), None)
    if bin_width is None:
        if counts is not None or spike_times is None:
            raise refused(
                "bin_width", "is missing", "Say how wide the bins are, s: bin_width=0.010."
            )
        bin_width = Fraction(1, 1000)
    width = exact_bin_width(bin_width, "recording_from_arrays: bin_width")
    common = {
        "bin_width": width,
        "frame_rate": frame_rate,
        "kind": kind,
        "stimulus_units": stimulus_units,
        "response_units": response_units,
        "pixel_units": pixel_units,
    }
    roles = {
        "train": _unrepeated("", stimulus, counts, spike_times, frame_times, blocks, common),
    }
    roles["train"] = _with_covariates(roles["train"], "", covariates, covariate_units)
    if any(item is not None for item in (heldout_stimulus, heldout_counts, heldout_spike_times)):
        roles["heldout"] = _unrepeated(
            "heldout_",
            heldout_stimulus,
            heldout_counts,
            heldout_spike_times,
            heldout_frame_times,
            heldout_blocks,
            common,
        )
        roles["heldout"] = _with_covariates(
            roles["heldout"], "heldout_", heldout_covariates, covariate_units
        )
    if any(item is not None for item in (test_stimulus, test_counts, test_spike_times)):
        said = [test_stimulus, test_counts, test_spike_times, test_frame_times, test_covariates]
        roles["test"] = _repeated("test_", *said, covariate_units, common)
    if repeats_counts is not None:
        roles["repeats"] = _repeated(
            "repeats_", repeats_stimulus, repeats_counts, None, None, None, None, common
        )
    elif repeats_stimulus is not None:
        raise refused("repeats_counts", "is missing", "Give it along with repeats_stimulus.")
    movies = {"train": stimulus, "heldout": heldout_stimulus, "test": test_stimulus}
    for role, movie in (movies | {"repeats": repeats_stimulus}).items():
        if role in roles and "stimulus" in roles[role]:
            roles[role]["stimulus"].attrs.update(stimulus_facts(movie))
    if background is None:
        said = stated_background(stimulus, "recording_from_arrays: stimulus: background")
        background = 0.0 if said is None else said
    for prefix, given in (("heldout_", heldout_covariates), ("test_", test_covariates)):
        if given is not None and prefix[:-1] not in roles:
            raise refused(f"{prefix}covariates", "has no stimulus", f"Give {prefix}stimulus, too.")
    names, roles = same_neurons(roles, "recording_from_arrays")
    roles, said = same_covariates(roles, "recording_from_arrays")
    attrs, metadata = dict(attrs or {}), {}
    if said:
        attrs["notes"] = [*attrs.get("notes", []), *said]
    if spike_times is not None:
        units = units_of(spike_times, "recording_from_arrays: spike_times")
        metadata = units.metadata
        attrs["notes"] = [*attrs.get("notes", []), *units.notes]
    return build_recording(
        {stimulus_name: roles},
        neurons=names if neurons is None else neurons,
        attrs={name: value for name, value in attrs.items() if name != "notes" or value},
        unit_metadata=metadata,
        stimulus_attrs={
            stimulus_name: {"background": background}
            | {key: fact for key, fact in stimulus_facts(stimulus).items() if key == "generator"}
        },
    )


def _unrepeated(prefix, stimulus, counts, spike_times, frame_times, blocks, common) -> xr.Dataset:
    if stimulus is None:
        raise refused(f"{prefix}stimulus", "is missing", "Give the movie along with the responses.")
    if (counts is None) == (spike_times is None):
        both = "are both missing" if counts is None else "are both given"
        raise refused(f"{prefix}counts, {prefix}spike_times", both, "Give exactly one of them.")
    stimulus, onsets, common = timed_movie(prefix, stimulus, frame_times, common)
    width = common["bin_width"]
    attrs = {}
    if counts is not None:
        said = labelled_response(counts, f"recording_from_arrays: {prefix}counts", width)
        names, counts = said.neurons, np.asarray(said.values)
        common["response_units"] = common["response_units"] or said.units
        if counts.ndim != 2:
            raise refused(
                f"{prefix}counts", f"has shape {counts.shape}", "It must be (bin, neuron)."
            )
        time = bin_edges(0.0, width, len(counts))[:-1] if said.time is None else said.time
        block = said.block if blocks is None else np.asarray(blocks)
        if block is not None and block.shape != (len(counts),):
            raise refused(
                f"{prefix}blocks",
                f"has shape {block.shape} for {len(counts)} bins",
                "Give one integer label per bin.",
            )
        if onsets is None and len(stimulus) != len(counts):
            raise refused(
                f"{prefix}stimulus",
                f"has {len(stimulus)} frames but {prefix}counts has {len(counts)} bins",
                "Give frame_rate= (Hz) or frame_times= (s), or one frame per bin.",
            )
        if onsets is not None:
            check_lengths(prefix, onsets, len(counts), width, said.time)
    else:
        if onsets is None:
            raise refused(
                "frame_rate", "is missing", "With spike times give frame_rate= or frame_times=."
            )
        units = units_of(spike_times, f"recording_from_arrays: {prefix}spike_times")
        names = None if is_positional(spike_times) else units.ids
        end = onsets[-1] + last_frame(onsets)
        intervals = [(float(onsets[0]), float(end))] if blocks is None else blocks
        counts, time, block, outside = bin_intervals(units.spike_times, intervals, width)
        attrs["spikes_outside"] = outside
    shown = np.arange(len(time)) if onsets is None else frames_on_screen(onsets, time, width)
    role = build_role(
        stimulus,
        counts,
        time=time,
        block=block,
        frame_of_bin=shown,
        frame_time=time if onsets is None else onsets,
        attrs=attrs,
        where=f"recording_from_arrays: {prefix}stimulus",
        **common,
    )
    return name_neurons(role, names, f"recording_from_arrays: {prefix}counts")


def _repeated(
    prefix, stimulus, counts, spike_times, frame_times, covariates, units, common
) -> xr.Dataset:
    if isinstance(stimulus, (list, tuple)):
        per_movie = (("counts", counts), ("spike_times", spike_times), ("covariates", covariates))
        for name, given in per_movie:
            if given is not None and len(given) != len(stimulus):
                raise refused(
                    f"{prefix}{name}",
                    f"has {len(given)} entries for {len(stimulus)} movies",
                    "A list of movies needs a list of responses, one entry per movie.",
                )
        movies = []
        for i, movie in enumerate(stimulus):
            onsets = None if frame_times is None else frame_times[i]
            count = None if counts is None else counts[i]
            spikes = None if spike_times is None else spike_times[i]
            told = None if covariates is None else covariates[i]
            movies.append(_repeated(prefix, movie, count, spikes, onsets, told, units, common))
        parts = {f"{prefix}stimulus[{i}]": movie for i, movie in enumerate(movies)}
        names, parts = same_neurons(parts, "recording_from_arrays")
        joined = concatenate_roles(list(parts.values()), f"recording_from_arrays: {prefix}stimulus")
        return name_neurons(joined, names, f"recording_from_arrays: {prefix}counts")
    if (counts is None) == (spike_times is None):
        both = "are both missing" if counts is None else "are both given"
        raise refused(f"{prefix}counts, {prefix}spike_times", both, "Give exactly one of them.")
    stimulus, onsets, common = timed_movie(prefix, stimulus, frame_times, common)
    width = common["bin_width"]
    where = f"recording_from_arrays: {prefix}counts"
    said = labelled_response(counts, where, width)
    names, counts = said.neurons, said.values
    common["response_units"] = common["response_units"] or said.units
    if stimulus is None:
        if prefix == "test_":
            raise refused("test_stimulus", "is missing", "Give the movie along with the responses.")
        role = build_role(None, counts, time=said.time, block=said.block, where=where, **common)
        return name_neurons(role, names, f"recording_from_arrays: {prefix}counts")
    attrs = {}
    start = 0.0 if onsets is None else float(onsets[0])
    if spike_times is not None:
        if onsets is None:
            raise refused(
                "frame_rate", "is missing", "With spike times give frame_rate= or frame_times=."
            )
        n_bins = whole_bins(onsets[-1] + last_frame(onsets) - start, width)
        names, trials = trial_units(spike_times, f"recording_from_arrays: {prefix}spike_times")
        binned = [bin_spike_times(trial, start, width, n_bins) for trial in trials]
        counts = np.zeros((len(binned), n_bins, len(trials[0]) if trials else 0), dtype=np.int64)
        for i, (trial, _) in enumerate(binned):
            counts[i] = trial
        attrs["spikes_outside"] = np.sum([lost for _, lost in binned], axis=0)
    counts = stack_trials(counts, where)
    n_bins = counts.shape[1]
    if onsets is None and len(stimulus) != n_bins:
        raise refused(
            f"{prefix}stimulus",
            f"has {len(stimulus)} frames but {prefix}counts has {n_bins} bins",
            "Give frame_rate= (Hz) or frame_times= (s), or one frame per bin.",
        )
    if onsets is not None and spike_times is None:
        check_lengths(prefix, onsets, n_bins, width, said.time)
    time = bin_edges(start, width, n_bins)[:-1] if said.time is None else said.time
    shown = np.arange(n_bins) if onsets is None else frames_on_screen(onsets, time, width)
    role = build_role(
        stimulus,
        counts,
        time=time,
        block=said.block,
        frame_of_bin=shown,
        frame_time=time if onsets is None else onsets,
        attrs=attrs,
        where=where,
        **common,
    )
    role = name_neurons(role, names, f"recording_from_arrays: {prefix}counts")
    return _with_covariates(role, prefix, covariates, units)


def _with_covariates(role: xr.Dataset, prefix: str, given, units) -> xr.Dataset:
    where = f"recording_from_arrays: {prefix}covariates"
    return add_covariates(role, given, where, units)
