"""A training of provenet's as the doctor's case: its own batches, rates and modes, and its augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from provenet.core.log import Silent
from provenet.doctor.course import HORIZON, course
from provenet.doctor.session import _record, _schedule, case_of
from provenet.engine.probe import prepared
from provenet.recipe.build import Session
from provenet.recipe.schema import Recipe
from provenet.recipe.words import parse_words
from provenet.records.finding import Diagnosis, Finding
from provenet.run.planning import settle
from provenet.run.request import Request

Maker = Callable[..., Session]


@pytest.fixture
def session_of(tmp_path_factory, monkeypatch) -> Maker:
    """Return a function: data and words -> the session that `train` would make."""
    monkeypatch.setattr("provenet.data.build.num_decoders", lambda _: 0)
    monkeypatch.setattr("provenet.data.survey.num_decoders", lambda _: 0)
    store = tmp_path_factory.mktemp("store")

    def make(data: Path, words: tuple[str, ...], *more: str) -> Session:
        keys = {word.partition("=")[0] for word in more}
        chosen = [word for word in words if word.partition("=")[0] not in keys]
        request = Request(str(data), parse_words([*chosen, "optimizer.lr=0.1", *more]), Path("unused"))
        return settle(request, store, Silent())[0]

    return make


def test_batches_are_those_of_the_first_updates(photos, photo_words, session_of):
    session = session_of(photos, photo_words, "augment=none")
    case = case_of(session)
    assert case.own and case.transform is None
    expected = prepared(session.job, 4)
    assert len(case.batches) == len(expected) == 4
    for (images, targets), batch in zip(case.batches, expected, strict=True):
        assert torch.equal(images, batch.images) and torch.equal(targets, batch.targets)


def test_the_case_is_apart_from_the_session(photos, photo_words, session_of):
    session = session_of(photos, photo_words)
    case = case_of(session)
    assert case.model is not session.net
    mine = {parameter.data_ptr() for parameter in session.net.parameters()}
    held = {p.data_ptr() for group in case.optimizer.param_groups for p in group["params"]}
    assert held == {p.data_ptr() for p in case.model.parameters()} and not held & mine
    assert case.optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_the_loss_is_the_trainings_own_weights_included(photos, photo_words, session_of):
    session = session_of(photos, photo_words, "imbalance=weights", "loss.label_smoothing=0.2")
    logits, targets = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    expected = torch.nn.functional.cross_entropy(logits, targets, session.job.class_weights, label_smoothing=0.2)
    assert case_of(session).loss_fn(logits, targets) == pytest.approx(float(expected), rel=1e-5)


def test_validation_data_are_given_unless_the_look_is_quick(photos, photo_words, session_of):
    session = session_of(photos, photo_words)
    shown = session.dataset.splits["val"]
    assert sum(len(images) for images, _ in case_of(session).val_batches) == min(len(shown), 16)
    quick = case_of(session, quick=True)
    assert (quick.val_batches, quick.transform) == ((), None)


def test_a_quick_look_takes_fewer_large_batches(photos, photo_words, session_of, monkeypatch):
    session = session_of(photos, photo_words)
    for values, num in ((1, 1), (8 * 3 * 256 + 1, 2), (10**9, 4)):
        monkeypatch.setattr("provenet.doctor.session.QUICK_VALUES", values)
        assert len(case_of(session, quick=True).batches) == num


def test_the_transform_is_the_augmentation_of_the_same_picture(photos, photo_words, session_of):
    words = tuple(word for word in photo_words if not word.startswith("augment"))
    flip = ("augment=[{name: flip, p: 1}]",)
    case = case_of(session_of(photos, words, *flip))
    images, _ = case.batches[1]
    assert torch.allclose(case.transform(images), images.flip(-1), atol=1e-4)
    noisy = case_of(session_of(photos, words, "augment=[{name: noise, p: 1}]"))
    images, _ = noisy.batches[0]
    first, second = noisy.transform(images[:2].clone()), noisy.transform(images[:2].clone())
    assert not torch.equal(first, second)
    assert 0 < float((first - images[:2]).abs().mean()) < 1


def test_masks_move_with_their_pictures(cells, cell_words, session_of):
    words = tuple(word for word in cell_words if not word.startswith("augment"))
    case = case_of(session_of(cells, words, "augment=[{name: flip, p: 1}]"))
    images, masks = case.batches[0]
    moved, moved_masks = case.transform(images, masks)
    assert torch.equal(moved_masks, masks.flip(-1))
    assert torch.allclose(moved, images.flip(-1), atol=1e-4)


@pytest.mark.parametrize(
    ("words", "constant", "decays"),
    [
        (("schedule=cosine", "schedule.warmup_frac=0.5"), False, True),
        (("schedule=constant",), True, False),
        (("schedule=constant", "schedule.warmup_frac=0.5"), True, False),
        (("schedule=linear",), False, True),
    ],
)
def test_schedules_are_judged_from_their_peak_on(photos, photo_words, session_of, words, constant, decays):
    job = session_of(photos, photo_words, *words).job
    for total in (14, 40_000):
        found = course(_schedule(replace(job, total_steps=total)), None)
        assert found is not None and len(found.factors) == HORIZON
        assert (found.constant, found.decays, found.first) == (constant, decays, 1.0)


def test_schedules_that_follow_scores_or_have_no_steps_are_not_judged(photos, photo_words, session_of):
    job = session_of(photos, photo_words, "schedule=plateau").job
    assert _schedule(job) is None
    cosine = session_of(photos, photo_words, "schedule=cosine").job
    assert _schedule(replace(cosine, total_steps=1)) is None


def test_words_of_fixes_are_those_that_change_this_recipe():
    request = Request("digits", parse_words(["norm=group", "seed=3"]), Path("unused"))
    recipe = Recipe(seed=3, norm={"name": "group"})

    def mended(*overrides: str, severity: str = "warning") -> tuple[str, ...]:
        finding = Finding(id="x", severity=severity, message="", fix="", overrides=overrides)
        return _record(request, recipe, Diagnosis(findings=(finding,))).mended

    assert mended("norm.name=batch") == ("norm.name=batch", "seed=3")
    assert mended("init.name=xavier") == ("norm.name=group", "seed=3", "init.name=xavier")
    assert mended("norm.name=group") == ()  # it has it already
    assert mended("norm.momentum=0.1") == ()  # group norm has none
    assert mended("init.name=xavier", severity="info") == ()
