"""Faults of the optimizer, of what it holds, and of the mode a net is trained in."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import copy
from functools import lru_cache

import torch
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.nets import ConvNet, PlainNet, ResNet, UNet, adam, classify, mlp, segment, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits, photos, shapes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR


@fault(
    "https://github.com/rajveermalviya/language-modeling/issues/3 (Adam with a rate meant for SGD)",
    "lr-too-high",
    allowed={"dead-relu"},
)
def adam_at_a_tenth(seed: int, faulty: bool) -> Given:
    model = PlainNet(1, 10, 16)
    return classify(model, digits(seed), optimizer=adam(model, 0.1 if faulty else 1e-3))


@fault(
    "https://github.com/guillaumegenthial/sequence_tagging/issues/47 (the loss falls, rises, becomes nan)",
    "lr-too-high",
    allowed={"dead-relu"},
)
def sgd_at_two(seed: int, faulty: bool) -> Given:
    model = PlainNet(3, 4, 32)
    return classify(model, photos(seed).normalized(), optimizer=sgd(model, 2.0 if faulty else 0.02))


@fault(
    "https://github.com/PeizeSun/OneNet/issues/18 (what if the rate is larger? it does not converge), here of a U-Net",
    "lr-too-high",
    updates=80,
)
def adam_at_one_for_unet(seed: int, faulty: bool) -> Given:
    model = UNet(1, 5)
    return segment(model, shapes(seed).normalized(), optimizer=adam(model, 1.0 if faulty else 3e-3))


@fault(
    "https://taourl.com/read-2391810.html (the loss stays where it is: lr = 0.0001 for SGD), here less", "lr-too-low"
)
def sgd_at_a_millionth(seed: int, faulty: bool) -> Given:
    model = ConvNet(1, 10)
    return classify(model, digits(seed), optimizer=sgd(model, 1e-6 if faulty else 0.05))


@fault("common pattern: the rate of the last of several fine-tuning stages for a net from scratch", "lr-too-low")
def adam_at_ten_to_minus_eight(seed: int, faulty: bool) -> Given:
    model = UNet(3, 2)
    return segment(model, cells(seed).normalized(), optimizer=adam(model, 1e-8 if faulty else 3e-3))


@fault("common pattern: a scheduler whose factor is always 1", "lr-never-decayed", harm="static")
def schedule_without_decay(seed: int, faulty: bool) -> Given:
    """A short training is over before the last, slow part of a schedule would have paid."""
    given = classify(model := ConvNet(1, 10), digits(seed), optimizer=sgd(model))
    assert given.optimizer is not None
    constant = LambdaLR(given.optimizer, lambda epoch: 1.0)
    return _scheduled(given, constant if faulty else CosineAnnealingLR(given.optimizer, 60))


def _scheduled(given: Given, schedule: object) -> Given:
    return Given(**{**vars(given), "schedule": schedule})


@fault("common pattern: momentum=0.999, as betas[1] of Adam", "momentum-too-high", allowed={"lr-too-high"}, updates=200)
def momentum_like_adams_second(seed: int, faulty: bool) -> Given:
    model = PlainNet(1, 10, 16)
    return classify(model, digits(seed), optimizer=sgd(model, 0.03, momentum=0.999 if faulty else 0.9))


@fault("common pattern: the two betas of Adam exchanged", "momentum-too-high", allowed={"lr-too-high"}, updates=120)
def betas_exchanged(seed: int, faulty: bool) -> Given:
    model = PlainNet(1, 10, 16)
    optimizer = Adam(model.parameters(), 2e-3, betas=(0.999, 0.9) if faulty else (0.9, 0.999))
    return classify(model, digits(seed), optimizer=optimizer)


@fault("common pattern: weight_decay=0.5 for SGD", "weight-decay-too-high", updates=80)
def decay_of_one_half(seed: int, faulty: bool) -> Given:
    model = PlainNet(1, 10, 16)
    return classify(model, digits(seed), optimizer=sgd(model, 0.05, weight_decay=0.5 if faulty else 5e-4))


@fault(
    "Loshchilov & Hutter 2019, Decoupled Weight Decay (arXiv 1711.05101): AdamW's decay given to Adam",
    "weight-decay-too-high",
    updates=100,
)
def decay_of_adamw_for_adam(seed: int, faulty: bool) -> Given:
    model = PlainNet(1, 10, 16)
    optimizer = Adam(model.parameters(), 2e-3, weight_decay=0.2 if faulty else 1e-4)
    return classify(model, digits(seed), optimizer=optimizer)


STALE = {"optimizer-missing-params", "optimizer-stale-params"}


@fault(
    "https://github.com/zjunlp/HVPNeT/issues/5 (a group of parameters is never appended)",
    "optimizer-missing-params",
    updates=80,
)
def body_not_in_the_optimizer(seed: int, faulty: bool) -> Given:
    model = PlainNet(3, 4, 32)
    optimizer = SGD((model.fc2 if faulty else model).parameters(), 0.02, momentum=0.9)
    return classify(model, photos(seed).normalized(), optimizer=optimizer)


@fault(
    "common pattern: encoder and decoder have optimizers of their own, and one of them is never made",
    "optimizer-missing-params",
    updates=80,
)
def decoder_only_in_the_optimizer(seed: int, faulty: bool) -> Given:
    model = UNet(1, 5)
    parts = [model.up1, model.up2, model.outc] if faulty else [model]
    optimizer = Adam([{"params": part.parameters()} for part in parts], lr=3e-3)
    return segment(model, shapes(seed).normalized(), optimizer=optimizer)


@fault(
    "https://github.com/pytorch/pytorch/issues/54765 (the net is made anew, the optimizer is not)", STALE, allowed=STALE
)
def net_made_anew(seed: int, faulty: bool) -> Given:
    old = mlp(256, 10)
    model = mlp(256, 10)
    return classify(model, digits(seed), optimizer=sgd(old if faulty else model))


@fault(
    "https://github.com/skorch-dev/skorch/issues/317 (weights do not update after copy.deepcopy)", STALE, allowed=STALE
)
def net_copied_behind_the_optimizer(seed: int, faulty: bool) -> Given:
    model = UNet(3, 2)
    optimizer = adam(model, 3e-3)
    model = copy.deepcopy(model) if faulty else model
    return segment(model, cells(seed).normalized(), optimizer=optimizer)


@fault(
    "https://github.com/hendrycks/ethics/issues/5 (eval mode after the first epoch, never train mode again)",
    "eval-mode-training",
    updates=100,
)
def eval_mode_kept_after_validation(seed: int, faulty: bool) -> Given:
    model = ResNet(1, 10, blocks=3)
    model.train(not faulty)
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


@fault(
    "https://github.com/wkentaro/pytorch-fcn/issues/57 (validation puts the net into eval mode), here of a U-Net",
    "eval-mode-training",
    updates=40,
)
def unet_in_eval_mode(seed: int, faulty: bool) -> Given:
    model = UNet(3, 2)
    model.train(not faulty)
    return segment(model, cells(seed).normalized())


@fault(
    "https://github.com/pytorch/vision/issues/2164 (layers are frozen also when the weights are random)",
    "frozen-layers",
    allowed={"bn-not-frozen"},
    updates=80,
)
def random_body_frozen(seed: int, faulty: bool) -> Given:
    model = ResNet(3, 4)
    if faulty:
        model.requires_grad_(False)
        model.fc.requires_grad_(True)
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    return classify(model, photos(seed).normalized(), optimizer=Adam(trainable, 2e-3))


@fault(
    "https://github.com/pytorch/vision/issues/3394 (frozen layers of a backbone without pretrained weights)",
    "frozen-layers",
    updates=100,
)
def random_encoder_frozen(seed: int, faulty: bool) -> Given:
    model = PlainNet(1, 10, 16)
    if faulty:
        model.requires_grad_(False)
        model.fc2.requires_grad_(True)
    return classify(
        model, digits(seed), optimizer=Adam(filter(lambda one: one.requires_grad, model.parameters()), 2e-3)
    )


@lru_cache
def pretrained() -> ConvNet:
    """Return a net that was trained for a while on the first five digits."""
    pictures = digits(0, num=1400)
    known = pictures.targets < 5
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ConvNet(1, 5)
    optimizer = adam(model, 3e-3)
    for images, labels in batched(pictures.inputs[known], pictures.targets[known]) * 2:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model


def other_digits(seed: int) -> Pictures:
    """Return the digits 5 to 9 as classes 0 to 4."""
    found = digits(seed, num=1000, num_test=700)
    known, known_test = found.targets > 4, found.test[1] > 4
    images, labels = found.inputs[known][:448], found.targets[known][:448] - 5
    return Pictures(images, labels, (found.test[0][known_test], found.test[1][known_test] - 5))


class FrozenBody(nn.Module):
    """A pretrained body that is frozen, with its batch norms in eval mode or not, and a new head."""

    def __init__(self, norms_frozen: bool) -> None:
        super().__init__()
        self.body, self.norms_frozen = copy.deepcopy(pretrained()), norms_frozen
        self.body.requires_grad_(False)
        self.body.fc = nn.Linear(64, 5)
        self.train()

    def train(self, mode: bool = True) -> FrozenBody:
        super().train(mode)
        if self.norms_frozen:
            for layer in self.body.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@fault(
    "https://github.com/microsoft/nni/issues/4521 (the optimizer holds layers that were replaced)",
    STALE,
    allowed=STALE,
    updates=100,
)
def head_replaced_after_the_optimizer(seed: int, faulty: bool) -> Given:
    model = FrozenBody(norms_frozen=True)
    optimizer = Adam(model.body.fc.parameters(), 3e-3)
    if faulty:
        model.body.fc = nn.Linear(64, 5)
    return classify(model, other_digits(seed), optimizer=optimizer)


@fault(
    "https://github.com/pytorch/pytorch/issues/66073 (frozen batch norm is wanted for fine-tuning)",
    "bn-not-frozen",
    harm="static",
)
def frozen_body_whose_norms_drift(seed: int, faulty: bool) -> Given:
    """A new head follows the drift; what it costs in the end hangs on how far new pictures are from old ones."""
    pictures, model = other_digits(seed), FrozenBody(not faulty)
    optimizer = Adam(model.body.fc.parameters(), 3e-3)
    batches = batched(pictures.inputs, pictures.targets, 4)
    return classify(model, pictures, optimizer=optimizer, batches=batches)


@fault(
    "common pattern: a pretrained net is trained as a whole at the rate of its new head",
    "nothing-frozen",
    harm="static",
)
def pretrained_net_at_the_rate_of_a_head(seed: int, faulty: bool) -> Given:
    """What was known is trained away and learnt anew, which digits are simple enough for."""
    pictures, model = other_digits(seed), FrozenBody(norms_frozen=not faulty)
    if faulty:
        model.body.requires_grad_(True)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return classify(model, pictures, optimizer=SGD(weights, 0.1, momentum=0.9))
