"""A run that was killed ends as one that was not: the same bytes, in a new process, wherever the kill fell."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provenet.core.files import read_log

TIMES = {"seconds", "images_per_s", "peak_memory_mib"}


def outcome(run: Path) -> dict:
    """Return everything of a finished run that must not depend on kills."""
    last = max(run.glob("checkpoints/step-*"))
    kept = (last / "weights.safetensors", last / "state.safetensors", run / "checkpoints/best/weights.safetensors")
    result = json.loads((run / "result.json").read_text())
    result["training"] = {key: value for key, value in result["training"].items() if key not in TIMES}
    epochs = [{key: value for key, value in row.items() if key not in TIMES} for row in read_log(run / "epochs.jsonl")]
    return {
        "weights": {path.relative_to(run): path.read_bytes() for path in kept},
        "steps": (run / "steps.jsonl").read_bytes(),
        "epochs": epochs,
        "result": result,
    }


def start(words: list[str]) -> subprocess.Popen:
    code = "import sys; from provenet.cli.main import main; main(sys.argv[1:])"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", code, *words], env=environment, **silent)


def kill_when(process: subprocess.Popen, due, limit_s: float = 120) -> bool:
    """Kill a process as soon as `due()` holds; return whether it was still alive then."""
    until = time.monotonic() + limit_s
    while not due() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.0002)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def answers(run: Path, photos: Path, call) -> bytes:
    out = run.parent / "answers"
    assert call("predict", run, photos, "--out", out)[0] == 0
    return (out / "predictions.csv").read_bytes()


def test_two_kills_change_nothing(photo_run, photos, photo_words, tmp_path, call):
    run = tmp_path / "run"
    command = ["train", str(photos), *photo_words, "--out", str(run), "--save-every", "0"]
    place = run / "checkpoints"
    chosen = random.Random(7).randint(6, 11)

    def saving():
        return len(list(place.glob("step-*"))) > 1 and any(place.glob(".tmp-step-*"))

    assert kill_when(start(command), saving)
    assert len(list(place.glob("step-*"))) > 1
    assert not (run / "result.json").exists()
    assert kill_when(start(["resume", str(run), "--save-every", "0"]), (place / f"step-{chosen:07d}").exists)
    assert not (run / "result.json").exists()
    assert call(*command)[0] == 0
    assert outcome(run) == outcome(photo_run)
    assert answers(run, photos, call) == answers(photo_run, photos, call)
    assert not [path.name for path in run.rglob(".*")], "something of a broken save is left"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_ten_kills_at_any_moment_change_nothing(photo_run, photos, photo_words, tmp_path, call, seed):
    run = tmp_path / "run"
    command = ["train", str(photos), *photo_words, "--out", str(run), "--save-every", "0"]
    draw, kills = random.Random(seed), 0
    began = time.monotonic()
    whole = start(["train", str(photos), *photo_words, "--out", str(tmp_path / "other"), "--save-every", "0"])
    assert whole.wait() == 0
    seconds = time.monotonic() - began
    while kills < 5:
        moment = time.monotonic() + draw.uniform(0.2, seconds)
        killed = kill_when(start(command), lambda moment=moment: time.monotonic() >= moment)
        kills += 1
        if not killed and (run / "result.json").exists():
            break
    assert call(*command)[0] == 0
    assert outcome(run) == outcome(photo_run)
    assert answers(run, photos, call) == answers(photo_run, photos, call)
