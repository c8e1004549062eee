"""Kilosort/Phy folders written with plain numpy and text files, as the programs lay them out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

SAMPLE_RATE = 30_000


def spike_samples(
    clusters: Mapping[int, int], seconds: float, seed: int = 0
) -> dict[int, np.ndarray]:
    """Sorted samples at which each cluster fired; `clusters` says how often."""
    rng = np.random.default_rng(seed)
    last = int(seconds * SAMPLE_RATE)
    return {c: np.sort(rng.choice(last, size=n, replace=False)) for c, n in clusters.items()}


def write_phy(
    folder: Path,
    samples: Mapping[int, np.ndarray],
    *,
    groups: Mapping[int, str] | None = None,
    templates: Mapping[int, int] | None = None,
    n_templates: int | None = None,
    sample_rate: object = SAMPLE_RATE,
    dtype: str = "uint64",
    column: bool = True,
) -> Path:
    """A folder as Phy leaves it.

    Parameters
    ----------
    samples : {cluster: samples}
    groups : {cluster: label}, optional
        Content of cluster_group.tsv; None writes none.
    templates : {cluster: template}, optional
        Template of the spikes of each cluster (default: its own number).
    n_templates : int, optional
        Templates in templates.npy, with or without spikes.
    sample_rate : optional
        As it stands in params.py; None writes no such line.
    dtype : str
        Of spike_times.npy.
    column : bool
        (spike, 1) as MATLAB writes it, or (spike,).
    """
    folder.mkdir(parents=True, exist_ok=True)
    times = np.concatenate([np.asarray(s) for s in samples.values()])
    clusters = np.concatenate([np.full(len(s), c) for c, s in samples.items()])
    order = np.argsort(times, kind="stable")
    shape = (-1, 1) if column else (-1,)
    np.save(folder / "spike_times.npy", times[order].astype(dtype).reshape(shape))
    np.save(folder / "spike_clusters.npy", clusters[order].astype(np.int32))
    templates = templates or {}
    own = np.array([templates.get(int(c), int(c)) for c in clusters[order]], dtype=np.uint32)
    np.save(folder / "spike_templates.npy", own.reshape(shape))
    n_templates = n_templates or int(own.max()) + 1
    np.save(folder / "templates.npy", np.zeros((n_templates, 4, 2), dtype=np.float32))
    lines = [
        "dat_path = r'C:\\data\\raw.dat'",
        "n_channels_dat = 64",
        "dtype = 'int16'",
        "offset = 0",
        "hp_filtered = False",
    ]
    if sample_rate is not None:
        lines.insert(4, f"sample_rate = {sample_rate}")
    (folder / "params.py").write_text("\n".join(lines) + "\n")
    if groups is not None:
        write_tsv(folder / "cluster_group.tsv", ["cluster_id", "group"], list(groups.items()))
    return folder


def write_tsv(path: Path, header: list[str], rows: list[tuple], ending: str = "\n") -> Path:
    lines = ["\t".join(header), *("\t".join(str(cell) for cell in row) for row in rows)]
    path.write_bytes((ending.join(lines) + ending).encode())
    return path
