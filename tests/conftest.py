"""What all tests share: the development images, one thread for torch, the same examples in every run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("provenet", derandomize=True, deadline=None, database=None, max_examples=30)
settings.load_profile("provenet")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums keep one order and test workers do not fight for cores; tests that never import torch pay nothing."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of development images beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return folder
