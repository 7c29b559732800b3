"""The records of a study: its design, its cells, and what they come to."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from provenet.core.spec import Spec

Number = float | None
Mode = Literal["leave-one-out", "add-one-in", "grid"]
Goal = Literal["convergence", "generalisation"]
Verdict = Literal["helps", "hurts", "could be zero", "too few seeds", "fails"]
State = Literal["done", "failed", "missing"]


class Arm(Spec):
    """One recipe of a study; its cells differ in the seed alone."""

    name: str
    """Unique in the study; "baseline" is the one that all others are compared with."""
    technique: str
    """What an effect of this arm speaks of, as in "norm.batch" or "optimizer.lr=0.4"; empty for the baseline."""
    without: bool = False
    """Whether the arm lacks the technique: what it bought is then baseline less arm, else arm less baseline."""
    says: str = ""
    """What the arm changes, as overrides of the baseline: "norm.name=none"."""
    lacks: tuple[str, ...] = ()
    """Grid only: the techniques of the study that this arm goes without."""
    recipe: dict[str, Any]
    """The resolved recipe; `seed` is what the seeds of the study are added to."""


class Design(Spec):
    """The content of design.json: all that is settled before the first cell."""

    name: str
    data: str
    """Path or name of the data, as a cell is given it."""
    source: str = ""
    """The same as the user wrote it, for texts and commands; empty where it is `data`."""
    data_fingerprint: str
    task: Literal["classification", "segmentation"]
    metric: str
    """The primary score: accuracy, dice, miou."""
    mode: Mode
    arms: tuple[Arm, ...]
    """The baseline first."""
    seeds: tuple[int, ...]
    """Seeds that every arm gets; where seeds are raced, the most that one can get."""
    race: bool = False
    """Whether seeds are added only while a verdict is open."""
    level: float = 0.05
    """Share of studies of techniques without effect, in (0, 1), in which any is called."""
    target_frac: float = 0.95
    """The target is this share of the median, over the baseline's seeds, of the best validation score."""
    threads: int
    """Threads of every cell; part of the design, since they change the last bits."""
    code: str
    """Hash of the code that trains."""
    tuning: dict[str, dict[str, Number]] = Field(default_factory=dict)
    """Where rates were tuned: by arm, the validation score of each rate that was tried."""
    minutes: Number = None
    """What the study was thought to take before it began."""
    share: float = 1.0
    """Share of the length that `train` would choose, which a budget left to every training, in (0, 1]."""
    words: tuple[str, ...] = ()
    """The baseline as `key=value` words beside the data, which commands repeat; without any, the whole recipe."""


class Cell(Spec):
    """One training of a study, read from its run folder; what the clock decides is in `CellCost`."""

    arm: str
    seed: int
    key: str
    """Name of the folder in `cells/`."""
    state: State
    reason: str = ""
    """Why it failed."""
    diverged: bool = False
    """Whether it failed because its numbers left the finite range: an outcome of the recipe, not of the machine."""
    curve: tuple[tuple[float, int, float], ...] = ()
    """Epochs done, updates done, primary validation score, at every validation."""
    budget_epochs: float = 0.0
    """Epochs that the recipe allows; an arm that stopped early could not have reached the target later."""
    budget_steps: int = 0
    test: Number = None
    """Primary test score of the best weights."""
    gap: Number = None
    """Clean train score less validation score."""
    parameters: int | None = None
    flops: int | None = None
    seen: dict[str, str] = Field(default_factory=dict)
    """Hashes of what the training saw: split, order, draws, init."""


class CellCost(Spec):
    """What a cell took on its machine."""

    seconds: tuple[float, ...] = ()
    """Training seconds at every validation of the curve."""
    seconds_per_epoch: Number = None
    images_per_s: Number = None
    peak_memory_mib: Number = None
    began: Number = None
    """When its folder was begun, in seconds since 1970."""
    ended: Number = None
    """When its result was written."""


class Effect(Spec):
    """What one technique bought in one measure; positive is better."""

    arm: str
    technique: str
    goal: Goal
    measure: str
    """"epochs to target", "steps to target", "area under the validation curve", "test accuracy" and so on."""
    primary: bool
    """Whether the goal's verdict rests on this measure."""
    n: int
    """Pairs of cells."""
    baseline: Number
    """Mean of the baseline's cells in these pairs."""
    changed: Number
    """Mean of the arm's cells in these pairs."""
    value: Number
    """What the technique bought: the mean paired difference, its sign turned so that more is better."""
    low: Number = None
    """Ends of its 95 % interval (Student's t)."""
    high: Number = None
    wide_low: Number = None
    """Ends of the interval that is corrected for the number of arms."""
    wide_high: Number = None
    boot_low: Number = None
    """Ends of the 95 % bootstrap interval over seeds."""
    boot_high: Number = None
    p: Number = None
    p_corrected: Number = None
    """After Holm, over the arms of the study."""
    missed: tuple[int, int] = (0, 0)
    """Cells that never reached the target: the baseline's, the arm's; they count with the whole budget."""
    detectable: Number = None
    """Smallest effect that this study would have called in four studies of five."""
    more_seeds: int | None = None
    """About how many more seeds would settle it; none where it is settled, or where no sensible number would."""
    verdict: Verdict
    words: str
    """The verdict as a sentence."""


class Look(Spec):
    """One interim look of a study whose seeds are raced."""

    arm: str
    goal: Goal
    n: int
    t: Number
    bound: float
    decision: Literal["open", "effect", "no effect"]


class ArmCost(Spec):
    """What the cells of an arm took, mean over them."""

    arm: str
    seconds_per_epoch: Number
    images_per_s: Number
    peak_memory_mib: Number
    cell_seconds: Number


class Machine(Spec):
    """All of a study that the clock decides; everything else is the same for an interrupted and an unbroken one."""

    effects: tuple[Effect, ...] = ()
    """Seconds to the target."""
    costs: tuple[ArmCost, ...] = ()
    cells: dict[str, CellCost] = Field(default_factory=dict)
    """By key."""
    minutes: Number = None
    provenance: dict[str, Any] = Field(default_factory=dict)


class StudyRecord(Spec):
    """The content of effects.json."""

    design: Design
    target: Number
    """Validation score of the target; none while the baseline has no finished cell."""
    effects: tuple[Effect, ...]
    """A row an arm, goal and measure, primary measures first."""
    main_effects: tuple[Effect, ...] = ()
    """Grid only: each technique averaged over all combinations of the others."""
    cells: tuple[Cell, ...]
    looks: tuple[Look, ...] = ()
    held_equal: dict[str, str] = Field(default_factory=dict)
    """What the arms of a seed had in common, from the hashes of what the cells saw: name and sentence."""
    advice: tuple[str, ...] = ()
    """What to do, a sentence each."""
    command: str = ""
    """The recipe that the evidence supports, as a command to copy."""
    complete: bool
    """Whether every cell of the design is done or failed for good."""
    machine: Machine = Machine()
