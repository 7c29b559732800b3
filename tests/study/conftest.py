"""Cells on handwritten digits that take a second each, and what of them must not depend on how they were made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provenet.core.files import read_log
from provenet.study.cells import Task, cell_key

WORDS = (
    *("steps=40", "batch_size=8", "data.limit=64", "net=resnet", "net.depth=8", "view.size=[8,8]"),
    *("augment=noise", "dropout=dropout", "optimizer.lr=0.05", "val_every=2"),
)
CLOCKED = {"seconds", "images_per_s", "peak_memory_mib"}
"""Figures that the clock and the machine decide."""


@pytest.fixture(scope="session")
def digit_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, decoded."""
    from provenet.core.log import Silent
    from provenet.data.build import open_store
    from provenet.data.index import read_index
    from provenet.data.options import DataOptions

    cache = tmp_path_factory.mktemp("decoded") / ".store"
    open_store(read_index("digits"), DataOptions(), cache, Silent())
    return cache


@pytest.fixture(scope="session")
def make_tasks(digit_store: Path) -> Callable[..., list[Task]]:
    """Return a function: study folder, seeds, changes of the recipe -> tasks; the digits are decoded there."""
    from provenet.recipe.load import load
    from provenet.recipe.words import parse_words

    recipe = load(parse_words(WORDS)).model_dump(mode="json")

    def make(study: Path, *seeds: int, **changes: Any) -> list[Task]:
        shutil.copytree(digit_store, study / "attempts" / ".store", dirs_exist_ok=True)
        recipes = [recipe | changes | {"seed": seed} for seed in seeds]
        keys = [cell_key(changed, "digits", "this code", 1) for changed in recipes]
        return [
            Task(key, "baseline", seed, "digits", changed, study, 1, key)
            for key, seed, changed in zip(keys, seeds, recipes, strict=True)
        ]

    return make


@pytest.fixture(scope="session")
def told() -> Callable[[Path], dict[str, Any]]:
    """Return a function: run folder -> everything of a finished run that must not depend on how it came about."""

    def tell(run: Path) -> dict[str, Any]:
        files = [
            run / "checkpoints/best/weights.safetensors",
            run / "recipe.yaml",
            run / "request.json",
            run / "choices.json",
            run / "data.json",
            run / "steps.jsonl",
        ]
        files += sorted(path for path in run.glob("views/*") if path.is_file())
        result = json.loads((run / "result.json").read_text())
        result["training"] = {key: value for key, value in result["training"].items() if key not in CLOCKED}
        rows = [
            {key: value for key, value in row.items() if key not in CLOCKED} for row in read_log(run / "epochs.jsonl")
        ]
        return {
            "files": {str(path.relative_to(run)): path.read_bytes() for path in files},
            "seen": json.loads((run / "provenance.json").read_text()).get("seen"),
            "result": result,
            "epochs": rows,
        }

    return tell


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory, make_tasks, told) -> Callable[[int], dict[str, Any]]:
    """Return a function: seed -> what the cell of that seed tells that was made in one go, in this process."""
    import torch

    from provenet.study.worker import carry_out

    study, made = tmp_path_factory.mktemp("unbroken") / "study", dict[int, dict[str, Any]]()

    def cell(seed: int) -> dict[str, Any]:
        if seed not in made:
            torch.set_num_threads(1)
            [task] = make_tasks(study, seed)
            assert carry_out(task).state == "done"
            made[seed] = told(study / "cells" / task.key)
        return made[seed]

    return cell
