"""Several stimuli shown to the same neurons, as one recording."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neuromodels.datasets.building import build_recording
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording


def join_stimuli(recordings: Mapping[str, Recording]) -> Recording:
    """Put recordings of the same neurons that saw different stimuli into one recording.

    Parameters
    ----------
    recordings : dict of str to Recording
        By the name that the stimulus gets; of a recording that holds several stimuli, all are
        taken and named ``NAME_STIMULUS``.

    Returns
    -------
    Recording
        With all stimuli; what is known of the neurons and of the session is that of the first.

    Raises
    ------
    InputError
        No recording, other neurons, or other stored bins.

    Examples
    --------
    >>> import numpy as np
    >>> from neuromodels.datasets.arrays import recording_from_arrays
    >>> rng = np.random.default_rng(0)
    >>> bars = recording_from_arrays(
    ...     rng.random((500, 9, 1)), rng.poisson(1, (500, 2)), bin_width=0.010)
    >>> noise = recording_from_arrays(
    ...     rng.random((500, 9, 1)), rng.poisson(1, (500, 2)), bin_width=0.010)
    >>> join_stimuli({"bars": bars, "noise": noise}).stimuli
    ('bars', 'noise')
    """
    if not recordings:
        raise InputError("holds no recording", where="join_stimuli", remedy="Give at least one.")
    first_name, first = next(iter(recordings.items()))
    roles: dict[str, dict] = {}
    attrs: dict[str, dict] = {}
    for name, recording in recordings.items():
        _check(first_name, first, name, recording)
        stored = recording.at(recording.stored_bin_width)
        for stimulus in stored.stimuli:
            joined = name if len(stored.stimuli) == 1 else f"{name}_{stimulus}"
            attrs[joined] = dict(stored.tree[stimulus].attrs)
            roles[joined] = {}
            for role in stored.roles(stimulus):
                node = stored.role(role, stimulus)
                about_neurons = [c for c in node.coords if node[c].dims == ("neuron",)]
                roles[joined][role] = node.drop_vars(about_neurons)
    root = first.tree.to_dataset()
    about = {
        str(name): (coord.dims, coord.values, dict(coord.attrs))
        for name, coord in root.coords.items()
        if name != "neuron"
    }
    shared = {
        name: value
        for name, value in first.attrs.items()
        if name not in ("identity", "neuromodels_schema", "schema_version", "source")
    }
    return build_recording(
        roles,
        neurons=list(first.neurons),
        attrs=shared,
        stimulus_attrs=attrs,
        unit_metadata=about,
        source=first.source,
    )


def _check(first_name: str, first: Recording, name: str, recording: Recording) -> None:
    where = f"join_stimuli: {name}"
    if not np.array_equal(recording.neurons, first.neurons):
        raise InputError(
            f"holds other neurons than {first_name}",
            where=where,
            remedy="Join recordings of the same neurons, in the same order and with equal ids.",
        )
    if recording.stored_bin_width != first.stored_bin_width:
        raise InputError(
            f"has bins of {recording.stored_bin_width:g} s, {first_name} of "
            f"{first.stored_bin_width:g} s",
            where=where,
            remedy="Bin the responses of all stimuli alike.",
        )
