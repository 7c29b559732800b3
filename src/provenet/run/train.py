"""One training from a folder of images to a result: plan, train or go on, finish."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass

import torch

from provenet.core.errors import ProvenetError
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
from provenet.run.finish import finish
from provenet.run.folder import RunFolder, RunJournal
from provenet.run.memory import reset_peak
from provenet.run.model import reopen_data, stats_from_json
from provenet.run.planning import make_plan
from provenet.run.provenance import differences, fingerprint
from provenet.run.request import Request, refuse_other, request_json

Wish = Callable[[], bool]
"""Asked after each update: whether the run shall stop."""


@contextmanager
def unstoppable() -> Iterator[Wish]:
    """Give the wish of a run that nobody interrupts."""
    yield never


def unexamined(folder: RunFolder, session: Session) -> None:
    """Begin a training without a look at it."""


@dataclass(frozen=True)
class Listeners:
    """Who follows a run.

    Args:
        reporter: hears facts and choices.
        observers: see every update.
        stopping: entered while updates are made, and only then: a wish to stop is then heeded with a checkpoint.
        before: called once with a planned training, before its first update; must leave it as it is.
    """

    reporter: Reporter
    observers: tuple[Observer, ...] = ()
    stopping: Callable[[], AbstractContextManager[Wish]] = unstoppable
    before: Callable[[RunFolder, Session], None] = unexamined


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
            refuse_other(folder, request)
        if folder.finished:
            listeners.reporter.note(f"{folder.path} is finished: nothing to do")
            return folder
        session = (_reopened if folder.started else _planned)(folder, request, listeners.reporter)
        session.job = dataclasses.replace(session.job, save_every_s=request.save_every_s)
        if not Checkpoints(folder.checkpoints).steps():
            listeners.before(folder, session)
        _fit(folder, session, listeners)
    return folder


def _planned(folder: RunFolder, request: Request, reporter: Reporter) -> Session:
    """Return the session of a new plan; a request that is refused leaves nothing behind."""
    write_json(folder.request, request_json(request))
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
    reset_peak(session.job.precision.device)
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
