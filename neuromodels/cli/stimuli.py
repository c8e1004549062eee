"""The command that writes a stimulus."""

from __future__ import annotations

from typing import Any

import click

from neuromodels.cli.shared import command, print_json, size
from neuromodels.cli.shared import settings as read_settings


@command(
    "stimulus",
    "  neuromodels stimulus --list\n"
    "  neuromodels stimulus white-noise --minutes 20 --seed 1 --out noise.h5\n"
    "  neuromodels stimulus moving-bars --set speed=800 --set direction=[0,90] --out bars.h5\n"
    "  neuromodels stimulus natural-movie --set folder=photographs --out natural.h5\n",
)
@click.argument("name", required=False)
@click.option("--out", type=click.Path(), help="HDF5 file to write.")
@click.option("--seed", type=int, help="Of what is random.  [default: 0]")
@click.option("--duration", type=float, metavar="S", help="Length, s.")
@click.option("--minutes", type=float, metavar="MIN", help="Length, minutes.")
@click.option("--frame-rate", type=float, metavar="HZ", help="Frames per second.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="One parameter.")
@click.option("--list", "listed", is_flag=True, help="List the generators and stop.")
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
def stimulus_command(
    name: str | None,
    out: str | None,
    seed: int | None,
    duration: float | None,
    minutes: float | None,
    frame_rate: float | None,
    settings: tuple[str, ...],
    listed: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the movie of the generator NAME, with units and seed, to one HDF5 file.

    docs/stimuli.md has the parameters of each.
    """
    if listed:
        _print_list(quiet=quiet, as_json=as_json)
        return
    if name is None:
        raise click.UsageError("Which one? `neuromodels stimulus --list` shows them.")
    if out is None:
        raise click.UsageError("Missing option '--out': the HDF5 file to write.")
    if duration is not None and minutes is not None:
        raise click.UsageError("Give --duration or --minutes, not both.")
    from neuromodels.datasets.stimuli import generate, write_movie
    from neuromodels.datasets.storage import check_output

    check_output(out, overwrite)
    flags = {
        "seed": seed,
        "duration": duration if minutes is None else 60 * minutes,
        "frame_rate": frame_rate,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    movie = generate(name, **read_settings(settings) | given)
    write_movie(movie, out, overwrite=overwrite)
    if as_json:
        print_json({"out": out} | _facts(movie))
    elif not quiet:
        facts = _facts(movie)
        height, width = facts["size"]
        click.echo(
            f"{facts['generator']}   {facts['duration_s']:g} s   {facts['n_frames']:,} frames at "
            f"{facts['frame_rate_hz']:g} Hz   {height} (y) x {width} (x) px of "
            f"{facts['parameters']['pixel_size']:g} µm"
        )
        click.echo(f"{size(out)}\nnext: neuromodels predict FIT {out} --out rates.h5")


def _print_list(*, quiet: bool, as_json: bool) -> None:
    from neuromodels.datasets.stimuli import listing

    rows = listing()
    if as_json:
        print_json([{"name": name, "summary": summary} for name, summary in rows])
    elif not quiet:
        width = max(len(name) for name, _ in rows)
        for name, summary in rows:
            click.echo(f"{name:<{width}}  {summary}")


def _facts(movie: Any) -> dict[str, Any]:
    """What a program wants to know of a movie that was written."""
    import json

    about = movie.attrs
    return {
        "generator": about["generator"],
        "seed": about.get("seed"),
        "n_frames": movie.sizes["frame"],
        "duration_s": movie.sizes["frame"] / about["frame_rate"],
        "frame_rate_hz": about["frame_rate"],
        "size": [movie.sizes["y"], movie.sizes["x"]],
        "parameters": json.loads(about["parameters"]),
    }
