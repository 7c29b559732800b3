"""Whether studies keep their word: simulated studies without effect, and with a known one, through the whole analysis.

    python benchmarks/calibration.py [--studies 2000] [--out benchmarks/results/calibration.json]

Learning curves are saturating exponentials; height and pace differ from seed to seed, in part together for the arms of
a seed; validation scores have noise that lasts over epochs; test scores are shares of a finite number of pictures;
some runs get stuck below the target. Without effect: the share of studies that call any difference, per goal. With
one: the share of 95 % intervals that hold the truth, which is the mean over as many other studies.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np

from provenet.records.study import Arm, Cell, Design, Goal, StudyRecord
from provenet.stats.intervals import Figure, wilson_interval
from provenet.study import effects
from provenet.study.analyse import analyse, race_looks

LEVEL = 0.05


@dataclass(frozen=True)
class World:
    """What all studies of a kind have in common.

    Args:
        epochs: budget of a run, one validation each.
        pictures: of the test set.
        scatter: standard deviation of final scores over seeds.
        pace_scatter: the same of the logarithm of the pace.
        together: share of both variances that the arms of a seed have in common.
        noise: standard deviation of a validation score about its curve.
        lasting: correlation of that noise from one epoch to the next.
        stuck: chance that a run ends 0.08 below the others.
    """

    epochs: int = 20
    pictures: int = 500
    scatter: float = 0.015
    pace_scatter: float = 0.25
    together: float = 0.3
    noise: float = 0.012
    lasting: float = 0.5
    stuck: float = 0.05


@dataclass(frozen=True)
class Kind:
    """What an arm does to the curves of a world.

    Args:
        slower: factor of the epochs that it takes.
        higher: what it adds to the final score.
        stuck: what it adds to the chance of getting stuck.
    """

    slower: float = 1.0
    higher: float = 0.0
    stuck: float = 0.0


WORLDS = {
    "usual": World(),
    "short budget, many miss the target": World(epochs=11, stuck=0.1),
    "few test pictures, noisy validation": World(pictures=60, noise=0.03, scatter=0.03),
    "seeds alike, runs get stuck": World(together=0.8, stuck=0.2),
}
NULL = Kind()
KINDS = {"slower": Kind(slower=1.5), "higher": Kind(higher=0.03), "slower and higher": Kind(1.25, 0.02)}
RARE = Kind(stuck=0.2)
"""One training in five goes wrong: what five seeds cannot know."""


def simulated_cell(arm: str, seed: int, kind: Kind, world: World, draws: tuple[Any, Any]) -> Cell:
    """Return one simulated training.

    Args:
        arm: its name.
        seed: its seed.
        kind: what the arm does.
        world: the rest.
        draws: what the arms of the seed share, standard normal (2,), and the generator of the cell's own draws.
    """
    shared, generator = draws
    own = generator.standard_normal(2)
    height, pace = math.sqrt(world.together) * shared + math.sqrt(1 - world.together) * own
    top = 0.8 + kind.higher + world.scatter * height - 0.08 * (generator.random() < world.stuck + kind.stuck)
    noise = generator.standard_normal(world.epochs) * world.noise
    for epoch in range(1, world.epochs):
        noise[epoch] = world.lasting * noise[epoch - 1] + math.sqrt(1 - world.lasting**2) * noise[epoch]
    epochs = np.arange(1, world.epochs + 1)
    scores = top * (1 - np.exp(-epochs / (2.5 * kind.slower * math.exp(world.pace_scatter * pace)))) + noise
    return Cell(
        arm=arm,
        seed=seed,
        key=f"{arm}-{seed}",
        state="done",
        curve=tuple((epoch, 50 * epoch, score) for epoch, score in zip(epochs.tolist(), scores.tolist(), strict=True)),
        budget_epochs=world.epochs,
        budget_steps=50 * world.epochs,
        test=float(generator.binomial(world.pictures, top) / world.pictures),
        gap=float(0.1 + 0.02 * generator.standard_normal()),
    )


def simulated(
    kinds: Sequence[Kind], seeds: int, world: World, generator: np.random.Generator
) -> tuple[Design, list[Cell]]:
    """Return the design and the cells of a simulated study; the baseline has no effect."""
    names = ["baseline", *(f"arm-{place}" for place in range(len(kinds)))]
    arms = tuple(Arm(name=name, technique="" if name == "baseline" else name, recipe={"arm": name}) for name in names)
    design = Design(
        name="simulated",
        data="simulated",
        data_fingerprint="",
        task="classification",
        metric="accuracy",
        mode="leave-one-out",
        arms=arms,
        seeds=tuple(range(seeds)),
        level=LEVEL,
        threads=1,
        code="",
    )
    cells = []
    for seed in range(seeds):
        draws = (generator.standard_normal(2), generator)
        cells += [
            simulated_cell(name, seed, kind, world, draws) for name, kind in zip(names, (NULL, *kinds), strict=True)
        ]
    return design, cells


def studies(num: int, kinds: Sequence[Kind], seeds: int, world: World, start: int) -> list[StudyRecord]:
    """Return the records of many simulated studies; `start` begins their draws."""
    generator = np.random.default_rng(start)
    return [analyse(*simulated(kinds, seeds, world, generator), {}) for _ in range(num)]


def raced(num: int, arms: int, most: int, world: World) -> dict[str, Any]:
    """Return, for each goal, the share of raced studies of identical arms in which any look calls an effect."""
    generator = np.random.default_rng(4)
    hits = dict.fromkeys(get_args(Goal), 0)
    for _ in range(num):
        design, cells = simulated([NULL] * arms, most, world, generator)
        looks = race_looks(design.model_copy(update={"race": True}), cells)
        for goal in hits:
            hits[goal] += any(look.goal == goal and look.decision == "effect" for look in looks)
    return {goal: share(found, num) for goal, found in hits.items()}


def share(hits: int, num: int) -> dict[str, Any]:
    """Return a share with its 95 % interval."""
    low, high = wilson_interval(hits, num)
    return {"value": round(hits / num, 4), "low": round(low, 4), "high": round(high, 4), "n": num}


def calls(records: Sequence[StudyRecord]) -> dict[str, Any]:
    """Return, for each goal, the share of studies in which any arm is called."""
    found = {}
    for goal in get_args(Goal):
        rows = [[e for e in record.effects if e.primary and e.goal == goal] for record in records]
        hits = sum(any(e.verdict in ("helps", "hurts") for e in row) for row in rows)
        mean = float(np.mean([e.value for row in rows for e in row if e.value is not None]))
        found[goal] = share(hits, len(records)) | {"mean_effect": round(mean, 4)}
    return found


def coverage(records: Sequence[StudyRecord], others: Sequence[StudyRecord]) -> dict[str, Any]:
    """Return, for each measure of the first arm, the share of 95 % intervals that hold the mean of other studies."""
    found = {}
    for place, first in enumerate(records[0].effects):
        truth = float(np.mean([record.effects[place].value for record in others]))
        rows = [record.effects[place] for record in records]
        held = sum(row.low <= truth <= row.high for row in rows if row.low is not None and row.high is not None)
        called = sum(row.verdict in ("helps", "hurts") for row in rows)
        missed = float(np.mean([row.missed[1] / row.n for row in rows]))
        found[first.measure] = {"truth": round(truth, 4), "held": share(held, len(rows)), "called": called / len(rows)}
        if first.measure.endswith("to target"):
            found[first.measure]["missed"] = round(missed, 3)
    return found


def no_bootstrap(values: Sequence[float], level: float = 0.95, resamples: int = 0, seed: int = 0) -> Figure:
    """Return no interval: bootstrap intervals take half of the time, and no verdict rests on them."""
    return Figure(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    effects.mean_bootstrap = no_bootstrap
    null: list[dict[str, Any]] = []
    known: list[dict[str, Any]] = []
    races: list[dict[str, Any]] = []
    for name, world in WORLDS.items():
        for arms in (1, 6):
            row = {"world": name, "arms": arms, "seeds": 5}
            null.append(row | {"called": calls(studies(args.studies, [NULL] * arms, 5, world, 1))})
            print(json.dumps(null[-1]), flush=True)
        races.append({"world": name, "arms": 6, "seeds": "3 to 10"} | {"called": raced(args.studies, 6, 10, world)})
        print(json.dumps(races[-1]), flush=True)
        for kind, effect in {**KINDS, "one run in five more gets stuck": RARE}.items():
            row = {"world": name, "effect": kind, "seeds": 5}
            mine, others = (studies(args.studies, [effect], 5, world, start) for start in (2, 3))
            known.append(row | {"intervals": coverage(mine, others)})
            print(json.dumps(known[-1]), flush=True)
    found = {
        "studies": args.studies,
        "level": LEVEL,
        "without_effect": null,
        "without_effect_raced": races,
        "known_effect": known,
        "versions": {name: version(name) for name in ("numpy", "scipy", "provenet")},
    }
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
