"""Commands that list papers and reproduce them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neuromodels.cli.shared import command, out_options, print_json
from neuromodels.cli.shared import size as size_of


@command("papers", "  neuromodels papers\n  neuromodels papers --json\n")
def papers_command(quiet: bool, as_json: bool) -> None:
    """List the papers that can be reproduced, with their claims."""
    from neuromodels.fits.papers.reproduction import papers

    listed = papers()
    if as_json:
        print_json(
            [
                {
                    "name": paper.name,
                    "citation": paper.citation,
                    "claim": paper.claim,
                    "sizes": dict(paper.sizes),
                    "experiments": {part.name: part.title for part in paper.experiments},
                }
                for paper in listed
            ]
        )
    elif not quiet:
        for paper in listed:
            click.echo(f"{paper.name}   {paper.citation}\n")
            click.echo(click.wrap_text(paper.claim, 96, "  ", "  "))
            click.echo()
            for part in paper.experiments:
                click.echo(f"  {part.name:<8} {part.title}")
            for name, said in paper.sizes.items():
                click.echo(f"  --size {name:<8} {said}")


@command(
    "reproduce",
    "  neuromodels reproduce superspike\n"
    "  neuromodels reproduce superspike --size full --workers 8 --out results/full\n"
    "  neuromodels reproduce superspike --resume\n",
)
@click.argument("paper")
@click.option("--size", default="small", show_default=True, help="small (minutes) or full.")
@click.option(
    "--out", type=click.Path(), help="Writes OUT.h5 and OUT/*.png.  [default: results/PAPER]"
)
@click.option("--workers", type=int, default=2, show_default=True, help="Processes.")
@out_options
def reproduce_command(
    paper: str,
    size: str,
    out: str | None,
    workers: int,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Repeat the experiments of PAPER and say, claim by claim, whether they held."""
    from neuromodels.fits.papers.reproduction import output_file, reproduce

    file = output_file(out or Path("results") / paper)
    found = reproduce(
        paper,
        size,
        file,
        workers=workers,
        resume=resume,
        overwrite=overwrite,
        progress=not (quiet or as_json),
    )
    drawn = found.save_figures(file.with_suffix(""))
    print_reproduction(found, drawn, quiet=quiet, as_json=as_json, out=file)


def print_reproduction(
    found: Any, drawn: list[Path], *, quiet: bool, as_json: bool, out: Path | None = None
) -> None:
    """Print tables and verdicts, and where they were written."""
    from dataclasses import asdict

    if as_json:
        claims = [asdict(claim) for claim in found.claims]
        said = {"out": None if out is None else str(out), "figures": [str(path) for path in drawn]}
        print_json(said | {"claims": claims})
    elif not quiet:
        click.echo(str(found))
        for path in drawn:
            click.echo(str(path))
        if out is not None:
            click.echo(size_of(out))
