"""Every member of every slot in a real training: the same keys give the same bytes, and a stop changes none of them.

Members are found through the registry, so a new one is tested too.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from provenet import techniques
from provenet.core.spec import Technique, members
from provenet.engine.checkpoint import Checkpoints
from provenet.engine.loop import Interrupted, Loop
from provenet.engine.state import TrainState
from provenet.recipe.build import Session
from provenet.recipe.load import from_text, load
from provenet.recipe.schema import Recipe, dump_yaml
from provenet.techniques.augment import Flip
from provenet.techniques.optimizer import SGD
from provenet.techniques.schedule import Plateau
from provenet.techniques.transfer import FineTune

BREAK = 3
"""The update after which a run is stopped: in the middle of its second epoch, after a validation."""


def eager(slot: str, member: type[Technique]) -> Technique:
    """Return a member; an augmentation that changes some pictures changes all of them."""
    return member(p=1.0) if slot == "augment" and "p" in member.model_fields else member()


CASES = [(slot, eager(slot, member)) for slot, union in techniques.SLOTS.items() for member in members(union)]
IDS = [f"{slot}.{member.name}" for slot, member in CASES]
SETTINGS = {
    "alternating flip": ("augment", Flip(alternating=True)),
    "plateau that drops": ("schedule", Plateau(patience=1, gamma=0.1, warmup_frac=0.2)),
    "no momentum": ("optimizer", SGD(lr=0.02, momentum=0.0)),
    "body learns after the stop": ("transfer", FineTune(head_first_frac=0.7, bn="train_stats")),
    "last groups learn after the stop": ("transfer", FineTune(head_first_frac=0.7, bn="train", unfreeze=1)),
}


class NoJournal:
    """Logs that nobody reads."""

    def step(self, row: dict[str, Any]) -> None: ...

    def validated(self, row: dict[str, Any]) -> None: ...

    def event(self, row: dict[str, Any]) -> None:
        raise AssertionError(f"out of the ordinary: {row}")

    def sync(self) -> dict[str, int]:
        return {}

    def cut(self, lengths: dict[str, int]) -> None: ...


def everything(state: TrainState) -> dict[str, object]:
    """Return all that training changes but the clock: weights, averages, optimizer state, counters."""
    tensors = {name: value for part in state.tensors() for name, value in part.items()}
    found: dict[str, object] = {
        name: (value.dtype, value.shape, value.detach().contiguous().numpy().tobytes())
        for name, value in tensors.items()
    }
    plain = state.plain()
    plain["counters"]["seconds"] = 0
    return found | {name: json.dumps(value, sort_keys=True) for name, value in plain.items()}


def differing(ours: dict[str, object], theirs: dict[str, object]) -> list[str]:
    return [name for name in ours | theirs if ours.get(name) != theirs.get(name)]


@dataclass
class Sitting:
    """One process's share of a run: everything built anew from the recipe's text, global generators somewhere else."""

    build: Callable[[Recipe], Session]
    recipe: Recipe
    folder: Path
    noise: int
    stops: bool = False
    at_break: dict[str, object] = field(default_factory=dict)

    def run(self) -> dict[str, object]:
        """Begin or go on; return everything at the end."""
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(self.noise)
        recipe = load(from_text(dump_yaml(self.recipe), "recipe.yaml"))
        assert recipe == self.recipe
        session, checkpoints = self.build(recipe), Checkpoints(self.folder)
        self.state = session.new_state()
        if checkpoints.steps():
            checkpoints.load(self.state)
        with contextlib.suppress(Interrupted):
            Loop(session.job, self.state, checkpoints, NoJournal(), interrupted=self._asked).run()
        return everything(self.state) | {"best": (self.folder / "best" / "weights.safetensors").read_bytes()}

    def _asked(self) -> bool:
        if self.state.counters.step == BREAK:
            self.at_break = everything(self.state)
        return self.stops and self.state.counters.step == BREAK


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails in these tests, so nothing waits for the disk."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.mark.parametrize(("slot", "member"), [*CASES, *SETTINGS.values()], ids=[*IDS, *SETTINGS])
def test_same_keys_give_same_bytes_and_resume_equals_unbroken(
    slot: str, member: Technique, recipe_with: Any, build: Any, tmp_path: Path
) -> None:
    recipe = recipe_with(slot, member)
    whole = Sitting(build, recipe, tmp_path / "whole", noise=1)
    unbroken = whole.run()
    first = Sitting(build, recipe, tmp_path / "parts", noise=2, stops=True)
    first.run()
    assert first.state.counters.step == BREAK
    assert differing(first.at_break, whole.at_break) == [], "same keys, same bytes"
    second = Sitting(build, recipe, tmp_path / "parts", noise=3)
    resumed = second.run()
    assert second.state.counters.step == recipe.steps
    assert differing(resumed, unbroken) == []
    learnt = [name for name in differing(unbroken, whole.at_break) if name.startswith("net.")]
    assert learnt, "nothing was learnt behind the stop, so it could have lost nothing"


def test_what_resume_could_forget_is_looked_at(recipe_with: Any, build: Any, tmp_path: Path) -> None:
    """Guards the comparison itself: names of weights, average, momentum, groups and counters are in it."""
    sitting = Sitting(build, recipe_with("average", techniques.EMA()), tmp_path, noise=1)
    names = set(sitting.run())
    assert {"counters", "optimizer", "groups", "best"} <= names
    assert {"net.head.weight", "averaged.head.weight"} <= names
    assert any(name.endswith(".momentum_buffer") for name in names)
    assert any("running_var" in name for name in names)
    assert len(CASES) == len(set(IDS)) >= 74
