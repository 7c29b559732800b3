"""Activations that pass nothing on: flat ends of sigmoids and tanhs, and ReLU units that are zero for everything."""

# N batch, U units

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.nn import functional as F

from provenet.doctor.chains import fans, feeding, is_gate
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.examination import Examination
from provenet.doctor.passes import Signal
from provenet.doctor.recorder import Op
from provenet.doctor.remedies import exchange, plain_norms, redraw, together
from provenet.doctor.slopes import VANISHES, vanish
from provenet.doctor.travel import blind, doublings, lost_in, signals_by_op
from provenet.doctor.trial import Fix
from provenet.records.finding import Finding

FLAT = 0.5
"""Share of values on the flat ends of a sigmoid or tanh, as in SageMaker Debugger's rule."""
SQUASHED = 5.0
"""Halvings of the signal between the first sigmoid and the last."""
MANY = 3
"""Sigmoids, more than half of all activations, from which gradients that vanish are laid to them: each passes a quarter
at most, where a tanh passes all of what is small."""
DEAD_LAYER, DEAD_SURE = 0.6, 0.9
"""Share of a layer's units that are zero for all samples; half is normal where samples differ little."""
DEAD = 0.999
"""Share of zeros from which a unit is dead."""
DEAD_UNITS, DEAD_VALUES = 16, 16
"""Fewer units, or fewer values of each, are dead by chance now and then; hardly all of them, where values are many."""
_STALLS = ("vanishing-gradients", "constant-output", "cannot-overfit-batch", "lr-too-low", "missing-normalization")


def _squashing(examination: Examination) -> list[Signal]:
    """Return signals of the sigmoids and tanhs inside the net: no gates, and nothing behind the last weights."""
    trace, chains = examination.walk.trace, examination.chains
    last = max((op.index for op in chains.heads), default=0)
    found = signals_by_op(examination.passes, trace)
    ops = [op for op in chains.activations if op.function in ("sigmoid", "tanh") and op.index < last]
    return [found[op.index] for op in ops if op.index in found and not is_gate(trace, op)]


def _saturating_activations(examination: Examination) -> Iterator[Suspicion]:
    signals, way = _squashing(examination), examination.travel
    if not signals or way is None:
        return
    worst = max(signals, key=lambda signal: signal.flat)
    halvings = -doublings(signals[-1].spread, signals[0].spread) if len(signals) > 1 and not way.normed else 0.0
    flat = worst.flat > FLAT
    lost = lost_in({"sigmoid", "tanh"}, examination.passes, examination.walk.trace, examination.chains)
    # Where weights lose most of it, it is for them to grow.
    sigmoids = sum(signal.function == "sigmoid" for signal in signals)
    faint = sigmoids >= MANY and 2 * sigmoids > len(examination.chains.activations) and vanish(examination)
    if not (flat or faint) and (halvings <= SQUASHED or 2 * lost < halvings):
        return
    gradients = f"behind {sigmoids} sigmoids the first layers get less than {VANISHES:g} of the gradient of the last"
    shown = f"{worst.flat:.0%} of the values of {worst.layer or worst.function} lie where the {worst.function} is flat"
    squashed = f"the signal falls to {2.0**-halvings:.1e} between the first {signals[0].function} and the last"
    finding = Finding(
        id="saturating-activations",
        severity="warning",
        layer=worst.layer if flat else signals[-1].layer,
        evidence={
            "flat_share": round(worst.flat, 3),
            "halvings": round(halvings, 2),
            "activations": len(signals),
            "flat_limit": FLAT,
            "halvings_limit": SQUASHED,
        },
        message=f"Units hardly pass a gradient: {shown if flat else gradients if faint else squashed}.",
        fix="nn.ReLU() inside the net, with kaiming_normal_ weights; or a norm before every sigmoid or tanh",
        overrides=("activation.name=relu",),
    )
    certain = flat or faint or halvings > 2 * SQUASHED
    yield Suspicion(finding, _relu_instead(examination), "keep" if certain else "drop")


def _relu_instead(examination: Examination) -> Fix:
    def relu(values: Tensor, *args: object, **named: object) -> Tensor:
        return F.relu(values)

    chains = examination.chains
    drawn = together(
        redraw(fans(examination.walk.trace, chains.hidden)), redraw(fans(examination.walk.trace, chains.heads), 1.0)
    )
    # Only the net's own activations are exchanged: the loss runs outside of it.
    return together(drawn, exchange({"sigmoid": relu, "tanh": relu}))


def _dead_relu(examination: Examination) -> Iterator[Finding | Suspicion]:
    trace, found = examination.walk.trace, signals_by_op(examination.passes, examination.walk.trace)
    dead: list[tuple[float, Op, list[Op]]] = []
    for op in examination.chains.activations:
        signal = found.get(op.index)
        if op.function != "relu" or signal is None or is_gate(trace, op):
            continue
        feeders = list(feeding(trace, op))
        share = float((signal.zeros >= DEAD).float().mean())
        many = len(signal.zeros) >= DEAD_UNITS and signal.values >= DEAD_VALUES
        enough = many or (share >= DEAD_SURE and signal.values >= DEAD_UNITS * DEAD_VALUES)
        # What is exactly zero already when it comes was made so by weights of zero, on purpose or not.
        alive = any(found[one.index].std > 0 for one in feeders if one.index in found)
        if share > DEAD_LAYER and enough and alive:
            dead.append((share, op, feeders))
    if not dead:
        return
    share, op, feeders = max(dead, key=lambda one: one[0])
    blocked = share == 1 and blind(examination.travel)
    finding = Finding(
        id="dead-relu",
        severity="error" if blocked else "warning",
        layer=op.layer or (feeders[0].layer if feeders else ""),
        evidence={"dead_share": round(share, 3), "units": len(found[op.index].zeros), "layers": len(dead)}
        | {"values_a_unit": found[op.index].values, "limit": DEAD_LAYER},
        message=f"{share:.0%} of the units behind {feeders[0].layer if feeders else op.layer} are zero for every "
        "sample and get no gradient.",
        fix="set biases to 0 and draw the weights anew (kaiming_normal_); then a lower rate, or nn.LeakyReLU",
        overrides=("init.name=he", "activation.name=leaky_relu"),
    )
    if blocked:
        yield finding
        return
    norms = {one.layer for _, dying, _ in dead for one in trace.before(dying) if one.function.endswith("_norm")}
    fix = together(redraw(fans(examination.walk.trace, examination.chains.hidden)), plain_norms(norms))
    yield Suspicion(finding, fix, "keep" if share >= DEAD_SURE else "drop")


CHECKS = (
    Check(
        id="saturating-activations",
        look=_saturating_activations,
        cost="passes",
        shows="Early layers do not change, and the loss waits at that of a guess.",
        signal=f"More than {FLAT:.0%} of what a sigmoid or tanh within the net gives lies on its flat ends (slope "
        f"below 5 % of the largest, or beyond 0.97); or the signal halves more than {SQUASHED:g} times between the "
        "first and the last, mostly in them, not in weights; or sigmoids are three and more, and most of all, and "
        "gradients vanish, relative to the weights. The probe puts ReLU in their place.",
        fix="ReLU and its kin inside the net; or weights and norms that keep sigmoids and tanhs in their middle.",
        before="nn.Conv2d(64, 64, 3), nn.Sigmoid()",
        after="nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.ReLU()",
        silent="Gates of attention and of squeeze and excitation; outputs; tanh with weights made for it; sigmoids "
        "behind norms.",
        source="Glorot and Bengio (2010), section 3; share of saturated values as in SageMaker Debugger",
        thresholds={"FLAT": FLAT, "SQUASHED": SQUASHED, "MANY": MANY, "VANISHES": VANISHES},
        hides=(*_STALLS, "init-too-small", "init-too-large"),
    ),
    Check(
        id="dead-relu",
        look=_dead_relu,
        cost="passes",
        shows="Much of a layer gives zero for every picture, and its weights never change again.",
        signal=f"More than {DEAD_LAYER:.0%} of at least {DEAD_UNITS} units are zero for {DEAD:.1%} of all samples and "
        f"places. The probe draws weights anew; from {DEAD_SURE:.0%} on it is named without a gain as well.",
        fix="Biases at 0 and new weights; a lower rate, or leaky ReLU, so that it does not come back.",
        before="nn.init.constant_(conv.bias, -5)",
        after="nn.init.zeros_(conv.bias)",
        silent="Gates; units behind weights of zero; narrow layers; half of the units, where samples differ little.",
        source="Lu, Shin, Su and Karniadakis (2020), Dying ReLU and Initialization; limit between SageMaker Debugger's "
        "half and all",
        thresholds={"DEAD": DEAD, "DEAD_LAYER": DEAD_LAYER, "DEAD_SURE": DEAD_SURE, "DEAD_UNITS": DEAD_UNITS}
        | {"DEAD_VALUES": DEAD_VALUES},
        hides=(*_STALLS, "init-too-small"),
    ),
)
