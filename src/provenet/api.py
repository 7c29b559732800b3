"""The Python face: train, resume, evaluate, predict, ablate and inspect in one call each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenet.core.errors import Fault, ResumeError
from provenet.core.log import Reporter, Silent
from provenet.data.dataset import prepare, summary
from provenet.data.index import read_index
from provenet.data.options import DataOptions
from provenet.recipe.load import gather
from provenet.recipe.tree import Overrides
from provenet.records.finding import Diagnosis
from provenet.records.study import StudyRecord
from provenet.report.doctor import read_doctor
from provenet.report.run import write_run_report
from provenet.report.study import read_study, write_study_report
from provenet.run.evaluate import evaluate as run_evaluate
from provenet.run.folder import RunFolder
from provenet.run.model import Model, load_model
from provenet.run.predict import Answering, Prediction
from provenet.run.predict import predict as run_predict
from provenet.run.request import Request, request_of, same_request
from provenet.run.train import Listeners
from provenet.run.train import train as run_train

if TYPE_CHECKING:
    import pandas as pd


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
    def doctor(self) -> Diagnosis | None:
        """What the doctor found before the first update; None where it did not look."""
        found = RunFolder(self.folder).doctor
        return read_doctor(self.folder).diagnosis if found.exists() else None

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
    doctor: bool = True,
    **settings: Any,
) -> Run:
    """Train on a folder of images, or go on with a training that was stopped.

    Args:
        data: a folder, a .zip, a .csv, "digits", or "torchvision:NAME".
        out: the run folder; None: `runs/NAME` after the data.
        recipe: a YAML file with settings.
        words: settings as on the command line, "optimizer.lr=0.1".
        listeners: who follows the run; None: nobody.
        doctor: look for faults that need no training, about a second before the first update; they are told as warnings
            and kept in the run folder.
        settings: recipe fields, as in `epochs=10, net={"name": "resnet", "depth": 18}`.

    Returns:
        The run.

    Raises:
        ProvenetError: data, recipe or machine do not allow it.
    """
    started = time.monotonic()
    overrides = gather(None if recipe is None else Path(recipe), words, settings)
    folder = Path(out) if out is not None else default_out(str(data), overrides)
    return carry_out(Request(str(data), overrides, folder, started), listeners, doctor)


def carry_out(request: Request, listeners: Listeners | None = None, doctor: bool = False) -> Run:
    """Train as requested and write the report; on request with a look of the doctor before the first update."""
    listeners = listeners or Listeners(Silent())
    if doctor:
        from provenet.doctor.session import look_first

        listeners = replace(listeners, before=partial(look_first, request, listeners.reporter))
    done = run_train(request, listeners)
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


class Study:
    """A study folder: its effects, its report.

    Args:
        folder: the folder that a study wrote.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r})"

    @cached_property
    def record(self) -> StudyRecord:
        """The content of `effects.json`.

        Raises:
            RecipeError: the folder holds no study.
        """
        return read_study(self.folder)

    @property
    def effects(self) -> pd.DataFrame:
        """One row an arm, goal and measure; the columns are the fields of `records.study.Effect`."""
        import pandas as pd

        rows = (*self.record.main_effects, *self.record.effects, *self.record.machine.effects)
        return pd.DataFrame([row.model_dump() for row in rows])

    @property
    def report(self) -> Path:
        """The report page."""
        return self.folder / "report.html"


@dataclass(frozen=True)
class Ablation:
    """What a study compares, and how.

    Args:
        parts: names of techniques, as in "norm" or "augment.flip"; None: those that the recipe has.
        own: arms of the user's, "NAME: KEY=VALUE ...".
        mode: "leave-one-out", "add-one-in" or "grid".
        seeds: seeds of every arm; None: 5, and at most 10 where they are raced.
        budget_min: minutes that the study may take; None: trainings as long as `train` would make them.
        tune_lr: every arm at its own best learning rate.
        race: add seeds only while a verdict is open.
        workers: cells at a time; None: half the cores, at most 8; on Ray: as many as the cluster holds.
        ray: address of a Ray cluster, or "local"; None: processes of this machine.
    """

    parts: tuple[str, ...] | None = None
    own: tuple[str, ...] = ()
    mode: str = "leave-one-out"
    seeds: int | None = None
    budget_min: float | None = None
    tune_lr: bool = False
    race: bool = False
    workers: int | None = None
    ray: str | None = None


def ablate(
    data: str | Path,
    /,
    *,
    arms: Sequence[str] | None = None,
    out: str | Path | None = None,
    recipe: str | Path | None = None,
    words: Sequence[str] = (),
    reporter: Reporter | None = None,
    **settings: Any,
) -> Study:
    """Measure what techniques buy on a data set: the same recipe with and without each, paired over seeds.

    Args:
        data: as in `train`.
        arms: techniques by name ("norm", "augment.flip"), and arms of your own ("sgd: optimizer.name=sgd"); None: the
            techniques that the recipe has.
        out: the study folder; None: `studies/NAME` after the data.
        recipe: a YAML file with settings.
        words: settings as on the command line.
        reporter: hears how it goes; None: nobody.
        settings: recipe fields, and the fields of `Ablation` from `mode` on, as in `seeds=10, race=True`.

    Raises:
        ProvenetError: data, recipe or machine do not allow it.
    """
    started = time.monotonic()
    names = {item.name for item in fields(Ablation)} - {"parts", "own"}
    chosen = {key: settings.pop(key) for key in list(settings) if key in names}
    if arms is not None:
        own = tuple(arm for arm in arms if ":" in arm)
        parts = tuple(arm for arm in arms if ":" not in arm)
        chosen |= {"own": own, "parts": parts if parts or not own else None}
    overrides = gather(None if recipe is None else Path(recipe), words, settings)
    folder = None if out is None else Path(out)
    return carry_out_study(str(data), overrides, Ablation(**chosen), folder, reporter or Silent(), started)


def carry_out_study(
    data: str, overrides: Overrides, wanted: Ablation, out: Path | None, reporter: Reporter, started: float
) -> Study:
    """Make a study, or go on with it, and write its report."""
    from provenet.study.ablate import ablate as make_study
    from provenet.study.ablate import same_study
    from provenet.study.engines import engine_of
    from provenet.study.plan import Wishes, mode_of

    engine, workers, threads = engine_of(wanted.ray, wanted.workers)
    seeds = wanted.seeds or (10 if wanted.race else 5)
    folder = out or free_folder(
        Path("studies"), data, lambda path: same_study(path, data, overrides, wanted.budget_min)
    )
    wishes = Wishes(
        data=data,
        overrides=overrides,
        out=folder,
        parts=wanted.parts,
        own=wanted.own,
        mode=mode_of(wanted.mode),
        seeds=seeds,
        budget_min=wanted.budget_min,
        tune_lr=wanted.tune_lr,
        race=wanted.race,
        workers=workers,
        threads=threads,
        started=started,
    )
    make_study(wishes, engine, reporter)
    write_study_report(folder)
    return Study(folder)


def default_out(data: str, overrides: Overrides) -> Path:
    """Return the run folder for data that no name was given for.

    `runs/NAME` after the data; `runs/NAME-2` and so on where that holds a run of another request.
    """
    return free_folder(Path("runs"), data, lambda path: same_request(path, data, overrides))


def free_folder(parent: Path, data: str, same: Callable[[Path], bool]) -> Path:
    """Return the first of NAME, NAME-2, NAME-3 ... that does not exist, or that holds the same thing."""
    stem = name_of_data(data)
    for number in count(1):
        folder = parent / (stem if number == 1 else f"{stem}-{number}")
        if not folder.exists() or same(folder):
            return folder
    raise AssertionError


def name_of_data(data: str) -> str:
    """Return a name for what is made of a data set.

    Example:
        >>> name_of_data("photos/cats.zip"), name_of_data("torchvision:CIFAR10")
        ('cats', 'CIFAR10')
    """
    name = data.rsplit(":", 1)[-1].rstrip("/")
    path = Path(name)
    stem = path.stem if path.suffix.lower() in (".zip", ".csv") else path.name
    return stem or path.resolve().name or "run"
