"""What a user is told when something is wrong: four parts, all faults at once, one exit code per family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, in four parts.

    Args:
        what: what is wrong, a sentence without a full stop.
        got: what came, as the user wrote it; empty when nothing came.
        allowed: what is allowed; empty when the sentence `what` says it already.
        remedy: what to do now.
        where: file, or file:line, or "override"; empty when the fault has no place.

    Example:
        >>> print(Fault("lr must be greater than 0", "-1", "any number above 0", "try 0.1", "recipe.yaml:4"))
        recipe.yaml:4: lr must be greater than 0; got -1. Allowed: any number above 0. To do: try 0.1.
    """

    what: str
    got: str = ""
    allowed: str = ""
    remedy: str = ""
    where: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.got:
            text += f"; got {self.got}"
        text = text.rstrip(".") + "."
        if self.allowed:
            text += f" Allowed: {self.allowed.rstrip('.')}."
        if self.remedy:
            text += f" To do: {self.remedy.rstrip('.')}" + ("" if self.remedy.endswith("?") else ".")
        return text


class ProvenetError(Exception):
    """Base of all errors that are the user's to mend; anything else that escapes is a bug.

    Args:
        faults: one fault, or all that were found.
    """

    exit_code = 1

    def __init__(self, faults: Fault | Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class RecipeError(ProvenetError, ValueError):
    """The recipe, the command line or an argument cannot be used."""

    exit_code = 2


class ShapeError(ProvenetError, ValueError):
    """A tensor or an image has a size that cannot be used."""

    exit_code = 2


class MissingExtraError(ProvenetError, ImportError):
    """An optional dependency is needed and not installed."""

    exit_code = 2


class ResumeError(ProvenetError, RuntimeError):
    """A run folder cannot be continued."""

    exit_code = 3


class DivergedError(ProvenetError, RuntimeError):
    """Training left the finite numbers and did not come back."""

    exit_code = 4


class StorageError(ProvenetError, OSError):
    """Something could not be written or read back."""

    exit_code = 5


class StallError(ProvenetError, RuntimeError):
    """A worker or a peer no longer answers."""

    exit_code = 6


class OutOfMemoryError(ProvenetError, RuntimeError):
    """The device or the machine has no memory left for the work asked of it."""

    exit_code = 7


class DataError(ProvenetError, ValueError):
    """The data cannot be trained on as they are."""

    exit_code = 8


def near(name: str, known: Sequence[str]) -> str:
    """Return a hint that names what was probably meant, or an empty string.

    Example:
        >>> near("weigth_decay", ["lr", "weight_decay"])
        "did you mean 'weight_decay'?"
        >>> near("zebra", ["lr"])
        ''
    """
    found = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{found[0]}'?" if found else ""


def listed(names: Iterable[object], most: int = 12) -> str:
    """Return names joined by commas, cut after `most` with the count of the rest.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    all_names = [str(name) for name in names]
    shown = ", ".join(all_names[:most])
    rest = len(all_names) - most
    return f"{shown} and {rest} more" if rest > 0 else shown
