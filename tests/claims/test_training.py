"""A claim's training makes the updates that a run makes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from provenet.claims.lab import Lab
from provenet.claims.training import both_goals, fit, mean_curve
from provenet.engine.checkpoint import Checkpoints
from provenet.engine.loop import Loop
from provenet.run.folder import RunFolder, RunJournal

WORDS = "steps=7 batch_size=16 dropout=dropout augment=shift"


def test_the_weights_are_those_of_the_engines_loop(lab: Lab, tmp_path: Path) -> None:
    bench = lab.classification
    trained = bench.train(WORDS, seed=3, images=60, looks=2)
    session = bench.session(WORDS, seed=3, images=60)
    state, journal = session.new_state(), RunJournal(RunFolder(tmp_path))
    Loop(session.job, state, Checkpoints(tmp_path / "checkpoints"), journal).run()
    journal.close()
    for name, value in state.net.state_dict().items():
        assert torch.equal(value, trained.net.state_dict()[name]), name


def test_looks_are_evenly_spaced_and_end_at_the_end(lab: Lab) -> None:
    trained = lab.classification.train(WORDS, seed=0, images=60, looks=3)
    assert [look.step for look in trained.looks] == [3, 5, 7]
    assert len(trained.losses) == 7
    assert trained.area == np.mean([look.val for look in trained.looks])


def test_a_training_that_breaks_is_a_result(lab: Lab) -> None:
    trained = lab.classification.train("steps=40 norm=none optimizer.lr=1e30", seed=0, images=60, looks=4)
    assert trained.diverged
    assert len(trained.looks) == 4
    assert any(math.isnan(loss) for loss in trained.losses)
    assert 0 <= trained.score("test") <= 1


def test_arms_of_a_seed_share_images_and_weights(lab: Lab) -> None:
    bench = lab.classification
    one, other = (bench.session(f"steps=1 {words}", 1, 100) for words in ("optimizer.lr=0.01", "dropout=dropout"))
    assert one.dataset.splits["train"].tolist() == other.dataset.splits["train"].tolist()
    for name, value in one.net.state_dict().items():
        assert torch.equal(value, other.net.state_dict()[name]), name
    third = bench.session("steps=1", 2, 100)
    assert one.dataset.splits["train"].tolist() != third.dataset.splits["train"].tolist()


def test_fewer_images_are_among_more_and_hold_every_class(lab: Lab) -> None:
    bench = lab.classification
    few, more = bench.part("train", 30, seed=5), bench.part("train", 200, seed=5)
    assert set(few) < set(more)
    assert bench.dataset.labels is not None
    counts = np.bincount(bench.dataset.labels[few], minlength=10)
    assert counts.max() - counts.min() <= 2


def test_repeated_samples_do_not_change_the_statistics(lab: Lab) -> None:
    bench = lab.classification
    ids = bench.part("train", 40)
    once, often = bench.session_on("steps=1", 0, ids), bench.session_on("steps=1", 0, np.tile(ids, 3))
    assert once.stats == often.stats
    assert often.job.loader.steps_per_epoch >= 2 * once.job.loader.steps_per_epoch
    assert fit(often, looks=1).looks[0].step == 1


def test_a_curve_is_the_mean_over_seeds_and_effects_are_paired(lab: Lab) -> None:
    one, other = (lab.classification.train("steps=2 batch_size=16", seed, 60, looks=2) for seed in (0, 1))
    assert mean_curve([one, other]) == tuple(
        (step, (a + b) / 2) for (step, a), (_, b) in zip(one.curve, other.curve, strict=True)
    )
    convergence, generalisation = both_goals("a.b", [one, other], [other, one])
    assert (convergence.goal, generalisation.goal) == ("convergence", "generalisation")
    assert convergence.value == generalisation.value == 0
    assert convergence.high is not None
    assert math.isclose(convergence.high, 12.7062 * abs(one.area - other.area), rel_tol=1e-4, abs_tol=1e-12)
