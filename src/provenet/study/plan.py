"""From data and wishes to a design: the recipe resolved once, as `train` would, and a budget shared out."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import torch

from provenet.core.errors import Fault, RecipeError, near
from provenet.core.log import Reporter, Silent
from provenet.data.dataset import Dataset, prepare
from provenet.data.index import read_index
from provenet.recipe.build import Session, build_session, fit_stats
from provenet.recipe.schema import Recipe
from provenet.recipe.tree import Overrides
from provenet.recipe.words import words_of
from provenet.records.study import Arm, Design, Mode
from provenet.run.budget import FINAL_EXTRA_S, measure
from provenet.run.planning import settle
from provenet.run.provenance import code_hash
from provenet.run.request import Request, located
from provenet.study.arms import check_arms, find_parts, make_arms, own_arm, usual_parts, words_between

FEWEST_VALIDATIONS, VALIDATIONS = 5, 12
"""Of a cell: the time to a target is read between two of them. Fewer than the larger number where a budget is short."""
VALIDATION_SHARE = 0.2
"""Share of a short budget that validations may take before they become fewer."""
BESIDE_S = 4.0
"""Seconds that a cell takes beside updates and scores: reading the data, statistics of the inputs, its records."""


@dataclass(frozen=True)
class Wishes:
    """What a user asked of a study.

    Args:
        data: path or name of the data.
        overrides: what the user set of the recipe.
        out: the study folder.
        parts: names of techniques; None: those that the recipe has.
        own: arms that the user wrote, "no-bn: norm.name=none".
        mode: how arms are made of techniques.
        seeds: seeds of every arm; where they are raced, the most that one gets.
        budget_min: minutes that the study may take; None: as long as the recipe says.
        tune_lr: give every arm its own best rate.
        race: add seeds only while a verdict is open.
        workers: cells at a time.
        threads: threads of a cell; None: the cores divided by the workers.
        started: `time.monotonic()` when the command began.
    """

    data: str
    overrides: Overrides
    out: Path
    parts: tuple[str, ...] | None = None
    own: tuple[str, ...] = ()
    mode: Mode = "leave-one-out"
    seeds: int = 5
    budget_min: float | None = None
    tune_lr: bool = False
    race: bool = False
    workers: int = 1
    threads: int | None = None
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Base:
    """What all arms of a study folder are made from: written to plan.json once.

    Args:
        recipe: the recipe as `train` would resolve it, its length settled.
        choices: what was chosen for it, as rows of `choices.json`.
        data: path or name of the data.
        fingerprint: hash of the data.
        num_classes: classes of the data.
        threads: threads of every cell.
        share: share of the length that `train` would choose.
    """

    recipe: dict[str, Any]
    choices: tuple[dict[str, Any], ...]
    data: str
    fingerprint: str
    num_classes: int
    threads: int
    share: float = 1.0


def mode_of(word: str) -> Mode:
    """Return a mode by its name.

    Raises:
        RecipeError: there is no such mode.
    """
    for mode in get_args(Mode):
        if word == mode:
            return mode
    allowed = ", ".join(get_args(Mode))
    raise RecipeError(Fault("there is no such mode", word, allowed, near(word, get_args(Mode))))


def make_base(wishes: Wishes, store: Path, reporter: Reporter) -> tuple[Base, Dataset]:
    """Return the settled recipe of a study that begins, and its data.

    Args:
        wishes: what was asked for.
        store: where decoded pictures are kept.
        reporter: hears facts and choices.
    """
    threads = wishes.threads or max(1, torch.get_num_threads() // wishes.workers)
    torch.set_num_threads(threads)
    session, choices = settle(Request(wishes.data, wishes.overrides, wishes.out, wishes.started), store, reporter)
    dataset = session.dataset
    if not len(dataset.splits["val"]) or not len(dataset.splits["test"]):
        what = "a study compares validation and test scores, and the data have no such split"
        got = ", ".join(f"{name} {len(ids)}" for name, ids in dataset.splits.items())
        raise RecipeError(Fault(what, got, "a share for both", "say data.val_frac=0.15 data.test_frac=0.15"))
    rows = tuple({"key": c.key, "value": c.value, "reason": c.reason} for c in choices)
    tree = session.recipe.model_dump(mode="json")
    base = Base(tree, rows, located(wishes.data), dataset.fingerprint(), len(dataset.classes), threads)
    return base, dataset


def arms_of(wishes: Wishes, base: Base) -> tuple[Arm, ...]:
    """Return the arms that were asked for, the baseline first.

    Raises:
        RecipeError: an arm is no recipe, or is there twice, or there is none; all faults of an arm at once.
    """
    recipe = Recipe.model_validate(base.recipe)
    asked = wishes.parts is not None or not wishes.own
    parts = find_parts(wishes.parts, recipe) if wishes.parts is not None else usual_parts(recipe) if asked else ()
    arms = make_arms(recipe, parts, wishes.mode)
    baseline = Recipe.model_validate(arms[0].recipe)
    arms += tuple(own_arm(baseline, text) for text in wishes.own)
    check_arms(arms)
    return arms


@dataclass(frozen=True)
class Pace:
    """What one cell of an arm is thought to take, in seconds.

    Args:
        train_s: all updates.
        validation_s: one validation.
        validations: how many there are.
        fixed_s: the rest, whatever the length.
    """

    train_s: float
    validation_s: float
    validations: int
    fixed_s: float

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.train_s + self.validation_s * self.validations + self.fixed_s


def pace_of(arm: Arm, dataset: Dataset, data: str, store: Path) -> Pace:
    """Return what a cell of an arm takes, from measured updates and scores."""
    session = _session(Recipe.model_validate(arm.recipe), dataset, data, store)
    found = measure(session, session.net)
    job = session.job
    validations = -(-job.total_steps // job.steps_per_validation)
    final_s = found.final_s - FINAL_EXTRA_S + BESIDE_S
    return Pace(found.step_s * job.total_steps, found.validation_s, validations, final_s)


def _session(recipe: Recipe, dataset: Dataset, data: str, store: Path) -> Session:
    """Return net and training of an arm; an arm with other choices about data has its own splits."""
    if recipe.data != dataset.options:
        dataset = prepare(read_index(data), recipe.data, store, Silent())
    return build_session(recipe, dataset, fit_stats(recipe, dataset))


def cost_min(paces: Iterable[Pace], cells: int, workers: int) -> float:
    """Return the minutes that a study is thought to take.

    Args:
        paces: one of each arm.
        cells: cells of each arm.
        workers: cells at a time, each with its share of the threads.

    Example:
        >>> cost_min([Pace(50.0, 1.0, 8, 2.0)] * 4, cells=5, workers=2)
        10.0
    """
    return sum(pace.total_s for pace in paces) * cells / workers / 60


def validations_for(budget_s: float, paces: Sequence[Pace], cells: int) -> int:
    """Return how many validations a cell can have within a budget.

    Example:
        >>> [validations_for(budget_s, [Pace(100.0, 1.0, 40, 4.0)] * 2, 10) for budget_s in (100.0, 800.0, 5000.0)]
        [5, 8, 12]
    """
    most = VALIDATION_SHARE * budget_s / cells / sum(pace.validation_s for pace in paces)
    return int(min(VALIDATIONS, max(FEWEST_VALIDATIONS, most)))


def share_for(budget_s: float, paces: Sequence[Pace], cells: int, validations: int = VALIDATIONS) -> float:
    """Return which share of their updates trainings can have within a budget, at most 1.

    Args:
        budget_s: seconds of all workers together.
        paces: one of each arm.
        cells: cells of each arm.
        validations: of each cell.

    Raises:
        RecipeError: not even a hundredth fits.

    Example:
        >>> share_for(1000.0, [Pace(100.0, 0.5, 40, 4.0)] * 2, cells=10)
        0.4
    """
    beside_s = sum(pace.fixed_s + pace.validation_s * validations for pace in paces)
    train_s = sum(pace.train_s for pace in paces)
    share = (budget_s / cells - beside_s) / train_s
    if share < 0.01:
        got = f"{cells * len(paces)} cells, of which each takes {beside_s / len(paces):.0f} s beside its updates"
        needed = (beside_s + 0.05 * train_s) * cells / 60 + 1
        remedy = f"a budget of {needed:.0f} worker minutes, fewer --seeds or --arms, or a smaller net or view"
        raise RecipeError(Fault(f"--budget is too short: {budget_s / 60:.0f} worker minutes", got, "", remedy))
    return min(1.0, share)


def with_length(base: Base, share: float, steps_per_epoch: int, validations: int | None = None) -> Base:
    """Return a base whose trainings have a share of their length.

    Args:
        base: the base.
        share: in (0, 1].
        steps_per_epoch: updates of an epoch of the baseline.
        validations: how many a cell has, more where the recipe has more and the length stays; None: as the recipe says.
    """
    tree = dict(base.recipe)
    if tree["steps"] is not None:
        tree["steps"] = max(2, round(tree["steps"] * share))
        epochs = tree["steps"] / steps_per_epoch
    else:
        tree["epochs"] = epochs = float(f"{tree['epochs'] * share:.3g}")
    if validations is not None and (share < 1 or tree["val_every"] > epochs / validations):
        tree["val_every"] = float(f"{max(1 / steps_per_epoch, epochs / validations):.3g}")
    return replace(base, recipe=tree, share=float(f"{base.share * share:.3g}"))


def make_design(wishes: Wishes, base: Base, arms: Sequence[Arm], minutes: float | None) -> Design:
    """Return the design of a study."""
    recipe, full = Recipe.model_validate(arms[0].recipe), Recipe.model_validate(base.recipe)
    words = (*words_of(wishes.overrides.tree), *shlex.split(words_between(full, recipe)))
    overlap = "dice" if base.num_classes == 2 else "miou"
    return Design(
        name=wishes.out.name,
        data=base.data,
        source=wishes.data,
        data_fingerprint=base.fingerprint,
        task=recipe.task,
        metric="accuracy" if recipe.task == "classification" else overlap,
        mode=wishes.mode,
        arms=tuple(arms),
        seeds=tuple(range(wishes.seeds)),
        race=wishes.race,
        threads=base.threads,
        code=code_hash(),
        minutes=None if minutes is None else round(minutes, 1),
        share=base.share,
        words=words,
    )
