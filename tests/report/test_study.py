"""The report of a study: every arm as visible as the others, every text escaped, also where cells are missing."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from provenet.core.errors import RecipeError, StorageError
from provenet.core.files import write_json
from provenet.records.study import Arm, ArmCost, Cell, CellCost, Design, Effect, Look, Machine, StudyRecord
from provenet.report.study import read_study, study_page, write_study_report
from provenet.report.study_text import study_markdown
from provenet.report.study_words import headline, listed

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><svg onload=alert(1)>",
    "</title><a href=https://example.org>x</a>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; \u2028 \u202e",
    "]]><!--",
    "a\x00b\x1b[31m",
)
SECTIONS = ["advice", "effects", "verdicts", "curves", "target", "equal", "reading", "cells", "design", "next"]
FOLDER = Path("studies/photos")
EPOCHS, STEPS = 20, 39
TARGET = 0.7


class Page(HTMLParser):
    """The elements of a page, its attributes and texts, and whether its tags close as they open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.css = ""
        self._open: list[str] = []
        self.balanced = True
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in {"meta", "img", "link", "br", "hr", "input"}:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        self.balanced &= bool(self._open) and self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.css += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


@dataclass(frozen=True)
class Plan:
    """An arm of a made-up study: how fast and how far it learns, and what becomes of its cells."""

    name: str
    technique: str = ""
    without: bool = False
    says: str = ""
    rate: float = 0.18
    top: float = 0.8
    fate: str = "done"


SIX = (
    Plan("baseline"),
    Plan("no-norm", "norm.batch", True, "norm.name=none", rate=0.11, top=0.79),
    Plan("no-augment", "augment.crop_flip", True, "augment=none", rate=0.19, top=0.75),
    Plan("no-dropout", "dropout.spatial", True, "dropout.name=none", rate=0.181, top=0.83),
    Plan("again", "seed=100", says="seed=100"),
    Plan("hot", "optimizer.lr=40", says="optimizer.lr=40", fate="diverges"),
)


def made_cells(plan: Plan, seeds: Sequence[int], rng: np.random.Generator, shared: np.ndarray) -> list[Cell]:
    """Cells that learn along saturating exponentials; those that do not come to their end say why."""
    cells = []
    for seed in seeds:
        fate = "done" if plan.fate == "some" and seed != 1 else "diverges" if plan.fate == "some" else plan.fate
        common: dict[str, Any] = {"arm": plan.name, "seed": seed, "key": f"{plan.name}-{seed}", "budget_epochs": EPOCHS}
        last = {"done": EPOCHS, "diverges": 3, "fails": 0, "missing": 0}[fate]
        noise = rng.normal(0, 0.006, last) + shared[seed]
        scores = [plan.top * (1 - np.exp(-plan.rate * (e + 1))) + noise[e] for e in range(last)]
        curve = tuple((e + 1.0, (e + 1) * STEPS, float(score)) for e, score in enumerate(scores))
        if fate == "missing":
            cells.append(Cell(**common, state="missing"))
        elif fate == "done":
            test = plan.top - 0.01 + shared[seed] + rng.normal(0, 0.004)
            more = {
                "test": float(test),
                "gap": 0.05,
                "parameters": 1_900_000 - 4_000 * plan.without,
                "flops": 118_000_000,
            }
            cells.append(Cell(**common, state="done", curve=curve, budget_steps=EPOCHS * STEPS, **more))
        else:
            reason = (
                "loss is not finite at step 96" if fate == "diverges" else "killed by signal 9 (SIGKILL), three times"
            )
            cells.append(Cell(**common, state="failed", diverged=fate == "diverges", reason=reason, curve=curve))
    return cells


def crossing(cell: Cell) -> float:
    return next((epoch for epoch, _, score in cell.curve if score >= TARGET and not cell.diverged), float(EPOCHS))


def made_effect(plan: Plan, goal: Any, measure: str, pairs: list[tuple[float, float]], num: int) -> Effect:
    """An effect by the textbook; a pair is (baseline, arm), both so that more is better."""
    better = [(base - arm) if plan.without else (arm - base) for base, arm in pairs]
    n, mean = len(better), float(np.mean(better)) if better else None
    found: dict[str, Any] = {}
    p = None
    if n > 1 and np.std(better) > 0:
        p = float(stats.ttest_1samp(better, 0).pvalue)
        for level, ends in ((0.95, ("low", "high")), (1 - 0.05 / num, ("wide_low", "wide_high"))):
            interval = stats.t.interval(level, n - 1, mean, stats.sem(better))
            found |= dict(zip(ends, map(float, interval), strict=True))
    called = p is not None and p * num < 0.05
    verdict: Any = ("helps" if (mean or 0) > 0 else "hurts") if called else "could be zero"
    if not called and p is not None and p < 0.2:
        verdict, found["more_seeds"] = "too few seeds", 7
    if plan.fate == "diverges":
        verdict = "fails"
    sign = -1.0 if "to target" in measure else 1.0
    words = f"{plan.technique} {verdict}: {'n/a' if mean is None else f'{mean:+.3f}'} in {measure} ({n} pairs)"
    means = [sign * float(np.mean(some)) for some in zip(*pairs, strict=True)] or [None, None]
    common = {"arm": plan.name, "technique": plan.technique, "goal": goal, "measure": measure, "n": n, "value": mean}
    found |= {"baseline": means[0], "changed": means[1], "p": p, "p_corrected": p and min(1.0, p * num)}
    primary = measure in ("epochs to target", "test accuracy")
    return Effect(**common, **found, primary=primary, verdict=verdict, words=words)


def made_effects(plans: Sequence[Plan], cells: list[Cell]) -> list[Effect]:
    own = {(cell.arm, cell.seed): cell for cell in cells}
    num, effects = max(1, len(plans) - 1), []
    for plan in plans[1:]:
        pairs = [(own["baseline", seed], cell) for (arm, seed), cell in own.items() if arm == plan.name]
        ended = [
            (base, cell) for base, cell in pairs if base.state == "done" and (cell.state == "done" or cell.diverged)
        ]
        times = [(-crossing(base), -crossing(cell)) for base, cell in ended]
        tests = [(base.test, cell.test) for base, cell in ended if base.test is not None and cell.test is not None]
        effects.append(made_effect(plan, "convergence", "epochs to target", times, num))
        effects.append(made_effect(plan, "generalisation", "test accuracy", tests, num))
    return effects


def made_study(
    plans: Sequence[Plan] = SIX, seeds: Sequence[int] = range(5), word: str = "", **more: Any
) -> StudyRecord:
    """A made-up study; `word` stands at the end of every text."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.01, 100)
    cells = [cell for plan in plans for cell in made_cells(plan, seeds, rng, shared)]
    effects = [one.model_copy(update={"words": one.words + word}) for one in made_effects(plans, cells)]
    recipe = {"epochs": EPOCHS, "norm": {"name": "batch"}, "note": f"recipe{word}"}
    named = {plan.name: plan.name + (word if plan.name != "baseline" else "") for plan in plans}
    arms = [
        Arm(
            name=named[p.name],
            technique=p.technique and p.technique + word,
            without=p.without,
            says=p.says,
            recipe=recipe,
        )
        for p in plans
    ]
    costs = [
        ArmCost(
            arm=named[p.name],
            seconds_per_epoch=3.2 + 0.3 * i,
            images_per_s=900.0,
            peak_memory_mib=412.0,
            cell_seconds=70.0,
        )
        for i, p in enumerate(plans)
    ]
    design: dict[str, Any] = {
        "name": f"photos{word}",
        "data": f"../data/cifar10.zip{word}",
        "data_fingerprint": "ab" * 32,
    }
    design |= {"task": "classification", "metric": "accuracy", "mode": "leave-one-out", "threads": 1, "code": "cd" * 8}
    design |= {"arms": tuple(arms), "seeds": tuple(seeds), "minutes": 34.0, **more.pop("design", {})}
    said: dict[str, Any] = {"advice": (f"Keep norm.batch.{word}", "Drop dropout.spatial: it hurts test accuracy.")}
    said |= {"held_equal": {"order": f"the same in all arms of a seed{word}"}, "command": f"provenet train x{word}"}
    provenance = {"versions": {"torch": "2.10.0"}, "machine": {"processor": f"Some CPU{word}"}}
    machine = Machine(costs=tuple(costs), cells={"a": CellCost()}, minutes=41.5, provenance=provenance)
    return StudyRecord(
        design=Design(**design),
        target=TARGET,
        effects=tuple(one.model_copy(update={"arm": named[one.arm]}) for one in effects),
        cells=tuple(
            one.model_copy(update={"arm": named[one.arm], "reason": one.reason and one.reason + word}) for one in cells
        ),
        machine=machine,
        **({"complete": True} | said | more),
    )


@cache
def sixty() -> StudyRecord:
    rng = np.random.default_rng(4)
    rates, tops = rng.normal(0.18, 0.02, 59), rng.normal(0.8, 0.012, 59)
    fates = ["diverges" if i % 23 == 7 else "some" if i % 17 == 3 else "done" for i in range(59)]
    plans = [
        Plan(f"arm-{i:02d}", f"schedule.cosine.floor={i / 100}", i % 3 == 0, f"schedule.floor={i / 100}", *facts)
        for i, facts in enumerate(zip(rates.tolist(), tops.tolist(), fates, strict=True))
    ]
    return made_study((SIX[0], *plans))


def unfinished() -> StudyRecord:
    lacking = Plan("slow", "net.depth=50", says="net.depth=50", fate="missing")
    killed = Plan("big", "batch_size=4096", says="batch_size=4096", fate="fails")
    return made_study((*SIX[:3], lacking, killed), complete=False)


def raced() -> StudyRecord:
    record = made_study(SIX, range(8), design={"race": True, "seeds": tuple(range(12))})
    few = {"no-norm": 3, "hot": 3, "no-augment": 5, "again": 8}
    kept = tuple(cell for cell in record.cells if cell.seed < few.get(cell.arm, 8))
    looks = tuple(
        Look(arm=arm, goal=goal, n=n, t=5.5 - n / 3, bound=6.1 - n / 4, decision="open" if n < last else "effect")
        for arm, last in few.items()
        for goal in ("convergence", "generalisation")
        for n in range(3, last + 1)
    )
    return record.model_copy(update={"cells": kept, "looks": looks})


def tuned() -> StudyRecord:
    tuning = {plan.name: {"0.05": 0.61, "0.1": 0.64, "0.4": None} for plan in SIX}
    return made_study(design={"tuning": tuning})


def seen(text: str) -> str:
    """A text as a reader sees it: on one line, without what no page can hold."""
    return re.sub(r"[\x00-\x1f\x7f]", "", " ".join(text.split()))


def page_of(record: StudyRecord) -> Page:
    return Page(study_page(record, FOLDER))


def section(page: str, name: str) -> str:
    """The text of one section of a page."""
    return Page(page[page.index(f'<section id="{name}">') :].split("</section>")[0]).text


ALL = (made_study, sixty, unfinished, raced, tuned)


@pytest.mark.parametrize("made", ALL)
def test_every_section_is_there_and_reached_and_every_name_unique(made: Any) -> None:
    page = page_of(made())
    sections = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    more = {"tuned": ["tuning"], "raced": ["looks"]}.get(made.__name__, [])
    assert sections == [*SECTIONS[:8], *more, *SECTIONS[8:]]
    assert page.values("href") == [f"#{name}" for name in sections]
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {label for value in page.values("aria-labelledby") for label in value.split()} <= set(ids)
    assert page.balanced


def test_no_request_can_leave_the_page() -> None:
    page = page_of(raced())
    assert not {"script", "link", "iframe", "object", "form", "base", "img"} & set(page.elements)
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in ("style", "srcset", "src")]
    digest = base64.b64encode(hashlib.sha256(page.css.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'" in page.values("content")[0]


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_texts_change_no_element_of_the_page(word: str) -> None:
    harmless, hostile = (page_of(made_study(word=one)) for one in (" plain", f" {word}"))
    assert hostile.elements == harmless.elements
    assert [name for _, name, _ in hostile.attributes] == [name for _, name, _ in harmless.attributes]
    assert hostile.balanced
    assert f"norm.batch {seen(word)}" in seen(hostile.text)


@pytest.mark.parametrize("made", ALL)
def test_every_arm_is_as_visible_as_the_others(made: Any) -> None:
    record = made()
    text = study_page(record, FOLDER)
    effects, verdicts, curves, cells = (section(text, name) for name in ("effects", "verdicts", "curves", "cells"))
    for arm in record.design.arms[1:]:
        own = [effect for effect in record.effects if effect.arm == arm.name]
        assert len(own) == 2
        assert effects.count(f"{arm.technique} ") >= 2 and effects.count(f"{arm.technique}: ") >= 2  # drawn, described
        assert verdicts.count(f" {arm.name} ") >= 2
        assert f"{arm.name} {arm.says} · " in curves
        assert f" {arm.name} " in cells
        for effect in own:
            how = (" without it" if arm.without else " with it") if effect.verdict == "fails" else ""
            assert f"{effect.verdict}{how} " in verdicts and f" {effect.words}" in verdicts


def test_forests_are_sorted_by_effect_and_say_the_verdict_with_its_mark() -> None:
    text = study_page(sixty(), FOLDER)
    for goal, at in (("convergence", 0), ("generalisation", 1)):
        svg = re.findall(r"<svg class=\"chart\".*?</desc>.*?</figure>", text, re.DOTALL)[at]
        own = [effect for effect in sixty().effects if effect.goal == goal]
        value = {effect.technique: -np.inf if effect.value is None else effect.value for effect in own}
        drawn = [value[name] for name in re.findall(r'class="label">([^<]+)</text>', svg)]
        assert len(drawn) == 59 and drawn == sorted(drawn, reverse=True)
        words = re.findall(r'class="label word">([^<]+)</text>', svg)
        wanted = Counter(effect.verdict for effect in own)
        assert Counter(word.removesuffix(" without it").removesuffix(" with it") for word in words) == wanted
        assert {"fails with it", "fails without it", "too few seeds", "could be zero", "helps", "hurts"} == set(words)
        assert svg.count('class="sign ') == 59


def test_the_headline_says_what_was_found_and_on_how_much() -> None:
    text = headline(made_study())
    called = {(effect.arm, effect.goal): effect.verdict for effect in made_study().effects}
    assert called["no-norm", "convergence"] == called["no-augment", "convergence"] == "helps"
    assert called["no-norm", "generalisation"] == called["no-augment", "generalisation"] == "helps"
    assert called["no-dropout", "convergence"] == called["no-dropout", "generalisation"] == "hurts"
    assert text.startswith("Convergence is faster with norm.batch and augment.crop_flip, slower with dropout.spatial; ")
    assert "test accuracy is higher with augment.crop_flip and norm.batch, lower with dropout.spatial; " in text
    assert "; training fails with optimizer.lr=40. On 5 paired seeds, " in text
    still = sum(verdict in ("could be zero", "too few seeds") for verdict in called.values())
    assert f"{still} of 10 comparisons could not be told from zero." in text


def test_a_headline_names_few_and_counts_the_rest() -> None:
    assert [listed(list("abcdef")[:num]) for num in (0, 1, 2, 4, 6)] == [
        "",
        "a",
        "a and b",
        "a, b, c and d",
        "a, b, c and 3 more",
    ]


def test_an_unfinished_study_says_what_is_missing_and_how_to_go_on() -> None:
    page = page_of(unfinished())
    assert "not finished: 15 of 25 cells are done, 5 failed, 5 missing. Cells are lacking in slow and big." in page.text
    command = "provenet ablate ../data/cifar10.zip --out studies/photos"
    assert page.text.count(f"{command} ") == 3  # to go on, in two places, and with more seeds
    squares = [value for tag, name, value in page.attributes if (tag, name) == ("td", "aria-label")]
    assert Counter(squares) == {"done": 15, "failed": 5, "missing": 5}
    assert "big 0 failed killed by signal 9 (SIGKILL), three times" in page.text
    assert "unfinished" not in page_of(made_study()).values("id")


def test_a_study_without_any_cell_or_arm_still_has_its_page() -> None:
    record = made_study(SIX[:1], range(0))
    page = page_of(record.model_copy(update={"target": None, "complete": False, "machine": Machine(), "advice": ()}))
    assert page.balanced
    assert "Nothing can be told yet" in page.text and "0 of 0 cells are done" in page.text
    assert "None yet: the baseline has no finished cell." in page.text
    nothing_done = made_study([Plan("baseline", fate="missing"), Plan("a", "b", fate="missing")], complete=False)
    assert "Nothing can be told yet" in page_of(nothing_done).text


def test_cells_that_a_race_did_not_ask_for_are_not_missing() -> None:
    page = page_of(raced())
    squares = [value for tag, name, value in page.attributes if (tag, name) == ("td", "aria-label")]
    assert Counter(squares) == {"done": 8 + 3 + 5 + 8 + 8, "diverged": 3, "not needed": 72 - 35}
    assert "32 of 35" in page.text and "Called where |t| passes the bound of its look" in page.text


def test_costs_are_those_of_the_technique_and_of_the_arm() -> None:
    text = section(study_page(made_study(), FOLDER), "verdicts")
    assert "no-norm · norm.name=none" in text
    # The arm lacks norm.batch: 4,000 parameters fewer, 0.3 s an epoch more; the technique adds what the arm lacks.
    row = text[text.index("norm.batch no-norm") : text.index("augment.crop_flip no-augment")]
    assert row.endswith("+0.2% same -9% same ")
    costs = text[text.index("What a cell costs") :]
    assert "no-norm 1.9 M -0.2% 118 M same 3.500 +9% 412 MiB same" in costs
    assert "baseline 1.9 M 118 M 3.200 412 MiB" in costs


def test_the_best_rate_of_each_arm_is_marked_and_one_without_a_score_says_so() -> None:
    assert "again 0.610 0.640 best n/a" in section(study_page(tuned(), FOLDER), "tuning")


def test_the_command_to_add_seeds_replaces_the_number_of_them() -> None:
    given = "provenet ablate ../data/cifar10.zip --seeds 5 --workers 2"
    record = made_study().model_copy(update={"machine": Machine(provenance={"command": given})})
    wanted = max(effect.more_seeds or 0 for effect in record.effects) or 5
    page = page_of(record)
    assert f"provenet ablate ../data/cifar10.zip --workers 2 --seeds {5 + wanted} " in page.text
    assert "provenet report studies/photos" in page.text


def test_the_page_is_written_from_the_record_alone_and_again_the_same(tmp_path: Path) -> None:
    write_json(tmp_path / "effects.json", raced().model_dump(mode="json"))
    path = write_study_report(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == study_page(raced(), tmp_path)
    first = path.read_bytes()
    assert write_study_report(tmp_path).read_bytes() == first


def test_no_study_no_page(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="holds no study"):
        write_study_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"design": {}}', "[" * 5000])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "effects.json").write_text(content, encoding="utf-8")
    with pytest.raises(StorageError, match=r"effects\.json"):
        read_study(tmp_path)


def test_the_verb_knows_a_study_and_needs_no_torch(tmp_path: Path) -> None:
    write_json(tmp_path / "effects.json", made_study().model_dump(mode="json"))
    code = "import sys; from provenet.cli.main import run; sys.exit(run(sys.argv[1:]) or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "report", str(tmp_path)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"provenet study" in (tmp_path / "report.html").read_bytes()


def test_of_many_arms_the_table_holds_figures_and_the_sentences_are_folded() -> None:
    for record, folded in ((made_study(), False), (sixty(), True)):
        text = section(study_page(record, FOLDER), "verdicts")
        assert ("The verdicts as sentences" in text) == folded
        first = next(effect for effect in record.effects if effect.verdict == "too few seeds" or not folded)
        brief = rf"{first.verdict} [+-][\d.]+ \[[-\d., ]+\], 5 pairs, about 7 more seeds "
        assert bool(re.search(brief, text)) == folded


RECORDS = {"made": made_study, "sixty": sixty, "unfinished": unfinished, "raced": raced, "tuned": tuned}


def rows_of_text(text: str) -> list[list[str]]:
    """Return the cells of every line of a table, the lines that rule it left out."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not set(line) <= set("|- ")]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]


@pytest.mark.parametrize("kind", RECORDS)
def test_every_verdict_stands_in_the_table_of_its_goal(kind: str) -> None:
    record: StudyRecord = RECORDS[kind]()
    text = study_markdown(record)
    for goal in ("convergence", "generalisation"):
        part = text.split(f"## {goal.capitalize()}: ")[1].split("\n## ")[0]
        told = {(row[1].strip(), row[2].strip()) for row in rows_of_text(part)[1:]}
        wanted = {(one.arm, one.verdict) for one in record.effects if one.primary and one.goal == goal}
        assert {(arm, verdict.strip("*").removesuffix(" it").split(" with")[0]) for arm, verdict in told} == wanted
    for arm in record.design.arms:
        assert any(row[0].strip() == arm.name for row in rows_of_text(text))
    assert "Noted(" not in text and "None" not in text.split("## The baseline's recipe")[0]


@pytest.mark.parametrize("kind", RECORDS)
def test_tables_are_whole(kind: str) -> None:
    blocks = [block for block in study_markdown(RECORDS[kind]()).split("\n\n") if block.startswith("|")]
    assert len(blocks) > 4
    for block in blocks:
        assert len({len(row) for row in rows_of_text(block)}) == 1


@pytest.mark.parametrize("word", [word for word in HOSTILE if word.isprintable()])
def test_texts_of_a_record_stay_texts(word: str) -> None:
    text = study_markdown(made_study(word=word)).split("```")[0]
    body = text.removeprefix(text.splitlines()[0])
    assert not re.search(r"(?<!\\)<[\w/!?]", body)
    assert not re.search(r"(?<!\\)\]\(", body)
