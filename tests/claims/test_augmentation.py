"""Claim 11: consistency is measured on what the net sees of moved images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from provenet.claims import augmentation
from provenet.claims.augmentation import answers, consistency, copies_over_half
from provenet.claims.lab import Lab
from provenet.claims.training import Trained
from provenet.techniques.augment import Flip


@pytest.fixture(scope="module")
def untrained(lab: Lab) -> Trained:
    """A net with random weights: its answers change when images move."""
    session = lab.classification.session("steps=1", seed=0, images=50)
    return Trained(session, session.new_state())


def test_answers_are_those_to_the_moved_images(lab: Lab, untrained: Trained) -> None:
    bench = lab.classification
    ids = bench.part("test", 80)
    images, _ = bench.images(untrained.session, ids)
    with torch.no_grad():
        clean, mirrored = (untrained.net(one).argmax(1).numpy() for one in (images, images.flip(3)))
    assert answers(untrained, ids).tolist() == clean.tolist()
    assert answers(untrained, ids, (Flip(p=1),)).tolist() == mirrored.tolist()


def test_consistency_is_the_share_of_equal_answers(lab: Lab, untrained: Trained) -> None:
    bench = lab.classification
    ids = bench.part("test", augmentation.DRAWN)
    share = np.mean(answers(untrained, ids) == answers(untrained, ids, (Flip(p=1),)))
    assert consistency(bench, untrained, "augment=flip augment.flip.p=1") == share < 1
    assert consistency(bench, untrained, "augment=shift augment.shift.max_px=0") == 1


def test_copies_are_held_against_half_of_what_augmentation_gains() -> None:
    figure = copies_over_half({"none": [0.4, 0.5], "augmented": [0.5, 0.6], "copies": [0.42, 0.5]})
    assert figure.value == pytest.approx((0.42 - 0.45 + 0.5 - 0.55) / 2)


@pytest.mark.slow
def test_the_claim_is_measured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "SHARED", {"quick": "steps=12"})
    monkeypatch.setattr(augmentation, "DIGITS_SHARED", "steps=12")
    monkeypatch.setattr(augmentation, "IMAGES", {"quick": 100})
    monkeypatch.setattr(augmentation, "SEEDS", 0)
    monkeypatch.setattr(augmentation, "DIGITS_SEEDS", 2)
    found = augmentation.CLAIM.measure(lab)
    assert (len(found.checks), found.trainings) == (4, 10)
    assert all(check.value is not None and check.low is not None for check in found.checks)
