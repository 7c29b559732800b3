"""Optimizers: SGD, AdamW and Muon, in groups that share weight decay and learning-rate multiplier."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from math import sqrt
from typing import Annotated, Any, ClassVar, Literal, overload

import torch
from pydantic import Field
from torch import Tensor, nn

from provenet.core.spec import Source, Technique

NamedParameters = Iterable[tuple[str, nn.Parameter]]
Multipliers = Callable[[str], float]
Group = dict[str, Any]

ADAM_BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8


def whole(name: str) -> float:
    """Return 1: every parameter learns at the full rate."""
    return 1.0


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group to `lr` times the group's own multiplier.

    Example:
        >>> optimizer = SGD().build(nn.Linear(2, 2).named_parameters(), lambda name: 0.5)
        >>> set_lr(optimizer, 0.2)
        >>> optimizer.param_groups[0]["lr"]
        0.1
    """
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_multiplier"]


def grouped(named_parameters: NamedParameters, key: Callable[[str, nn.Parameter], Group]) -> list[Group]:
    """Return parameter groups, one for each different set of options, in order of first appearance.

    Args:
        named_parameters: names and parameters.
        key: the options of a parameter's group.
    """
    groups: dict[tuple[tuple[str, Any], ...], Group] = {}
    for name, parameter in named_parameters:
        options = key(name, parameter)
        group = groups.setdefault(tuple(options.items()), {"params": [], **options})
        group["params"].append(parameter)
    return list(groups.values())


def match_layout_(optimizer: torch.optim.Optimizer) -> None:
    """Give every state tensor the memory layout of its parameter.

    The fused kernels walk through memory without looking at strides: a channels_last weight with a contiguous momentum,
    which is what reading a file gives, would be updated wrongly and in silence.
    """
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def newton_schulz(matrices: Tensor, steps: int) -> Tensor:
    """Return matrices with the same singular vectors and singular values near 1 (0.7 to 1.2).

    Args:
        matrices: (..., rows, columns).
        steps: number of iterations; 5 bring singular values from 0.01 of the norm on close to 1.

    Returns:
        The same shape, float32.

    Example:
        >>> torch.linalg.svdvals(newton_schulz(torch.diag(torch.tensor([4.0, 1.0])), 5)).sub(1).abs().max() < 0.35
        tensor(True)
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.float().mT if tall else matrices.float()
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class MuonOptimizer(torch.optim.Optimizer):
    """Muon for groups with `orthogonalize`, AdamW for the others. State is plain tensors.

    Args:
        groups: parameter groups; each has `orthogonalize`, `lr_multiplier`, `weight_decay`.
        lr: learning rate of both kinds of group, times their multiplier.
        momentum: of the orthogonalised groups, in [0, 1).
        ns_steps: Newton-Schulz iterations.
    """

    def __init__(self, groups: list[Group], lr: float, momentum: float, ns_steps: int) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "ns_steps": ns_steps})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters that have a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        with torch.no_grad():
            for group in self.param_groups:
                parameters: list[Tensor] = [p for p in group["params"] if p.grad is not None]
                if parameters:
                    (self._muon_ if group["orthogonalize"] else self._adamw_)(parameters, group)
        return loss

    def _buffers(self, parameters: list[Tensor], key: str) -> list[Tensor]:
        """Return one state tensor a parameter, zero at first."""
        for parameter in parameters:
            if key not in self.state[parameter]:
                self.state[parameter][key] = torch.zeros_like(parameter)
        return [self.state[parameter][key] for parameter in parameters]

    def _muon_(self, parameters: list[Tensor], group: Group) -> None:
        momentum, lr = group["momentum"], group["lr"]
        grads = [p.grad for p in parameters if p.grad is not None]
        buffers = self._buffers(parameters, "momentum_buffer")
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        updates = list(torch._foreach_lerp(grads, buffers, momentum))
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        for same in _by_shape(updates):
            stacked = torch.stack([updates[i].flatten(1) for i in same])
            rows, columns = stacked.shape[1:]
            orthogonal = newton_schulz(stacked, group["ns_steps"]) * sqrt(max(1.0, rows / columns))
            for i, update in zip(same, orthogonal, strict=True):
                parameters[i].sub_(update.view(updates[i].shape).to(parameters[i].dtype), alpha=lr)

    def _adamw_(self, parameters: list[Tensor], group: Group) -> None:
        (beta1, beta2), lr = ADAM_BETAS, group["lr"]
        grads = [p.grad for p in parameters if p.grad is not None]
        first, second = self._buffers(parameters, "exp_avg"), self._buffers(parameters, "exp_avg_sq")
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        for parameter, mean, square in zip(parameters, first, second, strict=True):
            count = self.state[parameter].setdefault("step", torch.zeros(()))
            count += 1
            correction1, correction2 = 1 - beta1 ** count.item(), 1 - beta2 ** count.item()
            parameter.addcdiv_(mean, square.sqrt().div_(sqrt(correction2)).add_(ADAM_EPS), value=-lr / correction1)


def _by_shape(tensors: list[Tensor]) -> list[list[int]]:
    """Return positions of tensors that are matrices of the same shape, so that they go through one product."""
    found: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position, tensor in enumerate(tensors):
        found[tensor.flatten(1).shape].append(position)
    return list(found.values())


class Grouped(Technique):
    """Base of all optimizers: which parameters decay, and the multiplier of each group."""

    decay_norm_and_bias: bool = False
    """Whether vectors (scales and shifts of norms, biases) decay too; they do not by custom."""

    def options(self, parameter: nn.Parameter, multiplier: float, weight_decay: float) -> Group:
        """Return what a parameter's group is told apart by."""
        decays = self.decay_norm_and_bias or parameter.ndim >= 2
        return {"weight_decay": weight_decay if decays else 0.0, "lr_multiplier": multiplier}


class SGD(Grouped):
    """Stochastic gradient descent with momentum.

    Definition  g = gradient + weight_decay w; v <- momentum v + g; w <- w - lr (g + momentum v) with nesterov, else
        w - lr v.
    Default and why  momentum 0.9 with nesterov, weight_decay 5e-4, lr 0.1: the custom for convolutional nets with batch
        norm trained from scratch at batches of about 128.
    Cost  one copy of the weights.
    Fails when  layers need very different rates (no normalisation, attention): adamw bears that.
    """

    name: Literal["sgd"] = "sgd"
    source: ClassVar[Source] = Source(
        "Sutskever et al.",
        2013,
        "On the importance of initialization and momentum in deep learning",
        "https://proceedings.mlr.press/v28/sutskever13.html",
        "section 2",
    )
    lr: float = Field(default=0.1, gt=0)
    """Peak learning rate, above 0; typical 0.01 to 0.5."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last update that is kept, in [0, 1); typical 0.85 to 0.99."""
    nesterov: bool = True
    """Whether the gradient counts ahead of the momentum; without effect at momentum 0."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Pull towards 0, added to the gradient, 0 or more; typical 1e-5 to 1e-3."""

    def build(self, named_parameters: NamedParameters, multipliers: Multipliers = whole) -> torch.optim.Optimizer:
        """Return the optimizer; every group has `lr_multiplier`, see `set_lr`."""
        groups = grouped(named_parameters, lambda name, p: self.options(p, multipliers(name), self.weight_decay))
        nesterov = self.nesterov and self.momentum > 0
        optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=nesterov, fused=True)
        if self.momentum > 0:
            # Zeros give the same first step as none, and let parameters of one group begin to learn at different times,
            # as transfer does: the fused kernel takes the momentum of all or of none.
            for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return _ready(optimizer, self.lr)


class AdamW(Grouped):
    """Adam with decoupled weight decay.

    Definition  m, v: moving averages of the gradient and its square, corrected for their start at 0;
        w <- w - lr weight_decay w - lr m / (sqrt(v) + eps).
    Default and why  lr 1e-3, betas (0.9, 0.999), eps 1e-8, weight_decay 0.05: bears badly scaled nets without tuning.
    Cost  two copies of the weights.
    Fails when  plain convolutional nets are trained for long: tuned SGD generalises as well or better.
    """

    name: Literal["adamw"] = "adamw"
    source: ClassVar[Source] = Source(
        "Loshchilov and Hutter",
        2017,
        "Decoupled weight decay regularization",
        "https://arxiv.org/abs/1711.05101",
        "algorithm 2",
    )
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate, above 0; typical 1e-4 to 5e-3."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = ADAM_BETAS
    """Decays of the two moving averages, in [0, 1)."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Pull towards 0 as a share of the rate, 0 or more; typical 0.01 to 0.1."""
    eps: float = Field(default=ADAM_EPS, gt=0)
    """What keeps the quotient finite, above 0."""

    def build(self, named_parameters: NamedParameters, multipliers: Multipliers = whole) -> torch.optim.Optimizer:
        """Return the optimizer; every group has `lr_multiplier`, see `set_lr`."""
        groups = grouped(named_parameters, lambda name, p: self.options(p, multipliers(name), self.weight_decay))
        return _ready(torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=True), self.lr)


class Muon(Grouped):
    """Momentum whose update is made orthogonal, for hidden weights; AdamW for the rest.

    Definition  v <- momentum v + (1 - momentum) g; u = (1 - momentum) g + momentum v, as a matrix (outputs x the rest),
        is replaced by the nearest orthogonal one (Newton-Schulz); w <- w - lr weight_decay w - lr sqrt(max(1, rows /
        columns)) u. For weights with two or more dimensions but the last of them, which is the output layer; that,
        biases and norms learn by AdamW at adamw_lr_frac of the rate.
    Default and why  lr 0.02, momentum 0.95, 5 iterations: the author's; adamw_lr_frac 0.05 gives AdamW its usual 1e-3;
        weight_decay 0.01.
    Cost  one copy of the weights and ns_steps times three matrix products a weight and step: a few per cent of a step
        at usual batch sizes, much more at small ones.
    Fails when  weights come from training with another optimizer (fine-tuning), or batches are tiny.
    """

    name: Literal["muon"] = "muon"
    source: ClassVar[Source] = Source(
        "Jordan et al.",
        2024,
        "Muon: an optimizer for hidden layers in neural networks",
        "https://kellerjordan.github.io/posts/muon/",
    )
    lr: float = Field(default=0.02, gt=0)
    """Peak learning rate of the orthogonalised weights, above 0; typical 0.005 to 0.05."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Share of the last update that is kept, in [0, 1); typical 0.6 to 0.95."""
    ns_steps: int = Field(default=5, ge=1, le=20)
    """Newton-Schulz iterations, 1 to 20; 3 to 5 suffice."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Pull towards 0 as a share of the rate, 0 or more; typical 0 to 0.1."""
    adamw_lr_frac: float = Field(default=0.05, gt=0)
    """Learning rate of the other parameters as a share of lr, above 0."""

    def build(self, named_parameters: NamedParameters, multipliers: Multipliers = whole) -> torch.optim.Optimizer:
        """Return the optimizer; every group has `lr_multiplier`, see `set_lr`."""
        named = list(named_parameters)
        hidden = {name for name, p in named if p.ndim >= 2}
        output = next((name for name, p in reversed(named) if p.ndim >= 2), None)

        def key(name: str, parameter: nn.Parameter) -> Group:
            orthogonalize = name in hidden and name != output
            multiplier = multipliers(name) * (1.0 if orthogonalize else self.adamw_lr_frac)
            options = self.options(parameter, multiplier, self.weight_decay)
            return {"orthogonalize": orthogonalize, **options}

        return _ready(MuonOptimizer(grouped(named, key), self.lr, self.momentum, self.ns_steps), self.lr)


def _ready(optimizer: torch.optim.Optimizer, lr: float) -> torch.optim.Optimizer:
    """Return the optimizer with its groups' rates set and its state's layout kept across loading."""
    optimizer.register_load_state_dict_post_hook(match_layout_)
    set_lr(optimizer, lr)
    return optimizer


Optimizer = Annotated[SGD | AdamW | Muon, Field(discriminator="name")]
