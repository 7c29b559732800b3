"""The rate sweep: the same for every arm, followed while the best is at an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from provenet.records.study import Arm, Cell, CellCost, Design
from provenet.study.cells import Task
from provenet.study.tune import MOST, SEED, best, tuned


def design(*rates: float) -> Design:
    arms = tuple(
        Arm(name=f"arm{i}", technique="", recipe={"seed": 0, "optimizer": {"name": "sgd", "lr": rate}})
        for i, rate in enumerate(rates)
    )
    settled = {"name": "s", "data": "d", "data_fingerprint": "f", "task": "classification", "metric": "accuracy"}
    return Design(**settled, mode="leave-one-out", arms=arms, seeds=(0,), threads=1, code="c")


class World:
    """Scores a rate by how near it is to the one that is best for the arm."""

    def __init__(self, optimum: dict[str, float], broken_above: float = 1e9) -> None:
        self.optimum, self.broken_above, self.made = optimum, broken_above, []

    def task(self, arm: Arm, seed: int) -> Task:
        assert seed == SEED
        return Task(f"{arm.name}@{arm.recipe['optimizer']['lr']}", arm.name, seed, "d", arm.recipe, Path(), 1, "")

    def carry_out(self, tasks) -> None:
        self.made += [task.key for task in tasks]

    def cell(self, task: Task) -> tuple[Cell, CellCost]:
        rate = task.recipe["optimizer"]["lr"]
        far = abs(rate / self.optimum[task.arm] - 1)
        curve = () if rate > self.broken_above else ((1.0, 1, 1 / (1 + far)),)
        return Cell(arm=task.arm, seed=task.seed, key=task.key, state="done", curve=curve), CellCost()


def run(world: World, start: Design) -> Design:
    return tuned(start, world.task, world.carry_out, world.cell)


def test_each_arm_gets_its_own_best_rate_of_the_same_sweep():
    world = World({"arm0": 0.1, "arm1": 0.33})
    found = run(world, design(0.1, 0.1))
    rates = [arm.recipe["optimizer"]["lr"] for arm in found.arms]
    assert rates == [0.1, 0.3]
    assert set(found.tuning["arm0"]) == {"0.033", "0.1", "0.3"}
    assert set(found.tuning["arm1"]) == {"0.033", "0.1", "0.3", "0.9"}
    assert len(world.made) == len(set(world.made)) == 7


@pytest.mark.parametrize("optimum", [1e-9, 1e9])
def test_the_sweep_goes_on_beyond_an_end_and_stops(optimum):
    world = World({"arm0": optimum})
    found = run(world, design(0.1))
    assert len(world.made) == MOST
    best_rate = found.arms[0].recipe["optimizer"]["lr"]
    tried = sorted(float(rate) for rate in found.tuning["arm0"])
    assert best_rate == (tried[0] if optimum < 1 else tried[-1])


def test_a_rate_that_breaks_is_never_best_and_an_arm_that_always_breaks_keeps_its_own():
    assert run(World({"arm0": 0.3}, broken_above=0.2), design(0.1)).arms[0].recipe["optimizer"]["lr"] == 0.1
    assert run(World({"arm0": 0.3}, broken_above=0), design(0.1)).arms[0].recipe["optimizer"]["lr"] == 0.1
    assert best({}) is None
