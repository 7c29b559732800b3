"""`provenet techniques`: what there is, and everything about one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def techniques(
    what: Annotated[str | None, typer.Argument(metavar="[SLOT[.NAME]]", help="A slot, or one technique of it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    pages: Annotated[
        Path | None, typer.Option("--pages", metavar="DIR", help="Write a Markdown page for each slot to a folder.")
    ] = None,
) -> None:
    """List the techniques, those of one slot, or all about one: definition, default and why, cost, source, fields."""
    from rich.console import Console

    from provenet.recipe.show import card, cards, find

    if pages is not None:
        _write(pages, what, as_json)
        return
    slot, member = find(what) if what else (None, None)
    if slot is not None and member is not None:
        found = [card(slot, member)]
    else:
        found = cards(slot)
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    elif member is not None:
        _page(Console(highlight=False), found[0])
    else:
        _table(Console(highlight=False), found)


def _write(folder: Path, what: str | None, as_json: bool) -> None:
    """Write the pages of all slots."""
    from provenet.core.errors import Fault, RecipeError
    from provenet.recipe.show import cards
    from provenet.report.techniques import write_pages

    if what or as_json:
        raise RecipeError(
            Fault("--pages writes all slots and stands alone", what or "--json", "", "leave the other word out")
        )
    typer.echo(f"{len(write_pages(folder, cards()))} pages: {folder}")


def _table(console: Console, found: list[dict[str, Any]]) -> None:
    """Print one line a technique: a table on a terminal, aligned text elsewhere."""
    if not console.is_terminal:
        names = [f"{card['slot']}.{card['name']}" for card in found]
        width = max(map(len, names))
        for name, card in zip(names, found, strict=True):
            typer.echo(f"{name:<{width}}  {card['summary']}")
        return
    from rich.table import Table

    table = Table("slot", "name", "what it does", box=None, header_style="bold", pad_edge=False)
    last = None
    for card in found:
        table.add_row(card["slot"] if card["slot"] != last else "", card["name"], card["summary"])
        last = card["slot"]
    console.print(table)


def _page(console: Console, card: dict[str, Any]) -> None:
    """Print everything about one technique."""
    from rich.text import Text

    from provenet.report.techniques import HEADS, field_path

    def say(head: str, text: str, indent: str = "") -> None:
        console.print(Text.assemble(indent, (head, "bold"), "  ", text), soft_wrap=not console.is_terminal)

    say(f"{card['slot']}.{card['name']}", card["summary"])
    for title, key in HEADS.items():
        say(title, card[key])
    for field in card["fields"]:
        default = "" if field["default"] is None else f" Default: {json.dumps(field['default'])}."
        say(field_path(card, field["name"]), f"{field['allowed']}. {field['description']}{default}", "  ")
