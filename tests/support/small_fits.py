"""Every kind of model, fitted in seconds to the small recording."""

from __future__ import annotations

from functools import cache

from small_recording import small_recording

from neuromodels.fits.progress import Progress

#: Options with which a fit takes a second or two, for the command line and for Python.
CONVEX = {"history": 0.1, "temporal_basis": 6, "ridge": [1e-3], "smoothness": [0.0]}
NETWORK = {
    "history": 0.1,
    "temporal_basis": 6,
    "channels": [4, 4],
    "kernels": [3, 3],
    "epochs": 2,
    "batch_bins": 512,
    "segment_bins": 256,
}
#: How a fit is called by itself: nothing of it is kept or shown.
ALONE = {"seed": 0, "search_seed": 0, "store": None, "search_store": None, "progress": Progress()}
#: The second ln is the low-rank one; its window is the shortest, that of glm-coupled the longest.
LABELS = ("ln", "ln (2)", "glm", "glm-coupled", "retina-cnn")
LEAD_INS = (10, 5, 10, 15, 10)


def toml(tables: dict[str, dict]) -> str:
    """Options by model as the text of a configuration file."""
    lines = []
    for name, options in tables.items():
        lines.append(f'["{name}"]')
        lines += [f"{key} = {value}" for key, value in options.items()]
    return "\n".join(lines) + "\n"


@cache
def small_comparison():
    """All `LABELS`, one seed."""
    import neuromodels as nm

    window = {"history": 0.1, "temporal_basis": 6}
    models = [
        nm.models.ln(**window),
        nm.models.ln(history=0.05, temporal_basis=4, rank=2),
        nm.models.glm(**window, own_history=0.05, own_basis=3),
        nm.models.glm_coupled(
            **window, own_history=0.15, own_basis=3, coupling_history=0.03, coupling_basis=2
        ),
        nm.models.retina_cnn(),
    ]
    penalties = {"ridge": [1e-3], "smoothness": [0.0]}
    options = {"ln": penalties, "glm": penalties, "glm-coupled": penalties, "retina-cnn": NETWORK}
    return nm.compare(small_recording(), models, options=options)
