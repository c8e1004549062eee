"""Weights over lags and space as images, maps, curves and mosaics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.reading import bin_width_of, models_of
from neuromodels.analysis.plots.style import DIVERGING, FAINT, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TIME = "time before response (s)"
#: Contours at this share of the largest weight tell its sign where there is no colour.
CONTOUR = 0.4
#: Most filters of a mosaic.
MOST_TILES = 32


def _peak(weights: xr.DataArray) -> dict[str, int]:
    """Index of the largest weight."""
    flat = int(np.abs(weights.values).argmax())
    return dict(zip(weights.dims, map(int, np.unravel_index(flat, weights.shape)), strict=True))


def _pixels(units: str) -> str:
    return "px" if units in ("pixel", "1") else units


def _space_label(coord: xr.DataArray) -> str:
    return f"{coord.name} ({_pixels(coord.attrs.get('units', 'pixel'))})"


def _span(values: np.ndarray, width: float | None = None) -> tuple[float, float]:
    """Outer edges of evenly spaced bins or pixels."""
    if width is None:
        width = float(values[1] - values[0]) if len(values) > 1 else 1.0
    return float(values[0]) - width / 2, float(values[-1]) + width / 2


def draw_weights(
    ax: Axes, tree: xr.DataTree, model: str, weights: xr.DataArray, bar: bool = True
) -> None:
    """Image of (stimulus_lag, channel, y, x) weights; labels say which part."""
    weights = weights.transpose("stimulus_lag", "channel", "y", "x")
    peak = _peak(weights)
    colour = weights.isel(channel=peak["channel"])
    note = f", ch. {peak['channel']}" if weights.sizes["channel"] > 1 else ""
    wide = [name for name in ("y", "x") if weights.sizes[name] > 1]
    if not wide:
        draw_profile(ax, tree, model, weights)
        return
    if len(wide) == 2:
        lag = float(weights["stimulus_lag"][peak["stimulus_lag"]])
        image = colour.isel(stimulus_lag=peak["stimulus_lag"]).values
        extent = (*_span(weights["x"].values), *_span(weights["y"].values)[::-1])
        _image(ax, image, extent, "equal", bar)
        ax.set_xlabel(f"{_space_label(weights['x'])}{note} at −{lag:.3g} s")
        ax.set_ylabel(_space_label(weights["y"]))
        return
    # Oldest first, so that time runs to the right and ends at the response.
    image = colour.squeeze([n for n in ("y", "x") if n not in wide]).values[::-1].T
    first, last = _span(-weights["stimulus_lag"].values[::-1], bin_width_of(tree))
    extent = (first, last, *_span(weights[wide[0]].values)[::-1])
    _image(ax, image, extent, "auto", bar)
    ax.set_xlabel(f"{TIME}{note}")
    ax.set_ylabel(_space_label(weights[wide[0]]))


def _image(
    ax: Axes,
    image: np.ndarray,
    extent: tuple[float, float, float, float],
    aspect: str,
    bar: bool,
) -> None:
    from matplotlib.ticker import MaxNLocator

    limit = float(np.abs(image).max()) or 1.0
    shown = ax.imshow(image, cmap=DIVERGING, vmin=-limit, vmax=limit, extent=extent, aspect=aspect)
    _contours(ax, image, limit, extent, 0.6)
    for side in ax.spines.values():
        side.set_visible(True)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=aspect == "equal"))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    if bar:
        scale = ax.figure.colorbar(shown, ax=ax, fraction=0.05, pad=0.02, aspect=16)
        scale.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"{limit:.2g}"])
        scale.ax.tick_params(labelsize=7.5, length=2)
        scale.outline.set_linewidth(0.5)


def _contours(
    ax: Axes, image: np.ndarray, limit: float, extent: tuple[float, ...] | None, width: float
) -> None:
    """Enclose strong weights: the sign then shows without colour."""
    levels = [-CONTOUR * limit, CONTOUR * limit]
    if min(image.shape) < 2 or np.nanmax(np.abs(image)) < levels[1]:
        return
    ax.contour(
        image,
        levels=levels,
        colors="black",
        linewidths=width,
        linestyles=["dashed", "solid"],
        extent=extent,
        origin="upper" if extent else None,
    )


def draw_profile(ax: Axes, tree: xr.DataTree, model: str, weights: xr.DataArray) -> None:
    weights = weights.transpose("stimulus_lag", "channel", "y", "x")
    peak = _peak(weights)
    color = looks(models_of(tree))[model].color
    lags = -weights["stimulus_lag"].values
    ax.axhline(0, color=FAINT, lw=0.8, zorder=0)
    styles = ("-", "--", ":", "-.")
    several = weights.sizes["channel"] > 1
    for index in range(weights.sizes["channel"]):
        curve = weights.isel(channel=index, y=peak["y"], x=peak["x"])
        label = f"channel {index}" if several else "_"
        ax.plot(lags, curve.values, color=color, ls=styles[index % 4], label=label)
    if several:
        ax.legend(fontsize=8, handlelength=1.6)
    ax.set_xlim(min(lags), 0)
    ax.set_xlabel(TIME)
    ax.set_ylabel("weight")
    if weights.sizes["y"] > 1 or weights.sizes["x"] > 1:
        at = [
            f"{n} {weights[n].values[peak[n]]:g}".replace("-", "−")
            for n in ("y", "x")
            if weights.sizes[n] > 1
        ]
        units = weights["y"].attrs.get("units", "pixel")
        ax.set_xlabel(f"{TIME}\nat {', '.join(at)} {_pixels(units)}")


def _tile(weights: xr.DataArray) -> np.ndarray:
    """One filter as an image: space against time, or the map at the largest weight."""
    weights = weights.transpose("stimulus_lag", "channel", "y", "x")
    peak = _peak(weights)
    weights = weights.isel(channel=peak["channel"])
    if weights.sizes["y"] > 1 and weights.sizes["x"] > 1:
        image = weights.isel(stimulus_lag=peak["stimulus_lag"]).values
    else:
        image = weights.values.reshape(weights.sizes["stimulus_lag"], -1)[::-1].T
    return image / (np.abs(image).max() or 1.0)


def draw_mosaic(ax: Axes, weights: xr.DataArray) -> None:
    n = min(weights.sizes["layer1_channel"], MOST_TILES)
    tiles = [_tile(weights.isel(layer1_channel=index)) for index in range(n)]
    n_columns = min(n, 8)
    n_rows = -(-n // n_columns)
    high, wide = tiles[0].shape
    gap_y, gap_x = max(1, round(high * 0.12)), max(1, round(wide * 0.08))
    canvas = np.full((n_rows * (high + gap_y) - gap_y, n_columns * (wide + gap_x) - gap_x), np.nan)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, n_columns)
        top, left = row * (high + gap_y), column * (wide + gap_x)
        canvas[top : top + high, left : left + wide] = tile
    image_of = weights.sizes["layer1_y" if "layer1_y" in weights.dims else "y"] > 1
    is_map = image_of and weights.sizes["x"] > 1
    ax.imshow(canvas, cmap=DIVERGING, vmin=-1, vmax=1, aspect="equal" if is_map else "auto")
    _contours(ax, canvas, 1.0, None, 0.4)
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_visible(False)
    if is_map:
        each = f"{high} × {wide} px"
    else:
        span = float(weights["stimulus_lag"][-1])
        each = f"last {span:.2g} s × {high} px"
    ax.set_xlabel(f"{n} filters, each {each}, own scale")
