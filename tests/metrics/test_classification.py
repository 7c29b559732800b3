"""A classifier's scores against scikit-learn and torchmetrics, however the samples are dealt out."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from provenet.core.batch import VOID
from provenet.metrics import ClassificationTally
from provenet.stats.bootstrap import bootstrap_counts
from provenet.stats.intervals import wilson_interval


def samples(num: int, num_classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Logits that are right more often than not, targets with every class, and ids out of order."""
    draws = np.random.default_rng(seed)
    targets = draws.permutation(np.arange(num) % num_classes)
    logits = draws.normal(size=(num, num_classes)) * 1.5
    logits[np.arange(num), targets] += 1.5
    return torch.from_numpy(logits), torch.from_numpy(targets), draws.permutation(num * 2)[:num]


def tally_of(logits: torch.Tensor, targets: torch.Tensor, ids: np.ndarray) -> ClassificationTally:
    tally = ClassificationTally(tuple(f"class {k}" for k in range(logits.shape[1])))
    tally.update(logits, targets, ids)
    return tally


@pytest.mark.parametrize("num_classes", [2, 3, 12])
def test_scores_equal_scikit_learns(num_classes: int) -> None:
    logits, targets, ids = samples(240, num_classes)
    scores = tally_of(logits, targets, ids).scores(resamples=20)
    truth, predicted = targets.numpy(), logits.argmax(1).numpy()
    precision, recall, f1, support = sk.precision_recall_fscore_support(truth, predicted)
    assert scores.confusion == sk.confusion_matrix(truth, predicted).tolist()
    found = {name: figure.value for name, figure in scores.metrics.items()}
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    log_loss = sk.log_loss(truth, logits.softmax(1).numpy(), labels=range(num_classes))
    assert found["log_loss"] == pytest.approx(log_loss, rel=1e-9)
    for name, theirs in (("precision", precision), ("recall", recall), ("f1", f1)):
        np.testing.assert_allclose([row[name].value for row in scores.per_class], theirs)
    assert [row["support"] for row in scores.per_class] == support.tolist()
    assert (scores.n, scores.task, scores.primary) == (240, "classification", "accuracy")


def test_ece_and_top5_equal_torchmetrics() -> None:
    logits, targets, ids = samples(500, 12)
    quick = tally_of(logits, targets, ids).quick()
    error = multiclass_calibration_error(logits.softmax(1), targets, 12, n_bins=15, norm="l1")
    assert quick["ece"] == pytest.approx(float(error), abs=1e-6)
    top = multiclass_accuracy(logits, targets, 12, average="micro", top_k=5)
    assert quick["top5"] == pytest.approx(float(top))


def test_top5_is_told_from_ten_classes_on() -> None:
    assert "top5" not in tally_of(*samples(30, 9)).scores(resamples=5).metrics
    assert "top5" in tally_of(*samples(30, 10)).scores(resamples=5).metrics


def test_quick_equals_scores() -> None:
    tally = tally_of(*samples(90, 11))
    assert tally.quick() == {name: figure.value for name, figure in tally.scores(resamples=5).metrics.items()}


@given(st.lists(st.integers(0, 3), min_size=60, max_size=60), st.randoms(use_true_random=False))
def test_any_deal_over_batches_and_tallies_gives_the_same_scores(places: list[int], random) -> None:
    logits, targets, ids = samples(60, 3)
    tallies = [ClassificationTally(("class 0", "class 1", "class 2")) for _ in range(2)]
    for part in range(4):
        rows = [i for i in range(60) if places[i] == part]
        random.shuffle(rows)
        tallies[part % 2].update(logits[rows], targets[rows], ids[rows])
    random.shuffle(tallies)
    tallies[0].merge(tallies[1])
    assert tallies[0].scores(resamples=20) == tally_of(logits, targets, ids).scores(resamples=20)


def test_intervals_equal_slow_resampling() -> None:
    logits, targets, ids = samples(50, 3)
    scores = tally_of(logits, targets, ids).scores(level=0.9, resamples=200, seed=5)
    order = np.argsort(ids)
    truth, predicted = targets.numpy()[order], logits.argmax(1).numpy()[order]
    drawn = [np.repeat(np.arange(50), row.astype(int)) for counts in bootstrap_counts(50, 200, 5) for row in counts]
    for found, slow in (
        (scores.metrics["accuracy"], [sk.accuracy_score(truth[i], predicted[i]) for i in drawn]),
        (
            scores.metrics["balanced_accuracy"],
            [sk.recall_score(truth[i], predicted[i], average="macro") for i in drawn],
        ),
        (scores.per_class[1]["f1"], [sk.f1_score(truth[i] == 1, predicted[i] == 1) for i in drawn]),
    ):
        np.testing.assert_allclose([found.low, found.high], np.percentile(slow, [5, 95]), atol=1e-12)


def test_seed_moves_intervals_and_never_values() -> None:
    tally = tally_of(*samples(80, 3))
    one, same, other = (tally.scores(resamples=50, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one != other
    assert {k: f.value for k, f in one.metrics.items()} == {k: f.value for k, f in other.metrics.items()}


def test_absent_class_has_no_recall_and_stays_out_of_the_mean() -> None:
    logits = torch.tensor([[2.0, 1, 0], [0, 2, 1], [0, 1, 2], [2, 0, 1]])
    scores = tally_of(logits, torch.tensor([0, 1, 1, 1]), np.arange(4)).scores()
    assert scores.metrics["balanced_accuracy"].value == pytest.approx((1 + 1 / 3) / 2)
    absent = scores.per_class[2]
    assert (absent["support"], absent["recall"].value, absent["recall"].low) == (0, None, None)
    assert absent["precision"].value == 0  # predicted once, wrongly


def test_class_never_predicted_has_no_precision() -> None:
    scores = tally_of(torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([0, 1]), np.arange(2)).scores()
    missed = scores.per_class[1]
    assert (missed["precision"].value, missed["recall"].value, missed["f1"].value) == (None, 0.0, 0.0)


def test_perfect_accuracy_is_not_certain() -> None:
    _, targets, ids = samples(40, 2)
    scores = tally_of(torch.nn.functional.one_hot(targets) * 5.0, targets, ids).scores()
    accuracy = scores.metrics["accuracy"]
    assert (accuracy.value, accuracy.high) == (1.0, 1.0)
    assert accuracy.low == pytest.approx(wilson_interval(40, 40)[0])
    assert scores.metrics["balanced_accuracy"].low is None


def test_unknown_targets_are_left_out() -> None:
    logits, targets, ids = samples(60, 3)
    known = np.arange(60) % 4 != 0
    hidden = torch.where(torch.from_numpy(known), targets, VOID)
    ours = tally_of(logits, hidden, ids).scores(resamples=10)
    assert ours == tally_of(logits[known], targets[known], ids[known]).scores(resamples=10)
    assert ours.n == 45


def test_class_255_of_many_counts() -> None:
    logits, targets, ids = samples(300, 300)
    assert tally_of(logits, targets, ids).scores(resamples=5).n == 300


def test_equal_logits_are_a_hit_only_for_the_class_that_argmax_names() -> None:
    scores = tally_of(torch.zeros(2, 12), torch.tensor([0, 7]), np.arange(2)).scores(resamples=5)
    assert scores.metrics["accuracy"].value == 0.5
    assert scores.metrics["top5"].value == 0.5
    assert [scores.confusion[0][0], scores.confusion[7][0]] == [1, 1]


def test_not_a_number_is_no_hit() -> None:
    tally = tally_of(torch.full((4, 3), math.nan), torch.tensor([0, 0, 1, 2]), np.arange(4))
    scores = tally.scores(resamples=5)
    assert scores.metrics["accuracy"].value == 0
    assert scores.metrics["log_loss"].value is None
    assert math.isnan(tally.quick()["log_loss"])
    json.dumps(scores.to_json(), allow_nan=False)


def test_certain_and_wrong_has_no_finite_log_loss() -> None:
    tally = tally_of(torch.tensor([[0.0, -math.inf], [0.0, -1.0]]), torch.tensor([1, 0]), np.arange(2))
    assert tally.quick()["log_loss"] == math.inf
    assert tally.scores(resamples=5).metrics["log_loss"].value is None


@pytest.mark.parametrize("num", [0, 1])
def test_next_to_nothing(num: int) -> None:
    scores = tally_of(torch.zeros(num, 2), torch.zeros(num, dtype=torch.int64), np.arange(num)).scores(resamples=5)
    assert scores.n == num
    assert scores.metrics["accuracy"].value == (None if num == 0 else 1.0)
    assert scores.metrics["log_loss"].low is None
    json.dumps(scores.to_json(), allow_nan=False)


def test_a_sample_counts_once() -> None:
    tally = tally_of(*samples(10, 2))
    tally.merge(tally_of(*samples(10, 2)))
    with pytest.raises(AssertionError, match="twice"):
        tally.quick()


def test_half_precision_and_gradients_are_taken_as_they_are() -> None:
    logits, targets, ids = samples(20, 3)
    half = logits.to(torch.bfloat16).requires_grad_()
    assert tally_of(half, targets, ids).quick() == tally_of(half.detach().double(), targets, ids).quick()
