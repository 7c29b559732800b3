"""A machine that lacks the study folder, the data or the code is named, with all four parts of a fault."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest

from provenet.core.errors import Fault
from provenet.study.cells import StudyFolder, Task
from provenet.study.probe import probed


def task_in(study: Path, data: str = "digits") -> Task:
    return Task("k1", "baseline", 0, data, {"seed": 0}, study, 1, "k1")


def test_a_machine_that_has_everything_has_no_fault(tmp_path):
    with probed(tmp_path / "study") as probe:
        assert probe.fault(task_in(tmp_path / "study")) is None
        assert probe.fault(task_in(tmp_path / "study", str(tmp_path))) is None


def test_the_file_is_gone_at_the_end_and_its_token_is_new_each_time(tmp_path):
    with probed(tmp_path) as first:
        assert first.file.parent == StudyFolder(tmp_path).attempts
        assert first.file.read_text() == first.token
    assert not first.file.exists()
    with probed(tmp_path) as second:
        assert second.token != first.token


def whole(fault: Fault | None) -> str:
    """Return the text of a fault of which no part is missing."""
    assert fault is not None
    assert all((fault.what, fault.got, fault.allowed, fault.remedy)), fault
    assert socket.gethostname() in fault.what
    return str(fault)


def test_another_folder_under_the_same_path_is_refused(tmp_path):
    with probed(tmp_path) as probe:
        other = dataclasses.replace(probe, token="another")
        assert "does not see the study folder" in whole(other.fault(task_in(tmp_path), patience_s=0))
        probe.file.unlink()
        assert "does not see the study folder" in whole(probe.fault(task_in(tmp_path), patience_s=0))


def test_data_that_are_not_there_are_refused_by_their_path(tmp_path):
    with probed(tmp_path) as probe:
        text = whole(probe.fault(task_in(tmp_path, str(tmp_path / "photos"))))
        assert "does not see the data" in text
        assert str(tmp_path / "photos") in text


def test_other_code_is_refused(tmp_path, monkeypatch):
    with probed(tmp_path) as probe:
        monkeypatch.setattr("provenet.study.probe.code_hash", lambda: "f" * 64)
        assert "another provenet" in whole(probe.fault(task_in(tmp_path)))


def test_a_file_that_appears_late_is_waited_for(tmp_path, monkeypatch):
    with probed(tmp_path) as probe:
        probe.file.unlink()
        monkeypatch.setattr("provenet.study.probe.time.sleep", lambda _: probe.file.write_text(probe.token))
        assert probe.fault(task_in(tmp_path), patience_s=60) is None


def test_a_study_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "study").write_text("a file")
    with pytest.raises(OSError, match="could not write"), probed(tmp_path / "study"):
        pass
