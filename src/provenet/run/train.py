"""One training from a folder of images to a result: plan, train or go on, finish."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from provenet.core.errors import Fault, ProvenetError, RecipeError, ResumeError
from provenet.core.files import write_json
from provenet.core.log import Reporter
from provenet.engine.checkpoint import Checkpoints
from provenet.engine.loop import Loop, never
from provenet.engine.observe import Observer, Observers
from provenet.engine.precision import exact_arithmetic, keep_freed_memory
from provenet.recipe.build import Session, build_session
from provenet.recipe.load import load as load_recipe
from provenet.recipe.load import read_yaml
from provenet.recipe.schema import Recipe
from provenet.recipe.tree import Overrides
from provenet.run.finish import finish
from provenet.run.folder import RunFolder, RunJournal
from provenet.run.model import reopen_data, stats_from_json
from provenet.run.planning import make_plan
from provenet.run.provenance import differences, fingerprint


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Args:
        data: path or name of the data.
        overrides: what the user set of the recipe.
        out: the run folder.
        started: `time.monotonic()` when the command began; a budget in minutes counts from here.
        save_every_s: seconds between checkpoints, at least.
        restart: throw away what the folder holds of a run.
    """

    data: str
    overrides: Overrides
    out: Path
    started: float = field(default_factory=time.monotonic)
    save_every_s: float = 60.0
    restart: bool = False


Wish = Callable[[], bool]
"""Asked after each update: whether the run shall stop."""


@contextmanager
def unstoppable() -> Iterator[Wish]:
    """Give the wish of a run that nobody interrupts."""
    yield never


@dataclass(frozen=True)
class Listeners:
    """Who follows a run.

    Args:
        reporter: hears facts and choices.
        observers: see every update.
        stopping: entered while updates are made, and only then: a wish to stop is then heeded with a checkpoint.
    """

    reporter: Reporter
    observers: tuple[Observer, ...] = ()
    stopping: Callable[[], AbstractContextManager[Wish]] = unstoppable


def train(request: Request, listeners: Listeners) -> RunFolder:
    """Train, or go on with a training that was stopped; a finished one is left as it is.

    Raises:
        ProvenetError: see the exit codes of its families.
    """
    folder = RunFolder(request.out)
    folder.check_free()
    with folder.owned(), exact_arithmetic():
        keep_freed_memory()
        if request.restart:
            folder.clear()
        if folder.started:
            _refuse_other(folder, request)
        if folder.finished:
            listeners.reporter.note(f"{folder.path} is finished: nothing to do")
            return folder
        session = (_reopened if folder.started else _planned)(folder, request, listeners.reporter)
        session.job = dataclasses.replace(session.job, save_every_s=request.save_every_s)
        _fit(folder, session, listeners)
    return folder


def request_of(path: Path) -> Request:
    """Return the request that a run folder was begun with.

    Raises:
        ResumeError: the folder holds no run.
    """
    folder = RunFolder(path)
    if not folder.request.exists():
        raise ResumeError(Fault(f"{path} holds no run", remedy="name the folder that `provenet train` printed"))
    stored = folder.read(folder.request)
    where = dict.fromkeys(stored["where"], "request.json")
    return Request(stored["data"], Overrides(stored["overrides"], where), path)


def _request_json(request: Request) -> dict[str, Any]:
    overrides = request.overrides
    return {"data": located(request.data), "overrides": overrides.tree, "where": sorted(overrides.where)}


def located(data: str) -> str:
    """Return a path as an absolute one, so that a run goes on from any folder; the name of a data set stays."""
    named = data == "digits" or data.startswith("torchvision:")
    return data if named else str(Path(data).expanduser().resolve())


def same_request(path: Path, data: str, overrides: Overrides) -> bool:
    """Return whether a folder holds a run that was begun with this request."""
    return RunFolder(path).request.exists() and not _differences(request_of(path), Request(data, overrides, path))


def _differences(stored: Request, now: Request) -> list[Fault]:
    """Return one fault for each field in which two requests differ."""
    faults: list[Fault] = []
    if located(stored.data) != located(now.data):
        faults.append(Fault("the data differ", f"{now.data}; the run was begun with {stored.data}"))
    for path in sorted(stored.overrides.explicit | now.overrides.explicit):
        before, after = stored.overrides.get(path), now.overrides.get(path)
        if before != after:
            faults.append(Fault(f"{path} differs", f"{_said(after)}; the run was begun with {_said(before)}"))
    return faults


def _refuse_other(folder: RunFolder, request: Request) -> None:
    """Refuse to go on with a run that was begun with another request.

    Raises:
        RecipeError: names the fields that differ.
    """
    faults = _differences(request_of(folder.path), request)
    if faults:
        remedy = "repeat the first command, or give another --out for a new run"
        raise RecipeError([Fault(f"{folder.path} was begun with another recipe", remedy=remedy), *faults])


def _said(value: Any) -> str:
    return "automatic" if value is None else str(value)


def _planned(folder: RunFolder, request: Request, reporter: Reporter) -> Session:
    """Return the session of a new plan; a request that is refused leaves nothing behind."""
    write_json(folder.request, _request_json(request))
    try:
        return make_plan(folder, request, reporter)
    except ProvenetError:
        folder.clear()
        raise


def _reopened(folder: RunFolder, request: Request, reporter: Reporter) -> Session:
    """Return the session of a stored plan; what may make the continuation inexact is said."""
    recipe: Recipe = load_recipe(read_yaml(folder.recipe))
    stored = folder.read(folder.provenance)
    torch.set_num_threads(int(stored["fingerprint"]["threads"]))
    dataset = reopen_data(request.data, recipe, folder, reporter)
    for sentence in differences(stored["fingerprint"], fingerprint(recipe.device, recipe.precision)):
        reporter.warn(f"going on, but not exactly as it would have been: {sentence}")
    if Checkpoints(folder.checkpoints).steps():  # weights come from there; their first source need not exist any more
        recipe = recipe.model_copy(update={"pretrained": False})
    return build_session(recipe, dataset, stats_from_json(folder.read(folder.data)["stats"]))


def _length(session: Session) -> str:
    """Return what the training comes to, as a line."""
    loader, total = session.job.loader, session.job.total_steps
    images = len(session.dataset.splits["train"])
    return (
        f"{total:,} updates of {session.recipe.batch_size} images: {total / loader.steps_per_epoch:.3g} epochs of "
        f"{images:,} images"
    )


def _fit(folder: RunFolder, session: Session, listeners: Listeners) -> None:
    """Train to the end and write the result."""
    checkpoints = Checkpoints(folder.checkpoints)
    checkpoints.clean()
    state = session.new_state()
    with closing(RunJournal(folder)) as journal:
        if checkpoints.steps():
            for damaged in checkpoints.load(state):
                listeners.reporter.warn(f"{damaged} An earlier checkpoint is used.")
            listeners.reporter.note(f"going on after update {state.counters.step} of {session.job.total_steps}")
            journal.event({"step": state.counters.step, "kind": "resume", "text": "went on from a checkpoint"})
        journal.cut(state.counters.log_bytes)
        listeners.reporter.note(_length(session))
        try:
            with listeners.stopping() as wish:
                loop = Loop(session.job, state, checkpoints, journal, Observers(listeners.observers), wish)
                outcome = loop.run()
        finally:
            journal.sync()
    finish(folder, session, state, outcome, listeners.reporter)
