"""`provenet ablate`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provenet.cli.train import Data, Words

if TYPE_CHECKING:
    from rich.console import Console

    from provenet.records.study import StudyRecord

STYLES = {"helps": "green", "hurts": "red", "fails": "red"}


def ablate(  # noqa: PLR0913 - a command's options are its arguments
    data: Data,
    words: Words = None,
    arms: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Techniques to look at. Default: those the recipe has.")
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(metavar='"NAME: KEY=VALUE ..."', help='An arm of your own, "sgd: optimizer.name=sgd".'),
    ] = None,
    mode: Annotated[str, typer.Option(help="leave-one-out, add-one-in or grid (all combinations).")] = "leave-one-out",
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of every arm. Default: 5; raced: at most 10.")] = None,
    budget: Annotated[float | None, typer.Option(metavar="MINUTES", help="Shorten the trainings to fit.")] = None,
    tune_lr: Annotated[bool, typer.Option("--tune-lr", help="Every arm at its own best rate.")] = False,
    race: Annotated[bool, typer.Option("--race", help="Add seeds only while a verdict is open.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Cells at a time. Default: cores / 2, at most 8.")] = None,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS|local", help="Make the cells on a Ray cluster.")] = None,
    out: Annotated[Path | None, typer.Option(help="The study folder. Default: studies/NAME.")] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="A recipe file (YAML).")] = None,
) -> None:
    """Measure what each technique buys on DATA; the same command goes on with a study that was stopped."""
    started = time.monotonic()
    from rich.console import Console

    from provenet.api import Ablation, carry_out_study
    from provenet.cli.console import Terminal
    from provenet.recipe.load import gather

    terminal = Terminal(Console(highlight=False))
    names = None if arms is None else tuple(name.strip() for name in arms.split(",") if name.strip())
    wanted = Ablation(names, tuple(arm or ()), mode, seeds, budget, tune_lr, race, workers, ray)
    try:
        study = carry_out_study(data, gather(recipe, words or []), wanted, out, terminal, started)
    except KeyboardInterrupt:
        terminal.close()
        typer.echo("interrupted; the same command goes on with the cells that stand", err=True)
        raise typer.Exit(130) from None
    finally:
        terminal.close()
    _show(terminal.console, study.record)
    typer.echo(f"report: {study.report}")
    if not study.record.complete:
        typer.echo("error: some cells could not be made, see above. To do: give the same command again.", err=True)
        raise typer.Exit(6)


def _show(console: Console, record: StudyRecord) -> None:
    """Print a line an effect, then what to do."""
    from rich.text import Text

    for goal in ("convergence", "generalisation"):
        rows = [row for row in (*record.main_effects, *record.effects) if row.goal == goal and row.primary]
        if not rows:
            continue
        console.print(f"{goal} ({rows[0].measure}):")
        for row in rows:
            line = Text(f"  {row.arm:<{max(len(one.arm) for one in rows)}}  {row.words}")
            line.highlight_words([row.verdict], STYLES.get(row.verdict, "yellow"))
            console.print(line, soft_wrap=True)
    for sentence in record.advice:
        console.print(sentence, soft_wrap=True)
    if record.command:
        console.print(record.command, soft_wrap=True)
