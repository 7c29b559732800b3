"""Claim 14: what is frozen, and the measurement from end to end."""

from __future__ import annotations

import pytest

from provenet.claims import transfer_depth
from provenet.claims.lab import Lab
from provenet.claims.transfer_depth import Arms, frozen
from provenet.techniques.transfer import names_of


def test_what_is_not_transferred_learns(lab: Lab) -> None:
    groups = lab.classification.session("steps=1", 0, 20).net.groups()
    for k in range(len(groups)):
        learning = frozen(k, len(groups) - 1).trainable(groups, progress=0.0)
        assert learning == names_of(groups[k:]), k


def test_a_gain_is_tuned_less_own() -> None:
    class Run:
        def __init__(self, value: float) -> None:
            self.value = value

        def score(self, split: str) -> float:
            return self.value if split == "test" else 0.0

    pair = ([Run(0.25), Run(0.5)], [Run(0.75), Run(0.5)])
    assert Arms().gain(pair) == [0.5, 0.0]  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_claim_is_measured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_depth, "SHARED", {"quick": "steps=6 batch_size=16"})
    monkeypatch.setattr(transfer_depth, "SIZES", {"quick": (40, 160, 300)})
    found = transfer_depth.CLAIM.measure(lab)
    assert (len(found.checks), found.trainings) == (4, 28)
    assert [len(row) for row in found.tables[0].rows] == [4] * 5
