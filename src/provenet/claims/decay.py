"""Claim 4: a decayed learning rate ends lower than the best constant one."""

# T updates, M modes of the quadratic, R runs

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from provenet.claims.arms import late_loss, loss_curve, small_view, words
from provenet.claims.claim import Claim, above, within
from provenet.claims.lab import Lab
from provenet.claims.training import Trained, both_goals
from provenet.core.rng import numpy_generator
from provenet.records.claim import Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference
from provenet.techniques.schedule import Cosine

Floats = NDArray[np.float64]
Arms = list[Trained]
"""One training a seed."""

CURVATURES = np.geomspace(0.02, 1.0, 10)
START, NOISE, UPDATES, CHAINS = 10.0, 1.0, 500, 4000
LARGE, SMALL = 1.0, 0.02
"""Rates of the quadratic; the decay begins with the large one, which is one over the largest curvature."""
GRID = np.geomspace(0.005, 1.9, 120)
"""Constant rates of the quadratic; from 2 on the sharpest mode diverges."""

RATES = (0.05, 0.15, 0.45)
"""Constant rates on images; the decay begins with the largest."""
IMAGES = {"quick": 2000, "full": 50_000}
SIDE = {"quick": 16, "full": 32}
SEEDS = 5
"""At least: the best constant rate differs from seed to seed."""
WORDS = {
    "quick": "steps=400 schedule.warmup_frac=0",
    "full": "steps=20000 schedule.warmup_frac=0 net.depth=20 batch_size=128 augment=flip,shift",
}


def expected_errors(rates: Floats, curvatures: Floats = CURVATURES) -> Floats:
    """Return the expected error of SGD on a noisy quadratic before the first and after every update, (T + 1,).

    The error is the sum over modes of curvature x^2 / 2. An update is x <- x - rate (curvature x + noise), the noise of
    mean 0 and standard deviation `NOISE`, so that E x^2 <- (1 - rate curvature)^2 E x^2 + rate^2 NOISE^2.

    Args:
        rates: of each update, (T,).
        curvatures: of each mode, (M,).
    """
    squares = np.full(len(curvatures), START**2)
    errors = [curvatures @ squares / 2]
    for rate in rates:
        squares = (1 - rate * curvatures) ** 2 * squares + rate**2 * NOISE**2
        errors.append(curvatures @ squares / 2)
    return np.array(errors)


def stationary_error(rate: float, curvatures: Floats = CURVATURES) -> float:
    """Return the error at which a constant rate stays: the sum over modes of rate NOISE^2 / (2 (2 - rate curvature)).

    Example:
        >>> stationary_error(1.0, np.array([1.0]))
        0.5
    """
    return float(np.sum(rate * NOISE**2 / (2 * (2 - rate * curvatures))))


def simulated_errors(rates: Floats, runs: int, generator: np.random.Generator) -> Floats:
    """Return the error at the end of each run of SGD on the noisy quadratic, (R,)."""
    points = np.full((runs, len(CURVATURES)), START)
    for rate in rates:
        points -= rate * (CURVATURES * points + NOISE * generator.standard_normal(points.shape))
    errors: Floats = points**2 @ CURVATURES / 2
    return errors


def constant_rates(rate: float) -> Floats:
    """Return one rate for all updates of the quadratic."""
    return np.full(UPDATES, rate)


def cosine_rates(rate: float) -> Floats:
    """Return the rates of the schedule `cosine` on the quadratic."""
    return np.array([rate * Cosine().factor(step, UPDATES) for step in range(UPDATES)])


def best_constant() -> float:
    """Return the constant rate of the grid that ends lowest on the quadratic."""
    return float(min(GRID, key=lambda rate: expected_errors(constant_rates(rate))[-1]))


def simulation() -> Figure:
    """Return the simulated over the closed-form error of a constant rate that has come to rest."""
    rate = LARGE / 2
    errors = simulated_errors(constant_rates(rate), CHAINS, numpy_generator(0, "claims decay"))
    return mean_interval((errors / stationary_error(rate)).tolist())


def decay_gain() -> Figure:
    """Return by how many times the best constant rate ends above the decayed one on the quadratic, exactly."""
    constant = expected_errors(constant_rates(best_constant()))[-1]
    return Figure(float(constant / expected_errors(cosine_rates(LARGE))[-1]))


def quadratic_chart() -> Lines:
    """Draw the expected error of three constant rates and of the decayed one."""
    best = best_constant()
    arms = {
        f"large, constant ({LARGE:g})": constant_rates(LARGE),
        f"best constant ({best:.3f})": constant_rates(best),
        f"small, constant ({SMALL:g})": constant_rates(SMALL),
        f"cosine from {LARGE:g}": cosine_rates(LARGE),
    }
    logs = {name: np.log10(expected_errors(rates)) for name, rates in arms.items()}
    return Lines(
        title="A noisy quadratic: expected error",
        x="update",
        y="log10 of the error",
        lines={name: tuple((float(i), float(log[i])) for i in range(0, UPDATES + 1, 10)) for name, log in logs.items()},
        note="Closed form. A large rate falls fast and stays high; a small one would end low and does not get there.",
    )


def train(lab: Lab, arm: str) -> Arms:
    """Train an arm on images, once for each seed."""
    bench = lab.classification
    shared = f"{WORDS[lab.scale]} {small_view(bench, SIDE[lab.scale])}"
    return [bench.train(f"{shared} {arm}", seed, IMAGES[lab.scale]) for seed in lab.seeds_at_least(SEEDS)]


def end_loss(trained: Trained) -> float:
    """Return the validation loss after the last update."""
    return trained.looks[-1].val_loss


def lowest(constants: dict[float, Arms], figure: Callable[[Trained], float]) -> float:
    """Return the constant rate whose mean figure is lowest; broken trainings never are."""
    means = {rate: fmean(map(figure, arms)) for rate, arms in constants.items()}
    return min((rate for rate in means if means[rate] == means[rate]), key=means.__getitem__, default=min(means))


def over_decay(constants: dict[float, Arms], decayed: Arms, figure: Callable[[Trained], float]) -> Figure:
    """Return by how much the constant rate that is best in a figure ends above the decayed one in it."""
    best = constants[lowest(constants, figure)]
    return paired_difference([figure(arm) for arm in best], [figure(arm) for arm in decayed])


def measure(lab: Lab) -> Finding:
    """Compare the two on the quadratic and on images."""
    constants = {rate: train(lab, f"schedule=constant optimizer.lr={rate}") for rate in RATES}
    decayed = train(lab, f"optimizer.lr={max(RATES)}")
    n, gain = len(decayed), decay_gain()
    training, validation = (over_decay(constants, decayed, figure) for figure in (late_loss, end_loss))
    by_training, by_validation = lowest(constants, late_loss), lowest(constants, end_loss)
    return Finding(
        checks=(
            within("simulated over closed-form error of a constant rate at rest", simulation(), 0.95, 1.05, CHAINS),
            above("quadratic: error of the best constant rate over that of the decayed one", gain, 1, len(GRID)),
            above("images: training loss of the best constant rate less that of the decayed one", training, 0, n),
            above("images: validation loss of the best constant rate less that of the decayed one", validation, 0, n),
        ),
        said=(
            f"On the quadratic the best of {len(GRID)} constant rates ends {words(gain, 1)} times as high as the "
            f"cosine from the large rate. On images the constant rate that is best in the figure itself "
            f"({by_training:g} in training, {by_validation:g} in validation loss) ends higher by {words(training)} in "
            f"training and by {words(validation)} in validation loss (nats), after only {decayed[0].looks[-1].step} "
            f"updates; the decayed rate was not tuned, it begins with the largest of the grid. The decayed nets get "
            f"{fmean(arm.score('train') for arm in decayed):.3f} of their training images right: near 1 gradients "
            f"have hardly any noise left for a decay to quieten."
        ),
        charts=(quadratic_chart(), _images_chart(constants, decayed, by_training)),
        tables=(_table(constants, decayed),),
        effects=both_goals(
            "schedule.cosine against the best of several schedule.constant", decayed, constants[by_validation]
        ),
        trainings=n * (len(RATES) + 1),
    )


def _images_chart(constants: dict[float, Arms], decayed: Arms, best: float) -> Lines:
    shown = {f"constant {rate:g}": constants[rate] for rate in dict.fromkeys((min(RATES), best, max(RATES)))}
    shown[f"cosine from {max(RATES):g}"] = decayed
    lines = {name: loss_curve(arms) for name, arms in shown.items()}
    return Lines(title="Images: training loss", x="update", y="nats, mean of the seeds", lines=lines)


def _table(constants: dict[float, Arms], decayed: Arms) -> Grid:
    named = {f"constant {rate:g}": arms for rate, arms in constants.items()}
    named[f"cosine from {max(RATES):g}"] = decayed
    rows = tuple((name, *(words(mean_interval(figures)) for figures in _figures(arms))) for name, arms in named.items())
    return Grid(title="At equal updates", head=("rate", "training loss", "validation loss", "test accuracy"), rows=rows)


def _figures(arms: Arms) -> Sequence[list[float]]:
    return [late_loss(arm) for arm in arms], [end_loss(arm) for arm in arms], [arm.score("test") for arm in arms]


CLAIM = Claim(
    statement=(
        "A learning rate that is large first and small near the minimum ends lower than the best constant rate: a "
        "large constant rate keeps circling the minimum, a small one does not arrive."
    ),
    experiment=(
        "SGD on a quadratic of ten curvatures with noisy gradients, whose expected error has a closed form: the best "
        "of many constant rates against a cosine from the large rate. Then a small residual net on images: constant "
        "rates against a cosine from the largest of them, with the same images, order, weights and number of updates "
        "for a seed. The training loss is that of the last fifth of the updates; the constant rate that is best in a "
        "figure is chosen by that very figure, which favours the constant rates."
    ),
    task="classification",
    measure=measure,
)
