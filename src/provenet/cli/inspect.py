"""`provenet inspect`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from provenet.cli.train import Data


def inspect(
    data: Data,
    words: Annotated[list[str] | None, typer.Argument(metavar="[data.KEY=VALUE]...")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say what is in DATA: task, classes, sizes, bad files, duplicates, leaks, mask values. Nothing is trained."""
    import json

    from provenet.api import inspect as look
    from provenet.cli.console import Terminal
    from provenet.core.errors import Fault, RecipeError, listed
    from provenet.core.log import Silent
    from provenet.recipe.load import gather

    terminal = Terminal()
    overrides = gather(None, words or [])
    others = sorted(path for path in overrides.explicit if not path.startswith("data."))
    if others:
        raise RecipeError(Fault("inspect trains nothing", listed(others), "data.KEY=VALUE", "leave the others out"))
    options = overrides.get("data") or {}
    found = look(data, Silent() if as_json else terminal, **options)
    terminal.close()
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for line in lines(data, found):
        terminal.note(line)


def lines(data: str, found: dict[str, Any]) -> list[str]:
    """Return the findings as lines for a terminal."""
    shown = [f"{data}: {found['layout']}", f"task: {found['task']}, {len(found['classes'])} classes"]
    for split, number in found["num_images"].items():
        counts = ", ".join(f"{name} {count}" for name, count in found["counts"].get(split, {}).items())
        shown.append(f"{split:<5} {number} images ({counts})" if counts else f"{split:<5} {number} images")
    sizes = list(found["sizes"].items())
    shown.append(f"sizes: {len(sizes)} distinct; " + ", ".join(f"{size}: {count}" for size, count in sizes[:6]))
    stored = found["stored"]
    shown.append(f"stored as {stored['channels']} channels of {stored['dtype']}")
    if found["mask_census"]:
        census = ", ".join(
            f"{value}: {pixels} pixels in {files} masks" for value, pixels, files in found["mask_census"][:12]
        )
        shown.append(f"mask values: {census}")
    shown += [f"rule: {rule}" for rule in found["rules"]]
    shown += [f"quarantined: {row['file']}: {row['reason']}" for row in found["quarantined"][:20]]
    if len(found["quarantined"]) > 20:
        shown.append(f"quarantined: and {len(found['quarantined']) - 20} more (--json lists all)")
    return shown
