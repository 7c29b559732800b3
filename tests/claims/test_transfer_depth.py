"""Claim 14: what is frozen, and the measurement from end to end."""

from __future__ import annotations

import pytest

from provenet.claims import transfer_depth
from provenet.claims.lab import Lab
from provenet.claims.transfer_depth import Worth, frozen, mean_of
from provenet.techniques.transfer import names_of


def test_what_is_not_transferred_learns(lab: Lab) -> None:
    groups = lab.classification.session("steps=1", 0, 20).net.groups()
    for k in range(len(groups)):
        learning = frozen(k, len(groups) - 1).trainable(groups, progress=0.0)
        assert learning == names_of(groups[k:]), k


def test_halves_are_averaged_figure_by_figure() -> None:
    one = Worth((0.0, 0.5), (1.0, 1.0), (0.25, 0.5), (0.0, 0.0), (0.5, 0.5))
    other = Worth((1.0, 1.0), (0.0, 0.5), (0.75, 0.5), (1.0, 0.0), (0.5, 0.0))
    assert mean_of([one, other]) == Worth((0.5, 0.75), (0.5, 0.75), (0.5, 0.5), (0.5, 0.0), (0.5, 0.25))


@pytest.mark.slow
def test_the_claim_is_measured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_depth, "SHARED", {"quick": "batch_size=16"})
    monkeypatch.setattr(transfer_depth, "STEPS", {"quick": {"donor": 6, "few": 6, "more": 6}})
    monkeypatch.setattr(transfer_depth, "SIZES", {"quick": (40, 160, 300)})
    found = transfer_depth.CLAIM.measure(lab)
    assert (len(found.checks), found.trainings) == (4, 60)
    assert [len(row) for row in found.tables[0].rows] == [4] * 5
