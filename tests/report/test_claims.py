"""The report of claims: every claim as visible as the others, every text escaped, on the page and in the Markdown."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from provenet.claims import NAMES
from provenet.records.claim import (
    Check,
    ClaimRecord,
    ClaimsRecord,
    Diagram,
    Dots,
    Effect,
    Finding,
    Gallery,
    Grid,
    Heat,
    Lines,
)
from provenet.report.claim_words import VERDICTS, deciding, headline
from provenet.report.claims import claims_page
from provenet.report.claims_text import claims_markdown

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><svg onload=alert(1)>",
    "a | b \\| c",
    "[x](javascript:alert(1))",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; \u2028 \u202e",
    "]]><!--",
    "a\x00b\x1b[31m\nnext line",
    "# heading",
    "`code` _and_ *stars* **more** ~~gone~~",
)
VOID_TAGS = {"meta", "img", "link", "br", "hr", "input"}


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
        if tag not in VOID_TAGS:
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


def png(rng: np.random.Generator, side: int = 32) -> str:
    y, x = np.mgrid[:side, :side]
    waves = 128 + 100 * np.sin(x[..., None] / rng.uniform(2, 6, 3)) * np.cos(y[..., None] / rng.uniform(2, 6, 3))
    stream = io.BytesIO()
    Image.fromarray(waves.astype(np.uint8)).save(stream, "png")
    return base64.b64encode(stream.getvalue()).decode()


def all_charts(rng: np.random.Generator, word: str = "") -> tuple[Any, ...]:
    """One chart of each kind; `word` stands at the end of every text."""
    depths = range(1, 51)
    arms = ("He, ReLU", "Xavier, ReLU", "Xavier, tanh", "normal with a standard deviation of 0.01")
    curves = {
        f"{arm}{word}": tuple((float(d), -i * d / 7 + rng.normal() / 9) for d in depths) for i, arm in enumerate(arms)
    }
    rates, scales = ("0.01", "0.03", "0.1", "0.3", "1", "3"), ("0.1", "0.5", "1", "2", "4")
    grid = tuple(tuple(None if rng.random() < 0.1 else float(rng.random()) for _ in rates) for _ in scales)
    rows = (
        ("norm.batch against norm.none", 0.062, 0.031, 0.093),
        ("block.residual against block.plain", 0.021, -0.01, 0.05),
    )
    levels = ((16, 96), (32, 48), (64, 24), (128, 12))
    return (
        Lines(
            title=f"Spread by depth{word}",
            x=f"layer{word}",
            y=f"log10 of the spread{word}",
            lines=curves,
            note=f"As by the closed form.{word}",
        ),
        Heat(
            title=f"Accuracy{word}",
            x=f"learning rate{word}",
            y=f"init scale{word}",
            columns=tuple(c + word for c in rates),
            rows=tuple(s + word for s in scales),
            values=grid,
        ),
        Dots(
            title=f"What it bought{word}",
            rows=tuple((name + word, *figures) for name, *figures in rows) + ((f"broken{word}", None, None, None),),
            note=f"Above zero: better.{word}",
        ),
        Dots(title=f"Short names{word}", rows=(("concat", 0.81, 0.79, 0.83), ("add", 0.8, 0.78, 0.82))),
        Gallery(
            title=f"Outputs{word}",
            pictures=tuple(
                (f"{name}{word}", png(rng)) for name in ("nearest", "bilinear", "transposed 3/2", "transposed 4/2")
            ),
            note=f"Ten times enlarged.{word}",
        ),
        Diagram(
            title=f"The net{word}",
            down=levels,
            up=tuple(reversed(levels[:-1])),
            skips=((0, 2), (1, 1), (2, 0)),
            note=f"Read off the real net.{word}",
        ),
    )


def checks_of(outcomes: tuple[bool | None, ...], word: str = "") -> tuple[Check, ...]:
    figures = {True: (0.062, 0.031, 0.093), False: (-0.021, -0.034, -0.008), None: (0.012, -0.019, 0.043)}
    says = (
        "the largest usable rate is higher with batch norm, as a factor",
        "accuracy depends less on the scale of the weights",
        "the result is the same to rounding",
    )
    return tuple(
        Check(says=says[i % 3] + word, value=value, low=low, high=high, wanted=f"> 0{word}", n=3, outcome=outcome)
        for i, outcome in enumerate(outcomes)
        for value, low, high in [figures[outcome]]
    )


def claim(number: int, outcomes: tuple[bool | None, ...] = (True,), word: str = "", **found: Any) -> ClaimRecord:
    said = f"With batch norm 12 of 18 settings train, without it 5. Against it: only small nets were trained.{word}"
    finding = Finding(checks=checks_of(outcomes, word), said=said, **found)
    return ClaimRecord(
        number=number,
        name=NAMES[(number - 1) % 20] + word,
        statement=(
            "With batch normalisation the largest usable learning rate is higher, and the result depends less on the "
            f"init scale.{word}"
        ),
        experiment=(
            "Nets of 8 layers are trained for 300 updates of 64 on 2,000 images, on a grid of six rates and five "
            "scales of the initial weights, with batch norm and without it; images, order and draws are shared for a "
            f"seed.{word}"
        ),
        data=f"cifar10.zip (train 45,000, val 5,000, test 10,000; views of 32 pixels){word}",
        verdict=finding.verdict,
        finding=finding,
        seconds=61.3 + number,
        key="ab" * 32,
    )


def record_of(*claims: ClaimRecord, word: str = "") -> ClaimsRecord:
    versions = {"torch": "2.15.0", f"odd{word}": f"1.0{word}", "absent": None}
    machine = {"system": "Linux", "processor": f"Some CPU{word}", "cores": 2, "memory_gib": 7.8}
    provenance = {"versions": versions, "machine": machine, "git": {"commit": "0f3c", "clean": True}}
    return ClaimsRecord(scale="quick", seeds=(0, 1, 2), claims=claims, seconds=12.5, provenance=provenance)


def full_record(word: str = "") -> ClaimsRecord:
    """Twenty claims of all verdicts, each with charts, tables and effects."""
    rng = np.random.default_rng(0)
    pool = (True, True, True, False, None)
    claims = []
    for number in range(1, 21):
        charts = all_charts(rng, word)
        kept = charts if number == 8 else charts[number % 5 : number % 5 + 2]
        outcomes = tuple(pool[(number + i) % 5] for i in range(1 + number % 3)) if number % 2 else (True, True)
        rows = tuple((f"{name}{word}", f"{rng.random():.3f} [0.100, 0.900]", "12") for name in ("with", "without"))
        grids = (
            Grid(title=f"Figures{word}", head=(f"arm{word}", "test accuracy", "n"), rows=rows),
            Grid(
                title=f"Words{word}", head=("arm", "what it did"), rows=((f"with{word}", f"trained to the end{word}"),)
            ),
        )
        technique = f"norm.batch against norm.none{word}"
        measure = f"area under the validation curve, accuracy{word}"
        effects = (
            Effect(technique=technique, goal="convergence", measure=measure, value=0.06, low=0.03, high=0.09, n=3),
            Effect(
                technique=technique, goal="generalisation", measure=measure, value=-0.02, low=-0.03, high=-0.01, n=3
            ),
            Effect(technique=technique, goal="generalisation", measure=measure, value=None, n=0),
        )
        more = {"tables": grids, "effects": effects, "trainings": 60} if number % 3 else {}
        claims.append(claim(number, outcomes, word, charts=kept, **more))
    return record_of(*claims, word=word)


def seen(text: str) -> str:
    """A text as a reader sees it: on one line, without what no page can hold."""
    return re.sub(r"[\x00-\x1f\x7f]", "", " ".join(text.split()))


# The page


def test_every_claim_has_its_section_and_is_reached_from_the_overview() -> None:
    page = Page(claims_page(full_record()))
    sections = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert sections == ["overview", *(f"claim-{number}" for number in range(1, 21)), "machine"]
    links = page.values("href")
    assert {f"#{section}" for section in sections} == set(links)
    assert all(links.count(f"#claim-{number}") == 2 for number in range(1, 21))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {label for value in page.values("aria-labelledby") for label in value.split()} <= set(ids)
    assert page.balanced


def test_no_request_can_leave_the_page() -> None:
    page = Page(claims_page(full_record()))
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(page.elements)
    assert page.values("src")
    assert all(value.startswith("data:image/png;base64,") for value in page.values("src"))
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in ("style", "srcset")]
    assert "url(" not in page.css and "@import" not in page.css
    digest = base64.b64encode(hashlib.sha256(page.css.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'" in page.values("content")[0]


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_texts_change_no_element_of_the_page(word: str) -> None:
    harmless, hostile = (Page(claims_page(full_record(word))) for word in (" plain", f" {word}"))
    assert hostile.elements == harmless.elements
    assert [name for _, name, _ in hostile.attributes] == [name for _, name, _ in harmless.attributes]
    assert hostile.balanced
    assert seen(word) in seen(hostile.text)
    assert all(re.fullmatch(r"#[a-z]+(-\d+)?", value) for value in hostile.values("href"))


def test_claims_that_do_not_hold_are_as_visible_as_the_others() -> None:
    record = record_of(claim(1, (True, True)), claim(2, (True, False, None)), claim(3, (True, None)))
    page = Page(claims_page(record))
    for kind, verdict in (("holds", "holds"), ("fails", "does not hold here"), ("open", "cannot tell")):
        marks = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "class")]
        assert f"sign {kind}" in marks
        assert verdict in page.text
    overview = page.text[page.text.index("All claims") : page.text.index("Claim 1 ·")]
    assert "does not hold here 1 of 3 checks held accuracy depends less on the scale" in overview
    assert "-0.021 [-0.034, -0.008] wanted > 0" in overview
    assert "cannot tell 1 of 2 checks held accuracy depends less" in overview
    assert "Of 3 claims measured, 1 holds, 1 does not hold here and 1 cannot be told: quick scale" in page.text


@pytest.mark.parametrize("record", [record_of(), record_of(claim(4, ())), record_of(claim(20, (None,), charts=()))])
def test_little_or_nothing_measured_still_has_its_page(record: ClaimsRecord) -> None:
    page, text = Page(claims_page(record)), claims_markdown(record)
    assert page.balanced
    assert ("No claim has been measured yet." in page.text) == (not record.claims)
    assert ("No claim has been measured yet." in text) == (not record.claims)
    assert ("verdict" in text) == bool(record.claims)


def test_figures_that_are_not_defined_say_so() -> None:
    check = Check(says="it trains", value=None, wanted="> 0", n=0, outcome=None)
    one = claim(1).model_copy(update={"finding": Finding(checks=(check,), said=""), "verdict": "cannot tell"})
    record = record_of(one).model_copy(update={"provenance": {}})
    assert "it trains n/a > 0 0 open" in Page(claims_page(record)).text
    assert "| it trains | n/a | > 0 | 0 | open |" in claims_markdown(record)


def test_both_texts_hold_every_check_table_and_effect() -> None:
    record = full_record()
    page = Page(claims_page(record)).text
    rendered = "".join(token.content for token in parse(claims_markdown(record)) if token.type == "text")
    for one in record.claims:
        for text in (one.statement, one.experiment, one.finding.said, *(check.says for check in one.finding.checks)):
            assert text in page
            assert text in rendered
        for cell in [cell for grid in one.finding.tables for row in (grid.head, *grid.rows) for cell in row]:
            assert cell in page
            assert cell in rendered


# The words


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from([True, False, None]), max_size=3), max_size=20))
def test_the_headline_counts_every_claim_once(outcomes: list[list[bool | None]]) -> None:
    record = record_of(*(claim(number + 1, tuple(some)) for number, some in enumerate(outcomes)))
    text = headline(record)
    if not outcomes:
        assert text == "No claim has been measured yet."
        return
    failing = sum(False in some for some in outcomes)
    holding = sum(bool(some) and all(some) for some in outcomes)
    told = [int(num) for num in re.findall(r"\d+", text)[:4]]
    assert told == [len(outcomes), holding, failing, len(outcomes) - holding - failing]


@pytest.mark.parametrize(
    ("outcomes", "position"),
    [((True, True), 0), ((True, None, True), 1), ((None, True, False), 2), ((False, None, False), 0)],
)
def test_the_first_check_that_failed_decides_then_the_first_open_one(outcomes: Any, position: int) -> None:
    record = claim(1, outcomes)
    assert deciding(record) is record.finding.checks[position]


# The text


def parse(text: str) -> list[Any]:
    """The tokens of a Markdown text, as an independent reader takes them."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    return [leaf for token in tokens for leaf in ([token, *(token.children or [])])]


def pipes(line: str) -> int:
    """The pipes of a line that part cells."""
    return re.sub(r"\\.", "", line).count("|")


@pytest.mark.parametrize("word", ["", *(f" {word}" for word in HOSTILE)])
def test_tables_have_one_cell_a_column_whatever_they_hold(word: str) -> None:
    lines = claims_markdown(full_record(word)).splitlines()
    blocks = [line.startswith("|") for line in lines]
    num_tables = 0
    for index, line in enumerate(lines):
        if blocks[index] and not blocks[index - 1]:
            num_tables, width = num_tables + 1, pipes(line)
            assert re.fullmatch(r"\|( --- \|)+", lines[index + 1])
        if blocks[index]:
            assert pipes(line) == width
    assert num_tables == 1 + 20 + 3 * 14 + 1


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_texts_become_no_markup_in_the_markdown(word: str) -> None:
    harmless, hostile = (parse(claims_markdown(full_record(word))) for word in (" plain", f" {word}"))
    assert [leaf.type for leaf in hostile] == [leaf.type for leaf in harmless]
    assert seen(word) in "".join(leaf.content for leaf in hostile if leaf.type == "text" or leaf.type == "text_special")


def test_links_of_the_overview_lead_to_the_headings() -> None:
    leaves = parse(claims_markdown(full_record()))
    headings = [
        leaves[i + 1].content for i, leaf in enumerate(leaves) if leaf.type == "heading_open" and leaf.tag == "h2"
    ]
    slugs = {"".join(c for c in text.lower().replace(" ", "-") if c.isalnum() or c in "-_") for text in headings}
    links = [leaf.attrs["href"] for leaf in leaves if leaf.type == "link_open"]
    assert len(links) == 20
    assert {link.removeprefix("#") for link in links} <= slugs


def test_the_overview_names_every_verdict_and_machine_and_versions_follow() -> None:
    record = full_record()
    text = claims_markdown(record)
    overview = text[: text.index("\n## ")]
    for one in record.claims:
        assert re.search(rf"\| {one.number} \| \[.*\| \*\*{one.verdict}\*\* \|", overview)
    assert sum(overview.count(f"**{verdict}**") for verdict in VERDICTS) == 20
    for fact in ("| versions.torch | 2.15.0 |", "| machine.processor | Some CPU |", "| seeds | 0, 1, 2 |"):
        assert fact in text
    assert sum(one.seconds for one in record.claims) == pytest.approx(23 * 60 + 56)
    assert "| time of all claims | 23 min 56 s |" in text
