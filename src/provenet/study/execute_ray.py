"""Cells on a Ray cluster: one Ray task a try, a folder of its own for each try, machines that share the study folder.

The only file that imports ray, and only when a study asks for it. Ray itself repeats nothing here (`max_retries=0`):
its own count leaves out tasks that were ended for want of memory, which would go on for ever, and every try needs a
folder that no other process may still write to.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType, ModuleType
from typing import Any

from provenet.core.errors import Fault, MissingExtraError, OutOfMemoryError, RecipeError, StallError
from provenet.engine.observe import StepInfo
from provenet.run.request import located
from provenet.study.cells import Outcome, StudyFolder, Task
from provenet.study.probe import Probe, probed
from provenet.study.worker import carry_out

Work = Callable[..., Outcome]
Heard = Callable[[Outcome], None]
Moved = Callable[[str, float], None]

TRIES = 3
"""How often a cell is begun whose worker or machine is lost."""
PAUSE_S = 0.5
"""Seconds between two looks at the progress of the cells."""
GRACE_S = 30.0
"""Seconds that tasks have to end when they are cancelled; Ray ends what is left as it disconnects."""
STORE_BYTES = 80 << 20
"""Shared memory of a cluster on this machine: nothing but tasks and outcomes passes through it."""

_LOSSES = (
    ("WorkerCrashedError", "its worker process was killed or crashed", StallError.exit_code),
    ("NodeDiedError", "its machine died or could not be reached any more", StallError.exit_code),
    ("OutOfMemoryError", "Ray ended it because its machine ran out of memory", OutOfMemoryError.exit_code),
    ("ObjectLostError", "its answer was lost on the way", StallError.exit_code),
)


def execute(
    tasks: Sequence[Task],
    address: str,
    heard: Heard,
    progress: Moved | None = None,
    workers: int | None = None,
    work: Work = carry_out,
) -> None:
    """Carry out all tasks on a Ray cluster; return when each of them has an outcome.

    A cell whose worker or machine is lost is begun again in a new attempt folder, at most twice. A failure that the
    training reports is an outcome. Whatever ends this function ends what it began, Ctrl-C and SIGTERM too.

    Args:
        tasks: cells of one study; its folder and the data have the same path on all machines.
        address: "local" starts a cluster on this machine and ends it again; "auto" or HOST:PORT connects to one.
        heard: gets each outcome as it comes, in this thread; a failure is written down before.
        progress: gets the key of a cell and the share of its updates that is done, in [0, 1], now and then.
        workers: cells at the same time, also those that share the GPUs; None: as many as there are CPUs for, one a GPU.
        work: makes an outcome of a task, and of observers where `progress` is given.

    Raises:
        MissingExtraError: Ray is not installed.
        RecipeError: the address or a device cannot be used, no machine has the CPUs of a cell, or a machine lacks the
            study folder or the data, or has other code.
        StallError: there is no cluster at the address, or Ray cannot begin a cell.
        KeyboardInterrupt: at Ctrl-C or SIGTERM, when what ran has ended.
    """
    if not tasks:
        return
    ray = _imported()
    study = tasks[0].study.absolute()
    placed = [replace(task, study=study, data=located(task.data)) for task in tasks]
    with _interruptible(), _connected(ray, address, placed, workers), probed(study) as probe:
        _refuse_misfits(ray, placed)
        share = gpu_share(ray.cluster_resources().get("GPU", 0), workers)
        _Sitting(ray, probe, work, share).run(placed, workers or len(placed), heard, progress)


def gpu_share(num_gpus: float, workers: int | None) -> float:
    """Return the share of a GPU that a cell takes, in (0, 1]; 0 where the cluster has none.

    Args:
        num_gpus: GPUs of the cluster.
        workers: cells that are wanted at the same time; None: one a GPU.

    Example:
        >>> gpu_share(1, 4), gpu_share(2, 3), gpu_share(4, None), gpu_share(0, 4)
        (0.25, 0.5, 1.0, 0.0)
    """
    if num_gpus < 1:
        return 0.0
    # Ray counts in ten-thousandths: rounded down, all shares of a GPU fit on it.
    return math.floor(10_000 / math.ceil((workers or 1) / num_gpus)) / 10_000


def _imported() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        remedy = "pip install 'provenet[ray]', or leave --ray out: cells then run as processes of this machine"
        raise MissingExtraError(Fault("--ray needs Ray, which is not installed", remedy=remedy)) from error
    return ray


@contextmanager
def _interruptible() -> Iterator[None]:
    """Make Ctrl-C and SIGTERM a KeyboardInterrupt in the main thread; what was ignored stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _connected(ray: ModuleType, address: str, tasks: Sequence[Task], workers: int | None) -> Iterator[None]:
    """Hold the connection to a cluster; one that the caller has already is used, and left as it is."""
    if ray.is_initialized():
        yield
        return
    if "://" in address:
        what, remedy = "a study cannot be driven through a Ray client", "go to a machine of the cluster, say --ray auto"
        raise RecipeError(Fault(what, f"--ray {address}", "local, auto, or HOST:PORT", remedy))
    own: dict[str, Any] = {}
    if address == "local":
        cpus = workers * max(task.threads for task in tasks) if workers else None  # None: those that Ray finds
        own = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        _initialize(ray, address, own)
        yield
    finally:
        ray.shutdown()


def _initialize(ray: ModuleType, address: str, own: dict[str, Any]) -> None:
    """Start or find the cluster, without a word where all is well.

    Raises:
        StallError: there is none.
    """
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Tip: In future versions of Ray", FutureWarning)
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        what, got = f"no Ray cluster answers at {address}", f"{type(error).__name__}: {error}"
        remedy = "start one with `ray start --head` and give the address that it prints, or say --ray local"
        raise StallError(Fault(what, got, "local, auto, or HOST:PORT of a running cluster", remedy)) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own there


def _refuse_misfits(ray: ModuleType, tasks: Iterable[Task]) -> None:
    """Refuse tasks that would wait for ever, or that name a GPU which is not theirs.

    Raises:
        RecipeError: no machine has the CPUs of a cell, or a recipe names a GPU by its number.
    """
    most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    for task in tasks:
        if task.threads > most:
            what, got = f"a cell computes with {task.threads} threads", f"at most {most:g} CPUs on one machine"
            remedy = "start Ray on a machine with more CPUs, or begin a study with more --workers"
            raise RecipeError(Fault(f"{what}, and no machine of the cluster has as many CPUs", got, "", remedy))
        device = _device(task)
        if device not in ("cpu", "cuda", "cuda:0"):
            what, remedy = f"arm {task.arm} names a GPU by its number, and Ray deals GPUs out", "say device=cuda"
            raise RecipeError(Fault(what, f"device={device}", "cpu or cuda", remedy))


def _device(task: Task) -> str:
    return str(task.recipe.get("device", "cpu"))


def attempt(task: Task, probe: Probe, board: Any, work: Work) -> Outcome | Fault:
    """Make one try at a cell, in a Ray worker; that its machine cannot is an answer too, not an exception."""
    fault = probe.fault(task)
    if fault is not None:
        return fault
    return work(task) if board is None else work(task, (Teller(task.key, board),))


class Board:
    """The actor that cells tell how far they are, and that the driver asks."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}

    def tell(self, key: str, share: float) -> None:
        """Note the share of a cell's updates that is done."""
        self._shares[key] = share

    def take(self) -> dict[str, float]:
        """Return what came since the last time, by key."""
        shares, self._shares = self._shares, {}
        return shares


class Teller:
    """Tells the board now and then how far a cell is, and waits for no answer.

    Args:
        key: name of the cell.
        board: handle of the actor.
    """

    def __init__(self, key: str, board: Any) -> None:
        self._key, self._board, self._last = key, board, -math.inf

    def step(self, info: StepInfo) -> None:
        now = time.monotonic()
        if now - self._last >= PAUSE_S:
            self._last = now
            self._board.tell.remote(self._key, info.step / info.total_steps)

    def validated(self, row: dict[str, Any]) -> None:
        pass

    def event(self, row: dict[str, Any]) -> None:
        pass


@dataclass(frozen=True)
class _Try:
    """A task, and which try at it this is, from 1."""

    task: Task
    number: int = 1


@dataclass(frozen=True)
class _Sitting:
    """All tasks of a call, on a cluster.

    Args:
        ray: the module.
        probe: what all machines must have.
        work: makes an outcome of a task.
        gpu_share: of a cell that trains on a GPU.
    """

    ray: ModuleType
    probe: Probe
    work: Work
    gpu_share: float

    def run(self, tasks: Sequence[Task], most: int, heard: Heard, progress: Moved | None) -> None:
        """Carry out all tasks, at most `most` at the same time."""
        board: Any = None if progress is None else self._board()
        waiting, running = deque(_Try(task) for task in tasks), dict[Any, _Try]()
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    tried = waiting.popleft()
                    running[self._begun(tried, board)] = tried
                ended, _ = self.ray.wait(list(running), timeout=PAUSE_S)
                for ref in ended:
                    tried = running.pop(ref)
                    answer = self._answer(ref, tried)
                    if isinstance(answer, _Try):
                        waiting.append(answer)
                        continue
                    if answer.state == "failed":
                        StudyFolder(tried.task.study).note_failure(tried.task, answer)
                    heard(answer)
                if progress is not None:
                    for key, share in self.ray.get(board.take.remote()).items():
                        progress(key, share)
        finally:
            self._cancel(list(running))
            StudyFolder(tasks[0].study).clean()

    def _board(self) -> Any:
        """Return the board, an actor on this machine that is begun again when it dies."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=False)
        remote = self.ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Board)
        return remote.options(scheduling_strategy=here).remote()

    def _begun(self, tried: _Try, board: Any) -> Any:
        """Begin a try in a folder of its own, and return the reference to its answer."""
        task = tried.task
        share = self.gpu_share if _device(task).startswith("cuda") else 0
        remote = self.ray.remote(num_cpus=task.threads, num_gpus=share, max_retries=0)(attempt)
        return remote.options(name=f"{task.arm}, seed {task.seed}").remote(
            self._named(tried), self.probe, board, self.work
        )

    def _answer(self, ref: Any, tried: _Try) -> Outcome | _Try:
        """Return the outcome of a try that ended, or the next try where the machine was at fault.

        Raises:
            RecipeError: the machine cannot carry out cells.
            StallError: Ray could not begin the cell.
        """
        try:
            answer: Outcome | Fault = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            answer = self._lost(tried, error)
        if isinstance(answer, Fault):
            raise RecipeError(answer)
        if answer.settled:
            return answer
        if tried.number < TRIES:
            return _Try(tried.task, tried.number + 1)
        return replace(answer, reason=f"{answer.reason.rstrip('.')}, three times")

    def _lost(self, tried: _Try, error: Any) -> Outcome:
        """Return the outcome of a try that gave none.

        Raises:
            StallError: nothing was lost, Ray could not begin the cell.
        """
        task, known = tried.task, self.ray.exceptions
        if StudyFolder(task.study).done(task.key):  # lost between the commit and the answer
            return Outcome(task.key, "done")
        failed = Outcome(task.key, "failed", exit_code=StallError.exit_code, attempt=self._named(tried).attempt)
        if isinstance(error, known.RayTaskError):  # the code that trains raised it: a bug, perhaps one of the day
            return replace(failed, reason=f"{type(error.cause).__name__}: {error.cause}")
        for name, reason, code in _LOSSES:
            if isinstance(error, getattr(known, name)):
                return replace(failed, reason=reason, exit_code=code)
        what = f"Ray could not carry out {task.arm}, seed {task.seed}"
        raise StallError(Fault(what, str(error), "", "see `ray status` and the logs of Ray")) from error

    def _named(self, tried: _Try) -> Task:
        """Return the task with the folder of this try: new for every call and try, whoever may still be at work."""
        return replace(tried.task, attempt=f"{tried.task.attempt}-{self.probe.token}-{tried.number}")

    def _cancel(self, refs: list[Any]) -> None:
        """End tasks at once; a commit that is cut off is whole or not there, and nobody goes on with an attempt."""
        for ref in refs:
            self.ray.cancel(ref, force=True)
        if refs:
            self.ray.wait(refs, num_returns=len(refs), timeout=GRACE_S)
