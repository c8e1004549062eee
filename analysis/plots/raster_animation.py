"""A film of learning: the output raster epoch by epoch over its target, and the cost falling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromodels.analysis.plots.learning_curves import named_levels, plain_log_axis
from neuromodels.analysis.plots.rasters import (
    HIT,
    NEAR,
    Spikes,
    fit_marks,
    name_marks,
    plot_raster,
    show_spikes,
    spikes_of,
    title_pad,
)
from neuromodels.analysis.plots.spiking_runs import (
    bounds_of,
    epochs_of,
    node_of,
    population_names,
    population_spikes,
    spikes_loaded,
)
from neuromodels.analysis.plots.style import FAINT, new_figure, talk_style
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.storage import check_output, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

KINDS = (".gif", ".mp4")
#: Pixels per inch, and the seconds that the last frame stays.
FILM_DPI, HOLD_S = 100, 2.0
#: Colours of a GIF: the few that are drawn and their blends at edges.
COLOURS = 32


def animate_learning(
    record: xr.DataTree,
    path: str | Path,
    *,
    fps: float = 5.0,
    lines: dict[str, float] | None = None,
    tolerance_s: float = NEAR,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a film of a network learning its target: one frame per epoch that was kept.

    Parameters
    ----------
    record : xarray.DataTree
        Of a run, with `/spikes` of several epochs, `/targets` and `/progress`.
    path : str or Path
        Ends with .gif, or with .mp4, which needs the program ffmpeg.
    fps : float
        Epochs shown per second; the last stays for 2 s.
    lines : dict, optional
        Costs to compare with, as in `plot_run`.
    tolerance_s : float
        Outputs further from every target are red, s.
    overwrite : bool
        Replace a film that exists.
    progress : callable, optional
        Called with the frames done and their number after each frame.

    Returns
    -------
    Path
        Where the film is; it appears whole or not at all.

    Raises
    ------
    InputError
        The file exists or cannot be written, its name ends otherwise, ffmpeg is missing, or the
        record has no spikes of any epoch.
    """
    path = Path(path)
    if not 0 < fps <= 50:
        raise InputError(
            f"is {fps}", where="animate_learning: fps", remedy="Choose up to 50 frames per second."
        )
    check_film(path, overwrite)
    film = _Film(record, lines, tolerance_s)
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4

    def shown() -> Iterator[None]:
        for done, epoch in enumerate(film.epochs, start=1):
            film.show(int(epoch))
            yield
            if progress is not None:
                progress(done, len(film.epochs))

    with talk_style():
        return write_whole(path, lambda name: write(film, shown(), name, fps), overwrite)


def check_film(path: str | Path, overwrite: bool = False) -> None:
    """Refuse, before a long training, a film that could not be written after it.

    Raises
    ------
    InputError
        The file exists or cannot be written, its name ends otherwise, or ffmpeg is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise InputError(
            "is no film that can be written", where=str(path), remedy="End it with .gif or .mp4."
        )
    check_output(path, overwrite)
    if path.suffix.lower() == ".mp4":
        from matplotlib.animation import FFMpegWriter

        if not FFMpegWriter.isAvailable():
            raise InputError(
                "needs the program ffmpeg, which is not installed",
                where=str(path),
                remedy="Install ffmpeg, or end the name with .gif.",
            )


class _Film:
    """The figure of the film, and how one epoch is put into it."""

    def __init__(self, record: xr.DataTree, lines: dict[str, float] | None, tolerance_s: float):
        self.record = record = spikes_loaded(record)
        self.tolerance_s = tolerance_s
        self.output = population_names(record)[-1]
        self.target = spikes_of(node_of(record, "targets"))
        self.epochs = epochs_of(record)
        curve = node_of(record, "progress")
        self.numbers = curve["epoch"].values
        self.times, self.costs = curve["time"].values, curve["cost"].values
        lines = bounds_of(curve) if lines is None else lines
        with talk_style():
            self._draw(lines)

    def _draw(self, lines: dict[str, float]) -> None:
        # An even number of pixels, which video needs.
        self.figure = new_figure(9.6, min(5.0, 2.4 + 0.1 * self.target.n_neurons))
        raster, cost = self.figure.subplots(1, 2, width_ratios=[2.3, 1])
        nothing = Spikes(np.zeros(0), np.zeros(0, int), *self.target[2:])
        plot_raster(nothing, self.target, raster, tolerance_s=self.tolerance_s, legend=False)
        for text in list(raster.texts):
            text.remove()
        self.marks = {line.get_gid(): line for line in raster.get_lines()}
        cost.plot(self.times, self.costs, color=FAINT, lw=1.0)
        (self.so_far,) = cost.plot([], [], color=HIT, lw=2.0)
        (self.now,) = cost.plot([], [], "o", color=HIT, ms=6)
        cost.set_yscale("log")
        cost.set_xlim(0, self.times[-1] * 1.03)
        cost.set(xlabel="simulated time (s)", ylabel="cost")
        plain_log_axis(cost)
        # Names need the size of the axes. Then the layout stays: what moves must not move it.
        self.figure.get_layout_engine().execute(self.figure)
        pad = title_pad(name_marks(raster, self.marks))
        self.heading = raster.set_title("epoch", pad=pad)
        self.value = cost.set_title("cost", pad=pad)
        named_levels(cost, lines)
        self.figure.get_layout_engine().execute(self.figure)
        self.figure.set_layout_engine("none")
        fit_marks(raster)

    def show(self, epoch: int) -> None:
        """Put the spikes and the cost of an epoch into the figure."""
        spikes = population_spikes(self.record, self.output, epoch)
        window = (0.0, self.target.duration)
        show_spikes(self.marks, spikes, self.target, window, self.tolerance_s)
        past = self.numbers <= epoch
        self.so_far.set_data(self.times[past], self.costs[past])
        self.now.set_data(self.times[past][-1:], self.costs[past][-1:])
        time = self.times[past][-1] if past.any() else 0.0
        self.heading.set_text(f"{self.output}, epoch {epoch} ({time:.0f} s simulated)")
        self.value.set_text(f"cost {self.costs[past][-1]:.1f}" if past.any() else "cost")


def _write_gif(film: _Film, shown: Iterator[None], path: Path, fps: float) -> None:
    film.show(int(film.epochs[-1]))
    # One palette for the whole film: fewer bytes, and no colour that flickers.
    palette = _picture(film.figure).quantize(COLOURS, method=1)
    frames = (_picture(film.figure).quantize(palette=palette, dither=0) for _ in shown)
    # GIF counts hundredths of a second.
    each = 10 * max(2, round(100 / fps))
    durations = [each] * (len(film.epochs) - 1) + [max(each, round(1e3 * HOLD_S))]
    next(frames).save(
        path,
        format="GIF",
        save_all=True,
        append_images=frames,
        duration=durations,
        loop=0,
        optimize=False,
    )


def _picture(figure: Figure) -> Image:
    from PIL import Image

    figure.set_dpi(FILM_DPI)
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])


def _write_mp4(film: _Film, shown: Iterator[None], path: Path, fps: float) -> None:
    from subprocess import CalledProcessError

    from matplotlib.animation import FFMpegWriter

    # The temporary name does not end with .mp4, so the container is named; players want yuv420p.
    writer = FFMpegWriter(fps, codec="h264", extra_args=["-f", "mp4", "-pix_fmt", "yuv420p"])
    try:
        with writer.saving(film.figure, str(path), FILM_DPI):
            for _ in shown:
                writer.grab_frame()
            for _ in range(round(HOLD_S * fps) - 1):
                writer.grab_frame()
    except CalledProcessError as error:
        raise InputError(
            f"could not be written: ffmpeg ended with status {error.returncode}",
            where="animate_learning",
            remedy="Install an ffmpeg that can encode H.264, or end the name with .gif.",
        ) from error
