"""Children answer in order; one that crashes, hangs or eats memory costs its file and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from provenet.core.errors import StallError
from provenet.data.child import Answer, Job, Settings, answer
from provenet.data.pool import COMMAND, Pool

SETTINGS = Settings(max_pixels=1_000_000, limit_s=1.0)

BROKEN = """
import os, signal, sys, time
from provenet.data import child
whole = child.answer
def answer(job, settings):
    if job.name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if job.name.startswith("hang"):
        time.sleep(60)
    if job.name.startswith("exit"):
        sys.exit(3)
    if job.name.startswith("eat"):
        bytearray(1 << 40)
    return whole(job, settings)
child.answer = answer
child.main()
"""


@pytest.fixture
def broken(tmp_path: Path) -> tuple[str, ...]:
    """Return the command of a child in which some names do harm."""
    program = tmp_path / "broken.py"
    program.write_text(BROKEN)
    return (sys.executable, str(program))


@pytest.fixture
def job(png: Callable[[np.ndarray], bytes]) -> Callable[[str], Job]:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return lambda name: Job(name, png(pixels))


def test_answers_come_in_the_order_of_the_jobs(png: Callable[[np.ndarray], bytes]) -> None:
    jobs: list[Job | Answer] = [Job(str(i), png(np.full((3, 4), i % 251, np.uint8))) for i in range(300)]
    jobs[41] = Answer({"bad": "cannot be read"})
    found = list(Pool(SETTINGS, 2).answers(iter(jobs)))
    assert len(found) == 300
    assert found[41].bad == "cannot be read"
    assert [int(a.arrays[0][0, 0, 0]) for i, a in enumerate(found) if i != 41] == [
        i % 251 for i in range(300) if i != 41
    ]


def test_harm_is_confined_to_its_file(broken: tuple[str, ...], job: Callable[[str], Job]) -> None:
    names = ["a", "crash", "b", "hang", "exit", "crash too", "c"]
    found = list(Pool(SETTINGS, 2, broken).answers([job(name) for name in names]))
    reasons = dict(zip(names, (each.bad for each in found), strict=True))
    assert reasons["crash"] == reasons["crash too"] == "the decoder crashed (signal 11)"
    assert reasons["hang"] == "decoding took longer than 1 s"
    assert reasons["exit"] == "the decoder crashed"
    assert [name for name, reason in reasons.items() if reason is None] == ["a", "b", "c"]
    assert found[6].arrays[0].shape == (6, 5, 3)


def test_memory_is_bounded(broken: tuple[str, ...], job: Callable[[str], Job]) -> None:
    first, second = Pool(SETTINGS, 1, broken).answers([job("eat"), job("fine")])
    assert first.bad == "the decoder crashed"
    assert second.bad is None


def test_children_end_when_the_consumer_stops(job: Callable[[str], Job]) -> None:
    answers = Pool(SETTINGS, 2).answers(job(str(i)) for i in range(500))
    next(answers)
    answers.close()
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if children.exists():
        assert children.read_text() == ""


def test_a_child_that_does_not_start_is_an_error() -> None:
    with pytest.raises(StallError, match="did not start"):
        list(Pool(SETTINGS, 2, (sys.executable, "-c", "raise SystemExit(1)")).answers([Job("a", b"")]))


def test_a_child_imports_no_torch() -> None:
    code = "import sys, provenet.data.child; print('torch' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    assert "provenet.data.child" in COMMAND[-1]


def test_a_grey_picture_is_the_same_in_three_channels(png: Callable[[np.ndarray], bytes]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)
    once = answer(Job("a", png(grey)), SETTINGS).facts["pixel_hash"]
    assert answer(Job("b", png(np.stack([grey] * 3, 2))), SETTINGS).facts["pixel_hash"] == once
    other = np.stack([grey, grey, grey ^ 1], 2)
    assert answer(Job("c", png(other)), SETTINGS).facts["pixel_hash"] != once


def test_headers_only(png: Callable[[np.ndarray], bytes]) -> None:
    settings = Settings(max_pixels=1000, headers=True)
    jobs = [Job("a", png(np.zeros((3, 4), np.uint8))), Job("b", png(np.zeros((50, 50), np.uint8)))]
    good, large = Pool(settings, 1).answers(jobs)
    assert (good.facts["width"], good.facts["height"], good.arrays) == (4, 3, ())
    assert large.bad is not None
