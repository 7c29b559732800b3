"""Learning-rate schedules: the factor on the peak rate as a pure function of the step, with warm-up in front of any."""

from __future__ import annotations

from math import cos, pi
from typing import Annotated, ClassVar, Literal, TypedDict

from pydantic import Field

from provenet.core.spec import Source, Technique


class PlateauState(TypedDict):
    """What `Plateau` remembers between validations; plain JSON.

    Keys: `best` metric so far (None before the first), `num_bad` validations in a row without improvement, `factor`.
    """

    best: float | None
    num_bad: int
    factor: float


def cosine_factor(progress: float, floor: float) -> float:
    """Return floor + (1 - floor) (1 + cos(pi progress)) / 2.

    Example:
        >>> cosine_factor(0.0, 0.1), cosine_factor(1.0, 0.1)
        (1.0, 0.1)
    """
    return floor + (1 - floor) * (1 + cos(pi * progress)) / 2


def polynomial_factor(progress: float, power: float, floor: float) -> float:
    """Return floor + (1 - floor) (1 - progress)^power.

    Example:
        >>> polynomial_factor(0.5, 1.0, 0.0), polynomial_factor(1.0, 0.9, 0.1)
        (0.5, 0.1)
    """
    return floor + (1 - floor) * (1 - progress) ** power


def step_factor(progress: float, drops: tuple[float, ...], gamma: float) -> float:
    """Return gamma to the number of drops that lie at or before `progress`.

    Example:
        >>> [step_factor(p, (0.5, 0.75), 0.5) for p in (0.49, 0.5, 1.0)]
        [1.0, 0.5, 0.25]
    """
    return float(gamma ** sum(progress >= drop for drop in drops))


def one_cycle_factor(progress: float, peak_frac: float, start: float, floor: float) -> float:
    """Return the factor that rises from `start` to 1 at `peak_frac` and falls to `floor`, both along half a cosine.

    Example:
        >>> [one_cycle_factor(p, 0.25, 0.0, 0.125) for p in (0.0, 0.25, 1.0)]
        [0.0, 1.0, 0.125]
    """
    if progress < peak_frac:
        return cosine_factor(1 - progress / peak_frac, start)
    return cosine_factor((progress - peak_frac) / (1 - peak_frac), floor)


class Scheduled(Technique):
    """Base of all schedules: warm-up, then the member's curve over the rest of the run."""

    warmup_frac: float = Field(default=0.0, ge=0, le=1)
    """Share of the run in which the rate rises linearly from warmup_start, in [0, 1]; typical 0 to 0.1."""
    warmup_start: float = Field(default=0.01, ge=0, le=1)
    """Factor at the first step of the warm-up, in [0, 1]."""

    def factor(self, step: int, total_steps: int, state: PlateauState | None = None) -> float:
        """Return the factor on the peak rate at a step.

        With w = round(warmup_frac * total_steps) steps of warm-up (the last step is never one of them) the curve is
        followed from progress 0 at step w to progress 1 at the last step, which so has exactly the floor where there
        is one. A run of a single step takes progress 0.

        Args:
            step: in 0..total_steps - 1.
            total_steps: steps of the whole run.
            state: what `observe` returned last; only plateau reads it.
        """
        last = total_steps - 1
        warmup_steps = min(round(self.warmup_frac * total_steps), last)
        if step < warmup_steps:
            rise = self.warmup_start + (1 - self.warmup_start) * step / warmup_steps
            return rise * self.curve(0.0, state)
        if last == 0:
            return self.curve(0.0, state)
        way = last - warmup_steps
        return self.curve((step - warmup_steps) / way if way else 1.0, state)

    def curve(self, progress: float, state: PlateauState | None) -> float:
        """Return the factor after the warm-up, `progress` from 0 to 1."""
        raise NotImplementedError

    def initial_state(self) -> PlateauState | None:
        """Return what the schedule remembers before the first validation; None when it remembers nothing."""
        return None

    def observe(self, state: PlateauState | None, metric: float) -> PlateauState | None:
        """Return what it remembers after a validation with this metric (larger is better)."""
        return state


class Constant(Scheduled):
    """The same rate all along.

    Definition  factor = 1.
    Default and why  no settings: the control arm of every decay.
    Cost  none.
    Fails when  the end counts: noise of the gradient keeps the weights at a distance from the minimum that grows with
        the rate.
    """

    name: Literal["constant"] = "constant"
    source: ClassVar[Source] = Source(
        "Robbins and Monro",
        1951,
        "A stochastic approximation method",
        "https://doi.org/10.1214/aoms/1177729586",
    )

    def curve(self, progress: float, state: PlateauState | None) -> float:
        return 1.0


class Step(Scheduled):
    """A rate that drops at fixed shares of the run.

    Definition  factor = gamma ^ (number of drops at or before progress); progress counts after the warm-up.
    Default and why  drops at 0.5 and 0.75, gamma = 0.1: the 32k and 48k of 64k steps of the paper's CIFAR-10 runs.
    Cost  none.
    Fails when  a drop comes too early (progress stops) or the run ends right after one.
    """

    name: Literal["step"] = "step"
    source: ClassVar[Source] = Source(
        "He et al.",
        2015,
        "Deep residual learning for image recognition",
        "https://arxiv.org/abs/1512.03385",
        "section 4.2",
    )
    drops: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.5, 0.75)
    """Where the rate drops, shares of the way after the warm-up, in (0, 1]."""
    gamma: float = Field(default=0.1, gt=0, le=1)
    """Factor of each drop, in (0, 1]; typical 0.1 to 0.5."""

    def curve(self, progress: float, state: PlateauState | None) -> float:
        return step_factor(progress, self.drops, self.gamma)


class Exponential(Scheduled):
    """A rate that falls by the same ratio every step.

    Definition  factor = final ^ progress.
    Default and why  final = 0.01, the end of the range in which a rate still matters.
    Cost  none.
    Fails when  final is very small: half of the run is then spent below its square root.
    """

    name: Literal["exponential"] = "exponential"
    source: ClassVar[Source] = Source(
        "Szegedy et al.",
        2015,
        "Rethinking the Inception architecture for computer vision",
        "https://arxiv.org/abs/1512.00567",
        "section 8",
    )
    final: float = Field(default=0.01, gt=0, le=1)
    """Factor at the last step, in (0, 1]; typical 0.001 to 0.1."""

    def curve(self, progress: float, state: PlateauState | None) -> float:
        return self.final**progress


class Plateau(Scheduled):
    """A rate that drops when the validation metric no longer improves.

    Definition  after more than `patience` validations in a row without a new best metric the factor is multiplied by
        gamma, never below min_factor, and the count starts again. The metric is the larger-is-better validation score.
    Default and why  patience 5, gamma 0.1, min_factor 0.001: three drops, each after a clear stand-still.
    Cost  none; needs a validation; its state is three numbers.
    Fails when  the validation metric is noisy (it drops by chance) or the budget ends before it has dropped.
    """

    name: Literal["plateau"] = "plateau"
    source: ClassVar[Source] = Source(
        "He et al.",
        2015,
        "Deep residual learning for image recognition",
        "https://arxiv.org/abs/1512.03385",
        "section 3.4",
    )
    patience: int = Field(default=5, ge=0)
    """Validations without improvement that are borne, 0 or more; typical 3 to 10."""
    gamma: float = Field(default=0.1, gt=0, lt=1)
    """Factor of each drop, in (0, 1); typical 0.1 to 0.5."""
    min_factor: float = Field(default=0.001, ge=0, le=1)
    """Smallest factor, in [0, 1]."""

    def initial_state(self) -> PlateauState:
        return {"best": None, "num_bad": 0, "factor": 1.0}

    def observe(self, state: PlateauState | None, metric: float) -> PlateauState:
        state = state or self.initial_state()
        best = state["best"]
        # NaN compares as no improvement; it must not become the best either
        if metric > (float("-inf") if best is None else best):
            return {"best": metric, "num_bad": 0, "factor": state["factor"]}
        if state["num_bad"] < self.patience:
            return {"best": best, "num_bad": state["num_bad"] + 1, "factor": state["factor"]}
        return {"best": best, "num_bad": 0, "factor": max(state["factor"] * self.gamma, self.min_factor)}

    def curve(self, progress: float, state: PlateauState | None) -> float:
        return state["factor"] if state else 1.0


class Cosine(Scheduled):
    """A rate that falls along half a cosine.

    Definition  factor = floor + (1 - floor) (1 + cos(pi progress)) / 2.
    Default and why  floor = 0: the last steps then act like averaging. No restarts.
    Cost  none.
    Fails when  the run is stopped early (the rate is still high) or the number of steps is not known in advance.
    """

    name: Literal["cosine"] = "cosine"
    source: ClassVar[Source] = Source(
        "Loshchilov and Hutter",
        2016,
        "SGDR: stochastic gradient descent with warm restarts",
        "https://arxiv.org/abs/1608.03983",
        "section 3",
    )
    floor: float = Field(default=0.0, ge=0, le=1)
    """Factor at the last step, in [0, 1]; typical 0 to 0.05."""

    def curve(self, progress: float, state: PlateauState | None) -> float:
        return cosine_factor(progress, self.floor)


class Polynomial(Scheduled):
    """A rate that falls along a power of the way that is left.

    Definition  factor = floor + (1 - floor) (1 - progress)^power.
    Default and why  power = 0.9, floor = 0: the custom in segmentation since DeepLab, nnU-Net's too.
    Cost  none.
    Fails when  the run is stopped early, as with cosine.
    """

    name: Literal["polynomial"] = "polynomial"
    source: ClassVar[Source] = Source(
        "Chen et al.",
        2016,
        "DeepLab: semantic image segmentation with deep convolutional nets, atrous convolution, and fully connected "
        "CRFs",
        "https://arxiv.org/abs/1606.00915",
        "section 4.1.2",
    )
    power: float = Field(default=0.9, gt=0, le=10)
    """Exponent, in (0, 10]; 1 is linear; typical 0.9 to 2."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Factor at the last step, in [0, 1]; typical 0 to 0.05."""

    def curve(self, progress: float, state: PlateauState | None) -> float:
        return polynomial_factor(progress, self.power, self.floor)


class OneCycle(Scheduled):
    """A rate that rises to its peak and then falls far below where it began.

    Definition  along half a cosine from start to 1 at peak_frac, then along half a cosine to floor. Only the rate; the
        momentum is not cycled. Its rise is its warm-up: leave warmup_frac at 0.
    Default and why  peak_frac 0.3, start 1/25, floor 4e-6: PyTorch's (fastai: 0.25, 1/25, 1e-5).
    Cost  none.
    Fails when  the peak rate was chosen for a constant schedule: this one is made for larger ones.
    """

    name: Literal["one_cycle"] = "one_cycle"
    source: ClassVar[Source] = Source(
        "Smith and Topin",
        2017,
        "Super-convergence: very fast training of neural networks using large learning rates",
        "https://arxiv.org/abs/1708.07120",
    )
    peak_frac: float = Field(default=0.3, gt=0, lt=1)
    """Where the peak is, a share of the run, in (0, 1); typical 0.2 to 0.4."""
    start: float = Field(default=0.04, ge=0, le=1)
    """Factor at the first step, in [0, 1]."""
    floor: float = Field(default=4e-6, ge=0, le=1)
    """Factor at the last step, in [0, 1]."""

    def curve(self, progress: float, state: PlateauState | None) -> float:
        return one_cycle_factor(progress, self.peak_frac, self.start, self.floor)


class Linear(Scheduled):
    """A rate that falls by the same amount every step.

    Definition  factor = 1 - (1 - floor) progress.
    Default and why  floor = 0: optimal in theory for the last iterate, and overall the best in its paper's trials.
    Cost  none.
    Fails when  the run is stopped early, as with cosine.
    """

    name: Literal["linear"] = "linear"
    source: ClassVar[Source] = Source(
        "Defazio et al.",
        2023,
        "Optimal linear decay learning rate schedules and further refinements",
        "https://arxiv.org/abs/2310.07831",
    )
    floor: float = Field(default=0.0, ge=0, le=1)
    """Factor at the last step, in [0, 1]; typical 0 to 0.1."""

    def curve(self, progress: float, state: PlateauState | None) -> float:
        return polynomial_factor(progress, 1.0, self.floor)


Schedule = Annotated[
    Constant | Step | Exponential | Plateau | Cosine | Polynomial | OneCycle | Linear, Field(discriminator="name")
]
