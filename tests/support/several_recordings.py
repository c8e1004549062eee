"""Three small recordings of two animals, and one call that fits them all."""

from __future__ import annotations

from functools import cache

from small_fits import CONVEX, NETWORK
from small_recording import small_recording

MODELS = ("ln", "retina-cnn-shared")
#: Those of "retina-cnn" serve the shared core too.
OPTIONS = {"ln": CONVEX, "retina-cnn": NETWORK | {"channels": [2, 3]}}
ANIMALS = ("m1", "m1", "m2")


def recordings():
    """Three cells each; the first two are of one animal."""
    found = [small_recording(n_bins=200, n_trials=4, seed=seed) for seed in range(len(ANIMALS))]
    for recording, animal in zip(found, ANIMALS, strict=True):
        recording.tree.attrs["animal"] = animal
    return found


@cache
def small_set():
    """All `MODELS` on all recordings."""
    import neuromodels as nm

    return nm.compare(recordings(), MODELS, options=OPTIONS)
