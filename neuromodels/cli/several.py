"""What the command line prints and draws of several recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neuromodels.cli.shared import print_json, size


def open_all(paths: tuple[str, ...], opening: dict[str, Any]) -> Any:
    """One recording, or a list of them where several paths were given."""
    import neuromodels as nm

    found = [nm.open_recording(path, **opening) for path in paths]
    return found[0] if len(found) == 1 else found


def set_figures(found: Any, folder: str | None) -> list[str]:
    """Draw scores over animals, and every figure of each recording in a folder of its own."""
    if folder is None:
        return []
    from neuromodels.analysis.plots.animals import animals_figure
    from neuromodels.analysis.plots.overview import save_figures
    from neuromodels.analysis.plots.style import figure_folder, save_figure

    drawn = []
    for stimulus in found.stimuli:
        place = Path(folder) / stimulus if len(found.stimuli) > 1 else Path(folder)
        one = found.on(stimulus)
        drawn.append(save_figure(animals_figure(one.summary), figure_folder(place) / "animals.png"))
        for name in one.names:
            scored = one[name]
            drawn += save_figures(scored.on(scored.stimuli[0]).tree, place / name)
    return [str(path) for path in drawn]


def print_set(
    found: Any,
    figures: str | None,
    *,
    out: str | None = None,
    all_scores: bool = False,
    quiet: bool,
    as_json: bool,
) -> None:
    """Draw and print a comparison over recordings."""
    from neuromodels.fits.set_table import set_summary, set_text

    drawn = set_figures(found, figures)
    if as_json:
        print_json(({"out": out} if out else {}) | {"figures": drawn} | set_summary(found))
    elif not quiet:
        click.echo(("\n" if out else "") + set_text(found, all_scores))
        if out:
            click.echo(f"\n{size(out)}" + (f"   {figures}/animals.png" if drawn else ""))
