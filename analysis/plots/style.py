"""How figures look: one colour, marker and line per model, sizes for a talk."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neuromodels.datasets.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What was measured, and what bounds it, is never coloured.
OBSERVED, SPIKE, CEILING, FAINT = "#dedede", "#4d4d4d", "#000000", "#9a9a9a"
#: Positive weights are red, negative ones blue, none white.
DIVERGING = "RdBu_r"
#: Characters of a subscript's markup take no space.
NO_MARKUP = str.maketrans("", "", "$_{}")
#: Pixels per inch of saved figures.
DPI = 160


class Look(NamedTuple):
    """How a model is drawn in every figure.

    Attributes
    ----------
    color : str
        Distinct for the colour-blind, and in lightness.
    marker : str
        Symbol of its scores.
    line : str or tuple
        Line style of its predictions.
    """

    color: str
    marker: str
    line: Any


# CIE lightness 71, 58, 44, 26: in grey these differ as much as they can.
KNOWN = {
    "ln": Look("#E69F00", "o", (0, (4, 1.2))),
    "glm": Look("#009E73", "s", (0, (1.2, 0.9))),
    "glm-coupled": Look("#B5327F", "^", (0, (5, 1.2, 1.2, 1.2))),
    "retina-cnn": Look("#0B3C7D", "D", "-"),
}
OTHERS = (
    Look("#56B4E9", "v", (0, (7, 1.5))),
    Look("#8C510A", "P", (0, (2.5, 1))),
    Look("#7A5FA8", "X", (0, (7, 1.2, 1.2, 1.2, 1.2, 1.2))),
    Look("#5F6B1B", "<", (0, (1, 1.8))),
    Look("#F07C62", ">", (0, (3, 1, 1, 1))),
    Look("#222222", "*", (0, (9, 2))),
)

RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.usetex": False,
    "text.color": "black",
    "axes.labelsize": 10.0,
    "axes.labelcolor": "black",
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": "auto",
    "axes.titlepad": 5.0,
    "axes.edgecolor": "black",
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "xtick.color": "black",
    "ytick.color": "black",
    "xtick.direction": "out",
    "ytick.direction": "out",
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.2,
    "legend.handlelength": 2.0,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.3,
    "figure.facecolor": "white",
    "figure.dpi": 100.0,
    "figure.titlesize": 11.5,
    "lines.linewidth": 1.5,
    "lines.markersize": 6.0,
    "lines.solid_capstyle": "butt",
    "image.interpolation": "nearest",
}


@contextmanager
def talk_style() -> Iterator[None]:
    """Draw in the package's style; the user's rcParams are as before when it ends."""
    from matplotlib import rc_context

    with rc_context(RC):
        yield


def looks(models: Iterable[str]) -> dict[str, Look]:
    """Colour, marker and line of each model, the same in every figure.

    Parameters
    ----------
    models : iterable of str
        Labels in the order of the comparison.

    Returns
    -------
    dict
        Label to Look. Models of the package have their own; the first variant of a kind
        ("retina-cnn:mcintosh2016") takes the kind's if it is free, all others follow by order.
    """
    models = list(models)
    found = {model: KNOWN[model] for model in models if model in KNOWN}
    for model in models:
        # ln:preset, ln (2), ln+running and ln@noise are kinds of ln.
        kind = re.split(r"[:(+@]", model)[0].strip()
        if model not in found and kind in KNOWN and KNOWN[kind] not in found.values():
            found[model] = KNOWN[kind]
    rest = [model for model in models if model not in found]
    found |= {model: OTHERS[i % len(OTHERS)] for i, model in enumerate(rest)}
    return {model: found[model] for model in models}


def own_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the axes given, or new ones as `pyplot` makes them, so that notebooks show them."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def new_figure(width: float, height: float) -> Figure:
    """Return a figure that belongs to nobody else: it needs no screen and is never left open.

    Notebooks show it when it is the value of a cell.
    """
    from functools import partial

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    # IPython asks for this; its own support of figures waits for pyplot, which is not used here.
    figure._repr_png_ = partial(_as_png, figure)
    return figure


def _as_png(figure: Figure) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def columns_that_fit(ax: Axes, names: Sequence[str]) -> int:
    """Columns of a legend of these names that is no wider than the axes, by a generous guess."""
    width = ax.bbox.width / ax.figure.dpi
    lengths = [len(name.translate(NO_MARKUP)) for name in names]
    for columns in range(len(names), 1, -1):
        rows = -(-len(names) // columns)
        longest = [max(lengths[i : i + rows]) for i in range(0, len(names), rows)]
        # A letter at 9 pt takes 0.07 inch, the line and the gaps beside it half an inch.
        if sum(0.07 * letters + 0.5 for letters in longest) < width:
            return columns
    return 1


def say(ax: Axes, text: str) -> Axes:
    """Write into axes that have nothing to show why they are empty."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, wrap=True)
    return ax


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all; a file of the same name is replaced.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Drawn.
    path : Path
        In a folder that exists.

    Returns
    -------
    Path
        Where the figure is.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with talk_style():
            figure.savefig(temporary, format="png", dpi=DPI)
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def figure_folder(folder: str | Path) -> Path:
    """Make a folder for figures, if there is none yet.

    Raises
    ------
    InputError
        It cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def _unwritable(folder: Path, error: OSError) -> InputError:
    """Say that figures cannot be written into a folder, and why."""
    return InputError(
        f"figures cannot be written here ({error.strerror or error}).",
        where=str(folder),
        remedy="Choose a folder in which you may write.",
    )
