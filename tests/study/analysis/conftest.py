"""Studies made up for the analysis: designs and cells of a few plain figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from provenet.records.study import Arm, Cell, Design

DesignMaker = Callable[..., Design]
CellMaker = Callable[..., Cell]
RECIPE: dict[str, Any] = {
    "norm": {"name": "batch", "momentum": 0.1},
    "dropout": {"name": "dropout", "rate": 0.2},
    "augment": [{"name": "flip", "chance": 0.5}, {"name": "shift", "share": 0.1}],
    "optimizer": {"name": "sgd", "lr": 0.1},
    "epochs": 10.0,
    "clip": None,
    "seed": 0,
}


def _arm(name: str, technique: str = "", without: bool = False, lacks: tuple[str, ...] = (), **changed: Any) -> Arm:
    return Arm(name=name, technique=technique, without=without, lacks=lacks, recipe={**RECIPE, **changed})


@pytest.fixture(scope="session")
def make_arm() -> Callable[..., Arm]:
    """Makes an arm: name, technique, without, lacks, and blocks of the recipe that it changes."""
    return _arm


@pytest.fixture(scope="session")
def make_design() -> DesignMaker:
    """Makes the design of a baseline and some arms."""

    def make(arms: Sequence[Arm], seeds: int = 5, **changed: Any) -> Design:
        known = {
            "name": "study",
            "data": "my photos",
            "data_fingerprint": "",
            "task": "classification",
            "metric": "accuracy",
            "mode": "leave-one-out",
            "threads": 1,
            "code": "",
        }
        return Design(**{**known, **changed}, arms=(_arm("baseline"), *arms), seeds=tuple(range(seeds)))

    return make


@pytest.fixture(scope="session")
def make_cell() -> CellMaker:
    """Makes a finished cell that climbs by 0.1 an epoch, ten updates each, to 0.9, after a delay in epochs."""

    def make(arm: str, seed: int, delay: float = 0.0, test: float = 0.8, **changed: Any) -> Cell:
        curve = tuple((epoch, 10 * epoch, round(min(0.9, 0.1 * max(0.0, epoch - delay)), 6)) for epoch in range(1, 21))
        known = {
            "key": f"{arm}-{seed}",
            "state": "done",
            "curve": curve,
            "budget_epochs": 20,
            "budget_steps": 200,
            "test": test,
            "gap": 0.05,
        }
        return Cell(arm=arm, seed=seed, **{**known, **changed})

    return make
