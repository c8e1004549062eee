"""Commands for spiking networks: train one on two rasters, take it to other programs."""

from __future__ import annotations

from typing import Any

import click

from neuromodels.cli.shared import command, out_options, print_json, settings, size


@command(
    "train-spikes",
    "  neuromodels train-spikes in.ras target.ras --inputs 200 --outputs 200 --out run.h5\n"
    "  neuromodels train-spikes in.ras target.ras --inputs 200 --outputs 200 "
    "--target-first-id 1 --hidden 128 --seconds 200 --out run.h5 --figures figures\n"
    "  neuromodels train-spikes in.nwb target.nwb --feedback random --out run.h5 --resume\n",
)
@click.argument("inputs_file", metavar="INPUT", type=click.Path())
@click.argument("target_file", metavar="TARGET", type=click.Path())
@click.option("--inputs", type=int, help="Input neurons of a .ras file, with silent ones.")
@click.option("--outputs", type=int, help="Output neurons of a .ras file, with silent ones.")
@click.option("--input-first-id", type=int, help="Id of the first input neuron.  [default: 0]")
@click.option("--target-first-id", type=int, help="Id of the first output neuron.  [default: 0]")
@click.option("--loop", type=float, help="Length of the loop, s.  [default: the longer raster]")
@click.option(
    "--hidden", default="256", show_default=True, help="Hidden neurons; 0 for none, 128,64 for two."
)
@click.option(
    "--feedback",
    type=click.Choice(["symmetric", "random", "uniform", "none"]),
    default="symmetric",
    show_default=True,
    help="How hidden neurons learn of the output's error.",
)
@click.option(
    "--preset",
    type=click.Choice(["paper", "demo"]),
    default="paper",
    show_default=True,
    help="The paper's text, or the authors' published demo.",
)
@click.option("--seconds", type=float, help="Simulated time.  [default: 1000; demo 1020]")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other option, as docs/spiking.md lists them.",
)
@click.option("--out", required=True, type=click.Path(), help="HDF5 file to write.")
@click.option("--figures", type=click.Path(), help="Folder for the figure (PNG).")
@click.option("--animation", type=click.Path(), help="Film of the raster being learned (GIF, MP4).")
@out_options
def train_spikes_command(
    inputs_file: str,
    target_file: str,
    inputs: int | None,
    outputs: int | None,
    input_first_id: int | None,
    target_first_id: int | None,
    loop: float | None,
    hidden: str,
    feedback: str,
    preset: str,
    seconds: float | None,
    seed: int,
    given: tuple[str, ...],
    out: str,
    figures: str | None,
    animation: str | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a spiking network to answer the raster INPUT with the raster TARGET (SuperSpike).

    Rasters are .ras files (a line "seconds id" per spike), NWB files or HDF5 files of ours. Both
    are played in a loop, from 0 s on.
    """
    import neuromodels as nm

    options = _options(settings(given), seconds)
    if animation is not None:
        from neuromodels.analysis.plots.raster_animation import check_film

        check_film(animation, overwrite=overwrite or resume)
    read = nm.read_spike_trains(
        inputs_file, n_neurons=inputs, first_id=input_first_id, duration=loop
    )
    wanted = nm.read_spike_trains(
        target_file, n_neurons=outputs, first_id=target_first_id, duration=loop
    )
    if not (quiet or as_json):
        for trains, first_id, flag in (
            (read, input_first_id, "--input-first-id"),
            (wanted, target_first_id, "--target-first-id"),
        ):
            if first_id is None and len(trains) and trains.neurons.min() == 1:
                click.echo(
                    f"note: the lowest id in {trains.source} is 1: if ids count from 1 there, "
                    f"pass {flag} 1",
                    err=True,
                )
    run = nm.train_spikes(
        read,
        wanted,
        hidden=_layers(hidden),
        feedback=feedback,
        preset=preset,
        seed=seed,
        out=out,
        resume=resume,
        overwrite=overwrite,
        progress=not (quiet or as_json),
        **options,
    )
    drawn = run_figures(run, figures)
    if animation is not None:
        drawn.append(str(run.animate(animation, overwrite=overwrite or resume)))
    print_run(run, drawn, quiet=quiet, as_json=as_json, out=out)


def _options(given: dict[str, Any], seconds: float | None) -> dict[str, Any]:
    """Options of --set; those that have a flag of their own are refused there."""
    from neuromodels.fits.superspike.options import SuperSpikeOptions
    from neuromodels.options import OptionError, names, nearest

    flags = {"hidden": "--hidden", "feedback": "--feedback", "duration_s": "--seconds"}
    known = set(names(SuperSpikeOptions)) - set(flags)
    for name in given:
        if name in flags:
            raise OptionError(f"--set {name} is {flags[name]}.", remedy=f"Use {flags[name]}.")
        if name not in known:
            raise OptionError(f"unknown option {name!r}.", "--set", nearest(name, known))
    return given if seconds is None else given | {"duration_s": seconds}


def _layers(text: str) -> tuple[int, ...]:
    try:
        layers = tuple(int(part) for part in text.split(","))
        return () if layers == (0,) else layers
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is no number of neurons; for example --hidden 256 or --hidden 128,64"
        ) from error


def run_figures(run: Any, folder: str | None) -> list[str]:
    """Draw a run into a folder."""
    if folder is None:
        return []
    from neuromodels.analysis.plots.style import figure_folder, save_figure

    made = {"run": run.plot(), "traces": run.plot_traces()}
    path = figure_folder(folder)
    return [str(save_figure(figure, path / f"{name}.png")) for name, figure in made.items()]


def print_run(
    run: Any, drawn: list[str], *, quiet: bool, as_json: bool, out: str | None = None
) -> None:
    """Print what a run says, and where it was written."""
    if as_json:
        from neuromodels.fits.superspike.text import run_summary

        print_json({"out": out, "figures": drawn} | run_summary(run))
    elif not quiet:
        click.echo(str(run))
        for path in drawn:
            click.echo(path)
        if out is not None:
            click.echo(size(out))


@command(
    "export-spikes",
    "  neuromodels export-spikes run.h5 --to brian2 --out network.py\n"
    "  neuromodels export-spikes run.h5 --to nir --out network.nir\n"
    "  neuromodels export-spikes run.h5 --to ras --out learned.ras\n",
)
@click.argument("run_file", metavar="RUN", type=click.Path())
@click.option(
    "--to",
    "kind",
    type=click.Choice(["brian2", "nir", "ras"]),
    required=True,
    help="A Brian2 script that runs alone, a NIR graph, or the output spikes as .ras.",
)
@click.option("--out", required=True, type=click.Path(), help="File to write.")
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
def export_spikes_command(
    run_file: str, kind: str, out: str, overwrite: bool, quiet: bool, as_json: bool
) -> None:
    """Take a trained spiking network, or what it did, to another program."""
    import warnings

    from neuromodels.fits.superspike.export import export_run
    from neuromodels.fits.superspike.record import SpikingRun

    run = SpikingRun.load(run_file)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        written = export_run(run, kind, out, overwrite=overwrite)
    lost = [str(warning.message) for warning in caught]
    if as_json:
        print_json({"out": [str(path) for path in written], "warnings": lost})
        return
    for said in lost:
        click.echo(f"warning: {said}", err=True)
    if not quiet:
        for path in written:
            click.echo(str(path))
