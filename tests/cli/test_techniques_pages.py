"""The committed technique pages: equal to what the source says now, complete, with links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from provenet import techniques
from provenet.core.spec import members, name_of
from provenet.recipe.form import known_paths
from provenet.recipe.schema import Recipe
from provenet.recipe.show import cards
from provenet.report.markdown import prose
from provenet.report.techniques import BETTER, BOTH, FASTER, SLOTS, field_path, pages

DOCS = Path(__file__).parents[2] / "docs"
COMMITTED = {path.name: path.read_text() for path in (DOCS / "techniques").iterdir()}
LINK = re.compile(r"\]\(([^)\s]+)\)")
URL = re.compile(r"\b[a-z]+://[^\s>)]+")


def test_the_committed_pages_are_what_the_source_says_now(call, tmp_path):
    assert call("techniques", "--pages", tmp_path)[0] == 0
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    changed = sorted(name for name in written.keys() | COMMITTED.keys() if written.get(name) != COMMITTED.get(name))
    assert changed == [], "docs/techniques is out of date: run `make docs` and commit"


def test_every_slot_has_a_page_and_every_member_a_section():
    assert set(techniques.SLOTS) <= {name.removesuffix(".md") for name in COMMITTED}
    for slot, union in techniques.SLOTS.items():
        sections = re.findall(r"^## (\w+)$", COMMITTED[f"{slot}.md"], re.MULTILINE)
        assert sections == [name_of(member) for member in members(union)]
        assert COMMITTED[f"{slot}.md"].count("**Source:**") == len(sections)


def test_the_lectures_goals_are_those_of_its_table():
    goals = {slot: goal for slot, (_, goal) in SLOTS.items()}
    assert {slot for slot, goal in goals.items() if goal == FASTER} == {"init", "schedule", "inputs", "norm", "block"}
    assert {slot for slot, goal in goals.items() if goal == BETTER} == {"augment", "dropout", "skip"}
    assert {slot for slot, goal in goals.items() if goal == BOTH} == {"transfer"}


def test_every_address_is_https():
    found = [url for text in COMMITTED.values() for url in URL.findall(text)]
    assert len(found) > 50
    assert [url for url in found if not url.startswith("https://")] == []


@pytest.mark.parametrize("name", sorted([*COMMITTED, "../adding-a-technique.md"]))
def test_every_link_leads_to_a_section_that_is_there(name):
    path = (DOCS / "techniques" / name).resolve()
    for link in LINK.findall(path.read_text()):
        file, _, section = link.partition("#")
        goal = path.parent / file if file else path
        assert goal.is_file(), link
        assert not section or f"\n## {section}\n" in goal.read_text(), link


def test_every_field_is_named_as_a_recipe_names_it():
    named = {field_path(card, field["name"]) for card in cards() for field in card["fields"]}
    assert named <= set(known_paths(Recipe))
    shown = set(re.findall(r"^\| `([\w.]+)` \|", "\n".join(COMMITTED.values()), re.MULTILINE))
    assert shown == named


def test_one_slot_or_json_beside_pages_is_a_usage_error(call, tmp_path):
    for words in (("norm",), ("--json",)):
        code, _, errors = call("techniques", *words, "--pages", tmp_path)
        assert code == 2
        assert "stands alone" in errors
    assert list(tmp_path.iterdir()) == []


def test_marks_of_markdown_in_a_docstring_are_shown_as_they_are():
    assert prose("w <- w - lr <b> *x* _y_ a_b") == r"w <- w - lr \<b> \*x\* \_y\_ a_b"


def test_a_bar_in_a_summary_does_not_end_the_cell():
    card = {
        "slot": "norm",
        "name": "a",
        "summary": "x | y",
        **dict.fromkeys(("definition", "default_and_why", "cost", "fails_when", "source"), "z."),
        "fields": [],
    }
    assert r"| x \| y |" in pages([card])["norm.md"]
