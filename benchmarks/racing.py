"""What racing saves, and that it keeps its level: simulated studies of six arms, two goals and at most ten seeds.

    python benchmarks/racing.py [--studies 4000] [--out benchmarks/results/racing.json]

A study has a baseline and six arms; arms share seeds, so that each difference holds the baseline's noise too. An arm is
raced until both of its goals are closed, a baseline cell is made for every seed that any arm needs. Against it: ten
seeds for all, and the same corrected level at the end. Effects are in standard deviations of the paired difference.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr

from provenet.stats.multiple import holm, shared_level
from provenet.stats.paired import paired_test
from provenet.stats.racing import Bounds, bounds, decide

# G goals, A arms, S seeds

Array = NDArray[np.float64]
ARMS, GOALS, FIRST, MOST, LEVEL = 6, 2, 3, 10, 0.05
BETWEEN_GOALS = 0.5
"""Correlation of the noise of an arm's two goals."""
PICTURE = 1 / 270
"""A test picture of the smallest data set: scores come in such steps."""

MIXES: dict[str, tuple[str, ...]] = {
    "all null": ("null",) * 6,
    "clear and null": ("clear",) * 3 + ("null",) * 3,
    "clear, middling and null": ("clear",) * 2 + ("middling",) * 2 + ("null",) * 2,
}


def correlated(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return standard normal draws, (G, *shape), correlated between goals."""
    common, own = generator.standard_normal(shape), generator.standard_normal((GOALS, *shape))
    return math.sqrt(BETWEEN_GOALS) * common + math.sqrt(1 - BETWEEN_GOALS) * own


def from_normal(generator: np.random.Generator) -> Array:
    """Return differences with normal noise, (G, A, S)."""
    return (correlated(generator, (ARMS, MOST)) - correlated(generator, (1, MOST))) / math.sqrt(2)


def from_heavy(generator: np.random.Generator) -> Array:
    """Return differences with noise from Student's t of five degrees of freedom."""
    arms, base = (stats.t.ppf(ndtr(correlated(generator, (num, MOST))), 5) for num in (ARMS, 1))
    return (arms - base) / math.sqrt(2 * 5 / 3)


def from_skewed(generator: np.random.Generator) -> Array:
    """Return differences with exponential noise in arms and baseline alike."""
    arms, base = (np.log(ndtr(correlated(generator, (num, MOST)))) for num in (ARMS, 1))
    return (arms - base) / math.sqrt(2)


def from_unlike(generator: np.random.Generator) -> Array:
    """Return differences of arms with exponential noise from a baseline that scatters a third as much."""
    arms = 1 + np.log(ndtr(correlated(generator, (ARMS, MOST))))
    return (arms - correlated(generator, (1, MOST)) / 3) / math.sqrt(1 + 1 / 9)


NOISES: dict[str, Callable[[np.random.Generator], Array]] = {
    "normal": from_normal,
    "heavy tails (t, 5 degrees of freedom)": from_heavy,
    "skewed (exponential)": from_skewed,
    "skewed arms, quiet baseline": from_unlike,
    "rounded to 1/270, sd 0.01": from_normal,
}


def effects_of(mix: tuple[str, ...], generator: np.random.Generator) -> Array:
    """Return the true effect of each goal and arm, (G, A): each goal deals the kinds to the arms anew."""
    kinds = np.array([generator.permutation(mix) for _ in range(GOALS)])
    signs = generator.choice([-1.0, 1.0], kinds.shape)
    sizes = np.where(kinds == "clear", generator.uniform(2, 4, kinds.shape), np.where(kinds == "middling", 1.0, 0.0))
    return signs * sizes


def end_of(differences: Array, rule: Bounds) -> tuple[int, bool]:
    """Return after how many pairs a race ends, and whether it calls an effect."""
    for num in rule.looks:
        decision = decide(differences[:num].tolist(), rule)
        if decision != "open":
            return num, decision == "effect"
    raise AssertionError("the last look is never open")


def study(noise: str, mix: str, rule: Bounds, generator: np.random.Generator) -> dict[str, Array]:
    """Return a study's true effects, calls by racing and by the fixed design, and pairs raced: each (G, A)."""
    effects = effects_of(MIXES[mix], generator)
    differences = effects[:, :, None] + NOISES[noise](generator)
    if noise.startswith("rounded"):
        differences = np.round(0.01 * differences / PICTURE) * PICTURE
    ends = [[end_of(row, rule) for row in goal] for goal in differences]
    ps = [[paired_test(row.tolist()).p for row in goal] for goal in differences]
    return {
        "effects": effects,
        "pairs": np.array([[num for num, _ in goal] for goal in ends]),
        "raced": np.array([[called for _, called in goal] for goal in ends]),
        "fixed": np.array([[p <= shared_level(LEVEL, ARMS) for p in goal] for goal in ps]),
        "fixed, Holm": np.array([[p <= LEVEL for p in holm(goal)] for goal in ps]),
    }


def figures(noise: str, mix: str, studies: int, rule: Bounds) -> dict[str, Any]:
    """Return the figures of many studies of one mix under one noise."""
    seed = (list(NOISES).index(noise), list(MIXES).index(mix))
    generator = np.random.default_rng(seed)
    rows = [study(noise, mix, rule, generator) for _ in range(studies)]
    found = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    pairs = found["pairs"].max(axis=1)  # until both goals are closed
    cells = pairs.sum(axis=1) + pairs.max(axis=1)
    sizes = np.abs(found["effects"])
    kinds = {"null": sizes == 0, "middling": sizes == 1, "clear": sizes >= 2}
    result: dict[str, Any] = {
        "noise": noise,
        "mix": mix,
        "seed": list(seed),
        "cells_saved": round(float(1 - cells.mean() / ((ARMS + 1) * MOST)), 4),
        "pairs_a_goal": {kind: round(float(found["pairs"][of].mean()), 2) for kind, of in kinds.items() if of.any()},
    }
    for design in ("raced", "fixed", "fixed, Holm"):
        false = (found[design] & kinds["null"]).any(axis=2)
        result[design] = {
            "any_false_call_a_goal": round(float(false.mean()), 4),
            "power": {
                k: round(float(found[design][kinds[k]].mean()), 4) for k in ("middling", "clear") if kinds[k].any()
            },
        }
    return result


def one_arm(size: float, most: int, races: int) -> dict[str, Any]:
    """Return what becomes of one arm and goal with an effect of this size, under normal noise."""
    level = shared_level(LEVEL, ARMS)
    rule = bounds(FIRST, most, level)
    draws = size + np.random.default_rng((most, int(10 * size))).standard_normal((races, most))
    raced, kept = [end_of(row, rule) for row in draws], [end_of(row, replace(rule, inner=())) for row in draws]
    return {
        "effect": size,
        "seeds_at_most": most,
        "pairs": round(float(np.mean([num for num, _ in raced])), 2),
        "called": round(float(np.mean([called for _, called in raced])), 4),
        "called_if_never_given_up": round(float(np.mean([called for _, called in kept])), 4),
        "called_by_fixed_design": round(float(np.mean([paired_test(row.tolist()).p <= level for row in draws])), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rule = bounds(FIRST, MOST, shared_level(LEVEL, ARMS))
    rows = []
    for noise in NOISES:
        for mix in MIXES:
            rows.append(figures(noise, mix, args.studies, rule))
            print(json.dumps(rows[-1]), flush=True)
    single = [one_arm(size, most, args.studies) for most in (MOST, 2 * MOST) for size in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)]
    found = {
        "arms": ARMS,
        "goals": GOALS,
        "seeds_at_most": MOST,
        "level": LEVEL,
        "rule": {"looks": rule.looks, "nominal": rule.nominal, "bounds": rule.bounds, "inner": rule.inner},
        "studies": args.studies,
        "standard_error_of_a_rate_of_5_percent": round(math.sqrt(LEVEL * (1 - LEVEL) / (GOALS * args.studies)), 5),
        "rows": rows,
        "one_arm": single,
        "versions": {name: version(name) for name in ("provenet", "numpy")} | {"scipy": scipy.__version__},
    }
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
