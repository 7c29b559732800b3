"""The end of a run: the best weights scored on every split once, baselines beside them, result and views written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from provenet.core.files import write_json
from provenet.core.log import Reporter
from provenet.data.dataset import Dataset
from provenet.engine.checkpoint import Checkpoints
from provenet.engine.evaluate import Tally
from provenet.engine.job import Outcome
from provenet.engine.state import TrainState
from provenet.metrics.baseline import majority_baseline, otsu_baseline, pixel_majority_baseline
from provenet.metrics.scores import Scores
from provenet.nets.count import count_flops, count_parameters
from provenet.recipe.build import Session, clean_ids
from provenet.run.folder import RunFolder
from provenet.run.memory import peak_memory_mib
from provenet.run.views import write_views
from provenet.stats.intervals import gap_interval

FINAL_CLEAN = {"classification": 5000, "segmentation": 200}
"""How many training images the end scores clean."""


def finish(folder: RunFolder, session: Session, state: TrainState, outcome: Outcome, reporter: Reporter) -> None:
    """Score the best weights, write the views, then `result.json`; the test split is touched here and only here."""
    net = best_net(folder, session, state)
    reporter.note(f"scoring the best weights, those of update {state.counters.best_step}")
    tallies = _tallies(session, net, reporter)
    scores = {name: tally.scores() for name, tally in tallies.items()}
    write_views(folder.views, session, net, tallies)
    write_json(folder.result, clean(_result(session, state, outcome, scores)))


def best_net(folder: RunFolder, session: Session, state: TrainState) -> nn.Module:
    """Return the net with the best weights of the run, in evaluation mode."""
    net = state.evaluated
    checkpoints = Checkpoints(folder.checkpoints)
    net.load_state_dict(checkpoints.load_best())
    return net.eval()


def _tallies(session: Session, net: nn.Module, reporter: Reporter) -> dict[str, Tally]:
    splits = session.dataset.splits
    chosen = {
        "train": clean_ids(session.dataset, FINAL_CLEAN[session.dataset.task]),
        "val": splits["val"],
        "test": splits["test"],
    }
    tallies: dict[str, Tally] = {}
    for done, (name, ids) in enumerate(chosen.items()):
        reporter.progress("splits scored", done, len(chosen))
        if len(ids):
            tallies[name] = session.scorer.score(net, ids)[0]
    reporter.progress("splits scored", len(chosen), len(chosen))
    return tallies


def _result(session: Session, state: TrainState, outcome: Outcome, scores: dict[str, Scores]) -> dict[str, Any]:
    dataset = session.dataset
    primary = next(iter(scores.values())).primary
    listed = {name: len(ids) for name, ids in dataset.splits.items()}
    return {
        "task": dataset.task,
        "classes": list(dataset.classes),
        "primary": primary,
        "splits": {name: {**found.to_json(), "listed": listed[name]} for name, found in scores.items()},
        "gap": _gap(scores, primary),
        "baselines": list(_baselines(dataset)),
        "training": _training(session, state, outcome),
    }


def _gap(scores: dict[str, Scores], primary: str) -> dict[str, Any] | None:
    """Return clean train score minus validation score, with its interval."""
    if "train" not in scores or "val" not in scores:
        return None
    figure = gap_interval(scores["train"].metrics[primary], scores["val"].metrics[primary])
    return {"metric": primary, "value": figure.value, "low": figure.low, "high": figure.high}


def _baselines(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Yield what needs no net: the majority class and, for two classes, Otsu's threshold."""
    train = dataset.splits["train"]
    for split in ("val", "test"):
        ids = dataset.splits[split]
        if not len(ids):
            continue
        if dataset.labels is not None:
            yield _baseline_row(split, majority_baseline(dataset.labels[train], dataset.labels[ids], dataset.classes))
            continue
        store = dataset.store
        masks = (store.truth(int(i)) for i in train)
        samples = ((store.truth(int(i)), int(i)) for i in ids)
        yield _baseline_row(split, pixel_majority_baseline(masks, samples, dataset.classes))
        if len(dataset.classes) == 2:
            few = clean_ids(dataset, 200)
            pairs = ((store.image(int(i)), store.mask(int(i))) for i in few)
            judged = ((_at_original(dataset, int(i)), store.truth(int(i)), int(i)) for i in ids)
            yield _baseline_row(split, otsu_baseline(pairs, judged, dataset.classes))


def _at_original(dataset: Dataset, i: int) -> np.ndarray:
    """Return a stored picture at its original size, for a threshold to be scored there."""
    import cv2

    picture, (height, width) = dataset.store.image(i), dataset.store.original_size(i)
    if picture.shape[:2] == (height, width):
        return picture
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)


def _baseline_row(split: str, scores: Scores) -> dict[str, Any]:
    found = scores.to_json()
    return {"name": scores.extra["baseline"], "split": split, "metrics": found["metrics"]}


def _training(session: Session, state: TrainState, outcome: Outcome) -> dict[str, Any]:
    counters, job = state.counters, session.job
    per_epoch = job.loader.steps_per_epoch
    shape = (1, session.dataset.store.channels, *session.recipe.view.size)
    return {
        "steps": outcome.steps,
        "total_steps": job.total_steps,
        "epochs": round(outcome.steps / per_epoch, 3),
        "stopped": outcome.stopped,
        "best_step": counters.best_step,
        "best_epoch": round(counters.best_step / per_epoch, 3),
        "seconds": round(counters.seconds, 1),
        "images_per_s": round(counters.images / counters.seconds, 1) if counters.seconds else None,
        "skipped_updates": counters.skipped,
        "rollbacks": state.rollbacks,
        "parameters": count_parameters(session.net),
        "flops": count_flops(session.net, shape),
        "peak_memory_mib": peak_memory_mib(job.precision.device),
    }


def clean(value: Any) -> Any:
    """Return JSON values with numbers that are not finite as null.

    Example:
        >>> clean({"a": [1.0, float("nan")]})
        {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: clean(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [clean(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
