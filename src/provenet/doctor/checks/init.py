"""Initial weights, and what becomes of a signal on its way through them."""

# N batch, U units

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from provenet.doctor.chains import fans, weight_of
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.examination import Examination
from provenet.doctor.probe import LONG_STEPS
from provenet.doctor.recorder import Op
from provenet.doctor.remedies import RELU_GAIN, TANH_GAIN, redraw, together, with_norm, wrap
from provenet.doctor.symmetry import EQUAL_GRADIENTS, EQUAL_WEIGHTS, by_unit, twins, twins_in_training
from provenet.doctor.travel import Travel, blind, loss_over_guess, lost_in
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
_STALLS = ("vanishing-gradients", "constant-output", "cannot-overfit-batch", "lr-too-low", "missing-normalization")
_BLOWS = ("exploding-gradients", "bad-initial-loss", "loss-not-finite", "cannot-overfit-batch", "lr-too-high")


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
        list(equal) if blind(examination.travel) else []
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
        yield Suspicion(finding, fix, "keep" if blind(examination.travel) else "drop")


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
    fix = redraw(fans(examination.walk.trace, chains.hidden), _gain(examination))
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
            redraw(fans(examination.walk.trace, chains.hidden), _gain(examination)),
            redraw(fans(examination.walk.trace, chains.heads), 1.0),
        )
        certain = grows and way.growth > BEYOND
        # Behind norms the head learns at once, on features that stay as they were drawn: that takes longer to show.
        yield Suspicion(finding, fix, "keep" if certain else "drop", steps=LONG_STEPS if heavy else None)


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
)
