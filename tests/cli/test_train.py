"""`provenet train` and `provenet resume`: going on, stopping, refusing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from provenet.cli.console import Terminal

LAST = "checkpoints/step-0000014/weights.safetensors"


@pytest.fixture(autouse=True)
def ctrl_c():
    """Ctrl-C is heard, also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def weights(run: Path) -> bytes:
    return (run / LAST).read_bytes()


def shortened(words, steps=1):
    return [*(word for word in words if not word.startswith("steps=")), f"steps={steps}"]


def at_step(monkeypatch, step, act):
    """Do something when the terminal hears of an update."""
    hear = Terminal.step

    def step_and_act(self, info):
        hear(self, info)
        if info.step == step:
            act()

    monkeypatch.setattr(Terminal, "step", step_and_act)


def test_a_run_tells_what_it_chose_did_and_where_it_lies(photos, photo_words, tmp_path, call):
    code, shown, errors = call("train", photos, *photo_words, "--out", tmp_path / "r", "seed=1")
    assert (code, errors) == (0, "")
    lines = shown.splitlines()
    order = ["a folder for each of 3 classes", "decoded 60 pictures into", "drawn from train", "chosen for these data"]
    order += ["  optimizer.lr = ", "14 updates of 8 images", "epoch 1", "scoring the best weights", "test  accuracy"]
    order += ["by a baseline", "gap   accuracy", "report: ", "next:   provenet predict"]
    places = [next(i for i, line in enumerate(lines) if text in line) for text in order]
    assert places == sorted(places)
    assert (tmp_path / "r" / "report.html").exists()


def test_another_seed_gives_another_net(photo_run, trained, photos, photo_words):
    assert weights(trained(photos, *photo_words, "seed=1")) != weights(photo_run)


def test_a_finished_run_is_left_alone(photo_run, photos, photo_words, call):
    before = (photo_run / "result.json").stat().st_mtime_ns
    for command in (["train", photos, *photo_words, "--out", photo_run], ["resume", photo_run]):
        code, shown, _ = call(*command)
        assert code == 0
        assert "is finished: nothing to do" in shown
    assert (photo_run / "result.json").stat().st_mtime_ns == before


def test_another_recipe_is_refused_and_what_differs_named(photo_run, photos, photo_words, cells, call):
    words = [word for word in photo_words if not word.startswith("batch_size")]
    code, _, errors = call("train", photos, *words, "seed=4", "--out", photo_run)
    assert code == 2
    assert "batch_size differs; got automatic; the run was begun with 8" in errors
    assert "seed differs; got 4" in errors
    assert "steps" not in errors
    code, _, errors = call("train", cells, *photo_words, "--out", photo_run)
    assert code == 2
    assert "the data differ" in errors


def test_restart_begins_again(photo_run, photos, photo_words, tmp_path, call):
    run = shutil.copytree(photo_run, tmp_path / "run")
    assert call("train", photos, *shortened(photo_words, 2), "--out", run, "--restart")[0] == 0
    assert [path.name for path in sorted(run.glob("checkpoints/step-*"))] == ["step-0000000", "step-0000002"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_a_checkpoint_and_the_run_goes_on(
    photo_run, photos, photo_words, tmp_path, call, monkeypatch, number
):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 5, lambda: os.kill(os.getpid(), number))
        code, _, errors = call("train", photos, *photo_words, "--out", run)
    assert code == 128 + number
    assert "interrupted after update 5 of 14; a checkpoint is saved" in errors
    assert f"go on with: provenet resume {run}" in errors
    assert (run / "checkpoints/step-0000005").is_dir()
    assert not (run / "owner.json").exists()
    monkeypatch.chdir(tmp_path)
    code, shown, _ = call("resume", run)
    assert code == 0
    assert "going on after update 5 of 14" in shown
    assert weights(run) == weights(photo_run)


def test_ctrl_c_before_the_first_update_ends_at_once(photos, photo_words, tmp_path, call, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Terminal, "choice", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        code, _, errors = call("train", photos, *photo_words, "--out", run)
    assert code == 130
    assert "go on with: provenet resume" in errors
    assert not (run / "provenance.json").exists()
    assert call("train", photos, *shortened(photo_words), "--out", run)[0] == 0


def test_a_full_disk_ends_with_5_and_loses_nothing(photo_run, photos, photo_words, tmp_path, call, monkeypatch):
    run = tmp_path / "run"

    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    command = ["train", photos, *photo_words, "--out", run, "--save-every", 0]
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: patch.setattr(os, "fsync", refuse))
        code, _, errors = call(*command)
    assert code == 5
    assert "No space left on device" in errors
    assert "the run goes on" in errors
    code, shown, _ = call(*command)
    assert code == 0
    assert "going on after update 3 of 14" in shown
    assert weights(run) == weights(photo_run)


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(photo_run, tmp_path, call):
    run = shutil.copytree(photo_run, tmp_path / "run")
    (run / "result.json").unlink()
    damaged = bytearray((run / LAST).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (run / LAST).write_bytes(damaged)
    code, shown, _ = call("resume", run)
    assert code == 0
    assert "step-0000014 is damaged" in shown
    assert "going on after update 0" in shown
    assert weights(run) == weights(photo_run)


def test_without_a_whole_checkpoint_nothing_is_touched(photo_run, photos, photo_words, tmp_path, call):
    run = shutil.copytree(photo_run, tmp_path / "run")
    (run / "result.json").unlink()
    for path in run.glob("checkpoints/step-*/state.json"):
        path.write_text("{}")
    before = {path: path.read_bytes() for path in run.glob("checkpoints/*/*")}
    code, _, errors = call("resume", run)
    assert code == 3
    assert "--restart" in errors
    assert {path: path.read_bytes() for path in run.glob("checkpoints/*/*")} == before
    assert call("train", photos, *photo_words, "--out", run, "--restart")[0] == 0
    assert weights(run) == weights(photo_run)


def test_changed_data_are_refused(photos, photo_words, tmp_path, call, trained):
    data = shutil.copytree(photos, tmp_path / "photos")
    run = trained(data, *shortened(photo_words))
    (run / "result.json").unlink()
    shutil.copy(data / "a" / "03.png", data / "b" / "03.png")
    code, _, errors = call("resume", run)
    assert code == 3
    assert "have changed since the run began" in errors


def test_a_damaged_record_is_named(photo_run, tmp_path, call):
    run = shutil.copytree(photo_run, tmp_path / "run")
    (run / "result.json").unlink()
    (run / "data.json").write_text((run / "data.json").read_text()[:100])
    for command in (["resume", run], ["predict", run, run / "views"]):
        code, _, errors = call(*command)
        assert code == 3
        assert "data.json" in errors
    (run / "request.json").write_text("[")
    code, _, errors = call("resume", run)
    assert code == 3
    assert "request.json" in errors
    assert json.loads((run / "provenance.json").read_text())
