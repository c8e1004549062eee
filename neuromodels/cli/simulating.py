"""Commands that simulate a recording whose truth is known."""

from __future__ import annotations

from typing import Any

import click

from neuromodels.cli.shared import Paragraphs, command, print_json, size
from neuromodels.cli.shared import settings as read_settings

CEILING_BIN_S = 0.010


_EXAMPLES = (
    "  neuromodels simulate retina --out sim.h5\n"
    "  neuromodels simulate retina --minutes 5 --cells 6 --set gain_sd=0.3 --out sim.h5\n"
    "  neuromodels simulate retina --stimulus white-noise --stimulus bars.h5 --out sim.h5\n"
    "  neuromodels simulate retina --preset glm-truth --out glm.h5\n"
)


class _Group(click.Group):
    """A group whose examples keep their lines."""

    format_epilog = Paragraphs.format_epilog


@click.group("simulate", cls=_Group, epilog=f"Examples\n{_EXAMPLES}")
def simulate_group() -> None:
    """Simulate a recording: every parameter and the true rate are stored in it."""


@command("retina", _EXAMPLES)
@click.option(
    "--stimulus",
    "stimuli",
    multiple=True,
    metavar="NAME|FILE",
    help="Generator, or a file of `neuromodels stimulus`; several are shown to the same cells.  "
    "[default: white-noise]",
)
@click.option("--minutes", type=float, help="Training of each stimulus.  [default: 20]")
@click.option("--repeats", type=int, default=40, show_default=True, help="Repeats of each test.")
@click.option(
    "--test-seconds", type=float, default=10.0, show_default=True, help="Length of each test, s."
)
@click.option("--cells", type=int, default=12, show_default=True, help="ON and OFF together.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--bin-width", type=float, help="Bins that are stored, s.  [default: the step, 1 ms]")
@click.option("--preset", type=click.Choice(["glm-truth"]), help="Cells whose truth is a GLM.")
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="A parameter of the retina."
)
@click.option(
    "--stimulus-set",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of all generators, or 'moving_bars={motion=\"random-walk\"}' of one.",
)
@click.option("--out", type=click.Path(), required=True, help="HDF5 file to write.")
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
def retina_command(
    stimuli: tuple[str, ...],
    minutes: float | None,
    repeats: int,
    test_seconds: float,
    cells: int,
    seed: int,
    bin_width: float | None,
    preset: str | None,
    changes: tuple[str, ...],
    stimulus_set: tuple[str, ...],
    out: str,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Record from a simulated retina; the file is a recording like any other.

    docs/simulated.md has the equations and all parameters.
    """
    from neuromodels.datasets.simulated.parameters import RetinaParameters, glm_truth
    from neuromodels.datasets.simulated.retina import simulate_retina
    from neuromodels.datasets.storage import check_output

    check_output(out, overwrite)
    parameters = RetinaParameters() if preset is None else glm_truth()
    recording = simulate_retina(
        _shown(stimuli),
        minutes=minutes,
        repeats=repeats,
        test_seconds=test_seconds,
        n_cells=cells,
        seed=seed,
        bin_width=bin_width,
        stimulus_parameters=read_settings(stimulus_set, "--stimulus-set"),
        parameters=parameters.changed(**read_settings(changes)),
    )
    recording.to_hdf5(out, overwrite=overwrite)
    rows = _cells(recording)
    if as_json:
        print_json({"out": out, "cells": rows})
    elif not quiet:
        click.echo(str(recording))
        shown = list(rows[0]["true_ceiling"])
        several = len(shown) > 1
        click.echo(
            f"\n  cell    mean rate (Hz){f' in {shown[0]}' if several else ''}   "
            f"true ceiling of r ({_ceiling_bin(recording) * 1e3:g} ms)"
            f"{' in ' + ', '.join(shown) if several else ''}"
        )
        for row in rows:
            ceilings = "   ".join(f"{value:.3f}" for value in row["true_ceiling"].values())
            click.echo(
                f"  {row['neuron']:<6}{row['rate_hz']:>14.1f}   "
                f"{' ' * (len(shown[0]) + 4) * several}{ceilings}"
            )
        click.echo(f"\n{size(out)}\nnext: neuromodels inspect {out}")


simulate_group.add_command(retina_command)


def _shown(names: tuple[str, ...]) -> Any:
    """What `simulate_retina` takes as its stimulus: generators by name, movies from files."""
    from pathlib import Path

    from neuromodels.datasets.stimuli import load_movie

    found = {
        Path(name).stem.replace("-", "_"): load_movie(name) if _is_path(name) else name
        for name in names or ("white-noise",)
    }
    if len(found) < len(names):
        raise click.UsageError("Two stimuli have one name: give every one of them once.")
    return found


def _is_path(name: str) -> bool:
    """Whether a file is meant, there or not: no generator's name has an ending or a folder."""
    from pathlib import Path

    return Path(name).is_file() or bool(Path(name).suffix) or len(Path(name).parts) > 1


def _ceiling_bin(recording: Any) -> float:
    return max(recording.stored_bin_width, CEILING_BIN_S)


def _cells(recording: Any) -> list[dict[str, Any]]:
    from neuromodels.datasets.simulated.truth import known_ceiling

    width = _ceiling_bin(recording)
    ceilings = {name: known_ceiling(recording, width, name) for name in recording.stimuli}
    first = recording.role("train", recording.stimuli[0])["response"].values
    rates = first.mean(axis=0) / recording.stored_bin_width
    return [
        {
            "neuron": str(name),
            "rate_hz": float(rates[i]),
            "true_ceiling": {stimulus: float(value[i]) for stimulus, value in ceilings.items()},
        }
        for i, name in enumerate(recording.neurons)
    ]
