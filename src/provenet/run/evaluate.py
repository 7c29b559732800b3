"""A trained net scored on other data than it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provenet.core.errors import DataError, Fault
from provenet.core.log import Reporter
from provenet.data.dataset import gather
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
        remedy = "give data of the run's task, or train on these"
        raise DataError(Fault("the data are for another task than the run", index.task, model.task, remedy, data))
    options = model.recipe.data.model_copy(update={"channels": model.channels, "limit": None})
    dataset = gather(index, model.classes, options, store_cache(run), reporter, model.mask_values)
    tally, _ = Scorer(dataset, model.recipe.view, model.feed).score(model.net, dataset.splits["test"])
    split = "test" if any(item.split == "test" for item in index.items) else "all"
    return {"data": data, "split": split, "classes": list(model.classes), **clean(tally.scores().to_json())}
