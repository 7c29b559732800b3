"""What every check must be, and the words that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from provenet.doctor import checks
from provenet.doctor.registry import CHECKS
from provenet.doctor.vocabulary import SYMPTOMS, VOCABULARY

TEXTS = ("shows", "signal", "fix", "before", "after", "silent", "source")


def test_every_word_has_one_check():
    assert sorted(check.id for check in CHECKS) == sorted(VOCABULARY)
    assert len(VOCABULARY) == 71


def test_symptoms_stand_behind_causes_in_the_list():
    ids = [check.id for check in CHECKS]
    assert min(ids.index(id) for id in SYMPTOMS) > max(ids.index(id) for id in VOCABULARY if id not in SYMPTOMS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_a_check_says_all_that_its_page_needs(check):
    assert all(getattr(check, name).strip() for name in TEXTS)
    assert all(isinstance(value, int | float) for value in check.thresholds.values())
    assert check.before != check.after
    assert check.id not in check.hides


def test_every_file_of_checks_is_listed():
    folder = Path(checks.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if re.search(r"^CHECKS", path.read_text(), re.MULTILINE)}
    text = (folder.parent / "registry.py").read_text()
    assert {name for name in files if f"*{name}.CHECKS" not in text} == set()
