"""Commands that look at a recording, convert it, or list the models."""

from __future__ import annotations

import sys
from typing import Any

import click

from neuromodels.cli.shared import bin_width_option, command, opening_options, print_json, size

BAD_INPUT = 2


@command("models", "  neuromodels models\n  neuromodels models --json\n")
def models_command(quiet: bool, as_json: bool) -> None:
    """List what can be fitted, one line each."""
    from neuromodels.models import listing

    rows = listing()
    if as_json:
        print_json([{"name": name, "summary": summary} for name, summary in rows])
    elif not quiet:
        width = max(len(name) for name, _ in rows)
        for name, summary in rows:
            click.echo(f"{name:<{width}}  {summary}")
        click.echo("\nln+running, glm+running+pupil, retina-cnn+all: the same, told covariates")


@command(
    "inspect",
    "  neuromodels inspect cell.nwb\n"
    "  neuromodels inspect phy_folder --stimulus movie.npy --triggers triggers.npy\n"
    "  neuromodels inspect cell.h5 --figures figures\n",
)
@click.argument("file")
@click.option("--figures", type=click.Path(), help="Folder for the figures (PNG).")
@click.option("--no-alignment", is_flag=True, help="Do not shift the stimulus against the spikes.")
@bin_width_option
@opening_options
def inspect_command(
    file: str,
    figures: str | None,
    no_alignment: bool,
    bin_width: float | None,
    opening: dict[str, Any],
    quiet: bool,
    as_json: bool,
) -> None:
    """Show what is in a recording, how reliable its neurons are, and what is wrong with it."""
    import neuromodels as nm

    recording = nm.open_recording(file, **opening)
    found = _inspected(recording, bin_width, not no_alignment)
    drawn = [] if figures is None else _figures(found, figures)
    if as_json:
        print_json(found.to_dict() | ({"figures": drawn} if drawn else {}))
    elif not quiet:
        click.echo(found.text())
        if drawn:
            click.echo(f"\n{figures}/*.png")
    elif found.errors:
        recording.validate().raise_errors()
    if found.errors:
        sys.exit(BAD_INPUT)


@command(
    "convert",
    "  neuromodels convert cell.nwb cell.h5\n"
    "  neuromodels convert phy_folder cell.nwb --stimulus movie.npy --triggers triggers.npy\n"
    "  neuromodels convert recording.mat cell.h5 --mapping recording.toml\n",
)
@click.argument("file", metavar="IN")
@click.argument("out", metavar="OUT", type=click.Path())
@click.option("--to", type=click.Choice(["hdf5", "nwb", "zarr"]), help="Format, if not by suffix.")
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
@opening_options
def convert_command(
    file: str,
    out: str,
    to: str | None,
    overwrite: bool,
    opening: dict[str, Any],
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the recording IN, whatever its format, as HDF5, NWB or zarr.

    Everything else is then shorter: OUT knows its stimulus, trials and clocks.
    """
    import neuromodels as nm

    written = nm.convert(file, out, to=to, overwrite=overwrite, **opening)
    if as_json:
        print_json({"out": str(written)})
    elif not quiet:
        opened = nm.open_recording(written)
        click.echo(str(opened))
        for note in opened.attrs.get("notes") or []:
            click.echo(f"note: {note}")
        click.echo(f"{size(written)}\nnext: neuromodels inspect {out}")


def _figures(found: Any, folder: str) -> list[str]:
    from neuromodels.analysis.plots.inspection import save_inspection_figures

    return [str(path) for path in save_inspection_figures(found, folder)]


def _inspected(recording: Any, bin_width: float | None, alignment: bool) -> Any:
    import neuromodels as nm

    if isinstance(recording, nm.ImageRecording):
        from neuromodels.analysis.image_inspection import inspect_image_recording

        return inspect_image_recording(recording)
    return nm.inspect_recording(recording, bin_width, alignment=alignment)
