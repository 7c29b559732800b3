"""Imports go down only, also those inside functions."""

from __future__ import annotations

import ast

FLOORS = (
    *({"cli"}, {"api"}, {"claims"}, {"study", "doctor", "report"}, {"run"}, {"recipe"}, {"engine"}, {"nets"}),
    *({"data", "techniques", "metrics"}, {"records", "stats"}, {"core"}),
)
HEIGHT = {part: -number for number, floor in enumerate(FLOORS) for part in floor}
# The face of the package resolves its names from any floor.
FACE = {"__init__", "__main__"}


def part_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def imported(tree: ast.Module) -> set[str]:
    """Return the parts of provenet that a module imports anywhere."""
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("provenet.")}


def test_every_part_has_a_floor(modules):
    assert {part_of(name) for name in modules} - FACE <= HEIGHT.keys()


def test_imports_go_down_only(modules):
    wrong = [
        f"{name} imports {part}"
        for name, tree in modules.items()
        if part_of(name) not in FACE
        for part in imported(tree)
        if part != part_of(name) and HEIGHT[part] >= HEIGHT[part_of(name)]
    ]
    assert wrong == []


def test_relative_imports_are_not_used(modules):
    relative = [
        name
        for name, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []
