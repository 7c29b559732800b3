"""A checkpoint is what was written or is not used, whatever happens to the disk or to the process."""

from __future__ import annotations

import errno
import io
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from provenet.core.errors import ResumeError, StorageError
from provenet.engine.checkpoint import Checkpoints
from provenet.engine.state import TrainState
from provenet.engine.step import train_step

Train = Callable[[str, int], TrainState]
FILES = ("weights.safetensors", "state.safetensors", "state.json", "MANIFEST.json")


@pytest.fixture
def train(make_job: Any, make_state: Any) -> Train:
    """Return a maker of states after some updates."""

    def after(optimizer: str, updates: int) -> TrainState:
        job = make_job()
        state = make_state(job, optimizer)
        for batch in itertools.islice(itertools.cycle(job.loader.batches(0)), updates):
            train_step(job, state, job.feed.train(batch, 0))
            state.counters.step += 1
        return state

    return after


@pytest.fixture
def two(tmp_path: Path, train: Train) -> Checkpoints:
    """Two checkpoints, of updates 3 and 5."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for updates in (3, 5):
        checkpoints.save(train("sgd", updates))
    return checkpoints


def names(checkpoints: Checkpoints) -> set[str]:
    return {path.name for path in checkpoints.folder.iterdir()}


# --- round trip -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_round_trip(optimizer: str, tmp_path: Path, train: Train, make_job: Any, make_state: Any, digest: Any) -> None:
    job, saved = make_job(), train(optimizer, 3)
    saved.counters.best, saved.counters.loss_sum = 0.1 + 0.2, 1 / 3
    Checkpoints(tmp_path).save(saved)
    loaded = make_state(job, optimizer)
    assert digest(loaded) != digest(saved)
    assert Checkpoints(tmp_path).load(loaded) == []
    assert digest(loaded) == digest(saved)
    assert loaded.counters == saved.counters

    # The fused kernels walk through memory: weights and momentum must lie in it alike, and go on alike.
    for parameter, state in loaded.optimizer.state.items():
        for value in (value for value in state.values() if value.shape == parameter.shape):
            assert value.stride() == parameter.stride()
    assert loaded.net.get_parameter("conv2.weight").is_contiguous(memory_format=torch.channels_last)
    batch = job.feed.train(next(job.loader.batches(1)), 1)
    assert train_step(job, loaded, batch) == train_step(job, saved, batch)
    assert digest(loaded) == digest(saved)


def test_a_fresh_state_without_average_comes_back(tmp_path: Path, make_job: Any, make_state: Any, digest: Any) -> None:
    job = make_job()
    state = make_state(job)
    state.averaged = None
    Checkpoints(tmp_path).save(state)
    other = make_state(job)
    other.averaged = None
    torch.nn.init.zeros_(other.net.get_parameter("conv1.weight"))
    Checkpoints(tmp_path).load(other)
    assert digest(other) == digest(state)


def test_two_are_kept(tmp_path: Path, train: Train) -> None:
    checkpoints = Checkpoints(tmp_path)
    state = train("sgd", 0)
    for step in (0, 2, 2, 4, 9):
        state.counters.step = step
        checkpoints.save(state)
    assert checkpoints.steps() == [4, 9] and names(checkpoints) == {"step-0000004", "step-0000009"}
    (tmp_path / "step-by-step").mkdir()
    assert checkpoints.steps() == [4, 9]


def test_a_damaged_later_one_never_crowds_out_a_good_one(
    two: Checkpoints, train: Train, make_job: Any, make_state: Any
) -> None:
    (two.folder / "step-0000005" / "state.json").write_bytes(b"")
    state = make_state(make_job())
    assert len(two.load(state)) == 1 and state.counters.step == 3
    state.counters.step = 4  # saved earlier than before, as times go
    two.save(state)
    assert two.steps() == [3, 4]


# --- damage -----------------------------------------------------------------------------------------------------


def damages(two: Checkpoints) -> list[tuple[str, str, bytes | None]]:
    """Return (what, file, new content) of many damages of the newer checkpoint, a bit, a cut, or a whole file."""
    rng = np.random.default_rng(0)
    new, old = two.folder / "step-0000005", two.folder / "step-0000003"
    found: list[tuple[str, str, bytes | None]] = []
    for name in FILES:
        content = (new / name).read_bytes()
        everywhere = range(len(content)) if name == "MANIFEST.json" else rng.integers(0, len(content), 120)
        for position in everywhere:
            flipped = bytearray(content)
            flipped[position] ^= 1 << int(rng.integers(8))
            found.append((f"bit of byte {position}", name, bytes(flipped)))
        cuts = sorted({0, 1, len(content) - 1, *map(int, rng.integers(0, len(content), 20))})
        found += [(f"cut to {length}", name, content[:length]) for length in cuts]
        found += [("longer", name, content + b"\0"), ("missing", name, None), ("zeros", name, bytes(len(content)))]
        found.append(("of the older checkpoint", name, (old / name).read_bytes()))
    found += [(text, "MANIFEST.json", text.encode()) for text in ("{}", "[]", "null", "5", '{"state.json":{}}', "[[]]")]
    return found


def test_every_damage_is_noticed_before_a_tensor_is_used(
    two: Checkpoints, train: Train, make_job: Any, make_state: Any, digest: Any
) -> None:
    older = digest(train("sgd", 3))
    folder = two.folder / "step-0000005"
    whole = {name: (folder / name).read_bytes() for name in FILES}
    state = make_state(make_job())
    cases = damages(two)
    assert len(cases) > 700
    for what, name, content in cases:
        path = folder / name
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        sentences = two.load(state)
        assert len(sentences) == 1 and "step-0000005" in sentences[0], (what, name)
        assert name in sentences[0] or name == "MANIFEST.json", (what, name, sentences)
        assert state.counters.step == 3
        path.write_bytes(whole[name])
    assert digest(state) == older
    assert two.load(state) == [] and state.counters.step == 5


def test_a_checkpoint_under_the_name_of_another_is_not_used(two: Checkpoints, make_job: Any, make_state: Any) -> None:
    shutil.rmtree(two.folder / "step-0000005")
    shutil.copytree(two.folder / "step-0000003", two.folder / "step-0000008")
    state = make_state(make_job())
    sentences = two.load(state)
    assert len(sentences) == 1 and "step-0000008" in sentences[0] and "update 3" in sentences[0]
    assert state.counters.step == 3


def test_when_all_are_damaged_nothing_is_touched(two: Checkpoints, make_job: Any, make_state: Any, digest: Any) -> None:
    for step in two.steps():
        (two.folder / f"step-{step:07d}" / "weights.safetensors").write_bytes(b"no")
    before = {path: path.read_bytes() for path in two.folder.rglob("*") if path.is_file()}
    state = make_state(make_job())
    untouched = digest(state)
    with pytest.raises(ResumeError) as told:
        two.load(state)
    assert told.value.exit_code == 3 and digest(state) == untouched
    for word in ("step-0000003", "step-0000005", "weights.safetensors", "--restart"):
        assert word in str(told.value)
    assert {path: path.read_bytes() for path in two.folder.rglob("*") if path.is_file()} == before


def test_damaged_best_weights_are_not_given_out(tmp_path: Path, train: Train) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(ResumeError):
        checkpoints.load_best()
    checkpoints.save_best(train("sgd", 1).evaluated.state_dict(), 1)
    file = tmp_path / "best" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ResumeError, match=r"weights\.safetensors"):
        checkpoints.load_best()


# --- crashes and a disk that refuses ----------------------------------------------------------------------------


class Crash(BaseException):
    """The process ends here."""


class Machine:
    """Counts what is asked of the file system, and ends the process or refuses at one of the calls.

    A crash at an fsync leaves half of the file, as a lost page would.
    """

    OPS = ("fsync", "open", "mkdir", "rename", "replace", "unlink", "rmdir")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.at, self.after, self.error = 0, -1, False, 0
        for name in self.OPS:
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))
        monkeypatch.setattr(io, "open", self._watched("write", io.open))

    def plan(self, at: int = -1, after: bool = False, error: int = 0) -> None:
        self.count, self.at, self.after, self.error = 0, at, after, error

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            if name == "write" and "w" not in str(args[1:2]):
                return real(*args, **named)
            here, self.count = self.count == self.at, self.count + 1
            if here and self.error:
                raise OSError(self.error, os.strerror(self.error))
            if here and not self.after:
                if name == "fsync" and os.path.isfile(f"/proc/self/fd/{args[0]}"):  # noqa: PTH113
                    os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
                raise Crash
            result = real(*args, **named)
            if here:
                if name in ("open", "write"):  # a process that ends closes its files
                    result.close() if name == "write" else os.close(result)
                raise Crash
            return result

        return call


def cases(tmp_path: Path, train: Train) -> dict[str, tuple[TrainState, Callable[[Checkpoints, TrainState], None]]]:
    def save(checkpoints: Checkpoints, state: TrainState) -> None:
        checkpoints.save(state)

    def save_best(checkpoints: Checkpoints, state: TrainState) -> None:
        checkpoints.save_best(state.evaluated.state_dict(), state.counters.step)

    same = train("sgd", 5)
    same.counters.images = 1
    return {"next": (train("sgd", 6), save), "again": (same, save), "best": (train("sgd", 6), save_best)}


def best_digest(checkpoints: Checkpoints) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in checkpoints.load_best().items()}


@pytest.fixture
def full(two: Checkpoints, train: Train) -> Checkpoints:
    two.save_best(train("sgd", 4).evaluated.state_dict(), 4)
    return two


@pytest.mark.parametrize("case", ["next", "again", "best"])
@pytest.mark.parametrize("trouble", ["before", "after", "ENOSPC", "EIO"])
def test_every_point_of_a_commit(
    case: str, trouble: str, full: Checkpoints, tmp_path: Path, train: Train, make_job: Any, make_state: Any,
    digest: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    state, save = cases(tmp_path, train)[case]
    loaded = make_state(make_job())
    pristine = tmp_path / "pristine"
    shutil.copytree(full.folder, pristine)
    full.load(loaded)
    old = digest(loaded), best_digest(full)
    machine = Machine(monkeypatch)
    machine.plan()
    save(full, state)
    num = machine.count
    assert num >= 18, "the machine no longer sees what a commit does"
    full.load(loaded)
    new = digest(loaded), best_digest(full)
    assert (old[0] == new[0]) == (case == "best") and (old[1] == new[1]) == (case != "best")

    seen = set()
    for k in range(num):
        machine.plan()
        shutil.rmtree(full.folder)
        shutil.copytree(pristine, full.folder)
        machine.plan(k, trouble == "after", getattr(errno, trouble, 0))
        try:
            save(full, state)
        except Crash:
            assert trouble in ("before", "after")
        except StorageError as error:
            assert error.exit_code == 5
            assert str(full.folder) in str(error) and f"errno {getattr(errno, trouble)}" in str(error)
            machine.plan()
            assert best_digest(full) in (old[1], new[1]), "usable at once, not only after a restart"
        machine.plan()
        survivor = Checkpoints(full.folder)
        survivor.clean()
        assert not [name for name in names(survivor) if name.startswith(".")], k
        assert survivor.load(loaded) == [], k
        found = digest(loaded), best_digest(survivor)
        assert found in (old, new), f"a third state at {k} of {num}"
        seen.add(found == new)
        survivor.save(state)
    assert seen == {False, True}


def test_what_cannot_be_read_back_is_not_saved(
    two: Checkpoints, train: Train, make_job: Any, make_state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes everything and keeps something else."""
    real = os.fsync

    def spoil(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").resolve()
        if path.name == "weights.safetensors":
            os.pwrite(handle, b"\xff", path.stat().st_size - 1)
        real(handle)

    monkeypatch.setattr(os, "fsync", spoil)
    state = train("sgd", 6)
    state.net.get_parameter("head.bias").data.zero_()
    with pytest.raises(StorageError, match=r"weights\.safetensors"):
        two.save(state)
    assert two.steps() == [3, 5]
    again = train("sgd", 5)
    with pytest.raises(StorageError):
        two.save(again)
    assert two.load(make_state(make_job())) == [] and two.steps() == [3, 5]


def test_clean_is_at_ease_with_nothing(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "none").clean()
    assert Checkpoints(tmp_path / "none").steps() == []
