"""A small laboratory on the handwritten digits."""

from __future__ import annotations

import pytest

from provenet.claims.lab import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Two seeds on digits; no claim of segmentation may be asked of it."""
    return Lab("quick", (0, 1), {"classification": "digits"}, tmp_path_factory.mktemp("lab"))
