"""What an examination leaves in a folder: `doctor.json`."""

from __future__ import annotations

from provenet.core.spec import Spec
from provenet.records.finding import Diagnosis


class DoctorRecord(Spec):
    """A diagnosis and what it is of."""

    subject: str
    """The data that was named, or the function that gave the net, "package.module:function"."""
    words: tuple[str, ...] = ()
    """What the user set of the recipe, as words of a command line."""
    mended: tuple[str, ...] = ()
    """The same words with those of the fixes; empty where no fix has any."""
    trains: bool = False
    """Whether the subject is data, so that `provenet train` takes subject and words."""
    quick: bool = False
    """Whether only checks that need no training were made, as before the first update of a run."""
    diagnosis: Diagnosis
