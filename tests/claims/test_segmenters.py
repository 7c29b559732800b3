"""Segmentation claims at the smallest scale: nets trained side by side on a few scenes, end to end."""

from __future__ import annotations

import pytest
import torch

from provenet.claims import segmenters, skips, unet_boundaries, upsampling
from provenet.claims.lab import Lab
from provenet.claims.scenes import write_scenes
from provenet.records.claim import Finding, Gallery
from provenet.report.pictures import from_base64


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Two seeds on 40 scenes."""
    folder = tmp_path_factory.mktemp("segmentation")
    return Lab("quick", (0, 1), {"segmentation": str(write_scenes(folder / "scenes", 40, 48))}, folder)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of a few updates."""
    for claim in (unet_boundaries, skips, upsampling):
        monkeypatch.setattr(claim, "STEPS", {"quick": 4})
    monkeypatch.setattr(segmenters, "SIZE", {"quick": "net.levels=2 net.width=4 norm=group"})
    monkeypatch.setattr(segmenters, "LOOKS", 2)


def effects(finding: Finding) -> set[tuple[str, str]]:
    """Return which techniques a finding measured for which goal."""
    return {(one.technique, one.goal) for one in finding.effects}


def test_scores_are_those_of_the_engine(small: Lab) -> None:
    trained = small.segmentation.train("steps=4 net.levels=2 net.width=4", 0, looks=1)
    found = segmenters.segmenter(trained)
    assert found.scores == trained.tally("test", boundaries=True).quick()
    assert found.primary == trained.score("test")
    assert found.masks.keys() == set(trained.session.dataset.splits["test"].tolist())


def test_arms_of_a_seed_share_encoder_and_pictures(small: Lab) -> None:
    arms = [*unet_boundaries.SETTINGS.values(), *skips.SETTINGS.values(), *upsampling.SETTINGS.values()]
    first, *others = (small.segmentation.session(f"{segmenters.sized(small, arm)} steps=4", 1) for arm in arms)
    order = [ids.tolist() for ids in first.job.loader.batch_ids(0)]
    for other in others:
        weights = zip(first.net.encoder.named_parameters(), other.net.encoder.named_parameters(), strict=True)
        assert all(name == twin and torch.equal(one, two) for (name, one), (twin, two) in weights)
        assert [ids.tolist() for ids in other.job.loader.batch_ids(0)] == order


@pytest.mark.slow
def test_boundaries_end_to_end(small: Lab) -> None:
    finding = unet_boundaries.measure(small)
    assert finding.trainings == 4
    assert len(finding.checks) == 4
    assert effects(finding) == {("net.unet against net.fcn", goal) for goal in ("convergence", "generalisation")}
    (gallery,) = [chart for chart in finding.charts if isinstance(chart, Gallery)]
    assert len(gallery.pictures) == 12
    assert all(from_base64(text, caption) for caption, text in gallery.pictures)


@pytest.mark.slow
def test_skips_end_to_end(small: Lab) -> None:
    finding = skips.measure(small)
    assert finding.trainings == 8
    assert finding.checks[-1].outcome is True  # the parameters match
    assert len(effects(finding)) == 8


@pytest.mark.slow
def test_upsampling_end_to_end(small: Lab) -> None:
    finding = upsampling.measure(small)
    assert finding.trainings == 10
    assert [check.outcome for check in finding.checks[:-1]] == [True] * (len(finding.checks) - 1)
    assert len(effects(finding)) == 8
