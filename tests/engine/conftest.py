"""A training so small that a run takes milliseconds, with everything in it that resume could forget."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from provenet.core.batch import Batch
from provenet.core.errors import ProvenetError
from provenet.core.files import read_log
from provenet.core.rng import permutation
from provenet.engine.checkpoint import Checkpoints
from provenet.engine.feed import Feed
from provenet.engine.job import Job, Validation
from provenet.engine.loop import Loop, never
from provenet.engine.observe import Observer, Observers
from provenet.engine.precision import Precision
from provenet.engine.state import Counters, TrainState
from provenet.run.folder import RunFolder, RunJournal
from provenet.techniques.augment import Brightness, Noise
from provenet.techniques.average import EMA
from provenet.techniques.inputs import Standardize, Stats
from provenet.techniques.loss import CrossEntropy
from provenet.techniques.optimizer import SGD, AdamW, Muon
from provenet.techniques.schedule import Plateau
from provenet.techniques.transfer import NoTransfer

OPTIMIZERS = {"sgd": SGD(lr=0.1), "adamw": AdamW(lr=0.01), "muon": Muon(lr=0.02)}
SCORES = (0.5, 0.3, 0.4, 0.2, 0.1)
"""What validations find: the first is the best, so that patience, plateau and best weights all have a memory."""


class TinyNet(nn.Module):
    """Convolutions, batch norm and dropout on 3 x 6 x 6 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm1(self.conv1(images)).relu()
        features = self.norm2(self.conv2(self.dropout(features))).relu()
        return self.head(features.mean((2, 3)))

    def groups(self) -> list[tuple[str, list[str]]]:
        names = [name for name, _ in self.named_parameters()]
        body = [name for name in names if not name.startswith("head")]
        return [("body", body), ("head", [name for name in names if name.startswith("head")])]


@dataclass
class Pictures:
    """A loader of random pictures held in memory: 18 of them in 4 batches."""

    batch_size: int = 5
    num: int = 18
    seed: int = 0

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num // self.batch_size)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        order = permutation(self.seed, "order", epoch, self.num)
        for i in range(start, self.steps_per_epoch):
            yield self.batch(order[i * self.batch_size : (i + 1) * self.batch_size])

    def batch(self, ids: np.ndarray) -> Batch:
        generator = np.random.default_rng(self.seed)
        images = generator.integers(0, 256, (self.num, 3, 6, 6), np.uint8)[ids]
        return Batch(torch.from_numpy(images), torch.from_numpy(ids % 3), ids)


def validate(net: nn.Module) -> Validation:
    """Score by the number of updates that the net has seen; the loss is that of its weights."""
    net.eval()
    pictures = Pictures(seed=9)
    batch = pictures.batch(np.arange(pictures.num))
    with torch.no_grad():
        loss = CrossEntropy().compute(net(batch.images / 255), batch.targets).item()
    seen = int(net.get_buffer("norm1.num_batches_tracked"))
    score = SCORES[min(seen // 3 - 1, len(SCORES) - 1)]
    return Validation(score, {"accuracy": score}, {"accuracy": 2 * score}, loss)


def build_job(**changes: Any) -> Job:
    precision = Precision("fp32", torch.device("cpu"))
    stats = Stats(mean=(120.0, 110.0, 100.0), std=(60.0, 70.0, 80.0))
    feed = Feed(Standardize(), stats, precision, 3, augment=(Brightness(), Noise()))
    job = Job(
        loader=Pictures(),
        feed=feed,
        loss=CrossEntropy(label_smoothing=0.1),
        schedule=Plateau(patience=1, gamma=0.5),
        average=EMA(decay=0.6),
        transfer=NoTransfer(),
        groups=TinyNet().groups(),
        precision=precision,
        validate=validate,
        lr=0.1,
        total_steps=15,
        steps_per_validation=3,
        patience=3,
        clip=5.0,
        save_every_s=1e9,
    )
    return replace(job, **changes)


def build_state(job: Job, optimizer: str = "sgd") -> TrainState:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = job.precision.place(TinyNet())
    averaged = None if job.average.name == "none" else copy.deepcopy(net).requires_grad_(False)
    counters = Counters(schedule=job.schedule.initial_state())
    return TrainState(net, averaged, OPTIMIZERS[optimizer].build(net.named_parameters()), counters)


def digest_of(state: TrainState) -> str:
    """Return a hash of everything in a state but the clock and the lengths of the logs, which hold times."""
    sha = hashlib.sha256()
    for tensors in state.tensors():
        for name, value in sorted(tensors.items()):
            sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            sha.update(value.detach().contiguous().numpy().tobytes())
    plain = state.plain()
    plain["counters"] |= {"seconds": 0, "log_bytes": 0}
    sha.update(json.dumps([plain, state.lr_scale, state.rollbacks], sort_keys=True).encode())
    return sha.hexdigest()


def rows_of(folder: Path, log: str) -> list[dict[str, Any]]:
    """Return the rows of a log without times."""
    rows = read_log(folder / f"{log}.jsonl")
    return [{key: row[key] for key in row if key not in ("seconds", "images_per_s")} for row in rows]


@dataclass
class Sitting:
    """One sitting of a run in a folder, with objects of its own."""

    folder: Path
    job: Job
    optimizer: str = "sgd"
    interrupted: Callable[[TrainState], bool] | None = None
    observers: tuple[Observer, ...] = ()
    after_load: Callable[[TrainState], None] = lambda state: None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        self.state = build_state(self.job, self.optimizer)
        self.error: ProvenetError | None = None

    def run(self) -> Sitting:
        """Begin or go on; an error of the run is kept in `error`."""
        self.checkpoints.clean()
        journal = RunJournal(RunFolder(self.folder))
        if self.checkpoints.steps():
            self.checkpoints.load(self.state)
            self.after_load(self.state)
        journal.cut(self.state.counters.log_bytes)
        asked = self.interrupted
        stop = never if asked is None else lambda: asked(self.state)
        try:
            self.outcome = Loop(self.job, self.state, self.checkpoints, journal, Observers(self.observers), stop).run()
        except ProvenetError as error:
            self.error = error
        finally:
            journal.close()
        return self

    def traces(self) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]], bytes]:
        """Return all that a run leaves: state, both logs, best weights."""
        best = (self.folder / "checkpoints" / "best" / "weights.safetensors").read_bytes()
        return digest_of(self.state), rows_of(self.folder, "steps"), rows_of(self.folder, "epochs"), best


@pytest.fixture
def make_job() -> Callable[..., Job]:
    return build_job


@pytest.fixture
def make_state() -> Callable[..., TrainState]:
    return build_state


@pytest.fixture
def digest() -> Callable[[TrainState], str]:
    return digest_of


@pytest.fixture
def rows() -> Callable[[Path, str], list[dict[str, Any]]]:
    return rows_of


@pytest.fixture
def sitting() -> type[Sitting]:
    return Sitting
