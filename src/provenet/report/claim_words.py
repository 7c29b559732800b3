"""What measured claims come to, in words that the page and the text share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from provenet.records.claim import Check, ClaimRecord, ClaimsRecord, Effect, Verdict
from provenet.report.words import Figure, capital, counted, duration, is_number, number

VERDICTS: dict[Verdict, str] = {"holds": "holds", "does not hold here": "fails", "cannot tell": "open"}
"""The verdicts in their order, each with the name of its mark."""
ANSWERS: dict[bool | None, tuple[str, str]] = {True: ("yes", "holds"), False: ("no", "fails"), None: ("open", "open")}
"""What the outcome of a check is called, with the name of its mark."""
MOST_DECIMALS = 5
MOST_LETTERS = 100
SPELLED = {"relu": "ReLU", "unet": "U-Net"}
"""Words of names that are not spelled as names of modules are."""


@dataclass(frozen=True)
class Measured(Figure):
    """A figure with as many decimals as its interval bears; one without an interval in four figures.

    Example:
        >>> str(Measured(0.12345, 0.1012, 0.1457)), str(Measured(0.124, 0.002, 0.246)), str(Measured(35208))
        ('0.123 [0.101, 0.146]', '0.124 [0.002, 0.246]', '35,208')
    """

    @property
    def text(self) -> str:
        """The value alone."""
        return _rounded(self.value, self._decimals)

    @property
    def interval(self) -> str:
        """The interval in brackets; empty where none was taken."""
        known = is_number(self.low) and is_number(self.high)
        return f"[{_rounded(self.low, self._decimals)}, {_rounded(self.high, self._decimals)}]" if known else ""

    def __str__(self) -> str:
        return f"{self.text} {self.interval}".rstrip()

    @property
    def _decimals(self) -> int | None:
        """Decimals for two figures of the interval's width, and up to two more where an end would look like zero."""
        if not (is_number(self.low) and is_number(self.high) and self.high > self.low):
            return None
        enough = max(0, 1 - math.floor(math.log10(self.high - self.low)))
        ends = [end for end in (self.low, self.high) if end]
        telling = (more for more in range(enough, enough + 3) if all(round(end, more) for end in ends))
        return next(telling, enough)


def _rounded(value: Any, decimals: int | None) -> str:
    """Return a value with so many decimals; without an interval that says how many, whole numbers whole."""
    if not is_number(value):
        return number(value)
    if decimals is not None:
        text = f"{value:,.{decimals}f}" if decimals <= MOST_DECIMALS and abs(value) < 1e7 else f"{value:.3g}"
    elif value == int(value) and abs(value) < 1e12:
        text = f"{value:,.0f}"
    else:
        text = f"{value:,.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.4g}"
    return text if text.strip("-0.,") else text.lstrip("-")


def figure_of(row: Check | Effect) -> Measured:
    """Return the figure of a check or an effect."""
    return Measured(row.value, row.low, row.high)


def short_name(record: ClaimRecord) -> str:
    """Return a claim's name in words, with a capital."""
    words = (SPELLED.get(word, word) for word in record.name.split("_"))
    return capital(" ".join(words).strip()) or f"Claim {record.number}"


def short_statement(record: ClaimRecord) -> str:
    """Return the beginning of what is claimed, cut behind a word."""
    return shorten(record.statement, MOST_LETTERS, placeholder=" …")


def effort(record: ClaimRecord) -> str:
    """Return what a claim was measured on, with how many trainings, and how long it took."""
    num = record.finding.trainings
    parts = (record.data, counted(num, "training") if num else "", duration(record.seconds))
    return "; ".join(part for part in parts if part)


def deciding(record: ClaimRecord) -> Check | None:
    """Return the check that the verdict hangs on: the first that failed, else the first left open, else the first."""
    checks = record.finding.checks
    for outcome in (False, None):
        for check in checks:
            if check.outcome is outcome:
                return check
    return checks[0] if checks else None


def passed(record: ClaimRecord) -> str:
    """Return how many of a claim's checks hold."""
    checks = record.finding.checks
    return f"{sum(check.outcome is True for check in checks)} of {counted(len(checks), 'check')} held"


def reading(effect: Effect) -> str:
    """Return what an effect's interval says; above zero is better, by the convention of all effects."""
    if effect.low is None or effect.high is None:
        return "no interval"
    return "better" if effect.low > 0 else "worse" if effect.high < 0 else "could be zero"


def tally(record: ClaimsRecord) -> dict[Verdict, int]:
    """Return how many claims came to each verdict, all verdicts named."""
    return {verdict: sum(claim.verdict == verdict for claim in record.claims) for verdict in VERDICTS}


def headline(record: ClaimsRecord) -> str:
    """Return in one sentence how many claims hold, and on what it rests."""
    total = len(record.claims)
    if not total:
        return "No claim has been measured yet."
    holding, failing, unclear = tally(record).values()
    holds, does = ("holds" if holding == 1 else "hold"), ("does" if failing == 1 else "do")
    told = f"{holding} {holds}, {failing} {does} not hold here and {unclear} cannot be told"
    return f"Of {counted(total, 'claim')} measured, {told}: {circumstances(record)}."


def circumstances(record: ClaimsRecord) -> str:
    """Return scale, data, seeds and time of a measurement."""
    names = list(dict.fromkeys(claim.data.split(" (")[0] for claim in record.claims if claim.data))
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    data = [f"on {listed}"] if names else []
    return ", ".join([f"{record.scale} scale", *data, counted(len(record.seeds), "seed"), duration(spent(record))])


def spent(record: ClaimsRecord) -> float:
    """Return the seconds that measuring all claims took, those among them that had been measured before."""
    return sum(claim.seconds for claim in record.claims)


HOW_TO_READ = (
    "A claim holds when every check it rests on does; it does not hold here when one fails; it cannot be told while an "
    "interval still holds both answers. In brackets: 95 % intervals; a figure without one is exact or says itself what "
    "it is. n counts the seeds, draws or pictures behind a figure."
)
QUICK = (
    "The quick scale means small nets, few images and short trainings: what does not hold here may hold at the "
    "published scale, and the other way round."
)


def how_to_read(record: ClaimsRecord) -> str:
    """Return what the words of the report mean, and how far they reach."""
    return f"{HOW_TO_READ} {QUICK}" if record.scale == "quick" else HOW_TO_READ


def facts(record: ClaimsRecord) -> dict[str, Any]:
    """Return scale, seeds, time and origin, nested as they were recorded."""
    own = {
        "scale": record.scale,
        "seeds": list(record.seeds),
        "time of all claims": duration(spent(record)),
        "time of the last call": duration(record.seconds),
        "trainings": sum(claim.finding.trainings for claim in record.claims),
    }
    described = list(dict.fromkeys(claim.data for claim in record.claims if claim.data))
    data = {f"measured on {index + 1}": text for index, text in enumerate(described)}
    return own | data | {key: value for key, value in record.provenance.items() if key != "data" or not described}
