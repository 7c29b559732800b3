"""The command line: one verb a file, no logic; errors become messages and exit codes here."""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from pathlib import Path

import typer

from provenet.cli.ablate import ablate
from provenet.cli.claims import claims
from provenet.cli.doctor import doctor
from provenet.cli.evaluate import evaluate
from provenet.cli.inspect import inspect
from provenet.cli.predict import predict
from provenet.cli.recipe import recipe_app
from provenet.cli.report import report
from provenet.cli.techniques import techniques
from provenet.cli.train import resume, train
from provenet.core.errors import ProvenetError
from provenet.core.files import storage_error

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train image networks from a folder, and prove what each technique bought.",
)
for verb in (inspect, train, resume, evaluate, predict, ablate, claims, doctor, techniques, report):
    app.command()(verb)
app.add_typer(recipe_app, name="recipe")


@app.callback()
def options(
    tracebacks: bool = typer.Option(False, "--traceback", help="Show where an error was raised.", is_eager=True),
) -> None:
    """Keep what holds for all verbs."""
    global _tracebacks
    _tracebacks = tracebacks


_tracebacks = False

_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM)
"""What an operating system answers when it will not store or read something: never a bug of ours."""


def main(words: list[str] | None = None) -> None:
    """Run a command and exit with its code; SIGTERM ends it as Ctrl-C does, everything closed."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(run(words))


def run(words: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        app(words)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except ProvenetError as error:
        return _failed(error)
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        return _failed(storage_error(error, Path(error.filename or "a file"), "read or write"))
    except MemoryError:
        typer.echo("error: no memory left. To do: a smaller batch_size or view.size.", err=True)
        return 7
    return 0


def _failed(error: ProvenetError) -> int:
    if _tracebacks:
        traceback.print_exc()
    for fault in error.faults:
        typer.echo(f"error: {fault}", err=True)
    return error.exit_code
