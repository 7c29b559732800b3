"""The arguments of an examination from a function of the user's, named as package.module:function."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import isroutine, signature
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from provenet.core.errors import Fault, RecipeError, listed, near
from provenet.doctor.attempt import Attempt
from provenet.doctor.doctor import diagnose

_FORM = "package.module:function"
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_FILE = re.compile(r"(?P<path>.+)\.py:(?P<function>\w+)")


def names_function(what: str) -> bool:
    """Return whether a word names a function and no data.

    Example:
        >>> [names_function(word) for word in ("lab.nets:faulty", "lab/nets.py:faulty", "torchvision:MNIST", "digits")]
        [True, True, False, False]
    """
    if what.startswith("torchvision:") or Path(what).exists():
        return False
    return bool(_NAME.fullmatch(what) or _FILE.fullmatch(what))


def arguments(name: str) -> dict[str, Any]:
    """Return what a function gives: the arguments of `pn.diagnose` by name.

    The current folder can be imported from.

    Args:
        name: package.module:function.

    Raises:
        RecipeError: it cannot be found, raises, or gives something else; an exception of theirs is the cause.
    """
    if found := _FILE.fullmatch(name):
        path = Path(found["path"])
        place = f" from the folder {path.parent}" if path.is_absolute() else ""
        remedy = f"give {'.'.join(path.parts) if not place else path.name}:{found['function']}{place}"
        raise RecipeError(Fault("a function is named by its module, not by its file", name, _FORM, remedy))
    given = _carried_out(name, _function(name))
    if not isinstance(given, Mapping):
        remedy = 'return {"model": model, "batches": batches, "loss_fn": loss_fn, "optimizer": optimizer}'
        raise RecipeError(Fault(f"{name} does not return a dict", type(given).__name__, "", remedy))
    if faults := _faults(name, given):
        raise RecipeError(faults)
    return dict(given)


def _faults(name: str, given: Mapping[Any, Any]) -> list[Fault]:
    """Return one fault for each argument that is unknown or missing."""
    known = signature(diagnose).parameters
    faults = [
        Fault(f"{name} returns an unknown argument", repr(key), listed(known), near(str(key), list(known)))
        for key in given
        if key not in known
    ]
    needed = [key for key, parameter in known.items() if parameter.default is parameter.empty]
    missing = [key for key in needed if key not in given]
    if missing:
        faults.append(Fault(f"the dict of {name} lacks {listed(missing)}", listed(given), "", f"add {listed(missing)}"))
    return faults


def _function(name: str) -> Callable[[], Any]:
    """Return the function of a name."""
    place, _, wanted = name.partition(":")
    module = _module(name, place)
    function = getattr(module, wanted, None)
    if function is None:
        there = [key for key, value in vars(module).items() if isroutine(value) and value.__module__ == place]
        raise RecipeError(Fault(f"module {place} has no function {wanted}", "", listed(there), near(wanted, there)))
    if not callable(function):
        remedy = f"make a function of it: def {wanted}(): return ..."
        raise RecipeError(Fault(f"{name} is no function", type(function).__name__, "", remedy))
    found: Callable[[], Any] = function
    return found


def _module(name: str, place: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    attempt = _Theirs("import")
    with attempt:
        return import_module(place)
    missing = attempt.error.name if isinstance(attempt.error, ModuleNotFoundError) else None
    if missing is not None and f"{place}.".startswith(f"{missing}."):
        remedy = f"go to the folder that holds {place.partition('.')[0]}, or install it"
        raise RecipeError(Fault(f"there is no module {missing}", name, f"{_FORM}, seen from {here}", remedy))
    raise attempt.fault(f"module {place} cannot be imported: it") from attempt.error


def _carried_out(name: str, function: Callable[[], Any]) -> Any:
    attempt = _Theirs("call")
    with attempt:
        return function()
    raise attempt.fault(name) from attempt.error


class _Theirs(Attempt):
    """Runs the user's own code; what it raised is kept with its place, a wish to end the process included."""

    error: BaseException | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        taken = super().__exit__(kind, error, trace) or isinstance(error, SystemExit)
        self.error = error if taken else None
        return taken

    def fault(self, who: str) -> RecipeError:
        """Return what was raised as an error of the user's, with file and line."""
        error = self.error
        frames = traceback.extract_tb(error.__traceback__ if error is not None else None)
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        said = " ".join(str(error).split())[:300]
        got = f"{type(error).__name__}: {said}" if said else type(error).__name__
        remedy = "mend it; `provenet --traceback doctor` shows how it came to be raised"
        return RecipeError(Fault(f"{who} raises an exception", got, "", remedy, where))
