"""The command line: parse, call, print. Everything it does is one Python call as well."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

BAD_INPUT, INTERNAL, INTERRUPTED = 2, 1, 130

_EPILOG = """\b
Examples
  neuromodels demo
  neuromodels inspect cell.nwb
  neuromodels compare cell.nwb --models ln,glm,retina-cnn --out cell.h5 --figures figures
"""


class _Paragraphs(click.Command):
    """A command whose examples keep their lines."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they stand."""
        del ctx
        if self.epilog:
            formatter.write_paragraph()
            formatter.write(self.epilog.strip("\b\n") + "\n")


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="neuromodels")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """Fit models to neural recordings and compare them with baselines and the noise ceiling."""


def _command(name: str, examples: str) -> Callable[[Callable], click.Command]:
    """Register a command that always has --quiet and --json."""

    def register(function: Callable) -> click.Command:
        function = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")(
            click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(
                function
            )
        )
        return cli.command(name, cls=_Paragraphs, epilog=f"Examples\n{examples}")(function)

    return register


def _out_options(function: Callable) -> Callable:
    @click.option("--resume", is_flag=True, help="Go on with an interrupted run of this call.")
    @click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapped


def _data_options(function: Callable) -> Callable:
    @click.option(
        "--bin-width", type=float, help="Bins of the fit, s.  [default: 0.010 or the next multiple]"
    )
    @click.option("--stimulus", help="Which stimulus, if there are several.")
    @click.option("--test", help="Which trials are the repeated test, e.g. \"kind == 'repeat'\".")
    @click.option(
        "--axes", type=click.Choice(["xy", "yx"]), help="Pixel order of an NWB file.  [default: xy]"
    )
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapped


def _open(path: str, stimulus: str | None, test: str | None, axes: str | None) -> Any:
    import neuromodels as nm

    options = {} if axes is None else {"axes": axes}
    return nm.open_recording(path, stimulus=stimulus, test=test, **options)


def _finite(value: Any) -> Any:
    """JSON has no NaN: what does not exist is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _print_json(value: Any) -> None:
    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False))


def _options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """``--set name=value``; the value is read as TOML, a bare word as text."""
    import tomllib

    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} has no '='; for example --set epochs=10")
        try:
            found[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = text.strip()
    return found


def _config(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    from neuromodels.fits.options import read_config

    return read_config(path)


def _figures(result: Any, folder: str | None) -> list[str]:
    if folder is None:
        return []
    from neuromodels.analysis.plots.overview import save_figures

    return [str(path) for path in save_figures(result.tree, Path(folder))]


def _size(path: Any) -> str:
    return f"{path} ({Path(path).stat().st_size / 1e6:.1f} MB; open with xarray or h5py)"


@_command("models", "  neuromodels models\n  neuromodels models --json\n")
def models_command(quiet: bool, as_json: bool) -> None:
    """List what can be fitted, one line each."""
    from neuromodels.models import listing

    rows = listing()
    if as_json:
        _print_json([{"name": name, "summary": summary} for name, summary in rows])
    elif not quiet:
        width = max(len(name) for name, _ in rows)
        for name, summary in rows:
            click.echo(f"{name:<{width}}  {summary}")


@_command("inspect", "  neuromodels inspect cell.nwb\n  neuromodels inspect cell.h5 --json\n")
@click.argument("file", type=click.Path())
@_data_options
def inspect_command(
    file: str,
    bin_width: float | None,
    stimulus: str | None,
    test: str | None,
    axes: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Show what is in a recording, how reliable its neurons are, and what is wrong with it."""
    from neuromodels.analysis.inspection import inspect_recording

    recording = _open(file, stimulus, test, axes)
    found = inspect_recording(recording, bin_width)
    if as_json:
        _print_json(found.to_dict())
    elif not quiet:
        click.echo(found.text())
    elif found.errors:
        recording.validate().raise_errors()
    if found.errors:
        sys.exit(BAD_INPUT)


@_command(
    "fit",
    "  neuromodels fit cell.nwb --model ln --out ln.h5\n"
    "  neuromodels fit cell.nwb --model retina-cnn --set epochs=20 --out cnn.h5\n"
    "  neuromodels fit cell.nwb --model glm --config glm.toml --out glm.h5\n",
)
@click.argument("recording", type=click.Path())
@click.option("--model", required=True, help="Name as `neuromodels models` lists it.")
@click.option("--out", required=True, type=click.Path(), help="HDF5 file to write.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--config", type=click.Path(), help="Options in TOML.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="One option.")
@_data_options
@_out_options
def fit_command(
    recording: str,
    model: str,
    out: str,
    seed: int,
    config: str | None,
    settings: tuple[str, ...],
    bin_width: float | None,
    stimulus: str | None,
    test: str | None,
    axes: str | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fit one model to RECORDING and write it, with its scores, to one HDF5 file."""
    import neuromodels as nm
    from neuromodels.fits.options import make_request
    from neuromodels.fits.table import comparison_summary

    options = _config(config) | _options(settings)
    make_request(model, options)  # a wrong name is told before a large recording is opened
    opened = _open(recording, stimulus, test, axes)
    fitted = nm.fit(
        opened,
        model,
        seed=seed,
        bin_width=bin_width,
        stimulus=stimulus,
        out=out,
        resume=resume,
        overwrite=overwrite,
        progress=not (quiet or as_json),
        **options,
    )
    if as_json:
        _print_json({"out": out} | comparison_summary(_as_comparison(fitted)))
    elif not quiet:
        click.echo(str(fitted))
        click.echo(str(_as_comparison(fitted)))
        click.echo(f"\n{_size(out)}")


def _as_comparison(fitted: Any) -> Any:
    """A fit seen as a comparison of one model, to print its scores."""
    from neuromodels.fits.compare import comparison_of

    return comparison_of(fitted)


@_command(
    "compare",
    "  neuromodels compare cell.nwb --out cell.h5\n"
    "  neuromodels compare cell.nwb --models ln,glm,retina-cnn --seeds 3 --out cell.h5\n"
    "  neuromodels compare cell.nwb --out cell.h5 --resume\n",
)
@click.argument("recording", type=click.Path())
@click.option("--models", default="ln,glm,retina-cnn", show_default=True, help="Comma-separated.")
@click.option("--out", required=True, type=click.Path(), help="HDF5 file to write.")
@click.option("--figures", type=click.Path(), help="Folder for the figures (PNG).")
@click.option("--seed", type=int, default=0, show_default=True, help="First seed.")
@click.option("--seeds", type=int, default=1, show_default=True, help="How many.")
@click.option("--config", type=click.Path(), help="Options in TOML, a table per model.")
@click.option("--all-scores", is_flag=True, help="Print every score, per neuron too.")
@_data_options
@_out_options
def compare_command(
    recording: str,
    models: str,
    out: str,
    figures: str | None,
    seed: int,
    seeds: int,
    config: str | None,
    all_scores: bool,
    bin_width: float | None,
    stimulus: str | None,
    test: str | None,
    axes: str | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fit models to RECORDING and compare them with each other and with the noise ceiling."""
    opened = _open(recording, stimulus, test, axes)
    _compare(
        opened,
        [name.strip() for name in models.split(",") if name.strip()],
        out,
        figures,
        {
            "seed": seed,
            "seeds": seeds,
            "bin_width": bin_width,
            "stimulus": stimulus,
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
    from neuromodels.fits.table import comparison_summary, comparison_text

    comparison = nm.compare(
        recording, models, out=out, progress=not (quiet or as_json), **arguments
    )
    drawn = _figures(comparison, figures)
    if as_json:
        _print_json({"out": out, "figures": drawn} | comparison_summary(comparison))
    elif not quiet:
        click.echo(f"\n{comparison_text(comparison, all_scores)}")
        click.echo(f"\n{_size(out)}" + (f"   {figures}/*.png" if drawn else ""))


@_command(
    "predict",
    "  neuromodels predict cell.h5 other.nwb --model retina-cnn --out predicted.h5\n"
    "  neuromodels predict ln.h5 movie.npy --out predicted.h5\n",
)
@click.argument("fitted", type=click.Path())
@click.argument("stimulus_file", metavar="STIMULUS", type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="HDF5 file to write.")
@click.option("--model", help="Which model, if FITTED is a comparison of several.")
@click.option("--seed", type=int, help="Which seed of it.  [default: the first]")
@click.option("--stimulus", help="Which stimulus of STIMULUS, if there are several.")
@click.option("--test", help="Which trials of STIMULUS repeat, e.g. \"kind == 'repeat'\".")
@click.option(
    "--axes", type=click.Choice(["xy", "yx"]), help="Pixel order of an NWB file.  [default: xy]"
)
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
def predict_command(
    fitted: str,
    stimulus_file: str,
    out: str,
    model: str | None,
    seed: int | None,
    stimulus: str | None,
    test: str | None,
    axes: str | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Predict responses to STIMULUS with a model of FITTED.

    STIMULUS is a recording, or a movie as .npy of shape (time, y, x) with one frame per bin.
    """
    import neuromodels as nm
    from neuromodels.datasets.storage import check_output, write_tree

    check_output(out, overwrite)
    result = nm.load(fitted)
    given = _stimulus(stimulus_file, stimulus, test, axes)
    try:
        predicted = nm.predict(result, given, model=model, seed=seed)
    except nm.InputError as error:
        if error.where != "stimulus":
            raise
        raise nm.InputError(error.what, where=stimulus_file, remedy=error.remedy) from error
    write_tree(predicted, out, overwrite=overwrite)
    roles = {node.path.strip("/"): dict(node.sizes) for node in predicted.leaves}
    if as_json:
        _print_json({"out": out, "model": predicted.attrs["label"], "predicted": roles})
    elif not quiet:
        for name, sizes in roles.items():
            click.echo(f"{name}   {sizes['time']} bins x {sizes['neuron']} neurons")
        click.echo(_size(out))


def _stimulus(path: str, stimulus: str | None, test: str | None, axes: str | None) -> Any:
    """A recording, or frames in a .npy file (told by its first bytes)."""
    import numpy as np

    from neuromodels.datasets.errors import InputError

    try:
        with open(path, "rb") as file:
            is_numpy = file.read(6) == b"\x93NUMPY"
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror}).", where=path, remedy="Check the path."
        ) from error
    if not is_numpy:
        return _open(path, stimulus, test, axes)
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise InputError(
            f"is no array of numbers ({error}).", where=path, remedy="Save frames with numpy.save."
        ) from error


@_command(
    "show",
    "  neuromodels show cell.h5\n  neuromodels show cell.h5 --all-scores --figures figures\n",
)
@click.argument("result", type=click.Path())
@click.option("--figures", type=click.Path(), help="Folder for the figures (PNG).")
@click.option("--all-scores", is_flag=True, help="Print every score, per neuron too.")
def show_command(
    result: str, figures: str | None, all_scores: bool, quiet: bool, as_json: bool
) -> None:
    """Show the table of a RESULT that fit or compare wrote, and draw its figures again."""
    import neuromodels as nm
    from neuromodels.fits.table import comparison_summary, comparison_text

    found = nm.load(result)
    comparison = found if isinstance(found, nm.Comparison) else _as_comparison(found)
    drawn = _figures(comparison, figures)
    if as_json:
        _print_json({"figures": drawn} | comparison_summary(comparison))
    elif not quiet:
        click.echo(comparison_text(comparison, all_scores))


@_command("demo", "  neuromodels demo\n  neuromodels demo --out results/demo.h5 --overwrite\n")
@click.option("--out", type=click.Path(), default="results/demo.h5", show_default=True)
@click.option("--figures", type=click.Path(), default="results/demo", show_default=True)
@click.option("--seeds", type=int, default=1, show_default=True, help="How many.")
@click.option("--all-scores", is_flag=True, help="Print every score, per neuron too.")
@_out_options
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


def _user_errors() -> tuple[type[Exception], ...]:
    from neuromodels.options import OptionError

    # Only loaded if something has used the rooms: `--help` stays quick.
    errors = sys.modules.get("neuromodels.datasets.errors")
    return (OptionError,) if errors is None else (OptionError, errors.InputError)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 our fault, 2 bad input, 130 interrupted."""
    logging.basicConfig(level=os.environ.get("NEUROMODELS_LOG", "WARNING"))
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        code = cli.main(arguments, prog_name="neuromodels", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        _interrupted(arguments)
    except KeyboardInterrupt:
        _interrupted(arguments)
    except click.ClickException as error:
        error.show()
        sys.exit(BAD_INPUT)
    except BrokenPipeError:
        # The reader of a pipe has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # the last line of defence says what to report
        if debug:
            traceback.print_exc()
        if isinstance(error, _user_errors()):
            click.echo(str(error), err=True)
            sys.exit(BAD_INPUT)
        click.echo(
            f"neuromodels: internal error: {type(error).__name__}: {error}\n"
            "  Please report this; `neuromodels --debug ...` shows where it happened.",
            err=True,
        )
        sys.exit(INTERNAL)


def _interrupted(arguments: list[str]) -> None:
    text = "interrupted"
    if {"fit", "compare", "demo"} & set(arguments):
        text += ": what is done is kept; repeat the same command with --resume to go on"
    click.echo(f"\n{text}", err=True)
    sys.exit(INTERRUPTED)
