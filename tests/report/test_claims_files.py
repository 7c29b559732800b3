"""The files of measured claims: both are written from the record, a damaged record is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from provenet.core.errors import RecipeError, StorageError
from provenet.core.files import write_json
from provenet.records.claim import Check, ClaimRecord, ClaimsRecord, Finding
from provenet.report.claims import claims_page, read_claims, write_claims_report
from provenet.report.claims_text import claims_markdown

CHECK = Check(says="it trains", value=0.5, low=0.25, high=0.75, wanted="> 0", n=3, outcome=True)
CLAIM = ClaimRecord(
    number=3,
    name="deep_relu",
    statement="It trains.",
    experiment="It is trained.",
    data="digits",
    verdict="holds",
    finding=Finding(checks=(CHECK,), said="It trained."),
    seconds=1.5,
    key="ab",
)
RECORD = ClaimsRecord(scale="quick", seeds=(0, 1), claims=(CLAIM,), seconds=2.0, provenance={"processor": "Some CPU"})


def test_both_files_are_written_from_the_record(tmp_path: Path) -> None:
    write_json(tmp_path / "claims.json", RECORD.model_dump(mode="json"))
    path = write_claims_report(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == claims_page(RECORD)
    assert (tmp_path / "claims.md").read_text(encoding="utf-8") == claims_markdown(RECORD)
    first = path.read_bytes()
    assert write_claims_report(tmp_path).read_bytes() == first


def test_a_character_that_no_file_can_hold_stops_neither_file(tmp_path: Path) -> None:
    write_json(tmp_path / "claims.json", RECORD.model_dump(mode="json"))
    damaged = (tmp_path / "claims.json").read_text(encoding="utf-8").replace("Some CPU", r"Some\ud800CPU")
    (tmp_path / "claims.json").write_text(damaged, encoding="utf-8")
    assert "Some?CPU" in write_claims_report(tmp_path).read_text(encoding="utf-8")
    assert "Some?CPU" in (tmp_path / "claims.md").read_text(encoding="utf-8")


def test_no_record_no_page(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="holds no measured claims"):
        write_claims_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"scale": "quick"}', "[" * 5000])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "claims.json").write_text(content, encoding="utf-8")
    with pytest.raises(StorageError, match=r"claims\.json"):
        read_claims(tmp_path)


def test_the_report_opens_without_torch() -> None:
    code = "import sys, provenet.report.claims; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
