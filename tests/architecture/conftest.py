"""The source, parsed once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "provenet"


@pytest.fixture(scope="session")
def modules() -> dict[str, ast.Module]:
    """Syntax tree by path below src/provenet."""
    found = {str(path.relative_to(SOURCE)): ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}
    assert len(found) > 80
    return found
