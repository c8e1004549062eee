"""The command line: parse, call, print. Everything it does is one Python call as well."""

from __future__ import annotations

import logging
import os
import sys
import traceback

import click

from neuromodels.cli import fitting, papers, recordings, simulating, spiking, stimuli

BAD_INPUT, INTERNAL, INTERRUPTED = 2, 1, 130

_EPILOG = """\b
Examples
  neuromodels demo
  neuromodels inspect cell.nwb
  neuromodels compare cell.nwb --models ln,glm,retina-cnn --out cell.h5 --figures figures
"""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="neuromodels")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """Fit models to neural recordings and compare them with baselines and the noise ceiling."""


for _command in (
    recordings.models_command,
    recordings.inspect_command,
    recordings.convert_command,
    fitting.fit_command,
    fitting.compare_command,
    fitting.predict_command,
    fitting.show_command,
    fitting.demo_command,
    spiking.train_spikes_command,
    spiking.export_spikes_command,
    stimuli.stimulus_command,
    simulating.simulate_group,
    papers.papers_command,
    papers.reproduce_command,
):
    cli.add_command(_command)


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
    if {"fit", "compare", "demo", "train-spikes", "reproduce"} & set(arguments):
        text += ": what is done is kept; repeat the same command with --resume to go on"
    click.echo(f"\n{text}", err=True)
    sys.exit(INTERRUPTED)
