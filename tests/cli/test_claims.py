"""`provenet claims` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from provenet.claims import NAMES
from provenet.cli.main import run


def test_the_list_names_every_claim(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["claims", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == list(NAMES)
    assert [line.split()[0] for line in lines] == [str(number) for number in range(1, 21)]


def test_a_claim_that_needs_no_data_is_measured_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["claims", "unet_shape", "--out", str(out)]) == 0
    first = capsys.readouterr().out
    assert "unet_shape: holds" in first
    assert str(out / "report.html") in first.replace("\n", "")
    assert (out / "report.html").exists()
    assert (out / "claims.md").exists()
    assert run(["claims", "17", "--out", str(out)]) == 0
    assert "measured before" in capsys.readouterr().out
    (out / "report.html").unlink()
    assert run(["report", str(out)]) == 0
    assert (out / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dropuot"], "dropout"),
        (["--scale", "quik"], "quick"),
        (["--data", "no/such/folder"], "no/such/folder"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_written(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["claims", *words, "--out", str(out)]) in (2, 8)
    assert said in capsys.readouterr().err
    assert not (out / "findings").exists()
