"""A study from wishes to its record: the plan made or read again, cells in rounds, what they come to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from provenet.core.errors import Fault, RecipeError, listed
from provenet.core.files import read_json, write_json
from provenet.core.log import Reporter
from provenet.recipe.tree import Overrides
from provenet.records.study import Arm, Cell, CellCost, Design, StudyRecord
from provenet.run.provenance import provenance
from provenet.run.request import located
from provenet.study.analyse import analyse, open_arms, race_looks
from provenet.study.cells import Outcome, StudyFolder, Task, cell_key, read_cell
from provenet.study.plan import (
    VALIDATIONS,
    Base,
    Wishes,
    arms_of,
    cost_min,
    make_base,
    make_design,
    pace_of,
    share_for,
    validations_for,
    with_length,
)
from provenet.study.tune import tuned

PLAN = "plan.json"
FIRST_SEEDS = 3
"""Seeds that every arm gets before seeds are raced."""


class Execute(Protocol):
    """Carries tasks out, wherever that is; returns when all have an outcome."""

    def __call__(
        self, tasks: Sequence[Task], heard: Callable[[Outcome], None], progress: Callable[[str, float], None]
    ) -> None:
        """Call `heard` once for each task, and `progress` with a key and a share now and then."""


@dataclass(eq=False)
class Study:
    """A study at work.

    Args:
        folder: where it lies.
        design: what is compared.
        execute: carries cells out.
        reporter: hears how it goes.
    """

    folder: StudyFolder
    design: Design
    execute: Execute
    reporter: Reporter
    _read: dict[str, tuple[Cell, CellCost]] = field(default_factory=dict)

    def task(self, arm: Arm, seed: int) -> Task:
        """Return a cell as a task."""
        recipe = arm.recipe | {"seed": arm.recipe["seed"] + seed}
        design = self.design
        key = cell_key(recipe, design.data_fingerprint, design.code, design.threads)
        # an arm with other choices about data has splits, and a fingerprint, of its own
        same = arm.recipe["data"] == design.arms[0].recipe["data"]
        fingerprint = design.data_fingerprint if same else ""
        return Task(key, arm.name, seed, design.data, recipe, self.folder.path, design.threads, key, fingerprint)

    def cell(self, task: Task) -> tuple[Cell, CellCost]:
        """Return what a cell's folder tells; a finished one is read once."""
        if task.key not in self._read:
            found = read_cell(self.folder, task.arm, task.seed, task.key)
            if found[0].state != "done":
                return found
            self._read[task.key] = found
        cell, cost = self._read[task.key]
        return cell.model_copy(update={"arm": task.arm, "seed": task.seed}), cost

    def carry_out(self, tasks: Iterable[Task]) -> None:
        """Carry out the cells that have no outcome yet, each once."""
        wanted = {task.key: task for task in tasks}
        left = {key: task for key, task in wanted.items() if not self._settled(key)}
        if not left:
            return
        Progress(self, left, len(wanted)).run()

    def _settled(self, key: str) -> bool:
        """Whether a cell is done, or failed in a way that would repeat itself."""
        outcome = self.folder.outcome_of(key)
        return outcome is not None and (outcome.state == "done" or outcome.final)

    def tasks(self) -> list[Task]:
        """Return all cells of the design, seed by seed, so that arms are even whenever the study is looked at."""
        return [self.task(arm, seed) for seed in self.design.seeds for arm in self.design.arms]

    def cells(self) -> list[Cell]:
        """Return all cells as they stand."""
        return [self.cell(task)[0] for task in self.tasks()]

    def record(self) -> StudyRecord:
        """Return what the study comes to, and write it."""
        found = [(task.key, *self.cell(task)) for task in self.tasks()]
        cells, costs = [cell for _, cell, _ in found], {key: cost for key, _, cost in found}
        looks = race_looks(self.design, cells) if self.design.race else ()
        recipe = self.design.arms[0].recipe
        machine = provenance("", recipe["device"], recipe["precision"], {"fingerprint": self.design.data_fingerprint})
        record = analyse(self.design, cells, costs, looks, provenance=machine)
        write_json(self.folder.effects, record.model_dump(mode="json"))
        return record


@dataclass(eq=False)
class Progress:
    """One call of an engine, followed.

    Args:
        study: whose cells they are.
        tasks: by key.
        total: cells of this round, those done before included.
    """

    study: Study
    tasks: dict[str, Task]
    total: int
    _shares: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _done: int = 0

    def run(self) -> None:
        """Carry the tasks out."""
        self.study.execute(list(self.tasks.values()), self._heard, self._moved)
        self.study.reporter.progress("cells", 1, 1)

    def _moved(self, key: str, share: float) -> None:
        self._shares[key] = share
        before = self.total - len(self.tasks)
        self.study.reporter.progress("cells", int(before + self._work()), self.total)

    def _work(self) -> float:
        """Return the cells' worth of work done in this call."""
        return self._done + sum(self._shares.values())

    def _heard(self, outcome: Outcome) -> None:
        self._shares.pop(outcome.key, None)
        self._done += 1
        task, count = self.tasks[outcome.key], self.total - len(self.tasks) + self._done
        left_s = (time.monotonic() - self._began) / self._work() * (len(self.tasks) - self._work())
        when = f"cell {count} of {self.total}" + (
            f", about {max(1, round(left_s / 60))} min left" if left_s > 30 else ""
        )
        name = f"{task.arm}, seed {task.seed}"
        if outcome.state == "failed":
            self.study.reporter.warn(f"{name} failed: {outcome.reason} ({when})")
            return
        cell, _ = self.study.cell(task)
        best = max((score for *_, score in cell.curve), default=None)
        score = "no validation" if best is None else f"best validation {self.study.design.metric} {best:.4f}"
        self.study.reporter.note(f"{name}: {score} ({when})")


def ablate(wishes: Wishes, execute: Execute, reporter: Reporter) -> StudyRecord:
    """Make a study, or go on with it; cells that stand are not made again.

    Args:
        wishes: what was asked for.
        execute: carries cells out.
        reporter: hears how it goes.

    Raises:
        RecipeError: the folder holds a study of other data or of another recipe; an arm is no recipe.
    """
    folder = StudyFolder(wishes.out)
    with folder.owned():
        base, design = _plan(folder, wishes, reporter)
        torch.set_num_threads(base.threads)
        study = Study(folder, design, execute, reporter)
        if wishes.tune_lr:
            study.design = tuned(study.design, lambda arm, seed: study.task(arm, seed), study.carry_out, study.cell)
        write_json(folder.design, study.design.model_dump(mode="json"))
        _rounds(study)
        return study.record()


def _rounds(study: Study) -> None:
    """Carry out all cells; where seeds are raced, those of a seed only for arms with an open verdict."""
    design = study.design
    if not design.race:
        study.carry_out(study.tasks())
        return
    study.carry_out(study.task(arm, seed) for seed in design.seeds[:FIRST_SEEDS] for arm in design.arms)
    for seed in design.seeds[FIRST_SEEDS:]:
        racing = open_arms(design, study.cells())
        if not racing:
            return
        study.reporter.note(f"seed {seed}: still open are {listed(racing)}")
        study.carry_out(study.task(arm, seed) for arm in design.arms if arm is design.arms[0] or arm.name in racing)


def _plan(folder: StudyFolder, wishes: Wishes, reporter: Reporter) -> tuple[Base, Design]:
    """Return the base of the study folder, made now or before, and the design of this command."""
    asked = _asked(wishes.data, wishes.overrides, wishes.budget_min)
    plan = folder.path / PLAN
    if plan.exists():
        stored = read_json(plan)
        _refuse_other(folder, stored["asked"], asked)
        base = Base(**stored["base"] | {"choices": tuple(stored["base"]["choices"])})
        design = make_design(wishes, base, arms_of(wishes, base), _thought(folder))
        reporter.note(f"{folder.path} holds a plan; its recipe and length stay")
    else:
        base, design = _new_plan(folder, wishes, reporter)
        write_json(plan, {"asked": asked, "base": asdict(base)})
    return base, design


def _thought(folder: StudyFolder) -> float | None:
    """Return the minutes that the study before in this folder was thought to take."""
    if not folder.design.exists():
        return None
    found = read_json(folder.design)["minutes"]
    return None if found is None else float(found)


def _asked(data: str, overrides: Overrides, budget_min: float | None) -> dict[str, Any]:
    """Return what all studies of a folder have in common."""
    return {"data": located(data), "overrides": overrides.tree, "budget_min": budget_min}


def same_study(path: Path, data: str, overrides: Overrides, budget_min: float | None) -> bool:
    """Return whether a folder holds a study that was begun with this request, whatever its arms and seeds."""
    plan = path / PLAN
    return plan.exists() and bool(read_json(plan)["asked"] == _asked(data, overrides, budget_min))


def _new_plan(folder: StudyFolder, wishes: Wishes, reporter: Reporter) -> tuple[Base, Design]:
    """Settle recipe and length, and say what the study will cost."""
    base, dataset = make_base(wishes, folder.attempts / ".store", reporter)
    per_epoch = max(1, len(dataset.splits["train"]) // base.recipe["batch_size"])
    free = not wishes.overrides.sets("val_every")
    base = with_length(base, 1.0, per_epoch, VALIDATIONS if free else None)
    arms = arms_of(wishes, base)
    reporter.note(f"measuring what a cell of each of {len(arms)} arms takes")
    paces = [pace_of(arm, dataset, base.data, folder.attempts / ".store") for arm in arms]
    if wishes.budget_min is not None:
        left_s = (wishes.budget_min * 60 - (time.monotonic() - wishes.started)) * wishes.workers
        num = validations_for(left_s, paces, wishes.seeds) if free else max(pace.validations for pace in paces)
        share = share_for(0.95 * left_s, paces, wishes.seeds, num)
        if share < 1:
            base = with_length(base, share, per_epoch, num if free else None)
            arms = arms_of(wishes, base)
            paces = [replace(pace, train_s=pace.train_s * share, validations=num) for pace in paces]
    minutes = cost_min(paces, wishes.seeds, wishes.workers)
    length = f"{base.recipe['steps']:,} updates" if base.recipe["steps"] else f"{base.recipe['epochs']:g} epochs"
    most = "at most " if wishes.race else ""
    reporter.note(
        f"{most}{len(arms) * wishes.seeds} cells: {len(arms)} arms x {wishes.seeds} seeds, {length} each; "
        f"{most}about {max(1, round(minutes))} min ({wishes.workers} at a time, {base.threads} threads each)"
    )
    for arm in arms[1:]:
        reporter.note(f"  {arm.name}: {arm.says}")
    return base, make_design(wishes, base, arms, minutes)


def _refuse_other(folder: StudyFolder, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse to mix studies of different data or recipes; other arms and more seeds may come in.

    Raises:
        RecipeError: names what differs.
    """
    differing = [key for key in asked if stored.get(key) != asked[key]]
    if differing:
        faults = [
            Fault(f"{folder.path}: {key} differs", str(asked[key]), f"as it was begun: {stored.get(key)}")
            for key in differing
        ]
        remedy = "repeat the first command (other --arms and --seeds are fine), or give another --out"
        raise RecipeError([replace(faults[0], remedy=remedy), *faults[1:]])
