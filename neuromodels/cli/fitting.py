"""Commands that fit, compare, predict and show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neuromodels.cli.several import open_all, print_set
from neuromodels.cli.shared import (
    bin_width_option,
    command,
    opening_options,
    out_options,
    print_json,
    size,
    stimuli_options,
)
from neuromodels.cli.shared import settings as read_settings


def _config(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    from neuromodels.fits.options import read_config

    return read_config(path)


def _figures(result: Any, folder: str | None) -> list[str]:
    if folder is None:
        return []
    from neuromodels.analysis.plots.overview import save_figures

    if len(result.stimuli) == 1:
        return [str(path) for path in save_figures(result.tree, Path(folder))]
    return [
        str(path)
        for name in result.stimuli
        for path in save_figures(result.on(name).tree, Path(folder) / name)
    ]


@command(
    "fit",
    "  neuromodels fit cell.nwb --model ln --out ln.h5\n"
    "  neuromodels fit cell.nwb --model retina-cnn --set epochs=20 --out cnn.h5\n"
    "  neuromodels fit cell.nwb --model glm --config glm.toml --out glm.h5\n",
)
@click.argument("recordings", metavar="RECORDING...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--model",
    required=True,
    help="As `neuromodels models` lists it; ln+running, ln+all: told covariates.",
)
@click.option("--out", required=True, type=click.Path(), help="HDF5 file to write.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--config", type=click.Path(), help="Options in TOML, or a table of them named as the model."
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="One option.")
@stimuli_options
@bin_width_option
@opening_options
@out_options
def fit_command(
    recordings: tuple[str, ...],
    model: str,
    out: str,
    seed: int,
    config: str | None,
    settings: tuple[str, ...],
    learn_from: str | None,
    score_on: str | None,
    bin_width: float | None,
    opening: dict[str, Any],
    resume: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fit one model to RECORDING and write it, with its scores, to one HDF5 file.

    With several recordings one core is fitted to all, with a readout for each.
    """
    import neuromodels as nm
    from neuromodels.fits.options import make_request, options_of
    from neuromodels.fits.table_text import comparison_summary
    from neuromodels.models import parse

    options = _config(config)
    if any(isinstance(value, dict) for value in options.values()):
        options = options_of(parse(model), options)  # a file for `compare`: a table per model
    options = options | read_settings(settings)
    make_request(model, options)  # a wrong name is told before a large recording is opened
    fitted = nm.fit(
        open_all(recordings, opening),
        model,
        seed=seed,
        bin_width=bin_width,
        learn_from=learn_from,
        score_on=score_on,
        out=out,
        resume=resume,
        overwrite=overwrite,
        progress=not (quiet or as_json),
        **options,
    )
    if isinstance(fitted, nm.ComparisonSet):
        print_set(fitted, None, out=out, quiet=quiet, as_json=as_json)
    elif as_json:
        print_json({"out": out} | comparison_summary(_as_comparison(fitted)))
    elif not quiet:
        click.echo(str(fitted))
        click.echo(str(_as_comparison(fitted)))
        click.echo(f"\n{size(out)}")


def _as_comparison(fitted: Any) -> Any:
    """A fit seen as a comparison of one model, to print its scores."""
    from neuromodels.fits.compare import comparison_of

    return comparison_of(fitted)


@command(
    "compare",
    "  neuromodels compare cell.nwb --out cell.h5\n"
    "  neuromodels compare cell.nwb --models ln,glm,retina-cnn --seeds 3 --out cell.h5\n"
    "  neuromodels compare cell.nwb --learn-from noise,natural --out cell.h5\n"
    "  neuromodels compare mouse1.h5 mouse2.h5 --models ln,retina-cnn-shared --out mice.h5\n"
    "  neuromodels compare cell.nwb --out cell.h5 --resume\n",
)
@click.argument("recordings", metavar="RECORDING...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--models",
    default="ln,glm,retina-cnn",
    show_default=True,
    help="Comma-separated; +NAME: told a covariate.",
)
@click.option("--out", required=True, type=click.Path(), help="HDF5 file to write.")
@click.option("--figures", type=click.Path(), help="Folder for the figures (PNG).")
@click.option("--seed", type=int, default=0, show_default=True, help="First seed.")
@click.option("--seeds", type=int, default=1, show_default=True, help="How many.")
@click.option("--config", type=click.Path(), help="Options in TOML, a table per model.")
@click.option("--all-scores", is_flag=True, help="Print every score, per neuron too.")
@stimuli_options
@bin_width_option
@opening_options
@out_options
def compare_command(
    recordings: tuple[str, ...],
    models: str,
    out: str,
    figures: str | None,
    seed: int,
    seeds: int,
    config: str | None,
    all_scores: bool,
    learn_from: str | None,
    score_on: str | None,
    bin_width: float | None,
    opening: dict[str, Any],
    resume: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fit models to RECORDING and compare them with each other and with the noise ceiling.

    With several recordings each model is fitted to each, and retina-cnn-shared with one core to
    all; the scores are averaged over animals.
    """
    _compare(
        open_all(recordings, opening),
        [name.strip() for name in models.split(",") if name.strip()],
        out,
        figures,
        {
            "seed": seed,
            "seeds": seeds,
            "bin_width": bin_width,
            "learn_from": learn_from,
            "score_on": score_on,
            "options": _config(config),
            "resume": resume,
            "overwrite": overwrite,
        },
        quiet=quiet,
        as_json=as_json,
        all_scores=all_scores,
    )


def _compare(
    recording: Any,
    models: list[str],
    out: str,
    figures: str | None,
    arguments: dict[str, Any],
    *,
    quiet: bool,
    as_json: bool,
    all_scores: bool,
) -> None:
    import neuromodels as nm
    from neuromodels.fits.table_text import comparison_summary, comparison_text

    comparison = nm.compare(
        recording, models, out=out, progress=not (quiet or as_json), **arguments
    )
    if isinstance(comparison, nm.ComparisonSet):
        print_set(comparison, figures, out=out, all_scores=all_scores, quiet=quiet, as_json=as_json)
        return
    drawn = _figures(comparison, figures)
    if as_json:
        print_json({"out": out, "figures": drawn} | comparison_summary(comparison))
    elif not quiet:
        click.echo(f"\n{comparison_text(comparison, all_scores)}")
        click.echo(f"\n{size(out)}" + (f"   {figures}/*.png" if drawn else ""))


@command(
    "predict",
    "  neuromodels predict cell.h5 other.nwb --model retina-cnn --out predicted.h5\n"
    "  neuromodels predict ln.h5 movie.npy --out predicted.h5\n"
    "  neuromodels predict mice.h5 flash.h5 --member mouse1 --model ln --out predicted.h5\n",
)
@click.argument("fitted", type=click.Path())
@click.argument("stimulus_file", metavar="STIMULUS", type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="HDF5 file to write.")
@click.option("--member", help="Which recording's, if FITTED holds several.")
@click.option("--model", help="Which model, if FITTED is a comparison of several.")
@click.option("--seed", type=int, help="Which seed of it.  [default: the first]")
@opening_options
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
def predict_command(
    fitted: str,
    stimulus_file: str,
    out: str,
    member: str | None,
    model: str | None,
    seed: int | None,
    opening: dict[str, Any],
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Predict responses to STIMULUS with a model of FITTED.

    STIMULUS is a recording, a movie that `neuromodels stimulus` wrote, or a movie as .npy of shape
    (time, y, x) with one frame per bin.
    """
    import neuromodels as nm
    from neuromodels.datasets.storage import check_output, write_tree

    check_output(out, overwrite)
    result = nm.load(fitted)
    given = _stimulus(stimulus_file, opening)
    try:
        predicted = nm.predict(result, given, member=member, model=model, seed=seed)
    except nm.InputError as error:
        if error.where != "stimulus":
            raise
        raise nm.InputError(error.what, where=stimulus_file, remedy=error.remedy) from error
    write_tree(predicted, out, overwrite=overwrite)
    roles = {node.path.strip("/"): dict(node.sizes) for node in predicted.leaves}
    if as_json:
        print_json({"out": out, "model": predicted.attrs["label"], "predicted": roles})
    elif not quiet:
        for name, sizes in roles.items():
            click.echo(f"{name}   {sizes['time']} bins x {sizes['neuron']} neurons")
        click.echo(size(out))


def _stimulus(path: str, opening: dict[str, Any]) -> Any:
    """A recording, a movie that `stimulus` wrote, or frames in a .npy file (told by content)."""
    import numpy as np

    import neuromodels as nm
    from neuromodels.datasets.errors import InputError
    from neuromodels.datasets.stimuli.files import is_movie_file, load_movie

    try:
        if Path(path).is_dir() or "://" in path:
            return nm.open_recording(path, **opening)
        with open(path, "rb") as file:
            is_numpy = file.read(6) == b"\x93NUMPY"
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror}).", where=path, remedy="Check the path."
        ) from error
    if not is_numpy:
        if is_movie_file(path):
            return load_movie(path)
        return nm.open_recording(path, **opening)
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise InputError(
            f"is no array of numbers ({error}).", where=path, remedy="Save frames with numpy.save."
        ) from error


@command(
    "show",
    "  neuromodels show cell.h5\n  neuromodels show cell.h5 --all-scores --figures figures\n"
    "  neuromodels show fits.h5 --truth sim.h5\n",
)
@click.argument("result", type=click.Path())
@click.option("--figures", type=click.Path(), help="Folder for the figures (PNG).")
@click.option("--all-scores", is_flag=True, help="Print every score, per neuron too.")
@click.option(
    "--truth", type=click.Path(), help="The simulation that was fitted, to score against."
)
def show_command(
    result: str,
    figures: str | None,
    all_scores: bool,
    truth: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Show the RESULT of fit, compare, train-spikes or reproduce, and draw its figures again."""
    import neuromodels as nm
    from neuromodels.fits.table_text import comparison_summary, comparison_text

    found = nm.load(result)
    if truth is not None:
        _print_recovery(found, truth, quiet=quiet, as_json=as_json)
        return
    if isinstance(found, nm.ComparisonSet):
        print_set(found, figures, all_scores=all_scores, quiet=quiet, as_json=as_json)
        return
    if isinstance(found, nm.SpikingRun):
        from neuromodels.cli.spiking import print_run, run_figures

        print_run(found, run_figures(found, figures), quiet=quiet, as_json=as_json)
        return
    if not isinstance(found, nm.Comparison | nm.Fit):
        from neuromodels.cli.papers import print_reproduction

        drawn = [] if figures is None else found.save_figures(figures)
        print_reproduction(found, drawn, quiet=quiet, as_json=as_json)
        return
    comparison = found if isinstance(found, nm.Comparison) else _as_comparison(found)
    drawn = _figures(comparison, figures)
    if as_json:
        print_json({"figures": drawn} | comparison_summary(comparison))
    elif not quiet:
        click.echo(comparison_text(comparison, all_scores))


def _print_recovery(found: Any, truth: str, *, quiet: bool, as_json: bool) -> None:
    """What the models of a result recovered of a simulation's truth."""
    import neuromodels as nm
    from neuromodels.fits.truth.recovery_text import recovery_text

    recovered = nm.recovery(found, truth)
    if as_json:
        print_json(recovered.to_dict())
    elif not quiet:
        click.echo(recovery_text(recovered))


@command("demo", "  neuromodels demo\n  neuromodels demo --out results/demo.h5 --overwrite\n")
@click.option("--out", type=click.Path(), default="results/demo.h5", show_default=True)
@click.option("--figures", type=click.Path(), default="results/demo", show_default=True)
@click.option("--seeds", type=int, default=1, show_default=True, help="How many.")
@click.option("--all-scores", is_flag=True, help="Print every score, per neuron too.")
@out_options
def demo_command(
    out: str,
    figures: str,
    seeds: int,
    all_scores: bool,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fit LN, GLM and retina CNN to the bundled recording: a few minutes on two cores."""
    import neuromodels as nm

    recording = nm.sample_recording()
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    if not quiet and not as_json:
        click.echo(
            "recording      6 retinal ganglion cells, 31-pixel bar movie: 30 min and 54 repeats "
            "of 6.7 s\n"
            "               (Mahuas et al. 2020; defaults were developed on this recording)\n"
        )
    _compare(
        recording,
        ["ln", "glm", "retina-cnn"],
        out,
        figures,
        {"seeds": seeds, "resume": resume, "overwrite": overwrite},
        quiet=quiet,
        as_json=as_json,
        all_scores=all_scores,
    )
    if not quiet and not as_json:
        click.echo("next: neuromodels compare YOUR.nwb --out yours.h5")
