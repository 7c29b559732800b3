"""A trained net scored on other data than it was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from provenet.core.errors import DataError, Fault, listed
from provenet.core.log import Reporter
from provenet.data.dataset import Dataset, prepare
from provenet.data.index import read_index
from provenet.engine.evaluate import Scorer
from provenet.run.finish import clean
from provenet.run.model import Model, store_cache


def evaluate(model: Model, run: Path, data: str, reporter: Reporter) -> dict[str, Any]:
    """Return the scores of a trained net on the test split that a layout gives, else on all of the data.

    Classes are matched by name.

    Args:
        model: the trained net.
        run: its run folder; decoded pictures are kept beside it.
        data: path or name of the data.
        reporter: hears what is found.

    Raises:
        DataError: the task differs, or there are classes that the net does not know.
    """
    index = read_index(data)
    if index.task != model.task:
        raise DataError(Fault(f"{data} is a data set for {index.task}", remedy=f"the run learnt {model.task}"))
    options = model.recipe.data.model_copy(update={"channels": model.channels, "limit": None})
    dataset = prepare(index, options, store_cache(run), reporter)
    split, ids = _judged(dataset, given=any(item.split for item in index.items))
    matched = _matched(dataset, model.classes)
    scorer = Scorer(matched, model.recipe.view, model.feed)
    tally, _ = scorer.score(model.net, ids)
    return {"data": data, "split": split, "classes": list(model.classes), **clean(tally.scores().to_json())}


def _judged(dataset: Dataset, given: bool) -> tuple[str, np.ndarray]:
    """Return which samples are scored: a split that the layout gave, never one made up here."""
    if given and len(dataset.splits["test"]):
        return "test", dataset.splits["test"]
    return "all", np.sort(np.concatenate(list(dataset.splits.values())))


def _matched(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """Return the data set with the net's class order."""
    unknown = sorted(set(dataset.classes) - set(classes))
    if unknown:
        known = f"the net knows {listed(classes)}"
        raise DataError(Fault("the data have classes that the net does not know", listed(unknown), known))
    if dataset.labels is None:
        if dataset.classes != classes:
            raise DataError(
                Fault("the masks have other classes than the net", listed(dataset.classes), listed(classes))
            )
        return dataset
    table = np.array([classes.index(name) for name in dataset.classes], dtype=np.int64)
    return replace(dataset, classes=classes, labels=table[dataset.labels])
