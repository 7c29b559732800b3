"""Initial weights, and what becomes of a signal on its way through them."""

# N batch, U units

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from torch import Tensor
from torch.nn import functional as F

from provenet.doctor.chains import feeding, is_gate, weight_of
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.examination import Examination
from provenet.doctor.passes import Signal
from provenet.doctor.probe import LONG_STEPS, Fix
from provenet.doctor.recorder import Op
from provenet.doctor.remedies import RELU_GAIN, TANH_GAIN, exchange, plain_norms, redraw, together, with_norm, wrap
from provenet.doctor.symmetry import EQUAL_GRADIENTS, EQUAL_WEIGHTS, by_unit, twins, twins_in_training
from provenet.doctor.travel import Travel, doublings, loss_over_guess, lost_in, signals_by_op
from provenet.records.finding import Finding

EQUAL_UNITS = 0.5
"""Share of a layer's units that have an equal twin; drawn weights have none."""
FAR = 7.0
"""Doublings or halvings from the inputs to the head: a factor of 128, which updates have to make up for. PyTorch's
default weights lose 1.3 a layer with ReLU, so that nets of up to five layers are within."""
BEYOND = 12.0
"""The same, named without a gain in the probe as well: a factor of 4000, ten layers of default weights."""
LOSS_RATIO = 3.0
"""Loss before training over that of a guess, beyond which large outputs do harm."""
LARGE_GAIN = 5.0
"""Standard deviation of a weight times the root of its fan-in. Laws in use have 0.6 (PyTorch) to 1.7 (tanh). Those that
count a unit's outputs instead give heads of few classes more; such a gain is not large either."""
MOST_LAYERS = 0.5
"""Share of layers with large gains from which a net with norms is suspected: norms hide the scale, but weights that are
k times too long learn k squared times slower."""
DEEP = 8
"""Layers from which norms are tried in place of other weights."""
ALIKE = 1.2
"""Gains that differ by less are of one law; the first layer of them is named."""
FLAT = 0.5
"""Share of values on the flat ends of a sigmoid or tanh, as in SageMaker Debugger's rule."""
SQUASHED = 5.0
"""Halvings of the signal between the first sigmoid and the last."""
DEAD_LAYER, DEAD_SURE = 0.6, 0.9
"""Share of a layer's units that are zero for all samples; half is normal where samples differ little."""
DEAD = 0.999
"""Share of zeros from which a unit is dead."""
DEAD_UNITS, DEAD_VALUES = 16, 16
"""Fewer units, or fewer values of each, are dead by chance now and then."""
_STALLS = ("vanishing-gradients", "constant-output", "cannot-overfit-batch", "lr-too-low", "missing-normalization")
_BLOWS = ("exploding-gradients", "bad-initial-loss", "loss-not-finite", "cannot-overfit-batch", "lr-too-high")


def _fans(examination: Examination, ops: Iterable[Op]) -> dict[str, int]:
    """Return the fan-in of weights by their paths."""
    weights = (weight_of(examination.walk.trace, op) for op in ops)
    return {weight.name: weight.fan_in for weight in weights}


def _gain(examination: Examination) -> float:
    """Return the gain that keeps the scale behind the net's activations."""
    way = examination.travel
    return TANH_GAIN if way is not None and way.squashed else RELU_GAIN


def _symmetric_init(examination: Examination) -> Iterator[Finding | Suspicion]:
    walk, chains = examination.walk, examination.chains
    named = {weight.name: (weight, op.layer) for op in chains.hidden if not (weight := weight_of(walk.trace, op)).made}
    axes = {name: weight.axis for name, (weight, _) in named.items()}
    rows = {name: by_unit(walk.trainable[name], axis) for name, axis in axes.items() if name in walk.trainable}
    equal = {name: units for name, units in rows.items() if twins(units, EQUAL_WEIGHTS) >= EQUAL_UNITS}
    if not equal or walk.failure is not None:
        return
    shares = twins_in_training(examination.double, examination.batches[0], {name: axes[name] for name in equal})
    staying = [name for name, share in shares.items() if share >= EQUAL_UNITS]
    loud = [name for name, weight in equal.items() if bool(weight.any())] or (
        list(equal) if _blind(examination) else []
    )
    if not staying and not loud:
        return
    first = (staying or loud)[0]
    layer, value = named[first][1], float(equal[first].flatten()[0])
    finding = Finding(
        id="symmetric-init",
        severity="error" if staying else "warning",
        layer=layer,
        evidence={
            "layers": len(staying or loud),
            "equal_units": round(twins(equal[first], EQUAL_WEIGHTS), 3),
            "equal_gradients": round(shares.get(first, 0.0), 3),
            "weight": value,
            "limit": EQUAL_UNITS,
        },
        message=f"Units of {layer} have equal weights (such as {value:g})"
        + (" and get equal gradients: they stay one unit." if staying else ", and only chance tells them apart."),
        fix=f"nn.init.kaiming_normal_(model.{first})",
        overrides=("init.name=he",),
    )
    if staying:
        yield finding
    else:
        fix = redraw({name: named[name][0].fan_in for name in loud}, _gain(examination))
        yield Suspicion(finding, fix, "keep" if _blind(examination) else "drop")


def _blind(examination: Examination) -> bool:
    """Return whether nothing that tells samples apart reaches a head."""
    way = examination.travel
    return way is not None and way.change < -3 * FAR


def _init_too_small(examination: Examination) -> Iterator[Suspicion]:
    way, chains = examination.travel, examination.chains
    if way is None or way.normed or way.change > -FAR:
        return
    if 2 * _lost(examination, {"relu", "sigmoid", "tanh"}) > -way.change:
        # Weights keep the scale, but units are dead or flat.
        return
    finding = Finding(
        id="init-too-small",
        severity="warning",
        layer=_smallest(examination),
        evidence=_evidence(way) | {"limit": FAR},
        message=f"What tells samples apart shrinks {way.factor:.2f} times a layer, to {2.0**way.change:.1e} of the "
        f"inputs' in {way.layers} layers.",
        fix="for m in model.modules(): isinstance(m, nn.Conv2d) and nn.init.kaiming_normal_(m.weight); or add norms",
        overrides=("init.name=he",),
    )
    full = [op for op in chains.full if op not in chains.heads]
    # A deep net may need more than a redrawing to get going; that it gains by norms says the same of its scale.
    fix = redraw(_fans(examination, chains.hidden), _gain(examination))
    if len(full) > DEEP:
        fix = wrap({op.layer for op in full}, with_norm)
    yield Suspicion(finding, fix, "keep" if way.change < -BEYOND else "drop")


def _lost(examination: Examination, functions: set[str]) -> float:
    return lost_in(functions, examination.passes, examination.walk.trace, examination.chains)


def _smallest(examination: Examination) -> str:
    """Return the first of the layers with about the smallest gain."""
    hidden = examination.chains.hidden
    gains = _gains(examination, hidden)
    least = min(gains.values(), default=0.0)
    return next((layer for layer, gain in gains.items() if gain <= ALIKE * least), hidden[0].layer)


def _evidence(way: Travel) -> dict[str, float]:
    return {"doublings": round(way.change, 2), "layers": way.layers, "factor_a_layer": round(way.factor, 3)}


def _gains(examination: Examination, ops: Iterable[Op]) -> dict[str, float]:
    """Return standard deviation times root of the fan-in of the weights that functions use, by layer.

    Where there are fewer outputs than inputs, as in heads, He's law may have counted those: then they are counted.
    """
    walk, found = examination.walk, {}
    for op in ops:
        weight = weight_of(walk.trace, op)
        if not weight.made and weight.name in walk.parameters:
            values = walk.parameters[weight.name].detach().float()
            size, fan_out = float(values.square().mean().sqrt()), values.numel() / weight.fan_in
            by_outputs = size * math.sqrt(fan_out)
            counted = 0.5 < by_outputs < 1.5 and size < 0.9
            found[op.layer] = by_outputs if counted else size * math.sqrt(weight.fan_in)
    return found


def _init_too_large(examination: Examination) -> Iterator[Finding | Suspicion]:
    way, chains = examination.travel, examination.chains
    if way is None:
        return
    hidden, heads = _gains(examination, chains.hidden), _gains(examination, chains.heads)
    ratio = loss_over_guess(examination.passes, examination.battery)
    large = {layer: gain for layer, gain in (hidden | heads).items() if gain > LARGE_GAIN}
    grows = not way.normed and not way.squashed and way.growth > FAR
    loud_head = bool(large.keys() & heads.keys()) and ratio > LOSS_RATIO and way.output > LARGE_GAIN
    heavy = way.normed and len(large.keys() & hidden.keys()) > MOST_LAYERS * max(len(hidden), 1)
    if not (grows or loud_head or heavy):
        return
    layer = max(large, key=lambda name: large[name]) if large else chains.penultimate[-1].layer
    said = f"the spread of outputs is {way.output:.3g}, {2.0**way.growth:.3g} times that of the inputs"
    finding = Finding(
        id="init-too-large",
        severity="warning" if math.isfinite(way.output) else "error",
        layer=layer,
        evidence=_evidence(way)
        | {"output_spread": way.output, "loss_over_guess": round(ratio, 2), "gain": round(large.get(layer, 0.0), 2)}
        | {"limit": FAR, "loss_limit": LOSS_RATIO, "gain_limit": LARGE_GAIN},
        message=f"Initial weights are too large: {said}, and the loss begins at {ratio:.3g} times that of a guess.",
        fix="nn.init.kaiming_normal_(weight): standard deviation sqrt(2 / fan_in)",
        overrides=("init.name=he",),
    )
    # A loss that begins far above a guess falls fast whatever happens next, so that a short training would mislead.
    if (grows or loud_head) and ratio > LOSS_RATIO:
        yield finding
    else:
        fix = together(
            redraw(_fans(examination, chains.hidden), _gain(examination)), redraw(_fans(examination, chains.heads), 1.0)
        )
        certain = grows and way.growth > BEYOND
        # Behind norms the head learns at once, on features that stay as they were drawn: that takes longer to show.
        yield Suspicion(finding, fix, "keep" if certain else "drop", steps=LONG_STEPS if heavy else None)


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
    # Where weights lose most of it, it is for them to grow.
    if not flat and (halvings <= SQUASHED or 2 * _lost(examination, {"sigmoid", "tanh"}) < halvings):
        return
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
        message=f"Units hardly pass a gradient: {shown if flat else squashed}.",
        fix="nn.ReLU() inside the net, with kaiming_normal_ weights; or a norm before every sigmoid or tanh",
        overrides=("activation.name=relu",),
    )
    certain = flat or halvings > 2 * SQUASHED
    yield Suspicion(finding, _relu_instead(examination), "keep" if certain else "drop")


def _relu_instead(examination: Examination) -> Fix:
    def relu(values: Tensor, *args: object, **named: object) -> Tensor:
        return F.relu(values)

    chains = examination.chains
    drawn = together(redraw(_fans(examination, chains.hidden)), redraw(_fans(examination, chains.heads), 1.0))
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
        enough = len(signal.zeros) >= DEAD_UNITS and signal.values >= DEAD_VALUES
        # What is exactly zero already when it comes was made so by weights of zero, on purpose or not.
        alive = any(found[one.index].std > 0 for one in feeders if one.index in found)
        if share > DEAD_LAYER and enough and alive:
            dead.append((share, op, feeders))
    if not dead:
        return
    share, op, feeders = max(dead, key=lambda one: one[0])
    blocked = share == 1 and _blind(examination)
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
    fix = together(redraw(_fans(examination, examination.chains.hidden)), plain_norms(norms))
    yield Suspicion(finding, fix, "keep" if share >= DEAD_SURE else "drop")


CHECKS = (
    Check(
        id="symmetric-init",
        look=_symmetric_init,
        cost="passes",
        shows="A layer is worth a single unit, however wide it is; the loss soon stops falling, or never begins to.",
        signal=f"At least {EQUAL_UNITS:.0%} of the units of a layer before the head have equal weights, and after "
        "three updates without dropout still get equal gradients. Equal weights that gradients tell apart are tried in "
        "the probe, drawn anew.",
        fix="Draw weights at random: kaiming_normal_ for ReLU. Only biases may begin at zero.",
        before="nn.init.zeros_(layer.weight)",
        after="nn.init.kaiming_normal_(layer.weight)",
        silent="Zero-initialised heads, last layers of branches and scales of norms (their units get different "
        "gradients); bilinear upsampling; a single constant layer that its neighbours tell apart.",
        source="Goodfellow, Bengio and Courville (2016), Deep Learning, section 8.4: breaking symmetry",
        thresholds={"EQUAL_UNITS": EQUAL_UNITS, "EQUAL_WEIGHTS": EQUAL_WEIGHTS, "EQUAL_GRADIENTS": EQUAL_GRADIENTS},
        hides=(*_STALLS, *_BLOWS, "init-too-small", "init-too-large", "dead-relu", "saturating-activations")
        + ("deep-plain-net", "labels-uninformative"),
    ),
    Check(
        id="init-too-small",
        look=_init_too_small,
        cost="passes",
        shows="The loss stays at that of a guess for a long time; early layers get hardly any gradient.",
        signal=f"The spread across samples, dropout aside, falls by more than 2^{FAR:g} from the inputs to the head, "
        f"without norms. The probe draws He's weights, or puts norms behind more than {DEEP} layers; from "
        f"2^{BEYOND:g} on it is named without a gain as well.",
        fix="He's initialisation for ReLU, or norm layers.",
        before="nn.init.normal_(conv.weight, std=0.001)",
        after='nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")',
        silent="Nets with norms; residual sums, which keep the scale; zero-initialised heads; shallow nets with "
        "default weights, unless the probe gains; signals that are lost in dead units.",
        source="He, Zhang, Ren and Sun (2015), Delving Deep into Rectifiers, section 2.2",
        thresholds={"FAR": FAR, "BEYOND": BEYOND, "DEEP": DEEP},
        hides=(*_STALLS, "dead-relu", "deep-plain-net"),
    ),
    Check(
        id="init-too-large",
        look=_init_too_large,
        cost="passes",
        shows="The first losses are many times that of a guess, then jump or turn to NaN; with norms the net learns "
        "as if its rate were far too low.",
        signal=f"Outputs spread more than 2^{FAR:g} times as far as inputs, without norms; or a head whose weights "
        f"have a gain above {LARGE_GAIN:g} and a loss above {LOSS_RATIO:g} times that of a guess; or such gains in "
        "most layers of a net with norms, where the probe gains by He's weights.",
        fix="He's or Xavier's initialisation: a standard deviation that falls with the root of the fan-in.",
        before="nn.init.normal_(conv.weight)  # standard deviation 1",
        after='nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")',
        silent="Large inputs, whose scale the outputs inherit; residual sums; large weights that norms make up for.",
        source="Glorot and Bengio (2010), Understanding the difficulty of training deep feedforward neural networks; "
        "van Laarhoven (2017), L2 Regularization versus Batch and Weight Normalization, for nets with norms",
        thresholds={"FAR": FAR, "BEYOND": BEYOND, "LOSS_RATIO": LOSS_RATIO, "LARGE_GAIN": LARGE_GAIN}
        | {"MOST_LAYERS": MOST_LAYERS},
        hides=(*_BLOWS, "constant-output", "dead-relu", "missing-normalization", "lr-too-low"),
    ),
    Check(
        id="saturating-activations",
        look=_saturating_activations,
        cost="passes",
        shows="Early layers do not change, and the loss waits at that of a guess.",
        signal=f"More than {FLAT:.0%} of what a sigmoid or tanh within the net gives lies on its flat ends (slope "
        f"below 5 % of the largest, or beyond 0.97); or the signal halves more than {SQUASHED:g} times between the "
        "first and the last, mostly in them, not in weights. The probe puts ReLU in their place.",
        fix="ReLU and its kin inside the net; or weights and norms that keep sigmoids and tanhs in their middle.",
        before="nn.Conv2d(64, 64, 3), nn.Sigmoid()",
        after="nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.ReLU()",
        silent="Gates of attention and of squeeze and excitation; outputs; tanh with weights made for it; sigmoids "
        "behind norms.",
        source="Glorot and Bengio (2010), section 3; share of saturated values as in SageMaker Debugger",
        thresholds={"FLAT": FLAT, "SQUASHED": SQUASHED},
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
