"""How far what tells samples apart grows or shrinks on its way through a net, before training."""

# N batch

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from provenet.doctor.battery import Battery
from provenet.doctor.chains import Chains
from provenet.doctor.kinds import NORM, SQUASHING
from provenet.doctor.passes import Passes, Signal
from provenet.doctor.recorder import Op, Trace

NORMED_SHARE = 0.25
"""Norm layers a weighted layer from which a net counts as normalised; transformers have half a norm a layer."""


BLIND = 21.0
"""Halvings behind which a signal is nothing beside what float32 leaves of the rest: a factor of two millions."""
HALF = 0.78
"""Halvings of the standard deviation of a normal variable when what is negative becomes zero: log2 of 1 / 0.584."""


@dataclass(frozen=True, eq=False)
class Travel:
    """The way of a signal; spreads are standard deviations across samples.

    Args:
        entry: spread of what reaches the first weights.
        last: largest spread that reaches a head.
        output: largest spread that a head gives.
        swell: doublings of the scale, samples alike or not, between the first weights and the last before the heads.
        layers: weighted layers before the heads.
        normed: whether norm layers set the scale on the way.
        squashed: whether sigmoids or tanhs, gates apart, are most of the activations.
    """

    entry: float
    last: float
    output: float
    swell: float
    layers: int
    normed: bool
    squashed: bool

    @property
    def change(self) -> float:
        """Doublings from the entry to the heads; negative where the signal shrinks."""
        return doublings(self.last, self.entry)

    @property
    def growth(self) -> float:
        """Doublings from the entry to the output, or to the heads where that is more."""
        return max(self.change, doublings(self.output, self.entry))

    @property
    def factor(self) -> float:
        """Factor a layer."""
        return float(2.0 ** (self.change / max(self.layers, 1)))


def blind(way: Travel | None) -> bool:
    """Return whether nothing that tells samples apart reaches a head."""
    return way is not None and way.change < -BLIND


def doublings(after: float, before: float) -> float:
    """Return log2 of a ratio, bounded by 100; 0 where the divisor is 0, 100 where the dividend is not finite.

    Example:
        >>> doublings(8.0, 1.0), doublings(0.0, 1.0)
        (3.0, -100.0)
    """
    if before <= 0 or not math.isfinite(before):
        return 0.0
    if not math.isfinite(after):
        return 100.0
    return max(-100.0, min(100.0, math.log2(after / before))) if after > 0 else -100.0


def spread_of(values: Tensor) -> float:
    """Return the standard deviation across samples, root mean square over features.

    Args:
        values: N x anything.
    """
    return float(values.float().flatten(1).var(0, unbiased=False).mean().sqrt())


def signals_by_op(passes: Passes, trace: Trace) -> dict[int, Signal]:
    """Return signals by the index of their op in the walk; those of another pass through the net are left out."""
    ops = trace.ops
    return {
        signal.order: signal
        for signal in passes.signals
        if signal.order < len(ops) and (ops[signal.order].layer, ops[signal.order].function) == _place(signal)
    }


def _place(signal: Signal) -> tuple[str, str]:
    return signal.layer, signal.function


def travel(passes: Passes, trace: Trace, chains: Chains, entry: float) -> Travel | None:
    """Return the way of the signal; None where there is no layer before the heads, or all samples are one.

    Args:
        passes: what every place gave.
        trace: the walk's.
        chains: its runs of layers.
        entry: spread of what reaches the first weights.
    """
    found = signals_by_op(passes, trace)
    last = _largest(found, chains.penultimate)
    output = _largest(found, chains.heads)
    if last is None or output is None or not entry > 0:
        return None
    norms = [op for op in trace.ops if op.function in NORM and op.index in chains.live and op.layer != "loss"]
    squashing = [op for op in chains.activations if op.function in SQUASHING]
    hidden = len(chains.hidden)
    if norms and (first := found.get(chains.weighted[0].index)) is not None and first.spread > 0:
        entry = first.spread
    return Travel(
        entry=entry,
        last=last,
        output=output,
        swell=_swell(found, chains),
        layers=hidden,
        normed=len(norms) >= NORMED_SHARE * max(hidden, 1),
        squashed=2 * len(squashing) > len(chains.activations),
    )


def _swell(found: dict[int, Signal], chains: Chains) -> float:
    first = found.get(chains.weighted[0].index)
    last = max((found[op.index].std for op in chains.penultimate if op.index in found), default=0.0)
    return 0.0 if first is None else doublings(last, first.std)


def loss_over_guess(passes: Passes, battery: Battery) -> float:
    """Return the loss before training over that of a guess; 1 where it cannot be told."""
    guess = battery.own.get("uniform", math.nan)
    if not passes.losses or not math.isfinite(guess) or guess <= 0:
        return 1.0
    return passes.losses[0] / guess if math.isfinite(passes.losses[0]) else math.inf


def lost_in(functions: Collection[str], passes: Passes, trace: Trace, chains: Chains) -> float:
    """Return how many halvings some activations take from the signal themselves, before what weights make of it.

    Args:
        functions: names of activations; of what ReLU takes, what cutting off one half costs anyway is not counted.
        passes: what every place gave.
        trace: the walk's.
        chains: its runs of layers.
    """
    found, lost = signals_by_op(passes, trace), 0.0
    for op in chains.activations:
        given = [found[one.index].spread for one in trace.before(op) if one.index in found]
        if op.function in functions and op.index in found and given:
            usual = HALF if op.function == "relu" else 0.0
            lost -= min(0.0, doublings(found[op.index].spread, max(given)) + usual)
    return lost


def _largest(found: dict[int, Signal], ops: list[Op]) -> float | None:
    spreads = [found[op.index].spread for op in ops if op.index in found]
    if any(not math.isfinite(spread) for spread in spreads):
        return math.inf
    return max(spreads, default=None)
