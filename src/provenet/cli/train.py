"""`provenet train` and `provenet resume`."""

from __future__ import annotations

import shlex
import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from provenet.run.request import Request

Words = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Recipe values, as in epochs=10 net=resnet.")
]
Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A folder, .zip or .csv of images, digits, or torchvision:NAME.")
]
SaveEvery = Annotated[float, typer.Option(metavar="SECONDS", help="Time between checkpoints, at least.", min=0)]


class Stop:
    """While entered, turns the first Ctrl-C or SIGTERM into a wish to stop; the second one ends the process at once."""

    def __init__(self) -> None:
        self.code: int | None = None

    def __enter__(self) -> Stop:
        # What was ignored stays ignored: Ctrl-C is not meant for a job in the background.
        heeded = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._heard) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, _: FrameType | None) -> None:
        self.code = 128 + number
        signal.signal(number, signal.SIG_DFL)

    def __call__(self) -> bool:
        return self.code is not None


def train(  # noqa: PLR0913 - a command's options are its arguments
    data: Data,
    words: Words = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/NAME.")] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="A recipe file (YAML).")] = None,
    save_every: SaveEvery = 60.0,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what the run folder holds.")] = False,
    no_doctor: Annotated[bool, typer.Option("--no-doctor", help="Leave out the look for faults at the start.")] = False,
) -> None:
    """Train on DATA; the same command goes on with a run that was stopped."""
    started = time.monotonic()
    from provenet.api import default_out
    from provenet.recipe.load import gather
    from provenet.run.request import Request

    overrides = gather(recipe, words or [])
    folder = out or default_out(data, overrides)
    _follow(Request(data, overrides, folder, started, save_every, restart), doctor=not no_doctor)


def resume(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    save_every: SaveEvery = 60.0,
) -> None:
    """Go on with a run exactly where it was stopped."""
    from dataclasses import replace

    from provenet.run.request import request_of

    _follow(replace(request_of(run), save_every_s=save_every))


def _follow(request: Request, doctor: bool = False) -> None:
    """Carry a request out under the eyes of the terminal."""
    from provenet.api import carry_out
    from provenet.cli.console import Terminal
    from provenet.cli.figures import run_lines
    from provenet.engine.loop import Interrupted
    from provenet.run.train import Listeners

    terminal, stop = Terminal(), Stop()
    try:
        run = carry_out(request, Listeners(terminal, (terminal,), lambda: stop), doctor)
    except (Interrupted, KeyboardInterrupt) as interrupted:
        terminal.close()
        said = interrupted if isinstance(interrupted, Interrupted) else "interrupted"
        typer.echo(f"{said}\ngo on with: provenet resume {shlex.quote(str(request.out))}", err=True)
        raise typer.Exit(stop.code or 130) from None
    finally:
        terminal.close()
    for line in run_lines(run):
        terminal.note(line)
