"""A run folder has one owner at a time, holds one run, and its logs are cut to the byte."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provenet.core.errors import RecipeError, ResumeError
from provenet.core.files import read_log
from provenet.run import folder as module
from provenet.run.folder import RunFolder, RunJournal


def start_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]


@pytest.fixture
def sleeper() -> Iterator[int]:
    """Another process, alive."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process.pid
    process.send_signal(signal.SIGKILL)
    process.wait()


def write_owner(folder: Path, **owner: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "owner.json"
    file.write_text(json.dumps(owner))
    return file


def test_an_owner_is_named_while_it_holds_and_gone_afterwards(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.owned():
        assert [path.name for path in folder.path.iterdir()] == ["owner.json"]
        assert json.loads(folder.owner.read_text())["pid"] == os.getpid()
        (folder.path / "request.json").write_text("{}")
    assert [path.name for path in folder.path.iterdir()] == ["request.json"]
    with pytest.raises(KeyError), folder.owned():
        raise KeyError
    assert not folder.owner.exists()


def test_a_second_owner_is_refused_by_name(tmp_path: Path, sleeper: int) -> None:
    folder = RunFolder(tmp_path / "run")
    before = write_owner(folder.path, host=socket.gethostname(), pid=sleeper, started=start_of(sleeper)).read_text()
    with pytest.raises(ResumeError, match=f"process {sleeper} on {socket.gethostname()}"), folder.owned():
        raise AssertionError("two owners")
    assert folder.owner.read_text() == before


def test_the_same_process_is_no_second_owner_either(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.owned(), pytest.raises(ResumeError), folder.owned():
        raise AssertionError("two owners")


def test_an_owner_on_another_machine_is_believed(tmp_path: Path) -> None:
    write_owner(tmp_path, host="elsewhere", pid=1, started="1")
    with pytest.raises(ResumeError, match="elsewhere") as told, RunFolder(tmp_path).owned():
        raise AssertionError("two owners")
    assert "owner.json" in str(told.value), "what to delete when that machine is gone"


@pytest.mark.parametrize("stale", ["ended", "reused", "empty", "cut", "other"])
def test_a_stale_owner_is_replaced(stale: str, tmp_path: Path, sleeper: int) -> None:
    owner = {"host": socket.gethostname(), "pid": sleeper, "started": start_of(sleeper)}
    if stale == "ended":
        done = subprocess.Popen([sys.executable, "-c", ""])
        done.wait()
        owner["pid"] = done.pid
    if stale == "reused":  # the number is another process's by now
        owner["started"] = "1"
    file = write_owner(tmp_path, **owner)
    if stale in ("empty", "cut", "other"):
        file.write_text({"empty": "", "cut": file.read_text()[:20], "other": "[1, 2]"}[stale])
    with RunFolder(tmp_path).owned():
        assert json.loads(file.read_text())["pid"] == os.getpid()
        assert [path.name for path in tmp_path.iterdir()] == ["owner.json"], "nothing is left beside it"


@pytest.mark.parametrize("links", [True, False])
def test_of_many_that_start_at_once_one_wins(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over a stale owner. Where the file system has no links there is a moment in which two could."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(PermissionError(1, "no links")))
    for race in range(10 if links else 1):
        path = tmp_path / str(race)
        if race % 2:
            write_owner(path, host=socket.gethostname(), pid=os.getpid(), started="1")
        barrier, done, results = threading.Barrier(4), threading.Event(), []
        count = 4 if links else 1

        def start(path: Path, count: int, barrier: Any, done: Any, results: list[str]) -> None:
            if count > 1:
                barrier.wait()
            try:
                with RunFolder(path).owned():
                    results.append("owner")
                    done.wait()
            except ResumeError:
                results.append("refused")
            if len(results) >= count:
                done.set()

        threads = [
            threading.Thread(target=start, args=(path, count, barrier, done, results), daemon=True)
            for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        deadline = threading.Event()
        for _ in range(500):
            if len(results) == count:
                break
            deadline.wait(0.01)
        done.set()
        for thread in threads:
            thread.join(5)
        assert sorted(results) == ["owner"] + ["refused"] * (count - 1), race


def test_a_moved_owner_is_looked_at_again(tmp_path: Path, sleeper: int) -> None:
    """Between the judgement and the removal another process became the owner: it stays."""
    file = write_owner(tmp_path, host=socket.gethostname(), pid=sleeper, started=start_of(sleeper))
    with pytest.raises(ResumeError):
        module._take_away(file)
    assert json.loads(file.read_text())["pid"] == sleeper and len(list(tmp_path.iterdir())) == 1


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RecipeError, match=r"thesis\.tex"):
        RunFolder(tmp_path).check_free()
    with pytest.raises(RecipeError, match="is a file"):
        RunFolder(tmp_path / "thesis.tex").check_free()
    RunFolder(tmp_path / "new").check_free()
    (tmp_path / "request.json").write_text("{}")
    RunFolder(tmp_path).check_free()


def test_what_a_kill_leaves_before_the_first_record_is_no_foreign_folder(tmp_path: Path) -> None:
    write_owner(tmp_path, host=socket.gethostname(), pid=os.getpid(), started="1")
    (tmp_path / ".tmp-request.json-1-abcd").write_text("{")
    RunFolder(tmp_path).check_free()


def test_logs_are_cut_and_events_stay(tmp_path: Path) -> None:
    journal = RunJournal(RunFolder(tmp_path))
    journal.step({"step": 1})
    journal.validated({"epoch": 0.5})
    journal.event({"kind": "a"})
    lengths = journal.sync()
    assert lengths == {name: (tmp_path / f"{name}.jsonl").stat().st_size for name in ("steps", "epochs", "events")}
    for number in (2, 3):
        journal.step({"step": number})
        journal.event({"kind": "b"})
    journal.sync()
    journal.step({"step": 4})  # not yet on the disk
    journal.cut(lengths)
    journal.step({"step": 20})
    journal.close()
    assert [row["step"] for row in read_log(tmp_path / "steps.jsonl")] == [1, 20]
    assert [row["epoch"] for row in read_log(tmp_path / "epochs.jsonl")] == [0.5]
    assert [row["kind"] for row in read_log(tmp_path / "events.jsonl")] == ["a", "b", "b"]


def test_a_log_that_was_deleted_is_not_filled_with_nothing(tmp_path: Path) -> None:
    journal = RunJournal(RunFolder(tmp_path))
    journal.cut({"steps": 1000, "epochs": 10})
    journal.step({"step": 9})
    journal.close()
    assert [row["step"] for row in read_log(tmp_path / "steps.jsonl")] == [9]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are told by /proc")
def test_a_process_that_ended_unwaited_holds_no_folder(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    try:
        while Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
            time.sleep(0.01)
        run = RunFolder(tmp_path / "run")
        run.path.mkdir()
        run.owner.write_text(
            json.dumps({"host": socket.gethostname(), "pid": child.pid, "started": start_of(child.pid)})
        )
        with run.owned():
            assert json.loads(run.owner.read_text())["pid"] == os.getpid()
    finally:
        child.wait()
