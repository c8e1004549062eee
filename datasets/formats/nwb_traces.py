"""Fluorescence, ΔF/F and deconvolved events of an NWB file as responses of cells."""

from __future__ import annotations

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.nwb_stimuli import series_onsets
from neuromodels.datasets.links import check_declared
from neuromodels.datasets.responses import Traces

# In the order in which they are taken, by what their names hold.
DECONVOLVED = ("deconv", "event", "spike")
PREFERRED = (("dfoverf", "df_over_f", "dff", "deltaf"), DECONVOLVED, ("fluorescence", "roi"))
MOST_MISSING = 0.05  # share of samples; cells that miss more are left out


def find_traces(nwb) -> dict[str, object]:
    """RoiResponseSeries in the processing modules, by "module/interface/series"."""
    from pynwb.ophys import RoiResponseSeries

    found = {}
    for module_name, module in (nwb.processing or {}).items():
        for name, item in module.data_interfaces.items():
            if isinstance(item, RoiResponseSeries):
                found[f"{module_name}/{name}"] = item
            for inner, series in (getattr(item, "roi_response_series", None) or {}).items():
                found[f"{module_name}/{name}/{inner}"] = series
    return found


def read_traces(nwb, wanted: str | None, path: str) -> Traces:
    """Traces of cells, on the session's clock.

    Parameters
    ----------
    wanted : str, optional
        Name of the interface or series, such as "DfOverF" (default: ΔF/F, else deconvolved
        events, else fluorescence).

    Raises
    ------
    InputError
        If there are none, or not those that the user names, or they contradict themselves.
    """
    found = find_traces(nwb)
    notes = []
    if wanted is not None:
        same = {k: v for k, v in found.items() if wanted == k or wanted in k.split("/")}
        if len(same) != 1:
            listed = ", ".join(same or found) or "none is there"
            what = f"{len(same)} traces are called {wanted!r}" if same else f"no traces {wanted!r}"
            raise InputError(what, where=f"{path}: traces", remedy=f"Choose from: {listed}.")
        place = next(iter(same))
    else:
        place = min(found, key=_rank)
        others = [key for key in found if key != place]
        if others:
            notes.append(f"responses are {place}; others (traces=): {', '.join(others[:6])}")
    series = found[place]
    where = f"{path}: /processing/{place}"
    values, times = _values(series, where)
    ids, metadata = _cells(series, values.shape[1], where)
    kept, said = _known(values, ids)
    if not kept.size:
        raise InputError(
            f"all of its {len(ids)} cells miss more than {MOST_MISSING:.0%} of their samples (NaN)",
            where=where,
            remedy="Choose others with traces=, or fill the gaps and export again.",
        )
    events = any(word in place.lower() for word in DECONVOLVED)
    unit = str(series.unit or "")
    return Traces(
        [ids[i] for i in kept],
        values[:, kept],
        times,
        "rate" if events else "trace",
        unit if unit and unit != "n.a." else "arbitrary",
        {name: column[kept] for name, column in metadata.items()},
        notes + said,
        where,
    )


def _rank(place: str) -> int:
    name = place.lower()
    return next((i for i, words in enumerate(PREFERRED) if any(w in name for w in words)), 9)


def _values(series, where: str) -> tuple[np.ndarray, np.ndarray]:
    data = series.data
    shape = tuple(getattr(data, "shape", None) or ())
    if len(shape) == 1:
        shape = (*shape, 1)
    if len(shape) != 2 or 0 in shape or shape[0] < 2 or np.dtype(data.dtype).kind not in "biuf":
        raise InputError(
            f"has shape {shape} of {getattr(data, 'dtype', 'unknown type')}, which is no trace per "
            "cell",
            where=where,
            remedy="Store numbers as (sample, cell).",
        )
    check_declared(data, where)
    values = np.asarray(data[:], dtype=np.float32).reshape(shape)
    if series.conversion not in (None, 1.0):
        values *= np.float32(series.conversion)
    times = series_onsets(series, shape[0], where)
    if np.isinf(values).any():
        sample, cell = np.argwhere(np.isinf(values))[0]
        raise InputError(
            f"sample {sample} of cell {cell} is infinite",
            where=where,
            remedy="Replace it by NaN where nothing was measured.",
        )
    return values, times


def _cells(series, n_cells: int, where: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """Ids of the cells, and what the segmentation says of each in one value."""
    region = getattr(series, "rois", None)
    if region is None or getattr(region, "table", None) is None:
        return [str(i) for i in range(n_cells)], {}
    rows = np.asarray(region.data[:]).astype(np.int64).ravel()
    table = region.table
    if rows.size != n_cells or (rows < 0).any() or (rows >= len(table)).any():
        raise InputError(
            f"has {n_cells} traces, but its rois name {rows.size} rows of a table of {len(table)}",
            where=where,
            remedy="Export the file again with one region of interest per trace.",
        )
    ids = [str(i) for i in np.asarray(table.id[:])[rows]]
    if len(set(ids)) < len(ids):
        raise InputError(
            "ids of its cells occur more than once",
            where=where,
            remedy="Give every region of interest an id of its own.",
        )
    metadata = {}
    for name in ("cell_specimen_id", "valid_roi", "area", "depth"):
        if name in table.colnames:
            values = np.asarray(table[name].data[:])
            if values.ndim == 1 and values.dtype.kind in "iufb" and values.size == len(table):
                metadata[name] = values[rows]
    return ids, metadata


def _known(values: np.ndarray, ids: list[str]) -> tuple[np.ndarray, list[str]]:
    """Cells that have values, and what is said of those that miss some."""
    missing = np.isnan(values)
    if not missing.any():
        return np.arange(len(ids)), []
    # Samples that all cells miss (a closed shutter) speak against none of them.
    counted = ~missing.all(axis=1)
    share = missing[counted].mean(axis=0) if counted.any() else np.ones(len(ids))
    kept = np.flatnonzero(share <= MOST_MISSING)
    notes = []
    lost = [ids[i] for i in np.flatnonzero(share > MOST_MISSING)]
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        notes.append(
            f"{len(lost)} of {len(ids)} cells are left out, more than {MOST_MISSING:.0%} of their "
            f"samples are NaN: {', '.join(lost[:5])}{more}"
        )
    left = missing[:, kept].any(axis=1).mean() if kept.size else 0
    if left:
        notes.append(
            f"{left:.1%} of the samples are NaN in some cell: bins there are left out of the "
            "training data, and NaN in the test"
        )
    return kept, notes
