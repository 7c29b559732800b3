"""Claims are found by name, measured once, and measured again when what they depend on has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provenet.claims import NAMES, find, number_of, runner
from provenet.claims.claim import Claim, above
from provenet.claims.lab import Lab
from provenet.claims.runner import carry_out, chosen, code_of, make_lab, stored
from provenet.core.errors import RecipeError
from provenet.core.files import read_json
from provenet.core.log import Silent
from provenet.records.claim import ClaimsRecord, Effect, Finding
from provenet.stats.intervals import Figure


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_is_complete(name: str) -> None:
    claim = find(name)
    assert claim.statement.endswith(".")
    assert claim.experiment.endswith(".")
    assert claim.task in (None, "classification", "segmentation")


def test_claims_are_chosen_by_name_and_number_in_their_order() -> None:
    assert chosen([]) == NAMES
    assert chosen(["dropout", "1", "symmetry"]) == ("symmetry", "dropout")


def test_strange_names_are_all_refused_with_a_near_one() -> None:
    with pytest.raises(RecipeError) as caught:
        chosen(["dropuot", "21"])
    assert len(caught.value.faults) == 2
    assert "dropout" in str(caught.value.faults[0])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Claims that only note that they were measured."""
    calls: list[str] = []

    def measure(name: str) -> Any:
        def one(lab: Lab) -> Finding:
            calls.append(name)
            found = Effect(technique="a.b", goal="convergence", measure="area", value=1.0, low=0.5, high=1.5, n=3)
            return Finding(checks=(above("x", Figure(1.0), 0, 1),), said="so.", effects=(found,))

        return one

    real = find("two_goals")
    monkeypatch.setattr(
        runner, "find", lambda name: real if name == "two_goals" else Claim("s.", "e.", None, measure(name))
    )
    return calls


def test_a_finding_is_measured_once(counted: list[str], tmp_path: Path) -> None:
    lab = Lab("quick", (0, 1, 2), {}, tmp_path)
    heard: list[tuple[str, bool]] = []
    for _ in range(2):
        carry_out(["symmetry", "decay"], lab, tmp_path, lambda record, known: heard.append((record.name, known)))
    assert counted == ["symmetry", "decay"]
    assert heard == [("symmetry", False), ("decay", False), ("symmetry", True), ("decay", True)]
    record = ClaimsRecord.model_validate(read_json(tmp_path / "claims.json"))
    assert [claim.verdict for claim in record.claims] == ["holds", "holds"]
    assert [claim.number for claim in record.claims] == [number_of("symmetry"), number_of("decay")]


def test_other_seeds_are_another_finding(counted: list[str], tmp_path: Path) -> None:
    for seeds in ((0, 1, 2), (0, 1)):
        carry_out(["symmetry"], Lab("quick", seeds, {}, tmp_path), tmp_path, lambda *_: None)
    assert counted == ["symmetry", "symmetry"]


def test_the_last_claim_reads_the_others(counted: list[str], tmp_path: Path) -> None:
    lab = Lab("quick", (0, 1, 2), {}, tmp_path)
    first = carry_out(["two_goals"], lab, tmp_path, lambda *_: None)
    assert first.claims[0].verdict == "cannot tell"
    second = carry_out(["decay", "two_goals"], lab, tmp_path, lambda *_: None)
    assert second.claims[1].verdict == "holds"
    assert second.claims[1].finding.tables[0].rows[0][0] == "a.b"
    assert [record.name for record in stored(tmp_path)] == ["decay", "two_goals"]


def test_a_finding_depends_on_its_own_source_and_not_on_other_claims() -> None:
    assert code_of("symmetry") != code_of("decay")
    assert code_of("symmetry") == code_of("symmetry")


def test_two_data_sets_of_one_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="two data sets for classification"):
        make_lab("quick", None, ["digits", "digits"], tmp_path, Silent())


def test_an_unknown_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="quick or full"):
        make_lab("quik", None, [], tmp_path, Silent())
