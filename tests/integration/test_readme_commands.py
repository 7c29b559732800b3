"""Commands that README.md marks to be run (fences of the kind "console run") end well."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
FENCE = re.compile(r"^```console run\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Return the words of each `provenet` command in the marked fences."""
    lines = [line.removeprefix("$ ") for fence in FENCE.findall(text) for line in fence.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("provenet ")]


def test_marked_commands_are_found():
    text = "```console run\n$ provenet train digits epochs=1  # quick\nreport: x\n```\n```console\n$ provenet no\n```\n"
    assert commands(text) == [["train", "digits", "epochs=1"]]


def test_marked_commands_end_well(call, tmp_path, monkeypatch):
    found = commands(README.read_text())
    if not found:
        pytest.skip("README.md marks no command to be run")
    monkeypatch.chdir(tmp_path)
    for words in found:
        code, _, errors = call(*words)
        assert code == 0, (words, errors)
