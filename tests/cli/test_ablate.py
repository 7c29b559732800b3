"""`provenet ablate` on the command line and from Python: a small study on segmentation, in worker processes."""

from __future__ import annotations

import pytest

import provenet as pn

WORDS = (
    *("steps=4", "batch_size=4", "net=unet", "net.width=4", "net.levels=2", "view.size=[16,16]", "precision=fp32"),
    *("data.val_frac=0.25", "data.test_frac=0.25"),
)
ARMS = ("--arms", "skip", "--arm", "slow: optimizer.lr=1e-5", "--seeds", "2", "--workers", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("studies") / "cells"


def test_a_study_is_made_said_and_gone_on_with(call, cells, folder, monkeypatch):
    code, said, errors = call("ablate", cells, *WORDS, *ARMS, "--out", folder)
    assert (code, errors) == (0, "")
    assert "6 cells: 3 arms x 2 seeds" in said and "slow: optimizer.lr=1e-5" in said
    assert "convergence (epochs to target):" in said and "generalisation (test dice):" in said
    assert f"report: {folder}/report.html" in said
    assert (folder / "report.html").exists() and len(list((folder / "cells").iterdir())) == 6
    code, said, _ = call("ablate", cells, *WORDS, *ARMS, "--out", folder)
    assert code == 0 and "seed 0:" not in said
    (folder / "report.html").unlink()
    assert call("report", folder)[0] == 0 and (folder / "report.html").exists()


def test_from_python_effects_are_a_data_frame(cells, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arms = ["skip", "slow: optimizer.lr=1e-5"]
    study = pn.ablate(cells, arms=arms, seeds=2, workers=2, out=folder, words=WORDS)
    frame = study.effects
    primary = frame[frame["primary"]]
    assert sorted(zip(primary["arm"], primary["goal"], strict=True)) == [
        (arm, goal) for arm in ("no-skip", "slow") for goal in ("convergence", "generalisation")
    ]
    assert {"value", "low", "high", "p_corrected", "verdict", "n"} <= set(frame.columns)
    assert (primary["n"] == 2).all() and study.report.exists() and study.record.complete


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--arms", "nrom"], "did you mean 'norm'"),
        (["--arm", "norm.name=none"], "--arm cannot be read"),
        (["--mode", "gird"], "did you mean 'grid'"),
        (["net.widht=3"], "did you mean 'width'"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(call, cells, tmp_path, words, said):
    code, _, errors = call("ablate", cells, *WORDS, *words, "--out", tmp_path / "s")
    assert code == 2 and said in errors
    assert not (tmp_path / "s" / "plan.json").exists()
