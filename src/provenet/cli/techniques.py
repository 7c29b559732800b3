"""`provenet techniques`: what there is, and everything about one of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

_PARTS = {
    "Definition": "definition",
    "Default and why": "default_and_why",
    "Cost": "cost",
    "Fails when": "fails_when",
    "Source": "source",
}


def techniques(
    what: Annotated[str | None, typer.Argument(metavar="[SLOT[.NAME]]", help="A slot, or one technique of it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """List the techniques, those of one slot, or all about one: definition, default and why, cost, source, fields."""
    from rich.console import Console

    from provenet.recipe.show import card, cards, find

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

    def say(head: str, text: str, indent: str = "") -> None:
        console.print(Text.assemble(indent, (head, "bold"), "  ", text), soft_wrap=not console.is_terminal)

    say(f"{card['slot']}.{card['name']}", card["summary"])
    for title, key in _PARTS.items():
        say(title, card[key])
    for field in card["fields"]:
        default = "" if field["default"] is None else f" Default: {json.dumps(field['default'])}."
        say(f"{card['slot']}.{field['name']}", f"{field['allowed']}. {field['description']}{default}", "  ")
