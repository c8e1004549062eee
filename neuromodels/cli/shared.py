"""What all commands share: how they are declared, what they print, how files are opened."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click


class Paragraphs(click.Command):
    """A command whose examples keep their lines."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they stand."""
        del ctx
        if self.epilog:
            formatter.write_paragraph()
            formatter.write(self.epilog.strip("\b\n") + "\n")


def command(name: str, examples: str) -> Callable[[Callable], click.Command]:
    """Declare a command that always has --quiet and --json."""

    def register(function: Callable) -> click.Command:
        function = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")(
            click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(
                function
            )
        )
        return click.command(name, cls=Paragraphs, epilog=f"Examples\n{examples}")(function)

    return register


def out_options(function: Callable) -> Callable:
    @click.option("--resume", is_flag=True, help="Go on with an interrupted run of this call.")
    @click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapped


#: Options of `open_recording` that have a flag of their own: type, metavar, help.
OPENING = {
    "stimulus": (
        str,
        "NAME|FILE",
        "Which stimulus; or the movie shown (npy, folder, mp4).",
    ),
    "test": (str, "CONDITION", "Which trials are the repeated test, e.g. \"kind == 'repeat'\"."),
    "covariates": (
        str,
        "FILE|NAMES",
        "Running, pupil, ... (csv, npz), added to the recording's own; or which of those.",
    ),
    "axes": (click.Choice(["xy", "yx"]), None, "Pixel order of an NWB file.  [default: xy]"),
    "frame_times": (str, "FILE", "Onset of every frame, s (npy, csv, txt)."),
    "frame_rate": (float, "HZ", "Frames per second, where there are no frame times."),
    "triggers": (str, "FILE", "Times of the triggers, s."),
    "frames_per_trigger": (str, "N|start", "Frames from one trigger to the next, or `start`."),
    "schedule": (str, "FILE", "Table of presentations: stimulus, start, repeat (csv)."),
    "trials": (str, "FILE", "Table of trials: start_time, stop_time, ... (csv)."),
    "mapping": (str, "FILE", "Which variable is what, in a MATLAB or HDF5 file (TOML)."),
}


def opening_options(function: Callable) -> Callable:
    """Add the options of `open_recording`; the command gets them as one dict, `opening`."""

    @wraps(function)
    def wrapped(*args: Any, open_settings: tuple[str, ...], **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in OPENING}
        opening = {name: value for name, value in given.items() if value is not None}
        per_trigger = opening.get("frames_per_trigger", "")
        if per_trigger.isdecimal():
            opening["frames_per_trigger"] = int(per_trigger)
        return function(*args, opening=opening | settings(open_settings, "--open"), **kwargs)

    decorated = click.option(
        "--open",
        "open_settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other option of open_recording, e.g. labels=all (see docs/recordings.md).",
    )(wrapped)
    for name, (kind, metavar, said) in reversed(OPENING.items()):
        flag = f"--{name.replace('_', '-')}"
        decorated = click.option(flag, name, type=kind, metavar=metavar, help=said)(decorated)
    return decorated


def bin_width_option(function: Callable) -> Callable:
    """Add --bin-width."""
    return click.option(
        "--bin-width", type=float, help="Bins of the fit, s.  [default: 0.010 or the next multiple]"
    )(function)


def stimuli_options(function: Callable) -> Callable:
    """Add --learn-from and --score-on, for recordings of several stimuli."""
    learn = click.option(
        "--learn-from",
        metavar="NAMES",
        help="Stimulus to learn from; a,b: each in turn; a+b: both together.",
    )
    score = click.option(
        "--score-on", metavar="NAMES", help="Stimuli to score on, with commas.  [default: all]"
    )
    return learn(score(function))


def finite(value: Any) -> Any:
    """JSON has no NaN: what does not exist is null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_json(value: Any) -> None:
    click.echo(json.dumps(finite(value), indent=2, ensure_ascii=False))


def settings(pairs: tuple[str, ...], flag: str = "--set") -> dict[str, Any]:
    """``NAME=VALUE``; the value is read as TOML, a bare word as text."""
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} has no '='; for example {flag} name=3")
        try:
            found[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = text.strip()
    return found


def size(path: Any) -> str:
    """What was written, how large it is and what opens it; a zarr store is a folder."""
    where = Path(path)
    if where.is_dir():
        total = sum(file.stat().st_size for file in where.rglob("*") if file.is_file())
        return f"{path} ({total / 1e6:.1f} MB; open with xarray or zarr)"
    return f"{path} ({where.stat().st_size / 1e6:.1f} MB; open with xarray or h5py)"
