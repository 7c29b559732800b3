"""The pages of the doctor: complete, with links that lead somewhere and examples that are code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from provenet.doctor.cards import cards
from provenet.doctor.registry import CHECKS
from provenet.report.doctor_pages import FAMILIES, pages

DOCS = Path(__file__).parents[2] / "docs" / "doctor"
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_check_has_a_page_with_all_its_parts():
    found = pages(cards())
    assert set(found) == {"README.md", *(f"{check.id}.md" for check in CHECKS)}
    for check in CHECKS:
        page = found[f"{check.id}.md"]
        heads = re.findall(r"^## (.+)$", page, re.MULTILINE)
        assert heads[:4] == ["How it shows", "What is measured", "What to do", "When it stays silent"], check.id
        assert [code.strip() for code in CODE.findall(page)] == [check.before.strip(), check.after.strip()], check.id
        assert f"[`{check.id}`]({check.id}.md)" in found["README.md"]


def test_the_index_names_every_word_once_and_every_family():
    index = pages(cards())["README.md"]
    assert sorted(re.findall(r"^\| \[`([\w-]+)`\]", index, re.MULTILINE)) == sorted(check.id for check in CHECKS)
    assert re.findall(r"^## (.+)$", index, re.MULTILINE) == list(FAMILIES.values())


def test_every_link_leads_somewhere():
    found = pages(cards())
    for name, text in found.items():
        for link in LINK.findall(re.sub(r"`[^`]*`", "", CODE.sub("", text))):
            assert link in found or (DOCS / link).is_file(), (name, link)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_examples_are_code(check):
    for text in (check.before, check.after):
        ast.parse(text)
    assert check.before != check.after


def test_what_is_said_of_a_check_is_text_and_no_markup():
    card = cards()[0] | {"shows": "a < b and *c* in <d>", "thresholds": {"A|B": 0.5}}
    page = pages([card])[f"{card['id']}.md"]
    assert r"a < b and \*c\* in \<d>" in page
    assert r"| A\|B | 0.5 |" in page


def test_the_committed_pages_are_what_the_checks_say_now():
    written = pages(cards())
    there = {path.name: path.read_text() for path in DOCS.iterdir()}
    changed = sorted(name for name in written.keys() | there.keys() if written.get(name) != there.get(name))
    assert changed == [], (
        "docs/doctor is out of date: run `make docs` and commit what it writes (and delete what it left)"
    )
