"""What was asked for, and whether a run folder was begun with it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provenet.core.errors import Fault, RecipeError, ResumeError
from provenet.recipe.tree import Overrides
from provenet.run.folder import RunFolder


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Args:
        data: path or name of the data.
        overrides: what the user set of the recipe.
        out: the run folder.
        started: `time.monotonic()` when the command began; a budget in minutes counts from here.
        save_every_s: seconds between checkpoints, at least.
        restart: throw away what the folder holds of a run.
    """

    data: str
    overrides: Overrides
    out: Path
    started: float = field(default_factory=time.monotonic)
    save_every_s: float = 60.0
    restart: bool = False


def request_of(path: Path) -> Request:
    """Return the request that a run folder was begun with.

    Raises:
        ResumeError: the folder holds no run.
    """
    folder = RunFolder(path)
    if not folder.request.exists():
        raise ResumeError(Fault(f"{path} holds no run", remedy="name the folder that `provenet train` printed"))
    stored = folder.read(folder.request)
    where = dict.fromkeys(stored["where"], "request.json")
    return Request(stored["data"], Overrides(stored["overrides"], where), path)


def request_json(request: Request) -> dict[str, Any]:
    """Return the content of `request.json`."""
    overrides = request.overrides
    return {"data": located(request.data), "overrides": overrides.tree, "where": sorted(overrides.where)}


def located(data: str) -> str:
    """Return a path as an absolute one, so that a run goes on from any folder; the name of a data set stays."""
    named = data == "digits" or data.startswith("torchvision:")
    return data if named else str(Path(data).expanduser().resolve())


def same_request(path: Path, data: str, overrides: Overrides) -> bool:
    """Return whether a folder holds a run that was begun with this request."""
    return RunFolder(path).request.exists() and not _differences(request_of(path), Request(data, overrides, path))


def _differences(stored: Request, now: Request) -> list[Fault]:
    """Return one fault for each field in which two requests differ."""
    faults: list[Fault] = []
    if located(stored.data) != located(now.data):
        faults.append(Fault("the data differ", f"{now.data}; the run was begun with {stored.data}"))
    for path in sorted(stored.overrides.explicit | now.overrides.explicit):
        before, after = stored.overrides.get(path), now.overrides.get(path)
        if before != after:
            faults.append(Fault(f"{path} differs", f"{_said(after)}; the run was begun with {_said(before)}"))
    return faults


def refuse_other(folder: RunFolder, request: Request) -> None:
    """Refuse to go on with a run that was begun with another request.

    Raises:
        RecipeError: names the fields that differ.
    """
    faults = _differences(request_of(folder.path), request)
    if faults:
        remedy = "repeat the first command, or give another --out for a new run"
        raise RecipeError([Fault(f"{folder.path} was begun with another recipe", remedy=remedy), *faults])


def _said(value: Any) -> str:
    return "automatic" if value is None else str(value)
