"""Measured claims as Markdown: the same facts as the page, without its charts; the content of `docs/claims.md`."""

from __future__ import annotations

from collections.abc import Sequence

from provenet.records.claim import ClaimRecord, ClaimsRecord
from provenet.report import claim_words as words
from provenet.report.claim_words import figure_of
from provenet.report.markdown import anchor, inline, link, paragraph, table
from provenet.report.words import duration, flat

_WRITTEN = "<!-- Written by `provenet claims` from claims.json: measure again rather than change this page. -->"
_CHARTS = "Charts stand in `report.html`, which `provenet claims` writes beside this text into the folder of `--out`."


def claims_markdown(record: ClaimsRecord) -> str:
    """Return the claims as Markdown: all of them in one table, then each with its checks, then machine and versions."""
    blocks = [
        _WRITTEN,
        "# The lecture's claims, measured",
        paragraph(words.headline(record)),
        words.how_to_read(record),
    ]
    if record.claims:
        blocks += [_CHARTS, _overview(record)]
    for claim in record.claims:
        blocks += _section(claim)
    blocks += ["## Machine, versions and data", table(("what", "value"), flat(words.facts(record)))]
    return "\n\n".join(blocks) + "\n"


def _overview(record: ClaimsRecord) -> str:
    head = ("no.", "claim", "verdict", "checks", "what decides", "figure", "wanted", "n", "time")
    return table(head, map(_summary, record.claims), raw=(1, 2))


def _summary(claim: ClaimRecord) -> tuple[str, ...]:
    """Return a claim as a row of the overview."""
    name, check = words.short_name(claim), words.deciding(claim)
    decides = ("nothing was checked", "–", "–", "–")
    if check:
        decides = (check.says, str(figure_of(check)), check.wanted, f"{check.n:,}")
    to_claim = link(name, f"#{anchor(f'{claim.number}. {name}')}")
    return (str(claim.number), to_claim, f"**{claim.verdict}**", words.passed(claim), *decides, duration(claim.seconds))


def _section(claim: ClaimRecord) -> list[str]:
    """Return a claim with its checks, block by block."""
    found = claim.finding
    rows = [
        (check.says, str(figure_of(check)), check.wanted, f"{check.n:,}", words.ANSWERS[check.outcome][0])
        for check in found.checks
    ]
    blocks = [
        f"## {claim.number}. {inline(words.short_name(claim))}",
        f"**{claim.verdict}** ({words.passed(claim)}). {inline(claim.statement)}",
        f"*Measured:* {inline(claim.experiment)}",
        f"*On:* {inline(words.effort(claim))}.",
        table(("what ought to be so", "figure", "wanted", "n", "so?"), rows) if rows else "Nothing was checked.",
        f"*What came out:* {inline(found.said) or 'nothing was said.'}",
    ]
    for grid in found.tables:
        blocks += _titled(grid.title, table(grid.head, grid.rows))
    if found.effects:
        bought = [
            (one.technique, one.goal, words.reading(one), str(figure_of(one)), f"{one.n:,}", one.measure)
            for one in found.effects
        ]
        head = ("technique", "goal", "with it", "by how much", "n", "measured in")
        blocks += _titled("What techniques bought", table(head, bought))
    return blocks


def _titled(title: str, content: str) -> Sequence[str]:
    return [f"### {inline(title)}", content]
