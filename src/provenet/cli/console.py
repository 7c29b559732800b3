"""What a training looks like on a terminal, and as plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from provenet.engine.observe import StepInfo

REDRAW_S = 0.2
LINE_S = 30.0


class Terminal:
    """Follows a run: facts and choices as lines, updates as a bar; plain lines when there is no terminal.

    Args:
        console: where to print.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._bar: Progress | None = None
        self._drawn = -LINE_S
        self._told = time.monotonic()
        self._score = ""

    # --- a reporter -----------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        self._say(text)

    def warn(self, text: str) -> None:
        self._say(f"warning: {text}", "yellow")

    def choice(self, key: str, value: Any, reason: str) -> None:
        self._say(f"  {key} = {shown(value)}", None, f"  {reason}")

    def progress(self, what: str, done: int, total: int) -> None:
        """Draw how far a long piece of work has come; a line now and then on a plain output."""
        if self.console.is_terminal:
            self._draw(what, done, total, "")
            if done >= total:
                self.close()
        elif 0 < done < total and time.monotonic() - self._told >= LINE_S:
            self._told = time.monotonic()
            self._say(f"{what}: {done:,} of {total:,}")

    # --- an observer ----------------------------------------------------------------------------------------------

    def step(self, info: StepInfo) -> None:
        now = time.monotonic()
        last = info.step == info.total_steps
        if now - self._drawn < (REDRAW_S if self.console.is_terminal else LINE_S) and not last:
            return
        self._drawn = now
        text = (
            f"epoch {info.epoch:.2f}  loss {info.loss:.4f}{self._score}  lr {info.lr:.3g}  "
            f"{info.images_per_s:.0f} images/s  {_clock(info.left_s)} left"
        )
        if self.console.is_terminal:
            self._draw("training", info.step, info.total_steps, text)
        else:
            self._say(f"step {info.step}/{info.total_steps}  {text}")

    def validated(self, row: dict[str, Any]) -> None:
        scores = {name: value for name, value in row["val"].items() if isinstance(value, float)}
        primary, value = next(iter(scores.items()), ("", float("nan")))
        self._score = f"  val {primary} {value:.4f}"
        others = "  ".join(f"{name} {number:.4f}" for name, number in list(scores.items())[:4])
        mark = "  best so far" if row["best"] else ""
        loss = "" if row["train_loss"] is None else f"train loss {row['train_loss']:.4f}  "
        self._say(f"epoch {row['epoch']:g}  {loss}val {others}  after {_clock(row['seconds'])}{mark}")

    def event(self, row: dict[str, Any]) -> None:
        self._say(f"{row['kind']}: {row['text']}", "yellow")

    # --- drawing --------------------------------------------------------------------------------------------------

    def _say(self, text: str, style: str | None = None, dim: str = "") -> None:
        from rich.text import Text

        line = Text(text, style or "")
        line.append(dim, "dim")
        console = self._bar.console if self._bar is not None else self.console
        console.print(line, soft_wrap=True)

    def _draw(self, what: str, done: int, total: int, text: str) -> None:
        if self._bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(20),
                TextColumn("{task.percentage:>3.0f} %  {task.fields[text]}"),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.start()
            self._bar.add_task(what, text="")
        task = self._bar.task_ids[0]
        self._bar.update(task, description=what, completed=done, total=total, text=text)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def shown(value: Any) -> str:
    """Return a recipe value in one short form.

    Example:
        >>> shown([{"name": "flip"}, {"name": "shift", "max_px": 2}]), shown(0.1)
        ('flip, shift(max_px=2)', '0.1')
    """
    if isinstance(value, dict) and "name" in value:
        fields = ", ".join(f"{key}={shown(part)}" for key, part in value.items() if key != "name")
        return f"{value['name']}({fields})" if fields else str(value["name"])
    if isinstance(value, list | tuple):
        return ", ".join(shown(part) for part in value) if value else "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
