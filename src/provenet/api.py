"""The Python face: train, resume, evaluate, predict and inspect in one call each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from provenet.core.errors import Fault, ResumeError
from provenet.core.log import Reporter, Silent
from provenet.data.dataset import prepare, summary
from provenet.data.index import read_index
from provenet.data.options import DataOptions
from provenet.recipe.load import gather
from provenet.recipe.tree import Overrides
from provenet.report.run import write_run_report
from provenet.run.evaluate import evaluate as run_evaluate
from provenet.run.folder import RunFolder
from provenet.run.model import Model, load_model
from provenet.run.predict import Answering, Prediction
from provenet.run.predict import predict as run_predict
from provenet.run.request import Request, request_of, same_request
from provenet.run.train import Listeners
from provenet.run.train import train as run_train


class Run:
    """A run folder: its figures, its report, its net.

    Args:
        folder: the folder that a training wrote.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._model: Model | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def result(self) -> dict[str, Any]:
        """The content of `result.json`.

        Raises:
            ResumeError: the run is not finished, or there is none.
        """
        folder = RunFolder(self.folder)
        if not folder.finished:
            state = "is not finished" if folder.started else "holds no run"
            raise ResumeError(Fault(f"{self.folder} {state}", remedy="see `provenet resume` and `provenet train`"))
        found: dict[str, Any] = folder.read(folder.result)
        return found

    @property
    def metrics(self) -> dict[str, dict[str, float | None]]:
        """The scores by split and name, without intervals (`result` has them)."""
        splits = self.result["splits"]
        return {name: {key: m["value"] for key, m in split["metrics"].items()} for name, split in splits.items()}

    @property
    def report(self) -> Path:
        """The report page."""
        return RunFolder(self.folder).report

    @property
    def model(self) -> Model:
        """The trained net with classes, statistics and view."""
        if self._model is None:
            self._model = load_model(self.folder)
        return self._model

    def predict(self, *files: str | Path, answering: Answering | None = None) -> list[Prediction]:
        """Return the answers for files, folders or zips of pictures."""
        return list(run_predict(self.model, files, answering))

    def evaluate(self, data: str | Path) -> dict[str, Any]:
        """Return the scores on another data set."""
        return run_evaluate(self.model, self.folder, str(data), Silent())


def train(
    data: str | Path,
    /,
    *,
    out: str | Path | None = None,
    recipe: str | Path | None = None,
    words: Sequence[str] = (),
    listeners: Listeners | None = None,
    **settings: Any,
) -> Run:
    """Train on a folder of images, or go on with a training that was stopped.

    Args:
        data: a folder, a .zip, a .csv, "digits", or "torchvision:NAME".
        out: the run folder; None: `runs/NAME` after the data.
        recipe: a YAML file with settings.
        words: settings as on the command line, "optimizer.lr=0.1".
        listeners: who follows the run; None: nobody.
        settings: recipe fields, as in `epochs=10, net={"name": "resnet", "depth": 18}`.

    Returns:
        The run.

    Raises:
        ProvenetError: data, recipe or machine do not allow it.
    """
    started = time.monotonic()
    overrides = gather(None if recipe is None else Path(recipe), words, settings)
    folder = Path(out) if out is not None else default_out(str(data), overrides)
    return carry_out(Request(str(data), overrides, folder, started), listeners)


def carry_out(request: Request, listeners: Listeners | None = None) -> Run:
    """Train as requested and write the report."""
    done = run_train(request, listeners or Listeners(Silent()))
    if done.finished and not done.report.exists():
        write_run_report(done.path)
    return Run(done.path)


def resume(run: str | Path, listeners: Listeners | None = None) -> Run:
    """Go on with a run exactly where it was stopped; a finished one is left as it is."""
    return carry_out(request_of(Path(run)), listeners)


def evaluate(run: str | Path, data: str | Path) -> dict[str, Any]:
    """Return the scores of a run's net on another data set."""
    return Run(run).evaluate(data)


def predict(
    run: str | Path, *files: str | Path, mirrored: bool = False, dropout_samples: int | None = None
) -> list[Prediction]:
    """Return the answers of a run's net for files, folders or zips of pictures; see `run.predict.Answering`."""
    answering = Answering(mirrored=mirrored, dropout_samples=dropout_samples)
    return Run(run).predict(*files, answering=answering)


def inspect(data: str | Path, reporter: Reporter | None = None, **options: Any) -> dict[str, Any]:
    """Return what is in a data set: task, classes, sizes, bad files, duplicates, leaks, mask values.

    Args:
        data: as in `train`.
        reporter: hears progress and findings.
        options: fields of `data` in a recipe.
    """
    index = read_index(str(data))
    dataset = prepare(index, DataOptions(**options), Path("runs/.store"), reporter or Silent())
    return summary(dataset)


def default_out(data: str, overrides: Overrides) -> Path:
    """Return the run folder for data that no name was given for.

    `runs/NAME` after the data; `runs/NAME-2` and so on where that holds a run of another request.
    """
    name = data.rsplit(":", 1)[-1].rstrip("/")
    path = Path(name)
    stem = path.stem if path.suffix.lower() in (".zip", ".csv") else path.name
    stem = stem or path.resolve().name or "run"
    for number in count(1):
        folder = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
        if not folder.exists() or same_request(folder, data, overrides):
            return folder
    raise AssertionError
