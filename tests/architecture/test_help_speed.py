"""The command line answers without what takes seconds to import; counted in modules, which no busy machine changes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SLOW = {"torch", "torchvision", "timm", "cv2", "sklearn", "scipy", "numpy", "pandas", "altair", "PIL"}
CODE = """
import json, sys
from provenet.cli.main import run
code = run({words!r})
sys.stderr.write(json.dumps([code, sorted(sys.modules)]))
"""


def modules_after(*words: str) -> tuple[int, set[str], str]:
    """Return exit code, top-level modules and output of a command in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(words=list(words))], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stderr)
    return code, {name.split(".")[0] for name in modules}, done.stdout


def test_help_imports_nothing_slow():
    code, modules, shown = modules_after("--help")
    assert code == 0
    assert modules & SLOW == set()
    verbs = ("inspect", "train", "resume", "evaluate", "predict", "doctor", "techniques", "report")
    assert all(verb in shown for verb in verbs)


@pytest.mark.parametrize("verb", ["train", "doctor"])
def test_help_of_a_verb_imports_nothing_slow(verb):
    code, modules, shown = modules_after(verb, "--help")
    assert code == 0
    assert modules & SLOW == set()
    assert "--out" in shown
