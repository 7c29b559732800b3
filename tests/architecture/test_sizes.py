"""Files, functions and signatures stay small, and what is public says what it is."""

from __future__ import annotations

import ast
from pathlib import Path

MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 400, 50, 6
PROMISED = {"cli/ablate.py ablate", "cli/doctor.py doctor", "cli/train.py train", "doctor/doctor.py diagnose"}
"""Faces of the package whose parameters (keywords, options of a command) users were promised."""
ROOT = Path(__file__).parents[2]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def parameters(function: Function) -> list[str]:
    arguments = function.args
    return [
        a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if a.arg not in ("self", "cls")
    ]


def test_files_are_short():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in ROOT.glob("src/**/*.py")}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_functions_are_short(modules):
    long = [
        f"{name}:{function.lineno} {function.name}"
        for name, tree in modules.items()
        for function in functions(tree)
        if function.end_lineno - function.lineno + 1 > MOST_FUNCTION_LINES
    ]
    assert long == []


def test_signatures_are_short(modules):
    wide = [
        f"{name}:{function.lineno} {function.name}"
        for name, tree in modules.items()
        for function in functions(tree)
        if len(parameters(function)) > MOST_PARAMETERS and f"{name} {function.name}" not in PROMISED
    ]
    assert wide == []


def test_what_is_public_has_a_docstring(modules):
    """Methods are left out where a base or protocol describes them, nested functions where their parent does."""
    silent = []
    for name, tree in modules.items():
        if ast.get_docstring(tree) is None and tree.body:
            silent.append(name)
        for node in tree.body:
            public = isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
            if public and ast.get_docstring(node) is None:
                silent.append(f"{name}:{node.lineno} {node.name}")
    assert silent == []
