"""neuromodels: fit models to neural recordings, compare them honestly, keep one labelled file.

>>> import neuromodels as nm
>>> recording = nm.sample_recording()
>>> recording.stimuli
('moving_bars',)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: Where each public name lives. Looked up on first use: the rooms bring torch and xarray, which
#: take seconds to import.
_PUBLIC = {
    "Recording": "neuromodels.datasets.recording",
    "open_recording": "neuromodels.datasets.opening",
    "recording_from_arrays": "neuromodels.datasets.arrays",
    "recording_from_spikes": "neuromodels.datasets.spikes",
    "ImageRecording": "neuromodels.datasets.image_recording",
    "align_clocks": "neuromodels.datasets.clocks",
    "to_clock": "neuromodels.datasets.clocks",
    "image_recording_from_arrays": "neuromodels.datasets.image_arrays",
    "join_stimuli": "neuromodels.datasets.joining",
    "attach_covariates": "neuromodels.datasets.covariates",
    "sample_recording": "neuromodels.datasets.sample",
    "convert": "neuromodels.datasets.converting",
    "InputError": "neuromodels.datasets.errors",
    "RecordingError": "neuromodels.datasets.errors",
    "OptionError": "neuromodels.options",
    "Fit": "neuromodels.fits.fit",
    "Comparison": "neuromodels.fits.comparison",
    "fit": "neuromodels.fits.compare",
    "compare": "neuromodels.fits.compare",
    "load": "neuromodels.fits.comparison",
    "predict": "neuromodels.fits.compare",
    "superspike_task": "neuromodels.datasets.sample.superspike",
    "read_spike_trains": "neuromodels.datasets.spike_train_files",
    "SpikeTrains": "neuromodels.datasets.spike_trains",
    "train_spikes": "neuromodels.fits.superspike.train",
    "SpikingRun": "neuromodels.fits.superspike.record",
    "reproduce": "neuromodels.fits.papers.reproduction",
    "alignment_test": "neuromodels.analysis.alignment",
    "inspect_recording": "neuromodels.analysis.inspection",
    "simulate_retina": "neuromodels.datasets.simulated.retina",
    "recovery": "neuromodels.fits.truth.recovery",
    "ComparisonSet": "neuromodels.fits.comparison_set",
}
#: Modules that are public as a whole.
_MODULES = {"models": "neuromodels.models", "stimuli": "neuromodels.datasets.stimuli"}

__all__ = sorted([*_PUBLIC, *_MODULES])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("neuromodels")
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _PUBLIC:
        raise AttributeError(f"module 'neuromodels' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
