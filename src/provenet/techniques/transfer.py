"""Transfer learning: which parts of a net with given weights are trained, when, and at which share of the rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import nn

from provenet.core.spec import Source, Technique

Groups = Sequence[tuple[str, Sequence[str]]]
"""Names of parameters by depth, input first, the head last: `[("stem", [...]), ..., ("head", [...])]`."""


def names_of(groups: Groups) -> set[str]:
    """Return all parameter names of some groups.

    Example:
        >>> sorted(names_of([("stem", ["a"]), ("head", ["b", "c"])]))
        ['a', 'b', 'c']
    """
    return {name for _, names in groups for name in names}


def set_trainable_(net: nn.Module, names: Iterable[str]) -> None:
    """Let exactly the named parameters learn; the others get no gradient and drop the one they have."""
    wanted = set(names)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in wanted)
        if name not in wanted:
            parameter.grad = None


def frozen_norms(net: nn.Module, trainable: set[str]) -> list[tuple[str, nn.Module]]:
    """Return the layers that keep buffers (batch norm) and whose parameters are all frozen.

    A layer without parameters belongs to the nearest module around it that has some.

    Args:
        net: the net.
        trainable: names of the parameters that learn.

    Returns:
        (path, module) in the order of the net.
    """
    names = [name for name, _ in net.named_parameters()]

    def frozen(path: str) -> bool:
        inside = [name for name in names if not path or name.startswith(path + ".")]
        if not inside and path:
            return frozen(path.rpartition(".")[0])
        return bool(inside) and trainable.isdisjoint(inside)

    return [
        (path, module)
        for path, module in net.named_modules()
        if any(True for _ in module.buffers(recurse=False)) and frozen(path)
    ]


class Transferred(Technique):
    """Base of all members: everything learns, at the full rate."""

    def trainable(self, groups: Groups, progress: float) -> set[str]:
        """Return the names of the parameters that learn.

        Args:
            groups: parameter names by depth, the head last.
            progress: share of the run that is done, in [0, 1].
        """
        return names_of(groups)

    def multipliers(self, groups: Groups) -> dict[str, float]:
        """Return the factor on the learning rate for each parameter name."""
        return dict.fromkeys(names_of(groups), 1.0)

    def set_mode_(self, net: nn.Module, groups: Groups, progress: float) -> None:
        """Freeze and unfreeze a net that is in training mode; to be called after every `net.train()`.

        Args:
            net: the net; gradients are switched on or off, and frozen batch norm is put into its mode.
            groups: parameter names by depth, the head last.
            progress: share of the run that is done, in [0, 1].
        """
        set_trainable_(net, self.trainable(groups, progress))


class Freezing(Transferred):
    """Base of the members that freeze something, with a policy for the batch norm in it."""

    bn: Literal["eval", "train_stats", "train"] = "eval"
    """Frozen batch norm: eval = stored statistics, nothing changes; train_stats = statistics of the batch, and the
    stored ones follow them, scale and shift frozen; train = scale and shift learn too."""

    def set_mode_(self, net: nn.Module, groups: Groups, progress: float) -> None:
        learn = self.trainable(groups, progress)
        for path, module in frozen_norms(net, learn):
            if self.bn == "eval":
                module.eval()
            elif self.bn == "train":
                learn |= {f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)}
        set_trainable_(net, learn)


class NoTransfer(Transferred):
    """Train the whole net, at one rate.

    Definition  all parameters learn, all with factor 1.
    Default and why  the choice for random weights, where nothing is worth keeping; with given weights it is plain
        fine-tuning at one rate.
    Cost  none.
    Fails when  there are few labelled pictures and weights from related ones are at hand.
    """

    name: Literal["none"] = "none"
    source: ClassVar[Source] = Source(
        "He et al.", 2018, "Rethinking ImageNet pre-training", "https://arxiv.org/abs/1811.08883", "section 3"
    )


class FeatureExtraction(Freezing):
    """Keep the body as it is and train a new head.

    Definition  only the last group (the head) learns; with bn = eval no byte of the body changes, buffers included.
    Default and why  bn = eval: the features stay those that the weights were made for.
    Cost  less than full training: no gradient flows into the body. Its forward pass remains.
    Fails when  the pictures differ much from those the body was trained on; fine-tuning then gains more with more data.
    """

    name: Literal["feature_extraction"] = "feature_extraction"
    source: ClassVar[Source] = Source(
        "Razavian et al.",
        2014,
        "CNN features off-the-shelf: an astounding baseline for recognition",
        "https://arxiv.org/abs/1403.6382",
    )

    def trainable(self, groups: Groups, progress: float) -> set[str]:
        return names_of(groups[-1:])


class FineTune(Freezing):
    """Train the head first, then unfreeze the body, with smaller rates towards the input.

    Definition  while progress < head_first_frac only the head learns, then also the body, or its last `unfreeze`
        groups. The rate of the group d places before the head is multiplied by decay^d.
    Default and why  head_first_frac 0.1, so that a random head does not spoil the body; decay 0.7, since early layers
        are general (a sixth of the rate five groups down); all groups; bn = eval, right for small data.
    Cost  that of full training after the head's part.
    Fails when  the rate is one for training from scratch: use a tenth or less; with bn = eval on pictures of quite
        another kind, statistics do not fit.
    """

    name: Literal["fine_tune"] = "fine_tune"
    source: ClassVar[Source] = Source(
        "Howard and Ruder",
        2018,
        "Universal language model fine-tuning for text classification",
        "https://arxiv.org/abs/1801.06146",
        "sections 3.2 and 3.3",
    )
    head_first_frac: float = Field(default=0.1, ge=0, le=1)
    """Share of the run in which only the head learns, in [0, 1]; typical 0.05 to 0.2."""
    decay: float = Field(default=0.7, gt=0, le=1)
    """Factor on the rate from each group to the one before it, in (0, 1]; 1 gives all the same; typical 0.5 to 0.9."""
    unfreeze: Literal["all"] | PositiveInt = "all"
    """How many of the body's last groups learn after the head's part: all, or a number from 1."""

    def trainable(self, groups: Groups, progress: float) -> set[str]:
        if progress < self.head_first_frac:
            return names_of(groups[-1:])
        return names_of(groups if self.unfreeze == "all" else groups[-1 - self.unfreeze :])

    def multipliers(self, groups: Groups) -> dict[str, float]:
        depth = len(groups) - 1
        return {name: self.decay ** (depth - place) for place, (_, names) in enumerate(groups) for name in names}


Transfer = Annotated[NoTransfer | FeatureExtraction | FineTune, Field(discriminator="name")]
