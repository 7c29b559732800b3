"""The pass of an examination as a graph: runs of layers without activation, without merge, and on single pixels."""

# N batch, C channels, H W pixels

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from provenet.doctor.kinds import CONVOLUTION, DROPOUT, MERGE, NORM, POOL, RESIZE, SHAPE, TRANSPOSED
from provenet.doctor.recorder import Op, Trace

WEIGHTED = CONVOLUTION | {"linear"}
PRODUCT = frozenset({"matmul", "mm"})
"""Weighted as well where one factor is a matrix that does not depend on the inputs: layers of one's own."""
AFFINE = SHAPE | NORM | DROPOUT | POOL | RESIZE | MERGE | frozenset({"sum", "unfold", "roll", "flip"})
"""Functions that are linear, or nearly so: they do not make two layers more than one. Max-pooling is here since it is
no activation: with it alone a net is not what its author had in mind."""
SCALING = frozenset({"mul", "div"})
"""Linear where only one factor depends on the inputs, and that once."""
_TURNS = frozenset({"t", "transpose", "permute", "T.get", "mT.get", "swapaxes", "movedim"})
STEP = 3
"""A kernel up to this size is a step down, also where it happens to cover all that is left of a map."""


@dataclass(eq=False)
class Chains:
    """What runs of layers a pass consists of.

    Args:
        weighted: every linear map or convolution of what depends on the inputs, in order.
        run: for every full layer of them, by index, the full layers since the last activation, itself the last. None of
            them is followed by an activation in another branch that joins: a residual block is one.
        path: for every full layer, by index, the full layers since the last merge of two ways, itself the last.
        collapsed: convolutions of maps that were shrunk to a single pixel on the way.
        activations: other functions of what depends on the inputs.
        heads: weighted ops behind which no other comes.
        penultimate: weighted ops whose values reach a head through no other.
        live: indices of ops that were given something that depends on the inputs.
    """

    weighted: list[Op] = field(default_factory=list)
    run: dict[int, tuple[Op, ...]] = field(default_factory=dict)
    path: dict[int, tuple[Op, ...]] = field(default_factory=dict)
    collapsed: list[Op] = field(default_factory=list)
    activations: list[Op] = field(default_factory=list)
    heads: list[Op] = field(default_factory=list)
    penultimate: list[Op] = field(default_factory=list)
    live: set[int] = field(default_factory=set)

    @property
    def full(self) -> list[Op]:
        """The weighted ops that are full layers."""
        return [op for op in self.weighted if is_full(op)]

    @property
    def hidden(self) -> list[Op]:
        """The weighted ops that are no head."""
        return [op for op in self.weighted if op not in self.heads]


@dataclass(frozen=True)
class Weight:
    """The tensor by which a weighted op maps its inputs.

    Args:
        name: its path; where the pass makes it of others (weight norm) the path under which a module has it.
        made: whether it is made in the pass.
        axis: that of the units.
        fan_in: how many numbers a unit adds up.
    """

    name: str
    made: bool
    axis: int
    fan_in: int


def weight_of(trace: Trace, op: Op) -> Weight:
    """Return the weight of a weighted op, looked for behind transpositions and other changes of shape."""
    ref, turns = op.inputs[1], 0
    while (maker := trace.makers.get(ref.token)) is not None and maker.function in SHAPE and maker.inputs:
        turns += maker.function in _TURNS
        ref = maker.inputs[0]
    whole = math.prod(ref.shape) == math.prod(op.inputs[1].shape)
    name = trace.names.get(ref.token, "") if whole else ""
    axis = (op.function in TRANSPOSED | PRODUCT) + turns
    return Weight(name or f"{op.layer}.weight".lstrip("."), not name, axis % 2, _fan_in(op))


def fans(trace: Trace, ops: Iterable[Op]) -> dict[str, int]:
    """Return the fan-in of weights by their paths."""
    return {weight.name: weight.fan_in for weight in (weight_of(trace, op) for op in ops)}


def _fan_in(op: Op) -> int:
    weight = op.inputs[1].shape
    if op.function in PRODUCT:
        return weight[0]
    if op.function not in TRANSPOSED:
        return math.prod(weight[1:])
    strides = _pair(op.argument("stride", 3, 1))
    taps = math.prod(weight[2:]) / math.prod(strides * (1 if len(strides) > 1 else len(weight) - 2))
    return max(1, int(weight[0] // int(op.argument("groups", 6, 1)) * taps))


def is_full(op: Op) -> bool:
    """Return whether a weighted op is a layer of its own: no 1 x 1 or depthwise convolution, no map of tokens."""
    weight = op.inputs[1].shape
    if op.function not in CONVOLUTION:
        return len(op.inputs[0].shape) == 2
    grouped = int(op.argument("groups", 6, 1)) > 1 and weight[1] == 1
    return is_wide(op) and not grouped


def is_wide(op: Op) -> bool:
    """Return whether a convolution has a kernel of more than one tap."""
    return math.prod(op.inputs[1].shape[2:]) > 1


def read_chains(trace: Trace) -> Chains:
    """Return the runs of layers in a pass.

    Example:
        >>> from torch import nn, ones
        >>> from provenet.doctor.recorder import Recorder
        >>> net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> recorder, inputs = Recorder(net), ones(2, 3)
        >>> with recorder.recording() as trace:
        ...     _ = net(inputs)
        >>> [[op.layer for op in run] for run in read_chains(trace).run.values()]
        [['0'], ['0', '1'], ['3']]
    """
    found, reader = Chains(), _Reader(trace)
    for op in trace.ops:
        if op.layer != "loss":
            reader.read(op, found)
    led = {other for op in found.weighted for other in reader.led.get(op.outputs[0].token, frozenset())}
    found.heads = [op for op in found.weighted if op.index not in led]
    near = {index for op in found.heads for index in reader.led.get(op.outputs[0].token, frozenset())}
    found.penultimate = [op for op in found.weighted if op.index in near]
    return found


class _Reader:
    """Carries along the ways of a pass what has happened on them; ways are known by the tokens of values."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._live: set[int] = set()
        self._run: dict[int, tuple[Op, ...]] = {}
        self._under: dict[int, frozenset[int]] = {}
        """Indices of the full layers before a value."""
        self._bent: dict[int, frozenset[int]] = {}
        """Those of them whose values went through an activation on a way here."""
        self._path: dict[int, tuple[Op, ...]] = {}
        self._single: set[int] = set()
        self.led: dict[int, frozenset[int]] = {}
        """Indices of the last weighted ops before a value, where the value is that of another weighted op."""
        self._last: dict[int, frozenset[int]] = {}

    def read(self, op: Op, found: Chains) -> None:
        """Take in the next op."""
        tokens = [ref.token for ref in op.inputs if self._depends(ref.token)]
        if not tokens:
            return
        found.live.add(op.index)
        factor = op.function in PRODUCT and len(tokens) == 1 and len(op.inputs[1].shape) == 2
        weighted = (op.function in WEIGHTED or factor) and len(op.inputs) > 1 and op.inputs[0].token == tokens[0]
        under, bent, last = (_united(ways, tokens) for ways in (self._under, self._bent, self._last))
        run, path = self._runs(tokens, bent), self._paths(op, tokens)
        if weighted:
            found.weighted.append(op)
            if is_full(op):
                run, path, under = (*run, op), (*path, op), under | {op.index}
                found.run[op.index], found.path[op.index] = run, path
            if op.function in CONVOLUTION and tokens[0] in self._single:
                found.collapsed.append(op)
        elif not self._affine(op, tokens):
            run, bent = (), under
            found.activations.append(op)
        single = self._is_single(op, tokens)
        for ref in op.outputs:
            self._live.add(ref.token)
            self._run[ref.token], self._path[ref.token] = run, path
            self._under[ref.token], self._bent[ref.token] = under, bent
            self._last[ref.token] = frozenset({op.index}) if weighted else last
            if weighted:
                self.led[ref.token] = last
            if single and _pixels(ref.shape) == 1:
                self._single.add(ref.token)

    def _depends(self, token: int) -> bool:
        """Return whether a value depends on the inputs: what nobody made, and the net does not hold, is one."""
        return token in self._live or (token not in self._trace.makers and token not in self._trace.names)

    def _affine(self, op: Op, tokens: list[int]) -> bool:
        return op.function in AFFINE or (op.function in SCALING and len(tokens) == 1)

    def _runs(self, tokens: list[int], bent: frozenset[int]) -> tuple[Op, ...]:
        """Return the longest run that reaches an op, without layers from which a branch with an activation joins."""
        runs = (self._run.get(token, ()) for token in tokens)
        return _longest(tuple(op for op in run if op.index not in bent) for run in runs)

    def _paths(self, op: Op, tokens: list[int]) -> tuple[Op, ...]:
        """Return the longest way that reaches an op without a merge; none behind one."""
        made = {token for token in tokens if token in self._live}
        if op.function in MERGE and len(made) > 1:
            return ()
        return _longest(self._path.get(token, ()) for token in tokens)

    def _is_single(self, op: Op, tokens: list[int]) -> bool:
        """Return whether an op gives single pixels, by a step too many or a pooling over all, now or before."""
        if any(token in self._single for token in tokens):
            return True
        before = op.inputs[0].shape
        if _pixels(before) < 2 or not op.outputs or _pixels(op.outputs[0].shape) != 1:
            return False
        side = min(before[2:])
        if op.function in CONVOLUTION - TRANSPOSED:
            # A kernel that covers the whole map without padding is a linear layer over all of it.
            return not (min(op.inputs[1].shape[2:]) >= max(side, STEP + 1))
        return op.function in POOL


def _united(ways: dict[int, frozenset[int]], tokens: list[int]) -> frozenset[int]:
    return frozenset[int]().union(*(ways.get(token, frozenset()) for token in tokens))


def _longest(runs: Iterable[tuple[Op, ...]]) -> tuple[Op, ...]:
    return max(runs, key=len, default=())


def _pixels(shape: tuple[int, ...]) -> int:
    """Return the pixels of a map N C H W; 0 for what is none."""
    return math.prod(shape[2:]) if len(shape) == 4 else 0


def _pair(value: object) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)  # type: ignore[arg-type]


def feeding(trace: Trace, op: Op) -> Iterator[Op]:
    """Yield the weighted ops that an op's input comes from, through shapes and norms only."""
    queue, seen = trace.before(op), set[int]()
    while queue:
        earlier = queue.pop()
        if earlier.index in seen:
            continue
        seen.add(earlier.index)
        if earlier.function in WEIGHTED | PRODUCT:
            yield earlier
        elif earlier.function in SHAPE | NORM | MERGE:
            queue += trace.before(earlier)


def is_gate(trace: Trace, op: Op) -> bool:
    """Return whether what an op gives only scales something else: a gate of attention, of squeeze and excitation."""
    queue, seen = trace.after(op), set[int]()
    while queue:
        later = queue.pop()
        if later.index in seen:
            continue
        seen.add(later.index)
        if later.function in SCALING:
            return True
        if later.function in SHAPE | RESIZE | frozenset({"add", "sub"}):
            queue += trace.after(later)
    return False


def batch_norms(trace: Trace, chains: Chains) -> list[Op]:
    """Return the batch norms of what depends on the inputs: not those that standardise a weight."""
    return [op for op in trace.ops if op.function == "batch_norm" and op.index in chains.live]


def normalizes_batch(op: Op) -> bool:
    """Return whether a batch norm uses the statistics of the batch, not running ones."""
    return op.argument("running_mean", 1) is None or bool(op.argument("training", 5, False))
