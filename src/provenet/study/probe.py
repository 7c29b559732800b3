"""What every machine of a cluster must have before it makes cells: the study folder, the data, the same code."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from provenet.core.errors import Fault
from provenet.core.files import write_text
from provenet.run.provenance import code_hash
from provenet.study.cells import StudyFolder, Task

PATIENCE_S = 5.0
"""Seconds in which a new file must appear on the other machines of a shared folder."""


@dataclass(frozen=True)
class Probe:
    """A file that the driver wrote, and the driver's code.

    Args:
        file: its path, the same on all machines.
        token: its content, new for each call of the engine.
        code: hash of the code that trains.
    """

    file: Path
    token: str
    code: str

    def fault(self, task: Task, patience_s: float = PATIENCE_S) -> Fault | None:
        """Return what keeps the machine of this process from carrying out a task; None where nothing does."""
        machine = f"machine {socket.gethostname()} of the cluster"
        if not self._seen(patience_s):
            what, got = f"{machine} does not see the study folder", f"no {self.file} of this command"
            allowed = "a folder that all machines have under the same path"
            return Fault(what, got, allowed, "give an --out on shared storage, or leave --ray out")
        data = Path(task.data)
        if data.is_absolute() and not data.exists():
            what, allowed = f"{machine} does not see the data", "data that all machines have under the same path"
            return Fault(what, f"no {data}", allowed, "put them on shared storage, or leave --ray out")
        code = code_hash()
        if code != self.code:
            what, got = f"{machine} has another provenet", f"code {code[:12]}; this command has {self.code[:12]}"
            remedy = "install this version wherever `ray start` was given, and start Ray there again"
            return Fault(what, got, "the same code on all machines", remedy)
        return None

    def _seen(self, patience_s: float) -> bool:
        """Return whether the file is there, with time for a shared folder to show it."""
        until = time.monotonic() + patience_s
        while True:
            with suppress(OSError):
                if self.file.read_text(encoding="utf-8") == self.token:
                    return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.2)


@contextmanager
def probed(study: Path) -> Iterator[Probe]:
    """Give a probe whose file lies in a study folder, and take the file away at the end.

    Raises:
        StorageError: the folder cannot be written.
    """
    probe = Probe(StudyFolder(study).attempts / ".probe", secrets.token_hex(4), code_hash())
    write_text(probe.file, probe.token)
    try:
        yield probe
    finally:
        probe.file.unlink(missing_ok=True)
